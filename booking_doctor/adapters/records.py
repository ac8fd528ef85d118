"""
The application's rows, as `booking_doctor.reconcile` reads them: canonical lines in bulk, single rows by SID.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Numeric,
    RowMapping,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union,
)
from sqlalchemy.dialects.postgresql import JSONB

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.core.agreement import BOTH, FIELD, LINE, Row
from booking_doctor.core.model import SID_SHAPE
from booking_doctor.evidence import Booking, Customer, Overview
from booking_doctor.findings import Window
from booking_doctor.settings import NEEDED

_LINES_AT_ONCE: Final = 8_000
"""A span with more rows than this is streamed, so that rows created all at once cannot fill the memory."""

_MOST_OF_IT: Final = 0.25
"""A window with more of the table's rows than this is asked about duplicates through the whole index at once."""

_WHOLE: Final = frozenset({"smallint", "integer", "bigint"})


class DatabaseRecords:
    """
    Implements `booking_doctor.evidence.Records`. Optional columns that are not there read as null.

    Raises:
        SchemaMismatch: A table or column that is needed is missing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ahead = DaemonExecutor(1)
        for table, columns in NEEDED.items():
            database.need(table, *columns)
        self._messages = database.tables["messages"].c
        # NOTE: built once, because building a statement takes as long as the database takes for a thousand lines.
        line, within = self._canonical_line().label("line"), self._within(bindparam("since"), bindparam("until"))
        self._span: Select[Any] = select(line).where(*within, self._sid().is_not(None))
        some = self._span.limit(_LINES_AT_ONCE + 1).subquery()
        self._joined_span = select(func.string_agg(some.c.line, LINE), func.count())

    def close(self) -> None:
        """
        Read no further ahead.
        """
        self._ahead.shutdown(cancel_futures=True)

    # what only the database can say

    def overview(self, window: Window) -> Overview:
        """
        Counts of the window's rows, and the rows that are wrong in themselves.
        """
        duplicated = self._ahead.submit(self._duplicated, window)
        within = self._within(window.since, window.until)
        with self._database.reading() as connection:
            hours = connection.execute(self._counted_by_hour(within)).all()
            odd = self._rows(connection, *within, self._odd()) if any(hour.odd for hour in hours) else []
            lacking = [] if self._customer_assured() else self._rows(connection, *within, self._lacks_customer())
        return Overview(
            recorded=sum(hour.all for hour in hours),
            outbound_by_hour=_outbound(hours) if self._database.has("messages", "direction") else None,
            duplicated=duplicated.result(),
            split=[row for row in odd if row.sid],
            without_customer=lacking,
            without_sid=[row for row in odd if not row.sid],
            statuses=self._database.vocabulary("messages", "status"),
        )

    def _counted_by_hour(self, within: Sequence[ColumnElement[bool]]) -> Select[Any]:
        """
        One pass, because that is what costs.
        """
        outbound = self._message_column("direction").is_distinct_from("inbound")
        hour = func.date_trunc("hour", self._messages.created_at)
        return (
            select(
                hour.label("begins"),
                func.count().label("all"),
                func.count().filter(self._odd()).label("odd"),
                func.count().filter(outbound).label("outbound"),
            )
            .where(*within)
            .group_by(hour)  # not by the label: a column of the table may be called so
        )

    def _customer_assured(self) -> bool:
        """
        Whether the database itself keeps every row's customer: NOT NULL, and a foreign key that is validated.
        """
        column = self._messages.customer_id.name
        return self._database.columns("messages")[column].not_null and self._database.references(
            "messages", "customer_id"
        )

    def _lacks_customer(self) -> ColumnElement[bool]:
        customers = self._database.tables["customers"].c
        owner = exists().where(cast(customers.id, Text) == cast(self._messages.customer_id, Text))
        if self._same_type("customers", "id", "messages", "customer_id"):
            owner = exists().where(customers.id == self._messages.customer_id)
        return or_(self._messages.customer_id.is_(None), ~owner)

    def _same_type(self, table: str, column: str, other_table: str, other_column: str) -> bool:
        one = self._database.columns(table)[self._database.tables[table].c[column].name]
        other = self._database.columns(other_table)[self._database.tables[other_table].c[other_column].name]
        return one.type == other.type

    def _duplicated(self, window: Window) -> dict[str, int]:
        """
        SIDs of the window's rows that another row carries too, wherever that one lies in time.
        """
        within = self._within(window.since, window.until)
        another = self._messages.id.table.alias("another").c
        # NOTE: a question for each pair of columns, because no index is of use to a condition on both.
        questions = [
            select(sid).where(
                *within, said, exists().where(other_sid == sid, other_said, another.id != self._messages.id)
            )
            for (sid, said), (other_sid, other_said) in product(self._going_by(self._messages), self._going_by(another))
        ]
        estimated = self._database.rows_estimated("messages")
        with self._database.reading() as connection:
            recorded = connection.execute(select(func.count()).where(*within)).scalar_one()
            if recorded > _MOST_OF_IT * estimated:
                first = self._messages.message_sid
                questions[0] = select(first).where(first != "").group_by(first).having(func.count() > 1)
            sids = connection.execute(union(*questions)).scalars().all()
            if not sids:
                return {}
            of_them = or_(*((column == _any_of(sids)) & said for column, said in self._going_by(self._messages)))
            sid = self._sid()
            rows = select(sid, func.count()).where(of_them).group_by(sid)
            return dict(connection.execute(rows.having(func.bool_or(and_(*within)))).all())

    def _going_by(self, row: Any) -> list[tuple[ColumnElement[str], ColumnElement[bool]]]:  # noqa: ANN401  columns by name
        """
        The columns whose SID a row goes by, each with the condition: the second counts where the first says nothing.
        """
        first = (row.message_sid, row.message_sid != "")
        if not self._database.has("messages", "twilio_message_sid"):
            return [first]
        unsaid = or_(row.message_sid.is_(None), row.message_sid == "")
        return [first, (row.twilio_message_sid, unsaid & (row.twilio_message_sid != ""))]

    def _odd(self) -> ColumnElement[bool]:
        """
        That a row names no message, or two.
        """
        if not self._database.has("messages", "twilio_message_sid"):
            return self._sid().is_(None)
        differ = _said(self._messages.message_sid) != _said(self._messages.twilio_message_sid)
        return or_(self._sid().is_(None), differ)

    # rows

    def lines(self, since: datetime, until: datetime) -> Iterator[list[str]]:
        """
        The canonical lines of the rows created in that span. One value a query where they fit, else a stream.
        """
        span = {"since": since, "until": until}
        return self._chunks(span, self._ahead.submit(self._joined_lines, span))

    def _joined_lines(self, span: Mapping[str, datetime]) -> list[str] | None:
        """
        All lines of the span; None where they are too many, or cannot be told apart.
        """
        with self._database.reading() as connection:
            joined, count = connection.execute(self._joined_span, span).one()
        lines = joined.split(LINE) if joined is not None else []
        # NOTE: a body may hold the separator; then the pieces are no lines, and the rows are read one by one.
        return lines if count <= _LINES_AT_ONCE and len(lines) == count else None

    def _chunks(self, span: Mapping[str, datetime], joined: Future[list[str] | None]) -> Iterator[list[str]]:
        lines = joined.result()
        if lines is not None:
            yield lines
            return
        with self._database.reading() as connection:
            connection.execution_options(stream_results=True, max_row_buffer=_LINES_AT_ONCE)
            for rows in connection.execute(self._span, span).scalars().partitions(_LINES_AT_ONCE):
                yield list(rows)

    def rows(self, sids: Collection[str]) -> list[Row]:
        """
        Rows whose `message_sid` is one of *sids*; uses its index.
        """
        with self._database.reading() as connection:
            return self._rows(connection, self._messages.message_sid == _any_of(sids))

    def rows_by_second_sid(self, sids: Collection[str]) -> list[Row]:
        """
        Rows whose `twilio_message_sid` is one of *sids*; one pass over the table.
        """
        if not self._database.has("messages", "twilio_message_sid"):
            return []
        with self._database.reading() as connection:
            return self._rows(connection, self._messages.twilio_message_sid == _any_of(sids))

    def _rows(self, connection: Connection, *conditions: ColumnElement[bool]) -> list[Row]:
        question = select(*self._row_columns()).where(*conditions).order_by(self._messages.id)
        return [_row(row) for row in connection.execute(question).mappings()]

    def _row_columns(self) -> list[ColumnElement[Any]]:
        return [self._message_column(name).label(name) for name in Row.__struct_fields__]

    def _message_column(self, name: str) -> ColumnElement[Any]:
        """
        A column in the type that `Row` has it in, whatever it is here.
        """
        if not self._database.has("messages", name):
            return cast(null(), Numeric if name == "cost_usd" else Text)
        column = self._messages[name]
        if name == "segments" and self._database.columns("messages")[column.name].type not in _WHOLE:
            return func.trim_scale(cast(column, Numeric), type_=Numeric())
        if name == "cost_usd":
            return cast(column, Numeric)
        return column if name in {"segments", "created_at"} else cast(column, Text)

    def _sid(self) -> ColumnElement[str]:
        """
        The SID it goes by, as `Row.sid` has it; null where there is none.
        """
        if not self._database.has("messages", "twilio_message_sid"):
            return _said(self._messages.message_sid)
        return func.coalesce(_said(self._messages.message_sid), _said(self._messages.twilio_message_sid))

    def _within(
        self, since: datetime | ColumnElement[Any], until: datetime | ColumnElement[Any]
    ) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return self._messages.created_at >= since, self._messages.created_at < until

    def _canonical_line(self) -> ColumnElement[str]:
        """
        What `booking_doctor.core.agreement.line_of` makes of Twilio's side, made of ours by the database.
        """
        cost = self._message_column("cost_usd")
        parts = [
            self._sid(),
            self._status(),
            *(self._text(name) for name in ("to_number", "from_number", "direction", "segments")),
            func.coalesce(cast(func.trim_scale(func.abs(cost)), Text), ""),
            self._text("body"),
        ]
        return func.concat_ws(FIELD, *parts)

    def _text(self, name: str) -> ColumnElement[str]:
        return func.coalesce(cast(self._message_column(name), Text), "")

    def _status(self) -> ColumnElement[str]:
        if not self._database.has("messages", "twilio_status"):
            return self._text("status")
        first, second = self._message_column("status"), self._message_column("twilio_status")
        return case(
            (or_(second.is_(None), second == first), func.coalesce(first, "")),
            (first.is_(None), second),
            else_=first.concat(literal(BOTH)).concat(second),
        )

    # bookings and customers

    def bookings_naming(self, sids: Collection[str], now: datetime) -> list[Booking]:
        """
        Pending bookings whose metadata names one of *sids* as their deferred SMS.
        """
        return self._bookings(now, self._named_sid() == _any_of(sids))

    def bookings_between(
        self, since: datetime, until: datetime, numbers: Collection[str], now: datetime
    ) -> list[Booking]:
        """
        Bookings created in that span whose phone ends like one of *numbers*; whoever asks compares them as E.164.
        """
        bookings = self._database.tables["pending_bookings"].c
        return self._bookings(
            now,
            bookings.created_at >= since,
            bookings.created_at <= until,
            _ending(bookings.customer_phone) == _any_of(_endings(numbers)),
        )

    def customers_with(self, numbers: Collection[str]) -> list[Customer]:
        """
        Customers whose phone ends like one of *numbers*; whoever asks compares them as E.164.
        """
        customers = self._database.tables["customers"].c
        question = (
            select(cast(customers.id, Text), customers.phone)
            .where(_ending(customers.phone) == _any_of(_endings(numbers)))
            .order_by(customers.id)
        )
        with self._database.reading() as connection:
            return [Customer(id=id_, phone=phone) for id_, phone in connection.execute(question)]

    def _named_sid(self) -> ColumnElement[str]:
        """
        The SID of the deferred SMS. Text may be garbage, and json hold what its own operators refuse, so both are searched.
        """
        metadata = self._database.tables["pending_bookings"].c.metadata
        kind = self._database.columns("pending_bookings")[metadata.name].type
        if kind != "jsonb":
            return func.substring(cast(metadata, Text), rf'"message_sid"\s*:\s*"({SID_SHAPE.pattern})"')
        sid: ColumnElement[str] = cast(metadata, JSONB)["initial_sms"]["message_sid"].astext
        return sid

    def _bookings(self, now: datetime, *conditions: ColumnElement[bool]) -> list[Booking]:
        bookings = self._database.tables["pending_bookings"].c
        expires_at = bookings.expires_at if self._database.has("pending_bookings", "expires_at") else null()
        expired = (bookings.status == "pending") & (expires_at <= now)
        question = (
            select(
                cast(bookings.id, Text).label("id"),
                bookings.customer_phone.label("phone"),
                case((expired, "expired"), else_=cast(bookings.status, Text)).label("status"),
                func.coalesce(
                    (bookings.status == "pending") & ~func.coalesce(expired, literal(value=False)), literal(value=False)
                ).label("open"),
                bookings.created_at.label("created_at"),
                self._named_sid().label("names_sid"),
                self._booked_customer().label("customer_id"),
                cast(bookings.metadata, Text).label("metadata"),
            )
            .where(*conditions)
            .order_by(bookings.created_at, bookings.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(question).mappings().all()
        return [Booking(**{**row, "created_at": _utc(row["created_at"])}) for row in rows]

    def _booked_customer(self) -> ColumnElement[str | None]:
        """
        A booking's customer: its own column, else the confirmed booking that was made of it.
        """
        pending, confirmed = self._database.tables["pending_bookings"].c, self._database.tables["bookings"].c
        known: list[ColumnElement[str]] = []
        if self._database.has("pending_bookings", "customer_id"):
            known.append(cast(pending.customer_id, Text))
        if self._database.columns("bookings") and self._database.has("bookings", "pending_booking_id"):
            made = select(func.min(cast(confirmed.customer_id, Text))).where(confirmed.pending_booking_id == pending.id)
            known.append(made.correlate(pending.id.table).scalar_subquery())
        return func.coalesce(*known, null()) if known else cast(null(), Text)


def _any_of(values: Collection[str]) -> ColumnElement[Any]:
    return any_(cast(literal(list(values), ARRAY(Text)), ARRAY(Text)))


_ENDING: Final = 7
"""Digits at the end of a number that every way of writing it has in common."""


def _ending(column: ColumnElement[Any]) -> ColumnElement[str]:
    return func.right(func.regexp_replace(cast(column, Text), "[^0-9]", "", "g"), _ENDING)


def _endings(numbers: Collection[str]) -> Sequence[str]:
    return sorted({re.sub("[^0-9]", "", number)[-_ENDING:] for number in numbers})


def _said(column: ColumnElement[Any]) -> ColumnElement[str]:
    """
    The text, or null where it is empty, as careless code leaves it.
    """
    said: ColumnElement[str] = func.nullif(column, "")
    return said


def _outbound(hours: Sequence[Any]) -> dict[datetime, int]:
    return {begins: hour.outbound for hour in hours if (begins := _utc(hour.begins))}


def _row(row: RowMapping) -> Row:
    return Row(**{**row, "created_at": _utc(row["created_at"])})


def _utc(moment: datetime | None) -> datetime | None:
    # NOTE: a column without zone comes back naive; the transaction's zone is UTC, so that is what it means.
    return moment and (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
