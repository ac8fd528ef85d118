"""
The comparison over and over, by one watch at a time, each time as far back as something may have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from datetime import datetime, timedelta
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor import __version__
from booking_doctor.core.shift import Alarm
from booking_doctor.doctor.backfilling import Backfilling, Repair
from booking_doctor.doctor.request import Request
from booking_doctor.errors import DoctorError, ExitCode, PlanRefused, SettingsError, SourceError, WatchSilent
from booking_doctor.findings import Report, Skipped, Verdict, Window
from booking_doctor.sightings import Memory, recalled

COMMAND: Final = "watch"

OVERLAP: Final = timedelta(hours=72)
"""
How far before the watermark it looks again. Twilio's list shows some texts hours late, and a text that was sent may change
its status for up to 72 hours; after that no receipt is to be expected.
"""

FIRST_LOOK: Final = timedelta(days=7)
"""How far back the first round looks."""

FRESH: Final = timedelta(seconds=60)
"""A watch that was heard so lately is at work; its heart beats every 15 seconds."""

_REPAIRABLE: Final = frozenset({"message-unrecorded", "message-without-customer"})
_UNREPAIRED: Final = frozenset({ExitCode.PARTLY, ExitCode.REFUSED, ExitCode.INCOMPLETE})


class Taken(Struct, frozen=True, kw_only=True):
    """
    Another watch has the post.

    Attributes:
        age: When it was heard last, before now.
    """

    host: str
    age: timedelta

    @property
    def fresh(self) -> bool:
        """
        Whether it is surely at work.
        """
        return self.age < FRESH

    @property
    def sentence(self) -> str:
        """
        Who it is, and how long ago.
        """
        return f"another watch is at it on {self.host}, heard {self.age.total_seconds():.0f} s ago"


class Handover(Struct, frozen=True, kw_only=True):
    """
    What the last round left.

    Attributes:
        watermark: Up to when everything was looked at; None before the first time.
        now: By the database's clock, which is the same for all hosts.
    """

    memory: Memory
    watermark: datetime | None
    now: datetime


class Post(Protocol):
    """
    The one place from which these messages are watched, whoever stands there.
    """

    def take(self) -> Handover | Taken:
        """
        Take it, or say who has it. A watch that was not heard for minutes has lost it.

        Raises:
            PlanRefused: The database gives the role no place to remember in.
            DatabaseError: It could not be asked.
        """

    def held(self) -> AbstractContextManager[None]:
        """
        Be heard for as long as the context lasts.
        """

    def leave(self, memory: Memory | None, watermark: datetime | None) -> bool:
        """
        Give it back; whether it was still ours, and what is to be remembered is kept.

        Args:
            memory: None to leave what was remembered as it is.

        Raises:
            DatabaseError: It could not be told.
        """

    def close(self) -> None:
        """
        Give connections back.
        """


class Orders(Struct, frozen=True, kw_only=True):
    """
    What a watch is told.

    Attributes:
        request: What is asked of a window.
        repair: How what is missing is written; None to write nothing.
    """

    request: Callable[[Window], Request]
    repair: Repair | None = None


class Round(Struct, frozen=True):
    """
    What came of a round.

    Attributes:
        news: Whether the verdict changed or something new was found.
    """

    report: Report
    news: bool


class Watch:
    """
    One watch, on its host.

    Args:
        open_doctor: A doctor for one round.
        alarm: Waits between rounds, and is rung to end that.
        clock: Now, aware and in UTC.
    """

    def __init__(
        self,
        post: Post,
        open_doctor: Callable[[], Backfilling],
        orders: Orders,
        alarm: Alarm,
        clock: Callable[[], datetime],
    ) -> None:
        self._post = post
        self._open_doctor = open_doctor
        self._orders = orders
        self._alarm = alarm
        self._clock = clock
        self._verdict: Verdict | None = None
        self._remembered = True
        self._told = False

    def end(self) -> None:
        """
        Begin no other round; the one under way is finished. May be called by a signal's handler.
        """
        self._told = True
        self._alarm.ring()

    def close(self) -> None:
        """
        Give connections back.
        """
        self._post.close()

    def rounds(self, every: timedelta) -> Iterator[Round | Taken]:
        """
        A round whenever that time has gone by since the last one began, until told to end.
        """
        while not self._told:
            begun = self._clock()
            yield self.round()
            rest = (begun + every - self._clock()).total_seconds()
            if rest > 0:
                self._alarm.wait(rest)

    def round(self) -> Round | Taken:
        """
        Look once, where nobody else does. What could not be looked at is in the report, and so is one who has the post and
        is silent: nobody may be looking.

        Raises:
            PlanRefused: The database gives no place to remember in, and never did.
            SettingsError: A variable is missing or malformed.
        """
        begun, before = self._clock(), self._verdict
        try:
            found = self._post.take()
            if isinstance(found, Taken):
                return _at_work(found)
            # NOTE: the round before may have been another host's, whose people were told.
            before = (found.memory.verdict if self._remembered else before) or Verdict.HEALTHY
            done = self._at_post(found)
        except (SourceError, PlanRefused) as error:
            # NOTE: who has stood there once may again, when somebody has given back what was taken.
            if isinstance(error, PlanRefused) and self._verdict is None:
                raise
            self._remembered = False
            done = Round(self._failed(error, begun), news=False)
        self._verdict = done.report.verdict
        return replace(done, news=done.news or self._verdict is not before)

    def _at_post(self, found: Handover) -> Round:
        try:
            with self._post.held(), closing(self._open_doctor()) as doctor:
                done, memory, watermark = self._look(doctor, found)
        except BaseException:
            with suppress(SourceError):
                self._post.leave(None, None)
            raise
        self._remembered = False
        try:
            self._remembered = self._post.leave(memory, watermark)
        except SourceError as error:
            return _forgotten(done, error.summary)
        return done if self._remembered else _forgotten(done, "another watch took over meanwhile")

    def _look(self, doctor: Backfilling, found: Handover) -> tuple[Round, Memory, datetime]:
        window, oldest = _window(found, doctor), found.now - doctor.retention
        asked = self._orders.request(window)
        report, memory = recalled(_ours(doctor.reconcile(asked)), found.memory, oldest)
        news = any(map(report.is_new, report.findings))
        if self._orders.repair and self._is_repairable(report):
            written = _written(doctor, asked, self._orders.repair)
            report, memory = recalled(_ours(doctor.reconcile(asked)), memory, oldest)
            report = _with_repair(report, written)
            news |= any(map(report.is_new, report.findings))
        read = report.verdict is not Verdict.INCOMPLETE
        # NOTE: as long as nothing was read to its end, the next round begins where this one did.
        watermark = window.until if read else found.watermark or window.since + OVERLAP
        return Round(report, news), replace(memory, verdict=report.verdict), watermark

    def _is_repairable(self, report: Report) -> bool:
        found = {finding.name for finding in report.findings}
        return report.verdict is not Verdict.INCOMPLETE and bool(found & _REPAIRABLE)

    def _failed(self, error: SourceError | PlanRefused, begun: datetime) -> Report:
        check, kind = (error.source, error.kind) if isinstance(error, SourceError) else ("database", "not-permitted")
        return Report(
            command=COMMAND,
            version=__version__,
            started_at=begun,
            finished_at=self._clock(),
            window=None,
            exit_code=ExitCode.INCOMPLETE,
            exit_reason=f"{error.summary}; nothing is claimed",
            skipped=[Skipped(check=check, kind=kind, reason=error.sentence)],
        )


def _at_work(other: Taken) -> Taken:
    """
    Raises:
        WatchSilent: It has not been heard for longer than one that works is silent.
    """
    if other.fresh:
        return other
    message = f"{other.sentence}, which is too long for one that works; nothing was looked at"
    raise WatchSilent(message, hint="see what became of it; it loses its place 5 minutes after it was heard last")


def _ours(report: Report) -> Report:
    return replace(report, command=COMMAND)


def _window(found: Handover, doctor: Backfilling) -> Window:
    """
    From the overlap before the watermark, or from the oldest finding that is still open: what nobody looks at any more
    would pass for repaired.
    """
    until = found.now.replace(microsecond=0)
    begin = found.watermark - OVERLAP if found.watermark else until - FIRST_LOOK
    ignored = doctor.living_with()
    open_since = [
        sighting.span.since
        for fingerprint, sighting in found.memory.sightings.items()
        if sighting.span and fingerprint not in ignored
    ]
    return Window(max(min([begin, *open_since]).replace(microsecond=0), until - doctor.retention), until)


def _written(doctor: Backfilling, asked: Request, repair: Repair) -> Report | DoctorError | None:
    """
    What came of planning and writing what is missing; None where there was nothing to write.
    """
    try:
        planned = doctor.plan(asked, repair)
        if isinstance(planned, Report):
            return planned
        return doctor.apply(planned, asked, repair) if planned.plan.steps else None
    except SettingsError:
        raise
    except DoctorError as error:
        return error


def _with_repair(report: Report, written: Report | DoctorError | None) -> Report:
    """
    The comparison afterwards, with what was written before it, or why it was not.
    """
    if written is None:
        return report
    summary = written.exit_reason if isinstance(written, Report) else written.sentence
    seen = report.exit_code is not ExitCode.INCOMPLETE
    code = written.exit_code if seen and written.exit_code in _UNREPAIRED else report.exit_code
    report = replace(report, exit_code=code, exit_reason=f"{report.exit_reason}; backfill: {summary}")
    if isinstance(written, DoctorError):
        return report
    return replace(
        report,
        summary={**report.summary, "applied": written.summary.get("applied", 0)},
        plan=written.plan,
        run=written.run,
        next_steps=[*written.next_steps[:1], *report.next_steps],
    )


def _forgotten(done: Round, why: str) -> Round:
    """
    The next round will not know of it.
    """
    reason = f"{done.report.exit_reason}; not remembered: {why}"
    return replace(done, report=replace(done.report, exit_code=ExitCode.INCOMPLETE, exit_reason=reason))
