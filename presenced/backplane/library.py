"""The functions of `library.lua` and `store.lua` as an engine takes them, names of keys, and what their user may do."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple

from presenced.backplane.errors import Refused

DEFAULT_PREFIX = "presenced"

COMMANDS = (
    "+fcall +function|load +info +time +type +exists +get +set +unlink +hget +hset +hdel +hmget +hgetall "
    "+xadd +xlen +xread +xrange +xrevrange +xtrim +rpush +llen +lrange +wait +select"
)

ACL_LINE = f"ACL SETUSER presenced on >PASSWORD resetkeys ~{{presenced}}:* resetchannels -@all {COMMANDS}"
"""What to tell the engine, so that a user of it can do what a node does, and touch nothing else. In `users.acl` it is
`user` in the place of `ACL SETUSER`. Another prefix than `presenced` stands in the place of the second one."""


class Library(NamedTuple):
    """The functions under names that only this text of them has: nodes of two releases keep out of each other's way."""

    text: str
    version: str

    def function(self, name: str) -> str:
        """What `name` is called in the engine."""
        return f"presenced_{self.version}_{name}"


def library_of(source: str) -> Library:
    """The library with this text, in which VERSION stands where its version belongs."""
    version = hashlib.sha256(source.encode()).hexdigest()[:8]
    return Library(source.replace("VERSION", version), version)


LIBRARY_SOURCE = resources.files("presenced.backplane").joinpath("library.lua").read_text(encoding="utf-8")
LIBRARY = library_of(LIBRARY_SOURCE)
STORE_LIBRARY = library_of(resources.files("presenced.backplane").joinpath("store.lua").read_text(encoding="utf-8"))


class ClusterKeys(NamedTuple):
    """The keys of a cluster. All have one prefix, in the braces that make it their one hash tag."""

    prefix: str
    state: str
    log: str
    nodes: str

    def parcel(self, joiner: int, number: int) -> str:
        """Where a parcel lies."""
        # As nodes of before call it, with which this one may run.
        return f"{self.prefix}slice:{joiner}:{number}"


def keys_of(prefix: str) -> ClusterKeys:
    """The keys with this prefix. Raises `Refused` (`bad_address`)."""
    whole = key_prefix(prefix)
    return ClusterKeys(f"{whole}cluster:", f"{whole}cluster", f"{whole}cluster:log", f"{whole}cluster:nodes")


def key_prefix(prefix: str) -> str:
    """What all keys begin with. Raises `Refused` (`bad_address`)."""
    is_plain = prefix.isascii() and prefix.isprintable() and not set(prefix) & set("{} *?[]\\")
    if not is_plain or not 1 <= len(prefix) <= 64:
        raise Refused("bad_address", "the prefix of the keys must be 1 to 64 letters, digits or marks such as - and _")
    return f"{{{prefix}}}:"
