"""
The pages, as they are read on a terminal, in a pipe and by programs.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from booking_doctor.causes import CATALOGUE as CAUSES
from booking_doctor.causes import MEANINGS
from booking_doctor.causes.cause import Layer
from booking_doctor.checks import CATALOGUE
from booking_doctor.report import Canvas
from booking_doctor.report.pages import cause_markdown, drawn, list_markdown, page_markdown

PROGRAM = [sys.executable, "-m", "booking_doctor", "explain"]
DRIVERS = {"sqlalchemy", "psycopg", "twilio", "requests", "urllib3"}
MARKUP = "A [bold]word[/bold] and [link=http://x.example]a link[/link], `[red]code[/red]`."


def explain(*words: str) -> tuple[int, str, str]:
    """
    The command in a process of its own, its output in a pipe.
    """
    end = subprocess.run([*PROGRAM, *words], capture_output=True, check=False, encoding="utf-8")
    return end.returncode, end.stdout, end.stderr


def on_a_terminal(*words: str) -> str:
    """
    What a person sees.
    """
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    with subprocess.Popen([*PROGRAM, *words], stdout=slave, env=environment) as process:
        os.close(slave)
        pieces = []
        try:
            while piece := os.read(master, 65536):
                pieces.append(piece)
        except OSError:  # the terminal's other end is closed
            pass
        assert process.wait() == 0
    os.close(master)
    return b"".join(pieces).decode().replace("\r\n", "\n")


def test_one_page() -> None:
    """
    In a pipe a page is the Markdown that its author wrote, under its name.
    """
    page = CATALOGUE["job-failed"]

    assert explain("job-failed") == (0, f"# job-failed\n\nSeverity: error.\n\n{page.page}\n", "")


def test_all_pages() -> None:
    """
    Without a name every finding is listed with its title, under its family, and every cause under its layer.
    """
    code, said, complaints = explain()

    assert (code, complaints) == (0, "")
    families = sorted({page.family for page in CATALOGUE.values()})
    assert re.findall(r"^## (\S+)$", said, re.MULTILINE) == [*families, *Layer]
    for page in CATALOGUE.values():
        assert f"- `{page.name}` ({page.severity}): {page.title}\n" in said
    for cause in CAUSES.values():
        assert f"- `{cause.id}`: {cause.title}\n" in said


def test_a_cause() -> None:
    """
    A cause's page is what its author wrote, and what is weighed for it, rule by rule; a layer lists its causes.
    """
    cause = CAUSES["rls-update-zero-rows"]

    code, said, complaints = explain(cause.id)

    assert (code, complaints) == (0, "")
    begin = "Begin so: Create the missing policies: booking-doctor check-schema names them."
    assert said.startswith(
        f"# {cause.id}\n\nA cause; layer: database.\n\n{cause.page}\n\n{begin}\n\n## What is weighed\n"
    )
    rules = said.partition("## What is weighed\n\n")[2].splitlines()
    assert len(rules) == len(cause.proofs) + len(cause.needs) + len(cause.refuted_by) + 1 + len(cause.clues)
    assert rules[0].startswith("- confirmed by: By its policies the application's role updates no pending booking")
    assert re.findall(r"^- `(\S+)`", explain("twilio")[1], re.MULTILINE) == [
        name for name, one in CAUSES.items() if one.layer is Layer.TWILIO
    ]


def test_the_nearest_cause_is_suggested() -> None:
    """
    A cause's name that is misspelt is a usage error that knows which may have been meant.
    """
    code, said, complaints = explain("confirm_skip_copy")

    assert (code, said) == (2, "")
    assert "did you mean confirm-skips-copy?" in complaints


def test_a_family() -> None:
    """
    A family's name lists its findings and no others.
    """
    code, said, _ = explain("job")

    assert code == 0
    assert re.findall(r"^- `(\S+)`", said, re.MULTILINE) == [name for name in CATALOGUE if name.startswith("job-")]


@pytest.mark.parametrize("typed", ["job-faild", "job_failed", "JOB-FAILED", "jobs-failed"])
def test_the_nearest_name_is_suggested(typed: str) -> None:
    """
    An unknown name is a usage error that knows what may have been meant.
    """
    code, said, complaints = explain(typed)

    assert (code, said) == (2, "")
    assert f"{typed!r}" in complaints
    assert "did you mean job-failed?" in complaints
    assert "booking-doctor explain" in complaints


def test_nothing_is_near() -> None:
    """
    Then the families are named.
    """
    code, said, complaints = explain("\x1b[31mxyzzy")

    assert (code, said) == (2, "")
    assert "families are" in complaints
    assert "job" in complaints
    assert "\x1b" not in complaints


def test_json() -> None:
    """
    Programs get every page, whole, in one object that says its shape.
    """
    code, said, complaints = explain("--format", "json")
    document = json.loads(said)

    assert (code, complaints) == (0, "")
    assert document["schema"] == 1
    assert document["tool"]["name"] == "booking-doctor"
    assert document["command"] == "explain"
    assert [page["name"] for page in document["pages"]] == list(CATALOGUE)
    assert [page["page"] for page in document["pages"]] == [check.page for check in CATALOGUE.values()]
    assert set(document["pages"][0]) == {"name", "family", "severity", "title", "page"}
    assert [cause["id"] for cause in document["causes"]] == list(CAUSES)
    assert set(document["causes"][0]) == {"id", "layer", "title", "page"}


def test_on_a_terminal() -> None:
    """
    A terminal gets it drawn: headings without marks, in bold, within the width.
    """
    said = on_a_terminal("job-overdue")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)

    assert "\x1b[1mWhy it matters\x1b[0m" in said
    assert "#" not in plain
    assert max(map(len, plain.splitlines())) <= 60
    assert "`booking-doctor reconcile`" in plain


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``NO_COLOR`` is honoured; what is code still shows its backquotes.
    """
    monkeypatch.setenv("NO_COLOR", "1")

    said = on_a_terminal("job-failed")

    assert "\x1b" not in said
    assert "`last_error`" in said


def test_into_a_file(tmp_path: Path) -> None:
    """
    A file gets what a pipe gets, unless a format is asked for.
    """
    path = tmp_path / "page.md"

    assert explain("job-failed", "--output", str(path)) == (0, "", "")
    assert path.read_text(encoding="utf-8") == explain("job-failed")[1]
    assert explain("job-failed", "--format", "terminal")[1].startswith("job-failed\n\nSeverity: error.\n")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_text_is_not_markup(width: int) -> None:
    """
    Square brackets are text, in prose and in code.
    """
    said = " ".join(drawn(MARKUP, Canvas(width=width, color=False)).split())

    assert said == MARKUP


def test_commands_are_not_broken() -> None:
    """
    What stands in backquotes stays on one line where it fits; a block to copy is never broken, nor framed.
    """
    command = "booking-doctor backfill --since 7d --apply"
    statement = "UPDATE pending_bookings SET metadata = '{}' WHERE token = 'x' AND metadata IS NULL RETURNING id;"
    text = f"Some words come first, then `{command}`.\n\n```sql\n{statement}\nSELECT 1;\n```\n\n1. One\n2. Two\n"

    lines = drawn(text, Canvas(width=60)).splitlines()

    assert any(f"`{command}`" in line for line in lines)
    assert (f"  {statement}", "  SELECT 1;") in pairwise(lines)
    assert [line.split() for line in lines if "One" in line or "Two" in line] == [["1", "One"], ["2", "Two"]]
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.parametrize("width", [40, 60, 100])
def test_every_page_can_be_drawn(width: int) -> None:
    """
    No page loses a word, whatever the width, and only code that cannot be broken is wider.
    """
    pages = [(page.title, (page_markdown(page), list_markdown([page], []))) for page in CATALOGUE.values()]
    pages += [(one.title, (cause_markdown(one, MEANINGS), list_markdown([], [one]))) for one in CAUSES.values()]
    for title, documents in pages:
        for markdown in documents:
            lines = drawn(markdown, Canvas(width=width)).splitlines()
            words = {re.sub(r"[^\w]", "", word) for word in title.split()}
            assert words <= {re.sub(r"[^\w]", "", word) for line in lines for word in line.split()}
            assert max(map(len, lines)) <= width or "```" in markdown


def test_it_loads_no_driver() -> None:
    """
    A page needs no database and no network, so nothing that speaks to one is imported.
    """
    code = (
        "import sys; sys.argv = ['booking-doctor', 'explain', 'job-failed', '--format', 'terminal']\n"
        "from booking_doctor.__main__ import main\n"
        "try: main()\n"
        "finally: print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    end = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    said, _, modules = end.stdout.partition("MODULES")

    assert said.startswith("job-failed\n")
    assert not set(modules.split()) & DRIVERS
