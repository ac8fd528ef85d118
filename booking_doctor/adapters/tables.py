"""
The application's tables as SQLAlchemy knows them, under the names this installation uses.

They are the one definition: statements are built from them, so every name is quoted and none is pasted into SQL, and the
rehearsal world's schema is created from them. Column keys are the doctor's names (`booking_doctor.settings.COLUMNS`).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from booking_doctor.settings import COLUMNS, REFERENCES, Names

JOURNAL_SCHEMA: Final = "booking_doctor"


def application_tables(names: Names) -> dict[str, Table]:
    """
    All tables by the doctor's name.
    """
    build = _Builder(names, MetaData())
    return {table: build.table(table) for table in COLUMNS}


class _Builder:
    """
    Turns the doctor's table and column names into this installation's.
    """

    def __init__(self, names: Names, metadata: MetaData) -> None:
        self.names = names
        self.metadata = metadata

    def table(self, table: str) -> Table:
        columns = _columns()[table]
        if set(columns) != set(COLUMNS[table]):
            message = f"tables.py and settings.COLUMNS disagree about {table}"
            raise AssertionError(message)
        built = [self._column(table, name, *definition) for name, definition in columns.items()]
        name, schema = self.names.table(table), self.names.schema_of(table)
        return Table(name, self.metadata, *built, *self._constraints(table), *self._indexes(table), schema=schema)

    def _column(self, table: str, name: str, kind: Any, options: dict[str, Any]) -> Column[Any]:  # noqa: ANN401
        identity = [Identity(always=True)] if options.pop("identity", False) else []
        return Column(self.names.column(table, name), kind, *identity, key=name, **options)

    def _constraints(self, table: str) -> list[Any]:
        keys = [
            ForeignKeyConstraint(
                [column], [f"{self._qualified(target)}.{self.names.column(target, 'id')}"], link_to_name=True
            )
            for (owner, column), target in REFERENCES.items()
            if owner == table
        ]
        checks = [
            CheckConstraint(f"{self._quoted(table, column)} in ({', '.join(map(repr, values))})")
            for (owner, column), values in _CHECKS.items()
            if owner == table
        ]
        return [*keys, *checks, *(UniqueConstraint(column) for owner, column in _UNIQUE if owner == table)]

    def _indexes(self, table: str) -> list[Index]:
        return [Index(f"{self.names.table(table)}_{column}", column) for owner, column in _INDEXES if owner == table]

    def _qualified(self, table: str) -> str:
        return ".".join(filter(None, (self.names.schema_of(table), self.names.table(table))))

    def _quoted(self, table: str, column: str) -> str:
        return '"' + self.names.column(table, column).replace('"', '""') + '"'


_CHECKS: Final = {
    ("pending_bookings", "status"): ("pending", "confirmed", "expired", "cancelled"),
    ("messages", "direction"): ("inbound", "outbound"),
    ("jobs", "status"): ("queued", "running", "done", "failed"),
}
_UNIQUE: Final = (("pending_bookings", "token"), ("bookings", "pending_booking_id"))
_INDEXES: Final = (("messages", "customer_id"), ("messages", "created_at"), ("messages", "message_sid"))

_Definition = tuple[Any, dict[str, Any]]


def _columns() -> dict[str, dict[str, _Definition]]:
    """
    Types and options by table and column. Made anew for each call: a Column belongs to one table.
    """
    return {
        "customers": {
            "id": _uuid(),
            "name": _text(),
            "email": _text(),
            "phone": _text(nullable=False),
            "created_at": _now(),
        },
        "events": {
            "id": _uuid(),
            "title": _text(nullable=False),
            "starts_at": _time(nullable=False),
            "capacity": (Integer, {}),
        },
        "pending_bookings": {
            "id": _uuid(),
            "token": _text(nullable=False),
            "event_id": (Uuid, {}),
            "customer_name": _text(),
            "customer_email": _text(),
            "customer_phone": _text(nullable=False),
            "status": _text(nullable=False, server_default="pending"),
            "customer_id": (Uuid, {}),
            "metadata": _json(),
            "expires_at": _time(),
            "confirmed_at": _time(),
            "created_at": _now(),
            "updated_at": _now(),
        },
        "bookings": {
            "id": _uuid(),
            "event_id": (Uuid, {}),
            "customer_id": (Uuid, {"nullable": False}),
            "pending_booking_id": (Uuid, {}),
            "status": _text(nullable=False, server_default="confirmed"),
            "created_at": _now(),
        },
        "messages": {
            "id": _serial(),
            "customer_id": (Uuid, {"nullable": False}),
            "direction": _text(nullable=False),
            "message_sid": _text(),
            "twilio_message_sid": _text(),
            "body": _text(),
            "status": _text(),
            "twilio_status": _text(),
            "from_number": _text(),
            "to_number": _text(),
            "message_type": _text(nullable=False, server_default="sms"),
            "segments": (Integer, {}),
            "cost_usd": (Numeric(10, 5), {}),
            "created_at": _now(),
            "read_at": _time(),
        },
        "jobs": {
            "id": _serial(),
            "type": _text(nullable=False),
            "payload": _json(),
            "run_at": _now(),
            "status": _text(nullable=False, server_default="queued"),
            "attempts": (Integer, {"nullable": False, "server_default": text("0")}),
            "last_error": _text(),
            "created_at": _now(),
            "finished_at": _time(),
        },
        "audit_logs": {
            "id": _serial(),
            "action": _text(nullable=False),
            "entity_type": _text(),
            "entity_id": _text(),
            "details": _json(),
            "created_at": _now(),
        },
        "webhook_logs": {
            "id": _serial(),
            "source": _text(nullable=False),
            "event_type": _text(),
            "payload": _json(),
            "status": _text(),
            "error": _text(),
            "created_at": _now(),
        },
    }


def _uuid() -> _Definition:
    return Uuid, {"primary_key": True, "server_default": text("gen_random_uuid()")}


def _serial() -> _Definition:
    return BigInteger, {"primary_key": True, "identity": True}


def _text(**options: Any) -> _Definition:  # noqa: ANN401  SQLAlchemy's own options
    return Text, options


def _time(**options: Any) -> _Definition:  # noqa: ANN401  SQLAlchemy's own options
    return DateTime(timezone=True), options


def _now() -> _Definition:
    return _time(nullable=False, server_default=text("now()"))


def _json() -> _Definition:
    return JSONB, {"nullable": False, "server_default": text("'{}'")}
