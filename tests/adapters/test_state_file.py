"""
The state file: private, whole, nobody's evidence in it, and never taken for what it is not.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from booking_doctor.adapters.state_file import StateFile
from booking_doctor.errors import UsageError
from booking_doctor.findings import Verdict, Window
from booking_doctor.sightings import Memory, Sighting

NOON = datetime(2025, 12, 8, 12, 0, 0, 123, tzinfo=UTC)
MEMORY = Memory(
    verdict=Verdict.FINDINGS,
    sightings={
        "message-unrecorded:message/SM1": Sighting(since=NOON, span=Window(NOON, NOON)),
        "schema-sid-not-unique:schema/messages.message_sid": Sighting(since=NOON),
    },
)


def test_what_is_kept_is_recalled(tmp_path: Path) -> None:
    """
    To the microsecond, each under its name; before the first time there is nothing.
    """
    path = tmp_path / "state.json"
    assert StateFile(path).recall("reconcile a") == Memory()

    StateFile(path).keep("reconcile a", MEMORY)
    StateFile(path).keep("diagnose a", Memory(verdict=Verdict.HEALTHY))

    assert StateFile(path).recall("reconcile a") == MEMORY
    assert StateFile(path).recall("diagnose a") == Memory(verdict=Verdict.HEALTHY)
    assert StateFile(path).recall("reconcile b") == Memory()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """
    Mode 0600 whatever it was, versioned, beside it nothing left behind; a symbolic link stays one.
    """
    path, link = tmp_path / "state.json", tmp_path / "link.json"
    link.symlink_to(path)

    StateFile(link).keep("reconcile a", MEMORY)
    path.chmod(0o644)
    StateFile(link).keep("reconcile a", MEMORY)

    assert path.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert {file.name for file in tmp_path.iterdir()} == {"state.json", "link.json"}
    document = json.loads(path.read_text())
    assert (document["schema"], document["tool"]) == (1, "booking-doctor")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[]",
        "null",
        '{"schema": 2, "tool": "booking-doctor"}',
        '{"memories": {"a": {"verdict": "fine"}}}',
        "\xff",
    ],
)
def test_a_damaged_file_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    """
    One sentence that says what to do, without a word of the file.
    """
    path = tmp_path / "state.json"
    path.write_text(text, encoding="latin-1")

    with pytest.raises(UsageError, match="is not a state file") as caught:
        StateFile(path)

    assert "delete it to start afresh" in caught.value.sentence
    assert path.read_text(encoding="latin-1") == text


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """
    Before any work is done.
    """
    with pytest.raises(UsageError, match="no such directory"):
        StateFile(tmp_path / "nowhere" / "state.json")
    with pytest.raises(UsageError, match="cannot be read"):
        StateFile(tmp_path)


def test_two_that_remember_at_once_lose_nothing(tmp_path: Path) -> None:
    """
    Commands that share a file keep what the others wrote.
    """
    path = tmp_path / "state.json"

    with ThreadPoolExecutor(8) as hands:
        list(hands.map(lambda number: StateFile(path).keep(f"command {number}", MEMORY), range(40)))

    assert all(StateFile(path).recall(f"command {number}") == MEMORY for number in range(40))
