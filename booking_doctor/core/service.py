"""
The use cases of the booking flow: open a transaction, decide, store, text, store what became of it.

What is decided, and why, is in `booking_doctor.core.flow`. Every use case ends with a debug report, which callers get and
``audit_logs`` keeps.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from msgspec.structs import replace

from booking_doctor.core import flow
from booking_doctor.core.booking import (
    BookingRequest,
    Confirmed,
    Initiated,
    PendingBooking,
    Resolution,
    StatusReport,
    StatusTaken,
)
from booking_doctor.core.flow import Strategy, Terms
from booking_doctor.core.model import TwilioMessage
from booking_doctor.core.ports import Clock, Ids, MessageFinder, Messenger, Store, UnitOfWork
from booking_doctor.core.texting import Texting, there
from booking_doctor.core.trail import Trail, audited
from booking_doctor.core.worker import TextQueue
from booking_doctor.errors import BookingUnknown

_STORE_AGAIN_S: Final = (0.2, 1.0)
"""After so many seconds the outcome of a text is tried to be stored again, where the database was gone; somebody waits."""


class SystemClock:
    """
    The clock of the machine.
    """

    def now(self) -> datetime:
        """
        Now.
        """
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """
        Seconds.
        """
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """
        Wait.
        """
        time.sleep(seconds)


class RandomIds:
    """
    Ids that nobody can guess.
    """

    def token(self) -> str:
        """
        128 bits, short enough for a link in a text.
        """
        return secrets.token_urlsafe(16)

    def attempt(self) -> str:
        """
        A random UUID.
        """
        return str(uuid4())


class BookingService:
    """
    Initiates and confirms bookings, and texts their customers once.

    May be used by several threads at once, and by many processes over one database.

    Args:
        variables: Names of the environment variables that were found, for the debug report.

    Attributes:
        queue: The texts of bookings that were initiated with the strategy ``queued``.
    """

    def __init__(
        self,
        *,
        store: Store,
        messenger: Messenger,
        finder: MessageFinder,
        terms: Terms,
        clock: Clock | None = None,
        ids: Ids | None = None,
        variables: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._terms = terms
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._variables = tuple(variables)
        self._texting = Texting(store=store, messenger=messenger, finder=finder, terms=terms, clock=self._clock)
        self.queue = TextQueue(self._texting, self._ids, self._variables)

    # initiate

    def initiate_booking(
        self, request: BookingRequest, *, idempotency_key: str | None = None, strategy: Strategy = "direct"
    ) -> Initiated:
        """
        Make a pending booking and text its customer, or queue the text.

        The booking is stored with the intent before Twilio is asked, so that whatever happens the text can be found again.
        A text that Twilio refused, or whose fate is unknown, is no error: `Initiated.sms` says so and the caller decides.

        Args:
            idempotency_key: The same key gives the same booking and one text, also when two requests race.

        Raises:
            BookingRejected: Something of the request cannot be meant (`InputRefused`), or the key came with another
                request before (`KeyReused`); nothing was written.
            OutcomeNotStored: The text went out, or may have, and the database does not know what became of it.
            DatabaseError: The booking could not be stored; no text was sent.
        """
        with self._audited("initiate_booking") as trail:
            with trail.step("check the request"):
                wanted, key = flow.checked(request, self._terms), flow.key_of(idempotency_key)
            with trail.step("store the booking and the intent to text"):
                booking, repeated = self._begin(wanted, key, strategy)
            trail.about(booking)
            if not repeated and strategy == "direct":
                answer = self._texting.send(booking, trail)
                with trail.step("store what became of the text"):
                    booking = self._texting.keep(booking, answer, self._texting.settle, again_s=_STORE_AGAIN_S)
                trail.about(booking)
            return Initiated(
                booking_id=booking.id, token=booking.token, sms=booking.sms, repeated=repeated, debug=trail.report()
            )

    def _begin(self, wanted: BookingRequest, key: str | None, strategy: Strategy) -> tuple[PendingBooking, bool]:
        """
        The stored booking, and whether the key had made it before.
        """
        token, attempt_id, now = self._ids.token(), self._ids.attempt(), self._clock.now()
        start = flow.Start(token=token, attempt_id=attempt_id, strategy=strategy, key=key, now=now)
        with self._store.begin() as work:
            booking = flow.begun(wanted, flow.booked(work.event(wanted.event_id)), start, self._terms)
            booking_id = work.add_booking(booking)
            if booking_id is None:
                earlier = there(work.booking(booking.id))
                flow.same_request(earlier, wanted)
                return earlier, True
            booking = replace(booking, id=booking_id)
            if strategy == "queued":
                work.add_job(booking, now)
        return booking, False

    # confirm

    def confirm_booking(self, token: str) -> Confirmed:
        """
        Confirm the booking of that token and record its text under its customer, who is found by phone or made.

        Succeeds without Twilio. Confirming again gives the same answer, and records a text that was not recorded yet.

        Raises:
            BookingUnknown: No booking has that token.
            BookingClosed: It has expired or was cancelled.
            DatabaseError: It could not be stored; nothing of it was.
        """
        with self._audited("confirm_booking") as trail:
            with trail.step("find the booking"):
                booking = self._find(token)
                trail.about(booking)
                flow.confirmable(booking, self._clock.now())
            found = self._texting.look_first(booking, trail)
            with trail.step("confirm it and record its text"):
                booking, repeated, notes = self._confirm(booking, found)
            trail.about(booking)
            return Confirmed(
                booking_id=booking.id,
                customer_id=booking.customer_id or "",
                message_sid=booking.sms.message_sid if booking.sms else None,
                repeated=repeated,
                notes=notes,
                debug=trail.report(),
            )

    def _find(self, token: str) -> PendingBooking:
        with self._store.begin() as work:
            booking = work.booking_with(token)
        if booking is None:
            message = "no booking has this token"
            raise BookingUnknown(message, hint="use the link of the text as it is, or make a new booking")
        return booking

    def _confirm(
        self, booking: PendingBooking, found: Sequence[TwilioMessage]
    ) -> tuple[PendingBooking, bool, tuple[str, ...]]:
        """
        One transaction: the booking as it is then, whether it was confirmed before, and what to know of the customer.
        """
        now = self._clock.now()
        notes: tuple[str, ...] = ()
        with self._store.begin() as work:
            booking = there(work.locked(booking.id))
            fresh = flow.confirmable(booking, now)
            if fresh or found:
                work.queue_for(flow.phone_of(booking, self._terms))
            if fresh:
                customer_id, notes = self._customer(work, booking)
                work.confirm(booking, customer_id, now)
                booking = replace(booking, status="confirmed", customer_id=customer_id)
            sms = self._texting.adopted(work, booking, found)[0] if found else booking.sms
            return self._texting.settle(work, booking, sms), not fresh, notes

    def _customer(self, work: UnitOfWork, booking: PendingBooking) -> tuple[str, tuple[str, ...]]:
        """
        The booking's customer, made where there is none; nobody else can make one for that phone meanwhile.
        """
        if booking.customer_id is not None:
            return booking.customer_id, ()
        phone = flow.phone_of(booking, self._terms)
        known, notes = flow.whose(booking, work.customers_with(phone), self._terms.region)
        return known.id if known else work.add_customer(replace(booking, customer_phone=phone)), notes

    # what becomes of a text

    def resolve_unknown(self, booking_id: str) -> Resolution:
        """
        Look into Twilio's log for a booking's text whose fate is unknown, and adopt its SID. Never sends.

        Raises:
            BookingUnknown: There is no such booking.
            TwilioError: The log could not be asked.
            DatabaseError: The answer could not be stored.
        """
        with self._audited("resolve_unknown") as trail:
            with self._store.begin() as work:
                booking = work.booking(booking_id)
            if booking is None:
                message = "there is no booking with this id"
                raise BookingUnknown(message)
            trail.about(booking)
            return self._texting.resolve(booking, trail)[1]

    def record_status(self, report: StatusReport) -> StatusTaken:
        """
        Apply a status callback, in whatever order they come. One that comes before the row waits in the booking's metadata,
        and one that carries the attempt's id says what became of a text whose fate was unknown.

        Raises:
            DatabaseError: It could not be stored: let Twilio call again.
        """
        return self._texting.record_status(report)

    def close(self) -> None:
        """
        Give connections back. The service may be used again.
        """
        self._store.close()

    def _audited(self, action: str) -> AbstractContextManager[Trail]:
        return audited(action, self._store, self._clock, self._variables)
