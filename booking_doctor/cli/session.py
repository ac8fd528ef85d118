"""
What a command that asks the doctor does around it: open, listen to progress, write the report, exit with its code.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import typer

from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.streams import say
from booking_doctor.cli.windows import check_retention, parse_window
from booking_doctor.cli.writing import write
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Disclosure, FailOn, Report
from booking_doctor.report import FORMATS, GITHUB, Canvas, Format

if TYPE_CHECKING:
    from booking_doctor.doctor import Doctor, Request

DEFAULT_SINCE: Final = "7d"


@contextmanager
def doctor(invocation: Invocation, log_files: Sequence[Path] | None = None) -> Iterator[Doctor]:
    """
    The doctor with this call's settings, its progress shown while the block lasts.

    Args:
        log_files: What to read instead of asking Twilio.
    """
    from booking_doctor.bootstrap import open_doctor
    from booking_doctor.cli.progress import progress_for

    with progress_for(invocation) as progress:
        opened = open_doctor(Path.cwd(), invocation.env_files, invocation.config, os.environ, progress, log_files or ())
        try:
            yield opened
        finally:
            opened.close()


def request(
    doctor: Doctor,
    invocation: Invocation,
    *,
    since: str,
    until: str | None,
    all_senders: bool,
    fail_on: FailOn,
    show_pii: bool,
    select: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
    twilio_log: Sequence[Path] | None = None,
) -> Request:
    """
    The options every reporting command shares, understood.

    Raises:
        UsageError: They span no window, or one that Twilio no longer shows.
    """
    from booking_doctor.doctor import Request

    # NOTE: nothing is known of the time after the files; a window to now would never be looked at whole.
    end = until or (doctor.log_until.isoformat() if doctor.log_until else None)
    window = parse_window(since, end, doctor.now())
    if not twilio_log:
        check_retention(window, doctor.now(), doctor.retention)
    again = ["--since", since, *(["--until", until] if until else []), *(["--all-senders"] if all_senders else [])]
    again += named(twilio_log or ())
    return Request(
        window=window,
        all_senders=all_senders,
        fail_on=fail_on,
        disclosure=Disclosure(show_pii=show_pii),
        program=invocation.again(),
        again=shlex.join(again),
        chosen=select or (),
        ignored=ignore or (),
    )


def named(log_files: Sequence[Path]) -> list[str]:
    """
    The options that name the files again.
    """
    return [word for path in log_files for word in ("--twilio-log", str(path))]


def finish(report: Report, format: Format, output: Path | None, invocation: Invocation) -> None:
    """
    Write the report and exit with its code, or with the format's own; what could not be looked at is an error on stderr too.

    Raises:
        typer.Exit: Always.
    """
    write(report, format, output, invocation)
    if report.exit_code is ExitCode.INCOMPLETE:
        together: dict[str, list[str]] = {}
        blind = [skipped for skipped in report.skipped if skipped.kind in {"unreachable", "not-permitted"}]
        for skipped in blind or report.skipped:
            together.setdefault(skipped.reason, []).append(skipped.check)
        for reason, checks in together.items():
            say(f"error: {', '.join(checks)}: {reason}")
    if format is GITHUB:
        _summarise(report)
    raise typer.Exit(format.exit_code(report) if format.exit_code else report.exit_code)


def _summarise(report: Report) -> None:
    """
    The report as Markdown in the job's summary, where GitHub Actions names a file for it.
    """
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return
    try:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(FORMATS["markdown"].render(report, Canvas()))
    except OSError as error:
        say(f"warning: the job's summary could not be written: {error.strerror}")


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """
    Within the block Ctrl-C, or the service manager, calls *end*, which lets what is in hand be finished; a second time the
    program ends at once.
    """
    told: list[int] = []

    def told_to(number: int, _: FrameType | None) -> None:
        told.append(number)
        if len(told) > 1:
            raise KeyboardInterrupt
        end()

    before = {number: signal.signal(number, told_to) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
