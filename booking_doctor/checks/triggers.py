"""
What happens to rows on their way into the table: triggers, and rules that add a statement.

They are judged by their source. What it does not show is said to be unclear, not to be harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.schema import READY, WRITTEN, needed, subject
from booking_doctor.evidence import Queries
from booking_doctor.findings import Severity

_TRIGGERS: Final = """
SELECT t.tgname AS name, t.tgtype::int AS type, p.proname AS function, l.lanname AS language, p.prosrc AS source,
  format('ALTER TABLE %s DISABLE TRIGGER %I;', CAST(t.tgrelid AS regclass), t.tgname) AS remedy
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
WHERE t.tgrelid IN (SELECT to_regclass(:relation) UNION SELECT relid FROM pg_partition_tree(to_regclass(:relation)))
  AND t.tgparentid = 0 AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & CAST(:bit AS int2) <> 0
  AND (t.tgattr::text = '' OR EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr) AND a.attname = ANY (CAST(:columns AS text[]))))
ORDER BY t.tgname
"""

_ALSO: Final = """
SELECT w.rulename AS name, pg_get_ruledef(w.oid) AS definition,
  format('DROP RULE %I ON %s;', w.rulename, CAST(w.ev_class AS regclass)) AS remedy
FROM pg_rewrite w WHERE w.ev_class = to_regclass(:relation) AND w.ev_type = CAST(:event AS "char") AND NOT w.is_instead
  AND w.ev_enabled IN ('O', 'A') ORDER BY w.rulename
"""

_ROW, _BEFORE, _DELETE, _INSTEAD_OF = 1, 2, 8, 64
_HARMLESS: Final = frozenset(
    {"moddatetime", "suppress_redundant_updates_trigger", "tsvector_update_trigger", "tsvector_update_trigger_column"}
)
"""Functions in C that come with PostgreSQL and touch a time or a search column, or skip what changes nothing."""


_KEPT: Final = {"pending_bookings": ("metadata",), "messages": WRITTEN["messages"]}
"""What must come through a trigger unchanged, by table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deed:
    """
    What a trigger or rule does to the rows that pass it.
    """

    name: str
    does: str
    remedy: str
    certain: bool = True


@check(Severity.ERROR, after=READY)
def schema_trigger_interferes(evidence: Evidence) -> Iterator[Fault]:
    """
    A trigger or rule changes or drops what the application writes: metadata of a pending booking, or a message.

    ## Why it matters

    The statement succeeds, and its RETURNING may even show the new value; what is stored is something else. No log says
    so. Such triggers were mostly copied from another table.

    ## How to repair

    Mend the function so that it returns NEW with these columns as they came, or disable the trigger:
    `ALTER TABLE … DISABLE TRIGGER …`. A trigger is judged by its source. Where the source does not show what it does, or
    where it may raise an exception, it is only a warning.

    ## When this is fine

    Where the change is meant, such as a trigger that masks bodies. Triggers that only set a time, or columns that hold no
    SMS, are not reported.
    """
    for table, event, bit in (("pending_bookings", "2", 16), ("messages", "3", 4)):
        deeds = _deeds(evidence.database, table, event, bit)
        if deeds:
            yield _interference(evidence.database, table, deeds)


def _deeds(database: Queries, table: str, event: str, bit: int) -> list[_Deed]:
    kept = [database.name(table, column) for column in _KEPT[table]]
    relation = needed(database, table)
    source = _Source(table=database.name(table), kept=frozenset(kept))
    triggers = database.rows(_TRIGGERS, relation=relation, bit=bit, columns=kept)
    judged = [(row, source.judge(row)) for row in triggers]
    rules = [(row, source.rewrites(row["definition"])) for row in database.rows(_ALSO, relation=relation, event=event)]
    return [
        *(_deed("trigger", row, *judgement) for row, judgement in judged if judgement),
        *(_deed("rule", row, "writes to the same table again") for row, again in rules if again),
    ]


def _deed(kind: str, row: Mapping[str, Any], does: str, certain: bool = True) -> _Deed:
    return _Deed(
        name=f"{kind} {row['name']}",
        does=does,
        remedy=row["remedy"],
        certain=certain,
    )


def _interference(database: Queries, table: str, deeds: Sequence[_Deed]) -> Fault:
    told = "; ".join(f"the {deed.name} {deed.does}" for deed in deeds)
    stored = "stored metadata" if table == "pending_bookings" else "inserted rows"
    return Fault(
        subject=subject(database, table, "metadata" if table == "pending_bookings" else None),
        summary=f"In {database.name(table)} {told}; {stored} should stay as written.",
        remedy=f"Mend the function, or run: {' '.join(deed.remedy for deed in deeds)}",
        # NOTE: the definitions are left out: a webhook's holds the key that it calls with.
        evidence={"interfering": [deed.name for deed in deeds]},
        severity=None if any(deed.certain for deed in deeds) else Severity.WARNING,
    )


_NOT_CODE: Final = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_NEW: Final = r"new(?:\s*\.\s*(\"(?:[^\"]|\"\")+\"|\w+))?(?:\s*\[[^]]*\])*"
_ASSIGNED: Final = (
    re.compile(rf"\b{_NEW}\s*:=", re.IGNORECASE),
    re.compile(rf"(?:^|;|\bbegin|\bthen|\belse|\bloop|>>)\s*{_NEW}\s*=", re.IGNORECASE),
    re.compile(rf"\binto\s+(?:strict\s+)?(?:[\w.\"\s]+,\s*)*{_NEW}(?![\w.])", re.IGNORECASE),
)
_CALLERS: Final = frozenset({"http_request"})
"""Functions of AFTER triggers that only call somebody: Supabase's webhooks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """
    Judges the source of triggers on one table.

    Attributes:
        kept: The columns that must come through.
    """

    table: str
    kept: frozenset[str]

    def judge(self, trigger: Mapping[str, Any]) -> tuple[str, bool] | None:
        """
        What the trigger does to a row, and whether its source shows it; None where it does nothing to it.
        """
        if trigger["language"] != "plpgsql":
            known = trigger["language"] in {"c", "internal"} and trigger["function"] in _HARMLESS
            return None if known else (f"runs {trigger['function']}, whose source cannot be read", False)
        code = _NOT_CODE.sub(" '' ", trigger["source"])
        kind = trigger["type"]
        before = bool(kind & _ROW and kind & (_BEFORE | _INSTEAD_OF))
        if before:
            if changed := self._changed(code):
                return f"sets {changed}", True
            if _drops(code):
                return "returns NULL or OLD, which drops the change", True
        if self.rewrites(code):
            return "writes to the same table again", True
        if not before and trigger["function"].rpartition(".")[2] in _CALLERS:
            return None
        return _unclear(code, before=before)

    def _changed(self, code: str) -> str:
        """
        The kept columns that are assigned; all of them where the whole row is.
        """
        names = [_plain(match[1]) for pattern in _ASSIGNED for match in pattern.finditer(code)]
        return "the whole row" if None in names else ", ".join(sorted(self.kept.intersection(filter(None, names))))

    def rewrites(self, code: str) -> bool:
        """
        Whether it deletes from the table, or updates a kept column of it.
        """
        own = rf'(?:only\s+)?(?:(?:"[^"]+"|\w+)\s*\.\s*)?"?{re.escape(self.table)}"?(?!\w)'
        if re.search(rf"\b(?:delete\s+from|merge\s+into)\s+{own}", code, re.IGNORECASE):
            return True
        updates = re.finditer(rf"\bupdate\s+{own}([^;]*)", code, re.IGNORECASE)
        assigned = (
            re.split(r"\b(?:where|from)\b", update[1], maxsplit=1, flags=re.IGNORECASE)[0] for update in updates
        )
        words = {word.lower() for part in assigned for word in re.findall(r"\w+", part)}
        return not words.isdisjoint(name.lower() for name in self.kept)


def _plain(name: str | None) -> str | None:
    if name is None:
        return None
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def _drops(code: str) -> bool:
    # NOTE: a function that asks for the operation serves DELETE as well, and has to return OLD for that.
    excused = re.search(r"\btg_op\b", code, re.IGNORECASE)
    return bool(re.search(r"\breturn\s+(?:null)\b" if excused else r"\breturn\s+(?:null|old)\b", code, re.IGNORECASE))


def _unclear(code: str, *, before: bool) -> tuple[str, bool] | None:
    if re.search(r"\braise\s+(?:exception\b|sqlstate\b|''|using\b)|\bassert\b", code, re.IGNORECASE):
        return "may refuse the row with an exception", False
    if re.search(r"\bexecute\b", code, re.IGNORECASE):
        return "runs SQL that its source does not show", False
    if before and re.search(r"\breturn\s+(?!(?:new|null|old)\s*;)|\b(?:perform|call)\b", code, re.IGNORECASE):
        return "hands the row on to what its source does not show", False
    return None
