"""Rounds of writing, `kill -9` and starting again, and what must hold after each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.durable.node import Node
from tests.durable.swarm import STATUS, Spectator, Swarm, Writer, ask, number_of, operator, shown


@dataclass
class Counts:
    """What happened over all rounds."""

    rounds: int = 0
    acked: int = 0
    unknown: int = 0
    """Writes that were asked for and not answered before the kill."""
    unknown_kept: int = 0
    pushes: int = 0
    lost: int = 0
    false_offline: int = 0


class KillLoop:
    """`round` after `round` on one directory; raises `AssertionError` at the first broken promise."""

    def __init__(
        self, node: Node, writers: int, seed: int, at_start: Callable[[Node], None] = lambda node: None
    ) -> None:
        self.node = node
        self.at_start = at_start
        self.counts = Counts()
        self.random = random.Random(seed)
        self.writers = [Writer(f"writer-{index:03d}") for index in range(writers)]
        self.spectator = Spectator([writer.name for writer in self.writers])
        self.epoch = 0

    def round(self, acks_max: int) -> None:
        """One life: recovered right, all come back, write until a random moment, killed."""
        counts, writers, spectator = self.counts, self.writers, self.spectator
        self.node.start()
        self.at_start(self.node)
        with Swarm(self.node.port) as swarm:
            self._check_recovered(swarm)
            for writer in writers:
                writer.connect(swarm)
            swarm.run(lambda: all(writer.welcome for writer in writers), "everybody was welcomed")
            self._converge(swarm)
            acked = sum(writer.acked for writer in writers)
            stop_at = acked + self.random.randrange(1, acks_max)
            for writer in writers:
                writer.going = True
                writer.write()
            swarm.run(lambda: sum(writer.acked for writer in writers) >= stop_at, "writes were acknowledged")
            self.node.kill()
            for writer in writers:
                writer.going = False
            # What had reached our side of the sockets was said, and counts.
            swarm.drain()
        assert not any(writer.refusals for writer in writers), [w.refusals for w in writers if w.refusals]
        counts.rounds += 1
        counts.acked = sum(writer.acked for writer in writers)
        counts.pushes = spectator.pushes

    def last(self) -> None:
        """Start once more, check, and stop in order."""
        self.node.start()
        with Swarm(self.node.port) as swarm:
            self._check_recovered(swarm)
        self.node.stop()

    def _check_recovered(self, swarm: Swarm) -> None:
        records, epoch = ask(operator(swarm), self.spectator.users)
        self.epoch = self.epoch or epoch
        assert epoch == self.epoch, f"the epoch went from {self.epoch} to {epoch}"
        for writer in self.writers:
            number = number_of(records[writer.name])
            if number < writer.acked:
                self.counts.lost += 1
            assert writer.acked <= number <= writer.asked, (
                f"{writer.name} has text {number}; acknowledged was {writer.acked}, asked {writer.asked}"
            )
            if writer.asked > writer.acked:
                self.counts.unknown += 1
                self.counts.unknown_kept += number == writer.asked
            if writer.acked:
                assert records[writer.name][STATUS] != "offline", f"{writer.name} is told to be gone"
        self.spectator.connect(swarm)
        self._check_view(records)

    def _converge(self, swarm: Swarm) -> None:
        """Everybody writes once; then what the spectator holds must become what is true."""
        for writer in self.writers:
            writer.write()
        swarm.run(lambda: all(writer.acked == writer.asked for writer in self.writers), "everybody wrote once")
        view = self.spectator.view
        swarm.run(
            lambda: all(number_of(view[writer.name]) == writer.asked for writer in self.writers),
            "the spectator was told of all changes",
        )
        records, _ = ask(operator(swarm), self.spectator.users)
        self._check_view(records)

    def _check_view(self, records: dict[str, list[object]]) -> None:
        spectator = self.spectator
        assert not spectator.faults, spectator.faults[:3]
        self.counts.false_offline = len(spectator.offline)
        assert not spectator.offline, f"told to be gone, though they came back in time: {spectator.offline[:3]}"
        for name, record in records.items():
            held = spectator.view[name]
            assert shown(held) == shown(record), f"the spectator holds {held}, true is {record}"
