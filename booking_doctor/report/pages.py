"""
The pages of the catalogues: one whole, or lists of findings by family and of causes by layer.

A page is Markdown. On a terminal it is drawn, elsewhere it stays what it is; for programs it is a member of a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import groupby
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.text import Text
from rich.theme import Theme

from booking_doctor import __version__
from booking_doctor.causes.cause import Cause
from booking_doctor.checks.check import Check
from booking_doctor.report import Canvas
from booking_doctor.report.documents import signed_json
from booking_doctor.report.drawing import NARROWEST, WIDEST

_GLUE: Final = "\ue000"
"""
A blank that no line breaks at.
"""

_CODE: Final = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_THEME: Final = Theme(
    {
        **{f"markdown.h{level}": "bold" for level in range(1, 7)},
        "markdown.code": "cyan",
        "markdown.code_block": "cyan",
        "markdown.item.bullet": "none",
        "markdown.item.number": "none",
    }
)


def pages_json(pages: Sequence[Check], causes: Sequence[Cause]) -> str:
    """
    The pages as one JSON object.
    """
    members = {
        "command": "explain",
        "pages": [
            {
                "name": page.name,
                "family": page.family,
                "severity": page.severity,
                "title": page.title,
                "page": page.page,
            }
            for page in pages
        ],
        "causes": [
            {"id": cause.id, "layer": cause.layer, "title": cause.title, "page": cause.page} for cause in causes
        ],
    }
    return signed_json(members, __version__)


def page_markdown(page: Check) -> str:
    """
    One page, under its name.
    """
    return f"# {page.name}\n\nSeverity: {page.severity}.\n\n{page.page}\n"


def cause_markdown(cause: Cause, meanings: Mapping[str, str]) -> str:
    """
    One cause's page, under its id, and what `diagnose` weighs for it.

    Args:
        meanings: What each signal means, in a sentence.
    """
    weighed = "\n".join(f"- {line}" for line in _weighing(cause, meanings))
    begin = f"Begin so: {cause.remedy}"
    return f"# {cause.id}\n\nA cause; layer: {cause.layer}.\n\n{cause.page}\n\n{begin}\n\n## What is weighed\n\n{weighed}\n"


def _weighing(cause: Cause, meanings: Mapping[str, str]) -> Iterator[str]:
    """
    A line for each rule, the deciding ones first.
    """
    yield from (f"confirmed by: {_all(proof, ' ', meanings)}" for proof in cause.proofs)
    yield from (f"excluded without any of: {_all(group, ' ', meanings)}" for group in cause.needs)
    yield from (f"excluded by: {meanings[name]}" for name in cause.refuted_by)
    yield f"no more than possible without any of: {_all(cause.explains, ' ', meanings)}"
    for clue in sorted(cause.clues, key=lambda clue: -clue.weight):
        missing = f" (missing: {clue.otherwise:+})" if clue.otherwise else ""
        yield f"{clue.weight:+}{missing}: {meanings[clue.signal]}"


def _all(names: Sequence[str], between: str, meanings: Mapping[str, str]) -> str:
    return between.join(meanings[name] for name in names)


def list_markdown(pages: Sequence[Check], causes: Sequence[Cause]) -> str:
    """
    The names and titles: findings by family, causes by layer.
    """
    parts = ["# What booking-doctor can find"] if pages else []
    for family, group in groupby(sorted(pages, key=_family), _family):
        lines = [f"- `{page.name}` ({page.severity}): {page.title}" for page in group]
        parts += [f"## {family}", "\n".join(lines)]
    parts += ["# What may be behind it"] if causes else []
    for layer, members in groupby(causes, lambda cause: cause.layer):
        parts += [f"## {layer}", "\n".join(f"- `{cause.id}`: {cause.title}" for cause in members)]
    return "\n\n".join([*parts, "`booking-doctor explain NAME` shows the page of one."]) + "\n"


def _family(page: Check) -> str:
    return page.family


def drawn(markdown: str, canvas: Canvas) -> str:
    """
    Markdown as a person reads it on a terminal. What stands in backquotes is not broken where it fits on a line.
    """
    width = max(NARROWEST, min(canvas.width, WIDEST))
    console = Console(
        file=StringIO(),
        width=width,
        color_system="standard" if canvas.color else None,
        force_terminal=canvas.color,
        force_jupyter=False,
        legacy_windows=False,
        no_color=False,
        theme=_THEME,
        _environ={},
    )
    with console.capture() as drawing:
        console.print(_Page(_CODE.sub(lambda code: _kept(code[1], width), markdown), hyperlinks=False), crop=False)
    lines = [line.rstrip() for line in drawing.get().replace(_GLUE, " ").splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def _kept(code: str, width: int) -> str:
    """
    The same code as text that shows its backquotes, which without colour are all that tells it from prose.
    """
    words = " ".join(code.split())
    fits = len(words) <= width - len("  - ``, ")
    return f"`` `{words.replace(' ', _GLUE) if fits else words}` ``"


class _Heading(Heading):
    """
    At the left whatever its level.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text.assemble(self.text, "")


class _Code(CodeBlock):
    """
    Something to copy: as it is, however long, without a background.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.text.plain.rstrip().splitlines():
            yield Text(f"  {line}", style="markdown.code_block", no_wrap=True, overflow="ignore")


class _Page(Markdown):
    elements = {**Markdown.elements, "heading_open": _Heading, "fence": _Code, "code_block": _Code}  # noqa: RUF012
