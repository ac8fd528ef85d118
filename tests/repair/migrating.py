"""
What the tests of migrations are made of: the table as a doctor sees and changes it, with little patience.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from booking_doctor.adapters.journal import Journal
from booking_doctor.adapters.postgres import Database, Timeouts
from booking_doctor.adapters.structure import DatabaseStructure
from booking_doctor.findings import PastRun, Progress, Silent
from booking_doctor.repair.altering import Change, alter, forbidden, goal_of, surveyed, way_back
from booking_doctor.repair.executor import Run
from booking_doctor.repair.migration import Patience
from booking_doctor.repair.structure import Verb
from booking_doctor.settings import Names, database_settings
from tests.repair.cases import NOW

HASTY: Final = Patience(lock=0.2, statement=2, gentle=0.5, altogether=0.6, pause=(0.01, 0.05))


@dataclass(frozen=True)
class Site:
    """
    A database with a table to migrate.
    """

    url: str
    database: Database
    structure: DatabaseStructure

    def wanted(self, verb: Verb) -> Change:
        """
        What that verb is to reach from here.
        """
        goal = goal_of(verb, surveyed(self.structure, verb))
        return Change(verb=verb, goal=goal, backfill=lambda since: f"backfill --since {since:%F}")

    def todo(self, verb: Verb) -> list[str]:
        """
        What is still to be run.
        """
        return [str(statement.kind) for statement in self.wanted(verb).goal(self.structure.catalog())]

    def refusal(self, verb: Verb) -> str | None:
        """
        Why it would not be run.
        """
        survey = surveyed(self.structure, verb)
        return self.structure.obstacle() or forbidden(self.structure.catalog(), survey, self.wanted(verb))

    def apply(self, verb: Verb, run: str = "run-1", progress: Progress = Silent()) -> list[str]:
        """
        Run it; what was run.
        """
        named = Run(id=run, command=verb.command, checksum="", started_at=NOW)
        done = alter(self.wanted(verb), self.structure, named, progress=progress)
        return [str(statement.kind) for statement in done]

    def undo(self, run: str = "run-1") -> list[str]:
        """
        Take a run back; what was run for it.
        """
        migrated = self.structure.migrated(run)
        assert migrated is not None
        verb, goal = way_back(migrated)
        wanted = Change(verb=verb, goal=goal, backfill=lambda _: "backfill")
        done = alter(wanted, self.structure, None, progress=Silent())
        self.structure.mark_undone(run)
        return [str(statement.kind) for statement in done]

    def runs(self) -> list[PastRun]:
        """
        As `runs` lists them.
        """
        return Journal(self.database).runs()


@contextmanager
def open_site(url: str, names: Names = Names(), patience: Patience = HASTY, **where: Any) -> Iterator[Site]:
    """
    A site on that database.
    """
    database = Database(database_settings({"DATABASE_URL": url}), names, Timeouts(lock=0.5))
    try:
        yield Site(url, database, DatabaseStructure(database, patience=patience, **where))
    finally:
        database.close()


@contextmanager
def busy(url: str, *statements: str) -> Iterator[psycopg.Connection]:
    """
    Somebody has run those in a transaction that is still open.
    """
    with psycopg.connect(url, application_name="web-1") as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection
        connection.rollback()
