"""
A change of a table as the terminal shows it: the SQL to copy, what it locks, and who is in its way.
"""

from __future__ import annotations

from booking_doctor.findings import JSONValue, MigrationView, SessionView, StatementView
from booking_doctor.report.drawing import Page
from booking_doctor.report.words import session_items

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def migration(page: Page, view: MigrationView) -> None:
    """
    The table, each statement as it is sent, the transactions it would wait for.
    """
    page.section(("The table", "bold"), indent=2)
    rows = view.table["rows_estimated"]
    size = [
        ("rows", "not counted yet" if rows is None else f"about {rows:,}", ""),
        ("size", _size(view.table["bytes"]), ""),
    ]
    page.named([("name", str(view.table["name"]), ""), *size], indent=4)
    for number, step in enumerate(view.steps, start=1):
        if isinstance(step, StatementView):
            _statement(page, number, step)
    if view.steps:
        _sessions(page, view)


def _statement(page: Page, number: int, step: StatementView) -> None:
    page.section((f"{number}. {step.kind}", "bold green"), indent=2)
    page.prose((f"Locks the table in {step.lock} mode", "bold"), (f": {step.blocks}.", ""), indent=5)
    for line in step.sql:
        page.verbatim(line, indent=5, style="cyan")


def _sessions(page: Page, view: MigrationView) -> None:
    page.section(("In the way now", "bold"), ("" if view.waits_for else ": nobody", ""), indent=2)
    for session in view.waits_for:
        _session(page, session)
    if view.longest_transaction:
        page.section(("Longest transaction of the database", "bold"), indent=2)
        _session(page, view.longest_transaction)
    if view.hidden_sessions:
        hidden = f"{view.hidden_sessions:,} sessions do not show this role what they do; GRANT pg_read_all_stats lets it see."
        page.prose((hidden, "bold yellow"), indent=4)


def _session(page: Page, session: SessionView) -> None:
    page.items(session_items(session), indent=4)
    if session.query:
        page.prose((session.query, "dim"), indent=6)


def _size(size: JSONValue) -> str:
    left, unit = float(size) if isinstance(size, int) else 0.0, 0
    while left >= 1024 and unit < len(_UNITS) - 1:
        left, unit = left / 1024, unit + 1
    return f"{left:,.0f} {_UNITS[unit]}"
