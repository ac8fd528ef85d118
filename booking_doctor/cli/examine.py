"""
Commands that look and change nothing.
"""

from __future__ import annotations

from datetime import timedelta

import typer

from booking_doctor.cli.app import app
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
)
from booking_doctor.cli.remembering import NotifyOption, StateOption, remembering
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.findings import Disclosure, FailOn, Window
from booking_doctor.report import TERMINAL


@app.command()
def check_schema(
    ctx: typer.Context,
    *,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
    state: StateOption = None,
) -> None:
    """
    Check tables, constraints, and who may write what. Changes nothing.

    The catalog is asked what the application's role may do: the one that application_role in booking-doctor.toml names, else
    service_role, else the one that connects; the report says which it was. If that role may be taken on, PostgreSQL also plans
    the very statements, which writes nothing.

    Triggers are judged by their source along every path, never run: what happens to every row is an error, what may happen is a
    warning that says "may" or "perhaps", and so is what the source does not show. A constraint that cannot be read is an info.
    """
    from booking_doctor.doctor import Request

    memory = remembering(state)
    with doctor(ctx.obj) as opened:
        # NOTE: tables have no window; it is how far back the application's log is read for what they refused.
        asked = Request(
            window=Window(opened.now() - timedelta(days=7), opened.now()),
            fail_on=fail_on,
            disclosure=Disclosure(show_pii=show_pii),
            program=ctx.obj.again(),
            chosen=select or (),
            ignored=ignore or (),
        )
        report = memory.recall(opened, asked, opened.check_schema(asked))
    finish(report, format, output, ctx.obj)


@app.command()
def reconcile(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    all_senders: AllSendersOption = False,
    twilio_log: TwilioLogOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
    state: StateOption = None,
    notify: NotifyOption = None,
) -> None:
    """
    Compare the Twilio log with the database. Changes nothing.
    """
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
            twilio_log=twilio_log,
        )
        report = memory.recall(opened, asked, opened.reconcile(asked))
    finish(report, format, output, ctx.obj)


@app.command()
def bookings(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    all_senders: AllSendersOption = False,
    twilio_log: TwilioLogOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
    state: StateOption = None,
) -> None:
    """
    Find bookings whose text was lost, and ask Twilio for it. Changes nothing.

    For each booking with empty metadata it says what Twilio has for that phone around that time, and when it began. A SID that
    metadata names and nothing shows is asked for by itself; a 404 makes it unknown, and what was not asked is counted in
    coverage.sids_not_confirmed. Of many bookings a thousand are named, and one finding counts the others.
    """
    memory = remembering(state)
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
        report = memory.recall(opened, asked, opened.bookings(asked))
    finish(report, format, output, ctx.obj)


jobs = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    jobs, name="jobs", help="Look at the queue of texts, or send what is due. Changes nothing, unless told to run."
)


@jobs.command()
def status(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
) -> None:
    """
    Find what is overdue, stuck or failed in the queue. Changes nothing.
    """
    with doctor(ctx.obj) as opened:
        asked = request(
            opened,
            ctx.obj,
            since=since,
            until=until,
            all_senders=False,
            fail_on=fail_on,
            show_pii=False,
            select=select,
            ignore=ignore,
        )
        report = opened.jobs(asked)
    finish(report, format, output, ctx.obj)
