"""
What a shift is reported as: its counts, its exit code, and that nothing which was not done is left out.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from booking_doctor.checks.check import NAMED
from booking_doctor.core.booking import InitialSms, Job, JobOutcome, JobState, SmsState
from booking_doctor.core.shift import Ended, Ending, Outage, Unfinished
from booking_doctor.errors import (
    DatabaseForbidden,
    DatabaseUnreachable,
    DoctorError,
    ExitCode,
    OutcomeNotStored,
    SourceError,
)
from booking_doctor.findings import FailOn, Report, Verdict
from booking_doctor.worklog import WorkLog

NOW = datetime(2025, 12, 8, 9, tzinfo=UTC)
NOTHING_LEFT = {"due": 0, "due_later": 0, "without_time": 0, "other_jobs": 0}
GONE = DatabaseUnreachable("the database is gone", hint="look where it is")


def ended(number: int, state: JobState, *, sid: str | None = None, reason: str | None = None) -> Ended:
    """
    A job that was run.
    """
    sms = InitialSms(state=SmsState.SENT if sid else SmsState.FAILED, message_sid=sid, error_code=None)
    outcome = JobOutcome(job_id=str(number), state=state, sms=sms, reason=reason)
    return Ended(job=Job(id=str(number), booking_id=f"b{number}", run_at=NOW, attempts=2), outcome=outcome)


def sent(number: int) -> Ended:
    """
    A text that went out.
    """
    return ended(number, JobState.DONE, sid=f"SM{number:032x}")


def told(
    log: WorkLog,
    *,
    waiting: dict[str, int] | SourceError | None = None,
    error: DoctorError | None = None,
    fail_on: FailOn = FailOn.ERROR,
) -> Report:
    """
    The log as a report.
    """
    return log.report(
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=1),
        fail_on=fail_on,
        program="booking-doctor",
        waiting=NOTHING_LEFT if waiting is None and error is None else waiting,
        error=error,
    )


def test_every_job_is_counted_once() -> None:
    """
    Under what became of it; the sum is how many were taken.
    """
    log = WorkLog(watch=False)
    for news in (
        sent(1),
        sent(2),
        ended(3, JobState.DONE, reason="not sent: the booking is expired"),
        ended(4, JobState.QUEUED, reason="there was no connection to Twilio"),
        ended(5, JobState.FAILED, reason="Twilio refused it: the recipient opted out"),
        Unfinished(job=sent(6).job, error=GONE),
    ):
        log.hear(news)

    report = told(log)

    assert report.summary == {"taken": 6, "sent": 2, "dropped": 1, "put_off": 1, "failed": 1, "unfinished": 1}
    assert report.exit_reason == "6 jobs: 2 sent, 1 not wanted any more, 1 put off, 1 given up, 1 unfinished"
    assert (report.exit_code, report.verdict) == (ExitCode.INCOMPLETE, Verdict.INCOMPLETE)
    assert [skipped.reason for skipped in report.skipped] == [
        "1 job was put off: there was no connection to Twilio",
        "1 job was not finished, and will be taken up again in some minutes: the database is gone",
    ]
    assert [finding.fingerprint for finding in report.findings] == ["job-failed:job/5"]
    assert report.findings[0].summary == (
        "Job 5 was given up after 2 tries: Twilio refused it: the recipient opted out."
    )


@pytest.mark.parametrize(
    ("watch", "fail_on", "code"),
    [
        (False, FailOn.ERROR, ExitCode.FINDINGS),
        (True, FailOn.ERROR, ExitCode.FINDINGS),
        (False, FailOn.NEVER, ExitCode.OK),
        (True, FailOn.NEVER, ExitCode.OK),
    ],
)
def test_a_job_that_was_given_up_is_an_error(*, watch: bool, fail_on: FailOn, code: ExitCode) -> None:
    """
    Of which ``--fail-on`` says whether it fails the command.
    """
    log = WorkLog(watch=watch)
    log.hear(ended(1, JobState.FAILED, reason="no"))

    assert told(log, fail_on=fail_on).exit_code is code


def test_whoever_watches_comes_back_to_what_was_put_off() -> None:
    """
    Neither that nor an outage nor being told to end is anything but a day's work.
    """
    log = WorkLog(watch=True)
    unfinished = Unfinished(job=sent(2).job, error=GONE)
    put_off = ended(1, JobState.QUEUED, reason="later")
    for news in (put_off, unfinished, Outage(error=GONE, pause_s=1), sent(1), sent(2), Ending(in_hand=0)):
        log.hear(news)

    report = told(log)

    assert (report.exit_code, report.skipped, report.next_steps) == (ExitCode.OK, [], [])
    assert report.coverage == {"watched": True, "outages": 1, **NOTHING_LEFT}


def test_what_is_interrupted_is_called_that() -> None:
    """
    Where nobody watches, being told to end leaves work undone.
    """
    log = WorkLog(watch=False)
    for news in (sent(1), Ending(in_hand=0)):
        log.hear(news)

    report = told(log, waiting={**NOTHING_LEFT, "due": 7})

    assert (report.exit_code, report.exit_reason) == (ExitCode.INTERRUPTED, "told to end; 1 job: 1 sent")
    assert report.next_steps == ["booking-doctor jobs run"]


@pytest.mark.parametrize("watch", [False, True])
def test_what_ended_the_shift_is_the_reason(*, watch: bool) -> None:
    """
    With its own exit code, and with what was done until then.
    """
    log = WorkLog(watch=watch)
    log.hear(sent(1))
    unstored = OutcomeNotStored(
        "it could not be stored", what="metadata", booking_id="b", message_sid=None, hint="look"
    )

    forbidden = told(log, error=DatabaseForbidden("no permission for jobs"))
    partly = told(log, error=unstored)

    assert (forbidden.exit_code, forbidden.exit_reason) == (3, "no permission for jobs; 1 job: 1 sent")
    assert [(skipped.check, skipped.kind) for skipped in forbidden.skipped] == [("database", "not-permitted")]
    assert (partly.exit_code, partly.skipped[0].reason) == (ExitCode.PARTLY, "it could not be stored; look")


@pytest.mark.parametrize("watch", [False, True])
def test_a_queue_that_could_not_be_counted_is_not_called_empty(*, watch: bool) -> None:
    """
    Although all that was taken was done.
    """
    log = WorkLog(watch=watch)
    log.hear(sent(1))

    report = told(log, waiting=GONE)

    assert (report.exit_code, "due" in report.coverage) == (ExitCode.INCOMPLETE, False)
    assert [skipped.reason for skipped in report.skipped] == ["the database is gone; look where it is"]


def test_a_long_watch_keeps_a_bounded_memory() -> None:
    """
    The latest failures are named and the others counted; different reasons are kept up to a number.
    """
    log = WorkLog(watch=False)
    for number in range(NAMED + 50):
        log.hear(ended(number, JobState.FAILED, reason="no"))
        log.hear(ended(number, JobState.QUEUED, reason=f"reason {number}"))

    report = told(log)

    assert len(report.findings) == NAMED + 1
    assert report.findings[0].subject == "job/50"
    assert report.findings[-1].summary == "Before those named here 50 more were given up."
    assert len(report.skipped) == 21
    assert report.skipped[-1].reason == f"{NAMED + 30:,} jobs were put off: other reasons"
