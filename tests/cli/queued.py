"""
An application whose texts are queued, and what is seen of its queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

from booking_doctor.bootstrap import booking_service_for
from booking_doctor.core.booking import BookingRequest, Initiated
from booking_doctor.core.service import BookingService
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Preferences

APP: Final = {"BOOKING_APP_URL": "https://book.example"}

Queue = Callable[..., list[Initiated]]


@contextmanager
def application(scene: World) -> Iterator[BookingService]:
    """
    The application.
    """
    with closing(booking_service_for({**scene.environment(), **APP}, Preferences())) as service:
        yield service


def queue_of(scene: World, service: BookingService) -> Queue:
    """
    Initiates so many bookings, their texts being queued.
    """
    event_id = scene.event()

    def queue(number: int = 1, first: int = 0) -> list[Initiated]:
        requests = [
            BookingRequest(event_id=event_id, customer_name="Ada", customer_phone=phone(first + n))
            for n in range(number)
        ]
        return [service.initiate_booking(request, strategy="queued") for request in requests]

    return queue


def phone(number: int) -> str:
    """
    A customer's phone.
    """
    return f"+1555010{1000 + number}"


def texted(scene: World) -> Counter[str | None]:
    """
    How often Twilio was asked to text each phone, and did.
    """
    return Counter(message.to for message in scene.account.messages() if message.stage(scene.now).error_code is None)


def states(scene: World) -> dict[str, int]:
    """
    How many jobs are in which state.
    """
    return {row["status"]: row["n"] for row in scene.rows("SELECT status, count(*) AS n FROM jobs GROUP BY 1")}
