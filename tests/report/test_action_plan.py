"""
An action plan says what is true of the reports it is made from, ticks nothing else, and lets nothing break out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

import pytest
from msgspec.structs import replace

from booking_doctor.core.escalation import Contact
from booking_doctor.doctor import ActionPlan
from booking_doctor.errors import ExitCode
from booking_doctor.findings import MigrationView, Report, Skipped
from booking_doctor.repair.structure import Verb
from booking_doctor.report.action_plan import criteria, json_document, markdown, repairs, verification
from tests.report.conftest import FINDINGS, HEALTHY, HOSTILE, PLANNED, SAMPLES
from tests.report.test_migration import VIEW

STEPS: Final = ("deployment-unreachable", "deployment-intercepted", "deployment-stale")
RELAX: Final = replace(HEALTHY, command=Verb.RELAX.command, plan=VIEW)
IDLE: Final = replace(HEALTHY, plan=replace(VIEW, steps=(), left=(), refusal=None), exit_reason="nothing to do")
UNLOOKED: Final = replace(
    HEALTHY,
    exit_code=ExitCode.INCOMPLETE,
    skipped=[Skipped(check="database", kind="unreachable", reason="db.example gave no answer")],
)


def planned(report: Report, *, backfill: Report = PLANNED, migration: Report = RELAX, word: str = "ops") -> ActionPlan:
    """
    A plan made of those reports.
    """
    return ActionPlan(
        report=report,
        backfill=backfill,
        migrations=dict.fromkeys(Verb, migration),
        way_back=[["BEGIN;", f"ALTER TABLE messages; -- {word}", "COMMIT;"]],
        escalation=[Contact(who=word, how=word, when=word)],
        ignored=(),
        command=lambda words: f"booking-doctor {words} --since 7d",
        program="booking-doctor",
    )


def _hostile_view(view: MigrationView) -> MigrationView:
    return replace(
        view,
        notes=[HOSTILE],
        refusal=HOSTILE,
        waits_for=[replace(session, role=HOSTILE, query=HOSTILE) for session in view.waits_for],
    )


PLANS: Final[Mapping[str, ActionPlan]] = {
    "diagnosed": planned(SAMPLES["diagnosed"]),
    "repaired": planned(replace(HEALTHY, checks=STEPS), backfill=IDLE, migration=IDLE),
    "unlooked": planned(SAMPLES["incomplete"], backfill=UNLOOKED, migration=UNLOOKED),
    "hostile": planned(
        SAMPLES["hostile"],
        backfill=SAMPLES["hostile"],
        migration=replace(RELAX, plan=_hostile_view(VIEW)),
        word=HOSTILE,
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_golden(name: str, same_as_golden: Callable[[str, str], None]) -> None:
    """
    Each plan, whole, for people and for scripts.
    """
    same_as_golden(f"action-plan/{name}.md", markdown(PLANS[name]))
    same_as_golden(f"action-plan/{name}.json", json_document(PLANS[name]))


def test_nothing_breaks_out() -> None:
    """
    Text from outside ends no block to copy, begins no heading, no box, no tag, and nothing in it is obeyed.
    """
    document = markdown(PLANS["hostile"])
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", document, flags=re.MULTILINE | re.DOTALL)

    assert document.replace("\n", "").isprintable()
    assert "`" not in outside
    assert not re.search(r"<script|(?<!\\)\[(?![ x]\] )|https?://|(?<!\\)@", outside)
    ours = [line for line in markdown(PLANS["diagnosed"]).splitlines() if line.startswith("## ")]
    assert [line for line in outside.splitlines() if line.startswith("## ")] == ours


def test_what_was_not_looked_at_is_not_ticked() -> None:
    """
    Neither a check that was not made, nor one that saw a part, nor one whose finding is ignored; and all say why.
    """
    made = replace(HEALTHY, checks=STEPS)
    blind = replace(made, skipped=[Skipped(check=STEPS[1], kind="not-configured", reason="no address is set")])
    plans = [planned(HEALTHY), planned(blind), replace(planned(made), ignored=[f"{STEPS[0]}:app/x"])]

    assert verification(planned(made))[0].met is True
    for plan in plans:
        item = verification(plan)[0]
        assert item.met is None
        assert item.measured.startswith("not known: ")
        assert item.command == "booking-doctor check-deployment"


def test_what_was_found_is_a_fault_though_not_all_was_seen() -> None:
    """
    A number that may be too small is told as that, and fails its criterion.
    """
    [first, *_] = FINDINGS.findings[-1:]
    report = replace(FINDINGS, checks=[first.name], coverage={"counted_not_named": {first.name: 4}})
    blind = [Skipped(check=first.name, kind="unreachable", reason="the rest timed out")]

    whole, part = (criteria(planned(replace(report, skipped=skipped)))[1] for skipped in ([], blind))

    assert (whole.measured, whole.met) == ("5", False)
    assert (part.measured, part.met) == ("at least 5", False)


def test_repairs_expect_what_is_planned() -> None:
    """
    The counts are the plan's own, a refusal is told, and where nothing could be planned nothing is ticked.
    """
    item = repairs(planned(HEALTHY))[1]
    assert item.measured.startswith("expected: 3 insert-message, 1 restore-metadata, 1 update-message, 3 left; refused")
    assert {one.met for one in repairs(PLANS["unlooked"])} == {None}
    assert (
        json.loads(json_document(PLANS["unlooked"]))["open_questions"][-1]["answered_by"] == "db.example gave no answer"
    )
