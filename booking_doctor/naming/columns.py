"""
Which column of a table is which: by the doctor's own name, by what it points at, by how it is spelled and of what type it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from booking_doctor.naming.relations import Column, Relation
from booking_doctor.naming.spelling import ENTITIES, bare, column_spellings, spelling
from booking_doctor.settings import COLUMNS, REFERENCES


class Match(Struct, frozen=True, kw_only=True):
    """
    One of the doctor's tables, found.

    Attributes:
        columns: What its columns are called here, by the doctor's names.
    """

    relation: Relation
    columns: Mapping[str, str]


_KINDS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("metadata", "payload", "details"), frozenset({"json", "text"})),
    **dict.fromkeys(("segments", "attempts", "capacity", "cost_usd"), frozenset({"number"})),
    **dict.fromkeys(("status", "direction", "twilio_status", "message_type", "type"), frozenset({"text", "enum"})),
}
"""The kinds of type that a column may have; others go by the ending of their name."""


def _fits(name: str, column: Column) -> bool:
    if name in _KINDS:
        return column.kind in _KINDS[name]
    if name.endswith("_at"):
        return column.kind == "time"
    return column.kind in {"uuid", "number", "text"} if name == "id" or name.endswith("_id") else column.kind == "text"


def columns_of(relation: Relation, table: str, found: Mapping[str, Match]) -> dict[str, str]:
    """
    What is certain: the doctor's own names first, then what a column points at, then how it is spelled.
    """
    called = {name: name for name in COLUMNS[table] if any(column.name == name for column in relation.columns)}
    for hopefuls in (_by_structure, _by_own_spelling, _by_other_spelling):
        for name in COLUMNS[table]:
            free = [column for column in relation.columns if column.name not in called.values()]
            if name not in called and (only := _only(name, hopefuls(table, name, free, found))):
                called[name] = only[0].name
    return _with_sid_first(called)


def _only(name: str, columns: Sequence[Column]) -> Sequence[Column]:
    """
    The one there is, or of several the one that is unique, or NOT NULL, as the doctor's is; else none.
    """
    if len(columns) > 1:
        columns = [column for column in columns if (column.unique if name in UNIQUE else column.not_null)]
    return columns if len(columns) == 1 else []


UNIQUE: Final = frozenset({"token", "message_sid", "twilio_message_sid"})


def _with_sid_first(called: dict[str, str]) -> dict[str, str]:
    # NOTE: the one SID column of a table is the first to the doctor. Two may not share a name, so they change theirs.
    if "message_sid" not in called and called.get("twilio_message_sid") == "twilio_message_sid":
        return called | {"message_sid": "twilio_message_sid", "twilio_message_sid": "message_sid"}
    return called


def _by_structure(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    """
    The primary key; or the only column that points where it should.
    """
    if name == "id":
        return [column for column in free if column.primary and _fits(name, column)]
    if (table, name) not in REFERENCES:
        return []
    target = found.get(REFERENCES[table, name])
    pointing = [column for column in free if _points(column, target, table)]
    return pointing if len(pointing) == 1 else []


def _points(column: Column, target: Match | None, table: str) -> bool:
    if target:
        return column.target == target.relation.oid
    # NOTE: a message points at its customer, although that table is yet to be found, unless the name says otherwise.
    elsewhere = ENTITIES["pending_bookings"] | ENTITIES["events"]
    return table == "messages" and column.target is not None and elsewhere.isdisjoint(spelling(column.name).split("_"))


def _by_own_spelling(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    return [column for column in suitable(table, name, free, found) if spelling(column.name) == spelling(name)]


def _by_other_spelling(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    known = column_spellings(table, name)
    return [column for column in suitable(table, name, free, found) if bare(table, column.name) & known]


def suitable(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    """
    Those of a fitting type that do not point anywhere else.
    """
    target = found.get(REFERENCES.get((table, name), ""))
    return [
        column
        for column in free
        if _fits(name, column)
        and (column.target is None or (target.relation.oid == column.target if target else (table, name) in REFERENCES))
    ]
