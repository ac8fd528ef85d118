"""
How many segments an SMS takes: what carriers carry and Twilio bills.

Sources: Twilio's pages "How long can a message be?" and "What is UCS-2", and Twilio's own calculator
(TwilioDevEd/message-segment-calculator). Smart encoding, a setting of a messaging service that swaps look-alike
characters before counting, is not applied here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

GSM_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""
The GSM 03.38 alphabet, a septet each. Not in it: backtick, tab, no-break space, small c with cedilla, curly quotes.
"""

GSM_EXTENDED: Final = frozenset("\f^{}\\[~]|€")
"""The characters GSM 03.38 writes as an escape and a septet: two septets that are never parted."""

GSM_SINGLE, GSM_PART = 160, 153
UCS2_SINGLE, UCS2_PART = 70, 67
"""A part has 140 octets; a message of several spends six octets of each on saying which part it is."""

_JOINER: Final = "\u200d"
_FLAG_LETTERS: Final = range(0x1F1E6, 0x1F200)
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)


def segments(body: str) -> int:
    """
    Count the segments of *body*; an empty body still takes one.

    One character outside GSM 03.38 makes the whole message UCS-2, counted in UTF-16 code units. An escape pair, or what
    a reader sees as one character, is never cut: it moves to the next part as a whole.
    """
    if GSM_BASIC.issuperset(body):
        return _parts(len(body), GSM_SINGLE, [1] * len(body), GSM_PART)
    if (GSM_BASIC | GSM_EXTENDED).issuperset(body):
        septets = [2 if character in GSM_EXTENDED else 1 for character in body]
        return _parts(sum(septets), GSM_SINGLE, septets, GSM_PART)
    units = [_utf16_units(grapheme) for grapheme in _graphemes(body)]
    return _parts(sum(units), UCS2_SINGLE, units, UCS2_PART)


def _parts(total: int, single: int, sizes: Iterable[int], part: int) -> int:
    """
    Fill parts with indivisible *sizes* in order, unless all fit a single message.
    """
    if total <= single:
        return 1
    count, free = 1, part
    for size in sizes:
        if size > free:
            count, free = count + 1, part
        free -= size
    return count


def _utf16_units(text: str) -> int:
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


def _graphemes(body: str) -> Iterator[str]:
    """
    Split into what a reader sees as one character each.

    A small part of Unicode's annex 29: marks, variation selectors, skin tones, joined emoji and flags, which is what
    text messages hold. Carriage return and line feed are two, as in Twilio's calculator.
    """
    cluster = ""
    for character in body:
        if cluster and not _continues(cluster, character):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def _continues(cluster: str, character: str) -> bool:
    if character == _JOINER or cluster[-1] == _JOINER:
        return True
    if ord(character) in _FLAG_LETTERS:
        return len(cluster) == 1 and ord(cluster) in _FLAG_LETTERS
    return ord(character) in _SKIN_TONES or unicodedata.category(character) in {"Mn", "Me", "Mc"}
