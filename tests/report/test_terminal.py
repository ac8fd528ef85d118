"""
What a person reads: the goldens, and the promises that hold whatever the report and the width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, LeftView, PlanView, Report, Severity, Skipped, StepView
from booking_doctor.report import Canvas
from booking_doctor.report.terminal import render

ANSI = re.compile(r"\x1b\[([0-9;]*)m")
WIDTHS = (40, 60, 80, 120, 300)


@pytest.mark.parametrize("width", [60, 80])
def test_golden(width: int, sample: tuple[str, Report], same_as_golden: Callable[[str, str], None]) -> None:
    """
    Each report, whole, at the width that must hold and the one that should look good.
    """
    name, report = sample
    same_as_golden(f"terminal/{name}-{width}.txt", render(report, Canvas(width)))


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_copied_stands_on_one_line(width: int, samples: Mapping[str, Report]) -> None:
    """
    Subjects, commands, checksums and the target are whole at every width, on a line that holds nothing else.
    """
    findings, planned = samples["findings"], samples["planned"]
    assert planned.plan is not None
    lines = {line.strip() for report in (findings, planned) for line in render(report, Canvas(width)).splitlines()}

    assert {finding.subject for finding in findings.findings[:20]} <= lines
    assert {*findings.next_steps, *planned.next_steps} <= lines
    assert {step.subject for step in planned.plan.steps} <= lines
    assert {left.subject for left in planned.plan.left} <= lines
    assert f"plan checksum   {planned.plan.checksum}" in lines


@pytest.mark.parametrize("width", WIDTHS)
def test_commands_in_prose_are_not_broken(width: int, samples: Mapping[str, Report]) -> None:
    """
    A command in backquotes is on one line even where the sentence around it wraps, and so is an option with its number.
    """
    assert "`booking-doctor backfill --since 2025-12-01`" in render(samples["findings"], Canvas(width))
    assert "--max-changes 12004" in render(samples["planned"], Canvas(width))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_prose_keeps_within_the_width(width: int, samples: Mapping[str, Report]) -> None:
    """
    Only what must not be broken is longer than the terminal is wide.
    """
    for name, report in samples.items():
        if name == "hostile":
            continue
        long = [line for line in render(report, Canvas(width)).splitlines() if cell_len(line) > width]
        assert all(re.match(r" *(booking-doctor |`booking-doctor |plan checksum |database )", line) for line in long), (
            long
        )


def test_one_reason_is_told_once(samples: Mapping[str, Report]) -> None:
    """
    Checks that could not look for the same reason share it; another reason, or another kind, is told by itself.
    """
    told = [("a-one", "unreachable", "It is dark."), ("b-two", "unreachable", "It is late.")]
    told += [("c-three", "unreachable", "It is dark."), ("a-one", "unreachable", "It is dark.")]
    told += [("d-four", "not-applicable", "It is dark.")]
    skipped = [Skipped(check=check, kind=kind, reason=reason) for check, kind, reason in told]  # type: ignore[arg-type]

    drawn = render(replace(samples["incomplete"], skipped=skipped), Canvas(80))

    assert "  a-one, c-three (unreachable)\n    It is dark.\n  b-two (unreachable)\n    It is late.\n" in drawn
    assert "  d-four (not applicable)\n    It is dark.\n" in drawn
    assert drawn.count("It is dark.") == 2


def test_one_thing_looked_at_does_not_fill_the_page(samples: Mapping[str, Report]) -> None:
    """
    Of many hours the first are shown, and how many more there are.
    """
    hours = {f"2025-12-{day:02}T10Z": day for day in range(1, 11)}

    drawn = render(replace(samples["healthy"], coverage={"bad_by_hour": hours, "days_read": 7}), Canvas(80))

    assert "bad by hour 2025-12-06T10Z 6" in drawn
    assert "2025-12-07" not in drawn
    assert "bad by hour of 4 more with --format json" in drawn.replace("\n  ", " ")
    assert "days read 7" in drawn


def test_the_verdict_comes_first(samples: Mapping[str, Report]) -> None:
    """
    A word and the reason; listing runs and undoing are not called healthy, and a refusal or a half-done apply shouts.
    """
    first = {name: render(report, Canvas(80)).split(":")[0] for name, report in samples.items()}
    refused = replace(samples["planned"], exit_code=ExitCode.REFUSED)

    assert first["healthy"] == "Healthy"
    assert first["findings"] == "Findings"
    assert first["incomplete"] == "INCOMPLETE"
    assert first["planned"] == "Work remains"
    assert first["applied"] == first["undone"] == first["runs"] == "Done"
    assert first["not-verified"] == "PARTLY DONE"
    assert render(refused, Canvas(80)).startswith("REFUSED: ")


def test_an_incomplete_report_cannot_be_missed(samples: Mapping[str, Report]) -> None:
    """
    It is the first word and in the last line, and what was not looked at stands before any count.
    """
    lines = render(samples["incomplete"], Canvas(80)).splitlines()

    assert lines[0].startswith("INCOMPLETE: ")
    assert lines[-1].startswith("INCOMPLETE: ")
    assert lines.index("Not looked at") < lines.index("Counts of what was looked at")
    assert lines.index("  twilio-log (unreachable)") < lines.index("  deployment (not configured)")


def test_severity_decides_the_order_and_long_groups_are_cut(samples: Mapping[str, Report]) -> None:
    """
    Errors first; twenty of a name, the rest counted; a remedy they share once.
    """
    text = render(samples["findings"], Canvas(80))
    headings = [line for line in text.splitlines() if line.startswith(("ERROR", "WARNING", "INFO"))]

    assert headings == [
        "ERROR  booking-metadata-empty (1)",
        "ERROR  message-unrecorded (22)",
        "WARNING  message-mismatched (1)",
        "INFO  schema-customer-id-required (1)",
    ]
    assert text.count("  message/SM") == 21
    assert "… and 2 more (all of them with --format json)" in text
    assert text.count("Remedy: Review what") == 1


def test_remedies_that_differ_stand_with_their_findings(samples: Mapping[str, Report]) -> None:
    """
    Two bookings, two commands.
    """
    one = samples["findings"].findings[1]
    two = replace(one, subject="message/other", remedy="Do something else.")
    text = render(replace(samples["findings"], findings=[one, two]), Canvas(80))

    assert text.count("    Remedy: ") == 2


@pytest.mark.parametrize("width", range(60, 121, 4))
@pytest.mark.parametrize(
    "command",
    [
        "backfill --since 7d",
        "check-deployment --expect-commit HEAD",
        "--env-file a.env reconcile --all-senders --since 36h",
    ],
)
def test_our_commands_in_a_remedy_are_not_broken(samples: Mapping[str, Report], command: str, width: int) -> None:
    """
    They are to be copied, be they in backquotes or not; the sentence around them wraps.
    """
    remedy = (
        f"See what became of each of the texts and plan what is missing: booking-doctor {command}; then look again."
    )
    finding = replace(samples["findings"].findings[1], remedy=remedy)
    lines = render(replace(samples["findings"], findings=[finding]), Canvas(width)).splitlines()

    assert any(f"booking-doctor {command};" in line for line in lines)


def step(number: int) -> StepView:
    """
    One of many alike.
    """
    after = {"status": "sent", "body": f"({number} characters)"}
    return StepView(kind="insert-message", subject=f"message/{number}", reason="same", before=None, after=after)


@pytest.mark.parametrize(("steps", "shown", "more"), [(50, 50, []), (51, 50, ["1"]), (1250, 50, ["1,200"])])
def test_a_long_plan_is_cut_and_counted(samples: Mapping[str, Report], steps: int, shown: int, more: list[str]) -> None:
    """
    Fifty steps over all kinds, fifty left; what they share is said once.
    """
    plan = PlanView(checksum="c", steps=[step(number) for number in range(steps)], left=())
    text = render(replace(samples["planned"], plan=plan), Canvas(80))

    assert len(re.findall(r"^    message/", text, re.MULTILINE)) == shown
    assert re.findall(r"… and (\S+) more", text) == more
    assert text.count("status sent") == 1
    assert text.count("same") == 1


def test_a_long_list_of_what_is_left_is_cut_and_counted(samples: Mapping[str, Report]) -> None:
    """
    Fifty, under their reason.
    """
    left = [LeftView(subject=f"message/{number}", reason="nobody's") for number in range(52)]
    text = render(replace(samples["planned"], plan=PlanView(checksum="c", steps=(), left=left)), Canvas(80))

    assert "Plan: nothing to write, 52 left" in text
    assert text.count("nobody's") == 1
    assert text.count("      message/") == 50
    assert "… and 2 more" in text


def test_what_other_senders_sent_is_named_as_left_out(samples: Mapping[str, Report]) -> None:
    """
    Not looked at is said near the verdict, not among the small print only.
    """
    assert "Left out: 12 messages of other senders" in render(samples["findings"], Canvas(80))
    assert "Left out" not in render(samples["healthy"], Canvas(80))


def test_colours_only_repeat_the_words(sample: tuple[str, Report]) -> None:
    """
    Without its styles the text is the plain one, and the styles are those readable on light and on dark.
    """
    colored = render(sample[1], Canvas(80, color=True))
    codes = {code for codes in ANSI.findall(colored) for code in codes.split(";")}

    assert ANSI.sub("", colored).splitlines() == render(sample[1], Canvas(80)).splitlines()
    assert codes <= {"0", "1", "2", "31", "32", "33", "36"}


def test_the_environment_is_not_asked(samples: Mapping[str, Report], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The canvas decides, whatever the variables of a terminal say.
    """
    plain = render(samples["findings"], Canvas(80))
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "20", "TERM": "dumb", "TTY_COMPATIBLE": "1"}.items():
        monkeypatch.setenv(name, value)

    assert render(samples["findings"], Canvas(80)) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" in render(samples["findings"], Canvas(80, color=True))


def finding(summary: str, remedy: str, subject: str) -> Finding:
    """
    Of any text.
    """
    return Finding(
        name="message-orphaned",
        severity=Severity.WARNING,
        subject=subject,
        summary=summary,
        remedy=remedy,
        evidence={},
    )


@given(texts=st.lists(st.text(st.characters()), min_size=3, max_size=3), width=st.integers(1, 200))
def test_no_text_reaches_the_terminal_raw(texts: Sequence[str], width: int, samples: Mapping[str, Report]) -> None:
    """
    Whatever a summary, a remedy or a subject holds, nothing but newlines and what can be seen comes out.
    """
    text = render(replace(samples["healthy"], findings=[finding(*texts)]), Canvas(width))

    assert text.replace("\n", "").isprintable()


@given(text=st.text(st.characters(categories=["Lu", "Ll", "Nd", "P", "S"]), min_size=1, max_size=30))
def test_markup_is_text(text: str, samples: Mapping[str, Report]) -> None:
    """
    Brackets, emoji codes and numbers come out as they went in.
    """
    hostile = f"[red]{text}[/red]:smile:[link=x]"

    assert hostile in render(replace(samples["healthy"], findings=[finding("s", "r", hostile)]), Canvas(80))


# --- links -----------------------------------------------------------------------------------------------------------

LINK = re.compile(r"\x1b]8;;([^\x1b]*)\x1b\\")


def test_sids_lead_to_the_console(samples: Mapping[str, Report]) -> None:
    """
    Each link begins at a SID, ends behind it, and leads to Twilio's page of just that message; nothing else is one.
    """
    drawn = render(samples["findings"], Canvas(80, color=True, links=True))

    parts = LINK.split(drawn)
    links = dict(zip(parts[1::4], parts[2::4], strict=True))
    assert links
    assert set(parts[3::4]) == {""}
    for address, words in links.items():
        sid = ANSI.sub("", words)
        assert re.fullmatch("(SM|MM)[0-9a-f]{32}", sid)
        assert address == f"https://www.twilio.com/console/sms/logs/{sid}"
    assert LINK.sub("", drawn) == render(samples["findings"], Canvas(80, color=True))


@pytest.mark.parametrize("canvas", [Canvas(80), Canvas(80, color=True), Canvas(80, links=True)])
def test_no_links(samples: Mapping[str, Report], canvas: Canvas) -> None:
    """
    Without a terminal that knows them there are none, and none without ANSI.
    """
    assert all("\x1b]" not in render(report, canvas) for report in samples.values())


def test_foreign_links_stay_text(samples: Mapping[str, Report]) -> None:
    """
    What comes from outside makes no link, nor does it change where one leads.
    """
    drawn = render(samples["hostile"], Canvas(80, color=True, links=True))

    assert all(re.fullmatch(r"(https://www\.twilio\.com/console/sms/logs/\w{34})?", to) for to in LINK.findall(drawn))
    assert "\x1b]8" not in LINK.sub("", drawn)
