"""
Reports to draw: one for each thing a format has to say, and one that tries to break out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from booking_doctor.errors import ExitCode
from booking_doctor.findings import (
    Answer,
    CauseVerdict,
    CauseView,
    Diagnosis,
    Finding,
    Harm,
    Impact,
    LeftView,
    Novelty,
    Onset,
    PastRun,
    PlanView,
    Report,
    RunView,
    Severity,
    Skipped,
    StepView,
    Window,
)
from tests.report.commands import of_commands

GOLDEN: Final = Path(__file__).parents[1] / "golden"
NOON: Final = datetime(2025, 12, 8, 12, tzinfo=UTC)
HOSTILE: Final = (
    "[bold]x[/] [a] \x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07 <script>alert(1)</script> "
    "two\nlines\r\x00NUL \u202eright-to-left\u202c a|b \U0001f469\u200d\U0001f4bb \x9b31m \u2028 \ud800 end"
)


def sid(number: int) -> str:
    """
    A message SID.
    """
    return f"SM{number:032x}"


HEALTHY: Final = Report(
    command="reconcile",
    version="0.1.0",
    started_at=NOON,
    finished_at=NOON + timedelta(seconds=3),
    window=Window(NOON - timedelta(days=7), NOON),
    exit_code=ExitCode.OK,
    exit_reason="all 1,204 Twilio messages of the window are accounted for.",
    summary={
        "unrecorded": 0,
        "twilio_messages": 1204,
        "matched": 1199,
        "mismatched": 0,
        "deferred": 3,
        "in_flight": 1,
        "rejected": 1,
        "orphaned": 0,
        "recorded_messages": 1199,
        "unknown_to_twilio": 0,
        "without_customer": 0,
        "duplicated": 0,
        "without_sid": 0,
    },
    coverage={
        "twilio_pages": 3,
        "twilio_requests": 1003,
        "out_of_scope": 0,
        "senders": ["+1***00"],
        "database": {"role": "service_role", "read_only": True},
    },
)


def _cause(
    id: str,
    verdict: CauseVerdict,
    *,
    because: Sequence[str] = (),
    against: Sequence[str] = (),
    remedy: str = "Run: SELECT 1;",
) -> CauseView:
    return CauseView(
        id=id,
        layer="database",
        title=f"What {id} is" if id != HOSTILE else HOSTILE,
        verdict=verdict,
        because=because,
        against=against,
        remedy=remedy,
    )


def unrecorded(number: int) -> Finding:
    """
    The fault of the incident.
    """
    return Finding(
        name="message-unrecorded",
        severity=Severity.ERROR,
        subject=f"message/{sid(number)}",
        summary="Twilio delivered this text to +1***12 on 2025-12-03 10:00 UTC and no row of messages carries its SID.",
        remedy="Review what `booking-doctor backfill --since 2025-12-01` plans, then repeat it with `--apply`.",
        evidence={"message_sid": sid(number), "status": "delivered"},
    )


FINDINGS: Final = replace(
    HEALTHY,
    exit_code=ExitCode.FINDINGS,
    exit_reason="23 errors, 1 warning and 1 hint; --fail-on is error.",
    summary={
        **HEALTHY.summary,
        "matched": 1175,
        "unrecorded": 23,
        "mismatched": 1,
        "orphaned": 1,
        "cats_and_dogs": 4711,
    },
    coverage={**HEALTHY.coverage, "out_of_scope": 12},
    findings=[
        Finding(
            name="schema-customer-id-required",
            severity=Severity.INFO,
            subject="schema/messages.customer_id",
            summary="messages.customer_id is NOT NULL, so the recording waits for confirm.",
            remedy="Nothing to do; `booking-doctor explain schema-customer-id-required` says why.",
            evidence={},
        ),
        *(unrecorded(number) for number in range(22)),
        Finding(
            name="message-mismatched",
            severity=Severity.WARNING,
            subject=f"message/{sid(900)}",
            summary="The row's status is queued, Twilio's is delivered.",
            remedy="Add --fix-mismatched to the backfill.",
            evidence={"message_sid": sid(900), "fields": {"status": {"row": "queued", "twilio": "delivered"}}},
        ),
        Finding(
            name="booking-metadata-empty",
            severity=Severity.ERROR,
            subject="booking/7f6c1a52-6a3f-4f0e-9a51-0d3c1b2a4e5f",
            summary="Pending booking tok_ab… has empty metadata; one text went to its phone a minute later.",
            remedy="Restore it: `booking-doctor backfill --since 2025-12-01 --until 2025-12-08T12:00:00Z --apply`.",
            evidence={"booking_id": "7f6c1a52-6a3f-4f0e-9a51-0d3c1b2a4e5f"},
        ),
    ],
    skipped=[Skipped(check="jobs", kind="not-applicable", reason="This installation has no jobs table.")],
    next_steps=[
        "booking-doctor backfill --since 2025-12-01T12:00:00Z --until 2025-12-08T12:00:00Z",
        "booking-doctor explain message-unrecorded",
    ],
)

INCOMPLETE: Final = replace(
    FINDINGS,
    exit_code=ExitCode.INCOMPLETE,
    exit_reason="3 of 7 days of Twilio's log could not be read, so nothing is known about their messages.",
    findings=FINDINGS.findings[1:3],
    skipped=[
        Skipped(check="deployment", kind="not-configured", reason="VERCEL_TOKEN is not set."),
        Skipped(
            check="twilio-log",
            kind="unreachable",
            reason="api.twilio.com gave no answer within 60 s; read up to 2025-12-05 00:00 UTC.",
        ),
        Skipped(check="schema-update-blocked", kind="not-permitted", reason="The role may not read pg_policies."),
    ],
)

PLAN: Final = PlanView(
    checksum="9f2c4e7a1b3d5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8",
    target={
        "database": "db.abcdefghijklm.supabase.co:5432/postgres",
        "role": "service_role",
        "twilio_account": "AC" + "0" * 31 + "1",
        "log_window": "1,204 messages",
    },
    notes=["messages has no unique index on message_sid; `booking-doctor migrate guard` makes duplicates impossible."],
    refusal="12,004 steps are more than 10,000; --max-changes 12004 says that so many are expected.",
    steps=[
        *(
            StepView(
                kind="insert-message",
                subject=f"message/{sid(number)}",
                reason="the only customer with this phone",
                before=None,
                after={
                    "customer_id": f"0b0e7f1c-1111-4222-8333-44445555666{number}",
                    "direction": "outbound",
                    "message_sid": sid(number),
                    "twilio_message_sid": sid(number),
                    "body": f"({140 + number} characters)",
                    "status": "delivered",
                    "from_number": "+1***00",
                    "to_number": f"+1***1{number}",
                    "segments": 1,
                    "cost_usd": "0.00790",
                    "created_at": f"2025-12-03T10:0{number}:00Z",
                    "price_unit": None,
                },
            )
            for number in range(3)
        ),
        StepView(
            kind="restore-metadata",
            subject="booking/7f6c1a52-6a3f-4f0e-9a51-0d3c1b2a4e5f",
            reason="the one text to its phone within 10 minutes",
            before={"metadata": {}},
            after={"metadata": {"initial_sms": {"message_sid": sid(7), "sent_at": "2025-12-07T09:00:00Z"}}},
        ),
        StepView(
            kind="update-message",
            subject=f"message/{sid(900)}",
            reason="Twilio's status is further along",
            before={"status": "queued", "cost_usd": None, "segments": 1},
            after={"status": "delivered", "cost_usd": "0.00790", "segments": 1},
        ),
    ],
    left=[
        LeftView(subject=f"message/{sid(11)}", reason="no booking and no customer is known that it belongs to"),
        LeftView(subject=f"message/{sid(12)}", reason="two customers have its phone: 41 and 42"),
        LeftView(subject=f"message/{sid(13)}", reason="no booking and no customer is known that it belongs to"),
    ],
)

PLANNED: Final = replace(
    HEALTHY,
    command="backfill",
    exit_code=ExitCode.FINDINGS,
    exit_reason="5 steps are planned and 3 messages are left; nothing was written.",
    summary={"planned": 5, "left": 3, "insert_message": 3, "restore_metadata": 1, "update_message": 1, "applied": 0},
    plan=PLAN,
    next_steps=["booking-doctor backfill --since 2025-12-01T12:00:00Z --until 2025-12-08T12:00:00Z --apply"],
)

APPLIED: Final = replace(
    PLANNED,
    exit_code=ExitCode.OK,
    exit_reason="5 steps are written and verified.",
    summary={**PLANNED.summary, "left": 0, "applied": 5},
    plan=replace(PLAN, left=(), refusal=None, notes=()),
    run=RunView(id="20251208T120000Z-9f2c4e", applied=5, verified=True),
    next_steps=["booking-doctor undo 20251208T120000Z-9f2c4e"],
)

SAMPLES: Final[Mapping[str, Report]] = {
    **of_commands(HEALTHY),
    "healthy": HEALTHY,
    "findings": FINDINGS,
    "incomplete": INCOMPLETE,
    "planned": PLANNED,
    "applied": APPLIED,
    "not-verified": replace(
        APPLIED,
        exit_code=ExitCode.PARTLY,
        exit_reason="5 steps are written, and the comparison afterwards does not see them all.",
        run=RunView(id="20251208T120000Z-9f2c4e", applied=5, verified=False),
    ),
    "undone": replace(
        HEALTHY,
        command="undo",
        window=None,
        exit_reason="1 step was taken back.",
        summary={},
        coverage={},
        plan=PlanView(
            checksum="77aa",
            steps=[
                StepView(
                    kind="insert-message",
                    subject=f"message/{sid(1)}",
                    reason="written by run 20251208T120000Z-9f2c4e",
                    before={"message_sid": sid(1), "status": "delivered", "read_at": None},
                    after=None,
                )
            ],
            left=(),
        ),
        run=RunView(id="20251208T121500Z-77aa00", applied=1, verified=None),
    ),
    "runs": replace(
        HEALTHY,
        command="runs",
        window=None,
        exit_reason="3 runs are in the journal.",
        summary={},
        coverage={},
        runs=[
            PastRun(
                id="20251208T120000Z-9f2c4e",
                command="backfill",
                started_at=NOON + timedelta(seconds=5),
                applied=1205,
                undone=0,
            ),
            PastRun(
                id="20251201T080000Z-01d7aa", command="undo", started_at=NOON - timedelta(days=7), applied=4, undone=4
            ),
            PastRun(
                id="20251130T080000Z-77e0b1",
                command="migrate guard",
                started_at=NOON - timedelta(days=8),
                applied=0,
                undone=0,
                begun=1,
            ),
        ],
    ),
    "hostile": Report(
        command=HOSTILE,
        version="0.1.0",
        started_at=NOON,
        finished_at=NOON,
        window=None,
        exit_code=ExitCode.FINDINGS,
        exit_reason=HOSTILE,
        summary={HOSTILE: 1},
        coverage={HOSTILE: HOSTILE},
        findings=[
            Finding(
                name=HOSTILE,
                severity=Severity.ERROR,
                subject=HOSTILE,
                summary=HOSTILE,
                remedy=HOSTILE,
                evidence={HOSTILE: [HOSTILE]},
            )
        ],
        skipped=[Skipped(check=HOSTILE, kind="not-applicable", reason=HOSTILE)],
        next_steps=[HOSTILE],
        plan=PlanView(
            checksum=HOSTILE,
            steps=[StepView(kind=HOSTILE, subject=HOSTILE, reason=HOSTILE, before=None, after={HOSTILE: HOSTILE})],
            left=[LeftView(subject=HOSTILE, reason=HOSTILE)],
            target={HOSTILE: HOSTILE},
            notes=[HOSTILE],
            refusal=HOSTILE,
        ),
        run=RunView(id=HOSTILE, applied=1, verified=None),
        runs=[PastRun(id=HOSTILE, command=HOSTILE, started_at=NOON, applied=1, undone=0)],
        novelty=Novelty(since={f"{HOSTILE}:{HOSTILE}": NOON - timedelta(days=1)}, gone={HOSTILE: NOON}),
        diagnosis=Diagnosis(
            verdict=HOSTILE,
            mysteries=[Answer(mystery=HOSTILE, yes=None, evidence=HOSTILE)],
            causes=[_cause(HOSTILE, CauseVerdict.CONFIRMED, because=[HOSTILE], against=[HOSTILE], remedy=HOSTILE)],
            unexplained=[HOSTILE],
            onset=Onset(first_bad=NOON, last_good=None, turned_at=NOON, by_hour={HOSTILE: 1}, before=[HOSTILE]),
            impact=Impact(
                people=None,
                sent_not_recorded=None,
                never_sent=None,
                cost_usd=HOSTILE,
                by_finding=[Harm(finding=HOSTILE, subjects=1, people=None, cost_usd=HOSTILE)],
            ),
        ),
    ),
    "diagnosed": replace(
        HEALTHY,
        command="diagnose",
        exit_code=ExitCode.FINDINGS,
        exit_reason="17 errors, 2 warnings",
        summary={"error": 17, "warning": 2, "info": 1},
        findings=[unrecorded(1)],
        next_steps=["booking-doctor explain old-deployment-serving", "booking-doctor backfill --since 7d"],
        diagnosis=Diagnosis(
            verdict="most likely old-deployment-serving, or not-null-customer-id, not confirmed",
            mysteries=[
                Answer(mystery="No text arrives", yes=False, evidence="Twilio took a text for 13 of 13 bad bookings"),
                Answer(mystery="The new log lines are missing", yes=None, evidence="the platform was not asked"),
                Answer(mystery="No error is to be seen", yes=True, evidence="no log names one"),
            ],
            causes=[
                _cause(
                    "old-deployment-serving",
                    CauseVerdict.LIKELY,
                    because=["13 ids of messages were burnt while 14 bookings were initiated"],
                    against=["not excluded: no token for the platform"],
                ),
                _cause("not-null-customer-id", CauseVerdict.LIKELY, because=["13 ids were burnt"]),
                *(_cause(f"cause-{number}", CauseVerdict.POSSIBLE, against=["nothing"]) for number in range(7)),
                _cause("schema-cache-stale", CauseVerdict.EXCLUDED, against=["no log names it"]),
            ],
            unexplained=["message-rejected"],
            onset=Onset(
                first_bad=NOON - timedelta(days=4),
                last_good=NOON - timedelta(days=5),
                turned_at=NOON - timedelta(days=4),
                by_hour={"2025-12-04T12Z": 3, "2025-12-04T13Z": 10},
                before=["the trigger copied was created"],
            ),
            impact=Impact(
                people=13,
                sent_not_recorded=13,
                never_sent=0,
                cost_usd="0.10270",
                by_finding=[
                    Harm(finding="message-unrecorded", subjects=13, people=13, cost_usd="0.10270"),
                    Harm(finding="job-failed", subjects=1, people=None),
                ],
            ),
        ),
    ),
    "remembered": replace(
        FINDINGS,
        findings=FINDINGS.findings[:4],
        coverage={"not_looked_for_again": 1},
        novelty=Novelty(
            since={
                finding.fingerprint: NOON - timedelta(days=number)
                for number, finding in enumerate(reversed(FINDINGS.findings[:4]))
            },
            gone={
                "message-orphaned:message/" + sid(77): NOON - timedelta(days=9),
                "schema-sid-not-unique:schema/messages.message_sid": NOON - timedelta(days=1),
            },
        ),
    ),
    "undecided": replace(
        HEALTHY,
        command="diagnose",
        exit_reason="no findings",
        summary={},
        diagnosis=Diagnosis(
            verdict="no cause is seen at work",
            mysteries=[Answer(mystery="No text arrives", yes=None, evidence="Twilio has no text in the window")],
            causes=[],
            unexplained=[],
            onset=None,
            impact=Impact(people=0, sent_not_recorded=None, never_sent=0, cost_usd=None),
        ),
    ),
}


@pytest.fixture(scope="session")
def samples() -> Mapping[str, Report]:
    """
    Every report by name.
    """
    return SAMPLES


@pytest.fixture(params=sorted(SAMPLES), scope="session")
def sample(request: pytest.FixtureRequest) -> tuple[str, Report]:
    """
    Each report in turn, with its name.
    """
    name: str = request.param
    return name, SAMPLES[name]


@pytest.fixture
def same_as_golden() -> Callable[[str, str], None]:
    """
    Compare a document with the file kept of it; with REGENERATE_GOLDENS=1, keep this one.
    """

    def compare(path: str, document: str) -> None:
        golden = GOLDEN / path
        if os.environ.get("REGENERATE_GOLDENS") == "1":
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(document, encoding="utf-8", newline="")
        assert golden.is_file(), f"no golden {path}; REGENERATE_GOLDENS=1 writes it"
        assert document == golden.read_bytes().decode("utf-8")

    return compare
