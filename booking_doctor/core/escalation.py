"""
Whom to call when the ones at work get no further, as ``booking-doctor.toml`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec import Struct

from booking_doctor.errors import SettingsError

_KEYS: Final = ("who", "how", "when")


class Contact(Struct, frozen=True, kw_only=True):
    """
    One step of the escalation path.

    Attributes:
        how: A number, an address, a channel, as it shall be shown.
        when: What has to be so before they are called.
    """

    who: str
    how: str
    when: str


def contacts(entries: object, source: str) -> tuple[Contact, ...]:
    """
    The path, in the order in which it is written.

    Args:
        source: The file's name, for errors.

    Raises:
        SettingsError: An entry cannot be meant.
    """
    read = [_contact(entry) for entry in entries] if isinstance(entries, list) else ["is not in a list"]
    wrong = next((f"entry {number} {one}" for number, one in enumerate(read, start=1) if isinstance(one, str)), None)
    if wrong:
        message = f"{source}: escalation {wrong}"
        raise SettingsError(message, hint='write [[escalation]] with who = "…", how = "…" and when = "…"')
    return tuple(one for one in read if isinstance(one, Contact))


def _contact(entry: Any) -> Contact | str:  # noqa: ANN401  whatever the file holds
    """
    What the entry says, or what is wrong with it.
    """
    if wrong := misshapen(entry, _KEYS):
        return wrong
    silent = next((key for key in _KEYS if not isinstance(entry[key], str) or not entry[key].strip()), None)
    return f"has a {silent} that says nothing" if silent else Contact(**{key: entry[key] for key in _KEYS})


def misshapen(entry: object, keys: Collection[str]) -> str | None:
    """
    Why the entry is not a table of just those keys; None where it is.
    """
    if not isinstance(entry, Mapping):
        return "is not written as a table"
    if odd := sorted(set(entry) ^ set(keys)):
        return f"has an unknown key: {odd[0]}" if odd[0] in entry else f"lacks its {odd[0]}"
    return None
