"""Statuses that no server had to be run for: every number in them is another one."""

from __future__ import annotations

from typing import Any

import msgspec

from presenced.server.clustering.status import ClusterStatus, EngineStatus, NodeStatus
from presenced.server.stats import Times
from presenced.server.status import LogStatus, MemoryStatus, Quantiles, ServerStatus, SlowWatcher, WebhookStatus
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
        users_asleep=310,
        users_online=9_123,
        by_status={"chat": 12, "online": 7_000, "away": 1_600, "xa": 11, "dnd": 500},
        devices_connected=10_013,
        devices_grace=31,
        channels=121,
        watches=412_345,
        blocks=229,
        hidings=233,
        hidden_answers=52_361,
        view_checks=81_204,
        view_checks_failed=0,
        view_differences=9_417,
        links_parked=312,
        resumptions={"resumed": 4_711, "late": 12, "unknown": 3},
        resumptions_given_up={"bound": 7},
        awaits=318,
        awaits_met=5_127,
        awaits_unmet=604,
        events_kept=812_345,
        event_bytes=21_345_678,
        event_followers=37,
        named_followers=39,
        lost_followers=["app/index", "app/mail"],
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
        webhooks=WebhookStatus(
            receiver="https://app.example.org",
            state="delivering",
            behind=1_483,
            lag_ms=2_150,
            held=79,
            under_way=8,
            requests=30_211,
            accepted=60_217,
            failures={"timeout": 83, "5xx": 89},
            dead_letters=0,
            gaps=0,
            accepted_wall_ms=WALL_MS - 30,
            failing_wall_ms=0,
            error="the receiver said 500",
            error_wall_ms=WALL_MS - 97_000,
        ),
        cluster=made_cluster(),
        reloads=41,
        failed_reloads=43,
        certificate_ends_ms=WALL_MS + 53 * 86_400_000,
        log_lines_lost=47,
    )
    return msgspec.structs.replace(status, **fields)


def made_cluster(**fields: Any) -> ClusterStatus:
    """A node of three that is well; `fields` are other than that."""
    cluster = ClusterStatus(
        node="web-2",
        incarnation=317,
        state="serving",
        history="c0ffee",
        position=812_347,
        end_position=812_351,
        lag_ms=4,
        lease_left_ms=7_211,
        lease_ms=10_000,
        engine=EngineStatus("redis://10.0.0.5:6379", "master", "7.2.11", "noeviction"),
        clock_skew_ms=-3,
        nodes=[
            NodeStatus("web-1", 311, 9_101, 812_340, 4_111, 3_121, 17),
            NodeStatus("web-2", 317, 9_207, 812_347, 4_217, 3_343, 4),
            NodeStatus("web-3", 313, 8_803, 812_351, 4_019, -1),
        ],
        users_own=4_217,
        users_copied=8_130,
        forwarded=9_049,
        remote_links=127,
        relays=131,
        backlog_bytes=6_151,
        appends=700_001,
        entries_read=812_011,
        fences=0,
        dead_name="web-4",
        dead_wall_ms=WALL_MS - 3_600_000,
    )
    return msgspec.structs.replace(cluster, **fields)


def made_webhooks(**fields: Any) -> WebhookStatus:
    """The webhooks of `made_status`, other in `fields`."""
    webhooks = made_status().webhooks
    assert webhooks is not None
    return msgspec.structs.replace(webhooks, **fields)


def made_log(**fields: Any) -> LogStatus:
    """The log of `made_status`, other in `fields`."""
    log = made_status().log
    assert log is not None
    return msgspec.structs.replace(log, **fields)
