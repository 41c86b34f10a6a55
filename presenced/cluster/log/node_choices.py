"""Which settings the nodes of a cluster have, as far as these must be the same on all, and where they differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

WEBHOOKS: Final = "webhooks.url"
"""The key that only one node may have."""


class NodeChoices(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a node says of its settings to the others. Fields are only added at the end."""

    digests: Mapping[str, int]
    """Of each key that all nodes must share: another number for another value. Nothing of a secret is in it."""
    posts_webhooks: bool = False


def differing(one: NodeChoices | None, other: NodeChoices | None) -> tuple[str, ...]:
    """The keys in which two nodes must not differ, and do; and that of webhooks, if both post them. Of a node that says
    nothing nothing is known, nor of keys that only one of them has: it is of another version. O(keys)."""
    if one is None or other is None:
        return ()
    keys = [key for key, digest in one.digests.items() if other.digests.get(key, digest) != digest]
    return (*sorted(keys), *((WEBHOOKS,) if one.posts_webhooks and other.posts_webhooks else ()))
