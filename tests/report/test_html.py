"""
The report as one HTML file: whole by golden file, safe whatever it is told, and read in a real browser.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from html.parser import HTMLParser
from importlib.resources import files
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any, Final

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect, sync_playwright

from booking_doctor.findings import Hour, Report
from booking_doctor.report import FORMATS, Canvas
from tests.report.conftest import HOSTILE, NOON, unrecorded

CHROMIUM: Final = shutil.which("chromium")
LOCKED_DOWN: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
VOID: Final = frozenset({"meta", "input", "rect", "line"})


def drawn(report: Report) -> str:
    """
    The document.
    """
    return FORMATS["html"].render(report, Canvas())


def test_golden(sample: tuple[str, Report], same_as_golden: Callable[[str, str], None]) -> None:
    """
    Each report's document, without the style sheet and the script that all have in common.
    """
    name, report = sample
    same_as_golden(
        f"html/{name}.html", re.sub(r"<(style|script)>.*?</\1>", r"<\1></\1>", drawn(report), flags=re.DOTALL)
    )


class _Tags(HTMLParser):
    """
    The elements of a document, and whether each is closed where it has to be.
    """

    def __init__(self, document: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_every_element_is_closed(sample: tuple[str, Report]) -> None:
    """
    What a browser would have to guess at is not written.
    """
    assert _Tags(drawn(sample[1])).open == []


def test_hostile_text_brings_no_element_and_no_attribute(samples: Mapping[str, Report]) -> None:
    """
    A report full of markup has the elements and attributes that one without has, and none that could run or fetch.
    """
    tame = _Tags("".join(drawn(report) for name, report in samples.items() if name != "hostile"))
    hostile = _Tags(drawn(samples["hostile"]))
    assert hostile.names <= tame.names
    assert hostile.attributes <= tame.attributes
    assert not {name for name in tame.attributes if name.startswith("on") or name in {"src", "style"}}
    assert "\x1b" not in drawn(samples["hostile"])


def test_ten_thousand_findings(samples: Mapping[str, Report]) -> None:
    """
    In less than two seconds of the processor and five megabytes.
    """
    large = replace(samples["findings"], findings=[unrecorded(number) for number in range(10_000)])
    begun = process_time()
    document = drawn(large)
    assert process_time() - begun < 2
    assert len(document.encode()) < 5_000_000


# --- colours ---------------------------------------------------------------------------------------------------------


def _luminance(color: str) -> float:
    """
    As WCAG 2 defines it (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance).
    """
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_every_colour_of_a_text_can_be_read_on_every_ground() -> None:
    """
    4.5 to 1 and better, light, dark and on paper.
    """
    style = files("booking_doctor.report").joinpath("report.css").read_text("utf-8")
    palettes = [
        dict(re.findall(r"--([a-z]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(palettes) == 3
    light, dark, paper = palettes
    for palette in (light, dark, {**light, **paper}):
        for text, ground in product(("text", "muted", "error", "warning", "info", "good"), ("page", "panel")):
            assert _contrast(palette[text], palette[ground]) >= 4.5, (text, ground)


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        assert "CI_BROWSER" not in os.environ, "CI is to look at the report in Chromium, and there is none"
        pytest.skip("Chromium is not here, so nobody has looked at the report in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(LOCKED_DOWN))
        yield browser
        browser.close()


@pytest.fixture(name="told")
def _told(samples: Mapping[str, Report]) -> Report:
    """
    A report with everything in it: a diagnosis, a day of hours, findings of several names, commands.
    """
    hours = [
        Hour(
            start=NOON + timedelta(hours=number - 12),
            bookings=number % 3,
            sent=None if number == 4 else number % 5,
            recorded=1,
        )
        for number in range(24)
    ]
    findings = [*samples["findings"].findings, *samples["diagnosed"].findings]
    unlike = {finding.fingerprint: finding for finding in findings}
    return replace(
        samples["diagnosed"],
        timeline=tuple(hours),
        findings=list(unlike.values()),
        next_steps=["booking-doctor backfill --since 7d"],
    )


@pytest.fixture(name="visit")
def _visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """
    Opens a report from the disk; afterwards nothing was complained about and nothing was fetched.
    """
    complaints: list[str] = []
    opened: list[Page] = []

    def visit(report: Report, **context: Any) -> Page:
        file = tmp_path / "report.html"
        file.write_text(drawn(report), encoding="utf-8")
        page = browser.new_context(**context).new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: complaints.append(asked.url) if asked.url != file.as_uri() else None)
        page.goto(file.as_uri())
        opened.append(page)
        return page

    yield visit
    for page in opened:
        page.context.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["told", "hostile"])
def test_nothing_is_wider_than_the_screen(
    visit: Callable[..., Page], told: Report, samples: Mapping[str, Report], name: str, width: int, scheme: str
) -> None:
    """
    A page scrolls down and never sideways, on a phone and on a desk, whatever it is told.
    """
    report = told if name == "told" else samples[name]
    page = visit(report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 22, 28)")


def test_findings_are_filtered_by_word_and_severity(visit: Callable[..., Page], told: Report) -> None:
    """
    What is shown is what was asked for, and how many that are is said.
    """
    page = visit(told)
    rows = page.locator("#every tbody tr:visible")
    total = len(told.findings)
    assert rows.count() == total
    wanted = told.findings[0].subject
    page.fill("#filter", wanted.upper())
    assert rows.count() == sum(wanted in finding.subject or wanted in finding.summary for finding in told.findings)
    page.fill("#filter", "")
    page.get_by_label("error", exact=True).uncheck()
    errors = sum(finding.severity == "error" for finding in told.findings)
    assert 0 < errors < total
    assert rows.count() == total - errors
    assert page.locator("#shown").inner_text() == f"{total - errors} of {total} shown"


def test_findings_are_sorted_with_the_keyboard(visit: Callable[..., Page], told: Report) -> None:
    """
    By a heading, up and then down; a screen reader is told which.
    """
    page = visit(told)
    heading = page.get_by_role("button", name="Subject")
    heading.focus()
    subjects = sorted(finding.subject for finding in told.findings)
    for expected, order in ((subjects, "ascending"), (subjects[::-1], "descending")):
        page.keyboard.press("Enter")
        assert page.locator("#every tbody th").all_inner_texts() == expected
        assert page.locator("#every thead th").nth(2).get_attribute("aria-sort") == order


def test_a_command_is_copied(visit: Callable[..., Page], told: Report) -> None:
    """
    As it stands, and the button says so.
    """
    page = visit(told, permissions=["clipboard-read", "clipboard-write"])
    button = page.locator(".copy").last
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == told.next_steps[-1]


def test_all_of_it_can_be_read_without_scripts_and_on_paper(visit: Callable[..., Page], told: Report) -> None:
    """
    No finding is missing, and what only a script could do is not offered; paper has no colour of the night.
    """
    page = visit(told, java_script_enabled=False, color_scheme="dark")
    assert page.locator("#every tbody tr:visible").count() == len(told.findings)
    assert page.locator(".copy:visible, .filters:visible").count() == 0
    page.emulate_media(media="print")
    assert page.locator("nav:visible").count() == 0
    assert page.pdf().startswith(b"%PDF")


def test_a_screen_reader_finds_its_way(visit: Callable[..., Page], told: Report) -> None:
    """
    Landmarks, one heading of the first rank, a name for every table, and a text for every plot.
    """
    page = visit(told)
    assert page.get_by_role("banner").count() == page.get_by_role("navigation").count() == 1
    assert page.get_by_role("main").count() == page.get_by_role("search").count() == 1
    assert page.locator("h1").count() == 1
    assert page.locator("svg").count() == page.locator("svg[role=img][aria-label]").count() == 3
    assert page.locator("table").count() == page.locator("table:has(thead th[scope=col])").count()


def test_hostile_text_is_shown_as_it_was_written(visit: Callable[..., Page], samples: Mapping[str, Report]) -> None:
    """
    Markup is text; what nobody could see is an escape.
    """
    page = visit(samples["hostile"])
    assert "<script>" in HOSTILE
    assert "<script>" in page.locator("main").inner_text()
    assert page.locator("script").count() == 1
