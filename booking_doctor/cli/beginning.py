"""
The command that begins: it looks at the environment and the database, and writes the files that are not there yet.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from msgspec import Struct

from booking_doctor import __version__
from booking_doctor.cli.app import app
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.options import FailOnOption, FormatOption, OutputOption
from booking_doctor.cli.session import finish
from booking_doctor.errors import ExitCode, SourceError, UsageError
from booking_doctor.findings import FailOn, JSONValue, Report, Skipped
from booking_doctor.report import TERMINAL
from booking_doctor.settings import DATABASE_VARIABLES, database_settings

if TYPE_CHECKING:
    from booking_doctor.checks.environment import Alternatives
    from booking_doctor.naming import Naming

_COMMENTS: Final[Mapping[str, str]] = {
    "DATABASE_URL": "The application's PostgreSQL: postgresql://user:password@host:5432/database\n"
    "# Percent-encode @ : / # and % in the password.",
    "TWILIO_ACCOUNT_SID": 'The Twilio account, AC and 32 hexadecimal digits (Twilio Console, "Account Info").',
    "TWILIO_AUTH_TOKEN": "The account's auth token. TWILIO_API_KEY and TWILIO_API_SECRET would do instead.",
    "TWILIO_PHONE_NUMBER": "The number that sends, such as +15551234567. TWILIO_MESSAGING_SERVICE_SID would do instead.",
}


@app.command()
def init(
    ctx: typer.Context,
    *,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
) -> None:
    """
    Find out what the database calls its tables and columns. Writes booking-doctor.toml and .env where none exist.
    """
    from booking_doctor.adapters.environment_files import read_variables

    invocation: Invocation = ctx.obj
    started_at, directory = datetime.now(UTC), Path.cwd()
    settings = _settings_path(directory, invocation.config)
    variables = read_variables(directory, invocation.env_files, os.environ)
    missing = missing_variables(variables)
    look = _look(variables, missing)
    wanted = _wanted(look, missing, settings, directory / ".env")
    standing = {path: name for path in wanted if (name := _standing(path, directory))}
    refused = settings in standing and invocation.config is not None
    written = [] if refused else [path for path in wanted if path not in standing]
    write_new({path: wanted[path] for path in written})
    done = _Done(look, missing, [path.name for path in written], list(standing.values()))
    finish(_report(done, invocation, started_at, fail_on), format, output, invocation)


# Looking


class _Look(Struct, frozen=True, kw_only=True):
    """
    What the database said.

    Attributes:
        naming: None where it could not be looked at; *skipped* says why.
        place: Which database, for people.
    """

    naming: Naming | None = None
    skipped: Skipped | None = None
    place: str | None = None
    relations: int = 0


def missing_variables(variables: Mapping[str, str]) -> dict[str, Alternatives]:
    """
    What must be set and is not, by the name that stands for it; an empty value is missing.
    """
    from booking_doctor.checks.environment import unmet

    present = {name for name, value in variables.items() if value}
    return {alternatives[0][0]: alternatives for alternatives in unmet(present).values()}


def _look(variables: Mapping[str, str], missing: Collection[str]) -> _Look:
    from booking_doctor.adapters.introspection import relations
    from booking_doctor.naming import name_everything

    if DATABASE_VARIABLES[0] in missing:
        reason = "no database is set, so nothing is known of its names"
        return _Look(skipped=Skipped(check="database", kind="not-configured", reason=reason))
    settings = database_settings(variables)
    place = f"{settings.name} at {settings.address}"
    try:
        found = relations(settings)
    except SourceError as error:
        return _Look(skipped=Skipped(check=error.source, kind=error.kind, reason=error.sentence), place=place)
    return _Look(naming=name_everything(found), place=place, relations=len(found))


# Writing


class NewFile(Struct, frozen=True):
    """
    A file to be written, with its mode as far as the umask grants it.
    """

    text: str
    mode: int


def _settings_path(directory: Path, named: Path | None) -> Path:
    if named is not None and named.name == "pyproject.toml":
        message = f"--config {named}: init writes no pyproject.toml"
        raise UsageError(message, hint="name another file, and copy what it says to [tool.booking-doctor]")
    return directory / "booking-doctor.toml" if named is None else named


def _wanted(look: _Look, missing: Collection[str], settings: Path, environment: Path) -> dict[Path, NewFile]:
    from booking_doctor.naming import settings_file

    files = {}
    if look.naming:
        files[settings] = NewFile(settings_file(look.naming), 0o666)
    if missing:
        files[environment] = NewFile(_environment_file(missing), 0o600)
    return files


def _environment_file(missing: Collection[str]) -> str:
    head = "# What the doctor needs and nothing sets yet. Keep this file out of version control: it will hold secrets."
    return "\n\n".join([head, *(f"# {_COMMENTS[name]}\n{name}=" for name in missing)]) + "\n"


def _standing(path: Path, directory: Path) -> str | None:
    """
    What is there already in the file's place, by name. A `pyproject.toml` with our settings is: a file beside it
    would hide them.
    """
    from booking_doctor.adapters.environment_files import read_preferences

    if os.path.lexists(path):
        return path.name
    if path == directory / "booking-doctor.toml":
        document, name = read_preferences(directory, None)
        return name if document else None
    return None


def write_new(files: Mapping[Path, NewFile]) -> None:
    """
    Write files that appear whole or not at all, and never in another's place.

    Raises:
        UsageError: One could not be written.
    """
    with ExitStack() as stack:
        beside = {path: stack.enter_context(_beside(path, file)) for path, file in files.items()}
        for path, whole in beside.items():
            with _named(path):
                os.link(whole, path)  # NOTE: unlike a rename this fails where somebody else was faster


@contextmanager
def _beside(path: Path, file: NewFile) -> Iterator[Path]:
    """
    The file's content under another name, for as long as the block lasts.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with _named(path), os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode), "wb") as opened:
            opened.write(file.text.encode())
            opened.flush()
            os.fsync(opened.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path} could not be written: {error.strerror}"
        raise UsageError(message, hint="it takes a directory that exists and may be written to") from error


# Telling


class _Done(Struct, frozen=True):
    """
    What came of it.

    Attributes:
        missing: Variables.
        written, left: Files by name; those left were there before.
    """

    look: _Look
    missing: Mapping[str, Alternatives]
    written: Sequence[str]
    left: Sequence[str]

    @property
    def open(self) -> list[str]:
        """
        Needed names that are not certain.
        """
        return self.look.naming.open if self.look.naming else []

    @property
    def closed(self) -> list[str]:
        """
        Needed tables that may not be read.
        """
        return self.look.naming.closed if self.look.naming else []


def _report(done: _Done, invocation: Invocation, started_at: datetime, fail_on: FailOn) -> Report:
    naming = done.look.naming
    return Report(
        command="init",
        version=__version__,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        window=None,
        exit_code=_exit_code(done, fail_on),
        exit_reason=_reason(done),
        summary={
            "tables_found": len(naming.matches) if naming else 0,
            "names_mapped": len(naming.renamed) if naming and naming.sure else 0,
            "names_open": len(done.open),
            "variables_missing": len(done.missing),
        },
        coverage=_coverage(done),
        skipped=_skipped(done),
        next_steps=[invocation.again(words) for words in _next_commands(done)],
    )


def _next_commands(done: _Done) -> list[str]:
    """
    What to run when everything is decided, granted and set: first what tells whether it is.
    """
    if done.look.naming is None:
        return ["init"]
    decided = ["check-schema"] if done.open or done.closed else []
    return [*(["check-env"] if done.missing else []), *decided, "reconcile"]


def _exit_code(done: _Done, fail_on: FailOn) -> ExitCode:
    if done.look.skipped and done.look.skipped.kind != "not-configured":
        return ExitCode.INCOMPLETE
    if done.left and not done.written:
        return ExitCode.REFUSED
    work = bool(done.missing or done.open or done.closed)
    return ExitCode.FINDINGS if work and fail_on is not FailOn.NEVER else ExitCode.OK


def _reason(done: _Done) -> str:
    """
    What was written first, then what is left to a person.
    """
    parts = [f"{' and '.join(done.written)} written" if done.written else "nothing was written"]
    if done.left:
        parts.append(f"there already and left: {', '.join(done.left)}")
    if done.look.skipped:
        parts.append(done.look.skipped.reason)
    if done.open:
        parts.append(f"to be decided: {', '.join(done.open)}")
    if done.closed:
        parts.append(f"to be granted: SELECT on {', '.join(done.closed)}")
    if done.missing:
        parts.append(f"to be set: {', '.join(done.missing)}")
    return "; ".join(parts)


def _coverage(done: _Done) -> dict[str, JSONValue]:
    coverage: dict[str, JSONValue] = {"written": done.written, "left": done.left}
    if done.look.place:
        coverage["database"] = done.look.place
    if done.look.naming:
        coverage["relations"] = done.look.relations
        coverage["found"] = {table: match.relation.path for table, match in done.look.naming.matches.items()}
        coverage["mapped"] = done.look.naming.renamed
    return coverage


def _skipped(done: _Done) -> list[Skipped]:
    doubts = done.look.naming.doubts if done.look.naming else ()
    return [
        *([done.look.skipped] if done.look.skipped else []),
        *(Skipped(check=doubt.subject, kind="not-configured", reason=doubt.why) for doubt in doubts),
        *(Skipped(check=name, kind="not-configured", reason=_unset(groups)) for name, groups in done.missing.items()),
    ]


def _unset(alternatives: Alternatives) -> str:
    others = [" and ".join(names) for names in alternatives[1:]]
    return f"it is missing or empty; set it{''.join(f', or {other}' for other in others)}"
