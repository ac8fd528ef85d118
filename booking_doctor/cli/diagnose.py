"""
The command that says why.
"""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec.structs import replace

from booking_doctor.cli.app import app
from booking_doctor.cli.deployment import ExpectCommitOption, ExpectDeploymentOption, expected_build
from booking_doctor.cli.options import (
    AllSendersOption,
    FailOnOption,
    FormatOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    ShowPiiOption,
    SinceOption,
    TwilioLogOption,
    UntilOption,
    YesOption,
)
from booking_doctor.cli.probe import CleanupOption, PhoneOption, consent
from booking_doctor.cli.remembering import NotifyOption, StateOption, remembering
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.errors import UsageError
from booking_doctor.findings import FailOn
from booking_doctor.report import TERMINAL


@app.command()
def diagnose(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    all_senders: AllSendersOption = False,
    twilio_log: TwilioLogOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what takes a walk through Twilio's log: for a smoke check.")
    ] = False,
    expect_commit: ExpectCommitOption = None,
    expect_deployment: ExpectDeploymentOption = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Make one booking as a client does, and follow it; asks first, or wants --yes."),
    ] = False,
    phone: PhoneOption = None,
    cleanup: CleanupOption = False,
    yes: YesOption = False,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
    state: StateOption = None,
    notify: NotifyOption = None,
) -> None:
    """
    Look at everything, weigh every known cause, and say what to do next. Changes nothing, unless --probe makes a booking.
    """
    if (phone or cleanup) and not probe:
        message = "--phone and --cleanup are about the booking that --probe makes"
        raise UsageError(message, hint="add --probe, or leave them out")
    if probe and twilio_log:
        message = "--probe and --twilio-log exclude each other: no file has the text of a booking that is made now"
        raise UsageError(message, hint="leave one of them out")
    expected = expected_build(expect_commit, expect_deployment)
    memory = remembering(state, notify)
    with doctor(ctx.obj, twilio_log) as opened:
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
            twilio_log=twilio_log,
        )
        if probe:
            consent(opened, phone, show_pii=show_pii, yes=yes)
        asked = replace(asked, expected_build=expected, probing=probe, probe_phone=phone, cleanup=cleanup)
        report = opened.diagnose(asked, quick=quick)
        report = memory.recall(opened, asked, report)
    finish(report, format, output, ctx.obj)
