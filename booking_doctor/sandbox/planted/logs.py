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


def audited(
    scene: World,
    action: str,
    details: object,
    *,
    age: timedelta = _AGE,
    entity: str | None = None,
    kind: str | None = None,
) -> None:
    """
    The application has noted what it did, and to what.
    """
    scene.execute(
        "INSERT INTO audit_logs (action, entity_type, entity_id, details, created_at)"
        " VALUES (:action, coalesce(:kind, split_part(:action, '.', 1)), :entity, CAST(:details AS jsonb), :at)",
        action=action,
        kind=kind,
        entity=entity,
        details=json.dumps(details),
        at=scene.now - age,
    )


def went(scene: World, booking: str, *steps: tuple[str, timedelta]) -> None:
    """
    The steps of a booking, each noted by itself, so long ago.
    """
    for action, age in steps:
        audited(scene, action, {}, age=age, entity=booking, kind="booking")


def reported(*outcomes: str) -> dict[str, object]:
    """
    The debug report of an operation whose steps ended so.
    """
    names = ("check the request", "store the booking", "send the text", "store what became of it")
    return {"steps": [{"name": name, "outcome": outcome} for name, outcome in zip(names, outcomes, strict=False)]}


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


_SECOND: Final = timedelta(seconds=1)


def _ended(scene: World) -> None:
    """
    Bookings that a program and then a person takes on, some never confirmed; one at which a program still is; a report
    that all went well; an operation that is about something else.
    """
    for number in range(8):
        confirmed = [("booking.confirmed", _AGE)] if number % 2 else []
        went(scene, f"{number}", ("booking.initiated", 3 * _AGE), ("sms.sent", 3 * _AGE - _SECOND), *confirmed)
    went(scene, "20", ("sms.started", timedelta(minutes=4)))
    went(scene, "21", ("sms.started", _AGE), ("sms.finished", _AGE - 30 * _SECOND))
    audited(scene, "initiate_booking", reported("done", "done", "2 segments", "done"))
    audited(scene, "invoice.started", {}, entity="22")


def _stopped(scene: World) -> list[str]:
    went(scene, "31", ("booking.initiated", _AGE))
    went(scene, "32", ("booking.initiated", _AGE), ("sms.started", _AGE - _SECOND))
    audited(scene, "initiate_booking", reported("done", "done", "no answer from Twilio"))
    return ["log/audit_logs"]


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
        cause="not-null-customer-id",
        look_alike=_other_entries,
        plant=_violations,
        remedy=_forgotten,
    ),
    Incident(
        finding="log-webhook-error",
        title="webhooks are refused, fail with a code of Twilio's, and without any",
        cause="status-callback-missing-or-rejected",
        look_alike=_good_calls,
        plant=_failed_calls,
        remedy=_forgotten,
    ),
    Incident(
        finding="log-operation-stops",
        title="a booking is initiated and its text never sent, and nobody notes an error",
        look_alike=_ended,
        plant=_stopped,
        remedy=_forgotten,
    ),
)
