"""
Live questions to an account: what each answer means, where they go, and that they keep nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Final

import pytest

from booking_doctor.adapters import probes
from booking_doctor.adapters.probes import TwilioAccountProbe
from booking_doctor.adapters.services import Patience
from booking_doctor.errors import TwilioRefused, TwilioUnreachable
from booking_doctor.sandbox.exchange import document
from booking_doctor.sandbox.twilio import Credential, TwilioAccount
from booking_doctor.sandbox.twilio_faults import Fault
from booking_doctor.sandbox.twilio_http import TwilioSimulator
from booking_doctor.settings import TWILIO_API, Secret, TwilioSettings

NOW: Final = datetime(2026, 12, 8, tzinfo=UTC)
CLINIC, MUTE, STRANGER = "+15550001111", "+15550002222", "+15550003333"
FULL, EMPTY, NOWHERE = "MG" + "1" * 32, "MG" + "2" * 32, "MG" + "3" * 32
IMPATIENT: Final = Patience(connect_timeout=1, read_timeout=1, give_up_after=0.2, first_wait=0.01, longest_wait=0.01)


@pytest.fixture(name="simulator")
def _simulator() -> Iterator[TwilioSimulator]:
    account = TwilioAccount(
        clock=lambda: NOW,
        randomness=Random(7),
        numbers=[CLINIC, MUTE],
        services={FULL: [CLINIC], EMPTY: []},
        without_sms=[MUTE],
        short_codes=["12345", "123456"],
        api_key=Credential("SK" + "4" * 32, "key secret"),
        test_credential=Credential("AC" + "5" * 32, "test token"),
    )
    with TwilioSimulator(account) as simulator:
        yield simulator


@pytest.fixture(name="ask")
def _ask(simulator: TwilioSimulator) -> Callable[..., TwilioAccountProbe]:
    """
    A probe with the account's token, or with what is given.
    """
    account = simulator.account

    def ask(username: str = "", password: str = "", base_url: str = "") -> TwilioAccountProbe:
        settings = TwilioSettings(
            account_sid=account.account_sid,
            username=username or account.account_sid,
            password=Secret(password or account.auth_token),
            senders=frozenset(),
            base_url=base_url or simulator.base_url,
        )
        return TwilioAccountProbe(settings, IMPATIENT)

    return ask


def test_a_good_account(ask: Callable[..., TwilioAccountProbe]) -> None:
    """
    It reads messages, and its status is told.
    """
    ask().read_messages()

    assert ask().status() == "active"


def test_a_key_may_not_ask_for_the_account(ask: Callable[..., TwilioAccountProbe], simulator: TwilioSimulator) -> None:
    """
    So it is not asked: a refusal would look like a bad credential.
    """
    keyed = ask("SK" + "4" * 32, "key secret")

    keyed.read_messages()
    assert keyed.status() is None
    assert len(simulator.requests) == 1


@pytest.mark.parametrize(("user", "password", "code"), [("", "wrong", 20003), ("AC" + "5" * 32, "test token", 20008)])
def test_a_refused_credential(ask: Callable[..., TwilioAccountProbe], user: str, password: str, code: int) -> None:
    """
    Test credentials are told from wrong ones by the code.
    """
    with pytest.raises(TwilioRefused) as raised:
        ask(user, password).read_messages()

    assert raised.value.code == code
    assert password not in raised.value.sentence


def test_numbers(ask: Callable[..., TwilioAccountProbe]) -> None:
    """
    Owned and able, owned and unable, not owned; a number that only begins alike is another one.
    """
    assert ask().sends_sms(CLINIC) is True
    assert ask().sends_sms(MUTE) is False
    assert ask().sends_sms(STRANGER) is None
    assert ask().sends_sms(CLINIC[:-1]) is None


def test_short_codes(ask: Callable[..., TwilioAccountProbe], simulator: TwilioSimulator) -> None:
    """
    They have a list of their own, where a part of one is another one.
    """
    assert ask().sends_sms("12345") is True
    assert ask().sends_sms("2345") is None
    assert ask().sends_sms("99999") is None
    assert {request.path.rpartition("/")[2] for request in simulator.requests} == {"ShortCodes.json"}


def test_services(ask: Callable[..., TwilioAccountProbe], simulator: TwilioSimulator) -> None:
    """
    With senders, without any, not there; where there are no numbers the other pools are asked for too.
    """
    assert ask().has_senders(FULL) is True
    assert ask().has_senders(NOWHERE) is None

    simulator.requests.clear()
    assert ask().has_senders(EMPTY) is False
    assert [request.path.rpartition("/")[2] for request in simulator.requests] == [
        *(EMPTY, "PhoneNumbers", "ShortCodes", "AlphaSenders")
    ]


def test_services_have_a_host_of_their_own(ask: Callable[..., TwilioAccountProbe]) -> None:
    """
    A base URL replaces the host of every product; without one each has its own.
    """
    assert ask(base_url=TWILIO_API)._messaging == probes.MESSAGING_API
    assert ask(base_url="http://proxy.example")._messaging == "http://proxy.example"


def test_a_fault_that_passes(ask: Callable[..., TwilioAccountProbe], simulator: TwilioSimulator) -> None:
    """
    It is tried again.
    """
    simulator.faults.add(Fault.throttled(), times=1)

    ask().read_messages()

    assert len(simulator.requests) == 2


def test_no_answer(ask: Callable[..., TwilioAccountProbe]) -> None:
    """
    Nobody there is unreachable, not refused.
    """
    with pytest.raises(TwilioUnreachable):
        ask(base_url="http://127.0.0.1:1").read_messages()


@pytest.mark.parametrize("question", ["read_messages", "status"])
def test_another_answer(ask: Callable[..., TwilioAccountProbe], simulator: TwilioSimulator, question: str) -> None:
    """
    What is not Twilio's is not taken for an answer.
    """
    simulator.faults.add(Fault(name="another", instead=document({"hello": "world"})))

    with pytest.raises(TwilioUnreachable):
        getattr(ask(), question)()


def test_another_answer_for_a_pool(ask: Callable[..., TwilioAccountProbe], simulator: TwilioSimulator) -> None:
    """
    A document that is no list would pass for an empty pool.
    """
    probe = ask()
    simulator.faults.add(Fault(name="another", instead=document({"sid": FULL})), times=2)

    with pytest.raises(TwilioUnreachable):
        probe.has_senders(FULL)
