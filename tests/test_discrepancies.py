"""
Every kind of disagreement on a real PostgreSQL and a simulated Twilio: healthy, a look-alike, broken, repaired.

Each test says what an engineer on call relies on. Then come tables that are not quite the ones of the schema, and the
proof that the rows that other tests keep in memory say what PostgreSQL's rows say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import pytest
from msgspec.structs import replace
from sqlalchemy import insert

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.records import DatabaseRecords
from booking_doctor.adapters.tables import application_tables
from booking_doctor.core.agreement import Row
from booking_doctor.doctor import Doctor, Planned, Repair, Request
from booking_doctor.errors import DatabaseForbidden, ExitCode
from booking_doctor.evidence import Booking, Customer
from booking_doctor.findings import Disclosure, Report, Window
from booking_doctor.sandbox.incidents import SENDER, World, told_by_twilio
from booking_doctor.sandbox.twilio_log import Message
from booking_doctor.sandbox.twilio_rules import Attempt, Refused
from booking_doctor.settings import Names, Preferences, database_settings
from tests.memory import MemoryRecords

ANNA, BERT = "+15550101001", "+15550101002"
MESSAGES: Final = application_tables(Names())["messages"]


@dataclass(kw_only=True)
class Clinic:
    """
    A world, and the doctor that looks at it.

    Attributes:
        seen: What the last look found.
    """

    scene: World
    open_doctor: Callable[..., Doctor]
    preferences: Preferences = Preferences()
    variables: Mapping[str, str] = field(default_factory=dict)
    seen: Report | None = None
    called: Doctor | None = None

    @property
    def request(self) -> Request:
        """
        The last three days.
        """
        return Request(window=Window(self.scene.now - timedelta(days=3), self.scene.now))

    @property
    def doctor(self) -> Doctor:
        """
        The same one, until the tables, the settings or the role change.
        """
        self.called = self.called or self.open_doctor(self.preferences, **self.variables)
        return self.called

    def change(self, *statements: str) -> None:
        """
        Somebody changes the tables; the doctor is called anew, as the command line calls one.
        """
        for statement in statements:
            self.scene.execute(statement)
        self.called = None

    def ago(self, **span: float) -> datetime:
        """
        A time before now.
        """
        return self.scene.now - timedelta(**span)

    def look(self, **how: Any) -> Report:
        """
        The report of a comparison.
        """
        self.seen = self.doctor.reconcile(replace(self.request, **how))
        return self.seen

    def findings(self) -> list[str]:
        """
        What a comparison finds, with everything looked at.
        """
        report = self.look()
        assert report.skipped == []
        return sorted(f"{finding.severity} {finding.fingerprint}" for finding in report.findings)

    def counts(self, *names: str) -> list[int]:
        """
        What the last look counted.
        """
        return [self.last.summary[name] for name in names]

    @property
    def last(self) -> Report:
        """
        The report of the last look.
        """
        assert self.seen
        return self.seen

    def backfill(self, *, fix_mismatched: bool = False) -> None:
        """
        The remedy that the findings name: plan, apply, verify.
        """
        repair = Repair(fix_mismatched=fix_mismatched, max_changes=100)
        planned = self.doctor.plan(self.request, repair)
        assert isinstance(planned, Planned)
        assert planned.plan.steps
        report = self.doctor.apply(planned, self.request, repair)
        assert report.run
        assert report.run.verified, report.exit_reason

    def recorded_text(self, phone: str = ANNA, at: datetime | None = None, **values: Any) -> Message:
        """
        A text to a customer whom it is recorded for.
        """
        message = self.scene.text(phone, at or self.ago(days=1))
        self.scene.record(message, self.scene.customer(phone), **values)
        return message


@pytest.fixture(name="clinic")
def _clinic(scene: World, open_doctor: Callable[..., Doctor]) -> Clinic:
    """
    A clinic in a world where nothing has happened yet.
    """
    return Clinic(scene=scene, open_doctor=open_doctor)


# --- the four beats of each kind -------------------------------------------------------------------------------------


def test_unrecorded(clinic: Clinic) -> None:
    """
    A text that no row carries the SID of is an error until the backfill has recorded it.
    """
    clinic.recorded_text()
    assert clinic.findings() == []

    second_only = clinic.scene.text(BERT, clinic.ago(hours=3))
    bert = clinic.scene.customer(BERT)
    clinic.scene.record(second_only, bert, message_sid=None)
    years_off = clinic.scene.text(BERT, clinic.ago(hours=2))
    clinic.scene.record(years_off, bert, created_at=clinic.ago(days=700))
    assert clinic.findings() == []
    assert clinic.counts("matched", "unrecorded") == [3, 0]

    lost = clinic.scene.text(BERT, clinic.ago(hours=1))
    assert clinic.findings() == [f"error message-unrecorded:message/{lost.sid}"]
    assert clinic.last.exit_code is ExitCode.FINDINGS

    clinic.backfill()
    assert clinic.findings() == []
    assert clinic.counts("matched", "unrecorded") == [4, 0]


def test_orphaned(clinic: Clinic) -> None:
    """
    An unrecorded text that is nobody's is a warning until somebody with that number is known.
    """
    clinic.recorded_text()
    assert clinic.findings() == []

    known = clinic.scene.text(BERT, clinic.ago(hours=3))
    clinic.scene.customer("(555) 010-1002")
    assert clinic.findings() == [f"error message-unrecorded:message/{known.sid}"]
    clinic.backfill()

    stranger = clinic.scene.text("+15550101003", clinic.ago(hours=1))
    assert clinic.findings() == [f"warning message-orphaned:message/{stranger.sid}"]
    assert clinic.counts("unrecorded", "orphaned") == [1, 1]
    assert clinic.last.exit_code is ExitCode.OK

    clinic.scene.customer("555.010.1003")
    clinic.backfill()
    assert clinic.findings() == []


def test_deferred(clinic: Clinic) -> None:
    """
    A text in the metadata of an open booking needs nobody; once the booking is no longer open, it has to be recorded.
    """
    booking = clinic.scene.pending_booking(ANNA, created_at=clinic.ago(hours=2))
    message = clinic.scene.text(ANNA, clinic.ago(hours=2))
    clinic.scene.defer(message, booking)
    assert clinic.findings() == []
    assert clinic.counts("deferred", "unrecorded", "recorded_messages") == [1, 0, 0]

    last_minute = clinic.scene.pending_booking(
        BERT, created_at=clinic.ago(hours=1), expires_at=clinic.scene.now + timedelta(seconds=1)
    )
    clinic.scene.defer(clinic.scene.text(BERT, clinic.ago(hours=1)), last_minute)
    assert clinic.findings() == []
    assert clinic.counts("deferred") == [2]

    clinic.scene.confirm(booking, clinic.scene.customer(ANNA))
    assert clinic.findings() == [f"error message-unrecorded:message/{message.sid}"]
    assert clinic.counts("deferred", "unrecorded") == [1, 1]

    clinic.backfill()
    assert clinic.findings() == []
    assert clinic.counts("deferred", "matched") == [1, 1]


def test_deferred_until_it_expires(clinic: Clinic) -> None:
    """
    At the second in which its booking expires, a deferred text is deferred no longer.
    """
    booking = clinic.scene.pending_booking(ANNA, created_at=clinic.ago(hours=2), expires_at=clinic.scene.now)
    message = clinic.scene.text(ANNA, clinic.ago(hours=2))
    clinic.scene.defer(message, booking)
    clinic.scene.customer(ANNA)

    assert clinic.findings() == [f"error message-unrecorded:message/{message.sid}"]

    clinic.backfill()
    assert clinic.findings() == []


def test_in_flight(clinic: Clinic) -> None:
    """
    For five minutes the application may still be about to record a text; then it is missing.
    """
    clinic.scene.customer(ANNA)
    clinic.recorded_text(BERT, clinic.ago(minutes=1))
    assert clinic.findings() == []

    clinic.scene.text(ANNA, clinic.ago(minutes=4, seconds=59), status="sent", price=None)
    waiting = clinic.scene.text(ANNA, clinic.ago(seconds=10), status="queued", price=None)
    assert told_by_twilio(waiting, clinic.scene.now).date_sent is None
    assert clinic.findings() == []
    assert clinic.counts("in_flight", "unrecorded", "matched") == [2, 0, 1]

    late = clinic.scene.text(ANNA, clinic.ago(minutes=5))
    stuck = clinic.scene.text(ANNA, clinic.ago(hours=5), status="queued", price=None)
    assert clinic.findings() == sorted(f"error message-unrecorded:message/{one.sid}" for one in (late, stuck))

    clinic.backfill()
    assert clinic.findings() == []
    assert clinic.counts("in_flight", "matched") == [2, 3]


def test_rejected(clinic: Clinic) -> None:
    """
    An attempt that Twilio refused at once is a warning of its own: nobody got a text, and nothing is to be recorded.
    """
    clinic.recorded_text()
    clinic.scene.customer(BERT)
    assert clinic.findings() == []

    failed_later = clinic.scene.text(BERT, clinic.ago(hours=2), status="failed", error_code=30003, price=None)
    assert clinic.findings() == [f"error message-unrecorded:message/{failed_later.sid}"]
    clinic.backfill()

    refused = clinic.scene.text(BERT, clinic.ago(hours=1), status="failed", error_code=21211, price=None)
    assert clinic.findings() == [f"warning message-rejected:message/{refused.sid}"]
    assert clinic.counts("rejected", "unrecorded") == [1, 0]

    clinic.scene.account.delete(refused.sid)
    assert clinic.findings() == []


def test_an_attempt_without_a_recipient(clinic: Clinic) -> None:
    """
    Twilio also logs an attempt that named nobody, and the finding says so.
    """
    with pytest.raises(Refused):
        clinic.scene.account.create(Attempt(sender=SENDER, body="Your table is waiting."))
    (refused,) = clinic.scene.account.messages()

    (finding,) = clinic.look(window=Window(clinic.ago(days=1), clinic.scene.now + timedelta(seconds=1))).findings
    assert finding.fingerprint == f"message-rejected:message/{refused.sid}"
    assert "to no number, failed with error 21604: Twilio refused it at once" in finding.summary


def test_failed_through_a_service_is_not_rejected(clinic: Clinic) -> None:
    """
    Through a messaging service the same code comes later, to a message whose SID the application was given.
    """
    service = "MG" + "5" * 32
    clinic.variables = {"TWILIO_MESSAGING_SERVICE_SID": service}
    clinic.scene.customer(ANNA)
    message = clinic.scene.text(
        ANNA, clinic.ago(hours=1), status="failed", error_code=21610, price=None, sender=None, service=service
    )

    assert clinic.findings() == [f"error message-unrecorded:message/{message.sid}"]

    clinic.backfill()
    assert clinic.findings() == []


def test_behind(clinic: Clinic) -> None:
    """
    A row that has not heard the end yet is a warning, and the corrections bring it up to date.
    """
    message = clinic.recorded_text()
    clinic.recorded_text(BERT, clinic.ago(hours=1), status=None, twilio_status=None, segments=None, cost_usd=None)
    assert clinic.findings() == []

    clinic.scene.execute("UPDATE messages SET status = 'my own word', twilio_status = 'delivered'")
    assert clinic.findings() == []
    assert clinic.last.coverage["statuses_not_compared"] == 2

    clinic.scene.execute(
        "UPDATE messages SET status = 'queued', twilio_status = 'sent' WHERE message_sid = :sid", sid=message.sid
    )
    assert clinic.findings() == [f"warning message-mismatched:message/{message.sid}"]
    assert clinic.last.exit_code is ExitCode.OK

    clinic.backfill(fix_mismatched=True)
    assert clinic.findings() == []
    (row,) = clinic.scene.rows("SELECT status, twilio_status FROM messages WHERE message_sid = :sid", sid=message.sid)
    assert row == {"status": "delivered", "twilio_status": "delivered"}


def test_contradicting(clinic: Clinic) -> None:
    """
    A row that claims an arrival which Twilio denies is an error, whichever column claims it.
    """
    clinic.recorded_text()
    assert clinic.findings() == []

    redacted = clinic.recorded_text(BERT)
    clinic.scene.account.redact(redacted.sid)
    unbilled = clinic.scene.text(BERT, clinic.ago(hours=4), price=None)
    trial = clinic.scene.text(BERT, clinic.ago(hours=3), "Sent from your Twilio trial account - Hello")
    (bert,) = clinic.scene.rows("SELECT id FROM customers WHERE phone = :phone", phone=BERT)
    clinic.scene.record(unbilled, bert["id"], cost_usd=Decimal("0.0079"), segments=1)
    clinic.scene.record(trial, bert["id"], body="Hello", cost_usd=Decimal("-0.0079"))
    assert clinic.findings() == []
    assert clinic.counts("matched") == [4]

    lost = clinic.scene.text(BERT, clinic.ago(hours=2), status="undelivered", error_code=30003)
    clinic.scene.record(lost, bert["id"], status="delivered")
    silent = clinic.scene.text(BERT, clinic.ago(hours=1), status="sent")
    clinic.scene.record(silent, bert["id"], twilio_status="delivered")
    assert clinic.findings() == sorted(f"error message-mismatched:message/{one.sid}" for one in (lost, silent))
    evidence = {finding.subject: finding.evidence["differences"] for finding in clinic.last.findings}
    assert evidence == {
        f"message/{lost.sid}": {"status": {"recorded": "delivered", "twilio": "undelivered"}},
        f"message/{silent.sid}": {"twilio_status": {"recorded": "delivered", "twilio": "sent"}},
    }

    clinic.backfill(fix_mismatched=True)
    assert clinic.findings() == []


def test_another_recipient(clinic: Clinic) -> None:
    """
    A row that names another recipient is an error; the same number in another style is none.
    """
    message = clinic.recorded_text()
    assert clinic.findings() == []

    clinic.scene.execute("UPDATE messages SET to_number = '(555) 010-1001', from_number = '1 555 010 0200'")
    assert clinic.findings() == []

    clinic.scene.execute("UPDATE messages SET to_number = :bert", bert=BERT)
    assert clinic.findings() == [f"error message-mismatched:message/{message.sid}"]
    (finding,) = clinic.last.findings
    assert finding.summary == "to_number is +1***02, Twilio says +1***01."
    assert BERT not in repr(finding)
    (finding,) = clinic.look(disclosure=Disclosure(show_pii=True)).findings
    assert finding.summary == f"to_number is {BERT}, Twilio says {ANNA}."

    clinic.backfill(fix_mismatched=True)
    assert clinic.findings() == []


def test_unknown_to_twilio(clinic: Clinic) -> None:
    """
    A row is called unknown only when Twilio itself says so of its SID.
    """
    message = clinic.recorded_text()
    assert clinic.findings() == []

    lagging = clinic.recorded_text(BERT, clinic.ago(minutes=20))
    clinic.scene.account.list_lag = timedelta(minutes=30)
    (bert,) = clinic.scene.rows("SELECT id FROM customers WHERE phone = :phone", phone=BERT)
    young = {"message_sid": "SM" + "a" * 32, "twilio_message_sid": None}
    clinic.scene.record(message, bert["id"], **young, created_at=clinic.ago(minutes=14))
    assert clinic.findings() == []
    coverage = clinic.last.coverage
    assert (coverage["rows_too_recent"], coverage["missed_by_the_list"]) == (1, 1)
    assert clinic.counts("twilio_messages", "matched") == [2, 2]

    made_up = {"message_sid": "SM" + "b" * 32, "twilio_message_sid": "SM" + "b" * 32}
    clinic.scene.record(message, bert["id"], **made_up)
    clinic.scene.account.delete(lagging.sid)
    assert clinic.findings() == sorted(
        f"error message-unknown-to-twilio:message/{sid}" for sid in (made_up["message_sid"], lagging.sid)
    )

    gone = [made_up["message_sid"], lagging.sid]
    clinic.scene.execute("DELETE FROM messages WHERE message_sid = ANY(:sids)", sids=gone)
    assert clinic.findings() == []


def test_without_customer(clinic: Clinic) -> None:
    """
    A row that belongs to nobody is an error until the backfill gives it the one customer with that number.
    """
    message = clinic.recorded_text()
    assert clinic.findings() == []

    clinic.change("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    assert clinic.findings() == []

    clinic.scene.execute("UPDATE messages SET customer_id = NULL")
    assert clinic.findings() == [f"error message-without-customer:message/{message.sid}"]
    clinic.backfill()
    assert clinic.findings() == []

    clinic.change("ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey")
    assert clinic.findings() == []
    clinic.scene.execute("UPDATE messages SET customer_id = gen_random_uuid()")
    assert clinic.findings() == [f"error message-without-customer:message/{message.sid}"]

    clinic.backfill()
    assert clinic.findings() == []
    assert clinic.counts("without_customer", "matched") == [0, 1]


def test_duplicated(clinic: Clinic) -> None:
    """
    Two rows for one SID are an error wherever the second one lies; two texts that only look the same are none.
    """
    message = clinic.recorded_text()
    assert clinic.findings() == []

    twin = clinic.scene.text(ANNA, clinic.ago(days=1))
    (anna,) = clinic.scene.rows("SELECT id FROM customers")
    clinic.scene.record(twin, anna["id"])
    nobody = {"message_sid": "", "twilio_message_sid": ""}
    for _ in range(2):
        clinic.scene.record(message, anna["id"], **nobody)
    clinic.scene.execute(
        "DELETE FROM messages WHERE message_sid = '' AND id > (SELECT min(id) FROM messages WHERE message_sid = '')"
    )
    (empty,) = clinic.scene.rows("SELECT id FROM messages WHERE message_sid = ''")
    assert clinic.findings() == [f"warning message-without-sid:message/row-{empty['id']}"]
    clinic.scene.execute("DELETE FROM messages WHERE message_sid = ''")

    expected = [f"error message-duplicated:message/{message.sid}"]
    for values in (
        {},
        {"created_at": clinic.ago(days=300)},
        {"message_sid": None},
        {"message_sid": "", "created_at": clinic.ago(days=300)},
        {"twilio_message_sid": None, "status": "queued"},
    ):
        second = clinic.scene.record(message, anna["id"], **values)
        assert clinic.findings() == expected
        assert clinic.counts("duplicated", "matched", "mismatched", "twilio_messages") == [1, 2, 0, 2]
        clinic.scene.execute("DELETE FROM messages WHERE id = :id", id=int(second))

    assert clinic.findings() == []


def test_without_sid(clinic: Clinic) -> None:
    """
    A row without any SID is a warning, named by its id; one SID in either column is enough.
    """
    message = clinic.recorded_text(message_sid=None)
    assert clinic.findings() == []

    clinic.scene.execute("UPDATE messages SET message_sid = ''")
    assert clinic.findings() == []

    for nothing in (None, ""):
        clinic.scene.execute("UPDATE messages SET message_sid = NULL, twilio_message_sid = :nothing", nothing=nothing)
        (row,) = clinic.scene.rows("SELECT id FROM messages")
        assert clinic.findings() == [
            f"error message-unrecorded:message/{message.sid}",
            f"warning message-without-sid:message/row-{row['id']}",
        ]

    clinic.scene.execute("UPDATE messages SET message_sid = :sid", sid=message.sid)
    assert clinic.findings() == []


def test_without_sid_in_the_only_column(clinic: Clinic) -> None:
    """
    An empty text is no SID, and many of them are no duplicates.
    """
    message = clinic.recorded_text()
    (anna,) = clinic.scene.rows("SELECT id FROM customers")
    for _ in range(2):
        clinic.scene.record(message, anna["id"], message_sid="")
    clinic.change("ALTER TABLE messages DROP COLUMN twilio_message_sid")

    rows = clinic.scene.rows("SELECT id FROM messages WHERE message_sid = '' ORDER BY id")
    assert clinic.findings() == [f"warning message-without-sid:message/row-{row['id']}" for row in rows]
    assert clinic.counts("matched", "duplicated", "without_sid") == [1, 0, 2]

    clinic.scene.execute("DELETE FROM messages WHERE message_sid = ''")
    assert clinic.findings() == []


def test_other_senders(clinic: Clinic) -> None:
    """
    Texts of other senders of the account are counted and left alone, unless everybody's are asked for.
    """
    clinic.recorded_text()
    clinic.scene.customer(BERT)
    foreign = clinic.scene.text(BERT, clinic.ago(hours=2), sender="+15550100999")
    inbound = clinic.scene.text(SENDER, clinic.ago(hours=1), direction="inbound", sender=BERT)

    report = clinic.look()
    assert [finding.subject for finding in report.findings] == [f"message/{inbound.sid}"]
    assert (report.coverage["out_of_scope"], report.summary["twilio_messages"]) == (1, 2)

    everybodys = clinic.look(all_senders=True)
    assert {finding.subject for finding in everybodys.findings} == {f"message/{one.sid}" for one in (foreign, inbound)}

    clinic.backfill()
    assert clinic.findings() == []


# --- texts that could break something --------------------------------------------------------------------------------

HOSTILE: Final = [
    "a\x1eb\x1ec",
    "\x1e",
    "a\x1fb\x1fc",
    "\x1f" * 9,
    "a\x1db",
    "\x1d\x1e\x1f",
    "<b>bold</b> & &lt;script&gt;",
    "{0} %s %(a)s :name \\ ' \" ; --",
    "a\r\nb\tc\x1b[31m",
    "\u202eright to left\u2028\ufeff",
    "\U0001f469\u200d\U0001f4bb e\u0301 \xe9",
    " leading and trailing ",
]


@pytest.mark.parametrize("together", [True, False])
def test_bodies_with_anything_in_them(clinic: Clinic, together: bool) -> None:
    """
    No text of a customer can make its own row, or another one, look wrong, missing or right.
    """
    anna = clinic.scene.customer(ANNA)
    bodies = HOSTILE if together else ["Just a text."]
    texts = [clinic.scene.text(ANNA, clinic.ago(hours=1, minutes=n), body) for n, body in enumerate(bodies)]
    nul = clinic.scene.text(ANNA, clinic.ago(hours=3), "Your\0 table\0")
    for message in texts:
        clinic.scene.record(message, anna)
    clinic.scene.record(replace(nul, body="Your table"), anna)
    assert clinic.findings() == []
    assert clinic.counts("matched") == [len(texts) + 1]

    clinic.scene.execute("UPDATE messages SET status = 'queued'")
    assert {finding.severity for finding in clinic.look().findings} == {"warning"}
    assert clinic.counts("mismatched", "matched") == [len(texts) + 1, 0]

    clinic.scene.execute("UPDATE messages SET status = 'delivered', body = body || '\x1e'")
    shown = clinic.look(disclosure=Disclosure(show_pii=True)).findings
    assert len(shown) == len(texts) + 1
    assert clinic.counts("mismatched", "matched") == [len(texts) + 1, 0]

    clinic.scene.execute("DELETE FROM messages")
    clinic.look()
    assert clinic.counts("unrecorded") == [len(texts) + 1]
    clinic.backfill()
    assert clinic.findings() == []
    kept = {row["body"] for row in clinic.scene.rows("SELECT body FROM messages")}
    assert kept == {*bodies, "Your table"}


def test_separators_in_other_columns(clinic: Clinic) -> None:
    """
    A separator where no text belongs is a difference in that field and in no other.
    """
    message = clinic.recorded_text(from_number="+1555\x1f0100200")

    (finding,) = clinic.look(disclosure=Disclosure(show_pii=True)).findings

    assert finding.subject == f"message/{message.sid}"
    assert finding.evidence["differences"] == {
        "from_number": {"recorded": "+1555\x1f0100200", "twilio": SENDER},
    }


def test_a_flood_of_rows_in_one_second(clinic: Clinic) -> None:
    """
    More rows in one span than are read at once, with separators among them: every one of them counts.
    """
    anna, at = clinic.scene.customer(ANNA), clinic.ago(days=2)
    texts = [clinic.scene.text(ANNA, at - timedelta(seconds=n), f"Text {n}\x1e") for n in range(8_500)]
    rows = [row_values(message, anna, clinic.scene.now, created_at=at) for message in texts]
    lost, wrong = texts[17], texts[4711]
    rows = [row for row in rows if row["message_sid"] != lost.sid]
    for row in rows:
        if row["message_sid"] == wrong.sid:
            row["status"] = "failed"
    made_up = {**rows[0], "message_sid": "SM" + "0" * 32, "twilio_message_sid": None}
    with clinic.scene.engine.begin() as connection:
        connection.execute(insert(MESSAGES), [*rows, made_up])

    assert clinic.findings() == sorted(
        [
            f"error message-unrecorded:message/{lost.sid}",
            f"error message-mismatched:message/{wrong.sid}",
            f"error message-unknown-to-twilio:message/{made_up['message_sid']}",
        ]
    )
    assert clinic.counts("matched", "twilio_messages", "recorded_messages") == [8_498, 8_500, 8_500]


def row_values(message: Message, customer_id: str, now: datetime, **values: Any) -> dict[str, Any]:
    """
    The columns of the row that says what Twilio says, for inserting many at once.
    """
    told = told_by_twilio(message, now)
    return {
        "customer_id": customer_id,
        "direction": "outbound",
        "message_sid": told.sid,
        "twilio_message_sid": told.sid,
        "body": told.body,
        "status": told.status,
        "twilio_status": told.status,
        "from_number": told.from_number,
        "to_number": told.to,
        "segments": told.segments,
        "cost_usd": told.cost_usd,
        **values,
    }


# --- tables that are not quite the ones of the schema ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Story:
    """
    One text recorded, one whose row lies far off, one lost, one deferred, one whose row is behind.
    """

    lost: Message
    behind: Message

    @property
    def findings(self) -> list[str]:
        """
        What is wrong in it.
        """
        return [
            f"error message-unrecorded:message/{self.lost.sid}",
            f"warning message-mismatched:message/{self.behind.sid}",
        ]


@pytest.fixture(name="story")
def _story(clinic: Clinic) -> Story:
    """
    The story has happened.
    """
    clinic.recorded_text(ANNA, clinic.ago(hours=5))
    clinic.recorded_text("+15550101004", clinic.ago(hours=6), created_at=clinic.ago(days=30))
    lost = clinic.scene.text(ANNA, clinic.ago(hours=4))
    booking = clinic.scene.pending_booking(BERT, created_at=clinic.ago(hours=3))
    clinic.scene.defer(clinic.scene.text(BERT, clinic.ago(hours=3)), booking)
    behind = clinic.recorded_text("+15550101003", clinic.ago(hours=2), status="sent", twilio_status="sent")
    return Story(lost=lost, behind=behind)


def is_told_and_repaired(clinic: Clinic, story: Story) -> None:
    """
    The doctor sees what is wrong in the story and repairs it, whatever the tables look like.
    """
    assert clinic.findings() == story.findings
    assert clinic.counts("matched", "mismatched", "deferred", "unrecorded", "orphaned") == [2, 1, 1, 1, 0]

    clinic.backfill(fix_mismatched=True)
    assert clinic.findings() == []
    assert clinic.counts("matched", "deferred") == [4, 1]


OPTIONAL: Final = ["twilio_message_sid", "twilio_status", "segments", "cost_usd", "read_at"]


@pytest.mark.parametrize("missing", [*([name] for name in OPTIONAL), OPTIONAL], ids="+".join)
def test_optional_columns_may_be_missing(clinic: Clinic, story: Story, missing: list[str]) -> None:
    """
    A table without the columns that not everybody has is compared and repaired in those it has.
    """
    for column in missing:
        clinic.change(f"ALTER TABLE messages DROP COLUMN {column}")

    is_told_and_repaired(clinic, story)


CHANGES: Final = {
    "json": ["ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata TYPE json"],
    "json as text": ["ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata TYPE text"],
    "garbage among json as text": [
        "ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata TYPE text",
        "INSERT INTO pending_bookings (token, customer_phone, metadata) VALUES ('x', '+15550109999', '[object Object]')",
    ],
    "json that jsonb does not take": [
        "ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata TYPE json",
        """
        INSERT INTO pending_bookings (token, customer_phone, metadata)
        VALUES ('x', '+15550109999', '{{"note": "\\u0000", "initial_sms": {{}}}}')
        """,
    ],
    "metadata may be null": ["ALTER TABLE pending_bookings ALTER metadata DROP NOT NULL"],
    "bookings without customer": ["ALTER TABLE pending_bookings DROP COLUMN customer_id"],
    "bookings that never expire": ["ALTER TABLE pending_bookings DROP COLUMN expires_at"],
    "no confirmed bookings": ["ALTER TABLE bookings RENAME TO reservations"],
    "rows without zone": ["ALTER TABLE messages ALTER created_at TYPE timestamp"],
    "bookings without zone": [
        "ALTER TABLE pending_bookings ALTER created_at TYPE timestamp, ALTER expires_at TYPE timestamp"
    ],
    "another zone": ["ALTER DATABASE {database} SET TimeZone = 'Asia/Kathmandu'"],
    "sids of fixed length": [
        "ALTER TABLE messages ALTER message_sid TYPE char(34), ALTER twilio_message_sid TYPE varchar(34)"
    ],
    "floats": ["ALTER TABLE messages ALTER segments TYPE smallint, ALTER cost_usd TYPE double precision"],
    "decimal segments": ["ALTER TABLE messages ALTER segments TYPE numeric(8, 2), ALTER cost_usd TYPE numeric"],
    "text segments": ["ALTER TABLE messages ALTER segments TYPE text, ALTER cost_usd TYPE real"],
    "checked status": ["ALTER TABLE messages ADD CHECK (status IN ('queued', 'sent', 'delivered', 'failed'))"],
    "enumerated status": [
        "CREATE TYPE words AS ENUM ('queued', 'sent', 'delivered', 'failed')",
        "ALTER TABLE messages ALTER status TYPE words USING status::words",
    ],
    "enumerated direction": [
        "ALTER TABLE messages DROP CONSTRAINT messages_direction_check",
        "CREATE TYPE ways AS ENUM ('inbound', 'outbound')",
        "ALTER TABLE messages ALTER direction TYPE ways USING direction::ways",
    ],
    "no indexes": ["DROP INDEX messages_created_at", "DROP INDEX messages_message_sid"],
    "unique index": ["CREATE UNIQUE INDEX ON messages (message_sid)"],
    "partitioned": [
        "ALTER TABLE messages RENAME TO messages_old",
        "CREATE TABLE messages (LIKE messages_old INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (created_at)",
        "CREATE TABLE messages_all PARTITION OF messages DEFAULT",
        "INSERT INTO messages OVERRIDING SYSTEM VALUE SELECT * FROM messages_old",
        "SELECT setval(pg_get_serial_sequence('messages', 'id'), 1000)",
    ],
}
"""What somebody did to the tables."""


@pytest.mark.parametrize("change", CHANGES)
def test_tables_may_differ(clinic: Clinic, story: Story, change: str) -> None:
    """
    Other types, other constraints and other indexes than the schema's: the same is found and repaired.
    """
    for statement in CHANGES[change]:
        clinic.change(statement.format(database=clinic.scene.url.rpartition("/")[2]))

    is_told_and_repaired(clinic, story)


NAMES: Final = Names(
    schema="shop",
    tables={"messages": 'SMS "log"', "customers": "People", "pending_bookings": "order", "bookings": "Orders: done"},
    columns={
        ("messages", "message_sid"): "select",
        ("messages", "twilio_message_sid"): "Twilio's SID",
        ("messages", "created_at"): "sent%at",
        ("messages", "customer_id"): "My person",
        ("messages", "body"): "Text; --",
        ("messages", "status"): "STATUS",
        ("customers", "phone"): "phone number",
        ("pending_bookings", "customer_phone"): "Phone",
        ("pending_bookings", "metadata"): "meta data",
        ("pending_bookings", "expires_at"): "valid until",
    },
)


def test_tables_and_columns_may_have_other_names(clinic: Clinic, story: Story) -> None:
    """
    Every name can be mapped, to anything that PostgreSQL takes for a name.
    """
    clinic.change("CREATE SCHEMA shop")
    for (table, column), name in NAMES.columns.items():
        clinic.change(f"ALTER TABLE {table} RENAME COLUMN {column} TO {quoted(name)}")
    for table in ("messages", "customers", "pending_bookings", "bookings"):
        clinic.change(f"ALTER TABLE {table} SET SCHEMA shop")
        clinic.change(f"ALTER TABLE shop.{table} RENAME TO {quoted(NAMES.table(table))}")
    clinic.preferences = Preferences(names=NAMES)

    is_told_and_repaired(clinic, story)


def quoted(name: str) -> str:
    """
    A name in SQL; a colon would be a parameter to those who run it.
    """
    return '"' + name.replace('"', '""').replace(":", "\\:") + '"'


def test_rows_without_a_time_are_found_by_their_sid(clinic: Clinic) -> None:
    """
    A row, or a booking, that does not say when it was made still carries its SID.
    """
    clinic.recorded_text()
    booking = clinic.scene.pending_booking(BERT)
    clinic.scene.defer(clinic.scene.text(BERT, clinic.ago(hours=3)), booking)
    for table in ("messages", "pending_bookings"):
        clinic.change(f"ALTER TABLE {table} ALTER created_at DROP NOT NULL")
        clinic.scene.execute(f"UPDATE {table} SET created_at = NULL")

    assert clinic.findings() == []
    assert clinic.counts("matched", "deferred", "recorded_messages") == [1, 1, 0]


def test_a_cost_that_is_no_number(clinic: Clinic) -> None:
    """
    PostgreSQL keeps NaN, which careless code writes for a price not yet billed: it is a difference, once there is one.
    """
    message = clinic.recorded_text(cost_usd=Decimal("NaN"))
    unbilled = clinic.scene.text(BERT, clinic.ago(hours=1), price=None)
    clinic.scene.record(unbilled, clinic.scene.customer(BERT), cost_usd=Decimal("NaN"))

    assert clinic.findings() == [f"warning message-mismatched:message/{message.sid}"]

    clinic.backfill(fix_mismatched=True)
    assert clinic.findings() == []


def test_a_status_column_with_words_of_its_own(clinic: Clinic) -> None:
    """
    What a column cannot say in Twilio's words it says in its own; the wrong one of them is still wrong.
    """
    message = clinic.scene.text(ANNA, clinic.ago(hours=1), status="undelivered", error_code=30003)
    clinic.scene.record(message, clinic.scene.customer(ANNA), status="failed")
    clinic.change("ALTER TABLE messages ADD CHECK (status IN ('pending', 'sent', 'delivered', 'failed'))")
    assert clinic.findings() == []

    clinic.scene.execute("UPDATE messages SET status = 'delivered'")
    assert clinic.findings() == [f"error message-mismatched:message/{message.sid}"]

    clinic.backfill(fix_mismatched=True)
    assert clinic.findings() == []
    assert clinic.scene.rows("SELECT status FROM messages") == [{"status": "failed"}]


@pytest.mark.parametrize(
    ("region", "phone", "style"),
    [
        ("US", "+15550101001", "(555) 010-1001"),
        ("US", "+442079460000", "+44 (0)20 7946 0000"),
        ("GB", "+442079460000", "020 7946 0000"),
        ("DE", "+4930901820", "030/901820"),
        ("FR", "+33142685300", "01.42.68.53.00"),
    ],
)
def test_customers_phones_in_national_format(clinic: Clinic, region: str, phone: str, style: str) -> None:
    """
    A customer is known by the number, however it is written; a number that merely ends alike is another one.
    """
    clinic.preferences = Preferences(region=region)
    clinic.scene.customer("+1999" + phone[-7:])
    message = clinic.scene.text(phone, clinic.ago(hours=1))
    assert clinic.findings() == [f"warning message-orphaned:message/{message.sid}"]

    customer = clinic.scene.customer(style)
    assert clinic.findings() == [f"error message-unrecorded:message/{message.sid}"]

    clinic.backfill()
    (row,) = clinic.scene.rows("SELECT customer_id::text FROM messages")
    assert row == {"customer_id": customer}


# --- what may not be seen --------------------------------------------------------------------------------------------


@pytest.fixture(name="role")
def _role(clinic: Clinic) -> Iterator[str]:
    """
    A role that may read everything but is nobody's owner.
    """
    role = "reader_" + clinic.scene.url.rpartition("/")[2]
    clinic.change(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    clinic.change(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    yield role
    clinic.change(f"DROP OWNED BY {role}")
    clinic.change(f"DROP ROLE {role}")


def as_role(url: str, role: str) -> str:
    """
    The same database, for somebody else.
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:secret@{parts.netloc.rpartition('@')[2]}"))


@pytest.mark.parametrize("table", ["messages", "pending_bookings", "customers"])
def test_rows_hidden_by_row_level_security_are_not_missing(clinic: Clinic, story: Story, role: str, table: str) -> None:
    """
    A role from which policies hide rows gets an error, never "unrecorded"; one that sees everything gets the answer.
    """
    clinic.variables = {"DATABASE_URL": as_role(clinic.scene.url, role)}
    assert clinic.findings() == story.findings

    clinic.change(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    clinic.change(f"CREATE POLICY hidden ON {table} FOR SELECT USING (false)")
    report = clinic.look()
    assert report.exit_code is ExitCode.INCOMPLETE
    assert report.findings == ()
    assert report.summary == {}
    (skipped,) = report.skipped
    assert (skipped.check, skipped.kind) == ("database", "not-permitted")
    assert f"row level security hides rows from {role}" in skipped.reason
    assert "secret" not in repr(report)

    clinic.change(f"ALTER ROLE {role} BYPASSRLS")
    assert clinic.findings() == story.findings


def test_a_table_that_may_not_be_read_is_an_error(clinic: Clinic, story: Story, role: str) -> None:
    """
    Without the privilege there is no answer, and nothing is planned.
    """
    clinic.change(f"REVOKE SELECT ON customers FROM {role}")
    clinic.variables = {"DATABASE_URL": as_role(clinic.scene.url, role)}

    report = clinic.look()

    assert story.lost.sid not in repr(report)
    assert (report.exit_code, report.summary) == (ExitCode.INCOMPLETE, {})
    assert [skipped.kind for skipped in report.skipped] == ["not-permitted"]


# --- rows in memory and rows in PostgreSQL ---------------------------------------------------------------------------

START: Final = datetime(2025, 12, 1, tzinfo=UTC)
WINDOW: Final = Window(START, START + timedelta(days=2))


def random_rows(customers: list[str], dice: Random, number: int) -> list[dict[str, Any]]:
    """
    Rows of every shape, inside and outside of the window, with SIDs that meet.
    """
    sids = [None, "", *(f"SM{n:032x}" for n in range(number // 3))]
    words = [None, "", "queued", "sent", "delivered", "my own"]
    costs = [None, *map(Decimal, ("0", "0.0079", "-0.0079", "0.10000", "99999.99999", "NaN"))]
    return [
        {
            "customer_id": dice.choice([None, *customers]),
            "direction": dice.choice(["inbound", "outbound"]),
            "message_sid": dice.choice(sids),
            "twilio_message_sid": dice.choice(sids),
            "body": dice.choice([None, "", "Text", *HOSTILE]),
            "status": dice.choice(words),
            "twilio_status": dice.choice(words),
            "from_number": dice.choice([None, "", SENDER]),
            "to_number": dice.choice([None, ANNA, "(555) 010-1001"]),
            "segments": dice.choice([None, 0, 1, 12]),
            "cost_usd": dice.choice(costs),
            "created_at": START + timedelta(hours=dice.choice([-1, 0, 1, 24, 47, 48])),
        }
        for _ in range(number)
    ]


@contextmanager
def records_of(url: str) -> Iterator[DatabaseRecords]:
    """
    The rows of a database, as the doctor asks for them.
    """
    database = Database(database_settings({"DATABASE_URL": url}), Names())
    try:
        yield DatabaseRecords(database)
    finally:
        database.close()


@pytest.mark.parametrize("seed", range(3))
def test_rows_in_memory_say_what_rows_in_postgresql_say(scene: World, seed: int) -> None:
    """
    The twin that the tests of the comparison rest on answers every question as the database does.
    """
    dice = Random(seed)
    customers = [scene.customer(ANNA), scene.customer(BERT)]
    scene.execute("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    with scene.engine.begin() as connection:
        connection.execute(insert(MESSAGES), random_rows(customers, dice, 120))
    table = everything(scene)
    twin = MemoryRecords(table=table, customers=[Customer(id=id_, phone=ANNA) for id_ in customers])
    sids = {sid for row in table for sid in (row.message_sid, row.twilio_message_sid) if sid}
    some = set(dice.sample(sorted(sids), len(sids) // 2))

    assert len(table) == 120
    with records_of(scene.url) as records:
        say_the_same(records, twin, some)


def say_the_same(records: DatabaseRecords, twin: MemoryRecords, sids: set[str]) -> None:
    """
    Every question about rows has one answer.
    """
    overview, expected = records.overview(WINDOW), twin.overview(WINDOW)
    for name in ("recorded", "duplicated", "statuses"):
        assert getattr(overview, name) == getattr(expected, name), name
    assert {
        hour: texts for hour, texts in (overview.outbound_by_hour or {}).items() if texts
    } == expected.outbound_by_hour
    for name in ("split", "without_customer", "without_sid"):
        assert known(getattr(overview, name)) == known(getattr(expected, name)), name
    assert known(records.rows(sids)) == known(twin.rows(sids))
    assert known(records.rows_by_second_sid(sids)) == known(twin.rows_by_second_sid(sids))
    for since, until in product(
        [WINDOW.since, START + timedelta(hours=1)], [WINDOW.until, START + timedelta(hours=24)]
    ):
        lines = sorted(line for chunk in records.lines(since, until) for line in chunk)
        assert lines == sorted(line for chunk in twin.lines(since, until) for line in chunk)


def everything(scene: World) -> list[Row]:
    """
    The table as it is, read without any of the doctor's SQL.
    """
    names = ", ".join(f"{name}::text" if name in {"id", "customer_id"} else name for name in Row.__struct_fields__)
    return [
        Row(**{**row, "created_at": row["created_at"].astimezone(UTC)})
        for row in scene.rows(f"SELECT {names} FROM messages ORDER BY messages.id")
    ]


def known(rows: list[Row]) -> list[str]:
    """
    Rows as text, because NaN equals nothing.
    """
    return [repr(row) for row in rows]


def test_bookings_and_customers_in_memory_and_in_postgresql(scene: World) -> None:
    """
    Whose a message might be: the twin and the database name the same, by SID, by time and by the end of a number.
    """
    at = scene.now - timedelta(hours=1)
    styles = [ANNA, "(555) 010-1001", "555.010.1001", "+1999" + ANNA[-7:], BERT, "none", "1001"]
    customers = [Customer(id=scene.customer(style), phone=style) for style in styles]
    bookings: list[Booking] = []
    shapes: list[tuple[dict[str, Any], str, bool]] = [
        ({}, "pending", True),
        ({"status": "cancelled"}, "cancelled", False),
        ({"expires_at": scene.now}, "expired", False),
        ({"expires_at": None}, "pending", True),
    ]
    for number, (style, (values, status, is_open)) in enumerate(product(styles[:3], shapes)):
        created_at = at + timedelta(minutes=number)
        id_ = scene.pending_booking(style, created_at=created_at, **values)
        named = scene.text(ANNA, at)
        scene.defer(named, id_)
        (row,) = scene.rows("SELECT metadata::text FROM pending_bookings WHERE id::text = :id", id=id_)
        bookings.append(
            Booking(
                id=id_,
                phone=style,
                status=status,
                open=is_open,
                created_at=created_at,
                names_sid=named.sid,
                customer_id=None,
                metadata=row["metadata"],
            )
        )
    twin = MemoryRecords(customers=customers, bookings=bookings)

    with records_of(scene.url) as records:
        for numbers in ({ANNA}, {BERT}, {ANNA, BERT}, set[str]()):
            assert by_id(records.customers_with(numbers)) == by_id(twin.customers_with(numbers))
            for minutes in (0, 3, 60):
                span = at, at + timedelta(minutes=minutes)
                assert records.bookings_between(*span, numbers, scene.now) == twin.bookings_between(
                    *span, numbers, scene.now
                )
        some = {booking.names_sid or "" for booking in bookings[::2]}
        assert records.bookings_naming(some, scene.now) == twin.bookings_naming(some, scene.now)


def by_id(customers: list[Customer]) -> list[Customer]:
    """
    In an order of their own.
    """
    return sorted(customers, key=lambda customer: customer.id)


def test_who_confirmed_is_the_customer(scene: World) -> None:
    """
    A confirmed booking's customer is known by its own column, or by the booking that was made of it.
    """
    anna, bert = scene.customer(ANNA), scene.customer(BERT)
    mine, made = scene.pending_booking(ANNA), scene.pending_booking(BERT)
    scene.confirm(mine, anna)
    scene.confirm(made, bert)
    scene.execute("UPDATE pending_bookings SET customer_id = NULL WHERE id::text = :id", id=made)
    window = scene.now - timedelta(hours=1), scene.now + timedelta(hours=1)

    with records_of(scene.url) as records:
        bookings = records.bookings_between(*window, {ANNA, BERT}, scene.now)

    found = {one.id: (one.customer_id, one.status, one.open) for one in bookings}
    assert found == {mine: (anna, "confirmed", False), made: (bert, "confirmed", False)}


def test_hidden_rows_are_refused_at_the_door(clinic: Clinic, role: str) -> None:
    """
    Row level security is an error of every single question, not only of the first.
    """
    clinic.change("ALTER TABLE messages ENABLE ROW LEVEL SECURITY")
    asked = 0
    with records_of(as_role(clinic.scene.url, role)) as records:
        for ask in (
            lambda: records.overview(WINDOW),
            lambda: list(records.lines(WINDOW.since, WINDOW.until)),
            lambda: records.rows(["SM1"]),
            lambda: records.rows_by_second_sid(["SM1"]),
        ):
            with pytest.raises(DatabaseForbidden, match="row level security hides rows"):
                ask()
            asked += 1

    assert asked == 4
