"""
A booking made on purpose, to see where it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from booking_doctor.cli.app import app
from booking_doctor.cli.options import FailOnOption, FormatOption, OutputOption, ShowPiiOption, YesOption
from booking_doctor.cli.repair import ask
from booking_doctor.cli.session import DEFAULT_SINCE, doctor, finish, request
from booking_doctor.cli.streams import say
from booking_doctor.errors import UsageError
from booking_doctor.findings import Disclosure, FailOn
from booking_doctor.report import TERMINAL

if TYPE_CHECKING:
    from booking_doctor.doctor import Doctor


PhoneOption = Annotated[
    str | None,
    typer.Option("--phone", metavar="NUMBER", help="Text this phone, your own; TEST_PHONE unless given."),
]
CleanupOption = Annotated[bool, typer.Option("--cleanup", help="Remove the booking again; the text stays sent.")]


def consent(opened: Doctor, phone: str | None, *, show_pii: bool, yes: bool) -> None:
    """
    Say where a booking would be made and whom it would text, and get a yes.

    Raises:
        SettingsError: A variable is missing or malformed.
        PlanRefused: The answer is no, or there is nobody to give one.
    """
    for name, value in opened.probe_target(phone, Disclosure(show_pii=show_pii)).items():
        say(f"{name}: {value}")
    ask("Make one booking there and send one text, which is billed?", yes=yes)


@app.command()
def probe_api(
    ctx: typer.Context,
    *,
    phone: PhoneOption = None,
    dry: Annotated[
        bool, typer.Option("--dry", help="Only see which code answers: send a body that is refused.")
    ] = False,
    cleanup: CleanupOption = False,
    yes: YesOption = False,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Make one booking as a client does, and follow it to the metadata. Writes that booking and sends one text.

    It is made at BOOKING_APP_URL with TEST_API_KEY, for TEST_EVENT_ID and your own phone, and followed: the answer, the row,
    Twilio's log, the metadata, looked at twice. The step that happened last is named. It asks first, because one text is sent
    and billed.
    """
    if dry and (phone or cleanup):
        message = "--dry makes no booking, so --phone and --cleanup have no use with it"
        raise UsageError(message)
    with doctor(ctx.obj) as opened:
        asked = request(
            opened, ctx.obj, since=DEFAULT_SINCE, until=None, all_senders=False, fail_on=fail_on, show_pii=show_pii
        )
        if dry:
            report = opened.dry_probe(asked)
        else:
            consent(opened, phone, show_pii=show_pii, yes=yes)
            report = opened.probe_api(replace(asked, probe_phone=phone, cleanup=cleanup))
    finish(report, format, output, ctx.obj)
