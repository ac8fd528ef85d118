"""
An incident's action plan: what is known, what to do in which order, and what is true of it already.

A box is ticked only where everything behind it was looked at and found to be so; what could not be looked at is an open
question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from booking_doctor.doctor import ActionPlan
from booking_doctor.findings import CauseVerdict, Diagnosis, MigrationView, Report, SessionView, Skipped, StatementView
from booking_doctor.repair.structure import Verb
from booking_doctor.report.documents import report_members, signed_json
from booking_doctor.report.markdown import fenced, prose, table, text
from booking_doctor.report.words import count, moment_text, session_items, span, worst_first


class Item(Struct, frozen=True, kw_only=True):
    """
    Something that has to become true.

    Attributes:
        measured: What is so now.
        met: None where it is not known.
        command: What to run for it, or to see it.
    """

    what: str
    measured: str
    target: str
    met: bool | None
    command: str | None = None


def markdown(plan: ActionPlan) -> str:
    """
    The document for people.
    """
    parts = [
        *_head(plan.report),
        *_known(plan.report),
        *_checklist("Verify the deployment", verification(plan)),
        *_repairs(plan),
        *_emergency(plan),
        *_criteria(criteria(plan)),
        *_escalation(plan),
        *_open(plan),
    ]
    return "\n\n".join(parts) + "\n"


def json_document(plan: ActionPlan) -> str:
    """
    The document for scripts: the examination's, with what the plan adds.
    """
    members = {
        "verification": verification(plan),
        "repairs": repairs(plan),
        "criteria": criteria(plan),
        "backfill": report_members(plan.backfill),
        "migrations": {verb.value: report_members(report) for verb, report in plan.migrations.items()},
        "way_back": plan.way_back,
        "escalation": plan.escalation,
        "open_questions": [{"question": question, "answered_by": answer} for question, answer in questions(plan)],
    }
    return signed_json(report_members(plan.report) | members, plan.report.version)


# --- what is true ----------------------------------------------------------------------------------------------------


def _found(report: Report, name: str) -> int:
    """
    How many findings of that name there are, those that are only counted among them.
    """
    unnamed = report.coverage.get("counted_not_named")
    more = unnamed.get(name, 0) if isinstance(unnamed, Mapping) else 0
    return sum(finding.name == name for finding in report.findings) + (more if isinstance(more, int) else 0)


def _unseen(plan: ActionPlan, name: str) -> str | None:
    """
    Why the check does not tell that all is well although it found nothing; None where it does.
    """
    blind = next((skipped.reason for skipped in plan.report.skipped if skipped.check == name), None)
    if blind is not None:
        return f"not known: {blind}"
    if name not in plan.report.checks:
        return "not known: it was not looked at"
    ignored = sum(fingerprint.startswith(f"{name}:") for fingerprint in plan.ignored)
    return f"not known: booking-doctor.toml ignores {count(ignored, 'finding')} of it" if ignored else None


def _state(plan: ActionPlan, names: Sequence[str]) -> tuple[bool | None, str]:
    """
    Whether all those checks are content, and what they say.
    """
    faults = [finding.summary for finding in plan.report.findings if finding.name in names]
    if faults:
        return False, " ".join([faults[0], *([f"And {len(faults) - 1:,} more."] if len(faults) > 1 else [])])
    unseen = next((why for name in names if (why := _unseen(plan, name))), None)
    return (None, unseen) if unseen else (True, "verified")


_VERIFIED: Final = (
    (
        "The application answers at its public address, and nothing else before it",
        ("deployment-unreachable", "deployment-intercepted"),
        "check-deployment",
    ),
    ("The build that should serve does", ("deployment-stale",), "check-deployment --expect-commit HEAD"),
    ("One build answers, and no cache", ("deployment-mixed", "deployment-cached"), "check-deployment"),
    (
        "The newest build succeeded and was promoted",
        ("deployment-not-built", "deployment-build-failed", "deployment-not-promoted"),
        "check-deployment",
    ),
    (
        "No request fails in the route or goes to the old code",
        ("deployment-route-fails", "deployment-old-called"),
        "check-deployment",
    ),
    (
        "Production has every variable, none newer than its build",
        ("env-missing", "env-not-in-production", "env-newer-than-build"),
        "check-env --expect FILE",
    ),
    ("The application has the settings that we have here", ("deployment-settings-differ",), "check-deployment"),
    ("A booking made as a client does leads to its text and its metadata", ("probe-stopped",), "probe-api"),
)
"""What each step says, the checks that have to be content for it, and the command that looks at it alone."""


def verification(plan: ActionPlan) -> list[Item]:
    """
    The steps of verifying a deployment.
    """
    items = []
    for what, names, command in _VERIFIED:
        met, measured = _state(plan, names)
        again = None if met else f"{plan.program} {command}"
        items.append(Item(what=what, measured=measured, target="verified", met=met, command=again))
    return items


_COUNTED: Final = (
    ("Bookings with empty metadata", "booking-metadata-empty"),
    ("Bookings with incomplete metadata", "booking-metadata-incomplete"),
    ("Bookings whose text is not recorded", "booking-sms-not-recorded"),
    ("Rows that differ from Twilio", "message-mismatched"),
    ("Messages without customer", "message-without-customer"),
    ("SIDs with more than one row", "message-duplicated"),
    ("Queued texts that failed", "job-failed"),
    ("Queued texts that are overdue", "job-overdue"),
)


def criteria(plan: ActionPlan) -> list[Item]:
    """
    What makes the incident over, measured now.
    """
    diagnosis = plan.report.diagnosis
    lost = diagnosis.impact.sent_not_recorded if diagnosis else None
    return [
        _number("Texts of Twilio's that no row has", lost, _unseen(plan, "message-unrecorded")),
        *(_number(what, _found(plan.report, name), _unseen(plan, name)) for what, name in _COUNTED),
        _work("Steps of a backfill that remain", plan.backfill),
        _in_place("messages requires a customer (NOT NULL)", plan.migrations[Verb.RESTORE]),
        _in_place("A unique index on the SID", plan.migrations[Verb.GUARD]),
    ]


def _number(what: str, number: int | None, unseen: str | None) -> Item:
    if number and unseen:
        return Item(what=what, measured=f"at least {number:,}", target="0", met=False)
    if number is None or unseen:
        return Item(what=what, measured=unseen or "not known: Twilio's log was not read whole", target="0", met=None)
    return Item(what=what, measured=f"{number:,}", target="0", met=number == 0)


def _why(report: Report) -> str:
    return f"not known: {next((skipped.reason for skipped in report.skipped), report.exit_reason)}"


def _work(what: str, report: Report) -> Item:
    if report.plan is None:
        return Item(what=what, measured=_why(report), target="0", met=None)
    return _number(what, len(report.plan.steps), _why(report) if report.skipped else None)


def _in_place(what: str, report: Report) -> Item:
    if report.plan is None:
        return Item(what=what, measured=_why(report), target="in place", met=None)
    met = not report.plan.steps
    return Item(what=what, measured="in place" if met else "not in place", target="in place", met=met)


def repairs(plan: ActionPlan) -> list[Item]:
    """
    The commands that repair, in their order, with what each is expected to do.
    """
    guard, backfill, restore = plan.migrations[Verb.GUARD], plan.backfill, plan.migrations[Verb.RESTORE]
    differing = _number("", _found(plan.report, "message-mismatched"), _unseen(plan, "message-mismatched"))
    return [
        _repair("Make a second row for one SID impossible", guard, f"{plan.program} {Verb.GUARD.command} --apply"),
        _repair("Record what is missing", backfill, f"{plan.command('backfill')} --apply"),
        Item(
            what="Correct the rows that differ from Twilio",
            measured=f"{differing.measured} to correct" if differing.met is not None else differing.measured,
            target="0 to correct",
            met=differing.met,
            command=None if differing.met else plan.command("backfill --fix-mismatched"),
        ),
        _repair("Require a customer again", restore, f"{plan.program} {Verb.RESTORE.command} --apply"),
    ]


def _repair(what: str, report: Report, command: str) -> Item:
    target = "nothing to do"
    if report.plan is None:
        return Item(what=what, measured=_why(report), target=target, met=None, command=command)
    if not report.plan.steps:
        met = None if report.skipped else True
        said = _why(report) if report.skipped else report.exit_reason
        return Item(what=what, measured=said, target=target, met=met)
    kinds = Counter(step.kind for step in report.plan.steps)
    counts = [f"{number:,} {kind}" for kind, number in kinds.items()]
    left = [f"{len(report.plan.left):,} left"] if report.plan.left else []
    refused = f"; refused as things stand: {report.plan.refusal}" if report.plan.refusal else ""
    measured = f"expected: {', '.join([*counts, *left])}{refused}"
    return Item(what=what, measured=measured, target=target, met=False, command=command)


def questions(plan: ActionPlan) -> Iterator[tuple[str, str]]:
    """
    What is not known, with what would answer it.
    """
    reasons: dict[str, dict[str, None]] = {}
    everything: list[Skipped] = [*plan.report.skipped, *plan.backfill.skipped]
    everything += [skipped for report in plan.migrations.values() for skipped in report.skipped]
    for skipped in everything:
        if skipped.kind != "not-applicable":
            reasons.setdefault(skipped.reason, {})[skipped.check] = None
    diagnosis = plan.report.diagnosis
    for answer in diagnosis.mysteries if diagnosis else ():
        if answer.yes is None:
            yield f"Is it so? {answer.mystery}", answer.evidence
    yield from ((f"Not looked at: {', '.join(checks)}", reason) for reason, checks in reasons.items())
    for left in plan.backfill.plan.left if plan.backfill.plan else ():
        yield f"What becomes of {left.subject}, which a backfill leaves?", left.reason
    for name in diagnosis.unexplained if diagnosis else ():
        yield f"Why is there {name}, which no likely cause explains?", f"{plan.program} explain {name}"


# --- sections --------------------------------------------------------------------------------------------------------

QUESTIONS_SHOWN: Final = 100
_BOXES: Final[Mapping[bool | None, str]] = {True: "[x]", False: "[ ]", None: "[ ]"}
_ANSWERS: Final[Mapping[bool | None, str]] = {True: "yes", False: "no", None: "not known"}


def _head(report: Report) -> Iterator[str]:
    yield "# Action plan"
    yield f"**{text(report.exit_reason)}**"
    spans = " · ".join(span(report.window)) if report.window else "the whole time"
    yield text(f"Looked at {moment_text(report.started_at)}, {spans}. Written from what was true then; run it again.")


def _known(report: Report) -> Iterator[str]:
    yield "## What is known, and how"
    if report.diagnosis:
        yield from _diagnosed(report.diagnosis)
    found = Counter(finding.name for finding in worst_first(report.findings))
    rows = [[text(name), f"{_found(report, name):,}"] for name in found]
    yield (
        table(["finding", "number"], rows)
        if rows
        else "No check found a fault."
        if report.checks
        else "No check was made."
    )


def _diagnosed(diagnosis: Diagnosis) -> Iterator[str]:
    yield f"Verdict: **{text(diagnosis.verdict)}**"
    rows = [[text(one.mystery), _ANSWERS[one.yes], prose(one.evidence)] for one in diagnosis.mysteries]
    yield table(["mystery", "answer", "evidence"], rows)
    for cause in diagnosis.causes:
        if cause.verdict in {CauseVerdict.CONFIRMED, CauseVerdict.LIKELY}:
            yield f"### {text(cause.id)}: {cause.verdict}"
            reasons = [f"- because {prose(why)}" for why in cause.because]
            reasons += [f"- against: {prose(why)}" for why in cause.against]
            yield "\n".join(
                [f"{text(cause.title)}. Remedy: {prose(cause.remedy)}", *(["", *reasons] if reasons else [])]
            )
    possible = [cause.id for cause in diagnosis.causes if cause.verdict is CauseVerdict.POSSIBLE]
    if possible:
        yield f"Possible as well, not excluded: {', '.join(map(text, possible))}."
    yield "\n".join(f"- {fact}" for fact in _facts(diagnosis))


def _facts(diagnosis: Diagnosis) -> Iterator[str]:
    onset, impact = diagnosis.onset, diagnosis.impact
    if onset:
        yield text(f"First bad booking: {moment_text(onset.first_bad)}")
        yield from (text(f"Just before: {event}") for event in onset.before)
    numbers = {
        "People affected": impact.people,
        "Texts sent and not recorded": impact.sent_not_recorded,
        "Texts never sent": impact.never_sent,
        "Cost of lost records, USD": impact.cost_usd,
    }
    for name, number in numbers.items():
        yield text(f"{name}: {'not known' if number is None else number}")


def _line(item: Item, number: int | None = None) -> str:
    mark = f"{number}." if number else "-"
    return f"{mark} {_BOXES[item.met]} {text(item.what)}: {prose(item.measured)}"


def _checklist(heading: str, items: Sequence[Item]) -> Iterator[str]:
    yield f"## {heading}"
    yield "\n".join(map(_line, items))
    if commands := list(dict.fromkeys(item.command for item in items if item.command)):
        yield "What is not ticked is looked at by:"
        yield fenced(commands, "sh")


def _repairs(plan: ActionPlan) -> Iterator[str]:
    yield "## Repair, in this order"
    yield text(
        "Stop the cause first, then repair what it left. Every command shows its plan and asks before it writes."
    )
    for number, item in enumerate(repairs(plan), start=1):
        yield _line(item, number)
        if item.command:
            yield fenced([item.command], "sh")
    yield text("Each apply names its run; this takes one back:")
    yield fenced([f"{plan.program} runs", f"{plan.program} undo RUN"], "sh")


def _emergency(plan: ActionPlan) -> Iterator[str]:
    yield "## Emergency: record texts without a customer"
    report, view = plan.migrations[Verb.RELAX], plan.migrations[Verb.RELAX].plan
    if not isinstance(view, MigrationView):
        yield prose(_why(report))
        return
    if view.steps:
        yield text(
            "Only if texts have to be recorded before their customer exists, and the cause cannot be stopped first."
        )
        yield "\n".join(_preconditions(view))
        yield from _sql(f"{plan.program} {Verb.RELAX.command} --apply", [*_scripts(view)])
    else:
        yield text(report.exit_reason)
    yield "### Its way back"
    yield text("Once every row has its customer; while some have none it is refused, and names the backfill.")
    yield from _sql(f"{plan.program} {Verb.RESTORE.command} --apply", plan.way_back)


def _preconditions(view: MigrationView) -> Iterator[str]:
    yield f"- {_BOXES[view.refusal is None]} it would not be refused{': ' + prose(view.refusal) if view.refusal else ''}"
    hidden = f" ({view.hidden_sessions:,} sessions cannot be seen)" if view.hidden_sessions else ""
    clear = not view.waits_for and not hidden
    yield f"- {_BOXES[clear]} nobody holds a lock that is in the way{hidden}"
    yield from (f"  - {_session(session)}" for session in view.waits_for)
    if view.longest_transaction:
        yield f"- longest transaction now: {_session(view.longest_transaction)}"
    yield from (f"- {prose(note)}" for note in view.notes)
    for step in view.steps:
        if isinstance(step, StatementView):
            yield f"- {text(step.kind)} locks the table in {text(step.lock)} mode: {text(step.blocks)}"


def _session(session: SessionView) -> str:
    return text(" · ".join(session_items(session)))


def _scripts(view: MigrationView) -> Iterator[Sequence[str]]:
    return (step.sql for step in view.steps if isinstance(step, StatementView))


def _sql(command: str, scripts: Sequence[Sequence[str]]) -> Iterator[str]:
    yield fenced([command], "sh")
    if scripts:
        yield "It runs:"
        yield fenced([line for script in scripts for line in script], "sql")


def _criteria(items: Sequence[Item]) -> Iterator[str]:
    yield "## Done when"
    yield "\n".join(f"{_line(item)}; target: {text(item.target)}" for item in items)


def _escalation(plan: ActionPlan) -> Iterator[str]:
    yield "## Escalation"
    if plan.escalation:
        rows = [[text(one.when), text(one.who), text(one.how)] for one in plan.escalation]
        yield table(["when", "who", "how"], rows)
    else:
        yield prose("Nobody is named. Write `[[escalation]]` with who, how and when in booking-doctor.toml.")


def _open(plan: ActionPlan) -> Iterator[str]:
    yield "## Open questions"
    asked = [f"- **{text(question)}** {prose(answer)}" for question, answer in questions(plan)]
    more = [f"- … and {len(asked) - QUESTIONS_SHOWN:,} more"] if len(asked) > QUESTIONS_SHOWN else []
    yield "\n".join([*asked[:QUESTIONS_SHOWN], *more]) or "None."
