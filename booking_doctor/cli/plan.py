"""
The command that writes an incident's action plan.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from booking_doctor.cli.app import (
    AllSendersOption,
    FailOnOption,
    OutputOption,
    ShowPiiOption,
    SinceOption,
    TwilioLogOption,
    UntilOption,
    app,
)
from booking_doctor.cli.deployment import ExpectCommitOption, ExpectDeploymentOption, expected_build
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.findings import FailOn
from booking_doctor.report import Format


@app.command()
def action_plan(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    all_senders: AllSendersOption = False,
    twilio_log: TwilioLogOption = None,
    expect_commit: ExpectCommitOption = None,
    expect_deployment: ExpectDeploymentOption = None,
    format: Annotated[Literal["markdown", "json"], typer.Option("--format", help="How to write it.")] = "markdown",
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Write the incident's action plan from what is true now. Changes nothing.
    """
    from dataclasses import replace

    from booking_doctor.report import action_plan as writing

    expected = expected_build(expect_commit, expect_deployment)
    with doctor(ctx.obj, twilio_log) as opened:
        asked = request(
            opened,
            ctx.obj,
            since=since,
            until=until,
            all_senders=all_senders,
            fail_on=fail_on,
            show_pii=show_pii,
            twilio_log=twilio_log,
        )
        plan = opened.action_plan(replace(asked, expected_build=expected))
    write = {"markdown": writing.markdown, "json": writing.json_document}[format]
    finish(plan.report, Format(name=format, render=lambda *_: write(plan)), output, ctx.obj)
