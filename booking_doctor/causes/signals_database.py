"""
What the database is like: who may write, what changes rows on their way, of which kind the columns are.

Most of it the checks have found; here it is told apart by what it means for a cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from booking_doctor.causes.cause import Reading, absent, seen
from booking_doctor.causes.signals import Dossier, signal
from booking_doctor.checks.schema import needed
from booking_doctor.findings import Finding, Severity

# --- who may write ---------------------------------------------------------------------------------------------------


def _obstacle(dossier: Dossier, check: str, kinds: set[str], *, known_role: bool | None = None) -> Reading:
    """
    Whether such an obstacle certainly stands in the way.

    Args:
        known_role: Whether the application's role must be one that somebody named, or must not; None for either.
    """
    reading = dossier.finding(check)
    for finding in dossier.findings(check):
        guessed = bool(finding.evidence["role_guessed"])
        if kinds.intersection(_told(finding, "obstacles")) and known_role in {None, not guessed}:
            return seen(finding.summary.removesuffix("."))
    return absent("nothing of the kind stands in the way") if reading.seen else reading


def _told(finding: Finding, name: str) -> Iterable[str]:
    value = finding.evidence.get(name)
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


@signal
def update_filtered(dossier: Dossier) -> Reading:
    """
    By its policies the application's role updates no pending booking, and is not told.
    """
    return _obstacle(dossier, "schema-update-blocked", {"policy"}, known_role=True)


@signal
def update_filtered_for_us(dossier: Dossier) -> Reading:
    """
    By its policies the doctor's own role updates no pending booking; the application's is not known.
    """
    return _obstacle(dossier, "schema-update-blocked", {"policy"}, known_role=False)


def _perhaps(dossier: Dossier, kind: str) -> Reading:
    """
    Whether such an obstacle stands in the way of some rows.
    """
    reading = dossier.finding("schema-update-blocked")
    for finding in dossier.findings("schema-update-blocked"):
        if kind in _told(finding, "perhaps"):
            return seen(finding.summary.removesuffix("."))
    return absent(f"no {kind} depends on the row") if reading.seen else reading


@signal
def update_filtered_perhaps(dossier: Dossier) -> Reading:
    """
    Whether the application's role may update a pending booking depends on the row, by its policies.
    """
    return _perhaps(dossier, "policy")


@signal
def update_swallowed_perhaps(dossier: Dossier) -> Reading:
    """
    A rule does something else instead of the UPDATE of some rows.
    """
    return _perhaps(dossier, "rule")


@signal
def update_unprivileged(dossier: Dossier) -> Reading:
    """
    The application's role lacks a privilege that its UPDATE needs.
    """
    return _obstacle(dossier, "schema-update-blocked", {"privilege"}, known_role=True)


@signal
def update_swallowed(dossier: Dossier) -> Reading:
    """
    A rule does nothing instead of the UPDATE, or the table is a view that takes none.
    """
    return _obstacle(dossier, "schema-update-blocked", {"rule", "view"})


@signal
def insert_filtered(dossier: Dossier) -> Reading:
    """
    By its policies the application's role may not insert a message.
    """
    return _obstacle(dossier, "schema-insert-blocked", {"policy"}, known_role=True)


@signal
def insert_filtered_for_us(dossier: Dossier) -> Reading:
    """
    By its policies the doctor's own role may not insert a message; the application's is not known.
    """
    return _obstacle(dossier, "schema-insert-blocked", {"policy"}, known_role=False)


@signal
def insert_unprivileged(dossier: Dossier) -> Reading:
    """
    The application's role lacks a privilege that its INSERT needs.
    """
    return _obstacle(dossier, "schema-insert-blocked", {"privilege"}, known_role=True)


@signal
def unprivileged_ourselves(dossier: Dossier) -> Reading:
    """
    The doctor's own role lacks a privilege that the application's writes need; the application's role is not known.
    """
    checks = ("schema-update-blocked", "schema-insert-blocked")
    found = [_obstacle(dossier, check, {"privilege"}, known_role=False) for check in checks]
    return next((reading for reading in found if reading.seen), found[0])


@signal
def insert_swallowed(dossier: Dossier) -> Reading:
    """
    A rule does nothing instead of the INSERT, or the table is a view that takes none.
    """
    return _obstacle(dossier, "schema-insert-blocked", {"rule", "view"})


# --- what changes rows on their way ----------------------------------------------------------------------------------


def _trigger(dossier: Dossier, table: str, *, certain: bool) -> Reading:
    reading = dossier.finding("schema-trigger-interferes")
    place = f"schema/{dossier.evidence.database.name(table)}"
    for finding in dossier.findings("schema-trigger-interferes"):
        if finding.subject.partition(".")[0] == place and (finding.severity is Severity.ERROR) is certain:
            return seen(finding.summary.removesuffix("."))
    return absent("no trigger or rule does that") if reading.seen else reading


@signal
def trigger_changes_metadata(dossier: Dossier) -> Reading:
    """
    A trigger, by its source, changes or drops what is stored as metadata.
    """
    return _trigger(dossier, "pending_bookings", certain=True)


@signal
def trigger_drops_messages(dossier: Dossier) -> Reading:
    """
    A trigger, by its source, changes or drops new messages.
    """
    return _trigger(dossier, "messages", certain=True)


@signal
def trigger_may_change_metadata(dossier: Dossier) -> Reading:
    """
    A trigger changes or drops what is stored as metadata of some bookings, or does what its source does not show.
    """
    return _trigger(dossier, "pending_bookings", certain=False)


@signal
def trigger_may_drop_messages(dossier: Dossier) -> Reading:
    """
    A trigger changes or drops some new messages, or does what its source does not show.
    """
    return _trigger(dossier, "messages", certain=False)


_INSTEAD_OF: Final = """
SELECT t.tgname AS name FROM pg_trigger t
WHERE t.tgrelid = to_regclass(:relation) AND t.tgtype & 80 = 80 AND t.tgenabled IN ('O', 'A') ORDER BY t.tgname
"""


@signal
def view_written_by_trigger(dossier: Dossier) -> Reading:
    """
    Pending bookings are a view, and a trigger decides what becomes of an UPDATE.
    """
    database = dossier.evidence.database
    rows = database.rows(_INSTEAD_OF, relation=needed(database, "pending_bookings"))
    if not rows:
        return absent("no trigger stands in for an UPDATE of pending bookings")
    return seen(f"pending bookings are a view, and the trigger {rows[0]['name']} decides what becomes of an UPDATE")


_FUNCTIONS: Final = """
SELECT CAST(CAST(p.oid AS regprocedure) AS text) AS name, p.prosrc AS source FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_') AND p.prorettype <> CAST('trigger' AS regtype)
  AND strpos(lower(p.prosrc), lower(:table)) > 0 AND p.prosrc ~* CAST(:pattern AS text)
ORDER BY 1
"""


def _functions(dossier: Dossier, pattern: str) -> list[str]:
    """
    Functions that work on pending bookings and whose source matches.
    """
    database = dossier.evidence.database
    table = database.name("pending_bookings")
    rows = database.rows(_FUNCTIONS, table=table, pattern=_filled(dossier, pattern))
    return [row["name"] for row in rows]


def _filled(dossier: Dossier, pattern: str) -> str:
    """
    The pattern with the names that table and column have here.
    """
    database = dossier.evidence.database
    names = {"TABLE": database.name("pending_bookings"), "COLUMN": database.name("pending_bookings", "metadata")}
    return re.sub("TABLE|COLUMN", lambda match: re.escape(names[match[0]]), pattern)


_NESTED_PATH: Final = r"jsonb_(set|insert)\s*\([^;]*?('\{[^{}'']+,[^{}'']+\}'|array\s*\[[^]]+,[^]]+\])"
_STRICT: Final = r"jsonb_(set|insert)\s*\("


@signal
def function_sets_nested_path(dossier: Dossier) -> Reading:
    """
    A function writes the metadata with jsonb_set below a parent that an empty object has not: that changes nothing.
    """
    names = _functions(dossier, _NESTED_PATH)
    if not names:
        return absent("no function writes below a parent that may be missing")
    return seen(f"the function {', '.join(names)} writes with jsonb_set below a parent that an empty object has not")


@signal
def function_sets_json(dossier: Dossier) -> Reading:
    """
    A function writes the metadata with jsonb_set or jsonb_insert.
    """
    names = _functions(dossier, _STRICT)
    return seen(f"the function {', '.join(names)} uses jsonb_set") if names else absent("no function uses jsonb_set")


_DELETING: Final = r"delete\s+from\s+(only\s+)?(\w+\.)?\"?TABLE\M"
_EMPTYING: Final = (
    r"update\s+(only\s+)?(\w+\.)?\"?TABLE\M[^;]*\sCOLUMN\"?\s*=\s*('\{\}'|null|default|jsonb_build_object\(\s*\))"
)
_CRON: Final = """
SELECT CAST(j.jobid AS text) AS id, CAST(j.schedule AS text) AS schedule FROM cron.job j
WHERE j.command ~* CAST(:pattern AS text) OR EXISTS (
  SELECT FROM unnest(CAST(:functions AS text[])) AS f(name) WHERE strpos(j.command, f.name) > 0)
ORDER BY j.jobid
"""


def _cron(dossier: Dossier, pattern: str, does: str) -> Reading:
    """
    Whether a job of pg_cron does that, by itself or by a function.
    """
    database = dossier.evidence.database
    if not database.rows("SELECT to_regclass('cron.job') IS NOT NULL AS here")[0]["here"]:
        return absent("this database has no pg_cron")
    names = [name.partition("(")[0].rpartition(".")[2] for name in _functions(dossier, pattern)]
    rows = database.rows(_CRON, pattern=_filled(dossier, pattern), functions=names)
    told = " and ".join(f"job {row['id']} ({row['schedule']})" for row in rows)
    return seen(f"pg_cron's {told} {does}") if rows else absent(f"no job of pg_cron {does}")


@signal
def cron_empties_bookings(dossier: Dossier) -> Reading:
    """
    A job of pg_cron empties the metadata of pending bookings.
    """
    return _cron(dossier, _EMPTYING, "empties the metadata of pending bookings")


@signal
def cron_deletes_bookings(dossier: Dossier) -> Reading:
    """
    A job of pg_cron deletes pending bookings.
    """
    return _cron(dossier, _DELETING, "deletes pending bookings")


@signal
def function_empties_bookings(dossier: Dossier) -> Reading:
    """
    A function empties the metadata of pending bookings.
    """
    names = _functions(dossier, _EMPTYING)
    words = f"the function {', '.join(names)} empties the metadata of pending bookings"
    return seen(words) if names else absent("no function empties the metadata of pending bookings")


# --- of which kind the columns are -----------------------------------------------------------------------------------


@signal
def metadata_not_writable(dossier: Dossier) -> Reading:
    """
    The metadata is computed by the database, so that nothing can be written there.
    """
    reading = dossier.finding("schema-column-generated")
    for finding in dossier.findings("schema-column-generated"):
        if finding.subject.endswith(f".{dossier.evidence.database.name('pending_bookings', 'metadata')}"):
            return seen(finding.summary.removesuffix("."))
    return absent("the metadata can be written") if reading.seen else reading


_NULLABLE: Final = """
SELECT a.attnotnull AS required, a.atthasdef AS filled FROM pg_attribute a
WHERE a.attrelid = to_regclass(:relation) AND a.attname = :column
"""


@signal
def metadata_may_be_null(dossier: Dossier) -> Reading:
    """
    The metadata has no default, or takes null.
    """
    database = dossier.evidence.database
    place = {"relation": needed(database, "pending_bookings"), "column": database.name("pending_bookings", "metadata")}
    for row in database.rows(_NULLABLE, **place):
        if not row["required"] or not row["filled"]:
            return seen(f"the metadata {'has no default' if not row['filled'] else 'takes null'}")
    return absent("the metadata has a default and takes no null")


def _role_setting(dossier: Dossier, name: str) -> Reading:
    reading = dossier.finding("schema-role-setting")
    for finding in dossier.findings("schema-role-setting"):
        if finding.subject.endswith(f".{name}"):
            return seen(finding.summary.removesuffix("."))
    return absent(f"no setting {name} gets in the way") if reading.seen else reading


@signal
def statements_hurried(dossier: Dossier) -> Reading:
    """
    A setting of the application's role or database cancels statements after less than a second.
    """
    return _role_setting(dossier, "statement_timeout")


@signal
def role_read_only(dossier: Dossier) -> Reading:
    """
    A setting of the application's role or database makes every transaction read-only.
    """
    return _role_setting(dossier, "default_transaction_read_only")


@signal
def role_searches_elsewhere(dossier: Dossier) -> Reading:
    """
    The application's role looks for tables in other schemas than theirs.
    """
    return _role_setting(dossier, "search_path")


_DELETES: Final = """
SELECT k.conname AS name, CAST(k.confdeltype AS text) AS deed FROM pg_constraint k
WHERE k.conrelid = to_regclass(:messages) AND k.confrelid = to_regclass(:customers) AND k.contype = 'f' ORDER BY k.conname
"""


@signal
def messages_follow_customers(dossier: Dossier) -> Reading:
    """
    By the foreign key, deleting a customer deletes its messages or leaves them without one.
    """
    database = dossier.evidence.database
    places = {name: needed(database, name) for name in ("messages", "customers")}
    rows = [row for row in database.rows(_DELETES, **places) if row["deed"] in {"c", "n", "d"}]
    if not rows:
        return absent("deleting a customer who has messages is refused")
    deeds = {"c": "deletes its messages", "n": "leaves its messages without one", "d": "gives its messages a default"}
    return seen(f"by the foreign key {rows[0]['name']} deleting a customer {deeds[rows[0]['deed']]}")


# --- customers --------------------------------------------------------------------------------------------------------

_SAME_PHONE: Final = """
SELECT count(*) AS phones FROM (
  SELECT right(regexp_replace(CAST({customers.phone} AS text), '[^0-9]', '', 'g'), 10) AS phone FROM {customers}
  GROUP BY 1 HAVING count(*) > 1 AND length(right(regexp_replace(min(CAST({customers.phone} AS text)), '[^0-9]', '', 'g'), 10)) >= 7
) AS shared
"""


@signal
def customers_share_phone(dossier: Dossier) -> Reading:
    """
    Several customers have one phone, perhaps written differently.
    """
    phones = dossier.evidence.database.rows(_SAME_PHONE)[0]["phones"]
    return (
        seen(f"{phones:,} phones belong to several customers") if phones else absent("no two customers share a phone")
    )


_ANOTHERS: Final = """
SELECT count(*) AS rows FROM {messages} m JOIN {customers} c ON CAST(c.{customers.id} AS text) = CAST(m.{messages.customer_id} AS text)
WHERE m.{messages.created_at} >= :since AND m.{messages.created_at} < :until
  AND c.{customers.phone} NOT IN (m.{messages.to_number}, m.{messages.from_number})
  AND right(regexp_replace(CAST(c.{customers.phone} AS text), '[^0-9]', '', 'g'), 10) <> right(regexp_replace(
    CAST(CASE WHEN CAST(m.{messages.direction} AS text) = 'inbound' THEN m.{messages.from_number} ELSE m.{messages.to_number} END AS text),
    '[^0-9]', '', 'g'), 10)
  AND EXISTS (SELECT FROM {customers} o WHERE right(regexp_replace(CAST(o.{customers.phone} AS text), '[^0-9]', '', 'g'), 10)
    = right(regexp_replace(CAST(m.{messages.to_number} AS text), '[^0-9]', '', 'g'), 10))
"""


@signal
def rows_at_another_customer(dossier: Dossier) -> Reading:
    """
    Messages stand at one customer and went to the phone of another.
    """
    window = dossier.evidence.window
    rows = dossier.evidence.database.rows(_ANOTHERS, since=window.since, until=window.until)[0]["rows"]
    words = f"{rows:,} messages stand at one customer and went to the phone of another"
    return seen(words) if rows else absent("every message went to the phone of its customer, or to nobody known")
