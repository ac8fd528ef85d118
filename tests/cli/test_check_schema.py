"""
The command `check-schema`: its document, its exit codes, and what it does when it cannot look.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import World

Call = Callable[..., tuple[int, dict[str, Any], str]]

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs the command in an empty directory; gives the exit code, the document and stderr.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str | None) -> tuple[int, dict[str, Any], str]:
        environment = {**scene.environment(), **variables}
        result = CliRunner().invoke(app, ["check-schema", "--format", "json", *words], env=environment)
        assert "Traceback" not in result.stderr
        return result.exit_code, json.loads(result.stdout) if result.stdout else {}, result.stderr

    return call


def test_a_healthy_schema(call: Call) -> None:
    """
    The application's tables as they come: nothing to fail on, no window, and what was looked at is named.
    """
    code, document, _ = call()

    assert (code, document["command"], document["window"]) == (0, "check-schema", None)
    assert document["summary"] == {"error": 0, "warning": 1, "info": 1}
    assert [finding["name"] for finding in document["findings"]] == [
        "schema-sid-not-unique",
        "schema-customer-id-required",
    ]
    assert document["skipped"] == []
    assert document["coverage"]["database"]
    assert document["coverage"]["role"] == "postgres"


@pytest.mark.parametrize(("threshold", "code"), [("error", 0), ("warning", 1), ("info", 1), ("never", 0)])
def test_what_fails(call: Call, threshold: str, code: int) -> None:
    """
    The threshold decides, as everywhere.
    """
    assert call("--fail-on", threshold)[0] == code


def test_a_broken_schema(scene: World, call: Call, tmp_path: Path) -> None:
    """
    A fault is in the document with its remedy, also under the names that the settings map.
    """
    scene.execute("ALTER TABLE messages RENAME TO sms")
    assert call()[1]["findings"][0]["fingerprint"] == "schema-table-missing:schema/messages"

    scene.execute("CREATE RULE off AS ON INSERT TO sms DO INSTEAD NOTHING")
    (tmp_path / "booking-doctor.toml").write_text('[tables.messages]\nname = "sms"\n')
    code, document, _ = call()

    assert code == 1
    assert document["findings"][0]["fingerprint"] == "schema-insert-blocked:schema/sms"
    assert document["findings"][0]["remedy"].endswith("Run: DROP RULE off ON sms;")


def test_the_role_of_the_settings(call: Call, tmp_path: Path) -> None:
    """
    The settings name the application's role.
    """
    (tmp_path / "booking-doctor.toml").write_text('application_role = "pg_monitor"\n')

    code, document, _ = call()

    blocked = {finding["name"]: finding["evidence"]["role"] for finding in document["findings"][:2]}
    assert (code, blocked) == (1, {"schema-update-blocked": "pg_monitor", "schema-insert-blocked": "pg_monitor"})


def test_no_database_is_set(call: Call) -> None:
    """
    Without a database nothing was looked at, which is no "all is well".
    """
    code, document, stderr = call(DATABASE_URL=None)

    assert (code, document) == (2, {})
    assert "DATABASE_URL is missing" in stderr


def test_a_database_that_does_not_answer(call: Call) -> None:
    """
    One line says so, not one for each check; the document is written all the same.
    """
    code, document, stderr = call(DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/none")

    assert (code, document["verdict"], document["findings"]) == (3, "incomplete", [])
    assert [(skipped["check"], skipped["kind"]) for skipped in document["skipped"]] == [("database", "unreachable")]
    assert "hunter2" not in stderr + json.dumps(document)
