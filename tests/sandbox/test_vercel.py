"""
The simulated project on Vercel: what is told of it, and what pushes, promotions and roll-backs do to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import requests

from booking_doctor.sandbox.vercel import LogLine, VercelProject
from booking_doctor.sandbox.vercel_http import VercelSimulator

NOON: Final = datetime(2026, 12, 3, 12, tzinfo=UTC)


@pytest.fixture(name="project")
def _project() -> VercelProject:
    return VercelProject(clock=lambda: NOON)


Get = Callable[..., Any]


@pytest.fixture(name="get")
def _get(project: VercelProject) -> Iterator[Get]:
    """
    Asks as a client with the token does; anything but 200 is told as its status and code.
    """
    with VercelSimulator(project, page_size=2) as simulator, requests.Session() as session:

        def get(path: str, token: str = project.token, **query: str) -> Any:
            headers = {"Authorization": f"Bearer {token}"}
            answer = session.get(simulator.base_url + path, params=query, headers=headers, timeout=5)
            return answer.json() if answer.ok else (answer.status_code, answer.json()["error"]["code"])

        yield get


def test_a_push_serves(get: Get, project: VercelProject) -> None:
    """
    A build of the production branch takes the domain over; one of another branch does not.
    """
    built, preview = project.build("a" * 40), project.build("b" * 40, branch="feature-1")

    told = get(f"/v13/deployments/{project.domain}")
    assert (told["id"], told["meta"]["githubCommitSha"], told["readySubstate"]) == (built.id, "a" * 40, "PROMOTED")
    assert project.domain in told["alias"]
    assert get(f"/v4/aliases/{project.domain}")["deploymentId"] == built.id
    assert get(f"/v13/deployments/{preview.host}")["target"] is None
    assert "readySubstate" not in get(f"/v13/deployments/{preview.id}")


def test_after_a_roll_back_pushes_wait(get: Get, project: VercelProject) -> None:
    """
    Until somebody promotes one, the domain stays where it was led back to, and the project says so.
    """
    old = project.build("a" * 40)
    project.build("b" * 40)
    project.roll_back(old)
    waiting = project.build("c" * 40)

    told = get(f"/v9/projects/{project.name}")
    assert told["lastRollbackTarget"] == {"id": old.id}
    assert told["autoAssignCustomDomains"] is False
    assert told["targets"]["production"]["id"] == old.id
    assert get(f"/v13/deployments/{waiting.id}")["readySubstate"] == "STAGED"

    project.promote(waiting)
    told = get(f"/v9/projects/{project.id}")
    assert (told["lastRollbackTarget"], told["autoAssignCustomDomains"]) == (None, True)
    assert get(f"/v4/aliases/{project.domain}")["deploymentId"] == waiting.id


def test_a_build_that_was_cancelled(get: Get, project: VercelProject) -> None:
    """
    It serves nobody, and its log says why.
    """
    served = project.build("a" * 40)
    cancelled = project.build("b" * 40, state="CANCELED", reason="The author has no access to the project.")

    assert get(f"/v4/aliases/{project.domain}")["deploymentId"] == served.id
    told = get("/v7/deployments", projectId=project.id, state="CANCELED")["deployments"]
    assert [one["uid"] for one in told] == [cancelled.id]
    assert [one["payload"]["text"] for one in get(f"/v3/deployments/{cancelled.id}/events")] == [
        "Cloning salon (Branch: main, Commit: bbbbbbb)",
        "The author has no access to the project.",
    ]


def test_deployments_come_newest_first(get: Get, project: VercelProject) -> None:
    """
    In pages, each of which names where the next begins.
    """
    for number in range(4):
        project.build(f"{number}" * 40, at=NOON + timedelta(minutes=number))
    first = get("/v7/deployments", projectId=project.id, target="production")
    second = get("/v7/deployments", projectId=project.id, until=str(first["pagination"]["next"]))

    assert [one["meta"]["githubCommitSha"][0] for one in first["deployments"]] == ["3", "2"]
    assert [one["meta"]["githubCommitSha"][0] for one in second["deployments"]] == ["2", "1"]
    assert all("uid" in one and "id" not in one for one in first["deployments"])


def test_a_log_of_what_functions_wrote(project: VercelProject) -> None:
    """
    A line of JSON for each line.
    """
    built = project.build("a" * 40)
    built.logs.append(LogLine(at=NOON, path="/api/bookings/initiate", message="sending", status=201))

    with VercelSimulator(project) as simulator:
        answer = requests.get(
            f"{simulator.base_url}/v1/projects/{project.id}/deployments/{built.id}/runtime-logs",
            headers={"Authorization": f"Bearer {project.token}"},
            timeout=5,
        )

    [line] = [json.loads(line) for line in answer.text.splitlines()]
    assert (line["message"], line["requestPath"]) == ("sending", "/api/bookings/initiate")
    assert (line["responseStatusCode"], line["timestampInMs"]) == (201, 1_796_299_200_000)


def test_values(get: Get, project: VercelProject) -> None:
    """
    Plain ones are told, encrypted ones if asked for decrypted, sensitive ones never.
    """
    for kind in ("plain", "encrypted", "sensitive"):
        project.set(kind.upper(), kind=kind, value=f"{kind} value", at=NOON - timedelta(minutes=len(project.variables)))
    path = f"/v10/projects/{project.id}/env"
    pages = [get(path), get(path, decrypt="true")]
    rest = get(path, decrypt="true", until=str(pages[1]["pagination"]["next"]))

    assert [one["value"] == "plain value" for one in pages[0]["envs"]] == [True, False]
    assert [one["value"] for one in pages[1]["envs"]] == ["plain value", "encrypted value"]
    assert [one["key"] for one in rest["envs"]] == ["ENCRYPTED", "SENSITIVE"]
    assert rest["envs"][1]["value"] != "sensitive value"


@pytest.mark.parametrize(
    ("path", "query", "answer"),
    [
        ("/v10/projects/prj_other/env", {}, (404, "not_found")),
        ("/v9/projects/prj_other", {}, (404, "not_found")),
        ("/v1/projects/prj_other/rolling-release", {}, (404, "not_found")),
        ("/v7/deployments", {"projectId": "prj_other"}, (404, "not_found")),
        ("/v13/deployments/dpl_unknown", {}, (404, "not_found")),
        ("/v4/aliases/dpl_unknown", {}, (404, "not_found")),
        ("/v3/deployments/dpl_unknown/events", {}, (404, "not_found")),
        ("/v99/anything", {}, (404, "not_found")),
        ("/v9/projects/salon", {"token": "wrong"}, (403, "forbidden")),
        ("/v9/projects/salon", {"teamId": "team_other"}, (403, "forbidden")),
    ],
)
def test_what_is_not_there(get: Get, path: str, query: dict[str, str], answer: tuple[int, str]) -> None:
    """
    Another project, another team, another token, another path.
    """
    assert get(path, **query) == answer


def test_no_rolling_release(get: Get, project: VercelProject) -> None:
    """
    Traffic is never split.
    """
    assert get(f"/v1/projects/{project.id}/rolling-release") == {"rollingRelease": None}
