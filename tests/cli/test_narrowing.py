"""
``--select`` and ``--ignore``: each command narrows its own family, and what it cannot mean is refused before anybody is
asked anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from booking_doctor.checks import select
from booking_doctor.sandbox.incidents import World

COMMANDS = {"check-env": "env", "check-schema": "schema", "bookings": "booking", "jobs status": "job"}


def run(directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """
    The command in a process of its own.
    """
    return subprocess.run(
        [sys.executable, "-m", "booking_doctor", *words],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_what_is_not_of_the_family(tmp_path: Path, command: str, option: str) -> None:
    """
    A name that is of another family, or of none, is a usage error, although nothing here could be looked at.
    """
    foreign = "job-failed" if command != "jobs status" else "env-missing"

    end = run(tmp_path, *command.split(), option, foreign)

    assert (end.returncode, end.stdout) == (2, "")
    assert f"there is no check and no family '{foreign}' here" in end.stderr


@pytest.mark.parametrize(("command", "family"), COMMANDS.items())
def test_nothing_left(tmp_path: Path, command: str, family: str) -> None:
    """
    Leaving everything out is no way to be healthy.
    """
    end = run(tmp_path, *command.split(), "--ignore", family)

    assert (end.returncode, end.stdout) == (2, "")
    assert "no check is left to make" in end.stderr


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("check-env", "env-missing"),
        ("check-schema", "schema-sid-not-unique"),
        ("bookings", "booking-sms-not-recorded"),
        ("jobs status", "job-overdue"),
    ],
)
def test_one_check(tmp_path: Path, scene: World, command: str, name: str) -> None:
    """
    Only what was chosen is made, and only it is reported; the same by leaving out the others.
    """
    others = [
        word for made in select(family=COMMANDS[command]) if made.name != name for word in ("--ignore", made.name)
    ]

    chosen, left = (document(tmp_path, scene, command, *words) for words in (["--select", name], others))

    assert chosen["coverage"]["checks_made"] == left["coverage"]["checks_made"] == 1
    assert {finding["name"] for finding in chosen["findings"]} <= {name}
    assert chosen["findings"] == left["findings"]
    assert chosen["skipped"] == left["skipped"] == []


def document(directory: Path, scene: World, command: str, *words: str) -> dict[str, Any]:
    """
    The command's document, asked of a world.
    """
    end = run(directory, *command.split(), "--format", "json", *words, **scene.environment())
    read: dict[str, Any] = json.loads(end.stdout)
    return read
