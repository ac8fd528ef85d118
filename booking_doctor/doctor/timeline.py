"""
The window hour by hour: bookings made, texts that Twilio sent, texts that were recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from booking_doctor.checks.check import Evidence
from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.evidence import Overview, Queries
from booking_doctor.findings import Hour, Window

_BOOKINGS: Final = """
SELECT date_trunc('hour', {pending_bookings.created_at}) AS hour, count(*) AS made FROM {pending_bookings}
WHERE {pending_bookings.created_at} >= :since AND {pending_bookings.created_at} < :until GROUP BY 1
"""
_RECORDED: Final = """
SELECT date_trunc('hour', {messages.created_at}) AS hour, count(*) AS made FROM {messages}
WHERE {messages.created_at} >= :since AND {messages.created_at} < :until
  AND CAST({messages.direction} AS text) IS DISTINCT FROM 'inbound' GROUP BY 1
"""


class Kept(Struct, frozen=True):
    """
    What the database holds, by the hour; None for what could not be read.
    """

    bookings: Mapping[datetime, int] | None
    recorded: Mapping[datetime, int] | None


def kept_by_hour(window: Window, ask: Callable[[], Queries]) -> Kept:
    """
    Ask the database.
    """
    return Kept(_counted(_BOOKINGS, window, ask), _counted(_RECORDED, window, ask))


def kept_beside(overview: Overview | None, window: Window, ask: Callable[[], Queries]) -> Kept:
    """
    Ask for the bookings alone: the texts were counted on the way, unless nothing of the log was there to compare them with.
    """
    if overview is None:
        return kept_by_hour(window, ask)
    return Kept(_counted(_BOOKINGS, window, ask), overview.outbound_by_hour)


def kept(evidence: Evidence) -> Kept:
    """
    The same, as a look that is made once.
    """
    return kept_by_hour(evidence.window, lambda: evidence.database)


def _counted(question: str, window: Window, ask: Callable[[], Queries]) -> dict[datetime, int] | None:
    try:
        rows = ask().rows(question, since=window.since, until=window.until)
    except (SourceError, SettingsError):
        return None
    return {row["hour"]: row["made"] for row in rows}


def timeline(window: Window, kept: Kept, sent: Mapping[datetime, int]) -> tuple[Hour, ...]:
    """
    Put both sides together.

    Args:
        sent: Of the hours of Twilio's log that were read.
    """
    return tuple(
        Hour(
            start=hour,
            bookings=None if kept.bookings is None else kept.bookings.get(hour, 0),
            sent=sent.get(hour),
            recorded=None if kept.recorded is None else kept.recorded.get(hour, 0),
        )
        for hour in window.hours()
    )
