"""
A world to rehearse in: an embedded PostgreSQL with the application's schema, a Twilio simulator, and what happened there.

Known faults are planted here and nowhere else; the demo tells one of them as a story and the tests use the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from msgspec import Struct, field
from sqlalchemy import Engine, create_engine, insert, text, update
from sqlalchemy.exc import DBAPIError

from booking_doctor.adapters.environment_files import PROCESS, source_of
from booking_doctor.adapters.tables import application_tables
from booking_doctor.core.agreement import direction_of
from booking_doctor.core.model import DeferredSms, TwilioMessage
from booking_doctor.evidence import VariableSource
from booking_doctor.preferences import preferences
from booking_doctor.sandbox.application import ApplicationSimulator
from booking_doctor.sandbox.database import embedded_postgres
from booking_doctor.sandbox.twilio import TwilioAccount
from booking_doctor.sandbox.twilio_http import TwilioSimulator
from booking_doctor.sandbox.twilio_log import Message
from booking_doctor.sandbox.vercel import VercelProject
from booking_doctor.sandbox.vercel_http import VercelSimulator
from booking_doctor.settings import Names, Preferences

SENDER: Final = "+15550100200"
_FIRST_CUSTOMER: Final = 15550101000
_TABLES: Final = application_tables(Names())


class World(Struct, frozen=True, kw_only=True):
    """
    The application's database and its Twilio account, and how things happen in them.

    Attributes:
        now: When the story is told.
        url: The database's.
        variables: Variables of the process that differ from what leads here; None for one that is not set.
        files: Environment files by name, ``.env`` among them, and what they hold.
        settings: What ``booking-doctor.toml`` says.
        vercel: Where the application is hosted, once `host` has said so.
        application: The running application, once `open` or `host` has said so.
        expected: Which build should serve: ``commit``, ``deployment``.
        during: What runs in it and ends with it.
    """

    account: TwilioAccount
    simulator: TwilioSimulator
    vercel: VercelSimulator
    application: ApplicationSimulator
    engine: Engine
    url: str
    now: datetime
    variables: dict[str, str | None] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    during: ExitStack = field(default_factory=ExitStack)

    def preferences(self) -> Preferences:
        """
        What ``booking-doctor.toml`` says, understood.
        """
        return preferences(self.settings, "booking-doctor.toml")

    def environment(self) -> dict[str, str]:
        """
        The variables that lead the doctor here.
        """
        variables: dict[str, str | None] = {
            "DATABASE_URL": self.url,
            "TWILIO_ACCOUNT_SID": self.account.account_sid,
            "TWILIO_AUTH_TOKEN": self.account.auth_token,
            "TWILIO_PHONE_NUMBER": SENDER,
            "TWILIO_API_BASE_URL": self.simulator.base_url,
            **self.variables,
        }
        return {name: value for name, value in variables.items() if value is not None}

    def variable_sources(self) -> tuple[VariableSource, ...]:
        """
        Where those variables come from: the files in their order, then the process.
        """
        files = [source_of(name, text) for name, text in self.files.items()]
        return (*files, VariableSource(name=PROCESS, values=self.environment()))

    def open(self) -> ApplicationSimulator:
        """
        The application runs, and answers at its address.
        """
        self.application.serve()
        self.variables["BOOKING_APP_URL"] = self.application.base_url
        return self.application

    def host(self) -> VercelProject:
        """
        The application runs on Vercel, and the doctor has a token for it.
        """
        project = self.vercel.project
        self.open()
        project.domain = "127.0.0.1"
        self.vercel.serve()
        self.variables.update(
            VERCEL_TOKEN=project.token,
            VERCEL_PROJECT_ID=project.id,
            VERCEL_API_BASE_URL=self.vercel.base_url,
        )
        return project

    def customer(self, phone: str, **values: Any) -> str:  # noqa: ANN401  any column
        """
        A customer exists.
        """
        return self._insert("customers", phone=phone, **values)

    def event(self, **values: Any) -> str:  # noqa: ANN401  any column
        """
        There is something to book.
        """
        return self._insert("events", **{"title": "Dinner", "starts_at": self.now, **values})

    def pending_booking(self, phone: str, **values: Any) -> str:  # noqa: ANN401  any column
        """
        A booking was initiated; unless said otherwise it waits to be confirmed and its metadata is empty.
        """
        token = f"tok_{self.account.randomness.getrandbits(64):016x}"
        defaults = {"token": token, "created_at": self.now, "expires_at": self.now + timedelta(days=1)}
        return self._insert("pending_bookings", customer_phone=phone, **{**defaults, **values})

    def confirm(self, booking_id: str, customer_id: str) -> str:
        """
        The customer has confirmed the booking.
        """
        bookings = _TABLES["pending_bookings"]
        with self.engine.begin() as connection:
            connection.execute(
                update(bookings)
                .where(bookings.c.id == booking_id)
                .values(status="confirmed", customer_id=customer_id, confirmed_at=self.now)
            )
        return self._insert("bookings", customer_id=customer_id, pending_booking_id=booking_id)

    def job(self, **values: Any) -> str:  # noqa: ANN401  any column
        """
        A text was put into the queue.
        """
        return self._insert("jobs", **{"type": "send_sms", "run_at": self.now, **values})

    def text(self, phone: str, at: datetime, body: str = "Your table is waiting.", **values: Any) -> Message:  # noqa: ANN401
        """
        Twilio has sent a text; delivered and billed unless said otherwise.
        """
        defaults = {"sender": SENDER, "date_created": at, "price": "-0.00790"}
        return self.account.plant(to=phone, body=body, **{**defaults, **values})

    def record(self, message: Message, customer_id: str | None, **values: Any) -> str:  # noqa: ANN401  any column
        """
        The application has recorded a text, as Twilio tells it unless said otherwise.
        """
        return self._insert("messages", **{**self._row_of(message, customer_id), **values})

    def past(self, texts: Sequence[tuple[str, Message]]) -> None:
        """
        So many customers exist, each by a name, and the text that each got is recorded.
        """
        customers = self._insert_all("customers", [{"name": name, "phone": message.to} for name, message in texts])
        self._insert_all("messages", [self._row_of(text, id_) for (_, text), id_ in zip(texts, customers, strict=True)])

    def _row_of(self, message: Message, customer_id: str | None) -> dict[str, Any]:
        told = told_by_twilio(message, self.now)
        return {
            "customer_id": customer_id,
            "direction": direction_of(told),
            "message_sid": told.sid,
            "twilio_message_sid": told.sid,
            "body": told.body,
            "status": told.status,
            "twilio_status": told.status,
            "from_number": told.from_number,
            "to_number": told.to,
            "segments": told.segments,
            "cost_usd": told.cost_usd,
            "created_at": told.happened_at,
        }

    def defer(self, message: Message, booking_id: str) -> None:
        """
        The booking's metadata holds the text, for confirm to record.
        """
        bookings = _TABLES["pending_bookings"]
        sms = DeferredSms.of(told_by_twilio(message, self.now))
        metadata = {"initial_sms": {name: getattr(sms, name) for name in sms.__struct_fields__}}
        with self.engine.begin() as connection:
            connection.execute(update(bookings).where(bookings.c.id == booking_id).values(metadata=metadata))

    def execute(self, statement: str, **values: Any) -> None:  # noqa: ANN401  any parameter
        """
        Somebody runs SQL.
        """
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def execute_as(self, role: str, statement: str, **values: Any) -> None:  # noqa: ANN401  any parameter
        """
        Somebody runs SQL as that role.
        """
        with self.engine.begin() as connection:
            connection.execute(text("SELECT set_config('role', :role, true)"), {"role": role})
            connection.execute(text(statement), values)

    def refused(self, statement: str, *, role: str | None = None, **values: Any) -> None:  # noqa: ANN401  any parameter
        """
        Somebody runs SQL that the database refuses, as that role where one is named, and does not look at the error.

        Raises:
            AssertionError: It was not refused.
        """
        try:
            if role:
                self.execute_as(role, statement, **values)
            else:
                self.execute(statement, **values)
        except DBAPIError:
            return
        message = f"not refused: {statement}"
        raise AssertionError(message)

    def rows(self, question: str, **values: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401  any parameter
        """
        Somebody looks.
        """
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(question), values).mappings()]

    def _insert(self, table: str, **values: Any) -> str:  # noqa: ANN401  any column
        (id_,) = self._insert_all(table, [values])
        return id_

    def _insert_all(self, table: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        target = _TABLES[table]
        statement = insert(target).returning(target.c.id, sort_by_parameter_order=True)
        with self.engine.begin() as connection:
            return [str(id_) for id_ in connection.execute(statement, rows).scalars()]


def told_by_twilio(message: Message, now: datetime) -> TwilioMessage:
    """
    The message as the API tells it at that moment.
    """
    stage = message.stage(now)
    return TwilioMessage(
        sid=message.sid,
        status=stage.status,
        direction=message.direction,
        to=message.to,
        from_number=stage.sender,
        body=message.body,
        num_segments=str(stage.segments),
        price=stage.price,
        price_unit=message.price_unit,
        error_code=stage.error_code,
        messaging_service_sid=message.service,
        date_sent=None if stage.date_sent is None else f"{stage.date_sent:%a, %d %b %Y %H:%M:%S} +0000",
        date_created=f"{message.date_created:%a, %d %b %Y %H:%M:%S} +0000",
    )


@contextmanager
def world(now: datetime, seed: int = 1, *, database_url: str | None = None) -> Iterator[World]:
    """
    An empty world, gone when the context ends.

    Args:
        now: When its story is told; also the simulator's clock.
        seed: The same seed gives the same SIDs.
        database_url: An empty database to use instead of an embedded server.

    Raises:
        SandboxError: The embedded server is not installed, or did not start.
    """
    if database_url is None:
        with embedded_postgres() as cluster, world(now, seed, database_url=cluster.url()) as inside:
            yield inside
        return
    account = TwilioAccount(clock=lambda: now, randomness=Random(seed), numbers=[SENDER])  # noqa: S311  reproducible
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        _TABLES["messages"].metadata.create_all(engine)
        hosting = VercelSimulator(VercelProject(clock=lambda: now))
        application = ApplicationSimulator(hosting.project)
        with TwilioSimulator(account) as simulator, closing(hosting) as vercel, closing(application):
            scene = World(
                account=account,
                simulator=simulator,
                vercel=vercel,
                application=application,
                engine=engine,
                url=database_url,
                now=now,
            )
            with scene.during:
                yield scene
    finally:
        engine.dispose()


def december_incident(scene: World) -> None:
    """
    The founding incident, four days after the faulty deployment.

    Texts of the days before are recorded. Since then initiating a booking texts the customer, tries to record the text at
    once, which fails for want of a customer, and leaves the metadata ``{}``: some of those bookings were confirmed, some
    still wait. Around it the ordinary: a deferred text, one in flight, one that Twilio refused.
    """
    numbers = iter(f"+{_FIRST_CUSTOMER + n}" for n in range(1000))
    _recorded_before(scene, numbers)
    _confirmed_without_record(scene, numbers)
    _waiting_with_empty_metadata(scene, numbers)
    _ordinary(scene, numbers)


def _recorded_before(scene: World, numbers: Iterator[str]) -> None:
    times = (_second(scene.now - timedelta(days=4, hours=1, minutes=23 * n % 2800)) for n in range(120))
    scene.past(
        [
            (f"Customer {n}", scene.text(next(numbers), at, f"Your booking {n} is confirmed."))
            for n, at in enumerate(times)
        ]
    )


def _confirmed_without_record(scene: World, numbers: Iterator[str]) -> None:
    for n in range(9):
        phone, at = next(numbers), _second(scene.now - timedelta(days=3, hours=7 * n))
        booking = scene.pending_booking(phone, created_at=at - timedelta(seconds=2), expires_at=at + timedelta(days=1))
        scene.text(phone, at, f"Please confirm your booking: https://book.example/c/{n}")
        _recorded_too_early(scene)
        scene.confirm(booking, scene.customer(phone, name=f"Guest {n}"))


def _waiting_with_empty_metadata(scene: World, numbers: Iterator[str]) -> None:
    for n in range(4):
        phone, at = next(numbers), _second(scene.now - timedelta(hours=2 + 3 * n))
        scene.pending_booking(phone, created_at=at - timedelta(seconds=2), expires_at=at + timedelta(days=1))
        scene.text(phone, at, f"Please confirm your booking: https://book.example/w/{n}")
        _recorded_too_early(scene)


def _recorded_too_early(scene: World) -> None:
    """
    The old code inserts the message before there is a customer: the row is refused, and its id is drawn all the same.
    """
    scene.refused("INSERT INTO messages (customer_id, direction) VALUES (NULL, 'outbound')")


def _ordinary(scene: World, numbers: Iterator[str]) -> None:
    hour_ago, now = _second(scene.now - timedelta(hours=1)), _second(scene.now)
    deferred = next(numbers)
    booking = scene.pending_booking(deferred, created_at=hour_ago - timedelta(seconds=2))
    scene.defer(scene.text(deferred, hour_ago, "Please confirm your booking: https://book.example/d"), booking)
    young = next(numbers)
    scene.pending_booking(young, created_at=now - timedelta(seconds=62))
    scene.text(young, now - timedelta(minutes=1), status="sent", price=None)
    scene.text(next(numbers), hour_ago, status="failed", error_code=21211, price=None, date_sent=None)


def _second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)
