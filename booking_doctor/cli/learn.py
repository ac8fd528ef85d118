"""
What the findings and the causes mean.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.options import OutputOption
from booking_doctor.cli.streams import is_terminal
from booking_doctor.cli.writing import put
from booking_doctor.errors import UsageError

if TYPE_CHECKING:
    from booking_doctor.causes.cause import Cause
    from booking_doctor.checks.check import Check


def _names(incomplete: str) -> list[str]:
    from booking_doctor.causes import CATALOGUE as CAUSES
    from booking_doctor.checks import CATALOGUE

    return [name for name in (*CATALOGUE, *CAUSES) if name.startswith(incomplete)]


@app.command()
def explain(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=_names,
            help="A finding, a cause, a family or a layer; none lists them all.",
        ),
    ] = None,
    *,
    format: Annotated[
        Literal["terminal", "markdown", "json"] | None,
        typer.Option("--format", show_default=False, help="Markdown unless it is read on a terminal."),
    ] = None,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Instead, the JSON Schema of what --format json writes.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """
    Show what a finding or a cause means, and how to repair it. Changes nothing.
    """
    from booking_doctor.report.documents import json_schema as schema
    from booking_doctor.report.pages import drawn, pages_json

    if json_schema:
        put(lambda _: schema(), output)
        return
    pages, causes = _meant(name)
    if format == "json":
        put(lambda _: pages_json(pages, causes), output)
        return
    markdown = _markdown(name, pages, causes)
    if format == "terminal" or (format is None and output is None and is_terminal(sys.stdout)):
        put(partial(drawn, markdown), output, encoding=None)
    else:
        put(lambda _: markdown, output)


def _markdown(name: str | None, pages: list[Check], causes: list[Cause]) -> str:
    from booking_doctor.causes import MEANINGS
    from booking_doctor.report.pages import cause_markdown, list_markdown, page_markdown

    if pages and pages[0].name == name:
        return page_markdown(pages[0])
    if causes and causes[0].id == name:
        return cause_markdown(causes[0], MEANINGS)
    return list_markdown(pages, causes)


def _meant(name: str | None) -> tuple[list[Check], list[Cause]]:
    """
    The findings and the causes of that name.

    Raises:
        UsageError: There are none.
    """
    from booking_doctor.causes import CATALOGUE
    from booking_doctor.checks import select

    causes = list(CATALOGUE.values())
    if name is None:
        return select(), causes
    if meant := [cause for cause in causes if name in {cause.id, cause.layer}]:
        return [], meant
    try:
        return select([name]), []
    except UsageError:
        nearest = get_close_matches(name.lower().replace("_", "-"), [*CATALOGUE, *_names("")], n=1)
        if nearest and nearest[0] in CATALOGUE:
            message = f"there is no finding and no cause {name!r} here"
            hint = f"did you mean {nearest[0]}? all names: booking-doctor explain"
            raise UsageError(message, hint=hint) from None
        raise
