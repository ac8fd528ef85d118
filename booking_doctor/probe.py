"""
One booking, initiated as a client does it, and how far it got.

The steps are those of a flow that works, in their order: the request is answered, a pending booking is stored, Twilio has
the text, the booking keeps its SID. Where they end is where to look for the fault. Nothing here knows a driver.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from booking_doctor.core.model import SID_SHAPE, TwilioMessage, same_number
from booking_doctor.core.ports import Clock, MessageFinder
from booking_doctor.errors import DoctorError
from booking_doctor.evidence import Queries
from booking_doctor.findings import JSONValue

INITIATE: Final = "/api/bookings/initiate"
NAME: Final = "booking-doctor probe"
"""The customer's name of a booking that was made to look where it goes."""

BETWEEN_READS_S: Final = 2.0
"""What a trigger or a second writer undoes, it has undone by then; counters are told within a second or two, too."""

_LIST_PATIENCE_S: Final = 10.0
_CLOCKS_APART: Final = timedelta(minutes=2)
_TOO_FAST_S: Final = 0.05
"""Twilio's answer takes longer; a flow that awaits it cannot be done in less."""


class Answer(Struct, frozen=True, kw_only=True):
    """
    What came back over HTTP.

    Attributes:
        kind: The content type, without its parameters.
        location: Where a redirect leads, host and path only.
        document: The JSON object; None for anything else.
    """

    status: int
    kind: str
    seconds: float
    location: str | None = None
    document: Mapping[str, Any] | None = None


class NoAnswer(Struct, frozen=True, kw_only=True):
    """
    Nothing came back.

    Attributes:
        sent: Whether the request may have been taken all the same.
    """

    reason: str
    sent: bool


class Client(Protocol):
    """
    Somebody who calls the application.
    """

    def post(self, path: str, body: Mapping[str, JSONValue]) -> Answer | NoAnswer:
        """
        Once, with the key, following no redirect.
        """


class Step(Struct, frozen=True, kw_only=True):
    """
    Something that had to happen.

    Attributes:
        happened: None where it could not be looked at.
        evidence: Why we say so.
    """

    name: str
    happened: bool | None
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """
    What a probe left behind.

    Attributes:
        booking_id: The booking it made; None where none is known.
        token: What confirms it.
        warnings: What is odd and stops nothing.
    """

    host: str
    steps: tuple[Step, ...]
    booking_id: str | None = None
    token: str | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def last_step(self) -> str:
        """
        The last that happened before one that did not, or of which it is not known.
        """
        last = "nothing"
        for step in self.steps:
            if not step.happened:
                break
            last = step.name
        return last

    @property
    def stopped_at(self) -> Step | None:
        """
        The first that did not happen.
        """
        return next((step for step in self.steps if step.happened is False), None)

    @property
    def unseen(self) -> tuple[Step, ...]:
        """
        Those that could not be looked at.
        """
        return tuple(step for step in self.steps if step.happened is None)


class Target(Struct, frozen=True, kw_only=True):
    """
    Whose booking is made.

    Attributes:
        host: Of the application.
        phone: The caller's own, in E.164.
        region: Country of phone numbers in national format.
    """

    host: str
    event_id: str
    phone: str
    region: str


class Probe(Struct, frozen=True, kw_only=True):
    """
    Somebody who makes a booking and follows it.

    Attributes:
        database: None, with the reason in *blind*, where it cannot be asked; *texts* likewise.
    """

    client: Client
    clock: Clock
    database: Queries | None
    texts: MessageFinder | None
    blind: Mapping[str, str] = msgspec.field(default_factory=dict)

    def dry(self, target: Target) -> Traces:
        """
        Send a body that no initiate route can take, and see what answers. Nothing is stored and nobody is texted.
        """
        answer = self.client.post(INITIATE, {})
        return Traces(host=target.host, steps=(_answered(answer), _judged(answer)))

    def follow(self, target: Target) -> Traces:
        """
        Make a booking and look for each of its traces.
        """
        since, before = self.clock.now() - _CLOCKS_APART, self._counters()
        body = {"event_id": target.event_id, "customer_name": NAME, "customer_phone": target.phone}
        answer = self.client.post(INITIATE, body)
        told = answer.document or {} if isinstance(answer, Answer) else {}
        reached = _answered(answer)
        if isinstance(answer, NoAnswer) and not answer.sent:
            return Traces(host=target.host, steps=(reached,))
        accepted = _accepted(answer)
        first = self._stored(target, told, since)
        self.clock.sleep(BETWEEN_READS_S)
        second = self._stored(target, told, since)
        sid = _sid_of(second) or _sid_of(first) or _text(_sms(told).get("message_sid"))
        steps = (
            reached,
            accepted,
            _row_step(second, self.blind),
            self._texted(target, sid, since, told),
            _kept(first, second, self.blind),
        )
        return Traces(
            host=target.host,
            steps=steps,
            booking_id=_text(told.get("booking_id")) or (second.id if isinstance(second, _Row) else None),
            token=_text(told.get("token")),
            warnings=tuple(_warnings(answer, told, before, self._counters())),
        )

    # what the database has

    def _stored(self, target: Target, told: Mapping[str, Any], since: datetime) -> _Row | DoctorError | None:
        """
        The booking's row; None where there is none.
        """
        if self.database is None:
            return None
        booking_id = _text(told.get("booking_id"))
        try:
            rows = self.database.rows(_BOOKINGS, id=booking_id, since=since)
        except DoctorError as error:
            return error
        ours = [row for row in rows if booking_id or same_number(row["phone"], target.phone, target.region)]
        return _Row(id=ours[-1]["id"], metadata=_parsed(ours[-1]["metadata"])) if ours else None

    def _counters(self) -> Mapping[str, int] | None:
        if self.database is None:
            return None
        try:
            rows = self.database.rows(_COUNTERS, relation=self.database.relation("pending_bookings"))
        except DoctorError:
            return None
        return rows[0] if rows else None

    # what Twilio has

    def _texted(self, target: Target, sid: str | None, since: datetime, told: Mapping[str, Any]) -> Step:
        name = "texted"
        if self.texts is None:
            return Step(name=name, happened=None, evidence=self.blind["Twilio"])
        try:
            texts = self.texts.sent_to(target.phone, since, within_s=_LIST_PATIENCE_S)
        except DoctorError as error:
            return Step(name=name, happened=None, evidence=error.sentence)
        ours = [text for text in texts if not text.inbound and (sid is None or text.sid == sid)]
        if ours:
            return _text_step(ours[-1])
        code = _sms(told).get("code")
        if code:
            return Step(name=name, happened=False, evidence=f"Twilio refused the text with code {code}")
        if sid:
            return Step(name=name, happened=None, evidence=f"{sid} is not in Twilio's list, which may lag by minutes")
        return Step(name=name, happened=False, evidence="Twilio's list has no text to that phone since the call")


_BOOKINGS: Final = """
SELECT CAST({pending_bookings.id} AS text) AS id, {pending_bookings.customer_phone} AS phone,
  CAST({pending_bookings.metadata} AS text) AS metadata
FROM {pending_bookings}
WHERE CASE WHEN CAST(:id AS text) IS NULL THEN {pending_bookings.created_at} >= :since
  ELSE CAST({pending_bookings.id} AS text) = :id END
ORDER BY {pending_bookings.created_at}, {pending_bookings.id}
"""

_COUNTERS: Final = """
SELECT n_tup_ins AS inserted, n_tup_upd AS updated FROM pg_stat_user_tables WHERE relid = to_regclass(:relation)
"""


class _Row(Struct, frozen=True, kw_only=True):
    id: str
    metadata: Any


def _parsed(metadata: str | None) -> Any:  # noqa: ANN401  any JSON
    try:
        return json.loads(metadata or "null")
    except ValueError:
        return metadata


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _sms(told: Mapping[str, Any]) -> Mapping[str, Any]:
    sms = told.get("sms")
    return sms if isinstance(sms, Mapping) else {}


def _sid_of(row: _Row | DoctorError | None) -> str | None:
    if not isinstance(row, _Row) or not isinstance(row.metadata, Mapping):
        return None
    sms = row.metadata.get("initial_sms")
    sid = _text(sms.get("message_sid")) if isinstance(sms, Mapping) else None
    return sid if sid and SID_SHAPE.fullmatch(sid) else None


# --- steps -----------------------------------------------------------------------------------------------------------


def _answered(answer: Answer | NoAnswer) -> Step:
    name = "answered"
    if isinstance(answer, NoAnswer):
        doubt = "; whether it was taken is not known" if answer.sent else ""
        return Step(name=name, happened=False, evidence=f"{answer.reason}{doubt}")
    return Step(name=name, happened=True, evidence=f"{_described(answer)} after {answer.seconds * 1000:,.0f} ms")


def _described(answer: Answer) -> str:
    return f"HTTP {answer.status}, {answer.kind or 'no content type'}"


def _accepted(answer: Answer | NoAnswer) -> Step:
    """
    Whether the API said that it has made a booking.
    """
    name = "accepted"
    if isinstance(answer, NoAnswer):
        return Step(name=name, happened=None, evidence="there was no answer")
    refused = _not_the_api(answer)
    if refused:
        return Step(name=name, happened=False, evidence=refused)
    told = answer.document or {}
    if not _text(told.get("booking_id")):
        return Step(name=name, happened=False, evidence=f"the answer names no booking_id ({_described(answer)})")
    state = _text(_sms(told).get("state"))
    return Step(
        name=name, happened=True, evidence=f"the text's state is {state}" if state else "it says nothing of the text"
    )


def _not_the_api(answer: Answer) -> str | None:
    """
    Why this is no answer of an API that took the booking.
    """
    if 300 <= answer.status < 400:
        return f"it redirects to {answer.location or 'nowhere'} (HTTP {answer.status}), and a client's body may be lost there"
    if answer.status in {401, 403}:
        return f"the key was refused, or something stands before the application ({_described(answer)})"
    if answer.document is None:
        return f"the answer is no JSON ({_described(answer)}): something else answers there"
    if answer.status >= 400:
        title = _text(answer.document.get("detail")) or _text(answer.document.get("title")) or "no reason is told"
        return f"it was refused (HTTP {answer.status}): {title[:200]}"
    return None


def _judged(answer: Answer | NoAnswer) -> Step:
    """
    Which code it was that refused a body without anything in it.
    """
    name = "refused as the corrected API does"
    if isinstance(answer, NoAnswer):
        return Step(name=name, happened=None, evidence="there was no answer")
    problem = answer.kind == "application/problem+json" and answer.status == 422
    if problem:
        return Step(name=name, happened=True, evidence="problem+json that names what is missing")
    other = _not_the_api(answer) or f"an empty body was taken ({_described(answer)})"
    return Step(name=name, happened=False, evidence=other)


def _row_step(row: _Row | DoctorError | None, blind: Mapping[str, str]) -> Step:
    name = "stored"
    if isinstance(row, DoctorError):
        return Step(name=name, happened=None, evidence=str(row))
    if "database" in blind:
        return Step(name=name, happened=None, evidence=blind["database"])
    if row is None:
        why = "no pending booking of it is in this database; the application may write to another"
        return Step(name=name, happened=False, evidence=why)
    return Step(name=name, happened=True, evidence=f"pending booking {row.id}")


def _text_step(text: TwilioMessage) -> Step:
    refused = f", error {text.error_code}" if text.error_code else ""
    told = f"{text.sid} is {text.status}{refused}"
    return Step(name="texted", happened=not text.rejected, evidence=told)


def _kept(first: _Row | DoctorError | None, second: _Row | DoctorError | None, blind: Mapping[str, str]) -> Step:
    name = "kept in the metadata"
    stored = _row_step(second, blind)
    if not isinstance(second, _Row):
        return Step(name=name, happened=stored.happened, evidence=stored.evidence)
    sid, before = _sid_of(second), _sid_of(first)
    if sid:
        return Step(name=name, happened=True, evidence=f"metadata.initial_sms.message_sid is {sid}")
    if before:
        return Step(name=name, happened=False, evidence=f"{before} was there, and was gone {BETWEEN_READS_S:g} s later")
    shape = "empty" if second.metadata in ({}, None) else "without a SID"
    return Step(
        name=name, happened=False, evidence=f"the metadata is {shape}, {BETWEEN_READS_S:g} s after the answer, too"
    )


def _warnings(
    answer: Answer | NoAnswer,
    told: Mapping[str, Any],
    before: Mapping[str, int] | None,
    after: Mapping[str, int] | None,
) -> Iterator[str]:
    if isinstance(answer, Answer) and answer.status < 300 and answer.seconds < _TOO_FAST_S:
        yield f"it answered in {answer.seconds * 1000:,.0f} ms, faster than Twilio does: the text may not be awaited"
    debug = told.get("debug")
    if isinstance(debug, Mapping):
        yield from (f"the application warns: {str(warning)[:200]}" for warning in debug.get("warnings") or ())
    if before and after:
        inserted, updated = (after[name] - before[name] for name in ("inserted", "updated"))
        yield f"meanwhile pending_bookings had {inserted:,} rows inserted and {updated:,} updated, by all who write"
