"""
The application's tables: what must be there, and what keys and indexes hold together.

Everything is read from pg_catalog: the views of information_schema hide what the reader's role does not own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.errors import NotHere
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


def _place(database: Queries, table: str, column: str) -> dict[str, str]:
    """
    Where a column is, as parameters.
    """
    return {"relation": needed(database, table, column), "column": database.name(table, column)}


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
    has another name, say so in `booking-doctor.toml`: `[tables.messages]` with `name = "…"`, or `schema = "…"` where
    it is in a schema that the role does not search.

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
    return f'Name the schema in booking-doctor.toml: schema = "{found["schema"]}".'


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


# --- the customer and the SID ----------------------------------------------------------------------------------------

_NULLS: Final = """
SELECT a.attnotnull OR t.typnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
    AND pg_get_expr(k.conbin, k.conrelid) = format('(%I IS NOT NULL)', a.attname)) AS required,
  format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%I IS NOT NULL) NOT VALID;', CAST(c.oid AS regclass), made.name,
    a.attname) AS add,
  format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', CAST(c.oid AS regclass), made.name) AS validate,
  format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', CAST(c.oid AS regclass), a.attname) AS demand,
  format('ALTER TABLE %s DROP CONSTRAINT %I;', CAST(c.oid AS regclass), made.name) AS tidy
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid,
  LATERAL (SELECT concat(left(c.relname, 20), '_', left(a.attname, 20), '_present') AS name) AS made
WHERE c.oid = to_regclass(:relation) AND a.attname = :column
"""


def _customer(database: Queries) -> Any:  # noqa: ANN401  a row of _NULLS
    return database.rows(_NULLS, **_place(database, "messages", "customer_id"))[0]


@check(Severity.ERROR, after=READY)
def schema_customer_id_nullable(evidence: Evidence) -> Iterator[Fault]:
    """
    A message may be recorded without a customer: `messages.customer_id` takes null.

    ## Why it matters

    Rows without a customer are seen by nobody: every list goes by the customer. The recording is deferred until confirm
    for the very reason that the column was required.

    ## How to repair

    Assign the rows that have none (`booking-doctor backfill` plans it), then require the column again, in steps that
    keep no writer waiting: add `CHECK (customer_id IS NOT NULL) NOT VALID`, validate it in a transaction of its own, then
    `SET NOT NULL` and drop the check.

    ## When this is fine

    While it was relaxed on purpose and readers know rows without a customer. Then ignore this finding, with a date.
    """
    row, name = _customer(evidence.database), evidence.database.name("messages", "customer_id")
    if not row["required"]:
        yield Fault(
            subject=subject(evidence.database, "messages", "customer_id"),
            summary=f"The column {evidence.database.name('messages')}.{name} takes null, so a message may belong to nobody; it should be NOT NULL.",
            remedy=f"Run: {row['add']} {row['validate']} {row['demand']} {row['tidy']}",
            evidence={"not_null": False},
        )


@check(Severity.INFO, after=READY)
def schema_customer_id_required(evidence: Evidence) -> Iterator[Fault]:
    """
    A message cannot be recorded before its customer exists: `messages.customer_id` refuses null.

    ## Why it matters

    It is why the booking's SMS is kept in `pending_bookings.metadata` until confirm creates the customer. An application
    that still inserts it at once fails with SQLSTATE 23502 after the text has gone out.

    ## How to repair

    Nothing is to be repaired in the table. Make sure that the code that serves stores `metadata.initial_sms`, and that
    confirm records it.

    ## When this is fine

    Always; it is said because it explains the deferred recording.
    """
    if _customer(evidence.database)["required"]:
        where = f"{evidence.database.name('messages')}.{evidence.database.name('messages', 'customer_id')}"
        yield Fault(
            subject=subject(evidence.database, "messages", "customer_id"),
            summary=f"The column {where} is required, so an SMS sent before its customer exists has to be deferred.",
            remedy="Keep it so, and see that confirm records what metadata.initial_sms holds.",
            evidence={"not_null": True},
        )


ENSURES_UNIQUE: Final = """
i.indrelid = a.attrelid AND i.indkey[0] = a.attnum AND i.indnkeyatts = 1 AND i.indisunique
  AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) IN (format('(%I IS NOT NULL)', a.attname),
    format('(%I <> ''''::text)', a.attname), format('((%I)::text <> ''''::text)', a.attname),
    format('(%I <> ''''::bpchar)', a.attname)))
"""
"""That the index ``i`` is on the column ``a`` alone, and leaves out nothing but rows that have no SID there."""

_UNIQUE: Final = f"""
SELECT CAST(c.oid AS regclass)::text AS relation, quote_ident(a.attname) AS quoted,
  EXISTS (SELECT FROM pg_index i WHERE i.indisvalid AND {ENSURES_UNIQUE}) AS held,
  ARRAY(SELECT CAST(i.indexrelid AS regclass)::text FROM pg_index i WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum
    AND i.indnkeyatts = 1 AND i.indisunique AND NOT i.indisvalid ORDER BY 1) AS invalid
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = to_regclass(:relation) AND a.attname = :column
"""  # noqa: S608  the condition above


@check(Severity.WARNING, after=READY)
def schema_sid_not_unique(evidence: Evidence) -> Iterator[Fault]:
    """
    Nothing stops a second row for the same SID: `messages.message_sid` has no valid unique index.

    ## Why it matters

    A retried request, a webhook that comes twice or two workers record one text twice. A look before the insert does not
    help, because both look before either writes.

    ## How to repair

    Remove the duplicates (`booking-doctor reconcile` names them), then build the index without stopping writers:
    `CREATE UNIQUE INDEX CONCURRENTLY ON messages (message_sid)`. If that fails it leaves an invalid index behind, which
    protects nothing: drop it and build it again.

    ## When this is fine

    Where another mechanism guards the insert. An index that leaves out rows without SID is enough and not reported.
    """
    database = evidence.database
    place = _place(database, "messages", "message_sid")
    for row in database.rows(_UNIQUE, **place):
        if not row["held"]:
            invalid = row["invalid"]
            dropped = "".join(f"DROP INDEX CONCURRENTLY {index}; " for index in invalid)
            seen = f"only an invalid unique index ({', '.join(invalid)})" if invalid else "no unique index"
            yield Fault(
                subject=subject(database, "messages", "message_sid"),
                summary=f"The column {database.name('messages')}.{place['column']} has {seen}, so one SID may get two rows.",
                remedy=f"Run: {dropped}CREATE UNIQUE INDEX CONCURRENTLY ON {row['relation']} ({row['quoted']});",
                evidence={"invalid_indexes": invalid},
            )


_CASCADES: Final = """
SELECT k.conname AS name, CAST(k.confdeltype AS text) AS rule,
  format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I FOREIGN KEY (%I) REFERENCES %s (%s) ON DELETE RESTRICT NOT VALID;',
    CAST(k.conrelid AS regclass), k.conname, k.conname, a.attname, CAST(k.confrelid AS regclass),
    (SELECT quote_ident(b.attname) FROM pg_attribute b WHERE b.attrelid = k.confrelid AND b.attnum = k.confkey[1])) AS replace,
  format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', CAST(k.conrelid AS regclass), k.conname) AS validate
FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = to_regclass(:relation) AND a.attname = :column
  AND k.confdeltype IN ('c', 'n', 'd')
ORDER BY k.conname
"""
_RULES: Final = {"c": "deletes its messages", "n": "takes its messages' customer away", "d": "gives its messages away"}


@check(Severity.WARNING, after=READY)
def schema_foreign_key_cascades(evidence: Evidence) -> Iterator[Fault]:
    """
    Deleting a customer changes its messages: the foreign key of `messages.customer_id` passes the deletion on.

    ## Why it matters

    Merging or cleaning up customers then removes the record of texts that were sent and paid for. Nothing says so at the
    time, and the log of Twilio shows them as unrecorded afterwards.

    ## How to repair

    Replace the constraint by one that refuses: the same foreign key with `ON DELETE RESTRICT`, first `NOT VALID`, then
    validated.

    ## When this is fine

    Where customers are deleted together with their data on purpose, by law. Then expect such texts to be missing here.
    """
    database = evidence.database
    for row in database.rows(_CASCADES, **_place(database, "messages", "customer_id")):
        yield Fault(
            subject=subject(database, "messages", "customer_id"),
            summary=f"Deleting a customer {_RULES[row['rule']]}, by the constraint {row['name']}; it should be refused.",
            remedy=f"Run: {row['replace']} {row['validate']}",
            evidence={"constraint": row["name"], "rule": row["rule"]},
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
