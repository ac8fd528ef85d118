"""
What the booking flow needs of the world: a store with transactions, somebody who texts, somebody who looks texts up.

The adapters on PostgreSQL and Twilio, and their twins in memory, pass the same tests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from booking_doctor.core.booking import (
    Customer,
    Event,
    InitialSms,
    Job,
    JobOutcome,
    MessageRow,
    PendingBooking,
)
from booking_doctor.core.model import TwilioMessage

# --- the store -------------------------------------------------------------------------------------------------------


class UnitOfWork(Protocol):
    """
    One transaction: all of it is stored when the block ends, and nothing where an error leaves it.

    Every write must touch the row it is about; each may raise `NothingWritten`, and any of them `DatabaseError`.
    """

    def event(self, event_id: str) -> Event | None:
        """
        The event with that id; None where there is none.
        """

    def add_booking(self, booking: PendingBooking) -> str | None:
        """
        Store it with its text's intent and return its id; None where its own id is taken.
        """

    def booking(self, booking_id: str) -> PendingBooking | None:
        """
        The booking as it is, without waiting for others; None where there is none.
        """

    def booking_with(self, token: str) -> PendingBooking | None:
        """
        The booking that this token confirms, likewise.
        """

    def locked(self, booking_id: str) -> PendingBooking | None:
        """
        The booking as nobody else can change it before this transaction ends; None where there is none.

        Raises:
            NothingWritten: It is there, and this role may not change it.
        """

    def keep(self, booking_id: str, sms: InitialSms) -> None:
        """
        Put the text's state into the booking's metadata; what else is in there stays.
        """

    def queue_for(self, phone: str) -> None:
        """
        Wait until no other transaction does anything that is about this phone, and have others wait for this one.
        """

    def customers_with(self, phone: str) -> Sequence[Customer]:
        """
        Customers whose phone may be that one, in whatever form it is stored; whoever asks compares them as E.164.
        """

    def add_customer(self, booking: PendingBooking) -> str:
        """
        Make a customer of who booked, and return its id.
        """

    def confirm(self, booking: PendingBooking, customer_id: str, now: datetime) -> None:
        """
        Set the booking to confirmed, and make the lasting booking of it.
        """

    def recorded_status(self, message_sid: str) -> str | None:
        """
        The status of the row with that SID, empty where it has none; None where there is no such row.
        """

    def record(self, row: MessageRow) -> None:
        """
        Insert the text into ``messages``; both SID columns are set.
        """

    def advance(self, message_sid: str, status: str) -> None:
        """
        Set the status of the rows with that SID.
        """

    def claimed(self, message_sids: Collection[str], *, but_for: PendingBooking) -> frozenset[str]:
        """
        Those SIDs that another booking has, or a row of another customer than this booking's.
        """

    def add_job(self, booking: PendingBooking, run_at: datetime) -> str:
        """
        Queue the booking's text and return the job's id. Whoever listens on the channel of the queue is woken.
        """

    def claim_jobs(self, now: datetime, *, lost_before: datetime, limit: int) -> Sequence[Job]:
        """
        Take up to so many jobs that are due and nobody else has, oldest first; they are running now.

        Args:
            lost_before: A job that has been running since before that has lost its worker, and is due again.
        """

    def give_back(self, job: Job) -> None:
        """
        A job that was claimed is queued again, as if it had not been; unless another worker has taken it since.
        """

    def finish(self, job: Job, outcome: JobOutcome, now: datetime) -> None:
        """
        Say what became of a job that was claimed. Where another worker has taken it since, only that it is done counts.
        """


class Store(Protocol):
    """
    Where bookings are kept.
    """

    def begin(self) -> AbstractContextManager[UnitOfWork]:
        """
        Begin a transaction.

        Raises:
            DatabaseError: It could not be begun, or not be ended.
        """

    def note(self, action: str, booking_id: str | None, details: Mapping[str, Any]) -> str | None:
        """
        Write into ``audit_logs``, where this installation has it. Never fails.

        Returns:
            Why it could not be written; None where it was, or where there is no such table.
        """

    def close(self) -> None:
        """
        Give back what is held.
        """


# --- texting ---------------------------------------------------------------------------------------------------------


class Text(Struct, frozen=True, kw_only=True):
    """
    A text to be sent.

    Attributes:
        callback: Where Twilio is to report its status.
    """

    to: str
    body: str
    callback: str | None = None


class Accepted(Struct, frozen=True, kw_only=True):
    """
    Twilio took it.
    """

    message: TwilioMessage


class NotSent(Struct, frozen=True, kw_only=True):
    """
    It was certainly not sent.

    Attributes:
        code: Twilio's; None where Twilio was not reached.
        reason: In words, without personal data.
        passing: Whether the same may succeed later.
    """

    code: int | None
    reason: str
    passing: bool = False


class Lost(Struct, frozen=True, kw_only=True):
    """
    No answer came: it may have been sent or not.
    """

    reason: str


Answer = Accepted | NotSent | Lost


class Messenger(Protocol):
    """
    Somebody who texts.
    """

    def send(self, text: Text) -> Answer:
        """
        Have it sent once. Tried again only where it certainly was not taken.
        """


class MessageFinder(Protocol):
    """
    Somebody who looks into Twilio's log.
    """

    def sent_to(self, phone: str, since: datetime, *, within_s: float) -> Sequence[TwilioMessage]:
        """
        All texts to that phone since then, oldest first. Its list lags: what is young may be missing.

        Args:
            within_s: How long to wait for the answer, in seconds.

        Raises:
            TwilioError: It could not be asked, or not all of it could be read.
        """


# --- the rest --------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """
    What time it is.
    """

    def now(self) -> datetime:
        """
        Aware, in UTC.
        """

    def monotonic(self) -> float:
        """
        Seconds that never run backwards, to tell how long something took.
        """

    def sleep(self, seconds: float) -> None:
        """
        Wait.
        """


class Ids(Protocol):
    """
    Where what must not be guessed comes from.
    """

    def token(self) -> str:
        """
        What will confirm a booking.
        """

    def attempt(self) -> str:
        """
        What one attempt to text goes by.
        """
