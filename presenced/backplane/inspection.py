"""What an engine says of itself, and whether a cluster can live in it."""

from __future__ import annotations

from typing import NamedTuple

from presenced.backplane.errors import Refused, Unreachable

REDIS_VERSION_MIN = (7, 0)
VALKEY_VERSION_MIN = (7, 2)


class EngineInfo(NamedTuple):
    """An engine, for operators."""

    name: str
    """Redis or Valkey."""
    version: str
    role: str
    """master or replica."""
    eviction: str = ""
    """What it does when its memory is full (maxmemory-policy)."""
    is_kept: bool = False
    """Whether it appends what it is told to a file, so that a restart of it loses little or nothing."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def read_info(text: bytes) -> dict[str, str]:
    """The answer to INFO."""
    lines = text.decode("utf-8", "replace").splitlines()
    return {key: value for key, found, value in (line.partition(":") for line in lines) if found}


def inspect(info: dict[str, str], *, by_sentinel: bool) -> EngineInfo:
    """What this engine is. Raises `Refused` with what to change, and `Unreachable` for what passes by itself: it is
    loading its data, or the sentinels have not agreed yet on who is the primary."""
    mode = info.get("server_mode") or info.get("redis_mode", "standalone")
    if mode == "sentinel":
        raise Refused("is_sentinel", "a sentinel listens at this address; write redis+sentinel://HOST:PORT/SERVICE")
    if mode == "cluster":
        sentence = (
            "the engine runs as a Redis Cluster, which splits its keys; give one primary, with replicas and Sentinel"
        )
        raise Refused("sharded", sentence)
    is_valkey = "valkey_version" in info
    name, least = ("Valkey", VALKEY_VERSION_MIN) if is_valkey else ("Redis", REDIS_VERSION_MIN)
    version = info.get("valkey_version") or info.get("redis_version", "")
    if _numbers(version) < least:
        needed = ".".join(map(str, least))
        raise Refused(
            "old_engine", f"the engine is {name} {version or 'of no version'}; {name} {needed} or newer is needed"
        )
    if info.get("loading", "0") == "1":
        raise Unreachable("the engine is loading its data")
    if info.get("role") != "master":
        sentence = "the engine is a replica, which takes no writes"
        if by_sentinel:
            raise Unreachable(f"{sentence}; the sentinels have not agreed on another primary yet")
        raise Refused("replica", f"{sentence}; give the address of its primary, or of the sentinels")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys-"):
        sentence = f"the engine drops any key when its memory is full (maxmemory-policy {policy}), and so the log"
        raise Refused("evicts", f"{sentence}; set maxmemory-policy noeviction")
    return EngineInfo(name, version, "master", policy, is_kept=info.get("aof_enabled") == "1")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
