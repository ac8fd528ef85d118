"""
The OpenAPI description is exact: schemathesis, let loose on the running server, finds nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.web.conftest import APP_URL, BOOKING_KEY, EVENT, Client

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

# 422 is documented: a request of the right form may ask for what cannot be, such as an event that does not exist.
SETTINGS = """
hooks = "exploring"
headers = { X-API-Key = "${EXPLORED_KEY}" }

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "410", "422"]
"""


def test_nothing_is_found(api: Client, tmp_path: Path) -> None:
    """
    Whatever fits the description or just does not is answered as the description says, and texts are really sent.
    """
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    known = {
        "EXPLORED_APP_URL": APP_URL,
        "EXPLORED_EVENT": EVENT,
        "EXPLORED_KEY": BOOKING_KEY,
        "EXPLORED_TOKEN": api.scene.account.auth_token,
        "PYTHONPATH": str(Path(__file__).parent),
        "NO_PROXY": "127.0.0.1",
    }
    words = ["run", f"{api.url}/openapi.json", "--max-examples=12", "--seed=1", "--no-color", "--output-sanitize=true"]

    told = subprocess.run(
        [SCHEMATHESIS, *words],
        cwd=tmp_path,
        env={**os.environ, **known},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert "Tested: 5" in told.stdout
    assert int(re.findall(r"(\d+) generated", told.stdout)[0]) > 100
    assert api.count("pending_bookings") > 5
    assert api.count("messages") > 0
