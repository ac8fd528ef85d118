"""
The ports of the comparison in memory: a Twilio log that can break off, and an application's rows.

They are as plain as can be, so that what they say is obvious. That these rows say what PostgreSQL's do is itself tested,
in ``test_discrepancies.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Final

from booking_doctor.core.agreement import BOTH, FIELD, Row
from booking_doctor.core.model import TwilioMessage
from booking_doctor.errors import TwilioUnreachable
from booking_doctor.evidence import Booking, Customer, Overview, Page, Unread
from booking_doctor.findings import JSONValue, Window

GONE: Final = "Twilio cannot be read: it does not answer"


def rfc2822(moment: datetime) -> str:
    """
    A date as Twilio writes it.
    """
    return f"{moment.astimezone(UTC):%a, %d %b %Y %H:%M:%S} +0000"


def sid(number: int) -> str:
    """
    A message SID.
    """
    return f"SM{number:032x}"


def days_of(window: Window) -> list[date]:
    """
    The UTC days that a window touches, newest first.
    """
    last = (window.until - timedelta(microseconds=1)).date()
    return [last - timedelta(days=back) for back in range((last - window.since.date()).days + 1)]


def pieces(messages: Sequence[TwilioMessage], size: int) -> list[Sequence[TwilioMessage]]:
    """
    At least one, the last one perhaps empty: what the pages of a list hold.
    """
    return [messages[start : start + size] for start in range(0, max(1, len(messages)), size)]


@dataclass(kw_only=True)
class MemoryLog:
    """
    Implements `booking_doctor.reconcile.Log`.

    Attributes:
        messages: All that Twilio has, in any order.
        unlisted: SIDs that no list shows; fetching them works.
        earlier: How the scan, which comes first, still shows messages that have moved on since; by SID.
        inclusive: Whether a day's list also holds the next midnight.
        strays: Messages that the list of a day holds, at its end, whatever their dates say.
        breaks: How many pages of a day's list come before it cannot be read any more; None is the scan's.
        answers: How many messages can be fetched before Twilio is gone.
        mix: In which order days come, each day's pages staying in theirs; without it newest first.
        asked: The SIDs that were fetched.
    """

    messages: Sequence[TwilioMessage]
    unlisted: Collection[str] = ()
    earlier: Mapping[str, TwilioMessage] = field(default_factory=dict)
    inclusive: bool = False
    strays: Mapping[date, Sequence[TwilioMessage]] = field(default_factory=dict)
    breaks: Mapping[date | None, int] = field(default_factory=dict)
    page_size: int = 1000
    answers: int = 1_000_000
    mix: Random | None = None
    asked: list[str] = field(default_factory=list)

    as_of = None

    def pages(self, window: Window) -> Iterator[Page | Unread]:
        """
        The scan, then the days.
        """
        yield from self._walk(None, self._listed(self.earlier.get(message.sid, message) for message in self.messages))
        walks = {day: self._walk(day, self._of_day(day)) for day in days_of(window)}
        while walks:
            day = self.mix.choice(sorted(walks)) if self.mix else next(iter(walks))
            page = next(walks[day], None)
            if page is None:
                del walks[day]
            else:
                yield page

    def _walk(self, day: date | None, messages: Sequence[TwilioMessage]) -> Iterator[Page | Unread]:
        pages = pieces(messages, self.page_size)
        readable = self.breaks.get(day, len(pages))
        for number, piece in enumerate(pages[:readable], start=1):
            yield Page(day, piece, last=number == len(pages))
        if readable < len(pages) or day in self.breaks:
            yield Unread(day, TwilioUnreachable(GONE))

    def _of_day(self, day: date) -> list[TwilioMessage]:
        start = datetime.combine(day, time(), UTC)
        end = start + timedelta(days=1, microseconds=self.inclusive)
        sent = [message for message in self.messages if message.sent_at and start <= message.sent_at < end]
        return [*self._listed(sent), *self.strays.get(day, ())]

    def _listed(self, messages: Iterable[TwilioMessage]) -> list[TwilioMessage]:
        listed = [message for message in messages if message.sid not in self.unlisted]
        return sorted(listed, key=lambda message: (message.happened_at, message.sid), reverse=True)

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Each message by its SID.
        """
        known = {message.sid: message for message in self.messages}
        for sid in sids:
            if len(self.asked) == self.answers:
                raise TwilioUnreachable(GONE)
            self.asked.append(sid)
            yield sid, known.get(sid)

    def coverage(self) -> Mapping[str, JSONValue]:
        """
        Nothing to tell.
        """
        return {}


def line_of_row(row: Row) -> str:
    """
    The canonical line as the database makes it of a row.
    """
    first, second = row.status, row.twilio_status
    both = first is not None and second is not None and first != second
    status = f"{first}{BOTH}{second}" if both else first or second or ""
    cost = "" if row.cost_usd is None else f"{abs(row.cost_usd).normalize():f}"
    segments = "" if row.segments is None else str(row.segments)
    texts = row.to_number or "", row.from_number or "", row.direction or "", segments, cost, row.body or ""
    return FIELD.join((row.sid, status, *texts))


@dataclass(kw_only=True)
class MemoryRecords:
    """
    Implements `booking_doctor.reconcile.Records`.

    Attributes:
        table: The rows, in the order of their ids.
        statuses: The words of the status column; None for any text.
        chunk: How many lines come at once.
    """

    table: Sequence[Row] = ()
    bookings: Sequence[Booking] = ()
    customers: Sequence[Customer] = ()
    statuses: frozenset[str] | None = None
    chunk: int = 1000

    def overview(self, window: Window) -> Overview:
        """
        What the rows of the window are in themselves.
        """
        here = [row for row in self.table if _created(row, window)]
        rows_by_sid = Counter(row.sid for row in self.table)
        known = {customer.id for customer in self.customers}
        return Overview(
            recorded=len(here),
            outbound_by_hour=Counter(
                row.created_at.replace(minute=0, second=0, microsecond=0)
                for row in here
                if row.created_at and row.direction != "inbound"
            ),
            duplicated={row.sid: rows_by_sid[row.sid] for row in here if row.sid and rows_by_sid[row.sid] > 1},
            split=[row for row in here if row.sid and row.twilio_message_sid not in {None, "", row.sid}],
            without_customer=[row for row in here if row.customer_id not in known],
            without_sid=[row for row in here if not row.sid],
            statuses=self.statuses,
        )

    def lines(self, since: datetime, until: datetime) -> Iterator[list[str]]:
        """
        The canonical lines of the rows created in that span.
        """
        within = Window(since, until)
        lines = [line_of_row(row) for row in self.table if row.sid and _created(row, within)]
        for start in range(0, len(lines), self.chunk):
            yield lines[start : start + self.chunk]

    def rows(self, sids: Collection[str]) -> list[Row]:
        """
        Rows by their first SID.
        """
        return [row for row in self.table if row.message_sid in sids]

    def rows_by_second_sid(self, sids: Collection[str]) -> list[Row]:
        """
        Rows by their second SID.
        """
        return [row for row in self.table if row.twilio_message_sid in sids]

    def bookings_naming(self, sids: Collection[str], now: datetime) -> list[Booking]:
        """
        Bookings by the SID in their metadata.
        """
        return [booking for booking in self.bookings if booking.names_sid in sids]

    def bookings_between(
        self, since: datetime, until: datetime, numbers: Collection[str], now: datetime
    ) -> list[Booking]:
        """
        Bookings by time and the end of their phone.
        """
        near = (booking for booking in self.bookings if booking.created_at and since <= booking.created_at <= until)
        return [booking for booking in near if _ends_like(booking.phone, numbers)]

    def customers_with(self, numbers: Collection[str]) -> list[Customer]:
        """
        Customers by the end of their phone.
        """
        return [customer for customer in self.customers if _ends_like(customer.phone, numbers)]


def _created(row: Row, within: Window) -> bool:
    return row.created_at is not None and row.created_at in within


def _ends_like(phone: str | None, numbers: Collection[str]) -> bool:
    digits = re.sub("[^0-9]", "", phone or "")[-7:]
    return any(digits == re.sub("[^0-9]", "", number)[-7:] for number in numbers)
