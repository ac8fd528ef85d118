"""
Settings: what the environment says, checked and named; and what ``booking-doctor.toml`` can say.

This module knows what the variables mean; reading files is `booking_doctor.adapters.environment_files`. A value that is
secret is a `Secret` from the moment it is read, and an error names the variable and never its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Struct

from booking_doctor.core.escalation import Contact
from booking_doctor.errors import NotConfigured, SettingsError

DATABASE_VARIABLES: Final = ("DATABASE_URL", "SUPABASE_DB_URL", "POSTGRES_URL")
TWILIO_API: Final = "https://api.twilio.com"
VERCEL_API: Final = "https://api.vercel.com"

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "customers": ("id", "name", "email", "phone", "created_at"),
    "events": ("id", "title", "starts_at", "capacity"),
    "pending_bookings": (
        *("id", "token", "event_id", "customer_name", "customer_email", "customer_phone", "status", "customer_id"),
        *("metadata", "expires_at", "confirmed_at", "created_at", "updated_at"),
    ),
    "bookings": ("id", "event_id", "customer_id", "pending_booking_id", "status", "created_at"),
    "messages": (
        *("id", "customer_id", "direction", "message_sid", "twilio_message_sid", "body", "status", "twilio_status"),
        *("from_number", "to_number", "message_type", "segments", "cost_usd", "created_at", "read_at"),
    ),
    "jobs": ("id", "type", "payload", "run_at", "status", "attempts", "last_error", "created_at", "finished_at"),
    "audit_logs": ("id", "action", "entity_type", "entity_id", "details", "created_at"),
    "webhook_logs": ("id", "source", "event_type", "payload", "status", "error", "created_at"),
}
"""
The application's tables and columns by the doctor's own names; `Names` says what an installation calls them.
"""

REFERENCES: Final[Mapping[tuple[str, str], str]] = {
    ("pending_bookings", "event_id"): "events",
    ("pending_bookings", "customer_id"): "customers",
    ("bookings", "event_id"): "events",
    ("bookings", "customer_id"): "customers",
    ("bookings", "pending_booking_id"): "pending_bookings",
    ("messages", "customer_id"): "customers",
}
"""Which table a column points at."""

NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": (
        *("id", "customer_id", "direction", "message_sid", "body", "status", "from_number", "to_number", "created_at"),
    ),
    "customers": ("id", "phone"),
    "pending_bookings": ("id", "customer_phone", "status", "metadata", "created_at"),
}
"""What no comparison can do without."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """
    A value that no output, log or exception may show.
    """

    value: str

    def __repr__(self) -> str:
        return "Secret('***')"


class Names(Struct, frozen=True, kw_only=True):
    """
    What this installation calls the application's tables and columns.

    Attributes:
        schema: The tables' schema; None leaves it to the role's search path.
        schemas: Schemas of single tables by the doctor's name, where they lie elsewhere.
        tables: Table names by the doctor's name, where they differ.
        columns: Column names by the doctor's table and column, where they differ.
    """

    schema: str | None = None
    schemas: Mapping[str, str] = msgspec.field(default_factory=dict)
    tables: Mapping[str, str] = msgspec.field(default_factory=dict)
    columns: Mapping[tuple[str, str], str] = msgspec.field(default_factory=dict)

    def schema_of(self, table: str) -> str | None:
        """
        Where *table* lies; None leaves it to the role's search path.
        """
        return self.schemas.get(table, self.schema)

    def table(self, table: str) -> str:
        """
        What *table* is called here.
        """
        return self.tables.get(table, table)

    def column(self, table: str, column: str) -> str:
        """
        What *column* of *table* is called here.
        """
        return self.columns.get((table, column), column)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """
    Where the application's database is.

    Attributes:
        variable: The environment variable that says so.
        parameters: What libpq understands of the URL's query, secrets among it; other drivers' parameters are left out.
        rivals: Other variables that name another database; a write is refused while there are any.
    """

    variable: str
    user: str | None
    password: Secret | None
    host: str | None
    port: int | None
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    schema: str | None = None
    rivals: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """
        Host and port, for people, as far as the variable says: the rest is libpq's to find, and a connection's to tell.
        """
        hostaddr, service = self.parameters.get("hostaddr"), self.parameters.get("service")
        host, port = self.host or hostaddr, self.port or self.parameters.get("port")
        if host is None:
            place = f"the service {service}" if service else "the default host"
            return f"{place}:{port}" if port else place
        # NOTE: where both are given, libpq connects to the one and has the certificate prove the other.
        led = f" ({hostaddr})" if hostaddr and hostaddr != host else ""
        return f"[{host}]{led}:{port or 5432}" if ":" in host else f"{host}{led}:{port or 5432}"


class TwilioSettings(Struct, frozen=True, kw_only=True):
    """
    Which Twilio account, and how to get in.

    Attributes:
        username: The account SID, or the API key's SID.
        senders: Phone numbers and messaging service SIDs whose messages are the application's.
    """

    account_sid: str
    username: str
    password: Secret
    senders: frozenset[str]
    base_url: str = TWILIO_API


class VercelSettings(Struct, frozen=True, kw_only=True):
    """
    Which project on Vercel, and how to get in.

    Attributes:
        project: Its id or its name.
        team: The id or the slug of the team that owns it; None for a personal account.
    """

    token: Secret
    project: str
    team: str | None
    base_url: str = VERCEL_API


class Preferences(Struct, frozen=True, kw_only=True):
    """
    What ``booking-doctor.toml`` says.

    Attributes:
        region: Country whose national phone format is assumed without a ``+``; ISO 3166.
        retention: How long Twilio shows a message (Twilio: "Message Retention"; an account can set 7 to 400 days).
        ignored: Findings that somebody decided to live with.
        application_role: The database role as which the application reads and writes; None leaves it to be guessed.
        escalation: Whom to call, in this order.
    """

    names: Names = Names()
    region: str = "US"
    retention: timedelta = timedelta(days=400)
    ignored: tuple[Ignored, ...] = ()
    application_role: str | None = None
    escalation: tuple[Contact, ...] = ()


class Ignored(Struct, frozen=True, kw_only=True):
    """
    A finding that somebody decided to live with, for a time.

    Attributes:
        until: The first day on which it counts again.
    """

    fingerprint: str
    reason: str
    until: date


def database_settings(variables: Mapping[str, str]) -> DatabaseSettings:
    """
    The database that the first of `DATABASE_VARIABLES` names.

    Raises:
        NotConfigured: None is set.
        SettingsError: It is no PostgreSQL URL.
    """
    named = {name: _database_url(name, variables[name]) for name in DATABASE_VARIABLES if variables.get(name)}
    if not named:
        message = f"no database is set: {DATABASE_VARIABLES[0]} is missing"
        hint = "set it to postgresql://user:password@host:port/database, or name a file with --env-file"
        raise NotConfigured(message, hint=hint)
    chosen, *others = named.values()
    rivals = tuple(other.variable for other in others if _identity(other) != _identity(chosen))
    return replace(chosen, rivals=rivals)


def _identity(settings: DatabaseSettings) -> tuple[str, str]:
    """
    What all URLs of one database have in common.

    A pooler of Supabase serves many projects at one address and knows them by the user, ``postgres.PROJECT``; without
    it the address is ``db.PROJECT.supabase.co`` (Supabase: "Connect to your database").
    """
    host, user = (settings.host or "").casefold(), settings.user or ""
    if host.endswith(".pooler.supabase.com") and "." in user:
        return f"db.{user.rpartition('.')[2]}.supabase.co", settings.name
    return host if host.endswith(".supabase.co") else settings.address.casefold(), settings.name


_LIBPQ_PARAMETERS: Final = frozenset(
    {
        *("hostaddr", "port", "application_name", "channel_binding", "client_encoding", "connect_timeout"),
        *("gssdelegation", "gssencmode", "gsslib", "keepalives", "keepalives_count", "keepalives_idle"),
        *("keepalives_interval", "krbsrvname", "load_balance_hosts", "options", "passfile", "require_auth"),
        *("requirepeer", "service", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcertmode"),
        *("sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni"),
        *("target_session_attrs", "tcp_user_timeout"),
    }
)


_DATABASE_SCHEME: Final = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?")
"""With or without SQLAlchemy's word for a driver; ours is used whatever it says."""


def _database_url(variable: str, url: str) -> DatabaseSettings:
    split = _split(url)
    if split is None or not _DATABASE_SCHEME.fullmatch(split.parts.scheme):
        raise _no_database_url(variable)
    parts, query = split.parts, split.query
    login, _, place = parts.netloc.rpartition("@")
    # NOTE: a socket's directory is written with %2F, and its case matters.
    host = unquote((parts.hostname or "") if place.startswith("[") else place.partition(":")[0])
    path = unquote(parts.path.removeprefix("/"))
    # NOTE: what the query says again wins, as libpq has it, with nothing too.
    name = query.get("dbname", path)
    # NOTE: a password with a raw @, # or / shifts the parts; passing them on would show pieces of it in errors.
    if not name or "/" in name + path or "@" in login + parts.path + parts.query or "#" in url or "\0" in unquote(url):
        raise _no_database_url(variable)
    user = query.get("user", unquote(parts.username or ""))
    password = query.get("password", unquote(parts.password or ""))
    parameters = {key: value for key, value in query.items() if key in _LIBPQ_PARAMETERS}
    if parameters.get("sslmode") == "no-verify":
        parameters["sslmode"] = "require"  # the same thing, in the words of node-postgres and of libpq
    port = parameters.pop("port", str(split.port or ""))
    if not re.fullmatch("[0-9]{0,5}", port):
        parameters |= {"host": query.get("host", host), "port": port}  # several, which the driver wants together
    return DatabaseSettings(
        variable=variable,
        user=user or None,
        password=Secret(password) if password else None,
        host=query.get("host", host) or None,
        port=int(port) if port and "port" not in parameters else None,
        name=name,
        parameters=parameters,
        schema=query.get("schema") or None,
    )


def _no_database_url(variable: str) -> SettingsError:
    return SettingsError(
        f"{variable} is no PostgreSQL URL",
        hint="write postgresql://user:password@host:port/database, with @ : / # and % in the password percent-encoded",
    )


class _Split(Struct, frozen=True):
    parts: SplitResult
    port: int | None
    query: Mapping[str, str]


def _split(url: str) -> _Split | None:
    """
    A URL in its parts; None where it is none. Why not is never told: Python's reasons quote pieces, of passwords too.
    """
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return None
    try:
        parts = urlsplit(url)
        # NOTE: a + is a + in libpq's URLs, not a blank.
        query = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(parts.query))
        return _Split(parts, parts.port, dict(query))
    except ValueError:
        return None


_ACCOUNT_SID: Final = re.compile(r"AC[0-9a-fA-F]{32}")
_KEY_SID: Final = re.compile(r"SK[0-9a-fA-F]{32}")
_SERVICE_SID: Final = re.compile(r"MG[0-9a-fA-F]{32}")
_LOGIN: Final = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY", "TWILIO_API_SECRET")
"""Where none of these is set, nobody meant Twilio to be asked."""

_SENDER: Final = re.compile(r"\+[1-9][0-9]{6,14}|[1-9][0-9]{2,7}|(?=.*[A-Za-z])[A-Za-z0-9 &+_-]{1,11}")


def twilio_settings(variables: Mapping[str, str], *, senders_needed: bool = True) -> TwilioSettings:
    """
    The Twilio account and its credential: an API key where one is complete, else the auth token.

    Args:
        senders_needed: Whether a sender must be set; ``--all-senders`` does without.

    Raises:
        NotConfigured: None of it is set.
        SettingsError: A variable is missing or malformed.
    """
    if not any(variables.get(name) for name in _LOGIN):
        message = f"{_LOGIN[0]} is missing"
        raise NotConfigured(message, hint=_UNSET.format(_LOGIN[0]))
    account_sid = _shaped(variables, "TWILIO_ACCOUNT_SID", _ACCOUNT_SID, "AC and 32 hexadecimal digits")
    key, secret = variables.get("TWILIO_API_KEY"), variables.get("TWILIO_API_SECRET")
    if key and secret:
        username = _shaped(variables, "TWILIO_API_KEY", _KEY_SID, "SK and 32 hexadecimal digits")
        password = _printable(variables, "TWILIO_API_SECRET")
    else:
        key_too = "set it in the environment or a file, or set both TWILIO_API_KEY and TWILIO_API_SECRET"
        username, password = account_sid, _printable(variables, "TWILIO_AUTH_TOKEN", key_too)
    return TwilioSettings(
        account_sid=account_sid,
        username=username,
        password=Secret(password),
        senders=twilio_senders(variables, needed=senders_needed),
        base_url=_base_url(variables, "TWILIO_API_BASE_URL", TWILIO_API),
    )


_UNSET: Final = "set {} in the environment, in .env, or in a file named with --env-file"


def _required(variables: Mapping[str, str], name: str, hint: str | None = None) -> str:
    value = variables.get(name)
    if not value:
        message = f"{name} is missing"
        raise SettingsError(message, hint=hint or _UNSET.format(name))
    return value


def _shaped(variables: Mapping[str, str], name: str, shape: re.Pattern[str], described: str) -> str:
    value = _required(variables, name)
    if not shape.fullmatch(value):
        message = f"{name} is malformed: it must be {described}"
        raise SettingsError(message, hint="copy it again from the Twilio Console, without blanks or quotes around it")
    return value


def _printable(
    variables: Mapping[str, str], name: str, hint: str | None = None, source: str = "the Twilio Console"
) -> str:
    value = _required(variables, name, hint)
    if not (value.isascii() and value.isprintable() and " " not in value):
        message = f"{name} is malformed: it holds blanks or characters that no such value has"
        raise SettingsError(message, hint=f"copy it again from {source}, without blanks or quotes around it")
    return value


def twilio_senders(variables: Mapping[str, str], *, needed: bool) -> frozenset[str]:
    """
    The phone numbers and messaging services whose messages are the application's.

    Raises:
        SettingsError: One is malformed, or none is set where one is needed.
    """
    shapes = {
        "TWILIO_PHONE_NUMBER": (_SENDER, "a number such as +15551234567, a short code or a sender name"),
        "TWILIO_MESSAGING_SERVICE_SID": (_SERVICE_SID, "MG and 32 hexadecimal digits"),
    }
    senders = {_shaped(variables, name, *shape) for name, shape in shapes.items() if variables.get(name)}
    if needed and not senders:
        message = "no sender is set: TWILIO_PHONE_NUMBER is missing"
        hint = "set it or TWILIO_MESSAGING_SERVICE_SID, or compare the whole account with --all-senders"
        raise SettingsError(message, hint=hint)
    return frozenset(senders)


def _base_url(variables: Mapping[str, str], name: str, usual: str) -> str:
    url = variables.get(name) or usual
    if not _is_address(url):
        message = f"{name} is malformed"
        raise SettingsError(message, hint=f"write http(s)://host[:port], or leave it out for {usual}")
    return url.rstrip("/")


def _is_address(url: str) -> bool:
    split = _split(url)
    return (
        split is not None
        and split.parts.scheme in {"http", "https"}
        and bool(split.parts.hostname)
        and url.isascii()
        and not any(character in url for character in "?#@\\")
    )


def app_url(variables: Mapping[str, str]) -> str:
    """
    The booking app's public address, without a slash at its end.

    Raises:
        SettingsError: It is missing or malformed.
    """
    url = _required(variables, "BOOKING_APP_URL")
    if not _is_address(url):
        message = "BOOKING_APP_URL is malformed"
        raise SettingsError(message, hint="write the address in a customer's browser, http(s)://host[:port]")
    return url.rstrip("/")


class ProbeSettings(Struct, frozen=True, kw_only=True):
    """
    How the application is called as a client does.

    Attributes:
        phone: As it was given; whoever needs it in E.164 makes it so.
    """

    app_url: str
    key: Secret
    event_id: str
    phone: str


def probe_settings(variables: Mapping[str, str], phone: str | None) -> ProbeSettings:
    """
    What a probe of the application needs.

    Args:
        phone: The caller's own; None for that of ``TEST_PHONE``.

    Raises:
        SettingsError: A variable is missing or malformed.
    """
    return ProbeSettings(
        app_url=app_url(variables),
        key=Secret(_printable(variables, "TEST_API_KEY", source="the application's settings")),
        event_id=_printable(variables, "TEST_EVENT_ID", source="the table events"),
        phone=phone or _required(variables, "TEST_PHONE", "name your own phone with --phone, or set TEST_PHONE to it"),
    )


def vercel_settings(variables: Mapping[str, str]) -> VercelSettings:
    """
    The project on Vercel and the token for it.

    Raises:
        NotConfigured: There is no token.
        SettingsError: A variable is missing or malformed.
    """
    if not variables.get("VERCEL_TOKEN"):
        message = "VERCEL_TOKEN is missing"
        raise NotConfigured(message, hint="make one in the Vercel dashboard, Account Settings, Tokens, and set it")
    dashboard = "the Vercel dashboard"
    team = "VERCEL_TEAM_ID"
    return VercelSettings(
        token=Secret(_printable(variables, "VERCEL_TOKEN", source=dashboard)),
        project=_printable(variables, "VERCEL_PROJECT_ID", source=dashboard),
        team=_printable(variables, team, source=dashboard) if variables.get(team) else None,
        base_url=_base_url(variables, "VERCEL_API_BASE_URL", VERCEL_API),
    )
