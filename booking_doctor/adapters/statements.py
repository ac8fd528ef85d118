"""
SQL that names tables and columns as the doctor does, turned into this installation's.
"""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import TextClause, text

from booking_doctor.adapters.fragments import verbatim
from booking_doctor.adapters.postgres import Database
from booking_doctor.errors import NotHere

_NAME: Final = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


class Statements:
    """
    Fills ``{table}`` and ``{table.column}`` with quoted names; each text is looked at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, TextClause] = {}
        self._drivers: dict[str, str] = {}

    def __call__(self, template: str) -> TextClause:
        """
        The statement, of a text whose parameters are written ``:name``.

        Raises:
            NotHere: It names a table or column that this installation has not.
        """
        if template not in self._known:
            self._known[template] = text(_NAME.sub(lambda name: verbatim(self._named(*name.groups())), template))
        return self._known[template]

    def for_driver(self, template: str) -> str:
        """
        The statement as the driver takes it, of a text whose parameters are written ``%(name)s``.

        Raises:
            NotHere: Likewise.
        """
        if template not in self._drivers:
            filled = _NAME.sub(lambda name: self._named(*name.groups()).replace("%", "%%"), template)
            self._drivers[template] = filled
        return self._drivers[template]

    def _named(self, table: str, column: str | None) -> str:
        here = self._database.tables[table]
        hint = "map the name in booking-doctor.toml if it is called otherwise"
        if not self._database.columns(table):
            message = f"there is no table {here.name}"
            raise NotHere(message, table=table, hint=hint)
        if column and not self._database.has(table, column):
            message = f"there is no column {here.c[column].name} in the table {here.name}"
            raise NotHere(message, table=table, column=column, hint=hint)
        return '"' + here.c[column].name.replace('"', '""') + '"' if column else self._database.quoted(here)
