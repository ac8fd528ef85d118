"""
What somebody decided to live with: for a time, counted, and never forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from types import SimpleNamespace
from typing import Any, Final

import pytest

from booking_doctor import examination
from booking_doctor.checks import CATALOGUE, select
from booking_doctor.checks.check import Evidence
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import DatabaseUnreachable, ExitCode, NotConfigured, SettingsError, TwilioRefused
from booking_doctor.examination import Chart
from booking_doctor.findings import Disclosure, Report, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Ignored, Preferences


@pytest.fixture(name="failed")
def _failed(scene: World) -> str:
    """
    The fingerprint of a fault that is there.
    """
    return f"job-failed:job/{scene.job(status='failed', run_at=scene.now - timedelta(hours=1), attempts=5)}"


@pytest.fixture(name="examined")
def _examined(scene: World, open_doctor: Callable[..., Doctor]) -> Callable[..., Report]:
    """
    The report on the queue, ignoring these for so many days from today.
    """

    def examine(*chosen: str, **days: int) -> Report:
        entries = (
            Ignored(fingerprint=fingerprint, reason="a test", until=scene.now.date() + timedelta(days=ahead))
            for fingerprint, ahead in days.items()
        )
        doctor = open_doctor(Preferences(ignored=tuple(entries)))
        request = Request(window=Window(scene.now - timedelta(days=7), scene.now))
        return doctor.examine("check-job", select(chosen or ["job"]), request)

    return examine


def test_not_ignored(failed: str, examined: Callable[..., Report]) -> None:
    """
    Without an entry it counts, and the report says that none is ignored.
    """
    report = examined()

    assert [finding.fingerprint for finding in report.findings] == [failed]
    assert report.exit_code is ExitCode.FINDINGS
    assert report.coverage == {"checks_made": 2, "suppressed": 0}


def test_ignored(failed: str, examined: Callable[..., Report]) -> None:
    """
    Until its day it does not count, and the report says how many do not.
    """
    report = examined(**{failed: 1})

    assert (report.findings, report.exit_code) == ([], ExitCode.OK)
    assert report.summary == {"error": 0, "warning": 0, "info": 0}
    assert report.exit_reason == "no findings, 1 ignored for now"
    assert report.coverage == {"checks_made": 2, "suppressed": 1}


@pytest.mark.parametrize("days", [0, -1, -400])
def test_past_its_day(failed: str, examined: Callable[..., Report], days: int) -> None:
    """
    From its day on it counts again, and the report says that it was ignored before.
    """
    report = examined(**{failed: days})

    assert [finding.fingerprint for finding in report.findings] == [failed]
    assert report.exit_code is ExitCode.FINDINGS
    assert report.exit_reason == "1 error, 1 no longer ignored"
    assert report.coverage == {"checks_made": 2, "suppressed": 0, "counting_again": [failed]}


def test_only_the_one(scene: World, failed: str, examined: Callable[..., Report]) -> None:
    """
    Another fault of the same name counts.
    """
    other = scene.job(status="failed", run_at=scene.now - timedelta(hours=2), attempts=5)

    report = examined(**{failed: 1})

    assert [finding.subject for finding in report.findings] == [f"job/{other}"]
    assert report.exit_reason == "1 error, 1 ignored for now"


@pytest.mark.parametrize("days", [1, -1])
def test_an_entry_that_matches_nothing(failed: str, examined: Callable[..., Report], days: int) -> None:
    """
    It is named, past its day too: the fault is gone, or the entry never was right.
    """
    gone, misspelt = "job-failed:job/gone", "job-faild:job/1"

    report = examined(**{failed: 1, gone: days, misspelt: days})

    assert report.coverage["ignored_without_match"] == [gone, misspelt]
    assert report.coverage["suppressed"] == 1


def test_an_entry_that_was_not_looked_for(scene: World, examined: Callable[..., Report]) -> None:
    """
    Nothing is said of one whose check was not chosen, or could not look: it may match there.
    """
    elsewhere = next(name for name in CATALOGUE if not name.startswith("job-"))
    scene.execute("DROP TABLE jobs")

    report = examined(**{f"{elsewhere}:somewhere/1": 1, "job-failed:job/1": 1})

    assert report.coverage == {"checks_made": 0, "suppressed": 0}
    assert {skipped.kind for skipped in report.skipped} == {"not-applicable"}


def test_reconcile_obeys(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    What the two sides disagree about can be ignored too; then they are not said to agree.
    """
    texts = [scene.text(f"+1555010100{n}", scene.now - timedelta(hours=1 + n)) for n in range(2)]
    first, second = (f"message-orphaned:message/{text.sid}" for text in texts)
    request = Request(window=Window(scene.now - timedelta(days=7), scene.now))

    def reconciled(**days: int) -> Report:
        entries = (
            Ignored(fingerprint=fingerprint, reason="a test", until=scene.now.date() + timedelta(days=ahead))
            for fingerprint, ahead in days.items()
        )
        return open_doctor(Preferences(ignored=tuple(entries))).reconcile(request)

    assert {finding.fingerprint for finding in reconciled().findings} == {first, second}
    assert reconciled().coverage["suppressed"] == 0

    one = reconciled(**{first: 1, second: -1})
    assert [finding.fingerprint for finding in one.findings] == [second]
    assert one.exit_reason == "1 warning, 1 ignored for now, 1 no longer ignored"
    assert (one.coverage["suppressed"], one.coverage["counting_again"]) == (1, [second])
    assert one.summary["orphaned"] == 2

    both = reconciled(**{first: 1, second: 1, "message-orphaned:message/gone": 1})
    assert (both.findings, both.exit_code) == ([], ExitCode.OK)
    assert both.exit_reason == "no findings, 2 ignored for now"
    assert both.coverage["ignored_without_match"] == ["message-orphaned:message/gone"]


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ("ALTER TABLE customers RENAME TO clients", "schema-table-missing:schema/customers"),
        ("ALTER TABLE messages DROP body", "schema-column-missing:schema/messages.body"),
    ],
)
def test_what_is_missing_blinds_only_what_looks_at_it(
    scene: World, open_doctor: Callable[..., Doctor], change: str, subject: str
) -> None:
    """
    Other tables are looked at; and whoever lives with what is missing hears of the checks that could not be made.
    """
    scene.execute(change)
    scene.execute("CREATE RULE frozen AS ON UPDATE TO pending_bookings DO INSTEAD NOTHING")

    def examined(*ignored: str) -> Report:
        until = scene.now.date() + timedelta(days=1)
        entries = tuple(Ignored(fingerprint=fingerprint, reason="a test", until=until) for fingerprint in ignored)
        request = Request(window=Window(scene.now - timedelta(days=7), scene.now))
        return open_doctor(Preferences(ignored=entries)).examine("check-schema", select(["schema"]), request)

    blocked = "schema-update-blocked:schema/pending_bookings.metadata"
    report = examined()
    assert {subject, blocked} <= {finding.fingerprint for finding in report.findings}
    assert {skipped.kind for skipped in report.skipped} == {"not-applicable"}
    assert report.exit_code is ExitCode.FINDINGS
    assert examined(subject, blocked).exit_code is ExitCode.INCOMPLETE


# --- the evidence ----------------------------------------------------------------------------------------------------


def chart(**sources: Callable[[], Any]) -> Chart:
    """
    Evidence from these sources.
    """

    def nowhere() -> Any:
        raise AssertionError

    now = datetime(2025, 12, 8, tzinfo=UTC)
    names = ("open_database", "open_account", "open_platform", "open_application", "compare", "open_log")
    opened: dict[str, Any] = dict.fromkeys(names, nowhere)
    return Chart(
        now=now,
        window=Window(now - timedelta(days=7), now),
        disclosure=Disclosure(),
        region="US",
        variables=(),
        expected=None,
        command=lambda words: words,
        **{**opened, **sources},
    )


SOURCES: Final = {
    "open_database": "database",
    "open_account": "account",
    "open_platform": "platform",
    "open_application": "application",
    "compare": "comparison",
}


@pytest.mark.parametrize("error", [DatabaseUnreachable("gone"), SettingsError("none"), ValueError("a bug")])
@pytest.mark.parametrize("opens", SOURCES)
def test_a_source_that_fails_is_asked_once(opens: str, error: Exception) -> None:
    """
    Whatever went wrong, whoever asks again hears the same at once.
    """
    asked: list[str] = []

    def ask() -> None:
        asked.append(opens)
        raise error

    evidence = chart(**{opens: ask})

    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            getattr(evidence, SOURCES[opens])
        assert caught.value is error
    assert asked == [opens]


def test_a_database_that_does_not_answer_is_asked_once() -> None:
    """
    It is opened without a word; the first question finds out, for all.
    """
    asked: list[str] = []

    def rows(question: str, **_: object) -> None:
        asked.append(question)
        message = "no connection"
        raise DatabaseUnreachable(message)

    evidence = chart(open_database=lambda: SimpleNamespace(rows=rows))

    for _ in range(3):
        with pytest.raises(DatabaseUnreachable):
            _ = evidence.database
    assert len(asked) == 1


def test_the_first_to_ask_is_freed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the database falls silent, whoever put the question waits no longer than those who came later.
    """
    monkeypatch.setattr(examination, "ALIVE_S", 0.05)
    silent, asked = Event(), Event()

    def rows(_: str, **__: object) -> list[dict[str, Any]]:
        if asked.is_set():
            silent.wait(5)
        return []

    def compare() -> None:
        asked.set()
        silent.wait(5)

    evidence = chart(open_database=lambda: SimpleNamespace(rows=rows), compare=compare)
    assert evidence.database is not None
    with ThreadPoolExecutor() as executor:
        first = executor.submit(lambda: evidence.comparison)
        assert asked.wait(5)
        evidence.doubt_database(executor)
        with pytest.raises(DatabaseUnreachable, match="stopped answering"):
            first.result(1)
        silent.set()


def test_several_ask_at_once() -> None:
    """
    The second waits for the answer to the first.
    """
    begun, release = Event(), Event()
    asked: list[int] = []

    def ask() -> object:
        asked.append(1)
        begun.set()
        release.wait(10)
        return object()

    evidence = chart(compare=ask)
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(lambda: evidence.comparison) for _ in range(4)]
        begun.wait(10)
        assert evidence.unread == []
        release.set()

    assert len({id(answer.result()) for answer in answers}) == 1
    assert asked == [1]


def test_a_look_that_several_checks_share() -> None:
    """
    It is done once, and another one is another.
    """
    evidence, looks = chart(), []

    def look(seen: Evidence) -> int:
        looks.append(seen)
        return len(looks)

    def other(seen: Evidence) -> int:
        return look(seen)

    assert [evidence.once(look), evidence.once(look), evidence.once(other)] == [1, 1, 2]
    assert looks == [evidence, evidence]


@pytest.mark.parametrize(
    ("error", "kind", "check"),
    [
        (TwilioRefused("no", status=401, code=20003), "not-permitted", "twilio-log"),
        (DatabaseUnreachable("gone"), "unreachable", "database"),
        (NotConfigured("not set"), "not-configured", "twilio-log"),
        (SettingsError("malformed"), "unreachable", "twilio-log"),
        (ValueError("hunter2"), "unreachable", "twilio-log"),
    ],
)
def test_a_comparison_that_failed(error: Exception, kind: str, check: str) -> None:
    """
    Why there is none is told, though each check that asked for it may have gone on without.
    """

    def compare() -> None:
        raise error

    evidence = chart(compare=compare)
    assert evidence.unread == []
    with pytest.raises(type(error)):
        _ = evidence.comparison

    [skipped] = evidence.unread
    assert (skipped.check, skipped.kind) == (check, kind)
    assert "hunter2" not in skipped.reason
