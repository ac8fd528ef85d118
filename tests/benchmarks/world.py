"""
A made-up month: a message log rendered page by page into one file, and the table an application would have of it.

Everything follows from the shape, so what a comparison must find is known beforehand, to the row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import groupby, islice
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import psycopg
from sqlalchemy import create_engine

from booking_doctor.adapters.tables import application_tables
from booking_doctor.adapters.twilio import PAGE_SIZE, SCAN_PAGES
from booking_doctor.findings import Window
from booking_doctor.settings import Names

ACCOUNT_SID: Final = "AC" + "0" * 32
SENDER: Final = "+15550100200"

_COLLECTION: Final = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages"
_DAYS: Final = 30
_MISMATCHED_EVERY: Final = 1000
_UNKNOWN: Final = 20
_TEXTS_A_CUSTOMER: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """
    How much there is, and how the table differs from the log.

    Attributes:
        missing_every: One in so many messages has no row.
        no_cost, half_cost: Whether `cost_usd` is null in every row, or in every second.
        no_second_sid: Whether `twilio_message_sid` is null in every row.
        clock_off: How far the table's clock is ahead of Twilio's.
        crowded: Whether nine tenths of the rows were created in one minute.
        bookings: Pending bookings, all with the SMS they defer; confirmed ones whose SMS is recorded.
    """

    messages: int
    missing_every: int = 500
    no_cost: bool = False
    half_cost: bool = False
    no_second_sid: bool = False
    clock_off: timedelta = timedelta()
    crowded: bool = False
    bookings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """
    A world that was built.

    Attributes:
        log: The file of all answers, one after the other.
        index: Where in it the answer to an address lies, as JSON: its start and its length.
        summary: What a comparison over the window must count.
    """

    log: Path
    index: Path
    window: Window
    summary: Mapping[str, int]


def newest_of(shape: Shape, window: Window, messages: int) -> Window:
    """
    The end of the window that holds so many of its messages.
    """
    *_, oldest = islice(_messages(shape, window), messages)
    return Window(oldest.sent_at, window.until)


class _Message(NamedTuple):
    number: int
    sid: str
    sent_at: datetime
    phone: str
    body: str


def build(shape: Shape, directory: Path, database_url: str) -> World:
    """
    Write the log into *directory* and the rows into the empty database.
    """
    until = datetime.combine(datetime.now(UTC) - timedelta(days=1), time(21), UTC)
    window = Window(until - timedelta(days=_DAYS), until)
    log, index = directory / "log", directory / "log.json"
    index.write_text(json.dumps(_write_log(shape, window, log)))
    recorded, unknown = _load(shape, window, database_url)
    missing, mismatched = shape.messages // shape.missing_every, shape.messages // _MISMATCHED_EVERY
    summary = {
        "twilio_messages": shape.messages,
        "recorded_messages": recorded,
        "matched": shape.messages - missing - mismatched,
        "mismatched": mismatched,
        "unrecorded": missing,
        "unknown_to_twilio": unknown,
    }
    return World(log=log, index=index, window=window, summary=summary)


def _messages(shape: Shape, window: Window) -> Iterator[_Message]:
    """
    Newest first, as the log gives them, from an hour before the window's end to an hour after its beginning.
    """
    sids, newest = Random(1), window.until - timedelta(hours=1)
    step = timedelta(days=_DAYS, hours=-2) / shape.messages
    for number in range(shape.messages):
        customer = number % _customers(shape)
        sid, sent_at = f"SM{sids.getrandbits(128):032x}", (newest - number * step).replace(microsecond=0)
        body = f"Hi! Table {number} is booked for two at seven. Please confirm: https://book.example/c/{customer:08x}"
        yield _Message(number, sid, sent_at, _phone(customer), body)


def _customers(shape: Shape) -> int:
    return shape.messages // _TEXTS_A_CUSTOMER


def _phone(customer: int) -> str:
    return f"+{15551000000 + customer}"


# --- the log ---------------------------------------------------------------------------------------------------------


def _write_log(shape: Shape, window: Window, path: Path) -> dict[str, tuple[int, int]]:
    index = {}
    with path.open("wb") as file:
        for uri, body in _pages(shape, window):
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            index[uri] = (file.tell(), file.write(head.encode() + body))
    return index


def _pages(shape: Shape, window: Window) -> Iterator[tuple[str, bytes]]:
    """
    The walk of every day, and the newest pages of the log without a filter, each under its address.
    """
    for day, messages in groupby(_messages(shape, window), key=lambda message: message.sent_at.date()):
        yield from _walk(f"DateSent={day}&", messages)
    yield from islice(_walk("", _messages(shape, window)), SCAN_PAGES)


def _walk(filters: str, messages: Iterator[_Message]) -> Iterator[tuple[str, bytes]]:
    first = f"{_COLLECTION}.json?{filters}PageSize={PAGE_SIZE}"
    uri, number, page = first, 0, list(islice(messages, PAGE_SIZE))
    while page:
        following = list(islice(messages, PAGE_SIZE))
        next_uri = f"{first}&Page={number + 1}&PageToken=PA{page[-1].sid}"
        start = number * PAGE_SIZE
        paging = {
            "end": start + len(page) - 1,
            "first_page_uri": first,
            "next_page_uri": next_uri if following else None,
            "page": number,
            "page_size": PAGE_SIZE,
            "previous_page_uri": None,
            "start": start,
            "uri": uri,
        }
        yield uri, f'{{"messages":[{",".join(map(_document, page))}],{json.dumps(paging)[1:]}'.encode()
        uri, number, page = next_uri, number + 1, following


def _document(message: _Message) -> str:
    uri, moment = f"{_COLLECTION}/{message.sid}", f"{message.sent_at:%a, %d %b %Y %H:%M:%S} +0000"
    return (
        f'{{"account_sid":"{ACCOUNT_SID}","api_version":"2010-04-01","body":"{message.body}",'
        f'"date_created":"{moment}","date_sent":"{moment}","date_updated":"{moment}","direction":"outbound-api",'
        f'"error_code":null,"error_message":null,"from":"{SENDER}","messaging_service_sid":null,"num_media":"0",'
        f'"num_segments":"1","price":"-0.00790","price_unit":"USD","sid":"{message.sid}","status":"delivered",'
        f'"subresource_uris":{{"media":"{uri}/Media.json"}},"to":"{message.phone}","uri":"{uri}.json"}}'
    )


def export(shape: Shape) -> Iterator[bytes]:
    """
    The same messages as Twilio exports them, the days before yesterday, newest first.
    """
    until = datetime.combine(datetime.now(UTC) - timedelta(days=2), time(), UTC)
    for message in _messages(shape, Window(until - timedelta(days=_DAYS), until)):
        moment = f"{message.sent_at:%Y-%m-%dT%H:%M:%SZ}"
        line = (
            f'{{"body":"{message.body}","num_segments":"1","direction":"outbound-api","from":"{SENDER}",'
            f'"date_updated":"{moment}","price":"-0.00790","error_code":null,"account_sid":"{ACCOUNT_SID}",'
            f'"to":"{message.phone}","date_created":"{moment}","status":"delivered","sid":"{message.sid}",'
            f'"date_sent":"{moment}","messaging_service_sid":null,"num_media":"0"}}\n'
        )
        yield line.encode()


# --- the table -------------------------------------------------------------------------------------------------------

_COPY_MESSAGES: Final = """
    COPY messages (customer_id, direction, message_sid, twilio_message_sid, body, status, twilio_status, from_number,
                   to_number, segments, cost_usd, created_at) FROM STDIN
"""


def _load(shape: Shape, window: Window, database_url: str) -> tuple[int, int]:
    """
    How many rows lie in the window, and how many of those have SIDs that the log lacks.
    """
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    application_tables(Names())["messages"].metadata.create_all(engine)
    engine.dispose()
    recorded = unknown = 0
    with psycopg.connect(database_url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # foreign keys hold by construction
        with cursor.copy("COPY customers (id, phone) FROM STDIN") as copy:
            for customer in range(_customers(shape)):
                copy.write(f"{_uuid(customer)}\t{_phone(customer)}\n")
        with cursor.copy(_COPY_MESSAGES) as copy:
            for message, created_at, known in _rows(shape, window):
                recorded += created_at in window
                unknown += created_at in window and not known
                copy.write(_row(shape, message, created_at))
        with cursor.copy(_COPY_BOOKINGS) as copy:
            for message in islice(_messages(shape, window), shape.bookings):
                copy.write(_booking(shape, message))
        cursor.execute("VACUUM ANALYZE")
    return recorded, unknown


_COPY_BOOKINGS: Final = """
    COPY pending_bookings (token, customer_phone, status, customer_id, metadata, created_at, expires_at) FROM STDIN
"""


def _booking(shape: Shape, message: _Message) -> str:
    """
    The booking of a text, in COPY's text format: confirmed where the text is recorded, else waiting to be.
    """
    recorded = message.number % shape.missing_every != shape.missing_every // 2
    initial_sms = {"message_sid": message.sid, "to_number": message.phone, "from_number": SENDER, "segments": 1}
    values = (
        f"tok_{message.number:016x}",
        message.phone,
        "confirmed" if recorded else "pending",
        _uuid(message.number % _customers(shape)),
        json.dumps({"initial_sms": initial_sms}),
        message.sent_at.isoformat(),
        (message.sent_at + timedelta(days=90)).isoformat(),
    )
    return "\t".join(values) + "\n"


def _uuid(customer: int) -> str:
    return f"00000000-0000-4000-8000-{customer:012x}"


def _rows(shape: Shape, window: Window) -> Iterator[tuple[_Message, datetime, bool]]:
    """
    The message of each row, when the row was created, and whether the log has the message.
    """
    middle = window.since + (window.until - window.since) / 2
    for message in _messages(shape, window):
        if message.number % shape.missing_every == shape.missing_every // 2:
            continue
        crowded = shape.crowded and message.number % 10
        created_at = middle + timedelta(seconds=message.number % 60) if crowded else message.sent_at + shape.clock_off
        yield message, created_at, True
        if message.number % (shape.messages // _UNKNOWN) == 1:
            yield message._replace(sid=f"SM{message.number:032x}"), created_at, False


def _row(shape: Shape, message: _Message, created_at: datetime) -> str:
    """
    A row in COPY's text format.
    """
    status = "delivered" if message.number % _MISMATCHED_EVERY else "sent"
    costless = shape.no_cost or (shape.half_cost and message.number % 2)
    values = (
        _uuid(message.number % _customers(shape)),
        "outbound",
        message.sid,
        r"\N" if shape.no_second_sid else message.sid,
        message.body,
        status,
        status,
        SENDER,
        message.phone,
        "1",
        r"\N" if costless else "0.00790",
        created_at.isoformat(),
    )
    return "\t".join(values) + "\n"
