"""
Twilio's message log over HTTP: raw pages a day at a time, single messages through the SDK.

The SDK's own list objects are not used: they lose time zones, hide status codes and cost four times the parsing.
Connections, waiting and giving up (`services`) and telling a refusal from a fault (`twilio_http`) are the same for both ways in.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from urllib.parse import quote

import msgspec
import urllib3
from msgspec import Struct, field

from booking_doctor.adapters.services import Patience, Tries, connections, lost, understood
from booking_doctor.adapters.strands import Strands, pause, stepping_aside
from booking_doctor.adapters.threads import DaemonExecutor
from booking_doctor.adapters.twilio_http import TWILIO, Carrier, login, refusal, refuse
from booking_doctor.core.model import TwilioMessage, UnreadableMessage
from booking_doctor.errors import TwilioError, TwilioRefused, TwilioUnreachable
from booking_doctor.evidence import Page, Unread
from booking_doctor.findings import JSONValue, Progress, Silent, Window
from booking_doctor.settings import TwilioSettings

if TYPE_CHECKING:
    from twilio.rest import Client

PAGE_SIZE: Final = 1000
"""The most that Twilio puts on a page (Twilio: "Messages resource", parameter PageSize)."""

SCAN_PAGES: Final = 5
"""
How far the scan for messages without `date_sent` looks back, in pages. Nothing can filter for them, and they are young:
a message loses its place at the top once it is sent, or has failed.
"""

_OF_THE_ACCOUNT: Final = frozenset({401, 403, 429})
"""Refusals that every other day would meet as well: the credential is not accepted, a cap is reached."""


class TwilioLog:
    """
    The log of one account, as `booking_doctor.reconcile` reads it.

    Args:
        in_flight: How many days are read at once. Twilio limits requests at the same time, not a rate
            (https://www.twilio.com/docs/api/errors/20429).
        shape: What becomes of a message; of what Twilio says only its fields are kept.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(
        self,
        settings: TwilioSettings,
        *,
        patience: Patience = Patience(),
        in_flight: int = 4,
        progress: Progress | None = None,
        shape: type[TwilioMessage] = TwilioMessage,
    ) -> None:
        self._decode = decode_page if shape is TwilioMessage else msgspec.json.Decoder(PageDocument[shape]).decode  # type: ignore[valid-type]
        self._settings = settings
        self._in_flight = in_flight
        self._progress = progress or Silent()
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._scan_complete = False
        self._tries = Tries(TWILIO, patience, self._progress, retried=lambda: self._count("twilio_retries"))
        self._http = stepping_aside(connections(settings.base_url, patience, in_flight))
        self._headers = login(settings.username, settings.password.value)
        self._collection = f"/2010-04-01/Accounts/{settings.account_sid}/Messages"

    as_of: Final = None

    def coverage(self) -> Mapping[str, JSONValue]:
        """
        Requests made: of day walks, of the scan for messages without a date, and for single messages; and whether the scan
        reached the window's start. Where it did not, older messages without a date were not looked for.
        """
        names = ("twilio_pages", "twilio_requests", "undated_requests", "sid_requests", "twilio_retries")
        return {**{name: self._counts[name] for name in names}, "undated_scan_complete": self._scan_complete}

    def _count(self, name: str) -> None:
        with self._counting:
            self._counts[name] += 1

    # pages

    def pages(self, window: Window, *, without: Collection[date] = ()) -> Iterator[Page | Unread]:
        """
        The scan for messages without a date, then one walk for each UTC day of the window, several days at once.

        Reading begins now, not with the first `next`, and goes a page of each day ahead of whoever consumes them.

        Args:
            without: Days to leave out.
        """
        days, pages = [day for day in _days(window) if day not in without], f"{self._collection}.json?"
        self._tries.progressed()
        self._progress.days(len(days))
        scan = _Walk(None, f"{pages}PageSize={PAGE_SIZE}")
        walks = deque(_Walk(day, f"{pages}DateSent={day}&PageSize={PAGE_SIZE}") for day in days)
        reading = _Reading(window, walks)
        self._ask(reading, scan)
        return self._collect(reading)

    def _collect(self, reading: _Reading) -> Iterator[Page | Unread]:
        """
        The pages of all walks as they come, and what broke a walk off where something did.
        """
        # NOTE: whoever collects may have been busy for long, also before the first page; that is no fault of Twilio's.
        self._tries.progressed()
        while reading.asked:
            for future in reading.strands.ended():
                walk = reading.asked.pop(future)
                came = self._came(reading, walk, future)
                self._go_on(reading, walk, came)
                yield came
                if isinstance(came, Page):
                    self._tries.progressed()
        if reading.refused is not None:
            yield from (Unread(walk.day, reading.refused) for walk in reading.walks)

    def _came(self, reading: _Reading, walk: _Walk, future: Future[bytes]) -> Page | Unread:
        try:
            return self._taken(walk, understood(TWILIO, self._decode, future.result()), reading.window)
        except TwilioError as error:
            if self._concerns_all(error):
                reading.refused = error
            return Unread(walk.day, error)

    def _go_on(self, reading: _Reading, walk: _Walk, came: Page | Unread) -> None:
        """
        Ask for the walk's next page, and begin other walks while there is room.

        None begins before the scan has ended, or a message that gets its date in between would be in neither.
        """
        if isinstance(came, Page) and not came.last:
            self._ask(reading, walk)
            if walk.day is None:
                return
        while reading.walks and reading.refused is None and len(reading.asked) < self._in_flight:
            self._ask(reading, reading.walks.popleft())

    def _ask(self, reading: _Reading, walk: _Walk) -> None:
        reading.asked[reading.strands.submit(partial(self._fetch, walk))] = walk

    def _taken(self, walk: _Walk, document: PageDocument[TwilioMessage], window: Window) -> Page:
        """
        The page, counted. The scan ends at the window's start, or after `SCAN_PAGES`.
        """
        walk.uri = document.next_page_uri
        last = walk.uri is None
        if walk.day is None:
            self._scan_complete = last or _begins_before(document.messages, window)
            last = self._scan_complete or len(walk.seen) == SCAN_PAGES
        else:
            self._count("twilio_pages")
            self._progress.page(len(document.messages))
            if last:
                self._progress.day_done()
        return Page(walk.day, document.messages, last=last)

    def _concerns_all(self, error: TwilioError) -> bool:
        """
        Whether every walk not yet begun would meet the error too, and so need not be tried.
        """
        refused = isinstance(error, TwilioRefused) and error.status in _OF_THE_ACCOUNT
        return refused or not self._tries.connected

    def _fetch(self, walk: _Walk) -> bytes:
        uri = walk.uri or ""
        if uri in walk.seen:
            message = "Twilio's log repeats itself: a page names an earlier one as the next"
            raise TwilioUnreachable(message, hint="check TWILIO_API_BASE_URL")
        # NOTE: the credential goes along, so a page may not send us anywhere but to this account's messages.
        if not uri.startswith(f"{self._collection}.json?"):
            message = "Twilio's log names a next page that is not of this account's messages"
            raise TwilioUnreachable(message, hint="check TWILIO_API_BASE_URL")
        walk.seen.add(uri)
        counter = "undated_requests" if walk.day is None else "twilio_requests"
        return self._tries.run(partial(self._body, uri, counter), pause)

    def _body(self, uri: str, counter: str) -> bytes:
        url = self._settings.base_url + uri
        answer = self._answer(partial(self._http.request, "GET", url, headers=self._headers, redirect=False), counter)
        refuse(answer)
        return answer.data

    def _answer(self, ask: Callable[[], urllib3.BaseHTTPResponse], counter: str) -> urllib3.BaseHTTPResponse:
        self._count(counter)
        try:
            answer = ask()
        except urllib3.exceptions.HTTPError as error:
            raise lost(TWILIO, error) from error
        self._tries.connected = True
        return answer

    # single messages

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Each message by its SID, several at once and as they come; None where Twilio answers 404.

        Raises:
            TwilioError: It was refused or would not come; what was yielded before stands.
        """
        return self._messages(self._sdk(), DaemonExecutor(self._in_flight), deque(sids)) if sids else iter(())

    def _messages(
        self, client: Client, executor: DaemonExecutor, sids: deque[str]
    ) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        The first is asked for alone: what Twilio refuses once, it would refuse as often.
        """
        asked: dict[Future[TwilioMessage | None], str] = {}
        at_once = 1
        self._tries.progressed()
        while sids or asked:
            while sids and len(asked) < at_once:
                ask = partial(self._single, client, sids[0])
                asked[executor.submit(self._tries.run, ask, executor.halt.pause)] = sids.popleft()
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                yield asked.pop(future), future.result()
                self._tries.progressed()
            at_once = self._in_flight

    def _sdk(self) -> Client:
        # NOTE: imported here because it takes a tenth of a second, and most runs fetch nothing.
        from twilio.rest import Client

        settings = self._settings
        return Client(
            settings.username,
            settings.password.value,
            settings.account_sid,
            http_client=Carrier(self._http),
            # An empty mapping would make the SDK read the process environment.
            environment={"TWILIO_ACCOUNT_SID": settings.account_sid},
        )

    def _single(self, client: Client, sid: str) -> TwilioMessage | None:
        # NOTE: the raw answer, because the SDK's message drops the time zone of its dates.
        url = f"{self._settings.base_url}{self._collection}/{quote(sid, safe='')}.json"
        answer = self._answer(partial(client.request, "GET", url), "sid_requests")
        if answer.status == 404 and refusal(answer.data).code == 20404:
            return None
        refuse(answer)
        message = understood(TWILIO, decode_message, answer.data)
        if message.sid.casefold() != sid.casefold():
            text = "Twilio's answer was another message than the one asked for"
            raise TwilioUnreachable(text, hint="check TWILIO_API_BASE_URL")
        return message


def _days(window: Window) -> list[date]:
    last = (window.until - timedelta(microseconds=1)).date()
    return [last - timedelta(days=back) for back in range((last - window.since.date()).days + 1)]


def _begins_before(messages: Sequence[TwilioMessage], window: Window) -> bool:
    dated = [message for message in messages if message.date_sent is not None]
    try:
        return bool(dated) and dated[-1].happened_at < window.since
    except UnreadableMessage:
        return False  # its own day's walk names it


class _Walk(Struct):
    """
    How far the pages of a UTC day have been followed, or those of the scan.

    Attributes:
        uri: The next page.
        seen: The pages asked for.
    """

    day: date | None
    uri: str | None
    seen: set[str] = field(default_factory=set)


class _Reading(Struct):
    """
    One reading of the log.

    Attributes:
        walks: Those not yet begun.
        asked: The pages on their way, one of a walk.
        refused: An error that every walk not yet begun would meet too, and so is not asked for.
    """

    window: Window
    walks: deque[_Walk]
    asked: dict[Future[bytes], _Walk] = field(default_factory=dict)
    strands: Strands = field(default_factory=Strands)
    refused: TwilioError | None = None


_Shape = TypeVar("_Shape", bound=TwilioMessage)


class PageDocument(msgspec.Struct, Generic[_Shape], gc=False):
    """
    A page of the list as it is on the wire.
    """

    # NOTE: next_page_uri must be there; where it were not, a log that is cut off would pass for a whole one.
    messages: list[_Shape]
    next_page_uri: str | None


decode_page = msgspec.json.Decoder(PageDocument[TwilioMessage]).decode
decode_message = msgspec.json.Decoder(TwilioMessage).decode
