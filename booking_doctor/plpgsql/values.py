"""
What the variables of a trigger's function may hold, and what expressions make of them.

It is told by marks, one for each path that leads there. What cannot be told gets the mark of the unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct, field

from booking_doctor.plpgsql.words import Token, Tokens, is_word, split

Marks: TypeAlias = "frozenset[str]"

NULL, OTHER, UNKNOWN, ROW, REFUSED = "null", "other", "unknown", "row", "refused"
"""Marks: nothing, something that does not come from the row, who knows, a whole row, and the end by an exception."""

REST: Final = "*"
"""Stands for the columns of a row that are not followed."""


def written(column: str) -> str:
    """
    The mark of the column's value as the application wrote it.
    """
    return f"={column}"


def made_of(column: str) -> str:
    """
    The mark of something that was made of that value.
    """
    return f"~{column}"


def before(column: str) -> str:
    """
    The mark of what the column held before.
    """
    return f"-{column}"


class Value(Struct, frozen=True):
    """
    What a variable may hold.

    Attributes:
        fields: Of a row, the marks of its columns that are known.
    """

    marks: Marks
    fields: Mapping[str, Marks] = field(default_factory=dict)

    def of(self, column: str) -> Marks:
        """
        The marks of a column.
        """
        return self.fields.get(column, JUST_OTHER if self.marks <= {ROW, NULL} else JUST_UNKNOWN)

    def __or__(self, other: Value) -> Value:
        columns = self.fields.keys() | other.fields.keys()
        return Value(self.marks | other.marks, {column: self.of(column) | other.of(column) for column in columns})


State: TypeAlias = "dict[str, Value]"

JUST_OTHER, JUST_UNKNOWN = frozenset({OTHER}), frozenset({UNKNOWN})
NOTHING: Final = Value(frozenset({NULL}))
ANYTHING: Final = Value(JUST_UNKNOWN)


class Occasion(Struct, frozen=True, kw_only=True):
    """
    When a trigger fires.

    Attributes:
        event: ``INSERT`` or ``UPDATE``.
        kept: The columns that must come through.
        present: Those of them that are never written as null.
        returned: Whether what the function returns is what is stored.
        stored: Whether the row is there already, so that a statement could change it.
        key: The key in a JSON column without which it is of no use.
        columns: All of the table's.
        partitioned: Whether rows lie in partitions, whose names a trigger gets instead of the table's.
        each_row: Whether it fires for every row, not once for the statement: only then there is a NEW.
    """

    event: str
    table: str
    kept: frozenset[str]
    present: frozenset[str] = frozenset()
    returned: bool
    stored: bool
    key: str = ""
    columns: frozenset[str] = frozenset()
    partitioned: bool = False
    each_row: bool = True

    def lacks(self, path: Sequence[str]) -> bool:
        """
        Whether it is a field that rows of the table do not have.
        """
        return len(path) > 1 and path[0] in {"new", "old"} and path[1] not in {*self.columns, REST}

    def row(self) -> State:
        """
        NEW and OLD as the function gets them.
        """
        if not self.each_row:
            return {"new": NOTHING, "old": NOTHING}
        columns = {*self.kept, REST}
        old = Value(frozenset({ROW}), {column: frozenset({before(column)}) for column in columns})
        return {
            "new": Value(frozenset({ROW}), {column: frozenset({written(column)}) for column in columns}),
            "old": old if self.event == "UPDATE" else NOTHING,
        }

    def text(self, expression: Tokens) -> str | None:
        """
        The text that an expression of one word stands for, where that is known.
        """
        known = {"tg_op": self.event}
        if not self.partitioned:
            known |= {"tg_table_name": self.table, "tg_relname": self.table}
        if len(expression) != 1:
            return None
        return expression[0].text if expression[0].kind == "text" else known.get(expression[0].text)


class Fails(Exception):
    """
    What is asked for is an error at run time.
    """


def without_label(path: Sequence[str], state: State) -> Sequence[str]:
    """
    A variable may be called by its block's name before its own.
    """
    return path[1:] if path[0] not in state and len(path) > 1 and path[1] in state else path


# --- expressions -----------------------------------------------------------------------------------------------------


def bare(expression: Tokens) -> Tokens:
    """
    Without parentheses around the whole.
    """
    while _is_call(expression, 0):
        expression = expression[1:-1]
    return expression


def _is_call(expression: Tokens, place: int) -> bool:
    """
    Whether all from there on is one pair of parentheses.
    """
    if not (place < len(expression) and is_word(expression[place], "(") and is_word(expression[-1], ")")):
        return False
    depth = 0
    for token in expression[place:-1]:
        depth += is_word(token, "(") - is_word(token, ")")
        if not depth:
            return False
    return True


def _path(expression: Tokens) -> tuple[str, ...]:
    """
    The names where it is nothing but those, with dots between.
    """
    names, dots = expression[::2], expression[1::2]
    fits = len(names) == len(dots) + 1 and all(is_word(dot, ".") for dot in dots)
    named = all(name.kind in {"word", "name"} or is_word(name, "*") for name in names)
    return tuple(name.text for name in names) if fits and named else ()


def _paths(expression: Tokens) -> Iterator[tuple[str, ...]]:
    """
    All names in it.
    """
    place = 0
    while place < len(expression):
        end = place + 1
        if expression[place].kind in {"word", "name"}:
            while end + 1 < len(expression) and is_word(expression[end], "."):
                end += 2
            yield _path(expression[place:end])
        place = end


class Expression(Struct, frozen=True):
    """
    What expressions may come to.
    """

    occasion: Occasion
    state: State

    def value(self, expression: Tokens) -> Value:
        """
        What it may come to.

        Raises:
            Fails: It names a field that is not there.
        """
        expression = bare(expression)
        cast = split(expression, "::")
        if len(cast) > 1 and (len(cast[0]) == 1 or _path(cast[0]) or bare(cast[0]) is not cast[0]):
            return self.value(cast[0])
        if not expression or (len(expression) == 1 and is_word(expression[0], "null")):
            return NOTHING
        if path := _path(expression):
            return self._named(path)
        return self._built(expression) or self._made(expression)

    def _named(self, path: Sequence[str]) -> Value:
        if self.occasion.lacks(path):
            raise Fails
        name, *columns = without_label(path, self.state)
        if name not in self.state:
            return Value(JUST_OTHER)
        whole = self.state[name]
        if not columns or columns == [REST]:
            return whole
        return Value(whole.of(columns[0]) if len(columns) == 1 else JUST_UNKNOWN)

    def _built(self, expression: Tokens) -> Value | None:
        """
        The value where it is built in a way that is known.
        """
        if len(sides := split(expression, "#=")) == 2:
            return self._with_entries(*sides)
        if is_word(expression[0], "case") and is_word(expression[-1], "end"):
            return self._chosen(expression[1:-1])
        if not _is_call(expression, 1):
            return None
        function, arguments = expression[0].text, split(expression[2:-1], ",")
        if function == "coalesce":
            return self._first(arguments)
        if function in {"jsonb_populate_record", "json_populate_record"} and len(arguments) == 2:
            return self._with_entries(*arguments)
        return None

    def _first(self, arguments: Sequence[Tokens]) -> Value:
        """
        The first that is not null.
        """
        value, *others = map(self.value, arguments)
        never_null = {ROW, *map(written, self.occasion.present)}
        for other in others:
            if value.marks <= never_null:
                break
            value |= other
        return value

    def _chosen(self, branches: Tokens) -> Value | None:
        """
        The value of CASE.
        """
        compared, *whens = split(branches, "when")
        last, *otherwise = split(whens[-1] if whens else [], "else")
        value: Value | None = None
        for branch in (*whens[:-1], last):
            condition, *result = split(branch, "then")
            if len(result) != 1:
                return None
            holds = None if compared else Condition(self.occasion, self.state).holds(condition)
            if holds is not False:
                found = self.value(result[0])
                value = found if value is None else value | found
            if holds:
                return value
        found = self.value(otherwise[0]) if otherwise else NOTHING
        return found if value is None else value | found

    def _with_entries(self, base: Tokens, entries: Tokens) -> Value:
        """
        A row with some columns replaced.
        """
        row, replaced = self.value(base), _entries(entries)
        if row.marks == {NULL}:
            row = Value(frozenset({ROW}))
        if replaced is None:
            return Value(row.marks, {column: row.of(column) | JUST_UNKNOWN for column in {*self.occasion.kept, REST}})
        return Value(row.marks, {**row.fields, **{key: self.value(entry).marks for key, entry in replaced.items()}})

    def _made(self, expression: Tokens) -> Value:
        """
        Whatever it is, it can only come from what is named in it.
        """
        marks: set[str] = set()
        for path in _paths(expression):
            for mark in self._named(path).marks - {NULL, OTHER}:
                marks.add(made_of(mark[1:]) if mark[0] in "=~" else UNKNOWN if mark in {ROW, UNKNOWN} else OTHER)
        return Value(frozenset(marks) - {OTHER} or JUST_OTHER)


def _entries(expression: Tokens) -> Mapping[str, Tokens] | None:
    """
    Keys and values of a JSON or hstore value that is spelled out; None where it is not.
    """
    expression = split(bare(expression), "::")[0]
    if len(expression) == 1 and expression[0].kind == "text":
        try:
            document = json.loads(expression[0].text)
        except ValueError:
            return None
        return {key: [Token("text", "")] for key in document} if isinstance(document, dict) else None
    if not (_is_call(expression, 1) and expression[0].text in {"jsonb_build_object", "json_build_object", "hstore"}):
        return None
    arguments = split(expression[2:-1], ",")
    keys, values = arguments[::2], arguments[1::2]
    if len(keys) != len(values) or any(len(key) != 1 or key[0].kind != "text" for key in keys):
        return None
    return {key[0].text: entry for key, entry in zip(keys, values, strict=True)}


# --- conditions ------------------------------------------------------------------------------------------------------


class Condition(Struct, frozen=True):
    """
    Whether conditions hold for the row that the application writes.
    """

    occasion: Occasion
    state: State

    def holds(self, condition: Tokens) -> bool | None:
        """
        Whether it holds; None where that depends.

        Raises:
            Fails: It names a field that is not there.
        """
        self._value(condition)
        condition = bare(condition)
        if any(is_word(token, "between") for token in condition):
            return None
        if len(parts := split(condition, "or")) > 1:
            return _any(map(self.holds, parts))
        if len(parts := split(condition, "and")) > 1:
            return _not(_any(_not(self.holds(part)) for part in parts))
        if condition and is_word(condition[0], "not"):
            return _not(self.holds(condition[1:]))
        return self._compared(condition)

    def _compared(self, condition: Tokens) -> bool | None:
        for word, negated in (("=", False), ("<>", True), ("!=", True)):
            if len(sides := split(condition, word)) == 2:
                return _negated(self._equal(*sides), negated)
        if len(sides := split(condition, "is")) == 2:
            return self._is(*sides)
        if len(sides := split(condition, "in")) == 2:
            left, listed = sides
            negated = bool(left) and is_word(left[-1], "not")
            left = left[:-1] if negated else left
            return _negated(_any(self._equal(left, item) for item in split(bare(listed), ",")), negated)
        known = {"true": True, "false": False}
        return known.get(condition[0].text) if len(condition) == 1 else None

    def _is(self, left: Tokens, right: Tokens) -> bool | None:
        negated = bool(right) and is_word(right[0], "not")
        right = right[1:] if negated else right
        if [token.text for token in right] == ["null"]:
            # NOTE: a row with one null in it is neither null nor not null.
            null = self._null(left)
            return None if negated and ROW in self._value(left).marks else _negated(null, negated)
        if [token.text for token in right[:2]] == ["distinct", "from"]:
            return _negated(self._equal(left, right[2:]), not negated)
        return None

    def _null(self, expression: Tokens) -> bool | None:
        value = self._value(expression)
        if value.marks == {NULL}:
            return True
        # NOTE: a row of nothing but nulls is null. One of the table has a key, one put together may have nothing.
        of_table = value.fields.get(REST, JUST_UNKNOWN) <= {written(REST), before(REST)}
        never_null = {*map(written, self.occasion.present)} | ({ROW} if of_table else set())
        return False if value.marks <= never_null else None

    def _equal(self, left: Tokens, right: Tokens) -> bool | None:
        texts = self.occasion.text(left), self.occasion.text(right)
        if None not in texts:
            return texts[0] == texts[1]
        # NOTE: a write that is of interest changes what it writes, and writes no empty object.
        one, other = self._value(left), self._value(right)
        if any(_literal(side) in _EMPTY for side in (left, right)) and self._present(one.marks | other.marks):
            return False
        pairs = [one.marks | other.marks, *(one.of(column) | other.of(column) for column in self.occasion.kept)]
        changes = any({written(column), before(column)} in pairs for column in self.occasion.kept)
        return False if changes else None

    def _present(self, marks: Marks) -> bool:
        """
        Whether that is a value of the application's, compared with something else.
        """
        return any(marks == {written(column), OTHER} for column in self.occasion.present)

    def _value(self, expression: Tokens) -> Value:
        return Expression(self.occasion, self.state).value(expression)


_EMPTY: Final = ("", "{}", "[]", "null")


def _literal(expression: Tokens) -> str | None:
    """
    The text where it is one, whatever type that is cast to.
    """
    expression = bare(split(bare(expression), "::")[0])
    return expression[0].text if len(expression) == 1 and expression[0].kind == "text" else None


def _not(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _negated(truth: bool | None, negated: bool) -> bool | None:
    return _not(truth) if negated else truth


def _any(truths: Iterator[bool | None]) -> bool | None:
    found = list(truths)
    if any(found):
        return True
    return None if None in found else False
