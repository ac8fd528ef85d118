"""
The commands ``bookings`` and ``jobs status`` as a script calls them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.report import FORMATS
from booking_doctor.sandbox.incidents import World, december_incident

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Any]


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory with the scene's environment; a variable given as None is not set.
    """
    monkeypatch.chdir(tmp_path)
    return lambda *words, **variables: CliRunner().invoke(app, list(words), env={**scene.environment(), **variables})


def test_bookings(scene: World, call: Call) -> None:
    """
    The document has the counts, the findings with their evidence, and what to do; the exit code is 1.
    """
    december_incident(scene)

    answer = call("bookings", "--format", "json")

    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["exit_code"], document["verdict"]) == (1, 1, "findings")
    assert document["command"] == "bookings"
    assert document["summary"] == {
        "pending_bookings": 5,
        "metadata_empty": 4,
        "metadata_incomplete": 0,
        "sms_found_in_twilio": 4,
    }
    assert all(finding["evidence"]["booking_id"] in finding["subject"] for finding in document["findings"])
    assert document["coverage"]["twilio_pages"] > 0
    assert document["coverage"]["first_bad_booking"]
    assert document["next_steps"] == ["booking-doctor backfill --since 7d"]


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "csv"])
def test_formats(scene: World, call: Call, format: str) -> None:
    """
    Every format takes it, and shows no phone.
    """
    december_incident(scene)

    answer = call("bookings", "--format", format)

    assert answer.exception is None or isinstance(answer.exception, SystemExit)
    assert answer.stdout
    assert "+1555010100" not in answer.stdout
    assert "Traceback" not in answer.output


def test_healthy(scene: World, call: Call) -> None:
    """
    Nothing wrong is 0, also where nobody has booked.
    """
    answer = call("bookings", "--format", "json")

    assert (answer.exit_code, json.loads(answer.stdout)["verdict"]) == (0, "healthy")


def test_window(scene: World, call: Call) -> None:
    """
    Only bookings of the window are looked at.
    """
    scene.pending_booking("+15550104091", created_at=scene.now - timedelta(hours=5))

    assert call("bookings", "--since", "4h").exit_code == 0
    assert call("bookings", "--since", "6h").exit_code == 1
    assert call("bookings", "--since", "6h", "--fail-on", "never").exit_code == 0


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"TWILIO_AUTH_TOKEN": "f" * 32}, 3),
        ({"TWILIO_ACCOUNT_SID": None, "TWILIO_AUTH_TOKEN": None}, 1),
        ({"TWILIO_ACCOUNT_SID": "AC12"}, 3),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, 3),
        ({"DATABASE_URL": None}, 2),
    ],
)
def test_without_a_source(scene: World, call: Call, variables: dict[str, str | None], code: int) -> None:
    """
    What could not be asked makes the answer incomplete; what is not set is left out; without a database there is none.
    """
    scene.pending_booking("+15550104091", created_at=scene.now - timedelta(hours=5))

    answer = call("bookings", "--format", "json", **variables)

    assert answer.exit_code == code
    if code != 2:
        assert json.loads(answer.stdout)["exit_code"] == code
        assert json.loads(answer.stdout)["skipped"]


def test_jobs_status(scene: World, call: Call) -> None:
    """
    Jobs that failed or wait are told.
    """
    assert call("jobs", "status").exit_code == 0

    overdue = scene.job(run_at=scene.now - timedelta(hours=1))
    failed = scene.job(run_at=scene.now - timedelta(hours=1), status="failed", attempts=5)
    answer = call("jobs", "status", "--format", "json")

    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["command"]) == (1, "jobs status")
    assert [finding["subject"] for finding in document["findings"]] == [f"job/{failed}", f"job/{overdue}"]


def test_jobs_status_without_a_queue(scene: World, call: Call) -> None:
    """
    An application without a queue is not asked for one; Twilio is not needed either.
    """
    scene.execute("DROP TABLE jobs")

    answer = call("jobs", "status", "--format", "json", TWILIO_ACCOUNT_SID=None)

    assert answer.exit_code == 0
    assert {skipped["kind"] for skipped in json.loads(answer.stdout)["skipped"]} == {"not-applicable"}


@pytest.mark.parametrize(
    ("url", "code"), [(None, 2), ("http://somewhere/else", 2), ("postgresql://nobody@127.0.0.1:1/none", 3)]
)
def test_jobs_status_without_a_database(call: Call, url: str | None, code: int) -> None:
    """
    Where there is no database there is no queue to be called healthy.
    """
    answer = call("jobs", "status", "--format", "json", DATABASE_URL=url)

    assert answer.exit_code == code
    assert "ealthy" not in answer.stdout


@pytest.mark.parametrize("words", [["bookings"], ["jobs"], ["jobs", "status"]])
def test_help(call: Call, words: list[str]) -> None:
    """
    Each has its help.
    """
    answer = call(*words, "--help")

    assert answer.exit_code == 0
    assert "--since" in answer.stdout or words == ["jobs"]
