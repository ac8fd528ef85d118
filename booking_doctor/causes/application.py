"""
Causes that sit in the application's code, seen by what it leaves behind.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, LOST, STRONG, WEAK, Cause, Clue, Layer

_OTHERWISE: Final = (
    Clue("update-filtered", -FAIR),
    Clue("update-unprivileged", -FAIR),
    Clue("update-swallowed", -FAIR),
    Clue("update-filtered-for-us", -FAIR),
    Clue("update-filtered-perhaps", -FAIR),
    Clue("trigger-changes-metadata", -FAIR),
    Clue("trigger-may-change-metadata", -FAIR),
    Clue("metadata-not-writable", -FAIR),
    Clue("metadata-null", -FAIR),
    Clue("cron-empties-bookings", -FAIR),
    Clue("bookings-emptied-at-one-age", -STRONG),
    Clue("update-swallowed-perhaps", -FAIR),
    Clue("view-written-by-trigger", -FAIR),
    Clue("database-is-replica", -FAIR),
    Clue("role-read-only", -FAIR),
    Clue("statements-hurried", -FAIR),
    Clue("texts-sent-twice", -STRONG),
)
"""What the database or a retry does to such a booking; where that is so, the code needs no other fault."""

CAUSES: Final = (
    Cause(
        id="promise-frozen",
        layer=Layer.APPLICATION,
        page="""
        Work that nobody waits for is frozen with the function. Some of it is done much later, some of it never.

        ## How it works

        The text is sent without `await`, and the response goes out. The platform may freeze the instance then; what was
        under way dies, or goes on minutes later with the next request.

        ## What shows it

        Some bookings are bad and some are good, the more the busier it is. Texts come minutes after their booking, or
        for some bookings not at all.

        ## What it is not

        A query that is never awaited fails every time, whatever the load. Old code leaves its own traces.

        ## How to repair

        Await before responding, or hand the work to `after()` or `waitUntil()`; best, write it down as a job first.
        """,
        explains=(*LOST, "booking-metadata-incomplete"),
        needs=(("bookings-bad",),),
        clues=(
            Clue("texts-of-bad-late", STRONG),
            Clue("texts-of-bad-partly", STRONG),
            Clue("probe-answered-too-fast", STRONG),
            Clue("bookings-some-bad", FAIR, -FAIR),
            Clue("bookings-all-bad", -FAIR),
            Clue("texts-of-bad-refused", -WEAK),
            Clue("texts-of-bad-early", -FAIR),
            Clue("tokens-of-bad-odd", -FAIR),
            Clue("metadata-other-keys", -WEAK),
            *_OTHERWISE,
        ),
        remedy=r"Await the sending and the storing before the response: grep -rnE '(sendSms|\.update)\(' src | grep -v await",
    ),
    Cause(
        id="builder-never-awaited",
        layer=Layer.APPLICATION,
        page="""
        The UPDATE is built and never sent. A query of supabase-js does nothing until somebody awaits it.

        ## How it works

        `supabase.from(…).update(…).eq(…)` returns a builder that sends its request when `then` is called. Without
        `await` there is no request, no error and no log line, every time.

        ## What shows it

        Twilio has the texts, every booking is empty, and the database has counted no UPDATE for them.

        ## What it is not

        Row level security and a wrong token: there an UPDATE is carried out. A frozen function fails only at times.

        ## How to repair

        Await it, and let the linter see to it: `@typescript-eslint/no-floating-promises`.
        """,
        explains=LOST,
        needs=(("bookings-bad",),),
        clues=(
            Clue("texts-of-bad-sent", STRONG, -STRONG),
            Clue("bookings-all-bad", FAIR, -FAIR),
            Clue("updates-never-came", FAIR, -FAIR),
            Clue("update-never-carried-out", FAIR, -STRONG),
            Clue("probe-not-kept", WEAK),
            Clue("probe-went-through", -STRONG),
            Clue("deployment-stale", -STRONG),
            Clue("deployment-not-promoted", -STRONG),
            Clue("deployment-not-built", -STRONG),
            Clue("deployment-build-failed", -FAIR),
            Clue("ids-burnt-per-booking", -STRONG),
            Clue("metadata-other-keys", -FAIR),
            Clue("tokens-of-bad-odd", -FAIR),
            Clue("texts-of-bad-early", -FAIR),
            Clue("texts-of-bad-late", -FAIR),
            Clue("function-sets-nested-path", -FAIR),
            *_OTHERWISE,
        ),
        remedy=r"Await the update of pending_bookings and look at its error: grep -rn '\.update(' src | grep -v await",
    ),
    Cause(
        id="errors-swallowed",
        layer=Layer.APPLICATION,
        page="""
        Something fails and nobody hears of it. The answer to the customer is 200 all the same.

        ## How it works

        A `catch` that does nothing, or `const { data } = await supabase…`: the client returns errors and does not throw
        them. Twilio's library throws; one `catch` around both hides the database's half.

        ## What shows it

        Twilio refused texts, ids of messages are missing or inserts were taken back, and no booking and no log says so.

        ## What it is not

        The fault itself. Another cause says what failed; this one says why nobody knew. An UPDATE that matches nothing
        is no error, so there is none to swallow.

        ## How to repair

        Look at `error` after every query, throw it on, and keep a refused text's error in the booking's metadata.
        """,
        explains=("booking-metadata-empty", "message-rejected", "ids-burnt"),
        needs=(("texts-of-bad-refused", "ids-burnt", "inserts-rolled-back"),),
        clues=(Clue("texts-of-bad-refused", FAIR), Clue("ids-burnt", WEAK), Clue("inserts-rolled-back", WEAK)),
        remedy="Look at error after every query and log it; find where it is dropped: grep -rn 'const { data }' src",
    ),
    Cause(
        id="payload-serialises-empty",
        layer=Layer.APPLICATION,
        page="""
        What is stored is not what was meant: a promise, a Map or an undefined field becomes nothing in JSON.

        ## How it works

        `metadata: sendSms()` without `await` stores `{}`; `initial_sms: sendSms()` stores `{"initial_sms": {}}`; fields
        that are undefined vanish, `message_sid` among them. The statement succeeds.

        ## What shows it

        The booking was written once, and holds `{}` or an `initial_sms` without SID; Twilio has the text; no trigger.

        ## What it is not

        A trigger that resets the column: that would be in the catalog. A function of the database with `jsonb_set`.

        ## How to repair

        Await before building the object, and check it (zod) before it is stored.
        """,
        explains=("booking-metadata-incomplete", "message-without-sid", *LOST),
        needs=(("bookings-bad", "message-without-sid"),),
        proofs=(("metadata-hollow", "texts-of-bad-sent"),),
        clues=(
            Clue("metadata-hollow", STRONG),
            Clue("message-without-sid", STRONG),
            Clue("updates-came-once", STRONG, -WEAK),
            Clue("texts-of-bad-sent", WEAK, -FAIR),
            Clue("bookings-all-bad", WEAK, -WEAK),
            Clue("function-sets-json", -FAIR),
            Clue("ids-burnt-per-booking", -STRONG),
            Clue("tokens-of-bad-odd", -FAIR),
            *_OTHERWISE,
        ),
        remedy="Await the sending before the object is built; plan what was lost: booking-doctor backfill",
    ),
    Cause(
        id="token-mismatch",
        layer=Layer.APPLICATION,
        page="""
        The UPDATE asks for a token that is spelt otherwise than the stored one, and matches nothing.

        ## How it works

        A token is lower-cased in a URL, carries a blank or a line end, loses its `+`, or is another form of the same
        letters. `undefined` becomes the text `undefined`. The statement runs and changes 0 rows, which is no error.

        ## What shows it

        The tokens of bad bookings have capital letters, blanks or signs that those of good ones have not; UPDATEs are
        carried out and touch nothing.

        ## What it is not

        Row level security: the counters are the same, and only the policies tell.

        ## How to repair

        Update by the id that the INSERT returned, and ask for the row back (`.select().single()`).
        """,
        explains=LOST,
        needs=(("bookings-bad",),),
        proofs=(("tokens-of-bad-odd", "update-matched-nothing"),),
        clues=(
            Clue("tokens-of-bad-odd", STRONG + WEAK, -STRONG),
            Clue("update-matched-nothing", STRONG, -FAIR),
            Clue("updates-never-came", WEAK, -WEAK),
            Clue("texts-of-bad-sent", WEAK, -FAIR),
            *_OTHERWISE,
        ),
        remedy="Update by the id that the INSERT returned, and ask for the row back: grep -rn \"eq('token'\" src",
    ),
    Cause(
        id="update-before-insert-commits",
        layer=Layer.APPLICATION,
        page="""
        The UPDATE comes before the booking's row is there. It finds nothing, does not wait, and reports success.

        ## How it works

        The INSERT is not awaited, or a queue, a webhook or a replica is faster. Each request to PostgREST is a
        transaction of its own.

        ## What shows it

        Only some bookings are bad; their tokens are ordinary, and their texts went out before their row was made.

        ## What it is not

        A token that does not match fails for the same tokens each time, row level security for all of them.

        ## How to repair

        Await the INSERT with `.select().single()`, or do both in one function of the database.
        """,
        explains=LOST,
        needs=(("bookings-bad",),),
        clues=(
            Clue("texts-of-bad-early", STRONG + WEAK, -STRONG),
            Clue("bookings-some-bad", FAIR, -WEAK),
            Clue("update-matched-nothing", WEAK),
            Clue("tokens-of-bad-odd", -FAIR),
            Clue("times-shifted", -STRONG),
            *_OTHERWISE,
        ),
        remedy=r"Await the INSERT of the booking before anything that updates it: grep -rn '\.insert(' src | grep -v await",
    ),
    Cause(
        id="later-overwrite",
        layer=Layer.APPLICATION,
        page="""
        The metadata was stored, and a later write put something else in its place.

        ## How it works

        A second writer read the metadata before the first had written, and stores its own object whole. Or a second
        visit upserts `{}`, or a form saves a stale row.

        ## What shows it

        Bad bookings hold other keys and no `initial_sms`; there were two UPDATEs for each; only those with a second
        visit or a reminder are hit.

        ## What it is not

        A trigger that resets the column: one UPDATE, and the trigger can be seen.

        ## How to repair

        Merge in the database: `metadata = coalesce(metadata, '{}') || jsonb_build_object('initial_sms', …)`.
        """,
        explains=LOST,
        needs=(("bookings-bad",),),
        proofs=(("metadata-other-keys", "updates-came-twice", "texts-of-bad-sent"),),
        clues=(
            Clue("metadata-other-keys", STRONG, -FAIR),
            Clue("updates-came-twice", STRONG, -WEAK),
            Clue("texts-of-bad-sent", WEAK, -FAIR),
            Clue("bookings-some-bad", WEAK),
            Clue("ids-burnt-per-booking", -STRONG),
            *_OTHERWISE,
        ),
        remedy="Merge instead of replacing: SET metadata = coalesce(metadata, '{}') || jsonb_build_object('initial_sms', …);",
    ),
    Cause(
        id="timeout-duplicate-sends",
        layer=Layer.APPLICATION,
        page="""
        A text is sent twice, because whoever waited for it gave up and tried again. Twilio had taken the first.

        ## How it works

        A browser, a function or a queue runs into its time-out while Twilio accepts. Sending has no idempotency key, so
        the retry sends again, and only the second SID is kept.

        ## What shows it

        Two texts to one phone with the same words within minutes, and only one of them is known here.

        ## What it is not

        A unique violation on the retry: there Twilio has one text only.

        ## How to repair

        Write down that a text is due, with a unique key for each booking, before it is sent; before a retry, ask Twilio.
        """,
        explains=("texts-sent-twice", "message-unrecorded"),
        needs=(("texts-sent-twice",),),
        proofs=(("texts-sent-twice", "logged-function-timeout"),),
        clues=(Clue("texts-sent-twice", STRONG + FAIR), Clue("logged-function-timeout", STRONG)),
        remedy="Write down each text under a unique key before it is sent; record the doubles: booking-doctor backfill",
    ),
    Cause(
        id="unique-violation-on-retry",
        layer=Layer.APPLICATION,
        page="""
        A retry inserts again what is there already, and the code takes the refusal for a failure.

        ## How it works

        SQLSTATE 23505 on a token, a phone or a SID. The code stops there, before the text or before its record. With
        `ON CONFLICT DO NOTHING` no row comes back, which `.single()` makes an error of.

        ## What shows it

        Rows were inserted and taken back; a log names 23505.

        ## What it is not

        A foreign key leaves the same counters (23503). Two texts at Twilio are a retry of another kind.

        ## How to repair

        `ON CONFLICT … DO UPDATE … RETURNING`, and take 23505 for "done already".
        """,
        explains=("logged-unique", "inserts-rolled-back", *LOST, "booking-sms-not-recorded"),
        needs=(("logged-unique", "inserts-rolled-back"),),
        proofs=(("logged-unique-each-time",),),
        clues=(
            Clue("logged-unique", STRONG + FAIR),
            Clue("inserts-rolled-back", FAIR),
            Clue("schema-sid-not-unique", -WEAK),
            Clue("logged-foreign-key", -STRONG),
            Clue("logged-single-row", WEAK),
        ),
        remedy="Insert with ON CONFLICT … DO UPDATE … RETURNING, and take 23505 for done already: grep -rn 23505 src",
    ),
    Cause(
        id="confirm-skips-copy",
        layer=Layer.APPLICATION,
        page="""
        Confirm does not copy the text from the booking's metadata into messages. It does not even try.

        ## How it works

        The copy stands behind an `if` that does not hold: the metadata was read stale, has another shape, or confirm is
        older code than initiate.

        ## What shows it

        The booking is confirmed, its metadata names a SID, no row has it, and no id of messages is missing: nothing was
        attempted.

        ## What it is not

        A constraint, a policy or a trigger: then ids are missing, or the catalog shows it.

        ## How to repair

        Copy by SID, again and again without harm. `booking-doctor backfill` plans the rows that are missing.
        """,
        explains=("booking-sms-not-recorded", "message-unrecorded"),
        needs=(("booking-sms-not-recorded",),),
        proofs=(("booking-sms-not-recorded", "no-insert-tried"),),
        refuted_by=(
            *("insert-unprivileged", "insert-swallowed", "trigger-drops-messages", "texts-unrecorded-are-shared"),
            *("logged-not-null-customer", "logged-foreign-key", "logged-check", "logged-policy", "logged-privilege"),
            "insert-filtered",
        ),
        clues=(
            Clue("no-insert-tried", STRONG),
            Clue("ids-burnt", -FAIR),
            Clue("inserts-rolled-back", -FAIR),
            Clue("messages-deleted", -FAIR),
        ),
        remedy="Plan the missing rows: booking-doctor backfill; then make confirm copy by SID.",
        remedies=("booking-sms-not-recorded",),
    ),
    Cause(
        id="delivered-hardcoded",
        layer=Layer.APPLICATION,
        page="""
        A row says delivered because the code always writes that, not because anybody said so.

        ## How it works

        The status is a constant where the row is inserted. Twilio's 201 means that it took the text, no more.

        ## What shows it

        Rows say delivered of texts that Twilio calls undelivered or failed, and every row of that kind says the same.

        ## What it is not

        Callbacks that do not arrive: then rows stay at the first status, such as queued.

        ## How to repair

        Write Twilio's status and let callbacks advance it. `booking-doctor backfill --fix-mismatched` corrects what is there.
        """,
        explains=("message-mismatched",),
        needs=(("status-claims-delivered",),),
        proofs=(("status-claims-delivered", "every-status-delivered"),),
        clues=(
            Clue("status-claims-delivered", FAIR),
            Clue("every-status-delivered", STRONG, -FAIR),
            Clue("status-behind", -WEAK),
        ),
        remedy="Write Twilio's status instead of a constant; correct what is there: booking-doctor backfill --fix-mismatched",
    ),
    Cause(
        id="cost-sign",
        layer=Layer.APPLICATION,
        page="""
        Prices are stored with their sign by one piece of code and without it by another.

        ## How it works

        Twilio's price is a text, negative for what is charged, and null until it is billed. `Number(null)` is 0.

        ## What shows it

        Positive and negative costs in one column, of the same size as Twilio's.

        ## What it is not

        A wrong price: the amount is right.

        ## How to repair

        Decide for one sign (`cost_usd = -price`) and fill what is missing later.
        """,
        explains=("message-cost-sign",),
        needs=(("message-cost-sign",),),
        proofs=(("message-cost-sign",),),
        remedy="Decide for one sign, then run: UPDATE messages SET cost_usd = abs(cost_usd) WHERE cost_usd < 0;",
        remedies=("message-cost-sign",),
    ),
    Cause(
        id="segments-wrong",
        layer=Layer.APPLICATION,
        page="""
        Segments are counted by length, and other characters or long texts take more.

        ## How it works

        A plain SMS has 160 characters, each part of a longer one 153. One curly quote makes it another alphabet: 70, and
        67 a part. Brackets and the euro sign count twice.

        ## What shows it

        Rows differ from Twilio in the segments, where texts are long or have such characters.

        ## What it is not

        A service that has not yet picked a sender: that says 0, which is not compared.

        ## How to repair

        Store Twilio's number once the status is final. `booking-doctor backfill --fix-mismatched` corrects what is there.
        """,
        explains=("message-mismatched", "message-segments"),
        needs=(("segments-differ",),),
        proofs=(("segments-differ", "segments-counted-by-160"),),
        clues=(Clue("segments-differ", STRONG), Clue("segments-counted-by-160", FAIR)),
        remedy="Store Twilio's num_segments; correct what is there: booking-doctor backfill --fix-mismatched",
    ),
    Cause(
        id="module-state-cross-request",
        layer=Layer.APPLICATION,
        page="""
        One request sees what belongs to another. A booking holds the text of somebody else: treat it as a breach of privacy.

        ## How it works

        A variable at the top of a module is shared by all requests that one instance serves at a time.

        ## What shows it

        The number in a booking's metadata is the phone of another booking made at about the same time.

        ## What it is not

        Two customers with one phone: there the numbers are equal.

        ## How to repair

        Keep nothing of a request outside of it. Tell whoever is responsible for privacy; correct each booking by hand.
        """,
        explains=("metadata-of-another", "booking-metadata-incomplete"),
        needs=(("metadata-of-another", "metadata-of-another-booking"),),
        proofs=(("metadata-of-another-booking",),),
        clues=(Clue("metadata-of-another", STRONG),),
        remedy="Keep no request's data in a module's variables, and report the mix-up as a breach: booking-doctor bookings --show-pii",
    ),
)
