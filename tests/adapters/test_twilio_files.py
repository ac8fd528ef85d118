"""
Files as Twilio's log: what is read out of each form, what is merged, what is refused, and what no file can tell.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking_doctor.adapters import twilio_files
from booking_doctor.adapters.twilio_files import TwilioFiles
from booking_doctor.adapters.twilio_formats import Heading, first_line, iso_date
from booking_doctor.core.model import TwilioMessage
from booking_doctor.errors import NotInFiles, SettingsError, UsageError
from booking_doctor.evidence import Page, Unread
from booking_doctor.findings import Window

ACCOUNT = "AC" + "a" * 32
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=10)
DAY = timedelta(days=1)
BODY = 'Your table is "ready",\nsee you\r\nat 7, Zoë'

Fields = dict[str, Any]


def sid(number: int) -> str:
    """
    A message's SID.
    """
    return f"SM{number:032x}"


def fields(number: int = 1, at: datetime | None = NOON, **values: Any) -> Fields:
    """
    A message as a Bulk Export has it.
    """
    created = f"{at or NOON:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "sid": sid(number),
        "account_sid": ACCOUNT,
        "messaging_service_sid": None,
        "from": "+15550100200",
        "to": "+15550101001",
        "body": BODY,
        "status": "delivered",
        "direction": "outbound-api",
        "num_segments": "1",
        "price": "-0.00790",
        "error_code": None,
        "date_created": created,
        "date_updated": created,
        "date_sent": created if at else None,
        **values,
    }


def in_lines(messages: Sequence[Fields]) -> bytes:
    """
    A Bulk Export.
    """
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def of_the_api(message: Fields) -> Fields:
    """
    The same message as the API has it.
    """
    dates = {
        name: message[name] and format_datetime(datetime.fromisoformat(message[name]))
        for name in ("date_created", "date_updated", "date_sent")
    }
    return {**message, **dates, "price_unit": "USD", "uri": "/2010-04-01/…", "subresource_uris": {"media": None}}


NEW_HEADER = "From,To,Body,Status,SentDate,ApiVersion,NumSegments,ErrorCode,AccountSid,Sid,Direction,Price,PriceUnit"
OLD_HEADER = "Body,Status,SentDate,ApiVersion,NumSegments,AccountSid,Sid,Direction,From,To,Price,PriceUnit"


def in_csv(messages: Sequence[Fields], header: str = NEW_HEADER, **replaced: str) -> bytes:
    """
    The Console's CSV: every field in quotes, an error code 0 for none.
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(header.split(","))
    for message in messages:
        cells = {
            "From": message["from"],
            "To": message["to"],
            "Body": message["body"],
            "Status": message["status"],
            "SentDate": message["date_sent"],
            "ApiVersion": "2010-04-01",
            "NumSegments": message["num_segments"],
            "ErrorCode": message["error_code"] or "0",
            "AccountSid": message["account_sid"],
            "Sid": message["sid"],
            "Direction": message["direction"],
            "Price": message["price"],
            "PriceUnit": "USD",
            **replaced,
        }
        writer.writerow([cells[name] for name in header.split(",")])
    return text.getvalue().encode()


Give = Callable[..., TwilioFiles]


@pytest.fixture(name="give")
def _give(tmp_path: Path) -> Iterator[Give]:
    """
    Puts contents into files, named 0, 1 and so on, and reads them as the log.
    """
    opened = []

    def give(*contents: bytes, account_sid: str | None = ACCOUNT, now: datetime = NOW) -> TwilioFiles:
        paths = [tmp_path / str(number) for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        opened.append(TwilioFiles(paths, account_sid=account_sid, now=now))
        return opened[-1]

    yield give
    for files in opened:
        files.close()


def day_of(moment: datetime, days: int = 1) -> Window:
    """
    The whole day of that moment, and days after it.
    """
    start = moment.replace(hour=0, minute=0, second=0)
    return Window(start, start + days * DAY)


def messages_of(files: TwilioFiles, window: Window) -> list[TwilioMessage]:
    """
    All messages, in the order in which they come.
    """
    return [message for page in files.pages(window) if isinstance(page, Page) for message in page.messages]


def unread_of(files: TwilioFiles, window: Window) -> list[Unread]:
    """
    What was not read.
    """
    return [page for page in files.pages(window) if isinstance(page, Unread)]


# --- every form ------------------------------------------------------------------------------------------------------

MESSAGES = [
    fields(1, NOON),
    fields(2, NOON - timedelta(minutes=1), status="undelivered", error_code=30003, price=None),
    fields(3, NOON + timedelta(hours=3), direction="inbound", status="received"),
]
FORMS: dict[str, bytes] = {
    "bulk export": in_lines(MESSAGES),
    "without the last newline": in_lines(MESSAGES).removesuffix(b"\n"),
    "after a byte order mark": b"\xef\xbb\xbf" + in_lines(MESSAGES),
    "lines of the API": in_lines([of_the_api(message) for message in MESSAGES]),
    "numbers as numbers": in_lines([{**message, "num_segments": 1} for message in MESSAGES]),
    "dates with a fraction": in_lines(
        [{**message, "date_sent": message["date_sent"].replace("Z", ".000Z")} for message in MESSAGES]
    ),
    "CSV": in_csv(MESSAGES),
    "CSV, the older header": in_csv([{**message, "error_code": None} for message in MESSAGES], OLD_HEADER),
    "list": json.dumps([of_the_api(message) for message in MESSAGES]).encode(),
    "indented list": json.dumps([of_the_api(message) for message in MESSAGES], indent=2).encode(),
    "pages, one after the other": b"\n".join(
        json.dumps({"messages": [of_the_api(message)], "page": 0, "next_page_uri": None}).encode()
        for message in MESSAGES
    ),
    "list of pages": json.dumps([{"messages": [of_the_api(message) for message in MESSAGES]}], indent=1).encode(),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_messages(give: Give, form: str, packed: bool) -> None:
    """
    Told apart by what is in them, packed or not: the same messages with the same dates, newest first.
    """
    content = gzip.compress(FORMS[form]) if packed else FORMS[form]

    messages = messages_of(give(content), day_of(NOON))

    assert [message.sid for message in messages] == [sid(3), sid(1), sid(2)]
    newest, middle, oldest = messages
    assert newest.inbound
    assert middle.happened_at == NOON
    assert middle.body == BODY
    assert middle.segments == 1
    assert oldest.status == "undelivered"
    assert oldest.error_code == (None if "older" in form else 30003)


def test_several_members_of_gzip_are_one_file(give: Give) -> None:
    """
    Day files that were put together are read to the last.
    """
    packed = b"".join(gzip.compress(in_lines([message])) for message in MESSAGES)

    assert len(messages_of(give(packed), day_of(NOON))) == 3


def test_a_text_that_was_left_out_is_none(give: Give) -> None:
    """
    A CSV without texts, or without that column, says nothing of them.
    """
    header = NEW_HEADER.replace("Body,", "")

    for content in (in_csv(MESSAGES, Body=""), in_csv(MESSAGES, header)):
        assert [message.body for message in messages_of(give(content), day_of(NOON))] == [None] * 3


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2026-11-20T12:00:00Z", 12),
        ("2026-11-20 12:00:00 UTC", 12),
        ("2026-11-20 04:00:00 PST", 12),
        ("2026-11-20T13:30:00+01:30", 12),
        ("2026-11-20 12:00:00+0000", 12),
        ("Fri, 20 Nov 2026 12:00:00 +0000", 12),
        ("Fri, 20 Nov 2026 05:00:00 -0700", 12),
    ],
)
def test_a_date_is_understood_with_its_zone(give: Give, written: str, hour: int) -> None:
    """
    However it is written, it is the same moment.
    """
    [message] = messages_of(give(in_csv(MESSAGES[:1], SentDate=written)), day_of(NOON))

    assert message.happened_at == NOON.replace(hour=hour)


@pytest.mark.parametrize("price", ["-0.00790", "0.0079"])
def test_a_price_is_the_same_with_either_sign(give: Give, price: str) -> None:
    """
    The API's is negative; a CSV's may be either.
    """
    [message] = messages_of(give(in_csv(MESSAGES[:1], Price=price)), day_of(NOON))

    assert str(message.cost_usd).rstrip("0") == "0.0079"


def test_a_price_without_currency_is_not_taken_for_dollars(give: Give) -> None:
    """
    A Bulk Export does not say the currency.
    """
    [message] = messages_of(give(in_lines(MESSAGES[:1])), day_of(NOON))

    assert message.cost_usd is None


@given(days=st.integers(-9000, 9000), second=st.integers(0, 86399), offset=st.integers(-14 * 60, 14 * 60))
def test_dates_survive(days: int, second: int, offset: int) -> None:
    """
    Whatever the zone, a date comes out as the same second of UTC, in both ways of writing it.
    """
    moment = NOON + timedelta(days=days, seconds=second)
    there = moment + timedelta(minutes=offset)
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"

    expected = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    assert iso_date("date_sent", f"{there:%Y-%m-%dT%H:%M:%S}{zone}") == expected
    assert iso_date("date_sent", f"{there:%d} {format_datetime(there)[8:25]} {zone.replace(':', '')}") == expected


# --- merging ---------------------------------------------------------------------------------------------------------


def test_the_newest_snapshot_counts(give: Give) -> None:
    """
    Whatever the order of the files: by when a message was updated, whatever its rank; a status goes by rank where that is
    not known; and of the same snapshot, what says more.
    """
    sent = fields(1, status="sent", price=None)
    delivered = fields(1, status="delivered", date_updated="2026-11-20T12:01:00Z")
    redacted = fields(1, status="delivered", date_updated="2026-11-21T12:00:00Z", body="")
    for contents in ((sent, delivered, redacted), (redacted, delivered, sent), (delivered, redacted, sent)):
        files = give(*(in_lines([one]) for one in contents))
        [message] = messages_of(files, day_of(NOON))
        assert (message.status, message.body) == ("delivered", "")
        assert files.coverage()["snapshots_merged"] == 2

    [message] = messages_of(give(in_csv([sent]), in_lines([delivered]), in_csv([sent])), day_of(NOON))
    assert message.status == "delivered"
    [message] = messages_of(give(in_lines([delivered]), in_csv([delivered])), day_of(NOON))
    assert message.price_unit is None
    [message] = messages_of(give(in_lines([delivered]), in_lines([of_the_api(delivered)])), day_of(NOON))
    assert message.price_unit == "USD"


def test_a_file_that_is_given_twice_counts_once(give: Give) -> None:
    """
    By its name, and as a copy.
    """
    content = in_lines(MESSAGES)

    assert len(messages_of(give(content, content), day_of(NOON))) == 3


def test_a_message_that_got_its_date_after_the_window_is_not_of_it(give: Give) -> None:
    """
    An older snapshot without the date does not bring it back.
    """
    accepted = fields(1, None, status="accepted")
    sent = fields(1, NOON + 2 * DAY, date_created=accepted["date_created"])

    assert messages_of(give(in_lines([accepted]), in_lines([sent])), day_of(NOON)) == []
    assert [message.sid for message in messages_of(give(in_lines([accepted])), day_of(NOON))] == [sid(1)]


# --- what they cover -------------------------------------------------------------------------------------------------


def test_a_bulk_export_covers_whole_days(give: Give) -> None:
    """
    All of its days; the one between two files that no file has is unread, and so is what lies outside.
    """
    files = give(in_lines([fields(1, NOON)]), in_lines([fields(2, NOON + 2 * DAY)]))

    assert unread_of(files, day_of(NOON)) == []
    assert [unread.day for unread in unread_of(files, day_of(NOON, 3))] == [date(2026, 11, 21)]
    [unread] = unread_of(files, day_of(NOON - DAY, 2))
    assert unread.error.sentence == (
        "no file covers 2026-11-19 00:00:00 to 2026-11-20 00:00:00 UTC; add one that does, or choose --since and --until within"
    )


def test_a_message_of_midnight_does_not_cover_the_day_beside(give: Give) -> None:
    """
    Whether a day's file goes by when its messages were created or sent, the other date of one says nothing of its day.
    """
    late = fields(2, NOON + timedelta(hours=12), date_created="2026-11-20T23:59:59Z")
    early = fields(3, NOON - timedelta(hours=12), date_created="2026-11-19T23:59:59Z")

    files = give(in_lines([early, fields(1, NOON), late]))

    assert [unread.day for unread in unread_of(files, day_of(NOON - DAY, 3))] == [
        date(2026, 11, 21),
        date(2026, 11, 19),
    ]


@pytest.mark.parametrize("content", [in_csv(MESSAGES), json.dumps(list(map(of_the_api, MESSAGES))).encode()])
def test_nobody_knows_more_of_another_file_than_its_messages(give: Give, content: bytes) -> None:
    """
    It covers from its oldest message to its newest.
    """
    files = give(content)

    assert unread_of(files, Window(NOON - timedelta(minutes=1), NOON + timedelta(hours=3))) == []
    assert len(unread_of(files, Window(NOON - timedelta(minutes=2), NOON))) == 1
    assert len(unread_of(files, Window(NOON, NOON + timedelta(hours=4)))) == 1


def test_the_newest_message_is_covered(give: Give) -> None:
    """
    Although it was created before it was sent.
    """
    late = of_the_api(fields(1, NOON, date_created="2026-11-20T11:59:50Z"))
    files = give(json.dumps([late]).encode())

    assert files.until
    assert len(messages_of(files, Window(NOON, files.until))) == 1
    assert unread_of(files, Window(NOON, files.until)) == []


def test_a_bulk_export_of_today_is_none(give: Give) -> None:
    """
    Twilio exports days that are over; lines of a day that is not cover no more than their messages.
    """
    files = give(in_lines(MESSAGES), now=NOON + timedelta(hours=5))

    assert len(unread_of(files, Window(NOON, NOON + timedelta(hours=5)))) == 1


def test_a_heading_says_what_is_covered(give: Give) -> None:
    """
    Even where there is no message at all.
    """
    window = day_of(NOON)
    heading = Heading(account_sid=ACCOUNT, since=window.since, until=window.until, fetched_at=window.until)

    files = give(gzip.compress(first_line(heading)))

    assert unread_of(files, window) == []
    assert files.as_of == window.until
    assert len(unread_of(files, day_of(NOON, 2))) == 1


def test_gaps_have_one_reason_for_all_days(give: Give) -> None:
    """
    However many days they have: what the files lack of the window is told once.
    """
    files = give(in_lines([fields(1, NOON)]), in_lines([fields(2, NOON + 2 * DAY)]))

    unread = unread_of(files, day_of(NOON - 300 * DAY, 400))

    assert len(unread) == 398
    [summary] = {one.error.summary for one in unread}
    assert summary == (
        "no file covers 2026-01-24 00:00:00 to 2026-11-20 00:00:00 UTC, 2026-11-21 00:00:00 to 2026-11-22 00:00:00 UTC,"
        " 2026-11-23 00:00:00 to 2027-02-28 00:00:00 UTC"
    )


def test_coverage_names_the_files(give: Give) -> None:
    """
    Their names, forms, lines and days, when they were made, and that Twilio was not asked.
    """
    coverage = give(in_lines(MESSAGES) + b"{", in_csv(MESSAGES)).coverage()

    assert coverage == {
        "twilio": "not asked",
        "log_files": [
            "0: bulk-export, 4 lines, 1 broken, 2026-11-20 00:00:00 to 2026-11-21 00:00:00 UTC",
            "1: console-csv, 10 lines, 2026-11-20 11:59:00 to 2026-11-20 15:00:01 UTC",
        ],
        "log_made_at": "2026-11-20T15:00:00Z",
        "log_lines": 14,
        "broken_lines": 1,
        "prices_without_currency": 2,
        "undated_scan_complete": True,
        "snapshots_merged": 0,
    }


# --- single messages -------------------------------------------------------------------------------------------------


def test_what_the_files_do_not_hold_is_not_called_unknown(give: Give) -> None:
    """
    What they hold is given, whenever it was and with or without a date; of the rest nothing is claimed.
    """
    files = give(in_lines([*MESSAGES, fields(4, None, status="failed")]))

    fetched = files.fetch([sid(4), sid(9), sid(2)])

    assert {next(fetched)[0], next(fetched)[0]} == {sid(2), sid(4)}
    with pytest.raises(NotInFiles, match="1 SID is not in the files, which cannot tell whether Twilio has it"):
        next(fetched)


# --- broken lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"sid": "SM1", "to": "+15550101999"', "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b"[1]", "it is no message"),
        (json.dumps(fields(5, sid=None)).encode(), "its sid is missing"),
        (json.dumps(fields(5, date_sent=None, date_created=None)).encode(), "it has no date"),
        (json.dumps(fields(5, date_sent="yesterday")).encode(), "its date_sent is no date"),
        (json.dumps(fields(5, date_sent="2026-02-30T12:00:00Z")).encode(), "its date_sent is no date"),
        (json.dumps(fields(5, date_sent="2026-11-20T12:00:00")).encode(), "its date_sent has no time zone"),
        (json.dumps(fields(5, error_code="+15550101999")).encode(), "its error_code is no number"),
        (json.dumps(fields(5, to=["+15550101999"])).encode(), "its to is neither text nor a number"),
    ],
)
def test_a_broken_line_is_named_and_stops_no_other(give: Give, line: bytes, reason: str) -> None:
    """
    By file, line number and reason, never by what it holds.
    """
    files = give(in_lines(MESSAGES[:2]) + line + b"\n" + in_lines(MESSAGES[2:]))

    assert len(messages_of(files, day_of(NOON))) == 3
    [unread] = unread_of(files, day_of(NOON))
    assert (unread.day, unread.part, unread.error.sentence) == (None, "line 3 of 0", reason)
    coverage = files.coverage()
    assert (coverage["broken_lines"], coverage["log_lines"]) == (1, 4)


def test_of_many_broken_lines_the_first_are_named(give: Give) -> None:
    """
    And the others counted.
    """
    files = give(in_lines(MESSAGES) + 50 * b"{\n")

    unread = unread_of(files, day_of(NOON))

    assert len(unread) == 21
    assert unread[-1].part == "30 more lines"


def test_half_a_character_breaks_its_message_only(give: Give) -> None:
    """
    In whatever form: it could not be compared, stored or shown.
    """
    broken = {**of_the_api(fields(5)), "body": "\ud83d"}
    for content in (json.dumps([broken, of_the_api(fields(1))]).encode(), in_lines([broken, fields(1)])):
        files = give(content)
        assert [message.sid for message in messages_of(files, day_of(NOON))] == [sid(1)]
        assert len([unread for unread in unread_of(files, Window(NOON, NOON + DAY / 86400)) if unread.part]) == 1


def test_a_broken_row_of_a_csv_is_named(give: Give) -> None:
    """
    By the line on which it ends; rows after it are read.
    """
    whole = in_csv(MESSAGES[:1])
    files = give(whole + b'"only","three","fields"\r\n' + in_csv(MESSAGES[1:]).partition(b"\r\n")[2])

    assert len(messages_of(files, day_of(NOON))) == 3
    [unread] = unread_of(files, Window(NOON, NOON + timedelta(hours=1)))
    assert (unread.part, unread.error.sentence) == ("line 5 of 0", "it has not the 13 fields of the header")


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(in_lines(MESSAGES), mtime=0)[:-20], "is damaged or cut off after line"),
        (gzip.compress(in_lines(MESSAGES), mtime=0) + b"rest", "is damaged or cut off after line"),
        (b"\x1f\x8b\x08garbage", "is damaged or cut off after line 0"),
        (bytes(range(128, 256)), "is not written in UTF-8"),
        (b"\x00\x01\x02", "is neither JSON nor a CSV of messages"),
        (b"Dear Twilio, please send me my messages", "is neither JSON nor a CSV of messages"),
        (b"Date,Amount,Currency\n2026-11-20,1,USD\n", "is a CSV without From, To, Status, SentDate, Sid, Direction"),
        (b"[{", "is cut off, or no JSON, after message 0"),
        (json.dumps([of_the_api(one) for one in MESSAGES]).encode()[:-30], "is cut off, or no JSON, after message 2"),
        (b'{"a":' * 100_000, "is no message log"),
    ],
)
def test_what_is_no_log_is_refused_in_a_sentence(give: Give, content: bytes, sentence: str) -> None:
    """
    With the file's name, what is wrong, and what to do.
    """
    with pytest.raises(UsageError) as refused:
        give(content)

    assert sentence in refused.value.summary
    assert "--twilio-log" in refused.value.summary
    assert refused.value.hint


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """
    A directory, and nothing at all.
    """
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file or directory")):
        with pytest.raises(UsageError, match=f"--twilio-log {path} cannot be read: {reason}"):
            TwilioFiles([path], account_sid=None, now=NOW)


def test_the_log_of_another_account_is_refused(give: Give) -> None:
    """
    Whether it is another than the settings' or another than the other file's; neither is shown whole.
    """
    other = "AC" + "b" * 32
    with pytest.raises(UsageError, match="is the log of account AC…bbbb, not of AC…aaaa") as refused:
        give(in_lines([fields(1, account_sid=other)]))
    assert other not in refused.value.sentence
    with pytest.raises(UsageError, match="is the log of account AC…bbbb"):
        give(in_lines(MESSAGES), in_lines([fields(1, account_sid=other)]), account_sid=None)


def test_the_account_is_that_of_the_files(give: Give) -> None:
    """
    Where no variable says; and where nobody says, it is asked for.
    """
    assert give(in_lines(MESSAGES), account_sid=None).account_sid == ACCOUNT
    with pytest.raises(SettingsError, match="do not say whose log they are"):
        give(in_csv(MESSAGES, AccountSid=""), account_sid=None).account_sid  # noqa: B018  it raises


def test_a_csv_cannot_tell_a_service_by_its_messages(give: Give) -> None:
    """
    Where a service is all that is set, everything would be out of scope.
    """
    files = give(in_csv(MESSAGES))

    assert files.told_of(frozenset({"+15550100200", "MG1"})) == {"+15550100200", "MG1"}
    with pytest.raises(SettingsError, match="does not say through which messaging service"):
        files.told_of(frozenset({"MG1"}))


# --- any files -------------------------------------------------------------------------------------------------------

SNAPSHOTS = ("accepted", "queued", "sent", "delivered")


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[bytes], dict[str, str]]:
    """
    Messages of two days, each as it was at one or several times, in files of any form; and how each was last.
    """
    files: list[list[Fields]] = [[] for _ in range(draw(st.integers(1, 4)))]
    truth = {}
    for number in range(draw(st.integers(0, 25))):
        at = NOON + timedelta(seconds=draw(st.integers(-43_200, 129_599)))
        seen = sorted(draw(st.sets(st.integers(0, 3), min_size=1)))
        for stage in seen:
            updated = f"{at + timedelta(seconds=stage):%Y-%m-%dT%H:%M:%SZ}"
            snapshot = fields(number, at, status=SNAPSHOTS[stage], date_updated=updated)
            snapshot |= {} if stage > 1 else {"date_sent": None}
            draw(st.sampled_from(files)).append(snapshot)
        truth[sid(number)] = SNAPSHOTS[seen[-1]]
    contents = []
    for messages in files:
        mixed = draw(st.permutations(messages))
        form: Callable[[Sequence[Fields]], bytes] = draw(st.sampled_from([in_lines, _as_list, _as_pages]))
        content = form(mixed)
        contents.append(gzip.compress(content) if draw(st.booleans()) else content)
    return [content for content in contents if gzip_or_not(content)], truth


def gzip_or_not(content: bytes) -> bytes:
    """
    What is in it.
    """
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _as_list(messages: Sequence[Fields]) -> bytes:
    return json.dumps(list(map(of_the_api, messages)), indent=1).encode()


def _as_pages(messages: Sequence[Fields]) -> bytes:
    return b"".join(json.dumps({"messages": [of_the_api(message)]}).encode() for message in messages)


@settings(deadline=None, max_examples=100)
@given(made=shuffled(), waiting=st.sampled_from([1, 3, 20_000]))
def test_files_in_any_order_tell_the_last_truth_once(made: tuple[list[bytes], dict[str, str]], waiting: int) -> None:
    """
    Each message comes once among those with a date, or without while it has none, as it was last; each day's newest first.
    """
    contents, truth = made
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        patched.setattr(twilio_files, "_WAITING", waiting)
        paths = [Path(directory) / str(number) for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        with closing(TwilioFiles(paths, account_sid=ACCOUNT, now=NOW)) as files:
            pages = [page for page in files.pages(day_of(NOON, 2)) if isinstance(page, Page)]

    dated = [message for page in pages if page.day for message in page.messages]
    told = {message.sid: message.status for page in pages if not page.day for message in page.messages}
    assert len(dated) == len({message.sid for message in dated})
    assert told | {message.sid: message.status for message in dated} == truth
    for day in (date(2026, 11, 20), date(2026, 11, 21)):
        times = [message.happened_at for message in dated if message.happened_at.date() == day]
        assert times == sorted(times, reverse=True)
