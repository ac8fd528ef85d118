"""
The verb that acts: a booking is made as a client makes one, and followed.
"""

from __future__ import annotations

from msgspec.structs import replace

from booking_doctor.checks.probe import evidence_of, probe_stopped
from booking_doctor.doctor.examining import Examining
from booking_doctor.doctor.request import Request
from booking_doctor.errors import DatabaseError, ExitCode, SettingsError
from booking_doctor.findings import Disclosure, Report
from booking_doctor.probe import NAME, Traces


class Probing(Examining):
    """
    `probe_api`.
    """

    def probe_target(self, phone: str | None, disclosure: Disclosure) -> dict[str, str]:
        """
        Whom a probe would call and text, as it is shown before.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        target = self._sources.probe(phone)[1]
        shown = {"application": target.host, "event": target.event_id, "phone": str(disclosure.phone(target.phone))}
        try:
            return shown | self.target()
        except (SettingsError, DatabaseError):
            return shown

    def probe_api(self, request: Request) -> Report:
        """
        Make a booking and say how far it got.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        traces = self._follow(request.probe_phone)
        report = self._probed("probe-api", traces, request)
        return replace(report, coverage={**report.coverage, **self._cleaned(traces, request)})

    def dry_probe(self, request: Request) -> Report:
        """
        Send what no application can take, and say which code answers.

        Raises:
            SettingsError: The application's address is missing or malformed.
        """
        probe, target = self._sources.dry_probe()
        return self._probed("probe-api --dry", probe.dry(target), request)

    def _probed(self, command: str, traces: Traces, request: Request) -> Report:
        chart = self._chart(request)
        chart.make_probe = lambda: traces
        report = self._examine(command, [probe_stopped], request, chart)
        steps = [f"{_MARKS[step.happened]} {step.name}: {step.evidence}" for step in traces.steps]
        coverage = {"steps": steps, **{name: told for name, told in evidence_of(traces).items() if name != "steps"}}
        reason = f"the last step that happened: {traces.last_step}"
        if report.exit_code is ExitCode.INCOMPLETE:
            reason += "; not everything could be looked at"
        return replace(report, window=None, summary={}, exit_reason=reason, coverage=coverage)

    def _cleaned(self, traces: Traces, request: Request) -> dict[str, str]:
        """
        What became of the probe's booking, where it was to be removed.
        """
        if not request.cleanup:
            return {}
        if traces.booking_id is None:
            return {"cleanup": "no booking of the probe is known"}
        try:
            removed = self._sources.remove_booking(traces.booking_id, NAME)
        except (SettingsError, DatabaseError) as error:
            return {"cleanup": f"booking {traces.booking_id} stays: {error.sentence}"}
        done = "removed" if removed else "stays: it is no longer pending, or not the probe's"
        return {"cleanup": f"booking {traces.booking_id} {done}; a text cannot be taken back"}


_MARKS = {True: "yes", False: "NO", None: "not looked at"}
