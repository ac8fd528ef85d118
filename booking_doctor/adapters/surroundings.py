"""
What a write meets in the database: triggers, rules, privileges, required columns, references from other tables.

It is read from the catalog and not guessed: what cannot be shown to be harmless counts as if it were not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, text

from booking_doctor.adapters.postgres import Database
from booking_doctor.checks.keys import ENSURES_UNIQUE
from booking_doctor.repair.executor import Events, Trigger
from booking_doctor.repair.steps import CHANGED_COLUMNS, Step


class Reference(Struct, frozen=True, kw_only=True):
    """
    A foreign key that points at one of the application's tables.

    Attributes:
        source: The table that refers, as SQL.
        pairs: Its columns with those they point at, as SQL.
    """

    source: str
    pairs: tuple[tuple[str, str], ...]


class Surroundings:
    """
    What writes to one database meet there.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def triggers(self, events: Events) -> list[Trigger]:
        """
        Triggers and rules that the writes set off, and those that stamp a row at any update: undo cannot compare that.

        Disabled ones, those for replicas and constraints' own are not meant, nor those for columns no repair changes.
        """
        with self._database.reading() as connection:
            return [
                trigger
                for table, kinds in sorted(events.items())
                for trigger in self._triggers(connection, table)
                if trigger.event in kinds or (trigger.event == "update" and trigger.harmless)
            ]

    def _triggers(self, connection: Connection, table: str) -> Iterator[Trigger]:
        for row in connection.execute(_TRIGGERS, self._named(table)):
            for event, bit in _EVENT_BITS.items():
                if row.type & bit and not (event == "update" and self._elsewhere(table, row.columns)):
                    stamps = () if event == "delete" else self._stamps(table, row)
                    yield Trigger(name=row.name, table=table, event=event, stamps=stamps)
        for name, event in self._rules(connection, table):
            yield Trigger(name=f"rule {name}", table=table, event=event)

    def others_write(self, connection: Connection, table: str) -> bool:
        """
        Whether anything may change a row of the table once it is inserted, in the transaction that did so.

        Asked after the insert, because from then on nobody else can make such a trigger (PostgreSQL: "Explicit Locking").
        """
        return bool(connection.execute(_OTHERS_WRITE, {"table": self._name(table)}).scalar_one())

    def _elsewhere(self, table: str, columns: Sequence[str]) -> bool:
        """
        Whether an ``UPDATE OF`` trigger is for other columns than those a repair changes.
        """
        changed = {self._database.tables[table].c[name].name for name in CHANGED_COLUMNS[table]}
        return bool(columns) and changed.isdisjoint(columns)

    def _stamps(self, table: str, trigger: Any) -> tuple[str, ...]:  # noqa: ANN401  a row of _TRIGGERS
        columns, stamps = self._database.columns(table), stamped(trigger)
        times = all(name in columns and columns[name].type.startswith(("time", "date")) for name in stamps)
        return stamps if times else ()

    def _rules(self, connection: Connection, table: str) -> list[tuple[str, str]]:
        rules = connection.execute(_RULES, self._named(table))
        return [(row.name, _RULE_EVENTS[row.event]) for row in rules if row.event in _RULE_EVENTS]

    def stamped_columns(self, table: str) -> frozenset[str]:
        """
        Columns that a trigger sets to the current time whenever a row is updated, by their names in the database.
        """
        triggers = self.triggers({table: frozenset({"update"})})
        return frozenset(column for trigger in triggers if trigger.event == "update" for column in trigger.stamps)

    def obstacle(self, steps: Sequence[Step], events: Events) -> str | None:
        """
        Why the steps cannot be written here at all, or None.
        """
        if not self._database.takes_writes():
            return "the database takes no writes: it is a replica or read-only"
        with self._database.reading() as connection:
            return (
                next((why for table in events if (why := self._unwritable(connection, table, events[table]))), None)
                or self._unfilled(steps)
                or self._missing_privilege(connection, steps)
            )

    def _unwritable(self, connection: Connection, table: str, kinds: Iterable[str]) -> str | None:
        name = self._name(table)
        if connection.execute(_KIND, {"table": name}).scalar_one_or_none() not in {"r", "p"}:
            return f"{name} is no table but a view or a foreign table; map the table behind it in booking-doctor.toml"
        rules = [f"{rule} on {event}" for rule, event in self._rules(connection, table) if event in kinds]
        if rules:
            return f"{name} has the rule {rules[0]}, and what a rule makes of a row no journal has; make it a trigger"
        return None

    def _unfilled(self, steps: Iterable[Step]) -> str | None:
        """
        A required column of `messages` that inserts do not fill.
        """
        columns = self._database.tables["messages"].c
        inserted = next((step.after or {} for step in steps if step.before is None), None)
        if inserted is None:
            return None
        filled = {columns[name].name for name in inserted}
        facts = self._database.columns("messages")
        empty = [name for name, fact in facts.items() if fact.required and name not in filled]
        return f"messages.{empty[0]} may not be null, has no default, and Twilio does not know it" if empty else None

    def _missing_privilege(self, connection: Connection, steps: Iterable[Step]) -> str | None:
        for (table, privilege), columns in self._privileges(steps).items():
            parameters = {**self._named(table), "columns": sorted(columns), "privilege": privilege}
            denied = connection.execute(_DENIED, parameters).scalars().first()
            if denied is not None:
                return f"the role may not {privilege} the column {denied} of {self._name(table)}"
        return None

    def _privileges(self, steps: Iterable[Step]) -> dict[tuple[str, str], set[str]]:
        """
        The columns, by table and privilege: what the steps write, and the whole row for the journal.
        """
        needed: dict[tuple[str, str], set[str]] = {}
        for step in steps:
            columns = self._database.tables[step.table].c
            needed.setdefault((step.table, "SELECT"), set(self._database.columns(step.table)))
            privilege = "INSERT" if step.before is None else "UPDATE"
            needed.setdefault((step.table, privilege), set()).update(columns[name].name for name in step.after or ())
        return needed

    def sid_is_unique(self) -> bool:
        """
        Whether a valid unique index on `message_sid` alone leaves out nothing but rows without SID.
        """
        column = self._database.tables["messages"].c.message_sid.name
        with self._database.reading() as connection:
            return bool(connection.execute(_UNIQUE, {**self._named("messages"), "column": column}).scalar_one())

    def references(self, connection: Connection, table: str) -> list[Reference]:
        """
        Foreign keys that point at *table*, whatever they do when a row goes.
        """
        rows = connection.execute(_REFERENCES, self._named(table))
        return [Reference(source=row.source, pairs=tuple(zip(row.ours, row.theirs, strict=True))) for row in rows]

    def _named(self, table: str) -> dict[str, str]:
        return {"table": self._name(table)}

    def _name(self, table: str) -> str:
        return self._database.quoted(self._database.tables[table])


# --- the catalog -----------------------------------------------------------------------------------------------------

_EVENT_BITS: Final = {"delete": 8, "insert": 4, "update": 16}
_RULE_EVENTS: Final[Mapping[str, str]] = {"2": "update", "3": "insert", "4": "delete"}

_TRIGGERS: Final = text(
    "SELECT t.tgname AS name, t.tgtype::int AS type, p.proname AS function, p.prosrc AS source, l.lanname AS language,"
    " encode(t.tgargs, 'escape') AS arguments, ARRAY(SELECT a.attname::text FROM pg_attribute a"
    " WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr)) AS columns"
    " FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang"
    # NOTE: a trigger of a partitioned table is copied to each partition; a partition may have others of its own.
    " WHERE t.tgparentid = 0 AND t.tgrelid IN"
    " (SELECT to_regclass(:table) UNION SELECT relid FROM pg_partition_tree(to_regclass(:table)))"
    " AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY t.tgname"
)
_OTHERS_WRITE: Final = text(
    # NOTE: a partition may have triggers of its own; they need not be looked for to be feared.
    "SELECT relkind <> 'r' OR relhasrules OR EXISTS"
    " (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)"
    " FROM pg_class c WHERE c.oid = to_regclass(:table)"
)
_RULES: Final = text(
    "SELECT rulename AS name, ev_type AS event FROM pg_rewrite WHERE ev_class = to_regclass(:table)"
    " AND ev_enabled IN ('O', 'A') ORDER BY rulename"
)
_KIND: Final = text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:table)")
_DENIED: Final = text(
    "SELECT name FROM unnest(CAST(:columns AS text[])) AS name"
    " WHERE NOT has_column_privilege(to_regclass(:table), name, :privilege)"
)
_UNIQUE: Final = text(
    f"SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON i.indisvalid AND {ENSURES_UNIQUE}"  # noqa: S608  ours
    " WHERE i.indrelid = to_regclass(:table) AND a.attname = :column)"
)
_REFERENCES: Final = text(
    "SELECT c.conrelid::regclass::text AS source,"
    " ARRAY(SELECT quote_ident(a.attname) FROM unnest(c.conkey) WITH ORDINALITY k(number, place)"
    " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place) AS ours,"
    " ARRAY(SELECT quote_ident(a.attname) FROM unnest(c.confkey) WITH ORDINALITY k(number, place)"
    " JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY k.place) AS theirs"
    " FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = to_regclass(:table)"
    " ORDER BY 1, c.conname"
)


# --- what a trigger does ---------------------------------------------------------------------------------------------

_NOW: Final = (
    r"(?:pg_catalog\.)?(?:now\(\)|(?:clock|statement|transaction)_timestamp\(\)|current_timestamp|localtimestamp"
    r"|timezone\('utc'(?:::text)?,now\(\)\)|now\(\)attimezone'utc')"
)
_STAMP: Final = re.compile(rf"begin((?:new\.\w+:?={_NOW};)+)returnnew;end;?", re.IGNORECASE)
_STAMPED: Final = re.compile(r"new\.(\w+):?=", re.IGNORECASE)


def stamped(trigger: Any) -> tuple[str, ...]:  # noqa: ANN401  a row of _TRIGGERS
    """
    The columns that a trigger sets to the current time, if its source shows that it does nothing else.
    """
    if trigger.language == "c" and trigger.function == "moddatetime":
        return (trigger.arguments.split("\\000")[0],)
    # NOTE: comments would hide a statement from the pattern or make one up, so a source with any is not believed.
    if trigger.language != "plpgsql" or "--" in trigger.source or "/*" in trigger.source:
        return ()
    match = _STAMP.fullmatch(re.sub(r"\s+", "", trigger.source))
    return tuple(name.lower() for name in _STAMPED.findall(match[1])) if match else ()
