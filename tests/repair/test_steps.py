"""
A step knows its opposite.
"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.repair.steps import Image, Step, StepKind
from tests.repair.cases import change, insertion

COLUMNS = st.sampled_from(("status", "cost_usd", "body"))
IMAGES = st.dictionaries(COLUMNS, st.none() | st.text(), min_size=1)


@given(IMAGES, st.data())
def test_reverse(before: Image, data: st.DataObject) -> None:
    """
    The opposite of a change swaps its images, and its own opposite is the change.
    """
    after = {column: data.draw(st.none() | st.text()) for column in before}
    step = change(StepKind.UPDATE_MESSAGE, "7", before, after)

    assert (step.reverse().before, step.reverse().after) == (after, before)
    assert step.reverse().reverse() == step


def test_reverse_of_an_insert() -> None:
    """
    The opposite of an insert has no row afterwards.
    """
    step = insertion(1)

    assert (step.reverse().before, step.reverse().after) == (step.after, None)


def test_reverse_refuses() -> None:
    """
    Images of different columns show no way back.
    """
    step = change(StepKind.UPDATE_MESSAGE, "7", {"status": "sent"}, {"status": "delivered", "body": "new"})

    with pytest.raises(ValueError, match="not reversible"):
        step.reverse()


def test_unknown_field() -> None:
    """
    A step with a field that this version does not know is not read.
    """
    told = msgspec.to_builtins(insertion(1)) | {"surprise": 1}

    with pytest.raises(msgspec.ValidationError, match="surprise"):
        msgspec.convert(told, Step)
