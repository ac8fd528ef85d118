"""
What a comparison is given: pages of the log, rows, bookings and customers, and the ports they come through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from booking_doctor.core.agreement import Row
from booking_doctor.core.model import TwilioMessage
from booking_doctor.errors import TwilioError
from booking_doctor.findings import JSONValue, Window


@dataclass(frozen=True, slots=True)
class Page:
    """
    One page of the log, newest first.

    Attributes:
        day: The UTC day walked; None for the scan that looks for messages without `date_sent`.
        last: Whether the day ends with it.
    """

    day: date | None
    messages: Sequence[TwilioMessage]
    last: bool


@dataclass(frozen=True, slots=True)
class Unread:
    """
    A day of the log, or the rest of one, that could not be read.
    """

    day: date | None
    error: TwilioError


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """
    A pending booking as far as a message can belong to it.

    Attributes:
        names_sid: The SID in its ``metadata.initial_sms``, if any.
        open: Pending and not expired: confirm may still record what its metadata holds.
        status: Its status in words, ``expired`` also where only the time has run out.
        customer_id: Its customer, once confirmed.
        metadata: The column as text, exactly as the database writes it; None for null.
    """

    id: str
    phone: str | None
    status: str
    open: bool
    created_at: datetime | None
    names_sid: str | None
    customer_id: str | None
    metadata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """
    A customer as far as a message can belong to one.
    """

    id: str
    phone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """
    What only the database can say of its rows in the window.

    Attributes:
        recorded: Rows in the window.
        duplicated: SIDs with more than one row, and how many.
        split: Rows whose two SID columns differ; the second SID is what they go by here.
        without_customer, without_sid: Those rows.
        statuses: The words that the status column takes; None for any text.
    """

    recorded: int
    duplicated: Mapping[str, int]
    split: Sequence[Row] = ()
    without_customer: Sequence[Row] = ()
    without_sid: Sequence[Row] = ()
    statuses: frozenset[str] | None = None


class Log(Protocol):
    """
    Twilio's message log.
    """

    def pages(self, window: Window) -> Iterator[Page | Unread]:
        """
        First the scan for messages without `date_sent`, then every UTC day the window touches, days mixed.
        """

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Each message by its SID, None where Twilio answers 404.

        Raises:
            TwilioError: An answer could not be had; what was yielded before stands.
        """

    def coverage(self) -> Mapping[str, JSONValue]:
        """
        What reading it took so far.
        """


class Records(Protocol):
    """
    The application's database, read only.
    """

    def overview(self, window: Window) -> Overview:
        """
        The questions that are the database's own.
        """

    def lines(self, since: datetime, until: datetime) -> Iterator[list[str]]:
        """
        The canonical lines of the rows created in that span, in chunks of bounded size. Reading begins with the call,
        so that the next span is read while one is compared.
        """

    def rows(self, sids: Collection[str]) -> list[Row]:
        """
        Rows whose `message_sid` is one of *sids*, wherever they lie in time; up to 1000 SIDs a call.
        """

    def rows_by_second_sid(self, sids: Collection[str]) -> list[Row]:
        """
        Rows whose `twilio_message_sid` is one of *sids*; one pass over the table, any number of SIDs.
        """

    def bookings_naming(self, sids: Collection[str], now: datetime) -> list[Booking]:
        """
        Pending bookings whose ``metadata.initial_sms.message_sid`` is one of *sids*.
        """

    def bookings_between(
        self, since: datetime, until: datetime, numbers: Collection[str], now: datetime
    ) -> list[Booking]:
        """
        Bookings created in that span whose phone ends like one of *numbers*.
        """

    def customers_with(self, numbers: Collection[str]) -> list[Customer]:
        """
        Customers whose phone ends like one of *numbers*.
        """
