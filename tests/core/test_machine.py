"""Random lives of users, devices and watchers, held after each step against a slow twin that only compares times."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from presenced.core.model import CONNECTED, GONE
from presenced.wire.messages import Get, Heartbeat, SetDevice, SetStatus, Unwatch, Watch, Who
from tests.core.twin import POLICY, ROUND_MS, STEP_MS, STEPS_MAX, Twin
from tests.core.world import FakeLink, World

USERS = ("alice", "bob", "carol")
DEVICES = ("laptop", "phone", "tool")
ROOT = Path(__file__).parents[2]

users = st.sampled_from(USERS)
lists_of_users = st.lists(st.sampled_from((*USERS, "nobody")), min_size=1, max_size=4)
rounds = st.integers(0, 14)
idle_ms = st.none() | rounds.map(lambda n: n * ROUND_MS) | st.just(0)
lasting_ms = st.just(0) | st.integers(1, 6).map(lambda n: n * ROUND_MS)
device_statuses = st.sampled_from(("dnd", "chat", "online", "away", "xa"))
priorities = st.sampled_from((0, 0, 0, 5, -1))
manual = st.none() | st.sampled_from(("dnd", "chat", "online", "away", "xa", "offline", "auto"))
words = st.none() | st.sampled_from(("", "lunch", "holiday"))
pick = st.integers(0, 1_000)


class Lives(RuleBasedStateMachine):
    """Each step is taken `STEP_MS` after the last, so that no input falls into the tolerance of a deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(POLICY)
        self.twin = Twin()
        self.links: list[FakeLink] = []
        self.steps = 0

    def step(self, rounds: int = 0) -> int:
        self.steps += 1
        assert self.steps < STEPS_MAX, "deadlines of different steps may meet"
        self.world.advance(rounds * ROUND_MS + STEP_MS)
        self.links = [link for link in self.links if link.open]
        self.compare()
        return self.world.now_ms

    def compare(self) -> None:
        now_ms = self.world.now_ms
        for name in USERS:
            user = self.world.engine.users.get(name)
            if user is not None:
                self.twin.compare(user.record, now_ms)
                for device_id, device in user.devices.items():
                    known = self.twin.user(name).devices[device_id]
                    assert (device.state == CONNECTED) == known.connected(now_ms)
                    assert (device.state != GONE) == known.live(now_ms)
            else:
                assert self.twin.user(name).status(now_ms) == "offline"

    def link(self, number: int, *, with_device: bool = False) -> FakeLink | None:
        open_links = [x for x in self.links if x.open and (x.session.device is not None or not with_device)]
        return open_links[number % len(open_links)] if open_links else None

    def heard(self, link: FakeLink) -> None:
        device = link.session.device
        if device is not None:
            self.twin.user(device.user.name).devices[device.id].heard_ms = self.world.now_ms

    # --- links ------------------------------------------------------------------------------------------------

    @rule(user=users, device=st.sampled_from(DEVICES), idle=idle_ms, priority=priorities, status=device_statuses)
    def come(self, user: str, device: str, idle: int | None, priority: int, status: str) -> None:
        now_ms = self.step()
        self.twin.attach(now_ms, user, device, status, priority, idle)
        address = f"{user}/{device}"
        link = self.world.open(address, idle_ms=idle, priority=priority, status=status)  # type: ignore[arg-type]
        self.links.append(link)
        self.compare()

    @precondition(lambda self: len(self.links) < 12)
    @rule(watched=lists_of_users)
    def come_to_watch(self, watched: list[str]) -> None:
        self.step()
        app = self.world.open("app", role="service")
        app.watch(*watched)
        self.links.append(app)

    @rule(number=pick)
    def lose(self, number: int) -> None:
        now_ms = self.step()
        link = self.link(number)
        if link is not None:
            device = link.session.device
            if device is not None:
                self.twin.user(device.user.name).devices[device.id].lost_ms = now_ms
            link.lose()
            self.compare()

    @rule(number=pick)
    def say_bye(self, number: int) -> None:
        self.step()
        link = self.link(number)
        if link is not None:
            device = link.session.device
            if device is not None:
                self.twin.user(device.user.name).devices[device.id].left = True
            link.bye()
            self.compare()

    @rule(number=pick, idle=idle_ms)
    def beat(self, number: int, idle: int | None) -> None:
        now_ms = self.step()
        link = self.link(number)
        if link is not None:
            device = link.session.device
            if device is not None:
                self.twin.report(now_ms, self.twin.user(device.user.name).devices[device.id], idle)
            link.beat(idle)
            self.compare()

    # --- what people say --------------------------------------------------------------------------------------

    @rule(number=pick, status=manual, text=words, emoji=st.none() | st.just("*"), for_ms=lasting_ms)
    def set_status(self, number: int, status: str | None, text: str | None, emoji: str | None, for_ms: int) -> None:
        now_ms = self.step()
        link = self.link(number, with_device=True)
        if link is not None:
            self.twin.say(now_ms, link.session.user_name, status, text, emoji, for_ms)
            self.input(link)
            link.say(SetStatus(link.next_id(), status, text, emoji, for_ms))  # type: ignore[arg-type]
            self.world.turn()
            self.compare()

    @rule(number=pick, status=st.none() | device_statuses, priority=st.none() | priorities)
    def set_device(self, number: int, status: str | None, priority: int | None) -> None:
        self.step()
        link = self.link(number, with_device=True)
        if link is not None:
            device = self.input(link)
            device.status = status or device.status
            device.priority = device.priority if priority is None else priority
            link.say(SetDevice(link.next_id(), status, priority))  # type: ignore[arg-type]
            self.world.turn()
            self.compare()

    def input(self, link: FakeLink):  # type: ignore[no-untyped-def]
        assert link.session.device is not None
        device = self.twin.user(link.session.user_name).devices[link.session.device.id]
        device.heard_ms = device.active_ms = device.said_ms = self.world.now_ms
        return device

    # --- watching ---------------------------------------------------------------------------------------------

    @rule(number=pick, names=lists_of_users, what=st.sampled_from((Watch, Watch, Unwatch, Get)))
    def ask(self, number: int, names: list[str], what: type) -> None:
        self.step()
        link = self.link(number)
        if link is not None:
            self.heard(link)
            link.say(what(link.next_id(), names))
            link.say(Who(link.next_id()))
            self.world.turn()

    @rule(number=pick)
    def stall(self, number: int) -> None:
        self.step()
        link = self.link(number)
        if link is not None:
            link.stall()

    @rule(number=pick)
    def drain(self, number: int) -> None:
        self.step()
        link = self.link(number)
        if link is not None:
            link.drain()
            self.converged(link)

    # --- time -------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 14))
    def let_time_pass(self, count: int) -> None:
        self.step(count)

    @rule(count=st.integers(1, 4))
    def let_time_pass_with_heartbeats(self, count: int) -> None:
        for _ in range(count):
            self.step(1)
            for link in self.links:
                self.heard(link)
                link.beat()

    def converged(self, link: FakeLink) -> None:
        for name in link.watched:
            user = self.world.engine.users[name]
            if not user.push_waits:
                assert link.view[name] == user.record, f"{link.session.user_name} is not told of {user.record}"

    def teardown(self) -> None:
        """After a quiet while everybody who reads knows the truth, and when all have left nothing is kept for them."""
        for link in self.links:
            if link.open and not link.reading:
                link.drain()
        self.world.advance(1_000)
        self.links = [link for link in self.links if link.open]
        for link in self.links:
            if link.reading:
                assert all(not self.world.user(name).push_waits for name in link.watched)
                self.converged(link)
        for link in self.links:
            link.lose()
        self.world.advance(20 * ROUND_MS)
        assert self.world.engine.leases.live == 0 and len(self.world.engine.publisher.online) == 0
        assert "nobody" not in self.world.engine.users
        assert len(self.world.engine.wheel) == 0


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def play(seed: int, steps: int = 400) -> bytes:
    """A random life by one seed, without any residue kept; gives everything that was sent, in order."""
    dice = random.Random(seed)
    world = World()
    links: list[FakeLink] = []
    for _ in range(steps):
        links = [link for link in links if link.open]
        if len(links) < 4 or dice.random() < 0.15:
            name = f"user{dice.randrange(20)}"
            address = name if dice.random() < 0.3 else f"{name}/{dice.choice(DEVICES)}"
            links.append(world.open(address, role="service", idle_ms=dice.choice((None, 0, 200_000))))
            links[-1].watch(*(f"user{dice.randrange(25)}" for _ in range(8)))
        link = dice.choice([link for link in links if link.open])
        choice = dice.randrange(8)
        if choice == 0:
            dice.choice((link.lose, link.bye, link.stall))()
        elif choice == 1:
            link.drain()
        elif choice == 2:
            world.advance(dice.choice((50, 1_000, 20_000, 70_000)))
        elif choice == 3:
            link.say(SetDevice(link.next_id(), dice.choice(("dnd", "online")), dice.choice((0, 1, -1))))
        elif choice < 6:
            link.say(
                SetStatus(link.next_id(), dice.choice(("dnd", "auto", "offline")), dice.choice("abc"), for_ms=9_000)
            )
        else:
            link.say(Heartbeat(dice.choice((None, 0, 400_000))))
        if dice.random() < 0.7:
            world.turn()
    world.advance(100_000)
    return b"\n".join(world.transcript)


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert play(1) == play(1)
    assert play(1) != play(2)


def test_the_bytes_do_not_depend_on_the_interpreters_hash_seed() -> None:
    script = "import hashlib; from tests.core.test_machine import play; print(hashlib.sha256(play(3)).hexdigest())"
    digests = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.append(done.stdout)
    assert digests[0] == digests[1] and len(digests[0].strip()) == 64
