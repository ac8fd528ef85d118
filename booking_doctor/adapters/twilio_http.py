"""
Asking Twilio over HTTP: who it is to `services`, how the SDK asks the same way, and what an answer means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import urllib3
from msgspec import Struct

from booking_doctor.adapters.services import Fault, Service, seconds
from booking_doctor.errors import TwilioRefused, TwilioUnreachable

TWILIO: Final = Service(
    name="Twilio", variable="TWILIO_API_BASE_URL", answers="its message log", unreachable=TwilioUnreachable
)

_PASSING: Final = frozenset({20429, 429, None})
"""Error codes of a 429 that passes; a proxy's has none. 63038 is a daily cap (https://www.twilio.com/docs/api/errors/63038)."""


class Carrier(Struct, frozen=True):
    """
    The SDK's HTTP client over our own connections: proxy, certificates and time-outs are the same for both ways in.
    """

    http: urllib3.PoolManager

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], auth: tuple[str, str], **_: object
    ) -> urllib3.BaseHTTPResponse:
        """
        As the SDK asks for it.
        """
        return self.http.request(method, url, headers={**headers, **login(*auth)}, redirect=False)


def login(username: str, password: str) -> dict[str, str]:
    """
    The headers of every request.
    """
    return urllib3.make_headers(basic_auth=f"{username}:{password}", accept_encoding="gzip", keep_alive=True)


class Refusal(msgspec.Struct):
    """
    An error as Twilio tells it.
    """

    code: int | None = None


_decode_refusal = msgspec.json.Decoder(Refusal).decode


def refusal(body: bytes) -> Refusal:
    """
    What Twilio says where it refuses; a code of None where that is not Twilio's.
    """
    try:
        return _decode_refusal(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Refusal()


def refuse(answer: urllib3.BaseHTTPResponse) -> None:
    """
    Nothing where the answer is 200.

    Raises:
        TwilioError: What it means else.
    """
    status = answer.status
    if status == 200:
        return
    if status < 400:
        raise TWILIO.another(status=status)
    code = refusal(answer.data).code
    said = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
    if status >= 500 or status == 408 or (status == 429 and code in _PASSING):
        reason = f"it answers {said}"
        raise Fault(reason, retry_after=seconds(answer.headers.get("Retry-After")))
    message = f"Twilio refused ({said})"
    raise TwilioRefused(message, status=status, code=code or status, hint=_advice(code))


def _advice(code: int | None) -> str:
    if code is None:
        return "check TWILIO_API_BASE_URL and the proxy: Twilio's own refusals have a code"
    advice = {
        20003: "check TWILIO_ACCOUNT_SID and its token or key, or whether the account is suspended",
        20008: "these are test credentials, which cannot read messages; use the live ones",
        20404: "check TWILIO_ACCOUNT_SID and TWILIO_API_BASE_URL",
        63038: "the account's daily cap is reached; run it again tomorrow",
    }
    return advice.get(code, f"see https://www.twilio.com/docs/errors/{code}")
