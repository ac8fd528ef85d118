"""
What can be wrong: the catalogue of checks, a file for each family.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from types import ModuleType
from typing import Final

from booking_doctor.checks import (
    access,
    billing,
    bookings,
    builds,
    columns,
    conflicts,
    constraints,
    deployment,
    environment,
    hosting,
    jobs,
    keys,
    live,
    logs,
    messages,
    operations,
    probe,
    role_settings,
    schema,
    triggers,
    undelivered,
)
from booking_doctor.checks.check import Check
from booking_doctor.errors import UsageError

_FAMILIES: Final = (
    environment,
    conflicts,
    hosting,
    live,
    schema,
    keys,
    columns,
    constraints,
    access,
    role_settings,
    triggers,
    bookings,
    messages,
    undelivered,
    billing,
    jobs,
    logs,
    operations,
    deployment,
    builds,
    probe,
)


def _catalogue(families: Sequence[ModuleType]) -> dict[str, Check]:
    checks = [made for family in families for made in vars(family).values() if isinstance(made, Check)]
    catalogue = {made.name: made for made in checks}
    if len(catalogue) < len(checks) or any(name not in catalogue for made in checks for name in made.after):
        message = "two checks share a name, or one comes after a check that is not there"
        raise TypeError(message)
    return catalogue


CATALOGUE: Final[Mapping[str, Check]] = _catalogue(_FAMILIES)
"""All checks by name, in the order in which they are made."""


def select(
    chosen: Sequence[str] = (),
    ignored: Sequence[str] = (),
    *,
    family: str | None = None,
    besides: Collection[str] = (),
) -> list[Check]:
    """
    The checks that ``--select`` and ``--ignore`` leave.

    Args:
        chosen: Names and families; none means all.
        ignored: Names and families to leave out of those.
        family: The only one whose checks are meant.
        besides: Names of other checks that are meant, too.

    Raises:
        UsageError: A name or family is not known, or no check is left: nothing looked at is not nothing found.
    """
    meant = [made for made in CATALOGUE.values() if family in {None, made.family} or made.name in besides]
    for word in (*chosen, *ignored):
        _refuse_unknown(word, meant)
    left = [
        made
        for made in meant
        if (not chosen or not {made.name, made.family}.isdisjoint(chosen))
        and {made.name, made.family}.isdisjoint(ignored)
    ]
    if not left:
        message = "no check is left to make"
        raise UsageError(message, hint="see what --select takes and what --ignore leaves out again")
    return left


def _refuse_unknown(word: str, meant: Sequence[Check]) -> None:
    names, families = [made.name for made in meant], sorted({made.family for made in meant})
    if word in names or word in families:
        return
    message = f"there is no check and no family {word!r} here"
    nearest = get_close_matches(word.lower().replace("_", "-"), [*names, *families], n=1)
    known = f"did you mean {nearest[0]}?" if nearest else f"families are {', '.join(families)};"
    raise UsageError(message, hint=f"{known} all names: booking-doctor explain")
