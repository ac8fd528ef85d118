"""
Reading what was posted: of the right kind, not too long, in time.
"""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from booking_doctor.web.documents import FORM, JSON
from booking_doctor.web.problems import invalid, malformed, too_large, too_slow, unsupported

LONGEST_BODY: Final = 64 * 1024
PATIENCE_S: Final = 10.0

_MOST_FIELDS: Final = 200

_Model = TypeVar("_Model", bound=BaseModel)


async def read_json(request: Request, model: type[_Model]) -> _Model:
    """
    The body as that model.

    Raises:
        Refused: It is none.
    """
    body = await _read(request, JSON)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise malformed(error.errors(), model.model_fields) from None


async def read_form(request: Request) -> list[tuple[str, str]]:
    """
    The fields of a form, in their order, empty ones too.

    Raises:
        Refused: It is none.
    """
    body = await _read(request, FORM)
    try:
        return parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise invalid({"the body": f"it has more than {_MOST_FIELDS} fields"}) from None


def as_model(fields: list[tuple[str, str]], model: type[_Model]) -> _Model:
    """
    A form as that model.

    Raises:
        Refused: It is none.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        names = {field.alias: None for field in model.model_fields.values() if field.alias}
        raise malformed(error.errors(), names) from None


async def _read(request: Request, media_type: str) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != media_type or request.headers.get("content-encoding", "identity") != "identity":
        raise unsupported(media_type)
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise too_large(LONGEST_BODY)
    except TimeoutError:
        raise too_slow(PATIENCE_S) from None
    return bytes(body)
