"""
Texts go to Twilio once: what each answer, and each way to get none, means. The real SDK over HTTP to the simulator.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic

import pytest
import urllib3
from msgspec.structs import replace

from booking_doctor.adapters.messenger import TwilioFinder, TwilioMessenger, _unanswered
from booking_doctor.adapters.services import Patience
from booking_doctor.core.ports import Accepted, Lost, NotSent, Text
from booking_doctor.errors import TwilioError, TwilioRefused, TwilioUnreachable
from booking_doctor.sandbox.exchange import Reply
from booking_doctor.sandbox.twilio import Credential, TwilioAccount
from booking_doctor.sandbox.twilio_faults import Fault, On
from booking_doctor.sandbox.twilio_http import TwilioSimulator
from booking_doctor.settings import Secret, TwilioSettings

SENDER, PHONE, OTHER_PHONE = "+15550100200", "+15550101000", "+15550101001"
SERVICE = "MG" + "0" * 32
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TEXT = Text(to=PHONE, body="Héllo & 100% 🦊 a+b", callback="https://book.example/status?booking=1&attempt=a")
PATIENCE = Patience(connect_timeout=1, read_timeout=0.4, first_wait=0.01, first_tries=3)


@dataclass(kw_only=True)
class Line:
    """
    A line to Twilio: the account, its simulator, and who texts and looks.
    """

    account: TwilioAccount
    simulator: TwilioSimulator
    settings: TwilioSettings

    @property
    def messenger(self) -> TwilioMessenger:
        """
        Somebody who texts.
        """
        return TwilioMessenger(self.settings, patience=PATIENCE, pause=lambda _: None)

    @property
    def finder(self) -> TwilioFinder:
        """
        Somebody who looks.
        """
        return TwilioFinder(self.settings, patience=PATIENCE)

    @property
    def posts(self) -> int:
        """
        How often Twilio was asked to send.
        """
        return sum(request.method == "POST" for request in self.simulator.requests)


@pytest.fixture(name="line")
def _line() -> Iterator[Line]:
    """
    A line on which nothing has happened yet.
    """
    account = TwilioAccount(clock=lambda: NOW, randomness=Random(1), numbers=[SENDER], services={SERVICE: [SENDER]})
    with TwilioSimulator(account) as simulator:
        settings = TwilioSettings(
            account_sid=account.account_sid,
            username=account.account_sid,
            password=Secret(account.auth_token),
            senders=frozenset({SENDER}),
            base_url=simulator.base_url,
        )
        yield Line(account=account, simulator=simulator, settings=settings)


# --- sending ---------------------------------------------------------------------------------------------------------


def test_a_text_is_sent_as_it_is(line: Line) -> None:
    """
    Words, sender and callback arrive unchanged; the answer is Twilio's own record.
    """
    answer = line.messenger.send(TEXT)

    assert isinstance(answer, Accepted)
    (message,) = line.account.messages()
    assert (message.sid, message.to, message.body) == (answer.message.sid, PHONE, TEXT.body)
    assert (answer.message.status, answer.message.from_number, answer.message.happened_at) == ("queued", SENDER, NOW)
    (request,) = line.simulator.requests
    assert request.form == {
        "To": [PHONE],
        "From": [SENDER],
        "Body": [TEXT.body],
        "StatusCallback": [TEXT.callback],
    }


def test_a_messaging_service_goes_before_a_number(line: Line) -> None:
    """
    It knows which of its numbers may text whom; the sender is known later.
    """
    line.settings = replace(line.settings, senders=frozenset({SENDER, SERVICE}))

    answer = line.messenger.send(Text(to=PHONE, body="Hello"))

    assert isinstance(answer, Accepted)
    assert (answer.message.status, answer.message.from_number) == ("accepted", None)
    assert line.simulator.requests[0].form == {"To": [PHONE], "MessagingServiceSid": [SERVICE], "Body": ["Hello"]}


def test_an_api_key_may_send(line: Line) -> None:
    """
    The account is in the address, the key in the login.
    """
    line.account.api_key = Credential("SK" + "0" * 32, "secret")
    line.settings = replace(line.settings, username=line.account.api_key.sid, password=Secret("secret"))

    assert isinstance(line.messenger.send(TEXT), Accepted)


def test_what_twilio_did_nothing_with_is_tried_again(line: Line) -> None:
    """
    Error 20429, up to three tries; then it has not been sent, and may be later.
    """
    line.simulator.faults.add(Fault.throttled(), times=2)
    assert isinstance(line.messenger.send(TEXT), Accepted)
    assert line.posts == 3

    line.simulator.faults.add(Fault.throttled(), times=3)
    assert line.messenger.send(TEXT) == NotSent(
        code=20429, reason="Twilio was asked for too much at once", passing=True
    )
    assert line.posts == 6
    assert line.account.message_count == 1


def test_a_daily_cap_is_not_tried_again(line: Line) -> None:
    """
    It has the same HTTP status.
    """
    line.simulator.faults.add(Fault.daily_cap())

    answer = line.messenger.send(TEXT)

    assert answer == NotSent(code=63038, reason="Twilio refused it: the account has reached its cap for the day")
    assert line.posts == 1


@pytest.mark.parametrize(
    ("text", "code", "meaning"),
    [
        (replace(TEXT, to="+1555"), 21211, "missing or malformed"),
        (replace(TEXT, body=""), 21602, "was empty"),
        (replace(TEXT, body="a" * 1601), 21617, "longer than 1,600"),
        (replace(TEXT, to=SENDER), 21266, "its own sender"),
        (replace(TEXT, to=OTHER_PHONE), 21610, "opted out"),
    ],
)
def test_a_refusal_is_told_with_code_and_meaning(line: Line, text: Text, code: int, meaning: str) -> None:
    """
    Once, without the recipient's number.
    """
    line.account.opted_out.add(OTHER_PHONE)

    answer = line.messenger.send(text)

    assert isinstance(answer, NotSent)
    assert (answer.code, answer.passing) == (code, False)
    assert meaning in answer.reason
    assert text.to not in answer.reason
    assert line.posts == 1


def test_a_wrong_token_is_a_refusal(line: Line) -> None:
    """
    Nothing was sent, and trying again would not help.
    """
    line.settings = replace(line.settings, password=Secret("wrong"))

    answer = line.messenger.send(TEXT)

    assert isinstance(answer, NotSent)
    assert (answer.code, answer.passing) == (20003, False)
    assert answer.reason == "Twilio refused it: the login was not accepted, or the account is suspended"


@pytest.mark.parametrize(
    "fault",
    [
        Fault.hang(stored=True),
        Fault.hang(),
        Fault.reset(stored=True),
        Fault.reset(stored=False),
        Fault.closed(stored=True),
        Fault.closed(),
        Fault.truncated(),
        Fault.server_error(),
        Fault.unavailable(),
        Fault.unavailable(retry_after=1),
        Fault.bad_gateway(),
        Fault(name="proxy-timeout", instead=Reply(status=408)),
        Fault(name="redirect", instead=Reply(status=302, headers={"Location": "http://127.0.0.1:1/"})),
        Fault.login_page(),
        Fault.garbage(),
        Fault.garbage("[]"),
        Fault.garbage("null"),
        Fault.garbage(""),
        Fault.garbage('{"sid": 7}'),
    ],
    ids=lambda fault: f"{fault.name}-{'stored' if fault.works else 'not'}",
)
def test_whatever_leaves_the_fate_open_is_asked_once(line: Line, fault: Fault) -> None:
    """
    Whether Twilio took the text cannot be known, so it is never sent again.
    """
    line.simulator.faults.add(fault, on=On(method="POST"))

    answer = line.messenger.send(TEXT)

    assert isinstance(answer, Lost)
    assert answer.reason
    assert PHONE not in answer.reason
    assert line.posts == 1


def test_another_program_that_refuses_is_not_twilio(line: Line) -> None:
    """
    A proxy's 403 has no code of Twilio's; nothing was sent.
    """
    line.simulator.faults.add(Fault(name="proxy", instead=Reply(status=403, body=b"<html>no</html>")))

    assert line.messenger.send(TEXT) == NotSent(code=None, reason="something that is not Twilio answered HTTP 403")
    assert line.posts == 1


def test_a_refused_connection_is_tried_again_and_then_not_sent(line: Line) -> None:
    """
    Nothing left this machine.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        line.settings = replace(line.settings, base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        waits: list[float] = []
        messenger = TwilioMessenger(line.settings, patience=PATIENCE, pause=waits.append)

        answer = messenger.send(TEXT)

    assert answer == NotSent(code=None, reason="there was no connection to Twilio", passing=True)
    assert len(waits) == 2


def test_a_name_that_leads_nowhere_is_no_connection(line: Line) -> None:
    """
    Likewise.
    """
    line.settings = replace(line.settings, base_url="http://twilio.invalid")

    answer = line.messenger.send(TEXT)

    assert isinstance(answer, NotSent)
    assert answer.passing


def test_a_certificate_that_is_not_accepted_is_no_text(line: Line) -> None:
    """
    The request was never made; another try would end the same way.
    """
    error = urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("self-signed"))

    assert _unanswered(error) == NotSent(code=None, reason="Twilio's certificate was not accepted")
    assert isinstance(_unanswered(urllib3.exceptions.SSLError(ssl.SSLError("bad record"))), Lost)


def test_nothing_personal_is_logged(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """
    Not at any level, by nobody: phone, words, token.
    """
    caplog.set_level(logging.DEBUG)

    line.messenger.send(TEXT)
    line.finder.sent_to(PHONE, NOW, within_s=2)

    for secret in (TEXT.body, line.account.auth_token):
        assert secret not in caplog.text
    ours = [record for record in caplog.records if not record.name.startswith("urllib3")]
    assert not any(PHONE in record.getMessage() for record in ours)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_texts_to_one_phone_are_found_oldest_first(line: Line) -> None:
    """
    Also those that have no date yet; not those of others, nor older ones.
    """
    line.account.plant(to=PHONE, sender=SENDER, body="old", date_created=NOW - timedelta(minutes=3))
    line.account.plant(to=OTHER_PHONE, sender=SENDER, body="other", date_created=NOW)
    line.account.plant(to=PHONE, sender=SENDER, body="first", date_created=NOW - timedelta(minutes=2))
    line.account.plant(to=PHONE, sender=SENDER, body="undated", date_created=NOW, status="queued")

    found = line.finder.sent_to(PHONE, NOW - timedelta(minutes=2), within_s=2)

    assert [message.body for message in found] == ["first", "undated"]


def test_all_pages_are_looked_through(line: Line) -> None:
    """
    As far as they are young enough, and no further.
    """
    for number in range(170):
        at = NOW - timedelta(seconds=number)
        line.account.plant(to=PHONE, sender=SENDER, body=str(number), date_created=at)

    found = line.finder.sent_to(PHONE, NOW - timedelta(seconds=119), within_s=2)

    assert [message.body for message in found] == [str(number) for number in range(119, -1, -1)]
    assert len(line.simulator.requests) == 3


def test_a_log_that_is_not_all_read_is_not_answered_from(line: Line) -> None:
    """
    Too many texts to look through are said to be; what is not there is never made of what was not read.
    """
    for number in range(1001):
        line.account.plant(to=PHONE, sender=SENDER, body=str(number), date_created=NOW)

    with pytest.raises(TwilioUnreachable, match="too many"):
        line.finder.sent_to(PHONE, NOW, within_s=5)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.hang(),
        Fault.reset(),
        Fault.truncated(),
        Fault.server_error(),
        Fault.login_page(),
        Fault.garbage(),
        Fault.throttled(),
    ],
    ids=lambda fault: fault.name,
)
def test_a_log_that_cannot_be_read_is_said_to_be(line: Line, fault: Fault) -> None:
    """
    After one try, within the time that was given.
    """
    line.simulator.faults.add(fault, times=None)
    start = monotonic()

    with pytest.raises(TwilioError):
        line.finder.sent_to(PHONE, NOW, within_s=0.3)

    assert monotonic() - start < 2
    assert len(line.simulator.requests) == 1


def test_a_refusal_to_show_the_log_has_its_code(line: Line) -> None:
    """
    A key may be allowed to send and not to read.
    """
    line.simulator.faults.add(Fault.forbidden())

    with pytest.raises(TwilioRefused) as refused:
        line.finder.sent_to(PHONE, NOW, within_s=2)

    assert refused.value.code == 20008


def test_the_login_goes_nowhere_else(line: Line) -> None:
    """
    A page that names another host, or another account, as the next is not followed.
    """
    for elsewhere in ("http://evil.example/2010-04-01/x", "/2010-04-01/Accounts/AC0/Messages.json?Page=1"):
        page = Reply(status=200, body=json.dumps({"messages": [], "next_page_uri": elsewhere}).encode())
        line.simulator.faults.add(Fault(name="lure", instead=page))
        before = len(line.simulator.requests)

        with pytest.raises(TwilioUnreachable):
            line.finder.sent_to(PHONE, NOW, within_s=2)

        assert len(line.simulator.requests) == before + 1
