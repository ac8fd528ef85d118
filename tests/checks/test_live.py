"""
What Twilio and the database say of the variables, and what is not claimed where they could not be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from booking_doctor.checks import CATALOGUE, select
from booking_doctor.checks.live import LIVE
from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault, On

HEX: Final = "0123456789abcdef" * 2
SENDER: Final = "env-sender-unusable"


@pytest.fixture(name="live")
def _live(scene: World, open_doctor: Callable[..., Doctor]) -> Callable[..., list[str]]:
    """
    What the live checks find, and what they could not ask.
    """

    def look(*chosen: str, **variables: str) -> list[str]:
        request = Request(window=Window(scene.now - timedelta(days=7), scene.now))
        report = open_doctor(**variables).examine("check-env", select(chosen or LIVE), request)
        return [finding.fingerprint for finding in report.findings] + [
            f"{skipped.kind}:{skipped.check}" for skipped in report.skipped
        ]

    return look


def test_live_and_well(live: Callable[..., list[str]]) -> None:
    """
    Twilio and the database say yes.
    """
    assert live() == []


def test_live_with_a_wrong_token(live: Callable[..., list[str]]) -> None:
    """
    The credential is rejected; what depends on it is not asked.
    """
    assert live(TWILIO_AUTH_TOKEN=HEX) == ["env-rejected:env/TWILIO_AUTH_TOKEN", "not-applicable:env-sender-unusable"]


def test_live_with_a_wrong_key(live: Callable[..., list[str]]) -> None:
    """
    A key is preferred to the token, so it is the one that is named.
    """
    found_ = live(TWILIO_API_KEY=f"SK{HEX}", TWILIO_API_SECRET=HEX)

    assert found_[0] == "env-rejected:env/TWILIO_API_KEY"


def test_live_with_a_strangers_number(live: Callable[..., list[str]]) -> None:
    """
    A number that the account does not own, and a service that is not there.
    """
    assert live(TWILIO_PHONE_NUMBER="+15550100777", TWILIO_MESSAGING_SERVICE_SID=f"MG{HEX}") == [
        "env-sender-unusable:env/TWILIO_PHONE_NUMBER",
        "env-sender-unusable:env/TWILIO_MESSAGING_SERVICE_SID",
    ]


# senders


@pytest.fixture(name="services")
def _services(scene: World) -> dict[str, list[str]]:
    """
    A messaging service with senders, and one without.
    """
    services = {"MG" + "1" * 32: list(scene.account.number_sids), "MG" + "2" * 32: []}
    scene.account.services = services
    scene.account.short_codes = ["12345"]
    return services


def test_live_with_a_short_code(live: Callable[..., list[str]], services: dict[str, list[str]]) -> None:
    """
    A short code is looked up in the list of short codes, and the messaging service besides.
    """
    full, empty = services

    assert live(TWILIO_PHONE_NUMBER="12345") == []
    assert live(TWILIO_PHONE_NUMBER="54321") == [f"{SENDER}:env/TWILIO_PHONE_NUMBER"]
    assert live(TWILIO_PHONE_NUMBER="12345", TWILIO_MESSAGING_SERVICE_SID=full) == []
    assert live(TWILIO_PHONE_NUMBER="12345", TWILIO_MESSAGING_SERVICE_SID=empty) == [
        f"{SENDER}:env/TWILIO_MESSAGING_SERVICE_SID"
    ]


def test_live_with_a_senders_name(live: Callable[..., list[str]], services: dict[str, list[str]]) -> None:
    """
    A name is in no list, which is said; the messaging service is asked for all the same.
    """
    full, empty = services

    assert live(TWILIO_PHONE_NUMBER="Salon 7", TWILIO_MESSAGING_SERVICE_SID=full) == [f"not-applicable:{SENDER}"]
    assert live(TWILIO_PHONE_NUMBER="Salon 7", TWILIO_MESSAGING_SERVICE_SID=empty) == [
        f"{SENDER}:env/TWILIO_MESSAGING_SERVICE_SID",
        f"not-applicable:{SENDER}",
    ]


@pytest.mark.parametrize("number", ["+15005550006", "5550100200", "your_number", "+1XXXXXXXXXX"])
def test_live_with_no_number(live: Callable[..., list[str]], number: str) -> None:
    """
    Of what is no number Twilio is not asked, and nobody claims that it can send.
    """
    assert live(TWILIO_PHONE_NUMBER=number) == [f"unreachable:{SENDER}"]
    assert live(SENDER, TWILIO_PHONE_NUMBER=number) == [f"unreachable:{SENDER}"]


def test_live_without_a_sender(live: Callable[..., list[str]]) -> None:
    """
    No sender is no good sender.
    """
    assert live(SENDER, TWILIO_PHONE_NUMBER="") == [f"not-configured:{SENDER}"]


def test_live_with_dirt_around_a_number(live: Callable[..., list[str]]) -> None:
    """
    The number is asked for without its dirt, which is another check's business.
    """
    assert live(SENDER, TWILIO_PHONE_NUMBER="+15550100777 ") == [f"{SENDER}:env/TWILIO_PHONE_NUMBER"]


def test_a_sender_with_a_wrong_token(live: Callable[..., list[str]]) -> None:
    """
    Asked for by itself, the sender's check says that it could not look.
    """
    assert live(SENDER, TWILIO_AUTH_TOKEN=HEX) == [f"not-permitted:{SENDER}"]


def test_a_key_that_may_not_list_numbers(live: Callable[..., list[str]], scene: World) -> None:
    """
    A credential that reads messages and no numbers is good, and the sender is not called fine.
    """
    scene.simulator.faults.add(Fault.unauthorised(), times=None, on=On(path="IncomingPhoneNumbers"))

    assert live() == [f"not-permitted:{SENDER}"]


# the database


def test_live_without_a_database(live: Callable[..., list[str]]) -> None:
    """
    A database that does not answer keeps nobody from asking Twilio.
    """
    assert live(TWILIO_PHONE_NUMBER="+15550100777", DATABASE_URL="postgresql://a@127.0.0.1:1/app") == [
        *(f"{SENDER}:env/TWILIO_PHONE_NUMBER", "unreachable:env-rejected", "unreachable:env-database-read-only")
    ]


def test_live_without_twilio(live: Callable[..., list[str]], scene: World) -> None:
    """
    Nor the other way round.
    """
    read_only = f"{scene.url}?options=-c%20default_transaction_read_only%3Don"

    assert live(TWILIO_API_BASE_URL="http://127.0.0.1:1", DATABASE_URL=read_only) == [
        *("env-database-read-only:env/DATABASE_URL", "unreachable:env-rejected", f"unreachable:{SENDER}")
    ]


@pytest.mark.parametrize("name", ["DATABASE_URL", "POSTGRES_URL"])
@pytest.mark.parametrize("login", ["user=nobody_of_that_name", "dbname=nothing_of_that_name"])
def test_live_with_a_refused_login(live: Callable[..., list[str]], scene: World, name: str, login: str) -> None:
    """
    A database that lets nobody in is a finding about the variable that leads there, and everything else is said once.
    """
    variables = {"DATABASE_URL": "", name: f"{scene.url}?{login}&password=wrong"}

    assert live(**variables) == [f"env-rejected:env/{name}", "not-applicable:env-database-read-only"]


def test_a_refused_login_by_itself(live: Callable[..., list[str]], scene: World) -> None:
    """
    Where the login's own check is not wanted, the other one says that it could not look.
    """
    assert live("env-database-read-only", DATABASE_URL=f"{scene.url}?user=nobody_of_that_name") == [
        "not-permitted:env-database-read-only"
    ]


def test_live_checks_are_checks() -> None:
    """
    What only ``--live`` makes is in the catalogue.
    """
    assert set(LIVE) <= set(CATALOGUE)
