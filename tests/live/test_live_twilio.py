"""
The real Twilio, read only: what the log relies on is asserted, what Twilio does not document is printed as a fact.

Runs only where LIVE_TWILIO_ACCOUNT_SID is set with LIVE_TWILIO_AUTH_TOKEN, or with LIVE_TWILIO_API_KEY and
LIVE_TWILIO_API_SECRET; LIVE_TWILIO_API_BASE_URL may name another host. A few dozen small requests, nothing is sent or
changed, and no number and no text is printed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from booking_doctor.adapters.twilio import SCAN_PAGES, TwilioLog
from booking_doctor.core.model import SID_SHAPE, TwilioMessage
from booking_doctor.evidence import Page, Unread
from booking_doctor.findings import Window
from booking_doctor.settings import TwilioSettings, twilio_settings

_LIVE: Final = {
    name.removeprefix("LIVE_"): value for name, value in os.environ.items() if name.startswith("LIVE_TWILIO_")
}
_CREDENTIAL: Final = bool(_LIVE.get("TWILIO_AUTH_TOKEN")) or all(
    _LIVE.get(name) for name in ("TWILIO_API_KEY", "TWILIO_API_SECRET")
)

pytestmark = pytest.mark.live

MADE_UP: Final = "SM" + "0" * 31 + "1"

Tell = Callable[[str, object], None]


@dataclass(frozen=True)
class Answer:
    """
    What Twilio said to one request.
    """

    status: int
    document: Any
    headers: Any

    @property
    def outcome(self) -> str:
        """
        Status and code, or how many messages came.
        """
        code = self.document.get("code")
        messages = self.document.get("messages")
        return (
            f"HTTP {self.status}"
            + (f", code {code}" if code else "")
            + ("" if messages is None else f", {len(messages)} messages, page_size {self.document.get('page_size')}")
        )

    @property
    def dates(self) -> list[str | None]:
        """
        When its messages were sent.
        """
        return [message["date_sent"] for message in self.document.get("messages", [])]


@dataclass(frozen=True)
class Raw:
    """
    The same connections and credential as the log's, but anything may be asked.
    """

    settings: TwilioSettings
    log: TwilioLog

    def __call__(self, query: Mapping[str, object], name: str = "Messages.json") -> Answer:
        """
        Ask once.
        """
        url = f"{self.settings.base_url}/2010-04-01/Accounts/{self.settings.account_sid}/{name}"
        url += f"?{urlencode(query)}" if query else ""
        answer = self.log._http.request("GET", url, headers=self.log._headers, redirect=False)
        try:
            document = json.loads(answer.data)
        except ValueError:
            document = {"code": "no JSON"}
        return Answer(answer.status, document, answer.headers)


@pytest.fixture(name="live")
def _live() -> TwilioSettings:
    """
    The account; without one there is nothing to ask.
    """
    if not (_LIVE.get("TWILIO_ACCOUNT_SID") and _CREDENTIAL):
        pytest.skip("the real Twilio: LIVE_TWILIO_ACCOUNT_SID and LIVE_TWILIO_AUTH_TOKEN (or a key) are not set")
    return twilio_settings(_LIVE, senders_needed=False)


@pytest.fixture(name="log")
def _log(live: TwilioSettings) -> TwilioLog:
    """
    Its log.
    """
    return TwilioLog(live)


@pytest.fixture(name="raw")
def _raw(live: TwilioSettings, log: TwilioLog) -> Raw:
    """
    Its API.
    """
    return Raw(live, log)


@pytest.fixture(name="tell")
def _tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """
    Print a fact, past the capture.
    """

    def tell(question: str, answer: object) -> None:
        with capsys.disabled():
            print(f"\nlive fact: {question}: {answer}")  # noqa: T201

    return tell


def day_of(moment: datetime) -> Window:
    """
    The whole UTC day.
    """
    start = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Window(start, start + timedelta(days=1))


@pytest.fixture(name="busy")
def _busy(live: TwilioSettings) -> date:
    """
    A finished day on which messages were sent.
    """
    today = day_of(datetime.now(UTC)).since
    scan = TwilioLog(live).pages(Window(today - timedelta(days=1), today))
    try:
        messages = _messages(next(scan))
    finally:
        scan.close()  # type: ignore[attr-defined]
    days = {message.sent_at.date() for message in messages if message.sent_at is not None and message.sent_at < today}
    if not days:
        pytest.skip("none of this account's newest messages was sent on a finished day")
    return max(days)


def _messages(item: Page | Unread) -> Iterator[TwilioMessage]:
    assert isinstance(item, Page), item.error.sentence
    return iter(item.messages)


# What the log relies on


def test_one_day(log: TwilioLog, busy: date, tell: Tell) -> None:
    """
    A day is read to its end: every message has the shape we know, and was sent on that day.
    """
    window = day_of(datetime(busy.year, busy.month, busy.day, tzinfo=UTC))

    items = list(log.pages(window))

    messages = [message for item in items if not isinstance(item, Page) or item.day for message in _messages(item)]
    outside = [message for message in messages if message.sent_at is None or message.sent_at not in window]
    tell("a day", f"{len(messages)} messages, coverage {dict(log.coverage())}")
    tell("statuses", dict(Counter(message.status for message in messages)))
    tell("messages without date_sent under a date filter", sum(message.date_sent is None for message in messages))
    tell("messages of another day under a date filter", [message.date_sent for message in outside])
    assert messages
    assert len({message.sid for message in messages}) == len(messages)
    assert all(SID_SHAPE.fullmatch(message.sid) for message in messages)
    assert all(message.sent_at is None or message.sent_at <= window.until for message in outside)


def test_scan(log: TwilioLog, tell: Tell) -> None:
    """
    The scan for messages without a date is bounded, and newest first.
    """
    now = datetime.now(UTC)

    items = list(log.pages(Window(now - timedelta(hours=1), now)))

    scanned = [
        message for item in items if not isinstance(item, Page) or item.day is None for message in _messages(item)
    ]
    undated = [place for place, message in enumerate(scanned) if message.date_sent is None]
    dated = [message.happened_at for message in scanned if message.date_sent is not None]
    tell("scan", f"{len(scanned)} messages, {len(undated)} without date_sent, at places {undated[:20]}")
    tell("their statuses", dict(Counter(scanned[place].status for place in undated)))
    tell("the newest by date_sent first", dated == sorted(dated, reverse=True))
    tell("the newest by date_created first", _is_newest_first([message.date_created for message in scanned]))
    requests = log.coverage()["undated_requests"]
    assert isinstance(requests, int)
    assert 1 <= requests <= SCAN_PAGES


def _is_newest_first(dates: list[str | None]) -> bool:
    times = [datetime.strptime(text, "%a, %d %b %Y %H:%M:%S %z") for text in dates if text]
    return times == sorted(times, reverse=True)


def test_made_up_sid(log: TwilioLog) -> None:
    """
    Twilio answers a SID that never was with the 404 that we take for one.
    """
    assert list(log.fetch([MADE_UP])) == [(MADE_UP, None)]


def test_page(raw: Raw, tell: Tell) -> None:
    """
    A page names the next one as a path of this account's messages, and repeats what was asked.
    """
    answer = raw({"PageSize": 1})

    tell("keys of a page", sorted(answer.document))
    tell("keys of a message", sorted(answer.document["messages"][0]) if answer.document["messages"] else None)
    tell("headers", sorted(answer.headers))
    tell("compression", answer.headers.get("Content-Encoding"))
    following = answer.document["next_page_uri"]
    assert answer.document["page_size"] == 1
    if following is not None:
        assert following.startswith(f"/2010-04-01/Accounts/{raw.settings.account_sid}/Messages.json?")
        assert "PageSize=1&" in f"{following}&"


# What Twilio does not document


def test_largest_page(raw: Raw, tell: Tell) -> None:
    """
    Fact: what becomes of a page size beyond 1000.
    """
    tell("PageSize=1000", raw({"PageSize": 1000}).outcome)
    tell("PageSize=1001", raw({"PageSize": 1001}).outcome)


def test_bare_upper_bound(raw: Raw, busy: date, tell: Tell) -> None:
    """
    Fact: whether DateSent<= with a bare day includes that day or stops at its midnight, and likewise DateSent>=.
    """
    [newest, *_] = raw({"DateSent": busy, "PageSize": 1}).dates or [None]
    up_to = raw({"DateSent<": busy, "PageSize": 1}).dates
    tell(f"newest of {busy}", newest)
    tell(f"newest up to {busy}, so the bound includes the day", f"{up_to}: {up_to == [newest]}")
    tell(f"from {busy} on", raw({"DateSent>": busy, "PageSize": 5}).outcome)
    tell("from tomorrow on", raw({"DateSent>": datetime.now(UTC).date() + timedelta(days=1)}).outcome)


@pytest.mark.parametrize("days", [399, 400, 401, 500, 2000])
def test_past_retention(raw: Raw, tell: Tell, days: int) -> None:
    """
    Fact: the answer for a day past Twilio's retention.
    """
    day = datetime.now(UTC).date() - timedelta(days=days)
    tell(f"the day {days} days ago", raw({"DateSent": day, "PageSize": 1}).outcome)


@pytest.mark.parametrize(
    "query",
    [
        {"DateSent": "yesterday"},
        {"Page": 1},
        {"PageToken": "PASM0"},
        {"PageSize": 0},
        {"DateSen": "2020-01-01", "PageSize": 1},
    ],
)
def test_wrong_parameters(raw: Raw, tell: Tell, query: dict[str, object]) -> None:
    """
    Fact: the answer to parameters that cannot be meant.
    """
    tell(str(query), raw(query).outcome)


@pytest.mark.parametrize("sid", [MADE_UP, "SM1", "nonsense", "..", "a%20b"])
def test_wrong_sids(raw: Raw, tell: Tell, sid: str) -> None:
    """
    Fact: the answer for a SID that is none; a row may hold anything.
    """
    tell(f"Messages/{sid}", raw({}, f"Messages/{sid}.json").outcome)
