"""
Twilio's message log copied into a file, a day at a time: what has come stays when the rest does not.

Until all of it is there the days lie beside the file, in a directory that only we may read. The same command goes on where it
was; the file itself appears whole, or not at all.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct, field

from booking_doctor.adapters.twilio import TwilioLog
from booking_doctor.adapters.twilio_formats import Heading, LoggedMessage, first_line, iso_date
from booking_doctor.core.model import iso
from booking_doctor.errors import PlanRefused, TwilioUnreachable, UsageError
from booking_doctor.evidence import Fetched, Page, Unread
from booking_doctor.findings import Window


class _State(msgspec.Struct, kw_only=True):
    """
    How far a copy is.

    Attributes:
        asked: The window as it was typed; whoever types the same goes on with the same.
        days: Those that are whole, by their messages.
    """

    heading: Heading
    asked: str
    days: dict[str, int] = msgspec.field(default_factory=dict)


_STATE: Final = "state.json"
_ISO: Final = "%Y-%m-%dT%H:%M:%SZ"
_encode: Final = msgspec.json.Encoder().encode


def copy_log(log: TwilioLog, output: Path, heading: Heading, asked: str) -> Fetched:
    """
    Copy the log into the file, or as much as comes of it beside the file.

    Args:
        log: That gives `LoggedMessage`s.
        heading: Whose log it is and which part; of a copy that is gone on with, the part it was begun with.
        asked: The window as it was typed.

    Raises:
        PlanRefused: What lies beside the file is of another account or window, or somebody else is copying there.
        UsageError: It could not be written.
    """
    output = Path(os.path.realpath(output))
    if output.exists() and not output.is_file():
        message = f"--output {output} is no file"
        raise UsageError(message, hint="name a file, which may be there already or not")
    try:
        with _begun(output, heading, asked) as copy:
            heading = copy.state.heading
            begun = {"begun_at": iso(heading.fetched_at)} if copy.state.days else {}
            unread = list(copy.take(log))
            size = {} if unread else {"bytes": copy.finish(log)}
            return Fetched(
                window=Window(heading.since, heading.until),
                messages=sum(copy.state.days.values()) + len(copy.undated),
                unread=unread,
                coverage={**log.coverage(), "days": len(copy.state.days), **begun, **size},
            )
    except OSError as error:
        message = f"--output {output} could not be written: {error.strerror}"
        raise UsageError(message, hint="what has come is kept beside it: run the same command again") from error


@contextmanager
def _begun(output: Path, heading: Heading, asked: str) -> Iterator[_Copy]:
    """
    The copy to go on with, or a new one, for nobody else as long as the block lasts.
    """
    parts = output.with_name(f"{output.name}.partial")
    if parts.exists() and not parts.is_dir():
        message = f"refused, nothing was written: {parts} is in the way, where what has come would be kept"
        raise PlanRefused(message, hint="move it away, or name another --output")
    parts.mkdir(mode=0o700, exist_ok=True)
    with _private(parts / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"refused, nothing was written: another fetch-log is writing {output}"
            raise PlanRefused(message, hint="wait for it, or name another --output") from None
        state = _state(parts, heading, asked)
        yield _Copy(output, parts, state)


def _state(parts: Path, heading: Heading, asked: str) -> _State:
    try:
        state = msgspec.json.decode((parts / _STATE).read_bytes(), type=_State)
    except FileNotFoundError:
        return _State(heading=heading, asked=asked)
    except msgspec.DecodeError:
        state = None
    if state is None or (state.heading.account_sid, state.asked) != (heading.account_sid, asked):
        what = "something else" if state is None else f"fetch-log {state.asked}, of another account or window"
        message = f"refused, nothing was written: {parts} was begun by {what}"
        raise PlanRefused(message, hint="give the same options to go on with it, or remove it to begin anew")
    return state


class _Copy(Struct):
    """
    A copy that is under way.

    Attributes:
        parts: Where its days lie, packed.
        writing: The days that are not yet whole.
        undated: Messages that have no date yet, by SID.
        flawed: Days of which the log gave what was not asked for.
    """

    output: Path
    parts: Path
    state: _State
    writing: dict[date, BinaryIO] = field(default_factory=dict)
    counts: Counter[date] = field(default_factory=Counter)
    undated: dict[str, LoggedMessage] = field(default_factory=dict)
    flawed: dict[date, TwilioUnreachable] = field(default_factory=dict)

    def take(self, log: TwilioLog) -> Iterator[Unread]:
        """
        Write what comes of the days that are missing; what did not come is given.
        """
        self._save()
        window = Window(self.state.heading.since, self.state.heading.until)
        done = set(map(date.fromisoformat, self.state.days))
        try:
            for page in log.pages(window, without=done):
                yield from [page] if isinstance(page, Unread) else self._take(page)
        finally:
            for file in self.writing.values():
                file.close()

    def _take(self, page: Page) -> Iterator[Unread]:
        if page.day is None:
            undated = [message for message in _in_iso(page) if message.date_sent is None]
            self.undated |= {message.sid: message for message in undated if self._is_within(message.date_created or "")}
            return
        self._write(page, page.day)
        if page.last and page.day in self.flawed:
            yield Unread(page.day, self.flawed[page.day])
        elif page.last:
            self._close(page.day)

    def _write(self, page: Page, day: date) -> None:
        if day not in self.writing:
            self.writing[day] = _private(self.parts / f"{day}.new")
        messages = [message for message in _in_iso(page) if self._belongs(message, day)]
        for message in messages:
            self.undated.pop(message.sid, None)  # it has a date by now
        self.counts[day] += len(messages)
        self.writing[day].write(gzip.compress(_lines(messages), mtime=0))

    def _belongs(self, message: LoggedMessage, day: date) -> bool:
        """
        Whether the message is of the day and the window. The next midnight may come along; anything else must not.
        """
        at = message.date_sent or message.date_created or ""
        if not at.startswith(str(day)):
            if at != f"{day + timedelta(days=1)}T00:00:00Z" and at[:4].isdecimal():
                text = f"asked for the messages of {day}, the log also gave {message.sid} of {at[:10]}"
                self.flawed[day] = TwilioUnreachable(text, hint="check TWILIO_API_BASE_URL")
            # NOTE: a date that cannot be read is kept, for whoever reads the file to be told.
            return not at[:4].isdecimal()
        return self._is_within(at)

    def _is_within(self, at: str) -> bool:
        heading = self.state.heading
        return f"{heading.since:{_ISO}}" <= at < f"{heading.until:{_ISO}}"

    def _close(self, day: date) -> None:
        """
        The day is whole.
        """
        with self.writing.pop(day) as file:
            file.flush()
            os.fsync(file.fileno())
        self._rename(f"{day}.new", f"{day}.gz")
        self.state.days[str(day)] = self.counts[day]
        self._save()

    def finish(self, log: TwilioLog) -> int:
        """
        Put the file together, and take the rest away; how many bytes it has.
        """
        heading = msgspec.structs.replace(
            self.state.heading, undated_scan_complete=bool(log.coverage()["undated_scan_complete"])
        )
        beside = self.output.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with _private(beside) as file:
                packed, beginning = (
                    self.output.name.endswith(".gz"),
                    first_line(heading) + _lines(self.undated.values()),
                )
                file.write(gzip.compress(beginning, mtime=0) if packed else beginning)
                for day in sorted(self.state.days, reverse=True):
                    path = self.parts / f"{day}.gz"
                    with path.open("rb") if packed else gzip.open(path) as part:
                        shutil.copyfileobj(part, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            beside.replace(self.output)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        shutil.rmtree(self.parts)
        return size

    def _save(self) -> None:
        with _private(self.parts / f"{_STATE}.new") as file:
            file.write(_encode(self.state))
        self._rename(f"{_STATE}.new", _STATE)

    def _rename(self, name: str, new: str) -> None:
        (self.parts / name).replace(self.parts / new)


def _private(path: Path) -> BinaryIO:
    """
    A new file for us alone: there are phone numbers in it.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _lines(messages: Iterable[LoggedMessage]) -> bytes:
    return b"".join(_encode(message) + b"\n" for message in messages)


def _in_iso(page: Page) -> Iterator[LoggedMessage]:
    for message in page.messages:
        assert isinstance(message, LoggedMessage)  # noqa: S101  the log was made to give them
        yield msgspec.structs.replace(message, **dict(_dates(message)))


def _dates(message: LoggedMessage) -> Iterator[tuple[str, str | None]]:
    for name in ("date_created", "date_sent", "date_updated"):
        text = getattr(message, name)
        with suppress(ValueError):
            yield name, text and iso_date(name, text)
