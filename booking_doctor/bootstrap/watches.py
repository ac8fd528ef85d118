"""
A watch, for what goes on forever.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

from booking_doctor.adapters.alarm import Bell
from booking_doctor.adapters.environment_files import read_preferences, variable_sources
from booking_doctor.adapters.post import DatabasePost
from booking_doctor.bootstrap.databases import database_for, refuse_rivals
from booking_doctor.bootstrap.doctors import doctor_for
from booking_doctor.doctor.watching import Orders, Watch
from booking_doctor.findings import Progress
from booking_doctor.preferences import preferences
from booking_doctor.settings import twilio_settings


def open_watch(
    directory: Path,
    env_files: Sequence[Path],
    config: Path | None,
    process: Mapping[str, str],
    progress: Progress,
    orders: Orders,
    *,
    all_senders: bool,
) -> Watch:
    """
    A watch for the settings that are found there; see `open_doctor`.

    Raises:
        UsageError: A named file cannot be read.
        SettingsError: A variable is missing or malformed.
        PlanRefused: Variables name different databases.
    """
    origins = variable_sources(directory, env_files, process)
    preferred = preferences(*read_preferences(directory, config))
    variables = {name: value for origin in origins for name, value in origin.values.items()}
    # NOTE: one connection for what is remembered, one to be heard on.
    database = database_for(variables, preferred, connections=2)
    refuse_rivals(database.settings)
    twilio = twilio_settings(variables, senders_needed=not all_senders)
    return Watch(
        DatabasePost(
            database,
            scope=" ".join([twilio.account_sid, *(["all"] if all_senders else sorted(twilio.senders))]),
            holder=secrets.token_hex(8),
            host=gethostname(),
        ),
        open_doctor=lambda: doctor_for(origins, preferred, progress),
        orders=orders,
        alarm=Bell(),
        clock=lambda: datetime.now(UTC),
    )
