"""
Settings that follow a role or a database around, and are in no file of the application.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from booking_doctor.checks.access import application_role
from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.schema import NEEDED, READY, needed
from booking_doctor.evidence import Queries
from booking_doctor.findings import Severity

_SETTINGS: Final = """
SELECT DISTINCT ON (x.name) x.name, x.value, x.whose, x.reset
FROM (
  SELECT s.name, current_setting(s.name) AS value, CAST(0 AS oid) AS setrole, CAST(0 AS oid) AS setdatabase,
    'the server' AS whose, 'ALTER SYSTEM RESET ' AS reset, false AS follows
  FROM pg_settings s WHERE s.source IN ('configuration file', 'command line', 'environment variable')
  UNION ALL
  SELECT split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1), s.setrole, s.setdatabase,
    CASE WHEN s.setrole = 0 THEN 'the database ' || current_database() ELSE 'the role ' || r.rolname END,
    format('ALTER %s%s RESET ', CASE WHEN s.setrole = 0 THEN format('DATABASE %I', current_database())
      ELSE format('ROLE %I', r.rolname) END,
      CASE WHEN s.setrole <> 0 AND s.setdatabase <> 0 THEN format(' IN DATABASE %I', current_database()) END), true
  FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS entry
  JOIN pg_database d ON d.datname = current_database() AND s.setdatabase IN (0, d.oid)
  JOIN pg_roles r ON r.rolname = :role AND s.setrole IN (0, r.oid)
) AS x
ORDER BY x.name, x.follows DESC, x.setrole <> 0 DESC, x.setdatabase <> 0 DESC
"""
_SCHEMA_OF: Final = """
SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(:relation)
"""
SHORTEST_TIMEOUT_S: Final = 1.0
"""A statement of the application may take that long: below, an ordinary write can be cancelled."""

_UNITS_S: Final = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


@check(Severity.WARNING, after=READY)
def schema_role_setting(evidence: Evidence) -> Iterator[Fault]:
    """
    A setting that follows the application's role or the database around makes its writes fail or miss their table.

    ## Why it matters

    Such a setting is in no file of the application. With `default_transaction_read_only` every write fails, a
    `statement_timeout` below a second cancels writes while the database is busy, and a `search_path` without the tables'
    schema makes unqualified names mean nothing, or another table.

    ## How to repair

    Take the setting back: `ALTER ROLE … RESET …`, or give it a value that serves. It holds from the next connection on,
    so restart what keeps connections open.

    ## When this is fine

    For a role that only reads; then name the one that writes as `application_role` in `booking-doctor.toml`.
    """
    role = evidence.once(application_role)
    settings = {row["name"]: row for row in evidence.database.rows(_SETTINGS, role=role["name"])}
    for name, trouble in (
        ("default_transaction_read_only", _read_only),
        ("statement_timeout", _too_short),
        ("search_path", _lost),
    ):
        row = settings.get(name)
        wrong = trouble(row["value"], evidence.database, role["name"]) if row else None
        if row and wrong:
            yield Fault(
                subject=f"schema/{role['name']}.{name}",
                summary=f"The setting {name} of {row['whose']} is {row['value']}, so {wrong}.",
                remedy=f"Run: {row['reset']}{name};",
                evidence={"role": role["name"], "value": row["value"]},
                severity=Severity.ERROR if trouble is _read_only else None,
            )


def _read_only(value: str, _database: Queries, role: str) -> str | None:
    return f"every write of {role} fails" if value.lower() in {"on", "true", "yes", "1", "t", "y"} else None


def _too_short(value: str, _database: Queries, role: str) -> str | None:
    match = _DURATION.fullmatch(value)
    seconds = float(match[1]) * _UNITS_S.get(match[2], 0) if match else 0
    return f"writes of {role} are cancelled after {seconds:g} s" if 0 < seconds < SHORTEST_TIMEOUT_S else None


def _lost(value: str, database: Queries, role: str) -> str | None:
    searched = {role if name == "$user" else name for name in _names(value)}
    for table in NEEDED:
        found = database.rows(_SCHEMA_OF, relation=needed(database, table))[0]
        if found["schema"] not in searched:
            return f"{role} does not find the table {found['table']}, which is in the schema {found['schema']}"
    return None


def _names(path: str) -> list[str]:
    found = re.finditer(r'\s*(?:"((?:[^"]|"")*)"|([^,"]+))\s*(?:,|$)', path)
    return [match[1].replace('""', '"') if match[1] is not None else match[2].strip().lower() for match in found]
