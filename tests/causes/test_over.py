"""
A fault that is over: what is not there now may have been then, so it excludes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import CauseVerdict, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.story import each, healthy, initiated, stored

HOUR = timedelta(hours=1)
STANDING = ("rls-update-zero-rows", "trigger-resets-metadata", "rule-or-view-swallows-update")


def verdicts(scene: World, open_doctor: Callable[..., Doctor]) -> dict[str, CauseVerdict]:
    """
    What is said of each cause.
    """
    diagnosis = open_doctor().diagnose(Request(window=Window(scene.now - 7 * 24 * HOUR, scene.now))).diagnosis
    return {cause.id: cause.verdict for cause in diagnosis.causes} if diagnosis else {}


def test_what_was_put_right_is_not_excluded(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    While bookings go wrong, a catalog without policy, trigger and rule excludes them; once they are in order again, it does not.
    """
    healthy(scene)
    for age in each(6, 4 * HOUR):
        initiated(scene, age)
    during = verdicts(scene, open_doctor)
    for age in each(5, HOUR / 3, HOUR / 3):
        stored(scene, initiated(scene, age))
    after = verdicts(scene, open_doctor)

    assert {during[name] for name in STANDING} == {CauseVerdict.EXCLUDED}
    assert {after[name] for name in STANDING} == {CauseVerdict.POSSIBLE}
