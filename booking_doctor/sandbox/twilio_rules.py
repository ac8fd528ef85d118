"""
What Twilio refuses, and what it says then.

Sources: Twilio's error dictionary (https://www.twilio.com/docs/api/errors) and its pages "Messages resource" and "Test
Credentials". The texts are shortened; nothing should be built on their wording.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

MAX_BODY: Final = 1600

MAGIC_SENDER: Final = "+15005550006"
"""The one sender that works with test credentials."""

MAGIC_SENDERS: Final = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
MAGIC_RECIPIENTS: Final = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}

SOONEST, LATEST = timedelta(seconds=300), timedelta(days=35)
"""A message is scheduled more than the one and at most the other ahead (error 35114)."""

HTTP_STATUS: Final = {20003: 401, 20004: 405, 20008: 403, 20404: 404, 20429: 429, 20500: 500, 20503: 503, 63038: 429}
"""The HTTP status an error code comes with; every other code comes with 400."""

ERRORS: Final = {
    20001: "{what}",
    20003: "Authenticate",
    20004: "Method not allowed",
    20008: "Resource not accessible with Test Account Credentials",
    20404: "The requested resource {what} was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    20503: "Service unavailable",
    21211: "Invalid 'To' Phone Number: {to}",
    21212: "Invalid 'From' Phone Number: {sender}",
    21266: "'To' and 'From' number cannot be the same: {to}",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}",
    21602: "Message body is required.",
    21603: "A 'From' phone number or a Messaging Service is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' phone number {sender} is not an SMS-capable number of this account.",
    21610: "Attempt to send to unsubscribed recipient {to}",
    21611: "The 'From' number {sender} has exceeded the maximum number of queued messages.",
    21612: "The 'To' number {to} is not reachable from the 'From' number {sender}.",
    21614: "'To' number is not a valid mobile number: {to}",
    21617: "The message body exceeds the 1600 character limit.",
    21701: "The Messaging Service does not exist.",
    21704: "The Messaging Service contains no phone numbers.",
    30003: "Unreachable destination handset",
    30004: "Message blocked",
    30005: "Unknown destination handset",
    30006: "Landline or unreachable carrier",
    30007: "Carrier violation",
    30008: "Unknown error",
    30409: "This message cannot be canceled",
    35111: "The SendAt time is missing.",
    35114: "The SendAt time must be more than 300 seconds and at most 35 days ahead.",
    35118: "Scheduling a message requires a Messaging Service.",
    63038: "The account has exceeded its daily messages limit",
}

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")


def error_text(code: int, *, to: str | None = None, sender: str | None = None, what: str = "") -> str | None:
    """
    What Twilio says to an error code, in short; None for a code that is not known here.
    """
    text = ERRORS.get(code)
    return None if text is None else text.format(to=to or "", sender=sender or "", what=what)


class Refused(Exception):
    """
    Twilio answers no.

    Args:
        code: Twilio's error code.
        what: The parameter or resource it is about, where the code does not say.
    """

    def __init__(self, code: int, *, to: str | None = None, sender: str | None = None, what: str = "") -> None:
        super().__init__(error_text(code, to=to, sender=sender, what=what) or f"Error {code}")
        self.code = code
        self.http_status = HTTP_STATUS.get(code, 400)


class Attempt(Struct, frozen=True, kw_only=True):
    """
    A request to send, as it was made; empty text is as good as nothing.

    Attributes:
        service: SID of a messaging service.
        media: How many media URLs there are.
        send_at: What a scheduled message waits for.
    """

    to: str = ""
    sender: str = ""
    service: str = ""
    body: str = ""
    media: int = 0
    scheduled: bool = False
    send_at: datetime | None = None


def refusals(
    attempt: Attempt,
    *,
    senders: Collection[str],
    services: Mapping[str, Collection[str]],
    now: datetime,
) -> Iterator[int]:
    """
    The code of everything that is wrong with an attempt, in the order in which it is looked for.

    The order is a choice: Twilio does not document it.

    Args:
        senders: Numbers that may send.
        services: The numbers of each messaging service, by its SID.
    """
    yield from _shape_refusals(attempt)
    yield from _sender_refusals(attempt, senders, services)
    yield from _recipient_refusals(attempt)
    if attempt.scheduled:
        yield from _schedule_refusals(attempt, now)


def _shape_refusals(attempt: Attempt) -> Iterator[int]:
    if not attempt.to:
        yield 21604
    if not attempt.sender and not attempt.service:
        yield 21603
    if not attempt.body and not attempt.media:
        yield 21602
    if len(attempt.body) > MAX_BODY:
        yield 21617


def _sender_refusals(
    attempt: Attempt, senders: Collection[str], services: Mapping[str, Collection[str]]
) -> Iterator[int]:
    if attempt.service and attempt.service not in services:
        yield 21701
    elif attempt.service and not attempt.sender and not services[attempt.service]:
        yield 21704
    if attempt.sender and attempt.sender not in senders:
        yield MAGIC_SENDERS.get(attempt.sender, 21606)


def _recipient_refusals(attempt: Attempt) -> Iterator[int]:
    if attempt.to in MAGIC_RECIPIENTS:
        yield MAGIC_RECIPIENTS[attempt.to]
    if not _E164.fullmatch(attempt.to):
        yield 21211
    if attempt.to == attempt.sender:
        yield 21266


def _schedule_refusals(attempt: Attempt, now: datetime) -> Iterator[int]:
    if not attempt.service:
        yield 35118
    if attempt.send_at is None:
        yield 35111
    elif not SOONEST < attempt.send_at - now <= LATEST:
        yield 35114
