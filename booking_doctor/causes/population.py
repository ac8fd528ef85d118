"""
The window's bookings as causes see them: which are bad, how long that lasted, and what became of their texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import wraps
from typing import Final

from msgspec import Struct

from booking_doctor.causes.cause import Reading, unknown
from booking_doctor.causes.signals import Dossier, Look
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.metadata import Lack
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

TAKEN: Final = 30000
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


class Bad(Struct, frozen=True, kw_only=True):
    """
    A booking, pending or confirmed, whose metadata does not lead to its text.

    Attributes:
        fate: None where Twilio could not be asked, or its log not be read to its end.
        text: Twilio's side of it.
    """

    case: Case
    fate: Fate | None
    text: TwilioMessage | None = None


class Population(Struct, frozen=True, kw_only=True):
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
    if (text.error_code or TAKEN) < TAKEN:
        return Fate.REFUSED
    lag = text.happened_at - case.created_at
    if lag > LATE:
        return Fate.LATE
    # NOTE: Twilio drops parts of a second, so a text of the same second is not early.
    return Fate.EARLY if lag <= timedelta(seconds=-1) else Fate.SENT
