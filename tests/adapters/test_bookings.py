"""
The store of bookings on a real PostgreSQL: row level security, triggers, other names and types, a database that goes away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import force_setattr, replace
from sqlalchemy import Connection

from booking_doctor.adapters.bookings import _CLAIM
from booking_doctor.adapters.installation import Installation
from booking_doctor.adapters.postgres import Database
from booking_doctor.bootstrap import Request, booking_service, doctor_for
from booking_doctor.checks import select
from booking_doctor.checks.jobs import job_overdue
from booking_doctor.core.booking import JOB_TYPE, JobState, SmsState, StatusTaken
from booking_doctor.core.ports import Answer, Messenger, Text
from booking_doctor.errors import (
    DatabaseError,
    DatabaseUnreachable,
    NothingWritten,
    OutcomeNotStored,
    PlanRefused,
    SchemaMismatch,
    SettingsError,
)
from booking_doctor.findings import Silent, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Names, Preferences, database_settings
from tests.conftest import at_database
from tests.core.desk import APP, PHONE, RealDesk, initiate, real_desk, report, request


@pytest.fixture(name="real")
def _real(scene: World) -> Iterator[RealDesk]:
    """
    A desk on the real adapters.
    """
    with real_desk(scene) as desk:
        yield desk


@contextmanager
def as_role(real: RealDesk, *grants: str) -> Iterator[None]:
    """
    The desk's service logs in as a role that row level security applies to and that has all other rights.
    """
    role = "app_" + real.event_id.replace("-", "")
    database = real.scene.url.rpartition("/")[2]
    real.scene.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app' NOSUPERUSER")
    try:
        for statement in (
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {}",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {}",
            *grants,
        ):
            real.scene.execute(statement.format(role))
        host = real.scene.url.rpartition("@")[2].partition("/")[0]
        real.service = real.another_service(DATABASE_URL=f"postgresql://{role}:app@{host}/{database}")
        yield
    finally:
        real.close()
        real.scene.execute(f"DROP OWNED BY {role}")
        real.scene.execute(f"DROP ROLE {role}")


def trigger(real: RealDesk, table: str, when: str, body: str) -> None:
    """
    Somebody has put a trigger on a table.
    """
    real.scene.execute(f"CREATE FUNCTION interfere() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    real.scene.execute(f"CREATE TRIGGER interferes {when} ON {table} FOR EACH ROW EXECUTE FUNCTION interfere()")


def after_sending(real: RealDesk, do: Callable[[], object]) -> None:
    """
    Something happens between Twilio's answer and its storing.
    """
    texting = real.service._texting
    messenger = texting.messenger

    class Interrupted:
        def send(self, text: Text) -> Answer:
            answer = messenger.send(text)
            do()
            return answer

    interrupted: Messenger = Interrupted()
    force_setattr(texting, "messenger", interrupted)


# --- writes that fall silently ---------------------------------------------------------------------------------------

_POLICIES = (
    "ALTER TABLE pending_bookings ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY reads ON pending_bookings FOR SELECT TO {} USING (true)",
    "CREATE POLICY inserts ON pending_bookings FOR INSERT TO {} WITH CHECK (true)",
)


def test_row_level_security_that_keeps_the_outcome_out_is_an_error_that_says_so(real: RealDesk) -> None:
    """
    An update that touches no row is no success: the error names what was not stored and the SID, the audit log has it.
    """
    with as_role(real, *_POLICIES):
        with pytest.raises(OutcomeNotStored, match=r"pending_bookings\.metadata was not stored") as error:
            initiate(real)

        ((sid, _, _),) = real.taken
        assert error.value.what == "pending_bookings.metadata"
        assert error.value.message_sid == sid
        assert sid in error.value.summary
        assert real.booking(error.value.booking_id).sms
        ((action, booking_id, details),) = real.notes
        assert (action, booking_id) == ("initiate_booking", error.value.booking_id)
        assert details["sms"]["message_sid"] == sid
        assert details["steps"][-1]["name"] == "store what became of the text"
        assert "pending_bookings.metadata was not stored" in details["steps"][-1]["outcome"]


def test_row_level_security_that_keeps_confirm_out_is_an_error_that_says_so(real: RealDesk) -> None:
    """
    It is not taken for an unknown token, and nothing is half done.
    """
    token = initiate(real).token
    with as_role(real, *_POLICIES):
        with pytest.raises(NothingWritten, match="can be seen and not be changed"):
            real.service.confirm_booking(token)

        assert real.customers == []
        assert real.recorded == []


def test_row_level_security_that_permits_is_no_obstacle(real: RealDesk) -> None:
    """
    The flow works as an ordinary role under policies, from initiate to callback.
    """
    permitted = [
        f"CREATE POLICY everything_{table} ON {table} TO {{}} USING (true) WITH CHECK (true)"
        for table in ("pending_bookings", "messages", "customers", "bookings")
    ]
    enabled = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        for table in ("pending_bookings", "messages", "customers", "bookings")
    ]
    with as_role(real, *enabled, *permitted):
        initiated = initiate(real)
        confirmed = real.service.confirm_booking(initiated.token)
        real.service.record_status(report(real, initiated.booking_id, real.taken[0][0], "delivered"))

        assert [(row.message_sid, row.status) for row in real.recorded] == [(confirmed.message_sid, "delivered")]


def test_a_hidden_insert_is_an_error_and_no_text_is_sent(real: RealDesk) -> None:
    """
    The policy that forbids it is named, before Twilio is asked.
    """
    with as_role(real, _POLICIES[0], _POLICIES[1]):
        with pytest.raises(DatabaseError, match="row-level security"):
            initiate(real)

        assert real.taken == []


@pytest.mark.parametrize(
    ("when", "body", "words"),
    [
        ("BEFORE UPDATE", "RETURN NULL;", "no rows were written"),
        ("BEFORE UPDATE", "NEW.metadata := '{}'; RETURN NEW;", "a trigger stored something else"),
        ("BEFORE UPDATE", "NEW.metadata := OLD.metadata; RETURN NEW;", "a trigger stored something else"),
        ("BEFORE UPDATE", "RAISE 'not today';", "a trigger or function refused"),
    ],
)
def test_a_trigger_that_keeps_the_outcome_out_is_an_error_that_says_so(
    real: RealDesk, when: str, body: str, words: str
) -> None:
    """
    Whatever it does with the row; the text has gone out, once.
    """
    trigger(real, "pending_bookings", when, body)

    with pytest.raises(OutcomeNotStored, match=words) as error:
        initiate(real)

    assert error.value.what == "pending_bookings.metadata"
    assert error.value.message_sid == real.taken[0][0]
    assert len(real.taken) == 1
    assert words in str(real.notes)


def test_a_trigger_that_empties_metadata_at_first_loses_nothing(real: RealDesk) -> None:
    """
    What became of the text is stored all the same.
    """
    trigger(real, "pending_bookings", "BEFORE INSERT", "NEW.metadata := '{}'; RETURN NEW;")

    initiated = initiate(real)

    assert real.booking(initiated.booking_id).sms == initiated.sms
    assert real.service.confirm_booking(initiated.token).message_sid == real.taken[0][0]


@pytest.mark.parametrize(
    ("table", "what"), [("messages", "messages"), ("customers", "customers"), ("bookings", "bookings")]
)
def test_a_row_that_a_trigger_keeps_out_undoes_the_confirmation(real: RealDesk, table: str, what: str) -> None:
    """
    Either all of it is stored or nothing; the same confirmation succeeds once the trigger is gone.
    """
    initiated = initiate(real)
    trigger(real, table, "BEFORE INSERT", "RETURN NULL;")

    with pytest.raises(NothingWritten) as error:
        real.service.confirm_booking(initiated.token)

    assert error.value.what == what
    assert real.booking(initiated.booking_id).status == "pending"
    assert real.customers == []
    real.scene.execute(f"DROP TRIGGER interferes ON {table}")
    assert real.service.confirm_booking(initiated.token).message_sid == real.taken[0][0]
    assert len(real.recorded) == 1


def test_a_booking_that_a_trigger_keeps_out_is_not_texted(real: RealDesk) -> None:
    """
    There would be nobody to confirm it.
    """
    trigger(real, "pending_bookings", "BEFORE INSERT", "RETURN NULL;")

    with pytest.raises(NothingWritten):
        initiate(real)

    assert real.taken == []


def test_metadata_that_is_no_object_is_not_written_over(real: RealDesk) -> None:
    """
    The callback cannot be kept, and says so.
    """
    initiated = initiate(real)
    real.scene.execute("UPDATE pending_bookings SET metadata = '\"{}\"'")

    delivered = report(real, initiated.booking_id, real.taken[0][0], "delivered")

    assert real.service.record_status(delivered) is StatusTaken.UNKNOWN
    assert real.service.confirm_booking(initiated.token).message_sid is None
    assert real.scene.rows("SELECT metadata FROM pending_bookings") == [{"metadata": "{}"}]


def test_an_audit_log_that_cannot_be_written_keeps_nobody_from_booking(
    real: RealDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The program's own log says so.
    """
    with as_role(real, "REVOKE INSERT ON audit_logs FROM {}"):
        initiated = initiate(real)

    assert initiated.sms
    assert initiated.sms.state is SmsState.SENT
    assert "audit_logs has no entry of initiate_booking" in caplog.text


# --- a database that goes away ---------------------------------------------------------------------------------------


def gone(real: RealDesk, *, back: bool = False) -> None:
    """
    Nobody gets into the database any more, or they do again.
    """
    database = real.scene.url.rpartition("/")[2]
    with psycopg.connect(at_database(real.scene.url, "postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {back}')
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database]
        )


def test_a_database_gone_between_send_and_update_is_told_with_the_sid(
    real: RealDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """
    After three tries; the text is not sent again, and is found again once the database is back.
    """
    after_sending(real, lambda: gone(real))

    with pytest.raises(OutcomeNotStored) as error:
        initiate(real, idempotency_key="k")

    sid = real.taken[0][0]
    assert error.value.message_sid == sid
    assert isinstance(error.value.__cause__, DatabaseUnreachable)
    assert real.clock.slept == [0.2, 1.0]
    assert sid in caplog.text
    gone(real, back=True)
    real.scene.engine.dispose()
    again = real.another_service().initiate_booking(request(real), idempotency_key="k")
    assert again.sms
    assert (again.repeated, again.sms.state) == (True, SmsState.SENDING)
    assert real.another_service().confirm_booking(again.token).message_sid == sid
    assert len(real.taken) == 1


def test_a_database_gone_for_a_moment_costs_a_moment(real: RealDesk) -> None:
    """
    The outcome is stored with the second try.
    """
    after_sending(real, lambda: gone(real))

    def back(seconds: float) -> None:
        gone(real, back=True)
        real.scene.engine.dispose()

    real.clock.sleep = back  # type: ignore[method-assign]

    initiated = initiate(real)

    assert initiated.sms
    assert initiated.sms.state is SmsState.SENT
    assert real.booking(initiated.booking_id).sms == initiated.sms


def test_connections_that_the_server_has_ended_are_not_noticed(real: RealDesk) -> None:
    """
    They lay in the pool; nothing was done on them.
    """
    initiate(real)

    for _ in range(3):
        with psycopg.connect(real.scene.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        real.scene.engine.dispose()
        assert initiate(real).sms
        assert real.clock.slept == []


def test_a_database_that_was_never_there_costs_no_text(real: RealDesk) -> None:
    """
    The error is the database's own, and Twilio was not asked.
    """
    service = real.another_service(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")

    with pytest.raises(DatabaseUnreachable):
        service.initiate_booking(request(real))

    assert real.scene.simulator.requests == []


def test_a_locked_booking_is_waited_for_and_not_for_ever(real: RealDesk) -> None:
    """
    The confirmation that loses can be repeated.
    """
    token = initiate(real).token
    with psycopg.connect(real.scene.url) as other:
        other.execute("SELECT FROM pending_bookings FOR UPDATE")
        service = real.another_service()
        database = service._store._database  # type: ignore[attr-defined]
        database.timeouts = replace(database.timeouts, lock=0.2)

        with pytest.raises(DatabaseUnreachable, match="locked"):
            service.confirm_booking(token)

    assert service.confirm_booking(token).message_sid


def test_connections_that_are_all_in_use_are_told_after_the_text(real: RealDesk) -> None:
    """
    Whatever holds them: the text has gone out, and the error has its SID.
    """
    engine = real.service._store._database._engine  # type: ignore[attr-defined]
    engine.pool._timeout, engine.pool._max_overflow = 0.05, 0
    held: list[Connection] = []
    after_sending(real, lambda: held.extend(engine.connect() for _ in range(engine.pool.size())))

    with pytest.raises(OutcomeNotStored, match=r"all connections to .* are in use") as error:
        initiate(real)

    for connection in held:
        connection.close()
    assert error.value.message_sid == real.taken[0][0]


# --- other installations ---------------------------------------------------------------------------------------------


def test_tables_of_other_names_and_types_will_do(real: RealDesk) -> None:
    """
    Ids that are numbers, metadata that is text, names with blanks and capitals, no column that is not needed.
    """
    real.scene.execute("DROP TABLE messages, bookings, jobs, audit_logs, pending_bookings, customers, events CASCADE")
    real.scene.execute('CREATE TABLE "Guests" (nr bigserial PRIMARY KEY, phone text)')
    real.scene.execute(
        'CREATE TABLE "open bookings" (nr serial PRIMARY KEY, "Token" text, phone text, status text, meta text,'
        " made timestamp NOT NULL)"
    )
    real.scene.execute(
        'CREATE TABLE "sms:log" (nr bigserial PRIMARY KEY, guest bigint, way text, "the%sid" text, made timestamp)'
    )
    names = Names(
        tables={"customers": "Guests", "pending_bookings": "open bookings", "messages": "sms:log"},
        columns={
            ("customers", "id"): "nr",
            ("pending_bookings", "id"): "nr",
            ("pending_bookings", "token"): "Token",
            ("pending_bookings", "customer_phone"): "phone",
            ("pending_bookings", "metadata"): "meta",
            ("pending_bookings", "created_at"): "made",
            ("messages", "id"): "nr",
            ("messages", "customer_id"): "guest",
            ("messages", "direction"): "way",
            ("messages", "message_sid"): "the%sid",
            ("messages", "created_at"): "made",
        },
    )
    service = real.another_service(Preferences(names=names))

    initiated = service.initiate_booking(request(real))
    ((sid, _, body),) = real.taken
    confirmed = service.confirm_booking(initiated.token)

    assert body == f"Please confirm your booking: {APP}/confirm/{initiated.token}"
    assert (initiated.booking_id, confirmed.customer_id, confirmed.message_sid) == ("1", "1", sid)
    made = real.clock.now().replace(tzinfo=None)
    assert real.scene.rows('SELECT * FROM "sms:log"') == [
        {"nr": 1, "guest": 1, "way": "outbound", "the%sid": sid, "made": made}
    ]
    (stored,) = real.scene.rows('SELECT * FROM "open bookings"')
    assert json.loads(stored["meta"])["initial_sms"]["message_sid"] == sid
    assert stored["status"] == "confirmed"
    with pytest.raises(SchemaMismatch, match="uuid or a text"):
        service.initiate_booking(request(real), idempotency_key="k")
    with pytest.raises(SchemaMismatch, match="no table jobs"):
        service.initiate_booking(request(real), strategy="queued")
    assert len(real.taken) == 1


@pytest.mark.parametrize("type_", ["json", "text"])
def test_metadata_may_be_any_type_that_holds_it(real: RealDesk, type_: str) -> None:
    """
    It is read and written as what it says.
    """
    real.scene.execute("ALTER TABLE pending_bookings ALTER metadata DROP DEFAULT")
    real.scene.execute(f"ALTER TABLE pending_bookings ALTER metadata TYPE {type_} USING metadata::text::{type_}")

    desk_token = initiate(real).token

    assert real.service.confirm_booking(desk_token).message_sid == real.taken[0][0]


def test_a_status_column_with_words_of_its_own_gets_those(real: RealDesk) -> None:
    """
    The second column has Twilio's; neither ever claims an arrival that Twilio does not.
    """
    real.scene.execute("ALTER TABLE messages ADD CHECK (status IN ('pending', 'sent', 'delivered', 'failed'))")
    initiated = initiate(real)
    real.service.confirm_booking(initiated.token)
    seen = [real.scene.rows("SELECT status, twilio_status FROM messages")[0]]

    for status in ("sending", "sent", "undelivered"):
        real.service.record_status(report(real, initiated.booking_id, real.taken[0][0], status))
        seen.append(real.scene.rows("SELECT status, twilio_status FROM messages")[0])

    assert [(row["status"], row["twilio_status"]) for row in seen] == [
        ("pending", "queued"),
        ("pending", "sending"),
        ("sent", "sent"),
        ("failed", "undelivered"),
    ]


def test_a_unique_index_on_the_sid_is_no_obstacle(real: RealDesk) -> None:
    """
    What `migrate guard` makes impossible the flow does not try.
    """
    real.scene.execute("CREATE UNIQUE INDEX ON messages (message_sid)")
    initiated = initiate(real)

    for _ in range(2):
        real.service.confirm_booking(initiated.token)

    assert len(real.recorded) == 1


def test_a_row_that_has_its_sid_in_the_second_column_only_is_recorded(real: RealDesk) -> None:
    """
    Other code may have written it; it is not written again, and its status moves on.
    """
    initiated = initiate(real)
    sid = real.taken[0][0]
    customer = real.customer(PHONE)
    real.scene.execute(
        "INSERT INTO messages (customer_id, direction, twilio_message_sid, status)"
        " VALUES (CAST(:customer AS uuid), 'outbound', :sid, 'queued')",
        customer=customer,
        sid=sid,
    )

    real.service.confirm_booking(initiated.token)
    real.service.record_status(report(real, initiated.booking_id, sid, "delivered"))

    assert real.scene.rows("SELECT status, twilio_status FROM messages") == [
        {"status": "delivered", "twilio_status": "delivered"}
    ]


def test_a_lasting_booking_that_is_there_already_is_not_made_twice(real: RealDesk) -> None:
    """
    Older code made it and could not set the pending one to confirmed.
    """
    initiated = initiate(real)
    customer = real.customer(PHONE)
    real.scene.execute(
        "INSERT INTO bookings (customer_id, pending_booking_id) VALUES (CAST(:c AS uuid), CAST(:b AS uuid))",
        c=customer,
        b=initiated.booking_id,
    )

    confirmed = real.service.confirm_booking(initiated.token)

    assert confirmed.customer_id == customer
    assert len(real.scene.rows("SELECT FROM bookings")) == 1


def test_a_customer_who_is_known_before_confirming_is_taken(real: RealDesk) -> None:
    """
    The application may know who is booking; their text is recorded when they confirm, not before.
    """
    known = real.customer("+15550109876")
    initiated = initiate(real)
    real.scene.execute("UPDATE pending_bookings SET customer_id = CAST(:known AS uuid)", known=known)

    real.service.record_status(report(real, initiated.booking_id, real.taken[0][0], "sent"))
    assert real.recorded == []
    confirmed = real.service.confirm_booking(initiated.token)

    assert confirmed.customer_id == known
    assert [(row.customer_id, row.status) for row in real.recorded] == [(known, "sent")]
    assert len(real.customers) == 1


def test_queueing_wakes_who_listens(real: RealDesk) -> None:
    """
    When the booking is there to be seen, not before.
    """
    with psycopg.connect(real.scene.url, autocommit=True) as listener:
        listener.execute("LISTEN booking_doctor_jobs")
        initiate(real, strategy="queued")
        (notification,) = listener.notifies(timeout=5, stop_after=1)

    assert notification.channel == "booking_doctor_jobs"


def test_a_payload_of_any_shape_is_no_crash(real: RealDesk) -> None:
    """
    Its job fails with the reason.
    """
    for payload in ('"text"', "[]", "7", "null", '{"pending_booking_id": []}', '{"booking_id": 7}'):
        real.scene.execute(
            "INSERT INTO jobs (type, payload, run_at) VALUES ('send_booking_confirmation_sms', CAST(:p AS jsonb), :at)",
            p=payload,
            at=real.clock.now(),
        )

    outcomes = real.service.queue.run_due()

    assert {outcome.state for outcome in outcomes} == {JobState.FAILED}
    assert {error for _, _, error in real.jobs} == {"it names no booking", "there is no booking 7"}


def test_jobs_of_other_kinds_are_left_alone(real: RealDesk) -> None:
    """
    The queue is the application's.
    """
    real.scene.job(type="send_reminder", run_at=real.clock.now())

    assert real.service.queue.run_due() == []
    assert real.jobs == [("queued", 0, None)]


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://x"),
        ("TWILIO_ACCOUNT_SID", ""),
        ("TWILIO_AUTH_TOKEN", ""),
        ("TWILIO_PHONE_NUMBER", ""),
        ("BOOKING_APP_URL", ""),
        ("BOOKING_APP_URL", "book.example"),
        ("BOOKING_APP_URL", "https://user:pass@book.example"),
    ],
)
def test_a_missing_or_malformed_variable_is_named_before_anything_is_done(
    real: RealDesk, name: str, value: str
) -> None:
    """
    The name, never the value.
    """
    with pytest.raises(SettingsError, match=name) as error:
        real.another_service(Preferences(), **{name: value})

    assert not value or value not in error.value.sentence


# --- what the doctor makes of it -------------------------------------------------------------------------------------


def test_the_doctor_finds_only_what_is_amiss(real: RealDesk) -> None:
    """
    A text that was sent, refused, queued or dropped leaves metadata in order; one whose fate is unknown does not.
    """
    real.clock.moment = real.scene.now - timedelta(hours=1)
    initiate(real, "+15550101001")
    real.refuse("+15550101002")
    initiate(real, "+15550101002")
    initiate(real, "+15550101003", strategy="queued")
    dropped = initiate(real, "+15550101004", strategy="queued")
    sms = real.booking(dropped.booking_id).sms
    assert sms
    real.set_sms(dropped.booking_id, replace(sms, state=SmsState.DROPPED))
    real.lose_answer()
    unknown = initiate(real, "+15550101005")
    real.clock.moment = real.scene.now

    doctor = doctor_for(real.scene.variable_sources(), Preferences(), Silent(), clock=lambda: real.scene.now)
    with closing(doctor):
        window = Window(real.scene.now - timedelta(days=1), real.scene.now)
        report = doctor.examine("bookings", select(["booking"]), Request(window=window))

    assert [finding.fingerprint for finding in report.findings] == [
        f"booking-metadata-incomplete:booking/{unknown.booking_id}"
    ]


def test_variables_that_name_different_databases_are_refused(real: RealDesk, tmp_path: Path) -> None:
    """
    Nobody can know where the bookings are to go.
    """
    variables = {**real.scene.environment(), "BOOKING_APP_URL": APP, "POSTGRES_URL": "postgresql://x@elsewhere/other"}

    with pytest.raises(PlanRefused, match="DATABASE_URL and POSTGRES_URL name different databases"):
        booking_service(variables, directory=tmp_path)


def test_the_index_that_the_page_names_serves_the_claim(real: RealDesk) -> None:
    """
    However many jobs are done, those that are due are found without looking at them.
    """
    real.scene.execute(
        "INSERT INTO jobs (type, status, run_at) SELECT 'x', 'done', now() FROM generate_series(1, 20000)"
    )
    initiate(real, strategy="queued")
    index = re.search("`(CREATE INDEX CONCURRENTLY [^`]*)`", job_overdue.page)
    assert index
    real.scene.execute(index[1].replace("CONCURRENTLY", ""))
    real.scene.execute("ANALYZE jobs")
    parameters = {"type": JOB_TYPE, "now": real.clock.now(), "lost_before": real.clock.now(), "limit": 8}

    with closing(Database(database_settings(real.scene.environment()), Names())) as database:
        claim = Installation(database).sql(_CLAIM)
        with database.acting({}) as cursor:
            plan = "\n".join(str(row["QUERY PLAN"]) for row in cursor.execute(f"EXPLAIN {claim}".encode(), parameters))

    assert "jobs_due" in plan
    assert "Seq Scan on jobs" not in plan
