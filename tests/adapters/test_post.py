"""
The post of a watch on a real database: one holder at a time, over hosts, poolers and processes that end without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from threading import Event
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from booking_doctor.adapters.post import LOST_AFTER_S, DatabasePost
from booking_doctor.adapters.postgres import Database
from booking_doctor.doctor.watching import Handover, Taken
from booking_doctor.errors import DatabaseUnreachable, PlanRefused
from booking_doctor.findings import Verdict, Window
from booking_doctor.settings import Names, database_settings
from booking_doctor.sightings import Memory, Sighting
from tests.repair.pooler import pooled

NOON = datetime(2025, 12, 8, 12, tzinfo=UTC)
MEMORY = Memory(
    verdict=Verdict.FINDINGS,
    sightings={"message-unrecorded:message/SM1": Sighting(since=NOON, span=Window(NOON, NOON))},
)

OpenPost = Callable[..., DatabasePost]


@pytest.fixture(name="open_post")
def _open_post(database_url: str) -> Iterator[OpenPost]:
    """
    Makes posts, each with connections of its own.
    """
    with ExitStack() as opened:

        def make(holder: str, *, scope: str = "AC1", url: str = database_url, beat_s: float = 15.0) -> DatabasePost:
            database = Database(database_settings({"DATABASE_URL": url}), Names(), connections=2)
            post = DatabasePost(database, scope=scope, holder=holder, host=f"host-{holder}", beat_s=beat_s)
            opened.callback(post.close)
            return post

        yield make


@pytest.fixture(name="sql")
def _sql(database_url: str) -> Iterator[psycopg.Connection]:
    """
    Somebody who looks into the database.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def silent_for(sql: psycopg.Connection, seconds: float) -> None:
    """
    Whoever holds the post was last heard so long ago.
    """
    sql.execute("UPDATE booking_doctor.watches SET heard_at = clock_timestamp() - make_interval(secs => %s)", [seconds])


def taken(post: DatabasePost) -> Handover:
    """
    The post, which was free.
    """
    found = post.take()
    assert isinstance(found, Handover), found
    return found


def test_what_one_leaves_the_next_one_finds(open_post: OpenPost) -> None:
    """
    Memory and watermark; leaving without them changes nothing; the time is the database's.
    """
    first, second = open_post("a"), open_post("b")
    found = taken(first)
    assert (found.memory, found.watermark) == (Memory(), None)
    assert abs(found.now - datetime.now(UTC)) < timedelta(seconds=30)

    assert first.leave(MEMORY, NOON)
    found = taken(second)
    assert (found.memory, found.watermark) == (MEMORY, NOON)
    assert second.leave(None, None)

    found = taken(first)
    assert (found.memory, found.watermark) == (MEMORY, NOON)


def test_it_is_held_by_one(open_post: OpenPost) -> None:
    """
    Another one is told where the first is; what is watched elsewhere is another post.
    """
    taken(open_post("a"))

    found = open_post("b").take()
    assert isinstance(found, Taken)
    assert (found.host, found.fresh) == ("host-a", True)
    taken(open_post("b", scope="AC2"))


def test_of_many_at_once_one_gets_it(open_post: OpenPost) -> None:
    """
    Also where they are the first ever, and the schema is still to be made.
    """
    posts = [open_post(str(number)) for number in range(8)]

    with ThreadPoolExecutor(8) as hands:
        found = list(hands.map(DatabasePost.take, posts))

    assert sum(isinstance(one, Handover) for one in found) == 1


def test_a_holder_that_is_silent_loses_it(open_post: OpenPost, sql: psycopg.Connection) -> None:
    """
    After a while nobody is sure any more; after five minutes it is free, and what the silent one says then is not kept.
    """
    silent, other = open_post("a"), open_post("b")
    taken(silent)

    silent_for(sql, 90)
    found = other.take()
    assert isinstance(found, Taken)
    assert (found.fresh, round(found.age.total_seconds())) == (False, 90)

    silent_for(sql, LOST_AFTER_S + 1)
    taken(other)
    assert silent.leave(MEMORY, NOON) is False
    assert isinstance(silent.take(), Taken)
    assert other.leave(None, None)
    assert taken(silent).memory == Memory()


def test_its_heart_beats_while_it_works(open_post: OpenPost, sql: psycopg.Connection) -> None:
    """
    However long that takes; and no longer.
    """
    post = open_post("a", beat_s=0.01)
    taken(post)
    silent_for(sql, 200)

    with post.held():
        for _ in range(1000):
            row = sql.execute(
                "SELECT clock_timestamp() - heard_at < interval '1 s' FROM booking_doctor.watches"
            ).fetchone()
            if row == (True,):
                break
            Event().wait(0.01)
        assert row == (True,)
    silent_for(sql, 200)
    Event().wait(0.05)

    found = open_post("b").take()
    assert isinstance(found, Taken)
    assert not found.fresh


def test_a_heart_that_cannot_be_heard_beats_on(open_post: OpenPost, sql: psycopg.Connection) -> None:
    """
    A database that is gone for a moment does not end the work.
    """
    post = open_post("a", beat_s=0.01)
    taken(post)

    with post.held():
        sql.execute("ALTER TABLE booking_doctor.watches RENAME TO elsewhere")
        Event().wait(0.05)
        sql.execute("ALTER TABLE booking_doctor.elsewhere RENAME TO watches")

    assert post.leave(MEMORY, NOON)


def test_it_works_through_a_transaction_pooler(open_post: OpenPost, database_url: str) -> None:
    """
    Where every transaction may be another session's.
    """
    with pooled(database_url, "transaction") as url:
        first, second = open_post("a", url=url, beat_s=0.01), open_post("b", url=url)
        taken(first)
        with first.held():
            Event().wait(0.05)
            assert isinstance(second.take(), Taken)
        assert first.leave(MEMORY, NOON)
        assert taken(second).memory == MEMORY


def test_the_schema_is_closed_to_everybody_else(open_post: OpenPost, sql: psycopg.Connection) -> None:
    """
    PUBLIC may neither see what is in it nor the table; nothing outside of it was made.
    """
    before = sql.execute(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname NOT IN ('booking_doctor', 'pg_toast')"
    ).fetchone()
    taken(open_post("a"))

    rights = sql.execute(
        "SELECT EXISTS (SELECT FROM aclexplode(n.nspacl) WHERE grantee = 0), coalesce(c.relacl::text, '') ~ '(^|[{,])='"
        " FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'watches'"
        " WHERE n.nspname = 'booking_doctor'"
    ).fetchone()
    assert rights == (False, False)
    assert (
        before
        == sql.execute(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname NOT IN ('booking_doctor', 'pg_toast')"
        ).fetchone()
    )


@pytest.fixture(name="guest")
def _guest(database_url: str, sql: psycopg.Connection) -> str:
    """
    A role without any right here, and the URL with which it logs in.
    """
    parts = urlsplit(database_url)
    role = f"app_{parts.path[1:]}"
    sql.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'guest'")
    return urlunsplit(parts._replace(netloc=f"{role}:guest@{parts.netloc.rpartition('@')[2]}"))


def test_a_role_that_may_not_is_told_the_grant(
    open_post: OpenPost, sql: psycopg.Connection, guest: str, database_url: str
) -> None:
    """
    One sentence with the statement to run: once that was run, it works.
    """
    sql.execute(f'REVOKE CREATE ON DATABASE "{urlsplit(database_url).path[1:]}" FROM PUBLIC')
    for expected in ("CREATE SCHEMA booking_doctor AUTHORIZATION ", "GRANT USAGE, CREATE ON SCHEMA booking_doctor TO "):
        if expected.startswith("GRANT"):
            sql.execute("DROP SCHEMA booking_doctor; CREATE SCHEMA booking_doctor")
        with pytest.raises(PlanRefused, match=expected) as caught:
            open_post("a", url=guest).take()
        sql.execute(caught.value.summary.rpartition(" has to run: ")[2])
    taken(open_post("a", url=guest))


def test_a_role_that_may_not_write_the_table_is_told_the_grant(
    open_post: OpenPost, sql: psycopg.Connection, guest: str
) -> None:
    """
    Where another role has made it.
    """
    taken(open_post("a"))

    with pytest.raises(PlanRefused, match="GRANT SELECT, INSERT, UPDATE ON") as caught:
        open_post("b", url=guest).take()
    sql.execute(caught.value.summary.rpartition(" has to run: ")[2])

    assert isinstance(open_post("b", url=guest).take(), Taken)


def test_a_database_that_is_gone_is_an_error(open_post: OpenPost) -> None:
    """
    Never a free post.
    """
    with pytest.raises(DatabaseUnreachable):
        open_post("a", url="postgresql://nobody@127.0.0.1:1/nowhere").take()
