"""
The standard streams: who reads them, and what is said beside a document, on stderr.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from contextlib import suppress
from typing import Any, Final

from booking_doctor.report import Canvas, visible


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


def log(verbosity: int) -> None:
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
