"""
The booking flow's ports in memory: for tests of applications that use the flow, and of the flow itself.

They keep the promises of PostgreSQL and Twilio that the flow relies on, and pass the same tests as the real adapters:
transactions that are stored whole or not at all and one after the other, a log that lags.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from msgspec import Struct, field
from msgspec.structs import replace

from booking_doctor.core.booking import (
    Customer,
    Event,
    InitialSms,
    Job,
    JobOutcome,
    JobState,
    MessageRow,
    PendingBooking,
)
from booking_doctor.core.model import TwilioMessage
from booking_doctor.core.ports import Accepted, Answer, NotSent, Text
from booking_doctor.core.segments import segments
from booking_doctor.errors import NothingWritten


class MemoryJob(Struct, frozen=True, kw_only=True):
    """
    A row of the queue.
    """

    job: Job
    status: str = "queued"
    last_error: str | None = None


class Tables(Struct, kw_only=True):
    """
    What is stored, by id.

    Attributes:
        bookings: Pending bookings by their id, the lasting ones by the pending one they were made of.
        messages: By SID; a second row for one SID could not even be written.
    """

    events: dict[str, Event] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    bookings: dict[str, PendingBooking] = field(default_factory=dict)
    messages: dict[str, MessageRow] = field(default_factory=dict)
    jobs: dict[str, MemoryJob] = field(default_factory=dict)
    notes: list[tuple[str, str | None, Mapping[str, Any]]] = field(default_factory=list)

    def copy(self) -> Tables:
        """
        The same rows, to be changed without changing these.
        """
        return Tables(
            events=dict(self.events),
            customers=dict(self.customers),
            bookings=dict(self.bookings),
            messages=dict(self.messages),
            jobs=dict(self.jobs),
            notes=list(self.notes),
        )


class MemoryStore:
    """
    Implements `booking_doctor.core.ports.Store`.

    Attributes:
        tables: What is stored now.
    """

    def __init__(self) -> None:
        self.tables = Tables()
        self._lock = threading.RLock()
        self._numbers = count(1)

    @contextmanager
    def begin(self) -> Iterator[MemoryUnitOfWork]:
        """
        One transaction at a time.
        """
        with self._lock:
            tables = self.tables.copy()
            yield MemoryUnitOfWork(tables, self._numbers)
            self.tables = tables

    def note(self, action: str, booking_id: str | None, details: Mapping[str, Any]) -> str | None:
        """
        Keep it.
        """
        with self._lock:
            self.tables.notes.append((action, booking_id, details))
        return None

    def close(self) -> None:
        """
        Nothing is held.
        """


class MemoryUnitOfWork:
    """
    Implements `booking_doctor.core.ports.UnitOfWork`.
    """

    def __init__(self, tables: Tables, numbers: Iterator[int]) -> None:
        self._tables = tables
        self._numbers = numbers

    def event(self, event_id: str) -> Event | None:
        """
        By id.
        """
        return self._tables.events.get(event_id)

    def add_booking(self, booking: PendingBooking) -> str | None:
        """
        A random id, unless it has one.
        """
        booking_id = booking.id or str(uuid4())
        if booking_id in self._tables.bookings:
            return None
        self._tables.bookings[booking_id] = replace(booking, id=booking_id)
        return booking_id

    def booking(self, booking_id: str) -> PendingBooking | None:
        """
        By id.
        """
        return self._tables.bookings.get(booking_id)

    def booking_with(self, token: str) -> PendingBooking | None:
        """
        By token.
        """
        return next((booking for booking in self._tables.bookings.values() if booking.token == token), None)

    def locked(self, booking_id: str) -> PendingBooking | None:
        """
        All of it is.
        """
        return self.booking(booking_id)

    def keep(self, booking_id: str, sms: InitialSms) -> None:
        """
        Store the text's state.
        """
        self._tables.bookings[booking_id] = self._stored(booking_id).with_sms(sms)

    def queue_for(self, phone: str) -> None:
        """
        Nothing happens at the same time anyway.
        """

    def customers_with(self, phone: str) -> Sequence[Customer]:  # noqa: ARG002
        """
        All of them: whoever asks compares.
        """
        return list(self._tables.customers.values())

    def add_customer(self, booking: PendingBooking) -> str:
        """
        A random id.
        """
        customer = Customer(
            id=str(uuid4()),
            phone=booking.customer_phone,
            email=booking.customer_email,
            created_at=booking.created_at,
        )
        self._tables.customers[customer.id] = customer
        return customer.id

    def confirm(self, booking: PendingBooking, customer_id: str, now: datetime) -> None:  # noqa: ARG002
        """
        Set its status.
        """
        stored = self._stored(booking.id)
        self._tables.bookings[booking.id] = replace(stored, status="confirmed", customer_id=customer_id)

    def recorded_status(self, message_sid: str) -> str | None:
        """
        By SID.
        """
        row = self._tables.messages.get(message_sid)
        return None if row is None else row.status or ""

    def record(self, row: MessageRow) -> None:
        """
        One row for a SID.
        """
        if row.message_sid in self._tables.messages:
            what = "messages"
            raise NothingWritten(what, "its SID is recorded already")
        self._tables.messages[row.message_sid] = row

    def advance(self, message_sid: str, status: str) -> None:
        """
        Set its status.
        """
        self._tables.messages[message_sid] = replace(self._tables.messages[message_sid], status=status)

    def claimed(self, message_sids: Collection[str], *, but_for: PendingBooking) -> frozenset[str]:
        """
        By rows and by other bookings.
        """
        bookings, rows = self._tables.bookings.values(), self._tables.messages.values()
        theirs = {booking.sms.message_sid for booking in bookings if booking.sms and booking.id != but_for.id}
        recorded = {row.message_sid for row in rows if row.customer_id != but_for.customer_id}
        return frozenset(message_sids) & (theirs | recorded)

    def add_job(self, booking: PendingBooking, run_at: datetime) -> str:
        """
        The next number.
        """
        job = Job(id=str(next(self._numbers)), booking_id=booking.id, run_at=run_at)
        self._tables.jobs[job.id] = MemoryJob(job=job)
        return job.id

    def claim_jobs(self, now: datetime, *, lost_before: datetime, limit: int) -> Sequence[Job]:
        """
        Those that are due.
        """
        due = [
            replace(row.job, lost=row.status == "running")
            for row in self._tables.jobs.values()
            if (row.status == "queued" and row.job.run_at <= now)
            or (row.status == "running" and row.job.run_at < lost_before)
        ]
        oldest = sorted(due, key=lambda job: (job.run_at, int(job.id)))[:limit]
        claimed = [replace(job, run_at=now, attempts=job.attempts + 1) for job in oldest]
        self._tables.jobs |= {job.id: MemoryJob(job=job, status="running") for job in claimed}
        return claimed

    def give_back(self, job: Job) -> None:
        """
        Set its status.
        """
        if self._ours(job):
            self._tables.jobs[job.id] = MemoryJob(job=replace(job, attempts=job.attempts - 1))

    def _ours(self, job: Job) -> bool:
        row = self._tables.jobs[job.id]
        return row.status == "running" and row.job.attempts == job.attempts

    def finish(self, job: Job, outcome: JobOutcome, now: datetime) -> None:  # noqa: ARG002
        """
        Set its status.
        """
        row = self._tables.jobs[job.id]
        if self._ours(job) or outcome.state is JobState.DONE:
            again = replace(row.job, run_at=outcome.run_at or row.job.run_at)
            self._tables.jobs[job.id] = MemoryJob(job=again, status=outcome.state, last_error=outcome.reason)

    def _stored(self, booking_id: str) -> PendingBooking:
        booking = self._tables.bookings.get(booking_id)
        if booking is None:
            what = "pending_bookings.metadata"
            raise NothingWritten(what)
        return booking


class MemoryTwilio:
    """
    Implements `booking_doctor.core.ports.Messenger` and `MessageFinder`: an account whose texts are all taken.

    Args:
        list_lag: How long a text is missing from the log.

    Attributes:
        log: Every text that was taken, oldest first.
        callbacks: Where each is to report its status, by SID.
        answers: What is answered to the next texts, instead of taking them, or after.
    """

    def __init__(self, clock: Callable[[], datetime], *, sender: str, list_lag: timedelta = timedelta(0)) -> None:
        self.log: list[TwilioMessage] = []
        self.callbacks: dict[str, str | None] = {}
        self.answers: list[Answer] = []
        self.list_lag = list_lag
        self._clock = clock
        self._sender = sender
        self._numbers = count(1)

    def send(self, text: Text) -> Answer:
        """
        Take it, unless something else was ordered; what is `booking_doctor.core.ports.Lost` was taken all the same.
        """
        if not text.body:
            return NotSent(code=21602, reason="Twilio refused it: the text was empty")
        answer = self.answers.pop(0) if self.answers else None
        if not isinstance(answer, NotSent):
            message = self._taken(text)
            answer = answer or Accepted(message=message)
        return answer

    def _taken(self, text: Text) -> TwilioMessage:
        message = TwilioMessage(
            sid=f"SM{next(self._numbers):032x}",
            status="queued",
            direction="outbound-api",
            to=text.to,
            from_number=self._sender,
            body=text.body,
            num_segments=str(segments(text.body)),
            date_created=f"{self._clock():%a, %d %b %Y %H:%M:%S} +0000",
        )
        self.log.append(message)
        self.callbacks[message.sid] = text.callback
        return message

    def sent_to(self, phone: str, since: datetime, *, within_s: float) -> Sequence[TwilioMessage]:  # noqa: ARG002
        """
        What the log shows by now.
        """
        shown = self._clock() - self.list_lag
        return [message for message in self.log if message.to == phone and since <= message.happened_at <= shown]
