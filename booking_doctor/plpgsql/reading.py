"""
PL/pgSQL as a tree: what a function does step by step, as far as that shows without running it.

Only control flow and assignments are understood. SQL statements and expressions stay tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from booking_doctor.plpgsql.words import Token, Tokens, Unreadable, deeper, is_word, split, tokens


class Target(Struct, frozen=True):
    """
    What is assigned to.

    Attributes:
        path: A variable, or a field of one, such as ``("new", "metadata")``.
        part: The first subscript where only a part of it is set.
    """

    path: tuple[str, ...]
    part: Tokens | None = None


class Assign(Struct, frozen=True):
    """
    A variable, or a field of one, gets a value.
    """

    target: Target
    value: Tokens


class Choose(Struct, frozen=True):
    """
    The first branch whose condition holds is taken; the last one has none.
    """

    branches: tuple[tuple[Tokens, Body], ...]


class Repeat(Struct, frozen=True):
    """
    A loop, taken any number of times.

    Attributes:
        head: What it goes over.
        targets: Variables that get the next of it each time.
    """

    head: Tokens
    targets: tuple[Target, ...]
    body: Body


class Block(Struct, frozen=True):
    """
    A block with variables of its own.

    Attributes:
        variables: Their names, each with its first value; none for null.
        handlers: What is done after an error, each in place of the rest of the body.
        catches_all: Whether one of them is for every error.
    """

    variables: tuple[Assign, ...]
    body: Body
    handlers: tuple[Body, ...] = ()
    catches_all: bool = False


class Leave(Struct, frozen=True):
    """
    A loop is left, or begins anew; with a condition perhaps.
    """

    condition: Tokens


class Return(Struct, frozen=True):
    """
    The function ends with this value.
    """

    value: Tokens


class Refuse(Struct, frozen=True):
    """
    An exception is raised; under an unspoken condition perhaps.
    """

    always: bool = True


class Command(Struct, frozen=True):
    """
    An SQL statement.

    Attributes:
        into: The variables that get what it finds.
        value: The expression they get, where it is one expression and nothing is read from a table.
    """

    words: Tokens
    into: tuple[Target, ...] = ()
    value: Tokens | None = None


Step: TypeAlias = "Assign | Choose | Repeat | Block | Leave | Return | Refuse | Command"
Body: TypeAlias = "tuple[Step, ...]"

# --- reading --------------------------------------------------------------------------------------------------------

_OPTIONS: Final = re.compile(r"\A(?:\s*#[^\n]*\n)+")
_ENDS: Final = ("end", "else", "elsif", "elseif", "when", "exception")
_READS: Final = ("from", "where", "group", "order", "limit", "union", "for", "having", "window", "intersect", "except")
_TEXT_FIRST: Final = ("debug", "log", "info", "notice", "warning")
"""Levels of RAISE that let the function go on."""


def read(source: str) -> Block:
    """
    The function's outermost block.

    Raises:
        Unreadable: There is something in it that is not understood.
    """
    return _Reader(tokens(_OPTIONS.sub("", source))).whole()


class _Reader:
    """
    Reads statements one after the other.
    """

    def __init__(self, words: Tokens) -> None:
        self._words = words
        self._place = 0

    def whole(self) -> Block:
        block = self._block()
        if self._place < len(self._words):
            raise Unreadable
        return block

    # words

    def _next(self, *words: str) -> bool:
        """
        Whether one of these comes next.
        """
        return self._place < len(self._words) and is_word(self._words[self._place], *words)

    def _skip(self, *words: str) -> bool:
        """
        Step over one of these, if it comes next.
        """
        found = self._next(*words)
        self._place += found
        return found

    def _expect(self, *words: str) -> None:
        for word in words:
            if not self._skip(word):
                raise Unreadable

    def _until(self, *stops: str) -> Tokens:
        """
        What comes before the stop, and step over that.
        """
        begun, depth = self._place, 0
        for place in range(begun, len(self._words)):
            token = self._words[place]
            if depth == 0 and is_word(token, *stops):
                self._place = place + 1
                return self._words[begun:place]
            depth += deeper(token)
        raise Unreadable

    # blocks

    def _label(self) -> None:
        if self._skip("<<"):
            self._place += 1
            self._expect(">>")

    def _block(self) -> Block:
        self._label()
        variables = tuple(self._declarations()) if self._skip("declare") else ()
        self._expect("begin")
        body = self._body()
        handlers: list[Body] = []
        catches_all = False
        if self._skip("exception"):
            while self._skip("when"):
                catches_all |= any(is_word(token, "others") for token in self._until("then"))
                handlers.append(self._body())
        self._expect("end")
        if self._place < len(self._words):
            self._until(";")
        return Block(variables, body, tuple(handlers), catches_all)

    def _declarations(self) -> Iterator[Assign]:
        while not self._next("begin"):
            self._skip("declare")
            name, *rest = self._until(";")
            if any(is_word(token, "alias") for token in rest[:1]):
                raise Unreadable
            kind = split(rest, ":=", "=", "default")[0]
            yield Assign(Target((name.text,)), rest[len(kind) + 1 :])

    def _body(self) -> Body:
        steps: list[Step] = []
        while not self._next(*_ENDS):
            if self._place >= len(self._words):
                raise Unreadable
            steps += self._step()
        return tuple(steps)

    # statements

    def _step(self) -> Sequence[Step]:
        if self._next("begin", "declare") or (self._next("<<") and not self._labels_a_loop()):
            return [self._block()]
        self._label()
        known = {
            "if": self._if,
            "case": self._case,
            "loop": self._loop,
            "while": self._while,
            "for": self._for,
            "foreach": self._for,
            "exit": self._leave,
            "continue": self._leave,
            "return": self._return,
            "raise": self._raise,
            "assert": self._assert,
            "get": self._get,
            "null": self._null,
        }
        for word, read_it in known.items():
            if self._skip(word):
                return read_it()
        return [_command_or_assignment(self._until(";"))]

    def _labels_a_loop(self) -> bool:
        after = self._words[self._place + 3 : self._place + 4]
        return bool(after) and is_word(after[0], "loop", "while", "for", "foreach")

    def _if(self) -> Sequence[Step]:
        branches = [(self._until("then"), self._body())]
        while self._skip("elsif", "elseif"):
            branches.append((self._until("then"), self._body()))
        branches.append(((), self._body() if self._skip("else") else ()))
        self._expect("end", "if", ";")
        return [Choose(tuple(branches))]

    def _case(self) -> Sequence[Step]:
        searched = not self._until_when()
        branches: list[tuple[Tokens, Body]] = []
        while self._skip("when"):
            condition = self._until("then")
            # NOTE: compared with a value, whether it holds is not looked into; an empty condition would always hold.
            branches.append((condition if searched else [Token("sign", "?")], self._body()))
        # NOTE: where no branch fits and there is no ELSE, that is an error.
        branches.append(((), self._body() if self._skip("else") else (Refuse(),)))
        self._expect("end", "case", ";")
        return [Choose(tuple(branches))]

    def _until_when(self) -> Tokens:
        value = self._until("when")
        self._place -= 1
        return value

    def _loop(self) -> Sequence[Step]:
        return [Repeat((), (), self._rest_of_loop())]

    def _while(self) -> Sequence[Step]:
        return [Repeat(self._until("loop"), (), self._rest_of_loop())]

    def _for(self) -> Sequence[Step]:
        variables = self._until("in", "slice")
        head = self._until("loop")
        return [Repeat(head, tuple(_target(part) for part in split(variables, ",")), self._rest_of_loop())]

    def _rest_of_loop(self) -> Body:
        body = self._body()
        self._expect("end", "loop")
        self._until(";")
        return body

    def _leave(self) -> Sequence[Step]:
        label, *condition = split(self._until(";"), "when")
        if label:
            raise Unreadable
        return [Leave(condition[0] if condition else ())]

    def _return(self) -> Sequence[Step]:
        return [Return(self._until(";"))]

    def _raise(self) -> Sequence[Step]:
        words = self._until(";")
        return [] if words and is_word(words[0], *_TEXT_FIRST) else [Refuse()]

    def _assert(self) -> Sequence[Step]:
        self._until(";")
        return [Refuse(always=False)]

    def _get(self) -> Sequence[Step]:
        items = split(self._until(";"), ",")
        return [Command((), tuple(_target(split(item, "=", ":=")[0][-1:]) for item in items))]

    def _null(self) -> Sequence[Step]:
        self._expect(";")
        return []


def _target(words: Tokens) -> Target:
    """
    Raises:
        Unreadable: It is none.
    """
    path, place = [], 0
    while place < len(words) and words[place].kind in {"word", "name"}:
        path.append(words[place].text)
        if not (place + 1 < len(words) and is_word(words[place + 1], ".")):
            break
        place += 2
    part = words[place + 1 :]
    if not path or (part and not is_word(part[0], "[")):
        raise Unreadable
    return Target(tuple(path), part[1:] if part else None)


def _command_or_assignment(words: Tokens) -> Step:
    left, *right = split(words, ":=", "=")
    if right:
        try:
            return Assign(_target(left), words[len(left) + 1 :])
        except Unreadable:
            pass
    return _command(words)


def _command(words: Tokens) -> Command:
    """
    An SQL statement, parted from its INTO. Of a statement that begins otherwise nothing goes into a variable.
    """
    if not words:
        raise Unreadable
    place = _place_of_into(words)
    if place is None:
        return Command(words)
    rest = words[place + 1 :]
    strict = bool(rest) and is_word(rest[0], "strict")
    targets, after = _targets(rest[strict:])
    value = [*words[1:place], *after] if is_word(words[0], "select") else None
    if value is not None and (any(is_word(token, *_READS) for token in value) or len(split(value, ",")) != 1):
        value = None
    return Command([*words[:place], *after], targets, value if len(targets) == 1 else None)


def _place_of_into(words: Tokens) -> int | None:
    depth = 0
    for place, token in enumerate(words):
        depth += deeper(token)
        writes = place and is_word(words[place - 1], "insert", "merge")
        if depth == 0 and is_word(token, "into") and not writes:
            return place
    return None


def _targets(words: Tokens) -> tuple[tuple[Target, ...], Tokens]:
    """
    The variables of an INTO, and what comes after them.
    """
    targets, place = [], 0
    while True:
        end = place
        while end < len(words) and words[end].kind in {"word", "name"}:
            end += 1
            if not (end < len(words) and is_word(words[end], ".")):
                break
            end += 1
        targets.append(_target(words[place:end]))
        if not (end < len(words) and is_word(words[end], ",")):
            return tuple(targets), words[end:]
        place = end + 1
