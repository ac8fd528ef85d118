"""
What every request passes: it gets an id, its answer the headers that all have, and the log one line.

The line names our own addresses only: what else stands in one may be a token, a name or a phone number. An error that
nobody foresaw ends here, without its message, which may hold anything.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from booking_doctor.errors import place_of
from booking_doctor.web.problems import BUG, ENDED, Problem, respond

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_log: Final = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

CLIENT_GONE: Final = 499
"""As the log has it; nobody gets this answer."""


class Doorway:
    """
    Wraps the application (ASGI).

    Args:
        addresses: Those that the application has, which may be logged.
    """

    def __init__(self, app: _App, addresses: frozenset[str]) -> None:
        self._app = app
        self._addresses = addresses

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """
        Serve one request.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        passage = _Passage(send, request_id=given if _REQUEST_ID.fullmatch(given) else str(uuid4()))
        start = time.perf_counter()
        try:
            await self._app(scope, receive, passage.send)
        except ClientDisconnect:
            passage.status = CLIENT_GONE
        except asyncio.CancelledError:
            # NOTE: only a server that was told twice to end, or waited long enough, does that.
            await passage.give_up(ENDED, scope, receive)
        except Exception as error:  # noqa: BLE001  the outermost place
            _log.error("%s in %s [%s]", type(error).__name__, place_of(error), passage.request_id)
            await passage.give_up(BUG, scope, receive)
        finally:
            self._log(scope, passage, time.perf_counter() - start)

    def _log(self, scope: _Message, passage: _Passage, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "(unknown method)"
        address = scope["path"] if scope["path"] in self._addresses else "(unknown address)"
        told = (method, address, passage.status, round(seconds * 1000), passage.request_id)
        _log.info("%s %s %d in %d ms [%s]", *told)


class _Passage:
    """
    One answer on its way out.
    """

    def __init__(self, send: _Send, *, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def give_up(self, problem: Problem, scope: _Message, receive: _Receive) -> None:
        """
        Answer with a problem, unless something was answered already.
        """
        if not self.status:
            await respond(problem)(scope, receive, self.send)

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["Cache-Control"] = "no-store"
            headers["X-Content-Type-Options"] = "nosniff"
            headers["X-Request-Id"] = self.request_id
        await self._send(message)
