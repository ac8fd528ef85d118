"""
A report in a few lines, to be pasted into a chat: each problem, what was not looked at, and one sentence at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from booking_doctor.findings import CauseVerdict, Finding, Report, Severity
from booking_doctor.report import visible
from booking_doctor.report.words import span, word_of, worst_first

SUBJECTS_SHOWN: Final = 3
"""
Of one name; the rest is counted.
"""


def render(report: Report) -> str:
    """
    The problems, hints left out, and the verdict.
    """
    return "\n".join([*_problems(report.findings), *_causes(report), *_not_looked_at(report), _verdict(report)]) + "\n"


def _problems(findings: Sequence[Finding]) -> Iterator[str]:
    problems = [finding for finding in worst_first(findings) if finding.severity is not Severity.INFO]
    for (severity, name), group in groupby(problems, lambda finding: (finding.severity, finding.name)):
        yield visible(f"{severity} {name}: {_described(list(group))}")


def _described(group: Sequence[Finding]) -> str:
    if len(group) == 1:
        return f"{group[0].subject}: {group[0].summary}"
    subjects = ", ".join(finding.subject for finding in group[:SUBJECTS_SHOWN])
    more = len(group) - SUBJECTS_SHOWN
    return f"{len(group):,}: {subjects}" + (f" and {more:,} more" if more > 0 else "")


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
