"""
What Twilio and the database say when they are asked with these variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.environment import Reading, readings
from booking_doctor.checks.runner import blind_spot
from booking_doctor.checks.shapes import SHAPES
from booking_doctor.errors import DatabaseForbidden, NotConfigured, SettingsError, SourceError, TwilioRefused
from booking_doctor.evidence import Queries
from booking_doctor.findings import Severity
from booking_doctor.settings import DATABASE_VARIABLES

LIVE: Final = ("env-rejected", "env-sender-unusable", "env-database-read-only")
"""Checks that ask Twilio and the database; `check-env` makes them only with ``--live``."""

LIVE_DATABASE: Final = LIVE[-1]
LIVE_LIMIT_S: Final = 60

_TEST_CREDENTIALS: Final = 20008


@check(Severity.ERROR, limit_s=LIVE_LIMIT_S)
def env_rejected(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Twilio or the database was asked with these credentials and said no, or the Twilio account is not active.

    ## Why it matters

    Each text is refused the same way, and the Twilio log cannot be read. A database that lets nobody in stores no booking.

    ## How to repair

    Copy SID and token again from the Twilio Console; after a rotation the old token is dead. An API key belongs to one region
    and needs the right to read messages. A suspended account is reopened in the Console, often by paying.

    For the database copy the URL again from where it is hosted, with the password percent-encoded. Role and database must
    exist there; through Supabase's pooler the role is `postgres.PROJECT`.

    ## When this is fine

    Code 20008 says that these are test credentials: right in a test, never in production.
    """
    yield from _refused_by_twilio(evidence)
    yield from _refused_by_the_database(evidence)


def _refused_by_twilio(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    credential = _credential(evidence)
    try:
        status = evidence.once(_let_in)
    except (SourceError, SettingsError) as error:
        if not isinstance(error, TwilioRefused) or error.status == 429:
            yield blind_spot(error, evidence)
            return
        what = "test credentials, which may not read messages" if error.code == _TEST_CREDENTIALS else "refused"
        yield Fault(
            subject=f"env/{credential}",
            summary=f"Twilio was asked for one message with {credential}, and it is {what} (code {error.code}).",
            remedy=f"Copy TWILIO_ACCOUNT_SID and {credential} again from {SHAPES[credential].source}.",
            evidence={"service": "twilio", "http_status": error.status, "code": error.code},
        )
        return
    if status not in {None, "active"}:
        yield Fault(
            subject="env/TWILIO_ACCOUNT_SID",
            summary=f"The Twilio account is {status}; it must be active to send.",
            remedy="Open the Twilio Console and reactivate the account.",
            evidence={"service": "twilio", "status": status},
        )


def _credential(evidence: Evidence) -> str:
    set_ = {reading.name for reading in readings(evidence.variables)}
    return "TWILIO_API_KEY" if {"TWILIO_API_KEY", "TWILIO_API_SECRET"} <= set_ else "TWILIO_AUTH_TOKEN"


def _let_in(evidence: Evidence) -> str | None:
    """
    The account's status, as far as it is told to who may read messages.
    """
    evidence.account.read_messages()
    return evidence.account.status()


def _refused_by_the_database(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    name = _database_variable(evidence)
    try:
        evidence.once(_of_the_database)
    except DatabaseForbidden as error:
        yield Fault(
            subject=f"env/{name}",
            summary=f"The database was asked with {name}, and it is refused: {error.summary}.",
            remedy=f"Copy {name} again from {SHAPES[name].source}.",
            evidence={"service": "database", "refusal": error.summary},
        )
    except (SourceError, SettingsError) as error:
        yield blind_spot(error, evidence)


def _database_variable(evidence: Evidence) -> str:
    set_ = {reading.name for reading in readings(evidence.variables)}
    return next((name for name in DATABASE_VARIABLES if name in set_), DATABASE_VARIABLES[0])


@check(Severity.ERROR, after=("env-rejected",), limit_s=LIVE_LIMIT_S)
def env_sender_unusable(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Twilio knows the account, and the account cannot send from what is set.

    ## Why it matters

    A number of another account is refused with 21606 or 21660, one without SMS with 21661, a messaging service that is
    not there or has no senders with 21701 and its neighbours. Through a service the refusal may come after the 201.

    ## How to repair

    Set a number of this account that can send SMS, or add one to the messaging service's sender pool. Check that SID and
    number are of the same account or subaccount.

    ## When this is fine

    A number that is hosted elsewhere and only verified here is in no list of owned numbers. A sender name is in no list at
    all, so it is not looked at.
    """
    senders = [reading for reading in readings(evidence.variables) if reading.name in _SENDERS]
    if not senders:
        message = "no sender is set"
        raise NotConfigured(message, hint=f"set {' or '.join(_SENDERS)}")
    try:
        evidence.once(_let_in)
        for sender in senders:
            if sender.sound:
                yield from _SENDERS[sender.name](evidence, sender)
            else:
                yield sender.blind_spot("whether it can send")
    except TwilioRefused as error:
        yield BlindSpot(subject=f"env/{_credential(evidence)}", kind=error.kind, reason=error.sentence)


def _number(evidence: Evidence, sender: Reading) -> Iterator[Fault | BlindSpot]:
    number = sender.clean
    if not (number.startswith("+") or number.isdecimal()):
        reason = f"{sender.name} is a sender's name, which is in no list of Twilio's"
        yield BlindSpot(subject=f"env/{sender.name}", kind="not-applicable", reason=reason)
        return
    capable = evidence.account.sends_sms(number)
    if capable:
        return
    masked = evidence.disclosure.phone(number)
    seen = "is none of this account's numbers" if capable is None else "cannot send SMS"
    yield Fault(
        subject=f"env/{sender.name}",
        summary=f"The number {masked} of {sender.name} {seen}; texts are sent from it.",
        remedy=f"Set {sender.name} to a number of this account with SMS, from {SHAPES[sender.name].source}.",
        evidence={"owned": capable is not None, "sms": bool(capable)},
    )


def _service(evidence: Evidence, sender: Reading) -> Iterator[Fault]:
    staffed = evidence.account.has_senders(sender.clean)
    if staffed:
        return
    seen = "does not exist in this account" if staffed is None else "has no sender in its pool"
    yield Fault(
        subject=f"env/{sender.name}",
        summary=f"The messaging service of {sender.name} {seen}; texts are sent through it.",
        remedy=f"Add a number to the service's sender pool, or set {sender.name} to one that has some.",
        evidence={"exists": staffed is not None, "senders": bool(staffed)},
    )


_SENDERS: Final[Mapping[str, Callable[[Evidence, Reading], Iterator[Fault | BlindSpot]]]] = {
    "TWILIO_PHONE_NUMBER": _number,
    "TWILIO_MESSAGING_SERVICE_SID": _service,
}


_ROLE: Final = """
SELECT current_user AS role, pg_is_in_recovery() AS replica,
  CAST(current_setting('default_transaction_read_only') AS boolean) AS read_only
"""


@check(Severity.WARNING, after=("env-rejected",), limit_s=LIVE_LIMIT_S)
def env_database_read_only(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The database answers, and takes no writes.

    ## Why it matters

    An application that is led to a replica, or whose role is read-only by default, cannot store a booking or a message. A
    hosting platform makes a database read-only when its disk is full.

    ## How to repair

    Lead the variable to the primary server. Where it is the primary, look at
    `SHOW default_transaction_read_only` and the disk, then `ALTER DATABASE … RESET default_transaction_read_only`.

    ## When this is fine

    For looking: every check and `reconcile` read only. A backfill needs more.
    """
    name = _database_variable(evidence)
    try:
        facts = evidence.once(_of_the_database)
    except DatabaseForbidden as error:
        yield BlindSpot(subject=f"env/{name}", kind=error.kind, reason=error.sentence)
        return
    if facts["replica"] or facts["read_only"]:
        what = "a replica" if facts["replica"] else "read-only by default"
        yield Fault(
            subject=f"env/{name}",
            summary=f"The database that {name} leads to is {what} for the role {facts['role']}; the application must write.",
            remedy=f"Set {name} to the primary server, as a role that may write.",
            evidence=dict(facts),
        )


def _of_the_database(evidence: Evidence) -> Mapping[str, Any]:
    return database_facts(evidence.database)


def database_facts(database: Queries) -> Mapping[str, Any]:
    """
    Who we are there, and whether it takes writes: ``role``, ``replica``, ``read_only``.

    Raises:
        DatabaseError: It did not answer, or refused us.
    """
    return database.rows(_ROLE)[0]
