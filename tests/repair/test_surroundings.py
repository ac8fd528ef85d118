"""
What the catalog says a write would meet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from booking_doctor.repair.executor import Events, Trigger
from booking_doctor.repair.steps import StepKind
from booking_doctor.settings import Names
from tests.repair.cases import Bench, change, insertion, new_trigger, open_bench, plan_of

INSERTS: Events = {"messages": frozenset({"insert", "delete"})}
UPDATES: Events = {"messages": frozenset({"update"})}
RESTORES: Events = {"pending_bookings": frozenset({"update"})}
RESTORATION = change(StepKind.RESTORE_METADATA, "b1", {"metadata": "{}"}, {"metadata": "{}"})

NOTHING = "BEGIN RETURN coalesce(NEW, OLD); END"
CLERK = f"clerk_{os.getpid()}"


def names(triggers: list[Trigger]) -> list[str]:
    """
    Triggers in a word each.
    """
    return [f"{trigger.name} on {trigger.event} of {trigger.table}" for trigger in triggers]


# --- triggers --------------------------------------------------------------------------------------------------------


def test_no_triggers(bench: Bench) -> None:
    """
    Constraints' own triggers are none.
    """
    assert bench.ledger.triggers({**INSERTS, **RESTORES}) == []


def test_events(bench: Bench) -> None:
    """
    A trigger is listed for the events that happen, and for no other; a truncate is none.
    """
    bench.sql(*new_trigger(NOTHING, "BEFORE INSERT OR UPDATE OR DELETE ON messages FOR EACH ROW"))
    bench.sql(*new_trigger(NOTHING, "AFTER TRUNCATE ON messages", "truncated"))

    assert names(bench.ledger.triggers(INSERTS)) == ["t on delete of messages", "t on insert of messages"]
    assert names(bench.ledger.triggers(UPDATES)) == ["t on update of messages"]
    assert bench.ledger.triggers(RESTORES) == []


def test_disabled(bench: Bench) -> None:
    """
    A disabled trigger and one for replicas do not fire; one that always fires does.
    """
    for name in ("off", "replica", "always"):
        bench.sql(*new_trigger(NOTHING, name=name))
    bench.sql("ALTER TABLE messages DISABLE TRIGGER off, ENABLE REPLICA TRIGGER replica, ENABLE ALWAYS TRIGGER always")

    assert names(bench.ledger.triggers(INSERTS)) == ["always on insert of messages"]


def test_update_of_other_columns(bench: Bench) -> None:
    """
    An update trigger for columns that no repair changes does not fire; one for a column that it changes does.
    """
    bench.sql(*new_trigger(NOTHING, "AFTER UPDATE OF status ON pending_bookings FOR EACH ROW", "notify"))
    assert bench.ledger.triggers(RESTORES) == []

    bench.sql(*new_trigger(NOTHING, "AFTER UPDATE OF status, metadata ON pending_bookings FOR EACH ROW", "twofold"))
    bench.sql(*new_trigger(NOTHING, "AFTER UPDATE OF status ON messages FOR EACH ROW", "third"))

    assert names(bench.ledger.triggers({**RESTORES, **UPDATES})) == [
        "third on update of messages",
        "twofold on update of pending_bookings",
    ]


def test_stamps(bench: Bench) -> None:
    """
    A trigger that only sets time columns to the current time is harmless, and tells which.
    """
    bodies = [
        ("BEGIN NEW.created_at = now(); RETURN NEW; END", ("created_at",)),
        ("begin\n  new.created_at := CURRENT_TIMESTAMP;\n  return new;\nend;", ("created_at",)),
        (
            "BEGIN NEW.created_at = timezone('utc'::text, now()); NEW.Read_At = clock_timestamp(); RETURN NEW; END;",
            ("created_at", "read_at"),
        ),
        ("BEGIN NEW.created_at = now() AT TIME ZONE 'utc'; RETURN NEW; END", ("created_at",)),
        ("BEGIN NEW.read_at = pg_catalog.transaction_timestamp(); RETURN NEW; END", ("read_at",)),
    ]
    for number, (body, _) in enumerate(bodies):
        bench.sql(*new_trigger(body, name=f"t{number}"))

    assert [trigger.stamps for trigger in bench.ledger.triggers(INSERTS)] == [stamps for _, stamps in bodies]


def test_no_stamps(bench: Bench) -> None:
    """
    A trigger that does, or may do, anything else is not called harmless.
    """
    bodies = [
        "BEGIN NEW.created_at = now(); PERFORM pg_sleep(0); RETURN NEW; END",
        "BEGIN NEW.created_at = now(); RETURN NULL; END",
        "BEGIN NEW.created_at = now() - interval '1 day'; RETURN NEW; END",
        "BEGIN NEW.body = now(); RETURN NEW; END",
        "BEGIN NEW.missing_at = now(); RETURN NEW; END",
        "BEGIN IF NEW.status = 'sent' THEN NEW.created_at = now(); END IF; RETURN NEW; END",
        "BEGIN /* NEW.x = now(); */ NEW.created_at = now(); RETURN NEW; END",
        "BEGIN NEW.created_at = now(); -- RETURN NEW; END\n DELETE FROM jobs; RETURN NEW; END",
        "BEGIN RETURN NEW; END",
    ]
    for number, body in enumerate(bodies):
        bench.sql(*new_trigger(body, name=f"t{number}"))

    assert [trigger.harmless for trigger in bench.ledger.triggers(INSERTS)] == [False] * len(bodies)


def test_stamps_of_a_delete(bench: Bench) -> None:
    """
    A stamp is no stamp when a row goes.
    """
    bench.sql(*new_trigger("BEGIN NEW.created_at = now(); RETURN NEW; END", "BEFORE DELETE ON messages FOR EACH ROW"))

    (trigger,) = bench.ledger.triggers(INSERTS)
    assert not trigger.harmless


def test_stamps_at_updates_are_named(bench: Bench) -> None:
    """
    A column that is stamped at any update is outside undo's comparison, so it is named before an insert too.
    """
    bench.sql(
        *new_trigger("BEGIN NEW.created_at = now(); RETURN NEW; END", "BEFORE UPDATE ON messages FOR EACH ROW", "touch")
    )
    bench.sql(*new_trigger(NOTHING, "BEFORE UPDATE ON messages FOR EACH ROW", "other"))

    assert names(bench.ledger.triggers(INSERTS)) == ["touch on update of messages"]


def test_moddatetime(bench: Bench) -> None:
    """
    The contributed function moddatetime is known; its argument is the column.
    """
    bench.sql(
        "CREATE EXTENSION moddatetime",
        "CREATE TRIGGER touch BEFORE UPDATE ON pending_bookings FOR EACH ROW EXECUTE FUNCTION moddatetime(updated_at)",
    )

    (trigger,) = bench.ledger.triggers(RESTORES)
    assert trigger.stamps == ("updated_at",)


def test_partitions(bench: Bench) -> None:
    """
    A trigger of one partition fires too; a partitioned table's own is listed once.
    """
    bench.sql(
        "ALTER TABLE messages RENAME TO old_messages",
        "CREATE TABLE messages (LIKE old_messages INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
        "CREATE TABLE messages_2025 PARTITION OF messages FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    )
    bench.sql(*new_trigger(NOTHING, "AFTER INSERT ON messages FOR EACH ROW", "all_of_them"))
    bench.sql(*new_trigger(NOTHING, "AFTER INSERT ON messages_2025 FOR EACH ROW", "of_one"))

    assert names(bench.ledger.triggers(INSERTS)) == [
        "all_of_them on insert of messages",
        "of_one on insert of messages",
    ]


def test_rules(bench: Bench) -> None:
    """
    A rule is listed with the event that it rewrites.
    """
    bench.sql("CREATE RULE keep AS ON DELETE TO messages DO INSTEAD NOTHING")

    assert names(bench.ledger.triggers(INSERTS)) == ["rule keep on delete of messages"]


# --- obstacles -------------------------------------------------------------------------------------------------------


@pytest.fixture(name="clerk")
def _clerk(bench: Bench, server_url: str) -> Iterator[Bench]:
    """
    The bench as somebody who may do nothing yet.
    """
    parts = urlsplit(bench.url)
    bench.sql(f"CREATE ROLE {CLERK} LOGIN PASSWORD 'clerk'", f"GRANT USAGE ON SCHEMA public TO {CLERK}")
    netloc = f"{CLERK}:clerk@{parts.netloc.rpartition('@')[2]}"
    try:
        with open_bench(urlunsplit(parts._replace(netloc=netloc))) as clerk:
            yield clerk
    finally:
        bench.sql(f"DROP OWNED BY {CLERK} CASCADE", f"DROP ROLE {CLERK}")


def test_no_obstacle(bench: Bench) -> None:
    """
    An owner's way is free, and a plan without steps meets nothing at all.
    """
    assert bench.ledger.obstacle(plan_of(insertion(1), RESTORATION)) is None
    bench.sql("DROP TABLE messages")
    assert bench.ledger.obstacle(plan_of()) is None


@pytest.mark.parametrize(
    ("statement", "obstacle"),
    [
        (
            "ALTER TABLE messages ADD tenant text NOT NULL",
            "messages.tenant may not be null, has no default, and Twilio does not know it",
        ),
        (
            "CREATE RULE audit AS ON INSERT TO messages DO ALSO NOTIFY audit",
            "messages has the rule audit on insert, and what a rule makes of a row no journal has; make it a trigger",
        ),
        (
            "CREATE RULE keep AS ON DELETE TO messages DO INSTEAD NOTHING",
            "messages has the rule keep on delete, and what a rule makes of a row no journal has; make it a trigger",
        ),
        (
            "ALTER TABLE messages RENAME TO texts; CREATE VIEW messages AS SELECT * FROM texts",
            "messages is no table but a view or a foreign table; map the table behind it in booking-doctor.toml",
        ),
    ],
)
def test_obstacles(bench: Bench, statement: str, obstacle: str) -> None:
    """
    What stands in the way of every row is said before anything is written, in one sentence.
    """
    bench.sql(statement)

    assert bench.ledger.obstacle(plan_of(insertion(1))) == obstacle
    assert bench.ledger.obstacle(plan_of(RESTORATION)) is None


def test_filled_columns(bench: Bench) -> None:
    """
    A column that the database fills, or that may be empty, is no obstacle.
    """
    bench.sql(
        "ALTER TABLE messages ADD a text NOT NULL DEFAULT 'x', ADD b text, ADD c int NOT NULL GENERATED ALWAYS AS (1) STORED,"
        " ADD d bigserial"
    )

    assert bench.ledger.obstacle(plan_of(insertion(1))) is None
    assert bench.apply(plan_of(insertion(1))).written == [0]


def test_privileges(bench: Bench, clerk: Bench) -> None:
    """
    A missing privilege is named with its column; those on the columns that are written are enough.
    """
    plan = plan_of(insertion(1), RESTORATION)
    grants = [
        ("may not SELECT the column body of messages", "GRANT SELECT ON messages TO"),
        ("may not INSERT the column body of messages", "GRANT INSERT ON messages TO"),
        ("may not SELECT the column confirmed_at of pending_bookings", "GRANT SELECT ON pending_bookings TO"),
        ("may not UPDATE the column metadata of pending_b", "GRANT UPDATE (metadata) ON pending_bookings TO"),
    ]

    for obstacle, grant in grants:
        assert obstacle in (clerk.ledger.obstacle(plan) or "")
        bench.sql(f"{grant} {CLERK}")

    assert clerk.ledger.obstacle(plan) == (
        "the role may not make the schema booking_doctor, which holds the journal;"
        f" somebody who may has to run: CREATE SCHEMA booking_doctor AUTHORIZATION {CLERK}"
    )


def test_journal_made_by_somebody(bench: Bench, clerk: Bench) -> None:
    """
    A schema that somebody made for the role, as the sentence says, is enough, and is filled at the first write.
    """
    bench.sql(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON messages, customers TO {CLERK}",
        f"CREATE SCHEMA booking_doctor AUTHORIZATION {CLERK}",
    )
    plan = plan_of(insertion(1))

    assert clerk.ledger.obstacle(plan) is None
    assert clerk.apply(plan).written == [0]
    assert clerk.undo().written == [0]


def test_journal_of_somebody_else(bench: Bench, clerk: Bench) -> None:
    """
    A journal that another role keeps is not written; its owner is named.
    """
    bench.sql(f"GRANT SELECT, INSERT ON messages TO {CLERK}")
    bench.apply(plan_of(insertion(1)))
    owner = bench.sql("SELECT current_user AS name")[0]["name"]

    assert clerk.ledger.obstacle(plan_of(insertion(2))) == (
        f"the role may not write the journal in the schema booking_doctor; use the role that owns it, {owner}"
    )


def test_read_only(bench: Bench) -> None:
    """
    A database that is read-only by default takes no plan.
    """
    name = urlsplit(bench.url).path.removeprefix("/")
    bench.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    with open_bench(bench.url) as fresh:
        assert fresh.ledger.obstacle(plan_of(insertion(1))) == (
            "the database takes no writes: it is a replica or read-only"
        )


# --- the unique index ------------------------------------------------------------------------------------------------


def test_unique(bench: Bench) -> None:
    """
    Only an index that makes a second row for one SID impossible counts.
    """
    indexes = {
        "(message_sid)": True,
        "(message_sid) INCLUDE (status)": True,
        "(message_sid) WHERE message_sid IS NOT NULL": True,
        "(message_sid) WHERE message_sid <> ''": True,
        "(message_sid) WHERE read_at IS NOT NULL": False,
        "(message_sid) WHERE status <> 'failed'": False,
        "(message_sid, created_at)": False,
        "(lower(message_sid))": False,
        "(twilio_message_sid)": False,
    }
    found = {}
    for index in indexes:
        bench.sql(f"CREATE UNIQUE INDEX guard ON messages {index}")
        found[index] = bench.ledger.sid_is_unique()
        bench.sql("DROP INDEX guard")

    assert found == indexes
    assert not bench.ledger.sid_is_unique()


def test_unique_elsewhere(database_url: str) -> None:
    """
    The index is found under the names of this installation.
    """
    names_here = Names(tables={"messages": "Texts Sent"}, columns={("messages", "message_sid"): "SID"})

    with open_bench(database_url, names_here) as bench:
        bench.sql('ALTER TABLE messages RENAME TO "Texts Sent"', 'ALTER TABLE "Texts Sent" RENAME message_sid TO "SID"')
        assert not bench.ledger.sid_is_unique()

        bench.sql('CREATE UNIQUE INDEX ON "Texts Sent" ("SID")')
        assert bench.ledger.sid_is_unique()
