"""
What is remembered of findings: new, there since when, gone; and never gone without having been looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, Report, Severity, Skipped, Verdict, Window
from booking_doctor.sightings import Memory, recalled

NOON = datetime(2025, 12, 8, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = Window(NOON - 7 * DAY, NOON)
EVER = NOON - 400 * DAY


def text(number: int, at: datetime | None = NOON - DAY, name: str = "message-unrecorded") -> Finding:
    """
    A finding about a text.
    """
    evidence = {"message_sid": f"SM{number}", "date": at.isoformat() if at else None}
    return Finding(
        name=name, severity=Severity.ERROR, subject=f"message/SM{number}", summary="", remedy="", evidence=evidence
    )


INDEX = Finding(
    name="schema-sid-not-unique",
    severity=Severity.WARNING,
    subject="schema/messages.message_sid",
    summary="",
    remedy="",
    evidence={},
)


def report(findings: Sequence[Finding] = (), *, at: datetime = NOON, **values: Any) -> Report:
    """
    What a run says that looked for both, in the week before.
    """
    defaults: dict[str, Any] = {
        "command": "diagnose",
        "version": "1",
        "finished_at": at,
        "window": Window(at - 7 * DAY, at),
        "exit_code": ExitCode.FINDINGS if findings else ExitCode.OK,
        "exit_reason": "",
        "checks": ["message-unrecorded", "message-duplicated", "schema-sid-not-unique"],
    }
    return Report(**{**defaults, **values}, started_at=at, findings=findings)


def told(later: Report, *earlier: Report) -> tuple[set[str], set[str], set[str]]:
    """
    What is new in a report, gone, and still remembered, after earlier ones.
    """
    memory = Memory()
    for one in earlier:
        _, memory = recalled(one, memory, EVER)
    found, memory = recalled(later, memory, EVER)
    assert found.novelty is not None
    new = {finding.fingerprint for finding in found.findings if found.is_new(finding)}
    return new, set(found.novelty.gone), set(memory.sightings)


ONE, TWO = "message-unrecorded:message/SM1", "message-unrecorded:message/SM2"
LATER = NOON + timedelta(hours=1)


def test_new_persisting_and_gone() -> None:
    """
    A finding keeps the time at which it was first seen, through a run that found nothing of it too, until it is gone.
    """
    first, memory = recalled(report([text(1), INDEX]), Memory(), EVER)
    second, memory = recalled(report([text(1), text(2)], at=LATER), memory, EVER)

    assert first.novelty is not None
    assert second.novelty is not None
    assert [first.is_new(finding) for finding in first.findings] == [True, True]
    assert [second.is_new(finding) for finding in second.findings] == [False, True]
    assert second.novelty.since == {ONE: NOON, TWO: LATER}
    assert second.novelty.gone == {INDEX.fingerprint: NOON}
    assert set(memory.sightings) == {ONE, TWO}
    assert memory.verdict is Verdict.FINDINGS


UNREAD = Skipped(check="twilio-log", kind="unreachable", reason="it does not answer")


@pytest.mark.parametrize(
    ("why", "values"),
    [
        ("its check was not chosen", {"checks": ["schema-sid-not-unique"]}),
        ("its check looked at a part", {"skipped": [replace(UNREAD, check="message-unrecorded")]}),
        (
            "another fault stands before it",
            {"skipped": [replace(UNREAD, check="message-unrecorded", kind="not-applicable")]},
        ),
        ("the log was not read to its end", {"skipped": [UNREAD]}),
        ("the window begins too late", {"window": Window(NOON - timedelta(hours=23), LATER)}),
        ("the window ends too early", {"window": Window(NOON - 7 * DAY, NOON - 2 * DAY)}),
        ("it is ignored for now", {"set_aside": frozenset({ONE})}),
        ("others of its name were only counted", {"coverage": {"counted_not_named": {"message-unrecorded": 5}}}),
    ],
)
def test_what_was_not_looked_for_is_not_gone(why: str, values: dict[str, Any]) -> None:
    """
    It is remembered as it was, whatever the reason, and is not new when it is seen again.
    """
    before, blind = report([text(1)]), report(at=LATER, **values)

    assert told(blind, before) == (set(), set(), {ONE}), why
    assert told(report([text(1)], at=LATER + DAY), before, blind) == (set(), set(), {ONE})
    assert told(report(at=LATER), before, blind) == (set(), {ONE}, set())


def test_what_is_not_looked_for_is_counted() -> None:
    """
    The coverage says how many; what is ignored is counted elsewhere.
    """
    _, memory = recalled(report([text(1), text(2)]), Memory(), EVER)
    found, _ = recalled(report(at=LATER, skipped=[UNREAD], set_aside=frozenset({TWO})), memory, EVER)

    assert found.coverage["not_looked_for_again"] == 1


def test_what_has_no_time_is_gone_whatever_the_window() -> None:
    """
    A table's index is looked for by every run that makes its check, also while Twilio does not answer.
    """
    blind = report(at=LATER, window=Window(NOON, LATER), skipped=[UNREAD])

    assert told(blind, report([INDEX])) == (set(), {INDEX.fingerprint}, set())


def test_a_text_whose_time_is_not_told_is_looked_for_in_the_whole_window() -> None:
    """
    It may be as old as the window in which it was seen: a later window does not find it gone.
    """
    double = text(1, at=None, name="message-duplicated")

    assert told(report(at=LATER), report([double])) == (set(), set(), {double.fingerprint})
    wide = report(at=LATER, window=Window(WEEK.since, LATER))
    assert told(wide, report([double])) == (set(), {double.fingerprint}, set())


def test_a_time_outside_of_the_window_does_not_say_where_it_is_looked_for() -> None:
    """
    A finding that the window shows for another reason is gone when the same window does not show it.
    """
    old = text(1, at=NOON - 30 * DAY)
    again = report(at=LATER, window=Window(WEEK.since, LATER))

    assert told(again, report([old])) == (set(), {ONE}, set())


def test_what_nobody_can_look_for_any_more_is_forgotten() -> None:
    """
    Past Twilio's retention a text is neither there nor gone.
    """
    _, memory = recalled(report([text(1)]), Memory(), EVER)
    late, memory = recalled(report(at=NOON + 500 * DAY), memory, NOON + 100 * DAY)

    assert late.novelty is not None
    assert (late.novelty.gone, memory.sightings) == ({}, {})


@given(st.lists(st.tuples(st.sets(st.integers(0, 4)), st.booleans()), max_size=12))
def test_every_finding_is_told_new_once_and_gone_once(runs: list[tuple[set[int], bool]]) -> None:
    """
    Over any course of runs, some of them blind: new and gone alternate for each, gone only by a run that could see, and
    what a seeing run does not find is not remembered.
    """
    memory, standing = Memory(), set[str]()
    for number, (seen, blind) in enumerate(runs):
        at = NOON + number * timedelta(minutes=1)
        one = report([text(n) for n in seen], at=at, skipped=[UNREAD] if blind else [])
        found, memory = recalled(one, memory, EVER)
        names = {finding.fingerprint for finding in found.findings}
        assert found.novelty is not None
        assert {f.fingerprint for f in found.findings if found.is_new(f)} == names - standing
        assert set(found.novelty.gone) == (set() if blind else standing - names)
        standing = standing | names if blind else names
        assert set(memory.sightings) == standing
