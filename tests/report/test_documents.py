"""
The JSON document is what the README promises, and safe to print.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.report.documents import json_document

ALWAYS = {
    *("schema", "tool", "command", "started_at", "finished_at", "window", "verdict", "exit_code", "exit_reason"),
    *("summary", "coverage", "findings", "skipped", "next_steps"),
}


def parsed(report: Report) -> dict[str, Any]:
    """
    What a reader gets.
    """
    document: dict[str, Any] = json.loads(json_document(report))
    return document


def test_golden(sample: tuple[str, Report], same_as_golden: Callable[[str, str], None]) -> None:
    """
    Each report's document, whole.
    """
    name, report = sample
    same_as_golden(f"json/{name}.json", json_document(report))


def test_keys_are_sorted_and_the_shape_is_the_contracts(sample: tuple[str, Report]) -> None:
    """
    The members that are always there, and those that are there where they mean something.
    """
    _, report = sample
    text = json_document(report)
    document = json.loads(text)

    assert text == json_sorted(text)
    assert document["schema"] == 1
    assert document["exit_code"] == report.exit_code
    sometimes = {name for name in ("plan", "run", "runs") if getattr(report, name) is not None}
    diagnosed = {"diagnosis", "mysteries", "causes", "unexplained", "onset", "impact"} if report.diagnosis else set()
    remembered = {"gone"} if report.novelty else set()
    assert set(document) == ALWAYS | sometimes | diagnosed | remembered
    assert all(("since" in finding) is bool(report.novelty) for finding in document["findings"])


def json_sorted(text: str) -> str:
    """
    The same document with its keys in order, escaped the way ours are.
    """
    document = json.loads(text)
    again = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False)
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
        for character in again + "\n"
    )


def test_a_plan_says_where_it_would_be_written_and_why_not(samples: Mapping[str, Report]) -> None:
    """
    Target, notes and refusal stand beside the steps.
    """
    plan = parsed(samples["planned"])["plan"]

    assert set(plan) == {"checksum", "steps", "left", "target", "notes", "refusal"}
    assert set(plan["steps"][0]) == {"kind", "subject", "reason", "before", "after"}
    assert plan["steps"][0]["before"] is None
    assert plan["target"]["role"] == "service_role"


def test_an_incomplete_report_says_so(samples: Mapping[str, Report]) -> None:
    """
    The verdict outranks the findings, and what was not looked at is named with its kind.
    """
    document = parsed(samples["incomplete"])

    assert (document["verdict"], document["exit_code"]) == ("incomplete", 3)
    assert [skip["kind"] for skip in document["skipped"]] == ["not-configured", "unreachable", "not-permitted"]


def test_times_money_and_mappings(samples: Mapping[str, Report]) -> None:
    """
    Times are UTC to the second with a Z whatever their zone, money is a decimal string, any mapping is an object.
    """
    east = datetime(2025, 12, 8, 13, 0, 5, 999_999, tzinfo=timezone(timedelta(hours=1)))
    evidence: Any = MappingProxyType({"price": Decimal("7.9E-3"), "sent": east, "pair": ("a", {"b": 1}), "who": None})
    finding = Finding(
        name="message-mismatched", severity=Severity.ERROR, subject="s", summary="", remedy="", evidence=evidence
    )
    report = replace(samples["healthy"], started_at=east, window=Window(east, east), findings=[finding])
    document = parsed(report)

    assert document["started_at"] == document["window"]["since"] == "2025-12-08T12:00:05Z"
    assert document["findings"][0]["evidence"] == {
        "price": "0.0079",
        "sent": "2025-12-08T12:00:05Z",
        "pair": ["a", {"b": 1}],
        "who": None,
    }


def test_what_json_cannot_hold_is_a_bug_and_not_a_guess(samples: Mapping[str, Report]) -> None:
    """
    A value without a JSON form never ends up as its Python text.
    """
    evidence: Any = {"x": object()}

    with pytest.raises(TypeError, match="object"):
        json_document(replace(samples["healthy"], coverage=evidence))


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_survives_and_none_reaches_the_terminal_raw(summary: str, key: str) -> None:
    """
    What is read back is what went in, surrogates and control characters included; in between all of it can be seen.
    """
    finding = Finding(
        name="n", severity=Severity.INFO, subject="s", summary=summary, remedy="r", evidence={key: summary}
    )
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    report = Report(
        command="c",
        version="0",
        started_at=moment,
        finished_at=moment,
        window=None,
        exit_code=ExitCode.OK,
        exit_reason="",
        findings=[finding],
    )
    text = json_document(report)

    assert text.replace("\n", "").isprintable()
    assert text.encode()
    assert json.loads(text)["findings"][0]["summary"] == summary
    assert json.loads(text)["findings"][0]["evidence"] == {key: summary}
