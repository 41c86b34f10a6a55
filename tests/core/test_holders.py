"""Who holds a device: taken over, taken back, let go without a link, and told of each loss."""

from __future__ import annotations

import pytest

from presenced.core.model import CONNECTED, GONE, GRACE
from presenced.core.policy import Policy
from presenced.errors import ConnectionLost, RequestError
from presenced.limits import GRACE_MS, TOLD_REFS_MAX
from presenced.server.greeting import open_session
from presenced.server.identity import Identity
from presenced.wire.messages import Attach, Beats, Detach, Error, Hello, Join, Leave, SetDevice, Taken
from tests.core.world import TICK_MS, FakeLink, World

TIMEOUT_MS = Policy().timeout_ms


def world_of(*instances: int) -> tuple[World, FakeLink, list[FakeLink]]:
    """A world, somebody who watches alice, and a service's link for each of these numbers."""
    world = World()
    watcher = world.open("watcher", role="service")
    watcher.watch("alice")
    return world, watcher, [world.open("backend", role="service", instance=number) for number in instances]


def named(link: FakeLink, address: str, *, lost: bool = False) -> str:
    """Detach by name; gives the code of the refusal, "" if it was done."""
    user, _, device = address.partition("/")
    reply = link.ask(Detach(link.next_id(), 0, lost, user, device))
    return reply.code if isinstance(reply, Error) else ""


def taken(link: FakeLink) -> list[tuple[int, str]]:
    return [(message.ref, message.why) for message in link.messages if isinstance(message, Taken)]


def holders(world: World, address: str, *links: FakeLink) -> list[int]:
    """The places of the links that hold the device, by their own refs and by the device's word."""
    device = world.device(address)
    by_refs = [place for place, link in enumerate(links) if device in (link.session.refs or {}).values()]
    assert by_refs == [place for place, link in enumerate(links) if device.session is link.session]
    return by_refs


# --- who is told ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taker", ["service", "user"])
def test_a_service_that_loses_a_device_to_another_link_is_told_at_once_and_once(taker: str) -> None:
    world, watcher, (app, other) = world_of(1, 2)
    app.attach(7, "alice/tab")
    watcher.forget()
    if taker == "service":
        other.attach(1, "alice/tab")
    else:
        world.open("alice/tab")
    assert taken(app) == [(7, "replaced")]
    app.beats(7, 0)
    app.beats(7, 0)
    assert taken(app) == [(7, "replaced")], "beats that crossed the message are not answered again"
    assert app.refused(Detach(app.next_id(), 7)) == "no_such_device" and named(app, "alice/tab") == "no_such_device"
    assert world.device("alice/tab").state == CONNECTED and watcher.pushes == []


def test_a_service_is_told_of_a_device_that_goes_into_grace_for_want_of_beats() -> None:
    world, watcher, (app,) = world_of(1)
    app.attach(1, "alice/tab")
    app.attach(2, "bob/tab")
    for _ in range(3):
        world.advance(TIMEOUT_MS // 3 + TICK_MS)
        app.beats(2, -1)
        watcher.beat()
    assert taken(app) == [(1, "lost")] and world.device("alice/tab").state == GRACE
    app.attach_again(1, "alice/tab")
    assert holders(world, "alice/tab", app) == [0]
    for _ in range(4):
        world.advance(TIMEOUT_MS // 3)
        watcher.beat()
        app.beats(2, -1, 1, -1)
    assert taken(app) == [(1, "lost")] and watcher.statuses("alice") == ["online"]


def test_a_ref_is_told_of_again_once_something_was_held_under_it() -> None:
    world, _, (app, other) = world_of(1, 2)
    for _ in range(3):
        app.attach(1, "alice/tab")
        other.attach(1, "alice/tab")
    assert taken(app) == [(1, "replaced")] * 3 and taken(other) == [(1, "replaced")] * 2
    assert holders(world, "alice/tab", app, other) == [1]


def test_what_is_kept_of_refs_that_were_told_is_bounded() -> None:
    world, _, (app,) = world_of(1)
    for start in range(1, 3 * TOLD_REFS_MAX, TOLD_REFS_MAX):
        app.say(Beats([part for ref in range(start, start + TOLD_REFS_MAX) for part in (ref, -1)]))
        world.turn()
    assert len(taken(app)) == 3 * TOLD_REFS_MAX
    assert len(app.session.taken_refs or ()) == TOLD_REFS_MAX


def test_a_link_that_does_not_read_is_told_when_it_does() -> None:
    _, _, (app, other) = world_of(1, 2)
    app.attach(1, "alice/tab")
    app.fill()
    other.attach(1, "alice/tab")
    assert taken(app) == []
    app.drain()
    assert taken(app) == [(1, "replaced")]


def test_a_service_that_attaches_the_device_that_it_is_itself_goes_on() -> None:
    world, watcher, _ = world_of()
    app = world.open("alice/bot", role="service", sync=True)
    watcher.forget()
    app.attach(1, "alice/bot", status="online")
    assert app.open and holders(world, "alice/bot", app) == [0] and watcher.pushes == []
    for _ in range(4):
        world.advance(TIMEOUT_MS // 2)
        app.beats(1, -1)
        watcher.beat()
    assert app.open and world.device("alice/bot").state == CONNECTED
    app.release(1)
    assert app.open and watcher.statuses("alice") == ["offline"]
    world.advance(TIMEOUT_MS + TICK_MS)
    assert app.ended == "lease_expired", "its link has a lease of its own"


# --- only what is free ----------------------------------------------------------------------------------------


def test_what_is_attached_again_is_given_back_but_not_what_has_moved() -> None:
    world, watcher, (app, other) = world_of(1, 2)
    for number in range(4):
        app.attach(1 + number, f"alice/tab{number}")
    app.lose()
    other.attach(1, "alice/tab1")
    other.attach(2, "alice/tab2")
    other.release(2, lost=True)
    other.attach(3, "alice/tab3")
    other.release(3)
    back = world.open("backend", role="service", instance=1)
    codes = []
    for number in range(4):
        reply = back.ask(Attach(back.next_id(), 1 + number, "alice", f"tab{number}", as_was=True, only_free=True))
        codes.append(reply.code if isinstance(reply, Error) else "")
    # The third is in grace, and its grace is another's; the last is nobody's.
    assert codes == ["", "device_held", "device_held", ""]
    assert holders(world, "alice/tab1", back, other) == [1]
    assert watcher.statuses("alice") == ["online"]


def test_a_link_that_the_server_does_not_know_to_be_dead_is_no_obstacle_to_its_own_client() -> None:
    world, watcher, (app,) = world_of(1)
    app.attach(1, "alice/tab")
    back = world.open("backend", role="service", instance=1)
    back.attach_again(9, "alice/tab")
    assert holders(world, "alice/tab", app, back) == [1] and taken(app) == [(1, "replaced")]
    app.lose()
    assert world.device("alice/tab").state == CONNECTED and watcher.statuses("alice") == ["online"]


def test_links_without_a_number_are_others_while_they_are_there_and_nobody_afterwards() -> None:
    world, _, (old, new) = world_of(0, 5)
    old.attach(1, "alice/tab")
    assert new.refused(Attach(9, 1, "alice", "tab", only_free=True)) == "device_held"
    old.lose()
    new.attach_again(1, "alice/tab")
    assert holders(world, "alice/tab", new) == [0]


def hello(world: World, instance: int, *, again: bool) -> FakeLink:
    """Say hello as alice/laptop, through the server's own greeting."""
    link = FakeLink(world, "alice", "user", instance)
    said = Hello([1], "", "alice", "laptop", as_was=again, only_free=again, instance=instance)
    link.session = open_session(world.engine, link, said, Identity("alice", "user", 0), 0, world.now_ms)
    world.turn()
    return link


def test_a_users_own_link_comes_back_but_not_over_another_program_or_a_service() -> None:
    world, watcher, (app,) = world_of(3)
    first = hello(world, 1, again=False)
    back = hello(world, 1, again=True)
    assert first.ended == "replaced" and back.open, "its own old link, which the server took for living"
    back.lose()
    other = hello(world, 2, again=False)
    with pytest.raises(ConnectionLost) as refused:
        hello(world, 1, again=True)
    assert (refused.value.code, refused.value.temporary) == ("replaced", False) and other.open
    app.attach(1, "alice/laptop")
    with pytest.raises(ConnectionLost):
        hello(world, 2, again=True)
    assert holders(world, "alice/laptop", app) == [0] and watcher.statuses("alice") == ["online"]
    app.release(1)
    assert hello(world, 2, again=True).open


# --- as it was ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["user", "service"])
def test_a_reconnect_leaves_what_others_set_as_it_is(kind: str) -> None:
    world, watcher, (admin, app) = world_of(9, 1)
    watcher.watch_channel("general")
    if kind == "user":
        link = world.open("alice/tab", instance=1)
    else:
        link = app
        link.attach(1, "alice/tab")
    admin.join("alice/tab", "general")
    admin.join("alice/tab", "side")
    admin.done(SetDevice(admin.next_id(), "dnd", 5, "Renamed", "alice", "tab"))
    admin.leave("alice/tab", "general")
    watcher.forget()
    told = len(watcher.told.room_events)
    for _ in range(2):
        link.lose()
        world.advance(GRACE_MS // 2)
        if kind == "user":
            link = world.open("alice/tab", instance=1, again=True, kind="web")
        else:
            link = world.open("backend", role="service", instance=1)
            link.attach_again(1, "alice/tab", kind="web", name="Old")
        for channel in ("general", "side"):
            link.done(Join(link.next_id(), channel, "alice", "tab", as_was=True))
    device = world.device("alice/tab")
    assert watcher.pushes == [] and watcher.told.room_events[told:] == []
    assert (device.status, device.priority, device.name, device.kind) == ("dnd", 5, "Renamed", "")
    assert list(device.channels or ()) == ["side"]


def test_one_that_was_gone_is_what_the_hello_says_and_joins_what_it_had() -> None:
    world, watcher, (admin, app) = world_of(9, 1)
    app.attach(1, "alice/tab")
    app.join("alice/tab", "general")
    admin.done(SetDevice(admin.next_id(), "dnd", None, None, "alice", "tab"))
    admin.leave("alice/tab", "general")
    app.lose()
    world.advance(GRACE_MS + TICK_MS)
    back = world.open("backend", role="service", instance=1)
    back.attach_again(1, "alice/tab", status="chat")
    back.done(Join(back.next_id(), "general", "alice", "tab", as_was=True))
    assert watcher.statuses("alice") == ["online", "dnd", "offline", "chat"]
    assert list(world.device("alice/tab").channels or ()) == ["general"]


def test_a_join_that_the_cut_swallowed_is_made_good() -> None:
    """The device came, and its link broke before its channels were read: nobody else has touched them."""
    world, _, (app,) = world_of(1)
    app.attach_again(1, "alice/tab")
    app.lose()
    back = world.open("backend", role="service", instance=1)
    back.attach_again(1, "alice/tab")
    back.done(Leave(back.next_id(), "other", "alice", "tab"))
    back.done(Join(back.next_id(), "general", "alice", "tab", as_was=True))
    assert list(world.device("alice/tab").channels or ()) == ["general"]


def test_another_kind_of_device_has_its_own_idle_times_from_the_hello_on() -> None:
    world = World(Policy(idle_by_kind={"kiosk": (0, 0), "phone": (60_000, 0)}))
    watcher = world.open("watcher", role="service")
    watcher.watch("alice")
    laptop = world.open("alice/laptop", idle_ms=0, kind="desktop")
    world.advance(70_000)
    laptop.beat()
    world.open("alice/laptop", kind="phone")
    assert watcher.statuses("alice") == ["online", "away"], "idle for longer than a phone may be"
    world.open("alice/laptop", kind="kiosk")
    assert watcher.statuses("alice") == ["online", "away", "online"], "a kiosk is never away"


# --- let go by name -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_detach_by_name_on_the_next_link_ends_what_was_held_last_and_nothing_else(lost: bool, restarts: bool) -> None:
    world, watcher, (app, other) = world_of(1, 2)
    for number in range(3):
        app.attach(1 + number, f"alice/tab{number}")
    app.lose()
    other.attach(1, "alice/tab1")
    other.attach(2, "alice/tab2")
    other.lose()
    if restarts:
        world = world.restarted(1_000)
        watcher = world.open("watcher", role="service")
        watcher.watch("alice")
    back = world.open("backend", role="service", instance=1)
    assert [named(back, f"alice/tab{number}", lost=lost) for number in range(3)] == [
        "", "no_such_device", "no_such_device",
    ]  # fmt: skip
    assert world.device("alice/tab0").state == (GRACE if lost else GONE)
    assert world.device("alice/tab1").state == world.device("alice/tab2").state == GRACE
    assert named(back, "alice/tab0", lost=True) == ("" if lost else "no_such_device")
    assert named(back, "nobody/tab") == named(back, "alice/none") == "no_such_device"
    assert watcher.view["alice"].status == "online" and "offline" not in watcher.statuses("alice")


def test_a_lost_detach_by_name_does_not_lengthen_the_grace() -> None:
    world, watcher, (app,) = world_of(1)
    app.attach(1, "alice/tab")
    app.lose()
    world.advance(GRACE_MS - 1_000)
    assert named(world.open("backend", role="service", instance=1), "alice/tab", lost=True) == ""
    world.advance(1_000 + TICK_MS)
    assert watcher.statuses("alice") == ["online", "offline"]


def test_by_name_a_link_lets_go_of_what_it_or_another_of_the_same_client_holds() -> None:
    world, watcher, (app, twin, stranger) = world_of(1, 1, 2)
    app.attach(1, "alice/tab")
    assert named(stranger, "alice/tab") == "no_such_device"
    assert named(twin, "alice/tab", lost=True) == "" and world.device("alice/tab").state == GRACE
    assert taken(app) == [(1, "detached")]
    app.attach(2, "alice/tab")
    assert named(app, "alice/tab") == "" and taken(app) == [(1, "detached")]
    assert watcher.statuses("alice") == ["online", "offline"]


def test_by_name_nobody_lets_go_of_a_device_with_a_link_of_its_own() -> None:
    world, _, (app,) = world_of(1)
    laptop = world.open("alice/laptop", instance=1)
    assert named(app, "alice/laptop") == "no_such_device" and laptop.open
    laptop.lose()
    assert named(world.open("backend", role="service"), "alice/laptop") == "no_such_device"


def test_half_a_name_is_refused() -> None:
    _, _, (app,) = world_of(1)
    app.attach(1, "alice/tab")
    for user, device in (("alice", ""), ("", "tab")):
        assert app.refused(Detach(app.next_id(), 1, False, user, device)) == "bad_request"
    assert app.refused(Detach(app.next_id(), 0)) == "no_such_device"


def test_who_held_a_device_is_kept_over_a_restart() -> None:
    world, _, (app, other) = world_of(1, 2)
    app.attach(1, "alice/tab")
    other.attach(1, "alice/tab")
    for facts in (None, world.snapshot()):
        after = world.restarted(1_000, facts=facts)
        stale = after.open("backend", role="service", instance=1)
        assert stale.refused(Attach(9, 1, "alice", "tab", as_was=True, only_free=True)) == "device_held"
        after.open("backend", role="service", instance=2).attach_again(1, "alice/tab")


def test_a_refusal_changes_nothing() -> None:
    world, watcher, (app, other) = world_of(1, 2)
    app.attach(1, "alice/tab")
    other.attach(5, "bob/tab")
    facts = len(world.log.facts)
    with pytest.raises(RequestError):
        world.engine.sessions.attach(
            world.now_ms, other.session, "tab", user_name="alice", ref=5, status="dnd", only_free=True
        )
    world.turn()
    assert holders(world, "bob/tab", other) == [0] and len(world.log.facts) == facts
    assert watcher.statuses("alice") == ["online"]
