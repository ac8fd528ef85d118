"""
The command ``fetch-log``, and everything else on the file that it has written, without Twilio.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.report import FORMATS
from booking_doctor.sandbox.exchange import Reply
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.twilio_api import problem
from booking_doctor.sandbox.twilio_faults import Fault, On

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Any]
OFFLINE = {"TWILIO_ACCOUNT_SID": None, "TWILIO_AUTH_TOKEN": None, "TWILIO_API_BASE_URL": None}


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory with the scene's environment; a variable given as None is not set.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str | None) -> Any:
        answer = CliRunner().invoke(app, list(words), env={**scene.environment(), **variables})
        assert answer.exception is None or isinstance(answer.exception, SystemExit)
        assert scene.account.auth_token not in answer.output
        return answer

    return call


@pytest.fixture(name="window")
def _window(scene: World) -> list[str]:
    """
    The week before the story is told.
    """
    return ["--since", (scene.now - timedelta(days=7)).isoformat(), "--until", scene.now.isoformat()]


def lines(path: Path) -> list[Any]:
    """
    What is in the file, the heading first.
    """
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return [json.loads(line) for line in content.splitlines()]


def essence(answer: Any) -> dict[str, Any]:
    """
    What a document says of the world, without when and how it was looked at, and what only live questions tell.
    """
    document = json.loads(answer.stdout)
    findings = {one["fingerprint"]: (one["summary"], one["evidence"]) for one in document["findings"]}
    plan = document.get("plan") or {}
    return {
        "exit_code": answer.exit_code,
        "summary": document["summary"],
        "findings": findings,
        "skipped": [one["reason"] for one in document["skipped"] if "Twilio is not asked" not in one["reason"]],
        "causes": {one["id"]: one["verdict"] for one in document.get("causes", [])},
        "steps": plan.get("steps"),
        "left": plan.get("left"),
    }


# --- the promise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["reconcile"], ["bookings"], ["backfill"], ["diagnose", "--ignore", "env"]], ids=lambda words: words[0]
)
def test_the_file_tells_what_twilio_tells(scene: World, call: Call, window: list[str], command: list[str]) -> None:
    """
    Of the December incident: the same findings, counts, causes and steps, whether Twilio is asked or the file is read.
    """
    december_incident(scene)
    online = call(*command, *window, "--format", "json")
    assert call("fetch-log", *window, "--output", "log.gz").exit_code == 0

    offline = call(*command, *window, "--twilio-log", "log.gz", "--format", "json", **OFFLINE)

    assert essence(offline) == essence(online)
    assert essence(online)["findings"] or essence(online)["steps"]


def test_twilio_is_not_asked_where_there_is_a_file(scene: World, call: Call, window: list[str]) -> None:
    """
    Whatever credentials are set: the file is the log, and the report says so.
    """
    december_incident(scene)
    call("fetch-log", *window, "--output", "log.gz")
    scene.simulator.faults.add(Fault.unauthorised())

    for command in ("diagnose", "reconcile", "bookings", "backfill", "action-plan"):
        answer = call(command, *window, "--twilio-log", "log.gz", "--format", "json")
        assert answer.exit_code == 1, answer.output
        assert json.loads(answer.stdout)["coverage"]["twilio"] == "not asked"
    assert len(scene.simulator.faults.unused()) == 1


def test_a_command_to_copy_names_the_file(scene: World, call: Call, window: list[str]) -> None:
    """
    What is proposed next looks at the same log, from a saved plan too.
    """
    december_incident(scene)
    call("fetch-log", *window, "--output", "log.gz")

    steps = json.loads(call("reconcile", *window, "--twilio-log", "log.gz", "--format", "json").stdout)["next_steps"]
    assert all("--twilio-log log.gz" in step for step in steps)
    planned = call("backfill", *window, "--twilio-log", "log.gz", "--save", "plan.json", "--format", "json", **OFFLINE)
    [step] = json.loads(planned.stdout)["next_steps"]
    assert step == "booking-doctor backfill --from plan.json --twilio-log log.gz --apply"
    applied = call(*step.split()[1:], "--yes", "--format", "json", **OFFLINE)
    assert applied.exit_code == 0
    assert json.loads(applied.stdout)["run"]["verified"]


def test_a_probe_has_no_use_for_a_file(call: Call) -> None:
    """
    Its text is in no file yet.
    """
    answer = call("diagnose", "--probe", "--yes", "--twilio-log", "log.gz")

    assert answer.exit_code == 2
    assert "--probe and --twilio-log exclude each other" in answer.stderr


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log.gz", "log.jsonl"])
def test_the_file_has_the_shape_of_a_bulk_export(scene: World, call: Call, window: list[str], name: str) -> None:
    """
    A heading, then a message a line with ISO dates, for nobody else to read; and nothing else is left behind.
    """
    december_incident(scene)

    answer = call("fetch-log", *window, "--output", name, "--format", "json")

    heading, *messages = lines(Path(name))
    assert (Path(name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert [path.name for path in Path().iterdir()] == [name]
    assert heading["booking_doctor"]["account_sid"] == scene.account.account_sid
    assert heading["booking_doctor"]["since"] == f"{scene.now - timedelta(days=7):%Y-%m-%dT%H:%M:%SZ}"
    assert len(messages) == len({message["sid"] for message in messages}) == len(scene.account.messages())
    assert {message["account_sid"] for message in messages} == {scene.account.account_sid}
    assert sum("date_sent" not in message for message in messages) == 1
    assert all(message["date_created"].endswith("Z") and message["date_updated"].endswith("Z") for message in messages)
    document = json.loads(answer.stdout)
    assert document["summary"] == {"messages": len(messages)}
    assert document["coverage"]["bytes"] == Path(name).stat().st_size


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_a_document(scene: World, call: Call, window: list[str], format: str) -> None:
    """
    Of a copy that is whole, and of one that is not.
    """
    scene.text("+15550101001", scene.now - timedelta(days=2))
    assert call("fetch-log", *window, "--output", "log.gz", "--format", format).exit_code == 0

    scene.simulator.faults.add(Fault.forbidden(), times=None)
    answer = call("fetch-log", *window, "--output", "other.gz", "--format", format)
    assert answer.exit_code == 3
    assert answer.stdout


def test_an_empty_week_is_a_file_too(scene: World, call: Call, window: list[str]) -> None:
    """
    That says that there was nothing, so that all is well is no guess.
    """
    call("fetch-log", *window, "--output", "log.gz")

    answer = call("reconcile", *window, "--twilio-log", "log.gz", **OFFLINE)

    assert (answer.exit_code, len(lines(Path("log.gz")))) == (0, 1)


# --- going on --------------------------------------------------------------------------------------------------------


def test_what_has_come_is_not_asked_for_again(scene: World, call: Call) -> None:
    """
    A day that is refused leaves the others beside the file; the same command asks for that day only, for the window that
    was meant at first, and the file is what it would have been.
    """
    december_incident(scene)
    window = ["--since", "7d"]
    day = f"{scene.now - timedelta(days=3):%Y-%m-%d}"
    refused = Fault(name="bad request", instead=problem(20001))
    scene.simulator.faults.add(refused, times=None, on=On(contains=f"DateSent={day}"))

    first = call("fetch-log", *window, "--output", "log.gz", "--format", "json")

    document = json.loads(first.stdout)
    assert (first.exit_code, Path("log.gz").exists()) == (3, False)
    assert document["skipped"][0]["check"] == f"the log of {day}"
    assert document["next_steps"] == ["booking-doctor fetch-log --output log.gz --since 7d"]
    assert not document["coverage"].keys() & {"begun_at", "bytes"}
    assert stat.S_IMODE(Path("log.gz.partial").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path("log.gz.partial").iterdir()} == {0o600}

    scene.simulator.faults.clear()
    again = call("fetch-log", *window, "--output", "log.gz", "--format", "json")

    told = json.loads(again.stdout)
    assert again.exit_code == 0
    assert told["window"] == document["window"]
    assert "of a copy that was begun at" in told["exit_reason"]
    assert told["coverage"]["twilio_requests"] == 1
    call("fetch-log", *window, "--output", "whole.gz")
    assert sorted(lines(Path("log.gz"))[1:], key=str) == sorted(lines(Path("whole.gz"))[1:], key=str)
    assert not Path("log.gz.partial").exists()


def test_another_window_or_account_is_not_mixed_in(scene: World, call: Call) -> None:
    """
    The copy that was begun stays as it is.
    """
    scene.text("+15550101001", scene.now - timedelta(hours=2))
    scene.simulator.faults.add(
        Fault.forbidden(), times=None, on=On(contains=f"DateSent={scene.now - timedelta(days=1):%F}")
    )
    assert call("fetch-log", "--since", "2d", "--output", "log.gz").exit_code == 3
    before = {path.name: path.read_bytes() for path in Path("log.gz.partial").iterdir()}

    for words, variables in ((("--since", "3d"), {}), (("--since", "2d"), {"TWILIO_ACCOUNT_SID": "AC" + "b" * 32})):
        answer = call("fetch-log", *words, "--output", "log.gz", **variables)
        assert answer.exit_code == 4
        assert "refused, nothing was written" in answer.stderr
        assert "of another account or window" in answer.stderr
    assert {path.name: path.read_bytes() for path in Path("log.gz.partial").iterdir()} == before


def test_two_do_not_write_the_same_file(call: Call) -> None:
    """
    The second is refused.
    """
    Path("log.gz.partial").mkdir()
    with Path("log.gz.partial/lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = call("fetch-log", "--output", "log.gz")

    assert answer.exit_code == 4
    assert "another fetch-log is writing" in answer.stderr


def test_what_is_in_the_way_is_left_alone(call: Call) -> None:
    """
    A file of somebody's where the days would lie.
    """
    Path("log.gz.partial").write_text("mine")
    answer = call("fetch-log", "--output", "log.gz")

    assert (answer.exit_code, Path("log.gz.partial").read_text()) == (4, "mine")
    assert "log.gz.partial is in the way" in answer.stderr


def test_a_copy_that_was_killed_goes_on(scene: World, call: Call, window: list[str]) -> None:
    """
    What was whole when the process was killed is kept, what was not is read again.
    """
    december_incident(scene)
    day = f"{scene.now - timedelta(days=4):%Y-%m-%d}"
    scene.simulator.faults.add(
        Fault(name="hang", hangs="before", hang_s=30), times=1, on=On(contains=f"DateSent={day}")
    )
    command = [sys.executable, "-m", "booking_doctor", "fetch-log", *window, "--output", "log.gz"]
    with subprocess.Popen(command, env={**os.environ, **scene.environment()}, stderr=subprocess.DEVNULL) as process:
        state = Path("log.gz.partial/state.json")
        while not (state.exists() and json.loads(state.read_text())["days"]):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    whole = set(json.loads(state.read_text())["days"])
    assert whole
    assert day not in whole
    scene.simulator.faults.clear()

    assert call("fetch-log", *window, "--output", "log.gz").exit_code == 0
    assert len(lines(Path("log.gz"))) == 1 + len(scene.account.messages())


def test_a_log_that_gives_other_days_is_not_believed(scene: World, call: Call, window: list[str]) -> None:
    """
    A proxy that drops the filter gives every day everything.
    """
    scene.text("+15550101001", scene.now - timedelta(days=2, hours=1))
    scene.text("+15550101002", scene.now - timedelta(days=3, hours=1))
    page = {"messages": [_on_the_wire(scene)], "next_page_uri": None}
    unfiltered = Fault(name="unfiltered", instead=Reply(status=200, body=json.dumps(page).encode()))
    scene.simulator.faults.add(unfiltered, times=None, on=On(contains="DateSent="))

    answer = call("fetch-log", *window, "--output", "log.gz")

    assert (answer.exit_code, Path("log.gz").exists()) == (3, False)
    assert "the log also gave SM" in answer.stderr


def _on_the_wire(scene: World) -> dict[str, Any]:
    at = format_datetime(scene.now - timedelta(days=2))
    return {
        "sid": "SM" + "1" * 32,
        "account_sid": scene.account.account_sid,
        "status": "delivered",
        "direction": "outbound-api",
        **dict.fromkeys(("date_created", "date_updated", "date_sent"), at),
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--output", "."), "--output . is a directory"),
        (("--output", "none/log.gz"), "there is no directory"),
        (("--output", "/dev/null"), "--output /dev/null is no file"),
        ((), "Missing option '--output'"),
        (("--output", "log.gz", "--since", "500d"), "Twilio keeps messages for 400 days"),
    ],
)
def test_what_cannot_be_meant(call: Call, words: tuple[str, ...], sentence: str) -> None:
    """
    Is said before anything is asked or written.
    """
    answer = call("fetch-log", *words)

    assert answer.exit_code == 2
    assert sentence in answer.stderr
    assert list(Path().iterdir()) == []
