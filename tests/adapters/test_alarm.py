"""
What wakes a worker: a bell that anything may ring, and the database's notifications, tried before they are believed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from time import monotonic

import psycopg
import pytest

from booking_doctor.adapters import alarm
from booking_doctor.adapters.alarm import HEARD_S, UNHEARD_S, Bell, Listener
from booking_doctor.adapters.bookings import JOBS_CHANNEL
from booking_doctor.adapters.postgres import Database
from booking_doctor.settings import Names, database_settings
from tests.repair.pooler import pooled

PATIENCE_S = 10


def test_a_bell_wakes_at_once_and_only_once() -> None:
    """
    However often it was rung before, whoever waits goes on once; then the time has to pass.
    """
    bell = Bell(every_s=0.05)
    for _ in range(3):
        bell.ring()

    begun = monotonic()
    bell.wait(PATIENCE_S)
    assert monotonic() - begun < 1

    begun = monotonic()
    bell.wait()
    assert 0.05 <= monotonic() - begun < 1


def test_a_bell_may_be_rung_in_the_middle_of_waiting_for_it() -> None:
    """
    By another thread, and by the handler of a signal that interrupts the wait.
    """
    bell = Bell()
    before = signal.signal(signal.SIGALRM, lambda *_: bell.ring())
    try:
        for rung_by in (
            lambda: threading.Timer(0.05, bell.ring).start(),
            lambda: signal.setitimer(signal.ITIMER_REAL, 0.05),
        ):
            rung_by()
            begun = monotonic()
            bell.wait(PATIENCE_S)
            assert monotonic() - begun < 1
    finally:
        signal.signal(signal.SIGALRM, before)


@contextmanager
def listening(url: str, bell: Bell) -> Iterator[SimpleQueue[str]]:
    """
    A listener on that database, and what it tells.
    """
    database, told = Database(database_settings({"DATABASE_URL": url}), Names()), SimpleQueue[str]()
    listener = Listener(database, bell, told.put)
    try:
        yield told
    finally:
        listener.close()
        database.close()


def test_a_queued_text_rings(database_url: str) -> None:
    """
    Far sooner than the queue would be looked at without it.
    """
    bell = Bell()
    with listening(database_url, bell) as told, psycopg.connect(database_url, autocommit=True) as application:
        assert told.get(timeout=PATIENCE_S) == "the database tells when a text is queued"
        assert bell.every_s == HEARD_S
        bell.wait(0.1)

        begun = monotonic()
        application.execute("SELECT pg_notify(%s, '')", [JOBS_CHANNEL])
        bell.wait(PATIENCE_S)

        assert monotonic() - begun < UNHEARD_S / 2


def test_a_lost_connection_is_made_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Meanwhile the queue is looked at; what was queued meanwhile rings when it is back.
    """
    monkeypatch.setattr(alarm, "_RECONNECT_S", 0.2)
    bell = Bell()
    with listening(database_url, bell) as told, psycopg.connect(database_url, autocommit=True) as operator:
        told.get(timeout=PATIENCE_S)
        bell.wait(0.1)

        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")

        assert told.get(timeout=PATIENCE_S).startswith("the queue is looked at every 2 s: ")
        assert told.get(timeout=PATIENCE_S) == "the database tells when a text is queued"
        begun = monotonic()
        bell.wait(PATIENCE_S)
        assert monotonic() - begun < 1


def test_behind_a_transaction_pooler_nothing_is_promised(database_url: str) -> None:
    """
    LISTEN succeeds there and nothing is ever heard: it is found out, and the queue is looked at.
    """
    bell = Bell()
    with pooled(database_url, "transaction") as url, listening(url, bell) as told:
        said = told.get(timeout=PATIENCE_S)

    assert said == (
        "the queue is looked at every 2 s: its notifications do not come through, as behind a transaction pooler"
    )
    assert bell.every_s == UNHEARD_S
