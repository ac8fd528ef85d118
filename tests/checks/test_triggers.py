"""
What triggers and rules do to rows, as the check tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import Severity, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Names, Preferences
from tests.checks.schema_cases import Look, advised, run


@pytest.mark.parametrize(
    ("when", "body", "seen"),
    [
        ("BEFORE UPDATE", "NEW.metadata := '{}'; RETURN NEW;", Severity.ERROR),
        ("BEFORE UPDATE OR DELETE", "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;", None),
        ("BEFORE UPDATE OF status", "NEW.metadata := '{}'; RETURN NEW;", None),
        ("BEFORE UPDATE OF metadata", "NEW.metadata := '{}'; RETURN NEW;", Severity.ERROR),
        ("BEFORE INSERT", "NEW.metadata := '{}'; RETURN NEW;", None),
        ("BEFORE UPDATE", "IF NEW.token = '' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW;", Severity.WARNING),
        ("AFTER UPDATE", "RETURN NULL;", None),
        ("AFTER UPDATE", "INSERT INTO audit_logs (action) VALUES ('metadata'); RETURN NULL;", None),
        ("AFTER UPDATE", "UPDATE public.pending_bookings SET metadata = '{}'; RETURN NULL;", Severity.ERROR),
        ("AFTER UPDATE", "UPDATE pending_bookings SET updated_at = now() WHERE id = NEW.id; RETURN NULL;", None),
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


@pytest.mark.parametrize(
    ("made", "called", "said"),
    [
        ("w() RETURNS void LANGUAGE sql AS $$UPDATE pending_bookings SET metadata = '{}'$$", "w()", "calls w, which perhaps writes pending_bookings.metadata"),
        ("w() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM pending_bookings; END", "w()", "calls w, which perhaps deletes from pending_bookings"),
        ("w() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SELECT 1'; END$$", "w()", "calls w, which runs SQL that its source does not show"),
        ("w() RETURNS int STABLE LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$", "w()", "calls w, which may raise an exception"),
        ("w() RETURNS void LANGUAGE sql AS $$UPDATE pending_bookings SET updated_at = now()$$", "w()", None),
        ("w() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'", "w()", None),
        ("w() RETURNS text LANGUAGE internal AS 'pg_backend_pid'", "w()", "calls w, which has a source that cannot be read"),
        ("w() RETURNS text LANGUAGE sql AS 'SELECT 1::text'", "pg_notify('a', upper(w()))", None),
    ],
)  # fmt: skip
def test_what_a_trigger_calls(scene: World, look: Look, made: str, called: str, said: str | None) -> None:
    """
    A function that a trigger calls is looked into, and into what that calls; a function of the server's is not.
    """
    scene.execute("CREATE FUNCTION o(x text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM NULL; RETURN x; END$$")
    scene.execute(f"CREATE FUNCTION {made}".replace(":", "\\:"))
    scene.execute("CREATE FUNCTION v() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM " + called + "; END$$")
    _trigger(scene, "AFTER UPDATE ON pending_bookings", "PERFORM o('x'), public.v(); RETURN NULL;")

    found = look("schema-trigger-interferes")

    assert [str(said) in finding.summary for finding in found] == ([True] if said else [])
    assert {finding.severity for finding in found} <= {Severity.WARNING}


@pytest.mark.parametrize(
    ("on", "body", "said"),
    [
        ("AFTER INSERT ON customers", "UPDATE pending_bookings SET metadata = '{}' WHERE customer_phone = NEW.phone; RETURN NULL;", "the trigger t on customers perhaps writes pending_bookings.metadata again"),
        ("AFTER INSERT ON messages", "UPDATE pending_bookings SET metadata = '{}'; RETURN NULL;", "the trigger t perhaps writes pending_bookings.metadata again"),
        ("AFTER INSERT ON customers", "PERFORM v(); RETURN NULL;", "the trigger t on customers perhaps writes pending_bookings.metadata again"),
        ("AFTER INSERT ON customers", "UPDATE pending_bookings SET status = 'confirmed'; RETURN NULL;", None),
        ("AFTER INSERT ON customers", "PERFORM metadata FROM pending_bookings; RETURN NULL;", None),
        ("BEFORE UPDATE ON customers", "NEW.metadata := '{}'; RETURN NEW;", None),
    ],
)  # fmt: skip
def test_triggers_that_reach_over(scene: World, look: Look, on: str, body: str, said: str | None) -> None:
    """
    A trigger of another table that writes the metadata, or calls what does, may do it at any time.
    """
    scene.execute("CREATE FUNCTION w() RETURNS void LANGUAGE sql AS $$UPDATE pending_bookings SET metadata = '{}'$$")
    scene.execute("CREATE FUNCTION v() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM w(); END$$")
    _trigger(scene, on, body)

    found = look("schema-trigger-interferes")

    assert [str(said) in finding.summary for finding in found] == ([True] if said else [])
    assert {finding.severity for finding in found} <= {Severity.WARNING}
    for finding in found:
        run(scene, advised(finding))
        assert look("schema-trigger-interferes") == []


@pytest.mark.parametrize(
    ("condition", "seen"),
    [
        ("OLD.metadata IS DISTINCT FROM NEW.metadata", Severity.ERROR),
        ("OLD.* IS DISTINCT FROM NEW.*", Severity.ERROR),
        ("NEW.status = 'it''s) EXECUTE FUNCTION'", Severity.WARNING),
        ("NEW.metadata IS NULL", None),
        ("pg_trigger_depth() = 0", Severity.WARNING),
    ],
)
def test_when_a_trigger_fires(scene: World, look: Look, condition: str, seen: Severity | None) -> None:
    """
    What a trigger asks before it fires is part of what it does.
    """
    _trigger(scene, "BEFORE UPDATE ON pending_bookings", "NEW.metadata := '{}'; RETURN NEW;", f"WHEN ({condition})")

    found = look("schema-trigger-interferes")

    assert [finding.severity for finding in found] == ([seen] if seen else [])


def test_a_trigger_of_another_table(scene: World, look: Look) -> None:
    """
    A function that sets a column which this table lacks refuses every row, whatever the column is about.
    """
    _trigger(scene, "BEFORE UPDATE ON pending_bookings", "NEW.modified := now(); RETURN NEW;")
    scene.pending_booking("+15550101001", token="tok_1")

    (finding,) = look("schema-trigger-interferes")

    assert "refuses the row with an exception" in finding.summary
    with pytest.raises(psycopg.errors.UndefinedColumn):
        run(scene, "UPDATE pending_bookings SET metadata = '{}'")


def test_a_view_with_its_own_way_to_write(scene: World, look: Look) -> None:
    """
    Where a trigger writes in place of a view, nobody claims to know what it stores.
    """
    run(scene, "CREATE VIEW texts AS SELECT * FROM messages")
    _trigger(scene, "INSTEAD OF INSERT ON texts", "INSERT INTO messages SELECT NEW.*; RETURN NEW;")

    (finding,) = look("schema-trigger-interferes", preferences=Preferences(names=Names(tables={"messages": "texts"})))

    assert finding.severity is Severity.WARNING
    assert "the trigger t does the writing in place of the view" in finding.summary


def test_a_partitions_own_trigger(scene: World, look: Look) -> None:
    """
    A trigger on one partition only is found too; one that all have is told once.
    """
    run(
        scene,
        "DROP TABLE messages; CREATE TABLE messages (id bigint GENERATED ALWAYS AS IDENTITY, customer_id uuid,"
        " direction text, message_sid text, twilio_message_sid text, body text, status text, twilio_status text,"
        " from_number text, to_number text, segments int, cost_usd numeric, created_at timestamptz) PARTITION BY LIST (direction);"
        " CREATE TABLE received PARTITION OF messages FOR VALUES IN ('inbound');"
        " CREATE TABLE sent PARTITION OF messages FOR VALUES IN ('outbound')",
    )
    body = "IF TG_TABLE_NAME = 'messages' THEN RETURN NEW; END IF; RETURN NULL;"
    _trigger(scene, "BEFORE INSERT ON received", body)
    (one,) = look("schema-trigger-interferes")
    run(scene, "CREATE TRIGGER all_of_them BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION f()")
    (both,) = look("schema-trigger-interferes")

    assert "the trigger t may drop the row" in one.summary
    assert both.summary.count("all_of_them") == 1


def _trigger(scene: World, on: str, body: str, fires: str = "") -> None:
    scene.execute(f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$".replace(":", "\\:"))
    scene.execute(f"CREATE TRIGGER t {on} FOR EACH ROW {fires} EXECUTE FUNCTION f()")


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

    assert "the rule again writes messages.status again" in finding.summary
    scene.execute(advised(finding))
    assert look("schema-trigger-interferes") == []


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
    other = open_doctor().check_schema(Request(window=window))
    scene.execute("CREATE SCHEMA supabase_functions")
    scene.execute("ALTER FUNCTION http_request SET SCHEMA supabase_functions")
    calm = open_doctor().check_schema(Request(window=window))
    assert "schema-trigger-interferes" in {finding.name for finding in other.findings}
    assert "schema-trigger-interferes" not in {finding.name for finding in calm.findings}
