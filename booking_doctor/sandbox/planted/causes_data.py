"""
Causes that sit in the rows, planted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import confirmed, each, healthy, initiated, phone, settled, stored

_HOUR: Final = timedelta(hours=1)


def _deleted_at_twilio(scene: World) -> None:
    healthy(scene, times=8)
    booked = initiated(scene, 3 * _HOUR)
    confirmed(scene, stored(scene, booked))
    if booked.message:
        scene.account.delete(booked.message.sid)
    for age in each(3, _HOUR / 2):
        confirmed(scene, stored(scene, initiated(scene, age)))


def _zone_lost(scene: World) -> None:
    healthy(scene)
    scene.execute(
        "ALTER TABLE pending_bookings ALTER COLUMN created_at TYPE timestamp USING created_at AT TIME ZONE 'UTC'"
    )
    for age in each(4, _HOUR):
        initiated(scene, age + 2 * _HOUR, after=2 * _HOUR + timedelta(seconds=2))


def _zone_lost_in_messages(scene: World) -> None:
    scene.execute("ALTER TABLE messages ALTER COLUMN created_at TYPE timestamp USING created_at AT TIME ZONE 'UTC'")
    for age in each(4, 3 * _HOUR):
        booked = stored(scene, initiated(scene, age))
        customer = confirmed(scene, booked, recorded=False)
        if booked.message:
            scene.record(booked.message, customer, created_at=booked.at.replace(tzinfo=None) - 5 * _HOUR)


def _family(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        booked = stored(scene, initiated(scene, age))
        scene.customer(booked.phone, name="mother")
        scene.customer(f"{booked.phone[:2]} {booked.phone[2:5]} {booked.phone[5:]}", name="son")
        confirmed(scene, booked, recorded=False)


def _wrong_owner(scene: World) -> None:
    healthy(scene)
    for age in each(3, _HOUR):
        number = phone()
        booked = stored(scene, initiated(scene, age, number=number))
        confirmed(scene, booked, recorded=False)
        other = scene.customer(number.replace("+1", "+1 "), name="the other one")
        moved = scene.customer(phone(), name="who was merged")
        if booked.message:
            scene.record(booked.message, moved)
        scene.execute("UPDATE customers SET name = 'both' WHERE CAST(id AS text) = :id", id=other)


def _merged(scene: World) -> None:
    healthy(scene)
    scene.execute(
        "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey, ADD CONSTRAINT owner FOREIGN KEY (customer_id)"
        " REFERENCES customers (id) ON DELETE CASCADE"
    )
    for age in each(3, _HOUR):
        customer = confirmed(scene, stored(scene, initiated(scene, age)))
        merged = scene.customer(phone(), name="who remains")
        for table in ("bookings", "pending_bookings"):
            scene.execute(
                f"UPDATE {table} SET customer_id = CAST(:merged AS uuid) WHERE CAST(customer_id AS text) = :id",  # noqa: S608  two names of ours
                merged=merged,
                id=customer,
            )
        scene.execute("DELETE FROM customers WHERE CAST(id AS text) = :id", id=customer)
    settled(scene)


def _left_behind(scene: World) -> None:
    healthy(scene)
    scene.execute("ALTER TABLE messages ALTER COLUMN customer_id DROP NOT NULL")
    scene.execute(
        "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey, ADD CONSTRAINT owner FOREIGN KEY (customer_id)"
        " REFERENCES customers (id) ON DELETE SET NULL"
    )
    for age in each(3, _HOUR):
        booked = stored(scene, initiated(scene, age))
        customer = scene.customer(booked.phone)
        if booked.message:
            scene.record(booked.message, customer)
        scene.execute("DELETE FROM customers WHERE CAST(id AS text) = :id", id=customer)
    settled(scene)


EPISODES: Final = (
    Episode(cause="message-redacted-or-deleted", title="one text was deleted at Twilio", happen=_deleted_at_twilio),
    Episode(cause="clock-skew-timezone", title="bookings lost their zone", happen=_zone_lost),
    Episode(cause="clock-skew-timezone", title="messages lost their zone", happen=_zone_lost_in_messages),
    Episode(cause="phone-shared-by-customers", title="two customers have one phone", happen=_family),
    Episode(cause="phone-shared-by-customers", title="texts stand at the wrong one of two", happen=_wrong_owner),
    Episode(cause="customer-merged-or-deleted", title="a merge takes messages along", happen=_merged),
    Episode(cause="customer-merged-or-deleted", title="a deletion leaves messages behind", happen=_left_behind),
)
