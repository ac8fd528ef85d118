"""
What is said of each variable: every fault by the check that is for it, and never the value.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.adapters.environment_files import PROCESS, source_of
from booking_doctor.checks import select
from booking_doctor.checks.check import BlindSpot, Check, Evidence, Fault
from booking_doctor.checks.conflicts import compared, env_steps, inventory
from booking_doctor.checks.environment import readings
from booking_doctor.checks.hosting import HOSTED
from booking_doctor.checks.live import LIVE
from booking_doctor.checks.shapes import SHAPES, cleaned, dirt, is_blank, placeholder
from booking_doctor.evidence import VariableSource
from booking_doctor.findings import Disclosure, Finding, Severity

HEX: Final = "0123456789abcdef" * 2
NOW: Final = datetime(2026, 12, 8, tzinfo=UTC)
WHOLE: Final = {
    "DATABASE_URL": "postgresql://app:pw@localhost/app",
    "TWILIO_ACCOUNT_SID": f"AC{HEX}",
    "TWILIO_AUTH_TOKEN": HEX,
    "TWILIO_PHONE_NUMBER": "+15550100200",
}


@dataclass
class Variables:
    """
    Evidence that is nothing but variables.
    """

    variables: tuple[VariableSource, ...]
    expected: VariableSource | None = None
    disclosure: Disclosure = field(default_factory=Disclosure)


def process(**values: str | None) -> VariableSource:
    """
    A complete process environment, but for what is said.
    """
    merged: dict[str, str | None] = {**WHOLE, **values}
    return VariableSource(name=PROCESS, values={name: value for name, value in merged.items() if value is not None})


def found(*sources: VariableSource, expected: VariableSource | None = None) -> list[Finding]:
    """
    What all checks that need no answer from anywhere find.
    """
    evidence = cast("Evidence", Variables(sources, expected))
    return [made.finding(seen) for made, seen in looked(evidence) if isinstance(seen, Fault)]


def blind(*sources: VariableSource) -> list[str]:
    """
    Which of them could not look at what.
    """
    evidence = cast("Evidence", Variables(sources))
    return [f"{made.name}:{seen.subject}" for made, seen in looked(evidence) if isinstance(seen, BlindSpot)]


def looked(evidence: Evidence) -> Iterator[tuple[Check, Fault | BlindSpot]]:
    """
    What each sees.
    """
    return ((made, seen) for made in select(("env",), (*LIVE, *HOSTED)) for seen in made.look(evidence))


def names(*sources: VariableSource, expected: VariableSource | None = None) -> list[str]:
    """
    Their fingerprints.
    """
    return [finding.fingerprint for finding in found(*sources, expected=expected)]


def token(**claims: str) -> str:
    """
    A JSON web token.
    """
    encoded = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{encoded}.c2ln"


def test_a_complete_environment() -> None:
    """
    What is needed is there, and nothing else is asked for.
    """
    assert names(process()) == []


# missing


@pytest.mark.parametrize(
    ("values", "subjects"),
    [
        ({"DATABASE_URL": None}, ["DATABASE_URL"]),
        ({"DATABASE_URL": "", "SUPABASE_DB_URL": "   "}, ["DATABASE_URL"]),
        ({"DATABASE_URL": None, "POSTGRES_URL": WHOLE["DATABASE_URL"]}, []),
        ({"TWILIO_ACCOUNT_SID": '""'}, ["TWILIO_ACCOUNT_SID"]),
        ({"TWILIO_AUTH_TOKEN": None, "TWILIO_API_KEY": f"SK{HEX}"}, ["TWILIO_AUTH_TOKEN"]),
        ({"TWILIO_AUTH_TOKEN": None, "TWILIO_API_KEY": f"SK{HEX}", "TWILIO_API_SECRET": HEX}, []),
        ({"TWILIO_PHONE_NUMBER": None}, ["TWILIO_PHONE_NUMBER"]),
        ({"TWILIO_PHONE_NUMBER": "\u00a0", "TWILIO_MESSAGING_SERVICE_SID": f"MG{HEX}"}, []),
        (dict.fromkeys(WHOLE), list(WHOLE)),
    ],
)
def test_missing(values: Mapping[str, str | None], subjects: list[str]) -> None:
    """
    Of alternatives the first name is the subject; empty is missing; no other absence is a finding.
    """
    assert names(process(**values)) == [f"env-missing:env/{name}" for name in subjects]


def test_a_later_source_wins_with_nothing_too() -> None:
    """
    A variable that a later source empties is missing, and the finding says where.
    """
    [finding] = found(process(), source_of("late.env", "TWILIO_AUTH_TOKEN=\n"))

    assert finding.fingerprint == "env-missing:env/TWILIO_AUTH_TOKEN"
    assert "empty in late.env" in finding.summary


def test_half_a_key_is_named() -> None:
    """
    A key without its secret is no credential, and that is said.
    """
    [finding] = found(process(TWILIO_AUTH_TOKEN=None, TWILIO_API_KEY=f"SK{HEX}"))

    assert "TWILIO_API_KEY is nothing without its partner" in finding.summary


# dirt

DIRTY: Final = {
    "leading blank": " {}",
    "trailing blank": "{} ",
    "carriage return": "{}\r",
    "newline": "{}\n",
    "byte order mark": "\ufeff{}",
    "zero-width character": "{}\u200b",
    "no-break space": "{}\u00a0",
    "wrapping quote": '"{}"',
    "literal backslash-n": "{}\\n",
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("kind", DIRTY)
def test_each_kind_of_dirt(kind: str, name: str) -> None:
    """
    Each is named, with its place, and is the only thing that is said of the variable.
    """
    value = DIRTY[kind].format(WHOLE[name])

    [finding] = found(process(**{name: value}))

    assert finding.fingerprint == f"env-whitespace:env/{name}"
    assert kind in finding.summary
    [seen] = dirt(value)
    assert finding.evidence["dirt"] == [{"kind": kind, "position": seen.position}]
    assert finding.evidence["length"] == len(value)
    assert WHOLE[name] not in str(finding)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"TWILIO_AUTH_TOKEN={HEX} \n", "trailing blank"),
        (f"TWILIO_AUTH_TOKEN= {HEX}\n", "leading blank"),
        (f"TWILIO_AUTH_TOKEN={HEX}\r\n", "carriage return"),
        (f"\ufeffTWILIO_AUTH_TOKEN={HEX}\n", "byte order mark"),
        (f"TWILIO_AUTH_TOKEN={HEX}\u00a0\n", "no-break space"),
        (f"TWILIO_AUTH_TOKEN='{HEX}\\n'\n", "literal backslash-n"),
        (f'TWILIO_AUTH_TOKEN="{HEX}\\n"\n', "newline"),
        (f"TWILIO_AUTH_TOKEN='\"{HEX}\"'\n", "wrapping quote"),
        (f'TWILIO_AUTH_TOKEN="{HEX}\n', "wrapping quote"),
        (f"TWILIO_AUTH_TOKEN=“{HEX}”\n", "wrapping quote"),
        (f'TWILIO_AUTH_TOKEN="{HEX} "\n', "trailing blank"),
    ],
)
def test_dirt_in_a_file(line: str, kind: str) -> None:
    """
    Also what the file's reader removes is seen.
    """
    [finding] = found(process(TWILIO_AUTH_TOKEN=None), source_of(".env", line))

    assert finding.fingerprint == "env-whitespace:env/TWILIO_AUTH_TOKEN"
    assert kind in finding.summary
    assert ".env" in finding.summary


@pytest.mark.parametrize(
    "line",
    [
        f'TWILIO_AUTH_TOKEN="{HEX}"',
        f"export TWILIO_AUTH_TOKEN='{HEX}'  # the primary one",
        f"TWILIO_AUTH_TOKEN = {HEX}",
        f"# old\n\nTWILIO_AUTH_TOKEN={HEX}   # comment\n",
    ],
)
def test_the_form_of_a_file_is_no_dirt(line: str) -> None:
    """
    Quotes that make a string, comments, ``export`` and blanks on both sides of the equals sign.
    """
    assert names(process(TWILIO_AUTH_TOKEN=None), source_of(".env", line)) == []


@pytest.mark.parametrize("kind", DIRTY)
@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("TWILIO_ACCOUNT_SID", "your_account_sid", "env-placeholder"),
        ("TWILIO_PHONE_NUMBER", "5550100200", "env-malformed"),
        ("TWILIO_ACCOUNT_SID", f"SK{HEX}", "env-malformed"),
        ("DATABASE_URL", "postgresql://a@db.salon.example/app", "env-tls-not-required"),
        ("DATABASE_URL", "postgresql://a@localhost:6543/app", "env-transaction-pooler"),
        ("POSTGRES_URL", "postgresql://app:pw@localhost/other", "env-conflict"),
        ("SUPABASE_SERVICE_ROLE_KEY", "eyJh.eyJyb2xlIjoiYW5vbiJ9.c2ln", "env-malformed"),
    ],
)
def test_dirt_hides_nothing(kind: str, name: str, value: str, fault: str) -> None:
    """
    Whoever ignores the dirt still hears of what else is wrong with the value.
    """
    said = names(process(**{name: DIRTY[kind].format(value)}))

    assert set(said) == {f"env-whitespace:env/{name}", f"{fault}:env/{name}"}


def test_dirt_hides_no_conflict() -> None:
    """
    Two values that differ by more than their dirt are a conflict.
    """
    assert names(source_of(".env", f"TWILIO_AUTH_TOKEN={HEX[::-1]}\n"), process(TWILIO_AUTH_TOKEN=f"{HEX} ")) == [
        "env-whitespace:env/TWILIO_AUTH_TOKEN",
        "env-conflict:env/TWILIO_AUTH_TOKEN",
    ]


@given(st.text(st.sampled_from(" \t\r\n\\n\ufeff\u200b\u00a0\"'ab1"), max_size=8))
def test_cleaned(value: str) -> None:
    """
    What is left is clean, and nothing is taken from a value that was.
    """
    left = cleaned(value)

    assert dirt(left) == []
    assert dirt(value) or left == value


@given(st.text(st.sampled_from(" \t\r\n\ufeff\u200b\u00a0\"'ab1"), max_size=8))
def test_dirt_lies_where_it_is_said(value: str) -> None:
    """
    A position is that of a character, and a value without dirt has none around it.
    """
    found_ = dirt(value)

    assert all(1 <= one.position <= len(value) for one in found_)
    assert found_ or value == value.strip(" \t\r\n\ufeff\u200b\u00a0\"'")
    assert not is_blank(value) or not value.strip(" \t\r\n\ufeff\u200b\u00a0\"'")


# placeholders


def test_a_value_put_together_from_others() -> None:
    """
    What the program makes of a template is what counts; one that nothing fills in is a placeholder.
    """
    url = "DATABASE_URL=postgresql://app:${DB_PASSWORD}@127.0.0.1/app\n"
    given = process(DATABASE_URL=None)

    assert names(given, source_of(".env", "DB_PASSWORD=secret\n" + url)) == []
    assert names(given, process(DATABASE_URL="postgresql://app:${DB_PASSWORD}@127.0.0.1/app")) == [
        "env-placeholder:env/DATABASE_URL"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_ACCOUNT_SID", "your_account_sid"),
        ("TWILIO_ACCOUNT_SID", "AC" + "x" * 32),
        ("TWILIO_ACCOUNT_SID", "AC" + "0" * 32),
        ("TWILIO_AUTH_TOKEN", "xxx"),
        ("TWILIO_AUTH_TOKEN", "<auth token>"),
        ("TWILIO_AUTH_TOKEN", "changeme"),
        ("TWILIO_AUTH_TOKEN", "0" * 32),
        ("TWILIO_AUTH_TOKEN", "${TOKEN}"),
        ("TWILIO_PHONE_NUMBER", "+15005550006"),
        ("TWILIO_PHONE_NUMBER", "+1XXXXXXXXXX"),
        ("DATABASE_URL", "postgresql://user:password@host:5432/database"),
        ("DATABASE_URL", "postgresql://postgres:[YOUR-PASSWORD]@db.abcdefghijklmnopqrst.supabase.co:5432/postgres"),
        ("SUPABASE_URL", "https://your-project.supabase.co"),
        ("BOOKING_API_KEY", "TODO"),
    ],
)
def test_placeholders(name: str, value: str) -> None:
    """
    What was never filled in is called so, whatever its shape.
    """
    assert names(process(**{name: value})) == [f"env-placeholder:env/{name}"]


@pytest.mark.parametrize(
    ("value", "told"),
    [("your_account_sid", ["env-malformed:env/TWILIO_ACCOUNT_SID"]), ("AC" + "0" * 32, [])],
)
def test_a_placeholder_has_no_shape(value: str, told: list[str]) -> None:
    """
    Of one that is none the doctor does not claim to have judged it.
    """
    assert blind(process(TWILIO_ACCOUNT_SID=value)) == told


@given(st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: set(text) != {"0"}))
def test_no_token_is_a_placeholder(value: str) -> None:
    """
    A random token is taken for one.
    """
    assert placeholder(value) is None


@pytest.mark.parametrize("value", ["https://your-barber.com", "yours-4f", "https://book.example/a"])
def test_words_that_resemble_placeholders(value: str) -> None:
    """
    A name with such a word in it is none.
    """
    assert placeholder(value) is None


# shapes


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("TWILIO_ACCOUNT_SID", f"SK{HEX}", "looks like an API key's SID"),
        ("TWILIO_ACCOUNT_SID", f"ac{HEX}", "another shape"),
        ("TWILIO_MESSAGING_SERVICE_SID", f"PN{HEX}", "looks like a phone number's SID"),
        ("TWILIO_PHONE_NUMBER", "5550100200", "without + and country code"),
        ("TWILIO_PHONE_NUMBER", "+1 555 010 0200", "marks in it"),
        ("TWILIO_PHONE_NUMBER", f"MG{HEX}", "looks like a messaging service's SID"),
        ("TEST_PHONE", "0151 1234567", "without + and country code"),
        ("DATABASE_URL", "mysql://app:pw@localhost/app", "cannot be read"),
        ("DATABASE_URL", "postgresql://app:p@ss@localhost/app", "cannot be read"),
        ("DATABASE_URL", "postgresql://app:pw@localhost:port/app", "cannot be read"),
        ("SUPABASE_URL", "https://supabase.com/dashboard/project/abc", "dashboard"),
        ("SUPABASE_URL", "https://abc.supabase.co/rest/v1", "has a path"),
        ("SUPABASE_URL", "abc.supabase.co", "another shape"),
        ("SUPABASE_SERVICE_ROLE_KEY", token(role="anon"), "role claim is anon"),
        ("SUPABASE_SERVICE_ROLE_KEY", token(role="s3cret"), "role claim is not service_role"),
        ("SUPABASE_SERVICE_ROLE_KEY", "eyJh.e.e", "looks like a JSON web token"),
        ("SUPABASE_SERVICE_ROLE_KEY", "sb_publishable_abc", "publishable key"),
        ("BOOKING_APP_URL", "https://me:pw@salon.example", "a login"),
        ("BOOKING_APP_URL", "https://salon.example:99999", "looks like a web address"),
        ("BOOKING_API_KEY", "two words", "another shape"),
    ],
)
def test_malformed(name: str, value: str, seen: str) -> None:
    """
    What was seen is said in words, the value never.
    """
    [finding] = [finding for finding in found(process(**{name: value})) if finding.name == "env-malformed"]

    assert finding.subject == f"env/{name}"
    assert finding.severity is Severity.ERROR
    assert seen in finding.summary
    assert value not in str(finding)


@pytest.mark.parametrize("name", ["TWILIO_AUTH_TOKEN", "TWILIO_API_SECRET"])
def test_shapes_that_are_not_documented(name: str) -> None:
    """
    A token of another shape is a warning: Twilio does not say what they look like.
    """
    [finding] = found(process(**{name: "Zq-9"}))

    assert (finding.name, finding.severity) == ("env-malformed", Severity.WARNING)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_PHONE_NUMBER", "12345"),
        ("TWILIO_PHONE_NUMBER", "Salon 7"),
        ("SUPABASE_URL", "https://abcdefghijklmnopqrst.supabase.co/"),
        ("SUPABASE_URL", "http://127.0.0.1:54321"),
        ("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_a-B_9"),
        ("SUPABASE_SERVICE_ROLE_KEY", token(role="service_role")),
        ("DATABASE_URL", "postgres://app:p%40ss@localhost/app?schema=public"),
        ("TWILIO_API_BASE_URL", "http://127.0.0.1:8000/twilio"),
        ("TEST_PHONE", "+4915112345678"),
    ],
)
def test_well_formed(name: str, value: str) -> None:
    """
    Everything that such a variable may be.
    """
    assert names(process(**{name: value})) == []


# conflicts

REF, OTHER = "abcdefghijklmnopqrst", "tsrqponmlkjihgfedcba"


def test_sources_that_disagree() -> None:
    """
    The source that wins and those that differ are named; equal and empty ones are not.
    """
    first = source_of(".env", f"TWILIO_AUTH_TOKEN={HEX[::-1]}\nTWILIO_PHONE_NUMBER=\n")
    second = source_of(".env.local", f'TWILIO_AUTH_TOKEN="{HEX}"\n')

    [finding] = found(first, second, process())

    assert (finding.fingerprint, finding.severity) == ("env-conflict:env/TWILIO_AUTH_TOKEN", Severity.WARNING)
    assert finding.evidence["different"] == [".env"]
    assert finding.evidence["sources"] == [".env", ".env.local", PROCESS]


def test_dirt_is_no_conflict_besides() -> None:
    """
    A dirty variable is dirty, and nothing more is said of it.
    """
    assert names(source_of(".env", f"TWILIO_AUTH_TOKEN={HEX}\n"), process(TWILIO_AUTH_TOKEN=f"{HEX} ")) == [
        "env-whitespace:env/TWILIO_AUTH_TOKEN"
    ]


@pytest.mark.parametrize(
    ("values", "subjects"),
    [
        ({"SUPABASE_SERVICE_ROLE_KEY": token(role="service_role", ref=REF)}, []),
        ({"SUPABASE_SERVICE_ROLE_KEY": token(role="service_role", ref=OTHER)}, ["SUPABASE_SERVICE_ROLE_KEY"]),
        ({"SUPABASE_SERVICE_ROLE_KEY": "sb_secret_abc"}, []),
        ({"DATABASE_URL": f"postgresql://postgres@db.{REF}.supabase.co/postgres?sslmode=require"}, []),
        ({"DATABASE_URL": f"postgresql://postgres@db.{OTHER}.supabase.co/postgres?sslmode=require"}, ["DATABASE_URL"]),
        (
            {"DATABASE_URL": f"postgresql://postgres.{OTHER}@aws-0.pooler.supabase.com/postgres?sslmode=require"},
            ["DATABASE_URL"],
        ),
        ({"SUPABASE_URL": "https://api.salon.example"}, []),
    ],
)
def test_projects(values: dict[str, str], subjects: list[str]) -> None:
    """
    Address, key and database are of one project, where they say of which.
    """
    environment = process(**{"SUPABASE_URL": f"https://{REF}.supabase.co", **values})

    assert names(environment) == [f"env-conflict:env/{name}" for name in subjects]


def test_rival_databases() -> None:
    """
    Another database is a conflict, the same by another address is none.
    """
    direct = f"postgresql://postgres@db.{REF}.supabase.co/postgres?sslmode=require"
    pooled = f"postgresql://postgres.{REF}@aws-0.pooler.supabase.com/postgres?sslmode=require"

    assert names(process(DATABASE_URL=direct, POSTGRES_URL=pooled)) == []
    assert names(process(DATABASE_URL=direct, POSTGRES_URL=f"{pooled}&x=1".replace(REF, OTHER))) == [
        "env-conflict:env/POSTGRES_URL"
    ]


# what a database URL says besides


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://a@db.salon.example/app", ["env-tls-not-required"]),
        ("postgresql://a@db.salon.example/app?sslmode=prefer", ["env-tls-not-required"]),
        ("postgresql://a@db.salon.example/app?sslmode=disable", ["env-tls-not-required"]),
        ("postgresql://a@198.51.100.7/app", []),
        ("postgresql://a@8.8.8.8/app", ["env-tls-not-required"]),
        ("postgresql://a@db.salon.example/app?sslmode=verify-full", []),
        ("postgresql://a@db.salon.example/app?sslmode=no-verify", []),
        ("postgresql://a@db.salon.example/app?ssl=true", []),
        ("postgresql://a@db/app", []),
        ("postgresql://a@10.0.0.7/app", []),
        ("postgresql://a@%2Fvar%2Frun/app", []),
        ("postgresql://a@localhost:6543/app", ["env-transaction-pooler"]),
        ("postgresql://a@localhost/app?pgbouncer=true", ["env-transaction-pooler"]),
        ("postgresql://a@db.salon.example:6543/app", ["env-tls-not-required", "env-transaction-pooler"]),
    ],
)
def test_ways_to_a_database(url: str, said: list[str]) -> None:
    """
    Encryption is asked for on the way to somewhere else only.
    """
    assert names(process(DATABASE_URL=url)) == [f"{name}:env/DATABASE_URL" for name in said]


@pytest.mark.parametrize(
    "url", ["mysql://app:pw@localhost/app", "postgresql://postgres:[YOUR-PASSWORD]@db.example:5432/postgres"]
)
def test_a_url_that_leads_nowhere(url: str) -> None:
    """
    Of a URL that cannot be read nobody claims how it leads there, or that it agrees with another.
    """
    judging = ["env-conflict", "env-tls-not-required", "env-transaction-pooler"]

    told = blind(process(DATABASE_URL=url, POSTGRES_URL=WHOLE["DATABASE_URL"]))

    assert sorted(one for one in told if "malformed" not in one) == [f"{name}:env/DATABASE_URL" for name in judging]


def test_encryption_that_the_process_requires() -> None:
    """
    The process may require it for every connection, with PGSSLMODE.
    """
    assert names(process(DATABASE_URL="postgresql://a@db.salon.example/app", PGSSLMODE="require")) == []


# examples and platforms


def test_names_against_an_example() -> None:
    """
    Both ways, by name; of the process only names that the doctor knows.
    """
    example = source_of(".env.example", "DATABASE_URL=\nSMTP_URL=\nTWILIO_ACCOUNT_SID=\nTWILIO_AUTH_TOKEN=\n")
    sources = (source_of(".env", "LEGACY=1\n"), process(HOME="/root"))

    told = inventory(sources, example, None)

    assert told["example_only"] == ["SMTP_URL"]
    assert told["not_in_example"] == ["LEGACY", "TWILIO_PHONE_NUMBER"]
    assert env_steps(sources, example, None) == [
        "Set what is needed of: SMTP_URL (only .env.example has them).",
        "Add to .env.example, without values: LEGACY, TWILIO_PHONE_NUMBER.",
    ]


def test_against_what_is_expected() -> None:
    """
    Equal or different and no more; what the platform does not give away is not called equal.
    """
    there = source_of(
        "production.env",
        f"DATABASE_URL={WHOLE['DATABASE_URL']}\nTWILIO_AUTH_TOKEN=''\nTWILIO_PHONE_NUMBER=+15550100201\nEXTRA=1\n",
    )

    assert compared((process(),), there) == {
        "DATABASE_URL": "equal",
        "EXTRA": "only there",
        "TWILIO_ACCOUNT_SID": "only here",
        "TWILIO_AUTH_TOKEN": "not comparable",
        "TWILIO_PHONE_NUMBER": "different",
    }
    assert names(process(), expected=there) == [
        "env-conflict:env/TWILIO_ACCOUNT_SID",
        "env-conflict:env/TWILIO_PHONE_NUMBER",
    ]
    steps = env_steps((process(),), None, there)
    assert [next(name for name in (*SHAPES, "EXTRA", "Deploy") if name in step) for step in steps] == [
        *("DATABASE_URL", "EXTRA", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER", "Deploy"),
    ]


# what is read


def test_a_variable_is_read_where_it_wins() -> None:
    """
    The reading is the winner's, and all that hold the variable are named.
    """
    sources = (source_of(".env", "TEST_EVENT_ID=1\n"), source_of("b.env", "TEST_EVENT_ID=2\n"))

    [reading] = readings(sources)

    assert (reading.value, reading.source, reading.sources) == ("2", "b.env", (".env", "b.env"))
    assert "2" not in repr(reading).replace("b.env", "")
