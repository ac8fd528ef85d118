"""
The command that writes an incident's action plan.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.deployment import ExpectCommitOption, ExpectDeploymentOption, expected_build
from booking_doctor.cli.options import (
    AllSendersOption,
    FailOnOption,
    OutputOption,
    ShowPiiOption,
    SinceOption,
    TwilioLogOption,
    UntilOption,
    format_option,
)
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.findings import FailOn
from booking_doctor.report import FORMATS, Format

MARKDOWN: Final = FORMATS["markdown"]

PlanFormatOption = Annotated[
    Format,
    format_option(
        f"How the plan is written, {MARKDOWN.name} unless given; json has all of it, the others what was found."
    ),
]


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
    format: PlanFormatOption = MARKDOWN,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Write the incident's action plan from what is true now. Changes nothing.
    """
    from msgspec.structs import replace

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
    # NOTE: whoever watches wants what was found; only people and programs that read plans want the plan.
    write = {"markdown": writing.markdown, "json": writing.json_document}.get(format.name)
    finish(plan.report, replace(format, render=lambda *_: write(plan)) if write else format, output, ctx.obj)
