"""What a token that bounds its link keeps it from: acting for others, changing anything, and channels."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from presenced.chat_commands.verbs import BY_NAME
from presenced.core.parts.claims import FIND_USERS
from presenced.core.policy import ChannelRule
from presenced.wire.codec import CLIENT_MESSAGES
from presenced.wire.messages import (
    Acknowledge,
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
    ClaimsPage,
    Command,
    CommandReply,
    Compare,
    ContactEntry,
    Detach,
    Done,
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
from tests.core.fake_link import FakeLink
from tests.core.world import World
from tests.support.requests import HANDLERS
from tests.support.samples import SAMPLES, sample

CHANGES = (
    SetStatus, SetDevice, Attach, Detach, Beats, Forget, Touch, AddClaim, EndClaim, SetSchedule, AddActivity, Join,
    Leave, Sync, Revoke, Kick, Erase, Subscribe, Approve, Cancel, Unsubscribe, SetContact, RemoveContact, SetContacts,
    Block, Unblock, HideFrom, ShowAgain, ShowTo, StopShowing, SetAudience, Acknowledge, ForgetFollower,
)  # fmt: skip
"""What a link that only reads may not do. Besides, some chat commands."""

CHANGES_NOTHING = (
    Hello, Heartbeat, Bye, Ping, Get, Who, Watch, Unwatch, GetDevices, GetClaims, GetActivity, GetMembers, WatchChannel,
    UnwatchChannel, Applied, GetSync, Follow, Command, WatchAll, FindClaims, Renew, GetContacts,
    GetBlocked, GetAudience, Compare, Check, Explain, Await, CancelAwait, Focus,
    Route,
    GetHistory, GetFollowers,
)  # fmt: skip
"""What it may do: it asks, or it is about the link itself. Of a chat command the words decide."""

ABOUT_ONE = (
    SetStatus, SetDevice, Attach, Forget, GetDevices, Touch, AddClaim, EndClaim, GetClaims, SetSchedule, AddActivity,
    GetActivity, Join, Leave, Sync, GetSync, Command, Revoke, Kick, Erase, Subscribe, Approve, Cancel, Unsubscribe,
    SetContact, RemoveContact, GetContacts, SetContacts, Block, Unblock, GetBlocked, HideFrom, ShowAgain, ShowTo,
    StopShowing, SetAudience, GetAudience, Explain,
    GetFollowers, ForgetFollower,
)  # fmt: skip
"""What a service does for one user, or asks of one, by name."""


def peopled() -> World:
    """Bob has a device that is live and one that is gone, a claim, and an activity."""
    world = World()
    app = world.open("backend", role="service")
    app.attach(1, "bob/web")
    app.attach(2, "bob/old")
    app.release(2)
    app.claim("bob", "trip", "calendar", "away")
    app.done(AddActivity(app.next_id(), "login", user="bob"))
    return world


def state(world: World) -> tuple[Any, ...]:
    engine = world.engine
    return world.snapshot(), len(world.log.facts), engine.ledger.version, list(engine.users)


def answer(world: World, link: FakeLink, message: Any) -> Error | None:
    """The error that a message is answered with, if it is."""
    link.forget()
    link.say(message)
    world.turn()
    errors = [told for told in link.messages if isinstance(told, Error)]
    return errors[0] if errors else None


# --- acting for others -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ABOUT_ONE)
@pytest.mark.parametrize("claim", [{"act": ["ann*", "*@acme"]}, {"act": [], "see": ["*"]}], ids=["some", "nobody"])
def test_nothing_is_done_for_a_user_whom_the_token_leaves_out(kind: type, claim: dict[str, Any]) -> None:
    world = peopled()
    link = world.open("app", role="service", rights=claim)
    before = state(world)
    known = answer(world, link, SAMPLES[kind])
    unknown = answer(world, link, msgspec.structs.replace(SAMPLES[kind], user="eve"))
    assert known is not None and known.code == "forbidden" and "act for 'bob'" in known.message
    assert unknown == msgspec.structs.replace(known, message=known.message.replace("bob", "eve"))
    assert state(world) == before
    no_name = answer(world, link, msgspec.structs.replace(SAMPLES[kind], user="a b"))
    assert no_name is not None and no_name.code == "forbidden", "nothing of it is looked at"


@pytest.mark.parametrize("kind", [*ABOUT_ONE, Detach])
@pytest.mark.parametrize(
    "claim", [{"act": ["b*"]}, {"see": [], "act": ["*"]}, {"act": ["bob"], "see": []}, {}], ids=str
)
def test_what_the_token_lets_it_do_is_done(kind: type, claim: dict[str, Any]) -> None:
    world = peopled()
    link = world.open("app", role="service", rights=claim)
    if kind is Detach:
        link.attach(1, "bob/tab")
    message = SAMPLES[kind]
    if kind is SetContacts:
        # What a list gives the contact takes acting for the contact as well.
        message = SetContacts(1, "bob", [ContactEntry("carol", "none")])
    refused = answer(world, link, message)
    if kind is Explain and claim.get("see") == []:
        # It tells more than what can be done for a user: the whole record.
        assert refused is not None and refused.code == "forbidden" and "see 'bob'" in refused.message
    else:
        assert refused is None


def test_a_device_is_detached_by_name_only_for_users_whom_it_may_act_for() -> None:
    world = peopled()
    link = world.open("app", role="service", rights={"act": ["ann"]})
    for user in ("bob", "eve"):
        refused = answer(world, link, Detach(5, 0, False, user, "web"))
        assert refused is not None and refused.code == "forbidden" and f"act for '{user}'" in refused.message


def test_a_service_always_acts_for_its_own_user() -> None:
    world = World()
    link = world.open("app/main", role="service", rights={"act": []})
    link.set_status("dnd")
    assert world.record("app").status == "dnd"
    link.attach(1, "app/second")


def test_claims_are_found_of_users_whom_it_may_ask_about() -> None:
    world = World()
    world.checks = False
    app = world.open("backend", role="service")
    names = [f"{'ab'[number % 2]}{number}" for number in range(FIND_USERS + 50)]
    for name in names:
        app.say(AddClaim(app.next_id(), "trip", "calendar", "away", user=name))
    world.turn()
    for claim, wanted in (
        ({"act": ["a*"]}, [name for name in names if name[0] == "a"]),
        ({"see": ["*"], "act": ["b1*"]}, [name for name in names if name.startswith("b1")]),
        ({"see": ["b1*"]}, [name for name in names if name.startswith("b1")]),
        ({"see": []}, []),
        ({}, names),
    ):
        link = world.open("app", role="service", rights=claim)
        found: list[str] = []
        after = -1
        while after:
            page = link.expect(FindClaims(link.next_id(), "trip", max(after, 0), 200), ClaimsPage)
            assert len(page.users) == len(page.claims) <= 200
            found += page.users
            after = page.next
        assert found == wanted[::-1]


# --- only reading ------------------------------------------------------------------------------------------------


def test_each_message_says_whether_it_changes_something() -> None:
    assert {*CHANGES, *CHANGES_NOTHING} == set(CLIENT_MESSAGES.values()), "decide of each new one, here and for itself"
    for kind in CLIENT_MESSAGES.values():
        assert HANDLERS[kind].changes == (kind in CHANGES), kind


@pytest.mark.parametrize("kind", CLIENT_MESSAGES.values(), ids=lambda kind: kind.__name__)
def test_a_link_that_only_reads_changes_nothing(kind: type) -> None:
    world = peopled()
    link = world.open("app", role="service", rights={"only_read": True})
    before = state(world)
    error = answer(world, link, sample(kind))
    if kind in CHANGES or kind is Command:
        assert error is not None and error.code == "forbidden" and "only reads" in error.message
        assert state(world) == before
    else:
        assert error is None or error.code in ("hello_repeated", "no_device")


@pytest.mark.parametrize("verb", BY_NAME)
def test_a_chat_command_that_changes_something_is_refused_as_well(verb: str) -> None:
    world = peopled()
    link = world.open("bob/laptop", rights={"only_read": True})
    before = state(world)
    text = 'status "out"' if verb == "status" else verb
    reply = link.ask(Command(link.next_id(), f"/presence {text}"))
    if verb in ("", "who", "activity", "devices", "contacts", "audience", "help"):
        assert isinstance(reply, CommandReply) and reply.ok
    else:
        assert isinstance(reply, Error) and reply.code == "forbidden" and state(world) == before


def test_a_user_who_only_reads_is_online_all_the_same() -> None:
    world = World()
    link = world.open("bob/laptop", rights={"only_read": True})
    link.beat(5)
    assert world.record("bob").status == "online" and link.refused(SetStatus(link.next_id(), "dnd")) == "forbidden"


# --- channels ----------------------------------------------------------------------------------------------------

RULES: dict[ChannelRule, tuple[str, ...]] = {
    "anyone": ("user", "joins", "watches", "service", "bound"),
    "token": ("joins", "watches", "service", "bound"),
    "service": ("service", "bound"),
}
"""To whom each rule opens the channel `room`, for what their tokens name it for."""

LINKS: dict[str, tuple[Role, dict[str, Any] | None]] = {
    "user": ("user", {"see": ["*"], "join": ["roo"], "watch_channels": ["room2"]}),
    "joins": ("user", {"join": ["ro*"], "watch_channels": []}),
    "watches": ("user", {"watch_channels": ["room"]}),
    "service": ("service", None),
    "bound": ("service", {"act": ["bob"], "join": [], "watch_channels": []}),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("who", LINKS)
def test_who_may_join_and_watch_a_channel(rule: ChannelRule, who: str) -> None:
    world = peopled()
    role, claim = LINKS[who]
    link = world.open("bob/web", role=role, rights=claim)
    for message in (Join, GetMembers, WatchChannel):
        only = "channels_join" if message is Join else "channels_watch"
        rules = {"channels_join": "anyone", "channels_watch": "anyone", only: rule}
        world.engine.set_policy(msgspec.structs.replace(world.engine.policy, **rules), world.now_ms)
        error = answer(world, link, message(5, "room"))
        is_other = rule == "token" and who == ("watches" if message is Join else "joins")
        assert (error is None) == (who in RULES[rule] and not is_other), message
        if error is not None:
            assert error.code == "forbidden" and "only services" in error.message


def test_a_rule_that_becomes_narrower_puts_nobody_out() -> None:
    world = World()
    ann, bob = world.open("ann/web"), world.open("bob/web")
    bob.join("bob/web", "room")
    ann.watch_channel("room")
    narrow = msgspec.structs.replace(world.engine.policy, channels_join="service", channels_watch="token")
    world.engine.set_policy(narrow, world.now_ms)
    bob.set_status("dnd")
    assert ann.told.rooms["room"].members == {"bob": world.record("bob")}
    assert ann.refused(WatchChannel(ann.next_id(), "room")) == "forbidden"
    assert bob.refused(Join(bob.next_id(), "room")) == "forbidden"
    assert isinstance(bob.ask(Leave(bob.next_id(), "room")), Done)
