"""
A report of each command that the other samples are not of, as such a command writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from booking_doctor.errors import ExitCode
from booking_doctor.findings import Finding, JSONValue, Report, Severity, Skipped


def _found(name: str, subject: str, summary: str, remedy: str, severity: Severity, **evidence: JSONValue) -> Finding:
    return Finding(name=name, severity=severity, subject=subject, summary=summary, remedy=remedy, evidence=evidence)


_PLACEHOLDER: Final = _found(
    "env-placeholder",
    "env/TWILIO_AUTH_TOKEN",
    "TWILIO_AUTH_TOKEN in .env.local is a placeholder.",
    "Copy it from the Twilio Console: Account, API keys & tokens.",
    Severity.ERROR,
    source=".env.local",
)
_NOT_UNIQUE: Final = _found(
    "schema-sid-not-unique",
    "schema/messages.message_sid",
    "No unique index keeps a second row for one SID out of messages.",
    "Run `booking-doctor migrate guard`.",
    Severity.WARNING,
    indexes=["messages_message_sid"],
)
_EMPTY: Final = _found(
    "booking-metadata-empty",
    "booking/7f6c1a52-6a3f-4f0e-9a51-0d3c1b2a4e5f",
    "The pending booking of 2025-12-07 09:00 UTC has empty metadata; Twilio sent a text to its phone 4 seconds later.",
    "Plan its metadata with `booking-doctor backfill --since 2025-12-01`.",
    Severity.ERROR,
    booking_id="7f6c1a52-6a3f-4f0e-9a51-0d3c1b2a4e5f",
    twilio="sent",
)
_STALE: Final = _found(
    "deployment-stale",
    "deployment/book.example",
    "Production serves 1a2b3c4, not 9f8e7d6, which was built on 2025-12-07.",
    "Promote the newer build, then run `booking-doctor check-deployment --expect-commit 9f8e7d6`.",
    Severity.ERROR,
    serving="1a2b3c4",
)
_STOPPED: Final = _found(
    "probe-stopped",
    "deployment/book.example",
    "The booking was stored without its text: metadata is empty after 10 seconds.",
    "Run `booking-doctor diagnose`.",
    Severity.ERROR,
    steps=["answered with 201", "stored"],
)
_OVERDUE: Final = _found(
    "job-overdue",
    "job/41",
    "Job 41 was to run at 2025-12-08 11:00 UTC and waits for 60 minutes.",
    "Start a worker: `booking-doctor jobs run`.",
    Severity.ERROR,
    attempts=0,
)


def of_commands(healthy: Report) -> Mapping[str, Report]:
    """
    Each by its command's name.

    Args:
        healthy: A report in which nothing is wrong.
    """
    bare = replace(healthy, summary={}, coverage={}, checks=(), window=None)
    bad = replace(bare, exit_code=ExitCode.FINDINGS, exit_reason="1 error; --fail-on is error.")
    return {
        "check-env": replace(
            bad,
            command="check-env",
            coverage={
                "checks_made": 7,
                "live": False,
                "sources": [".env.local"],
                "variables": ["DATABASE_URL from .env.local"],
            },
            findings=[_PLACEHOLDER],
            checks=["env-missing", "env-placeholder"],
            next_steps=["booking-doctor check-env --live"],
        ),
        "check-schema": replace(
            bare,
            command="check-schema",
            exit_code=ExitCode.INCOMPLETE,
            exit_reason="1 warning, but not everything could be looked at.",
            coverage={"application_role": "anon", "checks_made": 19},
            findings=[_NOT_UNIQUE],
            skipped=[
                Skipped(check="schema-update-blocked", kind="not-permitted", reason="pg_policies may not be read.")
            ],
            checks=["schema-sid-not-unique", "schema-table-missing"],
        ),
        "check-deployment": replace(
            bad, command="check-deployment", coverage={"requests": 4}, findings=[_STALE], checks=["deployment-stale"]
        ),
        "bookings": replace(
            bad,
            command="bookings",
            window=healthy.window,
            summary={"pending_bookings": 14, "metadata_empty": 1, "metadata_incomplete": 0, "sms_found_in_twilio": 1},
            coverage={"sids_not_confirmed": 0},
            findings=[_EMPTY],
            checks=["booking-metadata-empty"],
        ),
        "probe-api": replace(bad, command="probe-api", findings=[_STOPPED], checks=["probe-stopped"]),
        "jobs-status": replace(bad, command="jobs status", findings=[_OVERDUE], checks=["job-overdue", "job-failed"]),
        "jobs-run": replace(
            bare, command="jobs run", exit_reason="3 texts were sent, 0 given up.", summary={"sent": 3}
        ),
        "watch": replace(
            bad,
            command="watch",
            window=healthy.window,
            summary=healthy.summary,
            coverage={"watermark": "2025-12-08T11:45:00Z", "days_read": 8},
            findings=[_EMPTY],
        ),
        "fetch-log": replace(
            bare,
            command="fetch-log",
            window=healthy.window,
            exit_reason="1,204 messages of 8 days are in log.jsonl.gz.",
            summary={"messages": 1204},
            coverage={"days": 8, "bytes": 112_000, "twilio_requests": 9},
            next_steps=["booking-doctor reconcile --twilio-log log.jsonl.gz"],
        ),
        "init": replace(
            bad,
            command="init",
            exit_reason="booking-doctor.toml is written; 1 name needs a look.",
            coverage={"written": "booking-doctor.toml", "left": ["messages.segments"]},
        ),
        "migrate": replace(
            bare,
            command="migrate guard",
            exit_reason="The change is planned; nothing was written.",
            summary={"planned": 1},
        ),
    }
