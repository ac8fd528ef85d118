"""
What counts as agreement, rule by rule; and that comparing lines in bulk and comparing fields one by one never disagree.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.core.agreement import (
    Difference,
    Row,
    comparable,
    differences,
    direction_of,
    expressible,
    line_of,
    row_of,
    told_once,
)
from booking_doctor.core.model import STATUS_RANK, TwilioMessage
from tests.memory import line_of_row

TRIAL: Final = "Sent from your Twilio trial account - "
MESSAGE: Final = TwilioMessage(
    sid="SM" + "0123456789abcdef" * 2,
    status="delivered",
    direction="outbound-api",
    to="+15550101000",
    from_number="+15550100200",
    body="Your table is waiting.",
    num_segments="1",
    price="-0.00790",
    price_unit="USD",
    date_sent="Mon, 08 Dec 2025 09:00:00 +0000",
    date_created="Mon, 08 Dec 2025 09:00:00 +0000",
)
ROW: Final = Row(
    id="1",
    message_sid=MESSAGE.sid,
    twilio_message_sid=MESSAGE.sid,
    status="delivered",
    twilio_status="delivered",
    direction="outbound",
    to_number="+15550101000",
    from_number="+15550100200",
    segments=1,
    cost_usd=Decimal("0.00790"),
    body="Your table is waiting.",
)


def told(**values: Any) -> TwilioMessage:
    """
    The message, but for these fields.
    """
    return TwilioMessage(**{**{name: getattr(MESSAGE, name) for name in MESSAGE.__struct_fields__}, **values})


def row(**values: Any) -> Row:
    """
    The row, but for these fields.
    """
    return replace(ROW, **values)


def differing(message: TwilioMessage, recorded: Row, vocabulary: frozenset[str] | None = None) -> dict[str, bool]:
    """
    The fields that differ, and whether the record is wrong there and not merely behind.
    """
    return {one.field: one.contradicts for one in differences(message, recorded, "US", vocabulary)}


def test_agreement() -> None:
    """
    A row that says what Twilio says differs in nothing, and a difference names both sides.
    """
    assert differences(MESSAGE, ROW, "US") == ()
    assert differences(MESSAGE, row(segments=2), "US") == (Difference("segments", "2", "1"),)


# Statuses

WORDS: Final = ["accepted", "scheduled", "queued", "sending", "sent", "delivered", "undelivered", "failed", "canceled"]
WORDS_ALL: Final = [*WORDS, "read", "receiving", "received"]
FINAL: Final = {"delivered", "undelivered", "failed", "canceled", "received", "read"}
STEPS: Final = [{"accepted", "scheduled", "receiving"}, {"queued"}, {"sending"}, {"sent"}, FINAL]


def verdict(recorded: str, twilio: str) -> str:
    """
    What the contract says of a status in the table and another at Twilio.
    """
    here, there = (next(n for n, step in enumerate(STEPS) if word in step) for word in (recorded, twilio))
    if recorded == twilio:
        return "agrees"
    if here < there or (recorded, twilio) == ("delivered", "read"):
        return "behind"
    if twilio in FINAL or recorded in {"delivered", "read"}:
        return "contradicts"
    return "agrees" if here == there else "ahead"


@pytest.mark.parametrize(("recorded", "twilio"), list(product(WORDS_ALL, WORDS_ALL)))
def test_every_pair_of_statuses(recorded: str, twilio: str) -> None:
    """
    By rank: behind is no contradiction; denying a final status is one, and so is claiming an arrival on one's own.
    """
    expected = {"agrees": {}, "behind": {"status": False}, "ahead": {"status": False}, "contradicts": {"status": True}}
    message, severity = told(status=twilio), expected[verdict(recorded, twilio)]

    for mine in (row(status=recorded, twilio_status=None), row(status=recorded, twilio_status=recorded)):
        assert {one.field: one.contradicts for one in told_once(differences(message, mine, "US"), mine)} == severity
    alone = differing(message, row(status=None, twilio_status=recorded))
    assert list(alone.values()) == list(severity.values())


def test_the_words_are_twilios() -> None:
    """
    No rank is left untested.
    """
    assert set(WORDS_ALL) == set(STATUS_RANK)


def test_some_pairs_by_name() -> None:
    """
    The ones that people ask about.
    """
    assert verdict("queued", "delivered") == "behind"
    assert verdict("delivered", "read") == "behind"
    assert verdict("read", "delivered") == "contradicts"
    assert verdict("failed", "read") == "contradicts"
    assert verdict("delivered", "sent") == "contradicts"
    assert verdict("delivered", "undelivered") == "contradicts"
    assert verdict("failed", "sent") == "ahead"
    assert verdict("accepted", "scheduled") == "agrees"


def test_two_status_columns_are_judged_each() -> None:
    """
    Each is compared, so that each is corrected; the same word in both is told once.
    """
    assert differing(MESSAGE, row(status="sent", twilio_status="delivered")) == {"status": False}
    assert differing(MESSAGE, row(status="delivered", twilio_status="failed")) == {"twilio_status": True}
    assert differing(MESSAGE, row(status="sent", twilio_status="failed")) == {"status": False, "twilio_status": True}
    both = row(status="sent", twilio_status="sent")
    assert differing(MESSAGE, both) == {"status": False, "twilio_status": False}
    assert told_once(differences(MESSAGE, both, "US"), both) == (Difference("status", "sent", "delivered"),)


def test_words_that_are_not_twilios_have_no_rank() -> None:
    """
    An application's own words, and Twilio's future ones, are not compared; the coverage counts them.
    """
    for recorded, twilio in [("done", "delivered"), ("queued", "partially_delivered"), ("error", "failed")]:
        message, mine = told(status=twilio), row(status=recorded, twilio_status=None)
        assert differing(message, mine) == {}
        assert not comparable(message, mine)

    assert comparable(MESSAGE, ROW)
    assert comparable(MESSAGE, row(status="queued", twilio_status=None))
    assert comparable(MESSAGE, row(status=None, twilio_status=None))
    assert comparable(told(status="new"), row(status="new", twilio_status="new"))
    assert not comparable(MESSAGE, row(status="delivered", twilio_status="done"))


# A column with words of its own

NARROW: Final = frozenset({"pending", "sent", "delivered", "failed"})


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("accepted", "pending"),
        ("scheduled", "pending"),
        ("queued", "pending"),
        ("sending", "pending"),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("read", "delivered"),
        ("undelivered", "failed"),
        ("failed", "failed"),
        ("canceled", "failed"),
        ("received", None),
        ("receiving", None),
        ("partially_delivered", None),
    ],
)
def test_a_narrower_vocabulary(status: str, word: str | None) -> None:
    """
    Twilio's status in the column's own words, or none; what is translated so is no difference.
    """
    assert expressible(status, NARROW) == word
    assert expressible(status, None) == status
    if word is not None:
        mine = row(status=word, twilio_status=status)
        assert differing(told(status=status), mine, NARROW) == {}
        assert comparable(told(status=status), mine, NARROW) or status not in STATUS_RANK


@settings(deadline=None)
@given(
    st.sampled_from([*WORDS_ALL, "partially_delivered"]), st.frozensets(st.sampled_from([*WORDS_ALL, *NARROW, "error"]))
)
def test_delivered_is_never_said_of_a_text_that_did_not_arrive(status: str, vocabulary: frozenset[str]) -> None:
    """
    However few words a column takes, it gets one of them, and ``delivered`` only for what reached the customer.
    """
    word = expressible(status, vocabulary)

    assert word is None or word in vocabulary
    assert word != "delivered" or status in {"delivered", "read"}
    assert status not in vocabulary or word == status


def test_a_translation_hides_no_contradiction() -> None:
    """
    Only the word that stands for Twilio's status is accepted for it.
    """
    assert differing(told(status="undelivered"), row(twilio_status=None), NARROW) == {"status": True}
    assert differing(MESSAGE, row(status="failed", twilio_status=None), NARROW) == {"status": True}
    assert differing(told(status="undelivered"), row(status="sent", twilio_status=None), NARROW) == {"status": False}
    wordless = frozenset({"sent", "delivered"})
    assert differing(told(status="failed"), row(twilio_status=None), wordless) == {"status": True}
    assert comparable(told(status="failed"), row(twilio_status=None), wordless)


def test_a_column_without_a_word_for_inbound_texts_says_nothing_of_them() -> None:
    """
    Where outbound words are all it takes, an inbound row has to lie in that column; that is counted, not blamed.
    """
    inbound = told(direction="inbound", status="received")
    mine = row(direction="inbound", status="delivered", twilio_status=None)

    assert differing(inbound, mine, NARROW) == {}
    assert not comparable(inbound, mine, NARROW)
    assert differing(inbound, mine, NARROW | {"received"}) == {"status": True}
    assert differing(inbound, mine) == {"status": True}


# The other fields


@pytest.mark.parametrize("name", Row.__struct_fields__)
def test_null_columns_claim_nothing(name: str) -> None:
    """
    A row that leaves a field open does not contradict Twilio in it; nor does Twilio where it says nothing.
    """
    assert differing(MESSAGE, row(**{name: None})) == {}


@pytest.mark.parametrize(
    ("silent", "field"),
    [
        ({"body": None}, "body"),
        ({"body": ""}, "body"),
        ({"price": None}, "cost_usd"),
        ({"price_unit": None}, "cost_usd"),
        ({"price_unit": "EUR"}, "cost_usd"),
        ({"num_segments": None}, "segments"),
        ({"num_segments": "0"}, "segments"),
        ({"from_number": None}, "from_number"),
        ({"to": None}, "to_number"),
    ],
)
def test_what_twilio_does_not_say_is_no_difference(silent: dict[str, Any], field: str) -> None:
    """
    A redacted body, a price not billed yet or in another currency, segments not counted yet, a sender not picked yet.
    """
    wrong = row(body="x", cost_usd=Decimal(9), segments=9, from_number="+15550109999", to_number="+15550109999")

    assert differing(told(**silent), wrong).keys() == differing(MESSAGE, wrong).keys() - {field}
    assert len(differing(MESSAGE, wrong)) == 5


@pytest.mark.parametrize(
    ("body", "agrees"),
    [
        ("Your table is waiting.", True),
        ("", True),
        ("Your table is waiting", False),
        ("your table is waiting.", False),
        (" Your table is waiting.", False),
    ],
)
@pytest.mark.parametrize("prefix", ["", TRIAL])
def test_bodies(body: str, agrees: bool, prefix: str) -> None:
    """
    Exact text, but for what Twilio puts in front of it on a trial account.
    """
    assert differing(told(body=prefix + "Your table is waiting."), row(body=body)) == (
        {} if agrees else {"body": False}
    )


def test_the_trial_prefix_is_only_twilios() -> None:
    """
    A recorded prefix that Twilio does not have is a difference, and so is another text behind one that it has.
    """
    assert differing(MESSAGE, row(body=f"{TRIAL}{MESSAGE.body}")) == {"body": False}
    assert differing(told(body=TRIAL + "x"), row(body=TRIAL + "x")) == {}
    assert differing(told(body=TRIAL), ROW) == {"body": False}


def test_nul_cannot_be_recorded() -> None:
    """
    PostgreSQL cannot store it, so a body without it is the same body.
    """
    assert differing(told(body="Your\0 table is waiting.\0"), ROW) == {}


@pytest.mark.parametrize(
    ("cost", "agrees"),
    [
        ("0.0079", True),
        ("-0.0079", True),
        ("0.007900000", True),
        ("0.007904", True),
        ("0.00791", False),
        ("0.00789", False),
        ("0", False),
        ("7.9", False),
        ("NaN", False),
    ],
)
def test_costs(cost: str, agrees: bool) -> None:
    """
    The amount counts, to the five decimals that applications keep: neither its sign nor its zeros.
    """
    assert differing(MESSAGE, row(cost_usd=Decimal(cost))) == ({} if agrees else {"cost_usd": False})
    assert differing(told(price="0.00790"), row(cost_usd=Decimal(cost))) == ({} if agrees else {"cost_usd": False})


def test_numbers() -> None:
    """
    Another recipient is an error, another sender is not; the same number may be written in any way.
    """
    assert differing(MESSAGE, row(to_number="+15550101001")) == {"to_number": True}
    assert differing(MESSAGE, row(from_number="+15550100201")) == {"from_number": False}
    assert differing(MESSAGE, row(to_number="(555) 010-1000", from_number="15550100200")) == {}
    assert differing(MESSAGE, row(to_number="", from_number="")) == {}
    assert differing(told(from_number="ACME"), row(from_number="ACME")) == {}
    assert differing(told(from_number="ACME"), row(from_number="Acme")) == {"from_number": False}


@pytest.mark.parametrize("twilio", ["inbound", "outbound-api", "outbound-call", "outbound-reply"])
def test_directions(twilio: str) -> None:
    """
    Twilio's three outbound directions are one; an application may write its own word or Twilio's.
    """
    ours = "inbound" if twilio == "inbound" else "outbound"
    others = "outbound" if twilio == "inbound" else "inbound"

    assert direction_of(told(direction=twilio)) == ours
    assert differing(told(direction=twilio), row(direction=ours)) == {}
    assert differing(told(direction=twilio), row(direction=twilio)) == {}
    assert differing(told(direction=twilio), row(direction=others)) == {"direction": False}


# Lines


def test_a_line() -> None:
    """
    The fields in their order; nothing stands for what is not said.
    """
    assert line_of(MESSAGE).split("\x1f") == [
        *(
            MESSAGE.sid,
            "delivered",
            "+15550101000",
            "+15550100200",
            "outbound",
            "1",
            "0.0079",
            "Your table is waiting.",
        ),
    ]
    bare = TwilioMessage(sid=MESSAGE.sid, status="queued", direction="inbound", num_segments="0")
    assert line_of(bare).split("\x1f") == [MESSAGE.sid, "queued", "", "", "inbound", "", "", ""]


@pytest.mark.parametrize(
    ("price", "unit", "written"),
    [
        ("-0.00790", "USD", "0.0079"),
        ("-0.0075", "usd", "0.0075"),
        ("-100.00", "USD", "100"),
        ("0.00000", "USD", "0"),
        ("-1E+2", "USD", "100"),
        ("-0.0000001", "USD", "0.0000001"),
        ("-0.00790", "EUR", ""),
        (None, "USD", ""),
        ("free", "USD", "unreadable free"),
        ("NaN", "USD", "unreadable NaN"),
        ("-Infinity", "USD", "unreadable -Infinity"),
    ],
)
def test_a_price_is_written_as_postgresql_writes_it(price: str | None, unit: str, written: str) -> None:
    """
    No sign, no exponent, no zeros at the end; and nothing that a number in the table could ever equal by chance.
    """
    assert line_of(told(price=price, price_unit=unit)).split("\x1f")[6] == written


def test_a_line_that_cannot_be_told_apart() -> None:
    """
    A text with the separator in it is not guessed at.
    """
    with pytest.raises(ValueError, match="unpack"):
        row_of(line_of_row(row(body="a\x1fb")))
    with pytest.raises(ValueError, match="unpack"):
        row_of(line_of_row(row(from_number="+1\x1f555")))


_MONEY: Final = st.decimals(0, 10, places=5)
_TEXTS: Final = st.text(st.characters(exclude_characters="\0\x1d\x1e\x1f", codec="utf-8"), max_size=8)
_CHANGED: Final = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(sorted(FINAL | {"queued", "sent"})),
        "to": st.sampled_from(["+15550101000", "+15550101001", "ACME"]),
        "from_number": st.sampled_from(["+15550100200", "+15550100201", "72345"]),
        "direction": st.sampled_from(["inbound", "outbound-api"]),
        "num_segments": st.integers(1, 10).map(str),
        "price": _MONEY.map(lambda amount: f"-{amount}"),
        "body": _TEXTS.filter(bool),
    },
)


def faithful(message: TwilioMessage) -> Row:
    """
    The row with every field filled from the message.
    """
    return row(
        message_sid=message.sid,
        status=message.status,
        twilio_status=message.status,
        direction=direction_of(message),
        to_number=message.to,
        from_number=message.from_number,
        segments=message.segments,
        cost_usd=message.cost_usd,
        body=message.body,
    )


@settings(deadline=None, max_examples=300)
@given(_CHANGED, _CHANGED, st.booleans())
def test_lines_are_equal_exactly_when_nothing_differs(
    one: dict[str, Any], other: dict[str, Any], negative: bool
) -> None:
    """
    For rows with every field filled, comparing lines in bulk gives the answer that comparing field by field gives.
    """
    message, mine = told(**one), faithful(told(**{**one, **other}))
    if negative and mine.cost_usd is not None:
        mine = replace(mine, cost_usd=-mine.cost_usd)

    assert (line_of(message) == line_of_row(mine)) == (differences(message, mine, "US") == ())


_MAYBE: Final = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from([*WORDS_ALL, "partially_delivered"]),
        "to": st.one_of(st.none(), _TEXTS),
        "from_number": st.one_of(st.none(), _TEXTS),
        "direction": st.sampled_from(["inbound", "outbound-api", "outbound-reply"]),
        "num_segments": st.one_of(st.none(), st.integers(0, 10).map(str)),
        "price": st.one_of(st.none(), _MONEY.map(str), st.just("-1E-7")),
        "price_unit": st.sampled_from([None, "USD", "EUR"]),
        "body": st.one_of(st.none(), _TEXTS),
    },
)


@settings(deadline=None, max_examples=300)
@given(_MAYBE)
def test_the_row_behind_a_messages_line_agrees_with_it(values: dict[str, Any]) -> None:
    """
    Whatever a message says or leaves open, what is equal in bulk differs in nothing, so bulk can hide no difference.
    """
    message = told(**values)
    mine = row_of(line_of(message))

    assert differences(message, mine, "US") == ()
    assert line_of_row(mine) == line_of(message)
    assert mine.sid == message.sid


@settings(deadline=None, max_examples=200)
@given(_MAYBE, st.sampled_from(["status", "twilio_status"]), st.sampled_from([None, "sent", "delivered", "pending"]))
def test_a_row_survives_its_line(values: dict[str, Any], column: str, status: str | None) -> None:
    """
    What a line says of a row is what the row says to the rules.
    """
    message, mine = told(**values), row(**{column: status})

    both = row_of(line_of_row(mine)), mine
    through, direct = (told_once(differences(message, one, "US"), one) for one in both)

    assert [(one.twilio, one.contradicts) for one in through] == [(one.twilio, one.contradicts) for one in direct]
