"""
`check-env` in whole: what it says, how it ends, and that no value is in anything it ever writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from booking_doctor.checks.shapes import SHAPES
from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import World

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

CANARY: Final = "c4na7y"
DIRTY: Final = (
    *("{}", " {}", "{} ", "{}\r", "{}\n", "\ufeff{}", "{}\u200b", "{}\u00a0", '"{}"', "{}\\n", "<{}>", "your_{}"),
    *("xxx{}", "{}@{}", "{}:{}", "'{}", "\udcff{}"),
)


@pytest.fixture(name="here")
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    An empty directory to work in.
    """
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(name="look")
def _look(scene: World, here: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """
    Runs `check-env` with the scene's environment: exit code and document.
    """

    def look(*words: str, **variables: str | None) -> tuple[int, dict[str, Any]]:
        environment: dict[str, str | None] = {**scene.environment(), **variables}
        result = CliRunner().invoke(app, ["check-env", "--format", "json", *words], env=environment)
        return result.exit_code, json.loads(result.stdout)

    return look


def test_a_healthy_environment(look: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """
    Nothing found, no window, and where each variable comes from.
    """
    code, document = look()

    assert code == 0
    assert document["verdict"] == "healthy"
    assert document.get("window") is None
    assert "DATABASE_URL from the process environment" in document["coverage"]["variables"]
    assert document["coverage"]["live"] is False
    assert document["next_steps"] == []


def test_a_missing_variable_fails(look: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """
    An error makes 1, unless nothing is to fail.
    """
    code, document = look(TWILIO_AUTH_TOKEN=None)
    assert code == 1
    assert [finding["fingerprint"] for finding in document["findings"]] == ["env-missing:env/TWILIO_AUTH_TOKEN"]

    assert look("--fail-on", "never", TWILIO_AUTH_TOKEN=None)[0] == 0


def test_a_named_file_is_read_after_the_implied(
    look: Callable[..., tuple[int, dict[str, Any]]], here: Path, scene: World
) -> None:
    """
    Each source is named as the caller named it.
    """
    (here / ".env").write_text("TEST_EVENT_ID=1\n")
    (here / "extra.env").write_text("TEST_EVENT_ID=2 \n")

    result = CliRunner().invoke(
        app, ["--env-file", "extra.env", "check-env", "--format", "json"], env=scene.environment()
    )

    [finding] = json.loads(result.stdout)["findings"]
    assert finding["fingerprint"] == "env-whitespace:env/TEST_EVENT_ID"
    assert finding["evidence"]["source"] == "extra.env"
    assert finding["evidence"]["sources"] == [".env", "extra.env"]


def test_live(look: Callable[..., tuple[int, dict[str, Any]]], scene: World) -> None:
    """
    Who we are in the database is told; a healthy world is healthy.
    """
    code, document = look("--live")

    assert code == 0
    assert document["findings"] == []
    coverage = document["coverage"]
    assert coverage["live"] is True
    assert coverage["database_role"] == urlsplit(scene.url).username
    assert (coverage["database_replica"], coverage["database_read_only"]) == (False, False)
    assert coverage["database"].startswith(urlsplit(scene.url).path[1:])


@pytest.mark.parametrize(
    ("variables", "kinds"),
    [
        ({"DATABASE_URL": "postgresql://a@127.0.0.1:1/app"}, {"unreachable"}),
        ({"TWILIO_API_BASE_URL": "http://127.0.0.1:1"}, {"unreachable", None}),
        ({"TWILIO_ACCOUNT_SID": None}, {"unreachable", None}),
        ({"TWILIO_ACCOUNT_SID": None, "TWILIO_AUTH_TOKEN": None}, {"not-configured", None}),
    ],
)
def test_a_live_question_that_could_not_be_put(
    look: Callable[..., tuple[int, dict[str, Any]]], variables: dict[str, str | None], kinds: set[str]
) -> None:
    """
    It was asked for, so the report is incomplete and names it.
    """
    code, document = look("--live", **variables)

    assert code == 3
    assert document["verdict"] == "incomplete"
    assert {skipped["kind"] for skipped in document["skipped"]} <= kinds
    assert document["skipped"]
    assert "could be looked at" in document["exit_reason"]


def test_example_and_expected(look: Callable[..., tuple[int, dict[str, Any]]], here: Path) -> None:
    """
    Names against an example are no finding; a platform's other value is one, with steps to take by hand.
    """
    (here / ".env.example").write_text("DATABASE_URL=\nSMTP_URL=\n")
    (here / "production.env").write_text(f"TWILIO_PHONE_NUMBER={CANARY}\n")

    code, document = look("--example", ".env.example", "--expect", "production.env")

    assert code == 0
    assert document["coverage"]["example_only"] == ["SMTP_URL"]
    assert "TWILIO_PHONE_NUMBER" in document["coverage"]["not_in_example"]
    assert "TWILIO_PHONE_NUMBER different" in document["coverage"]["expected"]
    assert {finding["name"] for finding in document["findings"]} == {"env-conflict"}
    assert "Set what is needed of: SMTP_URL (only .env.example has them)." in document["next_steps"]
    assert any("open TWILIO_PHONE_NUMBER for Production" in step for step in document["next_steps"])
    assert CANARY not in json.dumps(document)


@pytest.mark.parametrize("option", ["--example", "--expect"])
def test_a_file_that_is_not_there(option: str, here: Path) -> None:
    """
    The option that named it is named.
    """
    result = CliRunner().invoke(app, ["check-env", option, "nowhere.env"])

    assert result.exit_code == 2
    assert "nowhere.env is not there" in result.stderr
    assert option in result.stderr


# canaries


def canaries(form: str) -> dict[str, str]:
    """
    A value for every variable, each with the canary in it as often as can be.
    """
    whole = {
        **{name: f"{CANARY}-{number}" for number, name in enumerate(SHAPES)},
        "DATABASE_URL": f"postgresql://app:{CANARY}@127.0.0.1:1/app",
        "SUPABASE_DB_URL": f"postgresql://app:{CANARY}@127.0.0.1:{CANARY}/app",
        "POSTGRES_URL": f"postgresql://app:{CANARY}@{CANARY}#@127.0.0.1:1/app",
        "SUPABASE_URL": f"https://{CANARY}:{CANARY}@[{CANARY}/",
        "BOOKING_APP_URL": f"https://app:{CANARY}@salon.example:99999/",
        "SUPABASE_SERVICE_ROLE_KEY": f"eyJ{CANARY}.eyJ{CANARY}.{CANARY}",
    }
    return {name: form.replace("{}", value) for name, value in whole.items()}


def written(*words: str, **variables: str) -> str:
    """
    Everything that a call writes, an escaped exception included.
    """
    result = CliRunner().invoke(app, list(words), env=variables)
    return f"{result.stdout}{result.stderr}{result.exception!r}"


def without_findings_to_spare(form: str, here: Path) -> Iterator[dict[str, str]]:
    """
    The canaries once in the process and once in files.
    """
    yield canaries(form)
    text = "".join(f"{name}={value}\n" for name, value in canaries(form).items())
    for name in (".env", "named.env", "example.env", "expected.env"):
        (here / name).write_bytes(text.encode(errors="surrogateescape").replace(b"\xff", b"?"))
    yield {}


@pytest.mark.parametrize("format", ["terminal", "json"])
@pytest.mark.parametrize("form", DIRTY)
def test_no_value_is_ever_written(form: str, format: str, here: Path) -> None:
    """
    Whatever the dirt, wherever it is, however much is to be said.
    """
    for variables in without_findings_to_spare(form, here):
        files = [] if variables else ["--env-file", "named.env"]
        more = [] if variables else ["--example", "example.env", "--expect", "expected.env"]
        for verbosity in ("-v", "-vv"):
            said = written(verbosity, *files, "check-env", "--format", format, *more, **variables)
            assert "env/" in said
            assert CANARY not in said


@pytest.mark.parametrize("format", ["terminal", "json"])
@pytest.mark.parametrize(
    "errors",
    [
        {"DATABASE_URL": f"postgresql://app:{CANARY}@127.0.0.1:1/app", "TWILIO_API_BASE_URL": "http://127.0.0.1:1"},
        {"DATABASE_URL": f"postgresql://app:{CANARY}@127.0.0.1:x/app"},
        {"DATABASE_URL": f"postgresql://app:p@{CANARY}@127.0.0.1/app"},
        {"DATABASE_URL": f"{CANARY}://app"},
        {"DATABASE_URL": f"postgresql://app@127.0.0.1:1/app?password={CANARY}&sslpassword={CANARY}"},
        {"TWILIO_AUTH_TOKEN": f"{CANARY}é"},
        {"TWILIO_ACCOUNT_SID": CANARY},
        {"TWILIO_API_BASE_URL": f"http://{CANARY}:{CANARY}@127.0.0.1:1"},
    ],
)
def test_no_value_is_in_an_error(errors: dict[str, str], format: str, scene: World, here: Path) -> None:
    """
    Live questions that fail say why, and hold their tongue about the value.
    """
    variables = {**scene.environment(), "TWILIO_AUTH_TOKEN": f"{CANARY}00", "TWILIO_API_SECRET": CANARY, **errors}

    for verbosity in ("-v", "-vv"):
        said = written(verbosity, "check-env", "--live", "--format", format, **variables)
        assert "env-" in said
        assert CANARY not in said
        assert not urlsplit(scene.url).password or str(urlsplit(scene.url).password) not in said


def test_no_value_is_in_the_output_of_the_process(here: Path) -> None:
    """
    Nor in what a whole process writes, where nothing of the tests stands between.
    """
    environment = {**{name: value for name, value in os.environ.items() if name != "COLUMNS"}, **canaries("{} ")}

    done = subprocess.run(
        [sys.executable, "-m", "booking_doctor", "-vv", "check-env", "--live"],
        env=environment,
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 3
    assert "env-whitespace" in done.stdout
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr
