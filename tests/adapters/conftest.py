"""
What the tests of several adapters need.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(name="certificate", scope="session")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A certificate for 127.0.0.1 that nobody knows, signed by itself, in one file with its key.
    """
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    made = subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", "2", *curve, *subject, "-keyout", "-", "-out", "-"],
        check=True,
        capture_output=True,
    )
    both = tmp_path_factory.mktemp("tls") / "both.pem"
    both.write_bytes(made.stdout)
    return both
