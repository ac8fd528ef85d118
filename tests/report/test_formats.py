"""
Every format draws every report: whole, the same each time, and never what a report smuggles in.
"""

from __future__ import annotations

import pytest

from booking_doctor.findings import Report
from booking_doctor.report import FORMATS, Canvas, visible


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_draws_every_report(name: str, sample: tuple[str, Report]) -> None:
    """
    One document, ending in one newline, the same twice, that its encoding can hold.
    """
    drawn_by, (_, report) = FORMATS[name], sample
    document = drawn_by.render(report, Canvas(80))

    assert document == drawn_by.render(report, Canvas(80))
    assert document.endswith("\n")
    assert not document.endswith("\n\n")
    assert document.encode(drawn_by.encoding or "utf-8")


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_lets_control_characters_through(name: str, sample: tuple[str, Report]) -> None:
    """
    Where no colour is asked for, nothing but newlines and what can be seen comes out, in any format.
    """
    document = FORMATS[name].render(sample[1], Canvas(80))

    assert document.replace("\n", "").isprintable()


def test_the_default_comes_first_and_names_are_their_own() -> None:
    """
    ``--format`` lists the terminal first, and a format is found under its name.
    """
    assert next(iter(FORMATS)) == "terminal"
    assert all(name == known.name for name, known in FORMATS.items())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 日本 👍", "Zoë 日本 👍"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\t\x00", "a\\nb\\r\\t\\x00"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\u202e\u2066\u200b\u2028\ufeff", "\\u202e\\u2066\\u200b\\u2028\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("a\u00a0b", "a\\xa0b"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    """
    Control, format, bidirectional and separator characters and lone surrogates become escapes; letters stay.
    """
    assert visible(text) == shown
