"""
Where the doctor looks and writes, as ports; `booking_doctor.bootstrap` chooses what stands behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from booking_doctor.evidence import (
    Account,
    Application,
    Fetched,
    HostingPlatform,
    Log,
    Queries,
    Records,
    VariableSource,
)
from booking_doctor.findings import JSONValue, Window
from booking_doctor.probe import Probe, Target
from booking_doctor.repair.altering import Structure
from booking_doctor.repair.executor import Ledger


class Place(Struct, frozen=True, kw_only=True):
    """
    Which database this is: what a plan is bound to, and what is shown before a write.

    Attributes:
        oid: Its identifier within its server.
        rivals: Other variables that name another database, and the one that was followed; empty when all agree.
    """

    host: str
    database: str
    role: str
    oid: int
    rivals: tuple[str, ...] = ()


class Sources(Protocol):
    """
    Where the doctor looks and writes. Each is opened when it is first needed.
    """

    @property
    def account_sid(self) -> str:
        """
        The Twilio account.
        """

    @property
    def variables(self) -> tuple[VariableSource, ...]:
        """
        Where the environment's variables come from; later sources win.
        """

    @property
    def queries(self) -> Queries:
        """
        The database, for the questions of checks.

        Raises:
            SettingsError: None is set.
        """

    def account(self) -> Account:
        """
        The Twilio account, for live questions.

        Raises:
            SettingsError: A variable is missing or malformed.
        """

    def platform(self) -> HostingPlatform:
        """
        The platform that hosts the application, for live questions.

        Raises:
            NotConfigured: There is no token for it.
            SettingsError: A variable is missing or malformed.
        """

    def probe(self, phone: str | None) -> tuple[Probe, Target]:
        """
        Who makes a booking to look where it goes, and whose. What else cannot be asked is said in the probe.

        Args:
            phone: The caller's own; None for the one that the variables name.

        Raises:
            SettingsError: A variable is missing or malformed.
        """

    def dry_probe(self) -> tuple[Probe, Target]:
        """
        Who sends what no application can take.

        Raises:
            SettingsError: The application's address is missing or malformed.
        """

    def remove_booking(self, booking_id: str, name: str) -> bool:
        """
        Delete the pending booking with that id, if it waits and is of somebody of that name; whether it was.

        Raises:
            DatabaseError: It could not be, also where something refers to it.
        """

    def application(self) -> Application:
        """
        The running application, for live questions.

        Raises:
            NotConfigured: Its address is not set.
            SettingsError: A variable is missing or malformed.
        """

    def log(self, *, all_senders: bool) -> tuple[Log, frozenset[str] | None]:
        """
        Twilio's log, to be read anew, and the senders that count; None for all.

        Raises:
            SettingsError: A variable is missing or malformed.
        """

    @property
    def log_until(self) -> datetime | None:
        """
        Where Twilio's log ends, as far as it is told here; None for now.
        """

    @property
    def log_told(self) -> Mapping[str, JSONValue]:
        """
        What a report says of where Twilio's log is from; nothing where Twilio is asked.
        """

    def fetch_log(self, window: Window, output: Path, asked: str, now: datetime) -> Fetched:
        """
        Copy Twilio's log into a file, or go on with that.

        Args:
            asked: The window as it was typed; what was begun with the same words is gone on with.

        Raises:
            SettingsError: A variable is missing or malformed.
            PlanRefused: What was begun there is of another account or window.
            UsageError: The file could not be written.
        """

    def place(self) -> Place:
        """
        Where the database is.
        """

    @property
    def records(self) -> Records:
        """
        The application's rows.
        """

    @property
    def ledger(self) -> Ledger:
        """
        The same database, for writing.
        """

    @property
    def structure(self) -> Structure:
        """
        The table `messages` of the same database, to be changed.
        """

    def scope(self) -> Sequence[str]:
        """
        What tells this database and these messages from others, as far as it is set; asks nobody.
        """

    def message_columns(self) -> frozenset[str]:
        """
        The columns that `messages` has here, by the doctor's names.
        """

    def known_names(self) -> Mapping[str, Mapping[str, str]]:
        """
        The doctor's column names, by table and by what the column is called here.
        """

    def close(self) -> None:
        """
        Give connections back.
        """
