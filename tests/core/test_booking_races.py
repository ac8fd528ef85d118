"""
Two at once: on a real PostgreSQL, whoever is first, there is one booking, one text, one customer and one row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest
from msgspec.structs import force_setattr

from booking_doctor.core.booking import Confirmed, Initiated, JobState, SmsState
from booking_doctor.core.ports import Answer, Text
from booking_doctor.core.service import BookingService
from booking_doctor.errors import BookingRejected, KeyReused
from tests.core.desk import OTHER_PHONE, PHONE, RealDesk, initiate, report, request

_Result = TypeVar("_Result")


def at_once(calls: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """
    All calls begin when all are ready.
    """
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], _Result]) -> _Result:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def meanwhile(service: BookingService, do: Callable[[], object]) -> None:
    """
    Something happens after Twilio has taken a text, and before its answer is here.
    """
    messenger = service._texting.messenger

    class Slow:
        def send(self, text: Text) -> Answer:
            answer = messenger.send(text)
            do()
            return answer

    force_setattr(service._texting, "messenger", Slow())


def test_two_initiates_with_one_key_are_one_booking_and_one_text(real: RealDesk) -> None:
    """
    In several processes' worth of services; exactly one is not a repetition.
    """
    services = [real.another_service() for _ in range(6)]
    asked = request(real)

    def call(service: BookingService) -> Callable[[], Initiated]:
        return lambda: service.initiate_booking(asked, idempotency_key="k")

    initiated = at_once([call(service) for service in services])

    assert len({(one.booking_id, one.token) for one in initiated}) == 1
    assert [one.repeated for one in initiated].count(False) == 1
    assert len(real.taken) == 1
    assert {one.sms.state for one in initiated if one.sms} <= {SmsState.SENDING, SmsState.SENT}
    assert len(real.scene.rows("SELECT FROM pending_bookings")) == 1


def test_two_initiates_with_one_key_and_other_words_are_one_booking_too(real: RealDesk) -> None:
    """
    The other is refused, whichever it is.
    """
    first, second = real.another_service(), real.another_service()

    def call(service: BookingService, phone: str) -> Callable[[], Initiated | BookingRejected]:
        def initiated() -> Initiated | BookingRejected:
            try:
                return service.initiate_booking(request(real, phone), idempotency_key="k")
            except KeyReused as refused:
                return refused

        return initiated

    answers = at_once([call(first, PHONE), call(second, OTHER_PHONE)])

    assert sorted(type(answer).__name__ for answer in answers) == ["Initiated", "KeyReused"]
    assert len(real.taken) == 1


def test_two_confirmations_are_one(real: RealDesk) -> None:
    """
    One customer, one lasting booking, one row; both get the same answer.
    """
    token = initiate(real).token
    services = [real.another_service() for _ in range(6)]

    def call(service: BookingService) -> Callable[[], Confirmed]:
        return lambda: service.confirm_booking(token)

    confirmed = at_once([call(service) for service in services])

    assert [one.repeated for one in confirmed].count(False) == 1
    assert len({(one.customer_id, one.message_sid) for one in confirmed}) == 1
    assert len(real.customers) == len(real.recorded) == 1
    assert len(real.scene.rows("SELECT FROM bookings")) == 1


def slowly(real: RealDesk, table: str, when: str) -> None:
    """
    Writing a row takes a while, so that who does not wait for others is sure to be in their way.
    """
    body = "BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END"
    real.scene.execute(f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
    real.scene.execute(f"CREATE TRIGGER slowly BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION slow()")


@pytest.mark.parametrize("stored", [PHONE, "(555) 010-1000"])
def test_two_bookings_of_one_phone_confirmed_at_once_make_one_customer(real: RealDesk, stored: str) -> None:
    """
    Also where one of them was stored by other code, in another form.
    """
    tokens = [initiate(real).token for _ in range(4)]
    slowly(real, "customers", "INSERT")
    real.scene.execute("UPDATE pending_bookings SET customer_phone = :p WHERE token = :t", p=stored, t=tokens[0])
    services = [real.another_service() for _ in tokens]

    def call(service: BookingService, token: str) -> Callable[[], Confirmed]:
        return lambda: service.confirm_booking(token)

    confirmed = at_once([call(*pair) for pair in zip(services, tokens, strict=True)])

    assert len({one.customer_id for one in confirmed}) == 1
    assert [customer.phone for customer in real.customers] == [PHONE]
    assert len(real.recorded) == 4


def test_a_customer_who_confirms_before_the_answer_is_stored_is_recorded_once(real: RealDesk) -> None:
    """
    The text was quicker than Twilio's answer: whoever stores last records it.
    """
    real.lag(timedelta(minutes=1))
    confirmed: list[Confirmed] = []
    other = real.another_service()

    def tap() -> None:
        (row,) = real.scene.rows("SELECT token FROM pending_bookings")
        confirmed.append(other.confirm_booking(row["token"]))

    meanwhile(real.service, tap)

    initiated = initiate(real)

    assert confirmed[0].message_sid is None
    assert initiated.sms
    assert initiated.sms.state is SmsState.SENT
    assert [(row.message_sid, row.customer_id) for row in real.recorded] == [
        (initiated.sms.message_sid, confirmed[0].customer_id)
    ]


def test_a_callback_before_the_answer_is_stored_is_kept(real: RealDesk) -> None:
    """
    Its status is further than the answer's.
    """
    other = real.another_service()

    def call() -> None:
        (row,) = real.scene.rows("SELECT CAST(id AS text) AS id FROM pending_bookings")
        other.record_status(report(real, row["id"], real.taken[0][0], "delivered"))

    meanwhile(real.service, call)

    initiated = initiate(real)

    sms = real.booking(initiated.booking_id).sms
    assert sms
    assert (sms.state, sms.status, sms.message_sid) == (SmsState.SENT, "delivered", real.taken[0][0])


def test_somebody_who_resolves_before_the_answer_is_stored_does_no_harm(real: RealDesk) -> None:
    """
    The SID is the same.
    """
    other = real.another_service()

    def resolve() -> None:
        (row,) = real.scene.rows("SELECT CAST(id AS text) AS id FROM pending_bookings")
        other.resolve_unknown(row["id"])

    meanwhile(real.service, resolve)

    initiated = initiate(real)

    assert initiated.sms
    assert initiated.sms.message_sid == real.taken[0][0]
    assert real.booking(initiated.booking_id).sms == initiated.sms


def test_callbacks_at_once_leave_the_furthest_status(real: RealDesk) -> None:
    """
    No update is lost, before and after the row is there.
    """
    initiated = initiate(real)
    sid = real.taken[0][0]
    reports = [report(real, initiated.booking_id, sid, status) for status in ("queued", "sent", "delivered", "sending")]
    services = [real.another_service() for _ in range(len(reports) + 1)]

    def call(number: int) -> Callable[[], object]:
        if number == len(reports):
            return lambda: services[number].confirm_booking(initiated.token)
        return lambda: services[number].record_status(reports[number])

    at_once([call(number) for number in range(len(services))])

    assert [row.status for row in real.recorded] == ["delivered"]


def test_two_lost_texts_of_one_phone_never_adopt_one_sid(real: RealDesk) -> None:
    """
    When both are looked for at once.
    """
    real.reword("Please call us.")
    for _ in range(2):
        real.lose_answer()
    bookings = [initiate(real).booking_id for _ in range(2)]
    slowly(real, "pending_bookings", "UPDATE")
    services = [real.another_service() for _ in bookings]

    def call(service: BookingService, booking_id: str) -> Callable[[], object]:
        return lambda: service.resolve_unknown(booking_id)

    at_once([call(*pair) for pair in zip(services, bookings, strict=True)])

    sids = [sms.message_sid for booking_id in bookings if (sms := real.booking(booking_id).sms)]
    assert sorted(sid for sid in sids if sid) == sorted(sid for sid, _, _ in real.taken)


def test_many_workers_share_one_queue(real: RealDesk) -> None:
    """
    Every text is sent, and none twice.
    """
    phones = [f"+1555010{number:04}" for number in range(60)]
    for phone in phones:
        initiate(real, phone, strategy="queued")
    services = [real.another_service() for _ in range(6)]

    def work(service: BookingService) -> Callable[[], int]:
        def worked() -> int:
            done = 0
            while outcomes := service.queue.run_due(4):
                assert {outcome.state for outcome in outcomes} == {JobState.DONE}
                done += len(outcomes)
            return done

        return worked

    done = at_once([work(service) for service in services])

    assert sum(done) == len(phones)
    assert sorted(to for _, to, _ in real.taken) == phones
    assert {job[:2] for job in real.jobs} == {("done", 1)}


def test_two_jobs_for_one_booking_are_one_text(real: RealDesk) -> None:
    """
    Somebody queued it twice; whoever comes second looks the text up instead of sending it.
    """
    initiated = initiate(real, strategy="queued")
    real.put_job(pending_booking_id=initiated.booking_id)
    services = [real.another_service() for _ in range(2)]
    jobs = real.service.queue.claim(2)

    def call(service: BookingService, number: int) -> Callable[[], object]:
        return lambda: service.queue.run(jobs[number])

    at_once([call(service, number) for number, service in enumerate(services)])

    assert len(real.taken) == 1
    real.clock.forward(minutes=20)
    assert {outcome.state for outcome in real.service.queue.run_due()} <= {JobState.DONE}
    assert {status for status, _, _ in real.jobs} == {"done"}
