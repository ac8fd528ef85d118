"""
Writing documents: to stdout, or atomically into a file. The one place that does.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.streams import is_terminal, say, width
from booking_doctor.errors import ExitCode, UsageError
from booking_doctor.findings import Report, Verdict
from booking_doctor.report import TERMINAL, Canvas, Format


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
        print_document(draw(_canvas()), encoding)
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


_SPELLED: Final = str.maketrans(
    {"…": "...", "→": "->", "·": "|", "•": "-"} | dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
)


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_SPELLED).encode(encoding, "backslashreplace")


def print_document(text: str, encoding: str | None) -> None:
    """
    Put the document, and nothing else, on stdout. A reader that went away (``| head``) is no error.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(_encoded(text, encoding or sys.stdout.encoding))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        abandon_stdout()
    except (OSError, AttributeError) as error:
        abandon_stdout()
        message = f"the report could not be written to standard output: {_reason(error)}"
        raise UsageError(message) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is closed"


def abandon_stdout() -> None:
    """
    Write nothing more to it.
    """
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
        print_document(text, "utf-8")
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
