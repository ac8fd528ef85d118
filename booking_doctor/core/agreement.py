"""
When a recorded message agrees with Twilio's, and what differs where it does not.

Two ways to ask. A canonical line is equal on both sides when everything agrees, so that thousands are compared as sets;
`differences` applies the rules one by one: status by rank, a redacted body, a price not yet billed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from msgspec import Struct

from booking_doctor.core.model import FINAL_RANK, STATUS_RANK, TwilioMessage, same_number, storable

FIELD: Final = "\x1f"
LINE: Final = "\x1e"
BOTH: Final = "\x1d"
"""Separators of a canonical line's fields, of lines, and of two status columns that differ."""

_ARRIVED: Final = frozenset({"delivered", "read"})

TRIAL_PREFIX: Final = "Sent from your Twilio trial account - "

_COST_PRECISION: Final = Decimal("0.00001")
"""Applications keep five decimals of a price, Twilio may send more."""

_UNREADABLE: Final = "unreadable "

_DIRECTIONS: Final = {
    "inbound": "inbound",
    "outbound-api": "outbound",
    "outbound-call": "outbound",
    "outbound-reply": "outbound",
}


class Row(Struct, frozen=True, kw_only=True):
    """
    A recorded message. Fields are None where the column is null or missing; times are aware, in UTC.
    """

    id: str | None = None
    message_sid: str | None = None
    twilio_message_sid: str | None = None
    status: str | None = None
    twilio_status: str | None = None
    direction: str | None = None
    to_number: str | None = None
    from_number: str | None = None
    segments: int | None = None
    cost_usd: Decimal | None = None
    body: str | None = None
    customer_id: str | None = None
    created_at: datetime | None = None

    @property
    def sid(self) -> str:
        """
        The SID it goes by.
        """
        return self.message_sid or self.twilio_message_sid or ""


class Difference(Struct, frozen=True):
    """
    A compared field that differs.

    Attributes:
        contradicts: The record is wrong, not merely behind: it denies a final status, or names another recipient.
    """

    field: str
    recorded: str
    twilio: str
    contradicts: bool = False

    @property
    def may_be_later(self) -> bool:
        """
        Whether the record may tell what became of the message after Twilio said this.
        """
        if self.field not in {"status", "twilio_status"}:
            return False
        moving = STATUS_RANK[self.twilio] < FINAL_RANK or self.twilio == "delivered"
        return moving and STATUS_RANK[self.recorded] > STATUS_RANK[self.twilio]


def direction_of(message: TwilioMessage) -> str:
    """
    The direction as the application writes it.
    """
    return _DIRECTIONS.get(message.direction, message.direction)


_NEXT_BEST: Final = {
    "accepted": ("queued", "pending", "sending", "sent"),
    "scheduled": ("accepted", "queued", "pending"),
    "queued": ("accepted", "pending", "sending", "sent"),
    "sending": ("queued", "pending", "sent"),
    "sent": ("sending", "queued", "pending"),
    "delivered": ("sent",),
    "read": ("delivered", "sent"),
    "undelivered": ("failed", "error"),
    "failed": ("undelivered", "error"),
    "canceled": ("cancelled", "failed"),
    "receiving": ("received",),
    "received": ("receiving",),
}
"""
What a narrower vocabulary says instead; never ``delivered`` for a text that did not get there, and never for an inbound
one, whose row would then claim what Twilio does not say.
"""


def expressible(status: str, vocabulary: frozenset[str] | None) -> str | None:
    """
    Twilio's status in the words that a status column takes, or None where it has none for it.

    Args:
        vocabulary: What the column's check constraint or enum allows; None for any text.
    """
    if vocabulary is None or status in vocabulary:
        return status
    return next((word for word in _NEXT_BEST.get(status, ()) if word in vocabulary), None)


def line_of(message: TwilioMessage) -> str:
    """
    The canonical line: what the row says if the two agree in everything. Empty stands for "says nothing".
    """
    return next(lines_of([message]))


def lines_of(messages: Iterable[TwilioMessage]) -> Iterator[str]:
    """
    The canonical line of each.
    """
    return (
        f"{message.sid}\x1f{message.status}\x1f{message.to or ''}\x1f{message.from_number or ''}"
        f"\x1f{_alike(message.direction, message.num_segments, message.price, message.price_unit)}\x1f{message.body or ''}"
        for message in messages
    )


@lru_cache(maxsize=4096)
def _alike(direction: str, segments: str | None, price: str | None, unit: str | None) -> str:
    """
    The fields of a line in which messages are alike.
    """
    said = "" if segments is None or segments == "0" else segments
    return f"{_DIRECTIONS.get(direction, direction)}{FIELD}{said}{FIELD}{_canonical_cost(price, unit)}"


def _canonical_cost(price: str | None, unit: str | None) -> str:
    """
    As PostgreSQL writes ``trim_scale(abs(cost))``: no sign, no exponent, no zeros at the end.
    """
    if price is None or (unit or "").upper() != "USD":
        return ""
    try:
        amount = abs(Decimal(price))
    except InvalidOperation:
        return f"{_UNREADABLE}{price}"
    return f"{amount.normalize():f}" if amount.is_finite() else f"{_UNREADABLE}{price}"


def agree(row: str, message: str) -> bool:
    """
    Whether two canonical lines have the same status and contradict each other in nothing.

    The quick way to "no `differences`": many tables leave a column empty in every row. No is not the last word.
    """
    ours, theirs = row.split(FIELD), message.split(FIELD)
    # NOTE: a text may hold the separator; then fields would be taken for each other.
    if not len(ours) == len(theirs) == 8 or ours[1] != theirs[1] or theirs[6].startswith(_UNREADABLE):
        return False
    return all(one == other or not one or not other for one, other in zip(ours, theirs, strict=True))


def row_of(line: str) -> Row:
    """
    The row behind a canonical line; `id`, `customer_id` and `created_at` are not in it.

    Raises:
        ValueError: A text of the row holds the separator, so that its fields cannot be told apart.
    """
    sid, status, to_number, from_number, direction, segments, cost, body = line.split(FIELD)
    first, both, second = status.partition(BOTH)
    return Row(
        message_sid=sid,
        status=first or None,
        twilio_status=(second if both else first) or None,
        direction=direction or None,
        to_number=to_number or None,
        from_number=from_number or None,
        segments=int(segments) if segments else None,
        cost_usd=Decimal(cost) if cost else None,
        body=body or None,
    )


def differences(
    message: TwilioMessage, row: Row, region: str, vocabulary: frozenset[str] | None = None
) -> tuple[Difference, ...]:
    """
    The compared fields that differ. A side that says nothing about a field does not contradict the other.

    Args:
        region: Country of phone numbers in national format.
        vocabulary: The words that the `status` column takes, see `expressible`.

    Raises:
        UnreadableMessage: Twilio's price is no number.
    """
    word = expressible(message.status, vocabulary)
    translated = row.status == word or _speechless(message, word)
    found = [
        None if translated else _status_difference("status", row.status, message.status),
        _status_difference("twilio_status", row.twilio_status, message.status),
        _difference("direction", _DIRECTIONS.get(row.direction or "", row.direction), direction_of(message)),
        _number_difference("to_number", row.to_number, message.to, region, contradicts=True),
        _number_difference("from_number", row.from_number, message.from_number, region),
        _difference("segments", row.segments, message.segments),
        _cost_difference(row.cost_usd, message.cost_usd),
        _body_difference(row.body, storable(message.body)),
    ]
    return tuple(difference for difference in found if difference)


def told_once(found: tuple[Difference, ...], row: Row) -> tuple[Difference, ...]:
    """
    The differences without the second status column where it merely repeats the first.

    A canonical line does not tell a repeated status from one that only one column has.
    """
    if row.status != row.twilio_status:
        return found
    return tuple(difference for difference in found if difference.field != "twilio_status")


def comparable(message: TwilioMessage, row: Row, vocabulary: frozenset[str] | None = None) -> bool:
    """
    Whether the statuses could be compared. An application's own words have no rank, unless they translate Twilio's.

    Args:
        vocabulary: The words that the `status` column takes, see `expressible`.
    """
    word = expressible(message.status, vocabulary)
    others = {row.status, row.twilio_status} - {None, word, message.status}
    ranked = not others or {*others, message.status} <= STATUS_RANK.keys()
    return ranked and not _speechless(message, word)


def _speechless(message: TwilioMessage, word: str | None) -> bool:
    """
    Whether the column was made for outbound texts: what it says of an inbound one, for want of a word, means nothing.
    """
    return word is None and message.inbound


def _difference(field: str, recorded: object, twilio: object) -> Difference | None:
    if recorded is None or twilio is None or recorded == twilio:
        return None
    return Difference(field, str(recorded), str(twilio))


def _status_difference(field: str, recorded: str | None, twilio: str) -> Difference | None:
    if recorded is None or recorded == twilio or not (recorded in STATUS_RANK and twilio in STATUS_RANK):
        return None
    here, there = STATUS_RANK[recorded], STATUS_RANK[twilio]
    if here == there < FINAL_RANK:
        return None
    # NOTE: `delivered` is what careless code writes at once, so it is only believed where Twilio says it too.
    wrong = here >= FINAL_RANK and (there >= FINAL_RANK or recorded in _ARRIVED)
    return Difference(field, recorded, twilio, contradicts=wrong and (recorded, twilio) != ("delivered", "read"))


def _number_difference(
    field: str, recorded: str | None, twilio: str | None, region: str, *, contradicts: bool = False
) -> Difference | None:
    if not recorded or not twilio or same_number(recorded, twilio, region):
        return None
    return Difference(field, recorded, twilio, contradicts)


def _cost_difference(recorded: Decimal | None, twilio: Decimal | None) -> Difference | None:
    if recorded is None or twilio is None:
        return None
    # NOTE: some applications keep Twilio's negative sign; the amount is the same. NaN, which PostgreSQL keeps, is none.
    if recorded.is_finite() and abs(abs(recorded) - twilio) < _COST_PRECISION:
        return None
    return Difference("cost_usd", str(recorded), str(twilio))


def _body_difference(recorded: str | None, twilio: str | None) -> Difference | None:
    redacted = not twilio
    if not recorded or redacted or twilio in {recorded, TRIAL_PREFIX + recorded}:
        return None
    return Difference("body", recorded, twilio or "")
