"""
Where Twilio's log and the application's rows contradict each other: statuses, segments, SIDs, doubles, times, owners.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from statistics import median
from typing import Any, Final

from booking_doctor.causes.cause import Reading, absent, seen, unknown
from booking_doctor.causes.population import FEW, LATE, LATEST, MOST, of_log, population
from booking_doctor.causes.signals import Dossier, signal
from booking_doctor.causes.signals_twilio import counted, disagreeing
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.metadata import UNKNOWN
from booking_doctor.checks.sids import incomplete
from booking_doctor.checks.survey import asked
from booking_doctor.core.model import FINAL_RANK, STATUS_RANK
from booking_doctor.discrepancies import Discrepancy, Kind

# --- where its log and the rows contradict each other ----------------------------------------------------------------


def _mismatched(dossier: Dossier, field: str) -> list[tuple[Discrepancy, str, str]]:
    return [
        (found, difference.recorded, difference.twilio)
        for found in disagreeing(dossier.evidence, Kind.MISMATCHED)
        for difference in found.differences
        if difference.field == field
    ]


@signal
@of_log
def status_behind(dossier: Dossier) -> Reading:
    """
    Rows keep an early status of texts that Twilio says have ended.
    """
    behind = [
        found
        for found, recorded, twilio in _mismatched(dossier, "status")
        if STATUS_RANK[recorded] < FINAL_RANK <= STATUS_RANK[twilio]
    ]
    words = f"{counted(len(behind), 'row')} kept an early status of a text that has ended"
    return seen(words) if behind else absent(words)


@signal
@of_log
def status_claims_delivered(dossier: Dossier) -> Reading:
    """
    Rows say delivered of texts that Twilio does not say that of.
    """
    wrong = [twilio for _, recorded, twilio in _mismatched(dossier, "status") if recorded in {"delivered", "read"}]
    words = f"{counted(len(wrong), 'row')} claimed a delivery that Twilio does not know of"
    return seen(words) if wrong else absent(words)


@signal
@of_log
def segments_differ(dossier: Dossier) -> Reading:
    """
    Rows count other segments than Twilio.
    """
    found = _mismatched(dossier, "segments")
    words = f"{counted(len(found), 'row')} counted other segments than Twilio"
    return seen(words) if found else absent(words)


@signal
@of_log
def segments_counted_by_160(dossier: Dossier) -> Reading:
    """
    The rows' segments are those of the text's length divided by 160, which is only right for short plain texts.
    """
    found = [(one.message.body or "", recorded) for one, recorded, _ in _mismatched(dossier, "segments") if one.message]
    naive = [body for body, recorded in found if recorded == str(max(ceil(len(body) / 160), 1))]
    words = f"{len(naive):,} of {len(found):,} of them hold the length divided by 160"
    return seen(words) if found and len(naive) >= MOST * len(found) else absent(words)


_STATUSES: Final = """
SELECT CAST({messages.status} AS text) AS status, count(*) AS rows FROM {messages}
WHERE {messages.created_at} >= :since AND {messages.created_at} < :until AND CAST({messages.direction} AS text) <> 'inbound'
GROUP BY 1 ORDER BY 2 DESC, 1
"""


def statuses(evidence: Evidence) -> dict[str | None, int]:
    """
    How many outbound rows of the window have each status, those not counted that are too young to have another.
    """
    window = evidence.window
    until = min(window.until, evidence.now - timedelta(minutes=15))
    rows = evidence.database.rows(_STATUSES, since=window.since, until=until)
    return {row["status"]: row["rows"] for row in rows}


@signal
def every_status_delivered(dossier: Dossier) -> Reading:
    """
    Every outbound row says delivered: a status that never varies was not told by anybody.
    """
    counts = dossier.once(statuses)
    total = sum(counts.values())
    if total < FEW:
        return unknown("there are too few rows to see whether their status varies")
    words = f"{counts.get('delivered', 0):,} of {total:,} outbound rows say delivered"
    return seen(words) if set(counts) == {"delivered"} else absent(words)


@signal
def no_status_final(dossier: Dossier) -> Reading:
    """
    No outbound row ever got beyond an early status.
    """
    counts = dossier.once(statuses)
    total = sum(counts.values())
    final = sum(rows for status, rows in counts.items() if STATUS_RANK.get(status or "", 0) >= FINAL_RANK)
    words = f"{final:,} of {counted(total, 'outbound row')} got beyond an early status"
    return seen(words) if total and not final else absent(words)


@signal
def callbacks_refused(dossier: Dossier) -> Reading:
    """
    Twilio's status callbacks came and were refused or failed.
    """
    return dossier.finding("log-webhook-error")


@signal
def callbacks_never_came(dossier: Dossier) -> Reading:
    """
    The application logs webhooks, and no status callback is among them.
    """
    database, window = dossier.evidence.database, dossier.evidence.window
    if not database.has("webhook_logs"):
        return unknown("the application keeps no log of webhooks")
    question = (
        "SELECT count(*) AS entries FROM {webhook_logs} WHERE {webhook_logs.created_at} >= :since"
        " AND {webhook_logs.created_at} < :until"
    )
    entries = database.rows(question, since=window.since, until=window.until)[0]["entries"]
    words = f"webhook_logs has {entries:,} entries of the window"
    return absent(words) if entries else seen(words)


# --- SIDs that exist nowhere -----------------------------------------------------------------------------------------


def _unknown_rows(evidence: Evidence) -> list[Any]:
    return [found.row for found in disagreeing(evidence, Kind.UNKNOWN) if found.row]


@signal
@of_log
def sids_unknown(dossier: Dossier) -> Reading:
    """
    Rows carry SIDs for which Twilio answers 404 in this account.
    """
    rows = disagreeing(dossier.evidence, Kind.UNKNOWN)
    words = f"{counted(len(rows), 'row')} carried a SID that this account does not know"
    return seen(words) if rows else absent(words)


@signal
@of_log
def sids_of_bookings_unknown(dossier: Dossier) -> Reading:
    """
    Bookings hold SIDs for which Twilio answers 404 in this account.
    """
    found = [case for case in dossier.once(incomplete).cases if case.metadata == UNKNOWN]
    words = f"{counted(len(found), 'booking')} held a SID that this account does not know"
    return seen(words) if found else absent(words)


@signal
@of_log
def every_sid_unknown(dossier: Dossier) -> Reading:
    """
    From one moment on this account knows none of the SIDs that the application got: somebody else gave them.
    """
    moments = sorted(row.created_at for row in _unknown_rows(dossier.evidence) if row.created_at)
    moments += [case.created_at for case in dossier.once(incomplete).cases if case.metadata == UNKNOWN]
    if len(moments) < FEW - 1:
        return absent("there are not several SIDs that this account does not know")
    since = min(moments)
    known = [
        found
        for found in dossier.evidence.comparison.discrepancies
        if found.message and not found.message.rejected and found.message.happened_at >= since
    ]
    rows = dossier.evidence.database.rows(
        "SELECT count(*) AS rows FROM {messages} WHERE {messages.created_at} >= :since", since=since
    )[0]["rows"]
    alien = len(_unknown_rows(dossier.evidence))
    words = f"since {since:%Y-%m-%d %H:%M} UTC this account knows {rows - alien + len(known):,} of the SIDs, and {len(moments):,} not"
    return seen(words) if rows - alien + len(known) <= (1 - MOST) * len(moments) else absent(words)


@signal
@of_log
def unknown_rows_unpriced(dossier: Dossier) -> Reading:
    """
    Rows with an unknown SID were never billed and never got beyond an early status: nobody ever sent their texts.
    """
    rows = _unknown_rows(dossier.evidence)
    if not rows:
        return absent("no row carries an unknown SID")
    early = [row for row in rows if not row.cost_usd and STATUS_RANK.get(row.status or "", 0) < FINAL_RANK]
    words = (
        f"{len(early):,} of {counted(len(rows), 'row')} with an unknown SID were never billed nor got a final status"
    )
    return seen(words) if len(early) >= MOST * len(rows) else absent(words)


@signal
def magic_sender(dossier: Dossier) -> Reading:
    """
    Texts come from Twilio's magic number, which only test credentials take.
    """
    question = "SELECT count(*) AS rows FROM {messages} WHERE {messages.from_number} = '+15005550006'"
    rows = dossier.evidence.database.rows(question)[0]["rows"]
    held = asked(
        dossier.evidence,
        "SELECT count(*) AS rows FROM booking WHERE strpos(CAST(metadata AS text), '+15005550006') > 0",
    )[0]["rows"]
    words = f"{rows + held:,} texts came from Twilio's magic number"
    return seen(words) if rows + held else absent("no text came from Twilio's magic number")


# --- texts that were sent twice --------------------------------------------------------------------------------------

TWICE_AFTER: Final = timedelta(seconds=3)
TWICE_WITHIN: Final = timedelta(minutes=3)
"""A retry follows within the time-outs of a browser, a function or a queue; two texts at once are two texts."""

_LIKE: Final = """
SELECT CAST({messages.to_number} AS text) AS number, {messages.body} AS body, {messages.created_at} AS at FROM {messages}
WHERE {messages.message_sid} <> '' AND {messages.created_at} >= :since AND CAST({messages.direction} AS text) <> 'inbound'
  AND {messages.to_number} = ANY (CAST(:numbers AS text[]))
"""


@signal
@of_log
def texts_sent_twice(dossier: Dossier) -> Reading:
    """
    One phone got the same text twice within minutes, and only one of them is known to the application.
    """
    evidence = dossier.evidence
    times: dict[tuple[str | None, str | None], list[tuple[datetime, bool]]] = {}
    for found in disagreeing(evidence, Kind.UNRECORDED, Kind.DEFERRED):
        message = found.message
        if message and message.body and not message.inbound:
            sent = (message.happened_at, found.kind is Kind.UNRECORDED)
            times.setdefault((message.to, message.body), []).append(sent)
    numbers = sorted({number for number, _ in times if number})
    for row in evidence.database.rows(_LIKE, since=evidence.window.since, numbers=numbers) if numbers else ():
        if (key := (row["number"], row["body"])) in times:
            times[key].append((row["at"], False))
    pairs = [pair for sent in times.values() for pair in pairwise(sorted(sent))]
    twice = [
        (one, other)
        for (one, lost), (other, lost_too) in pairs
        if TWICE_AFTER <= other - one <= TWICE_WITHIN and (lost or lost_too)
    ]
    words = f"{counted(len(twice), 'text')} went out a second time within {TWICE_WITHIN.seconds // 60} minutes"
    return seen(words) if twice else absent("no phone got one text twice within minutes")


# --- clocks ----------------------------------------------------------------------------------------------------------

_SHIFTED_BY: Final = timedelta(minutes=25)
_QUARTER_S: Final = 900
_SAMPLE: Final = 8
"""So many rows' texts are asked for by SID, to compare their times."""

_NEWEST: Final = """
SELECT {messages.message_sid} AS sid, {messages.created_at} AS at FROM {messages}
WHERE {messages.created_at} >= :since AND {messages.created_at} < :until AND length({messages.message_sid}) = 34
ORDER BY {messages.created_at} DESC, {messages.id} DESC LIMIT :sample
"""


@signal
@of_log
def times_shifted(dossier: Dossier) -> Reading:
    """
    The database's times and Twilio's differ by the same quarters of an hour each time: a zone was lost.
    """
    evidence = dossier.evidence
    bookings, rows = _shift(list(_of_bookings(evidence))), _shift(list(_of_rows(evidence)))
    return next((reading for reading in (bookings, rows) if reading.seen), rows if bookings.seen is None else bookings)


def _of_bookings(evidence: Evidence) -> Iterator[timedelta]:
    """
    How long after its booking each text seems to have gone out.
    """
    for found in disagreeing(evidence, Kind.DEFERRED, Kind.UNRECORDED):
        for booking in found.candidates.named[:1]:
            if found.message and booking.created_at:
                yield found.message.happened_at - booking.created_at
    for bad in evidence.once(population).bad:
        if bad.text and abs(bad.text.happened_at - bad.case.created_at) <= LATEST:
            yield bad.text.happened_at - bad.case.created_at


def _of_rows(evidence: Evidence) -> Iterator[timedelta]:
    """
    How long before its row each of the newest texts seems to have gone out.
    """
    window = evidence.window
    rows = evidence.database.rows(_NEWEST, since=window.since, until=window.until, sample=_SAMPLE)
    times = {row["sid"]: row["at"] for row in rows}
    for sid, message in evidence.fetch(list(times)) if times else ():
        if message:
            yield times[sid] - message.happened_at


def _shift(offsets: Sequence[timedelta]) -> Reading:
    if len(offsets) < FEW - 1:
        return unknown("too few texts have a time on both sides")
    middle = median(offset.total_seconds() for offset in offsets)
    alike = [offset for offset in offsets if abs(offset.total_seconds() - middle) < LATE.total_seconds()]
    words = f"times here and at Twilio differ by {timedelta(seconds=round(abs(middle)))}"
    beside = abs(middle - _QUARTER_S * round(middle / _QUARTER_S))
    if (
        abs(middle) < _SHIFTED_BY.total_seconds()
        or beside > 2 * LATE.total_seconds()
        or len(alike) < MOST * len(offsets)
    ):
        return absent(f"{words} in the middle of {len(offsets):,}, which is no lost zone")
    return seen(f"{words}, {len(alike):,} times of {len(offsets):,}")


# --- whose they are --------------------------------------------------------------------------------------------------


@signal
@of_log
def texts_of_several_customers(dossier: Dossier) -> Reading:
    """
    Texts are not recorded whose phone several customers have.
    """
    lost = disagreeing(dossier.evidence, Kind.UNRECORDED)
    shared = [found for found in lost if len(found.candidates.customers) > 1]
    words = f"{len(shared):,} of {counted(len(lost), 'unrecorded text')} went to a phone of several customers"
    return seen(words) if shared else absent(words)


@signal
@of_log
def texts_unrecorded_are_shared(dossier: Dossier) -> Reading:
    """
    Nearly all unrecorded texts went to phones that several customers have, and others are recorded.
    """
    lost = disagreeing(dossier.evidence, Kind.UNRECORDED)
    shared = [found for found in lost if len(found.candidates.customers) > 1]
    if len(shared) < FEW - 1 or not dossier.evidence.comparison.counts["matched"]:
        return absent("too few texts to phones of several customers are lost, or no other is recorded")
    words = f"{len(shared):,} of {counted(len(lost), 'unrecorded text')} went to a phone of several customers"
    return seen(words) if shared and len(shared) >= MOST * len(lost) else absent(words)


@signal
@of_log
def texts_mostly_orphaned(dossier: Dossier) -> Reading:
    """
    Nearly all unrecorded texts went to phones that neither a booking nor a customer has.
    """
    lost = disagreeing(dossier.evidence, Kind.UNRECORDED)
    orphaned = [found for found in lost if found.orphaned]
    words = f"{len(orphaned):,} of {counted(len(lost), 'unrecorded text')} went to somebody unknown here"
    return seen(words) if orphaned and len(orphaned) >= MOST * len(lost) else absent(words)
