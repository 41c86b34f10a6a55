"""From a client's message to calls of the engine, and from their results to the reply.

The handlers are filed by subject, a module each, with a table of what the module handles. They write no state. What is
wrong with a request is raised as `RequestError` or `AddressError` and becomes an error frame here (protocol.md, section
4.2); the requests beside it are not touched. Anything else that is raised is a bug of ours and is left to the edge.

A package above the core may handle types of its own, with a table of the same shape. Who builds a server joins the
tables in one `Requests`.
"""

from __future__ import annotations

from collections.abc import Mapping

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import refuse, reply
from presenced.core.requests import (
    activity,
    awaits,
    channels,
    claims,
    contacts,
    devices,
    events,
    explain,
    moderation,
    own_state,
    privacy,
    routes,
    views,
    watches,
)
from presenced.core.requests.handler import FROM_RECORDS, Handler as Handler
from presenced.core.targets import require_change, require_memory
from presenced.errors import AddressError, RequestError
from presenced.wire.messages import ClientMessage, Hello, Ping, Pong
from presenced.wire.subjects import subject_of


class Requests:
    """The handlers of a server, by the type of message."""

    __slots__ = ("_handlers",)

    def __init__(self, *tables: Mapping[type, Handler]) -> None:
        """Raises `ValueError` if two tables handle the same type."""
        self._handlers: dict[type, Handler] = {}
        for table in tables:
            for kind, handler in table.items():
                if kind in self._handlers:
                    raise ValueError(f"{kind.__name__} has two handlers")
                self._handlers[kind] = handler

    def cost(self, engine: Engine, session: Session, message: ClientMessage) -> int:
        """Units of work that the message costs besides its frame (protocol.md, section 4.5)."""
        cost = self._handlers[type(message)].cost
        return cost(engine, session, message) if cost is not None else 0

    def handle(self, engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
        """Apply one message of a link that has said hello; replies and errors go to its session."""
        if session.ended:
            # It was kicked in this turn, and its link ends with the turn: what came with that must undo nothing of it.
            return
        engine.ledger.reach(now_ms)
        engine.heard(session, now_ms)
        handler = self._handlers[type(message)]
        if handler.timing and _waits(engine, session, handler, message):
            _put_off(handler, engine, session, message)
        else:
            _apply(handler, engine, session, now_ms, message)


def _put_off(handler: Handler, engine: Engine, session: Session, message: ClientMessage) -> None:
    """Until the end of the turn, and in order with what this link asks after it. A function, because what a lambda
    remembers costs every message."""
    engine.obligations.put_off(session, lambda now_ms: _apply(handler, engine, session, now_ms, message))


def _apply(handler: Handler, engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
    try:
        if handler.changes and session.rights is not None:
            require_change(session)
        if handler.has_long_answer and engine.memory_level > 1:
            require_memory(engine, 2)
        handler.apply(engine, session, now_ms, message)
    except (RequestError, AddressError) as error:
        refuse(engine, session, getattr(message, "id", 0), error.code, error.message, error.retry_ms)


def _waits(engine: Engine, session: Session, handler: Handler, message: ClientMessage) -> bool:
    """Whether the message is put off until the end of the turn (`Handler.timing`). O(names), or O(members or changed
    users, whichever are fewer)."""
    if session in engine.obligations.asking:
        return True
    if handler.timing != FROM_RECORDS or not engine.publisher.has_dirty:
        return False
    subject = subject_of(message)
    if subject.scope == "everybody":
        return True
    names = subject.names(session.user_name)
    is_of_others = subject.scope == "channel" or any(name != session.user_name for name in names)
    if is_of_others and not engine.sight.sees_all(session):
        # The order of answers must not tell whether somebody has changed who is hidden from the link.
        return True
    if subject.scope == "channel":
        channel = engine.channels.by_name.get(subject.channel)
        return channel is not None and engine.publisher.any_dirty(channel.members)
    users = engine.users
    return any(name in users and users[name].dirty for name in names)


def _hello(engine: Engine, session: Session, now_ms: int, message: Hello) -> None:
    raise RequestError("hello_repeated", "this link has already said hello; open another link for another device")


def _ping(engine: Engine, session: Session, now_ms: int, message: Ping) -> None:
    reply(engine, session, Pong(message.id, engine.clock.wall_ms(now_ms)))


HANDLERS: dict[type, Handler] = {
    Hello: Handler(_hello),
    Ping: Handler(_ping),
    **devices.HANDLERS,
    **claims.HANDLERS,
    **activity.HANDLERS,
    **channels.HANDLERS,
    **watches.HANDLERS,
    **own_state.HANDLERS,
    **contacts.HANDLERS,
    **privacy.HANDLERS,
    **moderation.HANDLERS,
    **routes.HANDLERS,
    **views.HANDLERS,
    **explain.HANDLERS,
    **awaits.HANDLERS,
    **events.HANDLERS,
}
"""What the core handles: every message but those of the packages above it."""
