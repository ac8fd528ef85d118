"""
Writes rows together with their journal, and takes them back: `booking_doctor.repair.executor.Ledger` on PostgreSQL.

Rows travel as JSON of texts and are cast to the columns' own types in the database, so no value passes through a driver's
idea of it. The journal keeps each row as ``row_to_json`` wrote it, in a ``json`` column, which keeps the very text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, text

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.tables import JOURNAL_SCHEMA
from booking_doctor.errors import DatabaseError, PlanRefused, RowConflict, UsageError
from booking_doctor.findings import PastRun
from booking_doctor.repair.executor import Entry, Events, Run, Trigger
from booking_doctor.repair.plan import Plan
from booking_doctor.repair.steps import Step, StepKind

_LOCK: Final = (0x626F6F6B, 0x64726472)
"""The two keys of the advisory lock: "book" and "drdr" in ASCII."""

_GONE: Final = "the row is gone"
_CHANGED: Final = "somebody changed it since"
_RECORDED: Final = "its SID has been recorded meanwhile"

_JOURNAL: Final = f"""
CREATE SCHEMA IF NOT EXISTS {JOURNAL_SCHEMA};
CREATE TABLE IF NOT EXISTS {JOURNAL_SCHEMA}.runs (
  id text PRIMARY KEY, command text NOT NULL, checksum text NOT NULL, started_at timestamptz NOT NULL,
  forgotten_at timestamptz
);
CREATE TABLE IF NOT EXISTS {JOURNAL_SCHEMA}.journal (
  run_id text NOT NULL REFERENCES {JOURNAL_SCHEMA}.runs, step integer NOT NULL, kind text NOT NULL,
  table_name text NOT NULL, row_id text NOT NULL, sid text NOT NULL, before json, after json, undone_at timestamptz,
  PRIMARY KEY (run_id, step)
);
CREATE INDEX IF NOT EXISTS runs_checksum ON {JOURNAL_SCHEMA}.runs (checksum);
REVOKE ALL ON SCHEMA {JOURNAL_SCHEMA} FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA {JOURNAL_SCHEMA} FROM PUBLIC;
"""


class _Unexpected(Exception):
    """
    Rows came back other than they were to be; the transaction must not be committed.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__("rows differ from their plan")
        self.reasons = reasons


class _Lock:
    """
    A held advisory lock. It lives in its transaction, so it dies with the process and works through a pooler.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        self._connection.exec_driver_sql("SELECT 1")


class DatabaseLedger:
    """
    The ledger of one database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stamps: dict[str, frozenset[str]] = {}

    # before writing

    @contextmanager
    def lock(self) -> Iterator[_Lock]:
        """
        `pg_try_advisory_xact_lock` on a connection of its own (PostgreSQL: "Advisory Locks").
        """
        with self._database.waiting() as connection:
            if not connection.execute(
                text("SELECT pg_try_advisory_xact_lock(:a, :b)"), dict(zip("ab", _LOCK, strict=True))
            ).scalar_one():
                message = "another repair is being written to this database; nothing was written by this one"
                raise PlanRefused(message, hint="wait until it has ended: booking-doctor runs")
            yield _Lock(connection)

    def triggers(self, events: Events) -> list[Trigger]:
        """
        Triggers and rules that the writes set off. Disabled ones, replica-only ones and constraints' own are not.
        """
        found = []
        with self._database.reading() as connection:
            for table, kinds in sorted(events.items()):
                parameters = {"table": self._database.quoted(self._database.tables[table])}
                for row in connection.execute(_TRIGGERS, parameters):
                    found += [
                        Trigger(name=row.name, table=table, event=event, stamps=_stamped(row))
                        for event in sorted(kinds)
                        if row.type & _EVENT_BITS[event]
                    ]
                for row in connection.execute(_RULES, parameters):
                    if (event := _RULE_EVENTS.get(row.event, "")) in kinds:
                        found.append(Trigger(name=f"rule {row.name}", table=table, event=event))
        return found

    def obstacle(self, plan: Plan) -> str | None:
        """
        Required columns that no step fills, a missing privilege, a server that takes no writes.
        """
        if not self._database.takes_writes():
            return "the database takes no writes: it is a replica or read-only"
        inserts = [step for step in plan.steps if step.kind is StepKind.INSERT_MESSAGE]
        filled = {self._database.tables["messages"].c[name].name for step in inserts[:1] for name in step.after or ()}
        empty = [
            name for name, facts in self._database.columns("messages").items() if facts.required and name not in filled
        ]
        if inserts and empty:
            return f"messages.{empty[0]} may not be null, has no default, and Twilio does not know it"
        return self._missing_privilege(events_privileges(plan.steps))

    def _missing_privilege(self, needed: Mapping[str, Iterable[str]]) -> str | None:
        question = text("SELECT has_table_privilege(to_regclass(:table), :privilege)")
        with self._database.reading() as connection:
            for table, privileges in needed.items():
                name = self._database.quoted(self._database.tables[table])
                for privilege in privileges:
                    if not connection.execute(question, {"table": name, "privilege": privilege}).scalar_one():
                        return f"the role may not {privilege} on {name}"
        return None

    def missing_unique_index(self) -> str | None:
        """
        The statement that would make a second row for one SID impossible; None where such an index is there.

        A valid unique index on `message_sid` alone counts, a partial one only where it leaves out nothing but nulls.
        """
        messages = self._database.tables["messages"]
        parameters = {"table": self._database.quoted(messages), "column": messages.c.message_sid.name}
        with self._database.reading() as connection:
            if connection.execute(_UNIQUE, parameters).scalar_one():
                return None
        return f"CREATE UNIQUE INDEX CONCURRENTLY ON {parameters['table']} ({_quoted(parameters['column'])})"

    # the journal

    def prepare(self) -> None:
        """
        Make the journal where it is not there, closed to PUBLIC.
        """
        with self._database.writing() as connection:
            if not self._exists(connection):
                connection.exec_driver_sql(_JOURNAL)

    def _exists(self, connection: Connection) -> bool:
        return (
            connection.execute(text(f"SELECT to_regclass('{JOURNAL_SCHEMA}.journal') IS NOT NULL")).scalar_one() is True
        )

    def done(self, checksum: str) -> frozenset[int]:
        """
        By position in the plan with that checksum.
        """
        question = text(
            f"SELECT j.step FROM {JOURNAL_SCHEMA}.journal j JOIN {JOURNAL_SCHEMA}.runs r ON r.id = j.run_id"
            " WHERE r.checksum = :checksum AND j.undone_at IS NULL"
        )
        with self._database.reading() as connection:
            if not self._exists(connection):
                return frozenset()
            return frozenset(connection.execute(question, {"checksum": checksum}).scalars())

    def runs(self) -> list[PastRun]:
        """
        Newest first; none where there is no journal.
        """
        question = text(
            "SELECT r.id, r.command, r.started_at, r.forgotten_at IS NOT NULL AS forgotten, count(j.step) AS applied,"
            f" count(j.undone_at) AS undone FROM {JOURNAL_SCHEMA}.runs r"
            f" LEFT JOIN {JOURNAL_SCHEMA}.journal j ON j.run_id = r.id GROUP BY r.id ORDER BY r.started_at DESC, r.id DESC"
        )
        with self._database.reading() as connection:
            if not self._exists(connection):
                return []
            return [
                PastRun(
                    id=row.id, command=row.command, started_at=row.started_at, applied=row.applied, undone=row.undone
                )
                for row in connection.execute(question)
            ]

    def entries(self, run_id: str) -> list[Entry]:
        """
        In the order they were written.
        """
        question = text(
            "SELECT step AS number, kind, table_name AS table, row_id, sid, before::text, after::text,"
            f" undone_at IS NOT NULL AS undone FROM {JOURNAL_SCHEMA}.journal WHERE run_id = :run ORDER BY step"
        )
        unknown = UsageError(f"there is no run {run_id!r}", hint="see all runs with: booking-doctor runs")
        with self._database.reading() as connection:
            if not self._exists(connection):
                raise unknown
            known = text(f"SELECT forgotten_at IS NOT NULL FROM {JOURNAL_SCHEMA}.runs WHERE id = :run")
            forgotten = connection.execute(known, {"run": run_id}).scalar_one_or_none()
            if forgotten is None:
                raise unknown
            if forgotten:
                message = f"run {run_id} was forgotten: its images are gone, so it cannot be undone"
                raise UsageError(message)
            return [Entry(**row) for row in connection.execute(question, {"run": run_id}).mappings()]

    def forget(self, run_id: str) -> int:
        """
        Drop the images; the run stays listed.
        """
        images = text(f"UPDATE {JOURNAL_SCHEMA}.journal SET before = NULL, after = NULL WHERE run_id = :run")
        mark = text(f"UPDATE {JOURNAL_SCHEMA}.runs SET forgotten_at = now() WHERE id = :run")
        self.entries(run_id)
        with self._database.writing() as connection:
            connection.execute(mark, {"run": run_id})
            return connection.execute(images, {"run": run_id}).rowcount

    # writing

    def write(self, run: Run, steps: Mapping[int, Step]) -> dict[int, str]:
        """
        One transaction; where a row is refused or comes back different, the others again without it.
        """
        reasons: dict[int, str] = {}
        while steps:
            try:
                with self._database.writing() as connection:
                    return reasons | self._write(connection, run, steps)
            except _Unexpected as unexpected:
                reasons |= unexpected.reasons
                steps = {number: step for number, step in steps.items() if number not in unexpected.reasons}
            except RowConflict as conflict:
                if len(steps) == 1:
                    return reasons | dict.fromkeys(steps, conflict.summary)
                one, other = _halves(steps)
                return reasons | self.write(run, one) | self.write(run, other)
        return reasons

    def _write(self, connection: Connection, run: Run, steps: Mapping[int, Step]) -> dict[int, str]:
        connection.execute(
            text(
                f"INSERT INTO {JOURNAL_SCHEMA}.runs (id, command, checksum, started_at)"
                " VALUES (:id, :command, :checksum, :started_at) ON CONFLICT (id) DO NOTHING"
            ),
            {"id": run.id, "command": run.command, "checksum": run.checksum, "started_at": run.started_at},
        )
        reasons: dict[int, str] = {}
        for group in _alike(steps):
            write = self._insert if next(iter(group.values())).before is None else self._update
            reasons |= write(connection, run, group)
        return reasons

    def _insert(self, connection: Connection, run: Run, steps: Mapping[int, Step]) -> dict[int, str]:
        """
        Rows and their journal in one statement, each only while its SID is absent.

        The second SID column is looked at too where it has an index; else a check of every batch would read the whole
        table, and the comparison has just looked.
        """
        messages = self._database.tables["messages"]
        names = list(next(iter(steps.values())).after or ())
        sid = _quoted(messages.c.message_sid.name)
        absent = [sid, *([second] if (second := self._second_sid_indexed(connection)) else [])]
        statement = f"""
            WITH planned AS (
              SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS p(n integer, sid text, {_texts(names)})
            ), written AS (
              INSERT INTO {self._database.quoted(messages)} AS m ({", ".join(self._names("messages", names))})
              SELECT {", ".join(self._values("messages", names))} FROM planned p
              WHERE {" AND ".join(f"NOT EXISTS (SELECT FROM {self._database.quoted(messages)} x WHERE x.{column} = p.sid)" for column in absent)}
              ORDER BY p.n
              RETURNING m.*
            ), noted AS (
              INSERT INTO {JOURNAL_SCHEMA}.journal (run_id, step, kind, table_name, row_id, sid, after)
              SELECT :run, p.n, :kind, 'messages', CAST(w.{_quoted(messages.c.id.name)} AS text), p.sid, row_to_json(w)
              FROM written w JOIN planned p ON p.sid = w.{sid}
            )
            SELECT p.n, {self._same("messages", names, "w")} AS same, (SELECT count(*) FROM written) AS written
            FROM written w JOIN planned p ON p.sid = w.{sid}
        """  # noqa: S608  names from the mapping, quoted; values are parameters
        rows = connection.execute(text(statement), self._parameters(run, steps)).all()
        self._expect([row.n for row in rows if not row.same], "a trigger or rule would store it differently")
        missing = [number for number in steps if number not in {row.n for row in rows}]
        if len(rows) != (rows[0].written if rows else 0):
            self._expect(missing, "a trigger or rule would store it under another SID")
        return {number: self._absent_reason(connection, steps[number]) for number in missing}

    def _absent_reason(self, connection: Connection, step: Step) -> str:
        messages = self._database.tables["messages"]
        columns = [messages.c.message_sid]
        if self._database.has("messages", "twilio_message_sid"):
            columns.append(messages.c.twilio_message_sid)
        recorded = any(
            connection.execute(messages.select().where(column == step.sid).limit(1)).first() for column in columns
        )
        return _RECORDED if recorded else "a trigger or rule keeps the row from being stored"

    def _update(self, connection: Connection, run: Run, steps: Mapping[int, Step]) -> dict[int, str]:
        """
        Lock the rows, leave those that moved, write the others with both images.
        """
        first = next(iter(steps.values()))
        rows = self._locked(
            connection, first.table, [step.row_id or "" for step in steps.values()], list(first.before or ())
        )
        reasons = {
            number: reason for number, step in steps.items() if (reason := _moved(step, rows.get(step.row_id or "")))
        }
        steps = {number: step for number, step in steps.items() if number not in reasons}
        if not steps:
            return reasons
        names, table = list(first.after or ()), self._database.tables[first.table]
        assignments = zip(self._names(first.table, names), self._values(first.table, names), strict=True)
        statement = f"""
            WITH planned AS (
              SELECT * FROM json_to_recordset(CAST(:rows AS json))
              AS p(n integer, sid text, row_id text, whole text, {_texts(names)})
            ), written AS (
              UPDATE {self._database.quoted(table)} AS w SET {", ".join(f"{name} = {value}" for name, value in assignments)}
              FROM planned p WHERE w.{_quoted(table.c.id.name)} = {self._cast(first.table, "id", "p.row_id")}
              RETURNING p.n, p.row_id, p.sid, p.whole, row_to_json(w) AS image, {self._same(first.table, names, "w")} AS same
            ), noted AS (
              INSERT INTO {JOURNAL_SCHEMA}.journal (run_id, step, kind, table_name, row_id, sid, before, after)
              SELECT :run, n, :kind, '{first.table}', row_id, sid, CAST(whole AS json), image FROM written
            )
            SELECT n, same FROM written
        """  # noqa: S608  names from the mapping, quoted; values are parameters
        whole = {number: rows[step.row_id or ""]["image"] for number, step in steps.items()}
        written = connection.execute(text(statement), self._parameters(run, steps, whole)).all()
        same = {row.n for row in written if row.same}
        self._expect([number for number in steps if number not in same], "a trigger or rule would store it differently")
        return reasons

    def _locked(self, connection: Connection, table: str, ids: Sequence[str], columns: Sequence[str]) -> dict[str, Any]:
        """
        The rows as they are, locked until the transaction ends: the whole image, and the touched columns as text.
        """
        target = self._database.tables[table]
        id_ = _quoted(target.c.id.name)
        touched = "".join(
            f", CAST(t.{_quoted(target.c[name].name)} AS text) AS {_quoted(f'c_{name}')}" for name in columns
        )
        statement = f"""
            SELECT CAST(t.{id_} AS text) AS row_id, CAST(row_to_json(t) AS text) AS image, {self._still_open(table)} AS open{touched}
            FROM {self._database.quoted(target)} t
            WHERE t.{id_} = ANY (CAST(:ids AS {self._type(table, "id")}[])) ORDER BY t.{id_} FOR UPDATE
        """  # noqa: S608  names from the mapping, quoted; values are parameters
        return {row["row_id"]: row for row in connection.execute(text(statement), {"ids": list(ids)}).mappings()}

    def _still_open(self, table: str) -> str:
        if table != "pending_bookings":
            return "true"
        bookings = self._database.tables[table].c
        pending = f"CAST(t.{_quoted(bookings.status.name)} AS text) = 'pending'"
        if not self._database.has(table, "expires_at"):
            return pending
        return f"{pending} AND coalesce(t.{_quoted(bookings.expires_at.name)} > now(), true)"

    @staticmethod
    def _expect(unexpected: Sequence[int], reason: str) -> None:
        if unexpected:
            raise _Unexpected(dict.fromkeys(unexpected, reason))

    @staticmethod
    def _parameters(run: Run, steps: Mapping[int, Step], whole: Mapping[int, str] | None = None) -> dict[str, Any]:
        rows = [
            {
                "n": number,
                "sid": step.sid,
                "row_id": step.row_id,
                "whole": (whole or {}).get(number),
                **{f"c_{name}": value for name, value in (step.after or {}).items()},
            }
            for number, step in steps.items()
        ]
        kind = str(next(iter(steps.values())).kind)
        return {"rows": msgspec.json.encode(rows).decode(), "run": run.id, "kind": kind}

    # taking back

    def changed_since(self, entries: Sequence[Entry]) -> dict[int, str]:
        """
        As things stand, without locks.
        """
        reasons: dict[int, str] = {}
        with self._database.reading() as connection:
            for table, group in _by_table(entries).items():
                images = self._images(connection, table, group, lock=False)
                reasons |= self._left(connection, table, group, images)
        return reasons

    def take_back(self, run_id: str, entries: Sequence[Entry]) -> dict[int, str]:
        """
        One transaction; where a row cannot be restored, the others again without it.
        """
        reasons: dict[int, str] = {}
        while entries:
            try:
                with self._database.writing() as connection:
                    return reasons | self._take_back(connection, run_id, entries)
            except _Unexpected as unexpected:
                reasons |= unexpected.reasons
                entries = [entry for entry in entries if entry.number not in unexpected.reasons]
            except RowConflict as conflict:
                if len(entries) == 1:
                    return reasons | {entries[0].number: conflict.summary}
                half = len(entries) // 2
                return reasons | self.take_back(run_id, entries[:half]) | self.take_back(run_id, entries[half:])
        return reasons

    def _take_back(self, connection: Connection, run_id: str, entries: Sequence[Entry]) -> dict[int, str]:
        reasons: dict[int, str] = {}
        for table, group in _by_table(entries).items():
            images = self._images(connection, table, group, lock=True)
            left = self._left(connection, table, group, images)
            reasons |= left
            standing = [entry for entry in group if entry.number not in left]
            inserted = [entry for entry in standing if entry.before is None]
            changed = [entry for entry in standing if entry.before is not None]
            if inserted:
                self._delete(connection, run_id, table, inserted)
            if changed:
                self._restore(connection, run_id, table, changed)
        return reasons

    def _images(self, connection: Connection, table: str, entries: Sequence[Entry], *, lock: bool) -> dict[str, str]:
        target = self._database.tables[table]
        id_ = _quoted(target.c.id.name)
        statement = f"""
            SELECT CAST(t.{id_} AS text), CAST(row_to_json(t) AS text) FROM {self._database.quoted(target)} t
            WHERE t.{id_} = ANY (CAST(:ids AS {self._type(table, "id")}[])) ORDER BY t.{id_} {"FOR UPDATE" if lock else ""}
        """  # noqa: S608  names from the mapping, quoted; values are parameters
        rows = connection.execute(text(statement), {"ids": [entry.row_id for entry in entries]})
        return {row_id: image for row_id, image in rows}

    def _left(
        self, connection: Connection, table: str, entries: Sequence[Entry], images: Mapping[str, str]
    ) -> dict[int, str]:
        stamps = self._stamped_columns(table)
        reasons = {}
        for entry in entries:
            image = images.get(entry.row_id)
            if image is None:
                reasons[entry.number] = _GONE
            elif _columns(image, stamps) != _columns(entry.after, stamps):
                reasons[entry.number] = _CHANGED
        inserted = [entry for entry in entries if entry.before is None and entry.number not in reasons]
        for source, row_ids in self._referenced(connection, table, [entry.row_id for entry in inserted]).items():
            reasons |= {entry.number: f"{source} refers to it now" for entry in inserted if entry.row_id in row_ids}
        return reasons

    def _referenced(self, connection: Connection, table: str, ids: Sequence[str]) -> dict[str, set[str]]:
        """
        Rows that others refer to: deleting them would be refused, or would take the others along.
        """
        found: dict[str, set[str]] = {}
        if not ids:
            return found
        for source, column in connection.execute(
            _REFERRING, {"table": self._database.quoted(self._database.tables[table])}
        ):
            statement = (
                f"SELECT DISTINCT CAST({column} AS text) FROM {source} WHERE CAST({column} AS text) = ANY (:ids)"  # noqa: S608  names from the catalog, quoted by it
            )
            found[source] = set(connection.execute(text(statement), {"ids": list(ids)}).scalars())
        return found

    def _delete(self, connection: Connection, run_id: str, table: str, entries: Sequence[Entry]) -> None:
        target = self._database.tables[table]
        id_ = _quoted(target.c.id.name)
        statement = f"""
            WITH gone AS (
              DELETE FROM {self._database.quoted(target)} t
              WHERE t.{id_} = ANY (CAST(:ids AS {self._type(table, "id")}[])) RETURNING CAST(t.{id_} AS text) AS row_id
            )
            UPDATE {JOURNAL_SCHEMA}.journal j SET undone_at = now() FROM gone
            WHERE j.run_id = :run AND j.table_name = :table AND j.row_id = gone.row_id AND j.step = ANY (:steps)
            RETURNING j.step
        """  # noqa: S608  names from the mapping, quoted; values are parameters
        done = set(connection.execute(text(statement), self._named(run_id, table, entries)).scalars())
        self._expect([entry.number for entry in entries if entry.number not in done], "a trigger or rule keeps it")

    def _restore(self, connection: Connection, run_id: str, table: str, entries: Sequence[Entry]) -> None:
        """
        Every column back to its image, then look that the row is what it was.
        """
        target = self._database.tables[table]
        id_, stamps = _quoted(target.c.id.name), self._stamped_columns(table)
        for columns, group in self._touched(entries).items():
            assignments = ", ".join(
                f"{_quoted(name)} = (json_populate_record(NULL::{self._database.quoted(target)}, j.before)).{_quoted(name)}"
                for name in columns
            )
            statement = f"""
                WITH restored AS (
                  UPDATE {self._database.quoted(target)} t SET {assignments} FROM {JOURNAL_SCHEMA}.journal j
                  WHERE j.run_id = :run AND j.step = ANY (:steps) AND t.{id_} = CAST(j.row_id AS {self._type(table, "id")})
                  RETURNING j.step, CAST(row_to_json(t) AS text) AS image
                ), marked AS (
                  UPDATE {JOURNAL_SCHEMA}.journal j SET undone_at = now() FROM restored r
                  WHERE j.run_id = :run AND j.step = r.step
                )
                SELECT step, image FROM restored
            """  # noqa: S608  names from the mapping, quoted; values are parameters
            images = {
                step: image for step, image in connection.execute(text(statement), self._named(run_id, table, group))
            }
            different = [
                entry.number
                for entry in group
                if entry.number not in images
                or _columns(images[entry.number], stamps) != _columns(entry.before or "{}", stamps)
            ]
            self._expect(different, "a trigger or rule would restore it differently")

    def _touched(self, entries: Sequence[Entry]) -> dict[tuple[str, ...], list[Entry]]:
        """
        Entries by the columns that their step changed, other than by a trigger's time stamp.
        """
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            stamps = self._stamped_columns(entry.table)
            before, after = _columns(entry.before or "{}", stamps), _columns(entry.after, stamps)
            groups.setdefault(tuple(sorted(name for name in after if before.get(name) != after[name])), []).append(
                entry
            )
        return groups

    @staticmethod
    def _named(run_id: str, table: str, entries: Sequence[Entry]) -> dict[str, Any]:
        ids, steps = [entry.row_id for entry in entries], [entry.number for entry in entries]
        return {"run": run_id, "table": table, "ids": ids, "steps": steps}

    # names and types

    def _stamped_columns(self, table: str) -> frozenset[str]:
        if table not in self._stamps:
            triggers = self.triggers({table: frozenset({"insert", "update"})})
            self._stamps[table] = frozenset(column for trigger in triggers for column in trigger.stamps)
        return self._stamps[table]

    def _second_sid_indexed(self, connection: Connection) -> str | None:
        if not self._database.has("messages", "twilio_message_sid"):
            return None
        name = self._database.tables["messages"].c.twilio_message_sid.name
        parameters = {"table": self._database.quoted(self._database.tables["messages"]), "column": name}
        return _quoted(name) if connection.execute(_INDEXED, parameters).scalar_one() else None

    def _names(self, table: str, names: Sequence[str]) -> list[str]:
        return [_quoted(self._database.tables[table].c[name].name) for name in names]

    def _values(self, table: str, names: Sequence[str]) -> list[str]:
        return [self._cast(table, name, f"p.{_quoted(f'c_{name}')}") for name in names]

    def _cast(self, table: str, name: str, value: str) -> str:
        """
        The text as the column's type. Character types take it as it is: a cast would cut what is too long.
        """
        type_ = self._type(table, name)
        return value if type_.startswith(("text", "character")) else f"CAST({value} AS {type_})"

    def _type(self, table: str, name: str) -> str:
        return self._database.columns(table)[self._database.tables[table].c[name].name].type

    def _same(self, table: str, names: Sequence[str], row: str) -> str:
        """
        Whether the stored columns are what was planned, as the column's type sees it.
        """
        comparisons = []
        for name, value in zip(names, self._values(table, names), strict=True):
            stored = f"{row}.{_quoted(self._database.tables[table].c[name].name)}"
            if self._type(table, name) == "json":  # has no equality of its own
                stored, value = f"CAST({stored} AS jsonb)", f"CAST({value} AS jsonb)"  # noqa: PLW2901
            comparisons.append(f"{stored} IS NOT DISTINCT FROM {value}")
        return " AND ".join(comparisons)


def events_privileges(steps: Sequence[Step]) -> dict[str, set[str]]:
    """
    The privileges that writing the steps needs, by table.
    """
    needed: dict[str, set[str]] = {}
    for step in steps:
        needed.setdefault(step.table, {"SELECT"}).add("INSERT" if step.before is None else "UPDATE")
    return needed


# --- what the catalog knows of triggers ------------------------------------------------------------------------------

_EVENT_BITS: Final = {"insert": 4, "delete": 8, "update": 16}
_RULE_EVENTS: Final = {"2": "update", "3": "insert", "4": "delete"}

_TRIGGERS: Final = text(
    "SELECT t.tgname AS name, t.tgtype::int AS type, p.proname AS function, p.prosrc AS source, l.lanname AS language,"
    " encode(t.tgargs, 'escape') AS arguments"
    " FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang"
    " WHERE t.tgrelid = to_regclass(:table) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY t.tgname"
)
_RULES: Final = text(
    "SELECT rulename AS name, ev_type AS event FROM pg_rewrite WHERE ev_class = to_regclass(:table)"
    " AND ev_enabled IN ('O', 'A') AND rulename <> '_RETURN' ORDER BY rulename"
)
_UNIQUE: Final = text(
    "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = to_regclass(:table) AND a.attname = :column AND i.indisunique AND i.indisvalid"
    " AND i.indnkeyatts = 1 AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\w+ IS NOT NULL\\)$')"
)
_INDEXED: Final = text(
    "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = to_regclass(:table) AND a.attname = :column AND i.indisvalid AND i.indpred IS NULL"
)
_REFERRING: Final = text(
    "SELECT c.conrelid::regclass::text, quote_ident(a.attname) FROM pg_constraint c"
    " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
    " WHERE c.contype = 'f' AND c.confrelid = to_regclass(:table) AND cardinality(c.conkey) = 1 ORDER BY 1, 2"
)

_NOW: Final = (
    r"(?:now\(\)|current_timestamp|clock_timestamp\(\)|statement_timestamp\(\)|timezone\('utc'(?:::text)?,now\(\)\))"
)
_STAMP: Final = re.compile(rf"begin((?:new\.\w+:?={_NOW};)+)returnnew;end;?", re.IGNORECASE)
_STAMPED: Final = re.compile(r"new\.(\w+):?=", re.IGNORECASE)


def _stamped(trigger: Any) -> tuple[str, ...]:  # noqa: ANN401  a row of _TRIGGERS
    """
    The columns that a trigger sets to the current time, if its source shows that it does nothing else.
    """
    if trigger.language == "c" and trigger.function == "moddatetime":
        return (trigger.arguments.split("\\000")[0],)
    # NOTE: comments would hide a statement from the pattern or make one up, so a source with any is not believed.
    if trigger.language != "plpgsql" or "--" in trigger.source or "/*" in trigger.source:
        return ()
    match = _STAMP.fullmatch(re.sub(r"\s+", "", trigger.source))
    return tuple(_STAMPED.findall(match[1])) if match else ()


def _moved(step: Step, row: Mapping[str, Any] | None) -> str | None:
    if row is None:
        return _GONE
    if any(row[f"c_{name}"] != value for name, value in (step.before or {}).items()):
        return _CHANGED
    if not row["open"]:
        return "the booking is no longer open"
    return None


def _columns(image: str, without: Iterable[str]) -> dict[str, bytes]:
    """
    A row image as its columns' very bytes.
    """
    columns = msgspec.json.decode(image, type=dict[str, msgspec.Raw])
    return {name: bytes(value) for name, value in columns.items() if name not in without}


def _alike(steps: Mapping[int, Step]) -> list[dict[int, Step]]:
    """
    Steps that one statement can write: of one kind, touching the same columns.
    """
    groups: dict[tuple[str, ...], dict[int, Step]] = {}
    for number, step in steps.items():
        groups.setdefault((step.kind, *sorted(step.after or ())), {})[number] = step
    return list(groups.values())


def _halves(steps: Mapping[int, Step]) -> tuple[dict[int, Step], dict[int, Step]]:
    items = list(steps.items())
    return dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])


def _by_table(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.table, []).append(entry)
    return groups


def _texts(names: Iterable[str]) -> str:
    return ", ".join(f"{_quoted(f'c_{name}')} text" for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
