"""
The vocabulary between looking, repairing and reporting: findings, what was skipped, and the report of one command.

A report is data. Formats (`booking_doctor.report`) turn it into text, the command line turns it into an exit code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct, field

from booking_doctor.errors import ExitCode

JSONValue: TypeAlias = "str | int | float | bool | Sequence[JSONValue] | Mapping[str, JSONValue] | None"


class Severity(StrEnum):
    """
    How bad a finding is, worst first.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    def reaches(self, threshold: FailOn) -> bool:
        """
        Whether a finding of this severity fails a command with ``--fail-on`` *threshold*.
        """
        order = list(Severity)
        return threshold is not FailOn.NEVER and order.index(self) <= order.index(Severity(threshold))


class FailOn(StrEnum):
    """
    What ``--fail-on`` takes.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


class Finding(Struct, frozen=True, kw_only=True):
    """
    One fault.

    Attributes:
        name: Which fault, in kebab-case; its first word is its family.
        subject: What it is about, such as ``message/SM…``.
        summary: One sentence: the object, what was seen, what was expected.
        remedy: What to do, beginning with a verb, runnable where possible.
        evidence: Why we say so; JSON values, phone numbers and bodies already masked.
    """

    name: str
    severity: Severity
    subject: str
    summary: str
    remedy: str
    evidence: Mapping[str, JSONValue]

    @property
    def fingerprint(self) -> str:
        """
        The same tomorrow for the same fault of the same thing, whatever the wording.
        """
        return f"{self.name}:{self.subject}"


SkipKind: TypeAlias = Literal["not-configured", "not-applicable", "not-permitted", "unreachable"]


class Skipped(Struct, frozen=True, kw_only=True):
    """
    Something that was asked for and could not be looked at.

    Attributes:
        check: What was not looked at.
        kind: ``not-permitted`` and ``unreachable`` make a report incomplete, the others say it does not apply here.
        reason: One sentence.
    """

    check: str
    kind: SkipKind
    reason: str

    @property
    def missed(self) -> bool:
        """
        Whether it should have been looked at.
        """
        return self.kind in {"not-permitted", "unreachable"}


class Window(Struct, frozen=True):
    """
    The span of time looked at; *since* is included, *until* is not. Both aware, in UTC.
    """

    since: datetime
    until: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.since <= moment < self.until

    def covers(self, other: Window) -> bool:
        """
        Whether all of the other is in it.
        """
        return self.since <= other.since and other.until <= self.until

    def hours(self) -> list[datetime]:
        """
        The full hours that it touches, oldest first; of a longer window than `HOURS_TOLD` the last ones.
        """
        last = _full_hour(self.until - timedelta(microseconds=1))
        number = (last - _full_hour(self.since)) // timedelta(hours=1) + 1
        return [last - timedelta(hours=back) for back in range(min(number, HOURS_TOLD) - 1, -1, -1)]


HOURS_TOLD: Final = 10_000
"""Longer than Twilio shows a message; whoever looks at more is not served by the hour."""


def _full_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


class Verdict(StrEnum):
    """
    A command's answer in a word. A thing not checked is never healthy.
    """

    HEALTHY = "healthy"
    FINDINGS = "findings"
    INCOMPLETE = "incomplete"


class StepView(Struct, frozen=True, kw_only=True):
    """
    A repair step as a report shows it: images masked where they hold personal data.
    """

    kind: str
    subject: str
    reason: str
    before: Mapping[str, JSONValue] | None
    after: Mapping[str, JSONValue] | None


class LeftView(Struct, frozen=True, kw_only=True):
    """
    What no step covers, and why.
    """

    subject: str
    reason: str


class PlanView(Struct, frozen=True, kw_only=True):
    """
    A plan as a report shows it.

    Attributes:
        target: Where an apply would write: host, database, role, Twilio account, size of the log window.
        notes: What the reader must know before applying: triggers that fire, columns outside the comparison.
        refusal: Why an apply would be refused as things stand, with the option to add; None when it would not.
    """

    checksum: str
    steps: Sequence[StepView]
    left: Sequence[LeftView]
    target: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    refusal: str | None = None


class StatementView(StepView, frozen=True, kw_only=True):
    """
    A statement that changes a table.

    Attributes:
        sql: All that is sent for it, line by line, to be read and copied.
        lock: The mode in which it locks the table.
        blocks: Who waits for that, and how long.
    """

    sql: Sequence[str]
    lock: str
    blocks: str


class SessionView(Struct, frozen=True, kw_only=True):
    """
    Somebody else's transaction; None for what our role may not see.

    Attributes:
        pid: None for a prepared transaction, which has no process.
        locks: The modes in which it has the table locked, or waits for that.
        query: Up to the first value in it.
    """

    pid: int | None
    role: str | None
    application: str | None
    state: str | None
    since: datetime | None
    locks: Sequence[str]
    query: str | None


class MigrationView(PlanView, frozen=True, kw_only=True):
    """
    A change of a table as a report shows it; its steps are `StatementView`s.

    Attributes:
        table: Its name and size.
        waits_for: Whose locks would have to go first.
        longest_transaction: The oldest one of the database that can be seen.
        hidden_sessions: Those whose transactions cannot.
    """

    table: Mapping[str, JSONValue]
    waits_for: Sequence[SessionView]
    longest_transaction: SessionView | None
    hidden_sessions: int


class RunView(Struct, frozen=True, kw_only=True):
    """
    One apply, or the undo of it.

    Attributes:
        applied: Steps written (for an undo: taken back) by this command.
        verified: Every step was seen in effect afterwards and nothing new is wrong; None where nothing was to verify.
    """

    id: str
    applied: int
    verified: bool | None


class PastRun(Struct, frozen=True, kw_only=True):
    """
    A line of ``runs``.

    Attributes:
        begun: Steps outside any transaction that were begun and not seen to end, as where the program was killed while an
            index was built.
    """

    id: str
    command: str
    started_at: datetime
    applied: int
    undone: int
    begun: int = 0


class CauseVerdict(StrEnum):
    """
    What the evidence makes of a cause, surest first. One that could not be excluded is possible.
    """

    CONFIRMED = "confirmed"
    LIKELY = "likely"
    POSSIBLE = "possible"
    EXCLUDED = "excluded"


class CauseView(Struct, frozen=True, kw_only=True):
    """
    A cause as a report shows it.

    Attributes:
        because, against: What speaks for and against it; what could not be looked at stands in *against* as "not excluded".
    """

    id: str
    layer: str
    title: str
    verdict: CauseVerdict
    because: Sequence[str]
    against: Sequence[str]
    remedy: str


class Answer(Struct, frozen=True, kw_only=True):
    """
    One of the incident's mysteries, answered for the world examined.

    Attributes:
        yes: None where it is not known.
        evidence: Why, or why not known.
    """

    mystery: str
    yes: bool | None
    evidence: str


class Onset(Struct, frozen=True, kw_only=True):
    """
    Where in time bookings went wrong.

    Attributes:
        turned_at: The first bad one that no good one followed.
        by_hour: Bad bookings by the hour in which they were made.
        before: What happened just before, with its time.
    """

    first_bad: datetime
    last_good: datetime | None
    turned_at: datetime | None
    by_hour: Mapping[str, int]
    before: Sequence[str] = ()


class Hour(Struct, frozen=True, kw_only=True):
    """
    What happened in one hour of the window; None where the source was not read for all of it, which is never zero.

    Attributes:
        start: The full hour, in UTC. The window's first and last hours count from and up to its ends.
        bookings: Pending bookings made.
        sent: Texts that Twilio sent for the application; what it refused at once was not sent.
        recorded: Outbound rows of the application's messages.
    """

    start: datetime
    bookings: int | None
    sent: int | None
    recorded: int | None


class Harm(Struct, frozen=True, kw_only=True):
    """
    What the findings of one name did.

    Attributes:
        people: Different phone numbers; None where findings do not tell, as with `cost_usd`.
        cost_usd: What Twilio billed for texts among them.
    """

    finding: str
    subjects: int
    people: int | None
    cost_usd: str | None = None


class Impact(Struct, frozen=True, kw_only=True):
    """
    What it did to people, as far as it could be looked at; None for what could not.
    """

    people: int | None
    sent_not_recorded: int | None
    never_sent: int | None
    cost_usd: str | None
    by_finding: Sequence[Harm] = ()


class Diagnosis(Struct, frozen=True, kw_only=True):
    """
    Why it is so.

    Attributes:
        verdict: One line.
        unexplained: Findings that no confirmed or likely cause explains.
    """

    verdict: str
    mysteries: Sequence[Answer]
    causes: Sequence[CauseView]
    unexplained: Sequence[str]
    onset: Onset | None
    impact: Impact


class Report(Struct, frozen=True, kw_only=True):
    """
    What one command found or did.

    Attributes:
        exit_reason: One sentence: why the exit code is what it is.
        summary: Counts by name, as the README lists them; empty when nothing could be looked at.
        coverage: What was and was not looked at.
        next_steps: Commands to run next, most useful first.
        checks: Names of the checks that were made; those without a finding passed.
        fail_on: The least severe finding that makes the exit code 1.
        plan, run: Only from commands that repair; ``runs`` only from ``runs``, ``diagnosis`` only from ``diagnose``.
        timeline: Every hour of the window, oldest first; empty from commands that do not count by the hour.
        novelty: Only where earlier reports are remembered.
        set_aside: Fingerprints of findings that somebody decided to live with for now.
    """

    command: str
    version: str
    started_at: datetime
    finished_at: datetime
    window: Window | None
    exit_code: ExitCode
    exit_reason: str
    summary: Mapping[str, int] = field(default_factory=dict)
    coverage: Mapping[str, JSONValue] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    skipped: Sequence[Skipped] = ()
    next_steps: Sequence[str] = ()
    checks: Sequence[str] = ()
    fail_on: FailOn = FailOn.ERROR
    plan: PlanView | None = None
    run: RunView | None = None
    runs: Sequence[PastRun] | None = None
    diagnosis: Diagnosis | None = None
    timeline: tuple[Hour, ...] = ()
    novelty: Novelty | None = None
    set_aside: frozenset[str] = frozenset()

    def is_new(self, finding: Finding) -> bool:
        """
        Whether no earlier report that is remembered had it.
        """
        return self.novelty is not None and self.novelty.since[finding.fingerprint] == self.started_at

    @property
    def verdict(self) -> Verdict:
        """
        ``incomplete`` outranks ``findings``, as exit code 3 outranks 1.
        """
        if self.exit_code is ExitCode.INCOMPLETE:
            return Verdict.INCOMPLETE
        if self.findings or self.exit_code is not ExitCode.OK:
            return Verdict.FINDINGS
        return Verdict.HEALTHY


class Novelty(Struct, frozen=True, kw_only=True):
    """
    A report beside what is remembered of earlier ones.

    Attributes:
        since: When each of the report's findings was first seen, by fingerprint.
        gone: Likewise for what was seen before, was looked for now, and is not there any more.
    """

    since: Mapping[str, datetime]
    gone: Mapping[str, datetime]


class Progress(Protocol):
    """
    Hears how long work gets on; a listener that does nothing is valid. Called from several threads.
    """

    def read(self, done: int, total: int) -> None:
        """
        So many of *total* bytes of the files that stand for the log were read.
        """

    def days(self, total: int) -> None:
        """
        The log of *total* UTC days is about to be read.
        """

    def page(self, messages: int) -> None:
        """
        One more page of the log was read.
        """

    def day_done(self) -> None:
        """
        One day of the log was read to its end.
        """

    def waiting(self, seconds: float, reason: str) -> None:
        """
        Nothing happens for so long, because of *reason*.
        """

    def written(self, steps: int, total: int) -> None:
        """
        So many of *total* steps are in the database.
        """

    def checked(self, done: int, total: int) -> None:
        """
        So many of *total* checks have ended.
        """


class Silent:
    """
    The listener that does nothing.
    """

    def read(self, done: int, total: int) -> None: ...  # noqa: D102
    def days(self, total: int) -> None: ...  # noqa: D102
    def page(self, messages: int) -> None: ...  # noqa: D102
    def day_done(self) -> None: ...  # noqa: D102
    def waiting(self, seconds: float, reason: str) -> None: ...  # noqa: D102
    def written(self, steps: int, total: int) -> None: ...  # noqa: D102
    def checked(self, done: int, total: int) -> None: ...  # noqa: D102


class Disclosure(Struct, frozen=True):
    """
    How much personal data a report may show.

    Phone numbers are masked to country code and last two digits and bodies to their length unless *show_pii*.
    """

    show_pii: bool = False

    def phone(self, number: str | None) -> str | None:
        """
        The number, or what of it may be shown.
        """
        if self.show_pii or not number:
            return number
        digits = [character for character in number if character.isdecimal()]
        if len(digits) < 7:
            return "***"
        return f"{_country_code(number)}***{''.join(digits[-2:])}"

    def body(self, text: str | None) -> str | None:
        """
        The text, or its length.
        """
        if self.show_pii or text is None:
            return text
        return f"({len(text)} characters)"


@lru_cache(maxsize=4096)
def _country_code(number: str) -> str:
    import phonenumbers

    try:
        return f"+{phonenumbers.parse(number.rpartition(':')[2], None).country_code}"
    except phonenumbers.NumberParseException:
        return ""
