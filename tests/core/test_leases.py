"""Leases without a link: a device is live for as long as was promised, whatever becomes of its link; and a grace that a
detach gives."""

from __future__ import annotations

from random import Random

import pytest

from presenced.core.model import CONNECTED, GONE, GRACE
from presenced.core.parts.own_state import device_info
from presenced.core.policy import Policy
from presenced.limits import DURATION_MS_MAX, GRACE_MS, RESTART_GRACE_MS
from presenced.wire.messages import (
    AddClaim,
    Attach,
    Detach,
    DeviceList,
    Done,
    Event,
    Follow,
    Following,
    GetDevices,
    Hello,
    Kick,
    Taken,
)
from tests.core.world import TICK_MS, FakeLink, World

MINUTE_MS = 60_000
TIMEOUT_MS = Policy().timeout_ms


def leased(for_ms: int = MINUTE_MS, **more: int) -> tuple[World, FakeLink]:
    """A world in which a service has attached alice/job with a lease, as ref 1."""
    world = World()
    app = world.open("app", role="service", instance=1)
    app.attach(1, "alice/job", for_at_most_ms=for_ms, **more)
    return world, app


def ends_after(world: World, name: str = "alice", *beating: FakeLink) -> int:
    """After how many milliseconds from now the user is offline, with the delay of the wheel taken off."""
    begun_ms = world.now_ms
    while world.record(name).status != "offline":
        assert world.now_ms - begun_ms < 2 * 3_600_000
        for link in beating:
            link.beat()
        world.advance(500)
    return (world.now_ms - begun_ms) // 1_000 * 1_000


def taken(link: FakeLink) -> list[tuple[int, str]]:
    return [(message.ref, message.why) for message in link.messages if isinstance(message, Taken)]


# --- what a lease is -------------------------------------------------------------------------------------------------


def test_a_leased_device_needs_no_beats_and_is_gone_when_its_lease_ends() -> None:
    world, app = leased(5 * MINUTE_MS)
    assert ends_after(world, "alice", app) == 5 * MINUTE_MS
    assert taken(app) == [(1, "ended")] and world.device("alice/job").state == GONE


@pytest.mark.parametrize("for_ms", [1, 3_000, 4 * MINUTE_MS])
def test_a_lost_link_neither_shortens_a_lease_nor_lengthens_it(for_ms: int) -> None:
    world, app = leased(for_ms)
    app.lose()
    assert world.device("alice/job").state in (GRACE, GONE)
    assert ends_after(world) == for_ms // 1_000 * 1_000


def test_a_service_that_falls_silent_keeps_its_leases_and_loses_its_other_devices() -> None:
    world, app = leased(10 * MINUTE_MS)
    app.attach(2, "bob/tab")
    world.advance(TIMEOUT_MS + GRACE_MS + 1_000)
    assert not app.open and [world.record(name).status for name in ("alice", "bob")] == ["online", "offline"]
    assert ends_after(world) == 10 * MINUTE_MS - (TIMEOUT_MS + GRACE_MS + 1_000)


def test_beats_report_idleness_and_do_not_move_the_end() -> None:
    world, app = leased(20 * MINUTE_MS, idle_ms=0)
    for _ in range(19 * 2):
        world.advance(30_000)
        app.beats(1, 30_000 if world.now_ms % 3 else 0)
    assert world.record("alice").status == "online" and ends_after(world, "alice", app) <= MINUTE_MS + TICK_MS


def test_idle_levels_come_as_with_every_device() -> None:
    world, app = leased(3 * 3_600_000, idle_ms=0)
    app.lose()
    seen = []
    for _ in range(61):
        seen.append(world.record("alice").status)
        world.advance(MINUTE_MS)
    assert seen[:5] == ["online"] * 5 and seen[6:60] == ["away"] * 54
    assert world.record("alice").status == "offline" and world.device("alice/job").state == GRACE
    world.advance(2 * 3_600_000)
    assert world.device("alice/job").state == GONE


def test_attaching_again_renews_a_lease_shortens_it_or_ends_it() -> None:
    world, app = leased(MINUTE_MS)
    world.advance(50_000)
    app.attach(1, "alice/job", for_at_most_ms=MINUTE_MS)
    world.advance(50_000)
    assert world.record("alice").status == "online"
    app.attach(1, "alice/job", for_at_most_ms=1_000)
    assert ends_after(world, "alice", app) == 1_000
    app.attach(1, "alice/job", for_at_most_ms=1_000)
    app.attach(1, "alice/job")
    for _ in range(10):
        world.advance(TIMEOUT_MS // 2)
        app.beats(1, -1)
    assert world.record("alice").status == "online", "it lives by its beats"
    app.lose()
    assert ends_after(world) == GRACE_MS
    assert [event.why for event in app.messages if isinstance(event, Taken)] == ["ended"]


def test_the_end_of_a_lease_is_told_as_lost_and_the_last_contact_is_the_last_frame() -> None:
    world = World()
    follower = world.open("follower", role="service")
    follower.expect(Follow(follower.next_id()), Following)
    app = world.open("app", role="service")
    app.attach(1, "alice/job", for_at_most_ms=MINUTE_MS)
    attached_ms = world.wall_ms
    world.advance(MINUTE_MS + TICK_MS)
    events = [event for event in follower.messages if isinstance(event, Event) and event.kind == "offline"]
    assert [(event.user, event.reason) for event in events] == [("alice", "lost")]
    assert world.record("alice").last_seen_ms == attached_ms


def test_a_device_tells_its_user_and_services_until_when_it_is_leased() -> None:
    world, app = leased(MINUTE_MS)
    reply = app.expect(GetDevices(app.next_id(), "alice"), DeviceList)
    assert [device.lease_until_ms for device in reply.devices] == [world.wall_ms + MINUTE_MS]
    app.attach(1, "alice/job")
    assert device_info(world.device("alice/job"), 0).lease_until_ms == 0


# --- who else speaks for it ------------------------------------------------------------------------------------------


def test_detach_ends_a_lease_as_bye_and_a_lost_connection_does_not() -> None:
    world, app = leased(4 * MINUTE_MS)
    app.release(1, lost=True)
    assert world.device("alice/job").state == GRACE
    app.done(Detach(app.next_id(), 0, True, "alice", "job"))
    assert ends_after(world, "alice", app) == 4 * MINUTE_MS
    app.attach(1, "alice/job", for_at_most_ms=MINUTE_MS)
    app.release(1)
    assert world.record("alice").status == "offline" and world.device("alice/job").state == GONE


@pytest.mark.parametrize("taker", ["service", "user"])
def test_another_client_takes_a_device_without_its_lease(taker: str) -> None:
    world, app = leased(30 * MINUTE_MS)
    other = world.open("other", role="service", instance=2)
    if taker == "service":
        other.attach(9, "alice/job", as_was=True)
    else:
        other = world.open("alice/job", again=False)
    assert taken(app) == [(1, "replaced")] and world.device("alice/job").lease_ms is None
    other.lose()
    assert ends_after(world) == GRACE_MS


def test_a_device_s_own_link_that_comes_back_as_it_was_is_not_ended_by_a_lease() -> None:
    world, app = leased(MINUTE_MS)
    app.release(1, lost=True)
    alice = world.open("alice/job", instance=1, again=True)
    world.advance_beating(5 * MINUTE_MS, alice)
    assert alice.open and world.record("alice").status == "online"


@pytest.mark.parametrize("said_ms", [0, 10 * MINUTE_MS])
def test_the_same_client_that_comes_back_as_it_was_leaves_the_end_where_it_is(said_ms: int) -> None:
    world, app = leased(4 * MINUTE_MS)
    world.advance(MINUTE_MS)
    app.lose()
    again = world.open("app", role="service", instance=1)
    again.attach(7, "alice/job", as_was=True, only_free=True, for_at_most_ms=said_ms)
    assert world.device("alice/job").state == CONNECTED
    assert ends_after(world, "alice", again) == 3 * MINUTE_MS
    assert taken(again) == [(7, "ended")]


def test_a_client_that_comes_back_as_it_was_gives_a_lease_to_what_has_none() -> None:
    """As of a server that has lost the end of its log: the promise holds again."""
    world = World()
    app = world.open("app", role="service", instance=1)
    app.attach(1, "alice/job")
    app.attach(1, "alice/job", as_was=True, only_free=True, for_at_most_ms=4 * MINUTE_MS)
    assert ends_after(world, "alice", app) == 4 * MINUTE_MS


def test_a_kick_ends_a_leased_device_at_once() -> None:
    world, app = leased(30 * MINUTE_MS)
    app.done(Kick(app.next_id(), "alice"))
    assert world.record("alice").status == "offline" and taken(app) == [(1, "kicked")]
    app.attach(1, "alice/job", for_at_most_ms=MINUTE_MS)
    app.lose()
    admin = world.open("admin", role="service")
    admin.done(Kick(admin.next_id(), "alice"))
    assert world.record("alice").status == "offline" and world.device("alice/job").lease_ms is None


def test_a_call_holds_a_leased_device_active_and_does_not_lengthen_its_lease() -> None:
    world, app = leased(10 * MINUTE_MS, idle_ms=0)
    app.done(AddClaim(app.next_id(), "call", "call", "dnd", user="alice", device="job"))
    assert ends_after(world, "alice", app) == 10 * MINUTE_MS
    assert not world.user("alice").claims, "a claim that is bound to the device ends with it"


# --- the grace that a detach gives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("within_ms", [0, 3_000, 2 * MINUTE_MS])
def test_a_detach_may_say_within_what_time_the_device_will_be_back(within_ms: int, lost: bool) -> None:
    world = World()
    app = world.open("app", role="service", instance=1)
    app.attach(1, "alice/tab")
    app.release(1, lost=lost, within_ms=within_ms)
    assert ends_after(world) == within_ms
    assert taken(app) == []


def test_who_is_back_within_that_time_was_never_away() -> None:
    world = World()
    watcher = world.open("watcher", role="service")
    watcher.watch("alice")
    app = world.open("app", role="service", instance=1)
    app.attach(1, "alice/tab")
    watcher.forget()
    app.release(1, within_ms=2 * MINUTE_MS)
    world.advance_beating(MINUTE_MS, watcher, app)
    app.attach(2, "alice/tab")
    assert watcher.pushes == [] and world.device("alice/tab").lease_ms is None
    app.lose()
    assert ends_after(world, "alice", watcher) == GRACE_MS, "the next loss has the usual grace"


def test_a_later_word_changes_the_grace_that_a_device_is_in() -> None:
    world = World()
    app = world.open("app", role="service", instance=1)
    app.attach(1, "alice/tab")
    app.release(1, within_ms=5 * MINUTE_MS)
    app.done(Detach(app.next_id(), 0, False, "alice", "tab", within_ms=1_000))
    assert ends_after(world) == 1_000
    app.attach(1, "alice/tab")
    app.release(1, lost=True)
    app.done(Detach(app.next_id(), 0, True, "alice", "tab", within_ms=5 * MINUTE_MS))
    assert ends_after(world) == 5 * MINUTE_MS


def test_within_takes_the_place_of_a_lease() -> None:
    for for_ms, within_ms in ((MINUTE_MS, 5 * MINUTE_MS), (5 * MINUTE_MS, 1_000)):
        world, app = leased(for_ms)
        app.release(1, within_ms=within_ms)
        assert ends_after(world) == within_ms


# --- over restarts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_snapshot", [False, True])
@pytest.mark.parametrize("kind", ["held", "lost", "within"])
@pytest.mark.parametrize("down_ms", [1_000, 40_000])
def test_what_was_promised_ends_at_its_moment_over_a_restart(down_ms: int, kind: str, from_snapshot: bool) -> None:
    """Neither the grace of a restart nor its spread is added, whether a lease is longer or shorter."""
    for left_ms in (41_000, 3 * MINUTE_MS):
        world = World()
        app = world.open("app", role="service", instance=1)
        app.attach(1, "alice/job", for_at_most_ms=0 if kind == "within" else left_ms + 9_000)
        world.advance(9_000)
        if kind == "lost":
            app.lose()
        elif kind == "within":
            app.release(1, within_ms=left_ms)
        facts = world.snapshot() if from_snapshot else None
        after = world.restarted(down_ms, facts=facts, stopped_wall_ms=world.wall_ms, grace_ms=RESTART_GRACE_MS)
        assert after.record("alice").status == "online"
        assert ends_after(after) == left_ms - down_ms


def test_a_lease_that_ended_while_nobody_was_running_is_over_before_anybody_asks() -> None:
    world, _ = leased(MINUTE_MS)
    after = world.restarted(MINUTE_MS)
    assert after.record("alice").status == "offline" and after.device("alice/job").state == GONE
    assert after.engine.leases.live == 0


def test_the_client_that_held_a_lease_takes_it_back_after_a_restart() -> None:
    world, _ = leased(2 * MINUTE_MS)
    after = world.restarted(1_000)
    app = after.open("app", role="service", instance=1)
    app.attach_again(5, "alice/job", for_at_most_ms=1_000)
    assert ends_after(after, "alice", app) == 2 * MINUTE_MS - 1_000 and taken(app) == [(5, "ended")]


@pytest.mark.parametrize("is_held", [False, True])
def test_last_seen_over_a_restart_is_the_last_frame_and_not_the_stop_of_a_leased_device_without_a_link(
    is_held: bool,
) -> None:
    world, app = leased(10 * MINUTE_MS)
    world.advance(10_000)
    app.beats(1, -1)
    beat_ms = world.wall_ms
    if not is_held:
        app.lose()
    world.advance(30_000)
    stopped_ms = world.wall_ms
    after = world.restarted(1_000, stopped_wall_ms=stopped_ms)
    again = after.restarted(30_000, stopped_wall_ms=after.wall_ms)
    again.advance(20 * MINUTE_MS)
    assert again.record("alice").last_seen_ms == (stopped_ms if is_held else beat_ms)


def test_a_lease_lasts_as_long_as_was_promised_although_somebody_sets_the_clock() -> None:
    for jump_ms in (3_600_000, -3_600_000):
        world, app = leased(4 * MINUTE_MS)
        world.advance(MINUTE_MS)
        world.set_clock(world.wall_ms + jump_ms)
        world.advance(1_000)
        after = world.restarted(1_000)
        assert ends_after(after) == 3 * MINUTE_MS - 2_000
        assert ends_after(world, "alice", app) == 3 * MINUTE_MS - 1_000


# --- the order of what is told ---------------------------------------------------------------------------------------


def test_the_loss_of_a_device_is_told_behind_the_reply_to_its_attach() -> None:
    """That reply waits for the disk, and would count if it came after."""
    world = World()
    app, other = (world.open("app", role="service", instance=number) for number in (1, 2))
    app.say(Attach(app.next_id(), 1, "alice", "job", for_at_most_ms=MINUTE_MS))
    other.say(Attach(other.next_id(), 1, "alice", "job"))
    world.turn()
    assert [type(message) for message in app.messages] == [Done, Taken]


def test_a_hello_has_no_lease() -> None:
    assert "for_at_most_ms" not in Hello.__struct_fields__


@pytest.mark.parametrize("message", [Attach(7, 1, "alice", "job", for_at_most_ms=1_000), Detach(7, 1, within_ms=1_000)])
def test_what_cannot_be_saved_is_not_promised(message: Attach | Detach) -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "bob/tab")
    world.engine.set_read_only("read_only")
    assert app.refused(message) == "read_only"
    assert "alice" not in world.engine.users and world.device("bob/tab").state == CONNECTED
    app.attach(2, "carol/tab")
    app.release(2, lost=True)


def test_the_longest_lease() -> None:
    world, _ = leased(DURATION_MS_MAX)
    assert world.device("alice/job").lease_ms == world.now_ms + DURATION_MS_MAX


# --- against a twin --------------------------------------------------------------------------------------------------


class Twin:
    """One device as section 23.7 says it, on plain numbers: until when it is live if nothing more happens."""

    def __init__(self) -> None:
        self.promised_ms: int | None = None
        self.heard_ms = 0
        self.holder = 0
        """1 or 2: the client that holds it, or held it last."""
        self.is_held = False
        self.grace_end_ms = 0

    def end_ms(self) -> int:
        if self.promised_ms is not None:
            return self.promised_ms
        return self.heard_ms + TIMEOUT_MS + GRACE_MS if self.is_held else self.grace_end_ms

    def is_live(self, now_ms: int) -> bool:
        return now_ms < self.end_ms()

    def settle(self, now_ms: int) -> None:
        """Its beats may have stayed away for too long."""
        if self.is_held and self.promised_ms is None and now_ms >= self.heard_ms + TIMEOUT_MS:
            self.is_held, self.grace_end_ms = False, self.heard_ms + TIMEOUT_MS + GRACE_MS
        if not self.is_live(now_ms):
            self.is_held, self.promised_ms, self.grace_end_ms, self.holder = False, None, now_ms, 0

    def attach(self, now_ms: int, client: int, for_ms: int, as_was: bool) -> None:
        keeps = as_was and self.is_live(now_ms) and self.promised_ms is not None and self.holder == client
        if not keeps:
            self.promised_ms = now_ms + for_ms if for_ms else None
        self.is_held, self.holder, self.heard_ms = True, client, now_ms

    def lose(self, now_ms: int) -> None:
        if self.is_held:
            self.is_held, self.grace_end_ms = False, now_ms + GRACE_MS

    def within(self, now_ms: int, within_ms: int) -> None:
        self.is_held, self.promised_ms = False, now_ms + within_ms

    def restart(self, now_ms: int) -> None:
        self.is_held, self.grace_end_ms = False, now_ms + RESTART_GRACE_MS


@pytest.mark.parametrize("seed", range(24))
def test_in_random_lives_a_device_is_live_exactly_as_long_as_the_words_say(seed: int) -> None:
    dice, world, twin, offset_ms = Random(seed), World(), Twin(), 0
    links: dict[int, FakeLink] = {}
    for step in range(150):
        now_ms = world.now_ms + offset_ms
        twin.settle(now_ms)
        client = dice.choice((1, 2))
        link = links.get(client)
        if link is None or not link.open:
            link = links[client] = world.open("app", role="service", instance=client)
        holds = twin.is_held and twin.holder == client
        act = dice.choice(("attach", "attach", "beat", "beat", "lost", "bye", "within", "break", "restart", "wait"))
        if act == "attach":
            for_ms, as_was = dice.choice((0, 5_000, 70_000, 300_000)), dice.random() < 0.4
            link.attach(1, "alice/job", for_at_most_ms=for_ms, as_was=as_was)
            twin.attach(now_ms, client, for_ms, as_was)
        elif act == "beat" and holds:
            link.beats(1, -1)
            twin.heard_ms = now_ms
        elif act == "lost" and holds:
            link.release(1, lost=True)
            twin.lose(now_ms)
        elif act == "bye" and holds:
            link.release(1)
            twin.is_held, twin.promised_ms, twin.grace_end_ms = False, None, now_ms
        elif act == "within" and twin.holder == client and twin.is_live(now_ms):
            within_ms = dice.choice((0, 2_000, 100_000))
            link.done(Detach(link.next_id(), 0, dice.random() < 0.5, "alice", "job", within_ms=within_ms))
            twin.within(now_ms, within_ms)
        elif act == "break":
            link.lose()
            if holds:
                twin.lose(now_ms)
        elif act == "restart" and dice.random() < 0.5 and abs(now_ms - twin.end_ms()) > 2 * TICK_MS:
            down_ms, links = dice.choice((1_000, 50_000)), {}
            facts = world.snapshot() if dice.random() < 0.3 else None
            after = world.restarted(down_ms, facts=facts, stopped_wall_ms=world.wall_ms)
            # The twin goes on with one clock.
            offset_ms += world.now_ms + down_ms - after.now_ms
            world = after
            was_live = twin.is_live(now_ms)
            if was_live:
                twin.restart(now_ms + down_ms)
        wait_ms = dice.choice((100, 3_000, 3_000, 20_000, 60_000))
        for _ in range(wait_ms // 10_000 + 1):
            world.advance(min(wait_ms, 10_000))
            for other in links.values():
                if other.open:
                    other.beat()
        now_ms = world.now_ms + offset_ms
        if abs(now_ms - twin.end_ms()) > 2 * TICK_MS:
            status = world.record("alice").status if "alice" in world.engine.users else "offline"
            assert (status == "online") == twin.is_live(now_ms), f"step {step}, {act}"
