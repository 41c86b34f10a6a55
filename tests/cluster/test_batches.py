"""What a node appends: items in order, in batches, each under its number until the log has it."""

from __future__ import annotations

import msgspec
import pytest

from presenced.cluster.log import batches as module
from presenced.cluster.log.batches import Batches, Stored
from presenced.cluster.log.entries import (
    BATCH_BYTES,
    Decided,
    New,
    NodeBatch,
    ToNode,
    decode_batch,
    decode_facts,
    for_others,
    packed_facts,
)
from presenced.core.records import Fact, PositionsKnown, RecordSet, TextSet
from presenced.wire.codec import encode
from tests.cluster.town import Town


def batches() -> Batches:
    return Batches(lambda: 42, lambda: 42)


def test_what_is_made_while_a_batch_is_under_way_is_in_the_next_and_none_is_made_twice() -> None:
    out = batches()
    assert out.close() is None
    out.add(New(["alice"]))
    first = out.close()
    assert first is not None and first.number == 1
    out.add(New(["bob"]))
    out.add(New(["carol"]))
    assert out.close() is first, "its reply may have been lost: it is appended again as it was"
    out.appended(1)
    second = out.close()
    assert second is not None
    batch = decode_batch(second.data)
    assert (batch.number, batch.version, batch.items) == (2, 42, [New(["bob"]), New(["carol"])])
    out.appended(2)
    assert out.close() is None and not out.has_more and out.bytes == 0


def test_an_item_is_confirmed_when_its_batch_is_read_back_and_not_before() -> None:
    out = batches()
    out.add(New(["alice"]))
    out.close()
    out.add(New(["bob"]))
    assert (out.added, out.confirmed) == (2, 0)
    out.appended(1)
    assert out.confirmed == 0, "an entry that was accepted may still be passed over"
    out.close()
    out.read_back(1, 1)
    assert out.confirmed == 1
    out.read_back(2, 2)
    assert out.confirmed == 2 and not out.has_more, "reading it back says that the log has it"


def test_where_replicas_count_an_item_is_confirmed_when_it_was_read_back_and_its_append_has_succeeded() -> None:
    out = batches()
    out.wait_for_appends()
    for name in ("alice", "bob"):
        out.add(New([name]))
        first = out.close()
        assert first is not None
        out.read_back(first.number, first.number)
        assert out.confirmed == first.number - 1, "no replica may have it"
        assert out.close() is first, "it is appended again until one has"
        out.appended(first.number)
        assert out.confirmed == first.number
    out.rewind(1)
    again = out.close()
    assert again is not None and again.number == 2
    out.add(New(["carol"]))
    out.appended(2)
    third = out.close()
    assert third is not None
    out.appended(3)
    assert out.confirmed == 2
    out.read_back(3, 4)
    assert out.confirmed == 3 and not out.has_more


def test_a_batch_is_bounded_and_an_item_that_is_larger_goes_alone() -> None:
    out = batches()
    large = ToNode(3, msgspec.Raw(encode("x" * (BATCH_BYTES + 1))))
    for item in (New(["a"]), large, New(["b"])):
        out.add(item)
    sizes = []
    while (closed := out.close()) is not None:
        sizes.append(len(decode_batch(closed.data).items))
        out.appended(closed.number)
    assert sizes == [1, 1, 1]


def test_what_is_to_be_stored_goes_with_the_batch_that_tells_of_it() -> None:
    out = batches()
    stored = Stored(7, 1, b"content")
    out.add(New(["a"]), stored)
    closed = out.close()
    assert closed is not None and closed.stored == [stored]


def test_facts_come_out_as_they_went_in_without_those_of_this_node_alone() -> None:
    text: Fact = TextSet("alice", "hi", "", 0)
    record: Fact = RecordSet("alice", "online", 1, 2, "laptop", 3)
    kept = for_others([text, PositionsKnown("", 5, 0), record])
    assert kept == [text, record]
    out = batches()
    out.add(Decided(packed_facts(kept)))
    closed = out.close()
    assert closed is not None
    [item] = decode_batch(closed.data).items
    assert isinstance(item, Decided) and decode_facts(item.facts) == [text, record]


def test_an_own_batch_that_is_read_back_is_not_made_of_its_bytes_again() -> None:
    out = batches()
    item = New(["alice"])
    out.add(item)
    first = out.close()
    out.appended(1)
    out.add(New(["bob"]))
    second = out.close()
    assert first is not None and second is not None
    assert out.decoded(first.data).items[0] is item
    foreign = encode(NodeBatch(9, 42, [New(["carol"])]))
    assert out.decoded(foreign) == decode_batch(foreign), "of another node"
    assert out.decoded(second.data) == decode_batch(second.data), "not the next"
    out.read_back(1, 1)
    assert out.decoded(second.data).items == [New(["bob"])]
    # The log loses both: they are appended again, and what they were made of is gone.
    out.read_back(2, 2)
    out.rewind(0)
    again = out.close()
    assert again is not None and again.number == 1
    assert out.decoded(first.data) == decode_batch(first.data) and out.decoded(first.data).items[0] is not item


def test_a_batch_says_below_which_version_nothing_is_left_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    version = 5
    out = Batches(lambda: version, lambda: version)
    out.add(New(["alice"]))
    out.add(New(["bob"]), least=3)
    version = 9
    out.mark()
    floors = []
    while (closed := out.close()) is not None:
        out.appended(closed.number)
        floors.append((decode_batch(closed.data).floor, len(decode_batch(closed.data).items)))
    assert floors == [(3, 1), (9, 1)], "what waits was made before"
    assert not out.has_more
    out.mark()
    assert out.has_more
    closed = out.close()
    assert closed is not None and decode_batch(closed.data).items == [] and decode_batch(closed.data).floor == 9
    out.read_back(closed.number, 4)
    assert out.confirmed == out.added and not out.has_more


def test_what_waits_for_the_next_batch_counts_from_when_its_turn_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    version = 5
    out = Batches(lambda: version, lambda: version)
    size = len(encode(New(["a"])))
    monkeypatch.setattr(module, "BATCH_BYTES", 2 * size)
    for turn in (5, 6, 7):
        version = turn
        out.add(New(["a"]))
        out.add(New(["b"]), least=turn - 1)
    assert out.bytes == 6 * size
    floors = []
    while (closed := out.close()) is not None:
        out.appended(closed.number)
        floors.append(decode_batch(closed.data).floor)
    assert floors == [6, 7, 7], "what waits of a turn is not held for older than it is"
    assert out.bytes == 0


@pytest.mark.parametrize("count", [0, 1, 15, 16, 70_000])
def test_a_batch_is_encoded_as_if_it_were_at_once(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 1 << 20)
    out = batches()
    items = [New([str(number)]) for number in range(count)]
    for item in items:
        out.add(item)
    out.mark()
    closed = out.close()
    assert closed is not None and closed.data == encode(NodeBatch(1, 42, items, 42))
    assert out.decoded(closed.data).items == items, "this node takes them in the same order"


def test_items_that_wait_are_taken_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 2 * len(encode(New(["0"]))))
    out = batches()
    for number in range(5):
        out.add(New([str(number)]), Stored(7, number, b"content") if number % 2 else None)
    taken = []
    while (closed := out.close()) is not None:
        assert out.decoded(closed.data) == decode_batch(closed.data)
        taken.append((decode_batch(closed.data).items, [stored.number for stored in closed.stored]))
        out.appended(closed.number)
        out.read_back(closed.number, closed.number)
    assert taken == [([New(["0"]), New(["1"])], [1]), ([New(["2"]), New(["3"])], [3]), ([New(["4"])], [])]


def test_whoever_appends_is_woken_where_nothing_waited() -> None:
    woken: list[int] = []
    out = batches()
    out.add(New(["alice"]))
    out.wake_by(lambda: woken.append(out.added))
    assert woken == [1], "something waits already"
    out.add(New(["bob"]))
    assert woken == [1], "whoever was woken has not come yet"
    closed = out.close()
    out.add(New(["carol"]))
    assert woken == [1, 3] and closed is not None


def test_facts_that_no_batch_has_yet_are_still_to_come() -> None:
    town = Town("a")
    [a] = town.nodes
    a.engine.ledger.raise_version(50, a.now_ms)
    a.engine.ledger.add(RecordSet("alice", "online", 1, 0, "", 40))
    a.node.batches.mark()
    closed = a.node.batches.close()
    assert closed is not None and decode_batch(closed.data).floor == 40
