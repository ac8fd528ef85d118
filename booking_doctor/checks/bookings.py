"""
Bookings whose metadata does not lead to the text they were sent, so that confirm cannot record it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from booking_doctor.checks.check import NAMED, BlindSpot, Evidence, Fault, check, unknown_words
from booking_doctor.checks.metadata import Lack
from booking_doctor.checks.sids import by_second_sid, incomplete
from booking_doctor.checks.survey import STATUSES, Case, Survey, asked, survey
from booking_doctor.checks.traces import Unclaimed, recorded, unclaimed
from booking_doctor.core.model import SID_SHAPE, TwilioMessage, iso
from booking_doctor.findings import JSONValue, Severity

WALK_S: Final = 3600
"""How long a check may take that reads the Twilio log, in seconds."""


@check(Severity.ERROR, limit_s=WALK_S)
def booking_metadata_empty(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
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
    found = evidence.once(survey)
    yield from _faults(found.of(Lack.EMPTY), found, evidence)
    yield from _undecided(found.undecided, evidence)


@check(Severity.ERROR, limit_s=WALK_S)
def booking_metadata_incomplete(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A booking waits to be confirmed, and what its metadata says of its text leads nowhere, or to somebody else's text.

    It may be JSON inside a JSON string, an `initial_sms` that is no object, has no SID or one that is none, the SID of a
    text to another phone, or a SID that is in no row and that Twilio does not know. A SID that the log of the window does
    not show is asked for by itself before that is said.

    ## Why it matters

    Confirm cannot record such a text, or records it under the wrong customer.

    ## How to repair

    A string instead of an object means that something was encoded twice: mend that code, then unwrap the value with
    `UPDATE pending_bookings SET metadata = (metadata #>> '{}')::jsonb WHERE id = …`. An intent without SID is filled by
    `booking-doctor backfill` where Twilio has the text. A wrong SID must be taken out by hand; the backfill never writes
    over one.

    ## When this is fine

    A booking younger than 5 minutes is never reported, nor one whose `initial_sms.state` says that nothing was sent:
    `failed`, `rejected`, `queued` or `dropped`. A SID is not called unknown in the first 15 minutes, nor once Twilio may
    have forgotten it.
    """
    found, told = evidence.once(survey), evidence.once(incomplete)
    yield from _faults(told.cases, found, evidence)
    yield from told.blind
    yield from _undecided(found.undecided, evidence)


def _undecided(words: Mapping[str | None, int], evidence: Evidence) -> Iterator[BlindSpot]:
    if words:
        database = evidence.database
        column = f"{database.name('pending_bookings')}.{database.name('pending_bookings', 'status')}"
        yield unknown_words(column, words, STATUSES)


def _faults(cases: Sequence[Case], found: Survey, evidence: Evidence) -> Iterator[Fault]:
    """
    One for each booking, up to the limit; before them one that counts the others, because nobody reads to the end.
    """
    if not cases:
        return
    texts, rows = evidence.once(unclaimed), recorded(evidence, cases)
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
            others=len(others),
        )
    for case in cases[:NAMED]:
        yield _fault(case, texts, rows.get(case.id, ()), found.turn, evidence)


def _bookings(number: int) -> str:
    return f"{number:,} booking" if number == 1 else f"{number:,} bookings"


def _fault(
    case: Case, unclaimed: Unclaimed, recorded: Sequence[str], turn: Mapping[str, JSONValue], evidence: Evidence
) -> Fault:
    phone, texts, comparison = evidence.disclosure.phone(case.phone), unclaimed.of(case), unclaimed.comparison
    return Fault(
        subject=f"booking/{case.id}",
        summary=f"Booking {case.id}, made {case.created_at:%Y-%m-%d %H:%M:%S} UTC for {phone or 'no phone'}, holds"
        f" {case.metadata} in its metadata where the SID of its text should be; {_answer(unclaimed, texts, recorded)}.",
        remedy=_remedy(case, unclaimed, texts, recorded, evidence),
        evidence={
            "booking_id": case.id,
            "customer_phone": phone,
            "created_at": iso(case.created_at),
            "open": case.open,
            "metadata": case.metadata,
            **({"message_sid": case.sid} if case.sid else {}),
            "twilio": None if isinstance(comparison, str) else [_text(message) for message in texts],
            **({"not_asked": comparison} if isinstance(comparison, str) else {}),
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


def _answer(unclaimed: Unclaimed, texts: Sequence[TwilioMessage], recorded: Sequence[str]) -> str:
    """
    Where the text is, in half a sentence. That there is none is said only of what was looked at.
    """
    comparison = unclaimed.comparison
    if texts:
        return " and ".join(_outcome(message) for message in texts)
    if recorded:
        return f"a row for that phone already carries {' and '.join(recorded)}"
    if isinstance(comparison, str):
        return f"Twilio was not asked, because {comparison}"
    senders = " from the configured senders" if comparison.coverage.get("out_of_scope") else ""
    part = "" if comparison.log_complete else ", in what could be read of its log"
    return f"Twilio has nothing for that phone{senders} around that time{part}"


def _outcome(message: TwilioMessage) -> str:
    if message.rejected:
        return f"Twilio refused one ({message.sid}) with error {message.error_code}"
    error = f" with error {message.error_code}" if message.error_code else ""
    return f"Twilio has {message.sid} for that phone, {message.status}{error}"


def _remedy(
    case: Case, unclaimed: Unclaimed, texts: Sequence[TwilioMessage], recorded: Sequence[str], evidence: Evidence
) -> str:
    if any(not message.rejected for message in texts):
        closing = "" if case.open else "; then set the booking's status to expired, for its time has run out"
        return f"Plan what was lost: {evidence.command('backfill')}{closing}"
    if texts:
        return f"Correct what error {texts[0].error_code} names, then text the customer again."
    if recorded:
        return "Compare that row with the booking; if it is its text, ignore this finding by its fingerprint."
    if isinstance(unclaimed.comparison, str):
        return f"Ask Twilio what became of it: {evidence.command('bookings')}"
    if not case.open:
        return "Set the booking's status to expired, for its time has run out."
    return "Text the customer again, and look why the application did not: booking-doctor check-env"


# --- a booking that was confirmed ------------------------------------------------------------------------------------

_UNRECORDED: Final = """
SELECT t.id, t.phone, t.status, t.created_at, t.confirmed_at, t.sid FROM told t
WHERE (t.status = 'confirmed' OR t.status IS NULL OR t.status <> ALL (CAST(:known AS text[])))
  AND t.sid <> '' AND coalesce(t.confirmed_at, t.created_at) <= :settled
  AND NOT EXISTS (SELECT FROM {messages} m WHERE m.{messages.message_sid} = t.sid)
ORDER BY t.created_at DESC, t.id DESC
"""


@check(Severity.ERROR)
def booking_sms_not_recorded(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
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
    missing = asked(evidence, _UNRECORDED, known=list(STATUSES))
    second = by_second_sid(evidence, [row["sid"] for row in missing])
    left = [row for row in missing if row["sid"] not in second]
    lost = [row for row in left if row["status"] == "confirmed"]
    if others := lost[NAMED:]:
        yield Fault(
            subject="booking/others",
            summary=f"{_bookings(len(others))} more, made before those named here, are the same.",
            remedy=f"Plan the missing rows: {evidence.command('backfill')}",
            evidence={"booking_id": None, "bookings": len(others), "oldest": iso(others[-1]["created_at"])},
            others=len(others),
        )
    for row in lost[:NAMED]:
        yield _lost(row, evidence)
    words = Counter(row["status"] for row in left if row["status"] != "confirmed")
    yield from _undecided(dict(words.most_common()), evidence)


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

_PENDING: Final = "SELECT count(*) AS bookings FROM booking WHERE status = 'pending'"


def counts(evidence: Evidence) -> tuple[dict[str, int], dict[str, JSONValue]]:
    """
    What the command ``bookings`` counts, and where in time the bookings went wrong.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    found, told, texts = evidence.once(survey), evidence.once(incomplete), evidence.once(unclaimed)
    empty = found.of(Lack.EMPTY)
    cases = [*empty, *told.cases]
    summary = {
        "pending_bookings": asked(evidence, _PENDING)[0]["bookings"],
        "metadata_empty": len(empty),
        "metadata_incomplete": len(told.cases),
        "sms_found_in_twilio": sum(texts.sent(case) for case in cases),
    }
    walked = {} if isinstance(texts.comparison, str) else texts.comparison.coverage
    by_hour = {f"{hour:%Y-%m-%dT%HZ}": bookings for hour, bookings in found.by_hour.items()}
    held = {"metadata": dict(sorted(Counter(case.metadata for case in cases).items())), "bad_by_hour": by_hour}
    shown = {name: value for name, value in held.items() if value}
    sids = {"sids_asked": told.asked, "sids_not_confirmed": told.unconfirmed}
    return summary, {**walked, **found.turn, **shown, **sids}
