"""
Where variables and preferences are read from, which of them wins, and what is said of a file that cannot be read.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from booking_doctor.adapters.environment_files import (
    PROCESS,
    read_preferences,
    read_variables,
    source_of,
    variable_sources,
)
from booking_doctor.errors import UsageError


def write(path: Path, content: str | bytes) -> Path:
    """
    A file.
    """
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# variables


def test_precedence(tmp_path: Path) -> None:
    """
    Later files win, in the order .env, .env.local, then those named; the process environment wins over all.
    """
    write(tmp_path / ".env", "A=env\nB=env\nC=env\nD=env\nE=env\n")
    write(tmp_path / ".env.local", "B=local\nC=local\nD=local\nE=local\n")
    one, other = write(tmp_path / "one", "C=one\nD=one\nE=one\n"), write(tmp_path / "other", "D=other\nE=other\n")

    variables = read_variables(tmp_path, [one, other], {"E": "process", "F": "process"})

    assert variables == {"A": "env", "B": "local", "C": "one", "D": "other", "E": "process", "F": "process"}


def test_an_empty_value_wins_too(tmp_path: Path) -> None:
    """
    Empty is a value: it hides what an earlier source says.
    """
    write(tmp_path / ".env", "A=env\nB=env\n")
    write(tmp_path / ".env.local", "A=\n")

    assert read_variables(tmp_path, [], {"B": ""}) == {"A": "", "B": ""}


def test_no_files(tmp_path: Path) -> None:
    """
    Without any file the process environment is all there is.
    """
    assert read_variables(tmp_path, [], {"A": "process"}) == {"A": "process"}


def test_a_virtual_environment_is_no_file(tmp_path: Path) -> None:
    """
    A directory called .env is somebody's virtual environment, and passed over.
    """
    (tmp_path / ".env").mkdir()

    assert read_variables(tmp_path, [], {}) == {}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_files_from_windows(tmp_path: Path, mark: bytes, end: bytes) -> None:
    """
    A byte order mark and carriage returns belong neither to names nor to values.
    """
    write(tmp_path / ".env", mark + end.join([b"FIRST=1", b"SECOND='two words'", b""]))

    assert read_variables(tmp_path, [], {}) == {"FIRST": "1", "SECOND": "two words"}


def test_forms_of_lines(tmp_path: Path) -> None:
    """
    Quotes, comments, exports and equals signs in values are understood as other readers of such files do.
    """
    content = "# comment\nexport A=1\nB='b # no comment'\nC=c # comment\nD=\"a\\nb\"\nE=x=y==\nF\n G = g \n"

    variables = read_variables(tmp_path, [write(tmp_path / "named", content)], {})

    assert variables == {"A": "1", "B": "b # no comment", "C": "c", "D": "a\nb", "E": "x=y==", "G": "g"}


def test_a_pipe_will_do(tmp_path: Path) -> None:
    """
    Secrets that are decrypted into a pipe need never be a file.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=write, args=(pipe, "A=1\n"), daemon=True).start()

    assert read_variables(tmp_path, [pipe], {}) == {"A": "1"}


def test_named_file_is_missing(tmp_path: Path) -> None:
    """
    A file that was named must be there.
    """
    with pytest.raises(UsageError, match="is not there") as raised:
        read_variables(tmp_path, [tmp_path / "nowhere"], {})

    assert str(tmp_path / "nowhere") in raised.value.summary
    assert "--env-file" in raised.value.sentence


@pytest.mark.parametrize(
    "content",
    ["TWILIO_AUTH_TOKEN=hunter2é".encode("latin-1"), "\ufeffTWILIO_AUTH_TOKEN=hunter2".encode("utf-16-le")],
    ids=["Latin-1", "UTF-16"],
)
@pytest.mark.parametrize("name", [".env", "named"])
def test_other_encodings(tmp_path: Path, name: str, content: bytes) -> None:
    """
    A file that is no UTF-8 is refused by name, without a word of what is in it.
    """
    path = write(tmp_path / name, content)

    with pytest.raises(UsageError, match="cannot be read") as raised:
        read_variables(tmp_path, [] if name == ".env" else [path], {})

    assert str(path) in raised.value.summary
    assert "UTF-8" in raised.value.sentence
    assert "hunter2" not in f"{raised.value.sentence} {raised.value.__cause__}"


def test_directory(tmp_path: Path) -> None:
    """
    A directory that was named is no file.
    """
    with pytest.raises(UsageError, match="cannot be read"):
        read_variables(tmp_path, [tmp_path], {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_not_permitted(tmp_path: Path) -> None:
    """
    A file that may not be read is refused by name.
    """
    path = write(tmp_path / ".env", "A=1")
    path.chmod(0)

    with pytest.raises(UsageError, match="cannot be read"):
        read_variables(tmp_path, [], {})


# preferences

OURS = 'default_region = "DE"\n'
PROJECT = '[project]\nname = "theirs"\n[tool.booking-doctor]\ndefault_region = "FR"\n'


def test_no_preferences(tmp_path: Path) -> None:
    """
    Without a file nothing is preferred.
    """
    assert read_preferences(tmp_path, None) == ({}, "booking-doctor.toml")


def test_own_file_before_the_projects(tmp_path: Path) -> None:
    """
    booking-doctor.toml is read alone where it is there, else the doctor's part of pyproject.toml.
    """
    write(tmp_path / "pyproject.toml", PROJECT)
    assert read_preferences(tmp_path, None) == ({"default_region": "FR"}, "pyproject.toml")

    write(tmp_path / "booking-doctor.toml", OURS)
    assert read_preferences(tmp_path, None) == ({"default_region": "DE"}, "booking-doctor.toml")


def test_named_preferences(tmp_path: Path) -> None:
    """
    A file that was named is read instead of all others.
    """
    write(tmp_path / "booking-doctor.toml", OURS)
    named = write(tmp_path / "other.toml", 'default_region = "AT"\n')

    assert read_preferences(tmp_path, named) == ({"default_region": "AT"}, "other.toml")


def test_named_project(tmp_path: Path) -> None:
    """
    Of a pyproject.toml only the doctor's part is meant, also where it was named.
    """
    (tmp_path / "elsewhere").mkdir()
    named = write(tmp_path / "elsewhere" / "pyproject.toml", PROJECT)

    assert read_preferences(tmp_path, named) == ({"default_region": "FR"}, "pyproject.toml")


@pytest.mark.parametrize("content", ["", "[project]\n", "[tool.other]\nx = 1\n"])
def test_project_without_preferences(tmp_path: Path, content: str) -> None:
    """
    A project that says nothing to the doctor prefers nothing.
    """
    write(tmp_path / "pyproject.toml", content)

    assert read_preferences(tmp_path, None) == ({}, "pyproject.toml")


@pytest.mark.parametrize(
    "content", ["tool = 1\n", '[tool]\nbooking-doctor = "x"\n', "[[tool.booking-doctor]]\nx = 1\n"]
)
def test_project_that_means_something_else(tmp_path: Path, content: str) -> None:
    """
    What should be a table and is none is refused.
    """
    write(tmp_path / "pyproject.toml", content)

    with pytest.raises(UsageError, match=r"tool\.booking-doctor"):
        read_preferences(tmp_path, None)


def test_preferences_from_windows(tmp_path: Path) -> None:
    """
    A byte order mark and carriage returns are no error in TOML either.
    """
    write(tmp_path / "booking-doctor.toml", b"\xef\xbb\xbf" + OURS.replace("\n", "\r\n").encode())

    assert read_preferences(tmp_path, None) == ({"default_region": "DE"}, "booking-doctor.toml")


def test_named_preferences_are_missing(tmp_path: Path) -> None:
    """
    A settings file that was named must be there.
    """
    with pytest.raises(UsageError, match=r"nowhere\.toml is not there") as raised:
        read_preferences(tmp_path, tmp_path / "nowhere.toml")

    assert "--config" in raised.value.sentence


@pytest.mark.parametrize(
    "content", [b"default_region = ", b"a = 1\na = 2", "x = 'ü'".encode("latin-1"), b"\xff\xfea\0"]
)
def test_no_toml(tmp_path: Path, content: bytes) -> None:
    """
    A settings file that is no TOML is refused by name.
    """
    write(tmp_path / "booking-doctor.toml", content)

    with pytest.raises(UsageError, match="cannot be read as TOML") as raised:
        read_preferences(tmp_path, None)

    assert "booking-doctor.toml" in raised.value.summary


def test_preferences_in_a_directory(tmp_path: Path) -> None:
    """
    A directory that was named is no settings file.
    """
    with pytest.raises(UsageError, match="cannot be read"):
        read_preferences(tmp_path, tmp_path)


# what a file literally holds


@pytest.mark.parametrize(
    ("text", "value", "literal"),
    [
        ("A=1\n", "1", "1"),
        ("A=1 \n", "1", "1 "),
        ("A= 1\n", "1", " 1"),
        ("A = 1\n", "1", "1"),
        ("A=1\r\n", "1", "1\r"),
        ("A=\r\n", "", "\r"),
        ("A=1 # why\r\n", "1", "1\r"),
        ('A="1 "  # why\n', "1 ", "1 "),
        ('export A="1"\r\n', "1", "1\r"),
        ("A='1\\n'\n", "1\\n", "1\\n"),
        ('A="1\\n"\n', "1\n", "1\n"),
        ("\ufeffA=1\n", "1", "\ufeff1"),
        ("A=1\u00a0\n", "1", "1\u00a0"),
        ('A="1\n', None, '"1'),
        ("A=1\nA=2 \n", "2", "2 "),
        ("A=1", "1", "1"),
    ],
)
def test_literals(text: str, value: str | None, literal: str) -> None:
    """
    The program's value is clean; beside it stands what the file has there, also where it could not be read.
    """
    source = source_of(".env", text)

    assert source.values.get("A") == value
    assert source.literal("A") == literal


def test_a_name_without_a_value() -> None:
    """
    It is no variable.
    """
    source = source_of(".env", "A\n# B=1\n\n")

    assert (source.values, source.written) == ({}, {})


def test_sources_apart(tmp_path: Path) -> None:
    """
    Each source keeps its own, in order, the process last; and says no value by itself.
    """
    write(tmp_path / ".env", b"A=1 \r\n")
    write(tmp_path / ".env.local", "A=2\n")
    named = write(tmp_path / "named.env", "A=3\n")

    sources = variable_sources(tmp_path, [named], {"A": "hunter2"})

    assert [source.name for source in sources] == [".env", ".env.local", str(named), PROCESS]
    assert [source.literal("A") for source in sources] == ["1 \r", "2", "3", "hunter2"]
    assert [source.asked_for for source in sources] == [False, False, True, False]
    assert "hunter2" not in repr(sources)
