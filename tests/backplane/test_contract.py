"""What a backplane promises, held by the fake and by a real engine alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import msgspec
import pytest

from presenced.backplane.errors import Emptied, Fenced, Rewound
from presenced.backplane.port import Backplane, Entry, Joined
from tests.backplane.stage import LEASE_MS, LOG_BYTES, Stage


async def all_of(node: Backplane, after_n: int = 0) -> list[Entry]:
    """The log from there to its end."""
    found: list[Entry] = []
    end_n = after_n
    while entries := await node.read(end_n):
        found += entries
        end_n = entries[-1].n
        if len(entries) < 32:
            break
    return found


async def error_of(call: Awaitable[object], kind: type[Exception]) -> Exception:
    with pytest.raises(kind) as raised:
        await call
    return raised.value


async def joined(stage: Stage, name: str, nonce: int = 1) -> tuple[Backplane, Joined]:
    node = stage.node()
    return node, await node.join(name, nonce, 0, 77, name.encode())


# --- joining ------------------------------------------------------------------------------------------------------


async def test_first_node_begins_a_history(stage: Stage) -> None:
    node = stage.node()
    first = await node.join("a", 1, 41, 77, b"about a")
    assert (first.incarnation, first.epoch, first.n, first.clock_ms) == (42, 77, 1, 0)
    assert [(one.name, one.incarnation, one.lease_until_ms, one.read_n, one.data) for one in first.nodes] == [
        ("a", 42, LEASE_MS, 1, b"about a")
    ]
    [entry] = await node.read(0)
    assert entry == Entry(1, first.tag, "joined", "a", 42, 0, b"about a")


async def test_nodes_join_one_log(stage: Stage) -> None:
    a, first = await joined(stage, "a")
    b, second = await joined(stage, "b")
    assert (second.history, second.epoch) == (first.history, 77)
    assert second.incarnation > first.incarnation
    assert [one.name for one in second.nodes] == ["a", "b"]
    assert await all_of(a) == await all_of(b)


async def test_a_join_whose_answer_was_lost_is_the_same_life(stage: Stage) -> None:
    node = stage.node()
    first = await node.join("a", 5, 0, 77, b"x")
    again = await node.join("a", 5, 0, 78, b"x")
    assert again == first
    assert len(await all_of(node)) == 1


async def test_a_second_node_of_a_name_ends_the_first(stage: Stage) -> None:
    a, first = await joined(stage, "a", 1)
    stage.pass_ms(700)
    other, second = await joined(stage, "a", 2)
    assert second.incarnation > first.incarnation
    entries = await all_of(other)
    assert [(one.kind, one.incarnation) for one in entries] == [
        ("joined", first.incarnation), ("gone", first.incarnation), ("joined", second.incarnation)
    ]  # fmt: skip
    fence, last_ms, voluntary = msgspec.msgpack.decode(entries[1].data)
    assert first.incarnation < fence < second.incarnation
    assert (last_ms, voluntary) == (0, False)
    error = await error_of(a.append(0, first.n, first.tag, b"x"), Fenced)
    assert isinstance(error, Fenced) and error.by == second.incarnation
    assert len(await all_of(other)) == 3


async def test_incarnations_are_above_the_least(stage: Stage) -> None:
    await joined(stage, "a")
    b = stage.node()
    assert (await b.join("b", 1, 1_000, 77, b"")).incarnation == 1_001
    assert (await joined(stage, "c"))[1].incarnation == 1_002


# --- appending and reading ----------------------------------------------------------------------------------------


async def test_batches_are_read_in_order_by_all(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    at = [await a.append(0, one.n, one.tag, b"first"), await b.append(0, two.n, two.tag, b"\x00\xff second")]
    stage.pass_ms(300)
    at.append(await a.append(1, one.n, one.tag, b""))
    assert [n for n, _ in at] == [3, 4, 5]
    entries = await all_of(a)
    assert entries[2:] == [
        Entry(3, at[0][1], "batch", "a", one.incarnation, 0, b"first"),
        Entry(4, at[1][1], "batch", "b", two.incarnation, 0, b"\x00\xff second"),
        Entry(5, at[2][1], "batch", "a", one.incarnation, 300, b""),
    ]
    assert await all_of(b) == entries
    assert len({one.tag for one in entries}) == 5


async def test_a_batch_that_is_sent_again_is_the_same_entry(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    place = await a.append(7, one.n, one.tag, b"x")
    await b.append(0, two.n, two.tag, b"y")
    assert await a.append(7, one.n, one.tag, b"x") == place
    assert len(await all_of(a)) == 4
    last = await a.append(8, one.n, one.tag, b"z")
    assert last[0] == 5
    assert await a.append(7, one.n, one.tag, b"x") == last, (
        "who sends again what another log had sends what this one has"
    )
    assert len(await all_of(a)) == 5


async def test_nothing_is_appended_to_a_log_that_lacks_what_was_seen(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    for seen in ((one.n + 1, one.tag), (one.n, one.tag ^ 1)):
        error = await error_of(a.append(0, *seen, b"x"), Rewound)
        assert isinstance(error, Rewound)
        assert (error.first_n, error.end_n, error.end_tag) == (1, one.n, one.tag)
        await error_of(a.renew(*seen), Rewound)
    assert len(await all_of(a)) == 1


async def test_what_was_seen_long_ago_is_known(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    for batch in range(140):
        await a.append(batch, one.n, one.tag, b"")
    await a.append(140, one.n, one.tag, b"last")
    await error_of(a.append(141, one.n, one.tag ^ 1, b"x"), Rewound)


async def test_a_read_gives_a_bounded_number(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    for batch in range(40):
        await a.append(batch, one.n, one.tag, b"")
    assert [len(await a.read(0)), len(await a.read(32))] == [32, 9]


async def test_a_read_waits_for_news(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    reading = asyncio.create_task(_read(b, two.n))
    await asyncio.sleep(0)
    n, tag = await a.append(0, one.n, one.tag, b"news")
    assert [(entry.n, entry.data) for entry in await reading] == [(n, b"news")]
    assert await b.read(n) == []


async def _read(node: Backplane, after_n: int) -> list[Entry]:
    while not (entries := await node.read(after_n)):
        pass
    return entries


# --- leases -------------------------------------------------------------------------------------------------------


async def test_who_is_not_heard_of_is_gone(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    stage.pass_ms(1_500)
    await b.append(0, two.n, two.tag, b"")  # a sign of life at 1,500
    told = await a.renew(one.n, one.tag)
    for _ in range(5):
        stage.pass_ms(2_000)
        told = await a.renew(one.n, one.tag)
    assert [node.name for node in told.nodes] == ["a", "b"], "the lease is over when more than 10 s have passed"
    assert (told.clock_ms, told.end_n) == (11_500, 3)
    stage.pass_ms(1)
    told = await a.renew(one.n, one.tag)
    assert [(node.name, node.lease_until_ms) for node in told.nodes] == [("a", 21_501)]
    gone = (await all_of(a, 3))[0]
    assert (gone.n, gone.kind, gone.node, gone.incarnation, gone.at_ms) == (4, "gone", "b", two.incarnation, 11_501)
    fence, last_ms, voluntary = msgspec.msgpack.decode(gone.data)
    assert (fence, last_ms, voluntary) == (two.incarnation + 1, 1_500, False)
    for call in (b.append(1, 3, (await all_of(a, 2))[0].tag, b""), b.renew(two.n, two.tag)):
        error = await error_of(call, Fenced)
        assert isinstance(error, Fenced) and error.by == 0


async def test_who_is_late_and_not_declared_gone_goes_on(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    for _ in range(10):
        stage.pass_ms(2_000)
        assert (await a.renew(one.n, one.tag)).nodes[0].name == "a"
    b, two = await joined(stage, "b")
    for _ in range(8):
        stage.pass_ms(2_000)
        await b.append(0, two.n, two.tag, b"")
    await a.append(0, one.n, one.tag, b"")
    assert [node.name for node in (await b.renew(two.n, two.tag)).nodes] == ["a", "b"]


async def test_an_engine_that_stood_still_or_whose_clock_was_set_declares_nobody_dead(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    await joined(stage, "b")
    for ms in (3_600_000, -7_200_000, 3_600_000):
        stage.pass_ms(ms)
        told = await a.renew(one.n, one.tag)
        assert [node.name for node in told.nodes] == ["a", "b"]
    assert told.clock_ms == 4_000
    assert told.wall_offset_ms == stage.now_ms - 1_000


async def test_all_who_are_late_are_gone_at_once_and_have_fences_of_their_own(stage: Stage) -> None:
    lives = [await joined(stage, name) for name in "dcba"]
    a, one = lives[3]
    for _ in range(6):
        stage.pass_ms(2_000)
        await a.append(0, one.n, one.tag, b"")
    told = await a.renew(one.n, one.tag)
    assert [node.name for node in told.nodes] == ["a"]
    gone = await all_of(a, 5)
    assert [(entry.node, msgspec.msgpack.decode(entry.data)[0]) for entry in gone] == [("d", 5), ("c", 6), ("b", 7)]
    assert len({entry.tag for entry in gone}) == 3


async def test_leaving_is_told_once(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    stage.pass_ms(900)
    await b.leave()
    await b.leave()
    [gone] = await all_of(a, 2)
    assert (gone.kind, gone.node) == ("gone", "b")
    assert msgspec.msgpack.decode(gone.data) == [two.incarnation + 1, 900, True]
    await error_of(b.append(0, two.n, two.tag, b""), Fenced)
    again = await b.join("b", 2, 0, 77, b"")
    assert again.incarnation == two.incarnation + 2
    assert [node.name for node in again.nodes] == ["a", "b"]


# --- what is dropped ----------------------------------------------------------------------------------------------


async def test_what_all_have_read_is_dropped(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    places = [await a.append(batch, one.n, one.tag, b"") for batch in range(10)]
    await a.renew(*places[-1])
    await a.renew(*places[-1])
    assert len(await all_of(b, 1)) == 11, "b has read nothing since it joined"
    await b.renew(*places[4])
    assert [entry.n for entry in await all_of(b, places[4][0] - 1)][0] == places[4][0]
    error = await error_of(b.read(places[3][0] - 1), Rewound)
    assert isinstance(error, Rewound)
    assert (error.first_n, error.end_n, error.end_tag) == (places[4][0], *places[-1])
    # The entry that a node has told it has read stays, so that its log can be told from another one.
    await b.append(0, *places[4], b"")
    await error_of(b.append(1, places[4][0], places[4][1] ^ 1, b""), Rewound)


async def test_a_log_that_nobody_reads_is_bounded(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    for batch in range(200):
        place = await a.append(batch, one.n, one.tag, bytes(400))
        one = one._replace(n=place[0], tag=place[1])
    error = await error_of(b.read(two.n), Rewound)
    assert isinstance(error, Rewound)
    held = await all_of(b, error.first_n - 1)
    assert LOG_BYTES / 2 < sum(len(entry.data) + 64 for entry in held) <= LOG_BYTES
    assert held[-1].n == error.end_n == place[0]
    await error_of(b.append(0, two.n, two.tag, b""), Rewound)
    await error_of(b.renew(two.n, two.tag), Rewound)
    await a.append(200, *place, b"")


async def test_who_is_gone_is_fenced_though_what_they_read_is_dropped(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    place = (one.n, one.tag)
    for batch in range(150):
        place = await a.append(batch, *place, b"")
    await b.leave()
    await a.renew(*place)
    await error_of(b.append(0, two.n, two.tag, b""), Fenced)


async def test_another_log_is_no_fence_though_its_entry_is_dropped(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    place = await a.append(0, one.n, one.tag, b"")
    await b.leave()
    await a.renew(*place)
    await error_of(b.append(0, two.n, two.tag, b""), Fenced)
    await error_of(b.append(0, two.n, two.tag ^ 1, b""), Rewound)


# --- an engine that forgets ---------------------------------------------------------------------------------------


async def test_an_emptied_engine_is_noticed_and_begins_anew(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    stage.empty()
    await error_of(a.append(0, one.n, one.tag, b""), Emptied)
    await error_of(a.renew(one.n, one.tag), Emptied)
    again = await a.join("a", 2, one.incarnation, one.epoch, b"")
    assert again.history != one.history
    assert (again.incarnation, again.n, again.epoch, [node.name for node in again.nodes]) == (2, 1, 77, ["a"])
    await error_of(b.append(0, two.n, two.tag, b""), Emptied)
    await b.leave()
    assert len(await all_of(a)) == 1


async def test_a_log_is_read_from_its_beginning_by_those_alone_who_have_joined_it(stage: Stage) -> None:
    """The connection for reading may lead to an engine that holds another log, and the positions of all logs begin
    alike."""
    a, _ = await joined(stage, "a")
    stage.empty()
    b, _ = await joined(stage, "b")
    await error_of(a.read(0), Rewound)
    assert [entry.node for entry in await b.read(0)] == ["b"]


async def test_entries_are_read_behind_the_one_that_was_read_last_and_no_other(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    await error_of(b.read(one.n, two.tag), Rewound)
    assert [entry.node for entry in await b.read(one.n, one.tag)] == ["b"]


async def test_a_log_that_lost_its_end_is_noticed_by_whoever_has_read_it(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    shared = await a.append(0, one.n, one.tag, b"kept")
    kept = stage.keep()
    lost = await a.append(1, *shared, b"lost")
    assert (await all_of(a))[-1].n == (await all_of(b))[-1].n == lost[0]
    stage.put_back(kept)
    error = await error_of(a.append(2, *lost, b""), Rewound)
    assert isinstance(error, Rewound)
    assert (error.first_n, error.end_n, error.end_tag) == (1, *shared)
    await error_of(a.renew(*lost), Rewound)
    # Another one goes on from what is left: the position is taken, and the entry is not the one that a has read.
    other = await b.append(0, *shared, b"other")
    assert other[0] == lost[0] and other[1] != lost[1]
    await error_of(a.renew(*lost), Rewound)
    more = await b.append(1, *other, b"more")
    await error_of(a.read(*lost), Rewound)
    assert [entry.data for entry in await a.read(*shared)] == [b"other", b"more"]
    # It was the same life all along, and its lost batch can be sent again.
    assert (await a.append(1, *more, b"lost"))[0] == more[0] + 1


async def test_no_batch_follows_upon_one_that_was_lost_before_anybody_read_it(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    await a.append(3, one.n, one.tag, b"kept")
    kept = stage.keep()
    await a.append(4, one.n, one.tag, b"lost")
    stage.put_back(kept)
    error = await error_of(a.append(5, one.n, one.tag, b"next"), Rewound)
    assert isinstance(error, Rewound) and (error.first_n, error.end_n) == (1, 2)
    await a.append(4, one.n, one.tag, b"lost")
    await a.append(5, one.n, one.tag, b"next")
    assert [entry.data for entry in await all_of(a, 1)] == [b"kept", b"lost", b"next"]


async def test_a_join_that_was_lost_is_no_fence(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    kept = stage.keep()
    b, two = await joined(stage, "b")
    stage.put_back(kept)
    await error_of(b.append(0, two.n, two.tag, b""), Rewound)
    await error_of(b.renew(two.n, two.tag), Rewound)


# --- parcels ------------------------------------------------------------------------------------------------------


async def test_parcels_lie_beside_the_log(stage: Stage) -> None:
    a, one = await joined(stage, "a")
    b, two = await joined(stage, "b")
    await a.put_parcel(two.incarnation, 1, b"one")
    await a.put_parcel(two.incarnation, 2, b"two \x00")
    assert await b.take_parcel(two.incarnation, 1) == b"one"
    assert await b.take_parcel(two.incarnation, 1) == b"one", "the answer may have been lost"
    assert await b.take_parcel(two.incarnation, 2) == b"two \x00"
    assert await b.take_parcel(two.incarnation, 1) is None
    assert await b.take_parcel(two.incarnation, 3) is None
    assert len(await all_of(a)) == 2
