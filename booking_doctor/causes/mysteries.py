"""
The five mysteries of the incident, each answered for the world examined: yes, no, or not known, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from booking_doctor.causes.cause import NOT_READ, Reading, absent, seen, unknown
from booking_doctor.causes.population import comparison_of, population
from booking_doctor.causes.signals import Dossier
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.runner import why_not
from booking_doctor.findings import Answer

Readings = Mapping[str, Reading]


def answers(readings: Readings, dossier: Dossier) -> list[Answer]:
    """
    All five, in the order in which they were asked.
    """
    told = []
    for mystery, solve in _MYSTERIES.items():
        try:
            reading = solve(readings, dossier.evidence)
        except Exception as error:  # noqa: BLE001  a mystery that cannot be solved is no reason to leave the others
            reading = unknown(why_not(error)[1])
        told.append(Answer(mystery=mystery, yes=reading.seen, evidence=reading.words))
    return told


def _first(readings: Readings, names: tuple[str, ...]) -> Reading | None:
    return next((readings[name] for name in names if readings.get(name, NOT_READ).seen), None)


def _metadata_empty(_readings: Readings, evidence: Evidence) -> Reading:
    found = evidence.once(population)
    if not found.total:
        return unknown("no booking of the window is old enough to be judged")
    empty = found.empty()
    words = f"{len(empty):,} of {found.total:,} bookings hold nothing of their text"
    return seen(words) if empty else absent(words)


_UNSENT: Final = ("texts-of-bad-missing", "texts-of-bad-partly", "texts-of-bad-refused", "credential-refused")


def _no_text(readings: Readings, evidence: Evidence) -> Reading:
    if unsent := _first(readings, _UNSENT):
        return unsent
    lost = readings.get("message-undelivered", NOT_READ)
    if lost.seen:
        return lost
    comparison = comparison_of(evidence)
    if comparison is None:
        return unknown("Twilio's log could not be read")
    if readings.get("texts-of-bad-sent", NOT_READ).seen:
        return absent(readings["texts-of-bad-sent"].words)
    sent = comparison.counts["twilio_messages"] - comparison.counts["rejected"]
    return (
        absent(f"Twilio took {sent:,} texts in the window") if sent else unknown("Twilio shows no text in the window")
    )


def _no_log_lines(readings: Readings, _evidence: Evidence) -> Reading:
    silent, burnt = readings.get("route-writes-nothing", NOT_READ), readings.get("ids-burnt-per-booking", NOT_READ)
    if silent.seen is None and burnt.seen:
        return unknown(f"{silent.words}; but {burnt.words}, as only the old code would")
    return silent


_ERRORS: Final = (
    *("log-not-null-violation", "log-webhook-error", "texts-of-bad-refused", "credential-refused", "logged-policy"),
    *("logged-privilege", "logged-foreign-key", "logged-unique", "logged-check", "logged-timeout", "logged-read-only"),
    *("logged-prepared", "logged-generated", "logged-schema-cache", "logged-network"),
)


def _no_error(readings: Readings, evidence: Evidence) -> Reading:
    if told := _first(readings, _ERRORS):
        return absent(f"there is one: {told.words}")
    silent = [readings[name].words for name in ("ids-burnt", "inserts-rolled-back") if _first(readings, (name,))]
    if silent:
        return seen(f"no log and no refusal names one, though {' and '.join(silent)}")
    if evidence.once(population).bad:
        return seen("bookings are bad, and no log and no refusal names an error")
    return unknown("nothing failed that could have been silent about it")


def _others_fine(readings: Readings, evidence: Evidence) -> Reading:
    refused = readings.get("credential-refused", NOT_READ)
    if refused.seen:
        return absent(refused.words)
    comparison = comparison_of(evidence)
    if comparison is None:
        return unknown("Twilio's log could not be read")
    matched = comparison.counts["matched"]
    if not matched:
        return unknown("no other text of the window is recorded")
    return seen(f"{matched:,} texts of the window went out and are recorded as Twilio tells them")


_MYSTERIES: Final = {
    "The metadata of bookings is empty": _metadata_empty,
    "No text arrives": _no_text,
    "The new log lines are missing": _no_log_lines,
    "No error is to be seen": _no_error,
    "Other texts with the same credentials are fine": _others_fine,
}
