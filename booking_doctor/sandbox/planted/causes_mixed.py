"""
Causes among other trouble: with noise around them, with settings at hand that look guilty, or over by now.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.application import CHALLENGE
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.planted.environment import service_key
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import (
    confirmed,
    each,
    healthy,
    initiated,
    noted,
    phone,
    recorded_too_early,
    scheduled,
    settled,
    stored,
    trouble,
)
from booking_doctor.sandbox.twilio_faults import Fault

_HOUR: Final = timedelta(hours=1)
_URL: Final = "https://abcdefghijklmnopqrst.supabase.co"
_OLD_TOKEN: Final = "0123456789abcdef" * 2


def _both(*happenings: Callable[[World], object]) -> Callable[[World], None]:
    def happen(scene: World) -> None:
        for one in happenings:
            one(scene)

    return happen


def _in_order_again(scene: World) -> None:
    for age in each(5, _HOUR / 3, _HOUR / 3):
        stored(scene, initiated(scene, age))


def _busy(scene: World) -> None:
    """
    All is well, until now.
    """
    healthy(scene)
    _in_order_again(scene)
    for age in each(3, _HOUR / 6, _HOUR / 12):
        confirmed(scene, stored(scene, initiated(scene, age)))


# --- settings that look guilty ---------------------------------------------------------------------------------------


def _dirty_here(scene: World) -> None:
    scene.variables["SUPABASE_URL"] = f"{_URL} "


def _two_projects_here(scene: World) -> None:
    scene.variables["SUPABASE_SERVICE_ROLE_KEY"] = service_key("service_role", "tsrqponmlkjihgfedcba")
    _dirty_here(scene)


def _old_token_here(scene: World) -> None:
    scene.variables["TWILIO_AUTH_TOKEN"] = _OLD_TOKEN


def _tidied_up(scene: World) -> None:
    """
    A job empties what is closed, as it should.
    """
    tidy = "UPDATE pending_bookings SET metadata = '{}' WHERE status IN ('expired', 'cancelled')"
    scheduled(scene, tidy, "0 4 * * *")


def _kept_out(scene: World) -> None:
    """
    A firewall wants to see a browser, which the doctor is not.
    """
    scene.open().faults.add(Fault(name="instead", instead=CHALLENGE), times=None)


def _other_errors(scene: World) -> None:
    """
    A log full of errors that concern bookings and did no harm to any.
    """
    words = (
        "duplicate key value violates unique constraint",
        "PGRST116",
        "canceling statement due to statement timeout",
    )
    for number, age in enumerate(each(12, 2 * _HOUR, 9 * _HOUR)):
        noted(scene, "booking.reminded", words[number % len(words)], age=age)


# --- stories ---------------------------------------------------------------------------------------------------------


def _called_otherwise(scene: World) -> None:
    """
    Old code, with a customer deleted beside it, where tables and columns have names of their own.
    """
    healthy(scene)
    scene.execute(
        "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey, ADD CONSTRAINT owner FOREIGN KEY (customer_id)"
        " REFERENCES customers (id) ON DELETE CASCADE"
    )
    leaving = scene.customer(phone())
    scene.record(scene.text(phone(), scene.now - 90 * _HOUR), leaving)
    scene.execute("DELETE FROM customers WHERE CAST(id AS text) = :id", id=leaving)
    for age in each(12, _HOUR / 2, _HOUR / 3):
        initiated(scene, age)
        recorded_too_early(scene)
    settled(scene)
    scene.execute("ALTER TABLE pending_bookings RENAME TO open_reservations")
    scene.execute("ALTER TABLE open_reservations RENAME metadata TO extra")
    scene.settings["tables"] = {"pending_bookings": {"name": "open_reservations", "columns": {"metadata": "extra"}}}


def _for_six_hours(scene: World) -> None:
    healthy(scene)
    for age in each(6, 4 * _HOUR):
        initiated(scene, age)
        recorded_too_early(scene)
    _in_order_again(scene)


def _elsewhere_among_trouble(scene: World) -> None:
    healthy(scene)
    trouble(scene)
    for number, age in enumerate(each(6, _HOUR)):
        booked = stored(scene, initiated(scene, age, text={"sid": f"SM{number:032x}"}))
        confirmed(scene, booked)
        if booked.message:
            scene.account.delete(booked.message.sid)


def _switched_off(scene: World) -> None:
    healthy(scene)
    for age in each(6, _HOUR):
        initiated(scene, age, texted=False)
    scene.variables["SMS_ENABLED"] = "0"


def _kept_by_bookings_only(scene: World) -> None:
    """
    Twilio keeps no log of what it refuses; the bookings do.
    """
    healthy(scene)
    for age in each(4, _HOUR):
        booked = initiated(scene, age, number=f"+44770090{phone()[-4:]}", texted=False)
        _holds(scene, booked.id, {"initial_sms": {"state": "rejected", "code": 21408, "to_number": booked.phone}})


def _holds(scene: World, booking: str, metadata: object) -> None:
    told = json.dumps(metadata)
    scene.execute(
        "UPDATE pending_bookings SET metadata = CAST(:m AS jsonb) WHERE CAST(id AS text) = :id", m=told, id=booking
    )


def _tries_to_store(scene: World) -> None:
    for age in each(5, _HOUR):
        booked = initiated(scene, age)
        _holds(scene, booked.id, {"initial_sms": {"message_sid": booked.message.sid if booked.message else None}})


def _conditional_rule(scene: World) -> None:
    healthy(scene)
    scene.execute(
        "CREATE RULE keep AS ON UPDATE TO pending_bookings WHERE NEW.metadata IS DISTINCT FROM OLD.metadata DO INSTEAD NOTHING"
    )
    _tries_to_store(scene)


def _behind_a_view(scene: World) -> None:
    """
    The table is a view now, and its trigger passes over the metadata.
    """
    healthy(scene)
    scene.execute("ALTER TABLE pending_bookings RENAME TO pending_bookings_base")
    scene.execute("CREATE VIEW pending_bookings AS SELECT * FROM pending_bookings_base")
    scene.execute(
        "CREATE FUNCTION passes_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE pending_bookings_base SET status = NEW.status WHERE id = NEW.id; RETURN NEW; END $$"
    )
    scene.execute(
        "CREATE TRIGGER passes_on INSTEAD OF UPDATE ON pending_bookings FOR EACH ROW EXECUTE FUNCTION passes_on()"
    )
    _tries_to_store(scene)


def _deleted_before_confirm(scene: World) -> None:
    healthy(scene)
    scheduled(scene, "DELETE FROM pending_bookings WHERE status = 'pending' AND created_at < now() - interval '1 hour'")
    for age in each(6, 2 * _HOUR):
        booked = stored(scene, initiated(scene, age))
        scene.execute("DELETE FROM pending_bookings WHERE CAST(id AS text) = :id", id=booked.id)
    settled(scene)


def _dropped_on_the_way(scene: World) -> None:
    """
    A trigger of messages drops what goes out.
    """
    healthy(scene)
    scene.execute(
        "CREATE FUNCTION inbox() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.direction = 'outbound' THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    scene.execute("CREATE TRIGGER inbox BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION inbox()")
    for age in each(5, _HOUR):
        customer = confirmed(scene, stored(scene, initiated(scene, age)), recorded=False)
        insert = "INSERT INTO messages (customer_id, direction) VALUES (CAST(:customer AS uuid), 'outbound')"
        scene.execute(insert, customer=customer)


_OLD: Final = "old-deployment-serving"

EPISODES: Final = (
    *(
        Episode(cause=_OLD, title=f"the December incident, {beside}", happen=_both(december_incident, happen))
        for beside, happen in (
            ("among other trouble", trouble),
            ("and a variable here ends in a blank", _dirty_here),
            ("and the doctor's token is an old one", _old_token_here),
            ("and a job empties closed bookings", _tidied_up),
        )
    ),
    Episode(cause=_OLD, title="tables have other names, and a customer was deleted", happen=_called_otherwise),
    Episode(cause=_OLD, title="it served for six hours and does no more", happen=_for_six_hours),
    Episode(
        cause="twilio-wrong-account", title="another account, among other trouble", happen=_elsewhere_among_trouble
    ),
    Episode(
        cause="sms-disabled-by-flag",
        title="a flag, and another variable ends in a blank",
        happen=_both(_switched_off, _dirty_here),
    ),
    Episode(cause="geo-permission", title="only the bookings keep what was refused", happen=_kept_by_bookings_only),
    Episode(cause="rule-or-view-swallows-update", title="a rule for some rows", happen=_conditional_rule),
    Episode(cause="rule-or-view-swallows-update", title="a view's trigger passes it over", happen=_behind_a_view),
    Episode(cause="scheduled-cleaner", title="a job deletes what waits", happen=_deleted_before_confirm),
    Episode(cause="trigger-resets-metadata", title="a trigger drops outbound messages", happen=_dropped_on_the_way),
    *(
        Episode(cause=None, title=title, happen=_both(_busy, happen))
        for title, happen in (
            ("other trouble, as everywhere", trouble),
            ("a firewall stops nobody but the doctor", _kept_out),
            ("variables here are wrong", _two_projects_here),
            ("the doctor's token is an old one", _old_token_here),
            ("a job empties closed bookings", _tidied_up),
            ("a log full of errors without harm", _other_errors),
        )
    ),
)
