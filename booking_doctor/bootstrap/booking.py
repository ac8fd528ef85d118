"""
The booking flow, for an application, for the booking API and for those who work off its queue.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

from booking_doctor.adapters.bookings import DatabaseStore
from booking_doctor.adapters.environment_files import read_preferences, variable_sources
from booking_doctor.adapters.messenger import PATIENCE, TwilioFinder, TwilioMessenger
from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.services import Patience
from booking_doctor.adapters.signatures import TwilioSignatures
from booking_doctor.adapters.workplace import Workplace
from booking_doctor.bootstrap.databases import database_for, refuse_rivals
from booking_doctor.checks.shapes import SHAPES
from booking_doctor.core.booking import BookingRequest, Confirmed, Initiated
from booking_doctor.core.flow import Invitation, Strategy, Terms, invite
from booking_doctor.core.ports import Clock
from booking_doctor.core.service import BookingService, SystemClock
from booking_doctor.preferences import preferences
from booking_doctor.settings import Preferences, Secret, app_url, database_settings, twilio_settings


def booking_service(
    process: Mapping[str, str] | None = None,
    *,
    directory: Path | None = None,
    env_files: Sequence[Path] = (),
    config: Path | None = None,
    text: Callable[[Invitation], str] = invite,
    hold: timedelta = timedelta(days=1),
) -> BookingService:
    """
    The booking flow, for the settings that are found: the one obvious way to it for an application.

    Args:
        process: The process environment, unless said otherwise.
        directory: Where ``.env`` and ``booking-doctor.toml`` are looked for; the working directory, unless said otherwise.
        env_files, config: More files.
        text: Makes the text that a customer gets.
        hold: How long a booking waits to be confirmed.

    Raises:
        UsageError: A named file cannot be read.
        SettingsError: A variable is missing or malformed: a database, the Twilio account with a sender, BOOKING_APP_URL.
        PlanRefused: Variables name different databases.
    """
    directory = Path.cwd() if directory is None else directory
    origins = variable_sources(directory, env_files, os.environ if process is None else process)
    variables = {name: value for origin in origins for name, value in origin.values.items()}
    refuse_rivals(database_settings(variables))
    return booking_service_for(variables, preferences(*read_preferences(directory, config)), text=text, hold=hold)


def booking_service_for(
    variables: Mapping[str, str],
    preferred: Preferences,
    *,
    text: Callable[[Invitation], str] = invite,
    hold: timedelta = timedelta(days=1),
    clock: Clock | None = None,
    patience: Patience = PATIENCE,
    database: Database | None = None,
    at_once: int = 10,
) -> BookingService:
    """
    The booking flow for what these say.

    Args:
        database: Use this one's connections, instead of new ones.
        at_once: How many texts may be on their way at the same time.

    Raises:
        SettingsError: A variable is missing or malformed.
    """
    database = database or database_for(variables, preferred)
    twilio = twilio_settings(variables)
    terms = Terms(app_url=app_url(variables), region=preferred.region, hold=hold, text=text)
    return BookingService(
        store=DatabaseStore(database),
        messenger=TwilioMessenger(twilio, patience=patience, at_once=at_once),
        finder=TwilioFinder(twilio, patience=patience),
        terms=terms,
        clock=clock,
        variables=[name for name in SHAPES if variables.get(name)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """
    What the booking API stands on.

    Attributes:
        variables: The environment, files included.
        account_sid: The Twilio account that texts.
        database: Where the bookings are, for people.
        ask_database: Asks it something small; raises `DatabaseError` where it does not answer.
    """

    flow: BookingService
    signatures: TwilioSignatures
    variables: Mapping[str, str] = field(repr=False)
    app_url: str
    account_sid: str
    database: str
    ask_database: Callable[[], object]


def backing(directory: Path, env_files: Sequence[Path], config: Path | None, process: Mapping[str, str]) -> Backing:
    """
    What the booking API stands on, for the settings that are found there; see `open_doctor`.

    Raises:
        UsageError: A named file cannot be read.
        SettingsError: A variable is missing or malformed.
        PlanRefused: Variables name different databases.
    """
    origins = variable_sources(directory, env_files, process)
    variables = {name: value for origin in origins for name, value in origin.values.items()}
    preferred = preferences(*read_preferences(directory, config))
    database, token = database_for(variables, preferred), variables.get("TWILIO_AUTH_TOKEN")
    refuse_rivals(database.settings)
    return Backing(
        flow=booking_service_for(variables, preferred, database=database),
        signatures=TwilioSignatures(Secret(token) if token else None),
        variables=variables,
        app_url=app_url(variables),
        account_sid=twilio_settings(variables).account_sid,
        database=f"{database.settings.address}/{database.settings.name}",
        ask_database=database.place,
    )


def open_workplace(
    directory: Path,
    env_files: Sequence[Path],
    config: Path | None,
    process: Mapping[str, str],
    *,
    concurrency: int,
) -> Workplace:
    """
    The queue of texts, for the settings that are found there; see `open_doctor`.

    Raises:
        UsageError: A named file cannot be read.
        SettingsError: A variable is missing or malformed.
        PlanRefused: Variables name different databases.
    """
    origins = variable_sources(directory, env_files, process)
    variables = {name: value for origin in origins for name, value in origin.values.items()}
    return workplace_for(variables, preferences(*read_preferences(directory, config)), concurrency=concurrency)


def workplace_for(
    variables: Mapping[str, str], preferred: Preferences, *, concurrency: int, clock: Clock | None = None
) -> Workplace:
    """
    The queue of texts for what these say, with as many connections as so many texts at a time need.

    Raises:
        SettingsError: A variable is missing or malformed.
        PlanRefused: Variables name different databases.
    """
    clock = clock or SystemClock()
    # NOTE: one for each text that is being sent, and one to take jobs with.
    database = database_for(variables, preferred, connections=concurrency + 1)
    service = booking_service_for(variables, preferred, clock=clock, database=database, at_once=concurrency)
    refuse_rivals(database.settings)
    return Workplace(service.queue, database, concurrency=concurrency, clock=clock)


@cache
def _service() -> BookingService:
    return booking_service()


def initiate_booking(
    request: BookingRequest, *, idempotency_key: str | None = None, strategy: Strategy = "direct"
) -> Initiated:
    """
    `booking_doctor.core.service.BookingService.initiate_booking` of a service that is made of the environment once.
    """
    return _service().initiate_booking(request, idempotency_key=idempotency_key, strategy=strategy)


def confirm_booking(token: str) -> Confirmed:
    """
    `booking_doctor.core.service.BookingService.confirm_booking` of the same service.
    """
    return _service().confirm_booking(token)
