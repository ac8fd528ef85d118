"""
The command ``action-plan``: from what is true now, before a repair and after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.report import FORMATS
from booking_doctor.sandbox.incidents import World, december_incident

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Result]
ESCALATION = '[[escalation]]\nwho = "<b>on|call</b>"\nhow = "@pager"\nwhen = "at once"\n'


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in a directory of its own with the scene's environment; a variable given as None is not set.
    """
    monkeypatch.chdir(tmp_path)

    def call(words: str, **variables: str | None) -> Result:
        result = CliRunner().invoke(app, words.split(), env={**scene.environment(), **variables})
        assert "Traceback" not in result.output
        assert scene.account.auth_token not in result.output
        return result

    return call


def by_name(items: list[dict[str, Any]]) -> dict[str, tuple[str, bool | None]]:
    """
    What each item measured, and whether that is met.
    """
    return {item["what"]: (item["measured"], item["met"]) for item in items}


def test_a_repair_ticks_what_it_made_true(scene: World, call: Call) -> None:
    """
    The December incident: the counts to expect are those the backfill then writes, and the next plan has them done.
    """
    december_incident(scene)
    before = json.loads(call("action-plan --format json").stdout)
    applied = json.loads(call("backfill --apply --yes --format json").stdout)
    after = json.loads(call("action-plan --format json").stdout)

    was, now = by_name(before["criteria"]), by_name(after["criteria"])
    assert was["Texts of Twilio's that no row has"] == ("13", False)
    assert was["Bookings with empty metadata"] == ("4", False)
    assert was["Steps of a backfill that remain"] == (str(applied["summary"]["applied"]), False)
    assert applied["run"]["verified"] is True
    assert now["Bookings with empty metadata"] == ("0", True)
    assert now["Steps of a backfill that remain"] == ("0", True)
    assert now["Texts of Twilio's that no row has"][0] == str(applied["summary"]["left"])
    assert now["messages requires a customer (NOT NULL)"] == ("in place", True)
    assert by_name(before["repairs"])["Record what is missing"][1] is False
    assert by_name(after["repairs"])["Record what is missing"][1] is True


def test_it_changes_nothing_and_ticks_nothing_unseen(scene: World, call: Call) -> None:
    """
    Two plans in a row measure the same; no step of the deployment is ticked where nobody looked.
    """
    december_incident(scene)
    first, second = (json.loads(call("action-plan --format json").stdout) for _ in range(2))

    assert (first["criteria"], first["repairs"]) == (second["criteria"], second["repairs"])
    assert json.loads(call("runs --format json").stdout)["runs"] == []
    missing = by_name(json.loads(call("action-plan --format json", BOOKING_APP_URL=None).stdout)["verification"])
    measured, met = missing["The application answers at its public address, and nothing else before it"]
    assert met is None
    assert measured.startswith("not known: ")


def test_the_log_is_walked_once(scene: World, call: Call) -> None:
    """
    The diagnosis and the planned backfill stand on one reading of Twilio's log.
    """
    december_incident(scene)

    call("action-plan --format json")

    walked = [request.target for request in scene.simulator.requests if "DateSent=" in request.target]
    assert walked
    assert sorted(set(walked)) == sorted(walked)


def test_the_exit_code_is_that_of_diagnose(scene: World, call: Call) -> None:
    """
    Findings and what could not be looked at end it as they end the examination.
    """
    december_incident(scene)

    assert call("action-plan").exit_code == call("diagnose").exit_code == 1
    assert call("action-plan", DATABASE_URL=None).exit_code == call("diagnose", DATABASE_URL=None).exit_code == 3


def test_the_document(scene: World, call: Call) -> None:
    """
    Every section is there, the emergency's SQL comes with its way back, and names from the settings end no cell.
    """
    december_incident(scene)
    Path("booking-doctor.toml").write_text(ESCALATION, encoding="utf-8")
    document = call("action-plan").stdout

    headings = [line for line in document.splitlines() if line.startswith("## ")]
    assert headings == [
        "## What is known, and how",
        "## Verify the deployment",
        "## Repair, in this order",
        "## Emergency: record texts without a customer",
        "## Done when",
        "## Escalation",
        "## Open questions",
    ]
    dropped, restored = document.index("DROP NOT NULL"), document.index("SET NOT NULL;")
    assert dropped < document.index("### Its way back") < document.index("NOT VALID") < restored
    assert "| at once | &lt;b&gt;on\\|call&lt;/b&gt; | &#64;pager |" in document
    assert "old-deployment-serving" in document


def test_a_relaxed_table(scene: World, call: Call) -> None:
    """
    After the emergency option was used, the plan asks for its way back, and the criterion is not met.
    """
    december_incident(scene)
    assert call("migrate relax --apply --yes").exit_code in {0, 1}
    plan = json.loads(call("action-plan --format json").stdout)

    assert by_name(plan["criteria"])["messages requires a customer (NOT NULL)"] == ("not in place", False)
    assert any("SET NOT NULL" in line for script in plan["way_back"] for line in script)
    [restore] = [item for item in plan["repairs"] if item["what"] == "Require a customer again"]
    assert restore["command"] == "booking-doctor migrate restore --apply"


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"markdown", "json"}))
def test_who_watches_gets_what_was_found(scene: World, call: Call, format: str) -> None:
    """
    Every other format is that of the diagnosis behind the plan, whose findings it has.
    """
    december_incident(scene)
    plan, diagnosis = (call(f"{command} --format {format}") for command in ("action-plan", "diagnose"))

    assert plan.exit_code == diagnosis.exit_code
    first, other = (told.stdout.splitlines()[0].partition(" duration=")[0] for told in (plan, diagnosis))
    assert first.replace("action-plan", "diagnose") == other
    assert ("17 errors" if format == "nagios" else "unrecorded") in plan.stdout
