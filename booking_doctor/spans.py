"""
The messages of one day of Twilio's log, as they come in pages: which are of the day and in the window, told in bulk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from functools import lru_cache
from math import ceil
from typing import Final

from booking_doctor.core.model import TwilioMessage
from booking_doctor.findings import Window


@dataclass(slots=True)
class Span:
    """
    The messages of one day that have come and are not yet compared.

    Attributes:
        upper: The span's upper end.
        last: The message read last, from which on the next span goes down.
        lines: What is to be found among the rows.
        bystanders: Lines and SIDs of other senders' messages, whose rows need no second look.
    """

    upper: datetime
    last: TwilioMessage | None = None
    read: int = 0
    lines: dict[str, TwilioMessage] = field(default_factory=dict)
    bystanders: dict[str, str] = field(default_factory=dict)


def dated_on(messages: Sequence[TwilioMessage], day: date) -> bool:
    """
    Whether all of them have a date of that UTC day, as Twilio writes it.
    """
    return _on_day(day).fullmatch("\n".join([message.date_sent or "" for message in messages] + [""])) is not None


@lru_cache(maxsize=64)
def _on_day(day: date) -> re.Pattern[str]:
    """
    Lines with dates of that UTC day as Twilio writes them: a check of a thousand costs less than parsing ten.
    """
    prefix = format_datetime(datetime.combine(day, time(), UTC)).removesuffix("00:00:00 +0000")
    return re.compile(rf"(?:{re.escape(prefix)}(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d \+0000\n)*")


def within(messages: Sequence[TwilioMessage], day: date, window: Window) -> Sequence[TwilioMessage]:
    """
    Those in the window, of messages that are `dated_on` the day.
    """
    if day not in {window.since.date(), window.until.date()}:
        return messages
    # NOTE: as texts, which are of this day and of one form; parsing them would take as long as all the rest.
    since, until = _clock(window.since, day), _clock(window.until, day)
    return [message for message in messages if since <= (message.date_sent or "")[_CLOCK] < until]


_CLOCK: Final = slice(len("Sun, 22 Nov 2026 "), len("Sun, 22 Nov 2026 00:00:00"))
"""Where the time of day stands in them."""


def _clock(moment: datetime, day: date) -> str:
    """
    The first whole second from that moment on, within the day, as the time of day in Twilio's dates.
    """
    start = datetime.combine(day, time(), UTC)
    seconds = ceil(min(max((moment - start).total_seconds(), 0), 86400))
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
