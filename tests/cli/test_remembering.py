"""
``--state`` and ``--notify``: what a command remembers of the last run, and who hears of what changed.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.twilio_faults import Fault
from tests.cli.receiver import KEY, Receiver, receiving

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Any]
PHONE = "+15550101234"


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory with the scene's environment, remembering in a file there.
    """
    monkeypatch.chdir(tmp_path)
    environment = scene.environment()
    return lambda *words, **variables: CliRunner().invoke(
        app, [*words, "--state", "state.json"], env={**environment, **variables}
    )


def told(
    call: Call, command: str = "reconcile", *options: str, **variables: str | None
) -> tuple[Any, list[str], list[str]]:
    """
    The document, the names of what is new in it, and of what is gone.
    """
    document = json.loads(call(command, "--format", "json", *options, **variables).stdout)
    new = [finding["name"] for finding in document["findings"] if finding["since"] == document["started_at"]]
    return document, new, [entry["fingerprint"].partition(":")[0] for entry in document["gone"]]


def test_new_then_there_then_gone(scene: World, call: Call) -> None:
    """
    A text is new once, persists since then, and is gone once its row is there.
    """
    scene.customer(PHONE)
    message = scene.text(PHONE, scene.now - timedelta(days=1))

    first, *news = told(call)
    assert news == [["message-unrecorded"], []]
    _age_state()
    second, *news = told(call)
    assert news == [[], []]
    assert second["findings"][0]["since"] < first["started_at"]
    scene.record(message, str(scene.rows("SELECT CAST(id AS text) AS id FROM customers")[0]["id"]))
    third, *news = told(call)

    assert news == [[], ["message-unrecorded"]]
    assert third["verdict"] == "healthy"
    assert third["gone"][0]["since"] == second["findings"][0]["since"]
    assert told(call)[2] == []


def _age_state() -> None:
    """
    Let it be yesterday that everything was seen: reports tell whole seconds.
    """
    path = Path("state.json")
    state = json.loads(path.read_text())
    for memory in state["memories"].values():
        for sighting in memory["sightings"].values():
            sighting["since"] = "2025-11-01T12:00:00Z"
    path.write_text(json.dumps(state))


@pytest.mark.parametrize("command", ["diagnose", "reconcile", "bookings", "check-env", "check-schema"])
def test_each_command_remembers_by_itself(scene: World, call: Call, command: str) -> None:
    """
    All that it finds the first time is new, none of it the second time, and another command's memory is not asked.
    """
    december_incident(scene)
    scene.execute("DROP INDEX IF EXISTS messages_message_sid")
    told(call, "check-env" if command != "check-env" else "check-schema", TWILIO_PHONE_NUMBER=None)
    broken: dict[str, str | None] = {"TWILIO_PHONE_NUMBER": None} if command == "check-env" else {}

    first, new, gone = told(call, command, **broken)
    assert new == [finding["name"] for finding in first["findings"]] != []
    assert gone == []
    _age_state()
    second, new, gone = told(call, command, **broken)

    assert (new, gone) == ([], [])
    assert [finding["fingerprint"] for finding in first["findings"]] == [
        finding["fingerprint"] for finding in second["findings"]
    ]


def test_another_database_or_account_has_a_memory_of_its_own(scene: World, call: Call) -> None:
    """
    What is found under other settings says nothing of these.
    """
    scene.customer(PHONE)
    scene.text(PHONE, scene.now - timedelta(days=1))
    told(call)

    assert told(call, "reconcile", "--all-senders")[1:] == (["message-unrecorded"], [])
    assert told(call, "reconcile", TWILIO_PHONE_NUMBER="+15550100999")[1:] == ([], [])
    _age_state()
    assert told(call)[1:] == ([], [])


def test_while_twilio_is_down_nothing_is_gone(scene: World, call: Call) -> None:
    """
    The run is incomplete, says how many it could not look for, and the next one knows them still.
    """
    scene.customer(PHONE)
    scene.text(PHONE, scene.now - timedelta(days=1))
    told(call)
    _age_state()
    scene.simulator.faults.add(Fault.unauthorised(), times=None)
    blind, *news = told(call)

    assert (blind["verdict"], news) == ("incomplete", [[], []])
    assert blind["coverage"]["not_looked_for_again"] == 1
    scene.simulator.faults.clear()
    assert told(call)[1:] == ([], [])


def test_nothing_but_fingerprints_is_remembered(scene: World, call: Call) -> None:
    """
    No phone, no text, no credential, no address; not even with --show-pii.
    """
    december_incident(scene)
    call("diagnose", "--show-pii")

    state = Path("state.json").read_text()
    document = json.loads(state)
    (memory,) = document["memories"].values()
    assert memory["sightings"]
    assert {key for sighting in memory["sightings"].values() for key in sighting} == {"since", "span"}
    environment = scene.environment()
    assert not [name for name, value in environment.items() if value in state]
    assert "+1555" not in state


@pytest.mark.parametrize("format", ["terminal", "markdown", "short"])
def test_people_are_told(scene: World, call: Call, format: str) -> None:
    """
    What is new, and what is gone, in every format for people.
    """
    customer = scene.customer(PHONE)
    message = scene.text(PHONE, scene.now - timedelta(days=1))

    first = call("reconcile", "--format", format).stdout
    scene.record(message, customer)
    second = call("reconcile", "--format", format).stdout

    assert "new" in first
    assert "gone" not in first.replace("0 gone", "")
    assert "one" in second
    assert message.sid in second


def test_a_damaged_state_file_is_a_usage_error(call: Call) -> None:
    """
    One sentence, before anything is asked, and the file stays as it is.
    """
    Path("state.json").write_text("oops")

    answer = call("reconcile")

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "--state state.json is not a state file of this version of booking-doctor, or it is damaged" in answer.stderr
    assert Path("state.json").read_text() == "oops"


# --- who hears of it -------------------------------------------------------------------------------------------------


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    """
    Who hears of it.
    """
    with receiving() as receiver:
        yield receiver


def test_only_what_changed_is_told(scene: World, call: Call, receiver: Receiver) -> None:
    """
    Not that all is well at first; a finding once; that it is gone, because the verdict changes with it.
    """
    customer = scene.customer(PHONE)
    words = ("reconcile", "--notify", receiver.url)
    call(*words)
    assert receiver.heard == []

    message = scene.text(PHONE, scene.now - timedelta(days=1))
    found, same = call(*words), call(*words)
    assert (found.exit_code, same.exit_code) == (1, 1)
    assert receiver.titles == ["booking-doctor reconcile: findings"]
    assert f"error message-unrecorded: message/{message.sid} (new)" in receiver.heard[0]["message"]
    assert PHONE not in receiver.heard[0]["message"]

    scene.record(message, customer)
    call(*words)
    assert receiver.titles[1:] == ["booking-doctor reconcile: healthy"]
    assert f"gone: 1: message-unrecorded:message/{message.sid}" in receiver.heard[1]["message"]


@pytest.mark.parametrize("status", [500, None])
def test_a_notification_that_fails_is_a_warning(
    scene: World, call: Call, receiver: Receiver, status: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The exit code is the report's, all that is logged is shown, and the URL's key is nowhere.
    """
    scene.customer(PHONE)
    scene.text(PHONE, scene.now - timedelta(days=1))
    receiver.status = status or 200
    url = receiver.url if status else f"json://user:{KEY}@127.0.0.1:1/hook/{KEY}"
    caplog.set_level(logging.DEBUG)

    answer = CliRunner().invoke(
        app,
        ["-vv", "reconcile", "--format", "json", "--state", "state.json", "--notify", url],
        env=scene.environment(),
    )

    assert answer.exit_code == 1
    assert "warning: the notification to --notify number 1 failed: the service did not take it" in answer.stderr
    assert json.loads(answer.stdout)["verdict"] == "findings"
    everything = answer.output + answer.stderr + caplog.text + Path("state.json").read_text()
    assert KEY not in everything
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize("url", [f"nonsense://{KEY}", f"no url {KEY}"])
def test_a_url_that_nobody_knows_is_a_usage_error(call: Call, url: str) -> None:
    """
    Before anything is asked, and without showing it.
    """
    answer = call("-vv", "reconcile", "--notify", url)

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "the URL of --notify number 1 is none that apprise knows" in answer.stderr
    assert KEY not in answer.output


def test_without_the_library_it_says_what_to_install(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The extra has a name.
    """
    monkeypatch.setitem(sys.modules, "apprise", None)

    answer = call("diagnose", "--notify", f"json://{KEY}")

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "pip install 'booking-doctor[notify]'" in answer.stderr


def test_without_a_memory_there_is_nothing_to_tell(scene: World) -> None:
    """
    Nobody knows what changed, so it is refused.
    """
    answer = CliRunner().invoke(app, ["reconcile", "--notify", f"json://{KEY}"], env=scene.environment())

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "--notify needs --state" in answer.stderr
