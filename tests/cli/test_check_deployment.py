"""
check-deployment as a user runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from booking_doctor.report import FORMATS
from booking_doctor.sandbox.application import Serving
from booking_doctor.sandbox.incidents import World

KEY = "k1-of-the-simulated-application"


def run(scene: World, directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """
    The command in a process of its own.
    """
    return subprocess.run(
        [sys.executable, "-m", "booking_doctor", "check-deployment", *words],
        cwd=directory,
        env={**os.environ, **scene.environment(), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def committed(directory: Path) -> str:
    """
    A repository with one commit, and its hash.
    """
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@salon.example", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], cwd=directory, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "fix"], cwd=directory, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=directory, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_head(scene: World, tmp_path: Path) -> None:
    """
    The commit of the repository one stands in is what should serve; below it, too.
    """
    commit, below = committed(tmp_path), tmp_path / "app"
    below.mkdir()
    scene.open().serving = [Serving(commit=commit)]

    assert run(scene, below, "--expect-commit", "HEAD").returncode == 0

    scene.application.serving = [Serving(commit="b" * 40)]
    end = run(scene, below, "--expect-commit", "HEAD", "--format", "short")
    assert end.returncode == 1
    assert f"serves commit {'b' * 12}, not {commit[:12]}" in end.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--expect-commit", "HEAD"], "no git repository"),
        (["--expect-commit", "main"], "is no commit"),
        (["--expect-commit", "abc"], "at least 7 digits"),
        (["--expect-deployment", "a b"], "no deployment's name"),
        (["--select", "job"], "no check and no family 'job' here"),
    ],
)
def test_what_cannot_be_meant(scene: World, tmp_path: Path, words: list[str], said: str) -> None:
    """
    It is refused before anything is asked.
    """
    end = run(scene, tmp_path, *words, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))

    assert end.returncode == 2
    assert said in end.stderr
    assert end.stdout == ""
    assert scene.application.requests == []


@pytest.mark.parametrize("address", ["", "salon", "https://me:pw@salon.example"])
def test_no_address(scene: World, tmp_path: Path, address: str) -> None:
    """
    Where nobody said what to ask, nothing is called healthy; a login in the address is not shown.
    """
    end = run(scene, tmp_path, BOOKING_APP_URL=address)

    assert end.returncode == 2
    assert "BOOKING_APP_URL" in end.stderr
    assert "pw" not in end.stderr


def test_json(scene: World, tmp_path: Path) -> None:
    """
    The document has who answered, and no secret.
    """
    scene.open().serving = [Serving(fixes=False)]

    end = run(scene, tmp_path, "--format", "json", BOOKING_API_KEY=KEY)
    document = json.loads(end.stdout)

    assert (end.returncode, document["exit_code"], document["window"]) == (1, 1, None)
    assert document["findings"][0]["name"] == "deployment-stale"
    assert document["coverage"]["answers"] == 5
    assert KEY not in end.stdout + end.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_formats(scene: World, tmp_path: Path, name: str) -> None:
    """
    Each can tell of old code.
    """
    scene.open().serving = [Serving(fixes=False)]

    end = run(scene, tmp_path, "--format", name)

    assert end.returncode == (2 if name == "nagios" else 1)
    assert "deployment" in end.stdout
    assert "Traceback" not in end.stderr


def test_width(scene: World, tmp_path: Path) -> None:
    """
    What is to be done by hand fits 80 columns.
    """
    scene.open()

    end = run(scene, tmp_path, "--expect-deployment", "dpl_" + "x" * 24)

    steps = end.stdout.partition("What to do next")[2].splitlines()
    assert any("vercel inspect 127.0.0.1" in step for step in steps)
    assert all(len(step) <= 80 for step in steps)
