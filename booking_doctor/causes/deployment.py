"""
Causes that sit in the deployment: the code that is meant is not the code that runs, or not what a client reaches.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, LOST, STRONG, WEAK, Cause, Clue, Layer

_OLD_CODE: Final = (
    Clue("deployment-stale", STRONG),
    Clue("ids-burnt-per-booking", STRONG + FAIR, -FAIR),
    Clue("bookings-all-bad", FAIR, -STRONG),
    Clue("bookings-bad", 0, -STRONG),
    Clue("updates-never-came", WEAK, -FAIR),
    Clue("probe-not-kept", FAIR),
    Clue("probe-went-through", -STRONG),
    Clue("metadata-other-keys", -FAIR),
    Clue("metadata-without-sid", -FAIR),
    Clue("metadata-encoded-twice", -FAIR),
    Clue("metadata-of-another", -FAIR),
    Clue("texts-of-bad-refused", -WEAK),
)
"""What old code leaves behind: its failed attempts to record at once, and nothing of what the new code writes."""

CAUSES: Final = (
    Cause(
        id="old-deployment-serving",
        layer=Layer.DEPLOYMENT,
        page="""
        The old code still serves, though the new one is built. Nobody sees its log lines, because it does not run.

        ## How it works

        After a rollback the platform no longer gives the domain to new deployments: they are built, stay staged, and wait
        to be promoted. Variables and crons went back with the code.

        ## What shows it

        The domain's deployment has another commit than the newest. Without access to the platform: the old INSERT into
        messages fails once for each booking, so about that many ids are missing, and no booking has metadata.

        ## What it is not

        A fix that was never built: then nothing newer waits. Work that is frozen fails at times, not always.

        ## How to repair

        Promote the deployment or undo the rollback, see that domains are assigned again, and make one booking as a test:
        `booking-doctor probe-api`.
        """,
        explains=("deployment-not-promoted", "deployment-stale", *LOST),
        needs=(("bookings-bad", "ids-burnt", "deployment-not-promoted", "deployment-stale"),),
        refuted_by=("expected-build-serves",),
        proofs=(("deployment-not-promoted", "bookings-bad"), ("deployment-not-promoted", "deployment-stale")),
        clues=(
            Clue("deployment-not-promoted", STRONG),
            Clue("deployment-not-built", -FAIR),
            Clue("deployment-build-failed", -FAIR),
            Clue("bookings-turned-bad", WEAK),
            *_OLD_CODE,
        ),
        remedy="See which deployment serves: booking-doctor check-deployment --expect-commit HEAD; then promote the newest.",
        remedies=("deployment-not-promoted",),
    ),
    Cause(
        id="fix-not-in-production-build",
        layer=Layer.DEPLOYMENT,
        page="""
        The fix is not in what was built for production. It sits on another branch, or its build was skipped or failed.

        ## How it works

        An unmerged request, an ignored build step, a failed build that leaves the old one in place, a second project
        with the domain.

        ## What shows it

        The newest production deployment itself has an older commit. Without access to the platform it looks like old code
        that serves; here there never was a good booking.

        ## What it is not

        A build that waits to be promoted.

        ## How to repair

        Merge and deploy the right branch; let the deploying job compare what the domain says of its commit.
        """,
        explains=("deployment-not-built", "deployment-build-failed", "deployment-stale", *LOST),
        needs=(("bookings-bad", "ids-burnt", "deployment-not-built", "deployment-build-failed", "deployment-stale"),),
        refuted_by=("expected-build-serves",),
        proofs=(
            ("deployment-not-built", "bookings-bad"),
            ("deployment-not-built", "deployment-stale"),
            ("deployment-build-failed", "bookings-bad"),
        ),
        clues=(
            Clue("deployment-not-built", STRONG),
            Clue("deployment-build-failed", STRONG),
            Clue("deployment-not-promoted", -STRONG),
            Clue("bookings-turned-bad", -WEAK),
            *_OLD_CODE,
        ),
        remedy="See whether the production branch has the fix: git branch --contains COMMIT; then deploy it: vercel --prod",
        remedies=("deployment-not-built", "deployment-build-failed"),
    ),
    Cause(
        id="console-output-hidden",
        layer=Layer.DEPLOYMENT,
        page="""
        The code runs and its log lines are not to be seen. Nothing else need be wrong.

        ## How it works

        `compiler.removeConsole` strips them from the build; the platform keeps them for an hour or a day; the view is
        filtered to another deployment; work that nobody awaits writes under another request.

        ## What shows it

        Bookings hold their texts, so the new code has run, and the platform's log of that time has no line of the route.

        ## What it is not

        Old code: that leaves no metadata.

        ## How to repair

        Write with `console.error` or a logger that writes to stdout, and put a row into audit_logs for each step.
        """,
        explains=("route-writes-nothing",),
        needs=(("route-writes-nothing",),),
        proofs=(("route-writes-nothing", "new-code-ran-lately"),),
        clues=(Clue("route-writes-nothing", FAIR), Clue("new-code-ran-lately", STRONG, -STRONG)),
        remedy="Look at the filters of the platform's log view, and: grep -n removeConsole next.config.*",
    ),
    Cause(
        id="stale-cached-read",
        layer=Layer.DEPLOYMENT,
        page="""
        A read is answered from a cache. The database is right, and the page shows how it was.

        ## How it works

        GET routes may be made when the application is built; Next.js has cached fetches, the database client's too; a CDN
        keeps answers. POST is never cached.

        ## What shows it

        The application's own answer is old, or comes with `x-vercel-cache: HIT` or an age; SQL shows metadata that the
        page does not.

        ## What it is not

        Bookings that are empty in the database itself.

        ## How to repair

        `export const dynamic = 'force-dynamic'`, and `cache: 'no-store'` in the client's fetch.
        """,
        explains=("deployment-cached",),
        clues=(Clue("deployment-cached", STRONG), Clue("bookings-bad", -FAIR)),
        remedy="Make the route dynamic: no-store in its answer, force-dynamic in Next.js; then: booking-doctor check-deployment",
        remedies=("deployment-cached",),
    ),
    Cause(
        id="skew-pinned-or-stale-client",
        layer=Layer.DEPLOYMENT,
        page="""
        Some clients still talk to the old code: a page that was loaded earlier, an app, or a roll-out under way.

        ## How it works

        Skew protection keeps outdated pages with the deployment they came from. A rolling release splits the requests. A
        service worker may keep an old page for days.

        ## What shows it

        An old deployment is still called, or several answer at one address; good and bad bookings alternate.

        ## What it is not

        Work that is frozen: there one and the same build does both.

        ## How to repair

        Shorten the protection's age, let open pages reload, end the roll-out, and write the deployment into each booking.
        """,
        explains=("deployment-mixed", "deployment-old-called", *LOST),
        needs=(("deployment-mixed", "deployment-old-called"),),
        proofs=(("deployment-old-called", "bookings-some-bad"), ("deployment-mixed", "bookings-some-bad")),
        clues=(
            Clue("deployment-mixed", STRONG),
            Clue("deployment-old-called", STRONG),
            Clue("ids-burnt-per-booking", WEAK),
            Clue("bookings-some-bad", WEAK),
            Clue("bookings-all-bad", -FAIR),
        ),
        remedy="See who still calls the old deployment, and let it reload: booking-doctor check-deployment",
        remedies=("deployment-old-called", "deployment-mixed"),
    ),
    Cause(
        id="request-intercepted",
        layer=Layer.DEPLOYMENT,
        page="""
        Something else answers before the application does: a redirect, a login, a firewall, another site.

        ## How it works

        Middleware redirects www, Deployment Protection asks for a login, a firewall wants to see a browser. A POST that is
        redirected becomes a GET without a body.

        ## What shows it

        The answer at the public address is not the application's. Where bookings appear all the same, another writer is at
        work.

        ## What it is not

        An application that fails: that answers with its own errors.

        ## How to repair

        Leave `/api` alone in middleware, firewall and protection; give clients the address that answers itself.
        """,
        explains=("deployment-intercepted",),
        needs=(("deployment-intercepted",),),
        proofs=(("deployment-intercepted", "bookings-stopped"),),
        clues=(Clue("deployment-intercepted", STRONG), Clue("bookings-stopped", WEAK, -STRONG)),
        remedy="Let middleware, firewall and Deployment Protection leave /api alone: booking-doctor check-deployment",
        remedies=("deployment-intercepted",),
    ),
    Cause(
        id="edge-runtime-incompatible",
        layer=Layer.DEPLOYMENT,
        page="""
        The route runs in the edge runtime, which has not what Twilio's library and the database's driver need.

        ## How it works

        `export const runtime = 'edge'`: there are no Node APIs; the module fails when it is built, or when it is first
        used.

        ## What shows it

        A log that says so; every request of that route fails.

        ## What it is not

        A module that is missing everywhere.

        ## How to repair

        `export const runtime = 'nodejs'`.
        """,
        explains=("logged-edge", "deployment-unreachable", "deployment-route-fails"),
        needs=(("logged-edge",),),
        proofs=(("logged-edge", "application-fails-always"), ("logged-edge", "deployment-route-fails")),
        clues=(Clue("logged-edge", STRONG),),
        remedy="Set export const runtime = 'nodejs' in the route, and deploy again: grep -rn 'runtime =' src",
    ),
    Cause(
        id="runtime-init-crash",
        layer=Layer.DEPLOYMENT,
        page="""
        The function fails while it starts. Every request gets a 500, and no log line of yours is written.

        ## How it works

        A module throws when it is loaded: a client without its URL, a malformed SID, a Node version that a library no
        longer takes, a lock file that brought another version.

        ## What shows it

        The application answers every request with an error of its server; a log names the module.

        ## What it is not

        An error of one booking: that comes after the start, and not for everybody.

        ## How to repair

        Read the first line of the platform's log; compare variables, the Node version and the lock file with the last build
        that worked.
        """,
        explains=(
            *("application-fails-always", "deployment-route-fails", "deployment-unreachable", "logged-start"),
            "logged-websocket",
        ),
        needs=(("application-fails-always", "logged-start", "logged-websocket"),),
        proofs=(
            ("logged-start", "application-fails-always"),
            ("logged-start", "deployment-route-fails"),
            ("logged-websocket", "application-fails-always"),
            ("logged-websocket", "deployment-route-fails"),
        ),
        clues=(
            Clue("logged-start", STRONG),
            Clue("logged-websocket", STRONG),
            Clue("application-fails-always", STRONG),
            Clue("logged-edge", -STRONG),
            Clue("bookings-some-bad", -WEAK),
        ),
        remedy="Read why it fails: vercel logs DEPLOYMENT; compare variables and Node version with the last good build.",
        remedies=("deployment-unreachable", "deployment-route-fails"),
    ),
)
