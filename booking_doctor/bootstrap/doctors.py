"""
The doctor, for those who look and repair.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from booking_doctor.adapters.environment_files import read_preferences, variable_sources
from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.bootstrap.sources import ChosenSources
from booking_doctor.doctor import Doctor
from booking_doctor.evidence import VariableSource
from booking_doctor.findings import Progress
from booking_doctor.preferences import preferences
from booking_doctor.settings import Preferences

if TYPE_CHECKING:
    from booking_doctor.adapters.twilio_files import TwilioFiles


def open_doctor(
    directory: Path,
    env_files: Sequence[Path],
    config: Path | None,
    process: Mapping[str, str],
    progress: Progress,
    log_files: Sequence[Path] = (),
) -> Doctor:
    """
    The doctor for the settings that are found there.

    Args:
        directory: Where ``.env`` and ``booking-doctor.toml`` are looked for.
        env_files, config: Files named by the caller.
        process: The process environment.
        log_files: What to read instead of asking Twilio, which is not asked anything then.

    Raises:
        UsageError: A named file cannot be read.
        SettingsError: The settings file says what cannot be meant.
    """
    # NOTE: threads that read ahead need the interpreter for a moment between two waits; by default one that computes
    # keeps it 5 ms each time, and a million messages then take a fifth longer.
    sys.setswitchinterval(0.0005)
    origins = variable_sources(directory, env_files, process)
    preferred = preferences(*read_preferences(directory, config))
    return doctor_for(origins, preferred, progress, log_files=log_files)


def doctor_for(
    origins: tuple[VariableSource, ...],
    preferred: Preferences,
    progress: Progress,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    log_files: Sequence[Path] = (),
) -> Doctor:
    """
    The doctor for what these say.

    Args:
        origins: Where the variables come from; later ones win.

    Raises:
        UsageError: One of the files is no log of the account.
    """
    variables = {name: value for origin in origins for name, value in origin.values.items()}
    account_sid = variables.get("TWILIO_ACCOUNT_SID") or None
    files = _log_in(log_files, account_sid, clock(), progress) if log_files else None
    return Doctor(
        ChosenSources(variables, preferred, progress, origins=origins, files=files),
        preferred,
        clock=clock,
        executor=DaemonExecutor,
        run_id=lambda moment: f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        progress=progress,
    )


def _log_in(paths: Sequence[Path], account_sid: str | None, now: datetime, progress: Progress) -> TwilioFiles:
    # NOTE: imported here, because it takes a database of its own, and seldom is there a file.
    from booking_doctor.adapters.twilio_files import TwilioFiles

    return TwilioFiles(paths, account_sid=account_sid, now=now, progress=progress)
