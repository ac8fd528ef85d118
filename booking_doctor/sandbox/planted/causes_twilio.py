"""
Causes that sit at Twilio, planted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import SENDER, World
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.logs import called
from booking_doctor.sandbox.planted.story import confirmed, each, healthy, initiated, phone, stored

_HOUR: Final = timedelta(hours=1)
_SERVICE: Final = "MG" + "7c" * 16


def _refused(code: int, *, number: Callable[[], str] = phone, every: int = 2) -> Callable[[World], None]:
    """
    Twilio refuses the texts of some bookings with that code, and their metadata stays empty.

    Args:
        every: Each booking of that number is one of them; the others are fine.
    """

    def happen(scene: World) -> None:
        healthy(scene)
        for turn, age in enumerate(each(6, _HOUR)):
            if turn % every:
                stored(scene, initiated(scene, age))
            else:
                _refuse(scene, age, number(), code)

    return happen


def _refuse(scene: World, age: timedelta, number: str, code: int) -> str:
    refusal = {"status": "failed", "error_code": code, "price": None, "date_sent": None}
    return initiated(scene, age, number=number, after=timedelta(seconds=1), text=refusal).id


def _national() -> str:
    return f"0{phone()[3:]}"


def _british() -> str:
    return f"+44770090{phone()[-4:]}"


def _number_sold(scene: World) -> None:
    _refused(21606, every=1)(scene)
    scene.account.without_sms = list(scene.account.number_sids)


def _number_of_nobody(scene: World) -> None:
    healthy(scene)
    scene.variables["TWILIO_PHONE_NUMBER"] = "+15550100777"
    for age in each(3, _HOUR):
        refusal = {"status": "failed", "error_code": 21606, "price": None, "date_sent": None, "sender": "+15550100777"}
        initiated(scene, age, after=timedelta(seconds=1), text=refusal)


def _pool_empty(scene: World) -> None:
    scene.account.services = {_SERVICE: []}
    scene.variables["TWILIO_MESSAGING_SERVICE_SID"] = _SERVICE
    healthy(scene)
    for age in each(3, _HOUR):
        refusal = {"status": "failed", "error_code": 21704, "price": None, "date_sent": None}
        initiated(scene, age, after=timedelta(seconds=1), text=refusal)


def _stopped(scene: World) -> None:
    healthy(scene)
    number = phone()
    customer = confirmed(scene, stored(scene, initiated(scene, timedelta(days=2), number=number)))
    said = scene.account.plant(
        to=SENDER, sender=number, body="STOP", direction="inbound", date_created=scene.now - 30 * _HOUR
    )
    scene.record(said, customer)
    _refuse(scene, _HOUR, number, 21610)
    stored(scene, initiated(scene, 2 * _HOUR))


def _refusal_kept(scene: World) -> None:
    """
    The corrected flow: the booking itself says that its text was refused.
    """
    healthy(scene)
    for age in each(3, _HOUR):
        number = _british()
        booking = _refuse(scene, age, number, 21408)
        told = json.dumps({"initial_sms": {"state": "rejected", "code": 21408, "to_number": number}})
        scene.execute(
            "UPDATE pending_bookings SET metadata = CAST(:told AS jsonb) WHERE CAST(id AS text) = :id",
            told=told,
            id=booking,
        )


def _lost(code: int, *, every: int = 2) -> Callable[[World], None]:
    def happen(scene: World) -> None:
        healthy(scene)
        for turn, age in enumerate(each(6, _HOUR)):
            lost = {} if turn % every else {"status": "undelivered", "error_code": code, "price": None}
            confirmed(scene, stored(scene, initiated(scene, age, text=lost)))

    return happen


def _never_called_back(scene: World) -> None:
    for age in each(5, _HOUR):
        booked = stored(scene, initiated(scene, age))
        customer = confirmed(scene, booked, recorded=False)
        if booked.message:
            scene.record(booked.message, customer, status="queued", twilio_status="queued")


def _callbacks_refused(scene: World) -> None:
    _never_called_back(scene)
    for age in each(5, _HOUR):
        called(scene, "message.status", status="403", error="invalid signature", age=age)


def _suspended(scene: World) -> None:
    healthy(scene)
    scene.account.status = "suspended"
    for age in each(3, _HOUR):
        _refuse(scene, age, phone(), 20005)


def _token_rotated(scene: World) -> None:
    healthy(scene)
    for age in each(3, _HOUR):
        initiated(scene, age, texted=False)
    scene.variables["TWILIO_AUTH_TOKEN"] = "0123456789abcdef" * 2


EPISODES: Final = (
    Episode(cause="from-not-owned-or-not-sms-capable", title="the number has lost its SMS", happen=_number_sold),
    Episode(cause="from-not-owned-or-not-sms-capable", title="the number is nobody's here", happen=_number_of_nobody),
    Episode(cause="messaging-service-empty", title="the service has no sender", happen=_pool_empty),
    Episode(cause="geo-permission", title="another country is not enabled", happen=_refused(21408, number=_british)),
    Episode(cause="geo-permission", title="the same, and the booking says so", happen=_refusal_kept),
    Episode(cause="opt-out-21610", title="one customer has sent STOP", happen=_stopped),
    Episode(cause="trial-unverified", title="the account is a trial", happen=_refused(21608, every=1)),
    Episode(
        cause="invalid-to-number",
        title="phones are stored as people write them",
        happen=_refused(21211, number=_national),
    ),
    Episode(cause="invalid-to-number", title="some phones are landlines", happen=_refused(21614)),
    Episode(cause="a2p-10dlc-unregistered", title="the sender has no campaign", happen=_lost(30034, every=1)),
    Episode(cause="a2p-10dlc-unregistered", title="the toll-free number is not verified", happen=_lost(30032, every=1)),
    Episode(cause="status-callback-missing-or-rejected", title="no callback ever comes", happen=_never_called_back),
    Episode(
        cause="status-callback-missing-or-rejected", title="callbacks fail their signature", happen=_callbacks_refused
    ),
    Episode(cause="carrier-undelivered", title="phones are off", happen=_lost(30003)),
    Episode(cause="carrier-undelivered", title="a carrier filters the texts", happen=_lost(30007)),
    Episode(cause="account-auth-suspended", title="the account is suspended", happen=_suspended),
    Episode(cause="account-auth-suspended", title="the token was rotated", happen=_token_rotated),
)
