"""
Texts that Twilio took and that did not arrive.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from string import Template
from typing import Final

from msgspec import Struct

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.messages import WALK_S, complete
from booking_doctor.checks.twilio_codes import reason
from booking_doctor.core.model import iso
from booking_doctor.discrepancies import Kind
from booking_doctor.findings import Disclosure, JSONValue, Severity

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


class _Text(Struct, frozen=True, kw_only=True):
    """
    A text as far as Twilio, or else its row, tells how it ended.
    """

    sid: str
    status: str
    number: str | None
    at: datetime
    code: int | None = None
    row_id: str | None = None


@check(Severity.WARNING, limit_s=WALK_S)
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
    for text in complete(evidence, sorted(unsettled, key=lambda text: (text.at, text.sid))):
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
