"""
A plan as data: sealed and opened, limited, and held against the world.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.errors import PlanRefused
from booking_doctor.repair.plan import Plan, seal, still_matches, unseal
from booking_doctor.repair.steps import Left, Step, StepKind
from tests.repair.cases import change, insertion, plan_of

PLAN = plan_of(
    insertion(1, read_at=None),
    change(StepKind.RESTORE_METADATA, "b1", {"metadata": None}, {"metadata": '{"initial_sms":{}}'}),
    left=(Left(subject="message/SM9", reason="orphaned"),),
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
IMAGES = st.none() | st.dictionaries(TEXTS, st.none() | TEXTS, max_size=3)
STEPS = st.builds(
    Step,
    kind=st.sampled_from(StepKind),
    subject=TEXTS,
    table=TEXTS,
    row_id=st.none() | TEXTS,
    sid=TEXTS,
    before=IMAGES,
    after=IMAGES,
    reason=TEXTS,
)
PLANS = st.builds(
    lambda steps, left, **values: plan_of(*steps, left=tuple(left), **values),
    steps=st.lists(STEPS, max_size=3),
    left=st.lists(st.builds(Left, subject=TEXTS, reason=TEXTS), max_size=2),
    messages=st.integers(0, 10**9),
    since=TEXTS,
    all_senders=st.booleans(),
)


@given(PLANS)
def test_survives_json(plan: Plan) -> None:
    """
    A plan survives its file.
    """
    assert unseal(seal(plan), "plan.json") == plan


# --- the checksum ----------------------------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """
    Where the single values are.
    """
    if isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from leaves(item, (*path, place))
    else:
        yield path


def mutated(document: Any, path: tuple[Any, ...]) -> Any:
    """
    A copy with another value at that place, of the same type where there is one.
    """
    copy = json.loads(json.dumps(document))
    *way, last = path
    place = copy
    for key in way:
        place = place[key]
    old = place[last]
    place[last] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int) else f"{old or ''}x"
    return copy


DOCUMENT = json.loads(msgspec.json.encode(PLAN))


@pytest.mark.parametrize("path", list(leaves(DOCUMENT)), ids=str)
def test_checksum_covers(path: tuple[Any, ...]) -> None:
    """
    The checksum changes with any single value.
    """
    changed = mutated(DOCUMENT, path)
    if path[-1] in {"kind", "before"}:
        place = changed["steps"][path[1]]
        place[path[-1]] = "assign-customer" if path[-1] == "kind" else {}

    assert msgspec.convert(changed, Plan).checksum != PLAN.checksum


def test_checksum_covers_absence() -> None:
    """
    The checksum tells null from a missing key, and one order of steps from another.
    """
    without = plan_of(insertion(1), *PLAN.steps[1:], left=PLAN.left)

    assert without.checksum != PLAN.checksum
    assert msgspec.structs.replace(PLAN, steps=PLAN.steps[::-1]).checksum != PLAN.checksum


def test_checksum_ignores_key_order() -> None:
    """
    The order of keys is nothing that anybody reviewed.
    """

    def backwards(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in reversed(value)}
        return [backwards(item) for item in value] if isinstance(value, list) else value

    assert msgspec.convert(backwards(DOCUMENT), Plan).checksum == PLAN.checksum


def test_checksum_covers_true_values() -> None:
    """
    The file holds what will be written, not what a report shows of it.
    """
    assert "+15550101000" in seal(plan_of(insertion(1, to_number="+15550101000")))


# --- broken files ----------------------------------------------------------------------------------------------------


def test_truncated() -> None:
    """
    A file cut at any place is refused, with what to do.
    """
    sealed = seal(PLAN).removesuffix("\n")
    for end in range(len(sealed)):
        with pytest.raises(PlanRefused, match=r"plan\.json is no plan") as refused:
            unseal(sealed[:end], "plan.json")
        assert refused.value.hint == "make a new one with: booking-doctor backfill --save PLAN"


SEALED = json.loads(seal(PLAN))


@pytest.mark.parametrize("path", list(leaves(SEALED)), ids=str)
def test_edited(path: tuple[Any, ...]) -> None:
    """
    A file in which any value was edited is refused.
    """
    with pytest.raises(PlanRefused, match=r"^plan\.json (is no plan|was changed|was made by another)"):
        unseal(json.dumps(mutated(SEALED, path)), "plan.json")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "no plan", "\ufeff" + seal(PLAN), seal(PLAN) * 2, '{"checksum": "x"}', "[" * 99999]
)
def test_no_plan(text: str) -> None:
    """
    Any other file is refused in one sentence.
    """
    with pytest.raises(PlanRefused, match="is no plan of this version, or is truncated"):
        unseal(text, "plan.json")


def test_other_version() -> None:
    """
    A well-made plan of another version says so.
    """
    with pytest.raises(PlanRefused, match="made by another version"):
        unseal(seal(msgspec.structs.replace(PLAN, format=2)), "plan.json")


# --- limits ----------------------------------------------------------------------------------------------------------


def of_size(rows: int, messages: int) -> Plan:
    """
    A plan of so many steps for a window of so many messages.
    """
    return plan_of(*[insertion(1)] * rows, messages=messages)


@pytest.mark.parametrize(
    ("rows", "messages", "refused"),
    [
        (0, 0, False),
        (99, 99, False),
        (20, 100, False),
        (21, 100, True),
        (200, 1000, False),
        (201, 1000, True),
        (10_000, 50_000, False),
        (10_001, 10_000_000, True),
    ],
)
def test_limits(rows: int, messages: int, refused: bool) -> None:
    """
    Over a fifth of a window of a hundred, or over ten thousand rows, is no repair any more.
    """
    assert bool(of_size(rows, messages).too_large(None)) is refused


def test_limits_are_told() -> None:
    """
    The refusal has the numbers, the limit and the very option to add.
    """
    assert of_size(21, 100).too_large(None) == (
        "the plan has 21 steps, 21% of the window's 100 messages, the limit is 20%;"
        " if that is what you expect, add --max-changes 21"
    )
    assert of_size(10_001, 99).too_large(None) == (
        "the plan has 10,001 steps, the limit is 10,000; if that is what you expect, add --max-changes 10001"
    )
    assert of_size(3, 99).too_large(2) == (
        "the plan has 3 steps, --max-changes is 2; if that is what you expect, add --max-changes 3"
    )


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 300))
def test_max_changes_replaces_both(expected: int, rows: int, messages: int) -> None:
    """
    With an expectation nothing else counts.
    """
    assert bool(of_size(rows, messages).too_large(expected)) is (rows > expected)


@given(st.integers(0, 60), st.integers(0, 300))
def test_advice_is_enough(rows: int, messages: int) -> None:
    """
    The option that a refusal names lets the plan pass.
    """
    assert of_size(rows, messages).too_large(rows) is None


def test_counts() -> None:
    """
    The counts are those of the contract.
    """
    assert PLAN.counts() == {
        "planned": 2,
        "insert_message": 1,
        "restore_metadata": 1,
        "update_message": 0,
        "assign_customer": 0,
        "left": 1,
    }


# --- against the world -----------------------------------------------------------------------------------------------


def test_still_matches() -> None:
    """
    A plan matches a world that asks for its steps, whatever else it asks for by now, and when and how it was made.
    """
    fresh = plan_of(insertion(5), *reversed(PLAN.steps), made_at="later", messages=1000)

    still_matches(PLAN, fresh, ())


@pytest.mark.parametrize("field", ["host", "database", "oid", "account_sid"])
def test_other_place(field: str) -> None:
    """
    A plan for one database and account is carried out nowhere else; both are named.
    """
    there = msgspec.structs.replace(PLAN.target, **{field: 6 if field == "oid" else "other"})

    with pytest.raises(PlanRefused, match=r"made for bookings at db\.example:5432 \(number 5\).*, this is"):
        still_matches(PLAN, msgspec.structs.replace(PLAN, target=there), ())


@pytest.mark.parametrize("step", [0, 1])
def test_stale(step: int) -> None:
    """
    A step that the world no longer asks for makes the plan stale, unless an earlier run of it has carried it out.
    """
    others = [other for number, other in enumerate(PLAN.steps) if number != step]
    fresh = plan_of(*others)

    with pytest.raises(PlanRefused, match=rf"1 of its 2 steps .*\({PLAN.steps[step].subject}\)"):
        still_matches(PLAN, fresh, ())
    still_matches(PLAN, fresh, {step})


def test_stale_in_a_detail() -> None:
    """
    A step that the world asks for in any other way is stale too.
    """
    fresh = plan_of(insertion(1, read_at=None, status="sent"), PLAN.steps[1])

    with pytest.raises(PlanRefused, match="stale"):
        still_matches(PLAN, fresh, ())


def test_stale_names_three() -> None:
    """
    Of many stale steps the first three are named.
    """
    plan = plan_of(*(insertion(n) for n in range(1, 6)))

    with pytest.raises(PlanRefused, match=r"5 of its 5 steps .*1, message/SM0{31}2, message/SM0{31}3 …\)"):
        still_matches(plan, plan_of(), ())
