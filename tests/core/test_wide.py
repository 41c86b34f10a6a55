"""A user with very many watchers: each turn tells some of them, and all are told the latest in the end."""

from __future__ import annotations

from presenced.core.model import Edge, Session
from presenced.core.policy import Policy
from presenced.core.wide_fan_outs import SLICE, WATCHERS
from presenced.wire.codec import decode_server, encode
from presenced.wire.frames import FrameReader
from presenced.wire.messages import Pong, Presence
from tests.core.world import FakeLink, World


class Keeping(Edge):
    """An edge that keeps what was written to it."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.data.append(data)

    def end(self, code: str) -> None:
        raise AssertionError(f"ended with {code!r}")

    @property
    def texts(self) -> list[str]:
        """The texts of alice that it was told."""
        reader = FrameReader(1 << 20)
        reader.feed(b"".join(self.data))
        told = [decode_server(payload) for payload in reader.take(1_000)]
        return [message.record.text for message in told if isinstance(message, Presence)]


def star(count: int) -> tuple[World, FakeLink, list[tuple[Session, Keeping]]]:
    """Alice and so many watchers of hers."""
    world = World(Policy(change_spacing_ms=0))
    world.checks = False
    alice = world.open("alice/laptop")
    edges = [Keeping() for _ in range(count)]
    links = [(Session(edge, f"crowd{number}", "service"), edge) for number, edge in enumerate(edges)]
    for session, _ in links:
        world.engine.watches.add(world.now_ms, session, ["alice"])
    return world, alice, links


def told(links: list[tuple[Session, Keeping]]) -> int:
    return sum(len(edge.data) for _, edge in links)


def finish(world: World) -> int:
    count = 0
    while world.next_ms is not None and world.next_ms <= world.now_ms:
        world.turn()
        count += 1
    return count


def test_up_to_a_bound_all_are_told_in_one_turn() -> None:
    world, alice, links = star(WATCHERS)
    alice.set_status(text="one")
    assert told(links) == WATCHERS and world.next_ms != 0


def test_more_are_told_some_each_turn_and_each_once_and_others_in_between() -> None:
    world, alice, links = star(3 * WATCHERS)
    bob = world.open("bob/laptop")
    watcher = world.open("watcher", role="service")
    watcher.watch("bob")
    deliveries = world.engine.outboxes.deliveries
    alice.set_status(text="one")
    assert told(links) == SLICE and world.next_ms == 0
    bob.set_status("dnd")
    assert watcher.statuses("bob")[-1] == "dnd" and told(links) == 2 * SLICE
    assert finish(world) == 3 * WATCHERS // SLICE - 2
    assert all(edge.texts == ["one"] for _, edge in links)
    assert world.engine.outboxes.deliveries - deliveries == 3 * WATCHERS + 1


def test_a_change_in_between_is_told_to_all_and_those_who_were_told_nothing_come_first() -> None:
    world, alice, links = star(2 * WATCHERS)
    alice.set_status(text="one")
    alice.set_status(text="two")
    for number in range(3, 20):
        alice.set_status(text=str(number))
    seen = [edge.texts for _, edge in links]
    assert all(seen), "somebody waits for ever while she goes on changing"
    finish(world)
    assert all(edge.texts[-1] == "19" for _, edge in links)


def test_who_stops_in_between_is_not_told_and_who_begins_has_it_from_the_reply() -> None:
    world, alice, links = star(2 * WATCHERS)
    alice.set_status(text="one")
    gone, edge = links[-1]
    world.engine.watches.remove(gone, ["alice"])
    late = world.open("late", role="service")
    assert late.watch("alice")[0].text == "one"
    finish(world)
    assert edge.data == [] and late.pushes == []
    assert told(links) == 2 * WATCHERS - 1


def test_who_does_not_read_is_owed_the_latest_and_who_has_replies_waiting_gets_both() -> None:
    world, alice, links = star(2 * WATCHERS)
    slow, edge = links[-1]
    asker, other = links[-2]
    world.engine.outboxes.pause(slow, world.now_ms)
    alice.set_status(text="one")
    while world.next_ms == 0:
        world.engine.outboxes.reply(asker, encode(Pong(1, 5)))
        world.turn()
    assert edge.data == [] and list(slow.owed or ()) == [world.user("alice")]
    assert other.texts == ["one"]
    world.engine.resume(slow)
    world.turn()
    assert edge.texts == ["one"]
