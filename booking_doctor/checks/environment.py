"""
What is said of each variable by itself: present, clean, filled in, well-formed; and of a database's URL, how it leads there.

What is judged is the value that wins. Its dirt is one fault; everything else is judged without it, so that no check is blind
because another one is ignored. `booking_doctor.checks.shapes` knows what values look like.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.shapes import (
    SHAPES,
    Dirt,
    cleaned,
    database_of,
    dirt,
    is_blank,
    is_remote,
    needs_tls,
    placeholder,
    pools_transactions,
)
from booking_doctor.evidence import VariableSource
from booking_doctor.findings import JSONValue, Severity
from booking_doctor.settings import DATABASE_VARIABLES, DatabaseSettings


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
    def clean(self) -> str:
        """
        The value without that.
        """
        return cleaned(self.value)

    @property
    def placeholder(self) -> str | None:
        """
        What stands where a value should be.
        """
        return placeholder(self.clean)

    @property
    def wrong(self) -> str | None:
        """
        How it differs from its shape.
        """
        return SHAPES[self.name].wrong(self.clean)

    @property
    def sound(self) -> bool:
        """
        Whether anything can be made of it.
        """
        return self.placeholder is None and (self.wrong is None or not SHAPES[self.name].certain)

    def told(self, **more: JSONValue) -> dict[str, JSONValue]:
        """
        The evidence: where it is and how long, never what.
        """
        return {"source": self.source, "sources": list(self.sources), "length": len(self.value), **more}

    def blind_spot(self, what: str) -> BlindSpot:
        """
        That *what* cannot be judged, because this value is not sound.
        """
        return BlindSpot(
            subject=f"env/{self.name}",
            reason=f"{self.name} in {self.source} is no usable value, so {what} cannot be judged",
        )


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


def leads_to(reading: Reading) -> DatabaseSettings | None:
    """
    Where a database variable leads; None where that cannot be said.
    """
    return database_of(reading.name, reading.clean) if reading.name in DATABASE_VARIABLES and reading.sound else None


Alternatives: TypeAlias = "tuple[tuple[str, ...], ...]"
"""Groups of variables of which any one will do; the first variable stands for all."""

_REQUIRED: Final[Mapping[str, Alternatives]] = {
    "a database URL": tuple((name,) for name in DATABASE_VARIABLES),
    "the Twilio account": (("TWILIO_ACCOUNT_SID",),),
    "a Twilio credential": (("TWILIO_AUTH_TOKEN",), ("TWILIO_API_KEY", "TWILIO_API_SECRET")),
    "a sender": (("TWILIO_PHONE_NUMBER",), ("TWILIO_MESSAGING_SERVICE_SID",)),
}
"""What must be set, and which variables do for it."""


def unmet(present: Collection[str]) -> dict[str, Alternatives]:
    """
    What must be set, and that none of the variables that are there does for.
    """
    return {
        need: alternatives
        for need, alternatives in _REQUIRED.items()
        if not any(set(names) <= set(present) for names in alternatives)
    }


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
    for need, alternatives in unmet(present).items():
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
        if kind := reading.placeholder:
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} in {reading.source} holds {kind} instead of a value.",
                remedy=f"Set {reading.name} to its real value, from {SHAPES[reading.name].source}.",
                evidence=reading.told(placeholder=kind),
            )


@check(Severity.ERROR, after=("env-placeholder",))
def env_malformed(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
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
        wrong = reading.wrong
        if wrong and reading.placeholder:
            yield reading.blind_spot("its shape")
        elif wrong:
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} in {reading.source} must be {shape.expected}, but {wrong}.",
                remedy=f"Copy {reading.name} again from {shape.source}.",
                evidence=reading.told(expected=shape.expected, seen=wrong),
                severity=None if shape.certain else Severity.WARNING,
            )


def _connections(evidence: Evidence) -> Iterator[tuple[Reading, DatabaseSettings | None]]:
    for reading in readings(evidence.variables):
        if reading.name in DATABASE_VARIABLES:
            yield reading, leads_to(reading)


@check(Severity.WARNING, after=("env-placeholder", "env-malformed"))
def env_tls_not_required(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
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
    default = next((source.values["PGSSLMODE"] for source in evidence.variables if "PGSSLMODE" in source.values), "")
    for reading, settings in _connections(evidence):
        if settings is None:
            yield reading.blind_spot("the connection")
        elif is_remote(settings) and not needs_tls(settings, reading.clean, default):
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} leads to another network and does not insist on an encrypted connection.",
                remedy=f"Add sslmode=require to {reading.name}.",
                evidence=reading.told(sslmode=settings.parameters.get("sslmode") or default or None),
            )


@check(Severity.INFO, after=("env-placeholder", "env-malformed"))
def env_transaction_pooler(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
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
    for reading, settings in _connections(evidence):
        if settings is None:
            yield reading.blind_spot("what it leads to")
        elif pools_transactions(settings, reading.clean):
            yield Fault(
                subject=f"env/{reading.name}",
                summary=f"{reading.name} leads to a transaction pooler, where prepared statements and SET do not last.",
                remedy="Turn prepared statements off in the application's driver, or use the pooler's session port.",
                evidence=reading.told(port=settings.port),
            )
