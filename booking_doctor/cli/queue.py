"""
The command that works the queue of texts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from booking_doctor.cli.examine import jobs
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.options import FailOnOption, FormatOption, OutputOption
from booking_doctor.cli.progress import WORTH_COUNTING_S
from booking_doctor.cli.session import ended_by_signals, finish
from booking_doctor.cli.streams import say
from booking_doctor.errors import DatabaseError, DoctorError
from booking_doctor.findings import FailOn
from booking_doctor.report import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from booking_doctor.adapters.workplace import Workplace
    from booking_doctor.core.shift import News, Shift
    from booking_doctor.worklog import WorkLog


@jobs.command()
def run(
    ctx: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Keep going until told to end.")] = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=200, help="Send so many texts at a time.")
    ] = 4,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Take no more than so many jobs.")
    ] = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
) -> None:
    """
    Send the queued texts that are due. Texts customers, and writes what became of it to the database.

    With --watch it is woken by the database's notifications, and looks every other second where they do not come through, as
    behind a transaction pooler; it says which. As many workers as you like, on as many machines, share the one queue.
    --concurrency N texts at a time take N + 1 connections, and one more to listen on.

    A text whose fate is unknown, because Twilio's answer was lost or a worker was killed, is looked for in Twilio's log and
    never sent again. What Twilio asks to try later, or refuses because of the login, waits longer each time and is given up
    after five tries, with the reason in last_error. The text of a booking that has been closed is not sent, that of one that
    has been confirmed is recorded at once. Jobs of other types are left alone, and counted in coverage.other_jobs.

    It ends with 0 when all that was due is done, 1 when a job was given up, 3 when one was put off or something could not be
    reached; with --watch only an end that nobody asked for is 3. SIGTERM or Ctrl-C lets the texts in hand be finished, a second
    one does not.
    """
    from booking_doctor.bootstrap import open_workplace
    from booking_doctor.worklog import WorkLog

    invocation: Invocation = ctx.obj
    with closing(
        open_workplace(Path.cwd(), invocation.env_files, invocation.config, os.environ, concurrency=concurrency)
    ) as workplace:
        started_at, log = workplace.clock.now(), WorkLog(watch=watch)
        remark: Callable[[str], None] = (lambda _: None) if invocation.quiet else say
        if watch:
            remark(f"watching the queue of texts, {concurrency:,} at a time; Ctrl-C ends")
        with workplace.shift(watch=watch, limit=limit, tell=remark) as shift, ended_by_signals(shift.end):
            error = _work(shift, log, _Teller(log, remark))
        report = log.report(
            started_at=started_at,
            finished_at=workplace.clock.now(),
            fail_on=fail_on,
            program=invocation.again(),
            waiting=None if error else _waiting(workplace),
            error=error,
        )
    finish(report, format, output, invocation)


def _work(shift: Shift, log: WorkLog, teller: _Teller) -> DoctorError | None:
    try:
        for news in shift.work():
            log.hear(news)
            teller.tell(news)
    except DoctorError as error:
        return error
    return None


def _waiting(workplace: Workplace) -> Mapping[str, int] | DatabaseError:
    from booking_doctor.worklog import backlog

    try:
        return backlog(workplace.queries, workplace.clock.now())
    except DatabaseError as error:
        return error


class _Teller:
    """
    Says on stderr what somebody may want to know before the report; how many jobs were done, only now and then.
    """

    def __init__(self, log: WorkLog, remark: Callable[[str], None]) -> None:
        self._log = log
        self._remark = remark
        self._said, self._said_at = log.sentence, monotonic()

    def tell(self, news: News) -> None:
        """
        A line, or none.
        """
        from booking_doctor.core.booking import JobState
        from booking_doctor.core.shift import Ended, Ending, Outage, Unfinished

        match news:
            case Outage(error=error, pause_s=pause):
                self._remark(f"waiting {pause:.0f} s: {error.summary}")
            case Ending(in_hand=in_hand):
                what = f"{in_hand:,} in hand: finishing them" if in_hand else "nothing in hand"
                self._remark(f"told to end, {what}; once more ends at once")
            case Unfinished(job=job, error=error):
                say(f"error: job {job.id}: {error.summary}")
            case Ended(job=job, outcome=outcome) if self._log.watch and outcome.state is not JobState.DONE:
                fate = "put off" if outcome.state is JobState.QUEUED else "given up"
                self._remark(f"job {job.id} was {fate}: {outcome.reason}")
        self._count()

    def _count(self) -> None:
        if monotonic() - self._said_at >= WORTH_COUNTING_S and self._log.sentence != self._said:
            self._said, self._said_at = self._log.sentence, monotonic()
            self._remark(self._said)
