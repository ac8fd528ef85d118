"""
How the program was called.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from msgspec import Struct


class Invocation(Struct, frozen=True, kw_only=True):
    """
    The global options of this call; commands find it in ``ctx.obj``.

    Attributes:
        verbosity: How often ``-v`` was given.
        words: All arguments as they were typed.
    """

    env_files: tuple[Path, ...] = ()
    config: Path | None = None
    verbosity: int = 0
    quiet: bool = False
    words: tuple[str, ...] = ()

    def again(self, *words: str) -> str:
        """
        Another command line that reads the same settings, ready to copy.
        """
        settings = [word for path in self.env_files for word in ("--env-file", str(path))]
        if self.config is not None:
            settings += ["--config", str(self.config)]
        return shlex.join(["booking-doctor", *settings, *words])
