"""
What a comparison is asked and what it answers: the terms, the buckets, a discrepancy and to whom it might belong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from msgspec import Struct, field

from booking_doctor.core.agreement import Difference, Row
from booking_doctor.core.model import TwilioMessage, e164
from booking_doctor.evidence import Booking, Customer, Overview, Records
from booking_doctor.findings import JSONValue, Severity, Skipped, Window

BOOKED_BEFORE: Final = timedelta(minutes=10)
BOOKED_AFTER: Final = timedelta(minutes=2)
"""A text belongs to a booking made so long before, or so shortly after, it was sent."""


class Terms(Struct, frozen=True, kw_only=True):
    """
    What is compared, and when.

    Attributes:
        senders: Numbers and messaging services whose messages are the application's; None for the whole account.
        region: Country of phone numbers in national format.
        retention: How long Twilio shows a message.
        confirm_limit: How many rows that the log did not show are asked for by SID.
    """

    window: Window
    now: datetime
    senders: frozenset[str] | None
    region: str = "US"
    retention: timedelta = timedelta(days=400)
    confirm_limit: int = 1000


class Kind(StrEnum):
    """
    The buckets. Every Twilio message of the window is in exactly one: matched or one of the first five.
    """

    MISMATCHED = "mismatched"
    DEFERRED = "deferred"
    IN_FLIGHT = "in_flight"
    REJECTED = "rejected"
    UNRECORDED = "unrecorded"
    UNKNOWN = "unknown_to_twilio"


class Candidates(Struct, frozen=True, kw_only=True):
    """
    To whom an unrecorded message might belong; deciding is the plan's business.

    Attributes:
        named: Bookings whose metadata names the SID.
        bookings: Bookings to the customer's number around the time it was sent.
        customers: Customers with that number.
    """

    named: tuple[Booking, ...] = ()
    bookings: tuple[Booking, ...] = ()
    customers: tuple[Customer, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.named or self.bookings or self.customers)


class Discrepancy(Struct, frozen=True, kw_only=True):
    """
    One SID on which the two sides do not simply agree.

    Attributes:
        message: Twilio's side; None for what is unknown to Twilio.
        row: The database's side, where there is one.
        candidates: Of an unrecorded message, whose it might be; none at all makes it orphaned.
    """

    kind: Kind
    sid: str
    message: TwilioMessage | None = None
    row: Row | None = None
    differences: tuple[Difference, ...] = ()
    candidates: Candidates = Candidates()

    @property
    def orphaned(self) -> bool:
        """
        Unrecorded, and nobody is known whose it could be.
        """
        return self.kind is Kind.UNRECORDED and not self.candidates

    @property
    def severity(self) -> Severity:
        """
        An error where the record contradicts Twilio, a warning where it is merely behind.
        """
        return Severity.ERROR if any(difference.contradicts for difference in self.differences) else Severity.WARNING


class Comparison(Struct, frozen=True, kw_only=True):
    """
    The answer.

    Attributes:
        counts: By the names of the contract; empty when nothing was read.
        discrepancies: Everything not matched, by SID.
        unread: Why the answer is incomplete, if it is.
        log_complete: Whether every day of the window was read to its end.
        sent: How many texts Twilio sent for the application, of each hour of the window that was read.
    """

    terms: Terms
    counts: Mapping[str, int]
    discrepancies: Sequence[Discrepancy]
    overview: Overview | None
    coverage: Mapping[str, JSONValue]
    unread: Sequence[Skipped]
    log_complete: bool
    sent: Mapping[datetime, int] = field(default_factory=dict)

    def of(self, kind: Kind) -> list[Discrepancy]:
        """
        The discrepancies of one kind.
        """
        return [discrepancy for discrepancy in self.discrepancies if discrepancy.kind is kind]


class Contact(Struct, frozen=True, kw_only=True):
    """
    What decides whose a message is.

    Attributes:
        number: The customer's end of it.
    """

    number: str | None
    at: datetime
    inbound: bool

    @classmethod
    def of(cls, message: TwilioMessage) -> Contact:
        """
        Of a message that Twilio has.
        """
        return cls(number=message.customer_number, at=message.happened_at, inbound=message.inbound)


def bookings_by_sid(records: Records, sids: Collection[str], now: datetime) -> dict[str, tuple[Booking, ...]]:
    """
    The bookings whose metadata names each of *sids*.

    Raises:
        DatabaseError: The records could not be read.
    """
    found = grouped((booking.names_sid, booking) for booking in (records.bookings_naming(sids, now) if sids else ()))
    return {sid: tuple(bookings) for sid, bookings in found.items()}


def find_candidates(
    records: Records,
    contacts: Mapping[str, Contact],
    named: Mapping[str, tuple[Booking, ...]],
    terms: Terms,
) -> dict[str, Candidates]:
    """
    To whom each message might belong.

    Args:
        contacts: By SID.
        named: Bookings whose metadata names a SID, by SID.

    Raises:
        DatabaseError: The records could not be read.
    """
    if not contacts:
        return {}
    numbers = {number for contact in contacts.values() if (number := e164(contact.number, terms.region))}
    times = [contact.at for contact in contacts.values()]
    nearby = records.bookings_between(min(times) - BOOKED_BEFORE, max(times) + BOOKED_AFTER, numbers, terms.now)
    bookings = grouped((e164(booking.phone, terms.region), booking) for booking in nearby)
    customers = grouped((e164(customer.phone, terms.region), customer) for customer in records.customers_with(numbers))
    found = {}
    for sid, contact in contacts.items():
        number = e164(contact.number, terms.region)
        near = [
            booking
            for booking in ([] if contact.inbound or number is None else bookings.get(number, []))
            if booking.created_at and contact.at - BOOKED_BEFORE <= booking.created_at <= contact.at + BOOKED_AFTER
        ]
        owners = [] if number is None else customers.get(number, [])
        found[sid] = Candidates(named=named.get(sid, ()), bookings=tuple(near), customers=tuple(owners))
    return found


_Held = TypeVar("_Held")


def grouped(pairs: Iterable[tuple[str | None, _Held]]) -> dict[str, list[_Held]]:
    """
    What belongs to each key; what has none is left out.
    """
    groups: dict[str, list[_Held]] = {}
    for key, held in pairs:
        if key is not None:
            groups.setdefault(key, []).append(held)
    return groups
