"""
Causes that sit in the deployment: the code that is meant is not the code that runs.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, STRONG, WEAK, Cause, Clue, Layer

_OLD_CODE: Final = (
    Clue("ids-burnt-per-booking", STRONG + FAIR, -FAIR),
    Clue("bookings-all-bad", FAIR, -STRONG),
    Clue("updates-never-came", WEAK, -FAIR),
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

        Promote the deployment or undo the rollback, see that domains are assigned again, and make one booking as a test.
        """,
        explains=("booking-metadata-empty", "message-unrecorded"),
        needs=(("bookings-bad", "ids-burnt"),),
        clues=(Clue("bookings-turned-bad", WEAK), *_OLD_CODE),
        remedy="See which deployment serves the domain, then promote the newest: vercel inspect DOMAIN; vercel promote URL",
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
        explains=("booking-metadata-empty", "message-unrecorded"),
        needs=(("bookings-bad", "ids-burnt"),),
        clues=(Clue("bookings-turned-bad", -WEAK), *_OLD_CODE),
        remedy="See whether the production branch has the fix: git branch --contains COMMIT; then deploy it: vercel --prod",
    ),
)
