"""
Makes checks, each on its own: one that crashes, hangs or may not look is named and stops nobody else.

A check looks whatever the others have found. What it could not look at it says, by an error that stops it or by a
`BlindSpot`, and that makes the answer incomplete. There is one excuse: the fault behind it is one that a check in its
`after` has found, about the same subject, and that finding stands. Then the finding says it all, and the blind spot is
not applicable. Whoever ignores that finding, or does not choose its check, hears of what it blinds instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from typing import Final

from booking_doctor.checks.check import BlindSpot, Check, Evidence, Fault
from booking_doctor.errors import NotConfigured, NotHere, SettingsError, SourceError
from booking_doctor.findings import Finding, Severity, SkipKind, Skipped

OPTIONAL_TABLES: Final = frozenset({"jobs", "audit_logs", "webhook_logs", "events", "bookings"})
"""Tables that an application may do without: then the checks of them are not applicable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What came of a check.

    Attributes:
        made: Whether it looked to its end.
        findings: What it found, also where it could then look no further.
        blind: What it could not look at; at the end, what stopped it.
        unnamed: How many faults its findings only count.
    """

    check: Check
    made: bool = True
    findings: tuple[Finding, ...] = ()
    blind: tuple[BlindSpot, ...] = ()
    unnamed: int = 0


def run(checks: Sequence[Check], evidence: Evidence, executor: Executor) -> list[Outcome]:
    """
    Make the checks in their order.

    One that comes after a check that got no answer would get none either: it is not made, for the same reason.

    Args:
        executor: Has a free thread whenever one is wanted: a check that hangs keeps its thread.
    """
    outcomes: dict[str, Outcome] = {}
    for check in checks:
        before = [outcomes[name] for name in check.after if name in outcomes]
        unanswered = next((outcome for outcome in before if not outcome.made), None)
        outcomes[check.name] = (
            Outcome(check=check, made=False, blind=unanswered.blind[-1:])
            if unanswered
            else _look(check, evidence, executor)
        )
    return list(outcomes.values())


def _look(check: Check, evidence: Evidence, executor: Executor) -> Outcome:
    seen: list[Fault | BlindSpot] = []

    def look() -> None:
        # NOTE: kept one by one, because what was found before an error stands.
        for one in check.look(evidence):
            seen.append(one)  # noqa: PERF402

    future = executor.submit(look)
    stopped = []
    try:
        future.result(check.limit_s)
    except Late:
        future.cancel()
        stopped = [BlindSpot(subject=None, reason=f"no answer within {check.limit_s:g} s")]
    except Exception as error:  # noqa: BLE001  a bug in one check is no reason to lose the others
        stopped = [blind_spot(error, evidence)]
    faults = [one for one in seen if isinstance(one, Fault)]
    return Outcome(
        check=check,
        made=not stopped,
        findings=tuple(map(check.finding, faults)),
        blind=(*(one for one in seen if isinstance(one, BlindSpot)), *stopped),
        unnamed=sum(fault.others for fault in faults),
    )


def blind_spot(error: Exception, evidence: Evidence) -> BlindSpot:
    """
    What could not be looked at, by the error that came instead of an answer.
    """
    kind, reason = why_not(error)
    return BlindSpot(subject=_subject(error, evidence), kind=kind, reason=reason)


def why_not(error: BaseException) -> tuple[SkipKind, str]:
    """
    Why something could not be looked at, as a report says it.
    """
    match error:
        case NotHere(column=None) if error.table in OPTIONAL_TABLES:
            return "not-applicable", error.sentence
        case SourceError():
            return error.kind, error.sentence
        case NotConfigured():
            return "not-configured", error.sentence
        case SettingsError():
            # NOTE: what is set and cannot be used was meant to be looked at.
            return "unreachable", error.sentence
        case _:
            # NOTE: the message is left out, because it may hold a value.
            return "unreachable", f"the check crashed ({type(error).__name__}): a bug in it"


def _subject(error: Exception, evidence: Evidence) -> str | None:
    """
    What the error is about, as a finding would name it.
    """
    if not isinstance(error, NotHere):
        return None
    table = evidence.database.name(error.table)
    return f"schema/{table}.{evidence.database.name(error.table, error.column)}" if error.column else f"schema/{table}"


def findings_of(outcomes: Iterable[Outcome]) -> list[Finding]:
    """
    All findings, worst first, then in the catalogue's order.
    """
    found = [finding for outcome in outcomes for finding in outcome.findings]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def skipped_of(outcomes: Iterable[Outcome], standing: Iterable[Finding]) -> list[Skipped]:
    """
    What could not be looked at.

    Args:
        standing: The findings that count.
    """
    told = {finding.fingerprint for finding in standing}
    return [_skipped(outcome.check, spot, told) for outcome in outcomes for spot in outcome.blind]


def _skipped(check: Check, spot: BlindSpot, told: Collection[str]) -> Skipped:
    first = next((name for name in check.after if f"{name}:{spot.subject}" in told), None)
    if first is None:
        return Skipped(check=check.name, kind=spot.kind, reason=spot.reason)
    return Skipped(check=check.name, kind="not-applicable", reason=f"{spot.reason}; {first} comes first")
