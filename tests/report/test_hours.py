"""
The hours of a window as a person sees them: nothing unread looks like nothing, and nothing is wider than the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from booking_doctor.findings import Hour, Report
from booking_doctor.report import Canvas
from booking_doctor.report.hours import BLOCKS, NONE, UNREAD, gathered
from booking_doctor.report.terminal import render

NOON = datetime(2025, 12, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _none(_: int) -> int:
    return 0


def hours_of(number: int, **values: Callable[[int], int | None]) -> tuple[Hour, ...]:
    """
    So many hours until noon, with what happened in each; nothing where it is not said.
    """
    return tuple(
        Hour(
            start=NOON + HOUR * (at - number),
            bookings=values.get("bookings", _none)(at),
            sent=values.get("sent", _none)(at),
            recorded=values.get("recorded", _none)(at),
        )
        for at in range(number)
    )


def plot(report: Report, canvas: Canvas) -> list[str]:
    """
    The lines of it.
    """
    lines = render(report, canvas).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Hour by hour"))
    return lines[start : start + lines[start:].index("")]


@pytest.fixture(name="week")
def _week(samples: Mapping[str, Report]) -> Report:
    """
    Four days in order, then texts that are sent and not recorded; a day that was not read.
    """
    timeline = hours_of(
        168,
        bookings=lambda at: 3 + at % 5,
        sent=lambda at: None if 30 <= at < 40 else 3 + at % 5,
        recorded=lambda at: 3 + at % 5 if at < 72 else 0,
    )
    return replace(samples["diagnosed"], timeline=timeline)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_plot(week: Report, width: int, same_as_golden: Callable[[str, str], None]) -> None:
    """
    It is as fine as the width allows, with the onset below its column.
    """
    same_as_golden(f"terminal/hours-{width}.txt", "\n".join(plot(week, Canvas(width))) + "\n")


@pytest.mark.parametrize("number", [1, 2, 23, 24, 25, 168, 169, 1000, 9600])
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_fits(samples: Mapping[str, Report], number: int, width: int) -> None:
    """
    However many hours there are, no line is longer than the terminal is wide, from 60 columns on.
    """
    timeline = hours_of(number, bookings=lambda at: 1 + at, sent=lambda at: 10_000 * at)
    lines = plot(replace(samples["diagnosed"], timeline=timeline), Canvas(width))

    assert all(cell_len(line) <= max(width, 60) for line in lines)
    rows = [line for line in lines if line.startswith(("  bookings", "  sent", "  recorded"))]
    assert [len(line) for line in rows] == [len(rows[0])] * 3


def test_onset_is_below_its_column(samples: Mapping[str, Report]) -> None:
    """
    The mark stands below the hour of the first booking that no good one followed.
    """
    lines = plot(replace(samples["diagnosed"], timeline=hours_of(120, bookings=lambda at: int(at == 24))), Canvas(300))
    bookings, mark = lines[1], next(line for line in lines if "^" in line)

    assert mark.index("^") == bookings.index(BLOCKS[-1])
    assert "bad ever since 2025-12-04 12:00" in mark


def test_nothing_happened(samples: Mapping[str, Report]) -> None:
    """
    Then there is no plot.
    """
    assert "Hour by hour" not in render(replace(samples["healthy"], timeline=hours_of(5)), Canvas(80))


def test_where_only_ascii_is_written(week: Report) -> None:
    """
    Each block has a digit there, so rows stay as long as they are.
    """
    from booking_doctor.cli.writing import _encoded

    text = "\n".join(plot(week, Canvas(80)))

    plain = _encoded(text, "ascii").decode("ascii")
    assert "\\u" not in plain
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in text.splitlines()]
    assert "8" in plain.splitlines()[1]


_VALUES = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 10**6))


@given(st.lists(st.tuples(_VALUES, _VALUES, _VALUES), min_size=1, max_size=200), st.integers(5, 100))
def test_putting_hours_together(values: Sequence[tuple[int | None, int | None, int | None]], room: int) -> None:
    """
    Nothing is lost, and a column with an hour that was not read is not read.
    """
    hours = tuple(
        Hour(start=NOON + HOUR * at, bookings=bookings, sent=sent, recorded=recorded)
        for at, (bookings, sent, recorded) in enumerate(values)
    )

    columns = gathered(hours, room)

    assert len(columns.starts) <= room
    for row, told in columns.rows.items():
        every = [getattr(hour, row) for hour in hours]
        assert (None in told) is (None in every)
        if None not in every:
            assert sum(value or 0 for value in told) == sum(every)


def test_unread_is_no_nought(samples: Mapping[str, Report]) -> None:
    """
    What was not read is told apart from what is none, in the rows, the sums and in words.
    """
    timeline = hours_of(10, bookings=lambda at: at, sent=lambda _: None)
    lines = plot(replace(samples["diagnosed"], timeline=timeline), Canvas(80))

    assert lines[2].split() == ["sent", UNREAD, UNREAD * 10]
    assert lines[3].split() == ["recorded", "0", NONE * 10]
    assert lines[-1].strip().startswith(f"{UNREAD} was not read")
