"""Names of users and devices, and the `presence://` URL: parse, check, format.

A name is compared byte for byte, so it must have only one spelling: Unicode NFC, nothing invisible. Rejected:
normalising silently, because then two spellings in an application's database would be one user here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from presenced.characters import refused_in_line, refused_in_name
from presenced.errors import AddressError
from presenced.limits import EMOJI_BYTES_MAX, LABEL_BYTES_MAX, META_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX

DEFAULT_PORT = 5250


def check_name(name: str, what: str) -> None:
    """Raise `AddressError` unless `name` can name a user or a device (`what` says which, for the message).

    1 to 128 bytes of UTF-8 in NFC; nothing that `characters` keeps out of names: no space or slash, and nothing that
    nobody can see.
    """
    try:
        is_ascii = name.isascii()
    except AttributeError:
        raise AddressError(f"the {what} name is of type {type(name).__name__}, and names are strings") from None
    if is_ascii:
        if 0 < len(name) <= NAME_BYTES_MAX and name.isprintable() and " " not in name and "/" not in name:
            return
    if not name:
        raise AddressError(f"the {what} name is empty; give it 1 to {NAME_BYTES_MAX} bytes")
    if _utf8_bytes(name, what) > NAME_BYTES_MAX:
        raise AddressError(f"the {what} name is longer than {NAME_BYTES_MAX} bytes; shorten it")
    refused = refused_in_name(name)
    if refused:
        raise AddressError(
            f"the {what} name holds {_named(refused)}; spaces, slashes, control and invisible "
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
    if refused in ("\n", "\r", "\t"):
        raise AddressError(f"the {what} holds {_named(refused)}; write it in one line, with spaces", "bad_text")
    if refused:
        raise AddressError(
            f"the {what} holds {_named(refused)}; control and invisible characters are not allowed, but for "
            "joiners, the flags of parts of countries, and isolates of writing direction that are ended",
            "bad_text",
        )


def check_text(text: str) -> None:
    """Raise `AddressError` unless `text` can be a custom status line: one line of at most 512 bytes."""
    check_label(text, "text", TEXT_BYTES_MAX)


def check_meta(meta: str) -> None:
    """Raise `AddressError` unless `meta` can be kept with a device: one line of at most 512 bytes."""
    check_label(meta, "meta", META_BYTES_MAX)


def check_focus(focus: str) -> None:
    """Raise `AddressError` unless `focus` can be on a screen: empty, or by the rules for names."""
    if focus:
        check_name(focus, "focus")


def check_emoji(emoji: str) -> None:
    """Raise `AddressError` unless `emoji` is at most 64 printable bytes."""
    check_label(emoji, "emoji", EMOJI_BYTES_MAX)


def _named(character: str) -> str:
    """A character that cannot be seen in a sentence, by its number; and in words, if it is one that people type."""
    words = {" ": " (a space)", "/": " (a slash)", "\t": " (a tab)", "\n": " (a line break)", "\r": " (a line break)"}
    return f"U+{ord(character):04X}{words.get(character, '')}"


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


_SHAPE = "presence://USER@HOST:PORT/DEVICE"
_NO_SCHEME = f"the URL does not start with presence:// or presences://; write {_SHAPE}"
_PARAMETERS = ("kind", "name", "priority")
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PRIORITY = re.compile(r"[+-]?[0-9]{1,3}")
_HOST = re.compile(r"[^\s/@?#%:\[\]\\]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
"""A name or an address, an IPv6 one without its brackets."""


def parse_url(url: str) -> Url:
    """Split a `presence://` (TCP) or `presences://` (TLS) URL; raise `AddressError` with what to write instead.

    User, token, device and the values of parameters are percent-encoded (`alice%40example.com`). The port defaults to
    5250. What could be read in two ways is refused, since a part that comes from elsewhere could name another host.
    """
    _refuse_ambiguous(url)
    # The URL itself is never repeated in a message: it may hold a token.
    try:
        parts = urlsplit(url)
        port = parts.port
        user, token, device = (
            unquote(part or "", errors="strict")
            for part in (parts.username, parts.password, parts.path.removeprefix("/"))
        )
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    except UnicodeDecodeError:
        raise AddressError(f"the percent-encoding in the URL is not UTF-8; write {_SHAPE}") from None
    except ValueError:
        if "?" in url and "=" not in url.rpartition("?")[2]:
            raise AddressError(
                f"what follows ? in the URL is no KEY=VALUE; a ? in a name is written %3F: {_SHAPE}"
            ) from None
        raise AddressError(f"the URL's host, port or parameters cannot be read; write {_SHAPE}") from None
    if parts.scheme not in ("presence", "presences"):
        raise AddressError(_NO_SCHEME)
    given = _parameters(query)
    return make_url(
        host=(parts.hostname or "").replace("%25", "%"),
        port=port,
        user=user,
        token=token,
        device=device,
        tls=parts.scheme == "presences",
        kind=given.get("kind", ""),
        name=given.get("name", ""),
        priority=_priority(given.get("priority", "0")),
        where="the URL",
    )


def make_url(
    *,
    host: str,
    port: int | None = None,
    user: str = "",
    token: str = "",
    device: str = "",
    tls: bool = False,
    kind: str = "",
    name: str = "",
    priority: int = 0,
    where: str = "the address",
) -> Url:
    """The same from its parts as they are, nothing of them encoded. Raises `AddressError`; `where` begins sentences."""
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not host:
        raise AddressError(f"{where} names no host; write {_SHAPE}")
    if not _HOST.fullmatch(host):
        sentence = "is no name or address of a machine; port, user and device are given apart from it"
        raise AddressError(f"the host in {where} {sentence}")
    if port is not None and not 1 <= port <= 65535:
        raise AddressError(f"{where} has port {port}; a server listens on 1 to 65535, by default on {DEFAULT_PORT}")
    if not -128 <= priority <= 127:
        raise AddressError(f"priority in {where} must be a whole number from -128 to 127")
    if user:
        check_name(user, "user")
    if device:
        check_name(device, "device")
    check_label(kind, "kind")
    check_label(name, "device label")
    return Url(user, token, host, DEFAULT_PORT if port is None else port, device, tls, kind, name, priority)


def _refuse_ambiguous(url: str) -> None:
    """Raise `AddressError` for what programs that read URLs differ about, or drop without a word."""
    for character in url:
        if character.isspace() or unicodedata.category(character) == "Cc":
            what = f"{_named(character)}, and white space and control characters are percent-encoded"
            raise AddressError(f"the URL holds {what}; write {_SHAPE}")
    if "#" in url:
        raise AddressError(f"the URL holds a #; in a name it is written %23: {_SHAPE}")
    if _NO_ESCAPE.search(url):
        raise AddressError(f"the URL holds a % without two hex digits behind it; a % itself is written %25: {_SHAPE}")
    before, found, behind = url.partition("://")
    if not found:
        raise AddressError(_NO_SCHEME)
    authority = re.split("[/?]", behind, maxsplit=1)[0]
    if before and url.count("@") > min(1, authority.count("@")):
        raise AddressError(f"an @ in the URL stands before the host, and there alone; in a name it is %40: {_SHAPE}")


def _parameters(query: list[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for key, value in query:
        if key not in _PARAMETERS:
            # What is no word may be a piece of something else, of a token even.
            what = repr(key) if key.isalpha() and len(key) < 20 else "that cannot be read"
            raise AddressError(f"the URL has an unknown parameter {what}; known are kind, name and priority")
        if key in given:
            raise AddressError(f"the URL gives {key} twice; which one is meant?")
        given[key] = value
    return given


def _priority(text: str) -> int:
    if not _PRIORITY.fullmatch(text):
        raise AddressError("priority in the URL must be a whole number from -128 to 127")
    return int(text)


def format_url(url: Url) -> str:
    """The URL as `parse_url` reads it, without its token, which travels apart."""
    host = f"[{url.host.replace('%', '%25')}]" if ":" in url.host else url.host
    query = urlencode({"kind": url.kind, "name": url.name, "priority": url.priority}, quote_via=quote)
    scheme = "presences" if url.tls else "presence"
    return f"{scheme}://{quote(url.user, safe='')}@{host}:{url.port}/{quote(url.device, safe='')}?{query}"
