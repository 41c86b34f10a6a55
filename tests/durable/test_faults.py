"""System calls that fail, lie or hang, injected into the real daemon with strace."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from presenced.wire.messages import Bye, Heartbeat, Ping, SetStatus, Watch
from tests.durable.faulting import DISK_FAILED, Fault, Template, make_template, run_fault
from tests.durable.node import Node
from tests.durable.swarm import (
    DONE,
    ERROR,
    GOODBYE,
    PONG,
    PRESENCE,
    STATUS,
    TEXT,
    USER,
    Peer,
    Swarm,
    ask,
    opened,
    operator,
)

AT_START = 2
"""An ordinal that is reached while the directory is opened."""
SERVING = 9
"""One that is reached only once writes are being acknowledged."""

FAULTS = [
    *(Fault(call, "EIO", AT_START) for call in ("pwrite64", "fdatasync", "fsync", "renameat", "openat")),
    *(Fault(call, "ENOSPC", AT_START) for call in ("pwrite64", "fdatasync", "renameat", "openat")),
    *(Fault(call, "kill", AT_START) for call in ("pwrite64", "fdatasync", "fsync", "renameat", "openat")),
    *(Fault(call, "EIO", SERVING) for call in ("pwrite64", "fdatasync")),
    *(Fault(call, "kill", SERVING) for call in ("pwrite64", "fdatasync")),
    Fault("pwrite64", "ENOSPC", SERVING, more=3),
    Fault("fdatasync", "ENOSPC", SERVING),
    Fault("pwrite64", "nothing written", 1),
    Fault("pwrite64", "nothing written", SERVING),
    Fault("fdatasync", "delay", SERVING, more=3),
    Fault("unlinkat", "EIO", 1),
    Fault("unlinkat", "kill", 1),
    Fault("ftruncate", "EIO", SERVING),
    Fault("ftruncate", "kill", SERVING),
]
DONE_BYTES = r"\x93\x43"
"""The head of a done message as strace writes it."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_costs_nothing_acknowledged(tmp_path: Path, template: Template, fault: Fault) -> None:
    outcome = run_fault(tmp_path, template, fault, seed=len(str(fault)))
    assert outcome.hit, "the fault was not reached, so nothing was tested"
    if fault.kind == "EIO" and fault.call != "unlinkat":
        assert outcome.status == DISK_FAILED
    if fault.kind == "ENOSPC" and fault.more:
        assert outcome.refusals and outcome.status is None


def test_the_first_failed_sync_is_the_end_and_nothing_is_acknowledged_after_it(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.start("-e", "trace=fdatasync,write", "-e", "inject=fdatasync:error=EIO:when=12")
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            acked = 0
            while not alice.over:
                assert acked < 100, "a sync failed, and the daemon went on"
                alice.send(SetStatus(acked + 1, text=f"n{acked + 1}"))
                swarm.run(lambda: alice.over or any(got[0] == DONE for got in alice.told), "it was answered or ended")
                if any(got[0] == DONE for got in alice.told):
                    acked += 1
                    alice.told.clear()
            assert node.wait() == DISK_FAILED
        lines = node.trace()
        failed = next(index for index, line in enumerate(lines) if "INJECTED" in line)
        assert any(DONE_BYTES in line for line in lines[:failed]) and acked
        assert not any(DONE_BYTES in line for line in lines[failed:])
        assert len([line for line in node.log().splitlines() if line.startswith("presenced: ")]) == 1
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert int(records["alice"][TEXT][1:]) in (acked, acked + 1)


def test_a_disk_that_fails_at_the_stop_is_told_of(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        # The first three are for the new directory, by the same thread; the fourth is the manifest of a clean stop.
        node.start("-e", "trace=renameat", "-e", "inject=renameat:error=EIO:when=4")
        with Swarm(node.port) as swarm:
            assert opened(swarm, "alice").answer(SetStatus(1, text="kept"))[0] == DONE
            node.signal(signal.SIGTERM)
            swarm.drain()
            assert node.wait() == DISK_FAILED
        assert any("INJECTED" in line for line in node.trace())
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert records["alice"][TEXT] == "kept"


def test_every_ack_comes_after_its_sync(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.start("-e", "trace=fdatasync,pwrite64,write")
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            for number in range(1, 40):
                assert alice.answer(SetStatus(number, text=f"n{number}"))[0] == DONE
            node.kill()
    acks, synced = 0, False
    for line in node.trace():
        if "pwrite64(" in line:
            synced = False
        elif re.search(r"fdatasync.*= 0", line):
            synced = True
        elif DONE_BYTES in line:
            assert synced, f"acknowledged before the sync: {line}"
            acks += 1
    assert acks == 39


def test_a_full_disk_refuses_what_must_last_and_nothing_else(tmp_path: Path) -> None:
    with Node(tmp_path, "--check") as node:
        node.start("-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC:when=9..11")
        with Swarm(node.port) as swarm:
            alice, watcher = opened(swarm, "alice"), operator(swarm)
            ask(watcher, ["alice", "bob"], Watch)
            number, answers = 0, []
            while not answers or answers[-1] == DONE:
                number += 1
                reply = alice.answer(SetStatus(number, text=f"n{number}"))
                answers.append(reply[0])
            assert reply[0] == ERROR and reply[2] == "read_only" and reply[4] > 0
            watcher.told.clear()
            # Presence needs no disk.
            bob = opened(swarm, "bob")
            assert watcher.take(PRESENCE)[1][:2] == ["bob", "online"]
            assert bob.answer(SetStatus(1, status="dnd"))[2] == "read_only"
            bob.send(Bye())
            assert watcher.take(PRESENCE)[1][:2] == ["bob", "offline"]
            assert alice.answer(Ping(number + 1))[0] == PONG
            while reply[0] == ERROR:
                number += 1
                reply = alice.answer(SetStatus(number, text=f"n{number}"))
            assert reply[0] == DONE
            node.kill()
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice", "bob"])
            assert records["alice"][TEXT] == f"n{number}"
            assert records["bob"][STATUS] == "offline"


def test_a_disk_that_hangs_delays_acks_and_nothing_else(tmp_path: Path) -> None:
    with Node(tmp_path, "--rate", "0", "--heartbeat", "200ms", "--grace", "100ms") as node:
        node.start("-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_exit=1s:when=9+")
        with Swarm(node.port) as swarm:
            alice, carol, watcher = opened(swarm, "alice"), opened(swarm, "carol"), operator(swarm)
            peers = [alice, carol, watcher]
            number = 0
            watcher.send(Watch(1, ["alice", "carol"]))
            while True:
                number += 1
                alice.told.clear()
                alice.send(SetStatus(number, text=f"n{number}"))
                _beat_until(swarm, peers, watcher, f"n{number}")
                # The watcher has been told. Now carol asks something, and is answered before or after alice's ack.
                carol.send(Ping(number))
                _beat(swarm, peers, carol, PONG)
                hangs = not any(got[0] == DONE for got in alice.told)
                _beat(swarm, peers, alice, DONE)
                if hangs and any("DELAYED" in line for line in node.trace()):
                    break
                assert number < 100, "the disk never hung"
            assert not any(peer.over for peer in peers)
            assert not any(got[0] == GOODBYE for peer in peers for got in peer.told)
            assert not any(got[0] == PRESENCE and got[1][STATUS] == "offline" for got in watcher.told)
            node.kill()


def _beat(swarm: Swarm, peers: list[Peer], peer: Peer, kind: int) -> None:
    """Keep all links alive until one of them is told a frame of this kind; forget it."""

    def told() -> bool:
        for each in peers:
            each.send(Heartbeat())
        return any(got[0] == kind for got in peer.told)

    swarm.run(told, f"a frame {kind} came")
    peer.told[:] = [got for got in peer.told if got[0] != kind]


def _beat_until(swarm: Swarm, peers: list[Peer], watcher: Peer, text: str) -> None:
    def told() -> bool:
        for each in peers:
            each.send(Heartbeat())
        return any(got[0] == PRESENCE and got[1][USER] == "alice" and got[1][TEXT] == text for got in watcher.told)

    swarm.run(told, f"the watcher was told {text}")
