"""
When a worker asks for more jobs, when it waits and when it ends; on the queue in memory, with a clock that nobody waits for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking_doctor.adapters.memory import MemoryStore, MemoryTwilio, MemoryUnitOfWork
from booking_doctor.core.booking import BookingRequest, Event, JobState, SmsState
from booking_doctor.core.flow import Terms
from booking_doctor.core.ports import NotSent
from booking_doctor.core.queue import LEASE, MAX_TRIES
from booking_doctor.core.service import BookingService
from booking_doctor.core.shift import Ended, Ending, News, Outage, Shift, Unfinished
from booking_doctor.errors import DatabaseError, DatabaseForbidden, DatabaseUnreachable

SENDER = "+15550100200"
GONE = DatabaseUnreachable("the database is gone")
THROTTLED = NotSent(code=20429, reason="too much at once", passing=True)


@dataclass
class StoppedClock:
    """
    It moves only when somebody waits.
    """

    moment: datetime = datetime(2025, 12, 8, 9, tzinfo=UTC)

    def now(self) -> datetime:
        """
        The moment.
        """
        return self.moment

    def monotonic(self) -> float:
        """
        Its seconds.
        """
        return self.moment.timestamp()

    def sleep(self, seconds: float) -> None:
        """
        Move on.
        """
        self.moment += timedelta(seconds=seconds)


@dataclass
class CountedAlarm:
    """
    Never wakes anybody: each wait lets the time pass and the next thing happen.

    Attributes:
        happens: What happens in the first waits, one each.
        waits: How long each was.
    """

    clock: StoppedClock
    happens: list[Callable[[], object]] = field(default_factory=list)
    waits: list[float | None] = field(default_factory=list)

    def ring(self) -> None:
        """
        Nobody sleeps.
        """

    def wait(self, at_most_s: float | None = None) -> None:
        """
        Let it happen.
        """
        self.waits.append(at_most_s)
        self.clock.sleep(at_most_s or 5)
        if self.happens:
            self.happens.pop(0)()


class AtOnce(Executor):
    """
    Makes each call when it comes.
    """

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """
        The future is done when it is given.
        """
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  raised again by whoever asks for the result
            future.set_exception(error)
        return future


class Later(Executor):
    """
    Begins as many calls as it has hands, and makes them when it is told to.
    """

    def __init__(self, hands: int = 3) -> None:
        self._hands = hands
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self._begun: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """
        Keep it.
        """
        future: Future[Any] = Future()
        self._waiting.append((future, partial(call, *args, **kwargs)))
        self._begin()
        return future

    def _begin(self) -> None:
        while self._waiting and len(self._begun) < self._hands:
            future, call = self._waiting.pop(0)
            if future.set_running_or_notify_cancel():
                self._begun.append((future, call))

    def make(self, number: int) -> None:
        """
        Make so many of the calls.
        """
        for _ in range(number):
            future, call = self._begun.pop(0)
            self._begin()
            future.set_result(call())


class ShakyStore(MemoryStore):
    """
    A store that fails when it is told to.

    Attributes:
        errors: Raised by the next transactions, one each; None lets one pass.
        hides: Whether no booking can be read, for each a reason of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception | None] = []
        self.hides = False
        self._hidden = count()

    @contextmanager
    def begin(self) -> Iterator[MemoryUnitOfWork]:
        """
        A transaction, unless it fails.
        """
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error
        with super().begin() as work:
            if self.hides:
                work.locked = self._no_booking  # type: ignore[method-assign, assignment]
            yield work

    def _no_booking(self, _: str) -> Any:
        message = f"a policy hides row {next(self._hidden)}"
        raise DatabaseError(message)


class Office:
    """
    An application whose texts are queued, and those who work the queue.
    """

    def __init__(self) -> None:
        self.clock = StoppedClock()
        self.store = ShakyStore()
        self.store.tables.events["e"] = Event(id="e", title="Dinner")
        self.twilio = MemoryTwilio(self.clock.now, sender=SENDER)
        self.alarm = CountedAlarm(self.clock)
        self.service = BookingService(
            store=self.store,
            messenger=self.twilio,
            finder=self.twilio,
            terms=Terms(app_url="https://book.example"),
            clock=self.clock,
        )

    def queue(self, number: int) -> list[str]:
        """
        So many bookings are initiated; their phones.
        """
        phones = [f"+1555010{len(self.store.tables.bookings) + n:04}" for n in range(number)]
        for phone in phones:
            request = BookingRequest(event_id="e", customer_name="Ada", customer_phone=phone)
            self.service.initiate_booking(request, strategy="queued")
        return phones

    def shift(self, executor: Executor | None = None, concurrency: int = 3, **options: Any) -> Shift:
        """
        A shift of one worker.
        """
        return Shift(self.service.queue, executor or AtOnce(), self.alarm, concurrency=concurrency, **options)

    def texted(self) -> Counter[str | None]:
        """
        How often each phone was texted.
        """
        return Counter(message.to for message in self.twilio.log)

    def states(self) -> Counter[str]:
        """
        How many jobs are in which state.
        """
        return Counter(str(row.status) for row in self.store.tables.jobs.values())


@pytest.fixture(name="office")
def _office() -> Office:
    """
    An office where nothing has happened yet.
    """
    return Office()


def ended(news: Sequence[News]) -> list[JobState]:
    """
    The states of the jobs that ended, in their order.
    """
    return [item.outcome.state for item in news if isinstance(item, Ended)]


@settings(deadline=None)
@given(jobs=st.integers(0, 30), concurrency=st.integers(1, 9))
def test_what_is_due_is_done_and_the_shift_ends(jobs: int, concurrency: int) -> None:
    """
    However many there are and however many hands, each text is sent exactly once.
    """
    office = Office()
    phones = office.queue(jobs)

    news = list(office.shift(concurrency=concurrency).work())

    assert ended(news) == [JobState.DONE] * jobs
    assert len(news) == jobs
    assert office.texted() == Counter(phones)


def test_no_more_jobs_are_taken_ahead_than_there_are_hands(office: Office) -> None:
    """
    One for each hand to work on and one to go on with, several at once; the others are left to other workers.
    """
    office.queue(12)
    executor = Later()
    shift = office.shift(executor)
    in_hand: list[int] = []

    def work_on(number: int) -> None:
        in_hand.append(shift.in_hand)
        assert office.states()["running"] == shift.in_hand
        executor.make(number)

    office.alarm.happens = [partial(work_on, number) for number in (2, 1, 1, 3, 3, 2)]

    assert ended(list(shift.work())) == [JobState.DONE] * 12
    assert in_hand == [6, 6, 5, 6, 5, 2]


def test_what_is_not_due_is_left(office: Office) -> None:
    """
    A shift that does not watch ends although a job waits for later.
    """
    office.queue(1)
    office.twilio.answers = [THROTTLED]

    news = list(office.shift().work())

    assert ended(news) == [JobState.QUEUED]
    assert (office.states(), office.texted()) == ({"queued": 1}, {})


@pytest.mark.parametrize("code", [20003, 20005, 20008])
def test_a_login_that_is_refused_does_not_fail_the_queue(office: Office, code: int) -> None:
    """
    The text is not at fault: the job waits for somebody to mend the login, and is done then. It does not wait for ever.
    """
    office.queue(1)
    refused = NotSent(code=code, reason="the login is not accepted")
    office.twilio.answers = [refused]
    assert ended(list(office.shift().work())) == [JobState.QUEUED]
    office.clock.sleep(60)
    assert ended(list(office.shift().work())) == [JobState.DONE]

    office.queue(1)
    office.twilio.answers = [refused] * MAX_TRIES
    for _ in range(MAX_TRIES):
        list(office.shift().work())
        office.clock.sleep(3600)
    assert office.states() == {"done": 1, "failed": 1}


def test_whoever_watches_waits_for_more(office: Office) -> None:
    """
    What is queued while nothing is due is done, and what was put off is done when its time has come.
    """
    office.twilio.answers = [THROTTLED]
    shift = office.shift(watch=True)
    nothing = [lambda: None] * 10
    office.alarm.happens = [lambda: None, lambda: office.queue(2), *nothing, shift.end]

    news = list(shift.work())

    assert ended(news) == [JobState.QUEUED, JobState.DONE, JobState.DONE]
    assert sorted(office.texted().values()) == [1, 1]


def test_whoever_is_told_to_end_finishes_what_is_in_hand(office: Office) -> None:
    """
    Nothing more is begun, nothing is dropped, and no job is left running: what was taken ahead is as it was before.
    """
    office.queue(8)
    executor = Later()
    shift = office.shift(executor, watch=True)

    def told() -> None:
        executor.make(1)
        shift.end()

    office.alarm.happens = [told, lambda: executor.make(1), lambda: executor.make(2)]

    news = list(shift.work())

    assert ended(news) == [JobState.DONE] * 4
    assert [item for item in news if isinstance(item, Ending)] == [Ending(in_hand=3)]
    assert office.states() == {"done": 4, "queued": 4}
    assert [row.job.attempts for row in office.store.tables.jobs.values()] == [1] * 4 + [0] * 4


@pytest.mark.parametrize("watch", [False, True])
def test_a_limit_is_kept(office: Office, *, watch: bool) -> None:
    """
    So many jobs and no more, also where that is less than there are hands.
    """
    office.queue(8)

    assert len(ended(list(office.shift(limit=4, watch=watch).work()))) == 4
    assert len(ended(list(office.shift(limit=1, watch=watch).work()))) == 1
    assert office.states() == {"done": 5, "queued": 3}


def test_an_outage_is_waited_out_with_growing_pauses(office: Office) -> None:
    """
    Up to half a minute each, beginning anew after each time the queue was reached.
    """
    office.queue(1)
    office.store.errors = [*[GONE] * 7, *[None] * 3, GONE, GONE]
    shift = office.shift(watch=True)
    office.alarm.happens = [*[lambda: None] * 10, shift.end]

    news = list(shift.work())

    pauses = [item.pause_s for item in news if isinstance(item, Outage)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 1, 2]
    assert office.alarm.waits[:7] == pauses[:7]
    assert ended(news) == [JobState.DONE]


def test_without_watching_an_outage_ends_the_shift(office: Office) -> None:
    """
    After the jobs in hand are finished; the one that nobody had begun is given back.
    """
    office.queue(5)
    executor = Later()
    shift = office.shift(executor)

    def lost() -> None:
        executor.make(1)
        office.store.errors = [GONE]

    office.alarm.happens = [lost, lambda: executor.make(3)]
    news: list[News] = []
    with pytest.raises(DatabaseUnreachable):
        news.extend(shift.work())

    assert ended(news) == [JobState.DONE] * 4
    assert office.states() == {"done": 4, "queued": 1}


def test_what_waiting_does_not_mend_ends_the_shift(office: Office) -> None:
    """
    A worker that may not read the queue says so, also while it watches.
    """
    office.store.errors = [DatabaseForbidden("no permission")]

    with pytest.raises(DatabaseForbidden):
        list(office.shift(watch=True).work())

    assert office.alarm.waits == []


def test_one_bad_job_does_not_keep_the_others_from_being_done(office: Office) -> None:
    """
    A job over which the database fails is put off, and does not wait until its lease has run out.
    """
    office.queue(3)
    trigger = DatabaseError("a trigger forbids it")
    office.store.errors = [None, trigger]

    news = list(office.shift(concurrency=1).work())

    (unfinished,) = [item for item in news if isinstance(item, Unfinished)]
    assert unfinished.error is trigger
    assert office.states() == {"queued": 1, "done": 2}

    office.clock.sleep(31)
    assert ended(list(office.shift().work())) == [JobState.DONE]
    assert sorted(office.texted().values()) == [1, 1, 1]


@pytest.mark.parametrize("watch", [False, True])
def test_when_nothing_can_be_stored_the_shift_ends(office: Office, *, watch: bool) -> None:
    """
    A worker does not go through a whole queue that way: it is not the jobs.
    """
    office.queue(50)
    office.store.hides = True
    news: list[News] = []

    with pytest.raises(DatabaseError, match="row 9"):
        news.extend(office.shift(concurrency=1, watch=watch).work())

    assert len(news) == 10
    assert office.states() == {"queued": 50}
    assert sum(row.job.attempts for row in office.store.tables.jobs.values()) == 10


def test_an_outcome_is_stored_when_the_database_is_there_again(office: Office) -> None:
    """
    A worker that knows what became of a text holds on to it for most of a minute.
    """
    office.queue(1)
    office.store.errors = [None, None, *[GONE] * 5]

    assert ended(list(office.shift().work())) == [JobState.DONE]
    assert (office.states(), sum(office.texted().values())) == ({"done": 1}, 1)
    assert office.clock.moment - StoppedClock().moment < LEASE


def test_what_a_long_outage_leaves_is_looked_into_when_the_lease_has_run_out(office: Office) -> None:
    """
    Nothing could be stored, not even that it is put off; the text is found and not sent again.
    """
    office.queue(1)
    office.store.errors = [None, None, *[GONE] * 7]

    (unfinished,) = office.shift().work()
    assert isinstance(unfinished, Unfinished)
    assert office.states() == {"running": 1}

    office.clock.sleep(LEASE.total_seconds() + 1)
    assert ended(list(office.shift().work())) == [JobState.DONE]
    assert sum(office.texted().values()) == 1


def test_a_bug_ends_the_shift_and_not_the_jobs_in_hand(office: Office) -> None:
    """
    They are finished before it is raised.
    """
    office.queue(3)
    office.store.errors = [None, RuntimeError("a bug")]

    with pytest.raises(RuntimeError, match="a bug"):
        list(office.shift(watch=True).work())

    assert office.states() == {"running": 1, "done": 2}


def test_a_closed_booking_is_done_without_a_text(office: Office) -> None:
    """
    It had expired before it was its job's turn.
    """
    office.queue(1)
    office.clock.sleep(86_401)

    (news,) = office.shift().work()

    assert isinstance(news, Ended)
    assert news.outcome.state is JobState.DONE
    assert news.outcome.sms
    assert news.outcome.sms.state is SmsState.DROPPED
    assert office.texted() == {}


def test_many_shifts_share_a_queue(office: Office) -> None:
    """
    Workers in threads of their own: each text is sent exactly once, and each job is told of once.
    """
    phones = office.queue(60)

    def work(_: int) -> list[News]:
        with ThreadPoolExecutor(2) as hands:
            alarm = CountedAlarm(replace(office.clock))
            return list(Shift(office.service.queue, hands, alarm, concurrency=2).work())

    with ThreadPoolExecutor(5) as workers:
        news = [item for items in workers.map(work, range(5)) for item in items]

    assert office.texted() == Counter(phones)
    assert len({item.job.id for item in news if isinstance(item, Ended)}) == len(news) == 60
