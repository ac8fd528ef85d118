"""
The diagnosis: signals read, causes weighed, mysteries answered; since when it is so, and whom it hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from decimal import Decimal
from typing import Final, TypeVar

from booking_doctor.causes import CATALOGUE, SIGNALS, STANDING
from booking_doctor.causes.cause import Cause, Reading, Weighed, unexplained, unknown, weigh
from booking_doctor.causes.mysteries import answers
from booking_doctor.causes.onset import onset
from booking_doctor.causes.population import Bad, Fate, comparison_of, population
from booking_doctor.causes.signals import HAPPENED, Dossier, read
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.runner import Outcome
from booking_doctor.core.model import TwilioMessage
from booking_doctor.discrepancies import Discrepancy, Kind
from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.findings import CauseVerdict, CauseView, Diagnosis, Harm, Impact, Severity

_Told = TypeVar("_Told")


def diagnose(evidence: Evidence, outcomes: Sequence[Outcome], executor: Executor) -> Diagnosis:
    """
    Say why it is so.

    Args:
        outcomes: What came of the checks.
    """
    dossier = Dossier(evidence=evidence, outcomes={outcome.check.name: outcome for outcome in outcomes})
    readings = _at_the_time(read(SIGNALS.values(), dossier, executor), dossier)
    weighed = weigh(readings, list(CATALOGUE.values()))
    happened = [name for name, outcome in dossier.outcomes.items() if _matters(outcome)]
    return Diagnosis(
        verdict=_verdict(weighed, bool(happened)) + _unread(readings, evidence),
        mysteries=answers(readings, dossier),
        causes=[_view(found, dossier) for found in weighed],
        unexplained=unexplained(happened, readings, weighed),
        onset=_or_none(onset, evidence),
        impact=_impact(evidence, outcomes),
    )


def _at_the_time(readings: Mapping[str, Reading], dossier: Dossier) -> dict[str, Reading]:
    """
    The readings as far as they speak of the time of the fault: where that is over, what is not there now may have been.
    """
    found = _or_none(lambda asked: asked.once(population), dossier.evidence)
    if found is None or not found.mended:
        return dict(readings)
    over = unknown(
        f"it is not so now, but bookings are in order again since {found.siege[0].case.created_at:%Y-%m-%d %H:%M} UTC"
    )
    return {name: over if name in STANDING and is_.seen is False else is_ for name, is_ in readings.items()}


def _matters(outcome: Outcome) -> bool:
    return outcome.check.family in HAPPENED and any(f.severity is not Severity.INFO for f in outcome.findings)


def _or_none(tell: Callable[[Evidence], _Told], evidence: Evidence) -> _Told | None:
    try:
        return tell(evidence)
    except (SourceError, SettingsError):
        return None


# --- causes ----------------------------------------------------------------------------------------------------------


def _verdict(weighed: Sequence[Weighed], happened: bool) -> str:
    """
    In one line: the surest cause, and how many more are as sure.
    """
    alike = [found for found in weighed if found.verdict is weighed[0].verdict]
    if not alike or alike[0].verdict is CauseVerdict.EXCLUDED:
        return "something happened that no known cause explains" if happened else "no cause is seen at work"
    first, others = alike[0].cause, [found.cause.id for found in alike[1:]]
    match alike[0].verdict:
        case CauseVerdict.CONFIRMED:
            return f"confirmed: {first.id}" + (f", and {', '.join(others)} as well" if others else "")
        case CauseVerdict.LIKELY:
            return f"most likely {first.id}" + (f", or {' or '.join(others)}" if others else "") + ", not confirmed"
        case _ if not happened:
            return f"no harm is seen; what is set up wrongly could do some: {', '.join([first.id, *others])}"
        case _:
            return f"nothing is decided; possible: {', '.join([first.id, *others])}"


def _unread(readings: Mapping[str, Reading], evidence: Evidence) -> str:
    """
    What the verdict was reached without, where most causes show.
    """
    sources = {
        "the bookings": readings["bookings-bad"].seen is None,
        "Twilio's log": comparison_of(evidence) is None,
    }
    unread = " and ".join(name for name, missing in sources.items() if missing)
    return f"; not read: {unread}" if unread else ""


def _view(found: Weighed, dossier: Dossier) -> CauseView:
    still_open = found.verdict in {CauseVerdict.LIKELY, CauseVerdict.POSSIBLE}
    return CauseView(
        id=found.cause.id,
        layer=found.cause.layer,
        title=found.cause.title,
        verdict=found.verdict,
        because=found.because,
        against=(*found.against, *(f"not excluded: {why}" for why in (found.unknown if still_open else ()))),
        remedy=_remedy(found.cause, dossier),
    )


def _remedy(cause: Cause, dossier: Dossier) -> str:
    """
    The remedy of a finding, which knows the names and has the statements, else the cause's own.
    """
    found = (finding.remedy for name in cause.remedies for finding in dossier.findings(name))
    return next(found, cause.remedy)


# --- whom it hit -----------------------------------------------------------------------------------------------------

_KINDS: Final[Mapping[str, Kind]] = {
    "message-unrecorded": Kind.UNRECORDED,
    "message-orphaned": Kind.UNRECORDED,
    "message-rejected": Kind.REJECTED,
    "message-mismatched": Kind.MISMATCHED,
    "message-unknown-to-twilio": Kind.UNKNOWN,
}


def _impact(evidence: Evidence, outcomes: Sequence[Outcome]) -> Impact:
    comparison = comparison_of(evidence)
    discrepancies = comparison.discrepancies if comparison else []
    whole = comparison is not None and comparison.log_complete
    found = _or_none(lambda asked: asked.once(population), evidence)
    bad = found.bad if found else []
    lost = [discrepancy for discrepancy in discrepancies if discrepancy.kind is Kind.UNRECORDED]
    refused = [discrepancy for discrepancy in discrepancies if discrepancy.kind is Kind.REJECTED]
    return Impact(
        people=len(_phones(bad, (*lost, *refused))) if found or comparison else None,
        sent_not_recorded=len(lost) if whole else None,
        never_sent=_unsent(bad) if found and whole else None,
        cost_usd=_cost(lost) if whole else None,
        by_finding=[_harm(outcome, bad, discrepancies) for outcome in outcomes if _matters(outcome)],
    )


def _unsent(bad: Iterable[Bad]) -> int:
    return sum(one.fate in {Fate.NOTHING, Fate.REFUSED} for one in bad)


def _phones(bad: Iterable[Bad], discrepancies: Iterable[Discrepancy]) -> set[str]:
    texts = [found.message.customer_number for found in discrepancies if found.message]
    rows = [found.row.to_number for found in discrepancies if found.row]
    return {phone for phone in (*texts, *rows, *(one.case.phone for one in bad)) if phone}


def _harm(outcome: Outcome, bad: Sequence[Bad], discrepancies: Sequence[Discrepancy]) -> Harm:
    kind = _KINDS.get(outcome.check.name)
    mine = [found for found in discrepancies if found.kind is kind and _is(found, outcome.check.name)]
    cases = bad if outcome.check.name.startswith("booking-metadata") else []
    return Harm(
        finding=outcome.check.name,
        subjects=len(outcome.findings) + outcome.unnamed,
        people=len(_phones(cases, mine)) if kind or cases else None,
        cost_usd=_cost(mine) if kind else None,
    )


def _is(found: Discrepancy, name: str) -> bool:
    return found.kind is not Kind.UNRECORDED or found.orphaned is (name == "message-orphaned")


def _cost(discrepancies: Iterable[Discrepancy]) -> str:
    messages: list[TwilioMessage] = [found.message for found in discrepancies if found.message]
    return str(sum((message.cost_usd or Decimal(0) for message in messages), Decimal(0)))
