"""
What was found, as the file that every command reads.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.naming.doubts import Doubt
from booking_doctor.naming.everything import Naming
from booking_doctor.naming.relations import shown
from booking_doctor.settings import COLUMNS

_INTRODUCTION: Final = """\
# What this database calls the application's tables and columns, as `booking-doctor init` found it.
# A name that is not mentioned is the doctor's own. What begins with # is not certain, the reason stands above it:
# take the # away where it is right.
"""


def settings_file(naming: Naming) -> str:
    """
    ``booking-doctor.toml``: what is certain and called otherwise; what is not, as comments.
    """
    sections = [_schema_lines(naming), *(_table_lines(naming, table) for table in COLUMNS)]
    return "\n".join([_INTRODUCTION, *("\n".join(lines) + "\n" for lines in sections if lines)])


def _schema_lines(naming: Naming) -> list[str]:
    if naming.sure:
        return [] if naming.schema is None else [f"schema = {shown(naming.schema)}"]
    return [line for doubt in naming.doubts if doubt.table is None for line in _doubtful("schema", doubt)]


def _table_lines(naming: Naming, table: str) -> list[str]:
    match = naming.matches.get(table)
    doubts = [doubt for doubt in naming.doubts if doubt.table == table]
    name = [f"schema = {shown(match.relation.schema)}"] if match and naming.apart(table) else []
    name += [f"name = {shown(match.relation.name)}"] if match and match.relation.name != table else []
    name += [line for doubt in doubts if not doubt.column for line in _doubtful("name", doubt)]
    columns = [f"{own} = {shown(here)}" for own, here in (match.columns if match else {}).items() if own != here]
    columns += [line for doubt in doubts if doubt.column for line in _doubtful(doubt.column, doubt)]
    lines = [f"[tables.{table}]", *name] if name else []
    lines += [f"[tables.{table}.columns]", *columns] if columns else []
    # NOTE: a heading says nothing by itself; one that has to be uncommented too would be forgotten.
    return lines if naming.sure and match else [line if line.startswith(("#", "[")) else f"# {line}" for line in lines]


def _doubtful(key: str, doubt: Doubt) -> list[str]:
    why = f"# {key}: {doubt.why}" if doubt.perhaps or doubt.column else f"# {doubt.why}"
    return [why, *(f"# {key} = {shown(name)}" for name in doubt.perhaps)]
