"""Links, leases and grace: what a hello, silence, a lost link and a bye do to what watchers see."""

from __future__ import annotations

import pytest

from presenced.core.model import GONE, GRACE
from presenced.core.policy import Policy
from presenced.errors import RequestError
from presenced.limits import DEVICES_PER_USER_MAX
from presenced.wire.messages import Heartbeat, Ping, Pong, SetDevice, SetStatus, Watch
from tests.core.world import START_MS, TICK_MS, WALL_MS, FakeLink, World

GRACE_MS = Policy().grace_ms
TIMEOUT_MS = Policy().timeout_ms


def watched(policy: Policy | None = None) -> tuple[World, FakeLink, FakeLink]:
    """A world in which alice is on her laptop and bob's service sees her."""
    world = World(policy)
    alice = world.open("alice/laptop")
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    return world, alice, watcher


def test_a_lost_link_puts_the_device_in_grace_and_tells_nobody() -> None:
    world, alice, watcher = watched()
    alice.lose()
    assert world.device("alice/laptop").state == GRACE
    world.advance(GRACE_MS - 1)
    assert watcher.pushes == []
    assert watcher.get("alice").status == "online"


def test_a_device_that_is_back_within_grace_was_never_away_for_anybody() -> None:
    world, alice, watcher = watched()
    changed = world.engine.publisher.changed
    for _ in range(20):
        alice.lose()
        world.advance(GRACE_MS - 1)
        alice = world.open("alice/laptop")
        watcher.say(Heartbeat())
    world.advance(GRACE_MS * 2)
    assert watcher.pushes == []
    assert world.engine.publisher.changed == changed


def test_a_device_that_does_not_come_back_is_offline_exactly_once_after_grace_and_not_before() -> None:
    world, alice, watcher = watched()
    world.advance(1_000)
    alice.lose()
    world.advance(GRACE_MS - 1)
    assert watcher.pushes == []
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["offline"]
    world.advance_beating(GRACE_MS * 10, watcher)
    assert watcher.statuses("alice") == ["offline"]
    assert world.device("alice/laptop").state == GONE


def test_last_seen_after_a_lost_link_is_the_last_frame_and_not_the_end_of_grace() -> None:
    world, alice, watcher = watched()
    world.advance(1_000)
    alice.beat()
    world.advance(2_000)
    alice.lose()
    world.advance(GRACE_MS + TICK_MS)
    assert watcher.view["alice"].last_seen_ms == WALL_MS + 1_000
    assert watcher.view["alice"].since_ms >= WALL_MS + 3_000 + GRACE_MS


def test_a_claim_does_not_change_what_last_seen_means() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd")
    world.advance(2_000)
    alice.lose()
    world.advance(GRACE_MS + TICK_MS)
    assert watcher.view["alice"].status == "offline"
    assert watcher.view["alice"].last_seen_ms == WALL_MS


def test_grace_of_zero_means_gone_in_the_next_turn() -> None:
    world, alice, watcher = watched(Policy(grace_ms=0))
    alice.lose()
    world.advance(0)
    assert watcher.statuses("alice") == ["offline"]


def test_a_bye_skips_grace() -> None:
    world, alice, watcher = watched()
    world.advance(5)
    alice.bye()
    assert alice.ended == ""
    assert watcher.statuses("alice") == ["offline"]
    assert watcher.view["alice"].last_seen_ms == world.wall_ms
    assert world.engine.leases.live == 0


def test_a_user_is_offline_only_when_the_last_device_has_left() -> None:
    world, alice, watcher = watched()
    phone = world.open("alice/phone")
    alice.bye()
    assert "offline" not in watcher.statuses("alice")
    phone.bye()
    assert watcher.statuses("alice")[-1] == "offline"


def test_a_second_link_replaces_the_first_without_a_transition() -> None:
    world, alice, watcher = watched()
    changed = world.engine.publisher.changed
    second = world.open("alice/laptop")
    assert alice.ended == "replaced"
    assert second.open and watcher.pushes == []
    assert world.engine.publisher.changed == changed
    # The end of the replaced link must not take the device along.
    world.engine.sessions.detach(world.now_ms, alice.session)
    world.turn()
    assert world.device("alice/laptop").session is second.session
    world.advance_beating(TIMEOUT_MS * 3, second, watcher)
    assert watcher.pushes == []


def test_what_a_replaced_link_watched_is_forgotten() -> None:
    world, alice, _ = watched()
    alice.watch("nobody")
    world.open("alice/laptop")
    assert "nobody" not in world.engine.users
    assert alice.session.watching is None


def test_a_replaced_link_is_still_given_the_replies_of_its_turn() -> None:
    world, alice, _ = watched()
    alice.say(Ping(9))
    world.open("alice/laptop")
    assert [m.id for m in alice.messages if isinstance(m, Pong)] == [9]


def test_a_silent_link_loses_its_lease_after_the_timeout_and_then_grace_runs() -> None:
    world, alice, watcher = watched()
    for _ in range(TIMEOUT_MS // 25_000 - 1):
        world.advance(25_000)
        watcher.say(Heartbeat())
    world.advance(25_000 - 1)
    watcher.say(Heartbeat())
    assert alice.open
    world.advance(1 + TICK_MS)
    assert alice.ended == "lease_expired"
    assert world.device("alice/laptop").state == GRACE and watcher.pushes == []
    world.advance(GRACE_MS - 2 * TICK_MS)
    assert watcher.pushes == []
    world.advance(3 * TICK_MS)
    assert watcher.statuses("alice") == ["offline"]
    assert watcher.view["alice"].last_seen_ms == WALL_MS


@pytest.mark.parametrize(
    "frame",
    [Heartbeat(), Heartbeat(5), Ping(1), SetStatus(1, "dnd"), SetDevice(1, "away"), Watch(1, ["x"]), Watch(1, ["a b"])],
    ids=lambda frame: type(frame).__name__,
)
def test_any_frame_renews_the_lease_even_one_that_is_refused(frame: Heartbeat) -> None:
    world = World()
    alice = world.open("alice/laptop")
    world.advance(TIMEOUT_MS - 1)
    alice.say(frame)
    world.turn()
    world.advance(TIMEOUT_MS - 1)
    assert alice.open
    world.advance(1 + TICK_MS)
    assert alice.ended == "lease_expired"


def test_a_heartbeat_in_the_turn_in_which_the_lease_would_end_saves_it() -> None:
    world = World()
    alice = world.open("alice/laptop")
    world.now_ms += TIMEOUT_MS + 500
    alice.beat()
    assert alice.open


def test_a_link_without_a_device_holds_its_lease_itself() -> None:
    world = World()
    app = world.open("app", role="service")
    app.watch("somebody")
    world.advance(TIMEOUT_MS - 1)
    app.beat()
    world.advance(TIMEOUT_MS - 1)
    assert app.open
    world.advance(1 + TICK_MS)
    assert app.ended == "lease_expired"
    assert world.engine.users == {} and len(world.engine.wheel) == 0


def test_a_link_without_a_device_cannot_speak_for_one() -> None:
    world = World()
    app = world.open("app", role="service")
    assert app.refused(SetStatus(1, "dnd")) == "no_device"
    assert app.refused(SetDevice(2, "dnd")) == "no_device"
    app.bye()
    assert app.ended == "" and len(world.engine.wheel) == 0


def test_a_token_that_ends_closes_the_link_though_it_heartbeats() -> None:
    world = World()
    alice = world.open("alice/laptop", expires_ms=START_MS + 100_000)
    app = world.open("app", role="service", expires_ms=START_MS + 100_000)
    for _ in range(3):
        world.advance(30_000)
        alice.beat()
        app.beat()
    world.advance(9_999)
    assert alice.open and app.open
    world.advance(1 + TICK_MS)
    assert alice.ended == app.ended == "token_expired"
    assert world.device("alice/laptop").state == GRACE


def test_a_new_token_on_a_new_link_replaces_the_old_deadline() -> None:
    world = World()
    world.open("alice/laptop", expires_ms=START_MS + 10_000)
    second = world.open("alice/laptop", expires_ms=START_MS + 50_000)
    world.advance(50_000 - 1)
    assert second.open
    world.advance(1 + TICK_MS)
    assert second.ended == "token_expired"


def test_more_live_devices_than_the_limit_are_refused_and_nothing_is_changed() -> None:
    world = World()
    links = [world.open(f"alice/d{number}") for number in range(DEVICES_PER_USER_MAX)]
    links[3].lose()
    with pytest.raises(RequestError) as refusal:
        world.open("alice/one-more")
    assert refusal.value.code == "device_limit"
    world.turn()
    assert len(world.user("alice").devices) == DEVICES_PER_USER_MAX
    assert world.engine.leases.live == DEVICES_PER_USER_MAX
    # A device that is known may come back at any time.
    world.open("alice/d3")


def test_a_new_device_displaces_the_one_that_is_gone_longest() -> None:
    world = World()
    links = []
    for number in range(DEVICES_PER_USER_MAX):
        links.append(world.open(f"alice/d{number}"))
        world.advance(100)
    for number in (7, 2, 11):
        links[number].bye()
        world.advance(100)
    world.open("alice/one-more")
    assert "d7" not in world.user("alice").devices
    assert {"d2", "d11", "one-more"} < set(world.user("alice").devices)
    world.open("alice/and-one")
    assert "d2" not in world.user("alice").devices


@pytest.mark.parametrize("restart", ["none", "from the log", "from a snapshot"])
def test_gone_longest_is_since_it_went_and_not_since_it_was_heard(restart: str) -> None:
    world = World()
    links = [world.open(f"alice/d{number}") for number in range(DEVICES_PER_USER_MAX)]
    world.advance(20_000)
    # This one has been silent since it came, and is gone last.
    links[3].lose()
    world.advance(5_000)
    for link in links[4:]:
        link.beat()
    links[7].bye()
    world.advance(GRACE_MS)
    assert {world.device("alice/d3").state, world.device("alice/d7").state} == {GONE}
    if restart != "none":
        world = world.restarted(facts=world.snapshot() if restart == "from a snapshot" else None)
    world.open("alice/one-more")
    assert "d7" not in world.user("alice").devices and "d3" in world.user("alice").devices


def test_a_device_of_negative_priority_never_makes_its_user_available() -> None:
    world = World()
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    tool = world.open("alice/tool", priority=-1, status="chat")
    tool.set_status("dnd")
    assert watcher.pushes == [] and tool.get("alice").status == "offline"
    tool.set_device("chat", 0)
    assert watcher.statuses("alice") == ["dnd"]
    tool.set_device("chat", -1)
    assert watcher.statuses("alice") == ["dnd", "offline"]


def test_last_seen_is_now_for_a_device_that_takes_a_negative_priority() -> None:
    world, alice, watcher = watched()
    world.open("alice/phone").bye()
    world.advance(7_000)
    alice.set_device("online", -1)
    assert watcher.view["alice"].status == "offline"
    assert watcher.view["alice"].last_seen_ms == WALL_MS + 7_000


def test_a_device_of_negative_priority_that_says_bye_is_forgotten() -> None:
    world = World()
    world.open("alice/tool", priority=-1).bye()
    assert world.engine.users == {}
    world.open("alice/laptop")
    world.open("alice/tool", priority=-1).bye()
    assert list(world.user("alice").devices) == ["laptop"]


def test_a_device_of_negative_priority_displaces_nobody_and_needs_no_place() -> None:
    world = World()
    for number in range(DEVICES_PER_USER_MAX):
        world.open(f"alice/gone{number}").bye()
    remembered = list(world.user("alice").devices)
    tool = world.open("alice/tool", priority=-1)
    tool.bye()
    assert list(world.user("alice").devices) == remembered
    for number in range(DEVICES_PER_USER_MAX):
        world.open(f"alice/gone{number}")
    tools = [world.open(f"alice/tool{number}", priority=-1) for number in range(DEVICES_PER_USER_MAX)]
    with pytest.raises(RequestError, match="close one first"):
        world.open("alice/one-more", priority=-1)
    tools[0].lose()
    world.advance(GRACE_MS + TICK_MS)
    world.open("alice/one-more", priority=-1)
    assert "tool0" not in world.user("alice").devices, "it makes room for one of its kind"


def test_a_claim_that_nobody_ever_saw_leaves_nothing_behind_when_it_ends() -> None:
    world = World()
    tool = world.open("alice/tool", priority=-1)
    tool.set_status("dnd", for_ms=60_000)
    tool.bye()
    assert "alice" in world.engine.users
    world.advance(60_000 + TICK_MS)
    assert world.engine.users == {} and len(world.engine.wheel) == 0


def test_a_link_whose_buffer_is_full_is_not_written_to_when_it_ends() -> None:
    world, alice, _ = watched()
    alice.watch("bob")
    bob = world.open("bob/phone")
    alice.stall()
    bob.set_status("dnd")
    assert alice.unread
    alice.say(SetStatus(50, "away"))
    alice.bye()
    assert alice.ended == ""
