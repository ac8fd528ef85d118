"""
The Twilio simulator behaves as Twilio's documentation says, and goes wrong only as it is told to.

Twilio's own SDK creates, fetches, changes and lists; pages and faults are looked at raw.
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from booking_doctor.sandbox.twilio import Credential, TwilioAccount
from booking_doctor.sandbox.twilio_faults import Fault, Faults, On
from booking_doctor.sandbox.twilio_http import TwilioSimulator
from booking_doctor.sandbox.twilio_log import STAYS_SENT, Delays, Outcome, Query
from booking_doctor.sandbox.twilio_rules import Attempt, Refused

CLINIC, SECOND_LINE, LANDLINE = "+15550001111", "+15550002222", "+15550003333"
ANNA, BEN = "+15557654321", "+15551112222"
SERVICE, EMPTY_SERVICE = "MG" + "5" * 32, "MG" + "0" * 32
KEY = Credential("SK" + "7" * 32, "key-secret")
TEST = Credential("AC" + "9" * 32, "test-token")
NOON = datetime(2026, 12, 3, 12, tzinfo=UTC)


class Clock:
    """
    Time that passes only when told.
    """

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """
        The present.
        """
        return self.now

    def advance(self, **delta: float) -> None:
        """
        Let time pass; `timedelta` says how much can be said.
        """
        self.now += timedelta(**delta)


@dataclass
class Answer:
    """
    What came back.
    """

    status: int
    headers: Any
    data: bytes

    @property
    def json(self) -> Any:
        """
        The document in it.
        """
        return json.loads(self.data)


@dataclass
class Raw:
    """
    An HTTP client that hides nothing.
    """

    base_url: str
    account_sid: str
    user: str
    secret: str
    pool: urllib3.PoolManager

    def __call__(self, method: str, uri: str, *, form: dict[str, str] | None = None, timeout: float = 5) -> Answer:
        """
        Ask once, for a path as pages give them.
        """
        headers = urllib3.make_headers(basic_auth=f"{self.user}:{self.secret}")
        body = None
        if form is not None:
            body = urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = self.pool.request(
            method, self.base_url + uri, headers=headers, body=body, retries=False, timeout=timeout, redirect=False
        )
        return Answer(answer.status, answer.headers, answer.data)

    def path(self, resource: str = "/Messages", **query: str) -> str:
        """
        The path of a resource of the account.
        """
        return f"/2010-04-01/Accounts/{self.account_sid}{resource}.json" + (f"?{urlencode(query)}" if query else "")

    def messages(self, filters: dict[str, str] | None = None, **paging: int | str) -> Answer:
        """
        Ask for a page of the log.
        """
        query = {**(filters or {}), **{name: str(value) for name, value in paging.items()}}
        return self("GET", self.path(**query))

    def send(self, change: dict[str, str] | None = None, *, timeout: float = 5) -> Answer:
        """
        Create a message, changed from an ordinary one; what is empty is not sent along.
        """
        fields = {"To": ANNA, "From": CLINIC, "Body": "Hello", **(change or {})}
        return self("POST", self.path(), form={name: value for name, value in fields.items() if value}, timeout=timeout)

    def walk(self, filters: dict[str, str] | None = None, **paging: int | str) -> Iterator[Any]:
        """
        Follow a list to its end, page by page.
        """
        page = self.messages(filters, **paging).json
        yield page
        while page["next_page_uri"]:
            page = self("GET", page["next_page_uri"]).json
            yield page


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="account")
def _account(clock: Clock) -> TwilioAccount:
    return TwilioAccount(
        clock=clock,
        randomness=Random(12),
        numbers=[CLINIC, SECOND_LINE, LANDLINE],
        services={SERVICE: [CLINIC, SECOND_LINE], EMPTY_SERVICE: []},
        without_sms={LANDLINE},
        api_key=KEY,
        test_credential=TEST,
    )


@pytest.fixture(name="simulator")
def _simulator(account: TwilioAccount) -> Iterator[TwilioSimulator]:
    with TwilioSimulator(account) as simulator:
        yield simulator


@pytest.fixture(name="pool")
def _pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(maxsize=8) as pool:
        yield pool


@pytest.fixture(name="raw")
def _raw(simulator: TwilioSimulator, pool: urllib3.PoolManager) -> Raw:
    account = simulator.account
    return Raw(simulator.base_url, account.account_sid, account.account_sid, account.auth_token, pool)


@pytest.fixture(name="sdk")
def _sdk(simulator: TwilioSimulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Client]]:
    monkeypatch.delenv("TWILIO_EDGE", raising=False)
    monkeypatch.delenv("TWILIO_REGION", raising=False)
    clients: list[TwilioHttpClient] = []

    def connect(user: str, secret: str, account_sid: str | None = None) -> Client:
        http_client = TwilioHttpClient(timeout=5)
        clients.append(http_client)
        client = Client(user, secret, account_sid, http_client=http_client)
        client.api.base_url = simulator.base_url
        return client

    yield connect
    for http_client in clients:
        http_client.session.close()


@pytest.fixture(name="client")
def _client(simulator: TwilioSimulator, sdk: Callable[..., Client]) -> Client:
    return sdk(simulator.account.account_sid, simulator.account.auth_token)


def sids(page: Any) -> list[str]:
    """
    The messages of a page.
    """
    return [record["sid"] for record in page["messages"]]


def told(thing: Any, names: str) -> tuple[Any, ...]:
    """
    Some fields of a record, or of what the SDK makes of one.
    """
    return tuple(thing[name] if isinstance(thing, dict) else getattr(thing, name) for name in names.split())


def plant_series(account: TwilioAccount, number: int, *, every: timedelta = timedelta(minutes=1)) -> list[str]:
    """
    Plant messages sent before noon, and give their SIDs newest first.
    """
    return [
        account.plant(to=ANNA, sender=CLINIC, body=str(index), date_created=NOON - every * (index + 1)).sid
        for index in range(number)
    ]


# --- who may ask -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["", "wrong"])
def test_wrong_credentials(raw: Raw, secret: str) -> None:
    """
    A wrong token is 401 with code 20003 and a link to its page.
    """
    answer = dataclasses.replace(raw, secret=secret).messages()

    assert answer.status == 401
    assert answer.json == {
        "code": 20003,
        "message": "Authenticate",
        "more_info": "https://www.twilio.com/docs/errors/20003",
        "status": 401,
    }


@pytest.mark.parametrize("header", [None, "Bearer abc", "Basic not-base-64"])
def test_no_credentials(simulator: TwilioSimulator, raw: Raw, header: str | None) -> None:
    """
    Without Basic credentials nothing is shown.
    """
    headers = {"Authorization": header} if header else {}
    answer = raw.pool.request("GET", simulator.base_url + raw.path(), headers=headers, retries=False)

    assert (answer.status, answer.json()["code"]) == (401, 20003)


def test_wrong_credentials_through_the_sdk(sdk: Callable[..., Client], account: TwilioAccount) -> None:
    """
    The SDK tells status and code of a fetch, but hides both in a list's exception.
    """
    client = sdk(account.account_sid, "wrong")

    with pytest.raises(TwilioRestException) as fetched:
        client.api.accounts(account.account_sid).fetch()
    with pytest.raises(TwilioException, match="Unable to fetch page") as listed:
        client.messages.list(limit=1)

    assert (fetched.value.status, fetched.value.code) == (401, 20003)
    assert not isinstance(listed.value, TwilioRestException)


def test_api_key(sdk: Callable[..., Client], account: TwilioAccount) -> None:
    """
    A standard key reads messages, but fetching the account with it is 401 although the key is good.
    """
    client = sdk(KEY.sid, KEY.secret, account.account_sid)

    with pytest.raises(TwilioRestException) as refused:
        client.api.accounts(account.account_sid).fetch()

    assert (refused.value.status, refused.value.code) == (401, 20003)
    assert client.messages.list(limit=1) == []


@pytest.mark.parametrize("resource", ["", "/Messages", "/Balance", "/IncomingPhoneNumbers", "/Messages/SM1"])
def test_test_credentials_may_not_read(raw: Raw, resource: str) -> None:
    """
    Test credentials are told 403 with code 20008 wherever they read.
    """
    answer = dataclasses.replace(raw, user=TEST.sid, secret=TEST.secret, account_sid=TEST.sid)(
        "GET", raw.path(resource)
    )

    assert (answer.status, answer.json["code"]) == (403, 20008)


def test_test_credentials_send_nothing(sdk: Callable[..., Client], account: TwilioAccount) -> None:
    """
    Test credentials get an answer like a real one, of their own account, and nothing is stored.
    """
    message = sdk(TEST.sid, TEST.secret).messages.create(to=ANNA, from_="+15005550006", body="Hello")

    assert told(message, "status account_sid") == ("queued", TEST.sid)
    assert account.message_count == 0


@pytest.mark.parametrize(
    ("sender", "code"),
    [("+15005550001", 21212), ("+15005550007", 21606), ("+15005550008", 21611), (CLINIC, 21606)],
)
def test_test_credentials_know_magic_senders_only(
    sdk: Callable[..., Client], account: TwilioAccount, sender: str, code: int
) -> None:
    """
    With test credentials even the account's own number is refused, and no attempt is logged.
    """
    with pytest.raises(TwilioRestException) as refused:
        sdk(TEST.sid, TEST.secret).messages.create(to=ANNA, from_=sender, body="Hello")

    assert code == refused.value.code
    assert account.message_count == 0


def test_test_credentials_are_not_for_the_account(raw: Raw, account: TwilioAccount) -> None:
    """
    With test credentials nothing can be sent in the name of the real account.
    """
    answer = dataclasses.replace(raw, user=TEST.sid, secret=TEST.secret).send({"From": "+15005550006"})

    assert (answer.status, answer.json["code"]) == (403, 20008)
    assert account.message_count == 0


def test_test_credentials_have_no_services(sdk: Callable[..., Client]) -> None:
    """
    A messaging service does not exist for test credentials.
    """
    with pytest.raises(TwilioRestException) as refused:
        sdk(TEST.sid, TEST.secret).messages.create(to=ANNA, messaging_service_sid=SERVICE, body="Hello")

    assert refused.value.code == 21701


def test_secrets_are_in_no_log(raw: Raw, simulator: TwilioSimulator, account: TwilioAccount) -> None:
    """
    The request log names the user of a request and keeps no secret.
    """
    raw.messages()

    assert account.account_sid == simulator.requests[0].user
    assert account.auth_token not in repr(simulator.requests) + repr(account) + repr(KEY)


# --- account, balance, numbers -----------------------------------------------------------------------------------


def test_account(client: Client, raw: Raw, account: TwilioAccount) -> None:
    """
    The account is active, and its document holds the token in clear as Twilio's does.
    """
    fetched = client.api.accounts(account.account_sid).fetch()

    assert told(fetched, "status type owner_account_sid") == ("active", "Full", account.account_sid)
    assert account.auth_token == raw("GET", raw.path("")).json["auth_token"]


def test_balance(client: Client) -> None:
    """
    The balance is text, in US dollars.
    """
    balance = client.balance.fetch()

    assert told(balance, "balance currency") == ("20.00", "USD")


def test_owned_number(client: Client) -> None:
    """
    An owned number is found with what it can do.
    """
    (number,) = client.incoming_phone_numbers.list(phone_number=CLINIC, limit=1)

    assert number.phone_number == CLINIC
    assert number.capabilities == {"fax": False, "mms": True, "sms": True, "voice": True}


def test_number_without_sms(client: Client) -> None:
    """
    A number that cannot send SMS says so.
    """
    (number,) = client.incoming_phone_numbers.list(phone_number=LANDLINE)

    assert not number.capabilities["sms"]


def test_number_of_someone_else(client: Client) -> None:
    """
    A number that is not owned is not found.
    """
    assert client.incoming_phone_numbers.list(phone_number=ANNA) == []


def test_numbers_are_paged(client: Client, raw: Raw) -> None:
    """
    Numbers come in pages as messages do, and a page token that points nowhere is refused.
    """
    numbers = client.incoming_phone_numbers.list(page_size=1)
    second = raw("GET", raw("GET", raw.path("/IncomingPhoneNumbers", PageSize="1")).json["next_page_uri"]).json
    first = raw("GET", second["previous_page_uri"]).json
    lost = raw("GET", raw.path("/IncomingPhoneNumbers", Page="1", PageToken="PAnowhere"))

    assert [number.phone_number for number in numbers] == [CLINIC, SECOND_LINE, LANDLINE]
    assert [page["incoming_phone_numbers"][0]["phone_number"] for page in (first, second)] == [CLINIC, SECOND_LINE]
    assert (lost.status, lost.json["code"]) == (400, 20001)


@pytest.mark.parametrize(
    "path", ["/nowhere.json", "/2010-04-01/Accounts/{sid}/Calls.json", "/2010-04-01/Accounts.json"]
)
def test_unknown_path(raw: Raw, path: str) -> None:
    """
    Nothing is at any other path.
    """
    answer = raw("GET", path.format(sid=raw.account_sid))

    assert (answer.status, answer.json["code"]) == (404, 20404)


@pytest.mark.parametrize("owner", ["", "AC" + "0" * 32])
def test_another_account(raw: Raw, owner: str) -> None:
    """
    Another account's log, or that of an empty SID, is not found.
    """
    answer = dataclasses.replace(raw, account_sid=owner).messages()

    assert (answer.status, answer.json["code"]) == (404, 20404)


@pytest.mark.parametrize(
    ("method", "resource"), [("DELETE", "/Messages"), ("PUT", "/Messages/SM1"), ("POST", "/Balance")]
)
def test_wrong_method(raw: Raw, method: str, resource: str) -> None:
    """
    A resource that knows no such verb answers 405.
    """
    answer = raw(method, raw.path(resource))

    assert (answer.status, answer.json["code"]) == (405, 20004)


# --- sending -----------------------------------------------------------------------------------------------------


def test_create_with_a_number(raw: Raw, account: TwilioAccount) -> None:
    """
    With a plain From the answer is queued, counts its segments, and knows neither sending date nor price.
    """
    answer = raw.send({"Body": "a" * 161})
    sid = answer.json["sid"]
    uri = f"/2010-04-01/Accounts/{account.account_sid}/Messages/{sid}"

    assert answer.status == 201
    assert re.fullmatch(r"SM[0-9a-f]{32}", sid)
    assert {
        "account_sid": account.account_sid,
        "api_version": "2010-04-01",
        "body": "a" * 161,
        "date_created": "Thu, 03 Dec 2026 12:00:00 +0000",
        "date_sent": None,
        "date_updated": "Thu, 03 Dec 2026 12:00:00 +0000",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": CLINIC,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "2",
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": ANNA,
        "uri": f"{uri}.json",
    } == answer.json


def test_create_with_a_service(client: Client) -> None:
    """
    With a service the answer is accepted, without a sender and with no segments yet.
    """
    message = client.messages.create(to=ANNA, messaging_service_sid=SERVICE, body="Hello")

    assert told(message, "status from_ num_segments messaging_service_sid") == ("accepted", None, "0", SERVICE)


def test_create_with_a_service_and_a_number(client: Client) -> None:
    """
    With a service and a sender of one's choice the first status is queued.
    """
    message = client.messages.create(to=ANNA, messaging_service_sid=SERVICE, from_=CLINIC, body="Hello")

    assert told(message, "status from_ num_segments") == ("queued", CLINIC, "1")


def test_create_with_media(client: Client) -> None:
    """
    A message with media has an MM SID and needs no text.
    """
    message = client.messages.create(to=ANNA, from_=CLINIC, media_url=["https://a.example/1", "https://a.example/2"])

    assert (message.sid[:2], message.num_media, message.body) == ("MM", "2", "")


def test_create_on_a_trial_account(client: Client, account: TwilioAccount) -> None:
    """
    A trial account's texts are stored with Twilio's prefix.
    """
    account.trial = True

    message = client.messages.create(to=ANNA, from_=CLINIC, body="Hello")

    assert message.body == "Sent from your Twilio trial account - Hello"
    assert client.api.accounts(account.account_sid).fetch().type == "Trial"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "a" * 1601}, 21617),
        ({"To": "5557654321"}, 21211),
        ({"To": "+1555"}, 21211),
        ({"To": "+0123456789"}, 21211),
        ({"To": CLINIC}, 21266),
        ({"From": "+15559990000"}, 21606),
        ({"From": LANDLINE}, 21606),
        ({"From": "", "MessagingServiceSid": "MG" + "1" * 32}, 21701),
        ({"From": "", "MessagingServiceSid": EMPTY_SERVICE}, 21704),
        ({"To": "+15005550001"}, 21211),
        ({"To": "+15005550002"}, 21612),
        ({"To": "+15005550003"}, 21408),
        ({"To": "+15005550004"}, 21610),
        ({"To": "+15005550009"}, 21614),
        ({"From": "+15005550001"}, 21212),
        ({"From": "+15005550007"}, 21606),
        ({"From": "+15005550008"}, 21611),
        ({"ScheduleType": "fixed", "SendAt": "2026-12-03T13:00:00Z"}, 35118),
        ({"MessagingServiceSid": SERVICE, "ScheduleType": "fixed"}, 35111),
        ({"MessagingServiceSid": SERVICE, "ScheduleType": "fixed", "SendAt": "2026-12-03T12:05:00Z"}, 35114),
        ({"MessagingServiceSid": SERVICE, "ScheduleType": "fixed", "SendAt": "2027-01-07T12:00:01Z"}, 35114),
    ],
)
def test_refused_create(raw: Raw, change: dict[str, str], code: int) -> None:
    """
    What is wrong with an attempt is 400 with Twilio's code for it.
    """
    answer = raw.send(change)

    assert answer.status == 400
    assert {"code", "message", "more_info", "status"} == set(answer.json)
    assert told(answer.json, "code status more_info") == (code, 400, f"https://www.twilio.com/docs/errors/{code}")


@pytest.mark.parametrize(
    "change",
    [
        {"Body": "a" * 1600},
        {"From": "+15005550006"},
        {"To": "+4915112345678"},
        {"MessagingServiceSid": SERVICE, "ScheduleType": "fixed", "SendAt": "2026-12-03T12:05:01Z"},
        {"MessagingServiceSid": SERVICE, "ScheduleType": "fixed", "SendAt": "2027-01-07T12:00:00Z"},
    ],
)
def test_looks_refusable_but_is_not(raw: Raw, change: dict[str, str]) -> None:
    """
    A text of exactly 1,600 characters, the magic sender, a foreign number, the soonest and latest times are fine.
    """
    assert raw.send(change).status == 201


def test_refused_create_is_logged(raw: Raw) -> None:
    """
    The log keeps a refused attempt: failed, with the code, never sent, its SID told to nobody.
    """
    raw.send({"To": "+15005550009"})

    (record,) = raw.messages().json["messages"]

    assert told(record, "status error_code date_sent messaging_service_sid") == ("failed", 21614, None, None)
    assert told(record, "to from body") == ("+15005550009", CLINIC, "Hello")


def test_refused_create_without_recipient_is_logged(raw: Raw) -> None:
    """
    An attempt that names no recipient is logged without one.
    """
    raw.send({"To": ""})

    (record,) = raw.messages().json["messages"]

    assert told(record, "to error_code") == (None, 21604)


def test_refused_create_with_an_unknown_service_is_logged(raw: Raw) -> None:
    """
    A service that does not exist is not in the record.
    """
    raw.send({"From": "", "MessagingServiceSid": "nonsense"})

    (record,) = raw.messages().json["messages"]

    assert told(record, "from messaging_service_sid error_code") == (None, None, 21701)


def test_refused_create_is_not_logged_if_switched_off(raw: Raw, account: TwilioAccount) -> None:
    """
    Accounts before the change of 2024 keep no refused attempts.
    """
    account.logs_refusals = False

    raw.send({"To": "+15005550009"})

    assert raw.messages().json["messages"] == []


def test_opt_out_with_a_number(client: Client, account: TwilioAccount) -> None:
    """
    With a plain From, who sent STOP is refused at once.
    """
    account.opted_out.add(ANNA)

    with pytest.raises(TwilioRestException) as refused:
        client.messages.create(to=ANNA, from_=CLINIC, body="Hello")

    assert refused.value.code == 21610


@pytest.mark.parametrize("recipient", [ANNA, "+15005550004"])
def test_opt_out_with_a_service(client: Client, account: TwilioAccount, clock: Clock, recipient: str) -> None:
    """
    With a service the message is accepted and fails later, with the same code.
    """
    account.opted_out.add(ANNA)

    message = client.messages.create(to=recipient, messaging_service_sid=SERVICE, body="Hello")
    clock.advance(seconds=2)
    later = message.fetch()

    assert told(message, "status error_code") == ("accepted", None)
    assert told(later, "status error_code date_sent price") == ("failed", 21610, None, None)


def test_scheduled(client: Client, clock: Clock) -> None:
    """
    A scheduled message waits for its time, then goes the way of any message through a service.
    """
    message = client.messages.create(
        to=ANNA, messaging_service_sid=SERVICE, body="Hello", schedule_type="fixed", send_at=NOON + timedelta(hours=1)
    )
    seen = [message.status]
    for seconds in (3599, 1, 1, 1, 3):
        clock.advance(seconds=seconds)
        seen.append(message.fetch().status)

    assert seen == ["scheduled", "scheduled", "accepted", "queued", "sent", "delivered"]
    assert NOON + timedelta(hours=1, seconds=2) == message.fetch().date_sent


def test_same_seed_same_world(clock: Clock) -> None:
    """
    SIDs come from the caller's randomness, and reading does not change which come next.
    """

    def third_sid(*, reads: bool) -> str:
        account = TwilioAccount(clock=clock, randomness=Random(5), numbers=[CLINIC])
        with TwilioSimulator(account) as simulator, urllib3.PoolManager() as pool:
            raw = Raw(simulator.base_url, account.account_sid, account.account_sid, account.auth_token, pool)
            for _ in range(2):
                raw.send()
                if reads:
                    raw.messages()
            return str(raw.send().json["sid"])

    assert third_sid(reads=False) == third_sid(reads=True)


# --- life --------------------------------------------------------------------------------------------------------


def delays(queued: float, sent: float, delivered: float, priced: float) -> Delays:
    """
    Delays in seconds.
    """
    return Delays(
        queued_after=timedelta(seconds=queued),
        sent_after=timedelta(seconds=sent),
        delivered_after=timedelta(seconds=delivered),
        priced_after=timedelta(seconds=priced),
    )


def course_of(message: Any, clock: Clock, seconds: int) -> list[tuple[str, str | None]]:
    """
    Status and price of each second from now.
    """
    seen = []
    for _ in range(seconds + 1):
        now = message.fetch()
        seen.append((now.status, now.price))
        clock.advance(seconds=1)
    return seen


def test_life_with_a_number(client: Client, account: TwilioAccount, clock: Clock) -> None:
    """
    Queued, sent, delivered, and the price last, each when the delays say.
    """
    account.delays = delays(0, 1, 2, 3)
    message = client.messages.create(to=ANNA, from_=CLINIC, body="a" * 161)

    assert course_of(message, clock, 3) == [
        ("queued", None),
        ("sent", None),
        ("delivered", None),
        ("delivered", "-0.01580"),
    ]


def test_price_before_receipt(client: Client, account: TwilioAccount, clock: Clock) -> None:
    """
    The price may appear before the carrier's receipt.
    """
    account.delays = replace(account.delays, priced_after=timedelta(seconds=3))
    account.price_per_segment = Decimal("0.0083")
    message = client.messages.create(to=ANNA, from_=CLINIC, body="Hello")
    clock.advance(seconds=3)

    assert course_of(message, clock, 2) == [("sent", "-0.00830"), ("sent", "-0.00830"), ("delivered", "-0.00830")]


def test_life_with_a_service(raw: Raw, clock: Clock) -> None:
    """
    Sender and segments of a message through a service appear when it is sent.
    """
    sid = raw.send({"From": "", "MessagingServiceSid": SERVICE}).json["sid"]
    seen = []
    for _ in range(3):
        record = raw("GET", raw.path(f"/Messages/{sid}")).json
        seen.append(
            (record["status"], record["from"] in {CLINIC, SECOND_LINE}, record["num_segments"], record["date_sent"])
        )
        clock.advance(seconds=1)

    assert seen == [
        ("accepted", False, "0", None),
        ("queued", False, "0", None),
        ("sent", True, "1", "Thu, 03 Dec 2026 12:00:02 +0000"),
    ]


def test_no_delays(raw: Raw, account: TwilioAccount) -> None:
    """
    A create is answered with the first state even if the last is reached at once.
    """
    account.delays = delays(0, 0, 0, 0)

    created = raw.send().json

    assert told(created, "status date_sent price") == ("queued", None, None)
    assert told(raw.messages().json["messages"][0], "status price") == ("delivered", "-0.00790")


def test_delays_keep_the_order(client: Client, account: TwilioAccount, clock: Clock) -> None:
    """
    Nothing happens before the thing it follows, however short its own delay.
    """
    account.delays = delays(3, 2, 1, 0)
    message = client.messages.create(to=ANNA, messaging_service_sid=SERVICE, body="Hello")

    assert [status for status, _ in course_of(message, clock, 3)] == ["accepted", "accepted", "accepted", "delivered"]
    assert message.fetch().date_sent == NOON + timedelta(seconds=3)


def test_service_sticks_to_a_sender(client: Client, clock: Clock) -> None:
    """
    One recipient always hears from the same number of a service.
    """
    messages = [client.messages.create(to=ANNA, messaging_service_sid=SERVICE, body="Hello") for _ in range(3)]
    clock.advance(seconds=2)

    assert len({message.fetch().from_ for message in messages}) == 1


def test_date_updated_follows(client: Client, clock: Clock) -> None:
    """
    Every change of state moves the date of the last update, and none of the others.
    """
    message = client.messages.create(to=ANNA, from_=CLINIC, body="Hello")
    clock.advance(seconds=7)
    delivered = message.fetch()
    clock.advance(days=1)
    priced = message.fetch()

    assert told(delivered, "date_created date_sent date_updated") == (
        NOON,
        NOON + timedelta(seconds=2),
        NOON + timedelta(seconds=5),
    )
    assert told(priced, "date_sent date_updated") == (delivered.date_sent, NOON + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (STAYS_SENT, ("sent", None, True, "-0.00790")),
        (Outcome("undelivered", 30003), ("undelivered", 30003, True, "-0.00790")),
        (Outcome("failed", 30007), ("failed", 30007, False, None)),
    ],
)
def test_outcome_by_recipient(
    client: Client, account: TwilioAccount, clock: Clock, outcome: Outcome, expected: tuple[object, ...]
) -> None:
    """
    How a message ends is a rule on its recipient: a receipt that says no, a failure, or no receipt for ever.
    """
    account.outcomes[ANNA] = outcome
    message = client.messages.create(to=ANNA, from_=CLINIC, body="Hello")
    other = client.messages.create(to=BEN, from_=CLINIC, body="Hello")
    clock.advance(days=30)
    end = message.fetch()

    assert expected == (end.status, end.error_code, end.date_sent is not None, end.price)
    assert other.fetch().status == "delivered"


def test_error_code_has_a_text(raw: Raw, account: TwilioAccount) -> None:
    """
    An error code is a number with a text beside it; a code nobody knows has none.
    """
    known = account.plant(to=ANNA, sender=CLINIC, status="undelivered", error_code=30003)
    unknown = account.plant(to=ANNA, sender=CLINIC, status="undelivered", error_code=39999)

    records = {record["sid"]: record for record in raw.messages().json["messages"]}

    assert told(records[known.sid], "error_code error_message") == (30003, "Unreachable destination handset")
    assert records[unknown.sid]["error_message"] is None


# --- planting ----------------------------------------------------------------------------------------------------


def test_plant_inbound(raw: Raw, account: TwilioAccount) -> None:
    """
    An inbound message is received, from the customer, and was sent when it came.
    """
    account.plant(to=CLINIC, sender=ANNA, body="Yes", direction="inbound", date_created=NOON - timedelta(hours=1))

    (record,) = raw.messages({"To": CLINIC}).json["messages"]

    assert told(record, "direction status from date_sent") == (
        "inbound",
        "received",
        ANNA,
        "Thu, 03 Dec 2026 11:00:00 +0000",
    )


def test_plant_any_shape(client: Client, account: TwilioAccount) -> None:
    """
    Every field can be what the caller says, also what Twilio would never say.
    """
    sid = "MM" + "ab" * 16
    account.plant(
        sid=sid,
        to=ANNA,
        sender=None,
        body="Hello",
        status="partially_delivered",
        service=SERVICE,
        direction="outbound-reply",
        date_created=NOON - timedelta(days=3),
        date_sent=NOON - timedelta(days=2),
        date_updated=NOON - timedelta(days=1),
        price="-1.00000",
        price_unit="EUR",
        error_code=30008,
        num_segments=9,
        num_media=4,
    )

    planted = client.messages(sid).fetch()

    assert told(planted, "status from_ messaging_service_sid direction") == (
        "partially_delivered",
        None,
        SERVICE,
        "outbound-reply",
    )
    assert tuple((NOON - day).days for day in (planted.date_created, planted.date_sent, planted.date_updated)) == (
        3,
        2,
        1,
    )
    assert told(planted, "price price_unit error_code num_segments num_media") == ("-1.00000", "EUR", 30008, "9", "4")


@pytest.mark.parametrize(
    ("status", "sent"), [("delivered", True), ("sent", True), ("queued", False), ("failed", False)]
)
def test_planted_status_says_whether_it_was_sent(account: TwilioAccount, status: str, sent: bool) -> None:
    """
    Unless the caller says otherwise, only a message that was sent has a sending date.
    """
    message = account.plant(to=ANNA, sender=CLINIC, status=status)

    assert sent == (message.stages[0].date_sent is not None)


def test_plant_without_sending_date(account: TwilioAccount) -> None:
    """
    None is a value: a delivered message without a sending date can be planted.
    """
    assert account.plant(to=ANNA, sender=CLINIC, date_sent=None).stages[0].date_sent is None


def test_plant_refuses_a_taken_sid(account: TwilioAccount) -> None:
    """
    A SID is planted once.
    """
    message = account.plant(to=ANNA, sender=CLINIC)

    with pytest.raises(ValueError, match="in the log already"):
        account.plant(to=ANNA, sender=CLINIC, sid=message.sid)


def test_plant_refuses_naive_dates(account: TwilioAccount) -> None:
    """
    A date without a time zone is nobody's date.
    """
    with pytest.raises(ValueError, match="no time zone"):
        account.plant(to=ANNA, sender=CLINIC, date_created=datetime(2026, 12, 1))  # noqa: DTZ001


def test_dates_are_shown_in_utc(raw: Raw, account: TwilioAccount) -> None:
    """
    A date of another time zone is converted, not relabelled.
    """
    account.plant(to=ANNA, sender=CLINIC, date_created=datetime.fromisoformat("2026-12-02T23:30:00-05:00"))

    (record,) = raw.messages().json["messages"]

    assert record["date_sent"] == "Thu, 03 Dec 2026 04:30:00 +0000"


def test_plant_living(client: Client, account: TwilioAccount, clock: Clock) -> None:
    """
    A message can be planted in the middle of its life, and lives on; its sender need not be owned any more.
    """
    attempt = Attempt(to=ANNA, sender="+15559990000", body="Hello")
    message = account.plant_living(
        attempt, date_created=NOON - timedelta(seconds=3), outcome=Outcome("undelivered", 30005)
    )
    seen = [client.messages(message.sid).fetch().status]
    clock.advance(seconds=2)
    seen.append(client.messages(message.sid).fetch().status)

    assert seen == ["sent", "undelivered"]


def test_planting_is_quick(account: TwilioAccount) -> None:
    """
    A hundred thousand messages are planted in any order and their newest page is there within seconds.
    """
    shuffled = Random(1).sample(range(100_000), 100_000)
    started = time.monotonic()
    for second in shuffled:
        account.plant(to=ANNA, sender=CLINIC, body="Your booking", date_created=NOON - timedelta(seconds=second))
    page = account.page(Query(to=ANNA), size=1)

    assert page.messages[0].date_created == NOON
    assert time.monotonic() - started < 20


def test_a_page_costs_what_it_holds(account: TwilioAccount) -> None:
    """
    Deep pages of a large log, filtered or not, take milliseconds.
    """
    planted = plant_series(account, 20_000, every=timedelta(seconds=1))
    lone = account.plant(to=BEN, sender=CLINIC, date_created=NOON - timedelta(days=1))
    started = time.monotonic()
    for _ in range(200):
        account.page(Query(to=ANNA), size=10, token=f"PA{planted[-20]}")
        account.page(Query(until=NOON - timedelta(seconds=19_000)), size=10)
        assert [lone] == account.page(Query(to=BEN, sender=CLINIC), size=10).messages

    assert time.monotonic() - started < 2


# --- lists -------------------------------------------------------------------------------------------------------


def test_list_through_the_sdk(client: Client, account: TwilioAccount, simulator: TwilioSimulator) -> None:
    """
    The SDK walks the whole log page by page, newest first.
    """
    planted = plant_series(account, 5)

    listed = client.messages.list(page_size=2)

    assert planted == [message.sid for message in listed]
    assert len(simulator.requests) == 3


def test_order(raw: Raw, account: TwilioAccount) -> None:
    """
    Messages stand by their sending date, or the date of creation while they have none; equal ones by SID.
    """
    early = account.plant(to=ANNA, sender=CLINIC, date_created=NOON - timedelta(hours=3), date_sent=NOON)
    twins = [account.plant(to=ANNA, sender=CLINIC, date_created=NOON - timedelta(hours=1)) for _ in range(4)]
    waiting = account.plant(to=ANNA, sender=CLINIC, status="queued", date_created=NOON - timedelta(hours=2))

    expected = [early.sid, *sorted((twin.sid for twin in twins), reverse=True), waiting.sid]

    assert expected == sids(raw.messages().json)


def test_order_follows_sending(raw: Raw, client: Client, clock: Clock, account: TwilioAccount) -> None:
    """
    A message that waited moves to the top when it is sent.
    """
    account.delays = replace(account.delays, sent_after=timedelta(hours=1))
    waiting = client.messages.create(to=ANNA, from_=CLINIC, body="Hello").sid
    clock.advance(minutes=30)
    newer = account.plant(to=ANNA, sender=CLINIC).sid
    before = sids(raw.messages().json)
    clock.advance(minutes=30)

    assert [newer, waiting] == before
    assert [waiting, newer] == sids(raw.messages().json)


def test_filter_by_recipient_and_sender(client: Client, account: TwilioAccount) -> None:
    """
    To and From match exactly, alone and together.
    """
    one = account.plant(to=ANNA, sender=CLINIC, date_created=NOON - timedelta(minutes=1)).sid
    two = account.plant(to=ANNA, sender=SECOND_LINE, date_created=NOON - timedelta(minutes=2)).sid
    three = account.plant(to=BEN, sender=CLINIC, date_created=NOON - timedelta(minutes=3)).sid

    def listed(**filters: str) -> list[str]:
        return [message.sid for message in client.messages.list(**filters)]

    assert [one, two] == listed(to=ANNA)
    assert [one, three] == listed(from_=CLINIC)
    assert [one] == listed(to=ANNA, from_=CLINIC)
    assert listed(to=ANNA[:-1]) == []
    assert [one, two, three] == listed()


def test_filter_by_a_picked_sender(raw: Raw, clock: Clock) -> None:
    """
    A message through a service is found by its sender as soon as it has one.
    """
    sid = raw.send({"From": "", "MessagingServiceSid": SERVICE}).json["sid"]
    before = [*sids(raw.messages({"From": CLINIC}).json), *sids(raw.messages({"From": SECOND_LINE}).json)]
    clock.advance(seconds=2)
    after = [*sids(raw.messages({"From": CLINIC}).json), *sids(raw.messages({"From": SECOND_LINE}).json)]

    assert ([], [sid]) == (before, after)


@pytest.fixture(name="days")
def _days(account: TwilioAccount) -> dict[str, str]:
    """
    The names of messages sent at the edges of a day, by SID.
    """
    moments = {
        "eve": "2026-12-01T23:59:59Z",
        "midnight": "2026-12-02T00:00:00Z",
        "noon": "2026-12-02T12:00:00Z",
        "end": "2026-12-02T23:59:59Z",
        "next": "2026-12-03T00:00:00Z",
    }
    return {
        account.plant(to=ANNA, sender=CLINIC, date_created=datetime.fromisoformat(text)).sid: name
        for name, text in moments.items()
    }


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"DateSent": "2026-12-02"}, ["end", "noon", "midnight"]),
        ({"DateSent": "2026-12-02T00:00:00Z"}, ["end", "noon", "midnight"]),
        ({"DateSent": "2026-12-01T20:00:00-05:00"}, ["end", "noon", "midnight"]),
        ({"DateSent<": "2026-12-02"}, ["end", "noon", "midnight", "eve"]),
        ({"DateSent>": "2026-12-02"}, ["next", "end", "noon", "midnight"]),
        ({"DateSent<": "2026-12-02T12:00:00Z"}, ["noon", "midnight", "eve"]),
        ({"DateSent>": "2026-12-02T12:00:00Z"}, ["next", "end", "noon"]),
        ({"DateSent<": "2026-12-02T11:59:59Z"}, ["midnight", "eve"]),
        ({"DateSent>": "2026-12-02T12:00:01Z"}, ["next", "end"]),
        ({"DateSent>": "2026-12-02T07:00:00-05:00"}, ["next", "end", "noon"]),
        ({"DateSent>": "2026-12-02", "DateSent<": "2026-12-02"}, ["end", "noon", "midnight"]),
        ({"DateSent>": "2026-12-02", "DateSent<": "2026-12-02", "To": BEN}, []),
        ({"DateSent>": "2026-12-04"}, []),
        ({"DateSent": ""}, ["next", "end", "noon", "midnight", "eve"]),
    ],
)
def test_filter_by_date(raw: Raw, days: dict[str, str], filters: dict[str, str], expected: list[str]) -> None:
    """
    Bounds are included; a bare day is the whole UTC day, as a bound too.
    """
    assert expected == [days[sid] for sid in sids(raw.messages(filters).json)]


def test_filter_by_date_through_the_sdk(client: Client, days: dict[str, str]) -> None:
    """
    The SDK's names for the bounds are date_sent_after and date_sent_before.
    """
    listed = client.messages.list(date_sent_after="2026-12-02", date_sent_before=datetime(2026, 12, 2, 12, tzinfo=UTC))

    assert [days[message.sid] for message in listed] == ["noon", "midnight"]


@pytest.mark.parametrize("name", ["DateSent", "DateSent<", "DateSent>"])
@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01", "2026-12-02T25:00:00Z", "20261202", "02.12.2026", "9999-12-31"]
)
def test_malformed_date(raw: Raw, name: str, text: str) -> None:
    """
    What is no date is 400 with code 20001.
    """
    answer = raw.messages({name: text})

    assert (answer.status, answer.json["code"]) == (400, 20001)


def test_unsent_messages_under_a_date_filter(raw: Raw, account: TwilioAccount) -> None:
    """
    A message without a sending date is in an unfiltered list and under no date filter.
    """
    sid = account.plant(to=ANNA, sender=CLINIC, status="failed", error_code=21614).sid

    assert [sid] == sids(raw.messages().json)
    assert sids(raw.messages({"DateSent>": "2026-01-01"}).json) == []


def test_unknown_parameters_are_ignored(raw: Raw, account: TwilioAccount) -> None:
    """
    A misspelt filter returns everything, and is not in the addresses of the pages.
    """
    planted = plant_series(account, 2)

    page = raw.messages({"Too": BEN}).json

    assert planted == sids(page)
    assert "Too" not in page["uri"]


def test_list_lag(raw: Raw, client: Client, account: TwilioAccount, clock: Clock) -> None:
    """
    A new message is missing from lists for a while, although its SID can be fetched at once.
    """
    account.list_lag = timedelta(minutes=10)
    sid = client.messages.create(to=ANNA, from_=CLINIC, body="Hello").sid
    clock.advance(minutes=9, seconds=59)
    before = sids(raw.messages().json)
    fetched = client.messages(sid).fetch()
    clock.advance(seconds=1)

    assert (before, fetched.status) == ([], "delivered")
    assert [sid] == sids(raw.messages().json)
    assert [sid] == [message.sid for message in account.messages()]


# --- pages -------------------------------------------------------------------------------------------------------


def test_page_document(raw: Raw, account: TwilioAccount) -> None:
    """
    A page has exactly Twilio's keys, and its addresses are relative, repeat all filters and point by SID.
    """
    planted = plant_series(account, 5)
    filters = {"To": ANNA, "From": CLINIC, "DateSent>": "2026-12-01"}
    base = raw.path() + "?To=%2B15557654321&From=%2B15550001111&DateSent%3E=2026-12-01&PageSize=2&Page="

    first, second, third = raw.walk(filters, PageSize=2)

    assert {
        "end": 1,
        "first_page_uri": base + "0",
        "messages": first["messages"],
        "next_page_uri": f"{base}1&PageToken=PA{planted[1]}",
        "page": 0,
        "page_size": 2,
        "previous_page_uri": None,
        "start": 0,
        "uri": base + "0",
    } == first
    assert told(second, "page start end first_page_uri previous_page_uri") == (
        1,
        2,
        3,
        base + "0",
        f"{base}0&PageToken=PB{planted[2]}",
    )
    assert first["next_page_uri"] == second["uri"]
    assert told(third, "next_page_uri start end") == (None, 4, 4)
    assert planted == sids(first) + sids(second) + sids(third)


def test_empty_page(raw: Raw) -> None:
    """
    An empty list is one page without neighbours.
    """
    page = raw.messages().json

    assert told(page, "messages start end page_size next_page_uri previous_page_uri") == ([], 0, 0, 50, None, None)


@pytest.mark.parametrize("size", [3, 4])
def test_exactly_full_page_is_the_last(raw: Raw, account: TwilioAccount, size: int) -> None:
    """
    As many messages as a page holds, or fewer, make one page.
    """
    plant_series(account, 3)

    assert raw.messages(PageSize=size).json["next_page_uri"] is None


def test_page_size(raw: Raw, account: TwilioAccount) -> None:
    """
    A page holds 50 unless said, and never more than 1000.
    """
    plant_series(account, 1001)

    default, cut = raw.messages().json, raw.messages(PageSize=5000).json

    assert (default["page_size"], len(default["messages"])) == (50, 50)
    assert (cut["page_size"], len(cut["messages"])) == (1000, 1000)
    assert "PageSize=1000&" in cut["next_page_uri"]


@pytest.mark.parametrize("paging", [{"PageSize": "0"}, {"PageSize": "-1"}, {"PageSize": "many"}, {"Page": "x"}])
def test_malformed_paging(raw: Raw, paging: dict[str, str]) -> None:
    """
    A page size below one, or one that is no number, is refused.
    """
    answer = raw.messages(paging)

    assert (answer.status, answer.json["code"]) == (400, 20001)


def test_page_needs_a_token(raw: Raw) -> None:
    """
    A page number alone leads nowhere.
    """
    answer = raw.messages(Page=1)

    assert (answer.status, answer.json["code"], answer.json["message"]) == (400, 20001, "PageToken is required")


@pytest.mark.parametrize("token", ["PASMnowhere", "XX", "PA"])
def test_unknown_token(raw: Raw, token: str) -> None:
    """
    A token that was never given out is refused.
    """
    answer = raw.messages(Page=1, PageToken=token)

    assert (answer.status, answer.json["code"]) == (400, 20001)


def test_walking_back(raw: Raw, account: TwilioAccount) -> None:
    """
    The previous page is the one the walk came from, and leads on again.
    """
    planted = plant_series(account, 6)
    pages = list(raw.walk(PageSize=2))

    back = raw("GET", pages[2]["previous_page_uri"]).json
    first = raw("GET", back["previous_page_uri"]).json

    assert (planted[2:4], planted[:2]) == (sids(back), sids(first))
    assert pages[1]["next_page_uri"] == back["next_page_uri"]
    assert first["previous_page_uri"] is None


def test_arrivals_do_not_shift_the_walk(raw: Raw, account: TwilioAccount) -> None:
    """
    Messages that arrive between two pages are neither seen nor make others seen twice.
    """
    planted = plant_series(account, 4)
    walk = raw.walk(PageSize=2)
    seen = sids(next(walk))
    for _ in range(3):
        account.plant(to=ANNA, sender=CLINIC)
    seen += sids(next(walk))

    assert planted == seen
    assert list(walk) == []


def test_deleted_cursor_does_not_break_the_walk(raw: Raw, client: Client, account: TwilioAccount) -> None:
    """
    The message a cursor points to may be deleted before the cursor is used.
    """
    planted = plant_series(account, 4)
    walk = raw.walk(PageSize=2)
    seen = sids(next(walk))
    client.messages(seen[-1]).delete()
    seen += sids(next(walk))

    assert planted == seen


def test_cursor_stays_where_it_was(raw: Raw, client: Client, account: TwilioAccount, clock: Clock) -> None:
    """
    The message a cursor points to may move up, because it is sent, before the cursor is used.
    """
    account.delays = replace(account.delays, sent_after=timedelta(hours=1))
    waiting = client.messages.create(to=ANNA, from_=CLINIC, body="Hello").sid
    planted = plant_series(account, 2)
    walk = raw.walk(PageSize=1)
    seen = sids(next(walk))
    clock.advance(hours=1)
    seen += [sid for page in walk for sid in sids(page)]

    assert [waiting, *planted] == seen


MINUTES = st.integers(min_value=0, max_value=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(MINUTES, max_size=30), st.integers(min_value=1, max_value=9), st.data())
def test_every_walk_sees_everything_once(minutes: list[int], size: int, data: st.DataObject) -> None:
    """
    Whatever arrives on top or is deleted on the way, what stays is seen exactly once, newest first.
    """
    account = TwilioAccount(clock=Clock(), randomness=Random(1))
    planted = [account.plant(to=ANNA, sender=CLINIC, date_created=NOON - timedelta(minutes=at)).sid for at in minutes]
    deleted: set[str] = set()
    seen: list[str] = []
    token: str | None = None
    while True:
        page = account.page(Query(), size=size, token=token)
        seen += [message.sid for message in page.messages]
        if not page.has_older:
            break
        token = f"PA{seen[-1]}"
        account.plant(to=ANNA, sender=CLINIC, date_created=NOON + timedelta(minutes=1))
        victim = data.draw(st.sampled_from([sid for sid in planted if sid not in deleted]))
        deleted.add(victim)
        account.delete(victim)

    assert len(set(seen)) == len(seen)
    assert set(planted) - deleted <= set(seen) <= set(planted)


@settings(max_examples=60, deadline=None)
@given(st.lists(MINUTES, max_size=30), MINUTES, MINUTES)
def test_a_window_is_the_filtered_whole(minutes: list[int], since: int, until: int) -> None:
    """
    A date filter gives what filtering the whole list by hand gives, in the same order.
    """
    account = TwilioAccount(clock=Clock(), randomness=Random(1))
    for at in minutes:
        account.plant(to=ANNA, sender=CLINIC, date_created=NOON + timedelta(minutes=at))
    query = Query(since=NOON + timedelta(minutes=since), until=NOON + timedelta(minutes=until))

    by_hand = [
        message for message in account.messages() if since <= (message.date_created - NOON).seconds // 60 < until
    ]

    assert by_hand == list(account.page(query, size=1000).messages)


# --- changing ----------------------------------------------------------------------------------------------------


def test_fetch(client: Client, account: TwilioAccount) -> None:
    """
    A message is fetched by its SID.
    """
    message = account.plant(to=ANNA, sender=CLINIC, body="Hello", price="-0.00790")

    fetched = client.messages(message.sid).fetch()

    assert told(fetched, "body status price") == ("Hello", "delivered", "-0.00790")


def test_fetch_unknown(client: Client) -> None:
    """
    A SID that does not exist is 404 with code 20404.
    """
    with pytest.raises(TwilioRestException) as missing:
        client.messages("SM" + "0" * 32).fetch()

    assert (missing.value.status, missing.value.code) == (404, 20404)


def test_redact(client: Client, account: TwilioAccount, clock: Clock) -> None:
    """
    An empty body blanks the text, leaves the rest, and moves the date of the last update.
    """
    message = account.plant(to=ANNA, sender=CLINIC, body="Your code is 1234")
    clock.advance(hours=1)

    redacted = client.messages(message.sid).update(body="")
    fetched = client.messages(message.sid).fetch()

    assert told(redacted, "body status to") == ("", "delivered", ANNA)
    assert told(fetched, "body date_updated date_sent") == ("", NOON + timedelta(hours=1), NOON)


@pytest.mark.parametrize("form", [{"Body": "other"}, {"Status": "sent"}])
def test_no_other_change(raw: Raw, account: TwilioAccount, form: dict[str, str]) -> None:
    """
    A text cannot be replaced, nor a status set.
    """
    message = account.plant(to=ANNA, sender=CLINIC, body="Hello")

    answer = raw("POST", raw.path(f"/Messages/{message.sid}"), form=form)

    assert (answer.status, answer.json["code"]) == (400, 20001)
    assert account.fetch(message.sid).body == "Hello"


def test_change_nothing(raw: Raw, account: TwilioAccount) -> None:
    """
    An update that says nothing gives the message as it is.
    """
    message = account.plant(to=ANNA, sender=CLINIC, body="Hello")

    assert raw("POST", raw.path(f"/Messages/{message.sid}"), form={}).json["body"] == "Hello"


def test_cancel(client: Client, clock: Clock) -> None:
    """
    A scheduled message that is called off is never sent.
    """
    message = client.messages.create(
        to=ANNA, messaging_service_sid=SERVICE, body="Hello", schedule_type="fixed", send_at=NOON + timedelta(hours=1)
    )
    message.update(status="canceled")
    clock.advance(days=1)
    later = message.fetch()

    assert told(later, "status date_sent price") == ("canceled", None, None)


def test_cancel_too_late(client: Client) -> None:
    """
    A message that does not wait for its time cannot be called off.
    """
    message = client.messages.create(to=ANNA, from_=CLINIC, body="Hello")

    with pytest.raises(TwilioRestException) as refused:
        message.update(status="canceled")

    assert refused.value.code == 30409


def test_delete(client: Client, raw: Raw, account: TwilioAccount) -> None:
    """
    A deleted message is gone from lists, and its SID is like one that never was.
    """
    message = account.plant(to=ANNA, sender=CLINIC)

    assert client.messages(message.sid).delete()
    assert sids(raw.messages().json) == []
    for change in (client.messages(message.sid).fetch, client.messages(message.sid).delete):
        with pytest.raises(TwilioRestException) as missing:
            change()
        assert missing.value.code == 20404


def test_delete_before_it_is_sent(account: TwilioAccount, client: Client, raw: Raw, clock: Clock) -> None:
    """
    A message that is deleted while it waits does not come back when its time comes.
    """
    message = client.messages.create(to=ANNA, from_=CLINIC, body="Hello")
    message.delete()
    clock.advance(hours=1)

    assert sids(raw.messages().json) == []
    assert account.message_count == 0


# --- the server --------------------------------------------------------------------------------------------------


def test_headers(raw: Raw) -> None:
    """
    Every answer carries Twilio's request id and the number of concurrent requests, itself included.
    """
    answers = [raw.messages(), dataclasses.replace(raw, secret="wrong").messages()]

    for answer in answers:
        assert re.fullmatch(r"RQ[0-9a-f]{32}", answer.headers["Twilio-Request-Id"])
        assert answer.headers["Twilio-Concurrent-Requests"] == "1"
        assert answer.headers["Content-Type"] == "application/json"
    assert answers[0].headers["Twilio-Request-Id"] != answers[1].headers["Twilio-Request-Id"]


def test_deletion_has_no_body(raw: Raw, account: TwilioAccount) -> None:
    """
    204 comes without a body, and the connection can be used again.
    """
    message = account.plant(to=ANNA, sender=CLINIC)

    answer = raw("DELETE", raw.path(f"/Messages/{message.sid}"))

    assert (answer.status, answer.data) == (204, b"")
    assert raw("GET", raw.path(f"/Messages/{message.sid}")).status == 404


def test_connections_are_kept_alive(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    Many requests go over one connection.
    """
    for _ in range(5):
        raw.messages()
    host = raw.pool.connection_from_url(simulator.base_url)

    assert told(host, "num_requests num_connections") == (5, 1)


def test_answers_come_in_one_piece(simulator: TwilioSimulator) -> None:
    """
    Head and body are sent in one write, so that no client waits for the second.
    """
    address = urlsplit(simulator.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(b"GET /2010-04-01/Accounts.json HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert json.loads(body)["code"] == 20003


def test_listens_on_loopback_only(simulator: TwilioSimulator) -> None:
    """
    Nobody outside this machine can reach it.
    """
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", simulator.base_url)


def test_request_log(raw: Raw, simulator: TwilioSimulator, clock: Clock) -> None:
    """
    Every request is noted with its verb, path, parameters and time, refused ones included.
    """
    raw.messages({"DateSent>": "2026-12-01"}, PageSize=7)
    clock.advance(seconds=5)
    raw.send({"To": "nobody"})
    listed, sent = simulator.requests

    assert told(listed, "method path query at") == (
        "GET",
        raw.path(),
        {"DateSent>": "2026-12-01", "PageSize": "7"},
        NOON,
    )
    assert dict(parse_qsl(urlsplit(listed.target).query)) == listed.query
    assert ("POST", "nobody", "", NOON + timedelta(seconds=5)) == (
        sent.method,
        sent.value("To"),
        sent.value("MediaUrl"),
        sent.at,
    )
    assert listed.monotonic_s < sent.monotonic_s


def test_latency(account: TwilioAccount, pool: urllib3.PoolManager) -> None:
    """
    Each answer takes the time it is told to.
    """
    with TwilioSimulator(account, latency=timedelta(milliseconds=50)) as simulator:
        raw = Raw(simulator.base_url, account.account_sid, account.account_sid, account.auth_token, pool)
        started = time.monotonic()
        raw.messages()

    assert time.monotonic() - started >= 0.05


def test_in_flight(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    The most requests that were under way at once are known, and one after the other counts as one.
    """
    raw.messages()
    raw.messages()
    alone = simulator.max_in_flight
    simulator.faults.add(Fault.hang(), times=4)
    with ThreadPoolExecutor(4) as workers:
        waiting = [workers.submit(raw.messages) for _ in range(4)]
        until(lambda: len(simulator.requests) == 6)
        simulator.release()
        concurrent = {answer.result().headers["Twilio-Concurrent-Requests"] for answer in waiting}

    assert (alone, simulator.max_in_flight) == (1, 4)
    assert {"1", "2", "3", "4"} == concurrent


def test_concurrent_creates(raw: Raw, account: TwilioAccount) -> None:
    """
    Messages sent at the same time are all kept, each with a SID of its own.
    """
    with ThreadPoolExecutor(8) as workers:
        created = {answer.json["sid"] for answer in workers.map(lambda _: raw.send(), range(40))}

    assert created == {message.sid for message in account.messages()}
    assert len(created) == 40


def test_closing(account: TwilioAccount, pool: urllib3.PoolManager) -> None:
    """
    Closing lets go whatever hangs, without an answer, and is done at once; then nobody listens.
    """
    with TwilioSimulator(account) as simulator, ThreadPoolExecutor(1) as workers:
        raw = Raw(simulator.base_url, account.account_sid, account.account_sid, account.auth_token, pool)
        raw.messages()
        simulator.faults.add(Fault.hang())
        hanging = workers.submit(raw.send)
        until(lambda: len(simulator.requests) == 2)
        started = time.monotonic()
        simulator.close()
        closed_in = time.monotonic() - started

        with pytest.raises(urllib3.exceptions.ProtocolError):
            hanging.result(timeout=5)

    assert closed_in < 1
    assert account.message_count == 0
    with pytest.raises(urllib3.exceptions.HTTPError):
        raw.messages()


def test_clients_may_hang_up(
    raw: Raw, simulator: TwilioSimulator, account: TwilioAccount, capfd: pytest.CaptureFixture[str]
) -> None:
    """
    A client that goes away in the middle of an answer is no news.
    """
    plant_series(account, 1000)
    simulator.faults.add(Fault.hang())
    address = urlsplit(simulator.base_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        authorisation = urllib3.make_headers(basic_auth=f"{raw.user}:{raw.secret}")["authorization"]
        head = f"GET {raw.path(PageSize='1000')} HTTP/1.1\r\nAuthorization: {authorisation}\r\n\r\n"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(head.encode())
        until(lambda: len(simulator.requests) == 1)
    simulator.release()
    simulator.close()

    assert simulator.requests[0].query == {"PageSize": "1000"}
    assert capfd.readouterr().err == ""


def test_closing_hangs_up(account: TwilioAccount) -> None:
    """
    Connections that are kept alive are closed too, so that nobody is answered afterwards.
    """
    with TwilioSimulator(account) as simulator:
        address = urlsplit(simulator.base_url)
        connection = socket.create_connection((address.hostname, address.port), timeout=1)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answered = connection.recv(65536)

    with connection:
        assert answered
        assert connection.recv(65536) == b""


def until(reached: Callable[[], bool]) -> None:
    """
    Wait for another thread, a few seconds at most.
    """
    deadline = time.monotonic() + 5
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.throttled(), (429, 20429, None)),
        (Fault.throttled(retry_after=2), (429, 20429, "2")),
        (Fault.daily_cap(), (429, 63038, None)),
        (Fault.server_error(), (500, 20500, None)),
        (Fault.unavailable(), (503, 20503, None)),
        (Fault.unavailable(retry_after=1), (503, 20503, "1")),
        (Fault.unauthorised(), (401, 20003, None)),
        (Fault.forbidden(), (403, 20008, None)),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_refusing_fault(raw: Raw, simulator: TwilioSimulator, fault: Fault, expected: tuple[object, ...]) -> None:
    """
    The answer is Twilio's error document with this status and code, once, and nothing was sent.
    """
    simulator.faults.add(fault)

    answer = raw.send()

    assert (answer.status, answer.json["code"], answer.headers.get("Retry-After")) == expected
    assert answer.json["status"] == answer.status
    assert simulator.account.message_count == 0
    assert raw.send().status == 201


def test_throttled_sdk(client: Client, simulator: TwilioSimulator) -> None:
    """
    The SDK turns a throttled create into an exception that tells status and code.
    """
    simulator.faults.add(Fault.throttled())

    with pytest.raises(TwilioRestException) as refused:
        client.messages.create(to=ANNA, from_=CLINIC, body="Hello")

    assert (refused.value.status, refused.value.code) == (429, 20429)


def test_reset_after_storing(client: Client, simulator: TwilioSimulator) -> None:
    """
    The message is sent and the answer lost: the client sees a reset connection, the log the message.
    """
    simulator.faults.add(Fault.reset())

    with pytest.raises(requests.exceptions.ConnectionError) as lost:
        client.messages.create(to=ANNA, from_=CLINIC, body="Hello")

    assert type(lost.value.args[0].args[1]) is ConnectionResetError
    assert simulator.account.message_count == 1


def test_reset_before_storing(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    The connection is reset and nothing was sent, which looks the same to the client.
    """
    simulator.faults.add(Fault.reset(stored=False))

    with pytest.raises(urllib3.exceptions.ProtocolError) as lost:
        raw.send()

    assert type(lost.value.args[1]) is ConnectionResetError
    assert simulator.account.message_count == 0


@pytest.mark.parametrize("stored", [False, True])
def test_closed(raw: Raw, simulator: TwilioSimulator, stored: bool) -> None:
    """
    The connection ends without an answer, whether or not the message was sent.
    """
    simulator.faults.add(Fault.closed(stored=stored))

    with pytest.raises(urllib3.exceptions.ProtocolError, match="without response"):
        raw.send()

    assert int(stored) == simulator.account.message_count


@pytest.mark.parametrize("stored", [False, True])
def test_hang(raw: Raw, simulator: TwilioSimulator, stored: bool) -> None:
    """
    A client that gives up cannot know whether the message was sent.
    """
    simulator.faults.add(Fault.hang(stored=stored))

    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        raw.send(timeout=0.1)

    assert int(stored) == simulator.account.message_count


def test_hang_for_a_while(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    A hang of some length ends in the true answer.
    """
    simulator.faults.add(Fault.hang(0.1))
    started = time.monotonic()

    answer = raw.send()

    assert time.monotonic() - started >= 0.1
    assert (answer.status, simulator.account.message_count) == (201, 1)


def test_hang_until_released(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    Releasing lets a hanging request go on to the true answer.
    """
    simulator.faults.add(Fault.hang())
    with ThreadPoolExecutor(1) as workers:
        hanging = workers.submit(raw.send)
        until(lambda: len(simulator.requests) == 1)
        waited = hanging.done()
        simulator.release()

        assert hanging.result(timeout=5).status == 201
    assert not waited


def test_bad_gateway(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    A proxy answers 502 in HTML.
    """
    simulator.faults.add(Fault.bad_gateway())

    answer = raw.messages()

    assert (answer.status, answer.headers["Content-Type"]) == (502, "text/html")
    assert answer.data.startswith(b"<html>")


def test_login_page(client: Client, simulator: TwilioSimulator) -> None:
    """
    HTML with status 200 makes the SDK fail at parsing.
    """
    simulator.faults.add(Fault.login_page())

    with pytest.raises(json.JSONDecodeError):
        client.messages.list(limit=1)


def test_garbage(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    The answer is a document, but not the one asked for.
    """
    simulator.faults.add(Fault.garbage())
    simulator.faults.add(Fault.garbage("[]"))

    assert [raw.messages().json, raw.messages().json] == [{"surprise": [1, 2, 3]}, []]


def test_truncated(raw: Raw, simulator: TwilioSimulator, account: TwilioAccount) -> None:
    """
    The body is shorter than announced.
    """
    plant_series(account, 10)
    simulator.faults.add(Fault.truncated())

    with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
        raw.messages()

    assert raw.messages().status == 200


def test_bad_date(raw: Raw, simulator: TwilioSimulator, account: TwilioAccount) -> None:
    """
    One message of a page has a sending date that is none; the log itself is not touched.
    """
    planted = plant_series(account, 3)
    simulator.faults.add(Fault.bad_date(record=1))
    dates = [record["date_sent"] for record in raw.messages().json["messages"]]
    simulator.faults.add(Fault.bad_date("2026-12-03T12:00:00Z"))

    assert dates[1] == "yesterday"
    assert [NOON - timedelta(minutes=1), NOON - timedelta(minutes=3)] == [
        parsedate_to_datetime(dates[at]) for at in (0, 2)
    ]
    assert raw("GET", raw.path(f"/Messages/{planted[0]}")).json["date_sent"] == "2026-12-03T12:00:00Z"
    assert raw("GET", raw.path(f"/Messages/{planted[0]}")).json["date_sent"] == "Thu, 03 Dec 2026 11:59:00 +0000"


def test_faults_happen_as_often_as_ordered(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    Faults are met in the order in which they were added, each as often as said.
    """
    simulator.faults.add(Fault.throttled(), times=2)
    simulator.faults.add(Fault.server_error())

    assert [raw.messages().status for _ in range(4)] == [429, 429, 500, 200]
    assert simulator.faults.unused() == []


def test_fault_for_ever(raw: Raw, simulator: TwilioSimulator) -> None:
    """
    A fault without a number of times happens until it is taken back.
    """
    simulator.faults.add(Fault.server_error(), times=None)
    broken = {raw.messages().status for _ in range(5)}
    simulator.faults.clear()

    assert ({500}, 200) == (broken, raw.messages().status)


@pytest.mark.parametrize(
    ("on", "statuses"),
    [
        (On(method="POST"), [200, 500, 200, 200]),
        (On(path="/Balance"), [200, 201, 500, 200]),
        (On(page=1), [200, 201, 200, 500]),
        (On(method="GET", path="/Messages", page=0), [500, 201, 200, 200]),
        (On(contains="PageToken=PA"), [200, 201, 200, 500]),
        (lambda request: request.value("To") == ANNA, [200, 500, 200, 200]),
    ],
)
def test_faults_meet_their_requests_only(
    raw: Raw, simulator: TwilioSimulator, account: TwilioAccount, on: On, statuses: list[int]
) -> None:
    """
    A fault waits for a request by verb, part of the path, page, part of the query, or any condition.
    """
    planted = plant_series(account, 2)
    simulator.faults.add(Fault.server_error(), on=on)

    assert statuses == [
        raw.messages(PageSize=1).status,
        raw.send().status,
        raw("GET", raw.path("/Balance")).status,
        raw.messages(PageSize=1, Page=1, PageToken=f"PA{planted[0]}").status,
    ]


def test_unused_faults(simulator: TwilioSimulator) -> None:
    """
    What was ordered and never happened can be asked for.
    """
    fault = Fault.truncated()
    simulator.faults.add(fault, on=On(page=7))

    assert [fault] == simulator.faults.unused()


def test_faults_are_used_once_each_by_threads(raw: Raw) -> None:
    """
    Two requests never share one fault.
    """
    raw.messages()
    request = None
    faults = Faults()
    faults.add(Fault.closed(), times=100, on=lambda _: True)
    with ThreadPoolExecutor(8) as workers:
        taken = [fault for fault in workers.map(lambda _: faults.take(request), range(300)) if fault]  # type: ignore[arg-type]

    assert len(taken) == 100


def test_state_machine_needs_no_server(account: TwilioAccount, clock: Clock) -> None:
    """
    The account works alone: what it refuses is an exception with Twilio's code and HTTP status.
    """
    message = account.create(Attempt(to=ANNA, sender=CLINIC, body="Hello"))
    clock.advance(minutes=1)

    with pytest.raises(Refused, match="not a valid mobile number") as refused:
        account.create(Attempt(to="+15005550009", sender=CLINIC, body="Hello"))

    assert account.fetch(message.sid).stage(clock()).status == "delivered"
    assert (refused.value.code, refused.value.http_status) == (21614, 400)
