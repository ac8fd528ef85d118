"""
The command ``jobs run --watch`` as a service manager calls it: woken, told to end, cut off from its database.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import psycopg
import pytest

from booking_doctor.adapters.alarm import HEARD_S, UNHEARD_S
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault, On
from tests.cli.queued import APP, Queue, application, phone, queue_of, states, texted
from tests.repair.pooler import pooled

DEADLINE_S: Final = 20


@pytest.fixture(name="queue")
def _queue(scene: World) -> Iterator[Queue]:
    """
    Queues texts.
    """
    with application(scene) as service:
        yield queue_of(scene, service)


class Watcher:
    """
    A worker that watches, as a process.
    """

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process = process
        self._errors = errors

    def hears(self, words: str) -> None:
        """
        Wait until it has said so.
        """
        eventually(lambda: words in self.said)

    @property
    def said(self) -> str:
        """
        All that it said on stderr.
        """
        return self._errors.read_text()

    def ends(self) -> tuple[int, dict[str, Any]]:
        """
        Its exit code and its report, when it has ended by itself.
        """
        out, _ = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, json.loads(out) if out else {}


def eventually(holds: Callable[[], bool]) -> float:
    """
    Wait until it holds; how long that took, in seconds.
    """
    begun = monotonic()
    while not holds():
        assert monotonic() - begun < DEADLINE_S
        sleep(0.01)
    return monotonic() - begun


@contextmanager
def watching(scene: World, directory: Path, *options: str, **variables: str) -> Iterator[Watcher]:
    """
    A worker that watches for as long as the block lasts.
    """
    command = [sys.executable, "-m", "booking_doctor", "jobs", "run", "--watch", "--format", "json", *options]
    environment = {**os.environ, **scene.environment(), **APP, **variables}
    errors = directory / "stderr"
    with (
        errors.open("w") as said,
        subprocess.Popen(
            command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        try:
            yield Watcher(process, errors)
        finally:
            process.kill()


def test_a_queued_text_wakes_whoever_watches(scene: World, queue: Queue, tmp_path: Path) -> None:
    """
    Far sooner than it would have looked by itself; told to end with nothing in hand, it ends well.
    """
    with watching(scene, tmp_path) as worker:
        worker.hears("the database tells when a text is queued")
        sleep(0.3)  # the first look, and the one after the listening began, are over
        took: list[float] = []
        for number in range(3):
            queue(first=number)
            took.append(eventually(lambda: sum(texted(scene).values()) == len(took) + 1))
        eventually(lambda: states(scene) == {"done": 3})
        worker.process.terminate()
        code, told = worker.ends()

    assert max(took) < UNHEARD_S / 2 < HEARD_S
    assert (code, told["exit_reason"], told["coverage"]["watched"]) == (0, "3 jobs: 3 sent", True)
    assert "told to end, nothing in hand" in worker.said


def test_where_nothing_can_be_heard_the_queue_is_looked_at(scene: World, queue: Queue, tmp_path: Path) -> None:
    """
    Through a transaction pooler, and it says so.
    """
    with (
        pooled(scene.url, "transaction") as url,
        watching(scene, tmp_path, "--concurrency", "1", DATABASE_URL=url) as worker,
    ):
        worker.hears("the queue is looked at every 2 s: its notifications do not come through")
        queue()
        took = eventually(lambda: texted(scene) == Counter([phone(0)]))
        worker.process.terminate()
        code, _ = worker.ends()

    assert (code, states(scene)) == (0, {"done": 1})
    assert took < 2 * UNHEARD_S


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_finishes_what_is_in_hand(
    scene: World, queue: Queue, tmp_path: Path, number: signal.Signals
) -> None:
    """
    The texts that Twilio is being asked for are waited for and stored; what was taken ahead is as if it had not been.
    """
    queue(4)
    scene.simulator.faults.add(Fault.hang(1.5, stored=True), times=None, on=On(method="POST"))
    with watching(scene, tmp_path, "--concurrency", "2") as worker:
        eventually(lambda: states(scene).get("running") == 4)
        sleep(0.3)
        worker.process.send_signal(number)
        code, told = worker.ends()

    assert (code, told["summary"]["sent"], told["coverage"]["due"]) == (0, 2, 2)
    rows = scene.rows("SELECT status, attempts, count(*) AS jobs FROM jobs GROUP BY 1, 2 ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("done", 1, 2), ("queued", 0, 2)]
    assert "told to end, 2 in hand: finishing them; once more ends at once" in worker.said


def test_told_twice_it_ends_at_once(scene: World, queue: Queue, tmp_path: Path) -> None:
    """
    What was in hand is as if the worker had been killed: it is looked into later.
    """
    queue()
    scene.simulator.faults.add(Fault.hang(15, stored=True), on=On(method="POST"))
    with watching(scene, tmp_path) as worker:
        eventually(lambda: states(scene).get("running") == 1)
        worker.process.terminate()
        worker.hears("told to end, 1 in hand")
        begun = monotonic()
        worker.process.terminate()
        code, told = worker.ends()

    assert (code, told, states(scene)) == (130, {}, {"running": 1})
    assert monotonic() - begun < 5


def test_a_database_that_is_gone_for_a_while_is_waited_for(
    scene: World, queue: Queue, tmp_path: Path, server_url: str
) -> None:
    """
    Connections are lost and cannot be made again; when they can, work goes on.
    """
    queue()
    database = scene.url.rpartition("/")[2]
    with psycopg.connect(server_url, autocommit=True) as operator, watching(scene, tmp_path) as worker:
        eventually(lambda: states(scene) == {"done": 1})
        operator.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        worker.hears("waiting 2 s: cannot reach the database at ")
        operator.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
        scene.engine.dispose()
        queue(first=1)
        eventually(lambda: texted(scene) == Counter([phone(0), phone(1)]))
        worker.process.terminate()
        code, told = worker.ends()

    assert (code, told["exit_reason"]) == (0, "2 jobs: 2 sent")
    assert told["coverage"]["outages"] >= 2


def test_no_more_connections_than_hands_need(scene: World, queue: Queue, tmp_path: Path) -> None:
    """
    One for each text that is being sent, one to take jobs with, and one to listen on.
    """
    queue()
    most = 0
    with (
        watching(scene, tmp_path, "--concurrency", "3", DATABASE_URL=f"{scene.url}?application_name=worker") as worker,
        psycopg.connect(scene.url, autocommit=True) as eye,
    ):
        worker.hears("the database tells when a text is queued")
        eventually(lambda: states(scene) == {"done": 1})
        queue(30, first=1)
        while states(scene) != {"done": 31}:
            (seen,) = eye.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'worker'"
            ).fetchone() or (0,)
            most = max(most, seen)
        worker.process.terminate()
        worker.ends()

    assert 3 <= most <= 3 + 1 + 1
