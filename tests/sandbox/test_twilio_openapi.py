"""
The simulator's answers have the shape of Twilio's OpenAPI description, and readers use parameters that it knows.

The description (twilio/twilio-oai, `spec/json/twilio_api_v2010.json`) is no part of this project: `TWILIO_OPENAPI` says
where it is. It declares neither required nor forbidden keys, so those are compared besides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from openapi_schema_validator import OAS30Validator
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from booking_doctor.sandbox.twilio import TwilioAccount
from booking_doctor.sandbox.twilio_api import MESSAGE_FILTERS
from booking_doctor.sandbox.twilio_http import TwilioSimulator

CLINIC, ANNA = "+15550001111", "+15557654321"
SERVICE = "MG" + "5" * 32
NOON = datetime(2026, 12, 3, 12, tzinfo=UTC)

ACCOUNT = "/2010-04-01/Accounts/{Sid}.json"
BALANCE = "/2010-04-01/Accounts/{AccountSid}/Balance.json"
NUMBERS = "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers.json"
MESSAGES = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
MESSAGE = "/2010-04-01/Accounts/{AccountSid}/Messages/{Sid}.json"


@pytest.fixture(name="api", scope="module")
def _api() -> Any:
    beside = Path(__file__).parents[2] / ".." / "shared" / "data" / "twilio_api_v2010.json"
    path = Path(os.environ.get("TWILIO_OPENAPI", beside))
    if not path.is_file():
        pytest.skip("Twilio's OpenAPI description is not here; TWILIO_OPENAPI says where it is")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(name="account")
def _account() -> TwilioAccount:
    return TwilioAccount(
        clock=lambda: NOON, randomness=Random(3), numbers=[CLINIC, "+15550002222"], services={SERVICE: [CLINIC]}
    )


@pytest.fixture(name="simulator")
def _simulator(account: TwilioAccount) -> Iterator[TwilioSimulator]:
    with TwilioSimulator(account) as simulator:
        yield simulator


@pytest.fixture(name="session")
def _session(account: TwilioAccount) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.auth = (account.account_sid, account.auth_token)
        yield session


def schema_of(api: Any, path: str, method: str, status: str) -> Any:
    """
    The schema of an answer.
    """
    return api["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]


def resolved(api: Any, schema: Any) -> Any:
    """
    The schema itself where there is only a reference to one.
    """
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        schema = api["components"]["schemas"][name]
    return schema


def complaints(api: Any, schema: Any, document: Any) -> list[str]:
    """
    All that is wrong with a document: types, patterns and lengths, enumerations, keys too many or too few.
    """
    validator = OAS30Validator({"allOf": [schema], "components": api["components"]})
    wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    return wrong + [f"key {key}" for key in keys_amiss(api, schema, document)]


def keys_amiss(api: Any, schema: Any, document: Any, at: str = "") -> Iterator[str]:
    """
    Keys that only one of document and schema has, at every depth.
    """
    schema = resolved(api, schema)
    if isinstance(document, list):
        for index, item in enumerate(document):
            yield from keys_amiss(api, schema["items"], item, f"{at}/{index}")
    elif isinstance(document, dict) and "properties" in schema:
        yield from (f"{at}/{key}" for key in schema["properties"].keys() ^ document.keys())
        for key in schema["properties"].keys() & document.keys():
            yield from keys_amiss(api, schema["properties"][key], document[key], f"{at}/{key}")


def ask(simulator: TwilioSimulator, session: requests.Session, method: str, path: str, **form: str) -> Any:
    """
    Ask for a path of the description, and give the document that is answered.
    """
    account_sid = simulator.account.account_sid
    sid = form.pop("Sid", account_sid)
    url = simulator.base_url + path.format(AccountSid=account_sid, Sid=sid)
    return session.request(method, url, data=form, timeout=5).json()


@pytest.mark.parametrize(
    "form",
    [
        {"From": CLINIC, "Body": "Hello"},
        {"MessagingServiceSid": SERVICE, "Body": "Hello"},
        {"From": CLINIC, "MediaUrl": "https://a.example/1"},
        {
            "MessagingServiceSid": SERVICE,
            "Body": "Hello",
            "ScheduleType": "fixed",
            "SendAt": (NOON + timedelta(hours=1)).isoformat(),
        },
    ],
    ids=["number", "service", "media", "scheduled"],
)
def test_create(api: Any, simulator: TwilioSimulator, session: requests.Session, form: dict[str, str]) -> None:
    """
    The answer to a create is a Message resource.
    """
    created = ask(simulator, session, "POST", MESSAGES, To=ANNA, **form)

    assert complaints(api, schema_of(api, MESSAGES, "post", "201"), created) == []


def test_fetch_and_redact(api: Any, simulator: TwilioSimulator, session: requests.Session) -> None:
    """
    A message is a Message resource when it is fetched, and when its text is blanked.
    """
    sid = simulator.account.plant(to=ANNA, sender=CLINIC, body="Hello", price="-0.00790").sid

    fetched = ask(simulator, session, "GET", MESSAGE, Sid=sid)
    redacted = ask(simulator, session, "POST", MESSAGE, Sid=sid, Body="")

    assert (fetched["body"], redacted["body"]) == ("Hello", "")
    assert complaints(api, schema_of(api, MESSAGE, "get", "200"), fetched) == []
    assert complaints(api, schema_of(api, MESSAGE, "post", "200"), redacted) == []


def test_every_stage_of_a_life(api: Any, account: TwilioAccount, simulator: TwilioSimulator) -> None:
    """
    Every status the state machine can give by itself is one that the description knows.
    """
    known = set(resolved(api, {"$ref": "#/components/schemas/message_enum_status"})["enum"])
    with requests.Session() as session:
        session.auth = (account.account_sid, account.auth_token)
        form = {"ScheduleType": "fixed", "SendAt": (NOON + timedelta(hours=1)).isoformat()}
        ask(simulator, session, "POST", MESSAGES, To=ANNA, MessagingServiceSid=SERVICE, Body="Hello", **form)
        ask(simulator, session, "POST", MESSAGES, To="+15005550004", MessagingServiceSid=SERVICE, Body="Hello")

    given = {stage.status for message in account.messages() for stage in message.stages}

    assert {"scheduled", "accepted", "queued", "sent", "delivered", "failed"} == given
    assert given <= known


def test_list_page(api: Any, simulator: TwilioSimulator, session: requests.Session) -> None:
    """
    A page of the log, refused attempts and inbound messages in it, is the page of the description.
    """
    account = simulator.account
    account.plant(to=CLINIC, sender=ANNA, body="Yes", direction="inbound")
    account.plant(to=ANNA, sender=CLINIC, status="undelivered", error_code=30003, price="-0.00790")
    ask(simulator, session, "POST", MESSAGES, To="+15005550009", From=CLINIC, Body="Hello")
    ask(simulator, session, "POST", MESSAGES)

    page = ask(simulator, session, "GET", MESSAGES)

    assert len(page["messages"]) == 4
    assert complaints(api, schema_of(api, MESSAGES, "get", "200"), page) == []


@pytest.mark.parametrize("path", [ACCOUNT, BALANCE, NUMBERS])
def test_other_resources(api: Any, simulator: TwilioSimulator, session: requests.Session, path: str) -> None:
    """
    Account, balance and numbers are the resources of the description.
    """
    answer = ask(simulator, session, "GET", path)

    assert complaints(api, schema_of(api, path, "get", "200"), answer) == []


def test_complaints(api: Any, simulator: TwilioSimulator, session: requests.Session) -> None:
    """
    A wrong type, pattern or status, a missing and an unknown key are all noticed.
    """
    sid = simulator.account.plant(to=ANNA, sender=CLINIC).sid
    message = ask(simulator, session, "GET", MESSAGE, Sid=sid)
    message |= {"error_code": "30003", "sid": "XX1", "status": "lost", "colour": "blue"}
    del message["price"]

    found = " ".join(complaints(api, schema_of(api, MESSAGE, "get", "200"), message))

    for part in ("$.error_code", "$.sid", "$.status", "key /colour", "key /price"):
        assert part in found


def test_error_texts_are_for_errors_only(api: Any) -> None:
    """
    The description has no error answers, so that those of the simulator rest on Twilio's pages alone.
    """
    assert {"200"} == set(api["paths"][MESSAGES]["get"]["responses"])


def query_names(api: Any, path: str) -> set[str]:
    """
    The parameters a path knows.
    """
    return {parameter["name"] for parameter in api["paths"][path]["get"]["parameters"] if parameter["in"] == "query"}


def form_names(api: Any, path: str) -> set[str]:
    """
    The fields a path's form knows.
    """
    content = api["paths"][path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    return set(resolved(api, content["schema"])["properties"])


def test_filters_of_the_simulator(api: Any) -> None:
    """
    The simulator knows every parameter of a list, and no other.
    """
    assert query_names(api, MESSAGES) == {*MESSAGE_FILTERS, "PageSize", "Page", "PageToken"}


def test_parameters_of_the_sdk(
    api: Any, account: TwilioAccount, simulator: TwilioSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What the SDK sends, walking included, is in the description.
    """
    monkeypatch.delenv("TWILIO_EDGE", raising=False)
    monkeypatch.delenv("TWILIO_REGION", raising=False)
    http_client = TwilioHttpClient(timeout=5)
    client = Client(account.account_sid, account.auth_token, http_client=http_client)
    client.api.base_url = simulator.base_url
    for _ in range(3):
        client.messages.create(to=ANNA, from_=CLINIC, body="Hello")
    scheduled = client.messages.create(
        to=ANNA, messaging_service_sid=SERVICE, body="Hello", schedule_type="fixed", send_at=NOON + timedelta(hours=1)
    )
    scheduled.update(status="canceled")
    scheduled.update(body="")
    client.messages.list(to=ANNA, from_=CLINIC, page_size=2)
    client.messages.list(date_sent=NOON, date_sent_before=NOON, date_sent_after=NOON)
    client.incoming_phone_numbers.list(phone_number=CLINIC, limit=1)
    http_client.session.close()

    queries = {
        path: {name for request in simulator.requests for name in request.query if path in request.path}
        for path in ("/Messages.json", "/IncomingPhoneNumbers.json")
    }
    created = {name for request in simulator.requests for name in request.form if "/Messages.json" in request.path}
    changed = {name for request in simulator.requests for name in request.form if "/Messages/" in request.path}

    assert query_names(api, MESSAGES) == queries["/Messages.json"]
    assert {"PhoneNumber", "PageSize"} <= queries["/IncomingPhoneNumbers.json"] <= query_names(api, NUMBERS)
    assert (
        {"To", "From", "MessagingServiceSid", "Body", "ScheduleType", "SendAt"} == created <= form_names(api, MESSAGES)
    )
    assert {"Body", "Status"} == changed <= form_names(api, MESSAGE)
