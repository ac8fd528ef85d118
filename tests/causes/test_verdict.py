"""
The verdict's one line: what was found, and what it was reached without.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.story import healthy
from booking_doctor.sandbox.twilio_faults import Fault


def verdict(scene: World, open_doctor: Callable[..., Doctor]) -> str:
    """
    What is said in one line.
    """
    diagnosis = open_doctor().diagnose(Request(window=Window(scene.now - timedelta(days=7), scene.now))).diagnosis
    return diagnosis.verdict if diagnosis else ""


def test_what_was_not_read_is_said(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    Where Twilio's log could not be read, that no cause is seen does not stand alone.
    """
    healthy(scene)
    whole = verdict(scene, open_doctor)
    scene.simulator.faults.add(Fault.forbidden(), times=None)

    assert whole == "no cause is seen at work"
    assert verdict(scene, open_doctor).endswith("; not read: Twilio's log")


def test_a_setting_without_harm(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    What is set up wrongly and has done no harm is told as that, and not as the cause of anything.
    """
    healthy(scene)
    scene.variables["SUPABASE_URL"] = "https://abcdefghijklmnopqrst.supabase.co "

    assert verdict(scene, open_doctor) == "no harm is seen; what is set up wrongly could do some: env-value-malformed"
