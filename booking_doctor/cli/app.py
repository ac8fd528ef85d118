"""
The program: its commands, its global options, and the error boundary around them.

Commands live in the modules of `COMMANDS` and register themselves on `app`, which loads a module when one of its commands
is meant. They import what is heavy inside their functions, so that ``--help`` loads no driver; this module imports nothing
but Typer.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from booking_doctor import __version__
from booking_doctor.cli.boundary import error_boundary
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.streams import log

COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "diagnose": ("diagnose",),
    "plan": ("action-plan",),
    "environment": ("check-env",),
    "examine": ("check-schema", "reconcile", "bookings"),
    "repair": ("backfill", "undo", "runs"),
    "automate": ("watch",),
    "fetch_log": ("fetch-log",),
    "migrate": ("migrate",),
    "deployment": ("check-deployment",),
    "probe": ("probe-api",),
    "queue": ("jobs",),
    "learn": ("explain",),
    "beginning": ("init",),
    "flow": ("serve",),
    "rehearse": ("demo", "selftest"),
}
"""
Modules of this package, and the commands they offer, in the order of ``--help``.
"""

_WORDS: Final = "booking_doctor.words"


class _Doctor(TyperGroup):
    """
    The group of commands, inside the error boundary: no command can forget it. A command is loaded when it is meant.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  Typer's context type is private
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """
        All of them, in the order in which people need them; modules that use one another's options are loaded in another.
        """
        self._load(*COMMANDS)
        order = {name: place for place, name in enumerate(chain.from_iterable(COMMANDS.values()))}
        return sorted(super().list_commands(ctx), key=lambda name: order.get(name, len(order)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """
        The command of that name; all are loaded where there is none, so that the nearest can be told.
        """
        if cmd_name not in self.commands:
            self._load(*([module for module, names in COMMANDS.items() if cmd_name in names] or COMMANDS))
        return super().get_command(ctx, cmd_name)

    def _load(self, *modules: str) -> None:
        for module in modules:
            import_module(f"{__package__}.{module}")
        self.commands = get_group(app).commands

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        with error_boundary(ctx):
            return super().invoke(ctx)


app = typer.Typer(
    name="booking-doctor",
    cls=_Doctor,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """
    Run the command line, and exit with its code.
    """
    try:
        with error_boundary():
            app(prog_name="booking-doctor")
    except typer.Exit as end:
        sys.exit(end.exit_code)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"booking-doctor {__version__}")
        raise typer.Exit


@app.callback()
def _booking_doctor(
    ctx: typer.Context,
    *,
    env_file: Annotated[
        list[Path] | None,
        typer.Option("--env-file", metavar="PATH", help="Read this after .env and .env.local; may be repeated."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="Read this instead of booking-doctor.toml.")
    ] = None,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="Say why an error happened; -vv logs all."
        ),
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks, only errors.")] = False,
    version: Annotated[  # noqa: ARG001  answered by its callback
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """
    Find out why a booking's SMS is missing, and repair what it left behind.
    """
    ctx.obj = Invocation(
        env_files=tuple(env_file or ()),
        config=config,
        verbosity=verbose,
        quiet=quiet,
        words=ctx.meta.get(_WORDS, ()),
    )
    log(verbose)
