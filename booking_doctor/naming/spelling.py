"""
What people vary in a name, and what the application's tables and columns are called elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from booking_doctor.settings import COLUMNS

_SYNONYMS: Final = {
    **dict.fromkeys(("client", "guest", "patient", "patron", "attendee", "contact"), "customer"),
    **dict.fromkeys(("mobile", "cell", "cellphone", "telephone", "tel", "msisdn"), "phone"),
    **dict.fromkeys(("reservation", "appointment"), "booking"),
    **dict.fromkeys(("msg",), "message"),
}
_WORDS: Final = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+|[^\W_]")


@cache
def spelling(name: str) -> str:
    """
    A name without what people vary: case, separators, plurals, synonyms. ``guestMobileNumbers`` is ``customer_phone``.
    """
    words = [_SYNONYMS.get(word, word) for word in map(_singular, _WORDS.findall(name))]
    kept = [
        word
        for before, word in zip([None, *words], words, strict=False)
        if word != before and not (before == "phone" and word in {"number", "no", "nr"})
    ]
    return "_".join(kept)


def _singular(word: str) -> str:
    word = word.casefold()
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")) else word


@cache
def _spellings(own: str, others: str = "") -> frozenset[str]:
    return frozenset(map(spelling, (own, *others.split())))


@cache
def column_spellings(table: str, name: str) -> frozenset[str]:
    """
    How a column is spelled here and elsewhere.
    """
    return _spellings(name, f"{COLUMN_SPELLINGS.get(name, '')} {COLUMN_SPELLINGS.get(f'{table}.{name}', '')}")


@cache
def vocabulary(table: str) -> frozenset[str]:
    """
    Every spelling of every column, with and without the table's name before it.
    """
    known = frozenset[str]().union(*(column_spellings(table, name) for name in COLUMNS[table]))
    return known | {f"{entity}_{word}" for entity in ENTITIES[table] for word in known}


def bare(table: str, name: str) -> frozenset[str]:
    """
    The spelling as it is, and without the table's name before it: ``sms_body`` of a message is its ``body``.
    """
    whole = spelling(name)
    first, _, rest = whole.partition("_")
    return frozenset({whole, rest} if rest and first in ENTITIES[table] else {whole})


ENTITIES: Final = {
    "customers": frozenset({"customer", "person", "user"}),
    "events": frozenset({"event", "slot", "session"}),
    "pending_bookings": frozenset({"booking", "hold", "request"}),
    "bookings": frozenset({"booking"}),
    "messages": frozenset({"message", "sms"}),
    "jobs": frozenset({"job", "task"}),
    "audit_logs": frozenset({"audit", "log"}),
    "webhook_logs": frozenset({"webhook", "log"}),
}

TABLE_SPELLINGS: Final[Mapping[str, str]] = {
    "customers": "customer person people user member profile",
    "events": "event slot session class show",
    "pending_bookings": (
        "booking_request booking_hold hold booking_intent booking_draft draft_booking provisional_booking"
        " tentative_booking unconfirmed_booking temporary_booking"
    ),
    "bookings": "booking confirmed_booking",
    "messages": (
        "message sms text sms_message text_message message_log sms_log sms_history message_history sms_record"
        " twilio_message communication"
    ),
    "jobs": "job job_queue queue task task_queue sms_queue sms_job background_job scheduled_job queued_job",
    "audit_logs": "audit audit_log audit_trail audit_event activity_log change_log",
    "webhook_logs": "webhook webhook_log webhook_event webhook_call webhook_delivery twilio_webhook",
}
"""What else the tables are called elsewhere."""

COLUMN_SPELLINGS: Final[Mapping[str, str]] = {
    "created_at": "created created_on created_time creation_time creation_date date_created inserted_at created_ts",
    "updated_at": "updated updated_on modified_at last_modified changed_at date_updated",
    "status": "state",
    "metadata": "meta meta_data extra extras properties attributes context",
    "customer_id": "customer customer_uuid customer_uid customer_ref customer_key",
    "event_id": "event event_uuid event_ref slot_id session_id",
    "messages.customer_id": "person_id user_id",
    "messages.direction": "in_out flow",
    "messages.message_sid": (
        "sid twilio_sid twilio_id twilio_message_id provider_sid provider_id provider_message_id provider_message_sid"
        " external_id external_sid external_message_id"
    ),
    "messages.twilio_message_sid": "twilio_sid twilio_id",
    "messages.body": "text content message sms message_text sms_text text_body message_content",
    "messages.twilio_status": "delivery_status delivery_state provider_status carrier_status",
    "messages.from_number": "from from_phone sender sender_phone sender_number source_phone phone_from",
    "messages.to_number": "to to_phone recipient recipient_phone recipient_number destination destination_phone phone_to",
    "messages.message_type": "type kind channel",
    "messages.segments": "num_segments segment_count number_of_segments parts",
    "messages.cost_usd": "cost price_usd cost_in_usd",
    "messages.created_at": "sent_at date_sent sent_on timestamp logged_at",
    "messages.read_at": "read_on seen_at opened_at",
    "customers.name": "full_name display_name",
    "customers.email": "email_address mail e_mail",
    "customers.phone": "primary_phone phone_e164",
    "events.title": "name",
    "events.starts_at": "start start_at start_time start_date begins_at scheduled_at",
    "events.capacity": "seats max_attendees max_guests size",
    "pending_bookings.token": "confirmation_token confirm_token access_token public_token magic_token secret_token",
    "pending_bookings.customer_name": "name full_name",
    "pending_bookings.customer_email": "email email_address",
    "pending_bookings.customer_phone": "phone phone_e164",
    "pending_bookings.metadata": "data payload details",
    "pending_bookings.expires_at": "expires expiry expires_on expiration valid_until expired_at hold_until held_until",
    "pending_bookings.confirmed_at": "confirmed_on confirmation_time",
    "bookings.pending_booking_id": "pending_id booking_request_id hold_id request_id",
    "jobs.type": "kind name",
    "jobs.payload": "data args arguments params",
    "jobs.run_at": "scheduled_at scheduled_for due_at available_at execute_at",
    "jobs.attempts": "tries attempt_count retries retry_count",
    "jobs.last_error": "error error_message",
    "jobs.finished_at": "completed_at done_at",
    "audit_logs.action": "event operation",
    "audit_logs.entity_type": "object_type resource_type table_name",
    "audit_logs.entity_id": "object_id resource_id record_id",
    "audit_logs.details": "data payload metadata changes",
    "webhook_logs.source": "provider origin",
    "webhook_logs.event_type": "event type topic",
    "webhook_logs.payload": "body data request_body",
    "webhook_logs.error": "error_message",
}
"""What else the columns are called elsewhere: anywhere, or in one table. Twilio's ``price`` is negative, so it is no cost."""


def kinship(table: str, name: str) -> int:
    """
    3 for the doctor's own name, 2 for a known other one, 1 for one that ends like those, such as ``app_messages``.
    """
    if name == table:
        return 3
    words, known = spelling(name).split("_"), _spellings(table, TABLE_SPELLINGS[table])
    if "_".join(words) in known:
        return 2
    return int(any("_".join(words[start:]) in known for start in range(1, len(words))))
