"""
Texts: what the comparison of the Twilio log with the database means for whoever must act on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.twilio_codes import reason
from booking_doctor.core.agreement import Difference, Row, direction_of
from booking_doctor.core.model import iso
from booking_doctor.discrepancies import Candidates, Comparison, Discrepancy, Kind
from booking_doctor.errors import TwilioUnreachable
from booking_doctor.evidence import Overview
from booking_doctor.findings import Disclosure, Finding, JSONValue, Severity

WALK_S: Final = 3600
"""
How long reading the log may take. It gives up by itself once there is no progress; whichever check is first waits for it.
"""

_PHONES: Final = frozenset({"to_number", "from_number"})


@check(Severity.WARNING, limit_s=WALK_S)
def message_mismatched(evidence: Evidence) -> Iterator[Fault]:
    """
    A row says something else than Twilio about the same text.

    A warning where the row is merely behind; an error where it denies how the text ended, claims that it was delivered
    though Twilio does not, or names another recipient.

    ## Why it matters

    Whoever reads the table takes a text for delivered that never came, or looks for it at the wrong customer. A row
    that stays behind says that status callbacks do not arrive.

    ## How to repair

    `booking-doctor backfill --fix-mismatched` plans an update of each such row to what Twilio says. Then look which
    code writes a fixed status, and whether `/api/webhooks/twilio/status` answers.

    ## When this is fine

    While a text is on its way its row may be a moment behind. A body that Twilio has redacted, a price not yet billed and
    a status in the application's own words are no mismatch.
    """
    for discrepancy in _discrepancies(evidence, Kind.MISMATCHED):
        told = "; ".join(_told(difference, evidence.disclosure) for difference in discrepancy.differences)
        yield replace(
            _fault(evidence, discrepancy, f"{told}.", f"Plan the corrections: {_backfill(evidence)} --fix-mismatched"),
            severity=discrepancy.severity,
        )


@check(Severity.WARNING, limit_s=WALK_S)
def message_rejected(evidence: Evidence) -> Iterator[Fault]:
    """
    Twilio refused a text at once, and kept a record of the attempt.

    ## Why it matters

    Nobody got a text. The application got an error and no SID, so there is nothing to record, and its own log may be
    the only other trace.

    ## How to repair

    Act on the error code: the finding says what it means. Then text the customer again if that is due. The record
    of the attempt stays in Twilio's log; once it is dealt with you may delete it there, or put the finding on the
    ignore list.

    ## When this is fine

    When the customer has corrected the number and got a text since.
    """
    for discrepancy in _discrepancies(evidence, Kind.REJECTED):
        code = discrepancy.message.error_code if discrepancy.message else None
        why, outline = reason(code), _outline(discrepancy, evidence.disclosure)
        fault = _fault(
            evidence, discrepancy, f"{outline}: Twilio refused it at once, nobody got a text.", remedy=why.advice
        )
        yield replace(fault, evidence={**fault.evidence, "error_meaning": why.meaning})


@check(Severity.ERROR, limit_s=WALK_S)
def message_unrecorded(evidence: Evidence) -> Iterator[Fault]:
    """
    Twilio has a text that no row of `messages` carries the SID of.

    ## Why it matters

    The customer got it and the application does not know: it may text again, bill wrongly, or show an empty history.
    Many of them since one moment point to the deployment of that moment.

    ## How to repair

    `booking-doctor backfill` plans the missing rows; look at the plan, then add `--apply`. Repair the code that should
    have recorded them first, or tomorrow there are more.

    ## When this is fine

    It is not. Texts younger than five minutes, texts that an open booking keeps in its metadata, and attempts that Twilio
    refused at once are not counted here.
    """
    for discrepancy in _unrecorded(evidence, orphaned=False):
        yield _fault(
            evidence,
            discrepancy,
            f"{_outline(discrepancy, evidence.disclosure)}: no row carries its SID.",
            f"Plan the missing rows: {_backfill(evidence)}",
        )


@check(Severity.WARNING, limit_s=WALK_S)
def message_orphaned(evidence: Evidence) -> Iterator[Fault]:
    """
    Twilio has a text that no row carries the SID of, and no booking and no customer is known for its number.

    ## Why it matters

    Nobody can say whose it is, so it cannot be recorded. Either a customer was deleted, or something else sends from
    the same number.

    ## How to repair

    Find out whose it is. Once there is a customer with that number, `booking-doctor backfill` plans its row.

    ## When this is fine

    When somebody texts from this number by hand or from another program, or a stranger has written to it. Set the
    senders that are the application's own, or put the finding on the ignore list.
    """
    for discrepancy in _unrecorded(evidence, orphaned=True):
        outline = _outline(discrepancy, evidence.disclosure)
        yield _fault(
            evidence,
            discrepancy,
            f"{outline}: no row carries its SID, and nobody is known whose it is.",
            "Find out whose it is; once that customer exists the backfill takes it.",
        )


@check(Severity.ERROR, limit_s=WALK_S)
def message_unknown_to_twilio(evidence: Evidence) -> Iterator[Fault]:
    """
    A row carries a SID for which Twilio answers that there is no such message.

    ## Why it matters

    The table shows a text that was never sent from this account, so no customer got it, or one whose record is gone.

    ## How to repair

    Look where the row came from. Test credentials give SIDs that exist nowhere: set the live ones. A row of another
    account or of a test can be deleted.

    ## When this is fine

    When the message was deleted at Twilio on purpose. Rows younger than 15 minutes or older than Twilio keeps messages
    are never called unknown.
    """
    for discrepancy in _discrepancies(evidence, Kind.UNKNOWN):
        yield _fault(
            evidence,
            discrepancy,
            "A row carries this SID and Twilio answers that there is no such message.",
            "Look where the row came from: test credentials, another account, or a message deleted at Twilio.",
        )


@check(Severity.ERROR, limit_s=WALK_S)
def message_duplicated(evidence: Evidence) -> Iterator[Fault]:
    """
    More than one row carries the same SID.

    ## Why it matters

    One text is counted, shown and billed twice. It also says that two ways of recording compete, such as confirm and a
    webhook.

    ## How to repair

    Decide which row is right and delete the others. A unique index on the SID keeps it so:
    `CREATE UNIQUE INDEX CONCURRENTLY ON messages (message_sid)`.

    ## When this is fine

    It is not: a SID names one message.
    """
    for sid, rows in sorted(_overview(evidence).duplicated.items()):
        yield Fault(
            subject=f"message/{sid}",
            summary=f"{rows} rows carry this SID; there must be one.",
            remedy="Decide which row is right and delete the others; a unique index on the SID keeps it so.",
            evidence={"message_sid": sid, "rows": rows},
        )


@check(Severity.ERROR, limit_s=WALK_S)
def message_without_customer(evidence: Evidence) -> Iterator[Fault]:
    """
    A row of `messages` belongs to nobody: its `customer_id` is null, or no customer has that id.

    ## Why it matters

    The text is in no customer's history, and while such rows exist the column cannot be made NOT NULL again.

    ## How to repair

    `booking-doctor backfill` plans to give each the customer whose number it has. Where nobody has it, or several do,
    the plan says so and you decide.

    ## When this is fine

    When the application keeps texts of people who are no customers yet, and assigns them later.
    """
    for row in _overview(evidence).without_customer:
        summary = "Its customer_id is empty or points to no customer."
        yield _fault_of_row(evidence, row, summary, f"Plan the assignments: {_backfill(evidence)}")


@check(Severity.WARNING, limit_s=WALK_S)
def message_without_sid(evidence: Evidence) -> Iterator[Fault]:
    """
    A row of `messages` carries no SID.

    ## Why it matters

    Nobody can say whether this text was sent: without its SID it cannot be found at Twilio, and its status never changes.

    ## How to repair

    Look which code inserts the row before Twilio has answered, or drops the answer. Find the text in Twilio's log by
    number and time and write its SID into the row; delete the row where no text was sent.

    ## When this is fine

    For texts that did not go through Twilio.
    """
    for row in _overview(evidence).without_sid:
        yield _fault_of_row(
            evidence,
            row,
            "The row carries no SID, so it cannot be compared with Twilio.",
            "Look which code inserts without waiting for Twilio's answer.",
        )


COMPARED: Final = (
    message_mismatched,
    message_rejected,
    message_unrecorded,
    message_orphaned,
    message_unknown_to_twilio,
    message_duplicated,
    message_without_customer,
    message_without_sid,
)
"""The checks that look at the comparison and at nothing else: what ``reconcile`` reports."""


# --- what the checks have in common ----------------------------------------------------------------------------------

_Found = TypeVar("_Found")


def complete(evidence: Evidence, found: Sequence[_Found]) -> Sequence[_Found]:
    """
    What was found. That it is nothing can only be said when everything was read.

    Raises:
        TwilioUnreachable: It was not.
    """
    unread = evidence.comparison.unread
    if unread and not found:
        message = f"not everything could be read: {unread[0].reason}"
        raise TwilioUnreachable(message)
    return found


def _discrepancies(evidence: Evidence, kind: Kind) -> Sequence[Discrepancy]:
    return complete(evidence, evidence.comparison.of(kind))


def _unrecorded(evidence: Evidence, *, orphaned: bool) -> Sequence[Discrepancy]:
    unrecorded = evidence.comparison.of(Kind.UNRECORDED)
    return complete(evidence, [discrepancy for discrepancy in unrecorded if discrepancy.orphaned is orphaned])


def _overview(evidence: Evidence) -> Overview:
    """
    What the database alone says of the rows; nothing where the log could not be begun, which `_complete` tells.
    """
    overview = evidence.comparison.overview
    complete(evidence, [overview] if overview else [])
    return overview or Overview(recorded=0, duplicated={})


def _backfill(evidence: Evidence) -> str:
    return evidence.command("backfill")


def _outline(discrepancy: Discrepancy, disclosure: Disclosure) -> str:
    """
    A message in half a sentence: when, to or from whom, how it ended.
    """
    message = discrepancy.message
    assert message is not None  # noqa: S101  only a row that is unknown to Twilio has none
    other = f"{'from' if message.inbound else 'to'} {disclosure.phone(message.customer_number) or 'no number'}"
    error = f" with error {message.error_code}" if message.error_code else ""
    return f"{message.happened_at:%Y-%m-%d %H:%M:%S} UTC {other}, {message.status}{error}"


def _fault(evidence: Evidence, discrepancy: Discrepancy, summary: str, remedy: str) -> Fault:
    return Fault(
        subject=f"message/{discrepancy.sid}",
        summary=summary,
        remedy=remedy,
        evidence=_shown_of(discrepancy, evidence.disclosure),
    )


def _shown_of(discrepancy: Discrepancy, disclosure: Disclosure) -> dict[str, JSONValue]:
    shown: dict[str, JSONValue] = {"message_sid": discrepancy.sid}
    message = discrepancy.message
    if message is not None:
        shown |= {
            "status": message.status,
            "direction": direction_of(message),
            "date": iso(message.happened_at),
            "to_number": disclosure.phone(message.to),
            "from_number": disclosure.phone(message.from_number),
            "body": disclosure.body(message.body),
        }
        if message.error_code is not None:
            shown["error_code"] = message.error_code
    if discrepancy.differences:
        shown["differences"] = {
            difference.field: {
                "recorded": _shown(difference.field, difference.recorded, disclosure),
                "twilio": _shown(difference.field, difference.twilio, disclosure),
            }
            for difference in discrepancy.differences
        }
    if discrepancy.kind is Kind.UNRECORDED:
        shown["candidates"] = _candidates(discrepancy.candidates)
    if discrepancy.row is not None and discrepancy.row.id is not None:
        shown["row_id"] = discrepancy.row.id
    return shown


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


def _fault_of_row(evidence: Evidence, row: Row, summary: str, remedy: str) -> Fault:
    return Fault(
        subject=f"message/{row.sid or f'row-{row.id}'}",
        summary=summary,
        remedy=remedy,
        evidence={
            "message_sid": row.sid or None,
            "row_id": row.id,
            "created_at": iso(row.created_at) if row.created_at else None,
            "direction": row.direction,
            "to_number": evidence.disclosure.phone(row.to_number),
        },
    )


# --- a comparison that is made ---------------------------------------------------------------------------------------


class _Compared(Struct, frozen=True):
    """
    All of `booking_doctor.checks.check.Evidence` that the checks in `COMPARED` look at.
    """

    comparison: Comparison
    disclosure: Disclosure
    command: Callable[[str], str]


def compared(comparison: Comparison, disclosure: Disclosure, command: Callable[[str], str]) -> Evidence:
    """
    A comparison as evidence for `COMPARED`, and only for them. Whoever made it tells what of it is unread.

    Args:
        command: See `booking_doctor.checks.check.Evidence.command`.
    """
    return cast("Evidence", _Compared(replace(comparison, unread=()), disclosure, command))


def message_findings(comparison: Comparison, disclosure: Disclosure, backfill: str) -> list[Finding]:
    """
    What `COMPARED` finds, where a check that crashes may take everything with it.

    Args:
        backfill: The command that plans the repair of the same window.
    """
    evidence = compared(comparison, disclosure, lambda _: backfill)
    seen = ((made, fault) for made in COMPARED for fault in made.look(evidence))
    return [made.finding(fault) for made, fault in seen if isinstance(fault, Fault)]
