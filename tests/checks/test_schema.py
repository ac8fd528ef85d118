"""
What the checks of tables say beyond the planted incidents.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from time import monotonic

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine

from booking_doctor.adapters.tables import application_tables
from booking_doctor.checks import select
from booking_doctor.core.model import STATUS_RANK
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, Report, Severity, Window
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

    assert elsewhere.remedy == 'Name its schema in booking-doctor.toml: [tables.messages] schema = "app".'
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
    An index whose building failed protects nothing; it is named, until it is built again.
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
    run(scene, 'REINDEX INDEX CONCURRENTLY "Sid; once"')
    assert look("schema-sid-not-unique") == []


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("ADD CHECK (status IN ('queued', 'sent')), ADD CHECK (status <> 'x')", ["accepted", "scheduled"]),
        ("ALTER status TYPE varchar(20), ADD CHECK (status IN ('queued', 'sent'))", ["accepted", "scheduled"]),
        ("ADD CHECK (status IS NULL OR status IN ('queued', 'sent'))", ["accepted", "scheduled"]),
        ("ADD CHECK (status NOT IN ('queued', 'sent'))", ["queued", "sent"]),
        ("ADD CHECK (length(status) < 20)", []),
        ("ADD CHECK (char_length(btrim(status)) <= 8)", ["scheduled", "receiving"]),
        ("ADD CHECK (lower(status) = 'queued' OR upper(status) = 'SENT')", ["accepted", "scheduled"]),
        ("ADD CHECK (NOT (status = 'accepted' AND direction = 'outbound'))", ["accepted"]),
        ("ADD CHECK (NOT (status = 'accepted' AND direction = 'inbound'))", []),
        ("ADD CHECK (status <> 'accepted' OR direction = 'inbound')", ["accepted"]),
        ("ADD CHECK (direction = 'inbound' OR status IN ('queued', 'sent'))", ["accepted", "scheduled"]),
        ("ALTER status TYPE word USING CAST(status AS word)", ["accepted", "scheduled"]),
        ("ALTER status TYPE said", ["accepted", "scheduled"]),
        ("ADD CHECK (status IN ('queued', 'sent')) NOT VALID", ["accepted", "scheduled"]),
        ("DROP CONSTRAINT messages_direction_check, ADD CHECK (direction IN ('inbound', 'outbound-api'))", []),
        ("DROP CONSTRAINT messages_direction_check, ADD CHECK (direction IN ('in', 'out'))", ["inbound", "outbound"]),
        ("DROP CONSTRAINT messages_direction_check, ADD CHECK (direction <> 'x' AND body IS NOT NULL)", []),
        ("ADD CHECK (direction = 'inbound' OR customer_id IS NOT NULL)", []),
    ],
)
def test_words_that_are_refused(scene: World, look: Look, change: str, refused: list[str]) -> None:
    """
    Constraints, domains and enums are understood, and where the remedy is SQL it lets the words in.
    """
    scene.execute("CREATE TYPE word AS ENUM ('queued', 'sent')")
    scene.execute("CREATE DOMAIN said AS text CHECK (VALUE IN ('queued', 'sent'))")
    scene.execute(f"ALTER TABLE messages {change}")

    found = look("schema-status-not-accepted")

    told = {word for finding in found for word in _words(finding)}
    assert sorted(told, key=_ORDER.index)[:2] == refused
    assert told == _really_refused(scene)
    for finding in found:
        if advice := advised(finding):
            run(scene, advice)
            assert look("schema-status-not-accepted") == []
            assert _really_refused(scene) == set()


_ORDER = [*STATUS_RANK, "inbound", "outbound"]


def _words(finding: Finding) -> list[str]:
    words = finding.evidence["refused"]
    assert isinstance(words, list)
    return [str(word) for word in words]


def _really_refused(scene: World) -> set[str]:
    """
    The words that no row comes in with, in whichever way its direction is said.
    """
    customer = scene.customer(f"+1555{scene.rows('SELECT count(*) AS n FROM customers')[0]['n']:07}")
    insert = "INSERT INTO messages (customer_id, direction, status, body) VALUES (%s, %s, %s, '')"
    inbound, outbound = ("inbound", "in"), ("outbound", "outbound-api", "out")
    rows: list[tuple[str | None, str]] = [(None, direction) for direction in inbound + outbound]
    for word in STATUS_RANK:
        rows += [(word, direction) for direction in (inbound if word in {"receiving", "received"} else outbound)]
    taken: set[str] = set()
    with psycopg.connect(scene.url, autocommit=True) as connection:
        for status, direction in rows:
            with suppress(psycopg.errors.CheckViolation, psycopg.errors.InvalidTextRepresentation):
                connection.execute(insert, (customer, direction, status))
                taken |= {status or "", direction.removesuffix("-api")}
    return {*_ORDER} - taken


@pytest.mark.parametrize(
    "change",
    [
        "ADD CHECK (known(status))",
        "ADD CHECK (status ~ '^(queued|sent)$')",
        "ADD CHECK (body IS NULL OR known(status))",
        "ADD FOREIGN KEY (status) REFERENCES words (word)",
    ],
)
def test_words_that_nobody_can_tell(scene: World, look: Look, change: str) -> None:
    """
    A constraint that cannot be read is not called fine, nor a fault.
    """
    scene.execute("CREATE TABLE words (word text PRIMARY KEY)")
    scene.execute("CREATE FUNCTION known(word text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true'")
    scene.execute(f"ALTER TABLE messages {change}")

    (finding,) = look("schema-status-not-accepted")

    assert finding.severity is Severity.INFO
    assert "whether it takes all of Twilio's is open" in finding.summary


@pytest.mark.parametrize(
    "breaking",
    [
        ("ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey,"
        ' ADD CONSTRAINT "f; k" FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET NULL'),
        "ALTER TABLE pending_bookings ALTER metadata TYPE text",
        "ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT",
        "ALTER TABLE pending_bookings ALTER metadata SET DEFAULT 'null'",
        "ALTER TABLE messages ALTER to_number TYPE varchar(12)",
        "ALTER TABLE messages ALTER from_number TYPE bigint USING NULL",
        "ALTER TABLE messages ALTER read_at TYPE date",
        "ALTER TABLE messages ALTER read_at TYPE text",
        "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey",
        ("ALTER TABLE customers ADD tenant int NOT NULL DEFAULT 1, ADD UNIQUE (tenant, id); ALTER TABLE messages"
        " DROP CONSTRAINT messages_customer_id_fkey, ADD tenant int NOT NULL DEFAULT 1, ADD FOREIGN KEY (tenant, customer_id)"
        " REFERENCES customers (tenant, id) ON DELETE CASCADE"),
        "ALTER TABLE messages ALTER created_at TYPE timestamp(3)",
        "CREATE DOMAIN moment AS timestamp; ALTER TABLE messages ALTER created_at TYPE moment",
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


def test_rows_without_customer_are_counted(scene: World, look: Look) -> None:
    """
    While the column takes null, the finding says how many rows have none and since when, and names what ends it.
    """
    run(scene, "ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    (finding,) = [one for one in look() if one.name == "schema-customer-id-nullable"]
    assert (finding.evidence["rows_without_customer"], finding.evidence["since"]) == (0, None)

    run(scene, "INSERT INTO messages (direction, created_at) VALUES ('outbound', '2025-12-03T10:00:00Z')")
    (finding,) = [one for one in look() if one.name == "schema-customer-id-nullable"]
    assert (finding.evidence["rows_without_customer"], finding.evidence["since"]) == (1, "2025-12-03T10:00:00Z")
    assert "rows without one: 1, the oldest of 2025-12-03T10:00:00Z" in finding.summary
    assert "booking-doctor migrate restore" in finding.remedy


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
    index = sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(
        sql.Identifier(names.schema or "", names.table("messages")),
        sql.Identifier(names.column("messages", "message_sid")),
    )
    with psycopg.connect(scene.url, autocommit=True) as connection:
        connection.execute(index)

    assert [finding.name for finding in found] == usual
    assert unique.subject == f"schema/mess {_HOSTILE}.message_sid {_HOSTILE}"
    assert "schema-sid-not-unique" not in [finding.name for finding in look(preferences=Preferences(names=names))]
    assert scene.rows("SELECT to_regclass('public.customers') IS NOT NULL AS there")[0]["there"]


# --- where the rows lie ----------------------------------------------------------------------------------------------


def test_what_is_behind_a_view(scene: World, look: Look) -> None:
    """
    Keys and types are those of the table behind a view, and the remedies change that.
    """
    usual = {finding.name for finding in look()}
    run(
        scene,
        "ALTER TABLE messages RENAME TO texts; ALTER TABLE texts ALTER message_sid TYPE varchar(9),"
        " DROP CONSTRAINT messages_customer_id_fkey;"
        " CREATE VIEW middle AS SELECT * FROM texts; CREATE VIEW messages AS SELECT * FROM middle WHERE body <> 'x'",
    )

    seen = look()

    new = {finding.name: finding for finding in seen if finding.name not in usual}
    assert set(new) == {"schema-value-refused", "schema-foreign-key-missing"}
    run(scene, advised(new["schema-foreign-key-missing"]))
    assert look("schema-foreign-key-missing") == []


def test_a_view_that_hides_which_column_is_which(scene: World, report: Callable[..., Report]) -> None:
    """
    Where a view calls columns otherwise, or shows several tables, nothing is claimed of its keys.
    """
    run(
        scene,
        "ALTER TABLE messages RENAME COLUMN message_sid TO sid; ALTER TABLE messages RENAME TO texts;"
        " CREATE VIEW messages AS SELECT *, sid AS message_sid FROM texts",
    )

    seen = report("schema-sid-not-unique")

    assert seen.findings == []
    assert [(skipped.check, skipped.kind) for skipped in seen.skipped] == [("schema-sid-not-unique", "unreachable")]
    assert "messages shows texts in a way that does not tell which column of it is which" in seen.skipped[0].reason


def test_a_schema_that_may_not_be_entered(scene: World, role: str, report: Callable[..., Report]) -> None:
    """
    A schema that is named and that the doctor may not enter is no empty one: nothing is claimed of its tables.
    """
    run(scene, "CREATE SCHEMA app; ALTER TABLE messages SET SCHEMA app")
    named = Preferences(names=Names(schema="app"))

    seen = report(preferences=named, DATABASE_URL=reached_as(scene, role))

    assert seen.exit_code is ExitCode.INCOMPLETE
    assert not {finding.name for finding in seen.findings} - {"schema-table-missing"}
    assert {skipped.kind for skipped in seen.skipped} == {"not-permitted"}


@pytest.mark.parametrize(
    ("column", "check"), [("body", "schema-value-refused"), ("read_at", "schema-timestamp-without-zone")]
)
def test_a_column_that_a_view_renames(scene: World, report: Callable[..., Report], column: str, check: str) -> None:
    """
    A column is not taken for fine because the table behind the view calls it otherwise.
    """
    run(
        scene,
        f"ALTER TABLE messages RENAME COLUMN {column} TO kept; ALTER TABLE messages RENAME TO texts;"
        f" CREATE VIEW messages AS SELECT *, kept AS {column} FROM texts",
    )

    assert [skipped.kind for skipped in report(check).skipped] == ["unreachable"]


@pytest.mark.parametrize(
    ("hide", "kinds"),
    [
        ("ALTER TABLE messages RENAME TO texts", ["unreachable"]),
        (
            "ALTER TABLE messages RENAME TO texts; CREATE MATERIALIZED VIEW messages AS SELECT * FROM texts",
            ["unreachable"],
        ),
        ("DROP TABLE messages; ALTER TABLE customers RENAME TO clients", ["unreachable", "unreachable"]),
    ],
)
def test_a_table_that_is_hidden_hides_no_other(
    scene: World, report: Callable[..., Report], hide: str, kinds: list[str]
) -> None:
    """
    The columns of the others are judged, and each table that could not be seen is named once.
    """
    run(
        scene,
        f"{hide}; ALTER TABLE pending_bookings ALTER COLUMN updated_at TYPE timestamp,"
        " ALTER COLUMN customer_phone TYPE varchar(9), ADD COLUMN tenant text NOT NULL",
    )
    expected = {
        "schema-timestamp-without-zone": "updated_at",
        "schema-value-refused": "customer_phone",
        "schema-column-unfilled": "tenant",
    }

    for name, column in expected.items():
        seen = report(name)
        assert [finding.subject for finding in seen.findings] == [f"schema/pending_bookings.{column}"]
        assert [skipped.kind for skipped in seen.skipped] == kinds
        assert seen.exit_code is ExitCode.INCOMPLETE


REFUSED = 'null value in column "customer_id" of relation "{}" violates not-null constraint'


@pytest.mark.parametrize(
    ("details", "hours", "severity"),
    [
        (REFUSED.format("messages"), 1, Severity.ERROR),
        (REFUSED.format("bookings"), 1, Severity.INFO),
        (REFUSED.format("messages").replace("customer_id", "body"), 1, Severity.INFO),
        (REFUSED.format("messages"), 24 * 8, Severity.INFO),
    ],
)
def test_an_application_that_still_inserts_before_the_customer(
    scene: World, open_doctor: Callable[..., Doctor], details: str, hours: int, severity: Severity
) -> None:
    """
    That the column is required is an error once the application's log has messages that were refused for it.
    """
    scene.execute(
        "INSERT INTO audit_logs (action, details, created_at) VALUES ('sms.record', CAST(:entry AS jsonb), :at)",
        entry=json.dumps({"error": details}),
        at=scene.now - timedelta(hours=hours),
    )
    week = Request(window=Window(scene.now - timedelta(days=7), scene.now))

    (finding,) = open_doctor().examine("check-schema", select(["schema-customer-id-required"]), week).findings

    assert finding.severity is severity
    assert ("the application's log has 1 refused for it" in finding.summary) is (severity is Severity.ERROR)


def test_a_log_that_may_not_be_read(scene: World, role: str, report: Callable[..., Report]) -> None:
    """
    What the log would say of the column is then not known, and what the catalog says stands.
    """
    run(scene, "REVOKE ALL ON audit_logs FROM PUBLIC, ROLE", role)

    seen = report("schema-customer-id-required", DATABASE_URL=reached_as(scene, role))

    assert [finding.severity for finding in seen.findings] == [Severity.INFO]
    assert [skipped.kind for skipped in seen.skipped] == ["not-permitted"]
