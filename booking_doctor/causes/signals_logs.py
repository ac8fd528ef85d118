"""
What logs name: error codes of PostgreSQL, PostgREST and the network, in the application's own logs and in the platform's.

Entries that are not about bookings or texts are passed over, and of the others nothing is kept but their times. An error that
a log names is no news by itself: every log has some. It says something where it was written when harm was done.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from booking_doctor.causes.cause import Reading, absent, seen, unknown
from booking_doctor.causes.population import MOSTLY, STRAYS, population
from booking_doctor.causes.signals import Dossier, Signal
from booking_doctor.causes.signals_twilio import disagreeing
from booking_doctor.checks.builds import route_lines
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.survey import asked
from booking_doctor.discrepancies import Kind
from booking_doctor.errors import SettingsError, SourceError

_LOGS: Final = {
    "audit_logs": ("action", "entity_type", "details"),
    "webhook_logs": ("source", "event_type", "error", "payload"),
}
_CONCERN: Final = r"book|messag|sms|twilio|customer|metadata|initiate|confirm"


def _code(state: str, *words: str) -> str:
    """
    A pattern for a code where a log writes one, or for the words that go with it. A bare number is no code.
    """
    named = rf"(state|code|error|status)\W{{1,8}}({state})\M"
    return "|".join((named, *words))


_ERRORS: Final[Mapping[str, str]] = {
    "not-null-customer": r"null value in column \W{0,3}customer_id|customer_id\W.{0,80}(not-null|not null|23502)"
    r"|23502.{0,160}customer_id",
    "not-null": _code("23502", "violates not-null constraint"),
    "foreign-key": _code("23503", "violates foreign key constraint"),
    "unique": _code("23505", "duplicate key value violates unique"),
    "check": _code("23514|22P02", "violates check constraint", "invalid input value for enum"),
    "policy": "violates row-level security policy",
    "privilege": "permission denied for (table|schema|sequence|relation|column|view)",
    "generated": _code("428C9", "can only be updated to default"),
    "timeout": _code("57014|55P03", "due to (statement|lock) timeout"),
    "prepared": _code("42P05|26000", r"prepared statement \W?.{0,80}(already exists|does not exist)"),
    "read-only": _code("25006", "in a read-only transaction"),
    "schema-cache": _code("PGRST20[45]", "in the schema cache"),
    "single-row": _code("PGRST116", "multiple \\(or no\\) rows returned", "contain 0 rows"),
    "network": r"ENETUNREACH|EHOSTUNREACH|ENOTFOUND",
    "websocket": r"native WebSocket support",
    "edge": r"edge runtime|not supported in the edge",
    "start": r"Cannot find module|ERR_MODULE_NOT_FOUND|accountSid must start with AC|supabaseUrl is required"
    r"|Invalid supabaseUrl|username is required",
    "function-timeout": r"FUNCTION_INVOCATION_TIMEOUT|ETIMEDOUT|ESOCKETTIMEDOUT|\m504\M.{0,40}time",
}
"""What each kind of error looks like, whoever wrote it down."""

_IN_PYTHON: Final = {
    kind: re.compile(pattern.replace(r"\m", r"\b").replace(r"\M", r"\b"), re.IGNORECASE)
    for kind, pattern in _ERRORS.items()
}
"""The same for what is not in the database: it spells the edges of a word otherwise."""

_WRITTEN: Final = """
SELECT k.kind AS kind, date_trunc('minute', e.created_at) AS minute, count(*) AS entries
FROM (
  SELECT l.{[log].created_at} AS created_at, concat_ws(' ', [words]) AS words FROM {[log]} l
  WHERE l.{[log].created_at} >= :since AND l.{[log].created_at} < :until
) e JOIN unnest(CAST(:kinds AS text[]), CAST(:patterns AS text[])) AS k(kind, pattern) ON e.words ~* k.pattern
WHERE e.words ~* CAST(:any AS text) AND e.words ~* CAST(:concern AS text)
GROUP BY 1, 2
"""


def logged(evidence: Evidence) -> Mapping[str, Sequence[datetime]] | None:
    """
    The minutes, in order, in which each kind of error was written down: by the application in its own logs, and in the
    platform's about the route that initiates bookings. None where there is neither.
    """
    entries, read = list(_own(evidence)), any(_has(evidence, log) for log in _LOGS)
    with suppress(SourceError, SettingsError):
        entries += _of_platform(evidence)
        read = True
    return {kind: sorted(at for of, at in entries if of == kind) for kind in _ERRORS} if read else None


def _of_platform(evidence: Evidence) -> list[tuple[str, datetime]]:
    lines = [line for lines in evidence.once(route_lines).values() for line in lines]
    return [(kind, line.at) for line in lines for kind, pattern in _IN_PYTHON.items() if pattern.search(line.message)]


def _has(evidence: Evidence, log: str) -> bool:
    return evidence.database.has(log) and evidence.database.has(log, "created_at")


def _own(evidence: Evidence) -> Iterator[tuple[str, datetime]]:
    database = evidence.database
    for log in (log for log in _LOGS if _has(evidence, log)):
        columns = [column for column in _LOGS[log] if database.has(log, column)]
        words = ", ".join(f"CAST(l.{{{log}.{column}}} AS text)" for column in columns) or "''"
        rows = database.rows(
            _WRITTEN.replace("[words]", words).replace("[log]", log),
            since=evidence.window.since,
            until=evidence.window.until,
            kinds=list(_ERRORS),
            patterns=list(_ERRORS.values()),
            any="|".join(_ERRORS.values()),
            concern=_CONCERN,
        )
        for row in rows:
            yield from [(row["kind"], row["minute"])] * row["entries"]


# --- when harm was done ----------------------------------------------------------------------------------------------

_BEFORE: Final = timedelta(minutes=2)
_AFTER: Final = timedelta(minutes=10)
"""An error is written down about when it happens: within a minute's rounding before, and after the tries that it took."""


def harm(evidence: Evidence) -> Sequence[Sequence[datetime]]:
    """
    When harm was done: bookings initiated that are bad, confirmed without a record, texts sent that nobody recorded.
    """
    lost = [found.message.happened_at for found in disagreeing(evidence, Kind.UNRECORDED) if found.message]
    return [bad.case.created_at for bad in evidence.once(population).bad], evidence.once(_unrecorded), lost


_CONFIRMED: Final = """
SELECT t.confirmed_at AS at FROM told t WHERE t.status = 'confirmed' AND t.confirmed_at IS NOT NULL AND t.sid <> ''
  AND NOT EXISTS (SELECT FROM {messages} m WHERE m.{messages.message_sid} = t.sid)
"""


def _unrecorded(evidence: Evidence) -> list[datetime]:
    if not evidence.database.has("messages", "message_sid"):
        return []
    return [row["at"] for row in asked(evidence, _CONFIRMED)]


def _beside(moments: Sequence[datetime], entries: Sequence[datetime]) -> int:
    """
    At how many of these moments an entry was written.
    """
    return sum(_written(entries, moment) for moment in moments)


def _written(entries: Sequence[datetime], moment: datetime) -> bool:
    first = bisect_left(entries, moment - _BEFORE)
    return first < len(entries) and entries[first] <= moment + _AFTER


def _logged(kind: str, what: str) -> tuple[Signal, Signal]:
    """
    Whether the logs name such an error that went with harm, or that nothing went well after; and whether it was written at
    half of all harm, or more.
    """

    def look(dossier: Dossier, *, each_time: bool) -> Reading:
        logs = dossier.once(logged)
        if logs is None:
            return unknown("the application keeps no log in this database, and the platform's was not read")
        entries = logs[kind]
        if not entries:
            return absent(f"no log names {what}")
        words = f"the log names {what} {len(entries):,} time{'' if len(entries) == 1 else 's'}"
        done = [(_beside(moments, entries), len(moments)) for moments in dossier.once(harm) if moments]
        met, of = max(done, key=lambda counts: counts[0] / counts[1], default=(0, 0))
        if met:
            words = f"{words}, at {met:,} of {of:,} moments at which harm was done"
            return seen(words) if met >= (MOSTLY if each_time else STRAYS) * of else absent(words)
        good = dossier.once(population).last_good
        over = good is not None and good > entries[-1]
        words = f"{words}, and {'bookings were in order after it' if over else 'no booking was in order after it'}"
        return absent(words) if over or each_time else seen(words)

    meaning = f"The application's log names {what}"
    return (
        Signal(name=f"logged-{kind}", meaning=f"{meaning}.", look=partial(look, each_time=False)),
        Signal(
            name=f"logged-{kind}-each-time",
            meaning=f"{meaning}, at most moments at which harm was done.",
            look=partial(look, each_time=True),
        ),
    )


not_null_customer, not_null_customer_each_time = _logged("not-null-customer", "a null customer_id (23502)")
not_null, not_null_each_time = _logged("not-null", "a NOT NULL violation (23502)")
foreign_key, foreign_key_each_time = _logged("foreign-key", "a foreign key violation (23503)")
unique, unique_each_time = _logged("unique", "a unique violation (23505)")
check, check_each_time = _logged("check", "a value that a CHECK or an enum refuses (23514, 22P02)")
policy, policy_each_time = _logged("policy", "a row that a policy refuses (42501)")
privilege, privilege_each_time = _logged("privilege", "a missing privilege (42501)")
generated, generated_each_time = _logged("generated", "a write to a generated column (428C9)")
timeout, timeout_each_time = _logged("timeout", "a statement or lock that timed out (57014, 55P03)")
prepared, prepared_each_time = _logged("prepared", "a prepared statement that is or is not there (42P05, 26000)")
read_only, read_only_each_time = _logged("read-only", "a write in a read-only transaction (25006)")
schema_cache, schema_cache_each_time = _logged(
    "schema-cache", "a column or table that PostgREST does not know (PGRST204, PGRST205)"
)
single_row, single_row_each_time = _logged("single-row", "no row or several where one was wanted (PGRST116)")
network, network_each_time = _logged("network", "a network that cannot be reached (ENETUNREACH, ENOTFOUND)")
websocket, websocket_each_time = _logged("websocket", "a runtime without WebSocket")
edge, edge_each_time = _logged("edge", "a module that the edge runtime has not")
start, start_each_time = _logged("start", "an error while a module was loaded")
function_timeout, function_timeout_each_time = _logged("function-timeout", "a request or function that timed out")
