"""
How fast it is, and how much of that is the bare cost of reading the same bytes: ``python -m tests.benchmarks``.

An embedded PostgreSQL that waits for its disk, a log server in another process, both on this machine; every figure is
the median of several runs, each in a fresh process, and every answer is checked against what was built. On a real
network a page takes a second, so there the number of requests says more than the seconds here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import psycopg

from booking_doctor.report import FORMATS
from booking_doctor.sandbox.database import Cluster, embedded_postgres
from tests.benchmarks.bookings import build_desk
from tests.benchmarks.files import build_export
from tests.benchmarks.jobs import HANDS, build_queue, left
from tests.benchmarks.log_server import serving
from tests.benchmarks.sms_server import texting
from tests.benchmarks.world import ACCOUNT_SID, SENDER, Shape, World, build, newest_of

_SIZES: Final = (10_000, 100_000, 1_000_000)
_WORLDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "no price, no second SID": {"no_cost": True, "no_second_sid": True},
    "every second price": {"half_cost": True},
    "clock 7 hours off": {"clock_off": timedelta(hours=7)},
    "9 of 10 rows in a minute": {"crowded": True},
}
_REPAIRS: Final = ((50, "one in 50"), (10, "one in 10"))
_START_UPS: Final = (("-c", "pass"), ("-m", "booking_doctor", "--version"), ("-m", "booking_doctor", "--help"))
_START_UP_RUNS: Final = 15


def main() -> None:
    """
    Measure and print, a table after the other.
    """
    options = _options()
    _say(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, median of {options.runs}"
    )
    _start_up()
    _files(options.files, options.runs)
    if options.formats:
        _formats(options.formats, options.runs)
    _on_a_server(options)


def _on_a_server(options: argparse.Namespace) -> None:
    with embedded_postgres(durable=True) as cluster:
        _table("reconcile, messages", "seconds", "messages/s", "peak MB", "requests", "floor s", "of it")
        for size in options.sizes:
            _reconcile(cluster, f"{size:,}", Shape(messages=size), options.runs)
        for name, difference in _WORLDS.items() if options.worlds else ():
            size = max(options.sizes)
            _reconcile(cluster, f"{size:,}, {name}", Shape(messages=size, **difference), options.runs)
        if options.examination:
            _table("examination, messages and bookings", "seconds", "checks", "findings", "peak MB")
            for size in options.sizes:
                _examine(cluster, Shape(messages=size, bookings=size // 10), options.runs)
        if options.diagnose:
            _diagnose(cluster, max(options.sizes), options.runs)
        if options.repairs:
            _repairs(cluster, max(options.sizes), options.runs)
        if options.jobs:
            _table(f"jobs run, {HANDS} texts at a time", "seconds", "jobs/s", "peak MB", "by hand s", "jobs/s", "of it")
            for jobs in options.jobs:
                _work(cluster, jobs, options.runs)
        for customers in options.booking:
            _book(cluster, customers, options.runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, metavar="N", help="messages in the log")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="how often each is measured")
    parser.add_argument("--worlds", action="store_true", help="the largest size in less friendly worlds, too")
    parser.add_argument("--repairs", action="store_true", help="backfill and undo at the largest size, too")
    parser.add_argument("--examination", action="store_true", help="all checks without Twilio, too")
    parser.add_argument("--diagnose", action="store_true", help="a diagnosis of part of the largest size, too")
    parser.add_argument("--jobs", type=int, nargs="*", default=(), metavar="N", help="queues of so many texts, too")
    parser.add_argument(
        "--booking", type=int, nargs="*", default=(), metavar="N", help="bookings among N customers, too"
    )
    parser.add_argument(
        "--formats", type=int, nargs="?", const=10_000, metavar="N", help="a report of N findings in every format, too"
    )
    parser.add_argument("--files", type=int, nargs="*", default=(), metavar="N", help="exports of so many lines, too")
    return parser.parse_args()


# --- what is measured ------------------------------------------------------------------------------------------------


def _start_up() -> None:
    _table("start-up", "seconds")
    for arguments in _START_UPS:
        times = []
        for _ in range(_START_UP_RUNS):
            start = perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times.append(perf_counter() - start)
        _row(" ".join(["python", *arguments]), f"{median(times):.3f}")


def _files(sizes: Sequence[int], runs: int) -> None:
    if sizes:
        _table("reading an export, lines", "seconds", "lines/s", "peak MB", "floor s", "of it", "taken s")
    for lines in sizes:
        _read(lines, runs)


def _read(lines: int, runs: int) -> None:
    times: dict[str, list[dict[str, Any]]] = {"read_file_floor": [], "read_file": []}
    with tempfile.TemporaryDirectory() as directory:
        variables = {"FILE": str(build_export(lines, Path(directory)))}
        for name, measured in [*times.items()] * runs:
            measured.append(_measure(name, variables))
            assert measured[-1]["messages"] == lines, measured[-1]
    floor, seconds = (median(time["seconds"] for time in measured) for measured in times.values())
    _row(
        f"{lines:,}",
        f"{seconds:.2f}",
        f"{lines / seconds:,.0f}",
        f"{median(time['peak'] for time in times['read_file']):.0f}",
        f"{floor:.2f}",
        f"{seconds / floor:.2f}",
        f"{median(time['taken'] for time in times['read_file']):.2f}",
    )


def _formats(findings: int, runs: int) -> None:
    _table(f"a report of {findings:,} findings", "seconds", "MB", "peak MB")
    for name in FORMATS:
        times = [_measure("draw", {"FORMAT": name, "FINDINGS": str(findings)}) for _ in range(runs)]
        middle = {figure: median(time[figure] for time in times) for figure in times[0]}
        _row(name, f"{middle['seconds']:.2f}", f"{middle['bytes'] / 1e6:.2f}", f"{middle['peak']:.0f}")


def _reconcile(cluster: Cluster, name: str, shape: Shape, runs: int) -> None:
    with _inhabited(cluster, shape) as (world, variables):
        times, floors = [], []
        for _ in range(runs):
            floor = _measure("floor", variables, world)
            assert floor["messages"] == shape.messages, floor
            floors.append(floor["seconds"])
            times.append(_measure("reconcile", variables, world))
            assert times[-1]["summary"] == world.summary, (times[-1]["summary"], world.summary)
    seconds = median(time["seconds"] for time in times)
    _row(
        name,
        f"{seconds:.2f}",
        f"{shape.messages / seconds:,.0f}",
        f"{median(time['peak'] for time in times):.0f}",
        f"{times[0]['requests']:,}",
        f"{median(floors):.2f}",
        f"{seconds / median(floors):.2f}",
    )


def _examine(cluster: Cluster, shape: Shape, runs: int) -> None:
    with _inhabited(cluster, shape) as (world, variables):
        times = [_measure("examine", variables, world) for _ in range(runs)]
    middle = {figure: median(time[figure] for time in times) for figure in times[0]}
    figures = (
        f"{middle['seconds']:.2f}",
        f"{middle['checks']:.0f}",
        f"{middle['findings']:.0f}",
        f"{middle['peak']:.0f}",
    )
    _row(f"{shape.messages:,} and {shape.bookings:,}", *figures)


def _diagnose(cluster: Cluster, size: int, runs: int) -> None:
    shape = Shape(messages=size, bookings=size // 10)
    _table("diagnose, messages of the window", "seconds", "bookings", "checks", "peak MB")
    with _inhabited(cluster, shape) as (world, variables):
        for messages in (size // 100, size // 10):
            newest = replace(world, window=newest_of(shape, world.window, messages))
            times = [_measure("diagnose", variables, newest) for _ in range(runs)]
            assert {(time["sent"], time["late"]) for time in times} == {(messages, 0)}, times
            middle = {figure: median(time[figure] for time in times) for figure in times[0]}
            figures = f"{middle['seconds']:.2f}", f"{middle['bookings']:,.0f}", f"{middle['checks']:.0f}"
            _row(f"{messages:,} of {shape.messages:,}", *figures, f"{middle['peak']:.0f}")


def _repairs(cluster: Cluster, size: int, runs: int) -> None:
    _table("backfill, rows of messages", "plan s", "rows/s", "verify s", "look s", "undo rows/s", "peak MB")
    for every, words in _REPAIRS:
        _repair(cluster, words, Shape(messages=size, missing_every=every), runs)


def _repair(cluster: Cluster, name: str, shape: Shape, runs: int) -> None:
    with _inhabited(cluster, shape) as (world, variables):
        times = []
        for _ in range(runs):
            times.append(_measure("repair", variables, world))
            assert times[-1]["rows"] == world.summary["unrecorded"], times[-1]
            _tidy(variables["DATABASE_URL"])
    middle = {figure: median(time[figure] for time in times) for figure in times[0]}
    _row(
        f"{middle['rows']:,}, {name}",
        f"{middle['planning']:.1f}",
        f"{middle['rows'] / middle['writing']:,.0f}",
        f"{middle['verifying']:.1f}",
        f"{middle['showing']:.1f}",
        f"{middle['rows'] / middle['undoing']:,.0f}",
        f"{middle['peak']:.0f}",
    )


def _work(cluster: Cluster, jobs: int, runs: int) -> None:
    times: dict[str, list[dict[str, Any]]] = {"work_by_hand": [], "work": []}
    for name, measured in [*times.items()] * runs:
        with _empty(cluster) as database_url, texting() as base_url:
            build_queue(database_url, jobs)
            measured.append(_measure(name, _leading_to(database_url, base_url)))
            assert left(database_url) == {"done": jobs, "sids": jobs}, left(database_url)
    by_hand, seconds = (median(time["seconds"] for time in measured) for measured in times.values())
    _row(
        f"{jobs:,}",
        f"{seconds:.2f}",
        f"{jobs / seconds:,.0f}",
        f"{median(time['peak'] for time in times['work']):.0f}",
        f"{by_hand:.2f}",
        f"{jobs / by_hand:,.0f}",
        f"{seconds / by_hand:.2f}",
    )


def _book(cluster: Cluster, customers: int, runs: int) -> None:
    times = []
    for _ in range(runs):
        with _empty(cluster) as database_url, texting() as base_url:
            build_desk(database_url, customers)
            times.append(_measure("book", _leading_to(database_url, base_url)))
    middle = {figure: median(time[figure] for time in times) for figure in times[0]}
    _table(f"one booking, {customers:,} customers", "ms", "19 of 20 ms", "by hand ms", "own ms")
    for act in ("initiate", "confirm"):
        figures = middle[act], middle[f"{act}_late"], middle[f"{act}_by_hand"], middle[act] - middle[f"{act}_by_hand"]
        _row(act, *(f"{figure:.1f}" for figure in figures))


def _tidy(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA booking_doctor CASCADE")
        connection.execute("VACUUM ANALYZE")


def _measure(name: str, variables: Mapping[str, str], world: World | None = None) -> dict[str, Any]:
    window = (world.window.since.isoformat(), world.window.until.isoformat()) if world else ()
    command = [sys.executable, "-m", "tests.benchmarks.measured", json.dumps([name, variables, *window])]
    document: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return document


@contextmanager
def _inhabited(cluster: Cluster, shape: Shape) -> Iterator[tuple[World, dict[str, str]]]:
    """
    A world of that shape and the variables that lead the doctor there, for as long as the block lasts.
    """
    with tempfile.TemporaryDirectory() as directory, _empty(cluster) as database_url:
        world = build(shape, Path(directory), database_url)
        with serving(world.log, world.index) as base_url:
            yield world, _leading_to(database_url, base_url)


@contextmanager
def _empty(cluster: Cluster) -> Iterator[str]:
    """
    An empty database, gone when the block ends.
    """
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE world")
        yield cluster.url("world")
        connection.execute("DROP DATABASE world WITH (FORCE)")


def _leading_to(database_url: str, base_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": "0" * 32,
        "TWILIO_PHONE_NUMBER": SENDER,
        "TWILIO_API_BASE_URL": base_url,
        "BOOKING_APP_URL": "https://book.example",
    }


# --- the tables ------------------------------------------------------------------------------------------------------


def _table(*titles: str) -> None:
    _say("")
    _row(*titles)
    _row(*("---" for _ in titles))


def _row(first: str, *others: str) -> None:
    _say(f"| {first:<36} | {' | '.join(f'{other:>11}' for other in others)} |")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  printing is what it is for


if __name__ == "__main__":
    main()
