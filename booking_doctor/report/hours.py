"""
The hours of a window at a glance: a row each for bookings, texts sent and texts recorded, with the onset marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain, count, groupby
from math import ceil
from typing import Final

from msgspec import Struct

from booking_doctor.findings import Hour, Onset
from booking_doctor.report.drawing import Page
from booking_doctor.report.words import moment_text

BLOCKS: Final = "▁▂▃▄▅▆▇█"
"""Where these cannot be written, the digits 1 to 8 stand for them."""

NONE, UNREAD = ".", "?"

_ROWS: Final = ("bookings", "sent", "recorded")
_INDENT: Final = 2


class Columns(Struct, frozen=True, kw_only=True):
    """
    The hours put together, so many to a column.

    Attributes:
        starts: When each column begins.
        rows: What each column holds, by row; None where an hour of it was not read.
    """

    hours: int
    starts: Sequence[datetime]
    rows: dict[str, list[int | None]]


def draw(page: Page, timeline: Sequence[Hour], onset: Onset | None) -> None:
    """
    Put them on the page, as fine as its width allows. Where nothing happened there is nothing to see.
    """
    if not any(getattr(hour, row) for hour in timeline for row in _ROWS):
        return
    totals = {row: _total(timeline, row) for row in _ROWS}
    digits = max(map(len, totals.values()))
    left = _INDENT + len("bookings  ") + digits + len("  ")
    columns = gathered(timeline, page.width - left)
    highest = max(value or 0 for row in columns.rows.values() for value in row)
    page.section(("Hour by hour", "bold"), (f" in UTC, a column for {_span(columns.hours)}, up to {highest:,}", ""))
    for row, values in columns.rows.items():
        bars = "".join(_bar(value, highest) for value in values)
        page.verbatim(f"{row:<8}  {totals[row]:>{digits}}  {bars}", indent=_INDENT)
    if onset:
        page.verbatim(_mark(columns, onset, page.width - left), indent=left, style="bold yellow")
    page.verbatim(_axis(columns), indent=left, style="dim")
    if any(None in values for values in columns.rows.values()):
        page.prose((f"{UNREAD} was not read, or not to its end; {NONE} is none", "dim"), indent=_INDENT)


def gathered(timeline: Sequence[Hour], room: int) -> Columns:
    """
    As many hours to a column as it takes to fit in; columns begin at midnight, or divide the day.
    """
    hours = next(hours for hours in chain((1, 2, 3, 4, 6, 8, 12), count(24, 24)) if _number(timeline, hours) <= room)
    groups = [list(group) for _, group in groupby(timeline, lambda hour: _place(hour.start, hours))]
    return Columns(
        hours=hours,
        starts=[group[0].start for group in groups],
        rows={row: [_sum([getattr(hour, row) for hour in group]) for group in groups] for row in _ROWS},
    )


def _number(timeline: Sequence[Hour], hours: int) -> int:
    return _place(timeline[-1].start, hours) - _place(timeline[0].start, hours) + 1


def _place(moment: datetime, hours: int) -> int:
    return int(moment.timestamp()) // 3600 // hours


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _total(timeline: Sequence[Hour], row: str) -> str:
    total = _sum([getattr(hour, row) for hour in timeline])
    return UNREAD if total is None else f"{total:,}"


def _span(hours: int) -> str:
    number, unit = (hours // 24, "day") if hours >= 24 else (hours, "hour")
    return f"each {unit}" if number == 1 else f"{number} {unit}s"


def _bar(value: int | None, highest: int) -> str:
    if value is None:
        return UNREAD
    return BLOCKS[ceil(value * len(BLOCKS) / highest) - 1] if value else NONE


def _mark(columns: Columns, onset: Onset, room: int) -> str:
    """
    Below the column of the first bad booking, or of the one that no good one followed, with words where there is room.
    """
    moment, words = (onset.turned_at, "bad ever since") if onset.turned_at else (onset.first_bad, "first bad booking")
    column = max(_place(moment, columns.hours) - _place(columns.starts[0], columns.hours), 0)
    words = f"{words} {moment_text(moment)}"
    if column + len(f"^ {words}") <= room:
        return " " * column + f"^ {words}"
    return (f"{words} ^" if len(words) < column else "^").rjust(column + 1)


def _axis(columns: Columns) -> str:
    """
    The first and, where there is room for both, the last column's beginning.
    """
    shape = "%Y-%m-%d" if columns.hours >= 24 else "%Y-%m-%d %H:%M"
    first, last = (f"{moment:{shape}}" for moment in (columns.starts[0], columns.starts[-1]))
    room = len(columns.starts) - len(first) - 1
    return f"{first} {last.rjust(room)}" if room > len(last) else first
