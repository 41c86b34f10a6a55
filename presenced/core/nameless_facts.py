"""What is kept of a user who sleeps: facts without the name, which would be there as often as there are facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from presenced.core.records import Fact
from presenced.wire.codec import encode

decode_facts: Callable[[bytes], list[Fact]] = msgspec.msgpack.Decoder(list[Fact]).decode
"""The facts that were encoded, by `encode_nameless` for one. O(facts)."""


NO_NAME: Final = encode("")


def encode_nameless(name: str, facts: Sequence[Fact]) -> bytes:
    """The facts of the user of this name, without it. O(facts)."""
    encoded, encoded_name = encode(facts), encode(name)
    if name.isascii() and encoded.count(encoded_name) == len(facts):
        # It is there once for each fact, where it belongs: the byte in front of it is none of a name in ASCII.
        return encoded.replace(encoded_name, NO_NAME)
    return encode([replace(fact, user="") for fact in facts])
