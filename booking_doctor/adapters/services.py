"""
Asking a service over HTTP: connections, trying again, giving up.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
import tenacity
import urllib3
from msgspec import Struct, field

from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.findings import Progress, Silent

_Item = TypeVar("_Item")


class Service(Struct, frozen=True, kw_only=True):
    """
    Who is asked, in the words of an error.

    Attributes:
        variable: The environment variable that gives another address for it.
        answers: What its answers are.
        unreachable: What to raise where no answer came that can be used.
    """

    name: str
    variable: str
    answers: str
    unreachable: type[SourceError]

    def another(self, *, status: int | None = None) -> SourceError:
        """
        What to raise for an answer that is somebody else's.
        """
        told = f" (HTTP {status})" if status else ""
        return self.unreachable(
            f"{self.name}'s answer was not {self.answers}{told}",
            hint=f"check {self.variable}: something else answers there",
        )


class Patience(Struct, frozen=True, kw_only=True):
    """
    How long to wait for a service. All in seconds.

    Attributes:
        give_up_after: Retries end so long after the last thing that came.
        first_tries: How often a server that has never answered is tried.
    """

    connect_timeout: float = 5
    read_timeout: float = 20
    give_up_after: float = 60
    first_wait: float = 0.5
    longest_wait: float = 20
    first_tries: int = 3


A_PERSON_WAITS: Final = Patience(read_timeout=10, give_up_after=10)


# --- trying again ----------------------------------------------------------------------------------------------------


class Fault(Exception):
    """
    It may be gone on the next try.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoConnection(Fault):
    """
    Not even a connection.
    """


class Tries(Struct):
    """
    When to try again, and when to stop: shared by all requests that read one thing, so that the progress of one keeps the
    others waiting for theirs.

    Attributes:
        retried: Called before each retry.
        connected: Whether the service has ever been reached.
    """

    service: Service
    patience: Patience
    progress: Progress
    retried: Callable[[], None]
    connected: bool = False
    last_progress: float = field(default_factory=time.monotonic)
    jitter: random.Random = field(default_factory=random.Random)

    def progressed(self) -> None:
        """
        Something came: the patience begins anew.
        """
        self.last_progress = time.monotonic()

    def run(self, ask: Callable[[], _Item], pause: Callable[[float], None]) -> _Item:
        """
        *ask* until it succeeds, is refused, or the patience ends.

        Args:
            pause: Waits for so many seconds.

        Raises:
            SourceError: It was refused, or would not succeed.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Fault),
            wait=self._wait,
            stop=self._stop,
            sleep=pause,
            before_sleep=self._announce,
            reraise=True,
        )
        try:
            answer = retrying(ask)
        except Fault as fault:
            hint = f"check the network and {self.service.variable}, then run it again"
            message = f"{self.service.name} cannot be read: {fault}"
            raise self.service.unreachable(message, hint=hint) from fault
        self.progressed()
        return answer

    def _wait(self, state: tenacity.RetryCallState) -> float:
        doubled = self.patience.first_wait * 2 ** min(state.attempt_number - 1, 30)
        longest = min(self.patience.longest_wait, doubled)
        asked = _fault(state).retry_after
        if asked is not None:
            return asked + self.jitter.uniform(0, min(1, longest))
        return self.jitter.uniform(longest / 2, longest)

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        self.connected = self.connected or not isinstance(_fault(state), NoConnection)
        idle = time.monotonic() + state.upcoming_sleep - self.last_progress
        tried_enough = state.attempt_number >= self.patience.first_tries
        return idle > self.patience.give_up_after or (tried_enough and not self.connected)

    def _announce(self, state: tenacity.RetryCallState) -> None:
        self.retried()
        self.progress.waiting(state.upcoming_sleep, str(_fault(state)))


def _fault(state: tenacity.RetryCallState) -> Fault:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Fault)  # noqa: S101  tenacity retries nothing else here
    return error


# --- connections -----------------------------------------------------------------------------------------------------


def connections(base_url: str, patience: Patience, size: int) -> urllib3.PoolManager:
    """
    So many connections, through the proxy that the environment names.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """
    parts = urlsplit(base_url)
    timeout = urllib3.Timeout(connect=patience.connect_timeout, read=patience.read_timeout)
    trusted = _trusted() if parts.scheme == "https" else None
    options: dict[str, Any] = {"maxsize": size, "retries": False, "timeout": timeout, "ssl_context": trusted}
    proxies = getproxies()
    variable = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if variable is None or proxy_bypass(parts.netloc):
        return urllib3.PoolManager(**options)
    proxied = _proxied(proxies[variable], options)
    if proxied is None:
        message = f"the proxy that {variable.upper()}_PROXY names cannot be used"
        raise SettingsError(message, hint="write http://[user:password@]host:port, or except the host with NO_PROXY")
    return proxied


def _proxied(proxy: str, options: Mapping[str, Any]) -> urllib3.ProxyManager | None:
    """
    Connections through *proxy*; None where its URL cannot be meant. Nothing says why: it may hold a password.
    """
    try:
        url = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        login = urllib3.make_headers(proxy_basic_auth=unquote(url.auth)) if url.auth else None
        manager = urllib3.ProxyManager(
            url._replace(auth=None).url, proxy_headers=login, proxy_ssl_context=options["ssl_context"], **options
        )
    except (urllib3.exceptions.HTTPError, ValueError):
        return None
    return manager if url.host else None


def _trusted() -> ssl.SSLContext:
    """
    Whose certificates are accepted: the bundle that the environment names, as the SDK takes it; else the system's and
    Mozilla's, because some Pythons come without the one, and some networks sign with what only the system knows.

    Raises:
        SettingsError: The bundle is not there, or is none.
    """
    variable = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)
    context = urllib3.util.create_urllib3_context()
    if variable is None:
        import certifi  # comes with requests

        context.load_default_certs()
        context.load_verify_locations(certifi.where())
        return context
    bundle = os.environ[variable]
    try:
        context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})  # noqa: PTH112
    except OSError as error:
        message = f"{variable} names no certificates: {bundle}"
        raise SettingsError(
            message, hint=f"name a file of certificates in PEM form, or leave {variable} out"
        ) from error
    return context


_NO_CONNECTION: Final = {
    urllib3.exceptions.SSLError: "no secure connection",
    urllib3.exceptions.ProxyError: "no connection through the proxy",
    urllib3.exceptions.NewConnectionError: "no connection",
    urllib3.exceptions.ConnectTimeoutError: "no connection",
}


def lost(service: Service, error: urllib3.exceptions.HTTPError) -> Exception:
    """
    What to raise for an answer that did not come: a `Fault` where another try may help.
    """
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return service.unreachable(f"{service.variable} names no host", hint="write http(s)://host[:port]")
    if any(isinstance(reason, ssl.CertificateError) for reason in error.args):
        message = f"{service.name}'s certificate was not accepted"
        return service.unreachable(message, hint=f"check {service.variable}, the proxy and REQUESTS_CA_BUNDLE")
    for kind, reason in _NO_CONNECTION.items():
        if isinstance(error, kind):
            return NoConnection(reason)
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return Fault("it does not answer")
    return Fault("the connection was lost")


# --- answers ----------------------------------------------------------------------------------------------------------


def understood(service: Service, decode: Callable[[bytes], _Item], body: bytes) -> _Item:
    """
    The answer, decoded.

    Raises:
        SourceError: It is something else.
    """
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise service.another() from None


def seconds(retry_after: str | None) -> float | None:
    """
    Seconds, or until a date; None where it says neither.
    """
    try:
        return float(urllib3.Retry().parse_retry_after(retry_after)) if retry_after else None
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None


# --- questions -------------------------------------------------------------------------------------------------------


class Questions:
    """
    Small questions to a service, one after the other, for somebody who waits.

    Args:
        headers: Of every request.
        refuse: Raises what an answer means that is none.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(
        self,
        service: Service,
        base_url: str,
        headers: Mapping[str, str],
        refuse: Callable[[urllib3.BaseHTTPResponse], None],
        patience: Patience,
    ) -> None:
        self._service = service
        self._headers = headers
        self._refuse = refuse
        self._http = connections(base_url, patience, 1)
        self._tries = Tries(service, patience, Silent(), retried=lambda: None)
        self._silent: SourceError | None = None

    def ask(self, url: str, shape: type[_Item]) -> _Item:
        """
        What is there; of the document only what *shape* has is kept. A service that would not answer is not asked again.

        Raises:
            SourceError: It is refused, would not come, or is another document.
        """
        if self._silent:
            raise self._silent
        self._tries.progressed()
        try:
            body = self._tries.run(partial(self._body, url), time.sleep)
        except self._service.unreachable as error:
            self._silent = error
            raise
        decode: Callable[[bytes], _Item] = msgspec.json.Decoder(shape).decode
        return understood(self._service, decode, body)

    def _body(self, url: str) -> bytes:
        try:
            answer = self._http.request("GET", url, headers=self._headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise lost(self._service, error) from error
        self._refuse(answer)
        return answer.data
