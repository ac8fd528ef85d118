"""
Reports as text, a function a format; nothing here prints, reads a clock or looks at the environment.

A format is a value in `FORMATS`, a pure function in a module imported when it is first used, and golden files. The exit
code is in the report already: no format decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from msgspec import Struct

from booking_doctor.findings import Report


class Canvas(Struct, frozen=True):
    """
    What a report is drawn on.

    Attributes:
        width: In columns. 60 hold; a SID or a command to copy is wider rather than cut.
        color: Whether ANSI styles may be written.
        links: Whether SIDs may lead to Twilio's Console, where the terminal knows links.
    """

    width: int = 100
    color: bool = False
    links: bool = False


class Format(Struct, frozen=True, kw_only=True):
    """
    One way to write a report.

    Attributes:
        name: What ``--format`` takes.
        render: The whole document, ending in a newline.
        encoding: What the document has to be encoded in; None follows the terminal it is read on.
        exit_code: What the process ends with, where that is not the report's exit code.
        failure: The document of a command that ends with an error and so has no report; None where there is none.
        carried: The document once more, with what has to stay of the file that it replaces.
    """

    name: str
    render: Callable[[Report, Canvas], str]
    encoding: str | None = "utf-8"
    exit_code: Callable[[Report], int] | None = None
    failure: Callable[[str], tuple[str, int]] | None = None
    carried: Callable[[str, str], str] | None = None


def visible(text: str) -> str:
    r"""
    The text with everything a terminal would obey or a reader not see written as an escape: ``\x1b``, ``\n``, ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _of(module: str, function: str) -> Any:  # noqa: ANN401  a function by its name
    """
    A function that loads its module when it is first called: ``--help`` has no use for any of them.
    """

    def load(*arguments: Any) -> Any:  # noqa: ANN401
        return getattr(import_module(f"booking_doctor.report.{module}"), function)(*arguments)

    return load


def _whatever_it_is_read_on(module: str, function: str) -> Callable[[Report, Canvas], str]:
    draw = _of(module, function)
    return lambda report, _: draw(report)


TERMINAL: Final = Format(name="terminal", render=_of("terminal", "render"), encoding=None)
JSON: Final = Format(name="json", render=_whatever_it_is_read_on("documents", "json_document"))
GITHUB: Final = Format(name="github", render=_whatever_it_is_read_on("pipelines", "github"))

FORMATS: Final[Mapping[str, Format]] = {
    known.name: known
    for known in (
        TERMINAL,
        Format(name="short", render=_whatever_it_is_read_on("short", "render"), encoding=None),
        JSON,
        Format(name="markdown", render=_whatever_it_is_read_on("markdown", "render")),
        Format(name="html", render=_whatever_it_is_read_on("html", "render")),
        Format(name="junit", render=_whatever_it_is_read_on("pipelines", "junit")),
        GITHUB,
        Format(
            name="nagios",
            render=_whatever_it_is_read_on("monitoring", "nagios"),
            exit_code=_of("monitoring", "nagios_state"),
            failure=_of("monitoring", "nagios_failure"),
        ),
        Format(
            name="prometheus",
            render=_whatever_it_is_read_on("monitoring", "prometheus"),
            carried=_of("monitoring", "prometheus_carried"),
        ),
        Format(name="csv", render=_whatever_it_is_read_on("lists", "csv_table")),
    )
}
"""
Every format by name, the default first.
"""
