"""
What every verb stands on: where to look, what is preferred, the time, and how a report is made of what came.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

from booking_doctor import __version__
from booking_doctor.doctor.request import Request
from booking_doctor.errors import ExitCode, SettingsError, SourceError
from booking_doctor.findings import (
    FailOn,
    Finding,
    JSONValue,
    PastRun,
    PlanView,
    Progress,
    Report,
    RunView,
    Skipped,
    Window,
)
from booking_doctor.settings import Preferences
from booking_doctor.sources import Sources


class Reporting:
    """
    One database and one Twilio account, looked at once.

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

    def living_with(self) -> frozenset[str]:
        """
        Fingerprints of findings that somebody decided to live with for now.
        """
        today = self._started_at.date()
        return frozenset(entry.fingerprint for entry in self._preferences.ignored if today < entry.until)

    @property
    def log_until(self) -> datetime | None:
        """
        Where Twilio's log ends, as far as it is told here; None for now.
        """
        return self._sources.log_until

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

    def target(self) -> dict[str, str]:
        """
        Where a write would go, as it is shown before: the database, the role, and the Twilio account where one is set.
        """
        place = self._sources.place()
        shown = {"database": f"{place.database} at {place.host}", "role": place.role}
        with suppress(SettingsError):
            shown["Twilio account"] = self._sources.account_sid
        return shown

    def scope(self, *words: str) -> str:
        """
        A name for what is looked at, the same tomorrow; it tells nobody who does not know the settings what they are.

        Args:
            words: What else tells it from others.
        """
        told = json.dumps([*words, *self._sources.scope()])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _rivals(self) -> str | None:
        rivals = self._sources.place().rivals
        return f"{' and '.join(rivals)} name different databases; leave only the one that is meant" if rivals else None

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
        checks: Sequence[str] = (),
        fail_on: FailOn = FailOn.ERROR,
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
            checks=checks,
            fail_on=fail_on,
            next_steps=next_steps,
            plan=plan,
            run=run,
            runs=runs,
        )


def counted(number: int, noun: str) -> str:
    """
    One step, or 1,000 steps.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
