"""Clients on any node of a town: their devices are where their users are decided, whoever comes, goes or dies."""

from __future__ import annotations

import pytest

from presenced.cluster.links.beats import GATHER_MS
from presenced.core.model import CONNECTED
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS
from presenced.wire.messages import (
    Attach,
    Block,
    Bye,
    ClientMessage,
    DeviceList,
    Done,
    Error,
    Forget,
    Get,
    GetDevices,
    Heartbeat,
    OwnState,
    Records,
    ServerMessage,
    SetStatus,
    ShowTo,
    Watch,
)
from tests.cluster.client import Client
from tests.cluster.town import Town, TownNode


def advance(town: Town, ms: int, *clients: Client, step_ms: int = 1_000) -> None:
    """Let time pass while these clients heartbeat."""
    end_ms = town.now_ms + ms
    while town.now_ms < end_ms:
        town.advance(step_ms, step_ms)
        for client in clients:
            if client.is_open:
                client.say(Heartbeat(None))


def is_connected(town: Town, address: str) -> bool:
    """Whether the home of the user has the device on a link."""
    user, _, device = address.partition("/")
    [home] = [node for node in town.nodes if node.node.own(user)]
    known = home.engine.users.get(user)
    assert known is not None
    return device in known.devices and known.devices[device].state == CONNECTED


def test_the_first_device_brings_the_home_of_its_user_along() -> None:
    a, b = (town := Town("a", "b")).nodes
    laptop = a.dial("alice/laptop")
    assert a.node.own("alice") and is_connected(town, "alice/laptop")
    laptop.lose()
    phone = b.dial("alice/phone")
    assert b.node.own("alice") and is_connected(town, "alice/phone")
    assert phone.is_open and a.shown("alice") == b.shown("alice")


def test_a_second_device_on_another_node_is_held_at_the_home_and_acts_there() -> None:
    a, b = (town := Town("a", "b")).nodes
    laptop, phone = a.dial("alice/laptop", sync=True), b.dial("alice/phone", sync=True)
    watcher = b.dial("bob/laptop")
    watcher.say(Watch(watcher.next_id(), ["alice"]))
    assert a.node.own("alice") and is_connected(town, "alice/phone")
    number = phone.next_id()
    phone.say(SetStatus(number, "dnd", "from the phone"))
    assert [type(reply) for reply in phone.replies_to(number)] == [Done]
    assert a.shown("alice").text == b.shown("alice").text == "from the phone"
    assert watcher.statuses("alice") == ["dnd"]
    for client in (laptop, phone):
        [*_, last] = [one for one in client.messages if isinstance(one, OwnState)]
        assert last.text == "from the phone" and {one.device for one in last.devices} == {"laptop", "phone"}
    laptop.say(Bye())
    assert is_connected(town, "alice/phone") and a.shown("alice").status == "dnd"
    phone.say(Bye())
    assert b.shown("alice").status == "offline"


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (SetStatus(7, "dnd"), Done),
        (GetDevices(7), DeviceList),
        (Block(7, "mallory"), Done),
        (Forget(7, "phone"), Error),
        (Attach(7, 3, "alice", "tab"), Done),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_link_has_asked_before_it_is_ended_is_answered_by_the_home(
    message: ClientMessage, reply: type[ServerMessage]
) -> None:
    a, b = (town := Town("a", "b")).nodes
    a.dial("alice/laptop")
    link = b.dial("app", role="service") if isinstance(message, Attach) else b.dial("alice/phone")
    session = link.session
    assert session is not None
    # As a conversation does with a frame that ends it behind one that asks.
    b.requests.handle(b.engine, session, b.now_ms, message)
    b.engine.sessions.detach(b.now_ms, session, "bad_frame")
    b.turn()
    assert [type(one) for one in link.replies_to(7)] == [reply]
    assert not session.unanswered and not link.is_open
    town.settle()
    assert not len(a.forwarding.remote_links) and not a.forwarding.relays.all() and not b.forwarding.relays.all()


def test_a_link_on_a_living_node_keeps_its_device_when_the_home_dies() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.dial("alice/laptop")
    phone = b.dial("alice/phone")
    watcher = c.dial("watcher/laptop")
    watcher.say(Watch(watcher.next_id(), ["alice"]))
    die(town, a)
    advance(town, 14_000, phone, watcher)
    assert is_connected(town, "alice/phone")
    advance(town, RESTART_GRACE_MS + RESTART_SPREAD_MS + 2_000, phone, watcher)
    assert phone.is_open and "offline" not in watcher.statuses("alice"), "she was there all the time"
    phone.say(SetStatus(phone.next_id(), "away", "here"))
    assert watcher.view["alice"].text == "here"


@pytest.mark.parametrize("name", ["alice", "bob", "carol", "dave", "erin", "frank"])
def test_who_says_hello_elsewhere_before_the_death_of_the_home_is_noticed_gets_the_device_behind_it(name: str) -> None:
    """Whichever node inherits the user."""
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.dial(f"{name}/laptop")
    watcher = c.dial("watcher/laptop")
    watcher.say(Watch(watcher.next_id(), [name]))
    die(town, a)
    back = b.dial(f"{name}/laptop")
    number = back.next_id()
    back.say(SetStatus(number, "dnd", "at once"))
    advance(town, 14_000, back, watcher)
    assert back.is_open and is_connected(town, f"{name}/laptop")
    advance(town, RESTART_GRACE_MS + RESTART_SPREAD_MS + 2_000, back, watcher)
    assert "offline" not in watcher.statuses(name)
    assert len(back.replies_to(number)) == 1


@pytest.mark.parametrize("knows", [False, True], ids=["a new user", "one whose home comes along"])
def test_a_lost_link_is_taken_back_on_its_node_by_who_had_no_home_there(knows: bool) -> None:
    a, b = (town := Town("a", "b")).nodes
    if knows:
        a.dial("alice/laptop").say(Bye())
    b.dial("bob/laptop")
    first = b.dial("alice/laptop", resume="", instance=7)
    assert first.session is not None and first.session.resume
    first.say(Watch(first.next_id(), ["bob"]))
    first.lose()
    town.settle()
    second = b.dial("alice/laptop", resume=first.session.resume, instance=7)
    assert second.session is not None and set(second.session.watching or ()) == {"bob"}


def test_the_log_names_the_node_of_a_link_that_fails_as_operators_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = Town("a", "b").nodes
    a.dial("alice/laptop")
    phone = b.dial("alice/phone")

    class Broken:
        def handle(self, *_: object) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr(a.forwarding.remote_links, "_requests", Broken())
    phone.say(SetStatus(1, "dnd"))
    assert phone.ended == "link_failed"
    assert [record.getMessage() for record in caplog.records if "link_failed" in record.getMessage()] == [
        "link_failed: while serving a link of alice at the node b"
    ]


@pytest.mark.parametrize("asked", ["first", "last"])
@pytest.mark.parametrize("shown", ["first", "last"])
def test_a_shown_face_has_the_device_that_was_used_last_on_every_node(asked: str, shown: str) -> None:
    """The record of who appears offline names none, so that each node finds it by what it knows of the devices."""
    a, b, c = (town := Town("a", "b", "c")).nodes
    laptop, phone = a.dial("alice/laptop", idle_ms=0), b.dial("alice/phone", idle_ms=0)
    watchers = [node.dial(f"bob/{node.name}") for node in (a, b, c)]

    def use(used: Client, least_ms: int) -> None:
        for _ in range(least_ms // 10_000):
            town.advance(10_000, 1_000)
            for one in (laptop, phone):
                one.say(Heartbeat(0 if one is used else None))
            for one in watchers:
                one.say(Heartbeat(None))
        town.advance(GATHER_MS, 1_000)

    def devices() -> set[str]:
        found: set[str] = set()
        for one in watchers:
            number = one.next_id()
            one.say(Get(number, ["alice"]))
            [records] = one.replies_to(number)
            assert isinstance(records, Records) and records.records[0].status == "online"
            found.add(records.records[0].device)
        return found

    def watch() -> None:
        for one in watchers:
            one.say(Watch(one.next_id(), ["alice"]))

    # Nobody tells the other nodes of this input.
    use(phone, 120_000)
    if shown == "first":
        laptop.say(ShowTo(laptop.next_id(), "bob"))
    laptop.say(SetStatus(laptop.next_id(), "offline"))
    use(phone, 120_000)
    if shown == "last":
        laptop.say(ShowTo(laptop.next_id(), "bob"))
    if asked == "first":
        watch()
    assert devices() == {"phone"}
    for used in (laptop, phone, laptop):
        use(used, 120_000)
        if asked == "first":
            assert devices() == {used.device}
    watch()
    assert devices() == {"laptop"}


def die(town: Town, node: TownNode) -> None:
    """The node is killed, and its clients with it."""
    town.kill(node)
    for client in list(node.clients):
        client.cut()
