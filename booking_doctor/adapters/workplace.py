"""
Where a worker works: the queue of texts in the application's database, hands to send them with, and what wakes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from booking_doctor.adapters.alarm import Bell, Listener
from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.queries import DatabaseQueries
from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.core.ports import Clock
from booking_doctor.core.shift import Shift
from booking_doctor.core.worker import TextQueue


class Workplace:
    """
    The place of one worker.

    Args:
        database: Where the queue is.
        concurrency: How many texts are sent at a time.

    Attributes:
        queries: Questions to the same database.
    """

    def __init__(self, queue: TextQueue, database: Database, *, concurrency: int, clock: Clock) -> None:
        self.clock = clock
        self.queries = DatabaseQueries(database)
        self._queue = queue
        self._database = database
        self._concurrency = concurrency

    @contextmanager
    def shift(self, *, watch: bool, limit: int | None, tell: Callable[[str], None]) -> Iterator[Shift]:
        """
        One shift, for as long as the block lasts.

        Args:
            tell: Hears what wakes whoever watches.
        """
        bell, hands = Bell(), DaemonExecutor(self._concurrency)
        listener = Listener(self._database, bell, tell) if watch else None
        try:
            yield Shift(self._queue, hands, bell, concurrency=self._concurrency, watch=watch, limit=limit)
        finally:
            # NOTE: hands that are still at work here belong to somebody who was told twice to end.
            hands.shutdown(wait=False)
            if listener:
                listener.close()

    def close(self) -> None:
        """
        Give connections back.
        """
        self._database.close()
