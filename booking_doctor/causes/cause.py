"""
What a cause is, and how causes are weighed against what was seen.

A signal is read once and has three values: seen, not seen, or not known. Weighing is one pure function of readings; it
knows nothing of where they come from.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from msgspec import Struct

from booking_doctor.findings import CauseVerdict

HEADINGS: Final = ("## How it works", "## What shows it", "## What it is not", "## How to repair")
"""What every cause's page has, in this order, after its opening."""

LIKELY: Final = 5
"""From this weight on a cause that nothing decides is likely: one strong sign and what goes with it."""

STRONG, FAIR, WEAK = 4, 2, 1
"""How much a sign weighs: hardly anything else shows it; few others do; many do."""


LOST: Final = ("booking-metadata-empty", "message-unrecorded", "probe-not-kept")
"""Harm that most causes do: nothing is stored in the booking, or its text is in no row."""


class Reading(Struct, frozen=True):
    """
    What a signal says.

    Attributes:
        seen: None where it could not be looked at.
        words: What was seen, what was seen instead, or why nothing is known; half a sentence, fit to be shown.
    """

    seen: bool | None
    words: str


def seen(words: str) -> Reading:
    """
    It is so.
    """
    return Reading(True, words)


def absent(words: str) -> Reading:
    """
    It was looked at and is not so.
    """
    return Reading(False, words)


def unknown(why: str) -> Reading:
    """
    It could not be looked at.
    """
    return Reading(None, why)


NOT_READ: Final = unknown("it was not looked at")


class Layer(StrEnum):
    """
    Where a cause sits.
    """

    DEPLOYMENT = "deployment"
    ENVIRONMENT = "environment"
    APPLICATION = "application"
    DATABASE = "database"
    TWILIO = "twilio"
    DATA = "data"


class Clue(Struct, frozen=True):
    """
    What a signal means for one cause.

    Attributes:
        weight: What it adds when it is seen; below 0 it speaks against the cause.
        otherwise: What it adds when it was looked for and not seen; never of the same sign.
    """

    signal: str
    weight: int
    otherwise: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """
    One entry of the catalogue.

    Attributes:
        page: What ``explain`` shows, in Markdown: an opening, then `HEADINGS`.
        explains: Signals, findings among them, of the harm that it does. Where none is seen, it is no more than possible.
        signs: Signals that show it in how things are set up. Without any of either kind it is no candidate.
        proofs: Sets of signals; where all of one set are seen, and harm, the cause is confirmed.
        needs: Sets of signals; where none of one set is seen although all were looked at, the cause is excluded, and while
            none of one is seen it is no more than possible.
        refuted_by: Signals each of which excludes it.
        remedy: What to do first, with a command or SQL to run; `remedies` names findings that know it better.
    """

    id: str
    layer: Layer
    page: str = field(repr=False)
    explains: tuple[str, ...]
    signs: tuple[str, ...] = ()
    clues: tuple[Clue, ...] = ()
    proofs: tuple[tuple[str, ...], ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    refuted_by: tuple[str, ...] = ()
    remedy: str
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "page", inspect.cleandoc(self.page))
        places = [self.page.find(f"\n{heading}\n") for heading in HEADINGS]
        if -1 in places or places != sorted(places):
            message = f"the page of {self.id} needs {', '.join(HEADINGS)}, in this order"
            raise TypeError(message)
        if any(clue.weight * clue.otherwise > 0 for clue in self.clues):
            message = f"a clue of {self.id} means the same whether it is seen or not"
            raise TypeError(message)

    @property
    def title(self) -> str:
        """
        The page's first sentence, without its full stop.
        """
        return re.split(r"\.(?:\s|$)", self.page, maxsplit=1)[0].replace("\n", " ")

    @property
    def signals(self) -> frozenset[str]:
        """
        Every signal that means something for it.
        """
        named = (
            *self.proofs,
            *self.needs,
            self.explains,
            self.signs,
            self.refuted_by,
            (clue.signal for clue in self.clues),
        )
        return frozenset(signal for signals in named for signal in signals)


class Weighed(Struct, frozen=True, kw_only=True):
    """
    A cause after weighing.

    Attributes:
        because, against: What speaks for and against it, in words.
        unknown: What would have decided, and why it is not known.
    """

    cause: Cause
    verdict: CauseVerdict
    weight: int
    because: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def weigh(readings: Mapping[str, Reading], causes: Sequence[Cause]) -> list[Weighed]:
    """
    The causes that explain something of what is seen: the surest first, then the weightiest, then in their own order.
    """
    weighed = [_weighed(cause, readings) for cause in causes if _seen((*cause.explains, *cause.signs), readings)]
    order = list(CauseVerdict)
    return sorted(weighed, key=lambda found: (order.index(found.verdict), -found.weight))


def unexplained(symptoms: Iterable[str], readings: Mapping[str, Reading], weighed: Sequence[Weighed]) -> list[str]:
    """
    Those of *symptoms* that are seen and that no confirmed or likely cause explains.
    """
    explained = {
        symptom
        for found in weighed
        if found.verdict in {CauseVerdict.CONFIRMED, CauseVerdict.LIKELY}
        for symptom in found.cause.explains
    }
    return [name for name in symptoms if _reading(name, readings).seen and name not in explained]


def _weighed(cause: Cause, readings: Mapping[str, Reading]) -> Weighed:
    told = _seen((*cause.explains, *cause.signs), readings)
    weight = len(told) + sum(_worth(clue, readings) for clue in cause.clues)
    return Weighed(
        cause=cause,
        verdict=_verdict(cause, readings, weight),
        weight=weight,
        because=_words(_for(cause, readings), readings),
        against=_words(_against(cause, readings), readings),
        unknown=_words(_open(cause, readings), readings),
    )


def _verdict(cause: Cause, readings: Mapping[str, Reading], weight: int) -> CauseVerdict:
    if _seen(cause.refuted_by, readings) or any(_none_of(group, readings) for group in cause.needs):
        return CauseVerdict.EXCLUDED
    if not _seen(cause.explains, readings):
        return CauseVerdict.POSSIBLE
    if any(_all_of(group, readings) for group in cause.proofs):
        return CauseVerdict.CONFIRMED
    # NOTE: what a cause cannot be without must be seen before it is likely; not excluded is not enough.
    whole = all(_seen(group, readings) for group in cause.needs)
    return CauseVerdict.LIKELY if weight >= LIKELY and whole else CauseVerdict.POSSIBLE


def _reading(name: str, readings: Mapping[str, Reading]) -> Reading:
    return readings.get(name, NOT_READ)


def _seen(names: Iterable[str], readings: Mapping[str, Reading]) -> list[str]:
    return [name for name in names if _reading(name, readings).seen]


def _all_of(group: Sequence[str], readings: Mapping[str, Reading]) -> bool:
    return all(_reading(name, readings).seen for name in group)


def _none_of(group: Sequence[str], readings: Mapping[str, Reading]) -> bool:
    return all(_reading(name, readings).seen is False for name in group)


def _worth(clue: Clue, readings: Mapping[str, Reading]) -> int:
    return {True: clue.weight, False: clue.otherwise, None: 0}[_reading(clue.signal, readings).seen]


def _for(cause: Cause, readings: Mapping[str, Reading]) -> Iterator[str]:
    """
    Signals that speak for it: proofs first, then by weight, what it explains last.
    """
    for group in cause.proofs:
        if _all_of(group, readings):
            yield from group
    for group in cause.needs:
        yield from _seen(group, readings)
    yield from (clue.signal for clue in _by_weight(cause, readings) if _worth(clue, readings) > 0)
    yield from _seen((*cause.explains, *cause.signs), readings)


def _against(cause: Cause, readings: Mapping[str, Reading]) -> Iterator[str]:
    yield from _seen(cause.refuted_by, readings)
    for group in cause.needs:
        if _none_of(group, readings):
            yield from group
    yield from (clue.signal for clue in _by_weight(cause, readings) if _worth(clue, readings) < 0)


def _by_weight(cause: Cause, readings: Mapping[str, Reading]) -> list[Clue]:
    return sorted(cause.clues, key=lambda clue: -abs(_worth(clue, readings)))


def _open(cause: Cause, readings: Mapping[str, Reading]) -> Iterator[str]:
    """
    Signals that would have excluded or confirmed it, had they been read.
    """
    for name in (*cause.refuted_by, *(name for group in (*cause.needs, *cause.proofs) for name in group)):
        if _reading(name, readings).seen is None:
            yield name


def _words(names: Iterable[str], readings: Mapping[str, Reading]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_reading(name, readings).words for name in names))
