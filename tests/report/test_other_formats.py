"""
The formats for chats, wikis, pipelines, monitors and spreadsheets: whole by golden file, and read by their own readers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from io import StringIO
from time import process_time
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from booking_doctor.errors import ExitCode
from booking_doctor.findings import FailOn, JSONValue, Report, Severity, Skipped, Verdict
from booking_doctor.report import FORMATS, Canvas
from booking_doctor.report.lists import defused
from booking_doctor.report.markdown import fenced, prose, text
from booking_doctor.report.monitoring import nagios_failure, nagios_state, prometheus_carried
from tests.report.conftest import HOSTILE, unrecorded

ENDINGS: Final = {
    "short": "txt",
    "markdown": "md",
    "junit": "xml",
    "github": "txt",
    "nagios": "txt",
    "prometheus": "prom",
    "csv": "csv",
}


def drawn(format: str, report: Report) -> str:
    """
    The document.
    """
    return FORMATS[format].render(report, Canvas(80))


@pytest.mark.parametrize("format", ENDINGS)
def test_golden(format: str, sample: tuple[str, Report], same_as_golden: Callable[[str, str], None]) -> None:
    """
    Each report's document in each format, whole.
    """
    name, report = sample
    same_as_golden(f"{format}/{name}.{ENDINGS[format]}", drawn(format, report))


@pytest.mark.parametrize("format", ENDINGS)
def test_ten_thousand_findings_take_less_than_a_second(format: str, samples: Mapping[str, Report]) -> None:
    """
    A large report is drawn at once, in seconds of the processor.
    """
    large = replace(samples["findings"], findings=[unrecorded(number) for number in range(10_000)])
    begun = process_time()
    drawn(format, large)
    assert process_time() - begun < 1


# --- short -----------------------------------------------------------------------------------------------------------


def test_short_says_nothing_but_problems_and_one_sentence(samples: Mapping[str, Report]) -> None:
    """
    A healthy world is one line; hints and what does not apply are left out; what was missed is not.
    """
    assert drawn("short", samples["healthy"]).count("\n") == 1
    findings = drawn("short", samples["findings"]).splitlines()
    assert [line.split()[0] for line in findings] == ["error", "error", "warning", "FINDINGS"]
    assert "19 more" in findings[1]
    incomplete = drawn("short", samples["incomplete"])
    assert "not looked at twilio-log" in incomplete
    assert "VERCEL_TOKEN" not in incomplete


# --- Markdown --------------------------------------------------------------------------------------------------------


def rendered(markdown: str) -> str:
    """
    As a reader of Markdown with tables and raw HTML shows it.
    """
    reader = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "strikethrough", "linkify"])
    html: str = reader.render(markdown)
    return html


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_text_is_taken_for_markup(words: str) -> None:
    """
    Whatever the text, in a table's cell it is one cell with nothing but itself in it.
    """
    html = rendered(f"| a | b |\n| --- | --- |\n| {text(words)} | end |")
    cells = re.findall(r"<td>(.*?)</td>", html, re.DOTALL)

    assert len(cells) == 2
    assert cells[1] == "end"
    assert not re.search(r"<(?!/?br)", cells[0])


def test_commands_in_our_sentences_are_code(samples: Mapping[str, Report]) -> None:
    """
    What stands between backticks can be copied; a quoted backtick changes nothing but what looks like code.
    """
    html = rendered(drawn("markdown", samples["findings"]))
    assert "Review what <code>booking-doctor backfill --since 2025-12-01</code> plans" in html


@given(st.text("`|<b>*_a ", max_size=30))
def test_no_quoted_backtick_lets_markup_out(words: str) -> None:
    """
    However backticks pair, nothing outside of code is taken for markup, and a cell stays a cell.
    """
    cells = re.findall(r"<td>(.*?)</td>", rendered(f"| a | b |\n| --- | --- |\n| {prose(words)} | end |"), re.DOTALL)
    assert len(cells) == 2
    assert not re.search(r"<(?!/?code>)", cells[0])


def test_hostile_text_makes_no_tag_link_or_heading(samples: Mapping[str, Report]) -> None:
    """
    A report full of markup renders to the headings, tables and blocks that are ours, and nothing else.
    """
    html = rendered(drawn("markdown", samples["hostile"]))
    tags = set(re.findall(r"<([a-z0-9]+)", html))

    assert tags <= {
        *("h1", "h2", "h3", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td", "pre", "code")
    }
    assert "evil.example" in html
    assert "<script" not in html


@given(st.lists(st.text("`~ab\n", max_size=12), min_size=1, max_size=3))
def test_nothing_ends_a_fenced_block(lines: list[str]) -> None:
    """
    Commands to copy stay in their block, whatever backticks they hold.
    """
    html = rendered(fenced(lines, "sh") + "\n\nafter\n")

    assert html.count("<pre>") == 1
    assert html.endswith("<p>after</p>\n")


def test_what_was_not_looked_at_comes_before_any_count(samples: Mapping[str, Report]) -> None:
    """
    Nobody reads the counts of an incomplete report without having read why it is.
    """
    document = drawn("markdown", samples["incomplete"])
    assert document.index("## Not looked at") < document.index("## Counts")


# --- JUnit -----------------------------------------------------------------------------------------------------------


def _name(case: ET.Element) -> str:
    return "the command" if case.attrib["classname"] == "booking-doctor.command" else case.attrib["name"]


def cases(report: Report) -> dict[str, str]:
    """
    The outcome of each test case by name: nothing for one that passed.
    """
    suites = ET.fromstring(drawn("junit", report))
    found = {_name(case): next((child.tag for child in case), "") for case in suites.iter("testcase")}
    suite = suites.find("testsuite")
    assert suite is not None
    assert int(suite.attrib["tests"]) == len(found)
    for plural, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[plural]) == list(found.values()).count(kind)
    return found


def test_a_check_is_a_test_case(samples: Mapping[str, Report]) -> None:
    """
    Passed, failed, milder than what fails, skipped, and not looked at are told apart.
    """
    report = replace(
        samples["findings"],
        checks=["schema-table-missing", "message-unrecorded"],
        skipped=[
            *samples["findings"].skipped,
            Skipped(check="schema-update-blocked", kind="not-permitted", reason="No."),
        ],
    )
    assert cases(report) == {
        "schema-table-missing": "",
        "message-unrecorded": "failure",
        "booking-metadata-empty": "failure",
        "message-mismatched": "system-out",
        "schema-customer-id-required": "system-out",
        "jobs": "skipped",
        "schema-update-blocked": "error",
        "the command": "",
    }
    assert cases(replace(report, fail_on=FailOn.WARNING))["message-mismatched"] == "failure"


def test_a_suite_fails_where_the_exit_code_does(sample: tuple[str, Report]) -> None:
    """
    No report whose exit code is not 0 is all green, and none whose exit code is 0 is red.
    """
    _, report = sample
    red = {"failure", "error"} & set(cases(report).values())
    assert bool(red) is (report.exit_code is not ExitCode.OK)


# --- GitHub ----------------------------------------------------------------------------------------------------------

_COMMAND: Final = re.compile(r"::(error|warning|notice) title=([^:,\n]*)::([^\n]*)")


def test_every_line_is_a_workflow_command(sample: tuple[str, Report]) -> None:
    """
    Nothing else comes out, a title ends where it ends, and no percent sign is taken for a code.
    """
    lines = drawn("github", sample[1]).splitlines()
    for line in lines:
        match = _COMMAND.fullmatch(line)
        assert match, line
        assert re.fullmatch(r"(?:[^%]|%25|%3A|%2C)*", match[2] + match[3])
    assert lines[-1].startswith("::notice" if sample[1].exit_code is ExitCode.OK else "::error")


def test_no_more_annotations_than_are_shown(samples: Mapping[str, Report]) -> None:
    """
    The rest is counted in one line, and the ending, which says why the step failed, is among the ten errors.
    """
    lines = drawn("github", samples["findings"]).splitlines()
    assert sum(line.startswith("::error title=message-unrecorded") for line in lines) == 8
    assert any("14 more of severity error" in line for line in lines)
    assert sum(line.startswith("::error") for line in lines) == 10


# --- Nagios ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state", "word"),
    [
        ("healthy", 0, "OK"),
        ("findings", 2, "CRITICAL"),
        ("incomplete", 3, "UNKNOWN"),
        ("planned", 1, "WARNING"),
        ("not-verified", 2, "CRITICAL"),
    ],
)
def test_nagios_has_its_own_states(samples: Mapping[str, Report], name: str, state: int, word: str) -> None:
    """
    One line, one separator, and the state that the plugin exits with.
    """
    line = drawn("nagios", samples[name])
    assert nagios_state(samples[name]) == state
    assert line.startswith(f"BOOKING-DOCTOR {word} - ")
    assert line.count("|") == 1
    assert line.count("\n") == 1
    figures = line.partition("|")[2].split()
    assert all(re.fullmatch(r"[A-Za-z0-9_]+=[0-9.]+s?", figure) for figure in figures)


def test_warnings_warn_whatever_fails_the_command(samples: Mapping[str, Report]) -> None:
    """
    A warning below ``--fail-on`` is one for the monitor; a hint is none.
    """
    warnings = [finding for finding in samples["findings"].findings if finding.severity is Severity.WARNING]
    hints = [finding for finding in samples["findings"].findings if finding.severity is Severity.INFO]
    assert nagios_state(replace(samples["healthy"], findings=warnings)) == 1
    assert nagios_state(replace(samples["healthy"], findings=hints)) == 0


def test_a_command_that_failed_is_unknown() -> None:
    """
    Also where it could not even begin.
    """
    assert nagios_failure("a | b\nc") == ("BOOKING-DOCTOR UNKNOWN - a / b\\nc\n", 3)


# --- Prometheus ------------------------------------------------------------------------------------------------------


def metrics(document: str) -> dict[str, dict[tuple[str, ...], float]]:
    """
    The samples by metric and by their labels but for the command's, as Prometheus reads them.
    """
    return {
        family.name: {
            tuple(value for name, value in sorted(sample.labels.items()) if name != "command"): sample.value
            for sample in family.samples
        }
        for family in text_string_to_metric_families(document)
    }


PROMISED: Final = {
    f"booking_doctor_{name}"
    for name in (
        *("findings", "count", "unrecorded", "coverage", "complete"),
        *("duration_seconds", "last_success_timestamp_seconds"),
    )
}


def test_prometheus_reads_every_report(sample: tuple[str, Report]) -> None:
    """
    Names are ours, each once, and what was found is what is counted.
    """
    read = metrics(drawn("prometheus", sample[1]))
    assert all(name.startswith("booking_doctor_") for name in read)
    found = sum(read.get("booking_doctor_findings", {}).values())
    assert found == len(sample[1].findings)
    assert read.keys() <= PROMISED
    complete = sample[1].verdict is not Verdict.INCOMPLETE
    assert list(read["booking_doctor_complete"].values()) == [complete]
    assert ("booking_doctor_last_success_timestamp_seconds" in read) is complete


def test_what_is_by_hour_is_no_metric(samples: Mapping[str, Report]) -> None:
    """
    Each hour would be a series that is never seen again.
    """
    coverage: dict[str, JSONValue] = {"pages": 3, "complete": True, "bad_by_hour": {"2025-12-08T10Z": 4}}
    read = metrics(drawn("prometheus", replace(samples["healthy"], coverage=coverage)))
    assert read["booking_doctor_coverage"] == {("pages",): 3, ("complete",): 1}


def test_a_check_that_passed_is_zero_and_not_absent(samples: Mapping[str, Report]) -> None:
    """
    A series must not vanish when its fault does.
    """
    report = replace(samples["healthy"], checks=["message-unrecorded"])
    read = metrics(drawn("prometheus", report))
    assert read["booking_doctor_findings"] == {("message-unrecorded", "error"): 0}


def test_the_last_success_survives_a_run_that_could_not_look(samples: Mapping[str, Report]) -> None:
    """
    The time stays as it was, once, and moves on with the next run that could.
    """
    name = "booking_doctor_last_success_timestamp_seconds"
    first, failed = drawn("prometheus", samples["healthy"]), drawn("prometheus", samples["incomplete"])
    assert name not in metrics(failed)

    carried = prometheus_carried(first, failed)
    assert metrics(carried)[name] == metrics(first)[name]
    assert prometheus_carried(carried, failed) == carried
    assert prometheus_carried(carried, first) == first
    assert prometheus_carried("rubbish", failed) == failed


# --- CSV -------------------------------------------------------------------------------------------------------------


@given(st.text())
def test_no_cell_is_a_formula(cell: str) -> None:
    """
    Whatever the text, a spreadsheet finds none that it would run.
    """
    assert not defused(cell).lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))
    assert defused("=1+1") == "'=1+1"
    assert defused("plain") == "plain"


def test_a_row_a_finding_and_one_for_what_was_not_looked_at(samples: Mapping[str, Report]) -> None:
    """
    An empty list means that there is nothing, not that nobody looked.
    """
    rows = list(csv.DictReader(StringIO(drawn("csv", samples["incomplete"]))))
    assert [row["severity"] for row in rows] == ["error", "error", *["not looked at"] * 3]
    hostile = list(csv.reader(StringIO(drawn("csv", samples["hostile"]))))
    assert {len(row) for row in hostile} == {7}
    assert HOSTILE.split()[0] in hostile[1][1]
