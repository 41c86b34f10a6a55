"""Where each message goes: an answer for every type, and the right one; and for every chat command."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from presenced.chat_commands.verbs import BY_NAME
from presenced.cluster.links.routing import OF_LINK, destination_of
from presenced.wire.codec import CLIENT_MESSAGES
from presenced.wire.messages import (
    Attach,
    Beats,
    ClientMessage,
    Command,
    Detach,
    Erase,
    Focus,
    Kick,
    Revoke,
    Route,
    SetStatus,
)
from presenced.wire.subjects import subject_of
from tests.support.samples import SAMPLES

TABLE = {
    "Hello": "at_once",
    "Heartbeat": "at_once",
    "Bye": "bye",
    "Ping": "at_once",
    "SetStatus": "home and makes",
    "SetDevice": "home",
    "Get": "here",
    "Who": "here",
    "Watch": "here",
    "Unwatch": "here",
    "Attach": "home and makes, again",
    "Detach": "refs",
    "Beats": "refs",
    "Forget": "home",
    "GetDevices": "home, again",
    "Touch": "home and makes",
    "AddClaim": "home and makes",
    "EndClaim": "home",
    "GetClaims": "here",
    "SetSchedule": "home and makes",
    "AddActivity": "home and makes",
    "GetActivity": "here",
    "Join": "home",
    "Leave": "home",
    "GetMembers": "here",
    "WatchChannel": "here",
    "UnwatchChannel": "here",
    "Applied": "own",
    "Sync": "home",
    "GetSync": "home, again",
    "Follow": "here",
    "Command": "home and makes",
    "WatchAll": "here",
    "FindClaims": "here",
    "Renew": "here",
    "Subscribe": "registrar",
    "Approve": "registrar",
    "Cancel": "registrar",
    "Unsubscribe": "registrar",
    "SetContact": "registrar",
    "RemoveContact": "registrar",
    "GetContacts": "here",
    "SetContacts": "registrar",
    "Block": "registrar",
    "Unblock": "registrar",
    "GetBlocked": "here",
    "HideFrom": "registrar",
    "ShowAgain": "registrar",
    "ShowTo": "home",
    "StopShowing": "home",
    "SetAudience": "registrar",
    "GetAudience": "here",
    "Revoke": "home and makes",
    "Kick": "home",
    "Erase": "home and makes",
    "Compare": "here",
    "Check": "here",
    "Explain": "home, again",
    "Await": "here",
    "CancelAwait": "here",
    "Route": "homes, again",
    "GetHistory": "here",
    "Focus": "own",
    "Acknowledge": "here",
    "GetFollowers": "here",
    "ForgetFollower": "here",
}
"""With what is asked of homes: whether it makes its user known, and whether it may be asked again."""


def told(message: ClientMessage, sender: str = "app") -> str:
    to = destination_of(message, sender)
    return to.where + (" and makes" if to.makes else "") + (", again" if to.repeats else "")


@pytest.mark.parametrize("kind", CLIENT_MESSAGES.values(), ids=lambda kind: kind.__name__)
def test_each_message_goes_where_it_is_decided(kind: type) -> None:
    message = SAMPLES[kind]
    assert told(message) == TABLE[kind.__name__]
    if told(message).startswith("home"):
        # All of them are about bob.
        assert list(destination_of(message, "app").users) == ["bob"]


def test_the_table_names_no_message_that_there_is_not() -> None:
    assert list(TABLE) == [kind.__name__ for kind in CLIENT_MESSAGES.values()]


def test_what_a_link_s_node_handles_whatever_it_says_is_known_by_its_type() -> None:
    by_link = {kind for kind in CLIENT_MESSAGES.values() if TABLE[kind.__name__] in ("here", "at_once", "bye", "own")}
    assert by_link - OF_LINK == {Focus}, "it depends on what it names"
    assert OF_LINK <= by_link


def test_who_names_nobody_means_the_link_s_own_user() -> None:
    assert destination_of(SetStatus(1, "dnd"), "ann").users == ("ann",)
    # But of these a name is asked for, and the link's node refuses them.
    for message in (Attach(1, 1, "", "laptop"), Kick(1, ""), Erase(1, ""), Revoke(1, ""), Route(1, [])):
        assert told(message) == "here"


def test_a_device_is_named_by_its_ref_or_by_its_user() -> None:
    assert destination_of(Detach(1, 7), "app").refs == (7,)
    assert destination_of(Detach(1, 7, user="bob", device="web"), "app").users == ("bob",)
    assert told(Detach(1, 7, user="bob")) == told(Detach(1, 7, device="web")) == "here"
    assert destination_of(Focus(7, "room"), "app").refs == (7,)
    assert list(destination_of(Beats([7, 0, 8, -1]), "app").refs) == [7, 8]
    assert told(Beats([7])) == "here"


COMMANDS = {
    "": "here",
    "who": "here",
    "activity": "here",
    **dict.fromkeys("online chat away xa dnd offline auto status clear".split(), "home and makes"),
    "devices": "home, again",
    "sync": "home, again",
    **dict.fromkeys("add allow deny remove block unblock hide unhide".split(), "registrar"),
    "contacts": "here",
    "audience": "here",
    "help": "here",
}


@pytest.mark.parametrize("verb", BY_NAME)
def test_each_command_goes_where_it_is_decided(verb: str) -> None:
    assert told(Command(1, f"/presence {verb} something")) == COMMANDS[verb]
    assert told(Command(1, f"/Presence {verb.upper()}", "bob")) == COMMANDS[verb]


OTHER_FORMS: list[ClientMessage] = [
    *(replace(sample, user="") for sample in SAMPLES.values() if hasattr(sample, "user")),
    Detach(1, 7, True),
    Detach(1, 0, user="bob", device="web"),
    Focus(7, "room"),
    Focus(0, "room"),
    Beats([7, 0, 8, -1]),
    Beats([]),
    Route(1, ["ann", "bob", "ann"]),
    *(Command(1, f"/presence {verb}", user) for verb in BY_NAME for user in ("", "bob")),
]


@pytest.mark.parametrize("message", [*SAMPLES.values(), *OTHER_FORMS], ids=lambda one: type(one).__name__)
def test_a_destination_names_whom_the_message_is_about(message: ClientMessage) -> None:
    to, subject = destination_of(message, "app"), subject_of(message)
    match to.where:
        case "home" | "homes":
            assert list(to.users) == list(subject.names("app")) and to.users
        case "refs":
            assert subject.scope == "held" and list(to.refs) == list(subject.refs)
        case "own" | "bye":
            assert subject.names("app") == ("app",)
        case "registrar":
            assert subject.scope in ("users", "sender")
        case _:
            assert not to.users and not to.refs


def test_a_command_that_is_none_is_answered_where_it_comes() -> None:
    assert told(Command(1, "/presence dance")) == "here"
