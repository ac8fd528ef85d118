"""
The report as a person reads it, on call and at night: the verdict first, what to do next last.

Every text from outside goes through `visible` into a `Text`, never through markup. Meaning is carried by words; styles
(bold, dim, red, yellow, green, cyan on the terminal's own colours) only repeat it. A SID, a subject or a command stands
on one line whatever the width, so that it can be copied; prose gives way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from rich.cells import cell_len, set_cell_size

from booking_doctor.findings import (
    Finding,
    JSONValue,
    LeftView,
    MigrationView,
    PastRun,
    PlanView,
    Report,
    Severity,
    SkipKind,
    Skipped,
    StepView,
    Verdict,
)
from booking_doctor.report import Canvas, diagnosis, hours, visible
from booking_doctor.report.drawing import Page, Span
from booking_doctor.report.migration import migration
from booking_doctor.report.words import (
    EXIT_WORDS,
    LABELS,
    UNFINISHED,
    applied_text,
    change_text,
    changes,
    count,
    figure,
    flat,
    length_text,
    moment_text,
    place,
    since_text,
    span,
    word_of,
    words,
    worst_first,
)

FINDINGS_SHOWN: Final = 20
"""
Of one name; the rest is counted.
"""

PARTS_SHOWN: Final = 6
"""
Of one thing that was looked at, such as the hours of a window.
"""

STEPS_SHOWN: Final = 50
"""
Of a plan, and as many of what it leaves.
"""

_SEVERITY_STYLE: Final = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}

_WORRYING: Final = frozenset(
    {
        *("mismatched", "unrecorded", "orphaned", "unknown_to_twilio", "without_customer", "duplicated", "without_sid"),
        *("metadata_empty", "metadata_incomplete", "left"),
    }
)

_VERIFIED: Final[Mapping[bool | None, Span]] = {
    True: ("yes", "green"),
    False: ("NO", "bold red"),
    None: ("not checked", "yellow"),
}
_RUN_COLUMNS: Final = ("id", "command", "started, UTC", "applied", "undone")


def render(report: Report, canvas: Canvas) -> str:
    """
    Draw the report; the same report on the same canvas is the same text.
    """
    page = Page(canvas)
    incomplete = report.verdict is Verdict.INCOMPLETE
    _head(page, report)
    if incomplete:
        _skipped(page, report.skipped, "bold red")
    if report.diagnosis is not None:
        diagnosis.draw(page, report.diagnosis)
    hours.draw(page, report.timeline, report.diagnosis.onset if report.diagnosis else None)
    _counts(page, report.summary, "Counts of what was looked at" if incomplete else "Counts")
    _findings(page, report)
    _gone(page, report)
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
    if report.diagnosis is not None:
        page.prose(("Diagnosis: ", "bold"), (f"{report.diagnosis.verdict}.", "bold"))
    page.items([report.command, *span(report.window)], style="dim")
    if report.novelty is not None:
        page.prose(("Since the last report: ", "bold"), (change_text(report), ""))
    aside = report.coverage.get("out_of_scope")
    if isinstance(aside, int) and aside > 0:
        who = f"{count(aside, 'message')} of other senders; see --all-senders."
        page.prose(("Left out: ", "bold yellow"), (who, ""))


def _word(report: Report) -> Span:
    """
    The verdict, in the colour of the worst that was found.
    """
    word = word_of(report)
    if report.exit_code in EXIT_WORDS:
        return word, "bold red"
    if word == "Findings":
        return word, _SEVERITY_STYLE[worst_first(report.findings)[0].severity]
    return word, "bold yellow" if word == "Work remains" else "bold green"


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
    labels = {name: LABELS.get(name, (words(name), "")) for name in sorted(summary, key=place)}
    column = max(len(label) for label, _ in labels.values())
    digits = max(len(f"{number:,}") for number in summary.values())
    for name, (label, meaning) in labels.items():
        number = summary[name]
        style = "bold yellow" if number and name in _WORRYING else "" if number else "dim"
        left = f"  {label.ljust(column)}  {number:>{digits},}"
        page.beside(f"{left}  ", meaning if number else "", style=style)


def _findings(page: Page, report: Report) -> None:
    ordered = worst_first(report.findings)
    for (severity, name), found in groupby(ordered, lambda finding: (finding.severity, finding.name)):
        group = sorted(found, key=report.is_new, reverse=True)
        _finding_group(page, severity, name, group, [since_text(report, finding) for finding in group])


def _finding_group(page: Page, severity: Severity, name: str, group: Sequence[Finding], seen: Sequence[str]) -> None:
    page.section((severity.upper(), _SEVERITY_STYLE[severity]), (f"  {name}", "bold"), (f" ({len(group):,})", ""))
    one_remedy = len({finding.remedy for finding in group}) == 1
    for finding, since in zip(group[:FINDINGS_SHOWN], seen, strict=False):
        page.verbatim(finding.subject, indent=2)
        page.prose((f"{since}: " if since else "", "bold" if since == "new" else ""), (finding.summary, ""), indent=4)
        if not one_remedy:
            page.prose(("Remedy: ", "bold"), (finding.remedy, ""), indent=4)
    _more(page, len(group) - FINDINGS_SHOWN, indent=2)
    if one_remedy:
        page.prose(("Remedy: ", "bold"), (group[0].remedy, ""), indent=2)


def _gone(page: Page, report: Report) -> None:
    gone = report.novelty.gone if report.novelty else {}
    if gone:
        page.section(("Gone since the last report", "bold green"), (f" ({len(gone):,})", ""))
        for fingerprint, since in list(gone.items())[:FINDINGS_SHOWN]:
            name, _, subject = fingerprint.partition(":")
            page.verbatim(subject, indent=2)
            page.prose((f"{name}, since {moment_text(since)} UTC", ""), indent=4)
        _more(page, len(gone) - FINDINGS_SHOWN, indent=2)


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
    size = count(len(plan.steps), "step") if plan.steps else "nothing to write"
    page.section(("Plan", "bold"), (f": {size}, {len(plan.left):,} left" if plan.left else f": {size}", ""))
    if plan.refusal is not None:
        page.prose(("REFUSED as things stand: ", "bold red"), (plan.refusal, "bold"), indent=2)
    for note in plan.notes:
        page.prose(("Note: ", "bold yellow"), (note, ""), indent=2)
    _target(page, plan, written=False)
    if isinstance(plan, MigrationView):
        migration(page, plan)
    else:
        _steps(page, plan.steps)
    _left(page, plan.left)


def _target(page: Page, plan: PlanView, *, written: bool) -> None:
    page.section(("Written to" if written else "Would be written to", "bold"), indent=2)
    rows = [(words(name), value, "") for name, value in plan.target.items()]
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
    page.section((kind, "bold green"), (f" ({count(len(group), 'step')})", ""), indent=2)
    texts = [changes(step) for step in group]
    shared = _shared(texts)
    reason = _shared([[step.reason] for step in group])
    for why in reason:
        page.prose(("all of them: ", "bold"), (why, ""), indent=4)
    page.items(shared, lead="all of them: ", indent=4)
    for step, items in zip(group[:room], texts, strict=False):
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
    rows = [("id", run.id, ""), (done, count(run.applied, "step"), ""), ("verified", verified, style)]
    page.named(rows, indent=2)


def _runs(page: Page, runs: Sequence[PastRun] | None) -> None:
    if runs is None:
        return
    page.section(("Runs", "bold"), ("" if runs else ": none yet", ""))
    rows = [(run.id, run.command, moment_text(run.started_at), applied_text(run), f"{run.undone:,}") for run in runs]
    cells = [tuple(visible(cell) for cell in row) for row in [_RUN_COLUMNS, *rows]]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if sum(widths) + 2 * len(widths) <= page.width:
        _run_table(page, cells, widths)
    else:
        _run_list(page, cells[1:])
    if any(run.begun for run in runs):
        page.prose(("unfinished: ", "bold"), (UNFINISHED, ""), indent=2)


def _run_table(page: Page, cells: Sequence[tuple[str, ...]], widths: Sequence[int]) -> None:
    for number, (id_, command, started, applied, undone) in enumerate(cells):
        left = [set_cell_size(cell, width) for cell, width in zip((id_, command, started), widths, strict=False)]
        line = "  ".join([*left, applied.rjust(widths[3]), undone.rjust(widths[4])])
        page.verbatim(line, indent=2, style="" if number else "dim")


def _run_list(page: Page, cells: Sequence[tuple[str, ...]]) -> None:
    for id_, command, started, applied, undone in cells:
        page.verbatim(id_, indent=2)
        page.items([command, f"{started} UTC", f"applied {applied}", f"undone {undone}"], indent=4)


def _coverage(page: Page, report: Report) -> None:
    page.section(*[("Looked at", "dim")] if report.coverage else [])
    items = [item for name, value in report.coverage.items() for item in _figures(name, value)]
    taken = f"took {length_text(report.finished_at - report.started_at)}"
    page.items([*items, taken, f"exit code {report.exit_code.value}"], indent=2, style="dim")


def _figures(name: str, value: JSONValue) -> list[str]:
    """
    One item, or one for each part of it, up to a limit.
    """
    told = [f"{words(part).replace('.', ' ')} {figure(of)}" for part, of in flat({name: value}) if of != 0]
    more = len(told) - PARTS_SHOWN
    return told if more <= 0 else [*told[:PARTS_SHOWN], f"{words(name)} of {more:,} more with --format json"]


def _next_steps(page: Page, next_steps: Sequence[str]) -> None:
    if not next_steps:
        return
    page.section(("What to do next", "bold"))
    for command in next_steps:
        page.verbatim(command, indent=2, style="cyan")
