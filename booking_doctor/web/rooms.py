"""
Calls that block, each in a thread, so many of a kind at once.

Kinds do not share threads: while Twilio keeps everybody waiting who initiates a booking, others confirm theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.web.problems import busy

_Result = TypeVar("_Result")

PATIENCE_S: Final = 5.0
"""How long a call waits for its turn."""


class Room:
    """
    So many at once; who does not get in soon is turned away.
    """

    def __init__(self, places: int, patience_s: float = PATIENCE_S) -> None:
        self._free = asyncio.Semaphore(places)
        self._threads = DaemonExecutor(places)
        self._patience_s = patience_s

    async def call(self, work: Callable[[], _Result]) -> _Result:
        """
        The result of the call. One that has begun is carried out, even where nobody waits for it any more.

        Raises:
            Refused: No place became free in time; it was not begun.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
        except TimeoutError:
            raise busy() from None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free.release()


class Shared:
    """
    One call at a time, whose result all get who ask meanwhile: so nobody can make many of them.

    Args:
        patience_s: How long anybody waits for it.
    """

    def __init__(self, work: Callable[[], object], patience_s: float) -> None:
        self._work = work
        self._patience_s = patience_s
        self._threads = DaemonExecutor(1)
        self._under_way: asyncio.Future[object] | None = None

    async def call(self) -> None:
        """
        Raises:
            TimeoutError: It takes too long.
        """
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.get_running_loop().run_in_executor(self._threads, self._work)
        async with asyncio.timeout(self._patience_s):
            await asyncio.shield(self._under_way)
