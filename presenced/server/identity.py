"""Who a link speaks for: tokens (JWT, RFC 7519) made by `presenced token`, by a backend or by an identity provider, or,
in development, the hello's own word.

PyJWT judges what is genuine. Each key verifies one algorithm, which its type decides and never the token (RFC 8725,
3.1), and signatures are compared in constant time. What a genuine token claims is read here, so that its maker is told
which claim is wrong; of a token that is not genuine nothing is told. See protocol.md, section 1.3.
"""

from __future__ import annotations

import base64
import hmac
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple, NoReturn, cast

import msgspec
from msgspec import UNSET

from presenced.core.rights import Rights, rights_of
from presenced.errors import AuthError
from presenced.limits import TOKEN_BYTES_MAX
from presenced.server.key_ring import SHARED as SHARED_ALGORITHM, KeyRing
from presenced.wire.messages import Hello, Role

ROLES: tuple[Role, ...] = ("user", "service", "admin")

LEEWAY_S = 60
"""How far ahead `iat` and `nbf` may lie: the clocks of two machines differ. `exp` has none: it ends links, too."""

EARLY_S_MAX = 86_400
"""A token from further ahead than a day is a mistake of its maker (milliseconds for seconds), which no clock heals."""

EARLY_RETRY_S_MAX = 60
"""The longest wait that the holder of a token from ahead is advised: somebody may set the clock right meanwhile."""

EXP_MAX = 2**53
"""No integer of the protocol is beyond it."""

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
"""The two alphabets of base64. The functions of the module `base64` take five times as long as those beneath."""

_USUAL_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode() + "."


class _Claims(msgspec.Struct, frozen=True):
    """What is read of a token's payload, in the types that nearly all issuers write."""

    sub: str
    exp: int
    role: Role = "user"
    nbf: int = 0
    iat: int = 0
    presence: Any = UNSET


class _BoundClaims(_Claims, frozen=True):
    """The same with whom the token is from and for, where that counts."""

    iss: str = ""
    aud: str | list[str] = ""


_decode_claims = msgspec.json.Decoder(_Claims).decode
_decode_bound_claims = msgspec.json.Decoder(_BoundClaims).decode

VERIFIED_MAX = 4_096
"""Tokens that are remembered as genuine. About a kilobyte each."""


class Identity(NamedTuple):
    """Whom a link speaks for, and until when (wall time in milliseconds; 0 = no end)."""

    user: str
    role: Role
    expires_ms: int
    rights: Rights | None = None
    """What the token's claim `presence` says; None = it has none."""
    issued_ms: int = 0
    """When the token says that it was made (`iat`), in milliseconds of wall time; 0 = it does not say."""


def mint(
    key: bytes, user: str, role: Role, now_s: int, ttl_s: int, presence: Mapping[str, object] | None = None
) -> str:
    """A token for `user` that ends `ttl_s` seconds after `now_s`, with the claim `presence` if that is given.

    Raises `ValueError` if a server would refuse the claim.
    """
    import jwt

    claims: dict[str, object] = {"sub": user, "role": role, "iat": now_s, "exp": now_s + ttl_s}
    if presence is not None:
        rights_of(presence, user, role)
        claims["presence"] = presence
    return jwt.encode(claims, key, algorithm=SHARED_ALGORITHM)


class Verifier:
    """Judges tokens by one ring of keys, and remembers those that the library found genuine.

    A signature by a public key costs many times one by a shared secret, and the links of one user bring the same token,
    as do the reconnects after a restart.
    """

    def __init__(self, ring: KeyRing) -> None:
        if ring.algorithms:
            # The library takes a tenth of a second to import: now, and not while links wait for the first odd token.
            # A server in development never needs it.
            import jwt as jwt
        self.ring = ring
        self._verified: dict[str, Identity] = {}
        """The oldest first. They stay genuine, because the ring never changes."""

    def verify(self, token: str, wall_ms: int) -> Identity:
        """Whom the token speaks for, if one of the keys signed it and it is valid at `wall_ms`. O(keys).

        Raises `AuthError`.
        """
        if not token:
            raise AuthError("bad_token", "no token was sent, and this server needs one")
        if len(token) > TOKEN_BYTES_MAX:
            raise AuthError("bad_token", f"the token is longer than {TOKEN_BYTES_MAX} bytes")
        now_s = wall_ms // 1_000
        if (identity := _accept(self.ring, token, now_s)) is not None:
            return identity
        identity = self._verified.get(token)
        if identity is not None and identity.expires_ms > wall_ms:
            return identity
        identity = _judge(self.ring, token, now_s)
        if len(self._verified) >= VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = identity
        return identity


def _accept(ring: KeyRing, token: str, now_s: int) -> Identity | None:
    """Whom a genuine token in the usual form speaks for; None = the library is to judge it.

    This only ever accepts, and only what `_judge` would: the header byte for byte as everybody writes it, the
    signature of it and of what follows in its one canonical form, the times as they should be. It takes a sixth of
    the library's time, which is a quarter of a login.
    """
    signed, _, signature = token.rpartition(".")
    if not signed.startswith(_USUAL_HEADER) or not token.isascii():
        return None
    said, given = signed.encode(), signature.encode()
    for key in ring.shared_keys:
        expected = b2a_base64(key.sign(said), newline=False).translate(_TO_URL).rstrip(b"=")
        if hmac.compare_digest(expected, given):
            break
    else:
        return None
    try:
        segment = said[len(_USUAL_HEADER) :]
        payload = a2b_base64(segment.translate(_FROM_URL) + b"=" * (-len(segment) % 4))
        # Whatever that reads as something else, or leaves out, is not in the canonical form.
        if b2a_base64(payload, newline=False).translate(_TO_URL).rstrip(b"=") != segment:
            return None
        claims: _Claims
        if ring.issuer or ring.audience:
            claims = bound = _decode_bound_claims(payload)
            if not _is_meant(ring, bound.iss, bound.aud):
                return None
        else:
            claims = _decode_claims(payload)
        rights = None if claims.presence is UNSET else rights_of(claims.presence, claims.sub, claims.role)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        # The last from claims that are nested deep: a backend may pass on what others wrote.
        return None
    latest_s = now_s + LEEWAY_S
    if not now_s < claims.exp <= EXP_MAX or claims.nbf > latest_s or claims.iat > latest_s:
        return None
    return Identity(claims.sub, claims.role, claims.exp * 1000, rights, max(claims.iat, 0) * 1000)


def _is_meant(ring: KeyRing, issuer: object, audience: object) -> bool:
    """Whether the token comes from whom it must and is for this server, as far as that is configured."""
    if ring.issuer and issuer != ring.issuer:
        return False
    # RFC 7519, 4.1.3: one string, or a list of them.
    return not ring.audience or ring.audience in (audience if isinstance(audience, list) else [audience])


def _judge(ring: KeyRing, token: str, now_s: int) -> Identity:
    """Whom the token speaks for if the library finds it genuine; raises `AuthError` that says what is wrong."""
    import jwt

    try:
        header = jwt.get_unverified_header(token)
    except Exception:
        # Catching broadly is right here: besides the library's own classes, hostile bytes reach those of JSON,
        # base64 and Unicode and RecursionError, and a later version of it may add others. None of them is worth
        # a traceback.
        raise AuthError("bad_token", _UNREADABLE) from None
    claims = _claims_of(ring, token, header)
    if "crit" in header:
        # RFC 7515, 4.1.11: what the issuer calls critical must be understood. Only later versions of the library look.
        raise AuthError("bad_token", "the token's header says crit, and none of what it may name is understood here")
    if ring.issuer and claims.get("iss") != ring.issuer:
        raise AuthError("bad_token", "the token's claim iss is not the issuer that this server takes tokens from")
    if not _is_meant(ring, claims.get("iss"), claims.get("aud")):
        raise AuthError("bad_token", "the token's claim aud does not name this server")
    try:
        return _identity(claims, now_s)
    except ValueError as error:
        raise AuthError("bad_token", f"the token's {error}") from None


_UNREADABLE = "what came as the token cannot be read as a JSON Web Token"


def _claims_of(ring: KeyRing, token: str, header: dict[str, Any]) -> dict[str, Any]:
    """The claims, if one of the keys signed them; raises `AuthError`. O(keys)."""
    import jwt

    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ring.algorithms:
        taken = ring.algorithms
        is_none = f"is not {taken[0]}" if len(taken) == 1 else f"is none of {', '.join(taken)}"
        raise AuthError("bad_token", f"the token's alg {is_none}, and no other is accepted")
    keys = ring.candidates(algorithm, kid if isinstance(kid, str) else "")
    if not keys:
        raise AuthError("bad_token", "the token's kid names none of this server's keys; was the newest key installed?")
    for key in keys:
        try:
            return jwt.decode(token, cast(Any, key), algorithms=[algorithm], options=_SIGNATURE_ONLY)
        except jwt.InvalidSignatureError:
            continue
        except Exception:
            # As above.
            raise AuthError("bad_token", _UNREADABLE) from None
    raise AuthError("bad_token", "no key of this server verifies the token's signature; was another key used?")


_SIGNATURE_ONLY: Any = dict.fromkeys(
    ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"), False
)
"""The claims are read by `_identity`: the library takes more for a time than an integer."""


def _identity(claims: dict[str, Any], now_s: int) -> Identity:
    """What the claims of a genuine token say. Raises `ValueError` that names the claim, `AuthError` if it is over."""
    for name in ("sub", "exp"):
        if claims.get(name) is None:
            raise ValueError(f"claim {name} is missing, and a token needs it")
    user, expires_s, role = claims["sub"], claims["exp"], claims.get("role", "user")
    if not isinstance(user, str):
        raise ValueError("claim sub is no string; it names the user")
    if type(expires_s) is not int:
        raise ValueError("claim exp is no integer; it is the end in seconds since 1970 UTC")
    if expires_s > EXP_MAX:
        raise ValueError("claim exp is beyond 2^53; it is the end in seconds since 1970 UTC")
    if role not in ROLES:
        raise ValueError(f"claim role is none of {', '.join(ROLES)}")
    for name in ("nbf", "iat"):
        begins_s = claims.get(name, 0)
        # An integer is always finite, and one of hundreds of digits has no float to ask.
        is_time = type(begins_s) is int or (isinstance(begins_s, float) and isfinite(begins_s))
        if not is_time:
            raise ValueError(f"claim {name} is no number; it is a time in seconds since 1970 UTC")
        if begins_s > now_s + LEEWAY_S:
            _refuse_early(name, begins_s - now_s)
    if expires_s <= now_s:
        raise AuthError("token_expired", "the token has expired; get a new one")
    # A time before 1970 has no place in a moment of wall time, and may be too large for an integer besides.
    issued_ms = int(max(claims.get("iat", 0), 0) * 1000)
    rights = rights_of(claims["presence"], user, cast(Role, role)) if "presence" in claims else None
    return Identity(user, cast(Role, role), expires_s * 1000, rights, issued_ms)


def _refuse_early(claim: str, ahead_s: float) -> NoReturn:
    """Raise what a token is told whose time has not come yet. A clock that is wrong is temporary, a day is not."""
    if ahead_s > EARLY_S_MAX:
        raise ValueError(
            f"claim {claim} is more than a day ahead of this server's clock; write seconds, not milliseconds"
        )
    sentence = f"the token's claim {claim} is more than {LEEWAY_S} s ahead of this server's clock; compare the clocks"
    wait_s = min(ahead_s - LEEWAY_S, EARLY_RETRY_S_MAX)
    raise AuthError("token_early", sentence, retry_ms=int(wait_s * 1000) + 1)


def believe(hello: Hello) -> Identity:
    """Development only: the hello's own word."""
    return Identity(hello.user, hello.role, 0)
