"""
Segments are counted as Twilio's own calculator counts them; the values below come from running it.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.core.segments import GSM_BASIC, GSM_EXTENDED, segments

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1fa\U0001f1f8"
EMOJI = "\U0001f600"
THUMB = "\U0001f44d\U0001f3fd"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("я" * 70, 1),
        ("я" * 71, 2),
        ("я" * 135, 3),
        (EMOJI * 35, 1),
        (EMOJI * 36, 2),
        ("я" * 66 + EMOJI + "я" * 67, 3),
        ("a\r\n" * 54, 2),
        ("я" * 66 + "\r\n" + "я" * 66, 2),
        (FAMILY, 1),
        ("я" * 60 + FAMILY + "я" * 60, 3),
        ("я" * 66 + "e\u0301" + "я" * 66, 3),
        (FLAG * 17, 1),
        (FLAG * 18, 2),
        ("я" * 65 + FLAG + "я" * 65, 3),
        (THUMB * 34, 3),
    ],
)
def test_counts_as_twilios_calculator(body: str, expected: int) -> None:
    """
    The count is the one Twilio's calculator gives, at and around every limit.
    """
    assert expected == segments(body)


@pytest.mark.parametrize("character", ["`", "\t", "\u00a0", "ç", "\u2019", "\u201c", "\u001b"])
def test_look_alikes_are_not_gsm(character: str) -> None:
    """
    One of these among 71 characters turns the message into UCS-2, so that it takes two segments.
    """
    assert segments("a" * 70 + character) == 2


def test_capital_c_with_cedilla_is_gsm() -> None:
    """
    The capital is in the alphabet although the small letter is not.
    """
    assert segments("Ç" * 160) == 1


@given(st.text(alphabet=sorted(GSM_BASIC | GSM_EXTENDED), max_size=700))
def test_gsm_parts_are_filled_but_for_an_escape_pair(body: str) -> None:
    """
    A part is left with at most one free septet, the one an escape pair would not fit.
    """
    septets = sum(2 if character in GSM_EXTENDED else 1 for character in body)

    if septets <= 160:
        assert segments(body) == 1
    else:
        assert -(-septets // 153) <= segments(body) <= -(-septets // 152)


@given(st.text(max_size=300), st.text(max_size=20))
def test_more_text_never_takes_fewer_segments(body: str, more: str) -> None:
    """
    Appending text keeps or raises the count.
    """
    assert segments(body) <= segments(body + more)
