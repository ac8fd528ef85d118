"""
What the hosting platform has built: what waits, what failed, what was never built, and what its log says of the route.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from booking_doctor.doctor import Doctor, Request
from booking_doctor.evidence import ExpectedBuild
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault, On
from booking_doctor.sandbox.vercel import LogLine, VercelProject
from booking_doctor.sandbox.vercel_http import problem

A, B, C = "a" * 40, "b" * 40, "c" * 40
HOUR: Final = timedelta(hours=1)
INITIATE: Final = "/api/bookings/initiate"


@pytest.fixture(name="project")
def _project(scene: World) -> VercelProject:
    """
    A deployment serves.
    """
    project = scene.host()
    project.build(A, at=scene.now - 4 * HOUR)
    return project


Ask = Callable[..., Report]


@pytest.fixture(name="ask")
def _ask(scene: World, open_doctor: Callable[..., Doctor]) -> Ask:
    """
    What check-deployment says.
    """

    def ask(commit: str | None = None, **variables: str) -> Report:
        window = Window(scene.now - timedelta(days=7), scene.now)
        expected = ExpectedBuild(commit=commit)
        return open_doctor(**variables).check_deployment(Request(window=window, expected_build=expected))

    return ask


def found(report: Report) -> dict[str, Finding]:
    """
    By name.
    """
    return {finding.name: finding for finding in report.findings}


def test_all_is_well(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    What serves is the newest; the report says which, and nothing is left to do by hand.
    """
    report = ask(A)

    assert (report.findings, report.exit_code) == ([], 0)
    assert report.coverage["serving"] == f"{project.builds[0].id} of commit {A[:12]} on main"
    assert report.next_steps == []


def test_without_a_token(ask: Ask, project: VercelProject) -> None:
    """
    The steps by hand have the names at hand: host, project, commit.
    """
    report = ask(A, VERCEL_TOKEN="")

    steps = "\n".join(report.next_steps)
    assert report.exit_code == 0
    assert "vercel inspect 127.0.0.1" in steps
    assert f"vercel ls {project.id} --prod" in steps
    assert f"commit {A[:12]}" in steps


def test_rolled_back(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    Why the newer one waits is told, and what ends that.
    """
    project.build(B, at=scene.now - 2 * HOUR)
    project.roll_back(project.builds[0])
    project.build(C, at=scene.now - HOUR)

    finding = found(ask())["deployment-not-promoted"]

    assert "somebody went back to the older one" in finding.summary
    assert finding.evidence["newest"] == project.builds[2].id
    assert finding.evidence["rolled_back_to"] == project.builds[0].id
    assert finding.evidence["waiting"] == 2
    assert f"vercel promote {project.builds[2].id}" in finding.remedy


def test_a_rolling_release(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    One that takes over bit by bit is a warning.
    """
    project.assigns_domains = False
    project.build(B, at=scene.now - HOUR).substate = "ROLLING"
    project.assigns_domains = True

    finding = found(ask())["deployment-not-promoted"]

    assert finding.severity is Severity.WARNING
    assert "bit by bit" in finding.summary


@pytest.mark.parametrize(
    ("states", "named"),
    [
        (["ERROR"], "failed"),
        (["CANCELED"], "was cancelled"),
        (["ERROR", "BUILDING"], "failed"),
        (["BUILDING"], None),
        (["ERROR", "READY"], None),
    ],
)
def test_builds_that_come_to_nothing(
    ask: Ask, project: VercelProject, scene: World, states: list[str], named: str | None
) -> None:
    """
    The newest one that has ended counts.
    """
    for number, state in enumerate(states):
        project.build(B, at=scene.now - HOUR + timedelta(minutes=number), state=state)

    told = found(ask())

    assert set(told) == ({"deployment-build-failed"} if named else set())
    assert named is None or named in told["deployment-build-failed"].summary


@pytest.mark.parametrize("branch", ["feature-1", None])
def test_a_commit_that_was_never_built(ask: Ask, project: VercelProject, scene: World, branch: str | None) -> None:
    """
    Only as a preview, or not at all; what serves is another commit then.
    """
    if branch:
        project.build(C, at=scene.now - HOUR, branch=branch)

    told = found(ask(C))

    assert set(told) == {"deployment-not-built", "deployment-stale"}
    assert ("only as a preview" if branch else "not at all among") in told["deployment-not-built"].summary


def test_a_commit_that_waits_was_built(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    Its build is there, so what it needs is promotion.
    """
    project.assigns_domains = False
    project.build(C, at=scene.now - HOUR)

    assert set(found(ask(C))) == {"deployment-not-promoted", "deployment-stale"}


def test_variables_newer_than_the_build(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    They are part of what production has.
    """
    project.set("TWILIO_AUTH_TOKEN", at=scene.now - HOUR)

    assert set(found(ask())) == {"env-newer-than-build"}


# the log


def line(scene: World, message: str, **values: object) -> LogLine:
    """
    A line of the route's.
    """
    told: dict[str, object] = {"at": scene.now - HOUR, "path": INITIATE, "message": message, **values}
    return LogLine(**told)  # type: ignore[arg-type]


def test_errors_of_the_route(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    How many and which, by names and codes; not a word of what they say.
    """
    words = (
        'PrismaClientError: null value in column "customer_id", code: 23502',
        "RestException [HTTP 400]: code: 21211, +15550109999 token tok_s3cr3t, Ana",
    )
    lines = [line(scene, message, status=500, level="error") for message in words]
    project.builds[0].logs += [*lines, line(scene, "fine"), line(scene, "other", path="/api/other", status=500)]

    finding = found(ask())["deployment-route-fails"]

    assert finding.summary.startswith(f"2 of 3 log lines of {INITIATE}")
    assert {str(name) for name in finding.evidence["names"]} == {  # type: ignore[union-attr]
        "PrismaClientError",
        "RestException",
        "23502",
        "21211",
    }
    assert not any(secret in repr(finding) for secret in ("5550109999", "s3cr3t", "Ana"))


def test_calls_on_an_old_deployment(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    By which deployment the route was called is told.
    """
    project.build(B, at=scene.now - 2 * HOUR)
    project.builds[0].logs.append(line(scene, "called"))

    report = ask()

    assert set(found(report)) == {"deployment-old-called"}
    assert report.coverage["route_logged"] == [
        f"0 lines on {project.builds[1].id}",
        f"1 lines on {project.builds[0].id}",
    ]


def test_a_log_that_may_not_be_read(ask: Ask, project: VercelProject, scene: World) -> None:
    """
    It is not called empty, and the rest is looked at.
    """
    fault = Fault(name="no", instead=problem(403, "forbidden", "No"))
    scene.vercel.faults.add(fault, times=None, on=On(path="/runtime-logs"))
    project.build(B, at=scene.now - HOUR, state="ERROR")

    report = ask()

    assert set(found(report)) == {"deployment-build-failed"}
    assert {s.check for s in report.skipped if s.kind == "not-permitted"} == {
        "deployment-route-fails",
        "deployment-old-called",
    }
    assert report.exit_code == 3


def test_another_project(ask: Ask, project: VercelProject) -> None:
    """
    A token that may not see the project proves nothing about it.
    """
    report = ask(VERCEL_TOKEN="wrong")

    blind = {skipped.check for skipped in report.skipped if skipped.kind == "not-permitted"}
    assert {"deployment-not-promoted", "deployment-build-failed", "deployment-route-fails"} <= blind
    assert report.exit_code == 3
