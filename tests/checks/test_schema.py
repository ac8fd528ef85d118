"""
What the checks of tables say beyond the planted incidents: who may write what, judged against what the server really does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine

from booking_doctor.adapters.tables import application_tables
from booking_doctor.checks import select
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import COLUMNS, Names, Preferences

Look = Callable[..., list[Finding]]

_numbers = count()

STATEMENT = re.compile(r"""(?:'[^']*'|"(?:[^"]|"")*"|[^;])+""")


@pytest.fixture(name="report")
def _report(scene: World, open_doctor: Callable[..., Doctor]) -> Callable[..., Report]:
    """
    What the checks named, or all of the schema's, report.
    """

    def report(*names: str, preferences: Preferences = Preferences(), **variables: str) -> Report:
        asked = Request(window=Window(scene.now, scene.now))
        return open_doctor(preferences, **variables).examine("check-schema", select(names or ("schema",)), asked)

    return report


@pytest.fixture(name="look")
def _look(report: Callable[..., Report]) -> Look:
    """
    The findings, where everything could be looked at.
    """

    def look(*names: str, **settings: Any) -> list[Finding]:
        seen = report(*names, **settings)
        assert seen.skipped == []
        return list(seen.findings)

    return look


@contextmanager
def a_role(scene: World, name: str, options: str = "LOGIN PASSWORD 'x'") -> Iterator[str]:
    """
    A role of the server, gone when the context ends.
    """
    with psycopg.connect(scene.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(options)))
        try:
            yield name
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture(name="role")
def _role(scene: World) -> Iterator[str]:
    """
    The application's role, under a name that wants to be quoted.
    """
    with a_role(scene, f"app \"rw'; {os.getpid()} {next(_numbers)}") as name:
        yield name


def run(scene: World, statements: str, role: str = "") -> None:
    """
    Run statements one by one, as they would be pasted; ROLE stands for the role.
    """
    quoted = '"' + role.replace('"', '""') + '"'
    with psycopg.connect(scene.url, autocommit=True) as connection:
        for statement in STATEMENT.findall(re.sub(r"(?<!ALTER )\bROLE\b", lambda _: quoted, statements)):
            if statement.strip():
                connection.execute(statement)


def advised(finding: Finding) -> str:
    """
    The SQL of a remedy.
    """
    return finding.remedy.partition("Run: ")[2] or finding.remedy.partition("run: ")[2]


def as_role(scene: World, role: str, statement: str, *values: object) -> int | str:
    """
    What happens to that statement in the hands of the role: the rows it changes, or the error's SQLSTATE.
    """
    with psycopg.connect(scene.url) as connection:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        try:
            return connection.execute(statement, values).rowcount
        except psycopg.Error as error:
            return error.sqlstate or ""
        finally:
            connection.rollback()


# --- privileges, policies, rules -------------------------------------------------------------------------------------

_GRANTED = "GRANT SELECT, INSERT, UPDATE ON pending_bookings, messages TO ROLE; "
_SECURED = (
    _GRANTED
    + "ALTER TABLE pending_bookings ENABLE ROW LEVEL SECURITY; ALTER TABLE messages ENABLE ROW LEVEL SECURITY; "
)


@pytest.mark.parametrize(
    ("setup", "seen", "outcome"),
    [
        ("", "no privilege to UPDATE metadata; it has no privilege to SELECT token", "42501"),
        (_GRANTED, None, 1),
        ("GRANT SELECT (token), UPDATE (metadata) ON pending_bookings TO ROLE", None, 1),
        ("GRANT UPDATE (metadata) ON pending_bookings TO ROLE", "no privilege to SELECT token", "42501"),
        ("GRANT SELECT ON pending_bookings TO ROLE; GRANT UPDATE (status) ON pending_bookings TO ROLE", "UPDATE metadata", "42501"),
        (_GRANTED + "REVOKE USAGE ON SCHEMA public FROM PUBLIC", "may not use the schema public", "42501"),
        (_SECURED, "no policy lets it SELECT, so it changes 0 rows without an error; row level security is on and no policy lets it UPDATE", 0),
        (_SECURED + "CREATE POLICY u ON pending_bookings FOR UPDATE USING (true)", "no policy lets it SELECT", 0),
        (_SECURED + "CREATE POLICY s ON pending_bookings FOR SELECT USING (true)", "no policy lets it UPDATE", 0),
        (_SECURED + "CREATE POLICY a ON pending_bookings USING (true)", None, 1),
        (_SECURED + "CREATE POLICY a ON pending_bookings USING (false)", "no policy lets it SELECT", 0),
        (_SECURED + "CREATE POLICY a ON pending_bookings TO CURRENT_USER USING (true)", "no policy lets it SELECT", 0),
        (
            _SECURED + "CREATE POLICY s ON pending_bookings FOR SELECT USING (true);"
            " CREATE POLICY u ON pending_bookings FOR UPDATE WITH CHECK (true)",
            "no policy lets it UPDATE",
            0,
        ),
        (
            _SECURED + "CREATE POLICY s ON pending_bookings FOR SELECT USING (true);"
            " CREATE POLICY u ON pending_bookings FOR UPDATE USING (true) WITH CHECK (false)",
            "no policy lets it UPDATE",
            "42501",
        ),
        (
            _SECURED + "CREATE POLICY a ON pending_bookings USING (true);"
            ' CREATE POLICY "no; one" ON pending_bookings AS RESTRICTIVE USING (false)',
            'the restrictive policy "no; one" lets nothing through',
            0,
        ),
        (_SECURED + "ALTER ROLE ROLE BYPASSRLS", None, 1),
        (_GRANTED + "CREATE RULE r AS ON UPDATE TO pending_bookings DO INSTEAD NOTHING", "by the rule r nothing is done", 0),
    ],
)  # fmt: skip
def test_who_may_update(scene: World, role: str, look: Look, setup: str, seen: str | None, outcome: int | str) -> None:
    """
    The catalog's verdict is what an UPDATE by token meets, and the remedy makes it work.
    """
    scene.pending_booking("+15550101001", token="tok_1")
    run(scene, setup, role)
    preferences = Preferences(application_role=role)
    update = "UPDATE public.pending_bookings SET metadata = '{}' WHERE token = 'tok_1'"

    found = look("schema-update-blocked", preferences=preferences)

    assert as_role(scene, role, update) == outcome
    if seen is None:
        assert found == []
        return
    (finding,) = found
    assert seen in finding.summary
    assert (finding.severity, finding.subject) == (Severity.ERROR, "schema/pending_bookings.metadata")
    if '"' not in seen:
        run(scene, advised(finding))
        if "rule" not in seen and "(true) WITH CHECK (false)" not in setup:
            assert look("schema-update-blocked", preferences=preferences) == []
            assert as_role(scene, role, update) == 1


@pytest.mark.parametrize(
    ("setup", "seen", "outcome"),
    [
        ("", "no privilege to INSERT customer_id, direction, message_sid, body, status", "42501"),
        (_GRANTED, None, 1),
        ("GRANT INSERT (customer_id, direction, body, status) ON messages TO ROLE", "INSERT message_sid", "42501"),
        (_SECURED, "no policy lets it INSERT", "42501"),
        (_SECURED + "CREATE POLICY i ON messages FOR INSERT WITH CHECK (true)", None, 1),
        (_SECURED + "CREATE POLICY s ON messages FOR SELECT USING (true)", "no policy lets it INSERT", "42501"),
        (_GRANTED + "CREATE RULE r AS ON INSERT TO messages DO INSTEAD NOTHING", "by the rule r nothing is done", 0),
        (
            _GRANTED + "ALTER TABLE messages ALTER COLUMN id DROP IDENTITY; CREATE SEQUENCE ids;"
            " ALTER TABLE messages ALTER COLUMN id SET DEFAULT nextval('ids')",
            "may not use the sequence ids",
            "42501",
        ),
    ],
)
def test_who_may_insert(scene: World, role: str, look: Look, setup: str, seen: str | None, outcome: int | str) -> None:
    """
    The catalog's verdict is what an INSERT meets, and the remedy makes it work.
    """
    customer = scene.customer("+15550101001")
    run(scene, setup, role)
    preferences = Preferences(application_role=role)
    insert = (
        "INSERT INTO messages (customer_id, direction, message_sid, body, status) VALUES (%s, 'outbound', 'S', '', '')"
    )

    found = look("schema-insert-blocked", preferences=preferences)

    assert as_role(scene, role, insert, customer) == outcome
    assert [str(seen) in finding.summary for finding in found] == ([True] if seen else [])
    for finding in found:
        assert (finding.severity, finding.subject) == (Severity.ERROR, "schema/messages")
        run(scene, advised(finding))
        assert look("schema-insert-blocked", preferences=preferences) == []
        assert as_role(scene, role, insert, customer) == 1


def test_what_depends_on_the_row_is_a_warning(scene: World, role: str, look: Look) -> None:
    """
    Nobody can tell from the catalog which rows a policy lets through, and nobody claims it.
    """
    run(scene, _SECURED + "CREATE POLICY mine ON pending_bookings USING (status = 'pending')", role)

    (finding,) = look("schema-update-blocked", preferences=Preferences(application_role=role))

    assert finding.severity is Severity.WARNING
    assert "may be unable to update pending_bookings.metadata by token" in finding.summary
    assert "depends on the row, by the policy mine" in finding.summary
    assert "status = 'pending'" in str(finding.evidence["explain"])


def test_a_policy_of_a_group_counts_for_its_members(scene: World, role: str, look: Look) -> None:
    """
    A role has the policies of the roles it is a member of.
    """
    with a_role(scene, f"group_{os.getpid()}_{next(_numbers)}", "NOLOGIN") as group:
        run(
            scene,
            f"{_SECURED} GRANT {group} TO ROLE; CREATE POLICY g ON pending_bookings TO {group} USING (true)",
            role,
        )

        assert look("schema-update-blocked", preferences=Preferences(application_role=role)) == []


def test_what_only_the_server_knows(scene: World, role: str, look: Look) -> None:
    """
    Where the catalog sees nothing wrong and EXPLAIN is refused, that counts.
    """
    run(
        scene,
        _SECURED + "CREATE FUNCTION mine() RETURNS boolean STABLE LANGUAGE sql AS 'SELECT true';"
        " REVOKE EXECUTE ON FUNCTION mine() FROM PUBLIC; CREATE VIEW seen AS SELECT * FROM pending_bookings WHERE mine()",
        role,
    )
    run(scene, "GRANT SELECT, UPDATE ON seen TO ROLE", role)
    names = Names(tables={"pending_bookings": "seen"})

    (finding,) = look("schema-update-blocked", preferences=Preferences(application_role=role, names=names))

    assert "the server refuses it (permission denied for function mine)" in finding.summary


def test_a_view_that_takes_no_update(scene: World, look: Look) -> None:
    """
    A view may stand for the table, but not one that cannot be written.
    """
    run(scene, "CREATE VIEW seen AS SELECT DISTINCT * FROM pending_bookings")

    (finding,) = look(
        "schema-update-blocked", preferences=Preferences(names=Names(tables={"pending_bookings": "seen"}))
    )

    assert "seen is a view that takes no UPDATE" in finding.summary


def test_which_role_is_meant(scene: World, role: str, look: Look) -> None:
    """
    The one that the settings name, else Supabase's, else the doctor's own, which may be another than the application's.
    """
    run(scene, "GRANT SELECT ON pending_bookings TO ROLE", role)
    (own,) = look("schema-update-blocked", DATABASE_URL=reached_as(scene, role))
    with a_role(scene, "service_role", "NOLOGIN"):
        (supabase,) = look("schema-update-blocked")

    assert own.evidence["role"] == role
    assert own.remedy.startswith("If the application uses another role, name it as application_role")
    assert supabase.evidence["role"] == "service_role"
    assert supabase.remedy.startswith("Run: GRANT UPDATE")
    assert look("schema-update-blocked") == []


def test_a_role_that_is_not_there(report: Callable[..., Report]) -> None:
    """
    What was to be judged by a role that does not exist was not judged.
    """
    seen = report("schema-insert-blocked", preferences=Preferences(application_role="nobody"))

    assert seen.exit_code is ExitCode.INCOMPLETE
    assert "there is no role nobody" in seen.skipped[0].reason


def reached_as(scene: World, role: str) -> str:
    """
    The scene's database, as that role.
    """
    parts = urlsplit(scene.url)
    return urlunsplit(parts._replace(netloc=f"{quote(role, safe='')}:x@{parts.netloc.rpartition('@')[2]}"))


def test_a_role_that_may_not_be_taken(scene: World, role: str, look: Look) -> None:
    """
    Where the doctor may not act as the application's role, the catalog's verdict stands, and it is said that nobody
    was asked.
    """
    run(scene, "GRANT SELECT ON pending_bookings TO ROLE", role)

    (finding,) = look(
        "schema-update-blocked",
        preferences=Preferences(application_role="pg_monitor"),
        DATABASE_URL=reached_as(scene, role),
    )

    assert finding.evidence["explain"] == ["not asked: the doctor's role may not take this one"]


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
    run(scene, _GRANTED, role)
    with psycopg.connect(scene.url) as builder:
        builder.execute("LOCK TABLE messages, pending_bookings, customers IN SHARE MODE")
        begun = monotonic()
        seen = report(preferences=Preferences(application_role=role))

        assert seen.skipped == []
        assert monotonic() - begun < 3
        builder.rollback()


# --- triggers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "body", "seen"),
    [
        ("BEFORE UPDATE", "NEW.metadata := '{}'; RETURN NEW;", Severity.ERROR),
        ("BEFORE UPDATE", "IF true THEN new . \"metadata\" = '{}'; END IF; RETURN NEW;", Severity.ERROR),
        ("BEFORE UPDATE", "NEW.metadata['initial_sms'] := 'null'; RETURN NEW;", Severity.ERROR),
        ("BEFORE UPDATE", "SELECT '{}' INTO NEW.metadata; RETURN NEW;", Severity.ERROR),
        ("BEFORE UPDATE", "NEW := OLD; RETURN NEW;", Severity.ERROR),
        ("BEFORE UPDATE", "RETURN OLD;", Severity.ERROR),
        ("BEFORE UPDATE", "RETURN NULL;", Severity.ERROR),
        ("BEFORE UPDATE OR DELETE", "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;", None),
        ("BEFORE UPDATE OR DELETE", "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NULL;", Severity.ERROR),
        ("BEFORE UPDATE OF status", "NEW.metadata := '{}'; RETURN NEW;", None),
        ("BEFORE UPDATE OF metadata", "NEW.metadata := '{}'; RETURN NEW;", Severity.ERROR),
        ("BEFORE INSERT", "NEW.metadata := '{}'; RETURN NEW;", None),
        ("BEFORE UPDATE", "IF NEW.metadata = '{}' THEN NEW.updated_at := now(); END IF; RETURN NEW;", None),
        ("BEFORE UPDATE", "-- NEW.metadata := '{}';\n/* RETURN NULL; */ RETURN NEW;", None),
        ("BEFORE UPDATE", "RAISE NOTICE 'RETURN NULL; NEW.metadata :='; RETURN NEW;", None),
        ("BEFORE UPDATE", "IF NEW.token = '' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW;", Severity.WARNING),
        ("BEFORE UPDATE", "EXECUTE 'SELECT 1'; RETURN NEW;", Severity.WARNING),
        ("AFTER UPDATE", "RETURN NULL;", None),
        ("AFTER UPDATE", "INSERT INTO audit_logs (action) VALUES ('metadata'); RETURN NULL;", None),
        ("AFTER UPDATE", "UPDATE public.pending_bookings SET metadata = '{}'; RETURN NULL;", Severity.ERROR),
        ("AFTER UPDATE", "UPDATE pending_bookings SET updated_at = now() WHERE id = NEW.id; RETURN NULL;", None),
        ("AFTER UPDATE", 'DELETE FROM ONLY "pending_bookings" WHERE id = NEW.id; RETURN NULL;', Severity.ERROR),
        ("AFTER UPDATE", "DELETE FROM pending_bookings_old; RETURN NULL;", None),
    ],
)  # fmt: skip
def test_what_triggers_do(scene: World, look: Look, when: str, body: str, seen: Severity | None) -> None:
    """
    A trigger is judged by what its source does to the metadata, not by what it mentions.
    """
    scene.execute(
        f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body.replace(':', chr(92) + ':')} END $$"
    )
    scene.execute(f'CREATE TRIGGER "t; x" {when} ON pending_bookings FOR EACH ROW EXECUTE FUNCTION f()')

    found = look("schema-trigger-interferes")

    assert [finding.severity for finding in found] == ([seen] if seen else [])
    for finding in found:
        assert "the trigger t; x" in finding.summary
        scene.execute(advised(finding))
        assert look("schema-trigger-interferes") == []


def test_functions_of_the_server(scene: World, look: Look) -> None:
    """
    Those that come with PostgreSQL and are known to be harmless are; of others nobody can say.
    """
    scene.execute(
        "CREATE TRIGGER a BEFORE UPDATE ON pending_bookings FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    )
    assert look("schema-trigger-interferes") == []

    scene.execute(
        'CREATE TRIGGER b BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION pg_catalog."RI_FKey_check_ins"()'
    )
    (finding,) = look("schema-trigger-interferes")

    assert (finding.severity, finding.subject) == (Severity.WARNING, "schema/messages")
    assert "whose source cannot be read" in finding.summary


def test_a_rule_that_writes_again(scene: World, look: Look) -> None:
    """
    A rule that lets the insert through and then changes the row interferes like a trigger.
    """
    scene.execute("CREATE RULE again AS ON INSERT TO messages DO ALSO UPDATE messages SET status = 'delivered'")

    (finding,) = look("schema-trigger-interferes")

    assert "the rule again writes to the same table again" in finding.summary
    scene.execute(advised(finding))
    assert look("schema-trigger-interferes") == []


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


@pytest.mark.parametrize(
    ("setting", "severity", "trouble"),
    [
        ("default_transaction_read_only = on", Severity.ERROR, "every write of"),
        ("default_transaction_read_only = off", None, ""),
        ("statement_timeout = 900", Severity.WARNING, "cancelled after 0.9 s"),
        ("statement_timeout = '0'", None, ""),
        ("statement_timeout = '8s'", None, ""),
        ('search_path = app, "$user"', Severity.WARNING, "does not find the table customers, which is in the schema public"),
        ('search_path = "$user", Public, "Odd, one"', None, ""),
        ("work_mem = '4MB'", None, ""),
    ],
)  # fmt: skip
def test_settings_of_the_role(
    scene: World, role: str, look: Look, setting: str, severity: Severity | None, trouble: str
) -> None:
    """
    Settings that come with the role are read as the server means them, and the remedy takes them back.
    """
    run(scene, f"ALTER ROLE ROLE SET {setting}", role)
    preferences = Preferences(application_role=role)

    found = look("schema-role-setting", preferences=preferences)

    assert [finding.severity for finding in found] == ([severity] if severity else [])
    for finding in found:
        assert trouble in finding.summary
        run(scene, advised(finding))
    assert look("schema-role-setting", preferences=preferences) == []


def test_the_nearest_setting_counts(scene: World, role: str, look: Look) -> None:
    """
    What is set for a role in this database goes before what is set for the role or for the database.
    """
    name = scene.url.rpartition("/")[2]
    run(scene, f"ALTER ROLE ROLE SET statement_timeout = 1; ALTER DATABASE {name} SET statement_timeout = 2", role)
    run(scene, f"ALTER ROLE ROLE IN DATABASE {name} SET statement_timeout = '5s'", role)

    assert look("schema-role-setting", preferences=Preferences(application_role=role)) == []


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


def test_a_webhook_is_not_shown(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    A trigger's definition may hold the key that it calls with, so only its name is told; one that merely calls is fine.
    """
    scene.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$")
    scene.execute("CREATE TRIGGER hook AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse('Bearer canary')")
    window = Window(scene.now - timedelta(days=7), scene.now)

    told = open_doctor().check_schema(Request(window=window))

    assert "trigger hook" in str(told.findings)
    assert "canary" not in str(told)

    scene.execute("ALTER FUNCTION refuse RENAME TO http_request")
    calm = open_doctor().check_schema(Request(window=window))
    assert "schema-trigger-interferes" not in {finding.name for finding in calm.findings}
