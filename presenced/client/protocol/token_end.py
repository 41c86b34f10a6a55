"""When a token ends, as far as its holder can read it, and when to bring the next one.

Nothing is verified here. A client has no key for it, and only the server's word counts: what is read decides no more
than when the client asks for another token.
"""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec


class _Claims(msgspec.Struct, frozen=True):
    """What of a token's payload is read."""

    exp: Annotated[int, msgspec.Meta(ge=1, le=2**53)]


_decode_claims = msgspec.json.Decoder(_Claims).decode

EARLIEST = 0.8
LATEST = 0.9
"""The next token is brought at a random moment between these shares of the time that is left: late enough that a token
serves for most of its life, early enough for several attempts, and not at one moment for all clients that came back
together."""

WAIT_MS_MIN = 1_000
"""Between two renewals: a backend whose tokens end at once must not be asked without a pause."""


def end_ms(token: str) -> int | None:
    """The wall time at which the token ends (`exp`; RFC 7519, 4.1.4); None if it is none that can be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return _decode_claims(payload).exp * 1000
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


def wait_ms(left_ms: int, jitter: float) -> int:
    """How long to wait before the next token is brought; `jitter` is from 0 to 1."""
    return max(WAIT_MS_MIN, int(left_ms * (EARLIEST + (LATEST - EARLIEST) * jitter)))
