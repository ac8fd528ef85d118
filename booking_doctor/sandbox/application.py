"""
The booking application as it is seen from outside, on this machine: what it says of itself, and whoever may stand before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from booking_doctor.deployment import configuration_hashes
from booking_doctor.sandbox.exchange import JSON, Reply, Request, document
from booking_doctor.sandbox.simulator import Simulator
from booking_doctor.sandbox.vercel import VercelProject
from booking_doctor.settings import Secret

ROUTE: Final = "/api/test-deployment"
PAGE: Final = Reply(status=200, body=b"<!DOCTYPE html><h1>Welcome</h1>", headers={"Content-Type": "text/html"})
NO_ROUTE: Final = Reply(status=404, body=b"<!DOCTYPE html><h1>404</h1>", headers={"Content-Type": "text/html"})
LOGIN: Final = Reply(
    status=401,
    body=b"<!doctype html><title>Authentication Required</title>",
    headers={"Content-Type": "text/html", "Server": "Vercel", "Set-Cookie": "_vercel_sso_nonce=1f; Path=/; HttpOnly"},
)
CHALLENGE: Final = Reply(status=403, headers={"Server": "Vercel", "X-Vercel-Mitigated": "challenge"})
CRASHED: Final = Reply(status=500, headers={"Server": "Vercel", "X-Vercel-Error": "FUNCTION_INVOCATION_FAILED"})


def moved(to: str) -> Reply:
    """
    A redirect for good.
    """
    return Reply(status=308, headers={"Location": to})


@dataclass(frozen=True, kw_only=True)
class Serving:
    """
    A build that answers.

    Attributes:
        document: What its answer has besides, or instead.
    """

    deployment: str | None = "dpl_now"
    commit: str | None = "a" * 40
    fixes: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, JSON] = field(default_factory=dict)


class ApplicationSimulator(Simulator):
    """
    The application at its public address. Its clock is the true one, because it is compared with ours.

    Attributes:
        serving: Builds that answer in turn; none for what the project on Vercel serves.
        clock_error: How far its clock is ahead.
        frozen: What every answer's timestamp is, as where one answer is given again and again.
        key: The key it knows.
        variables: Its settings.
    """

    def __init__(self, project: VercelProject) -> None:
        super().__init__()
        self.serving: Sequence[Serving] = ()
        self.clock_error = timedelta(0)
        self.frozen: datetime | None = None
        self.key = Secret("k1-of-the-simulated-application")
        self.variables: Mapping[str, str] = {}
        self._project = project
        self._turns = count()

    def now(self) -> datetime:
        """
        By its own clock.
        """
        return datetime.now(UTC) + self.clock_error

    def answer(self, request: Request, secret: str | None) -> Reply:
        """
        Which build this is, and to whoever has the key, its settings' hashes.
        """
        if request.path != ROUTE:
            return NO_ROUTE
        serving = self._whose_turn()
        told: dict[str, JSON] = {
            "deployment": serving.deployment,
            "commit": serving.commit,
            "hasInitiateFixes": serving.fixes,
            "timestamp": (self.frozen or self.now()).isoformat().replace("+00:00", "Z"),
            "key": "none" if secret is None else "valid" if secret == self.key.value else "unknown",
        }
        if secret == self.key.value:
            told["configuration"] = configuration_hashes(self.variables, self.key)
        return document({**told, **serving.document}, headers=serving.headers)

    def _whose_turn(self) -> Serving:
        if self.serving:
            return self.serving[next(self._turns) % len(self.serving)]
        built = self._project.behind(self._project.domain)
        return Serving(deployment=built.id, commit=built.commit) if built else Serving()


def shown(request: Request) -> bool:
    """
    Whether a request asked past every cache.
    """
    return bool(re.search(r"[?&]uncached=[0-9a-f]{16}", request.target)) and "no-cache" in request.cache_control
