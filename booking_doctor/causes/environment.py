"""
Causes that sit in the variables: what is not set where the application runs, and what is set there and is wrong.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, LOST, STRONG, WEAK, Cause, Clue, Layer

_UNSENT: Final = ("booking-metadata-empty", "probe-not-texted")
"""Nothing is stored in the booking, and nothing was sent."""

_BEFORE_THE_CALL: Final = (
    Clue("texts-of-bad-missing", FAIR, -FAIR),
    Clue("bookings-all-bad", WEAK, -WEAK),
    Clue("ids-burnt-per-booking", -FAIR),
    Clue("texts-of-bad-refused", -WEAK),
    Clue("probe-not-texted", FAIR),
    Clue("probe-went-through", -STRONG),
)
"""How it looks when the new code gives up before it asks Twilio."""

CAUSES: Final = (
    Cause(
        id="env-scope-missing",
        layer=Layer.ENVIRONMENT,
        page="""
        A variable is not set where the application runs. JavaScript passes undefined on without a word.

        ## How it works

        It is set for Preview or for one branch only, or in another project. `if (!process.env.X) return` ends in
        silence; an undefined sender vanishes from the request.

        ## What shows it

        The platform's list lacks Production for it, or a comparison of both places says "only here". Twilio has no text
        at all, and nothing was refused.

        ## What it is not

        A variable that was added after the build: then the list looks perfect. That other texts work does not exclude it:
        look for what only this function reads.

        ## How to repair

        Set it for Production and deploy again; check all variables when the application starts.
        """,
        explains=_UNSENT,
        signs=("env-missing", "env-not-in-production", "missing-elsewhere"),
        proofs=(("missing-in-production", "texts-of-bad-missing"), ("missing-elsewhere", "texts-of-bad-missing")),
        clues=(
            Clue("missing-in-production", STRONG),
            Clue("missing-elsewhere", STRONG),
            Clue("not-set-there", FAIR),
            Clue("env-not-in-production", WEAK),
            Clue("env-missing", STRONG),
            Clue("sms-switched-off", -FAIR),
            Clue("newer-than-build", -FAIR),
            *_BEFORE_THE_CALL,
        ),
        remedy="Set the variable for Production and deploy again; compare: booking-doctor check-env --expect FILE",
        remedies=("env-missing",),
    ),
    Cause(
        id="env-added-after-build",
        layer=Layer.ENVIRONMENT,
        page="""
        A variable was set after the build that serves. The dashboard shows it, and what runs has never heard of it.

        ## How it works

        A deployment keeps the variables that it was built with. A rollback brings the old ones back with the old build.

        ## What shows it

        The variable's time is later than the serving deployment's. Twilio has no text, and nothing was refused.

        ## What it is not

        A variable that is not set for Production: there the list itself is wrong.

        ## How to repair

        Deploy again from the same commit; promoting does not renew variables.
        """,
        explains=_UNSENT,
        signs=("env-newer-than-build",),
        needs=(("newer-than-build", "env-newer-than-build"),),
        proofs=(("newer-than-build", "texts-of-bad-missing"),),
        clues=(Clue("newer-than-build", STRONG), Clue("missing-in-production", -FAIR), *_BEFORE_THE_CALL),
        remedy="Deploy the same commit again, so that it is built with the variables of today: vercel --prod --force",
        remedies=("env-newer-than-build",),
    ),
    Cause(
        id="env-value-malformed",
        layer=Layer.ENVIRONMENT,
        page="""
        A variable holds dirt, a placeholder, or a value of another kind. Every call with it fails somewhere else.

        ## How it works

        A pasted line end, quotes that a dashboard takes literally, an example that was never filled in. Twilio's library
        throws for some of it and sends the rest; the Supabase client answers "fetch failed" without throwing.

        ## What shows it

        The bytes of the value; Twilio's error 20003.

        ## What it is not

        A wrong account: there the value is clean and belongs to somebody else.

        ## How to repair

        Write it again without what does not belong there (`printf '%s'` adds no line end), and check it at the start.
        """,
        explains=_UNSENT,
        signs=("env-whitespace", "env-placeholder", "env-malformed", "value-dirty"),
        needs=(("value-dirty", "env-whitespace", "env-placeholder", "env-malformed"),),
        proofs=(("twilio-value-dirty", "texts-of-bad-missing"),),
        clues=(
            Clue("value-dirty", STRONG),
            Clue("twilio-value-dirty", WEAK),
            Clue("texts-of-bad-missing", FAIR, -STRONG),
            Clue("texts-of-bad-sent", -FAIR),
            Clue("ids-burnt-per-booking", -FAIR),
            Clue("key-is-public", -WEAK),
        ),
        remedy="Write the value again: booking-doctor check-env says which, and what is wrong with it.",
        remedies=("env-whitespace", "env-placeholder", "env-malformed"),
    ),
    Cause(
        id="wrong-supabase-project-or-schema",
        layer=Layer.ENVIRONMENT,
        page="""
        The application writes to another database, project or schema than the one that people look at.

        ## How it works

        Address, key and database belong to different projects, or a search path finds a table of the same name elsewhere.
        It may as well be the doctor that was led to the wrong place.

        ## What shows it

        Two variables name different projects; a second table of the same name; Twilio has texts to people whom nobody
        here knows, and the bookings themselves are missing.

        ## What it is not

        Row level security: there at least the INSERT arrives here.

        ## How to repair

        Take address, key and database from one project, and compare them when the application starts.
        """,
        explains=("message-orphaned", "probe-not-stored"),
        signs=(
            "projects-differ",
            "databases-differ",
            "role-searches-elsewhere",
            "schema-homonym",
            "schema-table-missing",
            "env-conflict",
            "other-database-there",
        ),
        needs=(
            (
                *("projects-differ", "databases-differ", "role-searches-elsewhere", "schema-homonym"),
                *("texts-mostly-orphaned", "schema-table-missing", "other-database-there", "probe-not-stored"),
            ),
        ),
        proofs=(
            ("projects-differ", "texts-mostly-orphaned"),
            ("role-searches-elsewhere", "texts-mostly-orphaned"),
            ("other-database-there", "probe-not-stored"),
        ),
        clues=(
            Clue("projects-differ", STRONG),
            Clue("role-searches-elsewhere", STRONG),
            Clue("databases-differ", FAIR),
            Clue("other-database-there", STRONG),
            Clue("probe-not-stored", STRONG),
            Clue("schema-homonym", FAIR),
            Clue("texts-mostly-orphaned", FAIR, -WEAK),
            Clue("customers-deleted", -WEAK),
        ),
        remedy="Lead address, key and database to one project: booking-doctor check-env names those that differ.",
        remedies=("env-conflict", "schema-role-setting"),
    ),
    Cause(
        id="effective-role-wrong",
        layer=Layer.ENVIRONMENT,
        page="""
        The application comes to the database as another role than it thinks. The service key is not what arrives.

        ## How it works

        The public key stands where the service key belongs, or the service client carries a user's session: the
        Authorization header decides, not the key.

        ## What shows it

        The key's role claim. The policies let the service role through and stop this one.

        ## What it is not

        Missing policies: here they are right for whom they were written.

        ## How to repair

        Set the service key; keep a client of its own for it, without a session (`persistSession: false`).
        """,
        explains=LOST,
        signs=("key-is-public",),
        needs=(("key-is-public", "update-filtered", "update-filtered-for-us", "update-unprivileged"),),
        proofs=(("key-is-public", "bookings-all-bad", "texts-of-bad-sent"),),
        clues=(
            Clue("key-is-public", STRONG),
            Clue("update-filtered-for-us", WEAK),
            Clue("texts-of-bad-sent", WEAK, -WEAK),
        ),
        remedy="Set SUPABASE_SERVICE_ROLE_KEY to the service key: booking-doctor check-env says what is there.",
        remedies=("env-malformed",),
    ),
    Cause(
        id="twilio-wrong-account",
        layer=Layer.ENVIRONMENT,
        page="""
        Texts are sent through another Twilio account than the one that is looked at.

        ## How it works

        Preview and Production hold different accounts, or one of them a subaccount. A number of another account is refused
        with 21660. `TWILIO_REGION` and `TWILIO_EDGE` lead the library elsewhere by themselves.

        ## What shows it

        Rows carry SIDs that this account does not know, all of them since one moment; two places name different accounts.

        ## What it is not

        Test credentials: their SIDs exist nowhere. Deleted messages: those are single ones.

        ## How to repair

        Set SID and token of one account in both places; store the account's SID with every message.
        """,
        explains=("message-unknown-to-twilio", "booking-metadata-incomplete", "refused-foreign-sender"),
        signs=("account-differs", "other-account-there"),
        needs=(
            (
                *("sids-unknown", "sids-of-bookings-unknown", "refused-foreign-sender", "sender-not-owned"),
                *("service-without-sender", "account-differs", "region-redirects", "other-account-there"),
            ),
        ),
        proofs=(
            ("refused-foreign-sender-mostly",),
            ("account-differs", "every-sid-unknown"),
            ("other-account-there", "every-sid-unknown"),
        ),
        clues=(
            Clue("every-sid-unknown", STRONG, -FAIR),
            Clue("account-differs", STRONG),
            Clue("other-account-there", STRONG),
            Clue("region-redirects", FAIR),
            Clue("refused-foreign-sender", FAIR),
            Clue("refused-foreign-sender-mostly", STRONG),
            Clue("unknown-rows-unpriced", -WEAK, WEAK),
            Clue("credential-is-for-tests", -STRONG),
            Clue("magic-sender", -STRONG),
        ),
        remedy="Compare TWILIO_ACCOUNT_SID here and where the application runs: booking-doctor check-env --expect FILE",
        remedies=("env-conflict",),
    ),
    Cause(
        id="twilio-test-credentials",
        layer=Layer.ENVIRONMENT,
        page="""
        The application sends with Twilio's test credentials. Every text gets a SID, and nobody gets a text.

        ## How it works

        Test credentials check a request and answer like the real ones; nothing is sent, charged or kept, and no status
        is called back. Only the magic number +15005550006 may send.

        ## What shows it

        Asking for messages with them is refused with 20008; the sender is the magic number; SIDs exist nowhere and rows
        stay queued and without a price.

        ## What it is not

        Any fault of the database: the metadata is filled.

        ## How to repair

        Set the live credentials in Production, and the test ones nowhere else than in tests.
        """,
        explains=("magic-sender", "message-unknown-to-twilio", "booking-metadata-incomplete"),
        signs=("credential-is-for-tests", "env-placeholder"),
        needs=(("credential-is-for-tests", "magic-sender", "sids-unknown", "sids-of-bookings-unknown"),),
        proofs=(
            ("credential-is-for-tests", "no-status-final"),
            ("magic-sender", "sids-unknown"),
            ("magic-sender", "sids-of-bookings-unknown"),
        ),
        clues=(
            Clue("credential-is-for-tests", STRONG),
            Clue("magic-sender", STRONG, -WEAK),
            Clue("unknown-rows-unpriced", FAIR, -FAIR),
            Clue("every-sid-unknown", FAIR, -WEAK),
            Clue("account-differs", -FAIR),
        ),
        remedy="Set the live TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN in Production: booking-doctor check-env --live",
        remedies=("env-rejected",),
    ),
    Cause(
        id="sms-disabled-by-flag",
        layer=Layer.ENVIRONMENT,
        page="""
        Texts are switched off: by a flag, a dry run, a list of allowed numbers, or quiet hours.

        ## How it works

        The new code runs and leaves before it asks Twilio, as it was told to. Nothing fails, so nothing is logged.

        ## What shows it

        A variable that says so. Twilio has no text and refused none, for everybody or for one class of customers.

        ## What it is not

        A missing variable that nobody meant to leave out; old code, which leaves its own traces.

        ## How to repair

        Switch them on, deploy again, and log once at the start that texts are off.
        """,
        explains=_UNSENT,
        proofs=(("sms-switched-off", "texts-of-bad-missing"),),
        refuted_by=("texts-of-bad-sent",),
        clues=(Clue("sms-switched-off", STRONG + WEAK), *_BEFORE_THE_CALL),
        remedy="Look for a flag that switches texts off (SMS_ENABLED, DRY_RUN): vercel env ls production; set it right and deploy again.",
    ),
    Cause(
        id="egress-ipv6",
        layer=Layer.ENVIRONMENT,
        page="""
        The database's address has only IPv6, and the hosting platform has none. No connection ever comes about.

        ## How it works

        Supabase's direct address `db.….supabase.co` resolves to IPv6; the function gets ENETUNREACH or ENOTFOUND. What
        goes over HTTPS (supabase-js) is not affected.

        ## What shows it

        The host in the database URL, and such an error in a log.

        ## What it is not

        A wrong password: that is an answer.

        ## How to repair

        Use the pooler's address, or buy an IPv4 address.
        """,
        explains=("logged-network",),
        proofs=(("logged-network", "address-needs-ipv6"),),
        clues=(Clue("address-needs-ipv6", FAIR, -WEAK), Clue("logged-network", STRONG)),
        remedy="Lead the application's database variable to the pooler's address: vercel env ls production",
    ),
)
