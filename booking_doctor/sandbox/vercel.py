"""
A simulated project on Vercel: its variables, its deployments, which host leads to which, and what happens to them.

What a deployment knows of the variables is what they were when it was built; that is Vercel's own rule, and the reason for
most of what can be wrong here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

PRODUCTION, PREVIEW, DEVELOPMENT = "production", "preview", "development"
EVERYWHERE = (PRODUCTION, PREVIEW, DEVELOPMENT)


@dataclass(kw_only=True)
class Variable:
    """
    A variable of the project, or one that its team shares.

    Attributes:
        kind: ``plain``, ``encrypted`` or ``sensitive``; only the first is told in clear.
        branch: The only branch whose previews have it.
    """

    name: str
    value: str = field(default="v4lue", repr=False)
    targets: Sequence[str] = EVERYWHERE
    branch: str | None = None
    kind: str = "encrypted"
    created_at: datetime
    updated_at: datetime | None = None


@dataclass(kw_only=True)
class Build:
    """
    A deployment.

    Attributes:
        state, substate: In Vercel's words.
        logs: What its functions have written while they served, oldest first.
    """

    id: str
    host: str
    commit: str
    branch: str
    target: str | None
    created_at: datetime
    state: str = "READY"
    substate: str | None = "PROMOTED"
    reason: str = ""
    logs: list[LogLine] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """
    One line of a deployment's runtime log.
    """

    at: datetime
    path: str
    message: str
    method: str = "POST"
    status: int = 200
    level: str = "info"


@dataclass(kw_only=True)
class VercelProject:
    """
    One project, its team, and what they have done.

    Attributes:
        clock: Gives the present, aware.
        token: What a client must come with.
        team: The id of the team that owns it; empty for a personal account.
        domain: Where customers come in; leads to the deployment that serves production.
        hidden: Whether the token's owner may not see the variables of production; only their number is told.
        shared: What the team shares with the project.
        aliases: The id of the deployment behind each host.
        assigns_domains: Whether a new production deployment takes the domain over by itself.
        rolled_back_to: The deployment that somebody went back to; then nothing is assigned.
    """

    clock: Callable[[], datetime]
    token: str = field(default="vercel-token-of-the-tests", repr=False)
    id: str = "prj_7bQm2Zk1Xc9Rt4Wd"
    name: str = "salon"
    team: str = ""
    domain: str = "salon.example"
    branch: str = "main"
    hidden: bool = False
    variables: list[Variable] = field(default_factory=list)
    shared: list[Variable] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    assigns_domains: bool = True
    rolled_back_to: Build | None = None

    def now(self) -> datetime:
        """
        What the clock says.
        """
        return self.clock()

    def set(
        self,
        name: str,
        *targets: str,
        at: datetime | None = None,
        branch: str | None = None,
        kind: str = "encrypted",
        value: str = "v4lue",
    ) -> Variable:
        """
        Somebody adds a variable, or sets the one that is there for the same targets anew.
        """
        moment, wanted = at or self.now(), targets or EVERYWHERE
        for known in self.variables:
            if (known.name, tuple(known.targets), known.branch) == (name, wanted, branch):
                known.value, known.updated_at = value, moment
                return known
        added = Variable(name=name, targets=wanted, branch=branch, kind=kind, value=value, created_at=moment)
        self.variables.append(added)
        return added

    def build(
        self,
        commit: str,
        *,
        at: datetime | None = None,
        branch: str | None = None,
        state: str = "READY",
        reason: str = "",
    ) -> Build:
        """
        A push is built: for production from the production branch, else as a preview.
        """
        number, origin = len(self.builds) + 1, branch or self.branch
        target = PRODUCTION if origin == self.branch else None
        built = Build(
            id=f"dpl_{number:020d}",
            host=f"{self.name}-{number:04d}.vercel.example",
            commit=commit,
            branch=origin,
            target=target,
            created_at=at or self.now(),
            state=state,
            substate=("STAGED" if target else None) if state == "READY" else None,
            reason=reason,
        )
        self.builds.append(built)
        self.aliases[built.host] = built.id
        if target and state == "READY" and self.assigns_domains and self.rolled_back_to is None:
            self.promote(built)
        return built

    def promote(self, built: Build) -> None:
        """
        The domain leads there from now on.
        """
        built.substate = "PROMOTED"
        self.aliases[self.domain] = built.id
        self.rolled_back_to = None

    def roll_back(self, built: Build) -> None:
        """
        The domain leads there again, and what is built later waits to be promoted (Vercel: "Instant Rollback").
        """
        self.promote(built)
        self.rolled_back_to = built

    def behind(self, id_or_host: str) -> Build | None:
        """
        The deployment of that id, or at that host.
        """
        wanted = self.aliases.get(id_or_host, id_or_host)
        return next((built for built in self.builds if built.id == wanted), None)
