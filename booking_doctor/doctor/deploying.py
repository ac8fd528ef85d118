"""
The verb that asks what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

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
                *(_by_hand(host, request.expected_build) if by_hand else ()),
            ],
        )


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


def _by_hand(host: str, expected: ExpectedBuild) -> Iterator[str]:
    """
    What somebody can see in Vercel without a token here.
    """
    commit = f"commit {expected.commit[:12]}" if expected.commit else "the newest commit of the production branch"
    wanted = f"{expected.deployment} of {commit}" if expected.deployment else commit
    yield "By hand, because VERCEL_TOKEN is not set:"
    yield f"1. vercel inspect {host}    names the deployment that serves; expected: {wanted}"
    yield "2. vercel ls --prod    lists the builds for production; is a newer one Ready, Error or Canceled?"
    yield "3. Vercel dashboard, Deployments: Production (Current) is what serves; Staged is built and waits to be promoted"
    yield "4. Vercel dashboard, Settings, Environment Variables: none of Production was updated after that build"
    yield f"5. vercel logs {host}    was /api/bookings/initiate called, and with which errors?"
