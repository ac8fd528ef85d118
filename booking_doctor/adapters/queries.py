"""
Questions of the checks, put to the application's database under this installation's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import text

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.statements import Statements

# NOTE: here row level security is looked at and filters nothing that is read. To explain a write takes the lock of a
# write, for a moment; where somebody stands in the way we do not queue, because others would queue behind us.
_AS_ROLE: Final = text(
    "SELECT set_config('role', :role, true), set_config('row_security', 'on', true),"
    " set_config('lock_timeout', '100', true)"
)


class DatabaseQueries:
    """
    Implements `booking_doctor.evidence.Queries`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statement = Statements(database)

    def rows(self, question: str, **parameters: object) -> list[Mapping[str, Any]]:
        """
        The rows; times are aware, in UTC.
        """
        statement = self._statement(question)
        with self._database.reading() as connection:
            result = connection.execute(statement, parameters)
            names, found = list(result.keys()), result.all()
        return [dict(zip(names, map(_utc, row), strict=True)) for row in found]

    def has(self, table: str, column: str | None = None) -> bool:
        """
        Whether it is there.
        """
        return self._database.has(table, column) if column else bool(self._database.columns(table))

    def name(self, table: str, column: str | None = None) -> str:
        """
        What it is called here.
        """
        here = self._database.tables[table]
        return here.c[column].name if column else here.name

    def relation(self, table: str) -> str:
        """
        The table as SQL.
        """
        return self._database.quoted(self._database.tables[table])

    def explained(self, statement: str, role: str) -> list[str]:
        """
        The lines of EXPLAIN.
        """
        explain = self._statement(f"EXPLAIN (COSTS OFF) {statement}")
        with self._database.reading() as connection:
            connection.execute(_AS_ROLE, {"role": role})
            return [str(line) for line in connection.execute(explain).scalars()]


def _utc(value: object) -> object:
    if not isinstance(value, datetime):
        return value
    # NOTE: a column without zone comes back naive; the transaction's zone is UTC, so that is what it means.
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
