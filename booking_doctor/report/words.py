"""
How every format for people says the same things: a verdict in a word, counts and their names, moments and spans.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from booking_doctor.errors import ExitCode
from booking_doctor.findings import (
    Finding,
    JSONValue,
    PastRun,
    Report,
    SessionView,
    Severity,
    StepView,
    Verdict,
    Window,
)

VALUE_SHOWN: Final = 160
"""
Characters of one value; of a longer one the beginning and the length are shown.
"""

_ABSENT: Final = object()

LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "twilio_messages": ("Twilio messages", ""),
    "matched": ("  matched", ""),
    "mismatched": ("  mismatched", "a compared field differs"),
    "deferred": ("  deferred", "confirm will record them"),
    "in_flight": ("  in flight", "too young to tell"),
    "rejected": ("  rejected", "refused at once, not sent"),
    "unrecorded": ("  unrecorded", "no row has their SID"),
    "orphaned": ("    of these orphaned", "no booking, no customer"),
    "recorded_messages": ("Recorded messages", ""),
    "unknown_to_twilio": ("  unknown to Twilio", "404 for their SID"),
    "without_customer": ("  without customer", "null, or points nowhere"),
    "duplicated": ("  duplicated", "SIDs with more than one row"),
    "without_sid": ("  without SID", "cannot be compared"),
    "pending_bookings": ("Pending bookings", ""),
    "metadata_empty": ("  metadata empty", ""),
    "metadata_incomplete": ("  metadata incomplete", ""),
    "sms_found_in_twilio": ("  SMS found in Twilio", ""),
    "planned": ("Planned steps", ""),
    "insert_message": ("  insert message", "the row that is missing"),
    "restore_metadata": ("  restore metadata", "so that confirm records it"),
    "update_message": ("  update message", "Twilio's value for the row's"),
    "assign_customer": ("  assign customer", "to a row that has none"),
    "restored": ("Restored", ""),
    "left": ("Left", "they stay as they are"),
    "applied": ("Applied", ""),
}
"""
Counts in the order they are read, with what a number other than 0 means. Indented ones are part of the one above.
"""

EXIT_WORDS: Final = {
    ExitCode.INCOMPLETE: "INCOMPLETE",
    ExitCode.REFUSED: "REFUSED",
    ExitCode.PARTLY: "PARTLY DONE",
    ExitCode.INTERRUPTED: "INTERRUPTED",
}
"""
What outranks any finding.
"""


UNFINISHED: Final = (
    "begun, and not seen to end: an index may be half built. Run the command again, or take the run back with undo."
)


def word_of(report: Report) -> str:
    """
    The verdict in a word. Listing runs, taking one back, writing settings or sending texts says nothing about health.
    """
    if report.exit_code in EXIT_WORDS:
        return EXIT_WORDS[report.exit_code]
    done = report.run or report.runs is not None or report.command in {"init", "jobs run"}
    if report.exit_code is ExitCode.OK and done:
        return "Done"
    if report.findings:
        return "Findings"
    return "Healthy" if report.verdict is Verdict.HEALTHY else "Work remains"


def applied_text(run: PastRun) -> str:
    """
    How many steps stand; what was begun and not seen to end beside them.
    """
    return f"{run.applied:,}, {run.begun:,} unfinished" if run.begun else f"{run.applied:,}"


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """
    By severity, then by name; otherwise as they came.
    """
    order = list(Severity)
    return sorted(findings, key=lambda finding: (order.index(finding.severity), finding.name))


def since_text(report: Report, finding: Finding) -> str:
    """
    ``new``, or since when it is there; nothing where nobody remembers.
    """
    if report.novelty is None:
        return ""
    return "new" if report.is_new(finding) else f"since {moment_text(report.novelty.since[finding.fingerprint])} UTC"


def change_text(report: Report) -> str:
    """
    How many findings are new, how many were there before, how many are gone, and of how many nobody knows; nothing where
    nobody remembers.
    """
    if report.novelty is None:
        return ""
    new, unsure = sum(map(report.is_new, report.findings)), report.coverage.get("not_looked_for_again")
    told = f"{new:,} new, {len(report.findings) - new:,} as before, {len(report.novelty.gone):,} gone"
    return f"{told}, {figure(unsure)} not looked for again" if unsure else told


def place(name: str) -> int:
    """
    Where a count is read among the others.
    """
    return list(LABELS).index(name) if name in LABELS else len(LABELS)


def count(number: int, noun: str) -> str:
    """
    ``1 step``, ``2 steps``.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def words(name: str) -> str:
    """
    A count's or figure's name as people read it.
    """
    return name.replace("_", " ").replace("twilio", "Twilio")


def moment_text(moment: datetime) -> str:
    """
    To the minute, or to the second where it has some; in UTC.
    """
    shape = "%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M"
    return moment.astimezone(UTC).strftime(shape)


def span(window: Window | None) -> list[str]:
    """
    From when to when, and how long that is; nothing without a window.
    """
    if window is None:
        return []
    return [f"{moment_text(window.since)} to {moment_text(window.until)} UTC", length_text(window.until - window.since)]


def length_text(length: timedelta) -> str:
    """
    The two largest units of a length of time.
    """
    seconds = int(length.total_seconds())
    parts = []
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append("1 day" if (number, unit) == (1, "days") else f"{number:,} {unit}")
    return " ".join(parts[:2]) or "under 1 s"


def changes(step: StepView) -> list[str]:
    """
    What the step sets, a short text for each field. Nulls and the subject's own SID say nothing in a new row.
    """
    if step.after is None:
        return [f"{name} {value_text(value)}" for name, value in flat(step.before or {})]
    after = dict(flat(step.after))
    if step.before is None:
        sid = step.subject.rpartition("/")[2]
        return [f"{name} {value_text(value)}" for name, value in after.items() if value is not None and value != sid]
    before = dict(flat(step.before))
    changed = [name for name in {**before, **after} if before.get(name, _ABSENT) != after.get(name, _ABSENT)]
    return [_change(name, before, after) for name in changed]


def _change(name: str, before: Mapping[str, JSONValue], after: Mapping[str, JSONValue]) -> str:
    if name not in before:
        return f"{name} {value_text(after[name])}"
    return f"{name} {value_text(before[name])} → {value_text(after[name]) if name in after else 'removed'}"


def flat(image: Mapping[str, JSONValue], prefix: str = "") -> Iterator[tuple[str, JSONValue]]:
    """
    The values of nested objects, each under its path.
    """
    for name, value in image.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def value_text(value: JSONValue) -> str:
    """
    A value as text; a long one is cut, and says how long it is.
    """
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=list)
    if len(text) <= VALUE_SHOWN:
        return text
    return f"{text[:VALUE_SHOWN].rpartition(' ')[0]} … ({len(text):,} characters)"


def session_items(session: SessionView) -> list[str]:
    """
    Who it is, what it is at and since when, what it has locked.
    """
    who = "a prepared transaction" if session.pid is None else f"pid {session.pid}"
    since = f"since {moment_text(session.since)} UTC" if session.since else None
    told = [who, session.role, session.application, session.state, since]
    return [*filter(None, told), *session.locks]


def figure(value: JSONValue) -> str:
    """
    A figure of the coverage.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(value_text(item) for item in value) or "none"
    return {True: "yes", False: "no", None: "unknown"}[value] if isinstance(value, bool | None) else value_text(value)
