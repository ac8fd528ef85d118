"""
Sources that take a connection and then say nothing: each costs its time-out, at the same time as the others', and what
the others show is told.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest

from booking_doctor.adapters.services import Patience
from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.bootstrap import ChosenSources
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Report, Silent, Window
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.settings import Preferences

LONGEST_S = 10
"""How long a person waits for one answer; the doctor's own limit of most checks, too."""

Diagnose = Callable[[], tuple[Report, float]]


@pytest.fixture(name="diagnose")
def _diagnose(scene: World) -> Iterator[Diagnose]:
    """
    Diagnoses the scene as the command line does; how long that took comes with the report.
    """
    with ExitStack() as opened:

        def diagnose() -> tuple[Report, float]:
            patience = Patience(read_timeout=2, give_up_after=2)
            sources = ChosenSources(
                scene.environment(), Preferences(), Silent(), patience, origins=scene.variable_sources()
            )
            doctor = Doctor(
                sources,
                Preferences(),
                clock=lambda: scene.now,
                run_id=lambda _: "run",
                progress=Silent(),
                executor=DaemonExecutor,
            )
            opened.callback(doctor.close)
            begun = time.monotonic()
            report = doctor.diagnose(Request(window=Window(scene.now - timedelta(days=7), scene.now)))
            return report, time.monotonic() - begun

        yield diagnose


class Silence:
    """
    Takes connections. Passes on what it is sent, if it knows where to, until it has heard enough; then it says nothing.
    """

    def __init__(self, behind: tuple[str, int] | None = None, hears: int = 0) -> None:
        self._behind, self._left = behind, hears
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """
        Where it listens.
        """
        return int(self._listener.getsockname()[1])

    @property
    def silent(self) -> bool:
        """
        Whether it has heard enough.
        """
        return self._left <= 0

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._open.append(client)
                if self._behind:
                    server = socket.create_connection(self._behind)
                    self._open.append(server)
                    for source, target in ((client, server), (server, client)):
                        threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._left -= 1
                if self.silent:
                    return
                target.sendall(data)

    def close(self) -> None:
        """
        Everybody who still waits is let go.
        """
        for used in self._open:
            with suppress(OSError):
                used.shutdown(socket.SHUT_RDWR)
            used.close()


@pytest.fixture(name="silence")
def _silence() -> Iterator[Callable[..., Silence]]:
    """
    Makes ones that end with the test.
    """
    with ExitStack() as made:

        def silence(behind: tuple[str, int] | None = None, hears: int = 0) -> Silence:
            one = Silence(behind, hears)
            made.callback(one.close)
            return one

        yield silence


def through(url: str, port: int, query: str = "") -> str:
    """
    The database's URL by way of another port here.
    """
    split = urlsplit(url)
    return urlunsplit(split._replace(netloc=f"{split.username}:{split.password}@127.0.0.1:{port}", query=query))


def unlooked(report: Report) -> str:
    """
    Why what could not be looked at could not.
    """
    return " ".join(sorted({skipped.reason for skipped in report.skipped}))


def test_all_at_once(scene: World, diagnose: Diagnose, silence: Callable[..., Silence]) -> None:
    """
    Twilio, the database, the application and the platform hang together: all of it takes no longer than the slowest, each
    is named, and the environment is told all the same.
    """
    project = scene.host()
    hole = f"http://127.0.0.1:{silence().port}"
    scene.variables.update(
        DATABASE_URL=through(scene.url, silence().port, "connect_timeout=2"),
        TWILIO_API_BASE_URL=hole,
        BOOKING_APP_URL=hole,
        VERCEL_API_BASE_URL=hole,
        VERCEL_PROJECT_ID=f" {project.id}",
        TWILIO_MESSAGING_SERVICE_SID="MG-wrong",
    )

    report, took = diagnose()

    assert took < 2 * LONGEST_S
    assert report.exit_code is ExitCode.INCOMPLETE
    assert {finding.name for finding in report.findings} >= {"env-malformed"}
    for name in ("the database at", "Twilio", "Vercel"):
        assert name in unlooked(report)
    assert report.diagnosis is not None
    assert "confirmed" not in {cause.verdict for cause in report.diagnosis.causes}
    assert {(hour.bookings, hour.sent, hour.recorded) for hour in report.timeline} == {(None, None, None)}


def test_application_and_platform(scene: World, diagnose: Diagnose, silence: Callable[..., Silence]) -> None:
    """
    Where what serves the application hangs, the rows, the log and their comparison are told as if nothing were.
    """
    december_incident(scene)
    scene.host()
    hole = f"http://127.0.0.1:{silence().port}"
    scene.variables.update(BOOKING_APP_URL=hole, VERCEL_API_BASE_URL=hole)

    report, took = diagnose()

    names = {finding.name for finding in report.findings}
    assert took < 2 * LONGEST_S
    assert names >= {"booking-metadata-empty", "message-unrecorded", "deployment-unreachable"}
    assert "Vercel" in unlooked(report)
    assert report.exit_code is ExitCode.INCOMPLETE


def test_database_falls_silent(scene: World, diagnose: Diagnose, silence: Callable[..., Silence]) -> None:
    """
    A database that stops answering in the middle costs one time-out and not one for each check; the rest of the checks is
    told why, and nothing is excluded for want of it.
    """
    december_incident(scene)
    split = urlsplit(scene.url)
    frozen = silence((split.hostname, split.port), hears=60)
    scene.variables.update(
        DATABASE_URL=through(scene.url, frozen.port), TWILIO_PHONE_NUMBER="+15550100777", TWILIO_AUTH_TOKEN="0" * 32
    )

    report, took = diagnose()

    assert frozen.silent
    assert took < 2.5 * LONGEST_S
    assert report.exit_code is ExitCode.INCOMPLETE
    assert "the database has stopped answering" in unlooked(report)
    assert "env-rejected" in {finding.name for finding in report.findings}
