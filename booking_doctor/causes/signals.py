"""
What a signal is, and how all of them are read: each once, by name, and one that cannot be read says why.

A finding is a signal too, under the name of its check. A signal yields a reading and never decides what it means.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as Late
from types import ModuleType
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from booking_doctor.causes.cause import NOT_READ, Reading, absent, seen, unknown
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.runner import Outcome, why_not
from booking_doctor.findings import Finding

_Known = TypeVar("_Known")

HAPPENED: Final = frozenset({"booking", "message", "job", "log", "deployment", "probe"})
"""Families of findings that need an explanation. What is wrongly set up is one."""

LIMIT_S: Final = 30
"""How long one signal may take, in seconds; the comparison that several look at was made before."""


class Dossier(Struct, frozen=True, kw_only=True):
    """
    What signals are read from: the evidence, and what the checks made of it.
    """

    evidence: Evidence
    outcomes: Mapping[str, Outcome]

    def findings(self, name: str) -> Sequence[Finding]:
        """
        What that check has found.
        """
        return self.outcomes[name].findings if name in self.outcomes else ()

    def finding(self, name: str) -> Reading:
        """
        Whether that check has found something.
        """
        outcome = self.outcomes.get(name)
        if outcome is None:
            return NOT_READ
        if outcome.findings:
            return seen(_told(outcome))
        if outcome.blind:
            return unknown(outcome.blind[-1].reason)
        return absent(f"{name} found nothing") if outcome.made else NOT_READ

    def once(self, look: Callable[[Evidence], _Known]) -> _Known:
        """
        What *look* sees, looked for once for all signals and checks.
        """
        return self.evidence.once(look)


def _told(outcome: Outcome) -> str:
    """
    What a check has found, in few words: things that happened are counted, what is set up wrongly is said.
    """
    number = len(outcome.findings) + outcome.unnamed
    if outcome.check.family in HAPPENED:
        return f"{outcome.check.name} is found {number:,} time{'' if number == 1 else 's'}"
    first = outcome.findings[0].summary.removesuffix(".")
    return first + (f", and {number - 1:,} more like it" if number > 1 else "")


Look: TypeAlias = "Callable[[Dossier], Reading]"


class Signal(Struct, frozen=True, kw_only=True):
    """
    Something that can be seen or not.

    Attributes:
        meaning: In a sentence.
    """

    name: str
    meaning: str
    look: Look


def signal(look: Look) -> Signal:
    """
    Make a signal of a function: its name with dashes is the signal's, its docstring the meaning.
    """
    return Signal(name=look.__name__.replace("_", "-"), meaning=inspect.cleandoc(look.__doc__ or ""), look=look)


def signals_of(modules: Iterable[ModuleType]) -> dict[str, Signal]:
    """
    The signals of these modules by name.
    """
    return {made.name: made for module in modules for made in vars(module).values() if isinstance(made, Signal)}


def read(signals: Iterable[Signal], dossier: Dossier, executor: Executor) -> dict[str, Reading]:
    """
    Read all of them at once, and the findings.

    Args:
        executor: One that hangs keeps its thread, and nobody else's.
    """
    asked = {made.name: executor.submit(made.look, dossier) for made in signals}
    return {name: dossier.finding(name) for name in dossier.outcomes} | dict(_read(asked))


def _read(asked: Mapping[str, Future[Reading]]) -> Iterator[tuple[str, Reading]]:
    for name, future in asked.items():
        try:
            yield name, future.result(LIMIT_S)
        except Late:
            future.cancel()
            yield name, unknown(f"no answer within {LIMIT_S} s")
        except Exception as error:  # noqa: BLE001  a bug in one signal is no reason to lose the others
            yield name, unknown(why_not(error)[1])
