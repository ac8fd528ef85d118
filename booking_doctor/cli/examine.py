"""
Commands that look and change nothing.
"""

from __future__ import annotations

import typer

from booking_doctor.cli.app import (
    AllSendersOption,
    FailOnOption,
    FormatOption,
    OutputOption,
    ShowPiiOption,
    SinceOption,
    UntilOption,
    app,
)
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.findings import FailOn
from booking_doctor.report import TERMINAL


@app.command()
def reconcile(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    all_senders: AllSendersOption = False,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Compare the Twilio log with the database. Changes nothing.
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
        )
        report = opened.reconcile(asked)
    finish(report, format, output, ctx.obj)
