"""
What a comparison is given: pages of the log, rows, bookings and customers, and the ports they come through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct

from booking_doctor.core.agreement import Row
from booking_doctor.core.model import TwilioMessage
from booking_doctor.errors import TwilioError
from booking_doctor.findings import JSONValue, Window


class Page(Struct, frozen=True):
    """
    One page of the log, newest first.

    Attributes:
        day: The UTC day walked; None for the scan that looks for messages without `date_sent`.
        last: Whether the day ends with it.
    """

    day: date | None
    messages: Sequence[TwilioMessage]
    last: bool


class Unread(Struct, frozen=True):
    """
    A day of the log, or the rest of one, that could not be read.

    Attributes:
        day: None for what is of no known day.
        part: What that is, where it is not the scan that looks for messages without `date_sent`.
    """

    day: date | None
    error: TwilioError
    part: str | None = None


class Fetched(Struct, frozen=True, kw_only=True):
    """
    What of Twilio's log was copied into a file, or waits beside it for the rest.

    Attributes:
        window: What is copied.
        messages: Those that have come so far.
        unread: What did not come; nothing where the file is there.
    """

    window: Window
    messages: int
    unread: Sequence[Unread]
    coverage: Mapping[str, JSONValue]


class Booking(Struct, frozen=True, kw_only=True):
    """
    A pending booking as far as a message can belong to it.

    Attributes:
        names_sid: The SID in its ``metadata.initial_sms``, if any.
        open: Pending and not expired: confirm may still record what its metadata holds.
        status: Its status in words, ``expired`` also where only the time has run out.
        customer_id: Its customer, once confirmed.
        metadata: The column as text, exactly as the database writes it; None for null.
    """

    id: str
    phone: str | None
    status: str
    open: bool
    created_at: datetime | None
    names_sid: str | None
    customer_id: str | None
    metadata: str | None


class Customer(Struct, frozen=True, kw_only=True):
    """
    A customer as far as a message can belong to one.
    """

    id: str
    phone: str


class Overview(Struct, frozen=True, kw_only=True):
    """
    What only the database can say of its rows in the window.

    Attributes:
        recorded: Rows in the window.
        outbound_by_hour: Those of outbound texts by the full hour; None where no column tells them from others.
        duplicated: SIDs with more than one row, and how many.
        split: Rows whose two SID columns differ; the second SID is what they go by here.
        without_customer, without_sid: Those rows.
        statuses: The words that the status column takes; None for any text.
    """

    recorded: int
    duplicated: Mapping[str, int]
    split: Sequence[Row] = ()
    without_customer: Sequence[Row] = ()
    without_sid: Sequence[Row] = ()
    statuses: frozenset[str] | None = None
    outbound_by_hour: Mapping[datetime, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableSource:
    """
    One place that variables come from: the process, or a file.

    Attributes:
        name: As a person would name it, such as ``.env.local`` or ``the process environment``.
        values: As the program uses them; no report may show one.
        written: As a file literally holds them, dirt included that its reader removes; also what it could not read.
        asked_for: Whether an option named it.
    """

    name: str
    values: Mapping[str, str] = field(repr=False)
    asked_for: bool = False
    written: Mapping[str, str] = field(default_factory=dict, repr=False)

    def literal(self, name: str) -> str | None:
        """
        The value with all its dirt; None where the source does not have it.
        """
        return self.written.get(name, self.values.get(name))


class Account(Protocol):
    """
    Live questions to the Twilio account that is set.

    Each raises `TwilioRefused` where it may not be asked and `TwilioUnreachable` where no answer came.
    """

    def read_messages(self) -> None:
        """
        See whether the credential may read the message log.
        """

    def status(self) -> str | None:
        """
        The account's status, such as ``active``; None where an API key is set, which may not ask.
        """

    def sends_sms(self, number: str) -> bool | None:
        """
        Whether the number can send SMS; None where the account does not own it.
        """

    def has_senders(self, service: str) -> bool | None:
        """
        Whether the messaging service has any sender; None where there is no such service.
        """


class HostedVariable(Struct, frozen=True, kw_only=True):
    """
    A variable as the hosting platform keeps it. Its value is neither asked for nor kept.

    Attributes:
        targets: Of ``production``, ``preview`` and ``development`` those that have it.
        branch: The only git branch whose deployments have it; None for all.
        changed_at: When it was last set; None where the platform does not say.
    """

    name: str
    targets: frozenset[str]
    branch: str | None
    changed_at: datetime | None

    @property
    def in_production(self) -> bool:
        """
        Whether production has it: one that is bound to a branch is for previews of that branch only.
        """
        return "production" in self.targets and self.branch is None

    def reaches(self, deployment: Deployment) -> bool:
        """
        Whether it is among the variables that the deployment is built with.
        """
        if deployment.target == "production":
            return self.in_production
        return "preview" in self.targets and self.branch in {None, deployment.branch}


class Deployment(Struct, frozen=True, kw_only=True):
    """
    What was built at one time of one commit, with the variables as they were then.

    Attributes:
        own: Whether it is of the project that is set, not of another one.
        target: ``production``, a custom environment, or None for a preview.
        state: In the platform's words, such as ``READY`` or ``CANCELED``.
        substate: Of a ready one: ``STAGED`` has never served production, ``ROLLING`` serves a part, ``PROMOTED`` has served it.
        commit, branch: Where it was built from git.
    """

    id: str
    own: bool
    created_at: datetime
    target: str | None
    state: str
    substate: str | None
    commit: str | None
    branch: str | None


class HostedProject(Struct, frozen=True, kw_only=True):
    """
    What the platform does with new deployments of the project.

    Attributes:
        rolled_back_to: The deployment that somebody went back to; while there is one, no new deployment is promoted by itself.
        assigns_domains: Whether a new production deployment takes the domains over by itself; None where it is not told.
    """

    rolled_back_to: str | None
    assigns_domains: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedLine:
    """
    A line that a deployment has written while it served.

    Attributes:
        status: Of the answer to the request it belongs to; None where there was none.
        message: As it was written; it may hold anything.
    """

    at: datetime
    level: str
    path: str
    status: int | None
    message: str = field(repr=False)


class HostingPlatform(Protocol):
    """
    Live questions to the platform that hosts the application, about the project that is set.

    Each raises `PlatformRefused` where it may not be asked and `PlatformUnreachable` where no answer came.
    """

    def variables(self) -> Iterator[HostedVariable]:
        """
        The project's variables, then those that its team shares with it; asked for as they are consumed. A name may come
        several times, for different targets and branches. Ends with an error where any were not shown.
        """

    def serving(self, host: str) -> Deployment | None:
        """
        The deployment that answers at *host*; None where none does that we may see.
        """

    def deployments(self) -> Sequence[Deployment]:
        """
        The project's newest, whatever became of them, newest first.
        """

    def project(self) -> HostedProject:
        """
        The project that is set.
        """

    def logged(self, deployment: str) -> Sequence[LoggedLine]:
        """
        What is left of that deployment's log, as far as it came in a few seconds.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What came back from the application's address.

    Attributes:
        asked_at: When the request went out, by our clock.
        took: How long the answer took to come, in whole.
        headers: Of its headers, names in lower case, those that say who has answered; of cookies only the names.
        body: Its beginning.
    """

    asked_at: datetime
    took: timedelta
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class NoAnswer(Struct, frozen=True, kw_only=True):
    """
    That none came back.

    Attributes:
        reason: Why, after "the application": such as ``does not answer within 10 s``.
    """

    asked_at: datetime
    took: timedelta
    reason: str


class SettingsCompared(Struct, frozen=True, kw_only=True):
    """
    The settings of the running application and ours, compared by keyed hashes; names only.
    """

    different: Sequence[str]
    only_there: Sequence[str]
    only_here: Sequence[str]


class ExpectedBuild(Struct, frozen=True, kw_only=True):
    """
    Which build should serve; None where nobody said.
    """

    commit: str | None = None
    deployment: str | None = None

    def __bool__(self) -> bool:
        return bool(self.commit or self.deployment)


class Application(Protocol):
    """
    Live questions to the running application, at its public address. None changes anything there.
    """

    @property
    def host(self) -> str:
        """
        Whom the address names.
        """

    def who_answers(self) -> Sequence[Answer | NoAnswer]:
        """
        What ``/api/test-deployment`` says, asked several times in a row, each time over a new connection and past caches.
        Whoever asks again hears the same.
        """

    def settings(self) -> SettingsCompared:
        """
        How its settings differ from ours.

        Raises:
            NotConfigured: There is no key to ask with, or none that may travel there.
            ApplicationRefused: It knows no key of ours.
            ApplicationUnreachable: It did not say.
        """


class Queries(Protocol):
    """
    Questions to the application's database, each in a read-only transaction of its own that row level security may not
    filter in silence.
    """

    def rows(self, question: str, **parameters: object) -> list[Mapping[str, Any]]:
        """
        The rows that *question* gives.

        Args:
            question: SQL. ``{messages}`` and ``{messages.status}`` stand for this installation's names, ``:name`` for a
                parameter.

        Raises:
            NotHere: This installation has no such table or column.
            DatabaseError: The question could not be answered.
        """

    def has(self, table: str, column: str | None = None) -> bool:
        """
        Whether the table, or that column of it, is there.
        """

    def name(self, table: str, column: str | None = None) -> str:
        """
        What the table, or that column of it, is called here, whether it is there or not; as it is, never to be put
        into SQL.
        """

    def relation(self, table: str) -> str:
        """
        The table as ``to_regclass`` takes it: quoted, and with its schema where the settings name one.
        """

    def explained(self, statement: str, role: str) -> list[str]:
        """
        How the server would carry out *statement* as that role, a line each. Nothing is carried out.

        Raises:
            NotHere: This installation has no such table or column.
            DatabaseForbidden: The role may not do that, or may not be taken.
            DatabaseError: The question could not be answered; also where somebody holds a lock against it.
        """


class Log(Protocol):
    """
    Twilio's message log.
    """

    @property
    def as_of(self) -> datetime | None:
        """
        When it was as it is told here; None for now. Known once reading has begun.
        """

    def pages(self, window: Window) -> Iterator[Page | Unread]:
        """
        First the scan for messages without `date_sent`, then every UTC day the window touches, days mixed.
        """

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Each message by its SID, None where Twilio answers 404.

        Raises:
            TwilioError: An answer could not be had; what was yielded before stands.
        """

    def coverage(self) -> Mapping[str, JSONValue]:
        """
        What reading it took so far.
        """


class Records(Protocol):
    """
    The application's database, read only.
    """

    def overview(self, window: Window) -> Overview:
        """
        The questions that are the database's own.
        """

    def lines(self, since: datetime, until: datetime) -> Iterator[list[str]]:
        """
        The canonical lines of the rows created in that span, in chunks of bounded size. Reading begins with the call,
        so that the next span is read while one is compared.
        """

    def rows(self, sids: Collection[str]) -> list[Row]:
        """
        Rows whose `message_sid` is one of *sids*, wherever they lie in time; up to 1000 SIDs a call.
        """

    def rows_by_second_sid(self, sids: Collection[str]) -> list[Row]:
        """
        Rows whose `twilio_message_sid` is one of *sids*; one pass over the table, any number of SIDs.
        """

    def bookings_naming(self, sids: Collection[str], now: datetime) -> list[Booking]:
        """
        Pending bookings whose ``metadata.initial_sms.message_sid`` is one of *sids*.
        """

    def bookings_between(
        self, since: datetime, until: datetime, numbers: Collection[str], now: datetime
    ) -> list[Booking]:
        """
        Bookings created in that span whose phone ends like one of *numbers*.
        """

    def customers_with(self, numbers: Collection[str]) -> list[Customer]:
        """
        Customers whose phone ends like one of *numbers*.
        """
