"""
What logs name: error codes of PostgreSQL, PostgREST and the network, in the application's own logs and in the platform's.

Entries that are not about bookings or texts are not counted. The application's are counted in the database, so that nothing
of an entry leaves it; of the platform's nothing is kept but the count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from booking_doctor.causes.cause import Reading, absent, seen, unknown
from booking_doctor.causes.signals import Dossier, Signal
from booking_doctor.checks.builds import route_lines
from booking_doctor.checks.check import Evidence
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

_COUNTED: Final = """
SELECT k.kind AS kind, count(*) AS entries
FROM (
  SELECT concat_ws(' ', [words]) AS words FROM {[log]} l
  WHERE l.{[log].created_at} >= :since AND l.{[log].created_at} < :until
) e JOIN unnest(CAST(:kinds AS text[]), CAST(:patterns AS text[])) AS k(kind, pattern) ON e.words ~* k.pattern
WHERE e.words ~* CAST(:any AS text) AND e.words ~* CAST(:concern AS text)
GROUP BY 1
"""


def logged(evidence: Evidence) -> Mapping[str, int] | None:
    """
    How many entries name each kind of error: of the application's own logs in the window, and of the platform's about the
    route that initiates bookings. None where there is neither.
    """
    own = _own(evidence)
    try:
        platform = _of_platform(evidence)
    except (SourceError, SettingsError):
        return own
    return platform if own is None else own + platform


def _of_platform(evidence: Evidence) -> Counter[str]:
    lines = [line for lines in evidence.once(route_lines).values() for line in lines]
    return Counter(kind for line in lines for kind, pattern in _IN_PYTHON.items() if pattern.search(line.message))


def _own(evidence: Evidence) -> Counter[str] | None:
    database, found = evidence.database, Counter[str]()
    logs = [log for log in _LOGS if database.has(log) and database.has(log, "created_at")]
    for log in logs:
        columns = [column for column in _LOGS[log] if database.has(log, column)]
        words = ", ".join(f"CAST(l.{{{log}.{column}}} AS text)" for column in columns) or "''"
        rows = database.rows(
            _COUNTED.replace("[words]", words).replace("[log]", log),
            since=evidence.window.since,
            until=evidence.window.until,
            kinds=list(_ERRORS),
            patterns=list(_ERRORS.values()),
            any="|".join(_ERRORS.values()),
            concern=_CONCERN,
        )
        found.update({row["kind"]: row["entries"] for row in rows})
    return found if logs else None


def _logged(kind: str, what: str) -> Signal:
    """
    Whether the application's logs name such an error.
    """

    def look(dossier: Dossier) -> Reading:
        counts = dossier.once(logged)
        if counts is None:
            return unknown("the application keeps no log in this database, and the platform's was not read")
        entries = counts.get(kind, 0)
        times = f"{entries:,} time{'' if entries == 1 else 's'}"
        return seen(f"the log names {what} {times}") if entries else absent(f"no log names {what}")

    return Signal(name=f"logged-{kind}", meaning=f"The application's log names {what}.", look=look)


not_null_customer = _logged("not-null-customer", "a null customer_id (23502)")
not_null = _logged("not-null", "a NOT NULL violation (23502)")
foreign_key = _logged("foreign-key", "a foreign key violation (23503)")
unique = _logged("unique", "a unique violation (23505)")
check = _logged("check", "a value that a CHECK or an enum refuses (23514, 22P02)")
policy = _logged("policy", "a row that a policy refuses (42501)")
privilege = _logged("privilege", "a missing privilege (42501)")
generated = _logged("generated", "a write to a generated column (428C9)")
timeout = _logged("timeout", "a statement or lock that timed out (57014, 55P03)")
prepared = _logged("prepared", "a prepared statement that is or is not there (42P05, 26000)")
read_only = _logged("read-only", "a write in a read-only transaction (25006)")
schema_cache = _logged("schema-cache", "a column or table that PostgREST does not know (PGRST204, PGRST205)")
single_row = _logged("single-row", "no row or several where one was wanted (PGRST116)")
network = _logged("network", "a network that cannot be reached (ENETUNREACH, ENOTFOUND)")
websocket = _logged("websocket", "a runtime without WebSocket")
edge = _logged("edge", "a module that the edge runtime has not")
start = _logged("start", "an error while a module was loaded")
function_timeout = _logged("function-timeout", "a request or function that timed out")
