"""
The README, the environment's example and CI say what is true.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from booking_doctor import settings
from booking_doctor.causes import CATALOGUE as CAUSES
from booking_doctor.causes.cause import Layer
from booking_doctor.checks import CATALOGUE
from booking_doctor.checks.shapes import SHAPES
from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.discrepancies import Kind
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Severity, Window
from booking_doctor.preferences import preferences
from booking_doctor.report import FORMATS
from booking_doctor.sandbox.incidents import World, december_incident

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
_FENCE, _LINES = r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL
FENCED = re.findall(_FENCE, README, _LINES)

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")


def _table(after: str) -> dict[str, str]:
    """
    The first table after that heading or comment, its first column without backticks.
    """
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", README.partition(after)[2].partition("\n\n##")[0], re.MULTILINE)
    return {name.strip("`"): words for name, words in rows[1:]}


def test_two_commands() -> None:
    """
    The first two fenced blocks are one line each: the demo, then the tests; each makes its own environment.
    """
    (demo_language, demo), (test_language, test) = FENCED[:2]

    assert (demo_language, test_language) == ("sh", "sh")
    assert demo.count("\n") == test.count("\n") == 1
    assert "booking-doctor demo" in demo
    assert "pytest" in test
    environments = [re.findall(r"venv (\S+)", command) for command in (demo, test)]
    assert all(environments)
    assert environments[0] != environments[1]


def test_links() -> None:
    """
    What the README links to within itself and beside it is there.
    """
    titles = re.findall(r"^#+ (.*)$", re.sub(_FENCE, "", README, flags=_LINES), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9-]", "", title.lower().replace(" ", "-")) for title in titles}
    linked = re.findall(r"\]\((?!https?:)([^)]+)\)", README)

    assert {link.removeprefix("#") for link in linked if link.startswith("#")} <= anchors
    assert all((ROOT / link).exists() for link in linked if not link.startswith("#"))


def test_ci_runs_the_readme() -> None:
    """
    `.ci/run` takes the test command from the README, word for word.
    """
    [extraction] = re.findall(r"^test_command=\$\((.*)\)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)

    found = subprocess.run(["bash", "-c", extraction], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout == FENCED[1][1]


def test_commands() -> None:
    """
    The table of commands is what --help says first, and that says of every command what it changes.
    """
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = {
        name: " ".join((command.help or "").partition("\n\n")[0].split()) for name, command in group.commands.items()
    }

    assert commands == _table("<!-- commands")
    assert all("Changes" in words or "Writes" in words for words in commands.values())


def test_every_command_has_an_example() -> None:
    """
    One that its options allow: with ``--help`` at its end nothing is done, yet what it does not know is refused.
    """
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    block = next(block for _, block in FENCED if "booking-doctor selftest\n" in block)
    examples = [shlex.split(line)[2:] for line in block.splitlines()]

    assert {words[0] for words in examples} == set(group.commands)
    for words in examples:
        told = CliRunner().invoke(app, [*words, "--help"])
        assert told.exit_code == 0, told.output


def test_formats() -> None:
    """
    Every format is in the table, and nothing else is.
    """
    assert list(_table("<!-- formats")) == list(FORMATS)


def test_the_session(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A night on call goes as it is told: the commands one after the other, and line by line what they say.
    """
    monkeypatch.chdir(tmp_path)
    december_incident(scene)
    session = "".join(
        block for language, block in re.findall(_FENCE, _section("A night on call"), _LINES) if language == "console"
    )
    run = "20251208-210512-e0dc"
    for command, shown in re.findall(r"^\$ booking-doctor (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE):
        words = shlex.split(command.replace("20251208-210512-e0dc", run))
        said = CliRunner().invoke(app, words, env={**scene.environment(), "COLUMNS": "100"}).stdout
        run = next(iter(re.findall(r"\d{8}-\d{6}-\w{4}", said)), run)
        lines = [r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in _alike(shown).splitlines()]
        assert re.fullmatch("".join(lines), _alike(said)), f"{command} says:\n{said}"


def _section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _alike(text: str) -> str:
    """
    The text without what differs from night to night.
    """
    text = re.sub(r"\d{8}-\d{6}-\w{4}", "RUN", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "TIME", text)
    # NOTE: a time on the full minute is shorter, and the column with it.
    text = re.sub(r" {3,}", "  ", text)
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def test_exit_codes() -> None:
    """
    Every exit code is in the table, and nothing else is.
    """
    assert [str(code.value) for code in ExitCode] == list(_table("## Exit codes"))


def test_counts(doctor: Doctor, scene: World) -> None:
    """
    Every count of a reconcile is explained, in the words of the table.
    """
    december_incident(scene)
    since = scene.now.replace(year=scene.now.year - 1)
    report = doctor.reconcile(Request(window=Window(since, scene.now)))

    assert {"twilio_messages", *_table("### Counts")} == set(report.summary)
    assert {kind.value for kind in Kind} <= set(report.summary)


def test_findings() -> None:
    """
    Every finding of the catalogue is in the table, under its family and its severity, and nothing else is.
    """
    lines = README.partition("<!-- findings")[2].partition("\n\n")[0].splitlines()[3:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    told = {
        (name, family, severity)
        for family, *columns in cells
        for severity, column in zip(Severity, columns, strict=True)
        for name in re.findall("`([a-z-]+)`", column)
    }

    assert told == {(check.name, check.family, check.severity) for check in CATALOGUE.values()}


def test_causes() -> None:
    """
    Every cause of the catalogue is in the table, under its layer and in the catalogue's order, and nothing else is.
    """
    told = {layer: re.findall("`([a-z0-9-]+)`", cell) for layer, cell in _table("<!-- causes").items()}

    assert told == {layer.value: [c.id for c in CAUSES.values() if c.layer is layer] for layer in Layer}


def test_environment() -> None:
    """
    Every variable that is read is in .env.example with a comment, and no other is.
    """
    example = (ROOT / ".env.example").read_text()
    read = set(
        re.findall(r'"((?:DATABASE|SUPABASE|POSTGRES|TWILIO)_[A-Z_]+)"', Path(settings.__file__ or "").read_text())
    )

    assert read <= set(SHAPES)
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == set(SHAPES)


def test_settings_file() -> None:
    """
    The examples of booking-doctor.toml are what the doctor accepts.
    """
    documents = [content for language, content in FENCED if language == "toml"]

    ignoring, calling, naming = [preferences(tomllib.loads(document), "README.md") for document in documents]

    assert [entry.fingerprint for entry in ignoring.ignored] == ["schema-sid-not-unique:schema/messages.message_sid"]
    assert [contact.who for contact in calling.escalation] == ["engineer on call"]
    assert naming.names.column("messages", "message_sid") == "sid"


def test_schema_of_the_incident(scene: World) -> None:
    """
    The project's own schema has the tables and columns of the incident's, and no other.
    """
    columns = scene.rows("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'")

    assert {(table, column) for table, names in settings.COLUMNS.items() for column in names} == {
        (row["table_name"], row["column_name"]) for row in columns
    }


def test_the_library_is_used_as_the_readme_shows(
    scene: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The example runs as it stands: in an empty directory, with nothing but the environment.
    """
    (example,) = [code for language, code in FENCED if language == "python" and "booking_service" in code]
    monkeypatch.chdir(tmp_path)
    for name, value in {**scene.environment(), "BOOKING_APP_URL": "https://book.example"}.items():
        monkeypatch.setenv(name, value)
    names = {"event_id": scene.event(), "request_id": "r-1"}

    exec(example, names)

    names["bookings"].close()  # type: ignore[attr-defined]
    ((sid, _),) = [(message.sid, message.to) for message in scene.account.messages()]
    told = capsys.readouterr().out
    assert told.startswith("sent (StepTaken(")
    assert sid in told
    assert scene.rows("SELECT message_sid FROM messages") == [{"message_sid": sid}]
