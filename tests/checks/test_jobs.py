"""
The queue: what is overdue or failed, in whatever words and however much of it, and what cannot be told.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from booking_doctor.checks import jobs
from booking_doctor.checks.check import NAMED
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Report, Severity, Window
from booking_doctor.sandbox.incidents import World

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
Look = Callable[..., Report]


@pytest.fixture(name="look")
def _look(scene: World, open_doctor: Callable[..., Doctor]) -> Look:
    """
    The command over the last three days.
    """

    def look(*names: str) -> Report:
        request = Request(window=Window(scene.now - timedelta(days=3), scene.now), chosen=names)
        return open_doctor().jobs(request)

    return look


def told(report: Report) -> list[str]:
    """
    The findings.
    """
    return [finding.fingerprint for finding in report.findings]


def job(scene: World, status: str = "queued", age: timedelta = HOUR, **values: Any) -> str:
    """
    A job that was due so long ago; any word may be its status.
    """
    scene.execute("ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_status_check")
    return scene.job(**{"status": status, "run_at": scene.now - age, **values})


def test_overdue_in_each_way(scene: World, look: Look) -> None:
    """
    A job that waits, one that hangs and one that was tried too often each say so, oldest first.
    """
    waits, hangs = job(scene, age=HOUR), job(scene, "running", 2 * HOUR, attempts=1)
    tried = job(scene, age=-MINUTE, attempts=6)

    report = look()

    assert told(report) == [f"job-overdue:job/{id_}" for id_ in (hangs, waits, tried)]
    assert [finding.summary for finding in report.findings] == [
        f"Job {hangs} (send_sms) still runs 120 minutes after its time.",
        f"Job {waits} (send_sms) still waits 60 minutes after its time.",
        f"Job {tried} (send_sms) was tried 6 times.",
    ]
    assert (report.exit_code, report.coverage["checks_made"]) == (ExitCode.OK, 2)


@pytest.mark.parametrize("status", ["queued", "running", "failed"])
def test_without_its_time(scene: World, look: Look, status: str) -> None:
    """
    A job without `run_at` was due when it was made; where nothing says when, it is not passed over.
    """
    scene.execute("ALTER TABLE jobs ALTER run_at DROP NOT NULL, ALTER created_at DROP NOT NULL")
    job(scene, status, run_at=None, created_at=scene.now + MINUTE)
    made = job(scene, status, run_at=None, created_at=scene.now - HOUR)
    timeless = job(scene, status, run_at=None, created_at=None)

    report = look()

    assert [finding.subject for finding in report.findings] == [f"job/{timeless}", f"job/{made}"]
    assert report.findings[0].evidence["run_at"] is None
    assert report.skipped == []


def test_without_the_column(scene: World, look: Look) -> None:
    """
    `created_at` may be missing.
    """
    scene.execute("ALTER TABLE jobs DROP created_at, ALTER run_at DROP NOT NULL")
    timeless, late = job(scene, run_at=None), job(scene)

    assert told(look()) == [f"job-overdue:job/{id_}" for id_ in (timeless, late)]


@pytest.mark.parametrize(("moment", "overdue"), [("infinity", False), ("-infinity", True)])
def test_times_without_end(scene: World, look: Look, moment: str, overdue: bool) -> None:
    """
    A job that is put off for ever is not due; one that has been due for ever is.
    """
    parked = job(scene)
    scene.execute(f"UPDATE jobs SET run_at = '{moment}'")

    report = look()

    assert told(report) == ([f"job-overdue:job/{parked}"] if overdue else [])
    assert report.skipped == []


@pytest.mark.parametrize("change", ["run_at TYPE timestamp", "run_at TYPE date", "attempts DROP NOT NULL"])
def test_columns_may_differ(scene: World, look: Look, change: str) -> None:
    """
    Other types, the same answer.
    """
    scene.execute(f"ALTER TABLE jobs ALTER {change}")
    late, gone = job(scene, age=26 * HOUR), job(scene, "failed", 26 * HOUR)
    if "attempts" in change:
        scene.execute("UPDATE jobs SET attempts = NULL")

    assert told(look()) == [f"job-failed:job/{gone}", f"job-overdue:job/{late}"]


def test_words_that_are_not_known(scene: World, look: Look) -> None:
    """
    A job in other words is not one that is done: both checks say that they cannot tell.
    """
    job(scene, "done")
    for word in ("pending", "pending", "Queued", "x" * 100):
        job(scene, word)
    scene.execute("ALTER TABLE jobs ALTER status DROP NOT NULL")
    job(scene, None)  # type: ignore[arg-type]

    report = look()

    assert (report.findings, report.exit_code) == ([], ExitCode.INCOMPLETE)
    assert [(skipped.check, skipped.kind) for skipped in report.skipped] == [
        ("job-failed", "unreachable"),
        ("job-overdue", "unreachable"),
    ]
    [reason] = {skipped.reason for skipped in report.skipped}
    assert reason.startswith(
        "5 rows have another word in jobs.status than queued, running, done, failed: 'pending' (2), "
    )
    assert f"'{'x' * 30}' (1)" in reason
    assert "null (1)" in reason
    assert "x" * 31 not in reason


def test_known_words_beside_others(scene: World, look: Look) -> None:
    """
    What is understood is looked at all the same.
    """
    failed = job(scene, "failed")
    for n in range(7):
        job(scene, f"word {n}")

    report = look()

    assert told(report) == [f"job-failed:job/{failed}"]
    assert report.exit_code is ExitCode.INCOMPLETE
    assert "'word 4' (1) and 2 more; what" in report.skipped[0].reason


def test_many(scene: World, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The first are named, one finding before them counts the others, and the report says that they are not named.
    """
    monkeypatch.setattr(jobs, "NAMED", 2)
    late = [job(scene, age=n * HOUR) for n in (5, 4, 3, 2, 1)]
    gone = [job(scene, "failed", n * HOUR) for n in (3, 2, 1)]

    report = look()

    assert told(report) == [
        *(f"job-failed:job/{id_}" for id_ in ("others", *gone[:2])),
        *(f"job-overdue:job/{id_}" for id_ in ("others", *late[:2])),
    ]
    assert [finding.evidence["jobs"] for finding in report.findings if "jobs" in finding.evidence] == [1, 3]
    assert report.findings[3].severity is Severity.WARNING
    assert report.findings[3].summary == "3 more jobs than the 2 named here should have gone long ago."
    assert report.coverage["counted_not_named"] == {"job-failed": 1, "job-overdue": 3}


def test_a_hundred_thousand(scene: World, look: Look) -> None:
    """
    A queue that nobody has worked for long is counted to the job, in little memory.
    """
    scene.execute(
        "INSERT INTO jobs (type, run_at) SELECT 'send_sms', CAST(:at AS timestamptz) FROM generate_series(1, 100000)",
        at=scene.now - HOUR,
    )

    tracemalloc.start()
    report = look()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(report.findings) == NAMED + 1
    assert report.coverage["counted_not_named"] == {"job-overdue": 100_000 - NAMED}
    assert peak < 20_000_000
