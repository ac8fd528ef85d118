"""
The booking flow over HTTP, until somebody ends it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Never

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.streams import redacted, say
from booking_doctor.errors import DatabaseError, ExitCode, UsageError

if TYPE_CHECKING:
    from booking_doctor.bootstrap import Backing

_log: Final = logging.getLogger("booking_doctor.serve")


@app.command()
def serve(
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option("--host", help="Listen at this address.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Listen here; 0 takes any that is free.")
    ] = 8000,
) -> None:
    """
    Serve the corrected booking API over HTTP. Writes the bookings it is asked for, and texts their customers.
    """
    _need_the_extra()
    from booking_doctor.bootstrap import backing
    from booking_doctor.web.api import Installation, create_app
    from booking_doctor.web.keys import Keys
    from booking_doctor.web.server import address_of, listen, server_of

    _end_as_asked()
    _log_to_stderr(ctx.obj)
    behind = backing(Path.cwd(), ctx.obj.env_files, ctx.obj.config, os.environ)
    installation = Installation(
        flow=behind.flow,
        signatures=behind.signatures,
        keys=Keys.of(behind.variables),
        app_url=behind.app_url,
        ask_database=behind.ask_database,
        variables=behind.variables,
        now=lambda: datetime.now(UTC),
    )
    with listen(host, port) as listening:
        _introduce(behind, address_of(listening))
        try:
            server_of(create_app(installation)).run([listening])
        finally:
            behind.flow.close()
            _log.info("ended")


def _need_the_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        message = f"serve needs {error.name or 'a package'}, which is not installed"
        raise UsageError(message, hint="install it with: pip install 'booking-doctor[web]'") from error


def _end_as_asked() -> None:
    """
    SIGTERM is an order that is carried out, Ctrl-C an interruption; the server finishes what it has in hand either way.
    """
    # NOTE: uvicorn raises the signal that ended it once more when all is finished; a shell starts background jobs with
    # interrupts ignored.
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _ended(*_: object) -> Never:
    raise typer.Exit(ExitCode.OK)


def _introduce(behind: Backing, address: str) -> None:
    """
    Say where it is, what it stands on, and what of that will not do.
    """
    _log.info("serving %s for %s; Ctrl-C ends it", address, behind.app_url)
    _log.info("database %s, Twilio account %s", behind.database, behind.account_sid)
    if not behind.signatures.judged:
        _log.warning("status callbacks are refused: TWILIO_AUTH_TOKEN is not set, so nobody's signature can be judged")
    try:
        behind.ask_database()
    except DatabaseError as error:
        _log.warning("the database does not answer yet: %s", error.sentence)


# --- log lines -------------------------------------------------------------------------------------------------------

_PERSONAL: Final = (
    (re.compile(r"\+[0-9][0-9 ().-]{5,}[0-9]|(?<![0-9A-Za-z-])[0-9]{9,15}(?![0-9A-Za-z-])"), "(phone)"),
    (re.compile(r"[^\s@:/*<>\"']+@[^\s@:/<>\"']+"), "(e-mail)"),
)


class _Lines(logging.Handler):
    """
    A line with the time for each message, on stderr. Traces are left out: an exception's message may hold anything.
    """

    def emit(self, record: logging.LogRecord) -> None:
        text = redacted(record.getMessage())
        for pattern, replacement in _PERSONAL:
            text = pattern.sub(replacement, text)
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        say(f"{datetime.fromtimestamp(record.created, UTC):%FT%TZ} {level}{text}")


def _log_to_stderr(invocation: Invocation) -> None:
    ours = logging.DEBUG if invocation.verbosity else logging.WARNING if invocation.quiet else logging.INFO
    lines, levels = _Lines(), {"booking_doctor": ours, "uvicorn.error": logging.WARNING}
    for name, level in levels.items():
        logger: Any = logging.getLogger(name)
        logger.handlers, logger.propagate = [lines], False
        logger.setLevel(level)
