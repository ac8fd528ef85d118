"""
What the booking flow deals in: a request, a pending booking, the attempt to text its customer, and what came of both.

Values only; what is done with them is decided in `booking_doctor.core.flow`. Times are aware and in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace


class SmsState(StrEnum):
    """
    Where the attempt to text the customer stands.
    """

    #: A job will send it.
    QUEUED = "queued"
    #: Twilio is being asked; or was, when the process died.
    SENDING = "sending"
    #: Twilio took it, and its SID is known.
    SENT = "sent"
    #: It was certainly not sent: Twilio refused it, or could not be reached.
    FAILED = "failed"
    #: No answer came. It may have been sent, so it is never sent again.
    UNKNOWN = "unknown"
    #: The booking was closed before it was its turn.
    DROPPED = "dropped"


class InitialSms(Struct, frozen=True, kw_only=True):
    """
    The text of a booking, from the intent to send it to what became of it: ``pending_bookings.metadata.initial_sms``.

    Attributes:
        attempt_id: Ours, made before Twilio knows of it; its status callbacks carry it.
        attempted_at: When the intent to send it was stored.
        message_sid: Twilio's, once it is known.
        sent_at: As Twilio has it.
        status: As Twilio last told it.
        error_code: Twilio's, of a text that was refused or did not arrive.
        error: Why it was not sent, or why that is not known, in words.
    """

    state: SmsState
    attempt_id: str | None = None
    attempted_at: datetime | None = None
    message_sid: str | None = None
    body: str | None = None
    from_number: str | None = None
    to_number: str | None = None
    segments: int | None = None
    cost_usd: Decimal | None = None
    sent_at: datetime | None = None
    status: str | None = None
    error_code: int | None = None
    error: str | None = None

    @property
    def unsettled(self) -> bool:
        """
        Whether Twilio may have it without our knowing its SID.
        """
        return self.state in {SmsState.SENDING, SmsState.UNKNOWN}


class BookingRequest(Struct, frozen=True, kw_only=True):
    """
    What a customer asks for, as it came.
    """

    event_id: str
    customer_name: str
    customer_phone: str
    customer_email: str | None = None


class Event(Struct, frozen=True, kw_only=True):
    """
    What is booked; without a title where this installation keeps none.
    """

    id: str
    title: str | None


class Customer(Struct, frozen=True, kw_only=True):
    """
    A customer; `phone` as it is stored, in whatever form.
    """

    id: str
    phone: str
    email: str | None = None
    created_at: datetime | None = None


class PendingBooking(Struct, frozen=True, kw_only=True):
    """
    A booking that was initiated.

    Attributes:
        id: Empty until it is stored, unless it follows from an idempotency key.
        customer_phone: E.164 where this flow made it; other programs' may be anything.
        status: ``pending``, ``confirmed``, ``expired`` or ``cancelled``.
        customer_id: Once it is confirmed.
        sms: The text that its metadata holds; None where it holds none that can be read.
        fingerprint: Of the request, where it came with an idempotency key.
    """

    id: str
    token: str
    event_id: str | None
    customer_name: str | None
    customer_email: str | None
    customer_phone: str
    created_at: datetime
    expires_at: datetime | None
    status: str = "pending"
    customer_id: str | None = None
    sms: InitialSms | None = None
    fingerprint: str | None = None

    def with_sms(self, sms: InitialSms) -> PendingBooking:
        """
        The same booking, its text having moved on.
        """
        return replace(self, sms=sms)


class MessageRow(Struct, frozen=True, kw_only=True):
    """
    A text as it is recorded in ``messages``.
    """

    customer_id: str
    message_sid: str
    body: str | None
    status: str | None
    from_number: str | None
    to_number: str | None
    segments: int | None
    cost_usd: Decimal | None
    created_at: datetime


# --- the queue -------------------------------------------------------------------------------------------------------

JOB_TYPE: Final = "send_booking_confirmation_sms"


class Job(Struct, frozen=True, kw_only=True):
    """
    A text that waits for its turn.

    Attributes:
        booking_id: None where its payload names none.
        run_at: While it is running, when it was claimed.
        attempts: How often it has been claimed, this time included.
        lost: Whether whoever had it last never said what became of it.
        to_number, body: What its payload says; the booking's own text goes first.
    """

    id: str
    booking_id: str | None
    run_at: datetime
    attempts: int = 0
    lost: bool = False
    to_number: str | None = None
    body: str | None = None


class JobState(StrEnum):
    """
    What became of a job; the words of ``jobs.status``.
    """

    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


class JobOutcome(Struct, frozen=True, kw_only=True):
    """
    What became of one run of a job.

    Attributes:
        run_at: When it is to be tried again; None unless it is queued.
        reason: Why it is not simply done.
    """

    job_id: str
    state: JobState
    sms: InitialSms | None = None
    run_at: datetime | None = None
    reason: str | None = None


# --- what a caller is told -------------------------------------------------------------------------------------------


class StepTaken(Struct, frozen=True, kw_only=True):
    """
    One step of a use case, for the debug report.

    Attributes:
        outcome: ``done``, or what went wrong in a sentence without secrets or personal data.
    """

    name: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Debug:
    """
    The debug report: what was done, how it ended and how long it took. Holds no phone number, text or secret.

    Attributes:
        variables: Names of the environment variables that were found.
    """

    steps: tuple[StepTaken, ...]
    variables: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sms: InitialSms | None = field(default=None, repr=False)

    def document(self) -> dict[str, Any]:
        """
        As JSON has it.
        """
        sms = self.sms
        told = ("state", "attempt_id", "message_sid", "status", "segments", "error_code", "error")
        return {
            "steps": [
                {"name": step.name, "outcome": step.outcome, "ms": round(step.seconds * 1000, 1)} for step in self.steps
            ],
            "variables": list(self.variables),
            "warnings": list(self.warnings),
            "sms": {name: getattr(sms, name) for name in told} if sms else None,
        }


class Initiated(Struct, frozen=True, kw_only=True):
    """
    A booking was initiated.

    Attributes:
        token: What confirms it; the text's link carries it.
        sms: Where its text stands.
        repeated: Whether an earlier request with the same idempotency key had made it, so that nothing was done now.
    """

    booking_id: str
    token: str
    sms: InitialSms | None
    debug: Debug
    repeated: bool = False


class Confirmed(Struct, frozen=True, kw_only=True):
    """
    A booking is confirmed.

    Attributes:
        booking_id: The id it has had since it was initiated.
        message_sid: Of its text, which is recorded in ``messages``; None where none is known (yet).
        repeated: Whether it had been confirmed before.
        notes: What a person may want to know, such as which of several customers was taken.
    """

    booking_id: str
    customer_id: str
    message_sid: str | None
    debug: Debug
    repeated: bool = False
    notes: tuple[str, ...] = ()


class StatusReport(Struct, frozen=True, kw_only=True):
    """
    A status callback of Twilio.

    Attributes:
        booking_id, attempt_id: From the callback's address; None where it was not made by this flow.
    """

    message_sid: str
    status: str
    error_code: int | None = None
    from_number: str | None = None
    to_number: str | None = None
    booking_id: str | None = None
    attempt_id: str | None = None


class StatusTaken(StrEnum):
    """
    What became of a status callback.
    """

    #: The row in ``messages`` says it now, or said something later already.
    RECORDED = "recorded"
    #: There is no row yet; it waits in the booking's metadata.
    WAITING = "waiting"
    #: Neither a row nor a booking is known by that SID.
    UNKNOWN = "unknown"


class Resolution(StrEnum):
    """
    What looking for a text in Twilio's log came to.
    """

    #: Nothing was to be resolved.
    SETTLED = "settled"
    #: The log has it: its SID is now the booking's.
    FOUND = "found"
    #: The log has the attempt, and Twilio had refused it.
    REFUSED = "refused"
    #: The log does not show it, but is not yet to be believed.
    NOT_FOUND_YET = "not found yet"
    #: The log does not show it and should by now. Its fate stays unknown, and it is not sent again.
    NOT_FOUND = "not found"
