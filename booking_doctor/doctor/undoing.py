"""
What was written, run by run: listed, taken back, forgotten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from booking_doctor.doctor.migrating import Migrating
from booking_doctor.doctor.reporting import counted
from booking_doctor.errors import ExitCode, PlanRefused
from booking_doctor.findings import Disclosure, Report, RunView
from booking_doctor.repair.executor import Entry, triggers_refusal, undo
from booking_doctor.repair.showing import left_views, trigger_notes, undo_view
from booking_doctor.repair.steps import Left


class Undoing(Migrating):
    """
    `undo` and `runs`.
    """

    def plan_undo(self, run_id: str, disclosure: Disclosure, *, allow_triggers: bool) -> tuple[Report, str | None]:
        """
        What taking the run back would do, and why it would be refused.

        Raises:
            UsageError: There is no such run.
            SourceError: The database could not be asked.
        """
        if migrated := self._sources.structure.migrated(run_id):
            return self._plan_way_back(run_id, migrated, disclosure)
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
            f"{counted(len(standing), 'row')} to restore, {len(left):,} left"
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
        if migrated := self._sources.structure.migrated(run_id):
            return self._take_migration_back(run_id, migrated, shown)
        receipt = undo(run_id, self._sources.ledger, batch_size=batch_size, progress=self._progress)
        left = left_views(receipt.left)
        reason = f"{counted(len(receipt.written), 'row')} restored, {len(left):,} left"
        return self._report(
            "undo",
            ExitCode.PARTLY if left else ExitCode.OK,
            f"{reason} because they changed since" if left else reason,
            summary={"restored": len(receipt.written), "left": len(left)},
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
        return self._report("runs", ExitCode.OK, counted(len(runs), "run"), runs=runs)

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
        reason = f"the images of {counted(rows, 'row')} are dropped; run {run_id} can no longer be undone"
        return self._report("runs", ExitCode.OK, reason, runs=self._sources.ledger.runs())


def _events_of_undo(entries: Iterable[Entry]) -> dict[str, frozenset[str]]:
    """
    What taking entries back does to each table.
    """
    events: dict[str, set[str]] = {}
    for entry in entries:
        events.setdefault(entry.table, set()).add("delete" if entry.before is None else "update")
    return {table: frozenset(kinds) for table, kinds in events.items()}
