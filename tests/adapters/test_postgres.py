"""
The application's PostgreSQL: what holds inside a transaction and only there, and every error in our words without secrets.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from sqlalchemy import text

from booking_doctor.adapters.postgres import Database, Timeouts
from booking_doctor.errors import (
    DatabaseError,
    DatabaseForbidden,
    DatabaseLocked,
    DatabaseReadOnly,
    DatabaseUnreachable,
    RowConflict,
    SchemaMismatch,
)
from booking_doctor.settings import DatabaseSettings, Names, Secret, database_settings

PASSWORD: Final = "hunter2/@:# 100%"
PHONE: Final = "+15557654321"

_numbers = count()


@contextmanager
def opened(url: str, timeouts: Timeouts = Timeouts(), **changed: object) -> Iterator[Database]:
    """
    The database at that address.
    """
    settings: DatabaseSettings = replace(database_settings({"DATABASE_URL": url}), **changed)  # type: ignore[arg-type]
    database = Database(settings, Names(), timeouts)
    try:
        yield database
    finally:
        database.close()


@pytest.fixture(scope="module", name="standing_url")
def _standing_url(server_url: str, template: str) -> Iterator[str]:
    """
    The application's database, with nothing in it; for tests that leave it so.
    """
    name = f"{template}_standing"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(name="database")
def _database(standing_url: str) -> Iterator[Database]:
    """
    That database, opened.
    """
    with opened(standing_url) as database:
        yield database


@pytest.mark.parametrize("again", ["host={0}&port={1}", "host={0},{0}&port={1},{1}"])
def test_parameters_of_the_url_win(again: str, standing_url: str) -> None:
    """
    We go where libpq goes, and what is shown is where we went.
    """
    parts = urlsplit(standing_url)
    host, port = database_settings({"DATABASE_URL": standing_url}).address.rpartition(":")[::2]
    asked = "&".join(filter(None, [parts.query, again.format(quote(host, safe=""), port), f"user={parts.username}"]))
    login = f"{parts.username}:{parts.password}".replace(":None", "")

    with opened(urlunsplit(parts._replace(netloc=f"{login}@db.invalid:1", query=asked))) as database:
        place = database.place()

    assert place.database == parts.path[1:]
    assert place.host == database_settings({"DATABASE_URL": standing_url}).address


def test_a_host_that_vanishes_is_given_up(standing_url: str) -> None:
    """
    The connection is looked after by the system, as the URL says where it says so.
    """
    parts = urlsplit(standing_url)
    query = "&".join(filter(None, [parts.query, "keepalives_idle=7"]))

    with opened(urlunsplit(parts._replace(query=query))) as database, database.reading() as connection:
        driver: Any = connection.connection.driver_connection
        kept = driver.info.get_parameters()

    assert (kept["keepalives_idle"], kept["keepalives_interval"], kept["keepalives_count"]) == ("7", "10", "3")
    assert (kept["tcp_user_timeout"], kept["connect_timeout"]) == ("60000", "10")


def test_nothing_is_read_on_for_nobody(standing_url: str) -> None:
    """
    A statement under way in another thread ends when the database is closed, and does not keep the server busy.
    """
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    def ask(database: Database) -> None:
        with database.reading() as connection:
            connection.execute(text("SELECT pg_sleep(60)"))

    with ThreadPoolExecutor(1) as beside:
        with opened(standing_url) as database:
            answer = beside.submit(ask, database)
            with psycopg.connect(standing_url, autocommit=True) as other:
                while other.execute(asleep).fetchone() != (1,):
                    assert not answer.done()
                    time.sleep(0.01)
        with pytest.raises(DatabaseUnreachable, match="cancelled"):
            answer.result(10)


@pytest.mark.parametrize("query", ["", "?service=booking"])
def test_what_the_url_leaves_to_libpq(
    query: str, standing_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where neither host nor port is named, what is shown before a write is where the connection is.
    """
    parts = urlsplit(standing_url)
    address = database_settings({"DATABASE_URL": standing_url}).address
    host, _, port = address.rpartition(":")
    if query:
        (tmp_path / "services").write_text(f"[booking]\nhost={host}\nport={port}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    else:
        monkeypatch.setenv("PGHOST", host)
        monkeypatch.setenv("PGPORT", port)
    login = parts.netloc.rpartition("@")[0]

    with opened(f"postgresql://{login}@{parts.path}{query}") as database:
        assert address not in database.settings.address
        assert database.place().host == address


@pytest.fixture(name="own")
def _own(database_url: str) -> Iterator[Database]:
    """
    A database of the test's own, to be changed.
    """
    with opened(database_url) as database:
        yield database


def run(database: Database, *statements: str) -> None:
    """
    Write.
    """
    with database.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))


def ask(database: Database, question: str) -> object:
    """
    Read one value.
    """
    with database.reading() as connection:
        return connection.execute(text(question)).scalar_one()


def everything_said(error: BaseException) -> str:
    """
    The words of an error and of all that led to it, hidden or not.
    """
    said: list[str] = []
    one: BaseException | None = error
    while one is not None:
        said += [str(one), repr(one), str(getattr(one, "hint", ""))]
        one = one.__cause__ or one.__context__
    return "\n".join(said)


@pytest.fixture(name="role")
def _role(server_url: str) -> Iterator[str]:
    """
    A role with a difficult password that may do nothing.
    """
    name = f"booking_doctor_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        yield name
        connection.execute(f"DROP ROLE {name}")


def login(url: str, user: str, password: str = PASSWORD, database: str | None = None) -> str:
    """
    The same server, another login.
    """
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    path = parts.path if database is None else f"/{database}"
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}", path=path))


# Inside a transaction, and only there


_OPTIONS: Final = ("transaction_read_only", "statement_timeout", "lock_timeout", "TimeZone", "row_security")


def options(database: Database, within: Callable[[], object] | None = None) -> tuple[int, dict[str, str]]:
    """
    The server process that answers, and what is set there: inside a transaction of ours, or in one of nobody's.
    """
    columns = ", ".join(f"current_setting('{name}') AS \"{name}\"" for name in _OPTIONS)
    question = text(f"SELECT pg_backend_pid() AS pid, {columns}")
    with within() if within else database._engine.begin() as connection:  # type: ignore[attr-defined]
        row = dict(connection.execute(question).mappings().one())
    return row.pop("pid"), row


def test_reading_is_limited_in_its_transaction_only(standing_url: str) -> None:
    """
    Reading is read-only, limited in time and in UTC; the next transaction of the same connection knows nothing of it.
    """
    with opened(standing_url, Timeouts(reading=7, lock=3)) as database:
        process, before = options(database)
        inside = options(database, database.reading)
        after = options(database)

    assert inside == (
        process,
        {
            "transaction_read_only": "on",
            "statement_timeout": "7s",
            "lock_timeout": "3s",
            "TimeZone": "UTC",
            "row_security": "off",
        },
    )
    assert after == (process, before)
    assert (before["transaction_read_only"], before["row_security"]) == ("off", "on")


def test_writing_is_limited_in_its_transaction_only(standing_url: str) -> None:
    """
    Writing has its own time-outs; they too are gone with the transaction.
    """
    with opened(standing_url, Timeouts(writing=9, lock=2)) as database:
        process, before = options(database)
        inside = options(database, database.writing)

        assert (inside[0], inside[1]["transaction_read_only"]) == (process, "off")
        assert (inside[1]["statement_timeout"], inside[1]["lock_timeout"]) == ("9s", "2s")
        assert options(database) == (process, before)


def test_waiting_is_not_ended_by_idleness(server_url: str, database_url: str) -> None:
    """
    A transaction that is held while others work outlives the server's time-out for idle ones.
    """
    name = urlsplit(database_url).path.removeprefix("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE \"{name}\" SET idle_in_transaction_session_timeout = '50ms'")
    with opened(database_url) as database:
        with database.waiting() as held:
            time.sleep(0.2)
            assert held.execute(text("SELECT 1")).scalar_one() == 1
        with pytest.raises(DatabaseError), database.writing() as ended:  # noqa: PT012  the pause is the point
            time.sleep(0.2)
            ended.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO customers (phone) VALUES ('{PHONE}')",
        "UPDATE messages SET body = ''",
        "DELETE FROM messages",
        "TRUNCATE messages",
        "CREATE TABLE made (x int)",
        "SELECT nextval(pg_get_serial_sequence('messages', 'id'))",
        "SELECT * FROM messages FOR UPDATE",
    ],
)
def test_reading_writes_nothing(database: Database, statement: str) -> None:
    """
    PostgreSQL itself keeps the promise that reading changes nothing.
    """
    with pytest.raises(DatabaseReadOnly) as raised, database.reading() as connection:
        connection.execute(text(statement))

    assert raised.value.kind == "not-permitted"
    assert "read-only" in raised.value.summary


def test_reading_cannot_be_turned_into_writing(database: Database) -> None:
    """
    No statement inside the transaction can take the promise back.
    """
    with pytest.raises(DatabaseError), database.reading() as connection:
        connection.execute(text("SET TRANSACTION READ WRITE"))


def test_writing_is_undone_by_an_error(own: Database) -> None:
    """
    What was written before an error is gone, whoever raised it; without one it stays.
    """
    insert = text(f"INSERT INTO customers (phone) VALUES ('{PHONE}')")

    with pytest.raises(ZeroDivisionError), own.writing() as connection:  # noqa: PT012  the order is the point
        connection.execute(insert)
        raise ZeroDivisionError
    assert ask(own, "SELECT count(*) FROM customers") == 0

    with own.writing() as connection:
        connection.execute(insert)
    assert ask(own, "SELECT count(*) FROM customers") == 1


# No connection


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    """
    A port at which nobody answers.
    """
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_nobody_there(standing_url: str, closed_port: int) -> None:
    """
    Where nobody answers, the address and the variable are named.
    """
    with (
        opened(standing_url, host="127.0.0.1", port=closed_port) as database,
        pytest.raises(DatabaseUnreachable, match=f"127.0.0.1:{closed_port}") as raised,
    ):
        ask(database, "SELECT 1")

    assert raised.value.kind == "unreachable"
    assert "DATABASE_URL" in raised.value.sentence
    assert "Connection refused" in raised.value.sentence


def test_no_such_host(standing_url: str) -> None:
    """
    A host without an address is unreachable.
    """
    with (
        opened(standing_url, host="db.invalid", port=5432) as database,
        pytest.raises(DatabaseUnreachable, match=r"db\.invalid:5432"),
    ):
        ask(database, "SELECT 1")


def test_server_that_says_nothing(standing_url: str) -> None:
    """
    A server that takes connections and says nothing is not waited for without end, unless the URL says so.
    """
    with opened(standing_url) as usual, opened(standing_url, parameters={"connect_timeout": "3"}) as changed:
        assert (usual._engine.url.query["connect_timeout"], changed._engine.url.query["connect_timeout"]) == ("10", "3")


def refused(url: str, **changed: object) -> DatabaseForbidden:
    """
    How the server refuses that login.
    """
    with (
        opened(url, **changed) as database,  # type: ignore[arg-type]
        pytest.raises(DatabaseForbidden) as raised,
    ):
        ask(database, "SELECT 1")
    assert raised.value.kind == "not-permitted"
    assert "DATABASE_URL" in raised.value.sentence
    assert PASSWORD not in everything_said(raised.value)
    assert quote(PASSWORD, safe="") not in everything_said(raised.value)
    return raised.value


@pytest.fixture(name="wary")
def _wary(standing_url: str, role: str) -> None:
    """
    The server asks for passwords; one that is configured to trust cannot refuse any.
    """
    try:
        psycopg.connect(login(standing_url, role, "certainly not"), connect_timeout=5).close()
    except psycopg.OperationalError:
        return
    pytest.skip("this server lets everybody in without a password")


def test_password_with_difficult_characters(standing_url: str, role: str) -> None:
    """
    A percent-encoded password of any characters is the one that is sent.
    """
    with opened(login(standing_url, role)) as database:
        assert ask(database, "SELECT current_user") == role


@pytest.mark.usefixtures("wary")
def test_wrong_password(standing_url: str, role: str) -> None:
    """
    A wrong password is a refused login; neither it nor the right one is shown.
    """
    error = refused(login(standing_url, role), password=Secret(f"{PASSWORD}x"))

    assert f"refused the login of {role}" in error.summary


@pytest.mark.usefixtures("wary")
def test_no_password(standing_url: str, role: str) -> None:
    """
    So is none at all.
    """
    assert "refused the login" in refused(login(standing_url, role), password=None).summary


@pytest.mark.usefixtures("wary")
def test_unknown_role(standing_url: str) -> None:
    """
    A role that is not there is refused like one with a wrong password.
    """
    assert "refused the login of nobody_of_that_name" in refused(login(standing_url, "nobody_of_that_name")).summary


def test_role_without_login(database: Database, standing_url: str, role: str) -> None:
    """
    A role that may not log in is told so.
    """
    run(database, f"ALTER ROLE {role} NOLOGIN")

    assert "is not permitted to log in" in refused(login(standing_url, role)).summary


def test_role_without_connect(own: Database, database_url: str, role: str) -> None:
    """
    So is one that may not connect to this database.
    """
    run(own, f'REVOKE CONNECT ON DATABASE "{own.settings.name}" FROM PUBLIC')

    assert "permission denied for database" in refused(login(database_url, role)).summary


def test_unknown_database(standing_url: str, role: str) -> None:
    """
    A database that is not there is named.
    """
    assert (
        '"no_such_database" does not exist' in refused(login(standing_url, role, database="no_such_database")).summary
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("FATAL:  Tenant or user not found", "not-permitted"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x", database "y", no encryption', "not-permitted"),
        ("FATAL:  sorry, too many clients already", "unreachable"),
        ("FATAL:  the database system is starting up", "unreachable"),
        ('root certificate file "/nowhere/root.crt" does not exist', "unreachable"),
        (f"FATAL:  something about {PASSWORD}", "unreachable"),
    ],
)
def test_words_of_a_failed_connection(standing_url: str, monkeypatch: pytest.MonkeyPatch, line: str, kind: str) -> None:
    """
    A refusal is told from what may pass; should the server repeat the password, it is not passed on.
    """
    said = f'connection failed: connection to server at "127.0.0.1", port 5432 failed: {line}\nand more'

    def fail(*_: object, **__: object) -> None:
        raise psycopg.OperationalError(said)

    with opened(standing_url, password=Secret(PASSWORD)) as database:
        monkeypatch.setattr(database._engine.dialect, "connect", fail)
        with pytest.raises(DatabaseError) as raised:
            ask(database, "SELECT 1")

    assert raised.value.kind == kind
    assert PASSWORD not in raised.value.sentence
    assert "and more" not in raised.value.sentence


def test_connection_lost(database: Database, server_url: str) -> None:
    """
    A connection that is ended by the server is unreachable, and the next transaction gets a new one.
    """
    with pytest.raises(DatabaseUnreachable), database.reading() as connection:  # noqa: PT012  the order is the point
        process = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with psycopg.connect(server_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
        connection.execute(text("SELECT 1"))

    assert ask(database, "SELECT 1") == 1


# No answer


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("SELECT * FROM no_such_table", "no_such_table"),
        ("SELECT no_such_column FROM messages", "no_such_column"),
        ("SELECT * FROM no_such_schema.messages", "no_such_schema.messages"),
        ("SELECT nextval('no_such_schema.x')", "no_such_schema"),
    ],
)
def test_missing_in_the_schema(database: Database, question: str, named: str) -> None:
    """
    What is not there is named, with the way to map it.
    """
    with pytest.raises(SchemaMismatch, match=named) as raised:
        ask(database, question)

    assert "booking-doctor.toml" in raised.value.sentence


def test_needed_columns(own: Database) -> None:
    """
    A table or column that is needed is named before anything is asked of it.
    """
    own.need("messages", "message_sid", "created_at")
    run(own, "ALTER TABLE messages DROP COLUMN created_at", "DROP TABLE bookings")

    with pytest.raises(SchemaMismatch, match="there is no table bookings"):
        own.need("bookings")
    with opened(_url(own)) as fresh, pytest.raises(SchemaMismatch, match="messages has no column created_at"):
        fresh.need("messages", "message_sid", "created_at")


def _url(database: Database) -> str:
    return database._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_no_permission(standing_url: str, role: str) -> None:
    """
    A missing privilege names the role and the table.
    """
    with opened(login(standing_url, role)) as database, pytest.raises(DatabaseForbidden) as raised:
        ask(database, "SELECT count(*) FROM messages")

    assert raised.value.summary == f"{role} may not do that: permission denied for table messages"


def test_row_level_security(role: str, own: Database, database_url: str) -> None:
    """
    Rows that row level security would hide are an error and never an empty answer; whom it does not filter reads on.
    """
    run(
        own,
        "INSERT INTO customers (phone) VALUES ('+15550000001')",
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON customers TO {role}",
    )

    with opened(login(database_url, role)) as filtered, pytest.raises(DatabaseForbidden) as raised:
        ask(filtered, "SELECT count(*) FROM customers")

    assert f"row level security hides rows from {role}" in raised.value.summary
    assert "BYPASSRLS" in raised.value.sentence
    assert ask(own, "SELECT count(*) FROM customers") == 1
    run(own, f"DROP OWNED BY {role}")


@pytest.mark.parametrize("transaction", ["reading", "writing"])
def test_statement_takes_too_long(standing_url: str, transaction: str) -> None:
    """
    A statement that takes too long is ended by the server.
    """
    with opened(standing_url, Timeouts(reading=0.1, writing=0.1)) as database:
        begun = time.monotonic()
        with pytest.raises(DatabaseUnreachable, match="time-out"), getattr(database, transaction)() as connection:
            connection.execute(text("SELECT pg_sleep(5)"))

    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("transaction", ["reading", "writing"])
def test_somebody_holds_the_lock(standing_url: str, transaction: str) -> None:
    """
    Whoever holds a lock is waited for shortly, not for as long as a statement may take.
    """
    with psycopg.connect(standing_url) as other, opened(standing_url, Timeouts(lock=0.1)) as database:
        other.execute("LOCK TABLE messages")
        with pytest.raises(DatabaseUnreachable, match="locked"), getattr(database, transaction)() as connection:
            connection.execute(text("SELECT count(*) FROM messages"))


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (f"INSERT INTO messages (direction, body) VALUES ('outbound', '{PHONE}')", "customer_id"),
        (f"INSERT INTO customers (id, phone) SELECT id, '{PHONE}' FROM customers", "customers_pkey"),
        (
            f"INSERT INTO pending_bookings (token, customer_phone, status) VALUES ('t', '{PHONE}', '{PHONE}')",
            "status_check",
        ),
        (
            f"INSERT INTO messages (direction, customer_id) VALUES ('{PHONE}', (SELECT id FROM customers))",
            "direction_check",
        ),
        (f"INSERT INTO events (title, starts_at, capacity) VALUES ('x', now(), CAST('x{PHONE}' AS integer))", "22P02"),
        ("SELECT 1 / 0", "22012"),
    ],
)
def test_conflict_with_rows(database: Database, statement: str, named: str) -> None:
    """
    What the rows forbid names the constraint or the code, and no value of any row.
    """
    with pytest.raises(RowConflict) as raised:
        run(database, f"INSERT INTO customers (phone) VALUES ('{PHONE}')", statement)

    assert named in raised.value.summary
    assert PHONE[1:] not in raised.value.sentence


def test_values_are_not_shown(database: Database) -> None:
    """
    Neither are the values that a statement was given, even where the driver's error is looked at.
    """
    with pytest.raises(SchemaMismatch) as raised, database.reading() as connection:
        connection.execute(text("SELECT nothing FROM messages WHERE to_number = :number"), {"number": PHONE})

    assert PHONE not in everything_said(raised.value)


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("P0001", RowConflict, "a trigger or function refused"),
        ("23514", RowConflict, "a constraint forbids it"),
        ("40001", DatabaseUnreachable, "lost against another"),
        ("40P01", DatabaseLocked, "waited for each other"),
        ("25006", DatabaseReadOnly, "read-only"),
        ("42501", DatabaseForbidden, "may not do that"),
        ("28000", DatabaseForbidden, "told"),
        ("53300", DatabaseUnreachable, "told"),
        ("55P03", DatabaseLocked, "locked"),
        ("57014", DatabaseUnreachable, "cancelled"),
        ("57P01", DatabaseUnreachable, "ended the connection"),
        ("08006", DatabaseUnreachable, "was lost"),
        ("XX000", DatabaseError, "XX000"),
        ("0A000", DatabaseError, "0A000"),
    ],
)
def test_sqlstate(database: Database, state: str, kind: type[DatabaseError], words: str) -> None:
    """
    Each class of PostgreSQL's errors is one of ours, with at most the first line of what it said.
    """
    detail = f"the row of {PHONE}"
    raising = f"RAISE EXCEPTION E'told\\nmore' USING ERRCODE = '{state}', DETAIL = '{detail}', HINT = '{detail}'"

    with pytest.raises(DatabaseError) as raised:
        run(database, f"DO $$ BEGIN {raising}; END $$")

    assert type(raised.value) is kind
    assert words in raised.value.sentence
    assert "more" not in raised.value.sentence
    assert PHONE not in raised.value.sentence


def test_other_errors_pass(database: Database) -> None:
    """
    What is not the database's error is not made one.
    """
    with pytest.raises(KeyError), database.reading():
        raise KeyError


# What the catalog says


def test_place(database: Database, standing_url: str) -> None:
    """
    The server says where we are; rivals are named together with the variable that was followed.
    """
    place = database.place()

    assert (place.host, place.database) == (database.settings.address, database.settings.name)
    assert place.role == ask(database, "SELECT current_user")
    assert place.oid == ask(database, "SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    assert place.rivals == ()
    with opened(standing_url, rivals=("POSTGRES_URL",)) as rivalled:
        assert rivalled.place().rivals == ("DATABASE_URL", "POSTGRES_URL")


def test_takes_writes(own: Database, database_url: str) -> None:
    """
    A database that is read-only by default takes no writes.
    """
    assert own.takes_writes()
    run(own, f'ALTER DATABASE "{own.settings.name}" SET default_transaction_read_only = on')

    with opened(database_url) as read_only:
        assert not read_only.takes_writes()


def test_columns(database: Database) -> None:
    """
    Columns are known with their types, and whether an insert must name them.
    """
    columns = database.columns("messages")

    assert (columns["cost_usd"].type, columns["cost_usd"].required) == ("numeric(10,5)", False)
    assert (columns["direction"].not_null, columns["direction"].required) == (True, True)
    assert (columns["id"].not_null, columns["id"].filled, columns["id"].required) == (True, True, False)
    assert database.has("messages", "read_at")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT 1", None),
        ("ALTER TABLE messages ADD CHECK (status IN ('sent', 'it''s'))", frozenset({"sent", "it's"})),
        (
            "ALTER TABLE messages ADD CHECK (status IN ('sent', 'x')), ADD CHECK (status IN ('x', 'y'))",
            frozenset({"x"}),
        ),
        ("ALTER TABLE messages ADD CHECK (length(status) < 20)", None),
        (
            "ALTER TABLE messages ALTER status TYPE varchar(20), ADD CHECK (status IN ('sent', 'x'))",
            frozenset({"sent", "x"}),
        ),
    ],
)
def test_vocabulary(own: Database, statement: str, words: frozenset[str] | None) -> None:
    """
    The words a status may be are those that all its lists have in common; other checks are no lists.
    """
    run(own, statement)

    assert own.vocabulary("messages", "status") == words


def test_vocabulary_of_an_enum(own: Database) -> None:
    """
    Of an enum they are its labels.
    """
    run(
        own,
        "CREATE TYPE state AS ENUM ('queued', 'sent')",
        "ALTER TABLE messages ALTER status TYPE state USING status::state",
    )

    assert own.vocabulary("messages", "status") == frozenset({"queued", "sent"})


def test_references(own: Database) -> None:
    """
    Only a foreign key that was validated holds every row to what it points at.
    """
    assert own.references("messages", "customer_id")
    run(
        own,
        "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey",
        "ALTER TABLE messages ADD FOREIGN KEY (customer_id) REFERENCES customers NOT VALID",
    )

    assert not own.references("messages", "customer_id")
