"""
Workers that are killed in the middle of a job, one at each step, with no chance to tidy up: ``python dying_worker.py``.

Each is a process of its own that takes one job, by the real adapters, and sends itself SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from booking_doctor.adapters.bookings import DatabaseStore, DatabaseUnitOfWork
from booking_doctor.adapters.messenger import TwilioFinder, TwilioMessenger
from booking_doctor.adapters.postgres import Database
from booking_doctor.core.flow import Terms
from booking_doctor.core.ports import Answer, Text
from booking_doctor.core.service import BookingService
from booking_doctor.settings import Names, database_settings, twilio_settings

STEPS: Final = (
    "the claim not committed",
    "claimed",
    "the intent not committed",
    "the intent stored",
    "sent",
    "the outcome not committed",
    "the outcome stored",
)
"""
The job's three transactions, each killed before and after its commit, and what lies between the last two.
"""


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class _Store(DatabaseStore):
    def __init__(self, database: Database, step: str) -> None:
        super().__init__(database)
        self._step = step
        self._committing = iter(("the claim not committed", "the intent not committed", "the outcome not committed"))
        self._committed = iter(("claimed", "the intent stored", "the outcome stored"))

    @contextmanager
    def begin(self) -> Iterator[DatabaseUnitOfWork]:
        with super().begin() as work:
            yield work
            if next(self._committing) == self._step:
                _die()
        if next(self._committed) == self._step:
            _die()


class _Messenger(TwilioMessenger):
    step = ""

    def send(self, text: Text) -> Answer:
        answer = super().send(text)
        if self.step == "sent":
            _die()
        return answer


def _work(step: str) -> None:
    twilio = twilio_settings(os.environ)
    messenger = _Messenger(twilio)
    messenger.step = step
    service = BookingService(
        store=_Store(Database(database_settings(os.environ), Names()), step),
        messenger=messenger,
        finder=TwilioFinder(twilio),
        terms=Terms(app_url="https://book.example"),
    )
    service.queue.run_due(limit=1)


def main() -> None:
    """
    One worker after the other, each killed.
    """
    for step in STEPS:
        worker = os.fork()
        if not worker:
            _work(step)
            sys.exit(f"nobody was killed at the step {step!r}")
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGKILL, step


if __name__ == "__main__":
    main()
