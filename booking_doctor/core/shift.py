"""
A worker's shift: so many jobs at a time, until nothing is due any more, or until it is told to end. As many more are taken
ahead, so that no hand waits for the queue, and given back where they are not begun.

It decides when to ask the queue for more and when to stop asking. What a job is and how its text is sent once is the
queue's business (`booking_doctor.core.worker`); what wakes a worker that waits is the alarm's.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Final, Protocol

from msgspec import Struct

from booking_doctor.core.booking import Job, JobOutcome
from booking_doctor.core.worker import TextQueue
from booking_doctor.errors import DatabaseError, DatabaseUnreachable, DoctorError

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0

_ENOUGH: Final = 10
"""When so many jobs in a row could not be finished, it is not the jobs. Fewer than twice the hands may be one mishap."""


class Alarm(Protocol):
    """
    What wakes a worker that waits.
    """

    def ring(self) -> None:
        """
        Wake it, or keep it from falling asleep; from any thread, and from a signal's handler.
        """

    def wait(self, at_most_s: float | None = None) -> None:
        """
        Wait until it rings, or it is time to look without having been rung for.

        Args:
            at_most_s: So long instead, in seconds.
        """


class Ended(Struct, frozen=True, kw_only=True):
    """
    A job was run, and the queue knows what became of it.
    """

    job: Job
    outcome: JobOutcome


class Unfinished(Struct, frozen=True, kw_only=True):
    """
    A job was run, and the database failed over it: it is taken up again, at the latest once its lease has run out.
    """

    job: Job
    error: DoctorError


class Outage(Struct, frozen=True, kw_only=True):
    """
    The queue cannot be reached, and is asked again after a pause.
    """

    error: DatabaseUnreachable
    pause_s: float


class Ending(Struct, frozen=True, kw_only=True):
    """
    The worker was told to end, and finishes what it has in hand.
    """

    in_hand: int


News = Ended | Unfinished | Outage | Ending


class Shift:
    """
    One worker, working its queue once.

    Args:
        executor: Has at least *concurrency* threads.
        watch: Whether to wait for more when nothing is due, and for the database when it is gone.
        limit: Take no more than so many jobs.
    """

    def __init__(
        self,
        queue: TextQueue,
        executor: Executor,
        alarm: Alarm,
        *,
        concurrency: int,
        watch: bool = False,
        limit: int | None = None,
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._alarm = alarm
        self._concurrency = concurrency
        self._watch = watch
        self._limit = limit
        self._taken = 0
        self._in_hand: dict[Future[JobOutcome], Job] = {}
        self._told = False
        self._ending = False
        self._misses = 0
        self._pause_s: float | None = None
        self._failure: BaseException | None = None

    @property
    def in_hand(self) -> int:
        """
        How many jobs were taken and have not ended.
        """
        return len(self._in_hand)

    def end(self) -> None:
        """
        Take no more jobs; those that were begun are finished. May be called by a signal's handler.
        """
        self._told = True
        self._alarm.ring()

    def work(self) -> Iterator[News]:
        """
        Do what is due, telling what happens. Whatever goes wrong, the jobs in hand are finished first.

        Raises:
            DatabaseError: The queue could not be asked; while watching, only where waiting would not help.
            DoctorError: One job after the other could not be finished: the last one's reason.
        """
        while not self._over():
            yield from self._heard()
            if not self._ending:
                yield from self._take()
            if not self._over():
                self._alarm.wait(self._pause_s)
            yield from self._finished()
        if self._failure:
            raise self._failure

    def _over(self) -> bool:
        return self._ending and not self._in_hand

    def _heard(self) -> Iterator[Ending]:
        if self._told and not self._ending:
            self._stop()
            yield Ending(in_hand=len(self._in_hand))

    def _stop(self) -> None:
        self._ending = True
        waiting = [future for future in self._in_hand if future.cancel()]
        if waiting:
            self._queue.give_back([self._in_hand.pop(future) for future in waiting])

    def _room(self) -> int:
        """
        How many jobs to take: several at once, while there is still something for every hand.
        """
        room = 2 * self._concurrency - len(self._in_hand)
        if 2 * room < self._concurrency:
            return 0
        return room if self._limit is None else min(room, self._limit - self._taken)

    def _take(self) -> Iterator[Outage]:
        room = self._room()
        if not room:
            return
        try:
            jobs = self._queue.claim(room)
        except DatabaseError as error:
            yield from self._unreached(error)
            return
        self._pause_s = None
        for job in jobs:
            self._begin(job)
        emptied = not self._in_hand and not self._watch
        self._ending |= emptied or self._taken == self._limit

    def _begin(self, job: Job) -> None:
        self._taken += 1
        future = self._executor.submit(self._queue.run, job)
        self._in_hand[future] = job
        future.add_done_callback(lambda _: self._alarm.ring())

    def _unreached(self, error: DatabaseError) -> Iterator[Outage]:
        if self._watch and isinstance(error, DatabaseUnreachable):
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s) if self._pause_s else _FIRST_PAUSE_S
            yield Outage(error=error, pause_s=self._pause_s)
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stop()

    def _finished(self) -> Iterator[Ended | Unfinished]:
        for future in [future for future in self._in_hand if future.done()]:
            job, error = self._in_hand.pop(future), future.exception()
            if error is None:
                self._misses = 0
                yield Ended(job=job, outcome=future.result())
            elif isinstance(error, DoctorError):
                self._missed(error)
                yield Unfinished(job=job, error=error)
            else:
                self._fail(error)

    def _missed(self, error: DoctorError) -> None:
        # NOTE: an outage is noticed when the queue is asked for more, and may be waited out.
        self._misses += not isinstance(error, DatabaseUnreachable)
        if self._misses >= max(_ENOUGH, 2 * self._concurrency):
            self._fail(error)
