"""
`booking-doctor serve` as a process: how it starts, what it refuses, what it logs, how it ends.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.errors import ExitCode
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault, On
from tests.web.conftest import BOOKING_KEY, CONFIRM, EVENT, HEALTH, INITIATE, PHONE, TEST_KEY, Client, environment
from tests.web.conftest import served as served_here

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

SERVE = [sys.executable, "-m", "booking_doctor", "serve", "--port", "0"]
BODY = {"event_id": EVENT, "customer_name": "Canary", "customer_phone": PHONE, "customer_email": "canary@example.com"}


def surroundings(scene: World, **variables: str) -> dict[str, str]:
    """
    A process environment that leads there.
    """
    return {**os.environ, **environment(scene, **variables), "NO_PROXY": "127.0.0.1"}


class Served:
    """
    A server under way, what it has said on stderr so far, and where it is.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = re.findall(r"serving (\S+) for", self.until("serving"))[0]

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self._lines.put(line)

    def until(self, words: str) -> str:
        """
        The next line with these words.
        """
        try:
            while words not in (line := self._lines.get(timeout=20)):
                self.said.append(line)
        except Empty:
            pytest.fail(f"{words} was not said: {''.join(self.said)}")
        self.said.append(line)
        return line

    def ask(self, method: str, address: str, **options: Any) -> requests.Response:
        """
        Ask it something.
        """
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.url}{address}", timeout=30, **options)

    def initiate(self) -> requests.Response:
        """
        Make a booking.
        """
        return self.ask("POST", INITIATE, json=BODY, headers={"X-API-Key": BOOKING_KEY, "Idempotency-Key": "k"})

    def end(self, how: signal.Signals) -> int:
        """
        What it ends with.
        """
        self.process.send_signal(how)
        code = self.process.wait(30)
        self._reader.join(5)
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return code


@contextmanager
def serving(scene: World, *more: str, **variables: str) -> Iterator[Served]:
    """
    A server for the scene.
    """
    scene.execute(
        "INSERT INTO events (id, title, starts_at) VALUES (:id, 'Wine', now()) ON CONFLICT (id) DO NOTHING", id=EVENT
    )
    with subprocess.Popen(
        [*SERVE, *more], env=surroundings(scene, **variables), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Served(process)
        finally:
            process.kill()


@pytest.fixture(name="refused")
def _refused(
    scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[ExitCode, str]]]:
    """
    Runs a `serve` that does not get as far as serving: what it ends with and says.
    """
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = [logging.getLogger(name) for name in ("booking_doctor", "uvicorn.error")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]

    def run(*words: str, **variables: str) -> tuple[ExitCode, str]:
        told = CliRunner().invoke(app, ["serve", *words], env=environment(scene, **variables))
        assert told.stdout == ""
        return ExitCode(told.exit_code), told.stderr

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for logger, (kept, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = kept, propagate
        logger.setLevel(level)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_until_it_is_ended(scene: World, how: signal.Signals, code: int) -> None:
    """
    It says where it is and for whom, answers, names every request, and ends as it is told to: 0, or 130 after Ctrl-C.
    """
    with serving(scene) as served:
        made = served.initiate()
        confirmed = served.ask("POST", CONFIRM, json={"token": made.json()["token"]})
        healthy = served.ask("GET", HEALTH)
        served.until(f"GET {HEALTH} 200")
        ended = served.end(how)
        document = served.process.stdout.read() if served.process.stdout else None

    said = "".join(served.said)
    assert [made.status_code, confirmed.status_code, healthy.status_code] == [201, 200, 200]
    assert (ended, document) == (code, "")
    assert "for https://booking.example; Ctrl-C ends it" in said
    assert re.search(rf"Z POST {INITIATE} 201 in \d+ ms \[[0-9a-f-]{{36}}\]", said)
    assert f"Twilio account {scene.account.account_sid}" in said
    assert "ended" in said
    assert "Traceback" not in said
    canaries = (BOOKING_KEY, TEST_KEY, scene.account.auth_token, PHONE[2:], "anary", made.json()["token"])
    assert [canary for canary in canaries if canary in said] == []


def test_it_finishes_what_it_has_in_hand(scene: World) -> None:
    """
    A request that Twilio keeps waiting when SIGTERM comes is answered, and its text is stored, before the server ends.
    """
    with serving(scene) as served:
        scene.simulator.faults.add(Fault.hang(1.5), on=On(method="POST"))
        answers: list[requests.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(served.initiate()))
        waiting.start()
        while not scene.simulator.requests:
            time.sleep(0.01)
        code = served.end(signal.SIGTERM)
        waiting.join()

    [row] = scene.rows("SELECT metadata FROM pending_bookings")
    assert (code, answers[0].status_code) == (0, 201)
    assert row["metadata"]["initial_sms"]["state"] == "sent"


def test_a_second_interrupt_does_not_wait(scene: World, tmp_path: Path) -> None:
    """
    Ctrl-C twice ends at once, also while Twilio hangs. What was in hand stays findable, as after a crash: to the next
    server the same idempotency key is the same booking, whose text is not sent again.
    """
    with serving(scene) as served:
        scene.simulator.faults.add(Fault.hang(), on=On(method="POST"))
        answers: list[requests.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(served.initiate()))
        waiting.start()
        while not scene.simulator.requests:
            time.sleep(0.01)
        served.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        code = served.end(signal.SIGINT)
        waiting.join()

    [row] = scene.rows("SELECT metadata FROM pending_bookings")
    assert (code, answers[0].status_code, answers[0].json()["type"]) == (130, 503, "urn:booking-doctor:ended")
    assert "Exception" not in "".join(served.said)
    assert row["metadata"]["initial_sms"]["state"] == "sending"
    scene.simulator.faults.clear()
    with served_here(environment(scene), tmp_path) as url:
        again = Client(scene, url).initiate(**BODY, once="k")
    assert (again.status_code, again.json()["sms"]) == (200, {"state": "sending"})
    assert len([request for request in scene.simulator.requests if request.method == "POST"]) == 1


def test_quiet(scene: World) -> None:
    """
    --quiet logs no request, only what is wrong.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "booking_doctor", "--quiet", *SERVE[3:]],
        env=surroundings(scene, TWILIO_AUTH_TOKEN="", TWILIO_API_KEY="SK" + "0" * 32, TWILIO_API_SECRET="canary"),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        first = process.stderr.readline() if process.stderr else ""
        process.terminate()
        rest = process.stderr.read() if process.stderr else ""

    assert re.match(r"\S+Z warning: status callbacks are refused: TWILIO_AUTH_TOKEN is not set", first)
    assert (rest, process.returncode) == ("", 0)


def test_without_a_database_it_says_so(scene: World) -> None:
    """
    A database that does not answer yet is a warning; health says the same until it does. --host takes IPv6 addresses too.
    """
    with serving(scene, "--host", "::1", DATABASE_URL="postgresql://app:canary@127.0.0.1:1/app") as served:
        served.until("warning: the database does not answer yet: cannot reach the database at 127.0.0.1:1")
        assert served.url.startswith("http://[::1]:")
        assert served.ask("GET", HEALTH).status_code == 503
        assert served.end(signal.SIGTERM) == 0
    assert "canary" not in "".join(served.said)


REFUSALS = [
    ({"BOOKING_API_KEY": "", "TEST_API_KEY": ""}, ExitCode.USAGE, "neither BOOKING_API_KEY nor TEST_API_KEY is set"),
    ({"BOOKING_APP_URL": ""}, ExitCode.USAGE, "BOOKING_APP_URL is missing"),
    ({"BOOKING_APP_URL": "canary.example"}, ExitCode.USAGE, "BOOKING_APP_URL is malformed"),
    ({"DATABASE_URL": ""}, ExitCode.USAGE, "DATABASE_URL is missing"),
    ({"TWILIO_PHONE_NUMBER": ""}, ExitCode.USAGE, "TWILIO_PHONE_NUMBER is missing"),
    (
        {"POSTGRES_URL": "postgresql://canary@elsewhere/app"},
        ExitCode.REFUSED,
        "DATABASE_URL and POSTGRES_URL name diff",
    ),
]


def test_refusals(refused: Callable[..., tuple[ExitCode, str]]) -> None:
    """
    It does not start without a setting that it needs, and names it, never a value; not on two databases either.
    """
    for changes, code, words in REFUSALS:
        ended, said = refused(**changes)
        assert (ended, said.startswith("error: "), words in said) == (code, True, True), said
        assert "\n  try: " in said
        assert "canary" not in said


def test_a_port_that_is_taken(refused: Callable[..., tuple[ExitCode, str]]) -> None:
    """
    2, and what to do.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended, said = refused("--port", str(taken.getsockname()[1]))

    assert ended is ExitCode.USAGE
    assert re.match(r"error: cannot listen on 127\.0\.0\.1, port \d+: Address already in use\n  try: ", said)


def test_addresses_that_are_none(refused: Callable[..., tuple[ExitCode, str]]) -> None:
    """
    2 for an address that nobody can listen at, and for a port that is none.
    """
    for host in ("no-such-host.invalid", "256.1.1.1", "a b", "\u00fc" * 100, "192.0.2.1"):
        ended, said = refused("--host", host, "--port", "0")
        assert (ended, said.startswith("error: cannot listen on ")) == (ExitCode.USAGE, True), said
    assert refused("--port", "65536")[0] is ExitCode.USAGE


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_without_the_extra(scene: World, package: str, tmp_path: Path) -> None:
    """
    2 and one sentence with the command that installs it.
    """
    program = f"import sys; sys.modules['{package}'] = None; from booking_doctor.cli.app import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", program, "serve"],
        env=surroundings(scene),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        f"error: serve needs {package}, which is not installed\n  try: install it with: pip install 'booking-doctor[web]'\n"
    )


def test_lines_hold_nothing_personal(
    refused: Callable[..., tuple[ExitCode, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Whoever logs what: phones, e-mail addresses and passwords are masked, traces and control characters left out.
    """
    refused(BOOKING_APP_URL="")  # sets the log up
    log = logging.getLogger("booking_doctor.core")
    capsys.readouterr()

    log.info("texting +1 (555) 010-3333, 15550103333 and +15550103333 of ann@example.com")
    log.warning("booking 6d0f1f7e-6c1c-4b43-8c1e-2b8f5c0a9a11 at postgresql://app:canary@db.example:5432/app")
    try:
        os.environ["CANARY"]
    except KeyError:
        log.exception("a line\nand \x1b[31manother")

    first, second, third = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\S+Z texting \(phone\), \(phone\) and \(phone\) of \(e-mail\)", first)
    assert second.endswith(
        "Z warning: booking 6d0f1f7e-6c1c-4b43-8c1e-2b8f5c0a9a11 at postgresql://app:***@db.example:5432/app"
    )
    assert third.endswith("Z error: a line\\nand \\x1b[31manother")


def test_help_loads_no_server() -> None:
    """
    --help costs nothing: neither FastAPI nor a driver is imported for it.
    """
    program = (
        "import sys, atexit; sys.argv = ['booking-doctor', 'serve', '--help'];"
        "atexit.register(lambda: print(sorted({'fastapi', 'uvicorn', 'sqlalchemy', 'twilio'} & set(sys.modules))));"
        "from booking_doctor.cli.app import main; main()"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout.endswith("[]\n")
    assert "127.0.0.1" in told.stdout
    assert "8000" in told.stdout
