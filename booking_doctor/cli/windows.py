"""
Windows of time as people write them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from booking_doctor.errors import UsageError
from booking_doctor.findings import Window

_AGE: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORMS: Final = (
    "give a date (2025-12-01, from midnight UTC), a time with its zone (2025-12-01T09:30Z) or an age (90m, 36h, 7d, 2w)"
)


def parse_window(since: str, until: str | None, now: datetime) -> Window:
    """
    Understand ``--since`` and ``--until``; no *until*, or one yet to come, is *now*.

    A part of a second is dropped, so that the window in the report is the window that was used.

    Raises:
        UsageError: One of them cannot be understood, or together they span nothing.
    """
    now = now.astimezone(UTC).replace(microsecond=0)
    begin = _moment("--since", since, now)
    end = now if until is None else min(_moment("--until", until, now), now)
    if begin > now:
        message = f"--since {since} is in the future: that is {begin:%F %T} UTC, and now is {now:%F %T} UTC"
        raise UsageError(message)
    if begin >= end:
        message = f"--since {since} ({begin:%F %T} UTC) is not before --until {until or 'now'} ({end:%F %T} UTC)"
        raise UsageError(message)
    return Window(begin, end)


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        moment = _understood(text.strip(), now)
    except (ValueError, OverflowError):
        message = f"{option} {text} is not understood"
        raise UsageError(message, hint=_FORMS) from None
    if moment.tzinfo is None:
        message = f"{option} {text} has no zone"
        raise UsageError(message, hint=_FORMS)
    return moment.replace(microsecond=0)


def _understood(text: str, now: datetime) -> datetime:
    age = _AGE.fullmatch(text)
    if age is not None:
        return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def parse_length(option: str, text: str) -> timedelta:
    """
    Understand a length of time, such as ``15m``.

    Raises:
        UsageError: It is none, or less than a second.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        message = f"{option} {text} is not understood"
        raise UsageError(message, hint="give a length of time, such as 90s, 15m or 1h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def check_retention(window: Window, now: datetime, retention: timedelta) -> None:
    """
    Refuse a window that Twilio's log no longer covers: what Twilio has deleted would look as if it never was.

    Raises:
        UsageError: Names the retention and the setting.
    """
    oldest = now - retention - timedelta(minutes=1)  # the clock went on since the window was parsed
    if window.since < oldest:
        message = f"--since {window.since:%F %T} UTC is too long ago: Twilio keeps messages for {retention.days} days"
        hint = "choose a later --since; retention_days in booking-doctor.toml says how long this account keeps them"
        raise UsageError(message, hint=hint)
