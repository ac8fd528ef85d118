"""
Where bookings are kept: the booking flow's store on PostgreSQL.

It writes as the application does: row level security applies to it, and a write that the database lets fall silently is an
error here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from psycopg import Cursor

from booking_doctor.adapters.installation import Installation, is_text
from booking_doctor.adapters.postgres import Database
from booking_doctor.core.agreement import expressible
from booking_doctor.core.booking import (
    JOB_TYPE,
    Customer,
    Event,
    InitialSms,
    Job,
    JobOutcome,
    JobState,
    MessageRow,
    PendingBooking,
)
from booking_doctor.core.metadata import fingerprint_in, holds, metadata_of, metadata_with, sms_in
from booking_doctor.errors import DatabaseError, NothingWritten, SchemaMismatch

JOBS_CHANNEL: Final = "booking_doctor_jobs"
"""Notified in the transaction that queues a text (PostgreSQL: NOTIFY)."""

_LIMITS: Final = {"statement_timeout": "15000"}
"""A customer waits; who would wait longer is better told so."""

_UNIMPORTANT: Final = {"statement_timeout": "5000", "synchronous_commit": "off"}

_PHONES: Final = 0x70686F6E
"""The first key of the advisory locks on phones: "phon" in ASCII; the second is the phone's hash."""

_BOOKINGS: Final = "pending_bookings"
_METADATA: Final = "pending_bookings.metadata"

_Row = dict[str, Any]


class DatabaseStore:
    """
    Implements `booking_doctor.core.ports.Store`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._here = Installation(database)

    @contextmanager
    def begin(self) -> Iterator[DatabaseUnitOfWork]:
        """
        A transaction in which row level security applies.
        """
        with self._database.acting(_LIMITS) as cursor:
            yield DatabaseUnitOfWork(cursor, self._here)

    def note(self, action: str, booking_id: str | None, details: Mapping[str, Any]) -> str | None:
        """
        In a transaction of its own, for whose sake nobody waits for the disk.
        """
        try:
            if not self._here.has("audit_logs"):
                return None
            entry = {
                "action": action,
                "entity_type": "pending_booking",
                "entity_id": booking_id,
                "details": msgspec.json.encode(details).decode(),
            }
            with self._database.acting(_UNIMPORTANT) as cursor:
                DatabaseUnitOfWork(cursor, self._here).insert("audit_logs", entry, back="action")
        except DatabaseError as error:
            return error.summary
        return None

    def close(self) -> None:
        """
        Give all connections back.
        """
        self._database.close()


class DatabaseUnitOfWork:
    """
    Implements `booking_doctor.core.ports.UnitOfWork` on one connection.
    """

    def __init__(self, cursor: Cursor[_Row], here: Installation) -> None:
        self._cursor = cursor
        self._here = here
        self._known: dict[str, _Row] = {}

    def _rows(self, statement: str, **parameters: object) -> Sequence[_Row]:
        return self._cursor.execute(self._here.sql(statement), parameters).fetchall()

    def insert(self, table: str, values: Mapping[str, object], *, once: str = "", back: str = "id") -> str | None:
        """
        Insert what there are columns for. What *back* is in the new row; None where none was inserted.
        """
        values = self._here.values(table, values)
        rows = self._rows(self._here.insert(table, values, once=once, back=back), **values)
        return rows[0][back] if rows else None

    def _inserted(self, table: str, values: Mapping[str, object]) -> str:
        row_id = self.insert(table, values)
        if row_id is None:
            raise NothingWritten(table)
        return row_id

    # bookings

    def event(self, event_id: str) -> Event | None:
        """
        By id; any, where there is no such table.
        """
        if not self._here.has("events"):
            return Event(id=event_id, title=None)
        if not self._here.is_id("events", event_id):
            return None
        title = self._here.read("events", ("title",), "text")
        rows = self._rows(f"SELECT {title} FROM {{events}} t WHERE t.{{events.id}} = %(id)s", id=event_id)  # noqa: S608  names of ours
        return Event(id=event_id, title=rows[0]["title"]) if rows else None

    def add_booking(self, booking: PendingBooking) -> str | None:
        """
        One insert; the id is the database's own unless the booking has one.
        """
        values = {
            "token": booking.token,
            "event_id": booking.event_id,
            "customer_name": booking.customer_name,
            "customer_email": booking.customer_email,
            "customer_phone": booking.customer_phone,
            "status": booking.status,
            "expires_at": booking.expires_at,
            "created_at": booking.created_at,
            "metadata": metadata_of(booking),
        }
        if booking.id and not self._here.is_id(_BOOKINGS, booking.id):
            message = "an idempotency key needs pending_bookings.id to be a uuid or a text"
            raise SchemaMismatch(message, hint="leave the key out, or change the column")
        if booking.id:
            return self.insert(_BOOKINGS, {"id": booking.id, **values}, once="id")
        return self._inserted(_BOOKINGS, values)

    def booking(self, booking_id: str) -> PendingBooking | None:
        """
        By id.
        """
        return self._by_id(booking_id)

    def booking_with(self, token: str) -> PendingBooking | None:
        """
        By token, exactly as it is written.
        """
        return self._booking("t.{pending_bookings.token} = %(token)s", token=token) if is_text(token) else None

    def locked(self, booking_id: str) -> PendingBooking | None:
        """
        ``FOR NO KEY UPDATE``, which passes over a row that a policy keeps from being changed.
        """
        found = self._by_id(booking_id, "FOR NO KEY UPDATE OF t")
        if found is None and self.booking(booking_id) is not None:
            raise NothingWritten(_METADATA, "the row can be seen and not be changed")
        return found

    def _by_id(self, booking_id: str, lock: str = "") -> PendingBooking | None:
        if not self._here.is_id(_BOOKINGS, booking_id):
            return None
        return self._booking(f"t.{{pending_bookings.id}} = %(id)s {lock}", id=booking_id)

    def _booking(self, condition: str, **parameters: object) -> PendingBooking | None:
        rows = self._rows(f"{self._here.booking} WHERE {condition}", **parameters)
        if not rows:
            return None
        self._known[rows[0]["id"]] = rows[0]
        return _booking(rows[0])

    def keep(self, booking_id: str, sms: InitialSms) -> None:
        """
        One update of a locked row, which must come out as it was to be: a trigger may have its own idea.
        """
        metadata = metadata_with(self._known[booking_id]["metadata"], sms)
        if metadata is None:
            raise NothingWritten(_METADATA, "what it holds is no JSON object, and was left as it is")
        rows = self._update_booking(booking_id, {"metadata": metadata}, back="metadata")
        if len(rows) != 1:
            raise NothingWritten(_METADATA, f"{len(rows) or 'no'} rows were written")
        self._known[booking_id] |= rows[0]
        if not holds(rows[0]["metadata"], sms):
            raise NothingWritten(_METADATA, "a trigger stored something else")

    def _update_booking(self, booking_id: str, values: Mapping[str, object], back: str) -> Sequence[_Row]:
        # NOTE: "now" is a date to PostgreSQL: when the transaction began.
        values = self._here.values(_BOOKINGS, {**values, "updated_at": "now"})
        update = self._here.update(_BOOKINGS, values, "{pending_bookings.id} = %(row_id)s", back=back)
        return self._rows(update, row_id=booking_id, **values)

    # customers

    def queue_for(self, phone: str) -> None:
        """
        An advisory lock on the phone, until the transaction ends.
        """
        self._rows("SELECT pg_advisory_xact_lock(%(phones)s, hashtext(%(phone)s))", phones=_PHONES, phone=phone)

    def customers_with(self, phone: str) -> Sequence[Customer]:
        """
        Those whose phone ends in the same digits.
        """
        texts = self._here.read("customers", ("id", "phone", "email"), "text")
        times = self._here.read("customers", ("created_at",), "timestamptz")
        question = f"SELECT {texts}, {times} FROM {{customers}} t WHERE {_SAME_ENDING} ORDER BY t.{{customers.id}}"  # noqa: S608  names of ours
        digits = re.sub("[^0-9]", "", phone)
        rows = self._rows(question, ending=digits[-7:], others=_DIGITS.replace(digits[-1:], ""))
        return [Customer(**{**row, "created_at": _utc(row["created_at"])}) for row in rows]

    def add_customer(self, booking: PendingBooking) -> str:
        """
        One insert.
        """
        who = {"name": booking.customer_name, "email": booking.customer_email, "phone": booking.customer_phone}
        return self._inserted("customers", who)

    def confirm(self, booking: PendingBooking, customer_id: str, now: datetime) -> None:
        """
        One update and, where there is a table for it, one insert.
        """
        values = {"status": "confirmed", "customer_id": customer_id, "confirmed_at": now}
        if [row["status"] for row in self._update_booking(booking.id, values, back="status")] != ["confirmed"]:
            what = "pending_bookings.status"
            raise NothingWritten(what)
        # NOTE: older code may have made it, and not been able to change the pending one.
        if self._here.has("bookings") and not self._known[booking.id]["lasts"]:
            lasting = {
                "event_id": booking.event_id,
                "customer_id": customer_id,
                "pending_booking_id": booking.id,
                "status": "confirmed",
            }
            self._inserted("bookings", lasting)

    # messages

    def recorded_status(self, message_sid: str) -> str | None:
        """
        Twilio's word where there is a column for it, else the application's; the row is locked.
        """
        question = (
            f"SELECT {self._here.read('messages', ('twilio_status', 'status'), 'text')} FROM {{messages}} t"  # noqa: S608  names of ours
            f" WHERE {self._here.with_sid} ORDER BY t.{{messages.id}} FOR NO KEY UPDATE"
        )
        rows = self._rows(question, sid=message_sid)
        return rows[0]["twilio_status"] or rows[0]["status"] or "" if rows else None

    def record(self, row: MessageRow) -> None:
        """
        One insert. An outbound text is read at once.
        """
        values = {
            "customer_id": row.customer_id,
            "direction": "outbound",
            "message_sid": row.message_sid,
            "twilio_message_sid": row.message_sid,
            "body": row.body,
            "status": expressible(row.status, self._here.statuses) if row.status else None,
            "twilio_status": row.status,
            "from_number": row.from_number,
            "to_number": row.to_number,
            "segments": row.segments,
            "cost_usd": row.cost_usd,
            "created_at": row.created_at,
            "read_at": row.created_at,
        }
        if self.insert("messages", values, back="message_sid") != row.message_sid:
            what = "messages"
            raise NothingWritten(what)

    def advance(self, message_sid: str, status: str) -> None:
        """
        Both columns, the first in the words that it takes.
        """
        words = {"status": expressible(status, self._here.statuses), "twilio_status": status}
        values = self._here.values("messages", {name: word for name, word in words.items() if word})
        update = self._here.update("messages", values, self._here.with_sid) if values else None
        if update is not None and not self._rows(update, sid=message_sid, **values):
            what = "messages.status"
            raise NothingWritten(what)

    def claimed(self, message_sids: Collection[str], *, but_for: PendingBooking) -> frozenset[str]:
        """
        By both columns of ``messages``, and by the text of all other bookings' metadata.
        """
        columns = self._here.present("messages", ("message_sid", "twilio_message_sid"))
        others = "CAST(t.{messages.customer_id} AS text) IS DISTINCT FROM %(customer_id)s"
        rows = (
            f"EXISTS (SELECT FROM {{messages}} t WHERE t.{{messages.{name}}} = s.sid AND {others})" for name in columns
        )
        bookings = (
            "EXISTS (SELECT FROM {pending_bookings} t WHERE t.{pending_bookings.id} <> %(booking_id)s"
            " AND position(s.sid IN CAST(t.{pending_bookings.metadata} AS text)) > 0)"
        )
        taken = " OR ".join([*rows, bookings])
        question = f"SELECT s.sid FROM unnest(CAST(%(sids)s AS text[])) AS s(sid) WHERE {taken}"  # noqa: S608  names of ours
        ours = {"booking_id": but_for.id, "customer_id": but_for.customer_id}
        return frozenset(row["sid"] for row in self._rows(question, sids=list(message_sids), **ours))

    # the queue

    def add_job(self, booking: PendingBooking, run_at: datetime) -> str:
        """
        One insert, and a notification that is delivered when the transaction ends.
        """
        self._need_queue()
        payload = {
            "pending_booking_id": booking.id,
            "attempt_id": booking.sms.attempt_id if booking.sms else None,
            "to": booking.sms.to_number if booking.sms else booking.customer_phone,
            "body": booking.sms.body if booking.sms else None,
        }
        told = msgspec.json.encode(payload).decode()
        job_id = self._inserted("jobs", {"type": JOB_TYPE, "payload": told, "run_at": run_at, "status": "queued"})
        self._rows("SELECT pg_notify(%(channel)s, '')", channel=JOBS_CHANNEL)
        return job_id

    def _need_queue(self) -> None:
        self._here.need("jobs", "id", "type", "payload", "run_at", "status", "attempts")

    def claim_jobs(self, now: datetime, *, lost_before: datetime, limit: int) -> Sequence[Job]:
        """
        ``FOR UPDATE SKIP LOCKED``: what another worker is just taking is passed over.
        """
        self._need_queue()
        rows = self._rows(_CLAIM, type=JOB_TYPE, now=now, lost_before=lost_before, limit=limit)
        return [_job(row, now) for row in rows]

    def give_back(self, job: Job) -> None:
        """
        One update, of a job that is still ours.
        """
        values = {"status": "queued", "attempts": job.attempts - 1}
        update = self._here.update("jobs", values, f"{{jobs.id}} = %(row_id)s AND {_OURS}")
        self._rows(update, row_id=job.id, tries=job.attempts, **values)

    def finish(self, job: Job, outcome: JobOutcome, now: datetime) -> None:
        """
        One update, of a job that is still ours, or that is done whoever has it.
        """
        done = outcome.state is JobState.DONE
        became = {
            "status": str(outcome.state),
            "last_error": outcome.reason,
            **({} if outcome.run_at is None else {"run_at": outcome.run_at}),
            **({} if outcome.state is JobState.QUEUED else {"finished_at": now}),
        }
        values = self._here.values("jobs", became)
        ours = "" if done else f" AND {_OURS}"
        tries = {} if done else {"tries": job.attempts}
        self._rows(
            self._here.update("jobs", values, f"{{jobs.id}} = %(row_id)s{ours}"), row_id=job.id, **tries, **values
        )


_DIGITS: Final = "0123456789"

# NOTE: no index can serve this, so every customer is looked at; nine of ten are passed over for their last character.
_SAME_ENDING: Final = f"""
position(right(CAST(t.{{customers.phone}} AS text), 1) IN %(others)s) = 0 AND right(translate(CAST(t.{{customers.phone}} AS text),
  translate(CAST(t.{{customers.phone}} AS text), '{_DIGITS}', ''), ''), 7) = %(ending)s
"""

_OURS: Final = "CAST({jobs.status} AS text) = 'running' AND {jobs.attempts} = %(tries)s"

# NOTE: a job whose run_at is null is nobody's: whether it is meant to be sent now, or at all, nothing says.
_CLAIM: Final = """
WITH due AS (
  SELECT {jobs.id} AS id, CAST({jobs.status} AS text) = 'running' AS lost FROM {jobs} WHERE CAST({jobs.type} AS text) = %(type)s AND (
    CAST({jobs.status} AS text) = 'queued' AND {jobs.run_at} <= %(now)s
    OR CAST({jobs.status} AS text) = 'running' AND {jobs.run_at} < %(lost_before)s)
  ORDER BY {jobs.run_at}, {jobs.id} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE {jobs} t SET {jobs.status} = 'running', {jobs.run_at} = %(now)s, {jobs.attempts} = t.{jobs.attempts} + 1
FROM due WHERE t.{jobs.id} = due.id
RETURNING CAST(t.{jobs.id} AS text) AS id, CAST(t.{jobs.payload} AS text) AS payload, t.{jobs.attempts} AS attempts, due.lost
"""


def _booking(row: _Row) -> PendingBooking:
    return PendingBooking(
        id=row["id"],
        token=row["token"],
        event_id=row["event_id"],
        customer_name=row["customer_name"],
        customer_email=row["customer_email"],
        customer_phone=row["customer_phone"],
        created_at=_utc(row["created_at"]) or datetime.min.replace(tzinfo=UTC),
        expires_at=_utc(row["expires_at"]),
        status=row["status"],
        customer_id=row["customer_id"],
        sms=sms_in(row["metadata"]),
        fingerprint=fingerprint_in(row["metadata"]),
    )


class _Payload(msgspec.Struct):
    """
    What a job's payload may say, by the names that applications give it.
    """

    pending_booking_id: str | int | None = None
    booking_id: str | int | None = None
    to: str | None = None
    customer_phone: str | None = None
    body: str | None = None


def _job(row: _Row, now: datetime) -> Job:
    try:
        told = msgspec.json.decode(row["payload"] or "{}", type=_Payload)
    except msgspec.DecodeError:
        told = _Payload()
    booking_id = told.pending_booking_id or told.booking_id
    return Job(
        id=row["id"],
        booking_id=None if booking_id is None else str(booking_id),
        run_at=now,
        attempts=row["attempts"],
        lost=row["lost"],
        to_number=told.to or told.customer_phone,
        body=told.body,
    )


def _utc(moment: datetime | None) -> datetime | None:
    # NOTE: a column without zone is read as if it had the transaction's, which is UTC.
    return moment and moment.astimezone(UTC)
