"""
Asking the running application: what counts as an answer, what is never followed, and where a key may travel.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from booking_doctor.adapters.app import HttpApplication, Wire
from booking_doctor.adapters.services import Patience
from booking_doctor.errors import ApplicationRefused, ApplicationUnreachable, NotConfigured
from booking_doctor.evidence import Answer, NoAnswer, SettingsCompared
from booking_doctor.sandbox.application import LOGIN, PAGE, ApplicationSimulator, moved, shown
from booking_doctor.sandbox.exchange import Reply
from booking_doctor.sandbox.twilio_faults import Fault
from booking_doctor.sandbox.vercel import VercelProject

IMPATIENT: Final = Patience(connect_timeout=1, read_timeout=0.3)
OURS: Final = {"TWILIO_PHONE_NUMBER": "+15550100200", "TWILIO_ACCOUNT_SID": "AC" + "1f" * 16}


def now() -> datetime:
    """
    By the true clock.
    """
    return datetime.now(UTC)


@pytest.fixture(name="running")
def _running() -> Iterator[ApplicationSimulator]:
    with ApplicationSimulator(VercelProject(clock=now)) as running:
        yield running


def application(running: ApplicationSimulator, **variables: str) -> HttpApplication:
    """
    The application as somebody with these settings asks it.
    """
    return HttpApplication(running.base_url, variables, now, IMPATIENT)


def test_asked_five_times_past_caches(running: ApplicationSimulator) -> None:
    """
    Each question is another one to any cache, and each answer says when it was asked for and how long it took.
    """
    before = now()
    answers = application(running).who_answers()

    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [200] * 5
    assert all(before <= answer.asked_at <= now() for answer in answers)
    assert all(timedelta(0) < answer.took < timedelta(seconds=5) for answer in answers)
    assert all(shown(request) for request in running.requests)
    assert len({request.target for request in running.requests}) == 5


def test_asked_once(running: ApplicationSimulator) -> None:
    """
    Whoever asks again hears the same.
    """
    asked = application(running)

    assert asked.who_answers() is asked.who_answers()
    assert len(running.requests) == 5


def test_each_over_a_connection_of_its_own() -> None:
    """
    A balancer that spreads connections over servers spreads these, though the server would keep them open.
    """
    accepted: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                accepted.append(1)
                threading.Thread(target=_answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        answers = HttpApplication(address, {}, now, IMPATIENT).who_answers()

    assert len(answers) == len(accepted) == 5


def _answer(connection: socket.socket) -> None:
    with connection:
        while connection.recv(65_536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.closed(), "breaks off the connection"),
        (Fault.reset(), "breaks off the connection"),
        (Fault.truncated(), "breaks off the connection"),
        (Fault.hang(), "does not answer within 0.3 s"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_no_answer(running: ApplicationSimulator, fault: Fault, reason: str) -> None:
    """
    Why none came is said, and after two nobody is asked again; nor after one that took all its time.
    """
    running.faults.add(fault, times=None)

    answers = application(running).who_answers()

    times = 1 if fault.name == "hang" else 2
    assert [answer.reason for answer in answers if isinstance(answer, NoAnswer)] == [reason] * times


def test_nobody_there() -> None:
    """
    No server, and no such name.
    """
    [refused, _] = HttpApplication("http://127.0.0.1:1", {}, now, IMPATIENT).who_answers()
    [unknown, _] = HttpApplication("http://nowhere.invalid", {}, now, IMPATIENT).who_answers()

    assert isinstance(refused, NoAnswer)
    assert isinstance(unknown, NoAnswer)
    assert refused.reason == "takes no connection"
    assert unknown.reason == "cannot be found: DNS has no address for it"


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    """
    It is named as that, and nothing was sent.
    """
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        threading.Thread(target=_greet, args=(context, plain), daemon=True).start()
        [first, _] = HttpApplication(f"https://127.0.0.1:{plain.getsockname()[1]}", {}, now, IMPATIENT).who_answers()

    assert isinstance(first, NoAnswer)
    assert first.reason == "shows a certificate that is not accepted (TLS)"


def _greet(context: ssl.SSLContext, server: socket.socket) -> None:
    for _ in range(2):
        try:
            connection, _address = server.accept()
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            continue


def test_not_tls_at_all(running: ApplicationSimulator) -> None:
    """
    A server that does not speak TLS gives no secure connection.
    """
    address = running.base_url.replace("http:", "https:")

    [first, _] = HttpApplication(address, {}, now, IMPATIENT).who_answers()

    assert isinstance(first, NoAnswer)
    assert first.reason == "gives no secure connection (TLS)"


def test_a_redirect_is_an_answer(running: ApplicationSimulator) -> None:
    """
    It is not followed, not even to the same machine.
    """
    running.faults.add(Fault(name="moved", instead=moved(f"{running.base_url}/elsewhere")), times=None)

    answers = application(running).who_answers()

    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [308] * 5
    assert {request.path for request in running.requests} == {"/api/test-deployment"}


def test_what_is_kept_of_an_answer(running: ApplicationSimulator) -> None:
    """
    Headers that say who answered; of cookies only names; of a body only its beginning.
    """
    secret = Reply(status=200, body=b"x" * 100_000, headers={"Set-Cookie": "session=s3cr3t; Path=/", "X-Other": "1"})
    running.faults.add(Fault(name="long", instead=secret))

    answer = Wire(running.base_url, now, IMPATIENT).send("GET", "/")

    assert isinstance(answer, Answer)
    assert answer.headers == {"set-cookie": "session"}
    assert len(answer.body) == 65_536


# the key


def test_settings(running: ApplicationSimulator) -> None:
    """
    By name, what differs and what only one side has; the key goes out in one request.
    """
    running.variables = {**OURS, "TWILIO_PHONE_NUMBER": "+15550100299", "SUPABASE_URL": "https://x.supabase.co"}

    compared = application(running, **OURS, BOOKING_API_KEY=running.key.value, BOOKING_APP_URL="https://a").settings()

    assert compared == SettingsCompared(
        different=["TWILIO_PHONE_NUMBER"], only_there=["SUPABASE_URL"], only_here=["BOOKING_APP_URL"]
    )
    assert len(running.requests) == 6


def test_either_key(running: ApplicationSimulator) -> None:
    """
    One that is not known is no reason not to try the other.
    """
    running.variables = OURS
    asked = application(running, **OURS, BOOKING_API_KEY="k9-of-somebody", TEST_API_KEY=running.key.value)

    assert asked.settings() == SettingsCompared(different=[], only_there=[], only_here=[])


def test_an_unknown_key(running: ApplicationSimulator) -> None:
    """
    It is not comparable, and the key is not in the words.
    """
    with pytest.raises(ApplicationRefused, match="none of our keys") as caught:
        application(running, BOOKING_API_KEY="k9-of-somebody").settings()

    assert "k9" not in caught.value.sentence


@pytest.mark.parametrize("instead", [PAGE, LOGIN, moved("https://elsewhere.example/")], ids=["page", "login", "moved"])
def test_no_key_for_strangers(running: ApplicationSimulator, instead: Reply) -> None:
    """
    Who has not answered as the application is not given one.
    """
    running.faults.add(Fault(name="stranger", instead=instead), times=None)

    with pytest.raises(ApplicationUnreachable, match="no key was sent"):
        application(running, BOOKING_API_KEY=running.key.value).settings()

    assert len(running.requests) == 5


def test_no_key_in_clear() -> None:
    """
    Over plain HTTP to another machine nothing is asked with a key.
    """
    with pytest.raises(NotConfigured, match="plain HTTP"):
        HttpApplication("http://salon.example", {"BOOKING_API_KEY": "k1"}, now, IMPATIENT).settings()


def test_no_key(running: ApplicationSimulator) -> None:
    """
    Without one nothing is compared, and nobody is asked.
    """
    with pytest.raises(NotConfigured, match="BOOKING_API_KEY"):
        application(running).settings()

    assert running.requests == []


def test_gone_when_asked_with_the_key(running: ApplicationSimulator) -> None:
    """
    No answer is no equality.
    """
    asked = application(running, BOOKING_API_KEY=running.key.value)
    asked.who_answers()
    running.faults.add(Fault.closed(), times=None)

    with pytest.raises(ApplicationUnreachable, match="asked with a key"):
        asked.settings()
