"""
The README's roles may do what it says of them, and no more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from typer.testing import CliRunner

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.twilio import Credential

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
TABLES = ("messages", "customers", "bookings", "pending_bookings", "events", "jobs", "audit_logs", "webhook_logs")

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")


@pytest.fixture(name="roles")
def _roles(
    scene: World, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """
    The URL of each role, made by the README's SQL in a hosted database: its administrator is no superuser, tables have
    row level security, and the application writes with a role of its own.
    """
    names = {name: f"{name}_{urlsplit(database_url).path[1:]}" for name in ("host", "app", "reader", "repair")}
    monkeypatch.chdir(tmp_path)
    Path("booking-doctor.toml").write_text(f'application_role = "{names["app"]}"\n')
    december_incident(scene)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_hosted(names, urlsplit(database_url).path[1:]).encode())
        if connection.info.server_version >= 160000:  # before, only a superuser gave BYPASSRLS away
            connection.execute(f"SET ROLE {names['host']}".encode())
        for sql in re.findall(r"^```sql\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
            own = sql.replace("booking_doctor_reader", names["reader"]).replace(
                "booking_doctor_repair", names["repair"]
            )
            connection.execute(own.encode())
        connection.execute("RESET ROLE")
        host = urlsplit(database_url).netloc.rpartition("@")[2]
        given = {"reader": "choose-one", "repair": "choose-another"}
        yield {
            role: urlsplit(database_url)._replace(netloc=f"{names[role]}:{password}@{host}").geturl()
            for role, password in given.items()
        }
        listed = ", ".join(reversed(names.values()))
        connection.execute(f"DROP OWNED BY {listed} CASCADE; DROP ROLE {listed}".encode())


def _hosted(names: dict[str, str], database: str) -> str:
    app, host = names["app"], names["host"]
    return ";".join(
        [
            f"CREATE ROLE {host} CREATEROLE BYPASSRLS",
            f"CREATE ROLE {app} BYPASSRLS",
            f'GRANT CREATE ON DATABASE "{database}" TO {host}',
            f"GRANT ALL ON SCHEMA public TO {host} WITH GRANT OPTION",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {host} WITH GRANT OPTION",
            *(f"GRANT ALL ON {table} TO {host} WITH GRANT OPTION" for table in TABLES),
            *(f"GRANT ALL ON {table} TO {app}" for table in TABLES),
            *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in TABLES),
        ]
    )


def say(scene: World, url: str, *words: str, **variables: str) -> tuple[int, Any]:
    """
    What a command ends with, and its document, with the role of that URL.
    """
    environment = {**scene.environment(), "DATABASE_URL": url, **variables}
    result = CliRunner().invoke(app, [*words, "--format", "json"], env=environment)
    return result.exit_code, json.loads(result.stdout)


def test_the_reader_sees_everything_and_writes_nothing(scene: World, roles: dict[str, str]) -> None:
    """
    It finds the incident, is told nothing about its own rights, and its apply is refused.
    """
    code, seen = say(scene, roles["reader"], "diagnose")
    found = {finding["name"] for finding in seen["findings"]}

    assert (code, seen["verdict"]) == (1, "findings")
    assert {"message-unrecorded", "booking-metadata-empty"} <= found
    assert (
        not {"schema-update-blocked", "schema-insert-blocked", "schema-table-missing", "env-database-read-only"} & found
    )
    assert {skipped["kind"] for skipped in seen["skipped"]} == {"not-configured"}
    assert say(scene, roles["reader"], "backfill")[1]["summary"]["planned"] == 13
    assert (
        CliRunner()
        .invoke(app, ["backfill", "--apply", "--yes"], env={**scene.environment(), "DATABASE_URL": roles["reader"]})
        .exit_code
        == 4
    )
    assert scene.rows("SELECT count(*) AS written FROM messages WHERE message_sid IS NULL") == [{"written": 0}]


def test_a_standard_key_is_enough(scene: World, roles: dict[str, str]) -> None:
    """
    With the reader's role and such a key, settings are found to work, and nothing that is looked at needs more.
    """
    standard = scene.account.api_key = Credential("SK" + "7" * 32, "Sesame0" * 4 + "open")
    key = {"TWILIO_AUTH_TOKEN": "", "TWILIO_API_KEY": standard.sid, "TWILIO_API_SECRET": standard.secret}
    code, settings = say(scene, roles["reader"], "check-env", "--live", **key)
    assert (code, settings["findings"]) == (0, [])

    code, seen = say(scene, roles["reader"], "diagnose", **key)
    assert code == 1
    assert {skipped["kind"] for skipped in seen["skipped"]} == {"not-configured"}
    assert "message-unrecorded" in {finding["name"] for finding in seen["findings"]}


def test_the_repair_role_repairs_and_takes_back(scene: World, roles: dict[str, str]) -> None:
    """
    All that was planned is written and verified, and undone.
    """
    code, done = say(scene, roles["repair"], "backfill", "--apply", "--yes")
    assert (code, done["run"]["verified"], done["summary"]["applied"]) == (0, True, 13)

    code, back = say(scene, roles["repair"], "undo", done["run"]["id"], "--yes")
    assert (code, back["summary"]["restored"], back["summary"]["left"]) == (0, 13, 0)
    assert say(scene, roles["reader"], "reconcile")[1]["summary"]["unrecorded"] == 13
