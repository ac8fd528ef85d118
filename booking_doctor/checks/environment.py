"""
The environment's variables: present, well-formed, of one mind; and, where asked, accepted by those they are meant for.

What is judged is the value that wins, as its source literally holds it. Of one variable one fault is told, the first in
the order of the checks here; `booking_doctor.checks.shapes` knows what values look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.shapes import (
    SHAPES,
    Dirt,
    claims_of,
    database_of,
    dirt,
    is_blank,
    is_remote,
    needs_tls,
    placeholder,
    pools_transactions,
    project_of_address,
    project_of_database,
)
from booking_doctor.errors import NotConfigured, TwilioRefused
from booking_doctor.evidence import Queries, VariableSource
from booking_doctor.findings import JSONValue, Severity
from booking_doctor.settings import DATABASE_VARIABLES, DatabaseSettings, database_settings

LIVE: Final = ("env-rejected", "env-sender-unusable", "env-database-read-only")
"""Checks that ask Twilio and the database; `check-env` makes them only with ``--live``."""

LIVE_DATABASE: Final = LIVE[-1]
LIVE_LIMIT_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    A variable that is set, as the source that wins literally holds it.

    Attributes:
        source: Where this value comes from.
        sources: All that hold one, the winner last.
    """

    name: str
    value: str = field(repr=False)
    source: str
    sources: tuple[str, ...]

    @property
    def dirt(self) -> list[Dirt]:
        """
        What does not belong into it.
        """
        return dirt(self.value)

    @property
    def wrong(self) -> str | None:
        """
        How it differs from its shape.
        """
        return SHAPES[self.name].wrong(self.value)

    @property
    def sound(self) -> bool:
        """
        Whether it can be compared with others.
        """
        return not self.dirt and not placeholder(self.value) and (self.wrong is None or not SHAPES[self.name].certain)

    def told(self, **more: JSONValue) -> dict[str, JSONValue]:
        """
        The evidence: where it is and how long, never what.
        """
        return {"source": self.source, "sources": list(self.sources), "length": len(self.value), **more}


def readings(sources: Sequence[VariableSource]) -> list[Reading]:
    """
    The known variables that are set and not empty; a later source wins, also with nothing.
    """
    found = []
    for name in SHAPES:
        holding = [(source.name, _held(source, name)) for source in sources if source.literal(name) is not None]
        if holding and not is_blank(holding[-1][1]):
            names = tuple(source for source, literal in holding if not is_blank(literal))
            found.append(Reading(name=name, value=holding[-1][1], source=names[-1], sources=names))
    return found


def _held(source: VariableSource, name: str) -> str:
    """
    The value as it stands there; where it is put together from others, what the program makes of it.
    """
    literal = source.literal(name) or ""
    return source.values.get(name, literal) if "${" in literal else literal


def _sound(evidence: Evidence) -> dict[str, Reading]:
    return {reading.name: reading for reading in readings(evidence.variables) if reading.sound}


_REQUIRED: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "a database URL": tuple((name,) for name in DATABASE_VARIABLES),
    "the Twilio account": (("TWILIO_ACCOUNT_SID",),),
    "a Twilio credential": (("TWILIO_AUTH_TOKEN",), ("TWILIO_API_KEY", "TWILIO_API_SECRET")),
    "a sender": (("TWILIO_PHONE_NUMBER",), ("TWILIO_MESSAGING_SERVICE_SID",)),
}
"""What must be set, and which variables do for it."""


@check(Severity.ERROR)
def env_missing(evidence: Evidence) -> Iterator[Fault]:
    """
    A variable that nothing works without is not set, or is empty.

    ## Why it matters

    JavaScript passes an undefined value on without a word: the text is refused or never asked for, and the booking still
    looks fine. A variable set for Preview only is missing in Production.

    ## How to repair

    Set it where the program reads it: the process environment, `.env`, or a file named with `--env-file`. On a hosting
    platform set it for Production too, then deploy again: a deployment keeps the variables it was built with.

    Needed are a database URL (`DATABASE_URL`, `SUPABASE_DB_URL` or `POSTGRES_URL`), `TWILIO_ACCOUNT_SID`, a credential
    (`TWILIO_AUTH_TOKEN`, or `TWILIO_API_KEY` with `TWILIO_API_SECRET`) and a sender (`TWILIO_PHONE_NUMBER` or
    `TWILIO_MESSAGING_SERVICE_SID`).

    ## When this is fine

    Never for a complete examination. `booking-doctor reconcile --all-senders` does without a sender.
    """
    present = {reading.name for reading in readings(evidence.variables)}
    for need, alternatives in _REQUIRED.items():
        if any(present.issuperset(names) for names in alternatives):
            continue
        name = alternatives[0][0]
        empty = [source.name for source in evidence.variables if source.literal(name) is not None]
        half = [given for names in alternatives for given in names if given in present]
        seen = f"is empty in {empty[-1]}" if empty else "is not set"
        also = f", and {half[0]} is nothing without its partner" if half else ""
        yield Fault(
            subject=f"env/{name}",
            summary=f"{need[0].upper()}{need[1:]} is needed, but {name} {seen}{also}.",
            remedy=f"Set {' or '.join(' and '.join(names) for names in alternatives)};"
            f" {name} is copied from {SHAPES[name].source}.",
            evidence={
                "alternatives": [" + ".join(names) for names in alternatives],
                "empty_in": empty,
                "searched": [source.name for source in evidence.variables],
            },
        )


@check(Severity.ERROR)
def env_whitespace(evidence: Evidence) -> Iterator[Fault]:
    r"""
    There is dirt around or in a value: blanks, a line end, an invisible character, quotes, a literal `\n`.

    ## Why it matters

    It cannot be seen in any dashboard. Twilio's library sends a blank or line end along and gets error 20003; a newline in a
    key makes every call of the Supabase client fail; a quote becomes part of the number.

    ## How to repair

    Write the value again without it. `echo` adds a newline, so pipe with `printf '%s' VALUE`; a dashboard takes quotes
    literally; save files with LF line ends and without a byte order mark.

    ## When this is fine

    Where everything that reads the file strips it. Python's and JavaScript's dotenv drop blanks and carriage returns at the
    end of a line; a shell and `docker --env-file` do not. Quotes that make a string in a file are not dirt.
    """
    for reading in readings(evidence.variables):
        if found := reading.dirt:
            kinds = ", ".join(f"a {one.kind} at position {one.position}" for one in found)
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} in {reading.source} has {kinds} of {len(reading.value)};"
                " nothing but the value may be there.",
                remedy=f"Write {reading.name} in {reading.source} again without it; printf '%s' adds no newline.",
                evidence=reading.told(dirt=[{"kind": one.kind, "position": one.position} for one in found]),
            )


@check(Severity.ERROR)
def env_placeholder(evidence: Evidence) -> Iterator[Fault]:
    """
    A value was never filled in, or is one that Twilio keeps for tests.

    ## Why it matters

    The variable is there, so no program complains of it, and every call with it is refused.

    ## How to repair

    Put the real value in its place. A number such as `+15005550006` works with test credentials only: they send nothing.

    ## When this is fine

    In an example file that nobody reads, and with test credentials in a test.
    """
    for reading in readings(evidence.variables):
        kind = None if reading.dirt else placeholder(reading.value)
        if kind:
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} in {reading.source} holds {kind} instead of a value.",
                remedy=f"Set {reading.name} to its real value, from {SHAPES[reading.name].source}.",
                evidence=reading.told(placeholder=kind),
            )


@check(Severity.ERROR)
def env_malformed(evidence: Evidence) -> Iterator[Fault]:
    """
    A value does not have the shape that such a value has.

    ## Why it matters

    A SID pasted into the wrong variable, a number without its country code, a password with a raw `@` in a URL, a public key
    where the service key belongs: each is refused, or works with fewer rights, far from here.

    ## How to repair

    Copy the value again from the place that the finding names. In a database URL write `@ : / # %` of the password as
    `%40 %3A %2F %23 %25`.

    ## When this is fine

    A warning may be: Twilio does not document the shape of its auth tokens and API secrets. An error is not.
    """
    for reading in readings(evidence.variables):
        shape = SHAPES[reading.name]
        wrong = None if reading.dirt or placeholder(reading.value) else reading.wrong
        if wrong:
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} in {reading.source} must be {shape.expected}, but {wrong}.",
                remedy=f"Copy {reading.name} again from {shape.source}.",
                evidence=reading.told(expected=shape.expected, seen=wrong),
                severity=None if shape.certain else Severity.WARNING,
            )


@check(Severity.WARNING)
def env_conflict(evidence: Evidence) -> Iterator[Fault]:
    """
    Two places disagree: sources of one variable, variables of one database, keys of one project.

    ## Why it matters

    One program reads `.env`, another the process, the third what the hosting platform has. The application then writes
    to one database while somebody looks at another, and rows seem to vanish.

    ## How to repair

    Decide which value is right and remove or change the others. For Supabase take URL, key and database from one project.

    ## When this is fine

    Where `.env.local` or `--env-file` is there to overrule. While database variables name different databases the doctor
    writes nothing.
    """
    told: set[str] = set()
    for faults in (_overruled(evidence), _unlike_expected(evidence), _rival_databases(evidence), _projects(evidence)):
        for fault in faults:
            if fault.subject not in told:
                told.add(fault.subject)
                yield fault


def _overruled(evidence: Evidence) -> Iterator[Fault]:
    for reading in _sound(evidence).values():
        values = {source.name: source.values.get(reading.name) or "" for source in evidence.variables}
        others = [name for name in reading.sources if values[name] and values[name] != values[reading.source]]
        if others:
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} is one thing in {reading.source}, which wins, and another in {', '.join(others)}.",
                remedy=f"Make {reading.name} the same in {', '.join([*others, reading.source])}, or keep it in one of them.",
                evidence=reading.told(different=others),
            )


def _unlike_expected(evidence: Evidence) -> Iterator[Fault]:
    if evidence.expected is None:
        return
    there = evidence.expected.name
    for name, verdict in compared(evidence.variables, evidence.expected).items():
        if name in SHAPES and verdict in {"different", "only here"}:
            seen = "another thing" if verdict == "different" else "not set"
            yield Fault(
                subject=f"env/{name}",
                summary=f"{name} is {seen} in {there}, which it was compared with.",
                remedy=f"Set {name} to the same value in both places, then deploy again.",
                evidence={"expected_in": there, "comparison": verdict},
            )


def compared(sources: Sequence[VariableSource], expected: VariableSource) -> dict[str, str]:
    """
    What is said of each name that is known or expected: equal, different, only here, only there, or not comparable.
    """
    here = {name: value for source in sources for name, value in source.values.items()}
    names = sorted({*expected.values, *(name for name in SHAPES if here.get(name))})
    return {name: _comparison(here.get(name), expected.values.get(name)) for name in names}


def _comparison(here: str | None, there: str | None) -> str:
    # NOTE: a platform writes a sensitive variable, which it does not give away, as an empty one.
    if there == "":
        return "not comparable"
    if not here:
        return "only there"
    if there is None:
        return "only here"
    return "equal" if here == there else "different"


def _rival_databases(evidence: Evidence) -> Iterator[Fault]:
    sound = _sound(evidence)
    databases = _databases(sound)
    if not databases:
        return
    chosen = next(iter(databases))
    for name in database_settings({name: sound[name].value for name in databases}).rivals:
        yield Fault(
            subject=f"env/{name}",
            summary=f"{name} names another database than {chosen}, which is the one that is used.",
            remedy=f"Make {name} and {chosen} name the same database, or remove one of them.",
            evidence=sound[name].told(rival_of=chosen),
        )


def _databases(sound: Mapping[str, Reading]) -> dict[str, DatabaseSettings]:
    named = {name: database_of(name, sound[name].value) for name in DATABASE_VARIABLES if name in sound}
    return {name: settings for name, settings in named.items() if settings}


def _projects(evidence: Evidence) -> Iterator[Fault]:
    """
    Every variable whose project differs from that of the first.
    """
    sound = _sound(evidence)
    projects: dict[str, str | None] = {}
    if reading := sound.get("SUPABASE_URL"):
        projects[reading.name] = project_of_address(reading.value)
    if reading := sound.get("SUPABASE_SERVICE_ROLE_KEY"):
        claims = claims_of(reading.value) or {}
        projects[reading.name] = claims["ref"] if isinstance(claims.get("ref"), str) else None
    for name, settings in list(_databases(sound).items())[:1]:
        projects[name] = project_of_database(settings)
    known = {name: project for name, project in projects.items() if project}
    for name, project in known.items():
        first = next(iter(known))
        if project != known[first]:
            yield Fault(
                subject=f"env/{name}",
                summary=f"{name} belongs to another Supabase project than {first}; all must be of one.",
                remedy=f"Copy {first} and {name} from the same project of the Supabase dashboard.",
                evidence=sound[name].told(differs_from=first),
            )


@check(Severity.WARNING)
def env_tls_not_required(evidence: Evidence) -> Iterator[Fault]:
    """
    The way to a database somewhere else may go unencrypted.

    ## Why it matters

    Without `sslmode=require` the driver asks for encryption and goes on without it when told no, so that somebody on the way
    can read customers' numbers and change rows.

    ## How to repair

    Add `?sslmode=require` to the URL; with the provider's certificate at hand, `sslmode=verify-full&sslrootcert=FILE`.

    ## When this is fine

    Inside a private network or a tunnel. Hosts without a dot and private addresses are taken for that.
    """
    sound = _sound(evidence)
    default = next((source.values["PGSSLMODE"] for source in evidence.variables if "PGSSLMODE" in source.values), "")
    for name, settings in _databases(sound).items():
        if is_remote(settings) and not needs_tls(settings, sound[name].value, default):
            yield Fault(
                subject=f"env/{name}",
                summary=f"{name} leads to another network and does not insist on an encrypted connection.",
                remedy=f"Add sslmode=require to {name}.",
                evidence=sound[name].told(sslmode=settings.parameters.get("sslmode") or default or None),
            )


@check(Severity.INFO)
def env_transaction_pooler(evidence: Evidence) -> Iterator[Fault]:
    """
    The database is reached through a pooler that gives each transaction another session.

    ## Why it matters

    What belongs to a session is lost there: prepared statements, `SET`, session advisory locks, `LISTEN`. An application that
    counts on one works most of the time, and fails when two customers book at once.

    ## How to repair

    Turn prepared statements off in the application's driver, or use the session pooler or the direct address (port 5432) where
    sessions are needed, such as for migrations.

    ## When this is fine

    For serverless functions it is the right choice. The doctor itself needs no session.
    """
    sound = _sound(evidence)
    for name, settings in _databases(sound).items():
        if pools_transactions(settings, sound[name].value):
            yield Fault(
                subject=f"env/{name}",
                summary=f"{name} leads to a transaction pooler, where prepared statements and SET do not last.",
                remedy="Turn prepared statements off in the application's driver, or use the pooler's session port.",
                evidence=sound[name].told(port=settings.port),
            )


# --- what else is said of variables ------------------------------------------------------------------------------------


def inventory(
    sources: Sequence[VariableSource], example: VariableSource | None, expected: VariableSource | None
) -> dict[str, JSONValue]:
    """
    Which known variable comes from where; and names, not values, against an example and against what is expected.
    """
    told: dict[str, JSONValue] = {
        "sources": [source.name for source in sources],
        "variables": [f"{reading.name} from {reading.source}" for reading in readings(sources)],
    }
    if example is not None:
        told["example_only"], told["not_in_example"] = lacking(sources, example)
    if expected is not None:
        told["expected"] = [f"{name} {verdict}" for name, verdict in compared(sources, expected).items()]
    return told


def lacking(sources: Sequence[VariableSource], example: VariableSource) -> tuple[list[str], list[str]]:
    """
    Names that only the example has, and names that it lacks. Of the process only known names are looked at.
    """
    listed = example.values.keys() | example.written.keys()
    here = {name for source in sources for name in {**source.values, **source.written}}
    written = {name for source in sources for name in source.written}
    # NOTE: a line of a key that was pasted over several lines reads like a name, and must not be shown.
    named = {name for name in written if _NAME.fullmatch(name)}
    return sorted(listed - here), sorted((here & SHAPES.keys() | named) - listed)


_NAME: Final = re.compile("[A-Z][A-Z0-9_]*")
"""What variables are called everywhere."""


def env_steps(
    sources: Sequence[VariableSource], example: VariableSource | None, expected: VariableSource | None
) -> list[str]:
    """
    What to do by hand about names that an example has, and about variables on a hosting platform.
    """
    steps = []
    if example is not None:
        only, unlisted = lacking(sources, example)
        steps += [f"Set what is needed of: {', '.join(only)} (only {example.name} has them)."] if only else []
        steps += [f"Add to {example.name}, without values: {', '.join(unlisted)}."] if unlisted else []
    if expected is not None:
        steps += [
            f"Platform dashboard, Settings, Environment Variables: {_BY_HAND[verdict].format(name=name)}"
            for name, verdict in compared(sources, expected).items()
        ]
        steps.append("Deploy again after any change there: a deployment keeps the variables it was built with.")
    return steps


_BY_HAND: Final = {
    "equal": "see that {name} was last updated before the serving deployment was built.",
    "different": "open {name} for Production and enter the right value.",
    "only here": "add {name} for Production.",
    "only there": "see whether {name} is still needed; it is not set here.",
    "not comparable": "open {name} for Production; its value is empty or not given away, so compare it by eye.",
}


# --- live ------------------------------------------------------------------------------------------------------------

_TEST_CREDENTIALS: Final = 20008


@check(Severity.ERROR, limit_s=LIVE_LIMIT_S)
def env_rejected(evidence: Evidence) -> Iterator[Fault]:
    """
    Twilio was asked with these credentials and said no, or says that the account is not active.

    ## Why it matters

    Each text is refused the same way, and the Twilio log cannot be read.

    ## How to repair

    Copy SID and token again from the Twilio Console; after a rotation the old token is dead. An API key belongs to one region
    and needs the right to read messages. A suspended account is reopened in the Console, often by paying.

    ## When this is fine

    Code 20008 says that these are test credentials: right in a test, never in production.
    """
    credential = _credential(evidence)
    try:
        evidence.account.read_messages()
        status = evidence.account.status()
    except TwilioRefused as error:
        if error.status == 429:
            raise
        what = "test credentials, which may not read messages" if error.code == _TEST_CREDENTIALS else "refused"
        yield Fault(
            subject=f"env/{credential}",
            summary=f"Twilio was asked for one message with {credential}, and it is {what} (code {error.code}).",
            remedy=f"Copy TWILIO_ACCOUNT_SID and {credential} again from {SHAPES[credential].source}.",
            evidence={"http_status": error.status, "code": error.code},
        )
        return
    if status not in {None, "active"}:
        yield Fault(
            subject="env/TWILIO_ACCOUNT_SID",
            summary=f"The Twilio account is {status}; it must be active to send.",
            remedy="Open the Twilio Console and reactivate the account.",
            evidence={"status": status},
        )


def _credential(evidence: Evidence) -> str:
    set_ = {reading.name for reading in readings(evidence.variables)}
    return "TWILIO_API_KEY" if {"TWILIO_API_KEY", "TWILIO_API_SECRET"} <= set_ else "TWILIO_AUTH_TOKEN"


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

    A number that is hosted elsewhere and only verified here is in no list of owned numbers.
    """
    sound, account = _sound(evidence), evidence.account
    number, service = sound.get("TWILIO_PHONE_NUMBER"), sound.get("TWILIO_MESSAGING_SERVICE_SID")
    if number and not number.value.startswith("+"):
        message = "TWILIO_PHONE_NUMBER is a short code or a name, which is in no list of Twilio's that could be asked"
        raise NotConfigured(message)
    try:
        capable = account.sends_sms(number.value) if number else True
        staffed = account.has_senders(service.value) if service else True
    except TwilioRefused as error:
        yield BlindSpot(subject=f"env/{_credential(evidence)}", kind=error.kind, reason=error.sentence)
        return
    if number and not capable:
        masked = evidence.disclosure.phone(number.value)
        seen = "is none of this account's numbers" if capable is None else "cannot send SMS"
        yield Fault(
            subject=f"env/{number.name}",
            summary=f"The number {masked} of {number.name} {seen}; texts are sent from it.",
            remedy=f"Set {number.name} to a number of this account with SMS, from {SHAPES[number.name].source}.",
            evidence={"owned": capable is not None, "sms": bool(capable)},
        )
    if service and not staffed:
        seen = "does not exist in this account" if staffed is None else "has no sender in its pool"
        yield Fault(
            subject=f"env/{service.name}",
            summary=f"The messaging service of {service.name} {seen}; texts are sent through it.",
            remedy=f"Add a number to the service's sender pool, or set {service.name} to one that has some.",
            evidence={"exists": staffed is not None, "senders": bool(staffed)},
        )


_ROLE: Final = """
SELECT current_user AS role, pg_is_in_recovery() AS replica,
  CAST(current_setting('default_transaction_read_only') AS boolean) AS read_only
"""


@check(Severity.WARNING, limit_s=LIVE_LIMIT_S)
def env_database_read_only(evidence: Evidence) -> Iterator[Fault]:
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
    facts = database_facts(evidence.database)
    if facts["replica"] or facts["read_only"]:
        name = next(iter(_databases(_sound(evidence))), DATABASE_VARIABLES[0])
        what = "a replica" if facts["replica"] else "read-only by default"
        yield Fault(
            subject=f"env/{name}",
            summary=f"The database that {name} leads to is {what} for the role {facts['role']}; the application must write.",
            remedy=f"Set {name} to the primary server, as a role that may write.",
            evidence=dict(facts),
        )


def database_facts(database: Queries) -> Mapping[str, Any]:
    """
    Who we are there, and whether it takes writes: ``role``, ``replica``, ``read_only``.

    Raises:
        DatabaseError: It did not answer, or refused us.
    """
    return database.rows(_ROLE)[0]
