"""
Asking the running application over HTTP, as a client would: which build answers, and whether its settings are ours.

A redirect is an answer, never followed: behind it may be anybody, and requests may carry a key. A key is sent only over TLS, or
within this machine, and only to who has answered as the application before.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import urllib3

from booking_doctor.adapters.services import Patience, connections
from booking_doctor.deployment import Identity, configuration_hashes
from booking_doctor.errors import ApplicationRefused, ApplicationUnreachable, NotConfigured
from booking_doctor.evidence import Answer, NoAnswer, SettingsCompared
from booking_doctor.settings import Secret

ROUTE: Final = "/api/test-deployment"
KEYS: Final = ("BOOKING_API_KEY", "TEST_API_KEY")

_TIMES: Final = 5
_LOST: Final = 2
"""So many questions without an answer are enough."""

_LONGEST: Final = 65_536
_PATIENCE: Final = Patience(connect_timeout=5, read_timeout=10)

_UNCACHED: Final = {"Cache-Control": "no-cache, no-store", "Pragma": "no-cache", "Accept": "application/json"}
_TELLING: Final = (
    *("content-type", "location", "server", "retry-after", "allow", "age", "date", "www-authenticate", "x-request-id"),
    *("x-vercel-cache", "x-vercel-error", "x-vercel-id", "x-vercel-mitigated", "x-matched-path"),
    *("cf-cache-status", "cf-mitigated", "x-cache"),
)
"""Headers that say who has answered (Vercel: "Response headers")."""


class Wire:
    """
    One request at a time, each over a connection of its own, so that whoever spreads them over several servers does.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, address: str, clock: Callable[[], datetime], patience: Patience = _PATIENCE) -> None:
        self._address = address
        self._clock = clock
        self._patience = patience
        self._http = connections(address, patience, 1)

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer | NoAnswer:
        """
        What comes back, whatever it is. Nothing is tried again and no redirect is followed.
        """
        asked_at, start = self._clock(), time.monotonic()
        try:
            got = self._http.request(
                method,
                f"{self._address}{path}",
                headers={**(headers or {}), "Connection": "close"},
                body=body,
                redirect=False,
                preload_content=False,
            )
            told = got.read(_LONGEST, decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            took = timedelta(seconds=time.monotonic() - start)
            return NoAnswer(asked_at=asked_at, took=took, reason=_reason(error, self._patience))
        finally:
            self._http.clear()  # the next one gets a connection of its own
        took = timedelta(seconds=time.monotonic() - start)
        return Answer(asked_at=asked_at, took=took, status=got.status, headers=_telling(got.headers), body=told)


def _telling(headers: urllib3.HTTPHeaderDict) -> dict[str, str]:
    told = {name: headers[name][:500] for name in _TELLING if name in headers}
    cookies = [cookie.partition("=")[0].strip() for cookie in headers.getlist("set-cookie")]
    return {**told, "set-cookie": ", ".join(cookies)} if cookies else told


def _reason(error: urllib3.exceptions.HTTPError, patience: Patience) -> str:
    """
    Why no answer came, without a word of the error's own: it may hold a proxy's password.
    """
    if isinstance(error, urllib3.exceptions.SSLError):
        judged = any(isinstance(one, ssl.CertificateError) for one in error.args)
        return f"{'shows a certificate that is not accepted' if judged else 'gives no secure connection'} (TLS)"
    for kind, reason in _NO_ANSWER.items():
        if isinstance(error, kind):
            return reason.format(connect=patience.connect_timeout, read=patience.read_timeout)
    return "breaks off the connection"


_NO_ANSWER: Final[Mapping[type[urllib3.exceptions.HTTPError], str]] = {
    urllib3.exceptions.NameResolutionError: "cannot be found: DNS has no address for it",
    urllib3.exceptions.ProxyError: "cannot be reached through the proxy",
    urllib3.exceptions.NewConnectionError: "takes no connection",
    urllib3.exceptions.ConnectTimeoutError: "takes no connection within {connect:g} s",
    urllib3.exceptions.ReadTimeoutError: "does not answer within {read:g} s",
}


class HttpApplication:
    """
    Implements `booking_doctor.evidence.Application`.

    Args:
        address: Its public address, without a slash at its end.
        variables: Our settings, among them the keys to ask with.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(
        self,
        address: str,
        variables: Mapping[str, str],
        clock: Callable[[], datetime],
        patience: Patience = _PATIENCE,
    ) -> None:
        self._address = urlsplit(address)
        self._variables = variables
        self._wire = Wire(address, clock, patience)
        self._longest = timedelta(seconds=min(patience.connect_timeout, patience.read_timeout))

    @property
    def host(self) -> str:
        """
        Whom the address names.
        """
        return str(self._address.hostname)

    def who_answers(self) -> Sequence[Answer | NoAnswer]:
        """
        What the route says, several times; fewer where nobody answers.
        """
        return self._answers

    @cached_property
    def _answers(self) -> list[Answer | NoAnswer]:
        answers: list[Answer | NoAnswer] = []
        for _ in range(_TIMES):
            answers.append(self._ask())
            lost = [answer for answer in answers if isinstance(answer, NoAnswer)]
            # NOTE: who has said nothing for so long says nothing the next time either, and everybody would wait again.
            if len(lost) == _LOST or any(answer.took >= self._longest for answer in lost):
                break
        return answers

    def _ask(self, key: Secret | None = None) -> Answer | NoAnswer:
        headers = {**_UNCACHED, **({"X-API-Key": key.value} if key else {})}
        return self._wire.send("GET", f"{ROUTE}?uncached={secrets.token_hex(8)}", headers=headers)

    def settings(self) -> SettingsCompared:
        """
        Asks with one key after the other, until one is known.
        """
        for key in self._keys():
            answer = self._ask(key)
            identity = Identity.of(answer.body) if isinstance(answer, Answer) and answer.status == 200 else None
            if identity is None:
                message = "the application did not answer when it was asked with a key"
                raise ApplicationUnreachable(message, hint="run it again")
            if identity.key == "valid":
                return _compared(identity.hashes, configuration_hashes(self._variables, key))
        message = f"the application knows none of our keys ({' and '.join(self._named())})"
        raise ApplicationRefused(message, hint=f"set {KEYS[0]} to the one it has, or deploy it with this one")

    def _keys(self) -> list[Secret]:
        named = self._named()
        if not named:
            message = f"neither {' nor '.join(KEYS)} is set"
            raise NotConfigured(message, hint="with a key the application gives hashes of its settings to compare")
        if not self._private():
            message = "a key is not sent over plain HTTP"
            raise NotConfigured(message, hint="set BOOKING_APP_URL to the https:// address")
        if not any(isinstance(got, Answer) and got.status == 200 and Identity.of(got.body) for got in self._answers):
            message = "nobody has answered as the application, so no key was sent"
            raise ApplicationUnreachable(message)
        return [Secret(self._variables[name]) for name in named]

    def _named(self) -> list[str]:
        return [name for name in KEYS if self._variables.get(name)]

    def _private(self) -> bool:
        """
        Whether nobody on the way can read along.
        """
        if self._address.scheme == "https" or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def _compared(there: Mapping[str, str], here: Mapping[str, str]) -> SettingsCompared:
    return SettingsCompared(
        different=sorted(name for name in there.keys() & here.keys() if there[name] != here[name]),
        only_there=sorted(there.keys() - here.keys()),
        only_here=sorted(here.keys() - there.keys()),
    )
