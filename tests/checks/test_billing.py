"""
Segments: whose word counts, what a text can have, and what is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.checks import billing, select
from booking_doctor.checks.billing import possible
from booking_doctor.core.segments import segments
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_faults import Fault

ANNA = "+15550101001"
NO_TWILIO = {"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": ""}
SMILE = "\N{SLIGHTLY SMILING FACE}"
Look = Callable[..., Report]


@pytest.fixture(name="look")
def _look(scene: World, open_doctor: Callable[..., Doctor]) -> Look:
    """
    The check over the last three days.
    """

    def look(**variables: str) -> Report:
        request = Request(window=Window(scene.now - timedelta(days=3), scene.now), again="--since 3d")
        return open_doctor(**variables).examine("examine", select(["message-segments"]), request)

    return look


@pytest.fixture(name="record")
def _record(scene: World) -> Callable[..., str]:
    """
    A text and its row, with that many segments; returns the SID.
    """
    customer = scene.customer(ANNA)

    def record(body: str, counted: int | None, **values: Any) -> str:
        message = scene.text(ANNA, scene.now - timedelta(hours=1), body)
        scene.record(message, customer, segments=counted, **values)
        return message.sid

    return record


def only(report: Report) -> Finding:
    """
    The one finding there is.
    """
    (finding,) = report.findings
    return finding


def test_twilio_says_otherwise(look: Look, record: Callable[..., str]) -> None:
    """
    One finding for the column, with how many, the first, and what code makes such numbers.
    """
    record("short", 1)
    record("x" * 400, None)
    first, second = record("x" * 310, 2), record("y" * 10, 7)

    report = look()

    assert (only(report).fingerprint, only(report).severity) == (
        "message-segments:schema/messages.segments",
        Severity.WARNING,
    )
    evidence: Any = only(report).evidence
    assert (evidence["rows"], evidence["by_length"]) == (2, 1)
    assert {(one["message_sid"], one["recorded"], one["right"]) for one in evidence["examples"]} == {
        (first, 2, "3"),
        (second, 7, "1"),
    }
    assert "2 rows of the window say another number of segments than Twilio billed" in only(report).summary
    assert "1 of them divide the text's length by 160" in only(report).summary
    assert only(report).remedy.endswith("booking-doctor backfill --since 3d --fix-mismatched")
    assert report.skipped == []


def test_twilio_has_the_last_word(look: Look, record: Callable[..., str], scene: World) -> None:
    """
    A number that Twilio agrees with is right whatever the text says: it may have been redacted or cut since.
    """
    sid = record("x" * 310, 3)
    scene.execute("UPDATE messages SET body = 'x'")
    assert look().findings == []

    scene.account.redact(sid)
    assert look().findings == []
    assert len(look(**NO_TWILIO).findings) == 1


@pytest.mark.parametrize(
    ("body", "counted", "right"),
    [
        ("x" * 310, 2, "3"),
        ("[x]" * 50, 1, "2"),
        ("x" * 100 + SMILE, 1, "2"),
        ("\N{CYRILLIC SMALL LETTER YA}" * 71, 1, "2"),
        ("\N{EURO SIGN}" * 81, 1, "2"),
        ("\N{CYRILLIC SMALL LETTER YA}" * 66 + SMILE + "\N{CYRILLIC SMALL LETTER YA}" * 66, 2, "3"),
        ("x" * 152 + "[" + "x" * 152, 2, "3"),
        ("short", 3, "1"),
        ("short", 40, "1"),
    ],
)
@pytest.mark.parametrize("variables", [{}, NO_TWILIO, {"TWILIO_ACCOUNT_SID": "AC12"}])
def test_with_and_without_twilio(
    look: Look, record: Callable[..., str], variables: dict[str, str], body: str, counted: int, right: str
) -> None:
    """
    A number that the text cannot have is seen where Twilio cannot be asked, too.
    """
    record(body, counted)

    finding = only(look(**variables))

    evidence: Any = finding.evidence
    assert evidence["rows"] == 1
    [example] = evidence["examples"]
    assert example["right"].startswith(right)
    assert evidence["by_length"] == (ceil(len(body) / 160) == counted)
    assert body not in repr(finding)


@pytest.mark.parametrize(
    ("body", "counted", "values"),
    [
        ("", 5, {}),
        (None, 5, {}),
        ("x" * 310, 3, {}),
        ("x" * 310, 0, {}),
        ("x" * 310, None, {}),
        ("x" * 130, 2, {}),
        ("[Acme] \N{LEFT DOUBLE QUOTATION MARK}Hi" + "x" * 100, 1, {}),
        ("[Acme] \N{LEFT DOUBLE QUOTATION MARK}Hi" + "x" * 100, 2, {}),
        ("x" * 1000, 1, {"message_sid": "MM" + "a" * 32}),
        ("x" * 1000, 1, {"to_number": f"whatsapp:{ANNA}"}),
        ("x" * 1000, 1, {"message_type": "MMS"}),
        ("x" * 1000, 1, {"direction": "inbound"}),
        ("x" * 1000, 1, {"message_sid": None}),
        ("x" * 456, 3, {}),
        ("x" * 457, 4, {}),
    ],
)
def test_what_is_left_alone(
    scene: World, look: Look, record: Callable[..., str], body: str | None, counted: int | None, values: dict[str, Any]
) -> None:
    """
    Without Twilio: what says nothing, what another channel counts otherwise, what smart encoding, a trial account or a
    toll-free number explain.
    """
    record(body or "x", counted, **values)
    scene.execute("UPDATE messages SET body = :body", body=body)

    assert look(**NO_TWILIO).findings == []


def test_without_the_column(scene: World, look: Look, record: Callable[..., str]) -> None:
    """
    A table that keeps no segments has none that are wrong; one that keeps no kind has only texts.
    """
    record("x" * 310, 2)
    scene.execute("ALTER TABLE messages DROP message_type")
    assert only(look(**NO_TWILIO)).evidence["rows"] == 1

    scene.execute("ALTER TABLE messages DROP segments")
    assert (look().findings, look().skipped) == ([], [])


def test_a_log_that_breaks_off(scene: World, look: Look, record: Callable[..., str]) -> None:
    """
    Where not everything could be read and nothing was found, nothing is claimed.
    """
    record("x" * 310, 3)
    scene.simulator.faults.add(Fault.forbidden(), times=None)

    report = look()

    assert (report.findings, report.exit_code) == ([], ExitCode.INCOMPLETE)


def test_many(look: Look, record: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is beyond the limit is not called right.
    """
    monkeypatch.setattr(billing, "COUNTED", 2)
    for _ in range(5):
        record("x" * 310, 2)

    report = look(**NO_TWILIO)

    assert only(report).evidence["rows"] == 2
    assert report.exit_code is ExitCode.INCOMPLETE
    assert "3 texts more were not counted; the limit is 2" in report.skipped[0].reason


@given(st.text(max_size=400))
def test_what_a_text_can_have(body: str) -> None:
    """
    The number that Twilio's calculator gives is always possible, and so is more for a trial account.
    """
    least, most = possible(body)

    assert 1 <= least <= segments(body) <= most
