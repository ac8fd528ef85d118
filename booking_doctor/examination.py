"""
An examination: the checks that were chosen, made on the evidence there is, less what somebody decided to live with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, InvalidStateError
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from threading import Lock, Thread
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from booking_doctor.checks import CATALOGUE
from booking_doctor.checks.check import Check, Evidence
from booking_doctor.checks.runner import Outcome, findings_of, run, skipped_of, why_not
from booking_doctor.core.model import TwilioMessage
from booking_doctor.discrepancies import Comparison
from booking_doctor.errors import DatabaseUnreachable, NotConfigured, SettingsError, SourceError
from booking_doctor.evidence import Account, Application, ExpectedBuild, HostingPlatform, Log, Queries, VariableSource
from booking_doctor.findings import Disclosure, Finding, JSONValue, Progress, Silent, Skipped, Window
from booking_doctor.probe import Traces
from booking_doctor.settings import Ignored

_Known = TypeVar("_Known")


ALIVE_S: Final = 5
"""A server that is not down answers the smallest question sooner, in seconds."""


def no_probe() -> Traces:
    """
    Raises:
        NotConfigured: Nobody has asked for one.
    """
    message = "no booking was made to look where it goes"
    raise NotConfigured(message)


@dataclass(kw_only=True)
class Chart:
    """
    The evidence of one examination: `booking_doctor.checks.check.Evidence`.

    Each source is opened when it is first asked for, and asked once: whoever comes later, from whatever thread, gets the
    same answer, or the same failure without another wait.
    """

    now: datetime
    window: Window
    disclosure: Disclosure
    region: str
    application_role: str | None = None
    variables: tuple[VariableSource, ...]
    expected: VariableSource | None
    expected_build: ExpectedBuild = ExpectedBuild()
    command: Callable[[str], str]
    open_database: Callable[[], Queries] = field(repr=False)
    open_account: Callable[[], Account] = field(repr=False)
    compare: Callable[[], Comparison] = field(repr=False)
    open_log: Callable[[], Log] = field(repr=False)
    open_platform: Callable[[], HostingPlatform] = field(repr=False)
    open_application: Callable[[], Application] = field(repr=False)
    make_probe: Callable[[], Traces] = field(default=no_probe, repr=False)

    _answers: dict[Hashable, Future[Any]] = field(default_factory=dict, init=False, repr=False)
    _asking: Lock = field(default_factory=Lock, init=False, repr=False)

    @property
    def database(self) -> Queries:
        """
        The application's database.
        """
        return self._asked("database", self._reached)

    def _reached(self) -> Queries:
        database = self.open_database()
        # NOTE: it connects only when it is asked something; a server that does not answer is waited for here, once.
        database.rows("SELECT 1 AS here")
        return database

    def doubt_database(self, executor: Executor) -> None:
        """
        Something took longer than it may. Where the database no longer answers even a small question, nobody else asks it,
        and whoever waits for something gets that for an answer.
        """
        known = self._answers.get("database")
        if known is None or not known.done() or known.exception():
            return  # it has not answered yet, or will not
        try:
            executor.submit(lambda: self.open_database().rows("SELECT 1 AS here")).result(ALIVE_S)
        except Late:
            gone = DatabaseUnreachable("the database has stopped answering", hint="run it again once it answers")
            with self._asking:
                self._answers["database"] = Future()
                waited_for = list(self._answers.values())
            for answer in waited_for:
                with suppress(InvalidStateError):
                    answer.set_exception(gone)
        except (SourceError, SettingsError):
            return  # it answers, if only with a refusal

    @property
    def account(self) -> Account:
        """
        The Twilio account, for live questions.
        """
        return self._asked("account", self.open_account)

    @property
    def platform(self) -> HostingPlatform:
        """
        The hosting platform, for live questions.
        """
        return self._asked("platform", self.open_platform)

    @property
    def application(self) -> Application:
        """
        The running application, for live questions.
        """
        return self._asked("application", self.open_application)

    @property
    def comparison(self) -> Comparison:
        """
        The Twilio log against the database.
        """
        return self._asked("comparison", self.compare)

    @property
    def probe(self) -> Traces:
        """
        What a booking left behind that was made for this examination; it is made once.
        """
        return self._asked("probe", self.make_probe)

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Each message of Twilio's by its SID.
        """
        return self._asked("log", self.open_log).fetch(sids)

    @property
    def unread(self) -> list[Skipped]:
        """
        What the comparison could not look at, or why there is none; nothing where none was asked for.
        """
        answer = self._answers.get("comparison")
        if answer is None or not answer.done():
            return []
        error = answer.exception()
        if error is None:
            return list(answer.result().unread)
        kind, reason = why_not(error)
        return [
            Skipped(check=error.source if isinstance(error, SourceError) else "twilio-log", kind=kind, reason=reason)
        ]

    @property
    def sent(self) -> Mapping[datetime, int]:
        """
        The texts that the comparison saw, by the hour; nothing where none was asked for, or it failed.
        """
        answer = self._answers.get("comparison")
        return {} if answer is None or not answer.done() or answer.exception() else answer.result().sent

    def once(self, look: Callable[[Evidence], _Known]) -> _Known:
        """
        What *look* sees, looked for once.
        """
        return self._asked(look, lambda: look(self))

    def _asked(self, question: Hashable, ask: Callable[[], _Known]) -> _Known:
        with self._asking:
            first = question not in self._answers
            answer: Future[_Known] = self._answers.setdefault(question, Future())
        if first:
            # NOTE: in a thread of its own, because whoever has doubts may answer meanwhile; then nobody waits any longer.
            Thread(target=_answer, args=(ask, answer), daemon=True).start()
        return answer.result()


def _answer(ask: Callable[[], _Known], answer: Future[_Known]) -> None:
    try:
        found = ask()
    except BaseException as error:  # noqa: BLE001  whatever it was, it is everybody's answer
        with suppress(InvalidStateError):
            answer.set_exception(error)
    else:
        with suppress(InvalidStateError):
            answer.set_result(found)


class Examination(Struct, frozen=True, kw_only=True):
    """
    What came of it.

    Attributes:
        made: Names of the checks that were made.
        suppressed: Findings that are ignored for now.
        lapsed: Findings that were ignored until a day that has come; they are among the findings.
        idle: Fingerprints of entries that match nothing, although their check was made, or because there is none.
        unnamed: Faults that findings only count, by check.
        outcomes: What came of each check, whatever is ignored.
    """

    made: Sequence[str]
    findings: Sequence[Finding]
    skipped: Sequence[Skipped]
    suppressed: Sequence[Finding]
    lapsed: Sequence[Finding] = ()
    idle: Sequence[str] = ()
    unnamed: Mapping[str, int] = msgspec.field(default_factory=dict)
    outcomes: Sequence[Outcome] = ()

    @property
    def set_aside(self) -> frozenset[str]:
        """
        The fingerprints that are ignored for now.
        """
        return frozenset(finding.fingerprint for finding in self.suppressed)

    @property
    def coverage(self) -> dict[str, JSONValue]:
        """
        What a report says of the ignore list, and of what is counted but not named.
        """
        told: dict[str, JSONValue] = {"suppressed": len(self.suppressed)}
        more: dict[str, JSONValue] = {
            "counting_again": [finding.fingerprint for finding in self.lapsed],
            "ignored_without_match": self.idle,
            "counted_not_named": self.unnamed,
        }
        return told | {name: value for name, value in more.items() if value}


def examine(
    checks: Sequence[Check],
    evidence: Evidence,
    executor: Executor,
    ignored: Sequence[Ignored],
    today: date,
    progress: Progress = Silent(),
) -> Examination:
    """
    Make the checks. An ignored finding counts again from the day its entry ends.
    """
    doubt = partial(evidence.doubt_database, executor) if isinstance(evidence, Chart) else None
    outcomes = run(checks, evidence, executor, late=doubt, progress=progress)
    findings = findings_of(outcomes)
    living_with = {entry.fingerprint for entry in ignored if today < entry.until}
    lapsed = {entry.fingerprint for entry in ignored} - living_with
    standing = [finding for finding in findings if finding.fingerprint not in living_with]
    saw_all = {outcome.check.name for outcome in outcomes if outcome.made and not outcome.blind}
    return Examination(
        made=[outcome.check.name for outcome in outcomes if outcome.made],
        findings=standing,
        skipped=skipped_of(outcomes, standing),
        suppressed=[finding for finding in findings if finding.fingerprint in living_with],
        lapsed=[finding for finding in findings if finding.fingerprint in lapsed],
        idle=_idle([entry.fingerprint for entry in ignored], findings, saw_all),
        unnamed={outcome.check.name: outcome.unnamed for outcome in outcomes if outcome.unnamed},
        outcomes=outcomes,
    )


def _idle(entries: Sequence[str], findings: Sequence[Finding], saw_all: Collection[str]) -> list[str]:
    """
    The entries that match nothing. One whose check did not see all here may still match elsewhere.
    """
    found = {finding.fingerprint for finding in findings}
    names = {entry: entry.partition(":")[0] for entry in entries if entry not in found}
    return [entry for entry, name in names.items() if name in saw_all or name not in CATALOGUE]
