"""
Reports for monitors: a Nagios plugin's line, and a text file for Prometheus.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from booking_doctor.checks import CATALOGUE
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Report, Severity, Verdict
from booking_doctor.report import visible

# --- Nagios ----------------------------------------------------------------------------------------------------------

_STATES: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_UNKNOWN: Final = 3
_NOT_DONE: Final = frozenset(
    {ExitCode.INCOMPLETE, ExitCode.REFUSED, ExitCode.USAGE, ExitCode.BUG, ExitCode.INTERRUPTED}
)


def nagios_state(report: Report) -> int:
    """
    What a plugin exits with (Monitoring Plugins: "Plugin Return Codes"): 0 fine, 1 warnings, 2 errors or a repair
    that is not verified, 3 whenever something could not be looked at.
    """
    if report.exit_code in _NOT_DONE:
        return _UNKNOWN
    severities = {finding.severity for finding in report.findings}
    if report.exit_code is ExitCode.PARTLY:
        return 2
    if report.exit_code is ExitCode.FINDINGS:
        return 2 if Severity.ERROR in severities else 1
    return int(bool(severities - {Severity.INFO}))


def nagios(report: Report) -> str:
    """
    One line: the state, why, and the counts as performance data.
    """
    words = visible(f"{report.command}: {report.exit_reason}").replace("|", "/")
    seconds = (report.finished_at - report.started_at).total_seconds()
    figures = [f"{_label(name)}={number}" for name, number in report.summary.items()]
    found = Counter(finding.severity for finding in report.findings)
    figures += [f"findings_{severity}={found[severity]}" for severity in Severity]
    return f"BOOKING-DOCTOR {_STATES[nagios_state(report)]} - {words} | {' '.join(figures)} duration={seconds:.3f}s\n"


def nagios_failure(sentence: str) -> tuple[str, int]:
    """
    The line of a command that ended with an error, and what it exits with.
    """
    return f"BOOKING-DOCTOR {_STATES[_UNKNOWN]} - {visible(sentence).replace('|', '/')}\n", _UNKNOWN


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


# --- Prometheus ------------------------------------------------------------------------------------------------------

_HELP: Final[Mapping[str, str]] = {
    "findings": "Findings of the last run, by name and severity; 0 where the check was made and passed.",
    "count": "Counts of the last run, as the README lists them.",
    "unrecorded": "Twilio messages that no row has the SID of.",
    "coverage": "What the last run looked at.",
    "complete": "1 where the last run looked at everything it was asked to; else no other metric is a sign of health.",
    "duration_seconds": "How long the last run took.",
    "last_success_timestamp_seconds": "When a run last looked at everything it was asked to.",
}
_LAST_SUCCESS: Final = "last_success_timestamp_seconds"


def prometheus(report: Report) -> str:
    """
    Gauges for the node exporter's textfile collector (Prometheus: "Exposition formats"), all labelled with the command.
    """
    samples = {name: list(values) for name, values in _samples(report)}
    lines: list[str] = []
    for name, values in samples.items():
        if values:
            lines += [f"# HELP booking_doctor_{name} {_HELP[name]}", f"# TYPE booking_doctor_{name} gauge"]
            lines += [f"booking_doctor_{name}{_labels(report, labels)} {number}" for labels, number in values]
    return "\n".join(lines) + "\n"


_Sample = tuple[Mapping[str, str], str]


def _samples(report: Report) -> Iterator[tuple[str, Iterable[_Sample]]]:
    yield "findings", _findings(report)
    yield "count", (({"count": name}, str(number)) for name, number in report.summary.items())
    yield "unrecorded", [({}, str(report.summary["unrecorded"]))] if "unrecorded" in report.summary else []
    yield "coverage", _coverage(report)
    yield "duration_seconds", [({}, f"{(report.finished_at - report.started_at).total_seconds():.3f}")]
    complete = report.verdict is not Verdict.INCOMPLETE
    yield "complete", [({}, str(int(complete)))]
    yield _LAST_SUCCESS, [({}, f"{report.finished_at.timestamp():.0f}")] if complete else []


def _findings(report: Report) -> Iterator[_Sample]:
    found = Counter((finding.name, finding.severity) for finding in report.findings)
    passed = {(name, CATALOGUE[name].severity) for name in report.checks if name in CATALOGUE} - found.keys()
    for name, severity in sorted([*found, *passed]):
        yield {"name": name, "severity": severity}, str(found[name, severity])


def _coverage(report: Report) -> Iterator[_Sample]:
    """
    Numbers and yes or no. What is by hour or by word has a label for each, and would be a series for each: it is left out.
    """
    for name, value in report.coverage.items():
        if isinstance(value, int | float):
            yield {"what": name}, str(int(value) if isinstance(value, bool) else value)


def _labels(report: Report, labels: Mapping[str, str]) -> str:
    told = {"command": report.command, **labels}
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in told.items()) + "}"


def _escaped(value: str) -> str:
    return visible(value).replace("\\", "\\\\").replace('"', '\\"')


def prometheus_carried(previous: str, document: str) -> str:
    """
    The document, with the time of the last success out of the previous one where this run was none: a run that could
    not look must not make the monitor forget when one last could.
    """
    if f"\nbooking_doctor_{_LAST_SUCCESS}{{" in document:
        return document
    line = re.search(rf"^booking_doctor_{_LAST_SUCCESS}\{{.*\}} \d+$", previous, re.MULTILINE)
    if line is None:
        return document
    name = f"booking_doctor_{_LAST_SUCCESS}"
    return f"{document}# HELP {name} {_HELP[_LAST_SUCCESS]}\n# TYPE {name} gauge\n{line[0]}\n"
