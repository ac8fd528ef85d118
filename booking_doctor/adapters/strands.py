"""
Several requests on their way at once, in one thread.

A strand is a call that steps aside where it would wait, for an answer or to try again, and lets whoever uses the answers
go on meanwhile. Threads would do, but they fight over the interpreter with whoever computes: a million messages then take a
quarter longer. What the strands call is ordinary code, of urllib3 and tenacity too; it does not know that it is in one.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from math import inf
from socket import socket
from typing import Any, Generic, TypeVar

import urllib3
from greenlet import getcurrent, greenlet
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import wait_for_read

_Result = TypeVar("_Result")


class Strands:
    """
    Calls under way. Those that have not ended when nobody holds this any more are given up, and their connections closed.
    """

    def __init__(self) -> None:
        self._waiting: dict[_Strand[Any], _Pause] = {}
        self._ended: list[Future[Any]] = []
        self._answers = selectors.DefaultSelector()

    def submit(self, call: Callable[[], _Result]) -> Future[_Result]:
        """
        Begin the call; it has got as far as it could without waiting.
        """
        strand = _Strand(call)
        self._go_on(strand)
        return strand.future

    def ended(self) -> list[Future[Any]]:
        """
        What has ended since this was last asked, as soon as there is something; nothing where nothing is under way.
        """
        while self._waiting and not self._ended:
            # NOTE: one only, although others may be ready: their answers keep better in the kernel than here.
            if strand := self._ready():
                self._go_on(strand)
        ended, self._ended = self._ended, []
        return ended

    def _go_on(self, strand: _Strand[Any]) -> None:
        waited = self._waiting.pop(strand, None)
        if waited and waited.answer:
            self._answers.unregister(waited.answer)
        waits = strand.go_on()
        if waits is None:
            self._ended.append(strand.future)
            return
        self._waiting[strand] = waits
        if waits.answer:
            self._answers.register(waits.answer, selectors.EVENT_READ, strand)

    def _ready(self) -> _Strand[Any] | None:
        """
        One whose time is up, or else whose answer has begun to come, once there is one.
        """
        until = min(waits.until for waits in self._waiting.values())
        came = self._answers.select(None if until == inf else max(until - time.monotonic(), 0))
        now = time.monotonic()
        due = (strand for strand, waits in self._waiting.items() if waits.until <= now)
        return next(due, came[0][0].data if came else None)


def pause(seconds: float) -> None:
    """
    Wait for so long, aside.
    """
    _step_aside(_Pause(time.monotonic() + seconds))


def stepping_aside(http: urllib3.PoolManager) -> urllib3.PoolManager:
    """
    The same connections; who waits for an answer in a strand does so aside.
    """
    http.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return http


# --- a strand --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pause:
    """
    What a strand waits for: the time, by the monotonic clock, or something to read before.
    """

    until: float
    answer: socket | None = None


class _Strand(greenlet, Generic[_Result]):
    """
    A call with a stack of its own.

    Attributes:
        future: What becomes of it.
    """

    def __init__(self, call: Callable[[], _Result]) -> None:
        self.future: Future[_Result] = Future()
        super().__init__(partial(_carry_out, call, self.future))

    def go_on(self) -> _Pause | None:
        """
        Let it go on until it waits for something; None where it has ended.
        """
        self.parent = getcurrent()
        waits: _Pause | None = self.switch()
        return waits


def _carry_out(call: Callable[[], _Result], future: Future[_Result]) -> None:
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001  raised again by whoever asks for the result
        future.set_exception(error)


def _in_a_strand() -> bool:
    return isinstance(getcurrent(), _Strand)


def _step_aside(pause: _Pause) -> None:
    """
    Let whoever let this strand go on do so.
    """
    # NOTE: no variable of a strand may hold the strand itself: nobody else would then be the last to let go of it.
    around = getcurrent().parent
    assert around is not None  # noqa: S101  only in a strand
    around.switch(pause)


# --- waiting for an answer ---------------------------------------------------------------------------------------------


def _wait_for_answer(connection: HTTPConnection) -> None:
    """
    Step aside where the request was sent by a strand, until its answer comes.

    Raises:
        TimeoutError: None came in time.
    """
    sent_on = connection.sock
    if _in_a_strand() and sent_on is not None:
        until = time.monotonic() + (connection.timeout or inf)
        _step_aside(_Pause(until, sent_on))
        if time.monotonic() >= until and not wait_for_read(sent_on, timeout=0):
            raise TimeoutError


class _Connection(HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        _wait_for_answer(self)
        return super().getresponse()


class _SecureConnection(HTTPSConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        _wait_for_answer(self)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
