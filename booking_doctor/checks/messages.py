"""
Findings about messages: what the comparison of the Twilio log with the database means for whoever must act on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from booking_doctor.core.agreement import Difference, Row, direction_of
from booking_doctor.core.model import iso
from booking_doctor.findings import Disclosure, Finding, JSONValue, Severity
from booking_doctor.reconcile import Candidates, Comparison, Discrepancy, Kind

_PHONES: Final = frozenset({"to_number", "from_number"})


def message_findings(comparison: Comparison, disclosure: Disclosure, backfill: str) -> list[Finding]:
    """
    One finding for each message or row that somebody should look at; deferred and in flight need nobody.

    Args:
        backfill: The command that plans the repair of the same window.
    """
    found = [finding for discrepancy in comparison.discrepancies for finding in _of(discrepancy, disclosure, backfill)]
    return [*found, *_of_rows(comparison, disclosure, backfill)]


def _of(discrepancy: Discrepancy, disclosure: Disclosure, backfill: str) -> Iterator[Finding]:
    match discrepancy.kind:
        case Kind.UNRECORDED if discrepancy.orphaned:
            yield _finding(
                discrepancy,
                disclosure,
                "message-orphaned",
                Severity.WARNING,
                f"{_outline(discrepancy, disclosure)}: no row carries its SID, and nobody is known whose it is.",
                "Find out whose it is; once that customer exists the backfill takes it.",
            )
        case Kind.UNRECORDED:
            yield _finding(
                discrepancy,
                disclosure,
                "message-unrecorded",
                Severity.ERROR,
                f"{_outline(discrepancy, disclosure)}: no row carries its SID.",
                f"Plan the missing rows: {backfill}",
            )
        case Kind.MISMATCHED:
            yield _finding(
                discrepancy,
                disclosure,
                "message-mismatched",
                discrepancy.severity,
                "; ".join(_told(difference, disclosure) for difference in discrepancy.differences) + ".",
                f"Plan the corrections: {backfill} --fix-mismatched",
            )
        case Kind.REJECTED:
            yield _finding(
                discrepancy,
                disclosure,
                "message-rejected",
                Severity.WARNING,
                f"{_outline(discrepancy, disclosure)}: Twilio refused it at once, nobody got a text.",
                "Look the code up at https://www.twilio.com/docs/api/errors and text the customer again if that is due.",
            )
        case Kind.UNKNOWN:
            yield _finding(
                discrepancy,
                disclosure,
                "message-unknown-to-twilio",
                Severity.ERROR,
                "A row carries this SID and Twilio answers that there is no such message.",
                "Look where the row came from: test credentials, another account, or a message deleted at Twilio.",
            )
        case Kind.DEFERRED | Kind.IN_FLIGHT:
            pass


def _outline(discrepancy: Discrepancy, disclosure: Disclosure) -> str:
    """
    A message in half a sentence: when, to or from whom, how it ended.
    """
    message = discrepancy.message
    assert message is not None  # noqa: S101  only a row that is unknown to Twilio has none
    other = f"{'from' if message.inbound else 'to'} {disclosure.phone(message.customer_number) or 'no number'}"
    error = f" with error {message.error_code}" if message.error_code else ""
    return f"{message.happened_at:%Y-%m-%d %H:%M:%S} UTC {other}, {message.status}{error}"


def _finding(
    discrepancy: Discrepancy, disclosure: Disclosure, name: str, severity: Severity, summary: str, remedy: str
) -> Finding:
    return Finding(
        name=name,
        severity=severity,
        subject=f"message/{discrepancy.sid}",
        summary=summary,
        remedy=remedy,
        evidence=_evidence(discrepancy, disclosure),
    )


def _evidence(discrepancy: Discrepancy, disclosure: Disclosure) -> dict[str, JSONValue]:
    evidence: dict[str, JSONValue] = {"message_sid": discrepancy.sid}
    message = discrepancy.message
    if message is not None:
        evidence |= {
            "status": message.status,
            "direction": direction_of(message),
            "date": iso(message.happened_at),
            "to_number": disclosure.phone(message.to),
            "from_number": disclosure.phone(message.from_number),
            "body": disclosure.body(message.body),
        }
        if message.error_code is not None:
            evidence["error_code"] = message.error_code
    if discrepancy.differences:
        evidence["differences"] = {
            difference.field: {
                "recorded": _shown(difference.field, difference.recorded, disclosure),
                "twilio": _shown(difference.field, difference.twilio, disclosure),
            }
            for difference in discrepancy.differences
        }
    if discrepancy.kind is Kind.UNRECORDED:
        evidence["candidates"] = _candidates(discrepancy.candidates)
    if discrepancy.row is not None and discrepancy.row.id is not None:
        evidence["row_id"] = discrepancy.row.id
    return evidence


def _candidates(candidates: Candidates) -> list[str]:
    bookings = {booking.id: None for booking in (*candidates.named, *candidates.bookings)}
    return [*(f"booking/{id_}" for id_ in bookings), *(f"customer/{customer.id}" for customer in candidates.customers)]


def _told(difference: Difference, disclosure: Disclosure) -> str:
    recorded, twilio = (
        _shown(difference.field, value, disclosure) for value in (difference.recorded, difference.twilio)
    )
    return f"{difference.field} is {recorded}, Twilio says {twilio}"


def _shown(field: str, value: str, disclosure: Disclosure) -> str | None:
    if field in _PHONES:
        return disclosure.phone(value)
    return disclosure.body(value) if field == "body" else value


def _of_rows(comparison: Comparison, disclosure: Disclosure, backfill: str) -> Iterator[Finding]:
    overview = comparison.overview
    if overview is None:
        return
    for sid, rows in sorted(overview.duplicated.items()):
        yield Finding(
            name="message-duplicated",
            severity=Severity.ERROR,
            subject=f"message/{sid}",
            summary=f"{rows} rows carry this SID; there must be one.",
            remedy="Decide which row is right and delete the others; a unique index on the SID keeps it so.",
            evidence={"message_sid": sid, "rows": rows},
        )
    for row in overview.without_customer:
        yield _of_row(
            row,
            "message-without-customer",
            Severity.ERROR,
            "Its customer_id is empty or points to no customer.",
            f"Plan the assignments: {backfill}",
            disclosure,
        )
    for row in overview.without_sid:
        yield _of_row(
            row,
            "message-without-sid",
            Severity.WARNING,
            "The row carries no SID, so it cannot be compared with Twilio.",
            "Look which code inserts without waiting for Twilio's answer.",
            disclosure,
        )


def _of_row(row: Row, name: str, severity: Severity, summary: str, remedy: str, disclosure: Disclosure) -> Finding:
    evidence: dict[str, JSONValue] = {
        "message_sid": row.sid or None,
        "row_id": row.id,
        "created_at": iso(row.created_at) if row.created_at else None,
        "direction": row.direction,
        "to_number": disclosure.phone(row.to_number),
    }
    subject = f"message/{row.sid or f'row-{row.id}'}"
    return Finding(name=name, severity=severity, subject=subject, summary=summary, remedy=remedy, evidence=evidence)
