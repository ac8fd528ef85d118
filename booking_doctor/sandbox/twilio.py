"""
A Twilio account as a state machine: who may use it, what it owns, and how its messages live.

No I/O and no clock of its own: time is what the caller's clock says, and every state is worked out when it is looked
at. Behaviour follows Twilio's pages "Messages resource" and "Outbound Message Status in Status Callbacks"; where Twilio
documents nothing, the docstring says what was chosen. Plain SMS and MMS only: no channels such as WhatsApp, no content
templates, no status callbacks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Final, Literal
from zlib import crc32

from msgspec.structs import replace

from booking_doctor.core.segments import segments
from booking_doctor.sandbox.twilio_log import (
    DELIVERED,
    Course,
    Delays,
    Message,
    MessageLog,
    Outcome,
    Page,
    Query,
    Stage,
    UnknownCursor,
)
from booking_doctor.sandbox.twilio_rules import MAGIC_SENDER, Attempt, Refused, refusals

TRIAL_PREFIX: Final = "Sent from your Twilio trial account - "

UNSENT: Final = frozenset({"accepted", "scheduled", "queued", "sending", "canceled", "failed", "receiving"})
"""Statuses without a ``date_sent``. That a failed message has none is a choice: Twilio does not document it."""

OPTED_OUT: Final = 21610


@dataclass(frozen=True, slots=True)
class Credential:
    """
    A name and a secret for Basic authentication.
    """

    sid: str
    secret: str = field(repr=False)


@dataclass(kw_only=True)
class TwilioAccount:
    """
    An account: its credentials, its numbers, its message log, and how the world treats its messages.

    Methods may be called from several threads, and everything but SIDs and numbers may be changed at any time.

    Attributes:
        clock: Gives the present, aware; must never run backwards.
        randomness: Where SIDs come from; seeded, it makes the same world every time.
        numbers: What it may send from, in E.164; the numbers of its services count too.
        services: The numbers of each messaging service, by its SID.
        short_codes: Told in their list; nothing is sent from them.
        account_sid: Made up if empty, as is `auth_token`.
        api_key: A standard key, which may do all but fetch the account.
        test_credential: SID and token of its test credentials.
        without_sms: Those of its numbers that cannot send SMS.
        outcomes: How messages to these recipients end; to all others, `default_outcome`.
        opted_out: Recipients who sent STOP.
        list_lag: How long a new message is missing from lists; fetching it works at once.
        logs_refusals: Whether a refused attempt is kept in the log, as Twilio does since 2024 ("Improvements on
            Programmable Messaging Error Visibility").
        status: ``active``, ``suspended`` or ``closed``; only told, because what else changes with it is undocumented.
        trial: Whether texts get the prefix of trial accounts.
        balance: As on the wire, in US dollars.
        price_per_segment: In US dollars.
    """

    clock: Callable[[], datetime]
    randomness: Random
    numbers: Sequence[str] = ()
    services: Mapping[str, Sequence[str]] = field(default_factory=dict)
    short_codes: Collection[str] = ()
    account_sid: str = ""
    auth_token: str = field(default="", repr=False)
    api_key: Credential | None = None
    test_credential: Credential | None = None
    without_sms: Collection[str] = ()
    delays: Delays = field(default_factory=Delays)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    default_outcome: Outcome = DELIVERED
    opted_out: set[str] = field(default_factory=set)
    list_lag: timedelta = timedelta(0)
    logs_refusals: bool = True
    status: str = "active"
    trial: bool = False
    balance: str = "20.00"
    price_per_segment: Decimal = Decimal("0.00790")

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._log = MessageLog()
        self.account_sid = self.account_sid or self._new_sid("AC")
        self.auth_token = self.auth_token or self._new_sid("")
        self.date_created = self.now()
        owned = [*self.numbers, *(number for pool in self.services.values() for number in pool)]
        self.number_sids = {number: self._new_sid("PN") for number in dict.fromkeys(owned)}

    @property
    def message_count(self) -> int:
        """
        How many messages the log holds.
        """
        return len(self._log)

    def now(self) -> datetime:
        """
        What the caller's clock says, in UTC.
        """
        return _utc(self.clock())

    def create(self, attempt: Attempt) -> Message:
        """
        Accept a message or refuse it; a refused attempt goes into the log too.

        Through a service, a recipient who opted out is found out later: the message is accepted, and then fails.

        Raises:
            Refused: With the first thing that is wrong.
        """
        with self._lock:
            now = self.now()
            code = next(self._refusals(attempt, now), None)
            if code == OPTED_OUT and attempt.service:
                return self._store(self._accepted(attempt, Outcome("failed", code), now))
            if code is None:
                return self._store(self._accepted(attempt, self._outcome(attempt), now))
            if self.logs_refusals:
                self._store(self._rejected(attempt, code, now))
            raise Refused(code, to=attempt.to, sender=attempt.sender)

    def rehearse(self, attempt: Attempt) -> Message:
        """
        Create with test credentials: only the magic sender works, there are no services, and nothing is stored.

        Raises:
            Refused: With the first thing that is wrong.
        """
        with self._lock:
            now = self.now()
            for code in refusals(attempt, senders=[MAGIC_SENDER], services={}, now=now):
                raise Refused(code, to=attempt.to, sender=attempt.sender)
            return self._accepted(attempt, DELIVERED, now)

    def plant(
        self,
        *,
        to: str,
        sender: str | None,
        body: str = "",
        status: str = "",
        direction: str = "outbound-api",
        service: str | None = None,
        date_created: datetime | None = None,
        date_sent: datetime | Literal["by status"] | None = "by status",
        date_updated: datetime | None = None,
        price: str | None = None,
        price_unit: str | None = "USD",
        error_code: int | None = None,
        num_segments: int | None = None,
        num_media: int = 0,
        sid: str = "",
    ) -> Message:
        """
        Put a message of any shape straight into the log, where it stays as it is.

        Args:
            status: Unless said, ``received`` if inbound and else ``delivered``.
            date_created: Unless said, now.
            date_sent: Unless said, `date_created` if the status is one of a sent message, else None.
            date_updated: Unless said, the later of the two.
            price: As on the wire, such as ``-0.00790``.
            num_segments: Unless said, counted.

        Raises:
            ValueError: A date has no time zone, or the SID is taken.
        """
        status = status or ("received" if direction == "inbound" else "delivered")
        created = self._date(date_created)
        if date_sent == "by status":
            date_sent = None if status in UNSENT else created
        stage = Stage(
            at=_utc(date_updated or max(created, date_sent or created)),
            status=status,
            sender=sender,
            segments=segments(body) if num_segments is None else num_segments,
            date_sent=date_sent and _utc(date_sent),
            price=price,
            error_code=error_code,
        )
        with self._lock:
            message = Message(
                sid=sid or self._new_sid("MM" if num_media else "SM"),
                to=to,
                body=body,
                direction=direction,
                service=service,
                media=num_media,
                price_unit=price_unit,
                date_created=created,
                stages=(stage,),
            )
            return self._store(message)

    def plant_living(
        self,
        attempt: Attempt,
        *,
        date_created: datetime | None = None,
        outcome: Outcome | None = None,
        sid: str = "",
    ) -> Message:
        """
        Put a message into the log as if it had been accepted at *date_created*: it has lived since, and lives on.

        Args:
            attempt: Not checked, so it may come from a number that is no longer owned.
            date_created: Unless said, now.
            outcome: Unless said, the recipient's.

        Raises:
            ValueError: The date has no time zone, or the SID is taken.
        """
        with self._lock:
            message = self._accepted(attempt, outcome or self._outcome(attempt), self._date(date_created))
            return self._store(replace(message, sid=sid or message.sid))

    def fetch(self, sid: str) -> Message:
        """
        The message with that SID.

        Raises:
            Refused: 20404; a message that was deleted cannot be told from one that never was.
        """
        with self._lock:
            message = self._log.get(sid)
        if message is None:
            raise Refused(20404, what=sid)
        return message

    def redact(self, sid: str) -> Message:
        """
        Blank the text and leave the rest.

        Raises:
            Refused: 20404.
        """
        with self._lock:
            now = self.now()
            return self._log.put(replace(self.fetch(sid), body="", touched=now), now)

    def cancel(self, sid: str) -> Message:
        """
        Call off a scheduled message.

        Raises:
            Refused: 20404, or 30409 for one that does not wait for its time (any more).
        """
        with self._lock:
            now = self.now()
            message = self.fetch(sid)
            stage = message.stage(now)
            if stage.status != "scheduled":
                raise Refused(30409)
            return self._log.put(replace(message, stages=(replace(stage, at=now, status="canceled"),)), now)

    def delete(self, sid: str) -> None:
        """
        Remove a message from the log for good.

        Raises:
            Refused: 20404.
        """
        with self._lock:
            self._log.remove(self.fetch(sid).sid)

    def page(self, query: Query, *, size: int, token: str | None = None) -> Page:
        """
        A part of the log, newest first; `MessageLog.page` says more.

        Raises:
            Refused: 20001 for a token that points nowhere.
        """
        with self._lock:
            try:
                return self._log.page(query, size=size, token=token, now=self.now(), lag=self.list_lag)
            except UnknownCursor:
                raise Refused(20001, what="Invalid PageToken") from None

    def messages(self) -> list[Message]:
        """
        The whole log, newest first, without any lag.
        """
        with self._lock:
            whole = self._log.page(Query(), size=len(self._log), token=None, now=self.now(), lag=timedelta(0))
        return list(whole.messages)

    def _refusals(self, attempt: Attempt, now: datetime) -> Iterator[int]:
        senders = {MAGIC_SENDER, *self.number_sids}.difference(self.without_sms)
        yield from refusals(attempt, senders=senders, services=self.services, now=now)
        if attempt.to in self.opted_out:
            yield OPTED_OUT

    def _outcome(self, attempt: Attempt) -> Outcome:
        return self.outcomes.get(attempt.to, self.default_outcome)

    def _accepted(self, attempt: Attempt, outcome: Outcome, created: datetime) -> Message:
        attempt = replace(attempt, body=TRIAL_PREFIX + attempt.body) if self.trial else attempt
        count = segments(attempt.body)
        course = Course(
            created=created,
            starts=(attempt.send_at if attempt.scheduled else None) or created,
            given=attempt.sender or None,
            sender=attempt.sender or self._pick(attempt),
            segments=count,
            price=f"-{self.price_per_segment * count:.5f}",
            outcome=outcome,
            delays=self.delays,
        )
        return self._message(attempt, created, course.stages())

    def _rejected(self, attempt: Attempt, code: int, now: datetime) -> Message:
        sender = attempt.sender or None
        stage = Stage(at=now, status="failed", sender=sender, segments=segments(attempt.body), error_code=code)
        service = attempt.service if attempt.service in self.services else ""
        return self._message(replace(attempt, service=service), now, (stage,))

    def _message(self, attempt: Attempt, created: datetime, stages: tuple[Stage, ...]) -> Message:
        return Message(
            sid=self._new_sid("MM" if attempt.media else "SM"),
            to=attempt.to or None,
            body=attempt.body,
            direction="outbound-api",
            service=attempt.service or None,
            media=attempt.media,
            price_unit="USD",
            date_created=created,
            stages=stages,
        )

    def _pick(self, attempt: Attempt) -> str | None:
        """
        The sender a service uses for this recipient, always the same one (Twilio: "Sticky Sender").
        """
        pool = self.services.get(attempt.service)
        return pool[crc32(attempt.to.encode()) % len(pool)] if pool else None

    def _store(self, message: Message) -> Message:
        if self._log.get(message.sid):
            taken = f"{message.sid} is in the log already"
            raise ValueError(taken)
        return self._log.put(message, self.now())

    def _new_sid(self, prefix: str) -> str:
        return f"{prefix}{self.randomness.getrandbits(128):032x}"

    def _date(self, given: datetime | None) -> datetime:
        return self.now() if given is None else _utc(given)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        naive = f"{moment} has no time zone"
        raise ValueError(naive)
    return moment.astimezone(UTC)
