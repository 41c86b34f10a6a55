"""The receiver of webhooks: what its URL may be, and the kinds of values that only webhooks have."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from presenced.config.faults import Fault, quoted, shown
from presenced.config.kinds import ValueKind
from presenced.core.rights import compiled

URL_BYTES_MAX = 2048
PATTERNS_MAX = 1000

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\.?")


class Receiver(NamedTuple):
    """Where webhooks go."""

    scheme: str
    """`https` or `http`."""
    host: str
    """A name, or an address without brackets."""
    port: int
    target: str
    """Path and query, as they stand in the request."""

    @property
    def authority(self) -> str:
        """Host and port as in the header Host: without a port that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The URL without path and query, in which there may be a secret."""
        return f"{self.scheme}://{self.authority}"


_PORTS = {"https": 443, "http": 80}


def parse_receiver(url: str) -> Receiver:
    """The parts of the URL. Raises `Fault` for what is no URL, or what could be read in two ways."""
    if len(url) > URL_BYTES_MAX or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise Fault(f"is no URL of at most {URL_BYTES_MAX} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise Fault("is no URL") from None
    if parts.scheme not in _PORTS:
        raise Fault("begins with neither https:// nor http://")
    if "@" in parts.netloc:
        raise Fault("has a user name or a password in it; deliveries are signed instead")
    if "#" in url:
        raise Fault("has a fragment (#), which no server is ever sent")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise Fault("has no valid address in its brackets") from None
        if "%" in host:
            raise Fault("has a zone in its address")
    elif not _HOST.fullmatch(host):
        raise Fault("has no valid host name")
    if port == 0 or parts.netloc.endswith(":"):
        raise Fault("has no valid port")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Receiver(parts.scheme, host, port or _PORTS[parts.scheme], target)


class ReceiverUrl(ValueKind):
    """An URL of HTTP, or nothing."""

    allowed = 'a URL such as "https://app.example.org/presence", or "" for none'
    wrong = "is no URL"

    def parse(self, text: str) -> str:
        text = text.strip()
        if text:
            parse_receiver(text)
        return text


class UserPatterns(ValueKind):
    """Patterns of user names, as a list; `Settings` holds them as a tuple without repetitions."""

    allowed = f'a list of at most {PATTERNS_MAX} of "*", a name, "PREFIX*" and "*@PART"'
    wrong = "is not a list of patterns"
    native = list

    def parse(self, text: str) -> tuple[str, ...]:
        patterns = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
        if len(patterns) > PATTERNS_MAX:
            raise Fault("has too many patterns")
        try:
            compiled(patterns)
        except ValueError as error:
            place = int(str(error).partition(":")[0])
            raise Fault(f"has {shown(patterns[place - 1])}, which is no pattern") from None
        return patterns

    def write(self, value: Any) -> str:
        return ",".join(value)

    def read(self, given: object) -> tuple[str, ...]:
        if type(given) is not list or not all(isinstance(word, str) and "," not in word for word in given):
            raise Fault(self.wrong)
        return self.parse(self.write(given))

    def toml(self, value: Any) -> str:
        return "[" + ", ".join(quoted(word) for word in value) + "]"
