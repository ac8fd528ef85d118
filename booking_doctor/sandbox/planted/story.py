"""
What bookings go through in a story: initiated, texted, stored or not, confirmed, recorded or not.

Each act is carried out on the database as the application would, so that its counters and sequences tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final

from msgspec import Struct

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.twilio_log import Message

_HOUR: Final = timedelta(hours=1)
_PROMPTLY: Final = timedelta(seconds=2)
_BODY: Final = "Please confirm your booking."
_NOBODY: Final = "INSERT INTO messages (customer_id, direction) VALUES (NULL, 'outbound')"

_phones = count(15550107000)


def phone() -> str:
    """
    One that nobody in the stories has yet.
    """
    return f"+{next(_phones)}"


class Booked(Struct, frozen=True):
    """
    A booking that was initiated.

    Attributes:
        message: Its text; None where Twilio has none.
    """

    id: str
    phone: str
    at: datetime
    message: Message | None


def initiated(
    scene: World,
    age: timedelta,
    *,
    number: str | None = None,
    texted: bool = True,
    after: timedelta = _PROMPTLY,
    text: dict[str, Any] | None = None,
    **values: Any,  # noqa: ANN401  any column
) -> Booked:
    """
    A booking so long ago, and its text; nothing of the text is stored yet.

    Args:
        after: How long after the booking's row the text went out.
        text: How the text differs from one that was delivered.
    """
    number, at = number or phone(), scene.now - age
    booking = scene.pending_booking(number, created_at=at, expires_at=scene.now + _HOUR, **values)
    message = scene.text(number, at + after, **{"body": _BODY, **(text or {})}) if texted else None
    return Booked(booking, number, at, message)


def stored(scene: World, booked: Booked) -> Booked:
    """
    The booking's metadata holds its text, as it should.
    """
    if booked.message:
        scene.defer(booked.message, booked.id)
    return booked


def confirmed(scene: World, booked: Booked, *, recorded: bool = True) -> str:
    """
    The customer confirms; gives the customer's id.
    """
    customer = scene.customer(booked.phone)
    scene.confirm(booked.id, customer)
    at = booked.at + timedelta(minutes=5)
    scene.execute("UPDATE pending_bookings SET confirmed_at = :at WHERE CAST(id AS text) = :id", at=at, id=booked.id)
    if recorded and booked.message:
        scene.record(booked.message, customer)
    return customer


def each(times: int, first: timedelta, step: timedelta = _HOUR) -> Iterator[timedelta]:
    """
    So many ages, the oldest first.
    """
    return (first + step * n for n in reversed(range(times)))


def healthy(scene: World, days: int = 4, times: int = 5) -> None:
    """
    Before all this everything was in order.
    """
    for age in each(times, timedelta(days=days)):
        confirmed(scene, stored(scene, initiated(scene, age)))


def alternating(scene: World, bad: Callable[[timedelta], object], times: int = 4) -> None:
    """
    Bookings of which every other one goes wrong.
    """
    for age in each(times, _HOUR, 2 * _HOUR):
        bad(age + _HOUR)
        stored(scene, initiated(scene, age))


def recorded_too_early(scene: World) -> None:
    """
    A message is inserted before there is a customer, and refused.
    """
    scene.refused(_NOBODY)


def noted(scene: World, action: str, words: str, *, age: timedelta = _HOUR) -> None:
    """
    The application has noted an error in its own log.
    """
    scene.execute(
        "INSERT INTO audit_logs (action, entity_type, details, created_at)"
        " VALUES (:action, 'booking', jsonb_build_object('error', CAST(:words AS text)), :at)",
        action=action,
        words=words,
        at=scene.now - age,
    )


def trouble(scene: World) -> None:
    """
    What goes wrong in every account, and has nothing to do with the rest: a wrong number, somebody who sent STOP, a phone
    that is off, and errors in a log that did no harm.
    """
    refused: dict[str, Any] = {"status": "failed", "price": None, "date_sent": None}
    scene.text(phone(), scene.now - 5 * _HOUR, error_code=21211, **refused)
    stopped = initiated(scene, timedelta(days=6))
    confirmed(scene, stored(scene, stopped))
    scene.text(stopped.phone, scene.now - timedelta(days=2), error_code=21610, **refused)
    off = {"status": "undelivered", "error_code": 30003, "price": None}
    confirmed(scene, stored(scene, initiated(scene, timedelta(days=5), text=off)))
    noted(scene, "booking.initiated", "duplicate key value violates unique constraint", age=timedelta(days=5))
    noted(scene, "booking.initiated", "canceling statement due to statement timeout", age=timedelta(days=4.5))


def scheduled(scene: World, command: str, schedule: str = "*/10 * * * *") -> None:
    """
    pg_cron runs that.
    """
    scene.execute("CREATE SCHEMA cron")
    scene.execute("CREATE TABLE cron.job (jobid bigint PRIMARY KEY, schedule text, command text)")
    scene.execute("INSERT INTO cron.job VALUES (7, :schedule, :command)", schedule=schedule, command=command)


def settled(scene: World) -> None:
    """
    What the sessions have counted reaches everybody else.
    """
    scene.rows("SELECT pg_stat_force_next_flush()")
