"""
From command to answer, by the processor's time, which a busy machine changes least; against what the drivers alone take
to load, because machines differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from booking_doctor.sandbox.incidents import World, december_incident

DRIVERS = ("-c", "import psycopg, sqlalchemy.dialects.postgresql")


def seconds(directory: Path, variables: dict[str, str], *words: str) -> float:
    """
    What a command of Python's takes of the processor, the better of two.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")} | variables
    taken = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=directory,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode in {0, 1}
        taken.append(usage.ru_utime + usage.ru_stime)
    return min(taken)


@pytest.mark.parametrize(("command", "times"), [("check-schema", 6), ("diagnose", 8)])
def test_speed(scene: World, tmp_path: Path, command: str, times: float) -> None:
    """
    The demo's incident is examined in a few times what loading the drivers takes: on a quiet machine well below the three
    seconds that a person waits, and a small database below one.
    """
    december_incident(scene)
    bare = seconds(tmp_path, {}, *DRIVERS)

    taken = seconds(tmp_path, scene.environment(), "-m", "booking_doctor", command)

    assert taken < times * bare
