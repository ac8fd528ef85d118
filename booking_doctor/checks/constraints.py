"""
Which words the columns of messages let in: check constraints, domains, enums, and tables that a column takes its words from.

A constraint is read, never run: it may call anything. What cannot be read is said to be open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from msgspec import Struct

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.keys import ENFORCED
from booking_doctor.checks.schema import READY, stored, subject
from booking_doctor.core.model import STATUS_RANK
from booking_doctor.evidence import Queries
from booking_doctor.findings import Severity
from booking_doctor.plpgsql.values import bare
from booking_doctor.plpgsql.words import Tokens, Unreadable, is_word, split, tokens

_WORDS: Final = f"""
WITH column_ AS (
  SELECT c.oid, a.attnum, a.attname, a.atttypid, CAST(c.oid AS regclass)::text AS relation, quote_ident(a.attname) AS quoted
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
  WHERE c.oid IN (SELECT to_regclass(:relation) UNION SELECT relid FROM pg_partition_tree(to_regclass(:relation)))
    AND a.attname = :column AND NOT a.attisdropped
)
SELECT x.relation, x.quoted, quote_ident(k.conname) AS name, 'check' AS kind,
  ARRAY(SELECT CAST(b.attname AS text) FROM pg_attribute b WHERE b.attrelid = x.oid AND b.attnum = ANY (k.conkey)) AS columns,
  pg_get_expr(k.conbin, k.conrelid) AS expression, CAST(NULL AS text[]) AS labels
FROM column_ x JOIN pg_constraint k ON k.conrelid = x.oid AND x.attnum = ANY (k.conkey)
WHERE k.contype = 'c' AND k.coninhcount = 0 AND {ENFORCED}
UNION ALL
SELECT x.relation, x.quoted, quote_ident(k.conname), 'foreign key', NULL, CAST(CAST(k.confrelid AS regclass) AS text), NULL
FROM column_ x JOIN pg_constraint k ON k.conrelid = x.oid AND x.attnum = ANY (k.conkey)
WHERE k.contype = 'f' AND k.conparentid = 0 AND {ENFORCED}
UNION ALL
SELECT x.relation, x.quoted, CAST(CAST(x.atttypid AS regtype) AS text), 'domain', NULL, pg_get_expr(k.conbin, 0), NULL
FROM column_ x JOIN pg_constraint k ON k.contypid = x.atttypid WHERE x.oid = to_regclass(:relation) AND k.contype = 'c'
UNION ALL
SELECT x.relation, x.quoted, CAST(CAST(t.oid AS regtype) AS text), 'enum', NULL, NULL,
  ARRAY(SELECT CAST(e.enumlabel AS text) FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
FROM column_ x JOIN pg_type own ON own.oid = x.atttypid
JOIN pg_type t ON t.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END AND t.typtype = 'e'
WHERE x.oid = to_regclass(:relation)
ORDER BY relation, name
"""  # noqa: S608  the condition above

_SAID: Final = {
    "status": tuple(STATUS_RANK),
    "twilio_status": tuple(STATUS_RANK),
    "direction": ("inbound", "outbound"),
}
"""What is written into each column; an application's own directions are Twilio's, shortened."""

_INBOUND: Final = frozenset({"receiving", "received"})
_OUTBOUND: Final = ("outbound", "outbound-api")


@check(Severity.WARNING, after=READY)
def schema_status_not_accepted(evidence: Evidence) -> Iterator[Fault]:
    """
    A constraint or an enum refuses words that Twilio sends.

    ## Why it matters

    The whole row is refused (SQLSTATE 23514, 23503 or 22P02) as soon as a text has that status. A typical one is
    `accepted`, which only texts of a messaging service have: all others work.

    ## How to repair

    Let the column take all of Twilio's words, or translate each of them in the application before it writes.

    ## When this is fine

    Where the application translates. The doctor's repair translates too, to the nearest word that is allowed. A constraint
    that calls a function, or a table that holds the words, is only named: see for yourself that all words are in.
    """
    database = evidence.database
    columns = {column: database.name("messages", column) for column in _SAID if database.has("messages", column)}
    relation = stored(database, "messages", *columns)
    rules = {column: database.rows(_WORDS, relation=relation, column=name) for column, name in columns.items()}
    candidates = _candidates(columns, rules)
    for column in columns:
        for rule in rules[column]:
            if column != "direction" or columns.get("status") not in (rule["columns"] or ()):
                yield from _faults(database, column, rule, _refused(rule, candidates[column]))


def _candidates(
    columns: Mapping[str, str], rules: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, dict[str, list[dict[str, str]]]]:
    """
    For each column and word the rows that it may come in, by the names here. A domain calls the word itself VALUE.
    """

    def row(word: str, **said: str) -> dict[str, str]:
        return {**{columns[column]: value for column, value in said.items() if column in columns}, "value": word}

    directions = {
        "inbound": [row("inbound", direction="inbound")],
        "outbound": [row(word, direction=word) for word in _OUTBOUND],
    }
    taken = [
        word
        for word, said in zip(_OUTBOUND, directions["outbound"], strict=True)
        if all(_passes(rule, said) is not False for rule in rules.get("direction", ()))
    ]
    statuses = {
        word: [
            row(word, direction=direction, status=word, twilio_status=word)
            for direction in (["inbound"] if word in _INBOUND else taken or _OUTBOUND)
        ]
        for word in STATUS_RANK
    }
    return {"direction": directions, "status": statuses, "twilio_status": statuses}


def _faults(database: Queries, column: str, row: Mapping[str, Any], refused: list[str] | None) -> Iterator[Fault]:
    where = f"{database.name('messages')}.{database.name('messages', column)}"
    about = subject(database, "messages", column)
    if refused is None:
        what = f"stand in the table {row['expression']}" if row["kind"] == "foreign key" else "a rule lets in"
        yield Fault(
            subject=about,
            summary=f"The column {where} takes only words that {what}, by {row['name']}; whether it takes all of Twilio's "
            "is open.",
            remedy=f"See that {row['name']} lets in {', '.join(_SAID[column])}.",
            evidence={"by": row["name"]},
            severity=Severity.INFO,
        )
    elif refused:
        yield Fault(
            subject=about,
            summary=f"The column {where} refuses {', '.join(refused)}, by {row['name']}; Twilio sends these words.",
            remedy=_widened(row, _SAID[column], refused),
            evidence={"refused": refused, "by": row["name"]},
        )


def _refused(rule: Mapping[str, Any], candidates: Mapping[str, Sequence[Mapping[str, str]]]) -> list[str] | None:
    """
    The words that do not pass in any row; None where that cannot be read.
    """
    passes = {word: _any(_passes(rule, row) for row in rows) for word, rows in candidates.items()}
    return None if None in passes.values() else [word for word, passed in passes.items() if not passed]


def _passes(rule: Mapping[str, Any], row: Mapping[str, str]) -> bool | None:
    if rule["kind"] == "foreign key":
        return None
    if rule["labels"] is not None:
        return row["value"] in rule["labels"]
    try:
        others = frozenset({*(rule["columns"] or ())} - row.keys())
        return _Row(row, others).admitted(tokens(rule["expression"])) is not False
    except (Unreadable, _Open):
        return None


def _widened(row: Mapping[str, Any], words: Sequence[str], refused: Sequence[str]) -> str:
    if row["labels"] is not None:
        return "Run: " + " ".join(f"ALTER TYPE {row['name']} ADD VALUE '{word}';" for word in refused)
    own = _listed(row["expression"])
    if not own or row["columns"] is None or len(row["columns"]) > 1:
        return f"Let {row['name']} take {', '.join(refused)} too."
    listed = ", ".join("'" + word.replace("'", "''") + "'" for word in dict.fromkeys((*own, *words)))
    drop = f"ALTER TABLE {row['relation']} DROP CONSTRAINT {row['name']}"
    add = f"ADD CONSTRAINT {row['name']} CHECK ({row['quoted']} IN ({listed})) NOT VALID"
    return f"Run: {drop}, {add}; ALTER TABLE {row['relation']} VALIDATE CONSTRAINT {row['name']};"


def _listed(expression: str) -> list[str]:
    """
    The words of a constraint that is one list of them.
    """
    parts = map(bare, split(bare(tokens(expression)), "or"))
    lists = [part for part in parts if not any(is_word(token, "is") for token in part)]
    if len(lists) != 1 or len(split(lists[0], "=")) != 2 or len(split(lists[0], "and")) != 1:
        return []
    return [token.text for token in lists[0] if token.kind == "text"]


# --- reading a constraint --------------------------------------------------------------------------------------------

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": eq,
    "<>": ne,
    "!=": ne,
    "<=": le,
    ">=": ge,
    "<": lt,
    ">": gt,
}
_FUNCTIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "btrim": lambda text: text.strip(" "),
    "length": len,
    "char_length": len,
}


class _Open(Exception):
    """
    It cannot be told.
    """


class _Row(Struct, frozen=True):
    """
    What a constraint says to a row whose columns hold these texts.

    Attributes:
        others: Columns that the application fills with what is none of our business.
    """

    values: Mapping[str, str]
    others: frozenset[str] = frozenset()

    def admitted(self, expression: Tokens) -> bool | None:
        """
        Whether the row is let in; None where that is for other columns to say.

        Raises:
            _Open: It cannot be told.
        """
        expression = bare(expression)
        if len(parts := split(expression, "or")) > 1:
            return _any(self.admitted(part) for part in parts)
        if len(parts := split(expression, "and")) > 1:
            return _all(self.admitted(part) for part in parts)
        if expression and is_word(expression[0], "not"):
            admitted = self.admitted(expression[1:])
            return None if admitted is None else not admitted
        if any(token.kind in {"word", "name"} and token.text in self.others for token in expression):
            return None
        return self._compared(expression)

    def _compared(self, expression: Tokens) -> bool:
        if len(sides := split(expression, "is")) == 2:
            self._term(sides[0])
            kind = [token.text for token in sides[1]]
            if kind in (["null"], ["not", "null"]):
                return kind == ["not", "null"]
        for sign, compare in _COMPARISONS.items():
            if len(sides := split(expression, sign)) == 2:
                return self._matched(sides[0], sides[1], sign, compare)
        raise _Open

    def _matched(self, left: Tokens, right: Tokens, sign: str, compare: Callable[[Any, Any], bool]) -> bool:
        term = self._term(left)
        if right and is_word(right[0], "any", "all"):
            listed = [token for token in right[1:] if token.kind == "text"]
            plain = any(is_word(token, "array") for token in right) and not any(
                is_word(token, "select") for token in right
            )
            if not plain or (right[0].text, sign) not in {("any", "="), ("all", "<>")}:
                raise _Open
            return (term in {token.text for token in listed}) is (sign == "=")
        other = self._term(right)
        if type(term) is not type(other):
            raise _Open
        return compare(term, other)

    def _term(self, expression: Tokens) -> str | int:
        """
        Raises:
            _Open: It is neither a literal nor made of a column that is known.
        """
        expression = bare(split(bare(expression), "::")[0])
        if len(expression) == 1:
            token = expression[0]
            if token.kind == "text":
                return token.text
            if token.kind == "number" and token.text.isdigit():
                return int(token.text)
            if token.kind in {"word", "name"} and token.text in self.values:
                return self.values[token.text]
            raise _Open
        called, arguments = expression[:1], expression[1:]
        if not called or called[0].text not in _FUNCTIONS or bare(arguments) is arguments:
            raise _Open
        argument = self._term(arguments)
        if not isinstance(argument, str):
            raise _Open
        result: str | int = _FUNCTIONS[called[0].text](argument)
        return result


def _any(truths: Iterable[bool | None]) -> bool | None:
    found = list(truths)
    return True if True in found else None if None in found else False


def _all(truths: Iterable[bool | None]) -> bool | None:
    found = list(truths)
    return False if False in found else None if None in found else True
