"""
A bench and a patient for each test that asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from booking_doctor.adapters.postgres import Timeouts
from booking_doctor.doctor import Doctor
from booking_doctor.sandbox.incidents import World
from tests.repair.cases import CUSTOMER, PHONE, Bench, Patient, open_bench


@pytest.fixture(name="bench")
def _bench(database_url: str) -> Iterator[Bench]:
    """
    A ledger on an empty database with one customer, that waits half a second for locks.
    """
    with open_bench(database_url, timeouts=Timeouts(lock=0.5)) as bench:
        bench.sql("INSERT INTO customers (id, phone) VALUES (%(id)s, %(phone)s)", id=CUSTOMER, phone=PHONE)
        yield bench


@pytest.fixture(name="patient")
def _patient(scene: World, open_doctor: Callable[..., Doctor], doctor: Doctor) -> Patient:
    """
    A scene in which nothing has happened yet, with a doctor at hand.
    """
    return Patient(scene, open_doctor, doctor)
