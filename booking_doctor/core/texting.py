"""
A booking's text: handing it to Twilio, storing what became of it, looking for it where no answer came.

Everything that learns of a text ends in `Texting.settle`, under the lock of its booking: so each SID has one row in
``messages``, whoever was first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from booking_doctor.core import flow
from booking_doctor.core.booking import (
    InitialSms,
    PendingBooking,
    Resolution,
    StatusReport,
    StatusTaken,
)
from booking_doctor.core.flow import Terms
from booking_doctor.core.model import SID_SHAPE, TwilioMessage
from booking_doctor.core.ports import (
    Accepted,
    Answer,
    Clock,
    Lost,
    MessageFinder,
    Messenger,
    Store,
    UnitOfWork,
)
from booking_doctor.core.trail import Trail
from booking_doctor.errors import (
    DatabaseError,
    DatabaseUnreachable,
    NothingWritten,
    OutcomeNotStored,
    TwilioError,
)

_Kept = TypeVar("_Kept")

_log: Final = logging.getLogger("booking_doctor")

METADATA: Final = "pending_bookings.metadata"

LOOK_FIRST_S: Final = 2.0
"""How long a confirmation waits for Twilio's log, in seconds; a customer waits with it."""

LOOK_S: Final = 20.0
"""How long anything else does."""


class Texting(Struct, frozen=True, kw_only=True):
    """
    The text of any booking.
    """

    store: Store
    messenger: Messenger
    finder: MessageFinder
    terms: Terms
    clock: Clock

    def send(self, booking: PendingBooking, trail: Trail) -> Answer:
        """
        Ask Twilio once. The intent must have been stored.
        """
        sms = intent_of(booking)
        with trail.step("ask Twilio to send the text") as step:
            answer = self.messenger.send(flow.text_of(booking.id, sms, self.terms))
            step.outcome = said(answer)
        # NOTE: should it not be possible to store this, the report must have it.
        trail.about(booking.with_sms(flow.answered(sms, answer)))
        return answer

    def keep(
        self,
        booking: PendingBooking,
        answer: Answer,
        settle: Callable[[UnitOfWork, PendingBooking, InitialSms], _Kept],
        *,
        again_s: Sequence[float],
    ) -> _Kept:
        """
        Store what Twilio answered. Where the database is gone for a moment it is tried again: the text has gone out.

        Args:
            settle: Stores it for the locked booking, given the text after the answer.
            again_s: After so many seconds it is tried again.

        Raises:
            OutcomeNotStored: It could not be stored.
        """
        for pause in (*again_s, None):
            try:
                with self.store.begin() as work:
                    locked = there(work.locked(booking.id))
                    return settle(work, locked, flow.answered(locked.sms or intent_of(booking), answer))
            except DatabaseError as error:
                if pause is None or not isinstance(error, DatabaseUnreachable):
                    raise not_stored(booking, answer, error) from error
                self.clock.sleep(pause)
        raise AssertionError  # the last pass returns or raises

    def settle(self, work: UnitOfWork, booking: PendingBooking, sms: InitialSms | None) -> PendingBooking:
        """
        Store how the text of a locked booking stands, and record it once its SID and its customer are known.
        """
        if sms and sms != booking.sms:
            work.keep(booking.id, sms)
            booking = booking.with_sms(sms)
        if row := flow.row_of(booking):
            recorded = work.recorded_status(row.message_sid)
            if recorded is None:
                work.record(row)
            else:
                self._advance(work, row.message_sid, recorded, row.status)
        return booking

    def _advance(self, work: UnitOfWork, message_sid: str, recorded: str, status: str | None) -> None:
        further = flow.further(recorded or None, status)
        if further and further != recorded:
            work.advance(message_sid, further)

    def record_status(self, report: StatusReport) -> StatusTaken:
        """
        Apply a status callback.
        """
        if not SID_SHAPE.fullmatch(report.message_sid):
            return StatusTaken.UNKNOWN
        with self.store.begin() as work:
            booking = work.locked(report.booking_id) if report.booking_id else None
            ours = False
            if booking and booking.sms:
                sms = flow.told(booking.sms, report)
                ours = sms.message_sid == report.message_sid
                self.settle(work, booking, sms)
            recorded = work.recorded_status(report.message_sid)
            if recorded is None:
                return StatusTaken.WAITING if ours else StatusTaken.UNKNOWN
            self._advance(work, report.message_sid, recorded, report.status)
            return StatusTaken.RECORDED

    # looking for it

    def look_first(self, booking: PendingBooking, trail: Trail) -> Sequence[TwilioMessage]:
        """
        What may be the booking's text, where its SID is not known; without Twilio nothing.
        """
        if booking.sms is None or flow.since(booking.sms) is None:
            return ()
        try:
            return self._look(booking.sms, LOOK_FIRST_S, trail)
        except TwilioError:
            trail.warn("the text's fate is unknown, and Twilio's log could not be asked")
            return ()

    def resolve(self, booking: PendingBooking, trail: Trail) -> tuple[PendingBooking, Resolution]:
        """
        Look for the booking's text, and store what was found.

        Raises:
            TwilioError: The log could not be asked.
        """
        if booking.sms is None or flow.since(booking.sms) is None:
            return booking, Resolution.SETTLED
        found = self._look(booking.sms, LOOK_S, trail)
        with trail.step("store what was found") as step, self.store.begin() as work:
            booking, resolution = self._resolve(work, there(work.locked(booking.id)), found)
            step.outcome = resolution
        trail.about(booking)
        return booking, resolution

    def _look(self, sms: InitialSms, within_s: float, trail: Trail) -> Sequence[TwilioMessage]:
        since = flow.since(sms)
        with trail.step("look for the text in Twilio's log") as step:
            if since is None or sms.to_number is None:
                return ()
            found = flow.may_be(sms, self.finder.sent_to(sms.to_number, since, within_s=within_s))
            step.outcome = f"{len(found)} found that may be it"
            return found

    def _resolve(
        self, work: UnitOfWork, booking: PendingBooking, found: Sequence[TwilioMessage]
    ) -> tuple[PendingBooking, Resolution]:
        if booking.sms is None or not booking.sms.unsettled:
            return booking, Resolution.SETTLED
        work.queue_for(flow.phone_of(booking, self.terms))
        sms, resolution = self.adopted(work, booking, found)
        return self.settle(work, booking, sms), resolution

    def adopted(
        self, work: UnitOfWork, booking: PendingBooking, found: Sequence[TwilioMessage]
    ) -> tuple[InitialSms | None, Resolution]:
        """
        The text of a locked booking, with its SID where what was *found* has it and nobody else does.
        """
        if booking.sms is None or not booking.sms.unsettled:
            return booking.sms, Resolution.SETTLED
        sids = [message.sid for message in found]
        claimed = work.claimed(sids, but_for=booking) if sids else frozenset[str]()
        return flow.looked_up(booking.sms, found, claimed, self.clock.now())


def not_stored(booking: PendingBooking, answer: Answer, error: DatabaseError) -> OutcomeNotStored:
    """
    What to raise where the outcome of a text cannot be stored; the program's own log has it, too.
    """
    sid = answer.message.sid if isinstance(answer, Accepted) else None
    _log.error("the text of booking %s (%s) could not be stored: %s", booking.id, sid or "no SID", error.summary)
    return OutcomeNotStored(
        f"{said(answer)}, and that could not be stored: {error.summary}",
        what=error.what if isinstance(error, NothingWritten) else METADATA,
        booking_id=booking.id,
        message_sid=sid,
        hint="the booking stands and its text is not sent again; booking-doctor reconcile finds it",
    )


def there(booking: PendingBooking | None) -> PendingBooking:
    """
    A booking that was there a moment ago.

    Raises:
        NothingWritten: It is gone.
    """
    if booking is None:
        what = "pending_bookings"
        raise NothingWritten(what, "the booking is gone")
    return booking


def intent_of(booking: PendingBooking) -> InitialSms:
    """
    What a booking that is texted was stored with.
    """
    if booking.sms is None:
        raise AssertionError
    return booking.sms


def said(answer: Answer) -> str:
    """
    What Twilio answered, in half a sentence.
    """
    match answer:
        case Accepted(message=message):
            return f"Twilio took the text as {message.sid}"
        case Lost(reason=reason):
            return f"the text's fate is unknown: {reason}"
        case _:
            code = "" if answer.code is None else f" (code {answer.code})"
            return f"the text was not sent: {answer.reason}{code}"
