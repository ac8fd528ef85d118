"""
Lines of text for a terminal: prose that gives way, and what stands on one line whatever the width.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Final, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from booking_doctor.core.model import SID_SHAPE
from booking_doctor.report import Canvas, visible

NARROWEST: Final = 40
WIDEST: Final = 120
"""
Prose in longer lines is hard to read.
"""

_NAME_COLUMN: Final = 24
_GLUE: Final = "\ue000"
"""
A blank that no line breaks at. `visible` lets no private-use character through, so it cannot come from outside.
"""

_COMMAND: Final = re.compile(
    r"`[^`]{1,200}`|booking-doctor(?: --[a-z-]+ \S+)* [a-z-]+(?: --[a-z-]+(?: [^-\s;,][^\s;,]*)?)*|--[a-z][a-z-]* (?=[0-9])"
)
"""
What prose may not break: a command in backquotes, one of ours with its options, an option and its number or date.
"""

_SID: Final = re.compile(rf"\b{SID_SHAPE.pattern}\b")
_CONSOLE: Final = "https://www.twilio.com/console/sms/logs/"
"""Where Twilio's Console shows a message to those who may see it."""

_LINK_NAME: Final = re.compile(r"(\x1b]8;)id=[0-9-]+(?=;)")

Span: TypeAlias = tuple[str, str]
"""
Words and their style.
"""


class Page:
    """
    Lines of styled text at one width.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.width = max(NARROWEST, min(canvas.width, WIDEST))
        self._links = canvas.links
        self._drawn = StringIO()
        self._console = Console(
            file=self._drawn,
            width=self.width,
            color_system="standard" if canvas.color else None,
            force_terminal=canvas.color,
            force_jupyter=False,
            legacy_windows=False,
            no_color=False,
            _environ={},
        )

    def text(self) -> str:
        """
        All that was drawn.
        """
        # NOTE: Rich gives each link a random name, but the same report is to be the same text.
        return _LINK_NAME.sub(r"\1", self._drawn.getvalue().replace(_GLUE, " "))

    def section(self, *spans: Span, indent: int = 0) -> None:
        """
        A heading, set apart by a blank line.
        """
        self._put(Text())
        if spans:
            self.prose(*spans, indent=indent)

    def prose(self, *spans: Span, indent: int = 0, hang: int = 0) -> None:
        """
        Break between words, never inside one and never inside a command in backquotes; *hang* indents what follows.
        """
        self._flow([(_COMMAND.sub(_glued, visible(words)), style) for words, style in spans], indent, hang)

    def items(self, items: Sequence[str], *, lead: str = "", indent: int = 0, style: str = "") -> None:
        """
        Short things running on, broken between two of them.
        """
        if not items:
            return
        spans = [(lead, style or "bold")]
        for number, item in enumerate(items, start=1):
            kept = visible(item)
            kept = kept.replace(" ", _GLUE) if len(kept) <= self.width - indent - 2 else kept
            spans.append((kept + (f"{_GLUE}· " if number < len(items) else ""), style))
        self._flow(spans, indent, 0)

    def named(self, rows: Sequence[tuple[str, str, str]], *, indent: int) -> None:
        """
        Name, value and the value's style: values in a column, each on one line.
        """
        column = min(_NAME_COLUMN, max((len(name) for name, _, _ in rows), default=0))
        for name, value, style in rows:
            self._put(Text(" " * indent + visible(name).ljust(column + 2)).append(visible(value), style or None))

    def verbatim(self, words: str, *, indent: int = 0, style: str = "") -> None:
        """
        Something to copy, on a line of its own however long.
        """
        self._put(Text(" " * indent).append(visible(words), style or None))

    def beside(self, left: str, right: str, *, style: str = "") -> None:
        """
        Words kept as they are, and a remark that gives way beside them.
        """
        kept = Text().append(visible(left), style or None)
        column = cell_len(kept.plain)
        lines = Text(visible(right), "dim", overflow="ignore").wrap(self._console, max(self.width - column, 1))
        for number, line in enumerate(lines or [Text()]):
            self._put((Text(" " * column) if number else kept) + line)

    def _flow(self, spans: Iterable[Span], indent: int, hang: int) -> None:
        text = Text(overflow="ignore")
        for words, style in spans:
            text.append(words, style or None)
        for number, line in enumerate(text.wrap(self._console, self.width - indent - hang)):
            self._put(Text(" " * (indent + (hang if number else 0))) + line)

    def _put(self, line: Text) -> None:
        line.rstrip()
        for sid in _SID.finditer(line.plain) if self._links else ():
            line.stylize(Style(link=f"{_CONSOLE}{sid.group()}"), *sid.span())
        self._console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)


def _glued(match: re.Match[str]) -> str:
    return match.group().replace(" ", _GLUE)
