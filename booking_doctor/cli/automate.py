"""
The command that looks again and again.
"""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.options import AllSendersOption, FailOnOption, FormatOption, OutputOption, ShowPiiOption
from booking_doctor.cli.remembering import NotifyOption, notifier, tell
from booking_doctor.cli.repair import AllowTriggersOption
from booking_doctor.cli.session import ended_by_signals, finish
from booking_doctor.cli.streams import say
from booking_doctor.cli.windows import parse_length
from booking_doctor.cli.writing import check_writable, save, write
from booking_doctor.errors import DoctorError, UsageError
from booking_doctor.findings import Disclosure, FailOn, Report, Window
from booking_doctor.report import FORMATS, TERMINAL, Format

if TYPE_CHECKING:
    from booking_doctor.adapters.notifying import Notifier
    from booking_doctor.doctor import Repair, Request
    from booking_doctor.doctor.watching import Round, Taken


@app.command()
def watch(
    ctx: typer.Context,
    *,
    every: Annotated[str, typer.Option("--every", metavar="AGE", help="Look this often: 15m, 1h.")] = "15m",
    once: Annotated[bool, typer.Option("--once", help="Look once and end with its exit code: for cron.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Write what is missing; wants --max-changes.")] = False,
    max_changes: Annotated[
        int | None, typer.Option("--max-changes", min=0, help="Write nothing where a round would take more steps.")
    ] = None,
    allow_triggers: AllowTriggersOption = False,
    all_senders: AllSendersOption = False,
    metrics: Annotated[
        Path | None,
        typer.Option(
            "--metrics",
            metavar="FILE",
            callback=lambda path: check_writable("--metrics", path),
            help="Keep this file for Prometheus.",
        ),
    ] = None,
    notify: NotifyOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Compare on a schedule, one watch over all hosts. Writes to its own schema booking_doctor, and rows only with --apply.

    Each round looks 72 hours further back than the last one that saw everything: Twilio lists some texts hours late, and may
    change the status of a text for up to three days. A finding that is still open is reached back to, however old, until it is
    gone, ignored, or past Twilio's retention.

    What it remembers, fingerprints and times, is in the schema booking_doctor of the application's database, which it makes and
    which is closed to PUBLIC. A role that may not make it is told the statement that somebody has to run.

    On however many hosts it runs, one looks at a time; its heart beats in that schema every 15 seconds. --once ends with 0 where
    another one is at it, and with 3 where that one has not been heard for a minute; after five it has lost its place.

    A round that fails is reported, and the next one tries again. SIGTERM or Ctrl-C ends it after the round it is in, a second
    one at once. Settings and the ignore list are read when it starts.
    """
    from booking_doctor.bootstrap import open_watch
    from booking_doctor.cli.progress import progress_for
    from booking_doctor.doctor.watching import Orders, Round

    interval, repair = parse_length("--every", every), _repair(apply, max_changes, allow_triggers)
    invocation: Invocation = ctx.obj

    def asked(window: Window) -> Request:
        return _request(window, invocation, all_senders, fail_on, show_pii)

    teller = _Teller(invocation, format, output, metrics, notifier(notify))
    with progress_for(invocation) as progress:
        orders = Orders(request=asked, repair=repair)
        settings = (Path.cwd(), invocation.env_files, invocation.config, os.environ)
        opened = open_watch(*settings, progress, orders, all_senders=all_senders)
        with closing(opened) as watching, ended_by_signals(watching.end):
            if not once:
                for done in watching.rounds(interval):
                    teller.tell(done)
                return
            done = watching.round()
    if not isinstance(done, Round):
        _give_way(done, invocation)
        return
    teller.pass_on(done)
    finish(done.report, format, output, invocation)


def _repair(apply: bool, max_changes: int | None, allow_triggers: bool) -> Repair | None:
    """
    Raises:
        UsageError: Nobody said how much may be written unseen, or options do nothing without --apply.
    """
    from booking_doctor.doctor import Repair

    if apply and max_changes is None:
        message = "--apply needs --max-changes: nobody looks at the plan of a watch"
        raise UsageError(message, hint="say how many steps a round may take at most, such as --max-changes 50")
    if not apply and (max_changes is not None or allow_triggers):
        message = f"{'--allow-triggers' if allow_triggers else '--max-changes'} does nothing without --apply"
        raise UsageError(message)
    return Repair(max_changes=max_changes, allow_triggers=allow_triggers) if apply else None


def _request(window: Window, invocation: Invocation, all_senders: bool, fail_on: FailOn, show_pii: bool) -> Request:
    from booking_doctor.core.model import iso
    from booking_doctor.doctor import Request

    return Request(
        window=window,
        all_senders=all_senders,
        fail_on=fail_on,
        disclosure=Disclosure(show_pii=show_pii),
        program=invocation.again(),
        again=shlex.join(["--since", iso(window.since), *(["--all-senders"] if all_senders else [])]),
    )


def _give_way(other: Taken, invocation: Invocation) -> None:
    """
    No document: it would pass for an examination.
    """
    if not invocation.quiet:
        say(f"{other.sentence}: nothing was looked at here")


class _Teller:
    """
    Where the rounds of a watch go: the report, the metrics, the people. What cannot be told is no reason to end.
    """

    def __init__(
        self,
        invocation: Invocation,
        format: Format,
        output: Path | None,
        metrics: Path | None,
        notifier: Notifier | None,
    ) -> None:
        self._invocation = invocation
        self._format = format
        self._output = output
        self._metrics = metrics
        self._notifier = notifier

    def tell(self, done: Round | Taken) -> None:
        """
        All of it, and then go on.
        """
        from booking_doctor.doctor.watching import Round

        try:
            if isinstance(done, Round):
                self.pass_on(done)
                write(done.report, self._format, self._output, self._invocation)
            else:
                _give_way(done, self._invocation)
        except DoctorError as error:
            say(f"error: {error.sentence}")

    def pass_on(self, done: Round) -> None:
        """
        To monitors and to people.
        """
        if self._metrics:
            self._measure(done.report, self._metrics)
        if done.news:
            tell(self._notifier, done.report)

    def _measure(self, report: Report, path: Path) -> None:
        try:
            save(report, FORMATS["prometheus"], path)
        except OSError as error:
            say(f"warning: --metrics {path} could not be written: {error.strerror}")
