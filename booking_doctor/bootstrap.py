"""
The one place where concrete things are chosen: which database, which log, which clock.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from booking_doctor.adapters.alarm import Bell
from booking_doctor.adapters.app import HttpApplication
from booking_doctor.adapters.bookings import DatabaseStore
from booking_doctor.adapters.client import ApplicationClient, remove_booking
from booking_doctor.adapters.environment_files import PROCESS, named_source, read_preferences, variable_sources
from booking_doctor.adapters.ledger import DatabaseLedger
from booking_doctor.adapters.messenger import PATIENCE, TwilioFinder, TwilioMessenger
from booking_doctor.adapters.post import DatabasePost
from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.probes import TwilioAccountProbe
from booking_doctor.adapters.queries import DatabaseQueries
from booking_doctor.adapters.records import DatabaseRecords
from booking_doctor.adapters.services import Patience
from booking_doctor.adapters.signatures import TwilioSignatures
from booking_doctor.adapters.structure import DatabaseStructure
from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.adapters.twilio import TwilioLog
from booking_doctor.adapters.vercel import VercelPlatform
from booking_doctor.adapters.workplace import Workplace
from booking_doctor.checks.shapes import SHAPES, direct_address, pools_transactions
from booking_doctor.core.booking import BookingRequest, Confirmed, Initiated
from booking_doctor.core.flow import Invitation, Strategy, Terms, invite
from booking_doctor.core.model import e164
from booking_doctor.core.ports import Clock
from booking_doctor.core.service import BookingService, SystemClock
from booking_doctor.doctor import Doctor, Planned, Repair, Request
from booking_doctor.doctor.watching import Orders, Watch
from booking_doctor.errors import NotConfigured, PlanRefused, SettingsError
from booking_doctor.evidence import Fetched, Log, VariableSource
from booking_doctor.findings import JSONValue, Progress, Window
from booking_doctor.preferences import preferences
from booking_doctor.probe import Probe, Target
from booking_doctor.settings import (
    COLUMNS,
    DatabaseSettings,
    Preferences,
    Secret,
    app_url,
    database_settings,
    probe_settings,
    twilio_senders,
    twilio_settings,
    vercel_settings,
)
from booking_doctor.sources import Place

if TYPE_CHECKING:
    from booking_doctor.adapters.twilio_files import TwilioFiles

__all__ = [
    "Backing",
    "BookingService",
    "ChosenSources",
    "Doctor",
    "Planned",
    "Repair",
    "Request",
    "backing",
    "booking_service",
    "booking_service_for",
    "confirm_booking",
    "doctor_for",
    "initiate_booking",
    "named_source",
    "open_doctor",
    "open_watch",
    "open_workplace",
    "workplace_for",
]


def open_doctor(
    directory: Path,
    env_files: Sequence[Path],
    config: Path | None,
    process: Mapping[str, str],
    progress: Progress,
    log_files: Sequence[Path] = (),
) -> Doctor:
    """
    The doctor for the settings that are found there.

    Args:
        directory: Where ``.env`` and ``booking-doctor.toml`` are looked for.
        env_files, config: Files named by the caller.
        process: The process environment.
        log_files: What to read instead of asking Twilio, which is not asked anything then.

    Raises:
        UsageError: A named file cannot be read.
        SettingsError: The settings file says what cannot be meant.
    """
    # NOTE: threads that read ahead need the interpreter for a moment between two waits; by default one that computes
    # keeps it 5 ms each time, and a million messages then take a fifth longer.
    sys.setswitchinterval(0.0005)
    origins = variable_sources(directory, env_files, process)
    preferred = preferences(*read_preferences(directory, config))
    return doctor_for(origins, preferred, progress, log_files=log_files)


def doctor_for(
    origins: tuple[VariableSource, ...],
    preferred: Preferences,
    progress: Progress,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    log_files: Sequence[Path] = (),
) -> Doctor:
    """
    The doctor for what these say.

    Args:
        origins: Where the variables come from; later ones win.

    Raises:
        UsageError: One of the files is no log of the account.
    """
    variables = {name: value for origin in origins for name, value in origin.values.items()}
    account_sid = variables.get("TWILIO_ACCOUNT_SID") or None
    files = _log_in(log_files, account_sid, clock(), progress) if log_files else None
    return Doctor(
        ChosenSources(variables, preferred, progress, origins=origins, files=files),
        preferred,
        clock=clock,
        executor=DaemonExecutor,
        run_id=lambda moment: f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        progress=progress,
    )


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
    _refuse_rivals(database_settings(variables))
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
    database = database or _database_for(variables, preferred)
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
    database, token = _database_for(variables, preferred), variables.get("TWILIO_AUTH_TOKEN")
    _refuse_rivals(database.settings)
    return Backing(
        flow=booking_service_for(variables, preferred, database=database),
        signatures=TwilioSignatures(Secret(token) if token else None),
        variables=variables,
        app_url=app_url(variables),
        account_sid=twilio_settings(variables).account_sid,
        database=f"{database.settings.address}/{database.settings.name}",
        ask_database=database.place,
    )


def _refuse_rivals(settings: DatabaseSettings) -> None:
    if settings.rivals:
        message = f"{' and '.join((settings.variable, *settings.rivals))} name different databases"
        raise PlanRefused(message, hint="leave only the one that is meant; nothing was sent")


def _database_for(variables: Mapping[str, str], preferred: Preferences, *, connections: int = 5) -> Database:
    settings, names = database_settings(variables), preferred.names
    names = names if names.schema else replace(names, schema=settings.schema)
    return Database(settings, names, connections=connections)


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
    database = _database_for(variables, preferred, connections=concurrency + 1)
    service = booking_service_for(variables, preferred, clock=clock, database=database, at_once=concurrency)
    _refuse_rivals(database.settings)
    return Workplace(service.queue, database, concurrency=concurrency, clock=clock)


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
    database = _database_for(variables, preferred, connections=2)
    _refuse_rivals(database.settings)
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


def _log_in(paths: Sequence[Path], account_sid: str | None, now: datetime, progress: Progress) -> TwilioFiles:
    # NOTE: imported here, because it takes a database of its own, and seldom is there a file.
    from booking_doctor.adapters.twilio_files import TwilioFiles

    return TwilioFiles(paths, account_sid=account_sid, now=now, progress=progress)


class ChosenSources:
    """
    PostgreSQL and Twilio, as the variables name them: `booking_doctor.sources.Sources`.

    Args:
        files: Twilio's log, instead of Twilio.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        preferences: Preferences,
        progress: Progress,
        patience: Patience = Patience(),
        *,
        origins: tuple[VariableSource, ...] = (),
        files: TwilioFiles | None = None,
    ) -> None:
        self._variables = variables
        self._preferences = preferences
        self._progress = progress
        self._patience = patience
        self._files = files
        self.variables = origins or (VariableSource(name=PROCESS, values=variables),)

    @property
    def account_sid(self) -> str:
        """
        The Twilio account.
        """
        if self._files is not None:
            return self._files.account_sid
        return twilio_settings(self._variables, senders_needed=False).account_sid

    def account(self) -> TwilioAccountProbe:
        """
        The account over HTTP, for live questions.

        Raises:
            NotConfigured: Files stand for Twilio.
            SettingsError: A variable is missing or malformed.
        """
        if self._files is not None:
            message = "Twilio is not asked: --twilio-log"
            raise NotConfigured(message)
        # NOTE: a malformed sender is no reason not to ask; what to ask of senders is said with the question.
        senders = ("TWILIO_PHONE_NUMBER", "TWILIO_MESSAGING_SERVICE_SID")
        variables = {name: value for name, value in self._variables.items() if name not in senders}
        return TwilioAccountProbe(twilio_settings(variables, senders_needed=False))

    def platform(self) -> VercelPlatform:
        """
        Vercel over HTTP, for live questions.

        Raises:
            NotConfigured: There is no token for it.
            SettingsError: A variable is missing or malformed.
        """
        return VercelPlatform(vercel_settings(self._variables))

    def probe(self, phone: str | None) -> tuple[Probe, Target]:
        """
        A booking over HTTP, followed in the database and in Twilio's log as far as they are set.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        settings, region = probe_settings(self._variables, phone), self._preferences.region
        number = e164(settings.phone, region)
        if number is None:
            message = "the phone of the probe is no phone number"
            raise SettingsError(message, hint="write it as +15550100123: TEST_PHONE, or --phone")
        host = urlsplit(settings.app_url).netloc
        probe = self._following(ApplicationClient(settings.app_url, settings.key))
        return probe, Target(host=host, event_id=settings.event_id, phone=number, region=region)

    def dry_probe(self) -> tuple[Probe, Target]:
        """
        Without looking anywhere else.

        Raises:
            SettingsError: The application's address is missing or malformed.
        """
        address, key = app_url(self._variables), self._variables.get("TEST_API_KEY")
        client = ApplicationClient(address, Secret(key) if key else None)
        target = Target(host=urlsplit(address).netloc, event_id="", phone="", region=self._preferences.region)
        return Probe(client=client, clock=SystemClock(), database=None, texts=None), target

    def _following(self, client: ApplicationClient) -> Probe:
        database, texts, blind = None, None, {}
        try:
            database = self.queries
        except SettingsError as error:
            blind["database"] = error.sentence
        try:
            texts = TwilioFinder(twilio_settings(self._variables, senders_needed=False))
        except SettingsError as error:
            blind["Twilio"] = error.sentence
        return Probe(client=client, clock=SystemClock(), database=database, texts=texts, blind=blind)

    def remove_booking(self, booking_id: str, name: str) -> bool:
        """
        In a transaction of its own.
        """
        return remove_booking(self._database, booking_id, name)

    def application(self) -> HttpApplication:
        """
        The running application over HTTP.

        Raises:
            NotConfigured: Its address is not set.
            SettingsError: A variable is missing or malformed.
        """
        if not self._variables.get("BOOKING_APP_URL"):
            message = "BOOKING_APP_URL is missing"
            raise NotConfigured(message, hint="set it to the address in a customer's browser")
        return HttpApplication(app_url(self._variables), self._variables, lambda: datetime.now(UTC))

    def log(self, *, all_senders: bool) -> tuple[Log, frozenset[str] | None]:
        """
        The log out of the files, where there are any, else over HTTP.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        # NOTE: all settings are read before anything is asked, so that a missing one costs nobody a wait.
        database_settings(self._variables)
        if self._files is not None:
            senders = twilio_senders(self._variables, needed=not all_senders)
            return self._files, None if all_senders else self._files.told_of(senders)
        settings = twilio_settings(self._variables, senders_needed=not all_senders)
        log = TwilioLog(settings, patience=self._patience, progress=self._progress)
        return log, None if all_senders else settings.senders

    @property
    def log_until(self) -> datetime | None:
        """
        Where the files end; None where there are none.
        """
        return self._files.until if self._files is not None else None

    @property
    def log_told(self) -> Mapping[str, JSONValue]:
        """
        What a report says of the files; nothing where there are none.
        """
        return self._files.coverage() if self._files is not None else {}

    def fetch_log(self, window: Window, output: Path, asked: str, now: datetime) -> Fetched:
        """
        Copy the log, of all senders, over HTTP.

        Raises:
            SettingsError: A variable is missing or malformed.
            PlanRefused: What was begun there is of another account or window.
            UsageError: The file could not be written.
        """
        from booking_doctor.adapters.twilio_copy import copy_log
        from booking_doctor.adapters.twilio_formats import Heading, LoggedMessage

        settings = twilio_settings(self._variables, senders_needed=False)
        log = TwilioLog(settings, patience=self._patience, progress=self._progress, shape=LoggedMessage)
        fetched_at = now.replace(microsecond=0)
        heading = Heading(
            account_sid=settings.account_sid, since=window.since, until=window.until, fetched_at=fetched_at
        )
        return copy_log(log, output, heading, asked)

    @cached_property
    def _database(self) -> Database:
        return _database_for(self._variables, self._preferences)

    def place(self) -> Place:
        """
        Where the database is.
        """
        return self._database.place()

    @cached_property
    def records(self) -> DatabaseRecords:
        """
        The application's rows.
        """
        return DatabaseRecords(self._database)

    @cached_property
    def queries(self) -> DatabaseQueries:
        """
        The same database, for the questions of checks.
        """
        return DatabaseQueries(self._database)

    @cached_property
    def ledger(self) -> DatabaseLedger:
        """
        The same database, for writing.
        """
        return DatabaseLedger(self._database)

    @cached_property
    def structure(self) -> DatabaseStructure:
        """
        The table `messages` of the same database, to be changed.
        """
        settings = self._database.settings
        pooled = pools_transactions(settings, self._variables[settings.variable])
        return DatabaseStructure(self._database, pooled=pooled, direct=direct_address(settings))

    def scope(self) -> list[str]:
        """
        The database's address, the Twilio account and the senders.
        """
        told: list[str] = []
        with suppress(SettingsError):
            settings = database_settings(self._variables)
            told += [settings.address, settings.name]
        with suppress(SettingsError):
            twilio = twilio_settings(self._variables, senders_needed=False)
            told += [twilio.account_sid, *sorted(twilio.senders)]
        return told

    def message_columns(self) -> frozenset[str]:
        """
        The columns that `messages` has here.
        """
        return frozenset(name for name in COLUMNS["messages"] if self._database.has("messages", name))

    def known_names(self) -> dict[str, dict[str, str]]:
        """
        The doctor's column names, by table and by what the column is called here.
        """
        return self._database.known_names()

    def close(self) -> None:
        """
        Give connections back.
        """
        if self._files is not None:
            self._files.close()
        if "records" in self.__dict__:
            self.records.close()
        if "_database" in self.__dict__:
            self._database.close()
