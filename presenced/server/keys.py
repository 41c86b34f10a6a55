"""The keys that tokens are signed with: the lines of the secret file. The first one signs, and all are accepted, so
that a new secret can take over while tokens of the old one are still in use.

A key is plain text, so that every program that reads the file gets the same bytes: one library strips a byte-order mark
or a no-break space at the end, and another takes it for a part of the key. No part of a key is ever logged.
"""

from __future__ import annotations

from presenced.config.files import UnusableFile, may_be_a_secret, read_regular, why_unread

KEY_BYTES_MIN = 32
"""As long as the hash (RFC 7518, 3.2): a shorter key is the weakest part of the signature."""

KEYS_MAX = 8
"""A token that fits none is tried with each: a login would cost more and more."""

FILE_BYTES_MAX = 65_536
WHITE = " \t\r\n\v\f"
"""What may stand around a key. More than this is white space for some libraries and not for others."""

Keys = tuple[bytes, ...]


class SecretError(Exception):
    """A file of keys cannot be used; the sentence says why and what to do."""


def load_keys(path: str, *, once: bool = False) -> Keys:
    """The keys in the file, at least one; raises `SecretError`. Waits for nobody: a pipe is refused, but by who reads
    it `once`, such as a command."""
    if may_be_a_secret(path):
        raise SecretError(
            "what is given as the secret file names no file that can be seen from here, and is not repeated, in case "
            "it is the secret itself; write the secret into a file, and give the path of that"
        )
    try:
        content = _read_once(path) if once else read_regular(path, FILE_BYTES_MAX)
    except FileNotFoundError:
        raise SecretError(f"the secret file {path} does not exist; {_advice(path)}") from None
    except (OSError, ValueError, UnusableFile) as error:
        raise SecretError(f"the secret file {path} {why_unread(error)}") from None
    return parse_keys(content, path)


def _read_once(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise UnusableFile(f"has more than {FILE_BYTES_MAX:,} bytes; is it the right file?")
    return content


def parse_keys(content: bytes, path: str) -> Keys:
    """The keys in the content of the file at `path`; raises `SecretError`."""
    if b"-----BEGIN " in content:
        # A public key as the shared secret: everybody could sign with it.
        raise SecretError(
            f"the secret file {path} holds a key in PEM, and a secret is plain text; give public keys by auth.keys"
        )
    lines = _text(content, path).split("\n")
    found = {number: line.strip(WHITE) for number, line in enumerate(lines, 1) if line.strip(WHITE)}
    if not found:
        raise SecretError(f"the secret file {path} is empty; {_advice(path)}")
    keys: dict[bytes, None] = {}
    for number, key in found.items():
        where = f"line {number} of the secret file {path}" if len(found) > 1 else f"the secret in {path}"
        odd = next((character for character in key if not character.isprintable()), "")
        if odd:
            raise SecretError(
                f"{where} holds the character U+{ord(odd):04X}, which programs read differently; a key is one line of "
                "printable text, so take it out, or make another"
            )
        encoded = key.encode()
        if len(encoded) < KEY_BYTES_MIN:
            is_odd = "; each line is a key of its own" if len(found) > 1 else ""
            raise SecretError(
                f"{where} has {len(encoded)} bytes and needs at least {KEY_BYTES_MIN}{is_odd}; {_advice(path)}"
            )
        keys[encoded] = None
    if len(keys) > KEYS_MAX:
        raise SecretError(
            f"the secret file {path} has {len(keys)} lines, each of which is a key, and at most {KEYS_MAX} are taken; "
            "remove those that no token is signed with any more"
        )
    return tuple(keys)


def _text(content: bytes, path: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SecretError(f"the secret file {path} is UTF-16; save it as UTF-8, without a byte-order mark")
    if content.startswith(b"\xef\xbb\xbf"):
        raise SecretError(
            f"the secret file {path} begins with a byte-order mark, which some programs take for a part of the key; "
            "save it as UTF-8 without one"
        )
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SecretError(f"the secret file {path} is not text in UTF-8, and a key is text; {_advice(path)}") from None


def _advice(path: str) -> str:
    return f"make one with: (umask 077; head -c 48 /dev/urandom | base64 > {path})"
