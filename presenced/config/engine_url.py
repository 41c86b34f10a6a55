"""The engine behind a cluster: what its URL may be, and the kinds of values that only a cluster has."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from presenced.config.faults import AdvisedFault, Fault
from presenced.config.hosts import parse_address
from presenced.config.kinds import ValueKind

URL_BYTES_MAX = 2048
ENGINE_PORT = 6379
SENTINEL_PORT = 26379
DATABASE_MAX = 65_535
SENTINELS_MAX = 32

_SCHEMES = {
    "redis": (False, False),
    "rediss": (True, False),
    "redis+sentinel": (False, True),
    "rediss+sentinel": (True, True),
}
"""Scheme to whether it means TLS, and whether it names Sentinels."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class EngineParts(NamedTuple):
    """Where the engine of a cluster is."""

    hosts: tuple[tuple[str, int], ...]
    """Host and port of the engine, or of each Sentinel; none with `path`."""
    path: str
    """Of the engine's Unix socket; empty = it is reached over the network."""
    service: str
    """The name by which Sentinels know the engine; empty = there are none."""
    user: str
    """Of the engine's access list; empty = its default user."""
    database: int
    is_tls: bool

    @property
    def address(self) -> str:
        """The URL without user and database, for logs."""
        if self.path:
            return f"unix://{self.path}"
        scheme = "rediss" if self.is_tls else "redis"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{scheme}+sentinel://{hosts}/{self.service}" if self.service else f"{scheme}://{hosts}"


def parse_engine(url: str, section: str = "cluster") -> EngineParts:
    """The parts of the URL. Raises `Fault` for what is no URL of an engine; `section` of the settings has the URL."""
    if len(url) > URL_BYTES_MAX or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise Fault(f"is no URL of at most {URL_BYTES_MAX} printable ASCII characters without spaces")
    scheme, found, rest = url.partition("://")
    if not found or (scheme != "unix" and scheme not in _SCHEMES):
        raise Fault("begins with none of redis://, rediss://, unix:// and redis+sentinel://")
    if "#" in rest or ("?" in rest and scheme != "unix"):
        raise Fault("has a query (?) or a fragment (#), which mean nothing here")
    user, at, rest = rest.rpartition("@")
    if ":" in user:
        advice = f"write it into a file, and name that as {section}.password_file"
        variable = f"PRESENCED_{section.upper()}__PASSWORD_FILE"
        raise AdvisedFault(f"has a password in it, which every listing of processes would show; {advice} ({variable})")
    if at and not user:
        raise Fault("has an empty user name")
    if scheme == "unix":
        path, _, query = rest.partition("?")
        if not path.startswith("/") or path.endswith("/"):
            raise AdvisedFault("has no absolute path of a socket, such as unix:///run/redis/redis.sock")
        return EngineParts((), unquote(path), "", unquote(user), _database(query, "db="), is_tls=False)
    is_tls, has_sentinels = _SCHEMES[scheme]
    hosts, _, path = rest.partition("/")
    service, database = "", path
    if has_sentinels:
        service, _, database = path.partition("/")
        if not _NAME.fullmatch(service):
            raise AdvisedFault("does not say how the Sentinels call the engine, such as redis+sentinel://h1,h2/service")
    found_hosts = tuple(_host(host, SENTINEL_PORT if has_sentinels else ENGINE_PORT) for host in hosts.split(","))
    if len(found_hosts) > (SENTINELS_MAX if has_sentinels else 1):
        if has_sentinels:
            raise AdvisedFault(f"has more than {SENTINELS_MAX} Sentinels")
        raise AdvisedFault("has several hosts: those of one engine with Sentinels are redis+sentinel://h1,h2/service")
    return EngineParts(found_hosts, "", service, unquote(user), _database(database, ""), is_tls)


def _host(text: str, port: int) -> tuple[str, int]:
    bare = text.rpartition("]")[2] if text.startswith("[") else text
    try:
        host, port = parse_address(text if ":" in bare else f"{text}:{port}")
    except ValueError:
        raise Fault(f"has {text!r}, which is no HOST or HOST:PORT") from None
    if port == 0 or "?" in host or ":" in host and not text.startswith("["):
        raise Fault(f"has {text!r}, which is no HOST or HOST:PORT")
    return host, port


def _database(text: str, prefix: str) -> int:
    if not text:
        return 0
    number = text.removeprefix(prefix)
    if not text.startswith(prefix) or not number.isdecimal() or len(number) > 5 or int(number) > DATABASE_MAX:
        raise Fault(f"has {text!r} where only the number of a database may be")
    return int(number)


class EngineUrl(ValueKind):
    """The URL of an engine, or nothing."""

    allowed = (
        'a URL such as "redis://10.0.0.5", "rediss://presenced@redis.example.org:6380", "unix:///run/redis/redis.sock" '
        'or "redis+sentinel://h1,h2,h3/presence", or "" for none'
    )
    wrong = "is no URL"

    def __init__(self, section: str) -> None:
        self._section = section

    def parse(self, text: str) -> str:
        text = text.strip()
        if text:
            parse_engine(text, self._section)
        return text


class ClusterName(ValueKind):
    """A name within a cluster; `optional` lets it be empty."""

    wrong = "is no name"

    def __init__(self, *, optional: bool = False) -> None:
        self._optional = optional
        self.allowed = "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
        self.allowed += ', or "" for the name of the machine' if optional else ""

    def parse(self, text: str) -> str:
        text = text.strip()
        if not _NAME.fullmatch(text) and (text or not self._optional):
            raise Fault("is no name for a node" if self._optional else "is no name")
        return text


def name_of(machine: str) -> str:
    """A node's name for a machine of this name: what it may not have in it becomes a hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", machine).lstrip("._-")[:64] or "node"
