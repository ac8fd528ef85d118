"""
What is held while a log is compared: as much as is under way, however long the log is.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pytest

from booking_doctor import reconcile as module
from booking_doctor.core.agreement import Row
from booking_doctor.core.model import TwilioMessage
from booking_doctor.discrepancies import Terms
from booking_doctor.evidence import Page, Unread
from booking_doctor.findings import Window
from booking_doctor.reconcile import reconcile
from tests.memory import MemoryLog, MemoryRecords, days_of, rfc2822, sid

UNTIL: Final = datetime(2025, 12, 8, tzinfo=UTC)
PHONE, SENDER = "+15550101000", "+15550100200"
PAGE: Final = 50


class Watched(TwilioMessage, frozen=True, weakref=True, gc=True):
    """
    A message of which one can see whether somebody still holds it.
    """


@dataclass(kw_only=True)
class LongLog(MemoryLog):
    """
    Pages that are made when they are asked for, of several days by turns.

    Attributes:
        held: The messages that somebody still holds.
        most: How many those ever were.
    """

    held: weakref.WeakValueDictionary[str, Watched] = field(default_factory=weakref.WeakValueDictionary)
    most: int = 0
    pages_a_day: int = 1

    def pages(self, window: Window) -> Iterator[Page | Unread]:
        """
        None without a date, then the days.
        """
        yield Page(None, [], last=True)
        days = days_of(window)
        for number in range(self.pages_a_day):
            for day in days:
                yield Page(day, self._page(day, number), last=number == self.pages_a_day - 1)
                self.most = max(self.most, len(self.held))

    def _page(self, day: date, number: int) -> list[TwilioMessage]:
        messages = [Watched(**told(day, number * PAGE + n)) for n in range(PAGE)]
        self.held.update({message.sid: message for message in messages})
        return list(messages)


def told(day: date, number: int) -> dict[str, Any]:
    """
    A message of that day, one of many, newest first.
    """
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=23) - timedelta(seconds=number)
    return {
        "sid": sid(day.day * 1_000_000 + number),
        "status": "delivered",
        "direction": "outbound-api",
        "to": PHONE,
        "from_number": SENDER,
        "body": "Hello",
        "num_segments": "1",
        "date_sent": rfc2822(at),
        "date_created": rfc2822(at),
    }


def rows_of(window: Window, messages_a_day: int) -> list[Row]:
    """
    The rows that agree with all of them.
    """
    messages = [TwilioMessage(**told(day, number)) for day in days_of(window) for number in range(messages_a_day)]
    return [
        Row(
            id=message.sid,
            message_sid=message.sid,
            status="delivered",
            direction="outbound",
            to_number=message.to,
            from_number=message.from_number,
            segments=1,
            body=message.body,
            created_at=message.happened_at,
        )
        for message in messages
    ]


@pytest.mark.parametrize("pages_a_day", [10, 40])
def test_what_agrees_is_let_go(monkeypatch: pytest.MonkeyPatch, pages_a_day: int) -> None:
    """
    A log four times as long keeps no more messages in memory while all of them agree.
    """
    monkeypatch.setattr(module, "_SPAN_MESSAGES", 2 * PAGE)
    monkeypatch.setattr(module, "_WAITING_MESSAGES", 3 * PAGE)
    window = Window(UNTIL - timedelta(days=3), UNTIL)
    log = LongLog(messages=(), pages_a_day=pages_a_day)
    records = MemoryRecords(table=rows_of(window, pages_a_day * PAGE))

    comparison = reconcile(log, records, Terms(window=window, now=UNTIL, senders=frozenset({SENDER})))

    assert comparison.counts["matched"] == 3 * pages_a_day * PAGE
    assert log.most <= 3 * PAGE + 3 * PAGE
