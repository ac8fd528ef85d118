"""
Commands that read a file instead of asking Twilio: what a file cannot prove is said, and never claimed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from booking_doctor.adapters.twilio_formats import iso_date
from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import SENDER, World, told_by_twilio
from booking_doctor.sandbox.twilio_log import Message

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Any]
ANNA = "+15550101001"
DAY = timedelta(days=1)


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory, with a database and a sender and nothing else of Twilio.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str | None) -> Any:
        environment = {"DATABASE_URL": scene.url, "TWILIO_PHONE_NUMBER": SENDER, **variables}
        answer = CliRunner().invoke(app, list(words), env=environment)
        assert answer.exception is None or isinstance(answer.exception, SystemExit)
        return answer

    return call


def exported(scene: World, *messages: Message, **values: Any) -> bytes:
    """
    The messages as Twilio exports them.
    """
    lines = []
    for message in messages:
        told = msgspec.to_builtins(told_by_twilio(message, scene.now))
        dates = {name: told[name] and iso_date(name, told[name]) for name in ("date_sent", "date_created")}
        del told["price_unit"]
        lines.append(json.dumps({**told, **dates, "account_sid": scene.account.account_sid, **values}) + "\n")
    return "".join(lines).encode()


def noon(scene: World, days_ago: int) -> datetime:
    """
    Noon of a day that is over.
    """
    return scene.now.replace(hour=12, minute=0, second=0) - days_ago * DAY


def of_days(scene: World, first: int, last: int) -> list[str]:
    """
    The window of those days and the file, as options.
    """
    since, until = (f"{scene.now - days * DAY:%Y-%m-%d}" for days in (first, last - 1))
    return ["--since", since, "--until", until, "--twilio-log", "export"]


def test_what_may_have_become_of_a_text_is_not_denied(scene: World, call: Call) -> None:
    """
    The export says that a text was sent, the row, written later, that it was delivered: that is no fault. Where the export
    says that it did not arrive, it is.
    """
    customer = scene.customer(ANNA)
    for hours in (0, 1):
        scene.record(scene.text(ANNA, noon(scene, 3) + timedelta(hours=hours)), customer)
    first, second = scene.account.messages()
    lost = exported(scene, second, status="undelivered", error_code=30003)
    Path("export").write_bytes(exported(scene, first, status="sent") + lost)

    document = json.loads(call("reconcile", *of_days(scene, 4, 2), "--format", "json").stdout)

    assert document["summary"]["matched"] == document["summary"]["mismatched"] == 1
    assert [one["subject"] for one in document["findings"]] == [f"message/{second.sid}"]
    assert document["coverage"]["statuses_after_the_log"] == 1


def test_a_row_that_the_file_lacks_is_not_called_unknown(scene: World, call: Call) -> None:
    """
    That takes a 404, and nobody was asked: the answer is incomplete.
    """
    customer = scene.customer(ANNA)
    kept, left_out = scene.text(ANNA, noon(scene, 3)), scene.text(ANNA, noon(scene, 3))
    scene.record(kept, customer)
    scene.record(left_out, customer)
    Path("export").write_bytes(exported(scene, kept))

    answer = call("reconcile", *of_days(scene, 3, 3), "--format", "json")

    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["findings"]) == (3, [])
    assert document["coverage"]["rows_not_confirmed"] == 1
    assert document["skipped"][0]["reason"] == (
        "1 SID is not in the files, which cannot tell whether Twilio has it; run it without --twilio-log to have Twilio asked"
    )


def test_days_that_no_file_covers_are_named(scene: World, call: Call) -> None:
    """
    What was found stands, nothing is said of the rest, and nothing is planned.
    """
    scene.customer(ANNA)
    message = scene.text(ANNA, noon(scene, 3))
    scene.pending_booking(ANNA, created_at=noon(scene, 2), expires_at=scene.now + DAY)
    Path("export").write_bytes(exported(scene, message))
    days = f"the log of 2 days from {noon(scene, 4):%F} to {noon(scene, 2):%F}"

    answer = call("reconcile", *of_days(scene, 4, 2), "--format", "json")
    document = json.loads(answer.stdout)
    assert answer.exit_code == 3
    assert [one["subject"] for one in document["findings"]] == [f"message/{message.sid}"]
    assert "no file covers" in document["skipped"][0]["reason"]
    assert [one["check"] for one in document["skipped"]] == [days]

    bookings = json.loads(call("bookings", *of_days(scene, 4, 2), "--format", "json").stdout)
    [found] = bookings["findings"]
    assert bookings["exit_code"] == 3
    assert "in what could be read of its log" in found["summary"]

    backfill = json.loads(call("backfill", *of_days(scene, 4, 2), "--format", "json").stdout)
    assert backfill["exit_code"] == 3
    assert "plan" not in backfill
    assert call("backfill", *of_days(scene, 3, 3), "--format", "json").exit_code == 1


def test_a_broken_line_is_named_without_what_it_holds(scene: World, call: Call) -> None:
    """
    The answer is incomplete; everything else is compared, and can be repaired.
    """
    scene.customer(ANNA)
    Path("export").write_bytes(b'{"to": "+15550101999", "body"\n' + exported(scene, scene.text(ANNA, noon(scene, 3))))

    answer = call("reconcile", *of_days(scene, 3, 3), "--format", "json")
    document = json.loads(answer.stdout)
    assert answer.exit_code == 3
    assert document["summary"]["unrecorded"] == 1
    assert document["skipped"] == [
        {"check": "line 1 of export", "kind": "unreachable", "reason": "it is no JSON"},
    ]
    assert "0101999" not in answer.output
    assert len(json.loads(call("backfill", *of_days(scene, 3, 3), "--format", "json").stdout)["plan"]["steps"]) == 1


def test_the_window_ends_where_the_files_end(scene: World, call: Call) -> None:
    """
    Unless it is said where: nothing is known of the time after them, nor claimed.
    """
    Path("export").write_bytes(exported(scene, scene.text(ANNA, noon(scene, 3))))
    since = ["--since", f"{noon(scene, 3):%F}", "--twilio-log", "export", "--format", "json"]

    document = json.loads(call("reconcile", *since).stdout)
    assert document["verdict"] == "findings"
    assert document["window"]["until"] == f"{noon(scene, 2):%F}T00:00:00Z"
    assert call("reconcile", *since, "--until", scene.now.isoformat()).exit_code == 3
    later = call("reconcile", "--since", "1h", "--twilio-log", "export")
    assert later.exit_code == 2
    assert "is not before --until" in later.stderr


def test_no_credential_is_needed(scene: World, call: Call) -> None:
    """
    Not even a sender, with --all-senders; without either it is said.
    """
    scene.customer(ANNA)
    Path("export").write_bytes(exported(scene, scene.text(ANNA, noon(scene, 3))))

    assert call("reconcile", *of_days(scene, 3, 3), "--all-senders", TWILIO_PHONE_NUMBER=None).exit_code == 1
    refused = call("reconcile", *of_days(scene, 3, 3), TWILIO_PHONE_NUMBER=None)
    assert refused.exit_code == 2
    assert "TWILIO_PHONE_NUMBER is missing" in refused.stderr


def test_an_export_may_be_older_than_what_twilio_keeps(scene: World, call: Call) -> None:
    """
    That is what exports are for.
    """
    scene.customer(ANNA)
    Path("export").write_bytes(exported(scene, scene.text(ANNA, noon(scene, 500))))

    document = json.loads(call("backfill", *of_days(scene, 500, 500), "--format", "json").stdout)

    assert [step["kind"] for step in document["plan"]["steps"]] == ["insert-message"]


def test_the_consoles_csv_repairs_too(scene: World, call: Call) -> None:
    """
    What it says goes into the row: the text, the price in dollars, the time it was sent.
    """
    customer = scene.customer(ANNA)
    messages = [scene.text(ANNA, noon(scene, 3) + timedelta(hours=hours), "Two,\nplease") for hours in (0, 1, 2)]
    Path("export").write_text(_csv(scene, messages), newline="")
    window = ["--since", noon(scene, 3).isoformat(), "--until", (noon(scene, 3) + timedelta(hours=2)).isoformat()]

    applied = call("backfill", *window, "--twilio-log", "export", "--apply", "--yes", "--format", "json")

    assert json.loads(applied.stdout)["run"]["verified"]
    rows = scene.rows(
        "SELECT body, cost_usd::text AS cost, created_at, customer_id::text FROM messages ORDER BY created_at"
    )
    assert [(row["body"], row["customer_id"]) for row in rows] == [("Two,\nplease", customer)] * 2
    assert {row["cost"].rstrip("0") for row in rows} == {"0.0079"}
    assert rows[0]["created_at"] == noon(scene, 3)


def _csv(scene: World, messages: Sequence[Message]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(
        [
            "From",
            "To",
            "Body",
            "Status",
            "SentDate",
            "ApiVersion",
            "NumSegments",
            "ErrorCode",
            "AccountSid",
            "Sid",
            "Direction",
            "Price",
            "PriceUnit",
        ]
    )
    for told in (told_by_twilio(message, scene.now) for message in messages):
        sent = iso_date("date_sent", told.date_sent or "")
        account = scene.account.account_sid
        numbers, rest = (told.from_number, told.to), (told.direction, told.price, "USD")
        writer.writerow([*numbers, told.body, told.status, sent, "2010-04-01", "1", "0", account, told.sid, *rest])
    return text.getvalue()


@pytest.mark.parametrize("command", ["diagnose", "reconcile", "bookings", "backfill", "action-plan"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "error: --twilio-log export cannot be read: No such file or directory"),
        (b"", "error: --twilio-log export is empty"),
        (b"\x1f\x8b\x08", "error: --twilio-log export is damaged or cut off after line 0"),
        (b"Date,Amount,Unit\n", "is a CSV without From, To, Status, SentDate, Sid, Direction in its header"),
    ],
    ids=["none", "empty", "cut off", "another CSV"],
)
def test_what_is_no_log_is_refused_before_any_work(
    call: Call, command: str, content: bytes | None, sentence: str
) -> None:
    """
    In one sentence and a hint, by every command.
    """
    if content is not None:
        Path("export").write_bytes(content)

    answer = call(command, "--twilio-log", "export", DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert sentence in answer.stderr
    assert answer.stderr.count("\n") == 2


def test_another_accounts_file_is_refused(scene: World, call: Call) -> None:
    """
    Neither account is shown whole.
    """
    Path("export").write_bytes(exported(scene, scene.text(ANNA, noon(scene, 3))))

    answer = call("reconcile", *of_days(scene, 3, 3), TWILIO_ACCOUNT_SID="AC" + "b" * 32)

    assert answer.exit_code == 2
    assert f"AC…{scene.account.account_sid[-4:]}, not of AC…bbbb" in answer.stderr
    assert scene.account.account_sid not in answer.stderr
