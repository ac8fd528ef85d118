"""
An export of a month: how fast it is read, and how fast the bare reading of the same bytes is.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from booking_doctor.adapters.twilio_files import TwilioFiles
from booking_doctor.adapters.twilio_formats import LoggedMessage
from booking_doctor.evidence import Page
from booking_doctor.findings import Window
from tests.benchmarks.world import Shape, export

_BLOCK: Final = 1 << 20


def build_export(lines: int, directory: Path) -> Path:
    """
    A Bulk Export of so many lines.
    """
    path = directory / "export.gz"
    with gzip.open(path, "wb", compresslevel=6) as file:
        file.writelines(export(Shape(messages=lines)))
    return path


def read_file(variables: Mapping[str, str]) -> dict[str, Any]:
    """
    The export read and laid out, then all its messages taken as a comparison does: newest first, merged.
    """
    start = time.perf_counter()
    files = TwilioFiles([Path(variables["FILE"])], account_sid=None, now=datetime.now(UTC))
    read = time.perf_counter() - start
    assert files.until
    pages = files.pages(Window(files.until - timedelta(days=31), files.until))
    messages = sum(len(page.messages) for page in pages if isinstance(page, Page))
    files.close()
    return {"seconds": read, "taken": time.perf_counter() - start - read, "messages": messages}


def read_file_floor(variables: Mapping[str, str]) -> dict[str, Any]:
    """
    The same file unpacked, and its lines decoded into the same kind of message; nothing is done with them.
    """
    decode = msgspec.json.Decoder(LoggedMessage).decode_lines
    start, messages, rest = time.perf_counter(), 0, b""
    with gzip.open(variables["FILE"]) as file:
        while block := file.read(_BLOCK):
            end = block.rfind(b"\n") + 1
            messages += len(decode(rest + block[:end]))
            rest = block[end:]
    return {"seconds": time.perf_counter() - start, "messages": messages}
