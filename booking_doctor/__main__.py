"""
The console script. ``--version`` is answered before anything else is imported.
"""

from __future__ import annotations

import gc
import sys

from booking_doctor import __version__


def main() -> None:
    """
    Run the command line, and exit with its code.
    """
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"booking-doctor {__version__}\n")
        return
    collect_rarely()
    from booking_doctor.cli.app import main as run

    run()


def collect_rarely() -> None:
    """
    Look for cycles seldom: nearly all that loading makes stays, and to look through it takes a twentieth of a command.
    """
    gc.set_threshold(50_000, 20, 100)


if __name__ == "__main__":
    main()
