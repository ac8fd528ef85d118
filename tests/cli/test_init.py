"""
What `init` finds, writes and leaves alone; and that what it wrote leads the other commands to the rows.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner

from booking_doctor.adapters.tables import application_tables
from booking_doctor.cli import beginning
from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.cli.beginning import NewFile, missing_variables, write_new
from booking_doctor.errors import UsageError
from booking_doctor.preferences import preferences
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.settings import Names
from tests.checks.schema_cases import a_role, reached_as

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory with the scene's environment, and gives its exit code and its document.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str | None) -> tuple[int, dict[str, Any]]:
        environment = {**scene.environment(), **variables}
        result = CliRunner().invoke(app, [*words, "--format", "json"], env=environment)
        assert scene.account.auth_token not in result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result.exit_code, json.loads(result.stdout) if result.stdout else {"stderr": result.stderr}

    return call


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace(":", "\\:") + '"'


def _rename(scene: World, schema: str, tables: dict[str, str], columns: dict[tuple[str, str], str]) -> None:
    scene.execute(f"CREATE SCHEMA {_quoted(schema)}")
    for (table, column), name in columns.items():
        scene.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO {_quoted(name)}")
    for table in application_tables(Names()):
        scene.execute(f"ALTER TABLE {table} SET SCHEMA {_quoted(schema)}")
        if table in tables:
            scene.execute(f"ALTER TABLE {_quoted(schema)}.{table} RENAME TO {_quoted(tables[table])}")


ELSEWHERE: Final = {
    ("messages", "customer_id"): "guestId",
    ("messages", "message_sid"): "twilioSid",
    ("messages", "body"): "content",
    ("messages", "from_number"): "sender",
    ("messages", "to_number"): "recipient_phone",
    ("messages", "created_at"): "sentAt",
    ("messages", "cost_usd"): "cost",
    ("messages", "message_type"): "channel",
    ("customers", "id"): "guest_key",
    ("customers", "phone"): "mobile_number",
    ("pending_bookings", "customer_phone"): "guest_phone",
    ("pending_bookings", "customer_id"): "owner",
    ("pending_bookings", "metadata"): "meta",
    ("pending_bookings", "expires_at"): "valid_until",
    ("pending_bookings", "token"): "confirmation_token",
}
TABLES: Final = {"messages": "sms_log", "customers": "guests", "pending_bookings": "booking_requests"}


def test_reconcile_works_with_what_init_wrote(scene: World, call: Call, tmp_path: Path) -> None:
    """
    Other tables, other columns, another schema: after init the comparison counts what it counted before.
    """
    december_incident(scene)
    before = call("reconcile", "--since", "90d")
    _rename(scene, "Front Desk", TABLES, ELSEWHERE)
    assert call("reconcile", "--since", "90d")[0] == 3

    code, report = call("init")

    assert (code, report["exit_reason"]) == (0, "booking-doctor.toml written")
    assert [path.name for path in tmp_path.iterdir()] == ["booking-doctor.toml"]
    names = preferences(tomllib.loads((tmp_path / "booking-doctor.toml").read_text()), "written").names
    assert (names.schema, names.columns) == ("Front Desk", ELSEWHERE)
    assert {table: names.table(table) for table in TABLES} == TABLES
    after = call("reconcile", "--since", "90d")
    assert before[0] == after[0] == 1
    assert before[1]["summary"] == after[1]["summary"]
    assert [found["fingerprint"] for found in before[1]["findings"]] == [
        found["fingerprint"] for found in after[1]["findings"]
    ]


def test_hostile_names(scene: World, call: Call, tmp_path: Path) -> None:
    """
    A schema and a table may be called anything; no name ends a string, a comment or a statement early.
    """
    december_incident(scene)
    before = call("reconcile", "--since", "90d")[1]["summary"]
    schema = 'x"; %s DROP TABLE y; --\n[tables.jobs]\nname = "z"\x1b\u2028.t'
    _rename(scene, schema, {"messages": 'a\\b"""\n# :c'}, {("messages", "body"): "text"})
    column = _quoted("nam\n= 1")
    scene.execute(f"ALTER TABLE {_quoted(schema)}.customers ADD COLUMN {column} text")

    code, report = call("init")

    text = (tmp_path / "booking-doctor.toml").read_text()
    names = preferences(tomllib.loads(text), "written").names
    assert (code, names.schema, names.table("messages")) == (0, schema, 'a\\b"""\n# :c'), report
    assert set(names.tables) == {"messages"}
    assert all(line.isprintable() for line in text.splitlines())
    after = call("reconcile", "--since", "90d")[1]
    assert after["summary"] == before, after["skipped"]


def test_messages_in_another_schema(scene: World, call: Call, tmp_path: Path) -> None:
    """
    One table that lies apart from the others is found, compared, examined and repaired there.
    """
    december_incident(scene)
    before = call("reconcile", "--since", "90d")[1]["summary"]
    scene.execute('CREATE SCHEMA "%s.sms"')
    scene.execute('ALTER TABLE messages SET SCHEMA "%s.sms"')

    code, report = call("init")

    names = preferences(tomllib.loads((tmp_path / "booking-doctor.toml").read_text()), "written").names
    assert (code, names) == (0, Names(schemas={"messages": "%s.sms"}, tables={"messages": "messages"})), report
    assert call("reconcile", "--since", "90d")[1]["summary"] == before
    code, report = call("check-schema")
    assert (code, report["skipped"]) == (0, [])
    run = call("backfill", "--since", "90d", "--apply", "--yes")[1]["run"]
    assert run["verified"]
    assert run["applied"] > 0
    code, report = call("undo", run["id"], "--yes")
    assert (code, report["run"]["verified"]) == (0, True)


def test_a_database_with_the_doctors_names(call: Call, tmp_path: Path) -> None:
    """
    The file then maps nothing, and says so by being empty but for its words.
    """
    code, report = call("init")

    assert code == 0
    assert report["coverage"]["mapped"] == {}
    assert len(report["coverage"]["found"]) == len(application_tables(Names()))
    assert report["next_steps"] == ["booking-doctor reconcile"]
    assert tomllib.loads((tmp_path / "booking-doctor.toml").read_text()) == {}


def test_what_is_not_certain(scene: World, call: Call, tmp_path: Path) -> None:
    """
    It is a comment with its reason, the report names it, and taking away the # makes a file that is accepted.
    """
    scene.execute("ALTER TABLE messages RENAME body TO content")
    scene.execute("ALTER TABLE messages ADD message_text text")
    scene.execute("ALTER TABLE messages RENAME direction TO way")

    code, report = call("init")

    assert code == 1
    assert report["exit_reason"] == "booking-doctor.toml written; to be decided: messages.direction, messages.body"
    assert report["summary"]["names_open"] == 2
    reasons = {skipped["check"]: skipped["reason"] for skipped in report["skipped"]}
    assert reasons["messages.body"] == '"content", "message_text" could each be it, and not exactly one is NOT NULL'
    assert reasons["messages.direction"].startswith("no column looks like it; of its type there are ")
    text = (tmp_path / "booking-doctor.toml").read_text()
    assert tomllib.loads(text) == {"tables": {"messages": {"columns": {}}}}
    decided = tomllib.loads(text.replace('# body = "content"', 'body = "content"'))
    assert preferences(decided, "decided").names.column("messages", "body") == "content"
    assert call("--config", "other.toml", "init", "--fail-on", "never")[0] == 0


# The environment


def test_a_role_that_may_read_nothing(scene: World, call: Call, tmp_path: Path) -> None:
    """
    What the catalog tells anyone is no proof that the doctor may look: what has to be granted is named.
    """
    role = f"stranger_{os.getpid()}"
    with a_role(scene, role):
        scene.execute(f"GRANT SELECT ON customers, pending_bookings TO {role}")
        code, report = call("init", DATABASE_URL=reached_as(scene, role))

    assert code == 1
    assert report["exit_reason"] == "booking-doctor.toml written; to be granted: SELECT on messages"
    assert report["summary"]["names_open"] == 0
    assert report["next_steps"] == ["booking-doctor check-schema", "booking-doctor reconcile"]


def test_what_comes_next(scene: World, call: Call) -> None:
    """
    What is left to decide or to set is looked at again before anything is compared.
    """
    scene.execute("DROP TABLE messages")

    code, report = call("init", TWILIO_AUTH_TOKEN=None)

    assert code == 1
    assert report["next_steps"] == [f"booking-doctor {words}" for words in ("check-env", "check-schema", "reconcile")]


def test_without_any_variable(call: Call, tmp_path: Path) -> None:
    """
    There is no database to look at, so only the environment file is written, and says what to fill in.
    """
    unset = dict.fromkeys(("DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"))

    code, report = call("init", **unset)

    assert code == 1
    assert report["next_steps"] == ["booking-doctor init"]
    assert {skipped["check"]: skipped["kind"] for skipped in report["skipped"]} == dict.fromkeys(
        ("database", *unset), "not-configured"
    )
    written = tmp_path / ".env"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    lines = [line for line in written.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if line] == [f"{name}=" for name in unset]
    code, again = call("init", **unset)
    assert (code, again["coverage"], again["skipped"]) == (4, {"left": [".env"], "written": []}, report["skipped"])


def test_only_what_is_missing_is_written(call: Call, tmp_path: Path) -> None:
    """
    A variable with an alternative that is set is not missing; an empty one is.
    """
    code, report = call(
        "init", TWILIO_PHONE_NUMBER="", TWILIO_AUTH_TOKEN=None, TWILIO_API_KEY="SK", TWILIO_API_SECRET="x"
    )

    assert (code, report["summary"]["variables_missing"]) == (1, 1)
    assert report["coverage"]["written"] == ["booking-doctor.toml", ".env"]
    assert "\nTWILIO_PHONE_NUMBER=\n" in (tmp_path / ".env").read_text()
    assert "TWILIO_AUTH_TOKEN" not in (tmp_path / ".env").read_text()


def test_half_a_key_is_no_credential() -> None:
    """
    Of alternatives the first stands for all.
    """
    given = {"POSTGRES_URL": "x", "TWILIO_ACCOUNT_SID": "x", "TWILIO_API_KEY": "x", "TWILIO_MESSAGING_SERVICE_SID": "x"}

    assert list(missing_variables(given)) == ["TWILIO_AUTH_TOKEN"]
    assert set(missing_variables({})) == set(beginning._COMMENTS)


def test_a_database_that_does_not_answer(scene: World, call: Call, tmp_path: Path) -> None:
    """
    Nothing is claimed of its names; what is missing in the environment is written all the same.
    """
    nowhere = urlunsplit(urlsplit(scene.url)._replace(path="/nowhere"))

    code, report = call("init", DATABASE_URL=nowhere, TWILIO_PHONE_NUMBER=None)

    assert (code, report["verdict"]) == (3, "incomplete")
    assert report["skipped"][0]["check"] == "database"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert call("init", DATABASE_URL=nowhere)[0] == 3


def test_a_malformed_url(call: Call, tmp_path: Path) -> None:
    """
    A settings error, before anything is written.
    """
    code, report = call("init", DATABASE_URL="mysql://root:hunter2@localhost/app", TWILIO_PHONE_NUMBER=None)

    assert code == 2
    assert "DATABASE_URL is no PostgreSQL URL" in report["stderr"]
    assert "hunter2" not in report["stderr"]
    assert list(tmp_path.iterdir()) == []


# Files that are there


def test_an_existing_file_is_left(call: Call, tmp_path: Path) -> None:
    """
    The usual case: variables are in .env already, names are not known.
    """
    (tmp_path / ".env").write_text("MINE=1\n")

    code, report = call("init", TWILIO_PHONE_NUMBER=None)

    assert (code, report["coverage"]["written"], report["coverage"]["left"]) == (1, ["booking-doctor.toml"], [".env"])
    assert (tmp_path / ".env").read_text() == "MINE=1\n"


def test_nothing_to_write_is_a_refusal(call: Call, tmp_path: Path) -> None:
    """
    The second call writes nothing, and still tells what it found.
    """
    call("init")
    before = (tmp_path / "booking-doctor.toml").stat()

    code, report = call("init")

    assert code == 4
    assert report["exit_reason"] == "nothing was written; there already and left: booking-doctor.toml"
    assert report["coverage"]["found"]["messages"] == '"public"."messages"'
    assert (tmp_path / "booking-doctor.toml").stat() == before


def test_a_file_that_was_asked_for_is_never_replaced(call: Call, tmp_path: Path) -> None:
    """
    Then nothing else is written either.
    """
    named = tmp_path / "mine.toml"
    named.write_text("")

    assert call("--config", str(named), "init", TWILIO_PHONE_NUMBER=None)[0] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    assert named.read_text() == ""


def test_another_file_for_the_settings(call: Call, tmp_path: Path) -> None:
    """
    ``--config`` names it, and the next step reads it.
    """
    code, report = call("--config", "mine.toml", "init")

    assert (code, report["next_steps"]) == (0, ["booking-doctor --config mine.toml reconcile"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    assert call("--config", "pyproject.toml", "init")[0] == 2
    assert call("--config", "nowhere/mine.toml", "init")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_settings_in_the_project_are_not_hidden(call: Call, tmp_path: Path) -> None:
    """
    A booking-doctor.toml beside a pyproject.toml with settings would be read in its place.
    """
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.booking-doctor]\ndefault_region = "DE"\n')

    assert call("init")[1]["coverage"]["left"] == ["pyproject.toml"]
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]

    project.write_text('[project]\nname = "app"\n')
    assert call("init")[0] == 0


def test_a_link_to_nowhere_is_left(call: Call, tmp_path: Path) -> None:
    """
    Somebody meant something by it.
    """
    (tmp_path / "booking-doctor.toml").symlink_to("elsewhere.toml")

    assert call("init")[0] == 4
    assert not (tmp_path / "elsewhere.toml").exists()


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Neither a full disk nor somebody faster leaves half a file, a replaced one, or a trace.
    """
    first, second = tmp_path / "first", tmp_path / "second"
    second.write_text("theirs")
    with pytest.raises(UsageError, match="second could not be written: File exists"):
        write_new({second: NewFile("ours", 0o600)})
    assert (second.read_text(), list(tmp_path.iterdir())) == ("theirs", [second])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="first could not be written: No space left on device"):
        write_new({first: NewFile("ours", 0o600)})
    assert list(tmp_path.iterdir()) == [second]
