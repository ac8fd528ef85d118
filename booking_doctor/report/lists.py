"""
Findings as a list for a spreadsheet.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Final

from booking_doctor.findings import Report
from booking_doctor.report import visible
from booking_doctor.report.documents import plain
from booking_doctor.report.words import worst_first

COLUMNS: Final = ("severity", "name", "subject", "summary", "remedy", "evidence", "fingerprint")
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_table(report: Report) -> str:
    """
    A row a finding, worst first; then a row a step of a plan, and for what it leaves; then one for everything that was
    not looked at: an empty list means that there is nothing, not that nobody looked. The first column tells them apart.
    """
    text = StringIO()
    # NOTE: all cells are quoted, or a spreadsheet that separates by semicolons would find cells within them.
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([defused(cell) for cell in row] for row in _rows(report))
    return text.getvalue()


def _rows(report: Report) -> Iterator[Sequence[str]]:
    for finding in worst_first(report.findings):
        told = (finding.severity, finding.name, finding.subject, finding.summary, finding.remedy)
        yield (*told, _json(finding.evidence), finding.fingerprint)
    for step in report.plan.steps if report.plan else ():
        done = {"before": step.before, "after": step.after}
        yield "step", step.kind, step.subject, step.reason, "", _json(done), ""
    for left in report.plan.left if report.plan else ():
        yield "left", "", left.subject, left.reason, "", "", ""
    for skip in report.skipped:
        yield "not looked at", skip.check, "", skip.reason, "", _json({"kind": skip.kind}), ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=plain)


def defused(cell: str) -> str:
    """
    The cell, with an apostrophe before what a spreadsheet would run as a formula (OWASP: "CSV Injection").
    """
    shown = visible(cell)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
