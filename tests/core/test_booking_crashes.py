"""
The crash matrix: the process is killed at every step, and what it leaves is put right without texting anybody twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count

import pytest

from booking_doctor.bootstrap import Planned, Repair, Request, doctor_for
from booking_doctor.core.booking import JobState, SmsState
from booking_doctor.findings import Report, Silent, Window
from booking_doctor.settings import Preferences
from tests.core.crashing import Crasher, crasher
from tests.core.desk import APP, RealDesk, initiate, request

FEWEST_STEPS = 12
"""No use case has fewer steps at which it can be killed: else the fuse is not laid through it."""


@pytest.fixture(name="process", scope="module")
def _process() -> Iterator[Crasher]:
    """
    A process that dies at the step it is told.
    """
    with crasher() as process:
        yield process


@pytest.fixture(name="crashes")
def _crashes(real: RealDesk, process: Crasher) -> Crasher:
    """
    That process on the desk's world, today.
    """
    real.clock.moment = real.scene.now
    process.enter({**real.scene.environment(), "BOOKING_APP_URL": APP}, real.event_id)
    return process


def phone(number: int) -> str:
    """
    A phone for each crash.
    """
    return f"+1555010{number:04}"


def crash_at_every_step(crash: Callable[[int], bool]) -> int:
    """
    Until it was not killed any more: at how many steps it was.
    """
    for step in count(1):
        if not crash(step):
            assert step > FEWEST_STEPS
            return step
    raise AssertionError


# --- what puts it right ----------------------------------------------------------------------------------------------


def compared(real: RealDesk) -> Report:
    """
    The doctor's comparison of both sides.
    """
    doctor = doctor_for(real.scene.variable_sources(), Preferences(), Silent(), clock=real.clock.now)
    try:
        return doctor.reconcile(Request(window=window(real)))
    finally:
        doctor.close()


def window(real: RealDesk) -> Window:
    """
    A day.
    """
    return Window(real.clock.now() - timedelta(days=1), real.clock.now())


def backfill(real: RealDesk) -> None:
    """
    The doctor plans what is missing and writes it.
    """
    doctor = doctor_for(real.scene.variable_sources(), Preferences(), Silent(), clock=real.clock.now)
    asked, options = Request(window=window(real)), Repair(max_changes=1000)
    try:
        planned = doctor.plan(asked, options)
        if isinstance(planned, Planned) and planned.plan.steps:
            report = doctor.apply(planned, asked, options)
            assert report.run
            assert report.run.verified, report.exit_reason
    finally:
        doctor.close()


def confirm_all(real: RealDesk) -> None:
    """
    Every customer taps the link.
    """
    for row in real.scene.rows("SELECT token FROM pending_bookings"):
        real.service.confirm_booking(row["token"])


def resolve_all(real: RealDesk) -> None:
    """
    Every text is looked for.
    """
    for row in real.scene.rows("SELECT CAST(id AS text) AS id FROM pending_bookings"):
        real.service.resolve_unknown(row["id"])


def confirm_while_the_log_lags(real: RealDesk) -> None:
    """
    Every customer taps the link before Twilio's log shows a text.
    """
    real.lag(timedelta(days=1))
    confirm_all(real)
    real.lag(timedelta(0))


RECOVERIES = {
    "confirm again": (confirm_all,),
    "backfill, then confirm": (backfill, confirm_all),
    "confirm, then backfill": (confirm_while_the_log_lags, backfill, resolve_all),
    "confirm, resolve, backfill": (confirm_while_the_log_lags, resolve_all, backfill),
}


def recover(real: RealDesk, way: str) -> None:
    """
    A quarter of an hour later, and then twice, because once more must change nothing.
    """
    real.clock.forward(minutes=16)
    for _ in range(2):
        for act in RECOVERIES[way]:
            act(real)


def check(real: RealDesk) -> None:
    """
    At most one text for a booking, exactly one row for a text, one customer for a phone; the doctor finds nothing to do.
    """
    texts = Counter(to for _, to, _ in real.taken)
    rows = Counter(row.message_sid for row in real.recorded)
    assert set(texts.values()) <= {1}
    assert rows == Counter(sid for sid, _, _ in real.taken)
    phones = {customer.id: customer.phone for customer in real.customers}
    assert len(set(phones.values())) == len(phones)
    assert all(phones[row.customer_id] == row.to_number for row in real.recorded)
    statuses = real.scene.rows("SELECT status, count(*) FROM pending_bookings GROUP BY status")
    assert [row["status"] for row in statuses] == ["confirmed"]
    lasting = real.scene.rows("SELECT (SELECT count(*) FROM bookings) = (SELECT count(*) FROM pending_bookings) AS one")
    assert lasting == [{"one": True}]
    summary = compared(real).summary
    assert {name: summary[name] for name in ("unrecorded", "duplicated", "without_customer", "unknown_to_twilio")} == {
        "unrecorded": 0,
        "duplicated": 0,
        "without_customer": 0,
        "unknown_to_twilio": 0,
    }


# --- the matrix ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", RECOVERIES)
def test_initiate_is_killed_at_every_step(real: RealDesk, crashes: Crasher, way: str) -> None:
    """
    The caller tries again with its key; whoever was texted is not texted again.
    """
    now = real.clock.now().isoformat()

    def crash(step: int) -> bool:
        return crashes.killed(
            do="initiate", at=step, now=now, event=real.event_id, phone=phone(step), key=f"key-{step}"
        )

    steps = crash_at_every_step(crash)
    texted = {to for _, to, _ in real.taken}
    for step in range(1, steps + 1):
        again = initiate(real, phone(step), idempotency_key=f"key-{step}")
        assert again.sms
        if again.repeated and phone(step) not in texted:
            assert again.sms.state is SmsState.SENDING

    recover(real, way)

    check(real)
    assert 1 < len(texted) < steps


@pytest.mark.parametrize(
    ("lost", "way"), [(False, "confirm again"), (True, "confirm again"), (True, "backfill, then confirm")]
)
def test_confirm_is_killed_at_every_step(real: RealDesk, crashes: Crasher, lost: bool, way: str) -> None:
    """
    Also where the text's SID has to be looked for first: all of the confirmation is stored or nothing.
    """

    def crash(step: int) -> bool:
        if lost:
            real.lose_answer()
        token = initiate(real, phone(step)).token
        killed = crashes.killed(do="confirm", at=step, now=real.clock.now().isoformat(), token=token)
        question = (
            "SELECT p.status, (SELECT count(*) FROM bookings b WHERE b.pending_booking_id = p.id) AS lasting,"
            " (SELECT count(*) FROM messages m WHERE m.to_number = p.customer_phone) AS rows"
            " FROM pending_bookings p WHERE token = :token"
        )
        (stored,) = real.scene.rows(question, token=token)
        assert tuple(stored.values()) in {("pending", 0, 0), ("confirmed", 1, 1)}
        return killed

    steps = crash_at_every_step(crash)

    recover(real, way)

    check(real)
    assert len(real.taken) == steps


@pytest.mark.parametrize("way", ["confirm again", "confirm, then backfill"])
def test_a_worker_is_killed_at_every_step(real: RealDesk, crashes: Crasher, way: str) -> None:
    """
    What it leaves is another's once the lease has run out: sent if it certainly was not, looked for if it may have been.
    """

    def crash(step: int) -> bool:
        real.service.initiate_booking(request(real, phone(step)), strategy="queued")
        return crashes.killed(do="work", at=step, now=real.clock.now().isoformat())

    steps = crash_at_every_step(crash)
    while {status for status, _, _ in real.jobs} & {"queued", "running"}:
        real.clock.forward(minutes=6)
        real.service.queue.run_due(steps)

    recover(real, way)

    check(real)
    texted = {to for _, to, _ in real.taken}
    for row in real.scene.rows("SELECT CAST(id AS text) AS id, customer_phone FROM pending_bookings"):
        sms = real.booking(row["id"]).sms
        assert sms
        assert (sms.state is SmsState.UNKNOWN) == (row["customer_phone"] not in texted)
    failed = [error for status, _, error in real.jobs if status == JobState.FAILED]
    assert len(failed) == steps - len(texted)
    assert all("it is not sent again" in (error or "") for error in failed)
    assert len(texted) > len(failed)
