"""
Which table is which: by its name, its columns, and what points at it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct

from booking_doctor.naming.columns import Match, columns_of
from booking_doctor.naming.relations import Relation
from booking_doctor.naming.spelling import kinship, vocabulary
from booking_doctor.settings import COLUMNS, NEEDED, REFERENCES


class Candidate(Struct, frozen=True):
    """
    A relation that may be one of the doctor's tables.

    Attributes:
        kinship: How close its name is, see `kinship`; a foreign key that points at it is closer than any name.
    """

    relation: Relation
    columns: Mapping[str, str]
    whole: bool
    kinship: int
    share: float

    @property
    def rank(self) -> tuple[bool, int]:
        """
        What decides between two.
        """
        return self.whole, self.kinship


_ORDER: Final = ("messages", "pending_bookings", "customers", *(t for t in COLUMNS if t not in NEEDED))
"""First those that are easily told; what they point at helps with the others."""


def find_tables(relations: Sequence[Relation], everywhere: Sequence[Relation] = ()) -> dict[str, Match]:
    """
    The tables that are certain among these relations; of one that none of them may be, *everywhere* is looked at.
    """
    found: dict[str, Match] = {}
    for table in _ORDER:
        candidates = candidates_for(table, relations, found) or candidates_elsewhere(table, everywhere, found)
        if _certain(candidates):
            found[table] = Match(relation=candidates[0].relation, columns=candidates[0].columns)
    # NOTE: a column is known by the table it points at, which may have been found after it.
    return {
        table: Match(relation=found[table].relation, columns=columns_of(found[table].relation, table, found))
        for table in COLUMNS
        if table in found
    }


def candidates_for(table: str, relations: Sequence[Relation], found: Mapping[str, Match]) -> list[Candidate]:
    """
    Best first.
    """
    taken = {match.relation.oid for match in found.values()}
    pointed = _pointed_at(table, found)
    candidates = [
        candidate_for(table, relation, found, pointed)
        for relation in relations
        if relation.oid not in taken and _may_be(table, relation)
    ]
    likely = [candidate for candidate in candidates if _likely(table, candidate)]
    likely = likely or [candidate for candidate in candidates if candidate.relation.name == table]
    return sorted(likely, key=lambda candidate: (*candidate.rank, candidate.share), reverse=True)


def candidates_elsewhere(table: str, relations: Sequence[Relation], found: Mapping[str, Match]) -> list[Candidate]:
    """
    Best first, and only those that have both the columns and something of the name: a schema may be anybody's.
    """
    return [one for one in candidates_for(table, relations, found) if one.whole and one.kinship]


def _may_be(table: str, relation: Relation) -> bool:
    if relation.name == table:
        return True
    return relation.table and relation.name not in COLUMNS and len(relation.spellings & vocabulary(table)) > 1


def candidate_for(table: str, relation: Relation, found: Mapping[str, Match], pointed: Collection[int]) -> Candidate:
    """
    The relation, seen as that table.
    """
    columns = columns_of(relation, table, found)
    return Candidate(
        relation=relation,
        columns=columns,
        whole=set(NEEDED.get(table, COLUMNS[table])) <= set(columns),
        kinship=_POINTED_AT if relation.oid in pointed else kinship(table, relation.name),
        share=len(columns) / len(COLUMNS[table]),
    )


_POINTED_AT: Final = 4


def _pointed_at(table: str, found: Mapping[str, Match]) -> set[int]:
    targets = {
        column.target
        for (owner, name), target in REFERENCES.items()
        if target == table and owner in found
        for column in found[owner].relation.columns
        if column.name == found[owner].columns.get(name)
    }
    return {target for target in targets if target is not None}


def _likely(table: str, candidate: Candidate) -> bool:
    if candidate.kinship:
        return candidate.whole or candidate.share >= 0.5
    return candidate.whole or (candidate.share >= 0.5 and table in NEEDED)


_NO_ACCIDENT: Final = 9
"""A table with so many of the columns is the one, whatever it is called."""


def _certain(candidates: Sequence[Candidate]) -> bool:
    """
    Whether the first is it: no other is as good or has a better name, and a strange name has many of the columns.
    """
    if not candidates:
        return False
    best, *others = candidates
    rivals = [other for other in others if other.rank == best.rank or other.kinship > best.kinship]
    return not rivals and (best.kinship > 0 or (best.whole and len(best.columns) >= _NO_ACCIDENT))
