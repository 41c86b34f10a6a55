"""What tokens are verified with: the shared secrets, the keys of key files, and whom a token must come from and be for.

One value, made as a whole and exchanged as a whole at a reload, so that a token is never judged by half of the old
configuration and half of the new.
"""

from __future__ import annotations

from presenced.config.settings import Settings
from presenced.server.key_files import VerificationKey, load_key_files
from presenced.server.keys import Keys, SecretError, load_keys
from presenced.server.shared_key import SharedKey

SHARED = "HS256"
"""The algorithm of the secret file's keys."""


class KeyRing:
    """The keys by algorithm and name. Nothing of it changes after it was made."""

    def __init__(
        self, secrets: Keys = (), keys: tuple[VerificationKey, ...] = (), *, issuer: str = "", audience: str = ""
    ) -> None:
        self.secrets = secrets
        """The keys of the secret file; the first one signs."""
        self.shared_keys = tuple(map(SharedKey, secrets))
        """The same, ready to verify."""
        self.keys = keys
        self.issuer = issuer
        """Whom a token must come from (`iss`); empty = it is not looked at."""
        self.audience = audience
        """Whom a token must be for (`aud`); empty = it is not looked at."""
        self.algorithms = tuple(dict.fromkeys((*((SHARED,) if secrets else ()), *(key.algorithm for key in keys))))
        """What a token may be signed with, the secret file's first."""

    def candidates(self, algorithm: str, kid: str) -> list[object]:
        """The keys that may have signed a token of this algorithm and `kid` (empty = it names none). O(keys).

        A key without a name may have signed any token; one with a name only those that name it or none.
        """
        shared: list[object] = list(self.secrets) if algorithm == SHARED else []
        return shared + [
            key.key for key in self.keys if key.algorithm == algorithm and (not kid or key.kid in ("", kid))
        ]

    def difference(self, new: KeyRing) -> list[str]:
        """What is another in `new`, a sentence for each file of keys, in words that name none; empty if nothing is."""
        found = []
        if words := _difference(self.secrets, new.secrets, has_order=True):
            found.append(f"auth.secret_file: {words}")
        if words := _difference([key.mark for key in self.keys], [key.mark for key in new.keys]):
            found.append(f"auth.keys: {words}")
        return found


def load_key_ring(settings: Settings) -> KeyRing:
    """What the settings ask for, read from its files; an empty ring in development. Raises `SecretError`."""
    if settings.dev:
        return KeyRing()
    secrets = load_keys(settings.secret_file) if settings.secret_file else ()
    keys = load_key_files(settings.key_files) if settings.key_files else ()
    for key in keys:
        if key.algorithm == SHARED and not key.kid and key.key in secrets:
            raise SecretError(f"{settings.key_files} repeats a key of the secret file; keep it in one of them")
    return KeyRing(secrets, keys, issuer=settings.issuer, audience=settings.audience)


def _difference(
    old: tuple[bytes, ...] | list[bytes], new: tuple[bytes, ...] | list[bytes], *, has_order: bool = False
) -> str:
    added, removed = len(set(new) - set(old)), len(set(old) - set(new))
    parts = [f"{number} {_keys(number)} {what}" for number, what in ((added, "added"), (removed, "removed")) if number]
    if has_order and old[:1] != new[:1]:
        parts.append("another one signs")
    elif has_order and old != new and not parts:
        parts.append("the keys are in another order")
    return f"{', '.join(parts)}; {len(new)} {_keys(len(new))} in force" if parts else ""


def _keys(number: int) -> str:
    return "key" if number == 1 else "keys"
