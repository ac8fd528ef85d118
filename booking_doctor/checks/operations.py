"""
What the audit log says of operations on bookings and texts that were begun and not ended.

An application notes an operation in one of two ways: an entry for each step, or one entry with all steps in its
`details`. Where it says nothing of a beginning, the other operations tell which step is followed by another at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import chain
from typing import Any, Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.logs import CONCERN
from booking_doctor.core.model import iso
from booking_doctor.findings import JSONValue, Severity
from booking_doctor.reconcile import IN_FLIGHT

AT_ONCE: Final = timedelta(minutes=1)
"""What a program does next it does within that time; a person takes longer, or does not do it."""

USUAL: Final = 5
USUALLY: Final = 0.9
"""So many operations, and such a share of those that went on, show that a step is followed at once."""

LEARNED: Final = timedelta(days=7)
"""So far back it is looked what usually follows, also where the window is shorter."""

_STEPS_SHOWN: Final = 20

_BEGUN: Final = r"(start(ed|ing)?|begin|began|begun|attempt(ed|ing)?|sending|processing|in.?progress)$"
"""Last words of an action that is not over."""

_WELL: Final = r"^(done|ok|okay|true|success(ful)?|succeeded|completed?|finished|sent|skipped|2[0-9][0-9])$"
"""What the last step of an operation that ended well says."""

_NAME: Final = re.compile(r"[A-Za-z](?:[A-Za-z_.:/ -]|[0-9]{1,2}(?![0-9])){0,60}")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{1,9}")
"""What may be shown of names and ids: nothing that could be a phone or a text."""

# NOTE: to_jsonb takes a column of any type; what it would fail on, escapes that jsonb cannot hold, is kept from it.
_ENTRY: Final = r"""
WITH entry AS (
  SELECT CAST(l.{audit_logs.action} AS text) AS action, [type] AS type, CAST(l.{audit_logs.entity_id} AS text) AS thing,
    l.{audit_logs.created_at} AS at, CASE WHEN CAST(l.{audit_logs.details} AS text) !~* '\\u(0000|d[89a-f])'
      THEN to_jsonb(l.{audit_logs.details}) END AS report
  FROM {audit_logs} l
  WHERE l.{audit_logs.created_at} >= :from AND l.{audit_logs.created_at} < :until
    AND concat_ws(' ', CAST(l.{audit_logs.action} AS text), [type]) ~* CAST(:concern AS text)
)
"""

_CHAINS: Final = """
, step AS (
  SELECT e.*, min(e.action) OVER moment <> max(e.action) OVER moment AS together,
    min(e.at) OVER (PARTITION BY e.type, e.thing ORDER BY e.at
      RANGE BETWEEN INTERVAL '1 microsecond' FOLLOWING AND UNBOUNDED FOLLOWING) AS next_at
  FROM entry e WHERE e.thing <> '' WINDOW moment AS (PARTITION BY e.type, e.thing, e.at)
), judged AS (
  SELECT s.*, coalesce(s.together OR s.next_at <= s.at + CAST(:at_once AS interval), false) AS swift,
    s.next_at IS NULL AND NOT s.together AND s.at >= :since AND s.at <= :settled AS last
  FROM step s
)
SELECT action, NULL AS step, count(DISTINCT (type, thing)) FILTER (WHERE last) AS operations,
  min(at) FILTER (WHERE last) AS first, max(at) FILTER (WHERE last) AS latest,
  (array_agg(thing ORDER BY at DESC) FILTER (WHERE last))[1:5] AS things
FROM judged GROUP BY action
HAVING count(*) FILTER (WHERE last) > 0 AND (action ~* CAST(:begun AS text) OR count(*) FILTER (WHERE swift) >= :usual
  AND count(*) FILTER (WHERE swift) >= :usually * count(*) FILTER (WHERE swift OR next_at IS NOT NULL))
ORDER BY 3 DESC, 1
"""

# NOTE: a report with warnings, such as our own flow's, warns of what it ended with; other words of its last step are an
# answer.
_REPORTS: Final = """
, ended AS (
  SELECT e.*, coalesce(report #>> '{steps,-1,name}', report #>> '{steps,-1,step}') AS step,
    coalesce(report #>> '{steps,-1,outcome}', report #>> '{steps,-1,status}', report #>> '{steps,-1,ok}') AS outcome
  FROM entry e WHERE e.at >= :since
)
SELECT action, step, count(*) AS operations, min(at) AS first, max(at) AS latest,
  (array_agg(thing ORDER BY at DESC) FILTER (WHERE thing <> ''))[1:5] AS things
FROM ended
WHERE outcome !~* CAST(:well AS text) AND coalesce(report -> 'warnings' @> to_jsonb(outcome), true)
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""

_TEXTS: Final = """
SELECT count(*) AS entries FROM entry e
WHERE e.at >= :since AND jsonb_typeof(report) = 'string' AND report #>> '{}' ~ '"steps" *:'
"""


@check(Severity.WARNING)
def log_operation_stops(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Operations on bookings or texts stop at one step: the audit log has their beginning and not their end.

    A step says itself that it is only a beginning (`sms.started`), or it is followed by another within a minute in nine of
    ten operations; or the last of the `steps` in an entry's `details` did not end well.

    ## Why it matters

    Where all stop at the same step, that step is at fault, or what comes after it: a promise that nobody waits for, a
    function whose time was up, a statement that is refused. The application itself may have answered that all is well.

    ## How to repair

    Read the last entries of the step that comes most often, then the code between it and the step that should follow.
    Compare the first time with your deployments. `booking-doctor bookings` says which bookings lost their text by it.

    ## When this is fine

    At a step that checks what a customer has typed, or that waits for somebody: a customer who never confirms ends an
    operation well. In the first 5 minutes nothing is said, because an operation may go on.
    """
    kind = "CAST(l.{audit_logs.entity_type} AS text)" if evidence.database.has("audit_logs", "entity_type") else "''"
    rows = list(chain(_asked(evidence, kind, _CHAINS), _asked(evidence, kind, _REPORTS)))
    if rows:
        yield _stops(sorted(rows, key=lambda row: -row["operations"]), evidence)
    if entries := _asked(evidence, kind, _TEXTS)[0]["entries"]:
        reason = f"{entries:,} entries of audit_logs keep their steps in a text, which is not read; jsonb would be"
        yield BlindSpot(subject=None, kind="not-applicable", reason=reason)


def _asked(evidence: Evidence, kind: str, question: str) -> list[Mapping[str, Any]]:
    window = evidence.window
    parameters = {
        "from": min(window.since, window.until - LEARNED),
        "since": window.since,
        "until": window.until,
        "settled": evidence.now - IN_FLIGHT,
        "concern": CONCERN,
        "at_once": AT_ONCE,
        "begun": _BEGUN,
        "usual": USUAL,
        "usually": USUALLY,
        "well": _WELL,
    }
    return evidence.database.rows(_ENTRY.replace("[type]", kind) + question, **parameters)


def _stops(rows: list[Mapping[str, Any]], evidence: Evidence) -> Fault:
    total, latest = sum(row["operations"] for row in rows), max(row["latest"] for row in rows)
    first = rows[0]
    named = f"{first['operations']:,} of them at {_step(first)}" if len(rows) > 1 else f"at {_step(first)}"
    return Fault(
        subject="log/audit_logs",
        summary=f"The log audit_logs has {total:,} {'operation that stops' if total == 1 else 'operations that stop'}"
        f" ({named}), the last at {latest:%Y-%m-%d %H:%M:%S} UTC; each should end.",
        remedy=f"Read the last entries of that step, then see which texts were lost by it: {evidence.command('bookings')}",
        evidence={
            "operations": total,
            "steps": [_told(row) for row in rows[:_STEPS_SHOWN]],
            "steps_not_shown": len(rows[_STEPS_SHOWN:]),
        },
    )


def _step(row: Mapping[str, Any]) -> str:
    names = [_shown(name) for name in (row["action"], row["step"]) if name is not None]
    return ", step ".join(names)


def _shown(name: str) -> str:
    return name if _NAME.fullmatch(name) else "a step whose name is not shown"


def _told(row: Mapping[str, Any]) -> dict[str, JSONValue]:
    return {
        "step": _step(row),
        "operations": row["operations"],
        "first": iso(row["first"]),
        "last": iso(row["latest"]),
        "entities": [thing for thing in row["things"] or () if _ID.fullmatch(thing)],
    }
