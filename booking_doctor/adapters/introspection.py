"""
What the catalog knows of every table and view: names, types, keys, and where foreign keys point.

Only pg_catalog is read, because information_schema hides what the role has no privilege on. Nothing is locked, and no row
of the application is looked at.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from sqlalchemy import text

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.tables import JOURNAL_SCHEMA
from booking_doctor.naming import Column, Relation
from booking_doctor.settings import DatabaseSettings, Names


def relations(settings: DatabaseSettings) -> list[Relation]:
    """
    All tables and views that are somebody's own: neither the system's, nor an extension's, nor the doctor's journal.

    A schema in the database's URL decides what is the default, else the role's search path.

    Raises:
        DatabaseError: The catalog could not be read.
    """
    with closing(Database(settings, Names())) as database, database.reading() as connection:
        found = connection.execute(_RELATIONS, {"schema": settings.schema, "journal": JOURNAL_SCHEMA}).all()
        columns: dict[int, list[Column]] = {row.oid: [] for row in found}
        for row in connection.execute(_COLUMNS, {"oids": list(columns)}):
            columns[row.oid].append(
                Column(
                    name=row.name,
                    kind=row.kind,
                    not_null=row.not_null,
                    unique=row.is_unique,
                    primary=row.is_primary,
                    target=row.target,
                )
            )
    return [
        Relation(
            oid=row.oid,
            schema=row.schema,
            name=row.name,
            table=row.is_table,
            default=row.is_default,
            filled=row.filled,
            readable=row.readable,
            columns=tuple(columns[row.oid]),
        )
        for row in found
    ]


# NOTE: statistics say whether there are rows, because they ask for no privilege and no lock; they arrive a little late.
_RELATIONS: Final = text(r"""
SELECT CAST(c.oid AS bigint) AS oid, n.nspname AS schema, c.relname AS name, c.relkind IN ('r', 'p') AS is_table,
  CASE WHEN CAST(:schema AS text) IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = :schema END AS is_default,
  c.reltuples > 0 OR pg_stat_get_live_tuples(c.oid) > 0 AS filled,
  has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT') AS readable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('information_schema', :journal) AND n.nspname NOT LIKE 'pg\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = CAST('pg_class' AS regclass) AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
""")

_COLUMNS: Final = text("""
SELECT CAST(a.attrelid AS bigint) AS oid, a.attname AS name, a.attnotnull AS not_null,
  CASE WHEN t.typcategory = 'S' THEN 'text' WHEN t.typcategory = 'N' THEN 'number' WHEN t.typcategory = 'E' THEN 'enum'
    WHEN t.typname IN ('timestamptz', 'timestamp') THEN 'time' WHEN t.typname IN ('json', 'jsonb') THEN 'json'
    WHEN t.typname = 'uuid' THEN 'uuid' ELSE 'other' END AS kind,
  coalesce(i.is_unique, false) AS is_unique, coalesce(i.is_primary, false) AS is_primary, f.target
FROM pg_attribute a
JOIN pg_type own ON own.oid = a.atttypid
JOIN pg_type t ON t.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END
LEFT JOIN (SELECT indrelid, indkey[0] AS attnum, bool_or(indisunique) AS is_unique, bool_or(indisprimary) AS is_primary
  FROM pg_index WHERE indisvalid AND indnkeyatts = 1 GROUP BY 1, 2) i ON i.indrelid = a.attrelid AND i.attnum = a.attnum
LEFT JOIN (SELECT conrelid, conkey[1] AS attnum, CAST(min(confrelid) AS bigint) AS target
  FROM pg_constraint WHERE contype = 'f' AND cardinality(conkey) = 1 GROUP BY 1, 2) f
  ON f.conrelid = a.attrelid AND f.attnum = a.attnum
WHERE a.attrelid = ANY (CAST(CAST(:oids AS bigint[]) AS oid[])) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
""")
