"""
Live questions to Vercel: what each answer means, what is never asked and never kept, and how each refusal is told.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from booking_doctor.adapters.services import Patience
from booking_doctor.adapters.vercel import VercelPlatform
from booking_doctor.errors import PlatformRefused, PlatformUnreachable
from booking_doctor.evidence import HostedProject, HostedVariable, LoggedLine
from booking_doctor.sandbox.exchange import JSON, Reply, document
from booking_doctor.sandbox.twilio_faults import Fault
from booking_doctor.sandbox.vercel import DEVELOPMENT, PREVIEW, PRODUCTION, LogLine, Variable, VercelProject
from booking_doctor.sandbox.vercel_http import VercelSimulator, problem
from booking_doctor.settings import Secret, VercelSettings

NOW: Final = datetime(2026, 12, 8, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
IMPATIENT: Final = Patience(connect_timeout=1, read_timeout=0.3, give_up_after=0.2, first_wait=0.01, longest_wait=0.01)
CANARY: Final = "c4na7y-value"


@pytest.fixture(name="project")
def _project() -> VercelProject:
    return VercelProject(clock=lambda: NOW)


@pytest.fixture(name="simulator")
def _simulator(project: VercelProject) -> Iterator[VercelSimulator]:
    with VercelSimulator(project) as simulator:
        yield simulator


@pytest.fixture(name="ask")
def _ask(simulator: VercelSimulator) -> Callable[..., VercelPlatform]:
    """
    A platform with the project's token, or with what is given.
    """
    project = simulator.project

    def ask(*, token: str = "", name: str = "", team: str | None = None, base_url: str = "") -> VercelPlatform:
        settings = VercelSettings(
            token=Secret(token or project.token),
            project=name or project.id,
            team=team if team is not None else project.team or None,
            base_url=base_url or simulator.base_url,
        )
        return VercelPlatform(settings, IMPATIENT)

    return ask


Ask = Callable[..., VercelPlatform]


# variables


def test_variables(ask: Ask, project: VercelProject) -> None:
    """
    By target and branch, and when each was last set.
    """
    project.set("EVERYWHERE", at=NOW - 3 * HOUR)
    project.set("ONE", PRODUCTION, at=NOW - 3 * HOUR)
    project.set("ONE", PRODUCTION, at=NOW - HOUR)
    project.set("SOME", PREVIEW, DEVELOPMENT, at=NOW)
    project.set("BRANCH", PREVIEW, branch="feature-1", at=NOW)

    assert {told.name: told for told in ask().variables()} == {
        name: HostedVariable(name=name, targets=frozenset(targets), branch=branch, changed_at=at)
        for name, targets, branch, at in [
            ("EVERYWHERE", [PRODUCTION, PREVIEW, DEVELOPMENT], None, NOW - 3 * HOUR),
            ("ONE", [PRODUCTION], None, NOW - HOUR),
            ("SOME", [PREVIEW, DEVELOPMENT], None, NOW),
            ("BRANCH", [PREVIEW], "feature-1", NOW),
        ]
    }


@pytest.mark.parametrize(
    ("targets", "branch", "there"),
    [
        ((PRODUCTION,), None, True),
        ((PREVIEW, PRODUCTION), None, True),
        ((PREVIEW, DEVELOPMENT), None, False),
        ((), None, False),
        ((PRODUCTION, PREVIEW), "feature-1", False),
    ],
)
def test_what_production_has(targets: tuple[str, ...], branch: str | None, there: bool) -> None:
    """
    A variable that is bound to a branch is for that branch's previews.
    """
    told = HostedVariable(name="X", targets=frozenset(targets), branch=branch, changed_at=None)

    assert told.in_production is there


@pytest.mark.parametrize("apart", [timedelta(minutes=1), timedelta(0)])
@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8])
def test_many_variables(ask: Ask, simulator: VercelSimulator, page_size: int, apart: timedelta) -> None:
    """
    All pages are read; where they lead nowhere, because all were made in one moment, that is an error and not an end.
    """
    for number in range(7):
        simulator.project.set(f"V{number}", at=NOW - number * apart)
    simulator.page_size = page_size

    if not apart and page_size < 7:
        with pytest.raises(PlatformUnreachable, match="not its API's"):
            list(ask().variables())
    elif page_size == 1:  # each page is the last of the one before
        with pytest.raises(PlatformUnreachable):
            list(ask().variables())
    else:
        assert {told.name for told in ask().variables()} == {f"V{number}" for number in range(7)}


def test_variables_of_the_team(ask: Ask, simulator: VercelSimulator) -> None:
    """
    What a team shares with the project comes after its own, asked for only when that is not enough.
    """
    project = simulator.project
    project.team = "team_7bQm"
    project.set("OWN")
    project.shared.append(Variable(name="SHARED", targets=[PRODUCTION], created_at=NOW))
    told = ask(name=project.name).variables()

    assert next(told).name == "OWN"
    assert len(simulator.requests) == 1
    assert next(told).name == "SHARED"
    assert [request.path for request in simulator.requests] == [
        *(f"/v10/projects/{project.name}/env", f"/v9/projects/{project.name}", "/v1/env")
    ]
    assert {request.query["teamId"] for request in simulator.requests} == {"team_7bQm"}
    assert simulator.requests[-1].query["projectId"] == project.id


def test_a_personal_account_shares_nothing(ask: Ask, simulator: VercelSimulator) -> None:
    """
    Without a team there is nothing to ask one.
    """
    simulator.project.set("OWN")

    assert [told.name for told in ask().variables()] == ["OWN"]
    assert len(simulator.requests) == 1


def test_a_team_by_its_slug(ask: Ask, simulator: VercelSimulator) -> None:
    """
    A team may be named by what its address says.
    """
    simulator.project.team = "salon-team"
    list(ask().variables())

    assert simulator.requests[0].query == {"slug": "salon-team"}


def test_hidden_variables(ask: Ask, project: VercelProject) -> None:
    """
    What this token may not see is an error at the end, not an absence.
    """
    project.set("SECRET", PRODUCTION)
    project.set("OPEN", PREVIEW)
    project.hidden = True
    told = ask().variables()

    assert next(told).name == "OPEN"
    with pytest.raises(PlatformRefused, match="1 variables of production") as raised:
        next(told)
    assert raised.value.kind == "not-permitted"


def test_values_are_neither_asked_for_nor_kept(ask: Ask, simulator: VercelSimulator) -> None:
    """
    Not even those that Vercel sends unasked.
    """
    simulator.project.set("PLAIN", kind="plain", value=CANARY)
    platform = ask()
    told = list(platform.variables())

    assert CANARY.encode() in simulator.answer(simulator.requests[0], simulator.project.token).body
    assert all("decrypt" not in request.query for request in simulator.requests)
    assert CANARY not in f"{told!r} {vars(platform)!r}"
    assert not [name for name in HostedVariable.__struct_fields__ if "value" in name]


# deployments


def test_serving(ask: Ask, project: VercelProject) -> None:
    """
    What the host leads to, where it came from, and how far it has got.
    """
    old = project.build("a" * 40, at=NOW - 2 * HOUR)
    project.roll_back(old)
    new = project.build("b" * 40, at=NOW - HOUR)
    serving, waiting = ask().serving(project.domain), ask(name=project.name).serving(new.host)

    assert serving is not None
    assert waiting is not None
    assert (serving.id, serving.commit, serving.branch, serving.target) == (old.id, "a" * 40, "main", "production")
    assert (serving.created_at, serving.state, serving.substate) == (NOW - 2 * HOUR, "READY", "PROMOTED")
    assert (waiting.id, waiting.commit, waiting.substate) == (new.id, "b" * 40, "STAGED")
    assert serving.own
    assert waiting.own


def test_another_projects_deployment(ask: Ask, project: VercelProject) -> None:
    """
    A host may lead to a deployment of another project.
    """
    project.build("a" * 40)
    told = ask(name="prj_another").serving(project.domain)

    assert told is not None
    assert not told.own


def test_a_host_that_is_not_vercels(ask: Ask) -> None:
    """
    No deployment is an answer, not an error.
    """
    assert ask().serving("nowhere.example") is None


def test_a_commit_told_in_another_place(ask: Ask, simulator: VercelSimulator) -> None:
    """
    Deployments that came without a git source tell the commit among their metadata, as does each git host.
    """
    told: dict[str, JSON] = {"id": "dpl_1", "readyState": "READY", "createdAt": 1, "projectId": simulator.project.id}
    meta = {"gitlabCommitSha": "c" * 40, "gitlabCommitRef": "trunk"}
    simulator.faults.add(Fault(name="of GitLab", instead=document({**told, "meta": meta})))
    simulator.faults.add(Fault(name="of nowhere", instead=document({**told, "meta": {"odd": 1}, "gitSource": None})))

    first, second = ask().serving("salon.example"), ask().serving("salon.example")

    assert first is not None
    assert second is not None
    assert (first.commit, first.branch) == ("c" * 40, "trunk")
    assert (second.commit, second.branch) == (None, None)


def test_a_deployment_that_is_hardly_told(ask: Ask, simulator: VercelSimulator) -> None:
    """
    To some tokens Vercel tells of a deployment only that it is there; nothing is made of that.
    """
    simulator.faults.add(Fault(name="bare", instead=document({"id": "dpl_1", "readyState": "READY"})))

    with pytest.raises(PlatformRefused, match="next to nothing"):
        ask().serving("salon.example")


# refusals


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"token": "wr0ng-token"}, 403, "VERCEL_TOKEN"),
        ({"team": "team_other"}, 403, "VERCEL_TEAM_ID"),
        ({"name": "prj_unknown"}, 404, "VERCEL_PROJECT_ID"),
    ],
)
def test_refused(ask: Ask, wrong: dict[str, str], status: int, words: str) -> None:
    """
    Which variable to look at is said, what is in it is not.
    """
    with pytest.raises(PlatformRefused) as raised:
        list(ask(**wrong).variables())

    error = raised.value
    assert words in error.sentence
    assert (error.status, error.kind) == (status, "not-permitted")
    assert "wr0ng-token" not in f"{error.sentence} {error!r} {error.__cause__!r}"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (problem(401, "not_authenticated", "No"), "HTTP 401, not_authenticated.*VERCEL_TOKEN"),
        (problem(402, "payment_required", "Pay"), "HTTP 402.*dashboard"),
        (Reply(status=403, body=b"<html>Blocked"), "HTTP 403.*VERCEL_API_BASE_URL and the proxy"),
        (problem(403, "[bold]<script>", "x"), "HTTP 403\\).*proxy"),
    ],
)
def test_other_refusals(ask: Ask, simulator: VercelSimulator, reply: Reply, words: str) -> None:
    """
    A refusal that is not Vercel's is told from one that is; its text is not passed on.
    """
    simulator.faults.add(Fault(name="refusal", instead=reply))

    with pytest.raises(PlatformRefused) as raised:
        list(ask().variables())
    assert re.search(words, raised.value.sentence)
    assert "script" not in raised.value.sentence


PASSING: Final = [
    Fault(name="limited", instead=problem(429, "too_many_requests", "Slow down")),
    Fault(name="down", instead=problem(500, "internal_server_error", "Oops")),
    Fault.bad_gateway(),
    Fault.reset(),
    Fault.closed(),
    Fault.truncated(),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_a_fault_that_passes(ask: Ask, simulator: VercelSimulator, fault: Fault) -> None:
    """
    It is tried again.
    """
    simulator.project.set("OWN")
    simulator.faults.add(fault)

    assert [told.name for told in ask().variables()] == ["OWN"]


@pytest.mark.parametrize(
    "fault", [*PASSING, Fault.hang(), Fault.login_page(), Fault.garbage(), Fault.garbage('{"envs": [{"key": 7}]}')]
)
def test_a_fault_that_does_not_pass(ask: Ask, simulator: VercelSimulator, fault: Fault) -> None:
    """
    It ends, and as unreachable, never as an empty list.
    """
    simulator.project.set("OWN")
    simulator.faults.add(fault, times=None)

    with pytest.raises(PlatformUnreachable, match="Vercel") as raised:
        list(ask().variables())
    assert raised.value.kind == "unreachable"
    assert "VERCEL_API_BASE_URL" in raised.value.sentence
    assert simulator.project.token not in f"{raised.value.sentence} {raised.value.__cause__!r}"


@pytest.mark.parametrize("moment", [-1, 253_402_300_800_000, 10**30, "yesterday"])
def test_a_time_that_is_none(ask: Ask, simulator: VercelSimulator, moment: object) -> None:
    """
    A moment that no calendar has is not Vercel's answer.
    """
    odd = {"envs": [{"key": "A", "target": "production", "updatedAt": moment}]}
    simulator.faults.add(Fault(name="odd", instead=document(odd)))  # type: ignore[arg-type]

    with pytest.raises(PlatformUnreachable):
        list(ask().variables())


def test_a_redirect_is_not_followed(ask: Ask, simulator: VercelSimulator) -> None:
    """
    The token goes nowhere else.
    """
    there = {"Location": f"{simulator.base_url}/v10/projects/{simulator.project.id}/env?elsewhere=1"}
    simulator.faults.add(Fault(name="moved", instead=Reply(status=307, headers=there)))

    with pytest.raises(PlatformUnreachable, match="HTTP 307"):
        list(ask().variables())
    assert len(simulator.requests) == 1


def test_nobody_there(ask: Ask) -> None:
    """
    Without a connection it is said so.
    """
    with pytest.raises(PlatformUnreachable, match="no connection"):
        list(ask(base_url="http://127.0.0.1:1").variables())


# what was built, and what it has written


def test_deployments(ask: Ask, project: VercelProject) -> None:
    """
    Newest first, whatever became of them, each with the commit that only its metadata tells.
    """
    project.build("a" * 40, at=NOW - 3 * HOUR)
    project.build("b" * 40, at=NOW - 2 * HOUR, branch="feature-1")
    project.build("c" * 40, at=NOW - HOUR, state="CANCELED")

    told = ask().deployments()

    assert [(one.commit, one.branch, one.target, one.state, one.substate) for one in told] == [
        ("c" * 40, "main", "production", "CANCELED", None),
        ("b" * 40, "feature-1", None, "READY", None),
        ("a" * 40, "main", "production", "READY", "PROMOTED"),
    ]
    assert [one.id for one in told] == [built.id for built in reversed(project.builds)]
    assert all(one.own for one in told)


def test_the_project(ask: Ask, project: VercelProject) -> None:
    """
    Whether somebody went back, and whether new deployments get the domains.
    """
    first = project.build("a" * 40)
    project.build("b" * 40)
    assert ask().project() == HostedProject(rolled_back_to=None, assigns_domains=True)

    project.roll_back(first)
    assert ask().project() == HostedProject(rolled_back_to=first.id, assigns_domains=False)


def test_a_log(ask: Ask, project: VercelProject) -> None:
    """
    Line by line; an answer's status that is none is not told.
    """
    built = project.build("a" * 40)
    built.logs.append(LogLine(at=NOW, path="/api/a", message="one\ntwo", status=500, level="error"))
    built.logs.append(LogLine(at=NOW, path="/api/b", message="", status=0))

    assert ask().logged(built.id) == [
        LoggedLine(at=NOW, level="error", path="/api/a", status=500, message="one\ntwo"),
        LoggedLine(at=NOW, level="info", path="/api/b", status=None, message=""),
    ]


@pytest.mark.parametrize("pause_s", [0.05, 60])
def test_a_log_that_goes_on(monkeypatch: pytest.MonkeyPatch, pause_s: float) -> None:
    """
    A stream without an end is heard for a while, whether it pauses or not, and a line that came in part is left.
    """
    monkeypatch.setattr("booking_doctor.adapters.vercel._LISTEN_S", 0.5)
    line = b'{"level": "info", "message": "m", "timestampInMs": 1, "requestPath": "/a", "responseStatusCode": 200}\n'
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_stream, args=(server, line, pause_s), daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = VercelSettings(token=Secret("t0ken"), project="prj_1", team=None, base_url=address)
        start = time.monotonic()
        told = VercelPlatform(settings, IMPATIENT).logged("dpl_1")

    assert time.monotonic() - start < 5
    assert {one.path for one in told} == {"/a"}


def _stream(server: socket.socket, line: bytes, pause_s: float) -> None:
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/stream+json\r\n\r\n" + line + line[:20])
        connection.sendall(line[20:])
        while True:
            connection.sendall(line[: len(line) // 2])
            time.sleep(pause_s)
            connection.sendall(line[len(line) // 2 :])


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(403, "forbidden", "No"), "not-permitted"),
        (problem(404, "not_found", "No"), "not-permitted"),
        (problem(429, "rate_limited", "Later"), "unreachable"),
        (Reply(status=502, body=b"<html>"), "unreachable"),
        (Reply(status=307, headers={"Location": "http://127.0.0.1:1/"}), "unreachable"),
    ],
)
def test_a_log_that_is_refused(ask: Ask, simulator: VercelSimulator, reply: Reply, kind: str) -> None:
    """
    It is never taken for an empty one.
    """
    simulator.faults.add(Fault(name="no", instead=reply), times=None)

    with pytest.raises((PlatformRefused, PlatformUnreachable)) as raised:
        ask().logged("dpl_1")

    assert raised.value.kind == kind


def test_a_log_that_breaks_off(ask: Ask, simulator: VercelSimulator) -> None:
    """
    Nor one that did not come.
    """
    built = simulator.project.build("a" * 40)
    simulator.faults.add(Fault.closed(), times=None)

    with pytest.raises(PlatformUnreachable):
        ask().logged(built.id)
