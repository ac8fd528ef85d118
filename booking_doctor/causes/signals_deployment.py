"""
What runs: whether it is the build that should, whether a probe got through, and what the platform's log says of the route.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from msgspec import Struct

from booking_doctor.causes.cause import Reading, absent, seen, unknown
from booking_doctor.causes.signals import Dossier, signal
from booking_doctor.checks.builds import ROUTE
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.hosting import serving_of
from booking_doctor.checks.survey import asked
from booking_doctor.findings import Finding, Severity

# --- which build -----------------------------------------------------------------------------------------------------


@signal
def expected_build_serves(dossier: Dossier) -> Reading:
    """
    The build that should serve is the one that serves.
    """
    if not dossier.evidence.expected_build:
        return unknown("nobody has said which build should serve: --expect-commit HEAD")
    reading = dossier.finding("deployment-stale")
    if reading.seen is None:
        return reading
    return absent(reading.words) if reading.seen else seen("the build that should serve is the one that answers")


@signal
def application_fails_always(dossier: Dossier) -> Reading:
    """
    The application answers every request with an error of its server.
    """
    reading = dossier.finding("deployment-unreachable")
    for finding in dossier.findings("deployment-unreachable"):
        statuses = finding.evidence.get("http_status")
        if finding.severity is Severity.ERROR and statuses and min(_numbers(statuses)) >= 500:
            return seen(finding.summary.removesuffix("."))
    return absent("the application does not fail for everybody") if reading.seen else reading


def _numbers(values: object) -> list[int]:
    return [value for value in values if isinstance(value, int)] if isinstance(values, list | tuple) else []


# --- the platform's log ----------------------------------------------------------------------------------------------

KEPT: Final = timedelta(hours=1)
"""So long every platform keeps the lines of a log."""

_LATELY: Final = """
SELECT count(*) AS bookings, count(*) FILTER (WHERE good) AS good FROM judged WHERE created_at >= :lately
"""


class Silence(Struct, frozen=True, kw_only=True):
    """
    What happened while the log is certainly kept.

    Attributes:
        bookings, good: How many were initiated, and how many of them are in order.
        lines: What the deployment that serves has written about the route that initiates bookings.
        others: What its log has besides, which shows that it is kept at all.
    """

    bookings: int
    good: int
    lines: int
    others: int


def silence(evidence: Evidence) -> Silence:
    """
    Whether the code that serves writes log lines.

    Raises:
        SourceError: The platform or the database did not say.
        SettingsError: They are not set.
    """
    serving = evidence.once(serving_of)
    since = max(evidence.now - KEPT, serving.created_at) if serving else evidence.now - KEPT
    row = asked(evidence, _LATELY, lately=since)[0]
    kept = [line for line in evidence.platform.logged(serving.id) if line.at >= since] if serving else []
    lines = [line for line in kept if line.path.rstrip("/") == ROUTE and line.message.strip()]
    return Silence(bookings=row["bookings"], good=row["good"], lines=len(lines), others=len(kept) - len(lines))


@signal
def route_writes_nothing(dossier: Dossier) -> Reading:
    """
    Bookings were initiated in the last hour, and the log of the deployment that serves has no line of the route.
    """
    told = dossier.once(silence)
    words = f"{told.bookings:,} bookings were initiated within the last hour, and the log has {told.lines:,} lines of {ROUTE}"
    if told.lines:
        return absent(words)
    if not told.bookings:
        return unknown("no booking was initiated within the last hour, for which every platform keeps its log")
    return seen(words) if told.others else unknown("the platform's log is empty, so nobody knows whether it is kept")


@signal
def new_code_ran_lately(dossier: Dossier) -> Reading:
    """
    Bookings of the last hour hold their text: the new code has run.
    """
    told = dossier.once(silence)
    words = f"{told.good:,} of {told.bookings:,} bookings of the last hour hold their text"
    return seen(words) if told.good else absent(words)


# --- the settings that it runs with ----------------------------------------------------------------------------------


def _setting(dossier: Dossier, begins: tuple[str, ...], comparison: str, otherwise: str) -> Reading:
    reading = dossier.finding("deployment-settings-differ")
    for finding in dossier.findings("deployment-settings-differ"):
        if _name(finding).startswith(begins) and finding.evidence.get("comparison") == comparison:
            return seen(finding.summary.removesuffix("."))
    return absent(otherwise) if reading.seen else reading


def _name(finding: Finding) -> str:
    return finding.subject.removeprefix("env/")


@signal
def other_account_there(dossier: Dossier) -> Reading:
    """
    The running application has another Twilio account or sender than we have here.
    """
    return _setting(dossier, ("TWILIO_",), "different", "the application has our Twilio account and sender")


@signal
def other_database_there(dossier: Dossier) -> Reading:
    """
    The running application has another database or project than we have here.
    """
    return _setting(dossier, ("DATABASE", "SUPABASE_"), "different", "the application has our database")


@signal
def not_set_there(dossier: Dossier) -> Reading:
    """
    The running application lacks a variable that a text depends on and that is set here.
    """
    return _setting(dossier, ("TWILIO_", "SUPABASE_"), "only here", "the application lacks nothing that is set here")


# --- the probe -------------------------------------------------------------------------------------------------------


def _step(dossier: Dossier, name: str) -> Reading:
    """
    Whether the probe stopped before that step.
    """
    traces = dossier.evidence.probe
    stopped = traces.stopped_at
    if stopped is None:
        return absent(f"the probe got as far as: {traces.last_step}")
    words = f"the probe's booking was not {stopped.name}: {stopped.evidence}"
    return seen(words) if stopped.name == name else absent(words)


@signal
def probe_not_stored(dossier: Dossier) -> Reading:
    """
    A booking made as a probe was accepted, and its row is not in this database.
    """
    return _step(dossier, "stored")


@signal
def probe_not_texted(dossier: Dossier) -> Reading:
    """
    A booking made as a probe is there, and Twilio has no text for it.
    """
    return _step(dossier, "texted")


@signal
def probe_not_kept(dossier: Dossier) -> Reading:
    """
    A booking made as a probe was texted, and its metadata holds nothing of it.
    """
    return _step(dossier, "kept in the metadata")


@signal
def probe_went_through(dossier: Dossier) -> Reading:
    """
    A booking made as a probe was texted, and its metadata holds the text: what was wrong is so no more, or not always.
    """
    traces = dossier.evidence.probe
    if traces.stopped_at or traces.unseen:
        return absent(f"the probe got as far as: {traces.last_step}")
    return seen("a booking made as a probe was texted, and its metadata holds the text")


@signal
def probe_answered_too_fast(dossier: Dossier) -> Reading:
    """
    A probe was answered faster than Twilio answers: nobody waits for the text.
    """
    fast = next((words for words in dossier.evidence.probe.warnings if "faster than Twilio" in words), None)
    return seen(fast) if fast else absent("the probe was not answered faster than Twilio answers")
