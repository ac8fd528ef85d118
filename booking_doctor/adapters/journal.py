"""
The journal of repairs, in a schema of its own in the application's database: runs, and each row before and after.

Row images are kept as ``row_to_json`` wrote them, in ``json`` columns, which keep the very text.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, TextClause, text

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.tables import JOURNAL_SCHEMA
from booking_doctor.errors import UsageError
from booking_doctor.findings import PastRun
from booking_doctor.repair.executor import Entry, Run

_TABLES: Final = f"""
CREATE TABLE {JOURNAL_SCHEMA}.runs (
  id text PRIMARY KEY, command text NOT NULL, checksum text NOT NULL, started_at timestamptz NOT NULL,
  forgotten_at timestamptz
);
CREATE TABLE {JOURNAL_SCHEMA}.journal (
  run_id text NOT NULL, step integer NOT NULL, kind text NOT NULL,
  table_name text NOT NULL, row_id text NOT NULL, sid text NOT NULL, before json, after json, undone_at timestamptz,
  PRIMARY KEY (run_id, step)
);
CREATE INDEX runs_checksum ON {JOURNAL_SCHEMA}.runs (checksum);
REVOKE ALL ON SCHEMA {JOURNAL_SCHEMA} FROM PUBLIC;
REVOKE ALL ON {JOURNAL_SCHEMA}.runs, {JOURNAL_SCHEMA}.journal FROM PUBLIC;
"""


class Journal:
    """
    The journal in one database; there is none before the first write.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def obstacle(self) -> str | None:
        """
        Why the role cannot keep the journal here, or None.
        """
        with self._database.reading() as connection:
            why: str | None = connection.execute(_OBSTACLE).scalar_one()
        return why

    def open(self, connection: Connection, run: Run) -> None:
        """
        Make the journal where it is not there, closed to PUBLIC, and note the run.
        """
        if not self._exists(connection):
            if not connection.execute(_SCHEMA_EXISTS).scalar_one():
                connection.exec_driver_sql(f"CREATE SCHEMA {JOURNAL_SCHEMA}")
            connection.exec_driver_sql(_TABLES)
        named = {"id": run.id, "command": run.command, "checksum": run.checksum, "started_at": run.started_at}
        connection.execute(_NOTE_RUN, named)

    def mark_undone(self, connection: Connection, run_id: str, steps: Collection[int]) -> None:
        """
        Note that those steps were taken back.
        """
        connection.execute(_MARK_UNDONE, {"run": run_id, "steps": list(steps)})

    def _exists(self, connection: Connection) -> bool:
        return bool(connection.execute(_EXISTS).scalar_one())

    def done(self, checksum: str) -> frozenset[int]:
        """
        By position in the plan with that checksum.
        """
        with self._database.reading() as connection:
            if not self._exists(connection):
                return frozenset()
            return frozenset(connection.execute(_DONE, {"checksum": checksum}).scalars())

    def runs(self) -> list[PastRun]:
        """
        Newest first; none where there is no journal.
        """
        with self._database.reading() as connection:
            if not self._exists(connection):
                return []
            return [PastRun(**row) for row in connection.execute(_RUNS).mappings()]

    def entries(self, run_id: str) -> list[Entry]:
        """
        In the order they were written.
        """
        with self._database.reading() as connection:
            self._known(connection, run_id)
            return [Entry(**row) for row in connection.execute(_ENTRIES, {"run": run_id}).mappings()]

    def _known(self, connection: Connection, run_id: str) -> None:
        forgotten = None
        if self._exists(connection):
            forgotten = connection.execute(_FORGOTTEN, {"run": run_id}).scalar_one_or_none()
        if forgotten is None:
            message = f"there is no run {run_id!r}"
            raise UsageError(message, hint="see all runs with: booking-doctor runs")
        if forgotten:
            message = f"run {run_id} was forgotten: its images are gone, so it cannot be undone"
            raise UsageError(message)

    def forget(self, run_id: str) -> int:
        """
        Drop the images; the run stays listed.
        """
        with self._database.writing() as connection:
            self._known(connection, run_id)
            connection.execute(_FORGET, {"run": run_id})
            return connection.execute(_DROP_IMAGES, {"run": run_id}).rowcount


# --- statements ------------------------------------------------------------------------------------------------------


def _statement(sql: str) -> TextClause:
    """
    The SQL with the journal's schema in the place of ``JOURNAL``.
    """
    return text(sql.replace("JOURNAL", JOURNAL_SCHEMA))


_EXISTS: Final = _statement(
    "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace"
    " WHERE s.nspname = 'JOURNAL' AND c.relname = 'journal')"
)
_NOTE_RUN: Final = _statement(
    "INSERT INTO JOURNAL.runs (id, command, checksum, started_at)"
    " VALUES (:id, :command, :checksum, :started_at) ON CONFLICT (id) DO NOTHING"
)
_DONE: Final = _statement(
    "SELECT j.step FROM JOURNAL.journal j JOIN JOURNAL.runs r ON r.id = j.run_id"
    " WHERE r.checksum = :checksum AND j.undone_at IS NULL"
)
_RUNS: Final = _statement(
    # NOTE: what was begun and not seen to end has no image afterwards; what was forgotten has none either.
    "SELECT r.id, r.command, r.started_at, count(j.undone_at) AS undone,"
    " count(j.step) FILTER (WHERE j.after IS NULL AND r.forgotten_at IS NULL) AS begun,"
    " count(*) FILTER (WHERE j.after IS NOT NULL OR (j.step IS NOT NULL AND r.forgotten_at IS NOT NULL)) AS applied"
    " FROM JOURNAL.runs r LEFT JOIN JOURNAL.journal j ON j.run_id = r.id"
    " GROUP BY r.id ORDER BY r.started_at DESC, r.id DESC"
)
_ENTRIES: Final = _statement(
    "SELECT step AS number, kind, table_name AS table, row_id, sid, CAST(before AS text), CAST(after AS text),"
    " undone_at IS NOT NULL AS undone FROM JOURNAL.journal WHERE run_id = :run ORDER BY step"
)
_MARK_UNDONE: Final = _statement(
    "UPDATE JOURNAL.journal SET undone_at = now() WHERE run_id = :run AND step = ANY (:steps)"
)
_FORGOTTEN: Final = _statement("SELECT forgotten_at IS NOT NULL FROM JOURNAL.runs WHERE id = :run")
_FORGET: Final = _statement("UPDATE JOURNAL.runs SET forgotten_at = now() WHERE id = :run")
_DROP_IMAGES: Final = _statement("UPDATE JOURNAL.journal SET before = NULL, after = NULL WHERE run_id = :run")
_SCHEMA_EXISTS: Final = _statement("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'JOURNAL')")
_OBSTACLE: Final = _statement("""
SELECT CASE
  WHEN s.oid IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')
  THEN 'the role may not make the schema JOURNAL, which holds the journal; somebody who may has to run: '
    || 'CREATE SCHEMA JOURNAL AUTHORIZATION ' || quote_ident(current_user)
  WHEN s.oid IS NOT NULL AND NOT (has_schema_privilege(s.oid, 'USAGE')
    AND (has_schema_privilege(s.oid, 'CREATE') OR j.tables = 2) AND coalesce(j.permitted, true))
  THEN 'the role may not write the journal in the schema JOURNAL; use the role that owns it, '
    || (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = s.nspowner)
  END
FROM (SELECT) AS one LEFT JOIN pg_namespace s ON s.nspname = 'JOURNAL'
LEFT JOIN LATERAL (
  SELECT count(*) AS tables, bool_and(
    has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
  ) AS permitted
  FROM pg_class c WHERE c.relnamespace = s.oid AND c.relname IN ('runs', 'journal')
) AS j ON true
""")
