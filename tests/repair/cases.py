"""
What the tests of repairs are made of: steps and plans by hand, a ledger of one's own, and a patient to repair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from booking_doctor.adapters.ledger import DatabaseLedger
from booking_doctor.adapters.postgres import Database, Timeouts
from booking_doctor.core.model import TwilioMessage
from booking_doctor.doctor import Doctor, Planned, Repair, Request
from booking_doctor.errors import PlanRefused
from booking_doctor.findings import Disclosure, Progress, Report, Silent, Window
from booking_doctor.repair.executor import Receipt, Run, apply, undo
from booking_doctor.repair.plan import Plan, Target
from booking_doctor.repair.steps import Step, StepKind
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Names, database_settings
from tests.memory import rfc2822, sid

NOW: Final = datetime(2025, 12, 8, 12, tzinfo=UTC)
SENDER: Final = "+15550100200"
PHONE: Final = "+15550101000"
CUSTOMER: Final = str(UUID(int=1))
TABLES: Final = (
    *("customers", "events", "pending_bookings", "bookings", "messages", "jobs", "audit_logs", "webhook_logs"),
)


# --- by hand ---------------------------------------------------------------------------------------------------------


def told(number: int = 1, **values: Any) -> TwilioMessage:
    """
    A message as Twilio tells it: delivered and billed unless said otherwise.
    """
    at = values.pop("at", NOW - timedelta(days=1))
    defaults = {
        "status": "delivered",
        "direction": "outbound-api",
        "to": PHONE,
        "from_number": SENDER,
        "body": "Your table is waiting.",
        "num_segments": "1",
        "price": "-0.00790",
        "price_unit": "USD",
        "date_sent": rfc2822(at),
        "date_created": rfc2822(at),
    }
    return TwilioMessage(**{"sid": sid(number), **defaults, **values})


def insertion(number: int, customer: str = CUSTOMER, **after: str | None) -> Step:
    """
    A row to be inserted for one message.
    """
    defaults: dict[str, str | None] = {
        "customer_id": customer,
        "direction": "outbound",
        "message_sid": sid(number),
        "twilio_message_sid": sid(number),
        "body": f"Text {number}",
        "status": "delivered",
        "created_at": "2025-12-07T12:00:00Z",
    }
    subject = f"message/{sid(number)}"
    return Step(
        kind=StepKind.INSERT_MESSAGE,
        subject=subject,
        table="messages",
        row_id=None,
        sid=sid(number),
        before=None,
        after={**defaults, **after},
        reason=f"message-unrecorded:{subject}",
    )


def change(kind: StepKind, row_id: str, before: Mapping[str, str | None], after: Mapping[str, str | None]) -> Step:
    """
    A row to be changed.
    """
    restoring = kind is StepKind.RESTORE_METADATA
    return Step(
        kind=kind,
        subject=f"booking/{row_id}" if restoring else f"message/row-{row_id}",
        table="pending_bookings" if restoring else "messages",
        row_id=row_id,
        sid=sid(900),
        before=before,
        after=after,
        reason="by hand",
    )


def plan_of(*steps: Step, **values: Any) -> Plan:
    """
    A plan of those steps.
    """
    defaults = {
        "target": Target(host="db.example:5432", database="bookings", oid=5, account_sid="AC" + "0" * 32),
        "made_at": "2025-12-08T12:00:00Z",
        "since": "2025-12-01T12:00:00Z",
        "until": "2025-12-08T12:00:00Z",
        "all_senders": False,
        "fix_mismatched": False,
        "messages": 99,
        "left": (),
    }
    return Plan(**{**defaults, **values}, steps=steps)


# --- a ledger of one's own -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """
    A database with the application's schema, a ledger on it, and somebody who looks at both from outside.
    """

    url: str
    database: Database
    ledger: DatabaseLedger

    def apply(self, plan: Plan, run: str = "run-1", *, batch_size: int = 500, progress: Progress = Silent()) -> Receipt:
        """
        Carry the plan out.
        """
        named = Run(id=run, command="backfill", checksum=plan.checksum, started_at=NOW)
        return apply(plan, self.ledger, named, batch_size=batch_size, progress=progress)

    def undo(self, run: str = "run-1", *, batch_size: int = 500, progress: Progress = Silent()) -> Receipt:
        """
        Take the run back.
        """
        return undo(run, self.ledger, batch_size=batch_size, progress=progress)

    def sql(self, *statements: str, **values: Any) -> list[dict[str, Any]]:
        """
        Somebody else runs SQL; the rows of the last statement.
        """
        return run_sql(self.url, *statements, **values)

    def dump(self) -> dict[str, list[str]]:
        """
        Every row of the application, as text.
        """
        return dump(self.url)


def run_sql(url: str, *statements: str, **values: Any) -> list[dict[str, Any]]:
    """
    Run statements in one transaction; the rows of the last.
    """
    with psycopg.connect(url, row_factory=dict_row) as connection:
        for statement in statements:
            cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def dump(url: str) -> dict[str, list[str]]:
    """
    Every row of the application's tables, as text.
    """
    with psycopg.connect(url) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {
            table: [row for (row,) in connection.execute(f"SELECT row_to_json(t)::text FROM {table} t ORDER BY 1")]
            for table in TABLES
        }


def new_trigger(body: str, when: str = "BEFORE INSERT ON messages FOR EACH ROW", name: str = "t") -> tuple[str, str]:
    """
    The statements that add a trigger with that body.
    """
    return (
        f"CREATE FUNCTION {name}_function() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {name}_function()",
    )


@contextmanager
def open_bench(url: str, names: Names = Names(), timeouts: Timeouts = Timeouts()) -> Iterator[Bench]:
    """
    A bench on that database.
    """
    database = Database(database_settings({"DATABASE_URL": url}), names, timeouts)
    try:
        yield Bench(url, database, DatabaseLedger(database))
    finally:
        database.close()


class AfterTheFirstBatch(Silent):
    """
    Something happens once the first batch stands.
    """

    def __init__(self, happen: Callable[[], object]) -> None:
        self.happen = happen
        self.happened = False

    def written(self, steps: int, total: int) -> None:
        """
        A batch is in the database.
        """
        if not self.happened:
            self.happened = True
            self.happen()


# --- rows by hand ----------------------------------------------------------------------------------------------------


def reasons(left: Sequence[Any]) -> dict[str, str]:
    """
    Why, by subject.
    """
    return {one.subject: one.reason for one in left}


def booking_row(bench: Bench, metadata: str | None = "{}", **values: Any) -> str:
    """
    An open booking; its id.
    """
    columns = {"token": str(time.monotonic_ns()), "customer_phone": PHONE, "metadata": metadata, **values}
    names, places = ", ".join(columns), ", ".join(f"%({name})s" for name in columns)
    statement = f"INSERT INTO pending_bookings ({names}) VALUES ({places}) RETURNING id::text AS id"
    return str(bench.sql(statement, **columns)[0]["id"])


def message_row(bench: Bench, number: int, **values: Any) -> str:
    """
    A recorded message; its id.
    """
    defaults = {"customer_id": CUSTOMER, "direction": "outbound", "message_sid": sid(number), "created_at": NOW}
    columns = {**defaults, **values}
    names, places = ", ".join(columns), ", ".join(f"%({name})s" for name in columns)
    return str(
        bench.sql(f"INSERT INTO messages ({names}) VALUES ({places}) RETURNING id::text AS id", **columns)[0]["id"]
    )


def restoration(booking: str, before: str | None = "{}", after: str = '{"initial_sms": {}}') -> Step:
    """
    Metadata to be filled.
    """
    return change(StepKind.RESTORE_METADATA, booking, {"metadata": before}, {"metadata": after})


# --- a patient -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patient:
    """
    A scene with a doctor at hand.
    """

    scene: World
    open_doctor: Callable[..., Doctor]
    doctor: Doctor

    @property
    def request(self) -> Request:
        """
        The last seven days.
        """
        return Request(window=Window(self.scene.now - timedelta(days=7), self.scene.now))

    def plan(self, **repair: Any) -> Planned:
        """
        What a backfill would do.
        """
        planned = self.doctor.plan(self.request, Repair(**repair))
        assert isinstance(planned, Planned), planned.exit_reason
        return planned

    def apply(self, **repair: Any) -> Report:
        """
        Plan and carry out.
        """
        return self.doctor.apply(self.plan(**repair), self.request, Repair(**repair))

    def undo(self, run: str = "run-1", *, allow_triggers: bool = False) -> Report:
        """
        Take a run back, as the command does.
        """
        shown, refusal = self.doctor.plan_undo(run, Disclosure(), allow_triggers=allow_triggers)
        if refusal:
            raise PlanRefused(refusal)
        return self.doctor.undo(run, shown, batch_size=500)

    def dump(self) -> dict[str, list[str]]:
        """
        Every row of the application, as text.
        """
        return dump(self.scene.url)

    def sql(self, *statements: str, **values: Any) -> list[dict[str, Any]]:
        """
        Somebody else runs SQL; the rows of the last statement.
        """
        return run_sql(self.scene.url, *statements, **values)

    def ago(self, **age: float) -> datetime:
        """
        So long before the story is told.
        """
        return self.scene.now - timedelta(**age)

    def unrecorded(self, number: int = 1) -> list[str]:
        """
        Customers with one text each that nobody recorded, an hour apart; the SIDs, newest first.
        """
        phones = [f"+1555010{1000 + n}" for n in range(number)]
        for phone in phones:
            self.scene.customer(phone)
        return [self.scene.text(phone, self.ago(hours=1 + n)).sid for n, phone in enumerate(phones)]
