"""
What texts were billed as: their price, and the segments they were counted in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from typing import Any, Final

from msgspec import Struct

from booking_doctor.checks.check import NAMED, BlindSpot, Evidence, Fault, check
from booking_doctor.checks.messages import WALK_S, complete
from booking_doctor.core.agreement import TRIAL_PREFIX
from booking_doctor.core.segments import (
    GSM_BASIC,
    GSM_EXTENDED,
    GSM_PART,
    GSM_SINGLE,
    UCS2_PART,
    UCS2_SINGLE,
    segments,
)
from booking_doctor.discrepancies import Comparison, Kind
from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.evidence import Queries
from booking_doctor.findings import Severity

_SIGNS: Final = """
SELECT count(*) FILTER (WHERE CAST({messages.cost_usd} AS numeric) < 0) AS negative,
  count(*) FILTER (WHERE CAST({messages.cost_usd} AS numeric) > 0 AND CAST({messages.cost_usd} AS numeric) < 1000000)
    AS positive,
  min({messages.message_sid}) FILTER (WHERE CAST({messages.cost_usd} AS numeric) < 0) AS message_sid
FROM {messages} WHERE {messages.created_at} >= :since AND {messages.created_at} < :until
"""
# NOTE: to PostgreSQL NaN is greater than any number, so "positive" needs an end.


@check(Severity.WARNING)
def message_cost_sign(evidence: Evidence) -> Iterator[Fault]:
    """
    Some rows keep what a text cost as a negative number, others as a positive one.

    ## Why it matters

    Twilio writes a charge with a minus sign. Where one piece of code keeps the sign and another drops it, sums are
    wrong and nobody sees it. The comparison looks at the amount alone, so such rows count as matched.

    ## How to repair

    Keep costs positive, as a backfill does: `UPDATE messages SET cost_usd = -cost_usd WHERE cost_usd < 0`. Then
    correct the code that keeps the sign.

    ## When this is fine

    When negative rows are refunds. A table in which every cost is negative has its own convention and is not reported.
    """
    if not evidence.database.has("messages", "cost_usd"):
        return
    (signs,) = evidence.database.rows(_SIGNS, since=evidence.window.since, until=evidence.window.until)
    if signs["negative"] and signs["positive"]:
        table, column = evidence.database.name("messages"), evidence.database.name("messages", "cost_usd")
        yield Fault(
            subject=f"schema/{table}.{column}",
            summary=f"{table}.{column} is negative in {signs['negative']:,} rows of the window and positive in "
            f"{signs['positive']:,}; all should have one sign.",
            remedy=f"Make the negative ones positive, as `booking-doctor explain {message_cost_sign.name}` shows.",
            evidence=dict(signs),
        )


# --- segments --------------------------------------------------------------------------------------------------------


class _Miscount(Struct, frozen=True, kw_only=True):
    """
    A row with another number of segments than its text has.

    Attributes:
        right: The number that Twilio billed; where it was not asked, those that the text can have.
        by_length: Whether the row's is the text's length divided by 160.
    """

    sid: str
    recorded: int
    right: str
    by_length: bool


@check(Severity.WARNING, limit_s=WALK_S)
def message_segments(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Rows keep another number of segments than their text was billed as.

    Twilio's number counts. Where Twilio cannot be asked, the text itself says which numbers it can have.

    ## Why it matters

    Texts are billed by the segment, so sums and forecasts made from the table are wrong. Mostly the code divides the
    length by 160: a long text has only 153 characters in each part, brackets and the euro sign count twice, and a single
    emoji or curly quote makes parts of 67.

    ## How to repair

    Keep Twilio's `num_segments`, and keep it again once the text is on its way: through a messaging service it is 0 at
    first. `booking-doctor backfill --fix-mismatched` corrects the rows that Twilio contradicts.

    ## When this is fine

    It is not. A row without a number, a text that was redacted, and what went through another channel are not counted;
    without Twilio neither is a 0, nor a number that smart encoding or a trial account's prefix explain.
    """
    if not evidence.database.has("messages", "segments"):
        return
    try:
        found = list(_contradicted(evidence.comparison))
    except (SourceError, SettingsError):
        yield from _impossible(evidence)
    else:
        yield from _told(complete(evidence, found), "than Twilio billed", evidence)


def _contradicted(comparison: Comparison) -> Iterator[_Miscount]:
    for discrepancy in comparison.of(Kind.MISMATCHED):
        body = discrepancy.message.body if discrepancy.message else None
        for difference in discrepancy.differences:
            if difference.field == "segments":
                recorded = int(difference.recorded)
                by_length = bool(body) and recorded == _by_length(body or "")
                yield _Miscount(sid=discrepancy.sid, recorded=recorded, right=difference.twilio, by_length=by_length)


def _by_length(body: str) -> int:
    return ceil(len(body) / GSM_SINGLE)


def _told(miscounts: Iterable[_Miscount], than: str, evidence: Evidence) -> Iterator[Fault]:
    found = list(miscounts)
    if not found:
        return
    database, first = evidence.database, found[0]
    table, column = database.name("messages"), database.name("messages", "segments")
    by_length = sum(miscount.by_length for miscount in found)
    rows = "1 row of the window says" if len(found) == 1 else f"{len(found):,} rows of the window say"
    cause = f"; {by_length:,} of them divide the text's length by {GSM_SINGLE}" if by_length else ""
    yield Fault(
        subject=f"schema/{table}.{column}",
        summary=f"In {table}.{column} {rows} another number of segments {than},"
        f" such as {first.sid} with {first.recorded} instead of {first.right}{cause}.",
        remedy="Keep Twilio's num_segments, again after the text was sent; plan the corrections:"
        f" {evidence.command('backfill')} --fix-mismatched",
        evidence={
            "message_sid": first.sid,
            "rows": len(found),
            "by_length": by_length,
            "examples": [
                {"message_sid": one.sid, "recorded": one.recorded, "right": one.right} for one in found[:_EXAMPLES]
            ],
        },
    )


_EXAMPLES: Final = 20

# --- what a text can have --------------------------------------------------------------------------------------------


def _class(characters: Iterable[str]) -> str:
    return f"^[{''.join(re.escape(character) for character in sorted(characters))}]*$"


_LARGE: Final = r"[\u0300-\u036F\u200D\uFE00-\uFE0F\U00010000-\U0010FFFF]"
"""Characters of two units, and those that stay with the one before them."""


def _parts(size: str, single: int, part: int) -> str:
    return f"CASE WHEN {size} <= {single} THEN 1 ELSE ceil({size} / {part}.0) END"


def _only(size: str, single: int) -> str:
    return f"CASE WHEN {size} <= {single} THEN 1 ELSE 0 END"


_COUNTS: Final = {
    "[plain]": _parts("size", GSM_SINGLE, GSM_PART),
    "[gsm]": _only("2 * size - char_length(translate(body, :twice, ''))", GSM_SINGLE),
    "[other]": _parts("size", UCS2_SINGLE, UCS2_PART),
    "[large]": _only(f"2 * size - char_length(regexp_replace(body, '{_LARGE}', '', 'g'))", UCS2_SINGLE),
}
"""
Segments by kind of text, in SQL. Where a character may be larger than a unit, the database only knows a text that is
one part: what is not to be cut moves to the next part as a whole.
"""

# NOTE: what the database finds wrong, and what it cannot count, is counted here with all there is to consider. Most
# texts are short and of ASCII: they are one part, for 40 of 120 characters are never brackets, and need no closer look.
_SUSPECTS: Final = """
WITH text AS (
  SELECT CAST({messages.message_sid} AS text) AS sid, CAST({messages.segments} AS integer) AS recorded,
    {messages.body} AS body, char_length({messages.body}) AS size, {messages.created_at} AS at, [sms] AS sms
  FROM {messages}
  WHERE {messages.created_at} >= :since AND {messages.created_at} < :until
    AND CAST({messages.segments} AS numeric) > 0 AND {messages.body} <> ''
)
SELECT sid, recorded, body, count(*) OVER () AS rows FROM text
WHERE CASE
  WHEN recorded = 1 AND size <= 120 AND octet_length(body) = size THEN false
  WHEN recorded = CASE WHEN body ~ CAST(:plain AS text) THEN [plain] WHEN body ~ CAST(:gsm AS text) THEN [gsm]
    WHEN body ~ CAST(:large AS text) THEN [large] ELSE [other] END THEN false
  ELSE sms END
ORDER BY at DESC, sid LIMIT :counted
"""

_SMS: Final = """
CAST({messages.message_sid} AS text) LIKE 'SM%' AND CAST({messages.direction} AS text) <> 'inbound'
  AND strpos(concat({messages.to_number}, {messages.from_number}), chr(58)) = 0
"""
_KIND: Final = """
  AND lower(CAST({messages.message_type} AS text)) NOT IN ('mms', 'whatsapp', 'rcs', 'messenger', 'email')
"""

COUNTED: Final = 20 * NAMED
"""So many texts are counted again here."""


def _impossible(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    rows = _suspects(evidence.database, since=evidence.window.since, until=evidence.window.until)
    found = [miscount for row in rows if (miscount := _miscount(row))]
    yield from _told(found, "than their text can have", evidence)
    rest = rows[0]["rows"] - len(rows) if rows else 0
    if rest:
        reason = f"{rest:,} texts more were not counted; the limit is {COUNTED:,}, choose a smaller window"
        yield BlindSpot(subject=None, reason=reason)


def _suspects(database: Queries, **window: object) -> list[Mapping[str, Any]]:
    kind = _KIND if database.has("messages", "message_type") else ""
    question = _SUSPECTS.replace("[sms]", _SMS + kind)
    for name, count in _COUNTS.items():
        question = question.replace(name, count)
    return database.rows(
        question,
        **window,
        plain=_class(GSM_BASIC),
        gsm=_class(GSM_BASIC | GSM_EXTENDED),
        twice="".join(sorted(GSM_EXTENDED)),
        large=_LARGE,
        counted=COUNTED,
    )


def _miscount(row: Mapping[str, Any]) -> _Miscount | None:
    least, most = possible(row["body"])
    if least <= row["recorded"] <= most:
        return None
    return _Miscount(
        sid=row["sid"],
        recorded=row["recorded"],
        right=f"{least}" if least == most else f"{least} to {most}",
        by_length=row["recorded"] == _by_length(row["body"]),
    )


def possible(body: str) -> tuple[int, int]:
    """
    The fewest and the most segments that a text can be billed as.

    Smart encoding, a setting of a messaging service, swaps what resembles a character of GSM 03.38 for it. A trial
    account's texts begin with a sentence of Twilio's, and a toll-free number's parts are a little shorter.
    """
    swapped = "".join(character if character in _GSM else "." if _swaps(character) else character for character in body)
    most = segments(TRIAL_PREFIX + body)
    return min(segments(body), segments(swapped)), most + (most > 1)


_GSM: Final = GSM_BASIC | GSM_EXTENDED


def _swaps(character: str) -> bool:
    """
    Whether something plain looks like it: a quote, a dash, a blank, an accented or a full-width letter. No emoji does.
    """
    base = unicodedata.normalize("NFKD", character)[0]
    return base in _GSM or unicodedata.category(character) == "Sk" or unicodedata.category(character)[0] in "PZCM"
