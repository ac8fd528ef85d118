"""
What an application's tables are like here, and the statements that fit them: for whoever writes as the application does.

Columns and tables that an installation lacks are left out. Values travel without a type, so that PostgreSQL takes that of
the column: ids may be numbers as well as UUIDs, metadata may be text as well as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.statements import Statements

_WHOLE_TYPES: Final = frozenset({"smallint", "integer", "bigint"})
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_WHOLE: Final = re.compile("[0-9]{1,18}", re.ASCII)


class Installation:
    """
    One installation's tables. The catalog is asked once.

    Attributes:
        sql: Makes a statement for the driver of a text with ``{table.column}`` and ``%(parameter)s`` in it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.sql = Statements(database).for_driver

    def has(self, table: str, column: str | None = None) -> bool:
        """
        Whether it is there.
        """
        return self._database.has(table, column) if column else bool(self._database.columns(table))

    def need(self, table: str, *columns: str) -> None:
        """
        Raises:
            SchemaMismatch: The table or one of its columns is not there.
        """
        self._database.need(table, *columns)

    def present(self, table: str, names: Iterable[str]) -> list[str]:
        """
        Those of the columns that are there.
        """
        return [name for name in names if self._database.has(table, name)]

    def read(self, table: str, names: Iterable[str], type_: str) -> str:
        """
        Columns of a select, null where they are not there. The table is ``t``.
        """
        columns = (f"t.{{{table}.{name}}}" if self.has(table, name) else "NULL" for name in names)
        return ", ".join(f"CAST({column} AS {type_}) AS {name}" for column, name in zip(columns, names, strict=True))

    def insert(self, table: str, names: Iterable[str], *, once: str = "", back: str = "id") -> str:
        """
        Insert the parameters of those names, and return the column *back*, as text, under its name.

        Args:
            once: The column that must not be there twice; then nothing is inserted or returned.
        """
        names = list(names)
        columns = ", ".join(f"{{{table}.{name}}}" for name in names)
        conflict = f" ON CONFLICT ({{{table}.{once}}}) DO NOTHING" if once else ""
        return (
            f"INSERT INTO {{{table}}} ({columns}) VALUES ({', '.join(f'%({name})s' for name in names)}){conflict}"  # noqa: S608  names of ours
            f" RETURNING CAST({{{table}.{back}}} AS text) AS {back}"
        )

    def update(self, table: str, names: Iterable[str], condition: str, *, back: str = "id") -> str:
        """
        Set columns to the parameters of those names where *condition* holds, and return the column *back* likewise.
        """
        assignments = ", ".join(f"{{{table}.{name}}} = %({name})s" for name in names)
        return (
            f"UPDATE {{{table}}} SET {assignments} WHERE {condition}"  # noqa: S608  names of ours
            f" RETURNING CAST({{{table}.{back}}} AS text) AS {back}"
        )

    def is_id(self, table: str, text: str) -> bool:
        """
        Whether the text can be an id of that table at all; over one that cannot PostgreSQL would break off the transaction.
        """
        type_ = self._database.columns(table)[self._database.tables[table].c["id"].name].type
        if type_ == "uuid":
            return _UUID.fullmatch(text) is not None
        return _WHOLE.fullmatch(text) is not None if type_ in _WHOLE_TYPES else is_text(text)

    @cached_property
    def statuses(self) -> frozenset[str] | None:
        """
        The words that ``messages.status`` takes; None for any.
        """
        return self._database.vocabulary("messages", "status") if self.has("messages", "status") else None

    @cached_property
    def booking(self) -> str:
        """
        A pending booking, as a select without its condition. The table is ``t``.
        """
        self.need("pending_bookings", "id", "token", "customer_phone", "status", "metadata", "created_at")
        texts = ("id", "token", "customer_phone", "status", "metadata", "event_id", "customer_name", "customer_email")
        columns = (
            self.read("pending_bookings", texts, "text"),
            self.read("pending_bookings", ("created_at", "expires_at"), "timestamptz"),
            f"{self._booked_customer()} AS customer_id",
            f"{self._lasts()} AS lasts",
        )
        return f"SELECT {', '.join(columns)} FROM {{pending_bookings}} t"  # noqa: S608  names of ours

    def _booked_customer(self) -> str:
        """
        A booking's own column, else the lasting booking that was made of it.
        """
        known = ["NULL"]
        if self.has("bookings") and self.has("bookings", "pending_booking_id"):
            known.insert(
                0,
                "(SELECT min(CAST(b.{bookings.customer_id} AS text)) FROM {bookings} b"
                " WHERE b.{bookings.pending_booking_id} = t.{pending_bookings.id})",
            )
        if self.has("pending_bookings", "customer_id"):
            known.insert(0, "CAST(t.{pending_bookings.customer_id} AS text)")
        return f"coalesce({', '.join(known)})"

    def _lasts(self) -> str:
        """
        Whether a lasting booking has been made of it; false where that cannot be told.
        """
        if not (self.has("bookings") and self.has("bookings", "pending_booking_id")):
            return "false"
        return "EXISTS (SELECT FROM {bookings} b WHERE b.{bookings.pending_booking_id} = t.{pending_bookings.id})"

    @cached_property
    def with_sid(self) -> str:
        """
        That a row of ``messages`` goes by the parameter ``sid``. The second column has no index, so it counts where the first
        is empty.
        """
        if not self.has("messages", "twilio_message_sid"):
            return "{messages.message_sid} = %(sid)s"
        return (
            "({messages.message_sid} = %(sid)s OR ({messages.message_sid} IS NULL OR {messages.message_sid} = '')"
            " AND {messages.twilio_message_sid} = %(sid)s)"
        )

    def values(self, table: str, values: Mapping[str, object]) -> dict[str, object]:
        """
        Those for which there is a column.
        """
        return {name: values[name] for name in self.present(table, values)}


def is_text(text: str) -> bool:
    """
    Whether PostgreSQL can hold it: no NUL, no halves of characters.
    """
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
