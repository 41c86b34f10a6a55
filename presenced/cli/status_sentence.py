"""The status of a daemon as one sentence for people. Pure."""

from __future__ import annotations

from presenced.cli.top_figures import age
from presenced.ops.formats import counted
from presenced.server.status import ServerStatus


def status_sentence(now: ServerStatus) -> str:
    """The status in one line for people."""
    by_status = ", ".join(f"{number:,} {name}" for name, number in now.by_status.items() if number)
    parts = [
        f"presenced {now.version} {now.state} for {age(now.uptime_ms)}",
        f"{counted(now.users_online, 'user')} online" + (f" ({by_status})" if by_status else ""),
        counted(now.devices_connected + now.devices_grace, "device"),
        f"{now.links:,} of {now.links_max:,} links",
    ]
    if now.memory.level != "ok":
        used, budget = now.memory.used_bytes >> 20, now.memory.budget_bytes >> 20
        parts.append(f"MEMORY SHORT ({used:,} of {budget:,} MiB): {now.memory.level} links")
    if now.log is None:
        parts.append("state in memory only")
    else:
        parts.append(f"log {now.log.state} ({now.log.durability})")
        if now.log.snapshot_running:
            parts.append("taking a snapshot")
        elif now.log.snapshot_wall_ms:
            parts.append(f"snapshot {age(now.wall_ms - now.log.snapshot_wall_ms)} ago")
        else:
            parts.append("no snapshot yet")
    if now.webhooks is not None and now.webhooks.state not in ("starting", "delivering"):
        parts.append(f"WEBHOOKS {now.webhooks.state.upper()}")
    if now.cluster is not None:
        where = f"node {now.cluster.node} of {counted(len(now.cluster.nodes), 'node')}"
        parts.append(where if now.cluster.state == "serving" else f"{where}, {now.cluster.state.upper()}")
    if now.dev:
        parts.append("DEVELOPMENT MODE")
    return ", ".join(parts)
