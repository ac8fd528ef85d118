"""
Faults of bookings that wait, or were confirmed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Incident
from booking_doctor.sandbox.twilio_log import Message

_HOUR: Final = timedelta(hours=1)
_SETTLED: Final = timedelta(minutes=6)
_YOUNG: Final = timedelta(minutes=4)
_ANNA, _BERT, _CLEO, _DORA, _EMIL = (f"+155501040{number}" for number in range(51, 56))
_UNTOLD: Final = "SM" + "ab" * 16
"""A SID that Twilio never gave."""


def _booked(scene: World, phone: str, metadata: object, *, age: timedelta = _HOUR, status: str = "pending") -> str:
    """
    A booking with that metadata; None is stored as the JSON value null.
    """
    booking = scene.pending_booking(phone, created_at=scene.now - age, status=status)
    scene.execute(
        "UPDATE pending_bookings SET metadata = CAST(:metadata AS jsonb) WHERE CAST(id AS text) = :id",
        metadata=json.dumps(metadata),
        id=booking,
    )
    return booking


def _texted(scene: World, phone: str, *, age: timedelta = _HOUR) -> tuple[str, Message]:
    """
    A booking whose text Twilio has, and whose metadata is empty.
    """
    booking = scene.pending_booking(phone, created_at=scene.now - age)
    return booking, scene.text(phone, scene.now - age + timedelta(seconds=2))


def _ordinary(scene: World) -> None:
    """
    A deferred text, a booking that is being made, an old one, a closed one, and one that says it was refused.
    """
    booking, message = _texted(scene, _ANNA)
    scene.defer(message, booking)
    _booked(scene, _BERT, {}, age=_YOUNG)
    _booked(scene, _BERT, "nothing", age=_YOUNG)
    _booked(scene, _BERT, {}, age=timedelta(days=8))
    _booked(scene, _BERT, {}, status="expired")
    _booked(scene, _BERT, "nothing", status="cancelled")
    _booked(scene, _BERT, {"initial_sms": {"state": "rejected", "message_sid": None, "to_number": _BERT}})


def _emptied(scene: World) -> list[str]:
    texted, _ = _texted(scene, _CLEO, age=_SETTLED)
    empty = [texted, *(_booked(scene, _DORA, metadata) for metadata in ({}, None, {"source": "web"}))]
    return [f"booking/{booking}" for booking in empty]


def _garbled(scene: World) -> list[str]:
    booking, message = _texted(scene, _CLEO)
    scene.defer(message, booking)
    sms = {"message_sid": message.sid, "to_number": _CLEO}
    told = [
        json.dumps({"initial_sms": sms}),
        {"initial_sms": message.sid},
        {"initial_sms": {"state": "sending", "to_number": _DORA}},
        {"initial_sms": {"message_sid": "SM12", "to_number": _DORA}},
        {"initial_sms": sms},
        {"initial_sms": {"message_sid": message.sid}},
        {"initial_sms": {"message_sid": _UNTOLD, "to_number": _DORA}},
    ]
    return [f"booking/{_booked(scene, _DORA, metadata)}" for metadata in told]


def _made_good(scene: World) -> None:
    """
    Every text is where confirm finds it, and who had none is texted anew.
    """
    waiting = scene.rows(
        "SELECT CAST(id AS text) AS id, customer_phone, created_at FROM pending_bookings"
        " WHERE status = 'pending' AND created_at > :since AND customer_phone IN (:cleo, :dora) ORDER BY created_at, id",
        since=scene.now - timedelta(days=7),
        cleo=_CLEO,
        dora=_DORA,
    )
    texts = {message.to: message for message in scene.account.messages()}
    for row in waiting:
        phone = row["customer_phone"]
        message = texts.pop(phone, None) or scene.text(phone, row["created_at"] + timedelta(seconds=2))
        scene.defer(message, row["id"])


def _confirmed(*, record: bool, age: timedelta) -> Callable[[World], list[str]]:
    """
    A booking is confirmed; its deferred text is recorded, or not.
    """

    def happen(scene: World) -> list[str]:
        booking, message = _texted(scene, _EMIL)
        customer = scene.customer(_EMIL)
        scene.defer(message, booking)
        scene.confirm(booking, customer)
        scene.execute(
            "UPDATE pending_bookings SET confirmed_at = :at WHERE CAST(id AS text) = :id",
            at=scene.now - age,
            id=booking,
        )
        if record:
            scene.record(message, customer)
        return [f"booking/{booking}"]

    return happen


def _recorded_by_second_sid(scene: World) -> None:
    booking, message = _texted(scene, _ANNA)
    customer = scene.customer(_ANNA)
    scene.defer(message, booking)
    scene.confirm(booking, customer)
    scene.execute("UPDATE pending_bookings SET confirmed_at = created_at")
    scene.record(message, customer, message_sid=None)


def _lately_confirmed(scene: World) -> None:
    _recorded_by_second_sid(scene)
    _confirmed(record=True, age=_HOUR)(scene)
    booking = scene.pending_booking(_BERT, created_at=scene.now - _HOUR)
    scene.confirm(booking, scene.customer(_BERT))


def _recorded(scene: World) -> None:
    recorded = {row["message_sid"] for row in scene.rows("SELECT message_sid FROM messages")}
    customers = scene.rows("SELECT CAST(id AS text) AS id FROM customers WHERE phone = :phone ORDER BY id", phone=_EMIL)
    for message in scene.account.messages():
        if message.to == _EMIL and message.sid not in recorded:
            scene.record(message, customers[0]["id"])


INCIDENTS: Final = (
    Incident(
        finding="booking-metadata-empty",
        title="initiating a booking forgets what it has texted",
        look_alike=_ordinary,
        plant=_emptied,
        remedy=_made_good,
        also=frozenset({"message-unrecorded"}),
    ),
    Incident(
        finding="booking-metadata-incomplete",
        title="what initiating a booking keeps of the text leads nowhere",
        beside=frozenset({"module-state-cross-request", "metadata-json-string"}),
        look_alike=_ordinary,
        plant=_garbled,
        remedy=_made_good,
        also=frozenset({"message-unrecorded"}),
    ),
    Incident(
        finding="booking-sms-not-recorded",
        title="confirm forgets to record the deferred text",
        cause="confirm-skips-copy",
        look_alike=_lately_confirmed,
        plant=_confirmed(record=False, age=_SETTLED),
        remedy=_recorded,
        also=frozenset({"message-unrecorded"}),
    ),
)
