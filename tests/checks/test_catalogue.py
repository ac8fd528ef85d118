"""
Every check is whole: a name of the contract's kind, a page that can be read, a place in the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from booking_doctor import checks
from booking_doctor.checks import CATALOGUE, select
from booking_doctor.checks.check import HEADINGS, Check, Evidence, Fault, check
from booking_doctor.errors import UsageError
from booking_doctor.findings import Severity

FAMILIES = {"env", "schema", "booking", "message", "job", "probe", "deployment", "log"}


def look(evidence: Evidence) -> Iterator[Fault]:
    """
    Nothing is wrong.

    ## Why it matters

    It does not.

    ## How to repair

    There is no need.

    ## When this is fine

    Always.
    """
    yield from ()


@pytest.mark.parametrize("made", CATALOGUE.values(), ids=lambda made: made.name)
def test_pages(made: Check) -> None:
    """
    A page opens with one sentence on a line of its own, has something under each heading, and names no check that is not there.
    """
    opening, *parts = re.split(rf"^(?:{'|'.join(HEADINGS)})$", made.page, flags=re.MULTILINE)

    assert made.family in FAMILIES
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", made.name)
    assert made.title == made.page.split("\n\n")[0], "the first sentence is the title, on one line"
    assert made.title.endswith(".")
    assert opening.strip()
    assert len(parts) == len(HEADINGS)
    assert all(part.strip() for part in parts)
    assert "\t" not in made.page
    for name in re.findall(r"booking-doctor explain ([a-z-]+)", made.page):
        assert name in CATALOGUE


@pytest.mark.parametrize("made", CATALOGUE.values(), ids=lambda made: made.name)
def test_order(made: Check) -> None:
    """
    What a check comes after is made before it.
    """
    order = list(CATALOGUE)

    assert all(order.index(name) < order.index(made.name) for name in made.after)
    assert made.limit_s > 0


def test_a_check_is_made_of_a_function() -> None:
    """
    Its name with dashes is the finding's, its docstring the page, and the fault may be more or less severe.
    """
    made = check(Severity.ERROR, after=("env-missing",), limit_s=3)(look)
    fault = Fault(subject="job/1", summary="It is.", remedy="Do.", evidence={"a": 1})

    assert (made.name, made.family, made.title) == ("look", "look", "Nothing is wrong.")
    assert (made.after, made.limit_s) == (("env-missing",), 3)
    assert made.finding(fault).severity is Severity.ERROR
    assert made.finding(fault).fingerprint == "look:job/1"
    lighter = Fault(subject="job/1", summary="It is.", remedy="Do.", evidence={}, severity=Severity.INFO)
    assert made.finding(lighter).severity is Severity.INFO


@pytest.mark.parametrize(
    "page", [None, "Nothing.", *(str(look.__doc__).replace(heading, "## Else") for heading in HEADINGS)]
)
def test_a_page_has_its_headings(page: str | None) -> None:
    """
    A docstring without one of them makes no check.
    """

    def wrong(evidence: Evidence) -> Iterator[Fault]:
        yield from ()

    wrong.__doc__ = page

    with pytest.raises(TypeError, match="the page of wrong needs ## Why it matters"):
        check(Severity.ERROR)(wrong)


def family(*made: Check) -> ModuleType:
    """
    A module with these checks.
    """
    module = ModuleType("family")
    for number, one in enumerate(made):
        setattr(module, f"check_{number}", one)
    return module


def test_the_catalogue_is_consistent() -> None:
    """
    Two checks of one name, or a prerequisite that is not there, are refused when the program starts.
    """
    one, orphan = check(Severity.ERROR)(look), check(Severity.ERROR, after=("nobody",))(look)

    assert checks._catalogue([family(one)]) == {"look": one}
    with pytest.raises(TypeError, match="share a name"):
        checks._catalogue([family(one), family(one)])
    with pytest.raises(TypeError, match="is not there"):
        checks._catalogue([family(orphan)])


# Choosing


def names(*chosen: str, ignored: tuple[str, ...] = (), family: str | None = None) -> list[str]:
    """
    The names that are left.
    """
    return [made.name for made in select(chosen, ignored, family=family)]


def test_choosing() -> None:
    """
    Names and families are taken, in the catalogue's order and each once; what is ignored is left out of that.
    """
    jobs = [name for name in CATALOGUE if name.startswith("job-")]

    assert names() == list(CATALOGUE)
    assert names("job") == jobs
    assert names("job-overdue", "job", "job-overdue") == jobs
    assert names("job-overdue") == ["job-overdue"]
    assert names("job", ignored=("job-overdue",)) == [name for name in jobs if name != "job-overdue"]
    assert names(ignored=("job",)) == [name for name in CATALOGUE if name not in jobs]


def test_a_family_command_keeps_to_its_family() -> None:
    """
    Its options narrow its own checks, and name no others.
    """
    assert names(family="job") == names("job")
    assert names("job-failed", family="job") == ["job-failed"]
    other = next(name for name in CATALOGUE if not name.startswith("job-"))
    with pytest.raises(UsageError, match=f"no check and no family '{other}' here"):
        names(other, family="job")


@pytest.mark.parametrize(("chosen", "ignored"), [(["job-failled"], []), ([], ["job-failled"])])
def test_an_unknown_name(chosen: list[str], ignored: list[str]) -> None:
    """
    It is refused with the nearest that is known, whichever option it came in.
    """
    with pytest.raises(UsageError, match="'job-failled'") as caught:
        select(chosen, ignored)

    assert "did you mean job-failed?" in str(caught.value.hint)


def test_nothing_left() -> None:
    """
    An examination that makes no check would find nothing, and that is no health.
    """
    with pytest.raises(UsageError, match="no check is left"):
        select(["job"], ["job"])
    with pytest.raises(UsageError, match="no check is left"):
        select([], ["job"], family="job")
