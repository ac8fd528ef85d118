"""
Several requests on their way at once, in one thread.

A strand is a call that steps aside where it would wait, for an answer or to try again, and lets whoever uses the answers
go on meanwhile. Threads would do, but they fight over the interpreter with whoever computes: a million messages then take a
quarter longer. What the strands call is ordinary code, of urllib3 and tenacity too; it does not know that it is in one.
"""

from __future__ import annotations

import selectors
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from math import inf
from socket import socket
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import urllib3
from greenlet import getcurrent, greenlet
from msgspec import Struct
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

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
    The same connections; who waits in a strand for something to read does so aside. Only to connect is waited for as ever.
    """
    http.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    if context := http.connection_pool_kw.get("ssl_context"):
        context.sslsocket_class = _SecureSocket
    return http


# --- a strand --------------------------------------------------------------------------------------------------------


class _Pause(Struct, frozen=True):
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


# --- waiting for something to read -------------------------------------------------------------------------------------


def _aside(sock: socket, read: Callable[[], _Result]) -> _Result:
    """
    Read from the socket; in a strand, step aside while there is nothing.

    Raises:
        TimeoutError: Nothing came in time.
    """
    if not _in_a_strand():
        return read()
    patience = sock.gettimeout()
    sock.settimeout(0)
    try:
        return _once_there(sock, read, time.monotonic() + (inf if patience is None else patience))
    finally:
        sock.settimeout(patience)


def _once_there(sock: socket, read: Callable[[], _Result], until: float) -> _Result:
    while True:
        # NOTE: read before the time is looked at: whoever let this strand go on may have been busy for long.
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            return read()
        if time.monotonic() >= until:
            raise TimeoutError
        _step_aside(_Pause(until, sock))


class _Socket(socket):
    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        return _aside(self, partial(super().recv_into, buffer, nbytes, flags))


class _SecureSocket(ssl.SSLSocket):
    # NOTE: that the connection is readable says little: a server's tickets (RFC 8446, section 4.6.1) come before its answer.
    def read(self, len: int = 1024, buffer: WriteableBuffer | None = None) -> bytes:
        return _aside(self, partial(super().read, len, buffer))


class _Connection(HTTPConnection):
    # NOTE: urllib3's own place for other sockets; its SOCKS proxies come in here.
    def _new_conn(self) -> socket:
        new = super()._new_conn()
        patience = new.gettimeout()
        ours = _Socket(new.family, new.type, new.proto, fileno=new.detach())
        ours.settimeout(patience)
        return ours


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
