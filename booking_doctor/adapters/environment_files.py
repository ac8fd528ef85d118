"""
Reads the variables' sources: ``.env``, ``.env.local``, files named on the command line, the process; and the settings file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from booking_doctor.errors import UsageError


def read_variables(directory: Path, files: Sequence[Path], process: Mapping[str, str]) -> dict[str, str]:
    """
    The variables as the program is to see them: later sources win, the process environment over all.

    Args:
        directory: Where ``.env`` and ``.env.local`` are looked for.
        files: What ``--env-file`` named, in order; each must exist.

    Raises:
        UsageError: A file is not there or is no text.
    """
    implied = [path for name in (".env", ".env.local") if (path := directory / name).is_file()]
    variables: dict[str, str] = {}
    for path in [*implied, *files]:
        variables |= _read_file(path)
    return variables | dict(process)


def _read_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        message = f"the environment file {path} is not there"
        raise UsageError(message, hint="check the path given with --env-file")
    try:
        return {name: value for name, value in dotenv_values(path, encoding="utf-8-sig").items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        message = f"the environment file {path} cannot be read"
        raise UsageError(message, hint="it must be readable UTF-8 text of NAME=value lines") from error


def read_preferences(directory: Path, named: Path | None) -> tuple[Mapping[str, Any], str]:
    """
    The settings document and the name of its file; an empty document where there is none.

    Args:
        named: What ``--config`` named; it must exist. Else ``booking-doctor.toml``, else ``[tool.booking-doctor]`` of
            ``pyproject.toml`` in *directory*.

    Raises:
        UsageError: The file is not there, or is no TOML.
    """
    own, project = directory / "booking-doctor.toml", directory / "pyproject.toml"
    if named is not None or own.is_file():
        path = named or own
        return _read_toml(path), path.name
    if project.is_file():
        return _read_toml(project).get("tool", {}).get("booking-doctor", {}), project.name
    return {}, own.name


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"the settings file {path} is not there"
        raise UsageError(message, hint="check the path given with --config") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"the settings file {path} cannot be read as TOML"
        raise UsageError(message, hint="check its syntax near the place named with -v") from error
