"""Takes the `ServerStatus` of a running server. It reads integers that the server keeps anyway: O(1) in links, users
and devices."""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from presenced import __version__
from presenced.core.model import Session
from presenced.core.parts.resumptions import GIVEN_UP, OUTCOMES
from presenced.server.memory import LEVELS, resident_bytes
from presenced.server.stats import Times
from presenced.server.status import MemoryStatus, Quantiles, ServerStatus, SlowWatcher, WebhookStatus

if TYPE_CHECKING:
    from presenced.server.server import Server

SLOWEST = 20
SLOW_LOOKED_AT = 500
"""If there are more slow watchers than this, only those that have been slow longest are compared."""

OTHER_DESCRIPTORS = 24
"""About how many descriptors the process has open beside its links."""


def take_status(server: Server, *, log_lines_lost: int = 0, webhooks: WebhookStatus | None = None) -> ServerStatus:
    """The server at this moment. `log_lines_lost` is how many lines of the log nobody read, which the server itself
    does not know, as it does not know of `webhooks`. This is long because it names every figure."""
    engine, stats = server.engine, server.stats
    online, leases = engine.publisher.online, engine.leases
    now_ms = server.clocks.monotonic_ms()
    roles = {role: server.links.roles[role] for role in ("user", "service", "admin")}
    return ServerStatus(
        version=__version__,
        python=platform.python_version(),
        loop=server.settings.loop,
        pid=os.getpid(),
        state=server.state,
        wall_ms=server.clocks.wall_ms(),
        uptime_ms=now_ms - stats.started_ms,
        epoch=engine.ledger.epoch,
        version_counter=engine.ledger.version,
        listeners=list(server.listeners),
        config=server.configuration.path if server.configuration is not None else "",
        dev=server.settings.dev,
        users=engine.users.known,
        users_asleep=len(engine.users.dormants),
        users_online=len(online),
        by_status=dict(online.by_status),
        devices_connected=leases.connected,
        devices_grace=leases.live - leases.connected,
        channels=len(engine.channels.by_name),
        watches=engine.watches.count,
        blocks=engine.privacy.blocks,
        hidings=engine.privacy.hidings,
        hidden_answers=engine.sight.hidden_answers,
        view_checks=engine.views.checks,
        view_checks_failed=engine.views.failed,
        view_differences=engine.views.differences,
        awaits=engine.awaits.count,
        awaits_met=engine.awaits.met,
        awaits_unmet=engine.awaits.unmet,
        events_kept=engine.events.history.kept,
        event_bytes=engine.events.history.bytes,
        event_followers=len(engine.events.followers),
        named_followers=len(engine.followers),
        lost_followers=engine.events.list_lost(),
        contacts=engine.contacts.pairs.contacts,
        contact_requests=engine.contacts.pairs.requests,
        links_parked=engine.resumptions.count,
        resumptions={outcome: engine.resumptions.outcomes[outcome] for outcome in OUTCOMES},
        resumptions_given_up={why: engine.resumptions.given_up[why] for why in GIVEN_UP},
        links=len(server.links),
        links_max=server.admission.links_max,
        links_by_role={
            **roles,
            "none": len(server.links) - sum(roles.values()) - server.links.ending,
            "ending": server.links.ending,
        },
        accepted=stats.accepted,
        hellos=stats.hellos,
        goodbyes=dict(stats.goodbyes),
        refused=dict(engine.refused),
        accept_failures=stats.accept_failures,
        handshakes_failed=stats.handshakes_failed,
        cut_off=stats.cut_off,
        slow_watchers=len(engine.outboxes.slow),
        slowest=slowest(engine.outboxes.slow.items(), now_ms),
        throttled=server.links.shares.throttled,
        frames_in=stats.frames_in,
        changes=engine.publisher.changed,
        deliveries=engine.outboxes.deliveries,
        bytes_out=engine.outboxes.bytes_out,
        turns=stats.turn.count,
        stalls=stats.stalls,
        turn=quantiles(stats.turn),
        reaction=quantiles(stats.reaction),
        lag=quantiles(stats.lag),
        commit=quantiles(stats.fsync),
        wheel=len(engine.wheel),
        expired=engine.expiry.expired,
        wall_jumps=stats.wall_jumps,
        wall_jump_ms=stats.wall_jump_ms,
        rss_bytes=resident_bytes(),
        memory=_memory(server),
        cpu_ms=time.process_time_ns() // 1_000_000,
        descriptors=_descriptors(server),
        descriptors_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        gc_collections=sum(generation["collections"] for generation in gc.get_stats()),
        log=server.log.status(),
        reloads=stats.reloads,
        failed_reloads=stats.failed_reloads,
        webhooks=webhooks,
        cluster=server.cluster_status(),
        certificate_ends_ms=server.certificate.ends_s * 1000 if server.certificate is not None else 0,
        log_lines_lost=log_lines_lost,
    )


def quantiles(times: Times) -> Quantiles:
    """The histogram as a value."""
    return Quantiles(
        count=times.count,
        sum_us=times.sum_ns // 1000,
        p50_us=times.quantile_us(0.5),
        p99_us=times.quantile_us(0.99),
        max_us=times.max_ns // 1000,
        buckets=list(times.buckets),
    )


def slowest(slow: Iterable[tuple[Session, int]], now_ms: int) -> list[SlowWatcher]:
    """The slow watchers that are owed most records."""
    found = [
        SlowWatcher(
            who=session.user_name if session.device is None else f"{session.user_name}/{session.device.id}",
            role=session.role,
            held=len(session.owed or ()),
            for_ms=now_ms - since_ms,
        )
        for session, since_ms in islice(slow, SLOW_LOOKED_AT)
    ]
    found.sort(key=lambda watcher: (watcher.held, watcher.for_ms), reverse=True)
    return found[:SLOWEST]


def _descriptors(server: Server) -> int:
    """Open descriptors. Linux tells their number since 6.2; before, this is an estimate."""
    return os.stat("/proc/self/fd").st_size or len(server.links) + OTHER_DESCRIPTORS


def _memory(server: Server) -> MemoryStatus:
    memory = server.memory
    return MemoryStatus(
        used_bytes=memory.used_bytes,
        budget_bytes=memory.budget_bytes,
        level=LEVELS[memory.level],
        since_wall_ms=memory.since_wall_ms,
        refused_links=memory.refused_links,
        refused_hellos=memory.refused_hellos,
        refused_requests=server.engine.refused["memory_low"],
        ended_links=memory.ended_links,
    )


def zones_missing(server: Server) -> list[str]:
    """Time zones of schedules that this machine does not know, in order of name. O(zones missing)."""
    return sorted(server.engine.schedules.zones_missing)


def idle_kinds_unmet(server: Server) -> list[str]:
    """Kinds of device that have idle times or a grace of their own, and that no device has had since the start.
    O(kinds)."""
    policy = server.engine.policy
    kinds = {**policy.idle_by_kind, **policy.grace_by_kind}
    return [kind for kind in kinds if kind not in policy.kinds_met]
