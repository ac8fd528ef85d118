"""
What a planted fault is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from booking_doctor.sandbox.incidents import World


def _nothing(_scene: World) -> None:
    """
    An ordinary world will do.
    """


class Incident(Struct, frozen=True, kw_only=True):
    """
    One fault in four beats: healthy, look-alike, broken, repaired.

    Attributes:
        finding: The finding it must yield, and no other may.
        title: What happens, in half a sentence.
        look_alike: Something that resembles the fault and is none.
        plant: Makes the fault; returns the subjects of the findings it must yield.
        remedy: Does what the finding advises.
        before: Makes the world one that has not the fault yet, where an ordinary one has it.
        also: Other findings' names that the fault cannot be had without, and checks and sources that it blinds.
        cause: The cause that must rank first; None where the fault alone does not tell one from others.
        beside: Other causes that may be confirmed, because they are at work too.
    """

    finding: str
    title: str
    look_alike: Callable[[World], object]
    plant: Callable[[World], Iterable[str]]
    remedy: Callable[[World], object]
    before: Callable[[World], object] = _nothing
    also: frozenset[str] = frozenset()
    cause: str | None = None
    beside: frozenset[str] = frozenset()


class Episode(Struct, frozen=True, kw_only=True):
    """
    One cause at work in a world.

    Attributes:
        cause: The one that must rank first; None where nothing is ill, though it may look so.
        title: What happens, in half a sentence.
        happen: Makes it so.
        beside: Other causes that may be confirmed, because they are at work too.
    """

    cause: str | None
    title: str
    happen: Callable[[World], object]
    beside: frozenset[str] = frozenset()
