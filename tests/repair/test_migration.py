"""
Migrations on a real PostgreSQL: what is run, what is refused, what stands when others are in the way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import psycopg
import pytest

from booking_doctor.adapters.structure import keeps_session
from booking_doctor.errors import PartlyApplied, PlanRefused
from booking_doctor.repair.structure import Verb
from booking_doctor.settings import Names
from tests.memory import sid
from tests.repair.cases import CUSTOMER, PHONE, AfterTheFirstBatch, run_sql
from tests.repair.migrating import Site, busy, open_site
from tests.repair.pooler import pooled
from tests.repair.test_interruptions import until

RESTORING = ["add-check", "validate", "set-not-null", "drop-check"]
REQUIRED = "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'messages'::regclass AND attname = 'customer_id'"
CHECKS = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'c' AND starts_with(conname, 'booking')"
INDEXES = """
    SELECT indexrelid::regclass::text AS name, indisvalid AS valid, pg_get_expr(indpred, indrelid) AS only FROM pg_index
    WHERE indrelid = 'messages'::regclass AND indisunique AND NOT indisprimary ORDER BY 1
"""
INVALID = {"name": "left_behind", "valid": False, "only": None}


@pytest.fixture(name="site")
def _site(database_url: str) -> Iterator[Site]:
    run_sql(database_url, f"INSERT INTO customers (id, phone) VALUES ('{CUSTOMER}', '{PHONE}')")
    with open_site(database_url) as site:
        yield site


def record(site: Site, number: int | None, customer: str | None = CUSTOMER, **values: object) -> str:
    """
    A row; its id.
    """
    row = {"customer_id": customer, "direction": "outbound", "message_sid": sid(number) if number else None, **values}
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    statement = f"INSERT INTO messages ({names}) VALUES ({places}) RETURNING id::text AS id"
    return str(run_sql(site.url, statement, **row)[0]["id"])


def required(site: Site) -> bool:
    """
    Whether the customer may not be null.
    """
    return bool(run_sql(site.url, REQUIRED)[0]["attnotnull"])


def leave_invalid(site: Site, name: str = "left_behind") -> None:
    """
    Somebody tried to build the index while there were duplicates, and removed those afterwards.
    """
    first, second = record(site, 900), record(site, 900)
    with psycopg.connect(site.url, autocommit=True) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON messages (message_sid)")
    run_sql(site.url, f"DELETE FROM messages WHERE id IN ({first}, {second})")


# --- each verb -------------------------------------------------------------------------------------------------------


def test_relax(site: Site) -> None:
    """
    A required customer becomes optional, once; the way back makes it required again.
    """
    assert site.todo(Verb.RELAX) == ["drop-not-null"]
    assert site.apply(Verb.RELAX) == ["drop-not-null"]
    record(site, 1, None)
    assert site.todo(Verb.RELAX) == []
    assert site.apply(Verb.RELAX, "run-2") == []

    run_sql(site.url, "DELETE FROM messages")
    assert site.undo() == RESTORING
    assert required(site)
    assert [(run.id, run.command, run.applied, run.undone) for run in site.runs()] == [("run-1", "migrate relax", 1, 1)]


def test_restore(site: Site) -> None:
    """
    An optional customer becomes required in four transactions, none of which is left over; the way back makes it optional.
    """
    assert site.todo(Verb.RESTORE) == []
    run_sql(site.url, "ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    record(site, 1)

    assert site.todo(Verb.RESTORE) == RESTORING
    assert site.apply(Verb.RESTORE) == RESTORING
    assert required(site)
    assert run_sql(site.url, CHECKS) == []
    assert site.todo(Verb.RESTORE) == []
    assert site.undo() == ["drop-not-null"]
    assert not required(site)
    assert [(run.applied, run.undone) for run in site.runs()] == [(4, 4)]


def test_restore_reads_no_row_under_the_strong_lock(site: Site) -> None:
    """
    PostgreSQL itself says that SET NOT NULL need not look, because the check has proven it.
    """
    run_sql(site.url, "ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    statements = site.wanted(Verb.RESTORE).goal(site.structure.catalog())
    said: list[str] = []
    with psycopg.connect(site.url) as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        connection.execute("SET client_min_messages = debug1")
        for statement in statements:
            said.append(str(statement.kind))
            connection.execute(statement.sql.encode())
            connection.commit()

    looked = {kind: line for kind, line in pairwise(said) if line.startswith(("verifying", "existing"))}
    assert "sufficient to prove that it does not contain nulls" in looked["set-not-null"]
    assert [kind for kind, line in looked.items() if line.startswith("verifying")] in ([], ["validate"])


def test_guard(site: Site) -> None:
    """
    The index is built where nothing equivalent is there: an index on more columns, or on some rows, is not.
    """
    record(site, 1)
    record(site, None)
    record(site, None)
    run_sql(site.url, "CREATE UNIQUE INDEX two ON messages (message_sid, direction)")
    run_sql(site.url, "CREATE UNIQUE INDEX part ON messages (message_sid) WHERE direction = 'inbound'")
    assert site.todo(Verb.GUARD) == ["create-index"]

    assert site.apply(Verb.GUARD) == ["create-index"]

    assert {"name": "messages_message_sid_unique", "valid": True, "only": None} in run_sql(site.url, INDEXES)
    assert site.todo(Verb.GUARD) == []
    assert site.undo() == ["drop-index"]
    assert [row["name"] for row in run_sql(site.url, INDEXES)] == ["part", "two"]
    assert [(run.command, run.applied, run.undone) for run in site.runs()] == [("migrate guard", 1, 1)]


@pytest.mark.parametrize("only", ["", "WHERE message_sid IS NOT NULL", "WHERE message_sid <> ''"])
def test_guarded_already(site: Site, only: str) -> None:
    """
    An index that leaves out nothing but rows without SID is enough.
    """
    run_sql(site.url, f"CREATE UNIQUE INDEX there ON messages (message_sid) {only}")

    assert site.todo(Verb.GUARD) == []
    assert site.apply(Verb.GUARD) == []
    assert site.runs() == []


def test_guard_where_some_sids_are_empty(site: Site) -> None:
    """
    Careless code leaves empty SIDs behind, and goes on doing so: the index leaves those out, and counts as one.
    """
    record(site, None, message_sid="")

    site.apply(Verb.GUARD)
    record(site, None, message_sid="")
    record(site, 1)

    assert [row["only"] for row in run_sql(site.url, INDEXES)] == ["(message_sid <> ''::text)"]
    assert site.todo(Verb.GUARD) == []
    with pytest.raises(psycopg.errors.UniqueViolation):
        record(site, 1)


def test_the_name_is_taken(site: Site) -> None:
    """
    Whatever has the new index's name keeps it.
    """
    run_sql(site.url, "CREATE VIEW messages_message_sid_unique AS SELECT 1")

    site.apply(Verb.GUARD)

    assert [row["name"] for row in run_sql(site.url, INDEXES)] == ["messages_message_sid_unique_2"]


def test_an_invalid_index_is_rebuilt(site: Site) -> None:
    """
    An index that was left behind protects nothing: it goes, and a whole one comes.
    """
    leave_invalid(site)
    assert run_sql(site.url, INDEXES) == [INVALID]

    assert site.todo(Verb.GUARD) == ["drop-index", "create-index"]
    assert site.apply(Verb.GUARD) == ["drop-index", "create-index"]
    assert [(row["name"], row["valid"]) for row in run_sql(site.url, INDEXES)] == [
        ("messages_message_sid_unique", True)
    ]


def test_hostile_names(database_url: str) -> None:
    """
    Names from the mapping are names, whatever they look like.
    """
    table, column, number = 'Sms"; DROP TABLE customers; --', "who's %s :it\n", "sid) ; SELECT (1"
    quoted = [f'"{name}"' for name in (table.replace('"', '""'), column, number)]
    run_sql(
        database_url,
        f"ALTER TABLE messages RENAME TO {quoted[0]}".replace("%", "%%"),
        f"ALTER TABLE {quoted[0]} RENAME customer_id TO {quoted[1]}".replace("%", "%%"),
        f"ALTER TABLE {quoted[0]} RENAME message_sid TO {quoted[2]}".replace("%", "%%"),
    )
    columns = {("messages", "customer_id"): column, ("messages", "message_sid"): number}
    with open_site(database_url, Names(tables={"messages": table}, columns=columns)) as site:
        assert site.apply(Verb.RELAX) == ["drop-not-null"]
        assert site.apply(Verb.RESTORE, "run-2") == RESTORING
        assert site.apply(Verb.GUARD, "run-3") == ["create-index"]
        assert site.undo("run-3") == ["drop-index"]
    assert run_sql(database_url, "SELECT count(*) AS there FROM customers") == [{"there": 0}]


# --- what the rows and the table do not allow ------------------------------------------------------------------------


def test_restore_with_rows_without_customer(site: Site) -> None:
    """
    It is refused with their number, since when, and the backfill that gives them a customer; nothing is changed.
    """
    site.apply(Verb.RELAX)
    record(site, 1, None, created_at="2025-12-01T10:00Z")
    record(site, 2, None, created_at="2025-12-03T10:00Z")

    assert site.refusal(Verb.RESTORE) == (
        "2 rows have no customer in messages, the oldest since 2025-12-01 10:00 UTC;"
        " give them theirs first: backfill --since 2025-12-01"
    )
    survey = site.structure.without_customer()
    assert [found.subject for found in survey.some] == [f"message/{sid(1)}", f"message/{sid(2)}"]
    assert site.refusal(Verb.RELAX) is None


def test_a_row_without_customer_that_came_meanwhile(site: Site) -> None:
    """
    A row that nobody saw fails the validation: the check stands and is named, and after a repair the same verb continues.
    """
    site.apply(Verb.RELAX)
    record(site, 1, None)

    with pytest.raises(PartlyApplied, match=r"^add-check stands, then: 1 row has no customer in messages"):
        site.apply(Verb.RESTORE, "run-2")

    assert run_sql(site.url, CHECKS) == [{"conname": "booking_doctor_customer_present", "convalidated": False}]
    run_sql(site.url, f"UPDATE messages SET customer_id = '{CUSTOMER}'")
    assert site.apply(Verb.RESTORE, "run-3") == RESTORING[1:]
    assert [(run.id, run.applied) for run in site.runs()] == [("run-3", 3), ("run-2", 1), ("run-1", 1)]


def test_relax_takes_back_half_a_restore(site: Site) -> None:
    """
    A check that an attempt to restore left behind would refuse rows all the same, so it goes.
    """
    run_sql(
        site.url,
        "ALTER TABLE messages ALTER customer_id DROP NOT NULL, ADD CONSTRAINT booking_doctor_customer_present"
        " CHECK (customer_id IS NOT NULL) NOT VALID",
    )

    assert site.apply(Verb.RELAX) == ["drop-check"]
    assert record(site, 1, None)


def test_another_check_demands_a_customer(site: Site) -> None:
    """
    A check that somebody else made is theirs: relaxing names it, restoring makes use of it, nothing drops it.
    """
    run_sql(site.url, "ALTER TABLE messages ADD CONSTRAINT theirs CHECK (customer_id IS NOT NULL)")
    assert (
        site.refusal(Verb.RELAX)
        == "the constraint theirs would refuse a row without customer all the same; drop that first"
    )

    run_sql(site.url, "ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    assert site.apply(Verb.RESTORE) == ["set-not-null"]
    assert required(site)


def test_a_domain_demands_a_customer(site: Site) -> None:
    """
    A type that refuses null is named too.
    """
    run_sql(
        site.url,
        "CREATE DOMAIN somebody AS uuid NOT NULL",
        "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey, ALTER customer_id TYPE somebody",
    )

    assert "the domain somebody would refuse" in str(site.refusal(Verb.RELAX))


def test_not_null_that_looked_at_no_row(site: Site) -> None:
    """
    PostgreSQL 18 knows NOT NULL constraints that hold for new rows only: that one is validated, under the gentle lock.
    """
    if int(run_sql(site.url, "SHOW server_version_num")[0]["server_version_num"]) < 180000:
        pytest.skip("this server has no such constraints")
    run_sql(
        site.url,
        "ALTER TABLE messages ALTER customer_id DROP NOT NULL",
        "ALTER TABLE messages ADD CONSTRAINT soon NOT NULL customer_id NOT VALID",
    )

    assert site.apply(Verb.RESTORE) == ["validate"]
    assert site.todo(Verb.RESTORE) == []
    assert site.todo(Verb.RELAX) == ["drop-not-null"]


def test_guard_with_duplicates(site: Site) -> None:
    """
    It is refused with the SIDs and their rows.
    """
    first, _, second = record(site, 1), record(site, 2), record(site, 1)

    assert site.refusal(Verb.GUARD) == (
        f"1 SID has more than one row: message/{sid(1)} (rows {first}, {second}); keep one row of each first"
    )


def test_what_is_no_table(site: Site) -> None:
    """
    A view, and a partitioned table's index, cannot be changed so; both are said.
    """
    run_sql(site.url, "ALTER TABLE messages RENAME TO texts", "CREATE VIEW messages AS SELECT * FROM texts")
    assert str(site.refusal(Verb.RELAX)).startswith("messages is no table but a view")

    run_sql(
        site.url,
        "DROP VIEW messages",
        "CREATE TABLE messages (LIKE texts) PARTITION BY RANGE (created_at)",
        "CREATE TABLE messages_all PARTITION OF messages DEFAULT",
    )
    assert str(site.refusal(Verb.GUARD)).startswith("messages is partitioned")
    assert site.apply(Verb.RELAX) == ["drop-not-null"]
    assert site.apply(Verb.RESTORE, "run-2") == RESTORING


# --- who may, and where ----------------------------------------------------------------------------------------------


def test_ownership(site: Site, server_url: str) -> None:
    """
    Somebody else's table is refused with what to grant, and that is enough.
    """
    name, owner = site.database.settings.name, f"owner_{site.database.settings.name}"
    role = f"role_{name}"
    run_sql(server_url, f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'p'", f'CREATE ROLE "{owner}"')
    try:
        run_sql(
            site.url,
            f'ALTER TABLE messages OWNER TO "{owner}"',
            f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"',
            f'GRANT CREATE ON DATABASE "{name}" TO "{role}"',
            f'REVOKE CREATE ON SCHEMA public FROM PUBLIC, "{owner}"',
        )
        place = site.url.rpartition("@")[2]
        with open_site(f"postgresql://{role}:p@{place}") as theirs:
            refusal = str(theirs.refusal(Verb.RELAX))
            assert refusal == (
                f"only the owner of messages may change it: connect as {owner}, or have somebody run: GRANT {owner} TO {role}"
            )
            run_sql(server_url, f'GRANT "{owner}" TO "{role}"')
            assert theirs.refusal(Verb.RELAX) is None
            assert theirs.apply(Verb.RELAX) == ["drop-not-null"]
            grant = str(theirs.refusal(Verb.GUARD)).partition("have somebody run: ")[2]
            assert grant == f"GRANT CREATE ON SCHEMA public TO {role}"
            run_sql(site.url, grant)
            assert theirs.refusal(Verb.GUARD) is None
    finally:
        run_sql(site.url, f'DROP OWNED BY "{role}", "{owner}" CASCADE')
        run_sql(server_url, f'DROP ROLE "{role}", "{owner}"')


def test_a_read_only_server(site: Site) -> None:
    """
    A server that takes no writes is refused.
    """
    run_sql(site.url, f'ALTER DATABASE "{site.database.settings.name}" SET default_transaction_read_only = on')

    with open_site(site.url) as frozen:
        assert (
            frozen.refusal(Verb.RELAX) == "this server is read-only by its settings; connect to one that takes writes"
        )
        with pytest.raises(PlanRefused, match="is read-only; nothing was changed"):
            frozen.apply(Verb.RELAX)
    assert required(site)


def test_a_replica(site: Site) -> None:
    """
    A replica is refused, and its primary named where it tells; here the catalog is made to say that it is one.
    """
    run_sql(
        site.url,
        "CREATE FUNCTION pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE VIEW pg_stat_wal_receiver AS SELECT 'db-1.internal' AS sender_host, 5432 AS sender_port",
        f'ALTER DATABASE "{site.database.settings.name}" SET search_path = public, pg_catalog',
    )

    with open_site(site.url) as replica:
        assert replica.refusal(Verb.RELAX) == (
            "this server is a replica and takes no changes; connect to its primary, db-1.internal:5432"
        )


def test_a_transaction_pooler(site: Site) -> None:
    """
    It is refused where the settings tell it, and where it shows; a pooler that keeps sessions will do.
    """
    assert keeps_session(site.database)
    with open_site(site.url, pooled=True, direct="db.internal:5432") as told:
        assert told.refusal(Verb.GUARD) == (
            "DATABASE_URL leads to a transaction pooler, where time-outs are lost between two statements;"
            " set it to db.internal:5432"
        )
    with pooled(site.url, "transaction") as url, open_site(url) as seen:
        assert seen.refusal(Verb.GUARD) == (
            "DATABASE_URL leads to a transaction pooler, where time-outs are lost between two statements;"
            " set it to the server's own address"
        )
    with pooled(site.url, "session") as url, open_site(url) as kept:
        assert kept.refusal(Verb.GUARD) is None


# --- others in the way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [Verb.RELAX, Verb.GUARD])
def test_locked(site: Site, verb: Verb) -> None:
    """
    While somebody holds the table it is tried again and again, given up, and nothing is changed; they are named.
    """
    with busy(site.url, "LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE") as other:
        pid = other.info.backend_pid
        with pytest.raises(
            PlanRefused, match=rf"waited in vain for pid {pid} \(postgres, web-1\) since .* nothing was changed$"
        ):
            site.apply(verb)

    assert required(site)
    assert run_sql(site.url, INDEXES) == []
    assert site.runs() == []
    assert site.apply(verb)


def test_a_reader_is_enough(site: Site) -> None:
    """
    An open transaction that has only read keeps the strong lock away, and is seen.
    """
    with busy(site.url, "SELECT body FROM messages WHERE to_number = '+15550101000'"):
        [session] = site.structure.traffic().at_table
        assert (session.application, session.state, session.holds) == (
            "web-1",
            "idle in transaction",
            ["AccessShareLock"],
        )
        assert session.query == "SELECT body FROM messages WHERE to_number = '+15550101000'"
        longest = site.structure.traffic().longest
        assert longest is not None
        assert (longest.pid, longest.since) == (session.pid, session.since)
        with pytest.raises(PlanRefused, match="drop-not-null waited in vain for pid"):
            site.apply(Verb.RELAX)


def test_what_a_role_may_not_see(site: Site, server_url: str) -> None:
    """
    A role that may not see others' transactions is told how many there are, and still sees who holds the table.
    """
    role = f"blind_{site.database.settings.name}"
    run_sql(server_url, f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    try:
        with (
            busy(site.url, "SELECT body FROM messages") as other,
            open_site(f"postgresql://{role}:p@{site.url.rpartition('@')[2]}") as blind,
        ):
            traffic = blind.structure.traffic()
            [session] = traffic.at_table
            assert (session.pid, session.holds) == (other.info.backend_pid, ["AccessShareLock"])
            assert (session.since, traffic.longest, traffic.hidden) == (None, None, 1)
    finally:
        run_sql(server_url, f"DROP ROLE {role}")


def test_the_lock_is_let_go_in_time(site: Site) -> None:
    """
    Once the table is free, the next attempt succeeds.
    """
    with busy(site.url, "SELECT FROM messages") as other:
        threading.Timer(0.4, other.rollback).start()
        assert site.apply(Verb.RELAX) == ["drop-not-null"]


def test_locked_on_the_way(site: Site) -> None:
    """
    What stands is named when the rest is given up, and the same verb continues from there.
    """
    site.apply(Verb.RELAX)
    run_sql(
        site.url,
        "ALTER TABLE messages ADD CONSTRAINT booking_doctor_customer_present CHECK (customer_id IS NOT NULL) NOT VALID",
    )
    with busy(site.url, "SELECT FROM messages"), pytest.raises(PartlyApplied) as stopped:
        site.apply(Verb.RESTORE, "run-2")

    assert stopped.value.summary.startswith("validate stands, then: set-not-null waited in vain for pid")
    assert stopped.value.hint == ("the same command continues, or take back what stands: booking-doctor undo run-2")
    assert site.apply(Verb.RESTORE, "run-3") == ["set-not-null", "drop-check"]


def test_snapshots_are_not_our_own(site: Site) -> None:
    """
    Where transactions keep their snapshots by default, the build does not wait for the one that holds our lock.
    """
    name = site.database.settings.name
    run_sql(site.url, f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'")

    with open_site(site.url) as strict:
        assert strict.apply(Verb.GUARD) == ["create-index"]


def test_locked_for_everybody(site: Site) -> None:
    """
    While somebody holds the strongest lock not even the catalog can be read; they are named all the same.
    """
    with busy(site.url, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE") as other:
        blocked = rf"pid {other.info.backend_pid} \(postgres, web-1\) since .*; nothing was changed$"
        with pytest.raises(PlanRefused, match=blocked):
            site.apply(Verb.RELAX)


def test_duplicates_that_come_while_the_index_is_built(site: Site) -> None:
    """
    They are found and named, and no half an index is left behind, nor a run.
    """
    first = record(site, 1)
    double = f"INSERT INTO messages (customer_id, direction, message_sid) VALUES ('{CUSTOMER}', 'outbound', '{sid(1)}')"
    with ThreadPoolExecutor() as pool, open_site(site.url) as other, busy(site.url, double) as writer:
        attempt = pool.submit(other.apply, Verb.GUARD)
        until(lambda: run_sql(site.url, INDEXES))
        writer.commit()
        with pytest.raises(PlanRefused, match=rf"^1 SID has more than one row: message/{sid(1)} \(rows {first}, "):
            attempt.result()

    assert run_sql(site.url, INDEXES) == []
    assert site.runs() == []


def test_an_index_that_can_be_neither_built_nor_removed(site: Site) -> None:
    """
    What is left behind then is named, stays in the journal, and is rebuilt or taken back once the way is free.
    """
    blocking = f"INSERT INTO messages (customer_id, direction) VALUES ('{CUSTOMER}', 'outbound')"
    with busy(site.url, blocking), pytest.raises(PartlyApplied) as stopped:
        site.apply(Verb.GUARD)

    assert stopped.value.summary.startswith("the index messages_message_sid_unique is left invalid")
    assert [(row["name"], row["valid"]) for row in run_sql(site.url, INDEXES)] == [
        ("messages_message_sid_unique", False)
    ]
    assert [attempt.run_id for attempt in site.structure.attempts()] == ["run-1"]
    assert [(run.id, run.applied, run.begun) for run in site.runs()] == [("run-1", 0, 1)]

    assert site.apply(Verb.GUARD, "run-2") == ["drop-index", "create-index"]
    assert site.structure.attempts() == []
    assert [(run.id, run.applied, run.begun) for run in site.runs()] == [("run-2", 1, 0)]


def test_a_half_built_index_is_taken_back(site: Site) -> None:
    """
    What a run left behind goes with its undo, and no other migration loses sight of it in between.
    """
    blocking = f"INSERT INTO messages (customer_id, direction) VALUES ('{CUSTOMER}', 'outbound')"
    with busy(site.url, blocking), pytest.raises(PartlyApplied):
        site.apply(Verb.GUARD)

    site.apply(Verb.RELAX, "run-2")
    assert [attempt.run_id for attempt in site.structure.attempts()] == ["run-1"]
    assert site.undo() == ["drop-index"]
    assert run_sql(site.url, INDEXES) == []
    assert [(run.id, run.applied, run.undone) for run in site.runs()] == [("run-2", 1, 0), ("run-1", 1, 1)]
    assert {run.begun for run in site.runs()} == {0}


def test_an_index_that_is_not_recognized(site: Site) -> None:
    """
    Where the catalog does not tell that it has become so, nothing is tried twice.
    """
    run_sql(
        site.url, "CREATE FUNCTION pg_get_expr(pg_node_tree, oid) RETURNS text LANGUAGE sql AS $$ SELECT 'nothing' $$"
    )
    run_sql(site.url, f'ALTER DATABASE "{site.database.settings.name}" SET search_path = public, pg_catalog')
    record(site, None, message_sid="")
    with (
        open_site(site.url) as strange,
        pytest.raises(PartlyApplied, match=r"^create-index stands, then: .* no effect"),
    ):
        strange.apply(Verb.GUARD)

    assert [row["valid"] for row in run_sql(site.url, INDEXES)] == [True]


def test_duplicates_while_an_index_is_rebuilt(site: Site) -> None:
    """
    What was removed is named also where nothing could take its place, and no run is named that is not there.
    """
    leave_invalid(site)
    record(site, 1)

    with pytest.raises(PartlyApplied) as stopped:
        site.apply(Verb.GUARD, progress=AfterTheFirstBatch(lambda: record(site, 1)))

    assert stopped.value.summary.startswith("drop-index stands, then: 1 SID has more than one row: message/")
    assert stopped.value.hint == "the same command continues"
    assert run_sql(site.url, INDEXES) == []
    assert site.runs() == []


def test_an_undo_that_is_given_up(site: Site) -> None:
    """
    An index that could be removed only by half is named, and undoing again removes it.
    """
    site.apply(Verb.GUARD)
    with busy(site.url, "SELECT FROM messages"), pytest.raises(PartlyApplied) as stopped:
        site.undo()

    assert stopped.value.summary.startswith(
        "the index messages_message_sid_unique is left invalid, which protects nothing, then: drop-index waited in vain"
    )
    assert [row["valid"] for row in run_sql(site.url, INDEXES)] == [False]
    assert [(run.applied, run.undone) for run in site.runs()] == [(1, 0)]
    assert site.undo() == ["drop-index"]
    assert run_sql(site.url, INDEXES) == []


def test_somebody_else_may_be_building_it(site: Site) -> None:
    """
    An index that is not valid yet may be somebody's work in progress: it is not dropped under their hands.
    """
    blocking = f"INSERT INTO messages (customer_id, direction) VALUES ('{CUSTOMER}', 'outbound')"

    def build() -> None:
        with psycopg.connect(site.url, autocommit=True) as connection:
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY theirs ON messages (message_sid)")

    with ThreadPoolExecutor() as pool, busy(site.url, blocking) as writer:
        building = pool.submit(build)
        until(lambda: run_sql(site.url, INDEXES))
        with pytest.raises(PlanRefused, match="drop-index waited in vain for pid"):
            site.apply(Verb.GUARD)
        writer.rollback()
        building.result()

    assert site.apply(Verb.GUARD) == []
    assert [(row["name"], row["valid"]) for row in run_sql(site.url, INDEXES)] == [("theirs", True)]
