"""
Texts: what the comparison of the Twilio log with the database means for whoever must act on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from string import Template
from typing import Final, TypeVar, cast

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.twilio_codes import reason
from booking_doctor.core.agreement import Difference, Row, direction_of
from booking_doctor.core.model import iso
from booking_doctor.discrepancies import Candidates, Comparison, Discrepancy, Kind
from booking_doctor.errors import TwilioUnreachable
from booking_doctor.evidence import Overview
from booking_doctor.findings import Disclosure, Finding, JSONValue, Severity

_WALK_S: Final = 3600
"""
How long reading the log may take. It gives up by itself once there is no progress; whichever check is first waits for it.
"""

_PHONES: Final = frozenset({"to_number", "from_number"})


@check(Severity.WARNING, limit_s=_WALK_S)
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


@check(Severity.WARNING, limit_s=_WALK_S)
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


@check(Severity.ERROR, limit_s=_WALK_S)
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


@check(Severity.WARNING, limit_s=_WALK_S)
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


@check(Severity.ERROR, limit_s=_WALK_S)
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


@check(Severity.ERROR, limit_s=_WALK_S)
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


@check(Severity.ERROR, limit_s=_WALK_S)
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


@check(Severity.WARNING, limit_s=_WALK_S)
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


# --- a text that did not arrive --------------------------------------------------------------------------------------

_TEXTS: Final = Template("""
SELECT CAST({messages.id} AS text) AS id, $sid AS sid, $status AS status,
  CAST({messages.to_number} AS text) AS number, {messages.created_at} AS at
FROM {messages}
WHERE {messages.created_at} >= :since AND CAST({messages.direction} AS text) <> 'inbound'
  AND $sid IS NOT NULL AND $condition
ORDER BY {messages.created_at}, {messages.id}
""")
_LOST: Final = "{messages.created_at} < :until AND $status IN ('undelivered', 'failed')"
_ARRIVED: Final = "{messages.to_number} = ANY(:numbers) AND $status IN ('delivered', 'read')"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """
    A text as far as Twilio, or else its row, tells how it ended.
    """

    sid: str
    status: str
    number: str | None
    at: datetime
    code: int | None = None
    row_id: str | None = None


@check(Severity.WARNING, limit_s=_WALK_S)
def message_undelivered(evidence: Evidence) -> Iterator[Fault]:
    """
    Twilio took a text and it did not arrive, nor has a later one arrived at that number.

    ## Why it matters

    The customer waits for a text that will not come. The application did its part: the number, the carrier, the
    wording or the sender's registration is at fault, and the error code says which.

    ## How to repair

    Act on the error code: the finding says what it means where the code is known. A row has no room for the code; read
    it in Twilio's message log by the SID. Then text the customer again, unless the number has opted out. The finding is
    gone once a later text to that number is recorded as delivered.

    ## When this is fine

    When the customer was reached another way. A few in a hundred are usual; all texts of one sender, or to one country,
    are not.
    """
    told = {discrepancy.sid for discrepancy in evidence.comparison.discrepancies}
    lost = [
        *(text for text in _texts_by_twilio(evidence) if text.status in {"undelivered", "failed"}),
        *_texts_by_rows(evidence, _LOST, told, until=evidence.window.until),
    ]
    numbers = {text.number for text in lost if text.number}
    arrived = [
        *(text for text in _texts_by_twilio(evidence) if text.status in {"delivered", "read"}),
        *(_texts_by_rows(evidence, _ARRIVED, told, numbers=sorted(numbers)) if numbers else ()),
    ]
    reached = {text.number: text.at for text in sorted(arrived, key=lambda text: text.at)}
    unsettled = [text for text in lost if reached.get(text.number, text.at) <= text.at]
    for text in _complete(evidence, sorted(unsettled, key=lambda text: (text.at, text.sid))):
        yield _undelivered(text, evidence.disclosure)


def _texts_by_twilio(evidence: Evidence) -> Iterator[_Text]:
    """
    Texts on which the two sides do not agree, as Twilio tells them; an attempt refused at once is not one.
    """
    for discrepancy in evidence.comparison.discrepancies:
        message = discrepancy.message
        if message and not message.inbound and discrepancy.kind is not Kind.REJECTED:
            yield _Text(
                sid=message.sid,
                status=message.status,
                number=message.to,
                at=message.happened_at,
                code=message.error_code,
                row_id=discrepancy.row.id if discrepancy.row else None,
            )


def _texts_by_rows(evidence: Evidence, condition: str, told: set[str], **parameters: object) -> Iterator[_Text]:
    """
    Texts as their rows tell them, one for each SID.

    Args:
        told: SIDs on which Twilio says something else; its word counts.
    """
    said = {
        "sid": _first_said(evidence, "message_sid", "twilio_message_sid"),
        "status": _first_said(evidence, "twilio_status", "status"),
    }
    question = _TEXTS.substitute(said, condition=Template(condition).substitute(said))
    rows = evidence.database.rows(question, since=evidence.window.since, **parameters)
    for row in {row["sid"]: row for row in rows if row["sid"] not in told}.values():
        yield _Text(sid=row["sid"], status=row["status"], number=row["number"], at=row["at"], row_id=row["id"])


def _first_said(evidence: Evidence, *columns: str) -> str:
    """
    In SQL, what the first of those columns says that is here and not empty.
    """
    here = [column for column in columns if evidence.database.has("messages", column)]
    said = [f"NULLIF(CAST({{messages.{column}}} AS text), '')" for column in here]
    return f"COALESCE({', '.join(said)})"


def _undelivered(text: _Text, disclosure: Disclosure) -> Fault:
    why = reason(text.code)
    to = disclosure.phone(text.number) or "no number"
    told: dict[str, JSONValue] = {
        "message_sid": text.sid,
        "status": text.status,
        "date": iso(text.at),
        "to_number": disclosure.phone(text.number),
    }
    if text.code is not None:
        told |= {"error_code": text.code, "error_meaning": why.meaning}
    if text.row_id is not None:
        told["row_id"] = text.row_id
    error = "" if text.code is None else f" with error {text.code}"
    return Fault(
        subject=f"message/{text.sid}",
        summary=f"{text.at:%Y-%m-%d %H:%M:%S} UTC to {to}, {text.status}{error}: it did not arrive "
        f"({why.meaning}), nor has a later one.",
        remedy=why.advice,
        evidence=told,
    )


# --- money -----------------------------------------------------------------------------------------------------------

_SIGNS: Final = """
SELECT count(*) FILTER (WHERE CAST({messages.cost_usd} AS numeric) < 0) AS negative,
  count(*) FILTER (WHERE CAST({messages.cost_usd} AS numeric) > 0 AND CAST({messages.cost_usd} AS numeric) < 1000000)
    AS positive,
  min({messages.message_sid}) FILTER (WHERE CAST({messages.cost_usd} AS numeric) < 0) AS message_sid
FROM {messages} WHERE {messages.created_at} >= :since AND {messages.created_at} < :until
"""
# NOTE: to PostgreSQL NaN is greater than any number, so "positive" needs an end.


@check(Severity.WARNING)
def message_cost_sign(evidence: Evidence) -> Iterator[Fault]:
    """
    Some rows keep what a text cost as a negative number, others as a positive one.

    ## Why it matters

    Twilio writes a charge with a minus sign. Where one piece of code keeps the sign and another drops it, sums are
    wrong and nobody sees it. The comparison looks at the amount alone, so such rows count as matched.

    ## How to repair

    Keep costs positive, as a backfill does: `UPDATE messages SET cost_usd = -cost_usd WHERE cost_usd < 0`. Then
    correct the code that keeps the sign.

    ## When this is fine

    When negative rows are refunds. A table in which every cost is negative has its own convention and is not reported.
    """
    if not evidence.database.has("messages", "cost_usd"):
        return
    (signs,) = evidence.database.rows(_SIGNS, since=evidence.window.since, until=evidence.window.until)
    if signs["negative"] and signs["positive"]:
        table, column = evidence.database.name("messages"), evidence.database.name("messages", "cost_usd")
        yield Fault(
            subject=f"schema/{table}.{column}",
            summary=f"{table}.{column} is negative in {signs['negative']:,} rows of the window and positive in "
            f"{signs['positive']:,}; all should have one sign.",
            remedy=f"Make the negative ones positive, as `booking-doctor explain {message_cost_sign.name}` shows.",
            evidence=dict(signs),
        )


# --- what the checks have in common ----------------------------------------------------------------------------------

_Found = TypeVar("_Found")


def _complete(evidence: Evidence, found: Sequence[_Found]) -> Sequence[_Found]:
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
    return _complete(evidence, evidence.comparison.of(kind))


def _unrecorded(evidence: Evidence, *, orphaned: bool) -> Sequence[Discrepancy]:
    unrecorded = evidence.comparison.of(Kind.UNRECORDED)
    return _complete(evidence, [discrepancy for discrepancy in unrecorded if discrepancy.orphaned is orphaned])


def _overview(evidence: Evidence) -> Overview:
    """
    What the database alone says of the rows; nothing where the log could not be begun, which `_complete` tells.
    """
    overview = evidence.comparison.overview
    _complete(evidence, [overview] if overview else [])
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


@dataclass(frozen=True, slots=True)
class _Compared:
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
