"""
Makes checks, each on its own: one that crashes, hangs or may not look is named and stops nobody else.

A check looks whatever the others have found. What it could not look at it says, by an error that stops it or by a
`BlindSpot`, and that makes the answer incomplete. There is one excuse: the fault behind it is one that a check in its
`after` has found, about the same subject, and that finding stands. Then the finding says it all, and the blind spot is
not applicable. Whoever ignores that finding, or does not choose its check, hears of what it blinds instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures import TimeoutError as Late
from time import monotonic
from typing import Final

from msgspec import Struct

from booking_doctor.checks.check import BlindSpot, Check, Evidence, Fault
from booking_doctor.errors import NotConfigured, NotHere, SettingsError, SourceError
from booking_doctor.findings import Finding, Progress, Severity, Silent, SkipKind, Skipped

AT_ONCE: Final = 4
"""A remote database answers in tens of milliseconds, so several checks ask at a time; each takes a connection."""

QUICK_S: Final = 10
"""A check that may take longer waits for somebody else, so that any number of them may be waiting."""

OPTIONAL_TABLES: Final = frozenset({"jobs", "audit_logs", "webhook_logs", "events", "bookings"})
"""Tables that an application may do without: then the checks of them are not applicable."""


class Outcome(Struct, frozen=True, kw_only=True):
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


def run(
    checks: Sequence[Check],
    evidence: Evidence,
    executor: Executor,
    late: Callable[[], object] | None = None,
    progress: Progress = Silent(),
) -> list[Outcome]:
    """
    Make the checks, several at a time. Outcomes come in the checks' order.

    One that comes after a check that got no answer would get none either: it is not made, for the same reason.

    Args:
        executor: Has a free thread whenever one is wanted: a check that hangs keeps its thread.
        late: Called when a check takes longer than it may.
    """
    outcomes: dict[str, Outcome] = {}
    waiting, looking = list(checks), dict[Future[None], _Look]()
    known = {check.name for check in checks}
    while waiting or looking:
        progress.checked(len(outcomes), len(checks))
        ready = [check for check in waiting if outcomes.keys() >= known.intersection(check.after)]
        quick = [check for check in ready if check.limit_s <= QUICK_S]
        room = AT_ONCE - sum(look.check.limit_s <= QUICK_S for look in looking.values())
        for check in (*(check for check in ready if check.limit_s > QUICK_S), *quick[:room]):
            waiting.remove(check)
            before = [outcomes[name] for name in check.after if name in outcomes]
            unanswered = next((outcome for outcome in before if not outcome.made), None)
            if unanswered:
                outcomes[check.name] = Outcome(check=check, made=False, blind=unanswered.blind[-1:])
            else:
                look = _Look(check, evidence)
                looking[executor.submit(look)] = look
        for future in _ended(looking):
            look = looking.pop(future)
            if not future.done() and late:
                late()
            outcomes[look.check.name] = look.outcome(future)
    progress.checked(len(outcomes), len(checks))
    return [outcomes[check.name] for check in checks]


def _ended(looking: Mapping[Future[None], _Look]) -> list[Future[None]]:
    """
    Those that are done or late, as soon as there are any.
    """
    if not looking:
        return []
    first = min(look.ends_at for look in looking.values())
    done = wait(looking, timeout=max(first - monotonic(), 0), return_when=FIRST_COMPLETED).done
    return [future for future, look in looking.items() if future in done or look.ends_at <= monotonic()]


class _Look:
    """
    A check that is being made.
    """

    def __init__(self, check: Check, evidence: Evidence) -> None:
        self.check = check
        self.ends_at = monotonic() + check.limit_s
        self._evidence = evidence
        self._seen: list[Fault | BlindSpot] = []

    def __call__(self) -> None:
        # NOTE: kept one by one, because what was found before an error stands.
        for one in self.check.look(self._evidence):
            self._seen.append(one)

    def outcome(self, future: Future[None]) -> Outcome:
        """
        What came of it, or has come so far where its time is over.
        """
        stopped, seen = [], list(self._seen)
        try:
            future.result(0)
        except Late:
            future.cancel()
            stopped = [BlindSpot(subject=None, reason=f"no answer within {self.check.limit_s:g} s")]
        except Exception as error:  # noqa: BLE001  a bug in one check is no reason to lose the others
            stopped = [blind_spot(error, self._evidence)]
        faults = [one for one in seen if isinstance(one, Fault)]
        return Outcome(
            check=self.check,
            made=not stopped,
            findings=tuple(map(self.check.finding, faults)),
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
