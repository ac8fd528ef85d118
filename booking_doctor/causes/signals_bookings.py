"""
What the window's bookings show: how many are bad and since when, what their metadata holds, and what became of their texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import wraps
from statistics import mean, pstdev
from typing import Final

from booking_doctor.causes.cause import Reading, absent, seen, unknown
from booking_doctor.causes.signals import Dossier, Look, signal
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.metadata import OTHER_PHONE, Lack
from booking_doctor.checks.survey import Case, asked, survey
from booking_doctor.core.model import TwilioMessage, e164, same_number
from booking_doctor.discrepancies import BOOKED_AFTER, BOOKED_BEFORE, Comparison, Kind
from booking_doctor.errors import SettingsError, SourceError

MOST: Final = 0.9
"""A share that stands for all: a straggler or two does not make a fault one that comes and goes."""

MOSTLY: Final = 0.5
"""A share from which on one cause is what a fault is about, and not something beside it."""

STRAYS: Final = 0.2
"""A share of bad bookings that may have another cause than the rest."""

FEW: Final = 3
"""So many bookings are needed before their share says anything."""

LOST: Final = 30000
"""From this code on a text was taken and did not arrive; below, it was refused, by a messaging service after it was taken."""

LATE: Final = timedelta(seconds=60)
"""A text that was asked for in the request of its booking follows within seconds."""

LATEST: Final = timedelta(hours=12)
"""A text so long after its booking, or before it, may still be its own: an instance was woken, or a clock is off by a zone."""


class Fate(StrEnum):
    """
    What became of a booking's text.
    """

    SENT = "sent"
    LATE = "late"
    EARLY = "early"
    REFUSED = "refused"
    RECORDED = "recorded"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """
    A booking, pending or confirmed, whose metadata does not lead to its text.

    Attributes:
        fate: None where Twilio could not be asked, or its log not be read to its end.
        text: Twilio's side of it.
    """

    case: Case
    fate: Fate | None
    text: TwilioMessage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """
    The window's bookings that are pending or confirmed and old enough to be judged.

    Attributes:
        bad: Newest first. One whose text is recorded after all is in order.
        siege: The bad ones from when the fault began to when it ended, strays before and after left out.
        among: How many there were meanwhile, good ones too.
        later: How many good ones there are after the last bad one.
        last: The newest of all.
    """

    total: int
    bad: Sequence[Bad]
    siege: Sequence[Bad] = ()
    among: int = 0
    later: int = 0
    first_good: datetime | None = None
    last_good: datetime | None = None
    last: datetime | None = None

    @property
    def good(self) -> int:
        """
        How many are in order.
        """
        return self.total - len(self.bad)

    @property
    def share(self) -> float:
        """
        How many of those made while the fault lasted are bad.
        """
        return len(self.siege) / self.among if self.among else 0.0

    @property
    def mended(self) -> bool:
        """
        Whether so many are in order since the last bad one that the fault is over.
        """
        return self.share >= MOST and self.later >= FEW

    def empty(self) -> list[Bad]:
        """
        Those whose metadata says nothing of a text.
        """
        return [bad for bad in self.bad if bad.case.lack is Lack.EMPTY]


_TOTALS: Final = """
SELECT count(*) AS total, min(created_at) FILTER (WHERE good) AS first_good, max(created_at) FILTER (WHERE good) AS last_good,
  max(created_at) AS last, count(*) FILTER (WHERE good AND created_at > :last_bad) AS later
FROM judged WHERE status IN ('pending', 'confirmed')
"""

_NUMBERED: Final = """
SELECT id, number FROM (
  SELECT id, row_number() OVER (ORDER BY created_at DESC, id DESC) AS number FROM judged WHERE status IN ('pending', 'confirmed')
) n WHERE id = ANY (CAST(:ids AS text[])) ORDER BY number
"""

_RECORDED: Final = """
SELECT b.id, b.phone, CAST(m.{messages.to_number} AS text) AS to_number
FROM booking b JOIN {messages} m
  ON m.{messages.created_at} BETWEEN b.created_at - CAST(:before AS interval) AND b.created_at + CAST(:after AS interval)
WHERE b.id = ANY (CAST(:ids AS text[])) ORDER BY b.id
"""


def population(evidence: Evidence) -> Population:
    """
    The window's bookings and the fates of the bad ones' texts.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    found = evidence.once(survey)
    cases = [case for case in (*found.cases, *found.closed) if case.status in {"pending", "confirmed"}]
    recorded = _recorded(evidence, [case.id for case in cases])
    bad = sorted(_fates(evidence, cases, recorded), key=lambda bad: bad.case.created_at, reverse=True)
    last_bad = bad[0].case.created_at if bad else evidence.window.until
    totals = asked(evidence, _TOTALS, last_bad=last_bad)[0]
    numbers = (
        {row["id"]: row["number"] for row in asked(evidence, _NUMBERED, ids=[one.case.id for one in bad])}
        if bad
        else {}
    )
    siege = _siege([one for one in bad if one.case.id in numbers], numbers)
    among = numbers[siege[-1].case.id] - numbers[siege[0].case.id] + 1 if siege else 0
    return Population(bad=bad, siege=siege, among=among, **totals)


def _siege(bad: Sequence[Bad], numbers: Mapping[str, int]) -> Sequence[Bad]:
    """
    The bad ones without the strays at either end: what lies apart from the rest has another cause.

    Args:
        numbers: The place of each among all bookings, good ones too, newest first.
    """
    places = [numbers[one.case.id] for one in bad]
    oldest = _dense(places)
    newest = _dense([-place for place in reversed(places[:oldest])])
    return bad[oldest - newest : oldest]


def _dense(places: Sequence[int]) -> int:
    """
    Of how many of these places, from the first on, the most of what lies between them is made.
    """
    least = len(places) - int(STRAYS * len(places))
    counts = range(max(least, 1), len(places) + 1)
    return max(counts, key=lambda count: (count / (places[count - 1] - places[0] + 1), count), default=0)


def _recorded(evidence: Evidence, ids: Sequence[str]) -> set[str]:
    if not ids:
        return set()
    rows = asked(evidence, _RECORDED, ids=list(ids), before=BOOKED_AFTER, after=BOOKED_BEFORE)
    return {row["id"] for row in rows if same_number(row["to_number"], row["phone"], evidence.region)}


def comparison_of(evidence: Evidence) -> Comparison | None:
    """
    The comparison; None where there is none.
    """
    try:
        comparison = evidence.comparison
    except (SourceError, SettingsError):
        return None
    return comparison if comparison.counts else None


def of_log(look: Look) -> Look:
    """
    A look at Twilio's log: what was not seen in a part of it may be in the rest.
    """

    @wraps(look)
    def looked(dossier: Dossier) -> Reading:
        comparison = comparison_of(dossier.evidence)
        if comparison is None:
            return unknown("Twilio's log could not be read")
        reading = look(dossier)
        if reading.seen is False and not comparison.log_complete:
            return unknown(f"{reading.words}, as far as Twilio's log could be read")
        return reading

    return looked


_UNCLAIMED: Final = frozenset({Kind.UNRECORDED, Kind.REJECTED, Kind.IN_FLIGHT})


def _fates(evidence: Evidence, cases: Iterable[Case], recorded: set[str]) -> list[Bad]:
    """
    The bad bookings with their fates; a confirmed one whose text is recorded is none of them.
    """
    comparison = comparison_of(evidence)
    texts: dict[str | None, list[TwilioMessage]] = {}
    for discrepancy in comparison.discrepancies if comparison else ():
        message = discrepancy.message
        if discrepancy.kind in _UNCLAIMED and message is not None and not message.inbound:
            texts.setdefault(e164(message.to, evidence.region) or message.to, []).append(message)
    found = []
    for case in cases:
        if case.id in recorded and case.status == "confirmed":
            continue
        text = _nearest(case, texts.get(e164(case.phone, evidence.region) or case.phone, ()))
        fate = Fate.RECORDED if case.id in recorded else _fate(case, text) if comparison else None
        # NOTE: in a log that was read in part, what is not there may be in the other part.
        told = None if fate is Fate.NOTHING and comparison and not comparison.log_complete else fate
        found.append(Bad(case=case, fate=told, text=text))
    return found


def _nearest(case: Case, texts: Sequence[TwilioMessage]) -> TwilioMessage | None:
    near = [text for text in texts if abs(text.happened_at - case.created_at) <= LATEST]
    return min(near, key=lambda text: abs(text.happened_at - case.created_at), default=None)


def _fate(case: Case, text: TwilioMessage | None) -> Fate:
    if text is None:
        return Fate.NOTHING
    if (text.error_code or LOST) < LOST:
        return Fate.REFUSED
    lag = text.happened_at - case.created_at
    if lag > LATE:
        return Fate.LATE
    # NOTE: Twilio drops parts of a second, so a text of the same second is not early.
    return Fate.EARLY if lag <= timedelta(seconds=-1) else Fate.SENT


# --- how many, and since when ----------------------------------------------------------------------------------------


@signal
def bookings_bad(dossier: Dossier) -> Reading:
    """
    There are bookings whose metadata does not lead to their text.
    """
    found = dossier.once(population)
    words = f"{_bookings(len(found.bad))} of {found.total:,} {'does' if len(found.bad) == 1 else 'do'} not lead to their text"
    return seen(words) if found.bad else absent(_healthy(found))


@signal
def bookings_all_bad(dossier: Dossier) -> Reading:
    """
    While the fault lasts nearly all bookings are bad: what is wrong is wrong for everybody.
    """
    found = dossier.once(population)
    return _while_it_lasts(found, seen if found.share >= MOST else absent)


@signal
def bookings_some_bad(dossier: Dossier) -> Reading:
    """
    Bad and good bookings alternate: what is wrong depends on the booking, on load or on luck.
    """
    found = dossier.once(population)
    return _while_it_lasts(found, seen if found.share < MOST else absent)


def _while_it_lasts(found: Population, judge: Callable[[str], Reading]) -> Reading:
    if not found.bad:
        return unknown(_healthy(found))
    if found.among < FEW:
        return unknown(f"there are only {_bookings(found.among)} since the first bad one")
    first, last = found.siege[-1].case.created_at, found.siege[0].case.created_at
    since = f"from {_moment(first)} to {_moment(last)}" if found.mended else f"since {_moment(first)}"
    return judge(f"{len(found.siege):,} of {_bookings(found.among)} {since} are bad")


@signal
def bookings_turned_bad(dossier: Dossier) -> Reading:
    """
    Bookings were in order, and from one moment on they are not.
    """
    found = dossier.once(population)
    if not found.bad:
        return unknown(_healthy(found))
    first_bad = found.siege[-1].case.created_at
    before = found.first_good is not None and found.first_good < first_bad
    if not before:
        return absent("no good booking came before the first bad one")
    return seen(f"bookings were in order until {_moment(first_bad)}")


@signal
def bookings_old_ones_bad(dossier: Dossier) -> Reading:
    """
    Every older booking is bad and every younger one is good: a sharp edge of age.
    """
    found = dossier.once(population)
    if len(found.bad) < FEW or found.good < FEW:
        return unknown("there are too few bookings to see an edge of age")
    newest_bad = found.bad[0].case.created_at
    if found.first_good is None or found.first_good <= newest_bad:
        return absent("good and bad ones are of the same age")
    return seen(f"all bookings made until {_moment(newest_bad)} are bad and all later ones are good")


_PACE: Final = """
SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY gap) AS gap, count(*) AS bookings FROM (
  SELECT EXTRACT(epoch FROM created_at - lag(created_at) OVER (ORDER BY created_at)) AS gap FROM judged) g
"""
_LONG: Final = 3
"""So many times the usual gap between two bookings is no chance."""


@signal
def bookings_stopped(dossier: Dossier) -> Reading:
    """
    Bookings came at some pace, and none has come for much longer than that.
    """
    found, row = dossier.once(population), asked(dossier.evidence, _PACE)[0]
    if found.last is None or row["bookings"] < FEW + 1:
        return unknown("there are too few bookings to have a pace")
    idle, gap = dossier.evidence.now - found.last, timedelta(seconds=float(row["gap"]))
    words = f"the last booking was made {_age(idle)} ago, and nine of ten gaps between two are below {_age(gap)}"
    return seen(words) if idle > _LONG * gap else absent(words)


_LIVES: Final = """
SELECT EXTRACT(epoch FROM p.{pending_bookings.updated_at} - p.{pending_bookings.created_at}) AS seconds
FROM {pending_bookings} p WHERE CAST(p.{pending_bookings.id} AS text) = ANY (CAST(:ids AS text[]))
"""


@signal
def bookings_emptied_at_one_age(dossier: Dossier) -> Reading:
    """
    The empty bookings were last written at nearly the same age each: something goes by the clock.
    """
    empty = dossier.once(population).empty()
    if len(empty) < FEW:
        return unknown("there are too few empty bookings to compare their ages")
    rows = dossier.evidence.database.rows(_LIVES, ids=[bad.case.id for bad in empty])
    ages = [float(row["seconds"]) for row in rows if row["seconds"] is not None]
    if len(ages) < FEW or mean(ages) < 60:
        return absent("the empty bookings were not written again after they were made")
    words = f"the empty bookings were last written {timedelta(seconds=round(mean(ages)))} after they were made"
    return (
        seen(f"{words}, all of them") if pstdev(ages) < 0.05 * mean(ages) else absent(f"{words} on average, not each")
    )


# --- what the metadata holds -----------------------------------------------------------------------------------------


def _holding(dossier: Dossier, holds: Callable[[str], bool], what: str) -> Reading:
    found = dossier.once(population)
    matching = [bad for bad in found.bad if holds(bad.case.metadata)]
    if not matching:
        return absent(f"no booking holds {what}")
    return seen(f"{_bookings(len(matching))} of {found.total:,} {'holds' if len(matching) == 1 else 'hold'} {what}")


@signal
def metadata_null(dossier: Dossier) -> Reading:
    """
    Bookings hold null, or an array, where an object should be.
    """
    return _holding(dossier, lambda held: held == "null" or held.startswith("an array"), "null or an array")


@signal
def metadata_string(dossier: Dossier) -> Reading:
    """
    Bookings hold a JSON string instead of an object: something was encoded twice.
    """
    return _holding(dossier, lambda held: held == "a string instead of an object", "a JSON string instead of an object")


@signal
def metadata_other_keys(dossier: Dossier) -> Reading:
    """
    Bookings hold other keys in their metadata, and none of the text.
    """
    return _holding(dossier, lambda held: held == "no initial_sms", "other keys and no initial_sms")


@signal
def metadata_without_sid(dossier: Dossier) -> Reading:
    """
    Bookings hold an initial_sms without a SID: what was stored was not there yet, or is no data.
    """
    return _holding(
        dossier,
        lambda held: held == "an initial_sms without message_sid" or " as initial_sms" in held,
        "an initial_sms without SID",
    )


@signal
def metadata_of_another(dossier: Dossier) -> Reading:
    """
    Bookings hold the text of another customer.
    """
    return _holding(dossier, lambda held: held == OTHER_PHONE, "the text to another phone")


@signal
def metadata_unreadable(dossier: Dossier) -> Reading:
    """
    Bookings hold what is no JSON at all.
    """
    return _holding(dossier, lambda held: held == "no JSON", "what is no JSON")


_ENCODED: Final = r"""
SELECT count(*) AS bookings FROM booking WHERE CAST(metadata AS text) ~ '^\s*"\s*(\{|\[)'
"""


@signal
def metadata_encoded_twice(dossier: Dossier) -> Reading:
    """
    Bookings hold a JSON string that is itself JSON.
    """
    number = asked(dossier.evidence, _ENCODED)[0]["bookings"]
    words = f"{_bookings(number)} hold JSON inside a JSON string"
    return seen(words) if number else absent("no booking holds JSON inside a JSON string")


_HOLLOW: Final = """
SELECT count(*) AS bookings FROM document p
WHERE p.document -> 'initial_sms' IS NOT NULL AND jsonb_typeof(p.document -> 'initial_sms') = 'object'
  AND NOT p.document -> 'initial_sms' ?| ARRAY['message_sid', 'state']
"""


@signal
def metadata_hollow(dossier: Dossier) -> Reading:
    """
    Bookings hold an initial_sms that has neither a SID nor a state: it was written, and what was meant was not in it.
    """
    number = asked(dossier.evidence, _HOLLOW)[0]["bookings"]
    words = f"{_bookings(number)} hold an initial_sms with neither a SID nor a state"
    return seen(words) if number else absent("no booking holds a hollow initial_sms")


_MIXED_UP: Final = """
SELECT count(*) AS bookings FROM booking b JOIN booking o ON o.phone = b.number AND o.id <> b.id
WHERE b.named IS NOT NULL AND b.number IS NOT NULL AND b.number <> b.phone
"""


@signal
def metadata_of_another_booking(dossier: Dossier) -> Reading:
    """
    Bookings hold the text that went to the phone of another booking of the window.
    """
    number = asked(dossier.evidence, _MIXED_UP)[0]["bookings"]
    words = f"{_bookings(number)} hold the text of another booking's phone"
    return seen(words) if number else absent("no booking holds the text of another one")


_TOKENS: Final = r"""
SELECT j.good AS good, count(*) AS tokens,
  count(*) FILTER (WHERE p.{pending_bookings.token} <> btrim(p.{pending_bookings.token}, E' \t\r\n\u00a0\u200b\ufeff')) AS padded,
  count(*) FILTER (WHERE p.{pending_bookings.token} ~ '[^[:ascii:]]') AS foreign,
  count(*) FILTER (WHERE p.{pending_bookings.token} ~ '[+/%&=#? ]') AS unsafe,
  count(*) FILTER (WHERE p.{pending_bookings.token} <> lower(p.{pending_bookings.token})) AS mixed
FROM judged j JOIN {pending_bookings} p ON CAST(p.{pending_bookings.id} AS text) = j.id
WHERE j.status IN ('pending', 'confirmed') GROUP BY 1
"""
_TOKEN_KINDS: Final = {
    "padded": "blanks at an end",
    "foreign": "characters beyond ASCII",
    "unsafe": "characters that a URL changes",
    "mixed": "capital letters",
}


@signal
def tokens_of_bad_odd(dossier: Dossier) -> Reading:
    """
    The bad bookings' tokens have something that the good ones' have not, and that gets lost on the way.
    """
    if not dossier.once(population).bad:
        return unknown("no booking is bad")
    counts = {row["good"]: row for row in asked(dossier.evidence, _TOKENS)}
    bad, good = counts.get(False), counts.get(True)
    if bad is None:
        return absent("no booking is bad")
    for kind, words in _TOKEN_KINDS.items():
        # NOTE: without a good one to compare with, capital letters say nothing: most tokens have them.
        rare = good["tokens"] and good[kind] <= (1 - MOST) * good["tokens"] if good else kind != "mixed"
        if bad[kind] >= MOST * bad["tokens"] and rare:
            others = f"{good[kind]:,} of {good['tokens']:,} good ones" if good else "there are no good ones"
            return seen(f"{bad[kind]:,} of {bad['tokens']:,} bad bookings have tokens with {words}; {others}")
    return absent("the tokens of bad bookings are like those of good ones, or plain")


# --- what became of their texts --------------------------------------------------------------------------------------


def _fated(dossier: Dossier, fates: set[Fate], share: float, what: str) -> Reading:
    """
    Whether that became of more than *share* of the texts.
    """
    bad = dossier.once(population).bad
    told = [one for one in bad if one.fate is not None]
    if not bad:
        return unknown("no booking is bad")
    if not told:
        return unknown("Twilio's log could not be read")
    if len(told) < len(bad):
        return unknown("Twilio's log could not be read to its end")
    matching = [one for one in told if one.fate in fates]
    words = f"{what} {len(matching):,} of {len(told):,} bad bookings"
    return seen(words) if matching and len(matching) >= share * len(told) else absent(words)


@signal
def texts_of_bad_sent(dossier: Dossier) -> Reading:
    """
    Twilio took the texts of the bad bookings: the fault is behind the sending.
    """
    return _fated(dossier, {Fate.SENT, Fate.LATE, Fate.EARLY, Fate.RECORDED}, MOST, "Twilio took a text for")


@signal
def texts_of_bad_missing(dossier: Dossier) -> Reading:
    """
    Twilio has nothing for the bad bookings: the fault is before the sending.
    """
    return _fated(dossier, {Fate.NOTHING}, MOST, "Twilio has no text for")


@signal
def texts_of_bad_partly(dossier: Dossier) -> Reading:
    """
    Twilio took the texts of some bad bookings and has nothing for others.
    """
    told = Counter(one.fate for one in dossier.once(population).bad if one.fate is not None)
    sent = told[Fate.SENT] + told[Fate.LATE] + told[Fate.EARLY]
    words = f"Twilio took a text for {sent:,} of the bad bookings and has none for {told[Fate.NOTHING]:,}"
    if not told:
        return unknown("no booking is bad, or Twilio could not be asked")
    return seen(words) if sent and told[Fate.NOTHING] else absent(words)


@signal
def texts_of_bad_refused(dossier: Dossier) -> Reading:
    """
    Twilio refused the texts of bad bookings.
    """
    return _fated(dossier, {Fate.REFUSED}, 0.0, "Twilio refused a text for")


@signal
def texts_of_bad_late(dossier: Dossier) -> Reading:
    """
    Texts were sent long after the request of their booking was answered.
    """
    found = [one.text.happened_at - one.case.created_at for one in _texted(dossier, Fate.LATE) if one.text]
    if not found:
        return absent("no text came more than a minute after its booking")
    if len(found) >= FEW and max(found) - min(found) < LATE:
        return absent(f"texts came {min(found)} after their bookings, each time the same: that is a clock")
    return seen(f"{len(found):,} texts came up to {max(found)} after their booking was made")


@signal
def texts_of_bad_early(dossier: Dossier) -> Reading:
    """
    Texts were sent before the row of their booking was there.
    """
    found = _texted(dossier, Fate.EARLY)
    early = [one for one in found if one.text and one.case.created_at - one.text.happened_at < LATE]
    return (
        seen(f"{len(early):,} texts went out before their booking's row was made")
        if early
        else absent("no text went out before its booking's row was made")
    )


def _texted(dossier: Dossier, fate: Fate) -> list[Bad]:
    return [one for one in dossier.once(population).bad if one.fate is fate]


# --- words -----------------------------------------------------------------------------------------------------------


def _healthy(found: Population) -> str:
    return f"all {found.total:,} bookings of the window lead to their texts" if found.total else "there is no booking"


def _bookings(number: int) -> str:
    return f"{number:,} booking" if number == 1 else f"{number:,} bookings"


def _age(age: timedelta) -> str:
    hours, minutes = divmod(round(age.total_seconds() / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
