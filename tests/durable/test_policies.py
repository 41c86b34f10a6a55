"""Each durability policy does what `presenced serve --help` says of it, and no less."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from presenced.wire.messages import SetStatus, Watch
from tests.durable.killing import KillLoop
from tests.durable.node import Node
from tests.durable.swarm import DONE, PRESENCE, STATUS, TEXT, Peer, Swarm, ask, hello, opened, operator
from tests.support.until import until

SNAPSHOT_ALWAYS = {"SNAPSHOT_EVERY_MS": 10}


@pytest.mark.parametrize("policy", ["interval=200ms", "os"])
def test_a_crash_of_the_process_alone_loses_nothing_acknowledged(tmp_path: Path, policy: str) -> None:
    with Node(tmp_path, "--rate", "0", "--durability", policy) as node:
        loop = KillLoop(node, writers=40, seed=2)
        for _ in range(4):
            loop.round(acks_max=1_500)
        loop.last()
    assert loop.counts.lost == loop.counts.false_offline == 0


@pytest.mark.parametrize("policy", ["always", "interval=200ms", "os"])
def test_no_ack_before_the_write(tmp_path: Path, policy: str) -> None:
    with Node(tmp_path, "--durability", policy) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice, watcher = opened(swarm, "alice"), operator(swarm)
            ask(watcher, ["alice"], Watch)
            assert alice.answer(SetStatus(1, text="first"))[0] == DONE
            assert watcher.take(PRESENCE)[1][TEXT] == "first"
            node.held_path.touch()
            alice.send(SetStatus(2, text="second"))
            assert watcher.take(PRESENCE)[1][TEXT] == "second"
            assert not alice.told, "acknowledged before anything was written"
            node.held_path.unlink()
            assert alice.take(DONE)[1] == 2
            node.stop(swarm.drain)


@pytest.mark.parametrize("policy", ["interval=1ms", "os"])
def test_acks_do_not_wait_for_a_sync(tmp_path: Path, policy: str) -> None:
    # Where events are always recorded, the log is told at the start since when, and that would be the first batch.
    with Node(tmp_path, "--durability", policy, "--events", "followed") as node:
        node.stuck_path.touch()
        node.start()
        with Swarm(node.port) as swarm:
            # In one write, so that both are in the first batch and no sync can stand before them.
            alice = Peer(swarm)
            alice.send(hello("alice"), SetStatus(1, text="first"))
            assert alice.take(DONE)[1] == 1
            node.kill()
        node.stuck_path.unlink()
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert records["alice"][TEXT] == "first"


def test_an_interval_syncs_by_itself_and_os_does_not(tmp_path: Path) -> None:
    for policy, syncs in (("interval=50ms", True), ("os", False)):
        with Node(tmp_path / policy[:2], "--durability", policy) as node:
            node.start("-e", "trace=fdatasync,pwrite64")
            with Swarm(node.port) as swarm:
                alice = opened(swarm, "alice")
                for number in range(1, 20):
                    assert alice.answer(SetStatus(number, text=f"n{number}"))[0] == DONE

                def committer_synced(node: Node = node) -> bool:
                    main = node.trace()[0].split()[0]
                    others = [line for line in node.trace() if line.split()[0] != main]
                    return any(re.search(r"fdatasync.*= 0", line) for line in others)

                if syncs:
                    until(committer_synced, "the log was synced")
                else:
                    assert not committer_synced()
                node.kill()


def test_off_keeps_what_a_clean_stop_saved_and_nothing_later(tmp_path: Path) -> None:
    with Node(tmp_path, "--durability", "off") as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice, bob = opened(swarm, "alice"), opened(swarm, "bob")
            node.held_path.touch()
            # The disk takes nothing, and the ack comes: it promises nothing of the disk.
            assert alice.answer(SetStatus(1, text="saved", emoji="🌴"))[0] == DONE
            assert bob.answer(SetStatus(1, status="dnd"))[0] == DONE
            node.held_path.unlink()
            node.stop(swarm.drain)
        node.start()
        with Swarm(node.port) as swarm:
            before, epoch = ask(operator(swarm), ["alice", "bob"])
            assert before["alice"][TEXT] == "saved" and before["bob"][STATUS] == "dnd"
            alice = opened(swarm, "alice")
            assert alice.answer(SetStatus(1, text="lost"))[0] == DONE
            lost, _ = ask(operator(swarm), ["alice"])
            node.kill()
        node.start()
        with Swarm(node.port) as swarm:
            after, epoch_after = ask(operator(swarm), ["alice", "bob"])
            assert after["alice"][TEXT] == "saved" and after["bob"][STATUS] == "dnd"
            assert epoch_after == epoch and after["alice"][-1] > lost["alice"][-1]
            node.stop(swarm.drain)


def test_off_is_stopped_while_a_snapshot_is_under_way(tmp_path: Path) -> None:
    with Node(tmp_path, "--durability", "off", limits=SNAPSHOT_ALWAYS) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            node.held_path.touch()
            for number in range(1, 4):
                assert alice.answer(SetStatus(number, text=f"n{number}"))[0] == DONE
            node.signal(signal.SIGTERM)
            swarm.drain()
            node.held_path.unlink()
            assert node.wait() == 0, node.log()
        assert "given up" not in node.log()
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert records["alice"][TEXT] == "n3"
            node.stop(swarm.drain)
