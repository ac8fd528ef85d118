"""
The verbs of the doctor: reconcile, plan, apply, verify, undo. Each takes a request and gives a report.

What could not be looked at is in the report, not an exception; what the caller got wrong, or may not do, is a
`DoctorError`. Databases and services are ports here; `booking_doctor.bootstrap` chooses them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from booking_doctor import __version__
from booking_doctor.checks import bookings, select
from booking_doctor.checks.check import Check, Evidence
from booking_doctor.checks.environment import LIVE, LIVE_DATABASE, database_facts, env_steps, inventory
from booking_doctor.checks.messages import COMPARED, compared
from booking_doctor.core.agreement import Row
from booking_doctor.core.model import TwilioMessage, iso
from booking_doctor.discrepancies import Candidates, Comparison, Contact, Kind, Terms, bookings_by_sid, find_candidates
from booking_doctor.errors import ExitCode, PlanRefused, SettingsError, SourceError
from booking_doctor.evidence import VariableSource
from booking_doctor.examination import Chart, Examination, examine
from booking_doctor.findings import (
    Disclosure,
    FailOn,
    Finding,
    JSONValue,
    PastRun,
    PlanView,
    Progress,
    Report,
    RunView,
    Severity,
    Skipped,
    Window,
)
from booking_doctor.reconcile import reconcile
from booking_doctor.repair.executor import (
    Entry,
    Receipt,
    Run,
    apply,
    events_of,
    refuse_if_unsafe,
    triggers_refusal,
    undo,
)
from booking_doctor.repair.plan import Plan, Shape, Target, plan_steps, still_matches
from booking_doctor.repair.showing import left_views, plan_view, trigger_notes, undo_view
from booking_doctor.repair.steps import Left, Step, StepKind
from booking_doctor.repair.verifying import PROVEN, rows_of, verdict
from booking_doctor.settings import Preferences
from booking_doctor.sources import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    What every reporting command is asked.

    Attributes:
        program: How a command line that reads the same settings begins.
        again: The options to repeat in a command that looks at the same, such as ``--since 7d``.
        expected: What the variables should be elsewhere, such as on the hosting platform.
        chosen: Names and families of the checks that are wanted; none for all.
        ignored: Names and families of checks to leave out of those.
    """

    window: Window
    all_senders: bool = False
    fail_on: FailOn = FailOn.ERROR
    disclosure: Disclosure = Disclosure()
    program: str = "booking-doctor"
    again: str = ""
    expected: VariableSource | None = None
    chosen: Sequence[str] = ()
    ignored: Sequence[str] = ()

    def checks(self, family: str) -> list[Check]:
        """
        The family's checks that are wanted.

        Raises:
            UsageError: A name is not one of the family's, or no check is left.
        """
        return select(self.chosen, self.ignored, family=family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """
    How a plan is made and carried out.

    Attributes:
        max_changes: How many steps are expected; replaces the built-in limits.
    """

    fix_mismatched: bool = False
    max_changes: int | None = None
    allow_triggers: bool = False
    batch_size: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """
    A plan, and the comparison it was made from.

    Attributes:
        refusal: Why it would not be carried out as things stand.
    """

    plan: Plan
    comparison: Comparison
    view: PlanView
    refusal: str | None


class Doctor:
    """
    The verbs, on one database and one Twilio account.

    Args:
        clock: Now, aware and in UTC.
        run_id: Makes a name for a run.
        executor: Makes one with so many threads, on which checks are made.
    """

    def __init__(
        self,
        sources: Sources,
        preferences: Preferences,
        *,
        clock: Callable[[], datetime],
        run_id: Callable[[datetime], str],
        progress: Progress,
        executor: Callable[[int], Executor] = ThreadPoolExecutor,
    ) -> None:
        self._sources = sources
        self._preferences = preferences
        self._clock = clock
        self._run_id = run_id
        self._progress = progress
        self._executor = executor
        self._started_at = clock()

    @property
    def retention(self) -> timedelta:
        """
        How long Twilio shows a message.
        """
        return self._preferences.retention

    def now(self) -> datetime:
        """
        When this doctor was called, by its clock.
        """
        return self._started_at

    def close(self) -> None:
        """
        Give connections back.
        """
        self._sources.close()

    # examine

    def examine(self, command: str, checks: Sequence[Check], request: Request) -> Report:
        """
        Make the checks and report what they find.

        Raises:
            SettingsError: A variable that leads to the database is missing or malformed.
        """
        return self._examine(command, checks, request, self._chart(request))

    def _chart(self, request: Request) -> Chart:
        return Chart(
            now=self._started_at,
            window=request.window,
            disclosure=request.disclosure,
            region=self._preferences.region,
            application_role=self._preferences.application_role,
            variables=self._sources.variables,
            expected=request.expected,
            command=lambda words: _command(words, request),
            open_database=lambda: self._sources.queries,
            open_account=self._sources.account,
            compare=lambda: self._compare(request),
        )

    def _examine(self, command: str, checks: Sequence[Check], request: Request, chart: Chart) -> Report:
        examined = self._examination(checks, chart)
        # NOTE: a check whose findings stand without Twilio passes over what the comparison could not read.
        told = {skipped.reason for skipped in examined.skipped}
        untold = [skipped for skipped in chart.unread if skipped.reason not in told]
        examined = replace(examined, skipped=[*examined.skipped, *untold])
        code, reason = _examined(examined, request.fail_on)
        return self._report(
            command,
            code,
            reason,
            window=request.window,
            summary={severity: _counted(examined.findings, severity) for severity in Severity},
            coverage={"checks_made": examined.made, **examined.coverage},
            findings=examined.findings,
            skipped=examined.skipped,
        )

    def _examination(self, checks: Sequence[Check], evidence: Evidence) -> Examination:
        return examine(
            checks, evidence, self._executor(len(checks)), self._preferences.ignored, self._started_at.date()
        )

    def bookings(self, request: Request) -> Report:
        """
        The window's bookings that lead to no text, each with what Twilio has for it.

        Raises:
            SettingsError: A variable that leads to the database is missing or malformed.
        """
        checks, chart = request.checks("booking"), self._chart(request)
        try:
            summary, coverage = bookings.counts(chart)
        except SourceError as error:
            return self._unlooked("bookings", request, error)
        report = self._examine("bookings", checks, request, chart)
        lost = summary["sms_found_in_twilio"] or any(f.name == "booking-sms-not-recorded" for f in report.findings)
        return replace(
            report,
            summary=summary,
            coverage={**report.coverage, **coverage},
            next_steps=[_command("backfill", request)] if lost else [],
        )

    def jobs(self, request: Request) -> Report:
        """
        What is overdue, stuck or failed in the queue.

        Raises:
            SettingsError: A variable that leads to the database is missing or malformed.
        """
        checks = request.checks("job")
        self._sources.queries  # noqa: B018  where there is none, there is no queue to call healthy
        return self.examine("jobs status", checks, request)

    def check_env(self, request: Request, *, live: bool = False, example: VariableSource | None = None) -> Report:
        """
        Make the checks of the environment, and say which variable comes from where.

        Args:
            live: Whether Twilio and the database are asked too. They are asked for then, so a question that could not be put
                makes the report incomplete.
            example: Names that should be there.
        """
        asked = request if live else replace(request, ignored=[*request.ignored, *LIVE])
        report = self.examine("check-env", asked.checks("env"), request)
        variables = self._sources.variables
        unasked = live and any(skipped.check in LIVE and skipped.kind != "not-applicable" for skipped in report.skipped)
        reached = live and all(skipped.check != LIVE_DATABASE for skipped in report.skipped)
        return replace(
            report,
            window=None,
            exit_code=ExitCode.INCOMPLETE if unasked else report.exit_code,
            exit_reason=report.exit_reason
            if not unasked or report.exit_code is ExitCode.INCOMPLETE
            else f"{report.exit_reason}, but not everything could be looked at",
            coverage={
                **report.coverage,
                **inventory(variables, example, request.expected),
                "live": live,
                **(self._database_told() if reached else {}),
            },
            next_steps=env_steps(variables, example, request.expected),
        )

    def _database_told(self) -> dict[str, JSONValue]:
        """
        What was reached, by whom; nothing where it went away in the meantime.
        """
        try:
            place, facts = self._sources.place(), database_facts(self._sources.queries)
        except (SourceError, SettingsError):
            return {}
        return {
            "database": f"{place.database} at {place.host}",
            **{f"database_{key}": told for key, told in facts.items()},
        }

    def check_schema(self, request: Request) -> Report:
        """
        Make the checks of the tables, as they are now: there is no window.

        Raises:
            SettingsError: No database is set.
        """
        checks = request.checks("schema")
        try:
            place = self._sources.place()
        except SourceError as error:
            return replace(self._unlooked("check-schema", request, error), window=None)
        report = self.examine("check-schema", checks, request)
        looked_at = {"database": f"{place.database} at {place.host}", "role": place.role}
        return replace(report, window=None, coverage={**report.coverage, **looked_at})

    # reconcile

    def reconcile(self, request: Request) -> Report:
        """
        Compare, and report what disagrees.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        try:
            comparison = self._compare(request)
        except SourceError as error:
            return self._unlooked("reconcile", request, error)
        evidence = compared(comparison, request.disclosure, lambda words: _command(words, request))
        examined = self._examination(COMPARED, evidence)
        examined = replace(examined, skipped=[*comparison.unread, *examined.skipped])
        code, reason = _conclusion(examined, comparison, request.fail_on)
        return self._report(
            "reconcile",
            code,
            reason,
            window=request.window,
            summary=comparison.counts,
            coverage={**comparison.coverage, **examined.coverage},
            findings=examined.findings,
            skipped=examined.skipped,
            next_steps=_after_reconcile(comparison, request),
        )

    def _compare(self, request: Request, now: datetime | None = None) -> Comparison:
        log, senders = self._sources.log(all_senders=request.all_senders)
        terms = Terms(
            window=request.window,
            now=now or self._clock(),
            senders=senders,
            region=self._preferences.region,
            retention=self._preferences.retention,
        )
        return reconcile(log, self._sources.records, terms)

    # backfill

    def plan(self, request: Request, repair: Repair) -> Planned | Report:
        """
        What a backfill would write; a report instead where the log could not be read to its end.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        try:
            comparison = self._compare(request)
            if not comparison.log_complete:
                return self._incomplete_plan(comparison, request)
            plan = self._make_plan(comparison, request, repair)
            return self._planned(plan, comparison, request, repair)
        except SourceError as error:
            return self._unlooked("backfill", request, error)

    def plan_again(self, saved: Plan, request: Request, repair: Repair) -> Planned | Report:
        """
        The saved plan, if the world still asks for every step of it.

        Args:
            request: With the window and senders of the saved plan, see `request_of`.

        Raises:
            PlanRefused: It does not.
        """
        fresh = self.plan(request, repair)
        if isinstance(fresh, Report):
            return fresh
        try:
            still_matches(saved, fresh.plan, self._sources.ledger.done(saved.checksum))
            return self._planned(saved, fresh.comparison, request, repair)
        except SourceError as error:
            return self._unlooked("backfill", request, error)

    def _make_plan(self, comparison: Comparison, request: Request, repair: Repair) -> Plan:
        columns = self._sources.message_columns()
        statuses = comparison.overview.statuses if comparison.overview else None
        steps, left = plan_steps(
            comparison,
            Shape(columns=columns, statuses=statuses, region=self._preferences.region),
            mismatched=self._mismatched(comparison) if repair.fix_mismatched else (),
            without_customer=self._without_customer(comparison),
        )
        return Plan(
            target=self._target(),
            made_at=iso(self._clock()),
            since=iso(request.window.since),
            until=iso(request.window.until),
            all_senders=request.all_senders,
            fix_mismatched=repair.fix_mismatched,
            messages=comparison.counts["twilio_messages"],
            steps=steps,
            left=left,
        )

    def _mismatched(self, comparison: Comparison) -> list[tuple[TwilioMessage, Row]]:
        """
        All rows of the mismatched messages, whole.
        """
        messages = {d.sid: d.message for d in comparison.of(Kind.MISMATCHED) if d.message}
        rows = rows_of(self._sources.records, list(messages))
        missing = messages.keys() - {row.message_sid for row in rows}
        rows += self._sources.records.rows_by_second_sid(missing) if missing else []
        return [(messages[sid], row) for row in rows if (sid := _known_sid(row, messages))]

    def _without_customer(self, comparison: Comparison) -> list[tuple[Row, Candidates]]:
        rows = (
            {row.sid or f"row-{row.id}": row for row in comparison.overview.without_customer}
            if comparison.overview
            else {}
        )
        if not rows:
            return []
        contacts = {
            key: Contact(
                number=row.from_number if row.direction == "inbound" else row.to_number,
                at=row.created_at or self._started_at,
                inbound=row.direction == "inbound",
            )
            for key, row in rows.items()
        }
        named = bookings_by_sid(self._sources.records, rows, comparison.terms.now)
        found = find_candidates(self._sources.records, contacts, named, comparison.terms)
        return [(row, found[key]) for key, row in rows.items()]

    def _target(self) -> Target:
        place = self._sources.place()
        return Target(host=place.host, database=place.database, oid=place.oid, account_sid=self._sources.account_sid)

    def _planned(self, plan: Plan, comparison: Comparison, request: Request, repair: Repair) -> Planned:
        refusal = self._rivals() or refuse_if_unsafe(
            plan, self._sources.ledger, max_changes=repair.max_changes, allow_triggers=repair.allow_triggers
        )
        view = plan_view(
            plan,
            request.disclosure,
            target=self.target(),
            notes=self._notes(plan.steps),
            refusal=refusal if plan.steps else None,
        )
        return Planned(plan=plan, comparison=comparison, view=view, refusal=view.refusal)

    def _rivals(self) -> str | None:
        rivals = self._sources.place().rivals
        return f"{' and '.join(rivals)} name different databases; leave only the one that is meant" if rivals else None

    def target(self) -> dict[str, str]:
        """
        Where a write would go, as it is shown before: the database, the role, and the Twilio account where one is set.
        """
        place = self._sources.place()
        shown = {"database": f"{place.database} at {place.host}", "role": place.role}
        with suppress(SettingsError):
            shown["Twilio account"] = self._sources.account_sid
        return shown

    def _notes(self, steps: Sequence[Step]) -> list[str]:
        notes = trigger_notes(self._sources.ledger.triggers(events_of(steps)))
        inserts = any(step.kind is StepKind.INSERT_MESSAGE for step in steps)
        if inserts and (index := self._sources.ledger.missing_unique_index()):
            notes.append(f"nothing makes a second row for one SID impossible; consider first: {index}")
        if steps:
            notes.append("the schema booking_doctor of this database keeps the journal that undo reads")
        return notes

    def dry_run(self, planned: Planned, request: Request, next_steps: Sequence[str] = ()) -> Report:
        """
        The report of a plan that is not carried out, or not yet.
        """
        plan = planned.plan
        work = bool(plan.steps or plan.left)
        reason = (
            f"{_count(len(plan.steps), 'step')} to apply, {len(plan.left):,} left" if work else "nothing to backfill"
        )
        if planned.comparison.unread:
            code, reason = ExitCode.INCOMPLETE, f"{reason}; not everything could be looked at"
        else:
            code = ExitCode.FINDINGS if work and request.fail_on is not FailOn.NEVER else ExitCode.OK
        return self._report(
            "backfill",
            code,
            reason,
            window=request.window,
            summary={**plan.counts(), "applied": 0},
            coverage=planned.comparison.coverage,
            skipped=planned.comparison.unread,
            plan=planned.view,
            next_steps=next_steps if plan.steps else (),
        )

    def apply(self, planned: Planned, request: Request, repair: Repair) -> Report:
        """
        Carry out the plan, then run the same comparison again and see each step in effect.

        Raises:
            PlanRefused: It was not carried out; nothing was written.
            PartlyApplied: The connection was lost on the way.
        """
        if planned.refusal:
            message = f"refused, nothing was written: {planned.refusal}"
            raise PlanRefused(message)
        plan = planned.plan
        started_at = self._clock()
        run = Run(id=self._run_id(started_at), command="backfill", checksum=plan.checksum, started_at=started_at)
        receipt = apply(plan, self._sources.ledger, run, batch_size=repair.batch_size, progress=self._progress)
        proof = self._verify(planned, request, receipt) if receipt.written else None
        left = len(plan.left) + len(receipt.left)
        code, reason = _applied(len(receipt.written), receipt.already, left, proof, request.fail_on)
        return self._report(
            "backfill",
            code,
            reason,
            window=request.window,
            summary={**plan.counts(), "left": left, "applied": len(receipt.written)},
            coverage=planned.comparison.coverage,
            plan=replace(planned.view, left=[*planned.view.left, *left_views(receipt.left)]),
            run=RunView(id=run.id, applied=len(receipt.written), verified=proof is PROVEN) if receipt.written else None,
            next_steps=[f"{request.program} undo {run.id}", _command("reconcile", request)] if receipt.written else [],
        )

    def _verify(self, planned: Planned, request: Request, receipt: Receipt) -> str:
        """
        `PROVEN`, or why it is not.
        """
        steps = [planned.plan.steps[number] for number in receipt.written]
        try:
            after = self._compare(request, planned.comparison.terms.now)
            return verdict(steps, planned.comparison, after, self._sources.records)
        except SourceError as error:
            return f"it could not be verified: {error.summary}"

    def _incomplete_plan(self, comparison: Comparison, request: Request) -> Report:
        return self._report(
            "backfill",
            ExitCode.INCOMPLETE,
            "the log could not be read to its end, so nothing is planned and nothing was written",
            window=request.window,
            coverage=comparison.coverage,
            skipped=comparison.unread,
            next_steps=[_command("backfill", request)],
        )

    # undo and runs

    def plan_undo(self, run_id: str, disclosure: Disclosure, *, allow_triggers: bool) -> tuple[Report, str | None]:
        """
        What taking the run back would do, and why it would be refused.

        Raises:
            UsageError: There is no such run.
            SourceError: The database could not be asked.
        """
        entries = [entry for entry in self._sources.ledger.entries(run_id) if not entry.undone]
        left = self._undo_left(entries)
        standing = [entry for entry in reversed(entries) if entry.number not in left]
        triggers = self._sources.ledger.triggers(_events_of_undo(standing))
        refusal = self._rivals() or triggers_refusal(triggers, allow=allow_triggers)
        view = undo_view(
            run_id,
            hashlib.sha256(json.dumps([run_id, [entry.number for entry in standing]]).encode()).hexdigest(),
            standing,
            [Left(subject=entry.subject, reason=left[entry.number]) for entry in entries if entry.number in left],
            disclosure,
            names=self._sources.known_names(),
            target=self.target(),
            notes=trigger_notes(triggers),
            refusal=refusal if standing else None,
        )
        reason = (
            f"{_count(len(standing), 'row')} to restore, {len(left):,} left"
            if entries
            else "everything is undone already"
        )
        code = ExitCode.FINDINGS if entries else ExitCode.OK
        return self._report("undo", code, reason, plan=view), view.refusal

    def _undo_left(self, entries: Sequence[Entry]) -> dict[int, str]:
        return self._sources.ledger.changed_since(entries) if entries else {}

    def undo(self, run_id: str, shown: Report, *, batch_size: int) -> Report:
        """
        Take the run back.

        Raises:
            PlanRefused: Nothing was taken back.
            PartlyApplied: The connection was lost on the way.
        """
        receipt = undo(run_id, self._sources.ledger, batch_size=batch_size, progress=self._progress)
        left = left_views(receipt.left)
        reason = f"{_count(len(receipt.written), 'row')} restored, {len(left):,} left"
        return self._report(
            "undo",
            ExitCode.PARTLY if left else ExitCode.OK,
            f"{reason} because they changed since" if left else reason,
            summary={"left": len(left), "applied": len(receipt.written)},
            plan=replace(shown.plan, left=left) if shown.plan else None,
            run=RunView(id=run_id, applied=len(receipt.written), verified=not left),
        )

    def runs(self) -> Report:
        """
        All runs, newest first.

        Raises:
            SourceError: The database could not be asked.
        """
        runs = self._sources.ledger.runs()
        return self._report("runs", ExitCode.OK, _count(len(runs), "run"), runs=runs)

    def forget(self, run_id: str) -> Report:
        """
        Drop a run's images.

        Raises:
            UsageError: There is no such run.
        """
        if rivals := self._rivals():
            message = f"refused, nothing was written: {rivals}"
            raise PlanRefused(message)
        rows = self._sources.ledger.forget(run_id)
        reason = f"the images of {_count(rows, 'row')} are dropped; run {run_id} can no longer be undone"
        return self._report("runs", ExitCode.OK, reason, runs=self._sources.ledger.runs())

    # reports

    def _unlooked(self, command: str, request: Request, error: SourceError) -> Report:
        return self._report(
            command,
            ExitCode.INCOMPLETE,
            f"{error.summary}; nothing is claimed and nothing was written",
            window=request.window,
            skipped=[Skipped(check=error.source, kind=error.kind, reason=error.sentence)],
        )

    def _report(
        self,
        command: str,
        exit_code: ExitCode,
        exit_reason: str,
        *,
        window: Window | None = None,
        summary: Mapping[str, int] | None = None,
        coverage: Mapping[str, JSONValue] | None = None,
        findings: Sequence[Finding] = (),
        skipped: Sequence[Skipped] = (),
        next_steps: Sequence[str] = (),
        plan: PlanView | None = None,
        run: RunView | None = None,
        runs: Sequence[PastRun] | None = None,
    ) -> Report:
        return Report(
            command=command,
            version=__version__,
            started_at=self._started_at,
            finished_at=self._clock(),
            window=window,
            exit_code=exit_code,
            exit_reason=exit_reason,
            summary=summary or {},
            coverage=coverage or {},
            findings=findings,
            skipped=skipped,
            next_steps=next_steps,
            plan=plan,
            run=run,
            runs=runs,
        )


def request_of(plan: Plan, request: Request) -> Request:
    """
    The request with the window and the senders that *plan* was made for.
    """
    window = Window(datetime.fromisoformat(plan.since), datetime.fromisoformat(plan.until))
    again = f"--since {plan.since} --until {plan.until}" + (" --all-senders" if plan.all_senders else "")
    return replace(request, window=window, all_senders=plan.all_senders, again=again)


def _examined(examined: Examination, fail_on: FailOn) -> tuple[ExitCode, str]:
    severities = [finding.severity for finding in examined.findings]
    reason = _severities(severities) + _set_aside(examined)
    if any(skipped.kind in {"unreachable", "not-permitted"} for skipped in examined.skipped):
        return ExitCode.INCOMPLETE, f"{reason}, but not everything could be looked at"
    if not examined.made and any(skipped.kind == "not-configured" for skipped in examined.skipped):
        return ExitCode.INCOMPLETE, "nothing could be looked at, because it is not set where to look"
    failed = any(severity.reaches(fail_on) for severity in severities)
    return ExitCode.FINDINGS if failed else ExitCode.OK, reason


def _set_aside(examined: Examination) -> str:
    numbers = {"ignored for now": len(examined.suppressed), "no longer ignored": len(examined.lapsed)}
    return "".join(f", {number:,} {words}" for words, number in numbers.items() if number)


def _severities(severities: Sequence[Severity]) -> str:
    return ", ".join(_count(severities.count(s), s) for s in Severity if s in severities) or "no findings"


def _counted(findings: Sequence[Finding], severity: Severity) -> int:
    return sum(finding.severity is severity for finding in findings)


def _conclusion(examined: Examination, comparison: Comparison, fail_on: FailOn) -> tuple[ExitCode, str]:
    severities = [finding.severity for finding in examined.findings]
    found = _severities(severities) + _set_aside(examined)
    if not comparison.counts:
        return ExitCode.INCOMPLETE, "the Twilio log could not be read, so nothing is claimed"
    if examined.skipped:
        return ExitCode.INCOMPLETE, f"{found} in what was read, but not everything could be looked at"
    if any(severity.reaches(fail_on) for severity in severities):
        return ExitCode.FINDINGS, found
    agree = not examined.findings and not examined.suppressed
    return ExitCode.OK, "the Twilio log and the database agree" if agree else found


def _after_reconcile(comparison: Comparison, request: Request) -> list[str]:
    steps = []
    if comparison.unread:
        steps.append(_command("reconcile", request))
    if comparison.log_complete and (
        any(not discrepancy.orphaned for discrepancy in comparison.of(Kind.UNRECORDED))
        or (comparison.overview and comparison.overview.without_customer)
    ):
        steps.append(_command("backfill", request))
    if comparison.log_complete and comparison.of(Kind.MISMATCHED):
        steps.append(_command("backfill --fix-mismatched", request))
    return steps


def _applied(written: int, already: int, left: int, proof: str | None, fail_on: FailOn) -> tuple[ExitCode, str]:
    parts = [f"{_count(written, 'step')} applied" if written or not already else "nothing to write"]
    if already:
        parts.append(f"{already:,} applied before")
    if proof is not None:
        parts.append(proof)
    if left:
        parts.append(f"{left:,} left")
    if proof is not None and proof is not PROVEN:
        code = ExitCode.PARTLY
    else:
        code = ExitCode.FINDINGS if left and fail_on is not FailOn.NEVER else ExitCode.OK
    return code, ", ".join(parts)


def _command(words: str, request: Request) -> str:
    return f"{request.program} {words} {request.again}".rstrip()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _known_sid(row: Row, messages: Mapping[str, TwilioMessage]) -> str:
    return next((sid for sid in (row.message_sid, row.twilio_message_sid) if sid in messages), None) or ""


def _events_of_undo(entries: Iterable[Entry]) -> dict[str, frozenset[str]]:
    """
    What taking entries back does to each table.
    """
    events: dict[str, set[str]] = {}
    for entry in entries:
        events.setdefault(entry.table, set()).add("delete" if entry.before is None else "update")
    return {table: frozenset(kinds) for table, kinds in events.items()}
