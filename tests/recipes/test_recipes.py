"""
Every recipe of the README was run here, or read by the validator of the program that it is for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pytest
from cronsim import CronSim
from ruamel.yaml import YAML

from booking_doctor.sandbox.incidents import World, december_incident

ROOT = Path(__file__).parents[2]
RECIPES = (ROOT / "README.md").read_text("utf-8").partition("\n## Let it run by itself\n")[2].partition("\n## ")[0]
INSTALLED = "/opt/booking-doctor/bin/booking-doctor"
PROGRAM = str(Path(sys.executable).with_name("booking-doctor"))

Shell = Callable[..., subprocess.CompletedProcess[str]]


def recipe(language: str, of: str = "") -> str:
    """
    The one fenced block in that language that has those words.
    """
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", RECIPES, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if of in block]
    return str(block)


def tool(name: str) -> str:
    """
    A program that came with the test environment.
    """
    return str(Path(sys.executable).with_name(name))


def read_yaml(text: str) -> Any:
    """
    What a YAML document says.
    """
    return YAML(typ="safe").load(StringIO(text))


@pytest.fixture(name="shell")
def _shell(scene: World, tmp_path: Path) -> Shell:
    """
    Runs a recipe's command as it stands, but for where things lie, with the scene's settings.
    """
    places = {INSTALLED: PROGRAM, "/etc/booking-doctor": str(tmp_path), "/var/lib/booking-doctor": str(tmp_path)}

    def run(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        for place, here in places.items():
            command = command.replace(place, here)
        path = f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": str(tmp_path), **scene.environment(), **variables}
        return subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_crontab(scene: World, shell: Shell) -> None:
    """
    Nothing is mailed while all is well, and what is wrong is.
    """
    lines = [re.split(r"\s+", line, maxsplit=5) for line in recipe("crontab").splitlines()]
    for *fields, command in lines:
        assert next(CronSim(" ".join(fields), scene.now)) > scene.now
        assert "%" not in command
        well = shell(command)
        assert (well.returncode, well.stdout, well.stderr) == (0, "", "")

    december_incident(scene)
    for *_, command in lines:
        assert "error" in shell(command).stdout


def test_systemd_service(tmp_path: Path, shell: Shell) -> None:
    """
    Its command writes the metrics.
    """
    (command,) = re.findall("^ExecStart=(.*)$", recipe("ini", "[Service]"), re.MULTILINE)

    assert shell(command).returncode == 0
    assert "booking_doctor_unrecorded" in (tmp_path / "booking_doctor.prom").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_units(tmp_path: Path) -> None:
    """
    The units are taken by systemd, which finds little that the service could do wrong.
    """
    units = {tmp_path / f"booking-doctor.{kind}": recipe("ini", f"[{kind.title()}]") for kind in ("timer", "service")}
    for unit, text in units.items():
        unit.write_text(text.replace(INSTALLED, PROGRAM))

    analyze(tmp_path, "verify", "--man=no", *map(str, units))
    scored = analyze(tmp_path, "security", "--offline=yes", "--threshold=13", str(tmp_path / "booking-doctor.service"))
    assert "exposure level for booking-doctor.service: 1.3" in scored


def analyze(units: Path, *words: str) -> str:
    """
    What systemd-analyze says, which must have nothing to complain about.
    """
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:/lib/systemd/system"}
    done = subprocess.run(["systemd-analyze", *words], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_dockerfile_is_linted() -> None:
    """
    Hadolint has nothing to say.
    """
    linted = subprocess.run(
        [tool("hadolint"), "--no-color", "-"], input=recipe("dockerfile"), capture_output=True, text=True, check=False
    )

    assert (linted.returncode, linted.stdout) == (0, "")


def test_dockerfile_builds_the_program(tmp_path: Path) -> None:
    """
    What it copies is enough to install from, and what it starts knows its help and carries its schema.
    """
    text = recipe("dockerfile")
    build, final = text.split("\n\n")
    places = {"/src": f"{tmp_path}/src", "/opt/booking-doctor": f"{tmp_path}/opt"}
    for *sources, target in (words.split() for words in re.findall("^COPY (?!--)(.*)$", build, re.MULTILINE)):
        copy(sources, tmp_path, target)
    (run,) = re.findall("^RUN (.*)$", build, re.MULTILINE)
    for place, here in places.items():
        run = run.replace(place, here)
    # NOTE: what builds it and what it depends on is what these tests run on: nothing is fetched.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": get_path("purelib")}
    offline = f"{run} --no-deps --no-index --no-build-isolation"
    subprocess.run(["sh", "-c", offline], env=environment, check=True, capture_output=True)

    (entry,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', final, re.MULTILINE)
    (command,) = re.findall(r'^CMD \["(.*)"\]$', final, re.MULTILINE)
    entry = entry.replace("/opt/booking-doctor", f"{tmp_path}/opt")
    for words, said in (([command], "Usage: booking-doctor"), (["explain", "--json-schema"], '"$schema"')):
        ran = subprocess.run([entry, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert said in ran.stdout
    assert re.search(r"^USER 65532:65532$", final, re.MULTILINE)


def copy(sources: list[str], root: Path, target: str) -> None:
    """
    As COPY does, from the checkout to a place below *root*.
    """
    place = root / target.strip("/")
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)


@pytest.mark.parametrize("version", [("--version", "1.30"), ()], ids=["1.30", "newest"])
def test_kubernetes(tmp_path: Path, version: tuple[str, ...]) -> None:
    """
    The API takes it, strictly; it is nobody, and writes nowhere.
    """
    manifest = tmp_path / "cronjob.yaml"
    manifest.write_text(recipe("yaml", "kind: CronJob"))
    done = subprocess.run(
        [tool("kubernetes-validate"), "--strict", *version, str(manifest)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

    job = read_yaml(manifest.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = job["containers"]
    assert job["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_pod_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    """
    Its command works in a directory that stays as it was.
    """
    job = read_yaml(recipe("yaml", "kind: CronJob"))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    ran = shell(" ".join([INSTALLED, *job["containers"][0]["args"]]))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_github(scene: World, shell: Shell, tmp_path: Path) -> None:
    """
    GitHub takes the workflow; its command annotates what is wrong and adds the report to the job's summary.
    """
    workflow = recipe("yaml", "runs-on")
    file = tmp_path / "bookings.yml"
    file.write_text(workflow)
    schema = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows"]
    checked = subprocess.run([*schema, str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    (command,) = [
        step["run"] for step in read_yaml(workflow)["jobs"]["smoke"]["steps"] if "booking-doctor" in step.get("run", "")
    ]

    december_incident(scene)
    ran = shell(command, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"), GITHUB_ACTIONS="true")

    assert ran.returncode == 1
    assert "::error title=booking-metadata-empty" in ran.stdout
    assert "booking-metadata-empty" in (tmp_path / "summary.md").read_text()


def test_nagios(scene: World, shell: Shell) -> None:
    """
    The command is a plugin: a line with performance data, 0 and then 2.
    """
    (command,) = re.findall(r"command_line\s+(.*)$", recipe("nagios"), re.MULTILINE)
    well = shell(command)
    december_incident(scene)
    ill = shell(command.replace("24h", "30d"))

    assert (well.returncode, ill.returncode) == (0, 2)
    assert all(ran.stdout.count("\n") == 1 and " | " in ran.stdout for ran in (well, ill))


def test_prometheus(shell: Shell, tmp_path: Path) -> None:
    """
    The rules ask for series that a watch writes.
    """
    rules = read_yaml(recipe("yaml", "alert:"))["groups"][0]["rules"]
    asked = {series for rule in rules for series in re.findall(r'booking_doctor_\w+\{command="watch"\}', rule["expr"])}
    shell(f"{INSTALLED} watch --once --metrics {tmp_path}/booking_doctor.prom")
    written = (tmp_path / "booking_doctor.prom").read_text()

    assert len(asked) == len(rules)
    assert all(f"\n{series} " in written for series in asked)
