"""
Reports for pipelines: JUnit's XML, and the workflow commands of GitHub Actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final
from xml.etree import ElementTree as ET

from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, Report, Severity, Skipped, Verdict
from booking_doctor.report import visible
from booking_doctor.report.words import flat, value_text, worst_first

ANNOTATIONS_SHOWN: Final = 10
"""
Of one severity: GitHub shows no more for a step (GitHub: "Usage limits for annotations").
"""

_BROKEN: Final = frozenset({ExitCode.REFUSED, ExitCode.PARTLY, ExitCode.INCOMPLETE})


# --- JUnit -----------------------------------------------------------------------------------------------------------


def junit(report: Report) -> str:
    """
    A test suite whose cases are the checks, and the command itself as the last one, which fails where the exit code
    says so and no check does.

    Findings below ``--fail-on`` do not fail their case; they stand in its output.
    """
    cases = [*_check_cases(report), _command_case(report)]
    kinds = [case[0].tag if len(case) else "" for case in cases]
    figures = {
        "tests": str(len(cases)),
        **{plural: str(kinds.count(kind)) for plural, kind in _COUNTED.items()},
        "time": f"{(report.finished_at - report.started_at).total_seconds():.3f}",
    }
    suites = ET.Element("testsuites", {"name": "booking-doctor", **figures})
    started = f"{report.started_at:%Y-%m-%dT%H:%M:%S}"
    suite = ET.SubElement(suites, "testsuite", {"name": visible(report.command), **figures, "timestamp": started})
    suite.append(_properties(report))
    suite.extend(cases)
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


_COUNTED: Final = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def _properties(report: Report) -> ET.Element:
    properties = ET.Element("properties")
    told: Mapping[str, object] = {
        "version": report.version,
        "verdict": report.verdict,
        "exit_code": report.exit_code.value,
        **{f"summary.{name}": number for name, number in report.summary.items()},
    }
    coverage = [(f"coverage.{name}", value_text(value)) for name, value in flat(report.coverage)]
    for name, value in [*told.items(), *coverage]:
        ET.SubElement(properties, "property", {"name": visible(name), "value": visible(str(value))})
    return properties


def _check_cases(report: Report) -> Iterator[ET.Element]:
    findings = {name: list(group) for name, group in groupby(_by_name(report.findings), lambda finding: finding.name)}
    skipped = {skip.check: skip for skip in report.skipped}
    for name in dict.fromkeys([*report.checks, *findings, *skipped]):
        yield _check_case(name, findings.get(name, []), skipped.get(name), report)


def _by_name(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(worst_first(findings), key=lambda finding: finding.name)


def _check_case(name: str, findings: Sequence[Finding], skip: Skipped | None, report: Report) -> ET.Element:
    """
    A case that could not be looked at to its end is an error or skipped, whatever was found before.
    """
    case = _case(name.partition("-")[0], name)
    failing = [finding for finding in findings if finding.severity.reaches(report.fail_on)]
    if skip is not None and skip.missed:
        _outcome(case, "error", skip.kind, skip.reason, findings)
    elif failing:
        _outcome(case, "failure", failing[0].severity, _first(failing), findings)
    elif skip is not None:
        _outcome(case, "skipped", skip.kind, skip.reason, ())
    elif findings:
        ET.SubElement(case, "system-out").text = _told(findings)
    return case


def _first(findings: Sequence[Finding]) -> str:
    more = len(findings) - 1
    return findings[0].summary + (f" And {more:,} more." if more else "")


def _command_case(report: Report) -> ET.Element:
    case = _case("command", report.command)
    if report.exit_code in _BROKEN:
        _outcome(case, "error", report.exit_code.name.lower(), report.exit_reason, ())
    elif report.exit_code is not ExitCode.OK and not any(
        one.severity.reaches(report.fail_on) for one in report.findings
    ):
        _outcome(case, "failure", report.exit_code.name.lower(), report.exit_reason, ())
    return case


def _case(family: str, name: str) -> ET.Element:
    return ET.Element("testcase", {"classname": visible(f"booking-doctor.{family}"), "name": visible(name)})


def _outcome(case: ET.Element, tag: str, kind: str, message: str, findings: Sequence[Finding]) -> None:
    outcome = ET.SubElement(case, tag, {"type": kind, "message": visible(message)})
    outcome.text = _told(findings) or None


def _told(findings: Sequence[Finding]) -> str:
    lines = [f"{one.severity} {one.subject}: {one.summary} {one.remedy}" for one in findings]
    return "\n".join(visible(line) for line in lines)


# --- GitHub Actions --------------------------------------------------------------------------------------------------


def github(report: Report) -> str:
    """
    Workflow commands and nothing else: an annotation for each finding as far as GitHub shows them, for what was not
    looked at, and for the command where it did not end well (GitHub: "Workflow commands for GitHub Actions").
    """
    missed = list(_missed(report))
    # NOTE: what is told before the findings and after them counts, too, and the ending is the reason for the red mark.
    room = max(ANNOTATIONS_SHOWN - len(missed) - 1, 0)
    lines = [*missed, *_annotations(report.findings, room), _ending(report)]
    return "\n".join(lines) + "\n"


_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def _missed(report: Report) -> Iterator[str]:
    for skip in report.skipped:
        if skip.missed:
            yield _command("error", f"not looked at: {skip.check}", skip.reason)


def _annotations(findings: Sequence[Finding], room: int) -> Iterator[str]:
    for severity, group in groupby(worst_first(findings), lambda finding: finding.severity):
        found = list(group)
        for finding in found[:room]:
            yield _command(
                _LEVELS[severity], f"{finding.name} ({finding.subject})", f"{finding.summary} {finding.remedy}"
            )
        more = len(found) - room
        if more > 0:
            yield _command("notice", f"{more:,} more of severity {severity}", "The job's summary has them.")


def _ending(report: Report) -> str:
    """
    The verdict; an error where the step is going to fail, so that the reason stands beside the red mark.
    """
    level = "notice" if report.exit_code is ExitCode.OK else "error"
    alarm = "INCOMPLETE: " if report.verdict is Verdict.INCOMPLETE else ""
    return _command(level, f"booking-doctor {report.command}", f"{alarm}{report.exit_reason}")


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(words: str) -> str:
    # NOTE: visible() leaves no line end, so the percent sign is all that can be taken for another character.
    return visible(words).replace("%", "%25")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")
