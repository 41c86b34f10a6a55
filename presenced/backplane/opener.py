"""Opening a backplane. hiredis is imported here and not before: only who has a cluster needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presenced.backplane.access import EngineAccess
from presenced.backplane.errors import Refused
from presenced.backplane.library import DEFAULT_PREFIX
from presenced.backplane.port import LEASE_MS

if TYPE_CHECKING:
    from presenced.backplane.redis_engine import RedisBackplane

NO_LIBRARY = "Redis needs a client library, which is not installed here: pip install 'presenced[cluster]'"


def open_backplane(
    access: EngineAccess, *, prefix: str = DEFAULT_PREFIX, lease_ms: int = LEASE_MS, replicas: int = 0
) -> RedisBackplane:
    """A backplane that connects when it is first called. Raises `Refused` (`no_library`, `bad_address`)."""
    try:
        from presenced.backplane.redis_engine import RedisBackplane
    except ModuleNotFoundError:
        raise Refused("no_library", NO_LIBRARY) from None
    return RedisBackplane(access, prefix=prefix, lease_ms=lease_ms, replicas=replicas)
