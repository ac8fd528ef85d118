"""
A report as one HTML file that needs nothing else: no network, no other file, and without scripts all of it can be read.

Every text goes through `visible` and Jinja's escaping. The page's own policy allows nothing but its one style sheet and
its one script, by their hashes, so that even a text that escaped would neither run nor be fetched.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from msgspec import Struct

from booking_doctor.findings import CauseVerdict, CauseView, Finding, MigrationView, Onset, Report, Severity
from booking_doctor.report import visible, words
from booking_doctor.report.hours import Columns, gathered

COLUMNS_SHOWN: Final = 168
"""
Of the timeline: a week of hours. A longer window has several hours to a column.
"""

_CODE: Final = re.compile(r"`([^`]+)`")
_ANSWERS: Final[Mapping[bool | None, str]] = {True: "yes", False: "no", None: "not known"}
_VERIFIED: Final[Mapping[bool | None, str]] = {True: "yes", False: "NO", None: "not checked"}
_ROWS: Final[Mapping[str, str]] = {
    "bookings": "bookings made",
    "sent": "texts sent by Twilio",
    "recorded": "texts recorded in the database",
}


def render(report: Report) -> str:
    """
    The verdict and whom it hit first; then when, why, what, what was looked at, and what to do.
    """
    page: str = _template().render(
        report=report,
        style=_asset("report.css"),
        script=_asset("report.js"),
        policy=_policy(),
        diagnosis=report.diagnosis,
        causes=_causes(report),
        hours=_hours(report),
        kinds=_kinds(report),
        findings=words.worst_first(report.findings),
        skipped=_skipped(report),
        missed=any(skip.missed for skip in report.skipped),
        gone=report.novelty.gone if report.novelty else {},
        migration=isinstance(report.plan, MigrationView),
        done="taken back" if report.command.startswith("undo") else "applied",
    )
    return page


# --- what the template is given --------------------------------------------------------------------------------------


class Kind(Struct, frozen=True, kw_only=True):
    """
    The findings of one name.

    Attributes:
        remedy: What mends them all; None where each has its own.
    """

    name: str
    severity: Severity
    number: int
    remedy: str | None


class Row(Struct, frozen=True, kw_only=True):
    """
    One row of the timeline.

    Attributes:
        total: None where not all of it was read.
    """

    label: str
    name: str
    values: Sequence[int | None]
    total: int | None


class Hours(Struct, frozen=True, kw_only=True):
    """
    The timeline.

    Attributes:
        highest: The largest value of any column.
        onset: The column in which it began; None where that is not known, or before the window.
        unread: Whether something was not read.
    """

    columns: Columns
    rows: Sequence[Row]
    highest: int
    onset: int | None
    unread: bool

    @property
    def each(self) -> str:
        """
        How long a column is.
        """
        number, unit = (self.columns.hours // 24, "day") if self.columns.hours >= 24 else (self.columns.hours, "hour")
        return unit if number == 1 else f"{number} {unit}s"


def _kinds(report: Report) -> list[Kind]:
    ordered = words.worst_first(report.findings)
    groups = [(key, list(found)) for key, found in groupby(ordered, lambda finding: (finding.severity, finding.name))]
    return [
        Kind(name=name, severity=severity, number=len(found), remedy=_one_remedy(found))
        for (severity, name), found in groups
    ]


def _one_remedy(found: Sequence[Finding]) -> str | None:
    remedies = {finding.remedy for finding in found}
    return remedies.pop() if len(remedies) == 1 else None


def _causes(report: Report) -> dict[str, list[CauseView]]:
    """
    By verdict, the surest first.
    """
    causes = report.diagnosis.causes if report.diagnosis else ()
    return {
        verdict: [cause for cause in causes if cause.verdict is verdict]
        for verdict in CauseVerdict
        if any(cause.verdict is verdict for cause in causes)
    }


def _hours(report: Report) -> Hours | None:
    """
    None where nothing happened.
    """
    if not any(getattr(hour, name) for hour in report.timeline for name in _ROWS):
        return None
    columns = gathered(report.timeline, COLUMNS_SHOWN)
    rows = [
        Row(label=label, name=name, values=columns.rows[name], total=_total(report, name))
        for name, label in _ROWS.items()
    ]
    values = [value for row in rows for value in row.values]
    onset = report.diagnosis.onset if report.diagnosis else None
    return Hours(
        columns=columns,
        rows=rows,
        highest=max(value or 0 for value in values),
        onset=_column(columns, onset) if onset else None,
        unread=None in values,
    )


def _total(report: Report, name: str) -> int | None:
    values = [getattr(hour, name) for hour in report.timeline]
    return None if None in values else sum(values)


def _column(columns: Columns, onset: Onset) -> int | None:
    moment = onset.turned_at or onset.first_bad
    return max((number for number, start in enumerate(columns.starts) if start <= moment), default=None)


def _skipped(report: Report) -> list[tuple[str, str, list[str]]]:
    """
    Why, of which kind, and what it kept from being looked at; first what should have been.
    """
    together: dict[tuple[str, str], list[str]] = {}
    for skip in sorted(report.skipped, key=lambda skip: not skip.missed):
        together.setdefault((skip.reason, skip.kind), []).append(skip.check)
    return [(reason, kind, list(dict.fromkeys(checks))) for (reason, kind), checks in together.items()]


def _coverage(report: Report) -> Iterator[tuple[str, str]]:
    for name, value in words.flat(report.coverage):
        if value != 0:
            yield words.words(name).replace(".", " "), words.figure(value)
    yield "took", words.length_text(report.finished_at - report.started_at)
    yield "exit code", str(report.exit_code.value)


def _counts(report: Report) -> Iterator[tuple[str, int, str]]:
    """
    Each with its name, indented where it is part of another, and what it means where it is not 0.
    """
    for name in sorted(report.summary, key=words.place):
        label, meaning = words.LABELS.get(name, (words.words(name), ""))
        number = report.summary[name]
        yield label, number, meaning if number else ""


# --- the page --------------------------------------------------------------------------------------------------------


def _prose(sentence: str) -> Markup:
    """
    A sentence of ours, what stands between backticks in it as code.
    """
    pieces = _CODE.split(sentence)
    marked = [f"<code>{escape(visible(p))}</code>" if n % 2 else escape(visible(p)) for n, p in enumerate(pieces)]
    return Markup("").join(map(Markup, marked))


def _printed(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _template() -> Any:  # noqa: ANN401  Jinja's own type says no more
    environment = Environment(
        loader=PackageLoader("booking_doctor.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printed,
    )
    environment.filters |= {
        "prose": _prose,
        "moment": words.moment_text,
        "number": "{:,}".format,
        "changes": words.changes,
        "words": words.words,
        "session": words.session_items,
        "applied": words.applied_text,
    }
    environment.globals |= {
        "counts": _counts,
        "coverage": _coverage,
        "span": words.span,
        "since": words.since_text,
        "change": words.change_text,
        "verdict": words.word_of,
        "tone": _tone,
        "answers": _ANSWERS,
        "verified": _VERIFIED,
        "unfinished": words.UNFINISHED,
    }
    return environment.get_template("report.html.jinja")


def _tone(report: Report) -> str:
    """
    In what colour the verdict stands; its words say the same.
    """
    if report.exit_code in words.EXIT_WORDS:
        return "error"
    word = words.word_of(report)
    if word == "Findings":
        return str(words.worst_first(report.findings)[0].severity)
    return "warning" if word == "Work remains" else "good"


@cache
def _asset(name: str) -> Markup:
    return Markup(files("booking_doctor.report").joinpath(name).read_text("utf-8"))  # noqa: S704  a file of ours


@cache
def _policy() -> str:
    style, script = (_hash(_asset(name)) for name in ("report.css", "report.js"))
    return f"default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"


def _hash(source: str) -> str:
    return f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'"
