"""
The missing rows and metadata: planned from a comparison, written, and seen in effect by the same comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.core.agreement import Row
from booking_doctor.core.model import TwilioMessage, iso
from booking_doctor.discrepancies import Candidates, Comparison, Contact, Kind, bookings_by_sid, find_candidates
from booking_doctor.doctor.comparing import Comparing
from booking_doctor.doctor.reporting import counted
from booking_doctor.doctor.request import Request
from booking_doctor.errors import ExitCode, PlanRefused, SourceError
from booking_doctor.findings import FailOn, PlanView, Report, RunView
from booking_doctor.repair.executor import Receipt, Run, apply, events_of, refuse_if_unsafe
from booking_doctor.repair.plan import Plan, Shape, Target, plan_steps, still_matches
from booking_doctor.repair.showing import left_views, plan_view, trigger_notes
from booking_doctor.repair.steps import Step, StepKind
from booking_doctor.repair.verifying import PROVEN, rows_of, verdict


class Repair(Struct, frozen=True, kw_only=True):
    """
    How a plan is made and carried out.

    Attributes:
        max_changes: How many steps are expected; replaces the built-in limits.
    """

    fix_mismatched: bool = False
    max_changes: int | None = None
    allow_triggers: bool = False
    batch_size: int = 500


class Planned(Struct, frozen=True, kw_only=True):
    """
    A plan, and the comparison it was made from.

    Attributes:
        refusal: Why it would not be carried out as things stand.
    """

    plan: Plan
    comparison: Comparison
    view: PlanView
    refusal: str | None


class Backfilling(Comparing):
    """
    Plan, show, apply, verify.
    """

    def plan(
        self, request: Request, repair: Repair, compare: Callable[[], Comparison] | None = None
    ) -> Planned | Report:
        """
        What a backfill would write; a report instead where the log could not be read to its end.

        Args:
            compare: Gives a comparison over the same window, where one was made already.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        try:
            comparison = compare() if compare else self._compare(request)
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
            request: With the window and senders of the saved plan.

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

    def _incomplete_plan(self, comparison: Comparison, request: Request) -> Report:
        return self._report(
            "backfill",
            ExitCode.INCOMPLETE,
            "the log could not be read to its end, so nothing is planned and nothing was written",
            window=request.window,
            coverage=comparison.coverage,
            skipped=comparison.unread,
            next_steps=[request.command("backfill")],
        )

    def _planned(self, plan: Plan, comparison: Comparison, request: Request, repair: Repair) -> Planned:
        refusal = self._rivals() or refuse_if_unsafe(
            plan, self._sources.ledger, max_changes=repair.max_changes, allow_triggers=repair.allow_triggers
        )
        view = plan_view(
            plan,
            request.disclosure,
            target=self.target(),
            notes=self._notes(plan.steps, request.program),
            refusal=refusal if plan.steps else None,
        )
        return Planned(plan=plan, comparison=comparison, view=view, refusal=view.refusal)

    def _notes(self, steps: Sequence[Step], program: str) -> list[str]:
        notes = trigger_notes(self._sources.ledger.triggers(events_of(steps)))
        inserts = any(step.kind is StepKind.INSERT_MESSAGE for step in steps)
        if inserts and not self._sources.ledger.sid_is_unique():
            notes.append(f"nothing makes a second row for one SID impossible; first run: {program} migrate guard")
        if steps:
            notes.append("the schema booking_doctor of this database keeps the journal that undo reads")
        return notes

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

    def _target(self) -> Target:
        place = self._sources.place()
        return Target(host=place.host, database=place.database, oid=place.oid, account_sid=self._sources.account_sid)

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

    def dry_run(self, planned: Planned, request: Request, next_steps: Sequence[str] = ()) -> Report:
        """
        The report of a plan that is not carried out, or not yet.
        """
        plan = planned.plan
        work = bool(plan.steps or plan.left)
        reason = (
            f"{counted(len(plan.steps), 'step')} to apply, {len(plan.left):,} left" if work else "nothing to backfill"
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
        run = Run(
            id=self._run_id(started_at), command="backfill", checksum=planned.view.checksum, started_at=started_at
        )
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
            next_steps=[f"{request.program} undo {run.id}", request.command("reconcile")] if receipt.written else [],
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


def _applied(written: int, already: int, left: int, proof: str | None, fail_on: FailOn) -> tuple[ExitCode, str]:
    parts = [f"{counted(written, 'step')} applied" if written or not already else "nothing to write"]
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


def _known_sid(row: Row, messages: Mapping[str, TwilioMessage]) -> str:
    return next((sid for sid in (row.message_sid, row.twilio_message_sid) if sid in messages), None) or ""
