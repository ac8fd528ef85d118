"""
What the variables and booking-doctor.toml mean, and that no error shows a value that may be secret.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from booking_doctor.adapters.tables import application_tables
from booking_doctor.errors import NotConfigured, SettingsError
from booking_doctor.preferences import preferences
from booking_doctor.settings import (
    COLUMNS,
    DATABASE_VARIABLES,
    TWILIO_API,
    DatabaseSettings,
    Preferences,
    Secret,
    TwilioSettings,
    VercelSettings,
    database_settings,
    twilio_settings,
    vercel_settings,
)

URL: Final = "postgresql://app:hunter2@db.example:6543/clinic"
SID, KEY, SERVICE = "AC" + "1" * 32, "SK" + "2" * 32, "MG" + "3" * 32
TWILIO: Final = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": "f" * 32, "TWILIO_PHONE_NUMBER": "+15550100200"}


def database(url: str, **others: str) -> DatabaseSettings:
    """
    What that URL means.
    """
    return database_settings({"DATABASE_URL": url, **others})


def twilio(**changed: str | None) -> TwilioSettings:
    """
    What the variables of Twilio mean, some of them changed or left out.
    """
    return twilio_settings({name: value for name, value in {**TWILIO, **changed}.items() if value is not None})


def everything_said(error: BaseException) -> str:
    """
    The words of an error and of all that led to it, hidden or not.
    """
    said: list[str] = []
    one: BaseException | None = error
    while one is not None:
        said += [str(one), repr(one), str(getattr(one, "hint", ""))]
        one = one.__cause__ or one.__context__
    return "\n".join(said)


def said_of(read: Callable[[], object]) -> str | None:
    """
    Everything that is said when settings are refused; None where they are not.
    """
    try:
        read()
    except SettingsError as error:
        return f"{error.exit_code:d}: {everything_said(error)}"
    return None


def refusal(read: Callable[[], object]) -> str:
    """
    Everything that is said when settings are refused, as they must be.
    """
    said = said_of(read)
    assert said is not None
    assert said.startswith("2: ")
    return said


# The database's URL


def test_url() -> None:
    """
    A URL says where the database is and how to get in.
    """
    assert database(URL) == DatabaseSettings(
        variable="DATABASE_URL",
        user="app",
        password=Secret("hunter2"),
        host="db.example",
        port=6543,
        name="clinic",
    )
    assert database(URL).address == "db.example:6543"


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg", "POSTGRES"]
)
def test_scheme(scheme: str) -> None:
    """
    All names of the scheme mean the same, whatever driver they are for.
    """
    assert database(URL.replace("postgresql", scheme)) == database(URL)


@pytest.mark.parametrize(
    "written", ["mysql://u:hunter2@h/d", "jdbc:postgresql://h/d?password=hunter2", "hunter2", "://hunter2"]
)
def test_other_schemes(written: str) -> None:
    """
    Another scheme is no PostgreSQL.
    """
    said = refusal(lambda: database(written))

    assert "DATABASE_URL is no PostgreSQL URL" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("password", ["s3cr3t", "a:b", "100%", "p+w", "ü", "&x=y", "a'b\"c\\d"])
def test_password(password: str, encoded: bool) -> None:
    """
    A password is what it says, percent-encoded or, where nothing in it needs that, raw.
    """
    written = quote(password, safe="") if encoded else password

    assert database(f"postgresql://u:{written}@h/d").password == Secret(password)


@pytest.mark.parametrize(
    "password",
    [
        *(
            "sec@ret",
            "@secret",
            "secret@",
            "sec#ret",
            "#secret",
            "sec/ret",
            "/secret",
            "secret/",
            "sec?ret",
            "1/secret",
        ),
        *("12/secret", "1?secret", "1?a=secret", "1/2?a=secret", "1/2/secret", "sec ret", "sec\tret", "sec\nret"),
        *("sec\\@ret", "1#secret", "//secret", "secret:1/x"),
    ],
)
@pytest.mark.parametrize("path", ["/d", "", "/d?sslmode=require", ":5432/d"])
def test_raw_characters_in_the_password(password: str, path: str) -> None:
    """
    A raw @ # / or ? in the password is refused without showing a piece of it, not taken for another part of the URL.
    """
    said = refusal(lambda: database(f"postgresql://user:{password}@host{path}"))

    assert "DATABASE_URL is no PostgreSQL URL" in said
    assert "percent-encoded" in said
    assert "sec" not in said
    assert "ret" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@h/",
        "postgresql://u:hunter2@h:port/d",
        "postgresql://u:hunter2@h:99999/d",
        "postgresql://u:hunter2@h/d/e",
        "postgresql://u:hunter2@h/d%2Fe",
        "postgresql://u:hunter2@[::1/d",
        "postgresql://u:hunter2@h/d?sslmode",
        "postgresql://u:hunter2@h/d#",
        "postgresql://u:hunter2%00@h/d",
        '"postgresql://u:hunter2@h/d"',
        " postgresql://u:hunter2@h/d",
        "postgresql://u:hunter2@h/d\n",
    ],
)
def test_malformed_url(url: str) -> None:
    """
    What cannot be meant is refused, without its password.
    """
    said = refusal(lambda: database(url))

    assert "DATABASE_URL is no PostgreSQL URL" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("url", "host", "port", "address"),
    [
        ("postgresql://u@h/d", "h", None, "h:5432"),
        ("postgresql://h:5433/d", "h", 5433, "h:5433"),
        ("postgresql://u:p@[::1]/d", "::1", None, "[::1]:5432"),
        ("postgresql://u:p@[2001:db8::7]:6000/d", "2001:db8::7", 6000, "[2001:db8::7]:6000"),
        ("postgresql:///d", None, None, "the default host"),
        ("postgresql://u:p@/d?port=5433", None, 5433, "the default host:5433"),
        ("postgresql:///d?service=booking", None, None, "the service booking"),
        ("postgresql:///d?hostaddr=192.0.2.7", None, None, "192.0.2.7:5432"),
        ("postgresql:///d?host=h", "h", None, "h:5432"),
        ("postgresql:///d?host=/var/run/postgresql&port=5433", "/var/run/postgresql", 5433, "/var/run/postgresql:5433"),
        ("postgresql://one:1111/d?host=other", "other", 1111, "other:1111"),
        ("postgresql://one:1111/d?port=2222", "one", 2222, "one:2222"),
        ("postgresql://one:1111/d?host=&port=", None, None, "the default host"),
        ("postgresql://u@/d?host=a,b&port=3,4", "a,b", None, "a,b:3,4"),
        ("postgresql://one/d?hostaddr=192.0.2.7", "one", None, "one (192.0.2.7):5432"),
        ("postgresql://[::1]/d?hostaddr=::1", "::1", None, "[::1]:5432"),
        ("postgresql://%2FVar%2Frun/d", "/Var/run", None, "/Var/run:5432"),
        ("postgresql://u:p@%2Ftmp:5433/d", "/tmp", 5433, "/tmp:5433"),
    ],
)
def test_host(url: str, host: str | None, port: int | None, address: str) -> None:
    """
    Hosts may be names, IPv6 addresses, directories of sockets, in the query, or left to the driver.
    """
    settings = database(url)

    assert (settings.host, settings.port, settings.address) == (host, port, address)


@pytest.mark.parametrize("authority", ["one:1111", "u:p@one", "u:p@%2Fsocket", ""])
@pytest.mark.parametrize(
    "query",
    [
        *("", "host=other", "port=2222", "host=other&port=2222", "host=&user=", "port=", "user=w", "password=q"),
        *("user=w&password=q&dbname=e&host=/run&port=3", "host=a,b&port=3,4", "host=%3A%3A1", "host=a&host=b"),
    ],
)
def test_the_same_place_as_libpq(authority: str, query: str) -> None:
    """
    Where an address and a parameter differ, we go where libpq goes, as who libpq would be, and say so.
    """
    url = f"postgresql://{authority}/d?{query}"
    settings = database(url)
    theirs = {name: value for name, value in conninfo_to_dict(url).items() if value}

    ours = {
        **settings.parameters,
        "user": settings.user,
        "password": settings.password.value if settings.password else None,
        "host": settings.host,
        "dbname": settings.name,
        **({"port": str(settings.port)} if settings.port else {}),
    }
    assert {name: value for name, value in ours.items() if value} == theirs
    assert settings.address.startswith((f"{settings.host}:", f"[{settings.host}]:", "the default host"))


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("?sslmode=require", {"sslmode": "require"}),
        ("?pgbouncer=true&connection_limit=1", {}),
        ("?pgbouncer=true&sslmode=verify-full&supa=base-pooler.x&pool_timeout=0", {"sslmode": "verify-full"}),
        ("?sslmode=no-verify", {"sslmode": "require"}),
        ("?options=-c%20statement_timeout%3D5s", {"options": "-c statement_timeout=5s"}),
        ("?application_name=a+b", {"application_name": "a+b"}),
        ("?sslrootcert=system&channel_binding=require", {"sslrootcert": "system", "channel_binding": "require"}),
        ("?connect_timeout=", {"connect_timeout": ""}),
        ("?schema=public&ssl=true&statement_cache_size=0", {}),
    ],
)
def test_parameters(query: str, parameters: Mapping[str, str]) -> None:
    """
    What libpq knows is passed on; what other drivers put there is understood or left out.
    """
    assert database(URL + query).parameters == parameters


def test_schema_in_the_url() -> None:
    """
    The schema that other drivers take in the URL is understood.
    """
    assert database(f"{URL}?schema=app").schema == "app"
    assert database(URL).schema is None
    assert database(f"{URL}?schema=").schema is None


def test_login_in_the_query() -> None:
    """
    User and password may be in the query, as libpq has it.
    """
    settings = database("postgresql://h/d?user=app&password=p%2Bw%2525+x")

    assert (settings.user, settings.password, settings.parameters) == ("app", Secret("p+w%25+x"), {})


def test_settings_do_not_show_secrets() -> None:
    """
    What is printed of settings holds no password, of the database, its key or Twilio.
    """
    settings = database(f"{URL}?sslpassword=hunter2")

    assert settings.parameters["sslpassword"] == "hunter2"
    for shown in (settings, settings.password, twilio(TWILIO_AUTH_TOKEN="hunter2")):
        assert "hunter2" not in f"{shown!r} {shown}"


@pytest.mark.parametrize("variables", [{}, {"DATABASE_URL": ""}, {"POSTGRES_PRISMA_URL": URL}])
def test_no_database(variables: Mapping[str, str]) -> None:
    """
    Where no database is named, the first variable is, and how to write it.
    """
    said = refusal(lambda: database_settings(variables))

    assert "DATABASE_URL is missing" in said
    assert "postgresql://user:password@host:port/database" in said


@pytest.mark.parametrize("first", range(3))
def test_first_variable(first: int) -> None:
    """
    The first that is set is used; one that is empty is not set.
    """
    names = DATABASE_VARIABLES[first:]
    variables = {name: f"postgresql://h/{name}" for name in names} | dict.fromkeys(DATABASE_VARIABLES[:first], "")

    settings = database_settings(variables)

    assert (settings.variable, settings.name, settings.rivals) == (names[0], names[0], names[1:])


POOLED: Final = "postgresql://postgres.{}:p@aws-0-eu-central-1.pooler.supabase.com:{}/postgres"
DIRECT: Final = "postgresql://postgres:p@db.{}.supabase.co:5432/postgres"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (URL, URL, True),
        (URL, "postgres://reader:other@DB.EXAMPLE:6543/clinic?sslmode=require", True),
        ("postgresql://h/d", "postgresql://h:5432/d", True),
        ("postgresql://h:6543/d", "postgresql:///d?host=h&port=6543", True),
        ("postgresql://h:6543/d", "postgresql://other:1/e?host=h&port=6543&dbname=d", True),
        ("postgresql://h/d", "postgresql://h/d?host=other", False),
        ("postgresql://h/d", "postgresql://h/e", False),
        ("postgresql://h/d", "postgresql://h/D", False),
        ("postgresql://h/d", "postgresql://i/d", False),
        ("postgresql://h/d", "postgresql://h:5433/d", False),
        ("postgresql:///d?host=/one", "postgresql:///d?host=/other", False),
        ("postgresql:///d?service=one", "postgresql:///d?service=other", False),
        (POOLED.format("abc", 6543), POOLED.format("abc", 5432), True),
        (POOLED.format("abc", 6543), DIRECT.format("abc"), True),
        (DIRECT.format("abc"), DIRECT.format("abc").replace(":5432", ":6543"), True),
        (POOLED.format("abc", 6543), POOLED.format("xyz", 6543), False),
        (POOLED.format("abc", 6543), DIRECT.format("xyz"), False),
    ],
)
def test_rivals(one: str, other: str, same: bool) -> None:
    """
    Variables that name different databases are rivals, whoever logs in; a pooler's projects are different databases.
    """
    assert database(one, POSTGRES_URL=other).rivals == (() if same else ("POSTGRES_URL",))
    assert database(other, POSTGRES_URL=one).rivals == (() if same else ("POSTGRES_URL",))


def test_malformed_rival() -> None:
    """
    A second variable that means nothing is named, not passed over.
    """
    said = refusal(lambda: database(URL, POSTGRES_URL="mysql://root:hunter2@h/d"))

    assert "POSTGRES_URL is no PostgreSQL URL" in said
    assert "hunter2" not in said


_awkward = st.text(st.sampled_from("@:/?#[]%&=+ \\\t\n'\"") | st.sampled_from("ab1é"), max_size=6)


@given(
    _awkward, _awkward, st.sampled_from(["", ":5432", ":x"]), st.sampled_from(["/d", "", "/d?sslmode=require", "/d/e"])
)
def test_no_password_is_shown(before: str, after: str, port: str, path: str) -> None:
    """
    Whatever a password is made of, it is the password, or the URL is refused without a piece of it.
    """
    password = f"{before}XYZZY{after}"
    url = f"postgresql://user:{password}@host{port}{path}"

    said = said_of(lambda: database(url))

    assert "XYZZY" not in str(said)
    if said is None:
        settings = database(url)
        assert "XYZZY" not in f"{settings!r} {settings.address}"
        assert settings.password is not None
        assert "XYZZY" in settings.password.value
        assert (settings.host, settings.name) == ("host", "d")


# Twilio


def test_twilio() -> None:
    """
    An account, its token and its number are enough.
    """
    assert twilio() == TwilioSettings(
        account_sid=SID,
        username=SID,
        password=Secret("f" * 32),
        senders=frozenset({"+15550100200"}),
        base_url=TWILIO_API,
    )


@pytest.mark.parametrize("token", [None, "", "f" * 32])
def test_key_is_preferred(token: str | None) -> None:
    """
    A key with its secret is used rather than the token.
    """
    settings = twilio(TWILIO_API_KEY=KEY, TWILIO_API_SECRET="secret", TWILIO_AUTH_TOKEN=token)

    assert (settings.account_sid, settings.username, settings.password) == (SID, KEY, Secret("secret"))


@pytest.mark.parametrize("half", [{"TWILIO_API_KEY": KEY}, {"TWILIO_API_SECRET": "secret"}])
def test_half_a_key(half: dict[str, str]) -> None:
    """
    Half a key is none: the token is used, and where there is none the other half is asked for.
    """
    assert twilio(**half).username == SID

    said = refusal(lambda: twilio(**half, TWILIO_AUTH_TOKEN=None))
    [missing] = {"TWILIO_API_KEY", "TWILIO_API_SECRET"} - half.keys()
    assert "TWILIO_AUTH_TOKEN is missing" in said
    assert missing in said


@pytest.mark.parametrize("name", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"])
@pytest.mark.parametrize("value", [None, ""])
def test_missing_variable(name: str, value: str | None) -> None:
    """
    What is missing or empty is named.
    """
    assert f"{name} is missing" in refusal(lambda: twilio(**{name: value}))


MALFORMED: Final = [
    ("TWILIO_ACCOUNT_SID", "hunter2"),
    ("TWILIO_ACCOUNT_SID", SID + "\n"),
    ("TWILIO_ACCOUNT_SID", f" {SID}"),
    ("TWILIO_ACCOUNT_SID", f'"{SID}"'),
    ("TWILIO_ACCOUNT_SID", KEY),
    ("TWILIO_ACCOUNT_SID", SID[:-1]),
    ("TWILIO_ACCOUNT_SID", "AC" + "٣" * 32),
    ("TWILIO_AUTH_TOKEN", "hunter2 "),
    ("TWILIO_AUTH_TOKEN", "hunter2\n"),
    ("TWILIO_AUTH_TOKEN", "hunter2\u2013"),
    ("TWILIO_AUTH_TOKEN", "hun\0ter2"),
    ("TWILIO_API_KEY", SID),
    ("TWILIO_API_SECRET", "hunter2 x"),
    ("TWILIO_PHONE_NUMBER", "+1 (555) 010-0200"),
    ("TWILIO_PHONE_NUMBER", "+05550100200"),
    ("TWILIO_PHONE_NUMBER", "+1٣٣٣٣٣٣٣٣"),
    ("TWILIO_PHONE_NUMBER", "A name that is too long"),
    ("TWILIO_MESSAGING_SERVICE_SID", SID),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_malformed_variable(name: str, value: str) -> None:
    """
    What is malformed is named, with the form it must have and without its value.
    """
    both = {"TWILIO_API_KEY": KEY, "TWILIO_API_SECRET": "secret"} if name.startswith("TWILIO_API_") else {}

    said = refusal(lambda: twilio(**{**both, name: value}))

    assert f"{name} is malformed" in said
    assert value.strip() not in said


@pytest.mark.parametrize(
    "name", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_SECRET", "TWILIO_API_BASE_URL", "DATABASE_URL"]
)
@given(st.text(min_size=1))
def test_no_malformed_value_is_shown(name: str, value: str) -> None:
    """
    Whatever is wrong with a value, the same words say so: they cannot hold it.
    """
    key = {} if name == "TWILIO_AUTH_TOKEN" else {"TWILIO_API_KEY": KEY, "TWILIO_API_SECRET": "secret"}

    def said(value: str) -> str | None:
        variables = {**TWILIO, **key, "DATABASE_URL": URL, name: value}
        return said_of(lambda: (twilio_settings(variables), database_settings(variables)))

    words = said(value)
    assume(words is not None)

    assert words == said("\0 malformed")
    assert name in str(words)


@pytest.mark.parametrize(
    "number", ["+15550100200", "+4915112345678", "12345", "87654321", "Clinic", "Clinic 24", "A+B & C-D_E"]
)
def test_senders(number: str) -> None:
    """
    A sender is a number in E.164, a short code or a name of up to eleven characters.
    """
    assert twilio(TWILIO_PHONE_NUMBER=number).senders == {number}


def test_messaging_service() -> None:
    """
    A messaging service is a sender, instead of a number or beside it.
    """
    assert twilio(TWILIO_MESSAGING_SERVICE_SID=SERVICE).senders == {SERVICE, "+15550100200"}
    assert twilio(TWILIO_MESSAGING_SERVICE_SID=SERVICE, TWILIO_PHONE_NUMBER=None).senders == {SERVICE}


def test_no_sender_needed() -> None:
    """
    The whole account is compared without a sender; one that is malformed is refused even so.
    """
    without = {name: value for name, value in TWILIO.items() if name != "TWILIO_PHONE_NUMBER"}

    assert twilio_settings(without, senders_needed=False).senders == frozenset()
    assert "TWILIO_PHONE_NUMBER" in refusal(
        lambda: twilio_settings({**without, "TWILIO_PHONE_NUMBER": "!"}, senders_needed=False)
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", TWILIO_API),
        ("https://api.twilio.com", "https://api.twilio.com"),
        ("https://api.twilio.com/", "https://api.twilio.com"),
        ("http://127.0.0.1:4010", "http://127.0.0.1:4010"),
        ("http://[::1]:4010/", "http://[::1]:4010"),
        ("https://proxy.example/twilio/", "https://proxy.example/twilio"),
        ("HTTPS://API.dublin.ie1.twilio.com", "HTTPS://API.dublin.ie1.twilio.com"),
    ],
)
def test_base_url(written: str, meant: str) -> None:
    """
    Another address is taken as it is, without the slash at its end.
    """
    assert twilio(TWILIO_API_BASE_URL=written).base_url == meant


@pytest.mark.parametrize(
    "written",
    [
        *("hunter2", "hunter2.example", "ftp://hunter2", "http://", "https:///hunter2", "//hunter2", "http:hunter2"),
        *(
            "http://user:hunter2@h",
            "http://hunter2@h",
            "http://h?hunter2",
            "http://h/?",
            "http://h#hunter2",
            "http://h#",
        ),
        *(
            "http://[hunter2",
            "http://h:hunter2",
            "http://h:99999",
            " http://hunter2",
            "http://hunter2\n",
            "http://hun ter2",
        ),
        *("http://hunter2.exämple", "http:\\\\hunter2", "http://h\\@hunter2"),
    ],
)
def test_malformed_base_url(written: str) -> None:
    """
    What is no address is refused, and not shown: a login may be in it.
    """
    said = refusal(lambda: twilio(TWILIO_API_BASE_URL=written))

    assert "TWILIO_API_BASE_URL is malformed" in said
    assert "hunter2" not in said


# booking-doctor.toml


def preferred(**document: Any) -> Preferences:
    """
    What that document means.
    """
    return preferences(document, "x.toml")


def test_nothing_preferred() -> None:
    """
    Without a document the doctor's own names hold.
    """
    settings = preferred()

    assert (settings.region, settings.retention, settings.names.schema) == ("US", timedelta(days=400), None)
    assert all(settings.names.table(table) == table for table in COLUMNS)
    assert all(settings.names.column(table, column) == column for table in COLUMNS for column in COLUMNS[table])


def test_everything_preferred() -> None:
    """
    Names, region, retention and schema may be other.
    """
    settings = preferred(
        default_region="DE",
        retention_days=30,
        schema="App",
        application_role="app_rw",
        tables={
            "messages": {"name": "sms", "columns": {"message_sid": "sid"}},
            "events": {"columns": {"title": "Der Titel"}},
        },
    )

    assert (settings.region, settings.retention, settings.names.schema) == ("DE", timedelta(days=30), "App")
    assert (settings.names.table("messages"), settings.names.table("events")) == ("sms", "events")
    assert settings.names.column("messages", "message_sid") == "sid"
    assert settings.names.column("messages", "body") == "body"
    assert settings.names.column("events", "title") == "Der Titel"
    assert settings.application_role == "app_rw"


def test_a_table_in_a_schema_of_its_own() -> None:
    """
    It may even have another table's name there; the others lie where they lay.
    """
    names = preferred(schema="app", tables={"messages": {"schema": "sms", "name": "customers"}}).names
    tables = application_tables(names)

    assert (tables["messages"].fullname, tables["customers"].fullname) == ("sms.customers", "app.customers")


def test_swapped_names() -> None:
    """
    Two names may be exchanged.
    """
    columns = {"message_sid": "twilio_message_sid", "twilio_message_sid": "message_sid"}

    names = preferred(tables={"messages": {"columns": columns}}).names

    assert application_tables(names)["messages"].c.message_sid.name == "twilio_message_sid"


ENTRY: Final = {"fingerprint": "job-failed:job/1", "reason": "a test row", "until": date(2026, 1, 31)}


def test_ignored_findings() -> None:
    """
    An entry's day may be TOML's own or a text.
    """
    document = tomllib.loads(
        """
        [[ignore]]
        fingerprint = "message-orphaned:message/SM1"
        reason = "sent by hand"
        until = 2026-01-31

        [[ignore]]
        fingerprint = "schema-sid-not-unique:schema/messages.message_sid"
        reason = "the index comes with the next release"
        until = "2026-02-28"
        """
    )

    first, second = preferred(**document).ignored

    assert (first.fingerprint, first.reason, first.until) == (
        "message-orphaned:message/SM1",
        "sent by hand",
        date(2026, 1, 31),
    )
    assert second.until == date(2026, 2, 28)


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"fingerprint": "job-failed:job/1"}, "ignore entry 1 is not in a list"),
        ([ENTRY, "job-failed:job/2"], "ignore entry 2 is not written as a table"),
        ([{**ENTRY, "who": "me"}], "ignore entry 1 has an unknown key: who"),
        *(
            ([{key: value for key, value in ENTRY.items() if key != missing}], f"ignore entry 1 lacks its {missing}")
            for missing in ENTRY
        ),
        ([{**ENTRY, "fingerprint": "job-failed"}], "ignore entry 1 has a fingerprint"),
        ([{**ENTRY, "fingerprint": "job-failed:"}], "ignore entry 1 has a fingerprint"),
        ([{**ENTRY, "fingerprint": 1}], "ignore entry 1 has a fingerprint"),
        ([{**ENTRY, "reason": " "}], "ignore entry 1 (job-failed:job/1) has a reason"),
        ([{**ENTRY, "reason": None}], "ignore entry 1 (job-failed:job/1) has a reason"),
        ([{**ENTRY, "until": "31.01.2026"}], "ignore entry 1 (job-failed:job/1) has an until"),
        ([{**ENTRY, "until": "2026-02-30"}], "ignore entry 1 (job-failed:job/1) has an until"),
        ([{**ENTRY, "until": "20260131"}], "ignore entry 1 (job-failed:job/1) has an until"),
        ([{**ENTRY, "until": datetime(2026, 1, 31, tzinfo=UTC)}], "ignore entry 1 (job-failed:job/1) has an until"),
        ([{**ENTRY, "until": 2026}], "ignore entry 1 (job-failed:job/1) has an until"),
        ([ENTRY, {**ENTRY, "reason": "again"}], "ignore has two entries for job-failed:job/1"),
    ],
)
def test_ignored_findings_that_cannot_be_meant(entries: object, named: str) -> None:
    """
    A wrong entry is named, and how to write one is shown.
    """
    said = refusal(lambda: preferred(ignore=entries))

    assert f"x.toml: {named}" in said
    assert "[[ignore]]" in said


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"retention": 3}, "retention"),
        ({"default_region": "Germany"}, "default_region"),
        ({"default_region": "de"}, "default_region"),
        ({"default_region": 49}, "default_region"),
        ({"retention_days": 0}, "retention_days"),
        ({"retention_days": 401}, "retention_days"),
        ({"retention_days": "30"}, "retention_days"),
        ({"retention_days": True}, "retention_days"),
        ({"retention_days": 1.5}, "retention_days"),
        ({"application_role": ""}, "application_role"),
        ({"application_role": ["app_rw"]}, "application_role"),
        ({"schema": ""}, "every name"),
        ({"schema": 1}, "every name"),
        ({"tables": "sms"}, "tables"),
        ({"tables": [{"messages": "sms"}]}, "tables"),
        ({"tables": {"message": {}}}, "tables.message"),
        ({"tables": {"messages": "sms"}}, "tables.messages"),
        ({"tables": {"messages": {"names": "sms"}}}, "tables.messages"),
        ({"tables": {"messages": {"columns": "sid"}}}, "tables.messages"),
        ({"tables": {"messages": {"columns": ["sid"]}}}, "tables.messages"),
        ({"tables": {"messages": {"columns": {"sid": "message_sid"}}}}, "tables.messages.columns.sid"),
        ({"tables": {"messages": {"columns": {"body": ""}}}}, "every name"),
        ({"tables": {"messages": {"columns": {"body": {"name": "text"}}}}}, "every name"),
        ({"tables": {"messages": {"name": "a\0b"}}}, "every name"),
        ({"tables": {"messages": {"schema": ""}}}, "every name"),
        ({"tables": {"messages": {"schema": ["sms"]}}}, "every name"),
        ({"tables": {"messages": {"name": "ä" * 32}}}, "63 bytes"),
        ({"tables": {"messages": {"name": "customers"}}}, "two tables are called customers"),
        ({"tables": {"messages": {"name": "x"}, "events": {"name": "x"}}}, "two tables are called x"),
        ({"tables": {"messages": {"columns": {"body": "status"}}}}, "two columns of messages are called status"),
    ],
)
def test_preferences_that_cannot_be_meant(document: dict[str, Any], named: str) -> None:
    """
    What cannot be meant is refused, naming the file and the key.
    """
    said = refusal(lambda: preferred(**document))

    assert "x.toml" in said
    assert named in said


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["name", "columns", "body", "id"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "default_region": _json,
            "retention_days": _json,
            "schema": _json,
            "application_role": _json,
            "ignore": _json | st.lists(st.dictionaries(st.sampled_from(sorted(ENTRY)), _json, min_size=3)),
            "tables": _json | st.dictionaries(st.sampled_from(sorted(COLUMNS)), _json, max_size=3),
        },
    )
)
def test_any_preferences(document: dict[str, Any]) -> None:
    """
    Whatever a document holds, it is refused as one, or its names make tables.
    """
    said = said_of(lambda: preferences(document, "x.toml"))

    if said is None:
        assert application_tables(preferences(document, "x.toml").names).keys() == COLUMNS.keys()
    else:
        assert "x.toml" in said


@given(st.text(string.printable, min_size=1))
def test_secret(value: str) -> None:
    """
    A secret is never part of what is printed of it.
    """
    assert {repr(Secret(value)), str(Secret(value)), f"{Secret(value)}"} == {"Secret('***')"}


# Vercel

HOSTED: Final = {"VERCEL_TOKEN": "hunter2", "VERCEL_PROJECT_ID": "prj_1"}


def test_vercel() -> None:
    """
    A token and a project are enough; a team and another address may be said.
    """
    settings = vercel_settings(HOSTED)

    assert (settings.token, settings.project, settings.team) == (Secret("hunter2"), "prj_1", None)
    assert settings.base_url == "https://api.vercel.com"
    assert "hunter2" not in repr(settings)
    more = {"VERCEL_TEAM_ID": "team_1", "VERCEL_API_BASE_URL": "http://127.0.0.1:8000/"}
    assert vercel_settings(HOSTED | more) == VercelSettings(
        token=Secret("hunter2"), project="prj_1", team="team_1", base_url="http://127.0.0.1:8000"
    )


@pytest.mark.parametrize("variables", [{}, {"VERCEL_TOKEN": "", "VERCEL_PROJECT_ID": "prj_1"}])
def test_no_vercel(variables: Mapping[str, str]) -> None:
    """
    Without a token nobody meant Vercel to be asked.
    """
    with pytest.raises(NotConfigured, match="VERCEL_TOKEN is missing"):
        vercel_settings(variables)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("VERCEL_PROJECT_ID", "", "VERCEL_PROJECT_ID is missing"),
        ("VERCEL_TOKEN", "hunter2\n", "VERCEL_TOKEN is malformed"),
        ("VERCEL_PROJECT_ID", "prj 1", "VERCEL_PROJECT_ID is malformed"),
        ("VERCEL_TEAM_ID", "tëam", "VERCEL_TEAM_ID is malformed"),
        ("VERCEL_API_BASE_URL", "https://hunter2@api", "VERCEL_API_BASE_URL is malformed"),
    ],
)
def test_malformed_vercel(name: str, value: str, words: str) -> None:
    """
    A token without its project was meant; what is malformed is named and not shown.
    """
    said = refusal(lambda: vercel_settings({**HOSTED, name: value}))

    assert words in said
    assert "Twilio" not in said
    assert "hunter2" not in said


# --- whom to call ----------------------------------------------------------------------------------------------------

CONTACT: Final = {"who": "engineer on call", "how": "pager", "when": "at once"}


def test_escalation() -> None:
    """
    The path is kept in the order in which it is written; there may be none.
    """
    later = {**CONTACT, "who": "Twilio's support"}

    assert [contact.who for contact in preferred(escalation=[CONTACT, later]).escalation] == [
        CONTACT["who"],
        later["who"],
    ]
    assert preferred().escalation == ()


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (CONTACT, "escalation entry 1 is not in a list"),
        ([CONTACT, "me"], "escalation entry 2 is not written as a table"),
        ([{**CONTACT, "why": "x"}], "escalation entry 1 has an unknown key: why"),
        ([{"who": "me", "how": "pager"}], "escalation entry 1 lacks its when"),
        ([{**CONTACT, "how": " "}], "escalation entry 1 has a how that says nothing"),
        ([{**CONTACT, "who": 7}], "escalation entry 1 has a who that says nothing"),
    ],
)
def test_escalation_that_cannot_be_meant(entries: object, named: str) -> None:
    """
    A wrong entry is named, and how to write one is shown.
    """
    said = refusal(lambda: preferred(escalation=entries))

    assert named in said
    assert "[[escalation]]" in said
