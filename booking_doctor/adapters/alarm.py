"""
What wakes a worker that waits: a bell that anything may ring, and the database's notifications, where they come through.

Through a transaction pooler they do not: LISTEN succeeds and nothing is ever heard. So hearing is tried, not believed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text

from booking_doctor.adapters.bookings import JOBS_CHANNEL
from booking_doctor.adapters.postgres import Database, translated
from booking_doctor.errors import DatabaseError

UNHEARD_S: Final = 2.0
"""How often the queue is looked at where nothing tells of a new job, in seconds."""

HEARD_S: Final = 10.0
"""How often where something does: for jobs that are due later, and for those that lost their worker."""

_TRIAL_S: Final = 2.0
_RECONNECT_S: Final = 5.0
_PARTING_S: Final = 2.0
_BREATH_S: Final = 0.5
"""How long hearing goes on before it is asked whether anybody still wants to hear."""


class Bell:
    """
    Implements `booking_doctor.core.shift.Alarm`.

    Attributes:
        every_s: How long it lets sleep without being rung, in seconds.
    """

    def __init__(self, *, every_s: float = UNHEARD_S) -> None:
        self.every_s = every_s
        # NOTE: the one queue whose `put` may be called in the middle of its own `get`, as a signal's handler does.
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """
        Wake whoever waits.
        """
        self._rings.put(None)

    def wait(self, at_most_s: float | None = None) -> None:
        """
        Rings that came since the last time count, however many, once.
        """
        with suppress(Empty):
            self._rings.get(timeout=at_most_s or self.every_s)
            while True:
                self._rings.get_nowait()


class Listener:
    """
    A thread with a connection of its own that rings the bell whenever a text is queued.

    Args:
        tell: Hears, from that thread, what wakes the worker; whenever that changes.
    """

    def __init__(self, database: Database, bell: Bell, tell: Callable[[str], None]) -> None:
        self._database = database
        self._bell = bell
        self._tell = tell
        self._told_s = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """
        Stop listening, and give the connection back; one that is just being made is not waited for.
        """
        self._closed.set()
        self._thread.join(_PARTING_S)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with self._database.alone({}) as connection:
                    if not self._listen(connection):
                        return
            except DatabaseError as error:
                self._unheard(error.summary)
            self._closed.wait(_RECONNECT_S)

    def _listen(self, connection: Connection) -> bool:
        """
        Ring until the connection is lost, or until nobody wants to hear any more; False where nothing can be heard.
        """
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)  # noqa: S101  of all drivers this one was chosen
        with translated(self._database.settings):
            driver.execute(sql.SQL("LISTEN {}").format(sql.Identifier(JOBS_CHANNEL)))
            if not self._hears(driver):
                self._unheard("its notifications do not come through, as behind a transaction pooler")
                return False
            self._say("the database tells when a text is queued", HEARD_S)
            # NOTE: what was queued before it was listened.
            self._bell.ring()
            while not self._closed.is_set():
                for _ in driver.notifies(timeout=_BREATH_S):
                    self._bell.ring()
        return True

    def _hears(self, driver: psycopg.Connection) -> bool:
        with self._database.writing() as another:
            another.execute(text("SELECT pg_notify(:channel, '')"), {"channel": JOBS_CHANNEL})
        return any(True for _ in driver.notifies(timeout=_TRIAL_S, stop_after=1))

    def _unheard(self, why: str) -> None:
        self._say(f"the queue is looked at every {UNHEARD_S:.0f} s: {why}", UNHEARD_S)
        # NOTE: whoever sleeps for the longer while has heard nothing of it.
        self._bell.ring()

    def _say(self, words: str, every_s: float) -> None:
        self._bell.every_s = every_s
        if every_s != self._told_s:
            self._told_s = every_s
            self._tell(words)
