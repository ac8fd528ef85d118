"""
What tests of the schema's checks share: roles, SQL as it would be pasted, and what the server makes of a statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from booking_doctor.findings import Finding
from booking_doctor.sandbox.incidents import World

Look = Callable[..., list[Finding]]

STATEMENT = re.compile(r"""(?:'[^']*'|"(?:[^"]|"")*"|[^;])+""")

GRANTED = "GRANT SELECT, INSERT, UPDATE ON pending_bookings, messages TO ROLE; "
SECURED = (
    GRANTED + "ALTER TABLE pending_bookings ENABLE ROW LEVEL SECURITY; ALTER TABLE messages ENABLE ROW LEVEL SECURITY; "
)


@contextmanager
def a_role(scene: World, name: str, options: str = "LOGIN PASSWORD 'x'") -> Iterator[str]:
    """
    A role of the server, gone when the context ends.
    """
    with psycopg.connect(scene.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(options)))
        try:
            yield name
        finally:
            connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def run(scene: World, statements: str, role: str = "") -> None:
    """
    Run statements one by one, as they would be pasted; ROLE stands for the role.
    """
    quoted = '"' + role.replace('"', '""') + '"'
    with psycopg.connect(scene.url, autocommit=True) as connection:
        for statement in STATEMENT.findall(re.sub(r"(?<!ALTER )\bROLE\b", lambda _: quoted, statements)):
            if statement.strip():
                connection.execute(statement)


def advised(finding: Finding) -> str:
    """
    The SQL of a remedy.
    """
    return finding.remedy.partition("Run: ")[2] or finding.remedy.partition("run: ")[2]


def as_role(scene: World, role: str, statement: str, *values: object) -> int | str:
    """
    What happens to that statement in the hands of the role: the rows it changes, or the error's SQLSTATE.
    """
    with psycopg.connect(scene.url) as connection:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        try:
            return connection.execute(statement, values).rowcount
        except psycopg.Error as error:
            return error.sqlstate or ""
        finally:
            connection.rollback()


def reached_as(scene: World, role: str) -> str:
    """
    The scene's database, as that role.
    """
    parts = urlsplit(scene.url)
    return urlunsplit(parts._replace(netloc=f"{quote(role, safe='')}:x@{parts.netloc.rpartition('@')[2]}"))
