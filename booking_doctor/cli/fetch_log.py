"""
The command that copies Twilio's log into a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.options import FormatOption, SinceOption, UntilOption
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.cli.writing import check_output
from booking_doctor.findings import FailOn
from booking_doctor.report import TERMINAL


@app.command()
def fetch_log(
    ctx: typer.Context,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", metavar="FILE", callback=check_output, help="Write it here, packed if it ends in .gz."
        ),
    ],
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    format: FormatOption = TERMINAL,
) -> None:
    """
    Copy Twilio's log into a file for --twilio-log; the same command goes on after an interruption. Writes that file.
    """
    with doctor(ctx.obj) as opened:
        asked = request(
            opened, ctx.obj, since=since, until=until, all_senders=False, fail_on=FailOn.ERROR, show_pii=False
        )
        report = opened.fetch_log(asked, output)
    finish(report, format, None, ctx.obj)
