"""
Taking a run back: every row as it was, unless somebody changed it since.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from booking_doctor.errors import PlanRefused, UsageError
from booking_doctor.repair.steps import StepKind
from tests.memory import sid
from tests.repair.cases import (
    Bench,
    Patient,
    booking_row,
    change,
    insertion,
    message_row,
    new_trigger,
    plan_of,
    reasons,
    restoration,
)

TOUCH = new_trigger(
    "BEGIN NEW.updated_at = clock_timestamp(); RETURN NEW; END",
    "BEFORE UPDATE ON pending_bookings FOR EACH ROW",
    "touch",
)


# --- all of it -------------------------------------------------------------------------------------------------------


def test_everything(patient: Patient) -> None:
    """
    An undo takes back inserts and metadata alike, says so, and a second one finds nothing to do.
    """
    patient.unrecorded(3)
    patient.scene.pending_booking("+15550102000", created_at=patient.ago(hours=5))
    patient.scene.text("+15550102000", patient.ago(hours=5))
    before = patient.dump()
    applied = patient.apply(batch_size=2)
    assert (applied.exit_code, applied.run and applied.run.verified) == (0, True)
    assert patient.dump() != before

    undone = patient.undo()

    assert patient.dump() == before
    assert (undone.exit_code, undone.exit_reason) == (0, "4 rows restored, 0 left")
    assert [(run.applied, run.undone) for run in patient.doctor.runs().runs or ()] == [(4, 4)]
    again, refusal = patient.doctor.plan_undo("run-1", patient.request.disclosure, allow_triggers=False)
    assert (again.exit_code, again.exit_reason, refusal) == (0, "everything is undone already", None)
    assert patient.undo().exit_reason == "0 rows restored, 0 left"


@pytest.mark.parametrize("type_", ["json", "jsonb"])
def test_metadata_to_the_byte(bench: Bench, type_: str) -> None:
    """
    Metadata comes back to the byte: blanks, key order, escapes and huge numbers where the type keeps them, and null.
    """
    bench.sql(
        f"ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata DROP NOT NULL,"
        f" ALTER metadata TYPE {type_} USING metadata::text::{type_}"
    )
    odd = '{"b":1.10,"a":  [1, 2e3],\n"big":123456789012345678901234567890,"u":"\\u00e9"}'
    for metadata in ("{}", odd, None):
        booking_row(bench, metadata)
    kept = bench.sql("SELECT id::text, metadata::text AS text FROM pending_bookings ORDER BY id")
    before = bench.dump()

    assert bench.apply(plan_of(*(restoration(row["id"], row["text"]) for row in kept))).written == [0, 1, 2]
    assert bench.undo().written == [2, 1, 0]

    assert bench.sql("SELECT id::text, metadata::text AS text FROM pending_bookings ORDER BY id") == kept
    assert bench.dump() == before


def test_columns_of_any_type(bench: Bench) -> None:
    """
    Columns that a trigger changed along come back too, whatever their types, and the others are not even looked into.
    """
    bench.sql(
        "CREATE EXTENSION hstore",
        "CREATE DOMAIN needed AS integer NOT NULL DEFAULT 1",
        "ALTER TABLE pending_bookings ADD tags text[] DEFAULT '{\"a b\",NULL}', ADD raw bytea DEFAULT '\\x00ff',"
        " ADD exact numeric DEFAULT 1.500, ADD span tstzrange DEFAULT '[2025-01-01,)', ADD note json DEFAULT '{\"x\":  1.0}',"
        " ADD at timestamptz DEFAULT '2025-01-01 00:00:00.123456+00', ADD extra hstore DEFAULT 'a=>1', ADD one needed DEFAULT 1,"
        " ADD twice integer GENERATED ALWAYS AS (2) STORED",
        *new_trigger(
            "BEGIN IF NEW.metadata ? 'initial_sms' THEN NEW.tags = '{}'; NEW.raw = '\\x01'; NEW.exact = 2; NEW.span = NULL;"
            " NEW.note = '{}'; NEW.at = now(); NEW.one = 2; END IF; RETURN NEW; END",
            "BEFORE UPDATE ON pending_bookings FOR EACH ROW",
        ),
    )
    bench.sql("ALTER TABLE pending_bookings DISABLE TRIGGER t")
    booking = booking_row(bench)
    before = bench.dump()
    bench.sql("ALTER TABLE pending_bookings ENABLE TRIGGER t")

    assert bench.apply(plan_of(restoration(booking))).written == [0]
    assert bench.dump() != before
    receipt = bench.undo()

    assert (receipt.written, receipt.left) == ([0], [])
    assert bench.dump() == before


def test_two_changes_of_one_row(bench: Bench) -> None:
    """
    A row that a run changed twice goes back all the way, in one batch or in two, and the preview says so.
    """
    bench.sql("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    row_id = message_row(bench, 1, customer_id=None, status="queued")
    (customer,) = bench.sql("SELECT id::text AS id FROM customers")
    plan = plan_of(
        change(StepKind.UPDATE_MESSAGE, row_id, {"status": "queued"}, {"status": "sent"}),
        change(StepKind.ASSIGN_CUSTOMER, row_id, {"customer_id": None}, {"customer_id": customer["id"]}),
    )
    before = bench.dump()
    for size in (1, 2):
        run = f"run-{size}"
        assert bench.apply(plan, run, batch_size=size).written == [0, 1]
        assert bench.ledger.changed_since(bench.ledger.entries(run)) == {}

        assert bench.undo(run, batch_size=size).written == [1, 0]

        assert bench.dump() == before


# --- changed since ---------------------------------------------------------------------------------------------------


def test_changed_since(patient: Patient) -> None:
    """
    Rows that somebody changed or deleted since are left and named, the others restored; the exit code says partly.
    """
    first, second, third = patient.unrecorded(3)
    booking = patient.scene.pending_booking("+15550102000", created_at=patient.ago(hours=5))
    patient.scene.text("+15550102000", patient.ago(hours=5))
    patient.apply()
    patient.sql("UPDATE messages SET read_at = now() WHERE message_sid = %(sid)s", sid=first)
    patient.sql("DELETE FROM messages WHERE message_sid = %(sid)s", sid=second)
    patient.sql("UPDATE pending_bookings SET status = 'confirmed'")
    before = patient.dump()

    shown, _ = patient.doctor.plan_undo("run-1", patient.request.disclosure, allow_triggers=False)
    undone = patient.undo()

    why = {
        f"message/{first}": "somebody changed it since",
        f"message/{second}": "the row is gone",
        f"booking/{booking}": "somebody changed it since",
    }
    assert shown.plan is not None
    assert undone.plan is not None
    assert reasons(shown.plan.left) == reasons(undone.plan.left) == why
    assert [step.subject for step in shown.plan.steps] == [f"message/{third}"]
    assert (undone.exit_code, undone.run and undone.run.applied) == (5, 1)
    assert [row["message_sid"] for row in patient.sql("SELECT message_sid FROM messages")] == [first]
    assert patient.dump()["pending_bookings"] == before["pending_bookings"]
    assert [(run.applied, run.undone) for run in patient.doctor.runs().runs or ()] == [(4, 1)]


def test_changed_back(bench: Bench) -> None:
    """
    A row that was changed and changed back is as it was left, so it is restored.
    """
    bench.apply(plan_of(insertion(1)))
    bench.sql("UPDATE messages SET body = 'x'")
    assert bench.undo().written == []
    bench.sql("UPDATE messages SET body = 'Text 1'")

    assert bench.undo().written == [0]


def test_newest_change_kept(bench: Bench) -> None:
    """
    Of a row changed twice, an edit since keeps both changes.
    """
    row_id = message_row(bench, 1, status="queued")
    bench.apply(
        plan_of(
            change(StepKind.UPDATE_MESSAGE, row_id, {"status": "queued"}, {"status": "sent"}),
            change(StepKind.UPDATE_MESSAGE, row_id, {"body": None}, {"body": "new"}),
        ),
        batch_size=1,
    )
    bench.sql("UPDATE messages SET segments = 7")
    before = bench.dump()

    receipt = bench.undo()

    assert (receipt.written, [one.reason for one in receipt.left]) == ([], ["somebody changed it since"] * 2)
    assert bench.dump() == before


# --- referred to -----------------------------------------------------------------------------------------------------


def test_referred_to(bench: Bench) -> None:
    """
    A row that others refer to is left, whatever the key would do to them: undo takes nobody else's rows along.
    """
    references = {
        "id": "id bigint REFERENCES messages (id)",
        "id ": "id bigint REFERENCES messages (id) ON DELETE CASCADE",
        " id": "id bigint REFERENCES messages (id) ON DELETE SET NULL",
        "message_sid": "message_sid text REFERENCES messages (message_sid) ON DELETE CASCADE",
        "message_sid, id": (
            "message_sid text, id bigint, FOREIGN KEY (message_sid, id)"
            " REFERENCES messages (message_sid, id) ON DELETE CASCADE"
        ),
        "id, NULL": (
            "id bigint REFERENCES messages (id) ON DELETE CASCADE, next bigint REFERENCES messages (id) ON DELETE CASCADE"
        ),
    }
    bench.sql("ALTER TABLE messages ADD UNIQUE (message_sid), ADD UNIQUE (message_sid, id)")
    bench.apply(plan_of(*(insertion(n) for n in range(7))))
    for number, (columns, reference) in enumerate(references.items()):
        bench.sql(
            f'CREATE TABLE "Re :{number}" ({reference})',
            f'INSERT INTO "Re :{number}" SELECT {columns} FROM messages WHERE message_sid = %(sid)s',
            sid=sid(number),
        )
    expected = {number: f'"Re :{number}" refers to it now' for number in range(6)}
    assert bench.ledger.changed_since(bench.ledger.entries("run-1")) == expected

    receipt = bench.undo()

    assert receipt.written == [6]
    assert reasons(receipt.left) == {f"message/{sid(n)}": why for n, why in expected.items()}
    for number in range(6):
        assert len(bench.sql(f'SELECT * FROM "Re :{number}" NATURAL JOIN messages')) == 1
        bench.sql(f'DELETE FROM "Re :{number}"')
    assert bench.undo().written == [5, 4, 3, 2, 1, 0]


def test_reference_of_the_table_itself(bench: Bench) -> None:
    """
    An answer to a backfilled message keeps it, also when it is in the same table.
    """
    bench.sql("ALTER TABLE messages ADD answers bigint REFERENCES messages ON DELETE CASCADE")
    bench.apply(plan_of(insertion(1)))
    answer = message_row(bench, 2)
    bench.sql("UPDATE messages SET answers = (SELECT min(id) FROM messages) WHERE id = %(id)s", id=answer)

    assert reasons(bench.undo().left) == {f"message/{sid(1)}": "messages refers to it now"}
    assert bench.sql("SELECT count(*) FROM messages") == [{"count": 2}]


# --- triggers --------------------------------------------------------------------------------------------------------


def test_time_stamp(patient: Patient) -> None:
    """
    A trigger that stamps `updated_at` needs no permission, is named, and its column is outside the comparison.
    """
    patient.sql(*TOUCH)
    patient.scene.pending_booking("+15550102000", created_at=patient.ago(hours=5))
    patient.scene.text("+15550102000", patient.ago(hours=5))
    (before,) = patient.sql("SELECT * FROM pending_bookings")

    planned = patient.plan()
    assert planned.refusal is None
    assert (
        "trigger touch on update of pending_bookings sets updated_at, which undo leaves out of its comparison"
        in planned.view.notes
    )
    assert patient.apply().exit_code == 0
    patient.sql("UPDATE pending_bookings SET customer_name = customer_name")
    shown, refusal = patient.doctor.plan_undo("run-1", patient.request.disclosure, allow_triggers=False)
    assert refusal is None
    assert "sets updated_at" in (shown.plan.notes[0] if shown.plan else "")
    assert patient.undo().exit_code == 0

    (after,) = patient.sql("SELECT * FROM pending_bookings")
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before


def test_triggers_of_undo(patient: Patient) -> None:
    """
    A trigger that an undo would fire wants --allow-triggers, even where the apply did without.
    """
    patient.unrecorded()
    patient.apply()
    patient.sql(*new_trigger("BEGIN RETURN OLD; END", "BEFORE DELETE ON messages FOR EACH ROW", "audit"))

    with pytest.raises(PlanRefused, match=r"would fire audit on delete of messages.*--allow-triggers"):
        patient.undo()
    assert patient.undo(allow_triggers=True).exit_code == 0


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        (
            new_trigger("BEGIN RETURN NULL; END", "BEFORE DELETE ON messages FOR EACH ROW"),
            "a trigger or rule keeps the row",
        ),
        (
            ["CREATE RULE keep AS ON DELETE TO messages DO INSTEAD NOTHING"],
            "a trigger or rule keeps the row",
        ),
        (
            new_trigger("BEGIN RAISE 'never'; END", "BEFORE DELETE ON messages FOR EACH ROW"),
            "a trigger or function refused (error P0001)",
        ),
        (
            new_trigger(
                "BEGIN INSERT INTO messages SELECT (OLD).*; RETURN NULL; END", "AFTER DELETE ON messages FOR EACH ROW"
            ),
            "a trigger or rule keeps the row",
        ),
    ],
    ids=["keep", "rule", "raise", "put back"],
)
def test_delete_spoilt(bench: Bench, setup: list[str], reason: str) -> None:
    """
    A row that something keeps in the table is left and named; the booking is restored all the same.
    """
    booking = booking_row(bench)
    bench.sql("ALTER TABLE messages ALTER id SET GENERATED BY DEFAULT")
    bench.apply(plan_of(insertion(1), restoration(booking)))
    bench.sql(*setup)

    receipt = bench.undo()

    assert receipt.written == [1]
    assert reasons(receipt.left) == {f"message/{sid(1)}": reason}
    assert bench.sql("SELECT count(*) FROM messages") == [{"count": 1}]


@pytest.mark.parametrize(
    "body",
    [
        "BEGIN NEW.customer_name = 'x'; RETURN NEW; END",
        "BEGIN RETURN NULL; END",
        "BEGIN NEW.metadata = NEW.metadata || '{\"x\": 1}'; RETURN NEW; END",
    ],
)
def test_restore_spoilt(bench: Bench, body: str) -> None:
    """
    A row that would not come back byte for byte stays as it is, named, and its entry stands.
    """
    bench.apply(plan_of(restoration(booking_row(bench))))
    bench.sql(*new_trigger(body, "BEFORE UPDATE ON pending_bookings FOR EACH ROW"))
    before = bench.dump()

    receipt = bench.undo()

    assert (receipt.written, [one.reason for one in receipt.left]) == (
        [],
        ["a trigger or rule would restore it differently"],
    )
    assert bench.dump() == before
    assert [entry.undone for entry in bench.ledger.entries("run-1")] == [False]


# --- the journal -----------------------------------------------------------------------------------------------------


def test_runs(bench: Bench) -> None:
    """
    Runs are listed newest first, with what stands of them; where there is no journal there are none.
    """
    assert bench.ledger.runs() == []

    bench.apply(plan_of(insertion(1), insertion(2)), "run-1")
    bench.apply(plan_of(insertion(3)), "run-2")
    bench.undo("run-1", batch_size=1)

    assert [(run.id, run.command, run.applied, run.undone) for run in bench.ledger.runs()] == [
        ("run-2", "backfill", 1, 0),
        ("run-1", "backfill", 2, 2),
    ]


def test_unknown_run(patient: Patient) -> None:
    """
    A run that does not exist is a usage error, with a journal and without.
    """
    asks: list[Callable[[str], object]] = [
        patient.undo,
        lambda run: patient.doctor.undo(run, patient.doctor.runs(), batch_size=1),
        patient.doctor.forget,
    ]
    patient.unrecorded()
    for _ in range(2):
        for ask in asks:
            with pytest.raises(UsageError, match="there is no run 'run-9'"):
                ask("run-9")
        patient.apply()


def test_forget(patient: Patient) -> None:
    """
    A forgotten run stays listed and cannot be undone; what it knew of people is gone, and its plan stays carried out.
    """
    patient.unrecorded(2)
    patient.apply()
    before = patient.dump()

    report = patient.doctor.forget("run-1")

    assert "2 rows are dropped" in report.exit_reason
    assert [run.id for run in report.runs or ()] == ["run-1"]
    images = patient.sql("SELECT DISTINCT before::text, after::text FROM booking_doctor.journal")
    assert images == [{"before": None, "after": None}]
    with pytest.raises(UsageError, match="run run-1 was forgotten"):
        patient.undo()
    with pytest.raises(UsageError, match="run run-1 was forgotten"):
        patient.doctor.forget("run-1")
    assert patient.dump() == before
    (run,) = patient.sql("SELECT checksum FROM booking_doctor.runs")
    assert patient.sql("SELECT count(*) FROM booking_doctor.journal WHERE undone_at IS NULL") == [{"count": 2}]
    assert len(run["checksum"]) == 64


def test_closed_to_public(bench: Bench) -> None:
    """
    The journal is closed to everybody else, even where new schemas and tables are open by default.
    """
    bench.sql(
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC",
    )

    bench.apply(plan_of(insertion(1)))

    for table in ("runs", "journal"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema booking_doctor"):
            bench.sql("SET ROLE pg_monitor", f"SELECT * FROM booking_doctor.{table}")
    bench.sql("GRANT USAGE ON SCHEMA booking_doctor TO pg_monitor")
    for table in ("runs", "journal"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"table {table}"):
            bench.sql("SET ROLE pg_monitor", f"SELECT * FROM booking_doctor.{table}")
