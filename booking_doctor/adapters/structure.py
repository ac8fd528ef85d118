"""
The table `messages` as migrations see and change it: `booking_doctor.repair.altering.Structure` on PostgreSQL.

What is asked comes from pg_catalog, with names quoted by the server itself. A statement and its journal entry are one
transaction; an index that is built without one has its beginning in the journal before, and its end after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ARRAY, Connection, Text, TextClause, func, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by

from booking_doctor.adapters.journal import Journal
from booking_doctor.adapters.ledger import REPAIR_LOCK, DatabaseLedger
from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.tables import JOURNAL_SCHEMA
from booking_doctor.checks.keys import ENSURES_UNIQUE
from booking_doctor.errors import DatabaseError
from booking_doctor.repair.executor import Lock, Run
from booking_doctor.repair.migration import Patience, Statement
from booking_doctor.repair.structure import (
    Attempt,
    Catalog,
    Check,
    Hindrance,
    Index,
    Migrated,
    Name,
    Session,
    Survey,
    Traffic,
    Verb,
)

_SOME: Final = 20
"""Rows or SIDs in the way that are named; of one SID as many rows."""


class DatabaseStructure:
    """
    The table in one database.

    Args:
        pooled: Whether the settings say that they lead to a transaction pooler.
        direct: Where they should lead then, for people.
    """

    def __init__(
        self,
        database: Database,
        *,
        pooled: bool = False,
        direct: str = "the server's own address",
        patience: Patience = Patience(),
    ) -> None:
        self._database = database
        self._pooled = pooled
        self._direct = direct
        self.patience = patience
        self._journal = Journal(database)
        self._ledger = DatabaseLedger(database)

    # looking

    def catalog(self) -> Catalog:
        """
        As it is now.
        """
        self._database.need("messages", "id", "customer_id", "message_sid", "created_at")
        columns = self._database.tables["messages"].c
        with self._database.reading() as connection:
            where = {"table": self._relation()}
            table = _one(connection, _TABLE, where)
            customer = _one(connection, _CUSTOMER, {**where, "column": columns.customer_id.name})
            sid = _one(connection, _SID, {**where, "column": columns.message_sid.name})
        return Catalog(
            table=_name(table, "table"),
            schema=_name(table, "schema"),
            kind=table["kind"],
            owner=_name(table, "owner"),
            role=_name(table, "role"),
            owned=table["owned"],
            may_create=table["may_create"],
            bytes=table["bytes"],
            rows=table["rows"],
            customer=_name(customer, "column"),
            not_null=customer["not_null"],
            unproven=_name(customer, "unproven") if customer["unproven"] else None,
            domain=customer["domain"],
            checks=[Check(name=Name(raw, sql), valid=valid) for raw, sql, valid in customer["checks"]],
            mentions=customer["mentions"],
            sid=_name(sid, "column"),
            sids=[Index(name=Name(raw, sql), valid=valid) for raw, sql, valid in sid["indexes"]],
            builder=table["builder"],
            taken=frozenset(sid["taken"]),
            event_triggers=table["event_triggers"],
        )

    def without_customer(self) -> Survey:
        """
        Rows whose customer is null, oldest first.
        """
        messages = self._database.tables["messages"].c
        lacking = messages.customer_id.is_(None)
        with self._database.reading() as connection:
            rows, since = connection.execute(select(func.count(), func.min(messages.created_at)).where(lacking)).one()
            found = select(messages.message_sid, messages.id).where(lacking).order_by(messages.created_at, messages.id)
            some = connection.execute(found.limit(_SOME)).all() if rows else []
        named = [Hindrance(sid=sid or None, rows=[str(row_id)]) for sid, row_id in some]
        return Survey(without_customer=rows, since=_utc(since), some=named)

    def duplicates(self) -> Survey:
        """
        SIDs that more than one row carries, and whether any is empty.
        """
        messages = self._database.tables["messages"].c
        sid = messages.message_sid
        row_ids = func.array_agg(aggregate_order_by(messages.id, messages.id), type_=ARRAY(Text))[1:_SOME]
        repeated = select(sid, row_ids, func.count().over()).where(sid != "").group_by(sid).having(func.count() > 1)
        question = repeated.order_by(sid).limit(_SOME)
        with self._database.reading() as connection:
            blank = connection.execute(select(select(sid).where(sid == "").exists())).scalar_one()
            found = connection.execute(question).all()
        some = [Hindrance(sid=sid, rows=[str(row_id) for row_id in rows]) for sid, rows, _ in found]
        return Survey(duplicated=found[0][2] if found else 0, blank=blank, some=some)

    def traffic(self) -> Traffic:
        """
        Who is at the table and at the database now.
        """
        with self._database.reading() as connection:
            there = connection.execute(_AT_TABLE, {"table": self._relation()}).mappings().all()
            longest = connection.execute(_LONGEST).mappings().all()
            hidden = connection.execute(_HIDDEN).scalar_one()
        sessions = [_session(dict(row)) for row in (*there, *longest)]
        return Traffic(at_table=sessions[: len(there)], longest=next(iter(sessions[len(there) :]), None), hidden=hidden)

    def obstacle(self) -> str | None:
        """
        A replica, a read-only server, a transaction pooler, no place for the journal.
        """
        with self._database.reading() as connection:
            server = connection.execute(_SERVER).mappings().one()
        if server["replica"]:
            primary = f"its primary, {server['primary']}" if server["primary"] else "its primary"
            return f"this server is a replica and takes no changes; connect to {primary}"
        if server["read_only"]:
            return "this server is read-only by its settings; connect to one that takes writes"
        if self._pooled or not keeps_session(self._database):
            variable = self._database.settings.variable
            return (
                f"{variable} leads to a transaction pooler, where time-outs are lost between two statements;"
                f" set it to {self._direct}"
            )
        return self._journal.obstacle()

    # changing

    def lock(self) -> AbstractContextManager[Lock]:
        """
        The one lock of all repairs.
        """
        return self._ledger.lock()

    def carry_out(self, statement: Statement, run: Run | None) -> None:
        """
        Run one statement and note it.
        """
        limits = statement.limits(self.patience)
        if statement.kind.concurrent:
            self._carry_out_alone(statement, limits, run if statement.kept else None)
            return
        with self._database.altering(limits) as connection:
            if run:
                self._note(connection, statement, run, ended=True)
            # NOTE: last, because everybody else waits from here on until the commit.
            _execute(connection, statement.sql)

    def _carry_out_alone(self, statement: Statement, limits: Mapping[str, str], run: Run | None) -> None:
        if run:
            with self._database.writing() as connection:
                self._note(connection, statement, run, ended=False)
        try:
            with self._database.alone(limits) as connection:
                _execute(connection, statement.sql)
        except (DatabaseError, KeyboardInterrupt):
            if run:
                self._remove(statement, limits)
            raise
        if run:
            with self._database.writing() as connection:
                self._note(connection, statement, run, ended=True)

    def _remove(self, statement: Statement, limits: Mapping[str, str]) -> None:
        """
        Leave nothing of an index that could not be built; where that cannot be done, the journal keeps its beginning.
        """
        with suppress(DatabaseError):
            for index in self.catalog().sids:
                if index.name.raw == statement.target.raw and not index.valid:
                    with self._database.alone(limits) as connection:
                        _execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {index.name.sql}")
            self.settle()

    # the journal

    def _note(self, connection: Connection, statement: Statement, run: Run, *, ended: bool) -> None:
        self._journal.open(connection, run)
        entry = {"run": run.id, "kind": str(statement.kind), "target": statement.target.raw}
        after = json.dumps({**statement.after, "sql": statement.sql}) if ended else None
        if not (ended and connection.execute(_END, {**entry, "after": after}).rowcount):
            connection.execute(_NOTE, {**entry, "before": json.dumps(dict(statement.before)), "after": after})

    @contextmanager
    def _reading_journal(self) -> Iterator[Connection | None]:
        """
        A connection where there is a journal, None where there is none.
        """
        with self._database.reading() as connection:
            yield connection if connection.execute(_EXISTS).scalar_one() else None

    def attempts(self) -> list[Attempt]:
        """
        What the journal has the beginning of, and not the end.
        """
        with self._reading_journal() as connection:
            return [Attempt(**row) for row in connection.execute(_ATTEMPTS).mappings()] if connection else []

    def settle(self) -> None:
        """
        Let what is there decide how the attempts ended.
        """
        built = [index.name.raw for index in self.catalog().sids if index.valid]
        with self._database.writing() as connection:
            connection.execute(_BUILT, {"built": built})
            connection.execute(_FORGET)
            connection.execute(_FORGET_RUNS)

    def migrated(self, run_id: str) -> Migrated | None:
        """
        What that run did.
        """
        with self._reading_journal() as connection:
            found = connection.execute(_MIGRATED, {"run": run_id}).one_or_none() if connection else None
        if found is None:
            return None
        return Migrated(verb=Verb(found.verb), indexes=frozenset(found.indexes), standing=found.standing)

    def mark_undone(self, run_id: str) -> None:
        """
        Note that all of it was taken back.
        """
        with self._database.writing() as connection:
            connection.execute(_UNDONE, {"run": run_id})

    def _relation(self) -> str:
        return self._database.quoted(self._database.tables["messages"])


_TRIES: Final = 3


def keeps_session(database: Database) -> bool:
    """
    Whether one connection is one session, as far as can be seen: a transaction pooler gives it another one each time.
    """
    with database.alone({}) as one:
        # NOTE: a pooler makes the number up that it tells as the server process's.
        told = one.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        if one.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == told:
            return True
        return not any(_leaks(database, one, f"{told}.{number}") for number in range(_TRIES))


def _leaks(database: Database, one: Connection, mark: str) -> bool:
    """
    Whether what is set on one connection is seen on another.
    """
    one.exec_driver_sql(f"SET booking_doctor.seen = '{mark}'")
    with database.alone({}) as other:
        seen = other.exec_driver_sql("SELECT current_setting('booking_doctor.seen', true)").scalar_one()
    one.exec_driver_sql("RESET booking_doctor.seen")
    return bool(seen == mark)


def _one(connection: Connection, question: TextClause, parameters: Mapping[str, str]) -> dict[str, Any]:
    return dict(connection.execute(question, parameters).mappings().one())


def _execute(connection: Connection, sql: str) -> None:
    # NOTE: without parameters the driver takes a per cent sign for what it is.
    connection.execution_options(no_parameters=True).exec_driver_sql(sql)


def _name(row: Mapping[str, Any], key: str) -> Name:
    return Name(row[key], row[f"{key}_sql"])


def _session(row: Mapping[str, Any]) -> Session:
    return Session(**{**row, "since": _utc(row["since"])})


def _utc(moment: datetime | None) -> datetime | None:
    # NOTE: a column without zone comes back naive; the transaction's zone is UTC, so that is what it means.
    return moment and (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


# --- the catalog -----------------------------------------------------------------------------------------------------

_PARTS: Final = """
WITH RECURSIVE parts (oid) AS (
  SELECT CAST(to_regclass(:table) AS oid) UNION SELECT i.inhrelid FROM parts p JOIN pg_inherits i ON i.inhparent = p.oid
)
"""
"""The table and its partitions; asked so that no lock of any of them is needed."""

_TABLE: Final = text(f"""
{_PARTS}
SELECT c.relname AS table, format('%I.%I', n.nspname, c.relname) AS table_sql, n.nspname AS schema,
  quote_ident(n.nspname) AS schema_sql, CAST(c.relkind AS text) AS kind, o.rolname AS owner,
  quote_ident(o.rolname) AS owner_sql, CAST(current_user AS text) AS role, quote_ident(current_user) AS role_sql,
  pg_has_role(c.relowner, 'USAGE') AS owned, has_schema_privilege(n.oid, 'CREATE') AS may_create,
  (SELECT CAST(sum(pg_total_relation_size(oid)) AS bigint) FROM parts) AS bytes,
  (
    SELECT CASE WHEN min(reltuples) >= 0 THEN CAST(sum(reltuples) AS bigint) END
    FROM pg_class JOIN parts USING (oid) WHERE relkind <> 'p'
  ) AS rows,
  ARRAY(
    SELECT CAST(evtname AS text) FROM pg_event_trigger WHERE evtenabled IN ('O', 'A') AND evtevent <> 'login' ORDER BY 1
  ) AS event_triggers,
  (
    SELECT min(pid) FROM pg_locks WHERE locktype = 'relation' AND relation = c.oid AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND mode = 'ShareUpdateExclusiveLock' AND pid <> pg_backend_pid()
  ) AS builder
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
WHERE c.oid = to_regclass(:table)
""")  # noqa: S608  our own names
_CUSTOMER: Final = text("""
WITH checks AS (
  SELECT k.oid, k.conname, k.convalidated FROM pg_constraint k
  WHERE k.contype = 'c' AND k.conrelid = to_regclass(:table)
    AND pg_get_expr(k.conbin, k.conrelid) = format('(%I IS NOT NULL)', CAST(:column AS text))
)
SELECT a.attname AS column, quote_ident(a.attname) AS column_sql, a.attnotnull AS not_null,
  CASE WHEN t.typnotnull THEN CAST(t.typname AS text) END AS domain,
  n.conname AS unproven, quote_ident(n.conname) AS unproven_sql,
  (
    SELECT coalesce(json_agg(json_build_array(conname, quote_ident(conname), convalidated) ORDER BY conname), '[]')
    FROM checks
  ) AS checks,
  ARRAY(
    SELECT DISTINCT coalesce('the view ' || CAST(CAST(r.ev_class AS regclass) AS text),
      'the ' || pg_describe_object(d.classid, d.objid, 0))
    FROM pg_depend d
    LEFT JOIN pg_rewrite r ON d.classid = CAST('pg_rewrite' AS regclass) AND r.oid = d.objid AND r.ev_class <> a.attrelid
    LEFT JOIN pg_constraint k ON d.classid = CAST('pg_constraint' AS regclass) AND k.oid = d.objid AND k.contype = 'c'
    WHERE d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
      AND (r.oid IS NOT NULL OR (k.oid IS NOT NULL AND NOT EXISTS (SELECT FROM checks WHERE oid = k.oid))
        OR d.classid IN (CAST('pg_policy' AS regclass), CAST('pg_proc' AS regclass)))
    ORDER BY 1
  ) AS mentions
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_constraint n
  ON n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated
WHERE a.attrelid = to_regclass(:table) AND a.attname = :column
""")
_SID: Final = text(f"""
SELECT a.attname AS column, quote_ident(a.attname) AS column_sql,
  (
    SELECT coalesce(json_agg(json_build_array(x.relname, format('%I.%I', n.nspname, x.relname), i.indisvalid)
      ORDER BY x.relname), '[]')
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
    WHERE {ENSURES_UNIQUE}
  ) AS indexes,
  ARRAY(
    SELECT CAST(x.relname AS text) FROM pg_class c JOIN pg_class x ON x.relnamespace = c.relnamespace
    WHERE c.oid = a.attrelid AND x.relname ~ '_unique(_[0-9]+)?$'
  ) AS taken
FROM pg_attribute a WHERE a.attrelid = to_regclass(:table) AND a.attname = :column
""")  # noqa: S608  our own condition

# --- who else is there -----------------------------------------------------------------------------------------------

_WHO: Final = """
a.usename AS role, coalesce(nullif(a.application_name, ''), a.backend_type) AS application, a.state,
  a.xact_start AS since, a.query
"""
_AT_TABLE: Final = text(f"""
{_PARTS}
SELECT l.pid, {_WHO},
  coalesce(array_agg(DISTINCT l.mode) FILTER (WHERE l.granted), '{{}}') AS holds,
  coalesce(array_agg(DISTINCT l.mode) FILTER (WHERE NOT l.granted), '{{}}') AS awaits
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation IN (SELECT oid FROM parts)
  AND l.pid IS DISTINCT FROM pg_backend_pid()
GROUP BY l.pid, l.virtualtransaction, a.usename, a.application_name, a.backend_type, a.state, a.xact_start, a.query
ORDER BY a.xact_start, l.pid
""")  # noqa: S608  likewise
_LONGEST: Final = text(f"""
SELECT a.pid, {_WHO} FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid()
  AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory'
    AND l.classid = {REPAIR_LOCK[0]} AND l.objid = {REPAIR_LOCK[1]})
UNION ALL
SELECT NULL, owner, NULL, NULL, prepared, NULL FROM pg_prepared_xacts WHERE database = current_database()
ORDER BY since LIMIT 1
""")  # noqa: S608  likewise
_HIDDEN: Final = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = '<insufficient privilege>'"
)
_SERVER: Final = text("""
SELECT pg_is_in_recovery() AS replica, CAST(current_setting('default_transaction_read_only') AS boolean) AS read_only,
  (SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver) AS primary
""")


# --- the journal -----------------------------------------------------------------------------------------------------


def _statement(sql: str) -> TextClause:
    """
    The SQL with the journal's schema in the place of ``JOURNAL``, and what makes an entry ``OPEN``.
    """
    open_ = "j.kind = 'create-index' AND j.after IS NULL AND j.undone_at IS NULL AND r.id = j.run_id AND r.forgotten_at IS NULL"
    return text(sql.replace("OPEN", open_).replace("JOURNAL", JOURNAL_SCHEMA))


_NOTE: Final = _statement("""
INSERT INTO JOURNAL.journal (run_id, step, kind, table_name, row_id, sid, before, after)
SELECT :run, coalesce(max(step) + 1, 0), :kind, 'messages', :target, '', CAST(:before AS json), CAST(:after AS json)
FROM JOURNAL.journal WHERE run_id = :run
""")
_END: Final = _statement("""
UPDATE JOURNAL.journal SET after = CAST(:after AS json)
WHERE run_id = :run AND kind = :kind AND row_id = :target AND after IS NULL
""")
_ATTEMPTS: Final = _statement(
    "SELECT j.run_id, j.row_id AS index FROM JOURNAL.journal j, JOURNAL.runs r WHERE OPEN ORDER BY r.started_at, r.id"
)
_BUILT: Final = _statement(
    "UPDATE JOURNAL.journal j SET after = json_build_object('index', 'valid') FROM JOURNAL.runs r"
    " WHERE OPEN AND j.row_id = ANY (:built)"
)
_FORGET: Final = _statement("DELETE FROM JOURNAL.journal j USING JOURNAL.runs r WHERE OPEN")
_FORGET_RUNS: Final = _statement(
    "DELETE FROM JOURNAL.runs r WHERE starts_with(r.command, 'migrate ')"
    " AND NOT EXISTS (SELECT FROM JOURNAL.journal WHERE run_id = r.id)"
)
_MIGRATED: Final = _statement("""
SELECT split_part(r.command, ' ', 2) AS verb,
  ARRAY(SELECT row_id FROM JOURNAL.journal WHERE run_id = r.id AND kind = 'create-index') AS indexes,
  (SELECT count(*) FROM JOURNAL.journal WHERE run_id = r.id AND undone_at IS NULL) AS standing
FROM JOURNAL.runs r WHERE r.id = :run AND starts_with(r.command, 'migrate ') AND r.forgotten_at IS NULL
""")
_UNDONE: Final = _statement("""
UPDATE JOURNAL.journal SET undone_at = now(), after = coalesce(after, 'null') WHERE run_id = :run AND undone_at IS NULL
""")
_EXISTS: Final = _statement("SELECT to_regclass('JOURNAL.journal') IS NOT NULL")
