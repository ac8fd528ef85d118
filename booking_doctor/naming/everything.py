"""
The schema that the application lives in, and everything found there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from booking_doctor.naming.columns import Match
from booking_doctor.naming.doubts import Doubt, doubts_of, doubts_of_schemas
from booking_doctor.naming.relations import Relation
from booking_doctor.naming.tables import find_tables
from booking_doctor.settings import COLUMNS, NEEDED


class Naming(Struct, frozen=True, kw_only=True):
    """
    What this database calls the application's tables and columns.

    Attributes:
        schema: The schema that must be set; None where the names lead there without.
        sure: False where the schema is only one of several that would do: then no name is certain.
    """

    schema: str | None
    sure: bool
    matches: Mapping[str, Match]
    doubts: Sequence[Doubt]

    @property
    def open(self) -> list[str]:
        """
        What no comparison can do without, and is not certain.
        """
        if not self.sure:
            return list(NEEDED)
        return [
            name
            for table, columns in NEEDED.items()
            for name in (
                [f"{table}.{column}" for column in self._lacking(table, columns)] if table in self.matches else [table]
            )
        ]

    @property
    def closed(self) -> list[str]:
        """
        What no comparison can do without, and may not be read.
        """
        return [table for table in NEEDED if table in self.matches and not self.matches[table].relation.readable]

    def _lacking(self, table: str, columns: Iterable[str]) -> list[str]:
        return [column for column in columns if column not in self.matches[table].columns]

    def apart(self, table: str) -> bool:
        """
        Whether the table lies where neither the schema nor its name alone leads.
        """
        relation = self.matches[table].relation
        return not relation.default if self.schema is None else relation.schema != self.schema

    @property
    def renamed(self) -> dict[str, str]:
        """
        Tables and columns that are called otherwise, by the doctor's names; a table that lies apart with its schema.
        """
        called = {
            table: match.relation.path if self.apart(table) else match.relation.name
            for table, match in self.matches.items()
            if self.apart(table) or match.relation.name != table
        }
        return called | {
            f"{table}.{column}": name
            for table, match in self.matches.items()
            for column, name in match.columns.items()
            if column != name
        }


def name_everything(relations: Sequence[Relation]) -> Naming:
    """
    Find the application's tables and columns among all that there are.

    The tables that bare names lead to are taken unless a schema has more of what is needed.
    """
    default = find_tables([relation for relation in relations if relation.default])
    places = {
        schema: find_tables([relation for relation in relations if relation.schema == schema])
        for schema in sorted({relation.schema for relation in relations})
    }
    best = max(map(_worth, places.values()), default=0)
    if _worth(default) >= best:
        return _naming(None, relations)
    rivals = [schema for schema, matches in places.items() if _worth(matches) == best]
    chosen, *others = [schema for schema in rivals if _in_use(places[schema])] or rivals
    return _naming(chosen, relations, others)


def _worth(matches: Mapping[str, Match]) -> int:
    """
    How much of what is needed is there: whole tables count more than any number of columns.
    """
    found = {table: set(columns) & set(matches[table].columns) for table, columns in NEEDED.items() if table in matches}
    whole = sum(len(found[table]) == len(NEEDED[table]) for table in found)
    return 100 * whole + sum(map(len, found.values()))


def _in_use(matches: Mapping[str, Match]) -> bool:
    return any(match.relation.filled for match in matches.values())


def _naming(schema: str | None, relations: Sequence[Relation], rivals: Sequence[str] = ()) -> Naming:
    here = [r for r in relations if (r.default if schema is None else r.schema == schema)]
    matches = find_tables(here, relations)
    doubts = [
        *doubts_of_schemas(schema, rivals),
        *(doubt for table in COLUMNS for doubt in doubts_of(table, matches, here, relations)),
    ]
    return Naming(schema=schema, sure=not rivals, matches=matches, doubts=doubts)
