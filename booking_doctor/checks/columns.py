"""
The columns of the application's tables: of which type they are, whether they may be null, and what they hold by default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.runner import blind_spot
from booking_doctor.checks.schema import NEEDED, READY, WRITTEN, stored
from booking_doctor.core.model import STATUS_RANK
from booking_doctor.errors import SchemaMismatch
from booking_doctor.findings import Severity
from booking_doctor.plpgsql.words import tokens
from booking_doctor.settings import COLUMNS

_COLUMN: Final = """
SELECT c.relname AS table, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type, base.name AS base,
  base.category, base.width, CAST(a.attgenerated AS text) AS generated, a.attnotnull OR base.required AS required,
  coalesce(pg_get_expr(d.adbin, d.adrelid), base.filling) AS filling, a.attidentity <> '' AS numbered,
  CAST(c.oid AS regclass)::text AS relation, quote_ident(a.attname) AS quoted
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum,
LATERAL (
  WITH RECURSIVE down (oid, modifier, required, filling) AS (
    SELECT a.atttypid, a.atttypmod, false, CAST(NULL AS text)
    UNION ALL
    SELECT t.typbasetype, t.typtypmod, down.required OR t.typnotnull, coalesce(down.filling, t.typdefault COLLATE "default")
    FROM down JOIN pg_type t ON t.oid = down.oid AND t.typtype = 'd'
  )
  SELECT t.typname AS name, CAST(t.typcategory AS text) AS category, down.required, down.filling,
    CASE WHEN t.typname IN ('varchar', 'bpchar') AND down.modifier > 4 THEN down.modifier - 4 END AS width
  FROM down JOIN pg_type t ON t.oid = down.oid AND t.typtype <> 'd'
) AS base
WHERE c.oid = to_regclass(:relation)
ORDER BY a.attnum
"""
"""Every column; domains are looked through."""


Rows: TypeAlias = "dict[str, Mapping[str, Any]]"


def _structure(table: str) -> Callable[[Evidence], Rows]:
    """
    What looks at a table's columns; its answer has them by their names here.
    """

    def look(evidence: Evidence) -> Rows:
        rows = evidence.database.rows(_COLUMN, relation=stored(evidence.database, table))
        return {row["column"]: row for row in rows}

    return look


_STRUCTURE: Final = {table: _structure(table) for table in NEEDED}


def _column(evidence: Evidence, table: str, column: str) -> Mapping[str, Any] | None:
    """
    One column; None where it is not there and need not be.

    Raises:
        NotHere: It is not there.
        SchemaMismatch: It lies where its type is not known.
    """
    found = evidence.once(_STRUCTURE[table]).get(evidence.database.name(table, column))
    if found is None and (column in NEEDED[table] or evidence.database.has(table, column)):
        stored(evidence.database, table, column)
    return found


_Place: TypeAlias = "tuple[str, str]"
"""A table and a column of it, by the doctor's names."""


def _seen(evidence: Evidence, places: Iterable[_Place]) -> tuple[dict[_Place, Mapping[str, Any]], list[BlindSpot]]:
    """
    Those of the columns that are there, and what hides the others; each hides no more than it must.
    """
    rows: dict[_Place, Mapping[str, Any]] = {}
    hidden: dict[BlindSpot, None] = {}
    for table, column in places:
        try:
            if row := _column(evidence, table, column):
                rows[table, column] = row
        except SchemaMismatch as error:
            hidden[blind_spot(error, evidence)] = None
    return rows, list(hidden)


def _places(columns: Mapping[str, tuple[str, ...]]) -> list[_Place]:
    return [(table, column) for table, names in columns.items() for column in names]


def _path(row: Mapping[str, Any]) -> str:
    return f"{row['table']}.{row['column']}"


@check(Severity.ERROR, after=READY)
def schema_column_generated(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A column that the application writes is computed by the database: nothing can be written into it.

    ## Why it matters

    A statement that sets the column is refused as a whole (SQLSTATE 428C9), so the SMS is never recorded.

    ## How to repair

    Make it an ordinary column: `ALTER TABLE … ALTER COLUMN … DROP EXPRESSION` keeps the values of a stored one. A
    virtual one has none to keep; drop it and add it anew.

    ## When this is fine

    When the application writes the value under another name; then map that name in `booking-doctor.toml`.
    """
    rows, hidden = _seen(evidence, _places(WRITTEN))
    yield from hidden
    for row in rows.values():
        if row["generated"]:
            stored = f"ALTER TABLE {row['relation']} ALTER COLUMN {row['quoted']} DROP EXPRESSION;"
            virtual = (
                f"ALTER TABLE {row['relation']} DROP COLUMN {row['quoted']}, ADD COLUMN {row['quoted']} {row['type']};"
            )
            yield Fault(
                subject=f"schema/{row['table']}.{row['column']}",
                summary=f"The column {row['table']}.{row['column']} is generated by the database; the application writes "
                "it, which is refused.",
                remedy=f"Run: {stored if row['generated'] == 's' else virtual}",
                evidence={"type": row["type"], "kind": "stored" if row["generated"] == "s" else "virtual"},
            )


@check(Severity.WARNING, after=READY)
def schema_metadata_not_jsonb(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The metadata of pending bookings is no `jsonb`.

    ## Why it matters

    `json` has no equality, no `||` and no `?`; in `text` anything may stand, such as `[object Object]`. Statements that
    work elsewhere fail or store what confirm cannot read.

    ## How to repair

    Change the type: `ALTER TABLE … ALTER COLUMN metadata TYPE jsonb USING metadata::jsonb`. It rewrites the table and
    locks it meanwhile, and refuses rows that hold no JSON; find those first.

    ## When this is fine

    Where application and database agree on it and the column is only ever written whole.
    """
    rows, hidden = _seen(evidence, [("pending_bookings", "metadata")])
    yield from hidden
    for row in rows.values():
        if row["base"] != "jsonb":
            change = f"ALTER TABLE {row['relation']} ALTER COLUMN {row['quoted']}"
            yield Fault(
                subject=f"schema/{row['table']}.{row['column']}",
                summary=f"The column {row['table']}.{row['column']} is {row['type']}, not jsonb.",
                remedy=f"Run: {change} DROP DEFAULT; {change} TYPE jsonb USING CAST({row['quoted']} AS jsonb); "
                f"{change} SET DEFAULT '{{}}';",
                evidence={"type": row["type"]},
            )


_TIMES: Final = {
    "customers": ("created_at",),
    "pending_bookings": ("created_at", "expires_at", "confirmed_at", "updated_at"),
    "messages": ("created_at", "read_at"),
}


@check(Severity.WARNING, after=READY)
def schema_timestamp_without_zone(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A time is kept without its zone, or is no time at all.

    ## Why it matters

    The same value means another moment to every session with another `TimeZone`. Expiry comes hours too early or too
    late, and texts seem to have been sent before their booking.

    ## How to repair

    Change the type, saying which zone the values were written in:
    `ALTER TABLE … ALTER COLUMN … TYPE timestamptz USING … AT TIME ZONE 'UTC'`. It rewrites the table.

    ## When this is fine

    Where every writer uses UTC. The doctor takes such values for UTC.
    """
    rows, hidden = _seen(evidence, _places(_TIMES))
    yield from hidden
    for row in rows.values():
        if row["base"] != "timestamptz":
            yield Fault(
                subject=f"schema/{row['table']}.{row['column']}",
                summary=f"The column {row['table']}.{row['column']} is {row['type']}; times should be timestamptz.",
                remedy=_zoned(row),
                evidence={"type": row["type"]},
            )


def _zoned(row: Mapping[str, Any]) -> str:
    """
    The SQL that makes it a time with its zone; where the type does not say how, an instruction.
    """
    known = {"timestamp": f"{row['quoted']} AT TIME ZONE 'UTC'", "date": f"CAST({row['quoted']} AS timestamptz)"}
    using = known.get(row["base"]) or (known["date"] if row["category"] == "S" else None)
    if using is None:
        return f"Make {_path(row)} a timestamptz, with a USING that says what its values mean."
    return f"Run: ALTER TABLE {row['relation']} ALTER COLUMN {row['quoted']} TYPE timestamptz USING {using};"


# --- what is refused -------------------------------------------------------------------------------------------------

_SID, _NUMBER, _STATUS = "a SID of 34 characters", "a phone number of up to 16 characters", "the word undelivered"
_HELD: Final = {
    ("messages", "message_sid"): (34, _SID),
    ("messages", "twilio_message_sid"): (34, _SID),
    ("messages", "from_number"): (16, _NUMBER),
    ("messages", "to_number"): (16, _NUMBER),
    ("messages", "direction"): (len("outbound"), "the word outbound"),
    ("messages", "status"): (max(map(len, STATUS_RANK)), _STATUS),
    ("messages", "twilio_status"): (max(map(len, STATUS_RANK)), _STATUS),
    ("messages", "body"): (1600, "a text of up to 1,600 characters, which is what Twilio takes"),
    ("pending_bookings", "customer_phone"): (16, _NUMBER),
    ("customers", "phone"): (16, _NUMBER),
}
"""How long what is written there may be. E.164 has up to 15 digits and a plus sign."""


@check(Severity.ERROR, after=READY)
def schema_value_refused(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A column is too narrow, or of a type, for what is written into it: a SID, a phone number, a status, a text.

    ## Why it matters

    The whole row is refused (SQLSTATE 22001 or 22P02), after the text has gone out. A column that takes a shorter value
    fails only for some texts, which makes it look like chance.

    ## How to repair

    Let the column be `text`: `ALTER TABLE … ALTER COLUMN … TYPE text`. From `varchar` it rewrites nothing.

    ## When this is fine

    Where the application never writes values of that length. A SID always has 34 characters, so that is an error; others
    are a warning.
    """
    rows, hidden = _seen(evidence, [*_HELD, _OWNER, _KEY])
    yield from hidden
    for place, (longest, what) in _HELD.items():
        row = rows.get(place)
        if row and (row["category"] not in {"S", "E"} or (row["width"] or longest) < longest):
            yield Fault(
                subject=f"schema/{_path(row)}",
                summary=f"The column {_path(row)} is {row['type']}, which does not hold {what}.",
                remedy=f"Run: ALTER TABLE {row['relation']} ALTER COLUMN {row['quoted']} TYPE text;",
                evidence={"type": row["type"], "needed": longest},
                severity=None if what is _SID else Severity.WARNING,
            )
    if _OWNER in rows and _KEY in rows:
        yield from _other_customers(rows[_OWNER], rows[_KEY])


_OWNER: Final = ("messages", "customer_id")
_KEY: Final = ("customers", "id")
_WHOLE: Final = frozenset({"int2", "int4", "int8"})


def _other_customers(own: Mapping[str, Any], key: Mapping[str, Any]) -> Iterator[Fault]:
    """
    A message's customer that cannot be what customers are numbered with.
    """
    if own["base"] != key["base"] and own["category"] != "S" and not {own["base"], key["base"]} <= _WHOLE:
        yield Fault(
            subject=f"schema/{_path(own)}",
            summary=f"The column {_path(own)} is {own['type']}, and {_path(key)} is {key['type']}: no customer fits in.",
            remedy=f"Make {_path(own)} of the type {key['type']}, and let it reference {_path(key)}.",
            evidence={"type": own["type"], "needed": key["type"]},
        )


@check(Severity.WARNING, after=READY)
def schema_column_unfilled(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A column that nobody is known to write has to be filled: it is NOT NULL and has no default.

    ## Why it matters

    An INSERT that leaves it out is refused (SQLSTATE 23502). A column that was added for one writer, such as a tenant's,
    stops every other: the deferred recording, a webhook, and the doctor's own backfill.

    ## How to repair

    Give it a default, or see that every writer fills it.

    ## When this is fine

    Where every INSERT names the column, or a trigger fills it. Then `booking-doctor backfill` cannot insert rows there
    unless the trigger does.
    """
    database = evidence.database
    for table in NEEDED:
        known = {database.name(table, column) for column in COLUMNS[table]}
        try:
            rows = evidence.once(_STRUCTURE[table])
        except SchemaMismatch as error:
            yield blind_spot(error, evidence)
            continue
        for row in rows.values():
            given = row["filling"] is not None or row["numbered"] or row["generated"]
            if row["required"] and not given and row["column"] not in known:
                yield Fault(
                    subject=f"schema/{_path(row)}",
                    summary=f"The column {_path(row)} is NOT NULL and has no default; an INSERT that leaves it out is refused.",
                    remedy=f"See that every writer fills it, or give it a default: ALTER TABLE {row['relation']} ALTER COLUMN "
                    f"{row['quoted']} SET DEFAULT …;",
                    evidence={"type": row["type"]},
                )


@check(Severity.WARNING, after=READY)
def schema_metadata_without_default(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The metadata of a new booking is no empty object unless the application says so.

    ## Why it matters

    Where the column takes null, a booking that is inserted without metadata has null, and `metadata || …` and `jsonb_set`
    of null are null again: the text is stored nowhere and nothing fails. Where it is NOT NULL, the INSERT is refused.

    ## How to repair

    Give it a default: `ALTER TABLE … ALTER COLUMN metadata SET DEFAULT '{}'`. It holds for new rows; fill the old ones.

    ## When this is fine

    Where every INSERT names the column, and every update writes it whole.
    """
    rows, hidden = _seen(evidence, [("pending_bookings", "metadata")])
    yield from hidden
    for row in rows.values():
        if not row["generated"] and not _is_object(row["filling"]):
            default = f"the default {row['filling']}" if row["filling"] else "no default"
            fate = "is refused" if row["required"] and not row["filling"] else "does not begin with an empty object"
            yield Fault(
                subject=f"schema/{_path(row)}",
                summary=f"The column {_path(row)} has {default}, so a booking that is inserted without it {fate}.",
                remedy=f"Run: ALTER TABLE {row['relation']} ALTER COLUMN {row['quoted']} SET DEFAULT '{{}}';",
                evidence={"default": row["filling"], "not_null": row["required"]},
            )


def _is_object(default: str | None) -> bool:
    """
    Whether the default is an object; what a function makes is taken for one.
    """
    first, *_ = tokens(default) if default else [None]
    if first is None or first.kind != "text":
        return first is not None and first.text != "null"
    try:
        return isinstance(json.loads(first.text), dict)
    except ValueError:
        return False
