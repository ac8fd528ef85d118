"""
Changes of the table `messages` and their ways back: looked at, shown, run, and seen in effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.doctor.reporting import Reporting, counted
from booking_doctor.doctor.request import Request
from booking_doctor.errors import DatabaseLocked, ExitCode, PlanRefused, SourceError
from booking_doctor.findings import Disclosure, FailOn, MigrationView, Report, RunView
from booking_doctor.repair.altering import Change, alter, forbidden, goal_of, surveyed, waited_in_vain, way_back
from booking_doctor.repair.executor import Run
from booking_doctor.repair.migration import Goal, Statement
from booking_doctor.repair.showing import migration_view
from booking_doctor.repair.steps import Left
from booking_doctor.repair.structure import Catalog, Hindrance, Migrated, Survey, Verb

_REACHED: Final = {
    Verb.RELAX: "{customer} takes null already, nothing to do",
    Verb.RESTORE: "{customer} is required already, nothing to do",
    Verb.GUARD: "a valid unique index on {sid} is there already, nothing to do",
}


class PlannedMigration(Struct, frozen=True, kw_only=True):
    """
    A migration as it would be run now.

    Attributes:
        report: What is shown before it is run, or instead.
        refusal: Why it would not be run as things stand.
    """

    verb: Verb
    wanted: Change
    view: MigrationView
    report: Report
    refusal: str | None


class Migrating(Reporting):
    """
    `migrate`, and the undo of its runs.
    """

    def plan_migration(self, verb: Verb, request: Request) -> PlannedMigration | Report:
        """
        What the verb would run, what that locks, who is in the way now; a report instead where the database gives no answer.

        Raises:
            SettingsError: No database is set.
        """
        try:
            return self._plan_migration(verb, request)
        except DatabaseLocked as error:
            who = waited_in_vain(error, self._sources.structure.traffic())
            return replace(self._unlooked(verb.command, request, DatabaseLocked(who, hint=error.hint)), window=None)
        except SourceError as error:
            return replace(self._unlooked(verb.command, request, error), window=None)

    def _plan_migration(self, verb: Verb, request: Request) -> PlannedMigration:
        catalog = self._sources.structure.catalog()
        # NOTE: the rows are only asked where it matters; it takes a pass over the whole table, and the right to read it.
        idle = not goal_of(verb, Survey())(catalog)
        survey = surveyed(self._sources.structure, verb) if catalog.owned and not idle else Survey()
        wanted = Change(verb=verb, goal=goal_of(verb, survey), backfill=self._backfill(request.program))
        view = self._view(catalog, wanted, survey, request.disclosure)
        work, command = len(view.steps), f"{request.program} {verb.command} --apply"
        report = self._report(
            verb.command,
            ExitCode.FINDINGS if work and request.fail_on is not FailOn.NEVER else ExitCode.OK,
            f"{counted(work, 'statement')} to run" if work else _reached(verb, catalog),
            summary={**(_counts(verb, survey) if catalog.owned or idle else {}), "planned": work, "applied": 0},
            plan=view,
            next_steps=_first(survey, wanted, request.program) or ([command] if work and not view.refusal else []),
        )
        return PlannedMigration(verb=verb, wanted=wanted, view=view, report=report, refusal=view.refusal)

    def _view(self, catalog: Catalog, wanted: Change, survey: Survey, disclosure: Disclosure) -> MigrationView:
        structure, statements = self._sources.structure, wanted.goal(catalog)
        refusal = self._rivals() or structure.obstacle() or forbidden(catalog, survey, wanted) if statements else None
        return migration_view(
            statements,
            catalog,
            structure.traffic(),
            [Left(subject=one.subject, reason=_in_the_way(one, wanted.verb)) for one in survey.some],
            disclosure,
            patience=structure.patience,
            target=self.target(),
            notes=[*self._attempts(catalog), *(_notes(catalog, survey, wanted.verb) if statements else ())],
            refusal=refusal,
        )

    def _attempts(self, catalog: Catalog) -> list[str]:
        """
        A sentence for each index that some run began to build and did not see finished.
        """
        valid = {index.name.raw: index.valid for index in catalog.sids}
        states = {True: "it is there and valid", False: "it is there and invalid", None: "it is not there"}
        return [
            f"run {attempt.run_id} began to build the index {attempt.index} and did not see its end: "
            f"{states[valid.get(attempt.index)]}"
            for attempt in self._sources.structure.attempts()
        ]

    def _backfill(self, program: str) -> Callable[[datetime | None], str]:
        """
        The command for rows of that age, as far back as Twilio's log goes.
        """
        oldest = self._started_at - self.retention + timedelta(days=1)

        def command(since: datetime | None) -> str:
            return f"{program} backfill --since {max(since, oldest):%Y-%m-%d}" if since else f"{program} backfill"

        return command

    def migrate(self, planned: PlannedMigration, request: Request) -> Report:
        """
        Run what was planned, then look again.

        Raises:
            PlanRefused: Nothing was changed.
            PartlyApplied: Some of it stands, and is named.
        """
        if planned.refusal:
            message = f"refused, nothing was changed: {planned.refusal}"
            raise PlanRefused(message)
        if not planned.view.steps:
            return planned.report
        started_at, verb = self._clock(), planned.verb
        run = Run(
            id=self._run_id(started_at), command=verb.command, checksum=planned.view.checksum, started_at=started_at
        )
        done = self._alter(planned.wanted, run)
        kept, reached = sum(statement.kept for statement in done), self._is_reached(planned.wanted.goal)
        return replace(
            planned.report,
            finished_at=self._clock(),
            exit_code=ExitCode.OK if reached else ExitCode.PARTLY,
            exit_reason=f"{counted(len(done), 'statement')} run, {_verified(reached)}",
            summary={**planned.report.summary, "applied": kept},
            run=RunView(id=run.id, applied=kept, verified=reached) if kept else None,
            next_steps=_afterwards(verb, request.program, run.id if kept else None),
        )

    def _alter(self, wanted: Change, run: Run | None) -> list[Statement]:
        return alter(wanted, self._sources.structure, run, progress=self._progress)

    def _is_reached(self, goal: Goal) -> bool:
        return not goal(self._sources.structure.catalog())

    # the way back

    def _plan_way_back(self, run_id: str, migrated: Migrated, disclosure: Disclosure) -> tuple[Report, str | None]:
        """
        What taking a migration back would run.
        """
        catalog, wanted = self._sources.structure.catalog(), self._way_back(migrated)
        survey = surveyed(self._sources.structure, wanted.verb) if wanted.goal(catalog) else Survey()
        view = self._view(catalog, wanted, survey, disclosure)
        if not (migrated.standing and view.steps):
            reason = "nothing to take back, the table is as it was before" if migrated.standing else "undone already"
            shown = replace(view, steps=(), left=(), refusal=None)
            return self._report("undo", ExitCode.OK, f"run {run_id}: {reason}", plan=shown), None
        reason = f"run {run_id}: {counted(len(view.steps), 'statement')} to take {migrated.verb.command} back"
        return self._report("undo", ExitCode.FINDINGS, reason, plan=view), view.refusal

    def _way_back(self, migrated: Migrated) -> Change:
        verb, goal = way_back(migrated)
        return Change(verb=verb, goal=goal, backfill=self._backfill("booking-doctor"))

    def _take_migration_back(self, run_id: str, migrated: Migrated, shown: Report) -> Report:
        """
        Raises:
            PlanRefused: Nothing was changed.
            PartlyApplied: Some of it stands, and is named; undoing again continues.
        """
        wanted = self._way_back(migrated)
        done = self._alter(wanted, None)
        self._sources.structure.mark_undone(run_id)
        reached = self._is_reached(wanted.goal)
        return replace(
            shown,
            finished_at=self._clock(),
            exit_code=ExitCode.OK if reached else ExitCode.PARTLY,
            exit_reason=f"{migrated.verb.command} is taken back, {_verified(reached)}",
            summary={"planned": len(done), "applied": len(done)},
            run=RunView(id=run_id, applied=len(done), verified=reached),
        )


def _reached(verb: Verb, catalog: Catalog) -> str:
    table = catalog.table.raw
    return _REACHED[verb].format(customer=f"{table}.{catalog.customer.raw}", sid=f"{table}.{catalog.sid.raw}")


def _verified(reached: bool) -> str:
    return "verified" if reached else "but the table is no longer as it was left: somebody else changes it too"


def _counts(verb: Verb, survey: Survey) -> Mapping[str, int]:
    match verb:
        case Verb.RELAX:
            return {}
        case Verb.RESTORE:
            return {"without_customer": survey.without_customer}
        case Verb.GUARD:
            return {"duplicated": survey.duplicated}


def _in_the_way(one: Hindrance, verb: Verb | None) -> str:
    return f"rows {', '.join(one.rows)} carry its SID" if verb is Verb.GUARD else "it has no customer"


def _first(survey: Survey, wanted: Change, program: str) -> list[str]:
    """
    What has to be done before.
    """
    if survey.without_customer:
        return [wanted.backfill(survey.since)]
    return [f"{program} reconcile"] if survey.duplicated else []


def _afterwards(verb: Verb, program: str, run_id: str | None) -> list[str]:
    back = [f"{program} undo {run_id}"] if run_id else []
    return [*back, f"{program} {Verb.RESTORE.command}" if verb is Verb.RELAX else f"{program} check-schema"]


def _notes(catalog: Catalog, survey: Survey, verb: Verb | None) -> Sequence[str]:
    """
    What the reader must know before.
    """
    notes = [f"the event trigger {name} fires at every statement" for name in catalog.event_triggers]
    if verb is Verb.RELAX:
        notes += [f"{one} reads the column, and has to do with null from now on" for one in catalog.mentions]
        notes.append(
            "until it is restored, schema-customer-id-nullable stays a finding, with the rows without customer"
        )
    if verb is Verb.RESTORE and catalog.check:
        notes.append(
            "an earlier attempt got as far as its check, which refuses new rows without customer; this continues it"
        )
    if survey.blank:
        notes.append("some rows carry an empty SID, so the index leaves those out; ON CONFLICT has to repeat its WHERE")
    return [*notes, "the schema booking_doctor of this database keeps the journal that undo reads"]
