"""Snapshots and new segments all the time, under load, with a kill at any moment."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from presenced.wire.messages import SetStatus
from tests.durable.killing import KillLoop
from tests.durable.node import Node
from tests.durable.swarm import DONE, TEXT, Swarm, ask, number_of, opened, operator
from tests.support.until import until

ROUNDS = 10
OFTEN = {"SNAPSHOT_LOG_BYTES": 20_000, "SLEEP_AFTER_MS": 1}
ALWAYS = {"SNAPSHOT_EVERY_MS": 10}


def manifest_of(node: Node) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((node.data / "MANIFEST").read_bytes().splitlines()[0])
    return manifest


def check_files(node: Node) -> None:
    """Just started: what the manifest lists is there and nothing else, and that is little."""
    manifest = manifest_of(node)
    snapshots = [entry["name"] for entry in manifest["snapshots"]]
    segments = [f"wal-{entry['number']:010d}.log" for entry in manifest["segments"]]
    files = [name for name in node.files() if name.startswith(("snap-", "wal-"))]
    assert sorted(snapshots + segments) == files
    assert len(snapshots) <= 2
    if snapshots:
        # The log reaches back to the older one, and no further than that needs.
        oldest = manifest["snapshots"][-1]["start_seq"]
        first = manifest["segments"][0]
        assert first["first_seq"] <= oldest
        assert len(snapshots) == 1 or not first["end_seq"] or first["end_seq"] > oldest


def test_kill_at_any_moment_of_snapshots_and_rotations(tmp_path: Path) -> None:
    with Node(tmp_path, "--rate", "0", limits=OFTEN) as node:
        loop = KillLoop(node, writers=100, seed=3, at_start=check_files)
        for _ in range(ROUNDS):
            loop.round(acks_max=2_500)
        loop.last()
        manifest = manifest_of(node)
    assert loop.counts.lost == loop.counts.false_offline == 0
    assert manifest["clean"] and len(manifest["snapshots"]) == 2
    # Each start makes one new segment; all others were made for snapshots.
    snapshots = manifest["segments"][-1]["number"] - ROUNDS
    assert snapshots >= ROUNDS, f"only {snapshots} snapshots were taken: the test does not do what it says"


def test_snapshots_while_serving_leave_two_generations(tmp_path: Path) -> None:
    with Node(tmp_path, limits=ALWAYS) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            number = 0
            while manifest_of(node)["segments"][-1]["number"] < 8:
                number += 1
                assert alice.answer(SetStatus(number, text=f"{number}"))[0] == DONE

            def only_what_is_listed() -> bool:
                listed = {entry["name"] for entry in manifest_of(node)["snapshots"]}
                listed |= {f"wal-{entry['number']:010d}.log" for entry in manifest_of(node)["segments"]}
                return listed == {name for name in node.files() if name.startswith(("snap-", "wal-"))}

            until(only_what_is_listed, "the last snapshot was done and the old files were removed")
            check_files(node)
            node.kill()
        # The newest generation rots: the one before it and the log hold everything as well.
        newest = node.data / manifest_of(node)["snapshots"][0]["name"]
        rotten = bytearray(newest.read_bytes())
        rotten[-1] ^= 1
        newest.write_bytes(rotten)
        node.start()
        assert "going back to the one before" in node.log()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert records["alice"][TEXT] == f"{number}"
            node.stop(swarm.drain)


def test_a_snapshot_for_which_there_is_no_room_is_given_up(tmp_path: Path) -> None:
    with Node(tmp_path, limits=ALWAYS) as node:
        path = node.data / "snap-0000000002.prs.tmp"
        node.start("-P", str(path), "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC")
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            number = 0
            while not any(name.endswith(".prs") for name in node.files()):
                number += 1
                assert alice.answer(SetStatus(number, text=f"{number}"))[0] == DONE
            assert "the snapshot was given up" in node.log()
            assert not path.exists()
            node.kill()
        assert any("INJECTED" in line for line in node.trace())
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert records["alice"][TEXT] == f"{number}"
            node.stop(swarm.drain)


def test_stopped_while_a_snapshot_is_under_way(tmp_path: Path) -> None:
    with Node(tmp_path, limits=ALWAYS) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            number = 0
            while not any(name.endswith(".prs") for name in node.files()):
                number += 1
                assert alice.answer(SetStatus(number, text=f"{number}"))[0] == DONE
            node.held_path.touch()
            # The first begins a snapshot, if none is under way, that cannot end.
            alice.send(SetStatus(number + 1, text=f"{number + 1}"), SetStatus(number + 2, text=f"{number + 2}"))
            node.signal(signal.SIGTERM)
            swarm.drain()
            node.held_path.unlink()
            assert node.wait() == 0, node.log()
        assert manifest_of(node)["clean"]
        node.start()
        check_files(node)
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert int(records["alice"][TEXT]) >= number
            node.stop(swarm.drain)


def test_one_turn_with_more_facts_than_a_frame_may_hold(tmp_path: Path) -> None:
    """So many clients send so much at once that the facts of one turn exceed the largest frame."""
    links, each = 520, 64
    with Node(tmp_path, "--rate", "0") as node:
        node.start()
        with Swarm(node.port) as swarm:
            peers = [opened(swarm, f"user-{index:03d}") for index in range(links)]
            node.signal(signal.SIGSTOP)
            for peer in peers:
                peer.send(*(SetStatus(number, text=f"{number} " + "x" * 500) for number in range(1, each + 1)))
            node.signal(signal.SIGCONT)
            swarm.run(lambda: all(len(peer.told) == each for peer in peers), "all was acknowledged")
            # A disk that does not keep up with it may refuse some.
            acked = [max(got[1] for got in peer.told if got[0] == DONE) for peer in peers]
            node.kill()
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), [f"user-{index:03d}" for index in range(links)])
            kept = [number_of(records[f"user-{index:03d}"]) for index in range(links)]
            assert all(acknowledged <= number <= each for acknowledged, number in zip(acked, kept, strict=True))
