"""Links on several nodes are told what they would be told by one server: random lives, held against one engine that is
asked the same.

In each step one link says something, often several things at once, and all nodes come to rest in an order of their own.
What is told of versions, and of when exactly a device was heard, is not compared.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings, strategies as st

from presenced.cluster.links.refusals import ENDED
from presenced.core.policy import Policy
from presenced.core.rights import rights_of
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Applied,
    Attach,
    Beats,
    Bye,
    ClientMessage,
    Command,
    Detach,
    DeviceInfo,
    EndClaim,
    Explain,
    Focus,
    Forget,
    Get,
    GetDevices,
    GetSync,
    Heartbeat,
    Join,
    Kick,
    Leave,
    OwnState,
    Ping,
    Presence,
    Record,
    Revoke,
    Route,
    SetDevice,
    SetStatus,
    Sync,
    Touch,
    Unwatch,
    Watch,
)
from tests.cluster.nodes import Cluster, Link, Node, check_whole
from tests.support.tiers import samples

USERS = ("ann", "bob", "cat")
DEVICES = ("laptop", "phone")

users = st.sampled_from(USERS)
devices = st.sampled_from(DEVICES)
refs = st.integers(1, 3)
statuses = st.sampled_from(("online", "away", "dnd", "xa"))
idles = st.sampled_from((None, 0, 200_000, 400_000, 4_000_000))
picks = st.integers(0, 99)

NO_SHRINK = (Phase.explicit, Phase.reuse, Phase.generate)
"""To make a life of fifty steps shorter takes minutes."""


class Pair:
    """A client of the cluster, and the same one of the one server."""

    def __init__(self, there: Link, twin: Link) -> None:
        self.there = there
        self.twin = twin
        self.seen = (0, 0)
        self.ids = 0

    @property
    def is_open(self) -> bool:
        return self.twin.is_open

    @property
    def is_service(self) -> bool:
        return self.twin.hello.role != "user"


def plain(message: Any) -> Any:
    """A message without what may differ."""
    if isinstance(message, OwnState):
        message = msgspec.structs.replace(message, version=0)
    elif isinstance(message, DeviceInfo):
        message = msgspec.structs.replace(message, last_seen_ms=0)
    if isinstance(message, msgspec.Struct):
        told = {name: plain(getattr(message, name)) for name in message.__struct_fields__}
        for name in ("version", "server_time_ms"):
            if name in told:
                told[name] = 0
        return (type(message).__name__, *told.items())
    if isinstance(message, list):
        return [plain(one) for one in message]
    return message


class Lives:
    """The cluster and the one server side by side."""

    def __init__(self, count: int, seed: int, *, hands_over: bool, **policy_fields: Any) -> None:
        # How often changes of one moment are told depends on how they come together.
        policy = Policy(change_spacing_ms=0, **policy_fields)
        self.cluster = Cluster(count, policy, seed=seed)
        self.cluster.hands_over = hands_over
        self.one = Node(1, None, policy)
        self.pairs: list[Pair] = []

    def run(self) -> None:
        self.cluster.run()
        while True:
            self.one.turn()
            next_ms = self.one.next_ms
            if next_ms is None or next_ms > self.one.now_ms:
                break

    def advance(self, ms: int) -> None:
        self.cluster.advance(ms)
        end_ms = self.one.now_ms + ms
        while (next_ms := self.one.next_ms) is not None and next_ms < end_ms:
            self.one.now_ms = max(self.one.now_ms, next_ms)
            self.one.turn()
        self.one.now_ms = end_ms
        self.run()

    def open(self, node: int, address: str, *said: ClientMessage, **fields: Any) -> None:
        there = self.cluster.nodes[node % len(self.cluster.nodes)].open(address, **fields)
        twin = self.one.open(address, **fields)
        self.pairs.append(Pair(there, twin))
        if twin.is_open and there.is_open:
            self.say(self.pairs[-1], *said)
        else:
            self.run()
            self.compare()

    def say(self, pair: Pair, *said: ClientMessage) -> None:
        messages = []
        for message in said:
            if hasattr(message, "id"):
                pair.ids += 1
                message = msgspec.structs.replace(message, id=pair.ids)
            messages.append(message)
        for link in (pair.there, pair.twin):
            for message in messages:
                if isinstance(message, Applied | Heartbeat):
                    # It acknowledges what has come by now. And a heartbeat does not wait for what was asked before.
                    self.run()
                if isinstance(message, Applied):
                    states = link.took(OwnState)
                    message = Applied(states[-1].version if states else 0)
                link.say(message)
                if isinstance(message, Beats):
                    # Nobody is told when it has arrived.
                    self.run()
        self.run()
        self.cluster.flush()
        self.compare()

    def lose(self, pair: Pair) -> None:
        pair.there.lose()
        pair.twin.lose()
        self.run()
        self.compare()

    def beat(self, idle_ms: int | None) -> None:
        for pair in self.pairs:
            if pair.is_open:
                held = pair.twin.session.refs or {}
                beats = [part for ref in held for part in (ref, -1 if idle_ms is None else idle_ms)]
                for link in (pair.there, pair.twin):
                    link.say(Heartbeat(idle_ms))
                    if pair.is_service and beats:
                        link.say(Beats(beats))
                self.run()
                self.cluster.flush()
        self.compare()

    def compare(self) -> None:
        """Each link was told the same since the last time, and all nodes know what the one server knows."""
        for name in USERS:
            self.compare_user(name)
        for pair in self.pairs:
            there, twin = pair.there.messages[pair.seen[0] :], pair.twin.messages[pair.seen[1] :]
            pair.seen = (len(pair.there.messages), len(pair.twin.messages))
            who = f"{pair.twin.hello.user}/{pair.twin.hello.device}"
            ends = (pair.there.ended, pair.twin.ended)
            # What takes the device and what cuts the user off in one moment may be seen the other way round.
            assert ends[0] == ends[1] or (None not in ends and "token_revoked" in ends), (who, ends)
            assert told(there) == told(twin), f"{who} is told\n{there} and not\n{twin}"
            if pair.is_open:
                # Another's change may come to a link that ends in the same moment, or not any more.
                assert shown(pair.there) == shown(pair.twin), f"{who} is told\n{there} and not\n{twin}"
            if pair.is_open and pair.twin.took(OwnState):
                mine, theirs = pair.there.took(OwnState)[-1], pair.twin.took(OwnState)[-1]
                assert plain(mine) == plain(theirs), who
        check_whole(self.one)
        self.cluster.check()

    def compare_user(self, name: str) -> None:
        twin = self.one.engine.users.get(name)
        home = self.cluster.home_of(name)
        there = self.cluster.nodes[home - 1].engine.users.get(name) if home else None
        if twin is None or there is None:
            assert (twin is None or not twin.devices) and (there is None or not there.devices)
            return
        assert plain(there.record) == plain(twin.record), (there.record, twin.record)
        assert [*there.devices] == [*twin.devices]
        for device_id, device in twin.devices.items():
            mine = there.devices[device_id]
            assert (mine.state, mine.active_ms, mine.ref) == (device.state, device.active_ms, device.ref), device_id
            assert (mine.idle_level, mine.focus, mine.holder) == (device.idle_level, device.focus, device.holder)
        for node in self.cluster.nodes:
            copy = node.engine.users.get(name)
            assert copy is None or plain(copy.record) == plain(twin.record), f"node {node.number} has another {name}"


def told(messages: list[Any]) -> Any:
    """What does not depend on the order in which homes answer."""
    answers = [
        plain(one)
        for one in messages
        # Where a link ends whose requests wait for other nodes, these are refused. The one server does not wait.
        if not isinstance(one, OwnState | Presence) and getattr(one, "message", "") != ENDED
    ]
    return sorted(answers, key=repr)


def shown(link: Link) -> dict[str, Any]:
    """What the client shows of users whom it was told of: of each the newest record, which is not always the last."""
    view: dict[str, Record] = {}
    for message in link.messages:
        for record in [message.record] if isinstance(message, Presence) else getattr(message, "records", ()):
            known = view.get(record.user)
            if known is None or not record.version or record.version >= known.version:
                view[record.user] = record
    return {name: plain(record) for name, record in view.items()}


@st.composite
def requests_of_users(draw: st.DrawFn) -> ClientMessage:
    status, idle, user, device = draw(statuses), draw(idles), draw(users), draw(devices)
    text = draw(st.sampled_from((None, "busy", "")))
    for_ms = draw(st.sampled_from((0, 50_000)))
    return draw(
        st.sampled_from(
            (
                SetStatus(1, status, text, for_ms=for_ms),
                SetStatus(1, "auto"),
                SetStatus(1, status, user=user),
                SetDevice(1, "away" if status == "xa" else "online", meta=text),
                Get(1, [*USERS]),
                Get(1, [user, "stranger"]),
                Watch(1, [*USERS]),
                Unwatch(1, [user]),
                GetDevices(1),
                GetDevices(1, user),
                AddClaim(1, "trip", "calendar", status, for_ms),
                AddClaim(1, "trip", "calendar", status, device=device),
                EndClaim(1, "trip"),
                AddActivity(1, "typed"),
                Touch(1),
                Join(1, "room"),
                Leave(1, "room"),
                Forget(1, device),
                GetSync(1),
                Sync(1),
                Applied(0),
                Focus(0, "room"),
                Ping(1),
                Explain(1),
                Route(1, [user]),
                Command(1, f"/presence {status} for 2m"),
                Command(1, 'status "in a meeting"'),
                Command(1, "devices"),
                Command(1, "sync"),
                Command(1, "nonsense"),
                Heartbeat(idle),
            )
        )
    )


@st.composite
def requests_of_services(draw: st.DrawFn) -> ClientMessage:
    ref, user, device, idle = draw(refs), draw(users), draw(devices), draw(idles)
    again, status = draw(st.booleans()), draw(statuses)
    lease_ms = draw(st.sampled_from((0, 0, 100_000)))
    within_ms = draw(st.sampled_from((None, 0, 20_000)))
    attach = Attach(1, ref, user, device, "web", "", 0, "online", idle, again, again, lease_ms)
    return draw(
        st.sampled_from(
            (
                *[attach] * 10,
                *[Beats([1, 0, 2, 400_000, 3, -1])] * 5,
                *[Kick(1, user), Kick(1, "app")],
                *[Detach(1, ref)] * 2,
                Detach(1, ref, True),
                Detach(1, 0, again, user, device, within_ms),
                Detach(1, 0, again, user),
                Beats([ref]),
                SetStatus(1, status, user=user),
                SetStatus(1, status, user=user, device=device),
                SetStatus(1, status),
                SetStatus(1, status, user="no name\n"),
                SetDevice(1, "dnd", user=user, device=device),
                AddClaim(1, "call", "call", "dnd", 90_000, user=user),
                EndClaim(1, "call", user),
                Join(1, "room", user, device),
                Touch(1, user, device),
                Forget(1, device, user),
                Focus(ref, "room"),
                Get(1, [*USERS, "stranger"]),
                Watch(1, [*USERS]),
                GetDevices(1, user),
                GetSync(1, user),
                Explain(1, user),
                Route(1, [*USERS, "stranger"]),
                Route(1, [user]),
                Command(1, f"/presence {status}", user),
                Revoke(1, user, 1_000_000),
                Heartbeat(),
            )
        )
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("come"),
            picks,
            users,
            devices,
            idles,
            st.tuples(st.booleans(), st.booleans(), st.booleans()),
            st.lists(requests_of_users(), max_size=3),
        ),
        st.tuples(st.just("serve"), picks, st.integers(0, 2), st.sampled_from((None, None, ["ann", "cat"]))),
        st.tuples(st.just("ask"), picks, st.lists(requests_of_users(), min_size=1, max_size=4)),
        st.tuples(st.just("ask"), picks, st.lists(requests_of_users(), min_size=1, max_size=4)),
        st.tuples(st.just("act"), picks, st.lists(requests_of_services(), min_size=1, max_size=4)),
        st.tuples(st.just("act"), picks, st.lists(requests_of_services(), min_size=1, max_size=4)),
        st.tuples(st.just("act"), picks, st.lists(requests_of_services(), min_size=1, max_size=4)),
        st.tuples(st.just("leave"), picks, st.sampled_from(("lost", "bye", "bye with a request"))),
        st.tuples(st.just("beat"), idles),
        st.tuples(st.just("wait"), st.sampled_from((1, 64, 5_000, 16_000, 29_000))),
    ),
    min_size=12,
    max_size=50,
)


def live(count: int, seed: int, hands_over: bool, steps: list[Any]) -> None:
    """Let the links live, step after step."""
    lives = Lives(count, seed, hands_over=hands_over)
    for step in steps:
        open_ones = [pair for pair in lives.pairs if pair.is_open]
        people = [pair for pair in open_ones if not pair.is_service]
        apps = [pair for pair in open_ones if pair.is_service]
        match step:
            case ("come", node, user, device, idle, (sync, again, is_known), said):
                fields = {"idle_ms": idle, "sync": sync, "as_was": again, "only_free": again}
                instance = 7 if is_known else len(lives.pairs) + 10
                lives.open(node, f"{user}/{device}", *said, instance=instance, **fields)
            case ("serve", node, instance, see):
                rights = rights_of({"act": see}, "app", "service") if see is not None else None
                lives.open(node, "app", role="service", instance=instance, rights=rights)
            case ("ask", which, said) if people:
                lives.say(people[which % len(people)], *said)
            case ("act", which, said) if apps:
                lives.say(apps[which % len(apps)], *said)
            case ("leave", which, how) if open_ones:
                pair = open_ones[which % len(open_ones)]
                if how == "lost":
                    lives.lose(pair)
                elif how == "bye":
                    lives.say(pair, Bye())
                else:
                    lives.say(pair, SetStatus(1, "dnd", user="bob"), Bye())
            case ("beat", idle):
                lives.beat(idle)
            case ("wait", ms):
                lives.advance(ms)
                if ms > 5_000:
                    lives.beat(None)
            case _:
                pass


@settings(max_examples=40, deadline=None, phases=NO_SHRINK)
@given(count=st.integers(2, 3), seed=st.integers(0, 2**20), hands_over=st.booleans(), steps=STEPS)
def test_links_are_told_the_same_wherever_they_are(count: int, seed: int, hands_over: bool, steps: list[Any]) -> None:
    live(count, seed, hands_over, steps)


class Person:
    """Somebody at a device, whose client beats as it should."""

    def __init__(self, lives: Lives, node: int, address: str) -> None:
        self.links = lives.cluster.nodes[node].open(address, idle_ms=0), lives.one.open(address, idle_ms=0)
        self.input_ms = self.beaten_ms = lives.one.now_ms
        lives.run()

    def beat(self, lives: Lives) -> None:
        self.beaten_ms = lives.one.now_ms
        for link in self.links:
            link.say(Heartbeat(self.beaten_ms - self.input_ms))
        lives.run()


@pytest.mark.parametrize("seed", range(samples(60)))
def test_people_become_idle_in_the_same_steps_though_heartbeats_are_told_together(seed: int) -> None:
    """Nothing is compared but what is shown: when exactly somebody was active is told later, or never."""
    chance = Random(seed)
    lives = Lives(3, seed, hands_over=chance.random() < 0.5, away_after_ms=60_000, offline_after_ms=90_000)
    watcher = Person(lives, 0, "eve/desk")
    for link in watcher.links:
        link.say(Watch(1, [*USERS]))
    people: dict[str, Person] = {}
    for _ in range(80):
        lives.advance(chance.choice((1_000, 4_000, 9_000, 14_000)))
        watcher.input_ms = lives.one.now_ms
        for person in (watcher, *people.values()):
            if lives.one.now_ms - person.beaten_ms >= 30_000:
                person.beat(lives)
        name = chance.choice(USERS)
        if name not in people:
            people[name] = Person(lives, chance.randrange(3), f"{name}/phone")
        elif chance.random() < 0.1:
            for link in people.pop(name).links:
                link.lose()
            lives.run()
        elif chance.random() < 0.3:
            people[name].input_ms = lives.one.now_ms
            people[name].beat(lives)
        there, twin = (steps_of(link) for link in watcher.links)
        assert there == twin


def steps_of(link: Link) -> dict[str, list[str]]:
    """The statuses that the link was told of each user, one after the other."""
    steps: dict[str, list[str]] = {name: ["offline"] for name in USERS}
    for told_of in link.took(Presence):
        user, status = told_of.record.user, told_of.record.status
        if steps[user][-1] != status:
            steps[user].append(status)
    return steps
