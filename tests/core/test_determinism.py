"""The same inputs give the same bytes, whatever the interpreter does."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from presenced.wire.messages import (
    Heartbeat,
    SetDevice,
    SetStatus,
)
from tests.core.world import FakeLink, World

ROOT = Path(__file__).parents[2]
DEVICES = ("laptop", "phone", "tool")


def play(seed: int, steps: int = 400) -> bytes:
    """A random life by one seed, without any residue kept; gives everything that was sent, in order."""
    dice = random.Random(seed)
    world = World()
    links: list[FakeLink] = []
    for _ in range(steps):
        links = [link for link in links if link.open]
        if len(links) < 4 or dice.random() < 0.15:
            name = f"user{dice.randrange(20)}"
            address = name if dice.random() < 0.3 else f"{name}/{dice.choice(DEVICES)}"
            links.append(world.open(address, role="service", idle_ms=dice.choice((None, 0, 200_000))))
            links[-1].watch(*(f"user{dice.randrange(25)}" for _ in range(8)))
        link = dice.choice([link for link in links if link.open])
        choice = dice.randrange(8)
        if choice == 0:
            dice.choice((link.lose, link.bye, link.stall))()
        elif choice == 1:
            link.drain()
        elif choice == 2:
            world.advance(dice.choice((50, 1_000, 20_000, 70_000)))
        elif choice == 3:
            link.say(SetDevice(link.next_id(), dice.choice(("dnd", "online")), dice.choice((0, 1, -1))))
        elif choice < 6:
            link.say(
                SetStatus(link.next_id(), dice.choice(("dnd", "auto", "offline")), dice.choice("abc"), for_ms=9_000)
            )
        else:
            link.say(Heartbeat(dice.choice((None, 0, 400_000))))
        if dice.random() < 0.7:
            world.turn()
    world.advance(100_000)
    return b"\n".join(world.transcript)


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert play(1) == play(1)
    assert play(1) != play(2)


def test_the_bytes_do_not_depend_on_the_interpreters_hash_seed() -> None:
    script = "import hashlib; from tests.core.test_determinism import play; print(hashlib.sha256(play(3)).hexdigest())"
    digests = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.append(done.stdout)
    assert digests[0] == digests[1] and len(digests[0].strip()) == 64
