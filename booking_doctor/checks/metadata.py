"""
What a booking's metadata says of its text. It may hold anything, so what is said of it are fixed words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from booking_doctor.core.metadata import WITHOUT_SID
from booking_doctor.core.model import SID_SHAPE, same_number


class Lack(StrEnum):
    """
    What is wrong with it.
    """

    EMPTY = "empty"
    INCOMPLETE = "incomplete"


OTHER_PHONE: Final = "the SID of a text to another phone"
UNKNOWN: Final = "a SID that Twilio does not know"

_NOTHING: Final[Mapping[str | None, dict[str, object] | None]] = {None: None, "": None, "{}": {}}
"""What needs no reading: no JSON at all, and what the fault leaves most often."""

_KINDS: Final = {str: "a string", list: "an array", bool: "a boolean", int: "a number", float: "a number"}


def lack(text: str | None, phone: str | None, region: str) -> tuple[Lack, str] | None:
    """
    What metadata lacks, in words that hold nothing of it; None where it names a text to that phone.

    Args:
        text: The column as text.
        region: Country of phone numbers in national format.
    """
    try:
        document = _NOTHING[text] if text in _NOTHING else json.loads(text or "")
    except (ValueError, RecursionError):
        return Lack.INCOMPLETE, "no JSON"
    if not document and isinstance(document, dict | None):
        return Lack.EMPTY, "null" if document is None else "{}"
    if not isinstance(document, dict):
        return Lack.INCOMPLETE, f"{_KINDS[type(document)]} instead of an object"
    sms = document.get("initial_sms")
    if sms is None:
        return Lack.EMPTY, "no initial_sms"
    if isinstance(sms, dict):
        return _lack_of_sms(sms, phone, region)
    return Lack.INCOMPLETE, f"{_KINDS[type(sms)]} as initial_sms instead of an object"


def _lack_of_sms(sms: Mapping[str, object], phone: str | None, region: str) -> tuple[Lack, str] | None:
    sid, to = sms.get("message_sid"), sms.get("to_number")
    if not sid:
        # NOTE: a text that was not sent has no SID, and metadata that says so says all there is.
        return None if _is_settled(sms.get("state")) else (Lack.INCOMPLETE, "an initial_sms without message_sid")
    if not isinstance(sid, str) or not SID_SHAPE.fullmatch(sid):
        return Lack.INCOMPLETE, "a message_sid of the wrong shape"
    if isinstance(to, str) and to and phone and not same_number(to, phone, region):
        return Lack.INCOMPLETE, OTHER_PHONE
    return None


def _is_settled(state: object) -> bool:
    return isinstance(state, str) and state in WITHOUT_SID
