"""
The messages of one day of Twilio's log, as they come in pages: which are of the day and in the window, told in bulk.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from math import ceil
from typing import Final

from msgspec import Struct, field

from booking_doctor.core.model import TwilioMessage
from booking_doctor.findings import Window


class Span(Struct):
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


def sent_by_hour(messages: Sequence[TwilioMessage]) -> Counter[datetime]:
    """
    How many of them are outbound, by the full hour in which they were sent. They come newest first: where the first and
    the last are of one hour, all between them are, and are counted at once.

    Args:
        messages: That have a date.
    """
    told: Counter[datetime] = Counter()
    parts = [messages] if messages else []
    while parts:
        part = parts.pop()
        hour = _hour(part[0])
        if hour == _hour(part[-1]):
            told[hour] += len(part) - [message.direction for message in part].count("inbound")
        else:
            middle = len(part) // 2
            parts += part[:middle], part[middle:]
    return told


def _hour(message: TwilioMessage) -> datetime:
    sent = message.date_sent or ""
    if len(sent) == _CLOCK.stop + len(" +0000") and sent.endswith(" +0000"):
        return _full_hour(sent[: _CLOCK.start + 2])
    return message.happened_at.replace(minute=0, second=0, microsecond=0)


@lru_cache(maxsize=1024)
def _full_hour(text: str) -> datetime:
    return parsedate_to_datetime(f"{text}:00:00 +0000")


def _clock(moment: datetime, day: date) -> str:
    """
    The first whole second from that moment on, within the day, as the time of day in Twilio's dates.
    """
    start = datetime.combine(day, time(), UTC)
    seconds = ceil(min(max((moment - start).total_seconds(), 0), 86400))
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
