"""
`check-env` in whole: what it says, how it ends, and that no value is in anything it ever writes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from booking_doctor.bootstrap import doctors, sources
from booking_doctor.checks.shapes import SHAPES
from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.report import FORMATS
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.vercel import VercelProject

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
    (here / "extra.env").write_text("TEST_EVENT_ID=1 \n")

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


@pytest.mark.parametrize("unusable", [None, "+15005550006", "5550100200"])
def test_a_sender_that_is_asked_for_alone(
    look: Callable[..., tuple[int, dict[str, Any]]], unusable: str | None
) -> None:
    """
    What is no sender does not pass for a good one because nobody else was asked to judge it.
    """
    code, document = look("--live", "--select", "env-sender-unusable", TWILIO_PHONE_NUMBER=unusable)

    assert code == 3
    assert [skipped["check"] for skipped in document["skipped"]] == ["env-sender-unusable"]
    assert document["coverage"]["live"] is False


def test_a_senders_name_is_no_reason_to_be_incomplete(look: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """
    Nobody can ever look it up, so it is said and that is all.
    """
    code, document = look("--live", TWILIO_PHONE_NUMBER="Salon 7")

    assert code == 0
    assert [(skipped["check"], skipped["kind"]) for skipped in document["skipped"]] == [
        ("env-sender-unusable", "not-applicable")
    ]


def test_live_with_nothing_to_ask(here: Path, scene: World) -> None:
    """
    Asking nobody is not what ``--live`` means.
    """
    result = CliRunner().invoke(app, ["check-env", "--live", "--select", "env-missing"], env=scene.environment())

    assert result.exit_code == 2
    assert "--live has nothing to ask" in result.stderr
    assert result.stdout == ""


def test_live_and_no_answer(look: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """
    Nothing was looked at live, and the report does not say so.
    """
    nobody = {"DATABASE_URL": "postgresql://a@127.0.0.1:1/app", "TWILIO_API_BASE_URL": "http://127.0.0.1:1"}
    code, document = look("--live", **nobody)

    assert code == 3
    assert document["coverage"]["live"] is False
    assert "database" not in document["coverage"]


@pytest.mark.parametrize(
    "words",
    [
        ["--select", "env-sender-unusable"],
        ["--ignore", "env-database-read-only", "--ignore", "env-rejected"],
    ],
)
def test_a_database_that_nobody_asks_about(look: Callable[..., tuple[int, dict[str, Any]]], words: list[str]) -> None:
    """
    It is not connected to, and nothing is told of it.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        url = f"postgresql://app@127.0.0.1:{silent.getsockname()[1]}/app?connect_timeout=2"
        code, document = look("--live", *words, DATABASE_URL=url)

        with pytest.raises(BlockingIOError):
            silent.accept()
    assert code == 0
    assert document["coverage"]["live"] is True
    assert not [key for key in document["coverage"] if key.startswith("database")]


def test_a_refused_database_login(look: Callable[..., tuple[int, dict[str, Any]]], scene: World) -> None:
    """
    It was looked at, and the answer is no: a finding, not a gap.
    """
    code, document = look("--live", DATABASE_URL=f"{scene.url}?user=nobody_of_that_name")

    assert code == 1
    assert document["verdict"] == "findings"
    assert [finding["fingerprint"] for finding in document["findings"]] == ["env-rejected:env/DATABASE_URL"]
    assert "nobody_of_that_name" in document["findings"][0]["summary"]


# what one check ignores, another one judges


@pytest.mark.parametrize(
    ("ignored", "value", "code", "told"),
    [
        ("env-whitespace", f"SK{'1' * 32} ", 1, ["env-malformed:env/TWILIO_ACCOUNT_SID"]),
        ("env-whitespace", "your_account_sid ", 1, ["env-placeholder:env/TWILIO_ACCOUNT_SID"]),
        ("env-whitespace", f"AC{'1' * 32} ", 0, []),
        ("env-placeholder", "your_account_sid", 3, []),
    ],
)
def test_a_fault_that_is_ignored_hides_no_other(
    look: Callable[..., tuple[int, dict[str, Any]]], ignored: str, value: str, code: int, told: list[str]
) -> None:
    """
    The next check judges the value, or says that it cannot.
    """
    ended, document = look("--ignore", ignored, TWILIO_ACCOUNT_SID=value)

    assert ended == code
    assert [finding["fingerprint"] for finding in document["findings"]] == told


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


@pytest.fixture(name="hosted")
def _hosted(scene: World, here: Path) -> VercelProject:
    """
    The application is on Vercel, and its variables were pulled into a file.
    """
    own = {name: value for name, value in scene.environment().items() if name != "TWILIO_API_BASE_URL"}
    (here / "production.env").write_text("".join(f"{name}='{value}'\n" for name, value in own.items()))
    project = scene.host()
    for name in own:
        project.set(name, at=scene.now - timedelta(hours=2), kind="plain", value=f"{CANARY}-{name}")
    project.build("a" * 40, at=scene.now - timedelta(hours=1))
    return project


EXPECT: Final = ("--expect", "production.env")


def test_a_platform_that_agrees(look: Callable[..., tuple[int, dict[str, Any]]], hosted: VercelProject) -> None:
    """
    What the platform itself has said need not be looked up by hand.
    """
    hosted.set("TWILIO_AUTH_TOKEN", "preview", branch="feature-1", at=hosted.now() - timedelta(hours=2))

    code, document = look(*EXPECT)

    assert (code, document["findings"], document["skipped"], document["next_steps"]) == (0, [], [], [])
    told = document["coverage"]["hosted"]
    assert "DATABASE_URL for production, preview, development" in told
    assert "TWILIO_AUTH_TOKEN for production, preview, preview of branch feature-1, development" in told
    assert not [name for name in told if name.startswith("VERCEL")]


def test_a_platform_that_lacks_and_lags(look: Callable[..., tuple[int, dict[str, Any]]], hosted: VercelProject) -> None:
    """
    An error for each, with where it is and since when.
    """
    hosted.variables[-1].targets = ["preview"]
    hosted.set("DATABASE_URL", at=hosted.now())

    code, document = look(*EXPECT)

    assert code == 1
    assert [finding["fingerprint"] for finding in document["findings"]] == [
        f"env-not-in-production:env/{hosted.variables[-1].name}",
        "env-newer-than-build:env/DATABASE_URL",
    ]


def test_no_token_for_the_platform(look: Callable[..., tuple[int, dict[str, Any]]], hosted: VercelProject) -> None:
    """
    Then there are the steps by hand, variable by variable, and nothing is incomplete.
    """
    code, document = look(*EXPECT, VERCEL_TOKEN=None)

    assert code == 0
    assert {(skipped["check"], skipped["kind"]) for skipped in document["skipped"]} == {
        ("env-not-in-production", "not-configured"),
        ("env-newer-than-build", "not-configured"),
    }
    steps = " ".join(document["next_steps"])
    assert all(f"see that {name} was last updated" in steps for name in ("DATABASE_URL", "TWILIO_AUTH_TOKEN"))
    assert "VERCEL" not in steps
    assert "hosted" not in document["coverage"]


@pytest.mark.parametrize(
    "variables",
    [
        {"VERCEL_TOKEN": f"{CANARY}-token"},
        {"VERCEL_API_BASE_URL": "http://127.0.0.1:1"},
        {"VERCEL_PROJECT_ID": "prj_other"},
        {"VERCEL_TEAM_ID": "team_other"},
        {"VERCEL_PROJECT_ID": None},
    ],
)
def test_a_platform_that_does_not_answer(
    look: Callable[..., tuple[int, dict[str, Any]]], hosted: VercelProject, variables: dict[str, str | None]
) -> None:
    """
    A token was given, so what could not be asked makes the report incomplete; the steps by hand are still there.
    """
    code, document = look(*EXPECT, **variables)

    assert code == 3
    assert {skipped["check"] for skipped in document["skipped"]} == {"env-not-in-production", "env-newer-than-build"}
    assert {skipped["kind"] for skipped in document["skipped"]} <= {"not-permitted", "unreachable"}
    assert any("see that DATABASE_URL" in step for step in document["next_steps"])
    assert CANARY not in json.dumps(document)


def test_a_platform_that_nobody_asks(look: Callable[..., tuple[int, dict[str, Any]]], scene: World) -> None:
    """
    Without ``--expect`` nobody is asked.
    """
    scene.host()

    code, document = look()

    assert (code, document["skipped"], scene.vercel.requests) == (0, [], [])


@pytest.mark.parametrize("format", ["terminal", "json"])
@pytest.mark.parametrize("token", [None, f"{CANARY}-token"])
def test_no_value_of_the_platform_is_ever_written(
    hosted: VercelProject, scene: World, format: str, token: str | None
) -> None:
    """
    Neither the values that it sends unasked, nor the token.
    """
    hosted.set("DATABASE_URL", at=hosted.now(), kind="plain", value=CANARY)
    hosted.token = f"{CANARY}-good"
    variables = {**scene.environment(), "VERCEL_TOKEN": token or hosted.token}

    for verbosity in ("-v", "-vv"):
        said = written(verbosity, "check-env", *EXPECT, "--format", format, **variables)
        assert "env-newer-than-build" in said
        assert CANARY not in said
    assert scene.vercel.requests


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


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in {"terminal", "json"}])
def test_no_value_is_in_any_format(format: str, here: Path) -> None:
    """
    Whatever they are written for.
    """
    for variables in without_findings_to_spare("{}\u200b ", here):
        said = written("-vv", "check-env", "--live", "--format", format, **variables)
        assert "env-" in said or "UNKNOWN" in said
        assert CANARY not in said


def test_no_value_is_in_the_traceback_of_a_bug(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nor in the messages of errors that nobody thought of.
    """

    def broken(variables: Mapping[str, str], **_: object) -> None:
        raise ValueError(variables)

    for module, name in ((sources, "database_settings"), (sources, "twilio_settings"), (doctors, "preferences")):
        monkeypatch.setattr(module, name, broken)
    said = written("-vv", "check-env", "--live", **canaries("{}"))

    assert "Traceback (most recent call last):" in said.partition("SystemExit")[0]
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
