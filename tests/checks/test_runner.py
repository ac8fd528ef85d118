"""
Checks are made each on its own: whatever becomes of one is said of that one, and the others are made all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.checks.check import BlindSpot, Check, Evidence, Fault
from booking_doctor.checks.runner import OPTIONAL_TABLES, Outcome, findings_of, run, skipped_of
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import (
    DatabaseForbidden,
    DatabaseUnreachable,
    ExitCode,
    NotConfigured,
    NotHere,
    SchemaMismatch,
    SettingsError,
    TwilioRefused,
)
from booking_doctor.findings import FailOn, Severity, Silent, Verdict, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Ignored, Preferences

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


def blind(subject: str | None, *found: str) -> Callable[[Evidence], Iterator[Fault | BlindSpot]]:
    """
    Some things are found, and something could not be looked at.
    """

    def look(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
        yield BlindSpot(subject=subject, reason="it is dark")
        yield from ill(*found)(evidence)

    return look


NAMES: Any = SimpleNamespace(database=SimpleNamespace(name=lambda table, column=None: f"my_{column or table}"))
"""Evidence of which only the names of tables are asked."""


def outcomes(*checks: Check) -> list[Outcome]:
    """
    What becomes of them.
    """
    with ThreadPoolExecutor(len(checks)) as threads:
        return run(checks, NAMES, threads)


def skipped(told: list[Outcome], *, ignored: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    """
    What could not be looked at, where these findings do not count.
    """
    standing = [finding for finding in findings_of(told) if finding.fingerprint not in ignored]
    return [(skip.check, skip.kind, skip.reason) for skip in skipped_of(told, standing)]


def test_passed_and_found() -> None:
    """
    A look that yields nothing has passed; what it yields are findings of its name.
    """
    first, second = outcomes(made("job-a", well), made("job-b", ill("job/1", "job/2")))

    assert (first.made, first.findings, second.made) == (True, (), True)
    assert [finding.fingerprint for finding in second.findings] == ["job-b:job/1", "job-b:job/2"]
    assert skipped([first, second]) == []


def test_progress_is_told_from_nothing_to_all() -> None:
    """
    Whatever becomes of a check, it counts once it has ended.
    """

    class Heard(Silent):
        told: list[tuple[int, int]] = []  # noqa: RUF012  one listener only

        def checked(self, done: int, total: int) -> None:
            self.told.append((done, total))

    with ThreadPoolExecutor(3) as threads:
        run(
            [made("a-b", well), made("c-d", ill("x"), "a-b"), made("e-f", raising(ValueError()))],
            NAMES,
            threads,
            progress=Heard(),
        )

    assert Heard.told[0] == (0, 3)
    assert Heard.told[-1] == (3, 3)
    assert Heard.told == sorted(Heard.told)


def test_a_blind_spot() -> None:
    """
    A check may say what it could not look at, and look at the rest.
    """
    told = outcomes(made("job-a", blind("job/1", "job/2")))

    assert told[0].made
    assert [finding.fingerprint for finding in findings_of(told)] == ["job-a:job/2"]
    assert skipped(told) == [("job-a", "unreachable", "it is dark")]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ValueError(SECRET), "unreachable", "crashed (ValueError): a bug in it"),
        (AssertionError(SECRET), "unreachable", "crashed (AssertionError): a bug in it"),
        (DatabaseForbidden("no right to read jobs", hint="grant it"), "not-permitted", "no right to read jobs"),
        (TwilioRefused("the token is wrong", status=401, code=20003), "not-permitted", "the token is wrong"),
        (DatabaseUnreachable("no connection"), "unreachable", "no connection"),
        (SchemaMismatch("no column"), "unreachable", "no column"),
        (NotConfigured("DATABASE_URL is missing", hint="set it"), "not-configured", "DATABASE_URL is missing; set it"),
        (SettingsError("DATABASE_URL is malformed"), "unreachable", "DATABASE_URL is malformed"),
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
    [(check, why, reason)] = skipped(told)

    assert not told[0].made
    assert (check, why) == ("job-a", kind)
    assert words in reason
    assert SECRET not in reason
    assert [finding.fingerprint for finding in findings_of(told)] == ["job-a:job/1", "job-b:job/2"]


@pytest.mark.parametrize("threads", [ThreadPoolExecutor, DaemonExecutor])
def test_a_check_that_hangs(threads: Callable[[int], Executor]) -> None:
    """
    It is given up after its time, and the others do not wait for it.
    """
    released = Event()
    hangs = made("job-a", lambda evidence: released.wait() and [], limit_s=0.05)
    executor = threads(3)

    told = run([hangs, made("job-b", ill("job/2")), made("job-c", well)], NAMES, executor)
    released.set()
    executor.shutdown()

    assert skipped(told) == [("job-a", "unreachable", "no answer within 0.05 s")]
    assert [outcome.made for outcome in told] == [False, True, True]


@pytest.mark.parametrize("before", [well, ill("job/1"), blind("job/1")])
def test_after_one_that_looked(before: Callable[[Evidence], Any]) -> None:
    """
    Then it looks, whatever that one saw: a fault in one place says nothing of the others.
    """
    told = outcomes(made("job-a", before), made("job-b", ill("job/2"), "job-a"))

    assert told[1].made
    assert "job-b:job/2" in {finding.fingerprint for finding in findings_of(told)}


def test_after_one_that_could_not_look() -> None:
    """
    It would get no answer either: each says so, for the same reason, and none waits for it again.
    """
    told = outcomes(
        made("job-a", raising(DatabaseUnreachable("no connection"))),
        made("job-b", ill("job/2"), "job-a"),
        made("job-c", ill("job/3"), "job-b"),
    )

    assert [outcome.made for outcome in told] == [False, False, False]
    assert skipped(told) == [(name, "unreachable", "no connection") for name in ("job-a", "job-b", "job-c")]
    assert findings_of(told) == []


MISSING = NotHere("there is no table my_messages", table="messages")


@pytest.mark.parametrize("look", [raising(MISSING), blind("schema/my_messages")])
def test_a_fault_excuses_what_it_blinds(look: Callable[[Evidence], Any]) -> None:
    """
    What could not be looked at does not count where the fault behind it is found, and counts.
    """
    told = outcomes(made("job-a", ill("schema/my_messages")), made("job-b", look, "job-a"))

    [(check, kind, reason)] = skipped(told)
    assert (check, kind) == ("job-b", "not-applicable")
    assert reason.endswith("; job-a comes first")


def test_a_missing_column_excuses_like_a_missing_table() -> None:
    """
    The column's own finding does, and the table's, which is there, does not.
    """
    missing = raising(NotHere("no column", table="messages", column="body"))

    told = outcomes(made("job-a", ill("schema/my_messages.my_body")), made("job-b", missing, "job-a"))
    untold = outcomes(made("job-a", ill("schema/my_messages")), made("job-b", missing, "job-a"))

    assert [skip[1] for skip in skipped(told)] == ["not-applicable"]
    assert [skip[1] for skip in skipped(untold)] == ["unreachable"]


@pytest.mark.parametrize("look", [raising(MISSING), blind("schema/my_messages")])
@pytest.mark.parametrize(
    ("found", "ignored", "after"),
    [
        (["schema/my_messages"], ["job-a:schema/my_messages"], ["job-a"]),
        (["schema/my_messages", "schema/other"], ["job-a:schema/my_messages"], ["job-a"]),
        (["schema/other"], [], ["job-a"]),
        (["schema/my_messages"], [], []),
        ([], [], ["job-a"]),
    ],
)
def test_no_other_fault_does(
    look: Callable[[Evidence], Any], found: list[str], ignored: list[str], after: list[str]
) -> None:
    """
    A fault that somebody ignores, one of something else, or one that the check does not come after excuses nothing.
    """
    told = outcomes(made("job-a", ill(*found)), made("job-b", look, *after))

    assert [skip[:2] for skip in skipped(told, ignored=tuple(ignored))] == [("job-b", "unreachable")]


@pytest.mark.parametrize("error", [ValueError(SECRET), DatabaseForbidden("no right"), DatabaseUnreachable("gone")])
def test_no_fault_excuses_an_accident(error: Exception) -> None:
    """
    A crash, a refusal and a silence say nothing about what a finding could be about.
    """
    told = outcomes(made("job-a", ill("schema/my_messages")), made("job-b", raising(error), "job-a"))

    assert [skip[1] for skip in skipped(told)] != ["not-applicable"]


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
def _examined(scene: World, open_doctor: Callable[..., Doctor]) -> Callable[..., Any]:
    """
    The report of an examination by these checks, ignoring those fingerprints until tomorrow.
    """

    def examine(*checks: Check, fail_on: FailOn = FailOn.ERROR, ignored: tuple[str, ...] = ()) -> Any:
        window = Window(scene.now.replace(year=scene.now.year - 1), scene.now)
        until = scene.now.date() + timedelta(days=1)
        entries = tuple(Ignored(fingerprint=fingerprint, reason="a test", until=until) for fingerprint in ignored)
        doctor = open_doctor(Preferences(ignored=entries))
        return doctor.examine("check-job", checks, Request(window=window, fail_on=fail_on))

    return examine


def test_an_ignored_fault_hides_nothing(examined: Callable[..., Any]) -> None:
    """
    Whoever lives with a fault is told that what it blinds was not looked at; until then the fault says it all.
    """
    checks = (made("job-a", ill("schema/messages")), made("job-b", blind("schema/messages"), "job-a"))

    assert examined(*checks).exit_code is ExitCode.FINDINGS
    assert examined(*checks, ignored=("job-a:schema/messages",)).exit_code is ExitCode.INCOMPLETE
    assert examined(checks[1]).exit_code is ExitCode.INCOMPLETE


@pytest.mark.parametrize("checks", [1, 3])
def test_nothing_to_look_at(examined: Callable[..., Any], checks: int) -> None:
    """
    Where no check could be made because nothing is set, nothing is called healthy.
    """
    report = examined(*(made(f"job-{n}", raising(NotConfigured("not set"))) for n in range(checks)))

    assert (report.exit_code, report.coverage["checks_made"]) == (ExitCode.INCOMPLETE, 0)


def test_nothing_of_it_here(examined: Callable[..., Any]) -> None:
    """
    A database without the table is in order, and nobody is told that something was looked at.
    """
    report = examined(made("job-a", raising(NotHere("no table jobs", table="jobs"))))

    assert (report.exit_code, report.exit_reason) == (ExitCode.OK, "there is nothing of it here to look at")


@pytest.mark.parametrize(
    ("error", "code", "verdict"),
    [
        (ValueError(SECRET), ExitCode.INCOMPLETE, Verdict.INCOMPLETE),
        (DatabaseForbidden("no right"), ExitCode.INCOMPLETE, Verdict.INCOMPLETE),
        (NotHere("no table messages", table="messages"), ExitCode.INCOMPLETE, Verdict.INCOMPLETE),
        (NotHere("no table jobs", table="jobs"), ExitCode.OK, Verdict.HEALTHY),
        (NotConfigured("not set"), ExitCode.OK, Verdict.HEALTHY),
        (SettingsError("malformed"), ExitCode.INCOMPLETE, Verdict.INCOMPLETE),
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
