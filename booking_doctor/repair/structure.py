"""
The table `messages` as a migration meets it: what the catalog says, what the rows say, who else is at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct

CHECK: Final = "booking_doctor_customer_present"
"""The check constraint that `restore` adds and drops again."""


class Verb(StrEnum):
    """
    What is wanted of the table.
    """

    RELAX = "relax"
    RESTORE = "restore"
    GUARD = "guard"

    @property
    def command(self) -> str:
        """
        As the journal and reports name it.
        """
        return f"migrate {self}"


class Name(NamedTuple):
    """
    A name of the database.

    Attributes:
        raw: As it is, never to be put into SQL.
        sql: Quoted where needed, with its schema where it has one.
    """

    raw: str
    sql: str


class Check(Struct, frozen=True, kw_only=True):
    """
    A check constraint that says just that the customer is not null.

    Attributes:
        valid: It holds for every row, not only for new ones.
    """

    name: Name
    valid: bool


class Index(Struct, frozen=True, kw_only=True):
    """
    A unique index on the SID alone that leaves out nothing but rows without one.

    Attributes:
        valid: It is complete, so that nothing gets past it.
    """

    name: Name
    valid: bool


class Catalog(Struct, frozen=True, kw_only=True):
    """
    What the catalog says of `messages`.

    Attributes:
        kind: ``r`` for a table, ``p`` for a partitioned one; any other is none that could be altered.
        role: Ours.
        owned: Whether we may do what the owner may.
        may_create: Whether we may make an index in the table's schema.
        rows: About how many; None where nobody has counted.
        not_null: The customer may not be null.
        unproven: The constraint that says so, where older rows were never looked at (PostgreSQL 18).
        domain: The domain that refuses null, where the customer's type is one.
        mentions: What else reads the customer: views, policies, other checks.
        sids: Unique indexes on the SID.
        builder: Who may be building one of them just now.
        taken: Names that a new index cannot have.
        event_triggers: What fires at any change of a table.
    """

    table: Name
    schema: Name
    kind: str
    owner: Name
    role: Name
    owned: bool
    may_create: bool
    bytes: int
    rows: int | None
    customer: Name
    not_null: bool
    unproven: Name | None
    domain: str | None
    checks: Sequence[Check]
    mentions: Sequence[str]
    sid: Name
    sids: Sequence[Index]
    builder: int | None
    taken: frozenset[str]
    event_triggers: Sequence[str]

    @property
    def check(self) -> Check | None:
        """
        The check of an earlier `restore`.
        """
        return next((check for check in self.checks if check.name.raw == CHECK), None)

    @property
    def demanding(self) -> list[str]:
        """
        What refuses a message without customer beside NOT NULL and our own check.
        """
        checks = [f"the constraint {check.name.raw}" for check in self.checks if check.name.raw != CHECK]
        return checks + ([f"the domain {self.domain}"] if self.domain else [])

    @property
    def proven(self) -> bool:
        """
        Whether a valid check says that no row lacks its customer, so that SET NOT NULL need not look.
        """
        return any(check.valid for check in self.checks)

    def column(self, name: Name) -> str:
        """
        A column as findings name it.
        """
        return f"schema/{self.table.raw}.{name.raw}"


class Hindrance(Struct, frozen=True, kw_only=True):
    """
    A row, or rows of one SID, that a migration cannot be made with.

    Attributes:
        sid: None where the row has none.
        rows: Their ids; of many, the first.
    """

    sid: str | None
    rows: Sequence[str]

    @property
    def subject(self) -> str:
        """
        As findings name it.
        """
        return f"message/{self.sid or f'row-{self.rows[0]}'}"


class Survey(Struct, frozen=True, kw_only=True):
    """
    What the rows say.

    Attributes:
        without_customer: Rows whose customer is null.
        since: When the oldest of them was created.
        duplicated: SIDs that more than one row carries.
        blank: Some rows carry an empty SID, so a unique index has to leave those out.
        some: The first of those rows or SIDs.
    """

    without_customer: int = 0
    since: datetime | None = None
    duplicated: int = 0
    blank: bool = False
    some: Sequence[Hindrance] = ()


class Session(Struct, frozen=True, kw_only=True):
    """
    Somebody else's transaction.

    Attributes:
        pid: None for a prepared transaction, which has no process.
        role, application, state, since, query: None where our role may not see it.
        since: When the transaction began.
        holds: The modes in which it has the table locked.
        awaits: Those in which it waits for that, and we behind it.
    """

    pid: int | None
    role: str | None = None
    application: str | None = None
    state: str | None = None
    since: datetime | None = None
    query: str | None = None
    holds: Sequence[str] = ()
    awaits: Sequence[str] = ()

    def __str__(self) -> str:
        if self.pid is None:
            return "a prepared transaction (pg_prepared_xacts)"
        named = [self.role, self.application]
        return " ".join([f"pid {self.pid}", *(f"({part})" for part in [", ".join(filter(None, named))] if part)])


class Traffic(Struct, frozen=True, kw_only=True):
    """
    Who is at the database now.

    Attributes:
        at_table: Everybody who has the table locked, or waits for that.
        longest: The oldest transaction that can be seen.
        hidden: Sessions of which our role sees no more than that they are there.
    """

    at_table: Sequence[Session] = ()
    longest: Session | None = None
    hidden: int = 0


class Attempt(Struct, frozen=True, kw_only=True):
    """
    An index whose building was begun and whose end no run has seen.
    """

    run_id: str
    index: str


class Migrated(Struct, frozen=True, kw_only=True):
    """
    A run that was a migration.

    Attributes:
        indexes: Those that it made, or began to make.
        standing: How many of its statements were not taken back.
    """

    verb: Verb
    indexes: frozenset[str]
    standing: int
