"""Names of users and devices, and the `presence://` URL: parse, check, format.

A name is compared byte for byte, so it must have only one spelling: Unicode NFC, nothing invisible. Rejected:
normalising silently, because then two spellings in an application's database would be one user here.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from presenced.characters import refused_in_line, refused_in_name
from presenced.errors import AddressError
from presenced.limits import EMOJI_BYTES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX

DEFAULT_PORT = 5250


def check_name(name: str, what: str) -> None:
    """Raise `AddressError` unless `name` can name a user or a device (`what` says which, for the message).

    1 to 128 bytes of UTF-8 in NFC; nothing that `characters` keeps out of names: no space or slash, and nothing that
    nobody can see.
    """
    if name.isascii():
        if 0 < len(name) <= NAME_BYTES_MAX and name.isprintable() and " " not in name and "/" not in name:
            return
    if not name:
        raise AddressError(f"the {what} name is empty; give it 1 to {NAME_BYTES_MAX} bytes")
    if _utf8_bytes(name, what) > NAME_BYTES_MAX:
        raise AddressError(f"the {what} name is longer than {NAME_BYTES_MAX} bytes; shorten it")
    refused = refused_in_name(name)
    if refused:
        raise AddressError(
            f"the {what} name holds U+{ord(refused):04X}; spaces, slashes, control and invisible "
            "characters cannot be part of a name"
        )
    if not unicodedata.is_normalized("NFC", name):
        raise AddressError(f"the {what} name is not in Unicode NFC; normalise it so that it has one spelling")


def check_cursor(after: str) -> None:
    """Raise `AddressError` unless a page can begin after this name: any name that a page has given will do, whatever
    the rules for names are by now."""
    if _utf8_bytes(after, "after") > NAME_BYTES_MAX or any(c <= " " or c == "/" or "\x7f" <= c < "\xa0" for c in after):
        raise AddressError("after could never be a name; give what next said")


def check_channel(channel: str) -> None:
    """Raise `AddressError` (`bad_channel`) unless `channel` can name one: the rules are those for users."""
    try:
        check_name(channel, "channel")
    except AddressError as error:
        raise AddressError(error.message, "bad_channel") from None


def check_label(label: str, what: str, bytes_max: int = LABEL_BYTES_MAX) -> None:
    """Raise `AddressError` unless `label` is printable text of at most `bytes_max` bytes; empty is allowed."""
    if label.isascii() and label.isprintable() and len(label) <= bytes_max:
        return
    if _utf8_bytes(label, what) > bytes_max:
        raise AddressError(f"the {what} is longer than {bytes_max} bytes; shorten it", "bad_text")
    refused = refused_in_line(label)
    if refused:
        raise AddressError(
            f"the {what} holds U+{ord(refused):04X}; control and invisible characters are not allowed, but for "
            "joiners, the flags of parts of countries, and isolates of writing direction that are ended",
            "bad_text",
        )


def check_text(text: str) -> None:
    """Raise `AddressError` unless `text` can be a custom status line: one line of at most 512 bytes."""
    check_label(text, "text", TEXT_BYTES_MAX)


def check_emoji(emoji: str) -> None:
    """Raise `AddressError` unless `emoji` is at most 64 printable bytes."""
    check_label(emoji, "emoji", EMOJI_BYTES_MAX)


def _utf8_bytes(value: str, what: str) -> int:
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        raise AddressError(f"the {what} holds a lone surrogate, which is not valid UTF-8", "bad_text") from None


class Url(NamedTuple):
    """Where and who, as one string: `presence[s]://USER[:TOKEN]@HOST[:PORT]/DEVICE[?kind=K&name=N&priority=P]`."""

    user: str
    token: str
    host: str
    port: int
    device: str
    tls: bool
    kind: str
    name: str
    priority: int

    def __repr__(self) -> str:
        """The URL without its token, as it may stand in a log."""
        return f"<{format_url(self)}>"


def _decoded(part: str | None) -> str:
    return unquote(part or "", errors="strict")


def parse_url(url: str) -> Url:
    """Split a `presence://` (TCP) or `presences://` (TLS) URL; raise `AddressError` with what to write instead.

    User, token and device may be percent-encoded (`alice%40example.com`). The port defaults to 5250.
    """
    shape = "presence://USER@HOST:PORT/DEVICE"
    # The URL itself is never repeated in a message: it may hold a token.
    try:
        parts = urlsplit(url)
        port = parts.port
        user, token = _decoded(parts.username), _decoded(parts.password)
        device = _decoded(parts.path.removeprefix("/"))
        query = parse_qs(parts.query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise AddressError(f"the percent-encoding in the URL is not UTF-8; write {shape}") from None
    except ValueError:
        raise AddressError(f"the URL's host or port cannot be read; write {shape}") from None
    if parts.scheme not in ("presence", "presences"):
        raise AddressError(f"the URL does not start with presence:// or presences://; write {shape}")
    if not parts.hostname:
        raise AddressError(f"the URL names no host; write {shape}")
    if port == 0:
        raise AddressError(f"the URL has port 0; a server listens on 1 to 65535, by default on {DEFAULT_PORT}")
    unknown = [key for key in query if key not in ("kind", "name", "priority")]
    if unknown:
        raise AddressError(f"the URL has an unknown parameter {unknown[0]!r}; known are kind, name and priority")
    try:
        priority = int(query.get("priority", ["0"])[0])
    except ValueError:
        raise AddressError("priority in the URL must be a whole number from -128 to 127") from None
    if not -128 <= priority <= 127:
        raise AddressError("priority in the URL must be a whole number from -128 to 127")
    kind, name = query.get("kind", [""])[0], query.get("name", [""])[0]
    if user:
        check_name(user, "user")
    if device:
        check_name(device, "device")
    check_label(kind, "kind")
    check_label(name, "device label")
    return Url(
        user=user,
        token=token,
        host=parts.hostname,
        port=DEFAULT_PORT if port is None else port,
        device=device,
        tls=parts.scheme == "presences",
        kind=kind,
        name=name,
        priority=priority,
    )


def format_url(url: Url) -> str:
    """The URL as `parse_url` reads it, without its token, which travels apart."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    query = urlencode({"kind": url.kind, "name": url.name, "priority": url.priority}, quote_via=quote)
    scheme = "presences" if url.tls else "presence"
    return f"{scheme}://{quote(url.user, safe='')}@{host}:{url.port}/{quote(url.device, safe='')}?{query}"
