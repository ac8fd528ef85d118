"""
A report in a few lines, to be pasted into a chat: each problem, what was not looked at, and one sentence at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from booking_doctor.findings import CauseVerdict, Finding, Report, Severity
from booking_doctor.report import visible
from booking_doctor.report.words import since_text, span, word_of, worst_first

SUBJECTS_SHOWN: Final = 3
"""
Of one name; the rest is counted.
"""


def render(report: Report) -> str:
    """
    The problems, hints left out, and the verdict.
    """
    parts = [*_problems(report), *_gone(report), *_causes(report), *_not_looked_at(report), _verdict(report)]
    return "\n".join(parts) + "\n"


def _problems(report: Report) -> Iterator[str]:
    problems = [finding for finding in worst_first(report.findings) if finding.severity is not Severity.INFO]
    for (severity, name), group in groupby(problems, lambda finding: (finding.severity, finding.name)):
        yield visible(f"{severity} {name}: {_described(list(group), report)}")


def _described(group: Sequence[Finding], report: Report) -> str:
    if len(group) == 1:
        since = since_text(report, group[0])
        return f"{group[0].subject}{f' ({since})' if since else ''}: {group[0].summary}"
    new_first = sorted(group, key=report.is_new, reverse=True)
    new = sum(map(report.is_new, group))
    return f"{len(group):,}{f' ({new:,} new)' if new else ''}: {_some([finding.subject for finding in new_first])}"


def _some(subjects: Sequence[str]) -> str:
    more = len(subjects) - SUBJECTS_SHOWN
    return ", ".join(subjects[:SUBJECTS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _gone(report: Report) -> Iterator[str]:
    if report.novelty and report.novelty.gone:
        yield visible(f"gone: {len(report.novelty.gone):,}: {_some(list(report.novelty.gone))}")


def _causes(report: Report) -> Iterator[str]:
    for cause in report.diagnosis.causes if report.diagnosis else ():
        if cause.verdict in {CauseVerdict.CONFIRMED, CauseVerdict.LIKELY}:
            yield visible(f"cause ({cause.verdict}) {cause.id}: {cause.title}")


def _not_looked_at(report: Report) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for skipped in report.skipped:
        if skipped.missed:
            reasons.setdefault(skipped.reason, []).append(skipped.check)
    for reason, checks in reasons.items():
        yield visible(f"not looked at {', '.join(checks)}: {reason}")


def _verdict(report: Report) -> str:
    words = [f"booking-doctor {report.command}", *span(report.window)[:1]]
    return visible(f"{word_of(report).upper()} {', '.join(words)}: {report.exit_reason}")
