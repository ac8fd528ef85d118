"""
Carrying a plan out: rows as planned, each once, and what cannot be written alone and named.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from booking_doctor.doctor import Planned, Repair
from booking_doctor.errors import DatabaseUnreachable
from booking_doctor.repair.plan import seal, unseal
from booking_doctor.repair.steps import Step, StepKind
from booking_doctor.settings import Names
from tests.memory import sid
from tests.repair.cases import (
    CUSTOMER,
    PHONE,
    SENDER,
    TABLES,
    Bench,
    Patient,
    booking_row,
    change,
    insertion,
    message_row,
    new_trigger,
    open_bench,
    plan_of,
    reasons,
    restoration,
)

# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows(patient: Patient) -> None:
    """
    A backfilled row tells Twilio's truth, in the columns' own types and to the letter.
    """
    customer = patient.scene.customer(PHONE)
    at = patient.ago(hours=3)
    sent = patient.scene.text(PHONE, at, "<b>[red]$1 %s ✓\0</b>\r\n", price="-0.02370")

    assert patient.apply().run is not None

    (row,) = patient.sql("SELECT * FROM messages")
    assert row.pop("id")
    assert row == {
        "customer_id": patient.sql("SELECT id FROM customers")[0]["id"],
        "direction": "outbound",
        "message_sid": sent.sid,
        "twilio_message_sid": sent.sid,
        "body": "<b>[red]$1 %s ✓</b>\r\n",
        "status": "delivered",
        "twilio_status": "delivered",
        "from_number": SENDER,
        "to_number": PHONE,
        "message_type": "sms",
        "segments": 1,
        "cost_usd": Decimal("0.02370"),
        "created_at": at,
        "read_at": at,
    }
    assert str(row["customer_id"]) == customer


def test_inbound(patient: Patient) -> None:
    """
    An inbound message goes to the customer alone, whatever was booked around it, and is unread.
    """
    customer = patient.scene.customer(PHONE)
    at = patient.ago(hours=3)
    patient.scene.pending_booking(PHONE, created_at=at)
    patient.scene.text(SENDER, at, "Yes!", sender=PHONE, direction="inbound", status="received")

    patient.apply()

    (row,) = patient.sql("SELECT direction, customer_id::text AS customer, read_at, from_number FROM messages")
    assert row == {"direction": "inbound", "customer": customer, "read_at": None, "from_number": PHONE}


def test_restored_metadata(patient: Patient) -> None:
    """
    An open booking gets its text into the metadata, and nothing else of it changes.
    """
    at = patient.ago(hours=1)
    metadata = {"note": 1.5, "initial_sms": {"state": "sending"}}
    booking = patient.scene.pending_booking(PHONE, created_at=at, metadata=metadata)
    sent = patient.scene.text(PHONE, at, "Please confirm")
    (before,) = patient.sql("SELECT * FROM pending_bookings")

    patient.apply()

    (after,) = patient.sql("SELECT * FROM pending_bookings")
    assert after.pop("metadata") == {
        "note": 1.5,
        "initial_sms": {
            "message_sid": sent.sid,
            "body": "Please confirm",
            "from_number": SENDER,
            "to_number": PHONE,
            "segments": 1,
            "cost_usd": 0.0079,
            "sent_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "status": "delivered",
            "state": "sent",
        },
    }
    before.pop("metadata")
    assert after == before
    assert str(after["id"]) == booking
    assert patient.sql("SELECT * FROM messages") == []


@pytest.mark.parametrize("metadata", ["json", "jsonb"])
def test_other_types(database_url: str, metadata: str) -> None:
    """
    Names and types of another installation are used as they are: enum, varchar, float, domain, time without zone.
    """
    names = Names(
        schema="The App",
        tables={"messages": "Sent Texts", "pending_bookings": "holds"},
        columns={("messages", "message_sid"): 'the "SID"', ("messages", "id"): "Nr", ("pending_bookings", "id"): "key"},
    )
    with open_bench(database_url, names) as bench:
        bench.sql(
            "CREATE TYPE text_status AS ENUM ('queued', 'delivered')",
            "CREATE DOMAIN phone AS text CHECK (VALUE LIKE '+%%') NOT NULL",
            "ALTER TABLE messages ALTER status TYPE text_status USING NULL, ALTER body TYPE varchar(6),"
            " ALTER cost_usd TYPE double precision, ALTER created_at TYPE timestamp(3), ALTER from_number TYPE phone",
            f"ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata TYPE {metadata} USING '{{}}',"
            " ALTER expires_at TYPE timestamp",
            "INSERT INTO customers (id, phone) VALUES (%(id)s, %(phone)s)",
            id=CUSTOMER,
            phone=PHONE,
        )
        booking = booking_row(bench, '{"a":  1.10}', expires_at=datetime(2099, 1, 1, tzinfo=UTC))
        bench.sql(
            'ALTER TABLE messages RENAME message_sid TO "the ""SID"""',
            'ALTER TABLE messages RENAME id TO "Nr"',
            'ALTER TABLE messages RENAME TO "Sent Texts"',
            "ALTER TABLE pending_bookings RENAME id TO key",
            "ALTER TABLE pending_bookings RENAME TO holds",
            'CREATE SCHEMA "The App"',
            *(f'ALTER TABLE {table} SET SCHEMA "The App"' for table in ('"Sent Texts"', "holds", "customers")),
        )
        texts, holds = '"The App"."Sent Texts"', '"The App".holds'
        text = f"SELECT row_to_json(t)::text AS row FROM {texts} t UNION ALL SELECT row_to_json(t)::text FROM {holds} t"
        kept = bench.sql(f"SELECT metadata::text AS text FROM {holds}")[0]["text"]
        before = bench.sql(text)
        steps = (
            insertion(1, body="a    ", cost_usd="0.0079", from_number=PHONE, created_at="2025-12-07T12:00:00.1239Z"),
            insertion(2, body="too long", from_number=PHONE),
            insertion(3, status="sending", from_number=PHONE),
            insertion(4, from_number="nobody"),
            restoration(booking, kept, '{"a":  1.10,"initial_sms":{}}'),
        )

        receipt = bench.apply(plan_of(*steps))

        assert receipt.written == [0, 4]
        assert reasons(receipt.left) == {
            f"message/{sid(2)}": "a value does not fit (error 22001)",
            f"message/{sid(3)}": "a value does not fit (error 22P02)",
            f"message/{sid(4)}": "a constraint forbids it: phone_check (error 23514)",
        }
        (row,) = bench.sql(f"SELECT status::text, body, cost_usd, created_at::text FROM {texts}")
        assert row == {
            "status": "delivered",
            "body": "a    ",
            "cost_usd": 0.0079,
            "created_at": "2025-12-07 12:00:00.124",
        }
        bench.undo()
        assert bench.sql(text) == before


def test_fewer_columns(patient: Patient) -> None:
    """
    An installation without the optional columns is repaired, rechecked and restored all the same.
    """
    optional = ("twilio_message_sid", "twilio_status", "segments", "cost_usd", "read_at")
    patient.sql("ALTER TABLE messages " + ", ".join(f"DROP {column}" for column in optional))
    patient.sql("ALTER TABLE pending_bookings DROP customer_id, DROP confirmed_at")
    first, second = patient.unrecorded(2)
    planned = patient.plan()
    patient.sql(
        "INSERT INTO messages (customer_id, direction, message_sid) SELECT min(id::text)::uuid, 'outbound', %(sid)s"
        " FROM customers",
        sid=first,
    )
    before = patient.dump()

    report = patient.doctor.apply(planned, patient.request, Repair())

    assert report.plan is not None
    assert reasons(report.plan.left) == {f"message/{first}": "its SID has been recorded meanwhile"}
    assert report.summary["applied"] == 1
    assert patient.sql("SELECT body FROM messages WHERE message_sid = %(sid)s", sid=second) == [
        {"body": "Your table is waiting."}
    ]
    assert patient.undo().exit_code == 0
    assert patient.dump() == before


# --- once ------------------------------------------------------------------------------------------------------------


def test_applying_again(patient: Patient) -> None:
    """
    Applying again writes nothing and is well.
    """
    patient.unrecorded(3)
    patient.apply()
    dump = patient.dump()

    again = patient.apply()

    assert patient.dump() == dump
    assert (again.exit_code, again.summary["applied"], again.run) == (0, 0, None)
    assert len(patient.doctor.runs().runs or ()) == 1


def test_saved_plan_again(patient: Patient) -> None:
    """
    A saved plan is carried out once, however often it is applied; after an undo it is good again.
    """
    patient.unrecorded(3)
    saved = unseal(seal(patient.plan().plan), "plan.json")

    def from_plan() -> Any:
        planned = patient.doctor.plan_again(saved, patient.request, Repair())
        assert isinstance(planned, Planned)
        return patient.doctor.apply(planned, patient.request, Repair())

    assert from_plan().summary["applied"] == 3
    dump = patient.dump()
    again = from_plan()
    assert (again.exit_code, again.summary["applied"]) == (0, 0)
    assert "3 applied before" in again.exit_reason
    assert patient.dump() == dump
    patient.undo("run-1")
    assert from_plan().summary["applied"] == 3


WORLDS = st.lists(
    st.sampled_from(("insert", "restore", "correct", "assign", "correct and assign", "same")), min_size=1, max_size=7
)


def steps_of(bench: Bench, kinds: Sequence[str]) -> list[Step]:
    """
    A small world, and one step for each of the words, or two.
    """
    steps: list[Step] = []
    for n, kind in enumerate(kinds):
        if kind == "insert":
            steps.append(insertion(n, cost_usd="0.00790", read_at="2025-12-07T12:00:00.123456Z"))
            continue
        if kind == "restore":
            # NOTE: jsonb keeps the scale of its numbers, and any size of them.
            booking = booking_row(bench, f'{{"n": {n}.10, "big": 1{"0" * 40}}}')
            before = bench.sql("SELECT metadata::text FROM pending_bookings WHERE id = %(id)s", id=booking)
            steps.append(restoration(booking, before[0]["metadata"], f'{{"n": {n}.10, "initial_sms": {{}}}}'))
            continue
        at = datetime(2025, 12, 7, 12, 0, 0, n + 1, tzinfo=UTC)
        customer = None if "assign" in kind else CUSTOMER
        row_id = message_row(
            bench, n, customer_id=customer, status="queued", cost_usd="0.1", created_at=at, body='á\t"'
        )
        if "correct" in kind:
            before_, after = {"status": "queued", "cost_usd": "0.1"}, {"status": "sent", "cost_usd": "0.00790"}
            steps.append(change(StepKind.UPDATE_MESSAGE, row_id, before_, after))
        if "assign" in kind:
            steps.append(change(StepKind.ASSIGN_CUSTOMER, row_id, {"customer_id": None}, {"customer_id": CUSTOMER}))
        if kind == "same":
            steps.append(change(StepKind.UPDATE_MESSAGE, row_id, {"status": "queued"}, {"status": "queued"}))
    return sorted(steps, key=lambda step: list(StepKind).index(step.kind))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=WORLDS, sizes=st.tuples(st.integers(1, 8), st.integers(1, 8)))
def test_any_world(bench: Bench, kinds: list[str], sizes: tuple[int, int]) -> None:
    """
    In batches of any size: applying twice equals applying once, and undo restores every row byte for byte.
    """
    bench.sql(
        f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY",
        "DROP SCHEMA IF EXISTS booking_doctor CASCADE",
        "ALTER TABLE messages ALTER customer_id DROP NOT NULL",
        "INSERT INTO customers (id, phone) VALUES (%(id)s, %(phone)s)",
        id=CUSTOMER,
        phone=PHONE,
    )
    plan = plan_of(*steps_of(bench, kinds))
    before = bench.dump()

    first = bench.apply(plan, batch_size=sizes[0])
    applied = bench.dump()

    assert (first.written, first.left) == (list(range(len(plan.steps))), [])
    again = bench.apply(plan, "run-2", batch_size=sizes[1])
    assert (again.written, again.already, again.left) == ([], len(plan.steps), [])
    other = bench.apply(msgspec.structs.replace(plan, made_at="later"), "run-3", batch_size=sizes[1])
    assert [plan.steps[n].after for n in other.written] == [plan.steps[n].before for n in other.written]
    assert bench.dump() == applied

    if other.written:
        bench.undo("run-3")
    back = bench.undo(batch_size=sizes[1])
    assert (back.written, back.left) == (list(reversed(range(len(plan.steps)))), [])
    assert bench.dump() == before
    assert bench.undo().already == len(plan.steps)


# --- the world moved -------------------------------------------------------------------------------------------------


def test_recorded_meanwhile(bench: Bench) -> None:
    """
    A SID that the application recorded in the meantime, in either column, is not inserted again.
    """
    meanwhile: dict[int, dict[str, str | None]] = {
        2: {"message_sid": sid(2), "twilio_message_sid": sid(2)},
        3: {"message_sid": sid(3)},
        4: {"message_sid": None, "twilio_message_sid": sid(4)},
        5: {"message_sid": "", "twilio_message_sid": sid(5)},
    }
    for number, columns in meanwhile.items():
        message_row(bench, number, **columns)

    receipt = bench.apply(plan_of(*(insertion(n) for n in range(1, 7))))

    assert receipt.written == [0, 5]
    assert reasons(receipt.left) == {f"message/{sid(n)}": "its SID has been recorded meanwhile" for n in meanwhile}
    assert bench.sql("SELECT count(*) FROM messages") == [{"count": 6}]


@pytest.mark.parametrize("steps", [1, 3])
def test_racing_insert(bench: Bench, steps: int) -> None:
    """
    With a unique index, an insert that commits between guard and insert leaves that one step, without a crash.
    """
    bench.sql("CREATE UNIQUE INDEX messages_sid ON messages (message_sid)")
    with psycopg.connect(bench.url) as application:
        application.execute(
            "INSERT INTO messages (customer_id, direction, message_sid) VALUES (%s, 'outbound', %s)", (CUSTOMER, sid(1))
        )
        threading.Timer(0.2, application.commit).start()

        receipt = bench.apply(plan_of(*(insertion(n) for n in range(1, 1 + steps))))

    (reason,) = reasons(receipt.left).values()
    assert reason in {"its SID has been recorded meanwhile", "a constraint forbids it: messages_sid (error 23505)"}
    assert receipt.written == list(range(1, steps))
    assert bench.sql("SELECT count(*), count(DISTINCT message_sid) AS sids FROM messages") == [
        {"count": steps, "sids": steps}
    ]


def test_booking_moved(bench: Bench) -> None:
    """
    A booking whose metadata changed in any byte, that ran out, was confirmed or deleted since the plan is left.
    """
    meanwhile = {
        "UPDATE pending_bookings SET metadata = '{\"n\": 1.0}'": "somebody changed it since",
        'UPDATE pending_bookings SET metadata = \'{"n": 1, "x": 2}\'': "somebody changed it since",
        "UPDATE pending_bookings SET status = 'confirmed'": "the booking is no longer open",
        "UPDATE pending_bookings SET expires_at = now()": "the booking is no longer open",
        "DELETE FROM pending_bookings": "the row is gone",
    }
    bookings = {booking_row(bench, '{"n": 1}'): statement for statement in meanwhile}
    for booking, statement in bookings.items():
        bench.sql(f"{statement} WHERE id = %(id)s", id=booking)
    before = bench.dump()

    receipt = bench.apply(plan_of(*(restoration(booking, '{"n": 1}') for booking in bookings), insertion(1)))

    assert receipt.written == [5]
    assert reasons(receipt.left) == {f"booking/{booking}": meanwhile[bookings[booking]] for booking in bookings}
    assert bench.dump()["pending_bookings"] == before["pending_bookings"]


def test_no_expiry(bench: Bench) -> None:
    """
    A booking without a time to run out is open as long as it waits.
    """
    assert bench.apply(plan_of(restoration(booking_row(bench, expires_at=None)))).written == [0]


def test_correction_compares_values(bench: Bench) -> None:
    """
    A row is as planned if its values are, however they were written; a change in a planned column leaves it.
    """
    first, second = (message_row(bench, n, cost_usd="0.1", status="queued") for n in (1, 2))
    bench.sql("UPDATE messages SET body = 'new'")
    bench.sql("UPDATE messages SET status = 'sent' WHERE id = %(id)s", id=second)
    before, after = {"cost_usd": "0.10", "status": "queued"}, {"cost_usd": "0.2", "status": "delivered"}

    receipt = bench.apply(plan_of(*(change(StepKind.UPDATE_MESSAGE, id_, before, after) for id_ in (first, second))))

    assert receipt.written == [0]
    assert list(reasons(receipt.left).values()) == ["somebody changed it since"]
    assert bench.sql("SELECT status, body FROM messages ORDER BY id") == [
        {"status": "delivered", "body": "new"},
        {"status": "sent", "body": "new"},
    ]


# --- what the database refuses or spoils -----------------------------------------------------------------------------


LATE = (
    "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION t_function()"
)


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        (
            ["ALTER TABLE messages ADD CONSTRAINT nice CHECK (body <> 'Text 2')"],
            "a constraint forbids it: nice (error 23514)",
        ),
        (
            new_trigger("BEGIN IF NEW.body = 'Text 2' THEN RAISE 'no'; END IF; RETURN NEW; END"),
            "a trigger or function refused (error P0001)",
        ),
        (
            new_trigger("BEGIN IF NEW.body = 'Text 2' THEN RETURN NULL; END IF; RETURN NEW; END"),
            "a trigger keeps the row out",
        ),
        (
            new_trigger("BEGIN IF NEW.body = 'Text 2' THEN NEW.status = 'x'; NEW.body = ''; END IF; RETURN NEW; END"),
            "the database would store another body, status",
        ),
        (
            new_trigger("BEGIN IF NEW.body = 'Text 2' THEN NEW.message_sid = 'x'; END IF; RETURN NEW; END"),
            "a trigger would store it under another SID",
        ),
        (
            new_trigger("BEGIN IF NEW.body = 'Text 2' THEN NEW.message_sid = NULL; END IF; RETURN NEW; END"),
            "a trigger would store it under another SID",
        ),
        (
            new_trigger(
                "BEGIN UPDATE messages SET body = 'x' WHERE id = NEW.id AND body = 'Text 2'; RETURN NULL; END",
                "AFTER INSERT ON messages FOR EACH ROW",
            ),
            "the database would store another body",
        ),
        (
            new_trigger(
                "BEGIN DELETE FROM messages WHERE body = 'Text 2'; RETURN NULL; END",
                "AFTER INSERT ON messages FOR EACH STATEMENT",
            ),
            "a trigger would take the row away again",
        ),
        (
            [
                new_trigger("BEGIN IF NEW.body = 'Text 2' THEN RAISE 'late'; END IF; RETURN NULL; END")[0],
                LATE,
            ],
            "a trigger or function refused (error P0001)",
        ),
    ],
    ids=["check", "raise", "keep out", "alter", "alter SID", "move SID", "alter after", "delete after", "deferred"],
)
def test_one_bad_row(bench: Bench, setup: Sequence[str], reason: str) -> None:
    """
    A row that the database refuses, or would store otherwise, is left and named; the others of its batch are written.
    """
    bench.sql(*setup)

    receipt = bench.apply(plan_of(*(insertion(n) for n in range(1, 6))))

    assert receipt.written == [0, 2, 3, 4]
    assert reasons(receipt.left) == {f"message/{sid(2)}": reason}
    assert [row["message_sid"] for row in bench.sql("SELECT message_sid FROM messages ORDER BY 1")] == [
        sid(n) for n in (1, 3, 4, 5)
    ]
    assert [entry.number for entry in bench.ledger.entries("run-1")] == [0, 2, 3, 4]
    bench.undo()
    assert bench.sql("SELECT * FROM messages") == []


def test_two_bad_rows_and_a_recorded_one(bench: Bench) -> None:
    """
    Several faults in one batch are told apart.
    """
    message_row(bench, 4)
    bench.sql(
        "ALTER TABLE messages ADD CONSTRAINT nice CHECK (body <> 'Text 2')",
        *new_trigger("BEGIN IF NEW.body = 'Text 3' THEN RETURN NULL; END IF; RETURN NEW; END"),
        *new_trigger("BEGIN IF NEW.body = 'Text 5' THEN NEW.message_sid = 'x'; END IF; RETURN NEW; END", name="u"),
    )

    receipt = bench.apply(
        plan_of(*(insertion(n) for n in range(1, 7)), insertion(7, "00000000-0000-0000-0000-000000000009"))
    )

    assert [step + 1 for step in receipt.written] == [1, 6]
    assert reasons(receipt.left) == {
        f"message/{sid(2)}": "a constraint forbids it: nice (error 23514)",
        f"message/{sid(3)}": "a trigger keeps the row out",
        f"message/{sid(4)}": "its SID has been recorded meanwhile",
        f"message/{sid(5)}": "a trigger would store it under another SID",
        f"message/{sid(7)}": "a constraint forbids it: messages_customer_id_fkey (error 23503)",
    }


def test_stamp_of_a_planned_column(bench: Bench) -> None:
    """
    A trigger that stamps a column which the plan fills needs no permission, but no row is stored that way.
    """
    bench.sql(*new_trigger("BEGIN NEW.created_at = now(); RETURN NEW; END"))

    receipt = bench.apply(plan_of(insertion(1), insertion(2)))

    assert receipt.written == []
    assert set(reasons(receipt.left).values()) == {"the database would store another created_at"}
    assert bench.sql("SELECT * FROM messages") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("BEGIN NEW.metadata = OLD.metadata; RETURN NEW; END", "the database would store another metadata"),
        ("BEGIN RETURN NULL; END", "the database would store another metadata"),
        ("BEGIN RAISE 'no'; END", "a trigger or function refused (error P0001)"),
    ],
)
def test_update_spoilt(bench: Bench, body: str, reason: str) -> None:
    """
    A trigger that keeps the metadata as it was is found out.
    """
    booking = booking_row(bench)
    bench.sql(*new_trigger(body, "BEFORE UPDATE ON pending_bookings FOR EACH ROW"))

    receipt = bench.apply(plan_of(restoration(booking)))

    assert (receipt.written, reasons(receipt.left)) == ([], {f"booking/{booking}": reason})


def test_nothing_stays_of_nothing(bench: Bench) -> None:
    """
    Where no step could be written, there is no run, and where there was no journal there is none.
    """
    message_row(bench, 1)

    assert bench.apply(plan_of(insertion(1))).written == []

    assert bench.ledger.runs() == []
    assert bench.sql("SELECT * FROM pg_namespace WHERE nspname = 'booking_doctor'") == []


def test_empty_plan(bench: Bench) -> None:
    """
    A plan without steps takes no lock and makes no journal.
    """
    with bench.ledger.lock():
        assert bench.apply(plan_of()).written == []
    assert bench.sql("SELECT * FROM pg_namespace WHERE nspname = 'booking_doctor'") == []


def test_whole_batches(bench: Bench) -> None:
    """
    A batch is one transaction, whatever is left out of it; the run is noted once.
    """
    bench.sql(
        "ALTER TABLE messages ADD CONSTRAINT nice CHECK (body <> 'Text 2')",
        "ALTER TABLE messages ADD at timestamptz DEFAULT now()",
    )

    bench.apply(plan_of(*(insertion(n) for n in range(1, 8))), batch_size=3)

    committed = bench.sql(
        "SELECT step, at FROM booking_doctor.journal JOIN messages ON id = row_id::bigint ORDER BY step"
    )
    moments = [row["at"] for row in committed]
    assert [row["step"] for row in committed] == [0, 2, 3, 4, 5, 6]
    assert [moments.index(moment) for moment in moments] == [0, 0, 2, 2, 2, 5]
    assert [run.applied for run in bench.ledger.runs()] == [6]


def test_lost_in_the_middle_of_a_batch(bench: Bench) -> None:
    """
    When a batch that was being taken apart cannot be finished, none of it stands.
    """
    bench.sql(
        "ALTER TABLE messages ADD CONSTRAINT nice CHECK (body <> 'Text 4')",
        *new_trigger(
            "BEGIN IF NEW.body = 'Text 3' AND (SELECT count(*) FROM messages) = 2 THEN"
            " RAISE lock_not_available; END IF; RETURN NEW; END"
        ),
    )

    with pytest.raises(DatabaseUnreachable, match="stayed locked"):
        bench.apply(plan_of(*(insertion(n) for n in range(1, 5))))

    assert bench.sql("SELECT * FROM messages") == []
    assert bench.ledger.runs() == []
