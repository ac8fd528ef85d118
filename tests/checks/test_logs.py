"""
What the application's logs are understood to say, and that nothing of their words gets out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from booking_doctor.checks import select
from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.logs import audited, called

PHONE, BODY = "+15550104081", "Your table is waiting."
NULL = 'null value in column "customer_id" of relation "messages" violates not-null constraint'
DAY = timedelta(days=1)
Look = Callable[[], Report]


@pytest.fixture(name="look")
def _look(scene: World, open_doctor: Callable[..., Doctor]) -> Look:
    """
    The family over the last three days, without Twilio: the logs are the database's.
    """

    def look() -> Report:
        request = Request(window=Window(scene.now - 3 * DAY, scene.now))
        return open_doctor(TWILIO_ACCOUNT_SID="").examine("examine", select(["log"]), request)

    return look


def only(report: Report) -> Finding:
    """
    The one finding there is.
    """
    (finding,) = report.findings
    return finding


@pytest.mark.parametrize(
    ("action", "details"),
    [
        ("booking.initiated", {"error": {"code": "23502"}}),
        ("booking.confirmed", {"sqlstate": 23502}),
        ("sms.record", f"{NULL} for {PHONE}"),
        ("twilio.callback", "SQLSTATE[23502]: Not null violation"),
        ("job.failed", f"ERROR {NULL}"),
        ("Message.Insert", {"code": "not_null_violation"}),
    ],
)
def test_violation(scene: World, look: Look, action: str, details: object) -> None:
    """
    A violation is known by its code or by PostgreSQL's words, in an operation on bookings and texts or on their tables.
    """
    audited(scene, action, details)

    assert only(look()).fingerprint == "log-not-null-violation:log/audit_logs"


@pytest.mark.parametrize(
    ("action", "details"),
    [
        ("invoice.created", {"error": {"code": "23502"}, "message": "about a booking"}),
        ("invoice.created", 'null value in column "total" of relation "invoices" violates not-null constraint'),
        ("booking.priced", {"amount": 23502}),
        ("booking.called", {"phone": "+1 555 23502"}),
        ("sms.sent", {"code": "235020"}),
        ("sms.sent", {"code": "23503"}),
    ],
)
def test_no_violation(scene: World, look: Look, action: str, details: object) -> None:
    """
    Violations elsewhere and numbers that look like the code are none.
    """
    audited(scene, action, details)

    assert look().findings == []


def test_count_times_and_columns(scene: World, look: Look) -> None:
    """
    The finding has how many, the first and last time, and which column.
    """
    for age in (DAY, 2 * DAY, 4 * DAY):
        audited(scene, "booking.confirmed", NULL, age=age)
    audited(scene, "booking.confirmed", {"code": "23502"}, age=timedelta(hours=30))

    finding = only(look())

    assert finding.evidence == {
        "entries": 3,
        "first": (scene.now - 2 * DAY).isoformat().replace("+00:00", "Z"),
        "last": (scene.now - DAY).isoformat().replace("+00:00", "Z"),
        "sqlstate": "23502",
        "by_name": {"customer_id": 2, "?": 1},
    }
    assert finding.summary.startswith("The log audit_logs has 3 NOT NULL violations of customer_id, the last at ")
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("403", None, "403"),
        ("500", "the handler gave up", "500"),
        ("error", "Twilio error 11200", "11200"),
        ("failed", "error: 22P02", "22P02"),
        ("200", "PGRST116: no rows", "?"),
        ("200", '{"code": "PGRST116"}', "PGRST116"),
        ("200", "404 Not Found", "404"),
        ("200", "21610", "21610"),
        ("FAILED", "", "?"),
        ("200", f"{PHONE} did not answer", "?"),
        ("200", "555 0104 081 did not answer", "?"),
        ("200", "555-010-4081: did not answer", "?"),
        ("200", f"error for {PHONE}: {BODY}", "?"),
    ],
)
def test_webhook_error(scene: World, look: Look, status: str, error: str | None, code: str) -> None:
    """
    An entry failed if it has an error or a status that says so; the code is told where there is one.
    """
    called(scene, "message.status", status=status, error=error)

    finding = only(look())

    assert (finding.fingerprint, finding.severity) == ("log-webhook-error:log/webhook_logs", Severity.WARNING)
    assert finding.evidence["by_code"] == {
        code: {"entries": 1, "last": (scene.now - timedelta(hours=1)).isoformat().replace("+00:00", "Z")}
    }


@pytest.mark.parametrize(
    ("status", "error"), [("200", None), ("204", ""), ("processed", " "), ("4030", None), ("", None)]
)
def test_webhook_without_error(scene: World, look: Look, status: str, error: str | None) -> None:
    """
    What went well is no finding, though the text it was about failed at Twilio.
    """
    called(scene, "message.status", status=status, error=error)

    assert look().findings == []


def test_violation_in_a_webhook_is_told_once(scene: World, look: Look) -> None:
    """
    A NOT NULL violation of a webhook is one, and no second finding.
    """
    called(scene, "message.inbound", status="500", error=NULL)

    assert only(look()).fingerprint == "log-not-null-violation:log/webhook_logs"


def test_codes_by_frequency(scene: World, look: Look) -> None:
    """
    The code that comes most often is told first.
    """
    for status in ("403", "500", "500"):
        called(scene, "message.status", status=status)

    assert "3 failed webhooks, the last at" in only(look()).summary
    assert "(500 2 times, 403 1 times)" in only(look()).summary


def test_no_words_get_out(scene: World, look: Look) -> None:
    """
    Of what the logs hold, phones and bodies included, nothing is shown but codes and names.
    """
    audited(scene, "booking.confirmed", {"message": f"{NULL}: {PHONE} {BODY}", "body": BODY})
    called(scene, "message.status", status="error", error=f"error 30003 for {PHONE}: {BODY}")

    report = look()

    assert len(report.findings) == 2
    assert PHONE not in repr(report)
    assert BODY not in repr(report)


def test_without_logs(scene: World, look: Look) -> None:
    """
    An application without logs is not called ill, and one with one of them is looked at.
    """
    audited(scene, "booking.confirmed", NULL)
    scene.execute("DROP TABLE webhook_logs")
    assert only(look()).subject == "log/audit_logs"
    assert [(skipped.check, skipped.kind) for skipped in look().skipped] == [("log-webhook-error", "not-applicable")]

    scene.execute("DROP TABLE audit_logs")
    assert look().findings == []
    assert {skipped.kind for skipped in look().skipped} == {"not-applicable"}


def test_columns_that_can_be_missing(scene: World, look: Look) -> None:
    """
    Logs that know less are read as far as they go.
    """
    scene.execute("ALTER TABLE webhook_logs DROP source, DROP event_type, DROP status")
    scene.execute("ALTER TABLE audit_logs DROP entity_type")
    values = {"at": scene.now - DAY, "null": NULL}
    scene.execute("INSERT INTO webhook_logs (error, created_at) VALUES (:null, :at), ('error 11200', :at)", **values)
    scene.execute(
        "INSERT INTO audit_logs (action, details, created_at) VALUES ('sms', to_jsonb(CAST(:null AS text)), :at)",
        **values,
    )

    assert sorted(finding.fingerprint for finding in look().findings) == [
        "log-not-null-violation:log/audit_logs",
        "log-not-null-violation:log/webhook_logs",
        "log-webhook-error:log/webhook_logs",
    ]
