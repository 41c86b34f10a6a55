"""A world for the core: engine and turn on a clock that only moves when told, and links that are plain objects.

What the daemon does with sockets is done here with lists: a link that is not read fills up at the first send, as a
kernel buffer would, and from then on the core must hold its frames back. Each turn is followed by the core's own
invariants, by what the words of the protocol make of each user (`tests.core.merging`), by when each device has to be
looked at, stated here a second time, and by what every client relies on: only watched users are pushed, a version never
comes twice except after a reply, and who keeps a watched channel's members by what is told of it always has the members
and the counts that the server has (`tests.core.told`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from presenced.core import invariants
from presenced.core.engine import Engine
from presenced.core.model import ACTIVE, ASSUMED, CONNECTED, GONE, GRACE, Device, User
from presenced.core.parts.schedules import Calendar, no_calendar
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.core.restorer import Restorer
from presenced.core.rights import rights_of
from presenced.server.turn import run_turn
from presenced.testing.disk import KeepingLog
from presenced.wire.messages import (
    DeviceStatus,
    Record,
    Role,
)
from tests.core.fake_link import FakeLink as FakeLink
from tests.core.merging import merged_by_the_words
from tests.support.sleepy import put_all_to_sleep

START_MS = 7_000_003
WALL_MS = 1_700_000_000_000
"""What the wall clock shows when the monotonic one shows `START_MS`."""

TICK_MS = 64
"""How late the wheel may be."""

SLEEPY = bool(os.environ.get("PRESENCED_SLEEPY"))
"""Whether users of every world sleep as soon as they can."""

IDLE_TURNS_MAX = 10_000


class World:
    """An engine on a clock of its own, and everything that was ever sent."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        calendar: Calendar = no_calendar,
        now_ms: int = START_MS,
        wall_ms: int = WALL_MS,
    ) -> None:
        self.now_ms = now_ms
        self.calendar = calendar
        self.engine = Engine(policy or Policy(), now_ms=now_ms, wall_ms=wall_ms, epoch=77, calendar=calendar)
        self.log = KeepingLog()
        self.transcript: list[bytes] = []
        self.links: list[FakeLink] = []
        self.next_ms: int | None = None
        self.versions = 0
        self.primaries: dict[str, Device | None] = {}
        """The primary device of each user at the last check."""
        self.checks = True
        """Whether everything is checked after each turn; that is linear, so tests with very many switch it off."""
        self.is_sleepy = SLEEPY
        """Whether every user sleeps as soon as that can be."""
        self.standing_max = 10
        """Turns that may be asked for at one moment, one after the other."""

    @property
    def wall_ms(self) -> int:
        return self.now_ms + self.engine.clock.offset_ms

    def set_clock(self, wall_ms: int) -> None:
        """Somebody sets the wall clock."""
        self.engine.set_wall(self.now_ms, wall_ms)
        self.turn()

    def snapshot(self) -> list[Fact]:
        """What a snapshot would hold now."""
        facts: list[Fact] = [fact for shelf in range(self.engine.shelves) if (fact := self.engine.dump_asleep(shelf))]
        for user in list(self.engine.users.order):
            facts += self.engine.dump(self.now_ms, user)
        return facts + list(self.engine.dump_general(self.now_ms))

    def restarted(
        self,
        down_ms: int = 0,
        *,
        facts: Sequence[Fact] | None = None,
        grace_ms: int = 30_000,
        now_ms: int = 900_000,
        stopped_wall_ms: int = 0,
        starts: Sequence[int] = (),
        version_gap: int = 0,
        epoch: int = 0,
        version: int | None = None,
    ) -> World:
        """What starts from this world's facts (by default all that was logged, in order) after `down_ms`; with another
        `epoch`, from a store that was set back. `version`: what the manifest says of the counter."""
        facts = self.log.facts if facts is None else facts
        world = World(self.engine.policy, calendar=self.calendar, now_ms=now_ms, wall_ms=self.wall_ms + down_ms)
        restorer = Restorer(world.engine, now_ms)
        restorer.apply_log(facts)
        world.engine.ledger.epoch = epoch or self.engine.ledger.epoch
        if version is not None:
            world.engine.ledger.continue_from(world.engine.ledger.epoch, version, now_ms)
        restorer.finish(
            grace_ms=grace_ms,
            spread_ms=0,
            version_gap=version_gap,
            stopped_wall_ms=stopped_wall_ms,
            starts=starts,
        )
        world.log.facts.extend(facts)
        world.engine.catch_up(now_ms)
        world.turn()
        return world

    def user(self, name: str) -> User:
        return self.engine.users[name]

    def device(self, address: str) -> Device:
        user, _, device = address.partition("/")
        return self.engine.users[user].devices[device]

    def record(self, name: str) -> Record:
        return self.engine.users[name].record

    def open(
        self,
        address: str,
        *,
        idle_ms: int | None = None,
        priority: int = 0,
        status: DeviceStatus = "online",
        role: Role = "user",
        expires_ms: int = 0,
        kind: str = "",
        sync: bool = False,
        instance: int = 0,
        again: bool = False,
        rights: Mapping[str, object] | None = None,
        meta: str | None = None,
        focus: str = "",
    ) -> FakeLink:
        """Say hello as `user/device`, or as `user` without a device, and run a turn. `again`: as after a lost link, as
        it was and only if it is free. `rights`: the claim `presence` of its token."""
        user, _, device = address.partition("/")
        link = FakeLink(self, user, role, instance, rights_of(rights, user, role) if rights is not None else None)
        link.session.expires_ms = expires_ms
        if device:
            held = self.engine.sessions.attach(
                self.now_ms,
                link.session,
                device,
                kind=kind,
                priority=priority,
                status=status,
                idle_ms=idle_ms,
                as_was=again,
                only_free=again,
                meta=meta,
                focus=focus,
            )
            if sync:
                self.engine.own_states.add(link.session, held.user)
        else:
            self.engine.sessions.open_without_device(self.now_ms, link.session)
        self.turn()
        return link

    def turn(self) -> None:
        """One turn at the present moment, and all checks after it."""
        self.next_ms = run_turn(self.engine, self.log, self.now_ms)
        if self.is_sleepy:
            put_all_to_sleep(self.engine, self.now_ms)
        if self.checks:
            self.check()
        else:
            self.primaries.clear()
        assert self.engine.ledger.version >= self.versions, "the version counter went back"
        self.versions = self.engine.ledger.version

    def check(self) -> None:
        """Hold the state against what must be. O(everything)."""
        invariants.check(self.engine)
        for user in self.engine.users.values():
            self._check_user(user)
        if not self.engine.channels.reports.news.is_pending:
            for link in self.links:
                if link.open and link.session.owed is None:
                    link.told.agree()

    def advance(self, ms: int) -> None:
        """Let time pass, running a turn whenever the last one asked for it, and one at the end."""
        end_ms = self.now_ms + ms
        standing = 0
        while self.next_ms is not None and self.next_ms <= end_ms:
            standing = standing + 1 if self.next_ms <= self.now_ms else 0
            assert standing < self.standing_max, "turn after turn is asked for at the same moment"
            self.now_ms = max(self.now_ms, self.next_ms)
            self.turn()
        self.now_ms = end_ms
        self.turn()

    def advance_beating(self, ms: int, *links: FakeLink, every_ms: int = 30_000) -> None:
        """Let time pass while these links heartbeat without a report."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.advance(min(every_ms, end_ms - self.now_ms))
            for link in links:
                link.beat()

    def _check_user(self, user: User) -> None:
        policy = self.engine.policy
        before = self.primaries.get(user.name, user.primary)
        status, primaries = merged_by_the_words(
            list(user.devices.values()), user.claim, before, policy.primary_hysteresis_ms
        )
        assert user.record.status == status, f"{user.name} shows {user.record.status} and is {status}"
        if user.is_copy:
            # Which device is the primary depends on heartbeats, which are heard at home.
            self.primaries.pop(user.name, None)
            return
        assert any(user.primary is one for one in primaries), f"{user.name} has another primary than it should"
        self.primaries[user.name] = user.primary
        for device in user.devices.values():
            if device.state == GONE:
                continue
            deadlines = [device.grace_until_ms] if device.state == GRACE else []
            if device.state == CONNECTED and device.lease_ms is not None:
                deadlines.append(device.lease_ms)
            elif device.state == CONNECTED:
                assert device.session is not None
                deadlines.append(device.heard_ms + policy.timeout_ms)
                if device.session.expires_ms and not device.ref:
                    deadlines.append(device.session.expires_ms)
            if device.idle_known and not any(claim.source == "call" for claim in user.claims):
                active_ms = device.active_ms
                if device.idle_known == ASSUMED and device.idle_level == ACTIVE:
                    # Active when it was saved: input may have come until the start.
                    active_ms = max(active_ms, self.engine.leases.assumed_ms)
                for after_ms in policy.idle_limits(device.kind):
                    if after_ms and active_ms + after_ms > self.now_ms:
                        deadlines.append(active_ms + after_ms)
            where = f"{user.name}/{device.id}"
            assert device.due_ms <= min(deadlines), f"{where} is looked at {device.due_ms}, due {min(deadlines)}"
            late = self.now_ms - min(deadlines)
            assert late < TICK_MS or len(self.engine.wheel) > 2_000, f"{where} is {late} ms late"
