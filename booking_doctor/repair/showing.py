"""
Plans and runs as a report shows them: personal data masked, times and ids whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from booking_doctor.findings import (
    Disclosure,
    JSONValue,
    LeftView,
    MigrationView,
    PlanView,
    SessionView,
    StatementView,
    StepView,
)
from booking_doctor.repair.executor import Entry, Trigger
from booking_doctor.repair.migration import Patience, Statement
from booking_doctor.repair.plan import Plan
from booking_doctor.repair.steps import Image, Left, Step
from booking_doctor.repair.structure import Catalog, Session, Traffic

_SHOWN: Final = frozenset(
    {
        *("id", "customer_id", "event_id", "message_sid", "twilio_message_sid"),
        *("direction", "status", "twilio_status", "message_type", "state", "segments", "cost_usd"),
        *("created_at", "updated_at", "read_at", "sent_at", "expires_at", "confirmed_at"),
    }
)
"""Columns, and keys of metadata, that are never personal. Any other text may be, so it is masked."""

_LONG: Final = 1_000_000
_PHONES: Final = frozenset({"to_number", "from_number", "customer_phone", "phone"})


def plan_view(
    plan: Plan,
    disclosure: Disclosure,
    *,
    target: Mapping[str, str],
    notes: Sequence[str] = (),
    refusal: str | None = None,
) -> PlanView:
    """
    A backfill's plan.
    """
    return PlanView(
        checksum=plan.checksum,
        steps=[_step(step, disclosure) for step in plan.steps],
        left=left_views(plan.left),
        target=target,
        notes=notes,
        refusal=refusal,
    )


def undo_view(
    run_id: str,
    checksum: str,
    entries: Sequence[Entry],
    left: Sequence[Left],
    disclosure: Disclosure,
    *,
    names: Mapping[str, Mapping[str, str]],
    target: Mapping[str, str],
    notes: Sequence[str] = (),
    refusal: str | None = None,
) -> PlanView:
    """
    What taking a run back would do: each entry with its images swapped.

    Args:
        names: The doctor's column names by table and name in the database; columns it does not know are not shown.
    """
    steps = [
        StepView(
            kind=entry.kind,
            subject=entry.subject,
            reason=f"undo of run {run_id}",
            before=_row(entry.after, names[entry.table], disclosure),
            after=None if entry.before is None else _row(entry.before, names[entry.table], disclosure),
        )
        for entry in entries
    ]
    return PlanView(checksum=checksum, steps=steps, left=left_views(left), target=target, notes=notes, refusal=refusal)


def migration_view(
    statements: Sequence[Statement],
    catalog: Catalog,
    traffic: Traffic,
    left: Sequence[Left],
    disclosure: Disclosure,
    *,
    patience: Patience,
    target: Mapping[str, str],
    notes: Sequence[str] = (),
    refusal: str | None = None,
) -> MigrationView:
    """
    What a migration, or its way back, would run, and who is in its way.
    """
    steps = [_statement(statement, patience) for statement in statements]
    scripts = [catalog.table.sql, *target.values(), *("\n".join(step.sql) for step in steps)]
    met = [session for session in traffic.at_table if any(statement.lock.meets(session) for statement in statements)]
    return MigrationView(
        checksum=hashlib.sha256(json.dumps(scripts).encode()).hexdigest(),
        steps=steps,
        left=left_views(left),
        target=target,
        notes=notes,
        refusal=refusal,
        table={"name": catalog.table.sql, "bytes": catalog.bytes, "rows_estimated": catalog.rows},
        waits_for=[_session(session, disclosure) for session in met],
        longest_transaction=_session(traffic.longest, disclosure) if traffic.longest else None,
        hidden_sessions=traffic.hidden,
    )


def _statement(statement: Statement, patience: Patience) -> StatementView:
    return StatementView(
        kind=statement.kind,
        subject=statement.subject,
        reason=statement.finding,
        before=statement.before,
        after=statement.after,
        sql=statement.script(patience),
        lock=statement.lock.mode,
        blocks=statement.lock.blocks,
    )


def _session(session: Session, disclosure: Disclosure) -> SessionView:
    return SessionView(
        pid=session.pid,
        role=session.role,
        application=session.application,
        state=session.state,
        since=session.since,
        locks=[*session.holds, *(f"{mode} (waiting)" for mode in session.awaits)],
        query=session.query if disclosure.show_pii or not session.query else masked_query(session.query),
    )


_VALUE: Final = re.compile(r"'|\$(?!\d)|--|/\*|(?<![\w$])\.?\d")
"""Where a value or a comment may begin; ``$1`` is none."""


def masked_query(query: str) -> str:
    """
    The query up to the first value in it. What comes after cannot be told apart for certain: the server cuts long texts.
    """
    shown = " ".join(query.split())
    value = _VALUE.search(shown)
    return shown if value is None else f"{shown[: value.start()]}…"


def left_views(left: Sequence[Left]) -> list[LeftView]:
    """
    What no step covers.
    """
    return [LeftView(subject=one.subject, reason=one.reason) for one in left]


def trigger_notes(triggers: Sequence[Trigger]) -> list[str]:
    """
    A sentence for each trigger that a write sets off, or whose column undo cannot compare.
    """
    return [f"trigger {trigger.name} on {trigger.event} of {trigger.table} {_effect(trigger)}" for trigger in triggers]


def _effect(trigger: Trigger) -> str:
    if not trigger.harmless:
        return "fires"
    columns = ", ".join(trigger.stamps)
    return (
        f"sets {columns}, which undo leaves out of its comparison" if trigger.event == "update" else f"sets {columns}"
    )


def _step(step: Step, disclosure: Disclosure) -> StepView:
    return StepView(
        kind=step.kind,
        subject=step.subject,
        reason=step.reason,
        before=_texts(step.before, disclosure),
        after=_texts(step.after, disclosure),
    )


# NOTE: fractions stay the text they are (`parse_float`): they are money, and documents write money as decimal strings.


def _texts(image: Image | None, disclosure: Disclosure) -> Mapping[str, JSONValue] | None:
    if image is None:
        return None
    opened: dict[str, JSONValue] = dict(image)
    if isinstance(text := image.get("metadata"), str):
        opened["metadata"] = json.loads(text, parse_float=str)
    return _image(opened, disclosure)


def _row(image: str, names: Mapping[str, str], disclosure: Disclosure) -> dict[str, JSONValue]:
    return _image(
        {names[name]: value for name, value in json.loads(image, parse_float=str).items() if name in names}, disclosure
    )


def _image(values: Mapping[str, JSONValue], disclosure: Disclosure) -> dict[str, JSONValue]:
    return {name: _masked(name, value, disclosure) for name, value in values.items()}


def _masked(name: str, value: JSONValue, disclosure: Disclosure) -> JSONValue:
    if isinstance(value, Mapping):
        return _image(value, disclosure)
    if isinstance(value, list):
        return [_masked(name, one, disclosure) for one in value]
    if disclosure.show_pii or name in _SHOWN:
        return value
    if isinstance(value, int | float) and abs(value) >= _LONG:
        value = str(value)  # it may be a phone number
    if not isinstance(value, str):
        return value
    if name == "token":
        return f"{value[:6]}…"
    return disclosure.phone(value) if name in _PHONES else disclosure.body(value)
