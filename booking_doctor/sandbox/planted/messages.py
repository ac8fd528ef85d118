"""
Faults of texts: what Twilio has and the table lacks, what the table has and Twilio denies, and what did not arrive.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from math import ceil
from typing import Any, Final

from booking_doctor.sandbox.incidents import World, told_by_twilio
from booking_doctor.sandbox.planted.incident import Incident
from booking_doctor.sandbox.twilio_log import Message

_ANNA, _BERT, _CARL, _DORA = (f"+1555010200{n}" for n in range(1, 5))
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


def _recorded(scene: World, phone: str, age: timedelta = _HOUR, **values: Any) -> Message:  # noqa: ANN401  any column
    """
    A text to a customer, so long ago, and its row.
    """
    message = scene.text(phone, scene.now - age)
    scene.record(message, scene.customer(phone), **values)
    return message


def _subject(message: Message) -> str:
    return f"message/{message.sid}"


def _backfilled(scene: World) -> None:
    """
    What a backfill does: a text that no row carries becomes a row of the customer with its number.
    """
    rows = scene.rows("SELECT COALESCE(NULLIF(message_sid, ''), twilio_message_sid) AS sid FROM messages")
    known = {row["sid"] for row in rows}
    owners = {row["phone"]: row["id"] for row in scene.rows("SELECT phone, CAST(id AS text) AS id FROM customers")}
    for message in scene.account.messages():
        if message.sid not in known and message.to in owners:
            scene.record(message, owners[message.to])


# --- what the table lacks --------------------------------------------------------------------------------------------


def _about_to_be_recorded(scene: World) -> None:
    """
    One in flight, one that confirm will record, one that only the second column names, years off.
    """
    scene.text(_ANNA, scene.now - 4 * _MINUTE, status="sent", price=None)
    booking = scene.pending_booking(_BERT, created_at=scene.now - _HOUR)
    scene.defer(scene.text(_BERT, scene.now - _HOUR), booking)
    _recorded(scene, _CARL, message_sid=None, created_at=scene.now - timedelta(days=700))


def _never_recorded(scene: World) -> list[str]:
    scene.customer(_DORA)
    return [_subject(scene.text(_DORA, scene.now - age)) for age in (5 * _MINUTE, 3 * _HOUR)]


def _to_a_stranger(scene: World) -> list[str]:
    return [_subject(scene.text(_DORA, scene.now - _HOUR))]


def _stranger_becomes_customer(scene: World) -> None:
    scene.customer(_DORA)
    _backfilled(scene)


# --- what the table says otherwise -----------------------------------------------------------------------------------


def _told_otherwise(scene: World) -> None:
    """
    A redacted body, a price not yet billed, a number in another style, a status in the application's own words.
    """
    scene.account.redact(_recorded(scene, _ANNA).sid)
    unbilled = scene.text(_BERT, scene.now - _HOUR, price=None)
    scene.record(unbilled, scene.customer(_BERT), cost_usd=Decimal("0.0079"))
    _recorded(scene, _CARL, to_number="(555) 010-2003", status="handed over")


def _behind_and_wrong(scene: World) -> list[str]:
    behind = _recorded(scene, _DORA, status="queued", twilio_status="queued")
    silent = scene.text(_DORA, scene.now - 2 * _HOUR, status="sent")
    (dora,) = scene.rows("SELECT CAST(id AS text) AS id FROM customers WHERE phone = :phone", phone=_DORA)
    scene.record(silent, dora["id"], status="delivered", twilio_status="delivered")
    return [_subject(behind), _subject(silent)]


def _corrected(scene: World) -> None:
    for message in scene.account.messages():
        scene.execute(
            "UPDATE messages SET status = :status, twilio_status = :status WHERE message_sid = :sid",
            status=told_by_twilio(message, scene.now).status,
            sid=message.sid,
        )


def _just_made_up(scene: World) -> None:
    """
    A SID so young that Twilio's list may not show it yet.
    """
    message = _recorded(scene, _ANNA)
    (anna,) = scene.rows("SELECT CAST(id AS text) AS id FROM customers")
    sid = "SM" + "a" * 32
    at = scene.now - 14 * _MINUTE
    scene.record(message, anna["id"], message_sid=sid, twilio_message_sid=sid, created_at=at)


_MADE_UP: Final = "SM" + "b" * 32


def _made_up(scene: World) -> list[str]:
    message = _recorded(scene, _BERT)
    (bert,) = scene.rows("SELECT CAST(id AS text) AS id FROM customers WHERE phone = :phone", phone=_BERT)
    scene.record(message, bert["id"], message_sid=_MADE_UP, twilio_message_sid=_MADE_UP)
    return [f"message/{_MADE_UP}"]


def _made_up_removed(scene: World) -> None:
    scene.execute("DELETE FROM messages WHERE message_sid = :sid", sid=_MADE_UP)


# --- rows that are wrong in themselves -------------------------------------------------------------------------------


def _same_text_twice(scene: World) -> None:
    """
    Two texts in one second that say the same.
    """
    _recorded(scene, _ANNA)
    scene.text(_ANNA, scene.now - _HOUR)
    _backfilled(scene)


def _recorded_twice(scene: World) -> list[str]:
    message = _recorded(scene, _BERT)
    (bert,) = scene.rows("SELECT CAST(id AS text) AS id FROM customers WHERE phone = :phone", phone=_BERT)
    scene.record(message, bert["id"], message_sid=None, created_at=scene.now)
    return [_subject(message)]


def _second_row_removed(scene: World) -> None:
    scene.execute("DELETE FROM messages WHERE message_sid IS NULL")


def _of_a_customer_with_a_new_number(scene: World) -> None:
    _recorded(scene, _ANNA)
    scene.execute("UPDATE customers SET phone = :phone", phone=_BERT)


def _nobodys(scene: World) -> list[str]:
    message = _recorded(scene, _CARL)
    scene.execute("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    scene.execute("UPDATE messages SET customer_id = NULL WHERE message_sid = :sid", sid=message.sid)
    return [_subject(message)]


def _assigned(scene: World) -> None:
    scene.execute(
        "UPDATE messages SET customer_id = customers.id FROM customers"
        " WHERE customer_id IS NULL AND customers.phone = messages.to_number"
    )
    scene.execute("ALTER TABLE messages ALTER customer_id SET NOT NULL")


def _one_sid_of_two(scene: World) -> None:
    _recorded(scene, _ANNA, message_sid="")
    _recorded(scene, _BERT, twilio_message_sid=None)


def _without_any_sid(scene: World) -> list[str]:
    message = scene.text(_CARL, scene.now - _HOUR)
    return [f"message/row-{scene.record(message, scene.customer(_CARL), message_sid=None, twilio_message_sid='')}"]


def _sid_found(scene: World) -> None:
    (message,) = (message for message in scene.account.messages() if message.to == _CARL)
    scene.execute("UPDATE messages SET message_sid = :sid WHERE to_number = :phone", sid=message.sid, phone=_CARL)


# --- what did not arrive ---------------------------------------------------------------------------------------------


def _lost(scene: World, phone: str, age: timedelta) -> Message:
    return scene.text(phone, scene.now - age, status="undelivered", error_code=30003, price=None)


def _reached_later(scene: World) -> None:
    """
    A text that was lost on the way, and one after it that arrived; one that was called off.
    """
    customer = scene.customer(_ANNA)
    scene.record(_lost(scene, _ANNA, 2 * _HOUR), customer)
    scene.record(scene.text(_ANNA, scene.now - _HOUR), customer)
    scene.record(scene.text(_BERT, scene.now - _HOUR, status="canceled", price=None), scene.customer(_BERT))


def _refused_at_once(scene: World) -> list[str]:
    codes = (21211, 21610)
    return [
        _subject(scene.text(_DORA, scene.now - _HOUR, status="failed", error_code=code, price=None)) for code in codes
    ]


def _attempts_deleted(scene: World) -> None:
    for message in scene.account.messages():
        if told_by_twilio(message, scene.now).rejected:
            scene.account.delete(message.sid)


def _lost_on_the_way(scene: World) -> list[str]:
    """
    One that is recorded, and one that a booking still keeps in its metadata.
    """
    recorded = _lost(scene, _CARL, _HOUR)
    scene.record(recorded, scene.customer(_CARL))
    deferred = _lost(scene, _DORA, _HOUR)
    scene.defer(deferred, scene.pending_booking(_DORA, created_at=scene.now - _HOUR))
    return [_subject(recorded), _subject(deferred)]


def _texted_again(scene: World) -> None:
    scene.customer(_DORA)
    for phone in (_CARL, _DORA):
        (owner,) = scene.rows("SELECT CAST(id AS text) AS id FROM customers WHERE phone = :phone", phone=phone)
        scene.record(scene.text(phone, scene.now - _MINUTE), owner["id"])


# --- money and segments ----------------------------------------------------------------------------------------------


def _all_negative(scene: World) -> None:
    """
    A convention of its own, a text that cost nothing, and a price that is no number.
    """
    _recorded(scene, _ANNA, cost_usd=Decimal("-0.0079"))
    free = scene.text(_BERT, scene.now - _HOUR, price="0")
    scene.record(free, scene.customer(_BERT), cost_usd=Decimal(0))
    unbilled = scene.text(_CARL, scene.now - _HOUR, price=None)
    scene.record(unbilled, scene.customer(_CARL), cost_usd=Decimal("NaN"))


def _one_positive(scene: World) -> list[str]:
    _recorded(scene, _DORA)
    return ["schema/messages.cost_usd"]


def _made_positive(scene: World) -> None:
    scene.execute("UPDATE messages SET cost_usd = -cost_usd WHERE cost_usd < 0")


_PLAIN: Final = ("Your table is waiting. " * 14)[:310]
_SMILING: Final = "Your table is waiting \N{SLIGHTLY SMILING FACE} " * 4
"""310 characters take three parts, and 96 take two, because an emoji makes the parts shorter."""


def _well_counted(scene: World) -> None:
    """
    Long texts counted as Twilio does, one that was redacted since, and one that nobody counted.
    """
    customer = scene.customer(_ANNA)
    for body in (_PLAIN, _SMILING):
        message = scene.text(_ANNA, scene.now - _HOUR, body)
        scene.record(message, customer)
        scene.record(scene.text(_ANNA, scene.now - _HOUR, body), customer, segments=None)
    scene.account.redact(message.sid)


def _divided(scene: World) -> list[str]:
    customer = scene.customer(_CARL)
    for body in (_PLAIN, _SMILING):
        scene.record(scene.text(_CARL, scene.now - _HOUR, body), customer, segments=ceil(len(body) / 160))
    return ["schema/messages.segments"]


def _counted_by_twilio(scene: World) -> None:
    for message in scene.account.messages():
        scene.execute(
            "UPDATE messages SET segments = :segments WHERE message_sid = :sid",
            segments=told_by_twilio(message, scene.now).segments,
            sid=message.sid,
        )


INCIDENTS: Final = (
    Incident(
        finding="message-mismatched",
        title="one row is behind, another claims a delivery that Twilio does not know of",
        look_alike=_told_otherwise,
        plant=_behind_and_wrong,
        remedy=_corrected,
    ),
    Incident(
        finding="message-rejected",
        title="Twilio refuses two attempts at once",
        look_alike=_reached_later,
        plant=_refused_at_once,
        remedy=_attempts_deleted,
    ),
    Incident(
        finding="message-unrecorded",
        title="texts are sent and nobody records them",
        look_alike=_about_to_be_recorded,
        plant=_never_recorded,
        remedy=_backfilled,
    ),
    Incident(
        finding="message-orphaned",
        title="a text goes to somebody whom the application does not know",
        look_alike=_about_to_be_recorded,
        plant=_to_a_stranger,
        remedy=_stranger_becomes_customer,
    ),
    Incident(
        finding="message-unknown-to-twilio",
        title="a row carries a SID that exists nowhere",
        look_alike=_just_made_up,
        plant=_made_up,
        remedy=_made_up_removed,
    ),
    Incident(
        finding="message-duplicated",
        title="a text is recorded twice, each time in another column",
        look_alike=_same_text_twice,
        plant=_recorded_twice,
        remedy=_second_row_removed,
    ),
    Incident(
        finding="message-without-customer",
        title="a row loses its customer",
        look_alike=_of_a_customer_with_a_new_number,
        plant=_nobodys,
        remedy=_assigned,
        also=frozenset({"schema-customer-id-nullable"}),
    ),
    Incident(
        finding="message-without-sid",
        title="a text is recorded before Twilio has answered",
        cause="payload-serialises-empty",
        look_alike=_one_sid_of_two,
        plant=_without_any_sid,
        remedy=_sid_found,
        also=frozenset({"message-unrecorded"}),
    ),
    Incident(
        finding="message-undelivered",
        title="two phones are out of reach",
        cause="carrier-undelivered",
        look_alike=_reached_later,
        plant=_lost_on_the_way,
        remedy=_texted_again,
    ),
    Incident(
        finding="message-cost-sign",
        title="one piece of code keeps the sign of a price, another drops it",
        cause="cost-sign",
        look_alike=_all_negative,
        plant=_one_positive,
        remedy=_made_positive,
    ),
    Incident(
        finding="message-segments",
        title="the number of segments is the length divided by 160",
        cause="segments-wrong",
        look_alike=_well_counted,
        plant=_divided,
        remedy=_counted_by_twilio,
        also=frozenset({"message-mismatched"}),
    ),
)
