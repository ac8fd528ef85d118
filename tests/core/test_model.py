"""
Twilio's texts become values: dates, prices, segments, phone numbers, and what counts as a refused attempt.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from typing import Any, Final

import msgspec
import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking_doctor.core.model import (
    FINAL_RANK,
    SID_SHAPE,
    STATUS_RANK,
    DeferredSms,
    TwilioMessage,
    UnreadableMessage,
    e164,
    iso,
    parse_date,
    same_number,
    storable,
)

SID: Final = "SM" + "0123456789abcdef" * 2
NINE: Final = datetime(2025, 12, 8, 9, tzinfo=UTC)


def message(**values: Any) -> TwilioMessage:
    """
    A message with nothing in it but what a test is about.
    """
    return TwilioMessage(**{"sid": SID, "status": "delivered", "direction": "outbound-api", **values})


@pytest.fixture(name="far_from_utc")
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    A machine that lives in Kathmandu.
    """
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    assert os.environ.get("TZ") != "Asia/Kathmandu"
    time.tzset()


# Dates


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 08 Dec 2025 09:00:00 +0000",
        "Mon, 08 Dec 2025 10:00:00 +0100",
        "Mon, 08 Dec 2025 01:00:00 -0800",
        "Sun, 07 Dec 2025 21:30:00 -1130",
        "Mon, 08 Dec 2025 14:45:00 +0545",
        "Mon, 08 Dec 2025 09:00:00 GMT",
        "08 Dec 2025 09:00:00 +0000",
    ],
)
@pytest.mark.usefixtures("far_from_utc")
def test_a_date_is_read_with_its_offset(text: str) -> None:
    """
    One moment in many zones is one moment, in UTC, wherever the doctor runs.
    """
    assert parse_date(text, SID, "date_sent") == NINE
    assert parse_date(text, SID, "date_sent").tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2025-12-08T09:00:00Z",
        "2025-12-08 09:00:00",
        "Mon, 08 Dec 2025 09:00:00",
        "Mon, 08 Dec 2025 09:00:00 -0000",
        "Mon, 08 Dec 2025 25:00:00 +0000",
        "Mon, 31 Feb 2025 09:00:00 +0000",
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "Mon, 08 Dec 2025 09:00:00 +9999",
        "99999999999 Dec 2025 09:00:00 +0000",
    ],
)
@pytest.mark.parametrize("field", ["date_sent", "date_created"])
def test_what_is_no_date_names_the_message_and_the_field(text: str, field: str) -> None:
    """
    No date is guessed, and none is silently taken for nothing: an error says which message and which field it was.
    """
    with pytest.raises(UnreadableMessage) as caught:
        _ = message(**{"date_created": "Mon, 08 Dec 2025 09:00:00 +0000", field: text}).happened_at

    assert (caught.value.sid, caught.value.field) == (SID, field)
    assert str(caught.value) == f"message {SID} has a {field} that cannot be read"


@settings(deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)),  # noqa: DTZ001  the zone comes next
    st.integers(-14 * 60, 14 * 60),
)
def test_any_offset_is_the_same_moment(naive: datetime, minutes: int) -> None:
    """
    Written in any zone and read again, a moment is what it was, to the second.
    """
    moment = naive.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))

    assert parse_date(format_datetime(moment), SID, "date_sent") == moment


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_date_or_names_the_message(text: str) -> None:
    """
    Whatever a server sends, it never ends in another error than the one that does.
    """
    with suppress(UnreadableMessage):
        assert parse_date(text, SID, "date_sent").tzinfo is UTC


def test_a_message_happens_when_it_is_sent_or_else_made() -> None:
    """
    `date_sent` places it in a window; `date_created` only while there is no other.
    """
    made, sent = "Mon, 08 Dec 2025 08:59:58 +0000", "Mon, 08 Dec 2025 09:00:00 +0000"

    assert message(date_created=made, date_sent=sent).happened_at == NINE
    assert message(date_created=made).happened_at == NINE - timedelta(seconds=2)
    assert message(date_created=made).sent_at is None
    with pytest.raises(UnreadableMessage, match="date_created"):
        _ = message().happened_at


# Prices and segments


@pytest.mark.parametrize(
    ("price", "unit", "expected"),
    [
        ("-0.00790", "USD", Decimal("0.0079")),
        ("0.00790", "USD", Decimal("0.0079")),
        ("-0.00790", "usd", Decimal("0.0079")),
        ("0", "USD", Decimal(0)),
        ("-1e-3", "USD", Decimal("0.001")),
        (None, "USD", None),
        (None, None, None),
        ("-0.00790", None, None),
        ("-0.00790", "EUR", None),
        ("free", "EUR", None),
    ],
)
def test_the_cost_is_positive_dollars_or_nothing(price: str | None, unit: str | None, expected: Decimal | None) -> None:
    """
    Not yet billed, or billed in another currency, is not a cost in dollars.
    """
    assert message(price=price, price_unit=unit).cost_usd == expected


@pytest.mark.parametrize("price", ["", "free", "0,0079", "NaN", "sNaN", "Infinity", "-inf"])
def test_what_is_no_price_names_the_message(price: str) -> None:
    """
    A price that is no number is an error with the SID, not a crash and not nothing.
    """
    with pytest.raises(UnreadableMessage) as caught:
        _ = message(price=price, price_unit="USD").cost_usd

    assert (caught.value.sid, caught.value.field) == (SID, "price")


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1), ("10", 10), ("0", None), (None, None), ("", None), ("-1", None), ("many", None)]
)
def test_segments_are_a_number_once_twilio_knows(text: str | None, expected: int | None) -> None:
    """
    "0" is what it says before a service has picked a sender: it does not know yet.
    """
    assert message(num_segments=text).segments == expected


# Refused attempts

REFUSED: Final[dict[str, Any]] = {"status": "failed", "error_code": 21211}


@pytest.mark.parametrize("code", [20000, 21211, 21610, 29999])
def test_a_refused_attempt_is_recognised(code: int) -> None:
    """
    Failed at once with a 2xxxx code and no messaging service: the application never got its SID.
    """
    assert message(**{**REFUSED, "error_code": code}).rejected


@pytest.mark.parametrize(
    "look_alike",
    [
        {"error_code": None},
        {"error_code": 19999},
        {"error_code": 30003},
        {"error_code": 30000},
        {"status": "undelivered"},
        {"status": "canceled"},
        {"status": "sent"},
        {"messaging_service_sid": "MG" + "1" * 32},
        {"direction": "inbound"},
    ],
)
def test_its_look_alikes_are_not(look_alike: dict[str, Any]) -> None:
    """
    Failed later, failed through a service or on its way in: those have SIDs that the application knows.
    """
    assert not message(**{**REFUSED, **look_alike}).rejected


# Phone numbers


@pytest.mark.parametrize(
    ("text", "region", "expected"),
    [
        ("+15550101000", "US", "+15550101000"),
        ("+15550101000", "DE", "+15550101000"),
        ("(555) 010-1000", "US", "+15550101000"),
        ("555.010.1000", "US", "+15550101000"),
        ("1 555 010 1000", "US", "+15550101000"),
        ("whatsapp:+15550101000", "US", "+15550101000"),
        ("020 7946 0000", "GB", "+442079460000"),
        ("+44 (0)20 7946 0000", "US", "+442079460000"),
        ("030 901820", "DE", "+4930901820"),
        ("020 7946 0000", "US", None),
        ("72345", "US", None),
        ("ACME", "US", None),
        ("", "US", None),
        (":", "US", None),
        ("+", "US", None),
        (None, "US", None),
        ("555-010-1000", "ZZ", None),
        ("5" * 300, "US", None),
    ],
)
def test_e164(text: str | None, region: str, expected: str | None) -> None:
    """
    However it is written, a number has one form; what is none has none.
    """
    assert e164(text, region) == expected


@settings(deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("+0123456789 ()-.:x", max_size=20)), st.sampled_from(["US", "GB", "DE"]))
def test_any_text_is_a_number_or_none(text: str, region: str) -> None:
    """
    Whatever stands in a column for phone numbers, it never ends in an error.
    """
    number = e164(text, region)

    assert number is None or re.fullmatch(r"\+[0-9]{4,17}", number)


@pytest.mark.parametrize("region", ["US", "GB", "DE", "FR", "IT", "AR", "BR", "MX", "IN", "JP", "AU", "ZA"])
def test_a_number_is_the_same_in_every_style(region: str) -> None:
    """
    National, international, as a link: one number, and in E.164 it is itself in every other country.
    """
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert example is not None
    expected = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)

    for style in ("NATIONAL", "INTERNATIONAL", "RFC3966", "E164"):
        written = phonenumbers.format_number(example, getattr(phonenumbers.PhoneNumberFormat, style))
        assert e164(written, region) == expected
    assert {e164(expected, other) for other in ("US", "GB", "FR")} == {expected}


def test_same_number() -> None:
    """
    Numbers are compared as numbers, other senders as the text they are.
    """
    assert same_number("(555) 010-1000", "+15550101000", "US")
    assert same_number("+15550101000", "whatsapp:+15550101000", "US")
    assert same_number("ACME", "ACME", "US")
    assert same_number("72345", "72345", "US")
    assert same_number(None, None, "US")
    assert not same_number("(555) 010-1000", "+15550101000", "GB")
    assert not same_number("+15550101000", "+15550101001", "US")
    assert not same_number("ACME", "Acme", "US")
    assert not same_number(None, "+15550101000", "US")


# The rest


def test_the_customers_end() -> None:
    """
    A text goes to the customer or comes from one.
    """
    ends = {"to": "+15550101000", "from_number": "+15550100200"}

    assert message(**ends).customer_number == "+15550101000"
    assert message(direction="inbound", **ends).customer_number == "+15550100200"


def test_every_status_of_twilio_has_a_rank_but_the_deprecated_one() -> None:
    """
    Thirteen words in Twilio's specification; ``partially_delivered`` means nothing any more.
    """
    final = {status for status, rank in STATUS_RANK.items() if rank >= FINAL_RANK}

    assert len(STATUS_RANK) == 12
    assert final == {"delivered", "undelivered", "failed", "canceled", "received", "read"}


def test_the_wire_names() -> None:
    """
    A resource decodes as it comes: ``from`` has another name here, what is not compared is ignored.
    """
    wire = b'{"sid":"%s","status":"sent","direction":"inbound","from":"+1","error_code":30003,"uri":"x"}' % SID.encode()

    decoded = msgspec.json.decode(wire, type=TwilioMessage)

    assert (decoded.from_number, decoded.error_code, decoded.to) == ("+1", 30003, None)
    assert SID_SHAPE.fullmatch(decoded.sid)
    assert not SID_SHAPE.fullmatch(decoded.sid + "\n")


def test_the_deferred_sms_is_twilios_truth() -> None:
    """
    What confirm will record: positive cost, number of segments, a time in UTC, and no NUL.
    """
    sent = message(
        to="+15550101000",
        from_number="+15550100200",
        body="Your table\0 is waiting.",
        num_segments="2",
        price="-0.01580",
        price_unit="USD",
        date_sent="Mon, 08 Dec 2025 10:00:00 +0100",
    )

    assert msgspec.to_builtins(DeferredSms.of(sent)) == {
        "message_sid": SID,
        "body": "Your table is waiting.",
        "from_number": "+15550100200",
        "to_number": "+15550101000",
        "segments": 2,
        "cost_usd": 0.0158,
        "sent_at": "2025-12-08T09:00:00Z",
        "status": "delivered",
        "state": "sent",
    }


def test_texts_that_the_database_can_keep() -> None:
    """
    Only NUL is dropped.
    """
    assert storable("a\0b\x1e\x1f\ud83d\0") == "ab\x1e\x1f\ud83d"
    assert storable("") == ""
    assert storable(None) is None


def test_times_in_documents() -> None:
    """
    UTC with Z, whatever the zone was.
    """
    assert iso(datetime(2025, 12, 8, 10, tzinfo=timezone(timedelta(hours=1)))) == "2025-12-08T09:00:00Z"
    assert iso(NINE.replace(microsecond=250_000)) == "2025-12-08T09:00:00.250000Z"
