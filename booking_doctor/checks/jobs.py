"""
The queue of texts to be sent, where the application has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.core.model import iso
from booking_doctor.findings import Severity

OVERDUE: Final = timedelta(minutes=15)
"""So long after its time a job that still waits says that nobody works the queue."""

STUCK: Final = timedelta(minutes=15)
"""So long after its time a job that still runs has lost its worker."""

TOO_MANY_TRIES: Final = 5

_FAILED: Final = """
SELECT CAST({jobs.id} AS text) AS id, {jobs.type} AS type, {jobs.attempts} AS attempts, {jobs.run_at} AS run_at
FROM {jobs} WHERE CAST({jobs.status} AS text) = 'failed' AND {jobs.run_at} >= :since AND {jobs.run_at} < :until
ORDER BY {jobs.run_at}, {jobs.id}
"""


@check(Severity.ERROR)
def job_failed(evidence: Evidence) -> Iterator[Fault]:
    """
    A queued text was given up: nobody will send it any more.

    ## Why it matters

    The customer waits for a text that will not come, and nothing else says so.

    ## How to repair

    Read the reason in the row's `last_error`, mend it, and set the row to `queued` with a `run_at` of now:
    `UPDATE jobs SET status = 'queued', run_at = now(), attempts = 0 WHERE id = …`.

    ## When this is fine

    When the booking has been cancelled or confirmed without the text. Delete the row, or set it to `done`.
    """
    for row in evidence.database.rows(_FAILED, since=evidence.window.since, until=evidence.window.until):
        yield Fault(
            subject=f"job/{row['id']}",
            summary=f"Job {row['id']} ({row['type']}) failed after {row['attempts']} tries; it will not be tried again.",
            remedy="Read last_error of that row, mend it, then set its status to queued and run_at to now.",
            evidence=_told(row),
        )


_WAITING: Final = """
SELECT CAST({jobs.id} AS text) AS id, {jobs.type} AS type, {jobs.attempts} AS attempts, {jobs.run_at} AS run_at,
  CAST({jobs.status} AS text) AS status
FROM {jobs}
WHERE CAST({jobs.status} AS text) = 'queued' AND ({jobs.run_at} < :due OR {jobs.attempts} > :tries)
  OR CAST({jobs.status} AS text) = 'running' AND {jobs.run_at} < :stuck
ORDER BY {jobs.run_at}, {jobs.id}
"""


@check(Severity.WARNING)
def job_overdue(evidence: Evidence) -> Iterator[Fault]:
    """
    A queued text should have gone long ago: it waits, was tried too often, or hangs in the hands of a worker.

    ## Why it matters

    A queue that nobody works looks exactly like an application that sends nothing: no text, no log line, no error.

    ## How to repair

    Look whether a worker runs, then let it do what is due. A row that stays in `running` has lost its worker: set it
    to `queued` again, after making sure with `booking-doctor reconcile` that its text was not sent.

    ## When this is fine

    While the queue is stopped on purpose. More than 15 minutes is late; more than 5 tries is too often.
    """
    moments = {"due": evidence.now - OVERDUE, "stuck": evidence.now - STUCK}
    for row in evidence.database.rows(_WAITING, tries=TOO_MANY_TRIES, **moments):
        yield Fault(
            subject=f"job/{row['id']}",
            summary=f"Job {row['id']} ({row['type']}) {_what(row, evidence.now)}.",
            remedy="See that a worker runs and does what is due; a row left in running goes back to queued.",
            evidence={**_told(row), "status": row["status"]},
        )


def _what(row: Mapping[str, Any], now: datetime) -> str:
    late = f"{(now - row['run_at']) // timedelta(minutes=1):,} minutes after its time"
    if row["status"] == "running":
        return f"still runs {late}"
    return f"still waits {late}" if row["run_at"] < now - OVERDUE else f"was tried {row['attempts']} times"


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"job_id": row["id"], "type": row["type"], "attempts": row["attempts"], "run_at": iso(row["run_at"])}
