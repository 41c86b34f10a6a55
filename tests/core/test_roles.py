"""Who may act for whom: every message of the protocol against every role."""

from __future__ import annotations

import pytest

from presenced.wire.codec import CLIENT_MESSAGES
from presenced.wire.messages import (
    Acknowledge,
    ActivityList,
    AddActivity,
    AddClaim,
    Applied,
    Approve,
    Attach,
    Await,
    Beats,
    Block,
    Bye,
    Cancel,
    CancelAwait,
    Check,
    ClaimList,
    Command,
    Compare,
    Detach,
    DeviceList,
    EndClaim,
    Erase,
    Error,
    Explain,
    FindClaims,
    Focus,
    Follow,
    Forget,
    ForgetFollower,
    Get,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetClaims,
    GetContacts,
    GetDevices,
    GetFollowers,
    GetHistory,
    GetMembers,
    GetSync,
    Heartbeat,
    Hello,
    HideFrom,
    Join,
    Kick,
    Leave,
    Ping,
    RemoveContact,
    Renew,
    Revoke,
    Role,
    Route,
    SetAudience,
    SetContact,
    SetContacts,
    SetDevice,
    SetSchedule,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Sync,
    SyncState,
    Touch,
    Unblock,
    Unsubscribe,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
)
from tests.core.world import World
from tests.support.samples import SAMPLES

FOR_ANOTHER = (
    SetStatus, SetDevice, Attach, Detach, Beats, Forget, GetDevices, Touch, AddClaim, EndClaim, GetClaims, SetSchedule,
    AddActivity, GetActivity, Join, Leave, Sync, GetSync, FindClaims, Follow, Command, WatchAll, Revoke, Kick, Erase,
    Subscribe, Approve, Cancel, Unsubscribe, SetContact, RemoveContact, GetContacts, SetContacts,
    Block, Unblock, GetBlocked, HideFrom, ShowAgain, ShowTo, StopShowing, SetAudience, GetAudience, Explain,
    Route,
    Block, Unblock, GetBlocked, HideFrom, ShowAgain, ShowTo, StopShowing, SetAudience, GetAudience, GetHistory,
    GetFollowers, ForgetFollower,
)  # fmt: skip
"""What takes the role of a service: anything in the name of another, and what only services do."""

FOR_ANYBODY = (
    Heartbeat, Ping, Get, Who, Watch, Unwatch, GetMembers, WatchChannel, UnwatchChannel, Applied, Renew, Compare, Check,
    Await, CancelAwait, Focus, Acknowledge,
)  # fmt: skip
ENDS_THE_LINK = (Hello, Bye)


def test_each_message_is_either_for_anybody_or_takes_a_service() -> None:
    assert {*FOR_ANOTHER, *FOR_ANYBODY, *ENDS_THE_LINK} == set(CLIENT_MESSAGES.values())


@pytest.mark.parametrize("role", ["user", "service", "admin"])
@pytest.mark.parametrize("kind", [*FOR_ANOTHER, *FOR_ANYBODY])
def test_acting_for_another_takes_the_role_of_a_service(kind: type, role: Role) -> None:
    message = SAMPLES[kind]
    world = World()
    app = world.open("backend", role="service")
    app.attach(1, "bob/web")
    app.attach(2, "bob/old")
    app.release(2)
    app.claim("bob", "trip", "calendar", "away")
    link = world.open("eve/laptop", role=role)
    if role != "user" and isinstance(message, Detach | Beats):
        link.attach(1, "carol/web")
    before = (world.snapshot(), len(world.log.facts), world.engine.publisher.changed)
    link.forget()
    link.say(message)
    world.turn()
    refused = [m.code for m in link.messages if isinstance(m, Error)]
    if role == "user" and kind in FOR_ANOTHER:
        assert refused == ["forbidden"]
        assert [fact for fact in before[0] if fact not in world.snapshot()] == []
        assert (len(world.log.facts), world.engine.publisher.changed) == before[1:]
        assert link.session not in world.engine.outboxes.everyone and not world.engine.events.followers
    else:
        assert refused == []


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in FOR_ANOTHER
        if kind
        not in (
            Attach,
            Detach,
            Beats,
            FindClaims,
            Follow,
            WatchAll,
            SetContacts,
            Revoke,
            Kick,
            Erase,
            GetFollowers,
            ForgetFollower,
        )  # fmt: skip
    ],
)
def test_a_user_may_do_for_themselves_by_name_what_another_may_not(kind: type) -> None:
    world = World()
    app = world.open("backend", role="service")
    app.attach(1, "bob/web")
    app.attach(2, "bob/old")
    app.release(2)
    bob = world.open("bob/laptop")
    assert not isinstance(bob.ask(SAMPLES[kind]), Error)


def test_answers_name_the_user_that_they_are_about() -> None:
    world = World()
    bob = world.open("bob/laptop")
    assert bob.expect(GetDevices(bob.next_id()), DeviceList).user == "bob"
    assert bob.expect(GetClaims(bob.next_id()), ClaimList).user == "bob"
    assert bob.expect(GetActivity(bob.next_id()), ActivityList).user == "bob"
    assert bob.expect(GetSync(bob.next_id()), SyncState).user == "bob"
