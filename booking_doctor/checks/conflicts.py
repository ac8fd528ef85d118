"""
What variables say together: sources of one variable, variables of one thing, this place and another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.environment import Reading, leads_to, readings
from booking_doctor.checks.shapes import SHAPES, claims_of, cleaned, project_of_address, project_of_database
from booking_doctor.evidence import VariableSource
from booking_doctor.findings import JSONValue, Severity
from booking_doctor.settings import DATABASE_VARIABLES, database_settings

DOCTORS: Final = frozenset(
    {
        *("TWILIO_API_BASE_URL", "BOOKING_APP_URL", "TEST_EVENT_ID", "TEST_PHONE"),
        *("VERCEL_TOKEN", "VERCEL_PROJECT_ID", "VERCEL_TEAM_ID", "VERCEL_API_BASE_URL"),
    }
)
"""Variables for whoever looks, which the application may well do without."""

PLATFORMS: Final = ("VERCEL", "NX_DAEMON", "TURBO_")
"""How names begin that Vercel itself adds to what is pulled and to what is built."""

_SUPABASE: Final = ("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY")


@check(Severity.WARNING, after=("env-placeholder", "env-malformed"))
def env_conflict(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Two places disagree: sources of one variable, variables of one database, keys of one project.

    ## Why it matters

    One program reads `.env`, another the process, the third what the hosting platform has. The application then writes
    to one database while somebody looks at another, and rows seem to vanish.

    ## How to repair

    Decide which value is right and remove or change the others. For Supabase take URL, key and database from one project.

    ## When this is fine

    Where `.env.local` or `--env-file` is there to overrule. While database variables name different databases the doctor
    writes nothing.
    """
    found = readings(evidence.variables)
    told: set[str] = set()
    for faults in (_overruled(evidence, found), _unlike_expected(evidence), _rival_databases(found), _projects(found)):
        for fault in faults:
            if fault.subject not in told:
                told.add(fault.subject)
                yield fault
    yield from _incomparable(found)


def _overruled(evidence: Evidence, found: Sequence[Reading]) -> Iterator[Fault]:
    for reading in found:
        values = {source.name: cleaned(source.values.get(reading.name) or "") for source in evidence.variables}
        others = [name for name in reading.sources if values[name] and values[name] != values[reading.source]]
        if others:
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} is one thing in {reading.source}, which wins, and another in {', '.join(others)}.",
                remedy=f"Make {reading.name} the same in {', '.join([*others, reading.source])}, or keep it in one of them.",
                evidence=reading.told(different=others),
            )


def _unlike_expected(evidence: Evidence) -> Iterator[Fault]:
    if evidence.expected is None:
        return
    there = evidence.expected.name
    for name, verdict in compared(evidence.variables, evidence.expected).items():
        if name in SHAPES and (verdict == "different" or (verdict == "only here" and name not in DOCTORS)):
            seen = "another thing" if verdict == "different" else "not set"
            yield Fault(
                subject=f"env/{name}",
                summary=f"{name} is {seen} in {there}, which it was compared with.",
                remedy=f"Set {name} to the same value in both places, then deploy again.",
                evidence={"expected_in": there, "comparison": verdict},
            )


def compared(sources: Sequence[VariableSource], expected: VariableSource) -> dict[str, str]:
    """
    What is said of each name that is known or expected: equal, different, only here, only there, or not comparable.
    """
    here = {name: value for source in sources for name, value in source.values.items()}
    names = sorted({*expected.values, *(name for name in SHAPES if here.get(name))})
    return {name: _comparison(here.get(name), expected.values.get(name)) for name in names}


def _comparison(here: str | None, there: str | None) -> str:
    # NOTE: a platform writes a sensitive variable, which it does not give away, as an empty one.
    if there == "":
        return "not comparable"
    if not here:
        return "only there"
    if there is None:
        return "only here"
    return "equal" if here == there else "different"


def _rival_databases(found: Sequence[Reading]) -> Iterator[Fault]:
    named = {reading.name: reading for reading in found if leads_to(reading)}
    if not named:
        return
    chosen = next(iter(named))
    for name in database_settings({name: reading.clean for name, reading in named.items()}).rivals:
        yield Fault(
            subject=f"env/{name}",
            summary=f"{name} names another database than {chosen}, which is the one that is used.",
            remedy=f"Make {name} and {chosen} name the same database, or remove one of them.",
            evidence=named[name].told(rival_of=chosen),
        )


def _projects(found: Sequence[Reading]) -> Iterator[Fault]:
    """
    Every variable whose project differs from that of the first.
    """
    sound = {reading.name: reading for reading in found if reading.sound}
    projects: dict[str, str | None] = {}
    if reading := sound.get("SUPABASE_URL"):
        projects[reading.name] = project_of_address(reading.clean)
    if reading := sound.get("SUPABASE_SERVICE_ROLE_KEY"):
        claims = claims_of(reading.clean) or {}
        projects[reading.name] = claims["ref"] if isinstance(claims.get("ref"), str) else None
    connections = ((reading.name, settings) for reading in found if (settings := leads_to(reading)))
    for name, settings in islice(connections, 1):
        projects[name] = project_of_database(settings)
    known = {name: project for name, project in projects.items() if project}
    for name, project in known.items():
        first = next(iter(known))
        if project != known[first]:
            yield Fault(
                subject=f"env/{name}",
                summary=f"{name} belongs to another Supabase project than {first}; all must be of one.",
                remedy=f"Copy {first} and {name} from the same project of the Supabase dashboard.",
                evidence=sound[name].told(differs_from=first),
            )


def _incomparable(found: Sequence[Reading]) -> Iterator[BlindSpot]:
    """
    What is set to be compared with something that is set too, and cannot be.
    """
    related = [reading for reading in found if reading.name in {*_SUPABASE, *DATABASE_VARIABLES}]
    for reading in related:
        if len(related) > 1 and not reading.sound:
            others = " and ".join(other.name for other in related if other is not reading)
            yield reading.blind_spot(f"whether it agrees with {others}")


# --- names, against an example and against a platform -----------------------------------------------------------------


def inventory(
    sources: Sequence[VariableSource], example: VariableSource | None, expected: VariableSource | None
) -> dict[str, JSONValue]:
    """
    Which known variable comes from where; and names, not values, against an example and against what is expected.
    """
    told: dict[str, JSONValue] = {
        "sources": [source.name for source in sources],
        "variables": [f"{reading.name} from {reading.source}" for reading in readings(sources)],
    }
    if example is not None:
        told["example_only"], told["not_in_example"] = lacking(sources, example)
    if expected is not None:
        told["expected"] = [f"{name} {verdict}" for name, verdict in compared(sources, expected).items()]
    return told


def lacking(sources: Sequence[VariableSource], example: VariableSource) -> tuple[list[str], list[str]]:
    """
    Names that only the example has, and names that it lacks. Of the process only known names are looked at.
    """
    listed = example.values.keys() | example.written.keys()
    here = {name for source in sources for name in {**source.values, **source.written}}
    written = {name for source in sources for name in source.written}
    # NOTE: a line of a key that was pasted over several lines reads like a name, and must not be shown.
    named = {name for name in written if _NAME.fullmatch(name)}
    return sorted(listed - here), sorted((here & SHAPES.keys() | named) - listed)


_NAME: Final = re.compile("[A-Z][A-Z0-9_]*")
"""What variables are called everywhere."""


def env_steps(
    sources: Sequence[VariableSource],
    example: VariableSource | None,
    expected: VariableSource | None,
    *,
    asked: bool = False,
) -> list[str]:
    """
    What to do by hand about names that an example has, and about variables on a hosting platform.

    Args:
        asked: Whether the platform itself has said when its variables changed.
    """
    steps = []
    if example is not None:
        only, unlisted = lacking(sources, example)
        steps += [f"Set what is needed of: {', '.join(only)} (only {example.name} has them)."] if only else []
        steps += [f"Add to {example.name}, without values: {', '.join(unlisted)}."] if unlisted else []
    by_hand = {} if expected is None else _by_hand(compared(sources, expected), asked=asked)
    steps += [f"Platform dashboard, Settings, Environment Variables: {step}" for step in by_hand.values()]
    if by_hand:
        steps.append("Deploy again after any change there: a deployment keeps the variables it was built with.")
    return steps


def _by_hand(verdicts: Mapping[str, str], *, asked: bool) -> dict[str, str]:
    """
    A step for each name, but for what is only ours or the platform's own, and for what is known already.
    """
    return {
        name: _STEPS[verdict].format(name=name)
        for name, verdict in verdicts.items()
        if not (verdict == "only here" and name in DOCTORS)
        and not (verdict == "only there" and name.startswith(PLATFORMS))
        and not (verdict == "equal" and asked)
    }


_STEPS: Final = {
    "equal": "see that {name} was last updated before the serving deployment was built.",
    "different": "open {name} for Production and enter the right value.",
    "only here": "add {name} for Production.",
    "only there": "see whether {name} is still needed; it is not set here.",
    "not comparable": "open {name} for Production; its value is empty or not given away, so compare it by eye.",
}
