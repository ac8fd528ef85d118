"""
The report as a person reads it, on call and at night: the verdict first, what to do next last.

Every text from outside goes through `visible` into a `Text`, never through markup. Meaning is carried by words; styles
(bold, dim, red, yellow, green, cyan on the terminal's own colours) only repeat it. A SID, a subject or a command stands
on one line whatever the width, so that it can be copied; prose gives way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from rich.cells import cell_len, set_cell_size

from booking_doctor.errors import ExitCode
from booking_doctor.findings import (
    Finding,
    JSONValue,
    LeftView,
    PastRun,
    PlanView,
    Report,
    Severity,
    SkipKind,
    Skipped,
    StepView,
    Verdict,
    Window,
)
from booking_doctor.report import Canvas, visible
from booking_doctor.report.drawing import Page, Span

FINDINGS_SHOWN: Final = 20
"""
Of one name; the rest is counted.
"""

STEPS_SHOWN: Final = 50
"""
Of a plan, and as many of what it leaves.
"""

_VALUE_SHOWN: Final = 160
_SEVERITY_STYLE: Final = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}

_LABELS: Final[Mapping[str, tuple[str, str]]] = {
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
    "left": ("Left", "no step covers them"),
    "applied": ("Applied", ""),
}
"""
Counts in the order they are read, with what a number other than 0 means. Indented ones are part of the one above.
"""

_WORRYING: Final = frozenset(
    {
        *("mismatched", "unrecorded", "orphaned", "unknown_to_twilio", "without_customer", "duplicated", "without_sid"),
        *("metadata_empty", "metadata_incomplete", "left"),
    }
)

_EXIT_WORDS: Final = {
    ExitCode.INCOMPLETE: "INCOMPLETE",
    ExitCode.REFUSED: "REFUSED",
    ExitCode.PARTLY: "PARTLY DONE",
    ExitCode.INTERRUPTED: "INTERRUPTED",
}

_VERIFIED: Final[Mapping[bool | None, Span]] = {
    True: ("yes", "green"),
    False: ("NO", "bold red"),
    None: ("not checked", "yellow"),
}
_RUN_COLUMNS: Final = ("id", "command", "started, UTC", "applied", "undone")
_ABSENT: Final = object()


def render(report: Report, canvas: Canvas) -> str:
    """
    Draw the report; the same report on the same canvas is the same text.
    """
    page = Page(canvas)
    incomplete = report.verdict is Verdict.INCOMPLETE
    _head(page, report)
    if incomplete:
        _skipped(page, report.skipped, "bold red")
    _counts(page, report.summary, "Counts of what was looked at" if incomplete else "Counts")
    _findings(page, report.findings)
    _plan(page, report)
    _run(page, report)
    _runs(page, report.runs)
    if not incomplete:
        _skipped(page, report.skipped, "bold")
    _coverage(page, report)
    _next_steps(page, report.next_steps)
    if incomplete:
        page.section(("INCOMPLETE", "bold red"), (": what was not looked at is named at the top.", "bold"))
    return page.text()


def _head(page: Page, report: Report) -> None:
    page.prose(_word(report), (": ", ""), (report.exit_reason, "bold"))
    page.items([report.command, *_span(report.window)], style="dim")
    aside = report.coverage.get("out_of_scope")
    if isinstance(aside, int) and aside > 0:
        who = f"{_count(aside, 'message')} of other senders; see --all-senders."
        page.prose(("Left out: ", "bold yellow"), (who, ""))


def _word(report: Report) -> Span:
    """
    The verdict in a word. Listing runs, taking one back or writing settings says nothing about health.
    """
    if report.exit_code in _EXIT_WORDS:
        return _EXIT_WORDS[report.exit_code], "bold red"
    if report.exit_code is ExitCode.OK and (report.run or report.runs is not None or report.command == "init"):
        return "Done", "bold green"
    if report.findings:
        return "Findings", _SEVERITY_STYLE[_by_severity(report.findings)[0].severity]
    if report.verdict is Verdict.HEALTHY:
        return "Healthy", "bold green"
    return "Work remains", "bold yellow"


def _skipped(page: Page, skipped: Sequence[Skipped], style: str) -> None:
    if not skipped:
        return
    page.section(("Not looked at", style))
    together: dict[tuple[SkipKind, str], list[str]] = {}
    for skip in sorted(skipped, key=lambda skip: skip.kind in {"not-applicable", "not-configured"}):
        together.setdefault((skip.kind, skip.reason), []).append(skip.check)
    for (kind, reason), checks in together.items():
        page.prose((", ".join(dict.fromkeys(checks)), "bold"), (f" ({kind.replace('-', ' ')})", ""), indent=2)
        page.prose((reason, ""), indent=4)


def _counts(page: Page, summary: Mapping[str, int], heading: str) -> None:
    if not summary:
        return
    page.section((heading, "bold"))
    labels = {name: _LABELS.get(name, (_words(name), "")) for name in sorted(summary, key=_place)}
    column = max(len(label) for label, _ in labels.values())
    digits = max(len(f"{number:,}") for number in summary.values())
    for name, (label, meaning) in labels.items():
        number = summary[name]
        style = "bold yellow" if number and name in _WORRYING else "" if number else "dim"
        left = f"  {label.ljust(column)}  {number:>{digits},}"
        page.beside(f"{left}  ", meaning if number else "", style=style)


def _place(name: str) -> int:
    return list(_LABELS).index(name) if name in _LABELS else len(_LABELS)


def _by_severity(findings: Sequence[Finding]) -> list[Finding]:
    order = list(Severity)
    return sorted(findings, key=lambda finding: (order.index(finding.severity), finding.name))


def _findings(page: Page, findings: Sequence[Finding]) -> None:
    for (severity, name), group in groupby(_by_severity(findings), lambda finding: (finding.severity, finding.name)):
        _finding_group(page, severity, name, list(group))


def _finding_group(page: Page, severity: Severity, name: str, group: Sequence[Finding]) -> None:
    page.section((severity.upper(), _SEVERITY_STYLE[severity]), (f"  {name}", "bold"), (f" ({len(group):,})", ""))
    one_remedy = len({finding.remedy for finding in group}) == 1
    for finding in group[:FINDINGS_SHOWN]:
        page.verbatim(finding.subject, indent=2)
        page.prose((finding.summary, ""), indent=4)
        if not one_remedy:
            page.prose(("Remedy: ", "bold"), (finding.remedy, ""), indent=4)
    _more(page, len(group) - FINDINGS_SHOWN, indent=2)
    if one_remedy:
        page.prose(("Remedy: ", "bold"), (group[0].remedy, ""), indent=2)


def _more(page: Page, number: int, *, indent: int) -> None:
    if number > 0:
        page.prose((f"… and {number:,} more (all of them with --format json)", ""), indent=indent)


def _plan(page: Page, report: Report) -> None:
    if report.plan is None:
        return
    plan = report.plan
    if report.run is not None:  # the steps were shown before they were written
        _target(page, plan, written=True)
        _left(page, plan.left)
        return
    size = _count(len(plan.steps), "step") if plan.steps else "nothing to write"
    page.section(("Plan", "bold"), (f": {size}, {len(plan.left):,} left" if plan.left else f": {size}", ""))
    if plan.refusal is not None:
        page.prose(("REFUSED as things stand: ", "bold red"), (plan.refusal, "bold"), indent=2)
    for note in plan.notes:
        page.prose(("Note: ", "bold yellow"), (note, ""), indent=2)
    _target(page, plan, written=False)
    _steps(page, plan.steps)
    _left(page, plan.left)


def _target(page: Page, plan: PlanView, *, written: bool) -> None:
    page.section(("Written to" if written else "Would be written to", "bold"), indent=2)
    rows = [(_words(name), value, "") for name, value in plan.target.items()]
    page.named([*rows, ("plan checksum", plan.checksum, "")], indent=4)


def _steps(page: Page, steps: Sequence[StepView]) -> None:
    kinds: dict[str, list[StepView]] = {}
    for step in steps:
        kinds.setdefault(step.kind, []).append(step)
    room = STEPS_SHOWN
    for kind, group in kinds.items():
        if room > 0:
            _step_group(page, kind, group, room)
        room -= len(group)
    _more(page, -room, indent=2)


def _step_group(page: Page, kind: str, group: Sequence[StepView], room: int) -> None:
    """
    Steps of one kind: what all of them do is said once, so that what tells them apart is seen.
    """
    page.section((kind, "bold green"), (f" ({_count(len(group), 'step')})", ""), indent=2)
    changes = [_changes(step) for step in group]
    shared = _shared(changes)
    reason = _shared([[step.reason] for step in group])
    for words in reason:
        page.prose(("all of them: ", "bold"), (words, ""), indent=4)
    page.items(shared, lead="all of them: ", indent=4)
    for step, items in zip(group[:room], changes, strict=False):
        page.verbatim(step.subject, indent=4)
        if not reason:
            page.prose((step.reason, ""), indent=6)
        page.items(
            [item for item in items if item not in shared], lead="removes: " if step.after is None else "", indent=6
        )


def _shared(lists: Sequence[Sequence[str]]) -> list[str]:
    """
    What stands in each of several lists.
    """
    if len(lists) < 2:
        return []
    everywhere = frozenset(lists[0]).intersection(*lists[1:])
    return [item for item in lists[0] if item in everywhere]


def _changes(step: StepView) -> list[str]:
    """
    What the step sets, a short text for each field. Nulls and the subject's own SID say nothing in a new row.
    """
    if step.after is None:
        return [f"{name} {_value(value)}" for name, value in _flat(step.before or {})]
    after = dict(_flat(step.after))
    if step.before is None:
        sid = step.subject.rpartition("/")[2]
        return [f"{name} {_value(value)}" for name, value in after.items() if value is not None and value != sid]
    before = dict(_flat(step.before))
    changed = [name for name in {**before, **after} if before.get(name, _ABSENT) != after.get(name, _ABSENT)]
    return [_change(name, before, after) for name in changed]


def _change(name: str, before: Mapping[str, JSONValue], after: Mapping[str, JSONValue]) -> str:
    if name not in before:
        return f"{name} {_value(after[name])}"
    return f"{name} {_value(before[name])} → {_value(after[name]) if name in after else 'removed'}"


def _flat(image: Mapping[str, JSONValue], prefix: str = "") -> Iterator[tuple[str, JSONValue]]:
    for name, value in image.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value(value: JSONValue) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=list)
    if len(text) <= _VALUE_SHOWN:
        return text
    return f"{text[:_VALUE_SHOWN].rpartition(' ')[0]} … ({len(text):,} characters)"


def _left(page: Page, left: Sequence[LeftView]) -> None:
    if not left:
        return
    page.section(("Left as they are", "bold yellow"), (f" ({len(left):,})", ""), indent=2)
    reasons: dict[str, list[str]] = {}
    for item in left[:STEPS_SHOWN]:
        reasons.setdefault(item.reason, []).append(item.subject)
    for reason, subjects in reasons.items():
        page.prose((reason, ""), indent=4)
        for subject in subjects:
            page.verbatim(subject, indent=6)
    _more(page, len(left) - STEPS_SHOWN, indent=4)


def _run(page: Page, report: Report) -> None:
    if report.run is None:
        return
    run = report.run
    done = "taken back" if report.command.startswith("undo") else "applied"
    page.section(("Run", "bold"))
    verified, style = _VERIFIED[run.verified]
    rows = [("id", run.id, ""), (done, _count(run.applied, "step"), ""), ("verified", verified, style)]
    page.named(rows, indent=2)


def _runs(page: Page, runs: Sequence[PastRun] | None) -> None:
    if runs is None:
        return
    page.section(("Runs", "bold"), ("" if runs else ": none yet", ""))
    rows = [(run.id, run.command, _moment(run.started_at), f"{run.applied:,}", f"{run.undone:,}") for run in runs]
    cells = [tuple(visible(cell) for cell in row) for row in [_RUN_COLUMNS, *rows]]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if sum(widths) + 2 * len(widths) <= page.width:
        _run_table(page, cells, widths)
    else:
        _run_list(page, cells[1:])


def _run_table(page: Page, cells: Sequence[tuple[str, ...]], widths: Sequence[int]) -> None:
    for number, (id_, command, started, applied, undone) in enumerate(cells):
        left = [set_cell_size(cell, width) for cell, width in zip((id_, command, started), widths, strict=False)]
        line = "  ".join([*left, applied.rjust(widths[3]), undone.rjust(widths[4])])
        page.verbatim(line, indent=2, style="" if number else "dim")


def _run_list(page: Page, cells: Sequence[tuple[str, ...]]) -> None:
    for id_, command, started, applied, undone in cells:
        page.verbatim(id_, indent=2)
        page.items([command, f"{started} UTC", f"{applied} applied", f"{undone} undone"], indent=4)


def _coverage(page: Page, report: Report) -> None:
    page.section(*[("Looked at", "dim")] if report.coverage else [])
    items = [
        f"{_words(name).replace('.', ' ')} {_figure(value)}" for name, value in _flat(report.coverage) if value != 0
    ]
    taken = f"took {_length(report.finished_at - report.started_at)}"
    page.items([*items, taken, f"exit code {report.exit_code.value}"], indent=2, style="dim")


def _figure(value: JSONValue) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_value(item) for item in value) or "none"
    return {True: "yes", False: "no", None: "unknown"}[value] if isinstance(value, bool | None) else _value(value)


def _next_steps(page: Page, next_steps: Sequence[str]) -> None:
    if not next_steps:
        return
    page.section(("What to do next", "bold"))
    for command in next_steps:
        page.verbatim(command, indent=2, style="cyan")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("twilio", "Twilio")


def _moment(moment: datetime) -> str:
    shape = "%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M"
    return moment.astimezone(UTC).strftime(shape)


def _span(window: Window | None) -> list[str]:
    if window is None:
        return []
    return [f"{_moment(window.since)} to {_moment(window.until)} UTC", _length(window.until - window.since)]


def _length(length: timedelta) -> str:
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
