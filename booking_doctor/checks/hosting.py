"""
What the platform that hosts the application has: which variables production gets, and since when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.conflicts import DOCTORS, PLATFORMS
from booking_doctor.checks.environment import readings
from booking_doctor.checks.shapes import SHAPES
from booking_doctor.core.model import iso
from booking_doctor.errors import NotConfigured, SettingsError, SourceError
from booking_doctor.evidence import Deployment, HostedVariable
from booking_doctor.findings import JSONValue, Severity

HOSTED: Final = ("env-not-in-production", "env-newer-than-build")
"""Checks that ask the hosting platform; `check-env` makes them only with ``--expect``."""

_LIMIT_S: Final = 60

_TARGETS: Final = ("production", "preview", "development")


@check(Severity.ERROR, limit_s=_LIMIT_S)
def env_not_in_production(evidence: Evidence) -> Iterator[Fault]:
    """
    A variable is set on the hosting platform, and not for production.

    ## Why it matters

    It works in every preview, and in production it is undefined, which JavaScript passes on without a word: the text is never
    asked for. Other functions with the same credentials may still work: they read other variables.

    ## How to repair

    Add it for Production in the platform's dashboard, then deploy again: a deployment keeps the variables it was built with. One
    that is bound to a git branch is for previews of that branch only.

    ## When this is fine

    For a variable that only previews or developers need; leave it out of the file given with `--expect`. Where production has
    an alternative, such as an API key instead of the auth token.
    """
    listed, hosted = _listed(evidence), _known(evidence)
    for name in _wanted(evidence):
        entries = hosted.entries(name)
        if any(entry.in_production for entry in entries):
            continue
        hosted.claim_the_whole()
        if not (entries or name in listed):
            continue
        places = _places(entries)
        seen = (
            f"is set for {' and '.join(places)}, not for production,"
            if places
            else f"is in {listed[name]}, and nowhere"
        )
        yield Fault(
            subject=f"env/{name}",
            summary=f"{name} {seen} on the hosting platform.",
            remedy=f"Add {name} for Production in the platform's dashboard, then deploy again.",
            evidence={"set_for": places, "expected_in": listed.get(name)},
        )


@check(Severity.ERROR, limit_s=_LIMIT_S)
def env_newer_than_build(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A variable was changed after the deployment that serves was built.

    ## Why it matters

    What runs has the value from before, or none at all, while the dashboard shows the right one. After a roll-back the values
    of the older deployment are back too.

    ## How to repair

    Deploy again from the same commit. Promoting or rolling back to a deployment does not renew its variables.

    ## When this is fine

    While a deployment with the new value is being built. A warning is about a variable that the booking SMS does not need.
    """
    host, hosted = host_of(evidence), _known(evidence)
    serving = evidence.once(serving_of)
    if obstacle := obstacle_to(serving, host):
        yield obstacle
    elif serving:
        yield from _newer(serving, host, hosted)
        hosted.claim_the_whole()


def _newer(serving: Deployment, host: str, hosted: _Hosted) -> Iterator[Fault | BlindSpot]:
    for entry in hosted.variables:
        if not entry.reaches(serving):
            continue
        if entry.changed_at is None:
            yield BlindSpot(subject=f"env/{entry.name}", reason=f"the platform does not say when {entry.name} was set")
        elif entry.changed_at > serving.created_at:
            yield Fault(
                subject=f"env/{entry.name}",
                summary=f"{entry.name} was changed at {entry.changed_at:%Y-%m-%d %H:%M:%S} UTC; the deployment at {host} was"
                f" built before, at {serving.created_at:%Y-%m-%d %H:%M:%S} UTC, and keeps the old value.",
                remedy="Deploy the same commit again.",
                evidence={
                    "changed_at": iso(entry.changed_at),
                    "built_at": iso(serving.created_at),
                    "deployment": serving.id,
                    "host": host,
                },
                severity=None if entry.name in SHAPES else Severity.WARNING,
            )


def obstacle_to(serving: Deployment | None, host: str) -> BlindSpot | None:
    """
    Why nothing can be said of the deployment that serves.
    """
    if serving is None:
        reason = f"no deployment that this token may see answers at {host}; check BOOKING_APP_URL and VERCEL_TEAM_ID"
        return BlindSpot(subject=None, kind="not-permitted", reason=reason)
    if not serving.own:
        reason = f"{host} leads to a deployment of another project; check BOOKING_APP_URL and VERCEL_PROJECT_ID"
        return BlindSpot(subject=None, reason=reason)
    if serving.target not in {"production", "preview", None}:
        reason = f"{host} leads to the custom environment {serving.target}, whose variables are not told apart"
        return BlindSpot(subject=None, kind="not-applicable", reason=reason)
    return None


def serving_of(evidence: Evidence) -> Deployment | None:
    """
    The deployment that the platform says to serve the application's address; None where it names none.

    Raises:
        SettingsError: The platform, or the address, is not set.
        SourceError: The platform did not say.
    """
    return evidence.platform.serving(host_of(evidence))


def host_of(evidence: Evidence) -> str:
    """
    Whom the application's address names.

    Raises:
        SettingsError: It is not set, or names nobody.
    """
    address = next((reading for reading in readings(evidence.variables) if reading.name == "BOOKING_APP_URL"), None)
    if address is None:
        message = "BOOKING_APP_URL is missing"
        raise NotConfigured(message, hint="set it to the public address, which says what deployment serves")
    host = urlsplit(address.clean).hostname if address.sound else None
    if host is None:
        message = "BOOKING_APP_URL names no host"
        raise SettingsError(message, hint=f"copy it from {SHAPES[address.name].source}")
    return host


# --- what the platform has -------------------------------------------------------------------------------------------


class _Hosted(Struct, frozen=True, kw_only=True):
    """
    The platform's variables, as far as they were told.

    Attributes:
        error: Why not all were.
    """

    variables: Sequence[HostedVariable]
    error: SourceError | None

    def entries(self, name: str) -> list[HostedVariable]:
        """
        Those of that name.
        """
        return [variable for variable in self.variables if variable.name == name]

    def claim_the_whole(self) -> None:
        """
        Raises:
            SourceError: Some are not known, so of what is not here nothing may be claimed.
        """
        if self.error:
            raise self.error


def _known(evidence: Evidence) -> _Hosted:
    """
    What the platform has told.

    Raises:
        SourceError: Nothing at all; whoever refuses that is not asked for more.
    """
    hosted = evidence.once(_hosted)
    if not hosted.variables:
        hosted.claim_the_whole()
    return hosted


def _hosted(evidence: Evidence) -> _Hosted:
    told: list[HostedVariable] = []
    try:
        for variable in evidence.platform.variables():
            told.append(variable)  # noqa: PERF402  what was told before an error stands
    except SourceError as error:
        return _Hosted(variables=told, error=error)
    return _Hosted(variables=told, error=None)


def _listed(evidence: Evidence) -> Mapping[str, str]:
    """
    The names that somebody expects there, and where that is said; without those that the platform adds by itself.
    """
    expected = evidence.expected
    if expected is None:
        return {}
    return {name: expected.name for name in expected.values if not name.startswith(PLATFORMS)}


def _wanted(evidence: Evidence) -> list[str]:
    ours = {reading.name for reading in readings(evidence.variables)} - DOCTORS
    return sorted({*_listed(evidence), *ours})


def presence(evidence: Evidence) -> dict[str, JSONValue]:
    """
    Which targets have each expected variable, for the report; names only.
    """
    hosted = evidence.once(_hosted)
    told = {name: _places(hosted.entries(name)) for name in _wanted(evidence)}
    return {"hosted": [f"{name} for {', '.join(places) or 'none'}" for name, places in told.items()]}


def _places(entries: Iterable[HostedVariable]) -> list[str]:
    """
    The targets that have it, each once, in their order.
    """
    places = {(target, entry.branch) for entry in entries for target in entry.targets or ("a custom environment",)}
    order = {target: number for number, target in enumerate(_TARGETS)}
    return [
        f"{target} of branch {branch}" if branch else target
        for target, branch in sorted(places, key=lambda place: (order.get(place[0], len(order)), place[1] or ""))
    ]
