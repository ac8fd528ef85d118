"""
Where the doctor looks and writes. What stands behind a source is loaded when the source is first asked for: a command that
reads the environment does not wait for a database driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from booking_doctor.adapters.environment_files import PROCESS
from booking_doctor.checks.shapes import direct_address, pools_transactions
from booking_doctor.core.model import TwilioMessage, e164
from booking_doctor.errors import NotConfigured, SettingsError
from booking_doctor.evidence import Fetched, Log, VariableSource
from booking_doctor.findings import JSONValue, Progress, Window
from booking_doctor.settings import (
    COLUMNS,
    Preferences,
    Secret,
    TwilioSettings,
    app_url,
    database_settings,
    probe_settings,
    twilio_senders,
    twilio_settings,
    vercel_settings,
)

if TYPE_CHECKING:
    from booking_doctor.adapters.app import HttpApplication
    from booking_doctor.adapters.client import ApplicationClient
    from booking_doctor.adapters.ledger import DatabaseLedger
    from booking_doctor.adapters.postgres import Database
    from booking_doctor.adapters.probes import TwilioAccountProbe
    from booking_doctor.adapters.queries import DatabaseQueries
    from booking_doctor.adapters.records import DatabaseRecords
    from booking_doctor.adapters.services import Patience
    from booking_doctor.adapters.structure import DatabaseStructure
    from booking_doctor.adapters.twilio import TwilioLog
    from booking_doctor.adapters.twilio_files import TwilioFiles
    from booking_doctor.adapters.vercel import VercelPlatform
    from booking_doctor.probe import Probe, Target
    from booking_doctor.sources import Place


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
        patience: Patience | None = None,
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
        from booking_doctor.adapters.probes import TwilioAccountProbe

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
        from booking_doctor.adapters.vercel import VercelPlatform

        return VercelPlatform(vercel_settings(self._variables))

    def probe(self, phone: str | None) -> tuple[Probe, Target]:
        """
        A booking over HTTP, followed in the database and in Twilio's log as far as they are set.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        from booking_doctor.adapters.client import ApplicationClient
        from booking_doctor.probe import Target

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
        from booking_doctor.adapters.client import ApplicationClient
        from booking_doctor.core.service import SystemClock
        from booking_doctor.probe import Probe, Target

        address, key = app_url(self._variables), self._variables.get("TEST_API_KEY")
        client = ApplicationClient(address, Secret(key) if key else None)
        target = Target(host=urlsplit(address).netloc, event_id="", phone="", region=self._preferences.region)
        return Probe(client=client, clock=SystemClock(), database=None, texts=None), target

    def _following(self, client: ApplicationClient) -> Probe:
        from booking_doctor.adapters.messenger import TwilioFinder
        from booking_doctor.core.service import SystemClock
        from booking_doctor.probe import Probe

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
        from booking_doctor.adapters.client import remove_booking

        return remove_booking(self._database, booking_id, name)

    def application(self) -> HttpApplication:
        """
        The running application over HTTP.

        Raises:
            NotConfigured: Its address is not set.
            SettingsError: A variable is missing or malformed.
        """
        from booking_doctor.adapters.app import HttpApplication

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
        return self._twilio_log(settings), None if all_senders else settings.senders

    def _twilio_log(self, settings: TwilioSettings, shape: type[TwilioMessage] = TwilioMessage) -> TwilioLog:
        from booking_doctor.adapters.services import Patience
        from booking_doctor.adapters.twilio import TwilioLog

        patience = self._patience or Patience()
        return TwilioLog(settings, patience=patience, progress=self._progress, shape=shape)

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
        log = self._twilio_log(settings, LoggedMessage)
        fetched_at = now.replace(microsecond=0)
        heading = Heading(
            account_sid=settings.account_sid, since=window.since, until=window.until, fetched_at=fetched_at
        )
        return copy_log(log, output, heading, asked)

    @cached_property
    def _database(self) -> Database:
        from booking_doctor.bootstrap.databases import database_for

        return database_for(self._variables, self._preferences)

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
        from booking_doctor.adapters.records import DatabaseRecords

        return DatabaseRecords(self._database)

    @cached_property
    def queries(self) -> DatabaseQueries:
        """
        The same database, for the questions of checks.
        """
        from booking_doctor.adapters.queries import DatabaseQueries

        return DatabaseQueries(self._database)

    @cached_property
    def ledger(self) -> DatabaseLedger:
        """
        The same database, for writing.
        """
        from booking_doctor.adapters.ledger import DatabaseLedger

        return DatabaseLedger(self._database)

    @cached_property
    def structure(self) -> DatabaseStructure:
        """
        The table `messages` of the same database, to be changed.
        """
        from booking_doctor.adapters.structure import DatabaseStructure

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
