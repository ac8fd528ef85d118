"""
Who may write the application's rows: privileges, policies, rules, and the same again for what is behind a view.

The verdict is the catalog's; EXPLAIN, asked as the application's role, gives a second opinion where that is permitted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from booking_doctor.checks.check import Evidence, Fault, check
from booking_doctor.checks.schema import READY, WRITTEN, needed, subject
from booking_doctor.errors import DatabaseError, DatabaseForbidden, DatabaseReadOnly, SchemaMismatch
from booking_doctor.evidence import Queries
from booking_doctor.findings import JSONValue, Severity

_ROLE: Final = """
SELECT r.rolname AS name,
  pg_has_role(current_user, r.oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
    AS takeable, CASE WHEN CAST(:configured AS text) IS NOT NULL THEN 'configured'
    WHEN r.rolname = :conventional THEN 'conventional' ELSE 'connecting' END AS chosen
FROM pg_roles r WHERE r.rolname = coalesce(CAST(:configured AS text),
  (SELECT p.rolname FROM pg_roles p WHERE p.rolname = :conventional), current_user)
"""
CONVENTIONAL: Final = "service_role"
"""The role that a Supabase application writes as."""


def application_role(evidence: Evidence) -> Any:  # noqa: ANN401  a row of _ROLE
    """
    The application's role: the one that the settings name, else Supabase's, else our own.

    Raises:
        SchemaMismatch: The settings name one that is not there.
    """
    rows = evidence.database.rows(_ROLE, configured=evidence.application_role, conventional=CONVENTIONAL)
    if not rows:
        message = f"there is no role {evidence.application_role} in the database"
        raise SchemaMismatch(message, hint="check application_role in booking-doctor.toml")
    return rows[0]


ROLE_CHECKS: Final = ("schema-update-blocked", "schema-insert-blocked", "schema-role-setting")
"""Checks that look at the rights of that role."""


def judged_role(evidence: Evidence) -> dict[str, JSONValue]:
    """
    Whose rights were looked at, and how it was chosen, as a report tells it.

    Raises:
        SourceError: It could not be found out.
    """
    role = evidence.once(application_role)
    chosen = {
        "configured": "the settings",
        "conventional": f"Supabase: {CONVENTIONAL} exists",
        "connecting": "the connection, because the settings name none",
    }
    return {"application_role": role["name"], "application_role_from": chosen[role["chosen"]]}


class _Write(Struct, frozen=True, kw_only=True):
    """
    A statement that the application must be able to run.

    Attributes:
        privilege: What it needs on *written*, and on those of *also* that there are; it needs SELECT on *read*.
        command: Its letter in `pg_policy`, and *event* its number in `pg_rewrite`.
        bit: Its bit in the answer of `pg_relation_is_updatable`.
        statement: What is explained. It writes nothing but defaults, which every column's type takes.
    """

    table: str
    privilege: str
    written: tuple[str, ...]
    read: tuple[str, ...]
    command: str
    event: str
    bit: int
    statement: str
    also: tuple[str, ...] = ()

    def columns(self, database: Queries) -> list[str]:
        """
        What is written, as it is called here.
        """
        there = [column for column in self.also if database.has(self.table, column)]
        return [database.name(self.table, column) for column in (*self.written, *there)]


_UPDATE: Final = _Write(
    table="pending_bookings",
    privilege="UPDATE",
    written=("metadata",),
    read=("token",),
    command="w",
    event="2",
    bit=4,
    statement="UPDATE {pending_bookings} SET {pending_bookings.metadata} = DEFAULT"
    " WHERE {pending_bookings.token} IS NOT NULL",
)
_INSERT: Final = _Write(
    table="messages",
    privilege="INSERT",
    written=("customer_id", "direction", "message_sid", "body", "status"),
    read=(),
    command="a",
    event="3",
    bit=8,
    statement="INSERT INTO {messages} ({messages.customer_id}, {messages.direction}, {messages.message_sid},"
    " {messages.body}, {messages.status}) VALUES (DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT)",
    also=tuple(sorted({*WRITTEN["messages"]} - {"customer_id", "direction", "message_sid", "body", "status"})),
)


class _Obstacle(Struct, frozen=True, kw_only=True):
    """
    Why a write fails, or may fail.

    Attributes:
        kind: ``privilege``, ``policy``, ``rule`` or ``view``.
        remedy: SQL, or an instruction where no SQL helps.
        certain: Whether it holds for every row.
    """

    kind: str
    why: str
    remedy: str
    certain: bool = True


@check(Severity.ERROR, after=READY)
def schema_update_blocked(evidence: Evidence) -> Iterator[Fault]:
    """
    The application's role cannot store metadata in a pending booking: its UPDATE by token is refused, or changes no row.

    ## Why it matters

    A missing privilege is an error that the application may swallow. A missing row level security policy is worse: the
    UPDATE succeeds and changes 0 rows. Either way the text goes out and its metadata stays `{}`.

    ## How to repair

    Run the statements of the remedy: a grant, or a policy for UPDATE and, because the statement reads the token, one for
    SELECT. On Supabase, look first whether the application should use the service key: its role passes every policy,
    but needs grants like any other. Name the role as `application_role` in `booking-doctor.toml`.

    ## When this is fine

    Where the application writes as another role; then name that. A policy that depends on the row is only a warning: the
    catalog cannot say which rows it lets through.
    """
    yield from _blocked(evidence, _UPDATE, "metadata", "update {} by token")


@check(Severity.ERROR, after=READY)
def schema_insert_blocked(evidence: Evidence) -> Iterator[Fault]:
    """
    The application's role cannot record a message: its INSERT is refused.

    ## Why it matters

    Every text goes out and none is recorded. The database says so (SQLSTATE 42501); an application that swallows it
    does not.

    ## How to repair

    Run the statements of the remedy: a grant on the table (and on the sequence of its key, where it has one), or a policy
    for INSERT. Name the application's role as `application_role` in `booking-doctor.toml`.

    ## When this is fine

    Where the application writes as another role; then name that. A policy that depends on the row is only a warning.
    """
    yield from _blocked(evidence, _INSERT, None, "insert into {}")


def _blocked(evidence: Evidence, write: _Write, column: str | None, deed: str) -> Iterator[Fault]:
    database, role = evidence.database, evidence.once(application_role)
    place = needed(database, write.table, *write.written, *write.read)
    obstacles = _obstacles(database, write, role["name"], place)
    explained = _explained(database, write, role)
    if not any(obstacle.certain for obstacle in obstacles):
        obstacles += explained.obstacles
    if not obstacles:
        return
    certain = any(obstacle.certain for obstacle in obstacles)
    about = subject(database, write.table, column)
    deed = deed.format(about.removeprefix("schema/"))
    says = f"cannot {deed}" if certain else f"may be unable to {deed}"
    yield Fault(
        subject=about,
        summary=f"The role {role['name']} {says}: {'; '.join(obstacle.why for obstacle in obstacles)}.",
        remedy=_advice(obstacles, guessed=role["chosen"] == "connecting"),
        evidence={
            "role": role["name"],
            "role_guessed": role["chosen"] == "connecting",
            "obstacles": sorted({obstacle.kind for obstacle in obstacles if obstacle.certain}),
            "perhaps": sorted({obstacle.kind for obstacle in obstacles if not obstacle.certain}),
            "explain": explained.told,
            "takes_role": role["takeable"],
        },
        severity=None if certain else Severity.WARNING,
    )


def _advice(obstacles: Iterable[_Obstacle], *, guessed: bool) -> str:
    remedies = [obstacle.remedy for obstacle in obstacles]
    statements = [remedy for remedy in remedies if remedy.endswith(";")]
    words = [remedy for remedy in remedies if not remedy.endswith(";")]
    if guessed:
        words.insert(0, "If the application uses another role, name it as application_role in booking-doctor.toml.")
    return " ".join([*words, *(["Run:", *statements] if statements else [])])


# --- what the catalog says -------------------------------------------------------------------------------------------

_RIGHTS: Final = """
SELECT has_schema_privilege(r.oid, c.relnamespace, 'USAGE') AS entered, quote_ident(n.nspname) AS schema,
  CAST(c.oid AS regclass)::text AS relation, quote_ident(r.rolname) AS role,
  ARRAY(SELECT quote_ident(x.name) FROM unnest(CAST(:written AS text[])) WITH ORDINALITY x(name, place)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = x.name AND NOT a.attisdropped
    WHERE NOT has_column_privilege(r.oid, c.oid, a.attnum, :privilege) ORDER BY x.place) AS unwritable,
  ARRAY(SELECT quote_ident(x.name) FROM unnest(CAST(:read AS text[])) WITH ORDINALITY x(name, place)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = x.name AND NOT a.attisdropped
    WHERE NOT has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') ORDER BY x.place) AS unreadable,
  ARRAY(SELECT CAST(s.oid AS regclass)::text FROM pg_attrdef d JOIN pg_depend p
      ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
    JOIN pg_class s ON s.oid = p.refobjid
    WHERE d.adrelid = c.oid AND :privilege = 'INSERT'
      AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(r.oid, s.oid, 'USAGE, UPDATE') END
    ORDER BY 1) AS sequences,
  c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
    AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')) AS filtered,
  c.relkind IN ('r', 'p') OR pg_relation_is_updatable(c.oid, true) & :bit <> 0 AS writable,
  c.relkind = 'v' AND pg_relation_is_updatable(c.oid, false) & :bit <> 0 AS passes_on,
  CASE WHEN c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=yes', 'security_invoker=1']
    THEN r.rolname ELSE pg_get_userbyid(c.relowner) END AS acting,
  ARRAY(SELECT DISTINCT CAST(CAST(d.refobjid AS regclass) AS text) FROM pg_rewrite w JOIN pg_depend d
      ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p', 'v', 'm', 'f')
    WHERE w.ev_class = c.oid AND w.ev_type = '1' AND d.refobjid <> c.oid ORDER BY 1) AS behind
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_roles r
WHERE c.oid = to_regclass(:relation) AND r.rolname = :role
"""

_POLICIES: Final = """
SELECT quote_ident(p.polname) AS name, CAST(p.polcmd AS text) AS command, p.polpermissive AS permissive,
  pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(coalesce(p.polwithcheck, p.polqual), p.polrelid) AS checking
FROM pg_policy p JOIN pg_roles r ON r.rolname = :role
WHERE p.polrelid = to_regclass(:relation) AND (0 = ANY (p.polroles) OR EXISTS
  (SELECT FROM unnest(p.polroles) AS member WHERE member <> 0 AND pg_has_role(r.oid, member, 'USAGE')))
ORDER BY p.polname
"""

_INSTEAD: Final = """
SELECT quote_ident(w.rulename) AS name, w.ev_qual::text = '<>' AS always, pg_get_ruledef(w.oid) LIKE '%DO INSTEAD NOTHING;' AS nothing
FROM pg_rewrite w WHERE w.ev_class = to_regclass(:relation) AND w.ev_type = CAST(:event AS "char") AND w.is_instead
  AND w.ev_enabled IN ('O', 'A') ORDER BY w.rulename
"""


def _obstacles(database: Queries, write: _Write, role: str, relation: str) -> list[_Obstacle]:
    """
    What the catalog has against it, in the relation and in what is behind it.
    """
    place = {"relation": relation, "role": role}
    rights = database.rows(
        _RIGHTS,
        **place,
        privilege=write.privilege,
        bit=write.bit,
        written=write.columns(database),
        read=[database.name(write.table, column) for column in write.read],
    )[0]
    policies = database.rows(_POLICIES, **place) if rights["filtered"] else []
    rules = database.rows(_INSTEAD, relation=relation, event=write.event)
    return [
        *_missing_rights(rights, write.privilege),
        *(_closed_gates(rights, policies, write) if rights["filtered"] else ()),
        *_rules_in_the_way(rules, rights["relation"]),
        *(_behind(database, write, rights) if rights["passes_on"] and not rules else ()),
    ]


def _behind(database: Queries, write: _Write, view: Mapping[str, Any]) -> Iterator[_Obstacle]:
    """
    The same for the table that a view passes its writes on to; there its owner acts, unless it is the invoker's.
    """
    if len(view["behind"]) != 1:
        yield _Obstacle(
            kind="view",
            why=f"{view['relation']} is a view of {', '.join(view['behind'])}, and what is there was not looked at",
            remedy="Look at the rights on the tables behind the view.",
            certain=False,
        )
        return
    for obstacle in _obstacles(database, write, view["acting"], view["behind"][0]):
        why = f"behind the view {view['relation']}, where {view['acting']} acts: {obstacle.why}"
        yield replace(obstacle, why=why)


def _missing_rights(rights: Mapping[str, Any], privilege: str) -> Iterator[_Obstacle]:
    relation, role = rights["relation"], rights["role"]
    if not rights["entered"]:
        yield _Obstacle(
            kind="privilege",
            why=f"it may not use the schema {rights['schema']}",
            remedy=f"GRANT USAGE ON SCHEMA {rights['schema']} TO {role};",
        )
    for verb, columns in ((privilege, rights["unwritable"]), ("SELECT", rights["unreadable"])):
        if columns:
            listed = ", ".join(columns)
            yield _Obstacle(
                kind="privilege",
                why=f"it has no privilege to {verb} {listed}",
                remedy=f"GRANT {verb} ({listed}) ON {relation} TO {role};",
            )
    for sequence in rights["sequences"]:
        yield _Obstacle(
            kind="privilege",
            why=f"it may not use the sequence {sequence}",
            remedy=f"GRANT USAGE ON SEQUENCE {sequence} TO {role};",
        )
    if not rights["writable"]:
        yield _Obstacle(
            kind="view",
            why=f"{relation} is a view that takes no {privilege}",
            remedy="Map the table behind the view in booking-doctor.toml, and let the application write to that.",
        )


def _closed_gates(
    rights: Mapping[str, Any], policies: Sequence[Mapping[str, Any]], write: _Write
) -> Iterable[_Obstacle]:
    """
    What row level security does: a row passes if any permissive policy lets it, and every restrictive one.
    """
    gates = [(write.privilege, write.command, "checking")]
    if write.read:
        # NOTE: a statement that reads columns is held to the policies for SELECT too.
        gates = [("SELECT", "r", "using"), (write.privilege, write.command, "using"), *gates]
    found: dict[str, _Obstacle] = {}
    for verb, command, kind in gates:
        # NOTE: a policy without the expression lets nothing through that asks for it.
        mine = [policy for policy in policies if policy["command"] in {command, "*"} and policy[kind] is not None]
        for obstacle in (
            *_permissive(rights, {p["name"]: p[kind] for p in mine if p["permissive"]}, verb),
            *_restrictive(rights, {p["name"]: p[kind] for p in mine if not p["permissive"]}, verb),
        ):
            found.setdefault(obstacle.why, obstacle)
    return found.values()


_TERMS: Final = {"SELECT": "USING (true)", "UPDATE": "USING (true) WITH CHECK (true)", "INSERT": "WITH CHECK (true)"}


def _permissive(rights: Mapping[str, Any], terms: Mapping[str, str], verb: str) -> Iterator[_Obstacle]:
    if not set(terms.values()) - {"false"}:
        quietly = ", so it changes 0 rows without an error" if verb != "INSERT" else ""
        policy = f"CREATE POLICY application_{verb.lower()} ON {rights['relation']} FOR {verb} TO {rights['role']}"
        yield _Obstacle(
            kind="policy",
            why=f"row level security is on and no policy lets it {verb}{quietly}",
            remedy=f"{policy} {_TERMS[verb]};",
        )
    elif "true" not in terms.values():
        yield _depending(terms, verb)


def _restrictive(rights: Mapping[str, Any], terms: Mapping[str, str], verb: str) -> Iterator[_Obstacle]:
    for name, term in terms.items():
        if term == "false":
            yield _Obstacle(
                kind="policy",
                why=f"the restrictive policy {name} lets nothing through",
                remedy=f"DROP POLICY {name} ON {rights['relation']};",
            )
    undecided = {name: term for name, term in terms.items() if term not in {"true", "false"}}
    if undecided:
        yield _depending(undecided, verb)


def _depending(terms: Iterable[str], verb: str) -> _Obstacle:
    names = ", ".join(terms)
    return _Obstacle(
        kind="policy",
        why=f"whether it may {verb} depends on the row, by the policy {names}",
        remedy=f"Read the policy {names} and see that it lets the application's rows through.",
        certain=False,
    )


def _rules_in_the_way(rules: Iterable[Mapping[str, Any]], relation: str) -> Iterator[_Obstacle]:
    for rule in rules:
        instead = "nothing is done instead" if rule["nothing"] else "another statement runs instead"
        yield _Obstacle(
            kind="rule",
            why=f"by the rule {rule['name']} {instead}{'' if rule['always'] else ' for some rows'}",
            remedy=f"DROP RULE {rule['name']} ON {relation};",
            certain=rule["always"] and rule["nothing"],
        )


# --- the second opinion ----------------------------------------------------------------------------------------------


class _Explained(Struct, frozen=True):
    """
    What EXPLAIN said.

    Attributes:
        told: The plan, or why there is none.
        refusal: What the server answered where the role may not do it.
    """

    told: list[str]
    refusal: str | None = None

    @property
    def obstacles(self) -> Iterator[_Obstacle]:
        """
        What the catalog did not show.
        """
        if self.refusal:
            why = f"the server refuses it ({self.refusal})"
            yield _Obstacle(kind="privilege", why=why, remedy="Grant what the server names.")
        elif any(_NO_ROW.search(line) for line in self.told):
            why = "by the server's plan it changes no row, whatever there is"
            yield _Obstacle(
                kind="policy", why=why, remedy="Look at the plan in the evidence for what filters every row."
            )


_NO_ROW: Final = re.compile(r"^\s*(?:One-Time )?Filter: \(?false(?: AND false)*\)?$")


def _explained(database: Queries, write: _Write, role: Mapping[str, Any]) -> _Explained:
    if not role["takeable"]:
        return _Explained(["not asked: the doctor's role may not take this one"])
    try:
        return _Explained(database.explained(write.statement, role["name"]))
    except DatabaseForbidden as error:
        if isinstance(error, DatabaseReadOnly):
            return _Explained([error.summary])  # a replica refuses every write, whoever asks
        refusal = error.summary.partition(": ")[2]
        return _Explained([f"refused: {refusal}"], refusal)
    except DatabaseError as error:
        return _Explained([f"no answer: {error.summary}"])
