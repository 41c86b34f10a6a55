"""What a message costs beside its frame, in units of about fifty microseconds: known before it is handled, in a few
integer operations.

The edge takes it off the credit of the user whose link asks. Deliveries are not in here: how often a user's changes
are told, and to how many, is bounded where they are told (`core.publisher`), whoever makes the changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.wire.messages import (
    AddClaim,
    Attach,
    Beats,
    Bye,
    Command,
    Detach,
    EndClaim,
    FindClaims,
    Get,
    GetActivity,
    GetMembers,
    SetDevice,
    SetSchedule,
    SetStatus,
    Unwatch,
    Watch,
    WatchChannel,
    Who,
)

NAMES = 32
"""Names, records or members for one unit."""

ACTIVITIES = 8
"""Activities, of up to a kilobyte, for one unit."""

CHANNELS = 8
"""Channels of a user whose record may change, for one unit: each counts its members by status."""

DEVICES = 16
"""Devices in one beats, for one unit."""

CHANGE_MAX = 200
"""Of a change, whatever the number of channels: the link that makes it must be read again before its next heartbeat."""

FIND = 4
"""Of a search for claims: it looks at up to `core.parts.claims.FIND_USERS` users."""

HELLO = 4
"""Of a hello: a token is verified, and a session and a device are made."""


def cost_of_change(engine: Engine, name: str) -> int:
    """Units for a change of this user's record: their channels are brought up to date."""
    user = engine.users.get(name)
    if user is None or user.channels is None:
        return 0
    return min(CHANGE_MAX, len(user.channels) // CHANNELS)


def _names(engine: Engine, session: Session, message: Get | Watch | Unwatch) -> int:
    return len(message.users) // NAMES


def _who(engine: Engine, session: Session, message: Who) -> int:
    return min(message.limit, len(engine.publisher.online)) // NAMES


def _found(engine: Engine, session: Session, message: FindClaims) -> int:
    return message.limit // NAMES + FIND


def _members(engine: Engine, session: Session, message: GetMembers | WatchChannel) -> int:
    channel = engine.channels.by_name.get(message.channel)
    return min(message.limit, len(channel.online)) // NAMES if channel is not None else 0


def _activities(engine: Engine, session: Session, message: GetActivity) -> int:
    user = engine.users.get(message.user or session.user_name)
    return min(message.limit, len(user.activities or ())) // ACTIVITIES if user is not None else 0


def _change(
    engine: Engine, session: Session, message: SetStatus | SetDevice | AddClaim | EndClaim | SetSchedule | Command
) -> int:
    if message.user or session.device is None:
        return cost_of_change(engine, message.user or session.user_name)
    channels = session.device.user.channels
    return min(CHANGE_MAX, len(channels) // CHANNELS) if channels is not None else 0


def _bye(engine: Engine, session: Session, message: Bye) -> int:
    return cost_of_change(engine, session.user_name)


def _attach(engine: Engine, session: Session, message: Attach) -> int:
    return cost_of_change(engine, message.user)


def _detach(engine: Engine, session: Session, message: Detach) -> int:
    if message.user:
        return cost_of_change(engine, message.user)
    device = session.refs.get(message.ref) if session.refs is not None else None
    return cost_of_change(engine, device.user.name) if device is not None else 0


def _beats(engine: Engine, session: Session, message: Beats) -> int:
    return len(message.beats) // 2 // DEVICES


COSTS: dict[type, Callable[[Engine, Session, Any], int]] = {
    Get: _names,
    Watch: _names,
    Unwatch: _names,
    Who: _who,
    GetMembers: _members,
    WatchChannel: _members,
    GetActivity: _activities,
    SetStatus: _change,
    SetDevice: _change,
    AddClaim: _change,
    EndClaim: _change,
    SetSchedule: _change,
    Command: _change,
    FindClaims: _found,
    Bye: _bye,
    Attach: _attach,
    Detach: _detach,
    Beats: _beats,
}
"""Units that a message of the type costs beside the one for its frame, O(1) each. One that is not in here costs its
frame alone."""
