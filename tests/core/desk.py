"""
A booking desk: the booking flow with everything around it, in memory or on PostgreSQL and the Twilio simulator.

Whatever a test asks of the one it can ask of the other, in the same words.
"""
# ruff: noqa: D102  the protocol says what each method does

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, Protocol
from uuid import uuid4

from msgspec.structs import replace

from booking_doctor.adapters.memory import MemoryJob, MemoryStore, MemoryTwilio
from booking_doctor.adapters.services import Patience
from booking_doctor.bootstrap import booking_service_for
from booking_doctor.core.booking import (
    BookingRequest,
    Customer,
    Event,
    InitialSms,
    Initiated,
    Job,
    MessageRow,
    PendingBooking,
    StatusReport,
)
from booking_doctor.core.flow import Invitation, Terms, invite
from booking_doctor.core.metadata import metadata_of, sms_in
from booking_doctor.core.ports import Lost, NotSent
from booking_doctor.core.service import BookingService
from booking_doctor.sandbox.incidents import SENDER, World
from booking_doctor.sandbox.twilio_faults import Fault, On
from booking_doctor.settings import Preferences

APP = "https://book.example"
PHONE, OTHER_PHONE = "+15550101000", "+15550101001"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class TestClock:
    """
    A clock that moves when it is told to, or when somebody sleeps.
    """

    __test__ = False

    moment: datetime = NOON
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def forward(self, **much: float) -> None:
        self.moment += timedelta(**much)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """
    A row of ``messages``, as far as both worlds have it.
    """

    message_sid: str
    customer_id: str
    status: str | None
    body: str | None
    to_number: str | None
    created_at: datetime


class Desk(Protocol):
    """
    What tests ask of a booking desk.
    """

    service: BookingService
    clock: TestClock
    event_id: str

    @property
    def taken(self) -> list[tuple[str, str, str]]:
        """
        Every text that Twilio took, oldest first: SID, recipient, words.
        """

    @property
    def recorded(self) -> list[Recorded]:
        """
        The rows of ``messages``.
        """

    @property
    def customers(self) -> list[Customer]:
        """
        The rows of ``customers``.
        """

    @property
    def jobs(self) -> list[tuple[str, int, str | None]]:
        """
        Status, tries and last error of each job.
        """

    @property
    def notes(self) -> list[tuple[str, str | None, Any]]:
        """
        Action, booking and details of each entry of the audit log.
        """

    def booking(self, booking_id: str) -> PendingBooking:
        """
        The booking as it is stored.
        """

    def customer(self, phone: str, email: str | None = None, age: timedelta = timedelta(0)) -> str:
        """
        A customer exists.
        """

    def close_booking(self, booking_id: str, status: str) -> None:
        """
        Somebody sets the booking's status.
        """

    def set_sms(self, booking_id: str, sms: InitialSms | None) -> None:
        """
        Somebody writes the booking's metadata.
        """

    def record(self, sid: str, customer_id: str, status: str) -> None:
        """
        Somebody records a text.
        """

    def put_job(self, **payload: Any) -> None:
        """
        Somebody queues a text, in their own way.
        """

    def queue_again(self) -> None:
        """
        Somebody queues all jobs again.
        """

    def lose_answer(self) -> None:
        """
        Twilio takes the next text, and the answer is lost.
        """

    def hang(self) -> None:
        """
        Twilio takes the next text and does not answer.
        """

    def refuse(self, phone: str) -> None:
        """
        Twilio refuses the next text, which is to that phone: its owner opted out.
        """

    def throttle(self, times: int) -> None:
        """
        Twilio does nothing with so many texts, however often they are tried.
        """

    def lag(self, much: timedelta) -> None:
        """
        Twilio's list does not show what is younger.
        """

    def reword(self, text: str) -> None:
        """
        All texts read so from now on.
        """


def request(desk: Desk, phone: str = PHONE, email: str | None = None, name: str = "Ada") -> BookingRequest:
    """
    What a customer asks for.
    """
    return BookingRequest(event_id=desk.event_id, customer_name=name, customer_phone=phone, customer_email=email)


def initiate(desk: Desk, phone: str = PHONE, **options: Any) -> Initiated:
    """
    A booking that is being made.
    """
    return desk.service.initiate_booking(request(desk, phone), **options)


def report(desk: Desk, booking_id: str, sid: str, status: str, **more: Any) -> StatusReport:
    """
    The status callback that Twilio makes for the text of that booking.
    """
    sms = desk.booking(booking_id).sms
    attempt_id = sms.attempt_id if sms else None
    return StatusReport(message_sid=sid, status=status, booking_id=booking_id, attempt_id=attempt_id, **more)


# --- in memory -------------------------------------------------------------------------------------------------------


class MemoryDesk:
    """
    Everything in memory.
    """

    def __init__(self) -> None:
        self.clock = TestClock()
        self.event_id = str(uuid4())
        self.store = MemoryStore()
        self.store.tables.events[self.event_id] = Event(id=self.event_id, title="Dinner")
        self.twilio = MemoryTwilio(self.clock.now, sender=SENDER)
        self.words: str | None = None
        self.service = self.another_service()
        self._numbers = count(1)

    def another_service(self) -> BookingService:
        return BookingService(
            store=self.store,
            messenger=self.twilio,
            finder=self.twilio,
            terms=Terms(app_url=APP, text=self._text),
            clock=self.clock,
            variables=["DATABASE_URL"],
        )

    @property
    def taken(self) -> list[tuple[str, str, str]]:
        return [(message.sid, message.to or "", message.body or "") for message in self.twilio.log]

    @property
    def recorded(self) -> list[Recorded]:
        return [
            Recorded(
                message_sid=row.message_sid,
                customer_id=row.customer_id,
                status=row.status,
                body=row.body,
                to_number=row.to_number,
                created_at=row.created_at,
            )
            for row in self.store.tables.messages.values()
        ]

    @property
    def customers(self) -> list[Customer]:
        return list(self.store.tables.customers.values())

    @property
    def jobs(self) -> list[tuple[str, int, str | None]]:
        return [(str(row.status), row.job.attempts, row.last_error) for row in self.store.tables.jobs.values()]

    @property
    def notes(self) -> list[tuple[str, str | None, Any]]:
        return [(action, booking_id, details) for action, booking_id, details in self.store.tables.notes]

    def booking(self, booking_id: str) -> PendingBooking:
        return self.store.tables.bookings[booking_id]

    def customer(self, phone: str, email: str | None = None, age: timedelta = timedelta(0)) -> str:
        customer = Customer(id=str(uuid4()), phone=phone, email=email, created_at=self.clock.now() - age)
        self.store.tables.customers[customer.id] = customer
        return customer.id

    def close_booking(self, booking_id: str, status: str) -> None:
        self.store.tables.bookings[booking_id] = replace(self.booking(booking_id), status=status)

    def set_sms(self, booking_id: str, sms: InitialSms | None) -> None:
        self.store.tables.bookings[booking_id] = replace(self.booking(booking_id), sms=sms)

    def record(self, sid: str, customer_id: str, status: str) -> None:
        self.store.tables.messages[sid] = MessageRow(
            customer_id=customer_id,
            message_sid=sid,
            body="…",
            status=status,
            from_number=SENDER,
            to_number=PHONE,
            segments=1,
            cost_usd=Decimal("0.0079"),
            created_at=self.clock.now(),
        )

    def put_job(self, **payload: Any) -> None:
        job = Job(
            id=str(10_000 + next(self._numbers)),
            booking_id=payload.get("pending_booking_id"),
            run_at=self.clock.now(),
            to_number=payload.get("to"),
            body=payload.get("body"),
        )
        self.store.tables.jobs[job.id] = MemoryJob(job=job)

    def queue_again(self) -> None:
        for row in self.store.tables.jobs.values():
            self.store.tables.jobs[row.job.id] = MemoryJob(job=row.job)

    def lose_answer(self) -> None:
        self.twilio.answers.append(Lost(reason="the connection to Twilio was lost"))

    def hang(self) -> None:
        self.twilio.answers.append(Lost(reason="Twilio does not answer"))

    def refuse(self, phone: str) -> None:
        self.twilio.answers.append(NotSent(code=21610, reason="Twilio refused it: the recipient opted out"))

    def throttle(self, times: int) -> None:
        self.twilio.answers += [
            NotSent(code=20429, reason="Twilio was asked for too much at once", passing=True) for _ in range(times)
        ]

    def lag(self, much: timedelta) -> None:
        self.twilio.list_lag = much

    def reword(self, text: str) -> None:
        self.words = text

    def _text(self, invitation: Invitation) -> str:
        return invite(invitation) if self.words is None else self.words


# --- on PostgreSQL and the simulator ---------------------------------------------------------------------------------

IMPATIENT = Patience(connect_timeout=2, read_timeout=0.4, first_wait=0.01, first_tries=3)


class RealDesk:
    """
    The real adapters, on a real PostgreSQL and over HTTP.
    """

    def __init__(self, scene: World) -> None:
        self.scene = scene
        self.clock = TestClock()
        scene.account.clock = self.clock.now
        self.event_id = scene.event()
        self.words: str | None = None
        self.services: list[BookingService] = []
        self.service = self.another_service()

    def another_service(self, preferences: Preferences = Preferences(), **variables: str) -> BookingService:
        service = booking_service_for(
            {**self.scene.environment(), "BOOKING_APP_URL": APP, **variables},
            preferences,
            text=self._text,
            clock=self.clock,
            patience=IMPATIENT,
        )
        self.services.append(service)
        return service

    def close(self) -> None:
        for service in self.services:
            service.close()

    @property
    def taken(self) -> list[tuple[str, str, str]]:
        messages = [message for message in self.scene.account.messages() if message.stage(NOON).error_code is None]
        return [(message.sid, message.to or "", message.body) for message in reversed(messages)]

    @property
    def recorded(self) -> list[Recorded]:
        rows = self.scene.rows("SELECT * FROM messages ORDER BY id")
        assert all(row["message_sid"] == row["twilio_message_sid"] for row in rows)
        assert all(row["status"] == row["twilio_status"] for row in rows)
        assert all(row["direction"] == "outbound" for row in rows)
        return [
            Recorded(
                message_sid=row["message_sid"],
                customer_id=str(row["customer_id"]),
                status=row["status"],
                body=row["body"],
                to_number=row["to_number"],
                created_at=row["created_at"],
            )
            for row in rows
        ]

    @property
    def customers(self) -> list[Customer]:
        rows = self.scene.rows("SELECT * FROM customers ORDER BY created_at")
        return [
            Customer(id=str(row["id"]), phone=row["phone"], email=row["email"], created_at=row["created_at"])
            for row in rows
        ]

    @property
    def jobs(self) -> list[tuple[str, int, str | None]]:
        return [
            (row["status"], row["attempts"], row["last_error"])
            for row in self.scene.rows("SELECT * FROM jobs ORDER BY id")
        ]

    @property
    def notes(self) -> list[tuple[str, str | None, Any]]:
        rows = self.scene.rows("SELECT * FROM audit_logs ORDER BY id")
        return [(row["action"], row["entity_id"], row["details"]) for row in rows]

    def booking(self, booking_id: str) -> PendingBooking:
        (row,) = self.scene.rows("SELECT * FROM pending_bookings WHERE id = :id", id=booking_id)
        return PendingBooking(
            id=str(row["id"]),
            token=row["token"],
            event_id=str(row["event_id"]),
            customer_name=row["customer_name"],
            customer_email=row["customer_email"],
            customer_phone=row["customer_phone"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            status=row["status"],
            customer_id=row["customer_id"] and str(row["customer_id"]),
            sms=sms_in(json.dumps(row["metadata"])),
        )

    def customer(self, phone: str, email: str | None = None, age: timedelta = timedelta(0)) -> str:
        return self.scene.customer(phone, email=email, created_at=self.clock.now() - age)

    def close_booking(self, booking_id: str, status: str) -> None:
        self.scene.execute("UPDATE pending_bookings SET status = :status WHERE id = :id", status=status, id=booking_id)

    def set_sms(self, booking_id: str, sms: InitialSms | None) -> None:
        booking = replace(self.booking(booking_id), sms=sms)
        self.scene.execute(
            "UPDATE pending_bookings SET metadata = CAST(:metadata AS jsonb) WHERE id = :id",
            metadata=metadata_of(booking),
            id=booking_id,
        )

    def record(self, sid: str, customer_id: str, status: str) -> None:
        self.scene.execute(
            "INSERT INTO messages (customer_id, direction, message_sid, twilio_message_sid, status, twilio_status)"
            " VALUES (CAST(:customer_id AS uuid), 'outbound', :sid, :sid, :status, :status)",
            customer_id=customer_id,
            sid=sid,
            status=status,
        )

    def put_job(self, **payload: Any) -> None:
        self.scene.job(type="send_booking_confirmation_sms", payload=payload, run_at=self.clock.now())

    def queue_again(self) -> None:
        self.scene.execute("UPDATE jobs SET status = 'queued', run_at = :now", now=self.clock.now())

    def lose_answer(self) -> None:
        self.scene.simulator.faults.add(Fault.reset(stored=True), on=On(method="POST"))

    def hang(self) -> None:
        self.scene.simulator.faults.add(Fault.hang(stored=True), on=On(method="POST"))

    def refuse(self, phone: str) -> None:
        self.scene.account.opted_out.add(phone)

    def throttle(self, times: int) -> None:
        self.scene.simulator.faults.add(Fault.throttled(), times=times * IMPATIENT.first_tries, on=On(method="POST"))

    def lag(self, much: timedelta) -> None:
        self.scene.account.list_lag = much

    def reword(self, text: str) -> None:
        self.words = text

    def _text(self, invitation: Invitation) -> str:
        return invite(invitation) if self.words is None else self.words


@contextmanager
def real_desk(scene: World) -> Iterator[RealDesk]:
    """
    A desk on that scene.
    """
    desk = RealDesk(scene)
    try:
        yield desk
    finally:
        desk.close()
