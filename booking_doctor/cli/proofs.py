"""
What a selftest has proven, as a table for people and as a document for programs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import typer
from msgspec import Struct

from booking_doctor import __version__
from booking_doctor.errors import ExitCode
from booking_doctor.findings import JSONValue, Verdict
from booking_doctor.report import Canvas, visible
from booking_doctor.report.documents import signed_json
from booking_doctor.sandbox.planted.incident import Episode, Incident
from booking_doctor.sandbox.selftest import EPISODE, Beat, Proof

_COLUMNS: Final = {
    Beat.PLANTED: "planted",
    Beat.SEEN: "seen",
    Beat.ALONE: "alone",
    Beat.RANKED: "ranked",
    Beat.LOOK_ALIKE: "spared",
    Beat.REMEDY: "remedy",
    Beat.GONE: "gone",
}
_LEGEND: Final = (
    "Each fault in a world of its own. planted: it is there; seen: by its check; alone: by no other; ranked: its cause, where "
    "it has one of its own, is told first and no other is confirmed; spared: its look-alike is not seen; remedy: applied; "
    "gone: nothing is seen afterwards. A cause is planted and ranked."
)
_WORDS: Final = {True: "yes", False: "NO", None: "-"}


class Proven(Struct, frozen=True, kw_only=True):
    """
    A whole selftest.
    """

    started_at: datetime
    finished_at: datetime
    proofs: Sequence[Proof]

    @property
    def exit_code(self) -> ExitCode:
        """
        What could not be walked to its end is never fine, and outranks what was walked and did not hold.
        """
        if any(proof.broken_off for proof in self.proofs):
            return ExitCode.INCOMPLETE
        return ExitCode.OK if all(proof.complete for proof in self.proofs) else ExitCode.FINDINGS

    @property
    def exit_reason(self) -> str:
        """
        One sentence.
        """
        broken = sum(proof.broken_off is not None for proof in self.proofs)
        told = {
            "faults": "were seen by their check alone and gone after their remedy",
            "causes": "were told first, and no other was confirmed",
        }
        held = all(proof.complete for proof in self.proofs)
        parts = [
            f"{sum(proof.complete for proof in some):,} of {len(some):,} planted {kind} {words if held else 'held'}"
            for (kind, words), some in zip(told.items(), (self.faults, self.causes), strict=True)
            if some
        ]
        return ", ".join(parts) + (f", {broken:,} could not be walked" if broken else "")

    @property
    def faults(self) -> list[Proof]:
        """
        Those of findings.
        """
        return [proof for proof in self.proofs if isinstance(proof.incident, Incident)]

    @property
    def causes(self) -> list[Proof]:
        """
        Those of causes.
        """
        return [proof for proof in self.proofs if isinstance(proof.incident, Episode)]


def proven_json(proven: Proven) -> str:
    """
    All of it as one JSON object.
    """
    verdicts = {ExitCode.OK: Verdict.HEALTHY, ExitCode.FINDINGS: Verdict.FINDINGS}
    members = {
        "command": "selftest",
        "started_at": proven.started_at,
        "finished_at": proven.finished_at,
        "verdict": verdicts.get(proven.exit_code, Verdict.INCOMPLETE),
        "exit_code": proven.exit_code,
        "exit_reason": proven.exit_reason,
        "summary": {
            "faults": len(proven.faults),
            "causes": len(proven.causes),
            "proven": sum(proof.complete for proof in proven.proofs),
        },
        "faults": [{"finding": proof.name, **_told(proof, Beat)} for proof in proven.faults],
        "causes": [{"cause": proof.name, **_told(proof, EPISODE)} for proof in proven.causes],
    }
    return signed_json(members, __version__)


def _told(proof: Proof, beats: Iterable[Beat]) -> dict[str, JSONValue]:
    return {
        "title": proof.incident.title,
        "proven": proof.complete,
        **{beat.name.lower(): proof.held.get(beat) for beat in beats},
        "complaints": proof.complaints,
        "broken_off": proof.broken_off,
    }


def proven_table(proven: Proven, canvas: Canvas) -> str:
    """
    The verdict, a line a fault, and what was seen instead where one did not hold.
    """
    word, color = ("Proven", "green") if proven.exit_code is ExitCode.OK else ("NOT PROVEN", "red")
    lines = [
        *_prose(f"{word}: {proven.exit_reason}.", canvas, color),
        "",
        *_prose(_LEGEND, canvas),
        "",
        *_table(proven.proofs, canvas),
    ]
    for proof in proven.proofs:
        if not proof.complete:
            lines += ["", *_failure(proof, canvas)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _prose(words: str, canvas: Canvas, color: str | None = None, indent: str = "") -> list[str]:
    lines = textwrap.wrap(
        visible(words),
        max(40, min(canvas.width, 120)),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [_styled(line, color, canvas) if color else line for line in lines]


def _table(proofs: Sequence[Proof], canvas: Canvas) -> Iterator[str]:
    """
    A line a fault; where that does not fit, the name stands on a line of its own.
    """
    column = max(len(proof.name) for proof in proofs)
    headings = _cells(list(_COLUMNS.values()))
    narrow = 2 + column + 2 + len(headings) > canvas.width
    lead = " " * (4 if narrow else 2 + column + 2)
    yield lead + headings
    for proof in proofs:
        name = f"  {proof.name}"
        marks = _marks(proof, canvas)
        yield from (name, lead + marks) if narrow else (name.ljust(len(lead)) + marks,)


def _marks(proof: Proof, canvas: Canvas) -> str:
    held = [proof.held.get(beat) for beat in _COLUMNS]
    marks = _cells([_WORDS[one] for one in held]).rstrip()
    return marks if proof.complete else _styled(marks, "red", canvas)


def _cells(words: Sequence[str]) -> str:
    return "  ".join(word.ljust(len(title)) for word, title in zip(words, _COLUMNS.values(), strict=True))


def _failure(proof: Proof, canvas: Canvas) -> Iterator[str]:
    yield _styled(proof.name, "red", canvas)
    yield from _prose(f"{proof.incident.title}:", canvas, indent="  ")
    for complaint in proof.complaints:
        yield from _prose(complaint, canvas, indent="    ")
    if proof.broken_off is not None:
        yield from _prose(f"it could not be walked to its end: {proof.broken_off}", canvas, indent="    ")


def _styled(words: str, color: str, canvas: Canvas) -> str:
    return typer.style(words, fg=color, bold=True) if canvas.color else words
