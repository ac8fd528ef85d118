"""
Repairs from end to end: a world, the doctor's verbs, what is refused and what is verified.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest

from booking_doctor.bootstrap import ChosenSources, Doctor
from booking_doctor.doctor import Planned, Repair
from booking_doctor.errors import PlanRefused
from booking_doctor.findings import Progress, Report
from booking_doctor.sandbox.incidents import december_incident
from booking_doctor.settings import Preferences
from tests.repair.cases import PHONE, AfterTheFirstBatch, Patient, dump, new_trigger, reasons

NOTIFY = new_trigger("BEGIN RETURN NEW; END", "AFTER INSERT ON messages FOR EACH ROW", "notify")


def counts(report: Report) -> dict[str, int]:
    """
    The counts that are not zero.
    """
    return {name: number for name, number in report.summary.items() if number}


def test_december(patient: Patient) -> None:
    """
    The founding incident: every missing row and text is planned, written, verified and taken back to the byte.
    """
    december_incident(patient.scene)
    before = patient.dump()

    report = patient.apply(batch_size=4)

    assert counts(report) == {"planned": 13, "insert_message": 9, "restore_metadata": 4, "applied": 13}
    assert (report.exit_code, report.exit_reason) == (0, "13 steps applied, verified")
    after = patient.doctor.reconcile(patient.request)
    assert (after.summary["unrecorded"], after.summary["deferred"], after.summary["in_flight"]) == (0, 5, 1)
    assert patient.undo().exit_code == 0
    assert patient.dump() == before


# --- rows that are there ---------------------------------------------------------------------------------------------


def test_fix_mismatched(patient: Patient) -> None:
    """
    With --fix-mismatched a row that differs is corrected in what differs, and undone to the byte.
    """
    customer = patient.scene.customer(PHONE)
    sent = patient.scene.text(PHONE, patient.ago(hours=2), status="undelivered", error_code=30003)
    row_id = patient.scene.record(sent, customer, status="delivered", twilio_status="sent", cost_usd="0.5", segments=2)
    before = patient.dump()
    assert counts(patient.doctor.reconcile(patient.request))["mismatched"] == 1
    assert counts(patient.apply()) == {}

    report = patient.apply(fix_mismatched=True)

    assert counts(report) == {"planned": 1, "update_message": 1, "applied": 1}
    assert (report.exit_code, report.exit_reason) == (0, "1 step applied, verified")
    assert patient.sql("SELECT id::text, status, twilio_status, cost_usd::text, segments FROM messages") == [
        {"id": row_id, "status": "undelivered", "twilio_status": "undelivered", "cost_usd": "0.00790", "segments": 1}
    ]
    assert "mismatched" not in counts(patient.doctor.reconcile(patient.request))
    assert patient.undo("run-2").exit_code == 0
    assert patient.dump() == before


def test_assign_customer(patient: Patient) -> None:
    """
    Rows without customer get the one that is certain: by booking or by phone; the others stay, and undo takes all back.
    """
    patient.sql("ALTER TABLE messages ALTER customer_id DROP NOT NULL, DROP CONSTRAINT messages_customer_id_fkey")
    by_phone, by_booking = patient.scene.customer(PHONE), patient.scene.customer("+15550102000")
    shared = [patient.scene.customer("+15550103000") for _ in range(2)]
    booking = patient.scene.pending_booking("+15550104000", created_at=patient.ago(hours=2))
    patient.scene.confirm(booking, by_booking)
    nowhere = "00000000-0000-0000-0000-00000000dead"
    rows = {
        patient.scene.record(patient.scene.text(phone, patient.ago(hours=2)), customer): now
        for phone, customer, now in (
            (PHONE, None, by_phone),
            (PHONE, nowhere, by_phone),
            ("+15550104000", None, by_booking),
            ("+15550103000", None, None),
            ("+15550102000", shared[0], shared[0]),
        )
    }
    before = patient.dump()

    report = patient.apply()

    assert counts(report) == {"planned": 3, "assign_customer": 3, "applied": 3}
    assert report.exit_code == 0
    owners = patient.sql("SELECT id::text, customer_id::text AS owner FROM messages")
    assert {row["id"]: row["owner"] for row in owners} == rows
    assert patient.undo().exit_code == 0
    assert patient.dump() == before


def test_both_on_one_row(patient: Patient) -> None:
    """
    A row that is wrong and without customer is corrected and assigned in one run, and goes back in one undo.
    """
    patient.sql("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    patient.scene.customer(PHONE)
    patient.scene.record(patient.scene.text(PHONE, patient.ago(hours=2)), None, status="failed", twilio_status="failed")
    before = patient.dump()

    report = patient.apply(fix_mismatched=True)

    assert counts(report) == {"planned": 2, "update_message": 1, "assign_customer": 1, "applied": 2}
    assert (report.exit_code, report.exit_reason) == (0, "2 steps applied, verified")
    assert patient.undo().exit_reason == "2 rows restored, 0 left"
    assert patient.dump() == before


def test_other_names(patient: Patient) -> None:
    """
    In flight and rejected messages are never planned; an orphan is left and makes the exit code 1.
    """
    patient.scene.customer(PHONE)
    patient.scene.text(PHONE, patient.ago(minutes=4), status="sent", price=None)
    patient.scene.text(PHONE, patient.ago(hours=1), status="failed", error_code=21211, price=None, date_sent=None)
    orphan = patient.scene.text("+15550109999", patient.ago(hours=1))

    report = patient.apply()

    assert counts(report) == {"left": 1}
    assert (report.exit_code, report.run) == (1, None)
    assert report.plan is not None
    assert reasons(report.plan.left) == {
        f"message/{orphan.sid}": "orphaned: no booking and no customer is known that it belongs to"
    }
    assert patient.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'booking_doctor'") == []


# --- what an apply leaves --------------------------------------------------------------------------------------------


def test_left_rows(patient: Patient) -> None:
    """
    An apply that left a row says so with 1, names it with its reason, and has the others verified.
    """
    first, _ = patient.unrecorded(2)
    patient.sql("ALTER TABLE messages ADD CONSTRAINT nice CHECK (message_sid <> '" + first + "')")

    report = patient.apply()

    assert (report.exit_code, report.exit_reason) == (1, "1 step applied, verified, 1 left")
    assert report.plan is not None
    assert reasons(report.plan.left) == {f"message/{first}": "a constraint forbids it: nice (error 23514)"}
    assert report.run is not None
    assert (report.run.applied, report.run.verified) == (1, True)


@contextmanager
def watched(patient: Patient, progress: Progress) -> Iterator[Doctor]:
    """
    A doctor whose progress somebody hears.
    """
    doctor = Doctor(
        ChosenSources(patient.scene.environment(), Preferences(), progress),
        Preferences(),
        clock=lambda: patient.scene.now,
        run_id=lambda _: "run-1",
        progress=progress,
    )
    try:
        yield doctor
    finally:
        doctor.close()


def carried_out(patient: Patient, doctor: Doctor, **repair: Any) -> Report:
    """
    Plan and apply with that doctor.
    """
    planned = doctor.plan(patient.request, Repair(**repair))
    assert isinstance(planned, Planned)
    return doctor.apply(planned, patient.request, Repair(**repair))


def test_not_in_effect(patient: Patient) -> None:
    """
    Rows that vanish between the apply and its verification make it not verified, and the exit code 5.
    """
    first, *_ = patient.unrecorded(3)
    vandal = AfterTheFirstBatch(lambda: patient.sql("DELETE FROM messages"))
    with watched(patient, vandal) as doctor:
        report = carried_out(patient, doctor)

    assert report.exit_code == 5
    assert report.exit_reason.startswith("3 steps applied, 3 of 3 steps are not seen in effect, message/")
    assert report.run is not None
    assert report.run.verified is False
    assert first in {entry["sid"] for entry in patient.sql("SELECT sid FROM booking_doctor.journal")}


def test_new_discrepancy(patient: Patient) -> None:
    """
    An error that was not there before makes the apply not verified, though all steps are in effect.
    """
    patient.unrecorded()
    customer = patient.scene.customer("+15550107000")
    vandal = AfterTheFirstBatch(lambda: patient.scene.text("+15550107000", patient.ago(hours=9)))
    with watched(patient, vandal) as doctor:
        report = carried_out(patient, doctor)

    assert customer
    assert report.exit_code == 5
    assert "message-unrecorded:message/" in report.exit_reason
    assert "is new" in report.exit_reason


def test_not_verifiable(patient: Patient) -> None:
    """
    An apply that nobody can verify is not called verified.
    """
    patient.unrecorded()
    vandal = AfterTheFirstBatch(lambda: patient.sql("ALTER TABLE messages RENAME status TO state"))
    with watched(patient, vandal) as doctor:
        report = carried_out(patient, doctor)

    assert report.exit_code == 5
    assert "it could not be verified" in report.exit_reason
    assert patient.sql("SELECT count(*) FROM messages") == [{"count": 1}]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.fixture(name="refused")
def _refused(patient: Patient) -> Callable[..., str]:
    """
    Sees that an apply is refused with nothing written, and says why.
    """

    def refused(doctor: Doctor | None = None, **repair: Any) -> str:
        doctor = doctor or patient.doctor
        before = patient.dump()
        planned = doctor.plan(patient.request, Repair(**repair))
        assert isinstance(planned, Planned)
        assert planned.view.refusal == planned.refusal
        with pytest.raises(PlanRefused, match=r"^refused, nothing was written: ") as refusal:
            doctor.apply(planned, patient.request, Repair(**repair))
        assert refusal.value.exit_code == 4
        assert patient.dump() == before
        assert patient.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'booking_doctor'") == []
        return refusal.value.summary.removeprefix("refused, nothing was written: ")

    return refused


def test_triggers(patient: Patient, refused: Callable[..., str]) -> None:
    """
    A trigger that may do anything is named and refused; with --allow-triggers it fires.
    """
    patient.unrecorded()
    patient.sql(*NOTIFY)

    assert refused() == (
        "writing would fire notify on insert of messages, which may do more than this repair;"
        " if that is wanted, add --allow-triggers"
    )
    assert "trigger notify on insert of messages fires" in patient.plan().view.notes
    assert patient.apply(allow_triggers=True).exit_code == 0


def test_trigger_of_the_way_back(patient: Patient, refused: Callable[..., str]) -> None:
    """
    A trigger that only the undo would fire is named before the apply already.
    """
    patient.unrecorded()
    patient.sql(*new_trigger("BEGIN RETURN OLD; END", "BEFORE DELETE ON messages FOR EACH ROW", "audit"))

    assert "would fire audit on delete of messages" in refused()


def test_too_large(patient: Patient, refused: Callable[..., str]) -> None:
    """
    A plan over a fifth of the window is refused with the option to add, and goes through with it.
    """
    customer = patient.scene.customer("+15550108000")
    for n in range(79):
        patient.scene.record(patient.scene.text("+15550108000", patient.ago(hours=2, seconds=n)), customer)
    patient.unrecorded(21)

    assert refused() == (
        "the plan has 21 steps, 21% of the window's 100 messages, the limit is 20%;"
        " if that is what you expect, add --max-changes 21"
    )
    assert "--max-changes is 20; if" in refused(max_changes=20)
    assert patient.apply(max_changes=21).exit_code == 0


def test_rivals(
    patient: Patient, refused: Callable[..., str], open_doctor: Callable[..., Doctor], server_url: str
) -> None:
    """
    Database variables that name different databases refuse an apply and an undo, whichever is followed.
    """
    patient.unrecorded()
    rival = open_doctor(SUPABASE_DB_URL=server_url)

    assert "DATABASE_URL and SUPABASE_DB_URL name different databases" in refused(rival)
    patient.apply()
    _, refusal = rival.plan_undo("run-1", patient.request.disclosure, allow_triggers=False)
    assert "DATABASE_URL and SUPABASE_DB_URL name different databases" in (refusal or "")
    with pytest.raises(PlanRefused, match="name different databases"):
        rival.forget("run-1")
    same = open_doctor(SUPABASE_DB_URL=patient.scene.url).plan(patient.request, Repair())
    assert isinstance(same, Planned)
    assert same.refusal is None


def test_read_only_server(patient: Patient, refused: Callable[..., str], open_doctor: Callable[..., Doctor]) -> None:
    """
    A server that takes no writes is read all the same; an apply is refused.
    """
    patient.unrecorded()
    name = urlsplit(patient.scene.url).path.removeprefix("/")
    patient.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    fresh = open_doctor()

    assert counts(fresh.reconcile(patient.request))["unrecorded"] == 1
    assert refused(fresh) == "the database takes no writes: it is a replica or read-only"


def test_reader(patient: Patient, refused: Callable[..., str], open_doctor: Callable[..., Doctor]) -> None:
    """
    A role that may only read reconciles and plans; an apply is refused and names what it lacks, an undo writes nothing.
    """
    patient.unrecorded()
    parts, role = urlsplit(patient.scene.url), f"reader_{os.getpid()}"
    url = urlunsplit(parts._replace(netloc=f"{role}:reader@{parts.netloc.rpartition('@')[2]}"))
    patient.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        reader = open_doctor(DATABASE_URL=url)
        assert counts(reader.reconcile(patient.request))["unrecorded"] == 1
        assert refused(reader) == "the role may not INSERT the column body of messages"
        patient.sql(f"GRANT INSERT ON messages TO {role}")
        assert "may not make the schema booking_doctor" in refused(reader)

        patient.apply()
        before = patient.dump()
        patient.sql(
            f"GRANT USAGE ON SCHEMA booking_doctor TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA booking_doctor TO {role}",
        )
        shown, _ = reader.plan_undo("run-1", patient.request.disclosure, allow_triggers=False)
        with pytest.raises(PlanRefused, match="nothing was restored"):
            reader.undo("run-1", shown, batch_size=1)
        assert dump(patient.scene.url) == before
        reader.close()
    finally:
        patient.sql(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_recommends_the_index(patient: Patient) -> None:
    """
    Without a unique index on the SID the plan names the command that makes a duplicate impossible; with one it does not.
    """
    patient.unrecorded()
    advice = "nothing makes a second row for one SID impossible; first run: booking-doctor migrate guard"
    assert advice in patient.plan().view.notes

    patient.sql("CREATE UNIQUE INDEX ON messages (message_sid)")

    assert advice not in patient.plan().view.notes


def test_saved_plan_elsewhere(patient: Patient) -> None:
    """
    A saved plan is refused for another account, and when the world no longer asks for it.
    """
    patient.unrecorded(2)
    saved = patient.plan().plan
    target = msgspec.structs.replace(saved.target, account_sid="AC" + "f" * 32)
    with pytest.raises(PlanRefused, match="the plan was made for"):
        patient.doctor.plan_again(msgspec.structs.replace(saved, target=target), patient.request, Repair())

    patient.sql("UPDATE customers SET phone = '+15550109999' WHERE phone = '+15550101000'")

    with pytest.raises(PlanRefused, match="1 of its 2 steps no longer fit"):
        patient.doctor.plan_again(saved, patient.request, Repair())
