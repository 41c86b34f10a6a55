"""What clients of a life ask for, drawn by lot: of everything that protocol.md has, with few users and few names, so
that much of it meets."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from presenced.limits import FRAMES_PER_WAKE_MAX
from presenced.wire.frames import frame
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Applied,
    Approve,
    Attach,
    AudienceLevel,
    Beats,
    Block,
    Cancel,
    Check,
    ClientMessage,
    Command,
    ContactEntry,
    Detach,
    EndClaim,
    Erase,
    FindClaims,
    Follow,
    Forget,
    Get,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetClaims,
    GetContacts,
    GetDevices,
    GetMembers,
    GetSync,
    Heartbeat,
    HideFrom,
    Join,
    Kick,
    Leave,
    Ping,
    Record,
    RemoveContact,
    Revoke,
    SetAudience,
    SetContact,
    SetContacts,
    SetDevice,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Subscription,
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
from tests.sim.clients import Client
from tests.sim.world import World

USERS = ("ann", "bob", "cy")
DEVICES = ("desk", "phone")
CHANNELS = ("general", "side")
STATUSES = ("chat", "online", "away", "xa", "dnd")
CLAIMS = ("meeting", "trip")
IDLES = (None, None, 0, 1_000, 70_000, 400_000)

T = TypeVar("T")

Make = Callable[[World, Client], list[ClientMessage]]


def request_of(world: World, client: Client) -> list[ClientMessage]:
    """One more thing for the client to say; nearly always one message."""
    common = FOR_USERS if client.device else FOR_SERVICES
    return _choose(world.chance, common)(world, client)


def heartbeat_of(world: World, client: Client) -> ClientMessage:
    """Its sign of life, and what it knows of its person."""
    if client.refs:
        beats: list[int] = []
        for ref in client.refs:
            idle_ms = _choose(world.chance, IDLES)
            beats += [ref, -1 if idle_ms is None else idle_ms]
        return Beats(beats)
    return Heartbeat(_choose(world.chance, IDLES) if client.device else None)


def bad_frame_of(chance: random.Random) -> tuple[bytes, bool]:
    """Bytes that no client should send, and whether the link goes on all the same."""
    return _choose(
        chance,
        (
            (frame(b"\x92\x05\xc0"), True),
            (frame(b"\x91\xcc\xc8"), True),
            (frame(b"\x92\x04\xff"), True),
            (frame(b"\xc1"), False),
            (frame(b"\x80"), False),
            (b"\0\0\0\0", False),
            (b"\x7f\xff\xff\xff", False),
            (frame(b"\x91\x01"), True),
        ),
    )


def _choose(chance: random.Random, of: Sequence[T]) -> T:
    return of[int(chance.random() * len(of))]


def _names(chance: random.Random) -> list[str]:
    return [_choose(chance, (*USERS, "nobody")) for _ in range(1 + int(chance.random() * 3))]


def _whose(world: World, client: Client) -> tuple[str, str]:
    """User and device as the request names them: a service says both, and at times the device alone has to do."""
    if client.device:
        return "", ""
    return _choose(world.chance, USERS), _choose(world.chance, (*DEVICES, ""))


# --- what people say ------------------------------------------------------------------------------------------------


def _status(world: World, client: Client) -> list[ClientMessage]:
    chance, request_id = world.chance, client.next_id()
    user, device = _whose(world, client)
    status = _choose(chance, (None, None, *STATUSES, "offline", "auto"))
    text = _choose(chance, (None, "", f"text {client.number}.{request_id}", f"text {client.number}.{request_id}"))
    for_ms = _choose(chance, (0, 0, 0, 20_000))
    whose = user or client.user
    if text is not None:
        world.set(client, request_id, whose, "text", text, ends=bool(for_ms))
    return [SetStatus(request_id, status, text, None, for_ms, user, device)]  # type: ignore[arg-type]


def _set_device(world: World, client: Client) -> list[ClientMessage]:
    chance = world.chance
    user, device = _whose(world, client)
    status = _choose(chance, (None, *STATUSES))
    return [
        SetDevice(
            client.next_id(), status, _choose(chance, (None, 0, 5, -1)), _choose(chance, (None, "new")), user, device  # type: ignore[arg-type]
        )
    ]  # fmt: skip


def _add_claim(world: World, client: Client) -> list[ClientMessage]:
    chance, request_id = world.chance, client.next_id()
    user, _ = _whose(world, client)
    name, status = _choose(chance, CLAIMS), _choose(chance, STATUSES)
    for_ms, device = _choose(chance, (0, 0, 20_000)), _choose(chance, ("", "", "", *DEVICES))
    whose = user or client.user
    world.set(client, request_id, whose, f"claim {name}", status, ends=bool(for_ms or device))
    source = _choose(chance, ("call", "manual", "calendar"))
    return [AddClaim(request_id, name, source, status, for_ms, 0, user, device)]  # type: ignore[arg-type]


def _end_claim(world: World, client: Client) -> list[ClientMessage]:
    request_id = client.next_id()
    user, _ = _whose(world, client)
    name = _choose(world.chance, CLAIMS)
    world.set(client, request_id, user or client.user, f"claim {name}", "", ends=False)
    return [EndClaim(request_id, name, user)]


def _activity(world: World, client: Client) -> list[ClientMessage]:
    user, _ = _whose(world, client)
    return [AddActivity(client.next_id(), "typed", _choose(world.chance, CHANNELS), 0, "", user)]


def _command(world: World, client: Client) -> list[ClientMessage]:
    request_id = client.next_id()
    user, _ = _whose(world, client)
    world.set(client, request_id, user or client.user, "text", None, ends=True)
    said = _choose(
        world.chance, ("/presence away", "/presence", "/presence status", "/presence clear", "/presence dnd")
    )
    return [Command(request_id, said, user)]


def _touch(world: World, client: Client) -> list[ClientMessage]:
    return [Touch(client.next_id(), *_whose(world, client))]


def _join(world: World, client: Client) -> list[ClientMessage]:
    return [Join(client.next_id(), _choose(world.chance, CHANNELS), *_whose(world, client))]


def _leave(world: World, client: Client) -> list[ClientMessage]:
    return [Leave(client.next_id(), _choose(world.chance, CHANNELS), *_whose(world, client))]


def _forget(world: World, client: Client) -> list[ClientMessage]:
    device = _choose(world.chance, DEVICES)
    user, _ = _whose(world, client)
    return [Forget(client.next_id(), device, user)]


def _privacy(world: World, client: Client) -> list[ClientMessage]:
    """About who may see them; most of it is taken back soon, so that watchers mostly have something to see."""
    chance, request_id = world.chance, client.next_id()
    world.happened["changes of permission"] += 1
    user, device = _whose(world, client)
    other = _choose(chance, USERS)
    audience: AudienceLevel = "nobody" if chance.random() < 0.3 else "everyone"
    never = [other] if chance.random() < 0.3 else []
    messages: tuple[ClientMessage, ...] = (
        Block(request_id, other, user),
        Unblock(request_id, other, user),
        Unblock(request_id, other, user),
        HideFrom(request_id, other, user),
        ShowAgain(request_id, other, user),
        ShowAgain(request_id, other, user),
        ShowTo(request_id, other, user, device),
        StopShowing(request_id, other, user, device),
        SetAudience(request_id, text=audience, device=audience, never=never, user=user),
    )
    return [_choose(chance, messages)]


def _contact(world: World, client: Client) -> list[ClientMessage]:
    chance, request_id = world.chance, client.next_id()
    world.happened["changes of permission"] += 1
    user, _ = _whose(world, client)
    contact = _choose(chance, [name for name in (*USERS, "nobody") if name != (user or client.user)])
    messages: tuple[ClientMessage, ...] = (
        Subscribe(request_id, contact, _choose(chance, ("", "hi")), user),
        Subscribe(request_id, contact, "", user),
        Approve(request_id, contact, user),
        Approve(request_id, contact, user),
        Cancel(request_id, contact, user),
        Unsubscribe(request_id, contact, user),
        SetContact(request_id, contact, _choose(chance, (None, "", "C")), _choose(chance, (None, [], ["work"])), user),
        RemoveContact(request_id, contact, user),
        GetContacts(request_id, user=user),
    )
    return [_choose(chance, messages)]


# --- questions ------------------------------------------------------------------------------------------------------


def _ask(world: World, client: Client) -> list[ClientMessage]:
    chance, request_id = world.chance, client.next_id()
    user, _ = _whose(world, client)
    messages: tuple[ClientMessage, ...] = (
        Ping(request_id),
        Get(request_id, _names(chance)),
        Who(request_id, "", _choose(chance, (1, 100))),
        GetDevices(request_id, user),
        GetClaims(request_id, user),
        GetActivity(request_id, user),
        GetMembers(request_id, _choose(chance, CHANNELS)),
        GetSync(request_id, user),
        GetBlocked(request_id, user),
        GetAudience(request_id, user),
        Sync(request_id, user),
    )
    return [_choose(chance, messages)]


def _watch(world: World, client: Client) -> list[ClientMessage]:
    return [Watch(client.next_id(), _names(world.chance))]


def _check(world: World, client: Client) -> list[ClientMessage]:
    return [Check(client.next_id())]


def _compare(world: World, client: Client) -> list[ClientMessage]:
    """What it has, or has not any longer, or something else that it believes."""
    chance = world.chance
    names = list(dict.fromkeys(_names(chance)))
    believed = Record("somebody", "dnd", "who is not there", "", 1, 0, "", 1)
    had = {name: _choose(chance, (client.book.get(name), None, believed)) for name in names}
    return [client.compare(names, had, more=chance.random() < 0.2)]


def _unwatch(world: World, client: Client) -> list[ClientMessage]:
    return [Unwatch(client.next_id(), _names(world.chance))]


def _watch_channel(world: World, client: Client) -> list[ClientMessage]:
    return [WatchChannel(client.next_id(), _choose(world.chance, CHANNELS))]


def _unwatch_channel(world: World, client: Client) -> list[ClientMessage]:
    return [UnwatchChannel(client.next_id(), _choose(world.chance, CHANNELS))]


def _applied(world: World, client: Client) -> list[ClientMessage]:
    assert client.link is not None
    own = client.link.told.own
    return [Applied(own[-1].version)] if own else _ask(world, client)


def _several(world: World, client: Client) -> list[ClientMessage]:
    """Many frames in one piece; now and then more than are handled in one go."""
    if world.chance.random() < 0.05:
        return [Ping(client.next_id()) for _ in range(FRAMES_PER_WAKE_MAX + 10)]
    return [message for _ in range(2 + int(world.chance.random() * 6)) for message in request_of(world, client)]


# --- services -------------------------------------------------------------------------------------------------------


def _attach(world: World, client: Client) -> list[ClientMessage]:
    chance = world.chance
    ref, user, device = 1 + int(chance.random() * 3), _choose(chance, USERS), _choose(chance, DEVICES)
    before = client.refs.get(ref)
    if before is not None and before != (user, device):
        world.let_leave(*before)
    client.refs[ref] = user, device
    world.let_come(user, device)
    again = chance.random() < 0.3
    status, idle_ms = _choose(chance, STATUSES), _choose(chance, IDLES)
    described = ("", "", 0, status, idle_ms, again, again, status, user)
    return [Attach(client.next_id(), ref, user, device, *described)]  # type: ignore[arg-type]


def _detach(world: World, client: Client) -> list[ClientMessage]:
    chance = world.chance
    lost = chance.random() < 0.4
    if client.refs and chance.random() < 0.6:
        ref = _choose(chance, list(client.refs))
        whose = client.refs.pop(ref)
        if not lost:
            world.let_leave(*whose)
        return [Detach(client.next_id(), ref, lost)]
    user, device = _choose(chance, USERS), _choose(chance, DEVICES)
    if not lost:
        world.let_leave(user, device)
    return [Detach(client.next_id(), 0, lost, user, device)]


def _follow(world: World, client: Client) -> list[ClientMessage]:
    assert client.link is not None
    told = client.link.told
    if told.seq:
        return _ask(world, client)
    return [Follow(client.next_id())]


def _watch_all(world: World, client: Client) -> list[ClientMessage]:
    return [WatchAll(client.next_id(), world.chance.random() < 0.8)]


def _set_contacts(world: World, client: Client) -> list[ClientMessage]:
    chance, user = world.chance, _choose(world.chance, USERS)
    words: tuple[Subscription, ...] = ("none", "to", "from", "both")
    entries = [ContactEntry(name, _choose(chance, words)) for name in USERS if name != user and chance.random() < 0.7]
    return [SetContacts(client.next_id(), user, entries, chance.random() < 0.2, chance.random() < 0.2)]


def _find_claims(world: World, client: Client) -> list[ClientMessage]:
    return [FindClaims(client.next_id(), _choose(world.chance, ("", *CLAIMS)))]


def _take_away(world: World, client: Client) -> list[ClientMessage]:
    chance, request_id = world.chance, client.next_id()
    user = _choose(chance, USERS)
    if chance.random() < 0.5:
        return [Revoke(request_id, user)]
    for device in DEVICES:
        world.let_leave(user, device)
    if chance.random() < 0.5:
        return [Kick(request_id, user)]
    world.erase(client, request_id, user)
    return [Erase(request_id, user)]


BOTH: tuple[Make, ...] = (
    _status, _status, _status, _set_device, _add_claim, _end_claim, _activity, _touch, _join, _join, _leave,
    _ask, _ask, _watch, _watch, _unwatch, _watch_channel, _unwatch_channel, _several, _several, _forget, _command,
    _privacy, _privacy,
    _contact, _contact,
    _check, _check, _compare,
)  # fmt: skip
FOR_USERS: tuple[Make, ...] = (*BOTH, _applied, _applied)
FOR_SERVICES: tuple[Make, ...] = (
    *BOTH, _attach, _attach, _attach, _attach, _detach, _detach, _follow, _follow, _watch_all, _find_claims,
    _set_contacts,
    _take_away,
)  # fmt: skip
