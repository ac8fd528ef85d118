"""
What holds the rows of messages together: the customer they belong to, and the SID that no two of them share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.logs import recorded_too_early
from booking_doctor.checks.runner import blind_spot
from booking_doctor.checks.schema import READY, stored, stored_column, subject
from booking_doctor.core.model import iso
from booking_doctor.errors import DatabaseError
from booking_doctor.evidence import Queries
from booking_doctor.findings import JSONValue, Severity

ENFORCED: Final = "coalesce(CAST(to_jsonb(k) ->> 'conenforced' AS boolean), true)"
"""That the constraint ``k`` is enforced: from PostgreSQL 18 one may be there and say nothing."""

_NULLS: Final = f"""
SELECT a.attnotnull OR t.typnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
    AND {ENFORCED} AND pg_get_expr(k.conbin, k.conrelid) = format('(%I IS NOT NULL)', a.attname)) AS required
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid = to_regclass(:relation) AND a.attname = :column
"""  # noqa: S608  the condition above


_WITHOUT: Final = """
SELECT count(*) AS rows, min({messages.created_at}) AS since FROM {messages} WHERE {messages.customer_id} IS NULL
"""


def _required(database: Queries) -> bool:
    return bool(database.rows(_NULLS, **stored_column(database, "messages", "customer_id"))[0]["required"])


@check(Severity.ERROR, after=READY)
def schema_customer_id_nullable(evidence: Evidence) -> Iterator[Fault]:
    """
    A message may be recorded without a customer: `messages.customer_id` takes null.

    ## Why it matters

    Rows without a customer are seen by nobody: every list goes by the customer. The recording is deferred until confirm
    for the very reason that the column was required.

    ## How to repair

    Assign the rows that have none (`booking-doctor backfill` plans it), then require the column again:
    `booking-doctor migrate restore` shows the statements, which keep no writer waiting.

    ## When this is fine

    While it was relaxed on purpose and readers know rows without a customer. Then ignore this finding, with a date.
    """
    database = evidence.database
    if _required(database):
        return
    column = f"{database.name('messages')}.{database.name('messages', 'customer_id')}"
    without = database.rows(_WITHOUT)[0]
    rows, since = without["rows"], iso(without["since"]) if without["since"] else None
    theirs = f"rows without one: {rows:,}, the oldest of {since}" if rows else "no row is without one yet"
    yield Fault(
        subject=subject(database, "messages", "customer_id"),
        summary=f"The column {column} takes null, so a message may belong to nobody: {theirs}; it should be NOT NULL.",
        remedy="Assign those rows, then require it again: `booking-doctor backfill`, `booking-doctor migrate restore`.",
        evidence={"not_null": False, "rows_without_customer": rows, "since": since},
    )


@check(Severity.INFO, after=READY)
def schema_customer_id_required(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A message cannot be recorded before its customer exists: `messages.customer_id` refuses null.

    ## Why it matters

    It is why the booking's SMS is kept in `pending_bookings.metadata` until confirm creates the customer. An application
    that still inserts it at once fails with SQLSTATE 23502 after the text has gone out; where its log has that from the
    last days, this is an error.

    ## How to repair

    Nothing is to be repaired in the table. Make sure that the code that serves stores `metadata.initial_sms`, and that
    confirm records it.

    ## When this is fine

    As an info always: it is said because it explains the deferred recording.
    """
    if not _required(evidence.database):
        return
    where = f"{evidence.database.name('messages')}.{evidence.database.name('messages', 'customer_id')}"
    early: dict[str, JSONValue] = {}
    try:
        early = recorded_too_early(evidence)
    except DatabaseError as error:
        yield blind_spot(error, evidence)
    seen = (
        f"; the application's log has {early['entries']:,} refused for it, the last at {early['last']}" if early else ""
    )
    yield Fault(
        subject=subject(evidence.database, "messages", "customer_id"),
        summary=f"The column {where} is required, so an SMS sent before its customer exists has to be deferred{seen}.",
        remedy="Keep it so, and see that confirm records what metadata.initial_sms holds.",
        evidence={"not_null": True, **early},
        severity=Severity.ERROR if early else None,
    )


ENSURES_UNIQUE: Final = """
i.indrelid = a.attrelid AND i.indkey[0] = a.attnum AND i.indnkeyatts = 1 AND i.indisunique
  AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) IN (format('(%I IS NOT NULL)', a.attname),
    format('(%I <> ''''::text)', a.attname), format('((%I)::text <> ''''::text)', a.attname),
    format('(%I <> ''''::bpchar)', a.attname)))
"""
"""That the index ``i`` is on the column ``a`` alone, and leaves out nothing but rows that have no SID there."""

_UNIQUE: Final = f"""
SELECT EXISTS (SELECT FROM pg_index i WHERE i.indisvalid AND {ENSURES_UNIQUE}) AS held,
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
    `booking-doctor migrate guard`. A build that failed leaves an invalid index behind, which protects nothing; it is
    found and built again.

    ## When this is fine

    Where another mechanism guards the insert. An index that leaves out rows without SID is enough and not reported.
    """
    database = evidence.database
    place = stored_column(database, "messages", "message_sid")
    for row in database.rows(_UNIQUE, **place):
        if not row["held"]:
            invalid = row["invalid"]
            seen = f"only an invalid unique index ({', '.join(invalid)})" if invalid else "no unique index"
            yield Fault(
                subject=subject(database, "messages", "message_sid"),
                summary=f"The column {database.name('messages')}.{place['column']} has {seen}, so one SID may get two rows.",
                remedy="Show the duplicates and the statement that builds it: `booking-doctor migrate guard`.",
                evidence={"invalid_indexes": invalid},
            )


_FOREIGN_KEYS: Final = f"""
SELECT k.conname AS name, CAST(k.confdeltype AS text) AS rule, {ENFORCED} AS enforced, k.convalidated AS validated,
  format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s NOT VALID;', CAST(k.conrelid AS regclass), k.conname, k.conname,
    regexp_replace(regexp_replace(pg_get_constraintdef(k.oid), ' (NOT VALID|NOT ENFORCED)', '', 'g'),
      ' ON DELETE (CASCADE|SET NULL|SET DEFAULT)( \\([^)]*\\))?', '') || ' ON DELETE RESTRICT') AS replace,
  format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', CAST(k.conrelid AS regclass), k.conname) AS validate
FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = to_regclass(:relation) AND a.attname = :column
ORDER BY k.conname
"""  # noqa: S608  the condition above
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
    for row in database.rows(_FOREIGN_KEYS, **stored_column(database, "messages", "customer_id")):
        if row["rule"] not in _RULES or not row["enforced"]:
            continue
        yield Fault(
            subject=subject(database, "messages", "customer_id"),
            summary=f"Deleting a customer {_RULES[row['rule']]}, by the constraint {row['name']}; it should be refused.",
            remedy=f"Run: {row['replace']} {row['validate']}",
            evidence={"constraint": row["name"], "rule": row["rule"]},
        )


_OWNED: Final = """
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) REFERENCES %s (%I) ON DELETE RESTRICT NOT VALID;',
    CAST(m.oid AS regclass), made.name, CAST(:column AS text), CAST(c.oid AS regclass), CAST(:key AS text)) AS add,
  format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', CAST(m.oid AS regclass), made.name) AS validate
FROM pg_class m, pg_class c,
  LATERAL (SELECT concat(left(m.relname, 20), '_', left(:column, 20), '_known') AS name) AS made
WHERE m.oid = to_regclass(:relation) AND c.oid = to_regclass(:customers)
"""


@check(Severity.WARNING, after=READY)
def schema_foreign_key_missing(evidence: Evidence) -> Iterator[Fault]:
    """
    A message may name a customer that does not exist: `messages.customer_id` has no foreign key that holds.

    ## Why it matters

    A customer that is removed or merged leaves its messages pointing nowhere, and a message may be recorded before its
    customer is committed. Neither is refused, and lists that go by the customer miss both.

    ## How to repair

    Assign the rows that point nowhere (`booking-doctor backfill` plans it), then add the foreign key: first `NOT VALID`,
    which holds for what is written from then on, then validated.

    ## When this is fine

    Where customers live in another database. A foreign key that was never validated holds for new rows and is not reported.
    """
    database = evidence.database
    place = stored_column(database, "messages", "customer_id")
    customers = stored(database, "customers", "id")
    keys = database.rows(_FOREIGN_KEYS, **place)
    if any(key["enforced"] for key in keys):
        return
    row = database.rows(_OWNED, **place, customers=customers, key=database.name("customers", "id"))[0]
    where = f"{database.name('messages')}.{place['column']}"
    seen = f"only the foreign key {keys[0]['name']}, which is not enforced" if keys else "no foreign key"
    yield Fault(
        subject=subject(database, "messages", "customer_id"),
        summary=f"The column {where} has {seen}, so a message may name a customer that does not exist.",
        remedy=f"Run: {row['add']} {row['validate']}",
        evidence={"not_enforced": [key["name"] for key in keys]},
    )
