"""
Migrations of `messages`: which statements lead there from the catalog as it is, and what each of them locks.

Nothing is remembered between two statements. What comes next follows from the catalog alone, so an attempt that broke off
is continued, whoever began it, and one that has reached its end is nothing to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from booking_doctor.findings import JSONValue
from booking_doctor.repair.structure import CHECK, Catalog, Index, Name, Session

# --- locks -----------------------------------------------------------------------------------------------------------

_MODES: Final = (
    *("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock"),
    *("ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"),
)
"""Weakest first, as pg_locks spells them (PostgreSQL: "Table-Level Locks")."""


class TableLock(Struct, frozen=True, kw_only=True):
    """
    What a statement locks, and whom that meets.

    Attributes:
        blocks: Who waits while it is held, or waited for.
        waits_for: The modes that have to be gone before it gets on.
    """

    mode: str
    blocks: str
    waits_for: frozenset[str]

    def meets(self, session: Session) -> bool:
        """
        Whether that session has to be waited for.
        """
        return not self.waits_for.isdisjoint([*session.holds, *session.awaits])


LOOKING: Final = TableLock(mode="ACCESS SHARE", blocks="nobody waits for it", waits_for=frozenset(_MODES[7:]))
"""What the server itself locks to tell a table's size and definitions."""

_BRIEF: Final = TableLock(
    mode="ACCESS EXCLUSIVE",
    blocks="everybody waits for it, readers too, but only for a moment: it reads no row",
    waits_for=frozenset(_MODES),
)
_GENTLE: Final = "readers and writers go on; VACUUM and other changes of the table wait"
_SCANNING: Final = TableLock(
    mode="SHARE UPDATE EXCLUSIVE", blocks=f"{_GENTLE} while it reads the table", waits_for=frozenset(_MODES[3:])
)
# NOTE: CONCURRENTLY waits for transactions, too: a build for those that write, a drop for all that use the table.
_BUILDING: Final = TableLock(
    mode="SHARE UPDATE EXCLUSIVE", blocks=f"{_GENTLE} while it reads the table twice", waits_for=frozenset(_MODES[2:])
)
_REMOVING: Final = TableLock(mode="SHARE UPDATE EXCLUSIVE", blocks=_GENTLE, waits_for=frozenset(_MODES))


class Patience(Struct, frozen=True, kw_only=True):
    """
    How long a statement may take and wait, in seconds. 0 is no limit.

    Attributes:
        lock: For a lock behind which everybody else queues. More than the second after which PostgreSQL calls off an
            automatic VACUUM that is in the way.
        statement: For a statement that reads no row, its wait included.
        gentle: For a lock behind which nobody reads or writes later.
        altogether: Until no further attempt is made.
        pause: Between two attempts, at least and at most.
    """

    lock: float = 2
    statement: float = 5
    gentle: float = 60
    altogether: float = 60
    pause: tuple[float, float] = (0.5, 3)


# --- statements ------------------------------------------------------------------------------------------------------


class StatementKind(StrEnum):
    """
    What a statement does.
    """

    DROP_NOT_NULL = "drop-not-null"
    ADD_CHECK = "add-check"
    VALIDATE = "validate"
    SET_NOT_NULL = "set-not-null"
    DROP_CHECK = "drop-check"
    CREATE_INDEX = "create-index"
    DROP_INDEX = "drop-index"

    @property
    def concurrent(self) -> bool:
        """
        Whether no transaction may be around it.
        """
        return self in {StatementKind.CREATE_INDEX, StatementKind.DROP_INDEX}


class Statement(Struct, frozen=True, kw_only=True):
    """
    One statement, a transaction of its own.

    Attributes:
        target: The column, constraint or index that it makes, changes or removes.
        lines: The SQL as it is shown, without the semicolon.
        before, after: The state that it changes, in words.
        finding: The fingerprint of what it repairs.
    """

    kind: StatementKind
    subject: str
    target: Name
    lines: tuple[str, ...]
    lock: TableLock
    before: Mapping[str, JSONValue]
    after: Mapping[str, JSONValue]
    finding: str

    @property
    def kept(self) -> bool:
        """
        Whether the journal keeps it: an index is only dropped as a way back, or because it protects nothing.
        """
        return self.kind is not StatementKind.DROP_INDEX

    @property
    def sql(self) -> str:
        """
        What is executed.
        """
        return " ".join(line.strip() for line in self.lines)

    def limits(self, patience: Patience) -> dict[str, str]:
        """
        The settings under which it runs.
        """
        reads = self.lock is not _BRIEF
        return {
            "lock_timeout": _time(patience.gentle if reads else patience.lock),
            "statement_timeout": _time(0 if reads else patience.statement),
        }

    def script(self, patience: Patience) -> list[str]:
        """
        All that is sent for it, to be read and copied.
        """
        said = [*self.lines[:-1], f"{self.lines[-1]};"]
        limits = self.limits(patience).items()
        if self.kind.concurrent:
            return [
                *(f"SET {name} = '{value}';" for name, value in limits),
                *said,
                *(f"RESET {name};" for name, _ in limits),
            ]
        return ["BEGIN;", *(f"SET LOCAL {name} = '{value}';" for name, value in limits), *said, "COMMIT;"]


def _time(seconds: float) -> str:
    return f"{seconds:g}s" if seconds else "0"


Goal = Callable[[Catalog], list[Statement]]
"""The statements that are still to be run, in order; none once it is reached."""


def relaxed(catalog: Catalog) -> list[Statement]:
    """
    The customer may be null.
    """
    statements = [_drop_check(catalog)] if catalog.check else []
    if catalog.not_null:
        statements.append(_drop_not_null(catalog))
    return statements


def restored(catalog: Catalog) -> list[Statement]:
    """
    The customer may not be null, and no row's is. No statement reads rows while it keeps others from them.
    """
    statements, ours = [], catalog.check is not None
    if catalog.not_null and catalog.unproven:
        statements.append(_validate(catalog, catalog.unproven))
    elif not catalog.not_null:
        if not catalog.proven:
            statements += [] if ours else [_add_check(catalog)]
            statements.append(_validate(catalog, Name(CHECK, CHECK)))
            ours = True
        statements.append(_set_not_null(catalog))
    return [*statements, _drop_check(catalog)] if ours else statements


def guarded(blank: bool) -> Goal:
    """
    No two rows can have the same SID.

    Args:
        blank: Some rows have an empty one, and may.
    """

    def goal(catalog: Catalog) -> list[Statement]:
        if any(index.valid for index in catalog.sids):
            return []
        return [*(_drop_index(catalog, index) for index in catalog.sids), _create_index(catalog, blank=blank)]

    return goal


def unguarded(names: frozenset[str]) -> Goal:
    """
    The indexes of those names are gone.
    """

    def goal(catalog: Catalog) -> list[Statement]:
        return [_drop_index(catalog, index) for index in catalog.sids if index.name.raw in names]

    return goal


def _alter(
    catalog: Catalog,
    kind: StatementKind,
    change: Sequence[str],
    before: Mapping[str, JSONValue],
    after: Mapping[str, JSONValue],
    *,
    target: Name = Name(CHECK, CHECK),
    lock: TableLock = _BRIEF,
) -> Statement:
    subject = catalog.column(catalog.customer)
    relaxing = kind is StatementKind.DROP_NOT_NULL
    return Statement(
        kind=kind,
        subject=subject,
        target=target,
        lines=(f"ALTER TABLE {catalog.table.sql}", *(f"  {line}" for line in change)),
        lock=lock,
        before=before,
        after=after,
        finding=f"schema-customer-id-{'required' if relaxing else 'nullable'}:{subject}",
    )


def _drop_not_null(catalog: Catalog) -> Statement:
    return _alter(
        catalog,
        StatementKind.DROP_NOT_NULL,
        [f"ALTER COLUMN {catalog.customer.sql} DROP NOT NULL"],
        {"not_null": True},
        {"not_null": False},
        target=catalog.customer,
    )


def _set_not_null(catalog: Catalog) -> Statement:
    return _alter(
        catalog,
        StatementKind.SET_NOT_NULL,
        [f"ALTER COLUMN {catalog.customer.sql} SET NOT NULL"],
        {"not_null": False},
        {"not_null": True},
        target=catalog.customer,
    )


def _add_check(catalog: Catalog) -> Statement:
    return _alter(
        catalog,
        StatementKind.ADD_CHECK,
        [f"ADD CONSTRAINT {CHECK}", f"CHECK ({catalog.customer.sql} IS NOT NULL) NOT VALID"],
        {"check": None},
        {"check": "for new rows"},
    )


def _validate(catalog: Catalog, constraint: Name) -> Statement:
    what = "check" if constraint.raw == CHECK else "not_null"
    return _alter(
        catalog,
        StatementKind.VALIDATE,
        [f"VALIDATE CONSTRAINT {constraint.sql}"],
        {what: "for new rows"},
        {what: "for all rows"},
        target=constraint,
        lock=_SCANNING,
    )


def _drop_check(catalog: Catalog) -> Statement:
    valid = catalog.check is None or catalog.check.valid
    return _alter(
        catalog,
        StatementKind.DROP_CHECK,
        [f"DROP CONSTRAINT {CHECK}"],
        {"check": "for all rows" if valid else "for new rows"},
        {"check": None},
    )


def _create_index(catalog: Catalog, *, blank: bool) -> Statement:
    name = _free_name(catalog)
    some = [f"  WHERE {catalog.sid.sql} <> ''"] if blank else []
    return _index(
        catalog,
        StatementKind.CREATE_INDEX,
        name,
        (
            f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name.sql}",
            f"  ON {catalog.table.sql} ({catalog.sid.sql})",
            *some,
        ),
        _BUILDING,
        {"index": None},
        {"index": "valid"},
    )


def _drop_index(catalog: Catalog, index: Index) -> Statement:
    return _index(
        catalog,
        StatementKind.DROP_INDEX,
        index.name,
        (f"DROP INDEX CONCURRENTLY IF EXISTS {index.name.sql}",),
        _REMOVING,
        {"index": "valid" if index.valid else "invalid"},
        {"index": None},
    )


def _index(
    catalog: Catalog,
    kind: StatementKind,
    name: Name,
    lines: tuple[str, ...],
    lock: TableLock,
    before: Mapping[str, JSONValue],
    after: Mapping[str, JSONValue],
) -> Statement:
    subject = catalog.column(catalog.sid)
    return Statement(
        kind=kind,
        subject=subject,
        target=name,
        lines=lines,
        lock=lock,
        before=before,
        after=after,
        finding=f"schema-sid-not-unique:{subject}",
    )


def _free_name(catalog: Catalog) -> Name:
    """
    A name for a new index that nothing else has. What is dropped before frees its own.
    """
    taken = catalog.taken - {index.name.raw for index in catalog.sids if not index.valid}
    base = f"{_cut(catalog.table.raw, 26)}_{_cut(catalog.sid.raw, 26)}_unique"
    return next(Name(name, _quoted(name)) for name in _numbered(base) if name not in taken)


def _numbered(base: str) -> Iterator[str]:
    yield base
    number = 2
    while True:
        yield f"{base}_{number}"
        number += 1


def _cut(name: str, length: int) -> str:
    return name.encode()[:length].decode(errors="ignore")


_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")


def _quoted(name: str) -> str:
    # NOTE: none of the names made here is a word of SQL.
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
