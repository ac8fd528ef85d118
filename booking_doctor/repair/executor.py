"""
Carries out a plan, and takes a run back, over a ledger that keeps rows and their journal in one transaction.

Whatever happens, whole batches stand and are in the journal: a rerun finishes the rest, an undo takes back what stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field

from booking_doctor.errors import DatabaseError, DatabaseForbidden, DoctorError, PartlyApplied, PlanRefused
from booking_doctor.findings import PastRun, Progress
from booking_doctor.repair.plan import Plan
from booking_doctor.repair.steps import Left, Step


class Run(Struct, frozen=True, kw_only=True):
    """
    One apply.

    Attributes:
        id: How people name it.
        command: What was called.
        checksum: The plan's.
    """

    id: str
    command: str
    checksum: str
    started_at: datetime


class Entry(Struct, frozen=True, kw_only=True):
    """
    A journal entry: one step that was written.

    Attributes:
        number: The step's position in its plan.
        before: The whole row as it was, JSON as the database wrote it; None where there was none.
        after: The whole row as the database returned it.
        undone: Whether it was taken back.
    """

    number: int
    kind: str
    table: str
    row_id: str
    sid: str
    before: str | None
    after: str
    undone: bool

    @property
    def subject(self) -> str:
        """
        What a report calls it.
        """
        return f"message/{self.sid}" if self.table == "messages" else f"booking/{self.row_id}"


class Trigger(Struct, frozen=True, kw_only=True):
    """
    Something in the database that a write sets off.

    Attributes:
        stamps: The columns it sets to the current time, when it does nothing else; empty for any other trigger.
    """

    name: str
    table: str
    event: str
    stamps: tuple[str, ...] = ()

    @property
    def harmless(self) -> bool:
        """
        Whether it only sets a timestamp column.
        """
        return bool(self.stamps)


Events = Mapping[str, frozenset[str]]
"""Table by the doctor's name, and what is done to it: ``insert``, ``update``, ``delete``."""


class Ledger(Protocol):
    """
    The database as repairs write it.
    """

    def lock(self) -> AbstractContextManager[Lock]:
        """
        Hold the one lock of all repairs for as long as the context lasts.

        Raises:
            PlanRefused: Somebody else holds it.
        """

    def triggers(self, events: Events) -> list[Trigger]:
        """
        What those writes would set off.
        """

    def obstacle(self, plan: Plan) -> str | None:
        """
        Why the plan's steps cannot be written here at all, or None.
        """

    def sid_is_unique(self) -> bool:
        """
        Whether an index makes a second row for one SID impossible.
        """

    def done(self, checksum: str) -> frozenset[int]:
        """
        Steps, by position, of the plan with that checksum that stand in the journal and were not undone.
        """

    def write(self, run: Run, steps: Mapping[int, Step]) -> dict[int, str]:
        """
        Write the steps with their journal entries in one transaction: all of them, or all but those that cannot be.

        Returns:
            Why, for each step that was not written.
        """

    def runs(self) -> list[PastRun]:
        """
        All runs, newest first.
        """

    def entries(self, run_id: str) -> list[Entry]:
        """
        A run's journal, in the order it was written.

        Raises:
            UsageError: There is no such run, or it was forgotten.
        """

    def changed_since(self, entries: Sequence[Entry]) -> dict[int, str]:
        """
        Why, for each entry that could not be taken back as things stand.
        """

    def take_back(self, run_id: str, entries: Sequence[Entry]) -> dict[int, str]:
        """
        Restore the rows of the entries and mark those undone in one transaction: all, or all but those that cannot be.

        Returns:
            Why, for each entry that was left.
        """

    def forget(self, run_id: str) -> int:
        """
        Drop a run's images; it can no longer be undone.
        """


class Lock(Protocol):
    """
    The lock while it is held.
    """

    def check(self) -> None:
        """
        Raises:
            DatabaseError: It is no longer ours.
        """


class Receipt(Struct):
    """
    What an apply or an undo did.

    Attributes:
        written: Steps or entries written now, by position.
        already: How many an earlier run had written.
        left: What was not written, and why.
    """

    written: list[int] = field(default_factory=list)
    already: int = 0
    left: list[Left] = field(default_factory=list)


def refuse_if_unsafe(plan: Plan, ledger: Ledger, *, max_changes: int | None, allow_triggers: bool) -> str | None:
    """
    Why this plan would not be carried out, with the option to add; None when it would.
    """
    return (
        plan.too_large(max_changes)
        or ledger.obstacle(plan)
        or triggers_refusal(ledger.triggers(events_of(plan.steps)), allow=allow_triggers)
    )


def triggers_refusal(triggers: Sequence[Trigger], *, allow: bool) -> str | None:
    """
    Why writing is refused because of what it would set off.
    """
    unknown = [trigger for trigger in triggers if not trigger.harmless]
    if allow or not unknown:
        return None
    names = ", ".join(f"{trigger.name} on {trigger.event} of {trigger.table}" for trigger in unknown)
    return f"writing would fire {names}, which may do more than this repair; if that is wanted, add --allow-triggers"


def events_of(steps: Sequence[Step]) -> Events:
    """
    What the steps, and taking them back, do to each table.
    """
    events: dict[str, set[str]] = {}
    for step in steps:
        events.setdefault(step.table, set()).update(("insert", "delete") if step.before is None else ("update",))
    return {table: frozenset(kinds) for table, kinds in events.items()}


def apply(plan: Plan, ledger: Ledger, run: Run, *, batch_size: int, progress: Progress) -> Receipt:
    """
    Carry out the steps of *plan* that no earlier run has, a batch a transaction, under the lock.

    Raises:
        PlanRefused: Nothing was written: the lock is taken, or the database takes no writes.
        PartlyApplied: The connection was lost on the way. What was written is in the journal; applying again writes the rest.
    """
    receipt = Receipt()
    if not plan.steps:
        return receipt
    try:
        with ledger.lock() as lock:
            done = ledger.done(run.checksum)
            receipt.already = len(done)
            todo = {number: step for number, step in enumerate(plan.steps) if number not in done}
            for batch in _batches(todo, batch_size):
                lock.check()
                reasons = ledger.write(run, batch)
                receipt.written += [number for number in batch if number not in reasons]
                receipt.left += [Left(subject=batch[n].subject, reason=reason) for n, reason in reasons.items()]
                progress.written(len(receipt.written), len(todo))
    except DatabaseError as error:
        hint = f"the journal has them: run it again for the rest, or take them back with booking-doctor undo {run.id}"
        raise _interrupted(error, len(receipt.written), "written", hint) from error
    return receipt


def undo(run_id: str, ledger: Ledger, *, batch_size: int, progress: Progress) -> Receipt:
    """
    Take back what stands of a run, in reverse, a batch a transaction, under the lock.

    Raises:
        UsageError: There is no such run.
        PlanRefused: Nothing was taken back: the lock is taken, or the database takes no writes.
        PartlyApplied: The connection was lost on the way; undoing again takes back the rest.
    """
    receipt = Receipt()
    try:
        with ledger.lock() as lock:
            entries = ledger.entries(run_id)
            standing = [entry for entry in reversed(entries) if not entry.undone]
            receipt.already = len(entries) - len(standing)
            for start in range(0, len(standing), batch_size):
                batch = standing[start : start + batch_size]
                lock.check()
                reasons = ledger.take_back(run_id, batch)
                receipt.written += [entry.number for entry in batch if entry.number not in reasons]
                receipt.left += [
                    Left(subject=entry.subject, reason=reasons[entry.number])
                    for entry in batch
                    if entry.number in reasons
                ]
                progress.written(len(receipt.written), len(standing))
    except DatabaseError as error:
        raise _interrupted(error, len(receipt.written), "restored", "undo it again for the rest") from error
    return receipt


def _interrupted(error: DatabaseError, rows: int, done: str, hint: str) -> DoctorError:
    """
    What to raise for an error that ended the work after so many rows were *done*.
    """
    if rows:
        were = "row was" if rows == 1 else "rows were"
        return PartlyApplied(f"{rows:,} {were} {done}, then: {error.summary}", hint=hint)
    if isinstance(error, DatabaseForbidden):
        return PlanRefused(f"{error.summary}; nothing was {done}", hint=error.hint)
    return error


def _batches(steps: Mapping[int, Step], size: int) -> Iterator[dict[int, Step]]:
    numbers = list(steps)
    return ({n: steps[n] for n in numbers[start : start + size]} for start in range(0, len(numbers), size))
