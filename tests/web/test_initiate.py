"""
Initiating a booking over HTTP: every answer of the contract, on PostgreSQL and the simulator.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from booking_doctor.sandbox.twilio_faults import Fault, On
from tests.web.conftest import APP_URL, BOOKING_KEY, PHONE, TEST_KEY, Client

SEND = On(method="POST")


def test_a_booking_is_made_and_texted(api: Client) -> None:
    """
    201: the booking waits with its text in the metadata, and one text with the link went to the customer.
    """
    answer = api.initiate(customer_email="ann@example.com")

    told = answer.json()
    [message] = api.scene.account.messages()
    assert answer.status_code == 201
    assert set(told) == {"booking_id", "token", "sms"}
    assert told["sms"] == {"state": "sent", "message_sid": message.sid}
    assert (message.to, f"{APP_URL}/confirm/{told['token']}" in message.body) == (PHONE, True)
    assert api.metadata(told["booking_id"])["message_sid"] == message.sid
    assert answer.headers["Cache-Control"] == "no-store"
    assert api.callback_of().startswith(f"{APP_URL}/api/webhooks/twilio/status?booking={told['booking_id']}&")


def test_debug_is_for_the_test_key(api: Client) -> None:
    """
    The test key gets the debug report: steps, names of variables, the attempt; the other key does not.
    """
    debug = api.initiate(key=TEST_KEY).json()["debug"]

    assert [step["outcome"] for step in debug["steps"]][:2] == ["done", "done"]
    assert all(step["ms"] >= 0 for step in debug["steps"])
    assert {"DATABASE_URL", "TWILIO_AUTH_TOKEN", "BOOKING_API_KEY"} <= set(debug["variables"])
    assert debug["sms"]["state"] == "sent"
    assert "debug" not in api.initiate().json()


def test_a_key_is_needed(api: Client) -> None:
    """
    401, before anything of the request is looked at: nothing is written, nobody is texted.
    """
    for key in (None, "", "wrong", BOOKING_KEY[:-1], f"{BOOKING_KEY}0", BOOKING_KEY.upper(), "k\u00eby"):
        answer = api.initiate(key=key and key.encode().decode("latin-1"), customer_phone=...)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "APIKey")
        assert answer.json()["type"] == "urn:booking-doctor:unauthorized"
    assert (api.count("pending_bookings"), len(api.scene.simulator.requests)) == (0, 0)


def test_one_key_is_enough(open_api: Callable[..., Client]) -> None:
    """
    With only one of the keys set the other's name opens nothing, and neither does an empty one.
    """
    api = open_api(BOOKING_API_KEY="")

    assert [api.initiate(key=key).status_code for key in (TEST_KEY, "", None)] == [201, 401, 401]


# --- once ------------------------------------------------------------------------------------------------------------


def test_repeating(api: Client, open_api: Callable[..., Client]) -> None:
    """
    200: the same idempotency key gives the same booking and no second text, however the phone is written, and after a restart.
    """
    first = api.initiate(once="order-1")
    again = api.initiate(once="order-1", customer_phone="+1 (555) 010-3333")
    restarted = open_api().initiate(once="order-1")

    assert [answer.status_code for answer in (first, again, restarted)] == [201, 200, 200]
    assert first.json() == again.json() == restarted.json()
    assert (api.count("pending_bookings"), len(api.scene.account.messages())) == (1, 1)


def test_racing(api: Client) -> None:
    """
    Twelve requests with one key at once: one makes the booking, all name it, one text goes out.
    """
    gate = threading.Barrier(12)

    def ask(_: int) -> tuple[int, str]:
        gate.wait()
        answer = api.initiate(once="race")
        return answer.status_code, answer.json()["booking_id"]

    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(ask, range(12)))

    assert Counter(status for status, _ in told) == {201: 1, 200: 11}
    assert len({booking for _, booking in told}) == 1
    assert (api.count("pending_bookings"), len(api.scene.account.messages())) == (1, 1)


def test_a_key_for_something_else(api: Client) -> None:
    """
    422 where the key comes with another request; two keys are two bookings.
    """
    api.initiate(once="a")
    other = api.initiate(once="a", customer_name="Bob")

    assert (other.status_code, other.json()["type"]) == (422, "urn:booking-doctor:key-reused")
    assert api.initiate(once="b", customer_name="Bob").status_code == 201
    assert api.count("pending_bookings") == 2


def test_keys_that_are_none(api: Client) -> None:
    """
    422 for an idempotency key that cannot be told apart from a mistake; nothing is written.
    """
    for once in ("", "a" * 201, "with blank", "tab\tbed", "\u00fcml".encode().decode("latin-1")):
        answer = api.initiate(once=once)
        assert (answer.status_code, list(answer.json()["faults"])) == (422, ["Idempotency-Key"])
    assert api.count("pending_bookings") == 0


# --- what cannot be meant --------------------------------------------------------------------------------------------

FORM, MEANING = "urn:booking-doctor:invalid-request", "urn:booking-doctor:input-refused"

NOT_MEANT: list[tuple[dict[str, Any], str, str]] = [
    ({"event_id": ...}, FORM, "event_id"),
    ({"event_id": ""}, FORM, "event_id"),
    ({"event_id": 7}, FORM, "event_id"),
    ({"event_id": None}, FORM, "event_id"),
    ({"event_id": "11111111-2222-3333-4444-555555555555"}, MEANING, "event_id"),
    ({"event_id": "'; DROP TABLE events; --"}, MEANING, "event_id"),
    ({"event_id": "\x00"}, MEANING, "event_id"),
    ({"customer_name": ...}, FORM, "customer_name"),
    ({"customer_name": "   "}, MEANING, "customer_name"),
    ({"customer_name": "A" * 2000}, FORM, "customer_name"),
    ({"customer_name": "An\x00n"}, MEANING, "customer_name"),
    ({"customer_name": ["Ann"]}, FORM, "customer_name"),
    ({"customer_phone": ...}, FORM, "customer_phone"),
    ({"customer_phone": 15550103333}, FORM, "customer_phone"),
    ({"customer_phone": "+1555010333300000000000000000000000000000"}, FORM, "customer_phone"),
    ({"customer_phone": "call me later"}, MEANING, "customer_phone"),
    ({"customer_phone": "+"}, MEANING, "customer_phone"),
    ({"customer_phone": "12"}, MEANING, "customer_phone"),
    ({"customer_phone": "+999 555 010 0000"}, MEANING, "customer_phone"),
    ({"customer_phone": "+1 555 77"}, MEANING, "customer_phone"),
    ({"customer_phone": "+15550103334 +15550104444"}, MEANING, "customer_phone"),
    ({"customer_phone": "1-800-FLOWERS"}, MEANING, "customer_phone"),
    ({"customer_phone": "+15550103334;ext=7"}, MEANING, "customer_phone"),
    ({"customer_email": "ann at home"}, MEANING, "customer_email"),
    ({"customer_email": "a" * 255 + "@example.com"}, FORM, "customer_email"),
    ({"customer_mail": "ann@example.com"}, FORM, "a member that is not known"),
]


def test_what_cannot_be_meant(api: Client) -> None:
    """
    422 names the part and says why, in words; nothing is written, nobody is texted, no value is repeated.
    """
    for members, kind, part in NOT_MEANT:
        answer = api.initiate(**members)
        told = answer.json()
        assert (answer.status_code, told["type"]) == (422, kind), members
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert [told.get("field")] == [part] or list(told["faults"]) == [part], members
        assert told.get("detail") or all(told["faults"].values())
        assert all(str(value) not in answer.text for value in members.values() if len(str(value)) > 5), members
    assert (api.count("pending_bookings"), len(api.scene.simulator.requests)) == (0, 0)


def test_names(api: Client) -> None:
    """
    Whatever people are called is kept as it is.
    """
    for name in ("Zoë \U0001f389", "محمد", "王小明", "A" * 200, "O'Brien; --", "<b>&amp;</b>", "[red]{x}%s"):
        booking_id = api.initiate(customer_name=name).json()["booking_id"]
        [row] = api.scene.rows("SELECT customer_name FROM pending_bookings WHERE id = CAST(:id AS uuid)", id=booking_id)
        assert row["customer_name"] == name


# --- Twilio ----------------------------------------------------------------------------------------------------------


def test_a_text_that_is_refused(api: Client) -> None:
    """
    201: Twilio's no is no error of ours. The booking stands, its text failed with Twilio's code.
    """
    answer = api.initiate(customer_phone="+15005550001")

    assert answer.status_code == 201
    assert answer.json()["sms"] == {"state": "failed", "code": 21211}
    assert api.metadata(answer.json()["booking_id"])["state"] == "failed"


def test_a_text_whose_fate_is_unknown(api: Client) -> None:
    """
    201 with the state unknown: Twilio may have it, so it is not sent again, not for the same key either.
    """
    for fault in (Fault.reset(stored=True), Fault.server_error(), Fault.bad_gateway()):
        api.scene.simulator.faults.add(fault, on=SEND)
        before = len(api.scene.simulator.requests)
        answers = [api.initiate(once=f"lost to a {fault.name}".replace(" ", "-")) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 200]
        assert [answer.json()["sms"] for answer in answers] == [{"state": "unknown"}] * 2
        assert len(api.scene.simulator.requests) == before + 1


def test_a_text_that_waits_its_turn(api: Client) -> None:
    """
    20429 and a connection that is refused are tried again: Twilio did nothing.
    """
    api.scene.simulator.faults.add(Fault.throttled(), times=2, on=SEND)

    assert api.initiate().json()["sms"]["state"] == "sent"
    assert len(api.scene.account.messages()) == 1


def test_a_text_that_is_too_long(api: Client) -> None:
    """
    422 where the event's title makes a text that Twilio would not take; nothing is written.
    """
    api.scene.execute("UPDATE events SET title = repeat('x', 1600)")

    answer = api.initiate()

    assert (answer.status_code, answer.json()["type"]) == (422, "urn:booking-doctor:text-too-long")
    assert "1,600" in answer.json()["detail"]
    assert (api.count("pending_bookings"), len(api.scene.simulator.requests)) == (0, 0)


# --- the database ----------------------------------------------------------------------------------------------------


def test_an_outcome_that_cannot_be_stored(api: Client, lines: pytest.LogCaptureFixture) -> None:
    """
    500 that names what could not be stored and the text that went out; the log and whoever has the test key learn why.
    """
    api.scene.execute("CREATE FUNCTION silence() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    api.scene.execute(
        "CREATE TRIGGER silence BEFORE UPDATE ON pending_bookings FOR EACH ROW EXECUTE FUNCTION silence()"
    )

    answer = api.initiate()
    told, reason = answer.json(), api.initiate(key=TEST_KEY).json()["reason"]

    assert (answer.status_code, told["type"]) == (500, "urn:booking-doctor:outcome-not-stored")
    assert (told["what"], api.count("pending_bookings")) == ("pending_bookings.metadata", 2)
    assert re.fullmatch("SM[0-9a-f]{32}", told["message_sid"])
    assert "called that no error" in reason
    assert "reason" not in told
    assert told["message_sid"] in lines.text


def test_a_booking_that_cannot_be_stored(api: Client) -> None:
    """
    500, and no text: the booking comes first.
    """
    api.scene.execute("CREATE RULE silent AS ON INSERT TO pending_bookings DO INSTEAD NOTHING")

    answer = api.initiate()

    assert (answer.status_code, answer.json()["type"]) == (500, "urn:booking-doctor:not-stored")
    assert api.scene.account.messages() == []


def test_a_database_that_refuses(api: Client, lines: pytest.LogCaptureFixture) -> None:
    """
    500 without PostgreSQL's words, which are the log's; no text.
    """
    api.scene.execute("ALTER TABLE pending_bookings ADD CONSTRAINT nobody CHECK (customer_name = 'nobody')")

    answer = api.initiate()

    assert (answer.status_code, answer.json()["type"]) == (500, "urn:booking-doctor:not-stored")
    assert "nobody" not in answer.text
    assert "a constraint forbids it: nobody" in lines.text
    assert api.scene.account.messages() == []


def test_the_database_is_gone(open_api: Callable[..., Client], lines: pytest.LogCaptureFixture) -> None:
    """
    503 with Retry-After, and no text; what the address of the database is stays in the log.
    """
    api = open_api(DATABASE_URL="postgresql://app:canary-password@127.0.0.1:1/bookings")

    answer = api.initiate()

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:booking-doctor:not-stored")
    assert "Retry-After" in answer.headers
    assert api.scene.account.messages() == []
    assert "127.0.0.1:1" not in answer.text
    assert "127.0.0.1:1" in lines.text
