"""
``diagnose --probe``: a booking made with consent, whose fate the causes are weighed by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.booking_app import TEST_PHONE, BookingApp, probed
from booking_doctor.sandbox.incidents import World, world
from booking_doctor.sandbox.planted.probes import corrected_flow, old_flow

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(name="scene")
def _scene(database_url: str) -> Iterator[World]:
    """
    A world of today: a booking made now is told by the real clock.
    """
    with world(datetime.now(UTC).replace(microsecond=0), database_url=database_url) as scene:
        yield scene


@pytest.fixture(name="served")
def _served(scene: World, monkeypatch: pytest.MonkeyPatch) -> BookingApp:
    """
    The application with the corrected flow; the second look comes at once.
    """
    monkeypatch.setattr("booking_doctor.probe.BETWEEN_READS_S", 0.05)
    served = probed(scene)
    served.flow = corrected_flow(scene)
    return served


@pytest.fixture(name="call")
def _call(scene: World, served: BookingApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs the command in an empty directory; gives the exit code, the document and stderr.
    """
    assert served.base_url
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str) -> tuple[int, dict[str, Any], str]:
        environment = {**scene.environment(), **variables}
        result = CliRunner().invoke(app, ["diagnose", "--format", "json", *words], env=environment)
        assert "Traceback" not in result.stderr
        assert TEST_PHONE not in result.output
        return result.exit_code, json.loads(result.stdout) if result.stdout else {}, result.stderr

    return call


def bookings(scene: World) -> int:
    """
    How many there are.
    """
    return int(scene.rows("SELECT count(*) AS n FROM pending_bookings")[0]["n"])


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    """
    What is made of each cause.
    """
    return {cause["id"]: cause["verdict"] for cause in document["causes"]}


def test_without_it_nothing_is_made(call: Call, scene: World) -> None:
    """
    A diagnosis makes no booking by itself, whatever the variables would allow.
    """
    call("--yes")

    assert (bookings(scene), len(scene.account.messages())) == (0, 0)


def test_without_a_yes_nothing_is_made(call: Call, scene: World) -> None:
    """
    Where nobody can be asked it is refused, the target named first and then the option.
    """
    code, document, stderr = call("--probe")

    assert (code, document) == (4, {})
    assert "application: 127.0.0.1" in stderr
    assert "phone: +1***33" in stderr
    assert "--yes" in stderr
    assert (bookings(scene), len(scene.account.messages())) == (0, 0)


def test_a_flow_that_works(call: Call, scene: World) -> None:
    """
    One booking and one text, told in the coverage; nothing is wrong.
    """
    _, document, _ = call("--probe", "--yes")

    told = document["coverage"]["probe"]
    assert told["last_step"] == "kept in the metadata"
    assert told["booking_id"]
    assert "probe-stopped" not in {finding["name"] for finding in document["findings"]}
    assert (bookings(scene), len(scene.account.messages())) == (1, 1)


def test_its_fate_is_weighed(call: Call, scene: World, served: BookingApp) -> None:
    """
    With no other booking in the window, the probe alone shows where texts are lost.
    """
    served.flow = old_flow(scene, served.base_url)

    _, without, _ = call("--yes")
    code, document, _ = call("--probe", "--yes")

    assert code == 1
    (stopped,) = [finding for finding in document["findings"] if finding["name"] == "probe-stopped"]
    assert "Not kept in the metadata" in stopped["summary"]
    assert "probe-stopped" not in {finding["name"] for finding in without["findings"]}
    heard = [cause["id"] for cause in document["causes"] if any("probe" in why for why in cause["because"])]
    assert heard
    assert verdicts(document) != verdicts(without)


def test_cleanup(call: Call, scene: World) -> None:
    """
    The booking goes, the text stays sent, and both are said.
    """
    _, document, _ = call("--probe", "--yes", "--cleanup")

    assert bookings(scene) == 0
    assert "a text cannot be taken back" in document["coverage"]["probe"]["cleanup"]


def test_phone(call: Call, scene: World) -> None:
    """
    The phone that is named is texted, and no other.
    """
    _, _, stderr = call("--probe", "--yes", "--phone", "+15550107744")

    assert "phone: +1***44" in stderr
    assert [message.to for message in scene.account.messages()] == ["+15550107744"]


@pytest.mark.parametrize("words", [("--phone", "+15550107744"), ("--cleanup",)])
def test_options_without_a_use(call: Call, words: tuple[str, ...]) -> None:
    """
    They are a misunderstanding, named as one.
    """
    code, _, stderr = call(*words)

    assert code == 2
    assert "--probe" in stderr


def test_missing_variable(call: Call, scene: World) -> None:
    """
    What a probe needs is asked for before anything is made.
    """
    code, _, stderr = call("--probe", "--yes", TEST_API_KEY="")

    assert code == 2
    assert "TEST_API_KEY" in stderr
    assert bookings(scene) == 0
