"""What a consumer has of some users, as a short text that an app can keep: `Watch.position`.

A position holds a digest for each user, and of the name only as much as it takes to find the digest again: a name that
is mistaken for another leads to one record more than needed, and to nothing wrong. So it works with any server, over
any time, and for any choice of the users in it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final
from zlib import crc32

from presenced.errors import AddressError

_VERSION: Final = b"\x01"
_NAME_BYTES: Final = 3
_DIGEST_BYTES: Final = 4
_SUM_BYTES: Final = 4


def position_of(seen: Mapping[str, int]) -> str:
    """The text for what the consumer has, a digest for each user: 10 characters each. O(users)."""
    entries = sorted(_key(user) + had.to_bytes(_DIGEST_BYTES, "big") for user, had in seen.items())
    body = _VERSION + b"".join(entries)
    return base64.urlsafe_b64encode(body + _sum(body)).decode().rstrip("=")


def had_in(position: str, users: Iterable[str]) -> dict[str, int]:
    """The digests of those of these users who are in the position. O(users in it). Raises `AddressError`
    (`bad_request`) for what is not the text of one."""
    try:
        data = base64.b64decode(position + "=" * (-len(position) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _no_position() from None
    body, width = data[:-_SUM_BYTES], _NAME_BYTES + _DIGEST_BYTES
    if body[:1] != _VERSION or data[-_SUM_BYTES:] != _sum(body) or len(body) % width != 1:
        raise _no_position()
    found = {
        body[start : start + _NAME_BYTES]: int.from_bytes(body[start + _NAME_BYTES : start + width], "big")
        for start in range(1, len(body), width)
    }
    return {user: found[key] for user in users if (key := _key(user)) in found}


def _key(user: str) -> bytes:
    return crc32(user.encode()).to_bytes(4, "big")[:_NAME_BYTES]


def _sum(body: bytes) -> bytes:
    return crc32(body).to_bytes(_SUM_BYTES, "big")


def _no_position() -> AddressError:
    return AddressError("this is not a position of a watch; pass what `position` gave, unchanged", "bad_request")
