"""
The command that says why.
"""

from __future__ import annotations

from typing import Annotated

import typer

from booking_doctor.cli.app import (
    AllSendersOption,
    FailOnOption,
    FormatOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    ShowPiiOption,
    SinceOption,
    UntilOption,
    app,
)
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.findings import FailOn
from booking_doctor.report import TERMINAL


@app.command()
def diagnose(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    all_senders: AllSendersOption = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what takes a walk through Twilio's log: for a smoke check.")
    ] = False,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Look at everything, weigh every known cause, and say what to do next. Changes nothing.
    """
    with doctor(ctx.obj) as opened:
        asked = request(
            opened,
            ctx.obj,
            since=since,
            until=until,
            all_senders=all_senders,
            fail_on=fail_on,
            show_pii=show_pii,
            select=select,
            ignore=ignore,
        )
        report = opened.diagnose(asked, quick=quick)
    finish(report, format, output, ctx.obj)
