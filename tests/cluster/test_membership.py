"""A server that becomes a node, on a real loop over the fake backplane: what it decides before it serves itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cluster.memberships import Joining, new_engine
from tests.support.until import eventually

NAMES = [f"user{number}" for number in range(450)]
"""More than a node says in one go that it is their home."""


async def joined_by_a_knower(*, asks_behind_ready: bool) -> tuple[Joining, Joining, str]:
    """A node that serves, and one that joins it with users whom its own disk alone knows. A service at the first asks
    for one of these before the other serves, or in the entry behind that which says that it does."""
    engine = new_engine()
    first, second = Joining(engine, "first"), Joining(engine, "second")
    await first.membership.join()
    second.know(NAMES, "old")
    may_append, may_read = asyncio.Event(), asyncio.Event()
    append, read = second.backplane.append, second.backplane.read
    appends = 0

    async def held_append(*args: Any) -> tuple[int, int]:
        nonlocal appends
        appends += 1
        if appends > 1:
            await may_append.wait()
        return await append(*args)

    async def held_read(after_n: int) -> Any:
        entries = await read(after_n)
        if appends > 1 and entries and not may_read.is_set():
            await may_read.wait()
            entries += await read(entries[-1].n)
        return entries

    second.backplane.append = held_append  # type: ignore[method-assign]
    if asks_behind_ready:
        second.backplane.read = held_read  # type: ignore[method-assign]
    joining = asyncio.create_task(second.membership.join())
    known = first.membership._node
    assert known is not None
    await eventually(lambda: appends > 1 and len(known.homes))
    name = next(name for name in NAMES if known.homes.of(name).name == "second")
    if asks_behind_ready:
        may_append.set()
        await eventually(lambda: known.nodes.registrar.name == "first" and all(one.is_ready for one in known.nodes))
    entries = known.position
    first.say(7, name, "new")
    await eventually(lambda: known.position > entries)
    if not asks_behind_ready:
        second_known = second.membership._node
        assert second_known is not None and not second_known.is_ready
        await eventually(lambda: second.text_of(name) == "new")
        assert not joining.done()
    may_append.set()
    may_read.set()
    await joining
    return first, second, name


@pytest.mark.parametrize("asks_behind_ready", [False, True], ids=["before it serves", "as it begins to"])
async def test_what_a_node_decides_for_others_before_it_serves_itself_all_nodes_know(asks_behind_ready: bool) -> None:
    first, second, name = await joined_by_a_knower(asks_behind_ready=asks_behind_ready)
    try:
        await eventually(lambda: first.answered)
        assert (second.text_of(name), first.text_of(name)) == ("new", "new")
        assert not first.failures and not second.failures
    finally:
        await second.membership.leave()
        await first.membership.leave()
