"""
Writes rows together with their journal, and takes them back: `booking_doctor.repair.executor.Ledger` on PostgreSQL.

Where anything may have a say in what is stored, it is read again before it is committed, after every trigger: a row that is
not as it was to be is taken out of the batch and named, the rest of the batch stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, text

from booking_doctor.adapters.fragments import Fragments, planned, restored, rows, verbatim
from booking_doctor.adapters.journal import Journal
from booking_doctor.adapters.postgres import Database, translated
from booking_doctor.adapters.surroundings import Surroundings
from booking_doctor.adapters.tables import JOURNAL_SCHEMA
from booking_doctor.errors import PlanRefused, RowConflict
from booking_doctor.findings import PastRun
from booking_doctor.repair.executor import Entry, Events, Run, Trigger, events_of
from booking_doctor.repair.plan import Plan
from booking_doctor.repair.steps import Step

REPAIR_LOCK: Final = (0x626F6F6B, 0x64726472)
"""The two keys of the advisory lock of a repair: "book" and "drdr" in ASCII."""

_WRITER: Final = (0x626F6F6B, 0x77726974)
"""Those of a batch: "book" and "writ"."""

_RUN: Final = f"(SELECT id FROM {JOURNAL_SCHEMA}.runs WHERE id = :run)"  # noqa: S608  a name of our own
"""
The run, if it is noted; nothing can be journaled of another. Once a statement is enough: a foreign key, which asks for
every row, takes a seventh of the time.
"""

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


class _Written(NamedTuple):
    """
    What became of a group of steps, by position.

    Attributes:
        ids: Of the rows that were written.
        befores: The whole images of those that were changed.
        left: Why others were not written.
    """

    ids: dict[int, str]
    befores: dict[int, str]
    left: _Reasons


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
        self._sql = Fragments(database)
        self._stamps: dict[str, frozenset[str]] = {}
        self._noted: str | None = None  # the run that the journal has, since the lock was taken

    # before writing

    @contextmanager
    def lock(self) -> Iterator[_Lock]:
        """
        `pg_try_advisory_xact_lock` on a connection of its own (PostgreSQL: "Advisory Locks").
        """
        with self._database.waiting() as connection:
            if not connection.execute(
                text("SELECT pg_try_advisory_xact_lock(:a, :b)"), dict(zip("ab", REPAIR_LOCK, strict=True))
            ).scalar_one():
                message = "another repair is being written to this database; nothing was written by this one"
                raise PlanRefused(message, hint="wait until it has ended: booking-doctor runs")
            self._noted = None
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

    def sid_is_unique(self) -> bool:
        """
        Whether an index makes a second row for one SID impossible.
        """
        return self._surroundings.sid_is_unique()

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
            if run.id != self._noted:
                self._journal.open(connection, run)
            reasons = self._apart(connection, steps, lambda some: self._write(connection, run, some))
            if len(reasons) == len(steps):
                connection.rollback()
                return reasons
        self._noted = run.id
        return reasons

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """
        The transaction of a batch, which waits for any other batch that is still on its way.

        The repair's lock keeps other repairs out, but its connection can be lost while the batch's own is not.
        """
        # NOTE: what is deferred to the commit would fail there, for all rows of the batch at once.
        now = "SET CONSTRAINTS ALL IMMEDIATE; SELECT pg_advisory_xact_lock({}, {})".format(*_WRITER)
        with self._database.writing(first=now) as connection:
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
            to_be = rows(group, {number: step.after for number, step in group.items()})
            if next(iter(group.values())).before is None:
                written = self._insert(connection, run, group, to_be)
                changeable = _ends_in_blanks(to_be) or self._surroundings.others_write(connection, "messages")
            else:
                written, changeable = self._update(connection, group, to_be), True
            if changeable:
                self._note(connection, run, group, to_be, written)
            reasons |= written.left
        return reasons

    def _insert(self, connection: Connection, run: Run, steps: Mapping[int, Step], to_be: str) -> _Written:
        """
        Insert the rows, each only while its SID is absent, and journal them as they were stored.
        """
        names, sql = _names(steps), self._sql
        id_, sid = sql.column("messages", "id"), sql.column("messages", "message_sid")
        statement = f"""
            WITH p AS MATERIALIZED (SELECT * FROM {planned(names)}), inserted AS (
              INSERT INTO {sql.table("messages")} AS t ({sql.columns("messages", names)})
              SELECT {sql.values("messages", names)} FROM p WHERE {sql.absent()} ORDER BY p.n
              RETURNING CAST(t.{id_} AS text) AS row_id, CAST(t.{sid} AS text) AS sid, row_to_json(t) AS image
            ), noted AS (
              INSERT INTO {JOURNAL_SCHEMA}.journal (run_id, step, kind, table_name, row_id, sid, after)
              SELECT {_RUN}, p.n, :kind, :table, i.row_id, p.sid, i.image FROM inserted i JOIN p USING (sid)
            )
            SELECT row_id, sid FROM inserted
        """  # noqa: S608  names from the mapping, quoted; values are parameters
        inserted = connection.execute(text(statement), {"rows": to_be, **_named(run, steps)}).all()
        stored = {sid: id_ for id_, sid in inserted}
        ids = {number: stored[step.sid] for number, step in steps.items() if step.sid in stored}
        missing = {number: step.sid for number, step in steps.items() if number not in ids}
        left = self._why_missing(connection, missing) if missing else {}
        if len(ids) != len(inserted):
            # NOTE: where all are recorded by now, it may be by these very rows, in the second column.
            lost = [number for number, reason in left.items() if reason is not _RECORDED] or missing
            raise _Unexpected(dict.fromkeys(lost, "a trigger would store it under another SID"))
        return _Written(ids, {}, left)

    def _why_missing(self, connection: Connection, sids: Mapping[int, str]) -> _Reasons:
        asked = "p AS MATERIALIZED (SELECT sid FROM unnest(CAST(:sids AS text[])) AS sid)"
        question = text(f"WITH {asked} SELECT sid FROM p WHERE {self._sql.absent()}")  # noqa: S608  likewise
        absent = set(connection.execute(question, {"sids": list(sids.values())}).scalars())
        return {number: "a trigger keeps the row out" if sid in absent else _RECORDED for number, sid in sids.items()}

    def _update(self, connection: Connection, steps: Mapping[int, Step], to_be: str) -> _Written:
        """
        Lock the rows, leave those that moved, change the others.
        """
        table = _table(steps)
        found = self._locked(connection, table, steps)
        left = {number: reason for number in steps if (reason := _moved(found.get(number)))}
        ids = {number: step.row_id or "" for number, step in steps.items() if number not in left}
        if ids:
            names, sql = _names(steps), self._sql
            statement = f"""
                UPDATE {sql.table(table)} AS t SET {sql.assignments(table, names)} FROM {planned(names)}
                WHERE {sql.same_row(table)} AND p.n = ANY (:numbers)
            """  # noqa: S608  likewise
            connection.execute(text(statement), {"rows": to_be, "numbers": list(ids)})
        return _Written(ids, {number: found[number]["image"] for number in ids}, left)

    def _locked(self, connection: Connection, table: str, steps: Mapping[int, Step]) -> dict[int, RowMapping]:
        """
        The rows as they are, locked until the transaction ends: whole, and whether they are as the plan saw them.
        """
        befores = {number: step.before for number, step in steps.items()}
        names, sql = list(next(iter(befores.values())) or ()), self._sql
        statement = f"""
            SELECT p.n, CAST(row_to_json(t) AS text) AS image, {sql.moved(table, names)} AS moved, {sql.still_open(table)} AS open
            FROM {planned(names)} JOIN {sql.table(table)} t ON {sql.same_row(table)}
            ORDER BY t.{sql.column(table, "id")} FOR UPDATE OF t
        """  # noqa: S608  likewise
        found = connection.execute(text(statement), {"rows": rows(steps, befores)}).mappings()
        return {row["n"]: row for row in found}

    def _note(self, connection: Connection, run: Run, steps: Mapping[int, Step], to_be: str, written: _Written) -> None:
        """
        Journal the rows as they are now, all triggers done; what was journaled of them as they were inserted gives way.

        Raises:
            _Unexpected: Some are not as they were to be.
        """
        if not written.ids:
            return
        table, names, sql = _table(steps), _names(steps), self._sql
        statement = f"""
            WITH found AS (
              SELECT p.n, w.row_id, p.sid, w.whole, row_to_json(t) AS image, {sql.differing(table, names)} AS differing
              FROM {planned(names)}
              JOIN unnest(CAST(:numbers AS integer[]), CAST(:ids AS text[]), CAST(:wholes AS text[])) AS w (n, row_id, whole)
                ON w.n = p.n
              JOIN {sql.table(table)} t ON {sql.same_row(table, "w.row_id")}
            ), noted AS (
              INSERT INTO {JOURNAL_SCHEMA}.journal (run_id, step, kind, table_name, row_id, sid, before, after)
              SELECT {_RUN}, n, :kind, :table, row_id, sid, CAST(whole AS json), image FROM found
              ON CONFLICT (run_id, step) DO UPDATE SET after = excluded.after
            )
            SELECT n, differing FROM found
        """  # noqa: S608  likewise
        wholes = [written.befores.get(number) for number in written.ids]
        there = {"rows": to_be, "numbers": list(written.ids), "ids": list(written.ids.values()), "wholes": wholes}
        found: dict[int, list[str]] = dict(connection.execute(text(statement), there | _named(run, steps)).all())
        gone = {number: "a trigger would take the row away again" for number in written.ids if number not in found}
        spoilt = {
            n: f"the database would store another {', '.join(columns)}" for n, columns in found.items() if columns
        }
        if gone or spoilt:
            raise _Unexpected(gone | spoilt)

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
            for row_id, source in self._referred(connection, table, list(inserted)).items():
                reasons[inserted[row_id]] = f"{source} refers to it now"
        return reasons

    def _images(self, connection: Connection, table: str, entries: Iterable[Entry], *, lock: bool) -> dict[str, str]:
        id_ = self._sql.column(table, "id")
        statement = f"""
            SELECT CAST(t.{id_} AS text), CAST(row_to_json(t) AS text) FROM {self._sql.table(table)} t
            WHERE {self._sql.among(table)} ORDER BY t.{id_} {"FOR UPDATE" if lock else ""}
        """  # noqa: S608  likewise
        return dict(connection.execute(text(statement), {"ids": [entry.row_id for entry in entries]}).all())

    def _referred(self, connection: Connection, table: str, ids: Sequence[str]) -> dict[str, str]:
        """
        Rows that others refer to, each with their table: deleting it would be refused, or would take them along.
        """
        found: dict[str, str] = {}
        for reference in self._surroundings.references(connection, table) if ids else ():
            same = " AND ".join(f"s.{verbatim(ours)} = t.{verbatim(theirs)}" for ours, theirs in reference.pairs)
            statement = f"""
                SELECT CAST(t.{self._sql.column(table, "id")} AS text) FROM {self._sql.table(table)} t
                WHERE {self._sql.among(table)} AND EXISTS (SELECT FROM {verbatim(reference.source)} s WHERE {same})
            """  # noqa: S608  names from the catalog, quoted by it
            row_ids = connection.execute(text(statement), {"ids": list(ids)}).scalars()
            found |= dict.fromkeys(row_ids, reference.source)
        return found

    def _delete(self, connection: Connection, table: str, entries: Sequence[Entry]) -> None:
        if entries:
            statement = f"DELETE FROM {self._sql.table(table)} t WHERE {self._sql.among(table)}"  # noqa: S608  likewise
            connection.execute(text(statement), {"ids": [entry.row_id for entry in entries]})

    def _restore(
        self, connection: Connection, run_id: str, table: str, columns: Sequence[str], entries: Iterable[Entry]
    ) -> None:
        """
        Those columns back to their images.
        """
        statement = f"""
            UPDATE {self._sql.table(table)} t SET {restored(columns, "j.before")} FROM {JOURNAL_SCHEMA}.journal j
            WHERE j.run_id = :run AND j.step = ANY (:steps) AND {self._sql.same_row(table, "j.row_id")}
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

    def _stamped(self, table: str) -> frozenset[str]:
        if table not in self._stamps:
            self._stamps[table] = self._surroundings.stamped_columns(table)
        return self._stamps[table]


def _table(steps: Mapping[int, Step]) -> str:
    return next(iter(steps.values())).table


def _ends_in_blanks(to_be: str) -> bool:
    """
    Whether PostgreSQL may cut a value without a word: it does so with blanks too many for a column.

    Args:
        to_be: As JSON without blanks of its own, so that one before a quote that is not escaped ends a value.
    """
    return ' "' in to_be


def _named(run: Run, steps: Mapping[int, Step]) -> dict[str, str]:
    """
    What the journal says of all of them.
    """
    return {"run": run.id, "kind": str(next(iter(steps.values())).kind), "table": _table(steps)}


def _names(steps: Mapping[int, Step]) -> list[str]:
    """
    The columns that steps alike write.
    """
    return list(next(iter(steps.values())).after or ())


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
    Steps that one statement can write: of one kind, touching the same columns in the same order.
    """
    groups: dict[tuple[str, ...], dict[int, Step]] = {}
    for number, step in steps.items():
        groups.setdefault((step.kind, *(step.after or ())), {})[number] = step
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
