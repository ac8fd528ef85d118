"""
What is remembered of findings between reports, and what a report then says: new, there since when, gone.

Only what was looked for can be gone. A check that was not made, a source that could not be read to its end and a window
that begins too late leave a finding as it was remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from booking_doctor.checks import CATALOGUE
from booking_doctor.findings import Finding, Novelty, Report, Verdict, Window

_DATED: Final = frozenset({"message", "booking", "job", "log"})
"""Families whose findings are about something that happened; they are looked for in the window only."""

_MOMENTS: Final = ("date", "created_at", "run_at")
"""Where their evidence says when."""


class Sighting(Struct, frozen=True, kw_only=True):
    """
    A finding as it is remembered.

    Attributes:
        since: When it was first seen.
        span: Where in time it is to be looked for; None for what has no time.
    """

    since: datetime
    span: Window | None = None


class Memory(Struct, frozen=True, kw_only=True):
    """
    What is remembered of earlier reports on the same thing.

    Attributes:
        verdict: The last report's; None before the first.
        sightings: By fingerprint: what the last report found, and what it could not look for.
    """

    verdict: Verdict | None = None
    sightings: Mapping[str, Sighting] = field(default_factory=dict)


def recalled(report: Report, memory: Memory, oldest: datetime) -> tuple[Report, Memory]:
    """
    The report beside what is remembered, and what is to be remembered from now on.

    Args:
        oldest: What happened before can no longer be looked for, and is forgotten.
    """
    seen = {finding.fingerprint: _sighting(finding, report, memory) for finding in report.findings}
    missing = {fingerprint: sighting for fingerprint, sighting in memory.sightings.items() if fingerprint not in seen}
    gone = {name: sighting for name, sighting in missing.items() if _looked_for(name, sighting.span, report)}
    kept = {
        name: sighting
        for name, sighting in missing.items()
        if name not in gone and (sighting.span is None or sighting.span.since >= oldest)
    }
    unsure = len(kept.keys() - report.set_aside)
    told = replace(
        report,
        coverage={**report.coverage, **({"not_looked_for_again": unsure} if unsure else {})},
        novelty=Novelty(
            since={fingerprint: sighting.since for fingerprint, sighting in seen.items()},
            gone={fingerprint: sighting.since for fingerprint, sighting in gone.items()},
        ),
    )
    return told, Memory(verdict=report.verdict, sightings={**kept, **seen})


def _sighting(finding: Finding, report: Report, memory: Memory) -> Sighting:
    before = memory.sightings.get(finding.fingerprint)
    return Sighting(since=before.since if before else report.started_at, span=_span(finding, report.window))


def _span(finding: Finding, window: Window | None) -> Window | None:
    """
    The moment that the finding is about; where it does not tell, the whole window.
    """
    if window is None or finding.name.partition("-")[0] not in _DATED:
        return None
    told = (finding.evidence.get(name) for name in _MOMENTS)
    moment = next((datetime.fromisoformat(text) for text in told if isinstance(text, str)), None)
    return Window(moment, moment) if moment and moment in window else window


def _looked_for(fingerprint: str, span: Window | None, report: Report) -> bool:
    """
    Whether the report would have the finding if it were still there.
    """
    name, unnamed = fingerprint.partition(":")[0], report.coverage.get("counted_not_named")
    blind = {skipped.check for skipped in report.skipped}
    only_counted = isinstance(unnamed, Mapping) and name in unnamed
    if name not in report.checks or name in blind or only_counted or fingerprint in report.set_aside:
        return False
    if span is None:
        return True
    unread = any(skipped.check not in CATALOGUE for skipped in report.skipped)
    return not unread and report.window is not None and report.window.covers(span)
