"""Compares those settings of two nodes that must be the same on all nodes of a cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

WEBHOOKS: Final = "webhooks.url"
"""The key that only one node may have."""


class NodeChoices(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a node tells the others of its settings. Fields are only added at the end."""

    digests: Mapping[str, int]
    """A number for each key that all nodes must share, which differs if the value does. It reveals no secret."""
    posts_webhooks: bool = False


def differing(one: NodeChoices | None, other: NodeChoices | None) -> tuple[str, ...]:
    """The keys in which two nodes must not differ and do, and the key of webhooks if both post them. A node that tells
    nothing of its settings, and a key that only one of them has, count as equal: they are of another version.
    O(keys)."""
    if one is None or other is None:
        return ()
    keys = [key for key, digest in one.digests.items() if other.digests.get(key, digest) != digest]
    return (*sorted(keys), *((WEBHOOKS,) if one.posts_webhooks and other.posts_webhooks else ()))
