"""What nodes of a cluster tell each other of their settings, so that they notice where these differ. Pure."""

from __future__ import annotations

from hashlib import blake2b

from presenced.config.key import Key
from presenced.config.keys import KEYS
from presenced.config.kinds import Path
from presenced.config.settings import Settings
from presenced.config.times_by_kind import TimesByKind

DIGEST_BYTES = 7


def shared_digests(settings: Settings) -> dict[str, int]:
    """A number for each key that all nodes must share, which is another one if the value means something else. Of a
    file, which may hold a secret, it says only whether one is named: whoever reads the digest of a short secret can
    guess it."""
    return {key.name: _digest(_meaning(key, settings)) for key in KEYS if key.is_shared}


def _meaning(key: Key, settings: Settings) -> object:
    value = getattr(settings, key.field)
    if isinstance(key.kind, Path):
        return bool(value)
    if isinstance(key.kind, TimesByKind):
        return sorted(key.kind.by_kind(value).items())
    return sorted(value) if isinstance(value, tuple) else value


def _digest(meaning: object) -> int:
    return int.from_bytes(blake2b(repr(meaning).encode(), digest_size=DIGEST_BYTES).digest(), "big")
