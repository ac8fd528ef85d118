"""
Which table is which, which column is which, and what is left to a person. Pure: the catalog is made up here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.naming import (
    COLUMN_SPELLINGS,
    TABLE_SPELLINGS,
    Column,
    Naming,
    Relation,
    name_everything,
    settings_file,
    shown,
    spelling,
)
from booking_doctor.naming.spelling import ENTITIES
from booking_doctor.preferences import preferences
from booking_doctor.settings import COLUMNS, NEEDED, REFERENCES, Names

OIDS = {table: number for number, table in enumerate(COLUMNS, start=1)}
_more = count(100)


def _kind(table: str, name: str) -> str:
    if name in {"metadata", "payload", "details"}:
        return "json"
    if name in {"segments", "attempts", "capacity", "cost_usd"}:
        return "number"
    if name.endswith("_at"):
        return "time"
    return "uuid" if name == "id" or (table, name) in REFERENCES else "text"


def column(table: str, name: str, called: str | None = None) -> Column:
    """
    A column as the incident's schema has it, under another name.
    """
    target = REFERENCES.get((table, name))
    return Column(
        name=called or name,
        kind=_kind(table, name),
        primary=name == "id",
        unique=name in {"id", "token"},
        target=OIDS[target] if target else None,
    )


def relation(
    table: str, called: str | None = None, *more: Column, schema: str = "public", oid: int | None = None, **columns: str
) -> Relation:
    """
    A table as the incident's schema has it, under another name, with other columns; one called "" is not there.
    """
    kept = [name for name in COLUMNS[table] if columns.get(name) != ""]
    return Relation(
        oid=oid or OIDS[table],
        schema=schema,
        name=called or table,
        default=schema == "public",
        columns=(*(column(table, name, columns.get(name)) for name in kept), *more),
    )


def schema(*changed: Relation, without: Sequence[str] = ()) -> list[Relation]:
    """
    The incident's schema, with some tables changed.
    """
    own = {OIDS[table]: relation(table) for table in COLUMNS if table not in without}
    return list((own | {one.oid: one for one in changed}).values())


def reasons(naming: Naming) -> dict[str, str]:
    """
    Doubts by what they are about.
    """
    return {doubt.subject: doubt.why for doubt in naming.doubts}


def names(naming: Naming) -> Names:
    """
    What the settings file says, less tables that are called as the doctor calls them.
    """
    written = preferences(tomllib.loads(settings_file(naming)), "written").names
    tables = {table: here for table, here in written.tables.items() if table != here}
    return Names(schema=written.schema, schemas=written.schemas, tables=tables, columns=written.columns)


def test_the_tables_of_this_module() -> None:
    """
    They speak of what there is.
    """
    assert set(TABLE_SPELLINGS) == set(ENTITIES) == set(COLUMNS)
    everywhere = {name for columns in COLUMNS.values() for name in columns}
    own = {f"{table}.{name}" for table, columns in COLUMNS.items() for name in columns}
    assert set(COLUMN_SPELLINGS) <= everywhere | own


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("message_sid", "message_sid"),
        ("messageSid", "message_sid"),
        ("MessageSID", "message_sid"),
        ("TWILIO-SIDs", "twilio_sid"),
        ("guestMobileNumber", "customer_phone"),
        ("phone no.", "phone"),
        ("mobile_phone", "phone"),
        ("status", "status"),
        ("SMS", "sms"),
        ("Entries", "entry"),
        ("naïve größe", "naïve_grösse"),
        ("", ""),
        ("—", ""),
    ],
)
def test_spelling(name: str, spelled: str) -> None:
    """
    Case, separators, plurals and synonyms make no difference.
    """
    assert spelling(name) == spelled


def test_nothing_to_map() -> None:
    """
    The doctor's own names, whatever else there is: nothing is written, nothing doubted.
    """
    chat = Relation(oid=50, schema="realtime", name="messages", columns=(Column(name="topic", kind="text"),))
    users = Relation(oid=51, schema="auth", name="users", columns=relation("customers").columns)
    naming = name_everything([*schema(), chat, users])

    assert (naming.schema, naming.sure, naming.renamed, reasons(naming), naming.open) == (None, True, {}, {}, [])
    assert names(naming) == Names()


@pytest.mark.parametrize(
    ("changed", "renamed"),
    [
        (
            relation("messages", "sms_messages", message_sid="twilio_sid"),
            {"messages": "sms_messages", "messages.message_sid": "twilio_sid"},
        ),
        (relation("messages", "MessageLog"), {"messages": "MessageLog"}),
        (relation("messages", "app_messages"), {"messages": "app_messages"}),
        (relation("messages", "kommunikation"), {"messages": "kommunikation"}),
        (
            relation("messages", body="sms_body", status="msg_status"),
            {"messages.body": "sms_body", "messages.status": "msg_status"},
        ),
        (
            relation("messages", customer_id="belongs_to", id="key"),
            {"messages.customer_id": "belongs_to", "messages.id": "key"},
        ),
        (relation("customers", "guests", phone="mobile"), {"customers": "guests", "customers.phone": "mobile"}),
        (relation("customers", "people_we_know"), {"customers": "people_we_know"}),
        (relation("pending_bookings", "reservation_requests"), {"pending_bookings": "reservation_requests"}),
        (relation("pending_bookings", token="confirmation_token"), {"pending_bookings.token": "confirmation_token"}),
        (relation("jobs", "sms_queue", run_at="due_at"), {"jobs": "sms_queue", "jobs.run_at": "due_at"}),
        (relation("messages", twilio_message_sid=""), {}),
        (
            relation("messages", message_sid=""),
            {"messages.message_sid": "twilio_message_sid", "messages.twilio_message_sid": "message_sid"},
        ),
    ],
)
def test_certain(changed: Relation, renamed: Mapping[str, str]) -> None:
    """
    By spelling and type, by the primary key, by where a foreign key points, by nearly all columns.
    """
    naming = name_everything(schema(changed))

    assert (naming.renamed, naming.open) == (renamed, [])
    written = names(naming)
    columns = {f"{table}.{name}": here for (table, name), here in written.columns.items()}
    assert {**written.tables, **columns} == renamed


def test_a_table_of_another_kind_with_the_name() -> None:
    """
    A chat's `messages` are not the texts: the table that has the columns is taken.
    """
    chat = Relation(
        oid=50, schema="public", name="messages", default=True, columns=(Column(name="topic", kind="text"),)
    )

    assert name_everything([*schema(relation("messages", "sms")), chat]).renamed == {"messages": "sms"}


def test_the_type_has_to_fit() -> None:
    """
    A number called `content` is no body, and what is left of the type is named.
    """
    changed = relation("messages", None, Column(name="content", kind="number"), body="")
    naming = name_everything(schema(changed))

    assert naming.open == ["messages.body"]
    assert reasons(naming) == {"messages.body": "no column looks like it; no other column has its type"}


def test_the_few_that_are_left() -> None:
    """
    Columns that only have the type are offered as comments, as long as they are few.
    """
    naming = name_everything(schema(relation("messages", direction="way")))
    assert reasons(naming) == {"messages.direction": 'no column looks like it; of its type there are "way"'}
    assert settings_file(naming).endswith('# direction = "way"\n')

    more = [Column(name=f"note_{number}", kind="text") for number in "abc"]
    naming = name_everything(schema(relation("messages", None, *more, direction="way")))
    assert "# direction =" not in settings_file(naming)


def test_a_server_with_many_tables() -> None:
    """
    A schema for each tenant is looked through in a moment.
    """
    begun = process_time()
    naming = name_everything([one for number in range(250) for one in _moved(schema(), f"tenant_{number:03}")])

    assert process_time() - begun < 5
    assert not naming.sure


def test_a_foreign_key_elsewhere() -> None:
    """
    A `client_id` that points at another table is not the customer.
    """
    other = Relation(oid=60, schema="public", name="agencies", default=True)
    changed = relation("messages", None, Column(name="client_id", kind="uuid", target=60), customer_id="")
    naming = name_everything([*schema(changed), other])

    assert naming.open == ["messages.customer_id"]
    changed = relation(
        "messages", None, Column(name="booking_id", kind="uuid", target=OIDS["pending_bookings"]), customer_id=""
    )
    assert name_everything(schema(changed)).open == ["messages.customer_id"]


def test_two_columns_that_could_be_it() -> None:
    """
    Neither is taken, unless one alone is unique as a SID is.
    """
    sids = [Column(name="provider_id", kind="text"), Column(name="external_id", kind="text")]
    naming = name_everything(schema(relation("messages", None, *sids, message_sid="", twilio_message_sid="")))

    assert naming.open == ["messages.message_sid"]
    assert reasons(naming) == {
        "messages.message_sid": '"provider_id", "external_id" could each be it, and not exactly one is unique'
    }
    assert '# message_sid = "external_id"' in settings_file(naming).splitlines()

    sids[1] = Column(name="external_id", kind="text", unique=True)
    naming = name_everything(schema(relation("messages", None, *sids, message_sid="", twilio_message_sid="")))
    assert (naming.renamed, naming.open) == ({"messages.message_sid": "external_id"}, [])


def test_a_similar_name_is_a_comment() -> None:
    """
    It may be right, and nothing says so.
    """
    naming = name_everything(schema(relation("customers", phone="customers_phone_now")))

    assert reasons(naming) == {"customers.phone": "it has the type, and only a similar name"}
    assert naming.open == ["customers.phone"]
    assert names(naming) == Names()


def test_two_tables_that_could_be_it() -> None:
    """
    All names are comments, and taking one # away makes a settings file.
    """
    without = ("messages",)
    one, two = relation("messages", "sms"), relation("messages", "texts", oid=70)
    naming = name_everything([*schema(without=without), one, two])

    assert naming.open == ["messages"]
    assert reasons(naming) == {"messages": '"sms", "texts" could each be it'}
    text = settings_file(naming)
    assert preferences(tomllib.loads(text), "undecided").names.table("messages") == "messages"
    decided = text.replace('# name = "texts"', 'name = "texts"')
    assert preferences(tomllib.loads(decided), "decided").names.table("messages") == "texts"


def test_a_stranger_with_few_columns() -> None:
    """
    Staff have a name and a phone too: such a table is not the customers without anything that points at it.
    """
    staff = relation("customers", "staff", oid=70)
    messages = relation("messages", None, Column(name="customer_id", kind="uuid"), customer_id="")
    bookings = [relation(table, None, customer_id="") for table in ("pending_bookings", "bookings")]
    naming = name_everything([*schema(messages, *bookings, without=("customers",)), staff])

    assert naming.open == ["customers"]
    assert reasons(naming)["customers"] == "it has 5 of the 5 columns, but is called otherwise"


def test_nothing_at_all() -> None:
    """
    An empty database: everything needed is open, nothing is claimed.
    """
    naming = name_everything([])

    assert naming.open == list(NEEDED)
    assert reasons(naming) == dict.fromkeys(NEEDED, "no table looks like it")
    assert names(naming) == Names()


def test_a_view() -> None:
    """
    It is taken under the doctor's own name, with a remark; never under another.
    """
    view = Relation(
        oid=50, schema="public", name="messages", default=True, table=False, columns=relation("messages").columns
    )
    naming = name_everything([*schema(without=("messages",)), view])
    assert (naming.open, list(reasons(naming))) == ([], ["messages"])

    other = Relation(oid=50, schema="public", name="sms", default=True, table=False, columns=view.columns)
    assert name_everything([*schema(without=("messages",)), other]).open == ["messages"]


# Schemas


def _moved(relations: Sequence[Relation], schema: str, *, filled: bool = False) -> list[Relation]:
    """
    Copies in another schema that no search path names.
    """
    numbers = {one.oid: next(_more) for one in relations}
    return [
        Relation(
            oid=numbers[one.oid],
            schema=schema,
            name=one.name,
            filled=filled,
            columns=tuple(
                Column(
                    name=each.name,
                    kind=each.kind,
                    primary=each.primary,
                    unique=each.unique,
                    target=numbers.get(each.target or 0),
                )
                for each in one.columns
            ),
        )
        for one in relations
    ]


def test_another_schema() -> None:
    """
    It is set where bare names do not lead there.
    """
    naming = name_everything(_moved(schema(), "app"))

    assert (naming.schema, naming.renamed, naming.open) == ("app", {}, [])
    assert names(naming) == Names(schema="app")


def test_the_search_path_comes_first() -> None:
    """
    A copy elsewhere is named in a comment, with whether it has rows.
    """
    naming = name_everything([*schema(), *_moved(schema(), "staging", filled=True)])

    assert (naming.schema, naming.open) == (None, [])
    assert reasons(naming)["messages"] == (
        'another table of this name is "staging"."messages"; it has rows, and "public"."messages" has none that are known of'
    )
    assert names(naming) == Names()


def test_of_two_schemas_the_one_with_rows() -> None:
    """
    Where both have some, or neither, a person decides: every name is a comment.
    """
    empty, used, also = (_moved(schema(), name, filled=name != "a") for name in "abc")

    assert name_everything([*empty, *used]).schema == "b"
    naming = name_everything([*empty, *used, *also])
    assert (naming.sure, naming.open) == (False, list(NEEDED))
    undecided = preferences(tomllib.loads(settings_file(naming)), "undecided").names
    assert (undecided.schema, [undecided.table(table) for table in NEEDED]) == (None, list(NEEDED))
    assert '# schema = "c"' in settings_file(naming).splitlines()


def test_tables_in_two_schemas() -> None:
    """
    A table that lies apart has its schema beside its name.
    """
    customers = _moved([relation("customers", "clients")], "crm")
    naming = name_everything([*_moved(schema(without=("customers",)), "app"), *customers])

    assert (naming.schema, naming.open, reasons(naming)) == ("app", [], {})
    assert names(naming) == Names(schema="app", schemas={"customers": "crm"}, tables={"customers": "clients"})
    assert naming.renamed == {"customers": '"crm"."clients"'}


def test_messages_in_another_schema() -> None:
    """
    Also where the other tables need no schema.
    """
    naming = name_everything([*schema(without=("messages",)), *_moved([relation("messages")], "sms")])

    assert (naming.schema, naming.open) == (None, [])
    assert names(naming) == Names(schemas={"messages": "sms"})


def test_a_table_in_several_other_schemas() -> None:
    """
    Nobody is asked and nothing is guessed: the comment names them.
    """
    several = [one for where in ("one", "two") for one in _moved([relation("messages")], where)]
    naming = name_everything([*schema(without=("messages",)), *several])

    assert naming.open == ["messages"]
    assert '"one"."messages", "two"."messages" could each be it' in reasons(naming)["messages"]
    assert names(naming) == Names()


def test_a_stranger_in_another_schema() -> None:
    """
    What has the columns and nothing of the name may be anybody's there.
    """
    naming = name_everything([*schema(without=("messages",)), *_moved([relation("messages", "xyz")], "theirs")])

    assert naming.open == ["messages"]


def test_an_optional_table_in_another_schema() -> None:
    """
    A table that the doctor can do without is found there, too.
    """
    jobs = _moved([relation("jobs")], "queue")
    naming = name_everything([*schema(without=("jobs",)), *jobs])

    assert names(naming) == Names(schemas={"jobs": "queue"})


def test_a_table_that_may_not_be_read() -> None:
    """
    A table is known from the catalog whether or not it may be read; where it may not, that is said.
    """
    closed = [replace(one, readable=one.name != "messages") for one in schema()]
    naming = name_everything(closed)

    assert (naming.open, naming.closed) == ([], ["messages"])
    assert "may not be read by this role" in reasons(naming)["messages"]


# Hostile names

_names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=15)


@given(_names)
def test_any_name_is_one_line_of_toml(name: str) -> None:
    """
    It reads back as it was, and holds nothing that ends a line, a string or a comment.
    """
    assert tomllib.loads(f"name = {shown(name)} # {shown(name)}") == {"name": name}
    assert shown(name).isprintable()


@given(schema_name=_names, table=_names, body=_names, other=_names)
def test_any_names_are_accepted_as_written(schema_name: str, table: str, body: str, other: str) -> None:
    """
    What is written is what was meant, and the settings accept it.
    """
    wild = relation("messages", table, Column(name=other, kind="text"), body=body)
    naming = name_everything(_moved(schema(wild), schema_name))
    written = names(naming)

    assert written.schema == (schema_name if naming.sure else None)
    for owner, match in naming.matches.items():
        assert written.table(owner) == match.relation.name
        assert all(written.column(owner, name) == here for name, here in match.columns.items())


@given(
    st.lists(
        st.sampled_from(sorted({name for columns in COLUMNS.values() for name in columns} | {"sid", "x", "data"})),
        unique=True,
    )
)
def test_no_two_columns_share_a_name(columns: list[str]) -> None:
    """
    Whatever columns there are, the file is one that the doctor accepts.
    """
    odd = Relation(
        oid=90,
        schema="public",
        name="messages",
        default=True,
        columns=tuple(Column(name=name, kind=_kind("messages", name)) for name in columns),
    )
    naming = name_everything([*schema(without=("messages",)), odd])

    assert names(naming).columns == {
        ("messages", name): here for name, here in naming.matches["messages"].columns.items() if name != here
    }


def test_a_name_of_63_bytes() -> None:
    """
    As long as PostgreSQL lets it be.
    """
    longest = "sms_log_" + "é" * 27 + "x"
    naming = name_everything(schema(relation("messages", longest)))

    assert len(longest.encode()) == 63
    assert names(naming).table("messages") == longest
