"""
Every JSON document that a test of the command line brings about is held against the published schema.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from booking_doctor.cli import writing
from booking_doctor.report.documents import json_schema


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(json_schema()))


def _complaint(said: str | bytes | None) -> str | None:
    """
    What is wrong with it, where it is one of our documents.
    """
    try:
        document = json.loads(said or "")
    except ValueError:
        return None
    if not isinstance(document, dict) or "tool" not in document:
        return None
    errors = [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(document)]
    return f"not what report.schema.json says: {errors}" if errors else None


@pytest.fixture(autouse=True, name="complaints")
def _complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """
    In this process a document is seen where all of them are encoded, from another where its output is collected.
    """
    encode, collect = writing._encoded, subprocess.Popen.communicate
    heard: list[str] = []

    def encoded(text: str, encoding: str) -> bytes:
        heard.extend(filter(None, [_complaint(text)]))
        return encode(text, encoding)

    def communicate(process: Any, *arguments: Any, **options: Any) -> Any:
        answer = collect(process, *arguments, **options)
        heard.extend(filter(None, [_complaint(answer[0])]))
        return answer

    monkeypatch.setattr(writing, "_encoded", encoded)
    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    yield heard
    assert heard == []
