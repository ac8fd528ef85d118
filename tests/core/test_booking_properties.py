"""
Whatever happens in whatever order, every text ends up in one place, once: bookings, crashes, callbacks and repairs, mixed.

The flow and the doctor's comparison and plan are the real ones; the store and Twilio are their twins in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import force_setattr, replace

from booking_doctor.core.agreement import Row
from booking_doctor.core.booking import BookingRequest, MessageRow, PendingBooking, SmsState, StatusReport
from booking_doctor.core.flow import closed, further
from booking_doctor.core.metadata import metadata_of, sms_in
from booking_doctor.core.ports import Answer, Lost, NotSent, Text
from booking_doctor.discrepancies import Terms
from booking_doctor.errors import BookingClosed, DatabaseUnreachable, OutcomeNotStored
from booking_doctor.evidence import Booking, Customer
from booking_doctor.findings import Window
from booking_doctor.reconcile import reconcile
from booking_doctor.repair.plan import Shape, plan_steps
from booking_doctor.repair.steps import Step, StepKind
from booking_doctor.settings import COLUMNS
from tests.core.desk import MemoryDesk
from tests.memory import MemoryLog, MemoryRecords

PHONES = ["+15550101000", "+15550101001"]
FAULTS = ["none", "refused", "throttled", "lost", "killed before", "killed after", "database gone"]
LIVES = [("sent", "delivered"), ("sent", "undelivered"), ("failed",), ("sending", "sent")]


class Killed(BaseException):
    """
    The process is gone.
    """


class Mixture(RuleBasedStateMachine):
    """
    A desk at which everything goes wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.desk = MemoryDesk()
        self.asked: dict[str, tuple[BookingRequest, str]] = {}
        self.callbacks: list[StatusReport] = []
        self.fault = "none"
        send = self.desk.twilio.send
        force_setattr(self.desk.service._texting, "messenger", self)
        self._send: Callable[[Text], Answer] = send

    # what goes wrong between us and Twilio

    def send(self, text: Text) -> Answer:
        """
        A messenger to whom things happen.
        """
        fault, self.fault = self.fault, "none"
        if fault == "killed before":
            raise Killed
        if fault == "refused":
            return NotSent(code=21610, reason="opted out")
        if fault == "throttled":
            return NotSent(code=20429, reason="too much", passing=True)
        answer = self._send(text)
        self._lives(text)
        if fault == "killed after":
            raise Killed
        if fault == "database gone":
            self._lose_the_database()
        return Lost(reason="no answer") if fault == "lost" else answer

    def _lose_the_database(self) -> None:
        """
        Until the use case has given up.
        """

        def gone() -> None:
            message = "gone"
            raise DatabaseUnreachable(message)

        self.desk.store.begin = gone  # type: ignore[method-assign, assignment]

    @contextmanager
    def _whatever_happens(self) -> Iterator[None]:
        try:
            with suppress(Killed, OutcomeNotStored):
                yield
        finally:
            self.fault = "none"
            self.desk.store.__dict__.pop("begin", None)

    def _lives(self, text: Text) -> None:
        """
        Twilio will report how the text fares, to the address that it was given.
        """
        message = self.desk.twilio.log[-1]
        assert text.callback
        query = dict(part.split("=") for part in text.callback.partition("?")[2].split("&"))
        for status in LIVES[len(self.desk.twilio.log) % len(LIVES)]:
            self.callbacks.append(
                StatusReport(
                    message_sid=message.sid,
                    status=status,
                    from_number=message.from_number,
                    booking_id=query["booking"],
                    attempt_id=query["attempt"],
                )
            )

    # what people and programs do

    @rule(
        phone=st.sampled_from(PHONES),
        fault=st.sampled_from(FAULTS),
        strategy=st.sampled_from(["direct", "direct", "queued"]),
    )
    def initiate(self, phone: str, fault: str, strategy: Any) -> None:
        """
        A customer books.
        """
        request = BookingRequest(event_id=self.desk.event_id, customer_name="Ada", customer_phone=phone)
        key, known = f"key-{len(self.asked)}", set(self.desk.store.tables.bookings)
        self.fault = fault
        with self._whatever_happens():
            self.desk.service.initiate_booking(request, idempotency_key=key, strategy=strategy)
        (booking_id,) = set(self.desk.store.tables.bookings) - known
        self.asked[booking_id] = request, key

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def try_again(self, data: st.DataObject) -> None:
        """
        A client that heard nothing sends its request once more.
        """
        booking_id = data.draw(st.sampled_from(sorted(self.asked)))
        request, key = self.asked[booking_id]

        again = self.desk.service.initiate_booking(request, idempotency_key=key)

        assert (again.repeated, again.booking_id) == (True, booking_id)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        """
        A customer taps the link.
        """
        booking = self.desk.booking(data.draw(st.sampled_from(sorted(self.asked))))
        with suppress(BookingClosed):
            confirmed = self.desk.service.confirm_booking(booking.token)
            assert confirmed.repeated == (booking.status == "confirmed")

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), status=st.sampled_from(["cancelled", "expired"]))
    def close(self, data: st.DataObject, status: str) -> None:
        """
        Somebody calls a booking off.
        """
        booking_id = data.draw(st.sampled_from(sorted(self.asked)))
        if self.desk.booking(booking_id).status == "pending":
            self.desk.close_booking(booking_id, status)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        """
        Somebody looks for a text.
        """
        self.desk.service.resolve_unknown(data.draw(st.sampled_from(sorted(self.asked))))

    @rule(fault=st.sampled_from(FAULTS), limit=st.integers(1, 3))
    def work(self, fault: str, limit: int) -> None:
        """
        A worker does what is due, or dies over it.
        """
        self.fault = fault
        with self._whatever_happens():
            self.desk.service.queue.run_due(limit)

    @precondition(lambda self: self.callbacks)
    @rule(data=st.data(), again=st.booleans())
    def callback(self, data: st.DataObject, again: bool) -> None:
        """
        Twilio reports, in any order, sometimes twice.
        """
        number = data.draw(st.integers(0, len(self.callbacks) - 1))
        self._report(self.callbacks[number])
        if not again:
            del self.callbacks[number]

    def _report(self, report: StatusReport) -> None:
        """
        Twilio's own log has known it at least as long.
        """
        self.desk.twilio.log[:] = [
            msgspec.structs.replace(message, status=further(message.status, report.status) or message.status)
            if message.sid == report.message_sid
            else message
            for message in self.desk.twilio.log
        ]
        self.desk.service.record_status(report)

    @rule(minutes=st.sampled_from([1, 6, 16, 90, 24 * 60]))
    def wait(self, minutes: int) -> None:
        """
        Time passes.
        """
        self.desk.clock.forward(minutes=minutes)

    @rule(minutes=st.sampled_from([0, 5, 120]))
    def lag(self, minutes: int) -> None:
        """
        Twilio's list is more or less behind.
        """
        self.desk.lag(timedelta(minutes=minutes))

    @rule()
    def backfill(self) -> None:
        """
        The doctor compares, plans and writes.
        """
        for step in self._planned():
            self._write(step)

    # the doctor

    def _planned(self) -> tuple[Step, ...]:
        now = self.desk.clock.now()
        window = Window(now - timedelta(days=30), now + timedelta(microseconds=1))
        shown = now - self.desk.twilio.list_lag
        log = MemoryLog(
            messages=self.desk.twilio.log,
            unlisted={message.sid for message in self.desk.twilio.log if message.happened_at > shown},
        )
        comparison = reconcile(log, self._records(now), Terms(window=window, now=now, senders=None))
        shape = Shape(columns=frozenset(COLUMNS["messages"]), statuses=None, region="US")
        return plan_steps(comparison, shape)[0]

    def _records(self, now: datetime) -> MemoryRecords:
        tables = self.desk.store.tables
        return MemoryRecords(
            table=[
                Row(
                    id=row.message_sid,
                    message_sid=row.message_sid,
                    twilio_message_sid=row.message_sid,
                    status=row.status,
                    twilio_status=row.status,
                    direction="outbound",
                    to_number=row.to_number,
                    body=row.body,
                    customer_id=row.customer_id,
                    created_at=row.created_at,
                )
                for row in tables.messages.values()
            ],
            bookings=[_evidence(booking, now) for booking in tables.bookings.values()],
            customers=[Customer(id=customer.id, phone=customer.phone) for customer in tables.customers.values()],
        )

    def _write(self, step: Step) -> None:
        """
        As the ledger does: only while the row is as it was planned on.
        """
        tables = self.desk.store.tables
        assert step.after
        if step.kind is StepKind.INSERT_MESSAGE:
            assert step.sid not in tables.messages
            told = step.after
            tables.messages[step.sid] = MessageRow(
                customer_id=told["customer_id"] or "",
                message_sid=step.sid,
                body=told["body"],
                status=told["status"],
                from_number=told["from_number"],
                to_number=told["to_number"],
                segments=int(told["segments"] or 0),
                cost_usd=Decimal(told["cost_usd"]) if told["cost_usd"] else None,
                created_at=datetime.fromisoformat(told["created_at"] or ""),
            )
            return
        assert step.kind is StepKind.RESTORE_METADATA
        assert step.row_id
        booking = tables.bookings[step.row_id]
        assert step.before == {"metadata": metadata_of(booking)}
        tables.bookings[step.row_id] = replace(booking, sms=sms_in(step.after["metadata"]))

    # what always holds, and what holds in the end

    @invariant()
    def no_booking_is_texted_twice(self) -> None:
        """
        The link tells whose text it is.
        """
        texts = Counter(message.body for message in self.desk.twilio.log)
        assert set(texts.values()) <= {1}

    @invariant()
    def no_sid_is_known_of_two_bookings(self) -> None:
        """
        And it is the booking's own.
        """
        bodies = {message.sid: message.body or "" for message in self.desk.twilio.log}
        known = [(booking, booking.sms.message_sid) for booking in self._bookings() if booking.sms]
        named = [(booking, sid) for booking, sid in known if sid]
        assert len({sid for _, sid in named}) == len(named)
        assert all(booking.token in bodies[sid] for booking, sid in named)

    def _bookings(self) -> list[PendingBooking]:
        return list(self.desk.store.tables.bookings.values())

    def teardown(self) -> None:
        """
        In the end everything is heard, looked for, confirmed and repaired: then nothing is missing, and nothing is wrong.
        """
        self.desk.lag(timedelta(0))
        self.desk.clock.forward(minutes=16)
        self._work_until_nothing_is_due()
        for report in self.callbacks:
            self._report(report)
        for booking in self._bookings():
            self.desk.service.resolve_unknown(booking.id)
            with suppress(BookingClosed):
                self.desk.service.confirm_booking(booking.token)
        self.backfill()
        self._check()

    def _work_until_nothing_is_due(self) -> None:
        while {status for status, _, _ in self.desk.jobs} & {"queued", "running"}:
            self.desk.clock.forward(minutes=6)
            self.desk.service.queue.run_due()

    def _check(self) -> None:
        tables, now = self.desk.store.tables, self.desk.clock.now()
        texts = {message.sid: message for message in self.desk.twilio.log}
        for booking in self._bookings():
            sids = [sid for sid, message in texts.items() if booking.token in (message.body or "")]
            sms = booking.sms
            assert sms
            assert sms.message_sid == (sids[0] if sids else None)
            assert (sms.state is SmsState.SENT) == bool(sids)
            if booking.status == "confirmed":
                assert all(sid in tables.messages for sid in sids)
            assert booking.status in {"confirmed", "cancelled", "expired"} or closed(booking, now)
        for sid, row in tables.messages.items():
            assert tables.customers[row.customer_id].phone == row.to_number == texts[sid].to
            assert row.status == texts[sid].status
        phones = [customer.phone for customer in tables.customers.values()]
        assert len(set(phones)) == len(phones)


def _evidence(booking: PendingBooking, now: datetime) -> Booking:
    status = closed(booking, now) or booking.status
    return Booking(
        id=booking.id,
        phone=booking.customer_phone,
        status=status,
        open=status == "pending",
        created_at=booking.created_at,
        names_sid=booking.sms.message_sid if booking.sms else None,
        customer_id=booking.customer_id,
        metadata=metadata_of(booking),
    )


TestMixture = Mixture.TestCase
TestMixture.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
