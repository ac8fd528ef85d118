"""
What the catalog says of tables, columns and keys.
"""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from booking_doctor.adapters.introspection import relations
from booking_doctor.errors import DatabaseError
from booking_doctor.naming import Column, Relation, name_everything
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import COLUMNS, database_settings


def _look(scene: World, **query: str) -> dict[str, Relation]:
    url = f"{scene.url}?{urlencode(query)}" if query else scene.url
    return {f"{one.schema}.{one.name}": one for one in relations(database_settings({"DATABASE_URL": url}))}


def _column(relation: Relation, name: str) -> Column:
    return next(column for column in relation.columns if column.name == name)


def test_the_incidents_schema(scene: World) -> None:
    """
    Every table is found by its own name, with its columns, and everything about it is certain.
    """
    found = _look(scene)

    assert {path: tuple(column.name for column in one.columns) for path, one in found.items()} == {
        f"public.{table}": columns for table, columns in COLUMNS.items()
    }
    naming = name_everything(list(found.values()))
    assert (naming.schema, naming.renamed, naming.doubts, naming.open) == (None, {}, [], [])


def test_types_and_keys(scene: World) -> None:
    """
    Domains count as what they are made of; keys count where they are on one column alone, partial indexes too.
    """
    scene.execute("CREATE DOMAIN phone AS text")
    scene.execute("CREATE TYPE mood AS ENUM ('well')")
    scene.execute(
        "CREATE TABLE odd (a phone, b mood, c varchar(9) NOT NULL, d timestamp, e date, f jsonb, g numeric, h uuid,"
        " i bigint REFERENCES messages, gone int, PRIMARY KEY (a, c))"
    )
    scene.execute("ALTER TABLE odd DROP gone")
    scene.execute("CREATE UNIQUE INDEX ON odd (c) WHERE c <> ''")
    found = _look(scene)
    odd, messages = found["public.odd"], found["public.messages"]

    kinds = [column.kind for column in odd.columns]
    assert kinds == ["text", "enum", "text", "time", "other", "json", "number", "uuid", "number"]
    assert [column.name for column in odd.columns if column.unique] == ["c"]
    assert [column.name for column in odd.columns if column.primary] == []
    assert _column(odd, "c").not_null
    assert _column(odd, "i").target == messages.oid
    assert _column(messages, "id").primary


def test_the_search_path_and_the_urls_schema(scene: World) -> None:
    """
    Either decides what a bare name means.
    """
    scene.execute("CREATE SCHEMA app")
    scene.execute("CREATE TABLE app.messages (id int)")

    assert [path for path, one in _look(scene).items() if one.name == "messages" and one.default] == ["public.messages"]
    assert [path for path, one in _look(scene, schema="app").items() if one.default] == ["app.messages"]
    scene.execute(f"ALTER DATABASE {scene.url.rpartition('/')[2]} SET search_path = app, public")
    default = [path for path, one in _look(scene).items() if one.default]
    assert "app.messages" in default
    assert "public.messages" not in default
    assert "public.customers" in default


def test_rows_views_and_what_is_not_ours(scene: World) -> None:
    """
    A view is no table; partitions, the journal and the system's tables are nobody's name for anything.
    """
    scene.execute("CREATE VIEW shown AS SELECT * FROM messages")
    scene.execute("CREATE TABLE parted (id int) PARTITION BY LIST (id)")
    scene.execute("CREATE TABLE part PARTITION OF parted DEFAULT")
    scene.execute("CREATE SCHEMA booking_doctor")
    scene.execute("CREATE TABLE booking_doctor.messages (id int)")
    scene.customer("+15550001111")
    scene.execute("ANALYZE customers")
    found = _look(scene)

    assert found.keys() == {*(f"public.{table}" for table in COLUMNS), "public.shown", "public.parted"}
    assert not found["public.shown"].table
    assert found["public.parted"].table
    assert found["public.customers"].filled
    assert not found["public.messages"].filled


def test_a_server_that_is_not_there() -> None:
    """
    Nothing is claimed of it.
    """
    with pytest.raises(DatabaseError):
        relations(database_settings({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}))
