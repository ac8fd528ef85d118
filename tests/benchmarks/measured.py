"""
What is timed, each in a fresh process that ends with one JSON document: ``python -m tests.benchmarks.measured``.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from booking_doctor.__main__ import collect_rarely
from booking_doctor.bootstrap import Doctor, Planned, Repair, Request, open_doctor
from booking_doctor.findings import Disclosure, Report, Silent, Window
from tests.benchmarks.bookings import book
from tests.benchmarks.files import read_file, read_file_floor
from tests.benchmarks.formats import draw
from tests.benchmarks.jobs import work, work_by_hand

Variables = Mapping[str, str]


def reconcile(variables: Variables, window: Window) -> dict[str, Any]:
    """
    The comparison, from opening the doctor to its report.
    """
    start = time.perf_counter()
    doctor = _doctor(variables, Silent())
    report = doctor.reconcile(Request(window=window))
    seconds = time.perf_counter() - start
    assert not report.skipped, report.skipped
    requests = sum(report.coverage[name] for name in ("twilio_requests", "undated_requests", "sid_requests"))  # type: ignore[misc]
    return {"seconds": seconds, "requests": requests, "summary": _without_zeros(report)}


def examine(variables: Variables, window: Window) -> dict[str, Any]:
    """
    All checks, without Twilio, from opening the doctor to the report.
    """
    from booking_doctor.checks import select

    database = {name: value for name, value in variables.items() if not name.startswith("TWILIO_")}
    start = time.perf_counter()
    report = _doctor(database, Silent()).examine("examine", select(), Request(window=window))
    seconds = time.perf_counter() - start
    unlooked = [skipped for skipped in report.skipped if skipped.kind in {"unreachable", "not-permitted"}]
    assert not unlooked, unlooked
    return {"seconds": seconds, "checks": report.coverage["checks_made"], "findings": len(report.findings)}


def diagnose(variables: Variables, window: Window) -> dict[str, Any]:
    """
    The whole diagnosis with the comparison, from opening the doctor to the report; the application is not asked.
    """
    asked = {name: value for name, value in variables.items() if name != "BOOKING_APP_URL"}
    start = time.perf_counter()
    report = _doctor(asked, Silent()).diagnose(Request(window=window))
    seconds = time.perf_counter() - start
    assert report.diagnosis
    return {
        "seconds": seconds,
        "sent": sum(hour.sent or 0 for hour in report.timeline),
        "bookings": sum(hour.bookings or 0 for hour in report.timeline),
        "checks": report.coverage["checks_made"],
        "late": sum("no answer within" in skipped.reason for skipped in report.skipped),
    }


def floor(variables: Variables, window: Window) -> dict[str, Any]:
    """
    The same pages read with the same client and decoder, and the same columns read with COPY; nothing is done with them.
    """
    from datetime import timedelta

    import psycopg
    import urllib3

    from booking_doctor.adapters.twilio import PAGE_SIZE, decode_page

    start = time.perf_counter()
    pool = urllib3.PoolManager()
    base, messages = variables["TWILIO_API_BASE_URL"], 0
    for back in range((window.until.date() - window.since.date()).days + 1):
        day = window.until.date() - timedelta(days=back)
        account = f"/2010-04-01/Accounts/{variables['TWILIO_ACCOUNT_SID']}"
        uri: str | None = f"{account}/Messages.json?DateSent={day}&PageSize={PAGE_SIZE}"
        while uri:
            document = decode_page(pool.request("GET", base + uri).data)
            messages += len(document.messages)
            uri = document.next_page_uri
    log = time.perf_counter() - start
    with psycopg.connect(variables["DATABASE_URL"]) as connection, connection.cursor().copy(_COPY) as copy:
        rows = sum(1 for _ in copy)
    return {"seconds": time.perf_counter() - start, "log": log, "messages": messages, "rows": rows}


_COPY: Final = """
    COPY (SELECT message_sid, twilio_message_sid, status, twilio_status, direction, to_number, from_number, segments,
                 cost_usd, body FROM messages) TO STDOUT
"""


def repair(variables: Variables, window: Window) -> dict[str, Any]:
    """
    Plan, apply and undo everything that is unrecorded, in the batches that the commands use.
    """
    watch = _Stopwatch()
    doctor, request = _doctor(variables, watch), Request(window=window)
    options = Repair(max_changes=10**9)
    planned, planning = _timed(lambda: doctor.plan(request, options))
    assert isinstance(planned, Planned)
    steps = len(planned.plan.steps)
    watch.start()
    applied, applying = _timed(lambda: doctor.apply(planned, request, options))
    writing = watch.elapsed
    assert applied.run
    assert applied.run.verified, applied.exit_reason
    run_id = applied.run.id
    (shown, _), showing = _timed(lambda: doctor.plan_undo(run_id, Disclosure(), allow_triggers=False))
    undone, undoing = _timed(lambda: doctor.undo(run_id, shown, batch_size=options.batch_size))
    assert undone.summary == {"restored": steps, "left": 0}
    return {
        "rows": steps,
        "planning": planning,
        "writing": writing,
        "verifying": applying - writing,
        "showing": showing,
        "undoing": undoing,
    }


class _Stopwatch(Silent):
    """
    Notes when the last batch was written: what comes after it in an apply is the verification.
    """

    elapsed = 0.0

    def start(self) -> None:
        """
        From now on.
        """
        self._start = time.perf_counter()

    def written(self, steps: int, total: int) -> None:
        """
        A batch was.
        """
        self.elapsed = time.perf_counter() - self._start


def _timed(do: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return do(), time.perf_counter() - start


def _doctor(variables: Variables, progress: Silent) -> Doctor:
    return open_doctor(Path("/nonexistent"), (), None, variables, progress)


def _without_zeros(report: Report) -> dict[str, int]:
    return {name: count for name, count in report.summary.items() if count}


def _peak_mb() -> float:
    """
    The peak of our own program; `ru_maxrss` also counts what the parent held when it started us.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024)


MEASURES: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    measure.__name__: measure
    for measure in (
        reconcile,
        floor,
        repair,
        examine,
        diagnose,
        work,
        work_by_hand,
        book,
        read_file,
        read_file_floor,
        draw,
    )
}

if __name__ == "__main__":
    collect_rarely()  # as the command does
    name, variables, *span = json.loads(sys.argv[1])
    window = [Window(*map(datetime.fromisoformat, span))] if span else []
    measured = MEASURES[name](variables, *window)
    print(json.dumps({**measured, "peak": _peak_mb()}))  # noqa: T201  for the parent
