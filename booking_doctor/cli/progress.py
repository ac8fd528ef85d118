"""
How long work gets on, for the person who waits: bars on a terminal, a line now and then elsewhere, nothing if asked.

All of it goes to stderr and none of it stays. Listeners are called from several threads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import RLock, Timer
from time import monotonic
from typing import TYPE_CHECKING, Final

from booking_doctor.cli.invocation import Invocation
from booking_doctor.cli.streams import say
from booking_doctor.findings import Progress, Silent
from booking_doctor.report import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Drawing
    from rich.progress import TaskID

WORTH_SAYING_S: Final = 1.0
"""
A shorter pause is not worth a line.
"""

WORTH_COUNTING_S: Final = 5.0
"""
Between two lines that count.
"""

ROOMY: Final = 80
"""
Columns from which pages and speed are shown too.
"""


@contextmanager
def progress_for(invocation: Invocation, console: Console | None = None) -> Iterator[Progress]:
    """
    Listen to the work inside the block in the way that suits this call; what was drawn is gone at its end.

    Args:
        invocation: ``--quiet`` silences; ``-v`` logs, and bars would be torn by that, so it gets lines.
        console: Draw here instead of on stderr.
    """
    if invocation.quiet:
        yield Silent()
    elif invocation.verbosity or not (console is not None or _is_drawable()):
        yield Lines()
    else:
        with _bars(console) as bars:
            yield bars


@contextmanager
def counting(
    invocation: Invocation, things: str, total: int, console: Console | None = None
) -> Iterator[Callable[[], None]]:
    """
    Count how many of *total* things are done; the function that is given is called after each.
    """
    if invocation.quiet:
        yield lambda: None
    elif invocation.verbosity or not (console is not None or _is_drawable()):
        yield _Counter(things, total)
    else:
        with _drawing(console) as drawing:
            drawing.start()
            task, done = drawing.add_task(things, total=total, words=f"of {total:,}"), count(1)
            yield lambda: drawing.update(task, advance=1, words=f"{next(done):,} of {total:,}")


class _Counter:
    """
    Says a line whenever a while has gone by.
    """

    def __init__(self, things: str, total: int) -> None:
        self._things, self._total, self._done, self._said_at = things, total, 0, monotonic()

    def __call__(self) -> None:
        self._done += 1
        if monotonic() - self._said_at >= WORTH_COUNTING_S and self._done < self._total:
            self._said_at = monotonic()
            say(f"{self._done:,} of {self._total:,} {self._things}")


def _is_drawable() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Lines(Silent):
    """
    Says only why nothing happens, when that takes a while.
    """

    def waiting(self, seconds: float, reason: str) -> None:
        """
        One plain line on stderr.
        """
        if seconds >= WORTH_SAYING_S:
            say(f"waiting {seconds:.0f} s: {reason}")


@contextmanager
def _bars(console: Console | None) -> Iterator[Progress]:
    with _drawing(console) as drawing:
        bars = Bars(drawing)
        try:
            yield bars
        finally:
            bars.hide()


@contextmanager
def _drawing(console: Console | None) -> Iterator[Drawing]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Drawing
    from rich.table import Column

    drawing = Drawing(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=False)),
        TimeRemainingColumn(),
        console=console or Console(stderr=True, highlight=False),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    try:
        yield drawing
    finally:
        drawing.stop()


class Bars:
    """
    A bar for the days of the log that are read, one for the checks that are made, one for the steps that are written.

    Drawn only while something is under way, and from its second second on: a question that is asked in between must not
    share its line with a bar.
    """

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._lock = RLock()
        self._reading: TaskID | None = None
        self._writing: TaskID | None = None
        self._files: TaskID | None = None
        self._checks: TaskID | None = None
        self._days = self._days_done = self._pages = self._messages = 0
        self._begun = monotonic()
        self._soon: Timer | None = None

    def read(self, done: int, total: int) -> None:
        """
        Begin or move a bar for the files; once they are read it is taken away.
        """
        with self._lock:
            self._draw_soon()
            if self._files is None:
                self._files = self._drawing.add_task("files", total=total, words="")
            words = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
            self._drawing.update(self._files, completed=done, total=total, words=words)
            if done >= total:
                self._drawing.remove_task(self._files)
                self._files = None
                if self._checks is None:
                    self.hide()

    def days(self, total: int) -> None:
        """
        Begin a bar; the log may be read twice, before an apply and after it.
        """
        with self._lock:
            self._draw_soon()
            if self._reading is not None:
                self._drawing.remove_task(self._reading)
            self._reading = self._drawing.add_task("log", total=total, words="asking")
            self._days, self._days_done, self._pages, self._messages = total, 0, 0, 0
            self._begun = monotonic()

    def page(self, messages: int) -> None:
        """
        Count it.
        """
        with self._lock:
            self._pages += 1
            self._messages += messages
            self._show()

    def day_done(self) -> None:
        """
        Move the bar.
        """
        with self._lock:
            self._days_done += 1
            self._show()
            if self._days_done == self._days and self._checks is None:
                self.hide()

    def waiting(self, seconds: float, reason: str) -> None:
        """
        Say why the bar stands still, until it moves again.
        """
        with self._lock:
            self._show(f"waiting {seconds:.0f} s: {visible(reason)}")

    def written(self, steps: int, total: int) -> None:
        """
        Begin or move the second bar.
        """
        with self._lock:
            self._draw_soon()
            if self._writing is None:
                self._writing = self._drawing.add_task("writing", total=total, words="")
            self._drawing.update(self._writing, completed=steps, total=total, words=f"{steps:,} of {total:,} steps")
            if steps == total:
                self.hide()

    def checked(self, done: int, total: int) -> None:
        """
        Begin or move a bar for the checks; with the last it is taken away.
        """
        with self._lock:
            self._draw_soon()
            if self._checks is None:
                self._checks = self._drawing.add_task("checks", total=total, words="")
            self._drawing.update(self._checks, completed=done, words=f"{done:,} of {total:,}")
            if done >= total:
                self._drawing.remove_task(self._checks)
                self.hide()
                self._checks = None

    def hide(self) -> None:
        """
        Take the bars from the screen, and draw none that was about to be.
        """
        with self._lock:
            if self._soon is not None:
                self._soon.cancel()
                self._soon = None
            self._drawing.stop()

    def _draw_soon(self) -> None:
        if self._soon is None:
            soon = self._soon = Timer(WORTH_SAYING_S, lambda: self._draw(soon))
            soon.daemon = True
            soon.start()

    def _draw(self, soon: Timer) -> None:
        # NOTE: a timer that has gone off can no longer be cancelled, and may have waited for the lock meanwhile.
        with self._lock:
            if self._soon is soon:
                self._drawing.start()

    def _show(self, words: str | None = None) -> None:
        if self._reading is None:
            self._reading = self._drawing.add_task("log", total=None, words="")
        self._drawing.update(self._reading, completed=self._days_done, words=words or self._so_far())

    def _so_far(self) -> str:
        words = [f"{self._days_done:,}/{self._days:,} days"] if self._days else []
        words.append(f"{self._messages:,} messages")
        if self._drawing.console.width >= ROOMY:
            rate = self._messages / max(monotonic() - self._begun, 0.001)
            words += [f"{self._pages:,} pages", f"{rate:,.0f}/s"]
        return ", ".join(words)
