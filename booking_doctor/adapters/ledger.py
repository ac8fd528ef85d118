"""
Writes rows together with their journal, and takes them back: `booking_doctor.repair.executor.Ledger` on PostgreSQL.

Rows travel as JSON of texts and are cast to the columns' own types in the database, so no value passes through a driver's
idea of it. What was written is read again before it is committed, after every trigger has had its say: a row that is not
as it was to be is taken out of the batch and named, the rest of the batch stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, text

from booking_doctor.adapters.journal import Journal
from booking_doctor.adapters.postgres import Database, translated
from booking_doctor.adapters.surroundings import Surroundings
from booking_doctor.adapters.tables import JOURNAL_SCHEMA
from booking_doctor.errors import PlanRefused, RowConflict
from booking_doctor.findings import PastRun
from booking_doctor.repair.executor import Entry, Events, Run, Trigger, events_of
from booking_doctor.repair.plan import Plan
from booking_doctor.repair.steps import Step

_LOCK: Final = (0x626F6F6B, 0x64726472)
"""The two keys of the advisory lock of a repair: "book" and "drdr" in ASCII."""

_WRITER: Final = (0x626F6F6B, 0x77726974)
"""Those of a batch: "book" and "writ"."""

_GONE: Final = "the row is gone"
_CHANGED: Final = "somebody changed it since"
_RECORDED: Final = "its SID has been recorded meanwhile"
_CLOSED: Final = "the booking is no longer open"

_Reasons = dict[int, str]
"""Why, by position, something was left."""

_Part = TypeVar("_Part", Step, Entry)


class _Unexpected(Exception):
    """
    Rows are not as they were to be; what was written must not stand.
    """

    def __init__(self, reasons: _Reasons) -> None:
        super().__init__("rows differ from what was to be written")
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
        self._journal = Journal(database)
        self._surroundings = Surroundings(database)
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
        Triggers and rules that the writes set off, and those whose columns undo cannot compare.
        """
        return self._surroundings.triggers(events)

    def obstacle(self, plan: Plan) -> str | None:
        """
        A server that takes no writes, a table that takes no such rows, a missing privilege, no place for the journal.
        """
        if not plan.steps:
            return None
        return self._surroundings.obstacle(plan.steps, events_of(plan.steps)) or self._journal.obstacle()

    def missing_unique_index(self) -> str | None:
        """
        The statement that would make a second row for one SID impossible; None where an index does already.
        """
        return self._surroundings.missing_unique_index()

    # the journal

    def done(self, checksum: str) -> frozenset[int]:
        """
        Steps of the plan with that checksum that stand.
        """
        return self._journal.done(checksum)

    def runs(self) -> list[PastRun]:
        """
        Newest first.
        """
        return self._journal.runs()

    def entries(self, run_id: str) -> list[Entry]:
        """
        In the order they were written.
        """
        return self._journal.entries(run_id)

    def forget(self, run_id: str) -> int:
        """
        Drop the images; the run stays listed.
        """
        return self._journal.forget(run_id)

    # writing

    def write(self, run: Run, steps: Mapping[int, Step]) -> dict[int, str]:
        """
        One transaction; nothing of it stays, not even the run's name, where no step can be written.
        """
        with self._writing() as connection:
            self._journal.open(connection, run)
            reasons = self._apart(connection, steps, lambda some: self._write(connection, run, some))
            if len(reasons) == len(steps):
                connection.rollback()
        return reasons

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """
        The transaction of a batch, which waits for any other batch that is still on its way.

        The repair's lock keeps other repairs out, but its connection can be lost while the batch's own is not.
        """
        # NOTE: what is deferred to the commit would fail there, for all rows of the batch at once.
        now = "SET CONSTRAINTS ALL IMMEDIATE; SELECT pg_advisory_xact_lock({}, {})".format(*_WRITER)
        with self._database.writing() as connection:
            connection.exec_driver_sql(now)
            yield connection

    def _apart(
        self, connection: Connection, parts: Mapping[int, _Part], act: Callable[[Mapping[int, _Part]], _Reasons]
    ) -> _Reasons:
        """
        Act on all parts, or, where the database refuses or spoils some, on the others, halving to find which.
        """
        reasons: _Reasons = {}
        waiting = [dict(parts)]
        while waiting:
            some = waiting.pop()
            try:
                with translated(self._database.settings), connection.begin_nested():
                    reasons |= act(some)
            except _Unexpected as unexpected:
                reasons |= unexpected.reasons
                rest = {number: part for number, part in some.items() if number not in unexpected.reasons}
                waiting += [rest] if rest else []
            except RowConflict as conflict:
                if len(some) == 1:
                    reasons |= dict.fromkeys(some, conflict.summary)
                else:
                    waiting += _halves(some)
        return reasons

    def _write(self, connection: Connection, run: Run, steps: Mapping[int, Step]) -> _Reasons:
        reasons: _Reasons = {}
        for group in _alike(steps):
            write = self._insert if next(iter(group.values())).before is None else self._update
            ids, befores, left = write(connection, group)
            self._note(connection, run, {n: step for n, step in group.items() if n not in left}, ids, befores)
            reasons |= left
        return reasons

    def _insert(
        self, connection: Connection, steps: Mapping[int, Step]
    ) -> tuple[dict[int, str], dict[int, str], _Reasons]:
        """
        Insert the rows, each only while its SID is absent: ids, no images of before, and what was left.
        """
        messages, names = self._table("messages"), list(next(iter(steps.values())).after or ())
        sid = self._column("messages", "message_sid")
        statement = f"""
            INSERT INTO {messages} AS t ({", ".join(self._column("messages", name) for name in names)})
            SELECT {", ".join(self._value("messages", name) for name in names)} FROM {_planned(names)}
            WHERE {self._absent()} ORDER BY p.n
            RETURNING CAST(t.{self._column("messages", "id")} AS text), t.{sid}
        """  # noqa: S608  names from the mapping, quoted; values are parameters
        rows = connection.execute(text(statement), {"rows": _after(steps)}).all()
        stored = {sid: id_ for id_, sid in rows}
        ids = {number: stored[step.sid] for number, step in steps.items() if step.sid in stored}
        missing = {number: step.sid for number, step in steps.items() if number not in ids}
        reasons = self._why_missing(connection, missing) if missing else {}
        if len(ids) != len(rows):
            lost = [number for number, reason in reasons.items() if reason is not _RECORDED]
            raise _Unexpected(dict.fromkeys(lost, "a trigger would store it under another SID"))
        return ids, {}, reasons

    def _absent(self) -> str:
        """
        That no row carries the planned SID. The second column has no index, so it counts where the first is empty.
        """
        messages, sid = self._table("messages"), self._column("messages", "message_sid")
        carriers = [f"SELECT FROM {messages} x WHERE x.{sid} = p.sid"]
        if self._database.has("messages", "twilio_message_sid"):
            second = self._column("messages", "twilio_message_sid")
            carriers.append(f"SELECT FROM {messages} x WHERE (x.{sid} IS NULL OR x.{sid} = '') AND x.{second} = p.sid")
        return " AND ".join(f"NOT EXISTS ({carrier})" for carrier in carriers)

    def _why_missing(self, connection: Connection, sids: Mapping[int, str]) -> _Reasons:
        question = text(f"SELECT sid FROM unnest(CAST(:sids AS text[])) AS p(sid) WHERE {self._absent()}")  # noqa: S608  likewise
        absent = set(connection.execute(question, {"sids": list(sids.values())}).scalars())
        return {number: "a trigger keeps the row out" if sid in absent else _RECORDED for number, sid in sids.items()}

    def _update(
        self, connection: Connection, steps: Mapping[int, Step]
    ) -> tuple[dict[int, str], dict[int, str], _Reasons]:
        """
        Lock the rows, leave those that moved, change the others: ids, whole images of before, and what was left.
        """
        first = next(iter(steps.values()))
        found = self._locked(connection, first.table, steps)
        left = {number: reason for number in steps if (reason := _moved(found.get(number)))}
        steps = {number: step for number, step in steps.items() if number not in left}
        if not steps:
            return {}, {}, left
        names = list(first.after or ())
        changes = ", ".join(f"{self._column(first.table, name)} = {self._value(first.table, name)}" for name in names)
        statement = f"""
            UPDATE {self._table(first.table)} AS t SET {changes} FROM {_planned(names)}
            WHERE t.{self._column(first.table, "id")} = {self._cast(first.table, "id", "p.row_id")}
        """  # noqa: S608  likewise
        connection.execute(text(statement), {"rows": _after(steps)})
        ids = {number: step.row_id or "" for number, step in steps.items()}
        return ids, {number: found[number]["image"] for number in steps}, left

    def _locked(self, connection: Connection, table: str, steps: Mapping[int, Step]) -> dict[int, RowMapping]:
        """
        The rows as they are, locked until the transaction ends: whole, and whether they are as the plan saw them.
        """
        id_, names = self._column(table, "id"), list(next(iter(steps.values())).before or ())
        moved = " OR ".join(self._moved_from(table, name) for name in names)
        statement = f"""
            SELECT p.n, CAST(row_to_json(t) AS text) AS image, {moved} AS moved, {self._still_open(table)} AS open
            FROM {_planned(names)} JOIN {self._table(table)} t ON t.{id_} = {self._cast(table, "id", "p.row_id")}
            ORDER BY t.{id_} FOR UPDATE OF t
        """  # noqa: S608  likewise
        rows = connection.execute(text(statement), {"rows": _before(steps)}).mappings()
        return {row["n"]: row for row in rows}

    def _moved_from(self, table: str, name: str) -> str:
        """
        Whether the column is no longer what was planned on; JSON is compared as text, where 1.0 is not 1.00.
        """
        stored = f"t.{self._column(table, name)}"
        if self._type(table, name) in {"json", "jsonb"}:
            return f"CAST({stored} AS text) IS DISTINCT FROM p.{_quoted(f'c_{name}')}"
        return f"{stored} IS DISTINCT FROM {self._value(table, name)}"

    def _still_open(self, table: str) -> str:
        if table != "pending_bookings":
            return "true"
        pending = f"CAST(t.{self._column(table, 'status')} AS text) = 'pending'"
        if not self._database.has(table, "expires_at"):
            return pending
        return f"{pending} AND coalesce(t.{self._column(table, 'expires_at')} > now(), true)"

    def _note(
        self,
        connection: Connection,
        run: Run,
        steps: Mapping[int, Step],
        ids: Mapping[int, str],
        befores: Mapping[int, str],
    ) -> None:
        """
        Journal the rows as they are now, all triggers done.

        Raises:
            _Unexpected: Some are not as they were to be.
        """
        if not steps:
            return
        first = next(iter(steps.values()))
        table, names = first.table, list(first.after or ())
        differing = ", ".join(self._differing(table, name) for name in names)
        statement = f"""
            WITH found AS (
              SELECT p.n, p.row_id, p.sid, p.whole, row_to_json(t) AS image, array_remove(ARRAY[{differing}], NULL) AS differing
              FROM {_planned(names)} JOIN {self._table(table)} t
              ON t.{self._column(table, "id")} = {self._cast(table, "id", "p.row_id")}
            ), noted AS (
              INSERT INTO {JOURNAL_SCHEMA}.journal (run_id, step, kind, table_name, row_id, sid, before, after)
              SELECT :run, n, :kind, :table, row_id, sid, CAST(whole AS json), image FROM found
            )
            SELECT n, differing FROM found
        """  # noqa: S608  likewise
        parameters = {"rows": _after(steps, ids, befores), "run": run.id, "kind": str(first.kind), "table": table}
        found: dict[int, list[str]] = dict(connection.execute(text(statement), parameters).all())
        gone = {number: "a trigger would take the row away again" for number in steps if number not in found}
        spoilt = {n: f"a trigger would store another {', '.join(columns)}" for n, columns in found.items() if columns}
        if gone or spoilt:
            raise _Unexpected(gone | spoilt)

    def _differing(self, table: str, name: str) -> str:
        """
        The column's name where it is not what was planned, as the column's own type sees it.
        """
        stored, value = f"t.{self._column(table, name)}", self._value(table, name)
        if self._type(table, name) == "json":  # has no equality of its own
            stored, value = f"CAST({stored} AS jsonb)", f"CAST({value} AS jsonb)"
        return f"CASE WHEN {stored} IS DISTINCT FROM {value} THEN '{name}' END"

    # taking back

    def changed_since(self, entries: Sequence[Entry]) -> dict[int, str]:
        """
        As things stand, without locks.
        """
        with self._database.reading() as connection:
            return self._left(connection, entries, lock=False)

    def take_back(self, run_id: str, entries: Sequence[Entry]) -> dict[int, str]:
        """
        One transaction; a row that was changed twice goes back step by step.
        """
        reasons: _Reasons = {}
        with self._writing() as connection:
            for stage in _stages(entries):
                reasons |= self._apart(connection, stage, lambda some: self._take_back(connection, run_id, some))
        return reasons

    def _take_back(self, connection: Connection, run_id: str, entries: Mapping[int, Entry]) -> _Reasons:
        left = self._left(connection, list(entries.values()), lock=True)
        standing = [entry for number, entry in entries.items() if number not in left]
        for table, group in _by_table(standing).items():
            self._delete(connection, table, [entry for entry in group if entry.before is None])
            for columns, alike in self._touched(table, group).items():
                self._restore(connection, run_id, table, columns, alike)
            self._see_restored(connection, table, group)
        self._journal.mark_undone(connection, run_id, [entry.number for entry in standing])
        return left

    def _left(self, connection: Connection, entries: Iterable[Entry], *, lock: bool) -> _Reasons:
        """
        Entries whose rows are gone, are no longer as they were left, or are referred to by others.
        """
        reasons: _Reasons = {}
        for table, group in _by_table(sorted(entries, key=lambda entry: -entry.number)).items():
            stamps, images = self._stamped(table), self._images(connection, table, group, lock=lock)
            for entry in group:
                image = images.get(entry.row_id)
                if image is None:
                    reasons[entry.number] = _GONE
                elif _columns(image, stamps) != _columns(entry.after, stamps):
                    reasons[entry.number] = _CHANGED
                elif entry.before is not None:
                    # NOTE: an older change of the same row is compared with what this one leaves behind.
                    images[entry.row_id] = entry.before
            inserted = {e.row_id: e.number for e in group if e.before is None and e.number not in reasons}
            for source, row_ids in self._referred(connection, table, list(inserted)).items():
                reasons |= {inserted[row_id]: f"{source} refers to it now" for row_id in row_ids}
        return reasons

    def _images(self, connection: Connection, table: str, entries: Iterable[Entry], *, lock: bool) -> dict[str, str]:
        id_ = self._column(table, "id")
        statement = f"""
            SELECT CAST(t.{id_} AS text), CAST(row_to_json(t) AS text) FROM {self._table(table)} t
            WHERE {self._among(table)} ORDER BY t.{id_} {"FOR UPDATE" if lock else ""}
        """  # noqa: S608  likewise
        rows = connection.execute(text(statement), {"ids": [entry.row_id for entry in entries]})
        return dict(rows.all())

    def _referred(self, connection: Connection, table: str, ids: Sequence[str]) -> dict[str, list[str]]:
        """
        Rows that others refer to, by the others' table: deleting them would be refused, or would take the others along.
        """
        found: dict[str, list[str]] = {}
        for reference in self._surroundings.references(connection, table) if ids else ():
            same = " AND ".join(f"s.{ours} = t.{theirs}" for ours, theirs in reference.pairs)
            statement = f"""
                SELECT CAST(t.{self._column(table, "id")} AS text) FROM {self._table(table)} t
                WHERE {self._among(table)} AND EXISTS (SELECT FROM {reference.source} s WHERE {same})
            """  # noqa: S608  names from the catalog, quoted by it
            found[reference.source] = list(connection.execute(text(statement), {"ids": list(ids)}).scalars())
        return found

    def _delete(self, connection: Connection, table: str, entries: Sequence[Entry]) -> None:
        if entries:
            statement = f"DELETE FROM {self._table(table)} t WHERE {self._among(table)}"  # noqa: S608  likewise
            connection.execute(text(statement), {"ids": [entry.row_id for entry in entries]})

    def _restore(
        self, connection: Connection, run_id: str, table: str, columns: Iterable[str], entries: Iterable[Entry]
    ) -> None:
        """
        Those columns back to their images.
        """
        assignments = ", ".join(
            f"{_quoted(name)} = (json_populate_record(t, json_build_object({_literal(name)}, j.before -> {_literal(name)}))).{_quoted(name)}"
            for name in columns
        )
        statement = f"""
            UPDATE {self._table(table)} t SET {assignments} FROM {JOURNAL_SCHEMA}.journal j
            WHERE j.run_id = :run AND j.step = ANY (:steps)
            AND t.{self._column(table, "id")} = {self._cast(table, "id", "j.row_id")}
        """  # noqa: S608  likewise
        connection.execute(text(statement), {"run": run_id, "steps": [entry.number for entry in entries]})

    def _touched(self, table: str, entries: Iterable[Entry]) -> dict[tuple[str, ...], list[Entry]]:
        """
        Changes by the columns that they changed, other than by a trigger's time stamp; none where nothing differs.
        """
        stamps, groups = self._stamped(table), dict[tuple[str, ...], list[Entry]]()
        for entry in entries:
            before, after = _columns(entry.before or entry.after, stamps), _columns(entry.after, stamps)
            if columns := tuple(sorted(name for name in after if before.get(name) != after[name])):
                groups.setdefault(columns, []).append(entry)
        return groups

    def _see_restored(self, connection: Connection, table: str, entries: Sequence[Entry]) -> None:
        """
        Raises:
            _Unexpected: Some rows are not what they were before the run.
        """
        stamps, images = self._stamped(table), self._images(connection, table, entries, lock=False)
        wrong = {}
        for entry in entries:
            image = images.get(entry.row_id)
            if entry.before is None and image is not None:
                wrong[entry.number] = "a trigger or rule keeps the row"
            elif entry.before is not None and _columns(image or "{}", stamps) != _columns(entry.before, stamps):
                wrong[entry.number] = "a trigger or rule would restore it differently"
        if wrong:
            raise _Unexpected(wrong)

    # names and types

    def _stamped(self, table: str) -> frozenset[str]:
        if table not in self._stamps:
            self._stamps[table] = self._surroundings.stamped_columns(table)
        return self._stamps[table]

    def _table(self, table: str) -> str:
        return self._database.quoted(self._database.tables[table])

    def _column(self, table: str, name: str) -> str:
        return _quoted(self._database.tables[table].c[name].name)

    def _among(self, table: str) -> str:
        return f"t.{self._column(table, 'id')} = ANY (CAST(:ids AS {self._type(table, 'id')}[]))"

    def _value(self, table: str, name: str) -> str:
        return self._cast(table, name, f"p.{_quoted(f'c_{name}')}")

    def _cast(self, table: str, name: str, value: str) -> str:
        """
        The text as the column's type. Character types take it as it is: a cast would cut what is too long.
        """
        type_ = self._type(table, name)
        characters = type_.partition("(")[0] in {"text", "character varying", "character"}
        return value if characters else f"CAST({value} AS {type_})"

    def _type(self, table: str, name: str) -> str:
        return self._database.columns(table)[self._database.tables[table].c[name].name].type


# --- rows on their way -----------------------------------------------------------------------------------------------


def _planned(names: Iterable[str]) -> str:
    """
    The parameter ``rows`` as a relation ``p``; every value is text.
    """
    values = "".join(f", {_quoted(f'c_{name}')} text" for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS p(n integer, sid text, row_id text, whole text{values})"


def _after(
    steps: Mapping[int, Step], ids: Mapping[int, str] | None = None, befores: Mapping[int, str] | None = None
) -> str:
    rows = [
        {
            "n": number,
            "sid": step.sid,
            "row_id": (ids or {}).get(number, step.row_id),
            "whole": (befores or {}).get(number),
            **_values(step.after),
        }
        for number, step in steps.items()
    ]
    return msgspec.json.encode(rows).decode()


def _before(steps: Mapping[int, Step]) -> str:
    rows = [{"n": number, "row_id": step.row_id, **_values(step.before)} for number, step in steps.items()]
    return msgspec.json.encode(rows).decode()


def _values(image: Mapping[str, str | None] | None) -> dict[str, str | None]:
    return {f"c_{name}": value for name, value in (image or {}).items()}


def _moved(row: RowMapping | None) -> str | None:
    if row is None:
        return _GONE
    if row["moved"]:
        return _CHANGED
    return None if row["open"] else _CLOSED


def _columns(image: str, without: Collection[str]) -> dict[str, bytes]:
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


def _halves(parts: Mapping[int, _Part]) -> list[dict[int, _Part]]:
    items = list(parts.items())
    middle = len(items) // 2
    return [dict(items[middle:]), dict(items[:middle])]


def _stages(entries: Iterable[Entry]) -> list[dict[int, Entry]]:
    """
    The entries, parted so that a row is in each stage once at most, its newest change in the first.
    """
    stages: list[dict[int, Entry]] = []
    seen: dict[tuple[str, str], int] = {}
    for entry in sorted(entries, key=lambda entry: -entry.number):
        stage = seen[entry.table, entry.row_id] = seen.get((entry.table, entry.row_id), -1) + 1
        stages += [{}] if stage == len(stages) else []
        stages[stage][entry.number] = entry
    return stages


def _by_table(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.table, []).append(entry)
    return groups


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
