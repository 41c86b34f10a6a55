"""Who a link speaks for: tokens (JWT, RFC 7519, HS256) made by `presenced token` or by any backend, or, in
development, the hello's own word.

PyJWT judges; the algorithm is fixed here and never taken from the token, and signatures are compared in constant time.
The secret comes from a file and is never logged.
"""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from time import time_ns
from typing import Any, NamedTuple, cast

import jwt
import msgspec

from presenced.errors import AuthError
from presenced.limits import TOKEN_BYTES_MAX
from presenced.wire.messages import Hello, Role

ALGORITHM = "HS256"
SECRET_BYTES_MIN = 32
"""As long as the hash (RFC 7518, 3.2): a shorter secret is the weakest part of the signature."""

ROLES: tuple[Role, ...] = ("user", "service", "admin")


_USUAL_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode() + "."


class _Claims(msgspec.Struct, frozen=True):
    """What is read of a token's payload, in the types that nearly all issuers write."""

    sub: str
    exp: int
    role: Role = "user"
    nbf: int = 0
    iat: int = 0
    jti: str = ""


_decode_claims = msgspec.json.Decoder(_Claims).decode


class Identity(NamedTuple):
    """Whom a link speaks for, and until when (wall time in milliseconds; 0 = no end)."""

    user: str
    role: Role
    expires_ms: int


class SecretError(Exception):
    """The secret file cannot be used; the sentence says why and what to do."""


def load_secret(path: str) -> bytes:
    """The secret in `path`, without surrounding white space; raises `SecretError`."""
    hint = f"make one with: head -c 48 /dev/urandom | base64 > {path}"
    try:
        secret = Path(path).read_bytes().strip()
    except FileNotFoundError:
        raise SecretError(f"the secret file {path} does not exist; {hint}") from None
    except OSError as error:
        raise SecretError(f"the secret file {path} cannot be read: {error.strerror}") from None
    if len(secret) < SECRET_BYTES_MIN:
        raise SecretError(f"the secret in {path} has {len(secret)} bytes and needs at least {SECRET_BYTES_MIN}; {hint}")
    return secret


def mint(secret: bytes, user: str, role: Role, now_s: int, ttl_s: int) -> str:
    """A token for `user` that ends `ttl_s` seconds after `now_s`."""
    return jwt.encode({"sub": user, "role": role, "iat": now_s, "exp": now_s + ttl_s}, secret, algorithm=ALGORITHM)


def verify(secret: bytes, token: str) -> Identity:
    """What the token says, if it is genuine and not over; raises `AuthError`."""
    if not token:
        raise AuthError("bad_token", "the hello carries no token, and this server needs one; see `presenced token`")
    if len(token) > TOKEN_BYTES_MAX:
        raise AuthError("bad_token", f"the token is longer than {TOKEN_BYTES_MAX} bytes")
    return _accept(secret, token, time_ns() // 1_000_000_000) or _judge(secret, token)


def _accept(secret: bytes, token: str, now_s: int) -> Identity | None:
    """Whom a genuine token in the usual form speaks for; None = the library is to judge it.

    This only ever accepts, and only what the library would: the header byte for byte as everybody writes it, the
    signature of it and of what follows in its one canonical form, the times as they should be. It takes a sixth of
    the library's time, which is a quarter of a login.
    """
    signed, _, signature = token.rpartition(".")
    if not signed.startswith(_USUAL_HEADER) or not token.isascii():
        return None
    digest = hmac.digest(secret, signed.encode(), "sha256")
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=")
    if not hmac.compare_digest(expected, signature.encode()):
        return None
    try:
        segment = signed[len(_USUAL_HEADER) :].encode()
        payload = base64.b64decode(segment + b"=" * (-len(segment) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(payload).rstrip(b"=") != segment:
            return None
        claims = _decode_claims(payload)
    except (ValueError, msgspec.MsgspecError):
        return None
    if claims.exp <= now_s or claims.nbf > now_s or claims.iat > now_s:
        return None
    return Identity(claims.sub, claims.role, claims.exp * 1000)


def _judge(secret: bytes, token: str) -> Identity:
    """What the library says of the token."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token, secret, algorithms=[ALGORITHM], options={"require": ["sub", "exp"], "verify_aud": False}
        )
    except jwt.ExpiredSignatureError:
        raise AuthError("token_expired", "the token has expired; get a new one (`presenced token`)") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        # Which of its checks failed is of use only to a forger.
        raise AuthError("bad_token", "the token is not one of this server's; was it made with its secret?") from None
    role = claims.get("role", "user")
    if role not in ROLES:
        raise AuthError("bad_token", "the token's role is none of user, service, admin")
    return Identity(str(claims["sub"]), cast(Role, role), int(claims["exp"]) * 1000)


def believe(hello: Hello) -> Identity:
    """Development only: the hello's own word."""
    return Identity(hello.user, hello.role, 0)
