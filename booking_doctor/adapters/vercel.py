"""
Live questions to Vercel: small, read-only, and of an answer nothing is kept but what was asked for.

The list of a project's variables holds values too, encrypted or plain; they are not asked for decrypted, and they never
leave this module's decoder. Paths and documents are those of Vercel's REST API ("Vercel REST API", Endpoints).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Final, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from booking_doctor.adapters.services import (
    A_PERSON_WAITS,
    Fault,
    Patience,
    Questions,
    Service,
    connections,
    lost,
    seconds,
)
from booking_doctor.errors import PlatformRefused, PlatformUnreachable
from booking_doctor.evidence import Deployment, HostedProject, HostedVariable, LoggedLine
from booking_doctor.settings import VercelSettings

VERCEL: Final = Service(
    name="Vercel", variable="VERCEL_API_BASE_URL", answers="its API's", unreachable=PlatformUnreachable
)

_Item = TypeVar("_Item")

_NEWEST: Final = 100
_LISTEN_S: Final = 4.0
_HEARD: Final = 4_000_000
"""A log is a stream, which may go on: so long it is listened to, and so many bytes of it are heard."""


class VercelPlatform:
    """
    Implements `booking_doctor.evidence.HostingPlatform`.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, settings: VercelSettings, patience: Patience = A_PERSON_WAITS) -> None:
        self._settings = settings
        self._patience = patience
        self._headers = {"Authorization": f"Bearer {settings.token.value}", "Accept": "application/json"}
        self._questions = Questions(VERCEL, settings.base_url, self._headers, _refuse, patience)

    def variables(self) -> Iterator[HostedVariable]:
        """
        The project's own, then the team's.
        """
        path = f"/v10/projects/{quote(self._settings.project, safe='')}/env"
        hidden = 0
        for page in self._pages(path, _Variables):
            hidden = page.hidden_production_env_count
            yield from page.told
        if self._settings.team:
            for shared in self._pages("/v1/env", _SharedVariables, projectId=self._project_id):
                yield from shared.told
        if hidden:
            message = f"Vercel keeps {hidden} variables of production from this token"
            raise PlatformRefused(message, status=403, hint="use the token of somebody who may see them")

    def serving(self, host: str) -> Deployment | None:
        """
        What the host is an alias of.
        """
        try:
            told = self._ask(f"/v13/deployments/{quote(host, safe='')}", _Deployment)
        except PlatformRefused as error:
            if error.status == 404:
                return None
            raise
        return self._deployment(told, host, own=told.project_id == self._project_id)

    def deployments(self) -> list[Deployment]:
        """
        Those of one page, which has them newest first.
        """
        told = self._ask("/v7/deployments", _Listed, projectId=self._project_id, limit=_NEWEST).deployments
        built = [self._deployment(one, one.id, own=True) for one in told]
        return sorted(built, key=lambda one: one.created_at, reverse=True)

    def _deployment(self, told: _Deployment, where: str, *, own: bool) -> Deployment:
        if told.created_at is None:
            message = f"Vercel tells this token next to nothing about the deployment at {where}"
            raise PlatformRefused(message, status=403, hint=_ADVICE[403])
        return Deployment(
            id=told.id,
            own=own,
            created_at=_moment(told.created_at),
            target=told.target,
            state=told.ready_state,
            substate=told.ready_substate,
            commit=told.commit,
            branch=told.branch,
        )

    def project(self) -> HostedProject:
        """
        Of its document, what is about new deployments.
        """
        told = self._ask(f"/v9/projects/{quote(self._settings.project, safe='')}", _Project)
        back = told.last_rollback_target.get("id") if told.last_rollback_target else None
        return HostedProject(
            rolled_back_to=back if isinstance(back, str) else None,
            assigns_domains=told.auto_assign_custom_domains,
        )

    def logged(self, deployment: str) -> list[LoggedLine]:
        """
        The stream's lines; where it goes on, those that came in time.
        """
        path = f"/v1/projects/{quote(self._project_id, safe='')}/deployments/{quote(deployment, safe='')}/runtime-logs"
        decode = msgspec.json.Decoder(_Line).decode
        lines = []
        for line in self._heard(path).splitlines():
            try:
                lines.append(decode(line).told)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the last one may have come in part
        return lines

    def _heard(self, path: str) -> bytes:
        """
        What comes of a stream before the time is over.
        """
        http = connections(self._settings.base_url, self._patience, 1)
        heard, end = bytearray(), time.monotonic() + _LISTEN_S
        wait = urllib3.Timeout(connect=self._patience.connect_timeout, read=_LISTEN_S)
        try:
            with http.request(
                "GET", self._url(path), headers=self._headers, redirect=False, preload_content=False, timeout=wait
            ) as answer:
                if answer.status != 200:
                    answer.read(_HEARD)
                    _refuse(answer)
                while len(heard) < _HEARD and time.monotonic() < end and (part := answer.read1(65_536)):
                    heard += part
        except urllib3.exceptions.ReadTimeoutError:
            pass  # nothing more was written for a while
        except urllib3.exceptions.HTTPError as error:
            reason = lost(VERCEL, error)
            message = f"Vercel's log cannot be read: {reason}"
            raise PlatformUnreachable(message, hint=f"check the network and {VERCEL.variable}") from error
        except Fault as fault:
            message = f"Vercel's log cannot be read: {fault}"
            raise PlatformUnreachable(message, hint="run it again later") from fault
        return bytes(heard)

    @cached_property
    def _project_id(self) -> str:
        project = self._settings.project
        if project.startswith("prj_"):
            return project
        return self._ask(f"/v9/projects/{quote(project, safe='')}", _Project).id

    def _pages(self, path: str, shape: type[_Page], **filters: str) -> Iterator[_Page]:
        """
        Page after page; each names the moment from which the next goes on, and what lies on that moment may come again.
        """
        until: dict[str, int] = {}
        while True:
            page = self._ask(path, shape, **filters, **until)
            yield page
            following = page.pagination.next if page.pagination else None
            if following is None:
                return
            if until == {"until": following}:
                raise VERCEL.another()  # the same page for ever
            until = {"until": following}

    def _ask(self, path: str, shape: type[_Item], **query: str | int) -> _Item:
        return self._questions.ask(self._url(path, **query), shape)

    def _url(self, path: str, **query: str | int) -> str:
        team = self._settings.team
        if team:
            query["teamId" if team.startswith("team_") else "slug"] = team
        return f"{self._settings.base_url}{path}?{urlencode(query)}"


# --- documents -------------------------------------------------------------------------------------------------------

_Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)]
"""Since 1970; before the year 10000, where Python's calendar ends."""


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class _Document(msgspec.Struct, rename="camel", kw_only=True):
    """
    Of what the API tells, the part that is kept.
    """


class _Variable(_Document):
    key: str
    target: list[str] | str = []
    git_branch: str | None = None
    created_at: _Milliseconds | None = None
    updated_at: _Milliseconds | None = None

    @property
    def told(self) -> HostedVariable:
        changed = self.updated_at or self.created_at
        return HostedVariable(
            name=self.key,
            targets=frozenset([self.target] if isinstance(self.target, str) else self.target),
            branch=self.git_branch or None,
            changed_at=None if changed is None else _moment(changed),
        )


class _Pagination(_Document):
    next: int | None = None


class _Listing(_Document):
    pagination: _Pagination | None = None


class _Variables(_Listing, kw_only=True):
    envs: list[_Variable]
    hidden_production_env_count: int = 0

    @property
    def told(self) -> list[HostedVariable]:
        return [variable.told for variable in self.envs]


class _SharedVariables(_Listing, kw_only=True):
    data: list[_Variable]

    @property
    def told(self) -> list[HostedVariable]:
        return [variable.told for variable in self.data]


_Page = TypeVar("_Page", bound=_Listing)


class _Project(_Document):
    id: str
    auto_assign_custom_domains: bool | None = None
    last_rollback_target: dict[str, object] | None = None


class _GitSource(_Document):
    ref: str | None = None
    sha: str | None = None


class _Deployment(_Document):
    """
    The fields that a token without rights does not get are optional.
    """

    id: str
    ready_state: str
    created_at: _Milliseconds | None = None
    project_id: str | None = None
    target: str | None = None
    ready_substate: str | None = None
    git_source: _GitSource | None = None
    meta: dict[str, object] = {}

    @property
    def commit(self) -> str | None:
        return (self.git_source.sha if self.git_source else None) or self._of_git("CommitSha")

    @property
    def branch(self) -> str | None:
        return (self.git_source.ref if self.git_source else None) or self._of_git("CommitRef")

    def _of_git(self, name: str) -> str | None:
        told = (self.meta.get(f"{host}{name}") for host in ("github", "gitlab", "bitbucket", "git"))
        return next((value for value in told if isinstance(value, str) and value), None)


class _ListedDeployment(_Deployment):
    """
    In a list it has its id by another name.
    """

    id: str = msgspec.field(name="uid")


class _Listed(_Document):
    deployments: list[_ListedDeployment]


class _Line(_Document, kw_only=True):
    level: str
    message: str
    timestamp_in_ms: _Milliseconds
    request_path: str = ""
    response_status_code: int | None = None

    @property
    def told(self) -> LoggedLine:
        status = self.response_status_code
        return LoggedLine(
            at=_moment(self.timestamp_in_ms),
            level=self.level,
            path=self.request_path,
            status=status if status and status > 0 else None,
            message=self.message,
        )


# --- refusals --------------------------------------------------------------------------------------------------------

_ADVICE: Final = {
    401: "check VERCEL_TOKEN: it may be wrong or have ended",
    403: "check VERCEL_TOKEN and VERCEL_TEAM_ID: the token must be one that may read the project",
    404: "check VERCEL_PROJECT_ID and VERCEL_TEAM_ID",
}


class _Problem(_Document):
    code: str


class _Refusal(_Document):
    error: _Problem


_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def _refuse(answer: urllib3.BaseHTTPResponse) -> None:
    """
    Nothing where the answer is 200.

    Raises:
        PlatformError: What it means else.
    """
    status = answer.status
    if status == 200:
        return
    if status < 400:
        raise VERCEL.another(status=status)
    code = _code(answer.data)
    said = f"HTTP {status}, {code}" if code else f"HTTP {status}"
    if status >= 500 or status in {408, 429}:
        reason = f"it answers {said}"
        raise Fault(reason, retry_after=seconds(answer.headers.get("Retry-After")))
    own = _ADVICE.get(status, "see what the Vercel dashboard says of the project")
    message = f"Vercel refused ({said})"
    hint = own if code else "check VERCEL_API_BASE_URL and the proxy: Vercel's own refusals have a code"
    raise PlatformRefused(message, status=status, hint=hint)


def _code(body: bytes) -> str | None:
    """
    Vercel's word for it; None where it is not Vercel's. Its sentences are not passed on.
    """
    try:
        code = _decode_refusal(body).error.code
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return code if re.fullmatch("[A-Za-z0-9_-]{1,60}", code) else None
