"""
The JSON Schema is had from the program, and the net under the other tests of the command line holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from booking_doctor.cli.app import app
from booking_doctor.report import documents

import_module("booking_doctor.cli.learn")


def test_explain_says_it(tmp_path: Path) -> None:
    """
    To a pipe and to a file, and the same.
    """
    said = CliRunner().invoke(app, ["explain", "--json-schema"])
    file = tmp_path / "schema.json"
    CliRunner().invoke(app, ["explain", "--json-schema", "--output", str(file)])

    assert said.exit_code == 0
    assert said.stdout == file.read_text("utf-8") == documents.json_schema()
    Draft202012Validator.check_schema(json.loads(said.stdout))


def test_a_document_that_is_not_valid_is_noticed(complaints: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Be it made in this process or in another.
    """
    monkeypatch.setattr(documents, "SCHEMA", 2)
    CliRunner().invoke(app, ["explain", "env-missing", "--format", "json"])
    stranger = "import json; print(json.dumps({'tool': {'name': 'booking-doctor', 'version': '1'}, 'schema': 1}))"
    subprocess.run([sys.executable, "-c", stranger], capture_output=True, check=False)

    assert ["$.schema: 1 was expected" in complaint for complaint in complaints] == [True, False]
    complaints.clear()
