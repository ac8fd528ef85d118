"""
The application as its clients see it: the initiate route over HTTP, on top of a booking flow, old or corrected.
"""

from __future__ import annotations

import json
from typing import Final, Protocol

from booking_doctor.core.booking import BookingRequest, Initiated
from booking_doctor.errors import DoctorError
from booking_doctor.probe import INITIATE
from booking_doctor.sandbox.application import ApplicationSimulator
from booking_doctor.sandbox.exchange import JSON, Reply, Request, document
from booking_doctor.sandbox.incidents import World

TEST_PHONE: Final = "+15550100333"
"""Of whoever probes."""


class Flow(Protocol):
    """
    What initiates bookings.
    """

    def initiate_booking(self, request: BookingRequest) -> Initiated:
        """
        Make a pending booking and text its customer.
        """


class BookingApp(ApplicationSimulator):
    """
    The application with its initiate route. It says of itself that it is the corrected one, whatever it does: a build can
    be wrong about itself.

    Attributes:
        flow: What stands behind it; it may be deployed anew at any time.
    """

    flow: Flow

    def answer(self, request: Request, secret: str | None) -> Reply:
        """
        A booking, or a problem.
        """
        if (request.method, request.path) != ("POST", INITIATE):
            return super().answer(request, secret)
        try:
            wanted = BookingRequest(**json.loads(request.body))
        except (TypeError, ValueError):
            problem: JSON = {"type": "about:blank", "title": "This is no booking", "status": 422}
            return document(problem, 422, {"Content-Type": "application/problem+json"})
        try:
            initiated = self.flow.initiate_booking(wanted)
        except DoctorError:
            return document({"title": "Something went wrong"}, 500)
        sms = initiated.sms
        told: JSON = (
            None if sms is None else {"state": sms.state, "message_sid": sms.message_sid, "code": sms.error_code}
        )
        return document({"booking_id": initiated.booking_id, "token": initiated.token, "sms": told}, 201)


def probed(scene: World) -> BookingApp:
    """
    The application runs in that world, and the doctor may probe it.
    """
    app: BookingApp = scene.during.enter_context(BookingApp(scene.vercel.project))
    event = scene.event()
    scene.variables.update(
        BOOKING_APP_URL=app.base_url,
        TEST_API_KEY=app.key.value,
        TEST_EVENT_ID=event,
        TEST_PHONE=TEST_PHONE,
    )
    app.variables = scene.environment()
    return app
