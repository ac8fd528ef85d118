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
    # NOTE: nearly all that loading makes stays; to look through it for cycles again and again takes a twentieth of a command.
    gc.set_threshold(50_000, 20, 100)
    from booking_doctor.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
