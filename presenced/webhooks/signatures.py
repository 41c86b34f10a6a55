"""The secrets of webhooks, and what they sign: the scheme of Standard Webhooks, version v1 (HMAC-SHA256)."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

from presenced.config.files import UnusableFile, may_be_a_secret, read_regular, why_unread
from presenced.server.keys import WHITE, SecretError

PREFIX = "whsec_"
BYTES_MIN, BYTES_MAX = 24, 64
SECRETS_MAX = 5
FILE_BYTES_MAX = 65_536

_ADVICE = "make one with: head -c 32 /dev/urandom | base64 -w 0"


def sign(secrets: Sequence[bytes], message_id: str, time_s: int, body: bytes) -> str:
    """The header webhook-signature: one signature for each secret, with spaces between."""
    signed = b"%s.%d.%s" % (message_id.encode(), time_s, body)
    return " ".join("v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets)


def load_secrets(path: str) -> tuple[bytes, ...]:
    """The secrets in the file, at least one; raises `SecretError`, which repeats none of them."""
    if may_be_a_secret(path):
        raise SecretError("webhooks.secret_file names no file; write the secret into a file, and give its path")
    try:
        content = read_regular(path, FILE_BYTES_MAX)
    except FileNotFoundError:
        raise SecretError(f"the secret file of webhooks {path} does not exist; {_ADVICE}") from None
    except (OSError, ValueError, UnusableFile) as error:
        raise SecretError(f"the secret file of webhooks {path} {why_unread(error)}") from None
    return parse_secrets(content, path)


def parse_secrets(content: bytes, path: str) -> tuple[bytes, ...]:
    """The secrets in the content of the file at `path`; raises `SecretError`."""
    secrets: dict[bytes, None] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
        text = line.strip(WHITE).removeprefix(PREFIX)
        if not text:
            continue
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise SecretError(f"line {number} of {path} is not base64; {_ADVICE}") from None
        if not BYTES_MIN <= len(secret) <= BYTES_MAX:
            raise SecretError(
                f"line {number} of {path} is base64 of {len(secret)} bytes, and a secret has {BYTES_MIN} to "
                f"{BYTES_MAX}; {_ADVICE}"
            )
        secrets[secret] = None
    if not secrets:
        raise SecretError(f"the secret file of webhooks {path} is empty; {_ADVICE}")
    if len(secrets) > SECRETS_MAX:
        raise SecretError(f"{path} holds {len(secrets)} secrets, and at most {SECRETS_MAX} are used; remove old ones")
    return tuple(secrets)
