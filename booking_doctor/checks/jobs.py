"""
The queue of texts to be sent, where the application has one.

What is due is told by `run_at`, or by `created_at` where a job has none. The status is taken at its word, and of other
words than `STATUSES` nothing is known: not that such a job waits, nor that it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from booking_doctor.checks.check import NAMED, BlindSpot, Evidence, Fault, check, unknown_words
from booking_doctor.core.model import iso
from booking_doctor.findings import Severity

STATUSES: Final = ("queued", "running", "done", "failed")
"""The words that are understood."""

OVERDUE: Final = timedelta(minutes=15)
"""So long after its time a job that still waits says that nobody works the queue."""

STUCK: Final = timedelta(minutes=15)
"""So long after its time a job that still runs has lost its worker."""

TOO_MANY_TRIES: Final = 5

_JOBS: Final = """
WITH job AS (
  SELECT j.{jobs.id} AS key, CAST(j.{jobs.id} AS text) AS id, CAST(j.{jobs.type} AS text) AS type,
    CAST(j.{jobs.status} AS text) AS status, j.{jobs.attempts} AS attempts, CAST([due] AS timestamptz) AS due
  FROM {jobs} j
)
"""

_NAMED: Final = """
SELECT id, type, status, attempts, CASE WHEN isfinite(due) THEN due END AS due, count(*) OVER () AS jobs
FROM job WHERE [which] ORDER BY due NULLS FIRST, key LIMIT :named
"""


def _asked(evidence: Evidence, question: str, **parameters: object) -> list[Mapping[str, Any]]:
    dated = evidence.database.has("jobs", "created_at")
    due = "coalesce(j.{jobs.run_at}, j.{jobs.created_at})" if dated else "j.{jobs.run_at}"
    return evidence.database.rows(_JOBS.replace("[due]", due) + question, **parameters)


def _those(evidence: Evidence, which: str, **parameters: object) -> list[Mapping[str, Any]]:
    """
    The first of the jobs that are so, each with the number of all.
    """
    return _asked(evidence, _NAMED.replace("[which]", which), named=NAMED, **parameters)


MEND: Final = "Read last_error of the row, mend it, then set its status to queued and run_at to now."
_WORK: Final = "See that a worker runs and does what is due, such as booking-doctor jobs run; a row left in running goes back to queued."

_FAILED: Final = "status = 'failed' AND (due IS NULL OR due >= :since AND due < :until)"


@check(Severity.ERROR)
def job_failed(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
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
    rows = _those(evidence, _FAILED, since=evidence.window.since, until=evidence.window.until)
    yield from _others(rows, "failed", MEND)
    for row in rows:
        tries = "1 try" if row["attempts"] == 1 else f"{row['attempts'] or 0} tries"
        yield Fault(
            subject=f"job/{row['id']}",
            summary=f"Job {row['id']} ({row['type']}) failed after {tries}; it will not be tried again.",
            remedy=MEND,
            evidence=_told(row),
        )
    yield from _unknown(evidence)


_WAITING: Final = """
  status = 'queued' AND (due IS NULL OR due < :due OR attempts > :tries)
  OR status = 'running' AND (due IS NULL OR due < :stuck)
"""


@check(Severity.WARNING)
def job_overdue(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A queued text should have gone long ago: it waits, was tried too often, or hangs in the hands of a worker.

    ## Why it matters

    A queue that nobody works looks exactly like an application that sends nothing: no text, no log line, no error.

    ## How to repair

    Look whether a worker runs, then let it do what is due. `booking-doctor jobs run` sends the booking texts that are due
    and ends; with `--watch` it keeps going. It takes up a row that has stayed in `running` for 5 minutes, and looks in
    Twilio's log before it would send a text again. Where another program works the queue, set such a row to `queued`
    again after making sure with `booking-doctor reconcile` that its text was not sent. A row without a `run_at` is
    nobody's: set it.

    Where the worker runs and is slow because the table is long, what is due wants an index:
    `CREATE INDEX CONCURRENTLY jobs_due ON jobs (run_at, id) WHERE status IN ('queued', 'running')`.

    ## When this is fine

    While the queue is stopped on purpose. More than 15 minutes is late; more than 5 tries is too often.
    """
    moments = {"due": evidence.now - OVERDUE, "stuck": evidence.now - STUCK}
    rows = _those(evidence, _WAITING, tries=TOO_MANY_TRIES, **moments)
    yield from _others(rows, "should have gone long ago", _WORK)
    for row in rows:
        yield Fault(
            subject=f"job/{row['id']}",
            summary=f"Job {row['id']} ({row['type']}) {_what(row, evidence)}.",
            remedy=_WORK,
            evidence={**_told(row), "status": row["status"]},
        )
    yield from _unknown(evidence)


def _what(row: Mapping[str, Any], evidence: Evidence) -> str:
    does, due = "runs" if row["status"] == "running" else "waits", row["due"]
    if due is None:
        return f"{does}, and nothing says since when"
    if row["status"] == "queued" and due >= evidence.now - OVERDUE:
        return f"was tried {row['attempts']} times"
    return f"still {does} {(evidence.now - due) // timedelta(minutes=1):,} minutes after its time"


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    due = iso(row["due"]) if row["due"] else None
    return {"job_id": row["id"], "type": row["type"], "attempts": row["attempts"], "run_at": due}


def _others(rows: Sequence[Mapping[str, Any]], what: str, remedy: str) -> Iterator[Fault]:
    """
    Those beyond the first `NAMED`, counted; told first, because nobody reads to the end.
    """
    others = rows[0]["jobs"] - len(rows) if rows else 0
    if others:
        yield Fault(
            subject="job/others",
            summary=f"{others:,} more {'job' if others == 1 else 'jobs'} than the {len(rows):,} named here {what}.",
            remedy=remedy,
            evidence={"job_id": None, "jobs": others},
            others=others,
        )


# --- words that are not understood -----------------------------------------------------------------------------------

_WORDS: Final = """
SELECT status AS word, count(*) AS rows FROM job
WHERE status IS NULL OR status <> ALL (CAST(:known AS text[])) GROUP BY 1 ORDER BY 2 DESC, 1
"""


def _unknown(evidence: Evidence) -> Iterator[BlindSpot]:
    words = {row["word"]: row["rows"] for row in evidence.once(_words)}
    if words:
        column = f"{evidence.database.name('jobs')}.{evidence.database.name('jobs', 'status')}"
        yield unknown_words(column, words, STATUSES)


def _words(evidence: Evidence) -> list[Mapping[str, Any]]:
    return _asked(evidence, _WORDS, known=list(STATUSES))
