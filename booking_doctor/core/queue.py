"""
What is to be done with a queued text, and what became of it: decisions, as in `booking_doctor.core.flow`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from msgspec.structs import replace

from booking_doctor.core.booking import InitialSms, Job, JobOutcome, JobState, PendingBooking, Resolution, SmsState
from booking_doctor.core.flow import LIST_LAG, Terms, closed, intent, invitation_to, sendable
from booking_doctor.core.model import e164
from booking_doctor.core.ports import Answer, Lost, NotSent

MAX_TRIES: Final = 5
MAX_LOOKS: Final = 2 * MAX_TRIES
"""A job that was claimed more often, and lost each worker, is not even looked at any more: it may be what kills them."""

LEASE: Final = timedelta(minutes=5)
"""A job that has been running for so long has lost its worker. Longer than Twilio and the database can be waited for."""

_OF_THE_LOGIN: Final = frozenset({20003, 20005, 20008})
"""
Refusals that every other text would meet, and that pass when somebody mends the login or the account
(https://www.twilio.com/docs/api/errors/20003): the queue waits for that instead of giving up all it holds.
"""

_FIRST_DELAY: Final = timedelta(seconds=30)
_LONGEST_DELAY: Final = timedelta(hours=1)


class Move(Enum):
    """
    What is to be done with a job that was claimed.
    """

    SEND = "send"
    LOOK_UP = "look up"
    END = "end"


def hopeless(job: Job) -> JobOutcome | None:
    """
    What becomes of a job that has lost so many workers that nobody should touch its booking again; None of any other.
    """
    if not (job.lost and job.attempts > MAX_LOOKS):
        return None
    reason = f"{_lost(job)}; its fate is unknown, it is not sent again"
    return JobOutcome(job_id=job.id, state=JobState.FAILED, reason=reason)


def _lost(job: Job) -> str:
    return f"it was taken up {job.attempts - 1} times, and its last worker was lost over it"


def move(job: Job, booking: PendingBooking | None, now: datetime) -> tuple[Move, JobOutcome]:
    """
    What to do with a job; with `Move.END`, what became of it.
    """
    done = JobOutcome(job_id=job.id, state=JobState.DONE, sms=booking.sms if booking else None)
    if booking is None:
        reason = "it names no booking" if job.booking_id is None else f"there is no booking {job.booking_id}"
        return Move.END, replace(done, state=JobState.FAILED, reason=reason)
    if booking.sms and booking.sms.unsettled:
        return Move.LOOK_UP, done
    if booking.sms and booking.sms.state is SmsState.SENT:
        return Move.END, done
    if status := closed(booking, now):
        return Move.END, replace(done, sms=dropped(booking.sms, status), reason=f"not sent: the booking is {status}")
    if job.lost and job.attempts > MAX_TRIES:
        reason = f"not sent: {_lost(job)}"
        return Move.END, replace(done, state=JobState.FAILED, sms=_not_sent(booking.sms, reason), reason=reason)
    return Move.SEND, done


def _not_sent(sms: InitialSms | None, reason: str) -> InitialSms | None:
    return sms and replace(sms, state=SmsState.FAILED, error=reason)


def dropped(sms: InitialSms | None, status: str) -> InitialSms | None:
    """
    The text of a booking that was closed before it was sent.
    """
    if sms is None or sms.state is not SmsState.QUEUED:
        return sms
    return replace(sms, state=SmsState.DROPPED, error=f"the booking is {status}")


def taken_up(job: Job, booking: PendingBooking, attempt_id: str, terms: Terms, now: datetime) -> InitialSms:
    """
    The intent to send a queued text now; made of the job's payload where the booking holds none.

    Raises:
        TextTooLong: Twilio would not take the text.
    """
    if booking.sms and booking.sms.body and booking.sms.to_number:
        return replace(
            booking.sms,
            state=SmsState.SENDING,
            attempt_id=attempt_id,
            attempted_at=now,
            error_code=None,
            error=None,
        )
    body = sendable(job.body or terms.text(invitation_to(booking, None, terms)))
    to = e164(job.to_number or booking.customer_phone, terms.region) or booking.customer_phone
    return intent(body, to, attempt_id, SmsState.SENDING, now)


def after_send(job: Job, sms: InitialSms, answer: Answer, now: datetime) -> JobOutcome:
    """
    What became of a job whose text was handed to Twilio, *sms* being the text after the answer.
    """
    if sms.message_sid:
        return JobOutcome(job_id=job.id, state=JobState.DONE, sms=sms)
    if isinstance(answer, Lost):
        return _again(job, sms, now + LIST_LAG, f"its fate is unknown: {answer.reason}")
    if isinstance(answer, NotSent) and _passes(answer) and job.attempts < MAX_TRIES:
        waiting = replace(sms, state=SmsState.QUEUED)
        return _again(job, waiting, now + delay(job.attempts), answer.reason)
    return JobOutcome(job_id=job.id, state=JobState.FAILED, sms=sms, reason=sms.error)


def _passes(answer: NotSent) -> bool:
    return answer.passing or answer.code in _OF_THE_LOGIN


def after_look(job: Job, sms: InitialSms, resolution: Resolution, now: datetime) -> JobOutcome:
    """
    What became of a job whose text was looked for in Twilio's log.
    """
    if sms.message_sid:
        return JobOutcome(job_id=job.id, state=JobState.DONE, sms=sms)
    if resolution is Resolution.NOT_FOUND_YET:
        due = (sms.attempted_at or now) + LIST_LAG
        return _again(job, sms, max(due, now + _FIRST_DELAY), "its fate is unknown: Twilio's log does not show it yet")
    reason = (
        sms.error if resolution is Resolution.REFUSED else f"its fate is unknown: {sms.error}; it is not sent again"
    )
    return JobOutcome(job_id=job.id, state=JobState.FAILED, sms=sms, reason=reason)


def look_later(job: Job, sms: InitialSms | None, reason: str, now: datetime) -> JobOutcome:
    """
    What became of a job whose text could not be looked for.
    """
    unknown = f"its fate is unknown, and Twilio's log could not be asked: {reason}"
    if job.attempts < MAX_TRIES:
        return _again(job, sms, now + delay(job.attempts), unknown)
    return JobOutcome(job_id=job.id, state=JobState.FAILED, sms=sms, reason=f"{unknown}; it is not sent again")


def unfinished(job: Job, reason: str, now: datetime) -> JobOutcome:
    """
    What became of a job over which the database failed, its text staying as it is stored.
    """
    if job.attempts < MAX_TRIES:
        return _again(job, None, now + delay(job.attempts), reason)
    return JobOutcome(job_id=job.id, state=JobState.FAILED, reason=reason)


def _again(job: Job, sms: InitialSms | None, run_at: datetime, reason: str) -> JobOutcome:
    return JobOutcome(job_id=job.id, state=JobState.QUEUED, sms=sms, run_at=run_at, reason=reason)


def delay(attempts: int) -> timedelta:
    """
    How long a job waits after so many tries: longer each time.
    """
    longer: timedelta = _FIRST_DELAY * 4 ** (attempts - 1)
    return min(_LONGEST_DELAY, longer)
