"""
What ``booking-doctor.toml`` says, checked: names of tables and columns, what is ignored, whom to call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any, Final

from booking_doctor.core.escalation import contacts, misshapen
from booking_doctor.errors import SettingsError
from booking_doctor.settings import COLUMNS, Ignored, Names, Preferences

_KEYS: Final = ("application_role", "default_region", "escalation", "ignore", "retention_days", "schema", "tables")


def preferences(document: Mapping[str, Any], source: str, schema: str | None = None) -> Preferences:
    """
    Read the parsed content of ``booking-doctor.toml``.

    Args:
        source: The file's name, for errors.
        schema: The tables' schema where the document names none.

    Raises:
        SettingsError: A key is unknown or a value cannot be meant.
    """
    unknown = sorted(set(document) - set(_KEYS))
    if unknown:
        message = f"{source} has an unknown key: {unknown[0]}"
        raise SettingsError(message, hint=f"known are {', '.join(_KEYS[:-1])} and {_KEYS[-1]}")
    region, role = document.get("default_region", "US"), document.get("application_role")
    days, wrong = document.get("retention_days", 400), None
    if not isinstance(region, str) or not re.fullmatch("[A-Z]{2}", region):
        wrong = "default_region must be a country code of two capital letters, such as US"
    elif not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 400:
        wrong = "retention_days must be a whole number from 1 to 400"
    elif role is not None and not _is_name(role):
        wrong = "application_role must be the name of a database role, such as service_role"
    if wrong:
        message = f"{source}: {wrong}"
        raise SettingsError(message)
    schema = document.get("schema", schema)
    return Preferences(
        names=_names(document.get("tables", {}), schema, source),
        region=region,
        retention=timedelta(days=days),
        application_role=role,
        ignored=_ignored(document.get("ignore", []), source),
        escalation=contacts(document.get("escalation", []), source),
    )


_FINGERPRINT: Final = re.compile(r"[a-z][a-z0-9-]*:\S.*")
_IGNORE_KEYS: Final = ("fingerprint", "reason", "until")


def _ignored(entries: Any, source: str) -> tuple[Ignored, ...]:  # noqa: ANN401  whatever the file holds
    read = [_ignored_entry(entry) for entry in entries] if isinstance(entries, list) else ["is not in a list"]
    wrong = next((f"entry {n} {one}" for n, one in enumerate(read, start=1) if isinstance(one, str)), None)
    ignored = tuple(one for one in read if isinstance(one, Ignored))
    fingerprints = [one.fingerprint for one in ignored]
    wrong = wrong or next((f"has two entries for {one}" for one in fingerprints if fingerprints.count(one) > 1), None)
    if wrong:
        message = f"{source}: ignore {wrong}"
        example = '[[ignore]] with fingerprint = "message-orphaned:message/SM…", reason = "…" and until = 2026-01-31'
        raise SettingsError(message, hint=f"write {example}")
    return ignored


def _ignored_entry(entry: Any) -> Ignored | str:  # noqa: ANN401
    """
    What the entry says, or what is wrong with it.
    """
    if wrong := misshapen(entry, _IGNORE_KEYS):
        return wrong
    fingerprint, reason, until = (entry[key] for key in _IGNORE_KEYS)
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
        return "has a fingerprint that no report shows"
    if not isinstance(reason, str) or not reason.strip():
        return f"({fingerprint}) has a reason that says nothing"
    if (day := _day(until)) is None:
        return f"({fingerprint}) has an until that is no day: the first on which the finding counts again"
    return Ignored(fingerprint=fingerprint, reason=reason, until=day)


def _day(value: object) -> date | None:
    # NOTE: TOML has days of its own, and moments too, which to Python are days.
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        with suppress(ValueError):
            return date.fromisoformat(value)
    return None


_NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names (chapter "Identifiers and Key Words")."""


def _names(tables: Any, schema: str | None, source: str) -> Names:  # noqa: ANN401  whatever the file holds
    example = 'write [tables.messages] with name = "…" and columns = { message_sid = "…" }'
    if not isinstance(tables, Mapping):
        message = f"{source}: tables is not written as a table"
        raise SettingsError(message, hint=example)
    schemas: dict[str, str] = {}
    table_names: dict[str, str] = {}
    column_names: dict[tuple[str, str], str] = {}
    for table, entry in tables.items():
        if table not in COLUMNS or not _is_table_entry(entry):
            message = f"{source}: tables.{table} is no table the doctor knows, or is not written as one"
            raise SettingsError(message, hint=example)
        table_names[table] = entry.get("name", table)
        if "schema" in entry:
            schemas[table] = entry["schema"]
        for column, name in entry.get("columns", {}).items():
            if column not in COLUMNS[table]:
                message = f"{source}: tables.{table}.columns.{column} is no column the doctor knows"
                raise SettingsError(message, hint=f"known are {', '.join(COLUMNS[table])}")
            column_names[table, column] = name
    named = [*schemas.values(), *table_names.values(), *column_names.values(), *([] if schema is None else [schema])]
    if not all(map(_is_name, named)):
        message = f"{source}: every name must be a text that is not empty, of at most {_NAME_BYTES} bytes"
        raise SettingsError(message, hint=example)
    names = Names(schema=schema, schemas=schemas, tables=table_names, columns=column_names)
    _refuse_shared_names(names, source)
    return names


def _is_table_entry(entry: object) -> bool:
    return (
        isinstance(entry, Mapping)
        and not set(entry) - {"schema", "name", "columns"}
        and isinstance(entry.get("columns", {}), Mapping)
    )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name.encode()) <= _NAME_BYTES and "\0" not in name


def _refuse_shared_names(names: Names, source: str) -> None:
    called = {"tables": [(names.schema_of(table), names.table(table)) for table in COLUMNS]} | {
        f"columns of {table}": [(None, names.column(table, column)) for column in columns]
        for table, columns in COLUMNS.items()
    }
    for what, taken in called.items():
        shared = sorted(name for schema, name in set(taken) if taken.count((schema, name)) > 1)
        if shared:
            message = f"{source}: two {what} are called {shared[0]}"
            raise SettingsError(message, hint="each needs a name of its own; those not mentioned keep the doctor's")
