"""
The December fault, done again beside the flow that takes its place, on the same world.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from booking_doctor.errors import RowConflict
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.old_flow import OldBookingService
from tests.core.desk import APP, OTHER_PHONE, PHONE, RealDesk, real_desk, request


@pytest.fixture(name="real")
def _real(scene: World) -> Iterator[RealDesk]:
    """
    A desk on the real adapters.
    """
    with real_desk(scene) as desk:
        yield desk


def test_the_old_flow_fails_where_the_new_one_does_not(real: RealDesk) -> None:
    """
    The old one texts, and is refused the row for want of a customer; the new one texts, waits for the customer, records.
    """
    real.clock.moment = real.scene.now
    old = OldBookingService(real.scene, APP)

    with pytest.raises(RowConflict, match="customer_id") as refused:
        old.initiate_booking(request(real, PHONE))
    old.close()

    assert "23502" in refused.value.summary
    ((lost, _, _),) = real.taken
    assert real.recorded == []
    assert real.scene.rows("SELECT metadata FROM pending_bookings") == [{"metadata": {}}]

    initiated = real.service.initiate_booking(request(real, OTHER_PHONE))
    confirmed = real.service.confirm_booking(initiated.token)

    assert [sid for sid, _, _ in real.taken] == [lost, confirmed.message_sid]
    assert [row.message_sid for row in real.recorded] == [confirmed.message_sid]


def test_the_old_flow_hides_its_failure_as_it_did(real: RealDesk) -> None:
    """
    The answer looks fine; only the log of the database knows, and the burnt number of a row that is not there.
    """
    old = OldBookingService(real.scene, APP, swallows=True)

    initiated = old.initiate_booking(request(real))
    old.close()

    assert initiated.booking_id
    assert len(real.taken) == 1
    assert real.recorded == []
    assert real.scene.rows("SELECT last_value FROM pg_sequences WHERE sequencename = 'messages_id_seq'") == [
        {"last_value": 1}
    ]
