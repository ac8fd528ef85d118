"""
Which database.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from booking_doctor.adapters.postgres import Database
from booking_doctor.errors import PlanRefused
from booking_doctor.settings import DatabaseSettings, Preferences, database_settings


def database_for(variables: Mapping[str, str], preferred: Preferences, *, connections: int = 5) -> Database:
    """
    The one that the variables name, under the names that are preferred.

    Args:
        connections: How many are kept.

    Raises:
        SettingsError: A variable is missing or malformed.
    """
    settings, names = database_settings(variables), preferred.names
    names = names if names.schema else replace(names, schema=settings.schema)
    return Database(settings, names, connections=connections)


def refuse_rivals(settings: DatabaseSettings) -> None:
    """
    Raises:
        PlanRefused: Variables name different databases, so that what is written might go to the wrong one.
    """
    if settings.rivals:
        message = f"{' and '.join((settings.variable, *settings.rivals))} name different databases"
        raise PlanRefused(message, hint="leave only the one that is meant; nothing was sent")
