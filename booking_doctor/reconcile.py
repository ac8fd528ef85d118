"""
The Twilio log against the database: pages in, discrepancies out.

Nearly everything agrees, so agreement vanishes in bulk. Both sides are put into canonical lines (SID and the compared
fields) and a span of time is compared as two sets of lines; what is equal is counted and forgotten. What is left over
is kept by SID until its other half turns up in a neighbouring span, and only then goes through the rules of
`booking_doctor.core.agreement`. SIDs that never meet are looked up wherever they lie in time, so clocks that differ make
work but never a wrong answer. Memory is the pages in flight plus what disagrees.

Nothing here knows a driver: the log and the records are ports, and time comes in with the terms.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from typing import Final

from booking_doctor.core.agreement import (
    FIELD,
    Difference,
    Row,
    agree,
    comparable,
    differences,
    line_of,
    lines_of,
    row_of,
    told_once,
)
from booking_doctor.core.keys import key_of, sid_of
from booking_doctor.core.model import TwilioMessage, UnreadableMessage
from booking_doctor.discrepancies import (
    Candidates,
    Comparison,
    Contact,
    Discrepancy,
    Kind,
    Terms,
    bookings_by_sid,
    find_candidates,
    grouped,
)
from booking_doctor.errors import TwilioError
from booking_doctor.evidence import Log, Overview, Page, Records, Unread
from booking_doctor.findings import SkipKind, Skipped
from booking_doctor.spans import Span, dated_on, sent_by_hour, within

IN_FLIGHT: Final = timedelta(minutes=5)
"""Younger than this and not recorded: the application may be about to."""

LIST_LAG: Final = timedelta(minutes=15)
"""The list endpoint can lack a message for so long, so nothing younger is called unknown to Twilio."""

_SPAN_MESSAGES: Final = 4000
_WAITING_MESSAGES: Final = 8000
"""Of all days under way; so they come to the end of a span one after the other, and the database has time for each."""

_KEPT_LEFTOVERS: Final = 50_000
_LOOKUP: Final = 1000
_NAMED: Final = 20

_SID: Final = attrgetter("sid")


def reconcile(log: Log, records: Records, terms: Terms) -> Comparison:
    """
    Compare the log with the records over the window of *terms*.

    A log that breaks off gives an incomplete answer about what was read, not an error.

    Raises:
        DatabaseError: The records could not be read.
    """
    pages = log.pages(terms.window)
    comparer = _Comparer(log, records, terms, records.overview(terms.window))
    for page in pages:
        comparer.take(page)
    return comparer.conclude()


# --- the comparison --------------------------------------------------------------------------------------------------


class _Comparer:
    """
    The state of one comparison.
    """

    def __init__(self, log: Log, records: Records, terms: Terms, overview: Overview) -> None:
        self.log = log
        self.records = records
        self.terms = terms
        self.overview = overview
        self.counts: Counter[str] = Counter()
        self.coverage: Counter[str] = Counter()
        self.discrepancies: list[Discrepancy] = []
        self.unread: list[Skipped] = []
        self.unreadable: dict[str, str] = {}
        self.gaps: dict[tuple[SkipKind, str, str | None], list[date | None]] = {}
        self.pages_read = 0
        self.log_complete = True
        self.sent: Counter[datetime] = Counter()
        self.days_whole: set[date] = set()
        self.days_flawed: set[date] = set()
        self.spans: dict[date, Span] = {}
        self.under_way: deque[tuple[Span, Iterator[list[str]]]] = deque()
        self.undated: dict[str, TwilioMessage] = {}
        # SIDs that more than one row may carry, their messages, and those that are other senders'.
        self.several = {*overview.duplicated, *(row.twilio_message_sid or "" for row in overview.split)}
        self.special: dict[str, TwilioMessage] = {}
        self.foreign: set[str] = set()
        # What waits for its other half, rows as lines. Rows past the limit are kept as keys, messages are looked up.
        self.messages: dict[str, TwilioMessage] = {}
        self.rows: dict[str, str] = {}
        self.row_keys: set[bytes] = set()
        self.settled_keys: set[bytes] = set()
        self.missing: dict[str, TwilioMessage] = {}

    # pages

    def take(self, page: Page | Unread) -> None:
        if isinstance(page, Unread):
            self._take_unread(page)
        elif page.day is None:
            self._take_scan(page)
        else:
            self._take_day(page, page.day)

    def _take_unread(self, gap: Unread) -> None:
        # NOTE: what was read of the day waits in its span; it is compared below its last message, never beyond.
        if gap.day is not None and (span := self.spans.pop(gap.day, None)) and span.last:
            self._compare(span, span.last.happened_at)
        # NOTE: a line that cannot be read is as bad as a message that cannot; it is no reason to leave the others alone.
        self.log_complete = self.log_complete and gap.part is not None
        self.coverage["days_unread"] += gap.day is not None
        self.gaps.setdefault((gap.error.kind, gap.error.sentence, gap.part), []).append(gap.day)

    def _unread(self, check: str, reason: str, kind: SkipKind = "unreachable") -> None:
        self.unread.append(Skipped(check=check, kind=kind, reason=reason))

    def _report_gaps(self) -> None:
        """
        One line for each reason, whatever the number of days it cost, and for each of the first unreadable messages.
        """
        for sid, reason in sorted(self.unreadable.items())[:_NAMED]:
            self._unread(f"message/{sid}", reason)
        if len(self.unreadable) > _NAMED:
            self._unread("messages", f"{len(self.unreadable) - _NAMED} more have a value that cannot be read")
        for (kind, reason, part), gaps in self.gaps.items():
            days = sorted(day for day in gaps if day)
            span = f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}" if days else ""
            what = f"the log of {span}" if days else part or "the scan for messages without a date"
            self._unread(what, reason, kind)

    def _take_scan(self, page: Page) -> None:
        self.pages_read += 1
        self.coverage["undated_pages"] += 1
        for message in page.messages:
            if message.date_sent is None and self._readable(message) and message.happened_at in self.terms.window:
                self.undated[message.sid] = message

    def _readable(self, message: TwilioMessage) -> bool:
        try:
            message.happened_at, message.cost_usd  # noqa: B018  reading them is the check
        except UnreadableMessage as error:
            self.unreadable[error.sid] = str(error)
            return False
        return True

    def _take_day(self, page: Page, day: date) -> None:
        self.pages_read += 1
        start = datetime.combine(day, time(), UTC)
        span = self.spans.setdefault(day, Span(upper=start + timedelta(days=1)))
        dated = dated_on(page.messages, day)
        messages = within(page.messages, day, self.terms.window) if dated else self._of_day(page.messages, day)
        self._extend(span, messages, dated=dated)
        if page.last:
            self.days_whole.add(day)
            self.coverage["days_read"] += 1
            self._compare(self.spans.pop(day), start)
        elif span.last and self._long_enough(span):
            # NOTE: never above the span, or rows would come twice: the place of undated messages is not documented.
            lower = min(span.last.happened_at, span.upper)
            self._compare(span, lower)
            self.spans[day] = Span(upper=lower)

    def _long_enough(self, span: Span) -> bool:
        """
        Whether to compare the span now: it is long, or the longest of too many.
        """
        waiting = [other.read for other in self.spans.values()]
        return span.read >= _SPAN_MESSAGES or (sum(waiting) > _WAITING_MESSAGES and span.read == max(waiting))

    def _of_day(self, messages: Sequence[TwilioMessage], day: date) -> Sequence[TwilioMessage]:
        """
        Those of the day and in the window, looked at one by one.
        """
        readable = [message for message in messages if self._readable(message)]
        if len(readable) < len(messages):
            self.days_flawed.add(day)
        here = [message for message in readable if self._belongs(message, day)]
        return [message for message in here if message.happened_at in self.terms.window]

    def _belongs(self, message: TwilioMessage, day: date) -> bool:
        """
        Whether the message is of the day that was asked for. The next midnight may be included by Twilio, which
        describes its bounds as inclusive; anything else means that the filter was not obeyed.
        """
        happened_at = message.happened_at
        if happened_at.date() == day:
            return True
        if happened_at != datetime.combine(day + timedelta(days=1), time(), UTC):
            self.log_complete = False
            if not self.coverage["outside_filter"]:
                reason = f"asked for the messages of {day}, the log also gave {message.sid} of {happened_at.date()}"
                self._unread(f"the log of {day}", reason)
            self.coverage["outside_filter"] += 1
        return False

    def _is_ours(self, message: TwilioMessage) -> bool:
        ours = self.terms.senders
        return (
            ours is None or message.from_number in ours or message.to in ours or message.messaging_service_sid in ours
        )

    # spans

    def _extend(self, span: Span, messages: Sequence[TwilioMessage], *, dated: bool) -> None:
        """
        Put messages into their span, as lines while they are at hand: later the processor would have to fetch them anew.

        Args:
            dated: Whether all of them have a date.
        """
        if self.undated:
            for message in messages:
                self.undated.pop(message.sid, None)  # it has a date by now
        span.last = messages[-1] if messages else span.last
        span.read += len(messages)
        ours, senders = messages, self.terms.senders
        if senders is not None:
            ours = [
                message
                for message in messages
                if message.from_number in senders or message.to in senders or message.messaging_service_sid in senders
            ]
            if len(ours) < len(messages):
                self._stand_by(span, messages)
        self.sent.update(sent_by_hour(ours if dated else [message for message in ours if message.date_sent]))
        bulk = self._without_special(ours)
        span.lines.update(zip(lines_of(bulk), bulk, strict=True))

    def _stand_by(self, span: Span, messages: Sequence[TwilioMessage]) -> None:
        """
        Keep those of other senders apart.
        """
        others = [message for message in messages if not self._is_ours(message)]
        bystanders = dict(zip(lines_of(others), map(_SID, others), strict=True))
        self.foreign |= self.several.intersection(bystanders.values())
        self.coverage["out_of_scope"] += len(bystanders)
        span.bystanders |= bystanders

    def _without_special(self, messages: Sequence[TwilioMessage]) -> Sequence[TwilioMessage]:
        """
        Take out what must be settled by SID because it may have several rows.
        """
        if not self.several or self.several.isdisjoint(map(_SID, messages)):
            return messages
        self.special |= {message.sid: message for message in messages if message.sid in self.several}
        return [message for message in messages if message.sid not in self.several]

    def _compare(self, span: Span, lower: datetime) -> None:
        """
        Compare the span with the rows created in it from *lower* on: those are asked for now, and compared while the next
        span's are on their way.
        """
        window = self.terms.window
        lower, upper = max(lower, window.since), min(span.upper, window.until)
        self.under_way.append((span, self.records.lines(lower, upper) if lower < upper else iter(())))
        if len(self.under_way) > 1:
            self._compare_sets(*self.under_way.popleft())

    def _compare_sets(self, span: Span, chunks: Iterator[list[str]]) -> None:
        """
        Compare both sides as sets of lines.
        """
        self.counts["twilio_messages"] += len(span.lines)
        bystanders = set(span.bystanders.values())
        for chunk in chunks:
            apart = set(chunk)
            rows = len(apart)
            apart.symmetric_difference_update(span.lines)
            span.lines = {line: span.lines[line] for line in apart if line in span.lines}
            left = apart - span.lines.keys()
            self.counts["matched"] += rows - len(left)
            self._keep_rows(left - span.bystanders.keys(), bystanders)
        self._keep_messages(span.lines)

    def _keep_messages(self, messages: Mapping[str, TwilioMessage]) -> None:
        for truth, message in messages.items():
            line = self.rows.pop(message.sid, None)
            if line is not None:
                self._meet(message, truth, line)
            else:
                self.messages[message.sid] = message
        if len(self.messages) > _KEPT_LEFTOVERS:
            self._look_up_messages()

    def _keep_rows(self, lines: Iterable[str], foreign: Collection[str]) -> None:
        for line in lines:
            sid = line.partition(FIELD)[0]
            if sid in foreign or self._forget(self.settled_keys, sid):
                continue
            message = self.messages.pop(sid, None)
            if message is not None:
                self._meet(message, line_of(message), line)
            elif len(self.rows) < _KEPT_LEFTOVERS:
                self.rows[sid] = line
            else:
                self.row_keys.add(key_of(sid))

    def _meet(self, message: TwilioMessage, truth: str, line: str) -> None:
        """
        Settle a message with its row, both as lines. Most that meet here differ only in what one of them leaves empty.
        """
        if agree(line, truth):
            self.counts["matched"] += 1
            return
        try:
            row = row_of(line)
        except ValueError:  # the message waits until it is looked up
            self.messages[message.sid] = message
            self.row_keys.add(key_of(message.sid))
        else:
            self._settle(message, [row])

    def _seen(self, sid: str) -> bool:
        """
        Whether the row of a settled message has come already; if so it no longer waits.
        """
        return self.rows.pop(sid, None) is not None or self._forget(self.row_keys, sid)

    def _forget(self, keys: set[bytes], sid: str) -> bool:
        if keys and (key := key_of(sid)) in keys:
            keys.remove(key)
            return True
        return False

    def _look_up_messages(self) -> None:
        """
        Find the rows of the messages that wait, wherever they lie; what has none is missing.
        """
        waiting, self.messages = self.messages, {}
        for sids in _chunks(list(waiting), _LOOKUP):
            found = grouped((row.message_sid, row) for row in self.records.rows(sids))
            for sid in sids:
                if sid in found:
                    self._settle(waiting[sid], found[sid])
                    if not self._seen(sid):
                        self.settled_keys.add(key_of(sid))
                else:
                    self.missing[sid] = waiting[sid]

    # rules

    def _settle(self, message: TwilioMessage, rows: Sequence[Row]) -> None:
        """
        Matched or mismatched; of several rows the one that agrees best speaks.
        """
        statuses, region = self.overview.statuses, self.terms.region
        try:
            found = [(told_once(differences(message, row, region, statuses), row), row) for row in rows]
        except UnreadableMessage as error:
            self.unreadable[error.sid] = str(error)
            self.counts["twilio_messages"] -= 1
            return
        least, row = min(found, key=lambda pair: len(pair[0]))
        self.coverage["statuses_not_compared"] += not comparable(message, row, statuses)
        least = self._as_known_now(least)
        if least:
            self._discrepancy(Kind.MISMATCHED, message, row=row, differences=least)
        else:
            self.counts["matched"] += 1

    def _as_known_now(self, found: tuple[Difference, ...]) -> tuple[Difference, ...]:
        """
        Without what may be true by now: Twilio may have gone on since the log was as it is told.
        """
        as_of = self.log.as_of
        if as_of is None or self.terms.now - as_of < IN_FLIGHT:
            return found
        standing = tuple(difference for difference in found if not difference.may_be_later)
        self.coverage["statuses_after_the_log"] += len(standing) < len(found)
        return standing

    def _discrepancy(
        self,
        kind: Kind,
        message: TwilioMessage,
        *,
        row: Row | None = None,
        differences: tuple[Difference, ...] = (),
        candidates: Candidates = Candidates(),
    ) -> None:
        self.counts[kind] += 1
        self.discrepancies.append(
            Discrepancy(
                kind=kind, sid=message.sid, message=message, row=row, differences=differences, candidates=candidates
            )
        )

    # the end

    def conclude(self) -> Comparison:
        while self.under_way:
            self._compare_sets(*self.under_way.popleft())
        self._settle_special()
        self._look_up_messages()
        self._look_up_second_sids()
        self._classify_missing()
        self._confirm_rows()
        self._report_gaps()
        return Comparison(
            terms=self.terms,
            counts=self._all_counts() if self.pages_read else {},
            discrepancies=sorted(self.discrepancies, key=_by_kind_and_time),
            overview=self.overview if self.pages_read else None,
            coverage={**self.log.coverage(), **self.coverage},
            unread=self.unread,
            log_complete=self.log_complete,
            sent=self._sent(),
        )

    def _sent(self) -> dict[datetime, int]:
        """
        Outbound texts of each hour that was read; of none where the filter by day was not obeyed.
        """
        if self.coverage["outside_filter"]:
            return {}
        for refused in self.discrepancies:
            if refused.kind is Kind.REJECTED and refused.message and refused.message.date_sent:
                self.sent.subtract(sent_by_hour([refused.message]))
        days = self.days_whole - self.days_flawed
        return {hour: self.sent[hour] for hour in self.terms.window.hours() if hour.date() in days}

    def _settle_special(self) -> None:
        """
        Let what was taken out of the bulk wait with the others; its rows are found by SID.
        """
        for message in self.undated.values():
            if self._is_ours(message):
                self.coverage["undated_messages"] += 1
                self.special[message.sid] = message
            else:
                self.coverage["out_of_scope"] += 1
                self.foreign.add(message.sid)
        self.counts["twilio_messages"] += len(self.special)
        self.messages |= self.special

    def _look_up_second_sids(self) -> None:
        """
        The second SID column has no index, so all that is missing is looked for in one pass.
        """
        if not self.missing:
            return
        found = grouped((row.twilio_message_sid, row) for row in self.records.rows_by_second_sid(self.missing.keys()))
        for sid, rows in found.items():
            if sid in self.missing:
                self._settle(self.missing.pop(sid), rows)
                self._seen(sid)

    def _classify_missing(self) -> None:
        named = bookings_by_sid(self.records, self.missing, self.terms.now)
        unrecorded: list[TwilioMessage] = []
        for sid, message in self.missing.items():
            if not self._readable(message):
                self.counts["twilio_messages"] -= 1
            elif any(booking.open for booking in named.get(sid, ())):
                self._discrepancy(Kind.DEFERRED, message, candidates=Candidates(named=named[sid]))
            elif message.rejected:
                self._discrepancy(Kind.REJECTED, message)
            elif self.terms.now - message.happened_at < IN_FLIGHT:
                self._discrepancy(Kind.IN_FLIGHT, message)
            else:
                unrecorded.append(message)
        contacts = {message.sid: Contact.of(message) for message in unrecorded}
        found = find_candidates(self.records, contacts, named, self.terms)
        for message in unrecorded:
            candidates = found[message.sid]
            self._discrepancy(Kind.UNRECORDED, message, candidates=candidates)
            self.counts["orphaned"] += not candidates

    # the other direction

    def _confirm_rows(self) -> None:
        """
        Ask Twilio for the SIDs of rows that the log did not show, one by one, up to the limit.
        """
        if not self.pages_read:
            return
        unseen = {*self.rows, *map(sid_of, self.row_keys), *self.several} - self.special.keys() - self.foreign
        asked, rest = self._due(sorted(unseen))
        answered = 0
        try:
            for sid, message in self.log.fetch(list(asked)):
                answered += 1
                self._confirmed(sid, message, asked[sid])
        except TwilioError as error:
            self.coverage["rows_not_confirmed"] += len(asked) - answered
            self._unread("rows that the log did not show", error.sentence, error.kind)
        self.coverage["rows_confirmed"] += answered
        if rest:
            self.coverage["rows_not_confirmed"] += rest
            reason = f"{rest} were not asked for by SID; the limit is {self.terms.confirm_limit}"
            self._unread("rows that the log did not show", reason)

    def _due(self, sids: Sequence[str]) -> tuple[dict[str, list[Row]], int]:
        """
        The rows Twilio must be asked about, up to the limit, and how many there are beyond it.
        """
        due: dict[str, list[Row]] = {}
        rest, absent = 0, set(sids)
        for found in self._rows_of(absent, sids):
            for sid, rows in found.items():
                if not self._askable(rows):
                    continue
                if len(due) < self.terms.confirm_limit:
                    due[sid] = rows
                else:
                    rest += 1
        return due, rest

    def _rows_of(self, absent: set[str], sids: Sequence[str]) -> Iterator[dict[str, list[Row]]]:
        """
        Their rows as they are now, a thousand SIDs at a time; what has gone since does not come.
        """
        for chunk in _chunks(sids, _LOOKUP):
            found = grouped((row.message_sid, row) for row in self.records.rows(chunk))
            absent -= found.keys()
            yield found
        if absent:
            yield grouped((row.twilio_message_sid, row) for row in self.records.rows_by_second_sid(absent))

    def _askable(self, rows: Sequence[Row]) -> bool:
        """
        Whether the oldest of them is neither so young that Twilio's lists may lag nor past its retention.
        """
        created_at = min((row.created_at for row in rows if row.created_at), default=self.terms.now)
        age = self.terms.now - created_at
        self.coverage["rows_too_recent"] += age < LIST_LAG
        self.coverage["rows_past_retention"] += age > self.terms.retention
        return LIST_LAG <= age <= self.terms.retention

    def _confirmed(self, sid: str, message: TwilioMessage | None, rows: Sequence[Row]) -> None:
        if message is None:
            self.counts[Kind.UNKNOWN] += 1
            self.discrepancies.append(Discrepancy(kind=Kind.UNKNOWN, sid=sid, row=rows[0]))
            return
        if self._is_ours(message) and self._readable(message) and message.happened_at in self.terms.window:
            self.coverage["missed_by_the_list"] += 1
            self.counts["twilio_messages"] += 1
            self.sent.update(sent_by_hour([message] if message.date_sent else []))
            self._settle(message, rows)

    def _all_counts(self) -> dict[str, int]:
        names = ("matched", *(kind for kind in Kind if kind is not Kind.UNKNOWN))
        return {
            "twilio_messages": self.counts["twilio_messages"],
            "recorded_messages": self.overview.recorded,
            **{str(name): self.counts[name] for name in names},
            "orphaned": self.counts["orphaned"],
            "unknown_to_twilio": self.counts[Kind.UNKNOWN],
            "without_customer": len(self.overview.without_customer),
            "duplicated": len(self.overview.duplicated),
            "without_sid": len(self.overview.without_sid),
        }


def _by_kind_and_time(discrepancy: Discrepancy) -> tuple[int, datetime, str]:
    message, row = discrepancy.message, discrepancy.row
    happened_at = message.happened_at if message else row.created_at if row else None
    return list(Kind).index(discrepancy.kind), happened_at or datetime.min.replace(tzinfo=UTC), discrepancy.sid


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
