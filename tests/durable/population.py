"""Three hundred users in every situation there is, half of whom come back after a restart."""

from __future__ import annotations

from typing import Any

from presenced.wire.messages import Bye, SetStatus
from tests.durable.swarm import DONE, GOODBYE, Peer, Swarm, opened

HOUR_MS = 3_600_000
LONG_GRACE = {"RESTART_GRACE_MS": HOUR_MS}
"""Limits with which nobody who is away at a restart goes offline while a test runs."""

AWAY_MS = 400_000
"""Idle for longer than `--away-after` (5 minutes) and shorter than `--offline-after` (1 hour)."""

KINDS = ("plain", "idle", "dnd", "texted", "chatty", "twofold", "invisible", "brief", "asleep", "left")
COUNT = 300


class Person:
    """One user: what they are, and whether they come back."""

    def __init__(self, index: int) -> None:
        self.kind = KINDS[index % len(KINDS)]
        self.name = f"{self.kind}-{index:03d}"
        self.returns = index // len(KINDS) % 2 == 0

    @property
    def visible(self) -> bool:
        """Whether watchers see them online."""
        return self.kind not in ("invisible", "asleep", "left")

    def devices(self) -> list[dict[str, Any]]:
        """What each of the user's devices says in its hello."""
        match self.kind:
            case "idle":
                return [{"idle_ms": AWAY_MS}]
            case "asleep":
                return [{"idle_ms": 2 * HOUR_MS}]
            case "chatty":
                return [{"status": "chat", "kind": "phone", "name": "a phone", "idle_ms": 1_000}]
            case "twofold":
                return [{"idle_ms": 100}, {"device": "phone", "status": "dnd", "idle_ms": 1_000}]
        return [{}]

    def claims(self) -> list[SetStatus]:
        """What the user says."""
        match self.kind:
            case "dnd":
                return [SetStatus(1, status="dnd", for_ms=HOUR_MS)]
            case "texted":
                return [SetStatus(1, text=f"text of {self.name}", emoji="🌴")]
            case "invisible":
                return [SetStatus(1, status="offline", text="nobody reads this")]
            case "brief":
                return [SetStatus(1, text="lunch", for_ms=HOUR_MS), SetStatus(2, status="xa")]
        return []

    def connect(self, swarm: Swarm) -> list[Peer]:
        """All devices, welcomed."""
        return [opened(swarm, self.name, **fields) for fields in self.devices()]

    def enter(self, swarm: Swarm) -> None:
        """Connect for the first time and say what is to be said; `left` leaves again."""
        peers = self.connect(swarm)
        for request in self.claims():
            reply = peers[0].answer(request)
            assert reply[0] == DONE, reply
        if self.kind == "left":
            peers[0].send(Bye())
            swarm.run(lambda: peers[0].over, "the link ended after bye")
            assert not any(got[0] == GOODBYE for got in peers[0].told)


def people() -> list[Person]:
    return [Person(index) for index in range(COUNT)]
