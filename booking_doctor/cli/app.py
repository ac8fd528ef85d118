"""
What the commands share: options, the one place where errors become exit codes, the one that writes.

Commands live in the modules of `COMMANDS` and register themselves on `app`, which loads a module when one of its commands
is meant. They import what is heavy inside their functions, so that ``--help`` loads no driver; this module imports nothing
but Typer.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shlex
import shutil
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from itertools import chain, pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from msgspec import Struct
from typer.core import TyperGroup
from typer.main import get_group

from booking_doctor import __version__
from booking_doctor.errors import DoctorError, ExitCode, UsageError
from booking_doctor.findings import FailOn, Report, Verdict
from booking_doctor.report import FORMATS, TERMINAL, Canvas, Format, visible

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


class Invocation(Struct, frozen=True, kw_only=True):
    """
    The global options of this call; commands find it in ``ctx.obj``.

    Attributes:
        verbosity: How often ``-v`` was given.
        words: All arguments as they were typed.
    """

    env_files: tuple[Path, ...] = ()
    config: Path | None = None
    verbosity: int = 0
    quiet: bool = False
    words: tuple[str, ...] = ()

    def again(self, *words: str) -> str:
        """
        Another command line that reads the same settings, ready to copy.
        """
        settings = [word for path in self.env_files for word in ("--env-file", str(path))]
        if self.config is not None:
            settings += ["--config", str(self.config)]
        return shlex.join(["booking-doctor", *settings, *words])


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
    _log(verbose)


# Writing reports


def check_output(path: Path | None) -> Path | None:
    """
    `check_writable` for ``--output``.
    """
    return check_writable("--output", path)


def check_writable(option: str, path: Path | None) -> Path | None:
    """
    Refuse a path that a report could not be written to, before any work is done.

    Raises:
        UsageError: It is a directory, its directory is missing, or writing there is not permitted.
    """
    if path is None:
        return None
    directory = _target(path).parent
    if path.is_dir():
        message = f"{option} {path} is a directory"
    elif not directory.is_dir():
        message = f"{option} {path}: there is no directory {directory}"
    elif not os.access(path if _is_special(path) else directory, os.W_OK):
        message = f"{option} {path}: no permission to write there"
    else:
        return path
    raise UsageError(message, hint="name a file in a directory that exists and may be written to")


def write(report: Report, format: Format, output: Path | None, invocation: Invocation) -> None:
    """
    Render the report to stdout, or atomically to a file. The exit code is the caller's to give: the report's.

    Where the document is not read on this terminal, one line on stderr says how it ended, unless all is well in a
    script or ``--quiet``.

    Raises:
        UsageError: It could not be written; a file's document has then gone to stdout instead, so that it is not lost.
    """
    put(partial(_document, report, format, output), output, format.encoding)
    read_here = output is None and format is TERMINAL
    if not read_here and not invocation.quiet and (report.exit_code is not ExitCode.OK or is_terminal(sys.stderr)):
        alarm = "INCOMPLETE: " if report.verdict is Verdict.INCOMPLETE else ""
        say(f"{alarm}{report.command}: {report.exit_reason}")


def _document(report: Report, format: Format, output: Path | None, canvas: Canvas) -> str:
    document = format.render(report, canvas)
    if format.carried is None or output is None:
        return document
    with suppress(OSError, UnicodeDecodeError):
        return format.carried(_target(output).read_text("utf-8"), document)
    return document


def put(draw: Callable[[Canvas], str], output: Path | None, encoding: str | None = "utf-8") -> None:
    """
    Draw a document on stdout, or atomically into a file.

    Args:
        encoding: What stdout gets; None for what suits the terminal it is read on.

    Raises:
        UsageError: It could not be written; a file's document has then gone to stdout instead, so that it is not lost.
    """
    if output is None:
        _print(draw(_canvas()), encoding)
    else:
        _save(draw(Canvas()), output)


def _canvas() -> Canvas:
    color = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and is_terminal(sys.stdout)
    return Canvas(width=width(sys.stdout), color=color, links=color and _knows_links(os.environ))


def _knows_links(environ: Mapping[str, str]) -> bool:
    """
    Whether the terminal is one that is known to know links; others may show what they do not understand.
    """
    if environ.get("TERM_PROGRAM") in {"iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper"} or "WT_SESSION" in environ:
        return True
    # NOTE: GNOME's and its relatives, from 0.50 on; Konsole says its version likewise.
    if environ.get("VTE_VERSION", "").isdecimal() and int(environ["VTE_VERSION"]) >= 5000:
        return True
    return environ.get("TERM", "").startswith(("xterm-kitty", "xterm-ghostty", "foot", "alacritty", "wezterm"))


def width(stream: Any) -> int:  # noqa: ANN401  None where the descriptor is closed
    """
    The columns that COLUMNS says, else those of the terminal behind a stream; where there is none, what documents have.
    """
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return shutil.get_terminal_size().columns if is_terminal(stream) else Canvas().width


def is_terminal(stream: Any) -> bool:  # noqa: ANN401  None where the descriptor is closed
    """
    Whether a person reads the stream as it is written.
    """
    return stream is not None and stream.isatty()


_SPELLED: Final = str.maketrans(
    {"…": "...", "→": "->", "·": "|", "•": "-"} | dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
)


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_SPELLED).encode(encoding, "backslashreplace")


def _print(text: str, encoding: str | None) -> None:
    """
    Put the document, and nothing else, on stdout. A reader that went away (``| head``) is no error.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(_encoded(text, encoding or sys.stdout.encoding))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _abandon_stdout()
    except (OSError, AttributeError) as error:
        _abandon_stdout()
        message = f"the report could not be written to standard output: {_reason(error)}"
        raise UsageError(message) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is closed"


def _abandon_stdout() -> None:
    # NOTE: Python flushes stdout once more on its way out, and would exit with 120 if that failed again.
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def save(report: Report, format: Format, output: Path) -> None:
    """
    Render the report atomically into a file.

    Raises:
        OSError: It could not be written.
    """
    _store(_document(report, format, output, Canvas()), output)


def _store(text: str, output: Path) -> None:
    data = _encoded(text, "utf-8")
    if _is_special(output):
        output.write_bytes(data)
    else:
        _replace(_target(output), data)


def _save(text: str, output: Path) -> None:
    try:
        _store(text, output)
    except OSError as error:
        _print(text, "utf-8")
        message = f"--output {output} could not be written: {_reason(error)}"
        raise UsageError(message, hint="the report went to stdout instead") from error


def _replace(target: Path, data: bytes) -> None:
    """
    Write beside the file and put it in its place: a reader finds the old report or the new one, whole.
    """
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _target(path: Path) -> Path:
    """
    What a symbolic link leads to: the link stays.
    """
    return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    """
    A device or a pipe is written to, never replaced.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


# Errors


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
        _print(line, "utf-8")
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
        _abandon_stdout()
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
    say(f"error: this is a bug in booking-doctor {__version__}: {type(error).__name__} in {_place(error)}")
    if not verbosity:
        say("  try: `booking-doctor -v` and the same command shows the traceback to report")
        return
    for each in reversed([error, *_causes(error)]):
        say("Traceback (most recent call last):")
        for line in "".join(traceback.format_tb(each.__traceback__)).splitlines():
            say(line)
        say(type(each).__name__)


def _place(error: Exception) -> str:
    """
    The innermost line of this package that the error came through.
    """
    places = [
        f"{frame.f_globals.get('__name__')}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith("booking_doctor.")
    ]
    return places[-1]


def say(line: str) -> None:
    """
    Put one plain line on stderr; control characters are shown, not obeyed. A closed stderr is no error.
    """
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{visible(line)}\n")
        sys.stderr.flush()


_SECRETS: Final = (
    (re.compile(r"(://[^/\s:@]*:)\S*@"), r"\1***@"),
    (re.compile(r"(?i)\b(basic|bearer)\s+[a-z0-9+/=._~-]{8,}"), r"\1 ***"),
    (
        re.compile(r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*)(?!\*\*\*)[^\s,;&]+"),
        r"\1***",
    ),
)


def redacted(text: str) -> str:
    """
    Foreign words (a driver's message, a log line) without what looks like a password, a token or a key.
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


_TALKATIVE: Final = ("twilio.http_client", "urllib3.connectionpool")


def _log(verbosity: int) -> None:
    """
    ``-v`` opens our own logger, ``-vv`` everyone's; without them a library's warnings are not the reader's business.
    """
    handler = _StderrHandler(logging.DEBUG if verbosity else logging.CRITICAL + 1)
    if verbosity == 1:
        handler.addFilter(logging.Filter("booking_doctor"))
    everyone, ours = logging.getLogger(), logging.getLogger("booking_doctor")
    everyone.handlers = [*(other for other in everyone.handlers if not isinstance(other, _StderrHandler)), handler]
    everyone.setLevel(logging.DEBUG if verbosity > 1 else logging.WARNING)
    ours.setLevel(logging.DEBUG if verbosity else logging.NOTSET)
    # NOTE: these write query strings, and with a To= filter those hold phone numbers.
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            say(redacted(f"{record.name}: {line}"))


# Options


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


FORMAT_NAMES: Final = f"<{'|'.join(FORMATS)}>"

FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        parser=format_named,
        metavar=FORMAT_NAMES,
        autocompletion=names_of_formats,
        show_default=False,
        help=f"How the report is written; {TERMINAL.name} unless given.",
    ),
]
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
