"""The dice of the SDK and of the server's stop, from a seed while a virtual clock runs: two runs of a test are alike.

What is drawn for secrecy (tokens by which a link is resumed) stays as it is: nobody's behaviour depends on it.
"""

from __future__ import annotations

import random
import threading
from types import ModuleType

from presenced.client import identity, reconnect, renewal, view_timer
from presenced.server import admission, drain

_MODULES: tuple[ModuleType, ...] = (identity, reconnect, renewal, view_timer, admission, drain)
"""Who throws dice, each as its `random`."""

_lock = threading.Lock()
_users = 0


def begin_chance(seed: int) -> None:
    """From now on they throw dice from this seed, unless somebody else has begun already."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            dice = random.Random(seed)
            for module in _MODULES:
                setattr(module, "random", dice)  # noqa: B010


def end_chance() -> None:
    """Of who has begun; after the last they throw those of the process again."""
    global _users
    with _lock:
        _users -= 1
        if not _users:
            for module in _MODULES:
                setattr(module, "random", random)  # noqa: B010
