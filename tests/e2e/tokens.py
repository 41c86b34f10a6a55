"""Tokens of tests, made by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

SECRET = "correct-horse-battery-staple-in-any-order-0123456789"
FAR_S = 4_000_000_000


def signed(**claims: Any) -> str:
    claims = {"sub": "alice", "exp": FAR_S} | claims
    return by_hand({"alg": "HS256", "typ": "JWT"}, {key: value for key, value in claims.items() if value is not None})


def by_hand(header: Any, claims: Any, secret: str = SECRET, digest: Any = hashlib.sha256) -> str:
    """A token made without the library that checks it."""
    head = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{head}.{encoded(hmac.new(secret.encode(), head.encode(), digest).digest())}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
