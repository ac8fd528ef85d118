"""
What the window's bookings show: how many are bad and since when, what their metadata holds, and what became of their texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from statistics import mean, pstdev
from typing import Final

from booking_doctor.causes.cause import Reading, absent, seen, unknown
from booking_doctor.causes.population import FEW, LATE, MOST, Bad, Fate, Population, population
from booking_doctor.causes.signals import Dossier, signal
from booking_doctor.checks.metadata import OTHER_PHONE
from booking_doctor.checks.survey import asked

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
