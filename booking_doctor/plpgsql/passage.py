"""
What becomes of a row that passes a trigger function, followed along every path that its source has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from booking_doctor.plpgsql.reading import (
    Assign,
    Block,
    Body,
    Choose,
    Command,
    Leave,
    Refuse,
    Repeat,
    Return,
    Step,
    Target,
)
from booking_doctor.plpgsql.values import (
    ANYTHING,
    JUST_OTHER,
    JUST_UNKNOWN,
    NULL,
    REFUSED,
    ROW,
    Condition,
    Expression,
    Fails,
    Occasion,
    State,
    Value,
    without_label,
)
from booking_doctor.plpgsql.words import Tokens, is_word

_REFUSED: Final = Value(frozenset({REFUSED}))


class Done(Struct, frozen=True):
    """
    An SQL statement on the way.

    Attributes:
        always: Whether every row brings it about.
    """

    words: Tokens
    always: bool


class Passage:
    """
    Follows a function along all of its paths at once.

    Attributes:
        outcomes: What it returns, path by path; REFUSED where it ends with an exception.
        done: The statements it runs.
    """

    def __init__(self, occasion: Occasion) -> None:
        self.outcomes: list[Value] = []
        self.done: list[Done] = []
        self._occasion = occasion
        self._always = True
        self._passed: State | None = None

    def follow(self, function: Block) -> None:
        """
        Follow it from its beginning.
        """
        if self._block(function, self._occasion.row()) is not None:
            self.outcomes.append(_REFUSED)  # it has to return something

    def holds(self, condition: Tokens, state: State | None = None) -> bool | None:
        """
        Whether the condition holds for every row; None where that is open.
        """
        return Condition(self._occasion, state or self._occasion.row()).holds(condition)

    # steps

    def _body(self, body: Body, state: State | None) -> State | None:
        """
        The state after it; None where no path leads on.
        """
        for step in body:
            self._pass(state)
            state = self._tried(step, state) if state is not None else None
        self._pass(state)
        return state

    def _tried(self, step: Step, state: State) -> State | None:
        try:
            return self._step(step, state)
        except Fails:
            self.outcomes.append(_REFUSED)
            return None

    def _step(self, step: Step, state: State) -> State | None:
        match step:
            case Assign(target, value):
                return self._assigned(state, target, self._value(value, state))
            case Choose(branches):
                return self._choice(branches, state)
            case Block():
                return self._block(step, state)
            case Repeat():
                return self._loop(step, state)
            case Command(words, into, value):
                return self._command(words, into, value, state)
            case Leave() | Return() | Refuse():
                return self._left(step, state)

    def _left(self, step: Leave | Return | Refuse, state: State) -> State | None:
        """
        Here the path may end.
        """
        if isinstance(step, Leave):
            return state if step.condition else None
        self.outcomes.append(self._value(step.value, state) if isinstance(step, Return) else _REFUSED)
        self._always = False
        return None if isinstance(step, Return) or step.always else state

    def _value(self, expression: Tokens, state: State) -> Value:
        return Expression(self._occasion, state).value(expression)

    def _command(self, words: Tokens, into: Sequence[Target], value: Tokens | None, state: State) -> State:
        self.done.append(Done(words, self._always))
        dynamic = not words or is_word(words[0], "execute", "fetch")
        found = ANYTHING if dynamic else self._value(words if value is None else value, state)
        for target in into:
            state = self._assigned(state, target, found)
        return state

    def _assigned(self, state: State, target: Target, value: Value) -> State:
        if self._occasion.lacks(target.path):
            raise Fails
        name, *columns = without_label(target.path, state)
        if target.part is not None:
            whole = value.marks == JUST_OTHER and [token.text for token in target.part[:1]] == [self._occasion.key]
            value = value if whole else ANYTHING
        if not columns:
            return {**state, name: value if target.part is None else ANYTHING}
        marks = value.marks if len(columns) == 1 else JUST_UNKNOWN
        row = state.get(name, ANYTHING)
        fields = {**row.fields, columns[0]: marks}
        return {**state, name: Value(frozenset({ROW}) if row.marks == {NULL} else row.marks, fields)}

    # several paths

    def _choice(self, branches: Sequence[tuple[Tokens, Body]], state: State) -> State | None:
        possible = []
        for condition, body in branches:
            holds = self.holds(condition, state) if condition else True
            if holds is not False:
                possible.append(body)
            if holds:
                break
        if len(possible) == 1:
            return self._body(possible[0], state)
        always, ended = self._always, len(self.outcomes)
        self._always = False
        ends = [self._body(body, state) for body in possible]
        self._always = always and len(self.outcomes) == ended
        return _either(*ends)

    def _block(self, block: Block, state: State) -> State | None:
        hidden = {variable.target.path[0]: state.get(variable.target.path[0]) for variable in block.variables}
        inner: State | None = state
        for variable in block.variables:
            inner = self._assigned(inner or state, variable.target, self._value(variable.value, inner or state))
        end = self._guarded(block, inner or state) if block.handlers else self._body(block.body, inner)
        if end is None:
            return None
        return {name: value for name, value in {**end, **hidden}.items() if value is not None}

    def _guarded(self, block: Block, state: State) -> State | None:
        """
        Any statement of the body may fail, and then a handler goes on from there.
        """
        always, ended = self._always, len(self.outcomes)
        self._always = False
        end, passed = self._all_the_way(block.body, state)
        if block.catches_all:
            self.outcomes[ended:] = [outcome for outcome in self.outcomes[ended:] if outcome is not _REFUSED]
        ends = [end, *(self._body(handler, passed) for handler in block.handlers)]
        self._always = always and len(self.outcomes) == ended
        return _either(*ends)

    def _loop(self, loop: Repeat, state: State) -> State:
        """
        Taken until another time brings nothing new; it may end after any statement.
        """
        always, ended = self._always, len(self.outcomes)
        self._always = False
        while True:
            begun = state
            for target in loop.targets:
                begun = self._assigned(begun, target, self._value(loop.head, state))
            _, passed = self._all_the_way(loop.body, begun)
            merged = _either(state, passed) or state
            if merged == state:
                break
            state = merged
        self._always = always and len(self.outcomes) == ended
        return state

    def _all_the_way(self, body: Body, state: State) -> tuple[State | None, State]:
        """
        The state after it, and all states on the way as one.
        """
        outer, self._passed = self._passed, state
        end = self._body(body, state)
        passed, self._passed = self._passed, outer
        self._pass(passed)
        return end, passed

    def _pass(self, state: State | None) -> None:
        if self._passed is not None and state is not None:
            self._passed = _either(self._passed, state)


def _either(*states: State | None) -> State | None:
    """
    What is so on one path or another.
    """
    merged: State | None = None
    for state in states:
        if merged is None:
            merged = state
        elif state is not None:
            names = merged.keys() | state.keys()
            merged = {name: merged.get(name, ANYTHING) | state.get(name, ANYTHING) for name in names}
    return merged
