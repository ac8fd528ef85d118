"""
Everything that can go wrong between a client and Twilio, to order.

A fault is data: what is answered instead, what is done to the true answer, when it hangs, how it ends. A `Simulator`
carries it out. Twilio's own refusals are from its pages on the errors 20003, 20008, 20429, 20500 and
63038; the rest is what proxies and networks do.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.sandbox.exchange import Reply, Request
from booking_doctor.sandbox.twilio_api import problem

Ending: TypeAlias = Literal["whole", "truncated", "reset", "closed"]

_HTML: Final = {"Content-Type": "text/html"}
_BAD_GATEWAY: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_LOGIN_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Welcome to this network</h1><p>Please log in.</p></body></html>"


class On(Struct, frozen=True, kw_only=True):
    """
    Which requests a fault is for; what is not said does not matter.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: A part of the path.
        page: The ``Page`` asked for, 0 being the first.
        contains: A part of path and query as they were sent.
    """

    method: str | None = None
    path: str = ""
    page: int | None = None
    contains: str = ""

    def __call__(self, request: Request) -> bool:
        """
        Whether the fault is for this request.
        """
        return (
            self.method in {None, request.method}
            and self.path in request.path
            and (self.page is None or str(self.page) == request.query.get("Page", "0"))
            and self.contains in request.target
        )


class Fault(Struct, frozen=True, kw_only=True):
    """
    One thing that goes wrong.

    Attributes:
        instead: Answered instead of doing what is asked.
        edit: Done to the true answer.
        hangs: Whether it stops before or after doing what is asked.
        hang_s: For how many seconds; None for until it is released.
        works: Whether what is asked is done at all.
        ending: What becomes of the answer and the connection.
    """

    name: str
    instead: Reply | None = None
    edit: Callable[[Reply], Reply] | None = None
    hangs: Literal["before", "after"] | None = None
    hang_s: float | None = None
    works: bool = True
    ending: Ending = "whole"

    @classmethod
    def throttled(cls, retry_after: int | None = None) -> Fault:
        """
        Too many requests in flight; this one was not processed.

        Args:
            retry_after: Seconds, for a ``Retry-After`` header.
        """
        return cls(name="throttled", instead=problem(20429, headers=_retry_after(retry_after)))

    @classmethod
    def daily_cap(cls) -> Fault:
        """
        The same HTTP status, 429, for something that must not be retried today.
        """
        return cls(name="daily-cap", instead=problem(63038))

    @classmethod
    def server_error(cls) -> Fault:
        """
        Twilio's own fault, 500.
        """
        return cls(name="server-error", instead=problem(20500))

    @classmethod
    def unavailable(cls, retry_after: int | None = None) -> Fault:
        """
        Out of service, 503.
        """
        return cls(name="unavailable", instead=problem(20503, headers=_retry_after(retry_after)))

    @classmethod
    def unauthorised(cls) -> Fault:
        """
        The credentials are not accepted (any more).
        """
        return cls(name="unauthorised", instead=problem(20003))

    @classmethod
    def forbidden(cls) -> Fault:
        """
        What test credentials are told.
        """
        return cls(name="forbidden", instead=problem(20008))

    @classmethod
    def bad_gateway(cls) -> Fault:
        """
        A proxy's 502, in HTML.
        """
        return cls(name="bad-gateway", instead=Reply(status=502, body=_BAD_GATEWAY, headers=_HTML))

    @classmethod
    def login_page(cls) -> Fault:
        """
        HTML with status 200, as captive networks send.
        """
        return cls(name="login-page", instead=Reply(status=200, body=_LOGIN_PAGE, headers=_HTML))

    @classmethod
    def garbage(cls, body: str = '{"surprise": [1, 2, 3]}') -> Fault:
        """
        Status 200 and a document that is not the one asked for.
        """
        headers = {"Content-Type": "application/json"}
        return cls(name="garbage", instead=Reply(status=200, body=body.encode(), headers=headers))

    @classmethod
    def bad_date(cls, text: str = "yesterday", *, record: int = 0) -> Fault:
        """
        One message's ``date_sent`` is no date.

        Args:
            record: Which message of a page, 0 being the first.
        """
        return cls(name="bad-date", edit=lambda reply: _with_date_sent(reply, text, record))

    @classmethod
    def hang(cls, seconds: float | None = None, *, stored: bool = False) -> Fault:
        """
        No answer for *seconds*, or until released; then the true one, if anyone still listens.

        Args:
            stored: Whether what is asked is done before, so that a client who gives up does not know of it.
        """
        return cls(name="hang", hangs="after" if stored else "before", hang_s=seconds)

    @classmethod
    def reset(cls, *, stored: bool = True) -> Fault:
        """
        The connection is reset instead of an answer.

        Args:
            stored: Whether what is asked was done before.
        """
        return cls(name="reset", works=stored, ending="reset")

    @classmethod
    def closed(cls, *, stored: bool = False) -> Fault:
        """
        The connection is closed without an answer.

        Args:
            stored: Whether what is asked was done before.
        """
        return cls(name="closed", works=stored, ending="closed")

    @classmethod
    def truncated(cls) -> Fault:
        """
        The answer breaks off in the middle of its body.
        """
        return cls(name="truncated", ending="truncated")


class _Order(Struct):
    fault: Fault
    left: int | None
    on: Callable[[Request], bool]


class Faults:
    """
    The faults that are to happen, in order: a request meets the first that is for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[_Order] = []

    def add(self, fault: Fault, *, times: int | None = 1, on: Callable[[Request], bool] | None = None) -> None:
        """
        Order a fault.

        Args:
            times: For how many requests; None for ever.
            on: Which requests, such as `On`; all, unless said.
        """
        with self._lock:
            self._orders.append(_Order(fault, times, on or On()))

    def take(self, request: Request) -> Fault | None:
        """
        What happens to this request, used up by asking.
        """
        with self._lock:
            order = next((order for order in self._orders if order.on(request)), None)
            if order is None:
                return None
            if order.left is not None:
                order.left -= 1
            self._orders = [order for order in self._orders if order.left != 0]
            return order.fault

    def clear(self) -> None:
        """
        Take all orders back.
        """
        with self._lock:
            self._orders.clear()

    def unused(self) -> list[Fault]:
        """
        Those that have not happened as often as they were to; one for ever counts as used.
        """
        with self._lock:
            return [order.fault for order in self._orders if order.left is not None]


def _retry_after(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _with_date_sent(reply: Reply, text: str, record: int) -> Reply:
    payload = json.loads(reply.body)
    message = payload["messages"][record] if "messages" in payload else payload
    message["date_sent"] = text
    return replace(reply, body=json.dumps(payload).encode())
