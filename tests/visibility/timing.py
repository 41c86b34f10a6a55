"""How long a question about somebody who may not be seen takes, and one about a name never seen: nobody is to tell them
apart by the clock. `python -m tests.visibility.timing` prints the figures; no test asserts them."""

from __future__ import annotations

import random
import statistics
import time

from presenced.wire.messages import Block, Get, HideFrom
from tests.core.world import World
from tests.visibility.rule import Viewer
from tests.visibility.stage import ViewLink, policy

NAMES = 1_000
ROUNDS = 30


def measured(kind: str) -> tuple[list[int], list[int]]:
    """Nanoseconds of each Get of one name: of users who are hidden in this way, and of names never seen."""
    grounds = ("contacts",) if kind == "no ground" else ("everyone",)
    world = World(policy(grounds))
    world.checks = False
    app = ViewLink(world, Viewer("app", "service"))
    for number in range(NAMES):
        app.attach(number + 1, f"hidden{number:05}/web")
        name = f"hidden{number:05}"
        if kind == "hides":
            app.say(HideFrom(app.next_id(), "viewer", user=name))
        elif kind == "has blocked":
            app.say(Block(app.next_id(), "viewer", user=name))
        elif kind == "is blocked":
            app.say(Block(app.next_id(), name, user="viewer"))
        app.messages.clear()
    world.turn()
    viewer = ViewLink(world, Viewer("viewer"), "desk")
    world.turn()
    names = [f"hidden{number:05}" for number in range(NAMES)] + [f"absent{number:05}" for number in range(NAMES)]
    taken: dict[str, list[int]] = {"hidden": [], "absent": []}
    dice = random.Random(1)
    for _ in range(ROUNDS):
        dice.shuffle(names)
        for name in names:
            asked = Get(1, [name])
            start_ns = time.perf_counter_ns()
            viewer.say(asked)
            world.turn()
            taken[name[:6]].append(time.perf_counter_ns() - start_ns)
        viewer.forget()
        viewer.said.clear()
        viewer.view.clear()
    return taken["hidden"], taken["absent"]


def main() -> None:
    """A line for each way of being hidden: medians and deciles in microseconds, and the ratio of the medians."""
    print("microseconds     hidden: p10     p50     p90   absent: p10     p50     p90   ratio")
    for kind in ("no ground", "hides", "has blocked", "is blocked"):
        hidden, absent = (statistics.quantiles(times, n=10) for times in measured(kind))
        shown = "".join(
            f"{deciles[0] / 1000:>{width}.1f}{deciles[4] / 1000:>8.1f}{deciles[8] / 1000:>8.1f}"
            for deciles, width in ((hidden, 12), (absent, 14))
        )
        print(f"{kind:16}{shown}{hidden[4] / absent[4]:>8.3f}")


if __name__ == "__main__":
    main()
