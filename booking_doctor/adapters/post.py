"""
The post of a watch: a row in the journal's schema that says who stands there, when it was heard last, and what it knows.

Every statement is a transaction of its own and the time is the database's, so it works through a transaction pooler and
over hosts whose clocks differ.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, TextClause, text

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.tables import JOURNAL_SCHEMA
from booking_doctor.doctor.watching import Handover, Taken
from booking_doctor.errors import DatabaseError, PlanRefused
from booking_doctor.sightings import Memory

HEARTBEAT_S: Final = 15.0

LOST_AFTER_S: Final = 300
"""Whoever was not heard for so long has lost the post: a process that ended without a word, a host that is gone."""

_MAKING: Final = (0x626F6F6B, 0x77746368)
"""The keys of the advisory lock under which the table is made: "book" and "wtch" in ASCII."""


class DatabasePost:
    """
    The post in one database.

    Args:
        scope: What is watched.
        holder: Who stands there, different for every watch that was ever started.
        host: Where that is, for people.
        beat_s: How often it is heard, in seconds.
    """

    def __init__(self, database: Database, *, scope: str, holder: str, host: str, beat_s: float = HEARTBEAT_S) -> None:
        self._database = database
        self._us = {"scope": scope, "holder": holder}
        self._host = host
        self._beat_s = beat_s

    def take(self) -> Handover | Taken:
        """
        Take it, or say who has it.
        """
        with self._database.writing() as connection:
            self._make(connection)
            named = {**self._us, "host": self._host, "lost_after_s": LOST_AFTER_S}
            row = connection.execute(_TAKE, named).one_or_none()
            if row is None:
                other = connection.execute(_WHO, self._us).one()
                return Taken(host=other.host, age=other.age)
        memory = msgspec.json.decode(row.memory, type=Memory) if row.memory else Memory()
        return Handover(memory=memory, watermark=row.watermark, now=row.now)

    def _make(self, connection: Connection) -> None:
        """
        Make the table where it is not there, in the schema that is closed to PUBLIC.

        Raises:
            PlanRefused: The role may not.
        """
        found = connection.execute(_FOUND).one()
        if found.obstacle:
            message = f"nothing was watched: {found.obstacle}"
            raise PlanRefused(message)
        if found.there:
            return
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock({}, {})".format(*_MAKING))
        if not connection.execute(_SCHEMA_THERE).scalar_one():
            connection.exec_driver_sql(f"CREATE SCHEMA {JOURNAL_SCHEMA}")
        connection.exec_driver_sql(_TABLE)

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        A thread is heard for as long as the block lasts.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(self._beat_s):
            # NOTE: a database that is gone for a moment is told the next time; there are minutes for that.
            with suppress(DatabaseError), self._database.writing() as connection:
                connection.execute(_BEAT, self._us)

    def leave(self, memory: Memory | None, watermark: datetime | None) -> bool:
        """
        Give it back.
        """
        known = msgspec.json.encode(memory).decode() if memory is not None else None
        with self._database.writing() as connection:
            named = {**self._us, "memory": known, "watermark": watermark}
            return connection.execute(_LEAVE, named).rowcount == 1

    def close(self) -> None:
        """
        Give connections back.
        """
        self._database.close()


# --- statements ------------------------------------------------------------------------------------------------------


def _statement(sql: str) -> TextClause:
    return text(sql.replace("JOURNAL", JOURNAL_SCHEMA))


_TABLE: Final = f"""
CREATE TABLE IF NOT EXISTS {JOURNAL_SCHEMA}.watches (
  scope text PRIMARY KEY, holder text, host text NOT NULL, heard_at timestamptz NOT NULL, watermark timestamptz, memory json
);
REVOKE ALL ON SCHEMA {JOURNAL_SCHEMA} FROM PUBLIC;
REVOKE ALL ON {JOURNAL_SCHEMA}.watches FROM PUBLIC;
"""
_SCHEMA_THERE: Final = _statement("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'JOURNAL')")
_FOUND: Final = _statement("""
SELECT w.oid IS NOT NULL AS there, CASE
  WHEN s.oid IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')
  THEN 'the role may not make the schema JOURNAL, in which a watch remembers; somebody who may has to run: '
    || 'CREATE SCHEMA JOURNAL AUTHORIZATION ' || quote_ident(current_user)
  WHEN w.oid IS NULL AND NOT (has_schema_privilege(s.oid, 'USAGE') AND has_schema_privilege(s.oid, 'CREATE'))
  THEN 'the role may not make a table in the schema JOURNAL, in which a watch remembers; somebody who may has to run: '
    || 'GRANT USAGE, CREATE ON SCHEMA JOURNAL TO ' || quote_ident(current_user)
  WHEN NOT (has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(w.oid, 'SELECT')
    AND has_table_privilege(w.oid, 'INSERT') AND has_table_privilege(w.oid, 'UPDATE'))
  THEN 'the role may not write JOURNAL.watches, in which a watch remembers; somebody who may has to run: '
    || 'GRANT USAGE ON SCHEMA JOURNAL TO ' || quote_ident(current_user)
    || '; GRANT SELECT, INSERT, UPDATE ON JOURNAL.watches TO ' || quote_ident(current_user)
  END AS obstacle
FROM (SELECT) AS one LEFT JOIN pg_namespace s ON s.nspname = 'JOURNAL'
LEFT JOIN pg_class w ON w.relnamespace = s.oid AND w.relname = 'watches'
""")
_TAKE: Final = _statement("""
INSERT INTO JOURNAL.watches AS w (scope, holder, host, heard_at) VALUES (:scope, :holder, :host, clock_timestamp())
ON CONFLICT (scope) DO UPDATE SET holder = excluded.holder, host = excluded.host, heard_at = clock_timestamp()
WHERE w.holder IS NULL OR w.holder = excluded.holder
  OR w.heard_at < clock_timestamp() - make_interval(secs => :lost_after_s)
RETURNING w.watermark, CAST(w.memory AS text) AS memory, clock_timestamp() AS now
""")
_WHO: Final = _statement("SELECT host, clock_timestamp() - heard_at AS age FROM JOURNAL.watches WHERE scope = :scope")
_BEAT: Final = _statement(
    "UPDATE JOURNAL.watches SET heard_at = clock_timestamp() WHERE scope = :scope AND holder = :holder"
)
_LEAVE: Final = _statement("""
UPDATE JOURNAL.watches SET holder = NULL, heard_at = clock_timestamp(),
  memory = coalesce(CAST(:memory AS json), memory), watermark = coalesce(:watermark, watermark)
WHERE scope = :scope AND holder = :holder
""")
