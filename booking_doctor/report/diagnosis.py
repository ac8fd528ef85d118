"""
A diagnosis as a person reads it: the mysteries first, then why, since when and whom it hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from booking_doctor.findings import Answer, CauseVerdict, CauseView, Diagnosis, Impact, Onset
from booking_doctor.report.drawing import Page, Span
from booking_doctor.report.words import count, moment_text

POSSIBLE_SHOWN: Final = 5
"""
Of causes that are no more than possible, where none is surer; the others are named.
"""

_ANSWERS: Final[dict[bool | None, Span]] = {
    True: ("yes", "bold yellow"),
    False: ("no", "green"),
    None: ("not known", "dim"),
}
_STYLES: Final = {
    CauseVerdict.CONFIRMED: "bold red",
    CauseVerdict.LIKELY: "bold yellow",
    CauseVerdict.POSSIBLE: "bold",
    CauseVerdict.EXCLUDED: "dim",
}


def draw(page: Page, diagnosis: Diagnosis) -> None:
    """
    Put it on the page.
    """
    _mysteries(page, diagnosis.mysteries)
    _causes(page, diagnosis.causes)
    if diagnosis.unexplained:
        page.section(("Unexplained", "bold yellow"), (": no cause that is likely or confirmed explains these.", ""))
        page.items(diagnosis.unexplained, indent=2)
    _onset(page, diagnosis.onset)
    _impact(page, diagnosis.impact)


def _mysteries(page: Page, answers: Sequence[Answer]) -> None:
    page.section(("The five mysteries", "bold"))
    for answer in answers:
        word, style = _ANSWERS[answer.yes]
        page.prose((f"{answer.mystery}: ", ""), (word, style), indent=2)
        page.prose((f"{answer.evidence}.", "dim"), indent=4)


def _causes(page: Page, causes: Sequence[CauseView]) -> None:
    page.section(("Causes", "bold"), ("" if causes else ": none is seen at work", ""))
    told = [cause for cause in causes if cause.verdict in {CauseVerdict.CONFIRMED, CauseVerdict.LIKELY}]
    possible = [cause for cause in causes if cause.verdict is CauseVerdict.POSSIBLE]
    for cause in told or possible[:POSSIBLE_SHOWN]:
        _cause(page, cause)
    if others := [cause.id for cause in (possible if told else possible[POSSIBLE_SHOWN:])]:
        page.section(indent=2)
        page.items(others, lead="also possible: ", indent=2)
    if excluded := sum(cause.verdict is CauseVerdict.EXCLUDED for cause in causes):
        page.prose((f"{count(excluded, 'cause')} excluded; --format json says by what", "dim"), indent=2)


def _cause(page: Page, cause: CauseView) -> None:
    """
    A cause with what speaks for and against it.
    """
    page.section((cause.verdict.upper(), _STYLES[cause.verdict]), (f"  {cause.id}", "bold"), indent=2)
    page.prose((f"{cause.title}.", ""), indent=4)
    for reason in cause.because:
        page.prose(("because ", "bold"), (f"{reason}.", ""), indent=4, hang=2)
    for reason in cause.against:
        page.prose(("against  ", "bold"), (f"{reason}.", "dim"), indent=4, hang=2)
    page.prose(("Remedy: ", "bold"), (cause.remedy, ""), indent=4, hang=2)


def _onset(page: Page, onset: Onset | None) -> None:
    if onset is None:
        return
    page.section(("Since when", "bold"))
    good = moment_text(onset.last_good) if onset.last_good else "none in the window"
    rows = [("first bad booking", moment_text(onset.first_bad), ""), ("last good booking", good, "")]
    if onset.turned_at:
        rows.append(("bad ever since", moment_text(onset.turned_at), "bold yellow"))
    page.named(rows, indent=2)
    for event in onset.before:
        page.prose(("just before: ", "bold"), (event, ""), indent=2)


def _impact(page: Page, impact: Impact) -> None:
    page.section(("Whom it hit", "bold"))
    rows = [
        ("people", impact.people),
        ("sent and not recorded", impact.sent_not_recorded),
        ("never sent", impact.never_sent),
        ("cost of lost records", None if impact.cost_usd is None else f"{impact.cost_usd} USD"),
    ]
    page.named(
        [
            (name, "not known" if value is None else f"{value:,}" if isinstance(value, int) else value, "")
            for name, value in rows
        ],
        indent=2,
    )
    for harm in impact.by_finding:
        people = f", {count(harm.people, 'phone')}" if harm.people is not None else ""
        cost = f", {harm.cost_usd} USD" if harm.cost_usd is not None else ""
        page.prose((f"{harm.finding}: ", ""), (f"{count(harm.subjects, 'finding')}{people}{cost}", ""), indent=2)
