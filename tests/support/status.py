"""Statuses that no server had to be run for: every number in them is another one."""

from __future__ import annotations

from typing import Any

import msgspec

from presenced.server.stats import Times
from presenced.server.status import LogStatus, MemoryStatus, Quantiles, ServerStatus, SlowWatcher
from presenced.server.status_report import quantiles

WALL_MS = 1_790_000_000_000


def durations(*each_us: int) -> Quantiles:
    times = Times()
    for us in each_us:
        times.add(us * 1000)
    return quantiles(times)


def made_status(**fields: Any) -> ServerStatus:
    """A busy server that is well; `fields` are other than that."""
    status = ServerStatus(
        version="1.2.3",
        python="3.11.2",
        loop="uvloop",
        pid=4711,
        state="serving",
        wall_ms=WALL_MS,
        uptime_ms=100_250,
        epoch=WALL_MS - 77_000,
        version_counter=123_457,
        listeners=["presence://127.0.0.1:5250"],
        config="/etc/presenced/presenced.toml",
        dev=False,
        users=12_345,
        users_online=9_123,
        by_status={"chat": 12, "online": 7_000, "away": 1_600, "xa": 11, "dnd": 500},
        devices_connected=10_013,
        devices_grace=31,
        channels=121,
        watches=412_345,
        blocks=229,
        hidings=233,
        hidden_answers=52_361,
        links=10_019,
        links_max=19_871,
        links_by_role={"user": 10_010, "service": 5, "admin": 1, "none": 3, "ending": 0},
        accepted=45_001,
        hellos=44_002,
        goodbyes={"busy": 13, "replaced": 222, "bad_token": 7},
        refused={"rate_limited": 61, "bad_request": 9},
        accept_failures=67,
        handshakes_failed=71,
        cut_off=73,
        slow_watchers=2,
        slowest=[SlowWatcher("mallory/phone", "user", 431, 12_200), SlowWatcher("bob", "service", 3, 700)],
        throttled=17,
        frames_in=7_654_321,
        changes=345_678,
        deliveries=9_876_543,
        bytes_out=987_654_321,
        turns=654_321,
        stalls=19,
        turn=durations(90, 120, 700),
        reaction=durations(100, 900, 3_000, 3_500),
        lag=durations(800, 1_100),
        commit=durations(2_000, 2_100, 9_000, 9_100, 9_200),
        wheel=10_044,
        expired=55,
        wall_jumps=23,
        wall_jump_ms=-1_500,
        rss_bytes=123_456_789,
        memory=MemoryStatus(
            used_bytes=134_567_890,
            budget_bytes=536_870_912,
            level="ok",
            since_wall_ms=0,
            refused_links=47,
            refused_hellos=53,
            refused_requests=59,
            ended_links=6,
        ),
        cpu_ms=31_337,
        descriptors=10_101,
        descriptors_max=20_002,
        gc_collections=37,
        log=LogStatus(
            directory="/var/lib/presenced",
            durability="always",
            state="ok",
            pending_facts=14,
            pending_bytes=2_468,
            log_bytes=12_582_911,
            snapshot_running=False,
            snapshot_wall_ms=WALL_MS - 61_000,
            snapshot_bytes=5_242_881,
            snapshot_took_ms=741,
            snapshots=29,
        ),
        reloads=41,
        failed_reloads=43,
        certificate_ends_ms=WALL_MS + 53 * 86_400_000,
        log_lines_lost=47,
    )
    return msgspec.structs.replace(status, **fields)


def made_log(**fields: Any) -> LogStatus:
    """The log of `made_status`, other in `fields`."""
    log = made_status().log
    assert log is not None
    return msgspec.structs.replace(log, **fields)
