"""
Texting through Twilio, and looking texts up in its log: the booking flow's ports over the real SDK.

There is no key that would make a second request harmless (Twilio: "Messages resource"), so one that may have arrived is
never made again. What certainly did not arrive may be: a connection that was refused, or error 20429, with which Twilio
says that it did nothing.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import tenacity
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from booking_doctor.adapters.services import Fault, Patience, connections, lost, understood
from booking_doctor.adapters.twilio import decode_message, decode_page
from booking_doctor.adapters.twilio_http import TWILIO, login, refusal, refuse
from booking_doctor.core.model import TwilioMessage, UnreadableMessage
from booking_doctor.core.ports import Accepted, Answer, Lost, NotSent, Text
from booking_doctor.errors import TwilioUnreachable

if TYPE_CHECKING:
    from datetime import datetime

    from twilio.http.response import Response

    from booking_doctor.settings import TwilioSettings

# NOTE: Twilio gives up on a request by itself after some 26 seconds; who waits longer than that learns the outcome.
PATIENCE: Final = Patience(connect_timeout=5, read_timeout=30, first_tries=3)

THROTTLED: Final = 20429
"""Too many requests at once; this one was not processed (https://www.twilio.com/docs/api/errors/20429)."""

_PAGE: Final = 50
_PAGES: Final = 20


class TwilioMessenger:
    """
    Implements `booking_doctor.core.ports.Messenger`.

    Args:
        at_once: How many texts may be on their way at the same time.
        pause: Waits for so many seconds before another try.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(
        self,
        settings: TwilioSettings,
        *,
        patience: Patience = PATIENCE,
        at_once: int = 10,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        # NOTE: here, so that the first customer does not wait for it; it takes a fifth of a second.
        from twilio.rest import Client

        self._http = connections(settings.base_url, patience, at_once)
        self._carrier = _Carrier(self._http)
        # An empty mapping would make the SDK read the process environment.
        environment = {"TWILIO_ACCOUNT_SID": settings.account_sid}
        account = settings.username, settings.password.value, settings.account_sid
        client = Client(*account, http_client=self._carrier, environment=environment)
        client.api.base_url = settings.base_url
        self._messages = client.messages
        self._sender = _sender(settings.senders)
        self._again = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda answer: isinstance(answer, NotSent) and answer.passing),
            wait=tenacity.wait_random_exponential(patience.first_wait, max=2, min=patience.first_wait / 2),
            stop=tenacity.stop_after_attempt(patience.first_tries),
            sleep=pause,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )

    def send(self, text: Text) -> Answer:
        """
        Have Twilio create the message.
        """
        answer: Answer = self._again(self._create, text)
        return answer

    def _create(self, text: Text) -> Answer:
        from twilio.base.exceptions import TwilioException

        optional = {"status_callback": text.callback} if text.callback else {}
        self._carrier.answer = None
        try:
            self._messages.create(to=text.to, body=text.body, **optional, **self._sender)
        except HTTPError as error:
            return _unanswered(error)
        except (TwilioException, ValueError, TypeError, AttributeError):
            if self._carrier.answer is None:
                raise
        return _meaning(self._carrier.answer)


class _Carrier(threading.local):
    """
    The SDK's HTTP client over our own connections.

    Attributes:
        answer: The last one of this thread, as it came. It is judged instead of what the SDK makes of it, whose messages drop
            the time zone of their dates and whose errors give an HTTP status for a code.
    """

    def __init__(self, http: urllib3.PoolManager) -> None:
        self._http = http
        self.answer: urllib3.BaseHTTPResponse | None = None

    def request(
        self,
        method: str,
        url: str,
        *,
        data: Mapping[str, object],
        headers: Mapping[str, str],
        auth: tuple[str, str],
        **_: object,
    ) -> Response:
        """
        As the SDK asks for it.
        """
        from twilio.http.response import Response

        body, headers = urlencode(data, doseq=True), {**headers, **login(*auth)}
        self.answer = answer = self._http.request(method, url, body=body, headers=headers, redirect=False)
        return Response(answer.status, answer.data.decode(errors="replace"), answer.headers)


def _sender(senders: frozenset[str]) -> dict[str, str]:
    """
    The messaging service where there is one, because it knows which of its numbers may text whom; else the number.
    """
    service = next((sender for sender in senders if sender.startswith("MG")), None)
    return {"messaging_service_sid": service} if service else {"from_": next(iter(senders), "")}


def _meaning(answer: urllib3.BaseHTTPResponse | None) -> Answer:
    """
    What an answer says of the text. A server's own fault, a time-out or somebody else's page says nothing.
    """
    status = 0 if answer is None else answer.status
    if answer is None or status >= 500 or status == 408 or 202 <= status < 400:
        return Lost(reason=f"Twilio answered HTTP {status}")
    if status < 300:
        return _accepted(answer.data)
    code = refusal(answer.data).code
    if code is None:
        return NotSent(code=None, reason=f"something that is not Twilio answered HTTP {status}")
    if code == THROTTLED:
        return NotSent(code=code, reason="Twilio was asked for too much at once", passing=True)
    return NotSent(code=code, reason=f"Twilio refused it: {_told(code)}")


def _told(code: int) -> str:
    # NOTE: the package has all checks in it, and texts are seldom refused.
    from booking_doctor.checks.twilio_codes import reason

    return reason(code).meaning


def _accepted(body: bytes) -> Answer:
    try:
        return Accepted(message=understood(TWILIO, decode_message, body))
    except TwilioUnreachable:
        return Lost(reason="Twilio's answer was not a message")


_NEVER_LEFT: Final = (NewConnectionError, ConnectTimeoutError, ProxyError)


def _unanswered(error: HTTPError) -> Answer:
    """
    What it means that no answer came. A connection that breaks may do so before or after Twilio has read the request.
    """
    if isinstance(error, _NEVER_LEFT):
        return NotSent(code=None, reason="there was no connection to Twilio", passing=True)
    if isinstance(error, LocationValueError):
        return NotSent(code=None, reason="TWILIO_API_BASE_URL names no host")
    if any(isinstance(cause, ssl.CertificateError) for cause in error.args):
        return NotSent(code=None, reason="Twilio's certificate was not accepted")
    hangs = isinstance(error, ReadTimeoutError)
    return Lost(reason="Twilio does not answer" if hangs else "the connection to Twilio was lost")


class TwilioFinder:
    """
    Implements `booking_doctor.core.ports.MessageFinder`: the newest texts to one phone.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, settings: TwilioSettings, *, patience: Patience = PATIENCE, at_once: int = 4) -> None:
        self._settings = settings
        self._http = connections(settings.base_url, patience, at_once)
        self._headers = login(settings.username, settings.password.value)
        self._collection = f"/2010-04-01/Accounts/{settings.account_sid}/Messages"

    def sent_to(self, phone: str, since: datetime, *, within_s: float) -> Sequence[TwilioMessage]:
        """
        One try. The list is not narrowed by date: one that has not been sent has none, and would be left out.
        """
        end, found = time.monotonic() + within_s, []
        for page in self._pages(phone, end):
            young = [message for message in page if _happened(message, since)]
            found += young
            if len(young) < len(page):
                return found[::-1]
        return found[::-1]

    def _pages(self, phone: str, end: float) -> Iterator[Sequence[TwilioMessage]]:
        uri: str | None = f"{self._collection}.json?{urlencode({'To': phone, 'PageSize': _PAGE})}"
        for _ in range(_PAGES):
            page = understood(TWILIO, decode_page, self._body(uri or "", end))
            yield page.messages
            uri = page.next_page_uri
            if uri is None:
                return
            # NOTE: the credential goes along, so a page may not send us anywhere but to this account's messages.
            if not uri.startswith(f"{self._collection}.json?"):
                raise TWILIO.another()
        message = "Twilio has too many texts to that phone to look through"
        raise TwilioUnreachable(message, hint="compare the whole log: booking-doctor reconcile")

    def _body(self, uri: str, end: float) -> bytes:
        left = max(end - time.monotonic(), 0.001)
        timeout, url = urllib3.Timeout(total=left), f"{self._settings.base_url}{uri}"
        try:
            answer = self._http.request("GET", url, headers=self._headers, redirect=False, timeout=timeout)
            refuse(answer)
        except HTTPError as error:
            raise _unread(lost(TWILIO, error)) from error
        except Fault as fault:
            raise _unread(fault) from fault
        return answer.data


def _unread(fault: Exception) -> TwilioUnreachable:
    if isinstance(fault, TwilioUnreachable):
        return fault
    return TwilioUnreachable(f"Twilio cannot be read: {fault}", hint="check the network and TWILIO_API_BASE_URL")


def _happened(message: TwilioMessage, since: datetime) -> bool:
    """
    Whether it is so young; one whose date cannot be read may be.
    """
    try:
        return message.happened_at >= since
    except UnreadableMessage:
        return True
