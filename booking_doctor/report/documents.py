r"""
Reports as documents for other programs.

A document is data, yet somebody will print it: what a terminal would obey (control characters, bidirectional overrides,
line separators) leaves here only as ``\u`` escapes, which every JSON reader turns back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from typing import Any, Final

from msgspec import Struct, structs

from booking_doctor.findings import Diagnosis, Finding, Novelty, Report

SCHEMA: Final = 1
"""
The number of the JSON document's shape. Added members do not raise it; anything a reader could trip over does.
"""

_AS_THEY_ARE: Final = (
    *("command", "started_at", "finished_at", "window", "exit_code", "exit_reason"),
    *("summary", "coverage", "skipped", "next_steps"),
)
_SUSPECT: Final = re.compile(r"[^\n -~]")


def json_document(report: Report) -> str:
    """
    The report as one JSON object, as the README describes it.
    """
    return signed_json(report_members(report), report.version)


def json_schema() -> str:
    """
    The JSON Schema (2020-12) of every document that a command writes.
    """
    return resources.files("booking_doctor.report").joinpath("report.schema.json").read_text("utf-8")


def signed_json(members: Mapping[str, Any], version: str) -> str:
    """
    The members as one JSON object that says which tool wrote it, and in which shape.
    """
    document = {"schema": SCHEMA, "tool": {"name": "booking-doctor", "version": version}, **members}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True, default=plain)
    return _SUSPECT.sub(_escape, text) + "\n"


def report_members(report: Report) -> dict[str, Any]:
    """
    What the document says of it, but for who wrote it.
    """
    always = {
        "verdict": report.verdict,
        "findings": [_finding(finding, report.novelty) for finding in report.findings],
        **{name: getattr(report, name) for name in _AS_THEY_ARE},
    }
    sometimes = {"plan": report.plan, "run": report.run, "runs": report.runs, "timeline": report.timeline or None}
    told = {name: value for name, value in sometimes.items() if value is not None}
    return always | told | _gone(report.novelty) | (_diagnosis(report.diagnosis) if report.diagnosis else {})


def _gone(novelty: Novelty | None) -> dict[str, Any]:
    if novelty is None:
        return {}
    return {"gone": [{"fingerprint": name, "since": since} for name, since in novelty.gone.items()]}


def _diagnosis(diagnosis: Diagnosis) -> dict[str, Any]:
    members = _members(diagnosis)
    return {"diagnosis": members.pop("verdict"), **members}


def _finding(finding: Finding, novelty: Novelty | None) -> dict[str, Any]:
    known = {"since": novelty.since[finding.fingerprint]} if novelty else {}
    return _members(finding) | {"fingerprint": finding.fingerprint} | known


def _members(value: Any) -> dict[str, Any]:  # noqa: ANN401  any part of the report
    return structs.asdict(value)


def plain(value: object) -> object:
    """
    What `json` asks for when it meets a value that is not JSON by itself.
    """
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if isinstance(value, Struct):
        return _members(value)
    message = f"a report holds a {type(value).__name__}, which JSON cannot"
    raise TypeError(message)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
