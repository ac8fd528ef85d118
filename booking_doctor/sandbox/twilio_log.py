"""
The message log of the Twilio simulator: messages, the course of their lives, and lists of them by cursor.

No I/O and no clock: every question says what time it is. Lives follow Twilio's guide "Outbound Message Status in Status
Callbacks", order, filters and cursors its page "Messages resource"; where Twilio documents nothing, the docstring says
what was chosen.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import islice, takewhile
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

_Key: TypeAlias = tuple[datetime, str]
"""Where a message stands: ``date_sent``, or ``date_created`` while it has none; equal seconds go by SID."""


class Stage(Struct, frozen=True, kw_only=True):
    """
    What changes in a message's life, as it is from a moment on.
    """

    at: datetime
    status: str
    sender: str | None
    segments: int
    date_sent: datetime | None = None
    price: str | None = None
    error_code: int | None = None


class Message(Struct, frozen=True, kw_only=True):
    """
    A record of the log: what never changes, and the stages of its life.

    Attributes:
        to: None only for a refused attempt that named no recipient.
        service: SID of the messaging service, if one was used.
        stages: In order of time, at least one.
        touched: When a request last changed it.
    """

    sid: str
    to: str | None
    body: str
    direction: str
    service: str | None
    media: int
    price_unit: str | None
    date_created: datetime
    stages: tuple[Stage, ...]
    touched: datetime | None = None

    def stage(self, now: datetime) -> Stage:
        """
        The last stage reached at *now*; the first if none is.
        """
        return next((stage for stage in reversed(self.stages) if stage.at <= now), self.stages[0])

    def updated(self, stage: Stage) -> datetime:
        """
        Its ``date_updated`` while in *stage*.
        """
        return max(stage.at, self.touched or stage.at)


class Delays(Struct, frozen=True, kw_only=True):
    """
    How long after its creation, or after the time it was scheduled for, each thing happens to a message.

    Nothing happens before the thing it follows, however short its own delay.

    Attributes:
        queued_after: A message whose sender a service picks leaves ``accepted``.
        sent_after: It is handed to the carrier, or fails; ``date_sent`` and a picked sender appear.
        delivered_after: The carrier's receipt arrives.
        priced_after: The price appears, before or after the receipt.
    """

    queued_after: timedelta = timedelta(seconds=1)
    sent_after: timedelta = timedelta(seconds=2)
    delivered_after: timedelta = timedelta(seconds=5)
    priced_after: timedelta = timedelta(seconds=10)


class Outcome(Struct, frozen=True):
    """
    How a message ends: ``delivered``, ``undelivered`` or ``failed`` with a code, or ``sent`` for want of a receipt.
    """

    status: str
    error_code: int | None = None


DELIVERED: Final = Outcome("delivered")
STAYS_SENT: Final = Outcome("sent")


class Course(Struct, frozen=True, kw_only=True):
    """
    What becomes of an outbound message that was accepted.

    A failed one never gets a ``date_sent``, a sender that was not given, or a price. That is a choice: Twilio does not
    document it.

    Attributes:
        starts: `created`, or the time it is scheduled for.
        given: The sender that was asked for; without one, a service picks it.
        sender: The one it is sent from.
        price: As on the wire.
    """

    created: datetime
    starts: datetime
    given: str | None
    sender: str | None
    segments: int
    price: str
    outcome: Outcome
    delays: Delays

    def stages(self) -> tuple[Stage, ...]:
        """
        All of its life, in order of time.
        """
        waiting = tuple(self._waiting())
        at = max(waiting[-1].at, self.starts + self.delays.sent_after)
        if self.outcome.status == "failed":
            return (*waiting, replace(waiting[-1], at=at, status="failed", error_code=self.outcome.error_code))
        return (*waiting, *self._billed(tuple(self._sent(at))))

    def _waiting(self) -> Iterator[Stage]:
        count = self.segments if self.given else 0
        queued = Stage(at=self.starts, status="queued", sender=self.given, segments=count)
        if self.starts != self.created:
            yield replace(queued, at=self.created, status="scheduled")
        if self.given is None:
            yield replace(queued, status="accepted")
            queued = replace(queued, at=self.starts + self.delays.queued_after)
        yield queued

    def _sent(self, at: datetime) -> Iterator[Stage]:
        sent = Stage(at=at, status="sent", sender=self.sender, segments=self.segments, date_sent=at)
        yield sent
        if self.outcome != STAYS_SENT:
            receipt_at = max(at, self.starts + self.delays.delivered_after)
            yield replace(sent, at=receipt_at, status=self.outcome.status, error_code=self.outcome.error_code)

    def _billed(self, stages: tuple[Stage, ...]) -> Iterator[Stage]:
        """
        The same stages with the price from its time on.
        """
        at = max(stages[0].at, self.starts + self.delays.priced_after)
        unpriced = [stage for stage in stages if stage.at <= at]
        yield from unpriced
        yield replace(unpriced[-1], at=at, price=self.price)
        yield from (replace(stage, price=self.price) for stage in stages if stage.at > at)


class Query(Struct, frozen=True, kw_only=True):
    """
    Which messages a list is about.

    Attributes:
        since: Earliest ``date_sent``, included.
        until: Latest ``date_sent``, not included.
    """

    to: str | None = None
    sender: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, message: Message, stage: Stage) -> bool:
        """
        Whether the message is meant.

        Without ``date_sent`` it is not, under any date filter. That is a choice: Twilio does not document it.
        """
        if self.to not in {None, message.to} or self.sender not in {None, stage.sender}:
            return False
        if self.since is None and self.until is None:
            return True
        sent = stage.date_sent
        return sent is not None and (self.since or sent) <= sent and (self.until is None or sent < self.until)


class Page(Struct, frozen=True, kw_only=True):
    """
    A part of a list, newest first.

    Attributes:
        has_older: Whether there are older messages beyond it.
        at: When it was asked for, so that its messages are shown as they were found.
    """

    messages: Sequence[Message]
    has_older: bool
    at: datetime


class UnknownCursor(LookupError):
    """
    A page token that points nowhere.
    """


class _Index:
    """
    Keys in ascending order, so that a page costs what it holds and not what the log holds.

    They are sorted when they are looked at, and only if one came out of order: messages come in order as they are sent,
    and whole worlds are planted before anyone looks.
    """

    def __init__(self) -> None:
        self._keys: list[_Key] = []
        self._in_order = True

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: _Key) -> None:
        self._in_order = self._in_order and (not self._keys or self._keys[-1] < key)
        self._keys.append(key)

    def discard(self, key: _Key) -> None:
        keys = self._sorted()
        del keys[bisect_left(keys, key)]

    def older(self, than: _Key | None) -> Iterator[_Key]:
        """
        Newest first, from below *than*, or from the top.
        """
        keys = self._sorted()
        start = len(keys) if than is None else bisect_left(keys, than)
        return (keys[at] for at in range(start - 1, -1, -1))

    def newer(self, than: _Key) -> Iterator[_Key]:
        """
        Oldest first, from above *than*.
        """
        keys = self._sorted()
        return (keys[at] for at in range(bisect_right(keys, than), len(keys)))

    def _sorted(self) -> list[_Key]:
        if not self._in_order:
            self._keys.sort()
            self._in_order = True
        return self._keys


class MessageLog:
    """
    The messages of an account in Twilio's order: by ``date_sent``, newest first.

    A message without ``date_sent`` stands by its ``date_created``. That is a choice: Twilio does not document it.
    """

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._all = _Index()
        self._by_to: defaultdict[str | None, _Index] = defaultdict(_Index)
        self._by_sender: defaultdict[str | None, _Index] = defaultdict(_Index)
        self._filed: dict[str, tuple[_Key, tuple[_Index, ...]]] = {}
        self._due: list[tuple[datetime, str]] = []
        self._cursors: dict[str, _Key] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def get(self, sid: str) -> Message | None:
        """
        The message with that SID, if there is one.
        """
        return self._messages.get(sid)

    def put(self, message: Message, now: datetime) -> Message:
        """
        Add a message, or replace the one with its SID, and give it back.
        """
        self._unfile(message.sid)
        self._messages[message.sid] = message
        self._file(message, now)
        for stage in message.stages:
            if stage.at > now:
                heappush(self._due, (stage.at, message.sid))
        return message

    def remove(self, sid: str) -> None:
        """
        Forget a message for good.
        """
        self._unfile(sid)
        del self._messages[sid]

    def page(self, query: Query, *, size: int, token: str | None, now: datetime, lag: timedelta) -> Page:
        """
        The next *size* messages that match, from the top or from where *token* points.

        Args:
            token: ``PA`` and the SID of a page's last message for older ones, ``PB`` and the SID of its first for newer
                ones. Where that message stood is remembered: neither new messages nor its own deletion move the cursor.
            lag: Messages created less than that ago are left out.

        Raises:
            UnknownCursor: The token points nowhere.
        """
        self._refile_due(now)
        backwards = token is not None and token.startswith("PB")
        keys = self._newer(query, token) if token and backwards else self._older(query, token)
        found = self._matching(keys, query, now, lag)
        taken = list(islice(found, size + 1))
        messages = taken[:size][::-1] if backwards else taken[:size]
        for end in (*messages[:1], *messages[-1:]):
            self._cursors[end.sid] = self._filed[end.sid][0]
        return Page(messages=messages, has_older=backwards or len(taken) > size, at=now)

    def _older(self, query: Query, token: str | None) -> Iterator[_Key]:
        ceiling = (query.until, "") if query.until else None
        cursor = self._position(token) if token else None
        start = min((key for key in (ceiling, cursor) if key), default=None)
        keys = self._narrowest(query).older(start)
        return takewhile(lambda key: query.since is None or key[0] >= query.since, keys)

    def _newer(self, query: Query, token: str) -> Iterator[_Key]:
        keys = self._narrowest(query).newer(self._position(token))
        return takewhile(lambda key: query.until is None or key[0] < query.until, keys)

    def _position(self, token: str) -> _Key:
        sid = token[2:]
        if token[:2] not in {"PA", "PB"} or (sid not in self._cursors and sid not in self._filed):
            raise UnknownCursor(token)
        return self._cursors.get(sid) or self._filed[sid][0]

    def _narrowest(self, query: Query) -> _Index:
        """
        The shortest index that holds every match.
        """
        indexes = [self._all]
        if query.to is not None:
            indexes.append(self._by_to[query.to])
        if query.sender is not None:
            indexes.append(self._by_sender[query.sender])
        return min(indexes, key=len)

    def _matching(self, keys: Iterable[_Key], query: Query, now: datetime, lag: timedelta) -> Iterator[Message]:
        for _, sid in keys:
            message = self._messages[sid]
            lags = timedelta(0) <= now - message.date_created < lag
            if not lags and query.matches(message, message.stage(now)):
                yield message

    def _file(self, message: Message, now: datetime) -> None:
        stage = message.stage(now)
        # NOTE: dates on the wire have whole seconds, and the order must be the one that readers can see.
        key = ((stage.date_sent or message.date_created).replace(microsecond=0), message.sid)
        indexes = (self._all, self._by_to[message.to], self._by_sender[stage.sender])
        for index in indexes:
            index.add(key)
        self._filed[message.sid] = key, indexes

    def _unfile(self, sid: str) -> None:
        if sid in self._filed:
            key, indexes = self._filed.pop(sid)
            for index in indexes:
                index.discard(key)

    def _refile_due(self, now: datetime) -> None:
        """
        Move the messages whose stage changed since the last look: their place and their sender may be new.
        """
        while self._due and self._due[0][0] <= now:
            _, sid = heappop(self._due)
            if sid in self._messages:
                self._unfile(sid)
                self._file(self._messages[sid], now)
