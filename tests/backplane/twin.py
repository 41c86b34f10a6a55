"""The slow and obvious twin of the backplane: it keeps every entry for ever, and looks through them all each time."""

from __future__ import annotations

import hashlib

import msgspec

from presenced.backplane.errors import Emptied, Fenced, Rewound
from presenced.backplane.port import Entry, Joined, NodeInfo, Renewed

OVERHEAD = 64


def drawn_tag(random: int, n: int) -> int:
    return int(hashlib.sha1(f"{random}:{n}".encode()).hexdigest()[:13], 16)


class Twin:
    """One engine. Calls name who calls, and what they drew."""

    def __init__(self, log_bytes: int, lease_ms: int) -> None:
        self.log_bytes = log_bytes
        self.lease_ms = lease_ms
        self.empty()

    def empty(self) -> None:
        self.history = ""
        self.epoch = 0
        self.log: list[Entry] = []
        self.first_n = 1
        self.calls: list[tuple[int, str, int]] = []
        """Lease clock of each call of a life that was taken: (clock, node, incarnation)."""
        self.reads: list[tuple[str, int, int]] = []
        self.batches: list[tuple[str, int, int, int]] = []
        self.joins: dict[tuple[str, int], int] = {}
        self.highest = 0
        self.clock_ms = 0
        self.time_ms = 0

    def kept(self) -> dict[str, object]:
        return {key: value.copy() if isinstance(value, (list, dict)) else value for key, value in self.__dict__.items()}

    def put_back(self, kept: dict[str, object]) -> None:
        self.__dict__.update(
            {key: value.copy() if isinstance(value, (list, dict)) else value for key, value in kept.items()}
        )

    # --- looking ----------------------------------------------------------------------------------------------

    def live(self) -> list[NodeInfo]:
        found = []
        for entry in self.log:
            if entry.kind == "joined" and not any(
                gone.kind == "gone" and (gone.node, gone.incarnation) == (entry.node, entry.incarnation)
                for gone in self.log
            ):
                life = (entry.node, entry.incarnation)
                reads = [n for a, b, n in self.reads if (a, b) == life]
                read_n = reads[-1] if reads else entry.n
                until_ms = self.last_ms(*life) + self.lease_ms
                found.append(NodeInfo(entry.node, entry.incarnation, until_ms, read_n, entry.data))
        return sorted(found, key=lambda node: node.incarnation)

    def last_ms(self, node: str, incarnation: int) -> int:
        return [clock for clock, *who in self.calls if who == [node, incarnation]][-1]

    def incarnation_of(self, node: str) -> int:
        return next((one.incarnation for one in self.live() if one.name == node), 0)

    def rewound(self) -> Rewound:
        return Rewound(self.first_n, self.log[-1].n, self.log[-1].tag)

    def check(self, node: str, incarnation: int, history: str, seen_n: int, seen_tag: int) -> None:
        if not self.history or history != self.history:
            raise Emptied
        is_known = seen_n > len(self.log) - 128 or seen_n >= self.first_n
        if seen_n > len(self.log) or (is_known and self.log[seen_n - 1].tag != seen_tag):
            raise self.rewound()
        living = self.incarnation_of(node)
        if living != incarnation:
            # An earlier life of the name is no other daemon: the log has lost the beginning of this one.
            raise Fenced(living if living > incarnation else 0)
        if not is_known:
            raise self.rewound()

    # --- doing ------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        passed = now_ms - self.time_ms
        self.clock_ms += 0 if passed < 0 else 2_000 if passed > 2_000 else passed
        self.time_ms = now_ms

    def add(self, kind: str, node: str, incarnation: int, tag: int, data: bytes) -> None:
        self.log.append(Entry(len(self.log) + 1, tag, kind, node, incarnation, self.clock_ms, data))  # type: ignore[arg-type]

    def bury(self, node: str, incarnation: int, random: int, voluntary: bool) -> None:
        self.highest += 1
        data = msgspec.msgpack.encode([self.highest, self.last_ms(node, incarnation), voluntary])
        self.add("gone", node, incarnation, drawn_tag(random, len(self.log) + 1), data)

    def size(self, first_n: int) -> int:
        """What the entries from there on take: their data, their heads, and what each takes anyway."""
        total = 0
        bytes_before = 0
        last = "0-0"
        for entry in self.log:
            head = f"{entry.kind[0]} {entry.incarnation} {entry.at_ms} {bytes_before} {last} {entry.node}"
            size = len(head.encode()) + len(entry.data) + OVERHEAD
            bytes_before += size
            last = f"{entry.n}-{entry.tag}"
            if entry.n >= first_n:
                total += size
        return total

    def bound(self) -> None:
        while self.size(self.first_n) > self.log_bytes and len(self.log) > self.first_n:
            length = len(self.log) - self.first_n + 1
            self.first_n += max(1, length // 4)

    def join(self, now_ms: int, node: str, nonce: int, least: int, epoch: int, random: int, data: bytes) -> Joined:
        if not self.history:
            self.history = hashlib.sha1(f"history:{random}".encode()).hexdigest()[:16]
            self.epoch = epoch
            self.time_ms = now_ms
        self.tick(now_ms)
        living = self.incarnation_of(node)
        if not living or self.joins.get((node, living)) != nonce:
            if living:
                self.bury(node, living, random, False)
            self.highest = max(self.highest, least) + 1
            living = self.highest
            self.add("joined", node, living, drawn_tag(random, len(self.log) + 1), data)
            self.joins[node, living] = nonce
        self.calls.append((self.clock_ms, node, living))
        self.bound()
        mine = next(one for one in self.log if one.kind == "joined" and one.incarnation == living)
        return Joined(living, self.history, self.epoch, mine.n, mine.tag, self.clock_ms, self.live())

    def append(
        self, now_ms: int, node: str, incarnation: int, history: str, batch: int, seen: tuple[int, int], tag: int,
        data: bytes,
    ) -> tuple[int, int]:  # fmt: skip
        self.check(node, incarnation, history, *seen)
        mine = [(number, n) for a, b, number, n in self.batches if (a, b) == (node, incarnation)]
        if mine and batch > mine[-1][0] + 1:
            raise self.rewound()
        self.tick(now_ms)
        self.calls.append((self.clock_ms, node, incarnation))
        if not mine or batch > mine[-1][0]:
            self.add("batch", node, incarnation, tag, data)
            self.batches.append((node, incarnation, batch, len(self.log)))
            self.bound()
            return len(self.log), tag
        n = mine[-1][1]
        return n, self.log[n - 1].tag

    def renew(
        self, now_ms: int, node: str, incarnation: int, history: str, read: tuple[int, int], random: int
    ) -> Renewed:
        self.check(node, incarnation, history, *read)
        self.tick(now_ms)
        self.calls.append((self.clock_ms, node, incarnation))
        self.reads.append((node, incarnation, read[0]))
        for one in self.live():
            if self.clock_ms > one.lease_until_ms:
                self.bury(one.name, one.incarnation, random, False)
        self.first_n = max(self.first_n, min(one.read_n for one in self.live()))
        self.bound()
        return Renewed(self.live(), self.clock_ms, now_ms - 1_000, len(self.log))

    def leave(self, now_ms: int, node: str, incarnation: int, history: str, random: int) -> None:
        if self.history and history == self.history and self.incarnation_of(node) == incarnation:
            self.tick(now_ms)
            self.calls.append((self.clock_ms, node, incarnation))
            self.bury(node, incarnation, random, True)

    def read(self, history: str, after_n: int, after_tag: int | None) -> list[Entry]:
        if after_n >= len(self.log):
            return []
        if after_n == 0:
            is_other = history != self.history
        else:
            is_other = after_tag is not None and self.log[after_n - 1].tag != after_tag
        if after_n + 1 < self.first_n or is_other:
            raise self.rewound()
        return self.log[after_n : after_n + 32]
