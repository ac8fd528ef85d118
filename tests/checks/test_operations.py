"""
Operations that stop: what the log itself calls begun, what usually follows, what a report ends with, and what is neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from booking_doctor.checks import select
from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import Report, Severity, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.logs import audited, reported, went

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PHONE, BODY = "+15550104081", "Your table is waiting."
Look = Callable[..., Report]


@pytest.fixture(name="look")
def _look(scene: World, open_doctor: Callable[..., Doctor]) -> Look:
    """
    The check over so long a time, without Twilio: the log is the database's.
    """

    def look(since: timedelta = timedelta(days=3)) -> Report:
        request = Request(window=Window(scene.now - since, scene.now))
        nothing = {"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": ""}
        return open_doctor(**nothing).examine("examine", select(["log-operation-stops"]), request)

    return look


def steps(report: Report) -> list[Any]:
    """
    The steps at which operations stopped, and how many.
    """
    assert report.skipped == []
    found: Any = report.findings
    return [(step["step"], step["operations"]) for finding in found for step in finding.evidence["steps"]]


def usual(scene: World, number: int = 5, then: timedelta = SECOND) -> None:
    """
    So many bookings more at which the second step followed the first after so long.
    """
    for n in range(number):
        went(scene, f"{n}{then.seconds}", ("booking.initiated", 2 * HOUR), ("sms.sent", 2 * HOUR - then))


@pytest.mark.parametrize(
    "action",
    [
        "sms.started",
        "sms.send.start",
        "smsSendStarted",
        "booking.confirm.begin",
        "twilio sending",
        "message_in_progress",
    ],
)
def test_begun_and_not_ended(scene: World, look: Look, action: str) -> None:
    """
    A step that says it is only a beginning, with nothing after it, has not ended.
    """
    went(scene, "1", (action, HOUR))

    report = look()

    assert steps(report) == [(action, 1)]
    [finding] = report.findings
    assert (finding.fingerprint, finding.severity) == ("log-operation-stops:log/audit_logs", Severity.WARNING)
    assert f"1 operation that stops (at {action}), the last at" in finding.summary
    assert finding.evidence["steps"][0]["entities"] == ["1"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("story", "kind"),
    [
        ((("sms.started", HOUR), ("sms.finished", HOUR - 10 * MINUTE)), "sms"),
        ((("sms.started", HOUR), ("sms.failed", HOUR - SECOND)), "sms"),
        ((("sms.started", HOUR), ("sms.finished", HOUR)), "sms"),
        ((("sms.started", 4 * MINUTE),), "sms"),
        ((("sms.started", 4 * timedelta(days=1)),), "sms"),
        ((("invoice.started", HOUR),), "invoice"),
        ((("booking.restored", HOUR),), "booking"),
    ],
)
def test_ended_young_old_or_something_else(scene: World, look: Look, story: Any, kind: str) -> None:
    """
    What ended in whatever way, may still go on, was before the window, or is about something else is not told.
    """
    for action, age in story:
        audited(scene, action, {}, age=age, entity="1", kind=kind)

    assert steps(look()) == []


def test_operations_are_told_apart_by_what_they_are_about(scene: World, look: Look) -> None:
    """
    The end of one is not that of another, nor of something else with the same id; what is about nothing is left out.
    """
    went(scene, "1", ("sms.started", HOUR))
    went(scene, "2", ("sms.finished", HOUR - SECOND))
    audited(scene, "sms.finished", {}, age=HOUR - SECOND, entity="1", kind="customer")
    audited(scene, "sms.started", {}, age=HOUR)
    audited(scene, "sms.started", {}, age=HOUR, entity="")

    assert steps(look()) == [("sms.started", 1)]


def test_a_step_that_is_usually_followed(scene: World, look: Look) -> None:
    """
    Where a step is followed at once in most operations, one that ends with it stopped, in whatever words.
    """
    usual(scene, 4)
    went(scene, "one", ("booking.initiated", HOUR), ("booking.initiated", HOUR))
    assert steps(look()) == []

    usual(scene, 1, 2 * SECOND)
    assert steps(look()) == [("booking.initiated", 1)]


def test_a_step_that_waits_for_somebody(scene: World, look: Look) -> None:
    """
    Where it takes longer, or only now and then is quick, somebody decides whether it goes on.
    """
    usual(scene, 20, then=2 * MINUTE)
    usual(scene, 5)
    went(scene, "30", ("booking.initiated", HOUR))

    assert steps(look()) == []


def test_what_is_usual_is_learned_from_longer_ago(scene: World, look: Look) -> None:
    """
    A short window after the fault shows no operation that went on; the days before it do.
    """
    usual(scene)
    went(scene, "10", ("booking.initiated", HOUR))

    assert steps(look(90 * MINUTE)) == [("booking.initiated", 1)]


def test_steps_of_one_transaction(scene: World, look: Look) -> None:
    """
    Entries of the same moment have no order, and none of them is the last.
    """
    usual(scene, then=timedelta())
    went(scene, "10", ("booking.initiated", HOUR), ("sms.sent", HOUR))

    assert steps(look()) == []


@pytest.mark.parametrize("well", ["done", "OK", "sent", "completed", "201"])
def test_reports(scene: World, look: Look, well: str) -> None:
    """
    An entry that holds all steps of an operation says itself whether the last one went well.
    """
    audited(scene, "initiate_booking", reported("no such event", well))
    assert steps(look()) == []

    for _ in range(2):
        audited(scene, "initiate_booking", reported("done", "done", "no answer"), entity="7")
    audited(scene, "confirm_booking", reported("done", "statement timeout"))

    assert steps(look()) == [
        ("initiate_booking, step send the text", 2),
        ("confirm_booking, step store the booking", 1),
    ]


@pytest.mark.parametrize(
    ("report", "stops"),
    [
        ({"steps": [{"step": "send", "ok": False}]}, True),
        ({"steps": [{"step": "send", "ok": True}]}, False),
        ({"steps": [{"name": "send", "status": "failed"}]}, True),
        ({"steps": [{"name": "send", "outcome": "1 found"}], "warnings": []}, False),
        ({"steps": [{"name": "send", "outcome": "timed out"}], "warnings": ["slow", "timed out"]}, True),
        ({"steps": [{"name": "send"}]}, False),
        ({"steps": []}, False),
        ({"steps": "send"}, False),
        ({"steps": ["send"]}, False),
        ("steps", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("kind", ["jsonb", "json", "text"])
def test_shapes_of_reports(scene: World, look: Look, report: Any, stops: bool, kind: str) -> None:
    """
    What is no report of steps, or does not say how they ended, is no operation that stopped.
    """
    scene.execute(f"ALTER TABLE audit_logs ALTER details DROP DEFAULT, ALTER details TYPE {kind}")
    scene.execute(
        f"INSERT INTO audit_logs (action, details, created_at) VALUES ('sms.send', CAST(:report AS {kind}), :at)",
        report=json.dumps(report),
        at=scene.now - HOUR,
    )

    if kind == "text" and isinstance(report, dict):
        [skipped] = look().skipped
        assert (skipped.check, skipped.kind) == ("log-operation-stops", "not-applicable")
        assert "1 entries of audit_logs keep their steps in a text" in skipped.reason
    else:
        assert steps(look()) == ([("sms.send, step send", 1)] if stops else [])


def test_what_jsonb_cannot_read(scene: World, look: Look) -> None:
    """
    One entry that holds it does not keep the doctor from the others.
    """
    scene.execute("ALTER TABLE audit_logs ALTER details DROP DEFAULT, ALTER details TYPE json")
    for report in ('{"note": "\\u0000"}', json.dumps(reported("failed"))):
        scene.execute(
            "INSERT INTO audit_logs (action, details, created_at) VALUES ('sms.send', CAST(:report AS json), :at)",
            report=report,
            at=scene.now - HOUR,
        )

    assert steps(look()) == [("sms.send, step check the request", 1)]


def test_no_words_get_out(scene: World, look: Look) -> None:
    """
    Names that may hold a phone or a text are not shown, and ids only where they are ids.
    """
    went(scene, PHONE, (f"sms to {PHONE} started", HOUR))
    audited(scene, "sms.send", {"steps": [{"name": f"{BODY} {PHONE}", "outcome": f"{BODY} for {PHONE}"}]}, entity=PHONE)
    booking = scene.pending_booking(PHONE)
    went(scene, booking, ("sms.started", HOUR))

    report = look()

    assert len(steps(report)) == 3
    assert PHONE not in repr(report)
    assert "0104081" not in repr(report)
    assert booking in repr(report)


def test_many_steps(scene: World, look: Look) -> None:
    """
    The most frequent are shown, the others counted.
    """
    for n in range(25):
        for letter in "abc"[: 1 + (n == 7)]:
            went(scene, f"{n}{ord(letter)}", (f"sms.{chr(97 + n)}.started", HOUR))

    report = look()

    assert len(steps(report)) == 20
    assert steps(report)[0] == ("sms.h.started", 2)
    assert report.findings[0].evidence["operations"] == 26
    assert report.findings[0].evidence["steps_not_shown"] == 5


def test_without_the_log_or_its_columns(scene: World, look: Look) -> None:
    """
    A log that does not say what its entries are about cannot be followed; one that has no types can.
    """
    went(scene, "1", ("sms.started", HOUR))
    scene.execute("ALTER TABLE audit_logs DROP entity_type")
    assert steps(look()) == [("sms.started", 1)]

    scene.execute("ALTER TABLE audit_logs DROP entity_id")
    assert [skipped.kind for skipped in look().skipped] == ["unreachable"]

    scene.execute("DROP TABLE audit_logs")
    assert [skipped.kind for skipped in look().skipped] == ["not-applicable"]
