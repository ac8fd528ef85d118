"""
What the checks of texts say, beyond what the planted incidents show: codes, whose word counts, tables that differ, and
an answer that is not whole.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Final

import pytest
from msgspec.structs import replace

from booking_doctor.checks import CATALOGUE, select
from booking_doctor.checks.messages import COMPARED, message_findings
from booking_doctor.checks.runner import findings_of, run, skipped_of
from booking_doctor.checks.twilio_codes import reason
from booking_doctor.checks.undelivered import message_undelivered
from booking_doctor.core.model import TwilioMessage
from booking_doctor.discrepancies import Comparison, Discrepancy, Kind, Terms
from booking_doctor.doctor import Doctor, Request, comparing
from booking_doctor.errors import ExitCode
from booking_doctor.evidence import Overview
from booking_doctor.findings import Disclosure, Finding, Severity, Skipped, Window
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.twilio_log import Message
from booking_doctor.settings import Names, Preferences

ANNA, BERT = "+15550101001", "+15550101002"

Doctors = Callable[..., Doctor]
Seen = Callable[..., dict[str, Finding]]


def week(scene: World) -> Request:
    """
    The last seven days.
    """
    return Request(window=Window(scene.now - timedelta(days=7), scene.now))


@pytest.fixture(name="seen")
def _seen(scene: World, open_doctor: Doctors) -> Seen:
    """
    The findings of one check by their subjects, with everything looked at.
    """

    def see(name: str, preferences: Preferences = Preferences(), **how: Any) -> dict[str, Finding]:
        report = open_doctor(preferences).examine("examine", select([name]), replace(week(scene), **how))
        assert report.skipped == []
        return {finding.subject: finding for finding in report.findings}

    return see


def lost(scene: World, phone: str = ANNA, *, hours: float = 2, code: int = 30003) -> Message:
    """
    A text that did not arrive.
    """
    at = scene.now - timedelta(hours=hours)
    return scene.text(phone, at, status="undelivered", error_code=code, price=None)


def arrived(scene: World, phone: str = ANNA, *, hours: float = 1) -> Message:
    """
    A text that did.
    """
    return scene.text(phone, scene.now - timedelta(hours=hours))


# --- a text that did not arrive --------------------------------------------------------------------------------------


def test_undelivered_with_its_code(scene: World, seen: Seen) -> None:
    """
    Where Twilio's side is at hand the finding says what the code means and what to do; the number stays masked.
    """
    message = lost(scene, code=30005)
    scene.customer(ANNA)

    (finding,) = seen("message-undelivered").values()

    assert finding.subject == f"message/{message.sid}"
    assert finding.severity is Severity.WARNING
    assert "to +1***01, undelivered with error 30005" in finding.summary
    assert "the number is unknown or no longer in use" in finding.summary
    assert finding.remedy.startswith("Ask the customer for another number")
    assert finding.evidence["message_sid"] == message.sid
    assert finding.evidence["error_code"] == 30005
    assert ANNA not in repr(finding)
    assert ANNA in seen("message-undelivered", disclosure=Disclosure(show_pii=True))[finding.subject].summary


def test_undelivered_by_its_row(scene: World, seen: Seen) -> None:
    """
    A row has no room for the code, and the finding claims none.
    """
    message = lost(scene)
    row = scene.record(message, scene.customer(ANNA))

    (finding,) = seen("message-undelivered").values()

    assert finding.evidence == {
        "message_sid": message.sid,
        "status": "undelivered",
        "date": f"{scene.now - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}",
        "to_number": "+1***01",
        "row_id": row,
    }
    assert "its error code is not recorded" in finding.summary
    assert "error_code in Twilio's message log" in finding.remedy


def test_twilio_has_the_last_word(scene: World, seen: Seen) -> None:
    """
    Where a row says otherwise than Twilio, Twilio's word counts, and the text is told once.
    """
    anna, bert = scene.customer(ANNA), scene.customer(BERT)
    claimed = lost(scene)
    scene.record(claimed, anna, status="delivered", twilio_status="delivered")
    scene.record(arrived(scene, BERT), bert, status="failed", twilio_status="failed")

    (finding,) = seen("message-undelivered").values()

    assert finding.evidence["message_sid"] == claimed.sid
    assert finding.evidence["error_code"] == 30003


def test_a_claimed_arrival_settles_nothing(scene: World, seen: Seen) -> None:
    """
    Only a later text that did arrive settles one that did not: not an earlier one, not another's, not a mere claim.
    """
    anna, bert = scene.customer(ANNA), scene.customer(BERT)
    message = lost(scene)
    scene.record(message, anna)
    scene.record(arrived(scene, hours=3), anna)
    scene.record(arrived(scene, BERT), bert)
    claimed = lost(scene, hours=1)
    scene.record(claimed, anna, status="delivered", twilio_status="delivered")
    assert set(seen("message-undelivered")) == {f"message/{message.sid}", f"message/{claimed.sid}"}

    arrived(scene, hours=0.5)  # not recorded yet
    assert seen("message-undelivered") == {}


def test_what_is_not_undelivered(scene: World, seen: Seen) -> None:
    """
    An attempt refused at once, a row without SID, one that Twilio does not know, and an inbound one are others' business.
    """
    anna = scene.customer(ANNA)
    scene.text(ANNA, scene.now - timedelta(hours=1), status="failed", error_code=21211, price=None)
    message = arrived(scene)
    scene.record(message, anna)
    for values in (
        {"message_sid": None, "twilio_message_sid": None},
        {"message_sid": "SM" + "a" * 32, "twilio_message_sid": None},
    ):
        scene.record(message, anna, status="failed", twilio_status="failed", **values)
    received = scene.text("+15550100200", scene.now - timedelta(hours=1), sender=ANNA, direction="inbound")
    scene.record(received, anna, status="failed", twilio_status=None)

    assert seen("message-undelivered") == {}


def test_several_rows_of_one_text(scene: World, seen: Seen) -> None:
    """
    A SID that two rows carry is one text.
    """
    anna, message = scene.customer(ANNA), lost(scene)
    for _ in range(2):
        scene.record(message, anna)

    assert set(seen("message-undelivered")) == {f"message/{message.sid}"}


OPTIONAL: Final = ("twilio_message_sid", "twilio_status", "cost_usd")


@pytest.mark.parametrize("missing", [*([name] for name in OPTIONAL), OPTIONAL], ids="+".join)
def test_optional_columns_may_be_missing(scene: World, open_doctor: Doctors, missing: list[str]) -> None:
    """
    A table without the columns that not everybody has is looked at in those it has.
    """
    message = lost(scene)
    scene.record(message, scene.customer(ANNA))
    for column in missing:
        scene.execute(f"ALTER TABLE messages DROP COLUMN {column}")

    report = open_doctor().examine("examine", select(["message"]), week(scene))

    assert report.skipped == []
    assert [finding.fingerprint for finding in report.findings] == [f"message-undelivered:message/{message.sid}"]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE messages ALTER message_sid TYPE char(34), ALTER created_at TYPE timestamp",
        "ALTER TABLE messages ALTER cost_usd TYPE double precision, ALTER to_number TYPE varchar(20)",
        "ALTER TABLE messages ALTER cost_usd TYPE text",
        "ALTER TABLE messages ALTER status TYPE words USING status::words, DROP COLUMN twilio_status",
    ],
)
def test_tables_may_differ(scene: World, seen: Seen, change: str) -> None:
    """
    Other types, the same answers.
    """
    anna, message = scene.customer(ANNA), lost(scene)
    scene.record(message, anna, cost_usd=Decimal("-0.0079"))
    scene.execute("CREATE TYPE words AS ENUM ('delivered', 'failed', 'undelivered')")
    scene.execute(change)

    assert set(seen("message-undelivered")) == {f"message/{message.sid}"}
    assert seen("message-cost-sign") == {}


def test_names_may_differ(scene: World, seen: Seen) -> None:
    """
    Names are this installation's, in the question and in the answer.
    """
    message = lost(scene)
    scene.record(message, scene.customer(ANNA), cost_usd=Decimal("-0.0079"))
    scene.record(arrived(scene, BERT), scene.customer(BERT))
    scene.execute('ALTER TABLE messages RENAME status TO "the ""state"""')
    scene.execute('ALTER TABLE messages RENAME twilio_status TO "Twilio\'s"')
    scene.execute('ALTER TABLE messages RENAME cost_usd TO "Price $"')
    scene.execute('ALTER TABLE messages RENAME TO "SMS"')
    columns = {
        ("messages", "status"): 'the "state"',
        ("messages", "twilio_status"): "Twilio's",
        ("messages", "cost_usd"): "Price $",
    }
    preferences = Preferences(names=Names(tables={"messages": "SMS"}, columns=columns))

    assert set(seen("message-undelivered", preferences)) == {f"message/{message.sid}"}
    assert set(seen("message-cost-sign", preferences)) == {"schema/SMS.Price $"}


# --- codes -----------------------------------------------------------------------------------------------------------


def test_rejected_with_its_code(scene: World, seen: Seen) -> None:
    """
    An attempt refused at once says why, and never asks to text somebody again who opted out.
    """
    scene.text(ANNA, scene.now - timedelta(hours=1), status="failed", error_code=21610, price=None)

    (finding,) = seen("message-rejected").values()

    assert finding.evidence["error_meaning"] == "the recipient opted out, or has such texts blocked"
    assert finding.remedy.startswith("Do not text this number again")


@pytest.mark.parametrize("code", [14107, 21211, 21408, 21610, 21614, 30003, 30007, 30034, 30410, 63016, 572002])
def test_known_codes(code: int) -> None:
    """
    A known code has a meaning, and advice that is a sentence of its own.
    """
    known = reason(code)

    assert known.meaning[0].islower()
    assert known.advice[0].isupper()
    assert known.advice.endswith(".")
    assert "twilio.com" not in known.advice


def test_other_codes() -> None:
    """
    A code that is not known leads to its page at Twilio, and none is said to be none.
    """
    assert "https://www.twilio.com/docs/errors/30999," in reason(30999).advice
    assert reason(None).meaning == "its error code is not recorded"


# --- money -----------------------------------------------------------------------------------------------------------


def test_cost_sign(scene: World, seen: Seen) -> None:
    """
    Two signs in one window are counted; outside of the window they are nobody's business.
    """
    anna = scene.customer(ANNA)
    negative = arrived(scene)
    scene.record(negative, anna, cost_usd=Decimal("-0.0079"))
    scene.record(arrived(scene), anna, created_at=scene.now - timedelta(days=8))
    assert seen("message-cost-sign") == {}

    scene.record(arrived(scene), anna)
    finding = seen("message-cost-sign")["schema/messages.cost_usd"]

    assert finding.evidence == {"message_sid": negative.sid, "negative": 1, "positive": 1}
    assert "negative in 1 rows of the window and positive in 1" in finding.summary


# --- reconcile, and answers that are not whole -----------------------------------------------------------------------


def test_reconcile_reports_what_the_checks_find(scene: World, open_doctor: Doctors) -> None:
    """
    The comparison's checks say the same in every command, under the same commands to copy.
    """
    december_incident(scene)
    doctor = open_doctor()
    names = [made.name for made in COMPARED]

    reconciled = doctor.reconcile(week(scene))
    examined = doctor.examine("examine", select(names), week(scene))

    assert len(reconciled.findings) == 14
    assert reconciled.findings == examined.findings
    assert reconciled.skipped == examined.skipped == []


def test_a_check_that_crashes_in_reconcile(scene: World, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its answer is missing and said to be, and the others' are there.
    """
    scene.customer(ANNA)
    message = arrived(scene)

    def crash(_: object) -> list[Any]:
        raise ValueError(ANNA)

    broken = replace(CATALOGUE["message-mismatched"], look=crash)
    monkeypatch.setattr(comparing, "COMPARED", (broken, *COMPARED[1:]))
    report = doctor.reconcile(week(scene))

    assert report.exit_code is ExitCode.INCOMPLETE
    assert report.exit_reason == "1 error in what was read, but not everything could be looked at"
    assert [finding.subject for finding in report.findings] == [f"message/{message.sid}"]
    (skipped,) = report.skipped
    assert (skipped.check, skipped.kind) == ("message-mismatched", "unreachable")
    assert ANNA not in repr(report)


UNREAD: Final = Skipped(check="the log of 2025-12-01", kind="unreachable", reason="it does not answer")


def half_read(*discrepancies: Discrepancy, overview: Overview | None, scene: World) -> Any:
    """
    Evidence of a log that broke off.
    """
    comparison = Comparison(
        terms=Terms(window=week(scene).window, now=scene.now, senders=None),
        counts={},
        discrepancies=discrepancies,
        overview=overview,
        coverage={},
        unread=[UNREAD],
        log_complete=False,
    )
    database = SimpleNamespace(has=lambda *_: True, rows=lambda *_, **__: [])
    return SimpleNamespace(
        comparison=comparison,
        disclosure=Disclosure(),
        window=week(scene).window,
        database=database,
        command=lambda words: words,
    )


def test_nothing_is_not_claimed_of_a_log_that_broke_off(scene: World) -> None:
    """
    A check that found nothing in half of a log was not made; what was found, or is the database's alone, counts.
    """
    message = TwilioMessage(
        sid="SM" + "c" * 32,
        status="delivered",
        direction="outbound-api",
        to=ANNA,
        date_created="Mon, 01 Dec 2025 10:00:00 +0000",
    )
    orphan = Discrepancy(kind=Kind.UNRECORDED, sid=message.sid, message=message)
    evidence = half_read(orphan, overview=Overview(recorded=1, duplicated={}), scene=scene)

    outcomes = run((*COMPARED, message_undelivered), evidence, ThreadPoolExecutor(9))

    assert [finding.name for finding in findings_of(outcomes)] == ["message-orphaned"]
    skipped = skipped_of(outcomes, ())
    assert {outcome.check.name for outcome in outcomes if outcome.made and not outcome.findings} == {
        "message-duplicated",
        "message-without-customer",
        "message-without-sid",
    }
    assert {(skip.check, skip.kind) for skip in skipped} == {
        (name, "unreachable")
        for name in (
            "message-mismatched",
            "message-rejected",
            "message-unrecorded",
            "message-unknown-to-twilio",
            "message-undelivered",
        )
    }
    assert "it does not answer" in skipped[0].reason


def test_nothing_at_all_was_read(scene: World) -> None:
    """
    Then no check was made, the database's neither: its overview is of no use without the log.
    """
    evidence = half_read(overview=None, scene=scene)

    outcomes = run((*COMPARED, message_undelivered), evidence, ThreadPoolExecutor(9))

    assert len(skipped_of(outcomes, ())) == len(COMPARED) + 1
    assert findings_of(outcomes) == []


def test_findings_of_a_comparison(scene: World) -> None:
    """
    Whoever has a comparison and asks for no more gets its findings; what of it is unread is not repeated.
    """
    evidence = half_read(overview=None, scene=scene)

    assert message_findings(evidence.comparison, Disclosure(), "") == []
