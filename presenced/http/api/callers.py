"""Who asks: the token of a request, or in development its headers' own word (protocol.md, section 25.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from presenced.errors import AuthError, RequestError
from presenced.server.identity import ROLES
from presenced.wire.messages import Role


class HttpCaller(NamedTuple):
    """By whose word a request is served: all that its link depends on."""

    token: str
    user: str = ""
    """In development, who it is."""
    role: Role = "user"


def caller_of(headers: Mapping[str, str], *, is_dev: bool) -> HttpCaller:
    """Who sends these headers; whether the token is good is not looked at. Raises `AuthError` and `RequestError`."""
    if is_dev:
        return _believed(headers)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if not token or scheme.lower() != "bearer":
        raise AuthError("bad_token", "no token was sent, and this server needs one: Authorization: Bearer TOKEN")
    return HttpCaller(token.strip())


def _believed(headers: Mapping[str, str]) -> HttpCaller:
    role = headers.get("presence-role", "service")
    if role not in ROLES:
        raise RequestError("bad_request", f"the header Presence-Role is none of {', '.join(ROLES)}")
    try:
        user = headers.get("presence-user", "").encode("latin-1").decode()
    except UnicodeDecodeError:
        raise RequestError("bad_request", "the header Presence-User is not UTF-8") from None
    if not user:
        sentence = "this server is in development and takes no tokens; say who asks: Presence-User: NAME"
        raise AuthError("bad_token", f"{sentence}, and perhaps Presence-Role: user")
    return HttpCaller("", user, role)
