"""
The statements of a migration: each leads on from wherever the table is, and none does what a linter of migrations forbids.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from booking_doctor.repair.migration import (
    Goal,
    Patience,
    Statement,
    StatementKind,
    guarded,
    relaxed,
    restored,
    unguarded,
)
from booking_doctor.repair.structure import CHECK, Catalog, Check, Index, Name, Session

PLAIN = Catalog(
    table=Name("messages", "public.messages"),
    schema=Name("public", "public"),
    kind="r",
    owner=Name("app", "app"),
    role=Name("app", "app"),
    owned=True,
    may_create=True,
    bytes=8192,
    rows=None,
    customer=Name("customer_id", "customer_id"),
    not_null=True,
    unproven=None,
    domain=None,
    checks=(),
    mentions=(),
    sid=Name("message_sid", "message_sid"),
    sids=(),
    builder=None,
    taken=frozenset(),
    event_triggers=(),
)
OURS, THEIRS = Name(CHECK, CHECK), Name("theirs", "theirs")
NULLABLE = replace(PLAIN, not_null=False)
INVALID = Index(name=Name("left_behind", "public.left_behind"), valid=False)


def kinds(statements: Sequence[Statement]) -> list[str]:
    """
    What they do.
    """
    return [str(statement.kind) for statement in statements]


# --- they lead there, from anywhere ----------------------------------------------------------------------------------


def perform(catalog: Catalog, statement: Statement) -> Catalog:
    """
    What PostgreSQL makes of the catalog.
    """
    target, changed = statement.target, dict[str, object]()
    match statement.kind:
        case StatementKind.DROP_NOT_NULL:
            changed = {"not_null": False, "unproven": None}
        case StatementKind.ADD_CHECK:
            assert catalog.check is None
            changed = {"checks": [*catalog.checks, Check(name=OURS, valid=False)]}
        case StatementKind.VALIDATE if target == catalog.unproven:
            changed = {"unproven": None}
        case StatementKind.VALIDATE:
            changed = {
                "checks": [replace(check, valid=True) if check.name == target else check for check in catalog.checks]
            }
            assert changed["checks"] != catalog.checks
        case StatementKind.SET_NOT_NULL:
            assert catalog.proven, "it would read every row while everybody waits"
            changed = {"not_null": True}
        case StatementKind.DROP_CHECK:
            assert catalog.check is not None
            changed = {"checks": [check for check in catalog.checks if check.name != OURS]}
        case StatementKind.CREATE_INDEX:
            assert target.raw not in catalog.taken | {index.name.raw for index in catalog.sids}
            changed = {"sids": [*catalog.sids, Index(name=target, valid=True)]}
        case StatementKind.DROP_INDEX:
            remaining = [index for index in catalog.sids if index.name != target]
            changed = {"sids": remaining, "taken": catalog.taken - {target.raw}}
    return replace(catalog, **changed)


def followed(goal: Goal, catalog: Catalog) -> tuple[Catalog, list[str]]:
    """
    The catalog once nothing is left to be run, each statement chosen anew; and what was run.
    """
    ran: list[str] = []
    while todo := goal(catalog):
        assert len(ran) < 9, "it never ends"
        catalog = perform(catalog, todo[0])
        ran.append(str(todo[0].kind))
    return catalog, ran


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """
    A table in any state that attempts, by us and by others, may have left it in.
    """
    checks = [Check(name=name, valid=draw(st.booleans())) for name in (OURS, THEIRS) if draw(st.booleans())]
    not_null = draw(st.booleans())
    unproven = Name("soon", "soon") if not_null and draw(st.booleans()) else None
    names = draw(st.lists(st.sampled_from(["a", "b", "messages_message_sid_unique"]), unique=True))
    indexes = [Index(name=Name(name, name), valid=draw(st.booleans())) for name in names]
    taken = draw(st.sets(st.sampled_from(["messages_message_sid_unique", "messages_message_sid_unique_2"])))
    return replace(
        PLAIN,
        checks=checks,
        not_null=not_null,
        unproven=unproven,
        sids=indexes,
        taken=frozenset(taken | set(names)),
    )


@given(catalogs())
def test_relaxed(catalog: Catalog) -> None:
    """
    Whatever was left behind, what is shown is what is run, and afterwards nothing of ours demands a customer.
    """
    end, ran = followed(relaxed, catalog)

    assert ran == kinds(relaxed(catalog))
    assert not end.not_null
    assert end.check is None


@given(catalogs())
def test_restored(catalog: Catalog) -> None:
    """
    Whatever was left behind, the column is required at the end, of every row, and our check is gone; theirs stays.
    """
    end, ran = followed(restored, catalog)

    assert ran == kinds(restored(catalog))
    assert end.not_null
    assert end.unproven is None
    assert end.check is None
    assert {check.name for check in end.checks} == {check.name for check in catalog.checks} - {OURS}


@given(catalogs(), st.booleans())
def test_guarded(catalog: Catalog, blank: bool) -> None:
    """
    Whatever was left behind, a valid index is there at the end; one that is valid already is left alone.
    """
    end, ran = followed(guarded(blank=blank), catalog)

    assert ran == kinds(guarded(blank=blank)(catalog))
    assert any(index.valid for index in end.sids)
    assert all(index in end.sids for index in catalog.sids if index.valid)


def test_taken_back() -> None:
    """
    Only the indexes that a run made go, valid or not.
    """
    theirs = Index(name=THEIRS, valid=True)
    catalog = replace(PLAIN, sids=[INVALID, theirs])

    assert unguarded(frozenset())(catalog) == []
    assert followed(unguarded(frozenset({"left_behind"})), catalog)[0].sids == [theirs]


def test_names_of_indexes() -> None:
    """
    A name is cut between characters, quoted where it has to be, and never longer than PostgreSQL takes.
    """
    long = replace(PLAIN, table=Name("ä" * 40, "x"), sid=Name('si"d', '"si""d"'))

    [statement] = guarded(blank=False)(long)

    assert statement.target == Name("ä" * 13 + '_si"d_unique', '"' + "ä" * 13 + '_si""d_unique"')
    assert len(statement.target.raw.encode()) <= 63


# --- locks -----------------------------------------------------------------------------------------------------------


def test_what_a_statement_waits_for() -> None:
    """
    A strong lock waits for a mere reader, a gentle one only for changes of the table; building an index also for writers.
    """
    reader, writer = Session(pid=1, holds=["AccessShareLock"]), Session(pid=2, holds=["RowExclusiveLock"])
    vacuum, waiting = Session(pid=3, holds=["ShareUpdateExclusiveLock"]), Session(pid=4, awaits=["AccessExclusiveLock"])
    sessions = (reader, writer, vacuum, waiting)
    statements = [*restored(NULLABLE)[:2], *guarded(blank=False)(replace(PLAIN, sids=[INVALID]))]

    met = {str(one.kind): [session.pid for session in sessions if one.lock.meets(session)] for one in statements}

    assert met == {
        "add-check": [1, 2, 3, 4],
        "validate": [3, 4],
        "drop-index": [1, 2, 3, 4],
        "create-index": [2, 3, 4],
    }


def test_nothing_waits_for_ever() -> None:
    """
    Every statement has a limit for locks; one that keeps everybody waiting has one for itself, too.
    """
    everything = [*relaxed(PLAIN), *restored(NULLABLE), *guarded(blank=True)(replace(PLAIN, sids=[INVALID]))]

    for statement in everything:
        limits = statement.limits(Patience())
        assert limits["lock_timeout"] in {"2s", "60s"}
        strong = statement.lock.mode == "ACCESS EXCLUSIVE"
        assert limits["statement_timeout"] == ("5s" if strong else "0")
        assert strong == (limits["lock_timeout"] == "2s")


# --- squawk ----------------------------------------------------------------------------------------------------------


def squawked(statements: Sequence[Statement] | str, directory: Path) -> set[str]:
    """
    The rules of squawk that a script breaks.
    """
    squawk = shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")
    if squawk is None:
        pytest.skip("squawk is not installed; the extra `test` brings it")
    lines = (
        [line for statement in statements for line in statement.script(Patience())]
        if not isinstance(statements, str)
        else [statements]
    )
    script = directory / "migration.sql"
    script.write_text("\n".join(lines))
    done = subprocess.run(
        [squawk, "--pg-version", "15", "--reporter", "json", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return {found["rule_name"] for found in json.loads(done.stdout)}


def test_squawk_sees_what_it_should(tmp_path: Path) -> None:
    """
    The naive ways are refused, so that passing means something.
    """
    naive = (
        "ALTER TABLE messages ALTER COLUMN customer_id SET NOT NULL; CREATE UNIQUE INDEX x ON messages (message_sid);"
    )

    found = squawked(naive, tmp_path)

    assert {"adding-not-nullable-field", "require-concurrent-index-creation"} <= found


def test_squawk(tmp_path: Path) -> None:
    """
    The SQL of every verb passes squawk, but for the very things that the verb is for.
    """
    with_check = replace(NULLABLE, checks=[Check(name=OURS, valid=False)])
    rebuilding = replace(PLAIN, sids=[INVALID])

    assert squawked(relaxed(PLAIN), tmp_path) == {"ban-drop-not-null"}
    assert squawked(restored(NULLABLE), tmp_path) == {"ban-drop-constraint"}
    assert squawked(restored(with_check), tmp_path) == {"ban-drop-constraint"}
    assert squawked(guarded(blank=False)(PLAIN), tmp_path) == set()
    assert squawked(guarded(blank=True)(rebuilding), tmp_path) == set()
    assert squawked(unguarded(frozenset({"left_behind"}))(rebuilding), tmp_path) == set()
