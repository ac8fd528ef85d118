"""
What a message log looks like in a file: Twilio's Bulk Export, the Console's CSV, and the API's JSON, told apart by content.

A line that cannot be read is told and does not stop the others; a file that cannot be gone on with is refused.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from booking_doctor.core.model import TwilioMessage
from booking_doctor.errors import UsageError


class LoggedMessage(TwilioMessage, frozen=True, gc=False, omit_defaults=True):
    """
    A message as a file keeps it. Its dates are ISO 8601 in UTC, to the second, as in a Bulk Export.
    """

    account_sid: str | None = None
    date_updated: str | None = None


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """
    What ``fetch-log`` writes into a file's first line: which part of whose log the rest is, all of it.

    Attributes:
        fetched_at: When the reading began.
        undated_scan_complete: Whether messages without `date_sent` were looked for down to *since*.
    """

    account_sid: str
    since: datetime
    until: datetime
    fetched_at: datetime
    undated_scan_complete: bool = True


class _FirstLine(msgspec.Struct):
    booking_doctor: Heading


def first_line(heading: Heading) -> bytes:
    """
    The heading as a line of JSON.
    """
    return msgspec.json.encode(_FirstLine(heading)) + b"\n"


class Broken(Struct, frozen=True):
    """
    A line that cannot be read. Why not is told without what it holds.
    """

    line: int
    reason: str


Read: TypeAlias = "list[LoggedMessage] | Broken | Heading"

Format: TypeAlias = Literal["bulk-export", "fetch-log", "console-csv", "api-json"]

_BLOCK: Final = 1 << 20


class LogFile(Struct):
    """
    A file that is read once, from its beginning to its end.

    Attributes:
        format: Known once reading has begun.
        lines: So many were read so far; of JSON that is not in lines, messages.
    """

    path: Path
    format: Format = "bulk-export"
    lines: int = 0

    def read(self, position: Callable[[int], None] = lambda _: None) -> Iterator[Read]:
        """
        All that is in it, in its order.

        Args:
            position: Told now and then how many bytes of the file are read.

        Raises:
            UsageError: It cannot be opened, is no message log, or cannot be read to its end.
        """
        try:
            with self.path.open("rb") as file:
                packed = file.peek(2)[:2] == b"\x1f\x8b"
                content: Any = gzip.GzipFile(fileobj=file) if packed else file
                yield from self._understood(self._blocks(content, file, position))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._refused(
                that=f"is damaged or cut off after line {self.lines:,}", hint="get it again, whole"
            ) from error
        except UnicodeDecodeError as error:
            raise self._refused(that="is not written in UTF-8") from error
        except RecursionError as error:
            raise self._refused(that="is no message log") from error
        except OSError as error:
            raise self._refused(that=f"cannot be read: {error.strerror}") from error

    def _refused(self, *, that: str, hint: str | None = None) -> UsageError:
        return UsageError(f"--twilio-log {self.path} {that}", hint=hint or _KNOWN)

    def _blocks(self, content: BinaryIO, file: BinaryIO, position: Callable[[int], None]) -> Iterator[bytes]:
        for block in iter(partial(content.read, _BLOCK), b""):
            yield block
            if file.seekable():
                position(file.tell())

    def _understood(self, blocks: Iterator[bytes]) -> Iterator[Read]:
        first = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
        beginning, blocks = first.lstrip()[:1], chain([first], blocks)
        if not beginning:
            raise self._refused(that="is empty")
        if beginning not in {b"[", b"{"}:
            return self._csv(_text_lines(blocks))
        record = _first_record(first)
        if record is None:
            return self._documents(blocks)
        self.format = _format_of(record)
        return self._json_lines(blocks)

    # JSON, a message on each line

    def _json_lines(self, blocks: Iterator[bytes]) -> Iterator[Read]:
        rest = b""
        for block in blocks:
            text = rest + block
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            yield from self._of_lines(text[:end])
        yield from self._of_lines(rest)

    def _of_lines(self, text: bytes) -> Iterator[Read]:
        """
        What is on whole lines: all at once where they are as a Bulk Export has them.
        """
        try:
            messages = _decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield from self._one_by_one(text.removesuffix(b"\n").split(b"\n"))
            return
        if not _all_iso(messages):
            yield from self._one_by_one(text.removesuffix(b"\n").split(b"\n"))
            return
        self.lines += text.count(b"\n") + (text[-1:] not in {b"", b"\n"})
        yield messages

    def _one_by_one(self, lines: Sequence[bytes]) -> Iterator[Read]:
        for line in lines:
            self.lines += 1
            if line.strip():
                yield self._told(line)

    def _told(self, line: bytes) -> Read:
        try:
            fields = msgspec.json.decode(line)
            if isinstance(fields, dict) and "booking_doctor" in fields:
                return msgspec.convert(fields, _FirstLine).booking_doctor
        except msgspec.ValidationError:
            return Broken(self.lines, "its heading was not written by this version")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Broken(self.lines, "it is no JSON")
        return _message(fields, self.lines)

    # JSON of any other form: pages, lists, indented

    def _documents(self, blocks: Iterator[bytes]) -> Iterator[Read]:
        """
        A message on its own, of a list or of a page, however they are put together; no more is kept than one document.
        """
        self.format = "api-json"
        decode, scan = codecs.getincrementaldecoder("utf-8")().decode, json.JSONDecoder().raw_decode
        text = ""
        for block in blocks:
            text += decode(block)
            at = _next(text, 0)
            while at < len(text):
                try:
                    document, end = scan(text, at)
                except json.JSONDecodeError:
                    break
                yield from self._of_document(document)
                at = _next(text, end)
            text = text[at:]
        if text:
            raise self._refused(that=f"is cut off, or no JSON, after message {self.lines:,}")

    def _of_document(self, document: Any) -> Iterator[Read]:  # noqa: ANN401  whatever JSON holds
        page = document.get("messages") if isinstance(document, dict) else None
        for fields in page if isinstance(page, list) else [document]:
            self.lines += 1
            yield _message(fields, self.lines)

    # CSV

    def _csv(self, lines: Iterator[str]) -> Iterator[Read]:
        self.format = "console-csv"
        reader = csv.reader(lines, strict=True)
        header = self._header(reader)
        for row in _rows(reader):
            self.lines = reader.line_num
            if len(row) == len(header):
                yield _message({name: text for name, text in zip(header, row, strict=True) if name}, self.lines)
            else:
                yield Broken(self.lines, f"it has not the {len(header)} fields of the header")

    def _header(self, reader: Any) -> list[str | None]:  # noqa: ANN401  csv has no name for it
        try:
            named = [re.sub("[^a-z]", "", name.lower()) for name in next(reader, [])]
        except csv.Error:
            named = []
        header = [_COLUMNS.get(name) for name in named]
        if "sid" not in header and len(header) < 3:
            raise self._refused(that="is neither JSON nor a CSV of messages")
        missing = [name for name in _NEEDED if _COLUMNS[name.lower()] not in header]
        if missing:
            raise self._refused(that=f"is a CSV without {', '.join(missing)} in its header")
        return header


_KNOWN: Final = (
    "give a Bulk Export, the Console's CSV, JSON from the API, or what `booking-doctor fetch-log` has written"
)

_NEEDED: Final = ("From", "To", "Status", "SentDate", "Sid", "Direction")
_COLUMNS: Final = {
    "from": "from",
    "to": "to",
    "body": "body",
    "status": "status",
    "sentdate": "date_sent",
    "datesent": "date_sent",
    "numsegments": "num_segments",
    "errorcode": "error_code",
    "accountsid": "account_sid",
    "sid": "sid",
    "direction": "direction",
    "price": "price",
    "priceunit": "price_unit",
}
"""The CSV's columns, in small letters, by the API's names. Their order is not always the same, nor are they always all there."""


def _rows(reader: Any) -> Iterator[list[str]]:  # noqa: ANN401  csv has no name for it
    """
    The rows that are not blank; an empty one for what is none.
    """
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            row = [""]
        if row is None:
            return
        if row:
            yield row


def _text_lines(blocks: Iterator[bytes]) -> Iterator[str]:
    decode, rest = codecs.getincrementaldecoder("utf-8")().decode, ""
    for block in blocks:
        *lines, rest = (rest + decode(block)).split("\n")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest


_decode_lines: Final = msgspec.json.Decoder(LoggedMessage).decode_lines


def _first_record(first: bytes) -> dict[str, Any] | None:
    """
    The first message or heading that stands on a line by itself; None where the first lines have none.
    """
    for line in first.split(b"\n", 20)[:20]:
        try:
            fields = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(fields, dict) and ("sid" in fields or "booking_doctor" in fields):
            return fields
    return None


def _format_of(record: Mapping[str, Any]) -> Format:
    if "booking_doctor" in record:
        return "fetch-log"
    return "bulk-export" if _ISO.fullmatch(str(record.get("date_created"))) else "api-json"


_BETWEEN: Final = re.compile(r"[\s,\[\]]*")


def _next(text: str, at: int) -> int:
    """
    Where the next document begins: what stands around those of a list says nothing.
    """
    between = _BETWEEN.match(text, at)
    return between.end() if between else at


# --- a message -------------------------------------------------------------------------------------------------------


def _message(fields: object, line: int) -> Read:
    try:
        return [message_of(fields)] if isinstance(fields, dict) else Broken(line, "it is no message")
    except ValueError as error:
        return Broken(line, str(error))


def message_of(fields: Mapping[str, Any]) -> LoggedMessage:
    """
    A message of values by their names in the API, be they text or numbers; "" says nothing, nor does an error code 0.

    Raises:
        ValueError: It lacks what it needs, or something cannot be read; the text says what, as half a sentence about it.
    """
    values = {name: _text(name, fields[name]) for name in _WIRE_NAMES if not _says_nothing(fields.get(name))}
    missing = next((name for name in ("sid", "status", "direction") if name not in values), None)
    if missing:
        message = f"its {missing} is missing"
        raise ValueError(message)
    if not ("date_sent" in values or "date_created" in values):
        message = "it has no date"
        raise ValueError(message)
    for name in values.keys() & {"date_sent", "date_created", "date_updated"}:
        values[name] = iso_date(name, values[name])
    code = values.pop("error_code", "0")
    if not code.isdecimal():
        message = "its error_code is no number"
        raise ValueError(message)
    return msgspec.convert({**values, "error_code": int(code) or None}, LoggedMessage)


def _says_nothing(value: object) -> bool:
    return value is None or value == ""


_WIRE_NAMES: Final = tuple(field.encode_name for field in msgspec.structs.fields(LoggedMessage))


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        message = f"its {name} is neither text nor a number"
        raise ValueError(message)  # noqa: TRY004  a fault of the file
    text = str(value)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        message = f"its {name} holds half a character"
        raise ValueError(message)
    if name == "body":
        return text
    return text.strip().lower() if name in {"status", "direction"} else text.strip()


_ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)? ?(Z|[A-Z]{2,4}|[+-]\d\d:?\d\d)?", re.IGNORECASE
)


@lru_cache(maxsize=4096)
def iso_date(name: str, text: str) -> str:
    """
    A date as a Bulk Export writes it, of one as the API or the Console does: RFC 2822, or ISO 8601 with a zone.

    Raises:
        ValueError: It is none, or has no zone.
    """
    written = _ISO.fullmatch(text)
    try:
        if written:
            day, clock, zone = written.groups()
            text = f"{date.fromisoformat(day):%d} {_MONTHS[int(day[5:7]) - 1]} {day[:4]} {clock} {_offset(zone or '')}"
        moment = parsedate_to_datetime(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (TypeError, ValueError, OverflowError):
        message = f"its {name} is no date"
        raise ValueError(message) from None
    if moment.tzinfo is None:
        message = f"its {name} has no time zone"
        raise ValueError(message)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _offset(zone: str) -> str:
    return "+0000" if zone.upper() in {"Z", "UTC", "GMT"} else zone.replace(":", "").upper()


_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ")
_HOUR: Final = len("2026-11-22T10")


def _all_iso(messages: Sequence[LoggedMessage]) -> bool:
    """
    Whether all have dates as `iso_date` gives them. Where the first and the last are of one hour, so are all between them;
    what is wrong with their minutes is told of the message later. The other dates only say what the file covers.
    """
    if not messages:
        return True
    happened = [message.date_sent or message.date_created or "" for message in messages]
    created = [message.date_created or message.date_sent or "" for message in messages]
    ends = {min(happened), max(happened), min(created), max(created)}
    if not all(map(_is_date, ends)):
        return False
    hours = {end[:_HOUR] for end in (min(happened), max(happened))}
    return set(map(len, happened)) == {20} if len(hours) == 1 else all(map(_is_date, happened))


@lru_cache(maxsize=4096)
def _is_day(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    return _ISO_DATE.fullmatch(text) is not None and _is_day(text[:10])
