"""
Two repairs at once, and repairs that are cut off: whole batches stand, and a rerun finishes the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from booking_doctor.adapters.postgres import Timeouts
from booking_doctor.errors import DatabaseUnreachable, PartlyApplied, PlanRefused
from booking_doctor.repair.executor import Receipt
from booking_doctor.repair.plan import Plan, seal
from tests.memory import sid
from tests.repair.cases import (
    CUSTOMER,
    AfterTheFirstBatch,
    Bench,
    booking_row,
    insertion,
    message_row,
    new_trigger,
    open_bench,
    plan_of,
    reasons,
    restoration,
)

OURS = "application_name = 'booking-doctor'"
LOCK_HOLDER = f"pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {0x64726472}) AND {OURS}"


def slow(seconds: float) -> tuple[str, str]:
    """
    A trigger that makes every insert take so long.
    """
    return new_trigger(f"BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END")


def terminate(bench: Bench, which: str = OURS) -> int:
    """
    The server ends those connections; how many.
    """
    question = (
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND {which}"
    )
    return len(bench.sql(question))


def until(true: Callable[[], object], seconds: float = 10) -> None:
    """
    Wait for something.
    """
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def rows(bench: Bench) -> int:
    """
    How many messages are recorded.
    """
    return int(bench.sql("SELECT count(*) FROM messages")[0]["count"])


def without_ids(bench: Bench) -> list[dict[str, object]]:
    """
    The recorded messages but for their numbers, of which an attempt that failed has used some.
    """
    return [{**row, "id": None} for row in bench.sql("SELECT * FROM messages ORDER BY message_sid")]


@pytest.fixture(name="other")
def _other(bench: Bench) -> Iterator[Bench]:
    """
    Somebody else with a ledger on the same database, who waits longer for locks.
    """
    with open_bench(bench.url, timeouts=Timeouts(lock=5)) as other:
        yield other


# --- two at once -----------------------------------------------------------------------------------------------------


def test_lock(bench: Bench, other: Bench) -> None:
    """
    While one repair holds the lock another apply or undo is refused, and nothing is written; then it goes through.
    """
    bench.apply(plan_of(insertion(1)))
    with bench.ledger.lock() as lock:
        with pytest.raises(PlanRefused, match="another repair is being written to this database"):
            other.apply(plan_of(insertion(2)), "run-2")
        with pytest.raises(PlanRefused, match="another repair is being written to this database"):
            other.undo()
        lock.check()
        assert rows(bench) == 1

    assert other.apply(plan_of(insertion(2)), "run-2").written == [0]
    assert other.undo().written == [0]


def test_race(bench: Bench, other: Bench) -> None:
    """
    Of two applies that start together one writes everything, the other is refused; no row is there twice.
    """
    bench.sql(*slow(0.03))
    barrier = threading.Barrier(2)
    plan = plan_of(*(insertion(n) for n in range(1, 11)))

    def attempt(who: Bench) -> Receipt | PlanRefused:
        barrier.wait()
        try:
            return who.apply(plan, f"run-{id(who)}", batch_size=3)
        except PlanRefused as refused:
            return refused

    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(attempt, (bench, other)))

    (receipt,) = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, PlanRefused)]
    assert receipt.written == list(range(10))
    assert "nothing was written by this one" in refused.summary
    assert rows(bench) == 10
    assert [run.applied for run in bench.ledger.runs()] == [10]


def test_lock_lost_while_a_batch_is_written(bench: Bench, other: Bench) -> None:
    """
    Even if the lock's connection dies while a batch is on its way, the next repair waits for that batch.
    """
    bench.sql(*slow(0.7))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(bench.apply, plan_of(insertion(1)))
        until(lambda: bench.sql(f"SELECT 1 FROM pg_stat_activity WHERE {OURS} AND query ~ 'INSERT INTO messages'"))
        assert terminate(bench, LOCK_HOLDER) == 1

        second = other.apply(plan_of(insertion(1), made_at="later"), "run-2")

        with pytest.raises(PartlyApplied, match="1 row was written, then"):
            first.result()
    assert second.written == []
    assert reasons(second.left) == {f"message/{sid(1)}": "its SID has been recorded meanwhile"}
    assert rows(bench) == 1


@contextmanager
def committing_soon(bench: Bench, statement: str) -> Iterator[None]:
    """
    Somebody has run that statement and commits while we wait for it.
    """
    with psycopg.connect(bench.url) as somebody:
        somebody.execute(statement)
        commit = threading.Timer(0.2, somebody.commit)
        commit.start()
        yield
        commit.join()


def test_edit_on_its_way(bench: Bench) -> None:
    """
    An edit that somebody is about to commit is neither overwritten by an apply nor lost to an undo.
    """
    booking = booking_row(bench)
    with committing_soon(bench, "UPDATE pending_bookings SET metadata = '{\"theirs\": 1}'"):
        receipt = bench.apply(plan_of(restoration(booking), insertion(1)))
    assert reasons(receipt.left) == {f"booking/{booking}": "somebody changed it since"}
    assert bench.sql("SELECT metadata FROM pending_bookings") == [{"metadata": {"theirs": 1}}]

    with committing_soon(bench, "UPDATE messages SET read_at = now()"):
        receipt = bench.undo()
    assert reasons(receipt.left) == {f"message/{sid(1)}": "somebody changed it since"}
    assert rows(bench) == 1


def test_reference_on_its_way(bench: Bench) -> None:
    """
    An answer that somebody is about to commit keeps its message, though deleting that would take it along.
    """
    bench.sql("CREATE TABLE answers (message_id bigint REFERENCES messages ON DELETE CASCADE)")
    bench.apply(plan_of(insertion(1)))

    with committing_soon(bench, "INSERT INTO answers SELECT id FROM messages"):
        receipt = bench.undo()

    assert reasons(receipt.left) == {f"message/{sid(1)}": "answers refers to it now"}
    assert bench.sql("SELECT count(*) FROM answers JOIN messages ON id = message_id") == [{"count": 1}]


# --- killed ----------------------------------------------------------------------------------------------------------


def made_later(plan: Plan) -> Plan:
    """
    The same plan, made at another time.
    """
    return plan_of(*plan.steps, made_at="later")


KILLED = """
import sys
from booking_doctor.repair.plan import unseal
from tests.repair.cases import open_bench
with open_bench(sys.argv[1]) as bench:
    bench.apply(unseal(sys.stdin.read(), "plan"), batch_size=3)
"""


def test_killed(bench: Bench, other: Bench) -> None:
    """
    After kill -9 whole batches stand with their journal, the lock is free, and a rerun ends where one run would have.
    """
    bookings = [booking_row(bench) for _ in range(3)]
    steps = [insertion(n) for n in range(1, 31)]
    steps[4:4] = [restoration(bookings[0])]
    plan = plan_of(*steps, *map(restoration, bookings[1:]))
    bench.sql(*slow(0.02))
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", KILLED, bench.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdin
        process.stdin.write(seal(plan))
        process.stdin.close()
        until(lambda: len(bench.ledger.done(plan.checksum)) > 6, 20)
        process.kill()
    assert process.returncode == -9

    standing = bench.ledger.entries("run-1")
    assert [entry.number for entry in standing] == list(range(len(standing)))
    assert 6 < len(standing) < len(plan.steps)
    assert len(standing) % 3 == 0
    journaled = [entry.sid for entry in standing if entry.table == "messages"]
    assert [row["message_sid"] for row in bench.sql("SELECT message_sid FROM messages ORDER BY id")] == journaled

    receipt = other.apply(plan, "run-2", batch_size=7)

    assert (receipt.already, receipt.left) == (len(standing), [])
    assert receipt.written == list(range(len(standing), len(plan.steps)))
    finished, restored = without_ids(bench), bench.dump()["pending_bookings"]
    other.undo("run-2")
    other.undo("run-1")
    assert rows(bench) == 0
    bench.apply(made_later(plan), "run-3")
    assert (without_ids(bench), bench.dump()["pending_bookings"]) == (finished, restored)


# --- locks and time-outs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lock", ["LOCK TABLE messages IN EXCLUSIVE MODE", "SELECT * FROM pending_bookings FOR UPDATE"], ids=["table", "row"]
)
def test_lock_timeout(bench: Bench, lock: str) -> None:
    """
    A row or table that somebody holds ends the attempt after the time-out, in one sentence, with nothing written.
    """
    plan = plan_of(insertion(1), restoration(booking_row(bench)))
    with psycopg.connect(bench.url) as somebody:
        somebody.execute(lock)
        begun = time.monotonic()

        with pytest.raises(DatabaseUnreachable, match="a row or table stayed locked by somebody else"):
            bench.apply(plan)

        assert 0.4 < time.monotonic() - begun < 3
    assert rows(bench) == 0
    assert bench.ledger.runs() == []
    assert bench.apply(plan).written == [0, 1]


def test_lock_timeout_later(bench: Bench) -> None:
    """
    If a batch stands already, the error says how many rows, and how to go on or back.
    """
    with psycopg.connect(bench.url) as somebody:
        progress = AfterTheFirstBatch(lambda: somebody.execute("LOCK TABLE messages IN EXCLUSIVE MODE"))

        with pytest.raises(PartlyApplied) as stopped:
            bench.apply(plan_of(*(insertion(n) for n in range(1, 6))), batch_size=2, progress=progress)

    assert stopped.value.exit_code == 5
    assert stopped.value.summary == "2 rows were written, then: a row or table stayed locked by somebody else"
    assert stopped.value.hint == (
        "the journal has them: run it again for the rest, or take them back with booking-doctor undo run-1"
    )
    assert (rows(bench), len(bench.ledger.entries("run-1"))) == (2, 2)


def test_undo_waits_no_longer(bench: Bench) -> None:
    """
    An undo that cannot get its rows says so too; nothing is half restored.
    """
    bench.apply(plan_of(insertion(1), insertion(2)))
    with psycopg.connect(bench.url) as somebody:
        somebody.execute("SELECT * FROM messages WHERE message_sid = %s FOR UPDATE", [sid(2)])
        with pytest.raises(DatabaseUnreachable, match="stayed locked"):
            bench.undo()
        with pytest.raises(DatabaseUnreachable, match="stayed locked"):
            bench.undo(batch_size=1)

    assert rows(bench) == 2
    assert bench.undo(batch_size=1).written == [1, 0]


def test_statement_timeout(bench: Bench) -> None:
    """
    A statement that takes too long is ended by the server; nothing of its batch stands.
    """
    bench.sql(*slow(0.5))
    with (
        open_bench(bench.url, timeouts=Timeouts(writing=0.2)) as hasty,
        pytest.raises(DatabaseUnreachable, match=r"a statement .* time-out"),
    ):
        hasty.apply(plan_of(insertion(1)))

    assert rows(bench) == 0
    assert bench.ledger.runs() == []


# --- connections lost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [OURS, LOCK_HOLDER], ids=["all", "the lock's"])
def test_connection_lost(bench: Bench, other: Bench, which: str) -> None:
    """
    A lost connection, the lock's alone included, ends the apply between batches; the rest is written by the next.
    """
    plan = plan_of(*(insertion(n) for n in range(1, 6)))

    with pytest.raises(PartlyApplied, match=r"^2 rows were written, then: .*(ended|lost|cannot reach)"):
        bench.apply(plan, batch_size=2, progress=AfterTheFirstBatch(lambda: terminate(bench, which)))

    assert (rows(bench), len(bench.ledger.entries("run-1"))) == (2, 2)
    receipt = other.apply(plan, "run-2", batch_size=2)
    assert (receipt.already, receipt.written) == (2, [2, 3, 4])
    assert other.undo("run-2").written + other.undo("run-1").written == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("batch", [1, 2])
def test_connection_lost_in_a_batch(bench: Bench, other: Bench, batch: int) -> None:
    """
    A batch whose connection is lost in the middle does not stand.
    """
    bench.sql(*slow(0.4))
    plan = plan_of(insertion(1), insertion(2))
    watching = f"pid <> pg_backend_pid() AND {OURS} AND state = 'active' AND query ~ 'INSERT INTO messages'"
    with ThreadPoolExecutor() as pool:
        attempt = pool.submit(bench.apply, plan, batch_size=1)
        until(lambda: rows(other) == batch - 1 and other.sql(f"SELECT 1 FROM pg_stat_activity WHERE {watching}"))
        terminate(other, watching)
        expected = DatabaseUnreachable if batch == 1 else PartlyApplied
        with pytest.raises(expected, match=r"ended the connection|cannot reach|was lost"):
            attempt.result()

    assert rows(other) == batch - 1
    assert other.apply(plan, "run-2").written == list(range(batch - 1, 2))


def test_undo_cut_off(bench: Bench, other: Bench) -> None:
    """
    An undo that was cut off is finished by the next.
    """
    bench.apply(plan_of(*(insertion(n) for n in range(1, 6))))

    with pytest.raises(PartlyApplied, match=r"^2 rows were restored, then: ") as stopped:
        bench.undo(batch_size=2, progress=AfterTheFirstBatch(lambda: terminate(bench)))

    assert stopped.value.hint == "undo it again for the rest"
    assert rows(other) == 3
    receipt = other.undo()
    assert (receipt.already, receipt.written) == (2, [2, 1, 0])
    assert rows(other) == 0


def test_nothing_is_left_open(bench: Bench) -> None:
    """
    After an apply, an undo and a failure no transaction of ours stays open.
    """
    message_row(bench, 9)
    bench.apply(plan_of(insertion(1), insertion(9)))
    bench.undo()
    with psycopg.connect(bench.url) as somebody:
        somebody.execute("LOCK TABLE messages")
        with pytest.raises(DatabaseUnreachable):
            bench.apply(plan_of(insertion(2, CUSTOMER)), "run-2")

    open_ = f"SELECT state FROM pg_stat_activity WHERE datname = current_database() AND {OURS} AND state <> 'idle'"
    until(lambda: bench.sql(open_) == [])


def test_run_removed_meanwhile(bench: Bench) -> None:
    """
    Nothing is written of a run that somebody has taken out of the journal: nobody could take it back.
    """
    booking = booking_row(bench)
    steps = [insertion(1), insertion(2), restoration(booking), insertion(3)]
    removed = AfterTheFirstBatch(lambda: bench.sql("DELETE FROM booking_doctor.runs"))

    receipt = bench.apply(plan_of(*steps), batch_size=2, progress=removed)

    assert receipt.written == [0, 1]
    assert {left.reason for left in receipt.left} == {"a constraint forbids it: run_id (error 23502)"}
    assert (rows(bench), bench.sql("SELECT metadata FROM pending_bookings")) == (2, [{"metadata": {}}])
    assert bench.sql("SELECT step FROM booking_doctor.journal ORDER BY step") == [{"step": 0}, {"step": 1}]
