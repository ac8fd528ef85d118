"""
Twilio's message log over HTTP: raw pages a day at a time, single messages through the SDK.

The SDK's own list objects are not used: they lose time zones, hide status codes and cost four times the parsing. Waiting,
giving up and telling a refusal from a fault are the same for both ways in.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
import tenacity
import urllib3

from booking_doctor.core.model import TwilioMessage, UnreadableMessage
from booking_doctor.errors import TwilioError, TwilioRefused, TwilioUnreachable
from booking_doctor.findings import JSONValue, Progress, Silent, Window
from booking_doctor.reconcile import Page, Unread
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

_TOO_MANY_REQUESTS: Final = 429
_CONCURRENCY: Final = frozenset({20429, 429})
"""Error codes of a 429 that passes. 63038 is a daily cap (https://www.twilio.com/docs/api/errors/63038)."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """
    How long to wait for Twilio. All in seconds.

    Attributes:
        give_up_after: Retries end so long after the last page or message that came.
        first_tries: How often a server that has never answered is tried.
    """

    connect_timeout: float = 5
    read_timeout: float = 20
    give_up_after: float = 60
    first_wait: float = 0.5
    longest_wait: float = 20
    first_tries: int = 3


class _Passing(Exception):
    """
    A fault that may be gone on the next try.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, connected: bool = True) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.connected = connected


class _PageDocument(msgspec.Struct, gc=False):
    messages: list[TwilioMessage]
    next_page_uri: str | None = None


class _Refusal(msgspec.Struct):
    code: int | None = None
    message: str | None = None


_decode_page = msgspec.json.Decoder(_PageDocument).decode
_decode_message = msgspec.json.Decoder(TwilioMessage).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


@dataclass(slots=True)
class _Tries:
    """
    When to try again, and when to stop: shared by all requests of one log, so that one day's progress keeps the others
    waiting for theirs.
    """

    patience: Patience
    progress: Progress
    halted: threading.Event = field(default_factory=threading.Event)
    answered: bool = False
    last_progress: float = field(default_factory=time.monotonic)
    jitter: random.Random = field(default_factory=random.Random)

    def run(self, ask: Callable[[], _Answer]) -> _Answer:
        """
        *ask* until it succeeds, is refused, or the patience ends.

        Raises:
            TwilioError: It was refused, or would not succeed.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            wait=self._wait,
            stop=self._stop,
            sleep=self._pause,
            before_sleep=self._announce,
            reraise=True,
        )
        try:
            answer = retrying(ask)
        except _Passing as fault:
            message = f"Twilio cannot be read: {fault}"
            raise TwilioUnreachable(
                message, hint="check the network and TWILIO_API_BASE_URL, then run it again"
            ) from fault
        self.answered = True
        self.last_progress = time.monotonic()
        return answer

    def _wait(self, state: tenacity.RetryCallState) -> float:
        fault = _fault(state)
        longest = min(self.patience.longest_wait, self.patience.first_wait * 2 ** (state.attempt_number - 1))
        if fault.retry_after is not None:
            return fault.retry_after + self.jitter.uniform(0, min(1, longest))
        return self.jitter.uniform(longest / 2, longest)

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        idle = time.monotonic() + state.upcoming_sleep - max(self.last_progress, state.start_time)
        never_connected = not self.answered and not _fault(state).connected
        return (
            self.halted.is_set()
            or idle > self.patience.give_up_after
            or (never_connected and state.attempt_number >= self.patience.first_tries)
        )

    def _pause(self, seconds: float) -> None:
        self.halted.wait(seconds)

    def _announce(self, state: tenacity.RetryCallState) -> None:
        self.progress.waiting(state.upcoming_sleep, str(_fault(state)))


def _fault(state: tenacity.RetryCallState) -> _Passing:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _Passing)  # noqa: S101  tenacity retries nothing else here
    return error


class TwilioLog:
    """
    The log of one account, as `booking_doctor.reconcile` reads it.

    Args:
        in_flight: How many days are read at once. Twilio limits requests at the same time, not a rate
            (https://www.twilio.com/docs/api/errors/20429).
    """

    def __init__(
        self,
        settings: TwilioSettings,
        *,
        patience: Patience = Patience(),  # noqa: B008  frozen
        in_flight: int = 4,
        progress: Progress | None = None,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._in_flight = in_flight
        self._progress = progress or Silent()
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._http = _connections(settings.base_url, patience, in_flight)
        self._headers = urllib3.make_headers(
            basic_auth=f"{settings.username}:{settings.password.value}", accept_encoding="gzip", keep_alive=True
        )
        self._collection = f"/2010-04-01/Accounts/{settings.account_sid}/Messages"

    def coverage(self) -> Mapping[str, JSONValue]:
        """
        Requests made: of day walks, of the scan for messages without a date, and for single messages.
        """
        counted = {name: self._counts[name] for name in ("twilio_pages", "twilio_requests", "undated_requests")}
        return {
            **counted,
            "sid_requests": self._counts["sid_requests"],
            "twilio_retries": self._counts["twilio_retries"],
        }

    # pages

    def pages(self, window: Window) -> Iterator[Page | Unread]:
        """
        The scan for messages without a date, then one walk for each UTC day of the window, several days at once.

        Reading begins now, not with the first `next`, and goes a few pages ahead of whoever consumes them.
        """
        days = _days(window)
        walks = _Walks(days, _Tries(self._patience, self._progress), queue.Queue(2 * self._in_flight))
        self._progress.days(len(days))
        threading.Thread(target=self._read, args=(walks, window), daemon=True).start()
        return self._collect(walks)

    def _collect(self, walks: _Walks) -> Iterator[Page | Unread]:
        open_walks = len(walks.days) + 1
        try:
            while open_walks:
                item = walks.results.get()
                if isinstance(item, BaseException):
                    raise item
                open_walks -= isinstance(item, Unread) or item.last
                yield item
        finally:
            walks.tries.halted.set()

    def _read(self, walks: _Walks, window: Window) -> None:
        self._guarded(walks, None, lambda: self._scan(walks, window))
        waiting = deque(walks.days)

        def read_days() -> None:
            while waiting:
                try:
                    day = waiting.popleft()
                except IndexError:
                    return
                self._guarded(walks, day, lambda day=day: self._walk(walks, day))  # type: ignore[misc]

        for _ in range(self._in_flight):
            threading.Thread(target=read_days, daemon=True).start()

    def _guarded(self, walks: _Walks, day: date | None, read: Callable[[], None]) -> None:
        """
        Whatever ends a walk reaches whoever collects: none may wait for a page that never comes.
        """
        try:
            if walks.refusal:
                raise walks.refusal
            read()
        except TwilioRefused as error:
            walks.refusal = error
            walks.put(Unread(day, error))
        except TwilioError as error:
            walks.put(Unread(day, error))
        except BaseException as error:  # noqa: BLE001  raised again by the collector
            walks.put(error)

    def _walk(self, walks: _Walks, day: date) -> None:
        """
        All pages of a UTC day.
        """
        for document in self._follow(walks.tries, f"DateSent={day}&", "twilio_requests"):
            self._count("twilio_pages")
            self._progress.page(len(document.messages))
            walks.put(Page(day, document.messages, last=document.next_page_uri is None))
        self._progress.day_done()

    def _scan(self, walks: _Walks, window: Window) -> None:
        """
        The newest pages of the unfiltered log; it ends at the window's start, or after `SCAN_PAGES`.
        """
        for number, document in enumerate(self._follow(walks.tries, "", "undated_requests"), start=1):
            past = _begins_before(document.messages, window)
            last = document.next_page_uri is None or past or number == SCAN_PAGES
            walks.put(Page(None, document.messages, last=last))
            if last:
                return

    def _follow(self, tries: _Tries, filters: str, counter: str) -> Iterator[_PageDocument]:
        uri: str | None = f"{self._collection}.json?{filters}PageSize={PAGE_SIZE}"
        while uri:
            here: str = uri
            document = tries.run(lambda: self._page(here, counter))  # noqa: B023  run at once
            if document.next_page_uri == here:
                message = "Twilio's log repeats itself: a page names itself as the next one"
                raise TwilioUnreachable(message, hint="check TWILIO_API_BASE_URL")
            yield document
            uri = document.next_page_uri

    def _page(self, uri: str, counter: str) -> _PageDocument:
        # NOTE: the credential goes along, so a page may not send us anywhere but to this account's messages.
        if not uri.startswith(self._collection):
            message = "Twilio's log names a next page that is not of this account's messages"
            raise TwilioUnreachable(message, hint="check TWILIO_API_BASE_URL")
        self._count(counter)
        try:
            answer = self._http.request("GET", self._settings.base_url + uri, headers=self._headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            self._count("twilio_retries")
            raise _lost(error) from error
        self._refuse(answer.status, answer.data, answer.headers.get("Retry-After"))
        return _understood(_decode_page, answer.data)

    def _refuse(self, status: int, body: bytes, retry_after: str | None) -> None:
        """
        Nothing where the answer is 200; else the fault that it means.
        """
        if status == 200:
            return
        refusal = _refusal(body)
        code = refusal.code or status
        if status >= 500 or (status == _TOO_MANY_REQUESTS and code in _CONCURRENCY):
            self._count("twilio_retries")
            raise _Passing(f"it answers {status} (code {code})", retry_after=_seconds(retry_after))
        if not 400 <= status < 500:
            message = f"Twilio's answer was not its message log (HTTP {status})"
            raise TwilioUnreachable(message, hint="check TWILIO_API_BASE_URL")
        raise TwilioRefused(
            f"Twilio refused (HTTP {status}, code {code})", status=status, code=code, hint=_advice(code)
        )

    def _count(self, name: str) -> None:
        with self._counting:
            self._counts[name] += 1

    # single messages

    def fetch(self, sids: Sequence[str]) -> Iterator[tuple[str, TwilioMessage | None]]:
        """
        Each message by its SID, several at once; None where Twilio answers 404.

        Raises:
            TwilioError: It was refused or would not come; what was yielded before stands.
        """
        if not sids:
            return
        client, tries = self._sdk(), _Tries(self._patience, self._progress)
        pool = ThreadPoolExecutor(self._in_flight)
        try:
            yield from zip(sids, pool.map(lambda sid: tries.run(lambda: self._single(client, sid)), sids), strict=True)
        finally:
            tries.halted.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _sdk(self) -> Client:
        # NOTE: imported here because it takes a tenth of a second, and most runs fetch nothing.
        from twilio.http.http_client import TwilioHttpClient
        from twilio.rest import Client

        settings = self._settings
        return Client(
            settings.username,
            settings.password.value,
            settings.account_sid,
            http_client=TwilioHttpClient(timeout=self._patience.read_timeout),
            # An empty mapping would make the SDK read the process environment.
            environment={"TWILIO_ACCOUNT_SID": settings.account_sid},
        )

    def _single(self, client: Client, sid: str) -> TwilioMessage | None:
        # NOTE: the raw answer, because the SDK's message drops the time zone of its dates.
        import requests

        self._count("sid_requests")
        url = f"{self._settings.base_url}{self._collection}/{quote(sid, safe='')}.json"
        try:
            answer = client.request("GET", url)
        except requests.RequestException as error:
            self._count("twilio_retries")
            raise _Passing(f"the connection was lost ({type(error).__name__})") from error
        body = answer.text.encode()
        if answer.status_code == 404 and _refusal(body).code == 20404:
            return None
        self._refuse(answer.status_code, body, (answer.headers or {}).get("Retry-After"))
        return _understood(_decode_message, body)


@dataclass(slots=True)
class _Walks:
    """
    One reading of the log: its days, what has come and is not yet collected, and a refusal that ends them all.
    """

    days: Sequence[date]
    tries: _Tries
    results: queue.Queue[Page | Unread | BaseException]
    refusal: TwilioRefused | None = None

    def put(self, item: Page | Unread | BaseException) -> None:
        while not self.tries.halted.is_set():
            try:
                return self.results.put(item, timeout=0.2)
            except queue.Full:
                continue


def _days(window: Window) -> list[date]:
    last = (window.until - timedelta(microseconds=1)).date()
    return [last - timedelta(days=back) for back in range((last - window.since.date()).days + 1)]


def _begins_before(messages: Sequence[TwilioMessage], window: Window) -> bool:
    dated = [message for message in messages if message.date_sent is not None]
    try:
        return bool(dated) and dated[-1].happened_at < window.since
    except UnreadableMessage:
        return False  # its own day's walk names it


def _connections(base_url: str, patience: Patience, size: int) -> urllib3.PoolManager:
    parts = urlsplit(base_url)
    proxy = getproxies().get(parts.scheme)
    if proxy_bypass(parts.hostname or ""):
        proxy = None
    build = partial(urllib3.ProxyManager, proxy) if proxy else urllib3.PoolManager
    timeout = urllib3.Timeout(connect=patience.connect_timeout, read=patience.read_timeout)
    return build(maxsize=size, retries=False, timeout=timeout)


def _lost(error: urllib3.exceptions.HTTPError) -> Exception:
    if isinstance(error, urllib3.exceptions.SSLError):
        return TwilioUnreachable(
            "Twilio's certificate was not accepted", hint="check TWILIO_API_BASE_URL and the proxy"
        )
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
        return _Passing("no connection", connected=False)
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return _Passing("it does not answer")
    return _Passing("the connection was lost")


def _understood(decode: Callable[[bytes], _Answer], body: bytes) -> _Answer:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = "Twilio's answer was not its message log"
        raise TwilioUnreachable(message, hint="check TWILIO_API_BASE_URL: something else answers there") from None


def _refusal(body: bytes) -> _Refusal:
    try:
        return _decode_refusal(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Refusal()


def _seconds(retry_after: str | None) -> float | None:
    # NOTE: Retry-After may also be a date; Twilio is only known to send seconds.
    return float(retry_after) if retry_after and retry_after.strip().isdecimal() else None


def _advice(code: int) -> str:
    advice = {
        20003: "check TWILIO_ACCOUNT_SID and its token or key, or whether the account is suspended",
        20008: "these are test credentials, which cannot read messages; use the live ones",
        63038: "the account's daily cap is reached; run it again tomorrow",
    }
    return advice.get(code, f"see https://www.twilio.com/docs/errors/{code}")
