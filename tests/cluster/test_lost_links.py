"""What a lost link had is taken back on whichever node its client comes to (protocol.md, 22.3 and 28.3)."""

from __future__ import annotations

from typing import Any

import pytest

from presenced.cluster.links import lost_links
from presenced.cluster.links.lost_links import KEPT_MS, PATIENCE_MS
from presenced.core.model import CONNECTED
from presenced.core.parts import resumptions
from presenced.core.parts.resumptions import RESUMED, UNKNOWN
from presenced.core.policy import Policy
from presenced.wire.messages import (
    Attach,
    Beats,
    Bye,
    ContactEntry,
    Detach,
    Done,
    Erase,
    Heartbeat,
    Kick,
    Revoke,
    SetContacts,
    SetStatus,
    Taken,
    Watch,
    WatchAll,
    WatchChannel,
)
from tests.cluster.client import Client
from tests.cluster.town import Town, TownNode


def come(node: TownNode, address: str, resume: str = "", **fields: Any) -> Client:
    return node.dial(address, resume=resume, instance=fields.pop("instance", 7), **fields)


def served(node: TownNode, resume: str = "", **fields: Any) -> Client:
    """A link of a service."""
    return come(node, "app", resume, role="service", **fields)


def watch(client: Client, *names: str) -> None:
    client.say(Watch(client.next_id(), list(names)))


def hold(client: Client, ref: int, address: str, **fields: Any) -> None:
    user, _, device = address.partition("/")
    number = client.next_id()
    client.say(Attach(number, ref, user, device, **fields))
    assert [type(one) for one in client.replies_to(number)] == [Done]


def beat(town: Town, ms: int, *clients: Client) -> None:
    """Let time pass in which these are heard of."""
    for _ in range(ms // 1_000):
        town.advance(1_000, 1_000)
        for client in clients:
            client.say(Heartbeat(None))


def is_connected(town: Town, address: str) -> bool:
    """Whether the home of the user has the device on a link."""
    user, _, device = address.partition("/")
    [home] = [node for node in town.nodes if node.node.own(user)]
    known = home.engine.users.get(user)
    return known is not None and device in known.devices and known.devices[device].state == CONNECTED


def kept(town: Town) -> int:
    """What all nodes keep of lost links, but for what became of tokens."""
    for node in town.nodes:
        node.engine.resumptions.check(())
    return sum(node.engine.resumptions.count for node in town.nodes)


# --- what comes back ----------------------------------------------------------------------------------------------


def test_the_watch_of_a_lost_link_is_back_on_another_node_without_a_word() -> None:
    a, b = (town := Town("a", "b")).nodes
    bob, watcher = a.dial("bob/phone"), a.dial("watcher/screen")
    watch(watcher, "alice")
    first = come(a, "alice/laptop")
    watch(first, "bob", "carol")
    first.say(WatchChannel(first.next_id(), "room", 10))
    first.lose()
    bob.say(SetStatus(bob.next_id(), "dnd"))
    back = come(b, "alice/laptop", first.token)
    assert back.resumed and back.watching == {"bob", "carol"}
    assert back.session is not None and set(back.session.channels or ()) == {"room"}
    assert back.messages == [], "what has changed meanwhile is for the client to ask"
    bob.say(SetStatus(bob.next_id(), "away"))
    assert back.statuses("bob") == ["away"]
    assert watcher.statuses("alice") == ["online"] and is_connected(town, "alice/laptop")
    assert kept(town) == 0 and not any(node.forwarding.lost_links._sought for node in town.nodes)
    assert back.token != first.token and len(back.token) == len(first.token) == 22
    assert dict(b.engine.resumptions.outcomes) == {RESUMED: 1}


@pytest.mark.parametrize("at", [0, 1, 2], ids=["on the home", "on the same node", "on a third node"])
def test_a_link_whose_device_is_on_another_node_takes_back_what_it_had(at: int) -> None:
    """The tablet keeps the home where it is."""
    a, b, _ = (town := Town("a", "b", "c")).nodes
    a.dial("alice/tablet")
    watcher = a.dial("watcher/screen")
    watch(watcher, "alice")
    first = come(b, "alice/laptop")
    watch(first, "bob")
    first.lose()
    assert b.engine.resumptions.count == 1 and not is_connected(town, "alice/laptop")
    back = come(town.nodes[at], "alice/laptop", first.token)
    assert back.resumed and back.watching == {"bob"} and is_connected(town, "alice/laptop")
    again = come(a, "alice/laptop", back.token)
    assert back.ended == "replaced" and again.resumed and again.watching == {"bob"}
    assert watcher.statuses("alice") == [] and kept(town) == 0


def test_everybody_and_contacts_come_back_as_well() -> None:
    a, b = (town := Town("a", "b", policy=Policy(grounds=("contacts",)))).nodes
    app = served(a)
    app.say(SetContacts(app.next_id(), "alice", [ContactEntry("bob")]))
    app.say(WatchAll(app.next_id(), True))
    alice = come(a, "alice/laptop", contacts=True)
    app.lose()
    alice.lose()
    app, alice = served(b, app.token), come(b, "alice/laptop", alice.token)
    assert app.resumed and alice.resumed and alice.messages == []
    bob = a.dial("bob/phone")
    assert app.statuses("bob") == ["online"] and alice.statuses("bob") == ["online"]
    app.say(SetContacts(app.next_id(), "alice", [ContactEntry("bob"), ContactEntry("carol")]))
    assert [type(one).__name__ for one in alice.messages] == ["Presence", "ContactChange", "Presence"]
    bob.say(SetStatus(bob.next_id(), "dnd"))
    assert alice.statuses("bob") == ["online", "dnd"]


def held_over(town: Town) -> Client:
    """A service on the first node that holds a device decided on each of three: of u1, u2 and u3."""
    for number, node in enumerate(town.nodes, 1):
        node.dial(f"u{number}/own")
    app = served(town.nodes[0])
    for number in (1, 2, 3):
        hold(app, number, f"u{number}/tab")
    assert [node.node.own(f"u{number}") for number, node in enumerate(town.nodes, 1)] == [True] * 3
    return app


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_service_holds_again_what_it_held_wherever_that_is_decided(at: int) -> None:
    town = Town("a", "b", "c")
    watcher = town.nodes[2].dial("watcher/screen")
    watch(watcher, "u1", "u2", "u3")
    app = held_over(town)
    app.lose()
    assert not any(is_connected(town, f"u{number}/tab") for number in (1, 2, 3))
    told = len(watcher.messages)
    back = served(town.nodes[at], app.token)
    assert back.resumed and back.refs == {1: "u1/tab", 2: "u2/tab", 3: "u3/tab"}
    assert all(is_connected(town, f"u{number}/tab") for number in (1, 2, 3))
    back.say(Beats([1, 0, 2, 0, 3, 0]))
    assert back.messages == [] and len(watcher.messages) == told
    back.say(Beats([4, 0]))
    assert back.messages == [Taken(4, "not_held")]
    number = back.next_id()
    back.say(Detach(number, 2))
    assert [type(one) for one in back.replies_to(number)] == [Done]
    assert back.refs == {1: "u1/tab", 3: "u3/tab"} and not is_connected(town, "u2/tab")
    back.lose()
    again = served(town.nodes[at - 1], back.token)
    assert again.resumed and again.refs == {1: "u1/tab", 3: "u3/tab"}
    assert kept(town) == 0


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_is_no_longer_the_clients_is_told_with_the_reason(at: int) -> None:
    town = Town("a", "b", "c")
    a, b, c = town.nodes
    own = [node.dial(f"u{number}/own") for number, node in enumerate(town.nodes, 1)]
    app = served(a)
    for number in range(1, 13):
        hold(app, number, f"u{(number - 1) % 3 + 1}/tab{number}", for_at_most_ms=2_000 if number in (4, 5, 6) else 0)
    app.lose()
    other = served(b, instance=8)
    for number in (7, 8, 9):
        hold(other, number, f"u{number - 6}/tab{number}")
    boss = c.dial("boss", role="admin")
    beat(town, 3_000, *own, other, boss)
    for number in (10, 11, 12):
        name = f"u{(number - 1) % 3 + 1}"
        if number == 12:
            boss.say(Kick(boss.next_id(), name))
    back = served(town.nodes[at], app.token)
    assert back.resumed and back.refs == {1: "u1/tab1", 2: "u2/tab2", 10: "u1/tab10", 11: "u2/tab11"}
    assert back.taken == {4: "ended", 5: "ended", 6: "kicked", 7: "replaced", 8: "replaced"} | dict.fromkeys(
        (3, 9, 12), "kicked"
    )


def test_a_home_that_has_not_let_go_yet_gives_the_devices_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link had more there than is let go of in one turn."""
    town = Town("a", "b", "c")
    a, b, c = town.nodes
    a.dial("u1/own")
    app = served(b)
    for number in range(1, 6):
        hold(app, number, f"u1/tab{number}")
    monkeypatch.setattr("presenced.core.parts.releases.SLICE", 1)
    town.pause(a)
    app.lose()
    town.settle()
    back = served(c, app.token)
    town.settle()
    c.turn()
    assert back.resumed
    town.settle()
    town.resume()
    for _ in range(10):
        town.advance(10, 10)
    assert back.messages == [] and len(back.refs) == 5
    assert all(is_connected(town, f"u1/tab{number}") for number in range(1, 6))


def test_devices_whose_users_have_another_home_by_now_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their people have come to another node themselves, and their homes with them."""
    town = Town("a", "b", "c")
    a, b, _ = town.nodes
    app = served(a)
    for number in (1, 2):
        hold(app, number, f"u{number}/tab")
    assert a.node.own("u1") and a.node.own("u2")
    app.lose()
    b.dial("u1/phone")
    assert b.node.own("u1")
    back = served(a, app.token)
    assert back.resumed and back.refs == {1: "u1/tab", 2: "u2/tab"} and back.messages == []
    assert is_connected(town, "u1/tab") and is_connected(town, "u2/tab")


def test_much_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (resumptions, lost_links):
        monkeypatch.setattr(module, "SLICE", 2)
    monkeypatch.setattr("presenced.core.parts.releases.SLICE", 2)
    town = Town("a", "b", "c")
    app = held_over(town)
    watch(app, *(f"u{number}" for number in range(1, 10)))
    for number in range(4, 9):
        hold(app, number, f"u1/more{number}")
    refs = app.refs
    app.lose()
    back = served(town.nodes[1], app.token)
    town.advance(100, 10)
    assert back.resumed and back.refs == refs and len(back.watching) == 9 and back.messages == []


# --- for whom, and once ---------------------------------------------------------------------------------------------

STRANGERS: dict[str, dict[str, Any]] = {
    "user": {"address": "mallory/laptop"},
    "device": {"address": "alice/phone"},
    "instance": {"instance": 8},
    "role": {"role": "service"},
}


@pytest.mark.parametrize("differs", STRANGERS)
def test_whoever_is_another_learns_nothing_and_takes_nothing_away(differs: str) -> None:
    a, b = (town := Town("a", "b")).nodes
    first = come(a, "alice/laptop")
    watch(first, "bob")
    first.lose()
    said = {"address": "alice/laptop"} | STRANGERS[differs]
    thief = come(b, said.pop("address"), first.token, **said)
    assert thief.is_open and not thief.resumed and thief.watching == set() and thief.messages == []
    thief.say(Bye())
    assert come(b, "alice/laptop", first.token).resumed
    assert kept(town) == 0


def test_a_token_is_good_once_on_all_nodes_together() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    first = served(a)
    watch(first, "bob")
    first.lose()
    town.pause()
    at_once = [served(b, first.token), served(c, first.token)]
    assert not any(client.session for client in at_once), "they wait for the node that has given it"
    town.resume()
    for node in (b, c):
        node.turn()
    assert sorted(client.resumed for client in at_once) == [False, True]
    assert all(client.is_open for client in at_once)
    [taker] = [client for client in at_once if client.resumed]
    assert taker.watching == {"bob"}
    for node in town.nodes:
        late = served(node, first.token)
        assert late.is_open and not late.resumed and late.watching == set()


def test_a_link_that_is_still_open_is_closed_and_its_client_goes_on() -> None:
    a, b = (town := Town("a", "b")).nodes
    watcher = a.dial("watcher/screen")
    watch(watcher, "alice", "u1")
    laptop, app = come(a, "alice/laptop"), served(a)
    watch(laptop, "bob")
    hold(app, 1, "u1/tab")
    told = len(watcher.messages)
    back, service = come(b, "alice/laptop", laptop.token), served(b, app.token)
    assert (laptop.ended, app.ended) == ("replaced", "replaced")
    assert back.resumed and back.watching == {"bob"} and is_connected(town, "alice/laptop")
    assert service.resumed and service.refs == {1: "u1/tab"} and is_connected(town, "u1/tab")
    assert len(watcher.messages) == told, "nobody sees anything"


def test_a_device_without_grace_is_not_gone_for_a_moment() -> None:
    a, b = Town("a", "b", policy=Policy(grace_ms=0)).nodes
    watcher = a.dial("watcher/screen")
    watch(watcher, "alice")
    laptop = come(a, "alice/laptop")
    watch(laptop, "bob")
    told = watcher.statuses("alice")
    back = come(b, "alice/laptop", laptop.token)
    assert laptop.ended == "replaced" and back.is_open and not back.resumed
    assert watcher.statuses("alice") == told


def test_a_link_that_had_very_much_is_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumptions, "GIVEN_MAX", 10)
    a, b = Town("a", "b").nodes
    first = served(a)
    watch(first, "u1", "u2", "u3")
    first.lose()
    assert not served(b, first.token).resumed
    assert served(a, first.token).resumed, "on its own node it is still there"


# --- what may happen meanwhile ------------------------------------------------------------------------------------


def waiting(town: Town, giver: TownNode, taker: TownNode, first: Client, **fields: Any) -> Client:
    """A client has come to another node with its token, and the node that has given it reads nothing yet."""
    town.pause(giver)
    back = served(taker, first.token, **fields)
    town.settle()
    assert back.session is None and back.is_open
    return back


def lost_service(node: TownNode) -> Client:
    first = served(node)
    watch(first, "bob")
    hold(first, 1, "u1/tab")
    first.lose()
    return first


def test_a_node_that_does_not_answer_is_not_waited_for_long_and_what_comes_late_is_dropped() -> None:
    a, b = (town := Town("a", "b")).nodes
    first = lost_service(a)
    back = waiting(town, a, b, first)
    town.now_ms += PATIENCE_MS - 1
    b.advance(PATIENCE_MS - 1)
    assert back.session is None
    town.now_ms += 1
    b.advance(1)
    b.turn()
    assert back.is_open and back.session is not None and not back.resumed and back.watching == set()
    watch(back, "carol")
    town.resume()
    assert back.watching == {"carol"} and back.refs == {} and not back.lies
    assert kept(town) == 0 and not a.forwarding.lost_links._giving and not b.forwarding.lost_links._sought
    hold(back, 1, "u1/tab", as_was=True)
    assert back.refs == {1: "u1/tab"}, "it says everything again"


@pytest.mark.parametrize("when", ["before the question", "before the answer"])
def test_a_node_that_dies_gives_nothing(when: str) -> None:
    a, b = (town := Town("a", "b")).nodes
    first = lost_service(a)
    town.is_prompt = when == "before the answer"
    town.kill(a)
    back = served(b, first.token)
    assert back.session is None, "nobody knows yet that the node is gone"
    town.is_prompt = True
    beat(town, PATIENCE_MS + 1_000)
    b.turn()
    assert back.is_open and back.session is not None and not back.resumed
    beat(town, 60_000, back)
    again = served(b, first.token)
    assert again.session is not None and not again.resumed, "it is known to be gone, and nobody is waited for"


def test_a_node_that_is_known_to_be_gone_is_not_waited_for() -> None:
    """Its death is in the log before its answer is."""
    a, b = (town := Town("a", "b")).nodes
    first = lost_service(a)
    back = waiting(town, a, b, first)
    b.forwarding.node_gone(a.node.me, town.now_ms, town.now_ms)
    b.turn()
    assert back.session is not None and not back.resumed


def test_who_takes_what_was_given_and_dies_takes_nothing_else_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_links, "SLICE", 1)
    a, b, c = (town := Town("a", "b", "c")).nodes
    first = served(a)
    watch(first, *(f"u{number}" for number in range(5)))
    first.lose()
    town.pause()
    served(b, first.token)
    assert b.append() and a.read() and a.forwarding.lost_links._giving
    a.forwarding.node_gone(b.node.me, town.now_ms, town.now_ms)
    assert not a.forwarding.lost_links._giving
    a.engine.resumptions.check(())
    town.kill(b)
    town.resume()
    assert not served(c, first.token).resumed and kept(town) == 0


@pytest.mark.parametrize("act", ["kick", "erase", "revoke"])
@pytest.mark.parametrize("when", ["before it is given", "while it is given", "when it is there"])
def test_who_was_cut_off_takes_nothing_back(act: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    first = lost_service(a)
    boss = c.dial("boss", role="admin")
    said = {
        "kick": Kick(boss.next_id(), "app"),
        "erase": Erase(boss.next_id(), "app"),
        "revoke": Revoke(boss.next_id(), "app", 0),
    }[act]
    if when == "before it is given":
        boss.say(said)
        back = served(b, first.token)
    else:
        found: list[Client] = []
        monkeypatch.setattr(Client, "_found", lambda self, now_ms: found.append(self))
        if when == "when it is there":
            back = served(b, first.token)
            assert found
        else:
            back = waiting(town, a, b, first)
        boss.say(said)
        town.settle()
        # The node that gives it has read nothing of that so far, and the one that is given it has.
        town.resume()
        assert found == [back]
        back.greet()
        b.turn()
    assert back.is_open and not back.resumed and back.watching == set()
    assert kept(town) == 0


def test_a_client_that_went_while_it_was_asked_for_leaves_nothing_behind() -> None:
    a, b = (town := Town("a", "b")).nodes
    first = lost_service(a)
    back = waiting(town, a, b, first)
    back.cut()
    town.resume()
    b.turn()
    assert back.session is None
    town.advance(KEPT_MS + 2 * PATIENCE_MS, 1_000)
    assert not b.forwarding.lost_links._sought and kept(town) == 0


def test_nodes_of_an_earlier_version_are_not_asked() -> None:
    a, b = (town := Town("a", "b")).nodes
    first = lost_service(a)
    for node in town.nodes:
        for member in node.node.nodes:
            member.gives_links = member.name != "a"
    back = served(b, first.token)
    assert back.session is not None and not back.resumed


def test_a_node_that_is_short_of_memory_keeps_nothing_that_is_given() -> None:
    a, b = (town := Town("a", "b")).nodes
    first = lost_service(a)
    b.engine.set_memory_level(1)
    back = served(b, first.token)
    assert back.is_open and not back.resumed and kept(town) == 0
    assert dict(b.engine.resumptions.outcomes) == {UNKNOWN: 1}
