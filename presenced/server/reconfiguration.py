"""What another configuration changes in a running server: prepared away from the loop, then put in force.

Everything that can fail because of what an operator wrote is in `prepare`, so that a reload applies everything or
nothing.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from presenced.config.rules import validate
from presenced.config.settings import Settings
from presenced.core.policy import Policy
from presenced.server.active_settings import ActiveSettings
from presenced.server.admission import Admission
from presenced.server.key_ring import KeyRing, load_key_ring
from presenced.server.links import Links
from presenced.server.listeners import links_max_for
from presenced.server.pacing import Pacing
from presenced.server.tls import Tls, load_tls
from presenced.server.zones import Others, adopt, read_anew

ACCOUNTS_PER_SLICE = 1_000
"""Accounts whose rate is changed before the loop looks at its sockets again."""


class Reconfiguration(NamedTuple):
    """Everything that is to be in force, read and found good."""

    settings: Settings
    """With the values of the start where a key needs a restart."""
    tls: Tls | None
    """With the certificate of this moment, read once."""
    keys: KeyRing
    links_max: int
    policy: Policy
    zones: Others


def prepare(settings: Settings) -> Reconfiguration:
    """Check the settings and read the files that they name. For any thread; it may take as long as the files do.

    Raises `SettingsError`, `SecretError`.
    """
    validate(settings)
    tls = load_tls(settings)
    keys = load_key_ring(settings)
    return Reconfiguration(settings, tls, keys, links_max_for(settings), settings.policy(), read_anew())


async def reconfigure(
    to: Reconfiguration, active: ActiveSettings, admission: Admission, links: Links, pacing: Pacing
) -> None:
    """Put in force what was prepared. Nothing is read in here. O(users with a link) if their rate changes, in slices
    between which the loop goes on."""
    engine, old, new = links.engine, active.settings, to.settings
    active.adopt(new, to.tls, to.keys)
    admission.set_links_max(to.links_max)
    if new.memory_bytes != old.memory_bytes:
        links.memory.set_wanted(new.memory_bytes)
    if to.zones.changed or to.zones.gone or engine.schedules.zones_missing:
        adopt(to.zones)
        engine.schedules.rules_changed()
    engine.set_policy(to.policy, pacing.begin())
    pacing.log.plan_snapshots(every_ms=new.snapshot_every_ms, log_bytes=new.snapshot_log_bytes)
    if new.rate != old.rate:
        for at, account in enumerate(list(links.accounts.by_user.values())):
            account.set_rate(*active.rate_for("service" if account.is_service else "user"))
            if at % ACCOUNTS_PER_SLICE == ACCOUNTS_PER_SLICE - 1:
                await asyncio.sleep(0)
