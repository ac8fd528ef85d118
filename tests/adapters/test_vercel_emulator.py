"""
The same questions to Vercel's own emulator (npm ``emulate`` 0.9.0, of vercel-labs), where it is installed.

Its later versions need a newer Node than many have, and npm's newest ``emulate`` is another package. It listens on every
interface while the test runs.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import urllib3

from booking_doctor.adapters.vercel import VercelPlatform
from booking_doctor.errors import PlatformRefused
from booking_doctor.settings import Secret, VercelSettings

VERSION: Final = "0.9.0"
TOKEN: Final = "test_token_admin"
MANY: Final = 45
"""More than fit on a page of the emulator's."""

_SEED: Final = {
    "tokens": {TOKEN: {"login": "admin", "scopes": ["user"]}},
    "vercel": {"projects": [{"name": "salon", "framework": "nextjs"}]},
}


@pytest.fixture(scope="module", name="program")
def _program() -> str:
    """
    The emulator: what ``EMULATE`` names, else ``emulate`` on the path, if it is that one.
    """
    program = os.environ.get("EMULATE") or shutil.which("emulate")
    if program is None or shutil.which("node") is None:
        pytest.skip(f"no emulator: install Node and npm's emulate@{VERSION}, and name its program with EMULATE")
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    if told.stdout.strip() != VERSION:
        pytest.skip(f"the emulator must be npm's emulate@{VERSION}, {program} is something else")
    return program


@pytest.fixture(scope="module", name="address")
def _address(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """
    Where it listens.
    """
    seed = tmp_path_factory.mktemp("emulator") / "seed.json"
    seed.write_text(json.dumps(_SEED))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [program, "start", "--service", "vercel", "--port", str(port), "--seed", str(seed)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=seed.parent) as running:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the emulator did not start")


@pytest.fixture(name="platform")
def _platform(address: str) -> VercelPlatform:
    """
    The project by its name, in the account of the token.
    """
    return VercelPlatform(VercelSettings(token=Secret(TOKEN), project="salon", team=None, base_url=address))


def post(address: str, path: str, document: Any) -> Any:
    """
    Somebody does something on the platform.
    """
    answer = urllib3.request("POST", address + path, json=document, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status in {200, 201}, answer.data
    return answer.json()


def test_variables_of_the_emulator(platform: VercelPlatform, address: str) -> None:
    """
    All pages, targets and branches.
    """
    for number in range(MANY):
        post(
            address,
            "/v10/projects/salon/env",
            {"key": f"V{number}", "value": "c4na7y", "type": "encrypted", "target": ["production"]},
        )
        time.sleep(0.002)
    scoped = {"key": "BRANCH", "value": "1", "type": "plain", "target": ["preview"], "gitBranch": "feature-1"}
    post(address, "/v10/projects/salon/env", scoped)

    told = {variable.name: variable for variable in platform.variables()}

    assert set(told) == {*(f"V{number}" for number in range(MANY)), "BRANCH"}
    assert all(told[f"V{number}"].in_production for number in range(MANY))
    assert (told["BRANCH"].targets, told["BRANCH"].branch) == (frozenset({"preview"}), "feature-1")
    assert all(variable.changed_at for variable in told.values())


def test_a_deployment_of_the_emulator(platform: VercelPlatform, address: str) -> None:
    """
    By its host, with its commit.
    """
    source = {"type": "github", "ref": "main", "sha": "a" * 40, "repoId": 1}
    built = post(
        address,
        "/v13/deployments",
        {"name": "salon", "project": "salon", "target": "production", "gitSource": source},
    )

    told = platform.serving(built["url"])

    assert told is not None
    assert (told.id, told.commit, told.branch, told.target) == (built["id"], "a" * 40, "main", "production")
    assert (told.state, told.own) == ("READY", True)
    assert platform.serving("nowhere.example") is None


def test_a_refusal_of_the_emulator(address: str, tmp_path: Path) -> None:
    """
    A project that is not there.
    """
    settings = VercelSettings(token=Secret(TOKEN), project="prj_unknown", team=None, base_url=address)

    with pytest.raises(PlatformRefused) as raised:
        list(VercelPlatform(settings).variables())
    assert (raised.value.status, raised.value.kind) == (404, "not-permitted")
