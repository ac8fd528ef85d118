"""
Options that several commands have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from booking_doctor.cli.writing import check_output
from booking_doctor.findings import FailOn
from booking_doctor.report import FORMATS, TERMINAL, Format


def format_named(name: str | Format) -> Format:
    """
    What an option's value means.

    Raises:
        BadParameter: There is no such format.
    """
    if isinstance(name, Format):
        return name
    if name not in FORMATS:
        message = f"{name!r} is not one of {', '.join(FORMATS)}."
        raise typer.BadParameter(message)
    return FORMATS[name]


def names_of_formats(incomplete: str) -> list[str]:
    """
    What an option's value may become.
    """
    return [name for name in FORMATS if name.startswith(incomplete)]


def format_option(help: str) -> Any:  # noqa: ANN401  Typer's type of it is private
    """
    ``--format`` with every format.
    """
    return typer.Option(
        "--format",
        parser=format_named,
        metavar=f"<{'|'.join(FORMATS)}>",
        autocompletion=names_of_formats,
        show_default=False,
        help=help,
    )


FormatOption = Annotated[Format, format_option(f"How the report is written; {TERMINAL.name} unless given.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="PATH", callback=check_output, help="Write the report here instead of to stdout."),
]
FailOnOption = Annotated[FailOn, typer.Option("--fail-on", help="The least severe finding that makes the exit code 1.")]
ShowPiiOption = Annotated[bool, typer.Option("--show-pii", help="Show phone numbers and texts as they are.")]
SinceOption = Annotated[
    str,
    typer.Option(
        "--since", metavar="WHEN", help="Begin here: a date, a time with its zone, or an age such as 90m, 36h, 7d."
    ),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="End before this; now unless given.")]
TwilioLogOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--twilio-log",
        metavar="FILE",
        help="Read this export up to its end, instead of asking Twilio; may be repeated.",
    ),
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option("--select", metavar="NAME", help="Make only this check, or this family's; may be repeated."),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="NAME", help="Leave out this check, or this family's; may be repeated."),
]
AllSendersOption = Annotated[
    bool, typer.Option("--all-senders", help="Take messages of all senders, not only of the configured ones.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
