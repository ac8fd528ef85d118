"""
What the checks of tables say beyond the planted incidents.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import psycopg
import pytest
from sqlalchemy import create_engine

from booking_doctor.adapters.tables import application_tables
from booking_doctor.checks import select
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Report
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import COLUMNS, Names, Preferences
from tests.checks.schema_cases import GRANTED, Look, advised, reached_as, run

# --- blindness -------------------------------------------------------------------------------------------------------


def test_hidden_rows_are_not_no_rows(scene: World, role: str, report: Callable[..., Report]) -> None:
    """
    A role that row level security filters would see an empty queue; it is told that it may not look.
    """
    scene.job(status="failed")
    run(scene, "GRANT SELECT ON jobs TO ROLE; ALTER TABLE jobs ENABLE ROW LEVEL SECURITY", role)

    seen = report("job-failed", DATABASE_URL=reached_as(scene, role))

    assert seen.exit_code is ExitCode.INCOMPLETE
    assert [(skipped.check, skipped.kind) for skipped in seen.skipped] == [("job-failed", "not-permitted")]
    assert "row level security hides rows" in seen.skipped[0].reason


def test_a_check_alone_does_not_pass_without_its_table(scene: World, report: Callable[..., Report]) -> None:
    """
    Every check says itself when there is nothing for it to look at, also where those it waits for are not chosen.
    """
    run(scene, "DROP TABLE messages; DROP TABLE pending_bookings CASCADE; DROP TABLE customers CASCADE")

    elsewhere = ("schema-table-missing", "schema-column-missing", "schema-homonym", "schema-role-setting")
    for check in select(("schema",), elsewhere):
        assert report(check.name).skipped, check.name


def test_others_wait_for_the_tables(scene: World, report: Callable[..., Report]) -> None:
    """
    A missing table is one finding, and no error of those that would look into it.
    """
    run(scene, "DROP TABLE messages")

    seen = report()

    assert [finding.fingerprint for finding in seen.findings] == ["schema-table-missing:schema/messages"]
    assert {skipped.kind for skipped in seen.skipped} == {"not-applicable"}


def test_a_table_that_the_role_does_not_find(scene: World, role: str, report: Callable[..., Report]) -> None:
    """
    A table may be there and not be found: for want of a search path, or of a privilege.
    """
    run(scene, "CREATE SCHEMA app; ALTER TABLE messages SET SCHEMA app")
    (elsewhere,) = report("schema-table-missing").findings
    (closed,) = report("schema-table-missing", DATABASE_URL=reached_as(scene, role)).findings
    run(scene, advised(closed))

    assert elsewhere.remedy == 'Name the schema in booking-doctor.toml: schema = "app".'
    assert "the schema app has one" in elsewhere.summary
    assert closed.remedy.startswith("Run: GRANT USAGE ON SCHEMA app TO ")
    (open_now,) = report("schema-table-missing", DATABASE_URL=reached_as(scene, role)).findings
    assert open_now.remedy == elsewhere.remedy


def test_nobody_waits_and_nobody_is_waited_for(scene: World, role: str, report: Callable[..., Report]) -> None:
    """
    While an index is built, which holds writes off, everything is looked at all the same and at once.
    """
    run(scene, GRANTED, role)
    with psycopg.connect(scene.url) as builder:
        builder.execute("LOCK TABLE messages, pending_bookings, customers IN SHARE MODE")
        begun = monotonic()
        seen = report(preferences=Preferences(application_role=role))

        assert seen.skipped == []
        assert monotonic() - begun < 3
        builder.rollback()


# --- tables ----------------------------------------------------------------------------------------------------------


def test_an_index_that_failed(scene: World, look: Look) -> None:
    """
    An index whose building failed protects nothing; it is named, and the remedy replaces it.
    """
    customer = scene.customer("+15550101001")
    for _ in range(2):
        scene.execute(
            "INSERT INTO messages (customer_id, direction, message_sid) VALUES (CAST(:c AS uuid), 'outbound', 'SM1')",
            c=customer,
        )
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(scene, 'CREATE UNIQUE INDEX CONCURRENTLY "Sid; once" ON messages (message_sid)')

    (finding,) = look("schema-sid-not-unique")
    assert 'only an invalid unique index ("Sid; once")' in finding.summary

    scene.execute("DELETE FROM messages")
    run(scene, advised(finding))
    assert look("schema-sid-not-unique") == []


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("ADD CHECK (status IN ('queued', 'sent')), ADD CHECK (status <> 'x')", ["accepted", "scheduled"]),
        ("ALTER status TYPE varchar(20), ADD CHECK (status IN ('queued', 'sent'))", ["accepted", "scheduled"]),
        ("ADD CHECK (status IS NULL OR status IN ('queued', 'sent'))", ["accepted", "scheduled"]),
        ("ADD CHECK (status NOT IN ('queued', 'sent'))", []),
        ("ADD CHECK (length(status) < 20)", []),
        ("ADD CHECK (direction = 'inbound' OR status IN ('queued', 'sent'))", []),
        ("ALTER status TYPE word USING CAST(status AS word)", ["accepted", "scheduled"]),
        ("DROP CONSTRAINT messages_direction_check, ADD CHECK (direction IN ('inbound', 'outbound-api'))", []),
        ("DROP CONSTRAINT messages_direction_check, ADD CHECK (direction IN ('in', 'out'))", ["inbound", "outbound"]),
    ],
)
def test_words_that_are_refused(scene: World, look: Look, change: str, refused: list[str]) -> None:
    """
    Lists and enums are understood, other constraints are left alone, and the remedy lets the words in.
    """
    scene.execute("CREATE TYPE word AS ENUM ('queued', 'sent')")
    scene.execute(f"ALTER TABLE messages {change}")

    found = look("schema-status-not-accepted")

    words = [finding.evidence["refused"] for finding in found]
    assert [some[:2] for some in words if isinstance(some, list)] == ([refused] if refused else [])
    for finding in found:
        run(scene, advised(finding))
    assert look("schema-status-not-accepted") == []


@pytest.mark.parametrize(
    "breaking",
    [
        "ALTER TABLE messages ALTER customer_id DROP NOT NULL",
        ("ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey,"
        ' ADD CONSTRAINT "f; k" FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET NULL'),
        "ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata TYPE text",
        "ALTER TABLE messages ALTER created_at TYPE timestamp(3)",
        "ALTER TABLE messages DROP body; ALTER TABLE messages ADD body text GENERATED ALWAYS AS ('x') STORED",
    ],
)  # fmt: skip
def test_remedies_can_be_pasted(scene: World, look: Look, breaking: str) -> None:
    """
    What a remedy says to run is SQL, and ends the fault.
    """
    usual = [finding.fingerprint for finding in look()]
    run(scene, breaking)
    (finding,) = [finding for finding in look() if finding.fingerprint not in usual]

    run(scene, advised(finding))

    assert [finding.fingerprint for finding in look()] == usual


def test_virtual_columns(scene: World, look: Look) -> None:
    """
    From PostgreSQL 18 a generated column may have nothing stored to keep.
    """
    if int(scene.rows("SHOW server_version_num")[0]["server_version_num"]) < 180000:
        pytest.skip("PostgreSQL before 18 has no virtual columns")
    scene.execute("ALTER TABLE messages DROP body, ADD body text GENERATED ALWAYS AS ('x') VIRTUAL")

    (finding,) = look("schema-column-generated")
    run(scene, advised(finding))

    assert finding.evidence["kind"] == "virtual"
    assert look("schema-column-generated") == []


# --- names -----------------------------------------------------------------------------------------------------------

_HOSTILE = "x\"; DROP TABLE customers; --'{messages}:a%s\\"


def test_hostile_names(scene: World, look: Look) -> None:
    """
    Whatever tables and columns are called, the same is seen of them, and nothing is done to others.
    """
    usual = [finding.name for finding in look()]
    names = Names(
        schema="s\"';:x",
        tables={table: f"{table[:4]} {_HOSTILE}" for table in COLUMNS},
        columns={
            (table, column): f"{column[:12]} {_HOSTILE}"
            for table, columns in COLUMNS.items()
            for column in columns
            if column not in {"id", "status", "direction"}
        },
    )
    run(scene, 'CREATE SCHEMA "s""\';:x"')
    engine = create_engine(scene.url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        application_tables(names)["messages"].metadata.create_all(engine)
    finally:
        engine.dispose()

    found = look(preferences=Preferences(names=names))
    unique = next(finding for finding in found if finding.name == "schema-sid-not-unique")
    run(scene, advised(unique))

    assert [finding.name for finding in found] == usual
    assert unique.subject == f"schema/mess {_HOSTILE}.message_sid {_HOSTILE}"
    assert "schema-sid-not-unique" not in [finding.name for finding in look(preferences=Preferences(names=names))]
    assert scene.rows("SELECT to_regclass('public.customers') IS NOT NULL AS there")[0]["there"]
