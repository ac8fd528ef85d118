"""
Completion as somebody has it who pasted the README's line: real shells on a terminal, and the Tab key.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SHELLS = {
    "bash": ("bash", "--noprofile", "--norc", "-i"),
    "zsh": ("zsh", "--no-rcs", "-i"),
    "fish": ("fish", "--no-config", "--interactive"),
}
BEFORE = {"bash": "", "zsh": "autoload -U compinit; compinit -u -D; ", "fish": ""}


def line_for(shell: str) -> str:
    """
    What the README says to put into the shell's startup file.
    """
    (line,) = re.findall(rf"^\| {shell} \| `[^`]*` \| `(.*)` \|$", README, re.MULTILINE)
    pasted: str = line.replace("\\|", "|")
    return pasted


@contextmanager
def terminal(shell: str, directory: Path) -> Iterator[int]:
    """
    The shell with a person before it, and nobody's settings; what it prints is thrown away.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(directory), "TERM": "xterm", "LANG": "C.UTF-8"}
    keyboard, screen = pty.openpty()
    with subprocess.Popen(
        SHELLS[shell],
        stdin=screen,
        stdout=screen,
        stderr=screen,
        cwd=directory,
        env=environment,
        start_new_session=True,
        preexec_fn=_take_the_terminal,  # noqa: PLW1509  fish wants one that is its own
    ) as process:
        os.close(screen)
        reader = Thread(target=_swallow, args=[keyboard])
        reader.start()
        try:
            yield keyboard
        finally:
            process.kill()
            process.wait()
            reader.join()
            os.close(keyboard)


def _take_the_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _swallow(screen: int) -> None:
    with suppress(OSError):
        while os.read(screen, 4096):
            pass


@pytest.mark.parametrize("shell", SHELLS)
def test_tab(shell: str, tmp_path: Path) -> None:
    """
    A command, one of its options and one of the option's values are completed.
    """
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    completed = tmp_path / "completed"

    with terminal(shell, tmp_path) as keyboard:
        os.write(keyboard, f"{BEFORE[shell]}{line_for(shell)}\n".encode())
        os.write(keyboard, b"booking-doctor recon\t--fail-o\twarn\t")
        os.write(keyboard, f"\x01echo \x05> {completed}\n".encode())
        until = time.monotonic() + 20
        while time.monotonic() < until and not (completed.exists() and completed.read_text()):
            time.sleep(0.02)

    assert completed.read_text().split() == ["booking-doctor", "reconcile", "--fail-on", "warning"]
