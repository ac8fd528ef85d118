"""
Reads the variables' sources: ``.env``, ``.env.local``, files named on the command line, the process; and the settings file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values

from booking_doctor.errors import UsageError

_UTF_8: Final = "utf-8-sig"
"""With or without the mark that editors on Windows begin a file with."""


def read_variables(directory: Path, files: Sequence[Path], process: Mapping[str, str]) -> dict[str, str]:
    """
    The variables as the program is to see them: later sources win, the process environment over all.

    Args:
        directory: Where ``.env`` and ``.env.local`` are looked for.
        files: What ``--env-file`` named, in order; each must exist. A pipe will do, such as ``<(decrypt secrets.env)``.

    Raises:
        UsageError: A file is not there or is no text.
    """
    # NOTE: a directory of that name is somebody's virtual environment.
    implied = [path for name in (".env", ".env.local") if (path := directory / name).exists() and not path.is_dir()]
    variables: dict[str, str] = {}
    for path in [*implied, *files]:
        variables |= _read_file(path)
    return variables | dict(process)


def _read_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding=_UTF_8)
    except FileNotFoundError:
        message = f"the environment file {path} is not there"
        raise UsageError(message, hint="check the path given with --env-file") from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"the environment file {path} cannot be read"
        raise UsageError(message, hint="it must be readable UTF-8 text of NAME=value lines") from error
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


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
