"""
Weighing: a pure function of readings, whatever they are; and the catalogue it weighs.
"""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.causes import CATALOGUE, SIGNALS, STANDING
from booking_doctor.causes.cause import HEADINGS, Cause, Clue, Layer, Reading, Weighed, unexplained, weigh
from booking_doctor.checks import CATALOGUE as CHECKS
from booking_doctor.findings import CauseVerdict

CAUSES = list(CATALOGUE.values())
NAMES = sorted({name for cause in CAUSES for name in cause.signals})
SURE = list(CauseVerdict)
RUNNABLE = (
    r"booking-doctor [a-z]|vercel |grep -|git branch|\b(UPDATE|SELECT|NOTIFY|ON CONFLICT|SET metadata =|metadata =) ?"
)
PAGE = "It is so.\n\n" + "\n\n".join(f"{heading}\n\nWords." for heading in HEADINGS)


def reading(seen: bool | None) -> Reading:
    """
    A reading with words that tell which it is.
    """
    return Reading(seen, {True: "it is there", False: "it is not there", None: "nobody could look"}[seen])


readings = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([True, False, None]).map(reading))
causes = st.sampled_from(CAUSES)


def only(found: list[Weighed], cause: Cause) -> Weighed | None:
    """
    What became of that cause.
    """
    return next((one for one in found if one.cause is cause), None)


@given(readings, causes, st.data())
def test_more_evidence_never_lowers(given: dict[str, Reading], cause: Cause, data: st.DataObject) -> None:
    """
    Whatever is known, one more sign for a cause makes it no less sure and no lighter.
    """
    harmful = {*cause.refuted_by, *(clue.signal for clue in cause.clues if clue.weight < 0)}
    sign = data.draw(st.sampled_from(sorted(cause.signals - harmful)))

    before, after = only(weigh(given, CAUSES), cause), only(weigh({**given, sign: reading(True)}, CAUSES), cause)

    if before is not None:
        assert after is not None
        assert SURE.index(after.verdict) <= SURE.index(before.verdict)
        assert after.weight >= before.weight


@given(readings, st.randoms())
def test_order_does_not_matter(given: dict[str, Reading], random: Random) -> None:
    """
    Neither the order of the readings nor that of the causes changes what is said of any cause.
    """
    names, shuffled = list(given), [*CAUSES]
    random.shuffle(names)
    random.shuffle(shuffled)

    told = {one.cause.id: one for one in weigh(given, CAUSES)}

    assert {one.cause.id: one for one in weigh({name: given[name] for name in names}, shuffled)} == told


@given(readings)
def test_confirmed_only_on_proof(given: dict[str, Reading]) -> None:
    """
    No cause is confirmed unless all signals of one of its proofs are seen, and nothing that excludes it.
    """
    for one in weigh(given, CAUSES):
        if one.verdict is CauseVerdict.CONFIRMED:
            assert any(all(given[name].seen for name in proof if name in given) for proof in one.cause.proofs)
            assert not any(given[name].seen for name in one.cause.refuted_by if name in given)


@given(readings)
def test_excluded_only_by_evidence(given: dict[str, Reading]) -> None:
    """
    A cause is excluded only by what was seen, or by what was looked for and is not there; never by what is not known.
    """
    for one in weigh(given, CAUSES):
        if one.verdict is CauseVerdict.EXCLUDED:
            looked = {name for name, found in given.items() if found.seen is False}
            refuted = any(given[name].seen for name in one.cause.refuted_by if name in given)
            assert refuted or any(looked.issuperset(group) for group in one.cause.needs)
            assert one.against


@given(readings)
def test_only_what_explains_is_a_candidate(given: dict[str, Reading]) -> None:
    """
    A cause of which neither harm nor sign is seen is not told; they come surest first, then weightiest.
    """
    found = weigh(given, CAUSES)

    assert all(
        any(given[name].seen for name in (*one.cause.explains, *one.cause.signs) if name in given) for one in found
    )
    order = [(SURE.index(one.verdict), -one.weight, CAUSES.index(one.cause)) for one in found]
    assert order == sorted(order)


@given(readings)
def test_without_harm_nothing_is_likely(given: dict[str, Reading]) -> None:
    """
    However wrongly something is set up: while none of its harm is seen, it is no more than possible.
    """
    for one in weigh(given, CAUSES):
        if one.verdict in {CauseVerdict.CONFIRMED, CauseVerdict.LIKELY}:
            assert any(given[name].seen for name in one.cause.explains if name in given)


def test_how_things_are_set_up_proves_nothing() -> None:
    """
    No proof is made of signals of how things are now alone: each names something that happened.
    """
    assert [cause.id for cause in CAUSES for proof in cause.proofs if STANDING.issuperset(proof)] == []


def test_nothing_seen() -> None:
    """
    Where nothing is seen, no cause is told, whether it was looked at or not.
    """
    assert weigh({}, CAUSES) == []
    assert weigh({name: reading(False) for name in NAMES}, CAUSES) == []
    assert weigh({name: reading(None) for name in NAMES}, CAUSES) == []


def test_unexplained() -> None:
    """
    A symptom counts as explained by a cause that is likely or confirmed, not by one that is merely possible.
    """
    sign = Clue("sign", 4)
    cause = Cause(id="one", layer=Layer.DATA, page=PAGE, explains=("fever",), clues=(sign,), remedy="Rest.")
    fever, cough = {"fever": reading(True)}, {"cough": reading(True)}

    assert unexplained(["fever", "cough"], fever | cough, weigh(fever | cough, [cause])) == ["fever", "cough"]
    sure = fever | cough | {"sign": reading(True)}
    assert unexplained(["fever", "cough"], sure, weigh(sure, [cause])) == ["cough"]
    assert unexplained(["fever"], {"fever": reading(False)}, []) == []


def test_unknown_is_said() -> None:
    """
    What would have decided and could not be looked at is told with its reason, and excludes nothing.
    """
    cause = Cause(
        id="one",
        layer=Layer.DATA,
        page=PAGE,
        explains=("fever",),
        needs=(("a", "b"),),
        proofs=(("a",),),
        remedy="Rest.",
    )

    [open_] = weigh({"fever": reading(True), "a": reading(None), "b": reading(False)}, [cause])
    [closed] = weigh({"fever": reading(True), "a": reading(False), "b": reading(False)}, [cause])

    assert (open_.verdict, open_.unknown) == (CauseVerdict.POSSIBLE, ("nobody could look",))
    assert (closed.verdict, closed.against) == (CauseVerdict.EXCLUDED, ("it is not there",))


def test_a_page_needs_its_headings() -> None:
    """
    A cause without one of them, or with a clue that means the same either way, cannot be made.
    """
    with pytest.raises(TypeError, match="needs ## How it works"):
        Cause(id="one", layer=Layer.DATA, page="It is so.", explains=(), remedy="")
    with pytest.raises(TypeError, match="means the same"):
        Cause(id="one", layer=Layer.DATA, page=PAGE, explains=(), remedy="", clues=(Clue("a", 1, 1),))


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_catalogue(cause: Cause) -> None:
    """
    Every cause can be a candidate, has a title of one line and a remedy, and looks at signals that there are.
    """
    assert cause.explains
    assert 20 < len(cause.title) < 130
    assert "\n" not in cause.title
    assert re.search(RUNNABLE, cause.remedy), "a remedy holds a command or SQL that can be run"
    assert cause.signals <= SIGNALS.keys() | CHECKS.keys()
    assert set(cause.remedies) <= CHECKS.keys()
    assert all(signal.meaning.endswith(".") for signal in SIGNALS.values())
