"""
The verb that says why: all checks, the comparison, and the causes weighed by what they show.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from booking_doctor.checks import select
from booking_doctor.checks.messages import COMPARED
from booking_doctor.checks.undelivered import message_undelivered
from booking_doctor.discrepancies import Comparison
from booking_doctor.doctor.probing import Probing
from booking_doctor.doctor.request import Request
from booking_doctor.doctor.timeline import Kept, kept, timeline
from booking_doctor.errors import ExitCode, NotConfigured, SettingsError, SourceError
from booking_doctor.examination import Chart
from booking_doctor.findings import CauseVerdict, Diagnosis, JSONValue, Report

_THREADS = 8
"""How many signals are read at a time; the database has connections for as many."""


class Diagnosing(Probing):
    """
    `diagnose`.
    """

    def diagnose(self, request: Request, *, quick: bool = False) -> Report:
        """
        Look at everything, and say why it is so and what to do next.

        Args:
            quick: Leave out what takes a walk through Twilio's log.
        """
        return self._diagnosed(request, self._chart(request), quick=quick)

    def _diagnosed(self, request: Request, chart: Chart, *, quick: bool = False) -> Report:
        # NOTE: imported here because the catalogue of causes takes a while to load, and no other command weighs any.
        from booking_doctor.causes.diagnosis import diagnose

        checks = select(request.chosen, request.ignored)
        if quick:
            checks = [check for check in checks if check not in {*COMPARED, message_undelivered}]
            chart.compare = _not_asked
        else:
            # NOTE: Twilio's log takes longest, so it is read while the database answers the first checks.
            self._executor(1).submit(lambda: chart.comparison)
        with self._executor(1) as meanwhile:
            meanwhile.submit(chart.once, kept)
            examined = self._examination(checks, chart)
        diagnosis = diagnose(chart, examined.outcomes, self._executor(_THREADS))
        report = self._reported("diagnose", examined, request, chart)
        incomplete = report.exit_code is not ExitCode.INCOMPLETE and not _reached(chart, log=not quick)
        return replace(
            report,
            exit_code=ExitCode.INCOMPLETE if incomplete else report.exit_code,
            exit_reason=f"{report.exit_reason}, but not everything could be looked at"
            if incomplete
            else report.exit_reason,
            diagnosis=diagnosis,
            coverage={**report.coverage, **self._canary(chart, request)},
            timeline=timeline(request.window, _kept(chart), chart.sent),
            next_steps=list(dict.fromkeys(_next_steps(diagnosis, report, request))),
        )

    def _canary(self, chart: Chart, request: Request) -> dict[str, JSONValue]:
        """
        What is told of the booking that was made to look where it goes; removed by now, where that was wanted.
        """
        if not request.probing:
            return {}
        try:
            traces = chart.probe
        except (SourceError, SettingsError) as error:
            return {"probe": {"last_step": f"not made: {error.sentence}"}}
        made = {"booking_id": traces.booking_id} if traces.booking_id else {}
        return {"probe": {"last_step": traces.last_step, **made, **self._cleaned(traces, request)}}


def _kept(chart: Chart) -> Kept:
    try:
        return chart.once(kept)
    except SourceError:
        return Kept(None, None)


def _reached(chart: Chart, *, log: bool) -> bool:
    """
    Whether what a diagnosis cannot do without was asked, which it was not where nobody has set it either.
    """
    try:
        chart.database  # noqa: B018  to see whether there is one
        if log:
            chart.comparison  # noqa: B018
    except (SourceError, SettingsError):
        return False
    return True


def _not_asked() -> Comparison:
    message = "Twilio's log was not asked for: --quick"
    raise NotConfigured(message)


def _next_steps(diagnosis: Diagnosis, report: Report, request: Request) -> Iterator[str]:
    """
    Commands in their order: understand the cause, repair what it left behind, look again.
    """
    sure = [cause for cause in diagnosis.causes if cause.verdict in {CauseVerdict.CONFIRMED, CauseVerdict.LIKELY}]
    yield from (f"{request.program} explain {cause.id}" for cause in sure[:3])
    found = {finding.name for finding in report.findings}
    if found & {"message-unrecorded", "booking-sms-not-recorded", "message-without-customer"}:
        yield request.command("backfill")
    if "message-mismatched" in found:
        yield request.command("backfill --fix-mismatched")
    if report.findings or report.skipped:
        yield request.command("diagnose")
