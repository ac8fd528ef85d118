"""
Bookings whose metadata does not lead to the text they were sent, so that confirm cannot record it.

The database sorts out what is plainly in order; only the rest travels and is judged here, because a column that holds
text may hold anything and PostgreSQL 15 cannot read it without failing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.core.model import SID_SHAPE, TwilioMessage, e164, iso, same_number
from booking_doctor.discrepancies import BOOKED_AFTER, BOOKED_BEFORE, Comparison, Kind
from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.findings import JSONValue, Severity
from booking_doctor.reconcile import IN_FLIGHT, LIST_LAG

NAMED: Final = 100
"""So many bookings have a finding of their own; the newest. One more finding counts the others."""

WALK_S: Final = 3600
"""How long a check may take that reads the Twilio log, in seconds."""


class Lack(StrEnum):
    """
    What is wrong with a booking's metadata.
    """

    EMPTY = "empty"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    A booking whose metadata does not lead to its text.

    Attributes:
        open: Its time has not run out: confirm may still come.
        metadata: What it holds, in words.
        sid: The SID it names, where it names one.
    """

    id: str
    phone: str | None
    created_at: datetime
    open: bool
    lack: Lack
    metadata: str
    sid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """
    What is wrong with the bookings of the window that are old enough to be judged; where nothing is, nothing is told.

    Attributes:
        cases: Those that wait to be confirmed, and whose metadata by itself does not lead to a text, newest first.
        by_hour: How many bookings of any status were left so, by the hour in which they were made.
        first_bad: The first booking, of any status, that was left so.
        last_good: The last that was in order.
        turned_bad: The first bad one after the last good one: the change point. None while some still are in order.
    """

    cases: Sequence[Case] = ()
    by_hour: Mapping[datetime, int] = field(default_factory=dict)
    first_bad: datetime | None = None
    last_good: datetime | None = None
    turned_bad: datetime | None = None

    def of(self, lack: Lack) -> list[Case]:
        """
        The cases of one kind.
        """
        return [case for case in self.cases if case.lack is lack]

    @property
    def turn(self) -> dict[str, JSONValue]:
        """
        When it began, to be compared with the times of deployments.
        """
        moments = {
            "first_bad_booking": self.first_bad,
            "last_good_booking": self.last_good,
            "turned_bad_at": self.turned_bad,
        }
        return {name: iso(moment) for name, moment in moments.items() if moment}


# --- what the database says ------------------------------------------------------------------------------------------

# NOTE: to_jsonb takes a column of any type; what it would fail on, escapes that jsonb cannot hold, is kept from it.
# OFFSET 0 has the database read each document once, not once for every mention of what is read from it; and a pattern
# with a counted repetition takes ten times as long.
_BOOKINGS: Final = r"""
WITH document AS NOT MATERIALIZED (
  SELECT p.*, CASE
    WHEN pg_typeof(p.{pending_bookings.metadata}) = CAST('jsonb' AS regtype) THEN to_jsonb(p.{pending_bookings.metadata})
    WHEN pg_typeof(p.{pending_bookings.metadata}) = CAST('json' AS regtype)
      AND CAST(p.{pending_bookings.metadata} AS text) !~* '\\u(0000|d[89a-f])' THEN to_jsonb(p.{pending_bookings.metadata})
    END AS document
  FROM {pending_bookings} p
  WHERE p.{pending_bookings.created_at} >= :since AND p.{pending_bookings.created_at} < :until
    AND p.{pending_bookings.created_at} <= :settled
  OFFSET 0
), booking AS NOT MATERIALIZED (
  SELECT CAST(p.{pending_bookings.id} AS text) AS id, CAST(p.{pending_bookings.customer_phone} AS text) AS phone,
    CAST(p.{pending_bookings.status} AS text) AS status, p.{pending_bookings.created_at} AS created_at,
    p.{pending_bookings.metadata} AS metadata, [optional],
    p.document #>> '{initial_sms,message_sid}' AS named, p.document #>> '{initial_sms,to_number}' AS number
  FROM document p
), judged AS NOT MATERIALIZED (
  SELECT b.*, coalesce(
    length(b.named) = 34 AND b.named ~ '^(SM|MM)[0-9a-fA-F]*$' AND coalesce(b.number = b.phone, true), false) AS good
  FROM booking b
), told AS NOT MATERIALIZED (
  SELECT b.*, coalesce(b.named, substring(CAST(b.metadata AS text) FROM CAST(:sid_in_text AS text))) AS sid FROM booking b
)
"""

_SID_IN_TEXT: Final = rf'"message_sid"\s*:\s*"({SID_SHAPE.pattern})"'


def _asked(evidence: Evidence, question: str, **parameters: object) -> list[Mapping[str, Any]]:
    """
    The answer to a question about the window's bookings; columns an installation may lack read as null.
    """
    optional = ", ".join(
        f"p.{{pending_bookings.{column}}} AS {column}"
        if evidence.database.has("pending_bookings", column)
        else f"CAST(NULL AS timestamptz) AS {column}"
        for column in ("expires_at", "confirmed_at")
    )
    usual = {
        "since": evidence.window.since,
        "until": evidence.window.until,
        "settled": evidence.now - IN_FLIGHT,
        "sid_in_text": _SID_IN_TEXT,
    }
    return evidence.database.rows(_BOOKINGS.replace("[optional]", optional) + question, **usual, **parameters)


_PENDING: Final = "SELECT count(*) AS bookings FROM booking WHERE status = 'pending'"
_LAST_GOOD: Final = "SELECT max(created_at) AS moment FROM judged WHERE good"

_SUSPECTS: Final = """
SELECT id, phone, status, created_at, expires_at, CAST(metadata AS text) AS metadata
FROM judged WHERE NOT good ORDER BY created_at DESC, id DESC
"""


def survey(evidence: Evidence) -> Survey:
    """
    Judge the window's bookings by their metadata.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    suspects = [(row, _judged(row, evidence)) for row in _asked(evidence, _SUSPECTS)]
    bad = [(row["status"], case) for row, case in suspects if case]
    if not bad:
        return Survey()
    good = [_asked(evidence, _LAST_GOOD)[0]["moment"], *(row["created_at"] for row, case in suspects if not case)]
    last_good = max((moment for moment in good if moment), default=None)
    moments = sorted(case.created_at for _, case in bad)
    return Survey(
        cases=[case for status, case in bad if status == "pending"],
        by_hour=Counter(map(_hour, moments)),
        first_bad=moments[0],
        last_good=last_good,
        turned_bad=next((moment for moment in moments if last_good is None or moment > last_good), None),
    )


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


# --- what the metadata says ------------------------------------------------------------------------------------------


def _judged(row: Mapping[str, Any], evidence: Evidence) -> Case | None:
    """
    The booking as a case; None where its metadata is in order.
    """
    found = _read(row["metadata"], row["phone"], evidence.region)
    return _case(row, evidence, *found) if found else None


def _case(row: Mapping[str, Any], evidence: Evidence, lack: Lack, metadata: str, sid: str | None = None) -> Case:
    expires_at = row.get("expires_at")
    return Case(
        id=row["id"],
        phone=row["phone"],
        created_at=row["created_at"],
        open=expires_at is None or expires_at > evidence.now,
        lack=lack,
        metadata=metadata,
        sid=sid,
    )


_NOTHING: Final[Mapping[str | None, dict[str, object] | None]] = {None: None, "": None, "{}": {}}
"""What needs no reading: no JSON at all, and what the fault leaves most often."""

_KINDS: Final = {str: "a string", list: "an array", bool: "a boolean", int: "a number", float: "a number"}


def _read(text: str | None, phone: str | None, region: str) -> tuple[Lack, str] | None:
    """
    What metadata lacks, in words that hold nothing of it; None where it names a text to that phone.
    """
    try:
        document = _NOTHING[text] if text in _NOTHING else json.loads(text or "")
    except (ValueError, RecursionError):
        return Lack.INCOMPLETE, "no JSON"
    if not document and isinstance(document, dict | None):
        return Lack.EMPTY, "null" if document is None else "{}"
    if not isinstance(document, dict):
        return Lack.INCOMPLETE, f"{_KINDS[type(document)]} instead of an object"
    sms = document.get("initial_sms")
    if sms is None:
        return Lack.EMPTY, "no initial_sms"
    if isinstance(sms, dict):
        return _read_sms(sms, phone, region)
    return Lack.INCOMPLETE, f"{_KINDS[type(sms)]} as initial_sms instead of an object"


def _read_sms(sms: Mapping[str, object], phone: str | None, region: str) -> tuple[Lack, str] | None:
    sid, to = sms.get("message_sid"), sms.get("to_number")
    if not sid:
        # NOTE: a refused text has no SID, and metadata that says so says all there is.
        return None if sms.get("state") == "rejected" else (Lack.INCOMPLETE, "an initial_sms without message_sid")
    if not isinstance(sid, str) or not SID_SHAPE.fullmatch(sid):
        return Lack.INCOMPLETE, "a message_sid of the wrong shape"
    if isinstance(to, str) and to and phone and not same_number(to, phone, region):
        return Lack.INCOMPLETE, _OTHER_PHONE
    return None


_OTHER_PHONE: Final = "the SID of a text to another phone"
_UNKNOWN: Final = "a SID that Twilio's log of the window does not show"


# --- what Twilio says ------------------------------------------------------------------------------------------------


def _comparison(evidence: Evidence) -> Comparison | str:
    """
    The comparison, or why there is none.
    """
    try:
        comparison = evidence.comparison
    except (SourceError, SettingsError) as error:
        return error.summary
    return comparison if comparison.counts else "its log could not be read"


_RECORDED_FOR_OTHERS: Final = """
SELECT t.id, t.phone, t.created_at, t.expires_at, t.sid, CAST(m.{messages.to_number} AS text) AS to_number
FROM told t JOIN {messages} m ON m.{messages.message_sid} = t.sid
WHERE t.status = 'pending' AND CAST(m.{messages.to_number} AS text) <> t.phone
ORDER BY t.created_at DESC, t.id DESC
"""

_NOT_SHOWN: Final = """
SELECT t.id, t.phone, t.created_at, t.expires_at, t.sid FROM told t
WHERE t.status = 'pending' AND t.created_at >= :shown_from AND t.created_at < :shown_until
  AND (t.expires_at IS NULL OR t.expires_at > :now)
  AND length(t.sid) = 34 AND t.sid ~ '^(SM|MM)[0-9a-fA-F]*$' AND NOT t.sid = ANY (CAST(:shown AS text[]))
  AND NOT EXISTS (SELECT FROM {messages} m WHERE m.{messages.message_sid} = t.sid)
ORDER BY t.created_at DESC, t.id DESC
"""


def incomplete(evidence: Evidence, found: Survey) -> tuple[list[Case], int]:
    """
    Bookings whose metadata says something that leads nowhere or to somebody else's text, newest first; and how many more
    name a SID that could not be looked for.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    misled, unconfirmed = _misled(evidence)
    by_id = {case.id: case for case in (*reversed(misled), *found.of(Lack.INCOMPLETE))}
    return sorted(by_id.values(), key=lambda case: (case.created_at, case.id), reverse=True), unconfirmed


def _misled(evidence: Evidence) -> tuple[list[Case], int]:
    rows = _asked(evidence, _RECORDED_FOR_OTHERS)
    misled = [row for row in rows if not same_number(row["to_number"], row["phone"], evidence.region)]
    cases = [_case(row, evidence, Lack.INCOMPLETE, _OTHER_PHONE, row["sid"]) for row in misled]
    comparison = _comparison(evidence)
    if isinstance(comparison, str):
        return cases, 0
    cases += _to_others(evidence, comparison)
    rows = _not_shown(evidence, comparison)
    if comparison.coverage.get("out_of_scope") or not comparison.log_complete:
        return cases, len(rows)
    return [*cases, *(_case(row, evidence, Lack.INCOMPLETE, _UNKNOWN, row["sid"]) for row in rows)], 0


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
                row = {"id": booking.id, "phone": booking.phone, "created_at": at}
                yield _case(row, evidence, Lack.INCOMPLETE, _OTHER_PHONE, discrepancy.sid)


def _not_shown(evidence: Evidence, comparison: Comparison) -> list[Mapping[str, Any]]:
    """
    Open bookings that name a SID which neither the log nor a row has, where the log must have it by now.
    """
    window = comparison.terms.window
    rows = _asked(
        evidence,
        _NOT_SHOWN,
        now=evidence.now,
        shown=[discrepancy.sid for discrepancy in comparison.discrepancies if discrepancy.message],
        shown_from=window.since + BOOKED_AFTER,
        shown_until=min(window.until, evidence.now) - max(LIST_LAG, BOOKED_BEFORE),
    )
    recorded = _by_second_sid(evidence, [row["sid"] for row in rows])
    return [row for row in rows if row["sid"] not in recorded]


_SECOND_SIDS: Final = """
SELECT DISTINCT {messages.twilio_message_sid} AS sid FROM {messages}
WHERE {messages.twilio_message_sid} = ANY (CAST(:sids AS text[])) ORDER BY 1
"""


def _by_second_sid(evidence: Evidence, sids: Sequence[str]) -> set[str]:
    """
    Those of *sids* that only the second column has. It has no index, so all are looked for in one pass, if at all.
    """
    if not sids or not evidence.database.has("messages", "twilio_message_sid"):
        return set()
    return {row["sid"] for row in evidence.database.rows(_SECOND_SIDS, sids=list(sids))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """
    Where a booking's text can be found.

    Attributes:
        comparison: The Twilio log against the database, or why it could not be asked.
        by_number: Unrecorded and refused texts of the log, by the number they went to.
        recorded: SIDs of rows to that number around that time, by booking.
    """

    comparison: Comparison | str
    region: str
    by_number: Mapping[str | None, Sequence[TwilioMessage]]
    recorded: Mapping[str, Sequence[str]]

    def texts(self, case: Case) -> list[TwilioMessage]:
        """
        What Twilio has for the booking's phone around the time it was made, and nobody else claims.
        """
        if not self.by_number:
            return []
        earliest, latest = case.created_at - BOOKED_AFTER, case.created_at + BOOKED_BEFORE
        candidates = self.by_number.get(e164(case.phone, self.region) or case.phone, ())
        return [message for message in candidates if earliest <= message.happened_at <= latest]

    def sent(self, case: Case) -> bool:
        """
        Whether Twilio took a text for it.
        """
        return any(not message.rejected for message in self.texts(case))


_RECORDED: Final = """
SELECT b.id, b.phone, CAST(m.{messages.message_sid} AS text) AS sid, CAST(m.{messages.to_number} AS text) AS to_number
FROM booking b JOIN {messages} m
  ON m.{messages.created_at} BETWEEN b.created_at - CAST(:before AS interval) AND b.created_at + CAST(:after AS interval)
WHERE b.id = ANY (CAST(:ids AS text[]))
ORDER BY b.id, m.{messages.created_at}, sid
"""

_UNCLAIMED: Final = frozenset({Kind.UNRECORDED, Kind.REJECTED, Kind.IN_FLIGHT})


def traces(evidence: Evidence, cases: Sequence[Case]) -> Traces:
    """
    Look for the texts of *cases*; rows are looked for only of those that have a finding of their own.
    """
    comparison = _comparison(evidence)
    texts: dict[str | None, list[TwilioMessage]] = {}
    for discrepancy in () if isinstance(comparison, str) else comparison.discrepancies:
        message = discrepancy.message
        if discrepancy.kind in _UNCLAIMED and message is not None and not message.inbound:
            texts.setdefault(e164(message.to, evidence.region) or message.to, []).append(message)
    recorded = _recorded(evidence, [case.id for case in cases[:NAMED]])
    return Traces(comparison=comparison, region=evidence.region, by_number=texts, recorded=recorded)


def _recorded(evidence: Evidence, ids: Sequence[str]) -> dict[str, list[str]]:
    if not ids:
        return {}
    found: dict[str, list[str]] = {}
    for row in _asked(evidence, _RECORDED, ids=list(ids), before=BOOKED_AFTER, after=BOOKED_BEFORE):
        if same_number(row["to_number"], row["phone"], evidence.region):
            found.setdefault(row["id"], []).append(row["sid"] or "no SID")
    return found


# --- the checks ------------------------------------------------------------------------------------------------------


@check(Severity.ERROR, limit_s=WALK_S)
def booking_metadata_empty(evidence: Evidence) -> Iterator[Fault]:
    """
    A booking waits to be confirmed, and its metadata says nothing of the text that was to be sent.

    ## Why it matters

    Initiating a booking texts the customer and leaves the text's SID in `metadata.initial_sms`, because the text cannot
    be recorded before the customer exists. Confirm reads it there. Where it says nothing, the text is lost to the
    application though the customer has it, or no text went out at all: the finding says which, as far as Twilio could
    be asked.

    ## How to repair

    Where Twilio has the text, `booking-doctor backfill` puts it into the metadata of an open booking, and confirm records
    it. Where Twilio refused it, correct what its error code names and text the customer again. Where Twilio has nothing,
    the application never asked: look at its environment (`booking-doctor check-env`) and at the code that is deployed.
    A booking whose time has run out, and that still says `pending`, is closed by setting its status to `expired`.

    The evidence names the first bad booking, the last good one and, where no good one followed, the moment at which it
    turned: compare them with the times of your deployments.

    ## When this is fine

    A booking younger than 5 minutes is never reported: the application may be about to write. A booking that was
    deliberately made without a text can be ignored by its fingerprint.
    """
    found = survey(evidence)
    yield from _faults(found.of(Lack.EMPTY), found, evidence)


@check(Severity.ERROR, limit_s=WALK_S)
def booking_metadata_incomplete(evidence: Evidence) -> Iterator[Fault]:
    """
    A booking waits to be confirmed, and what its metadata says of its text leads nowhere, or to somebody else's text.

    It may be JSON inside a JSON string, an `initial_sms` that is no object, has no SID or one that is none, the SID of a
    text to another phone, or a SID that is neither recorded nor in Twilio's log. The last is said only where all of the
    log was read, whoever the sender; otherwise a remark says how many were not looked for.

    ## Why it matters

    Confirm cannot record such a text, or records it under the wrong customer.

    ## How to repair

    A string instead of an object means that something was encoded twice: mend that code, then unwrap the value with
    `UPDATE pending_bookings SET metadata = (metadata #>> '{}')::jsonb WHERE id = …`. An intent without SID is filled by
    `booking-doctor backfill` where Twilio has the text. A wrong SID must be taken out by hand; the backfill never writes
    over one.

    ## When this is fine

    A booking younger than 5 minutes is never reported, nor one whose `initial_sms.state` is `rejected`: such a text has
    no SID. A text that was sent long after the booking, past the end of the window, is not in the part of the log that was
    read: choose a window up to now.
    """
    found = survey(evidence)
    cases, unconfirmed = incomplete(evidence, found)
    yield from _faults(cases, found, evidence)
    if unconfirmed:
        yield Fault(
            subject="booking/unconfirmed",
            summary=f"{_bookings(unconfirmed)} more name a SID that is not in the part of the log that was looked at.",
            remedy=f"Look at the whole log: {_all_senders(evidence)}",
            evidence={"booking_id": None, "bookings": unconfirmed},
            severity=Severity.INFO,
        )


def _all_senders(evidence: Evidence) -> str:
    command = evidence.command("bookings")
    return command if "--all-senders" in command else f"{command} --all-senders"


def _faults(cases: Sequence[Case], found: Survey, evidence: Evidence) -> Iterator[Fault]:
    """
    One for each booking, up to the limit, and one for the others.
    """
    if not cases:
        return
    seen = traces(evidence, cases)
    for case in cases[:NAMED]:
        yield _fault(case, seen, found.turn, evidence)
    if others := cases[NAMED:]:
        yield Fault(
            subject="booking/others",
            summary=f"{_bookings(len(others))} more, made before those named here, are the same.",
            remedy=f"Plan what can be repaired of all of them: {evidence.command('backfill')}",
            evidence={
                "booking_id": None,
                "bookings": len(others),
                "metadata": dict(sorted(Counter(case.metadata for case in others).items())),
                "oldest": iso(others[-1].created_at),
                "newest": iso(others[0].created_at),
                **found.turn,
            },
        )


def _bookings(number: int) -> str:
    return f"{number:,} booking" if number == 1 else f"{number:,} bookings"


def _fault(case: Case, seen: Traces, turn: Mapping[str, JSONValue], evidence: Evidence) -> Fault:
    phone, texts, recorded = evidence.disclosure.phone(case.phone), seen.texts(case), seen.recorded.get(case.id, ())
    return Fault(
        subject=f"booking/{case.id}",
        summary=f"Booking {case.id}, made {case.created_at:%Y-%m-%d %H:%M:%S} UTC for {phone or 'no phone'}, holds"
        f" {case.metadata} in its metadata where the SID of its text should be; {_answer(seen, texts, recorded)}.",
        remedy=_remedy(case, seen, texts, recorded, evidence),
        evidence={
            "booking_id": case.id,
            "customer_phone": phone,
            "created_at": iso(case.created_at),
            "open": case.open,
            "metadata": case.metadata,
            **({"message_sid": case.sid} if case.sid else {}),
            "twilio": None if isinstance(seen.comparison, str) else [_text(message) for message in texts],
            **({"not_asked": seen.comparison} if isinstance(seen.comparison, str) else {}),
            "recorded": list(recorded),
            **turn,
        },
    )


def _text(message: TwilioMessage) -> dict[str, JSONValue]:
    return {
        "message_sid": message.sid,
        "status": message.status,
        "error_code": message.error_code,
        "date": iso(message.happened_at),
    }


def _answer(seen: Traces, texts: Sequence[TwilioMessage], recorded: Sequence[str]) -> str:
    """
    Where the text is, in half a sentence. That there is none is said only of what was looked at.
    """
    if texts:
        return " and ".join(_outcome(message) for message in texts)
    if recorded:
        return f"a row for that phone already carries {' and '.join(recorded)}"
    if isinstance(seen.comparison, str):
        return f"Twilio was not asked, because {seen.comparison}"
    senders = " from the configured senders" if seen.comparison.coverage.get("out_of_scope") else ""
    part = "" if seen.comparison.log_complete else ", in what could be read of its log"
    return f"Twilio has nothing for that phone{senders} around that time{part}"


def _outcome(message: TwilioMessage) -> str:
    if message.rejected:
        return f"Twilio refused one ({message.sid}) with error {message.error_code}"
    error = f" with error {message.error_code}" if message.error_code else ""
    return f"Twilio has {message.sid} for that phone, {message.status}{error}"


def _remedy(
    case: Case, seen: Traces, texts: Sequence[TwilioMessage], recorded: Sequence[str], evidence: Evidence
) -> str:
    if any(not message.rejected for message in texts):
        closing = "" if case.open else "; then set the booking's status to expired, for its time has run out"
        return f"Plan what was lost: {evidence.command('backfill')}{closing}"
    if texts:
        return f"Correct what error {texts[0].error_code} names, then text the customer again."
    if recorded:
        return "Compare that row with the booking; if it is its text, ignore this finding by its fingerprint."
    if isinstance(seen.comparison, str):
        return f"Ask Twilio what became of it: {evidence.command('bookings')}"
    if not case.open:
        return "Set the booking's status to expired, for its time has run out."
    return "Text the customer again, and look why the application did not: booking-doctor check-env"


_UNRECORDED: Final = """
SELECT t.id, t.phone, t.created_at, t.confirmed_at, t.sid FROM told t
WHERE t.status = 'confirmed' AND t.sid <> '' AND coalesce(t.confirmed_at, t.created_at) <= :settled
  AND NOT EXISTS (SELECT FROM {messages} m WHERE m.{messages.message_sid} = t.sid)
ORDER BY t.created_at DESC, t.id DESC
"""


@check(Severity.ERROR)
def booking_sms_not_recorded(evidence: Evidence) -> Iterator[Fault]:
    """
    A booking was confirmed, and the text that its metadata kept for confirm is in no row of `messages`.

    ## Why it matters

    The customer got the text and nobody who looks at the customer's messages will ever see it; its cost is missing too.

    ## How to repair

    `booking-doctor backfill` plans the missing row: the metadata says whose it is. Then look why confirm did not insert
    it: a customer that did not exist yet, a policy or a trigger on `messages` (`booking-doctor check-schema`), an error
    in the logs (`booking-doctor explain log-not-null-violation`).

    ## When this is fine

    In the first 5 minutes after a confirmation, which are never reported: the application may be about to insert.
    """
    missing = _asked(evidence, _UNRECORDED)
    recorded = _by_second_sid(evidence, [row["sid"] for row in missing])
    lost = [row for row in missing if row["sid"] not in recorded]
    for row in lost[:NAMED]:
        yield _lost(row, evidence)
    if others := lost[NAMED:]:
        yield Fault(
            subject="booking/others",
            summary=f"{_bookings(len(others))} more, made before those named here, are the same.",
            remedy=f"Plan the missing rows: {evidence.command('backfill')}",
            evidence={"booking_id": None, "bookings": len(others), "oldest": iso(others[-1]["created_at"])},
        )


def _lost(row: Mapping[str, Any], evidence: Evidence) -> Fault:
    sid, confirmed_at = row["sid"], row["confirmed_at"]
    # NOTE: what is no SID may be anything, a phone number too.
    shown = sid if SID_SHAPE.fullmatch(sid) else None
    return Fault(
        subject=f"booking/{row['id']}",
        summary=f"Booking {row['id']} was confirmed, and {shown or 'what its metadata has for a SID'} is in no row of"
        " messages; confirm should have recorded it.",
        remedy=f"Plan the missing row: {evidence.command('backfill')}",
        evidence={
            "booking_id": row["id"],
            "message_sid": shown,
            "customer_phone": evidence.disclosure.phone(row["phone"]),
            "created_at": iso(row["created_at"]),
            "confirmed_at": iso(confirmed_at) if confirmed_at else None,
        },
    )


# --- the command -----------------------------------------------------------------------------------------------------


def counts(evidence: Evidence) -> tuple[dict[str, int], dict[str, JSONValue]]:
    """
    What the command ``bookings`` counts, and where in time the bookings went wrong.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    found = survey(evidence)
    empty, (incomplete_, unconfirmed) = found.of(Lack.EMPTY), incomplete(evidence, found)
    cases = [*empty, *incomplete_]
    seen = traces(evidence, ())
    summary = {
        "pending_bookings": _asked(evidence, _PENDING)[0]["bookings"],
        "metadata_empty": len(empty),
        "metadata_incomplete": len(incomplete_),
        "sms_found_in_twilio": sum(seen.sent(case) for case in cases),
    }
    walked = {} if isinstance(seen.comparison, str) else seen.comparison.coverage
    by_hour = {f"{hour:%Y-%m-%dT%HZ}": bookings for hour, bookings in found.by_hour.items()}
    held = {"metadata": dict(sorted(Counter(case.metadata for case in cases).items())), "bad_by_hour": by_hour}
    told = {name: value for name, value in held.items() if value}
    return summary, {**walked, **found.turn, **told, "sids_not_confirmed": unconfirmed}
