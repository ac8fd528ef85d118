"""
The domain's values: a phone number, a message as Twilio holds it, the deferred SMS of a pending booking.

Nothing here does I/O. Times are aware and in UTC. Field facts are from Twilio's page "Messages resource".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NewType

import msgspec

if TYPE_CHECKING:
    import phonenumbers

Sid = NewType("Sid", str)
"""A message SID, ``SM`` or ``MM`` and 32 hexadecimal digits. Compared as exact text."""

SID_SHAPE: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")

STATUS_RANK: Final = {
    "accepted": 0,
    "scheduled": 0,
    "receiving": 0,
    "queued": 1,
    "sending": 2,
    "sent": 3,
    "delivered": 4,
    "undelivered": 4,
    "failed": 4,
    "canceled": 4,
    "received": 4,
    "read": 5,
}
"""
How far along a message is. Statuses advance by rank whatever order reports arrive in; 4 and above are final, and only
``delivered`` moves on, to ``read`` (Twilio: "Outbound Message Status in Status Callbacks").
"""

FINAL_RANK: Final = 4


class UnreadableMessage(ValueError):
    """
    A message of the log has a value that cannot be understood.

    Attributes:
        sid: The message.
        field: The wire name of the field.
    """

    def __init__(self, sid: str, field: str) -> None:
        super().__init__(f"message {sid} has a {field} that cannot be read")
        self.sid = sid
        self.field = field


class TwilioMessage(msgspec.Struct, frozen=True, gc=False):
    """
    A Message resource as the API sends it, only the fields that are compared or repaired.

    Twilio sends numbers as text and a negative price; `cost_usd` and `segments` give them as the application keeps
    them. ``gc=False`` because a log holds millions and none can be part of a cycle.
    """

    sid: str
    status: str
    direction: str
    to: str | None = None
    from_number: str | None = msgspec.field(name="from", default=None)
    body: str | None = None
    num_segments: str | None = None
    price: str | None = None
    price_unit: str | None = None
    error_code: int | None = None
    messaging_service_sid: str | None = None
    date_sent: str | None = None
    date_created: str | None = None

    @property
    def inbound(self) -> bool:
        """
        Whether it came from the customer.
        """
        return self.direction == "inbound"

    @property
    def customer_number(self) -> str | None:
        """
        The customer's end of it, as Twilio writes it.
        """
        return self.from_number if self.inbound else self.to

    @property
    def sent_at(self) -> datetime | None:
        """
        `date_sent`, or None while there is none.

        Raises:
            UnreadableMessage: It is there and no date.
        """
        return None if self.date_sent is None else parse_date(self.date_sent, self.sid, "date_sent")

    @property
    def happened_at(self) -> datetime:
        """
        `date_sent`, or `date_created` while it has none: what places a message in a window.

        Raises:
            UnreadableMessage: Neither is a date.
        """
        return self.sent_at or parse_date(self.date_created or "", self.sid, "date_created")

    @property
    def cost_usd(self) -> Decimal | None:
        """
        The positive price; None until it is billed, or when it is billed in another currency.

        Raises:
            UnreadableMessage: The price is no number.
        """
        if self.price is None or (self.price_unit or "").upper() != "USD":
            return None
        try:
            price = Decimal(self.price)
        except InvalidOperation:
            raise UnreadableMessage(self.sid, "price") from None
        if not price.is_finite():
            raise UnreadableMessage(self.sid, "price")
        return abs(price)

    @property
    def segments(self) -> int | None:
        """
        How many parts it was billed as; None while Twilio says 0, as it does until a service has picked a sender.
        """
        text = self.num_segments or ""
        return int(text) or None if text.isdecimal() else None

    @property
    def rejected(self) -> bool:
        """
        Whether Twilio logged an attempt it refused at once: nobody got a text, the application never got the SID.

        Since 2024 a create that is answered 400 leaves a failed record (Twilio: "Improvements on Programmable Messaging
        Error Visibility"); through a messaging service the same faults come later, to a message that has a SID.
        """
        return (
            self.status == "failed"
            and self.error_code is not None
            and 20000 <= self.error_code < 30000
            and not self.messaging_service_sid
            and not self.inbound
        )


def parse_date(text: str, sid: str, field: str) -> datetime:
    """
    Read an RFC 2822 date with its offset, as UTC.

    The SDK's own parser drops the offset and turns what it cannot read into None; neither may happen here.

    Raises:
        UnreadableMessage: It is no such date, or has no offset.
    """
    moment = _moment(text)
    if moment is None:
        raise UnreadableMessage(sid, field)
    return moment


@lru_cache(maxsize=4096)
def _moment(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
        # NOTE: a naive time would be taken for this machine's; near the ends of the calendar UTC may not exist.
        return parsed.astimezone(UTC) if parsed.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def e164(text: str | None, region: str) -> str | None:
    """
    A phone number in E.164, or None where the text is no possible number.

    Args:
        text: As people and programs write it; a channel prefix such as ``whatsapp:`` is dropped.
        region: ISO 3166 code of the country whose national format is assumed without a ``+``.
    """
    # NOTE: phonenumbers loads slowly and most runs meet only numbers that are in E.164 on both sides.
    import phonenumbers

    if not text:
        return None
    try:
        number = phonenumbers.parse(text.rpartition(":")[2], region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_PHONE_CHARACTERS: Final = re.compile(r"[+\d\s().\-\u2010-\u2015/]*")

_LONGEST_PHONE: Final = 40


def standard_phone(text: str, region: str) -> str:
    """
    A phone number that somebody typed, in E.164.

    Stricter than `e164`: what was typed must be one whole number that can be texted, without letters or extension.

    Raises:
        ValueError: It is none; the text says why, as the end of a sentence that begins with "the phone number".
    """
    import phonenumbers

    if reason := _no_phone(text):
        raise ValueError(reason)
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        no_country = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
        too_long = error.error_type == phonenumbers.NumberParseException.TOO_LONG
        raise ValueError(_NO_COUNTRY if no_country else "is too long" if too_long else "is not complete") from None
    if reason := _impossible(number):
        raise ValueError(reason)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_NO_COUNTRY: Final = "has a country code that does not exist"


def _no_phone(text: str) -> str | None:
    """
    What keeps the text from being looked at as a number.
    """
    if not text.strip():
        return "is missing"
    if not _PHONE_CHARACTERS.fullmatch(text):
        return "holds something other than digits, blanks and ( ) . - /"
    if len(text) > _LONGEST_PHONE:
        return "is too long"
    return "is more than one number" if text.count("+") > 1 else None


def _impossible(number: phonenumbers.PhoneNumber) -> str | None:
    """
    Why no such number can be.
    """
    import phonenumbers

    results = phonenumbers.ValidationResult
    reasons = {
        results.INVALID_COUNTRY_CODE: _NO_COUNTRY,
        results.TOO_SHORT: "is too short",
        results.TOO_LONG: "is too long",
        results.IS_POSSIBLE_LOCAL_ONLY: "lacks its area code",
        results.INVALID_LENGTH: "has a length that no number of its country has",
    }
    return reasons.get(phonenumbers.is_possible_number_with_reason(number))


def same_number(one: str | None, other: str | None, region: str) -> bool:
    """
    Whether two texts name one phone number; texts that are no phone numbers are compared as they are.
    """
    return one == other or (e164(one, region) or one) == (e164(other, region) or other)


class DeferredSms(msgspec.Struct, frozen=True, kw_only=True):
    """
    The SMS that confirm is to record: ``pending_bookings.metadata.initial_sms``.

    Attributes:
        message_sid: Twilio's SID.
        segments: Billed parts, None while Twilio does not say.
        cost_usd: Positive; None until billed. A JSON number, as the application's own code writes it.
        sent_at: ISO 8601, UTC.
        status: Twilio's status when this was written.
        state: Where the attempt stands; ``sent`` once the SID is known.
    """

    message_sid: str
    body: str | None
    from_number: str | None
    to_number: str | None
    segments: int | None
    cost_usd: float | None
    sent_at: str
    status: str
    state: str

    @classmethod
    def of(cls, message: TwilioMessage) -> DeferredSms:
        """
        The record of a message that Twilio has.
        """
        cost = message.cost_usd
        return cls(
            message_sid=message.sid,
            body=storable(message.body),
            from_number=message.from_number,
            to_number=message.to,
            segments=message.segments,
            cost_usd=None if cost is None else float(cost),
            sent_at=iso(message.happened_at),
            status=message.status,
            state="sent",
        )


def storable(text: str | None) -> str | None:
    """
    The text without NUL, which PostgreSQL cannot store (chapter "Character Types").
    """
    return text.replace("\0", "") if text else text


def iso(moment: datetime) -> str:
    """
    ISO 8601 in UTC with ``Z``, as every document of the doctor writes times.
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
