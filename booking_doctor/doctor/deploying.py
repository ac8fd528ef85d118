"""
The verb that asks what runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Final

from msgspec.structs import replace

from booking_doctor.checks import builds, deployment
from booking_doctor.checks.check import Evidence
from booking_doctor.doctor.examining import Examining
from booking_doctor.doctor.request import Request
from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.evidence import ExpectedBuild
from booking_doctor.findings import JSONValue, Report

_BESIDES: Final = "env-newer-than-build"
_ASKS_PLATFORM: Final = "deployment-not-promoted"


class Deploying(Examining):
    """
    `check_deployment`.
    """

    def check_deployment(self, request: Request) -> Report:
        """
        Ask the application which build it is, and its platform, where there is a token for it.

        Raises:
            SettingsError: The application's address is not set, or is none.
        """
        checks, chart = request.checks("deployment", _BESIDES), self._chart(request)
        host = chart.application.host  # where there is none, nothing runs that could be called healthy
        report = self._examine("check-deployment", checks, request, chart)
        blind = {skipped.check for skipped in report.skipped if skipped.kind == "not-configured"}
        by_hand = _ASKS_PLATFORM in blind
        return replace(
            report,
            window=None,
            coverage={
                **report.coverage,
                **_facts(deployment.facts, chart),
                **({} if by_hand else _facts(builds.facts, chart)),
            },
            next_steps=[
                *_again(report, request),
                *(_by_hand(host, self._project(), request.expected_build) if by_hand else ()),
            ],
        )

    def _project(self) -> str:
        """
        The project's name for a command, where one is set.
        """
        variables = {name: value for source in self._sources.variables for name, value in source.values.items()}
        named = variables.get("VERCEL_PROJECT_ID", "")
        return f"{shlex.quote(named)} " if named.isascii() and named.isprintable() and named else ""


def _facts(look: Callable[[Evidence], dict[str, JSONValue]], evidence: Evidence) -> dict[str, JSONValue]:
    """
    What is known; nothing where that failed, which the checks have said.
    """
    try:
        return look(evidence)
    except (SourceError, SettingsError):
        return {}


def _again(report: Report, request: Request) -> Iterator[str]:
    if not request.expected_build:
        yield f"{request.program} check-deployment --expect-commit HEAD"
    if any(finding.name == "deployment-stale" for finding in report.findings):
        yield f"{request.program} explain deployment-stale"


def _by_hand(host: str, project: str, expected: ExpectedBuild) -> Iterator[str]:
    """
    What somebody can see in Vercel without a token here.
    """
    commit = f"commit {expected.commit[:12]}" if expected.commit else "the newest commit"
    yield f"Without VERCEL_TOKEN, by hand, where {host} is on Vercel:"
    yield f"1. vercel inspect {host}"
    if expected.deployment:
        yield f"   should name {expected.deployment}"
    yield f"   should be built of {commit}"
    yield f"2. vercel ls {project}--prod"
    yield "   is anything newer Ready, Error or Canceled? What waits is Staged"
    yield "3. Vercel dashboard, Settings, Environment Variables, Production"
    yield "   nothing there may be newer than the build that serves"
    yield f"4. vercel logs {host}"
    yield "   was /api/bookings/initiate called, and with which errors?"
