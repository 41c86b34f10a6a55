"""From a client's message to calls of the engine, and from their results to the reply.

One function per message type, found by one dict lookup; they are filed by subject, a module each. Each checks
everything, makes one call of the engine or of a part of it that applies it, and replies; no state is written here. What
is wrong with a request is raised as `RequestError` or `AddressError` and becomes an error frame in `handle`; it never
touches the requests beside it. Anything else that is raised is a bug of ours and is left to the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import refuse, reply
from presenced.core.requests import activity, channels, claims, commands, devices, own_state, watching
from presenced.core.targets import require_memory
from presenced.errors import AddressError, RequestError
from presenced.wire.messages import (
    ClientMessage,
    Command,
    FindClaims,
    Follow,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetMembers,
    GetSync,
    Hello,
    Ping,
    Pong,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
)


def handle(engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
    """Apply one message of a link that has said hello; replies and errors go to its session."""
    engine.heard(session, now_ms)
    asks_for = _QUESTIONS.get(type(message)) if engine.publisher.has_dirty or engine.asking else None
    if asks_for is not None and (session in engine.asking or asks_for(engine, message)):
        # At the end of the turn, and in order with what this link asks after it.
        engine.put_off(session, lambda now_ms: _handle(engine, session, now_ms, message))
    else:
        _handle(engine, session, now_ms, message)


def _handle(engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
    try:
        if engine.memory_level > 1 and type(message) in _LONG_ANSWERS:
            require_memory(engine, 2)
        _HANDLERS[type(message)](engine, session, now_ms, message)
    except (RequestError, AddressError) as error:
        refuse(engine, session, getattr(message, "id", 0), error.code, error.message, error.retry_ms)


def _hello(engine: Engine, session: Session, now_ms: int, message: Hello) -> None:
    raise RequestError("hello_repeated", "this link has already said hello; open another link for another device")


def _ping(engine: Engine, session: Session, now_ms: int, message: Ping) -> None:
    reply(engine, session, Pong(message.id, engine.clock.wall_ms(now_ms)))


_HANDLERS: dict[type, Callable[[Engine, Session, int, Any], None]] = {
    Hello: _hello,
    Ping: _ping,
    **devices.HANDLERS,
    **claims.HANDLERS,
    **activity.HANDLERS,
    **channels.HANDLERS,
    **watching.HANDLERS,
    **own_state.HANDLERS,
    **commands.HANDLERS,
}
"""Each takes its own member of the union; the key says which."""

_LONG_ANSWERS = frozenset(
    (
        Get,
        Watch,
        Who,
        GetDevices,
        GetClaims,
        FindClaims,
        GetActivity,
        GetMembers,
        WatchChannel,
        GetSync,
        Follow,
        Command,
    )
)
"""What asks for more than it takes to ask: thousands of links that do so and do not read would fill any memory."""


def _is_touched(engine: Engine, names: list[str]) -> bool:
    users = engine.users
    return any(name in users and users[name].dirty for name in names)


def _any_is_touched(engine: Engine, message: ClientMessage) -> bool:
    return engine.publisher.has_dirty


def _users_are_touched(engine: Engine, message: Get | Watch) -> bool:
    return _is_touched(engine, message.users)


def _members_are_touched(engine: Engine, message: GetMembers | WatchChannel) -> bool:
    channel = engine.channels.by_name.get(message.channel)
    return channel is not None and engine.publisher.any_dirty(channel.members)


def _nobody_is_touched(engine: Engine, message: ClientMessage) -> bool:
    """Not a question, and not to overtake one."""
    return False


_QUESTIONS: dict[type, Callable[[Engine, Any], bool]] = {
    Get: _users_are_touched,
    Watch: _users_are_touched,
    Unwatch: _nobody_is_touched,
    Who: _any_is_touched,
    WatchAll: _any_is_touched,
    Follow: _any_is_touched,
    GetMembers: _members_are_touched,
    WatchChannel: _members_are_touched,
    UnwatchChannel: _nobody_is_touched,
    GetDevices: _any_is_touched,
    GetSync: _any_is_touched,
}
"""What is answered from records, and whether any of these is to be made anew in this turn. Then the answer waits for
the turn's end: to make it at once would make two changes of one, with something said before and after the question."""
