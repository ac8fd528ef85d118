"""
The API as it is served: uvicorn on loopback, an embedded PostgreSQL, the Twilio simulator.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
from twilio.request_validator import RequestValidator

from booking_doctor.bootstrap import backing
from booking_doctor.sandbox.incidents import World
from booking_doctor.web.api import Installation, create_app
from booking_doctor.web.keys import Keys
from booking_doctor.web.server import address_of, listen, server_of

APP_URL = "https://booking.example"
BOOKING_KEY = "canary-booking-key-5f1e"
TEST_KEY = "canary-test-key-9c20"
EVENT = "6d0f1f7e-6c1c-4b43-8c1e-2b8f5c0a9a11"
PHONE = "+15550103333"

INITIATE, CONFIRM = "/api/bookings/initiate", "/api/bookings/confirm"
STATUS, DEPLOYMENT, HEALTH = "/api/webhooks/twilio/status", "/api/test-deployment", "/healthz"


def environment(scene: World, **variables: str) -> dict[str, str]:
    """
    The variables of an installation in that world.
    """
    return {
        **scene.environment(),
        "BOOKING_APP_URL": APP_URL,
        "BOOKING_API_KEY": BOOKING_KEY,
        "TEST_API_KEY": TEST_KEY,
        **variables,
    }


@contextmanager
def served(variables: dict[str, str], directory: Path) -> Iterator[str]:
    """
    The API for these variables, and where it is.
    """
    behind = backing(directory, (), None, variables)
    installation = Installation(
        flow=behind.flow,
        signatures=behind.signatures,
        keys=Keys.of(behind.variables),
        app_url=behind.app_url,
        ask_database=behind.ask_database,
        variables=behind.variables,
        now=lambda: datetime.now(UTC),
    )
    with listen("127.0.0.1", 0) as listening:
        server = server_of(create_app(installation))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join()
            behind.flow.close()


@dataclass
class Client:
    """
    Somebody who uses the API.
    """

    scene: World
    url: str
    answers: list[requests.Response] = field(default_factory=list)

    def ask(self, method: str, address: str, **options: Any) -> requests.Response:
        """
        Ask something.
        """
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, f"{self.url}{address}", timeout=60, **options)
        self.answers.append(answer)
        return answer

    def initiate(
        self, *, key: str | None = BOOKING_KEY, once: str | None = None, headers: Any = None, **members: Any
    ) -> requests.Response:
        """
        Make a booking, of which these members differ; ``...`` leaves one out.
        """
        given = {"X-API-Key": key, "Idempotency-Key": once, **(headers or {})}
        body = {"event_id": EVENT, "customer_name": "Ann", "customer_phone": PHONE, **members}
        kept = {name: value for name, value in body.items() if value is not ...}
        headers = {name: value for name, value in given.items() if value is not None}
        return self.ask("POST", INITIATE, json=kept, headers=headers)

    def confirm(self, token: Any) -> requests.Response:
        """
        Confirm one.
        """
        return self.ask("POST", CONFIRM, json={"token": token})

    def call_back(
        self,
        address: str,
        fields: list[tuple[str, str]],
        *,
        to: str | None = None,
        sent: list[tuple[str, str]] | None = None,
        **headers: str,
    ) -> requests.Response:
        """
        What Twilio does with an address that it was given with a text; or somebody else, with its signature.

        Args:
            to: The path and query that is really asked; the address's own, unless said.
            sent: The fields that are really sent, likewise.
        """
        form: dict[str, list[str]] = {}
        for name, value in fields:
            form.setdefault(name, []).append(value)
        path = address[address.index("/", len("https://")) :]
        signature = RequestValidator(self.scene.account.auth_token).compute_signature(address, _Form(form))
        given = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.ask("POST", to or path, data=urlencode(sent or fields), headers=given)

    def callback_of(self, sent: int = -1) -> str:
        """
        The address for callbacks that a text was sent with.
        """
        texts = [request for request in self.scene.simulator.requests if request.method == "POST"]
        return texts[sent].value("StatusCallback")

    def metadata(self, booking_id: str) -> dict[str, Any]:
        """
        What a pending booking's metadata says of its text.
        """
        [row] = self.scene.rows("SELECT metadata FROM pending_bookings WHERE id = CAST(:id AS uuid)", id=booking_id)
        sms: dict[str, Any] = row["metadata"]["initial_sms"]
        return sms

    def count(self, table: str) -> int:
        """
        How many rows there are.
        """
        [row] = self.scene.rows(f"SELECT count(*) AS n FROM {table}")
        return int(row["n"])


def logged(lines: pytest.LogCaptureFixture, words: str) -> bool:
    """
    Whether the log has these words; a request's line comes after its answer.
    """
    end = time.monotonic() + 5
    while words not in lines.text and time.monotonic() < end:
        time.sleep(0.01)
    return words in lines.text


class _Form(dict[str, list[str]]):
    """
    A form as the SDK takes it, with names that stand more than once.
    """

    def getall(self, name: str) -> list[str]:
        return self[name]


@pytest.fixture(name="open_api")
def _open_api(scene: World, tmp_path: Path, lines: pytest.LogCaptureFixture) -> Iterator[Callable[..., Client]]:
    """
    Serves the API for the scene; variables given replace the scene's own. No answer and no line may hold a secret, and
    no line a phone number.
    """
    scene.execute("INSERT INTO events (id, title, starts_at) VALUES (:id, 'Wine tasting', now())", id=EVENT)
    opened: list[Client] = []
    with ExitStack() as stack:

        def open_(**variables: str) -> Client:
            opened.append(Client(scene, stack.enter_context(served(environment(scene, **variables), tmp_path))))
            return opened[-1]

        yield open_
    password = urlsplit(scene.url).password or ""
    secrets = (password or "canary", scene.account.auth_token, BOOKING_KEY, TEST_KEY, "canary")
    answers = [f"{answer.headers}{answer.text}" for client in opened for answer in client.answers]
    assert [secret for secret in secrets for told in (*answers, lines.text) if secret in told] == []
    assert not re.search('Traceback|File "/', "".join(answers))
    assert PHONE.removeprefix("+1") not in lines.text


@pytest.fixture(name="api")
def _api(open_api: Callable[..., Client]) -> Client:
    """
    The API for the scene.
    """
    return open_api()


@pytest.fixture(name="lines")
def _lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """
    What the server logs.
    """
    caplog.set_level(logging.DEBUG, "booking_doctor")
    return caplog
