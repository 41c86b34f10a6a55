"""Requests about events: following them, named followers, and a user's history (protocol.md, section 19)."""

from __future__ import annotations

from presenced.address import check_name
from presenced.core.engine import Engine
from presenced.core.event_queries import Span, page, status_before
from presenced.core.model import Session
from presenced.core.replies import acknowledge, done, quoted, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, Handler
from presenced.core.targets import name_of, require_change, require_durability, require_memory, require_service
from presenced.errors import RequestError
from presenced.wire.messages import (
    Acknowledge,
    Follow,
    FollowerList,
    ForgetFollower,
    GetFollowers,
    GetHistory,
    HistoryPage,
)

MINUTE_MS = 60_000


def _follow(engine: Engine, session: Session, now_ms: int, message: Follow) -> None:
    require_service(session)
    if message.name:
        # It takes the name from another link, or keeps a position.
        require_change(session)
        check_name(message.name, "follower")
        follower = engine.followers.get(session.user_name, message.name)
        if follower is None or follower.is_new:
            require_durability(engine)
    if session.follow_seq < 0:
        require_memory(engine)
    engine.events.follow(session, now_ms, message.id, message.epoch, message.seq, message.name)


def _acknowledge(engine: Engine, session: Session, now_ms: int, message: Acknowledge) -> None:
    engine.events.acknowledge(session, message.seq, now_ms)


def _get_followers(engine: Engine, session: Session, now_ms: int, message: GetFollowers) -> None:
    require_service(session)
    name = _user_of_links(engine, session, message.user)
    reply(engine, session, FollowerList(message.id, name, engine.events.list_named(session, name)))


def _forget_follower(engine: Engine, session: Session, now_ms: int, message: ForgetFollower) -> None:
    require_service(session)
    name = _user_of_links(engine, session, message.user)
    require_durability(engine)
    follower = engine.followers.get(name, message.name)
    if follower is None:
        done(engine, session, message.id)
        return
    engine.events.require_own(session, follower)
    engine.events.forget_named(name, message.name, now_ms)
    acknowledge(engine, session, message.id)


def _user_of_links(engine: Engine, session: Session, user: str) -> str:
    """Whose links' followers are meant: those of this link's own user if none is named."""
    return session.user_name if not user else name_of(engine, session, user)


def _get_history(engine: Engine, session: Session, now_ms: int, message: GetHistory) -> None:
    name = message.user or session.user_name
    if name != session.user_name:
        if session.role == "user":
            raise RequestError(
                "forbidden", f"a user's link cannot ask for the history of {quoted(name)}; that needs a service"
            )
        check_name(name, "user")
    if 0 < message.until_ms < message.since_ms:
        raise RequestError("bad_request", "GetHistory: until_ms is before since_ms")
    events, wall_ms = engine.events, engine.clock.wall_ms(now_ms)
    begins_ms = events.known_from_ms
    if not engine.sight.sees_all(session):
        # To the minute: who sees few users is not told when something happened to somebody.
        begins_ms = -(-begins_ms // MINUTE_MS) * MINUTE_MS
    if session.rights is not None and session.role != "user" and not session.rights.sees(name):
        reply(engine, session, HistoryPage(message.id, name, begins_ms, None, [], 0))
        return
    span = Span(name, message.since_ms, message.until_ms or wall_ms + 1, message.after, message.limit)
    told, more = page(events.history, span)
    before = None if message.after else status_before(events.history, name, message.since_ms)
    reply(engine, session, HistoryPage(message.id, name, begins_ms, before, told, more))


HANDLERS: dict[type, Handler] = {
    Follow: Handler(_follow, timing=FROM_RECORDS, has_long_answer=True),
    GetHistory: Handler(_get_history, costs.history, FROM_RECORDS, has_long_answer=True),
    Acknowledge: Handler(_acknowledge, changes=True),
    GetFollowers: Handler(_get_followers, has_long_answer=True),
    ForgetFollower: Handler(_forget_follower, changes=True),
}
