"""What clients see of a crash: a watch that is held across it tells of real changes only, and of no phantom."""

from __future__ import annotations

import asyncio
from pathlib import Path

from presenced import connect
from presenced.client import Change, Client
from presenced.wire.messages import SetStatus, Watch
from tests.durable.node import Node
from tests.durable.population import LONG_GRACE
from tests.durable.swarm import DONE, PRESENCE, TEXT, VERSION, Spectator, Swarm, ask, opened, operator


def url(node: Node, user: str) -> str:
    return f"presence://{user}@127.0.0.1:{node.port}/laptop"


async def test_a_watch_held_by_the_sdk_tells_of_real_changes_only(tmp_path: Path) -> None:
    users = ["alice", "bob", "carol", "dave"]
    with Node(tmp_path, limits=LONG_GRACE) as node:
        await asyncio.to_thread(node.start)
        clients: dict[str, Client] = {}
        for user in users:
            clients[user] = await connect(url(node, user))
            await clients[user].set_status("dnd" if user == "dave" else "online", text=f"text of {user}")
        spectator = await connect(url(node, "spectator"))
        async with spectator.watch(*users) as watch:
            first = [await anext(watch) for _ in users]
            assert {change.kind for change in first} == {"snapshot"}
            for life in range(2):
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.start)
                # Said while the link may be down or up: it is sent when it is up.
                await clients["bob"].set_text(f"bob in life {life}")
                seen: list[Change] = []
                while not seen or seen[-1].new.text != f"bob in life {life}":
                    seen.append(await asyncio.wait_for(anext(watch), 30))
                assert [(change.kind, change.user) for change in seen] == [("text", "bob")], seen
            # All come back, and each says one thing; nothing else may have been told before it.
            for user in ("alice", "carol", "dave"):
                await clients[user].set_text("last")
                change = await asyncio.wait_for(anext(watch), 30)
                assert (change.kind, change.user, change.new.text) == ("text", user, "last")
        for client in (*clients.values(), spectator):
            await client.close()
        await asyncio.to_thread(node.stop)


def test_a_change_that_was_pushed_and_never_saved_is_taken_back(tmp_path: Path) -> None:
    """Watchers are told before the disk is asked. If the process dies in between, what they hold never was."""
    with Node(tmp_path, limits=LONG_GRACE) as node:
        node.start()
        spectator = Spectator(["alice"])
        with Swarm(node.port) as swarm:
            assert opened(swarm, "alice").answer(SetStatus(1, text="saved"))[0] == DONE
            spectator.connect(swarm)
            node.kill()
            swarm.drain()
        for life in range(2):
            node.start()
            node.held_path.touch()
            with Swarm(node.port) as swarm:
                spectator.connect(swarm)
                alice = opened(swarm, "alice")
                alice.send(SetStatus(1, text=f"lost in life {life}"))
                swarm.run(lambda: spectator.view["alice"][TEXT].startswith("lost"), "the change was pushed")
                lost = spectator.view["alice"]
                node.kill()
                swarm.drain()
                assert not any(got[0] == DONE for got in alice.told), "acknowledged and not written"
            node.held_path.unlink()
            node.start()
            with Swarm(node.port) as swarm:
                watcher = operator(swarm)
                records, _ = ask(watcher, ["alice"], Watch)
                assert records["alice"][TEXT] == "saved"
                assert records["alice"][VERSION] > lost[VERSION]
                spectator.connect(swarm)
                assert spectator.view["alice"][TEXT] == "saved" and not spectator.faults
                assert not [got for got in watcher.told if got[0] == PRESENCE]
                node.kill()
                swarm.drain()
