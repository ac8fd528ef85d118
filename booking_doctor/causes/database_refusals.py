"""
Causes that sit in the database and raise an error that nobody hears: what it refuses, and why.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, LOST, STRONG, WEAK, Cause, Clue, Layer

_NOT_COPIED: Final = ("message-unrecorded", "booking-sms-not-recorded")
"""A text is in no row."""

CAUSES: Final = (
    Cause(
        id="rls-messages-insert-denied",
        layer=Layer.DATABASE,
        page="""
        Row level security refuses new rows of messages. The texts go out and none is recorded.

        ## How it works

        No policy lets the application's role INSERT, or none lets it SELECT what `RETURNING` asks for: both end with
        SQLSTATE 42501, "new row violates row-level security policy". Code that does not look at the error goes on.

        ## What shows it

        The catalog: no policy for INSERT. Each attempt draws an id that no row gets, and nothing is counted as inserted.

        ## What it is not

        A null customer and a refused status leave the same missing ids; there the policies let the row through. A
        missing privilege draws no id at all.

        ## How to repair

        Create the policy of the finding `schema-insert-blocked`, or use the service key; leave `.select()` out where
        the row is not needed back.
        """,
        explains=("logged-policy", *_NOT_COPIED),
        signs=("insert-filtered",),
        needs=(("insert-filtered", "insert-filtered-for-us", "logged-policy"),),
        proofs=(("insert-filtered", "booking-sms-not-recorded"), ("logged-policy-each-time",)),
        clues=(
            Clue("logged-policy", STRONG + FAIR),
            Clue("insert-filtered", STRONG),
            Clue("insert-filtered-for-us", FAIR),
            Clue("ids-burnt", FAIR, -WEAK),
            Clue("inserts-rolled-back", -WEAK),
        ),
        remedy="Create the missing policy: booking-doctor check-schema names it.",
        remedies=("schema-insert-blocked",),
    ),
    Cause(
        id="missing-privilege",
        layer=Layer.DATABASE,
        page="""
        The application's role lacks a privilege that its write needs. The database says so, and nobody listens.

        ## How it works

        A GRANT on some columns only, none on a new table, none to read the token that the WHERE names, none on the
        schema or the key's sequence: SQLSTATE 42501. BYPASSRLS does not help against a missing GRANT, and Supabase no
        longer grants new tables by itself.

        ## What shows it

        The privileges in the catalog. A refused statement is counted nowhere and draws no id.

        ## What it is not

        Row level security: that is silent for an UPDATE, and draws an id for an INSERT.

        ## How to repair

        Run the GRANT that the finding names, and put it into the migration that makes the table.
        """,
        explains=("logged-privilege", *LOST, "booking-sms-not-recorded"),
        signs=("update-unprivileged", "insert-unprivileged"),
        needs=(("update-unprivileged", "insert-unprivileged", "unprivileged-ourselves", "logged-privilege"),),
        proofs=(
            ("update-unprivileged", "bookings-all-bad"),
            ("insert-unprivileged", "booking-sms-not-recorded"),
            ("logged-privilege-each-time",),
        ),
        clues=(
            Clue("logged-privilege", STRONG + FAIR),
            Clue("update-unprivileged", STRONG),
            Clue("insert-unprivileged", STRONG),
            Clue("unprivileged-ourselves", FAIR),
            Clue("updates-came-once", -FAIR),
            Clue("ids-burnt", -WEAK),
        ),
        remedy="Grant what is missing: booking-doctor check-schema names it.",
        remedies=("schema-update-blocked", "schema-insert-blocked"),
    ),
    Cause(
        id="not-null-customer-id",
        layer=Layer.DATABASE,
        page="""
        A message is inserted before its customer exists, and messages.customer_id takes no null. This is the fault that began it all.

        ## How it works

        The INSERT fails with SQLSTATE 23502. Whether the text had gone out by then depends on which of the two the code
        does first. The failed INSERT has drawn an id all the same.

        ## What shows it

        An id of messages is missing for about every booking, and nothing was counted as inserted; the column is NOT
        NULL; a log names 23502 and `customer_id`.

        ## What it is not

        A refused status, or a policy, leaves the same missing ids; then the constraint or the policy can be seen. A
        foreign key counts the row as inserted and leaves it dead.

        ## How to repair

        Keep the text in the booking's metadata until confirm has a customer. Where that cannot be deployed tonight,
        let the column be null for a while and give such rows their customer later. `booking-doctor backfill` plans what was
        lost.
        """,
        explains=(
            "logged-not-null-customer",
            "log-not-null-violation",
            "ids-burnt",
            *LOST,
            "booking-sms-not-recorded",
        ),
        needs=(("ids-burnt", "logged-not-null-customer", "logged-not-null"),),
        proofs=(("logged-not-null-customer-each-time",),),
        clues=(
            Clue("ids-burnt-per-booking", STRONG),
            Clue("ids-burnt", FAIR),
            Clue("logged-not-null-customer", STRONG + FAIR),
            Clue("logged-not-null", FAIR),
            Clue("schema-customer-id-required", WEAK, -STRONG),
            Clue("logged-check", -STRONG),
            Clue("logged-foreign-key", -STRONG),
            Clue("logged-policy", -STRONG),
            Clue("insert-filtered", -STRONG),
            Clue("trigger-drops-messages", -STRONG),
            Clue("trigger-may-drop-messages", -STRONG),
            Clue("schema-status-not-accepted", -STRONG),
            Clue("inserts-rolled-back", -WEAK),
        ),
        remedy="Record the text only once its customer exists; plan what was lost: booking-doctor backfill",
    ),
    Cause(
        id="fk-violation",
        layer=Layer.DATABASE,
        page="""
        A message names a customer that is not there, or not there yet. Its INSERT is taken back.

        ## How it works

        The customer is inserted in another transaction that has not ended: a foreign key does not wait, it fails at
        once with SQLSTATE 23503. Or the id is simply a wrong one.

        ## What shows it

        The row was inserted and taken back, so it is counted as inserted and no row is there; a log names 23503.

        ## What it is not

        A unique index leaves the same counters (23505). A null customer is not even counted as inserted.

        ## How to repair

        Insert customer and message in one transaction, and use the id that the first statement returns.
        """,
        explains=("logged-foreign-key", "inserts-rolled-back", *_NOT_COPIED),
        needs=(("inserts-rolled-back", "logged-foreign-key"),),
        proofs=(("logged-foreign-key-each-time",),),
        clues=(
            Clue("logged-foreign-key", STRONG + FAIR),
            Clue("inserts-rolled-back", STRONG),
            Clue("schema-sid-not-unique", WEAK),
            Clue("logged-unique", -STRONG),
            Clue("texts-sent-twice", -WEAK),
        ),
        remedy="Insert customer and message in one transaction; plan what was lost: booking-doctor backfill",
    ),
    Cause(
        id="check-or-enum-violation",
        layer=Layer.DATABASE,
        page="""
        A constraint or an enum of messages refuses a word that the application writes. The whole row is refused with it.

        ## How it works

        Twilio has more words than most tables allow: `accepted`, `scheduled`, `undelivered`, `canceled`; its
        directions are `outbound-api`, `outbound-reply`. SQLSTATE 23514, or 22P02 for an enum. Often only texts of a
        messaging service fail, because only those begin as `accepted`.

        ## What shows it

        The constraint's list lacks the word; an id is missing for each attempt; a log names the code.

        ## What it is not

        A null customer leaves the same missing ids, for every text and not for one class of them.

        ## How to repair

        Translate Twilio's words before writing, or widen the constraint with NOT VALID and VALIDATE.
        """,
        explains=("logged-check", "ids-burnt", *_NOT_COPIED),
        signs=("schema-status-not-accepted",),
        needs=(("schema-status-not-accepted", "logged-check", "ids-burnt"),),
        proofs=(("logged-check-each-time",),),
        clues=(
            Clue("logged-check", STRONG + FAIR),
            Clue("schema-status-not-accepted", STRONG),
            Clue("ids-burnt", WEAK),
            Clue("ids-burnt-per-booking", -WEAK),
            Clue("logged-not-null-customer", -STRONG),
            Clue("inserts-rolled-back", -WEAK),
        ),
        remedy="Let the column take Twilio's words: booking-doctor check-schema has the statement.",
        remedies=("schema-status-not-accepted",),
    ),
    Cause(
        id="statement-timeout",
        layer=Layer.DATABASE,
        page="""
        Statements are cancelled before they end. Some writes fail, when the database is busy or somebody holds a lock.

        ## How it works

        A `statement_timeout` or `lock_timeout` of the role or the database cancels them (57014, 55P03). A migration that
        waits for its lock makes everybody queue behind it.

        ## What shows it

        The setting of the role; a log that names the code; failures that come in bunches.

        ## What it is not

        Row level security: that fails for every row, quickly and without an error.

        ## How to repair

        Give the role a time-out that serves, an index on the token, and migrations a `lock_timeout`.
        """,
        explains=("logged-timeout", *LOST),
        signs=("statements-hurried",),
        needs=(("statements-hurried", "logged-timeout"),),
        proofs=(("logged-timeout-each-time",),),
        clues=(
            Clue("logged-timeout", STRONG + FAIR),
            Clue("statements-hurried", STRONG),
            Clue("bookings-some-bad", FAIR),
            Clue("bookings-all-bad", -WEAK),
        ),
        remedy="Give the application's role a statement_timeout that serves: booking-doctor check-schema has the statement.",
        remedies=("schema-role-setting",),
    ),
    Cause(
        id="pooler-prepared-statement",
        layer=Layer.DATABASE,
        page="""
        Prepared statements meet a pooler that gives each transaction another session. Now and then one is not there.

        ## How it works

        A driver prepares a statement by name; the next transaction runs in a session that never heard of it (26000),
        or that has one of that name already (42P05). What `SET` left behind reaches other clients in the same way.

        ## What shows it

        A log that names the codes, and a database URL with port 6543 or `pgbouncer=true`.

        ## What it is not

        Anything, where the application talks to the database only by HTTP (supabase-js).

        ## How to repair

        Turn prepared statements off in the driver, or use the session pooler.
        """,
        explains=("logged-prepared", *LOST),
        needs=(("env-transaction-pooler", "logged-prepared"),),
        proofs=(("logged-prepared-each-time",),),
        clues=(
            Clue("logged-prepared", STRONG + FAIR),
            Clue("env-transaction-pooler", WEAK),
            Clue("bookings-some-bad", FAIR),
            Clue("bookings-all-bad", -FAIR),
        ),
        remedy="Turn prepared statements off in the driver, or use the pooler's session port: booking-doctor check-env names the URL.",
    ),
    Cause(
        id="read-only-or-replica",
        layer=Layer.DATABASE,
        page="""
        The application's writes meet a database that takes none: a replica, or a primary in read-only mode.

        ## How it works

        Every write fails with SQLSTATE 25006. A hosting platform turns a database read-only when its disk is full. A
        replica that lags shows `{}` for a while though the primary has more.

        ## What shows it

        The server says that it is in recovery, or the setting `default_transaction_read_only`; a log names the code.

        ## What it is not

        Row level security: there the INSERT of the booking still works.

        ## How to repair

        Lead the application to the primary; free disk space; `ALTER … RESET default_transaction_read_only`.
        """,
        explains=("logged-read-only", *LOST),
        signs=("database-is-replica", "role-read-only"),
        needs=(("database-is-replica", "role-read-only", "logged-read-only"),),
        proofs=(("role-read-only", "bookings-all-bad"), ("logged-read-only-each-time",)),
        clues=(
            Clue("logged-read-only", STRONG + FAIR),
            Clue("role-read-only", STRONG),
            Clue("database-is-replica", STRONG),
            Clue("updates-came-once", -FAIR),
        ),
        remedy="Lead the application to the primary server, as a role that may write: booking-doctor check-env --live",
        remedies=("schema-role-setting", "env-database-read-only"),
    ),
    Cause(
        id="schema-cache-stale",
        layer=Layer.DATABASE,
        page="""
        PostgREST does not know a column or table that a migration has just made. Every write that names it is refused.

        ## How it works

        It keeps the schema in its memory and answers PGRST204 or PGRST205 until it is told to look again.

        ## What shows it

        A log that names these codes, from the migration on.

        ## What it is not

        A missing column: the database has it, as `booking-doctor check-schema` says.

        ## How to repair

        `NOTIFY pgrst, 'reload schema';` at the end of every migration.
        """,
        explains=("logged-schema-cache", *LOST),
        needs=(("logged-schema-cache",),),
        proofs=(("logged-schema-cache-each-time",),),
        clues=(Clue("logged-schema-cache", STRONG + FAIR), Clue("bookings-all-bad", WEAK)),
        remedy="Run: NOTIFY pgrst, 'reload schema';",
    ),
)
