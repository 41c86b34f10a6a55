"""One message of each type that a client sends. Where it can be, it is about bob, whoever sends it: his device `web`,
which a service holds under the ref 1, his device `old`, which is gone, his claim `trip`, and the channel `room`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

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
    EndClaim,
    Erase,
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
    Kick,
    Leave,
    Ping,
    Renew,
    Revoke,
    SetDevice,
    SetSchedule,
    SetStatus,
    Sync,
    Touch,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
)

M = TypeVar("M", bound=ClientMessage)

SAMPLES: dict[type, ClientMessage] = {
    Hello: Hello([1], "", "bob", "laptop"),
    Heartbeat: Heartbeat(5),
    Bye: Bye(),
    Ping: Ping(1),
    SetStatus: SetStatus(1, "dnd", user="bob"),
    SetDevice: SetDevice(1, "dnd", user="bob", device="web"),
    Get: Get(1, ["bob"]),
    Who: Who(1),
    Watch: Watch(1, ["bob"]),
    Unwatch: Unwatch(1, ["bob"]),
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
    GetMembers: GetMembers(1, "room"),
    WatchChannel: WatchChannel(1, "room"),
    UnwatchChannel: UnwatchChannel(1, "room"),
    Applied: Applied(1),
    Sync: Sync(1, "bob"),
    GetSync: GetSync(1, "bob"),
    Follow: Follow(1),
    Command: Command(1, "dnd", "bob"),
    WatchAll: WatchAll(1),
    FindClaims: FindClaims(1, "meeting"),
    Renew: Renew(1, ""),
    Revoke: Revoke(1, "bob"),
    Kick: Kick(1, "bob"),
    Erase: Erase(1, "bob"),
}


def sample(kind: type[M], request_id: int = 1) -> M:
    """The sample of a type, with this id if it has one."""
    message = SAMPLES[kind]
    assert isinstance(message, kind)
    return msgspec.structs.replace(message, id=request_id) if "id" in message.__struct_fields__ else message
