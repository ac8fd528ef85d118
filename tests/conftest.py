"""
What the tests live in: an environment without secrets, one PostgreSQL for all of them, a world for each.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from booking_doctor.bootstrap import ChosenSources
from booking_doctor.doctor import Doctor
from booking_doctor.evidence import VariableSource
from booking_doctor.findings import Silent
from booking_doctor.sandbox.database import embedded_postgres
from booking_doctor.sandbox.incidents import World, world
from booking_doctor.settings import Preferences

_FOREIGN = (
    *("TWILIO_", "PG", "DATABASE_URL", "SUPABASE_", "POSTGRES_URL", "NO_COLOR", "FORCE_COLOR", "COLUMNS"),
    *("VERCEL_", "BOOKING_", "TEST_API_KEY", "TEST_EVENT_ID", "TEST_PHONE"),
)
for _name in [name for name in os.environ if name.startswith(_FOREIGN) and name != "TWILIO_OPENAPI"]:
    del os.environ[_name]

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 8 << 30


def _lie_in_memory() -> None:
    """
    Keep temporary files out of the disk's way where there is room: a database takes a third of the time to make.
    """
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return
    there = os.statvfs(_MEMORY)
    if there.f_bavail * there.f_frsize >= _ENOUGH_BYTES and not there.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(_MEMORY)


_lie_in_memory()

# A shell makes its background jobs ignore Ctrl-C, and every program that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", name="server_url")
def _server_url() -> Iterator[str]:
    """
    A server on which databases may be made: ``TEST_DATABASE_URL``, else an embedded one.
    """
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
    else:
        with embedded_postgres() as cluster:
            yield cluster.url()


def at_database(url: str, database: str) -> str:
    """
    The same server, another database.
    """
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@pytest.fixture(scope="session", name="template")
def _template(server_url: str) -> Iterator[str]:
    """
    A database with the application's schema, to be cloned.
    """
    name = f"booking_doctor_{os.getpid()}_template"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        with world(datetime.now(UTC), database_url=at_database(server_url, name)):
            pass
        yield name
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True, slots=True)
class _Databases:
    """
    Copies of the template, dropped one later than they are left: the sessions of the one before have ended by then,
    and the server need not wait for them.
    """

    maker: psycopg.Connection
    template: str
    left: list[str]
    numbers: Iterator[int] = field(default_factory=count)

    def make(self) -> str:
        self.drop()
        name = f"booking_doctor_{os.getpid()}_{next(self.numbers)}"
        self.maker.execute(f'CREATE DATABASE "{name}" TEMPLATE "{self.template}" STRATEGY file_copy')
        return name

    def drop(self) -> None:
        while self.left:
            name = self.left.pop()
            self.maker.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            self.maker.execute(f'DROP ROLE IF EXISTS "app_{name}"')


@pytest.fixture(scope="session", name="databases")
def _databases(server_url: str, template: str) -> Iterator[_Databases]:
    with psycopg.connect(server_url, autocommit=True) as maker:
        databases = _Databases(maker, template, [])
        yield databases
        databases.drop()


@pytest.fixture(name="database_url")
def _database_url(server_url: str, databases: _Databases) -> Iterator[str]:
    """
    An empty database with the application's schema, for one test.
    """
    name = databases.make()
    yield at_database(server_url, name)
    databases.left.append(name)


@pytest.fixture(name="scene")
def _scene(database_url: str) -> Iterator[World]:
    """
    A world in which nothing has happened yet.
    """
    with world(datetime.now(UTC).replace(microsecond=0), database_url=database_url) as scene:
        yield scene


@pytest.fixture(name="open_doctor")
def _open_doctor(scene: World) -> Iterator[Callable[..., Doctor]]:
    """
    Makes doctors for the scene; variables given replace the scene's own.
    """
    opened: list[Doctor] = []
    runs = count(1)

    def make(preferred: Preferences | None = None, **variables: str) -> Doctor:
        preferences = preferred or scene.preferences()
        *files, process = scene.variable_sources()
        origins = (*files, VariableSource(name=process.name, values={**process.values, **variables}))
        merged = {name: value for origin in origins for name, value in origin.values.items()}
        doctor = Doctor(
            ChosenSources(merged, preferences, Silent(), origins=origins),
            preferences,
            clock=lambda: scene.now,
            run_id=lambda _: f"run-{next(runs)}",
            progress=Silent(),
        )
        opened.append(doctor)
        return doctor

    yield make
    for doctor in opened:
        doctor.close()


@pytest.fixture(name="doctor")
def _doctor(open_doctor: Callable[..., Doctor]) -> Doctor:
    """
    A doctor for the scene.
    """
    return open_doctor()
