"""
What the hosting platform has of the variables: who gets them, since when, and what is not claimed where it does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from booking_doctor.adapters.environment_files import source_of
from booking_doctor.checks import select
from booking_doctor.checks.hosting import HOSTED
from booking_doctor.doctor import Doctor, Request
from booking_doctor.evidence import VariableSource
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.sandbox.exchange import JSON, document
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault, On
from booking_doctor.sandbox.vercel import DEVELOPMENT, EVERYWHERE, PREVIEW, PRODUCTION, Variable, VercelProject
from booking_doctor.sandbox.vercel_http import problem

ABSENT, NEWER = HOSTED
HOUR: Final = timedelta(hours=1)
NAMES: Final = ("DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER")


@pytest.fixture(name="project")
def _project(scene: World) -> VercelProject:
    """
    Everything is set for everything, and was before what serves was built.
    """
    project = scene.host()
    for name in NAMES:
        project.set(name, at=scene.now - 2 * HOUR)
    project.build("a" * 40, at=scene.now - HOUR)
    return project


Ask = Callable[..., Report]


@pytest.fixture(name="ask")
def _ask(scene: World, open_doctor: Callable[..., Doctor]) -> Ask:
    """
    What the checks of the platform say.
    """

    def ask(*chosen: str, expected: VariableSource | None = None, **variables: str) -> Report:
        request = Request(window=Window(scene.now - 7 * timedelta(days=1), scene.now), expected=expected)
        return open_doctor(**variables).examine("check-env", select(chosen or HOSTED), request)

    return ask


def said(report: Report) -> list[str]:
    """
    Findings, then what could not be looked at.
    """
    found = [finding.fingerprint for finding in report.findings]
    return found + [f"{skipped.kind}:{skipped.check}" for skipped in report.skipped]


def only(report: Report) -> Finding:
    """
    The one that was found, and everything was looked at.
    """
    assert not report.skipped
    [finding] = report.findings
    return finding


def pulled(text: str) -> VariableSource:
    """
    A file from the platform.
    """
    return source_of("production.env", text, asked_for=True)


def test_a_good_project(ask: Ask, project: VercelProject) -> None:
    """
    Nothing is found, and everything was looked at.
    """
    assert said(ask()) == []


def test_no_token(ask: Ask) -> None:
    """
    Without a token nobody meant the platform to be asked.
    """
    assert said(ask()) == [f"not-configured:{ABSENT}", f"not-configured:{NEWER}"]


def test_a_token_without_a_project(ask: Ask, project: VercelProject) -> None:
    """
    A token was meant, so what lacks is no excuse.
    """
    assert said(ask(VERCEL_PROJECT_ID="")) == [f"unreachable:{ABSENT}", f"unreachable:{NEWER}"]


# presence


@pytest.mark.parametrize(
    ("targets", "branch", "told"),
    [
        ([PREVIEW], None, ["preview"]),
        ([DEVELOPMENT, PREVIEW], None, ["preview", "development"]),
        (EVERYWHERE, "feature-1", [f"{target} of branch feature-1" for target in EVERYWHERE]),
        ([], None, ["a custom environment"]),
    ],
)
def test_not_in_production(
    ask: Ask, project: VercelProject, targets: list[str], branch: str | None, told: list[str]
) -> None:
    """
    Where it is set is said.
    """
    project.variables[2].targets, project.variables[2].branch = targets, branch

    finding = only(ask())

    assert (finding.fingerprint, finding.severity) == (f"{ABSENT}:env/TWILIO_AUTH_TOKEN", Severity.ERROR)
    assert finding.evidence["set_for"] == told
    assert all(place in finding.summary for place in told)


def test_in_production_by_another_entry(ask: Ask, project: VercelProject) -> None:
    """
    One name may have several entries; one for production will do.
    """
    project.variables[2].targets = [PREVIEW]
    project.set("TWILIO_AUTH_TOKEN", PRODUCTION, kind="sensitive")
    project.build("a" * 40)

    assert said(ask()) == []


def test_what_only_we_have(ask: Ask, project: VercelProject) -> None:
    """
    A variable of ours that the project knows nothing of is nothing that it lacks; nor is one for the doctor alone.
    """
    project.variables = [variable for variable in project.variables if variable.name != "DATABASE_URL"]
    project.set("TEST_PHONE", PREVIEW, at=project.now() - 2 * HOUR)

    assert said(ask(TEST_PHONE="+15550109999")) == []


def test_what_a_file_expects(ask: Ask, project: VercelProject) -> None:
    """
    A name in the file is expected in production, also where nobody here knows it; the platform's own are not.
    """
    expected = pulled(
        "SMTP_URL=x\nVERCEL_ENV=production\nVERCEL=1\nTURBO_CACHE=\nNX_DAEMON=false\nTWILIO_AUTH_TOKEN=\n"
    )

    finding = only(ask(expected=expected))

    assert finding.fingerprint == f"{ABSENT}:env/SMTP_URL"
    assert finding.evidence["expected_in"] == "production.env"
    assert "is in production.env, and nowhere" in finding.summary


def test_what_the_team_shares(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    A variable may come from the team; where it may not be asked, an absence is not claimed, and what is there is.
    """
    project.team = "team_7bQm"
    old = project.variables.pop(2)
    project.set("TWILIO_AUTH_TOKEN", PREVIEW, at=scene.now - 2 * HOUR)
    project.shared.append(Variable(name=old.name, targets=[PRODUCTION], created_at=old.created_at))

    assert said(ask(VERCEL_TEAM_ID=project.team)) == []

    scene.vercel.faults.add(
        Fault(name="no", instead=problem(403, "forbidden", "No")), times=None, on=On(path="/v1/env")
    )
    assert said(ask(VERCEL_TEAM_ID=project.team)) == [f"not-permitted:{ABSENT}", f"not-permitted:{NEWER}"]

    project.variables.append(old)
    assert said(ask(ABSENT, VERCEL_TEAM_ID=project.team)) == []


def test_what_is_hidden(ask: Ask, project: VercelProject) -> None:
    """
    Variables of production that the token may not see are not called missing.
    """
    project.hidden = True
    project.set("TWILIO_AUTH_TOKEN", PREVIEW)

    assert said(ask()) == [f"not-permitted:{ABSENT}", f"not-permitted:{NEWER}"]


# time


def test_changed_after_the_build(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    What was set since is not what runs; a warning where the booking SMS does not need it.
    """
    project.set("TWILIO_AUTH_TOKEN", at=scene.now)
    project.set("BANNER", PRODUCTION, at=scene.now)
    project.set("FLAG", PREVIEW, at=scene.now)

    report = ask()

    assert {finding.fingerprint: finding.severity for finding in report.findings} == {
        f"{NEWER}:env/TWILIO_AUTH_TOKEN": Severity.ERROR,
        f"{NEWER}:env/BANNER": Severity.WARNING,
    }
    assert report.findings[0].evidence["deployment"] == project.builds[0].id


def test_rolled_back(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    Going back to an older deployment brings its values back.
    """
    project.set("TWILIO_AUTH_TOKEN", at=scene.now - timedelta(minutes=30))
    project.build("b" * 40, at=scene.now - timedelta(minutes=20))
    assert said(ask()) == []

    project.roll_back(project.builds[0])
    assert said(ask()) == [f"{NEWER}:env/TWILIO_AUTH_TOKEN"]

    project.promote(project.build("b" * 40))
    assert said(ask()) == []


def test_a_preview(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    Where the address leads to a preview, the variables of its branch count.
    """
    preview = project.build("c" * 40, branch="feature-1", at=scene.now - HOUR)
    project.set("TWILIO_AUTH_TOKEN", PRODUCTION, at=scene.now)
    project.set("TWILIO_PHONE_NUMBER", PREVIEW, branch="feature-1", at=scene.now)
    project.set("TWILIO_ACCOUNT_SID", PREVIEW, branch="feature-2", at=scene.now)

    assert said(ask(NEWER, BOOKING_APP_URL=f"https://{preview.host}/")) == [f"{NEWER}:env/TWILIO_PHONE_NUMBER"]


@pytest.mark.parametrize(
    ("variables", "kind", "words"),
    [
        ({"BOOKING_APP_URL": ""}, "not-configured", "BOOKING_APP_URL is missing"),
        ({"BOOKING_APP_URL": "salon"}, "unreachable", "BOOKING_APP_URL"),
        ({"BOOKING_APP_URL": "https://elsewhere.example"}, "not-permitted", "elsewhere.example"),
        ({"VERCEL_TOKEN": "wrong"}, "not-permitted", "VERCEL_TOKEN"),
        ({"VERCEL_API_BASE_URL": "http://127.0.0.1:1"}, "unreachable", "VERCEL_API_BASE_URL"),
    ],
)
def test_no_deployment(ask: Ask, project: VercelProject, variables: dict[str, str], kind: str, words: str) -> None:
    """
    Where nobody can say what serves, nothing is claimed of its age.
    """
    report = ask(NEWER, **variables)

    assert said(report) == [f"{kind}:{NEWER}"]
    assert words in report.skipped[0].reason


def test_a_deployment_of_another_project(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    Its variables are not this project's.
    """
    told: dict[str, JSON] = {
        "id": "dpl_1",
        "readyState": "READY",
        "createdAt": 1,
        "projectId": "prj_other",
        "target": "production",
    }
    _answer(scene, told)

    report = ask(NEWER)

    assert said(report) == [f"unreachable:{NEWER}"]
    assert "another project" in report.skipped[0].reason


def test_a_custom_environment(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    Whose variables they are is not told, so nothing is said of them.
    """
    told: dict[str, JSON] = {
        "id": "dpl_1",
        "readyState": "READY",
        "createdAt": 1,
        "projectId": project.id,
        "target": "staging",
    }
    _answer(scene, told)

    assert said(ask(NEWER)) == [f"not-applicable:{NEWER}"]


def test_a_variable_without_a_time(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    What was set at an unknown time is not called old.
    """
    _answer(scene, {"envs": [{"key": "TWILIO_AUTH_TOKEN", "target": ["production"]}]}, "/env")

    report = ask(NEWER)

    assert said(report) == [f"unreachable:{NEWER}"]
    assert "TWILIO_AUTH_TOKEN" in report.skipped[0].reason


def _answer(scene: World, told: dict[str, JSON], path: str = "/deployments/") -> None:
    fault = Fault(name="told", instead=document(told))
    scene.vercel.faults.add(fault, on=On(path=path))


def test_a_platform_that_refuses_is_asked_once(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    Nobody waits twice for the same no.
    """
    assert said(ask(VERCEL_TOKEN="wrong")) == [f"not-permitted:{ABSENT}", f"not-permitted:{NEWER}"]
    assert len(scene.vercel.requests) == 1


def test_asked_once(ask: Ask, scene: World, project: VercelProject) -> None:
    """
    Both checks share one list.
    """
    ask()

    assert [request.path.rpartition("/")[2] for request in scene.vercel.requests] == ["env", project.domain]
