"""
The demo as a user runs it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest
import urllib3

DEMO = [sys.executable, "-m", "booking_doctor", "demo"]


@pytest.fixture(name="environment")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """
    A process environment whose temporary directory is the demo's alone.
    """
    # NOTE: not below pytest's own, which only its owner may enter: as root the server runs as somebody else.
    alone = tempfile.mkdtemp(prefix="alone-", dir="/tmp")
    Path(alone).chmod(0o755)
    return {**os.environ, "TMPDIR": alone, "COLUMNS": "80"}


def test_demo(environment: dict[str, str]) -> None:
    """
    The demo ends well within a minute with nothing unrecorded after apply, the same bytes after undo, nothing left.
    """
    begun = time.monotonic()

    told = subprocess.run(DEMO, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert (told.returncode, told.stderr) == (0, "")
    assert time.monotonic() - begun < 60
    assert "Diagnosis: most likely old-deployment-serving" in told.stdout
    assert re.search(r"unrecorded after apply +0\b", told.stdout)
    before, after = re.findall(r"sha256 (\w+)", told.stdout)
    assert before == after
    assert [line for line in told.stdout.splitlines() if line.startswith("$ ")] == [
        "$ booking-doctor diagnose --since 7d",
        "$ booking-doctor backfill --since 7d --save plan.json",
        "$ booking-doctor backfill --from plan.json --apply --yes",
        "$ booking-doctor reconcile --since 7d",
        *re.findall(r"\$ booking-doctor undo \S+ --yes", told.stdout),
    ]
    assert re.search(r"old  texted, then: a constraint forbids it: customer_id \(error 23502\)", told.stdout)
    assert re.search(r"new  texted, confirmed, recorded: 1 row for SM[0-9a-f]{32}", told.stdout)
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert "\x1b" not in told.stdout


_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


def texted(variables: dict[str, str]) -> datetime:
    """
    When Twilio says that a text was made which is sent now.
    """
    account = f"{variables['TWILIO_API_BASE_URL']}/2010-04-01/Accounts/{variables['TWILIO_ACCOUNT_SID']}"
    login = urllib3.make_headers(basic_auth=f"{variables['TWILIO_ACCOUNT_SID']}:{variables['TWILIO_AUTH_TOKEN']}")
    form = {"To": "+15550101234", "From": variables["TWILIO_PHONE_NUMBER"], "Body": "now"}
    answer = urllib3.request("POST", f"{account}/Messages.json", body=urlencode(form), headers={**login, **_FORM})
    return parsedate_to_datetime(answer.json()["date_created"])


def test_ended_in_the_middle(environment: dict[str, str]) -> None:
    """
    A termination in the middle of the story ends it at once, and nothing of the world is left.
    """
    with subprocess.Popen(
        [*DEMO, "--keep"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as told:
        assert any(line.startswith("$ booking-doctor diagnose") for line in told.stdout or ())
        told.send_signal(signal.SIGTERM)
        _, said = told.communicate(timeout=30)

    assert (told.returncode, "Traceback" in said) == (130, False)
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_keep(environment: dict[str, str]) -> None:
    """
    A kept world answers the commands it prints, its time goes on, and it is gone after Ctrl-C.
    """
    with subprocess.Popen([*DEMO, "--keep"], env=environment, stdout=subprocess.PIPE, text=True) as kept:
        lines = []
        for line in kept.stdout or ():
            lines.append(line.strip())
            if line.strip().startswith("TWILIO_API_BASE_URL="):
                break
        directory = next(line for line in lines if line.startswith("cd ")).removeprefix("cd ")
        tried = subprocess.run(
            [sys.executable, "-m", "booking_doctor", "reconcile", "--since", "7d"],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        variables = dict(line.split("=", 1) for line in lines if re.match("[A-Z_]+=", line))
        sent_at, now = texted(variables), datetime.now(UTC)
        kept.send_signal(signal.SIGINT)
        rest = kept.stdout.read() if kept.stdout else ""

    assert tried.returncode == 1
    assert "message-unrecorded" in tried.stdout
    assert abs(now - sent_at) < timedelta(seconds=3)
    assert "The world is gone." in rest
    assert kept.returncode == 0
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
