"""
Worlds in which nothing is ill, though some look as if: no cause may be likely there, let alone confirmed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import (
    confirmed,
    each,
    healthy,
    initiated,
    recorded_too_early,
    scheduled,
    settled,
    stored,
)

_HOUR: Final = timedelta(hours=1)


def _in_order(scene: World) -> None:
    """
    Bookings are confirmed and recorded, and some wait; one is just being made.
    """
    healthy(scene)
    for age in each(4, _HOUR):
        stored(scene, initiated(scene, age))
    scene.pending_booking("+15550107999", created_at=scene.now - timedelta(seconds=40))


def _with_housekeeping(scene: World) -> None:
    """
    A job deletes what expired long ago, and a trigger stamps the time.
    """
    _in_order(scene)
    scheduled(scene, "DELETE FROM pending_bookings WHERE expires_at < now() - interval '30 days'", "0 4 * * *")
    scene.execute(
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$"
    )
    scene.execute("CREATE TRIGGER stamp BEFORE UPDATE ON pending_bookings FOR EACH ROW EXECUTE FUNCTION stamp()")


def _behind_policies(scene: World) -> None:
    """
    Row level security keeps everybody out but the owner, who is the application.
    """
    _in_order(scene)
    for table in ("pending_bookings", "messages", "customers"):
        scene.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def _with_strays(scene: World) -> None:
    """
    A text to a stranger is refused, one of many is lost, an id was drawn in vain, and a customer closes the page.
    """
    for age in each(40, timedelta(days=1)):
        confirmed(scene, stored(scene, initiated(scene, age)))
    lost = {"status": "undelivered", "error_code": 30003, "price": None}
    confirmed(scene, stored(scene, initiated(scene, _HOUR, text=lost)))
    scene.text("+15550107998", scene.now - _HOUR, status="failed", error_code=21211, price=None, date_sent=None)
    recorded_too_early(scene)
    scene.pending_booking("+15550107997", created_at=scene.now - 2 * _HOUR, status="expired")
    settled(scene)


def _through_a_pooler(scene: World) -> None:
    _in_order(scene)
    scene.variables["DATABASE_URL"] = f"{scene.url}?pgbouncer=true"


EPISODES: Final = (
    Episode(cause=None, title="nothing has happened", happen=lambda _scene: None),
    Episode(cause=None, title="everything is in order", happen=_in_order),
    Episode(cause=None, title="a job and a trigger keep house", happen=_with_housekeeping),
    Episode(cause=None, title="the owner is behind policies that stop others", happen=_behind_policies),
    Episode(cause=None, title="strays as in every account", happen=_with_strays),
    Episode(cause=None, title="the way leads through a pooler", happen=_through_a_pooler),
)
