"""A restart that nobody notices: who comes back is silent, who stays away goes once, and the answers stay the same."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from presenced.wire.messages import Bye, Get, SetDevice, SetStatus, Watch
from tests.durable.node import Node
from tests.durable.population import HOUR_MS, LONG_GRACE, people
from tests.durable.swarm import (
    DEVICE,
    DONE,
    EMOJI,
    LAST_SEEN,
    PRESENCE,
    SINCE,
    STATUS,
    TEXT,
    USER,
    VERSION,
    Frame,
    Peer,
    Swarm,
    ask,
    opened,
    operator,
)
from tests.support.until import until

GRACE_MS = 20_000
SPREAD_MS = 1_200
SHORT = {"RESTART_GRACE_MS": GRACE_MS, "RESTART_SPREAD_MS": SPREAD_MS}
CALM = ("--rate", "0", "--grace", f"{GRACE_MS}ms", "--check")


def without_versions(records: dict[str, Frame]) -> dict[str, Frame]:
    return {name: record[:VERSION] for name, record in records.items()}


def end(node: Node, how: str, swarm: Swarm) -> None:
    """Stop the daemon in order, or not; its links end with it."""
    if how == "stop":
        node.stop(swarm.drain)
    else:
        node.kill()
        swarm.drain()


def save(swarm: Swarm) -> None:
    """Return once all that came about so far is on disk. A hello is not acknowledged; facts are saved in order."""
    assert opened(swarm, "last").answer(SetStatus(1, text="saved"))[0] == DONE


def pushed(peer: Peer) -> list[Frame]:
    """The records that were pushed to a link so far."""
    return [got[1] for got in peer.told if got[0] == PRESENCE]


@pytest.mark.parametrize("ends", [("stop",), ("kill",), ("kill", "kill")], ids="-then-".join)
def test_nobody_notices_but_of_those_who_stay_away(tmp_path: Path, ends: tuple[str, ...]) -> None:
    everybody = people()
    names = [person.name for person in everybody]
    with Node(tmp_path, *CALM, limits=SHORT) as node:
        node.start()
        with Swarm(node.port) as swarm:
            for person in everybody:
                person.enter(swarm)
            before, epoch = ask(operator(swarm), names)
            save(swarm)
            for how in ends:
                end(node, how, swarm)
                node.start()
        with Swarm(node.port) as swarm:
            watcher = operator(swarm)
            after, epoch_after = ask(watcher, names)
            assert ask(watcher, names, Watch) == (after, epoch_after)
            assert without_versions(after) == without_versions(before)
            assert epoch_after == epoch
            back = [person for person in everybody if person.returns and person.kind != "left"]
            kept = [peer for person in back for peer in person.connect(swarm)]
            assert not pushed(watcher), "somebody was told of before any grace ended"
            gone = {person.name for person in everybody if person.visible and not person.returns}
            two_steps = {name for name in gone if name.startswith("twofold")}
            swarm.run(
                lambda: gone <= {record[USER] for record in pushed(watcher) if record[STATUS] == "offline"},
                "those who stayed away went",
            )
            settled, _ = ask(watcher, names)
            assert all(not peer.over for peer in kept)
    steps: dict[str, list[Frame]] = {}
    for record in pushed(watcher):
        steps.setdefault(record[USER], []).append(record)
    assert set(steps) == gone, "somebody changed who came back, or whom nobody could see"
    for name, records in steps.items():
        assert [record[STATUS] for record in records].count("offline") == 1
        assert len(records) == 1 or name in two_steps, records
        assert records[-1][LAST_SEEN] > 0
    ends_ms = sorted(records[-1][SINCE] for records in steps.values())
    assert ends_ms[-1] - ends_ms[0] >= SPREAD_MS / 2 and len(set(ends_ms)) >= 8, "they all went at once"
    for person in everybody:
        if person.name not in gone:
            assert settled[person.name] == after[person.name]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_said_in_grace_shows_at_once_and_bye_needs_no_grace(tmp_path: Path, how: str) -> None:
    with Node(tmp_path, *CALM, limits=LONG_GRACE) as node:
        node.start()
        with Swarm(node.port) as swarm:
            opened(swarm, "alice")
            opened(swarm, "bob")
            opened(swarm, "carol")
            save(swarm)
            end(node, how, swarm)
        node.start()
        with Swarm(node.port) as swarm:
            watcher = operator(swarm)
            ask(watcher, ["alice", "bob", "carol"], Watch)
            opened(swarm, "alice").send(Bye())
            gone = watcher.take(PRESENCE)[1]
            assert (gone[USER], gone[STATUS]) == ("alice", "offline")
            assert opened(swarm, "bob").answer(SetDevice(1, status="dnd"))[0] == DONE
            changed = watcher.take(PRESENCE)[1]
            assert (changed[USER], changed[STATUS]) == ("bob", "dnd")
            records, _ = ask(watcher, ["alice", "bob", "carol"])
            assert [records[name][STATUS] for name in ("alice", "bob", "carol")] == ["offline", "dnd", "online"]
            assert not pushed(watcher)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_came_due_while_nobody_ran_is_over_before_anybody_can_ask(tmp_path: Path, how: str) -> None:
    with Node(tmp_path, *CALM, limits=LONG_GRACE) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice, bob, carol = (opened(swarm, name) for name in ("alice", "bob", "carol"))
            assert alice.answer(SetStatus(1, status="dnd", for_ms=1_000))[0] == DONE
            assert bob.answer(SetStatus(1, text="back soon", emoji="🌴", for_ms=1_000))[0] == DONE
            assert carol.answer(SetStatus(1, status="xa", text="stays", for_ms=HOUR_MS))[0] == DONE
            due_s = time.time() + 1.0
            before, _ = ask(alice, ["alice", "bob", "carol"])
            assert before["alice"][STATUS] == "dnd" and before["bob"][TEXT] == "back soon"
            end(node, how, swarm)
        until(lambda: time.time() > due_s, "the second is over")
        node.start()
        with Swarm(node.port) as swarm:
            # In one write with the hello: no answer can come sooner.
            watcher = operator(swarm)
            records, _ = ask(watcher, ["alice", "bob", "carol"], Watch)
            assert records["alice"][STATUS] == "online"
            assert (records["bob"][TEXT], records["bob"][EMOJI]) == ("", "")
            assert (records["carol"][STATUS], records["carol"][TEXT]) == ("xa", "stays")
            assert records["alice"][VERSION] > before["alice"][VERSION]
            assert records["bob"][VERSION] > before["bob"][VERSION]
            assert watcher.answer(Get(9, ["alice"]))[4][0] == records["alice"]
            assert not pushed(watcher)


def test_a_device_that_was_gone_stays_gone(tmp_path: Path) -> None:
    with Node(tmp_path, "--grace", "100ms", "--check") as node:
        node.start()
        with Swarm(node.port) as swarm:
            watcher = operator(swarm)
            ask(watcher, ["alice"], Watch)
            opened(swarm, "alice").close()
            swarm.run(lambda: any(record[STATUS] == "offline" for record in pushed(watcher)), "alice's grace ended")
            before, _ = ask(watcher, ["alice"])
            save(swarm)
            node.kill()
        node.start()
        with Swarm(node.port) as swarm:
            after, _ = ask(operator(swarm), ["alice"])
            assert without_versions(after) == without_versions(before)
            assert after["alice"][DEVICE] == "" and after["alice"][LAST_SEEN] > 0


def test_no_version_goes_back_after_a_kill_however_quiet_the_next_run_is(tmp_path: Path) -> None:
    names = ["alice", "bob", "carol"]
    with Node(tmp_path, *CALM, limits=LONG_GRACE) as node:
        node.start()
        versions = [dict.fromkeys(names, 0)]
        for how in ("kill", "stop", "stop", "kill", "kill", "stop", "stop"):
            with Swarm(node.port) as swarm:
                if how == "kill":
                    opened(swarm, "bob")
                    save(swarm)
                else:
                    assert ask(operator(swarm), names)[0]["alice"][VERSION] == versions[-1]["alice"]
                end(node, how, swarm)
            node.start()
            with Swarm(node.port) as swarm:
                records, _ = ask(operator(swarm), names)
            versions.append({name: record[VERSION] for name, record in records.items()})
            if how == "stop":
                assert versions[-1] == versions[-2]
    assert all(after["bob"] >= before["bob"] for before, after in itertools.pairwise(versions)), versions
    assert versions[-1]["bob"] > 2**32


def test_who_was_in_grace_at_a_stop_was_not_seen_until_the_stop(tmp_path: Path) -> None:
    short = {"RESTART_GRACE_MS": 1_000, "RESTART_SPREAD_MS": 0}
    with Node(tmp_path, "--rate", "0", "--grace", "3s", "--check", limits=short) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            bob = opened(swarm, "bob")
            save(swarm)
            lost_ms = time.time_ns() // 1_000_000
            alice.close()
            # Alice's end is noticed before this is answered, and the clock shows another time then.
            while time.time_ns() // 1_000_000 < lost_ms + 50:
                ask(operator(swarm), ["alice"])
            ask(bob, ["alice"])
            end(node, "stop", swarm)
        node.start()
        with Swarm(node.port) as swarm:
            watcher = operator(swarm)
            seen: dict[str, int] = {}

            def both_are_gone() -> bool:
                records, _ = ask(watcher, ["alice", "bob"])
                seen.update({name: record[LAST_SEEN] for name, record in records.items()})
                return all(seen.values())

            swarm.run(both_are_gone, "both went offline")
    assert seen["alice"] <= lost_ms + 25 < seen["bob"]
