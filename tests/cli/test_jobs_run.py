"""
The command ``jobs run`` as cron, a service manager and several machines at once call it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from booking_doctor.adapters.alarm import Bell
from booking_doctor.adapters.bookings import DatabaseStore
from booking_doctor.adapters.memory import MemoryTwilio
from booking_doctor.adapters.postgres import Database
from booking_doctor.bootstrap import workplace_for
from booking_doctor.cli import queue as module
from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.core.booking import JOB_TYPE
from booking_doctor.core.flow import Terms
from booking_doctor.core.service import BookingService, SystemClock
from booking_doctor.core.shift import Ended, Shift
from booking_doctor.sandbox.incidents import SENDER, World
from booking_doctor.settings import Names, Preferences, database_settings
from tests.cli.queued import APP, Queue, application, phone, queue_of, states, texted
from tests.conftest import at_database

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Any]


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory with the scene's environment; a variable given as None is not set.
    """
    monkeypatch.chdir(tmp_path)
    environment = {**scene.environment(), **APP}
    return lambda *words, **variables: CliRunner().invoke(app, list(words), env={**environment, **variables})


@pytest.fixture(name="service")
def _service(scene: World) -> Iterator[BookingService]:
    """
    The application, whose texts are queued.
    """
    with application(scene) as service:
        yield service


@pytest.fixture(name="queue")
def _queue(scene: World, service: BookingService) -> Queue:
    """
    Queues texts.
    """
    return queue_of(scene, service)


def document(answer: Any) -> dict[str, Any]:
    """
    The JSON document of an answer, whose exit code is the document's own.
    """
    found: dict[str, Any] = json.loads(answer.stdout)
    assert answer.exit_code == found["exit_code"], answer.output
    assert found["command"] == "jobs run"
    return found


def run_due(call: Call, *options: str, **variables: str | None) -> dict[str, Any]:
    """
    What ``jobs run`` says.
    """
    return document(call("jobs", "run", "--format", "json", *options, **variables))


# --- once, as cron does ----------------------------------------------------------------------------------------------


def test_what_is_due_is_sent(scene: World, call: Call, queue: Queue) -> None:
    """
    Each text once; the booking's metadata holds it, and a second call finds nothing to do.
    """
    bookings = queue(5)

    told = run_due(call)

    assert (told["exit_code"], told["exit_reason"]) == (0, "5 jobs: 5 sent")
    assert told["summary"] == {"taken": 5, "sent": 5, "dropped": 0, "put_off": 0, "failed": 0, "unfinished": 0}
    assert told["coverage"] == {
        "watched": False,
        "outages": 0,
        "due": 0,
        "due_later": 0,
        "without_time": 0,
        "other_jobs": 0,
    }
    assert texted(scene) == Counter(phone(n) for n in range(5))
    rows = scene.rows("SELECT metadata -> 'initial_sms' AS sms FROM pending_bookings")
    assert {row["sms"]["state"] for row in rows} == {"sent"}
    assert {row["sms"]["message_sid"] for row in rows} == {message.sid for message in scene.account.messages()}
    assert scene.rows("SELECT 1 FROM messages") == []
    assert len(bookings) == 5

    again = run_due(call)
    assert (again["exit_code"], again["exit_reason"], states(scene)) == (0, "nothing was due", {"done": 5})


def test_a_confirmed_bookings_text_is_recorded_at_once(
    scene: World, call: Call, queue: Queue, service: BookingService
) -> None:
    """
    Its customer is known by then.
    """
    (booking,) = queue()
    confirmed = service.confirm_booking(booking.token)

    run_due(call)

    rows = scene.rows("SELECT CAST(customer_id AS text) AS customer_id, message_sid FROM messages")
    (message,) = scene.account.messages()
    assert rows == [{"customer_id": confirmed.customer_id, "message_sid": message.sid}]


def test_a_closed_bookings_text_is_not_sent(scene: World, call: Call, queue: Queue) -> None:
    """
    The job is done, and the report says that the text was not wanted any more.
    """
    queue(2)
    scene.execute("UPDATE pending_bookings SET status = 'cancelled' WHERE customer_phone = :phone", phone=phone(0))
    scene.execute("UPDATE pending_bookings SET expires_at = now() WHERE customer_phone = :phone", phone=phone(1))

    told = run_due(call)

    assert (told["exit_code"], told["exit_reason"]) == (0, "2 jobs: 2 not wanted any more")
    assert (states(scene), texted(scene)) == ({"done": 2}, {})


def test_a_job_that_failed_for_good_is_a_finding(scene: World, call: Call, queue: Queue) -> None:
    """
    It makes the exit code 1, unless it is not to; the reason is in the report and in the row, the phone is not.
    """
    queue(2)
    scene.account.opted_out.add(phone(0))

    answer = call("jobs", "run", "--format", "json")

    told = document(answer)
    (finding,) = told["findings"]
    (row,) = scene.rows("SELECT CAST(id AS text) AS id, last_error FROM jobs WHERE status = 'failed'")
    assert (told["exit_code"], told["exit_reason"]) == (1, "2 jobs: 1 sent, 1 given up")
    assert finding["fingerprint"] == f"job-failed:job/{row['id']}"
    assert finding["evidence"]["twilio_code"] == 21610
    assert row["last_error"] in finding["summary"]
    assert phone(0) not in answer.output
    assert told["next_steps"] == ["booking-doctor jobs status"]
    assert texted(scene) == Counter([phone(1)])

    scene.execute("UPDATE jobs SET run_at = run_at - interval '5 s'")  # the window of a report ends with a whole second
    found = json.loads(call("jobs", "status", "--format", "json").stdout)["findings"]
    assert [other["fingerprint"] for other in found] == [finding["fingerprint"]]

    scene.execute("UPDATE jobs SET status = 'queued', run_at = now(), attempts = 0 WHERE status = 'failed'")
    assert run_due(call, "--fail-on", "never")["exit_code"] == 0


def test_what_was_put_off_is_not_called_done(scene: World, call: Call, queue: Queue) -> None:
    """
    While Twilio is not reached the answer is 3 and says why; the job waits, and is done when its time has come.
    """
    queue(2)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"

    told = run_due(call, TWILIO_API_BASE_URL=nobody)

    assert (told["exit_code"], told["exit_reason"]) == (3, "2 jobs: 2 put off")
    assert [skipped["reason"] for skipped in told["skipped"]] == [
        "2 jobs were put off: there was no connection to Twilio"
    ]
    assert told["coverage"]["due_later"] == 2
    assert told["next_steps"] == ["booking-doctor jobs run"]
    assert run_due(call)["exit_reason"] == "nothing was due"

    scene.execute("UPDATE jobs SET run_at = now()")
    assert run_due(call)["exit_reason"] == "2 jobs: 2 sent"
    assert texted(scene) == Counter([phone(0), phone(1)])


def test_jobs_of_others_are_left_alone_and_counted(scene: World, call: Call, queue: Queue) -> None:
    """
    Whatever their type is, another program knows what to do with them.
    """
    queue()
    for kind in ("send_email", "send_sms", JOB_TYPE.upper()):
        scene.job(type=kind, run_at=scene.now)
    scene.job(type="send_email", run_at=scene.now + timedelta(hours=1))

    told = run_due(call)

    assert (told["exit_code"], told["summary"]["taken"], told["coverage"]["other_jobs"]) == (0, 1, 3)
    assert states(scene) == {"done": 1, "queued": 4}


def test_a_job_without_a_time_is_not_passed_over_in_silence(scene: World, call: Call, queue: Queue) -> None:
    """
    Nothing says that it is due, and nothing that it is not: it is named, and the answer is 3.
    """
    queue(2)
    scene.execute("ALTER TABLE jobs ALTER COLUMN run_at DROP NOT NULL")
    scene.execute("UPDATE jobs SET run_at = NULL WHERE id = (SELECT min(id) FROM jobs)")

    told = run_due(call)

    assert (told["exit_code"], told["summary"]["sent"], states(scene)) == (3, 1, {"queued": 1, "done": 1})
    assert [skipped["reason"] for skipped in told["skipped"]] == [
        "1 job was not taken: nothing says when it is due; set run_at"
    ]


def test_so_many_and_no_more(scene: World, call: Call, queue: Queue) -> None:
    """
    ``--limit`` leaves the rest, and says how much that is.
    """
    queue(5)

    told = run_due(call, "--limit", "2", "--concurrency", "8")

    assert (told["exit_code"], told["summary"]["sent"], told["coverage"]["due"]) == (0, 2, 3)
    assert (states(scene), told["next_steps"]) == ({"done": 2, "queued": 3}, ["booking-doctor jobs run"])


def test_the_terminal_is_told_in_words(call: Call, queue: Queue) -> None:
    """
    The verdict first; not a word on stderr where all went well.
    """
    queue()

    answer = call("jobs", "run")

    assert answer.stdout.startswith("Done: 1 job: 1 sent\njobs run\n")
    assert answer.stderr == ""


def test_a_long_shift_counts_on_stderr(call: Call, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Now and then, unless it is to be quiet; stdout is the document's.
    """
    monkeypatch.setattr(module, "WORTH_COUNTING_S", 0)
    queue(2)
    told = call("jobs", "run", "--format", "json", "--concurrency", "1")
    assert told.stderr.splitlines()[:2] == ["1 job: 1 sent", "2 jobs: 2 sent"]

    queue(2, first=2)
    quiet = call("--quiet", "jobs", "run", "--format", "json")
    assert (quiet.stderr, document(quiet)["summary"]["sent"]) == ("", 2)


def test_a_database_without_a_queue_is_named_as_that(scene: World, call: Call) -> None:
    """
    One sentence and 3; nothing is claimed of a queue that is not there.
    """
    scene.execute("DROP TABLE jobs")

    told = run_due(call)

    assert (told["exit_code"], told["verdict"]) == (3, "incomplete")
    (skipped,) = told["skipped"]
    assert skipped["reason"].startswith("there is no table jobs in the database ")


def test_a_database_that_does_not_answer(scene: World, call: Call) -> None:
    """
    3, with a document all the same.
    """
    told = run_due(call, DATABASE_URL=at_database(scene.url, "nowhere"))

    assert told["exit_code"] == 3
    assert told["exit_reason"].endswith('database "nowhere" does not exist; no job was taken')
    assert [skipped["check"] for skipped in told["skipped"]] == ["database"]


@pytest.mark.parametrize("name", ["DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_PHONE_NUMBER", "BOOKING_APP_URL"])
def test_without_a_setting_nothing_is_begun(scene: World, call: Call, queue: Queue, name: str) -> None:
    """
    2, the variable's name, and no job touched.
    """
    queue()

    answer = call("jobs", "run", **{name: None})

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert name in answer.stderr
    assert states(scene) == {"queued": 1}


def test_which_database_is_meant_must_be_clear(scene: World, call: Call, queue: Queue) -> None:
    """
    Variables that name different ones refuse it.
    """
    queue()

    answer = call("jobs", "run", POSTGRES_URL=at_database(scene.url, "another"))

    assert (answer.exit_code, answer.stdout) == (4, "")
    assert "DATABASE_URL and POSTGRES_URL name different databases" in answer.stderr
    assert states(scene) == {"queued": 1}


# --- many at once ----------------------------------------------------------------------------------------------------


def test_ten_workers_send_a_thousand_texts_once_each(scene: World) -> None:
    """
    Each with connections of its own; nothing is sent twice, nothing is left, and every job is one worker's.
    """
    scene.execute(
        "INSERT INTO pending_bookings (token, customer_phone, expires_at, metadata)"
        " SELECT 'tok_' || n, '+1555020' || n, now() + interval '1 day', jsonb_build_object('initial_sms',"
        " jsonb_build_object('state', 'queued', 'body', 'Please confirm ' || n, 'to_number', '+1555020' || n))"
        " FROM generate_series(1000, 1999) AS n"
    )
    scene.execute(
        "INSERT INTO jobs (type, payload) SELECT :type, jsonb_build_object('pending_booking_id', id)"
        " FROM pending_bookings",
        type=JOB_TYPE,
    )
    twilio = MemoryTwilio(SystemClock().now, sender=SENDER)

    def work(_: int) -> list[str]:
        database = Database(database_settings({"DATABASE_URL": scene.url}), Names(), connections=3)
        terms = Terms(app_url="https://book.example")
        with (
            closing(
                BookingService(store=DatabaseStore(database), messenger=twilio, finder=twilio, terms=terms)
            ) as service,
            ThreadPoolExecutor(2) as hands,
        ):
            news = list(Shift(service.queue, hands, Bell(), concurrency=2).work())
        assert all(isinstance(item, Ended) and item.outcome.state == "done" for item in news), news
        return [item.job.id for item in news if isinstance(item, Ended)]

    with ThreadPoolExecutor(10) as workers:
        shares = list(workers.map(work, range(10)))

    assert texted_in_memory(twilio) == Counter(f"+1555020{n}" for n in range(1000, 2000))
    assert Counter(job for share in shares for job in share).most_common(1)[0][1] == 1
    assert sum(map(len, shares)) == 1000
    assert states(scene) == {"done": 1000}
    named = scene.rows("SELECT count(DISTINCT metadata #>> '{initial_sms,message_sid}') AS n FROM pending_bookings")
    assert named == [{"n": 1000}]


def texted_in_memory(twilio: MemoryTwilio) -> Counter[str | None]:
    """
    How often each phone was texted.
    """
    return Counter(message.to for message in twilio.log)


class TwentyMinutesLater(SystemClock):
    """
    When leases have run out, and Twilio's list shows everything.
    """

    def now(self) -> datetime:
        """
        Then.
        """
        return datetime.now(UTC) + timedelta(minutes=20)


def test_a_worker_that_is_killed_leaves_nothing_to_be_sent_twice(
    scene: World, queue: Queue, service: BookingService
) -> None:
    """
    One is killed at each step. Another resolves what they left: at most one text a booking, one row a text.
    """
    bookings = queue(7)
    script = Path(__file__).with_name("dying_worker.py")
    environment = {**os.environ, **scene.environment()}
    subprocess.run([sys.executable, str(script)], check=True, env=environment, timeout=60)
    assert states(scene) == {"running": 5, "done": 1, "queued": 1}
    assert texted(scene) == Counter(phone(n) for n in (3, 4, 5))

    with (
        closing(
            workplace_for({**scene.environment(), **APP}, Preferences(), concurrency=3, clock=TwentyMinutesLater())
        ) as workplace,
        workplace.shift(watch=False, limit=None, tell=print) as shift,
    ):
        outcomes = {
            item.job.booking_id: (str(item.outcome.state), item.outcome.reason)
            for item in shift.work()
            if isinstance(item, Ended)
        }
    confirmed = [service.confirm_booking(booking.token) for booking in bookings]

    lost = bookings[2].booking_id
    assert outcomes.pop(lost) == (
        "failed",
        "its fate is unknown: Twilio's log does not show it; it is not sent again",
    )
    assert set(outcomes.values()) == {("done", None)}
    assert texted(scene) == Counter(phone(n) for n in (0, 1, 3, 4, 5, 6))
    recorded = scene.rows("SELECT message_sid, to_number FROM messages")
    assert sorted(row["to_number"] for row in recorded) == [phone(n) for n in (0, 1, 3, 4, 5, 6)]
    assert {row["message_sid"] for row in recorded} == {message.sid for message in scene.account.messages()}
    assert [answer.message_sid is None for answer in confirmed] == [n == 2 for n in range(7)]
