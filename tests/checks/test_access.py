"""
Who may write what, judged against what the server really does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import count

import psycopg
import pytest

from booking_doctor.bootstrap import doctor_for
from booking_doctor.checks import access
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import JSONValue, Report, Severity, Silent, Window
from booking_doctor.sandbox.database import embedded_postgres
from booking_doctor.sandbox.incidents import World, world
from booking_doctor.settings import Names, Preferences
from tests.checks.schema_cases import GRANTED, SECURED, Look, a_role, advised, as_role, reached_as, run

Told = Callable[..., tuple[JSONValue, JSONValue]]

_numbers = count()

# --- privileges, policies, rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup", "seen", "outcome"),
    [
        ("", "no privilege to UPDATE metadata; it has no privilege to SELECT token", "42501"),
        (GRANTED, None, 1),
        ("GRANT SELECT (token), UPDATE (metadata) ON pending_bookings TO ROLE", None, 1),
        ("GRANT UPDATE (metadata) ON pending_bookings TO ROLE", "no privilege to SELECT token", "42501"),
        ("GRANT SELECT ON pending_bookings TO ROLE; GRANT UPDATE (status) ON pending_bookings TO ROLE", "UPDATE metadata", "42501"),
        (GRANTED + "REVOKE USAGE ON SCHEMA public FROM PUBLIC", "may not use the schema public", "42501"),
        (SECURED, "no policy lets it SELECT, so it changes 0 rows without an error; row level security is on and no policy lets it UPDATE", 0),
        (SECURED + "CREATE POLICY u ON pending_bookings FOR UPDATE USING (true)", "no policy lets it SELECT", 0),
        (SECURED + "CREATE POLICY s ON pending_bookings FOR SELECT USING (true)", "no policy lets it UPDATE", 0),
        (SECURED + "CREATE POLICY a ON pending_bookings USING (true)", None, 1),
        (SECURED + "CREATE POLICY a ON pending_bookings USING (false)", "no policy lets it SELECT", 0),
        (SECURED + "CREATE POLICY a ON pending_bookings TO CURRENT_USER USING (true)", "no policy lets it SELECT", 0),
        (
            SECURED + "CREATE POLICY s ON pending_bookings FOR SELECT USING (true);"
            " CREATE POLICY u ON pending_bookings FOR UPDATE WITH CHECK (true)",
            "no policy lets it UPDATE",
            0,
        ),
        (
            SECURED + "CREATE POLICY s ON pending_bookings FOR SELECT USING (true);"
            " CREATE POLICY u ON pending_bookings FOR UPDATE USING (true) WITH CHECK (false)",
            "no policy lets it UPDATE",
            "42501",
        ),
        (
            SECURED + "CREATE POLICY a ON pending_bookings USING (true);"
            ' CREATE POLICY "no; one" ON pending_bookings AS RESTRICTIVE USING (false)',
            'the restrictive policy "no; one" lets nothing through',
            0,
        ),
        (SECURED + "ALTER ROLE ROLE BYPASSRLS", None, 1),
        (SECURED + "ALTER TABLE pending_bookings OWNER TO ROLE", None, 1),
        (
            SECURED + "ALTER TABLE pending_bookings OWNER TO ROLE; ALTER TABLE pending_bookings FORCE ROW LEVEL SECURITY",
            "no policy lets it SELECT",
            0,
        ),
        (
            SECURED + "CREATE TABLE staff (name text);"
            " CREATE POLICY s ON pending_bookings USING (EXISTS (SELECT FROM staff WHERE name = token))",
            "the server refuses it (permission denied for table staff)",
            "42501",
        ),
        (
            SECURED + "CREATE POLICY a ON pending_bookings USING (true);"
            " CREATE POLICY r ON pending_bookings AS RESTRICTIVE FOR SELECT USING (false)",
            "the restrictive policy r lets nothing through",
            0,
        ),
        (
            SECURED + "CREATE POLICY r ON pending_bookings AS RESTRICTIVE USING (true)",
            "no policy lets it SELECT",
            0,
        ),
        (GRANTED + "CREATE RULE r AS ON UPDATE TO pending_bookings DO INSTEAD NOTHING", "by the rule r nothing is done", 0),
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
        if advised(finding) and "rule" not in seen and "(true) WITH CHECK (false)" not in setup:
            assert look("schema-update-blocked", preferences=preferences) == []
            assert as_role(scene, role, update) == 1


@pytest.mark.parametrize(
    ("setup", "seen", "outcome"),
    [
        ("", "no privilege to INSERT customer_id, direction, message_sid, body, status", "42501"),
        (GRANTED, None, 1),
        ("GRANT INSERT (customer_id, direction, body, status) ON messages TO ROLE", "INSERT message_sid", "42501"),
        (
            (
                "GRANT INSERT (customer_id, direction, message_sid, body, status, from_number, twilio_status, segments,"
                " cost_usd, twilio_message_sid) ON messages TO ROLE"
            ),
            "INSERT to_number",
            "42501",
        ),
        (
            SECURED + "CREATE TABLE staff (name text);"
            " CREATE POLICY s ON messages FOR INSERT WITH CHECK (EXISTS (SELECT FROM staff WHERE name = body))",
            "the server refuses it (permission denied for table staff)",
            "42501",
        ),
        (SECURED, "no policy lets it INSERT", "42501"),
        (SECURED + "CREATE POLICY i ON messages FOR INSERT WITH CHECK (true)", None, 1),
        (SECURED + "CREATE POLICY s ON messages FOR SELECT USING (true)", "no policy lets it INSERT", "42501"),
        (GRANTED + "CREATE RULE r AS ON INSERT TO messages DO INSTEAD NOTHING", "by the rule r nothing is done", 0),
        (
            GRANTED + "ALTER TABLE messages ALTER COLUMN id DROP IDENTITY; CREATE SEQUENCE ids;"
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
        "INSERT INTO messages (customer_id, direction, message_sid, body, status, to_number)"
        " VALUES (%s, 'outbound', 'S', '', '', '')"
    )

    found = look("schema-insert-blocked", preferences=preferences)

    assert as_role(scene, role, insert, customer) == outcome
    assert [str(seen) in finding.summary for finding in found] == ([True] if seen else [])
    for finding in found:
        assert (finding.severity, finding.subject) == (Severity.ERROR, "schema/messages")
        if sql := advised(finding):
            run(scene, sql)
            assert look("schema-insert-blocked", preferences=preferences) == []
            assert as_role(scene, role, insert, customer) == 1


def test_what_depends_on_the_row_is_a_warning(scene: World, role: str, look: Look) -> None:
    """
    Nobody can tell from the catalog which rows a policy lets through, and nobody claims it.
    """
    run(scene, SECURED + "CREATE POLICY mine ON pending_bookings USING (status = 'pending')", role)

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
            f"{SECURED} GRANT {group} TO ROLE; CREATE POLICY g ON pending_bookings TO {group} USING (true)",
            role,
        )

        assert look("schema-update-blocked", preferences=Preferences(application_role=role)) == []


def test_what_only_the_server_knows(scene: World, role: str, look: Look) -> None:
    """
    Where the catalog sees nothing wrong and EXPLAIN is refused, that counts.
    """
    run(
        scene,
        SECURED + "CREATE FUNCTION mine() RETURNS boolean STABLE LANGUAGE sql AS 'SELECT true';"
        " REVOKE EXECUTE ON FUNCTION mine() FROM PUBLIC; CREATE VIEW seen AS SELECT * FROM pending_bookings WHERE mine()",
        role,
    )
    run(scene, "GRANT SELECT, UPDATE ON seen TO ROLE", role)
    names = Names(tables={"pending_bookings": "seen"})

    (finding,) = look("schema-update-blocked", preferences=Preferences(application_role=role, names=names))

    assert "the server refuses it (permission denied for function mine)" in finding.summary


_VIEW = "CREATE VIEW seen AS SELECT * FROM pending_bookings; GRANT SELECT, UPDATE ON seen TO ROLE; "


@pytest.mark.parametrize(
    ("setup", "seen", "outcome"),
    [
        (_VIEW, None, 1),
        (_VIEW + "ALTER VIEW seen SET (security_invoker = true)", "ROLE acts: it has no privilege to UPDATE metadata", "42501"),
        (GRANTED + _VIEW + "ALTER VIEW seen SET (security_invoker = on)", None, 1),
        (SECURED + _VIEW, None, 1),
        (SECURED + _VIEW + "ALTER VIEW seen SET (security_invoker)", "ROLE acts: row level security is on and no policy lets it SELECT", 0),
        (GRANTED + _VIEW + "CREATE ROLE OTHER; ALTER VIEW seen OWNER TO OTHER", "OTHER acts: it has no privilege to UPDATE metadata", "42501"),
        (
            SECURED + "CREATE VIEW inner_ WITH (security_invoker) AS SELECT * FROM pending_bookings;"
            " CREATE VIEW seen WITH (security_invoker) AS SELECT * FROM inner_; GRANT SELECT, UPDATE ON inner_, seen TO ROLE",
            "behind the view inner_, where ROLE acts: row level security is on",
            0,
        ),
        (_VIEW + "CREATE RULE r AS ON UPDATE TO seen DO INSTEAD NOTHING", "by the rule r nothing is done instead", 0),
        ("CREATE VIEW seen AS SELECT * FROM pending_bookings WHERE false; GRANT SELECT, UPDATE ON seen TO ROLE", "it changes no row", 0),
    ],
)  # fmt: skip
def test_what_is_behind_a_view(
    scene: World, role: str, look: Look, setup: str, seen: str | None, outcome: int | str
) -> None:
    """
    Where a view stands for the table, the rights on what is behind it decide too, of whoever acts there.
    """
    other = f"other_{os.getpid()}_{next(_numbers)}"
    scene.pending_booking("+15550101001", token="tok_1")
    with a_role(scene, other, "NOLOGIN") if "OTHER" in setup else nullcontext():
        run(scene, setup.replace("CREATE ROLE OTHER; ", "").replace("OTHER", other), role)
        names = Names(tables={"pending_bookings": "seen"})

        found = look("schema-update-blocked", preferences=Preferences(application_role=role, names=names))

        assert as_role(scene, role, "UPDATE seen SET metadata = '{}' WHERE token = 'tok_1'") == outcome
        said = (seen or "").replace("ROLE", role).replace("OTHER", other)
        assert [said in finding.summary for finding in found] == ([True] if seen else [])
        assert {finding.severity for finding in found} <= {Severity.ERROR}


def test_a_view_of_several_tables(scene: World, look: Look) -> None:
    """
    What is behind a view of several tables is not claimed to be looked at; nor are its keys.
    """
    run(
        scene,
        "CREATE VIEW seen AS SELECT * FROM messages m WHERE EXISTS (SELECT FROM customers c WHERE c.id = m.customer_id)",
    )
    preferences = Preferences(names=Names(tables={"messages": "seen"}))

    (finding,) = look("schema-insert-blocked", preferences=preferences)

    assert finding.severity is Severity.WARNING
    assert "seen is a view of customers, messages, and what is there was not looked at" in finding.summary


def test_a_role_that_does_not_inherit(scene: World, role: str, look: Look) -> None:
    """
    A member that does not inherit has the rights of its group only where it takes the group's place.
    """
    with a_role(scene, f"group_{os.getpid()}_{next(_numbers)}", "NOLOGIN") as group:
        run(
            scene,
            f"ALTER ROLE ROLE NOINHERIT; GRANT {group} TO ROLE; GRANT SELECT, UPDATE ON pending_bookings TO {group}",
            role,
        )
        scene.pending_booking("+15550101001", token="tok_1")

        (own,) = look("schema-update-blocked", preferences=Preferences(application_role=role))
        as_group = look("schema-update-blocked", preferences=Preferences(application_role=group))

        assert "no privilege to UPDATE metadata" in own.summary
        assert as_role(scene, role, "UPDATE pending_bookings SET metadata = '{}' WHERE token = 'tok_1'") == "42501"
        assert as_group == []


def test_a_partitioned_table(scene: World, role: str, look: Look) -> None:
    """
    Rights and policies are those of the table that is named, not those of its partitions.
    """
    run(
        scene,
        "ALTER TABLE pending_bookings RENAME TO all_of_them; CREATE TABLE pending_bookings (LIKE all_of_them INCLUDING DEFAULTS)"
        " PARTITION BY LIST (status); CREATE TABLE rest PARTITION OF pending_bookings DEFAULT;"
        " ALTER TABLE rest ENABLE ROW LEVEL SECURITY; GRANT SELECT, UPDATE ON pending_bookings TO ROLE",
        role,
    )
    scene.pending_booking("+15550101001", token="tok_1")
    update = "UPDATE pending_bookings SET metadata = '{}' WHERE token = 'tok_1'"

    assert look("schema-update-blocked", preferences=Preferences(application_role=role)) == []
    assert as_role(scene, role, update) == 1

    run(scene, "ALTER TABLE pending_bookings ENABLE ROW LEVEL SECURITY")
    (finding,) = look("schema-update-blocked", preferences=Preferences(application_role=role))
    assert "no policy lets it SELECT" in finding.summary
    assert as_role(scene, role, update) == 0


def test_a_view_that_takes_no_update(scene: World, look: Look) -> None:
    """
    A view may stand for the table, but not one that cannot be written.
    """
    run(scene, "CREATE VIEW seen AS SELECT DISTINCT * FROM pending_bookings")

    (finding,) = look(
        "schema-update-blocked", preferences=Preferences(names=Names(tables={"pending_bookings": "seen"}))
    )

    assert "seen is a view that takes no UPDATE" in finding.summary


def test_which_role_is_meant(scene: World, role: str, look: Look, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The one that the settings name, else Supabase's, else the doctor's own, which may be another than the application's.
    Which it was, and why, is said.
    """
    # NOTE: roles belong to the whole server, which may be somebody's; Supabase's is not to be made or dropped there.
    assert access.CONVENTIONAL == "service_role"
    monkeypatch.setattr(access, "CONVENTIONAL", f"service_role_{os.getpid()}")
    run(scene, "GRANT SELECT ON pending_bookings TO ROLE", role)
    mine = reached_as(scene, role)

    (own,) = look("schema-update-blocked", DATABASE_URL=mine)
    assert own.evidence["role"] == role
    assert own.remedy.startswith("If the application uses another role, name it as application_role")
    assert told(DATABASE_URL=mine) == (role, "the connection, because the settings name none")

    monkeypatch.setattr(access, "CONVENTIONAL", role)
    (supabase,) = look("schema-update-blocked")
    assert supabase.evidence["role"] == role
    assert supabase.remedy.startswith("Run: GRANT UPDATE")
    assert told() == (role, f"Supabase: {role} exists")

    configured = Preferences(application_role=scene.rows("SELECT current_user AS me")[0]["me"])
    assert look("schema-update-blocked", preferences=configured) == []
    assert told(preferences=configured) == (configured.application_role, "the settings")


def test_no_role_is_named_that_was_not_judged(scene: World, told: Told) -> None:
    """
    Where no check asked for a role's rights, or the role is not there, none is named as judged.
    """
    assert told(chosen=("schema-homonym",)) == (None, None)
    assert told(preferences=Preferences(application_role="nobody")) == (None, None)


@pytest.fixture(name="told")
def _told(scene: World, open_doctor: Callable[..., Doctor]) -> Told:
    """
    What `check-schema` says of the role it judged, and of how that was chosen.
    """

    def told(
        *, chosen: Sequence[str] = (), preferences: Preferences = Preferences(), **variables: str
    ) -> tuple[JSONValue, JSONValue]:
        request = Request(window=Window(scene.now, scene.now), chosen=chosen)
        coverage = open_doctor(preferences, **variables).check_schema(request).coverage
        return coverage.get("application_role"), coverage.get("application_role_from")

    return told


def test_a_role_that_is_not_there(report: Callable[..., Report]) -> None:
    """
    What was to be judged by a role that does not exist was not judged.
    """
    seen = report("schema-insert-blocked", preferences=Preferences(application_role="nobody"))

    assert seen.exit_code is ExitCode.INCOMPLETE
    assert "there is no role nobody" in seen.skipped[0].reason


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


# --- settings of the role --------------------------------------------------------------------------------------------


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
    run(scene, f"ALTER ROLE ROLE SET statement_timeout = 900; ALTER DATABASE {name} SET statement_timeout = 800", role)
    run(scene, f"ALTER ROLE ROLE IN DATABASE {name} SET statement_timeout = '5s'", role)

    assert look("schema-role-setting", preferences=Preferences(application_role=role)) == []


def test_what_is_set_for_the_whole_server() -> None:
    """
    A setting of the server follows every role that has none of its own.
    """
    with embedded_postgres() as cluster, world(datetime.now(UTC), database_url=cluster.url()) as scene:
        with psycopg.connect(scene.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            connection.execute("SELECT pg_reload_conf()")
        doctor = doctor_for(tuple(scene.variable_sources()), Preferences(), Silent())
        try:
            report = doctor.check_schema(Request(window=Window(scene.now, scene.now), chosen=("schema-role-setting",)))
        finally:
            doctor.close()

    (finding,) = report.findings
    assert finding.severity is Severity.ERROR
    assert "The setting default_transaction_read_only of the server is on" in finding.summary
    assert finding.remedy == "Run: ALTER SYSTEM RESET default_transaction_read_only;"
