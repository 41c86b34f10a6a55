"""What messages cost: more for what asks for more, and every message has been thought of."""

from __future__ import annotations

from typing import get_args

import pytest

from presenced.core.requests.costs import (
    CHANGE_MAX,
    CHANNELS,
    DEVICES,
    EVERYBODY,
    FORECASTS,
    NAMES,
    ROUTES,
    WINDOWS,
    cost_of_change,
)
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.server.zones import calendar
from presenced.wire.messages import (
    Acknowledge,
    AddActivity,
    AddClaim,
    Applied,
    Approve,
    Attach,
    Beats,
    Block,
    Bye,
    Cancel,
    CancelAwait,
    Check,
    ClientMessage,
    Command,
    Compare,
    Detach,
    EndClaim,
    Explain,
    Focus,
    Follow,
    Forget,
    ForgetFollower,
    Get,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetClaims,
    GetDevices,
    GetFollowers,
    GetMembers,
    GetSync,
    Heartbeat,
    Hello,
    HideFrom,
    Join,
    Leave,
    Ping,
    RemoveContact,
    Revoke,
    Route,
    SetAudience,
    SetContact,
    SetDevice,
    SetSchedule,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Sync,
    Touch,
    Unblock,
    Unsubscribe,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
    Window,
)
from tests.core.world import FakeLink, World
from tests.support.requests import HANDLERS, REQUESTS

COST_THEIR_FRAME_ALONE = {
    Applied, Follow, Forget, GetClaims, GetDevices, GetSync, Heartbeat, Hello, Join, Leave, AddActivity, Ping, Sync,
    Touch, UnwatchChannel, Block, Unblock, HideFrom, ShowAgain, ShowTo, StopShowing,
    Subscribe, Approve, Cancel, Unsubscribe, SetContact, RemoveContact, Revoke, CancelAwait,
    Focus,
    Subscribe, Approve, Cancel, Unsubscribe, SetContact, RemoveContact, Revoke, Focus,
    Acknowledge, GetFollowers, ForgetFollower,
}  # fmt: skip
"""Bounded by the limits of what they are about (16 devices, 16 claims, one channel), or counted elsewhere (hello)."""

NAMES_MAX = [f"user{number}" for number in range(USERS_PER_REQUEST_MAX)]


def test_every_message_has_a_cost_or_a_reason_for_none() -> None:
    assert {kind for kind, handler in HANDLERS.items() if handler.cost is None} == COST_THEIR_FRAME_ALONE
    assert set(HANDLERS) == set(get_args(ClientMessage))


def cost_of(link: FakeLink, message: ClientMessage) -> int:
    return REQUESTS.cost(link.world.engine, link.session, message)


def full() -> tuple[World, FakeLink, FakeLink]:
    """Very many users online in one room, a service, and alice, who is in some channels."""
    world = World(calendar=calendar)
    world.checks = False
    app = world.open("app", role="service")
    for number in range(300):
        app.say(Attach(1_000 + number, 1_000 + number, f"user{number}", "web"))
        app.say(Join(2_000 + number, "hall", f"user{number}", "web"))
    alice = world.open("alice/laptop")
    for number in range(5 * CHANNELS):
        alice.say(Join(1_000 + number, f"c{number}"))
    for number in range(40):
        alice.say(AddActivity(5_000 + number, "typed", "", 0, str(number)))
    for number in range(2 * NAMES):
        alice.say(Block(6_000 + number, f"blocked{number}"))
        alice.say(HideFrom(7_000 + number, f"hidden{number}"))
    for number in range(NAMES):
        world.open(f"watcher{number}/web").watch("alice")
    days = [Window(1 << number % 7, 60, 120) for number in range(WINDOWS + 1)]
    alice.say(SetSchedule(9_000, "UTC", days))
    alice.say(SetAudience(8_000, "contacts", always=[f"user{number}" for number in range(3 * NAMES)]))
    world.turn()
    return world, app, alice


ALL, FEW = USERS_PER_REQUEST_MAX // NAMES, 0


@pytest.mark.parametrize(
    ("message", "cost"),
    [
        (Get(1, NAMES_MAX), ALL),
        (Get(1, ["alice"]), FEW),
        (Watch(1, NAMES_MAX), ALL),
        (Unwatch(1, NAMES_MAX), ALL),
        (Route(1, NAMES_MAX), USERS_PER_REQUEST_MAX // ROUTES),
        (Route(1, ["alice"]), FEW),
        (Compare(1, NAMES_MAX, [0] * USERS_PER_REQUEST_MAX), ALL),
        (Check(1), FEW),
        (Get(1, NAMES_MAX, True), USERS_PER_REQUEST_MAX // FORECASTS),
        (Explain(1), 2),
        (Explain(1, "nobody"), 0),
        (Who(1, "", 256), ALL),
        (Who(1, "", 0), FEW),
        (GetMembers(1, "hall", "", 256), ALL),
        (GetMembers(1, "c1", "", 256), ALL),
        (GetMembers(1, "nowhere", "", 256), ALL),
        (WatchChannel(1, "hall", 256), ALL),
        (GetActivity(1, limit=100), 5),
        (GetActivity(1, limit=8), 1),
        (SetStatus(1, "dnd"), 5),
        (SetDevice(1, "dnd"), 5),
        (AddClaim(1, "x", "manual", "dnd"), 5),
        (EndClaim(1, "x"), 5),
        (SetSchedule(1, "UTC", []), 5),
        (Command(1, "/presence away"), 5),
        (GetBlocked(1), 4),
        (GetBlocked(1, "nobody"), 0),
        (GetAudience(1), 3),
        (GetAudience(1, "nobody"), 0),
        (SetAudience(1, always=NAMES_MAX), ALL + 1),
        (SetAudience(1), 1),
        (SetAudience(1, user="nobody"), 0),
        (Bye(), 5),
        (Ping(1), 0),
    ],
)
def test_what_asks_for_more_costs_more(message: ClientMessage, cost: int) -> None:
    _, _, alice = full()
    assert cost_of(alice, message) == cost


def test_what_a_service_does_for_others_costs_by_them() -> None:
    _, app, _ = full()

    def cost(message: ClientMessage) -> int:
        return cost_of(app, message)

    assert cost(SetStatus(1, "dnd", user="alice")) == cost(Attach(1, 5, "alice", "web")) == 5
    assert cost(SetStatus(1, "dnd", user="nobody")) == cost(Attach(1, 5, "nobody", "web")) == 0
    assert cost(Beats([1_000, -1] * 10 * DEVICES)) == 10
    assert cost(Detach(1, 1_000)) == cost(Detach(1, 99)) == 0
    assert [cost(WatchAll(1)), cost(WatchAll(1, True, 7, 1)), cost(WatchAll(1, False, 7, 1))] == [0, EVERYBODY, 0]


def test_a_change_has_a_highest_cost() -> None:
    world, app, _ = full()
    for number in range(2 * CHANGE_MAX * CHANNELS):
        app.say(Join(9_000 + number, f"many{number}", "user1", "web"))
    world.turn()
    assert cost_of_change(world.engine, "user1") == CHANGE_MAX
