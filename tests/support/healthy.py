"""The status of a server of which the doctor has nothing to say, for tests that show one thing wrong."""

from __future__ import annotations

from presenced.server.status import LogStatus, MemoryStatus, Quantiles
from tests.support.status import made_status

HOUR_MS = 3_600_000
WALL_MS = 1_800_000_000_000


def times(count: int, p99_us: float) -> Quantiles:
    return Quantiles(count, round(count * p99_us / 2), p99_us / 4, p99_us, round(p99_us), [0] * 24)


LOG = LogStatus(
    directory="/var/lib/presenced",
    durability="always",
    state="ok",
    pending_facts=0,
    pending_bytes=0,
    log_bytes=1 << 20,
    snapshot_running=False,
    snapshot_wall_ms=WALL_MS - 300_000,
    snapshot_bytes=4 << 20,
    snapshot_took_ms=80,
    snapshots=3,
)
MEMORY = MemoryStatus(
    used_bytes=200 << 20,
    budget_bytes=0,
    level="ok",
    since_wall_ms=0,
    refused_links=0,
    refused_hellos=0,
    refused_requests=0,
    ended_links=0,
)
HEALTHY = made_status(
    version="0.1.0",
    python="3.11.7",
    loop="uvloop",
    pid=1,
    state="serving",
    wall_ms=WALL_MS,
    uptime_ms=9 * HOUR_MS,
    epoch=1,
    version_counter=7,
    listeners=["presences://0.0.0.0:5250", "http://127.0.0.1:9250", "unix:/run/presenced/admin.sock"],
    config="/etc/presenced/presenced.toml",
    dev=False,
    users=5_000,
    users_online=1_200,
    by_status={"chat": 0, "online": 1_000, "away": 200, "xa": 0, "dnd": 0},
    devices_connected=1_300,
    devices_grace=4,
    channels=2,
    watches=40_000,
    blocks=90,
    hidings=12,
    hidden_answers=700,
    links=1_300,
    links_max=19_872,
    links_by_role={"user": 1_299, "service": 1, "admin": 0, "none": 0, "ending": 0},
    accepted=4_000,
    hellos=4_000,
    goodbyes={"lease_expired": 7},
    refused={},
    accept_failures=0,
    handshakes_failed=0,
    cut_off=0,
    slow_watchers=0,
    slowest=[],
    throttled=0,
    frames_in=100_000,
    changes=9_000,
    deliveries=400_000,
    bytes_out=1 << 25,
    turns=50_000,
    stalls=0,
    turn=times(50_000, 900.0),
    reaction=times(9_000, 1_200.0),
    lag=times(9_000, 2_000.0),
    commit=times(8_000, 4_000.0),
    wheel=1_304,
    expired=9,
    wall_jumps=0,
    wall_jump_ms=0,
    rss_bytes=200 << 20,
    memory=MEMORY,
    cpu_ms=60_000,
    descriptors=1_330,
    descriptors_max=20_000,
    gc_collections=12,
    log=LOG,
    reloads=1,
    failed_reloads=0,
    certificate_ends_ms=0,
    log_lines_lost=0,
)
