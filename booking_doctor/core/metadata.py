"""
``pending_bookings.metadata``: where a booking keeps its text until confirm records it.

Other programs write there too, and have written all sorts of things. What cannot be read is none, and nothing that is not
ours is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec
from msgspec import structs

from booking_doctor.core.booking import InitialSms, PendingBooking, SmsState
from booking_doctor.core.model import SID_SHAPE, iso

_SMS: Final = "initial_sms"
_FINGERPRINT: Final = "request_fingerprint"

_Document = dict[str, msgspec.Raw]

# --- reading ---------------------------------------------------------------------------------------------------------


def sms_in(metadata: str | None) -> InitialSms | None:
    """
    The text that metadata describes, whoever wrote it; None where it names neither a SID nor a state.

    A SID of the wrong shape is none. Other fields that cannot be read are left out.
    """
    document = _read(metadata).get(_SMS)
    if not isinstance(document, dict):
        return None
    sid = document.get("message_sid")
    sid = sid if isinstance(sid, str) and SID_SHAPE.fullmatch(sid) else None
    state = SmsState.SENT if sid else _state(document.get("state"))
    if state is None:
        return None
    told = {name: read(document.get(name)) for name, read in _READERS.items()}
    return InitialSms(state=state, message_sid=sid, **told)


def fingerprint_in(metadata: str | None) -> str | None:
    """
    The fingerprint of the request that made the booking, where it came with an idempotency key.
    """
    return _text(_read(metadata).get(_FINGERPRINT))


def _read(metadata: str | None) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(metadata or "null")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


_STATES: Final = frozenset(SmsState)
_OTHERS_WORDS: Final = {"rejected": SmsState.FAILED}
"""What other programs call a state."""

WITHOUT_SID: Final = frozenset({SmsState.FAILED, SmsState.QUEUED, SmsState.DROPPED, *_OTHERS_WORDS})
"""States, by anybody's word, in which a text has no SID and is none the worse for it: it was not sent, or not yet."""


def _state(word: object) -> SmsState | None:
    if not isinstance(word, str):
        return None
    return _OTHERS_WORDS.get(word) or (SmsState(word) if word in _STATES else None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _amount(value: object) -> Decimal | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return abs(amount) if amount.is_finite() else None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        # NOTE: a time without zone is UTC, as everything is that Twilio and PostgreSQL tell an application.
        return moment and (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    **dict.fromkeys(("attempt_id", "body", "from_number", "to_number", "status", "error"), _text),
    **dict.fromkeys(("segments", "error_code"), _number),
    **dict.fromkeys(("attempted_at", "sent_at"), _moment),
    "cost_usd": _amount,
}

# --- writing ---------------------------------------------------------------------------------------------------------


def metadata_of(booking: PendingBooking) -> str:
    """
    The metadata of a booking that is to be stored.
    """
    document: dict[str, object] = {_SMS: _document(booking.sms)} if booking.sms else {}
    if booking.fingerprint:
        document[_FINGERPRINT] = booking.fingerprint
    return msgspec.json.encode(document).decode()


def metadata_with(metadata: str | None, sms: InitialSms) -> str | None:
    """
    The metadata with the text as it now stands; None where it is no JSON object, and so cannot hold it.
    """
    try:
        # NOTE: what else is in there stays as the bytes it is; reading and writing it would change numbers.
        document = msgspec.json.decode(metadata or "{}", type=_Document | None) or {}
        others = msgspec.json.decode(document.get(_SMS, b"null"), type=_Document | None) or {}
    except (msgspec.DecodeError, RecursionError):
        return None
    merged = msgspec.Raw(msgspec.json.encode({**others, **_document(sms)}))
    return msgspec.json.encode({**document, _SMS: merged}).decode()


def holds(metadata: str | None, sms: InitialSms) -> bool:
    """
    Whether the metadata has the text exactly as it was to be stored.
    """
    stored = _read(metadata).get(_SMS)
    return isinstance(stored, dict) and _document(sms).items() <= stored.items()


def _document(sms: InitialSms) -> dict[str, str | int | float | None]:
    """
    Every field, so that what no longer holds does not stay behind.
    """
    return {name: _written(value) for name, value in structs.asdict(sms).items()}


def _written(value: object) -> Any:  # noqa: ANN401  what JSON can hold
    if isinstance(value, datetime):
        return iso(value)
    # NOTE: a JSON number, as the application's own code writes it.
    return float(value) if isinstance(value, Decimal) else value
