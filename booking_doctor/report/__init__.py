"""
Reports as text, a function a format; nothing here prints, reads a clock or looks at the environment.

A format is a value in `FORMATS`, a pure function in a module imported when it is first used, and golden files. The exit
code is in the report already: no format decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from booking_doctor.findings import Report


@dataclass(frozen=True, slots=True)
class Canvas:
    """
    What a report is drawn on.

    Attributes:
        width: In columns. 60 hold; a SID or a command to copy is wider rather than cut.
        color: Whether ANSI styles may be written.
    """

    width: int = 100
    color: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """
    One way to write a report.

    Attributes:
        name: What ``--format`` takes.
        render: The whole document, ending in a newline.
        encoding: What the document has to be encoded in; None follows the terminal it is read on.
    """

    name: str
    render: Callable[[Report, Canvas], str]
    encoding: str | None = "utf-8"


def visible(text: str) -> str:
    r"""
    The text with everything a terminal would obey or a reader not see written as an escape: ``\x1b``, ``\n``, ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _terminal(report: Report, canvas: Canvas) -> str:
    from booking_doctor.report.terminal import render

    return render(report, canvas)


def _json(report: Report, canvas: Canvas) -> str:  # noqa: ARG001  one document whatever it is read on
    from booking_doctor.report.documents import json_document

    return json_document(report)


TERMINAL: Final = Format(name="terminal", render=_terminal, encoding=None)
JSON: Final = Format(name="json", render=_json)

FORMATS: Final[Mapping[str, Format]] = {known.name: known for known in (TERMINAL, JSON)}
"""
Every format by name, the default first.
"""
