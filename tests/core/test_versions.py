"""Versions run with the clock: what somebody does moves no number that those can read who are not told of it."""

from __future__ import annotations

import random
from itertools import pairwise
from unittest.mock import patch

import pytest

from presenced.core.ledger import Ledger
from presenced.core.policy import Policy
from presenced.core.records import RecordSet, TextSet
from presenced.limits import VERSION_GAP
from presenced.wire.messages import (
    Done,
    Get,
    GetMembers,
    MembersPage,
    Records,
    SetAudience,
    SetStatus,
    ShowTo,
    Watch,
    Who,
    WhoPage,
)
from tests.core.world import START_MS, FakeLink, World

STEPS = 15
STEP_MS = 1_000


class Carol:
    """Somebody whom the viewer does not watch: she comes, says much, and goes, at moments of her own."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.links: dict[str, FakeLink] = {}

    def live(self, ms: int) -> None:
        """Let so much time pass, and be gone at its end."""
        end_ms = self.world.now_ms + ms
        for _ in range(self.dice.randrange(6)):
            self.world.advance(self.dice.randrange(end_ms - self.world.now_ms))
            self.act()
        for link in self.links.values():
            link.bye()
        self.links.clear()
        self.world.advance(end_ms - self.world.now_ms)

    def act(self) -> None:
        device = self.dice.choice(("laptop", "phone"))
        if device not in self.links:
            self.links[device] = self.world.open(f"carol/{device}")
            self.links[device].join(f"carol/{device}", "attic")
        for _ in range(self.dice.randrange(1, 5)):
            self.links[device].set_status(self.dice.choice(("dnd", "away", "auto")), text=self.dice.choice("abcd"))


def seen(seed: int, *, carol_acts: bool) -> list[bytes]:
    """All that bob is told, who watches alice, a room and himself, while carol lives her life or does not."""
    world = World()
    dice = random.Random(seed)
    carol = Carol(world, seed)
    for device in ("laptop", "phone"):
        # She is known in both worlds.
        world.open(f"carol/{device}").bye()
    alice = world.open("alice/laptop")
    bob = world.open("bob/laptop")
    alice.join("alice/laptop", "general")
    bob.watch("alice", "bob")
    bob.watch_channel("general")
    bob.forget()
    for _ in range(STEPS):
        if carol_acts:
            carol.live(STEP_MS)
        else:
            world.advance(STEP_MS)
        if dice.random() < 0.6:
            alice.set_status(dice.choice(("dnd", "away", "auto", "offline")), text=dice.choice("abcd"))
        bob.say(Get(bob.next_id(), ["alice", "nobody"]))
        bob.say(Who(bob.next_id()))
        bob.say(GetMembers(bob.next_id(), "general"))
        bob.say(Watch(bob.next_id(), ["alice"]))
        bob.set_status(dice.choice(("dnd", "away")), text=dice.choice("abcd"))
    return bob.raw


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_somebody_else_does_moves_what_a_viewer_is_told(seed: int) -> None:
    told = seen(seed, carol_acts=False)
    assert seen(seed, carol_acts=True) == told and len(told) > 5 * STEPS


def test_a_count_of_changes_would_tell() -> None:
    def count(ledger: Ledger, before: int) -> int:
        ledger.version += 1
        return ledger.version

    with patch.object(Ledger, "reach", lambda ledger, now_ms: None), patch.object(Ledger, "next_version", count):
        assert seen(0, carol_acts=True) != seen(0, carol_acts=False)


def test_the_counter_is_the_time_since_the_start_in_every_answer() -> None:
    """No turn runs between the passing of time and an answer: it must not matter when the last one was."""
    world = World()
    bob = world.open("bob/laptop")
    told: dict[int, int] = {}
    for number, ms in enumerate((0, 1, 7, 1_000, 20_000)):
        world.now_ms += ms
        asked = [Get(10 * number + 1, ["carol"]), Who(10 * number + 2), GetMembers(10 * number + 3, "general")]
        for question in asked:
            bob.say(question)
            told[question.id] = world.now_ms - START_MS
        # These are answered at the end of the turn.
        bob.say(SetStatus(10 * number + 4, text=str(ms)))
        bob.say(Get(10 * number + 5, ["bob"]))
        world.now_ms += 3
        world.turn()
        told[10 * number + 4] = told[10 * number + 5] = world.now_ms - START_MS
    answers = [answer for answer in bob.messages if isinstance(answer, Done | Records | WhoPage | MembersPage)]
    assert {answer.id: answer.version for answer in answers} == told


def test_the_versions_of_one_user_rise_within_a_millisecond() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/laptop")
    versions = [world.record("alice").version]
    for text in "abc":
        alice.set_status("dnd", text=text)
        versions.append(world.record("alice").version)
    assert all(after == before + 1 for before, after in pairwise(versions))
    bob.set_status("dnd")
    assert world.record("bob").version < versions[-1], "another user's changes count"
    world.advance(1_000)
    alice.set_status("away")
    bob.set_status("away")
    assert world.record("bob").version == world.record("alice").version == world.engine.ledger.version


def test_an_answer_contains_every_change_with_a_lower_version() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/laptop")
    bob.watch("alice")
    dice = random.Random(5)
    for number in range(100):
        world.advance(dice.choice((0, 0, 1, 50)))
        answer = bob.expect(Get(bob.next_id(), ["alice"]), Records)
        bob.forget()
        alice.set_status(text=str(number))
        assert world.record("alice").version >= answer.version
    world.advance(10_000)
    assert bob.expect(Get(bob.next_id(), ["alice"]), Records).version > world.record("alice").version


def test_records_keep_the_order_of_their_versions_over_a_kill_above_all_that_were_told() -> None:
    world = World()
    for name in ("alice", "bob", "carol"):
        world.open(f"{name}/laptop").set_status(text=name)
        world.advance(10)
    told = world.engine.ledger.version
    killed = world.restarted(version_gap=VERSION_GAP)
    before, above = ({name: one.record(name).version for name in ("alice", "bob", "carol")} for one in (world, killed))
    assert {name: version - above["alice"] for name, version in above.items()} == {
        name: version - before["alice"] for name, version in before.items()
    }
    assert above["alice"] > told + VERSION_GAP - 1_000
    assert killed.engine.ledger.version == above["carol"] + 1
    killed.advance(5)
    killed.open("bob/laptop").set_status(text="back")
    assert killed.record("bob").version > above["bob"]
    again = killed.restarted()
    assert again.record("alice").version == above["alice"]
    assert again.record("bob").version == killed.record("bob").version <= again.engine.ledger.version


def test_what_is_told_after_a_stop_is_not_below_what_was_told_before() -> None:
    ledger = Ledger(1, 500)
    ledger.reach(800)
    ledger.reach(700)
    assert ledger.version == 300
    after = Ledger(2, 90)
    after.continue_from(1, ledger.version, 100)
    after.raise_version(305, 110)
    assert (after.epoch, after.version) == (1, 310)
    after.raise_version(400, 110)
    after.reach(125)
    assert after.version == 415


def test_the_least_version_of_what_the_log_is_still_to_be_given_follows_each_fact_and_ends_with_the_turn() -> None:
    ledger = Ledger(1, 0)
    ledger.raise_version(50, 0)
    told = []
    for version in (70, 30, 40):
        ledger.add(RecordSet("alice", "online", 0, 0, "", version))
        ledger.add(TextSet("alice", "", "", 0))
        told.append(ledger.least)
    assert told == [50, 30, 30]
    ledger.take_facts()
    assert ledger.least == 50
    ledger.add(RecordSet("alice", "online", 0, 0, "", 45))
    assert ledger.least == 45


def test_a_record_of_another_face_is_above_what_was_answered_in_the_same_millisecond() -> None:
    """The client ignores a record whose version is not higher than that of the answer."""
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.watch("alice")
    alice.done(ShowTo(alice.next_id(), "bob"))
    world.advance(1_000)
    shown = bob.get("alice")
    assert shown.version == world.engine.ledger.version
    alice.bye()
    assert [(record.status, record.version > shown.version) for record in bob.pushes][-1] == ("offline", True)


def test_a_record_of_another_face_is_above_what_was_told_by_the_one_before() -> None:
    """The changes of one millisecond run ahead of the counter, and one that both faces show comes with the other."""
    world = World(Policy(change_spacing_ms=0))
    alice, bob, carol = (world.open(f"{name}/laptop") for name in ("alice", "bob", "carol"))
    alice.done(SetAudience(alice.next_id(), never=["carol"]))
    for link in (bob, carol):
        link.watch("alice")
    world.advance(1_000)
    for number in range(5):
        alice.set_status(text=f"text {number}")
    told = bob.pushes[-1].version
    assert told == world.engine.ledger.version + 4 and not carol.pushes
    alice.say(SetAudience(alice.next_id(), text="nobody", never=["bob", "carol"]))
    alice.set_status("dnd")
    assert (bob.pushes[-1].status, bob.pushes[-1].text) == ("dnd", "") and bob.pushes[-1].version > told
