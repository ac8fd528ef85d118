"""
What the value of each variable looks like when it is right, and what is wrong with it when it is not.

Nothing here says a value, or a piece of one: only what kind of thing was seen, and where.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from msgspec import Struct

from booking_doctor.errors import SettingsError
from booking_doctor.settings import DATABASE_VARIABLES, DatabaseSettings, database_settings

# --- dirt ------------------------------------------------------------------------------------------------------------

_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"
_DIRT: Final[Mapping[str, re.Pattern[str]]] = {
    "byte order mark": re.compile("\ufeff"),
    "zero-width character": re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069]"),
    "no-break space": re.compile("[\u00a0\u2007\u202f]"),
    "carriage return": re.compile(r"\r"),
    "newline": re.compile(r"\n"),
    "literal backslash-n": re.compile(r"\\[nr]"),
    "leading blank": re.compile(r"\A[^\S\r\n\u00a0\u2007\u202f]"),
    "trailing blank": re.compile(r"[^\S\r\n\u00a0\u2007\u202f](?=[\r\n]*\Z)"),
    "wrapping quote": re.compile(rf"\A\s*[{_QUOTES}]|[{_QUOTES}](?=\s*\Z)"),
}
_INSIDE: Final = re.compile("|".join(_DIRT[kind].pattern for kind in list(_DIRT)[:6]))
"""Dirt wherever it is, unlike blanks and quotes."""


class Dirt(Struct, frozen=True):
    """
    What does not belong into a value.

    Attributes:
        position: Of its first character in the value, from 1.
    """

    kind: str
    position: int


def dirt(value: str) -> list[Dirt]:
    """
    Each kind of dirt in *value*, where it first appears.
    """
    found = {kind: pattern.search(value) for kind, pattern in _DIRT.items()}
    return [
        Dirt(kind, match.end() if kind == "wrapping quote" else match.start() + 1)
        for kind, match in found.items()
        if match
    ]


def cleaned(value: str) -> str:
    """
    What *value* is without its dirt.
    """
    while value != (less := _INSIDE.sub("", value).strip().strip(_QUOTES)):
        value = less
    return value


def is_blank(value: str) -> bool:
    """
    Whether nothing is left of *value* without its dirt.
    """
    return not cleaned(value)


# --- placeholders ----------------------------------------------------------------------------------------------------

_PLACEHOLDERS: Final[Mapping[str, re.Pattern[str]]] = {
    "a text that asks for yours": re.compile(
        r"(?i)\byour([_ ]|-(account|api|app|auth|database|db|domain|event|host|key|number|password|phone|project|ref|secret"
        r"|service|sid|supabase|tenant|token|twilio|url|user|vercel))|[\[<{(]your|change[-_ ]?me|replace[-_ ]?(me|this|with)"
    ),
    "a name in angle brackets": re.compile(r"<[^<>]*>"),
    "a template that nobody filled in": re.compile(r"\$\{[^}]*\}|\{\{"),
    "a row of x": re.compile(r"(?i)(AC|SK|MG|PN|\+?\d{0,3})[x*.]{3,}|x{6,}|(?<![a-z0-9])x{3,}(?![a-z0-9])"),
    "zeros only": re.compile(r"(?i)(AC|SK|MG|PN|\+1?)?0{3,}"),
    "a word that stands for a value": re.compile(
        r"(?i)(placeholder|todo|tbd|fixme|dummy|none|null|undefined|secret|token)"
    ),
    "the URL of an example": re.compile(r"(?i)[a-z+]+://user(name)?:pass(word)?@host(name)?([:/].*)?"),
    "one of Twilio's magic numbers": re.compile(r"\+1500555[0-9]{4}"),
}
_ANYWHERE: Final = frozenset(
    {"a text that asks for yours", "a name in angle brackets", "a template that nobody filled in"}
)
_ROW: Final = re.compile(r"(?i)x{6,}|(?<![a-z0-9])x{3,}(?![a-z0-9])")


def placeholder(value: str) -> str | None:
    """
    What stands where a value should be; None where it may be one.
    """
    for kind, pattern in _PLACEHOLDERS.items():
        if pattern.fullmatch(value) or (kind in _ANYWHERE and pattern.search(value)):
            return kind
    return "a row of x" if _ROW.search(value) else None


# --- shapes ----------------------------------------------------------------------------------------------------------

_LIKENESSES: Final[Mapping[str, re.Pattern[str]]] = {
    "an account's SID": re.compile(r"AC[0-9a-fA-F]{32}"),
    "an API key's SID": re.compile(r"SK[0-9a-fA-F]{32}"),
    "a messaging service's SID": re.compile(r"MG[0-9a-fA-F]{32}"),
    "a phone number's SID": re.compile(r"PN[0-9a-fA-F]{32}"),
    "an auth token": re.compile(r"[0-9a-f]{32}"),
    "a phone number": re.compile(r"\+[1-9][0-9]{6,14}"),
    "a phone number without + and country code, or with marks in it": re.compile(r"[+0-9][0-9 ().-]{6,20}"),
    "a publishable key of Supabase": re.compile(r"sb_publishable_\S+"),
    "a database URL": re.compile(r"postgres(ql)?(\+\w+)?://.*"),
    "a web address": re.compile(r"https?://.*"),
    "a JSON web token": re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*"),
}


def _seen(value: str) -> str:
    like = next((kind for kind, pattern in _LIKENESSES.items() if pattern.fullmatch(value)), None)
    return f"it looks like {like}" if like else f"what is there has {len(value)} characters and another shape"


class Shape(Struct, frozen=True, kw_only=True):
    """
    What a value must look like.

    Attributes:
        expected: In words.
        source: Where a person copies it from.
        wrong: What was seen instead; None where the value fits.
        certain: Whether another shape is certainly wrong; Twilio does not document all of them.
    """

    expected: str
    source: str
    wrong: Callable[[str], str | None]
    certain: bool = True


def _matching(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern)
    return lambda value: None if compiled.fullmatch(value) else _seen(value)


def _database_url(value: str) -> str | None:
    return None if database_of(DATABASE_VARIABLES[0], value) else "what is there cannot be read as one"


def database_of(name: str, value: str) -> DatabaseSettings | None:
    """
    Where the variable leads; None where it is no database URL.
    """
    try:
        return database_settings({name: value})
    except SettingsError:
        return None


def _split(value: str) -> SplitResult | None:
    try:
        split = urlsplit(value)
        split.port  # noqa: B018  a bad port is found when it is asked for
    except ValueError:
        return None
    return split


def _address(value: str) -> str | None:
    split = _split(value) if re.fullmatch(r"[\x21-\x7e]+", value) else None
    if split is None or split.scheme not in {"http", "https"} or not split.hostname:
        return _seen(value)
    if split.username is not None or split.query or split.fragment:
        return "there is a login, a query or a fragment in it"
    return None


def _project_address(value: str) -> str | None:
    if wrong := _address(value):
        return wrong
    split = urlsplit(value)
    if split.hostname in {"supabase.com", "app.supabase.com"}:
        return "it is the address of Supabase's dashboard"
    return "it has a path, and the client adds its own" if split.path not in {"", "/"} else None


_ROLES: Final = frozenset({"anon", "authenticated"})


def _service_key(value: str) -> str | None:
    if re.fullmatch(r"sb_secret_[\w-]+", value):
        return None
    claims = claims_of(value)
    if claims is None:
        return _seen(value)
    role = claims.get("role")
    if role == "service_role":
        return None
    return f"its role claim is {role}" if role in _ROLES else "its role claim is not service_role"


def claims_of(token: str) -> Mapping[str, Any] | None:
    """
    The claims of a JSON web token, its signature not checked; None where it is none.
    """
    parts = token.split(".")
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else None
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


_CONSOLE: Final = "the Twilio Console, Account Info"
_SUPABASE: Final = "the Supabase dashboard, Project Settings"
_PRINTABLE: Final = _matching(r"[\x21-\x7e]+")
_NUMBER: Final = r"\+[1-9][0-9]{6,14}"


def _sid(prefix: str, source: str) -> Shape:
    return Shape(
        expected=f"{prefix} and 32 hexadecimal digits", source=source, wrong=_matching(rf"{prefix}[0-9a-fA-F]{{32}}")
    )


def _plain(source: str) -> Shape:
    return Shape(expected="printable ASCII without blanks", source=source, wrong=_PRINTABLE)


def _web(source: str) -> Shape:
    return Shape(expected="http(s)://host[:port]", source=source, wrong=_address)


_DATABASE: Final = Shape(
    expected="postgresql://user:password@host:port/database, with @ : / # and % in the password percent-encoded",
    source="the hosting platform's Connect page",
    wrong=_database_url,
)

SHAPES: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(DATABASE_VARIABLES, _DATABASE),
    "TWILIO_ACCOUNT_SID": _sid("AC", _CONSOLE),
    "TWILIO_AUTH_TOKEN": Shape(
        expected="32 hexadecimal digits", source=_CONSOLE, wrong=_matching("[0-9a-f]{32}"), certain=False
    ),
    "TWILIO_API_KEY": _sid("SK", "the Twilio Console, API keys"),
    "TWILIO_API_SECRET": Shape(
        expected="32 letters and digits",
        source="the place where it was kept when its key was made",
        wrong=_matching("[A-Za-z0-9]{32}"),
        certain=False,
    ),
    "TWILIO_PHONE_NUMBER": Shape(
        expected="a number such as +15551234567, a short code or a sender name",
        source="the Twilio Console, Active numbers",
        wrong=_matching(rf"{_NUMBER}|[1-9][0-9]{{2,7}}|(?=.*[A-Za-z])[A-Za-z0-9 &+_-]{{1,11}}"),
    ),
    "TWILIO_MESSAGING_SERVICE_SID": _sid("MG", "the Twilio Console, Messaging Services"),
    "TWILIO_API_BASE_URL": _web("whoever runs the proxy or simulator"),
    "SUPABASE_URL": Shape(expected="https://PROJECT.supabase.co", source=_SUPABASE, wrong=_project_address),
    "SUPABASE_SERVICE_ROLE_KEY": Shape(
        expected="a key whose role claim is service_role, or one that begins with sb_secret_",
        source=_SUPABASE,
        wrong=_service_key,
    ),
    "BOOKING_APP_URL": _web("the address in a customer's browser"),
    "BOOKING_API_KEY": _plain("the application's settings"),
    "TEST_API_KEY": _plain("the application's settings"),
    "BOOKING_DEPLOYMENT": _plain("whatever deploys the application"),
    "BOOKING_COMMIT": _plain("whatever deploys the application"),
    "TEST_EVENT_ID": _plain("the events table"),
    "TEST_PHONE": Shape(
        expected="a number such as +15551234567", source="the telephone that you test with", wrong=_matching(_NUMBER)
    ),
    "VERCEL_TOKEN": _plain("the Vercel dashboard, Account Settings"),
    "VERCEL_PROJECT_ID": _plain("the Vercel dashboard, Project Settings"),
    "VERCEL_TEAM_ID": _plain("the Vercel dashboard, Team Settings"),
    "VERCEL_API_BASE_URL": _web("whoever runs the proxy or simulator"),
}
"""
Every variable that the doctor or the application reads.
"""


# --- what a database URL says besides --------------------------------------------------------------------------------

_ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full", "no-verify"})
_PROJECT_HOST: Final = re.compile(r"(?:db\.)?([a-z0-9]+)\.supabase\.(?:co|in)")


def is_remote(database: DatabaseSettings) -> bool:
    """
    Whether the way there may lead over networks of others. A name without a dot is one of this network, such as a container's.
    """
    host = (database.parameters.get("hostaddr") or database.host or "").casefold()
    if not host or host.startswith(("/", "@")) or host.endswith((".localhost", ".local", ".internal")):
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host


def needs_tls(database: DatabaseSettings, url: str, default: str) -> bool:
    """
    Whether the connection fails rather than goes unencrypted.

    Args:
        default: The ``sslmode`` of the environment, used where the URL says nothing.
    """
    query = dict(parse_qsl(urlsplit(url).query))
    mode = query.get("sslmode") or query.get("ssl") or default
    return mode in _ENCRYPTED | {"true", "1"} or "sslrootcert" in database.parameters


def pools_transactions(database: DatabaseSettings, url: str) -> bool:
    """
    Whether it is a pooler that gives each transaction another session: Supabase's has port 6543 (Supabase: "Connect to
    your database"), and users of others say ``pgbouncer=true``.
    """
    return database.port == 6543 or dict(parse_qsl(urlsplit(url).query)).get("pgbouncer") == "true"


def project_of_address(url: str) -> str | None:
    """
    Supabase's reference of a project, from its address.
    """
    match = _PROJECT_HOST.fullmatch((urlsplit(url).hostname or "").casefold())
    return match[1] if match else None


def project_of_database(database: DatabaseSettings) -> str | None:
    """
    The same, from the database's host, or from the user at a pooler of Supabase.
    """
    host, user = (database.host or "").casefold(), database.user or ""
    if host.endswith(".pooler.supabase.com") and "." in user:
        return user.rpartition(".")[2]
    match = _PROJECT_HOST.fullmatch(host)
    return match[1] if match and host.startswith("db.") else None


def direct_address(database: DatabaseSettings) -> str:
    """
    Where the database is without a pooler, for people (Supabase: "Connect to your database").
    """
    project = project_of_database(database)
    return (
        f"db.{project}.supabase.co:5432, or the pooler's session port, 5432" if project else "the server's own address"
    )
