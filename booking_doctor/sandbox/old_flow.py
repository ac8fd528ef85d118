"""
The booking flow as it was in December: the fault that this project was born from, kept so that it can be shown.

It texts a customer who does not exist yet and records the text at once. The row wants a ``customer_id``, the database
refuses it, and the text's SID is nowhere: the customer has the text, the booking's metadata stays ``{}``.
"""

from __future__ import annotations

from msgspec.structs import replace

from booking_doctor.adapters.bookings import DatabaseStore
from booking_doctor.adapters.messenger import TwilioMessenger
from booking_doctor.adapters.postgres import Database
from booking_doctor.core import flow
from booking_doctor.core.booking import BookingRequest, Debug, Initiated
from booking_doctor.core.ports import Accepted
from booking_doctor.core.service import RandomIds, SystemClock
from booking_doctor.core.texting import intent_of
from booking_doctor.errors import DatabaseError
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Names, app_url, database_settings, twilio_settings


class OldBookingService:
    """
    Initiates bookings as the December deployment did.

    Args:
        scene: Where.
        address: The application's own.
        swallows: Whether it goes on as if nothing had happened, as it did; else what went wrong is raised.
    """

    def __init__(self, scene: World, address: str, *, swallows: bool = False) -> None:
        variables = {**scene.environment(), "BOOKING_APP_URL": address}
        self._database = Database(database_settings(variables), Names())
        self._store = DatabaseStore(self._database)
        self._messenger = TwilioMessenger(twilio_settings(variables))
        self._terms = flow.Terms(app_url=app_url(variables))
        self._swallows = swallows

    def initiate_booking(self, request: BookingRequest) -> Initiated:
        """
        Store the booking, text its customer, record the text: each by itself, in that order.

        Raises:
            RowConflict: The text has gone out, and its row was refused.
        """
        wanted = flow.checked(request, self._terms)
        token, now = RandomIds().token(), SystemClock().now()
        start = flow.Start(token=token, attempt_id="", strategy="direct", key=None, now=now)
        with self._store.begin() as work:
            booking = flow.begun(wanted, flow.booked(work.event(wanted.event_id)), start, self._terms)
            booking_id = work.add_booking(replace(booking, sms=None)) or ""
        answer = self._messenger.send(flow.text_of(booking_id, intent_of(booking), self._terms))
        try:
            if isinstance(answer, Accepted):
                self._record(answer.message.sid, wanted)
        except DatabaseError:
            if not self._swallows:
                raise
        return Initiated(booking_id=booking_id, token=token, sms=None, debug=Debug(steps=()))

    def _record(self, message_sid: str, request: BookingRequest) -> None:
        """
        The fault: who books for the first time is no customer yet.
        """
        values = {
            "customer_id": None,
            "direction": "outbound",
            "message_sid": message_sid,
            "twilio_message_sid": message_sid,
            "status": "delivered",
            "to_number": request.customer_phone,
        }
        with self._store.begin() as work:
            work.insert("messages", values)

    def close(self) -> None:
        """
        Give connections back.
        """
        self._database.close()
