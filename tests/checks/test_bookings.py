"""
Bookings that lead to no text: every shape of metadata, in every type of column, and what Twilio has for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from booking_doctor.adapters.queries import DatabaseQueries
from booking_doctor.checks import bookings, select, survey
from booking_doctor.discrepancies import Terms
from booking_doctor.doctor import Doctor, Request, comparing
from booking_doctor.errors import ExitCode
from booking_doctor.findings import Disclosure, Finding, Report, Window
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.twilio_faults import Fault as Refusal
from booking_doctor.sandbox.twilio_faults import On

ANNA, BERT = "+15550104011", "+15550104012"
SID = "SM" + "0123456789abcdef" * 2
NO_TWILIO = {"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": ""}
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
Look = Callable[..., Report]


@pytest.fixture(name="look")
def _look(scene: World, open_doctor: Callable[..., Doctor]) -> Look:
    """
    The command over the last three days.
    """

    def look(*, disclosure: Disclosure = Disclosure(), all_senders: bool = False, **variables: str) -> Report:
        window = Window(scene.now - timedelta(days=3), scene.now)
        request = Request(window=window, disclosure=disclosure, all_senders=all_senders, again="--since 3d")
        return open_doctor(**variables).bookings(request)

    return look


def booked(scene: World, text: str | None, phone: str = ANNA, *, age: timedelta = HOUR, **values: Any) -> str:
    """
    A booking whose metadata is that text, in whatever type the column has.
    """
    booking = scene.pending_booking(phone, created_at=scene.now - age, **values)
    kind = scene.rows("SELECT CAST(pg_typeof(metadata) AS text) AS kind FROM pending_bookings LIMIT 1")[0]["kind"]
    scene.execute(
        f"UPDATE pending_bookings SET metadata = CAST(:text AS {kind}) WHERE CAST(id AS text) = :id",
        text=text,
        id=booking,
    )
    return booking


def column(scene: World, kind: str) -> None:
    """
    The metadata column becomes one of that type, and may be null.
    """
    scene.execute(
        "ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT, ALTER metadata DROP NOT NULL,"
        f" ALTER metadata TYPE {kind} USING CAST(CAST(metadata AS text) AS {kind})"
    )


def only(report: Report) -> Finding:
    """
    The one finding there is.
    """
    (finding,) = report.findings
    return finding


def sms(**fields: object) -> str:
    """
    Metadata with that initial SMS.
    """
    return json.dumps({"initial_sms": fields})


EMPTY = [
    (None, "null"),
    ("null", "null"),
    ("{}", "{}"),
    ('{"a": 1}', "no initial_sms"),
    ('{"initial_sms": null}', "no initial_sms"),
]
INCOMPLETE = [
    (json.dumps(sms(message_sid=SID)), "a string instead of an object"),
    ("[]", "an array instead of an object"),
    ("7", "a number instead of an object"),
    ("false", "a boolean instead of an object"),
    ('{"initial_sms": "SM"}', "a string as initial_sms instead of an object"),
    ('{"initial_sms": []}', "an array as initial_sms instead of an object"),
    (sms(), "an initial_sms without message_sid"),
    (sms(message_sid=None, state="sending"), "an initial_sms without message_sid"),
    (sms(message_sid=""), "an initial_sms without message_sid"),
    (sms(message_sid=SID[:-1]), "a message_sid of the wrong shape"),
    (sms(message_sid=f"{SID}\n"), "a message_sid of the wrong shape"),
    (sms(message_sid=7), "a message_sid of the wrong shape"),
    (sms(message_sid=SID, to_number=BERT), "the SID of a text to another phone"),
]


@pytest.mark.parametrize("kind", ["jsonb", "json", "text"])
@pytest.mark.parametrize(("text", "words"), [*EMPTY, *INCOMPLETE])
def test_shapes(scene: World, look: Look, kind: str, text: str | None, words: str) -> None:
    """
    Each shape is told from the others, whatever the column's type, without a word of what it holds.
    """
    column(scene, kind)
    booking = booked(scene, text)

    report = look()

    name = "booking-metadata-empty" if (text, words) in EMPTY else "booking-metadata-incomplete"
    assert (only(report).name, only(report).subject) == (name, f"booking/{booking}")
    assert only(report).evidence["metadata"] == words
    assert words in only(report).summary
    assert report.summary["metadata_empty"] + report.summary["metadata_incomplete"] == 1
    assert report.exit_code is ExitCode.FINDINGS


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("text", "[object Object]", "no JSON"),
        ("text", "", "null"),
        ("text", '{"initial_sms": {', "no JSON"),
        ("text", "[" * 100_000, "no JSON"),
        ("json", '{"note": "\\u0000"}', "no initial_sms"),
        ("json", '{"note": "\\ud800"}', "no initial_sms"),
    ],
)
def test_what_jsonb_cannot_read(scene: World, look: Look, kind: str, text: str, words: str) -> None:
    """
    Garbage in one booking does not keep the doctor from the others.
    """
    column(scene, kind)
    booked(scene, text)
    booked(scene, "{}", BERT)

    report = look()

    assert sorted(str(finding.evidence["metadata"]) for finding in report.findings) == sorted([words, "{}"])


@pytest.mark.parametrize("kind", ["jsonb", "json", "text"])
@pytest.mark.parametrize("phone", [ANNA, "(555) 010-4011"])
def test_in_order(scene: World, look: Look, kind: str, phone: str) -> None:
    """
    A deferred text is in order, however the phone is written, and so is a text that was refused.
    """
    column(scene, kind)
    message = scene.text(ANNA, scene.now - HOUR + SECOND)
    booked(scene, json.dumps({"a": 1, "initial_sms": {"message_sid": message.sid, "to_number": ANNA}}), phone)
    booked(scene, sms(state="rejected", code=21211), phone)

    report = look()

    assert (report.findings, report.exit_code) == ([], ExitCode.OK)
    assert report.summary == {
        "pending_bookings": 2,
        "metadata_empty": 0,
        "metadata_incomplete": 0,
        "sms_found_in_twilio": 0,
    }


def test_young_old_and_closed_bookings(scene: World, look: Look) -> None:
    """
    Only bookings of the window that wait, and that the application is done with, are looked at.
    """
    booked(scene, "{}", age=timedelta(minutes=4, seconds=59))
    booked(scene, "{}", age=timedelta(days=3, seconds=1))
    for status in ("expired", "cancelled", "confirmed"):
        booked(scene, "{}", status=status)

    assert look().findings == []

    settled = booked(scene, "{}", age=timedelta(minutes=5))
    first = booked(scene, "{}", age=timedelta(days=3))

    assert [finding.subject for finding in look().findings] == [f"booking/{settled}", f"booking/{first}"]


def test_twilio_has_it(scene: World, look: Look) -> None:
    """
    The text is named with its status, and the backfill is the remedy.
    """
    booked(scene, "{}")
    message = scene.text(ANNA, scene.now - HOUR + SECOND, status="undelivered", error_code=30003)

    report = look()

    assert only(report).evidence["twilio"] == [
        {
            "message_sid": message.sid,
            "status": "undelivered",
            "error_code": 30003,
            "date": (scene.now - HOUR + SECOND).isoformat().replace("+00:00", "Z"),
        }
    ]
    assert f"Twilio has {message.sid} for that phone, undelivered with error 30003" in only(report).summary
    assert only(report).remedy == "Plan what was lost: booking-doctor backfill --since 3d"
    assert report.summary["sms_found_in_twilio"] == 1
    assert report.next_steps == ["booking-doctor backfill --since 3d"]


@pytest.mark.parametrize(
    ("phone", "before"), [(BERT, -SECOND), (ANNA, timedelta(minutes=2, seconds=1)), (ANNA, -timedelta(minutes=11))]
)
def test_somebody_elses_text(scene: World, look: Look, phone: str, before: timedelta) -> None:
    """
    A text to another phone, or at another time, is not this booking's: Twilio has nothing.
    """
    booked(scene, "{}")
    scene.text(phone, scene.now - HOUR - before)

    report = look()

    assert only(report).evidence["twilio"] == []
    assert "Twilio has nothing for that phone around that time" in only(report).summary
    assert report.summary["sms_found_in_twilio"] == 0
    assert report.next_steps == []


def test_another_bookings_text(scene: World, look: Look) -> None:
    """
    A text that another booking's metadata names is not claimed for this one.
    """
    empty = booked(scene, "{}")
    message = scene.text(ANNA, scene.now - HOUR + SECOND)
    booked(scene, sms(message_sid=message.sid, to_number=ANNA), age=HOUR - SECOND)

    assert only(look()).subject == f"booking/{empty}"
    assert only(look()).evidence["twilio"] == []


def test_twilio_refused_it(scene: World, look: Look) -> None:
    """
    A refused text has its code; it is no text that was found.
    """
    booked(scene, "{}")
    scene.text(ANNA, scene.now - HOUR + SECOND, status="failed", error_code=21610, price=None, date_sent=None)

    report = look()

    assert "with error 21610" in only(report).summary
    assert only(report).remedy.startswith("Correct what error 21610 names")
    assert report.summary["sms_found_in_twilio"] == 0


def test_already_recorded(scene: World, look: Look) -> None:
    """
    That Twilio has nothing unrecorded is not all: a row for that phone is named.
    """
    booked(scene, "{}")
    message = scene.text(ANNA, scene.now - HOUR + SECOND)
    scene.record(message, scene.customer(ANNA))

    assert only(look()).evidence["recorded"] == [message.sid]
    assert f"a row for that phone already carries {message.sid}" in only(look()).summary


def test_time_has_run_out(scene: World, look: Look) -> None:
    """
    A booking past its time is to be closed; nobody is told to put anything into its metadata.
    """
    booked(scene, "{}", expires_at=scene.now - SECOND)

    assert only(look()).evidence["open"] is False
    assert only(look()).remedy.startswith("Set the booking's status to expired")


def test_twilio_unreachable(scene: World, look: Look) -> None:
    """
    The finding stands, says that Twilio was not asked, and the answer is incomplete.
    """
    booked(scene, "{}")

    report = look(TWILIO_AUTH_TOKEN="f" * 32)

    assert only(report).evidence["twilio"] is None
    assert only(report).evidence["not_asked"]
    assert "Twilio was not asked" in only(report).summary
    assert report.exit_code is ExitCode.INCOMPLETE
    assert [skipped.kind for skipped in report.skipped] == ["not-permitted"]


def test_nothing_wrong_but_twilio_unreachable(scene: World, look: Look) -> None:
    """
    SIDs that nobody could look for are no reason to call the bookings healthy.
    """
    message = scene.text(ANNA, scene.now - HOUR)
    booked(scene, sms(message_sid=message.sid))

    report = look(TWILIO_AUTH_TOKEN="f" * 32)

    assert (report.findings, report.exit_code) == ([], ExitCode.INCOMPLETE)


def test_twilio_not_configured(scene: World, look: Look) -> None:
    """
    Without Twilio the database is looked at, and what was left out is said.
    """
    booked(scene, "{}")

    report = look(**NO_TWILIO)

    assert "TWILIO_ACCOUNT_SID" in str(only(report).evidence["not_asked"])
    assert report.exit_code is ExitCode.FINDINGS
    assert [skipped.kind for skipped in report.skipped] == ["not-configured"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_ACCOUNT_SID", ""),
        ("TWILIO_ACCOUNT_SID", "AC12"),
        ("TWILIO_AUTH_TOKEN", ""),
        ("TWILIO_AUTH_TOKEN", "\N{NO-BREAK SPACE}x"),
        ("TWILIO_PHONE_NUMBER", ""),
        ("TWILIO_PHONE_NUMBER", "\N{NO-BREAK SPACE}x"),
        ("TWILIO_API_BASE_URL", "twilio"),
    ],
)
def test_twilio_half_configured(scene: World, look: Look, name: str, value: str) -> None:
    """
    What is set and cannot be used was meant to be asked: the database is looked at all the same, and nothing is healthy.
    """
    message = scene.text(ANNA, scene.now - HOUR)
    booked(scene, sms(message_sid=message.sid))
    booked(scene, "{}", BERT)

    report = look(**{name: value})

    assert name in str(only(report).evidence["not_asked"])
    assert report.exit_code is ExitCode.INCOMPLETE
    assert [skipped.kind for skipped in report.skipped] == ["unreachable"]


def test_deferred_text_to_another_phone(scene: World, look: Look) -> None:
    """
    What Twilio says of the text counts, not what the metadata says.
    """
    message = scene.text(BERT, scene.now - HOUR)
    booking = booked(scene, sms(message_sid=message.sid, to_number=ANNA))

    assert only(look()).fingerprint == f"booking-metadata-incomplete:booking/{booking}"
    assert only(look()).evidence["metadata"] == "the SID of a text to another phone"
    assert only(look()).evidence["message_sid"] == message.sid


def test_recorded_text_to_another_phone(scene: World, look: Look) -> None:
    """
    A SID that is recorded for somebody else is somebody else's, also where Twilio was not asked.
    """
    message = scene.text(BERT, scene.now - HOUR)
    scene.record(message, scene.customer(BERT))
    booking = booked(scene, sms(message_sid=message.sid, to_number=ANNA))

    for report in (look(), look(**NO_TWILIO)):
        assert only(report).fingerprint == f"booking-metadata-incomplete:booking/{booking}"


def test_recorded_text_in_national_format(scene: World, look: Look) -> None:
    """
    The same phone written otherwise is the same phone.
    """
    message = scene.text(ANNA, scene.now - HOUR)
    scene.record(message, scene.customer(ANNA), to_number="555 010 4011")
    booked(scene, sms(message_sid=message.sid))

    assert look().findings == []


@pytest.mark.parametrize("kind", ["jsonb", "text"])
def test_sid_that_the_log_does_not_show(scene: World, look: Look, kind: str) -> None:
    """
    A SID that neither the log nor a row has, and for which Twilio answers 404, is told once its lists no longer lag.
    """
    column(scene, kind)
    booked(scene, sms(message_sid=SID), age=timedelta(minutes=14))
    assert (look().findings, look().coverage["sids_asked"]) == ([], 0)

    booking = booked(scene, sms(message_sid=SID), age=timedelta(minutes=16))
    assert only(look()).fingerprint == f"booking-metadata-incomplete:booking/{booking}"
    assert only(look()).evidence["message_sid"] == SID
    assert only(look()).evidence["metadata"] == "a SID that Twilio does not know"
    assert look().coverage["sids_asked"] == 1


def test_sid_of_another_sender(scene: World, look: Look) -> None:
    """
    A text that the part of the log that was read does not show is asked for by its SID before anything is claimed.
    """
    message = scene.text(ANNA, scene.now - HOUR, sender="+15550100999")
    booked(scene, sms(message_sid=message.sid))

    report = look()

    assert (report.findings, report.exit_code) == ([], ExitCode.OK)
    assert (report.coverage["sids_asked"], report.coverage["sids_not_confirmed"]) == (1, 0)
    assert look(all_senders=True).coverage["sids_asked"] == 0


def test_sid_of_a_text_outside_the_window(scene: World, look: Look) -> None:
    """
    The same for a text that was sent before the window, and one that went to another phone.
    """
    early = scene.text(ANNA, scene.now - timedelta(days=4))
    booked(scene, sms(message_sid=early.sid))
    theirs = scene.text(BERT, scene.now - timedelta(days=4))
    booking = booked(scene, sms(message_sid=theirs.sid))

    report = look()

    assert only(report).fingerprint == f"booking-metadata-incomplete:booking/{booking}"
    assert only(report).evidence["metadata"] == "the SID of a text to another phone"
    assert report.coverage["sids_asked"] == 2


def test_sids_are_asked_for_up_to_a_limit(scene: World, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What was not asked is counted and said, and nothing is claimed of it.
    """
    monkeypatch.setattr(comparing, "Terms", partial(Terms, confirm_limit=2))
    known = scene.text(ANNA, scene.now - HOUR, sender="+15550100999")
    newest = [booked(scene, sms(message_sid=f"SM{n:032x}"), age=(n + 1) * HOUR) for n in range(3)]
    booked(scene, sms(message_sid=known.sid), age=5 * HOUR)

    report = look()

    assert [finding.subject for finding in report.findings] == [f"booking/{booking}" for booking in newest[:2]]
    assert (report.coverage["sids_asked"], report.coverage["sids_not_confirmed"]) == (2, 2)
    assert report.exit_code is ExitCode.INCOMPLETE
    [skipped] = report.skipped
    assert (skipped.check, skipped.kind) == ("booking-metadata-incomplete", "unreachable")
    assert skipped.reason.startswith("2 SIDs of bookings were not asked for; the limit is 2")


def test_a_sid_that_could_not_be_asked_for(scene: World, look: Look) -> None:
    """
    A refusal is no 404.
    """
    scene.simulator.faults.add(Refusal.forbidden(), times=None, on=On(path=SID))
    booked(scene, sms(message_sid=SID))

    report = look()

    assert (report.findings, report.exit_code) == ([], ExitCode.INCOMPLETE)
    assert (report.coverage["sids_asked"], report.coverage["sids_not_confirmed"]) == (0, 1)
    assert [(skipped.check, skipped.kind) for skipped in report.skipped] == [
        ("booking-metadata-incomplete", "not-permitted")
    ]


@pytest.mark.parametrize("variables", [{"TWILIO_AUTH_TOKEN": "f" * 32}, NO_TWILIO])
def test_sids_that_nobody_was_asked_for(scene: World, look: Look, variables: dict[str, str]) -> None:
    """
    Without Twilio no SID is confirmed, and the report says how many are not: those that a row carries are.
    """
    deferred, recorded = (scene.text(ANNA, scene.now - HOUR) for _ in range(2))
    scene.record(recorded, scene.customer(ANNA))
    for sid in (deferred.sid, recorded.sid, SID):
        booked(scene, sms(message_sid=sid))

    report = look(**variables)

    assert report.findings == []
    assert (report.coverage["sids_asked"], report.coverage["sids_not_confirmed"]) == (0, 2)
    assert report.skipped != []


def test_statuses_that_are_not_known(scene: World, look: Look) -> None:
    """
    A booking in other words than ours may wait or not: its metadata is not called fine, and other bookings are looked at.
    """
    scene.execute("ALTER TABLE pending_bookings DROP CONSTRAINT pending_bookings_status_check")
    message = scene.text(ANNA, scene.now - HOUR)
    scene.record(message, scene.customer(ANNA))
    booked(scene, sms(message_sid=message.sid), status="on hold")
    assert (look().findings, look().exit_code) == ([], ExitCode.OK)

    waits = booked(scene, "{}")
    for status in ("open", "open", "Pending"):
        booked(scene, "{}", status=status)
    report = look()

    assert only(report).subject == f"booking/{waits}"
    assert report.exit_code is ExitCode.INCOMPLETE
    assert {skipped.check for skipped in report.skipped} == {"booking-metadata-empty", "booking-metadata-incomplete"}
    [reason] = {skipped.reason for skipped in report.skipped}
    assert reason.startswith("3 rows have another word in pending_bookings.status than pending, ")
    assert "'open' (2), 'Pending' (1); what" in reason


def test_a_text_of_an_unknown_status(scene: World, look: Look) -> None:
    """
    Whether a booking in other words was confirmed cannot be told, where its text is in no row.
    """
    scene.execute("ALTER TABLE pending_bookings DROP CONSTRAINT pending_bookings_status_check")
    message = scene.text(ANNA, scene.now - HOUR)
    booked(scene, sms(message_sid=message.sid), status="completed")

    report = look()

    assert (report.findings, report.exit_code) == ([], ExitCode.INCOMPLETE)
    assert [skipped.check for skipped in report.skipped] == ["booking-sms-not-recorded"]


@pytest.mark.parametrize(("moment", "open_"), [("infinity", True), ("-infinity", False)])
def test_times_without_end(scene: World, look: Look, moment: str, open_: bool) -> None:
    """
    A booking that never expires can be read, and so can one that always had.
    """
    booked(scene, "{}")
    scene.execute(f"UPDATE pending_bookings SET expires_at = '{moment}', confirmed_at = '{moment}'")

    assert only(look()).evidence["open"] is open_


def test_the_bookings_are_read_once(
    scene: World, open_doctor: Callable[..., Doctor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    However many checks and counts there are.
    """
    questions: list[str] = []

    def rows(queries: DatabaseQueries, question: str, **parameters: object) -> Any:
        questions.append(question)
        return asked(queries, question, **parameters)

    asked = DatabaseQueries.rows
    monkeypatch.setattr(DatabaseQueries, "rows", rows)
    booked(scene, "{}")
    booked(scene, '"x"')
    open_doctor().bookings(Request(window=Window(scene.now - timedelta(days=3), scene.now)))

    suspects = [question for question in questions if "WHERE NOT good" in question]
    assert len(suspects) == 1
    assert len([question for question in questions if "p.document" in question]) <= 8


def test_a_bug_loses_nothing(scene: World, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the reading of metadata breaks, the report says so and has what the other check found.
    """
    message = scene.text(ANNA, scene.now - HOUR)
    confirmed = booked(scene, sms(message_sid=message.sid), status="confirmed")
    booked(scene, "{}")

    def broken(*_: object) -> None:
        raise ValueError(ANNA)

    monkeypatch.setattr(survey, "lack", broken)
    report = look()

    assert only(report).subject == f"booking/{confirmed}"
    assert (report.exit_code, report.summary) == (ExitCode.INCOMPLETE, {})
    assert {skipped.reason for skipped in report.skipped} == {"the check crashed (ValueError): a bug in it"}


def test_second_sid_column(scene: World, look: Look) -> None:
    """
    A text recorded under the second column only is recorded.
    """
    message = scene.text(ANNA, scene.now - timedelta(days=30))
    customer = scene.customer(ANNA)
    scene.record(message, customer, message_sid=None, created_at=scene.now - timedelta(days=30))
    booked(scene, sms(message_sid=message.sid))

    assert look().findings == []


def test_confirmed_without_record(scene: World, look: Look) -> None:
    """
    What confirm did not record is told, also where the metadata is text; what is no SID is not shown.
    """
    column(scene, "text")
    customer = scene.customer(ANNA)
    message = scene.text(ANNA, scene.now - HOUR)
    booking = booked(scene, sms(message_sid=message.sid))
    scene.confirm(booking, customer)
    assert look().findings == []

    scene.execute("UPDATE pending_bookings SET confirmed_at = :at", at=scene.now - timedelta(minutes=5))
    assert only(look()).fingerprint == f"booking-sms-not-recorded:booking/{booking}"
    assert only(look()).evidence["message_sid"] == message.sid

    column(scene, "jsonb")
    scene.execute("UPDATE pending_bookings SET metadata = CAST(:text AS jsonb)", text=sms(message_sid=ANNA))
    assert ANNA not in repr(look().findings)
    assert only(look()).evidence["message_sid"] is None


def test_missing_columns(scene: World, look: Look) -> None:
    """
    Columns that an installation can do without are not missed.
    """
    scene.execute("ALTER TABLE pending_bookings DROP expires_at, DROP confirmed_at")
    scene.execute("ALTER TABLE messages DROP twilio_message_sid")
    plant = "INSERT INTO pending_bookings (token, customer_phone, status, metadata, created_at) VALUES "
    at = scene.now - HOUR
    scene.execute(plant + "('a', :phone, 'pending', '{}', :at)", phone=ANNA, at=at)
    scene.execute(
        plant + "('b', :phone, 'confirmed', CAST(:sms AS jsonb), :at)", phone=ANNA, at=at, sms=sms(message_sid=SID)
    )

    assert sorted(finding.name for finding in look().findings) == ["booking-metadata-empty", "booking-sms-not-recorded"]


def test_missing_table(scene: World, look: Look) -> None:
    """
    Bookings that are not there are not healthy bookings.
    """
    scene.execute("DROP TABLE pending_bookings CASCADE")

    assert (look().exit_code, look().summary) == (ExitCode.INCOMPLETE, {})


def test_many(scene: World, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The newest are named, and one finding before them counts the others.
    """
    monkeypatch.setattr(bookings, "NAMED", 2)
    named = [booked(scene, "{}", age=HOUR * hours) for hours in (5, 4, 3, 2)][:1:-1]

    report = look()

    subjects = [finding.subject for finding in report.findings]
    assert subjects == ["booking/others", *(f"booking/{booking}" for booking in named)]
    assert report.findings[0].summary.startswith("2 bookings more")
    assert report.findings[0].evidence["metadata"] == {"{}": 2}
    assert report.summary["metadata_empty"] == 4
    assert report.coverage["counted_not_named"] == {"booking-metadata-empty": 2}


def test_many_unrecorded(scene: World, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The same for texts that confirm did not record.
    """
    monkeypatch.setattr(bookings, "NAMED", 1)
    for n in range(3):
        booked(scene, sms(message_sid=f"SM{n:032x}"), age=HOUR * (n + 1), status="confirmed")

    report = look()

    assert [finding.evidence["booking_id"] is None for finding in report.findings] == [True, False]
    assert report.findings[0].evidence["bookings"] == 2


def test_change_point(scene: World, look: Look) -> None:
    """
    The moment at which it turned is told where no good booking followed, and the bad ones by the hour.
    """
    day = (scene.now - timedelta(days=1)).replace(minute=0, second=0)
    ages = [scene.now - day - timedelta(minutes=minutes) for minutes in (0, 10, 20, 70, 80)]
    first, last = scene.text(ANNA, day), scene.text(ANNA, scene.now - ages[4])
    booked(scene, sms(message_sid=first.sid, to_number=ANNA), age=ages[0])
    booked(scene, "{}", age=ages[1], status="confirmed")
    booked(scene, '"x"', age=ages[2])
    booked(scene, "{}", age=ages[3])

    coverage = look().coverage

    at = {minutes: (day + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z") for minutes in (0, 10, 80)}
    assert (coverage["first_bad_booking"], coverage["last_good_booking"]) == (at[10], at[0])
    assert coverage["turned_bad_at"] == at[10]
    assert coverage["bad_by_hour"] == {f"{day:%Y-%m-%dT%H}Z": 2, f"{day + HOUR:%Y-%m-%dT%H}Z": 1}
    assert coverage["metadata"] == {"a string instead of an object": 1, "{}": 1}

    booked(scene, sms(message_sid=last.sid, to_number=ANNA), age=ages[4])
    coverage = look().coverage

    assert (coverage["first_bad_booking"], coverage["last_good_booking"]) == (at[10], at[80])
    assert "turned_bad_at" not in coverage


def test_december(scene: World, look: Look) -> None:
    """
    Of the founding incident those bookings that still wait are told, each with its text.
    """
    december_incident(scene)

    report = look()

    assert report.summary == {
        "pending_bookings": 5,
        "metadata_empty": 4,
        "metadata_incomplete": 0,
        "sms_found_in_twilio": 4,
    }
    assert {finding.name for finding in report.findings} == {"booking-metadata-empty"}
    assert all(finding.evidence["twilio"] for finding in report.findings)


def test_personal_data(scene: World, look: Look) -> None:
    """
    Phones are masked unless they are asked for.
    """
    booked(scene, "{}")

    assert ANNA not in repr(look())
    assert ANNA in repr(look(disclosure=Disclosure(show_pii=True)))


def test_selection(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    The family as others select it gives the same findings, and the same silence about Twilio.
    """
    booked(scene, "{}")
    request = Request(window=Window(scene.now - timedelta(days=3), scene.now))

    report = open_doctor(TWILIO_AUTH_TOKEN="f" * 32).examine("examine", select(["booking"]), request)

    assert (only(report).name, report.exit_code) == ("booking-metadata-empty", ExitCode.INCOMPLETE)
