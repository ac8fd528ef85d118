"""
The published schema takes every document there is, and refuses what a reader could trip over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.core import TyperGroup
from typer.main import get_command

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.errors import ExitCode
from booking_doctor.findings import CauseVerdict, Report, Severity, Verdict
from booking_doctor.repair.migration import StatementKind
from booking_doctor.repair.steps import StepKind
from booking_doctor.report.documents import json_document, json_schema

GOLDEN = Path(__file__).parent.parent / "golden"
SCHEMA: Any = json.loads(json_schema())
VALIDATOR = Draft202012Validator(SCHEMA)

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")


def test_it_is_a_schema() -> None:
    """
    Of the dialect that it names.
    """
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize(
    "golden", sorted(path for kind in ("json", "action-plan") for path in (GOLDEN / kind).glob("*.json")), ids=str
)
def test_goldens(golden: Path) -> None:
    """
    Every kept document is valid; the hostile one names findings, commands and kinds that no document may name.
    """
    assert VALIDATOR.is_valid(json.loads(golden.read_text("utf-8"))) == (golden.stem != "hostile")


def test_words() -> None:
    """
    What the schema enumerates is what the program says.
    """
    words = {name: set(rule["enum"]) for name, rule in SCHEMA["$defs"].items() if "enum" in rule}

    assert words["verdict"] == {verdict.value for verdict in Verdict}
    assert words["severity"] == {severity.value for severity in Severity}
    assert words["exit_code"] == {code.value for code in ExitCode}
    assert set(SCHEMA["$defs"]["cause"]["properties"]["verdict"]["enum"]) == {verdict.value for verdict in CauseVerdict}
    assert set(SCHEMA["$defs"]["step"]["properties"]["kind"]["enum"]) == {
        kind.value for kinds in (StepKind, StatementKind) for kind in kinds
    }


def test_commands() -> None:
    """
    Every command that says `--format json` is named, and no name leads nowhere.
    """
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    named = {command.split()[0] for command in SCHEMA["$defs"]["command"]["enum"]}

    reporting = {
        name
        for name, command in group.commands.items()
        if any(parameter.name == "format" for part in _parts(command) for parameter in part.params)
    }

    assert reporting <= named
    assert named - {"watch", "fetch-log"} <= set(group.commands)


def _parts(command: Any) -> list[Any]:
    return list(command.commands.values()) if isinstance(command, TyperGroup) else [command]


def test_nothing_that_has_members_is_open() -> None:
    """
    An object says which members it may have, but for counts, coverage, evidence and images, which grow.
    """
    growing = {"coverage", "evidence", "before", "after"}
    composed = {"report", "action_plan", "explanations", "proofs", "proof"}

    def open_ones(name: str, rule: object) -> list[str]:
        if isinstance(rule, list):
            return [found for part in rule for found in open_ones(name, part)]
        if not isinstance(rule, dict):
            return []
        found = (
            [name]
            if "object" in str(rule.get("type")) and not {"additionalProperties", "unevaluatedProperties"} & {*rule}
            else []
        )
        return found + [deeper for key, part in rule.items() for deeper in open_ones(key, part)]

    assert set(open_ones("document", SCHEMA)) == growing | composed


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("findings", "surprise", 1),
        ("findings", "schema", 2),
        ("findings", "command", "reconcil"),
        ("findings", "tool.name", "another"),
        ("findings", "started_at", "2025-12-08 12:00:00"),
        ("findings", "started_at", "2025-12-08T12:00:00+01:00"),
        ("findings", "window.until", None),
        ("findings", "window.while", "2025-12-08T12:00:00Z"),
        ("findings", "exit_code", 3),
        ("findings", "exit_code", "1"),
        ("findings", "verdict", "healthy"),
        ("findings", "verdict", "fine"),
        ("findings", "summary.matched", -1),
        ("findings", "summary.matched", "7"),
        ("findings", "findings.0.severity", "fatal"),
        ("findings", "findings.0.name", "Message Unrecorded"),
        ("findings", "findings.0.subject", "messages"),
        ("findings", "findings.0.colour", "red"),
        ("findings", "findings.1.subject", "message/17"),
        ("findings", "findings.1.evidence", {}),
        ("findings", "findings.1.evidence.message_sid", "SM1"),
        ("findings", "findings.0.fingerprint", ""),
        ("findings", "skipped.0.kind", "forgotten"),
        ("incomplete", "exit_code", 0),
        ("healthy", "exit_code", 1),
        ("planned", "plan.steps.0.kind", "delete-everything"),
        ("planned", "plan.steps.0.after.to_number", "+1555***34"),
        ("planned", "plan.left.0.because", "of me"),
        ("applied", "run.verified", "yes"),
        ("applied", "run.applied", 1.5),
        ("diagnosed", "causes.0.verdict", "certain"),
        ("diagnosed", "causes.0.layer", "moon"),
        ("diagnosed", "impact.cost_usd", 0.1),
        ("diagnosed", "onset.by_hour.2025-12-04", 1),
        ("runs", "runs.0.started_at", "yesterday"),
    ],
)
def test_it_bites(samples: Mapping[str, Report], name: str, path: str, value: object) -> None:
    """
    One member that is wrong makes a document invalid.
    """
    document = json.loads(json_document(samples[name]))
    assert VALIDATOR.is_valid(document)

    *way, last = path.split(".")
    place: Any = document
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value

    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize("member", sorted(SCHEMA["$defs"]["report"]["required"]))
def test_nothing_may_be_missing(samples: Mapping[str, Report], member: str) -> None:
    """
    What a report always has, a document without it is none.
    """
    document = json.loads(json_document(samples["findings"]))
    del document[member]

    assert not VALIDATOR.is_valid(document)
