"""
Causes that sit in the application's code, planted by what they leave behind.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import (
    Booked,
    alternating,
    confirmed,
    each,
    healthy,
    initiated,
    noted,
    phone,
    settled,
    stored,
)

_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


def _holds(scene: World, booked: Booked, metadata: object) -> None:
    scene.execute(
        "UPDATE pending_bookings SET metadata = CAST(:metadata AS jsonb) WHERE CAST(id AS text) = :id",
        metadata=json.dumps(metadata),
        id=booked.id,
    )


def _frozen(scene: World) -> None:
    healthy(scene)
    alternating(scene, lambda age: initiated(scene, age, after=7 * _MINUTE))
    for age in each(2, 30 * _MINUTE):
        initiated(scene, age, texted=False)
        stored(scene, initiated(scene, age))


def _frozen_before_storing(scene: World) -> None:
    healthy(scene)
    lags = iter((4, 11, 2, 26))
    alternating(scene, lambda age: initiated(scene, age, after=next(lags) * _MINUTE))


def _never_awaited(scene: World) -> None:
    healthy(scene)
    for age in each(5, _HOUR):
        initiated(scene, age)
    settled(scene)


def _never_awaited_uncounted(scene: World) -> None:
    healthy(scene)
    for age in each(5, _HOUR):
        initiated(scene, age)


def _promise_stored(scene: World) -> None:
    healthy(scene)
    for age in each(5, _HOUR):
        _holds(scene, initiated(scene, age), {"initial_sms": {}})


def _nothing_stored(scene: World) -> None:
    for age in each(5, _HOUR):
        _holds(scene, initiated(scene, age), {})
    settled(scene)


def _sid_undefined(scene: World) -> None:
    for age in each(5, _HOUR):
        booked = initiated(scene, age)
        _holds(scene, booked, {"initial_sms": {"body": "Please confirm.", "to_number": booked.phone}})


def _other_spelling(scene: World) -> None:
    """
    The links of a campaign hold tokens with capital letters, and somebody lower-cases the URL.
    """
    healthy(scene)
    for number, age in enumerate(each(4, _HOUR, 2 * _HOUR)):
        stored(scene, initiated(scene, age + _HOUR))
        token = f"Tok_{number}AbCd"
        initiated(scene, age, token=token)
        scene.execute(
            "UPDATE pending_bookings SET metadata = '{\"initial_sms\": {}}' WHERE token = :token", token=token.lower()
        )
    settled(scene)


def _padded(scene: World) -> None:
    healthy(scene)
    for number, age in enumerate(each(4, _HOUR)):
        initiated(scene, age, token=f"tok_{number}\n")


def _too_early(scene: World) -> None:
    healthy(scene)
    alternating(scene, lambda age: initiated(scene, age, after=timedelta(seconds=-3)))


def _overwritten(scene: World) -> None:
    healthy(scene)

    def twice(age: timedelta) -> None:
        booked = stored(scene, initiated(scene, age))
        _holds(scene, booked, {"reminder": {"due": "tomorrow"}})

    alternating(scene, twice)
    settled(scene)


def _sent_twice(scene: World) -> None:
    healthy(scene)
    for age in each(3, _HOUR):
        booked = initiated(scene, age)
        scene.text(booked.phone, booked.at + timedelta(seconds=33), "Please confirm your booking.")
        stored(scene, booked)


def _inserted_again(scene: World) -> None:
    healthy(scene)
    for age in each(3, _HOUR):
        booked = initiated(scene, age, texted=False, token=f"tok_{age.seconds}")
        again = "INSERT INTO pending_bookings (token, customer_phone) VALUES (:token, :phone)"
        scene.refused(again, token=f"tok_{age.seconds}", phone=booked.phone)
    noted(
        scene,
        "booking.initiated",
        'duplicate key value violates unique constraint "pending_bookings_token_key" (23505)',
    )


def _not_copied(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        confirmed(scene, stored(scene, initiated(scene, age)), recorded=False)


def _always_delivered(scene: World) -> None:
    for number, age in enumerate(each(6, _HOUR)):
        lost = {"status": "undelivered", "error_code": 30003, "price": None} if number % 3 == 0 else {}
        booked = stored(scene, initiated(scene, age, text=lost))
        customer = confirmed(scene, booked, recorded=False)
        if booked.message:
            scene.record(booked.message, customer, status="delivered", twilio_status="delivered")


def _signs(scene: World) -> None:
    for number, age in enumerate(each(4, _HOUR)):
        booked = stored(scene, initiated(scene, age))
        customer = confirmed(scene, booked, recorded=False)
        if booked.message:
            scene.record(booked.message, customer, cost_usd=Decimal("0.0079") * (-1) ** number)


def _counted_by_length(scene: World) -> None:
    healthy(scene)
    for age in each(3, _HOUR):
        body = "Ihre Buchung wartet auf Sie, bitte bestätigen Sie sie gleich: ☕ " + "bis bald " * 4
        booked = stored(scene, initiated(scene, age, text={"body": body}))
        customer = confirmed(scene, booked, recorded=False)
        if booked.message:
            scene.record(booked.message, customer, segments=1)


def _mixed_up(scene: World) -> None:
    healthy(scene)
    for age in each(3, _HOUR):
        one, other = initiated(scene, age), initiated(scene, age)
        if one.message and other.message:
            scene.defer(one.message, other.id)
            scene.defer(other.message, one.id)


def _half_refused(scene: World) -> None:
    """
    Twilio refuses for several reasons, and no booking keeps one.
    """
    for number, age in enumerate(each(4, _HOUR)):
        code = 21211 if number % 2 else 21610
        initiated(scene, age, number=phone(), text={"status": "failed", "error_code": code, "price": None})


EPISODES: Final = (
    Episode(cause="promise-frozen", title="texts come minutes late or never, now and then", happen=_frozen),
    Episode(
        cause="promise-frozen",
        title="texts come late and nothing is stored, now and then",
        happen=_frozen_before_storing,
    ),
    Episode(cause="builder-never-awaited", title="no update is ever sent", happen=_never_awaited),
    Episode(
        cause="builder-never-awaited", title="the same, and counters tell nothing yet", happen=_never_awaited_uncounted
    ),
    Episode(cause="payload-serialises-empty", title="a promise is stored as initial_sms", happen=_promise_stored),
    Episode(cause="payload-serialises-empty", title="a promise is stored as the metadata", happen=_nothing_stored),
    Episode(cause="payload-serialises-empty", title="the SID is undefined", happen=_sid_undefined),
    Episode(cause="token-mismatch", title="a URL is lower-cased", happen=_other_spelling),
    Episode(cause="token-mismatch", title="tokens end in a newline", happen=_padded),
    Episode(
        cause="update-before-insert-commits", title="the update overtakes the insert, now and then", happen=_too_early
    ),
    Episode(cause="later-overwrite", title="a reminder replaces the metadata", happen=_overwritten),
    Episode(cause="timeout-duplicate-sends", title="a time-out has texts sent again", happen=_sent_twice),
    Episode(cause="unique-violation-on-retry", title="a retry inserts the booking again", happen=_inserted_again),
    Episode(cause="confirm-skips-copy", title="confirm does not copy", happen=_not_copied),
    Episode(
        cause="delivered-hardcoded",
        title="every row says delivered",
        happen=_always_delivered,
        beside=frozenset({"carrier-undelivered"}),
    ),
    Episode(cause="cost-sign", title="costs have either sign", happen=_signs),
    Episode(cause="segments-wrong", title="segments are counted by length", happen=_counted_by_length),
    Episode(cause="module-state-cross-request", title="two bookings hold each other's text", happen=_mixed_up),
)
