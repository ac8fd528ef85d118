"""
The git repository that one stands in.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from booking_doctor.errors import UsageError


def head_commit(directory: Path) -> str:
    """
    The commit that is checked out there.

    Raises:
        UsageError: git is not installed, or has no commit there.
    """
    hint = "call it inside the application's repository, or give the commit's hash: --expect-commit HASH"
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD^{commit}"],  # noqa: S607  whichever git the person uses
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = "git does not run, so HEAD is not known"
        raise UsageError(message, hint=hint) from error
    commit = asked.stdout.strip()
    if asked.returncode or not re.fullmatch("[0-9a-f]{40,64}", commit):
        owned = "dubious ownership" in asked.stderr
        message = (
            "git does not trust this repository, because somebody else owns it"
            if owned
            else f"there is no git repository with a commit in {directory}"
        )
        raise UsageError(message, hint="git config --global --add safe.directory PATH" if owned else hint)
    return commit
