"""
A simulated service as a server on this machine: sockets, threads, the request log, and faults carried out.

It listens on the loopback interface only, on a port the system chooses. What is answered is the service's own business.
"""

from __future__ import annotations

import binascii
import os
import socket
import struct
import sys
import threading
import time
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

from booking_doctor.sandbox.exchange import Reply, Request
from booking_doctor.sandbox.twilio_faults import Ending, Fault, Faults

_NO_FAULT: Final = Fault(name="none")
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER``, on and zero seconds: closing sends RST."""

_POLL_S: Final = 0.02
_PATIENCE_S: Final = 2.0
"""How long closing waits for requests under way."""


class Simulator(ABC):
    """
    An API over HTTP, for as long as the ``with`` block lasts.

    Args:
        latency: How long each answer takes.

    Attributes:
        faults: What is to go wrong.
        requests: Every request that came in, oldest first, faulty answers included.
        max_in_flight: The most requests that were under way at once.
    """

    def __init__(self, *, latency: timedelta = timedelta(0)) -> None:
        self.latency = latency
        self.faults = Faults()
        self.requests: list[Request] = []
        self.max_in_flight = 0
        self._lock = threading.Lock()
        self._in_flight = 0
        self._closing = threading.Event()
        self._release = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True)

    @abstractmethod
    def now(self) -> datetime:
        """
        What its clock says.
        """

    @abstractmethod
    def answer(self, request: Request, secret: str | None) -> Reply:
        """
        Do what is asked, or say why not.

        Args:
            secret: The password or token that it came with.
        """

    def headed(self, reply: Reply, in_flight: int) -> Reply:  # noqa: ARG002  some services tell
        """
        The answer with the headers that all have.

        Args:
            in_flight: How many requests are under way.
        """
        return reply

    @property
    def base_url(self) -> str:
        """
        Where clients find it.
        """
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self) -> None:
        """
        Begin to answer, unless that was begun.
        """
        if not self._thread.is_alive():
            self._thread.start()

    def __enter__(self) -> Self:
        self.serve()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        Stop answering: whatever hangs is let go, every connection is closed.
        """
        self._closing.set()
        self.release()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up(_PATIENCE_S)
        self._server.server_close()

    def release(self) -> None:
        """
        Let the requests that hang now go on; later ones hang again.
        """
        with self._lock:
            held, self._release = self._release, threading.Event()
        held.set()

    def respond(self, request: Request, secret: str | None) -> tuple[Reply | None, Ending]:
        """
        Answer one request as the faults have it; None for no answer.
        """
        with self._counted(request) as in_flight:
            fault = self.faults.take(request) or _NO_FAULT
            reply = self._reply(request, secret, fault)
            self._closing.wait(self.latency.total_seconds())
            if reply is None or self._closing.is_set():
                return None, fault.ending if fault.ending == "reset" else "closed"
            return self.headed(reply, in_flight), fault.ending

    def _reply(self, request: Request, secret: str | None, fault: Fault) -> Reply | None:
        if fault.hangs == "before" and not self._held(fault):
            return None
        if fault.instead is not None or not fault.works:
            return fault.instead
        reply = self.answer(request, secret)
        if fault.hangs == "after" and not self._held(fault):
            return None
        return fault.edit(reply) if fault.edit else reply

    def _held(self, fault: Fault) -> bool:
        """
        Wait as the fault says, and tell whether there is still someone to answer.
        """
        with self._lock:
            release = self._release
        if not self._closing.is_set():
            release.wait(fault.hang_s)
        return not self._closing.is_set()

    @contextmanager
    def _counted(self, request: Request) -> Iterator[int]:
        with self._lock:
            self.requests.append(request)
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
            in_flight = self._in_flight
        try:
            yield in_flight
        finally:
            with self._lock:
                self._in_flight -= 1


class _Server(ThreadingTCPServer):
    """
    Threads that never outlive the process, and connections that can be hung up.

    Not http.server's own, which would ask the name service who 127.0.0.1 is.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.simulator = simulator
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  socketserver's own types
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """
        Say nothing of a client that hung up; anything else is a bug and shown.
        """
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def hang_up(self, patience_s: float) -> None:
        """
        Close all connections and wait for their threads.
        """
        with self._changed:
            for connection in self._connections:
                # NOTE: the client may have closed it already.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, patience_s)


class _Handler(BaseHTTPRequestHandler):
    """
    One connection.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        simulator = self.server.simulator
        request, secret = self._request()
        reply, ending = simulator.respond(request, secret)
        if ending == "reset":
            self._reset()
        elif reply is None or ending == "closed":
            self.close_connection = True
        else:
            self._send(reply, truncated=ending == "truncated")

    do_POST = do_DELETE = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """
        Write nothing: the request log is for that.
        """

    def _request(self) -> tuple[Request, str | None]:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode(errors="replace")
        target = urlsplit(self.path)
        user, secret = _credentials(self.headers.get("Authorization", ""))
        request = Request(
            method=self.command,
            target=self.path,
            path=target.path,
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            form=parse_qs(body, keep_blank_values=True),
            body=body,
            user=user,
            at=self.server.simulator.now(),
            monotonic_s=time.monotonic(),
            cache_control=self.headers.get("Cache-Control", ""),
        )
        return request, secret or self.headers.get("X-API-Key")

    def _send(self, reply: Reply, *, truncated: bool) -> None:
        headers = dict(reply.headers)
        if reply.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(reply.body))
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", *map(": ".join, headers.items())]
        head = "\r\n".join([*lines, "", ""]).encode()
        self.close_connection = self.close_connection or truncated
        body = reply.body[: len(reply.body) // 2] if truncated else reply.body
        # NOTE: in one write; a body in a second packet waits for the client's delayed acknowledgement, 40 ms.
        self.wfile.write(head + body)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # NOTE: http.server would end the stream politely before closing; taking its socket away prevents that.
        os.close(self.connection.detach())


def _credentials(header: str) -> tuple[str | None, str | None]:
    """
    User and password of Basic authentication, no user and the token of Bearer's; None where there are none.
    """
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "bearer":
        return None, encoded
    if scheme.lower() != "basic":
        return None, None
    try:
        user, _, secret = b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    return user, secret
