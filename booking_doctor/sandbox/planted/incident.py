"""
What a planted fault is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from booking_doctor.sandbox.incidents import World


def _nothing(_scene: World) -> None:
    """
    An ordinary world will do.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
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
    """

    finding: str
    title: str
    look_alike: Callable[[World], object]
    plant: Callable[[World], Iterable[str]]
    remedy: Callable[[World], object]
    before: Callable[[World], object] = _nothing
    also: frozenset[str] = field(default=frozenset())
