"""
Threads that read ahead.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest

from booking_doctor.adapters.threads import DaemonExecutor, Halted


def test_calls_begin_in_order() -> None:
    """
    One thread makes its calls in the order in which they came.
    """
    executor, begun = DaemonExecutor(1), list[int]()

    for future in [executor.submit(begun.append, number) for number in range(20)]:
        future.result()

    assert begun == list(range(20))


def test_calls_at_once() -> None:
    """
    As many calls are under way as there are threads, and no more.
    """
    executor, met = DaemonExecutor(3), threading.Barrier(3, timeout=5)

    futures = [executor.submit(met.wait) for _ in range(6)]

    assert sorted(future.result() for future in futures) == [0, 0, 1, 1, 2, 2]


def test_what_goes_wrong_is_raised_where_the_result_is_asked_for() -> None:
    """
    An error belongs to whoever wants the result, and the thread goes on.
    """
    executor = DaemonExecutor(1)

    failed, next_one = executor.submit(int, "x"), executor.submit(int, "1")

    with pytest.raises(ValueError, match="invalid literal"):
        failed.result()
    assert next_one.result() == 1


def test_threads_end_with_the_executor() -> None:
    """
    Whoever forgets the executor stops its threads, also one that pauses.
    """
    executor, before = DaemonExecutor(2), set(threading.enumerate())
    pausing = executor.submit(executor.halt.pause, 30)
    executor.submit(int, "1").result()
    ours = set(threading.enumerate()) - before
    assert len(ours) == 2

    del executor
    gc.collect()

    with pytest.raises(Halted):
        pausing.result(timeout=5)
    for thread in ours:
        thread.join(5)
        assert not thread.is_alive()


def test_shutdown() -> None:
    """
    What has not begun is cancelled, what is under way is waited for.
    """
    executor, going = DaemonExecutor(1), threading.Event()

    def take_time() -> str:
        going.set()
        time.sleep(0.2)
        return "done"

    under_way, waiting = executor.submit(take_time), executor.submit(int, "1")
    going.wait(5)
    executor.shutdown(cancel_futures=True)

    assert under_way.done()
    assert under_way.result() == "done"
    with pytest.raises(CancelledError):
        waiting.result(timeout=1)


def test_a_call_under_way_keeps_no_process_alive() -> None:
    """
    Python ends at once, whatever a thread is doing.
    """
    program = (
        "import time; from booking_doctor.adapters.threads import DaemonExecutor;"
        " executor = DaemonExecutor(1); executor.submit(time.sleep, 60)"
    )
    begun = time.monotonic()

    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)

    assert time.monotonic() - begun < 20
