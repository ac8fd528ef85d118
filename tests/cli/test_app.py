"""
What all commands share: windows, the error boundary, writing, and what importing costs.

Whole-process behaviour (exit codes, pipes, encodings, start-up) is tested in real processes.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from booking_doctor import __version__
from booking_doctor.cli.app import COMMANDS as MODULES
from booking_doctor.cli.app import app
from booking_doctor.cli.boundary import error_boundary
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.streams import redacted, say
from booking_doctor.cli.windows import check_retention, parse_window
from booking_doctor.cli.writing import _canvas, check_output, write
from booking_doctor.errors import (
    DatabaseForbidden,
    DatabaseUnreachable,
    DoctorError,
    ExitCode,
    PartlyApplied,
    PlanRefused,
    SandboxError,
    SettingsError,
    TwilioRefused,
    UsageError,
)
from booking_doctor.findings import Report, Window
from booking_doctor.report import FORMATS, Canvas
from booking_doctor.sandbox.incidents import World, december_incident

NOW: Final = datetime(2025, 12, 8, 12, 0, 0, 250_000, tzinfo=UTC)
NOON: Final = NOW.replace(microsecond=0)
SECRET: Final = "s3cr3t-Passw0rd"
JSON, TERMINAL = FORMATS["json"], FORMATS["terminal"]


def report(exit_code: ExitCode = ExitCode.OK) -> Report:
    """
    Little, with something in it that ASCII cannot spell.
    """
    return Report(
        command="reconcile",
        version="0",
        started_at=NOON,
        finished_at=NOON,
        window=None,
        exit_code=exit_code,
        exit_reason="Zoë → fine…",
    )


# Windows


@pytest.mark.parametrize(
    ("since", "until", "begin", "end"),
    [
        ("7d", None, NOON - timedelta(days=7), NOON),
        ("90m", None, NOON - timedelta(minutes=90), NOON),
        ("45s", None, NOON - timedelta(seconds=45), NOON),
        ("2w", "1d", NOON - timedelta(weeks=2), NOON - timedelta(days=1)),
        ("36h", "2025-12-08", NOON - timedelta(hours=36), datetime(2025, 12, 8, tzinfo=UTC)),
        ("2025-12-01", None, datetime(2025, 12, 1, tzinfo=UTC), NOON),
        (" 2025-12-01 ", None, datetime(2025, 12, 1, tzinfo=UTC), NOON),
        ("2025-12-01T09:30Z", None, datetime(2025, 12, 1, 9, 30, tzinfo=UTC), NOON),
        ("2025-12-01 09:30:00.9+01:00", None, datetime(2025, 12, 1, 8, 30, tzinfo=UTC), NOON),
        ("1d", "2026-01-01", NOON - timedelta(days=1), NOON),
    ],
)
def test_windows(since: str, until: str | None, begin: datetime, end: datetime) -> None:
    """
    Dates begin at midnight UTC, times carry a zone, ages count back from now, and nothing reaches past now.
    """
    assert parse_window(since, until, NOW) == Window(begin, end)


def test_a_window_is_in_utc_whatever_the_clock_says() -> None:
    """
    The same moment in another zone is the same window.
    """
    east = NOW.astimezone(datetime.fromisoformat("2025-01-01T00:00+05:30").tzinfo)

    assert parse_window("7d", None, east) == parse_window("7d", None, NOW)
    assert parse_window("7d", None, east).since.tzinfo is UTC


@pytest.mark.parametrize(
    ("since", "until", "complaint"),
    [
        ("yesterday", None, "--since yesterday is not understood"),
        ("", None, "--since  is not understood"),
        ("7 d", None, "--since 7 d is not understood"),
        ("-7d", None, "--since -7d is not understood"),
        ("7y", None, "--since 7y is not understood"),
        ("\u0667d", None, "is not understood"),
        ("999999999w", None, "--since 999999999w is not understood"),
        ("0001-01-01T00:00+23:59", None, "is not understood"),
        ("7d", "12:00", "--until 12:00 is not understood"),
        ("2025-12-01T09:30", None, "--since 2025-12-01T09:30 has no zone"),
        ("7d", "2025-12-08 09:30", "--until 2025-12-08 09:30 has no zone"),
        ("2025-12-09", None, "--since 2025-12-09 is in the future: that is 2025-12-09 00:00:00 UTC"),
        ("0s", None, "--since 0s (2025-12-08 12:00:00 UTC) is not before --until now"),
        ("1d", "2d", "--since 1d (2025-12-07 12:00:00 UTC) is not before --until 2d (2025-12-06 12:00:00 UTC)"),
        ("1d", "1d", "is not before --until 1d"),
    ],
)
def test_windows_that_cannot_be_meant(since: str, until: str | None, complaint: str) -> None:
    """
    The error names the option, and what was understood where something was.
    """
    with pytest.raises(UsageError, match=re.escape(complaint)) as caught:
        parse_window(since, until, NOW)

    assert caught.value.exit_code == ExitCode.USAGE


@given(st.text(max_size=12), st.none() | st.text(max_size=12), st.datetimes(timezones=st.just(UTC)))
def test_any_text_is_a_window_or_a_usage_error(since: str, until: str | None, now: datetime) -> None:
    """
    Nothing else comes out, and a window is never empty and never reaches past now.
    """
    try:
        window = parse_window(since, until, now)
    except UsageError:
        return
    assert window.since < window.until <= now


@given(
    st.integers(1, 10_000),
    st.sampled_from("smhdw"),
    st.datetimes(datetime.fromisoformat("2000-01-01"), timezones=st.just(UTC)),
)
def test_every_age_is_understood(number: int, unit: str, now: datetime) -> None:
    """
    It is that long before now, and its end is now, to the second.
    """
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit] * number
    window = parse_window(f"{number}{unit}", None, now)

    assert (window.until - window.since).total_seconds() == seconds
    assert window.until == now.replace(microsecond=0)


@given(
    st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2025-12-07"), timezones=st.timezones())
)
def test_every_time_with_a_zone_is_understood(moment: datetime) -> None:
    """
    As the same moment, less its part of a second.
    """
    assert parse_window(moment.isoformat(), None, NOW).since == moment.astimezone(UTC).replace(microsecond=0)


def test_retention_is_named() -> None:
    """
    As far back as Twilio keeps messages is fine; further back names the number of days and the setting.
    """
    keeps = timedelta(days=400)
    check_retention(parse_window("400d", None, NOW), NOW + timedelta(seconds=5), keeps)

    with pytest.raises(UsageError, match="400 days") as caught:
        check_retention(parse_window("401d", None, NOW), NOW, keeps)
    assert "retention_days" in str(caught.value.hint)


# Errors


def raised(error: BaseException, verbosity: int = 0) -> int:
    """
    The exit code that the boundary makes of an error.
    """

    class Context:
        obj = Invocation(verbosity=verbosity)

    context: Any = Context()
    with pytest.raises(typer.Exit) as caught, error_boundary(context):
        raise error
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), 2),
        (SettingsError("no"), 2),
        (DoctorError("no"), 3),
        (SandboxError("no"), 3),
        (DatabaseUnreachable("no"), 3),
        (DatabaseForbidden("no"), 3),
        (TwilioRefused("no", status=401, code=20003), 3),
        (PlanRefused("no"), 4),
        (PartlyApplied("no"), 5),
    ],
)
def test_known_errors(error: DoctorError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One line, the class's code, and nothing on stdout.
    """
    assert (raised(error), *capsys.readouterr()) == (code, "", "error: no\n")


def test_a_hint_says_what_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    """
    On its own line, under the error.
    """
    raised(SettingsError("DATABASE_URL is missing", hint="set it in .env"))

    assert capsys.readouterr().err == "error: DATABASE_URL is missing\n  try: set it in .env\n"


def unreachable() -> DoctorError:
    """
    An error with causes that know too much.
    """
    inner = OSError(f"connecting to postgresql://doctor:{SECRET}@db/app\nfailed")
    outer = RuntimeError(f"auth_token={SECRET}")
    error = DatabaseUnreachable("cannot reach db", hint="is it up?")
    error.__cause__, outer.__cause__ = outer, inner
    return error


def test_causes_only_when_asked_and_never_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``-v`` adds the chain, a line each, with passwords and tokens gone.
    """
    raised(unreachable())
    assert "because" not in capsys.readouterr().err

    raised(unreachable(), verbosity=1)
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "error: cannot reach db",
        "  because: RuntimeError: auth_token=***",
        "  because: OSError: connecting to postgresql://doctor:***@db/app failed",
        "  try: is it up?",
    ]


def test_a_bug_is_one_line_without_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    """
    70, the version, the kind of error and how to see more; the message may hold anything.
    """
    assert raised(ValueError(SECRET)) == 70

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: this is a bug in booking-doctor {__version__}: ValueError in booking_doctor.")
    assert "-v" in err
    assert SECRET not in err
    assert "Traceback" not in err


def test_a_bug_shows_its_traceback_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """
    With ``-v``: the way it took, its cause's too, and no message, which may hold a secret that looks like none.
    """
    error = ValueError(f"invalid literal: {SECRET!r}")
    error.__cause__ = KeyError(SECRET)
    assert raised(error, verbosity=1) == 70

    err = capsys.readouterr().err
    assert err.count("Traceback (most recent call last):") == 2
    assert err.splitlines()[-1] == "ValueError"
    assert "KeyError" in err.splitlines()
    assert f'File "{__file__}"' in err
    assert SECRET not in err


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (typer.Abort(), 130), (BrokenPipeError(), 130)]
)
def test_interruptions(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One line at most, and not the exit code of findings.
    """
    assert raised(error) == code
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_an_exit_passes() -> None:
    """
    A command's own exit code is not an error.
    """
    assert raised(typer.Exit(1)) == 1


def test_control_characters_in_errors_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A server's answer cannot move the cursor or add a line.
    """
    raised(DoctorError("bad \x1b[2J\nanswer\u202e", hint="\x07"))

    assert capsys.readouterr().err == "error: bad \\x1b[2J\\nanswer\\u202e\n  try: \\x07\n"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://u:p@ss/w0rd@h:5432/d?x=1", "postgresql://u:***@h:5432/d?x=1"),
        ("host=h password=abc user=u", "host=h password=*** user=u"),
        ("{'auth_token': 'abc', 'x': 1}", "{'auth_token': ***, 'x': 1}"),
        ("Authorization: Basic QUMxMjM6c2VjcmV0", "Authorization: Basic ***"),
        ("X-API-Key: abc", "X-API-Key: ***"),
        ("TWILIO_API_SECRET=abc", "TWILIO_API_SECRET=***"),
        ("no password supplied", "no password supplied"),
        ("connection to db:5432 failed", "connection to db:5432 failed"),
    ],
)
def test_redaction(text: str, clean: str) -> None:
    """
    What looks like a credential goes, the rest stays readable.
    """
    assert redacted(text) == clean


@pytest.fixture
def logs_closed_again() -> Iterator[None]:
    """
    Loggers outlive a test.
    """
    everyone, ours = logging.getLogger(), logging.getLogger("booking_doctor")
    handlers, level = everyone.handlers, everyone.level
    yield
    everyone.handlers = handlers
    everyone.setLevel(level)
    ours.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], []),
        (["-v"], ["booking_doctor.x: ours token=***"]),
        (["-vv"], ["booking_doctor.x: ours token=***", "other: theirs \\x1b[2J", "other: second line"]),
    ],
)
@pytest.mark.usefixtures("logs_closed_again")
def test_logs_are_opened_by_v(options: list[str], said: list[str]) -> None:
    """
    Ours with ``-v``, everyone's with ``-vv``, without secrets and control characters; request lines with phone numbers never.
    """
    commands = typer.Typer()

    @commands.command()
    def log() -> None:
        logging.getLogger("booking_doctor.x").debug("ours token=%s", SECRET)
        logging.getLogger("other").info("theirs \x1b[2J\nsecond line")
        logging.getLogger("urllib3.connectionpool").debug("GET /Messages.json?To=+15005550006")

    commands.callback()(app.registered_callback.callback)  # type: ignore[union-attr,type-var]
    result = CliRunner().invoke(commands, [*options, "log"])

    assert (result.exit_code, result.stdout, result.stderr.splitlines()) == (0, "", said)


# Writing


def test_stdout_gets_the_document_and_nothing_else(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """
    Byte for byte; a piped document that does not show its bad end says it on stderr too.
    """
    write(report(), JSON, None, Invocation())
    assert capsysbinary.readouterr() == (JSON.render(report(), Canvas()).encode(), b"")

    write(report(ExitCode.INCOMPLETE), JSON, None, Invocation())
    assert capsysbinary.readouterr().err == "INCOMPLETE: reconcile: Zoë → fine…\n".encode()

    write(report(ExitCode.INCOMPLETE), JSON, None, Invocation(quiet=True))
    assert capsysbinary.readouterr().err == b""

    write(report(ExitCode.FINDINGS), TERMINAL, None, Invocation())
    assert capsysbinary.readouterr().err == b""


def test_output_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A failure on the way leaves the old file, and no scraps beside it.
    """
    path = tmp_path / "report.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", broken)

    with pytest.raises(UsageError, match="No space left"):
        write(report(), JSON, path, Invocation())

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def broken(descriptor: int) -> None:
    """
    A full disk.
    """
    raise OSError(28, "No space left on device")


def test_what_cannot_be_saved_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    After an apply the report holds the run's id, so it goes to stdout.
    """
    monkeypatch.setattr(os, "fsync", broken)

    with pytest.raises(UsageError) as caught:
        write(report(), JSON, tmp_path / "report.json", Invocation())

    assert '"schema": 1' in capsys.readouterr().out
    assert "stdout" in str(caught.value.hint)


def test_output_modes_and_links(tmp_path: Path) -> None:
    """
    A new file has the umask's mode, an old one keeps its own, and a symbolic link stays one.
    """
    new, old, link = tmp_path / "new", tmp_path / "old", tmp_path / "link"
    old.touch(mode=0o600)
    link.symlink_to(old)
    before = os.umask(0o027)
    try:
        write(report(), JSON, new, Invocation())
        write(report(), TERMINAL, link, Invocation())
    finally:
        os.umask(before)

    assert stat.S_IMODE(new.stat().st_mode) == 0o640
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert "Healthy: Zoë" in old.read_text(encoding="utf-8")


def test_a_device_is_written_to_and_not_replaced() -> None:
    """
    ``--output /dev/null`` leaves /dev/null in place.
    """
    null = Path(os.devnull)
    assert check_output(null) == null
    write(report(), JSON, null, Invocation())

    assert null.is_char_device()


def test_unwritable_paths_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A directory, a missing directory, a closed one; what can be written passes.
    """
    assert check_output(None) is None
    assert check_output(tmp_path / "new.json") == tmp_path / "new.json"
    with pytest.raises(UsageError, match="is a directory"):
        check_output(tmp_path)
    with pytest.raises(UsageError, match="there is no directory"):
        check_output(tmp_path / "missing" / "new.json")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="no permission"):
        check_output(tmp_path / "new.json")


def test_another_command_with_the_same_settings() -> None:
    """
    Global options are repeated and quoted for a shell.
    """
    invocation = Invocation(env_files=(Path("a b.env"),), config=Path("x.toml"))

    assert invocation.again("undo", "R") == "booking-doctor --env-file 'a b.env' --config x.toml undo R"
    assert Invocation().again("runs") == "booking-doctor runs"


def test_a_closed_stderr_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Remarks have nowhere to go, and the work goes on.
    """
    monkeypatch.setattr(sys, "stderr", None)
    say("hello")


# Whole processes


COMMANDS: Final = '''
from typing import Annotated
import typer
from booking_doctor.cli import app as cli
from booking_doctor.cli.options import *
from booking_doctor.cli.writing import write
from booking_doctor.cli.windows import parse_window
from booking_doctor.errors import *
from booking_doctor.findings import FailOn, Report
from booking_doctor.report import FORMATS, TERMINAL, Format
from datetime import UTC, datetime

cli.COMMANDS = {}

@cli.app.command()
def look(
    ctx: typer.Context,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
    since: SinceOption = "7d",
    until: UntilOption = None,
    twilio_log: TwilioLogOption = None,
    all_senders: AllSendersOption = False,
    yes: YesOption = False,
    size: int = 1,
) -> None:
    """
    Look. Changes nothing.
    """
    now = datetime(2025, 12, 8, tzinfo=UTC)
    report = Report(
        command="reconcile", version="0", started_at=now, finished_at=now, window=parse_window(since, until, now),
        exit_code=ExitCode.FINDINGS, exit_reason="Zoë → fine…", next_steps=["x" * 100] * size,
        coverage={"words": list(ctx.obj.words), "env": [str(path) for path in ctx.obj.env_files]},
    )
    write(report, format, output, ctx.obj)
    raise typer.Exit(report.exit_code)

@cli.app.command()
def fail(ctx: typer.Context, how: str) -> None:
    """
    Fail. Changes nothing.
    """
    raise {"bug": ZeroDivisionError("4711"), "keys": KeyboardInterrupt(), "typer": typer.BadParameter("no")}.get(
        how, PlanRefused("too much")
    )

cli.main()
'''

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """
    The command line with two commands of the test's own, in a process.
    """
    script = tmp_path / "commands.py"
    script.write_text(COMMANDS, encoding="utf-8")

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, str(script), *words], capture_output=True, env=os.environ | environment, check=False
        )

    return call


def test_exit_codes_of_a_process(run: Run) -> None:
    """
    A report's own, usage errors 2 whoever finds them, refusals 4, bugs 70, Ctrl-C 130; a traceback nowhere.
    """
    expected = {
        ("look",): 1,
        ("look", "--help"): 0,
        ("look", "--format", "yaml"): 2,
        ("look", "--fail-on", "nothing"): 2,
        ("look", "--since", "tomorrow"): 2,
        ("look", "--output", "/missing/x"): 2,
        ("look", "--nonsense"): 2,
        ("nonsense",): 2,
        (): 2,
        ("fail", "typer"): 2,
        ("fail", "known"): 4,
        ("fail", "bug"): 70,
        ("fail", "keys"): 130,
        ("--version",): 0,
    }
    ended = {words: run(*words) for words in expected}

    assert {words: end.returncode for words, end in ended.items()} == expected
    assert not any(b"Traceback" in end.stderr + end.stdout for end in ended.values())
    assert b"Traceback" in run("-v", "fail", "bug").stderr


def test_the_invocation_reaches_the_command(run: Run) -> None:
    """
    Global options, repeatable, and the words as typed.
    """
    out = run("--env-file", "a", "--env-file", "b", "look", "--format", "json").stdout.decode()

    assert re.sub(r"\s", "", out).count('"env":["a","b"]') == 1
    assert '"words": [\n      "--env-file",' in out


def test_a_global_option_behind_the_command_is_told_where_it_belongs(run: Run) -> None:
    """
    Who writes it at the wrong place learns the right one; what is no option at all gets no such advice.
    """
    for option in ("--env-file", "--quiet", "-v"):
        end = run("look", option, "x")
        assert end.returncode == 2
        assert f"it belongs before the command: booking-doctor {option} … look" in end.stderr.decode()
    assert b"belongs" not in run("look", "--nonsense").stderr


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("200", 200), ("0", 100), ("wide", 100), ("", 100)])
def test_columns_counts_without_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    """
    A pipe is as wide as COLUMNS says, where it says anything.
    """
    monkeypatch.setenv("COLUMNS", columns)

    assert _canvas().width == width


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, run: Run) -> None:
    """
    ``| head -1`` gets its line, and stderr stays empty.
    """
    command = f"{sys.executable} {tmp_path / 'commands.py'} look --size 2000 | head -1"
    end = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)

    assert (end.returncode, end.stderr) == (1, b"")
    assert end.stdout.startswith(b"Work remains: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(tmp_path: Path, run: Run) -> None:
    """
    The report did not arrive, and the exit code is not the report's.
    """
    with Path("/dev/full").open("wb") as full:
        end = subprocess.run(
            [sys.executable, str(tmp_path / "commands.py"), "look"], stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert end.returncode == 2
    assert end.stderr.startswith(b"error: the report could not be written to standard output: No space left")


@pytest.mark.parametrize("format", FORMATS)
def test_a_terminal_without_unicode(run: Run, format: str) -> None:
    """
    Text is spelled in what the terminal has; a document stays UTF-8, whatever the locale.
    """
    end = run("look", "--format", format, PYTHONIOENCODING="ascii", LC_ALL="C")

    assert end.returncode == 1
    expected = {"terminal": b"Zo\\xeb -> fine...", "short": b"Zo\\xeb -> fine...", "prometheus": b"", "csv": b""}
    assert expected.get(format, "Zoë → fine…".encode()) in end.stdout


def test_no_color_without_a_terminal(run: Run) -> None:
    """
    Not even when asked by a variable.
    """
    assert b"\x1b" not in run("look", FORCE_COLOR="1", TERM="xterm-256color").stdout


@pytest.mark.parametrize(("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_color_on_a_terminal(tmp_path: Path, run: Run, environment: dict[str, str], colored: bool) -> None:
    """
    Unless NO_COLOR says something; the width is the terminal's.
    """
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "commands.py"), "look"],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        | {"TERM": "xterm", "COLUMNS": "60"}
        | environment,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    finally:
        os.close(ours)

    assert process.wait() == 1
    assert (b"\x1b[" in shown) is colored


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM_PROGRAM": "WezTerm"}, True),
        ({"VTE_VERSION": "7600"}, True),
        ({"VTE_VERSION": "4800"}, False),
        ({"VTE_VERSION": "new"}, False),
        ({"WT_SESSION": "1"}, True),
        ({}, False),
        ({"TERM": "linux"}, False),
        ({"TERM": "dumb", "WT_SESSION": "1"}, False),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, False),
    ],
)
def test_links_where_they_are_known(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], known: bool) -> None:
    """
    Only terminals that are known to understand links get any, and nobody else: no pipe, no file.
    """
    for name in ("TERM_PROGRAM", "VTE_VERSION", "WT_SESSION", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    assert not _canvas().links
    monkeypatch.setattr("booking_doctor.cli.writing.is_terminal", lambda _: True)

    assert _canvas().links is known


# Start-up


DRIVERS: Final = {"sqlalchemy", "psycopg", "twilio", "requests", "urllib3", "phonenumbers"}


def loaded(words: list[str], **variables: str) -> tuple[str, set[str]]:
    """
    What the console script prints, and the modules that it loads for it.
    """
    code = f"""
        import sys
        sys.argv = ["booking-doctor", *{words!r}]
        from booking_doctor.__main__ import main
        try:
            main()
        finally:
            print("MODULES", *sys.modules)
    """
    environment = {**os.environ, **variables}
    end = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False, text=True, env=environment
    )
    assert end.returncode in set(ExitCode), end.stderr
    said, _, modules = end.stdout.partition("MODULES")
    return said, set(modules.split())


def test_version_loads_nothing() -> None:
    """
    No Typer, no Rich, no driver.
    """
    said, modules = loaded(["--version"])

    assert said == f"booking-doctor {__version__}\n"
    assert not modules & (DRIVERS | {"typer", "rich"})


def test_help_loads_no_driver() -> None:
    """
    Every command module is imported for the list, and none of them brings a driver or Rich with it.
    """
    said, modules = loaded(["--help"])

    assert "Usage: booking-doctor" in said
    assert not modules & (DRIVERS | {"rich"})


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["check-env"], set[str]()),
        (["check-schema"], {"sqlalchemy", "psycopg"}),
        (["jobs", "status"], {"sqlalchemy", "psycopg"}),
        (["bookings"], {"sqlalchemy", "psycopg", "urllib3", "greenlet", "phonenumbers"}),
    ],
    ids=lambda case: "-".join(case) if isinstance(case, list) else "",
)
def test_a_command_loads_what_it_needs(scene: World, words: list[str], needed: set[str]) -> None:
    """
    Most of a short command's time goes into loading, so none loads drivers that it does not ask anything.
    """
    december_incident(scene)
    said, modules = loaded([*words, "--format", "short"], **scene.environment())

    assert said
    assert modules & (DRIVERS | {"greenlet", "jinja2", "fastapi", "uvicorn", "apprise"}) <= needed


def test_a_command_loads_no_other() -> None:
    """
    Of the modules that offer commands, only the one whose command is meant.
    """
    _, modules = loaded(["explain"])

    assert {name for name in MODULES if f"booking_doctor.cli.{name}" in modules} == {"learn"}


def test_the_nearest_command_is_told() -> None:
    """
    Of all there are, although none is loaded yet.
    """
    end = subprocess.run(
        [sys.executable, "-m", "booking_doctor", "chek-env"], capture_output=True, check=False, text=True
    )

    assert end.returncode == ExitCode.USAGE
    assert "check-env" in end.stderr


def test_python_m_runs_it() -> None:
    """
    ``python -m booking_doctor`` is the console script.
    """
    end = subprocess.run([sys.executable, "-m", "booking_doctor", "--version"], capture_output=True, check=True)

    assert end.stdout.decode() == f"booking-doctor {__version__}\n"
