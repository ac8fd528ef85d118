"""
The verbs that only look: they choose checks, make them and report what they find.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from msgspec.structs import replace

from booking_doctor.checks import bookings
from booking_doctor.checks.access import ROLE_CHECKS, judged_role
from booking_doctor.checks.check import Check
from booking_doctor.checks.conflicts import env_steps, inventory
from booking_doctor.checks.hosting import HOSTED, presence
from booking_doctor.checks.live import LIVE, LIVE_DATABASE, database_facts
from booking_doctor.doctor.comparing import Comparing, tally
from booking_doctor.doctor.request import Request
from booking_doctor.doctor.timeline import kept_by_hour, timeline
from booking_doctor.errors import ExitCode, SettingsError, SourceError, UsageError
from booking_doctor.evidence import VariableSource
from booking_doctor.examination import Chart, Examination, no_probe
from booking_doctor.findings import FailOn, Finding, JSONValue, Report, Severity
from booking_doctor.probe import Traces


class Examining(Comparing):
    """
    `examine` and the commands that are a choice of checks.
    """

    def examine(self, command: str, checks: Sequence[Check], request: Request) -> Report:
        """
        Make the checks and report what they find.

        Raises:
            SettingsError: A variable that leads to the database is missing or malformed.
        """
        return self._examine(command, checks, request, self._chart(request))

    def _follow(self, phone: str | None) -> Traces:
        probe, target = self._sources.probe(phone)
        return probe.follow(target)

    def _chart(self, request: Request) -> Chart:
        return Chart(
            now=self._started_at,
            window=request.window,
            disclosure=request.disclosure,
            region=self._preferences.region,
            application_role=self._preferences.application_role,
            variables=self._sources.variables,
            expected=request.expected,
            expected_build=request.expected_build,
            command=request.command,
            open_database=lambda: self._sources.queries,
            open_account=self._sources.account,
            make_probe=partial(self._follow, request.probe_phone) if request.probing else no_probe,
            open_platform=self._sources.platform,
            open_application=self._sources.application,
            compare=lambda: self._compare(request),
            open_log=lambda: self._sources.log(all_senders=True)[0],
        )

    def _examine(self, command: str, checks: Sequence[Check], request: Request, chart: Chart) -> Report:
        return self._reported(command, self._examination(checks, chart), request, chart)

    def _reported(self, command: str, examined: Examination, request: Request, chart: Chart) -> Report:
        # NOTE: a check whose findings stand without Twilio passes over what the comparison could not read.
        told = {skipped.reason for skipped in examined.skipped}
        untold = [skipped for skipped in chart.unread if skipped.reason not in told]
        examined = replace(examined, skipped=[*examined.skipped, *untold])
        code, reason = _examined(examined, request.fail_on)
        report = self._report(
            command,
            code,
            reason,
            window=request.window,
            summary={severity: _counted(examined.findings, severity) for severity in Severity},
            coverage={"checks_made": len(examined.made), **examined.coverage, **self._sources.log_told},
            findings=examined.findings,
            skipped=examined.skipped,
            checks=examined.made,
            fail_on=request.fail_on,
        )
        return replace(report, set_aside=examined.set_aside)

    def bookings(self, request: Request) -> Report:
        """
        The window's bookings that lead to no text, each with what Twilio has for it.

        Raises:
            SettingsError: A variable that leads to the database is missing or malformed.
        """
        checks, chart = request.checks("booking"), self._chart(request)
        self._sources.queries  # noqa: B018  where there is none, there are no bookings to call healthy
        report = self._examine("bookings", checks, request, chart)
        kept = kept_by_hour(request.window, lambda: chart.database)
        report = replace(report, timeline=timeline(request.window, kept, chart.sent))
        try:
            summary, coverage = bookings.counts(chart)
        except Exception:
            # NOTE: what is counted is what the checks look at; where that failed, they have said so.
            if report.exit_code is not ExitCode.INCOMPLETE:
                raise
            return replace(report, summary={})
        lost = summary["sms_found_in_twilio"] or any(f.name == "booking-sms-not-recorded" for f in report.findings)
        return replace(
            report,
            summary=summary,
            coverage={**report.coverage, **coverage},
            next_steps=[request.command("backfill")] if lost else [],
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
        left_out = (*(() if live else LIVE), *(() if request.expected else HOSTED))
        checks = replace(request, ignored=[*request.ignored, *left_out]).checks("env")
        if live and not any(check.name in LIVE for check in checks):
            message = "--live has nothing to ask"
            raise UsageError(message, hint=f"--select and --ignore leave none of {', '.join(LIVE)}")
        chart = self._chart(request)
        report = self._examine("check-env", checks, request, chart)
        looked = {check.name for check in checks} - {skipped.check for skipped in report.skipped}
        variables = self._sources.variables
        coverage = {
            **report.coverage,
            **inventory(variables, example, request.expected),
            **self._told_live(looked, chart),
        }
        steps = env_steps(variables, example, request.expected, asked=looked.issuperset(HOSTED))
        report = replace(report, window=None, coverage=coverage, next_steps=steps)
        unasked = live and any(skipped.check in LIVE and skipped.kind != "not-applicable" for skipped in report.skipped)
        return _incomplete(report) if unasked else report

    def _told_live(self, looked: Collection[str], chart: Chart) -> dict[str, JSONValue]:
        """
        What those said who were asked.
        """
        return {
            "live": any(name in looked for name in LIVE),
            **(self._database_told() if LIVE_DATABASE in looked else {}),
            **(presence(chart) if HOSTED[0] in looked else {}),
        }

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
        chart = self._chart(request)
        report = self._examine("check-schema", checks, request, chart)
        looked = {check.name for check in checks} - {skipped.check for skipped in report.skipped}
        role = judged_role(chart) if looked.intersection(ROLE_CHECKS) else {}
        looked_at = {"database": f"{place.database} at {place.host}", "role": place.role, **role}
        return replace(report, window=None, coverage={**report.coverage, **looked_at})


def _examined(examined: Examination, fail_on: FailOn) -> tuple[ExitCode, str]:
    severities = [finding.severity for finding in examined.findings]
    reason = tally(examined)
    if any(skipped.kind in {"unreachable", "not-permitted"} for skipped in examined.skipped):
        return ExitCode.INCOMPLETE, f"{reason}, but not everything could be looked at"
    if not examined.made and any(skipped.kind == "not-configured" for skipped in examined.skipped):
        return ExitCode.INCOMPLETE, "nothing could be looked at, because it is not set where to look"
    if not examined.made and not severities:
        return ExitCode.OK, "there is nothing of it here to look at"
    failed = any(severity.reaches(fail_on) for severity in severities)
    return ExitCode.FINDINGS if failed else ExitCode.OK, reason


def _incomplete(report: Report) -> Report:
    if report.exit_code is ExitCode.INCOMPLETE:
        return report
    reason = f"{report.exit_reason}, but not everything could be looked at"
    return replace(report, exit_code=ExitCode.INCOMPLETE, exit_reason=reason)


def _counted(findings: Sequence[Finding], severity: Severity) -> int:
    return sum(finding.severity is severity for finding in findings)
