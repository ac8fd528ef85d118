"""
The SIDs that waiting bookings name: whose text each is, and whether there is one.

Most are in Twilio's log or in a row. What neither shows may have another sender or be older than the window, so Twilio is
asked for it by itself, up to a limit, and only a 404 makes it unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from booking_doctor.checks.check import BlindSpot, Evidence
from booking_doctor.checks.metadata import OTHER_PHONE, UNKNOWN, Lack
from booking_doctor.checks.survey import Case, asked, case_of, survey
from booking_doctor.checks.traces import comparison_of
from booking_doctor.core.model import TwilioMessage, same_number
from booking_doctor.discrepancies import Comparison, Kind
from booking_doctor.errors import TwilioError
from booking_doctor.reconcile import IN_FLIGHT, LIST_LAG


class Incomplete(Struct, frozen=True, kw_only=True):
    """
    Bookings that wait, and whose metadata says something that leads nowhere or to somebody else's text.

    Attributes:
        cases: Newest first.
        asked: How many SIDs Twilio was asked for.
        unconfirmed: How many more bookings name a SID of which nobody knows whether Twilio has it.
        blind: Why not, where Twilio was asked at all.
    """

    cases: Sequence[Case]
    asked: int
    unconfirmed: int
    blind: Sequence[BlindSpot]


def incomplete(evidence: Evidence) -> Incomplete:
    """
    Judge what metadata says, by itself and by the texts that it names.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    told = evidence.once(survey).of(Lack.INCOMPLETE)
    comparison = comparison_of(evidence)
    lost = _not_shown(evidence, comparison)
    if isinstance(comparison, str):
        answers, theirs = _Answers(), []
    else:
        answers, theirs = _ask(evidence, lost, comparison.terms.confirm_limit), list(_to_others(evidence, comparison))
    misled = [*_recorded_for_others(evidence), *theirs, *_answered(evidence, lost, answers.messages)]
    by_id = {case.id: case for case in (*reversed(misled), *told)}
    return Incomplete(
        cases=sorted(by_id.values(), key=lambda case: (case.created_at, case.id), reverse=True),
        asked=len(answers.messages),
        unconfirmed=sum(row["sid"] not in answers.messages for row in lost),
        blind=answers.blind,
    )


# --- texts to another phone ------------------------------------------------------------------------------------------

_RECORDED_FOR_OTHERS: Final = """
SELECT t.id, t.phone, t.status, t.created_at, t.open, t.sid, CAST(m.{messages.to_number} AS text) AS to_number
FROM told t JOIN {messages} m ON m.{messages.message_sid} = t.sid
WHERE t.status = 'pending' AND CAST(m.{messages.to_number} AS text) <> t.phone
ORDER BY t.created_at DESC, t.id DESC
"""


def _recorded_for_others(evidence: Evidence) -> Iterator[Case]:
    for row in asked(evidence, _RECORDED_FOR_OTHERS):
        if not same_number(row["to_number"], row["phone"], evidence.region):
            yield case_of(row, Lack.INCOMPLETE, OTHER_PHONE, row["sid"])


def _to_others(evidence: Evidence, comparison: Comparison) -> Iterator[Case]:
    """
    Open bookings of the window whose deferred text went to another phone.
    """
    settled = evidence.now - IN_FLIGHT
    for discrepancy in comparison.of(Kind.DEFERRED):
        for booking in discrepancy.candidates.named:
            at, message = booking.created_at, discrepancy.message
            if not booking.open or at is None or at not in evidence.window or at > settled or message is None:
                continue
            if booking.phone and not same_number(message.to, booking.phone, evidence.region):
                row = {"id": booking.id, "phone": booking.phone, "status": "pending", "created_at": at, "open": True}
                yield case_of(row, Lack.INCOMPLETE, OTHER_PHONE, discrepancy.sid)


# --- texts that are nowhere to be seen -------------------------------------------------------------------------------

_NOT_SHOWN: Final = """
SELECT t.id, t.phone, t.status, t.created_at, t.open, t.sid FROM told t
WHERE t.status = 'pending' AND t.open AND t.created_at BETWEEN :oldest AND :youngest
  AND length(t.sid) = 34 AND t.sid ~ '^(SM|MM)[0-9a-fA-F]*$' AND NOT t.sid = ANY (CAST(:shown AS text[]))
  AND NOT EXISTS (SELECT FROM {messages} m WHERE m.{messages.message_sid} = t.sid)
ORDER BY t.created_at DESC, t.id DESC
"""


def _not_shown(evidence: Evidence, comparison: Comparison | str) -> list[Mapping[str, Any]]:
    """
    Open bookings that name a SID which neither the log nor a row has, too old for Twilio's lists to lag behind and too
    young for it to have forgotten.
    """
    shown, oldest = [], evidence.window.since
    if not isinstance(comparison, str):
        shown = [one.sid for one in comparison.discrepancies if one.message]
        oldest = evidence.now - comparison.terms.retention
    rows = asked(evidence, _NOT_SHOWN, shown=shown, oldest=oldest, youngest=evidence.now - LIST_LAG)
    recorded = by_second_sid(evidence, [row["sid"] for row in rows])
    return [row for row in rows if row["sid"] not in recorded]


class _Answers(Struct):
    """
    What Twilio has for each SID it was asked for.
    """

    messages: dict[str, TwilioMessage | None] = field(default_factory=dict)
    blind: list[BlindSpot] = field(default_factory=list)


def _ask(evidence: Evidence, rows: Sequence[Mapping[str, Any]], limit: int) -> _Answers:
    """
    Ask for each SID by itself, those of the newest bookings first.
    """
    answers, sids = _Answers(), list(dict.fromkeys(row["sid"] for row in rows))
    try:
        for sid, message in evidence.fetch(sids[:limit]):
            answers.messages[sid] = message
    except TwilioError as error:
        answers.blind.append(BlindSpot(subject=None, kind=error.kind, reason=error.sentence))
    if rest := len(sids[limit:]):
        reason = f"{rest:,} SIDs of bookings were not asked for; the limit is {limit:,}, and --all-senders shows most"
        answers.blind.append(BlindSpot(subject=None, reason=reason))
    return answers


def _answered(
    evidence: Evidence, rows: Sequence[Mapping[str, Any]], messages: Mapping[str, TwilioMessage | None]
) -> Iterator[Case]:
    for row in rows:
        if row["sid"] not in messages:
            continue
        message = messages[row["sid"]]
        if message is None:
            yield case_of(row, Lack.INCOMPLETE, UNKNOWN, row["sid"])
        elif row["phone"] and not same_number(message.to, row["phone"], evidence.region):
            yield case_of(row, Lack.INCOMPLETE, OTHER_PHONE, row["sid"])


_SECOND_SIDS: Final = """
SELECT DISTINCT {messages.twilio_message_sid} AS sid FROM {messages}
WHERE {messages.twilio_message_sid} = ANY (CAST(:sids AS text[])) ORDER BY 1
"""


def by_second_sid(evidence: Evidence, sids: Sequence[str]) -> set[str]:
    """
    Those of *sids* that only the second column has. It has no index, so all are looked for in one pass, if at all.
    """
    if not sids or not evidence.database.has("messages", "twilio_message_sid"):
        return set()
    return {row["sid"] for row in evidence.database.rows(_SECOND_SIDS, sids=list(sids))}
