"""
Faults that a booking made on purpose runs into.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from booking_doctor.adapters.bookings import DatabaseStore
from booking_doctor.adapters.messenger import TwilioFinder, TwilioMessenger
from booking_doctor.adapters.postgres import Database
from booking_doctor.core.flow import Terms
from booking_doctor.core.service import BookingService, RandomIds, SystemClock
from booking_doctor.sandbox.booking_app import BookingApp, probed
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.old_flow import OldBookingService
from booking_doctor.sandbox.planted.incident import Incident
from booking_doctor.settings import Names, app_url, database_settings, twilio_settings


def corrected_flow(scene: World) -> BookingService:
    """
    The flow as it is now, in that world.
    """
    variables = scene.environment()
    database, twilio = Database(database_settings(variables), Names()), twilio_settings(variables)
    scene.during.callback(database.close)
    return BookingService(
        store=DatabaseStore(database),
        messenger=TwilioMessenger(twilio),
        finder=TwilioFinder(twilio),
        clock=SystemClock(),
        ids=RandomIds(),
        terms=Terms(app_url=app_url(variables)),
    )


def old_flow(scene: World, address: str) -> OldBookingService:
    """
    The flow as it was in December, in that world.
    """
    service = OldBookingService(scene, address, swallows=True)
    scene.during.callback(service.close)
    return service


def _corrected_is_served(scene: World) -> BookingApp:
    app = probed(scene)
    app.flow = corrected_flow(scene)
    return app


def _old_is_served(scene: World) -> list[str]:
    app = probed(scene)
    app.flow = old_flow(scene, app.base_url)
    return [f"deployment/{urlsplit(app.base_url).netloc}"]


INCIDENTS: Final = (
    Incident(
        finding="probe-stopped",
        title="the December deployment still serves: a booking is texted, and its SID is kept nowhere",
        look_alike=_corrected_is_served,
        plant=_old_is_served,
        remedy=_corrected_is_served,
    ),
)
