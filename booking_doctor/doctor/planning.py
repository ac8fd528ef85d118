"""
The verb that says what to do about an incident: everything looked at, and what each repair would do now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.checks.runner import why_not
from booking_doctor.core.escalation import Contact
from booking_doctor.doctor.backfilling import Backfilling, Repair
from booking_doctor.doctor.diagnosing import Diagnosing
from booking_doctor.doctor.migrating import Migrating
from booking_doctor.doctor.request import Request
from booking_doctor.errors import ExitCode, SettingsError, SourceError
from booking_doctor.examination import Chart
from booking_doctor.findings import Report, Skipped
from booking_doctor.repair.migration import restored
from booking_doctor.repair.structure import Verb


class ActionPlan(Struct, frozen=True, kw_only=True):
    """
    What an incident's action plan is written from. Nothing of it was carried out.

    Attributes:
        report: The examination with its diagnosis, and how the command ends.
        backfill: What a backfill would write, or why that is not known.
        migrations: The same of each change of the table.
        way_back: What `migrate restore` runs once `migrate relax` was run, a script a statement; empty where not known.
        ignored: Fingerprints of findings that are not counted for now.
        command: A command line that looks at the same.
        program: How one begins that reads the same settings.
    """

    report: Report
    backfill: Report
    migrations: Mapping[Verb, Report]
    way_back: Sequence[Sequence[str]]
    escalation: Sequence[Contact]
    ignored: Sequence[str]
    command: Callable[[str], str]
    program: str


class Planning(Diagnosing, Backfilling, Migrating):
    """
    `action-plan`.
    """

    def action_plan(self, request: Request) -> ActionPlan:
        """
        Look at everything, and plan each repair.
        """
        chart = self._chart(request)
        report = replace(self._diagnosed(request, chart), command="action-plan")
        backfill = self._known("backfill", request, partial(self._backfilled, request, chart))
        migrations = {verb: self._known(verb.command, request, partial(self._migrated, verb, request)) for verb in Verb}
        unknown = ExitCode.INCOMPLETE in {one.exit_code for one in (backfill, *migrations.values())}
        if unknown and report.exit_code is not ExitCode.INCOMPLETE:
            reason = f"{report.exit_reason}, but not every repair could be planned"
            report = replace(report, exit_code=ExitCode.INCOMPLETE, exit_reason=reason)
        today = self._started_at.date()
        return ActionPlan(
            report=replace(report, finished_at=self._clock()),
            backfill=backfill,
            migrations=migrations,
            way_back=self._restoring(),
            escalation=self._preferences.escalation,
            ignored=[entry.fingerprint for entry in self._preferences.ignored if today < entry.until],
            command=request.command,
            program=request.program,
        )

    def _backfilled(self, request: Request, chart: Chart) -> Report:
        # NOTE: planned from the comparison that was diagnosed, so that Twilio's log is walked once.
        planned = self.plan(request, Repair(), compare=lambda: chart.comparison)
        return planned if isinstance(planned, Report) else self.dry_run(planned, request)

    def _migrated(self, verb: Verb, request: Request) -> Report:
        planned = self.plan_migration(verb, request)
        return planned if isinstance(planned, Report) else planned.report

    def _known(self, command: str, request: Request, plan: Callable[[], Report]) -> Report:
        """
        The report; where it is not set where to look, one that says so.
        """
        try:
            return plan()
        except SettingsError as error:
            kind, reason = why_not(error)
            skipped = [Skipped(check=command, kind=kind, reason=reason)]
            return self._report(command, ExitCode.INCOMPLETE, error.summary, window=request.window, skipped=skipped)

    def _restoring(self) -> list[list[str]]:
        try:
            structure = self._sources.structure
            catalog = structure.catalog()
        except (SourceError, SettingsError):
            return []
        relaxed = replace(catalog, not_null=False, unproven=None, checks=()) if catalog.not_null else catalog
        return [statement.script(structure.patience) for statement in restored(relaxed)]
