"""
The Twilio simulator as a server on this machine.

    with TwilioSimulator(account) as simulator:
        client.api.base_url = simulator.base_url
        simulator.faults.add(Fault.throttled(retry_after=2), times=2, on=On(method="GET"))

What is answered is decided in `twilio_api`; how it is served, in `simulator`.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from itertools import count

from msgspec.structs import replace

from booking_doctor.sandbox.exchange import Reply, Request
from booking_doctor.sandbox.simulator import Simulator
from booking_doctor.sandbox.twilio import TwilioAccount
from booking_doctor.sandbox.twilio_api import TwilioApi


class TwilioSimulator(Simulator):
    """
    An account's API over HTTP.
    """

    def __init__(self, account: TwilioAccount, *, latency: timedelta = timedelta(0)) -> None:
        super().__init__(latency=latency)
        self.account = account
        self._api = TwilioApi(account)
        # NOTE: not from the account's randomness, or reading would change the SIDs of what is sent later.
        self._request_ids = (f"RQ{number:032x}" for number in count(1))
        self._numbering = threading.Lock()

    def now(self) -> datetime:
        """
        By the account's clock.
        """
        return self.account.now()

    def answer(self, request: Request, secret: str | None) -> Reply:
        """
        As the account's API has it.
        """
        return self._api.answer(request, secret)

    def headed(self, reply: Reply, in_flight: int) -> Reply:
        """
        With Twilio's own headers.
        """
        with self._numbering:
            request_id = next(self._request_ids)
        own = {"Twilio-Concurrent-Requests": str(in_flight), "Twilio-Request-Id": request_id}
        return replace(reply, headers={**reply.headers, **own})
