"""A signature of Standard Webhooks in the words of RFC 2104, without the module that the daemon uses for it."""

from __future__ import annotations

import base64
import hashlib


def hmac_sha256(secret: bytes, message: bytes) -> bytes:
    """RFC 2104: H(K xor opad, H(K xor ipad, text)), with a block of 64 bytes."""
    key = secret.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()


def signature(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature of this secret."""
    said = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac_sha256(secret, said)).decode()


def is_signed(secret: bytes, headers: dict[str, str], body: bytes) -> bool:
    """Whether one of the signatures in the headers is of this secret."""
    expected = signature(secret, headers["webhook-id"], headers["webhook-timestamp"], body)
    return expected in headers["webhook-signature"].split(" ")
