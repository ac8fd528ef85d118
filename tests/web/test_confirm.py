"""
Confirming a booking, and Twilio's callbacks, over HTTP.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

from booking_doctor.sandbox.twilio_faults import Fault, On
from tests.web.conftest import APP_URL, PHONE, STATUS, Client

SID = "SM" + "1f" * 16


def delivered(message_sid: str, *more: tuple[str, str], status: str = "delivered") -> list[tuple[str, str]]:
    """
    What Twilio posts about a text.
    """
    return [("MessageSid", message_sid), ("MessageStatus", status), ("To", PHONE), ("ApiVersion", "2010-04-01"), *more]


# --- confirm ---------------------------------------------------------------------------------------------------------


def test_confirmed(api: Client) -> None:
    """
    200: there is a customer, and the text is recorded under him with the same SID. Again: the same answer, one row.
    """
    made = api.initiate().json()
    first, again = api.confirm(made["token"]), api.confirm(made["token"])

    [row] = api.scene.rows("SELECT CAST(customer_id AS text) AS customer, message_sid FROM messages")
    assert [first.status_code, again.status_code] == [200, 200]
    assert first.json() == again.json()
    assert first.json() == {
        "booking_id": made["booking_id"],
        "customer_id": row["customer"],
        "message_sid": row["message_sid"],
        "notes": [],
    }


def test_racing(api: Client) -> None:
    """
    Eight confirmations at once: one customer, one booking, one row.
    """
    token, gate = api.initiate().json()["token"], threading.Barrier(8)

    def confirm(_: int) -> int:
        gate.wait()
        return api.confirm(token).status_code

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(confirm, range(8))) == {200: 8}
    assert [api.count(table) for table in ("customers", "bookings", "messages")] == [1, 1, 1]


def test_several_customers(api: Client) -> None:
    """
    Where several have the phone the answer says which was taken.
    """
    for _ in range(2):
        api.scene.customer(PHONE)

    assert "2 customers have this phone" in api.confirm(api.initiate().json()["token"]).json()["notes"][0]


def test_no_such_token(api: Client) -> None:
    """
    404, whatever a token looks like that nobody was given.
    """
    for token in ("nobody", "0", "' OR 1=1 --".replace(" ", "+"), "!" * 200, "../../etc/passwd", "%00"):
        answer = api.confirm(token)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:booking-doctor:booking-unknown")


def test_no_token_at_all(api: Client) -> None:
    """
    422 for what no token looks like.
    """
    for token in (None, "", 7, ["x"], "with blank", "x" * 201, "\x00", "tökén", "\U0001f389"):
        answer = api.confirm(token)
        assert (answer.status_code, list(answer.json()["faults"])) == (422, ["token"])


@pytest.mark.parametrize(
    "change", ["status = 'cancelled'", "status = 'expired'", "expires_at = now() - interval '1 s'"]
)
def test_closed(api: Client, change: str) -> None:
    """
    410 says what became of the booking; nothing is recorded.
    """
    token = api.initiate().json()["token"]
    api.scene.execute(f"UPDATE pending_bookings SET {change}")

    answer = api.confirm(token)

    word = "cancelled" if "cancelled" in change else "expired"
    assert (answer.status_code, answer.json()["booking_status"]) == (410, word)
    assert (api.count("customers"), api.count("messages")) == (0, 0)


# --- callbacks -------------------------------------------------------------------------------------------------------


def test_callbacks_in_any_order(api: Client) -> None:
    """
    204: before the row exists a status waits in the metadata; afterwards the row has it. One that is behind changes nothing.
    """
    made = api.initiate().json()
    address, message_sid = api.callback_of(), made["sms"]["message_sid"]

    before = api.call_back(address, delivered(message_sid))
    waiting = api.metadata(made["booking_id"])["status"]
    api.confirm(made["token"])
    after = api.call_back(address, delivered(message_sid, status="sent"))

    [row] = api.scene.rows("SELECT twilio_status FROM messages")
    assert [before.status_code, after.status_code, before.content] == [204, 204, b""]
    assert (waiting, row["twilio_status"]) == ("delivered", "delivered")


def test_a_callback_tells_what_no_answer_did(api: Client) -> None:
    """
    Where Twilio's answer was lost its callback names the text, and confirm records it.
    """
    api.scene.simulator.faults.add(Fault.reset(stored=True), on=On(method="POST"))
    made = api.initiate().json()
    [message] = api.scene.account.messages()

    api.call_back(api.callback_of(), delivered(message.sid, ("ErrorCode", "30003"), status="undelivered"))
    confirmed = api.confirm(made["token"]).json()

    [row] = api.scene.rows("SELECT message_sid, twilio_status FROM messages")
    assert made["sms"] == {"state": "unknown"}
    assert confirmed["message_sid"] == row["message_sid"] == message.sid
    assert row["twilio_status"] == "undelivered"


def test_a_callback_about_nobody(api: Client) -> None:
    """
    204: a text of another program is none of ours, and Twilio need not call again.
    """
    assert api.call_back(f"{APP_URL}{STATUS}", delivered(SID)).status_code == 204


@pytest.mark.parametrize(
    ("app_url", "signed"),
    [
        ("https://booking.example", "https://booking.example:443"),
        ("https://booking.example/", "https://booking.example"),
        ("https://booking.example/shop", "https://booking.example/shop"),
        ("http://booking.example:8080", "http://booking.example:8080"),
    ],
)
def test_the_public_address_counts(open_api: Callable[..., Client], app_url: str, signed: str) -> None:
    """
    The signature is for the address under BOOKING_APP_URL, whatever address the request came in at, its query as it was.
    """
    api = open_api(BOOKING_APP_URL=app_url)
    query = "?booking=%2F&attempt=&x=a+b%20c&x"

    told = api.call_back(f"{signed}{STATUS}{query}", delivered(SID), to=f"{STATUS}{query}")

    assert told.status_code == 204


def test_forgeries(api: Client) -> None:
    """
    403: another address, other fields, no signature, or one for the address that a Host header claims. Nothing is stored.
    """
    made = api.initiate().json()
    address, fields = api.callback_of(), delivered(made["sms"]["message_sid"])
    path = address.removeprefix(APP_URL)
    stored = api.metadata(made["booking_id"])

    answers = [
        api.ask("POST", path, data=fields),
        api.ask("POST", path, data=fields, headers={"X-Twilio-Signature": ""}),
        api.ask("POST", path, data=fields, headers={"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}),
        api.call_back(address.replace("https", "http"), fields, to=path),
        api.call_back(address.replace("booking.example", "evil.example"), fields, to=path, Host="evil.example"),
        api.call_back(f"{api.url}{path}", fields, to=path),
        api.call_back(f"{address}&more=1", fields, to=path),
        api.call_back(address, fields, to=f"{path}&more=1"),
        api.call_back(address, fields, to=path, sent=[*fields, ("ErrorCode", "30003")]),
        api.call_back(address, fields, to=path, sent=[*fields[:1], ("MessageStatus", "failed"), *fields[2:]]),
    ]

    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert {answer.json()["type"] for answer in answers} == {"urn:booking-doctor:signature-refused"}
    assert api.metadata(made["booking_id"]) == stored


def test_no_token_to_judge_with(open_api: Callable[..., Client]) -> None:
    """
    403 where TWILIO_AUTH_TOKEN is not set: what cannot be judged is not believed, and the answer says why.
    """
    api = open_api(TWILIO_AUTH_TOKEN="", TWILIO_API_KEY="SK" + "0" * 32, TWILIO_API_SECRET="canary-secret")

    answer = api.call_back(f"{APP_URL}{STATUS}", delivered(SID))

    assert answer.status_code == 403
    assert "TWILIO_AUTH_TOKEN is not set" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ([], ["MessageSid", "MessageStatus"]),
        ([("MessageSid", SID)], ["MessageStatus"]),
        ([("MessageSid", "SM1"), ("MessageStatus", "sent")], ["MessageSid"]),
        ([("MessageSid", SID), ("MessageStatus", "SENT!")], ["MessageStatus"]),
        ([("MessageSid", SID), ("MessageStatus", "sent"), ("ErrorCode", "many")], ["ErrorCode"]),
        ([("MessageSid", SID), *[("a", str(n)) for n in range(200)]], ["the body"]),
    ],
)
def test_callbacks_of_the_wrong_form(api: Client, fields: list[tuple[str, str]], parts: list[str]) -> None:
    """
    422 for what Twilio signed and would never send about a text.
    """
    answer = api.call_back(f"{APP_URL}{STATUS}", fields)

    assert (answer.status_code, list(answer.json()["faults"])) == (422, parts)


def test_repeated_fields(api: Client) -> None:
    """
    A name that comes twice is signed with both values; empty and unknown ones are no hindrance.
    """
    fields = [*delivered(SID), ("ErrorCode", ""), ("From", ""), ("Note", "b"), ("Note", "a"), ("Emoji", "\U0001f37e")]

    assert api.call_back(f"{APP_URL}{STATUS}", fields).status_code == 204


def test_the_address_says_whose_text_it_is(api: Client) -> None:
    """
    Every text goes out with an address that names its booking and its attempt.
    """
    made = api.initiate().json()
    query = parse_qs(urlsplit(api.callback_of()).query)

    stored = api.metadata(made["booking_id"])
    assert query == {"booking": [made["booking_id"]], "attempt": [stored["attempt_id"]]}
