"""
Checks are made each on its own: whatever becomes of one is said of that one, and the others are made all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.checks.check import Check, Evidence, Fault
from booking_doctor.checks.runner import (
    OPTIONAL_TABLES,
    Found,
    NotMade,
    Outcome,
    Passed,
    findings_of,
    run,
    skipped_of,
)
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import (
    DatabaseForbidden,
    DatabaseUnreachable,
    ExitCode,
    NotHere,
    SchemaMismatch,
    SettingsError,
    TwilioRefused,
)
from booking_doctor.findings import FailOn, Severity, Verdict, Window
from booking_doctor.sandbox.incidents import World

SECRET = "hunter2-never-shown"


def made(
    name: str, look: Callable[[Evidence], Any], *after: str, severity: Severity = Severity.ERROR, limit_s: float = 5
) -> Check:
    """
    A check that looks like that.
    """
    return Check(name=name, severity=severity, after=after, limit_s=limit_s, page="", look=look)


def well(evidence: Evidence) -> list[Fault]:
    """
    Nothing is wrong.
    """
    return []


def ill(*subjects: str, severity: Severity | None = None) -> Callable[[Evidence], list[Fault]]:
    """
    Something is wrong with each of these.
    """
    return lambda evidence: [
        Fault(subject=subject, summary="It is.", remedy="Do.", evidence={}, severity=severity) for subject in subjects
    ]


def raising(error: Exception, *found: str) -> Callable[[Evidence], Iterator[Fault]]:
    """
    Some things are found, then the look ends like that.
    """

    def look(evidence: Evidence) -> Iterator[Fault]:
        yield from ill(*found)(evidence)
        raise error

    return look


def outcomes(*checks: Check, executor: Executor | None = None) -> list[Outcome]:
    """
    What becomes of them; they need no evidence.
    """
    nothing: Any = None
    with executor or ThreadPoolExecutor(len(checks)) as threads:
        return run(checks, nothing, threads)


def test_passed_and_found() -> None:
    """
    A look that yields nothing has passed; what it yields are findings of its name.
    """
    first, second = outcomes(made("job-a", well), made("job-b", ill("job/1", "job/2")))

    assert isinstance(first, Passed)
    assert isinstance(second, Found)
    assert [finding.fingerprint for finding in second.findings] == ["job-b:job/1", "job-b:job/2"]
    assert skipped_of([first, second]) == []


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ValueError(SECRET), "unreachable", "crashed (ValueError): a bug in it"),
        (AssertionError(SECRET), "unreachable", "crashed (AssertionError): a bug in it"),
        (DatabaseForbidden("no right to read jobs", hint="grant it"), "not-permitted", "no right to read jobs"),
        (TwilioRefused("the token is wrong", status=401, code=20003), "not-permitted", "the token is wrong"),
        (DatabaseUnreachable("no connection"), "unreachable", "no connection"),
        (SchemaMismatch("no column"), "unreachable", "no column"),
        (SettingsError("DATABASE_URL is missing", hint="set it"), "not-configured", "DATABASE_URL is missing; set it"),
        *((NotHere(f"no table {table}", table=table), "not-applicable", table) for table in sorted(OPTIONAL_TABLES)),
        (NotHere("no column attempts", table="jobs", column="attempts"), "unreachable", "no column attempts"),
        (NotHere("no table messages", table="messages"), "unreachable", "no table messages"),
        (NotHere("no table customers", table="customers"), "unreachable", "no table customers"),
    ],
)
def test_a_check_that_could_not_look(error: Exception, kind: str, words: str) -> None:
    """
    It is named with its reason, what it had found by then stands, and the one after it is made.
    """
    told = outcomes(made("job-a", raising(error, "job/1")), made("job-b", ill("job/2")))
    [skipped] = skipped_of(told)

    assert isinstance(told[0], NotMade)
    assert (skipped.check, skipped.kind) == ("job-a", kind)
    assert words in skipped.reason
    assert SECRET not in skipped.reason
    assert [finding.fingerprint for finding in findings_of(told)] == ["job-a:job/1", "job-b:job/2"]


@pytest.mark.parametrize("threads", [ThreadPoolExecutor, DaemonExecutor])
def test_a_check_that_hangs(threads: Callable[[int], Executor]) -> None:
    """
    It is given up after its time, and the others do not wait for it.
    """
    released = Event()
    hangs = made("job-a", lambda evidence: released.wait() and [], limit_s=0.05)
    executor = threads(3)
    nothing: Any = None

    told = run([hangs, made("job-b", ill("job/2")), made("job-c", well)], nothing, executor)
    released.set()
    executor.shutdown()

    [skipped] = skipped_of(told)
    assert (skipped.check, skipped.kind, skipped.reason) == ("job-a", "unreachable", "no answer within 0.05 s")
    assert [type(outcome) for outcome in told] == [NotMade, Found, Passed]


def test_after_one_that_passed() -> None:
    """
    Then it is made.
    """
    told = outcomes(made("job-a", well), made("job-b", ill("job/1"), "job-a"))

    assert [type(outcome) for outcome in told] == [Passed, Found]


def test_after_a_fault() -> None:
    """
    Then it is not made, and says what comes first; so does each that would come after it.
    """
    told = outcomes(
        made("job-a", ill("job/1")), made("job-b", ill("job/2"), "job-a"), made("job-c", ill("job/3"), "job-b")
    )

    assert [finding.name for finding in findings_of(told)] == ["job-a"]
    assert [(skipped.check, skipped.kind, skipped.reason) for skipped in skipped_of(told)] == [
        ("job-b", "not-applicable", "job-a comes first")
    ]
    assert [type(outcome) for outcome in told] == [Found, NotMade, NotMade]


def test_after_one_that_could_not_look() -> None:
    """
    The reason is said once for all that wait for it.
    """
    told = outcomes(
        made("job-a", raising(DatabaseUnreachable("no connection"))),
        made("job-b", ill("job/2"), "job-a"),
        made("job-c", ill("job/3"), "job-b"),
    )

    assert [type(outcome) for outcome in told] == [NotMade, NotMade, NotMade]
    assert [skipped.check for skipped in skipped_of(told)] == ["job-a"]
    assert findings_of(told) == []


def test_after_one_that_is_not_made_now() -> None:
    """
    What was not chosen is not waited for.
    """
    told = outcomes(made("job-b", ill("job/2"), "job-a"))

    assert [finding.name for finding in findings_of(told)] == ["job-b"]


def test_order_of_findings() -> None:
    """
    Worst first, by the fault's own severity; then as the checks stand in the catalogue.
    """
    told = outcomes(
        made("job-a", ill("job/1"), severity=Severity.INFO),
        made("job-b", ill("job/2"), severity=Severity.WARNING),
        made("job-c", ill("job/3", "job/1"), severity=Severity.ERROR),
        made("job-d", ill("job/4", severity=Severity.ERROR), severity=Severity.INFO),
        made("job-e", ill("job/5"), severity=Severity.WARNING),
    )

    assert [finding.subject for finding in findings_of(told)] == [
        *("job/3", "job/1", "job/4"),
        *("job/2", "job/5"),
        "job/1",
    ]


# What an examination makes of it


@pytest.fixture(name="examined")
def _examined(scene: World, doctor: Doctor) -> Callable[..., Any]:
    """
    The report of an examination by these checks.
    """

    def examine(*checks: Check, fail_on: FailOn = FailOn.ERROR) -> Any:
        window = Window(scene.now.replace(year=scene.now.year - 1), scene.now)
        return doctor.examine("check-job", checks, Request(window=window, fail_on=fail_on))

    return examine


@pytest.mark.parametrize(
    ("error", "code", "verdict"),
    [
        (ValueError(SECRET), ExitCode.INCOMPLETE, Verdict.INCOMPLETE),
        (DatabaseForbidden("no right"), ExitCode.INCOMPLETE, Verdict.INCOMPLETE),
        (NotHere("no table messages", table="messages"), ExitCode.INCOMPLETE, Verdict.INCOMPLETE),
        (NotHere("no table jobs", table="jobs"), ExitCode.OK, Verdict.HEALTHY),
        (SettingsError("not set"), ExitCode.OK, Verdict.HEALTHY),
    ],
)
def test_incomplete(examined: Callable[..., Any], error: Exception, code: ExitCode, verdict: Verdict) -> None:
    """
    What should have been looked at and could not be is never health; what does not apply here is no hindrance.
    """
    report = examined(made("job-a", raising(error)), made("job-b", well))

    assert (report.exit_code, report.verdict) == (code, verdict)
    assert report.coverage["checks_made"] == 1
    assert SECRET not in str(report)


def test_incomplete_outranks_findings(examined: Callable[..., Any]) -> None:
    """
    The findings are there all the same.
    """
    report = examined(made("job-a", raising(DatabaseUnreachable("no connection"))), made("job-b", ill("job/2")))

    assert report.exit_code is ExitCode.INCOMPLETE
    assert [finding.name for finding in report.findings] == ["job-b"]
    assert "1 error" in report.exit_reason
    assert "not everything could be looked at" in report.exit_reason


def test_made_checks_are_counted(examined: Callable[..., Any]) -> None:
    """
    Those that waited in vain were not made.
    """
    report = examined(
        made("job-a", raising(DatabaseUnreachable("no connection"))),
        made("job-b", well, "job-a"),
        made("job-c", well),
    )

    assert report.coverage["checks_made"] == 1


@pytest.mark.parametrize(
    ("severity", "fail_on", "code"),
    [
        (Severity.ERROR, FailOn.ERROR, ExitCode.FINDINGS),
        (Severity.WARNING, FailOn.ERROR, ExitCode.OK),
        (Severity.WARNING, FailOn.WARNING, ExitCode.FINDINGS),
        (Severity.INFO, FailOn.INFO, ExitCode.FINDINGS),
        (Severity.ERROR, FailOn.NEVER, ExitCode.OK),
    ],
)
def test_fail_on(examined: Callable[..., Any], severity: Severity, fail_on: FailOn, code: ExitCode) -> None:
    """
    Findings fail the command from the severity that was asked for.
    """
    assert examined(made("job-a", ill("job/1"), severity=severity), fail_on=fail_on).exit_code is code
