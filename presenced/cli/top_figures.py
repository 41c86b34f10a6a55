"""What `presencectl top` shows, as numbers and texts: two looks at a server give rates. Pure; draws nothing."""

from __future__ import annotations

from typing import NamedTuple

from presenced.durations import format_duration
from presenced.ops.history import quantile_us
from presenced.server.status import Quantiles, ServerStatus, SlowWatcher

SORTS = ("owed", "slow for", "name")
"""How the slow watchers can be sorted: by what they are owed, by how long they are slow, by name."""

HISTORY_MAX = 120
_BLOCKS = " ▁▂▃▄▅▆▇█"


class Look(NamedTuple):
    """The server between two looks."""

    now: ServerStatus
    deliveries_per_s: float
    changes_per_s: float
    frames_per_s: float
    bytes_out_per_s: float
    logins_per_s: float
    cpu_percent: float
    turn_p50_us: int
    turn_p99_us: int
    lag_p99_us: int
    commit_p99_us: int


def compare(before: ServerStatus | None, now: ServerStatus) -> Look:
    """The rates from one look to the next. Without an earlier look at the same process: the rates since its start."""
    if before is None or before.pid != now.pid or before.uptime_ms >= now.uptime_ms:
        passed_s = max(now.uptime_ms, 1) / 1000
        before = None
    else:
        passed_s = (now.uptime_ms - before.uptime_ms) / 1000

    def per_s(name: str) -> float:
        return float(getattr(now, name) - (getattr(before, name) if before else 0)) / passed_s

    def quantile(name: str, share: float) -> int:
        times: Quantiles = getattr(now, name)
        earlier = getattr(before, name).buckets if before else [0] * len(times.buckets)
        return quantile_us(times.buckets, earlier, times.max_us, share)

    return Look(
        now=now,
        deliveries_per_s=per_s("deliveries"),
        changes_per_s=per_s("changes"),
        frames_per_s=per_s("frames_in"),
        bytes_out_per_s=per_s("bytes_out"),
        logins_per_s=per_s("hellos"),
        cpu_percent=per_s("cpu_ms") / 10,
        turn_p50_us=quantile("turn", 0.5),
        turn_p99_us=quantile("turn", 0.99),
        lag_p99_us=quantile("lag", 0.99),
        commit_p99_us=quantile("commit", 0.99),
    )


def sorted_watchers(watchers: list[SlowWatcher], sort: str) -> list[SlowWatcher]:
    """The watchers in one of the orders of `SORTS`."""
    if sort == "name":
        return sorted(watchers, key=lambda watcher: watcher.who)
    return sorted(watchers, key=lambda watcher: watcher.held if sort == "owed" else watcher.for_ms, reverse=True)


def spark(values: list[float], width: int) -> str:
    """The last `width` values as a row of bars. The highest bar is as tall as the line."""
    shown = values[-width:] if width > 0 else []
    top = max(shown, default=0.0)
    if top <= 0:
        return _BLOCKS[1] * len(shown)
    return "".join(_BLOCKS[1 + round(value / top * 7)] for value in shown)


def bar(share: float, width: int) -> str:
    """A share of 0 to 1 as a bar of full blocks."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "█" * full + "·" * (width - full)


def to_json(look: Look) -> dict[str, object]:
    """One look for programs. The keys are part of the command's interface."""
    now = look.now
    log = now.log
    return {
        "state": now.state,
        "uptime_ms": now.uptime_ms,
        "users_online": now.users_online,
        "by_status": now.by_status,
        "devices": now.devices_connected + now.devices_grace,
        "links": now.links,
        "links_by_role": now.links_by_role,
        "slow_watchers": now.slow_watchers,
        "deliveries_per_s": round(look.deliveries_per_s, 1),
        "changes_per_s": round(look.changes_per_s, 1),
        "frames_per_s": round(look.frames_per_s, 1),
        "bytes_out_per_s": round(look.bytes_out_per_s),
        "logins_per_s": round(look.logins_per_s, 1),
        "cpu_percent": round(look.cpu_percent, 1),
        "turn_p50_us": look.turn_p50_us,
        "turn_p99_us": look.turn_p99_us,
        "lag_p99_us": look.lag_p99_us,
        "commit_p99_us": look.commit_p99_us,
        "rss_bytes": now.rss_bytes,
        "log": log.state if log is not None else None,
    }


def log_pieces(now: ServerStatus) -> list[str]:
    """What there is to say of log and snapshots."""
    log = now.log
    if log is None:
        return ["in memory only"]
    pieces = [f"{log.state} ({log.durability})", f"{log.pending_facts:,} facts wait", f"{size(log.log_bytes)} of log"]
    if log.snapshot_running:
        return [*pieces, "taking a snapshot"]
    if log.snapshot_wall_ms:
        return [*pieces, f"snapshot {age(now.wall_ms - log.snapshot_wall_ms)} ago ({size(log.snapshot_bytes)})"]
    return [*pieces, "no snapshot yet"]


def rate(per_s: float) -> str:
    """A rate with a useful number of digits."""
    return f"{per_s:,.0f}" if per_s >= 10 or per_s == int(per_s) else f"{per_s:.1f}"


def time_of(duration_us: float) -> str:
    """Microseconds in the unit that fits."""
    if duration_us < 1000:
        return f"{duration_us:.0f} us"
    return f"{duration_us / 1000:.3g} ms" if duration_us < 1_000_000 else f"{duration_us / 1_000_000:.3g} s"


def size(size_bytes: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} GiB"


def age(duration_ms: int) -> str:
    """A duration in its two largest units, to the second."""
    duration_ms = max(0, duration_ms)
    return format_duration(duration_ms - duration_ms % 1000) if duration_ms >= 1000 else f"{duration_ms}ms"
