"""
Twilio's message log out of files, as `booking_doctor.reconcile` reads it from the API.

The files are read once, in whatever order they have, and their messages laid by the hour into a temporary database without
a name: SQLite keeps what is small in memory, the rest on the disk, and nothing of it is left behind. From there they come
back newest first. What a file cannot tell is never guessed: days that none covers, whether Twilio lacks a message.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from booking_doctor.adapters.twilio_formats import Broken, Heading, LogFile, LoggedMessage
from booking_doctor.core.model import STATUS_RANK, TwilioMessage, iso
from booking_doctor.errors import NotInFiles, SettingsError, UsageError
from booking_doctor.evidence import Page, Unread
from booking_doctor.findings import JSONValue, Progress, Silent, Window

_PAGE: Final = 1000
_WAITING: Final = 20_000
_NAMED: Final = 20
_GAPS: Final = 3
_DAY: Final = timedelta(days=1)


class _Told(Struct):
    """
    What one file says of itself.

    Attributes:
        without_currency: Messages whose price cannot be compared; a Bulk Export never says in which currency it is.
        oldest, newest: From the first day on which one of its messages happened to the last on which one was created; a
            file that goes by either date has messages of the days beside, and those it does not cover.
        last: When the last of its messages happened.
        latest: The newest date in it, of whatever: it was made then, or later.
    """

    file: LogFile
    broken: int = 0
    without_currency: int = 0
    headings: list[Heading] = msgspec.field(default_factory=list)
    oldest: str | None = None
    newest: str = ""
    last: str = ""
    latest: str = ""

    def saw(self, messages: Sequence[LoggedMessage]) -> None:
        happened = [message.date_sent or message.date_created or "" for message in messages]
        created = [message.date_created or message.date_sent or "" for message in messages]
        self.without_currency += sum(message.price is not None and message.price_unit is None for message in messages)
        self.oldest = min(self.oldest or "9", *happened)
        self.newest = max(self.newest, *created)
        self.last = max(self.last, *happened)
        updated = [message.date_updated or "" for message in messages]
        self.latest = max(self.latest, self.last, *updated)

    def spans(self, now: datetime) -> list[Window]:
        """
        What it covers. A heading says it, and a Bulk Export has whole days, all of them over; of another file nobody says
        how much more than its messages it was to hold.
        """
        if self.headings:
            return [Window(heading.since, heading.until) for heading in self.headings]
        if self.oldest is None:
            return []
        oldest, newest, last = map(datetime.fromisoformat, (self.oldest, self.newest, self.last))
        if self.file.format == "bulk-export" and _midnight(newest.date()) + _DAY <= now:
            return [Window(_midnight(oldest.date()), _midnight(newest.date()) + _DAY)]
        return [Window(oldest, last + timedelta(seconds=1))]

    @property
    def made_at(self) -> datetime | None:
        """
        When it was made, or some time before.
        """
        if self.headings:
            return min(heading.fetched_at for heading in self.headings)
        return datetime.fromisoformat(self.latest) if self.latest else None

    def in_words(self, now: datetime) -> str:
        """
        Which file, of which form, how much is in it, and what it covers.
        """
        broken = [f"{self.broken:,} broken"] if self.broken else []
        covers = [_span(span) for span in self.spans(now)] or ["of no time"]
        return ", ".join([f"{self.file.path.name}: {self.file.format}", f"{self.file.lines:,} lines", *broken, *covers])


@dataclass(slots=True)
class _Spool:
    """
    Messages by whether they have a `date_sent`, and by the hour; several snapshots of one may be among them.
    """

    database: sqlite3.Connection = field(
        default_factory=lambda: sqlite3.connect("", isolation_level=None, check_same_thread=False)
    )
    waiting: dict[tuple[bool, str], list[LoggedMessage]] = field(default_factory=lambda: defaultdict(list))
    number: int = 0

    def __post_init__(self) -> None:
        for statement in _SPOOL:
            self.database.execute(statement)

    def lay(self, messages: Sequence[LoggedMessage]) -> None:
        sent = [message.date_sent for message in messages if message.date_sent]
        if len(sent) == len(messages) and min(sent)[:_HOUR] == max(sent)[:_HOUR]:
            self.waiting[True, sent[0][:_HOUR]].extend(messages)
        else:
            for message in messages:
                at = message.date_sent or message.date_created or ""
                self.waiting[message.date_sent is not None, at[:_HOUR]].append(message)
        self.number += len(messages)
        if self.number >= _WAITING:
            self.flush()

    def flush(self) -> None:
        laid = ((*key, _encode(messages)) for key, messages in self.waiting.items())
        self.database.executemany("INSERT INTO spool VALUES (?, ?, ?)", laid)
        self.waiting.clear()
        self.number = 0

    def hours(self, *, dated: bool, since: str = "", until: str = "~") -> list[str]:
        """
        The hours from *since* to before *until* that have any, newest first.
        """
        question = "SELECT DISTINCT hour FROM spool WHERE dated = ? AND hour >= ? AND hour < ? ORDER BY hour DESC"
        return [hour for (hour,) in self.database.execute(question, (dated, since, until))]

    def of_hour(self, hour: str, *, dated: bool) -> tuple[list[LoggedMessage], int]:
        """
        The hour's messages as the newest snapshots have them, newest first; and how many older snapshots there were.
        """
        question = "SELECT messages FROM spool WHERE dated = ? AND hour = ?"
        laid = [m for (blob,) in self.database.execute(question, (dated, hour)) for m in _decode(blob)]
        by_sid = {message.sid: message for message in laid}
        if len(by_sid) < len(laid):
            for message in laid:
                by_sid[message.sid] = newer(by_sid[message.sid], message)
        newest_first = sorted(by_sid.values(), key=attrgetter("date_sent" if dated else "date_created"), reverse=True)
        return newest_first, len(laid) - len(by_sid)


_SPOOL: Final = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA cache_size = -32768",
    "CREATE TABLE spool (dated INTEGER, hour TEXT, messages BLOB)",
    "CREATE INDEX by_hour ON spool (dated, hour)",
)
_HOUR: Final = len("2026-11-22T10")
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[LoggedMessage]).decode


def newer(one: LoggedMessage, other: LoggedMessage) -> LoggedMessage:
    """
    Which of two snapshots of a message tells the later truth: by when it was updated, where both say so, then by how far
    along it is; of equal ones, that which says more.
    """
    if one.date_updated and other.date_updated and one.date_updated != other.date_updated:
        return max(one, other, key=lambda message: message.date_updated or "")
    return max(one, other, key=lambda message: (STATUS_RANK.get(message.status, -1), _said(message)))


def _said(message: LoggedMessage) -> int:
    return sum(value is not None for value in msgspec.structs.astuple(message))


class TwilioFiles:
    """
    The log of one account out of files.

    Args:
        account_sid: Whose log it must be; None for whoever's it is.
        now: When the files are read.

    Raises:
        UsageError: A file cannot be read, is no message log, or another account's.
    """

    def __init__(
        self, paths: Sequence[Path], *, account_sid: str | None, now: datetime, progress: Progress | None = None
    ) -> None:
        self._account_sid = account_sid
        self._now = now
        self._progress = progress or Silent()
        self._spool = _Spool()
        self._broken: list[tuple[Path, Broken]] = []
        self._merged: dict[tuple[bool, str], int] = {}
        try:
            self._told = list(self._read_all(list(dict.fromkeys(paths))))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """
        Forget what was read.
        """
        self._spool.database.close()

    # reading

    def _read_all(self, paths: Sequence[Path]) -> Iterator[_Told]:
        sizes = list(map(_size, paths))
        try:
            for path, before in zip(paths, accumulate(sizes, initial=0), strict=False):
                yield self._read(path, partial(self._get_on, before, sum(sizes)))
            self._spool.flush()
        except sqlite3.Error as error:
            message = f"what was read could not be kept: {error}"
            raise UsageError(message, hint="make room, or set TMPDIR to a directory that has some") from error
        self._get_on(sum(sizes), sum(sizes), 0)

    def _get_on(self, before: int, total: int, done: int) -> None:
        self._progress.read(before + done, total)

    def _read(self, path: Path, position: Callable[[int], None]) -> _Told:
        file = LogFile(path)
        told = _Told(file)
        for read in file.read(position):
            if isinstance(read, Broken):
                told.broken += 1
                self._broken.append((path, read))
            elif isinstance(read, Heading):
                told.headings.append(read)
                self._belongs({read.account_sid}, path)
            elif read:
                told.saw(read)
                self._belongs({message.account_sid for message in read}, path)
                self._spool.lay(read)
        return told

    def _belongs(self, accounts: set[str | None], path: Path) -> None:
        for account_sid in accounts - {None, self._account_sid}:
            if self._account_sid is not None:
                expected = _masked(self._account_sid)
                message = f"--twilio-log {path} is the log of account {_masked(account_sid)}, not of {expected}"
                raise UsageError(message, hint="check TWILIO_ACCOUNT_SID, or give the files of one account only")
            self._account_sid = account_sid

    # what they tell

    @property
    def account_sid(self) -> str:
        """
        Whose log it is.

        Raises:
            SettingsError: Neither the files nor a variable says.
        """
        if self._account_sid is None:
            message = "TWILIO_ACCOUNT_SID is missing, and the files do not say whose log they are"
            raise SettingsError(message, hint="set it to the account that the files are of")
        return self._account_sid

    @property
    def as_of(self) -> datetime | None:
        """
        Since when something may have become of the messages that the files do not tell.
        """
        return min((told.made_at for told in self._told if told.made_at), default=None)

    @property
    def until(self) -> datetime | None:
        """
        Where they end; None where they cover nothing.
        """
        return max((span.until for told in self._told for span in told.spans(self._now)), default=None)

    def told_of(self, senders: frozenset[str]) -> frozenset[str]:
        """
        The same senders, which the files tell from others.

        Raises:
            SettingsError: They do not.
        """
        csv = any(told.file.format == "console-csv" for told in self._told)
        if csv and senders and all(sender.startswith("MG") for sender in senders):
            message = "the Console's CSV does not say through which messaging service a message went"
            raise SettingsError(message, hint="set TWILIO_PHONE_NUMBER too, or compare all with --all-senders")
        return senders

    def coverage(self) -> Mapping[str, JSONValue]:
        """
        Which files were read, what each covers, and that Twilio was not asked.
        """
        return {
            "twilio": "not asked",
            "log_files": [told.in_words(self._now) for told in self._told],
            "log_made_at": iso(self.as_of) if self.as_of else None,
            "log_lines": sum(told.file.lines for told in self._told),
            "broken_lines": sum(told.broken for told in self._told),
            "prices_without_currency": sum(told.without_currency for told in self._told),
            "undated_scan_complete": all(
                heading.undated_scan_complete for told in self._told for heading in told.headings
            ),
            "snapshots_merged": sum(self._merged.values()),
        }

    def pages(self, window: Window) -> Iterator[Page | Unread]:
        """
        The messages without a date, then every day of the window, newest first; what no file covers is unread.
        """
        yield from self._unread_lines()
        yield from self._undated(window)
        days, gaps = _days(window), self._gaps(window)
        self._progress.days(len(days))
        for day in days:
            yield from self._of_day(day, gaps)
            self._progress.day_done()

    def _unread_lines(self) -> Iterator[Unread]:
        for path, broken in self._broken[:_NAMED]:
            yield Unread(None, NotInFiles(broken.reason), part=f"line {broken.line:,} of {path.name}")
        if more := self._broken[_NAMED:]:
            yield Unread(None, NotInFiles("they cannot be read"), part=f"{len(more):,} more lines")

    def _undated(self, window: Window) -> Iterator[Page]:
        """
        One that has got its date after the window is none of them.
        """
        since, until = _hour(window.since), _hour(window.until + timedelta(hours=1))
        undated = [
            message
            for hour in self._spool.hours(dated=False, since=since, until=until)
            for message in self._of_hour(hour, dated=False)
        ]
        later = self._spool.hours(dated=True, since=_hour(window.until)) if undated else []
        dated = {message.sid for message in self._found({message.sid for message in undated}, later)}
        yield Page(None, [message for message in undated if message.sid not in dated], last=True)

    def _of_day(self, day: date, gaps: Sequence[Window]) -> Iterator[Page | Unread]:
        start, end = _midnight(day), _midnight(day) + _DAY
        for hour in self._spool.hours(dated=True, since=_hour(start), until=_hour(end)):
            messages = self._of_hour(hour, dated=True)
            for first in range(0, len(messages), _PAGE):
                page = messages[first : first + _PAGE]
                self._progress.page(len(page))
                yield Page(day, page, last=False)
        if any(gap.since < end and start < gap.until for gap in gaps):
            yield Unread(day, NotInFiles(_no_file(gaps), hint=_ADD))
        else:
            yield Page(day, [], last=True)

    def _of_hour(self, hour: str, *, dated: bool) -> list[LoggedMessage]:
        """
        The hour's messages, with dates as the API writes them.
        """
        messages, merged = self._spool.of_hour(hour, dated=dated)
        self._merged[dated, hour] = merged
        written = format_datetime(datetime.fromisoformat(f"{hour}:00:00+00:00"))
        name, other, prefix = "date_sent", "date_created", written.removesuffix(":00:00 +0000")
        name, other = (name, other) if dated else (other, name)
        for message in messages:
            # NOTE: they are frozen for others; nobody has seen these yet, and making them anew would take three times as long.
            rest = getattr(message, name)[_HOUR:].removesuffix("Z")
            msgspec.structs.force_setattr(message, name, f"{prefix}{rest} +0000")
            msgspec.structs.force_setattr(message, other, None)
        return messages

    def _gaps(self, window: Window) -> list[Window]:
        """
        What of the window no file covers.
        """
        spans = [span for told in self._told for span in told.spans(self._now)]
        gaps, at = [], window.since
        for span in sorted(spans, key=attrgetter("since")):
            if at < min(span.since, window.until):
                gaps.append(Window(at, min(span.since, window.until)))
            at = max(at, span.until)
        return [*gaps, Window(at, window.until)] if at < window.until else gaps

    # single messages

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Those messages that the files hold.

        Raises:
            NotInFiles: They do not hold all; whether Twilio does, they cannot tell.
        """
        wanted = set(sids)
        for dated in (True, False):
            for message in self._found(wanted, self._spool.hours(dated=dated), dated=dated):
                if message.sid in wanted:
                    wanted.remove(message.sid)
                    yield message.sid, message
        if wanted:
            are, them = ("SID is", "it") if len(wanted) == 1 else ("SIDs are", "them")
            words = f"{len(wanted):,} {are} not in the files, which cannot tell whether Twilio has {them}"
            raise NotInFiles(words, hint="run it without --twilio-log to have Twilio asked")

    def _found(self, sids: set[str], hours: Iterable[str], *, dated: bool = True) -> Iterator[LoggedMessage]:
        missing = set(sids)
        for hour in hours:
            if not missing:
                return
            for message in self._of_hour(hour, dated=dated):
                if message.sid in missing:
                    missing.remove(message.sid)
                    yield message


_ADD: Final = "add one that does, or choose --since and --until within"


def _no_file(gaps: Sequence[Window]) -> str:
    more = [f"and {len(gaps) - _GAPS} spans more"] if len(gaps) > _GAPS else []
    return f"no file covers {', '.join([*map(_span, gaps[:_GAPS]), *more])}"


def _span(span: Window) -> str:
    return f"{span.since:%F %T} to {span.until:%F %T} UTC"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _days(window: Window) -> list[date]:
    last = (window.until - timedelta(microseconds=1)).date()
    return [last - timedelta(days=back) for back in range((last - window.since.date()).days + 1)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _hour(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H}"


def _masked(account_sid: str | None) -> str:
    return f"{(account_sid or '')[:2]}…{(account_sid or '')[-4:]}"
