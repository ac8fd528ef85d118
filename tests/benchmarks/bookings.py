"""
One booking after the other, initiated and confirmed, and the same writes and one request by hand.

By hand means what is written and nothing else: no question, no lock, no check of what was stored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from statistics import median, quantiles
from typing import Any, Final
from uuid import uuid4

import psycopg
import urllib3
from sqlalchemy import create_engine

from booking_doctor.adapters.tables import application_tables
from booking_doctor.settings import Names, Preferences

Variables = Mapping[str, str]

_ROUNDS: Final = 300
_WARM_UP: Final = 30
_EVENT: Final = "00000000-0000-4000-8000-000000000001"


def build_desk(database_url: str, customers: int) -> None:
    """
    So many customers, each with a booking and five recorded texts, in an empty database.
    """
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    application_tables(Names())["messages"].metadata.create_all(engine)
    engine.dispose()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO events (id, title, starts_at) VALUES (%s, 'Dinner', now())", [_EVENT])
        connection.execute(_CUSTOMERS, [customers])
        connection.execute(_BOOKINGS)
        connection.execute(_MESSAGES)
        connection.execute("VACUUM ANALYZE")


_CUSTOMERS: Final = "INSERT INTO customers (phone) SELECT '+1556' || 1000000 + n FROM generate_series(1, %s) AS n"
_BOOKINGS: Final = """
    INSERT INTO pending_bookings (token, customer_phone, customer_id, status, metadata)
    SELECT id, phone, id, 'confirmed', '{"initial_sms": {"state": "sent"}}' FROM customers
"""
_MESSAGES: Final = """
    INSERT INTO messages (customer_id, direction, message_sid, twilio_message_sid, status, twilio_status, to_number)
    SELECT id, 'outbound', 'SM' || md5(id::text || n), 'SM' || md5(id::text || n), 'delivered', 'delivered', phone
    FROM customers, generate_series(1, 5) AS n
"""


def book(variables: Variables) -> dict[str, Any]:
    """
    Medians in milliseconds, ours and by hand taken in turns; of ours also what 19 of 20 do not exceed.
    """
    from booking_doctor.bootstrap import booking_service_for
    from booking_doctor.core.booking import BookingRequest

    http = urllib3.PoolManager()
    times: dict[str, list[float]] = {"initiate": [], "initiate_by_hand": [], "confirm": [], "confirm_by_hand": []}
    with (
        closing(booking_service_for(variables, Preferences())) as service,
        psycopg.connect(variables["DATABASE_URL"], autocommit=True) as connection,
    ):
        for number in range(_WARM_UP + _ROUNDS):
            ours, theirs = f"+1555{1000000 + number}", f"+1557{1000000 + number}"
            asked = BookingRequest(event_id=_EVENT, customer_name="Ada", customer_phone=ours)
            initiated = _timed(times["initiate"], service.initiate_booking, asked)
            made = _timed(times["initiate_by_hand"], _initiate, connection, http, variables, theirs)
            confirmed = _timed(times["confirm"], service.confirm_booking, initiated.token)
            _timed(times["confirm_by_hand"], _confirm, connection, *made)
            assert confirmed.message_sid == initiated.sms.message_sid
    measured = {name: taken[_WARM_UP:] for name, taken in times.items()}
    late = {f"{name}_late": quantiles(measured[name], n=20)[-1] for name in ("initiate", "confirm")}
    return {**{name: median(taken) for name, taken in measured.items()}, **late}


def _timed(into: list[float], call: Callable[..., Any], *arguments: Any) -> Any:
    start = time.perf_counter()
    answer = call(*arguments)
    into.append((time.perf_counter() - start) * 1000)
    return answer


def _initiate(
    connection: psycopg.Connection, http: urllib3.PoolManager, variables: Variables, phone: str
) -> tuple[str, str, str]:
    """
    The booking's id, phone and SID.
    """
    token, sms = (
        str(uuid4()),
        {"state": "sending", "to_number": phone, "body": "Please confirm your booking for Dinner"},
    )
    row = connection.execute(_BOOKING, [token, _EVENT, phone, json.dumps({"initial_sms": sms})]).fetchone()
    assert row
    account = f"{variables['TWILIO_API_BASE_URL']}/2010-04-01/Accounts/{variables['TWILIO_ACCOUNT_SID']}"
    form = {"To": phone, "From": variables["TWILIO_PHONE_NUMBER"], "Body": sms["body"]}
    login = urllib3.make_headers(basic_auth=f"{variables['TWILIO_ACCOUNT_SID']}:{variables['TWILIO_AUTH_TOKEN']}")
    answer = http.request_encode_body(
        "POST", f"{account}/Messages.json", fields=form, headers=login, encode_multipart=False
    )
    sid: str = json.loads(answer.data)["sid"]
    sent = json.dumps({"initial_sms": {**sms, "state": "sent", "message_sid": sid}})
    connection.execute("UPDATE pending_bookings SET metadata = %s WHERE id = %s", [sent, row[0]])
    _note(connection, "initiate_booking", row[0])
    return row[0], phone, sid


_BOOKING: Final = """
    INSERT INTO pending_bookings (token, event_id, customer_phone, metadata, expires_at)
    VALUES (%s, %s, %s, %s, now() + interval '1 day') RETURNING CAST(id AS text)
"""


def _confirm(connection: psycopg.Connection, booking_id: str, phone: str, sid: str) -> None:
    with connection.transaction():
        row = connection.execute("INSERT INTO customers (phone) VALUES (%s) RETURNING id", [phone]).fetchone()
        assert row
        values = {"customer": row[0], "booking": booking_id, "event": _EVENT, "sid": sid, "phone": phone}
        connection.execute(_CONFIRMED, values)
        connection.execute(_LASTING, values)
        connection.execute(_RECORDED, values)
    _note(connection, "confirm_booking", booking_id)


_CONFIRMED: Final = """
    UPDATE pending_bookings SET status = 'confirmed', customer_id = %(customer)s, confirmed_at = now()
    WHERE id = %(booking)s
"""
_LASTING: Final = """
    INSERT INTO bookings (event_id, customer_id, pending_booking_id) VALUES (%(event)s, %(customer)s, %(booking)s)
"""
_RECORDED: Final = """
    INSERT INTO messages (customer_id, direction, message_sid, twilio_message_sid, status, twilio_status, to_number)
    VALUES (%(customer)s, 'outbound', %(sid)s, %(sid)s, 'queued', 'queued', %(phone)s)
"""


def _note(connection: psycopg.Connection, action: str, booking_id: str) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute("INSERT INTO audit_logs (action, entity_id) VALUES (%s, %s)", [action, booking_id])
