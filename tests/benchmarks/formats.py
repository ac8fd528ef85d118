"""
A large report in every format: how long it takes to draw, and how large the document is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.report import FORMATS, Canvas


def draw(variables: Mapping[str, str]) -> dict[str, Any]:
    """
    The report in the format that the variables name, its module already loaded.
    """
    form = FORMATS[variables["FORMAT"]]
    form.render(_report(1), Canvas())
    large = _report(int(variables["FINDINGS"]))
    start = time.perf_counter()
    document = form.render(large, Canvas())
    return {"seconds": time.perf_counter() - start, "bytes": len(document.encode())}


def _report(findings: int) -> Report:
    noon = datetime(2025, 12, 8, 12, tzinfo=UTC)
    return Report(
        command="reconcile",
        version="0.1.0",
        started_at=noon,
        finished_at=noon,
        window=Window(noon - timedelta(days=7), noon),
        exit_code=ExitCode.FINDINGS,
        exit_reason=f"{findings} findings",
        findings=[_finding(number) for number in range(findings)],
    )


def _finding(number: int) -> Finding:
    sid = f"SM{number:032x}"
    return Finding(
        name="message-unrecorded",
        severity=Severity.ERROR,
        subject=f"message/{sid}",
        summary=f"Twilio delivered {sid} on 2025-12-08 12:00 UTC, and no row has it.",
        remedy="Plan the missing rows with booking-doctor backfill.",
        evidence={"to": "+1555***0100", "sent_at": "2025-12-08T12:00:00+00:00", "status": "delivered", "segments": 1},
    )
