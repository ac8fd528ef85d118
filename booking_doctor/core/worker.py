"""
The queue of texts: claim what is due, send it once, record what became of it.

How long to keep going, how many at a time and what wakes a worker is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from booking_doctor.core import queue
from booking_doctor.core.booking import InitialSms, Job, JobOutcome, JobState, PendingBooking
from booking_doctor.core.ports import Ids, UnitOfWork
from booking_doctor.core.queue import Move
from booking_doctor.core.texting import Texting, intent_of, there
from booking_doctor.core.trail import Trail, audited
from booking_doctor.errors import DatabaseError, OutcomeNotStored, TextTooLong, TwilioError

_STORE_AGAIN_S: Final = (0.2, 1.0, 5.0, 15.0, 30.0)
"""As in `booking_doctor.core.service`, where nobody waits; well within the lease."""


class TextQueue:
    """
    Texts that wait for their turn. Many workers on many machines may share one; each job is one worker's.
    """

    def __init__(self, texting: Texting, ids: Ids, variables: tuple[str, ...] = ()) -> None:
        self._texting = texting
        self._ids = ids
        self._variables = variables

    def claim(self, limit: int) -> Sequence[Job]:
        """
        Take up to so many jobs that are due; nobody else gets them. One whose worker was lost is due again.

        Raises:
            DatabaseError: They could not be taken; nothing was.
        """
        now = self._texting.clock.now()
        with self._texting.store.begin() as work:
            return work.claim_jobs(now, lost_before=now - queue.LEASE, limit=limit)

    def give_back(self, jobs: Sequence[Job]) -> None:
        """
        Have it as if these, which were claimed and not begun, had not been. Where this cannot be stored, they are due again
        once their lease has run out.
        """
        with suppress(DatabaseError), self._texting.store.begin() as work:
            for job in jobs:
                work.give_back(job)

    def run(self, job: Job) -> JobOutcome:
        """
        Send the text of a job that was claimed, once, and record what became of it; look it up where it may have gone out.

        Raises:
            OutcomeNotStored: The text went out, or may have, and the database does not know what became of it. The job
                is put off; where not even that could be stored, it is looked into once its lease has run out.
            DatabaseError: Nothing was sent, and the job is put off likewise.
        """
        try:
            return self._run(job)
        except (OutcomeNotStored, DatabaseError) as error:
            self._put_off(job, error.summary)
            raise

    def _put_off(self, job: Job, reason: str) -> None:
        now = self._texting.clock.now()
        with suppress(DatabaseError), self._texting.store.begin() as work:
            work.finish(job, queue.unfinished(job, reason, now), now)

    def _run(self, job: Job) -> JobOutcome:
        store, clock = self._texting.store, self._texting.clock
        with audited("run_job", store, clock, self._variables, unless_fine=True) as trail:
            with trail.step("see what is to be done"):
                move, booking, outcome = self._take_up(job)
            if booking:
                trail.about(booking)
            if booking and move is Move.SEND:
                outcome = self._send(job, booking, trail)
            elif booking and move is Move.LOOK_UP:
                outcome = self._look_up(job, booking, trail)
            if outcome.reason:
                trail.warn(outcome.reason)
            return outcome

    def run_due(self, limit: int = 10) -> Sequence[JobOutcome]:
        """
        Claim so many jobs and run them, one after the other.
        """
        return [self.run(job) for job in self.claim(limit)]

    def _take_up(self, job: Job) -> tuple[Move, PendingBooking | None, JobOutcome]:
        """
        One transaction: what to do, the intent to send being stored before it is carried out.
        """
        now = self._texting.clock.now()
        with self._texting.store.begin() as work:
            if given_up := queue.hopeless(job):
                work.finish(job, given_up, now)
                return Move.END, None, given_up
            booking = work.locked(job.booking_id) if job.booking_id else None
            move, outcome = queue.move(job, booking, now)
            if booking and move is Move.SEND:
                move, outcome = self._intend(job, booking, outcome, now)
            if booking:
                booking = self._texting.settle(work, booking, outcome.sms)
            if move is Move.END:
                work.finish(job, outcome, now)
            return move, booking, outcome

    def _intend(self, job: Job, booking: PendingBooking, outcome: JobOutcome, now: datetime) -> tuple[Move, JobOutcome]:
        try:
            attempt_id = (booking.sms and booking.sms.attempt_id) or self._ids.attempt()
            sms = queue.taken_up(job, booking, attempt_id, self._texting.terms, now)
        except TextTooLong as error:
            return Move.END, replace(outcome, state=JobState.FAILED, reason=error.summary)
        return Move.SEND, replace(outcome, sms=sms)

    def _send(self, job: Job, booking: PendingBooking, trail: Trail) -> JobOutcome:
        answer = self._texting.send(booking, trail)
        now = self._texting.clock.now()

        def settle(work: UnitOfWork, locked: PendingBooking, sms: InitialSms) -> JobOutcome:
            return self._end(work, job, locked, queue.after_send(job, sms, answer, now))

        with trail.step("store what became of the text"):
            return self._texting.keep(booking, answer, settle, again_s=_STORE_AGAIN_S)

    def _look_up(self, job: Job, booking: PendingBooking, trail: Trail) -> JobOutcome:
        try:
            _, resolution = self._texting.resolve(booking, trail)
        except TwilioError as error:
            reason = error.summary
            return self._finish(job, booking, lambda sms, now: queue.look_later(job, sms, reason, now))
        return self._finish(job, booking, lambda sms, now: queue.after_look(job, sms, resolution, now))

    def _finish(
        self, job: Job, booking: PendingBooking, judge: Callable[[InitialSms, datetime], JobOutcome]
    ) -> JobOutcome:
        now = self._texting.clock.now()
        with self._texting.store.begin() as work:
            locked = there(work.locked(booking.id))
            return self._end(work, job, locked, judge(locked.sms or intent_of(booking), now))

    def _end(self, work: UnitOfWork, job: Job, locked: PendingBooking, outcome: JobOutcome) -> JobOutcome:
        self._texting.settle(work, locked, outcome.sms)
        work.finish(job, outcome, self._texting.clock.now())
        return outcome
