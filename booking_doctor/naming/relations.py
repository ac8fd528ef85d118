"""
Tables and columns as the catalog has them, and how their names are shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec import Struct

from booking_doctor.naming.spelling import spelling


class Column(Struct, frozen=True, kw_only=True):
    """
    A column as the catalog has it.

    Attributes:
        kind: ``text``, ``number``, ``time`` (a date with its time), ``json``, ``uuid``, ``enum`` or ``other``.
        unique, primary: By an index on it alone.
        target: The relation that a foreign key on it alone points at.
    """

    name: str
    kind: str
    not_null: bool = False
    unique: bool = False
    primary: bool = False
    target: int | None = None


@dataclass(frozen=True, kw_only=True)
class Relation:
    """
    A table or view as the catalog has it.

    Attributes:
        oid: Its identifier in the catalog.
        table: A table, so that rows can be written to it.
        default: It is what its bare name means to the doctor as long as no schema is set.
        filled: It is known to have rows.
        readable: The role that asked may read it.
    """

    oid: int
    schema: str
    name: str
    table: bool = True
    default: bool = False
    filled: bool = False
    readable: bool = True
    columns: Sequence[Column] = ()

    @cached_property
    def spellings(self) -> frozenset[str]:
        """
        How its columns are spelled.
        """
        return frozenset(spelling(column.name) for column in self.columns)

    @property
    def path(self) -> str:
        """
        Schema and name, for people.
        """
        return f"{shown(self.schema)}.{shown(self.name)}"


def shown(name: str) -> str:
    """
    A name as a TOML string on one line, whatever is in it; also for people, in a comment or a report.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in json.dumps(name, ensure_ascii=False))


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
