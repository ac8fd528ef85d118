"""
A report as Markdown: for an issue, a wiki page, the summary of a pipeline's job.

Text from outside is escaped character by character, so that it can neither end a table's cell nor begin a link, a tag or
a heading; commands to copy stand in fenced blocks that nothing in them can end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from booking_doctor.findings import (
    Diagnosis,
    MigrationView,
    PlanView,
    Report,
    Skipped,
    StatementView,
    StepView,
    Verdict,
)
from booking_doctor.report import visible
from booking_doctor.report.words import (
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
    session_items,
    since_text,
    span,
    word_of,
    words,
    worst_first,
)

ROWS_SHOWN: Final = 100
"""
Of one table; the rest is counted.
"""

_ANSWERS: Final[dict[bool | None, str]] = {True: "yes", False: "no", None: "not known"}
_VERIFIED: Final[dict[bool | None, str]] = {True: "yes", False: "**no**", None: "not checked"}
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|~&@])")
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}
_LINK: Final = re.compile(r"(www(?=\.)|[a-z](?=://))([.:])", re.IGNORECASE)
_CODE: Final = re.compile(r"`([^`|\s][^`|]*(?<!\s))`")
_RISKY_DOT: Final = re.compile(r"(?<=\d)([.)])(?=\s|$)")


def render(report: Report) -> str:
    """
    The verdict first, what was not looked at before anything that was, what to do next last.
    """
    incomplete = report.verdict is Verdict.INCOMPLETE
    missed = list(_skipped(report.skipped))
    parts = [
        *_head(report),
        *(missed if incomplete else ()),
        *(_diagnosis(report.diagnosis) if report.diagnosis else ()),
        *_counts(report),
        *_findings(report),
        *_gone(report),
        *(_plan(report.plan, written=report.run is not None) if report.plan else ()),
        *_runs(report),
        *(() if incomplete else missed),
        *_coverage(report),
        *_next_steps(report.next_steps),
    ]
    return "\n\n".join(parts) + "\n"


# --- pieces of Markdown ----------------------------------------------------------------------------------------------


def text(words: str) -> str:
    """
    Words that Markdown takes for nothing else.
    """
    escaped = _MARKUP.sub(_escaped, visible(words))
    return _LINK.sub(lambda match: f"{match[1]}&#{ord(match[2])};", _RISKY_DOT.sub(r"\\\1", escaped))


def _escaped(match: re.Match[str]) -> str:
    # NOTE: as entities, because many renderers let a tag or a mention through behind a backslash.
    return _ENTITIES.get(match[1], f"\\{match[1]}")


def prose(sentence: str) -> str:
    """
    A sentence of ours, what stands between backticks in it as code. It may quote others, so the rest is `text`.
    """
    pieces = _CODE.split(sentence)
    return "".join(f"`{visible(piece)}`" if number % 2 else text(piece) for number, piece in enumerate(pieces))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    A table of cells that are Markdown already.
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fenced(lines: Sequence[str], language: str = "") -> str:
    """
    Lines to copy, behind a fence longer than any run of backticks in them.
    """
    shown = [visible(line) for line in lines]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *shown, fence])


def _cut(rows: Sequence[Sequence[str]], columns: int) -> list[Sequence[str]]:
    more = len(rows) - ROWS_SHOWN
    if more <= 0:
        return list(rows)
    return [*rows[:ROWS_SHOWN], [f"… and {more:,} more", *[""] * (columns - 1)]]


# --- sections --------------------------------------------------------------------------------------------------------


def _head(report: Report) -> Iterator[str]:
    yield f"# booking-doctor {text(report.command)}: {word_of(report)}"
    yield f"**{text(report.exit_reason)}**"
    if report.novelty is not None:
        yield text(f"Since the last report: {change_text(report)}.")
    if report.window is not None:
        yield text(" · ".join(span(report.window)))


def _skipped(skipped: Sequence[Skipped]) -> Iterator[str]:
    if skipped:
        yield "## Not looked at"
        ordered = sorted(skipped, key=lambda skip: not skip.missed)
        rows = [[text(skip.check), skip.kind.replace("-", " "), prose(skip.reason)] for skip in ordered]
        yield table(["what", "kind", "why"], _cut(rows, 3))


def _diagnosis(diagnosis: Diagnosis) -> Iterator[str]:
    yield "## Diagnosis"
    yield f"**{text(diagnosis.verdict)}**"
    mysteries = [[text(answer.mystery), _ANSWERS[answer.yes], prose(answer.evidence)] for answer in diagnosis.mysteries]
    if mysteries:
        yield table(["mystery", "answer", "evidence"], mysteries)
    for cause in diagnosis.causes:
        yield f"### {text(cause.id)}: {cause.verdict}"
        yield text(cause.title)
        evidence = [*(f"- for: {prose(why)}" for why in cause.because), *(f"- {prose(why)}" for why in cause.against)]
        if evidence:
            yield "\n".join(evidence)
        yield f"Remedy: {prose(cause.remedy)}"
    if diagnosis.unexplained:
        yield "Not explained by a cause: " + ", ".join(map(text, diagnosis.unexplained)) + "."


def _counts(report: Report) -> Iterator[str]:
    if report.summary:
        yield "## Counts"
        rows = []
        for name in sorted(report.summary, key=place):
            label, meaning = LABELS.get(name, (words(name), ""))
            number = report.summary[name]
            rows.append([text(label.strip()), f"{number:,}", text(meaning) if number else ""])
        yield table(["count", "number", "meaning"], rows)


def _findings(report: Report) -> Iterator[str]:
    if not report.findings:
        return
    yield "## Findings"
    ordered = worst_first(report.findings)
    for (severity, name), found in groupby(ordered, lambda finding: (finding.severity, finding.name)):
        group = list(found)
        yield f"### {severity}: {text(name)} ({len(group):,})"
        one_remedy = len({finding.remedy for finding in group}) == 1
        headings = ["subject", "what"] if one_remedy else ["subject", "what", "remedy"]
        rows = [
            [text(finding.subject), prose(finding.summary), prose(finding.remedy)][: len(headings)] for finding in group
        ]
        if report.novelty is not None:
            headings = ["seen", *headings]
            rows = [[text(since_text(report, finding)), *row] for finding, row in zip(group, rows, strict=True)]
        yield table(headings, _cut(rows, len(headings)))
        if one_remedy:
            yield f"Remedy: {prose(group[0].remedy)}"


def _gone(report: Report) -> Iterator[str]:
    if report.novelty is not None and report.novelty.gone:
        yield "## Gone since the last report"
        rows = [[text(name), text(moment_text(since))] for name, since in report.novelty.gone.items()]
        yield table(["finding", "first seen, UTC"], _cut(rows, 2))


def _plan(plan: PlanView, *, written: bool) -> Iterator[str]:
    yield "## Written to" if written else f"## Plan: {count(len(plan.steps), 'step')}"
    if plan.refusal is not None and not written:
        yield f"**Refused as things stand:** {prose(plan.refusal)}"
    if plan.notes and not written:
        yield "\n".join(f"- {prose(note)}" for note in plan.notes)
    target = [*plan.target.items(), ("plan_checksum", plan.checksum)]
    yield table(["target", ""], [[text(words(name)), text(value)] for name, value in target])
    if plan.steps and not written:
        yield table(["step", "subject", "what it does", "why"], _cut([_step(step) for step in plan.steps], 4))
    if isinstance(plan, MigrationView) and plan.steps and not written:
        yield from _migration(plan)
    if plan.left:
        yield f"### Left as they are ({len(plan.left):,})"
        yield table(["subject", "why"], _cut([[text(left.subject), text(left.reason)] for left in plan.left], 2))


def _step(step: StepView) -> list[str]:
    done = "; ".join(changes(step))
    return [
        text(step.kind),
        text(step.subject),
        text(f"removes: {done}" if step.after is None else done),
        text(step.reason),
    ]


def _migration(plan: MigrationView) -> Iterator[str]:
    for step in plan.steps:
        if isinstance(step, StatementView):
            yield f"{text(step.kind)} locks the table in {text(step.lock)} mode: {text(step.blocks)}."
            yield fenced(step.sql, "sql")
    yield "In the way now:" if plan.waits_for else "In the way now: nobody."
    if plan.waits_for:
        yield "\n".join(f"- {text(' · '.join(session_items(session)))}" for session in plan.waits_for)


def _runs(report: Report) -> Iterator[str]:
    if report.run is not None:
        done = "taken back" if report.command.startswith("undo") else "applied"
        yield f"## Run {text(report.run.id)}"
        yield f"{count(report.run.applied, 'step')} {done}; verified: {_VERIFIED[report.run.verified]}"
    if report.runs is not None:
        yield "## Runs"
        rows = [
            [text(run.id), text(run.command), moment_text(run.started_at), applied_text(run), f"{run.undone:,}"]
            for run in report.runs
        ]
        yield table(["id", "command", "started, UTC", "applied", "undone"], _cut(rows, 5)) if rows else "None yet."
        if any(run.begun for run in report.runs):
            yield f"Unfinished: {UNFINISHED}"


def _coverage(report: Report) -> Iterator[str]:
    yield "## Looked at"
    figures = [(words(name).replace(".", " "), figure(value)) for name, value in flat(report.coverage) if value != 0]
    taken = ("took", length_text(report.finished_at - report.started_at))
    rows = [*figures, taken, ("exit code", str(report.exit_code.value))]
    yield table(["what", ""], [[text(name), text(value)] for name, value in rows])


def _next_steps(next_steps: Sequence[str]) -> Iterator[str]:
    if next_steps:
        yield "## What to do next"
        yield fenced(next_steps, "sh")
