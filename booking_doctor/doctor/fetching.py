"""
The verb that copies Twilio's log into a file.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from booking_doctor.doctor.reporting import Reporting, counted
from booking_doctor.doctor.request import Request
from booking_doctor.errors import ExitCode
from booking_doctor.evidence import Unread
from booking_doctor.findings import Report, Skipped


class Fetching(Reporting):
    """
    `fetch-log`.
    """

    def fetch_log(self, request: Request, output: Path) -> Report:
        """
        Copy the window's log into the file; where not all of it came, what came is kept, to be gone on with.

        Raises:
            SettingsError: A variable is missing or malformed.
            PlanRefused: What was kept is of another account or window.
            UsageError: The file could not be written.
        """
        fetched = self._sources.fetch_log(request.window, output, request.again, self._started_at)
        told, begun_at = counted(fetched.messages, "message"), fetched.coverage.get("begun_at")
        told += f" of a copy that was begun at {begun_at}" if begun_at else ""
        whole = not fetched.unread
        return self._report(
            "fetch-log",
            ExitCode.OK if whole else ExitCode.INCOMPLETE,
            f"{told} written to {output}"
            if whole
            else f"{told} so far, kept beside {output}; the same command goes on with them",
            window=fetched.window,
            summary={"messages": fetched.messages},
            coverage=fetched.coverage,
            skipped=[_skipped(unread) for unread in fetched.unread],
            next_steps=[] if whole else [request.command(shlex.join(["fetch-log", "--output", str(output)]))],
        )


def _skipped(unread: Unread) -> Skipped:
    what = f"the log of {unread.day}" if unread.day else "the scan for messages without a date"
    return Skipped(check=what, kind=unread.error.kind, reason=unread.error.sentence)
