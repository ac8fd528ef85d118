"""
The one place where errors become words on stderr and exit codes.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import typer

from booking_doctor import __version__
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.streams import redacted, say
from booking_doctor.cli.writing import abandon_stdout, print_document
from booking_doctor.errors import DoctorError, ExitCode, UsageError, place_of
from booking_doctor.report import FORMATS


@contextmanager
def error_boundary(ctx: typer.Context | None = None) -> Iterator[None]:
    """
    Turn whatever goes wrong into words on stderr and an exit code; the one place that does.

    Raises:
        typer.Exit: Something went wrong; Typer's own exits and usage errors pass unchanged.
    """
    try:
        yield
    except typer.Exit:
        raise
    except typer.TyperException as error:
        _tell_where_it_belongs(error, ctx)
        # NOTE: Typer's own is 1 for some, and 1 means findings.
        error.exit_code = _as_the_format_says(ctx, ExitCode.USAGE, error.format_message())
        raise
    except Exception as error:  # noqa: BLE001  the outermost place
        code = _as_the_format_says(ctx, _explain(error, _invocation(ctx).verbosity), str(error))
    except KeyboardInterrupt:
        say("interrupted: the same command can be run again")
        code = ExitCode.INTERRUPTED
    else:
        return
    raise typer.Exit(code)


def _tell_where_it_belongs(error: Any, ctx: Any) -> None:  # noqa: ANN401  Typer's types are private
    """
    A global option is unknown behind a command: say so.
    """
    option = getattr(error, "option_name", None)
    if ctx is not None and any(option in known.opts for known in ctx.command.params):
        error.message += f"; it belongs before the command: booking-doctor {option} … {ctx.invoked_subcommand}"


def _as_the_format_says(ctx: typer.Context | None, code: ExitCode, sentence: str) -> int:
    """
    The exit code of an error; a format that has a document for errors puts it out first, and has its own codes.
    """
    arguments = _invocation(ctx).words or sys.argv[1:]
    words = [word for argument in arguments for word in argument.split("=", 1)]
    asked = next((name for option, name in pairwise(words) if option == "--format"), "")
    failure = FORMATS[asked].failure if asked in FORMATS else None
    if failure is None:
        return code
    line, exit_code = failure(redacted(" ".join(sentence.split())) or code.name)
    with suppress(UsageError):
        print_document(line, "utf-8")
    return exit_code


def _invocation(ctx: typer.Context | None) -> Invocation:
    if ctx is not None and isinstance(ctx.obj, Invocation):
        return ctx.obj
    return Invocation(verbosity=int(any(re.fullmatch("--verbose|-v+", word) for word in sys.argv[1:])))


def _explain(error: Exception, verbosity: int) -> ExitCode:
    if isinstance(error, DoctorError):
        _explain_known(error, verbosity)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        abandon_stdout()
        return ExitCode.INTERRUPTED
    if isinstance(error, typer.Abort):
        say("interrupted: the question was not answered")
        return ExitCode.INTERRUPTED
    _explain_bug(error, verbosity)
    return ExitCode.BUG


def _explain_known(error: DoctorError, verbosity: int) -> None:
    say(f"error: {error.summary}")
    if verbosity:
        for cause in _causes(error):
            say(f"  because: {_sentence(cause)}")
    if error.hint:
        say(f"  try: {error.hint}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _sentence(error: BaseException) -> str:
    said = redacted(" ".join(str(error).split()))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _explain_bug(error: Exception, verbosity: int) -> None:
    """
    What kind of error and where; with ``-v`` the way it took. Never its message: it may hold anything, a phone number too.
    """
    say(f"error: this is a bug in booking-doctor {__version__}: {type(error).__name__} in {place_of(error)}")
    if not verbosity:
        say("  try: `booking-doctor -v` and the same command shows the traceback to report")
        return
    for each in reversed([error, *_causes(error)]):
        say("Traceback (most recent call last):")
        for line in "".join(traceback.format_tb(each.__traceback__)).splitlines():
            say(line)
        say(type(each).__name__)
