"""
Reads the variables' sources: ``.env``, ``.env.local``, files named on the command line, the process; and the settings file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from booking_doctor.errors import UsageError
from booking_doctor.evidence import VariableSource

_UTF_8: Final = "utf-8-sig"
"""With or without the mark that editors on Windows begin a file with."""


def read_variables(directory: Path, files: Sequence[Path], process: Mapping[str, str]) -> dict[str, str]:
    """
    The variables as the program is to see them: later sources win, the process environment over all.

    Raises:
        UsageError: A file is not there or is no text.
    """
    variables: dict[str, str] = {}
    for source in variable_sources(directory, files, process):
        variables |= source.values
    return variables


PROCESS: Final = "the process environment"


def variable_sources(directory: Path, files: Sequence[Path], process: Mapping[str, str]) -> tuple[VariableSource, ...]:
    """
    Where variables come from, each source as it was read; later ones win.

    Args:
        directory: Where ``.env`` and ``.env.local`` are looked for.
        files: What ``--env-file`` named, in order; each must exist. A pipe will do, such as ``<(decrypt secrets.env)``.

    Raises:
        UsageError: A file is not there or is no text.
    """
    # NOTE: a directory of that name is somebody's virtual environment.
    implied = [path for name in (".env", ".env.local") if (path := directory / name).exists() and not path.is_dir()]
    read = [source_of(path.name, _read_file(path)) for path in implied]
    named = [named_source(path) for path in files]
    return (*read, *named, VariableSource(name=PROCESS, values=dict(process)))


def named_source(path: Path, option: str = "--env-file") -> VariableSource:
    """
    The variables of a file that *option* named.

    Raises:
        UsageError: It is not there or is no text.
    """
    return source_of(str(path), _read_file(path, option), asked_for=True)


def source_of(name: str, text: str, *, asked_for: bool = False) -> VariableSource:
    """
    The variables in a file's text: as the program is to see them, and as they are written.
    """
    read = dotenv_values(stream=StringIO(_NEWLINE.sub("\n", text.removeprefix(_MARK))))
    values = {key: value for key, value in read.items() if value is not None}
    return VariableSource(name=name, values=values, written=dict(_written(text)), asked_for=asked_for)


_MARK: Final = "\ufeff"
_NEWLINE: Final = re.compile("\r\n?")
_ASSIGNMENT: Final = re.compile(
    r"\s*(?:export\s+)?'?(?P<name>[A-Za-z_]\w*)'?(?P<apart>[^\S\r\n]*)=(?P<rest>.*)", re.DOTALL
)
_COMMENT: Final = re.compile(r"\s+#.*")


def _written(text: str) -> Iterator[tuple[str, str]]:
    # NOTE: readers that know no byte order mark take it for a part of the first name.
    mark = _MARK if text.startswith(_MARK) else ""
    for binding in parse_stream(StringIO(text.removeprefix(_MARK))):
        assignment = _ASSIGNMENT.match(binding.original.string)
        if assignment and (binding.error or binding.value is not None):
            yield assignment["name"], mark + _literal(binding, assignment)
            mark = ""


def _literal(binding: Binding, assignment: re.Match[str]) -> str:
    """
    What the line holds but its form: quotes that make a string, a comment, blanks on both sides of the equals sign.
    """
    line = assignment["rest"].removesuffix("\n")
    body = line.removesuffix("\r")
    end = line[len(body) :]
    if binding.error:
        return line
    if body.lstrip()[:1] in {"'", '"'}:
        return (binding.value or "") + end
    return (_COMMENT.sub("", body.lstrip() if assignment["apart"] else body)) + end


def _read_file(path: Path, option: str = "--env-file") -> str:
    """
    The text with its carriage returns and its byte order mark.
    """
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        message = f"the environment file {path} is not there"
        raise UsageError(message, hint=f"check the path given with {option}") from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"the environment file {path} cannot be read"
        raise UsageError(message, hint="it must be readable UTF-8 text of NAME=value lines") from error


def read_preferences(directory: Path, named: Path | None) -> tuple[Mapping[str, Any], str]:
    """
    The settings document and the name of its file; an empty document where there is none.

    Args:
        named: What ``--config`` named; it must exist. Else ``booking-doctor.toml``, else ``pyproject.toml`` in
            *directory*. Of a ``pyproject.toml`` only ``[tool.booking-doctor]`` is meant.

    Raises:
        UsageError: The file is not there, or is no TOML.
    """
    own, project = directory / "booking-doctor.toml", directory / "pyproject.toml"
    path = named or next((path for path in (own, project) if path.is_file()), None)
    if path is None:
        return {}, own.name
    document = _read_toml(path)
    return (_doctors_part(document, path) if path.name == project.name else document), path.name


def _doctors_part(document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    tools = document.get("tool", {})
    part = tools.get("booking-doctor", {}) if isinstance(tools, Mapping) else tools
    if not isinstance(part, Mapping):
        message = f"the settings file {path} has a tool.booking-doctor that is no table"
        raise UsageError(message, hint="write [tool.booking-doctor] and the settings below it")
    return part


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding=_UTF_8))
    except FileNotFoundError:
        message = f"the settings file {path} is not there"
        raise UsageError(message, hint="check the path given with --config") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"the settings file {path} cannot be read as TOML"
        raise UsageError(message, hint="check its syntax near the place named with -v") from error
