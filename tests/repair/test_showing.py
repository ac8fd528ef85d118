"""
What a report shows of plans and runs: everything but persons.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.findings import Disclosure, PlanView
from booking_doctor.repair.executor import Entry, Trigger
from booking_doctor.repair.showing import masked_query, plan_view, trigger_notes, undo_view
from booking_doctor.repair.steps import Left, StepKind
from tests.memory import sid
from tests.repair.cases import PHONE, SENDER, change, insertion, plan_of

SECRET = "+15550101000"


def shown(view: PlanView) -> str:
    """
    Everything of a view that ends in a document.
    """
    return json.dumps([[step.before, step.after, step.subject, step.reason] for step in view.steps])


def test_row() -> None:
    """
    Of a planned row phones are masked and the body is its length; ids, times, words and numbers are whole.
    """
    step = insertion(1, to_number=PHONE, from_number=SENDER, body="Anna, come at six", cost_usd="0.00790", segments="1")

    view = plan_view(plan_of(step), Disclosure(), target={})

    assert view.steps[0].after == {
        "customer_id": "00000000-0000-0000-0000-000000000001",
        "direction": "outbound",
        "message_sid": sid(1),
        "twilio_message_sid": sid(1),
        "body": "(17 characters)",
        "status": "delivered",
        "created_at": "2025-12-07T12:00:00Z",
        "to_number": "+1***00",
        "from_number": "+1***00",
        "cost_usd": "0.00790",
        "segments": "1",
    }
    assert view.steps[0].before is None


def test_show_pii() -> None:
    """
    With --show-pii nothing is masked.
    """
    metadata = {"initial_sms": {"body": "Anna"}, "guest": {"mobile": 15550101000}}
    step = change(StepKind.RESTORE_METADATA, "b1", {"metadata": None}, {"metadata": json.dumps(metadata)})

    view = plan_view(plan_of(step), Disclosure(show_pii=True), target={})

    assert (view.steps[0].before, view.steps[0].after) == ({"metadata": None}, {"metadata": metadata})


def test_metadata() -> None:
    """
    Of metadata the SMS is readable; what other keys say may be anything, so texts are lengths.
    """
    metadata: dict[str, Any] = {
        "initial_sms": {"message_sid": sid(1), "to_number": PHONE, "body": "Anna", "status": "sent", "segments": 1},
        "token": "tok_0123456789",
        "guests": [{"name": "Anna", "age": 7}, {"mobile": 15550101000}],
        "vip": True,
        "note": None,
    }
    step = change(StepKind.RESTORE_METADATA, "b1", {"metadata": "{}"}, {"metadata": json.dumps(metadata)})

    view = plan_view(plan_of(step), Disclosure(), target={})

    assert view.steps[0].after == {
        "metadata": {
            "initial_sms": {
                "message_sid": sid(1),
                "to_number": "+1***00",
                "body": "(4 characters)",
                "status": "sent",
                "segments": 1,
            },
            "token": "tok_01…",
            "guests": [{"name": "(4 characters)", "age": 7}, {"mobile": "(11 characters)"}],
            "vip": True,
            "note": None,
        }
    }


JSON = st.recursive(
    st.sampled_from([SECRET, 15550101000, 15550101000.5, True, None, 4]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(("phone", "body", "guest", "token")), JSON))
def test_nothing_leaks(metadata: dict[str, Any]) -> None:
    """
    However deep it lies and under whatever key, a phone number does not get out.
    """
    step = change(StepKind.RESTORE_METADATA, "b1", {"metadata": "{}"}, {"metadata": json.dumps(metadata)})

    assert "5550101" not in shown(plan_view(plan_of(step), Disclosure(), target={}))


def test_undo() -> None:
    """
    An undo shows each entry with its images swapped, under the doctor's column names; unknown columns are not shown.
    """
    image = {"nr": 7, "sid": sid(1), "body": "Anna", "inner_secret": SECRET}
    entries = [
        Entry(
            number=number,
            kind="update-message" if before else "insert-message",
            table="messages",
            row_id="7",
            sid=sid(1),
            before=before,
            after=json.dumps(image),
            undone=False,
        )
        for number, before in enumerate((None, json.dumps({**image, "body": "Bo"})))
    ]

    view = undo_view(
        "run-1",
        "sum",
        entries,
        [Left(subject="message/x", reason="the row is gone")],
        Disclosure(),
        names={"messages": {"nr": "id", "sid": "message_sid", "body": "body"}},
        target={"database": "d"},
        refusal="no",
    )

    now = {"id": 7, "message_sid": sid(1), "body": "(4 characters)"}
    assert [(step.before, step.after) for step in view.steps] == [
        (now, None),
        (now, {**now, "body": "(2 characters)"}),
    ]
    assert {step.reason for step in view.steps} == {"undo of run run-1"}
    assert [(left.subject, left.reason) for left in view.left] == [("message/x", "the row is gone")]
    assert (view.checksum, view.target, view.refusal) == ("sum", {"database": "d"}, "no")


@pytest.mark.parametrize(
    ("trigger", "note"),
    [
        (
            Trigger(name="notify", table="messages", event="insert"),
            "trigger notify on insert of messages fires",
        ),
        (
            Trigger(name="touch", table="messages", event="update", stamps=("updated_at",)),
            "trigger touch on update of messages sets updated_at, which undo leaves out of its comparison",
        ),
        (
            Trigger(name="stamp", table="messages", event="insert", stamps=("seen_at", "made_at")),
            "trigger stamp on insert of messages sets seen_at, made_at",
        ),
    ],
)
def test_trigger_notes(trigger: Trigger, note: str) -> None:
    """
    Each trigger is named with what it does, and whether undo can compare it.
    """
    assert trigger_notes([trigger]) == [note]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("COMMIT", "COMMIT"),
        ("SELECT  *\n FROM t1 WHERE a.b2 = $1 AND c = $12", "SELECT * FROM t1 WHERE a.b2 = $1 AND c = $12"),
        ("UPDATE t SET body = 'Hi Ann' WHERE id = 7", "UPDATE t SET body = …"),
        ("SELECT 15550101000", "SELECT …"),
        ("SELECT -.5", "SELECT -…"),
        ("SELECT E'a\\'b', c", "SELECT E…"),
        ("SELECT $tag$Hi Ann$tag$", "SELECT …"),
        ("/* Ann */ SELECT 1", "…"),
        ("SELECT a -- Ann", "SELECT a …"),
    ],
)
def test_a_query_is_shown_up_to_its_first_value(query: str, shown: str) -> None:
    """
    What others ask the database holds phone numbers and texts; none of them gets out, however they are written.
    """
    assert masked_query(query) == shown
