"""
Faults of the tables, and of what stands between the application and its rows.

Roles belong to a whole server, so what is blocked here is blocked by rules, which hold for every role.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from booking_doctor.checks import CATALOGUE
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Incident

_BLINDED: Final = frozenset(
    {"database", *(name for name, made in CATALOGUE.items() if made.family in {"booking", "log", "message"})}
)
"""What cannot look while a table or column that everybody needs is gone."""

_FREE: Final = "ALTER TABLE messages ALTER COLUMN customer_id DROP NOT NULL"
_DEMAND: Final = "ALTER TABLE messages ALTER COLUMN customer_id SET NOT NULL"


def _sql(*statements: str) -> Callable[[World], None]:
    """
    Somebody runs that.
    """

    def run(scene: World) -> None:
        for statement in statements:
            scene.execute(statement)

    return run


def _breaking(subject: str, *statements: str) -> Callable[[World], list[str]]:
    """
    Somebody runs that, which breaks one thing.
    """

    def plant(scene: World) -> list[str]:
        _sql(*statements)(scene)
        return [f"schema/{subject}"]

    return plant


def _function(name: str, body: str) -> str:
    return f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"


def _for_this_database(setting: str) -> str:
    return f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {setting}', current_database()); END $$"


def _hurried(scene: World) -> list[str]:
    """
    Statements are cancelled soon, whoever runs them.
    """
    scene.execute(_for_this_database("SET statement_timeout = ''500ms''"))
    role = scene.rows(
        "SELECT coalesce((SELECT rolname FROM pg_roles WHERE rolname = 'service_role'), current_user) AS name"
    )
    return [f"schema/{role[0]['name']}.statement_timeout"]


_STRUCTURE: Final = (
    Incident(
        finding="schema-table-missing",
        title="a table is called otherwise than the application thinks",
        look_alike=_sql("DROP TABLE jobs"),
        plant=_breaking("customers", "ALTER TABLE customers RENAME TO clients"),
        remedy=_sql("ALTER TABLE clients RENAME TO customers"),
        also=_BLINDED,
    ),
    Incident(
        finding="schema-column-missing",
        title="a migration that adds a column was not run",
        look_alike=_sql("ALTER TABLE messages DROP COLUMN read_at"),
        plant=_breaking("pending_bookings.token", "ALTER TABLE pending_bookings RENAME COLUMN token TO secret"),
        remedy=_sql("ALTER TABLE pending_bookings RENAME COLUMN secret TO token"),
        also=_BLINDED | {"schema-update-blocked", "schema-column-unfilled"},
    ),
    Incident(
        finding="schema-column-generated",
        title="the metadata is computed by the database",
        cause="default-generated-or-wrong-type",
        look_alike=_sql("ALTER TABLE pending_bookings ADD COLUMN label text GENERATED ALWAYS AS (upper(token)) STORED"),
        plant=_breaking(
            "pending_bookings.metadata",
            "ALTER TABLE pending_bookings DROP COLUMN metadata",
            "ALTER TABLE pending_bookings ADD COLUMN metadata jsonb GENERATED ALWAYS AS ('{}') STORED",
        ),
        remedy=_sql(
            "ALTER TABLE pending_bookings ALTER COLUMN metadata DROP EXPRESSION",
            "ALTER TABLE pending_bookings ALTER COLUMN metadata SET DEFAULT '{}'",
        ),
    ),
    Incident(
        finding="schema-homonym",
        title="another schema has a table of the same name",
        cause="wrong-supabase-project-or-schema",
        look_alike=_sql("CREATE SCHEMA realtime", "CREATE TABLE realtime.messages ()"),
        plant=_breaking("old.messages", "CREATE SCHEMA old", "CREATE TABLE old.messages ()"),
        remedy=_sql("ALTER TABLE old.messages RENAME TO messages_of_2024"),
    ),
)

_CONSTRAINTS: Final = (
    Incident(
        finding="schema-customer-id-nullable",
        title="messages may belong to nobody",
        look_alike=_sql("ALTER TABLE messages ADD CHECK (customer_id IS NOT NULL) NOT VALID", _FREE),
        plant=_breaking("messages.customer_id", "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_check"),
        remedy=_sql(
            "ALTER TABLE messages ADD CONSTRAINT messages_customer_id_present CHECK (customer_id IS NOT NULL) NOT VALID",
            "ALTER TABLE messages VALIDATE CONSTRAINT messages_customer_id_present",
            _DEMAND,
            "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_present",
        ),
    ),
    Incident(
        finding="schema-customer-id-required",
        title="a message needs its customer",
        before=_sql(_FREE),
        look_alike=_sql("ALTER TABLE messages ADD CHECK (customer_id IS NOT NULL OR direction = 'inbound')"),
        plant=_breaking("messages.customer_id", _DEMAND),
        remedy=_sql(_FREE),
    ),
    Incident(
        finding="schema-sid-not-unique",
        title="nothing stops a second row for one SID",
        before=_sql("CREATE UNIQUE INDEX first_sid ON messages (message_sid)"),
        look_alike=_sql(
            "CREATE UNIQUE INDEX second_sid ON messages (message_sid) WHERE message_sid IS NOT NULL",
            "DROP INDEX first_sid",
        ),
        plant=_breaking(
            "messages.message_sid", "DROP INDEX second_sid", "CREATE UNIQUE INDEX ON messages (message_sid, direction)"
        ),
        remedy=_sql("CREATE UNIQUE INDEX ON messages (message_sid)"),
    ),
    Incident(
        finding="schema-foreign-key-cascades",
        title="a customer takes its messages along",
        cause="customer-merged-or-deleted",
        look_alike=_sql(
            "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey, ADD CONSTRAINT owner FOREIGN KEY"
            " (customer_id) REFERENCES customers (id) ON UPDATE CASCADE ON DELETE RESTRICT"
        ),
        plant=_breaking(
            "messages.customer_id",
            "ALTER TABLE messages DROP CONSTRAINT owner, ADD CONSTRAINT owner FOREIGN KEY"
            " (customer_id) REFERENCES customers (id) ON DELETE CASCADE",
        ),
        remedy=_sql(
            "ALTER TABLE messages DROP CONSTRAINT owner, ADD CONSTRAINT owner FOREIGN KEY"
            " (customer_id) REFERENCES customers (id) ON DELETE RESTRICT NOT VALID",
            "ALTER TABLE messages VALIDATE CONSTRAINT owner",
        ),
    ),
    Incident(
        finding="schema-foreign-key-missing",
        title="a message may name a customer that is not there",
        look_alike=_sql(
            "ALTER TABLE messages DROP CONSTRAINT messages_customer_id_fkey, ADD CONSTRAINT owner FOREIGN KEY"
            " (customer_id) REFERENCES customers (id) NOT VALID"
        ),
        plant=_breaking("messages.customer_id", "ALTER TABLE messages DROP CONSTRAINT owner"),
        remedy=_sql("ALTER TABLE messages ADD FOREIGN KEY (customer_id) REFERENCES customers (id)"),
    ),
    Incident(
        finding="schema-status-not-accepted",
        title="a constraint refuses words of Twilio's",
        cause="check-or-enum-violation",
        look_alike=_sql("ALTER TABLE messages ADD CHECK (message_type IN ('sms', 'mms'))"),
        plant=_breaking(
            "messages.status",
            "ALTER TABLE messages ADD CONSTRAINT words CHECK (status IN ('queued', 'sent', 'delivered', 'failed'))",
        ),
        remedy=_sql(
            "ALTER TABLE messages DROP CONSTRAINT words, ADD CONSTRAINT words CHECK (status IN"
            " ('queued', 'sent', 'delivered', 'failed', 'accepted', 'scheduled', 'receiving', 'sending', 'undelivered',"
            " 'canceled', 'received', 'read')) NOT VALID",
            "ALTER TABLE messages VALIDATE CONSTRAINT words",
        ),
    ),
    Incident(
        finding="schema-metadata-not-jsonb",
        title="the metadata is plain JSON text",
        cause="default-generated-or-wrong-type",
        look_alike=_sql("ALTER TABLE jobs ALTER COLUMN payload TYPE json"),
        plant=_breaking(
            "pending_bookings.metadata",
            "ALTER TABLE pending_bookings ALTER COLUMN metadata TYPE json",
        ),
        remedy=_sql("ALTER TABLE pending_bookings ALTER COLUMN metadata TYPE jsonb USING CAST(metadata AS jsonb)"),
    ),
    Incident(
        finding="schema-metadata-without-default",
        title="a new booking's metadata is null",
        before=_sql("ALTER TABLE pending_bookings ALTER COLUMN metadata DROP NOT NULL"),
        look_alike=_sql("""ALTER TABLE pending_bookings ALTER COLUMN metadata SET DEFAULT '{"source": "web"}'"""),
        plant=_breaking("pending_bookings.metadata", "ALTER TABLE pending_bookings ALTER COLUMN metadata DROP DEFAULT"),
        remedy=_sql("ALTER TABLE pending_bookings ALTER COLUMN metadata SET DEFAULT '{}'"),
    ),
    Incident(
        finding="schema-value-refused",
        title="the column for the SID is two characters short",
        look_alike=_sql("ALTER TABLE messages ALTER COLUMN message_sid TYPE varchar(34)"),
        plant=_breaking("messages.message_sid", "ALTER TABLE messages ALTER COLUMN message_sid TYPE varchar(32)"),
        remedy=_sql("ALTER TABLE messages ALTER COLUMN message_sid TYPE text"),
    ),
    Incident(
        finding="schema-column-unfilled",
        title="a tenant has to be named that nobody knows of",
        look_alike=_sql("ALTER TABLE messages ADD COLUMN tenant text NOT NULL DEFAULT 'first'"),
        plant=_breaking("messages.tenant", "ALTER TABLE messages ALTER COLUMN tenant DROP DEFAULT"),
        remedy=_sql("ALTER TABLE messages ALTER COLUMN tenant SET DEFAULT 'first'"),
    ),
    Incident(
        finding="schema-timestamp-without-zone",
        title="the expiry is kept without its zone",
        cause="clock-skew-timezone",
        look_alike=_sql("ALTER TABLE pending_bookings ALTER COLUMN confirmed_at TYPE timestamptz(0)"),
        plant=_breaking(
            "pending_bookings.expires_at", "ALTER TABLE pending_bookings ALTER COLUMN expires_at TYPE timestamp"
        ),
        remedy=_sql(
            "ALTER TABLE pending_bookings ALTER COLUMN expires_at TYPE timestamptz USING expires_at AT TIME ZONE 'UTC'"
        ),
    ),
)

_ACCESS: Final = (
    Incident(
        finding="schema-update-blocked",
        title="a rule swallows every update of pending bookings",
        cause="rule-or-view-swallows-update",
        look_alike=_sql("CREATE RULE noted AS ON UPDATE TO pending_bookings DO ALSO NOTIFY bookings"),
        plant=_breaking(
            "pending_bookings.metadata", "CREATE RULE frozen AS ON UPDATE TO pending_bookings DO INSTEAD NOTHING"
        ),
        remedy=_sql("DROP RULE frozen ON pending_bookings"),
    ),
    Incident(
        finding="schema-insert-blocked",
        title="a rule swallows every new message",
        cause="rule-or-view-swallows-update",
        look_alike=_sql("CREATE RULE kept AS ON DELETE TO messages DO INSTEAD NOTHING"),
        plant=_breaking("messages", "CREATE RULE archived AS ON INSERT TO messages DO INSTEAD NOTHING"),
        remedy=_sql("DROP RULE archived ON messages"),
    ),
    Incident(
        finding="schema-trigger-interferes",
        title="a trigger copied from another table resets the metadata",
        cause="trigger-resets-metadata",
        look_alike=_sql(
            _function("stamp", "NEW.updated_at = now(); RETURN NEW;"),
            "CREATE TRIGGER stamp BEFORE UPDATE ON pending_bookings FOR EACH ROW EXECUTE FUNCTION stamp()",
        ),
        plant=_breaking(
            "pending_bookings.metadata",
            _function("reset_metadata", "NEW.metadata = '{}'; RETURN NEW;"),
            "CREATE TRIGGER reset BEFORE UPDATE ON pending_bookings FOR EACH ROW EXECUTE FUNCTION reset_metadata()",
        ),
        remedy=_sql("ALTER TABLE pending_bookings DISABLE TRIGGER reset"),
    ),
    Incident(
        finding="schema-trigger-interferes",
        title="a trigger that was made for afterwards drops new messages",
        cause="trigger-resets-metadata",
        look_alike=_sql(
            _function("told", "PERFORM pg_notify('messages', CAST(NEW.id AS text)); RETURN NULL;"),
            "CREATE TRIGGER told AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION told()",
        ),
        plant=_breaking(
            "messages",
            "DROP TRIGGER told ON messages",
            "CREATE TRIGGER told BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION told()",
        ),
        remedy=_sql(_function("told", "PERFORM pg_notify('messages', CAST(NEW.id AS text)); RETURN NEW;")),
    ),
    Incident(
        finding="schema-role-setting",
        title="statements are cancelled after half a second",
        cause="statement-timeout",
        look_alike=_sql(_for_this_database("SET statement_timeout = ''8s''")),
        plant=_hurried,
        remedy=_sql(_for_this_database("RESET statement_timeout")),
    ),
)

INCIDENTS: Final = (*_STRUCTURE, *_CONSTRAINTS, *_ACCESS)
