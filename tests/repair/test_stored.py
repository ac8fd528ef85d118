"""
What is stored is what was planned, and the journal has it to the byte, whether a row is read again or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

import psycopg
import pytest
from sqlalchemy import event

from booking_doctor.adapters.ledger import _WRITER
from tests.memory import sid
from tests.repair.cases import (
    AfterTheFirstBatch,
    Bench,
    insertion,
    message_row,
    new_trigger,
    open_bench,
    plan_of,
    reasons,
)

QUIET: Final = new_trigger("BEGIN RETURN NULL; END", "AFTER INSERT ON messages FOR EACH ROW")
"""A trigger that changes nothing, which nobody knows before the row was read again."""

ALL_KINDS: Final = (
    "CREATE DOMAIN share AS numeric(6, 3)",
    (
        "ALTER TABLE messages ADD made text GENERATED ALWAYS AS (status || ':' || body) STORED,"
        " ADD serial bigint GENERATED ALWAYS AS IDENTITY, ADD part share DEFAULT 0.5, ADD spare numeric DEFAULT 1.500,"
        " ADD real double precision DEFAULT 0.1, ADD nothing real DEFAULT 'NaN', ADD moment timestamptz DEFAULT clock_timestamp(),"
        " ADD span interval DEFAULT '1 day 2 hours', ADD raw bytea DEFAULT '\\x00ff', ADD many text[] DEFAULT '{a,NULL,\"b\"}',"
        " ADD days daterange DEFAULT '[2025-01-01,2025-02-01)', ADD kept json DEFAULT '{\"b\":  1.10, \"a\": 1}',"
        " ADD sorted jsonb DEFAULT '{\"b\":  1.10, \"a\": 1}', ADD padded char(5) DEFAULT 'x', ALTER body TYPE varchar(30)"
    ),
)
VIRTUAL: Final = "ALTER TABLE messages ADD seen text GENERATED ALWAYS AS (upper(body)) VIRTUAL"


@contextmanager
def read_again(bench: Bench) -> Iterator[list[str]]:
    """
    The statements that read rows again.
    """
    heard = list[str]()

    def hear(*said: object) -> None:
        if "ON CONFLICT (run_id, step)" in (statement := str(said[2])):
            heard.append(statement)

    event.listen(bench.database._engine, "before_cursor_execute", hear)
    yield heard
    event.remove(bench.database._engine, "before_cursor_execute", hear)


@pytest.mark.parametrize("setup", [(), QUIET], ids=["as inserted", "read again"])
def test_images_to_the_byte(bench: Bench, setup: tuple[str, ...]) -> None:
    """
    What undo relies on is the row as it is stored: what the database fills in, in types of all kinds, is in it too.
    """
    bench.sql(*ALL_KINDS, *setup)
    if bench.sql("SHOW server_version_num")[0]["server_version_num"] >= "180000":
        bench.sql(VIRTUAL)

    with read_again(bench) as heard:
        bench.apply(plan_of(insertion(1, body="<b>é\u2028\\"), insertion(2, body=None, cost_usd="0.00790")))

    assert bool(heard) == bool(setup)
    kept = bench.sql("SELECT after::text AS image FROM booking_doctor.journal ORDER BY step")
    stored = "SELECT row_to_json(t)::text AS image FROM messages t ORDER BY message_sid"
    assert kept == bench.sql("SET LOCAL TimeZone = 'UTC'", stored)
    assert len(bench.undo().written) == 2
    assert bench.sql("SELECT * FROM messages") == []


def test_sids_with_blanks_behind(bench: Bench) -> None:
    """
    A column of fixed width fills a SID up with blanks; it is the same SID.
    """
    bench.sql("ALTER TABLE messages ALTER message_sid TYPE char(40), ALTER twilio_message_sid TYPE char(40)")
    message_row(bench, 2)

    receipt = bench.apply(plan_of(*(insertion(n) for n in range(1, 4))))

    assert receipt.written == [0, 2]
    assert reasons(receipt.left) == {f"message/{sid(2)}": "its SID has been recorded meanwhile"}
    assert len(bench.undo().written) == 2


def test_a_trigger_made_meanwhile(bench: Bench) -> None:
    """
    Whoever makes a trigger between two batches is noticed at the next, which is not stored as the trigger wants it.
    """
    spoiling = new_trigger("BEGIN NEW.body = 'x'; RETURN NEW; END")
    with read_again(bench) as heard:
        receipt = bench.apply(
            plan_of(*(insertion(n) for n in range(1, 5))),
            batch_size=2,
            progress=AfterTheFirstBatch(lambda: bench.sql(*spoiling)),
        )

    assert receipt.written == [0, 1]
    assert set(reasons(receipt.left).values()) == {"the database would store another body"}
    assert len(heard) == 1
    assert bench.sql("SELECT body FROM messages ORDER BY body") == [{"body": "Text 1"}, {"body": "Text 2"}]
    assert [entry.number for entry in bench.ledger.entries("run-1")] == [0, 1]


@pytest.mark.parametrize(
    ("setup", "body", "reason"),
    [
        (["ALTER TABLE messages ALTER body TYPE varchar(6)"], "a       ", "the database would store another body"),
        (["ALTER TABLE messages ALTER body TYPE varchar(6)"], "too long", "a value does not fit (error 22001)"),
        (
            ["CREATE DOMAIN short AS varchar(6)", "ALTER TABLE messages ALTER body TYPE short"],
            "too long",
            "a value does not fit (error 22001)",
        ),
        (
            ["CREATE DOMAIN short AS varchar(6)", "ALTER TABLE messages ALTER body TYPE short"],
            "a       ",
            "the database would store another body",
        ),
    ],
)
def test_nothing_is_cut(bench: Bench, setup: list[str], body: str, reason: str) -> None:
    """
    A text for which a column has no room is left and named, not even blanks of it are lost; the others are written.
    """
    bench.sql(*setup)

    receipt = bench.apply(plan_of(insertion(1), insertion(2, body=body), insertion(3, body="b ")))

    assert receipt.written == [0, 2]
    assert reasons(receipt.left) == {f"message/{sid(2)}": reason}
    assert bench.sql("SELECT body FROM messages ORDER BY body") == [{"body": "Text 1"}, {"body": "b "}]


def test_a_partition_that_writes(bench: Bench) -> None:
    """
    A partition's own trigger is noticed though the table it belongs to has none.
    """
    bench.sql(
        "CREATE TABLE parted (LIKE messages INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (created_at)",
        "CREATE TABLE part PARTITION OF parted DEFAULT",
        "DROP TABLE messages CASCADE",
        "ALTER TABLE parted RENAME TO messages",
        *new_trigger("BEGIN NEW.body = 'x'; RETURN NEW; END", "BEFORE INSERT ON part FOR EACH ROW"),
    )

    assert reasons(bench.apply(plan_of(insertion(1))).left) == {
        f"message/{sid(1)}": "the database would store another body"
    }


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_recorded_while_a_batch_waits(database_url: str, bench: Bench, level: str) -> None:
    """
    What was recorded while the batch waited for another is seen, whatever isolation is usual there.
    """
    name = bench.sql("SELECT quote_ident(current_database()) AS name")[0]["name"]
    bench.sql(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    with open_bench(database_url) as other, psycopg.connect(database_url) as writer:
        writer.execute("SELECT pg_advisory_xact_lock(%s, %s)", _WRITER)
        receipts = list[object]()
        applying = Thread(target=lambda: receipts.append(other.apply(plan_of(insertion(1), insertion(2)))))
        applying.start()
        waits = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while bench.sql(waits)[0]["n"] == 0:
            assert applying.is_alive()
        message_row(bench, 1)
        writer.commit()
        applying.join(10)

    assert bench.sql("SELECT count(*) AS n FROM messages") == [{"n": 2}]
    assert len(receipts) == 1
