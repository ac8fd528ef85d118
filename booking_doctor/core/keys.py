"""
SIDs as bytes, for keeping very many.
"""

from __future__ import annotations

from typing import Final

_PLAIN: Final = b"\xff"
"""Begins a key that is a SID as it is; no UTF-8 does."""


def key_of(sid: str) -> bytes:
    """
    A SID in half the memory, where it has the usual shape.
    """
    try:
        key = bytes.fromhex(sid[2:])
    except ValueError:
        return _PLAIN + sid.encode()
    return sid[:2].encode() + key if sid.isascii() and key.hex() == sid[2:] else _PLAIN + sid.encode()


def sid_of(key: bytes) -> str:
    """
    The SID it was made of.
    """
    return key[1:].decode() if key.startswith(_PLAIN) else key[:2].decode() + key[2:].hex()
