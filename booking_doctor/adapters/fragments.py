"""
Pieces of SQL about the application's rows, under this installation's names and in its columns' own types.

In every statement ``t`` is the table, and ``p`` are planned rows, which travel as one JSON parameter of texts and are cast
in the database, so that no value passes through a driver's idea of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from booking_doctor.adapters.postgres import ColumnFacts, Database
from booking_doctor.repair.steps import Image, Step


class Fragments:
    """
    SQL for one database. Names are quoted here and nowhere else.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def table(self, table: str) -> str:
        """
        The table.
        """
        return verbatim(self._database.quoted(self._database.tables[table]))

    def column(self, table: str, name: str) -> str:
        """
        A column.
        """
        return quoted(self._database.tables[table].c[name].name)

    def columns(self, table: str, names: Iterable[str]) -> str:
        """
        Columns, as an insert lists them.
        """
        return ", ".join(self.column(table, name) for name in names)

    def values(self, table: str, names: Iterable[str]) -> str:
        """
        What is planned for them.
        """
        return ", ".join(self._value(table, name) for name in names)

    def assignments(self, table: str, names: Iterable[str]) -> str:
        """
        Columns to what is planned for them.
        """
        return ", ".join(f"{self.column(table, name)} = {self._value(table, name)}" for name in names)

    def same_row(self, table: str, row_id: str = "p.row_id") -> str:
        """
        That ``t`` is the row with that id.
        """
        return f"t.{self.column(table, 'id')} = {self._cast(table, 'id', row_id)}"

    def among(self, table: str) -> str:
        """
        That ``t`` is one of the rows of the parameter ``ids``.
        """
        return f"t.{self.column(table, 'id')} = ANY (CAST(:ids AS {self._type(table, 'id')}[]))"

    def absent(self) -> str:
        """
        That no row carries the planned SID. The second column counts where the first is empty; it has no index, so it is
        looked through once for all of ``p``.
        """
        messages, sid = self.table("messages"), self.column("messages", "message_sid")
        absent = f"NOT EXISTS (SELECT FROM {messages} x WHERE x.{sid} = p.sid)"
        if not self._database.has("messages", "twilio_message_sid"):
            return absent
        second = f"x.{self.column('messages', 'twilio_message_sid')}"
        carried = f"SELECT {second} FROM {messages} x WHERE (x.{sid} IS NULL OR x.{sid} = '')"  # noqa: S608  names, quoted
        return f"{absent} AND p.sid NOT IN ({carried} AND {second} IN (SELECT sid FROM p))"  # noqa: S608  likewise

    def moved(self, table: str, names: Iterable[str]) -> str:
        """
        Whether a column is no longer what was planned on.
        """
        return " OR ".join(self._moved(table, name) for name in names)

    def _moved(self, table: str, name: str) -> str:
        stored = f"t.{self.column(table, name)}"
        if self._type(table, name) in {"json", "jsonb"}:  # as text: to numbers in it 1.0 and 1.00 are the same
            return f"CAST({stored} AS text) IS DISTINCT FROM {_planned_text(name)}"
        return f"{stored} IS DISTINCT FROM {self._value(table, name)}"

    def still_open(self, table: str) -> str:
        """
        Whether confirm will still record what a booking's metadata holds; true of any other table's row.
        """
        if table != "pending_bookings":
            return "true"
        pending = f"CAST(t.{self.column(table, 'status')} AS text) = 'pending'"
        if not self._database.has(table, "expires_at"):
            return pending
        return f"{pending} AND coalesce(t.{self.column(table, 'expires_at')} > now(), true)"

    def differing(self, table: str, names: Iterable[str]) -> str:
        """
        The names of the columns that are not what was planned, as their own types see it.
        """
        return f"array_remove(ARRAY[{', '.join(self._differing(table, name) for name in names)}], NULL)"

    def _differing(self, table: str, name: str) -> str:
        stored, value = f"t.{self.column(table, name)}", self._value(table, name)
        if self._type(table, name) == "json":  # has no equality of its own
            stored, value = f"CAST({stored} AS jsonb)", f"CAST({value} AS jsonb)"
        return f"CASE WHEN {stored} IS DISTINCT FROM {value} THEN '{name}' END"

    def _value(self, table: str, name: str) -> str:
        return self._cast(table, name, _planned_text(name))

    def _cast(self, table: str, name: str, value: str) -> str:
        """
        The text as the column's type. Character types take it as it is: a cast would cut what is too long.
        """
        return value if self._facts(table, name).characters else f"CAST({value} AS {self._type(table, name)})"

    def _type(self, table: str, name: str) -> str:
        return verbatim(self._facts(table, name).type)

    def _facts(self, table: str, name: str) -> ColumnFacts:
        return self._database.columns(table)[self._database.tables[table].c[name].name]


def planned(names: Iterable[str]) -> str:
    """
    The parameter ``rows`` as the relation ``p``.
    """
    values = "".join(f", {quoted(name)} text" for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS p(n integer, sid text, row_id text{values})"


def _planned_text(name: str) -> str:
    return f"p.{quoted(name)}"


def rows(steps: Mapping[int, Step], images: Mapping[int, Image | None]) -> str:
    """
    The parameter ``rows``.

    Args:
        images: The planned columns, by the steps' positions; all of the same names.
    """
    # NOTE: the doctor's names, so none of them can be taken for one of the step's own.
    planned_rows = [
        {"n": number, "sid": step.sid, "row_id": step.row_id, **(images[number] or {})}
        for number, step in steps.items()
    ]
    return msgspec.json.encode(planned_rows).decode()


def restored(columns: Sequence[str], image: str) -> str:
    """
    Columns, by their names in the database, to what a row image holds.
    """
    # NOTE: only those columns are read from the image, because not every type can be read from its JSON.
    parts = (
        f"{quoted(name)} = (json_populate_record(t, json_build_object({_literal(name)}, {image} -> {_literal(name)}))).{quoted(name)}"
        for name in columns
    )
    return ", ".join(parts)


def quoted(name: str) -> str:
    """
    A name as SQL.
    """
    return verbatim('"' + name.replace('"', '""') + '"')


def verbatim(sql: str) -> str:
    """
    SQL in which no colon begins a parameter.
    """
    return sql.replace(":", "\\:")


def _literal(text: str) -> str:
    return verbatim("'" + text.replace("'", "''") + "'")
