"""
What a reporting command is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from booking_doctor.checks import select
from booking_doctor.checks.check import Check
from booking_doctor.evidence import ExpectedBuild, VariableSource
from booking_doctor.findings import Disclosure, FailOn, Window


class Request(Struct, frozen=True, kw_only=True):
    """
    What every reporting command is asked.

    Attributes:
        program: How a command line that reads the same settings begins.
        again: The options to repeat in a command that looks at the same, such as ``--since 7d``.
        expected: What the variables should be elsewhere, such as on the hosting platform.
        expected_build: Which build should serve.
        chosen: Names and families of the checks that are wanted; none for all.
        ignored: Names and families of checks to leave out of those.
        probing: Whether a booking may be made to look where it goes.
        probe_phone: Whom it texts; None for the phone that the variables name.
        cleanup: Whether it is removed afterwards.
    """

    window: Window
    all_senders: bool = False
    fail_on: FailOn = FailOn.ERROR
    disclosure: Disclosure = Disclosure()
    program: str = "booking-doctor"
    again: str = ""
    expected: VariableSource | None = None
    expected_build: ExpectedBuild = ExpectedBuild()
    chosen: Sequence[str] = ()
    ignored: Sequence[str] = ()
    probing: bool = False
    probe_phone: str | None = None
    cleanup: bool = False

    def checks(self, family: str, *besides: str) -> list[Check]:
        """
        The family's checks that are wanted, and others.

        Args:
            besides: The others' names.

        Raises:
            UsageError: A name is not one of the family's, or no check is left.
        """
        return select(self.chosen, self.ignored, family=family, besides=besides)

    def command(self, words: str) -> str:
        """
        A command line that looks at the same.
        """
        return f"{self.program} {words} {self.again}".rstrip()
