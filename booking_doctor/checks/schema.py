"""
The application's tables: what must be there, and where it lies.

Everything is read from pg_catalog: the views of information_schema hide what the reader's role does not own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.errors import NotHere, SchemaMismatch
from booking_doctor.evidence import Queries
from booking_doctor.findings import Severity

NEEDED: Final = {
    "customers": ("id", "phone"),
    "pending_bookings": ("id", "token", "customer_phone", "status", "metadata", "created_at"),
    "messages": (
        *("id", "customer_id", "direction", "message_sid", "body", "status", "from_number", "to_number", "created_at"),
    ),
}
"""The tables and columns without which neither the application's recording nor the doctor works."""

READY: Final = ("schema-table-missing", "schema-column-missing")
"""What a check of needed tables comes after: these say which of them there is nothing to look at in."""

WRITTEN: Final = {
    "pending_bookings": ("metadata", "status", "customer_id"),
    "messages": (
        *("customer_id", "direction", "message_sid", "twilio_message_sid", "body", "status", "twilio_status"),
        *("from_number", "to_number", "segments", "cost_usd"),
    ),
}
"""What the application writes there in the course of a booking's SMS."""


def subject(database: Queries, table: str, column: str | None = None) -> str:
    """
    A table or column as findings name it: as it is called here.
    """
    name = database.name(table)
    return f"schema/{name}.{database.name(table, column)}" if column else f"schema/{name}"


def needed(database: Queries, table: str, *columns: str) -> str:
    """
    The table as `to_regclass` takes it.

    Raises:
        NotHere: It, or one of these columns of it, is not there, so nothing can be said about it.
    """
    if not database.has(table):
        message = f"there is no table {database.name(table)}"
        raise NotHere(message, table=table)
    for column in columns:
        if not database.has(table, column):
            message = f"there is no column {database.name(table, column)} in the table {database.name(table)}"
            raise NotHere(message, table=table, column=column)
    return database.relation(table)


_BEHIND: Final = """
WITH RECURSIVE behind (oid, depth) AS (
  SELECT CAST(to_regclass(:relation) AS oid), 0
  UNION
  SELECT d.refobjid, b.depth + 1 FROM behind b JOIN pg_class v ON v.oid = b.oid AND v.relkind = 'v'
  JOIN pg_rewrite w ON w.ev_class = v.oid AND w.ev_type = '1'
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid <> v.oid
  WHERE b.depth < 20
)
SELECT DISTINCT CAST(c.oid AS regclass)::text AS relation, CAST(c.relkind AS text) AS kind,
  CAST(:columns AS text[]) <@ ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a WHERE a.attrelid = c.oid
    AND NOT a.attisdropped) AS whole
FROM behind b JOIN pg_class c ON c.oid = b.oid WHERE c.relkind IN ('r', 'p', 'm', 'f') ORDER BY 1
"""

_ELSEWHERE_KEPT: Final = {"f": "foreign table", "m": "materialized view"}


def stored(database: Queries, table: str, *columns: str) -> str:
    """
    Where the rows of a table lie, as `to_regclass` takes it: a view may stand for one.

    Raises:
        NotHere: It, or one of these columns of it, is not there.
        SchemaMismatch: It lies where its keys and types are not known.
    """
    names = [database.name(table, column) for column in columns]
    places = database.rows(_BEHIND, relation=needed(database, table, *columns), columns=names)
    hint = "map the table that is behind it in booking-doctor.toml"
    for place in places:
        if place["kind"] in _ELSEWHERE_KEPT:
            message = (
                f"{place['relation']} is a {_ELSEWHERE_KEPT[place['kind']]}, which has no keys and rules of its own"
            )
            raise SchemaMismatch(message, hint=hint)
    if len(places) != 1 or not places[0]["whole"]:
        shown = ", ".join(place["relation"] for place in places) or "no table"
        message = f"{database.name(table)} shows {shown} in a way that does not tell which column of it is which"
        raise SchemaMismatch(message, hint=hint)
    return str(places[0]["relation"])


def stored_column(database: Queries, table: str, column: str) -> dict[str, str]:
    """
    Where a column lies, as parameters.
    """
    return {"relation": stored(database, table, column), "column": database.name(table, column)}


_ELSEWHERE: Final = """
SELECT n.nspname AS schema, has_schema_privilege(n.oid, 'USAGE') AS usable, quote_ident(n.nspname) AS quoted,
  quote_ident(current_user) AS role
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = :name AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> ALL (CAST(:foreign AS text[]))
  AND NOT starts_with(n.nspname, 'pg_') AND c.oid IS DISTINCT FROM CAST(to_regclass(:relation) AS oid)
ORDER BY n.nspname
"""

_PLATFORM: Final = (
    *("information_schema", "auth", "cron", "extensions", "graphql", "graphql_public", "net", "pgsodium", "realtime"),
    *("storage", "supabase_functions", "supabase_migrations", "vault"),
)
"""Schemas that PostgreSQL or Supabase brings along; theirs are no tables of the application (``realtime.messages``)."""


def _elsewhere(database: Queries, table: str) -> list[Any]:
    """
    Tables of the same name in other schemas.
    """
    parameters = {"name": database.name(table), "relation": database.relation(table), "foreign": list(_PLATFORM)}
    return list(database.rows(_ELSEWHERE, **parameters))


@check(Severity.ERROR)
def schema_table_missing(evidence: Evidence) -> Iterator[Fault]:
    """
    A table that the booking's SMS needs is not there: customers, pending bookings or messages.

    ## Why it matters

    Every write to it fails, and no other check can say anything about it. Optional tables (jobs, logs, events) may be
    missing.

    ## How to repair

    First look whether the doctor is at the right database. Then run the application's migrations, or, where the table
    has another name, say so in `booking-doctor.toml`: `[tables.messages]` with `name = "…"`, and with `schema = "…"`
    where it is in a schema that the role does not search.

    ## When this is fine

    Never.
    """
    database = evidence.database
    for table in NEEDED:
        if not database.has(table):
            elsewhere = _elsewhere(database, table)
            where = f" where the role looks; the schema {elsewhere[0]['schema']} has one" if elsewhere else ""
            yield Fault(
                subject=subject(database, table),
                summary=f"There is no table {database.name(table)}{where or ' in this database'}, and the booking's SMS needs it.",
                remedy=_to_find(table, elsewhere),
                evidence={
                    "relation": database.relation(table),
                    "schemas_with_it": [row["schema"] for row in elsewhere],
                },
            )


def _to_find(table: str, elsewhere: list[Any]) -> str:
    if not elsewhere:
        return (
            f'Run the application\'s migrations, or name the table in booking-doctor.toml: [tables.{table}] name = "…".'
        )
    found = elsewhere[0]
    if not found["usable"]:
        return f"Run: GRANT USAGE ON SCHEMA {found['quoted']} TO {found['role']};"
    return f'Name its schema in booking-doctor.toml: [tables.{table}] schema = "{found["schema"]}".'


@check(Severity.ERROR, after=("schema-table-missing",))
def schema_column_missing(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A table lacks a column that the application's recording or the doctor needs.

    ## Why it matters

    A write that names the column fails as a whole. An application that swallows the error looks as if it had never
    tried.

    ## How to repair

    Run the migration that adds the column. Where it has another name, say so in `booking-doctor.toml`:
    `[tables.messages]` with `columns = { message_sid = "…" }`.

    ## When this is fine

    Never. Columns that the doctor can do without are not reported.
    """
    database = evidence.database
    for table, columns in NEEDED.items():
        if not database.has(table):
            yield BlindSpot(subject=subject(database, table), reason=f"there is no table {database.name(table)}")
            continue
        for column in columns:
            if not database.has(table, column):
                name = database.name(table, column)
                yield Fault(
                    subject=subject(database, table, column),
                    summary=f"The table {database.name(table)} has no column {name}, and the booking's SMS needs it.",
                    remedy=f"Add the column, or name it in booking-doctor.toml: "
                    f'[tables.{table}] columns = {{ {column} = "…" }}.',
                    evidence={"relation": database.relation(table), "column": name},
                )


@check(Severity.WARNING, after=READY)
def schema_homonym(evidence: Evidence) -> Iterator[Fault]:
    """
    Another schema has a table of the same name.

    ## Why it matters

    Which of the two a statement means depends on the search path of whoever runs it. A row that is written to one and
    looked for in the other is lost without an error.

    ## How to repair

    Find out which one the application writes (`n_tup_ins` in `pg_stat_user_tables` counts), then drop or rename the
    other, or write the schema before every name.

    ## When this is fine

    Where every tenant has a schema of its own and every writer names it. Schemas that the platform brings along are not
    reported.
    """
    database = evidence.database
    for table in NEEDED:
        for row in _elsewhere(database, table):
            name = database.name(table)
            yield Fault(
                subject=f"schema/{row['schema']}.{name}",
                summary=f"The schema {row['schema']} has a table {name} too, beside the one that the doctor looks at.",
                remedy="Find out which one the application writes, and rename the other or name its schema everywhere.",
                evidence={"schema": row["schema"], "table": name},
            )
