"""Codes as answers of HTTP: which status stands for which, and the body that says it (protocol.md, section 25.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from presenced.errors import CODES, PresenceError
from presenced.http.page import CLOSES, JSON, HttpPage

HTTP_CODES: Final[Mapping[str, tuple[int, bool, str]]] = {
    "not_found": (404, False, "there is nothing at this path"),
    "bad_method": (405, False, "this path takes another method"),
    "unsupported_type": (415, False, "the body is not said to be JSON"),
    "too_fast": (429, True, "the user has no credit left (section 4.5), and this request would have to wait too long"),
    "stream_limit": (429, True, "as many streams of events as the user, or all users together, may have"),
    "not_followed": (409, False, "no stream of this user follows under that name now"),
    "timeout": (504, True, "no answer came in time; whether the request was applied is not known"),
    "starting": (503, True, "the server is reading its saved state, and answers when that is done"),
}
"""Codes that come over HTTP alone: status, whether the same attempt may succeed later, and what they mean."""

STATUS: Final[Mapping[str, int]] = {
    "unknown_type": 404,
    "no_such_device": 404,
    "forbidden": 403,
    "bad_token": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "token_early": 401,
    "device_held": 409,
    "device_limit": 409,
    "replaced": 409,
    "watch_limit": 409,
    "await_limit": 409,
    "claim_limit": 409,
    "channel_limit": 409,
    "contact_limit": 409,
    "block_limit": 409,
    "show_limit": 409,
    "audience_limit": 409,
    "follower_limit": 409,
    "frame_too_large": 413,
    "read_only": 503,
    "log_busy": 503,
    "memory_low": 503,
    "busy": 503,
    "going_away": 503,
    "kicked": 503,
    "lease_expired": 503,
    "frame_timeout": 503,
    "hello_timeout": 503,
    "link_failed": 500,
}
"""The others are 400: the request itself is wrong."""

assert STATUS.keys() <= CODES.keys()

UNPAID: Final = ("not_found", "bad_method", "too_fast", "stream_limit", "starting", "busy")
"""Codes of what is refused before it is known who asks, or although it is."""

RETRY_MS = 1_000
"""How long to wait with what is temporary and says nothing."""


class Refusal(msgspec.Struct, frozen=True):
    """What the body of an answer says that is not 200."""

    code: str
    """What is wrong: a code of section 8 or 25.3."""
    message: str
    """The same for people; not to be parsed."""
    temporary: bool
    """Whether the same attempt may succeed later."""
    retry_ms: int
    """Do not repeat it before this; 0 = no advice."""


def status_of(code: str) -> int:
    """The HTTP status for a code; an unknown one is 400. O(1)."""
    return HTTP_CODES[code][0] if code in HTTP_CODES else STATUS.get(code, 400)


def is_temporary(code: str) -> bool:
    """Whether the same attempt may succeed later. O(1)."""
    return HTTP_CODES[code][1] if code in HTTP_CODES else code in CODES and CODES[code].temporary


def refusal(code: str, message: str, retry_ms: int = 0, *headers: tuple[str, str]) -> HttpPage:
    """The answer that tells this code. It ends the connection if nobody has paid for it with credit: who asks in vain
    as fast as it can has to connect each time, and newcomers are let in at a pace."""
    status, temporary = status_of(code), is_temporary(code)
    if code in UNPAID or status == 401:
        headers += (CLOSES,)
    if status == 401:
        # RFC 6750, 3: which kind of token is wanted, and whether there was one.
        headers += (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
    if status in (429, 503):
        retry_ms = retry_ms or RETRY_MS
        headers += (("Retry-After", str(-(-retry_ms // 1000))),)
    body = msgspec.json.encode(Refusal(code, message, temporary, retry_ms)) + b"\n"
    return HttpPage(status, JSON, body, headers=headers)


_BEFORE: Final[Mapping[int, str]] = {
    403: "forbidden",
    405: "bad_method",
    408: "frame_timeout",
    413: "frame_too_large",
    421: "forbidden",
    431: "frame_too_large",
    500: "link_failed",
    503: "busy",
}


def refused_page(status: int, sentence: str) -> HttpPage:
    """The same for what is refused by the listener, before anybody asks what it means: with the listener's own status,
    and the code that comes nearest to it."""
    return refusal(_BEFORE.get(status, "bad_request"), sentence)._replace(status=status)


def refusal_of(error: PresenceError, *headers: tuple[str, str]) -> HttpPage:
    """The same for what was raised."""
    return refusal(error.code, error.message, error.retry_ms, *headers)
