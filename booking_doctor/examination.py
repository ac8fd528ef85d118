"""
An examination: the checks that were chosen, made on the evidence there is, less what somebody decided to live with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property

from booking_doctor.checks import CATALOGUE
from booking_doctor.checks.check import Check, Evidence
from booking_doctor.checks.runner import NotMade, findings_of, run, skipped_of
from booking_doctor.discrepancies import Comparison
from booking_doctor.evidence import Account, Queries, VariableSource
from booking_doctor.findings import Disclosure, Finding, JSONValue, Skipped, Window
from booking_doctor.settings import Ignored


@dataclass(kw_only=True)
class Chart:
    """
    The evidence of one examination: `booking_doctor.checks.check.Evidence`. Each source is opened once, when first asked for.
    """

    now: datetime
    window: Window
    disclosure: Disclosure
    region: str
    application_role: str | None = None
    variables: tuple[VariableSource, ...]
    expected: VariableSource | None
    command: Callable[[str], str]
    open_database: Callable[[], Queries] = field(repr=False)
    open_account: Callable[[], Account] = field(repr=False)
    compare: Callable[[], Comparison] = field(repr=False)

    @cached_property
    def database(self) -> Queries:
        """
        The application's database.
        """
        return self.open_database()

    @cached_property
    def account(self) -> Account:
        """
        The Twilio account, for live questions.
        """
        return self.open_account()

    @cached_property
    def comparison(self) -> Comparison:
        """
        The Twilio log against the database.
        """
        return self.compare()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """
    What came of it.

    Attributes:
        made: How many checks were made.
        suppressed: Findings that are ignored for now.
        lapsed: Findings that were ignored until a day that has come; they are among the findings.
        idle: Fingerprints of entries that match nothing, although their check was made, or because there is none.
    """

    made: int
    findings: Sequence[Finding]
    skipped: Sequence[Skipped]
    suppressed: Sequence[Finding]
    lapsed: Sequence[Finding] = ()
    idle: Sequence[str] = ()

    @property
    def coverage(self) -> dict[str, JSONValue]:
        """
        What a report says of the ignore list.
        """
        told: dict[str, JSONValue] = {"suppressed": len(self.suppressed)}
        lists = {"counting_again": [finding.fingerprint for finding in self.lapsed], "ignored_without_match": self.idle}
        return told | {name: fingerprints for name, fingerprints in lists.items() if fingerprints}


def examine(
    checks: Sequence[Check], evidence: Evidence, executor: Executor, ignored: Sequence[Ignored], today: date
) -> Examination:
    """
    Make the checks. An ignored finding counts again from the day its entry ends.
    """
    outcomes = run(checks, evidence, executor)
    findings = findings_of(outcomes)
    looked = {outcome.check.name for outcome in outcomes if not isinstance(outcome, NotMade)}
    living_with = {entry.fingerprint for entry in ignored if today < entry.until}
    lapsed = {entry.fingerprint for entry in ignored} - living_with
    return Examination(
        made=len(looked),
        findings=[finding for finding in findings if finding.fingerprint not in living_with],
        skipped=skipped_of(outcomes),
        suppressed=[finding for finding in findings if finding.fingerprint in living_with],
        lapsed=[finding for finding in findings if finding.fingerprint in lapsed],
        idle=_idle([entry.fingerprint for entry in ignored], findings, looked),
    )


def _idle(entries: Sequence[str], findings: Sequence[Finding], looked: Collection[str]) -> list[str]:
    """
    The entries that match nothing. One whose check was not made here may still match elsewhere.
    """
    found = {finding.fingerprint for finding in findings}
    names = {entry: entry.partition(":")[0] for entry in entries if entry not in found}
    return [entry for entry, name in names.items() if name in looked or name not in CATALOGUE]
