"""What a service is refused, in which words, and that nothing of it is applied."""

from __future__ import annotations

import msgspec
import pytest

from presenced.core.model import CONNECTED
from presenced.core.policy import Policy
from presenced.limits import DEVICES_PER_USER_MAX
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Attach,
    ClientMessage,
    Command,
    CommandReply,
    EndClaim,
    Error,
    Forget,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetSync,
    Join,
    Leave,
    Records,
    SetDevice,
    SetStatus,
    Sync,
    Touch,
)
from tests.core.world import FakeLink, World

TIMEOUT_MS = Policy().timeout_ms


def services(count: int = 2) -> tuple[World, FakeLink, list[FakeLink]]:
    """A world, somebody who watches alice and bob, and some services."""
    world = World()
    watcher = world.open("watcher", role="service")
    watcher.watch("alice", "bob")
    return world, watcher, [world.open(f"backend{number}", role="service") for number in range(count)]


def test_of_somebody_unknown_the_answer_is_the_same_as_of_somebody_offline_and_empty() -> None:
    world, _, (app, _) = services()
    app.done(SetStatus(app.next_id(), None, "here", user="known"))
    app.done(SetStatus(app.next_id(), None, "", user="known"))
    assert "known" in world.engine.users
    queries: list[type[ClientMessage]] = [GetDevices, GetClaims, GetActivity, GetSync]  # type: ignore[list-item]
    for query in queries:
        known, unknown = app.ask(query(app.next_id(), "known")), app.ask(query(app.next_id(), "ghost"))  # type: ignore[operator]
        assert type(known) is type(unknown) and not isinstance(known, Error)
        assert msgspec.structs.asdict(unknown) == msgspec.structs.asdict(known) | {
            "user": "ghost", "id": getattr(unknown, "id", 0),
        }  # fmt: skip
    record = app.expect(Get(app.next_id(), ["ghost"]), Records).records[0]
    assert (record.status, record.version) == ("offline", 0)
    app.done(EndClaim(app.next_id(), "x", "ghost"))
    app.done(Sync(app.next_id(), "ghost"))
    assert "ghost" not in world.engine.users


def test_a_device_that_is_not_known_or_gone_is_said_to_be_and_nothing_is_applied() -> None:
    world, _, (app, _) = services()
    app.attach(1, "alice/web")
    app.release(1)
    facts = len(world.log.facts)
    for user, device in (("alice", "phone"), ("ghost", "web"), ("alice", "web")):
        for message in (
            SetDevice(app.next_id(), "dnd", user=user, device=device),
            Join(app.next_id(), "room", user, device),
            AddActivity(app.next_id(), "message", user=user, device=device),
        ):
            assert app.refused(message) == "no_such_device"
    for message in (
        SetStatus(app.next_id(), "dnd", user="alice", device="phone"),
        Touch(app.next_id(), "alice", "phone"),
        Forget(app.next_id(), "phone", "alice"),
        Leave(app.next_id(), "room", "alice", "phone"),
        Command(app.next_id(), "dnd", "alice", "phone"),
    ):
        assert app.refused(message) == "no_such_device"
    assert len(world.log.facts) == facts and "ghost" not in world.engine.users
    assert world.engine.channels.by_name == {}


def test_a_request_about_nobody_in_particular_is_refused_to_a_service_without_a_device() -> None:
    _, _, (app, _) = services()
    for message in (
        SetStatus(app.next_id(), "dnd"),
        Join(app.next_id(), "room"),
        GetDevices(app.next_id()),
        Touch(app.next_id()),
        Command(app.next_id(), "who"),
        AddClaim(app.next_id(), "a", "call", "dnd"),
    ):
        assert app.refused(message) == "no_device"
    assert app.refused(Join(app.next_id(), "room", "alice")) == "no_device"
    assert app.refused(SetDevice(app.next_id(), "dnd", user="alice")) == "no_device"


def test_something_said_on_a_device_that_is_gone_counts_and_is_no_input_there() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web", idle_ms=400_000)
    app.attach(2, "alice/phone")
    app.release(1)
    app.done(SetStatus(app.next_id(), "dnd", user="alice", device="web"))
    app.expect(Command(app.next_id(), "away", "alice", "web"), CommandReply)
    assert watcher.view["alice"].status == "away" and not world.device("alice/web").scheduled
    world.advance(1_000)


@pytest.mark.parametrize(
    "user, device, kind, name, code",
    [
        ("", "web", "", "", "bad_name"),
        ("two words", "web", "", "", "bad_name"),
        ("alice", "", "", "", "bad_name"),
        ("alice", "a/b", "", "", "bad_name"),
        ("alice", "x" * 129, "", "", "bad_name"),
        ("alice", "web", "k" * 65, "", "bad_text"),
        ("alice", "web", "", "a\nb", "bad_text"),
    ],
)
def test_a_device_with_a_bad_name_is_not_attached(user: str, device: str, kind: str, name: str, code: str) -> None:
    world, _, (app, _) = services()
    app.attach(1, "bob/web")
    assert app.refused(Attach(app.next_id(), 1, user, device, kind, name)) == code
    assert world.device("bob/web").state == CONNECTED and "alice" in world.engine.users
    assert world.user("alice").devices == {}


def test_one_live_device_too_many_is_refused_and_the_ref_stays_what_it_was() -> None:
    world, _, (app, _) = services()
    for number in range(DEVICES_PER_USER_MAX):
        app.attach(number + 1, f"alice/tab{number}")
    assert app.refused(Attach(app.next_id(), 1, "alice", "more")) == "device_limit"
    assert world.device("alice/tab0").state == CONNECTED and len(world.user("alice").devices) == DEVICES_PER_USER_MAX
    app.release(3)
    app.attach(99, "alice/more")
    assert "tab2" not in world.user("alice").devices
