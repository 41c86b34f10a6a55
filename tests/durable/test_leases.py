"""Leases over the end of the daemon: what was promised and acknowledged ends at its moment, whatever ends before."""

from __future__ import annotations

from pathlib import Path

import pytest

import presenced.sync
from tests.durable.node import Node
from tests.support.tiers import samples
from tests.support.until import until

CALM = ("--rate", "0", "--grace", "60s", "--check")
LATE_MS = 1_000
"""How late the end of a lease may be told on a machine that is busy with other tests."""
ROUNDED_MS = 2
"""The wall time of a moment is that of the monotonic clock and an offset, each in whole milliseconds."""


def service(node: Node, name: str = "jobs") -> presenced.sync.BlockingService:
    return presenced.sync.connect_service(f"presence://{name}@127.0.0.1:{node.port}")


def leases(p: presenced.sync.BlockingService, users: list[str]) -> dict[str, int]:
    """Until when the device of each user is leased; 0 = it is gone."""
    return {user: p.get_devices(user)[0].lease_until_ms for user in users}


def moved(promised: dict[str, int], kept: dict[str, int]) -> dict[str, str]:
    """Which leases end at another moment than was promised, and by how much; each restart rounds to a millisecond."""
    off = {user: until_ms - promised[user] for user, until_ms in kept.items()}
    return {
        user: f"{ms:+d} ms" if kept[user] else "the device is gone" for user, ms in off.items() if abs(ms) > ROUNDED_MS
    }


@pytest.mark.parametrize("ends", ["kill", "stop"])
def test_a_lease_ends_at_its_moment_over_restarts(tmp_path: Path, ends: str) -> None:
    rounds = max(3, samples(10))
    with Node(tmp_path, *CALM, limits={"RESTART_GRACE_MS": 60_000}) as node:
        node.start()
        promised: dict[str, int] = {}
        ended: dict[str, int] = {}
        for number in range(rounds):
            with service(node) as p:
                for user in list(promised):
                    if user not in ended and (record := p.get_status(user)).status == "offline":
                        ended[user] = record.since_ms
                known = {user: until_ms for user, until_ms in promised.items() if user not in ended}
                kept = leases(p, list(known))
                assert not moved(known, {user: until_ms or known[user] for user, until_ms in kept.items()})
                users = [f"u{number}-{one}" for one in range(4)]
                for user, seconds in zip(users, (0.6, 1.5, 3.0, 300.0), strict=True):
                    p.attach(user, "job", for_at_most=seconds)
                # Of some the link is let go of before the end, and one comes from a detach.
                p.detach(users[1], "job", lost=True)
                p.attach(f"w{number}", "tab")
                p.detach(f"w{number}", "tab", within=1.0)
                promised.update(leases(p, [*users, f"w{number}"]))
                node.kill() if ends == "kill" else node.stop()
            node.start()
        with service(node) as p:
            short = [user for user in promised if not user.endswith("-3")]
            began_ms = p.server_time_ms
            until(lambda: all(p.get_status(user).status == "offline" for user in short), "all short leases end")
            for user in short:
                late_ms = p.get_status(user).since_ms - promised[user]
                # One that ended while no daemon ran is told as ended when the next one starts.
                assert -2 <= late_ms <= LATE_MS + max(0, began_ms - promised[user]), f"{user} ended {late_ms} ms late"
