"""
Reading Twilio's log over real HTTP: what is asked, how often, how far ahead, when it is tried again, and when not.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.adapters import twilio
from booking_doctor.adapters.services import Patience
from booking_doctor.adapters.twilio import SCAN_PAGES, TwilioLog
from booking_doctor.errors import SettingsError, TwilioError, TwilioRefused, TwilioUnreachable
from booking_doctor.evidence import Page, Unread
from booking_doctor.findings import Silent, Window
from booking_doctor.sandbox.exchange import Reply, Request
from booking_doctor.sandbox.twilio import Credential, TwilioAccount
from booking_doctor.sandbox.twilio_api import problem
from booking_doctor.sandbox.twilio_faults import Fault, On
from booking_doctor.sandbox.twilio_http import TwilioSimulator
from booking_doctor.sandbox.twilio_log import Message
from booking_doctor.settings import Secret, TwilioSettings

ROOT: Final = Path(twilio.__file__).parents[2]
CLINIC, ANNA = "+15550100200", "+15557654321"
BODY: Final = "Dear Anna, your table is waiting."
TOKEN: Final = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
NOW: Final = datetime(2026, 3, 4, 12, tzinfo=UTC)
DAY: Final = date(2026, 3, 3)
NOON: Final = datetime(2026, 3, 3, 12, tzinfo=UTC)
ONE_DAY: Final = Window(NOON.replace(hour=0), NOON.replace(hour=0) + timedelta(days=1))
"""All of the 3rd of March."""

BRISK: Final = Patience(connect_timeout=1, read_timeout=0.3, give_up_after=2, first_wait=0.01, longest_wait=0.04)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No proxy and no certificates but those of the test.
    """
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}:
            monkeypatch.delenv(name)


@pytest.fixture(name="account")
def _account() -> TwilioAccount:
    """
    An account in which nothing has happened.
    """
    return TwilioAccount(clock=lambda: NOW, randomness=Random(1), numbers=[CLINIC], auth_token=TOKEN)


@pytest.fixture(name="simulator")
def _simulator(account: TwilioAccount) -> Iterator[TwilioSimulator]:
    """
    Its API.
    """
    with TwilioSimulator(account) as simulator:
        yield simulator


def access(simulator: TwilioSimulator, **changed: Any) -> TwilioSettings:
    """
    How to get into the simulated account.
    """
    sid = simulator.account.account_sid
    right = TwilioSettings(
        account_sid=sid,
        username=sid,
        password=Secret(simulator.account.auth_token),
        senders=frozenset({CLINIC}),
        base_url=simulator.base_url,
    )
    return replace(right, **changed)


@pytest.fixture(name="log")
def _log(simulator: TwilioSimulator) -> TwilioLog:
    """
    The log, read with little patience.
    """
    return TwilioLog(access(simulator), patience=BRISK)


def plant(account: TwilioAccount, count: int, newest: datetime = NOON, **values: Any) -> list[Message]:
    """
    So many messages, a second apart.
    """
    dates = [newest - timedelta(seconds=n) for n in range(count)]
    return [account.plant(to=ANNA, sender=CLINIC, body=BODY, date_created=at, **values) for at in dates]


def walked(simulator: TwilioSimulator, day: date = DAY) -> list[Request]:
    """
    The requests of a day's walk.
    """
    return [request for request in simulator.requests if request.query.get("DateSent") == str(day)]


def scanned(simulator: TwilioSimulator) -> list[Request]:
    """
    The requests of the scan for messages without a date.
    """
    return [
        request for request in simulator.requests if "Messages.json" in request.path and "DateSent" not in request.query
    ]


def sids(items: list[Page | Unread], day: date | None = DAY) -> list[str]:
    """
    What came of a day.
    """
    return [message.sid for item in items if isinstance(item, Page) and item.day == day for message in item.messages]


def gaps(items: list[Page | Unread]) -> dict[date | None, TwilioError]:
    """
    What did not come, and why.
    """
    return {item.day: item.error for item in items if isinstance(item, Unread)}


def on_day(day: date = DAY) -> On:
    """
    A day's walk, no matter which page.
    """
    return On(contains=f"DateSent={day}")


def last_days(count: int) -> Window:
    """
    So many whole days before the 4th of March.
    """
    return Window(ONE_DAY.until - timedelta(days=count), ONE_DAY.until)


@dataclass
class Heard(Silent):
    """
    A listener who writes down.
    """

    total: int = 0
    pages: list[int] = field(default_factory=list)
    done: int = 0
    waits: list[tuple[float, str]] = field(default_factory=list)

    def days(self, total: int) -> None:  # noqa: D102
        self.total = total

    def page(self, messages: int) -> None:  # noqa: D102
        self.pages.append(messages)

    def day_done(self) -> None:  # noqa: D102
        self.done += 1

    def waiting(self, seconds: float, reason: str) -> None:  # noqa: D102
        self.waits.append((seconds, reason))


# What is asked


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (2500, 3)])
def test_requests_of_a_day(
    account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog, count: int, requests: int
) -> None:
    """
    A day of n messages is read whole with max(1, ceil(n / 1000)) requests for raw pages of 1000.
    """
    planted = plant(account, count)

    items = list(log.pages(ONE_DAY))

    assert [message.sid for message in planted] == sids(items)
    assert requests == len(walked(simulator)) == log.coverage()["twilio_requests"] == log.coverage()["twilio_pages"]
    first, *_ = walked(simulator)
    assert first.target == f"/2010-04-01/Accounts/{account.account_sid}/Messages.json?DateSent=2026-03-03&PageSize=1000"
    assert {request.query["PageSize"] for request in simulator.requests} == {"1000"}
    assert [page.last for page in items if isinstance(page, Page) and page.day] == [False] * (requests - 1) + [True]


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        ("2026-03-03T00:00Z", "2026-03-04T00:00Z", ["2026-03-03"]),
        ("2026-03-03T23:59:59Z", "2026-03-04T00:00:01Z", ["2026-03-04", "2026-03-03"]),
        ("2026-03-03T08:00Z", "2026-03-03T08:01Z", ["2026-03-03"]),
        ("2026-02-27T12:00Z", "2026-03-02T00:00Z", ["2026-03-01", "2026-02-28", "2026-02-27"]),
    ],
)
def test_days_of_a_window(simulator: TwilioSimulator, since: str, until: str, days: list[str]) -> None:
    """
    Each UTC day that the window touches is walked once, the newest first.
    """
    log = TwilioLog(access(simulator), in_flight=1)

    list(log.pages(Window(datetime.fromisoformat(since), datetime.fromisoformat(until))))

    assert days == [request.query["DateSent"] for request in simulator.requests if "DateSent" in request.query]


def test_days_at_once(simulator: TwilioSimulator) -> None:
    """
    Several days are read at once, but never more than four.
    """
    simulator.latency = timedelta(seconds=0.05)

    list(TwilioLog(access(simulator)).pages(last_days(12)))

    assert simulator.max_in_flight == 4
    assert len(simulator.requests) == 13


def test_scan_comes_first(account: TwilioAccount, simulator: TwilioSimulator) -> None:
    """
    The scan for messages without a date is over, its pages handed out, before any day is asked for.
    """
    simulator.latency = timedelta(seconds=0.02)
    plant(account, 2100)

    log = TwilioLog(access(simulator))
    items = list(log.pages(last_days(3)))

    assert [item.day for item in items[:3]] == [None] * 3
    assert [request.query.get("DateSent") for request in simulator.requests[:3]] == [None] * 3
    assert None not in [request.query.get("DateSent") for request in simulator.requests[3:]]
    assert (log.coverage()["undated_requests"], log.coverage()["twilio_requests"]) == (3, 5)
    assert log.coverage()["undated_scan_complete"] is True


def test_scan_is_bounded(
    account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The scan ends after a few pages, however much there is.
    """
    monkeypatch.setattr(twilio, "PAGE_SIZE", 10)
    plant(account, 10 * SCAN_PAGES + 1)

    items = list(log.pages(ONE_DAY))

    assert SCAN_PAGES == len(scanned(simulator)) == log.coverage()["undated_requests"]
    assert log.coverage()["undated_scan_complete"] is False
    assert len(sids(items, None)) == 10 * SCAN_PAGES
    assert len(sids(items)) == 10 * SCAN_PAGES + 1


def test_scan_ends_with_the_window(
    account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The scan does not go on to pages older than the window.
    """
    monkeypatch.setattr(twilio, "PAGE_SIZE", 10)
    plant(account, 5)
    plant(account, 30, NOON - timedelta(days=9))

    list(log.pages(ONE_DAY))

    assert len(scanned(simulator)) == 1


def test_undated(account: TwilioAccount, log: TwilioLog) -> None:
    """
    A message without a date is seen by the scan, where no day's walk can see it.
    """
    [message] = plant(account, 1, status="failed", error_code=21211)

    items = list(log.pages(ONE_DAY))

    assert ([message.sid], []) == (sids(items, None), sids(items))


def test_message(account: TwilioAccount, log: TwilioLog) -> None:
    """
    What Twilio says of a message arrives as it is: text, offset of the date, sign of the price.
    """
    account.plant(to=ANNA, sender=CLINIC, body="Zoë 🎉\n", date_created=NOON, price="-0.00790")

    [message] = [
        message for item in log.pages(ONE_DAY) if isinstance(item, Page) and item.day for message in item.messages
    ]

    assert (message.body, message.to, message.from_number) == ("Zoë 🎉\n", ANNA, CLINIC)
    assert (message.sent_at, message.price, message.segments) == (NOON, "-0.00790", 1)


def test_api_key(account: TwilioAccount, simulator: TwilioSimulator) -> None:
    """
    A key gets in under its own name, to the pages and to single messages of the account.
    """
    key = account.api_key = Credential("SK" + "7" * 32, "key-secret")
    [message] = plant(account, 1)
    log = TwilioLog(access(simulator, username=key.sid, password=Secret(key.secret)))

    items = list(log.pages(ONE_DAY))

    assert [message.sid] == sids(items)
    assert [message.sid] == [sid for sid, found in log.fetch([message.sid]) if found]
    assert {request.user for request in simulator.requests} == {key.sid}


def test_gzip(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    Compressed answers are understood, on pages and for single messages.
    """

    def compressed(reply: Reply) -> Reply:
        return replace(reply, body=gzip.compress(reply.body), headers={**reply.headers, "Content-Encoding": "gzip"})

    planted = [message.sid for message in plant(account, 3)]
    simulator.faults.add(Fault(name="gzip", edit=compressed), times=None)

    assert planted == sids(list(log.pages(ONE_DAY)))
    assert set(planted) == {sid for sid, message in log.fetch(planted) if message}


def test_progress(account: TwilioAccount, simulator: TwilioSimulator) -> None:
    """
    A listener hears of the days to come, of each page and of each day that is done, but not of the scan.
    """
    heard = Heard()
    plant(account, 1001)

    list(TwilioLog(access(simulator), progress=heard).pages(last_days(3)))

    assert (heard.total, sorted(heard.pages), heard.done, heard.waits) == (3, [0, 0, 1, 1000], 3, [])


# How far ahead


def eventually(is_so: Callable[[], bool], within: float = 2) -> bool:
    """
    Whether something becomes true.
    """
    end = time.monotonic() + within
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


def at_rest(simulator: TwilioSimulator, still_for: float = 0.1) -> int:
    """
    How many requests there were when no more came.
    """
    while True:
        seen = len(simulator.requests)
        time.sleep(still_for)
        if len(simulator.requests) == seen:
            return seen


def test_reading_begins_at_once(simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    The first page is on its way before anybody asks for it.
    """
    pages = log.pages(last_days(2))

    assert eventually(lambda: len(simulator.requests) == 1)
    assert len(list(pages)) == 3


def test_no_further_than_a_few_pages(
    account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whoever is slow is waited for: only a few pages are read ahead, and none is lost.
    """
    monkeypatch.setattr(twilio, "PAGE_SIZE", 1)
    monkeypatch.setattr(twilio, "SCAN_PAGES", 1)
    for days in range(10):
        plant(account, 8, NOON - timedelta(days=days))

    pages = log.pages(last_days(10))
    next(pages)
    ahead = at_rest(simulator)
    for _ in range(5):
        next(pages)
    further = at_rest(simulator)

    assert ahead <= 1 + 2 * 4 + 4
    assert further <= ahead + 5 + 1
    assert sum(isinstance(page, Page) for page in pages) == 80 - 5
    assert len(simulator.requests) == 81


def close(pages: Iterator[Page | Unread]) -> None:
    """
    Say that no more is wanted.
    """
    pages.close()  # type: ignore[attr-defined]


def fail_while_reading(pages: Iterator[Page | Unread]) -> None:
    """
    Something else goes wrong on the way.
    """

    def read() -> None:
        for _ in pages:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()


@pytest.mark.parametrize("stop", [close, fail_while_reading, lambda _: None])
@pytest.mark.parametrize("taken", [0, 2])
def test_stopping_early(
    account: TwilioAccount,
    simulator: TwilioSimulator,
    log: TwilioLog,
    monkeypatch: pytest.MonkeyPatch,
    taken: int,
    stop: Callable[[Iterator[Page | Unread]], None],
) -> None:
    """
    Whoever stops, fails, forgets the pages or never began on them, stops the readers: no request and no thread is left.
    """
    monkeypatch.setattr(twilio, "PAGE_SIZE", 1)
    for days in range(10):
        plant(account, 20, NOON - timedelta(days=days))
    before = threading.active_count()

    pages = log.pages(last_days(10))
    for _ in range(taken):
        next(pages)
    stop(pages)
    del pages

    assert at_rest(simulator) < 30
    simulator.close()
    assert eventually(lambda: threading.active_count() < before)


def test_stopping_while_waiting(simulator: TwilioSimulator) -> None:
    """
    A reader that waits for its next try is stopped too, and does not try again.
    """
    log = TwilioLog(access(simulator), patience=Patience(first_wait=0.4, longest_wait=0.4), in_flight=1)
    simulator.faults.add(Fault.server_error(), times=None, on=on_day())
    threads = threading.active_count()

    pages = log.pages(ONE_DAY)
    next(pages)
    assert eventually(lambda: len(walked(simulator)) == 1)
    close(pages)

    time.sleep(0.6)
    assert len(walked(simulator)) == 1
    assert threading.active_count() <= threads + 1  # the server's, for our connection


def test_a_bug_on_the_way(simulator: TwilioSimulator) -> None:
    """
    Whatever goes wrong in a reader reaches whoever iterates, who would wait for ever otherwise.
    """

    class Broken(Silent):
        def page(self, messages: int) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(TwilioLog(access(simulator), progress=Broken()).pages(last_days(9)))


# Trying again


PASSING: Final = [
    Fault.throttled(),
    Fault.throttled(retry_after=0),
    Fault(name="throttled by a proxy", instead=Reply(status=429, body=b"<h1>Too many requests</h1>")),
    Fault(name="throttled without code", instead=Reply(status=429, body=b'{"code": null}')),
    Fault.server_error(),
    Fault.unavailable(),
    Fault.unavailable(retry_after=0),
    Fault.bad_gateway(),
    Fault(name="gateway time-out", instead=Reply(status=504)),
    Fault(name="request time-out", instead=Reply(status=408)),
    Fault.closed(),
    Fault.reset(),
    Fault.truncated(),
    Fault.hang(),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_passing_fault(account: TwilioAccount, simulator: TwilioSimulator, fault: Fault) -> None:
    """
    What may pass is tried again, on pages and for single messages, and said meanwhile; nothing is lost or doubled.
    """
    heard = Heard()
    log = TwilioLog(access(simulator), patience=BRISK, progress=heard)
    planted = [message.sid for message in plant(account, 5)]
    simulator.faults.add(fault, times=2, on=on_day())
    simulator.faults.add(fault, times=1, on=On(path=planted[0]))

    items = list(log.pages(ONE_DAY))
    single = dict(log.fetch(planted[:1]))

    assert (planted, {}) == (sids(items), gaps(items))
    assert single[planted[0]] is not None
    assert (len(walked(simulator)), log.coverage()["sid_requests"]) == (3, 2)
    assert (log.coverage()["twilio_pages"], log.coverage()["twilio_retries"]) == (1, 3) == (1, len(heard.waits))
    assert all(seconds < 2 and reason for seconds, reason in heard.waits)
    assert simulator.faults.unused() == []


def pauses(requests: list[Request]) -> list[float]:
    """
    Seconds from each request to the next.
    """
    return [later.monotonic_s - earlier.monotonic_s for earlier, later in pairwise(requests)]


def test_retry_after(simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    A Retry-After is honoured, of a 429 and of a 503: the next try comes not before, and soon after.
    """
    simulator.faults.add(Fault.throttled(retry_after=1), on=on_day())
    simulator.faults.add(Fault.unavailable(retry_after=1), on=on_day(DAY - timedelta(days=1)))

    assert gaps(list(log.pages(last_days(2)))) == {}
    for day in (DAY, DAY - timedelta(days=1)):
        [pause] = pauses(walked(simulator, day))
        assert 1 <= pause < 1.8


def test_retry_after_a_date(simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    A Retry-After may be a date, as RFC 9110 has it.
    """
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    simulator.faults.add(Fault(name="503", instead=problem(20503, headers={"Retry-After": at})), on=on_day())

    assert gaps(list(log.pages(ONE_DAY))) == {}
    [pause] = pauses(walked(simulator))
    assert 0.7 < pause < 2.5


@pytest.mark.parametrize("said", ["soon", "-5", "1.5", "Mon, 99 Foo 2026", "9" * 5000])
def test_retry_after_nonsense(simulator: TwilioSimulator, log: TwilioLog, said: str) -> None:
    """
    A Retry-After that says nothing is as good as none, or ends the tries; it breaks nothing.
    """
    simulator.faults.add(Fault(name="503", instead=problem(20503, headers={"Retry-After": said})), on=on_day())

    items = list(log.pages(ONE_DAY))

    assert all(isinstance(error, TwilioUnreachable) for error in gaps(items).values())
    assert sum(pauses(walked(simulator))) < 1


def test_waits_grow(simulator: TwilioSimulator) -> None:
    """
    Without Retry-After each wait is about twice the one before, up to the longest, and never exactly the same.
    """
    heard = Heard()
    patience = replace(BRISK, first_wait=0.02, longest_wait=0.1)
    simulator.faults.add(Fault.throttled(), times=6, on=on_day())

    list(TwilioLog(access(simulator), patience=patience, progress=heard).pages(ONE_DAY))

    bounds = [0.02, 0.04, 0.08, 0.1, 0.1, 0.1]
    assert all(bound / 2 <= seconds <= bound for bound, (seconds, _) in zip(bounds, heard.waits, strict=True))
    assert len({seconds for seconds, _ in heard.waits}) == 6


def test_retry_after_beyond_patience(simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    Twilio is not waited for longer than the patience: a Retry-After beyond it ends the day at once.
    """
    simulator.faults.add(Fault.throttled(retry_after=3600), times=None, on=on_day())
    begun = time.monotonic()

    [error] = gaps(list(log.pages(ONE_DAY))).values()

    assert time.monotonic() - begun < 1
    assert len(walked(simulator)) == 1
    assert "429" in error.sentence


REFUSALS: Final = [
    (Fault.daily_cap(), 429, 63038, "daily cap"),
    (Fault.unauthorised(), 401, 20003, "TWILIO_ACCOUNT_SID"),
    (Fault.forbidden(), 403, 20008, "test credentials"),
    (Fault(name="bad request", instead=problem(20001, f"Invalid To: {ANNA}")), 400, 20001, "errors/20001"),
    (Fault(name="not found", instead=problem(20404)), 404, 20404, "TWILIO_ACCOUNT_SID"),
    (Fault(name="proxy", instead=Reply(status=403, body=b"<h1>Forbidden</h1>")), 403, 403, "TWILIO_API_BASE_URL"),
]


@pytest.mark.parametrize(
    ("fault", "status", "code", "advice"), REFUSALS, ids=lambda value: getattr(value, "name", None)
)
def test_refusal(simulator: TwilioSimulator, log: TwilioLog, fault: Fault, status: int, code: int, advice: str) -> None:
    """
    A refusal is not tried again; it carries Twilio's code and advice, and counts as not permitted.
    """
    simulator.faults.add(fault, times=None, on=on_day())

    error = gaps(list(log.pages(ONE_DAY)))[DAY]

    assert len(walked(simulator)) == 1
    assert isinstance(error, TwilioRefused)
    assert (error.status, error.code, error.kind) == (status, code, "not-permitted")
    assert str(status) in error.summary
    assert advice in error.sentence
    assert ANNA not in error.sentence


NOT_TWILIO: Final = [
    Fault.garbage(),
    Fault.garbage("{"),
    Fault.garbage("[]"),
    Fault.garbage('{"messages": [{"sid": 5}], "next_page_uri": null}'),
    Fault.garbage("\udcff".encode("utf-8", "surrogatepass").decode("latin-1")),
    Fault.login_page(),
    Fault(name="nothing", instead=Reply(status=200)),
    Fault(name="no content", instead=Reply(status=204)),
    Fault(name="redirect", instead=Reply(status=302, headers={"Location": "/elsewhere"})),
]


@pytest.mark.parametrize("fault", NOT_TWILIO, ids=lambda fault: fault.name)
def test_not_twilio(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog, fault: Fault) -> None:
    """
    An answer that is not Twilio's is not tried again: somebody else answers there, and is said to.
    """
    [message] = plant(account, 1)
    simulator.faults.add(fault, times=None, on=on_day())
    simulator.faults.add(fault, times=None, on=On(path=message.sid))

    error = gaps(list(log.pages(ONE_DAY)))[DAY]
    with pytest.raises(TwilioUnreachable, match="not its message log"):
        list(log.fetch([message.sid]))

    assert isinstance(error, TwilioUnreachable)
    assert "not its message log" in error.summary
    assert "TWILIO_API_BASE_URL" in error.sentence
    assert (len(walked(simulator)), log.coverage()["sid_requests"]) == (1, 1)


def test_log_cut_off(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    A page that does not say whether there are more is no answer: a log that is cut off must not pass for a whole one.
    """

    def mute(reply: Reply) -> Reply:
        page = json.loads(reply.body)
        del page["next_page_uri"]
        return replace(reply, body=json.dumps(page).encode())

    plant(account, 3)
    simulator.faults.add(Fault(name="mute", edit=mute), times=None, on=on_day())

    assert DAY in gaps(list(log.pages(ONE_DAY)))


# Giving up


def test_patience_is_from_the_last_progress(simulator: TwilioSimulator) -> None:
    """
    A day that never comes is tried as long as other days get on, and given up so long after the last of them.
    """
    simulator.latency = timedelta(seconds=0.08)
    simulator.faults.add(Fault.server_error(), times=None, on=on_day())
    patience = replace(BRISK, give_up_after=0.4)

    items = list(TwilioLog(access(simulator), patience=patience, in_flight=2).pages(last_days(10)))

    assert list(gaps(items)) == [DAY]
    assert isinstance(items[-1], Unread)
    assert {item.day for item in items if isinstance(item, Page)} == {
        None,
        *(DAY - timedelta(days=n) for n in range(1, 10)),
    }
    *_, last_good = [request for request in simulator.requests if request not in walked(simulator)]
    tried_on_for = walked(simulator)[-1].monotonic_s - last_good.monotonic_s
    assert 0.15 < tried_on_for < 0.4 + 0.2


def test_a_slow_consumer_is_no_lack_of_progress(
    account: TwilioAccount, simulator: TwilioSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The time in which pages wait to be collected does not count against Twilio.
    """
    monkeypatch.setattr(twilio, "PAGE_SIZE", 1)
    monkeypatch.setattr(twilio, "SCAN_PAGES", 1)
    plant(account, 20)
    simulator.faults.add(Fault.server_error(), times=2, on=On(contains="Page=15"))
    log = TwilioLog(access(simulator), patience=replace(BRISK, give_up_after=0.2), in_flight=1)

    pages = log.pages(ONE_DAY)
    next(pages)
    assert at_rest(simulator) < 10
    time.sleep(0.2)

    assert gaps(list(pages)) == {}
    assert simulator.faults.unused() == []


def test_a_late_consumer_is_no_lack_of_progress(simulator: TwilioSimulator) -> None:
    """
    Nor does the time before anybody asks for the first page.
    """
    simulator.faults.add(Fault.server_error())
    log = TwilioLog(access(simulator), patience=replace(BRISK, give_up_after=0.2))

    pages = log.pages(ONE_DAY)
    time.sleep(0.3)

    assert gaps(list(pages)) == {}
    assert simulator.faults.unused() == []


def test_one_patience_for_all_days(simulator: TwilioSimulator) -> None:
    """
    When Twilio goes away for good, the days still to come are asked for once and not waited for again.
    """
    simulator.faults.add(Fault.server_error(), times=None, on=On(contains="DateSent"))
    begun = time.monotonic()

    log = TwilioLog(access(simulator), patience=replace(BRISK, give_up_after=0.4), in_flight=2)
    items = list(log.pages(last_days(20)))

    assert len(gaps(items)) == 20
    assert time.monotonic() - begun < 1.5
    tries = Counter(request.query.get("DateSent") for request in simulator.requests)
    # NOTE: more than once where the patience of the first had a few hundredths of a second left; it has a dozen tries itself.
    assert sum(sorted(tries.values())[:19]) < 2 * 19


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    """
    A port at which nobody answers.
    """
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_nobody_there(simulator: TwilioSimulator, closed_port: int) -> None:
    """
    A server that was never reached is tried a few times in all, not a few times a day.
    """
    log = TwilioLog(
        access(simulator, base_url=f"http://127.0.0.1:{closed_port}"), patience=replace(BRISK, give_up_after=60)
    )
    begun = time.monotonic()

    items = list(log.pages(last_days(30)))

    assert time.monotonic() - begun < 1
    assert len(items) == len(gaps(items)) == 31
    assert len(set(gaps(items).values())) == 1
    assert (log.coverage()["undated_requests"], log.coverage()["twilio_requests"]) == (BRISK.first_tries, 0)
    assert "no connection" in gaps(items)[None].summary
    with pytest.raises(TwilioUnreachable, match="no connection"):
        list(log.fetch(["SM" + "0" * 32]))


def test_gone_away(simulator: TwilioSimulator, closed_port: int) -> None:
    """
    A server that has answered once is given the whole patience when it cannot be reached later.
    """
    log = TwilioLog(access(simulator), patience=replace(BRISK, give_up_after=0.3))
    list(log.pages(ONE_DAY))
    simulator.close()
    begun = time.monotonic()

    [error] = {type(error) for error in gaps(list(log.pages(ONE_DAY))).values()}

    assert error is TwilioUnreachable
    assert 0.2 < time.monotonic() - begun < 1


def test_refused_credential(simulator: TwilioSimulator) -> None:
    """
    A credential that is refused is refused once: no other day is asked for.
    """
    log = TwilioLog(access(simulator, password=Secret("f" * 32)), patience=BRISK)

    items = list(log.pages(last_days(30)))

    assert len(simulator.requests) == 1
    assert len(gaps(items)) == len(items) == 31
    assert {(type(error), error.summary) for error in gaps(items).values()} == {
        (TwilioRefused, "Twilio refused (HTTP 401, code 20003)")
    }


def test_cap_reached_on_the_way(simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    Where the account is refused on the way, what was read stands and the days not begun are not asked for.
    """
    simulator.faults.add(Fault.daily_cap(), times=None, on=on_day(DAY - timedelta(days=10)))
    simulator.latency = timedelta(seconds=0.01)

    items = list(log.pages(last_days(30)))

    assert 8 <= sum(isinstance(item, Page) for item in items[1:]) <= 16
    assert len(simulator.requests) <= 1 + 11 + 6
    assert len(items) == 31


@pytest.mark.parametrize(
    "fault",
    [Fault.garbage(), Fault.bad_gateway(), Fault.hang(), Fault(name="bad request", instead=problem(20001))],
    ids=lambda fault: fault.name,
)
def test_one_broken_day(account: TwilioAccount, simulator: TwilioSimulator, fault: Fault) -> None:
    """
    One day that cannot be read leaves the others read.
    """
    log = TwilioLog(access(simulator), patience=replace(BRISK, give_up_after=0.3))
    broken = DAY - timedelta(days=2)
    plant(account, 1, NOON - timedelta(days=3))
    simulator.faults.add(fault, times=None, on=on_day(broken))

    items = list(log.pages(last_days(6)))

    assert [broken] == list(gaps(items))
    assert len(items) == 7
    assert len(sids(items, DAY - timedelta(days=3))) == 1


def test_a_silent_day_keeps_no_other_waiting(simulator: TwilioSimulator) -> None:
    """
    While one day is waited for, all others are read.
    """
    log = TwilioLog(access(simulator), patience=replace(BRISK, read_timeout=1, give_up_after=0.1))
    simulator.faults.add(Fault.hang(), times=None, on=on_day())
    begun = time.monotonic()

    items = list(log.pages(last_days(6)))

    assert [item.day for item in items if isinstance(item, Unread)] == [items[-1].day] == [DAY]
    others = [request for request in simulator.requests if request not in walked(simulator)]
    assert len(others) == 6
    assert max(request.monotonic_s for request in others) - begun < 0.5


def test_broken_scan(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    A scan that fails is said to have, and leaves the days read.
    """
    planted = plant(account, 3)
    simulator.faults.add(Fault.garbage())

    items = list(log.pages(ONE_DAY))

    assert list(gaps(items)) == [None]
    assert [message.sid for message in planted] == sids(items)


def test_broken_second_page(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    Of a day that breaks off, the pages that came stand, and what is missing is said.
    """
    plant(account, 2500)
    simulator.faults.add(Fault.garbage(), on=On(contains="DateSent", page=1))

    items = list(log.pages(ONE_DAY))

    assert len(sids(items)) == 1000
    assert list(gaps(items)) == [DAY]
    assert not any(item.last for item in items if isinstance(item, Page) and item.day)


# Where the next page is


@pytest.fixture(name="elsewhere")
def _elsewhere() -> Iterator[TwilioSimulator]:
    """
    A server that must never hear from us.
    """
    other = TwilioAccount(clock=lambda: NOW, randomness=Random(2), numbers=[CLINIC])
    with TwilioSimulator(other) as simulator:
        yield simulator


def pointed(where: str) -> Fault:
    """
    A page that says that the next one is there.
    """

    def edit(reply: Reply) -> Reply:
        page = json.loads(reply.body)
        return replace(reply, body=json.dumps({**page, "next_page_uri": where}).encode())

    return Fault(name="pointed", edit=edit)


@pytest.mark.parametrize(
    "uri",
    [
        "{elsewhere}/2010-04-01/Accounts/{account}/Messages.json?Page=1",
        "//{host}/2010-04-01/Accounts/{account}/Messages.json?Page=1",
        "@{host}/2010-04-01/Accounts/{account}/Messages.json?Page=1",
        ".{host}/2010-04-01/Accounts/{account}/Messages.json?Page=1",
        "/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json?Page=1",
        "/2010-04-01/Accounts/{account}/Calls.json?Page=1",
        "/2010-04-01/Accounts/{account}/Messages/../../../x.json?Page=1",
        "/2010-04-01/Accounts/{account}/Messages.json/../../Balance.json?Page=1",
        "/2010-04-01/Accounts/{account}/Messages.json",
        "",
    ],
)
def test_next_page_elsewhere(
    account: TwilioAccount, simulator: TwilioSimulator, elsewhere: TwilioSimulator, log: TwilioLog, uri: str
) -> None:
    """
    The credential goes nowhere but to this account's messages, whatever a page names as the next.
    """
    host = elsewhere.base_url.removeprefix("http://")
    there = uri.format(elsewhere=elsewhere.base_url, host=host, account=account.account_sid)
    plant(account, 3)
    simulator.faults.add(pointed(there), on=on_day())

    items = list(log.pages(ONE_DAY))

    assert isinstance(gaps(items)[DAY], TwilioUnreachable)
    assert "not of this account's messages" in gaps(items)[DAY].summary
    assert len(sids(items)) == 3
    assert (len(walked(simulator)), len(simulator.requests), elsewhere.requests) == (1, 2, [])


@pytest.mark.parametrize("length", [1, 2, 3])
def test_endless_log(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog, length: int) -> None:
    """
    A log that leads back to one of its pages is not read for ever.
    """
    collection = f"/2010-04-01/Accounts/{account.account_sid}/Messages.json"
    circle = [
        f"{collection}?DateSent={DAY}&PageSize=1000",
        *(f"{collection}?DateSent={DAY}&n={n}" for n in range(1, length)),
    ]
    for here, there in zip(circle, [*circle[1:], circle[0]], strict=True):
        simulator.faults.add(pointed(there), times=None, on=lambda request, here=here: request.target == here)  # type: ignore[misc]

    items = list(log.pages(ONE_DAY))

    assert "repeats itself" in gaps(items)[DAY].summary
    assert len(walked(simulator)) == length


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(simulator: TwilioSimulator, elsewhere: TwilioSimulator, log: TwilioLog, status: int) -> None:
    """
    A redirect is not followed, on pages or for single messages: the credential would go along.
    """
    away = Reply(status=status, headers={"Location": f"{elsewhere.base_url}/2010-04-01/"})
    simulator.faults.add(Fault(name="redirect", instead=away), times=None)

    items = list(log.pages(ONE_DAY))
    with pytest.raises(TwilioUnreachable, match=str(status)):
        list(log.fetch(["SM" + "0" * 32]))

    assert all(str(status) in error.summary for error in gaps(items).values())
    assert elsewhere.requests == []


# Single messages


def test_fetch(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    A message comes by its SID, and None for one that Twilio answers 404 for.
    """
    [message] = plant(account, 1, status="undelivered", error_code=30003)
    unknown = "SM" + "0" * 32

    found = dict(log.fetch([message.sid, unknown]))

    assert found.keys() == {message.sid, unknown}
    assert found[unknown] is None
    known = found[message.sid]
    assert known is not None
    assert (known.sid, known.status, known.error_code, known.sent_at) == (message.sid, "undelivered", 30003, NOON)
    assert log.coverage()["sid_requests"] == len(simulator.requests) == 2


def test_fetch_nothing(simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    No SIDs, no requests.
    """
    assert list(log.fetch([])) == []
    assert simulator.requests == []


def test_fetch_several_at_once(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    Several messages are asked for at once, but never more than four; each comes once.
    """
    simulator.latency = timedelta(seconds=0.03)
    planted = [message.sid for message in plant(account, 20)]

    found = [sid for sid, _ in log.fetch(planted)]

    assert Counter(planted) == Counter(found)
    assert simulator.max_in_flight == 4


@pytest.mark.parametrize("sid", ["", " ", ".", "..", "../../x", "SM?a=b#c", "SM%2e%2E/é", "SM\r\nHost: evil", "+&=;:@"])
def test_fetch_of_an_odd_sid(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog, sid: str) -> None:
    """
    Whatever a row holds as its SID is one name in the path, never more of the URL.
    """
    assert list(log.fetch([sid])) == [(sid, None)]
    [request] = simulator.requests
    assert request.target == f"/2010-04-01/Accounts/{account.account_sid}/Messages/{quote(sid, safe='')}.json"


@pytest.mark.parametrize(
    ("fault", "status", "code", "advice"), REFUSALS[:4], ids=lambda value: getattr(value, "name", None)
)
def test_fetch_refused(
    simulator: TwilioSimulator, log: TwilioLog, fault: Fault, status: int, code: int, advice: str
) -> None:
    """
    A refusal of a single message is raised, and not tried again.
    """
    simulator.faults.add(fault, times=None)

    with pytest.raises(TwilioRefused) as raised:
        list(log.fetch([f"SM{n:032x}" for n in range(50)]))

    assert (raised.value.status, raised.value.code) == (status, code)
    assert advice in raised.value.sentence
    assert len(simulator.requests) == 1


@pytest.mark.parametrize("body", [b"<h1>Not found</h1>", b'{"code": 20001}', b"", b'{"code": "20404"}'])
def test_fetch_not_found_by_somebody_else(simulator: TwilioSimulator, log: TwilioLog, body: bytes) -> None:
    """
    Only Twilio's own 404 says that it does not know a message.
    """
    simulator.faults.add(Fault(name="404", instead=Reply(status=404, body=body)))

    with pytest.raises(TwilioRefused):
        list(log.fetch(["SM" + "0" * 32]))


def test_fetch_answered_with_another(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    Another message than the one asked for is no answer.
    """
    one, other = [message.sid for message in plant(account, 2)]

    def swapped(reply: Reply) -> Reply:
        return replace(reply, body=reply.body.replace(one.encode(), other.encode()))

    simulator.faults.add(Fault(name="swapped", edit=swapped))

    with pytest.raises(TwilioUnreachable, match="another message"):
        list(log.fetch([one]))


def test_fetch_in_other_letters(account: TwilioAccount, simulator: TwilioSimulator, log: TwilioLog) -> None:
    """
    Should Twilio write the SID it was asked for in other letters, that is still the message.
    """
    [message] = plant(account, 1)
    upper = message.sid.upper()
    simulator.faults.add(
        Fault(
            name="upper",
            edit=lambda reply: replace(reply, body=reply.body.replace(message.sid.encode(), upper.encode())),
        )
    )

    [(sid, found)] = log.fetch([message.sid])

    assert found is not None
    assert (sid, found.sid) == (message.sid, upper)


def test_fetch_breaks_off(account: TwilioAccount, simulator: TwilioSimulator) -> None:
    """
    What came before an error stands; what would have come after it is not asked for.
    """
    planted = [message.sid for message in plant(account, 30)]
    simulator.faults.add(Fault.unauthorised(), on=On(path=planted[2]))
    found: list[str] = []
    singles = TwilioLog(access(simulator), in_flight=1).fetch(planted)

    with pytest.raises(TwilioRefused):
        found.extend(sid for sid, _ in singles)

    assert found == planted[:2]
    assert len(simulator.requests) == 3


# Many days, many faults


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.lists(st.integers(0, 8), max_size=5), st.integers(1, 4))
def test_every_message_once(counts: list[int], faults: list[int], in_flight: int) -> None:
    """
    Whatever passes on the way, each message of each day comes exactly once, at one request for each page and fault.
    """
    account = TwilioAccount(clock=lambda: NOW, randomness=Random(3), numbers=[CLINIC])
    days = [DAY - timedelta(days=n) for n in range(len(counts))]
    planted = {
        day: plant(account, n, NOON - timedelta(days=back))
        for back, (day, n) in enumerate(zip(days, counts, strict=True))
    }
    passing = [PASSING[index] for index in faults]
    with pytest.MonkeyPatch.context() as patch, TwilioSimulator(account) as simulator:
        patch.setattr(twilio, "PAGE_SIZE", 3)
        for number, fault in enumerate(passing):
            simulator.faults.add(fault, on=on_day(days[number % len(days)]))
        log = TwilioLog(access(simulator), patience=BRISK, in_flight=in_flight)
        items = list(log.pages(last_days(len(counts))))

    assert gaps(items) == {}
    for day in days:
        assert [message.sid for message in planted[day]] == sids(items, day)
        assert [item.last for item in items if item.day == day and isinstance(item, Page)][-1]
    assert log.coverage()["twilio_requests"] == sum(max(1, -(-n // 3)) for n in counts) + len(passing)


# Proxies and certificates


@dataclass
class Proxy:
    """
    A proxy that answers everything itself with an empty page, and what it was asked.
    """

    port: int
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture(name="proxy")
def _proxy() -> Iterator[Proxy]:
    """
    A proxy for plain HTTP.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.asked.append((self.path, self.headers["Proxy-Authorization"]))
            body = b'{"messages": [], "next_page_uri": null}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(server.server_port)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield proxy
        server.shutdown()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("written", "login"),
    [
        ("http://127.0.0.1:{port}", None),
        ("127.0.0.1:{port}/", None),
        ("http://anna:p%40ss%3Aw@127.0.0.1:{port}", "anna:p@ss:w"),
    ],
)
def test_proxy(
    simulator: TwilioSimulator,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    written: str,
    login: str | None,
) -> None:
    """
    A proxy that the environment names is used, with its login if it has one.
    """
    monkeypatch.setenv(variable, written.format(port=proxy.port))
    log = TwilioLog(access(simulator, base_url="http://api.twilio.invalid"), patience=BRISK)

    items = list(log.pages(ONE_DAY))

    assert gaps(items) == {}
    assert all(path.startswith("http://api.twilio.invalid/2010-04-01/") for path, _ in proxy.asked)
    expected = login and f"Basic {base64.b64encode(login.encode()).decode()}"
    assert [sent for _, sent in proxy.asked] == [expected] * 2


def test_dead_proxy(simulator: TwilioSimulator, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A proxy that is not there makes Twilio unreachable, for pages and for single messages; no way around it is tried.
    """
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    log = TwilioLog(access(simulator), patience=replace(BRISK, give_up_after=60))
    begun = time.monotonic()

    items = list(log.pages(last_days(9)))
    with pytest.raises(TwilioUnreachable, match="through the proxy"):
        list(log.fetch(["SM" + "0" * 32]))

    assert len(gaps(items)) == 10
    assert all("no connection through the proxy" in error.summary for error in gaps(items).values())
    assert time.monotonic() - begun < 1.5
    assert simulator.requests == []


@pytest.mark.parametrize("exception", ["127.0.0.1", "*", "example.com, 127.0.0.1"])
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy(
    account: TwilioAccount,
    simulator: TwilioSimulator,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    exception: str,
) -> None:
    """
    Hosts that are excepted are reached without the proxy.
    """
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv(variable, exception)
    [message] = plant(account, 1)
    log = TwilioLog(access(simulator), patience=BRISK)

    assert gaps(list(log.pages(ONE_DAY))) == {}
    assert [message.sid] == [sid for sid, found in log.fetch([message.sid]) if found]


@pytest.mark.parametrize(
    "written",
    ["socks5://anna:hunter2@127.0.0.1:1080", "http://anna:hunter2@[", "http://anna:hunter2@127.0.0.1:port", "http://"],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_malformed_proxy(
    simulator: TwilioSimulator, monkeypatch: pytest.MonkeyPatch, variable: str, written: str
) -> None:
    """
    A proxy that cannot be used is a setting to correct, named by its variable and without its password.
    """
    monkeypatch.setenv(variable, written)

    with pytest.raises(SettingsError, match=variable) as raised:
        TwilioLog(access(simulator))

    assert "hunter2" not in everything_said(raised.value)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_bundle_that_is_none(
    simulator: TwilioSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: str | None
) -> None:
    """
    Certificates that are not there are a setting to correct, named by its variable.
    """
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content)
    monkeypatch.setenv(variable, str(bundle))

    with pytest.raises(SettingsError, match=variable):
        TwilioLog(access(simulator, base_url="https://api.twilio.com"))


@dataclass
class Tls:
    """
    A server with a certificate that nobody knows, made out to 127.0.0.1.
    """

    url: str
    certificate: Path
    handshakes: int = 0


@pytest.fixture(name="tls")
def _tls(certificate: Path, closed_port: int) -> Iterator[Tls]:
    """
    It answers everything with an empty page.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"messages": [], "next_page_uri": null}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def get_request(self) -> tuple[Any, Any]:
            tls.handshakes += 1
            connection, address = super().get_request()
            return context.wrap_socket(connection, server_side=True), address

    with Server(("127.0.0.1", 0), Handler) as server:
        tls = Tls(f"https://127.0.0.1:{server.server_port}", certificate)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield tls
        server.shutdown()


def test_unknown_certificate(simulator: TwilioSimulator, tls: Tls) -> None:
    """
    A certificate that is not accepted is not tried again, for any day, and nothing is sent.
    """
    log = TwilioLog(access(simulator, base_url=tls.url), patience=BRISK)

    items = list(log.pages(last_days(5)))

    assert len(gaps(items)) == len(items) == 6
    assert {error.summary for error in gaps(items).values()} == {"Twilio's certificate was not accepted"}
    assert tls.handshakes == 1


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_own_certificates(simulator: TwilioSimulator, tls: Tls, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """
    The bundle that the environment names is believed, and nothing else then.
    """
    monkeypatch.setenv(variable, str(tls.certificate))
    log = TwilioLog(access(simulator, base_url=tls.url), patience=BRISK)

    assert gaps(list(log.pages(ONE_DAY))) == {}
    context = log._http.connection_pool_kw["ssl_context"]
    assert len(context.get_ca_certs()) == 1


def test_mozillas_certificates(simulator: TwilioSimulator) -> None:
    """
    Without a bundle, certificates are known even to a Python that comes without any, and are demanded.
    """
    log = TwilioLog(access(simulator, base_url="https://api.twilio.com"))

    context = log._http.connection_pool_kw["ssl_context"]
    assert len(context.get_ca_certs()) > 50
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_no_tls_there(simulator: TwilioSimulator) -> None:
    """
    A server that speaks no TLS is tried a few times, in case the connection was merely lost.
    """
    url = simulator.base_url.replace("http://", "https://")
    log = TwilioLog(access(simulator, base_url=url), patience=BRISK)

    items = list(log.pages(last_days(5)))

    assert len(gaps(items)) == 6
    assert "no secure connection" in gaps(items)[None].summary
    assert (log.coverage()["undated_requests"], log.coverage()["twilio_requests"]) == (3, 0)


def test_no_host_there(simulator: TwilioSimulator) -> None:
    """
    An address that can be nobody's is not tried again.
    """
    log = TwilioLog(access(simulator, base_url=f"http://{'a' * 64}.example"), patience=BRISK)

    error = gaps(list(log.pages(ONE_DAY)))[None]

    assert "TWILIO_API_BASE_URL" in error.summary
    assert log.coverage()["undated_requests"] == 1


# Nothing leaks


def everything_said(error: BaseException) -> str:
    """
    The words of an error and of all that led to it, hidden or not.
    """
    said: list[str] = []
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            said += [str(one), repr(one), str(getattr(one, "hint", "")), str(getattr(one, "sentence", ""))]
            waiting += [one.__cause__, one.__context__]
    return "\n".join(said)


def test_nothing_leaks(
    account: TwilioAccount,
    simulator: TwilioSimulator,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """
    Whatever goes wrong, no error, log line or output holds the credential, a phone number or a text.
    """
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "urllib3.connectionpool", "twilio", "twilio.http_client", "booking_doctor"):
        caplog.set_level(logging.DEBUG, name)
    [message] = plant(account, 1)
    refusing = Fault(name="refusing", instead=problem(21211, f"Invalid 'To' Phone Number: {ANNA} ({BODY})"))
    garbled = Fault(name="garbled", edit=lambda reply: replace(reply, body=reply.body.replace(b'"status"', b'"x"')))
    heard, errors = Heard(), list[BaseException]()
    hasty = replace(BRISK, read_timeout=0.05, give_up_after=0.05)
    refused = [fault for fault, *_ in REFUSALS if fault.name != "not found"]
    for fault in [*PASSING, *refused, *NOT_TWILIO, refusing, garbled]:
        simulator.faults.add(fault, times=None)
        log = TwilioLog(access(simulator), patience=hasty, progress=heard)
        errors += gaps(list(log.pages(ONE_DAY))).values()
        with pytest.raises(TwilioError) as raised:
            list(log.fetch([message.sid]))
        errors.append(raised.value)
        simulator.faults.clear()
    assert gaps(list(log.pages(ONE_DAY))) == {}

    said = "\n".join(
        [*map(everything_said, errors), caplog.text, *capfd.readouterr(), *(reason for _, reason in heard.waits)]
    )
    basic = base64.b64encode(f"{account.account_sid}:{TOKEN}".encode()).decode()
    assert len(errors) > 60
    assert "api.twilio" in said or "127.0.0.1" in said
    for secret in (TOKEN, basic, ANNA, ANNA[1:], quote(ANNA), BODY):
        assert secret not in said


def test_settings_do_not_show_the_password(simulator: TwilioSimulator) -> None:
    """
    What is printed of settings does not hold the credential.
    """
    assert TOKEN not in repr(access(simulator)) + str(access(simulator)) + f"{access(simulator).password}"


# Interrupted


def living() -> list[threading.Thread]:
    """
    The threads that would keep a process alive.
    """
    return [thread for thread in threading.enumerate() if not thread.daemon]


@pytest.mark.parametrize("read", ["pages", "fetch"])
def test_interrupted(account: TwilioAccount, simulator: TwilioSimulator, read: str) -> None:
    """
    Ctrl-C leaves no thread behind that would keep the process alive, though Twilio does not answer.
    """
    planted = [message.sid for message in plant(account, 20)]
    log, before = TwilioLog(access(simulator)), living()
    simulator.faults.add(Fault.hang(), times=None, on=lambda _: len(simulator.requests) > 1)

    def interrupted() -> None:
        reading: Iterator[object] = log.pages(last_days(9)) if read == "pages" else log.fetch(planted)
        for _ in reading:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert living() == before


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """
    Another Python.
    """
    search = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": search}, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("read", ["log.pages(window)", 'log.fetch(["SM" + "0" * 32] * 9)'])
def test_interrupted_process(simulator: TwilioSimulator, read: str) -> None:
    """
    A process that waits for Twilio ends at once with Ctrl-C.
    """
    simulator.faults.add(Fault.hang(), times=None)
    program = f"""
from datetime import datetime
from booking_doctor.adapters.twilio import TwilioLog
from booking_doctor.findings import Window
from booking_doctor.settings import Secret, TwilioSettings

sid = "{simulator.account.account_sid}"
log = TwilioLog(
    TwilioSettings(account_sid=sid, username=sid, password=Secret("x"), senders=frozenset(), base_url="{simulator.base_url}")
)
window = Window(datetime.fromisoformat("2026-03-01T00:00Z"), datetime.fromisoformat("2026-03-04T00:00Z"))
list({read})
"""
    with process("-c", program) as running:
        assert eventually(lambda: bool(simulator.requests), within=10)
        time.sleep(0.1)
        begun = time.monotonic()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=10)

    assert time.monotonic() - begun < 2
    assert running.returncode in {-signal.SIGINT, 130}
    assert re.search(r"^KeyboardInterrupt", said, re.MULTILINE)
    assert "Exception ignored" not in said
