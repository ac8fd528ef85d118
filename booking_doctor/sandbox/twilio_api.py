"""
Twilio's REST API of 2010-04-01 in front of a simulated account: from a request to an answer, without any network.

Paths, parameters and documents are those of Twilio's OpenAPI description and its pages "Messages resource", "REST API:
Accounts", "IncomingPhoneNumber resource" and "Account balance". Parameters it does not know are ignored, as Twilio does
(error 20001). Where Twilio documents nothing, the docstring says what was chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from urllib.parse import urlencode

from msgspec import Struct

from booking_doctor.sandbox.exchange import JSON, Reply, Request, document
from booking_doctor.sandbox.twilio import TwilioAccount
from booking_doctor.sandbox.twilio_log import Message, Query, Stage
from booking_doctor.sandbox.twilio_rules import HTTP_STATUS, Attempt, Refused, error_text

Caller: TypeAlias = Literal["account", "key", "test"]

VERSION: Final = "2010-04-01"
DEFAULT_PAGE, LARGEST_PAGE = 50, 1000

MESSAGE_FILTERS: Final = ("To", "From", "DateSent", "DateSent<", "DateSent>")

_PATH: Final = re.compile(rf"/{VERSION}/Accounts/([^/]*?)(?:/(.+))?\.json")
_SERVICE: Final = re.compile(r"/v1/Services/([^/]+)(?:/(PhoneNumbers|ShortCodes|AlphaSenders))?")
_POOLS: Final = {"PhoneNumbers": "phone_numbers", "ShortCodes": "short_codes", "AlphaSenders": "alpha_senders"}
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")


def problem(code: int, message: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """
    Twilio's way to say no.
    """
    status = HTTP_STATUS.get(code, 400)
    payload = {
        "code": code,
        "message": message or error_text(code),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    challenge = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if status == 401 else {}
    return document(payload, status, {**challenge, **(headers or {})})


class TwilioApi(Struct, frozen=True):
    """
    The API of one account.
    """

    account: TwilioAccount

    def answer(self, request: Request, secret: str | None) -> Reply:
        """
        Do what is asked, or say why not.

        Args:
            secret: The password that came with the request's user.
        """
        try:
            return self._route(request, self._caller(request.user, secret))
        except Refused as refused:
            return problem(refused.code, str(refused))

    def _caller(self, user: str | None, secret: str | None) -> Caller:
        account = self.account
        known: dict[tuple[str | None, str | None], Caller] = {(account.account_sid, account.auth_token): "account"}
        if account.api_key:
            known[account.api_key.sid, account.api_key.secret] = "key"
        if account.test_credential:
            known[account.test_credential.sid, account.test_credential.secret] = "test"
        caller = known.get((user, secret))
        if caller is None:
            raise Refused(20003)
        return caller

    def _route(self, request: Request, caller: Caller) -> Reply:
        """
        Find the resource. Another account's is not found, which is a choice: Twilio does not document it.
        """
        path = _PATH.fullmatch(request.path)
        owner, rest = path.groups(default="") if path else ("", "")
        if caller == "test":
            return self._rehearse(request, owner, rest)
        if service := _SERVICE.fullmatch(request.path):
            verbs: Mapping[str, Callable[[], Reply]] = {"GET": lambda: self._service(service[1], service[2] or "")}
        elif owner and owner == self.account.account_sid:
            verbs = self._verbs(request, caller, rest.split("/"))
        else:
            raise Refused(20404, what=request.path)
        if request.method not in verbs:
            raise Refused(20004)
        return verbs[request.method]()

    def _verbs(self, request: Request, caller: Caller, resource: list[str]) -> Mapping[str, Callable[[], Reply]]:
        match resource:
            case [""]:
                return {"GET": lambda: self._account(caller)}
            case ["Balance"]:
                return {"GET": self._balance}
            case ["IncomingPhoneNumbers"]:
                return {"GET": lambda: self._numbers(request)}
            case ["SMS", "ShortCodes"]:
                return {"GET": lambda: self._short_codes(request)}
            case ["Messages"]:
                return {"GET": lambda: self._messages(request), "POST": lambda: self._create(request)}
            case ["Messages", sid]:
                return {
                    "GET": lambda: self._message(self.account.fetch(sid)),
                    "POST": lambda: self._message(self._update(request, sid)),
                    "DELETE": lambda: self._delete(sid),
                }
        raise Refused(20404, what=request.path)

    def _rehearse(self, request: Request, owner: str, rest: str) -> Reply:
        """
        All that test credentials may do here (Twilio: "Test Credentials").
        """
        if request.method != "POST" or rest != "Messages" or owner != request.user:
            raise Refused(20008)
        message = self.account.rehearse(_attempt(request))
        return document(message_document(message, message.stages[0], owner), 201)

    def _account(self, caller: Caller) -> Reply:
        """
        The account with its token in clear, as Twilio sends it; a standard key may not see it.
        """
        if caller != "account":
            raise Refused(20003)
        account, uri = self.account, f"/{VERSION}/Accounts/{self.account.account_sid}"
        created = _rfc2822(account.date_created)
        return document(
            {
                "auth_token": account.auth_token,
                "date_created": created,
                "date_updated": created,
                "friendly_name": "Simulated account",
                "owner_account_sid": account.account_sid,
                "sid": account.account_sid,
                "status": account.status,
                "subresource_uris": {
                    "balance": f"{uri}/Balance.json",
                    "incoming_phone_numbers": f"{uri}/IncomingPhoneNumbers.json",
                    "messages": f"{uri}/Messages.json",
                },
                "type": "Trial" if account.trial else "Full",
                "uri": f"{uri}.json",
            }
        )

    def _balance(self) -> Reply:
        account = self.account
        return document({"account_sid": account.account_sid, "balance": account.balance, "currency": "USD"})

    def _numbers(self, request: Request) -> Reply:
        """
        The numbers that hold what ``PhoneNumber`` says, in the order in which the account names them.
        """
        listing = _Listing.of(request, ["PhoneNumber"])
        wanted = listing.filters.get("PhoneNumber", "")
        found = [number_document(self.account, number) for number in self.account.number_sids if wanted in number]
        start = listing.start([str(record["sid"]) for record in found])
        part = found[start : start + listing.size]
        return listing.document("incoming_phone_numbers", part, has_older=start + listing.size < len(found))

    def _short_codes(self, request: Request) -> Reply:
        """
        The short codes that hold what ``ShortCode`` says, on one page.
        """
        owner, listing = self.account.account_sid, _Listing.of(request, ["ShortCode"])
        wanted = listing.filters.get("ShortCode", "")
        found = [code for code in self.account.short_codes if wanted in code]
        records = [{"account_sid": owner, "sid": f"SC{code:0>32}", "short_code": code} for code in found]
        return listing.document("short_codes", records, has_older=False)

    def _service(self, sid: str, pool: str) -> Reply:
        """
        A messaging service (Twilio: "Services resource"), or a whole pool of its senders on one page; only numbers are in any.
        """
        numbers = self.account.services.get(sid)
        if numbers is None:
            raise Refused(20404, what=sid)
        if not pool:
            return document({"sid": sid, "account_sid": self.account.account_sid, "friendly_name": "Simulated service"})
        senders = [{"sid": self.account.number_sids[n], "phone_number": n} for n in numbers if pool == "PhoneNumbers"]
        return document({_POOLS[pool]: senders, "meta": {"key": _POOLS[pool], "next_page_url": None}})

    def _messages(self, request: Request) -> Reply:
        listing = _Listing.of(request, MESSAGE_FILTERS)
        page = self.account.page(_message_query(listing.filters), size=listing.size, token=listing.token)
        owner = self.account.account_sid
        records = [message_document(message, message.stage(page.at), owner) for message in page.messages]
        return listing.document("messages", records, has_older=page.has_older)

    def _update(self, request: Request, sid: str) -> Message:
        """
        Redact or cancel, the two things that may be changed.
        """
        message = self.account.fetch(sid)
        if "Status" in request.form:
            if request.value("Status") != "canceled":
                raise Refused(20001, what="Status can only be changed to canceled")
            message = self.account.cancel(sid)
        if "Body" in request.form:
            if request.value("Body"):
                raise Refused(20001, what="Body can only be changed to an empty string")
            message = self.account.redact(sid)
        return message

    def _create(self, request: Request) -> Reply:
        message = self.account.create(_attempt(request))
        return document(message_document(message, message.stages[0], self.account.account_sid), 201)

    def _delete(self, sid: str) -> Reply:
        self.account.delete(sid)
        return Reply(status=204)

    def _message(self, message: Message) -> Reply:
        return document(message_document(message, message.stage(self.account.now()), self.account.account_sid))


class _Listing(Struct, frozen=True, kw_only=True):
    """
    The paging of a list.
    """

    path: str
    filters: Mapping[str, str]
    size: int
    number: int
    token: str | None

    @classmethod
    def of(cls, request: Request, names: Iterable[str]) -> _Listing:
        """
        Read the paging parameters; a larger page than 1000 is cut to that, which Twilio documents only as the limit.
        """
        query = request.query
        number, token = _whole_number(query, "Page", 0), query.get("PageToken") or None
        if number and not token:
            raise Refused(20001, what="PageToken is required")
        size = _whole_number(query, "PageSize", DEFAULT_PAGE)
        if size < 1:
            raise Refused(20001, what="Invalid PageSize")
        filters = {name: value for name, value in query.items() if value and name in names}
        return cls(path=request.path, filters=filters, size=min(size, LARGEST_PAGE), number=number, token=token)

    def start(self, sids: Sequence[str]) -> int:
        """
        Where the page begins in a list that fits into memory.
        """
        if self.token is None:
            return 0
        sid = self.token[2:]
        if self.token[:2] not in {"PA", "PB"} or sid not in sids:
            raise Refused(20001, what="Invalid PageToken")
        return sids.index(sid) + 1 if self.token.startswith("PA") else max(sids.index(sid) - self.size, 0)

    def uri(self, number: int, token: str | None = None) -> str:
        """
        The address of a page: all filters, and where to go on.
        """
        paging = {"PageSize": self.size, "Page": number} | ({"PageToken": token} if token else {})
        return f"{self.path}?{urlencode({**self.filters, **paging})}"

    def document(self, key: str, records: Sequence[Mapping[str, JSON]], *, has_older: bool) -> Reply:
        """
        A page with the addresses of its neighbours.
        """
        start = self.number * self.size
        older = self.uri(self.number + 1, f"PA{records[-1]['sid']}") if has_older and records else None
        newer = self.uri(self.number - 1, f"PB{records[0]['sid']}") if self.number and records else None
        return document(
            {
                key: records,
                "end": start + max(len(records) - 1, 0),
                "first_page_uri": self.uri(0),
                "next_page_uri": older,
                "page": self.number,
                "page_size": self.size,
                "previous_page_uri": newer,
                "start": start,
                "uri": self.uri(self.number, self.token),
            }
        )


def message_document(message: Message, stage: Stage, account_sid: str) -> dict[str, JSON]:
    """
    A Message resource in *stage*, as it is on the wire.
    """
    uri = f"/{VERSION}/Accounts/{account_sid}/Messages/{message.sid}"
    error = None if stage.error_code is None else error_text(stage.error_code, to=message.to, sender=stage.sender)
    return {
        "account_sid": account_sid,
        "api_version": VERSION,
        "body": message.body,
        "date_created": _rfc2822(message.date_created),
        "date_sent": None if stage.date_sent is None else _rfc2822(stage.date_sent),
        "date_updated": _rfc2822(message.updated(stage)),
        "direction": message.direction,
        "error_code": stage.error_code,
        "error_message": error,
        "from": stage.sender,
        "messaging_service_sid": message.service,
        "num_media": str(message.media),
        "num_segments": str(stage.segments),
        "price": stage.price,
        "price_unit": message.price_unit,
        "sid": message.sid,
        "status": stage.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.to,
        "uri": f"{uri}.json",
    }


def number_document(account: TwilioAccount, number: str) -> dict[str, JSON]:
    """
    An IncomingPhoneNumber resource that nothing is connected to.
    """
    sid, created = account.number_sids[number], _rfc2822(account.date_created)
    sms = number not in account.without_sms
    urls = ("sms_fallback_url", "sms_url", "status_callback", "voice_fallback_url", "voice_url")
    methods = ("sms_fallback_method", "sms_method", "status_callback_method", "voice_fallback_method", "voice_method")
    nothing = ("address_sid", "bundle_sid", "emergency_address_sid", "identity_sid", "trunk_sid")
    applications = ("sms_application_sid", "voice_application_sid")
    return {
        **dict.fromkeys(urls, ""),
        **dict.fromkeys(methods, "POST"),
        **dict.fromkeys((*nothing, *applications)),
        "account_sid": account.account_sid,
        "address_requirements": "none",
        "api_version": VERSION,
        "beta": False,
        "capabilities": {"fax": False, "mms": sms, "sms": sms, "voice": True},
        "date_created": created,
        "date_updated": created,
        "emergency_address_status": "unregistered",
        "emergency_status": "Inactive",
        "friendly_name": number,
        "origin": "twilio",
        "phone_number": number,
        "sid": sid,
        "status": "in-use",
        "type": "local",
        "uri": f"/{VERSION}/Accounts/{account.account_sid}/IncomingPhoneNumbers/{sid}.json",
        "voice_caller_id_lookup": False,
        "voice_receive_mode": "voice",
    }


def _rfc2822(moment: datetime) -> str:
    return f"{_day(moment.date())} {moment.time().isoformat('seconds')} +0000"


@lru_cache(maxsize=1024)
def _day(day: date) -> str:
    # NOTE: a page has three thousand dates, and formatting a whole one is a third of the work of making it.
    return format_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC))[: len("Thu, 24 Aug 2023")]


def _attempt(request: Request) -> Attempt:
    send_at = request.value("SendAt")
    return Attempt(
        to=request.value("To"),
        sender=request.value("From"),
        service=request.value("MessagingServiceSid"),
        body=request.value("Body"),
        media=len(request.form.get("MediaUrl", ())),
        scheduled=request.value("ScheduleType") == "fixed",
        send_at=_span("SendAt", send_at)[0] if send_at else None,
    )


def _message_query(filters: Mapping[str, str]) -> Query:
    """
    Read the filters. Both bounds are included; ``DateSent`` is the whole UTC day of whatever time is given.

    That a bare day as upper bound includes all of that day is a choice: Twilio describes it both ways.
    """
    spans = {name: _span(name, value) for name, value in filters.items() if name.startswith("DateSent")}
    if "DateSent" in spans:
        midnight = spans["DateSent"][0].replace(hour=0, minute=0, second=0)
        spans["DateSent"] = (midnight, midnight + timedelta(days=1))
    return Query(
        to=filters.get("To"),
        sender=filters.get("From"),
        since=max((spans[name][0] for name in ("DateSent", "DateSent>") if name in spans), default=None),
        until=min((spans[name][1] for name in ("DateSent", "DateSent<") if name in spans), default=None),
    )


def _span(name: str, text: str) -> tuple[datetime, datetime]:
    """
    The time a date stands for, its end not included: a day, or the second that is all a date on the wire can tell.

    Raises:
        Refused: 20001 for what is no date.
    """
    try:
        if _DAY.fullmatch(text):
            day = datetime.fromisoformat(text).replace(tzinfo=UTC)
            return day, day + timedelta(days=1)
        if _MOMENT.fullmatch(text):
            moment = datetime.fromisoformat(text)
            second = moment.replace(tzinfo=moment.tzinfo or UTC, microsecond=0).astimezone(UTC)
            return second, second + timedelta(seconds=1)
    except (ValueError, OverflowError):
        pass
    raise Refused(20001, what=f"Invalid {name}: {text}")


def _whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not text.isascii() or not text.isdecimal():
        raise Refused(20001, what=f"Invalid {name}")
    return int(text)
