"""
What a check is: a function named for its fault, whose docstring is the fault's page.

A check yields facts. It never decides how they look, whether they are fatal, or how to repair them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from booking_doctor.core.model import TwilioMessage
from booking_doctor.discrepancies import Comparison
from booking_doctor.evidence import Account, Application, ExpectedBuild, HostingPlatform, Queries, VariableSource
from booking_doctor.findings import Disclosure, Finding, JSONValue, Severity, SkipKind, Window
from booking_doctor.probe import Traces

_Known = TypeVar("_Known")

HEADINGS: Final = ("## Why it matters", "## How to repair", "## When this is fine")
"""What every page has, in this order, after its opening."""

NAMED: Final = 1000
"""So many faults of one kind are named; one more counts the others, because nobody reads on and memory has an end."""


class Evidence(Protocol):
    """
    What a check may look at. Each source is opened when it is first asked for, and says so itself when it cannot be.
    """

    @property
    def now(self) -> datetime:
        """
        When the examination was called.
        """

    @property
    def window(self) -> Window:
        """
        The span of time looked at.
        """

    @property
    def disclosure(self) -> Disclosure:
        """
        How much personal data a finding may show.
        """

    @property
    def region(self) -> str:
        """
        Country of phone numbers in national format.
        """

    @property
    def application_role(self) -> str | None:
        """
        The database role that the settings name as the application's.
        """

    @property
    def variables(self) -> tuple[VariableSource, ...]:
        """
        Where the environment's variables come from; later sources win.
        """

    @property
    def expected(self) -> VariableSource | None:
        """
        What the variables should be elsewhere, such as on the hosting platform; None where nobody said.
        """

    @property
    def expected_build(self) -> ExpectedBuild:
        """
        Which build should serve.
        """

    @property
    def platform(self) -> HostingPlatform:
        """
        The platform that hosts the application, for live questions.

        Raises:
            NotConfigured: There is no token for it.
            SettingsError: A variable is missing or malformed.
        """

    @property
    def application(self) -> Application:
        """
        The running application, for live questions.

        Raises:
            NotConfigured: Its address is not set.
            SettingsError: A variable is missing or malformed.
        """

    @property
    def database(self) -> Queries:
        """
        The application's database.

        Raises:
            SettingsError: None is set.
        """

    @property
    def account(self) -> Account:
        """
        The Twilio account, for live questions.

        Raises:
            SettingsError: A variable is missing or malformed.
        """

    @property
    def comparison(self) -> Comparison:
        """
        The Twilio log against the database.

        Raises:
            SettingsError: A variable is missing or malformed.
            SourceError: Either could not be read.
        """

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Each message of Twilio's by its SID, whosever it is; None where Twilio answers that there is none.

        Raises:
            SettingsError: A variable is missing or malformed.
            TwilioError: An answer could not be had; what was yielded before stands.
        """

    def once(self, look: Callable[[Evidence], _Known]) -> _Known:
        """
        What *look* sees; where several checks ask for it, it looks once, and fails alike for all where it fails.
        """

    @property
    def probe(self) -> Traces:
        """
        What a booking left behind that was made for this examination.

        Raises:
            NotConfigured: None was asked for.
            SettingsError: A variable is missing or malformed.
        """

    def command(self, words: str) -> str:
        """
        A command line that looks at the same, to be copied.
        """


class Fault(Struct, frozen=True, kw_only=True):
    """
    One fault as a check sees it; the check gives it name and severity.

    Attributes:
        severity: Where it differs from the check's own.
        others: How many faults it only counts, see `NAMED`.
    """

    subject: str
    summary: str
    remedy: str
    evidence: dict[str, JSONValue]
    severity: Severity | None = None
    others: int = 0


class BlindSpot(Struct, frozen=True, kw_only=True):
    """
    Something that a check could not look at, while it looked at the rest.

    Attributes:
        subject: What it is about, as a finding would name it; None for nothing that a finding could be about.
        kind, reason: As in the report's ``skipped`` list.
    """

    subject: str | None
    reason: str
    kind: SkipKind = "unreachable"


_WORDS_SHOWN, _WORD_SHOWN = 5, 30


def unknown_words(column: str, words: Mapping[str | None, int], known: Sequence[str]) -> BlindSpot:
    """
    Rows that cannot be judged, because their column has another word than those that are understood.

    Args:
        column: As it is called here, with its table.
        words: How many rows have each, most frequent first.
    """
    rows = sum(words.values())
    told = [f"{'null' if word is None else repr(word[:_WORD_SHOWN])} ({n:,})" for word, n in words.items()]
    more = f" and {len(told) - _WORDS_SHOWN} more" if len(told) > _WORDS_SHOWN else ""
    return BlindSpot(
        subject=f"schema/{column}",
        reason=f"{rows:,} {'row has' if rows == 1 else 'rows have'} another word in {column} than {', '.join(known)}:"
        f" {', '.join(told[:_WORDS_SHOWN])}{more}; what such a word means is not known",
    )


Look: TypeAlias = "Callable[[Evidence], Iterable[Fault | BlindSpot]]"


class Check(Struct, frozen=True, kw_only=True):
    """
    One entry of the catalogue.

    Attributes:
        name: The finding's name, in kebab-case; its first word is the family.
        after: Checks that must have looked before it, and whose faults explain what it cannot look at.
        limit_s: How long it may take, in seconds.
        page: What ``explain`` shows, in Markdown.
    """

    name: str
    severity: Severity
    after: tuple[str, ...]
    limit_s: float
    page: str
    look: Look

    @property
    def family(self) -> str:
        """
        The first word of its name.
        """
        return self.name.partition("-")[0]

    @property
    def title(self) -> str:
        """
        The page's first line.
        """
        return self.page.partition("\n")[0]

    def finding(self, fault: Fault) -> Finding:
        """
        The fault under this check's name.
        """
        return Finding(
            name=self.name,
            severity=fault.severity or self.severity,
            subject=fault.subject,
            summary=fault.summary,
            remedy=fault.remedy,
            evidence=fault.evidence,
        )


def check(severity: Severity, *, after: tuple[str, ...] = (), limit_s: float = 10) -> Callable[[Look], Check]:
    """
    Make a check of a function: its name with dashes is the finding's, its docstring the page.

    Raises:
        TypeError: The docstring lacks one of `HEADINGS`.
    """

    def build(look: Look) -> Check:
        name, page = look.__name__.replace("_", "-"), inspect.cleandoc(look.__doc__ or "")
        places = [page.find(f"\n{heading}\n") for heading in HEADINGS]
        if -1 in places or places != sorted(places):
            message = f"the page of {name} needs {', '.join(HEADINGS)}, in this order"
            raise TypeError(message)
        return Check(name=name, severity=severity, after=after, limit_s=limit_s, page=page, look=look)

    return build
