"""
Vercel's REST API in front of a simulated project, and that as a server on this machine.

    with VercelSimulator(project) as simulator:
        variables = {"VERCEL_API_BASE_URL": simulator.base_url, "VERCEL_TOKEN": project.token, …}

Paths and documents are those of Vercel's own client (npm ``@vercel/sdk``) and of its page "Vercel REST API". Where they say
nothing, the docstring says what was chosen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Final

from booking_doctor.sandbox.exchange import JSON, Reply, Request, document
from booking_doctor.sandbox.simulator import Simulator
from booking_doctor.sandbox.vercel import PRODUCTION, Build, Variable, VercelProject

_SEGMENT: Final = "([^/]+)"


class VercelSimulator(Simulator):
    """
    A project's API over HTTP.

    Attributes:
        page_size: How many variables or deployments are told at once.
    """

    def __init__(
        self, project: VercelProject, *, latency: timedelta = timedelta(0), page_size: int | None = None
    ) -> None:
        super().__init__(latency=latency)
        self.project = project
        self.page_size = page_size
        self._routes: Mapping[str, Callable[..., Reply]] = {
            f"/v10/projects/{_SEGMENT}/env": self._variables,
            "/v1/env": self._shared,
            f"/v9/projects/{_SEGMENT}": self._project,
            f"/v13/deployments/{_SEGMENT}": self._deployment,
            f"/v4/aliases/{_SEGMENT}": self._alias,
            "/v[67]/deployments": self._deployments,
            f"/v3/deployments/{_SEGMENT}/events": self._events,
            f"/v1/projects/{_SEGMENT}/deployments/{_SEGMENT}/runtime-logs": self._logs,
            f"/v1/projects/{_SEGMENT}/rolling-release": self._rolling_release,
        }

    def now(self) -> datetime:
        """
        By the project's clock.
        """
        return self.project.now()

    def answer(self, request: Request, secret: str | None) -> Reply:
        """
        As the project's API has it; a wrong token and a team that is not the token's are forbidden.
        """
        if secret != self.project.token:
            return problem(403, "forbidden", "Not authorized")
        if request.query.get("teamId", request.query.get("slug", "")) != self.project.team:
            return problem(403, "forbidden", "Not authorized for this scope")
        if request.method != "GET":
            return problem(405, "method_not_allowed", "Only looking is simulated")
        for path, respond in self._routes.items():
            if match := re.fullmatch(path, request.path):
                return respond(request, *match.groups())
        return problem(404, "not_found", "The requested API endpoint was not found")

    # variables

    def _variables(self, request: Request, project: str) -> Reply:
        if not self._is_ours(project):
            return _NO_PROJECT
        told = [_variable(v, clear=request.query.get("decrypt") == "true") for v in self.project.variables]
        if self.project.hidden:
            seen = [record for record in told if PRODUCTION not in _targets(record)]
            return document({"envs": seen, "hiddenProductionEnvCount": len(told) - len(seen)})
        return document(self._page(request, told, "envs"))

    def _shared(self, request: Request) -> Reply:
        ours = request.query.get("projectId") in {None, self.project.id}
        shared = self.project.shared if ours else []
        told = [{**_variable(v, clear=False), "projectId": [self.project.id]} for v in shared]
        return document(self._page(request, told, "data"))

    def _page(self, request: Request, records: list[dict[str, JSON]], key: str) -> dict[str, JSON]:
        """
        The newest first, from ``until`` on; what was made in one millisecond may come twice.
        """
        ordered = sorted(records, key=lambda record: -int(str(record["createdAt"])))
        until = int(request.query.get("until", 10**15))
        left = [record for record in ordered if int(str(record["createdAt"])) <= until]
        part = left[: self.page_size]
        following = part[-1]["createdAt"] if len(part) < len(left) else None
        return {key: part, "pagination": {"count": len(part), "next": following, "prev": None}}

    # deployments

    def _deployment(self, _request: Request, id_or_host: str) -> Reply:
        built = self.project.behind(id_or_host)
        return document(self._build(built)) if built else problem(404, "not_found", "The deployment was not found")

    def _alias(self, _request: Request, host: str) -> Reply:
        built = self.project.behind(host) if host in self.project.aliases else None
        if built is None:
            return problem(404, "not_found", "The alias was not found")
        return document({"alias": host, "deploymentId": built.id, "projectId": self.project.id, "uid": f"als_{host}"})

    def _deployments(self, request: Request) -> Reply:
        if not self._is_ours(request.query.get("projectId", self.project.id)):
            return _NO_PROJECT
        wanted = {"target": request.query.get("target"), "state": request.query.get("state")}
        told = [self._build(built) for built in self.project.builds]
        told = [one for one in told if all(value in {None, one[name]} for name, value in wanted.items())]
        return document(self._page(request, [_listed(one) for one in told], "deployments"))

    def _build(self, built: Build) -> dict[str, JSON]:
        told: dict[str, JSON] = {
            "alias": [host for host, id_ in self.project.aliases.items() if id_ == built.id],
            "createdAt": _milliseconds(built.created_at),
            "errorMessage": built.reason or None,
            "gitSource": {"type": "github", "ref": built.branch, "sha": built.commit},
            "id": built.id,
            "meta": {"githubCommitSha": built.commit, "githubCommitRef": built.branch},
            "name": self.project.name,
            "projectId": self.project.id,
            "readyState": built.state,
            "state": built.state,
            "target": built.target,
            "url": built.host,
        }
        return {**told, "readySubstate": built.substate} if built.substate else told

    def _events(self, _request: Request, id_or_host: str) -> Reply:
        """
        A build's log, of which only the beginning and the end are simulated.
        """
        built = self.project.behind(id_or_host)
        if built is None:
            return problem(404, "not_found", "The deployment was not found")
        at = _milliseconds(built.created_at)
        texts = [f"Cloning {self.project.name} (Branch: {built.branch}, Commit: {built.commit[:7]})", built.reason]
        return document([{"type": "stdout", "created": at, "payload": {"text": text}} for text in texts if text])

    def _logs(self, _request: Request, project: str, deployment: str) -> Reply:
        """
        A stream of JSON, a line each.
        """
        built = self.project.behind(deployment) if self._is_ours(project) else None
        if built is None:
            return _NO_PROJECT
        numbers = count(1)
        lines = [
            json.dumps(
                {
                    "domain": self.project.domain,
                    "level": line.level,
                    "message": line.message,
                    "messageTruncated": False,
                    "requestMethod": line.method,
                    "requestPath": line.path,
                    "responseStatusCode": line.status,
                    "rowId": f"{built.id}-{next(numbers)}",
                    "source": "serverless",
                    "timestampInMs": _milliseconds(line.at),
                }
            )
            for line in built.logs
        ]
        body = "".join(f"{line}\n" for line in lines).encode()
        return Reply(status=200, body=body, headers={"Content-Type": "application/stream+json"})

    # the project

    def _project(self, _request: Request, project: str) -> Reply:
        if not self._is_ours(project):
            return _NO_PROJECT
        state, serving = self.project, self.project.behind(self.project.domain)
        back = state.rolled_back_to
        return document(
            {
                "autoAssignCustomDomains": state.assigns_domains and back is None,
                "commandForIgnoringBuildStep": None,
                "id": state.id,
                "lastAliasRequest": _alias_request(back) if back else None,
                "lastRollbackTarget": {"id": back.id} if back else None,
                "link": {"type": "github", "productionBranch": state.branch},
                "name": state.name,
                "nodeVersion": "22.x",
                "skewProtectionMaxAge": 0,
                "targets": {PRODUCTION: self._build(serving)} if serving else {},
            }
        )

    def _rolling_release(self, _request: Request, project: str) -> Reply:
        return document({"rollingRelease": None}) if self._is_ours(project) else _NO_PROJECT

    def _is_ours(self, id_or_name: str) -> bool:
        return id_or_name in {self.project.id, self.project.name}


def problem(status: int, code: str, message: str) -> Reply:
    """
    Vercel's way to say no.
    """
    return document({"error": {"code": code, "message": message}}, status)


_NO_PROJECT: Final = problem(404, "not_found", "Project not found")


def _alias_request(target: Build) -> dict[str, JSON]:
    return {"type": "rollback", "jobStatus": "succeeded", "toDeploymentId": target.id}


def _variable(variable: Variable, *, clear: bool) -> dict[str, JSON]:
    """
    A value is told in clear where it is plain, or where that is asked for and it is not sensitive.
    """
    told = variable.kind == "plain" or (clear and variable.kind != "sensitive")
    identity = f"{variable.name}/{'+'.join(variable.targets)}/{variable.branch or ''}"
    return {
        "createdAt": _milliseconds(variable.created_at),
        "decrypted": told,
        "gitBranch": variable.branch,
        "id": f"env_{identity.encode().hex()}",
        "key": variable.name,
        "target": _alone(variable.targets),
        "type": variable.kind,
        "updatedAt": _milliseconds(variable.updated_at or variable.created_at),
        "value": variable.value if told else "eyJ2IjoidjIiLCJjIjoi",
    }


def _alone(targets: Sequence[str]) -> JSON:
    """
    A list, or the only one of it by itself: both are documented.
    """
    return targets[0] if len(targets) == 1 else list(targets)


def _listed(built: Mapping[str, JSON]) -> dict[str, JSON]:
    """
    In a list a deployment has its id by another name, and its commit only in ``meta``.
    """
    told = {name: value for name, value in built.items() if name not in {"id", "gitSource", "alias", "errorMessage"}}
    return {**told, "uid": built["id"], "created": built["createdAt"]}


def _targets(record: Mapping[str, JSON]) -> Sequence[JSON]:
    told = record["target"]
    return told if isinstance(told, list) else [told]


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
