"""
Commands that repair, and take repairs back. Each shows what it would write before it writes.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from booking_doctor.cli.app import app
from booking_doctor.cli.options import (
    AllSendersOption,
    FailOnOption,
    FormatOption,
    OutputOption,
    ShowPiiOption,
    SinceOption,
    TwilioLogOption,
    UntilOption,
    YesOption,
)
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, named, request
from booking_doctor.cli.streams import say, width
from booking_doctor.errors import PlanRefused, UsageError
from booking_doctor.findings import Disclosure, FailOn, Report
from booking_doctor.report import TERMINAL, Canvas

if TYPE_CHECKING:
    from booking_doctor.doctor import Doctor, Planned, Repair, Request
    from booking_doctor.repair.plan import Plan

AllowTriggersOption = Annotated[
    bool, typer.Option("--allow-triggers", help="Write although triggers would fire that may do more.")
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, max=10_000, help="Rows a transaction.")]


@app.command()
def backfill(
    ctx: typer.Context,
    *,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    all_senders: AllSendersOption = False,
    twilio_log: TwilioLogOption = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="PLAN", help="Write the plan to this file.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Carry the plan out, after showing it.")] = False,
    from_plan: Annotated[
        Path | None, typer.Option("--from", metavar="PLAN", help="Take the plan from this file, as it was reviewed.")
    ] = None,
    yes: YesOption = False,
    max_changes: Annotated[
        int | None,
        typer.Option("--max-changes", min=0, help="How many steps you expect; replaces the built-in limits."),
    ] = None,
    batch_size: BatchSizeOption = 500,
    fix_mismatched: Annotated[
        bool, typer.Option("--fix-mismatched", help="Correct recorded rows that differ from Twilio, too.")
    ] = False,
    allow_triggers: AllowTriggersOption = False,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Plan the missing rows and metadata; with --apply, write them. Changes nothing without --apply.
    """
    from booking_doctor.doctor import Repair

    _check_options(ctx, save, from_plan)
    saved = _read_plan(from_plan) if from_plan else None
    repair = Repair(
        fix_mismatched=saved.fix_mismatched if saved else fix_mismatched,
        max_changes=max_changes,
        allow_triggers=allow_triggers,
        batch_size=batch_size,
    )
    with doctor(ctx.obj, twilio_log) as opened:
        asked = request(
            opened,
            ctx.obj,
            since=saved.since if saved else since,
            until=saved.until if saved else until,
            all_senders=saved.all_senders if saved else all_senders,
            fail_on=fail_on,
            show_pii=show_pii,
            twilio_log=twilio_log,
        )
        planned = opened.plan_again(saved, asked, repair) if saved else opened.plan(asked, repair)
        if isinstance(planned, Report):
            report = planned
        else:
            if save:
                _write_plan(planned.plan, save)
            report = (
                _carry_out(opened, planned, asked, repair, yes=yes)
                if apply
                else _shown(opened, planned, asked, repair, save or from_plan, twilio_log or ())
            )
    finish(report, format, output, ctx.obj)


def _check_options(ctx: typer.Context, save: Path | None, from_plan: Path | None) -> None:
    """
    Raises:
        UsageError: Options that contradict each other, before any work is done.
    """
    # NOTE: a saved plan carries its window and options; taking others silently would apply something else.
    given = [word.partition("=")[0] for word in ctx.obj.words]
    own = [
        option for option in ("--since", "--until", "--all-senders", "--fix-mismatched", "--save") if option in given
    ]
    if from_plan and own:
        message = f"--from and {own[0]} exclude each other: the plan was made with its own"
        raise UsageError(message, hint=f"leave {own[0]} out, or make a new plan without --from")
    if save and not (save.parent.is_dir() and os.access(save.parent, os.W_OK)):
        message = f"--save {save}: there is no such directory, or no permission to write there"
        raise UsageError(message)


def _shown(
    opened: Doctor, planned: Planned, asked: Request, repair: Repair, file: Path | None, log_files: Sequence[Path]
) -> Report:
    words = ["--from", str(file), *named(log_files)] if file else shlex.split(asked.again)
    if repair.fix_mismatched and not file:
        words.append("--fix-mismatched")
    if repair.max_changes is not None:
        words += ["--max-changes", str(repair.max_changes)]
    if repair.allow_triggers:
        words.append("--allow-triggers")
    return opened.dry_run(planned, asked, [f"{asked.program} backfill {shlex.join(words)} --apply"])


def _carry_out(opened: Doctor, planned: Planned, asked: Request, repair: Repair, *, yes: bool) -> Report:
    if planned.plan.steps:
        show(opened.dry_run(planned, asked))
        if not planned.refusal:
            ask("Write this?", yes=yes)
    return opened.apply(planned, asked, repair)


@app.command()
def undo(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, as `booking-doctor runs` names it.")],
    *,
    yes: YesOption = False,
    batch_size: BatchSizeOption = 500,
    allow_triggers: AllowTriggersOption = False,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Take one run back, after showing what that restores. Writes to the database.
    """
    with doctor(ctx.obj) as opened:
        shown, refusal = opened.plan_undo(run, Disclosure(show_pii=show_pii), allow_triggers=allow_triggers)
        report = shown
        if shown.plan and (shown.plan.steps or shown.plan.left):
            show(shown)
            if refusal:
                message = f"refused, nothing was written: {refusal}"
                raise PlanRefused(message)
            if shown.plan.steps:
                ask("Restore this?", yes=yes)
            report = opened.undo(run, shown, batch_size=batch_size)
    finish(report, format, output, ctx.obj)


@app.command()
def runs(
    ctx: typer.Context,
    *,
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="RUN", help="Drop this run's images; it cannot be undone then.")
    ] = None,
    yes: YesOption = False,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
) -> None:
    """
    List the runs that undo can take back. Changes nothing, unless --forget drops a run's images.
    """
    with doctor(ctx.obj) as opened:
        report = opened.runs()
        if forget:
            report = _forget(opened, report, forget, yes=yes)
    finish(report, format, output, ctx.obj)


def _forget(opened: Doctor, listed: Report, run: str, *, yes: bool) -> Report:
    show(listed)
    for name, value in opened.target().items():
        say(f"{name}: {value}")
    ask(f"Drop the images of run {run}? It cannot be undone then.", yes=yes)
    return opened.forget(run)


def show(report: Report) -> None:
    """
    What is about to be written, on stderr: stdout belongs to the document at the end.
    """
    for line in TERMINAL.render(replace(report, summary={}, coverage={}), Canvas(width=width(sys.stderr))).splitlines():
        say(line)


def ask(question: str, *, yes: bool) -> None:
    """
    Raises:
        PlanRefused: The answer is no, or there is nobody to give one.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        message = "nothing was written: this wants a yes, and there is no terminal to ask on"
        raise PlanRefused(message, hint="look at the plan, then add --yes")
    if not typer.confirm(question, err=True):
        message = "nothing was written: the answer was no"
        raise PlanRefused(message)


def _read_plan(path: Path) -> Plan:
    from booking_doctor.repair.plan import unseal

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the plan file {path} cannot be read"
        raise UsageError(message, hint="check the path given with --from") from error
    return unseal(text, str(path))


def _write_plan(plan: Plan, path: Path) -> None:
    """
    Atomically, and for the owner's eyes only: it holds true phone numbers and texts.
    """
    from booking_doctor.adapters.state_file import replace_privately
    from booking_doctor.repair.plan import seal

    try:
        replace_privately(path, seal(plan).encode())
    except OSError as error:
        message = f"the plan could not be written to {path}: {error.strerror}"
        raise UsageError(message) from error
