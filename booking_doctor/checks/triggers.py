"""
What happens to rows on their way into the table: triggers, and rules that add a statement.

They are judged by their source, along every path that it has. What it does not show is said to be unclear, not to be
harmless: nothing is run, because a trigger may do what no rollback takes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.schema import READY, WRITTEN, needed, subject
from booking_doctor.evidence import Queries
from booking_doctor.findings import Severity
from booking_doctor.plpgsql.deeds import Deed, deeds, rewritings
from booking_doctor.plpgsql.values import Occasion
from booking_doctor.plpgsql.words import Unreadable, called, is_word, tokens

_TRIGGERS: Final = """
SELECT t.tgname AS name, t.tgtype::int AS type, n.nspname AS schema, p.proname AS function, l.lanname AS language,
  p.prosrc AS source, format('ALTER TABLE %s DISABLE TRIGGER %I;', CAST(t.tgrelid AS regclass), t.tgname) AS remedy,
  CASE WHEN t.tgqual IS NOT NULL
    THEN substring(pg_get_triggerdef(t.oid) FROM ' WHEN (\\(.*\\)) EXECUTE ') END AS condition,
  ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum > 0
    AND NOT a.attisdropped ORDER BY 1) AS columns,
  (SELECT c.relkind = 'p' OR c.relispartition FROM pg_class c WHERE c.oid = t.tgrelid) AS partitioned
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE t.tgrelid IN (SELECT to_regclass(:relation) UNION SELECT relid FROM pg_partition_tree(to_regclass(:relation)))
  AND t.tgparentid = 0 AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & CAST(:bit AS int2) <> 0
  AND (t.tgattr::text = '' OR EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr) AND a.attname = ANY (CAST(:columns AS text[]))))
ORDER BY t.tgname
"""

_ALSO: Final = """
SELECT w.rulename AS name, pg_get_ruledef(w.oid) AS source, w.ev_qual::text = '<>' AS always,
  format('DROP RULE %I ON %s;', w.rulename, CAST(w.ev_class AS regclass)) AS remedy
FROM pg_rewrite w WHERE w.ev_class = to_regclass(:relation) AND w.ev_type = CAST(:event AS "char") AND NOT w.is_instead
  AND w.ev_enabled IN ('O', 'A') ORDER BY w.rulename
"""

_ELSEWHERE: Final = """
SELECT t.tgname AS name, CAST(t.tgrelid AS regclass)::text AS relation, p.prosrc AS source,
  format('ALTER TABLE %s DISABLE TRIGGER %I;', CAST(t.tgrelid AS regclass), t.tgname) AS remedy
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A') AND l.lanname = 'plpgsql'
  AND NOT EXISTS (SELECT FROM unnest(CAST(:relations AS text[])) AS own(relation) WHERE t.tgrelid = to_regclass(own.relation)
    OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(to_regclass(own.relation))))
ORDER BY relation, t.tgname
"""

_FUNCTIONS: Final = """
SELECT p.proname AS name, l.lanname AS language, p.provolatile = 'v' AS volatile,
  CASE WHEN l.lanname = 'sql' AND p.prosrc = '' THEN pg_get_functiondef(p.oid) ELSE p.prosrc END AS source
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE p.proname = ANY (CAST(:names AS text[])) AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND p.prorettype <> CAST('trigger' AS regtype)
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname <> 'dblink'
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY p.proname, p.oid
"""
"""Functions that are somebody's own. Those that come with an extension are taken for harmless, unless they run SQL."""

_ROW, _BEFORE, _INSTEAD_OF = 1, 2, 64
_HARMLESS: Final = frozenset(
    {"moddatetime", "suppress_redundant_updates_trigger", "tsvector_update_trigger", "tsvector_update_trigger_column"}
)
"""Functions in C that come with PostgreSQL and touch a time or a search column, or skip what changes nothing."""

_READ: Final = frozenset({"sql", "plpgsql"})
"""Languages whose source is understood."""

_WEBHOOK: Final = ("supabase_functions", "http_request")
"""The function of AFTER triggers that only calls somebody: Supabase's webhooks."""

_KEPT: Final = {"pending_bookings": ("metadata",), "messages": WRITTEN["messages"]}
"""What must come through a trigger unchanged, by table."""

_PRESENT: Final = ("metadata", "direction", "message_sid", "to_number")
"""What of it the application never writes as null."""


class _Suspect(Struct, frozen=True, kw_only=True):
    """
    A trigger or rule, and one thing that it does.

    Attributes:
        remedy: The SQL that ends it.
    """

    name: str
    deed: Deed
    remedy: str


@check(Severity.ERROR, after=READY)
def schema_trigger_interferes(evidence: Evidence) -> Iterator[Fault]:
    """
    A trigger or rule changes or drops what the application writes: metadata of a pending booking, or a message.

    ## Why it matters

    The statement succeeds, and its RETURNING may even show the new value; what is stored is something else. No log says
    so. Such triggers were mostly copied from another table.

    ## How to repair

    Mend the function so that it returns NEW with these columns as they came, or disable the trigger:
    `ALTER TABLE … DISABLE TRIGGER …`. A trigger is judged by its source; nothing is run. Where what it does depends on the
    row, or the source does not show it, it is only a warning: try it in a copy of the database, in a transaction that is
    rolled back.

    ## When this is fine

    Where the change is meant, such as a trigger that masks bodies. Triggers that only set a time, or columns that hold no
    SMS, are not reported.
    """
    for table, event, bit in (("pending_bookings", "UPDATE", 16), ("messages", "INSERT", 4)):
        suspects = list(_Watch(evidence.database).suspects(table, event, bit))
        if suspects:
            yield _interference(evidence.database, table, suspects)


def _interference(database: Queries, table: str, suspects: Sequence[_Suspect]) -> Fault:
    done: dict[str, list[str]] = {}
    for suspect in suspects:
        done.setdefault(suspect.name, []).append(suspect.deed.does)
    told = "; ".join(f"the {name} {' and '.join(dict.fromkeys(does))}" for name, does in done.items())
    stored = "stored metadata" if table == "pending_bookings" else "inserted rows"
    return Fault(
        subject=subject(database, table, "metadata" if table == "pending_bookings" else None),
        summary=f"In {database.name(table)} {told}; {stored} should stay as written.",
        remedy=f"Mend the function, or run: {' '.join(dict.fromkeys(suspect.remedy for suspect in suspects))}",
        # NOTE: the definitions are left out: a webhook's holds the key that it calls with.
        evidence={"interfering": list(done)},
        severity=None if any(suspect.deed.certain for suspect in suspects) else Severity.WARNING,
    )


class _Watch:
    """
    Watches over the columns that must come through, in both tables.
    """

    def __init__(self, database: Queries) -> None:
        self._database = database
        self._functions: dict[str, list[Mapping[str, Any]]] = {}
        self._columns = {
            database.name(table): frozenset(database.name(table, column) for column in columns)
            for table, columns in _KEPT.items()
        }

    def suspects(self, table: str, event: str, bit: int) -> Iterator[_Suspect]:
        relation, name = needed(self._database, table), self._database.name(table)
        rules = {"UPDATE": "2", "INSERT": "3"}
        for row in self._database.rows(_TRIGGERS, relation=relation, bit=bit, columns=sorted(self._columns[name])):
            for deed in self._judged(row, table, event):
                yield _Suspect(name=f"trigger {row['name']}", deed=deed, remedy=row["remedy"])
        for row in self._database.rows(_ALSO, relation=relation, event=rules[event]):
            for deed in self._rewrites(row["source"], name, always=row["always"]):
                yield _Suspect(name=f"rule {row['name']}", deed=deed, remedy=row["remedy"])
        if table == "pending_bookings":
            yield from self._elsewhere(name)

    def _elsewhere(self, name: str) -> Iterator[_Suspect]:
        """
        Triggers of other tables that reach over to the metadata.
        """
        rows = self._database.rows(_ELSEWHERE, relations=[self._database.relation(table) for table in _KEPT])
        self._look_up({name for row in rows for name in _called(row["source"])})
        for row in rows:
            reached = [function["source"] for function in self._reached(row["source"], set()) if function["volatile"]]
            for deed in dict.fromkeys(
                deed for source in (row["source"], *reached) for deed in self._rewrites(source, name, always=False)
            ):
                yield _Suspect(name=f"trigger {row['name']} on {row['relation']}", deed=deed, remedy=row["remedy"])

    def _judged(self, row: Mapping[str, Any], table: str, event: str) -> Iterable[Deed]:
        """
        What the trigger does to a row.
        """
        kind = row["type"]
        if row["language"] != "plpgsql":
            known = row["language"] in {"c", "internal"} and row["function"] in _HARMLESS
            return [] if known else [Deed(f"runs {row['function']}, whose source cannot be read", False)]
        if (row["schema"], row["function"]) == _WEBHOOK and not kind & _BEFORE:
            return []
        occasion = self._occasion(row, table, event)
        own = deeds(row["source"], occasion, self._columns, row["condition"] or "")
        instead = [Deed("does the writing in place of the view", False)] if kind & _INSTEAD_OF else []
        reached = self._reached(row["source"], {row["function"]})
        told = [Deed(f"calls {each['name']}, which {does}", False) for each in reached for does in self._may(each)]
        return dict.fromkeys([*instead, *own, *told])

    def _occasion(self, row: Mapping[str, Any], table: str, event: str) -> Occasion:
        name, kind = self._database.name(table), row["type"]
        before_row = bool(kind & _ROW and kind & _BEFORE)
        return Occasion(
            event=event,
            table=name,
            kept=self._columns[name],
            present=frozenset(self._database.name(table, column) for column in _PRESENT if column in _KEPT[table]),
            returned=before_row,
            stored=not kind & _BEFORE or (before_row and event == "UPDATE"),
            key="initial_sms",
            columns=frozenset(row["columns"]),
            partitioned=row["partitioned"],
            each_row=bool(kind & _ROW),
        )

    def _rewrites(self, source: str, table: str, *, always: bool) -> Iterator[Deed]:
        """
        What statements do to the watched columns of a table.
        """
        try:
            found = list(rewritings(tokens(source), {table: self._columns[table]}))
        except Unreadable:
            yield Deed("has a source that is not understood", False)
            return
        for rewriting in found:
            certain = always and rewriting.same_row and rewriting.afresh
            yield Deed(rewriting.does if certain else f"perhaps {rewriting.does}", certain)

    def _reached(self, source: str, seen: set[str]) -> Iterator[Mapping[str, Any]]:
        """
        The functions that the source calls, and those that they call.
        """
        names = {*_called(source)} - seen
        seen |= names
        self._look_up(names)
        for row in (row for name in sorted(names) for row in self._functions[name]):
            yield row
            if row["language"] in _READ:
                yield from self._reached(row["source"], seen)

    def _look_up(self, names: set[str]) -> None:
        unknown = names - self._functions.keys()
        self._functions |= {name: [] for name in unknown}
        for row in self._database.rows(_FUNCTIONS, names=sorted(unknown)) if unknown else ():
            self._functions[row["name"]].append(row)

    def _may(self, row: Mapping[str, Any]) -> Iterator[str]:
        """
        What a function of somebody's own may do to rows.
        """
        if row["language"] not in _READ:
            if row["volatile"]:
                yield "has a source that cannot be read"
            return
        words = tokens(row["source"])
        if row["volatile"]:
            yield from (f"perhaps {rewriting.does}" for rewriting in rewritings(words, self._columns))
            if any(is_word(word, "execute") for word in words):
                yield "runs SQL that its source does not show"
        if any(is_word(word, "raise") for word in words):
            yield "may raise an exception"


def _called(source: str) -> Collection[str]:
    try:
        return called(tokens(source))
    except Unreadable:
        return ()
