"""
The command that looks at the environment's variables.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.options import (
    FailOnOption,
    FormatOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    ShowPiiOption,
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

    Each source is read by itself (.env, .env.local, every --env-file, the process), and the one that a value comes from is
    named, never the value. A file with Windows line ends has dirt in every line, as a shell would see it.

    --expect compares with a file pulled from the hosting platform (vercel env pull). With VERCEL_TOKEN and VERCEL_PROJECT_ID
    Vercel is asked, too, which of the names production has, and which were changed after the deployment that serves
    BOOKING_APP_URL was built: a deployment keeps the values it was built with. Values are not asked for. Without a token the
    steps for the dashboard are printed, variable by variable.
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
