"""
From discrepancies to a plan: whose message is it, what is written, what is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.core.agreement import Row, differences
from booking_doctor.core.model import TwilioMessage, iso
from booking_doctor.discrepancies import Candidates, Comparison, Discrepancy, Kind, Terms
from booking_doctor.evidence import Booking, Customer
from booking_doctor.findings import Window
from booking_doctor.repair.plan import Shape, plan_steps
from booking_doctor.repair.steps import CHANGED_COLUMNS, Left, Step, StepKind
from booking_doctor.settings import COLUMNS
from tests.memory import sid
from tests.repair.cases import NOW, PHONE, SENDER, told

SHAPE: Final = Shape(columns=frozenset(COLUMNS["messages"]), statuses=None, region="US")


def booking(id_: str = "b1", **values: Any) -> Booking:
    """
    An open booking with empty metadata.
    """
    defaults = {
        "phone": PHONE,
        "status": "pending",
        "open": True,
        "created_at": NOW - timedelta(days=1),
        "names_sid": None,
        "customer_id": None,
        "metadata": "{}",
    }
    return Booking(id=id_, **{**defaults, **values})


def closed(id_: str = "b1", status: str = "confirmed", **values: Any) -> Booking:
    """
    A booking that confirm will not record any more.
    """
    return booking(id_, open=False, status=status, **values)


def customers(*ids: str) -> tuple[Customer, ...]:
    """
    Customers that share a phone.
    """
    return tuple(Customer(id=id_, phone=PHONE) for id_ in ids)


def found(*discrepancies: Discrepancy) -> Comparison:
    """
    A comparison that found those.
    """
    terms = Terms(window=Window(NOW - timedelta(days=7), NOW), now=NOW, senders=None)
    return Comparison(
        terms=terms, counts={}, discrepancies=discrepancies, overview=None, coverage={}, unread=(), log_complete=True
    )


def unrecorded(message: TwilioMessage, **candidates: Any) -> Discrepancy:
    """
    A message without a row.
    """
    return Discrepancy(kind=Kind.UNRECORDED, sid=message.sid, message=message, candidates=Candidates(**candidates))


def planned(*discrepancies: Discrepancy, shape: Shape = SHAPE) -> tuple[Sequence[Step], dict[str, str]]:
    """
    The steps, and why by subject what was left.
    """
    steps, left = plan_steps(found(*discrepancies), shape)
    return steps, {one.subject: one.reason for one in left}


def one(message: TwilioMessage, *, shape: Shape = SHAPE, **candidates: Any) -> Step | str:
    """
    The one step, or why the message is left.
    """
    steps, left = planned(unrecorded(message, **candidates), shape=shape)
    assert len(steps) + len(left) == 1
    return steps[0] if steps else left[f"message/{message.sid}"]


def customer_of(outcome: Step | str) -> str | None:
    """
    Whom an insert gives the message.
    """
    assert isinstance(outcome, Step)
    assert outcome.kind is StepKind.INSERT_MESSAGE
    assert outcome.after is not None
    return outcome.after["customer_id"]


# --- whose message is it? --------------------------------------------------------------------------------------------


def test_named() -> None:
    """
    The booking whose metadata names the SID decides before any other.
    """
    outcome = one(
        told(),
        named=(closed("named", customer_id="its-own"),),
        bookings=(closed("near", customer_id="another"),),
        customers=customers("a-third"),
    )

    assert customer_of(outcome) == "its-own"


def test_nearby() -> None:
    """
    The one booking around the time it was sent decides before a customer with the phone.
    """
    outcome = one(told(), bookings=(closed("near", customer_id="its-own"),), customers=customers("another"))

    assert customer_of(outcome) == "its-own"


def test_customer() -> None:
    """
    Without a booking it is the one customer with the phone.
    """
    assert customer_of(one(told(), customers=customers("the-one"))) == "the-one"


@pytest.mark.parametrize(
    ("candidates", "both"),
    [
        ({"named": (booking("b1"), closed("b2"))}, "booking/b1, booking/b2"),
        ({"bookings": (booking("b1"), closed("b2")), "customers": customers("c1")}, "booking/b1, booking/b2"),
        ({"bookings": (closed("b1", customer_id="c1"), closed("b2", customer_id="c1"))}, "booking/b1, booking/b2"),
        ({"customers": customers("c1", "c2")}, "customer/c1, customer/c2"),
        ({"bookings": (closed("b1"),), "customers": customers("c1", "c2")}, "customer/c1, customer/c2"),
    ],
)
def test_two_candidates(candidates: dict[str, Any], both: str) -> None:
    """
    Two candidates of the rule that decides: it is left, both named.
    """
    assert one(told(), **candidates) == f"it could belong to any of {both}"


def test_nobody() -> None:
    """
    Without any candidate it is orphaned; no customer is invented.
    """
    assert one(told()) == "orphaned: no booking and no customer is known that it belongs to"


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_closed_booking(status: str) -> None:
    """
    A text of a booking that ran out is inserted if its customer is known, by the booking or by the phone; else left.
    """
    assert customer_of(one(told(), bookings=(closed(status=status, customer_id="c1"),))) == "c1"
    assert customer_of(one(told(), bookings=(closed(status=status),), customers=customers("c2"))) == "c2"
    assert one(told(), bookings=(closed(status=status),)) == (
        f"booking-closed: booking/b1 is {status} and its customer is not known"
    )


def test_confirmed_without_customer() -> None:
    """
    A confirmed booking whose customer is not known is named as what it is, not as closed.
    """
    assert one(told(), named=(closed(),)) == "booking/b1 is confirmed and its customer is not known"


BOOKINGS = st.builds(
    lambda n, open_, customer: booking(f"b{n}", open=open_, customer_id=customer, status="pending" if open_ else "x"),
    st.integers(1, 4),
    st.booleans(),
    st.none() | st.sampled_from(("c1", "c2")),
)
CANDIDATES = st.builds(
    Candidates,
    named=st.lists(BOOKINGS.filter(lambda b: not b.open), max_size=2, unique_by=lambda b: b.id).map(tuple),
    bookings=st.lists(BOOKINGS, max_size=2, unique_by=lambda b: b.id).map(tuple),
    customers=st.lists(st.sampled_from(("c1", "c2", "c3")), max_size=2, unique=True).map(lambda ids: customers(*ids)),
)


@given(st.lists(CANDIDATES, max_size=6))
def test_every_message_once(candidates: list[Candidates]) -> None:
    """
    Whatever the candidates, every unrecorded message has one step or is left with a reason, and no guess is made.
    """
    unmatched = [
        Discrepancy(kind=Kind.UNRECORDED, sid=sid(n), message=told(n), candidates=some)
        for n, some in enumerate(candidates)
    ]

    steps, left = planned(*unmatched)

    assert sorted([step.sid for step in steps] + [s.removeprefix("message/") for s in left]) == sorted(
        d.sid for d in unmatched
    )
    restored = [step.row_id for step in steps if step.kind is StepKind.RESTORE_METADATA]
    assert len(restored) == len(set(restored))
    known = {d.sid: d.candidates for d in unmatched}
    for step in steps:
        whose = known[step.sid]
        deciding = whose.named or whose.bookings
        assert len(deciding) == 1 or (not deciding and len(whose.customers) == 1)
        if step.kind is StepKind.INSERT_MESSAGE:
            alternatives = {customer.id for customer in whose.customers}
            booked = {b.customer_id for b in deciding if b.customer_id}
            assert {(step.after or {})["customer_id"]} == (booked or alternatives)


# --- open bookings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [None, "{}", '{"initial_sms": null}', '{"initial_sms": {}}'])
def test_restoration(metadata: str | None) -> None:
    """
    A booking that still waits gets its text into the metadata, so that confirm records it.
    """
    step = one(told(7), bookings=(booking(metadata=metadata),), customers=customers("c1"))

    assert isinstance(step, Step)
    assert (step.kind, step.subject, step.row_id) == (StepKind.RESTORE_METADATA, "booking/b1", "b1")
    assert step.reason == f"message-unrecorded:message/{sid(7)}"
    assert step.before == {"metadata": metadata}
    assert step.after is not None
    assert msgspec.json.decode(step.after["metadata"] or "") == {
        "initial_sms": {
            "message_sid": sid(7),
            "body": "Your table is waiting.",
            "from_number": SENDER,
            "to_number": PHONE,
            "segments": 1,
            "cost_usd": 0.0079,
            "sent_at": "2025-12-07T12:00:00Z",
            "status": "delivered",
            "state": "sent",
        }
    }


def test_several_for_one_booking() -> None:
    """
    Several messages for one open booking are all left, each with the booking named; a third booking's is not.
    """
    steps, left = planned(
        unrecorded(told(1), bookings=(booking("b1"),)),
        unrecorded(told(2), bookings=(booking("b1"),)),
        unrecorded(told(3), bookings=(booking("b3"),)),
    )

    assert [step.row_id for step in steps] == ["b3"]
    assert left == dict.fromkeys(
        (f"message/{sid(1)}", f"message/{sid(2)}"), "2 messages could be the one of booking/b1"
    )


@pytest.mark.parametrize("name", [f'"{sid(9)}"', '"x"', "7", "[]", "{}", "false"])
def test_never_over_another_sid(name: str) -> None:
    """
    Metadata that names any message already is not touched.
    """
    metadata = f'{{"initial_sms": {{"message_sid": {name}}}}}'

    assert one(told(), bookings=(booking(metadata=metadata),)) == "the metadata of booking/b1 names another SMS"


@pytest.mark.parametrize(
    "metadata", ["[]", '"{}"', "1", "null", "true", '{"initial_sms": []}', '{"initial_sms": "SM1"}']
)
def test_metadata_of_another_shape(metadata: str) -> None:
    """
    Metadata that is no object is nothing to fill.
    """
    reason = one(told(), bookings=(booking(metadata=metadata),))

    assert reason == "the metadata of booking/b1 is no JSON object, or its initial_sms is none"


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
KEYS = st.text(st.characters(codec="ascii", exclude_characters='"\\', min_codepoint=32), max_size=8).filter(
    lambda key: key not in {"initial_sms", "message_sid"}
)


@given(
    st.dictionaries(KEYS, NUMBERS, max_size=4),
    st.dictionaries(KEYS.map("kept {}".format), NUMBERS, max_size=4),
    st.sampled_from(('"message_sid":null,', '"message_sid":"",', "")),
)
def test_other_keys_keep_their_bytes(outer: dict[str, str], inner: dict[str, str], sid_: str) -> None:
    """
    An intent without SID is filled; every other key, outside and inside of it, keeps its value to the byte.
    """
    inside = ",".join(f'"{key}":{number}' for key, number in inner.items())
    outside = ",".join(f'"{key}":{number}' for key, number in outer.items())
    metadata = f'{{{outside}{"," if outside else ""}"initial_sms":{{{sid_}"state":"sending"{"," + inside if inside else ""}}}}}'

    step = one(told(7), bookings=(booking(metadata=metadata),))

    assert isinstance(step, Step)
    assert step.after is not None
    after = msgspec.json.decode(step.after["metadata"] or "", type=dict[str, msgspec.Raw])
    intent = msgspec.json.decode(after.pop("initial_sms"), type=dict[str, msgspec.Raw])
    assert {key: bytes(value).decode() for key, value in after.items()} == outer
    assert {key: bytes(intent[key]).decode() for key in inner} == inner
    assert bytes(intent["message_sid"]).decode() == f'"{sid(7)}"'
    assert bytes(intent["state"]) == b'"sent"'


# --- rows ------------------------------------------------------------------------------------------------------------


def inserted(message: TwilioMessage, shape: Shape = SHAPE) -> dict[str, str | None]:
    """
    The row that is planned for a message of a known customer.
    """
    step = one(message, shape=shape, customers=customers("c1"))
    assert isinstance(step, Step)
    return dict(step.after or {})


def test_row() -> None:
    """
    A planned row tells Twilio's truth, outbound rows read at once.
    """
    assert inserted(told(1, body="a\0b <b>[red]")) == {
        "customer_id": "c1",
        "direction": "outbound",
        "message_sid": sid(1),
        "twilio_message_sid": sid(1),
        "body": "ab <b>[red]",
        "status": "delivered",
        "twilio_status": "delivered",
        "from_number": SENDER,
        "to_number": PHONE,
        "segments": "1",
        "cost_usd": "0.00790",
        "created_at": "2025-12-07T12:00:00Z",
        "read_at": "2025-12-07T12:00:00Z",
    }


def test_inbound_row() -> None:
    """
    An inbound row is unread.
    """
    row = inserted(told(1, direction="inbound", status="received", price=None))

    assert (row["direction"], row["status"], row["read_at"], row["cost_usd"]) == ("inbound", "received", None, None)


@pytest.mark.parametrize(
    ("price", "unit", "cost"),
    [
        ("-0.00790", "USD", "0.00790"),
        ("-1E-7", "usd", "0.0000001"),
        ("0", "USD", "0"),
        ("-0.00790", "EUR", None),
        (None, "USD", None),
        ("-0.1", None, None),
    ],
)
def test_cost(price: str | None, unit: str | None, cost: str | None) -> None:
    """
    The cost is the positive price where the unit is USD, without exponent, else null.
    """
    assert inserted(told(1, price=price, price_unit=unit))["cost_usd"] == cost


def test_undated_row() -> None:
    """
    Without `date_sent` the row is created when the message was.
    """
    message = told(1, date_sent=None, date_created="Sat, 06 Dec 2025 10:00:00 +0100")

    assert inserted(message)["created_at"] == "2025-12-06T09:00:00Z"


def test_fewer_columns() -> None:
    """
    Columns that this installation has not are left out.
    """
    columns = frozenset({"customer_id", "direction", "message_sid", "body", "status", "created_at"})

    assert set(inserted(told(), Shape(columns=columns, statuses=None, region="US"))) == columns


@pytest.mark.parametrize(
    ("status", "words", "word"),
    [
        ("delivered", {"sent", "failed"}, "sent"),
        ("undelivered", {"sent", "failed"}, "failed"),
        ("read", {"delivered", "sent"}, "delivered"),
        ("canceled", {"cancelled"}, "cancelled"),
        ("sent", {"delivered", "pending"}, "pending"),
        ("delivered", {"delivered"}, "delivered"),
    ],
)
def test_vocabulary(status: str, words: set[str], word: str) -> None:
    """
    The first status speaks the words of the column's check, the second one stays Twilio's.
    """
    row = inserted(told(status=status), Shape(columns=SHAPE.columns, statuses=frozenset(words), region="US"))

    assert (row["status"], row["twilio_status"]) == (word, status)


def test_no_word() -> None:
    """
    A status for which the column has no word is not lied about: the message is left.
    """
    shape = Shape(columns=SHAPE.columns, statuses=frozenset({"ok", "bad"}), region="US")

    reason = one(told(), shape=shape, customers=customers("c1"))

    assert reason == "the status column has no word for delivered, only bad, ok"


def test_left_lists_only_unrecorded() -> None:
    """
    Deferred, in flight, rejected, mismatched and unknown messages are neither planned nor left.
    """
    others = [
        Discrepancy(kind=kind, sid=sid(n), message=told(n), row=Row(id=str(n), message_sid=sid(n)))
        for n, kind in enumerate(Kind)
        if kind is not Kind.UNRECORDED
    ]

    assert planned(*others) == ((), {})


# --- rows that are there ---------------------------------------------------------------------------------------------


def row(**values: Any) -> Row:
    """
    The row of message 1 as Twilio tells it.
    """
    defaults = {
        "id": "41",
        "message_sid": sid(1),
        "twilio_message_sid": sid(1),
        "status": "delivered",
        "twilio_status": "delivered",
        "direction": "outbound",
        "to_number": PHONE,
        "from_number": SENDER,
        "segments": 1,
        "cost_usd": Decimal("0.0079"),
        "body": "Your table is waiting.",
        "customer_id": "c1",
    }
    return Row(**{**defaults, **values})


def corrections(*pairs: tuple[TwilioMessage, Row], statuses: frozenset[str] | None = None) -> Sequence[Step]:
    """
    The steps that correct those rows.
    """
    shape = Shape(columns=SHAPE.columns, statuses=statuses, region="US")
    steps, left = plan_steps(found(), shape, mismatched=pairs)
    assert not left
    return steps


def test_correction() -> None:
    """
    A row is corrected in the fields that differ and no others.
    """
    recorded = row(status="queued", twilio_status="queued", cost_usd=Decimal("1E-7"), segments=3, body="Your table")

    (step,) = corrections((told(1), recorded))

    assert (step.kind, step.row_id, step.reason) == (
        StepKind.UPDATE_MESSAGE,
        "41",
        f"message-mismatched:message/{sid(1)}",
    )
    both = {"status": "queued", "twilio_status": "queued"}
    assert step.before == {**both, "segments": "3", "cost_usd": "0.0000001", "body": "Your table"}
    assert step.after == {
        "status": "delivered",
        "twilio_status": "delivered",
        "segments": "1",
        "cost_usd": "0.00790",
        "body": "Your table is waiting.",
    }


def test_correction_once() -> None:
    """
    A row that carries two SIDs is corrected once, by the first.
    """
    recorded = row(status="queued", twilio_status=None)

    (step,) = corrections((told(1), recorded), (told(2, status="failed"), recorded))

    assert step.sid == sid(1)


def test_no_correction() -> None:
    """
    Where the row says nothing, Twilio says nothing, or the column has no word, nothing is corrected.
    """
    assert not corrections((told(1), row(status=None, twilio_status=None, body=None, cost_usd=None)))
    assert not corrections((told(1, body="", price=None, num_segments="0"), row(body="text", segments=2)))
    assert not corrections(
        (
            told(1, status="received", direction="inbound"),
            row(status="queued", twilio_status=None, direction="inbound"),
        ),
        statuses=frozenset({"queued", "sent"}),
    )


@given(
    st.fixed_dictionaries(
        {
            "status": st.sampled_from(("queued", "sent", "delivered", "failed")),
            "twilio_status": st.sampled_from(("queued", "sent", "delivered", "failed", None)),
            "direction": st.sampled_from(("inbound", "outbound")),
            "to_number": st.sampled_from((PHONE, "+15550109999", None)),
            "from_number": st.sampled_from((SENDER, "+15550109999", None)),
            "segments": st.sampled_from((1, 2, None)),
            "cost_usd": st.sampled_from((Decimal("0.0079"), Decimal(1), None)),
            "body": st.sampled_from(("Your table is waiting.", "other", "")),
        }
    )
)
def test_corrections_are_reversible(values: dict[str, Any]) -> None:
    """
    A corrected row differs no more; only columns are changed whose triggers were looked at, and each has its way back.
    """
    recorded = row(**values)
    steps = corrections((told(1), recorded))

    assert bool(steps) == bool(differences(told(1), recorded, "US"))
    for step in steps:
        types: dict[str, Callable[[Any], Any]] = {"segments": int, "cost_usd": Decimal}
        corrected = {name: types.get(name, str)(value) for name, value in (step.after or {}).items()}
        assert not differences(told(1), replace(recorded, **corrected), "US")
        assert set(step.after or ()) <= set(CHANGED_COLUMNS["messages"])
        assert step.reverse().after == step.before
        assert all((step.before or {})[name] != value for name, value in (step.after or {}).items())


@pytest.mark.parametrize(
    ("candidates", "customer"),
    [
        (Candidates(customers=customers("c1")), "c1"),
        (Candidates(bookings=(closed(customer_id="c2"),), customers=customers("c1")), "c2"),
        (Candidates(named=(closed(),), customers=customers("c1")), "c1"),
        (Candidates(named=(closed(),)), None),
        (Candidates(bookings=(booking(customer_id="c2"),), customers=customers("c1")), None),
        (Candidates(customers=customers("c1", "c2")), None),
        (Candidates(), None),
    ],
)
def test_assignment(candidates: Candidates, customer: str | None) -> None:
    """
    A row without customer gets the one that is certain, by the same rules; an open booking's customer comes with confirm.
    """
    steps, left = plan_steps(found(), SHAPE, without_customer=[(row(customer_id=None), candidates)])

    assert not left
    assert [step.after for step in steps] == ([{"customer_id": customer}] if customer else [])
    assert all((step.kind, step.before) == (StepKind.ASSIGN_CUSTOMER, {"customer_id": None}) for step in steps)


def test_reasons_name_no_person() -> None:
    """
    No reason shows a phone number or a body.
    """
    _, left = plan_steps(
        found(
            unrecorded(told(1)),
            unrecorded(told(2), bookings=(booking("b1"), booking("b2"))),
            unrecorded(told(3), bookings=(closed(status="expired"),)),
            unrecorded(told(4), bookings=(booking("b3", metadata=f'{{"initial_sms":{{"message_sid":"{sid(9)}"}}}}'),)),
        ),
        SHAPE,
    )

    assert len(left) == 4
    assert not [one for one in left if re.search(r"\+\d{7}|waiting", one.reason)]
    assert all(isinstance(one, Left) for one in left)


def test_times_are_exact() -> None:
    """
    A time is written whole, with its zone.
    """
    assert inserted(told(at=NOW))["created_at"] == iso(NOW) == "2025-12-08T12:00:00Z"
