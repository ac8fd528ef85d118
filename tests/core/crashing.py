"""
A booking service that dies in the middle: ``python -m tests.core.crashing``, driven line by line.

Each line of input is a world, or one use case in it and the step at which its process is killed, without any warning, as
the kernel or a power cut does it. Steps are every statement, every commit and every request to Twilio, before and after.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psycopg
from msgspec.structs import replace

from booking_doctor.bootstrap import booking_service_for
from booking_doctor.core import flow
from booking_doctor.core.booking import BookingRequest, Event, InitialSms, SmsState
from booking_doctor.core.service import BookingService
from booking_doctor.errors import BookingUnknown, InputRefused
from booking_doctor.settings import Preferences
from tests.core.desk import IMPATIENT, TestClock


@dataclass
class Fuse:
    """
    Burns down with each step; the process dies with its last.
    """

    length: int
    burnt: int = 0

    def burn(self, *_: object) -> None:
        """
        A step.
        """
        self.burnt += 1
        if self.burnt == self.length:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """
        A step before and a step after.
        """

        def called(*arguments: Any, **options: Any) -> Any:
            self.burn()
            answer = call(*arguments, **options)
            self.burn()
            return answer

        return called


def fused(service: BookingService, fuse: Fuse) -> BookingService:
    """
    The service with the fuse laid through all that it does.
    """
    psycopg.Cursor.execute = fuse.around(psycopg.Cursor.execute)  # type: ignore[method-assign]
    psycopg.Connection.commit = fuse.around(psycopg.Connection.commit)  # type: ignore[method-assign]
    for http in (service._texting.messenger._http, service._texting.finder._http):  # type: ignore[attr-defined]
        http.request = fuse.around(http.request)
    return service


def run(service: BookingService, order: dict[str, Any]) -> None:
    """
    Carry out one order.
    """
    match order["do"]:
        case "initiate":
            asked = BookingRequest(event_id=order["event"], customer_name="Ada", customer_phone=order["phone"])
            service.initiate_booking(asked, idempotency_key=order["key"])
        case "confirm":
            service.confirm_booking(order["token"])
        case "work":
            service.queue.run_due(1)


def main() -> None:
    """
    A process of its own for each use case; what is imported and looked up once serves all.
    """
    clock = TestClock()
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "enter":
            service = booking_service_for(order["world"], Preferences(), clock=clock, patience=IMPATIENT)
            rehearse(service, order["event"])
            continue
        clock.moment = datetime.fromisoformat(order["now"])
        if not (child := os.fork()):
            run(fused(service, Fuse(order["at"])), order)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, "status": status}), flush=True)  # noqa: T201  for the test


def rehearse(service: BookingService, event_id: str) -> None:
    """
    Do everything once that asks the catalog, and keep nothing of it: its questions are no steps of a use case.
    """
    with suppress(BookingUnknown):
        service.confirm_booking("nothing")
    with suppress(InputRefused):
        service.initiate_booking(BookingRequest(event_id="nothing", customer_name="Ada", customer_phone="+15550101000"))
    service.queue.claim(0)
    with suppress(ZeroDivisionError), service._store.begin() as work:
        now = datetime.now(UTC)
        asked = BookingRequest(event_id=event_id, customer_name="Ada", customer_phone="+15550101000")
        start = flow.Start(token="t", attempt_id="a", strategy="queued", key="k", now=now)
        booking = flow.begun(asked, Event(id=event_id, title=None), start, flow.Terms(app_url="https://x.example"))
        work.add_booking(booking)
        booking = work.locked(booking.id) or booking
        work.add_job(booking, now)
        customer_id = work.add_customer(booking)
        work.customers_with(booking.customer_phone)
        work.confirm(booking, customer_id, now)
        known = replace(booking, customer_id=customer_id, status="confirmed")
        row = flow.row_of(known.with_sms(InitialSms(state=SmsState.SENT, message_sid="SM" + "0" * 32, status="sent")))
        assert row
        work.record(row)
        raise ZeroDivisionError
    service.close()


@dataclass(frozen=True)
class Crasher:
    """
    The other end of that process.
    """

    orders: IO[str]
    answers: IO[str]

    def enter(self, world: dict[str, str], event_id: str) -> None:
        """
        What follows happens in the world that these variables lead to.
        """
        self._order(do="enter", world=world, event=event_id)

    def _order(self, **order: object) -> None:
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()

    def killed(self, **order: object) -> bool:
        """
        Whether the process that carried out the order was killed on the way; else it ended well.
        """
        self._order(**order)
        answer = json.loads(self.answers.readline())
        assert answer["killed"] or answer["status"] == 0, answer
        return bool(answer["killed"])


@contextmanager
def crasher() -> Iterator[Crasher]:
    """
    A process that takes orders for as long as the block lasts.
    """
    command = [sys.executable, "-m", "tests.core.crashing"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdin
        assert process.stdout
        yield Crasher(process.stdin, process.stdout)
        process.stdin.close()
        process.wait(10)


if __name__ == "__main__":
    main()
