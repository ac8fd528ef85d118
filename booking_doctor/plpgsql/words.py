"""
SQL as words: names, literals and signs, without comments and space.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias


class Unreadable(Exception):
    """
    The source has something that is not understood, so nothing may be concluded from it.
    """


class Token(NamedTuple):
    """
    One word of the source.

    Attributes:
        kind: A ``name`` was quoted, so it is never a keyword; a ``text`` is a string without its quotes.
        text: A ``word`` in lower case, as the server reads it.
    """

    kind: Literal["word", "name", "text", "number", "sign"]
    text: str

    def __repr__(self) -> str:
        return f"{self.kind}:{self.text}"


Tokens: TypeAlias = Sequence[Token]

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*) | (?P<comment>/\*)
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*') | (?P<quoted>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
    | (?P<dollar>\$(?:[^\W\d]\w*)?\$).*?(?P=dollar)
    | (?P<name>(?:[uU]&)?"(?:[^"]|"")*") | (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?) | (?P<word>[^\W\d][\w$]*)
    | (?P<sign>:=|::|\.\.|=>|<=|>=|<>|!=|<<|>>|\#=|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


def tokens(source: str) -> list[Token]:
    """
    The words of SQL or PL/pgSQL, without comments.

    Raises:
        Unreadable: A comment has no end.
    """
    return list(_tokens(source))


def _tokens(source: str) -> Iterator[Token]:
    place = 0
    while match := _TOKEN.match(source, place):
        place = match.end()
        kind, text = match.lastgroup, match[0]
        if kind == "comment":
            place = _end_of_comment(source, place)
        elif kind == "name":
            yield Token("name", text[text.index('"') + 1 : -1].replace('""', '"'))
        elif kind in {"escaped", "quoted"}:
            yield Token("text", text[text.index("'") + 1 : -1].replace("''", "'"))
        elif kind == "dollar":
            edge = len(match["dollar"])
            yield Token("text", text[edge:-edge])
        elif kind == "word":
            yield Token("word", text.lower())
        elif kind != "space":
            yield Token("number" if kind == "number" else "sign", text)


def _end_of_comment(source: str, place: int) -> int:
    """
    Comments nest.
    """
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(source, place)
        if edge is None:
            raise Unreadable
        depth += 1 if edge[0] == "/*" else -1
        place = edge.end()
    return place


def is_word(token: Token, *words: str) -> bool:
    """
    Whether it is one of these keywords or signs.
    """
    return token.kind in {"word", "sign"} and token.text in words


def split(expression: Tokens, *separators: str) -> list[Tokens]:
    """
    The parts between separators, outside of parentheses and of CASE.
    """
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in expression:
        depth += deeper(token)
        if depth == 0 and is_word(token, *separators):
            parts.append([])
        else:
            parts[-1].append(token)
    return list(parts)


def deeper(token: Token) -> int:
    """
    1 where something opens that has to be closed, -1 where it is.
    """
    if is_word(token, "(", "[", "case"):
        return 1
    return -1 if is_word(token, ")", "]", "end") else 0


def called(words: Tokens) -> Collection[str]:
    """
    The names of functions that are called, and of whatever else stands before a parenthesis.
    """
    return {word.text for word, after in pairwise(words) if word.kind in {"word", "name"} and is_word(after, "(")}
