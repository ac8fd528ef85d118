"""
How the records are looked up: by the index there is, and together where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import event

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.records import DatabaseRecords
from booking_doctor.findings import Window
from booking_doctor.settings import Names, database_settings
from tests.memory import sid

FILL: Final = """
    INSERT INTO messages (direction, message_sid, twilio_message_sid, created_at)
    SELECT 'outbound', CASE WHEN n % 2 = 0 THEN 'SM' || lpad(to_hex(n), 32, '0') END,
        'SM' || lpad(to_hex(n), 32, '0'), now()
    FROM generate_series(1, 4000) n
"""


@pytest.fixture(name="database")
def _database(database_url: str) -> Iterator[Database]:
    """
    A table of some thousand rows, every second of which says its SID in the second column only.
    """
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
        connection.execute(FILL)
        connection.execute("ANALYZE messages")
    database = Database(database_settings({"DATABASE_URL": database_url}), Names())
    yield database
    database.close()


@contextmanager
def plans(database: Database) -> Iterator[list[str]]:
    """
    How PostgreSQL goes about what is asked meanwhile.
    """
    found = list[str]()

    def explain(_: object, cursor: psycopg.Cursor[tuple[str]], statement: str, parameters: Any, *__: object) -> None:
        if "FROM messages" in statement or ".messages" in statement:
            lines = cursor.connection.execute(f"EXPLAIN {statement}".encode(), parameters)
            found.append("\n".join(line for (line,) in lines))

    event.listen(database._engine, "before_cursor_execute", explain)
    yield found
    event.remove(database._engine, "before_cursor_execute", explain)


def test_first_column_has_an_index(database: Database) -> None:
    """
    Rows are found by their SID without a pass over the table.
    """
    with plans(database) as found:
        rows = DatabaseRecords(database).rows([sid(n) for n in range(1, 21)])

    assert [row.message_sid for row in rows] == [sid(n) for n in range(2, 21, 2)]
    (plan,) = found
    assert "messages_message_sid" in plan
    assert "Seq Scan" not in plan


def test_second_column_has_none(database: Database) -> None:
    """
    However many are looked for, the table is passed over once.
    """
    with plans(database) as found:
        rows = DatabaseRecords(database).rows_by_second_sid([sid(n) for n in range(1, 1001)])

    assert len(rows) == 1000
    (plan,) = found
    assert plan.count("Seq Scan on messages") == 1


def test_columns_called_like_what_is_asked_for(database_url: str) -> None:
    """
    The table may have columns of any name, also of those that the answer's columns have.
    """
    at = datetime(2025, 12, 7, 12, 30, tzinfo=UTC)
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE messages RENAME message_sid TO sid")
        connection.execute(
            "ALTER TABLE messages ALTER customer_id DROP NOT NULL, ADD begins integer, ADD outbound text"
        )
        connection.execute(
            "INSERT INTO messages (direction, sid, twilio_message_sid, created_at, begins)"
            " VALUES ('outbound', %(sid)s, NULL, %(at)s, 1), ('outbound', NULL, %(sid)s, %(at)s, 2)",
            {"sid": sid(1), "at": at},
        )
    names = Names(columns={("messages", "message_sid"): "sid"})

    with closing(Database(database_settings({"DATABASE_URL": database_url}), names)) as database:
        overview = DatabaseRecords(database).overview(Window(at - timedelta(hours=1), at + timedelta(hours=1)))

    assert (overview.recorded, overview.duplicated) == (2, {sid(1): 2})
    assert overview.outbound_by_hour == {at.replace(minute=0): 2}
