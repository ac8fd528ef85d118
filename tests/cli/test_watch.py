"""
The command ``watch`` as cron, a service manager and several hosts at once call it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault
from booking_doctor.sandbox.twilio_log import Message
from tests.cli.receiver import KEY, receiving
from tests.conftest import at_database
from tests.repair.pooler import pooled

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Any]
PHONE = "+15550101234"
DEADLINE_S = 30


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs ``watch --once`` in an empty directory with the scene's environment.
    """
    monkeypatch.chdir(tmp_path)
    environment = scene.environment()
    return lambda *words, **variables: CliRunner().invoke(
        app, ["watch", "--once", *words], env={**environment, **variables}
    )


@pytest.fixture(name="lost")
def _lost(scene: World) -> Message:
    """
    A customer's text that no row has.
    """
    scene.customer(PHONE)
    return scene.text(PHONE, scene.now - timedelta(days=1))


def document(answer: Any) -> dict[str, Any]:
    """
    The JSON document of an answer, whose exit code is the document's own.
    """
    found: dict[str, Any] = json.loads(answer.stdout)
    assert answer.exit_code == found["exit_code"], answer.output
    assert found["command"] == "watch"
    return found


def look(call: Call, *words: str, **variables: str | None) -> dict[str, Any]:
    """
    What a round says.
    """
    return document(call("--format", "json", *words, **variables))


def post(scene: World) -> dict[str, Any]:
    """
    The row that watches share.
    """
    (row,) = scene.rows("SELECT * FROM booking_doctor.watches")
    return dict(row)


def test_a_round_for_cron(scene: World, call: Call, lost: Message) -> None:
    """
    It finds what is missing, remembers it in its own schema for the next one, and changes no row of the application.
    """
    first = look(call)
    second = look(call)
    scene.record(lost, scene.rows("SELECT CAST(id AS text) AS id FROM customers")[0]["id"])
    third = look(call)

    (finding,) = first["findings"]
    assert (first["exit_code"], finding["fingerprint"]) == (1, f"message-unrecorded:message/{lost.sid}")
    assert second["findings"][0]["since"] == finding["since"]
    assert (third["verdict"], [entry["fingerprint"] for entry in third["gone"]]) == (
        "healthy",
        [finding["fingerprint"]],
    )
    row = post(scene)
    assert row["holder"] is None
    assert abs(row["watermark"] - scene.now) < timedelta(minutes=5)
    assert PHONE not in json.dumps(row["memory"])
    assert first["next_steps"] == [f"booking-doctor backfill --since {first['window']['since']}"]


def test_another_one_at_work_is_given_way_to(scene: World, call: Call) -> None:
    """
    0 and a sentence while its heart beats; no document that could pass for an examination. When it was not heard, 3 and a
    document that claims nothing.
    """
    look(call)
    scene.execute(
        "UPDATE booking_doctor.watches SET holder = 'other', host = 'elsewhere', heard_at = clock_timestamp()"
    )
    busy = call("--format", "json")
    scene.execute("UPDATE booking_doctor.watches SET heard_at = clock_timestamp() - interval '2 minutes'")
    silent = look(call, "--metrics", "m.prom")
    scene.execute("UPDATE booking_doctor.watches SET heard_at = clock_timestamp() - interval '6 minutes'")

    assert (busy.exit_code, busy.stdout) == (0, "")
    assert re.search(r"another watch is at it on elsewhere, heard \d s ago: nothing was looked at here", busy.stderr)
    assert (silent["exit_code"], silent["verdict"], silent["skipped"][0]["check"]) == (3, "incomplete", "watch")
    assert re.search(r"heard 12\d s ago, which is too long for one that works", silent["skipped"][0]["reason"])
    assert "booking_doctor_last_success" not in Path("m.prom").read_text()
    assert look(call)["exit_code"] == 0


def test_what_is_missing_is_written_where_it_was_told_to(scene: World, call: Call, lost: Message) -> None:
    """
    Verified, in the journal, and undo takes it back.
    """
    told = look(call, "--apply", "--max-changes", "5")

    assert (told["exit_code"], told["verdict"], told["run"]["applied"], told["run"]["verified"]) == (
        0,
        "healthy",
        1,
        True,
    )
    assert [row["message_sid"] for row in scene.rows("SELECT message_sid FROM messages")] == [lost.sid]
    assert [entry["fingerprint"] for entry in told["gone"]] == [f"message-unrecorded:message/{lost.sid}"]
    undone = CliRunner().invoke(app, ["undo", told["run"]["id"], "--yes"], env=scene.environment())
    assert undone.exit_code == 0, undone.output
    assert scene.rows("SELECT message_sid FROM messages") == []
    assert look(call)["findings"][0]["name"] == "message-unrecorded"


def test_more_than_was_expected_is_not_written(scene: World, call: Call, lost: Message) -> None:
    """
    4, with what is missing still in the report.
    """
    scene.text(PHONE, scene.now - timedelta(days=2))

    told = look(call, "--apply", "--max-changes", "1")

    assert (told["exit_code"], len(told["findings"])) == (4, 2)
    assert "--max-changes" in told["exit_reason"]
    assert scene.rows("SELECT message_sid FROM messages") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--apply"], "--apply needs --max-changes"),
        (["--max-changes", "5"], "--max-changes does nothing without --apply"),
        (["--allow-triggers"], "--allow-triggers does nothing without --apply"),
        (["--every", "soon"], "--every soon is not understood"),
        (["--every", "0m"], "--every 0m is not understood"),
        (["--metrics", "nowhere/file"], "--metrics nowhere/file: there is no directory"),
    ],
)
def test_options_that_cannot_be_meant(scene: World, call: Call, words: list[str], said: str) -> None:
    """
    2, before anything is asked or made.
    """
    answer = call(*words)

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert scene.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'booking_doctor'") == []


def test_which_database_is_meant_must_be_clear(scene: World, call: Call) -> None:
    """
    It writes to its own schema, so variables that name different databases refuse it.
    """
    answer = call(POSTGRES_URL=at_database(scene.url, "another"))

    assert (answer.exit_code, answer.stdout) == (4, "")
    assert "DATABASE_URL and POSTGRES_URL name different databases" in answer.stderr
    assert scene.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'booking_doctor'") == []


def test_metrics_keep_the_last_success(scene: World, call: Call) -> None:
    """
    A round that could not look says so, and when one last could.
    """

    def figure(name: str) -> float:
        found = re.search(
            rf"^booking_doctor_{name}\{{command=\"watch\"\}} (\d+)$", Path("m.prom").read_text(), re.MULTILINE
        )
        assert found, name
        return float(found[1])

    call("--metrics", "m.prom")
    success = figure("last_success_timestamp_seconds")
    scene.simulator.faults.add(Fault.unauthorised(), times=None)
    answer = call("--metrics", "m.prom")

    assert answer.exit_code == 3
    assert figure("last_success_timestamp_seconds") == success
    assert "booking_doctor_unrecorded" not in Path("m.prom").read_text()
    assert [path.name for path in Path().iterdir()] == ["m.prom"]


def test_people_hear_of_what_changed(scene: World, call: Call, lost: Message) -> None:
    """
    What is new, that nothing is known any more, that all is well; each once, in short, and the URL is nowhere.
    """
    with receiving() as receiver:
        said = [call("--notify", receiver.url) for _ in range(2)]
        scene.simulator.faults.add(Fault.unauthorised(), times=None)
        said += [call("--notify", receiver.url) for _ in range(2)]
        scene.simulator.faults.clear()
        said += [call("--notify", receiver.url, "--apply", "--max-changes", "1") for _ in range(2)]

    assert [answer.exit_code for answer in said] == [1, 1, 3, 3, 0, 0]
    assert receiver.titles == [f"booking-doctor watch: {word}" for word in ("findings", "incomplete", "healthy")]
    assert f"message/{lost.sid} (new)" in receiver.heard[0]["message"]
    assert "1 step applied, verified" in receiver.heard[2]["message"]
    assert not [answer for answer in said if KEY in answer.output]
    assert KEY not in json.dumps(post(scene), default=str)


def test_a_database_that_is_gone_is_reported(call: Call) -> None:
    """
    In the format that was asked for, and in the metrics.
    """
    told = look(call, "--metrics", "m.prom", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere")

    assert (told["exit_code"], told["verdict"]) == (3, "incomplete")
    assert [skipped["check"] for skipped in told["skipped"]] == ["database"]
    assert "booking_doctor_last_success" not in Path("m.prom").read_text()


def test_a_role_that_may_not_remember_is_told_the_grant(scene: World, call: Call) -> None:
    """
    4, one sentence, and nothing is watched without a memory.
    """
    database = scene.url.rpartition("/")[2]
    scene.execute(f"CREATE ROLE app_{database} LOGIN PASSWORD 'guest'")
    url = re.sub(r"//[^@]*@", f"//app_{database}:guest@", scene.url)

    answer = call(DATABASE_URL=url)

    assert (answer.exit_code, answer.stdout) == (4, "")
    assert f"CREATE SCHEMA booking_doctor AUTHORIZATION app_{database}" in answer.stderr


# --- kept going ------------------------------------------------------------------------------------------------------


class Watcher:
    """
    A watch that keeps going, as a process.
    """

    def __init__(self, process: subprocess.Popen[str], output: Path, errors: Path) -> None:
        self.process = process
        self._output = output
        self._errors = errors

    @property
    def said(self) -> str:
        """
        All that it said on stderr.
        """
        return self._errors.read_text()

    @property
    def reported(self) -> list[str]:
        """
        The last line of each round's report.
        """
        return re.findall(r"^[A-Z]+ booking-doctor watch.*$", self._output.read_text(), re.MULTILINE)

    def reports(self, words: str) -> None:
        """
        Wait until its last round ended so.
        """
        eventually(lambda: bool(self.reported) and words in self.reported[-1])

    def ends(self) -> int:
        """
        Its exit code, when it has ended by itself.
        """
        return self.process.wait(timeout=DEADLINE_S)


def eventually(holds: Callable[[], bool]) -> None:
    """
    Wait until it holds.
    """
    begun = monotonic()
    while not holds():
        assert monotonic() - begun < DEADLINE_S
        sleep(0.02)


@contextmanager
def watching(scene: World, directory: Path, *options: str, **variables: str) -> Iterator[Watcher]:
    """
    A watch for as long as the block lasts.
    """
    command = [sys.executable, "-m", "booking_doctor", "watch", "--every", "1s", "--format", "short", *options]
    environment = {**os.environ, **scene.environment(), **variables}
    output, errors = directory / "stdout", directory / "stderr"
    with (
        output.open("w") as out,
        errors.open("w") as said,
        subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=said, text=True) as process,
    ):
        try:
            yield Watcher(process, output, errors)
        finally:
            process.kill()


def test_told_to_end_it_ends_well(scene: World, tmp_path: Path) -> None:
    """
    At once while it waits, and the post is free; through a transaction pooler as well.
    """
    with pooled(scene.url, "transaction") as url, watching(scene, tmp_path, "--every", "1h", DATABASE_URL=url) as watch:
        watch.reports("HEALTHY")
        eventually(lambda: post(scene)["holder"] is None)
        begun = monotonic()
        watch.process.terminate()
        assert watch.ends() == 0
        assert monotonic() - begun < 5

    assert post(scene)["holder"] is None


def test_told_to_end_it_finishes_its_round(scene: World, tmp_path: Path, lost: Message) -> None:
    """
    Ctrl-C as well: what it had begun to write is written, verified and reported.
    """
    scene.simulator.faults.add(Fault.hang(2), times=1)
    with watching(scene, tmp_path, "--every", "1h", "--apply", "--max-changes", "5") as watch:
        eventually(lambda: bool(scene.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'booking_doctor'")))
        watch.process.send_signal(signal.SIGINT)
        assert watch.ends() == 0

    assert [row["message_sid"] for row in scene.rows("SELECT message_sid FROM messages")] == [lost.sid]
    assert "1 step applied, verified" in watch.reported[-1]
    assert post(scene)["holder"] is None


def test_it_outlives_what_it_asks(scene: World, tmp_path: Path, server_url: str, lost: Message) -> None:
    """
    Twilio refuses for a while, then the database is gone: each is reported, and later it looks again and finds.
    """
    database = scene.url.rpartition("/")[2]
    with psycopg.connect(server_url, autocommit=True) as operator, watching(scene, tmp_path) as watch:
        watch.reports("FINDINGS")
        scene.simulator.faults.add(Fault.unauthorised(), times=None)
        watch.reports("INCOMPLETE")
        scene.simulator.faults.clear()
        watch.reports("FINDINGS")
        operator.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        watch.reports("INCOMPLETE")
        operator.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
        scene.engine.dispose()
        watch.reports("FINDINGS")
        watch.process.terminate()
        assert watch.ends() == 0

    assert "Traceback" not in watch.said


def test_it_takes_over_when_another_one_has_ended(scene: World, call: Call, tmp_path: Path) -> None:
    """
    Until then it gives way at every turn, and says so.
    """
    look(call)
    scene.execute(
        "UPDATE booking_doctor.watches SET holder = 'other', host = 'elsewhere', heard_at = clock_timestamp()"
    )
    with watching(scene, tmp_path) as watch:
        eventually(lambda: watch.said.count("another watch is at it on elsewhere") >= 2)
        assert watch.reported == []
        scene.execute("UPDATE booking_doctor.watches SET holder = NULL")
        watch.reports("HEALTHY")
        watch.process.terminate()
        assert watch.ends() == 0
