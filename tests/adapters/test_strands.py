"""
Requests on their way at once in one thread, over real connections.
"""

from __future__ import annotations

import gc
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGINT, raise_signal
from socket import create_connection, socket
from threading import Event, Thread
from typing import Any

import pytest
import urllib3

from booking_doctor.adapters.strands import Strands, pause, stepping_aside

Ask = Callable[[str], bytes]


class _Server(ThreadingHTTPServer):
    """
    Answers with the path, after as many seconds as it says, or when it is let go; "/begins" behind it: begins at once,
    and waits in the middle.

    Attributes:
        left: A connection was closed by who asked.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._context = context
        self.scheme = "https" if context else "http"
        self.let_go = Event()
        self.left = Event()

    def get_request(self) -> tuple[socket, Any]:
        """
        TLS is left to whoever reads first, so that one connection does not keep the next waiting.
        """
        connection, address = super().get_request()
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, *_: object) -> None:
        """
        Who asked is gone, as one of the tests wants it.
        """


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        until, _, begins = self.path[1:].partition("/")
        if not begins:
            self._wait(until)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        if begins:
            self.wfile.write(self.path[:2].encode())
            self._wait(until)
        self.wfile.write(self.path[2 if begins else 0 :].encode())

    def do_CONNECT(self) -> None:
        host, _, port = self.path.partition(":")
        with create_connection((host, int(port))) as target:
            self.send_response(200)
            self.end_headers()
            Thread(target=_carry, args=(target, self.connection), daemon=True).start()
            _carry(self.connection, target)
        self.close_connection = True

    def _wait(self, until: str) -> None:
        if until == "held":
            self.server.let_go.wait(5)
        else:
            time.sleep(float(until))

    def finish(self) -> None:
        super().finish()
        self.server.left.set()

    def log_message(self, *_: object) -> None:
        pass


def _carry(source: socket, sink: socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


@pytest.fixture(name="server", params=["http", "https"])
def _server(request: pytest.FixtureRequest) -> Iterator[_Server]:
    """
    Somebody who answers.
    """
    secure = request.param == "https"
    with serving(request.getfixturevalue("certificate") if secure else None) as server:
        yield server


@contextmanager
def serving(certificate: Path | None) -> Iterator[_Server]:
    """
    A server, over TLS if it has a certificate.
    """
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with _Server(context) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.let_go.set()
        server.shutdown()


@pytest.fixture(name="ask")
def _ask(server: _Server, request: pytest.FixtureRequest) -> Ask:
    """
    A question to the server, whose answers are awaited for 0.4 seconds.
    """
    trusted = trusting(request.getfixturevalue("certificate")) if server.scheme == "https" else None
    http = stepping_aside(urllib3.PoolManager(retries=False, timeout=0.4, ssl_context=trusted))
    return lambda path: http.request("GET", f"{server.scheme}://127.0.0.1:{server.server_port}{path}").data


def trusting(certificate: Path) -> ssl.SSLContext:
    """
    What accepts that certificate.
    """
    trusted = urllib3.util.create_urllib3_context()
    trusted.load_verify_locations(certificate)
    return trusted


def all_of(strands: Strands) -> Iterator[Future[Any]]:
    """
    What has ended, as it does.
    """
    while ended := strands.ended():
        yield from ended


def test_nothing_under_way() -> None:
    """
    Whoever asks what has ended does not wait for what was never begun.
    """
    assert Strands().ended() == []


def test_answers_are_awaited_together(ask: Ask) -> None:
    """
    Each comes when it has come, whatever was asked for first.
    """
    strands, begun = Strands(), time.monotonic()
    for path in ("/0.3", "/0.1", "/0.2", "/0"):
        strands.submit(partial(ask, path))

    assert [future.result() for future in all_of(strands)] == [b"/0", b"/0.1", b"/0.2", b"/0.3"]
    assert time.monotonic() - begun < 0.3 + 0.2 + 0.1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_through_a_proxy(certificate: Path, scheme: str) -> None:
    """
    A tunnel keeps nobody waiting either, whichever way the proxy itself is spoken to; certificates are demanded in it.
    """
    trusted = trusting(certificate)
    with serving(certificate) as server, serving(certificate if scheme == "https" else None) as proxy:
        to, way = f"https://127.0.0.1:{server.server_port}", f"{scheme}://127.0.0.1:{proxy.server_port}"
        through = partial(urllib3.ProxyManager, way, proxy_ssl_context=trusted, retries=False, timeout=0.5)
        http = stepping_aside(through(ssl_context=trusted))
        strands = Strands()
        for path in ("/held", "/0.2", "/0"):
            strands.submit(partial(http.request, "GET", to + path))

        *heard, silent = all_of(strands)
        assert [future.result().data for future in heard] == [b"/0", b"/0.2"]
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            silent.result()
        distrusting = stepping_aside(through(ssl_context=urllib3.util.create_urllib3_context()))
        refused = strands.submit(partial(distrusting.request, "GET", to + "/0"))
        assert [*all_of(strands)] == [refused]
        with pytest.raises(urllib3.exceptions.SSLError):
            refused.result()


def test_a_request_is_on_its_way_at_once(server: _Server, ask: Ask) -> None:
    """
    It was sent when `submit` returns, and is answered while something else is done.
    """
    strands = Strands()
    future = strands.submit(partial(ask, "/0.2"))
    time.sleep(0.3)

    begun = time.monotonic()
    assert strands.ended() == [future]
    assert time.monotonic() - begun < 0.1
    assert not server.left.is_set()


def test_pausing_keeps_nobody_waiting(ask: Ask) -> None:
    """
    Between two tries the answers of others are taken.
    """
    strands, told = Strands(), list[str]()

    def patiently() -> None:
        pause(0.2)
        told.append("paused")

    strands.submit(patiently)
    strands.submit(lambda: told.append(ask("/0.05").decode()))
    begun = time.monotonic()
    for future in all_of(strands):
        future.result()

    assert told == ["/0.05", "paused"]
    assert 0.15 < time.monotonic() - begun < 0.35


def test_an_error_is_the_calls_own(ask: Ask) -> None:
    """
    It is raised by whoever wants the result; the others go on.
    """
    strands = Strands()
    wrong = strands.submit(lambda: 1 // 0)
    right = strands.submit(partial(ask, "/0"))

    assert list(all_of(strands)) == [wrong, right]
    assert right.result() == b"/0"
    with pytest.raises(ZeroDivisionError):
        wrong.result()


def test_ctrl_c_is_everybodys(ask: Ask) -> None:
    """
    It ends what is done just then, in a strand as elsewhere, and is kept for nobody's result.
    """
    strands = Strands()
    other = strands.submit(partial(ask, "/0.1"))

    def interrupted() -> None:
        pause(0.01)
        raise_signal(SIGINT)

    strands.submit(interrupted)
    with pytest.raises(KeyboardInterrupt):
        strands.ended()
    assert strands.ended() == [other]
    assert strands.ended() == []


@pytest.mark.parametrize("path", ["/held", "/held/begins"])
def test_silence_ends(ask: Ask, path: str) -> None:
    """
    An answer that does not come in time, or not to its end, is given up as it would be elsewhere, and keeps no other waiting.
    """
    strands, begun = Strands(), time.monotonic()
    silent = strands.submit(partial(ask, path))
    heard = [strands.submit(partial(ask, "/0.1")) for _ in range(3)]

    assert {*strands.ended(), *strands.ended(), *strands.ended()} == set(heard)
    assert time.monotonic() - begun < 0.4
    assert strands.ended() == [silent]
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        silent.result()
    assert 0.35 < time.monotonic() - begun < 0.7


def test_an_answer_that_waits_is_in_time(ask: Ask) -> None:
    """
    Whoever was busy for longer than an answer may take still gets what came meanwhile.
    """
    strands = Strands()
    strands.submit(partial(ask, "/0.1"))
    time.sleep(0.5)

    assert [future.result() for future in strands.ended()] == [b"/0.1"]


def test_elsewhere_nothing_steps_aside(ask: Ask) -> None:
    """
    The same connections answer whoever is in no strand, while one is under way.
    """
    strands = Strands()
    future = strands.submit(partial(ask, "/0.1"))

    assert ask("/0") == b"/0"
    assert strands.ended() == [future]


def test_what_nobody_waits_for_is_given_up(server: _Server, ask: Ask) -> None:
    """
    Its connection is closed, so that the other side knows.
    """
    strands = Strands()
    strands.submit(partial(ask, "/held"))
    assert not server.left.is_set()

    del strands
    gc.collect()
    server.let_go.set()

    assert server.left.wait(1)
