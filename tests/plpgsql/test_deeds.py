"""
What is said of a trigger's function, held against what the server does with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from booking_doctor.plpgsql.deeds import Deed, deeds
from booking_doctor.plpgsql.values import Occasion

KEPT = {
    "pending_bookings": frozenset({"metadata"}),
    "messages": frozenset({"direction", "message_sid", "body", "status", "to_number", "segments"}),
}
_WRITTEN = '{"initial_sms": {"message_sid": "SM1"}, "source": "web"}'
_MESSAGES = (
    {"direction": "outbound", "message_sid": "SM1", "body": "See you", "status": "queued", "to_number": "+15550101001"},
    {"direction": "inbound", "message_sid": "SM2", "body": "", "status": "received", "to_number": "+15550101002"},
)


@pytest.fixture(scope="module", name="connection")
def _connection(server_url: str, template: str) -> Iterator[psycopg.Connection]:
    """
    A database with two pending bookings and a customer. Whatever is done to it is rolled back.
    """
    name = f"booking_doctor_{os.getpid()}_deeds"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            with psycopg.connect(server_url, dbname=name) as connection:
                connection.execute("INSERT INTO customers (id, phone) VALUES (gen_random_uuid(), '+15550101001')")
                connection.execute(
                    "INSERT INTO pending_bookings (token, customer_phone, status) VALUES ('tok_1', '+1', 'pending'),"
                    " ('tok_2', '+2', 'confirmed')"
                )
                connection.commit()
                yield connection
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def told(when: str, body: str, condition: str = "") -> list[Deed]:
    """
    What is said of the function.
    """
    event = "INSERT" if "INSERT" in when else "UPDATE"
    table = "messages" if event == "INSERT" else "pending_bookings"
    row = "STATEMENT" not in when
    occasion = Occasion(
        event=event,
        table=table,
        kept=KEPT[table],
        present=frozenset({"metadata", "direction", "message_sid", "to_number"}) & KEPT[table],
        returned=row and "BEFORE" in when,
        stored="AFTER" in when or event == "UPDATE",
        key="initial_sms",
        columns=COLUMNS[table],
        each_row=row,
    )
    return deeds(body, occasion, KEPT, condition)


COLUMNS = {
    "pending_bookings": frozenset({"id", "token", "status", "metadata", "created_at", "updated_at", "customer_phone"}),
    "messages": frozenset({*KEPT["messages"], "id", "customer_id", "read_at", "cost_usd", "created_at", "from_number"}),
}


def effects(connection: psycopg.Connection, when: str, body: str, condition: str = "") -> set[str]:
    """
    What really becomes of several rows: each is kept, changed, dropped or refused.
    """
    table = "messages" if "INSERT" in when else "pending_bookings"
    level = "STATEMENT" if "STATEMENT" in when else "ROW"
    connection.execute(f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $body${body}$body$")
    fires = f"WHEN ({condition})" if condition else ""
    moment = when.removesuffix(" STATEMENT")
    connection.execute(f"CREATE TRIGGER t {moment} ON {table} FOR EACH {level} {fires} EXECUTE FUNCTION f()")
    try:
        return set(_insertions(connection) if table == "messages" else _updates(connection))
    finally:
        connection.rollback()


def _updates(connection: psycopg.Connection) -> Iterator[str]:
    for token in ("tok_1", "tok_2"):
        yield _effect(
            connection,
            "UPDATE pending_bookings SET metadata = %s WHERE token = %s",
            (_WRITTEN, token),
            "SELECT metadata = %s FROM pending_bookings WHERE token = %s",
        )


def _insertions(connection: psycopg.Connection) -> Iterator[str]:
    for row in _MESSAGES:
        columns, values = ", ".join(row), tuple(row.values())
        yield _effect(
            connection,
            f"INSERT INTO messages ({columns}, customer_id) SELECT %s, %s, %s, %s, %s, id FROM customers",
            values,
            f"SELECT ({columns}) = (%s, %s, %s, %s, %s) AND segments IS NULL FROM messages ORDER BY id DESC LIMIT 1",
        )


def _effect(connection: psycopg.Connection, write: str, values: tuple[str, ...], stored: str) -> str:
    try:
        with connection.transaction(force_rollback=True):
            if not connection.execute(write, values).rowcount:
                return "dropped"
            row = connection.execute(stored, values).fetchone()
            return "kept" if row and row[0] else "changed"
    except psycopg.errors.SyntaxError:  # the test's own mistake
        raise
    except psycopg.Error:
        return "refused"


CERTAIN, PERHAPS, NOTHING = "certain", "perhaps", "nothing"
UPDATE, INSERT, AFTER, AFTER_INSERT = "BEFORE UPDATE", "BEFORE INSERT", "AFTER UPDATE", "AFTER INSERT"

JUDGED: list[tuple[str, str, str]] = [
    # assigned
    (UPDATE, "BEGIN NEW.metadata := '{}'; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN new . \"metadata\" = '{}'; RETURN NEW; END;", CERTAIN),
    (UPDATE, "BEGIN NEW.metadata['initial_sms'] := 'null'; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN NEW.metadata['seen'] := 'true'; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN NEW.metadata := OLD.metadata; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN NEW.metadata := OLD.metadata || NEW.metadata; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN NEW.metadata := NEW.metadata - 'initial_sms'; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN NEW.metadata := (NEW.metadata); RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN NEW.metadata := coalesce(NEW.metadata, '{}'::jsonb); RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN NEW.metadata := coalesce(nullif(NEW.metadata, '{}'), OLD.metadata); RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN NEW.metadata := NULL::jsonb; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN NEW.metadata := to_jsonb(NEW.token); RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN NEW.updated_at = now(); RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN NEW.modified_at = now(); RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN IF NEW.amount > 0 THEN NULL; END IF; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN SELECT '{}' INTO NEW.metadata; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN SELECT INTO STRICT NEW.metadata '{}'; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN SELECT jsonb_object_agg(token, 1) INTO NEW.metadata FROM pending_bookings; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN SELECT jsonb_object_agg(k, v) INTO NEW.metadata FROM jsonb_each(NEW.metadata) AS e(k, v); RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN EXECUTE 'SELECT $1' INTO NEW.metadata USING OLD.metadata; RETURN NEW; END", PERHAPS),
    (UPDATE, "DECLARE n int; BEGIN GET DIAGNOSTICS n = ROW_COUNT; RETURN NEW; END", NOTHING),
    # the whole row
    (UPDATE, "BEGIN NEW := OLD; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN NEW = jsonb_populate_record(NEW, '{\"metadata\": {}}'); RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN NEW = jsonb_populate_record(NEW, jsonb_build_object('metadata', '{}'::jsonb)); RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN NEW = jsonb_populate_record(NEW, '{\"customer_name\": \"x\"}'); RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN RETURN jsonb_populate_record(NEW, jsonb_build_object('updated_at', now())); END", NOTHING),
    (UPDATE, "BEGIN NEW = jsonb_populate_record(NEW, to_jsonb(OLD)); RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN NEW = jsonb_populate_record(NULL::pending_bookings, to_jsonb(NEW)); RETURN NEW; END", PERHAPS),
    (UPDATE, "DECLARE r pending_bookings; BEGIN r := NEW; r.metadata := '{}'; RETURN r; END", CERTAIN),
    (UPDATE, "DECLARE r pending_bookings%ROWTYPE := NEW; BEGIN r.updated_at := now(); RETURN r; END", NOTHING),
    (UPDATE, "DECLARE r record; BEGIN r := NEW; NEW.metadata := '{}'; RETURN r; END", NOTHING),
    (UPDATE, "DECLARE r record; BEGIN SELECT * INTO r FROM pending_bookings WHERE id = NEW.id; RETURN r; END", PERHAPS),
    (UPDATE, "DECLARE r record; BEGIN SELECT NEW.* INTO r; RETURN r; END", NOTHING),
    (UPDATE, "DECLARE r record; BEGIN r := NEW; IF r IS NULL THEN RETURN NULL; END IF; RETURN NEW; END", NOTHING),
    (UPDATE, "DECLARE r pending_bookings; m jsonb; BEGIN r.metadata := m; IF r IS NULL THEN RETURN NULL; END IF; RETURN NEW; END", PERHAPS),
    (UPDATE, "DECLARE m jsonb := NEW.metadata; BEGIN NEW.metadata := '{}'; NEW.metadata := m; RETURN NEW; END", NOTHING),
    (UPDATE, "DECLARE m jsonb; BEGIN NEW.metadata := m; RETURN NEW; END", CERTAIN),
    (UPDATE, "<<f>> DECLARE m jsonb := '{}'; BEGIN NEW.metadata := f.m; RETURN NEW; END", CERTAIN),
    # what it returns
    (UPDATE, "BEGIN RETURN OLD; END", CERTAIN),
    (UPDATE, "BEGIN RETURN NULL; END", CERTAIN),
    (UPDATE, "BEGIN RETURN COALESCE(NEW, OLD); END", NOTHING),
    (UPDATE, "BEGIN RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END; END", NOTHING),
    (UPDATE, "BEGIN RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END", PERHAPS),
    (UPDATE, "BEGIN IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN IF TG_OP IN ('INSERT', 'UPDATE') THEN RETURN NEW; END IF; RETURN OLD; END", NOTHING),
    (UPDATE, "BEGIN IF TG_OP <> 'DELETE' AND TG_TABLE_NAME = 'pending_bookings' THEN RETURN NULL; ELSE RETURN NEW; END IF; END", CERTAIN),
    (UPDATE, "BEGIN CASE WHEN TG_OP = 'UPDATE' THEN RETURN NEW; END CASE; END", NOTHING),
    (UPDATE, "BEGIN NEW.updated_at := now(); END", CERTAIN),
    # some rows
    (UPDATE, "BEGIN IF true THEN NEW.metadata = '{}'; END IF; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN IF NEW.status = 'confirmed' THEN NEW.metadata := '{}'; END IF; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN IF NEW.status = 'x' THEN NEW.metadata := '{}'; ELSIF true THEN RETURN NULL; END IF; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN IF NEW.metadata IS NULL THEN NEW.metadata := '{}'; END IF; RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN IF NEW.metadata IS NOT NULL THEN NEW.metadata := '{}'; END IF; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN IF NEW.metadata IS DISTINCT FROM OLD.metadata THEN NEW.metadata := OLD.metadata; END IF; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN IF NEW.metadata <> '{}' THEN NEW.metadata := '{}'; END IF; RETURN NEW; END", CERTAIN),
    (UPDATE, "BEGIN IF NEW.metadata = '{}'::jsonb THEN NEW.metadata := OLD.metadata; END IF; RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN IF OLD.metadata = '{}' THEN NEW.metadata := OLD.metadata; END IF; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN IF NEW = OLD THEN RETURN NULL; END IF; RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN IF NEW IS NOT DISTINCT FROM OLD THEN RETURN NULL; END IF; RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN IF NEW.metadata = '{}' THEN NEW.updated_at := now(); END IF; RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN IF NOT (NEW.metadata ? 'initial_sms') THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN IF NEW.token = '' THEN RAISE 'no'; END IF; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN RAISE EXCEPTION 'frozen'; END", CERTAIN),
    (UPDATE, "BEGIN RAISE NOTICE 'RETURN NULL; NEW.metadata :='; RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN ASSERT NEW.token <> ''; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN CASE NEW.status WHEN 'pending', 'confirmed' THEN NULL; END CASE; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN BEGIN NEW.metadata := '{}'; RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN NEW; END", PERHAPS),
    (UPDATE, "BEGIN BEGIN RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN RETURN NULL; END; RETURN NEW; END", CERTAIN),
    (UPDATE, "DECLARE i int; BEGIN FOR i IN 1..2 LOOP EXIT WHEN i = 1; NEW.metadata := '{}'; END LOOP; RETURN NEW; END", PERHAPS),
    (UPDATE, "DECLARE m jsonb := NEW.metadata; BEGIN WHILE m <> '{}' LOOP m := '{}'; CONTINUE; END LOOP; NEW.metadata := m; RETURN NEW; END", PERHAPS),
    (UPDATE, "DECLARE k text; BEGIN FOREACH k IN ARRAY ARRAY['a'] LOOP NEW.updated_at := now(); END LOOP; RETURN NEW; END", NOTHING),
    # what only looks like it
    (UPDATE, "BEGIN -- NEW.metadata := '{}';\n/* RETURN NULL; /* nested */ RETURN NULL; */ RETURN NEW; END", NOTHING),
    (UPDATE, "#variable_conflict use_column\nDECLARE s text := E'it\\'s $x$ RETURN NULL; $x$'; t text := $q$ NEW.metadata := '{}'; $q$; BEGIN RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN INSERT INTO audit_logs (action) VALUES ('metadata'); RETURN NEW; END", NOTHING),
    (UPDATE, "BEGIN <<outer>> LOOP EXIT outer; END LOOP; RETURN NEW; END", PERHAPS),
    # messages
    (INSERT, "BEGIN NEW.status := 'delivered'; RETURN NEW; END", CERTAIN),
    (INSERT, "BEGIN NEW.status := lower(NEW.status); RETURN NEW; END", PERHAPS),
    (INSERT, "BEGIN NEW.status := NEW.direction; RETURN NEW; END", CERTAIN),
    (INSERT, "BEGIN NEW.status := left(NEW.direction, 3); RETURN NEW; END", CERTAIN),
    (INSERT, "BEGIN NEW.segments := coalesce(NEW.segments, 1); RETURN NEW; END", PERHAPS),
    (INSERT, "BEGIN NEW.to_number := coalesce(NEW.to_number, 'x'); RETURN NEW; END", NOTHING),
    (INSERT, "BEGIN IF NEW.direction = 'inbound' THEN RETURN NULL; END IF; RETURN NEW; END", PERHAPS),
    (INSERT, "BEGIN RETURN OLD; END", CERTAIN),
    (INSERT, "BEGIN IF OLD IS NULL THEN RETURN NEW; END IF; RETURN NULL; END", NOTHING),
    (INSERT, "BEGIN UPDATE messages SET status = 'x' WHERE id = NEW.id; RETURN NEW; END", PERHAPS),
    (INSERT, "DECLARE n int; BEGIN SELECT count(*) INTO n FROM messages WHERE message_sid = NEW.message_sid; IF n > 0 THEN RETURN NULL; END IF; RETURN NEW; END", PERHAPS),
    # afterwards
    (AFTER, "BEGIN RETURN NULL; END", NOTHING),
    (AFTER, "BEGIN NEW.metadata := '{}'; RETURN NEW; END", NOTHING),
    (AFTER, "BEGIN INSERT INTO audit_logs (action) VALUES ('metadata'); RETURN NULL; END", NOTHING),
    (AFTER_INSERT, "BEGIN UPDATE public.messages SET status = 'sent', body = 'x' WHERE id = NEW.id; RETURN NULL; END", CERTAIN),
    (AFTER_INSERT, "BEGIN UPDATE messages m SET status = 'sent' WHERE (m.id = NEW.id); RETURN NULL; END", CERTAIN),
    (AFTER_INSERT, "BEGIN UPDATE messages SET (read_at, status) = (now(), 'sent'); RETURN NULL; END", CERTAIN),
    (AFTER_INSERT, "BEGIN UPDATE messages SET status = 'sent' WHERE id <> NEW.id; RETURN NULL; END", PERHAPS),
    (AFTER_INSERT, "BEGIN UPDATE messages SET status = 'sent' WHERE id = NEW.id AND direction = 'inbound'; RETURN NULL; END", PERHAPS),
    (AFTER_INSERT, "BEGIN UPDATE messages SET body = body || NEW.body WHERE id = NEW.id; RETURN NULL; END", PERHAPS),
    (AFTER_INSERT, "BEGIN UPDATE messages SET read_at = now() WHERE id = NEW.id; RETURN NULL; END", NOTHING),
    (AFTER_INSERT, "BEGIN IF NEW.direction = 'inbound' THEN RETURN NULL; END IF; DELETE FROM messages; RETURN NULL; END", PERHAPS),
    (AFTER_INSERT, 'BEGIN DELETE FROM ONLY "messages" WHERE id = NEW.id; RETURN NULL; END', CERTAIN),
    (AFTER_INSERT, "BEGIN DELETE FROM messages_old; RETURN NULL; EXCEPTION WHEN undefined_table THEN RETURN NULL; END", NOTHING),
    (AFTER_INSERT, "BEGIN WITH gone AS (DELETE FROM messages WHERE id = NEW.id RETURNING id) INSERT INTO audit_logs (action) SELECT id::text FROM gone; RETURN NULL; END", CERTAIN),
    (AFTER_INSERT, "BEGIN TRUNCATE messages; RETURN NULL; END", CERTAIN),
    (AFTER_INSERT, "BEGIN EXECUTE 'DELETE FROM messages'; RETURN NULL; END", PERHAPS),
    (AFTER_INSERT, "BEGIN INSERT INTO messages (id, customer_id, direction) OVERRIDING SYSTEM VALUE VALUES (NEW.id, NEW.customer_id, 'x') ON CONFLICT (id) DO UPDATE SET status = 'x'; RETURN NULL; END", PERHAPS),
    (AFTER_INSERT, "BEGIN PERFORM id FROM messages FOR UPDATE; RETURN NULL; END", NOTHING),
    (AFTER_INSERT, "BEGIN RAISE EXCEPTION 'no'; END", CERTAIN),
    (AFTER_INSERT, "BEGIN IF NEW.direction = 'inbound' THEN RAISE EXCEPTION 'no'; END IF; RETURN NULL; END", PERHAPS),
    ("AFTER INSERT STATEMENT", "BEGIN DELETE FROM messages; RETURN NULL; END", CERTAIN),
    ("AFTER INSERT STATEMENT", "BEGIN NULL; RETURN NULL; END", NOTHING),
    ("AFTER INSERT STATEMENT", "BEGIN IF NEW IS NULL THEN DELETE FROM messages; END IF; RETURN NULL; END", CERTAIN),
]  # fmt: skip


def judgement(said: list[Deed]) -> str:
    """
    The gravest of what is said.
    """
    if any(deed.certain for deed in said):
        return CERTAIN
    return PERHAPS if said else NOTHING


@pytest.mark.parametrize(("when", "body", "expected"), JUDGED)
def test_what_is_said_holds(connection: psycopg.Connection, when: str, body: str, expected: str) -> None:
    """
    What is certain happens to every row, and where nothing is said every row is stored as it was written.
    """
    said = told(when, body)

    assert judgement(said) == expected, said
    happened = effects(connection, when, body)
    if expected == CERTAIN:
        assert "kept" not in happened
    elif expected == NOTHING:
        assert happened == {"kept"}


# --- any function ----------------------------------------------------------------------------------------------------

_EXPRESSIONS = st.recursive(
    st.sampled_from(["NEW.metadata", "OLD.metadata", "'{}'::jsonb", "'{\"a\": 1}'", "m", "r.metadata", "NULL", "to_jsonb(NEW.token)"]),
    lambda inner: st.one_of(
        st.builds("coalesce({}, {}, '[]'::jsonb)".format, inner, inner),
        st.builds("({})::jsonb || '{{}}'".format, inner),
        st.builds("CASE WHEN NEW.status = 'pending' THEN ({})::jsonb ELSE {} END".format, inner, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=3,
)  # fmt: skip
_ROWS = st.sampled_from(
    [
        *("NEW", "OLD", "r", "coalesce(NEW, OLD)", "(NEW)"),
        *(
            "jsonb_populate_record(NEW, '{\"metadata\": {}}')",
            "jsonb_populate_record(r, jsonb_build_object('metadata', m))",
        ),
        *("jsonb_populate_record(NULL::pending_bookings, to_jsonb(NEW))", "CASE WHEN m IS NULL THEN NEW ELSE OLD END"),
    ]
)
_CONDITIONS = st.recursive(
    st.sampled_from(
        [
            *("true", "false", "NEW.status = 'pending'", "TG_OP = 'UPDATE'", "TG_OP IN ('INSERT', 'DELETE')"),
            *(
                "NEW.metadata IS NULL",
                "m IS NOT NULL",
                "NEW.metadata = '{}'",
                "'{}'::jsonb <> m",
                "OLD.metadata = '{}'",
                "NEW.metadata IS DISTINCT FROM OLD.metadata",
                "r IS NULL",
            ),
            *(
                "NEW = OLD",
                "NEW.token = 'tok_1'",
                "'x' <> TG_TABLE_NAME",
                "r.metadata = OLD.metadata",
                "NEW IS NOT NULL",
            ),
        ]
    ),
    lambda inner: st.one_of(
        st.builds("NOT ({})".format, inner),
        st.builds("{} AND {}".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
    ),
    max_leaves=3,
)
_SIMPLE = st.one_of(
    st.builds("{} := {};".format, st.sampled_from(["NEW.metadata", "m", "r.metadata"]), _EXPRESSIONS),
    st.builds("{} = {};".format, st.sampled_from(["NEW", "r"]), _ROWS),
    st.builds("SELECT {} INTO {};".format, _EXPRESSIONS, st.sampled_from(["NEW.metadata", "m", "r.metadata"])),
    st.builds("SELECT metadata INTO {} FROM pending_bookings ORDER BY id LIMIT 1;".format, st.sampled_from(["m", "NEW.metadata"])),
    st.builds("RETURN {};".format, st.one_of(_ROWS, st.just("NULL"))),
    st.just("RAISE EXCEPTION 'no';"),
    st.just("NEW.updated_at := now();"),
    st.just("UPDATE customers SET phone = phone;"),
)  # fmt: skip


def _in_sequence(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, min_size=1, max_size=3).map(" ".join)


_STATEMENTS = st.recursive(
    _SIMPLE,
    lambda inner: st.one_of(
        st.builds("IF {} THEN {} ELSE {} END IF;".format, _CONDITIONS, _in_sequence(inner), _in_sequence(inner)),
        st.builds("IF {} THEN {} ELSIF {} THEN {} END IF;".format, _CONDITIONS, inner, _CONDITIONS, inner),
        st.builds("CASE WHEN {} THEN {} ELSE NULL; END CASE;".format, _CONDITIONS, _in_sequence(inner)),
        st.builds("FOR i IN 1..2 LOOP {} EXIT WHEN {}; {} END LOOP;".format, inner, _CONDITIONS, inner),
        st.builds("BEGIN {} EXCEPTION WHEN OTHERS THEN {} END;".format, _in_sequence(inner), inner),
        st.builds("DECLARE m jsonb := {}; BEGIN {} END;".format, _EXPRESSIONS, _in_sequence(inner)),
    ),
    max_leaves=6,
)
_WHEN = (
    *("old.metadata IS DISTINCT FROM new.metadata", "old.* IS DISTINCT FROM new.*", "new.status = 'pending'"),
    *("new.metadata = old.metadata", "pg_trigger_depth() = 0"),
)
_BODIES = st.builds(
    "DECLARE m jsonb; r pending_bookings; BEGIN {} RETURN {}; END".format, _in_sequence(_STATEMENTS), _ROWS
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_BODIES, condition=st.one_of(st.just(""), st.sampled_from(_WHEN)))
def test_whatever_it_is_made_of(connection: psycopg.Connection, body: str, condition: str) -> None:
    """
    No function of ordinary statements is called fine that changes a row, or certain to change rows that it keeps.
    """
    said = judgement(told(UPDATE, body, condition))

    happened = effects(connection, UPDATE, body, condition)
    assert not (said == CERTAIN and "kept" in happened)
    assert not (said == NOTHING and happened != {"kept"})
