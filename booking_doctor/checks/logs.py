"""
What the application's own logs say of bookings and texts. Their words stay in the database: they hold phones and bodies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.core.model import iso
from booking_doctor.findings import JSONValue, Severity

_OPERATION: Final = {"audit_logs": ("action", "entity_type"), "webhook_logs": ("source", "event_type")}
"""The columns of each log that say what was done; read where they are there."""

_WORDS: Final = {"audit_logs": ("details",), "webhook_logs": ("error", "payload")}
"""Those that say how it went, without which a log says nothing."""

CONCERN: Final = r"book|messag|sms|twilio|customer"
"""Operations on bookings and texts, by their names."""

_PATTERNS: Final = {
    "violation": r"violates not-null constraint|not_null_violation|(state|code|error)\W{1,8}23502\M",
    "concern": CONCERN,
    "relation": r"relation \W{1,3}([A-Za-z_]\w{0,62})",
    "named": r"(?:column|constraint) \W{1,3}([A-Za-z_]\w{0,62})",
    "failed": r"(?i)^(error|failed|failure|[45][0-9][0-9])$",
    "code": r"(?i)(?:^(?=[45]?[0-9]{2,5}(?:$|:| status| [a-z]))|(?:state|code|error|status)\W{1,8})"
    r"([45][0-9]{2}|[0-9]{5}|[0-9]{2}P[0-9]{2}|PGRST[0-9]{3})\M",
}
"""
What a NOT NULL violation looks like (SQLSTATE 23502, or PostgreSQL's words), which operations are about bookings and
texts, where names and codes stand. A bare number is no code: an amount or a part of a phone number looks the same.
"""

_ENTRIES: Final = """
WITH entry AS (
  SELECT l.{[log].created_at} AS created_at, concat_ws(' ', [operation]) AS operation, concat_ws(' ', [words]) AS words,
    [failure] AS failure
  FROM {[log]} l WHERE l.{[log].created_at} >= :since AND l.{[log].created_at} < :until
), judged AS (
  SELECT e.*, e.words ~* CAST(:violation AS text) AND concat_ws(' ', e.operation,
    substring(e.words FROM CAST(:relation AS text)), substring(e.words FROM CAST(:named AS text))
  ) ~* CAST(:concern AS text) AS violates
  FROM entry e
)
"""


def _asked(evidence: Evidence, log: str, question: str, failure: str = "NULL", **more: str) -> list[Mapping[str, Any]]:
    """
    The answer to a question about a log's entries of the window.

    Args:
        failure: What an entry says of its failure, in SQL.

    Raises:
        NotHere: The log, or a column it cannot do without, is not there.
    """
    read = [column for column in _OPERATION[log] if evidence.database.has(log, column)]
    entries = (
        _ENTRIES.replace("[operation]", _texts(log, read) or "''")
        .replace("[words]", _texts(log, _WORDS[log]))
        .replace("[failure]", failure)
    )
    asked = (entries + question).replace("[log]", log)
    parameters = {"since": evidence.window.since, "until": evidence.window.until, **more}
    return evidence.database.rows(
        asked, **parameters, **{name: pattern for name, pattern in _PATTERNS.items() if f":{name} " in asked}
    )


def _texts(log: str, columns: Iterable[str]) -> str:
    return ", ".join(f"CAST(l.{{{log}.{column}}} AS text)" for column in columns)


_VIOLATIONS: Final = """
SELECT coalesce(substring(words FROM CAST(:named AS text)), '') AS name, count(*) AS entries,
  min(created_at) AS first, max(created_at) AS last
FROM judged WHERE violates GROUP BY 1 ORDER BY 2 DESC, 1
"""


@check(Severity.ERROR)
def log_not_null_violation(evidence: Evidence) -> Iterator[Fault]:
    """
    The application's log has NOT NULL violations (SQLSTATE 23502) from working on bookings or texts.

    ## Why it matters

    The row was not written. On `messages.customer_id` it is the very fault that lost the texts: the message was inserted
    before its customer existed, the insert failed, and nothing but the log remembers it.

    ## How to repair

    Record the text only once the customer exists: keep it in the booking's metadata until confirm, or let the column be
    null for that time (`booking-doctor migrate relax`). What was lost meanwhile is planned by `booking-doctor backfill`.
    Compare the last time with your deployments: if it is before the one that mended it, nothing is left to do.

    ## When this is fine

    When the application tries again by another way and the row is there after all; `booking-doctor reconcile` tells.
    Entries that are not about bookings or texts are not counted.
    """
    logs = [log for log in _WORDS if evidence.database.has(log)]
    for log in logs or _WORDS:
        rows = _asked(evidence, log, _VIOLATIONS)
        if rows:
            yield _violations(log, rows, evidence)


def _violations(log: str, rows: list[Mapping[str, Any]], evidence: Evidence) -> Fault:
    names = [row["name"] for row in rows if row["name"]]
    where = f" of {', '.join(names)}" if names else ""
    return Fault(
        subject=f"log/{log}",
        summary=f"The log {log} has {_span(rows, 'NOT NULL violation', where)}; there should be none.",
        remedy=f"Record a text only once its customer exists; plan what was lost: {evidence.command('backfill')}",
        evidence={**_times(rows), "sqlstate": "23502", "by_name": {row["name"] or "?": row["entries"] for row in rows}},
    )


_WITHOUT_CUSTOMER: Final = """
SELECT count(*) AS entries, min(created_at) AS first, max(created_at) AS last FROM judged
WHERE violates AND substring(words FROM CAST(:named AS text)) = :column
  AND coalesce(substring(words FROM CAST(:relation AS text)), :table) = :table HAVING count(*) > 0
"""


def recorded_too_early(evidence: Evidence) -> dict[str, JSONValue]:
    """
    How often, and when, a message was refused for want of its customer; empty where no log has that.

    Raises:
        DatabaseError: A log could not be read.
    """
    database = evidence.database
    place = {"table": database.name("messages"), "column": database.name("messages", "customer_id")}
    logs = [log for log in _WORDS if database.has(log)]
    rows = [row for log in logs for row in _asked(evidence, log, _WITHOUT_CUSTOMER, **place)]
    return _times(rows) if rows else {}


_ERRORS: Final = """
SELECT coalesce(substring(failure FROM CAST(:code AS text)), '') AS name, count(*) AS entries,
  min(created_at) AS first, max(created_at) AS last
FROM judged WHERE failure IS NOT NULL AND NOT violates GROUP BY 1 ORDER BY 2 DESC, 1
"""

_FAILURE: Final = """
nullif(concat_ws(' status ', nullif(btrim(CAST(l.{webhook_logs.error} AS text)), ''), [status]), '')
"""
_STATUS: Final = "substring(btrim(CAST(l.{webhook_logs.status} AS text)) FROM CAST(:failed AS text))"


@check(Severity.WARNING)
def log_webhook_error(evidence: Evidence) -> Iterator[Fault]:
    """
    Webhooks failed: the log has entries with an error, or with the status of one.

    ## Why it matters

    Twilio tells the fate of a text by webhook. Where they fail, statuses stay what they were when the text was sent: a
    text that never arrived goes on looking sent.

    ## How to repair

    Read the entries of the code that comes most often. 403 is usually a signature that was checked against another URL
    than the public one, 404 a handler that is not deployed, 5 digits beginning with 1 to 3 a code of Twilio's. Then see
    what is behind with `booking-doctor reconcile` and let `booking-doctor backfill --fix-mismatched` correct it.

    ## When this is fine

    A few errors during a deployment: a status that came later has overtaken them. The evidence has the last time of each
    code.
    """
    status = _STATUS if evidence.database.has("webhook_logs", "status") else "NULL"
    rows = _asked(evidence, "webhook_logs", _ERRORS, _FAILURE.replace("[status]", status))
    if rows:
        codes = ", ".join(f"{row['name'] or 'without code'} {row['entries']:,} times" for row in rows)
        yield Fault(
            subject="log/webhook_logs",
            summary=f"The log webhook_logs has {_span(rows, 'failed webhook')} ({codes}); they should succeed.",
            remedy=f"Read the entries of the first code, mend it, then see what is behind: {evidence.command('reconcile')}",
            evidence={**_times(rows), "by_code": {row["name"] or "?": _of_code(row) for row in rows}},
        )


def _of_code(row: Mapping[str, Any]) -> dict[str, JSONValue]:
    return {"entries": row["entries"], "last": iso(row["last"])}


def _span(rows: list[Mapping[str, Any]], noun: str, where: str = "") -> str:
    """
    How many, and the last time.
    """
    entries = sum(row["entries"] for row in rows)
    last = max(row["last"] for row in rows)
    return f"{entries:,} {noun}{'' if entries == 1 else 's'}{where}, the last at {last:%Y-%m-%d %H:%M:%S} UTC"


def _times(rows: list[Mapping[str, Any]]) -> dict[str, JSONValue]:
    return {
        "entries": sum(row["entries"] for row in rows),
        "first": iso(min(row["first"] for row in rows)),
        "last": iso(max(row["last"] for row in rows)),
    }
