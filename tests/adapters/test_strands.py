"""
Requests on their way at once in one thread, over real connections.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
import urllib3

from booking_doctor.adapters.strands import Strands, pause, stepping_aside

Ask = Callable[[str], bytes]


class _Server(ThreadingHTTPServer):
    """
    Answers with the path, after as many seconds as it says, or when it is let go.

    Attributes:
        left: A connection was closed by who asked.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.let_go = Event()
        self.left = Event()

    def handle_error(self, *_: object) -> None:
        """
        Who asked is gone, as one of the tests wants it.
        """


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path == "/held":
            self.server.let_go.wait(5)
        else:
            time.sleep(float(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def finish(self) -> None:
        super().finish()
        self.server.left.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="server")
def _server() -> Iterator[_Server]:
    """
    Somebody who answers.
    """
    with _Server() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.let_go.set()
        server.shutdown()


@pytest.fixture(name="ask")
def _ask(server: _Server) -> Ask:
    """
    A question to the server, whose answers are awaited for 0.4 seconds.
    """
    http = stepping_aside(urllib3.PoolManager(retries=False, timeout=0.4))
    return lambda path: http.request("GET", f"http://127.0.0.1:{server.server_port}{path}").data


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
    assert time.monotonic() - begun < 0.3 + 0.2


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


def test_silence_ends(ask: Ask) -> None:
    """
    An answer that does not come in time is given up as it would be elsewhere, and keeps no other waiting.
    """
    strands, begun = Strands(), time.monotonic()
    silent = strands.submit(partial(ask, "/held"))
    heard = [strands.submit(partial(ask, "/0.1")) for _ in range(3)]

    assert {*strands.ended(), *strands.ended(), *strands.ended()} == set(heard)
    assert time.monotonic() - begun < 0.3
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
