"""
A world to watch without a database: what happens in it, the post of its watches, and a doctor that finds what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from booking_doctor.doctor import Planned, Repair, Request
from booking_doctor.doctor.backfilling import Backfilling
from booking_doctor.doctor.watching import Handover, Orders, Round, Taken, Watch
from booking_doctor.errors import DoctorError, ExitCode
from booking_doctor.findings import Finding, Report, RunView, Severity, Skipped, Window
from booking_doctor.sightings import Memory

NOON: Final = datetime(2025, 12, 8, 12, tzinfo=UTC)


@dataclass
class World:
    """
    What happens: a clock, texts without a row by their time, and what does not work.
    """

    now: datetime = NOON
    unrecorded: dict[str, datetime] = field(default_factory=dict)
    orphaned: dict[str, datetime] = field(default_factory=dict)
    meanwhile: dict[str, datetime] = field(default_factory=dict)
    breaks: bool = False
    ignored: frozenset[str] = frozenset()
    twilio_is_down: bool = False
    database_error: DoctorError | None = None
    refusal: DoctorError | None = None
    exit_code_of_apply: ExitCode = ExitCode.OK
    windows: list[Window] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    applied: int = 0


class MemoryPost:
    """
    Implements `booking_doctor.doctor.watching.Post`.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.memory, self.watermark = Memory(), cast("datetime | None", None)
        self.other: Taken | None = None
        self.superseded = False
        self.deaf: DoctorError | None = None
        self.held_now = False

    def take(self) -> Handover | Taken:
        """
        What was left, unless another one is there.
        """
        if self.world.database_error:
            raise self.world.database_error
        return self.other or Handover(memory=self.memory, watermark=self.watermark, now=self.world.now)

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        Look only meanwhile.
        """
        self.held_now = True
        yield
        self.held_now = False

    def leave(self, memory: Memory | None, watermark: datetime | None) -> bool:
        """
        Keep it, unless another one took over.
        """
        if self.deaf:
            raise self.deaf
        if not self.superseded and memory is not None:
            self.memory, self.watermark = memory, watermark
        return not self.superseded

    def close(self) -> None:
        """
        There is nothing to close.
        """


class StubDoctor:
    """
    Finds what is in the world, and repairs it.
    """

    retention = timedelta(days=400)

    def __init__(self, world: World, post: MemoryPost) -> None:
        self.world = world
        self.post = post
        self.started_at = world.now

    def living_with(self) -> frozenset[str]:
        """
        What the world ignores.
        """
        return self.world.ignored

    def reconcile(self, asked: Request) -> Report:
        """
        What is wrong in the window.
        """
        assert self.post.held_now
        world, window = self.world, asked.window
        world.windows.append(window)
        found = [
            Finding(
                name=name,
                severity=Severity.ERROR,
                subject=f"message/{sid}",
                summary="",
                remedy="",
                evidence={"date": at.isoformat()},
            )
            for name, texts in (("message-unrecorded", world.unrecorded), ("message-orphaned", world.orphaned))
            for sid, at in texts.items()
            if at in window and f"{name}:message/{sid}" not in world.ignored
        ]
        unread = [Skipped(check="twilio-log", kind="unreachable", reason="no answer")] if world.twilio_is_down else []
        return self._report(
            ExitCode.INCOMPLETE if unread else ExitCode.FINDINGS if found else ExitCode.OK,
            window=window,
            findings=[] if unread else found,
            skipped=unread,
            checks=["message-unrecorded", "message-orphaned"],
            set_aside=world.ignored,
            next_steps=[asked.command("backfill")],
        )

    def _report(self, exit_code: ExitCode, **values: Any) -> Report:
        defaults = {"command": "reconcile", "version": "1", "finished_at": self.world.now, "exit_reason": "so it is"}
        return Report(**{**defaults, **values}, started_at=self.started_at, exit_code=exit_code)

    def plan(self, asked: Request, repair: Repair) -> Planned:
        """
        A step for each text without a row.
        """

        @dataclass
        class Plan:
            steps: Sequence[str]

        @dataclass
        class Made:
            plan: Plan

        return cast("Planned", Made(Plan(list(self.world.unrecorded))))

    def apply(self, planned: Planned, asked: Request, repair: Repair) -> Report:
        """
        Afterwards nothing is missing.
        """
        self.world.twilio_is_down |= self.world.breaks
        if self.world.refusal:
            raise self.world.refusal
        number = len(planned.plan.steps)
        self.world.unrecorded.clear()
        self.world.unrecorded.update(self.world.meanwhile)
        self.world.applied += number
        return self._report(
            self.world.exit_code_of_apply,
            window=asked.window,
            summary={"applied": number},
            run=RunView(id="run-1", applied=number, verified=True),
            next_steps=["booking-doctor undo run-1"],
        )

    def close(self) -> None:
        """
        There is nothing to close.
        """


class Bell:
    """
    Implements `booking_doctor.core.shift.Alarm`: waiting is time that goes by.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.after: Callable[[], None] = lambda: None
        self.rung = False

    def ring(self) -> None:
        """
        It was.
        """
        self.rung = True

    def wait(self, at_most_s: float | None = None) -> None:
        """
        Time goes by at once.
        """
        assert at_most_s is not None
        self.world.waits.append(at_most_s)
        if not self.rung:
            self.world.now += timedelta(seconds=at_most_s)
        self.after()


@dataclass
class Scene:
    """
    A watch in its world.
    """

    world: World
    post: MemoryPost
    bell: Bell
    skew: timedelta = timedelta()

    def watch(self, repair: Repair | None = None) -> Watch:
        """
        One that was just started.
        """
        return Watch(
            self.post,
            lambda: cast("Backfilling", StubDoctor(self.world, self.post)),
            Orders(request=lambda window: Request(window=window), repair=repair),
            self.bell,
            lambda: self.world.now + self.skew,
        )

    def round(self, repair: Repair | None = None) -> Round:
        """
        What comes of a round of a watch that was just started, as cron does.
        """
        done = self.watch(repair).round()
        assert isinstance(done, Round)
        return done
