"""
What an examination leaves others of the database: every lock but DDL's, and the time that reading a whole table takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event

from booking_doctor.checks import CATALOGUE, select
from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import Report, Window
from booking_doctor.sandbox.incidents import World, december_incident

_APPLICATION: Final = {
    *("customers", "events", "pending_bookings", "bookings", "messages", "jobs", "audit_logs", "webhook_logs")
}

_LOCKS: Final = """
SELECT DISTINCT mode, CASE WHEN locktype IN ('relation', 'virtualxid') THEN locktype ELSE 'other' END
FROM pg_locks WHERE pid = pg_backend_pid()
"""
_TOUCHED: Final = """
SELECT DISTINCT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND c.relnamespace <> 'pg_catalog'::regnamespace
"""
_LEFT: Final = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'booking-doctor' AND xact_start IS NOT NULL
"""
_READER: Final = {("AccessShareLock", "relation"), ("ExclusiveLock", "virtualxid")}
_EXPLAINING: Final = {*_READER, ("RowExclusiveLock", "relation")}
"""To explain a write takes its lock; it is waited for so shortly that nobody can queue up behind."""


Watch = Callable[[psycopg.Connection, str, Any], None]


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """
    Calls *watch* after each statement of the doctor's, in its transaction.
    """

    def after(connection: Connection, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        if connection.engine.url.query.get("application_name") == "booking-doctor":
            driver: Any = connection.connection.driver_connection
            watch(driver, statement, parameters)

    event.listen(Engine, "after_cursor_execute", after)
    try:
        yield
    finally:
        event.remove(Engine, "after_cursor_execute", after)


@pytest.fixture(name="examined")
def _examined(scene: World, open_doctor: Callable[..., Doctor]) -> Callable[..., Report]:
    """
    What the checks of these names and families report on the last week.
    """

    def examine(*chosen: str) -> Report:
        request = Request(window=Window(scene.now - timedelta(days=7), scene.now))
        return open_doctor().examine("diagnose", select(chosen), request)

    return examine


def test_only_the_locks_of_a_reader(scene: World, examined: Callable[..., Report]) -> None:
    """
    Whatever is looked at, and whatever is found, nobody waits for it who does not alter a table; at the end nobody at all.
    """
    december_incident(scene)
    scene.job(status="failed", run_at=scene.now - timedelta(hours=1), attempts=5)
    held: list[tuple[str, set[tuple[str, str]]]] = []
    touched: set[str] = set()

    def watch(driver: psycopg.Connection, statement: str, _: Any) -> None:
        held.append((statement, set(driver.execute(_LOCKS).fetchall())))
        touched.update(name for (name,) in driver.execute(_TOUCHED))

    with watching(watch):
        report = examined()

    assert touched >= _APPLICATION - {"events", "bookings"}
    assert len(report.checks) > len(CATALOGUE) / 2
    explained = [statement for statement, _ in held if statement.startswith("EXPLAIN")]
    assert len(explained) >= 2
    for statement, locks in held:
        assert locks <= (_EXPLAINING if statement.startswith("EXPLAIN") else _READER), statement
    assert scene.rows(_LEFT) == [{"count": 0}]


_MESSAGES: Final = 40_000
_FILL: Final = (
    "INSERT INTO customers (phone) SELECT '+1555' || n FROM generate_series(1000000, 1002000) AS n",
    f"""
    INSERT INTO messages (customer_id, direction, message_sid, body, status, from_number, to_number, created_at)
    SELECT c.id, 'outbound', 'SM' || md5(CAST(n AS text)), 'Your table is waiting.', 'delivered', '+15550100200', c.phone,
      CAST(:now AS timestamptz) - n * interval '100 minutes'
    FROM generate_series(1, {_MESSAGES}) AS n JOIN customers c ON c.phone = '+1555' || (1000000 + n % 2000)
    """,
    """
    INSERT INTO pending_bookings (token, customer_phone, status, customer_id, metadata, expires_at, confirmed_at, created_at)
    SELECT 'tok' || m.id, m.to_number, 'confirmed', m.customer_id, jsonb_build_object('initial_sms', jsonb_build_object(
      'message_sid', m.message_sid, 'to_number', m.to_number)), m.created_at, m.created_at, m.created_at
    FROM messages m
    """,
    "CREATE INDEX ON messages (twilio_message_sid)",
    *(f"ANALYZE {table}" for table in ("customers", "messages", "pending_bookings")),
)


def _scans(plan: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """
    Each node that reads a table: how, which, and how many rows in all.
    """
    if "Relation Name" in plan:
        kept_and_dropped = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        yield plan["Node Type"], plan["Relation Name"], round(kept_and_dropped * plan["Actual Loops"])
    for part in plan.get("Plans", ()):
        yield from _scans(part)


def test_no_more_of_the_messages_than_the_window(scene: World, examined: Callable[..., Report]) -> None:
    """
    Of several years' messages a week's are read: no statement goes through the rest where an index leads past it.
    """
    for statement in _FILL:
        scene.execute(statement, **({"now": scene.now} if ":now" in statement else {}))
    week = 7 * 24 * 60 // 100
    read: list[tuple[str, str, str, int]] = []

    def watch(driver: psycopg.Connection, statement: str, parameters: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            explained = driver.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchone()
            assert explained
            read.extend((statement, *scan) for scan in _scans(explained[0][0]["Plan"]))

    with watching(watch):
        report = examined()

    assert len(report.checks) > len(CATALOGUE) / 2
    of_messages = [(how, rows, statement) for statement, how, table, rows in read if table == "messages"]
    assert len(of_messages) > 5
    assert [scan for scan in of_messages if scan[0] == "Seq Scan" or scan[1] > 2 * week] == []
