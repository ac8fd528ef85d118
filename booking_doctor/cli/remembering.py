"""
The options with which a command remembers what it found, and tells people what changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from booking_doctor.cli.streams import say
from booking_doctor.errors import UsageError
from booking_doctor.findings import Report, Verdict
from booking_doctor.report import FORMATS, Canvas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from booking_doctor.adapters.notifying import Notifier
    from booking_doctor.adapters.state_file import StateFile
    from booking_doctor.doctor import Doctor, Request

StateOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="PATH", help="Remember fingerprints in this file, and say what is new since then."),
]
NotifyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        metavar="URL",
        help="Tell this service, by Apprise's URL, when the verdict changes or something is new; may be repeated.",
    ),
]


class Remembering(Struct, frozen=True, kw_only=True):
    """
    What a command does with its report before it is written.
    """

    state: StateFile | None
    notifier: Notifier | None

    def recall(self, opened: Doctor, asked: Request, report: Report) -> Report:
        """
        The report beside the last one on the same thing; the new one is remembered, and people hear of what changed.
        """
        from booking_doctor.sightings import recalled

        if self.state is None:
            return report
        about = f"{report.command} {opened.scope(asked.program, 'all' if asked.all_senders else 'own')}"
        memory = self.state.recall(about)
        report, kept = recalled(report, memory, report.started_at - opened.retention)
        try:
            self.state.keep(about, kept)
        except UsageError as error:
            say(f"error: {error.sentence}")
        if changed(report, memory.verdict):
            tell(self.notifier, report)
        return report


def remembering(state: Path | None, notify: Sequence[str] | None = None) -> Remembering:
    """
    What these options ask for, checked before any work is done.

    Raises:
        UsageError: The state file is damaged, a URL is not understood, or nothing is remembered to compare with.
    """
    from booking_doctor.adapters.state_file import StateFile

    if notify and state is None:
        message = "--notify needs --state"
        raise UsageError(message, hint="without a state file nobody knows what changed: add --state PATH")
    return Remembering(state=StateFile(state) if state else None, notifier=notifier(notify))


def notifier(urls: Sequence[str] | None) -> Notifier | None:
    """
    Who tells people; None where nobody is to be told.

    Raises:
        UsageError: The library is missing, or a URL is not understood.
    """
    from booking_doctor.adapters.notifying import Notifier
    from booking_doctor.settings import Secret

    return Notifier([Secret(url) for url in urls]) if urls else None


def changed(report: Report, before: Verdict | None) -> bool:
    """
    Whether people should hear of it. That all is well the first time is no news.
    """
    return report.verdict is not (before or Verdict.HEALTHY) or any(map(report.is_new, report.findings))


def tell(notifier: Notifier | None, report: Report) -> None:
    """
    Send the report in short. What fails is a warning, and changes nothing else.
    """
    if notifier is None:
        return
    title = f"booking-doctor {report.command}: {report.verdict}"
    for failure in notifier.send(title, FORMATS["short"].render(report, Canvas())):
        say(f"warning: {failure}")
