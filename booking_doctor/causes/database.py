"""
Causes that sit in the database and raise no error: what it changes on the way, and what it lets through in silence.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, LOST, STRONG, WEAK, Cause, Clue, Layer

_NOT_COPIED: Final = ("message-unrecorded", "booking-sms-not-recorded")
"""A text is in no row."""

CAUSES: Final = (
    Cause(
        id="metadata-json-string",
        layer=Layer.DATABASE,
        page="""
        The metadata is a JSON string instead of an object. Everything is there, encoded once too often.

        ## How it works

        The code calls `JSON.stringify` and hands the result to a `jsonb` column, which takes it as a string. `metadata ->
        'initial_sms'` is null then, though the text can be read with the eye.

        ## What shows it

        `jsonb_typeof(metadata)` says `string`. Nothing else looks like this.

        ## What it is not

        No text is lost: unlike an empty object, a string can be unwrapped. A column of type `text` is another fault
        (`default-generated-or-wrong-type`).

        ## How to repair

        Hand the object over as it is. Unwrap what is stored with `(metadata #>> '{}')::jsonb`, then keep it so:
        `CHECK (jsonb_typeof(metadata) = 'object')`.
        """,
        explains=("metadata-encoded-twice", "booking-metadata-incomplete", *_NOT_COPIED),
        needs=(("metadata-encoded-twice",),),
        proofs=(("metadata-encoded-twice",),),
        remedy="Stop encoding the object, then run: UPDATE pending_bookings SET metadata = (metadata #>> '{}')::jsonb"
        " WHERE jsonb_typeof(metadata) = 'string';",
    ),
    Cause(
        id="rls-update-zero-rows",
        layer=Layer.DATABASE,
        page="""
        Row level security lets the UPDATE of the metadata match no row, and calls that no error. The booking stays empty.

        ## How it works

        Without a permissive policy for UPDATE the default is to deny: 0 rows, no error, nothing returned. The same
        happens with a policy for UPDATE and none for SELECT, because the statement reads the token. The INSERT has a
        policy of its own, so the row is there. The text was sent by then.

        ## What shows it

        The catalog: no policy that the application's role falls under. EXPLAIN as that role filters by `false`. Updates
        are carried out and counted for no row.

        ## What it is not

        A token that does not match leaves the same counters; there the policies would let the row through. A missing
        privilege is an error, not silence.

        ## How to repair

        Create the policies of the finding `schema-update-blocked`, or use the service key where it was meant. In the
        code, ask for the row back (`.select().single()`), so that no row becomes an error.
        """,
        explains=LOST,
        signs=("update-filtered",),
        needs=(("update-filtered", "update-filtered-for-us", "update-filtered-perhaps"),),
        proofs=(("update-filtered", "bookings-all-bad"),),
        clues=(
            Clue("update-filtered", STRONG),
            Clue("update-filtered-for-us", STRONG),
            Clue("update-filtered-perhaps", STRONG),
            Clue("update-matched-nothing", FAIR, -FAIR),
            Clue("texts-of-bad-sent", FAIR, -FAIR),
            Clue("bookings-all-bad", WEAK, -WEAK),
            Clue("updates-never-came", WEAK, -WEAK),
        ),
        remedy="Create the missing policies: booking-doctor check-schema names them.",
        remedies=("schema-update-blocked",),
    ),
    Cause(
        id="trigger-resets-metadata",
        layer=Layer.DATABASE,
        page="""
        A trigger changes or drops what the application writes. The statement succeeds, and something else is stored.

        ## How it works

        A trigger sets `NEW.metadata`, returns OLD or NULL, or an AFTER trigger writes the row again. RETURNING may
        even show the value that is gone a moment later. Most such triggers were copied from another table.

        ## What shows it

        The trigger's source. The row was written (its counters move), and what it holds is not what was sent. EXPLAIN
        does not show triggers.

        ## What it is not

        Code that sends an empty value leaves the same rows; there is no trigger then.

        ## How to repair

        Mend the function so that it returns NEW with these columns as they came, or disable the trigger.
        """,
        explains=(*LOST, "booking-sms-not-recorded"),
        signs=("trigger-changes-metadata", "trigger-drops-messages"),
        needs=(
            (
                *("trigger-changes-metadata", "trigger-drops-messages", "trigger-may-change-metadata"),
                "trigger-may-drop-messages",
            ),
        ),
        proofs=(
            ("trigger-changes-metadata", "bookings-all-bad"),
            ("trigger-drops-messages", "booking-sms-not-recorded"),
        ),
        clues=(
            Clue("trigger-changes-metadata", STRONG),
            Clue("trigger-drops-messages", STRONG),
            Clue("trigger-may-change-metadata", STRONG),
            Clue("view-written-by-trigger", -FAIR),
            Clue("trigger-may-drop-messages", STRONG),
            Clue("ids-burnt", WEAK),
            Clue("updates-came-once", FAIR),
            Clue("texts-of-bad-sent", WEAK, -WEAK),
        ),
        remedy="Mend the trigger's function: booking-doctor check-schema names it.",
        remedies=("schema-trigger-interferes",),
    ),
    Cause(
        id="default-generated-or-wrong-type",
        layer=Layer.DATABASE,
        page="""
        The metadata column is not what the code takes it for: generated, plain JSON, or text.

        ## How it works

        A generated column refuses every write (428C9). `json` has no `||` and no `?`. Into `text` anything can be
        written, `[object Object]` too. Without NOT NULL and a default, `metadata || x` is null where it was null.

        ## What shows it

        The column's type in the catalog; rows that hold null or no JSON.

        ## What it is not

        A trigger raises no error. Here there is one, unless the type takes everything.

        ## How to repair

        Make it `jsonb NOT NULL DEFAULT '{}'`.
        """,
        explains=("logged-generated", "booking-metadata-empty", "booking-metadata-incomplete", "message-unrecorded"),
        signs=("schema-column-generated", "schema-metadata-not-jsonb"),
        needs=(
            (
                *("metadata-not-writable", "schema-metadata-not-jsonb", "metadata-unreadable", "metadata-null"),
                *("logged-generated", "schema-column-generated"),
            ),
        ),
        proofs=(
            ("metadata-not-writable", "bookings-all-bad"),
            ("logged-generated-each-time",),
            ("metadata-unreadable", "schema-metadata-not-jsonb"),
        ),
        clues=(
            Clue("logged-generated", STRONG + FAIR),
            Clue("metadata-not-writable", STRONG),
            Clue("schema-metadata-not-jsonb", STRONG),
            Clue("metadata-unreadable", FAIR),
            Clue("metadata-may-be-null", FAIR),
            Clue("metadata-null", STRONG),
            Clue("function-sets-json", -FAIR),
        ),
        remedy="Make the column jsonb NOT NULL DEFAULT '{}': booking-doctor check-schema says how.",
        remedies=("schema-column-generated", "schema-metadata-not-jsonb"),
    ),
    Cause(
        id="json-path-no-op",
        layer=Layer.DATABASE,
        page="""
        A function writes below a parent that is not there. `jsonb_set` then returns what it got, and says nothing.

        ## How it works

        `jsonb_set('{}', '{initial_sms,message_sid}', …)` changes nothing, because `initial_sms` is missing and only
        the last step of a path is created. A null argument makes the whole value null; `||` with a string makes an array.

        ## What shows it

        The function's source. The rows were written, and hold `{}`, null or an array.

        ## What it is not

        An empty payload of the application: then no function of the database is involved.

        ## How to repair

        `metadata = coalesce(metadata, '{}') || jsonb_build_object('initial_sms', …)`.
        """,
        explains=(*LOST, "booking-metadata-incomplete"),
        needs=(("function-sets-json", "function-sets-nested-path"), ("bookings-bad",)),
        proofs=(("function-sets-nested-path", "updates-came-once", "texts-of-bad-sent"),),
        clues=(
            Clue("function-sets-nested-path", STRONG),
            Clue("function-sets-json", FAIR),
            Clue("updates-came-once", FAIR),
            Clue("metadata-null", FAIR),
            Clue("texts-of-bad-sent", WEAK, -FAIR),
        ),
        remedy="In the function, write: metadata = coalesce(metadata, '{}') || jsonb_build_object('initial_sms', …);",
    ),
    Cause(
        id="scheduled-cleaner",
        layer=Layer.DATABASE,
        page="""
        Something that runs by the clock empties or deletes pending bookings before confirm comes.

        ## How it works

        A job of pg_cron, a cron of the hosting platform or a worker anonymises or tidies up, with a condition that
        takes too much: `metadata = '{}'` for everything older than an hour.

        ## What shows it

        The job's command. All bookings beyond some age are empty and all younger ones are full, or all were written
        again at the same age; the edge moves with the clock.

        ## What it is not

        A deployment: that has an edge in time which stays where it is.

        ## How to repair

        Narrow the job's condition to what is closed, and let it archive first.
        """,
        explains=(*LOST, "message-orphaned"),
        signs=("cron-empties-bookings",),
        needs=(
            ("bookings-bad", "cron-empties-bookings", "bookings-deleted"),
            (
                *("cron-empties-bookings", "cron-deletes-bookings", "function-empties-bookings"),
                *("bookings-old-ones-bad", "bookings-emptied-at-one-age"),
            ),
        ),
        proofs=(
            ("cron-empties-bookings", "bookings-old-ones-bad"),
            ("cron-empties-bookings", "bookings-emptied-at-one-age"),
            ("function-empties-bookings", "bookings-emptied-at-one-age"),
            ("bookings-emptied-at-one-age", "bookings-old-ones-bad"),
            ("cron-deletes-bookings", "bookings-deleted", "texts-mostly-orphaned"),
        ),
        clues=(
            Clue("bookings-emptied-at-one-age", STRONG),
            Clue("bookings-old-ones-bad", FAIR, -WEAK),
            Clue("function-empties-bookings", STRONG),
            Clue("cron-empties-bookings", FAIR),
            Clue("cron-deletes-bookings", WEAK),
            Clue("bookings-deleted", WEAK),
            Clue("texts-mostly-orphaned", WEAK),
            Clue("ids-burnt-per-booking", -FAIR),
        ),
        remedy="Narrow what the job takes to closed bookings; until then: SELECT cron.unschedule(JOBID);",
    ),
    Cause(
        id="rule-or-view-swallows-update",
        layer=Layer.DATABASE,
        page="""
        A rule does nothing in place of the write, or what looks like a table is a view that takes none.

        ## How it works

        `DO INSTEAD NOTHING` answers an UPDATE with 0 rows and no error; where the row is asked back it is error 0A000. An
        INSTEAD OF trigger of a view may pass over the metadata.

        ## What shows it

        The rule or the view in the catalog.

        ## What it is not

        Row level security: EXPLAIN shows a filter there, and here no plan for the table at all.

        ## How to repair

        Drop the rule, or lead the application to the table behind the view.
        """,
        explains=(*LOST, "booking-sms-not-recorded"),
        signs=("update-swallowed", "insert-swallowed"),
        needs=(("update-swallowed", "insert-swallowed", "update-swallowed-perhaps", "view-written-by-trigger"),),
        proofs=(("update-swallowed", "bookings-all-bad"), ("insert-swallowed", "booking-sms-not-recorded")),
        clues=(
            Clue("update-swallowed", STRONG),
            Clue("insert-swallowed", STRONG),
            Clue("update-swallowed-perhaps", STRONG),
            Clue("view-written-by-trigger", STRONG),
            Clue("trigger-may-change-metadata", WEAK),
            Clue("texts-of-bad-sent", WEAK, -WEAK),
            Clue("bookings-all-bad", FAIR, -FAIR),
        ),
        remedy="Drop the rule: booking-doctor check-schema has the statement.",
        remedies=("schema-update-blocked", "schema-insert-blocked"),
    ),
)
