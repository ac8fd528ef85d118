"""
What is remembered between runs, in a file of its own: fingerprints and when each was first seen, and no evidence.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.errors import UsageError
from booking_doctor.sightings import Memory

_AFRESH: Final = "name another file, or delete it to start afresh: everything then counts as new"


class _Contents(Struct, frozen=True, kw_only=True):
    """
    The whole file.

    Attributes:
        memories: By what they are about.
    """

    schema: Literal[1]
    tool: Literal["booking-doctor"]
    memories: dict[str, Memory]


_EMPTY: Final = _Contents(schema=1, tool="booking-doctor", memories={})


class StateFile:
    """
    The file, which need not be there yet.

    Raises:
        UsageError: There is one that is not such a file, or one cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))
        self._name = f"--state {path}"
        self._read()
        if not (self._path.parent.is_dir() and os.access(self._path.parent, os.W_OK)):
            message = f"{self._name}: there is no such directory, or no permission to write there"
            raise UsageError(message)

    def recall(self, about: str) -> Memory:
        """
        What is remembered; nothing at all before the first time.
        """
        return self._read().memories.get(about, Memory())

    def keep(self, about: str, memory: Memory) -> None:
        """
        Remember this, and whatever else is in the file.

        Raises:
            UsageError: It could not be written; the file is as it was.
        """
        try:
            with _alone(self._path.parent):
                before = self._read()
                contents = replace(before, memories={**before.memories, about: memory})
                replace_privately(
                    self._path, msgspec.json.format(msgspec.json.encode(contents, order="sorted")) + b"\n"
                )
        except OSError as error:
            message = f"{self._name} could not be written: {error.strerror}"
            raise UsageError(message, hint="the next run will compare with an older one") from error

    def _read(self) -> _Contents:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return _EMPTY
        except OSError as error:
            message = f"{self._name} cannot be read: {error.strerror}"
            raise UsageError(message) from error
        try:
            return msgspec.json.decode(data, type=_Contents)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # NOTE: the cause is left out, because it quotes what may be another program's file.
            message = f"{self._name} is not a state file of this version of booking-doctor, or it is damaged"
            raise UsageError(message, hint=_AFRESH) from None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """
    While nobody else who asks for it changes a file there: two commands may remember in one file.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_privately(path: Path, data: bytes) -> None:
    """
    Put a file there that only its owner may read, whole or not at all.

    Raises:
        OSError: It could not be written.
    """
    # NOTE: mkstemp makes the file with mode 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".booking-doctor-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
