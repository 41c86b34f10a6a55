"""What a node makes of entries that should not be there, or that come late: whoever is not the home is passed over."""

from __future__ import annotations

import msgspec
import pytest

from presenced.backplane.errors import Rewound
from presenced.backplane.port import Entry
from presenced.cluster.levels import NotUnderstood
from presenced.cluster.log.common_past import common_past
from presenced.cluster.log.entries import Decided, New, NodeBatch, Whole, all_of, decode_batch, packed_facts
from presenced.cluster.log.memory import LogMemory
from presenced.core.records import BlockSet, Fact, RecordSet, TextSet
from presenced.wire.codec import encode
from tests.cluster.town import Town, done
from tests.support.memory_backplane import MemoryBackplane

FORGED: list[Fact] = [TextSet("alice", "forged", "", 0), RecordSet("alice", "dnd", 1, 2, "laptop", 2**40)]


def test_facts_from_any_other_node_than_the_home_are_passed_over() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop")
    before = c.shown("alice")
    b.node.batches.add(Decided(packed_facts(FORGED)))
    town.settle()
    assert c.shown("alice") == a.shown("alice") == before


def test_facts_about_users_of_one_batch_are_looked_at_one_by_one() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop")
    b.come("bob/laptop")
    mine: list[Fact] = [TextSet("bob", "mine", "", 0), RecordSet("bob", "away", 1, 2, "laptop", 2**40)]
    b.node.batches.add(Decided(packed_facts([FORGED[0], *mine, FORGED[1]])))
    town.settle()
    assert (c.shown("bob").text, c.shown("alice").text) == ("mine", "")


def test_pairs_are_believed_of_the_registrar_alone() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop")
    b.come("bob/laptop")
    assert {node.node.registrar for node in town.nodes} == {a.node.me}
    b.node.batches.add(Decided(packed_facts([BlockSet("bob", "alice", True)])))
    town.settle()
    user = c.engine.users.get("bob")
    assert user is not None and user.privacy is None
    a.node.batches.add(Decided(packed_facts([BlockSet("bob", "alice", True)])))
    town.settle()
    assert user.privacy is not None and "alice" in user.privacy.blocked


def test_the_last_that_says_it_is_the_home_is_it_and_the_other_yields() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop").lose()
    record = RecordSet("alice", "offline", b.wall_ms + 1, 2, "", 2**33)
    known: list[Fact] = [TextSet("alice", "as b knows it", "", 0), record]
    b.node.homes.set("alice", b.node.mine)
    b.node.batches.add(Whole("alice", msgspec.Raw(encode(known))))
    town.settle()
    assert {node.node.home_of("alice") for node in town.nodes} == {b.node.me}
    assert not a.node.own("alice") and a.shown("alice").text == c.shown("alice").text == "as b knows it"


def test_what_is_said_of_a_user_as_a_whole_reaches_the_own_disk_by_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (town := Town("a", "b")).nodes
    a.come("alice/laptop")
    b.log.save_foreign()  # type: ignore[attr-defined]
    taken: list[int] = []
    monkeypatch.setattr(b.disk, "status", lambda: "there is one", raising=False)
    monkeypatch.setattr(b.disk, "take_snapshot", lambda: taken.append(b.node.position), raising=False)
    b.log.save_foreign()  # type: ignore[attr-defined]
    assert not taken
    a.node.batches.add(Whole("alice", all_of(a.node.copies, "alice", a.now_ms)))
    town.settle()
    for _ in range(2):
        b.log.save_foreign()  # type: ignore[attr-defined]
    assert taken == [b.node.position]


def test_entries_of_nobody_who_lives_are_passed_over() -> None:
    a, _ = Town("a", "b").nodes
    batch = encode(NodeBatch(1, 0, [New(["alice"])]))
    entry = Entry(a.node.position, a.node.tag, "batch", "stranger", 4_711, 0, batch)
    a.reader.take(entry, a.now_ms, {})
    assert a.node.home_of("alice") == 0


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", encode([1, 2]), encode([1, 0, [[99]]])])
def test_a_batch_that_cannot_be_read_is_an_error_and_not_half_applied(data: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, NotUnderstood)):
        decode_batch(data)


@pytest.mark.parametrize(("read", "shared"), [((6,), None), ((6, 7), (6, 60)), ((5, 6, 7, 8), (6, 60))])
def test_the_entry_in_front_of_a_log_is_shared_unless_it_is_the_one_that_is_not_held(
    read: tuple[int, ...], shared: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = LogMemory()
    for position in read:
        memory.note_read(position, 10 * position, 0)

    async def read_log(self: MemoryBackplane, after: int) -> list[Entry]:
        return [Entry(n, n, "batch", "a", 1, 0, b"") for n in (7, 8) if n > after]

    monkeypatch.setattr(MemoryBackplane, "read", read_log)
    assert done(common_past(MemoryBackplane(Town().engine), memory, Rewound(7, 8, 8))) == shared
