"""
What holds for every log and every table, tried on random worlds in memory.

The strongest of these tests compares with an oracle: the rules of the comparison over plain dictionaries, with nothing
read in pages, nothing spilled and nothing looked up.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from random import Random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.core.agreement import Row, differences, direction_of, told_once
from booking_doctor.core.keys import key_of, sid_of
from booking_doctor.core.model import TwilioMessage, e164
from booking_doctor.discrepancies import Comparison, Discrepancy, Kind, Terms
from booking_doctor.evidence import Booking, Customer
from booking_doctor.findings import Window
from booking_doctor.reconcile import reconcile
from tests.memory import GONE, MemoryLog, MemoryRecords, days_of, rfc2822, sid

module: Final = import_module("booking_doctor.reconcile")

NOW: Final = datetime(2025, 12, 8, 12, tzinfo=UTC)
WINDOW: Final = Window(datetime(2025, 12, 5, 18, tzinfo=UTC), NOW)
SENDER, SERVICE, STRANGER = "+15550100200", "MG" + "5" * 32, "+15550100999"
TERMS: Final = Terms(window=WINDOW, now=NOW, senders=frozenset({SENDER, SERVICE}))

BUCKETS: Final = ("matched", "mismatched", "deferred", "in_flight", "rejected", "unrecorded")


# --- worlds ----------------------------------------------------------------------------------------------------------


def text(number: int, at: datetime = NOW - timedelta(days=1), **values: Any) -> TwilioMessage:
    """
    A message that was sent and billed; without a date if it says ``date_sent=None``.
    """
    defaults = {
        "status": "delivered",
        "direction": "outbound-api",
        "to": f"+1555010{1000 + number % 9000}",
        "from_number": SENDER,
        "body": f"Text {number}",
        "num_segments": "1",
        "price": "-0.00790",
        "price_unit": "USD",
        "date_sent": rfc2822(at),
        "date_created": rfc2822(at),
    }
    return TwilioMessage(sid=sid(number), **{**defaults, **values})


def recorded(message: TwilioMessage, **values: Any) -> Row:
    """
    The row that says what Twilio says.
    """
    row = Row(
        id=message.sid,
        message_sid=message.sid,
        twilio_message_sid=message.sid,
        status=message.status,
        twilio_status=message.status,
        direction=direction_of(message),
        to_number=message.to,
        from_number=message.from_number,
        segments=message.segments,
        cost_usd=message.cost_usd,
        body=message.body,
        customer_id="customer-0",
        created_at=message.happened_at,
    )
    return replace(row, **values)


def booking(number: int, **values: Any) -> Booking:
    """
    A pending booking that nothing belongs to.
    """
    defaults = {
        "phone": None,
        "status": "pending",
        "open": True,
        "created_at": NOW - timedelta(days=100),
        "names_sid": None,
        "customer_id": None,
        "metadata": None,
    }
    return Booking(id=f"booking-{number}", **{**defaults, **values})


@dataclass(kw_only=True)
class Sides:
    """
    Both sides of a comparison.
    """

    window: Window = WINDOW
    messages: list[TwilioMessage] = field(default_factory=list)
    earlier: dict[str, TwilioMessage] = field(default_factory=dict)
    strays: dict[date, list[TwilioMessage]] = field(default_factory=dict)
    inclusive: bool = False
    unlisted: set[str] = field(default_factory=set)
    statuses: frozenset[str] | None = None
    rows: list[Row] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=lambda: [Customer(id="customer-0", phone="+15550000000")])

    def log(self, **how: Any) -> MemoryLog:
        """
        Twilio's side.
        """
        shown = {"unlisted": self.unlisted, "earlier": self.earlier, "strays": self.strays, "inclusive": self.inclusive}
        return MemoryLog(messages=self.messages, **{**shown, **how})

    def records(self, **how: Any) -> MemoryRecords:
        """
        The application's side, in a table that gave out its ids in this order.
        """
        table = [replace(row, id=str(number)) for number, row in enumerate(self.rows, start=1)]
        return MemoryRecords(
            table=table, bookings=self.bookings, customers=self.customers, statuses=self.statuses, **how
        )

    @property
    def terms(self) -> Terms:
        """
        What is compared.
        """
        return replace(TERMS, window=self.window)

    def compare(self) -> Comparison:
        """
        The comparison of the two.
        """
        return reconcile(self.log(), self.records(), self.terms)


_SECONDS: Final = st.sampled_from([0, 1, 59, 3600, 3 * 3600, 86_399])
_INSIDE: Final = st.builds(
    lambda day, second: max(WINDOW.since, min(NOW - timedelta(seconds=1), day + timedelta(seconds=second))),
    st.sampled_from([datetime(2025, 12, day, tzinfo=UTC) for day in (5, 6, 7, 8)]),
    _SECONDS,
)
_OUTSIDE: Final = st.sampled_from([WINDOW.since - timedelta(seconds=1), NOW - timedelta(days=30), NOW])
_YOUNG: Final = st.sampled_from([NOW - timedelta(minutes=4, seconds=59), NOW - timedelta(minutes=5)])
_TIMES: Final = st.one_of(_INSIDE, _INSIDE, _INSIDE, _OUTSIDE, _YOUNG)

_STATUSES: Final = st.sampled_from(["delivered", "sent", "queued", "undelivered", "failed", "read", "new word"])


@st.composite
def messages(draw: st.DrawFn, number: int) -> TwilioMessage:
    """
    A message of any sort that a log can hold.
    """
    at = draw(_TIMES)
    values: dict[str, Any] = {}
    if draw(st.booleans()):
        values["status"] = draw(_STATUSES)
    sort = draw(
        st.sampled_from(["text"] * 3 + ["rejected"] * 3 + ["undated", "stranger", "service", "inbound", "redacted"])
    )
    if sort == "undated":
        values |= {"date_sent": None, "status": draw(st.sampled_from(["queued", "failed", "accepted"])), "price": None}
    elif sort == "stranger":
        values["from_number"] = STRANGER
    elif sort == "service":
        values |= {"from_number": STRANGER, "messaging_service_sid": SERVICE}
    elif sort == "inbound":
        values |= {
            "direction": "inbound",
            "from_number": f"+1555010{1000 + number}",
            "to": SENDER,
            "status": "received",
        }
    elif sort == "rejected":
        values |= {"status": "failed", "error_code": draw(st.sampled_from([21211, 21211, 30003])), "price": None}
    elif sort == "redacted":
        values["body"] = ""
    return text(number, at, **values)


_CHANGES: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {},
    optional={
        "status": _STATUSES,
        "twilio_status": st.one_of(st.none(), _STATUSES),
        "body": st.sampled_from([None, "Another text", "with \x1e and \x1f"]),
        "segments": st.sampled_from([None, 1, 2]),
        "cost_usd": st.sampled_from([None, Decimal("0.0079"), Decimal("-0.0079"), Decimal("0.5"), Decimal("NaN")]),
        "to_number": st.sampled_from([None, "+15550109999", "(555) 010-9999"]),
        "customer_id": st.sampled_from([None, "nobody"]),
    },
)


@st.composite
def rows_of(draw: st.DrawFn, message: TwilioMessage, spare: int) -> list[Row]:
    """
    What an application can have made of a message: none, or one row, agreeing or not, at any time; or several.
    """
    row = recorded(message, created_at=draw(st.one_of(st.just(message.happened_at), _TIMES)))
    changed = replace(row, **draw(_CHANGES))
    split = replace(changed, message_sid=sid(spare), created_at=draw(_INSIDE))
    again = replace(changed, created_at=draw(_TIMES))
    shapes: list[list[Row]] = [
        [],
        [row],
        [changed],
        [replace(changed, message_sid=draw(st.sampled_from([None, ""])))],
        [replace(changed, twilio_message_sid=draw(st.sampled_from([None, ""])))],
        [split],
        [row, split],
        [row, row],
        [row, again],
        [again, replace(row, message_sid=None)],
    ]
    return draw(st.sampled_from([*shapes[:1] * 4, *shapes[:3], *shapes]))


@st.composite
def owners_of(draw: st.DrawFn, message: TwilioMessage, number: int) -> tuple[list[Booking], list[Customer]]:
    """
    Whose it may be.
    """
    minutes = draw(st.sampled_from([-3, -2, 0, 10, 11]))
    at = message.happened_at - timedelta(minutes=minutes)
    open_ = draw(st.booleans())
    near = booking(number, phone=message.customer_number, created_at=at, open=open_)
    named = booking(1000 + number, names_sid=message.sid, open=open_, created_at=draw(st.sampled_from([None, at])))
    customer = Customer(id=f"customer-{number}", phone=draw(st.sampled_from([near.phone or "", "(555) 010-9999"])))
    bookings = draw(st.sampled_from([[], [], [near], [named], [near, named]]))
    return bookings, draw(st.sampled_from([[], [customer]]))


_WINDOWS: Final = st.sampled_from([WINDOW, WINDOW, Window(WINDOW.since, datetime(2025, 12, 7, 3, tzinfo=UTC))])

_VOCABULARIES: Final = st.sampled_from(
    [
        None,
        None,
        frozenset({"queued", "sent", "delivered", "failed"}),
        frozenset({"pending", "sent", "delivered", "read"}),
    ]
)

_ODD_AGES: Final = [timedelta(minutes=14, seconds=59), timedelta(minutes=15), timedelta(days=2)]


@st.composite
def sides(draw: st.DrawFn) -> Sides:
    """
    A world: messages with what was made of them, and rows that nothing is known of.
    """
    world = Sides(window=draw(_WINDOWS), inclusive=draw(st.booleans()), statuses=draw(_VOCABULARIES))
    for number in range(1, 1 + draw(st.integers(0, 9))):
        message = draw(messages(number))
        world.messages.append(message)
        if message.date_sent and draw(st.integers(0, 5)) == 0:
            world.earlier[message.sid] = msgspec.structs.replace(message, date_sent=None, status="queued")
        if message.date_sent is None and draw(st.booleans()):
            world.strays.setdefault(message.happened_at.date(), []).append(message)
        world.rows += draw(rows_of(message, 500 + number))
        bookings, customers = draw(owners_of(message, number))
        world.bookings += bookings
        world.customers += customers
        if draw(st.integers(0, 7)) == 0:
            world.unlisted.add(message.sid)
    for number in range(900, 900 + draw(st.integers(0, 3))):
        at = NOW - draw(st.sampled_from(_ODD_AGES))
        no_sid: dict[str, Any] = draw(st.sampled_from([{}, {}, {"message_sid": None, "twilio_message_sid": ""}]))
        world.rows.append(replace(recorded(text(number, at)), **no_sid))
    draw(st.randoms(use_true_random=False)).shuffle(world.rows)
    return world


@contextmanager
def limits(*, span: int = 4000, kept: int = 20_000, lookup: int = 1000) -> Iterator[None]:
    """
    Other sizes of what is compared, kept and looked up at once, so that little worlds come to the ways of large ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SPAN_MESSAGES", span)
        patch.setattr(module, "_WAITING_MESSAGES", 2 * span)
        patch.setattr(module, "_KEPT_LEFTOVERS", kept)
        patch.setattr(module, "_LOOKUP", lookup)
        yield


@st.composite
def ways(draw: st.DrawFn) -> dict[str, Any]:
    """
    Any way to read a log and a table.
    """
    return {
        "page_size": draw(st.integers(1, 5)),
        "mix": Random(draw(st.integers(0, 1000))),
        "chunk": draw(st.integers(1, 4)),
        "span": draw(st.integers(1, 6)),
        "kept": draw(st.integers(0, 4)),
        "lookup": draw(st.integers(1, 3)),
    }


def compared(world: Sides, way: Mapping[str, Any], **terms: Any) -> Comparison:
    """
    The comparison, read in that way.
    """
    with limits(span=way["span"], kept=way["kept"], lookup=way["lookup"]):
        log = world.log(page_size=way["page_size"], mix=way["mix"])
        return reconcile(log, world.records(chunk=way["chunk"]), replace(world.terms, **terms))


# --- the oracle ------------------------------------------------------------------------------------------------------

Essence = tuple[Kind, str, tuple[str, ...], bool, tuple[str, ...]]
"""A discrepancy: kind, SID, fields that differ, whether it is an error, whose it might be."""


def essence(discrepancy: Discrepancy) -> Essence:
    """
    What a discrepancy says, without the objects it says it with.
    """
    candidates = discrepancy.candidates
    owners: list[Booking | Customer] = [*candidates.named, *candidates.bookings, *candidates.customers]
    fields = tuple(difference.field for difference in discrepancy.differences)
    wrong = any(difference.contradicts for difference in discrepancy.differences)
    return discrepancy.kind, discrepancy.sid, fields, wrong, tuple(owner.id for owner in owners)


def carriers(world: Sides) -> dict[str, list[Row]]:
    """
    The rows that speak for each SID: those that carry it in the second column only where no other does in the first.
    """
    first, second = grouped(world.rows, "message_sid"), grouped(world.rows, "twilio_message_sid")
    return {name: first.get(name) or second.get(name) or [] for name in {*first, *second}}


def asked_for(world: Sides) -> set[str]:
    """
    The SIDs in the window's rows that are neither too young nor too old to ask Twilio for.
    """
    carried = carriers(world)
    here = [row for row in world.rows if row.created_at and row.created_at in world.window]
    named = {name for row in here for name in (row.message_sid, row.twilio_message_sid) if name}
    ages = {name: NOW - min(row.created_at for row in carried[name] if row.created_at) for name in named}
    return {name for name, age in ages.items() if timedelta(minutes=15) <= age <= TERMS.retention}


def oracle(world: Sides) -> tuple[set[Essence], dict[str, int]]:
    """
    The answer by the book: every message by itself, every SID of a row by itself.
    """
    carried = carriers(world)
    here = [row for row in world.rows if row.created_at and row.created_at in world.window]
    askable = asked_for(world)
    ours = [message for message in world.messages if is_ours(message) and message.happened_at in world.window]
    shown = {message.sid for message in world.messages} - world.unlisted | askable
    ours = [message for message in ours if message.sid in shown or message.sid in strayed(world)]
    found = [judged(message, carried.get(message.sid, []), world) for message in ours]
    found += [(Kind.UNKNOWN, name, (), False, ()) for name in askable - {message.sid for message in world.messages}]
    kinds = [None if one is None else one[0] for one in found]
    goes_by = [row.sid for row in world.rows]
    known = {customer.id for customer in world.customers}
    counts = {
        "twilio_messages": len(ours),
        "recorded_messages": len(here),
        "matched": kinds.count(None),
        **{kind.value: kinds.count(kind) for kind in Kind},
        "orphaned": sum(one is not None and one[0] is Kind.UNRECORDED and not one[4] for one in found),
        "without_customer": sum(row.customer_id not in known for row in here),
        "duplicated": len({row.sid for row in here if row.sid and goes_by.count(row.sid) > 1}),
        "without_sid": sum(not row.sid for row in here),
    }
    return {one for one in found if one is not None}, counts


def judged(message: TwilioMessage, rows: Sequence[Row], world: Sides) -> Essence | None:
    """
    What is to be said of a message; None for a match.
    """
    if rows:
        every = (told_once(differences(message, row, "US", world.statuses), row) for row in rows)
        best = min(every, key=len)
        wrong = any(difference.contradicts for difference in best)
        fields = tuple(difference.field for difference in best)
        return (Kind.MISMATCHED, message.sid, fields, wrong, ()) if best else None
    named = [booking for booking in world.bookings if booking.names_sid == message.sid]
    if any(booking.open for booking in named):
        return Kind.DEFERRED, message.sid, (), False, tuple(booking.id for booking in named)
    if message.rejected:
        return Kind.REJECTED, message.sid, (), False, ()
    if NOW - message.happened_at < timedelta(minutes=5):
        return Kind.IN_FLIGHT, message.sid, (), False, ()
    number = e164(message.customer_number, "US")
    earliest, latest = message.happened_at - timedelta(minutes=10), message.happened_at + timedelta(minutes=2)
    dated = [one for one in world.bookings if one.created_at and earliest <= one.created_at <= latest]
    near = [one for one in dated if e164(one.phone, "US") == number and not message.inbound]
    customers = [one for one in world.customers if e164(one.phone, "US") == number]
    owners: list[Booking | Customer] = [*named, *near, *customers]
    return Kind.UNRECORDED, message.sid, (), False, tuple(owner.id for owner in owners)


def strayed(world: Sides) -> set[str]:
    """
    Messages without a date that the list of their day shows.
    """
    return {message.sid for messages in world.strays.values() for message in messages}


def is_ours(message: TwilioMessage) -> bool:
    """
    Whether it is one of the application's senders.
    """
    return bool({message.from_number, message.to, message.messaging_service_sid} & {SENDER, SERVICE})


def grouped(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    """
    Rows by a SID column.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, column) or "", []).append(row)
    groups.pop("", None)
    return groups


@settings(deadline=None, max_examples=250)
@given(sides(), ways())
def test_the_answer_is_the_oracles(world: Sides, way: dict[str, Any]) -> None:
    """
    Pages, spans, spilling and looking up are only ways to the answer that the rules give message by message.
    """
    comparison = compared(world, way)

    found, counts = oracle(world)
    assert sorted(map(essence, comparison.discrepancies)) == sorted(found)
    assert comparison.counts == counts
    assert comparison.log_complete
    assert comparison.unread == []


@settings(deadline=None, max_examples=60)
@given(sides(), ways())
def test_texts_sent_are_counted_by_the_hour(world: Sides, way: dict[str, Any]) -> None:
    """
    Of every hour of the window, as plain counting has it: outbound, ours, with a date, and not refused at once.
    """
    comparison = compared(world, way)

    refused = {one.sid for one in comparison.of(Kind.REJECTED)}
    asked = asked_for(world)
    sent = Counter(
        message.sent_at.replace(minute=0, second=0)
        for message in world.messages
        if message.sent_at and message.sent_at in world.window and is_ours(message) and not message.inbound
        if message.sid not in refused and (message.sid not in world.unlisted or message.sid in asked)
    )
    assert comparison.sent == {hour: sent[hour] for hour in world.window.hours()}


# --- what follows from it --------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(sides(), ways(), ways())
def test_every_message_is_in_one_bucket_in_whatever_order_it_comes(
    world: Sides, way: dict[str, Any], another: dict[str, Any]
) -> None:
    """
    The buckets add up to the messages, no SID is in two, and any other way of reading gives the same.
    """
    comparison = compared(world, way)

    assert sum(comparison.counts[bucket] for bucket in BUCKETS) == comparison.counts["twilio_messages"]
    found = [discrepancy.sid for discrepancy in comparison.discrepancies]
    assert sorted(set(found)) == sorted(found)
    again = compared(world, another)
    assert again.counts == comparison.counts
    assert list(map(essence, again.discrepancies)) == list(map(essence, comparison.discrepancies))


@settings(deadline=None, max_examples=60)
@given(sides(), ways())
def test_a_log_against_itself_yields_nothing(world: Sides, way: dict[str, Any]) -> None:
    """
    When the table says what the log says, all is matched, whatever the messages are.
    """
    mirror = dataclasses.replace(
        world, rows=[recorded(message) for message in world.messages], unlisted=set(), statuses=None
    )

    comparison = compared(mirror, way)

    assert comparison.discrepancies == []
    assert comparison.counts["matched"] == comparison.counts["twilio_messages"]
    assert comparison.unread == []


_CLOCKS: Final = st.sampled_from(
    [
        lambda at: at - timedelta(hours=7),
        lambda at: at + timedelta(hours=11, minutes=59),
        lambda _: datetime(2025, 12, 7, 3, 4, tzinfo=UTC),
        lambda _: NOW - timedelta(days=1000),
    ]
)


@settings(deadline=None, max_examples=60)
@given(sides(), ways(), _CLOCKS)
def test_the_rows_clock_never_changes_what_is_said_of_a_message(world: Sides, way: dict[str, Any], clock: Any) -> None:
    """
    Hours off, all in one minute, years ago: a row is found by its SID wherever it lies.
    """
    world.unlisted.clear()  # what no list shows is only asked for because of a row in the window
    moved = dataclasses.replace(world, rows=[replace(row, created_at=clock(row.created_at)) for row in world.rows])

    one, other = compared(world, way), compared(moved, way)

    assert about_messages(one) == about_messages(other)
    assert {name: one.counts[name] for name in BUCKETS} == {name: other.counts[name] for name in BUCKETS}


def about_messages(comparison: Comparison) -> list[Essence]:
    """
    All but the rows that Twilio does not know, which are the window's own.
    """
    return [essence(one) for one in comparison.discrepancies if one.kind is not Kind.UNKNOWN]


@settings(deadline=None, max_examples=60)
@given(sides(), ways(), st.integers(1, 5))
def test_rows_outside_the_window_are_nobodys_business(world: Sides, way: dict[str, Any], number: int) -> None:
    """
    Rows of another time with SIDs of their own change nothing, neither an answer nor a count.
    """
    elsewhere = [recorded(text(700 + n), created_at=NOW - timedelta(days=4 + n)) for n in range(number)]

    one, other = compared(world, way), compared(dataclasses.replace(world, rows=[*elsewhere, *world.rows]), way)

    assert one.counts == other.counts
    assert list(map(essence, one.discrepancies)) == list(map(essence, other.discrepancies))


@settings(deadline=None, max_examples=60)
@given(sides(), ways())
def test_other_senders_are_counted_and_nothing_else(world: Sides, way: dict[str, Any]) -> None:
    """
    What a narrower set of senders leaves out is in the coverage, so that nothing goes unmentioned.
    """
    ours, everyone = compared(world, way), compared(world, way, senders=None)
    strangers = {message.sid for message in world.messages if not is_ours(message)}

    said = [one for one in map(essence, everyone.discrepancies) if one[1] not in strangers]
    assert list(map(essence, ours.discrepancies)) == said
    listed = [message for message in world.messages if message.sid in strangers and message.happened_at in world.window]
    shown = [message for message in listed if message.sid not in world.unlisted or message.sid in strayed(world)]
    assert ours.coverage.get("out_of_scope", 0) == len(shown)
    assert everyone.coverage.get("out_of_scope", 0) == 0


@settings(deadline=None, max_examples=120)
@given(sides(), ways(), st.dictionaries(st.sampled_from([None, 5, 6, 7, 8]), st.integers(0, 3), min_size=1))
def test_what_was_read_is_reported_and_the_rest_is_not_claimed(
    world: Sides, way: dict[str, Any], breaks: dict[int | None, int]
) -> None:
    """
    A log that breaks off anywhere makes the answer incomplete; what it does say is true and still adds up.
    """
    world.earlier.clear()  # what only the scan has shown may be out of date by seconds
    days = {None if day is None else date(2025, 12, day): pages for day, pages in breaks.items()}
    with limits(span=way["span"], kept=way["kept"], lookup=way["lookup"]):
        log = world.log(page_size=way["page_size"], mix=way["mix"], breaks=days)
        comparison = reconcile(log, world.records(chunk=way["chunk"]), world.terms)

    touched = set(days) & {None, *days_of(world.window)}
    assert comparison.log_complete == (not touched)
    assert bool(comparison.unread) == bool(touched)
    found, counts = oracle(world)
    assert {essence(one) for one in comparison.discrepancies} <= found
    assert all(comparison.counts[name] <= counts[name] for name in comparison.counts)
    said = [comparison.counts.get(bucket, 0) for bucket in BUCKETS]
    assert sum(said) == comparison.counts.get("twilio_messages", 0)


# --- told one by one -------------------------------------------------------------------------------------------------

MESSAGE: Final = text(1)
BEHIND: Final = {"status": "sent", "twilio_status": "sent"}


def test_duplicates_are_found_and_the_best_row_speaks() -> None:
    """
    Of several rows for one SID, identical or not, the one that agrees best decides; that there are several is told too.
    """
    for rows, bucket in [
        ([recorded(MESSAGE)] * 2, "matched"),
        ([recorded(MESSAGE, **BEHIND), recorded(MESSAGE)], "matched"),
        ([recorded(MESSAGE), recorded(MESSAGE, created_at=NOW - timedelta(days=90))], "matched"),
        ([recorded(MESSAGE), recorded(MESSAGE, message_sid=None)], "matched"),
        ([recorded(MESSAGE, **BEHIND)] * 3, "mismatched"),
    ]:
        comparison = Sides(messages=[MESSAGE], rows=rows).compare()

        assert comparison.counts["twilio_messages"] == comparison.counts[bucket] == 1
        assert comparison.counts["duplicated"] == 1


def test_both_sid_columns_count() -> None:
    """
    A message is recorded by either column; a row whose two columns differ answers for both of its SIDs.
    """
    other = text(2)
    split = recorded(MESSAGE, message_sid=other.sid)

    for rows, messages, counts in [
        ([recorded(MESSAGE, message_sid=None)], [MESSAGE], {"matched": 1}),
        ([recorded(MESSAGE, message_sid="")], [MESSAGE], {"matched": 1}),
        ([recorded(MESSAGE, twilio_message_sid=None)], [MESSAGE], {"matched": 1}),
        ([split], [MESSAGE], {"matched": 1, "unknown_to_twilio": 1}),
        ([split, recorded(MESSAGE)], [MESSAGE], {"matched": 1, "unknown_to_twilio": 1}),
        ([split], [MESSAGE, other], {"matched": 1, "mismatched": 1}),
        ([split], [], {"unknown_to_twilio": 2}),
    ]:
        comparison = Sides(messages=messages, rows=rows).compare()

        found = {name: n for name, n in comparison.counts.items() if n and name not in _TOTALS}
        assert found == counts


_TOTALS: Final = {"twilio_messages", "recorded_messages"}


def test_a_message_that_got_its_date_meanwhile_counts_once() -> None:
    """
    The scan sees it waiting, the day's list sees it sent: one message, in its last state.
    """
    waiting = msgspec.structs.replace(MESSAGE, date_sent=None, status="queued", price=None)
    log = MemoryLog(messages=[MESSAGE], earlier={MESSAGE.sid: waiting})

    comparison = reconcile(log, MemoryRecords(table=[recorded(MESSAGE)]), TERMS)

    assert comparison.counts["twilio_messages"] == comparison.counts["matched"] == 1
    assert comparison.discrepancies == []


def test_messages_without_a_date_may_stand_anywhere_in_a_list() -> None:
    """
    Twilio does not say where they stand in a day's list: after older ones they make no row come twice.
    """
    day = datetime(2025, 12, 7, tzinfo=UTC)
    sent = [text(number, day + timedelta(hours=number)) for number in (1, 2, 3)]
    waiting = [text(number, day + timedelta(hours=20), date_sent=None, status="queued") for number in (8, 9)]
    log = MemoryLog(messages=sent, strays={day.date(): waiting}, page_size=1)

    with limits(span=1):
        comparison = reconcile(log, MemoryRecords(table=[recorded(one) for one in [*sent, *waiting]]), TERMS)

    assert comparison.counts["twilio_messages"] == comparison.counts["matched"] == 5
    assert log.asked == []


def test_a_message_without_a_date_is_compared_and_never_asked_for() -> None:
    """
    Only the scan shows it, wherever its row lies and however many rows it has.
    """
    waiting = text(1, date_sent=None, status="queued", price=None)
    row = recorded(waiting, created_at=NOW - timedelta(hours=2))

    for rows in ([row], [replace(row, created_at=NOW - timedelta(days=50))], [row, row]):
        log = MemoryLog(messages=[waiting])
        comparison = reconcile(log, MemoryRecords(table=rows), TERMS)

        assert comparison.counts["twilio_messages"] == comparison.counts["matched"] == 1
        assert log.asked == []


def test_the_limit_of_asking_is_said() -> None:
    """
    Rows beyond the limit are not called unknown, and the answer is incomplete.
    """
    rows = [recorded(text(number)) for number in range(5)]
    log = MemoryLog(messages=[])

    comparison = reconcile(log, MemoryRecords(table=rows), replace(TERMS, confirm_limit=3))

    assert len(log.asked) == comparison.counts["unknown_to_twilio"] == 3
    assert comparison.coverage["rows_not_confirmed"] == 2
    assert [gap.reason for gap in comparison.unread] == ["2 were not asked for by SID; the limit is 3"]


def test_asking_that_breaks_off_is_said_once() -> None:
    """
    What Twilio answered stands, what it did not is incomplete; the limit is not blamed for it.
    """
    rows = [recorded(text(number)) for number in range(5)]

    comparison = reconcile(MemoryLog(messages=[], answers=2), MemoryRecords(table=rows), TERMS)

    assert comparison.counts["unknown_to_twilio"] == 2
    assert comparison.coverage["rows_not_confirmed"] == 3
    assert [gap.reason for gap in comparison.unread] == [GONE]


def test_rows_too_young_or_past_retention_are_not_asked_for() -> None:
    """
    Twilio's list lags and its memory ends: a row outside of both is counted, never called unknown.
    """
    ages = [timedelta(minutes=15, seconds=-1), timedelta(minutes=15), timedelta(days=1), timedelta(days=1, seconds=1)]
    rows = [recorded(text(number, NOW - age)) for number, age in enumerate(ages)]
    log = MemoryLog(messages=[])

    comparison = reconcile(log, MemoryRecords(table=rows), replace(TERMS, retention=timedelta(days=1)))

    assert log.asked == [sid(1), sid(2)]
    assert comparison.counts["unknown_to_twilio"] == 2
    assert (comparison.coverage["rows_too_recent"], comparison.coverage["rows_past_retention"]) == (1, 1)


def test_the_oldest_of_several_rows_says_how_old_a_message_is() -> None:
    """
    A second row made a minute ago makes no message young.
    """
    rows = [recorded(MESSAGE, created_at=NOW - timedelta(minutes=1)), recorded(MESSAGE)]

    for table in (rows, rows[::-1]):
        assert reconcile(MemoryLog(messages=[]), MemoryRecords(table=table), TERMS).counts["unknown_to_twilio"] == 1


def test_a_message_that_the_list_lacks_is_found_by_its_row() -> None:
    """
    Only a 404 makes a row unknown: a message that a lagging list left out counts as if it had been listed.
    """
    world = Sides(messages=[MESSAGE], unlisted={MESSAGE.sid}, rows=[recorded(MESSAGE, **BEHIND)])

    comparison = world.compare()

    assert [essence(one)[:3] for one in comparison.discrepancies] == [
        (Kind.MISMATCHED, MESSAGE.sid, ("status",)),
    ]
    assert comparison.counts["twilio_messages"] == comparison.coverage["missed_by_the_list"] == 1


def test_nothing_read_claims_nothing() -> None:
    """
    Without a single page there is no count, not even of rows.
    """
    days = dict.fromkeys([None, *(date(2025, 12, day) for day in (5, 6, 7, 8))], 0)
    log = MemoryLog(messages=[MESSAGE], breaks=days)

    comparison = reconcile(log, MemoryRecords(table=[recorded(text(2)), recorded(text(3)), recorded(text(3))]), TERMS)

    assert comparison.counts == {}
    assert comparison.discrepancies == []
    assert comparison.overview is None
    assert not comparison.log_complete
    assert log.asked == []
    assert [(gap.check, gap.kind) for gap in comparison.unread] == [
        ("the log of 4 days from 2025-12-05 to 2025-12-08", "unreachable")
    ]


def test_a_day_that_breaks_off_hides_no_row_and_accuses_none() -> None:
    """
    Rows older than the last message read are left alone; younger ones that no message came for are asked about.
    """
    morning, noon, evening = (
        text(n, datetime(2025, 12, 7, hour, tzinfo=UTC)) for n, hour in [(1, 8), (2, 12), (3, 20)]
    )
    made_up = recorded(text(9, datetime(2025, 12, 7, 15, tzinfo=UTC)))
    rows = [recorded(morning), recorded(noon), recorded(evening), made_up]
    log = MemoryLog(messages=[morning, noon, evening], page_size=1, breaks={date(2025, 12, 7): 2})

    comparison = reconcile(log, MemoryRecords(table=rows), TERMS)

    assert log.asked == [made_up.sid]
    assert (comparison.counts["matched"], comparison.counts["unknown_to_twilio"]) == (2, 1)
    assert [gap.check for gap in comparison.unread] == ["the log of 2025-12-07"]
    assert comparison.coverage["days_unread"] == 1


def test_a_message_of_another_day_makes_the_answer_incomplete() -> None:
    """
    A list that does not obey its filter may also leave out what it was asked for.
    """
    stray = text(2, datetime(2025, 11, 1, 9, tzinfo=UTC))
    log = MemoryLog(messages=[MESSAGE], strays={date(2025, 12, 7): [stray]})

    comparison = reconcile(log, MemoryRecords(table=[recorded(MESSAGE)]), TERMS)

    assert comparison.counts["twilio_messages"] == comparison.counts["matched"] == 1
    assert not comparison.log_complete
    assert [gap.reason for gap in comparison.unread] == [
        f"asked for the messages of 2025-12-07, the log also gave {stray.sid} of 2025-11-01"
    ]
    assert comparison.coverage["outside_filter"] == 1


def test_a_server_that_ignores_the_filter_is_seen_through() -> None:
    """
    Every day's list holds everything: each message still counts once, and the answer says that it cannot be trusted.
    """
    messages = [text(n, datetime(2025, 12, day, 9, tzinfo=UTC)) for n, day in enumerate([6, 6, 7, 8])]
    strays = {
        day: [one for one in messages if one.happened_at.date() != day]
        for day in (date(2025, 12, 6), date(2025, 12, 7), date(2025, 12, 8))
    }
    log = MemoryLog(messages=messages, strays=strays, page_size=2)

    comparison = reconcile(log, MemoryRecords(table=[recorded(one) for one in messages]), TERMS)

    assert comparison.counts["twilio_messages"] == comparison.counts["matched"] == 4
    assert len(comparison.unread) == 1
    assert not comparison.log_complete


def test_the_next_midnight_is_no_stray() -> None:
    """
    Twilio calls its bounds inclusive, so a day's list may end with the next midnight: it counts once, on its own day.
    """
    midnight = text(1, datetime(2025, 12, 7, tzinfo=UTC))
    log = MemoryLog(messages=[midnight], inclusive=True)

    comparison = reconcile(log, MemoryRecords(table=[recorded(midnight)]), TERMS)

    assert comparison.counts["twilio_messages"] == comparison.counts["matched"] == 1
    assert comparison.log_complete
    assert comparison.unread == []


def test_a_date_with_an_offset_belongs_to_its_day_in_utc() -> None:
    """
    Half past midnight in Berlin is the day before in UTC.
    """
    at = datetime(2025, 12, 6, 23, 30, tzinfo=UTC)
    berlin = text(1, at, date_sent="Sun, 07 Dec 2025 00:30:00 +0100")

    comparison = Sides(messages=[berlin, text(2, at)], rows=[recorded(berlin), recorded(text(2, at))]).compare()

    assert comparison.counts["matched"] == comparison.counts["twilio_messages"] == 2
    assert comparison.log_complete


@pytest.mark.parametrize(
    "values", [{"date_sent": "2025-12-07T09:00:00Z"}, {"date_sent": "Sun, 07 Dec 2025 09:00:00"}, {"price": "free"}]
)
@pytest.mark.parametrize("has_row", [True, False])
def test_what_cannot_be_read_is_named_and_not_counted(values: dict[str, Any], has_row: bool) -> None:
    """
    One unreadable message spoils nothing else: it is named, once, and the answer is incomplete.
    """
    good, bad = text(1, datetime(2025, 12, 7, 10, tzinfo=UTC)), text(2, datetime(2025, 12, 7, 9, tzinfo=UTC))
    rows = [recorded(good), *([recorded(bad)] if has_row else [])]
    broken = msgspec.structs.replace(bad, **values)
    log = _Fixed(messages=[good], strays={date(2025, 12, 7): [broken]}, fetched={broken.sid: broken})

    comparison = reconcile(log, MemoryRecords(table=rows), TERMS)

    assert comparison.counts["twilio_messages"] == comparison.counts["matched"] == 1
    assert comparison.discrepancies == []
    assert [gap.check for gap in comparison.unread] == [f"message/{bad.sid}"]
    assert bad.sid in comparison.unread[0].reason


@pytest.mark.parametrize("values", [{"date_sent": "2025-12-07T09:00:00Z"}, {"price": "free"}])
@pytest.mark.parametrize("has_row", [True, False])
def test_a_log_that_nobody_can_read_is_no_long_list(values: dict[str, Any], has_row: bool) -> None:
    """
    Of very many unreadable messages the first are named, always the same, and the others counted.
    """
    whole = [text(number, datetime(2025, 12, 7, 9, tzinfo=UTC)) for number in range(30)]
    rows = [recorded(message) for message in whole] if has_row else []
    broken = [replace(message, **values) for message in whole]
    log = _Fixed(messages=[], strays={date(2025, 12, 7): broken}, fetched={message.sid: message for message in broken})

    comparison = reconcile(log, MemoryRecords(table=rows), TERMS)

    assert [gap.check for gap in comparison.unread] == [*(f"message/{sid(number)}" for number in range(20)), "messages"]
    assert comparison.unread[-1].reason == "10 more have a value that cannot be read"
    assert comparison.counts["twilio_messages"] == 0


@dataclass(kw_only=True)
class _Fixed(MemoryLog):
    """
    A log whose answers to a fetch are not what it lists.
    """

    fetched: Mapping[str, TwilioMessage]

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        What was given.
        """
        return ((name, self.fetched.get(name)) for name in sids)


def test_rows_of_other_senders_are_not_asked_for() -> None:
    """
    A second application in the same table costs no questions, however far its statuses are behind or doubled its rows.
    """
    messages = [text(number, from_number=STRANGER) for number in range(3)]
    rows = [recorded(message, **BEHIND) for message in [*messages, messages[0]]]
    log = MemoryLog(messages=messages)

    comparison = reconcile(log, MemoryRecords(table=rows), TERMS)

    assert log.asked == []
    assert comparison.coverage["out_of_scope"] == 3
    assert (comparison.counts["twilio_messages"], comparison.counts["recorded_messages"]) == (0, 4)


def test_leftovers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However many rows and messages wait for their other half, no more than the limit are held whole.
    """
    held: list[int] = []
    settle = module._Comparer._settle

    def counting(self: Any, message: TwilioMessage, rows: Sequence[Row]) -> None:
        held.append(max(len(self.rows), len(self.messages)))
        settle(self, message, rows)

    monkeypatch.setattr(module._Comparer, "_settle", counting)
    messages = [text(number, NOW - timedelta(minutes=30 + number)) for number in range(1, 400)]
    rows = [recorded(message, created_at=message.happened_at - timedelta(hours=20)) for message in messages]
    log = MemoryLog(messages=messages, page_size=20)

    with limits(span=20, kept=10):
        comparison = reconcile(log, MemoryRecords(table=rows, chunk=20), TERMS)

    assert comparison.counts["matched"] == len(messages)
    assert log.asked == []
    assert len(held) == len(messages)
    assert max(held) <= 10 + 20


@settings(deadline=None)
@given(st.one_of(st.text(st.characters(codec="utf-8")), st.from_regex(r"(SM|MM|XY|é)[0-9a-f]{30,34}", fullmatch=True)))
@pytest.mark.parametrize("shape", ["{}", "SM0123456789abcde{}", "SM{}"])
def test_a_sid_survives_its_short_form(shape: str, name: str) -> None:
    """
    Any text is what it was: what is garbage in the SID column must be asked for as that garbage.
    """
    whole = shape.format(name)

    assert sid_of(key_of(whole)) == whole
    assert len(key_of(MESSAGE.sid)) == 18
