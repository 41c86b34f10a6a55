"""Who appears offline cannot be told from who left: not by any byte of any answer that another user can get."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.core.parts import channels
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Applied,
    ClientMessage,
    Command,
    EndClaim,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetMembers,
    GetSync,
    Ping,
    SetDevice,
    SetSchedule,
    SetStatus,
    Sync,
    Touch,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchChannel,
    Who,
    Window,
)
from tests.core.world import FakeLink, World

ROOMS = ("general", "side", "empty")


class Stage:
    """Alice, and bob who looks: at her, at everybody, at the rooms that she is in, and at his own state."""

    def __init__(self, *, devices: int) -> None:
        self.world = World()
        self.laptop = self.world.open("alice/laptop", sync=True, idle_ms=0)
        self.phone = self.world.open("alice/phone", sync=True, idle_ms=0) if devices > 1 else None
        self.laptop.join("alice/laptop", "general")
        self.laptop.set_status("online", text="lunch", emoji="*")
        self.bob = self.world.open("bob/laptop", sync=True, idle_ms=0)
        self.bob.join("bob/laptop", "side")
        self.bob.watch("alice")
        for room in ROOMS:
            self.bob.watch_channel(room)
        self.world.advance(5_000)

    def hide(self) -> None:
        self.laptop.set_status("offline")

    def leave(self) -> None:
        if self.phone is not None:
            self.phone.bye()
        self.laptop.bye()

    def beat(self) -> None:
        """Bob does the same on every stage, however long it takes."""
        self.bob.beat(0)


def questions(link: FakeLink) -> list[ClientMessage]:
    """Every question there is, about her and about everybody, and what changes bob's own state."""
    return [
        Get(1_000, ["alice", "bob", "nobody"]),
        Who(1_001),
        Who(1_002, "a", 1),
        Watch(1_003, ["alice"]),
        Unwatch(1_004, ["carol"]),
        *(GetMembers(1_010 + number, room) for number, room in enumerate(ROOMS)),
        *(UnwatchChannel(1_020 + number, room) for number, room in enumerate(ROOMS)),
        *(WatchChannel(1_030 + number, room) for number, room in enumerate(ROOMS)),
        GetDevices(1_040, "alice"),
        GetClaims(1_041, "alice"),
        GetActivity(1_042, "alice"),
        GetSync(1_043, "alice"),
        Sync(1_044, "alice"),
        Touch(1_045, "alice"),
        Command(1_046, "who"),
        Command(1_047, "devices", "alice"),
        GetSync(1_048),
        GetDevices(1_049),
        SetStatus(1_050, "dnd"),
        SetDevice(1_051, None, None, "Bob's"),
        SetStatus(1_052, "auto"),
        Ping(1_053),
    ]


BUSY: dict[str, Callable[[Stage], object]] = {
    "heartbeat": lambda stage: stage.laptop.beat(0),
    "set device": lambda stage: stage.laptop.set_device("dnd", 7),
    "rename device": lambda stage: stage.laptop.done(SetDevice(900, None, None, "desk")),
    "meta": lambda stage: stage.laptop.done(SetDevice(907, meta="token")),
    "focus": lambda stage: stage.laptop.focus("general"),
    "no priority": lambda stage: stage.laptop.set_device(None, -1),
    "hide again": lambda stage: stage.laptop.set_status("offline", for_ms=10**9),
    "text": lambda stage: stage.laptop.set_status(None, text="secret"),
    "text that ends": lambda stage: stage.laptop.set_status(None, text="secret", emoji="+", for_ms=3_000),
    "no text": lambda stage: stage.laptop.set_status(None, text=""),
    "call": lambda stage: stage.laptop.done(AddClaim(901, "call", "call", "dnd", 30_000)),
    "claim": lambda stage: stage.laptop.done(AddClaim(901, "meeting", "calendar", "dnd")),
    "claim to be offline": lambda stage: stage.laptop.done(AddClaim(901, "nap", "manual", "offline")),
    "end of a claim": lambda stage: stage.laptop.done(EndClaim(902, "meeting")),
    "schedule": lambda stage: stage.laptop.done(SetSchedule(903, "Europe/Berlin", [Window(127, 0, 720)])),
    "activity": lambda stage: stage.laptop.done(AddActivity(904, "message", "general")),
    "touch": lambda stage: stage.laptop.done(Touch(905)),
    "join": lambda stage: stage.laptop.join("alice/laptop", "side"),
    "join an empty room": lambda stage: stage.laptop.join("alice/laptop", "empty"),
    "leave": lambda stage: stage.laptop.leave("alice/laptop", "general"),
    "applied": lambda stage: stage.laptop.say(Applied(stage.laptop.told.own[-1].version)),
    "sync": lambda stage: stage.laptop.done(Sync(906)),
    "question": lambda stage: stage.laptop.who(),
    "watch": lambda stage: stage.laptop.watch("bob", "carol"),
    "another device": lambda stage: stage.world.open("alice/tablet", sync=True, status="dnd"),
    "a tool": lambda stage: stage.world.open("alice/tool", priority=-1).bye(),
    "reconnect": lambda stage: stage.world.open("alice/laptop", sync=True, idle_ms=7),
    "loss": lambda stage: stage.laptop.lose(),
    "bye": lambda stage: stage.laptop.bye(),
}


def told(stage: Stage, busy: str) -> list[bytes]:
    """All that bob is told from the moment on at which she is gone for him; she does something, if she is there."""
    bob = stage.bob
    bob.forget()
    if busy:
        stage.hide()
    else:
        stage.leave()
    for _ in range(3):
        stage.world.advance(20_000)
        if busy and stage.laptop.open:
            stage.laptop.messages.clear()
            BUSY[busy](stage)
        stage.world.turn()
        stage.beat()
        for question in questions(bob):
            bob.ask(question)
            bob.messages.clear()
    # Longer than grace, and than the lease of who is silent.
    stage.world.advance_beating(200_000, bob)
    bob.ask(Get(2_000, ["alice"]))
    return bob.raw


@pytest.mark.parametrize("large", [False, True], ids=["small rooms", "large rooms"])
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("busy", BUSY)
def test_no_byte_tells_who_hides_and_is_busy_from_who_left(
    busy: str, devices: int, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "CHANNEL_FULL_MAX", 0 if large else 1_000)
    hidden = told(Stage(devices=devices), busy)
    gone = told(Stage(devices=devices), "")
    assert len(gone) > 60
    for number, (one, other) in enumerate(zip(hidden, gone, strict=False)):
        assert one == other, f"frame {number}"
    assert len(hidden) == len(gone)


@pytest.mark.parametrize("turn_later_ms", [0, 1, 7])
def test_who_leaves_and_who_hides_were_last_seen_at_that_very_moment(turn_later_ms: int) -> None:
    """A turn runs some time after what it applies was read."""
    records = []
    for says in ("hide", "bye", "detach"):
        world = World()
        app = world.open("app", role="service")
        app.watch("alice")
        if says == "detach":
            app.attach(1, "alice/web")
        else:
            laptop = world.open("alice/laptop")
        world.advance(5_000)
        if says == "hide":
            laptop.say(SetStatus(1, "offline"))
        elif says == "bye":
            world.engine.sessions.bye(world.now_ms, laptop.session)
        else:
            world.engine.sessions.release(world.now_ms, world.device("alice/web"), lost=False)
        world.now_ms += turn_later_ms
        world.turn()
        record = app.view["alice"]
        assert record.since_ms == record.last_seen_ms == world.wall_ms
        records.append(record)
    assert records == [records[0]] * 3
