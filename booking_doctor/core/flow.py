"""
The booking flow as decisions: what is known, what happened, and when, in; what is to be known and done next, out.

No I/O. The rules that keep a text from being sent twice and a row from being written twice are here, so that they can be
read in one place and tried in any order: a SID once known is never lost, a status only moves on, and a text whose fate is
not known is looked for and never sent again.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import quote, urlencode
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.core.agreement import TRIAL_PREFIX
from booking_doctor.core.booking import (
    BookingRequest,
    Customer,
    Event,
    InitialSms,
    MessageRow,
    PendingBooking,
    Resolution,
    SmsState,
    StatusReport,
)
from booking_doctor.core.model import (
    STATUS_RANK,
    TwilioMessage,
    UnreadableMessage,
    e164,
    same_number,
    standard_phone,
)
from booking_doctor.core.ports import Accepted, Answer, Lost, NotSent, Text
from booking_doctor.core.segments import segments
from booking_doctor.errors import BookingClosed, InputRefused, KeyReused, TextTooLong

MAX_TEXT: Final = 1600
"""The longest text that Twilio takes, in characters (https://www.twilio.com/docs/api/errors/21617)."""

LIST_LAG: Final = timedelta(minutes=15)
"""So long after the attempt Twilio's list may not show it yet, and its silence means nothing."""

CLOCKS_APART: Final = timedelta(minutes=2)
"""So much earlier than we began it, by our clock, Twilio may have a text."""

Strategy = Literal["direct", "queued"]


class Invitation(Struct, frozen=True, kw_only=True):
    """
    What the text may speak of. The name is what somebody typed: whoever puts it into a text lets strangers write texts.
    """

    link: str
    event_title: str | None
    customer_name: str
    expires_at: datetime


def invite(invitation: Invitation) -> str:
    """
    The text, unless the application has one of its own.
    """
    what = f"your booking for {invitation.event_title}" if invitation.event_title else "your booking"
    return f"Please confirm {what}: {invitation.link}"


class Terms(Struct, frozen=True, kw_only=True):
    """
    What holds for all bookings.

    Attributes:
        app_url: The application's public address, without a slash at its end.
        region: Country of phone numbers without a ``+``; ISO 3166.
        hold: How long a booking waits to be confirmed.
        text: Makes the text; it should hold the link, which also tells one text from another.
    """

    app_url: str
    region: str = "US"
    hold: timedelta = timedelta(days=1)
    text: Callable[[Invitation], str] = invite


# --- initiate --------------------------------------------------------------------------------------------------------

_KEYS: Final = UUID("6b1f6f0c-5d5e-5b0e-9a43-2f4a2b3c9d10")
"""The namespace of booking ids that follow from an idempotency key."""

_LONGEST_NAME: Final = 200
_LONGEST_EMAIL: Final = 254
_LONGEST_KEY: Final = 255
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def checked(request: BookingRequest, terms: Terms) -> BookingRequest:
    """
    The request with its phone in E.164 and nothing in it that cannot be meant.

    Raises:
        InputRefused: Something can not.
    """
    try:
        phone = standard_phone(request.customer_phone, terms.region)
    except ValueError as error:
        message = f"the phone number {error}"
        hint = "write it with + and the country code, such as +1 555 010 0123"
        raise InputRefused(message, field="customer_phone", hint=hint) from None
    return BookingRequest(
        event_id=_line("event_id", "the event's id", request.event_id, _LONGEST_NAME),
        customer_name=_line("customer_name", "the name", request.customer_name, _LONGEST_NAME),
        customer_phone=phone,
        customer_email=_email(request.customer_email),
    )


def _line(field: str, what: str, text: str, longest: int) -> str:
    """
    A line that can be stored and shown: neither empty nor too long, without control characters.
    """
    line = text.strip()
    if not line:
        message = f"{what} is missing"
        raise InputRefused(message, field=field)
    if len(line) > longest:
        message = f"{what} has {len(line):,} characters, at most {longest} will do"
        raise InputRefused(message, field=field)
    # NOTE: Cs are halves of characters, which no UTF-8 can hold.
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in line):
        message = f"{what} holds control characters"
        raise InputRefused(message, field=field)
    return line


def _email(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    email = _line("customer_email", "the e-mail address", text, _LONGEST_EMAIL)
    if not _EMAIL.fullmatch(email):
        message = "the e-mail address is none: it needs one @ and no blanks"
        raise InputRefused(message, field="customer_email")
    return email


def booked(event: Event | None) -> Event:
    """
    Raises:
        InputRefused: There is no such event.
    """
    if event is None:
        message = "there is no such event"
        raise InputRefused(message, field="event_id", hint="use the id of an event that exists")
    return event


class Start(Struct, frozen=True, kw_only=True):
    """
    What a new booking begins with.

    Attributes:
        key: The idempotency key, where the caller gave one.
    """

    token: str
    attempt_id: str
    strategy: Strategy
    key: str | None
    now: datetime


def begun(request: BookingRequest, event: Event, start: Start, terms: Terms) -> PendingBooking:
    """
    The booking as it is stored before Twilio is asked: with the intent to text, so that no crash can lose it.

    Raises:
        TextTooLong: Twilio would not take the text.
    """
    booking = PendingBooking(
        id=str(uuid5(_KEYS, start.key)) if start.key else "",
        token=start.token,
        event_id=request.event_id,
        customer_name=request.customer_name,
        customer_email=request.customer_email,
        customer_phone=request.customer_phone,
        created_at=start.now,
        expires_at=start.now + terms.hold,
        fingerprint=fingerprint(request) if start.key else None,
    )
    body = sendable(terms.text(invitation_to(booking, event.title, terms)))
    state, when = (SmsState.QUEUED, None) if start.strategy == "queued" else (SmsState.SENDING, start.now)
    return booking.with_sms(intent(body, booking.customer_phone, start.attempt_id, state, when))


def invitation_to(booking: PendingBooking, event_title: str | None, terms: Terms) -> Invitation:
    """
    What the text of a booking may speak of.
    """
    return Invitation(
        link=f"{terms.app_url}/confirm/{quote(booking.token, safe='')}",
        event_title=event_title,
        customer_name=booking.customer_name or "",
        expires_at=booking.expires_at or booking.created_at + terms.hold,
    )


def key_of(idempotency_key: str | None) -> str | None:
    """
    The key, unless it cannot be one.

    Raises:
        InputRefused: It cannot.
    """
    if idempotency_key is None:
        return None
    return _line("idempotency_key", "the idempotency key", idempotency_key, _LONGEST_KEY)


def sendable(body: str) -> str:
    """
    The text, unless Twilio would not take it.

    Raises:
        TextTooLong: Twilio would not.
    """
    if len(body) > MAX_TEXT:
        message = f"the text would have {len(body):,} characters, and Twilio takes {MAX_TEXT:,}"
        raise TextTooLong(message, hint="shorten the event's title, or the text that is made of it")
    return body


def intent(body: str, to: str, attempt_id: str, state: SmsState, now: datetime | None) -> InitialSms:
    """
    A text that is to be sent, or is about to be.
    """
    return InitialSms(
        state=state,
        attempt_id=attempt_id,
        attempted_at=now,
        body=body,
        to_number=to,
        segments=segments(body),
    )


def fingerprint(request: BookingRequest) -> str:
    """
    SHA-256 of what is asked for: equal for equal requests, however the phone was written.
    """
    parts = [request.event_id, request.customer_name, request.customer_phone, request.customer_email]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def same_request(booking: PendingBooking, request: BookingRequest) -> None:
    """
    Raises:
        KeyReused: The booking that the idempotency key stands for was asked for in other words.
    """
    if booking.fingerprint != fingerprint(request):
        message = "this idempotency key was used before, for another request"
        raise KeyReused(message, hint="use a new key for a new booking, and the same only to repeat one")


def text_of(booking_id: str, sms: InitialSms, terms: Terms) -> Text:
    """
    What Twilio is asked to send; its callback says whose text it is.
    """
    ours = urlencode({"booking": booking_id, "attempt": sms.attempt_id or ""})
    return Text(
        to=sms.to_number or "", body=sms.body or "", callback=f"{terms.app_url}/api/webhooks/twilio/status?{ours}"
    )


# --- what became of a text -------------------------------------------------------------------------------------------


def answered(sms: InitialSms, answer: Answer) -> InitialSms:
    """
    The text after the attempt. What a callback has told meanwhile is not lost.
    """
    match answer:
        case Accepted(message=message):
            return known(sms, message)
        case _ if sms.message_sid:
            return sms
        case NotSent(code=code, reason=reason):
            return replace(sms, state=SmsState.FAILED, error_code=code, error=reason)
        case Lost(reason=reason):
            return replace(sms, state=SmsState.UNKNOWN, error=reason)


def known(sms: InitialSms, message: TwilioMessage) -> InitialSms:
    """
    The text, now that Twilio's record of it is there.
    """
    if sms.message_sid not in {None, message.sid}:
        return sms
    try:
        sent_at, cost = message.happened_at, message.cost_usd
    except UnreadableMessage:
        sent_at, cost = None, None  # a text that went out is recorded, whatever its date looks like
    status = further(sms.status, message.status)
    return replace(
        sms,
        state=SmsState.SENT,
        message_sid=message.sid,
        from_number=message.from_number or sms.from_number,
        to_number=message.to or sms.to_number,
        segments=message.segments or sms.segments,
        cost_usd=sms.cost_usd if cost is None else cost,
        sent_at=sent_at or sms.sent_at or sms.attempted_at,
        status=status,
        error_code=message.error_code or (sms.error_code if status == sms.status else None),
        error=None,
    )


_WORSE: Final = ("read", "delivered", "canceled", "undelivered", "failed")
"""Of final statuses that contradict each other the later one here holds: nothing arrived that is said not to have."""


def further(one: str | None, other: str | None) -> str | None:
    """
    The status that is further along, whichever came first; a word that Twilio's documents do not have counts for nothing.
    """
    ranked = [status for status in (one, other) if status in STATUS_RANK]
    return max(ranked, key=_along, default=one)


def _along(status: str) -> tuple[int, int, str]:
    # NOTE: the word itself decides between two that are equally far, so that their order does not.
    return STATUS_RANK[status], _WORSE.index(status) if status in _WORSE else -1, status


def told(sms: InitialSms, report: StatusReport) -> InitialSms:
    """
    The text after a status callback, also one that comes before Twilio's answer or instead of it.
    """
    ours = sms.attempt_id is not None and sms.attempt_id == report.attempt_id
    if sms.message_sid != report.message_sid and not (sms.message_sid is None and ours):
        return sms
    status = further(sms.status, report.status)
    return replace(
        sms,
        state=SmsState.SENT,
        message_sid=report.message_sid,
        from_number=sms.from_number or report.from_number,
        sent_at=sms.sent_at or sms.attempted_at,
        status=status,
        error_code=report.error_code if status == report.status else sms.error_code if sms.message_sid else None,
        error=None,
    )


# --- looking a text up -----------------------------------------------------------------------------------------------


def since(sms: InitialSms) -> datetime | None:
    """
    From when on Twilio's log may have the text; None where it cannot be looked for.
    """
    can_be_told = sms.unsettled and sms.attempted_at and sms.body and sms.to_number
    return sms.attempted_at - CLOCKS_APART if can_be_told and sms.attempted_at else None


def may_be(sms: InitialSms, messages: Iterable[TwilioMessage]) -> list[TwilioMessage]:
    """
    Those of *messages* that may be the text: the same words to the same phone since the attempt.
    """
    bodies = {sms.body, f"{TRIAL_PREFIX}{sms.body}"}
    return [message for message in messages if not message.inbound and message.body in bodies]


def looked_up(
    sms: InitialSms, messages: Sequence[TwilioMessage], claimed: Collection[str], now: datetime
) -> tuple[InitialSms, Resolution]:
    """
    The text after Twilio's log was asked for it. It is never sent again, whatever the log says.

    Args:
        messages: What `may_be` the text, oldest first.
        claimed: SIDs that others have.
    """
    free = [message for message in messages if message.sid not in claimed]
    for message in free:
        if not message.rejected:
            return known(sms, message), Resolution.FOUND
    for message in free:
        return replace(
            sms, state=SmsState.FAILED, error_code=message.error_code, error="Twilio refused it"
        ), Resolution.REFUSED
    if sms.attempted_at is None or now - sms.attempted_at < LIST_LAG:
        return sms, Resolution.NOT_FOUND_YET
    return replace(sms, state=SmsState.UNKNOWN, error="Twilio's log does not show it"), Resolution.NOT_FOUND


# --- confirm ---------------------------------------------------------------------------------------------------------


def phone_of(booking: PendingBooking, terms: Terms) -> str:
    """
    The phone of who booked, in the one form that all its bookings have in common.
    """
    return e164(booking.customer_phone, terms.region) or booking.customer_phone


def confirmable(booking: PendingBooking, now: datetime) -> bool:
    """
    Whether it is to be confirmed; False where it is already.

    Raises:
        BookingClosed: It no longer can be.
    """
    if booking.status == "confirmed":
        return False
    status = closed(booking, now)
    if status:
        message = "the time to confirm this booking has run out" if status == "expired" else f"this booking is {status}"
        raise BookingClosed(message, status=status, hint="make a new booking")
    return True


def closed(booking: PendingBooking, now: datetime) -> str | None:
    """
    Why it can no longer be confirmed, in a word; None while it can, or is.
    """
    if booking.status == "pending" and booking.expires_at is not None and booking.expires_at <= now:
        return "expired"
    return None if booking.status in {"pending", "confirmed"} else booking.status


def whose(
    booking: PendingBooking, customers: Sequence[Customer], region: str
) -> tuple[Customer | None, tuple[str, ...]]:
    """
    The customer who booked, of those that were found, and what a person may want to know of the choice.
    """
    same = [customer for customer in customers if same_number(customer.phone, booking.customer_phone, region)]
    if len(same) < 2:
        return (same[0] if same else None), ()
    email = (booking.customer_email or "").casefold()
    by_email = [customer for customer in same if email and (customer.email or "").strip().casefold() == email]
    oldest = min(by_email or same, key=_age)
    which = "the one with the same e-mail address" if len(by_email) == 1 else "the oldest"
    which += " of those with the same e-mail address" if len(by_email) > 1 else ""
    return oldest, (f"{len(same)} customers have this phone; {which} was taken",)


def _age(customer: Customer) -> tuple[bool, float, str]:
    made = customer.created_at
    return made is None, made.timestamp() if made else 0.0, customer.id


def row_of(booking: PendingBooking) -> MessageRow | None:
    """
    How the booking's text is recorded; None while the booking is not confirmed or no SID is known.
    """
    sms = booking.sms
    if sms is None or sms.message_sid is None or booking.customer_id is None or booking.status != "confirmed":
        return None
    return MessageRow(
        customer_id=booking.customer_id,
        message_sid=sms.message_sid,
        body=sms.body,
        status=sms.status,
        from_number=sms.from_number,
        to_number=sms.to_number,
        segments=sms.segments,
        cost_usd=sms.cost_usd,
        created_at=sms.sent_at or sms.attempted_at or booking.created_at,
    )
