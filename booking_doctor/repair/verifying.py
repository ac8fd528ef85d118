"""
Whether a repair is in effect: the same comparison as before it, made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from booking_doctor.checks.messages import message_findings
from booking_doctor.core.agreement import Row
from booking_doctor.discrepancies import Comparison, Kind
from booking_doctor.evidence import Records
from booking_doctor.findings import Disclosure, Severity
from booking_doctor.repair.steps import Step, StepKind

PROVEN: Final = "verified"
"""Every step is seen in effect, and no new error appeared."""

_LOOKUP: Final = 1000


def verdict(steps: Sequence[Step], before: Comparison, after: Comparison, records: Records) -> str:
    """
    `PROVEN`, or why it is not.

    Args:
        steps: What was written.
        before, after: The comparisons around it, of one window at one time, so that only the world can differ.

    Raises:
        DatabaseError: The records could not be read.
    """
    if not after.log_complete:
        return "it could not be verified: the log could not be read to its end"
    unseen = _not_in_effect(steps, after, records)
    if unseen:
        return f"{len(unseen):,} of {len(steps):,} steps are not seen in effect, {unseen[0].subject} first"
    new = _errors(after) - _errors(before)
    return f"{min(new)} is new" if new else PROVEN


def _not_in_effect(steps: Sequence[Step], after: Comparison, records: Records) -> list[Step]:
    recorded = {row.message_sid for row in rows_of(records, _sids(steps, StepKind.INSERT_MESSAGE))}
    restored = _sids(steps, StepKind.RESTORE_METADATA)
    bookings = records.bookings_naming(restored, after.terms.now) if restored else []
    named = {(booking.id, booking.names_sid) for booking in bookings}
    differing = {discrepancy.sid for discrepancy in after.of(Kind.MISMATCHED)}
    unassigned = {row.id for row in after.overview.without_customer} if after.overview else set()

    def in_effect(step: Step) -> bool:
        match step.kind:
            case StepKind.INSERT_MESSAGE:
                return step.sid in recorded
            case StepKind.RESTORE_METADATA:
                return (step.row_id, step.sid) in named
            case StepKind.UPDATE_MESSAGE:
                return step.sid not in differing
            case StepKind.ASSIGN_CUSTOMER:
                return step.row_id not in unassigned

    return [step for step in steps if not in_effect(step)]


def _sids(steps: Sequence[Step], kind: StepKind) -> list[str]:
    return [step.sid for step in steps if step.kind is kind]


def _errors(comparison: Comparison) -> set[str]:
    findings = message_findings(comparison, Disclosure(), "")
    return {finding.fingerprint for finding in findings if finding.severity is Severity.ERROR}


def rows_of(records: Records, sids: Sequence[str]) -> list[Row]:
    """
    The rows whose `message_sid` is one of *sids*, any number of them.

    Raises:
        DatabaseError: The records could not be read.
    """
    chunks = (sids[start : start + _LOOKUP] for start in range(0, len(sids), _LOOKUP))
    return [row for chunk in chunks for row in records.rows(chunk)]
