"""
Threads that read ahead of whoever uses what they read, and never longer than somebody does.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from msgspec import Struct

_Result = TypeVar("_Result")

_Call = tuple[Future[Any], Callable[[], Any]]
_Calls = SimpleQueue[_Call | None]

_PARTING_S: Final = 1
"""How long calls under way are waited for, in seconds."""


class Halted(Exception):
    """
    Nobody waits for the result any more.
    """


class Halt(Struct):
    """
    Whether anybody still waits. A plain flag: the garbage collector may set it in the middle of anything, and any lock
    that it needed could be held just then.
    """

    asked: bool = False

    def ask(self) -> None:
        """
        Nobody does any more.
        """
        self.asked = True

    def pause(self, seconds: float) -> None:
        """
        Wait for so long.

        Raises:
            Halted: Nobody waits any more.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.asked:
                raise Halted
            time.sleep(min(left, 0.1))


class DaemonExecutor(Executor):
    """
    An executor whose threads keep nobody waiting: those of the standard library are joined when Python exits, and ours
    may be in the middle of a request that takes its whole time-out. They end when the executor is no longer used.

    Attributes:
        halt: What calls heed while they pause.
    """

    def __init__(self, threads: int) -> None:
        self.halt = Halt()
        self._calls: _Calls = SimpleQueue()
        self._most = threads
        self._threads: list[threading.Thread] = []
        weakref.finalize(self, _dismiss, self.halt, self._calls, threads)

    def submit(self, call: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:  # noqa: ANN401
        """
        Have the call made as soon as a thread is free; calls begin in the order in which they came.
        """
        future: Future[_Result] = Future()
        self._calls.put((future, partial(call, *args, **kwargs)))
        if len(self._threads) < self._most:
            thread = threading.Thread(target=_work, args=(self._calls,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """
        Begin no more calls. Those under way are waited for, but not for long.
        """
        with suppress(Empty):
            while cancel_futures:
                if waiting := self._calls.get_nowait():
                    waiting[0].cancel()
        _dismiss(self.halt, self._calls, self._most)
        for thread in self._threads if wait else ():
            thread.join(_PARTING_S)


def _work(calls: _Calls) -> None:
    # NOTE: nothing of a call may stay behind in a variable here: it would keep its result alive until the next.
    while _made(calls.get()):
        pass


def _made(waiting: _Call | None) -> bool:
    """
    Make the call and say whether there was one.
    """
    if waiting is None:
        return False
    future, call = waiting
    if future.set_running_or_notify_cancel():
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  raised again by whoever asks for the result
            future.set_exception(error)
        else:
            future.set_result(result)
    return True


def _dismiss(halt: Halt, calls: _Calls, threads: int) -> None:
    halt.ask()
    for _ in range(threads):
        calls.put(None)
