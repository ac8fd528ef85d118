"""
The command that looks at the environment's variables.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from booking_doctor.cli.app import (
    FailOnOption,
    FormatOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    ShowPiiOption,
    app,
)
from booking_doctor.cli.remembering import StateOption, remembering
from booking_doctor.cli.session import doctor, finish
from booking_doctor.findings import Disclosure, FailOn, Window
from booking_doctor.report import TERMINAL


@app.command()
def check_env(
    ctx: typer.Context,
    *,
    example: Annotated[
        Path | None, typer.Option("--example", metavar="FILE", help="Compare names with this file, both ways.")
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option("--expect", metavar="FILE", help="Compare with this file, pulled from the hosting platform."),
    ] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    live: Annotated[bool, typer.Option("--live", help="Ask Twilio and the database too.")] = False,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
    state: StateOption = None,
) -> None:
    """
    Look at the environment's variables, never at a value. Changes nothing.
    """
    from booking_doctor.bootstrap import Request, named_source

    listed = named_source(example, "--example") if example else None
    expected = named_source(expect, "--expect") if expect else None
    memory = remembering(state)
    with doctor(ctx.obj) as opened:
        # NOTE: variables have no window; checks want one, and none of these looks at it.
        window = Window(opened.now() - timedelta(days=7), opened.now())
        asked = Request(
            window=window,
            fail_on=fail_on,
            disclosure=Disclosure(show_pii=show_pii),
            program=ctx.obj.again(),
            expected=expected,
            chosen=select or (),
            ignored=ignore or (),
        )
        report = memory.recall(opened, asked, opened.check_env(asked, live=live, example=listed))
    finish(report, format, output, ctx.obj)
