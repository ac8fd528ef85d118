"""
Many at once: a Twilio that hangs, more callers than there is room for, a database that does not answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy.pool import QueuePool

from booking_doctor.adapters.postgres import Database
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault, On
from booking_doctor.settings import Names, database_settings
from booking_doctor.web import api as web_api
from booking_doctor.web import rooms
from tests.web.conftest import APP_URL, DEPLOYMENT, HEALTH, STATUS, Client, logged

SEND = On(method="POST")


def test_a_twilio_that_hangs(open_api: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While Twilio keeps all who initiate waiting, others confirm, call back and look; who finds no room is told soon, and
    nothing was done for him.
    """
    monkeypatch.setattr(rooms.Room.__init__, "__defaults__", (0.5,))
    api = open_api()
    token = api.initiate().json()["token"]
    api.scene.simulator.faults.add(Fault.hang(), times=web_api.INITIATING, on=SEND)

    with ThreadPoolExecutor(web_api.INITIATING + 4) as pool:
        waiting = [pool.submit(api.initiate) for _ in range(web_api.INITIATING)]
        while len(api.scene.simulator.requests) < web_api.INITIATING + 1:
            time.sleep(0.01)
        turned_away = pool.submit(partial(api.initiate, customer_name="Late"))
        start = time.monotonic()
        answers = [
            api.confirm(token),
            api.ask("GET", HEALTH),
            api.ask("GET", DEPLOYMENT),
            api.call_back(f"{APP_URL}{STATUS}", [("MessageSid", "SM" + "0" * 32), ("MessageStatus", "sent")]),
        ]
        quick = time.monotonic() - start
        late = turned_away.result()
        api.scene.simulator.release()
        made = Counter(answer.result().status_code for answer in waiting)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 204]
    assert quick < 2
    assert (late.status_code, late.json()["type"]) == (503, "urn:booking-doctor:busy")
    assert int(late.headers["Retry-After"]) > 0
    assert made == {201: web_api.INITIATING}
    assert api.scene.rows("SELECT 1 FROM pending_bookings WHERE customer_name = 'Late'") == []


def test_more_than_there_is_room_for(api: Client) -> None:
    """
    Forty at once are all served: who finds no room at once waits for it. Each gets one booking and one text.
    """
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda n: api.initiate(customer_name=f"Guest {n}"), range(40)))

    assert Counter(answer.status_code for answer in answers) == {201: 40}
    assert len({answer.json()["booking_id"] for answer in answers}) == 40
    assert (api.count("pending_bookings"), len(api.scene.account.messages())) == (40, 40)


def test_the_pool_has_a_connection_for_everybody(scene: World) -> None:
    """
    No more calls run at once than the database's pool has connections, so nobody waits for one; health has one too.
    """
    pool = Database(database_settings(scene.environment()), Names())._engine.pool
    assert isinstance(pool, QueuePool)

    at_once = web_api.INITIATING + web_api.CONFIRMING + web_api.CALLING_BACK + 1
    assert at_once <= pool.size() + pool._max_overflow


# --- health ----------------------------------------------------------------------------------------------------------


def test_healthy(api: Client) -> None:
    """
    200 says what was looked at, and what was not.
    """
    answer = api.ask("GET", HEALTH)

    assert answer.status_code == 200
    assert answer.json() == {"status": "up", "looked_at": ["database"], "not_looked_at": ["twilio"]}


def test_the_database_is_gone(open_api: Callable[..., Client], lines: pytest.LogCaptureFixture) -> None:
    """
    503 without a word on where the database is; the log has it.
    """
    api = open_api(DATABASE_URL="postgresql://app:canary-password@127.0.0.1:1/bookings")

    answer = api.ask("GET", HEALTH)

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:booking-doctor:unhealthy")
    assert "127.0.0.1" not in answer.text
    assert logged(lines, "cannot reach the database at 127.0.0.1:1")


def test_the_database_hangs(
    open_api: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, lines: pytest.LogCaptureFixture
) -> None:
    """
    503 for all who ask while the database is silent, from one question asked of it; 200 when it answers again.
    """
    asked: list[float] = []
    silent = [True]

    def place(_: object) -> None:
        asked.append(time.monotonic())
        while silent[0]:
            time.sleep(0.01)

    monkeypatch.setattr("booking_doctor.adapters.postgres.Database.place", place)
    monkeypatch.setattr(web_api, "HEALTH_PATIENCE_S", 0.3)
    api = open_api()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.ask("GET", HEALTH).status_code, range(20)))
    silent[0] = False
    time.sleep(0.1)

    assert Counter(answers) == {503: 20}
    assert len(asked) == 1
    assert logged(lines, "the database has not answered within 0.3 s")
    assert api.ask("GET", HEALTH).status_code == 200
    assert len(asked) == 2
