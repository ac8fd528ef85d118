"""
The command that says which code production serves.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.options import (
    FailOnOption,
    FormatOption,
    IgnoreOption,
    OutputOption,
    SelectOption,
    ShowPiiOption,
)
from booking_doctor.cli.session import doctor, finish
from booking_doctor.errors import UsageError
from booking_doctor.findings import Disclosure, FailOn, Window
from booking_doctor.report import TERMINAL

if TYPE_CHECKING:
    from booking_doctor.evidence import ExpectedBuild

ExpectCommitOption = Annotated[
    str | None,
    typer.Option(
        "--expect-commit", metavar="HASH", help="The commit that should serve; HEAD is the one of the repository here."
    ),
]
ExpectDeploymentOption = Annotated[
    str | None,
    typer.Option("--expect-deployment", metavar="NAME", help="The deployment that should serve, such as dpl_…"),
]


def expected_build(commit: str | None, deployment: str | None) -> ExpectedBuild:
    """
    What the two options say.

    Raises:
        UsageError: The commit is no hash, or HEAD where there is no repository.
    """
    from booking_doctor.adapters.repository import head_commit
    from booking_doctor.evidence import ExpectedBuild

    if commit == "HEAD":
        commit = head_commit(Path.cwd())
    elif commit is not None and not re.fullmatch("[0-9a-fA-F]{7,64}", commit):
        message = f"--expect-commit {commit!r} is no commit"
        raise UsageError(message, hint="give at least 7 digits of its hash, or HEAD inside the repository")
    if deployment is not None and not re.fullmatch(r"[!-~]{1,100}", deployment):
        message = "--expect-deployment is no deployment's name"
        raise UsageError(message, hint="copy it from the platform, such as dpl_…")
    return ExpectedBuild(commit=commit, deployment=deployment)


@app.command()
def check_deployment(
    ctx: typer.Context,
    *,
    expect_commit: ExpectCommitOption = None,
    expect_deployment: ExpectDeploymentOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = TERMINAL,
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    show_pii: ShowPiiOption = False,
) -> None:
    """
    Which code does production serve? Changes nothing.

    GET /api/test-deployment at BOOKING_APP_URL is asked five times, past caches and each time over a new connection. That shows
    old code, several deployments answering, caches, a clock that is off, redirects (never followed), logins, web pages. Which
    build should serve is only compared where --expect-commit or --expect-deployment says it, and the report says so.

    With BOOKING_API_KEY or TEST_API_KEY, sent over https or within this machine only and only to who has answered as the
    application, settings are compared by keyed hashes, and those that differ are named. With VERCEL_TOKEN and VERCEL_PROJECT_ID
    it says what serves, what is built and waits, failed, or was never built, which variables are newer than the build, and what
    the log has of the route; without them it prints how to look by hand.
    """
    from booking_doctor.bootstrap import Request

    expected = expected_build(expect_commit, expect_deployment)
    with doctor(ctx.obj) as opened:
        # NOTE: what runs now has no window; checks want one, and none of these looks at it.
        asked = Request(
            window=Window(opened.now() - timedelta(days=7), opened.now()),
            fail_on=fail_on,
            disclosure=Disclosure(show_pii=show_pii),
            program=ctx.obj.again(),
            expected_build=expected,
            chosen=select or (),
            ignored=ignore or (),
        )
        report = opened.check_deployment(asked)
    finish(report, format, output, ctx.obj)
