"""
The command `migrate`, and the undo of its runs: what is shown, asked, refused, and what a killed one leaves behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.sandbox.incidents import World
from tests.repair.cases import PHONE
from tests.repair.migrating import busy
from tests.repair.test_interruptions import until

Call = Callable[..., Result]

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

REQUIRED = (
    "SELECT attnotnull AS is_so FROM pg_attribute WHERE attrelid = 'messages'::regclass AND attname = 'customer_id'"
)
INDEXES = "SELECT indisvalid AS valid FROM pg_index WHERE indrelid = 'messages'::regclass AND indisunique AND NOT indisprimary"


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory.
    """
    monkeypatch.chdir(tmp_path)

    def call(words: str, **variables: str | None) -> Result:
        result = CliRunner().invoke(app, words.split(), env={**scene.environment(), **variables})
        assert "Traceback" not in result.stderr
        return result

    return call


@pytest.fixture(name="document")
def _document(call: Call) -> Callable[..., dict[str, Any]]:
    """
    Runs a command; gives its document, whose exit code is the process's.
    """

    def document(words: str, **variables: str | None) -> dict[str, Any]:
        result = call(f"{words} --format json", **variables)
        found: dict[str, Any] = json.loads(result.stdout)
        assert found["exit_code"] == result.exit_code
        return found

    return document


def required(scene: World) -> bool:
    """
    Whether the customer may not be null.
    """
    return bool(scene.rows(REQUIRED)[0]["is_so"])


def run_of(document: dict[str, Any]) -> str:
    """
    The run's id.
    """
    return str(document["run"]["id"])


# --- without --apply -------------------------------------------------------------------------------------------------


def test_what_is_shown(scene: World, document: Callable[..., dict[str, Any]]) -> None:
    """
    The SQL, its lock, the target, the size, who is in the way with a masked query; 1, because work remains; nothing changes.
    """
    statement = f"SELECT body FROM messages WHERE direction = 'outbound' AND to_number = '{PHONE}'"
    with busy(scene.url, statement) as other:
        pid, shown = other.info.backend_pid, document("migrate relax")

    plan = shown["plan"]
    [step], [blocker] = plan["steps"], plan["waits_for"]
    assert (shown["command"], shown["exit_code"], shown["window"]) == ("migrate relax", 1, None)
    assert (shown["summary"], shown["exit_reason"]) == ({"planned": 1, "applied": 0}, "1 statement to run")
    assert shown["next_steps"] == ["booking-doctor migrate relax --apply"]
    assert step["sql"] == [
        "BEGIN;",
        "SET LOCAL lock_timeout = '2s';",
        "SET LOCAL statement_timeout = '5s';",
        "ALTER TABLE public.messages",
        "  ALTER COLUMN customer_id DROP NOT NULL;",
        "COMMIT;",
    ]
    assert (step["kind"], step["subject"]) == ("drop-not-null", "schema/messages.customer_id")
    assert (step["lock"], step["before"], step["after"]) == (
        "ACCESS EXCLUSIVE",
        {"not_null": True},
        {"not_null": False},
    )
    assert step["blocks"].startswith("everybody waits for it, readers too")
    assert set(plan["target"]) == {"database", "role", "Twilio account"}
    assert (plan["table"]["name"], plan["table"]["bytes"] > 0) == ("public.messages", True)
    assert (blocker["pid"], blocker["application"]) == (pid, "web-1")
    assert (blocker["role"], blocker["state"]) == ("postgres", "idle in transaction")
    assert blocker["locks"] == ["AccessShareLock"]
    assert blocker["query"] == "SELECT body FROM messages WHERE direction = …"
    assert plan["longest_transaction"]["since"] == blocker["since"]
    assert required(scene)
    assert scene.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'booking_doctor'") == []


def test_show_pii(scene: World, document: Callable[..., dict[str, Any]]) -> None:
    """
    Only then a query is shown whole.
    """
    with busy(scene.url, f"SELECT body FROM messages WHERE to_number = '{PHONE}'"):
        assert PHONE not in json.dumps(document("migrate guard"))
        [blocker] = document("migrate relax --show-pii")["plan"]["waits_for"]

    assert blocker["query"].endswith(f"'{PHONE}'")


@pytest.mark.parametrize("change", ["relax", "restore", "guard"])
def test_nothing_to_do(scene: World, document: Callable[..., dict[str, Any]], change: str) -> None:
    """
    What is so already is 0, also with --apply, and no run.
    """
    scene.execute("CREATE UNIQUE INDEX ON messages (message_sid)")
    if change == "relax":
        scene.execute("ALTER TABLE messages ALTER customer_id DROP NOT NULL")

    for words in (f"migrate {change}", f"migrate {change} --apply"):
        found = document(words)
        assert (found["exit_code"], found["plan"]["steps"], found["next_steps"]) == (0, [], [])
        assert found["exit_reason"].endswith("already, nothing to do")
        assert "run" not in found
    assert document("runs")["runs"] == []


def test_fail_on(document: Callable[..., dict[str, Any]]) -> None:
    """
    Whoever only wants to look says so.
    """
    assert document("migrate relax --fail-on never")["exit_code"] == 0


def test_the_table_on_a_terminal(call: Call) -> None:
    """
    A person reads the SQL as it would be sent, each line to copy on a line of its own.
    """
    lines = [line.strip() for line in call("migrate guard").stdout.splitlines()]

    start = lines.index("SET lock_timeout = '60s';")
    assert lines[start : start + 6] == [
        "SET lock_timeout = '60s';",
        "SET statement_timeout = '0';",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS messages_message_sid_unique",
        "ON public.messages (message_sid);",
        "RESET lock_timeout;",
        "RESET statement_timeout;",
    ]
    assert "In the way now: nobody" in lines


# --- with it ---------------------------------------------------------------------------------------------------------


def test_nobody_to_ask(scene: World, call: Call) -> None:
    """
    Without a terminal it wants --yes, after showing on stderr what it would run.
    """
    result = call("migrate relax --apply")

    assert (result.exit_code, result.stdout) == (4, "")
    assert "ALTER COLUMN customer_id DROP NOT NULL;" in result.stderr
    assert "try: look at the plan, then add --yes" in result.stderr
    assert required(scene)


def test_there_and_back(scene: World, document: Callable[..., dict[str, Any]]) -> None:
    """
    Each verb is run, verified, listed and taken back; every run is in the journal.
    """
    relaxed = document("migrate relax --apply --yes")
    assert (relaxed["exit_code"], relaxed["exit_reason"]) == (0, "1 statement run, verified")
    assert relaxed["next_steps"] == [f"booking-doctor undo {run_of(relaxed)}", "booking-doctor migrate restore"]
    assert not required(scene)

    restored = document("migrate restore --apply --yes")
    assert restored["summary"] == {"planned": 4, "applied": 4, "without_customer": 0}
    assert restored["run"]["verified"] is True
    assert required(scene)

    guarded = document("migrate guard --apply --yes")
    assert scene.rows(INDEXES) == [{"valid": True}]

    listed = document("runs")["runs"]
    assert [(run["command"], run["applied"], run["undone"]) for run in listed] == [
        ("migrate guard", 1, 0),
        ("migrate restore", 4, 0),
        ("migrate relax", 1, 0),
    ]
    back = document(f"undo {run_of(guarded)} --yes")
    assert (back["exit_code"], back["exit_reason"]) == (0, "migrate guard is taken back, verified")
    assert back["run"] == {"id": run_of(guarded), "applied": 1, "verified": True}
    assert scene.rows(INDEXES) == []
    assert document(f"undo {run_of(restored)} --yes")["exit_code"] == 0
    assert not required(scene)
    assert document(f"undo {run_of(relaxed)} --yes")["plan"]["steps"][0]["kind"] == "add-check"
    assert required(scene)
    again = document(f"undo {run_of(relaxed)}")
    assert (again["exit_code"], again["plan"]["steps"]) == (0, [])
    assert again["exit_reason"] == f"run {run_of(relaxed)}: undone already"


def test_undo_shows_its_sql_first(scene: World, call: Call, document: Callable[..., dict[str, Any]]) -> None:
    """
    The way back is shown and asked for like the way there.
    """
    run = run_of(document("migrate guard --apply --yes"))

    result = call(f"undo {run}")

    assert (result.exit_code, result.stdout) == (4, "")
    assert "DROP INDEX CONCURRENTLY IF EXISTS public.messages_message_sid_unique;" in result.stderr
    assert scene.rows(INDEXES) == [{"valid": True}]


def test_a_forgotten_run(call: Call, document: Callable[..., dict[str, Any]]) -> None:
    """
    Forgetting a migration works as for any run.
    """
    run = run_of(document("migrate relax --apply --yes"))

    assert document(f"runs --forget {run} --yes")["runs"][0]["applied"] == 1
    result = call(f"undo {run} --yes")

    assert result.exit_code == 2
    assert "was forgotten" in result.stderr


def test_the_night(scene: World, call: Call, document: Callable[..., dict[str, Any]]) -> None:
    """
    Relaxed in an emergency, a text is recorded without its customer; restoring is refused until a backfill gave it one.
    """
    customer = scene.customer(PHONE)
    relaxed = document("migrate relax --apply --yes")
    sent = scene.text(PHONE, scene.now.replace(minute=0, second=0))
    scene.record(sent, None)
    assert next(finding["name"] for finding in document("check-schema")["findings"]) == "schema-customer-id-nullable"

    shown = document("migrate restore")
    assert (shown["exit_code"], shown["summary"]["without_customer"]) == (1, 1)
    assert shown["plan"]["left"] == [{"subject": f"message/{sent.sid}", "reason": "it has no customer"}]
    refused = call("migrate restore --apply --yes")
    assert refused.exit_code == 4
    [backfill] = shown["next_steps"]
    assert backfill in refused.stderr
    back = call(f"undo {run_of(relaxed)} --yes")
    assert back.exit_code == 4
    assert not required(scene)

    filled = document(backfill.removeprefix("booking-doctor ") + " --apply --yes")
    assert (filled["exit_code"], filled["summary"]["assign_customer"]) == (0, 1)
    assert scene.rows("SELECT customer_id::text AS owner FROM messages") == [{"owner": customer}]
    assert document("migrate restore --apply --yes")["exit_code"] == 0
    assert required(scene)
    assert document("reconcile")["summary"]["without_customer"] == 0


def test_a_row_that_nobody_owns(scene: World, document: Callable[..., dict[str, Any]]) -> None:
    """
    For a row too old for Twilio's log the backfill goes back as far as that goes.
    """
    scene.execute("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    scene.execute("INSERT INTO messages (direction, created_at) VALUES ('outbound', '2019-05-01')")

    shown = document("migrate restore")

    assert "the oldest since 2019-05-01 00:00 UTC" in shown["plan"]["refusal"]
    command, _, since = shown["next_steps"][0].rpartition(" ")
    assert command == "booking-doctor backfill --since"
    assert timedelta(days=398) < scene.now - datetime.fromisoformat(since).replace(tzinfo=UTC) < timedelta(days=400)


def test_rivals(scene: World, call: Call) -> None:
    """
    Variables that name different databases refuse a change.
    """
    result = call("migrate relax --apply --yes", POSTGRES_URL="postgresql://a@elsewhere/b")

    assert result.exit_code == 4
    assert "DATABASE_URL and POSTGRES_URL name different databases" in result.stderr
    assert required(scene)


def test_a_pooler(scene: World, call: Call) -> None:
    """
    Settings that tell of a transaction pooler refuse a change, and name the direct address.
    """
    result = call("migrate relax --apply --yes", DATABASE_URL=f"{scene.url}?pgbouncer=true")

    assert result.exit_code == 4
    assert "transaction pooler" in result.stderr
    assert "set it to the server's own address" in result.stderr
    assert required(scene)


def test_locked_for_everybody(scene: World, call: Call) -> None:
    """
    Where somebody's lock lets nobody look, that is incomplete, and they are named.
    """
    with busy(scene.url, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE") as other:
        result = call("migrate guard --format json")
        pid = other.info.backend_pid

    assert result.exit_code == 3
    reason = json.loads(result.stdout)["exit_reason"]
    assert reason.startswith(f"looking at the table waited in vain for pid {pid} (postgres, web-1) since ")


def test_no_answer(call: Call) -> None:
    """
    A database that does not answer is incomplete, and no all-clear.
    """
    result = call("migrate guard --format json", DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/none")

    assert result.exit_code == 3
    assert json.loads(result.stdout)["skipped"][0]["kind"] == "unreachable"
    assert "hunter2" not in result.output


# --- killed on the way -----------------------------------------------------------------------------------------------


@contextmanager
def child(scene: World, words: str, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """
    The command in a process of its own.
    """
    environment = {
        **os.environ,
        **scene.environment(),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", "booking_doctor", *words.split()]
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_at(scene: World, words: str, moment: Callable[[], object], directory: Path) -> None:
    """
    Run the command until then, and kill it; its connections go with it.
    """
    with child(scene, words, directory) as process:
        until(lambda: moment() or process.poll() is not None, 30)
        assert process.poll() is None, process.stdout and process.stdout.read()
        process.send_signal(signal.SIGKILL)


def connections(scene: World, condition: str = "true") -> list[int]:
    """
    The doctor's.
    """
    return [
        row["pid"]
        for row in scene.rows(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'booking-doctor' AND datname = current_database()"
            f" AND {condition}"
        )
    ]


def end_connections(scene: World) -> None:
    """
    The server notices that the client is gone.
    """
    for pid in connections(scene):
        scene.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
    until(lambda: not connections(scene))


@pytest.mark.parametrize(
    ("word", "stood", "rest"), [("VALIDATE", 1, 3), ("SET NOT NULL", 2, 2), ("DROP CONSTRAINT", 3, 1)]
)
def test_restore_killed(
    scene: World, document: Callable[..., dict[str, Any]], tmp_path: Path, word: str, stood: int, rest: int
) -> None:
    """
    A kill -9 between two statements: what was committed stands and is in the journal, the same command does the rest.
    """
    scene.execute("ALTER TABLE messages ALTER customer_id DROP NOT NULL")
    scene.execute(
        "CREATE FUNCTION dawdle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF current_query() LIKE '%{word}%' THEN PERFORM pg_sleep(4); END IF; END $$"
    )
    scene.execute("CREATE EVENT TRIGGER dawdle ON ddl_command_start EXECUTE FUNCTION dawdle()")

    kill_at(
        scene,
        "migrate restore --apply --yes",
        lambda: connections(scene, "wait_event = 'PgSleep'"),
        tmp_path,
    )
    end_connections(scene)
    scene.execute("DROP EVENT TRIGGER dawdle")

    assert [run["applied"] for run in document("runs")["runs"]] == [stood]
    continued = document("migrate restore --apply --yes")
    assert (continued["exit_code"], continued["run"]["applied"]) == (0, rest)
    assert required(scene)
    assert scene.rows("SELECT conname FROM pg_constraint WHERE starts_with(conname, 'booking_doctor')") == []


@pytest.fixture(name="half_built")
def _half_built(scene: World, tmp_path: Path) -> Iterator[psycopg.Connection]:
    """
    A guard that was killed while the server waited to build its index, and the writer it waited for.
    """
    customer = scene.customer(PHONE)
    writing = f"INSERT INTO messages (customer_id, direction, message_sid) VALUES ('{customer}', 'outbound', 'SM1')"
    with busy(scene.url, writing) as writer:
        kill_at(scene, "migrate guard --apply --yes", lambda: scene.rows(INDEXES), tmp_path)
        until(lambda: not connections(scene, "state = 'idle in transaction'"))
        yield writer


def test_guard_killed(scene: World, half_built: psycopg.Connection, document: Callable[..., dict[str, Any]]) -> None:
    """
    A kill -9 while the index is built, and the server stops too: the leftover is found, named with its run, and rebuilt.
    """
    end_connections(scene)
    half_built.rollback()
    assert scene.rows(INDEXES) == [{"valid": False}]
    [run] = document("runs")["runs"]
    assert run["applied"] == 0

    shown = document("migrate guard")
    note = f"run {run['id']} began to build the index messages_message_sid_unique and did not see its end: it is there and invalid"
    assert note in shown["plan"]["notes"]
    assert [step["kind"] for step in shown["plan"]["steps"]] == ["drop-index", "create-index"]
    assert next(finding["name"] for finding in document("check-schema")["findings"]) == "schema-sid-not-unique"

    rebuilt = document("migrate guard --apply --yes")
    assert rebuilt["exit_code"] == 0
    assert scene.rows(INDEXES) == [{"valid": True}]
    assert [run["id"] for run in document("runs")["runs"]] == [run_of(rebuilt)]


def test_guard_killed_and_the_server_goes_on(
    scene: World, half_built: psycopg.Connection, document: Callable[..., dict[str, Any]]
) -> None:
    """
    A kill -9 while the index is built, and the server ends what it began: nothing is to do, and undo knows whose it was.
    """
    half_built.commit()
    until(lambda: scene.rows(INDEXES) == [{"valid": True}])
    until(lambda: not connections(scene))
    [run] = document("runs")["runs"]

    shown = document("migrate guard")
    assert (shown["exit_code"], shown["plan"]["steps"]) == (0, [])
    assert shown["plan"]["notes"][0].endswith("did not see its end: it is there and valid")

    assert document(f"undo {run['id']} --yes")["exit_code"] == 0
    assert scene.rows(INDEXES) == []
    assert [(run["applied"], run["undone"]) for run in document("runs")["runs"]] == [(1, 1)]


def test_guard_interrupted(scene: World, tmp_path: Path) -> None:
    """
    Ctrl-C while the index is built removes what there is of it, and leaves no run.
    """
    snapshot = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT FROM customers")
    with (
        busy(scene.url, *snapshot),
        child(scene, "migrate guard --apply --yes", tmp_path) as process,
    ):
        until(lambda: scene.rows(INDEXES) and connections(scene, "wait_event_type = 'Lock'"), 30)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130

    assert scene.rows(INDEXES) == []
    assert scene.rows("SELECT 1 FROM booking_doctor.runs") == []


def test_interrupted(scene: World, tmp_path: Path) -> None:
    """
    Ctrl-C while it waits is 130, and nothing is changed.
    """
    with (
        busy(scene.url, "SELECT FROM messages"),
        child(scene, "migrate relax --apply --yes", tmp_path) as process,
    ):
        until(lambda: connections(scene, "wait_event_type = 'Lock'"), 30)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130

    assert required(scene)
    assert scene.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'booking_doctor'") == []
