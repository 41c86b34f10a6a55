"""How many devices of a user there can be, live and remembered, whatever the order in which they come and change."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from presenced.core.model import CONNECTED, GONE
from presenced.core.records import DeviceSet, Fact
from presenced.errors import RequestError
from presenced.limits import DEVICES_PER_USER_MAX, GRACE_MS
from presenced.wire.messages import Attach, DeviceList, Forget, GetDevices, SetDevice
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World
from tests.support.tiers import samples


def remembered(world: World, *, negative: bool = False) -> list[str]:
    return [device.id for device in world.user("alice").devices.values() if (device.priority < 0) == negative]


def full(world: World) -> list[FakeLink]:
    return [world.open(f"alice/d{number}") for number in range(DEVICES_PER_USER_MAX)]


def test_a_device_that_looked_in_needs_a_place_to_count() -> None:
    world = World()
    links = full(world)
    tool = world.open("alice/tool", priority=-1, status="chat")
    assert tool.refused(SetDevice(tool.next_id(), "dnd", 0)) == "device_limit"
    assert (world.device("alice/tool").priority, world.device("alice/tool").status) == (-1, "chat")
    assert tool.open
    links[3].bye()
    tool.set_device("dnd", 0)
    assert "d3" not in world.user("alice").devices and "tool" in remembered(world)


def test_a_device_that_counts_needs_a_place_among_those_that_look_in() -> None:
    world = World()
    laptop = world.open("alice/laptop")
    tools = [world.open(f"alice/tool{number}", priority=-1) for number in range(DEVICES_PER_USER_MAX)]
    assert laptop.refused(SetDevice(laptop.next_id(), priority=-2)) == "device_limit"
    tools[0].bye()
    laptop.set_device(priority=-2)
    assert len(remembered(world, negative=True)) == DEVICES_PER_USER_MAX and remembered(world) == []


def test_coming_back_with_a_priority_of_the_other_sign_needs_a_place() -> None:
    world = World()
    full(world)
    tool = world.open("alice/tool", priority=-1)
    with pytest.raises(RequestError) as refusal:
        world.open("alice/tool", priority=5)
    assert refusal.value.code == "device_limit"
    world.turn()
    assert tool.open and world.device("alice/tool").priority == -1 and world.device("alice/tool").state == CONNECTED
    app = world.open("app", role="service")
    assert app.refused(Attach(app.next_id(), 1, "alice", "tool")) == "device_limit"
    app.attach(1, "alice/tool", priority=-3)
    assert world.device("alice/tool").priority == -3


def test_devices_that_look_in_and_then_count_are_not_remembered_without_end() -> None:
    world = World()
    laptop = world.open("alice/laptop")
    for number in range(5 * DEVICES_PER_USER_MAX):
        tool = world.open(f"alice/t{number}", priority=-1)
        tool.set_device(priority=0)
        tool.bye()
        world.advance(1)
    assert len(world.user("alice").devices) == DEVICES_PER_USER_MAX
    assert remembered(world)[-1] == f"t{5 * DEVICES_PER_USER_MAX - 1}"
    assert len(laptop.expect(GetDevices(laptop.next_id()), DeviceList).devices) == DEVICES_PER_USER_MAX


def test_what_a_data_directory_holds_beyond_the_limit_is_dropped_at_the_start() -> None:
    saved: list[Fact] = [
        DeviceSet("alice", f"d{number}", "", "", priority, "online", number % 2 == 1, WALL_MS - 1_000 + number, 0)
        for number, priority in zip(range(100), [0, 0, -1, -1] * 25, strict=True)
    ]
    world = World().restarted(facts=saved)
    devices = world.user("alice").devices.values()
    assert len(devices) == 2 * DEVICES_PER_USER_MAX and all(device.state != GONE for device in devices)
    newest = {f"d{number}" for number in range(100) if number % 4 == 1 and number >= 100 - 4 * DEVICES_PER_USER_MAX}
    assert set(remembered(world)) == newest
    assert len(world.restarted().user("alice").devices) == 2 * DEVICES_PER_USER_MAX, "it is dropped for good"


ids = st.integers(0, 44).map("d{}".format)
priorities = st.sampled_from([-1, 0])
steps = st.one_of(
    st.tuples(st.just("open"), ids, priorities),
    st.tuples(st.just("open"), ids, priorities),
    st.tuples(st.just("attach"), ids, priorities),
    st.tuples(st.just("turn over"), ids, priorities),
    st.tuples(st.just("lose"), ids, priorities),
    st.tuples(st.just("bye"), ids, priorities),
    st.tuples(st.just("forget"), ids, priorities),
    st.tuples(st.just("wait"), ids, priorities),
    st.tuples(st.just("restart"), ids, priorities),
)


class Life:
    """Alice's devices, held by links of her own and by a service."""

    def __init__(self) -> None:
        self.world = World()
        self.world.open("alice/first")
        self.links: dict[str, FakeLink] = {}
        self.app = self.world.open("app", role="service")

    def step(self, what: str, device: str, priority: int) -> None:
        world, link = self.world, self.links.get(device)
        if what == "open":
            try:
                self.links[device] = world.open(f"alice/{device}", priority=priority)
            except RequestError as error:
                assert error.code == "device_limit"
                world.turn()
        elif what == "attach":
            self.app.ask(Attach(self.app.next_id(), int(device[1:]) + 1, "alice", device, "", "", priority))
        elif what == "turn over":
            self.app.ask(SetDevice(self.app.next_id(), priority=priority, user="alice", device=device))
        elif what == "forget":
            self.app.ask(Forget(self.app.next_id(), device, "alice"))
        elif what == "wait":
            self.app.beat()
            world.advance(GRACE_MS + TICK_MS)
        elif what == "restart":
            self.world = world.restarted(now_ms=world.now_ms + 1)
            self.links = {}
            self.app = self.world.open("app", role="service")
        elif link is not None and link.open:
            if what == "bye":
                link.bye()
            else:
                link.lose()


@settings(max_examples=samples(60), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(ids, min_size=30, max_size=45, unique=True), st.lists(steps, min_size=20, max_size=60))
def test_the_limit_holds_whatever_the_order(first: list[str], lived: list[tuple[str, str, int]]) -> None:
    life = Life()
    for at, device in enumerate(first):
        life.step("open", device, -(at % 2))
    for step in lived:
        life.step(*step)
        for negative in (False, True):
            assert len(remembered(life.world, negative=negative)) <= DEVICES_PER_USER_MAX
