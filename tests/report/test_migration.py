"""
How a change of a table is drawn: its SQL line by line to copy, its locks, who is in the way, and nothing of it obeyed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest
from msgspec.structs import replace

from booking_doctor.errors import ExitCode
from booking_doctor.findings import LeftView, MigrationView, Report, SessionView, StatementView
from booking_doctor.report import FORMATS, Canvas
from tests.report.conftest import HOSTILE, NOON, PLAN, PLANNED, sid

BLOCKER: Final = SessionView(
    pid=4242,
    role="app",
    application="web-1",
    state="idle in transaction",
    since=NOON - timedelta(minutes=5, seconds=3),
    locks=["RowExclusiveLock", "AccessExclusiveLock (waiting)"],
    query="UPDATE messages SET status = …",
)
DROPPING: Final = StatementView(
    kind="drop-index",
    subject="schema/messages.message_sid",
    reason="schema-sid-not-unique:schema/messages.message_sid",
    before={"index": "invalid"},
    after={"index": None},
    sql=[
        "SET lock_timeout = '60s';",
        "SET statement_timeout = '0';",
        "DROP INDEX CONCURRENTLY IF EXISTS public.left_behind;",
        "RESET lock_timeout;",
        "RESET statement_timeout;",
    ],
    lock="SHARE UPDATE EXCLUSIVE",
    blocks="readers and writers go on; VACUUM and other changes of the table wait",
)
VIEW: Final = MigrationView(
    checksum=PLAN.checksum,
    target={**PLAN.target},
    notes=[
        "run 20251207-230000-1a2b began to build the index messages_sid and did not see its end: it is there and invalid",
        "the schema booking_doctor of this database keeps the journal that undo reads",
    ],
    refusal=f"1 SID has more than one row: message/{sid(1)} (rows 17, 42); keep one row of each first",
    steps=[
        DROPPING,
        StatementView(
            kind="create-index",
            subject="schema/messages.message_sid",
            reason="schema-sid-not-unique:schema/messages.message_sid",
            before={"index": None},
            after={"index": "valid"},
            sql=[
                "SET lock_timeout = '60s';",
                "SET statement_timeout = '0';",
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS messages_message_sid_unique",
                "  ON public.messages (message_sid)",
                "  WHERE message_sid <> '';",
                "RESET lock_timeout;",
                "RESET statement_timeout;",
            ],
            lock="SHARE UPDATE EXCLUSIVE",
            blocks="readers and writers go on; VACUUM and other changes of the table wait while it reads the table twice",
        ),
    ],
    left=[LeftView(subject=f"message/{sid(1)}", reason="rows 17, 42 carry its SID")],
    table={"name": "public.messages", "bytes": 301_989_888, "rows_estimated": 1_204_000},
    waits_for=[BLOCKER],
    longest_transaction=replace(
        BLOCKER,
        pid=None,
        role="app",
        application=None,
        state=None,
        locks=[],
        query=None,
        since=NOON - timedelta(hours=2),
    ),
    hidden_sessions=3,
)
MIGRATION: Final = replace(
    PLANNED,
    command="migrate guard",
    window=None,
    exit_code=ExitCode.FINDINGS,
    exit_reason="2 statements to run",
    summary={"duplicated": 1, "planned": 2, "applied": 0},
    coverage={},
    plan=VIEW,
    next_steps=["booking-doctor reconcile"],
)
DONE: Final = replace(
    MIGRATION,
    exit_reason="messages.customer_id takes null already, nothing to do",
    exit_code=ExitCode.OK,
    plan=replace(VIEW, steps=(), left=(), notes=(), refusal=None, waits_for=(), longest_transaction=None),
    next_steps=(),
)
BROKEN_OUT: Final = replace(
    MIGRATION,
    plan=replace(
        VIEW,
        steps=[replace(DROPPING, sql=[HOSTILE], lock=HOSTILE, blocks=HOSTILE)],
        table={"name": HOSTILE, "bytes": 1, "rows_estimated": None},
        waits_for=[replace(BLOCKER, role=HOSTILE, application=HOSTILE, query=HOSTILE, locks=[HOSTILE])],
    ),
)


@pytest.mark.parametrize(
    ("file", "format", "width"),
    [
        ("terminal/migration-60.txt", "terminal", 60),
        ("terminal/migration-80.txt", "terminal", 80),
        ("json/migration.json", "json", 80),
        ("markdown/migration.md", "markdown", 80),
    ],
)
def test_golden(file: str, format: str, width: int, same_as_golden: Callable[[str, str], None]) -> None:
    """
    A change that is refused, with everything it has to say, whole.
    """
    same_as_golden(file, FORMATS[format].render(MIGRATION, Canvas(width)))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_sql_is_never_broken(width: int) -> None:
    """
    Each line of the SQL is on a line of its own, whatever the width.
    """
    lines = {line.strip() for line in FORMATS["terminal"].render(MIGRATION, Canvas(width)).splitlines()}

    said = [line.strip() for step in VIEW.steps if isinstance(step, StatementView) for line in step.sql]
    assert said
    assert set(said) <= lines


def test_nothing_to_do_asks_nobody() -> None:
    """
    Where nothing is to be run nobody is in the way, and none is looked for on the page.
    """
    drawn = FORMATS["terminal"].render(DONE, Canvas(80))

    assert "Plan: nothing to write" in drawn
    assert "In the way" not in drawn


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("report", [MIGRATION, DONE, BROKEN_OUT], ids=["shown", "done", "hostile"])
def test_every_format_draws_it(name: str, report: Report) -> None:
    """
    One document in every format, and only what can be seen comes out of a hostile name or query.
    """
    document = FORMATS[name].render(report, Canvas(80))

    assert document.endswith("\n")
    assert document.replace("\n", "").isprintable()
