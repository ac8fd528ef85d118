"""
Several jobs at once, a little ahead of whoever iterates over what they yield, and never longer than somebody does.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Halted(Exception):
    """
    Nobody collects any more.
    """


@dataclass(slots=True)
class Halt:
    """
    Whether anybody still collects. A plain flag: the garbage collector may set it in the middle of anything, and any
    lock that it needed could be held just then.
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
            Halted: Nobody collects any more.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.asked:
                raise Halted
            time.sleep(min(left, 0.1))


def read_ahead(jobs: Sequence[Iterator[_Item]], halt: Halt, hands: int) -> Iterator[_Item]:
    """
    What the jobs yield, some at once and a little ahead of whoever iterates. The first is done before the others begin.

    The threads are daemons, so that none of them keeps a process alive that was interrupted, and they end when whoever
    iterates stops, or never begins because something else went wrong.

    Args:
        halt: What the jobs heed when they wait.
        hands: How many jobs are done at once.
    """
    crew = _Crew(deque(jobs), halt, queue.Queue(2 * hands))
    collected = crew.collect(len(jobs))
    weakref.finalize(collected, halt.ask)
    threading.Thread(target=crew.work, args=(hands,), daemon=True).start()
    return collected


@dataclass(slots=True)
class _Crew(Generic[_Item]):
    """
    Jobs, the threads that do them, and what they hand over: items, None at the end of each job, or what went wrong.
    """

    jobs: deque[Iterator[_Item]]
    halt: Halt
    results: queue.Queue[_Item | BaseException | None]

    def collect(self, jobs: int) -> Iterator[_Item]:
        try:
            while jobs:
                item = self.results.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    jobs -= 1
                else:
                    yield item
        finally:
            self.halt.ask()

    def work(self, hands: int = 1) -> None:
        """
        Do jobs until there are none, and have so many *hands* do them after the first.

        Whatever goes wrong is handed over: nobody may wait for an item that never comes.
        """
        try:
            while (job := self._next()) is not None:
                for item in job:
                    self._hand_over(item)
                self._hand_over(None)
                for _ in range(1, hands):
                    threading.Thread(target=self.work, daemon=True).start()
                hands = 1
        except Halted:
            pass
        except BaseException as error:  # noqa: BLE001  raised again by the collector
            with suppress(Halted):
                self._hand_over(error)

    def _next(self) -> Iterator[_Item] | None:
        with suppress(IndexError):
            return self.jobs.popleft()
        return None

    def _hand_over(self, item: _Item | BaseException | None) -> None:
        while not self.halt.asked:
            with suppress(queue.Full):
                return self.results.put(item, timeout=0.2)
        raise Halted
