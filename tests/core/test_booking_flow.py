"""
The booking flow, in memory and on the real adapters alike: what callers are told, what is stored, what customers get.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from booking_doctor.core.booking import (
    InitialSms,
    Resolution,
    SmsState,
    StatusReport,
    StatusTaken,
)
from booking_doctor.errors import BookingClosed, BookingUnknown, InputRefused, KeyReused, TextTooLong
from booking_doctor.sandbox.incidents import SENDER
from tests.core.desk import APP, OTHER_PHONE, PHONE, Desk, initiate, report, request

LOST = "the connection to Twilio was lost"
SID = "SM" + "0" * 31 + "f"


# --- initiate --------------------------------------------------------------------------------------------------------


def test_a_booking_is_stored_and_its_customer_texted_once(desk: Desk) -> None:
    """
    The answer, the booking's metadata and Twilio agree on the one text there is.
    """
    initiated = initiate(desk)

    assert initiated.sms
    assert desk.taken == [(initiated.sms.message_sid, PHONE, initiated.sms.body)]
    assert initiated.sms.state is SmsState.SENT
    stored = desk.booking(initiated.booking_id)
    assert stored.sms == initiated.sms
    assert (stored.status, stored.customer_phone, stored.token) == ("pending", PHONE, initiated.token)
    assert stored.expires_at == desk.clock.now() + timedelta(days=1)


def test_the_metadata_says_all_that_confirm_records(desk: Desk) -> None:
    """
    SID, words, both numbers, segments, time and Twilio's status, beside the attempt that is ours.
    """
    sms = desk.booking(initiate(desk).booking_id).sms

    assert sms
    assert sms.body == f"Please confirm your booking for Dinner: {APP}/confirm/{desk.booking(_only(desk)).token}"
    assert (sms.from_number, sms.to_number, sms.segments) == (SENDER, PHONE, 1)
    assert (sms.sent_at, sms.attempted_at, sms.status) == (desk.clock.now(), desk.clock.now(), "queued")
    assert sms.attempt_id
    assert (sms.error, sms.error_code, sms.cost_usd) == (None, None, None)


def _only(desk: Desk) -> str:
    (booking_id,) = {booking_id for _, booking_id, _ in desk.notes if booking_id}
    return booking_id


def test_the_phone_is_stored_in_one_form(desk: Desk) -> None:
    """
    However it was typed, E.164 is stored and texted.
    """
    booking_id = initiate(desk, " (555) 010-1000 ").booking_id

    assert desk.booking(booking_id).customer_phone == PHONE
    assert desk.taken[0][1] == PHONE


def test_what_cannot_be_meant_is_refused_before_anything_is_stored(desk: Desk) -> None:
    """
    Whoever typed it learns which field it is, and nobody is texted.
    """
    missing = "00000000-0000-4000-8000-000000000000"
    fields: list[dict[str, str]] = [
        *({"event_id": odd} for odd in ("no such event", missing, "'; DROP TABLE events; --", "0")),
        {"customer_phone": "911"},
        {"customer_name": "A" * 2000},
        {"customer_email": "ada"},
    ]
    for field in fields:
        with pytest.raises(InputRefused) as refused:
            desk.service.initiate_booking(replace(request(desk), **field))
        assert [refused.value.field] == list(field)

    with pytest.raises(InputRefused) as refused:
        initiate(desk, idempotency_key="k" * 256)
    assert refused.value.field == "idempotency_key"

    assert desk.taken == []
    assert {booking_id for _, booking_id, _ in desk.notes} == {None}


def test_emoji_and_every_script_are_names(desk: Desk) -> None:
    """
    A name is stored as it is, and the text does not repeat it: strangers do not get to write our texts.
    """
    name = "Zoë 🦊 李小龍 عائشة 👩‍👩‍👧‍👦"

    booking = desk.booking(desk.service.initiate_booking(request(desk, name=name)).booking_id)

    assert booking.customer_name == name
    assert name not in desk.taken[0][2]


def test_a_text_that_twilio_would_not_take_is_refused_before_anything_is_stored(desk: Desk) -> None:
    """
    1,600 characters go out, 1,601 do not.
    """
    desk.reword("a" * 1601)
    with pytest.raises(TextTooLong, match="1,601 characters, and Twilio takes 1,600"):
        initiate(desk)
    assert desk.taken == []

    desk.reword("a" * 1600)
    sms = initiate(desk).sms

    assert sms
    assert (sms.state, sms.segments) == (SmsState.SENT, 11)


def test_an_empty_text_is_refused_by_twilio_and_kept_as_that(desk: Desk) -> None:
    """
    Whoever makes such a text learns what Twilio says to it.
    """
    desk.reword("")

    initiated = initiate(desk)

    assert initiated.sms
    assert (initiated.sms.state, initiated.sms.error_code) == (SmsState.FAILED, 21602)
    assert initiated.debug.steps[-1].outcome == "done"


def test_a_refused_text_is_told_with_its_code(desk: Desk) -> None:
    """
    The booking stays, its text is `failed` with Twilio's code and what that means, and nobody was texted.
    """
    desk.refuse(PHONE)

    initiated = initiate(desk)

    assert initiated.sms
    assert (initiated.sms.state, initiated.sms.error_code) == (SmsState.FAILED, 21610)
    assert "opted out" in (initiated.sms.error or "")
    assert desk.booking(initiated.booking_id).sms == initiated.sms
    assert desk.taken == []


def test_a_text_that_twilio_did_nothing_with_is_tried_again(desk: Desk) -> None:
    """
    Where that does not help it has failed, and may be tried later.
    """
    desk.throttle(1)

    sms = initiate(desk).sms

    assert sms
    assert (sms.state, sms.error_code) == (SmsState.FAILED, 20429)
    assert desk.taken == []


@pytest.mark.parametrize("fault", ["lose_answer", "hang"])
def test_a_text_whose_fate_is_unknown_is_named_as_that(desk: Desk, fault: str) -> None:
    """
    It may have gone out, so it is not sent again.
    """
    getattr(desk, fault)()

    initiated = initiate(desk)

    assert initiated.sms
    assert (initiated.sms.state, initiated.sms.message_sid) == (SmsState.UNKNOWN, None)
    assert initiated.sms.error in {LOST, "Twilio does not answer"}
    assert desk.booking(initiated.booking_id).sms == initiated.sms
    assert len(desk.taken) == 1


def test_one_key_gives_one_booking_and_one_text(desk: Desk) -> None:
    """
    Also when the phone is written otherwise, and when the text has gone on meanwhile.
    """
    first = initiate(desk, idempotency_key="k-1")
    again = initiate(desk, "555.010.1000", idempotency_key="k-1")

    assert again.repeated
    assert (again.booking_id, again.token, again.sms) == (first.booking_id, first.token, first.sms)
    assert len(desk.taken) == 1

    other = initiate(desk, idempotency_key="k-2")

    assert not other.repeated
    assert other.booking_id != first.booking_id
    assert len(desk.taken) == 2


def test_a_key_that_comes_with_another_request_is_refused(desk: Desk) -> None:
    """
    Whatever differs; nobody is texted.
    """
    initiate(desk, idempotency_key="k")

    for other in (
        replace(request(desk), customer_phone=OTHER_PHONE),
        replace(request(desk), customer_name="Bob"),
        replace(request(desk), customer_email="ada@example.com"),
    ):
        with pytest.raises(KeyReused):
            desk.service.initiate_booking(other, idempotency_key="k")

    assert len(desk.taken) == 1


def test_the_debug_report_tells_the_steps_and_no_personal_data(desk: Desk) -> None:
    """
    The caller gets it, the audit log has it; phone, name, text and token are in neither.
    """
    initiated = initiate(desk)

    document = initiated.debug.document()
    assert [step["name"] for step in document["steps"]] == [
        "check the request",
        "store the booking and the intent to text",
        "ask Twilio to send the text",
        "store what became of the text",
    ]
    assert document["steps"][2]["outcome"] == f"Twilio took the text as {desk.taken[0][0]}"
    assert "DATABASE_URL" in document["variables"]
    assert document["sms"]["state"] == "sent"
    assert [(action, booking_id) for action, booking_id, _ in desk.notes] == [
        ("initiate_booking", initiated.booking_id)
    ]
    for secret in (PHONE, PHONE[-7:], "Ada", initiated.token, desk.taken[0][2]):
        assert secret not in str(document)
        assert secret not in str(desk.notes)


# --- confirm ---------------------------------------------------------------------------------------------------------


def test_confirm_makes_a_customer_and_records_the_text(desk: Desk) -> None:
    """
    The row has the customer, the words, and the time and status that Twilio told.
    """
    initiated = initiate(desk)
    desk.clock.forward(minutes=10)

    confirmed = desk.service.confirm_booking(initiated.token)

    (customer,) = desk.customers
    assert (confirmed.customer_id, confirmed.booking_id) == (customer.id, initiated.booking_id)
    assert customer.phone == PHONE
    (row,) = desk.recorded
    assert initiated.sms
    assert (row.message_sid, row.customer_id) == (initiated.sms.message_sid, customer.id)
    assert (row.status, row.body, row.to_number) == ("queued", initiated.sms.body, PHONE)
    assert row.created_at == initiated.sms.sent_at
    assert confirmed.message_sid == row.message_sid
    booking = desk.booking(initiated.booking_id)
    assert (booking.status, booking.customer_id) == ("confirmed", customer.id)


def test_confirming_again_gives_the_same_answer(desk: Desk) -> None:
    """
    One customer, one row.
    """
    token = initiate(desk).token
    first = desk.service.confirm_booking(token)

    again = desk.service.confirm_booking(token)

    assert again.repeated
    assert replace(again, repeated=False, debug=first.debug) == first
    assert len(desk.customers) == len(desk.recorded) == 1


def test_an_unknown_token_is_refused(desk: Desk) -> None:
    """
    So is a known one in another spelling; and whoever guesses tokens fills no audit log.
    """
    token = initiate(desk).token
    before = len(desk.notes)
    guesses = "", "no such token", "a\0b", "\ud800", "%", "' OR true --", "x" * 10_000
    spellings = token.swapcase(), f" {token}", f"{token}\n", token[:-1]

    for other in (*guesses, *spellings):
        with pytest.raises(BookingUnknown):
            desk.service.confirm_booking(other)

    assert len(desk.notes) == before
    assert desk.service.confirm_booking(token).message_sid


def test_an_expired_booking_is_refused(desk: Desk) -> None:
    """
    From the moment on at which its time has run out.
    """
    token = initiate(desk).token
    desk.clock.forward(hours=24, microseconds=-1)
    other = initiate(desk, OTHER_PHONE).token
    desk.clock.forward(microseconds=1)

    with pytest.raises(BookingClosed) as closed:
        desk.service.confirm_booking(token)

    assert closed.value.status == "expired"
    assert desk.recorded == []
    assert desk.service.confirm_booking(other).message_sid


def test_a_closed_booking_is_refused(desk: Desk) -> None:
    """
    Nothing is recorded and no customer made.
    """
    for status in ("expired", "cancelled"):
        initiated = initiate(desk)
        desk.close_booking(initiated.booking_id, status)

        with pytest.raises(BookingClosed) as closed:
            desk.service.confirm_booking(initiated.token)

        assert closed.value.status == status
    assert desk.recorded == []
    assert desk.customers == []


def test_the_customer_is_found_however_the_phone_is_stored(desk: Desk) -> None:
    """
    No second customer is made for one phone, nor is another country's number taken for it.
    """
    spellings = ["(555) 010-1{}", "1 555 010 1{}", "555.010.1{}", "+1-555-010-1{}", "+15550101{}"]
    for number, spelling in enumerate(spellings):
        phone, stored = f"+1555010100{number}", spelling.format(f"00{number}")
        desk.customer(f"+44555010100{number}")
        customer_id = desk.customer(stored)

        confirmed = desk.service.confirm_booking(initiate(desk, phone).token)

        assert (confirmed.customer_id, confirmed.notes) == (customer_id, ())
    assert len(desk.customers) == 2 * len(spellings)


def test_of_several_customers_the_one_with_the_same_email_is_taken(desk: Desk) -> None:
    """
    And the answer says so.
    """
    desk.customer(PHONE, "old@example.com", age=timedelta(days=9))
    right = desk.customer(PHONE, " ADA@example.com ", age=timedelta(days=5))
    desk.customer(PHONE, None, age=timedelta(days=7))
    asked = request(desk, email="ada@Example.com")

    confirmed = desk.service.confirm_booking(desk.service.initiate_booking(asked).token)

    assert confirmed.customer_id == right
    assert confirmed.notes == ("3 customers have this phone; the one with the same e-mail address was taken",)


def test_of_several_customers_the_oldest_is_taken_else(desk: Desk) -> None:
    """
    And the answer says so.
    """
    desk.customer(PHONE, age=timedelta(days=1))
    oldest = desk.customer("555 010 1000", age=timedelta(days=2))

    for email in (None, "nobody@example.com"):
        initiated = desk.service.initiate_booking(request(desk, email=email))
        confirmed = desk.service.confirm_booking(initiated.token)

        assert confirmed.customer_id == oldest
        assert confirmed.notes == ("2 customers have this phone; the oldest was taken",)


def test_two_bookings_of_one_phone_are_of_one_customer(desk: Desk) -> None:
    """
    Each with its own text.
    """
    first, second = (desk.service.confirm_booking(initiate(desk).token) for _ in range(2))

    assert first.customer_id == second.customer_id
    assert first.message_sid != second.message_sid
    assert len(desk.recorded) == 2


def test_a_text_of_an_unknown_fate_is_looked_up_before_it_is_recorded(desk: Desk) -> None:
    """
    Confirm finds it in Twilio's log and records it.
    """
    desk.lose_answer()
    initiated = initiate(desk)
    desk.clock.forward(minutes=1)

    confirmed = desk.service.confirm_booking(initiated.token)

    assert confirmed.message_sid == desk.taken[0][0]
    assert [row.message_sid for row in desk.recorded] == [confirmed.message_sid]
    assert _state(desk, initiated.booking_id) is SmsState.SENT


def _state(desk: Desk, booking_id: str) -> SmsState | None:
    sms = desk.booking(booking_id).sms
    return sms.state if sms else None


def test_confirm_does_without_what_twilio_does_not_show_yet(desk: Desk) -> None:
    """
    The booking is confirmed; its text is recorded once it is found.
    """
    desk.lose_answer()
    desk.lag(timedelta(minutes=10))
    initiated = initiate(desk)

    confirmed = desk.service.confirm_booking(initiated.token)

    assert confirmed.message_sid is None
    assert desk.recorded == []

    desk.clock.forward(minutes=11)
    assert desk.service.confirm_booking(initiated.token).message_sid == desk.taken[0][0]
    assert [row.customer_id for row in desk.recorded] == [confirmed.customer_id]


def test_confirm_records_what_another_program_deferred(desk: Desk) -> None:
    """
    Metadata as the incident's application writes it, without anything of ours.
    """
    initiated = initiate(desk)
    theirs = InitialSms(
        state=SmsState.SENT,
        message_sid=SID,
        body="See you",
        from_number=SENDER,
        to_number=PHONE,
        segments=1,
        sent_at=desk.clock.now() - timedelta(hours=1),
    )
    desk.set_sms(initiated.booking_id, theirs)

    confirmed = desk.service.confirm_booking(initiated.token)

    (row,) = desk.recorded
    assert (row.message_sid, row.body, row.status) == (SID, "See you", None)
    assert row.created_at == theirs.sent_at
    assert confirmed.message_sid == SID


def test_confirm_without_any_text_is_a_confirmation_all_the_same(desk: Desk) -> None:
    """
    Metadata that was emptied by somebody keeps nobody from their booking.
    """
    initiated = initiate(desk)
    desk.set_sms(initiated.booking_id, None)

    assert desk.service.confirm_booking(initiated.token).message_sid is None
    assert desk.recorded == []


def test_what_is_recorded_already_is_not_recorded_twice(desk: Desk) -> None:
    """
    A backfill may have been faster.
    """
    customer_id = desk.customer(PHONE)
    initiated = initiate(desk)
    assert initiated.sms
    assert initiated.sms.message_sid
    desk.record(initiated.sms.message_sid, customer_id, "sent")

    desk.service.confirm_booking(initiated.token)

    assert [row.status for row in desk.recorded] == ["sent"]


# --- resolving -------------------------------------------------------------------------------------------------------


def test_a_lost_text_is_adopted_and_never_sent_again(desk: Desk) -> None:
    """
    Its SID, from Twilio's log.
    """
    desk.lose_answer()
    initiated = initiate(desk)

    assert desk.service.resolve_unknown(initiated.booking_id) is Resolution.FOUND
    assert desk.service.resolve_unknown(initiated.booking_id) is Resolution.SETTLED

    sms = desk.booking(initiated.booking_id).sms
    assert sms
    assert (sms.state, sms.message_sid, sms.error) == (SmsState.SENT, desk.taken[0][0], None)
    assert len(desk.taken) == 1


def test_a_log_that_lags_is_not_believed_too_soon(desk: Desk) -> None:
    """
    Not found yet for 15 minutes, and not found after; found as soon as the log shows it.
    """
    desk.lose_answer()
    desk.lag(timedelta(hours=1))
    booking_id = initiate(desk).booking_id

    desk.clock.forward(minutes=15, microseconds=-1)
    assert desk.service.resolve_unknown(booking_id) is Resolution.NOT_FOUND_YET
    desk.clock.forward(microseconds=1)
    assert desk.service.resolve_unknown(booking_id) is Resolution.NOT_FOUND
    assert _state(desk, booking_id) is SmsState.UNKNOWN

    desk.clock.forward(hours=1)
    assert desk.service.resolve_unknown(booking_id) is Resolution.FOUND
    assert len(desk.taken) == 1


def test_two_lost_texts_of_the_same_words_get_a_sid_each(desk: Desk) -> None:
    """
    What one booking has adopted is another's no more, and what is recorded for somebody else is nobody's.
    """
    desk.reword("Please call us.")
    for _ in range(3):
        desk.lose_answer()
    bookings = [initiate(desk).booking_id for _ in range(3)]
    desk.record(desk.taken[0][0], desk.customer(OTHER_PHONE), "sent")

    resolutions = [desk.service.resolve_unknown(booking_id) for booking_id in bookings]

    assert resolutions == [Resolution.FOUND, Resolution.FOUND, Resolution.NOT_FOUND_YET]
    sids = [sms.message_sid for booking_id in bookings if (sms := desk.booking(booking_id).sms)]
    assert sids == [desk.taken[1][0], desk.taken[2][0], None]


def test_other_words_and_other_times_are_other_texts(desk: Desk) -> None:
    """
    Only the same words to the same phone since the attempt are taken for the text.
    """
    desk.reword("Please call us.")
    initiate(desk)
    initiate(desk, OTHER_PHONE)
    desk.clock.forward(minutes=5)
    desk.reword("Please do call us.")
    initiate(desk)
    desk.reword("Please call us.")
    initiated = initiate(desk)
    assert initiated.sms
    lost = replace(initiated.sms, state=SmsState.UNKNOWN, message_sid=None, attempt_id="lost")
    desk.service.confirm_booking(initiated.token)
    other = initiate(desk, OTHER_PHONE).booking_id
    desk.set_sms(other, replace(lost, attempted_at=desk.clock.now()))

    assert desk.service.resolve_unknown(other) is Resolution.NOT_FOUND_YET


def test_a_confirmed_bookings_text_is_recorded_when_it_is_found(desk: Desk) -> None:
    """
    Under the customer that confirm has made meanwhile.
    """
    desk.lose_answer()
    desk.lag(timedelta(minutes=1))
    initiated = initiate(desk)
    confirmed = desk.service.confirm_booking(initiated.token)
    desk.clock.forward(minutes=2)

    assert desk.service.resolve_unknown(initiated.booking_id) is Resolution.FOUND
    assert [(row.message_sid, row.customer_id) for row in desk.recorded] == [(desk.taken[0][0], confirmed.customer_id)]


def test_what_a_backfill_recorded_is_found_all_the_same(desk: Desk) -> None:
    """
    A row of the booking's own customer is no claim of somebody else.
    """
    desk.lose_answer()
    desk.lag(timedelta(minutes=1))
    initiated = initiate(desk)
    confirmed = desk.service.confirm_booking(initiated.token)
    desk.record(desk.taken[0][0], confirmed.customer_id, "delivered")
    desk.clock.forward(minutes=2)

    assert desk.service.resolve_unknown(initiated.booking_id) is Resolution.FOUND
    assert [row.status for row in desk.recorded] == ["delivered"]
    assert _state(desk, initiated.booking_id) is SmsState.SENT


def test_there_is_nothing_to_resolve_for_no_booking(desk: Desk) -> None:
    """
    Any text may be asked for.
    """
    for booking_id in ("", "nothing", "00000000-0000-4000-8000-000000000000", "1; DROP TABLE x"):
        with pytest.raises(BookingUnknown):
            desk.service.resolve_unknown(booking_id)


# --- callbacks -------------------------------------------------------------------------------------------------------


def test_a_status_that_comes_before_the_row_waits_in_the_metadata(desk: Desk) -> None:
    """
    Confirm records what Twilio told last.
    """
    initiated = initiate(desk)
    sid = desk.taken[0][0]

    assert desk.service.record_status(report(desk, initiated.booking_id, sid, "delivered")) is StatusTaken.WAITING
    assert desk.recorded == []

    desk.service.confirm_booking(initiated.token)
    assert [row.status for row in desk.recorded] == ["delivered"]


def test_a_status_moves_on_and_never_back(desk: Desk) -> None:
    """
    By rank, whatever the order of the callbacks.
    """
    initiated = initiate(desk)
    desk.service.confirm_booking(initiated.token)
    seen = []

    for status in ("sending", "queued", "delivered", "sent", "partially_delivered", "delivered", "read"):
        taken = desk.service.record_status(report(desk, initiated.booking_id, desk.taken[0][0], status))
        assert taken is StatusTaken.RECORDED
        seen.append(desk.recorded[0].status)

    assert seen == ["sending", "sending", "delivered", "delivered", "delivered", "delivered", "read"]


def test_of_two_ends_the_bad_one_holds(desk: Desk) -> None:
    """
    Parts of one text may end differently; nothing arrived that is said not to have.
    """
    for order in (("delivered", "undelivered"), ("undelivered", "delivered")):
        initiated = initiate(desk)
        desk.service.confirm_booking(initiated.token)
        for status in order:
            code = {"error_code": 30005} if status == "undelivered" else {}
            assert initiated.sms
            assert initiated.sms.message_sid
            desk.service.record_status(report(desk, initiated.booking_id, initiated.sms.message_sid, status, **code))
        sms = desk.booking(initiated.booking_id).sms
        assert sms
        assert (desk.recorded[-1].status, sms.error_code) == ("undelivered", 30005)


def test_a_callback_with_the_attempts_id_resolves_an_unknown_text(desk: Desk) -> None:
    """
    Whether its answer was lost, or the process died before it could be stored.
    """
    desk.lose_answer()
    initiated = initiate(desk)
    sid = desk.taken[0][0]

    taken = desk.service.record_status(report(desk, initiated.booking_id, sid, "sent", from_number=SENDER))

    assert taken is StatusTaken.WAITING
    sms = desk.booking(initiated.booking_id).sms
    assert sms
    assert (sms.state, sms.message_sid, sms.status, sms.from_number) == (SmsState.SENT, sid, "sent", SENDER)
    assert desk.service.confirm_booking(initiated.token).message_sid == sid


def test_a_callback_records_the_text_of_a_booking_that_is_confirmed(desk: Desk) -> None:
    """
    Its answer was lost, and the booking confirmed before the log showed the text.
    """
    desk.lose_answer()
    desk.lag(timedelta(hours=1))
    initiated = initiate(desk)
    confirmed = desk.service.confirm_booking(initiated.token)

    taken = desk.service.record_status(report(desk, initiated.booking_id, desk.taken[0][0], "delivered"))

    assert taken is StatusTaken.RECORDED
    assert [(row.customer_id, row.status) for row in desk.recorded] == [(confirmed.customer_id, "delivered")]


def test_a_callback_without_our_ids_still_moves_the_row(desk: Desk) -> None:
    """
    The row's SID is enough.
    """
    initiated = initiate(desk)
    desk.service.confirm_booking(initiated.token)

    bare = StatusReport(message_sid=desk.taken[0][0], status="delivered")

    assert desk.service.record_status(bare) is StatusTaken.RECORDED
    assert desk.recorded[0].status == "delivered"


def test_a_callback_that_is_not_ours_changes_nothing(desk: Desk) -> None:
    """
    A SID that nobody knows, another booking's attempt, or none at all.
    """
    booking_id = initiate(desk).booking_id
    before = desk.booking(booking_id)
    odd: list[dict[str, Any]] = [
        *({"message_sid": sid} for sid in ("SM12", "", "'; DELETE FROM messages")),
        *({"booking_id": other} for other in ("nothing", "00000000-0000-4000-8000-000000000000", "\0")),
        {"booking_id": None, "attempt_id": None},
        *({"attempt_id": other} for other in ("another", None)),
    ]
    for difference in odd:
        strange = replace(report(desk, booking_id, SID, "delivered"), **difference)
        assert desk.service.record_status(strange) is StatusTaken.UNKNOWN

    assert desk.booking(booking_id) == before
    assert desk.recorded == []


def test_a_callback_of_another_attempt_is_not_adopted(desk: Desk) -> None:
    """
    A text whose fate is unknown waits for its own.
    """
    desk.lose_answer()
    booking_id = initiate(desk).booking_id
    before = desk.booking(booking_id)

    for other in ("another", None):
        strange = replace(report(desk, booking_id, SID, "delivered"), attempt_id=other)
        assert desk.service.record_status(strange) is StatusTaken.UNKNOWN

    assert desk.booking(booking_id) == before
