"""
Progress is for the person at the terminal, and for nobody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import StringIO

import pytest
from rich.console import Console

from booking_doctor.cli import progress as progress_module
from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.progress import counting, progress_for
from booking_doctor.findings import Progress


def work(progress: Progress) -> None:
    """
    A file, a log of four days, read by several threads, and a few steps.
    """
    progress.read(5_000_000, 20_000_000)
    progress.read(20_000_000, 20_000_000)
    progress.days(4)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(progress.page, [1000] * 200))
    progress.waiting(0.2, "too short to mention")
    progress.waiting(12.2, "Twilio asks to slow down \x1b[31m[bold]")
    for _ in range(4):
        progress.day_done()
    progress.written(3, 10)
    progress.written(10, 10)


def test_without_a_terminal_only_pauses_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """
    One plain line for each that is worth it.
    """
    with progress_for(Invocation()) as progress:
        work(progress)

    assert capsys.readouterr() == ("", "waiting 12 s: Twilio asks to slow down \\x1b[31m[bold]\n")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing, on either stream.
    """
    with progress_for(Invocation(quiet=True), Console(file=StringIO(), force_terminal=True)) as progress:
        work(progress)

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("width", "shown"), [(60, "200,000 messages"), (100, "200,000 messages, 200 pages, ")])
def test_on_a_terminal_bars_are_drawn_and_taken_away(
    width: int, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Every page is counted whichever thread read it; stdout stays clean, and the last thing drawn is erased.
    """
    monkeypatch.setattr(progress_module, "WORTH_SAYING_S", 0.01)
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None, _environ={})

    with progress_for(Invocation(), console) as progress:
        progress.days(4)
        time.sleep(0.2)
        work(progress)
        drawn = rendered(progress, console)

    assert capsys.readouterr() == ("", "")
    assert f"4/4 days, {shown}" in drawn
    assert "10 of 10 steps" in drawn
    assert screen.getvalue().endswith("\x1b[2K")


def test_files_have_a_bar_while_they_are_read() -> None:
    """
    By their bytes, which are known beforehand; it is gone when they are.
    """
    console = Console(file=StringIO(), force_terminal=True, width=100, color_system=None, _environ={})

    with progress_for(Invocation(), console) as progress:
        progress.read(5_000_000, 20_000_000)
        assert "5 of 20 MB" in rendered(progress, console)
        progress.read(20_000_000, 20_000_000)
        assert "MB" not in rendered(progress, console)


def test_checks_have_a_bar_when_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    From the second second on, also while one of them hangs; what is quicker draws nothing.
    """
    monkeypatch.setattr(progress_module, "WORTH_SAYING_S", 0.1)
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, _environ={})

    with progress_for(Invocation(), console) as progress:
        progress.checked(0, 2)
        progress.checked(2, 2)
        assert screen.getvalue() == ""
        progress.checked(0, 1234)
        progress.checked(1000, 1234)
        assert screen.getvalue() == ""
        time.sleep(0.3)
        assert "1,000 of 1,234" in screen.getvalue()
        progress.checked(1234, 1234)
        assert "of 1,234" not in rendered(progress, console)


def test_what_is_quick_draws_nothing() -> None:
    """
    Whatever it does: a bar that only flashes up tells nobody anything.
    """
    screen = StringIO()
    with progress_for(Invocation(), Console(file=screen, force_terminal=True, _environ={})) as progress:
        work(progress)

    assert screen.getvalue() == ""


def test_nothing_is_drawn_once_the_work_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Also where it was interrupted before its bar was due: the cursor would stay hidden.
    """
    monkeypatch.setattr(progress_module, "WORTH_SAYING_S", 0.05)
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, _environ={})
    with suppress(KeyboardInterrupt), progress_for(Invocation(), console) as progress:
        progress.checked(0, 5)
        raise KeyboardInterrupt
    time.sleep(0.2)

    assert screen.getvalue() == ""


def test_a_pause_is_shown_until_work_goes_on() -> None:
    """
    With its reason, as text.
    """
    console = Console(file=StringIO(), force_terminal=True, width=100, color_system=None, _environ={})

    with progress_for(Invocation(), console) as progress:
        progress.waiting(30, "\x07[red]busy")
        assert "waiting 30 s: \\x07[red]busy" in rendered(progress, console)
        progress.page(5)
        assert "5 messages" in rendered(progress, console)
        assert "waiting" not in rendered(progress, console)


def test_a_second_reading_starts_from_nothing() -> None:
    """
    After an apply the log is read again to verify it.
    """
    console = Console(file=StringIO(), force_terminal=True, width=100, color_system=None, _environ={})

    with progress_for(Invocation(), console) as progress:
        work(progress)
        progress.days(7)
        progress.page(1)
        assert "0/7 days, 1 messages" in rendered(progress, console)


def rendered(progress: Progress, console: Console) -> str:
    """
    The bars as they stand.
    """
    drawing: Callable[[], object] = progress._drawing.get_renderable  # type: ignore[attr-defined]
    with console.capture() as capture:
        console.print(drawing())
    return capture.get()


def test_counting_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One line for each while that has gone by, none for the last, which the document tells.
    """
    moments = iter([0.0, 1.0, 5.0, 5.0, 6.0, 11.0, 11.0, 30.0])
    monkeypatch.setattr(progress_module, "monotonic", lambda: next(moments))

    with counting(Invocation(), "faults", 5) as done:
        for _ in range(5):
            done()

    assert capsys.readouterr() == ("", "2 of 5 faults\n4 of 5 faults\n")


def test_counting_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing is said to somebody who wants quiet.
    """
    with counting(Invocation(quiet=True), "faults", 1, Console(file=StringIO(), force_terminal=True)) as done:
        done()

    assert capsys.readouterr() == ("", "")


def test_counting_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A bar that is taken away at the end.
    """
    drawn = StringIO()
    console = Console(file=drawn, force_terminal=True, width=60, _environ={})

    with counting(Invocation(), "faults", 3, console) as done:
        for _ in range(3):
            done()

    assert "faults" in drawn.getvalue()
    assert "3 of 3" in drawn.getvalue()
    assert drawn.getvalue().endswith("\x1b[2K")
    assert capsys.readouterr() == ("", "")
