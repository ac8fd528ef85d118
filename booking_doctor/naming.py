"""
What a database calls the application's tables and columns, guessed from its catalog.

A name is certain by how it is spelled together with its type, or by what the catalog says of it: a primary key, a foreign
key. Whatever is less than certain is a `Doubt`, with its reason, and never part of the mapping. Nothing here asks a
database; the facts come from `booking_doctor.adapters.introspection`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, cached_property
from typing import Final

from booking_doctor.settings import COLUMNS

NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": (
        *("id", "customer_id", "direction", "message_sid", "body", "status", "from_number", "to_number", "created_at"),
    ),
    "customers": ("id", "phone"),
    "pending_bookings": ("id", "customer_phone", "status", "metadata", "created_at"),
}
"""What no comparison can do without, by the doctor's names."""

REFERENCES: Final = {
    ("messages", "customer_id"): "customers",
    ("pending_bookings", "customer_id"): "customers",
    ("pending_bookings", "event_id"): "events",
    ("bookings", "customer_id"): "customers",
    ("bookings", "event_id"): "events",
    ("bookings", "pending_booking_id"): "pending_bookings",
}
"""Which table a column points at."""


# Facts of the catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """
    A column as the catalog has it.

    Attributes:
        kind: ``text``, ``number``, ``time`` (a date with its time), ``json``, ``uuid``, ``enum`` or ``other``.
        unique, primary: By an index on it alone.
        target: The relation that a foreign key on it alone points at.
    """

    name: str
    kind: str
    not_null: bool = False
    unique: bool = False
    primary: bool = False
    target: int | None = None


@dataclass(frozen=True, kw_only=True)
class Relation:
    """
    A table or view as the catalog has it.

    Attributes:
        oid: Its identifier in the catalog.
        table: A table, so that rows can be written to it.
        default: It is what its bare name means to the doctor as long as no schema is set.
        filled: It is known to have rows.
    """

    oid: int
    schema: str
    name: str
    table: bool = True
    default: bool = False
    filled: bool = False
    columns: Sequence[Column] = ()

    @cached_property
    def spellings(self) -> frozenset[str]:
        """
        How its columns are spelled.
        """
        return frozenset(spelling(column.name) for column in self.columns)

    @property
    def path(self) -> str:
        """
        Schema and name, for people.
        """
        return f"{shown(self.schema)}.{shown(self.name)}"


# What came of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """
    What a person has to decide.

    Attributes:
        table, column: By the doctor's names; no table where it is about the schema, no column where about the table.
        perhaps: What it may be called here.
    """

    table: str | None
    column: str | None = None
    perhaps: tuple[str, ...] = ()
    why: str

    @property
    def subject(self) -> str:
        """
        What it is about.
        """
        return ".".join(name for name in (self.table or "schema", self.column) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """
    One of the doctor's tables, found.

    Attributes:
        columns: What its columns are called here, by the doctor's names.
    """

    relation: Relation
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """
    What this database calls the application's tables and columns.

    Attributes:
        schema: The schema that must be set; None where the names lead there without.
        sure: False where the schema is only one of several that would do: then no name is certain.
    """

    schema: str | None
    sure: bool
    matches: Mapping[str, Match]
    doubts: Sequence[Doubt]

    @property
    def open(self) -> list[str]:
        """
        What no comparison can do without, and is not certain.
        """
        if not self.sure:
            return list(NEEDED)
        return [
            name
            for table, columns in NEEDED.items()
            for name in (
                [f"{table}.{column}" for column in self._lacking(table, columns)] if table in self.matches else [table]
            )
        ]

    def _lacking(self, table: str, columns: Iterable[str]) -> list[str]:
        return [column for column in columns if column not in self.matches[table].columns]

    @property
    def renamed(self) -> dict[str, str]:
        """
        Tables and columns that are called otherwise, by the doctor's names.
        """
        called = {table: match.relation.name for table, match in self.matches.items() if match.relation.name != table}
        return called | {
            f"{table}.{column}": name
            for table, match in self.matches.items()
            for column, name in match.columns.items()
            if column != name
        }


def name_everything(relations: Sequence[Relation]) -> Naming:
    """
    Find the application's tables and columns among all that there are.

    The tables that bare names lead to are taken unless a schema has more of what is needed.
    """
    default = _matches([relation for relation in relations if relation.default])
    places = {
        schema: _matches([relation for relation in relations if relation.schema == schema])
        for schema in sorted({relation.schema for relation in relations})
    }
    best = max(map(_worth, places.values()), default=0)
    if _worth(default) >= best:
        return _naming(None, default, relations)
    rivals = [schema for schema, matches in places.items() if _worth(matches) == best]
    chosen, *others = [schema for schema in rivals if _in_use(places[schema])] or rivals
    return _naming(chosen, places[chosen], relations, others)


def _worth(matches: Mapping[str, Match]) -> int:
    """
    How much of what is needed is there: whole tables count more than any number of columns.
    """
    found = {table: set(columns) & set(matches[table].columns) for table, columns in NEEDED.items() if table in matches}
    whole = sum(len(found[table]) == len(NEEDED[table]) for table in found)
    return 100 * whole + sum(map(len, found.values()))


def _in_use(matches: Mapping[str, Match]) -> bool:
    return any(match.relation.filled for match in matches.values())


def _naming(
    schema: str | None, matches: Mapping[str, Match], relations: Sequence[Relation], rivals: Sequence[str] = ()
) -> Naming:
    here = [r for r in relations if (r.default if schema is None else r.schema == schema)]
    doubts = [
        *_doubts_of_schemas(schema, rivals),
        *(doubt for table in COLUMNS for doubt in _doubts(table, matches, here, relations)),
    ]
    return Naming(schema=schema, sure=not rivals, matches=matches, doubts=doubts)


# Tables


@dataclass(frozen=True, slots=True)
class _Candidate:
    """
    A relation that may be one of the doctor's tables.

    Attributes:
        kinship: How close its name is, see `_kinship`; a foreign key that points at it is closer than any name.
    """

    relation: Relation
    columns: Mapping[str, str]
    whole: bool
    kinship: int
    share: float

    @property
    def rank(self) -> tuple[bool, int]:
        return self.whole, self.kinship


_ORDER: Final = ("messages", "pending_bookings", "customers", *(t for t in COLUMNS if t not in NEEDED))
"""First those that are easily told; what they point at helps with the others."""


def _matches(relations: Sequence[Relation]) -> dict[str, Match]:
    found: dict[str, Match] = {}
    for table in _ORDER:
        candidates = _candidates(table, relations, found)
        if _certain(candidates):
            found[table] = Match(relation=candidates[0].relation, columns=candidates[0].columns)
    # NOTE: a column is known by the table it points at, which may have been found after it.
    return {
        table: Match(relation=found[table].relation, columns=_columns(found[table].relation, table, found))
        for table in COLUMNS
        if table in found
    }


def _candidates(table: str, relations: Sequence[Relation], found: Mapping[str, Match]) -> list[_Candidate]:
    """
    Best first.
    """
    taken = {match.relation.oid for match in found.values()}
    pointed = _pointed_at(table, found)
    candidates = [
        _candidate(table, relation, found, pointed)
        for relation in relations
        if relation.oid not in taken and _may_be(table, relation)
    ]
    likely = [candidate for candidate in candidates if _likely(table, candidate)]
    likely = likely or [candidate for candidate in candidates if candidate.relation.name == table]
    return sorted(likely, key=lambda candidate: (*candidate.rank, candidate.share), reverse=True)


def _may_be(table: str, relation: Relation) -> bool:
    if relation.name == table:
        return True
    return relation.table and relation.name not in COLUMNS and len(relation.spellings & _vocabulary(table)) > 1


def _candidate(table: str, relation: Relation, found: Mapping[str, Match], pointed: Collection[int]) -> _Candidate:
    columns = _columns(relation, table, found)
    return _Candidate(
        relation=relation,
        columns=columns,
        whole=set(NEEDED.get(table, COLUMNS[table])) <= set(columns),
        kinship=_POINTED_AT if relation.oid in pointed else _kinship(table, relation.name),
        share=len(columns) / len(COLUMNS[table]),
    )


_POINTED_AT: Final = 4


def _kinship(table: str, name: str) -> int:
    """
    3 for the doctor's own name, 2 for a known other one, 1 for one that ends like those, such as ``app_messages``.
    """
    if name == table:
        return 3
    words, known = spelling(name).split("_"), _spellings(table, TABLE_SPELLINGS[table])
    if "_".join(words) in known:
        return 2
    return int(any("_".join(words[start:]) in known for start in range(1, len(words))))


def _pointed_at(table: str, found: Mapping[str, Match]) -> set[int]:
    targets = {
        column.target
        for (owner, name), target in REFERENCES.items()
        if target == table and owner in found
        for column in found[owner].relation.columns
        if column.name == found[owner].columns.get(name)
    }
    return {target for target in targets if target is not None}


def _likely(table: str, candidate: _Candidate) -> bool:
    if candidate.kinship:
        return candidate.whole or candidate.share >= 0.5
    return candidate.whole or (candidate.share >= 0.5 and table in NEEDED)


_NO_ACCIDENT: Final = 9
"""A table with so many of the columns is the one, whatever it is called."""


def _certain(candidates: Sequence[_Candidate]) -> bool:
    """
    Whether the first is it: no other is as good or has a better name, and a strange name has many of the columns.
    """
    if not candidates:
        return False
    best, *others = candidates
    rivals = [other for other in others if other.rank == best.rank or other.kinship > best.kinship]
    return not rivals and (best.kinship > 0 or (best.whole and len(best.columns) >= _NO_ACCIDENT))


# Columns


_KINDS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("metadata", "payload", "details"), frozenset({"json", "text"})),
    **dict.fromkeys(("segments", "attempts", "capacity", "cost_usd"), frozenset({"number"})),
    **dict.fromkeys(("status", "direction", "twilio_status", "message_type", "type"), frozenset({"text", "enum"})),
}
"""The kinds of type that a column may have; others go by the ending of their name."""


def _fits(name: str, column: Column) -> bool:
    if name in _KINDS:
        return column.kind in _KINDS[name]
    if name.endswith("_at"):
        return column.kind == "time"
    return column.kind in {"uuid", "number", "text"} if name == "id" or name.endswith("_id") else column.kind == "text"


def _columns(relation: Relation, table: str, found: Mapping[str, Match]) -> dict[str, str]:
    """
    What is certain: the doctor's own names first, then what a column points at, then how it is spelled.
    """
    called = {name: name for name in COLUMNS[table] if any(column.name == name for column in relation.columns)}
    for hopefuls in (_by_structure, _by_own_spelling, _by_other_spelling):
        for name in COLUMNS[table]:
            free = [column for column in relation.columns if column.name not in called.values()]
            if name not in called and (only := _only(name, hopefuls(table, name, free, found))):
                called[name] = only[0].name
    return _with_sid_first(called)


def _only(name: str, columns: Sequence[Column]) -> Sequence[Column]:
    """
    The one there is, or of several the one that is unique, or NOT NULL, as the doctor's is; else none.
    """
    if len(columns) > 1:
        columns = [column for column in columns if (column.unique if name in _UNIQUE else column.not_null)]
    return columns if len(columns) == 1 else []


_UNIQUE: Final = frozenset({"token", "message_sid", "twilio_message_sid"})


def _with_sid_first(called: dict[str, str]) -> dict[str, str]:
    # NOTE: the one SID column of a table is the first to the doctor. Two may not share a name, so they change theirs.
    if "message_sid" not in called and called.get("twilio_message_sid") == "twilio_message_sid":
        return called | {"message_sid": "twilio_message_sid", "twilio_message_sid": "message_sid"}
    return called


def _by_structure(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    """
    The primary key; or the only column that points where it should.
    """
    if name == "id":
        return [column for column in free if column.primary and _fits(name, column)]
    if (table, name) not in REFERENCES:
        return []
    target = found.get(REFERENCES[table, name])
    pointing = [column for column in free if _points(column, target, table)]
    return pointing if len(pointing) == 1 else []


def _points(column: Column, target: Match | None, table: str) -> bool:
    if target:
        return column.target == target.relation.oid
    # NOTE: a message points at its customer, although that table is yet to be found, unless the name says otherwise.
    elsewhere = _ENTITIES["pending_bookings"] | _ENTITIES["events"]
    return table == "messages" and column.target is not None and elsewhere.isdisjoint(spelling(column.name).split("_"))


def _by_own_spelling(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    return [column for column in _suitable(table, name, free, found) if spelling(column.name) == spelling(name)]


def _by_other_spelling(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    known = _column_spellings(table, name)
    return [column for column in _suitable(table, name, free, found) if _bare(table, column.name) & known]


def _suitable(table: str, name: str, free: Sequence[Column], found: Mapping[str, Match]) -> list[Column]:
    """
    Those of a fitting type that do not point anywhere else.
    """
    target = found.get(REFERENCES.get((table, name), ""))
    return [
        column
        for column in free
        if _fits(name, column)
        and (column.target is None or (target.relation.oid == column.target if target else (table, name) in REFERENCES))
    ]


# Spelling


_SYNONYMS: Final = {
    **dict.fromkeys(("client", "guest", "patient", "patron", "attendee", "contact"), "customer"),
    **dict.fromkeys(("mobile", "cell", "cellphone", "telephone", "tel", "msisdn"), "phone"),
    **dict.fromkeys(("reservation", "appointment"), "booking"),
    **dict.fromkeys(("msg",), "message"),
}
_WORDS: Final = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+|[^\W_]")


@cache
def spelling(name: str) -> str:
    """
    A name without what people vary: case, separators, plurals, synonyms. ``guestMobileNumbers`` is ``customer_phone``.
    """
    words = [_SYNONYMS.get(word, word) for word in map(_singular, _WORDS.findall(name))]
    kept = [
        word
        for before, word in zip([None, *words], words, strict=False)
        if word != before and not (before == "phone" and word in {"number", "no", "nr"})
    ]
    return "_".join(kept)


def _singular(word: str) -> str:
    word = word.casefold()
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")) else word


@cache
def _spellings(own: str, others: str = "") -> frozenset[str]:
    return frozenset(map(spelling, (own, *others.split())))


@cache
def _column_spellings(table: str, name: str) -> frozenset[str]:
    return _spellings(name, f"{COLUMN_SPELLINGS.get(name, '')} {COLUMN_SPELLINGS.get(f'{table}.{name}', '')}")


@cache
def _vocabulary(table: str) -> frozenset[str]:
    """
    Every spelling of every column, with and without the table's name before it.
    """
    known = frozenset[str]().union(*(_column_spellings(table, name) for name in COLUMNS[table]))
    return known | {f"{entity}_{word}" for entity in _ENTITIES[table] for word in known}


def _bare(table: str, name: str) -> frozenset[str]:
    """
    The spelling as it is, and without the table's name before it: ``sms_body`` of a message is its ``body``.
    """
    whole = spelling(name)
    first, _, rest = whole.partition("_")
    return frozenset({whole, rest} if rest and first in _ENTITIES[table] else {whole})


_ENTITIES: Final = {
    "customers": frozenset({"customer", "person", "user"}),
    "events": frozenset({"event", "slot", "session"}),
    "pending_bookings": frozenset({"booking", "hold", "request"}),
    "bookings": frozenset({"booking"}),
    "messages": frozenset({"message", "sms"}),
    "jobs": frozenset({"job", "task"}),
    "audit_logs": frozenset({"audit", "log"}),
    "webhook_logs": frozenset({"webhook", "log"}),
}

TABLE_SPELLINGS: Final[Mapping[str, str]] = {
    "customers": "customer person people user member profile",
    "events": "event slot session class show",
    "pending_bookings": (
        "booking_request booking_hold hold booking_intent booking_draft draft_booking provisional_booking"
        " tentative_booking unconfirmed_booking temporary_booking"
    ),
    "bookings": "booking confirmed_booking",
    "messages": (
        "message sms text sms_message text_message message_log sms_log sms_history message_history sms_record"
        " twilio_message communication"
    ),
    "jobs": "job job_queue queue task task_queue sms_queue sms_job background_job scheduled_job queued_job",
    "audit_logs": "audit audit_log audit_trail audit_event activity_log change_log",
    "webhook_logs": "webhook webhook_log webhook_event webhook_call webhook_delivery twilio_webhook",
}
"""What else the tables are called elsewhere."""

COLUMN_SPELLINGS: Final[Mapping[str, str]] = {
    "created_at": "created created_on created_time creation_time creation_date date_created inserted_at created_ts",
    "updated_at": "updated updated_on modified_at last_modified changed_at date_updated",
    "status": "state",
    "metadata": "meta meta_data extra extras properties attributes context",
    "customer_id": "customer customer_uuid customer_uid customer_ref customer_key",
    "event_id": "event event_uuid event_ref slot_id session_id",
    "messages.customer_id": "person_id user_id",
    "messages.direction": "in_out flow",
    "messages.message_sid": (
        "sid twilio_sid twilio_id twilio_message_id provider_sid provider_id provider_message_id provider_message_sid"
        " external_id external_sid external_message_id"
    ),
    "messages.twilio_message_sid": "twilio_sid twilio_id",
    "messages.body": "text content message sms message_text sms_text text_body message_content",
    "messages.twilio_status": "delivery_status delivery_state provider_status carrier_status",
    "messages.from_number": "from from_phone sender sender_phone sender_number source_phone phone_from",
    "messages.to_number": "to to_phone recipient recipient_phone recipient_number destination destination_phone phone_to",
    "messages.message_type": "type kind channel",
    "messages.segments": "num_segments segment_count number_of_segments parts",
    "messages.cost_usd": "cost price_usd cost_in_usd",
    "messages.created_at": "sent_at date_sent sent_on timestamp logged_at",
    "messages.read_at": "read_on seen_at opened_at",
    "customers.name": "full_name display_name",
    "customers.email": "email_address mail e_mail",
    "customers.phone": "primary_phone phone_e164",
    "events.title": "name",
    "events.starts_at": "start start_at start_time start_date begins_at scheduled_at",
    "events.capacity": "seats max_attendees max_guests size",
    "pending_bookings.token": "confirmation_token confirm_token access_token public_token magic_token secret_token",
    "pending_bookings.customer_name": "name full_name",
    "pending_bookings.customer_email": "email email_address",
    "pending_bookings.customer_phone": "phone phone_e164",
    "pending_bookings.metadata": "data payload details",
    "pending_bookings.expires_at": "expires expiry expires_on expiration valid_until expired_at hold_until held_until",
    "pending_bookings.confirmed_at": "confirmed_on confirmation_time",
    "bookings.pending_booking_id": "pending_id booking_request_id hold_id request_id",
    "jobs.type": "kind name",
    "jobs.payload": "data args arguments params",
    "jobs.run_at": "scheduled_at scheduled_for due_at available_at execute_at",
    "jobs.attempts": "tries attempt_count retries retry_count",
    "jobs.last_error": "error error_message",
    "jobs.finished_at": "completed_at done_at",
    "audit_logs.action": "event operation",
    "audit_logs.entity_type": "object_type resource_type table_name",
    "audit_logs.entity_id": "object_id resource_id record_id",
    "audit_logs.details": "data payload metadata changes",
    "webhook_logs.source": "provider origin",
    "webhook_logs.event_type": "event type topic",
    "webhook_logs.payload": "body data request_body",
    "webhook_logs.error": "error_message",
}
"""What else the columns are called elsewhere: anywhere, or in one table. Twilio's ``price`` is negative, so it is no cost."""


# Doubts


def _doubts_of_schemas(schema: str | None, rivals: Sequence[str]) -> Iterator[Doubt]:
    if schema is not None and rivals:
        others = " and ".join(map(shown, rivals))
        yield Doubt(
            table=None, perhaps=(schema, *rivals), why=f"the schemas {shown(schema)} and {others} would do alike"
        )


def _doubts(
    table: str, matches: Mapping[str, Match], here: Sequence[Relation], all_: Sequence[Relation]
) -> Iterator[Doubt]:
    if table not in matches:
        yield from _doubt_of_table(table, matches, here, all_)
        return
    relation = matches[table].relation
    if not relation.table:
        yield Doubt(table=table, why=f"{relation.path} is no table but a view: it can be compared, and not repaired")
    if table in NEEDED:
        yield from _doubts_of_twins(table, relation, all_)
    yield from _doubts_of_columns(table, matches)


def _doubts_of_twins(table: str, relation: Relation, relations: Sequence[Relation]) -> Iterator[Doubt]:
    """
    Tables of the same name elsewhere that would do as well.
    """
    for twin in relations:
        if twin.name == relation.name and twin.oid != relation.oid and _candidate(table, twin, {}, ()).whole:
            rows = "has rows" if twin.filled else "has no rows that are known of"
            own = "" if relation.filled else f", and {relation.path} has none that are known of"
            yield Doubt(table=table, why=f"another table of this name is {twin.path}; it {rows}{own}")


def _doubt_of_table(
    table: str, matches: Mapping[str, Match], here: Sequence[Relation], relations: Sequence[Relation]
) -> Iterator[Doubt]:
    candidates = _candidates(table, here, matches)
    elsewhere = [c.relation.path for c in _candidates(table, relations, matches) if c.whole and c.kinship]
    if candidates:
        names = tuple(candidate.relation.name for candidate in candidates)
        why = f"{_listed(names)} could each be it" if len(names) > 1 else _stranger(table, candidates[0])
        yield Doubt(table=table, perhaps=names, why=why)
    elif elsewhere and table in NEEDED:
        why = (
            f"{elsewhere[0]} could be it, but one schema has to hold all tables; a search path that names both would do"
        )
        yield Doubt(table=table, why=f"{why}, with no schema set")
    elif table in NEEDED:
        yield Doubt(table=table, why="no table looks like it")


def _stranger(table: str, candidate: _Candidate) -> str:
    return f"it has {len(candidate.columns)} of the {len(COLUMNS[table])} columns, but is called otherwise"


_FEW: Final = 3
"""So many columns are worth a line each, for a person to choose from."""


def _doubts_of_columns(table: str, matches: Mapping[str, Match]) -> Iterator[Doubt]:
    match = matches[table]
    free = [column for column in match.relation.columns if column.name not in match.columns.values()]
    for name in COLUMNS[table]:
        if name in match.columns:
            continue
        alike = [column for column in _suitable(table, name, free, matches) if _alike(table, name, column.name)]
        left = [column.name for column in _suitable(table, name, free, matches)]
        if alike:
            yield Doubt(table=table, column=name, perhaps=tuple(c.name for c in alike), why=_why(name, alike))
        elif name in NEEDED.get(table, ()):
            others = f"; of its type there are {_listed(left)}" if left else "; no other column has its type"
            perhaps = tuple(left) if len(left) <= _FEW else ()
            yield Doubt(table=table, column=name, perhaps=perhaps, why=f"no column looks like it{others}")


def _alike(table: str, name: str, other: str) -> bool:
    known = _column_spellings(table, name)
    return any(here in known or _resembles(here, spelling(name)) for here in _bare(table, other))


def _resembles(here: str, own: str) -> bool:
    ours, theirs = set(own.split("_")), set(here.split("_"))
    return len(ours & theirs) * 2 >= len(ours | theirs) or SequenceMatcher(None, own, here).ratio() >= 0.8


def _why(name: str, alike: Sequence[Column]) -> str:
    if len(alike) > 1:
        quality = "unique" if name in _UNIQUE else "NOT NULL"
        return f"{_listed([column.name for column in alike])} could each be it, and not exactly one is {quality}"
    return "it has the type, and only a similar name"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names))


# The settings file


def shown(name: str) -> str:
    """
    A name as a TOML string on one line, whatever is in it; also for people, in a comment or a report.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in json.dumps(name, ensure_ascii=False))


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


_INTRODUCTION: Final = """\
# What this database calls the application's tables and columns, as `booking-doctor init` found it.
# A name that is not mentioned is the doctor's own. What begins with # is not certain, the reason stands above it:
# take the # away where it is right.
"""


def settings_file(naming: Naming) -> str:
    """
    ``booking-doctor.toml``: what is certain and called otherwise; what is not, as comments.
    """
    sections = [_schema_lines(naming), *(_table_lines(naming, table) for table in COLUMNS)]
    return "\n".join([_INTRODUCTION, *("\n".join(lines) + "\n" for lines in sections if lines)])


def _schema_lines(naming: Naming) -> list[str]:
    if naming.sure:
        return [] if naming.schema is None else [f"schema = {shown(naming.schema)}"]
    return [line for doubt in naming.doubts if doubt.table is None for line in _doubtful("schema", doubt)]


def _table_lines(naming: Naming, table: str) -> list[str]:
    match = naming.matches.get(table)
    doubts = [doubt for doubt in naming.doubts if doubt.table == table]
    name = [f"name = {shown(match.relation.name)}"] if match and match.relation.name != table else []
    name += [line for doubt in doubts if not doubt.column for line in _doubtful("name", doubt)]
    columns = [f"{own} = {shown(here)}" for own, here in (match.columns if match else {}).items() if own != here]
    columns += [line for doubt in doubts if doubt.column for line in _doubtful(doubt.column, doubt)]
    lines = [f"[tables.{table}]", *name] if name else []
    lines += [f"[tables.{table}.columns]", *columns] if columns else []
    return lines if naming.sure and match else [line if line.startswith("#") else f"# {line}" for line in lines]


def _doubtful(key: str, doubt: Doubt) -> list[str]:
    why = f"# {key}: {doubt.why}" if doubt.perhaps or doubt.column else f"# {doubt.why}"
    return [why, *(f"# {key} = {shown(name)}" for name in doubt.perhaps)]
