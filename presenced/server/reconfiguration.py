"""What another configuration changes in a running server: prepared away from the loop, then put in force.

All that can fail for what an operator wrote is in `prepare`, so that `reconfigure` applies everything or is not called.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from presenced.config.rules import validate
from presenced.config.settings import Settings
from presenced.core.policy import Policy
from presenced.server.keys import Keys, load_keys
from presenced.server.listening import links_max_for
from presenced.server.tls import Tls, load_tls
from presenced.server.zones import Others, adopt, read_anew

if TYPE_CHECKING:
    from presenced.server.server import Server

ACCOUNTS_AT_ONCE = 1_000
"""Accounts whose rate is changed before the loop looks at its sockets again."""


class Reconfiguration(NamedTuple):
    """Everything that is in force from now on, read and found good."""

    settings: Settings
    """With the values of the start where a key needs a restart."""
    tls: Tls | None
    """With the certificate of this moment, read once."""
    keys: Keys
    links_max: int
    policy: Policy
    zones: Others


def prepare(settings: Settings) -> Reconfiguration:
    """Check the settings and read the files that they name. For any thread; it may take as long as the files do.

    Raises `SettingsError`, `SecretError`.
    """
    validate(settings)
    tls = load_tls(settings)
    keys = () if settings.dev else load_keys(settings.secret_file)
    return Reconfiguration(settings, tls, keys, links_max_for(settings.max_links), settings.policy(), read_anew())


async def reconfigure(server: Server, to: Reconfiguration) -> None:
    """Put in force what was prepared. Nothing is read in here. O(users with a link) if their rate is another, in
    slices between which the loop goes on."""
    old, new = server.settings, to.settings
    server.settings = new
    server.links_max = to.links_max
    if new.memory_bytes != old.memory_bytes:
        server.memory.set_wanted(new.memory_bytes)
    server.keys = to.keys
    if server.tls is not None and to.tls is not None:
        # Links from now on are shown this certificate. Whether there is TLS at all takes a restart to change.
        server.tls, server.certificate = to.tls
    if to.zones.changed or to.zones.gone or server.engine.claims.zones_missing:
        adopt(to.zones)
        server.engine.claims.rules_changed()
    server.engine.set_policy(to.policy, time.monotonic_ns() // 1_000_000)
    server.begin()
    server.log.plan_snapshots(every_ms=new.snapshot_every_ms, log_bytes=new.snapshot_log_bytes)
    if new.rate != old.rate:
        for at, account in enumerate(list(server.links.accounts.by_user.values())):
            account.set_rate(*server.rate_for("service" if account.is_service else "user"))
            if at % ACCOUNTS_AT_ONCE == ACCOUNTS_AT_ONCE - 1:
                await asyncio.sleep(0)
