"""
Changes of the table `messages`, each shown before it is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from msgspec.structs import replace

from booking_doctor.cli.app import app
from booking_doctor.cli.options import FailOnOption, FormatOption, OutputOption, ShowPiiOption, YesOption
from booking_doctor.cli.repair import ask, show
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.findings import FailOn, Report
from booking_doctor.report import TERMINAL

if TYPE_CHECKING:
    from booking_doctor.doctor import Doctor, PlannedMigration, Request


@app.command()
def migrate(
    ctx: typer.Context,
    change: Annotated[
        Literal["relax", "restore", "guard"],
        typer.Argument(
            help="relax: messages.customer_id may be null, in an emergency; restore: it may not, once every row has one; "
            "guard: a unique index makes a second row for one SID impossible."
        ),
    ],
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Run the statements, after showing them.")] = False,
    yes: YesOption = False,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Change what the table messages demands, and keep no writer waiting. Changes nothing without --apply.

    It prints the SQL, what every statement locks, who is in the way now (their query up to the first value in it) and the
    longest transaction; it ends with 1 while there is something to run. --apply runs it, a statement at a time, with a
    lock_timeout and for a minute again and again; then it gives up, names who was in the way, and nothing is half done that it
    does not name. What comes next is read from the catalog, so the same command continues what broke off.

    restore adds a check NOT VALID, validates it, sets NOT NULL and drops the check, each in a transaction of its own. guard
    builds its index CONCURRENTLY, leaving out empty SIDs where there are any. Duplicates are named first, and an invalid index
    that was left behind is rebuilt.

    It is refused on a replica, a read-only server or a transaction pooler, and by a role that does not own the table, with
    where to connect or what to grant instead.
    """
    from booking_doctor.repair.structure import Verb

    with doctor(ctx.obj) as opened:
        asked = request(
            opened, ctx.obj, since=DEFAULT_SINCE, until=None, all_senders=False, fail_on=fail_on, show_pii=show_pii
        )
        planned = opened.plan_migration(Verb(change), asked)
        if isinstance(planned, Report):
            report = planned
        else:
            report = _carry_out(opened, planned, asked, yes=yes) if apply else planned.report
    finish(report, format, output, ctx.obj)


def _carry_out(opened: Doctor, planned: PlannedMigration, asked: Request, *, yes: bool) -> Report:
    if planned.view.steps:
        show(replace(planned.report, next_steps=()))
        if not planned.refusal:
            ask("Run this?", yes=yes)
    return opened.migrate(planned, asked)
