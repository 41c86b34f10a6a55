"""Random lives of users, devices, services and watchers, held after each step against a slow twin of plain facts."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from presenced.core.model import CONNECTED, GONE
from presenced.wire.messages import (
    AddClaim,
    Attach,
    Detach,
    Done,
    EndClaim,
    Error,
    Follow,
    Get,
    Join,
    Leave,
    SetDevice,
    SetStatus,
    Touch,
    Unwatch,
    Watch,
    WatchChannel,
    Who,
)
from tests.core.twin import POLICY, ROUND_MS, STEP_MS, STEPS_MAX, Twin, TwinDevice
from tests.core.world import START_MS, WALL_MS, FakeLink, World
from tests.support.tiers import samples

USERS = ("alice", "bob", "carol")
DEVICES = ("laptop", "phone", "tool")
CHANNELS = ("general", "side")

users = st.sampled_from(USERS)
lists_of_users = st.lists(st.sampled_from((*USERS, "nobody")), min_size=1, max_size=4)
rounds = st.integers(0, 14)
idle_ms = st.none() | rounds.map(lambda n: n * ROUND_MS) | st.just(0)
lasting_ms = st.just(0) | st.integers(1, 6).map(lambda n: n * ROUND_MS)
device_statuses = st.sampled_from(("dnd", "chat", "online", "away", "xa"))
priorities = st.sampled_from((0, 0, 0, 5, -1))
manual = st.none() | st.sampled_from(("dnd", "chat", "online", "away", "xa", "offline", "auto"))
claim_names = st.sampled_from(("manual", "meeting", "trip"))
sources = st.sampled_from(("call", "manual", "calendar"))
claimed = st.sampled_from(("dnd", "chat", "online", "away", "xa", "offline"))
channels = st.sampled_from(CHANNELS)
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
        self.numbers = 0
        """The clients that there were, each with a number of its own."""

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
                self.twin.compare_times(user.record, now_ms, WALL_MS - START_MS)
                for device_id, device in user.devices.items():
                    known = self.twin.user(name).devices[device_id]
                    assert (device.state == CONNECTED) == known.connected(now_ms)
                    assert (device.state != GONE) == known.live(now_ms)
            else:
                assert self.twin.user(name).status(now_ms) == "offline"
        for name in CHANNELS:
            channel = self.world.engine.channels.by_name.get(name)
            there = {member: self.world.record(member).status for member in channel.online} if channel else {}
            assert there == self.twin.members(now_ms, name)

    def link(self, number: int, *, with_device: bool = False) -> FakeLink | None:
        open_links = [x for x in self.links if x.open and (x.session.device is not None or not with_device)]
        return open_links[number % len(open_links)] if open_links else None

    def service(self, number: int) -> FakeLink | None:
        found = [link for link in self.links if link.session.device is None]
        return found[number % len(found)] if found else None

    def held(self, link: FakeLink) -> dict[int, TwinDevice]:
        """What a service holds, by its refs."""
        refs = link.session.refs or {}
        return {ref: self.twin.user(device.user.name).devices[device.id] for ref, device in refs.items()}

    def ask_for(self, app: FakeLink, message: Attach | Detach, granted: bool) -> None:
        """A request, and what it is answered with if the link reads."""
        if app.reading and not app.unread:
            assert isinstance(app.ask(message), Done if granted else Error)
        else:
            app.say(message)
            self.world.turn()

    def heard(self, link: FakeLink) -> None:
        device = link.session.device
        if device is not None:
            self.twin.user(device.user.name).devices[device.id].heard_ms = self.world.now_ms

    # --- links ------------------------------------------------------------------------------------------------

    @rule(user=users, device=st.sampled_from(DEVICES), idle=idle_ms, priority=priorities, status=device_statuses)
    def come(self, user: str, device: str, idle: int | None, priority: int, status: str) -> None:
        now_ms = self.step()
        self.numbers += 1
        self.twin.attach(now_ms, user, device, status, priority, idle, holder=self.numbers)
        said = {"idle_ms": idle, "priority": priority, "status": status, "instance": self.numbers}
        link = self.world.open(f"{user}/{device}", **said)  # type: ignore[arg-type]
        self.links.append(link)
        self.compare()

    @rule(number=pick)
    def take_over(self, number: int) -> None:
        """Another program comes for a device that one has told of, perhaps, and tells nothing."""
        link = self.link(number)
        if link is not None and (device := link.session.device) is not None:
            self.come(device.user.name, device.id, None, device.priority, device.status)

    @precondition(lambda self: len(self.links) < 12)
    @rule(watched=lists_of_users, came_back=st.integers(0, 3))
    def come_to_watch(self, watched: list[str], came_back: int) -> None:
        self.step()
        self.numbers += 1
        # One of the clients from before on another link, or a new one.
        number = came_back if 0 < came_back < self.numbers else self.numbers
        app = self.world.open("app", role="service", instance=number)
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
            for held in self.held(link).values():
                held.lost_ms = now_ms
            link.lose()
            self.compare()

    @rule(number=pick)
    def say_bye(self, number: int) -> None:
        now_ms = self.step()
        link = self.link(number)
        if link is not None:
            device = link.session.device
            if device is not None:
                self.twin.user(device.user.name).devices[device.id].leave(self.world.now_ms)
            for held in self.held(link).values():
                held.lost_ms = now_ms
            link.bye()
            self.compare()

    @rule(number=pick, idle=idle_ms)
    def beat(self, number: int, idle: int | None) -> None:
        now_ms = self.step()
        link = self.link(number)
        if link is not None:
            device = link.session.device
            if device is not None:
                self.twin.report(now_ms, device.user.name, self.twin.user(device.user.name).devices[device.id], idle)
            link.beat(idle)
            self.compare()

    # --- services ---------------------------------------------------------------------------------------------

    @rule(
        number=pick,
        user=users,
        device=st.sampled_from(DEVICES),
        ref=st.integers(1, 3),
        idle=idle_ms,
        status=device_statuses,
        priority=priorities,
        again=st.booleans(),
    )
    def attach(
        self, number: int, user: str, device: str, ref: int, idle: int | None, status: str, priority: int, again: bool
    ) -> None:
        now_ms = self.step()
        app = self.service(number)
        if app is None:
            return
        before = (app.session.refs or {}).get(ref)
        used = self.held(app).get(ref)
        holder = app.session.instance
        granted = self.twin.attach(now_ms, user, device, status, priority, idle, holder=holder, again=again)
        if granted and used is not None and before is not None and (before.user.name, before.id) != (user, device):
            used.leave(self.world.now_ms)
        message = Attach(app.next_id(), ref, user, device, "", "", priority, status, idle, again, again)  # type: ignore[arg-type]
        self.ask_for(app, message, granted)
        self.compare()

    @rule(number=pick, user=users)
    def touch(self, number: int, user: str) -> None:
        now_ms = self.step()
        app = self.service(number)
        if app is not None:
            self.twin.touch(now_ms, user)
            app.say(Touch(app.next_id(), user))
            self.world.turn()
            self.compare()

    @rule(number=pick, ref=st.integers(1, 3), lost=st.booleans())
    def let_go(self, number: int, ref: int, lost: bool) -> None:
        now_ms = self.step()
        app = self.service(number)
        if app is not None and ref in (app.session.refs or {}):
            held = self.held(app)[ref]
            if lost:
                held.lost_ms = now_ms
            else:
                held.leave(self.world.now_ms)
            app.say(Detach(app.next_id(), ref, lost))
            self.world.turn()
            self.compare()

    @rule(number=pick, user=users, device=st.sampled_from(DEVICES), lost=st.booleans())
    def let_go_by_name(self, number: int, user: str, device: str, lost: bool) -> None:
        now_ms = self.step()
        app = self.service(number)
        if app is None:
            return
        known = self.twin.user(user).devices.get(device)
        # The engine forgets who left and of whom there is nothing to remember; the twin forgets nobody.
        there = self.world.engine.users.get(user)
        own = there.devices.get(device) if there is not None else None
        mine = known is not None and known.live(now_ms) and known.holder == app.session.instance
        if known is not None and own is not None and mine and (own.ref or own.session is None):
            if not lost:
                known.leave(self.world.now_ms)
            elif known.connected(now_ms):
                known.lost_ms = now_ms
        else:
            mine = False
        message = Detach(app.next_id(), 0, lost, user, device)
        self.ask_for(app, message, mine)
        self.compare()

    @rule(number=pick, idle=idle_ms)
    def beat_for_others(self, number: int, idle: int | None) -> None:
        now_ms = self.step()
        app = self.service(number)
        if app is not None:
            for ref, held in self.held(app).items():
                self.twin.report(now_ms, app.session.refs[ref].user.name, held, idle)  # type: ignore[index]
            app.beats(*(part for ref in (1, 2, 3, 99) for part in (ref, -1 if idle is None else idle)))
            self.compare()

    @rule(number=pick, user=users, name=claim_names, source=sources, status=claimed, for_ms=lasting_ms)
    def claim(self, number: int, user: str, name: str, source: str, status: str, for_ms: int) -> None:
        now_ms = self.step()
        app = self.service(number)
        if app is not None:
            source = "manual" if name == "manual" or status == "offline" else source
            self.twin.user(user).claim(now_ms, name, source, status, now_ms + for_ms if for_ms else None)
            app.say(AddClaim(app.next_id(), name, source, status, for_ms, 0, user))  # type: ignore[arg-type]
            self.world.turn()
            self.compare()

    @rule(number=pick, user=users, name=claim_names)
    def end_claim(self, number: int, user: str, name: str) -> None:
        now_ms = self.step()
        app = self.service(number)
        if app is not None:
            self.twin.user(user).end_claim(now_ms, name)
            app.say(EndClaim(app.next_id(), name, user))
            self.world.turn()
            self.compare()

    @rule(number=pick, user=users, device=st.sampled_from(DEVICES), channel=channels, joins=st.sampled_from((1, 1, 0)))
    def join_or_leave(self, number: int, user: str, device: str, channel: str, joins: int) -> None:
        now_ms = self.step()
        app = self.service(number)
        known = self.twin.user(user).devices.get(device)
        if app is not None and known is not None and known.live(now_ms):
            if joins:
                known.channels[channel] = None
            else:
                known.channels.pop(channel, None)
            app.say((Join if joins else Leave)(app.next_id(), channel, user, device))
            self.world.turn()
            self.compare()

    @rule(number=pick, channel=channels)
    def watch_a_channel(self, number: int, channel: str) -> None:
        self.step()
        app = self.service(number)
        if app is not None:
            app.say(WatchChannel(app.next_id(), channel))
            app.say(Follow(app.next_id()))
            self.world.turn()

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
        self.twin.user(link.session.user_name).settle(self.world.now_ms)
        device = self.twin.user(link.session.user_name).devices[link.session.device.id]
        if self.twin.user(link.session.user_name).claims.in_call(self.world.now_ms):
            device.in_call_from_ms = self.world.now_ms
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
                refs = self.held(link)
                for held in refs.values():
                    held.heard_ms = self.world.now_ms
                if refs:
                    link.beats(*(part for ref in refs for part in (ref, -1)))

    def converged(self, link: FakeLink) -> None:
        for name, room in link.told.rooms.items():
            there = self.twin.members(self.world.now_ms, name)
            assert room.total == len(there)
            assert room.members is None or {m: record.status for m, record in room.members.items()} == there
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
TestLives.settings = settings(max_examples=samples(200), stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("in_call", [False, True], ids=["", "in a call"])
@pytest.mark.parametrize("idle_rounds", [0, 5, 12], ids=["active", "away", "offline"])
def test_a_program_that_tells_no_idleness_comes_in_the_place_of_one_that_did(idle_rounds: int, in_call: bool) -> None:
    """A life to which chance comes too rarely."""
    lives = Lives()
    lives.come_to_watch(["alice"], 0)
    lives.come("alice", "laptop", idle_rounds * ROUND_MS, 0, "online")
    if in_call:
        lives.claim(0, "alice", "meeting", "call", "dnd", 0)
    lives.take_over(1)
    for _ in range(13):
        lives.step(1)
        for number in range(2):
            lives.beat(number, None)
    if in_call:
        lives.end_claim(0, "alice", "meeting")
    lives.beat(1, 5 * ROUND_MS)
    lives.teardown()
