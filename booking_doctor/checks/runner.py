"""
Makes checks, each on its own: one that crashes, hangs or may not look is named and stops nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from typing import Final, TypeAlias

from booking_doctor.checks.check import Check, Evidence
from booking_doctor.errors import NotHere, SettingsError, SourceError
from booking_doctor.findings import Finding, Severity, SkipKind, Skipped

OPTIONAL_TABLES: Final = frozenset({"jobs", "audit_logs", "webhook_logs", "events", "bookings"})
"""Tables that an application may do without: then the checks of them are not applicable."""


@dataclass(frozen=True, slots=True)
class Passed:
    """
    It looked, and found nothing.
    """

    check: Check


@dataclass(frozen=True, slots=True)
class Found:
    """
    It looked, and found something.
    """

    check: Check
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class NotMade:
    """
    It could not look.

    Attributes:
        findings: What it found before it could look no further.
        skipped: Why not; None where it waits for another that could not look either, which says so once for all.
    """

    check: Check
    skipped: Skipped | None
    findings: tuple[Finding, ...] = ()


Outcome: TypeAlias = Passed | Found | NotMade


def run(checks: Sequence[Check], evidence: Evidence, executor: Executor) -> list[Outcome]:
    """
    Make the checks in their order.

    A check waits for those in its `after`, where they are among *checks*: without an answer from them it is not made.

    Args:
        executor: Has a free thread whenever one is wanted: a check that hangs keeps its thread.
    """
    outcomes: dict[str, Outcome] = {}
    for made in checks:
        unmet = [name for name in made.after if name in outcomes and not isinstance(outcomes[name], Passed)]
        outcomes[made.name] = _dependent(made, outcomes[unmet[0]]) if unmet else _made(made, evidence, executor)
    return list(outcomes.values())


def _dependent(check: Check, before: Outcome) -> NotMade:
    if isinstance(before, NotMade):
        return NotMade(check, None)
    return NotMade(check, _skipped(check, "not-applicable", f"{before.check.name} comes first"))


def _made(check: Check, evidence: Evidence, executor: Executor) -> Outcome:
    found: list[Finding] = []

    def look() -> None:
        for fault in check.look(evidence):
            found.append(check.finding(fault))  # noqa: PERF401  what was found before an error stands

    future = executor.submit(look)
    try:
        future.result(check.limit_s)
    except Late:
        future.cancel()
        late = _skipped(check, "unreachable", f"no answer within {check.limit_s:g} s")
        return NotMade(check, late, tuple(found))
    except Exception as error:  # noqa: BLE001  a bug in one check is no reason to lose the others
        return NotMade(check, _why_not(check, error), tuple(found))
    return Found(check, tuple(found)) if found else Passed(check)


def _why_not(check: Check, error: Exception) -> Skipped:
    match error:
        case NotHere(column=None) if error.table in OPTIONAL_TABLES:
            return _skipped(check, "not-applicable", error.sentence)
        case SourceError():
            return _skipped(check, error.kind, error.sentence)
        case SettingsError():
            return _skipped(check, "not-configured", error.sentence)
        case _:
            # NOTE: the message is left out, because it may hold a value.
            return _skipped(check, "unreachable", f"the check crashed ({type(error).__name__}): a bug in it")


def _skipped(check: Check, kind: SkipKind, reason: str) -> Skipped:
    return Skipped(check=check.name, kind=kind, reason=reason)


def findings_of(outcomes: Iterable[Outcome]) -> list[Finding]:
    """
    All findings, worst first, then in the catalogue's order.
    """
    found = [finding for outcome in outcomes if not isinstance(outcome, Passed) for finding in outcome.findings]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def skipped_of(outcomes: Iterable[Outcome]) -> list[Skipped]:
    """
    What could not be looked at, each once.
    """
    return [outcome.skipped for outcome in outcomes if isinstance(outcome, NotMade) and outcome.skipped]
