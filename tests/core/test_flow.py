"""
The flow's decisions, one by one: what goes in, what comes out, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from random import Random
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.core import flow, queue
from booking_doctor.core.booking import (
    BookingRequest,
    Event,
    InitialSms,
    Job,
    JobState,
    PendingBooking,
    Resolution,
    SmsState,
    StatusReport,
)
from booking_doctor.core.flow import Terms
from booking_doctor.core.metadata import metadata_of, metadata_with, sms_in
from booking_doctor.core.model import STATUS_RANK, TwilioMessage
from booking_doctor.core.ports import Accepted, Lost, NotSent
from booking_doctor.errors import InputRefused
from tests.core.desk import APP, NOON, PHONE
from tests.memory import rfc2822, sid

TERMS = Terms(app_url=APP)
RIGHT = BookingRequest(event_id="1", customer_name="Ada", customer_phone=PHONE)
SENDING = InitialSms(
    state=SmsState.SENDING, attempt_id="a", attempted_at=NOON, body="Hello", to_number=PHONE, segments=1
)
BOOKING = PendingBooking(
    id="1",
    token="t",
    event_id="1",
    customer_name="Ada",
    customer_email=None,
    customer_phone=PHONE,
    created_at=NOON,
    expires_at=NOON + timedelta(days=1),
    sms=SENDING,
)


def message(number: int = 1, status: str = "queued", **more: object) -> TwilioMessage:
    """
    A text as Twilio answers.
    """
    values = {"to": PHONE, "from_number": "+15550100200", "body": "Hello", "num_segments": "1"}
    dates = {"date_created": rfc2822(NOON)}
    return TwilioMessage(sid=sid(number), status=status, direction="outbound-api", **{**values, **dates, **more})  # type: ignore[arg-type]


# --- input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phone", "reason"),
    [
        ("", "is missing"),
        ("   ", "is missing"),
        ("no phone", "holds something other than digits"),
        ("1-800-FLOWERS", "holds something other than digits"),
        ("+1 555 010 1000 ext. 5", "holds something other than digits"),
        ("whatsapp:+15550101000", "holds something other than digits"),
        ("+15550101000, +15550101001", "holds something other than digits"),
        ("+15550101000\0", "holds something other than digits"),
        ("+15550101000 +15550101001", "is more than one number"),
        ("911", "is too short"),
        ("+1555", "is too short"),
        ("555-0100", "lacks its area code"),
        ("+1 555 010 1000 1000", "is too long"),
        ("0" * 2000, "is too long"),
        ("+999 555 010 1000", "has a country code that does not exist"),
        ("+", "is not complete"),
        ("()-", "is not complete"),
        ("5550101234567890123", "is too long"),
    ],
)
def test_a_wrong_phone_is_refused_in_words(phone: str, reason: str) -> None:
    """
    Whoever typed it learns what is wrong with it, and how to write it.
    """
    with pytest.raises(InputRefused, match=f"the phone number {reason}") as refused:
        flow.checked(replace(RIGHT, customer_phone=phone), TERMS)

    assert refused.value.field == "customer_phone"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("typed", "region", "phone"),
    [
        ("(555) 010-1000", "US", PHONE),
        ("1.555.010.1000", "US", PHONE),
        ("+1 555 010 1000", "DE", PHONE),
        ("\u00a0+1\u2011555\u2011010\u20111000 ", "DE", PHONE),
        ("+15550101000", "US", PHONE),
        ("01512 3456789", "DE", "+4915123456789"),
        ("0049 1512 3456789", "DE", "+4915123456789"),
        ("+44 (0)20 7946 0958", "US", "+442079460958"),
        ("5550101000", "US", PHONE),
    ],
)
def test_a_phone_is_brought_into_one_form(typed: str, region: str, phone: str) -> None:
    """
    E.164, whichever of the usual ways it was typed in.
    """
    checked = flow.checked(replace(RIGHT, customer_phone=typed), Terms(app_url=APP, region=region))

    assert checked.customer_phone == phone


@given(st.text(max_size=60))
def test_any_phone_is_brought_into_one_form_or_refused(typed: str) -> None:
    """
    Nothing else happens, whatever is typed.
    """
    try:
        phone = flow.checked(replace(RIGHT, customer_phone=typed), TERMS).customer_phone
    except InputRefused:
        return
    assert phone[0] == "+"
    assert phone[1:].isascii()
    assert phone[1:].isdecimal()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("customer_name", "", "is missing"),
        ("customer_name", " \u3000", "is missing"),
        ("customer_name", "A" * 2000, "2,000 characters, at most 200"),
        ("customer_name", "😀" * 201, "201 characters"),
        ("customer_name", "Ada\0", "control characters"),
        ("customer_name", "Ada\nPay here", "control characters"),
        ("customer_name", "\ud83d", "control characters"),
        ("customer_email", "ada", "needs one @"),
        ("customer_email", "ada@example.com bob@example.com", "needs one @"),
        ("customer_email", "a" * 250 + "@example.com", "at most 254"),
        ("event_id", "", "is missing"),
        ("event_id", "1" * 201, "at most 200"),
    ],
)
def test_other_input_that_cannot_be_meant_is_refused(field: str, value: str, reason: str) -> None:
    """
    With the field and the reason, and without what was typed.
    """
    with pytest.raises(InputRefused, match=reason) as refused:
        flow.checked(replace(RIGHT, **{field: value}), TERMS)

    assert refused.value.field == field
    assert not value.strip() or value not in refused.value.sentence


@pytest.mark.parametrize("key", ["", " ", "k" * 256, "k\0", "\ud800"])
def test_a_key_that_cannot_be_one_is_refused(key: str) -> None:
    """
    Before it is looked up.
    """
    with pytest.raises(InputRefused) as refused:
        flow.key_of(key)

    assert refused.value.field == "idempotency_key"


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_key_stands_for_one_booking_id(one: str, other: str) -> None:
    """
    Equal keys give equal ids, others do not.
    """
    ids = [
        flow.begun(
            RIGHT,
            Event(id="1", title=None),
            flow.Start(token="t", attempt_id="a", strategy="direct", key=key or "-", now=NOON),
            TERMS,
        ).id
        for key in (one, other)
    ]

    assert (ids[0] == ids[1]) == ((one or "-") == (other or "-"))


# --- what becomes of a text ------------------------------------------------------------------------------------------

NEWS: Final[Mapping[str, Callable[[InitialSms], InitialSms]]] = {
    "accepted": lambda sms: flow.answered(sms, Accepted(message=message())),
    "lost": lambda sms: flow.answered(sms, Lost(reason="no answer")),
    "callback sent": lambda sms: flow.told(sms, callback("sent")),
    "callback delivered": lambda sms: flow.told(sms, callback("delivered")),
    "found": lambda sms: flow.looked_up(sms, [message(status="sending")], (), NOON)[0] if sms.unsettled else sms,
    "not found": lambda sms: flow.looked_up(sms, [], (), NOON)[0] if sms.unsettled else sms,
}


def callback(status: str, number: int = 1) -> StatusReport:
    """
    A status callback for the attempt.
    """
    return StatusReport(
        message_sid=sid(number), status=status, from_number="+15550100200", booking_id="1", attempt_id="a"
    )


def test_whatever_is_heard_of_a_text_first_the_end_is_the_same() -> None:
    """
    The answer, its loss, callbacks and the log: in every order the SID stays and the status is the furthest.
    """
    ends = set()
    for order in permutations(NEWS):
        sms = SENDING
        for news in order:
            sms = NEWS[news](sms)
            assert not SENDING.message_sid or sms.message_sid
        ends.add((sms.state, sms.message_sid, sms.status, sms.error, sms.segments, sms.from_number, sms.sent_at))

    assert ends == {(SmsState.SENT, sid(1), "delivered", None, 1, "+15550100200", NOON)}


def test_a_refusal_does_not_take_back_a_text_that_is_known() -> None:
    """
    A callback came first; whatever the answer was then, the text exists.
    """
    known = flow.told(SENDING, callback("queued"))

    assert flow.answered(known, NotSent(code=21610, reason="no")) == known
    assert flow.answered(known, Lost(reason="no answer")) == known
    assert flow.answered(known, Accepted(message=message(2))) == known


@given(st.lists(st.sampled_from([*STATUS_RANK, "partially_delivered", "", "nonsense"]), max_size=6), st.randoms())
@example(["accepted", "scheduled"], Random(3))
def test_the_furthest_status_holds_in_any_order(statuses: list[str], random: object) -> None:
    """
    Statuses may come in any order and several times: the end is the same, and never a word that Twilio has not.
    """

    def end(order: list[str]) -> str | None:
        status: str | None = None
        for word in order:
            status = flow.further(status, word)
        return status

    shuffled = list(statuses)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert end(statuses) == end(shuffled) == end(statuses * 2)
    assert end(statuses) in {*STATUS_RANK, None}


def test_a_text_with_an_odd_date_or_price_is_recorded_all_the_same() -> None:
    """
    It went out; when, we know from the attempt.
    """
    sms = flow.known(SENDING, message(date_created="yesterday", price="much", price_unit="USD"))

    assert (sms.state, sms.sent_at, sms.cost_usd) == (SmsState.SENT, NOON, None)


def test_the_trial_prefix_and_a_refused_attempt_are_recognised() -> None:
    """
    What a trial account puts before the text is no other text; one that Twilio refused has failed.
    """
    prefixed = message(body="Sent from your Twilio trial account - Hello")
    refused = message(2, "failed", error_code=21610)
    inbound = TwilioMessage(sid=sid(3), status="received", direction="inbound", body="Hello")

    assert flow.may_be(SENDING, [prefixed, refused, inbound, message(4, body="Hello!")]) == [prefixed, refused]
    assert flow.looked_up(SENDING, [refused, prefixed], (), NOON)[1] is Resolution.FOUND
    sms, resolution = flow.looked_up(SENDING, [refused], (), NOON)
    assert (sms.state, sms.error_code, resolution) == (SmsState.FAILED, 21610, Resolution.REFUSED)


# --- metadata --------------------------------------------------------------------------------------------------------

_texts = st.none() | st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text)
_moments = st.none() | st.datetimes().map(lambda moment: moment.replace(tzinfo=NOON.tzinfo))
_texts_of_bookings = st.builds(
    InitialSms,
    state=st.sampled_from([state for state in SmsState if state is not SmsState.SENT]),
    attempt_id=_texts,
    attempted_at=_moments,
    message_sid=st.none(),
    body=_texts,
    from_number=_texts,
    to_number=_texts,
    segments=st.none() | st.integers(1, 10),
    cost_usd=st.none() | st.decimals(0, 9, places=5),
    sent_at=_moments,
    status=_texts,
    error_code=st.none() | st.integers(10000, 63999),
    error=_texts,
) | st.builds(InitialSms, state=st.just(SmsState.SENT), message_sid=st.just(sid(7)))


@given(_texts_of_bookings)
def test_metadata_gives_back_what_was_put_into_it(sms: InitialSms) -> None:
    """
    Every field, to the last digit.
    """
    assert sms_in(metadata_of(replace(BOOKING, sms=sms))) == sms


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5),
        max_size=4,
    ),
    _texts_of_bookings,
)
def test_what_others_keep_in_the_metadata_stays(others: dict[str, object], sms: InitialSms) -> None:
    """
    Beside `initial_sms`, and within it.
    """
    theirs = {**others, "initial_sms": {"theirs": others, "state": "nonsense"}}

    kept = metadata_with(json.dumps(theirs), sms)

    assert kept
    assert sms_in(kept) == sms
    document = json.loads(kept)
    assert document["initial_sms"]["theirs"] == others
    del document["initial_sms"], theirs["initial_sms"]
    assert document == theirs


@pytest.mark.parametrize("exact", ["1.10", "1e400", "123456789012345678901234567890", "-0.0"])
def test_numbers_of_others_stay_as_they_are_written(exact: str) -> None:
    """
    To the digit: what is not ours is not read and written anew.
    """
    kept = metadata_with('{"price": %s}' % exact, SENDING)  # noqa: UP031  the braces are JSON's

    assert kept
    assert f'"price":{exact}' in kept.replace(" ", "")


@pytest.mark.parametrize("metadata", ['"{}"', "[]", "7", "nonsense", '{"initial_sms": "{}"}', '{"initial_sms": []}'])
def test_metadata_that_is_no_object_is_left_alone(metadata: str) -> None:
    """
    It says nothing, and nothing can be put into it without losing what it says.
    """
    assert sms_in(metadata) is None
    assert metadata_with(metadata, SENDING) is None


@pytest.mark.parametrize("metadata", [None, "", "null", "{}", '{"initial_sms": null}', '{"initial_sms": {}}'])
def test_empty_metadata_takes_a_text(metadata: str | None) -> None:
    """
    In any of the ways in which it can be empty.
    """
    assert sms_in(metadata) is None
    assert sms_in(metadata_with(metadata, SENDING)) == SENDING


def test_the_incidents_metadata_is_understood() -> None:
    """
    As the application's own code wrote it: no state, no attempt, a price with a sign, a time without zone.
    """
    metadata = {
        "initial_sms": {
            "message_sid": sid(1),
            "body": "Hello",
            "from_number": "+15550100200",
            "to_number": PHONE,
            "segments": 1,
            "cost_usd": "-0.0079",
            "sent_at": "2026-11-20 12:00:00",
        }
    }

    assert sms_in(json.dumps(metadata)) == InitialSms(
        state=SmsState.SENT,
        message_sid=sid(1),
        body="Hello",
        from_number="+15550100200",
        to_number=PHONE,
        segments=1,
        cost_usd=Decimal("0.0079"),
        sent_at=NOON,
    )


@pytest.mark.parametrize(
    "odd",
    [
        {"message_sid": "SM12"},
        {"message_sid": 7, "state": 7},
        {"state": "nonsense"},
        {"state": "sent"},
    ],
)
def test_a_text_without_sid_and_without_state_is_none(odd: dict[str, object]) -> None:
    """
    `sent` without a SID says nothing that could be recorded.
    """
    sms = sms_in(json.dumps({"initial_sms": odd}))

    assert sms is None or (sms.message_sid is None and sms.state is SmsState.SENT)
    assert flow.row_of(replace(BOOKING, status="confirmed", customer_id="1", sms=sms)) is None


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_any_metadata_can_be_read(document: object) -> None:
    """
    Whatever somebody stored, reading it never fails.
    """
    sms_in(json.dumps(document))
    sms_in(json.dumps({"initial_sms": document}))
    names = ("sent_at", "cost_usd", "segments", "body", "message_sid", "attempt_id")
    sms_in(json.dumps({"initial_sms": {"state": "unknown", **dict.fromkeys(names, document)}}))


# --- the queue -------------------------------------------------------------------------------------------------------


def test_delays_grow_and_end() -> None:
    """
    Each longer than the one before, none longer than an hour.
    """
    delays = [queue.delay(tries) for tries in range(1, 9)]

    assert delays[: queue.MAX_TRIES] == sorted(set(delays[: queue.MAX_TRIES]))
    assert max(delays) == timedelta(hours=1)


@pytest.mark.parametrize("state", SmsState)
def test_only_what_certainly_was_not_sent_is_sent(state: SmsState) -> None:
    """
    Every state of a text has one move, and only three of them lead to Twilio.
    """
    sms = replace(SENDING, state=state, message_sid=sid(1) if state is SmsState.SENT else None)
    move, outcome = queue.move(Job(id="1", booking_id="1", run_at=NOON), BOOKING.with_sms(sms), NOON)

    sends = {SmsState.QUEUED, SmsState.FAILED, SmsState.DROPPED}
    assert (move is queue.Move.SEND) == (state in sends)
    assert (move is queue.Move.LOOK_UP) == (state in {SmsState.SENDING, SmsState.UNKNOWN})
    assert outcome.state is JobState.DONE
