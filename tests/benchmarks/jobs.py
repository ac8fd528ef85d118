"""
A queue of texts, worked by ``jobs run``'s own worker and by hand: the same statements and one request a text, nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import UUID

import psycopg
import urllib3
from sqlalchemy import create_engine

from booking_doctor.adapters.tables import application_tables
from booking_doctor.core.booking import JOB_TYPE
from booking_doctor.settings import Names, Preferences

Variables = Mapping[str, str]

HANDS: Final = 8


def build_queue(database_url: str, jobs: int) -> None:
    """
    So many bookings whose texts are due, in an empty database.
    """
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    application_tables(Names())["jobs"].metadata.create_all(engine)
    engine.dispose()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_BOOKINGS, [jobs])
        connection.execute(_JOBS, [JOB_TYPE])
        connection.execute("VACUUM ANALYZE")


_BOOKINGS: Final = """
    INSERT INTO pending_bookings (token, customer_phone, expires_at, metadata)
    SELECT 'tok_' || n, '+1555' || 1000000 + n, now() + interval '1 day', jsonb_build_object('initial_sms',
      jsonb_build_object('state', 'queued', 'attempt_id', gen_random_uuid(), 'to_number', '+1555' || 1000000 + n,
        'body', 'Please confirm your booking for Dinner: https://book.example/confirm/' || n, 'segments', 1))
    FROM generate_series(1, %s) AS n
"""
_JOBS: Final = """
    INSERT INTO jobs (type, payload)
    SELECT %s, jsonb_build_object('pending_booking_id', id) FROM pending_bookings
"""


def left(database_url: str) -> dict[str, int]:
    """
    How many jobs are in which state, and how many SIDs the bookings know.
    """
    with psycopg.connect(database_url) as connection:
        states: dict[str, int] = dict(connection.execute("SELECT status, count(*) FROM jobs GROUP BY 1").fetchall())
        known = "SELECT count(DISTINCT metadata #>> '{initial_sms,message_sid}') FROM pending_bookings"
        return {**states, "sids": (connection.execute(known).fetchone() or (0,))[0]}


def work(variables: Variables) -> dict[str, Any]:
    """
    What ``jobs run --concurrency 8`` does between its start and its report.
    """
    from booking_doctor.bootstrap import workplace_for
    from booking_doctor.core.shift import Ended

    workplace = workplace_for(variables, Preferences(), concurrency=HANDS)
    start = time.perf_counter()
    with workplace.shift(watch=False, limit=None, tell=print) as shift:
        news = list(shift.work())
    seconds = time.perf_counter() - start
    assert all(isinstance(item, Ended) for item in news), news
    return {"seconds": seconds, "jobs": len(news)}


def work_by_hand(variables: Variables) -> dict[str, Any]:
    """
    Eight connections, each of which takes eight jobs at a time and does one after the other.
    """
    http = urllib3.PoolManager(maxsize=HANDS)
    start = time.perf_counter()
    with ThreadPoolExecutor(HANDS) as hands:
        jobs = sum(hands.map(lambda _: _share(variables, http), range(HANDS)))
    return {"seconds": time.perf_counter() - start, "jobs": jobs}


def _share(variables: Variables, http: urllib3.PoolManager) -> int:
    done = 0
    with psycopg.connect(variables["DATABASE_URL"], prepare_threshold=None) as connection:
        while True:
            with connection.transaction():
                connection.execute(_LIMITS)
                claimed = connection.execute(_CLAIM, [JOB_TYPE, HANDS]).fetchall()
            for job, booking in claimed:
                _send(connection, http, variables, job, booking)
            done += len(claimed)
            if not claimed:
                return done


def _send(
    connection: psycopg.Connection, http: urllib3.PoolManager, variables: Variables, job: int, booking: UUID
) -> None:
    with connection.transaction():
        connection.execute(_LIMITS)
        sms = _locked(connection, booking)
        _keep(connection, booking, {**sms, "state": "sending"})
    form = {"To": sms["to_number"], "From": variables["TWILIO_PHONE_NUMBER"], "Body": sms["body"]}
    account = f"{variables['TWILIO_API_BASE_URL']}/2010-04-01/Accounts/{variables['TWILIO_ACCOUNT_SID']}"
    login = urllib3.make_headers(basic_auth=f"{variables['TWILIO_ACCOUNT_SID']}:{variables['TWILIO_AUTH_TOKEN']}")
    answer = http.request_encode_body(
        "POST", f"{account}/Messages.json", fields=form, headers=login, encode_multipart=False
    )
    with connection.transaction():
        connection.execute(_LIMITS)
        sms = _locked(connection, booking)
        _keep(connection, booking, {**sms, "state": "sent", "message_sid": json.loads(answer.data)["sid"]})
        connection.execute(_FINISH, [job])


def _locked(connection: psycopg.Connection, booking: UUID) -> dict[str, Any]:
    row = connection.execute(_BOOKING, [booking]).fetchone()
    assert row
    sms: dict[str, Any] = json.loads(row[4])["initial_sms"]
    return sms


def _keep(connection: psycopg.Connection, booking: UUID, sms: Mapping[str, Any]) -> None:
    assert connection.execute(_KEEP, [json.dumps({"initial_sms": sms}), booking]).fetchone()


_LIMITS: Final = """
    SELECT set_config('statement_timeout', '15000', true), set_config('lock_timeout', '5000', true),
      set_config('row_security', 'on', true), set_config('TimeZone', 'UTC', true)
"""
_CLAIM: Final = """
    WITH due AS (
      SELECT id FROM jobs WHERE type = %s AND (status = 'queued' AND run_at <= now()
        OR status = 'running' AND run_at < now() - interval '5 minutes')
      ORDER BY run_at, id LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs t SET status = 'running', run_at = now(), attempts = t.attempts + 1 FROM due WHERE t.id = due.id
    RETURNING t.id, CAST(t.payload ->> 'pending_booking_id' AS uuid)
"""
_BOOKING: Final = """
    SELECT CAST(id AS text), token, customer_phone, status, CAST(metadata AS text), event_id, customer_name,
      customer_email, created_at, expires_at, coalesce(CAST(customer_id AS text), (
        SELECT min(CAST(b.customer_id AS text)) FROM bookings b WHERE b.pending_booking_id = p.id))
    FROM pending_bookings p WHERE id = %s FOR NO KEY UPDATE OF p
"""
_KEEP: Final = """
    UPDATE pending_bookings SET metadata = %s, updated_at = now() WHERE id = %s RETURNING CAST(metadata AS text)
"""
_FINISH: Final = "UPDATE jobs SET status = 'done', last_error = NULL, finished_at = now() WHERE id = %s"
