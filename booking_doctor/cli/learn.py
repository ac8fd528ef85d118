"""
What the findings mean.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Literal

import typer

from booking_doctor.cli.app import OutputOption, app, is_terminal, put


def _names(incomplete: str) -> list[str]:
    from booking_doctor.checks import CATALOGUE

    return [name for name in CATALOGUE if name.startswith(incomplete)]


@app.command()
def explain(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", autocompletion=_names, help="A finding or a family; none lists them all."),
    ] = None,
    *,
    format: Annotated[
        Literal["terminal", "markdown", "json"] | None,
        typer.Option("--format", show_default=False, help="Markdown unless it is read on a terminal."),
    ] = None,
    output: OutputOption = None,
) -> None:
    """
    Show what a finding means, why it matters and how to repair it. Changes nothing.
    """
    from booking_doctor.checks import select
    from booking_doctor.report.pages import drawn, list_markdown, page_markdown, pages_json

    pages = select([name] if name else [])
    if format == "json":
        put(lambda _: pages_json(pages), output)
        return
    markdown = page_markdown(pages[0]) if pages[0].name == name else list_markdown(pages)
    if format == "terminal" or (format is None and output is None and is_terminal(sys.stdout)):
        put(partial(drawn, markdown), output, encoding=None)
    else:
        put(lambda _: markdown, output)
