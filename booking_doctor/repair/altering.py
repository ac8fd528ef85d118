"""
Carries a migration out, statement by statement, or says why it would not be.

The port is `Structure`. Whatever happens, nothing is half done that is not named: every statement is a transaction of its
own that is in the journal, or an index whose beginning is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from typing import Protocol

import tenacity
from msgspec import Struct, field

from booking_doctor.errors import (
    DatabaseError,
    DatabaseForbidden,
    DatabaseLocked,
    DoctorError,
    PartlyApplied,
    PlanRefused,
    RowConflict,
)
from booking_doctor.findings import Progress
from booking_doctor.repair.executor import Lock, Run
from booking_doctor.repair.migration import (
    LOOKING,
    Goal,
    Patience,
    Statement,
    StatementKind,
    guarded,
    relaxed,
    restored,
    unguarded,
)
from booking_doctor.repair.structure import Attempt, Catalog, Migrated, Session, Survey, Traffic, Verb


class Structure(Protocol):
    """
    The table, seen and changed. Everything may raise `DatabaseError`.
    """

    @property
    def patience(self) -> Patience:
        """
        How long statements may take and wait here.
        """

    def catalog(self) -> Catalog:
        """
        As it is now.

        Raises:
            SchemaMismatch: There is no such table or column.
        """

    def without_customer(self) -> Survey:
        """
        Rows whose customer is null; reads the whole table.
        """

    def duplicates(self) -> Survey:
        """
        SIDs that more than one row carries; reads the whole table, or its index.
        """

    def traffic(self) -> Traffic:
        """
        Who is at it now.
        """

    def obstacle(self) -> str | None:
        """
        Why this connection is none to migrate through, and which one is; or why no journal can be kept.
        """

    def lock(self) -> AbstractContextManager[Lock]:
        """
        The one lock of all repairs.

        Raises:
            PlanRefused: Somebody else holds it.
        """

    def carry_out(self, statement: Statement, run: Run | None) -> None:
        """
        Run one statement, and note it in the journal: in its own transaction, or, where it can have none, before and
        after. An index that could not be built is removed again, if that is possible.

        Args:
            run: None for a way back, which is noted with `mark_undone`.

        Raises:
            DatabaseLocked: Somebody else has what it waits for; it may be tried again.
        """

    def attempts(self) -> list[Attempt]:
        """
        What the journal has the beginning of, and not the end.
        """

    def settle(self) -> None:
        """
        Let what is there decide how the attempts ended: a valid index was built, any other is none.
        """

    def migrated(self, run_id: str) -> Migrated | None:
        """
        What that run did; None where it was no migration, or is not known.
        """

    def mark_undone(self, run_id: str) -> None:
        """
        Note that all of it was taken back.
        """


class Change(Struct, frozen=True, kw_only=True):
    """
    What a migration, or its way back, is to reach.

    Attributes:
        verb: What its rows and its table have to allow; None where nothing but the table's owner is asked.
        goal: The statements that lead there from the catalog.
        backfill: The command that gives a customer to rows as old as that.
    """

    verb: Verb | None
    goal: Goal
    backfill: Callable[[datetime | None], str]


def goal_of(verb: Verb, survey: Survey) -> Goal:
    """
    What that verb is to reach.
    """
    return {Verb.RELAX: relaxed, Verb.RESTORE: restored, Verb.GUARD: guarded(blank=survey.blank)}[verb]


def way_back(migrated: Migrated) -> tuple[Verb | None, Goal]:
    """
    What takes that run back, and what it asks of the rows.
    """
    match migrated.verb:
        case Verb.RELAX:
            return Verb.RESTORE, restored
        case Verb.RESTORE:
            return Verb.RELAX, relaxed
        case Verb.GUARD:
            return None, unguarded(migrated.indexes)


def surveyed(structure: Structure, verb: Verb | None) -> Survey:
    """
    What the rows say, as far as it matters for that.
    """
    match verb:
        case Verb.RESTORE:
            return structure.without_customer()
        case Verb.GUARD:
            return structure.duplicates()
        case _:
            return Survey()


def forbidden(catalog: Catalog, survey: Survey, wanted: Change) -> str | None:
    """
    Why the table, its owner or its rows do not allow it, and what would; None where they do.
    """
    table, owner = catalog.table.raw, catalog.owner
    if catalog.kind not in {"r", "p"}:
        return f"{table} is no table but a view or a foreign table; map the table behind it in booking-doctor.toml"
    if not catalog.owned:
        grant = f"GRANT {owner.sql} TO {catalog.role.sql}"
        return f"only the owner of {table} may change it: connect as {owner.raw}, or have somebody run: {grant}"
    match wanted.verb:
        case Verb.RELAX if catalog.demanding:
            return (
                f"{' and '.join(catalog.demanding)} would refuse a row without customer all the same; drop that first"
            )
        case Verb.RESTORE if survey.without_customer:
            return _owed(survey, table, wanted.backfill(survey.since))
        case Verb.GUARD:
            return _unguardable(catalog, survey)
        case _:
            return None


def _owed(survey: Survey, table: str, backfill: str) -> str:
    rows = "1 row has" if survey.without_customer == 1 else f"{survey.without_customer:,} rows have"
    oldest = f", the oldest since {survey.since:%Y-%m-%d %H:%M} UTC" if survey.since else ""
    return f"{rows} no customer in {table}{oldest}; give them theirs first: {backfill}"


def _unguardable(catalog: Catalog, survey: Survey) -> str | None:
    if catalog.kind == "p":
        return f"{catalog.table.raw} is partitioned, and no index of such a table can be built beside its writers"
    if not catalog.may_create:
        grant = f"GRANT CREATE ON SCHEMA {catalog.schema.sql} TO {catalog.role.sql}"
        return f"the role may make no index in the schema {catalog.schema.raw}; have somebody run: {grant}"
    if not survey.duplicated:
        return None
    sids = "1 SID has" if survey.duplicated == 1 else f"{survey.duplicated:,} SIDs have"
    some = ", ".join(f"{one.subject} (rows {', '.join(one.rows)})" for one in survey.some[:3])
    more = " …" if survey.duplicated > 3 else ""
    return f"{sids} more than one row: {some}{more}; keep one row of each first"


# --- carrying out ----------------------------------------------------------------------------------------------------


def alter(wanted: Change, structure: Structure, run: Run | None, *, progress: Progress) -> list[Statement]:
    """
    Run what is still to be run, a statement at a time, each chosen by what the catalog says then; under the lock of all
    repairs.

    Args:
        run: Where it is noted; None for a way back.

    Returns:
        What was run.

    Raises:
        PlanRefused: Nothing was changed.
        PartlyApplied: Some of it stands; the journal says what, and the same command continues.
        DatabaseError: The database could not be asked; nothing was changed.
    """
    advance = _Advance(wanted, structure, run, progress)
    try:
        with structure.lock() as lock:
            if wanted.verb is Verb.GUARD and structure.attempts():
                structure.settle()
            while _patiently(partial(advance, lock), structure.patience, progress):
                pass
    except DatabaseError as error:
        raise _ended(error, advance) from error
    return advance.done


class _Advance(Struct):
    """
    Calling it runs the next statement; false where there is none.

    Attributes:
        at: What it is at; None while it looks.
        tried: What was begun and is not known to have ended; of several attempts at one index the first.
    """

    wanted: Change
    structure: Structure
    run: Run | None
    progress: Progress
    done: list[Statement] = field(default_factory=list)
    at: Statement | None = None
    tried: Statement | None = None

    def __call__(self, lock: Lock) -> bool:
        self.at = None
        lock.check()
        catalog = self.structure.catalog()
        todo = self.wanted.goal(catalog)
        if not todo:
            return False
        self._refuse_in_vain(todo[0], catalog)
        self.at = todo[0]
        if self.tried is None or self.tried.target.raw != self.at.target.raw:
            self.tried = self.at
        self.structure.carry_out(self.at, self.run)
        self.done.append(self.at)
        self.tried = None
        self.progress.written(len(self.done), len(self.done) + len(todo) - 1)
        return True

    def _refuse_in_vain(self, statement: Statement, catalog: Catalog) -> None:
        again = statement.kind in {one.kind for one in self.done}
        if again and (statement.kind is not StatementKind.DROP_INDEX or statement in self.done):
            message = f"{statement.kind} of {statement.target.raw} had no effect"
            raise DatabaseError(message, hint="look at the table's definition with psql")
        if statement.kind is StatementKind.DROP_INDEX and catalog.builder is not None:
            self.at = statement
            message = f"pid {catalog.builder} may be building the index {statement.target.raw} just now"
            raise DatabaseLocked(message)

    def halfway(self) -> str | None:
        """
        The index that is left as it was neither before nor was to be.
        """
        statement = self.tried
        if statement is None or not statement.kind.concurrent or statement.before["index"] == "invalid":
            return None
        try:
            invalid = [index.name.raw for index in self.structure.catalog().sids if not index.valid]
        except DatabaseError:
            invalid = [statement.target.raw]
        return statement.target.raw if statement.target.raw in invalid else None


def _patiently(advance: Callable[[], bool], patience: Patience, progress: Progress) -> bool:
    """
    Advance, again and again while somebody else has what it waits for.
    """

    def announce(state: tenacity.RetryCallState) -> None:
        progress.waiting(state.upcoming_sleep, "the table is locked by somebody else")

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(DatabaseLocked),
        wait=tenacity.wait_random(*patience.pause),
        stop=tenacity.stop_after_delay(patience.altogether),
        before_sleep=announce,
        reraise=True,
    )
    return retrying(advance)


def _ended(error: DatabaseError, advance: _Advance) -> DoctorError:
    """
    What to raise for an error that ended it.
    """
    why, done, halfway = _why(error, advance), advance.done, advance.halfway()
    if done or halfway:
        ran = ", ".join(str(statement.kind) for statement in done)
        stands = [f"{ran} {'stands' if len(done) == 1 else 'stand'}"] if done else []
        stands += [f"the index {halfway} is left invalid, which protects nothing"] if halfway else []
        noted = advance.run if halfway or any(statement.kept for statement in done) else None
        back = f", or take back what stands: booking-doctor undo {noted.id}" if noted else ""
        return PartlyApplied(f"{' and '.join(stands)}, then: {why}", hint=f"the same command continues{back}")
    if isinstance(error, DatabaseLocked | DatabaseForbidden | RowConflict):
        return PlanRefused(f"{why}; nothing was changed", hint=error.hint)
    return error


def _why(error: DatabaseError, advance: _Advance) -> str:
    """
    The error in the words of a migration: who is in the way, which rows.
    """
    structure, wanted = advance.structure, advance.wanted
    with suppress(DatabaseError):
        if isinstance(error, DatabaseLocked):
            return waited_in_vain(error, structure.traffic(), advance.at)
        if isinstance(error, RowConflict):
            found = forbidden(structure.catalog(), surveyed(structure, wanted.verb), wanted)
            return found or error.summary
    return error.summary


def waited_in_vain(error: DatabaseLocked, traffic: Traffic, statement: Statement | None = None) -> str:
    """
    Whom it waited for.

    Args:
        statement: None for a look at the catalog.
    """
    lock, what = (statement.lock, statement.kind) if statement else (LOOKING, "looking at the table")
    blockers = [session for session in traffic.at_table if lock.meets(session)]
    if not blockers and statement and statement.kind.concurrent and traffic.longest:
        blockers = [traffic.longest]
    told = ", ".join(f"{blocker}{_since(blocker)}" for blocker in blockers)
    return f"{what} waited in vain for {told}" if blockers else f"{what}: {error.summary}"


def _since(session: Session) -> str:
    return f" since {session.since:%Y-%m-%d %H:%M:%S} UTC" if session.since else ""
