"""
What a tired person gets wrong, one by one: a clear line, the right exit code, no traceback, no secret, nothing written.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.twilio_faults import Fault

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")


@dataclass(frozen=True)
class Answer:
    """
    What a command said, and how it ended.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """
        The lines that say what went wrong.
        """
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """
    Runs a command in an empty directory with the scene's environment; a variable given as None is not set.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str | None) -> Answer:
        environment: Mapping[str, str | None] = {**scene.environment(), **variables}
        result = CliRunner().invoke(app, list(words), env=environment)
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        assert "Traceback" not in answer.stdout + answer.stderr
        for secret in (scene.account.auth_token, urlsplit(scene.url).password):
            assert not secret or secret not in answer.stdout + answer.stderr
        return answer

    return call


@pytest.fixture(name="incident")
def _incident(scene: World) -> World:
    """
    The scene after the December incident.
    """
    december_incident(scene)
    return scene


def _content(scene: World) -> list[str]:
    tables = ("customers", "pending_bookings", "bookings", "messages")
    return [
        row["line"]
        for table in tables
        for row in scene.rows(f"SELECT CAST(t AS text) AS line FROM {table} t ORDER BY 1")
    ]


@contextmanager
def _unchanged(scene: World) -> Iterator[None]:
    before = _content(scene)
    yield
    assert before == _content(scene)


def _url(scene: World, **parts: str) -> str:
    split = urlsplit(scene.url)
    user, password = parts.get("user", split.username), parts.get("password", split.password or "")
    host, path = parts.get("host", f"{split.hostname}:{split.port}"), parts.get("path", split.path)
    return urlunsplit(split._replace(netloc=f"{user}:{password}@{host}", path=path))


def _closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


# settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", None),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://root:hunter2@localhost/app"),
        ("DATABASE_URL", "postgresql://u:hunter2@with@sign@localhost/app"),
        ("TWILIO_ACCOUNT_SID", None),
        ("TWILIO_ACCOUNT_SID", "AChunter2"),
        ("TWILIO_AUTH_TOKEN", None),
        ("TWILIO_AUTH_TOKEN", "hunter2 \n"),
        ("TWILIO_PHONE_NUMBER", None),
        ("TWILIO_PHONE_NUMBER", "hunter2!"),
        ("TWILIO_MESSAGING_SERVICE_SID", "hunter2"),
        ("TWILIO_API_BASE_URL", "ftp://hunter2"),
    ],
)
@pytest.mark.parametrize("words", [["reconcile"], ["backfill", "--apply", "--yes"]])
def test_setting(call: Callable[..., Answer], words: list[str], variable: str, value: str | None) -> None:
    """
    A missing or malformed variable is named, its value is not, and the exit code is 2.
    """
    answer = call(*words, **{variable: value})

    assert answer.code == 2
    assert answer.stdout == ""
    [line] = answer.errors
    assert variable in line
    assert "hunter2" not in answer.stderr


def test_environment_file(call: Callable[..., Answer]) -> None:
    """
    An environment file that is not there is named.
    """
    answer = call("--env-file", "nowhere.env", "reconcile")

    assert (answer.code, len(answer.errors)) == (2, 1)
    assert "nowhere.env" in answer.errors[0]


def test_settings_file(call: Callable[..., Answer]) -> None:
    """
    A settings file with a key nobody knows is refused, naming the key.
    """
    Path("booking-doctor.toml").write_text("retention_day = 3\n")

    answer = call("reconcile")

    assert (answer.code, len(answer.errors)) == (2, 1)
    assert "retention_day" in answer.errors[0]


# the database


def _assert_incomplete(answer: Answer, *named: str) -> None:
    document = json.loads(answer.stdout)
    assert answer.code == 3
    assert (document["verdict"], document["exit_code"]) == ("incomplete", 3)
    assert document["skipped"]
    assert len(answer.errors) == 1
    for name in named:
        assert name in answer.errors[0]


def test_unreachable_database(scene: World, call: Callable[..., Answer]) -> None:
    """
    A database that is not there makes the answer incomplete and claims nothing.
    """
    port = _closed_port()

    answer = call("reconcile", "--format", "json", DATABASE_URL=_url(scene, host=f"127.0.0.1:{port}"))

    _assert_incomplete(answer, f"127.0.0.1:{port}")
    assert json.loads(answer.stdout)["summary"] == {}


def test_wrong_password(scene: World, call: Callable[..., Answer]) -> None:
    """
    A refused login names the role and the variable, not the password.
    """
    url = _url(scene, password="hunter2")
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        pass
    else:
        pytest.skip("this server lets everybody in")

    answer = call("reconcile", "--format", "json", DATABASE_URL=url)

    _assert_incomplete(answer, "DATABASE_URL")
    assert "hunter2" not in answer.stdout + answer.stderr


def test_unknown_database(scene: World, call: Callable[..., Answer]) -> None:
    """
    A database that does not exist is named.
    """
    _assert_incomplete(call("reconcile", "--format", "json", DATABASE_URL=_url(scene, path="/nowhere")), "nowhere")


def test_missing_table(scene: World, call: Callable[..., Answer]) -> None:
    """
    A missing table is named.
    """
    scene.execute("ALTER TABLE messages RENAME TO texts")

    _assert_incomplete(call("reconcile", "--format", "json"), "messages")


def test_missing_column(scene: World, call: Callable[..., Answer]) -> None:
    """
    A missing column is named with its table.
    """
    scene.execute("ALTER TABLE messages RENAME COLUMN message_sid TO sid")

    _assert_incomplete(call("reconcile", "--format", "json"), "messages", "message_sid")


def test_names_from_the_settings_file(incident: World, call: Callable[..., Answer]) -> None:
    """
    The same column is found once booking-doctor.toml says what it is called.
    """
    incident.execute("ALTER TABLE messages RENAME COLUMN message_sid TO sid")
    Path("booking-doctor.toml").write_text('[tables.messages]\ncolumns = { message_sid = "sid" }\n')

    answer = call("reconcile", "--format", "json")

    assert answer.code == 1
    assert json.loads(answer.stdout)["summary"]["matched"] == 120


@pytest.fixture(name="reader")
def _reader(scene: World) -> Iterator[str]:
    """
    The URL of a role that may log in and nothing else.
    """
    role = f"reader_{scene.url.rpartition('_')[2]}"
    scene.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2'")
    yield _url(scene, user=role, password="hunter2")
    scene.execute(f"DROP OWNED BY {role}")
    scene.execute(f"DROP ROLE {role}")


def test_no_permission(reader: str, call: Callable[..., Answer]) -> None:
    """
    A role that may not read makes the answer incomplete, and is named.
    """
    answer = call("reconcile", "--format", "json", DATABASE_URL=reader)

    _assert_incomplete(answer, urlsplit(reader).username or "")
    assert json.loads(answer.stdout)["skipped"][0]["kind"] == "not-permitted"


def test_no_permission_to_write(incident: World, reader: str, call: Callable[..., Answer]) -> None:
    """
    A role that may only read can plan, and is refused with 4 when it applies.
    """
    incident.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {urlsplit(reader).username}")

    assert call("backfill", DATABASE_URL=reader).code == 1
    with _unchanged(incident):
        answer = call("backfill", "--apply", "--yes", DATABASE_URL=reader)

    assert (answer.code, len(answer.errors)) == (4, 1)
    assert "may not" in answer.errors[0]


def test_read_only_server(incident: World, call: Callable[..., Answer]) -> None:
    """
    On a read-only server reading works and applying is refused with 4.
    """
    name = urlsplit(incident.url).path.removeprefix("/")
    incident.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    assert call("reconcile").code == 1
    with _unchanged(incident):
        answer = call("backfill", "--apply", "--yes")

    assert (answer.code, len(answer.errors)) == (4, 1)
    assert "read-only" in answer.errors[0]


def test_two_databases(incident: World, call: Callable[..., Answer]) -> None:
    """
    Variables that name different databases refuse a write with 4, and reading goes on.
    """
    other = _url(incident, path="/postgres")

    assert call("reconcile", POSTGRES_URL=other).code == 1
    with _unchanged(incident):
        answer = call("backfill", "--apply", "--yes", POSTGRES_URL=other)

    assert (answer.code, len(answer.errors)) == (4, 1)
    assert "POSTGRES_URL" in answer.errors[0]


# Twilio


def test_unreachable_twilio(call: Callable[..., Answer]) -> None:
    """
    A Twilio that is not there makes the answer incomplete and claims nothing.
    """
    answer = call("reconcile", "--format", "json", TWILIO_API_BASE_URL=f"http://127.0.0.1:{_closed_port()}")

    document = json.loads(answer.stdout)
    assert (answer.code, document["verdict"], document["summary"]) == (3, "incomplete", {})
    assert answer.errors
    assert all("TWILIO_API_BASE_URL" in line for line in answer.errors)


def test_refused_credential(incident: World, call: Callable[..., Answer]) -> None:
    """
    A wrong token is one line with Twilio's code, and applying writes nothing.
    """
    wrong = {"TWILIO_AUTH_TOKEN": "0" * 32}

    _assert_incomplete(call("reconcile", "--format", "json", **wrong), "401", "20003")
    with _unchanged(incident):
        assert call("backfill", "--apply", "--yes", **wrong).code == 3


@pytest.mark.parametrize("fault", [Fault.login_page(), Fault.garbage(), Fault.garbage("{")])
def test_garbage(scene: World, call: Callable[..., Answer], fault: Fault) -> None:
    """
    Something else that answers in Twilio's place is said to be that.
    """
    scene.simulator.faults.add(fault, times=None)

    answer = call("reconcile", "--format", "json")

    _assert_incomplete(answer, "not its message log")
    assert json.loads(answer.stdout)["summary"] == {}


# plan files and runs


@pytest.fixture(name="plan")
def _plan(incident: World, call: Callable[..., Answer]) -> Path:
    """
    A saved plan of the incident.
    """
    assert call("backfill", "--save", "plan.json").code == 1
    assert len(incident.rows("SELECT 1 FROM messages")) == 120
    return Path("plan.json")


def _refused(scene: World, answer: Answer, *named: str) -> None:
    assert (answer.code, len(answer.errors)) == (4, 1)
    for name in named:
        assert name in answer.errors[0]
    assert len(scene.rows("SELECT 1 FROM messages")) == 120


def test_plan_file_is_private(plan: Path) -> None:
    """
    A plan holds true numbers and texts, so only its owner may read it.
    """
    assert plan.stat().st_mode & 0o777 == 0o600


def test_truncated_plan(scene: World, plan: Path, call: Callable[..., Answer]) -> None:
    """
    A truncated plan file is refused, named.
    """
    plan.write_text(plan.read_text()[:-200])

    _refused(scene, call("backfill", "--from", str(plan), "--apply", "--yes"), str(plan))


def test_edited_plan(scene: World, plan: Path, call: Callable[..., Answer]) -> None:
    """
    An edited plan file is refused because of its checksum.
    """
    plan.write_text(plan.read_text().replace('"delivered"', '"sent"', 1))

    _refused(scene, call("backfill", "--from", str(plan), "--apply", "--yes"), "checksum")


def test_plan_of_another_database(
    scene: World, plan: Path, server_url: str, template: str, call: Callable[..., Answer]
) -> None:
    """
    A plan is carried out only on the database it was made for.
    """
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{template}_other" TEMPLATE "{template}"')
    other = _url(scene, path=f"/{template}_other")

    answer = call("backfill", "--from", str(plan), "--apply", "--yes", DATABASE_URL=other)

    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{template}_other" WITH (FORCE)')
    _refused(scene, answer, f"{template}_other")


def test_stale_plan(scene: World, plan: Path, call: Callable[..., Answer]) -> None:
    """
    A plan is refused once the world no longer asks for one of its steps.
    """
    scene.execute("UPDATE pending_bookings SET status = 'cancelled' WHERE status = 'pending' AND metadata = '{}'")

    _refused(scene, call("backfill", "--from", str(plan), "--apply", "--yes"), "stale")


def test_absent_plan(scene: World, call: Callable[..., Answer]) -> None:
    """
    A plan file that is not there is a usage error.
    """
    with _unchanged(scene):
        answer = call("backfill", "--from", "nowhere.json", "--apply", "--yes")

    assert (answer.code, len(answer.errors)) == (2, 1)
    assert "nowhere.json" in answer.errors[0]


def test_plan_with_another_window(plan: Path, call: Callable[..., Answer]) -> None:
    """
    A saved plan has its own window; naming another is a usage error.
    """
    answer = call("backfill", "--from", str(plan), "--since", "1d")

    assert (answer.code, len(answer.errors)) == (2, 1)
    assert "--since" in answer.errors[0]


@pytest.mark.parametrize("journal", [False, True])
@pytest.mark.parametrize("words", [["undo", "nonsense", "--yes"], ["runs", "--forget", "nonsense", "--yes"]])
def test_unknown_run(incident: World, call: Callable[..., Answer], words: list[str], *, journal: bool) -> None:
    """
    An unknown run is a usage error, with a journal or without.
    """
    if journal:
        assert call("backfill", "--apply", "--yes").code == 0

    with _unchanged(incident):
        answer = call(*words)

    assert (answer.code, len(answer.errors)) == (2, 1)
    assert "nonsense" in answer.errors[0]


@pytest.mark.parametrize("words", [["backfill", "--apply"], ["undo", "RUN"], ["runs", "--forget", "RUN"]])
def test_nobody_to_ask(incident: World, call: Callable[..., Answer], words: list[str]) -> None:
    """
    Where nobody can be asked, a write is refused with 4 and --yes is named.
    """
    if "RUN" in words:
        assert call("backfill", "--apply", "--yes").code == 0
        run = json.loads(call("runs", "--format", "json").stdout)["runs"][0]["id"]
        words = [run if word == "RUN" else word for word in words]

    with _unchanged(incident):
        answer = call(*words)

    assert (answer.code, len(answer.errors)) == (4, 1)
    assert "--yes" in answer.stderr


# windows


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "2999-01-01"],
        ["--since", "1d", "--until", "2d"],
        ["--since", "500d"],
        ["--since", "yesterday"],
        ["--since", "2025-12-01T10:00"],
    ],
)
@pytest.mark.parametrize("command", ["reconcile", "backfill"])
def test_window(scene: World, call: Callable[..., Answer], command: str, words: list[str]) -> None:
    """
    A window in the future, upside down, past Twilio's retention or not understood is a usage error, and asks nobody.
    """
    answer = call(command, *words)

    assert (answer.code, len(answer.errors), answer.stdout) == (2, 1, "")
    assert "--since" in answer.errors[0]
    assert not scene.simulator.requests


# text from outside

HOSTILE = (
    "[bold]x[/] \x1b[31mred \x1b]8;;http://evil.example\x07link <script>alert(1)</script> \u202e| \x01\x00 \x9b2J\n=1+1"
)


@pytest.mark.parametrize("format", ["terminal", "json"])
@pytest.mark.parametrize("words", [["reconcile"], ["backfill"], ["backfill", "--apply", "--yes"]])
def test_hostile_text(scene: World, call: Callable[..., Answer], words: list[str], format: str) -> None:
    """
    A text with markup, escape sequences and control characters is shown, never interpreted, and recorded without NUL.
    """
    at = scene.now - timedelta(hours=1)
    scene.customer("+15550101000")
    scene.text("+15550101000", at, HOSTILE)

    answer = call(*words, "--format", format, "--show-pii")

    for output in (answer.stdout, answer.stderr):
        assert not [character for character in output if not character.isprintable() and character != "\n"]
    assert answer.code == (0 if "--apply" in words else 1)
    if "--apply" in words:
        assert scene.rows("SELECT body FROM messages") == [{"body": HOSTILE.replace("\0", "")}]


def test_endless_log(scene: World, call: Callable[..., Answer]) -> None:
    """
    A server that names itself as the next page cannot keep the doctor busy for ever.
    """
    prefix = f"/2010-04-01/Accounts/{scene.account.account_sid}/Messages.json"

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"messages": [], "next_page_uri": self.path}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            assert self.path.startswith(prefix)

    with HTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answer = call("reconcile", "--format", "json", TWILIO_API_BASE_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()

    _assert_incomplete(answer, "repeats itself")
