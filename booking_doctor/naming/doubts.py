"""
What the catalog leaves open, and a person has to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

from msgspec import Struct

from booking_doctor.naming.columns import UNIQUE, Match, suitable
from booking_doctor.naming.relations import Column, Relation, shown
from booking_doctor.naming.spelling import bare, column_spellings, spelling
from booking_doctor.naming.tables import Candidate, candidate_for, candidates_elsewhere, candidates_for
from booking_doctor.settings import COLUMNS, NEEDED


class Doubt(Struct, frozen=True, kw_only=True):
    """
    What a person has to decide.

    Attributes:
        table, column: By the doctor's names; no table where it is about the schema, no column where about the table.
        perhaps: What it may be called here.
    """

    table: str | None
    column: str | None = None
    perhaps: tuple[str, ...] = ()
    why: str

    @property
    def subject(self) -> str:
        """
        What it is about.
        """
        return ".".join(name for name in (self.table or "schema", self.column) if name)


def doubts_of_schemas(schema: str | None, rivals: Sequence[str]) -> Iterator[Doubt]:
    """
    Whether it is this schema, where others would do alike.
    """
    if schema is not None and rivals:
        others = " and ".join(map(shown, rivals))
        yield Doubt(
            table=None, perhaps=(schema, *rivals), why=f"the schemas {shown(schema)} and {others} would do alike"
        )


def doubts_of(
    table: str, matches: Mapping[str, Match], here: Sequence[Relation], all_: Sequence[Relation]
) -> Iterator[Doubt]:
    """
    What is open about one of the doctor's tables.
    """
    if table not in matches:
        yield from _doubt_of_table(table, matches, here, all_)
        return
    relation = matches[table].relation
    if not relation.readable:
        yield Doubt(table=table, why=f"{relation.path} may not be read by this role; grant it its schema and SELECT")
    if not relation.table:
        yield Doubt(table=table, why=f"{relation.path} is no table but a view: it can be compared, and not repaired")
    if table in NEEDED:
        yield from _doubts_of_twins(table, relation, all_)
    yield from _doubts_of_columns(table, matches)


def _doubts_of_twins(table: str, relation: Relation, relations: Sequence[Relation]) -> Iterator[Doubt]:
    """
    Tables of the same name elsewhere that would do as well.
    """
    for twin in relations:
        if twin.name == relation.name and twin.oid != relation.oid and candidate_for(table, twin, {}, ()).whole:
            rows = "has rows" if twin.filled else "has no rows that are known of"
            own = "" if relation.filled else f", and {relation.path} has none that are known of"
            yield Doubt(table=table, why=f"another table of this name is {twin.path}; it {rows}{own}")


def _doubt_of_table(
    table: str, matches: Mapping[str, Match], here: Sequence[Relation], relations: Sequence[Relation]
) -> Iterator[Doubt]:
    candidates = candidates_for(table, here, matches)
    elsewhere = [candidate.relation.path for candidate in candidates_elsewhere(table, relations, matches)]
    if candidates:
        names = tuple(candidate.relation.name for candidate in candidates)
        why = f"{_listed(names)} could each be it" if len(names) > 1 else _stranger(table, candidates[0])
        yield Doubt(table=table, perhaps=names, why=why)
    elif elsewhere:
        yield Doubt(table=table, why=f"{', '.join(elsewhere)} could each be it; set schema and name of the one that is")
    elif table in NEEDED:
        yield Doubt(table=table, why="no table looks like it")


def _stranger(table: str, candidate: Candidate) -> str:
    return f"it has {len(candidate.columns)} of the {len(COLUMNS[table])} columns, but is called otherwise"


_FEW: Final = 3
"""So many columns are worth a line each, for a person to choose from."""


def _doubts_of_columns(table: str, matches: Mapping[str, Match]) -> Iterator[Doubt]:
    match = matches[table]
    free = [column for column in match.relation.columns if column.name not in match.columns.values()]
    for name in COLUMNS[table]:
        if name in match.columns:
            continue
        alike = [column for column in suitable(table, name, free, matches) if _alike(table, name, column.name)]
        left = [column.name for column in suitable(table, name, free, matches)]
        if alike:
            yield Doubt(table=table, column=name, perhaps=tuple(c.name for c in alike), why=_why(name, alike))
        elif name in NEEDED.get(table, ()):
            others = f"; of its type there are {_listed(left)}" if left else "; no other column has its type"
            perhaps = tuple(left) if len(left) <= _FEW else ()
            yield Doubt(table=table, column=name, perhaps=perhaps, why=f"no column looks like it{others}")


def _alike(table: str, name: str, other: str) -> bool:
    known = column_spellings(table, name)
    return any(here in known or _resembles(here, spelling(name)) for here in bare(table, other))


def _resembles(here: str, own: str) -> bool:
    ours, theirs = set(own.split("_")), set(here.split("_"))
    return len(ours & theirs) * 2 >= len(ours | theirs) or SequenceMatcher(None, own, here).ratio() >= 0.8


def _why(name: str, alike: Sequence[Column]) -> str:
    if len(alike) > 1:
        quality = "unique" if name in UNIQUE else "NOT NULL"
        return f"{_listed([column.name for column in alike])} could each be it, and not exactly one is {quality}"
    return "it has the type, and only a similar name"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names))
