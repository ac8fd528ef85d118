"""
Texts that wait for their turn, in memory and on the real adapters alike: each is sent once, by one worker.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from booking_doctor.core.booking import JobState, SmsState
from booking_doctor.core.queue import LEASE, MAX_LOOKS, MAX_TRIES
from booking_doctor.core.trail import Trail
from booking_doctor.errors import OutcomeNotStored, RowConflict
from tests.core.desk import APP, OTHER_PHONE, PHONE, Desk, RealDesk, initiate


def _state(desk: Desk, booking_id: str) -> SmsState | None:
    sms = desk.booking(booking_id).sms
    return sms.state if sms else None


def test_a_queued_text_is_sent_by_its_job(desk: Desk) -> None:
    """
    Initiate sends nothing; the job sends once and keeps the outcome in the metadata, for confirm.
    """
    initiated = initiate(desk, strategy="queued")

    assert initiated.sms
    assert initiated.sms.state is SmsState.QUEUED
    assert desk.taken == []
    assert desk.jobs == [("queued", 0, None)]

    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.DONE
    assert desk.jobs == [("done", 1, None)]
    assert [to for _, to, _ in desk.taken] == [PHONE]
    sms = desk.booking(initiated.booking_id).sms
    assert sms
    assert (sms.state, sms.message_sid, sms.body) == (SmsState.SENT, desk.taken[0][0], desk.taken[0][2])
    assert desk.recorded == []
    assert desk.service.confirm_booking(initiated.token).message_sid == desk.taken[0][0]
    assert desk.service.queue.run_due() == []


def test_one_key_queues_one_text(desk: Desk) -> None:
    """
    Also where it is queued.
    """
    first, again = (initiate(desk, strategy="queued", idempotency_key="k") for _ in range(2))

    assert (again.booking_id, again.repeated) == (first.booking_id, True)
    assert len(desk.jobs) == 1


def test_a_queued_text_of_a_confirmed_booking_is_recorded_at_once(desk: Desk) -> None:
    """
    Nobody will confirm a second time.
    """
    initiated = initiate(desk, strategy="queued")
    confirmed = desk.service.confirm_booking(initiated.token)
    assert confirmed.message_sid is None

    desk.service.queue.run_due()

    assert [(row.message_sid, row.customer_id) for row in desk.recorded] == [(desk.taken[0][0], confirmed.customer_id)]


@pytest.mark.parametrize("status", ["expired", "cancelled", "its time ran out"])
def test_a_queued_text_of_a_closed_booking_is_not_sent(desk: Desk, status: str) -> None:
    """
    The job is done, and says why.
    """
    initiated = initiate(desk, strategy="queued")
    if status in {"expired", "cancelled"}:
        desk.close_booking(initiated.booking_id, status)
    else:
        desk.clock.forward(days=2)

    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.DONE
    assert desk.jobs[0][0] == "done"
    assert "not sent" in (desk.jobs[0][2] or "")
    assert _state(desk, initiated.booking_id) is SmsState.DROPPED
    assert desk.taken == []


def test_what_may_be_retried_is_with_growing_delay_and_then_given_up(desk: Desk) -> None:
    """
    Each wait is longer than the one before; the last try fails with the reason, and nobody was texted twice.
    """
    initiated = initiate(desk, strategy="queued")
    desk.throttle(MAX_TRIES)
    waits = []

    for _ in range(MAX_TRIES - 1):
        (outcome,) = desk.service.queue.run_due()
        assert outcome.state is JobState.QUEUED
        assert outcome.run_at
        waits.append(outcome.run_at - desk.clock.now())
        assert desk.service.queue.run_due() == []
        desk.clock.moment = outcome.run_at
    (outcome,) = desk.service.queue.run_due()

    assert waits == sorted(set(waits))
    assert outcome.state is JobState.FAILED
    assert desk.jobs == [("failed", MAX_TRIES, "Twilio was asked for too much at once")]
    assert _state(desk, initiated.booking_id) is SmsState.FAILED
    assert desk.taken == []


def test_a_retry_that_succeeds_ends_the_job(desk: Desk) -> None:
    """
    One text.
    """
    initiate(desk, strategy="queued")
    desk.throttle(1)
    desk.service.queue.run_due()
    desk.clock.forward(minutes=1)

    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.DONE
    assert desk.jobs == [("done", 2, None)]
    assert len(desk.taken) == 1


def test_a_refused_text_fails_its_job_at_once(desk: Desk) -> None:
    """
    Trying again would not help.
    """
    desk.refuse(PHONE)
    initiated = initiate(desk, strategy="queued")

    desk.service.queue.run_due()

    ((status, tries, error),) = desk.jobs
    assert (status, tries) == ("failed", 1)
    assert "opted out" in (error or "")
    assert _state(desk, initiated.booking_id) is SmsState.FAILED


def test_a_failed_job_that_somebody_queues_again_is_sent(desk: Desk) -> None:
    """
    It certainly was not, so far.
    """
    initiated = initiate(desk, strategy="queued")
    desk.throttle(MAX_TRIES)
    for _ in range(MAX_TRIES):
        desk.service.queue.run_due()
        desk.clock.forward(hours=1)
    desk.put_job(pending_booking_id=initiated.booking_id)

    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.DONE
    assert len(desk.taken) == 1


def test_a_lost_answer_is_looked_up_and_not_sent_again(desk: Desk) -> None:
    """
    The job waits until Twilio's log is to be believed, then takes the SID from it.
    """
    initiated = initiate(desk, strategy="queued")
    desk.lose_answer()

    (outcome,) = desk.service.queue.run_due()
    assert (outcome.state, outcome.run_at) == (JobState.QUEUED, desk.clock.now() + timedelta(minutes=15))
    assert "its fate is unknown" in (outcome.reason or "")
    desk.clock.forward(minutes=15)
    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.DONE
    sms = desk.booking(initiated.booking_id).sms
    assert sms
    assert sms.message_sid == desk.taken[0][0]
    assert len(desk.taken) == 1


def test_a_text_that_the_log_never_shows_is_given_up_and_not_sent_again(desk: Desk) -> None:
    """
    Its fate stays unknown, and the job says so.
    """
    initiated = initiate(desk, strategy="queued")
    desk.lose_answer()
    desk.lag(timedelta(days=1))

    desk.service.queue.run_due()
    desk.clock.forward(minutes=15)
    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.FAILED
    assert "it is not sent again" in (desk.jobs[0][2] or "")
    assert _state(desk, initiated.booking_id) is SmsState.UNKNOWN
    assert len(desk.taken) == 1


def test_a_job_whose_worker_was_lost_is_looked_into(desk: Desk) -> None:
    """
    Only once its lease has run out, and its text, which may have gone out, is not sent.
    """
    initiated = initiate(desk, strategy="queued")
    (job,) = desk.service.queue.claim(1)
    assert desk.service.queue.claim(1) == []
    sms = desk.booking(initiated.booking_id).sms
    assert sms
    desk.set_sms(initiated.booking_id, replace(sms, state=SmsState.SENDING, attempted_at=desk.clock.now()))
    desk.clock.forward(seconds=LEASE.total_seconds())
    assert desk.service.queue.claim(1) == []

    desk.clock.forward(microseconds=1)
    (outcome,) = desk.service.queue.run_due()

    assert outcome.job_id == job.id
    assert outcome.state is JobState.QUEUED
    assert outcome.run_at == job.run_at + timedelta(minutes=15)
    desk.clock.forward(minutes=15)
    (outcome,) = desk.service.queue.run_due()
    assert outcome.state is JobState.FAILED
    assert desk.taken == []


def lose_workers(desk: Desk, number: int) -> None:
    """
    So many workers take the one job up and are never heard of again.
    """
    for _ in range(number):
        assert len(desk.service.queue.claim(1)) == 1
        desk.clock.forward(seconds=LEASE.total_seconds() + 1)


def test_a_job_that_loses_each_worker_is_given_up(desk: Desk) -> None:
    """
    The text was never begun, so it certainly was not sent; the row and the booking say why.
    """
    initiated = initiate(desk, strategy="queued")
    lose_workers(desk, MAX_TRIES)

    (outcome,) = desk.service.queue.run_due()

    reason = f"not sent: it was taken up {MAX_TRIES} times, and its last worker was lost over it"
    assert outcome.state is JobState.FAILED
    assert desk.jobs == [("failed", MAX_TRIES + 1, reason)]
    assert _state(desk, initiated.booking_id) is SmsState.FAILED
    desk.clock.forward(days=1)
    assert (desk.service.queue.run_due(), desk.taken) == ([], [])


def test_a_text_that_may_have_gone_out_is_looked_for_before_its_job_is_given_up(desk: Desk) -> None:
    """
    The first worker had handed it to Twilio, which has it.
    """
    initiated = initiate(desk, strategy="queued")
    hand_over(desk, initiated.booking_id)
    lose_workers(desk, MAX_TRIES + 2)

    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.DONE
    assert desk.booking(initiated.booking_id).sms == outcome.sms
    assert outcome.sms
    assert [sid for sid, _, _ in desk.taken] == [outcome.sms.message_sid]


def test_a_job_that_even_looking_is_fatal_to_is_not_looked_at_any_more(desk: Desk) -> None:
    """
    It fails, says that its text's fate is unknown, and leaves the booking as it is.
    """
    initiated = initiate(desk, strategy="queued")
    hand_over(desk, initiated.booking_id)
    lose_workers(desk, MAX_LOOKS)

    (outcome,) = desk.service.queue.run_due()

    assert outcome.state is JobState.FAILED
    ((status, tries, error),) = desk.jobs
    assert (status, tries) == ("failed", MAX_LOOKS + 1)
    assert "its fate is unknown, it is not sent again" in (error or "")
    assert _state(desk, initiated.booking_id) is SmsState.SENDING
    desk.clock.forward(days=1)
    assert (desk.service.queue.run_due(), len(desk.taken)) == ([], 1)


def test_many_tries_are_no_lost_workers(desk: Desk) -> None:
    """
    Somebody queues a job again that was tried too often: it is sent, whatever its count.
    """
    initiated = initiate(desk, strategy="queued")
    lose_workers(desk, MAX_TRIES - 1)
    desk.throttle(1)
    desk.service.queue.run_due()
    assert _state(desk, initiated.booking_id) is SmsState.FAILED
    desk.queue_again()

    (outcome,) = desk.service.queue.run_due()

    assert (outcome.state, len(desk.taken)) == (JobState.DONE, 1)


def hand_over(desk: Desk, booking_id: str) -> None:
    """
    The intent to send is stored, Twilio takes the text, and the process dies.
    """
    sms = desk.booking(booking_id).sms
    assert sms
    desk.set_sms(booking_id, replace(sms, state=SmsState.SENDING, attempted_at=desk.clock.now()))
    desk.service._texting.send(desk.booking(booking_id), Trail(clock=desk.clock, variables=()))


def test_an_outcome_that_the_database_refuses_does_not_wait_for_the_lease(real: RealDesk) -> None:
    """
    The job is put off for a moment, its text is found by then, and is not sent again; in the end it is given up.
    """
    booking_id = initiate(real, strategy="queued").booking_id
    real.scene.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
        "CREATE TRIGGER no BEFORE UPDATE ON pending_bookings FOR EACH ROW"
        " WHEN (NEW.metadata #>> '{initial_sms,state}' = 'sent') EXECUTE FUNCTION no()"
    )
    with pytest.raises(OutcomeNotStored):
        real.service.queue.run_due()
    ((status, tries, error),) = real.jobs
    assert (status, tries) == ("queued", 1)
    assert "could not be stored" in (error or "")

    for _ in range(MAX_TRIES - 2):
        real.clock.forward(hours=1)
        with pytest.raises(RowConflict):
            real.service.queue.run_due()
    real.scene.execute("ALTER TABLE pending_bookings DISABLE TRIGGER no")
    real.clock.forward(hours=1)
    (outcome,) = real.service.queue.run_due()

    assert (outcome.state, real.jobs) == (JobState.DONE, [("done", MAX_TRIES, None)])
    sms = real.booking(booking_id).sms
    assert sms
    assert [sid for sid, _, _ in real.taken] == [sms.message_sid]


def test_an_outcome_that_the_database_always_refuses_is_given_up(real: RealDesk) -> None:
    """
    Nothing was sent, and the row says why.
    """
    initiate(real, strategy="queued")
    real.scene.execute("ALTER TABLE pending_bookings ADD CHECK (metadata #>> '{initial_sms,state}' <> 'sending')")
    for _ in range(MAX_TRIES):
        with pytest.raises(RowConflict):
            real.service.queue.run_due()
        real.clock.forward(hours=1)

    assert real.service.queue.run_due() == []
    ((status, tries, error),) = real.jobs
    assert (status, tries, real.taken) == ("failed", MAX_TRIES, [])
    assert "a constraint forbids it" in (error or "")


def test_a_job_without_a_time_is_nobodys(real: RealDesk) -> None:
    """
    Neither one that waits nor one that runs: nothing says that it is due.
    """
    real.scene.execute("ALTER TABLE jobs ALTER COLUMN run_at DROP NOT NULL")
    for status in ("queued", "running"):
        initiate(real, strategy="queued")
        real.scene.execute("UPDATE jobs SET run_at = NULL, status = :status WHERE run_at IS NOT NULL", status=status)
    real.clock.forward(days=1)

    assert real.service.queue.run_due() == []
    assert [status for status, _, _ in real.jobs] == ["queued", "running"]


def test_a_worker_that_comes_back_late_does_not_undo_what_another_did(desk: Desk) -> None:
    """
    What it has to tell counts only where it is that the text went out.
    """
    initiate(desk, strategy="queued")
    (job,) = desk.service.queue.claim(1)
    desk.clock.forward(minutes=6)
    (done,) = desk.service.queue.run_due()
    assert done.state is JobState.DONE

    late = desk.service.queue.run(job)

    assert late.state is JobState.DONE
    assert desk.jobs == [("done", 2, None)]
    assert len(desk.taken) == 1


def test_a_job_of_somebody_elses_making_is_done_as_well(desk: Desk) -> None:
    """
    Where the booking holds no text the payload's is sent, or else the usual one.
    """
    first, second = (initiate(desk, strategy="queued").booking_id for _ in range(2))
    desk.service.queue.claim(2)
    desk.set_sms(first, None)
    desk.set_sms(second, None)
    desk.put_job(pending_booking_id=first, to="555-010-1001", body="Their own words")
    desk.put_job(pending_booking_id=second)

    outcomes = desk.service.queue.run_due()

    assert [outcome.state for outcome in outcomes] == [JobState.DONE, JobState.DONE]
    token = desk.booking(second).token
    assert [(to, body) for _, to, body in desk.taken] == [
        (OTHER_PHONE, "Their own words"),
        (PHONE, f"Please confirm your booking: {APP}/confirm/{token}"),
    ]
    assert _state(desk, first) is _state(desk, second) is SmsState.SENT


def test_a_job_without_a_booking_fails_with_the_reason(desk: Desk) -> None:
    """
    And is not tried again.
    """
    missing = "00000000-0000-4000-8000-000000000000"
    desk.put_job()
    desk.put_job(pending_booking_id="nothing")
    desk.put_job(pending_booking_id=missing)

    outcomes = desk.service.queue.run_due()

    assert {outcome.state for outcome in outcomes} == {JobState.FAILED}
    assert desk.jobs == [
        ("failed", 1, "it names no booking"),
        ("failed", 1, "there is no booking nothing"),
        ("failed", 1, f"there is no booking {missing}"),
    ]


def test_jobs_are_claimed_oldest_first_and_no_more_than_asked_for(desk: Desk) -> None:
    """
    Those that are not due yet stay.
    """
    bookings = []
    for _ in range(3):
        bookings.append(initiate(desk, strategy="queued").booking_id)
        desk.clock.forward(seconds=1)

    claimed = desk.service.queue.claim(2)

    assert [job.booking_id for job in claimed] == bookings[:2]
    assert [job.attempts for job in claimed] == [1, 1]
    assert [job.booking_id for job in desk.service.queue.claim(9)] == bookings[2:]
