"""
What a running installation tells of itself.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from booking_doctor import __version__
from booking_doctor.deployment import configuration_hashes, deployment
from booking_doctor.settings import Secret
from tests.web.conftest import APP_URL, BOOKING_KEY, DEPLOYMENT, TEST_KEY, Client

COMMIT = "0f" * 20


def test_open_to_anybody(open_api: Callable[..., Client]) -> None:
    """
    Which build it is, when it answered, and that it has the fix; never from a cache, and of the settings nothing.
    """
    api = open_api(BOOKING_DEPLOYMENT="blue-7", BOOKING_COMMIT=COMMIT)

    answer = api.ask("GET", DEPLOYMENT)
    told = answer.json()

    assert answer.headers["Cache-Control"] == "no-store"
    assert abs(datetime.fromisoformat(told.pop("timestamp")) - datetime.now(UTC)) < timedelta(seconds=10)
    assert told == {
        "deployment": "blue-7",
        "commit": COMMIT,
        "hasInitiateFixes": True,
        "version": __version__,
        "key": "none",
    }


def test_unknown(api: Client) -> None:
    """
    What the environment does not say is null, not left out.
    """
    told = api.ask("GET", DEPLOYMENT).json()

    assert (told["deployment"], told["commit"]) == (None, None)


@pytest.mark.parametrize("key", [BOOKING_KEY, TEST_KEY])
def test_with_a_key(api: Client, key: str) -> None:
    """
    Whoever has a key can compare his settings with the server's, and read none of them.
    """
    told = api.ask("GET", DEPLOYMENT, headers={"X-API-Key": key}).json()

    ours = {"TWILIO_ACCOUNT_SID": api.scene.account.account_sid, "BOOKING_APP_URL": APP_URL}
    for name, value in ours.items():
        assert told["configuration"][name] == hmac.new(key.encode(), f"{name}={value}".encode(), "sha256").hexdigest()
    assert told["key"] == "valid"
    assert {"DATABASE", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"} <= set(told["configuration"])
    assert not set(told["configuration"]) & {"BOOKING_API_KEY", "TEST_API_KEY", "DATABASE_URL"}
    assert all(value not in str(told) for value in (*ours.values(), "postgres"))


def test_with_a_wrong_key(api: Client) -> None:
    """
    A wrong key is told to be one, and opens nothing.
    """
    told = api.ask("GET", DEPLOYMENT, headers={"X-API-Key": "wrong"}).json()

    assert (told["key"], "configuration" in told) == ("unknown", False)


def test_what_names_the_build() -> None:
    """
    What somebody set goes before what the platform sets; an empty value is none.
    """
    platform = {"VERCEL_DEPLOYMENT_ID": "dpl_1", "VERCEL_GIT_COMMIT_SHA": COMMIT}

    assert deployment(platform).name == "dpl_1"
    assert deployment({**platform, "BOOKING_DEPLOYMENT": "mine", "BOOKING_COMMIT": ""}).name == "mine"
    assert deployment({**platform, "BOOKING_COMMIT": ""}).commit == COMMIT
    assert deployment({}).commit is None


def test_hashes() -> None:
    """
    Equal for equal settings, other ones with another key; a database is its place, so that no password can be guessed.
    """
    key = Secret("k")
    one = configuration_hashes({"DATABASE_URL": "postgresql://a:x@db.example/app", "TWILIO_API_KEY": ""}, key)

    assert set(one) == {"DATABASE"}
    assert one == configuration_hashes({"POSTGRES_URL": "postgresql://b:y@db.example:5432/app"}, key)
    assert one != configuration_hashes({"DATABASE_URL": "postgresql://a:x@db.example/other"}, key)
    assert one != configuration_hashes({"DATABASE_URL": "postgresql://a:x@db.example/app"}, Secret("l"))
    assert configuration_hashes({"DATABASE_URL": "mysql://"}, key) == {}
