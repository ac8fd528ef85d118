"""
What a trigger's function does, in words: to the row that passes it, and to rows that are stored already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.plpgsql.passage import Done, Passage
from booking_doctor.plpgsql.reading import read
from booking_doctor.plpgsql.values import (
    NULL,
    REFUSED,
    REST,
    ROW,
    UNKNOWN,
    Occasion,
    Value,
    bare,
    before,
    made_of,
    written,
)
from booking_doctor.plpgsql.words import Tokens, Unreadable, is_word, split, tokens


class Deed(Struct, frozen=True):
    """
    Something that a function does.

    Attributes:
        certain: Whether it does so to every row.
    """

    does: str
    certain: bool


class Rewriting(Struct, frozen=True):
    """
    A statement that changes rows of a watched table.

    Attributes:
        columns: Those of the watched ones that it sets; none where it removes rows.
        same_row: Whether it is about the row that passes, or about all of them.
        afresh: Whether what it sets owes nothing to what is there.
    """

    table: str
    columns: frozenset[str]
    same_row: bool
    afresh: bool = True

    @property
    def does(self) -> str:
        """
        What it does.
        """
        if self.columns:
            return f"writes {', '.join(f'{self.table}.{column}' for column in sorted(self.columns))} again"
        return f"deletes from {self.table}"


def deeds(source: str, occasion: Occasion, watched: Mapping[str, frozenset[str]], condition: str = "") -> list[Deed]:
    """
    What the function does; nothing where it leaves rows as they are.

    Args:
        watched: The columns of the tables that are of interest.
        condition: The trigger's own, as the catalog has it; empty for none.
    """
    passage = Passage(occasion)
    try:
        fires = passage.holds(tokens(condition)) if condition else True
        if fires is False:
            return []
        passage.follow(read(source))
    except Unreadable:
        return [Deed("has a source that is not understood", False)]
    told = [*_outcome(passage.outcomes, occasion), *_on_the_way(passage.done, occasion, watched)]
    return told if fires else [replace(deed, certain=False) for deed in told]


# --- what comes out --------------------------------------------------------------------------------------------------

_CERTAIN: Final = {
    "refuse": "refuses the row with an exception",
    "drop": "drops the row",
    "set": "sets {}",
    "restore": "puts back the {} of before",
    "make": "makes {} of what was written",
    "replace": "hands on another row than the one that was written",
    "hand on": "hands the row on to what its source does not show",
}
_PERHAPS: Final = {
    **_CERTAIN,
    "refuse": "may refuse the row with an exception",
    "drop": "may drop the row",
    "set": "may set {}",
    "restore": "may put back the {} of before",
    "make": "may change {}",
}


def _outcome(outcomes: Sequence[Value], occasion: Occasion) -> Iterator[Deed]:
    """
    What all paths come to.
    """
    kept = sorted(occasion.kept) if occasion.returned else []
    judged = [_judged(value, kept) if occasion.returned or REFUSED in value.marks else {} for value in outcomes]
    certain = all(_interferes(value, columns, kept) for value, columns in zip(outcomes, judged, strict=True))
    for deed, said in (_CERTAIN if certain else _PERHAPS).items():
        columns = {column for one in judged for column in one.get(deed, ())}
        if any(deed in one for one in judged):
            yield Deed(said.format(", ".join(sorted(columns))), certain)


def _judged(value: Value, kept: Sequence[str]) -> dict[str, list[str]]:
    """
    What happens to the row on one path, and to which columns.
    """
    if REFUSED in value.marks:
        return {"refuse": []}
    deeds: dict[str, list[str]] = {}
    if NULL in value.marks:
        deeds["drop"] = []
    if value.marks - {NULL, ROW}:
        deeds["hand on"] = []
    if ROW in value.marks:
        for column in kept:
            for mark in value.of(column) - {written(column)}:
                deeds.setdefault(_changed(mark, column), []).append(column)
    if not deeds and value.of(REST) != {written(REST)}:
        deeds["replace"] = []
    return deeds


def _changed(mark: str, column: str) -> str:
    if mark == before(column):
        return "restore"
    return "make" if mark in {made_of(column), UNKNOWN} else "set"


def _interferes(value: Value, deeds: Mapping[str, Sequence[str]], kept: Sequence[str]) -> bool:
    """
    Whether no row comes through unchanged on this path.
    """
    if not deeds or not value.marks <= {REFUSED, NULL, ROW}:
        return False
    if ROW not in value.marks:
        return True
    unchanged = {column for column in kept if written(column) in value.of(column)}
    return any(column not in unchanged | {*deeds.get("make", ())} for column in kept)


# --- what is done besides --------------------------------------------------------------------------------------------


def _on_the_way(done: Iterable[Done], occasion: Occasion, watched: Mapping[str, frozenset[str]]) -> Iterator[Deed]:
    for statement in done:
        if statement.words and is_word(statement.words[0], "execute"):
            yield Deed("runs SQL that its source does not show", False)
        for rewriting in rewritings(statement.words, watched):
            own = rewriting.table == occasion.table and rewriting.same_row and rewriting.afresh
            certain = statement.always and own and occasion.stored
            yield Deed(rewriting.does if certain else f"perhaps {rewriting.does}", certain)


def rewritings(words: Tokens, watched: Mapping[str, frozenset[str]]) -> Iterator[Rewriting]:
    """
    Whatever in a statement, or in several, changes rows of watched tables.
    """
    for place, token in enumerate(words):
        rest = words[place + 1 :]
        if is_word(token, "update"):
            yield from _updates(rest, watched, words[:place])
        elif is_word(token, "delete", "merge", "truncate"):
            table, after = _table(rest, watched)
            if table:
                yield Rewriting(table, frozenset(), is_word(token, "truncate") or _same_row(after))


def _updates(rest: Tokens, watched: Mapping[str, frozenset[str]], said: Tokens) -> Iterator[Rewriting]:
    inserted = [_table(said[place + 1 :], watched)[0] for place, token in enumerate(said) if is_word(token, "insert")]
    # NOTE: INSERT … ON CONFLICT DO UPDATE SET names its table at the beginning, and is about another row.
    conflict = bool(rest and is_word(rest[0], "set") and inserted)
    table, after = (inserted[-1], rest) if conflict else _table(rest, watched)
    place = next((number for number, token in enumerate(after[:4]) if is_word(token, "set")), None)
    if not table or place is None:
        return
    clause = _clause(after[place + 1 :])
    assigned, *_ = split(clause, "where", "from", "returning")
    columns = {column: expression for column, expression in _assigned(assigned) if column in watched[table]}
    if columns:
        afresh = not any(token.text in {column, "new"} for column, words in columns.items() for token in words)
        yield Rewriting(table, frozenset(columns), not conflict and _same_row(clause), afresh)


def _assigned(words: Tokens) -> Iterator[tuple[str, Tokens]]:
    """
    The columns of SET, each with what it gets.
    """
    for part in split(words, ","):
        left, *_ = split(part, "=")
        for token in left:
            if token.kind in {"word", "name"}:
                yield token.text, part[len(left) + 1 :]


def _clause(words: Tokens) -> Tokens:
    """
    What belongs to the statement: up to its semicolon, or the parenthesis that it stands in.
    """
    depth = 0
    for place, token in enumerate(words):
        depth += is_word(token, "(") - is_word(token, ")")
        if depth < 0 or (depth == 0 and is_word(token, ";")):
            return words[:place]
    return words


def _table(words: Tokens, watched: Mapping[str, frozenset[str]]) -> tuple[str | None, Tokens]:
    """
    The watched table that is named there, and what follows.
    """
    place = 0
    while place < len(words) and is_word(words[place], "from", "into", "only", "table"):
        place += 1
    if place + 2 < len(words) and is_word(words[place + 1], "."):
        place += 2
    named = words[place].text if place < len(words) and words[place].kind in {"word", "name"} else None
    return (named if named in watched else None), words[place + 1 :]


def _same_row(clause: Tokens) -> bool:
    """
    Whether it is about every row, or about the one that equals NEW in a column and nothing else is asked.
    """
    clause, *conditions = split(_clause(clause), "where")
    if not conditions:
        return not any(is_word(token, "from", "using") for token in clause)
    condition, *_ = split(conditions[0], "returning")
    sides = [[token.text for token in side] for side in split(bare(condition), "=")]
    if len(sides) != 2:
        return False
    here, there = sides if "new" in sides[1] else reversed(sides)
    return there[:-1] == ["new", "."] and here[-1:] == there[-1:] and len(here) in {1, 3}
