"""
What the database has counted: statements, rows written and taken back, and ids that were drawn and that no row has.

Counters hold what was rolled back too, and start again at zero; they are believed only where they cover the rows that
are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from msgspec import Struct

from booking_doctor.causes.cause import Reading, absent, seen, unknown
from booking_doctor.causes.population import FEW, MOSTLY, comparison_of, of_log, population
from booking_doctor.causes.signals import Dossier, signal
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.schema import needed

# --- counters --------------------------------------------------------------------------------------------------------

_COUNTERS: Final = """
SELECT s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted,
  (SELECT count(*) FROM {[table]}) AS rows
FROM pg_stat_user_tables s WHERE s.relid = to_regclass(:relation)
"""


class Counters(Struct, frozen=True, kw_only=True):
    """
    What was done to a table since its counters were last reset, what was rolled back included.

    Attributes:
        rows: How many there are.
    """

    inserted: int
    updated: int
    deleted: int
    rows: int

    @property
    def complete(self) -> bool:
        """
        Whether they cover the rows that are there; those of a restored database do not, nor such as are still on their way.
        """
        return self.inserted - self.deleted >= self.rows > 0

    @property
    def rolled_back(self) -> int:
        """
        Inserts that got as far as the table and were taken back, by a foreign key or a unique index.
        """
        return max(self.inserted - self.deleted - self.rows, 0)


def _counters(evidence: Evidence, table: str) -> Counters | None:
    rows = evidence.database.rows(_COUNTERS.replace("[table]", table), relation=needed(evidence.database, table))
    return Counters(**rows[0]) if rows else None


def booking_counters(evidence: Evidence) -> Counters | None:
    """
    Those of pending bookings; None for a view.
    """
    return _counters(evidence, "pending_bookings")


def message_counters(evidence: Evidence) -> Counters | None:
    """
    Those of messages; None for a view.
    """
    return _counters(evidence, "messages")


_WRITTEN: Final = """
SELECT count(*) FILTER (WHERE CAST({pending_bookings.status} AS text) <> 'pending') AS closed,
  count(*) FILTER (WHERE CAST({pending_bookings.metadata} AS text) LIKE '%message_sid%') AS filled
FROM {pending_bookings}
"""


class Updates(Struct, frozen=True, kw_only=True):
    """
    UPDATEs of pending bookings.

    Attributes:
        left: How many are left for the bad bookings when every other has had what it needs: one to be filled, one to be closed.
        clear: Whether the others are so few that hardly any of these can be theirs.
    """

    left: int
    bad: int
    clear: bool

    @property
    def words(self) -> str:
        """
        In half a sentence.
        """
        return f"at most {self.left:,} UPDATEs are left for {self.bad:,} bad bookings"


def updates(evidence: Evidence) -> Updates | str:
    """
    How often the bad bookings were updated, or why nobody knows.
    """
    counters = evidence.once(booking_counters)
    bad = len(evidence.once(population).bad)
    if counters is None or not counters.complete:
        return "the counters of pending bookings do not cover their rows"
    if bad < FEW:
        return "there are too few bad bookings to tell by counters"
    written = evidence.database.rows(_WRITTEN)[0]
    others = written["closed"] + written["filled"]
    left = max(counters.updated - others, 0)
    return Updates(left=left, bad=bad, clear=others + counters.deleted <= _FEW_OTHERS * bad)


_FEW_OTHERS: Final = 0.3


def _updates(dossier: Dossier, least: float, most: float) -> Reading:
    found = dossier.once(updates)
    if isinstance(found, str):
        return unknown(found)
    if found.clear:
        return seen(found.words) if least * found.bad <= found.left <= most * found.bad else absent(found.words)
    # NOTE: beside many others a number that fits exactly is no chance; any other may be made up of anything.
    exact = least <= 1 <= most and abs(found.left - found.bad) <= 0.1 * found.bad
    return seen(found.words) if exact else unknown("the other bookings' UPDATEs cannot be told from theirs")


@signal
def updates_never_came(dossier: Dossier) -> Reading:
    """
    Hardly any UPDATE of the bad bookings reached a row: there were no more than the others needed.
    """
    found = dossier.once(updates)
    if isinstance(found, str):
        return unknown(found)
    if found.left <= 0.2 * found.bad:
        return seen(found.words)
    return absent(found.words) if found.clear else unknown("the other bookings' UPDATEs cannot be told from theirs")


@signal
def updates_came_once(dossier: Dossier) -> Reading:
    """
    The bad bookings were updated once each, and still hold nothing.
    """
    return _updates(dossier, 0.7, 1.5)


@signal
def updates_came_twice(dossier: Dossier) -> Reading:
    """
    The bad bookings were updated twice or more: something was written, then written over.
    """
    return _updates(dossier, 1.7, float("inf"))


_STATEMENTS: Final = """
SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(rows), 0) AS rows, bool_or(query = '<insufficient privilege>') AS hidden
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (query = '<insufficient privilege>' OR query ~* CAST(:pattern AS text))
"""


def _statements(dossier: Dossier) -> Mapping[str, Any] | str:
    """
    How often an UPDATE of the metadata was carried out, or why nobody knows.
    """
    database = dossier.evidence.database
    if not database.rows("SELECT to_regclass('pg_stat_statements') IS NOT NULL AS here")[0]["here"]:
        return "pg_stat_statements is not installed in this database"
    table, column = database.name("pending_bookings"), database.name("pending_bookings", "metadata")
    row = database.rows(_STATEMENTS, pattern=rf'update\s+(only\s+)?("?\w+"?\.)?"?{table}"?\s[^;]*{column}')[0]
    return "pg_stat_statements hides the statements of other roles" if row["hidden"] and not row["calls"] else row


@signal
def update_matched_nothing(dossier: Dossier) -> Reading:
    """
    UPDATEs of the metadata were carried out and touched no row; read only of a driver's, for PostgREST always says one row.
    """
    row = _statements(dossier)
    if isinstance(row, str):
        return unknown(row)
    words = f"{row['calls']:,} UPDATEs of the metadata were carried out and touched {row['rows']:,} rows"
    return seen(words) if row["calls"] and not row["rows"] else absent(words)


@signal
def update_never_carried_out(dossier: Dossier) -> Reading:
    """
    No UPDATE of the metadata was ever carried out.
    """
    row = _statements(dossier)
    if isinstance(row, str):
        return unknown(row)
    words = f"{row['calls']:,} UPDATEs of the metadata were carried out"
    return absent(words) if row["calls"] else seen("no UPDATE of the metadata was ever carried out")


# --- ids that are missing --------------------------------------------------------------------------------------------

_SEQUENCE: Final = """
SELECT format_type(a.atttypid, a.atttypmod) AS type, (SELECT s.last_value FROM pg_sequences s
    WHERE CAST(to_regclass(format('%I.%I', s.schemaname, s.sequencename)) AS oid) = d.objid) AS last_value,
  has_sequence_privilege(d.objid, 'SELECT, USAGE') AS readable, (SELECT q.seqcache FROM pg_sequence q WHERE q.seqrelid = d.objid) AS cache
FROM pg_attribute a LEFT JOIN LATERAL (
  SELECT CAST(CAST(pg_get_serial_sequence(:relation, a.attname) AS regclass) AS oid) AS objid) d ON true
WHERE a.attrelid = to_regclass(:relation) AND a.attname = :column
"""

_IDS: Final = """
SELECT min({messages.id}) AS first, max({messages.id}) AS last, count(*) AS rows, (
  SELECT m.{messages.id} FROM {messages} m WHERE m.{messages.created_at} < :since AND NOT coalesce(
    m.{messages.id} >= (SELECT min({messages.id}) FROM {messages} WHERE {messages.created_at} >= :since), false)
  ORDER BY m.{messages.created_at} DESC, m.{messages.id} DESC LIMIT 1) AS before
FROM {messages}
"""
"""A row that tells an earlier time than one before it was written later: a backfill did that, and its id says nothing of when.
So the last one before is the newest of those whose ids are below that of every row since. (As a window over all rows it
takes three times as long.)"""

_ROWS_AFTER: Final = "SELECT count(*) AS rows FROM {messages} WHERE {messages.id} > :id"


class Gaps(Struct, frozen=True, kw_only=True):
    """
    Ids of messages that no row has.

    Attributes:
        ever, lately: How many in all, and how many since the first bad booking or, without one, in the window.
        refused: How many in all that belong to inserts that never got as far as the table; None where counters are silent.
        bookings, bad: How many bookings were initiated meanwhile, and how many of them are bad.
        to_the_end: Whether the sequence itself could be read, not only the last row.
    """

    ever: int
    lately: int
    refused: int | None
    bookings: int
    bad: int
    to_the_end: bool

    @property
    def burnt(self) -> int:
        """
        How many inserts of late failed before a row was made, as far as counters can tell.
        """
        return self.lately if self.refused is None else min(self.lately, self.refused)


def gaps(evidence: Evidence) -> Gaps | str:
    """
    The gaps, or why there is nothing to count.
    """
    database, found = evidence.database, evidence.once(population)
    place = {"relation": needed(database, "messages", "id"), "column": database.name("messages", "id")}
    sequence = database.rows(_SEQUENCE, **place)[0]
    if sequence["type"] not in {"bigint", "integer", "smallint"}:
        return f"the ids of messages are {sequence['type']}, which leave no gaps"
    if sequence["cache"] not in {None, 1}:
        return "sessions draw ids in advance, which leaves gaps of its own"
    since = found.siege[-1].case.created_at - timedelta(minutes=1) if found.siege else evidence.window.since
    ids = database.rows(_IDS, since=since)[0]
    last = max(filter(None, (sequence["last_value"], ids["last"])), default=0)
    first = ids["first"] or 1
    before = ids["before"] or first - 1
    after = database.rows(_ROWS_AFTER, id=before)[0]["rows"]
    ever = max(last - first + 1 - ids["rows"], 0)
    counters = evidence.once(message_counters)
    counted = counters is not None and (counters.complete or not ids["rows"])
    return Gaps(
        ever=ever,
        lately=max(last - before - after, 0),
        refused=max(ever - counters.deleted - counters.rolled_back, 0) if counters and counted else None,
        bookings=found.among if found.bad else found.total,
        bad=len(found.siege),
        to_the_end=bool(sequence["readable"]),
    )


def _gaps(dossier: Dossier) -> Gaps | Reading:
    found = dossier.once(gaps)
    return unknown(found) if isinstance(found, str) else found


@signal
def ids_burnt(dossier: Dossier) -> Reading:
    """
    Inserts into messages failed: ids are missing that no row ever had.
    """
    found = _gaps(dossier)
    if isinstance(found, Reading):
        return found
    if found.burnt:
        sure = "" if found.refused is not None else " (or its row was deleted: the counters do not say)"
        return seen(f"{found.burnt:,} ids of messages were drawn of late and no row has them{sure}: inserts failed")
    if not found.to_the_end and not found.ever:
        return unknown("no id is missing between the rows, and the sequence itself may not be read")
    return absent("no id of messages is missing of late: no insert failed there")


@signal
def ids_burnt_per_booking(dossier: Dossier) -> Reading:
    """
    About one insert into messages failed for each booking: the request that makes a booking tries to record its text at once.
    """
    found = _gaps(dossier)
    if isinstance(found, Reading):
        return found
    if not found.bookings or not found.burnt:
        return absent("ids are not missing at the pace of bookings")
    words = f"{found.burnt:,} ids of messages were burnt while {found.bookings:,} bookings were initiated"
    if found.bad and found.bad < found.bookings:
        words = f"{words}, {found.bad:,} of them bad"
    paces = [found.burnt / bookings for bookings in (found.bookings, found.bad) if bookings]
    return seen(words) if found.burnt >= FEW and any(0.5 <= pace <= 2.5 for pace in paces) else absent(words)


@signal
def no_insert_tried(dossier: Dossier) -> Reading:
    """
    No id of messages is missing at all: what is not there was never tried.
    """
    found = _gaps(dossier)
    if isinstance(found, Reading):
        return found
    if not found.to_the_end:
        return unknown("the sequence of messages may not be read")
    return absent(f"{found.ever:,} ids of messages are missing") if found.ever else seen("no id of messages is missing")


def _message_counters(dossier: Dossier) -> Counters | Reading:
    counters = dossier.once(message_counters)
    if counters is None:
        return unknown("messages is no table with counters")
    gap = dossier.once(gaps)
    # NOTE: an empty table has no rows to cover; then its gaps bear witness that the counters are not too young.
    if counters.complete or (counters.rows == 0 and not isinstance(gap, str) and counters.inserted):
        return counters
    return unknown("the counters of messages do not cover its rows")


@signal
def inserts_rolled_back(dossier: Dossier) -> Reading:
    """
    Messages were inserted and taken back: a foreign key or a unique index refused them, or their transaction failed.
    """
    counters = _message_counters(dossier)
    if isinstance(counters, Reading):
        return counters
    words = f"{counters.rolled_back:,} inserts into messages were taken back"
    return seen(words) if counters.rolled_back else absent(words)


@signal
def messages_deleted(dossier: Dossier) -> Reading:
    """
    Rows of messages were deleted.
    """
    counters = _message_counters(dossier)
    if isinstance(counters, Reading):
        return counters
    words = f"{counters.deleted:,} rows of messages were deleted"
    return seen(words) if counters.deleted else absent(words)


@signal
@of_log
def messages_deleted_mostly(dossier: Dossier) -> Reading:
    """
    Rows of messages were deleted, and enough of them to be what most unrecorded texts are missing from.
    """
    counters = _message_counters(dossier)
    if isinstance(counters, Reading):
        return counters
    comparison = comparison_of(dossier.evidence)
    lost = comparison.counts["unrecorded"] if comparison else 0
    words = f"{counters.deleted:,} rows of messages were deleted, and {lost:,} texts are not recorded"
    return seen(words) if counters.deleted and counters.deleted >= MOSTLY * lost else absent(words)


@signal
def bookings_deleted(dossier: Dossier) -> Reading:
    """
    Pending bookings were deleted.
    """
    counters = dossier.once(booking_counters)
    if counters is None or counters.inserted - counters.deleted < counters.rows:
        return unknown("the counters of pending bookings do not cover their rows")
    words = f"{counters.deleted:,} pending bookings were deleted"
    return seen(words) if counters.deleted else absent(words)


@signal
def customers_deleted(dossier: Dossier) -> Reading:
    """
    Customers were deleted.
    """
    counters = dossier.once(customer_counters)
    if counters is None or counters.inserted - counters.deleted < counters.rows:
        return unknown("the counters of customers do not cover its rows")
    words = f"{counters.deleted:,} customers were deleted"
    return seen(words) if counters.deleted else absent(words)


def customer_counters(evidence: Evidence) -> Counters | None:
    """
    Those of customers; None for a view.
    """
    return _counters(evidence, "customers")
