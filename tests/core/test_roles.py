"""Who may act for whom: every message of the protocol against every role."""

from __future__ import annotations

import pytest

from presenced.wire.codec import CLIENT_MESSAGES
from presenced.wire.messages import (
    ActivityList,
    AddActivity,
    AddClaim,
    Applied,
    Attach,
    Beats,
    Bye,
    ClaimList,
    ClientMessage,
    Command,
    Detach,
    DeviceList,
    EndClaim,
    Error,
    FindClaims,
    Follow,
    Forget,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetMembers,
    GetSync,
    Heartbeat,
    Hello,
    Join,
    Leave,
    Ping,
    Role,
    SetDevice,
    SetSchedule,
    SetStatus,
    Sync,
    SyncState,
    Touch,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
)
from tests.core.world import World

FOR_ANOTHER: dict[type, ClientMessage] = {
    SetStatus: SetStatus(1, "dnd", user="bob"),
    SetDevice: SetDevice(1, "dnd", user="bob", device="web"),
    Attach: Attach(1, 9, "bob", "new"),
    Detach: Detach(1, 1),
    Beats: Beats([1, 400_000]),
    Forget: Forget(1, "old", "bob"),
    GetDevices: GetDevices(1, "bob"),
    Touch: Touch(1, "bob"),
    AddClaim: AddClaim(1, "meeting", "call", "dnd", user="bob"),
    EndClaim: EndClaim(1, "trip", "bob"),
    GetClaims: GetClaims(1, "bob"),
    SetSchedule: SetSchedule(1, "", [], user="bob"),
    AddActivity: AddActivity(1, "message", user="bob"),
    GetActivity: GetActivity(1, "bob"),
    Join: Join(1, "room", "bob", "web"),
    Leave: Leave(1, "room", "bob", "web"),
    Sync: Sync(1, "bob"),
    GetSync: GetSync(1, "bob"),
    FindClaims: FindClaims(1, "meeting"),
    Follow: Follow(1),
    Command: Command(1, "dnd", "bob"),
    WatchAll: WatchAll(1),
}
"""What takes the role of a service: anything in the name of another, and what only services do."""

FOR_ANYBODY: dict[type, ClientMessage] = {
    Heartbeat: Heartbeat(5),
    Ping: Ping(1),
    Get: Get(1, ["bob"]),
    Who: Who(1),
    Watch: Watch(1, ["bob"]),
    Unwatch: Unwatch(1, ["bob"]),
    GetMembers: GetMembers(1, "room"),
    WatchChannel: WatchChannel(1, "room"),
    UnwatchChannel: UnwatchChannel(1, "room"),
    Applied: Applied(1),
}
ENDS_THE_LINK = (Hello, Bye)


def test_each_message_is_either_for_anybody_or_takes_a_service() -> None:
    assert {*FOR_ANOTHER, *FOR_ANYBODY, *ENDS_THE_LINK} == set(CLIENT_MESSAGES.values())


@pytest.mark.parametrize("role", ["user", "service", "admin"])
@pytest.mark.parametrize("message", [*FOR_ANOTHER.values(), *FOR_ANYBODY.values()], ids=lambda m: type(m).__name__)
def test_acting_for_another_takes_the_role_of_a_service(message: ClientMessage, role: Role) -> None:
    world = World()
    app = world.open("backend", role="service")
    app.attach(1, "bob/web")
    app.attach(2, "bob/old")
    app.release(2)
    app.claim("bob", "trip", "calendar", "away")
    link = world.open("eve/laptop", role=role)
    if role != "user" and isinstance(message, Detach | Beats):
        link.attach(1, "carol/web")
    before = (world.snapshot(), len(world.log.facts), world.engine.ledger.version)
    link.forget()
    link.say(message)
    world.turn()
    refused = [m.code for m in link.messages if isinstance(m, Error)]
    if role == "user" and type(message) in FOR_ANOTHER:
        assert refused == ["forbidden"]
        assert [fact for fact in before[0] if fact not in world.snapshot()] == []
        assert (len(world.log.facts), world.engine.ledger.version) == before[1:]
        assert link.session not in world.engine.outboxes.everyone and not world.engine.events.followers
    else:
        assert refused == []


@pytest.mark.parametrize("message", FOR_ANOTHER.values(), ids=lambda m: type(m).__name__)
def test_a_user_may_do_for_themselves_by_name_what_another_may_not(message: ClientMessage) -> None:
    if isinstance(message, Attach | Detach | Beats | FindClaims | Follow | WatchAll):
        return
    world = World()
    app = world.open("backend", role="service")
    app.attach(1, "bob/web")
    app.attach(2, "bob/old")
    app.release(2)
    bob = world.open("bob/laptop")
    assert not isinstance(bob.ask(message), Error)


def test_answers_name_the_user_that_they_are_about() -> None:
    world = World()
    bob = world.open("bob/laptop")
    assert bob.expect(GetDevices(bob.next_id()), DeviceList).user == "bob"
    assert bob.expect(GetClaims(bob.next_id()), ClaimList).user == "bob"
    assert bob.expect(GetActivity(bob.next_id()), ActivityList).user == "bob"
    assert bob.expect(GetSync(bob.next_id()), SyncState).user == "bob"
