"""
The application's PostgreSQL: connections, transactions, what its catalog says, and its errors in our words.

Everything is set inside a transaction (`set_config(…, true)`), because a transaction pooler forgets a session's settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import inf
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg import Cursor
from psycopg.rows import dict_row
from sqlalchemy import URL, Connection, Engine, Table, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from booking_doctor.adapters.tables import application_tables
from booking_doctor.errors import (
    DatabaseError,
    DatabaseForbidden,
    DatabaseLocked,
    DatabaseReadOnly,
    DatabaseUnreachable,
    RowConflict,
    SchemaMismatch,
)
from booking_doctor.settings import DatabaseSettings, Names
from booking_doctor.sources import Place

_CONNECTION: Final = {
    "application_name": "booking-doctor",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""
What a connection has unless its URL says otherwise (PostgreSQL: "Parameter Key Words"): a minute after a host has vanished it
is given up, where the system's own patience is two hours. The last is in milliseconds, the others in seconds.
"""

_CANCEL_S: Final = 1
"""How long the server may take to hear that nobody waits, in seconds."""


class Timeouts(Struct, frozen=True, kw_only=True):
    """
    How long one statement may take and wait for a lock, in seconds. 0 is no limit.
    """

    reading: float = 300
    writing: float = 60
    lock: float = 5


class ColumnFacts(Struct, frozen=True, kw_only=True):
    """
    A column as the catalog has it.

    Attributes:
        type: The full type with its modifier, such as ``numeric(10,5)``.
        required: NOT NULL, and nothing fills it by itself.
        not_null: NOT NULL.
        filled: The database fills it: a default, an identity, a generated column.
        characters: It holds text, of whatever type or domain.
    """

    type: str
    not_null: bool
    filled: bool
    characters: bool

    @property
    def required(self) -> bool:
        """
        Whether an insert must name it.
        """
        return self.not_null and not self.filled


class Database:
    """
    One PostgreSQL database under this installation's names.

    Args:
        connections: How many are kept; more are opened when they are needed, and closed again.
    """

    def __init__(
        self, settings: DatabaseSettings, names: Names, timeouts: Timeouts = Timeouts(), *, connections: int = 5
    ) -> None:
        self.settings = settings
        self.timeouts = timeouts
        self.tables: Mapping[str, Table] = application_tables(names)
        self._engine = _engine(settings, connections)
        self._in_reading: set[psycopg.Connection[Any]] = set()
        self._columns: dict[str, dict[str, ColumnFacts]] = {}

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """
        A read-only transaction with a statement timeout.

        Row level security may not filter what we read: it must refuse instead, or its silence would pass for "none".

        Raises:
            DatabaseError: Whatever went wrong in it.
        """
        with self._transaction({"transaction_read_only": "on", **self._limits(self.timeouts.reading)}) as connection:
            driver = _driver(connection)
            self._in_reading.add(driver)
            try:
                yield connection
            finally:
                if driver not in self._in_reading:  # closed meanwhile
                    connection.invalidate()
                self._in_reading.discard(driver)

    @contextmanager
    def writing(self, *, first: str = "") -> Iterator[Connection]:
        """
        A transaction that may write, with time-outs for statements and locks; committed unless an error leaves it.

        Args:
            first: A statement that it begins with, sent with what begins it.

        Raises:
            DatabaseError: Whatever went wrong in it.
        """
        # NOTE: at another level, which may be the default here, what others do while a lock is waited for would not be seen.
        limits = self._limits(self.timeouts.writing)
        with self._transaction(limits, before=_READ_COMMITTED, after=first) as connection:
            yield connection

    @contextmanager
    def altering(self, limits: Mapping[str, str]) -> Iterator[Connection]:
        """
        A transaction that may write, with those limits instead of the usual ones.
        """
        with self._transaction({**self._limits(self.timeouts.writing), **limits}) as connection:
            yield connection

    @contextmanager
    def alone(self, limits: Mapping[str, str]) -> Iterator[Connection]:
        """
        A connection on which no transaction is around a statement; it is closed afterwards, with its settings.
        """
        with translated(self.settings), self._engine.connect() as connection:
            try:
                for name, value in limits.items():
                    connection.exec_driver_sql(f"SET {name} = '{value}'")
                yield connection
            finally:
                connection.invalidate()

    @contextmanager
    def acting(self, options: Mapping[str, str]) -> Iterator[Cursor[dict[str, Any]]]:
        """
        A transaction as the application makes its own: row level security applies to it. It has the driver's own cursor,
        because it makes many small statements, for each of which SQLAlchemy takes as long as the database.

        Args:
            options: Settings that differ from those of `writing`.
        """
        limits = self._limits(self.timeouts.writing)
        with self._transaction({**limits, "row_security": "on", **options}) as connection:
            yield _driver(connection).cursor(row_factory=dict_row)

    @contextmanager
    def waiting(self) -> Iterator[Connection]:
        """
        A transaction that is held while others work, and that no idle time-out ends.
        """
        limits = {**self._limits(self.timeouts.writing), "idle_in_transaction_session_timeout": "0"}
        # NOTE: at another level, which may be the default here, it would keep a snapshot, and an index that is built
        # concurrently waits for those.
        with self._transaction(limits, before=_READ_COMMITTED) as connection:
            yield connection

    def close(self) -> None:
        """
        Give all connections back. What other threads still read is for nobody any more, so the server need not go on.
        """
        abandoned, self._in_reading = self._in_reading, set()
        for driver in list(abandoned):
            with suppress(psycopg.Error):
                driver.cancel_safe(timeout=_CANCEL_S)
        self._engine.dispose()

    def _limits(self, statement: float) -> dict[str, str]:
        return {
            "statement_timeout": f"{round(statement * 1000)}",
            "lock_timeout": f"{round(self.timeouts.lock * 1000)}",
            "row_security": "off",
            "TimeZone": "UTC",
        }

    @contextmanager
    def _transaction(self, options: Mapping[str, str], *, before: str = "", after: str = "") -> Iterator[Connection]:
        # NOTE: one request for the beginning and all options, because a remote database answers each in tens of milliseconds.
        setting = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in options.items())
        with translated(self.settings), self._connected(f"BEGIN; {before}SELECT {setting}; {after}") as connection:
            driver = _driver(connection)
            try:
                yield connection
                driver.commit()
            except psycopg.Error:
                if driver.broken:
                    connection.invalidate()
                raise

    def _connected(self, first: str) -> Connection:
        """
        A connection on which the first statement of a transaction was made.

        One that lay in the pool may have been ended meanwhile by the server, or by what is between, and the others with it;
        nothing was done on it yet, so a new one takes its place.
        """
        connection = self._engine.connect()
        driver = _driver(connection)
        try:
            driver.execute(first.encode())
        except psycopg.Error:
            if not driver.broken:
                connection.close()
                raise
            connection.invalidate()
            connection.close()
            self._engine.dispose()
            connection = self._engine.connect()
            _driver(connection).execute(first.encode())
        return connection

    def place(self) -> Place:
        """
        Ask the server where we are.
        """
        question = text(
            "SELECT d.datname, current_user, d.oid::bigint FROM pg_database d WHERE d.datname = current_database()"
        )
        with self.reading() as connection:
            name, role, oid = connection.execute(question).one()
            driver: Any = connection.connection.driver_connection
            # NOTE: a service, a variable of libpq's or a list of hosts may have led here; the connection knows where it is.
            there = replace(self.settings, host=driver.info.host, port=driver.info.port)
        rivals = (self.settings.variable, *self.settings.rivals) if self.settings.rivals else ()
        return Place(host=there.address, database=name, role=role, oid=oid, rivals=rivals)

    def takes_writes(self) -> bool:
        """
        Whether it is neither a replica nor read-only by default.
        """
        question = text("SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool")
        with self.reading() as connection:
            return not connection.execute(question).scalar_one()

    def columns(self, table: str) -> Mapping[str, ColumnFacts]:
        """
        The columns that *table* has here, by the names in the database; empty where there is no such table.
        """
        if table not in self._columns:
            with self.reading() as connection:
                rows = connection.execute(_COLUMNS, {"table": self.quoted(self.tables[table])}).all()
            self._columns[table] = {
                row.name: ColumnFacts(type=row.type, not_null=row.nn, filled=row.filled, characters=row.characters)
                for row in rows
            }
        return self._columns[table]

    def has(self, table: str, column: str) -> bool:
        """
        Whether the column is there.
        """
        return self.tables[table].c[column].name in self.columns(table)

    def need(self, table: str, *columns: str) -> None:
        """
        Raises:
            SchemaMismatch: The table, or one of its columns, is not there.
        """
        name = self.tables[table].name
        if not self.columns(table):
            message = f"there is no table {name} in the database {self.settings.name}"
            raise SchemaMismatch(
                message, hint=f"check {self.settings.variable}, or map the name in booking-doctor.toml"
            )
        for column in columns:
            if not self.has(table, column):
                message = f"the table {name} has no column {self.tables[table].c[column].name}"
                raise SchemaMismatch(message, hint="map the name in booking-doctor.toml, or add the column")

    def known_names(self) -> dict[str, dict[str, str]]:
        """
        The doctor's column names by table and by what the column is called here.
        """
        return {table: {column.name: key for key, column in built.c.items()} for table, built in self.tables.items()}

    def vocabulary(self, table: str, column: str) -> frozenset[str] | None:
        """
        The words a text column takes, by a check constraint or as an enum; None where it takes any.
        """
        with self.reading() as connection:
            parameters = {"table": self.quoted(self.tables[table]), "column": self.tables[table].c[column].name}
            labels = connection.execute(_ENUM_LABELS, parameters).scalars().all()
            checks = connection.execute(_COLUMN_CHECKS, parameters).scalars().all()
        if labels:
            return frozenset(labels)
        # NOTE: the catalog keeps `x IN ('a', 'b')` as `x = ANY (ARRAY['a'::text, 'b'::text])`; other checks are not lists.
        lists = [
            frozenset(word.replace("''", "'") for word in _QUOTED.findall(check))
            for check in checks
            if "= ANY" in check
        ]
        return frozenset.intersection(*lists) if lists else None

    def references(self, table: str, column: str) -> bool:
        """
        Whether a validated foreign key holds the column to an existing row.
        """
        with self.reading() as connection:
            parameters = {"table": self.quoted(self.tables[table]), "column": self.tables[table].c[column].name}
            return bool(connection.execute(_FOREIGN_KEYS, parameters).scalar_one())

    def rows_estimated(self, table: str) -> float:
        """
        How many rows the table has, as the last ANALYZE found; without end where none did.
        """
        with self.reading() as connection:
            rows = connection.execute(_ROWS_ESTIMATED, {"table": self.quoted(self.tables[table])}).scalar_one()
        return inf if rows < 0 else float(rows)

    def quoted(self, table: Table) -> str:
        """
        The table's name as SQL, quoted where needed.
        """
        # NOTE: the preparer doubles a per cent sign for the driver, and whoever makes a statement of it does so again.
        return str(self._engine.dialect.identifier_preparer.format_table(table)).replace("%%", "%")


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101  of all drivers this one was chosen
    return driver


_READ_COMMITTED: Final = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "

_COLUMNS: Final = text(
    "SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS nn,"
    " a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '' AS filled, t.typcategory = 'S' AS characters"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped"
)

_ENUM_LABELS: Final = text(
    "SELECT e.enumlabel FROM pg_attribute a JOIN pg_enum e ON e.enumtypid = a.atttypid"
    " WHERE a.attrelid = to_regclass(:table) AND a.attname = :column ORDER BY e.enumsortorder"
)
_COLUMN_CHECKS: Final = text(
    "SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_attribute a"
    " ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]"
    " WHERE c.contype = 'c' AND c.conrelid = to_regclass(:table) AND a.attname = :column ORDER BY c.conname"
)
_FOREIGN_KEYS: Final = text(
    "SELECT count(*) FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]"
    " WHERE c.contype = 'f' AND c.convalidated AND c.conrelid = to_regclass(:table) AND a.attname = :column"
)
_ROWS_ESTIMATED: Final = text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:table)")
_QUOTED: Final = re.compile(r"'((?:[^']|'')*)'::")


def _engine(settings: DatabaseSettings, connections: int) -> Engine:
    url = URL.create(
        "postgresql+psycopg",
        username=settings.user,
        password=settings.password.value if settings.password else None,
        host=settings.host,
        port=settings.port,
        database=settings.name,
        query={**_CONNECTION, **settings.parameters},
    )
    # NOTE: no prepared statements, because behind a transaction pooler they belong to somebody else's session; and no
    # BEGIN of the driver's, which would be a request of its own.
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        connect_args={"prepare_threshold": None},
        hide_parameters=True,
        pool_size=connections,
        max_overflow=10,
    )


@contextmanager
def translated(settings: DatabaseSettings) -> Iterator[None]:
    """
    Turn the driver's errors into ours, without the values they carry.
    """
    try:
        yield
    except DBAPIError as error:
        raise _in_our_words(error.orig, settings) from None
    except psycopg.Error as error:
        raise _in_our_words(error, settings) from None
    except PoolTimeout:
        message = f"all connections to {settings.address} are in use"
        raise DatabaseUnreachable(message, hint="try again later; something holds them for long") from None


def _in_our_words(error: BaseException | None, settings: DatabaseSettings) -> DatabaseError:
    state = getattr(error, "sqlstate", None) or ""
    if not state:
        return _without_state(str(error), settings)
    diagnosis = error.diag if isinstance(error, psycopg.Error) else None
    primary = _first_line(diagnosis.message_primary if diagnosis else "")
    for prefix, build in _BY_STATE.items():
        if state.startswith(prefix):
            return build(state, primary, _where(diagnosis), settings)
    return DatabaseError(f"the database answered with error {state}: {primary}")


_NO_LOGIN: Final = ("password authentication failed", "no password supplied")
_REFUSALS: Final = (
    *("does not exist", "no pg_hba.conf entry", "is not permitted to log in", "permission denied for database"),
    *("Tenant or user not found", "tenant/user"),  # Supabase's pooler
)


def _without_state(message: str, settings: DatabaseSettings) -> DatabaseError:
    """
    A connection that failed has no SQLSTATE, only the server's words; the password is never among them, but be sure.
    """
    secret = settings.password.value if settings.password else ""
    line = _first_line(message.replace(secret, "***") if secret else message)
    place, refusal = f"the database at {settings.address}", line.partition("FATAL:")[2].strip()
    if any(words in message for words in _NO_LOGIN):
        return DatabaseForbidden(f"{place} refused the login of {_role(settings)}", hint=f"check {settings.variable}")
    if any(words in refusal for words in _REFUSALS):
        return DatabaseForbidden(f"{place} refused: {refusal}", hint=f"check {settings.variable}")
    return DatabaseUnreachable(f"cannot reach {place}", hint=f"check {settings.variable} and the network ({line})")


def _role(settings: DatabaseSettings) -> str:
    return settings.user or "this user"


_Builder = Callable[[str, str, str, DatabaseSettings], DatabaseError]


def _refused(_state: str, primary: str, _where: str, settings: DatabaseSettings) -> DatabaseError:
    if "row-level security" in primary:
        hint = (
            "connect as a role that row level security does not filter, such as the tables' owner or one with BYPASSRLS"
        )
        return DatabaseForbidden(f"row level security hides rows from {_role(settings)}: {primary}", hint=hint)
    return DatabaseForbidden(f"{_role(settings)} may not do that: {primary}", hint="grant it, or use another role")


_BY_STATE: Final[Mapping[str, _Builder]] = {
    "42501": _refused,
    "42P01": lambda _s, primary, _w, _d: SchemaMismatch(primary, hint="map the name in booking-doctor.toml"),
    "42703": lambda _s, primary, _w, _d: SchemaMismatch(primary, hint="map the name in booking-doctor.toml"),
    "3F000": lambda _s, primary, _w, _d: SchemaMismatch(primary, hint="map the name in booking-doctor.toml"),
    "25006": lambda _s, _p, _w, d: DatabaseReadOnly(
        f"the database at {d.address} is read-only", hint="use the primary server, not a replica"
    ),
    "28": lambda _s, primary, _w, d: DatabaseForbidden(primary, hint=f"check {d.variable}"),
    "3D000": lambda _s, primary, _w, d: DatabaseForbidden(primary, hint=f"check {d.variable}"),
    "57014": lambda _s, _p, _w, _d: DatabaseUnreachable(
        "a statement was cancelled, by its time-out or by somebody",
        hint="choose a smaller window, or try when the database is less busy",
    ),
    "55P03": lambda _s, _p, _w, _d: DatabaseLocked(
        "a row or table stayed locked by somebody else", hint="run it again; pg_stat_activity shows who holds it"
    ),
    "40P01": lambda _s, _p, _w, _d: DatabaseLocked(
        "it and another transaction waited for each other", hint="run it again"
    ),
    "40": lambda state, _p, _w, _d: DatabaseUnreachable(
        f"the transaction lost against another (error {state})", hint="run it again"
    ),
    "22": lambda state, _p, where, _d: RowConflict(f"a value does not fit{where} (error {state})"),
    "23": lambda state, _p, where, _d: RowConflict(f"a constraint forbids it{where} (error {state})"),
    "P0001": lambda state, _p, where, _d: RowConflict(f"a trigger or function refused{where} (error {state})"),
    "08": lambda _s, _p, _w, d: DatabaseUnreachable(f"the connection to {d.address} was lost", hint="run it again"),
    "57P": lambda _s, _p, _w, d: DatabaseUnreachable(
        f"the server at {d.address} ended the connection", hint="run it again"
    ),
    "53": lambda _s, primary, _w, _d: DatabaseUnreachable(
        primary, hint="the server is out of a resource; try again later"
    ),
}


def _where(diagnosis: psycopg.errors.Diagnostic | None) -> str:
    if diagnosis is None:
        return ""
    named = [name for name in (diagnosis.constraint_name, diagnosis.column_name, diagnosis.table_name) if name]
    return f": {named[0]}" if named else ""


def _first_line(message: str | None) -> str:
    return (message or "").strip().partition("\n")[0]
