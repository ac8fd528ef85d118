"""
What a worker did on its shift, and what it leaves: counted while it happens, then told as a report.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from booking_doctor import __version__
from booking_doctor.checks.check import NAMED, Fault
from booking_doctor.checks.jobs import MEND, job_failed
from booking_doctor.core.booking import JOB_TYPE, Job, JobOutcome, JobState
from booking_doctor.core.shift import Ended, Ending, News, Outage, Unfinished
from booking_doctor.errors import DoctorError, ExitCode, SourceError
from booking_doctor.evidence import Queries
from booking_doctor.findings import FailOn, Finding, JSONValue, Report, Severity, SkipKind, Skipped

COMMAND: Final = "jobs run"

_WORDS: Final[Mapping[str, str]] = {
    "sent": "sent",
    "dropped": "not wanted any more",
    "put_off": "put off",
    "failed": "given up",
    "unfinished": "unfinished",
}
"""What becomes of a job, as counts and people name it."""

_REASONS: Final = 20
"""So many reasons are kept apart."""

_BACKLOG: Final = """
SELECT count(*) FILTER (WHERE ours AND run_at <= :now) AS due, count(*) FILTER (WHERE ours AND run_at > :now) AS due_later,
  count(*) FILTER (WHERE ours AND run_at IS NULL) AS without_time,
  count(*) FILTER (WHERE NOT ours AND run_at <= :now) AS other_jobs
FROM (
  SELECT CAST({jobs.type} AS text) IS NOT DISTINCT FROM :type AS ours, {jobs.run_at} AS run_at
  FROM {jobs} WHERE CAST({jobs.status} AS text) = 'queued'
) queued
"""


def backlog(queries: Queries, now: datetime) -> Mapping[str, int]:
    """
    How many jobs wait: those that are due, those that are due later, those that nothing says of when they are, and due ones
    of other types, which are left alone.

    Raises:
        DatabaseError: It could not be counted.
    """
    (counts,) = queries.rows(_BACKLOG, type=JOB_TYPE, now=now)
    return dict(counts)


def fate(outcome: JobOutcome) -> str:
    """
    What became of a job, as it is counted.
    """
    if outcome.state is JobState.DONE:
        return "sent" if outcome.sms and outcome.sms.message_sid else "dropped"
    return "put_off" if outcome.state is JobState.QUEUED else "failed"


@dataclass(kw_only=True)
class WorkLog:
    """
    One shift, whose news are heard one by one.

    Attributes:
        watch: Whether the worker kept going. What it put off it came back to, and that it was told to end is no surprise.
    """

    watch: bool
    counts: Counter[str] = field(default_factory=Counter)
    outages: int = 0
    told_to_end: bool = False
    _failed: deque[Finding] = field(default_factory=lambda: deque(maxlen=NAMED))
    _put_off: Counter[str] = field(default_factory=Counter)
    _unfinished: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """
        How many jobs were run.
        """
        return sum(self.counts.values())

    @property
    def sentence(self) -> str:
        """
        What became of the jobs.
        """
        told = [f"{self.counts[name]:,} {words}" for name, words in _WORDS.items() if self.counts[name]]
        return (
            f"{self.taken:,} {'job' if self.taken == 1 else 'jobs'}: {', '.join(told)}" if told else "nothing was due"
        )

    def hear(self, news: News) -> None:
        """
        Count it.
        """
        match news:
            case Ended(job=job, outcome=outcome):
                self._ended(job, outcome)
            case Unfinished(error=error):
                self.counts["unfinished"] += 1
                _note(self._unfinished, error.summary)
            case Outage():
                self.outages += 1
            case Ending():
                self.told_to_end = True

    def _ended(self, job: Job, outcome: JobOutcome) -> None:
        self.counts[fate(outcome)] += 1
        if outcome.state is JobState.FAILED:
            self._failed.append(_given_up(job, outcome))
        elif outcome.state is JobState.QUEUED:
            _note(self._put_off, outcome.reason or "")

    def report(
        self,
        *,
        started_at: datetime,
        finished_at: datetime,
        fail_on: FailOn,
        program: str,
        waiting: Mapping[str, int] | SourceError | None,
        error: DoctorError | None,
    ) -> Report:
        """
        The shift as a report.

        Args:
            program: How a command line that reads the same settings begins.
            waiting: The `backlog` it left, or why that is not known; None where the *error* says it.
            error: What ended the shift before its time.
        """
        counted = waiting if isinstance(waiting, Mapping) else {}
        stopped = [*_stopped(error), *_stopped(waiting), *_timeless(counted)]
        exit_code, reason = self._verdict(fail_on, error, stopped)
        return Report(
            command=COMMAND,
            version=__version__,
            started_at=started_at,
            finished_at=finished_at,
            window=None,
            exit_code=exit_code,
            exit_reason=reason,
            summary={"taken": self.taken} | {name: self.counts[name] for name in _WORDS},
            coverage={"watched": self.watch, "outages": self.outages, **counted},
            findings=[*self._failed, *self._others()],
            skipped=[*stopped, *self._left()],
            next_steps=self._next_steps(program, counted),
        )

    def _verdict(self, fail_on: FailOn, error: DoctorError | None, stopped: Sequence[Skipped]) -> tuple[ExitCode, str]:
        if error:
            return error.exit_code, f"{error.summary}; {self.sentence if self.taken else 'no job was taken'}"
        if stopped:
            return ExitCode.INCOMPLETE, f"{self.sentence}, but not everything that waits could be looked at"
        if not self.watch and (self.counts["put_off"] or self.counts["unfinished"]):
            return ExitCode.INCOMPLETE, self.sentence
        if not self.watch and self.told_to_end:
            return ExitCode.INTERRUPTED, f"told to end; {self.sentence}"
        failed = self.counts["failed"] and Severity.ERROR.reaches(fail_on)
        return ExitCode.FINDINGS if failed else ExitCode.OK, self.sentence

    def _others(self) -> Iterator[Finding]:
        others = self.counts["failed"] - len(self._failed)
        if others:
            yield job_failed.finding(
                Fault(
                    subject="job/others",
                    summary=f"Before those named here {others:,} more were given up.",
                    remedy=MEND,
                    evidence={"job_id": None, "jobs": others},
                    others=others,
                )
            )

    def _left(self) -> Iterator[Skipped]:
        """
        What a shift that is over did not do, and why. Whoever watches came back to it.
        """
        if self.watch:
            return
        for reason, number in self._put_off.items():
            yield _undone(f"{_jobs(number)} put off: {reason}")
        for reason, number in self._unfinished.items():
            yield _undone(f"{_jobs(number)} not finished, and will be taken up again in some minutes: {reason}")

    def _next_steps(self, program: str, waiting: Mapping[str, int]) -> list[str]:
        again = self.counts["put_off"] or self.counts["unfinished"] or waiting.get("due")
        return [
            *([f"{program} jobs status"] if self.counts["failed"] else []),
            *([f"{program} {COMMAND}"] if again and not self.watch else []),
        ]


def _note(reasons: Counter[str], reason: str) -> None:
    reasons[reason if reason in reasons or len(reasons) < _REASONS else "other reasons"] += 1


def _given_up(job: Job, outcome: JobOutcome) -> Finding:
    tries = "1 try" if job.attempts == 1 else f"{job.attempts:,} tries"
    evidence: dict[str, JSONValue] = {
        "job_id": job.id,
        "booking_id": job.booking_id,
        "attempts": job.attempts,
        "reason": outcome.reason,
        "twilio_code": outcome.sms.error_code if outcome.sms else None,
    }
    return job_failed.finding(
        Fault(
            subject=f"job/{job.id}",
            summary=f"Job {job.id} was given up after {tries}: {outcome.reason}.",
            remedy=MEND,
            evidence=evidence,
        )
    )


def _jobs(number: int) -> str:
    return "1 job was" if number == 1 else f"{number:,} jobs were"


def _undone(reason: str, kind: SkipKind = "unreachable") -> Skipped:
    return Skipped(check="jobs", kind=kind, reason=reason)


def _timeless(waiting: Mapping[str, int]) -> Iterator[Skipped]:
    number = waiting.get("without_time", 0)
    if number:
        yield _undone(
            f"{_jobs(number)} not taken: nothing says when {'it is' if number == 1 else 'they are'} due; set run_at"
        )


def _stopped(error: DoctorError | Mapping[str, int] | None) -> Iterator[Skipped]:
    if isinstance(error, SourceError):
        yield Skipped(check=error.source, kind=error.kind, reason=error.sentence)
    elif isinstance(error, DoctorError):
        yield _undone(error.sentence)
