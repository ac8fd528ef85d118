"""
Since when it is so, and what happened just before: a deployment, a variable, a migration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from booking_doctor.checks.builds import deployments
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.survey import survey
from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.findings import Onset

BEFORE: Final = timedelta(hours=24)
"""What happened longer before the first bad booking is no news."""

SHOWN: Final = 5

Event: TypeAlias = tuple[datetime, str]


def onset(evidence: Evidence) -> Onset | None:
    """
    Where in time bookings went wrong; None where none did.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    found = evidence.once(survey)
    if found.first_bad is None:
        return None
    return Onset(
        first_bad=found.first_bad,
        last_good=found.last_good,
        turned_at=found.turned_bad,
        by_hour={f"{hour:%Y-%m-%dT%HZ}": bookings for hour, bookings in sorted(found.by_hour.items())},
        before=[f"{moment:%Y-%m-%d %H:%M} UTC: {words}" for moment, words in _before(evidence, found.first_bad)],
    )


def _before(evidence: Evidence, first_bad: datetime) -> list[Event]:
    """
    The last things that happened before, oldest first, as far as anybody remembers.
    """
    happened = [event for tell in (_builds, _variables, _migrations) for event in _told(tell, evidence)]
    return sorted(event for event in happened if first_bad - BEFORE <= event[0] <= first_bad)[-SHOWN:]


def _told(tell: Callable[[Evidence], Iterator[Event]], evidence: Evidence) -> list[Event]:
    told: list[Event] = []
    with suppress(SourceError, SettingsError):
        told.extend(tell(evidence))
    return told


def _builds(evidence: Evidence) -> Iterator[Event]:
    for built in evidence.once(deployments):
        if built.target == "production":
            commit = f" of commit {built.commit[:12]}" if built.commit else ""
            yield built.created_at, f"the deployment {built.id}{commit} was built"


def _variables(evidence: Evidence) -> Iterator[Event]:
    for variable in evidence.platform.variables():
        if variable.changed_at and variable.in_production:
            yield variable.changed_at, f"the variable {variable.name} was set for production"


_RECORDED: Final = "SELECT to_regclass('supabase_migrations.schema_migrations') IS NOT NULL AS here"
_MIGRATIONS: Final = """
SELECT CAST(version AS text) AS version FROM supabase_migrations.schema_migrations ORDER BY 1 DESC LIMIT 50
"""
_STAMP: Final = re.compile("[0-9]{14}")


def _migrations(evidence: Evidence) -> Iterator[Event]:
    """
    Supabase's, whose version is the time at which they were written.
    """
    if not evidence.database.rows(_RECORDED)[0]["here"]:
        return
    for row in evidence.database.rows(_MIGRATIONS):
        if _STAMP.fullmatch(row["version"]):
            with suppress(ValueError):
                moment = datetime.strptime(row["version"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
                yield moment, f"the migration {row['version']} was written"
