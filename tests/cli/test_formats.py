"""
What the command line does around a format: the exit code, the job's summary, the file that is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.report import FORMATS
from booking_doctor.sandbox.incidents import World

Call = Callable[..., Result]
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs the program in an empty directory.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

    def call(*words: str, **variables: str) -> Result:
        result = CliRunner().invoke(app, words, env={**scene.environment(), **variables})
        assert "Traceback" not in result.stderr
        return result

    return call


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "nagios"])
def test_the_exit_code_is_the_same_in_every_format(call: Call, format: str) -> None:
    """
    Healthy is 0, a warning that fails is 1, and a database that cannot be reached is 3, with a document all the same.
    """
    assert call("check-schema", "--format", format).exit_code == 0
    assert call("check-schema", "--format", format, "--fail-on", "warning").exit_code == 1
    unreachable = call("check-schema", "--format", format, DATABASE_URL=NOWHERE)
    assert unreachable.exit_code == 3
    assert unreachable.stdout


@pytest.mark.parametrize(
    ("words", "variables", "state"),
    [
        (("check-schema",), {}, "WARNING"),
        (("check-schema", "--ignore", "schema-sid-not-unique"), {}, "OK"),
        (("check-schema",), {"DATABASE_URL": NOWHERE}, "UNKNOWN"),
        (("check-schema",), {"DATABASE_URL": ""}, "UNKNOWN"),
        (("reconcile", "--since", "yesterday"), {}, "UNKNOWN"),
        (("check-schema", "--no-such-option"), {}, "UNKNOWN"),
    ],
)
def test_nagios_has_a_line_and_a_code_for_everything(
    call: Call, words: tuple[str, ...], variables: dict[str, str], state: str
) -> None:
    """
    Whatever happens, a plugin says one line on stdout and exits with 0 to 3: 2 would be a page at night.
    """
    for asked in (("--format", "nagios"), ("--format=nagios",)):
        result = call(*words, *asked, **variables)
        assert result.stdout.startswith(f"BOOKING-DOCTOR {state} - ")
        assert result.stdout.count("\n") == 1
        assert result.exit_code == ["OK", "WARNING", "CRITICAL", "UNKNOWN"].index(state)


def test_a_junit_file_names_every_check_that_was_made(call: Call) -> None:
    """
    Those that passed are there too.
    """
    suites = ET.fromstring(call("check-schema", "--format", "junit").stdout)
    cases = {case.attrib["name"]: [child.tag for child in case] for case in suites.iter("testcase")}

    assert cases["schema-table-missing"] == []
    assert cases["schema-sid-not-unique"] == ["system-out"]
    assert cases["check-schema"] == []


def test_github_gets_a_summary_where_it_names_a_file(call: Call, tmp_path: Path) -> None:
    """
    The report is added to what other steps wrote; a file that cannot be written is a remark and no failure.
    """
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    assert call("check-schema", "--format", "github", GITHUB_STEP_SUMMARY=str(summary)).exit_code == 0
    assert summary.read_text().startswith("before\n# booking-doctor check-schema: ")

    call("check-schema", "--format", "json", GITHUB_STEP_SUMMARY=str(summary))
    assert summary.read_text().count("# booking-doctor") == 1

    unwritable = call("check-schema", "--format", "github", GITHUB_STEP_SUMMARY=str(tmp_path / "none" / "summary.md"))
    assert unwritable.exit_code == 0
    assert "summary could not be written" in unwritable.stderr


def test_the_textfile_remembers_the_last_success(call: Call, tmp_path: Path) -> None:
    """
    A run that could not look replaces the file and keeps when one last could.
    """
    file = tmp_path / "booking_doctor.prom"
    call("check-schema", "--format", "prometheus", "--output", str(file))
    kept = [line for line in file.read_text().splitlines() if line.startswith("booking_doctor_last_success")]

    failed = call("check-schema", "--format", "prometheus", "--output", str(file), DATABASE_URL=NOWHERE)

    assert failed.exit_code == 3
    assert 'booking_doctor_complete{command="check-schema"} 0' in file.read_text()
    assert [line for line in file.read_text().splitlines() if line.startswith("booking_doctor_last_success")] == kept
    assert len(kept) == 1
