"""
The Twilio log against the database: what disagrees, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from booking_doctor.checks.check import Check, Evidence
from booking_doctor.checks.messages import COMPARED, compared
from booking_doctor.discrepancies import Comparison, Kind, Terms
from booking_doctor.doctor.reporting import Reporting, counted
from booking_doctor.doctor.request import Request
from booking_doctor.doctor.timeline import kept_beside, timeline
from booking_doctor.errors import ExitCode, SourceError
from booking_doctor.examination import Examination, examine
from booking_doctor.findings import FailOn, Report, Severity
from booking_doctor.reconcile import reconcile


class Comparing(Reporting):
    """
    `reconcile`, and the comparison that other verbs start from.
    """

    def reconcile(self, request: Request) -> Report:
        """
        Compare, and report what disagrees.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        try:
            comparison = self._compare(request)
        except SourceError as error:
            return self._unlooked("reconcile", request, error)
        evidence = compared(comparison, request.disclosure, request.command)
        examined = self._examination(COMPARED, evidence)
        examined = replace(examined, skipped=[*comparison.unread, *examined.skipped])
        code, reason = _conclusion(examined, comparison, request.fail_on)
        report = self._report(
            "reconcile",
            code,
            reason,
            window=request.window,
            summary=comparison.counts,
            coverage={**comparison.coverage, **examined.coverage},
            findings=examined.findings,
            skipped=examined.skipped,
            checks=examined.made,
            fail_on=request.fail_on,
            next_steps=_after_reconcile(comparison, request),
        )
        kept = kept_beside(comparison.overview, request.window, lambda: self._sources.queries)
        hours = timeline(request.window, kept, comparison.sent)
        return replace(report, timeline=hours, set_aside=examined.set_aside)

    def _compare(self, request: Request, now: datetime | None = None) -> Comparison:
        log, senders = self._sources.log(all_senders=request.all_senders)
        terms = Terms(
            window=request.window,
            now=now or self._clock(),
            senders=senders,
            region=self._preferences.region,
            retention=self._preferences.retention,
        )
        return reconcile(log, self._sources.records, terms)

    def _examination(self, checks: Sequence[Check], evidence: Evidence) -> Examination:
        return examine(
            checks,
            evidence,
            self._executor(len(checks)),
            self._preferences.ignored,
            self._started_at.date(),
            self._progress,
        )


def _conclusion(examined: Examination, comparison: Comparison, fail_on: FailOn) -> tuple[ExitCode, str]:
    severities = [finding.severity for finding in examined.findings]
    found = tally(examined)
    if not comparison.counts:
        return ExitCode.INCOMPLETE, "the Twilio log could not be read, so nothing is claimed"
    if examined.skipped:
        return ExitCode.INCOMPLETE, f"{found} in what was read, but not everything could be looked at"
    if any(severity.reaches(fail_on) for severity in severities):
        return ExitCode.FINDINGS, found
    agree = not examined.findings and not examined.suppressed
    return ExitCode.OK, "the Twilio log and the database agree" if agree else found


def _after_reconcile(comparison: Comparison, request: Request) -> list[str]:
    steps = []
    if comparison.unread:
        steps.append(request.command("reconcile"))
    if comparison.log_complete and (
        any(not discrepancy.orphaned for discrepancy in comparison.of(Kind.UNRECORDED))
        or (comparison.overview and comparison.overview.without_customer)
    ):
        steps.append(request.command("backfill"))
    if comparison.log_complete and comparison.of(Kind.MISMATCHED):
        steps.append(request.command("backfill --fix-mismatched"))
    return steps


def tally(examined: Examination) -> str:
    """
    How many findings of which severity, and how many are set aside.
    """
    severities = [finding.severity for finding in examined.findings]
    found = ", ".join(counted(severities.count(s), s) for s in Severity if s in severities) or "no findings"
    aside = {"ignored for now": len(examined.suppressed), "no longer ignored": len(examined.lapsed)}
    return found + "".join(f", {number:,} {words}" for words, number in aside.items() if number)
