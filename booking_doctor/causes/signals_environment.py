"""
What the variables and the live questions about them show. No reading holds a value, nor a piece of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from booking_doctor.causes.cause import Reading, absent, seen
from booking_doctor.causes.signals import Dossier, signal
from booking_doctor.checks.environment import readings
from booking_doctor.checks.shapes import database_of, project_of_database
from booking_doctor.findings import Finding
from booking_doctor.settings import DATABASE_VARIABLES

ON_THE_WAY: Final = ("TWILIO_", "SUPABASE_", *DATABASE_VARIABLES)
"""Variables that a booking's text depends on; others may be wrong without losing one."""


def _of(dossier: Dossier, check: str, matches: Callable[[Finding], bool], otherwise: str) -> Reading:
    reading = dossier.finding(check)
    for finding in dossier.findings(check):
        if matches(finding):
            return seen(finding.summary.removesuffix("."))
    return absent(otherwise) if reading.seen else reading


def _on_the_way(finding: Finding) -> bool:
    return finding.subject.removeprefix("env/").startswith(ON_THE_WAY)


def _public_key(finding: Finding) -> bool:
    said = str(finding.evidence.get("seen", ""))
    return finding.subject == "env/SUPABASE_SERVICE_ROLE_KEY" and ("role claim" in said or "publishable" in said)


@signal
def value_dirty(dossier: Dossier) -> Reading:
    """
    A variable that a booking's text depends on holds dirt, a placeholder, or a value of another shape.
    """
    return _dirt(dossier, ON_THE_WAY)


@signal
def twilio_value_dirty(dossier: Dossier) -> Reading:
    """
    A variable that Twilio is asked with holds dirt, a placeholder, or a value of another shape.
    """
    return _dirt(dossier, ("TWILIO_",))


def _dirt(dossier: Dossier, begins: tuple[str, ...]) -> Reading:
    def matches(finding: Finding) -> bool:
        return finding.subject.removeprefix("env/").startswith(begins) and not _public_key(finding)

    checks = ("env-whitespace", "env-placeholder", "env-malformed")
    found = [_of(dossier, name, matches, "every value on the way of a text is clean") for name in checks]
    return next((reading for reading in found if reading.seen), found[-1])


@signal
def key_is_public(dossier: Dossier) -> Reading:
    """
    The public key stands where the service key belongs.
    """
    return _of(dossier, "env-malformed", _public_key, "the service key is one")


@signal
def projects_differ(dossier: Dossier) -> Reading:
    """
    Address, key and database belong to different projects.
    """
    return _of(dossier, "env-conflict", lambda f: "differs_from" in f.evidence, "all variables name one project")


@signal
def databases_differ(dossier: Dossier) -> Reading:
    """
    Two variables name different databases.
    """
    return _of(dossier, "env-conflict", lambda f: "rival_of" in f.evidence, "all variables name one database")


@signal
def missing_elsewhere(dossier: Dossier) -> Reading:
    """
    A variable that is set here is not set where the application runs.
    """
    return _of(
        dossier,
        "env-conflict",
        lambda finding: finding.evidence.get("comparison") == "only here",
        "no variable was found to be missing where the application runs",
    )


@signal
def missing_in_production(dossier: Dossier) -> Reading:
    """
    The hosting platform has a variable that a booking's text depends on, and not for production.
    """
    return _of(dossier, "env-not-in-production", _on_the_way, "production has every variable on the way of a text")


@signal
def newer_than_build(dossier: Dossier) -> Reading:
    """
    A variable that a booking's text depends on was changed after the deployment that serves was built.
    """
    return _of(dossier, "env-newer-than-build", _on_the_way, "the deployment has every variable on the way of a text")


@signal
def account_differs(dossier: Dossier) -> Reading:
    """
    Two places name different Twilio accounts or senders.
    """
    return _of(
        dossier,
        "env-conflict",
        lambda finding: finding.subject.startswith("env/TWILIO_"),
        "all places agree on the Twilio account and sender",
    )


_TEXTS: Final = re.compile(r"SMS|TEXTS?(?![A-Z])|TWILIO|MESSAGING|MESSAGES|NOTIFICATIONS?|NOTIFY")
_OFF: Final = re.compile(r"DISABLE|DRY_?RUN|MOCK|FAKE|SKIP|SUPPRESS|PAUSE|MUTE|STOP|(?<![A-Z])OFF(?![A-Z])")
_ON: Final = re.compile(r"ENABLE|ACTIVE|SEND|ALLOW|(?<![A-Z])(USE|ON)(?![A-Z])")
_TRUE: Final = frozenset({"1", "true", "yes", "on", "enabled"})
_FALSE: Final = frozenset({"0", "false", "no", "off", "disabled"})


@signal
def sms_switched_off(dossier: Dossier) -> Reading:
    """
    A variable switches texts off.
    """
    values = {name: value for source in dossier.evidence.variables for name, value in source.values.items()}
    for name, value in sorted(values.items()):
        if _switches_off(name, value.strip().lower()):
            return seen(f"the variable {name} switches texts off")
    return absent("no variable that is known here switches texts off")


def _switches_off(name: str, value: str) -> bool:
    about_texts = _TEXTS.search(name) is not None or name in {"DRY_RUN", "DRYRUN"}
    negative, positive = _OFF.search(name), _ON.search(name) or name in {"SMS", "TEXTS"}
    return about_texts and (
        (negative is not None and value in _TRUE) or (not negative and bool(positive) and value in _FALSE)
    )


@signal
def region_redirects(dossier: Dossier) -> Reading:
    """
    A variable leads Twilio's library to another region than the default.
    """
    values = {name for source in dossier.evidence.variables for name, value in source.values.items() if value}
    found = sorted({"TWILIO_REGION", "TWILIO_EDGE"} & values)
    return seen(f"{' and '.join(found)} redirect Twilio's library") if found else absent("no variable names a region")


@signal
def address_needs_ipv6(dossier: Dossier) -> Reading:
    """
    The database's own address at Supabase has only IPv6, which hosting platforms often have not.
    """
    for reading in readings(dossier.evidence.variables):
        database = database_of(reading.name, reading.value) if reading.name in DATABASE_VARIABLES else None
        if database and (database.host or "").startswith("db.") and project_of_database(database):
            return seen(f"{reading.name} leads to Supabase's direct address, which has only IPv6")
    return absent("no variable leads to an address that has only IPv6")


# --- live ------------------------------------------------------------------------------------------------------------

_TEST: Final = 20008


@signal
def credential_is_for_tests(dossier: Dossier) -> Reading:
    """
    Twilio says that the credential is one for tests.
    """
    return _of(
        dossier, "env-rejected", lambda f: f.evidence.get("code") == _TEST, "Twilio takes the credential for a live one"
    )


@signal
def credential_refused(dossier: Dossier) -> Reading:
    """
    Twilio refuses the credential though nothing is wrong with how it is written, or says that the account is not active.
    """
    if value_dirty.look(dossier).seen:
        return absent("what Twilio refuses is a value that is not written right")
    return _of(
        dossier,
        "env-rejected",
        lambda f: f.subject.startswith("env/TWILIO_") and f.evidence.get("code") != _TEST,
        "Twilio takes the credential, and the account is active",
    )


@signal
def account_inactive(dossier: Dossier) -> Reading:
    """
    Twilio says that the account is not active, whoever asks.
    """
    return _of(dossier, "env-rejected", lambda f: "status" in f.evidence, "the account is active")


@signal
def sender_not_owned(dossier: Dossier) -> Reading:
    """
    The number that sends is none of this account's, or has no SMS.
    """
    return _of(
        dossier,
        "env-sender-unusable",
        lambda finding: finding.subject == "env/TWILIO_PHONE_NUMBER",
        "the number that sends is this account's and has SMS",
    )


@signal
def service_without_sender(dossier: Dossier) -> Reading:
    """
    The messaging service is not in this account, or has no sender.
    """
    return _of(
        dossier,
        "env-sender-unusable",
        lambda finding: finding.subject == "env/TWILIO_MESSAGING_SERVICE_SID",
        "the messaging service is there and has a sender",
    )


@signal
def database_is_replica(dossier: Dossier) -> Reading:
    """
    The database that the variables lead to takes no writes.
    """
    return dossier.finding("env-database-read-only")
