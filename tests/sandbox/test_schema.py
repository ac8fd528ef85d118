"""
The rehearsal's schema takes what the incident's application wrote, and refuses what it refused.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, ProgrammingError

from booking_doctor.sandbox.incidents import World

_CUSTOMER = "11111111-1111-4111-8111-111111111111"
_EVENT = "22222222-2222-4222-8222-222222222222"
_PENDING = "33333333-3333-4333-8333-333333333333"

# The least that each table takes, and then everything, in an order that foreign keys allow.
_LEAST: list[tuple[str, dict[str, Any]]] = [
    ("customers", {"phone": "+15550101000"}),
    ("events", {"title": "Dinner", "starts_at": "2025-12-24T18:00:00Z"}),
    ("pending_bookings", {"token": "t1", "customer_phone": "+15550101000"}),
    ("jobs", {"type": "send_booking_confirmation_sms"}),
    ("audit_logs", {"action": "booking.initiate"}),
    ("webhook_logs", {"source": "twilio"}),
]
_WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("customers", {"id": _CUSTOMER, "name": "Ada", "email": "ada@example.org", "phone": "(555) 010-1000"}),
    ("events", {"id": _EVENT, "title": "Dinner", "starts_at": "2025-12-24T18:00:00Z", "capacity": 8}),
    *(
        (
            "pending_bookings",
            {
                "id": _PENDING.replace("3", str(digit)),
                "token": f"t{digit}",
                "event_id": _EVENT,
                "customer_name": "Ada",
                "customer_email": "ada@example.org",
                "customer_phone": "+15550101000",
                "status": status,
                "customer_id": _CUSTOMER,
                "metadata": '{"initial_sms": {}}',
                "expires_at": "2025-12-24T18:00:00Z",
                "confirmed_at": "2025-12-24T17:00:00Z",
            },
        )
        for digit, status in enumerate(("pending", "confirmed", "expired", "cancelled"), start=3)
    ),
    ("bookings", {"event_id": _EVENT, "customer_id": _CUSTOMER, "pending_booking_id": _PENDING, "status": "no-show"}),
    *(("messages", {"customer_id": _CUSTOMER, "direction": direction}) for direction in ("inbound", "outbound")),
    *(
        (
            "messages",
            {
                "customer_id": _CUSTOMER,
                "direction": "outbound",
                "message_sid": "SM1",
                "twilio_message_sid": "SM1",
                "body": "",
                "status": "anything",
                "twilio_status": "anything else",
                "from_number": "Bistro",
                "to_number": "+15550101000",
                "message_type": "mms",
                "segments": 0,
                "cost_usd": "12345.67891",
                "read_at": "2025-12-24T17:00:00Z",
            },
        )
        for _ in range(2)  # nothing makes a SID unique
    ),
    *(("jobs", {"type": "t", "status": status}) for status in ("queued", "running", "done", "failed")),
    ("audit_logs", {"action": "a", "entity_type": "booking", "entity_id": "7", "details": "[]"}),
    ("webhook_logs", {"source": "twilio", "event_type": "status", "payload": "{}", "status": "ok", "error": ""}),
]
_REFUSED: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("messages", {"direction": "outbound"}, IntegrityError),
    ("messages", {"customer_id": _EVENT, "direction": "outbound"}, IntegrityError),
    ("messages", {"customer_id": _CUSTOMER, "direction": "outbound-api"}, IntegrityError),
    ("messages", {"id": 7, "customer_id": _CUSTOMER, "direction": "outbound"}, ProgrammingError),
    ("pending_bookings", {"token": "t3", "customer_phone": "1"}, IntegrityError),
    ("pending_bookings", {"token": "t9", "customer_phone": "1", "status": "open"}, IntegrityError),
    ("bookings", {"customer_id": _CUSTOMER, "pending_booking_id": _PENDING}, IntegrityError),
    ("bookings", {}, IntegrityError),
    ("customers", {"name": "Ada"}, IntegrityError),
    ("jobs", {"type": "t", "status": "paused"}, IntegrityError),
]


def _insert(scene: World, table: str, row: dict[str, Any]) -> None:
    if not row:
        scene.execute(f"INSERT INTO {table} DEFAULT VALUES")
        return
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    scene.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", **row)


def test_accepted(scene: World) -> None:
    """
    Each table takes the least it must and everything it may; what is left out gets the incident's defaults.
    """
    for table, row in [*_LEAST, *_WHOLE]:
        _insert(scene, table, row)

    [pending] = scene.rows("SELECT status, metadata, expires_at, customer_id FROM pending_bookings WHERE token = 't1'")
    assert pending == {"status": "pending", "metadata": {}, "expires_at": None, "customer_id": None}
    [message] = scene.rows("SELECT * FROM messages WHERE direction = 'inbound'")
    assert (message["message_type"], message["message_sid"], message["created_at"] is None) == ("sms", None, False)


@pytest.mark.parametrize(("table", "row", "error"), _REFUSED)
def test_refused(scene: World, table: str, row: dict[str, Any], error: type[Exception]) -> None:
    """
    A message without customer, a status nobody knows, a second booking of one: refused as in the incident.
    """
    for known, values in _WHOLE:
        _insert(scene, known, values)

    with pytest.raises(error):
        _insert(scene, table, row)
