"""
Faults that the application's own logs tell of.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Incident

_AGE: Final = timedelta(hours=1)
_PHONE: Final = "+15550104061"
_WORDS: Final = 'null value in column "customer_id" of relation "messages" violates not-null constraint'


def audited(scene: World, action: str, details: object, *, age: timedelta = _AGE) -> None:
    """
    The application has noted what it did.
    """
    scene.execute(
        "INSERT INTO audit_logs (action, entity_type, details, created_at)"
        " VALUES (:action, split_part(:action, '.', 1), CAST(:details AS jsonb), :at)",
        action=action,
        details=json.dumps(details),
        at=scene.now - age,
    )


def called(
    scene: World, event_type: str, *, error: str | None = None, status: str = "200", age: timedelta = _AGE
) -> None:
    """
    A webhook has come, and that became of it.
    """
    scene.execute(
        "INSERT INTO webhook_logs (source, event_type, payload, status, error, created_at)"
        " VALUES ('twilio', :event_type, CAST(:payload AS jsonb), :status, :error, :at)",
        event_type=event_type,
        payload=json.dumps({"To": _PHONE, "ErrorCode": "30003"}),
        status=status,
        error=error,
        at=scene.now - age,
    )


def _other_entries(scene: World) -> None:
    """
    A violation elsewhere, one of last week, and a number that only looks like the code.
    """
    audited(scene, "invoice.created", {"error": {"code": "23502", "message": "null value in column total"}})
    audited(scene, "booking.confirmed", {"error": {"code": "23502"}}, age=timedelta(days=8))
    audited(scene, "booking.confirmed", {"error": {"code": "23505"}})
    audited(scene, "sms.sent", {"amount": 23502, "reference": "A-23502"})
    called(scene, "message.status", status="200")


def _violations(scene: World) -> list[str]:
    audited(scene, "booking.initiated", {"error": {"code": "23502", "message": _WORDS}})
    audited(scene, "sms.recorded", {"message": _WORDS})
    called(scene, "message.status", error=f"SQLSTATE 23502: {_WORDS}", status="500")
    return ["log/audit_logs", "log/webhook_logs"]


def _good_calls(scene: World) -> None:
    called(scene, "message.status", status="204", error="")
    called(scene, "message.status", status="processed")
    called(scene, "message.status", status="500", error="error 11200", age=timedelta(days=8))


def _failed_calls(scene: World) -> list[str]:
    called(scene, "message.status", status="403")
    called(scene, "message.status", status="error", error=f"Twilio error 11200 for {_PHONE}")
    called(scene, "message.status", status="failed", error="the handler gave up")
    return ["log/webhook_logs"]


def _forgotten(scene: World) -> None:
    """
    The cause is gone, and its entries have left the window.
    """
    for log in ("audit_logs", "webhook_logs"):
        scene.execute(f"UPDATE {log} SET created_at = created_at - interval '8 days'")  # noqa: S608  two names of ours


INCIDENTS: Final = (
    Incident(
        finding="log-not-null-violation",
        title="a message is inserted before its customer exists, and only the logs know",
        look_alike=_other_entries,
        plant=_violations,
        remedy=_forgotten,
    ),
    Incident(
        finding="log-webhook-error",
        title="webhooks are refused, fail with a code of Twilio's, and without any",
        look_alike=_good_calls,
        plant=_failed_calls,
        remedy=_forgotten,
    ),
)
