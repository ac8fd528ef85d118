"""
The console script. ``--version`` is answered before anything else is imported.
"""

from __future__ import annotations

import sys

from booking_doctor import __version__


def main() -> None:
    """
    Run the command line, and exit with its code.
    """
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"booking-doctor {__version__}\n")
        return
    from booking_doctor.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
