"""
Tells people that something changed, through whatever service a URL of Apprise's names.

Such a URL holds a key. The library logs URLs and puts them into errors, so it is not let say anything.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from booking_doctor.errors import UsageError
from booking_doctor.settings import Secret


class Notifier:
    """
    Sends to all of those URLs.

    Raises:
        UsageError: The library is not installed, or does not know what a URL means.
    """

    def __init__(self, urls: Sequence[Secret]) -> None:
        try:
            import apprise
        except ImportError:
            message = "--notify needs the library apprise"
            raise UsageError(message, hint="pip install 'booking-doctor[notify]'") from None
        asset = apprise.AppriseAsset(app_id="booking-doctor", async_mode=False, secure_logging=True)
        self._services = []
        for number, url in enumerate(urls, start=1):
            service = apprise.Apprise(asset=asset)
            with _silence(), suppress(Exception):  # plugins raise anything, and it may hold the URL
                service.add(url.value)
            if not len(service):
                message = f"the URL of --notify number {number} is none that apprise knows"
                raise UsageError(message, hint="see its list of services; the URL is not shown here, it holds a key")
            self._services.append(service)

    def send(self, title: str, text: str) -> list[str]:
        """
        Why, for each URL to which it could not be sent.
        """
        failures = []
        for number, service in enumerate(self._services, start=1):
            try:
                with _silence():
                    sent = service.notify(title=title, body=text, body_format="text")
                why = "" if sent else "the service did not take it"
            except Exception as error:  # noqa: BLE001  plugins raise anything, and it may hold the URL
                why = type(error).__name__
            if why:
                failures.append(f"the notification to --notify number {number} failed: {why}")
        return failures


@contextmanager
def _silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
