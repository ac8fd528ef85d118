"""
What a database calls the application's tables and columns, guessed from its catalog.

A name is certain by how it is spelled together with its type, or by what the catalog says of it: a primary key, a foreign
key. Whatever is less than certain is a `Doubt`, with its reason, and never part of the mapping. Nothing here asks a
database; the facts come from `booking_doctor.adapters.introspection`.
"""

from __future__ import annotations

from booking_doctor.naming.columns import Match
from booking_doctor.naming.doubts import Doubt
from booking_doctor.naming.everything import Naming, name_everything
from booking_doctor.naming.relations import Column, Relation, shown
from booking_doctor.naming.settings_file import settings_file
from booking_doctor.naming.spelling import COLUMN_SPELLINGS, TABLE_SPELLINGS, spelling

__all__ = [
    "COLUMN_SPELLINGS",
    "TABLE_SPELLINGS",
    "Column",
    "Doubt",
    "Match",
    "Naming",
    "Relation",
    "name_everything",
    "settings_file",
    "shown",
    "spelling",
]
