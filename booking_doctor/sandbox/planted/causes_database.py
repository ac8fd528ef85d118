"""
Causes that sit in the database, planted.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import (
    alternating,
    confirmed,
    each,
    healthy,
    initiated,
    noted,
    recorded_too_early,
    scheduled,
    settled,
    stored,
)

_HOUR: Final = timedelta(hours=1)
_FILL: Final = "UPDATE pending_bookings SET metadata = CAST(:metadata AS jsonb) WHERE token = (SELECT token FROM pending_bookings WHERE CAST(id AS text) = :id)"


def _sms(sid: str, phone: str) -> str:
    return json.dumps({"initial_sms": {"message_sid": sid, "to_number": phone, "state": "sent"}})


def _tries_to_store(scene: World, age: timedelta) -> None:
    """
    A booking whose text is sent and whose metadata is written, as far as the database lets it.
    """
    booked = initiated(scene, age)
    scene.execute(_FILL, metadata=_sms(booked.message.sid if booked.message else "", booked.phone), id=booked.id)


def _role(scene: World, *grants: str) -> str:
    """
    The application's role; belongs to this world alone, though roles are the whole server's.
    """
    name = f"app_{scene.url.rpartition('/')[2]}"
    for statement in (f'CREATE ROLE "{name}" NOLOGIN', *grants):
        scene.execute(statement.replace("ROLE_", f'"{name}"'))
    scene.settings["application_role"] = name
    return name


# --- stories ---------------------------------------------------------------------------------------------------------


def _encoded_twice(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        booked = initiated(scene, age)
        told = json.dumps(_sms(booked.message.sid if booked.message else "", booked.phone))
        scene.execute(
            "UPDATE pending_bookings SET metadata = CAST(:told AS jsonb) WHERE CAST(id AS text) = :id",
            told=told,
            id=booked.id,
        )


_MAY_RECORD: Final = (
    "GRANT ALL ON messages, customers, bookings TO ROLE_",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ROLE_",
)
_READS_AND_INSERTS: Final = (
    "GRANT ALL ON pending_bookings TO ROLE_",
    "ALTER TABLE pending_bookings ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY reads ON pending_bookings FOR SELECT TO ROLE_ USING (true)",
    "CREATE POLICY makes ON pending_bookings FOR INSERT TO ROLE_ WITH CHECK (true)",
)


def _no_policy_for_updates(scene: World) -> None:
    healthy(scene)
    role = _role(scene, *_READS_AND_INSERTS, *_MAY_RECORD)
    for age in each(4, _HOUR):
        booked = initiated(scene, age)
        scene.execute_as(
            role, _FILL, metadata=_sms(booked.message.sid if booked.message else "", booked.phone), id=booked.id
        )


def _no_policy_for_reading(scene: World) -> None:
    """
    There is a policy for UPDATE, but the statement reads the token.
    """
    role = _role(
        scene,
        "GRANT ALL ON pending_bookings TO ROLE_",
        "ALTER TABLE pending_bookings ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY changes ON pending_bookings FOR UPDATE TO ROLE_ USING (true) WITH CHECK (true)",
        *_MAY_RECORD,
    )
    for age in each(4, _HOUR):
        booked = initiated(scene, age)
        scene.execute_as(
            role, _FILL, metadata=_sms(booked.message.sid if booked.message else "", booked.phone), id=booked.id
        )


def _no_policy_for_messages(scene: World) -> None:
    role = _role(
        scene,
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO ROLE_",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ROLE_",
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY reads ON messages FOR SELECT TO ROLE_ USING (true)",
    )
    for age in each(4, _HOUR):
        customer = confirmed(scene, stored(scene, initiated(scene, age)), recorded=False)
        insert = "INSERT INTO messages (customer_id, direction) VALUES (CAST(:customer AS uuid), 'outbound')"
        scene.refused(insert, role=role, customer=customer)


def _granted_in_part(scene: World) -> None:
    healthy(scene)
    role = _role(
        scene, "GRANT SELECT, INSERT ON pending_bookings TO ROLE_", "GRANT UPDATE (status) ON pending_bookings TO ROLE_"
    )
    for age in each(4, _HOUR):
        booked = initiated(scene, age)
        scene.refused(_FILL, role=role, metadata="{}", id=booked.id)


def _trigger(scene: World, timing: str, body: str) -> None:
    scene.execute(f"CREATE FUNCTION copied() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    scene.execute(f"CREATE TRIGGER copied {timing} ON pending_bookings FOR EACH ROW EXECUTE FUNCTION copied()")


def _trigger_resets(scene: World) -> None:
    healthy(scene)
    _trigger(scene, "BEFORE UPDATE", "NEW.metadata := '{}'; RETURN NEW;")
    for age in each(4, _HOUR):
        _tries_to_store(scene, age)


def _trigger_returns_old(scene: World) -> None:
    _trigger(scene, "BEFORE UPDATE OF metadata", "RETURN OLD;")
    for age in each(4, _HOUR):
        _tries_to_store(scene, age)


def _trigger_writes_again(scene: World) -> None:
    body = "IF NEW.metadata <> '{}' THEN UPDATE pending_bookings SET metadata = '{}' WHERE id = NEW.id; END IF; RETURN NULL;"
    _trigger(scene, "AFTER UPDATE", body)
    for age in each(4, _HOUR):
        _tries_to_store(scene, age)


def _computed(scene: World) -> None:
    scene.execute("ALTER TABLE pending_bookings DROP COLUMN metadata")
    scene.execute("ALTER TABLE pending_bookings ADD COLUMN metadata jsonb GENERATED ALWAYS AS ('{}') STORED")
    for age in each(4, _HOUR):
        booked = initiated(scene, age)
        scene.refused(_FILL, metadata="{}", id=booked.id)


def _text_for_json(scene: World) -> None:
    healthy(scene)
    scene.execute("ALTER TABLE pending_bookings ALTER COLUMN metadata DROP DEFAULT")
    scene.execute("ALTER TABLE pending_bookings ALTER COLUMN metadata TYPE text")
    scene.execute("ALTER TABLE pending_bookings ALTER COLUMN metadata SET DEFAULT '{}'")
    for age in each(4, _HOUR):
        booked = initiated(scene, age)
        scene.execute(
            "UPDATE pending_bookings SET metadata = '[object Object]' WHERE CAST(id AS text) = :id", id=booked.id
        )


def _customer_comes_later(scene: World) -> None:
    """
    The new code stores the metadata; a webhook records each text at once, before there is a customer.
    """
    healthy(scene)
    for age in each(5, _HOUR):
        booked = stored(scene, initiated(scene, age))
        recorded_too_early(scene)
        confirmed(scene, booked, recorded=False)
    noted(
        scene,
        "sms.recorded",
        'null value in column "customer_id" of relation "messages" violates not-null constraint (23502)',
    )
    settled(scene)


def _customer_comes_later_unnoted(scene: World) -> None:
    healthy(scene)
    for age in each(5, _HOUR):
        booked = stored(scene, initiated(scene, age))
        recorded_too_early(scene)
        confirmed(scene, booked, recorded=False)


def _customer_not_committed(scene: World) -> None:
    for age in each(5, _HOUR):
        confirmed(scene, stored(scene, initiated(scene, age)), recorded=False)
        scene.refused("INSERT INTO messages (customer_id, direction) VALUES (gen_random_uuid(), 'outbound')")
    noted(
        scene,
        "booking.confirmed",
        'insert or update on table "messages" violates foreign key constraint "messages_customer_id_fkey"',
    )


def _customer_not_committed_unnoted(scene: World) -> None:
    healthy(scene)
    for age in each(5, _HOUR):
        confirmed(scene, stored(scene, initiated(scene, age)), recorded=False)
        scene.refused("INSERT INTO messages (customer_id, direction) VALUES (gen_random_uuid(), 'outbound')")
    settled(scene)


def _word_refused(scene: World) -> None:
    healthy(scene)
    scene.execute("ALTER TABLE messages ADD CHECK (status IN ('queued', 'sent', 'delivered', 'failed')) NOT VALID")
    for age in each(5, _HOUR):
        customer = confirmed(scene, stored(scene, initiated(scene, age)), recorded=False)
        insert = "INSERT INTO messages (customer_id, direction, status) VALUES (CAST(:customer AS uuid), 'outbound', 'accepted')"
        scene.refused(insert, customer=customer)


def _path_without_parent(scene: World) -> None:
    healthy(scene)
    scene.execute(
        "CREATE FUNCTION remember_sms(booking text, sid text) RETURNS void LANGUAGE sql AS $$ UPDATE pending_bookings"
        " SET metadata = jsonb_set(metadata, '{initial_sms,message_sid}', to_jsonb(sid)) WHERE CAST(id AS text) = booking $$"
    )
    for age in each(5, _HOUR):
        booked = initiated(scene, age)
        scene.execute(
            "SELECT remember_sms(:id, :sid)", id=booked.id, sid=booked.message.sid if booked.message else None
        )
    settled(scene)


def _null_for_all(scene: World) -> None:
    scene.execute("ALTER TABLE pending_bookings ALTER COLUMN metadata DROP NOT NULL")
    scene.execute(
        "CREATE FUNCTION remember_sms(booking text, sid text) RETURNS void LANGUAGE sql AS $$ UPDATE pending_bookings"
        " SET metadata = jsonb_set(metadata, '{initial_sms}', to_jsonb(sid)) WHERE CAST(id AS text) = booking $$"
    )
    for age in each(5, _HOUR):
        booked = initiated(scene, age)
        scene.execute("SELECT remember_sms(:id, CAST(NULL AS text))", id=booked.id)
    settled(scene)


def _cancelled_in_a_hurry(scene: World) -> None:
    scene.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''300ms''', current_database()); END $$"
    )
    alternating(scene, lambda age: initiated(scene, age))
    noted(scene, "booking.initiated", "canceling statement due to statement timeout (57014)")


def _pooled(scene: World) -> None:
    scene.variables["DATABASE_URL"] = f"{scene.url}?pgbouncer=true"
    alternating(scene, lambda age: initiated(scene, age))
    noted(scene, "booking.initiated", 'prepared statement "s1" does not exist (26000)')


def _read_only(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        initiated(scene, age)
    scene.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$"
    )


def _emptied_by_the_clock(scene: World) -> None:
    for age in each(4, 3 * _HOUR):
        stored(scene, initiated(scene, age))
    scheduled(scene, "UPDATE pending_bookings SET metadata = '{}' WHERE created_at < now() - interval '2 hours'")
    scene.execute("UPDATE pending_bookings SET metadata = '{}', updated_at = created_at + interval '2 hours'")
    for age in each(4, _HOUR / 4, _HOUR / 4):
        stored(scene, initiated(scene, age))


def _unknown_to_the_api(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        initiated(scene, age)
    noted(
        scene,
        "booking.initiated",
        "PGRST204: Could not find the 'metadata' column of 'pending_bookings' in the schema cache",
    )


def _rule_does_nothing(scene: World) -> None:
    healthy(scene)
    scene.execute("CREATE RULE frozen AS ON UPDATE TO pending_bookings DO INSTEAD NOTHING")
    for age in each(4, _HOUR):
        _tries_to_store(scene, age)


EPISODES: Final = (
    Episode(cause="metadata-json-string", title="the metadata is encoded twice", happen=_encoded_twice),
    Episode(cause="rls-update-zero-rows", title="no policy lets the application update", happen=_no_policy_for_updates),
    Episode(cause="rls-update-zero-rows", title="no policy lets it read the token", happen=_no_policy_for_reading),
    Episode(
        cause="rls-messages-insert-denied", title="no policy lets it insert messages", happen=_no_policy_for_messages
    ),
    Episode(cause="missing-privilege", title="it may update the status only", happen=_granted_in_part),
    Episode(cause="trigger-resets-metadata", title="a trigger empties the metadata", happen=_trigger_resets),
    Episode(cause="trigger-resets-metadata", title="a trigger returns the old row", happen=_trigger_returns_old),
    Episode(cause="trigger-resets-metadata", title="a trigger writes the row again", happen=_trigger_writes_again),
    Episode(cause="default-generated-or-wrong-type", title="the metadata is computed", happen=_computed),
    Episode(cause="default-generated-or-wrong-type", title="the metadata is text, and no JSON", happen=_text_for_json),
    Episode(
        cause="not-null-customer-id",
        title="texts are recorded before their customer, as a log says",
        happen=_customer_comes_later,
    ),
    Episode(cause="not-null-customer-id", title="the same, and no log says so", happen=_customer_comes_later_unnoted),
    Episode(
        cause="fk-violation", title="the customer is not committed yet, as a log says", happen=_customer_not_committed
    ),
    Episode(cause="fk-violation", title="the same, and no log says so", happen=_customer_not_committed_unnoted),
    Episode(cause="check-or-enum-violation", title="the status column refuses accepted", happen=_word_refused),
    Episode(cause="json-path-no-op", title="a function writes below a missing parent", happen=_path_without_parent),
    Episode(cause="json-path-no-op", title="a function makes everything null", happen=_null_for_all),
    Episode(cause="statement-timeout", title="statements are cancelled after 300 ms", happen=_cancelled_in_a_hurry),
    Episode(cause="pooler-prepared-statement", title="a prepared statement is in another session", happen=_pooled),
    Episode(cause="read-only-or-replica", title="the database is read-only", happen=_read_only),
    Episode(
        cause="scheduled-cleaner", title="a job empties what is older than two hours", happen=_emptied_by_the_clock
    ),
    Episode(cause="schema-cache-stale", title="PostgREST does not know the column yet", happen=_unknown_to_the_api),
    Episode(cause="rule-or-view-swallows-update", title="a rule does nothing instead", happen=_rule_does_nothing),
)
