"""What each link is still to be sent: replies and pushes in order, and for a link that does not read, what it missed.

* Fan-out costs one list append per watcher and nothing else: no object, no encoding, no call. Written inline for
  that reason; a helper call per watcher costs as much again as the append.
* The first fan-out of a turn does not even do that: it is kept back as it is (`Broadcast`), and if no other comes, as
  when one user changes, it is written to each watcher without touching any list: a tenth of a delivery.

Slow watchers. A link that does not take what it is sent is not disconnected and not queued for: from then on the
users that changed are noted (`Session.held`), and their latest records follow when it drains.
"""

from __future__ import annotations

from typing import NamedTuple

from presenced.core.model import Session, Sink, User
from presenced.core.wide import WATCHERS, WideFanOuts
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Presence, Record

_PRESENCE_HEAD = encode(Presence(Record("", "offline", "", "", 0, 0, "", 0)))[:2]
"""Array of two, type number: what stands before the record in every presence message."""


_NOBODY: dict[Session, Sink] = {}


class Broadcast(NamedTuple):
    """One frame for all watchers of a user, in nobody's list yet."""

    user: User
    watchers: dict[Session, Sink]
    data: bytes


class Outboxes:
    """Owns what is pending for each session, and knows which sessions have something and which do not read."""

    def __init__(self) -> None:
        self.dirty: list[Session] = []
        """Sessions with something pending that may be written now."""
        self.everyone: dict[Session, None] = {}
        """Sessions that are told of every user. One object for ever."""
        self.slow: dict[Session, int] = {}
        """Sessions that do not take what they are sent, and since when."""
        self.deliveries = 0
        """Presence frames handed to links, counted for the operator."""
        self.bytes_out = 0
        """Bytes written to links."""
        self.reply_bytes = 0
        """Of all replies that were made, with their frames."""
        self.wide = WideFanOuts()
        self.sink_kinds: dict[type[Sink], None] = {}
        """The classes of sinks that anybody has watched through. While there is one, no broadcast is sorted by it."""
        self._broadcast: Broadcast | None = None

    # --- what everybody is told -------------------------------------------------------------------------------

    def fan_out(self, user: User) -> None:
        """Tell everybody who is to know what the user's record is now. O(watchers)."""
        data = _presence(user)
        dirty = self.dirty
        watchers = user.watchers or _NOBODY
        if len(watchers) > WATCHERS:
            self.wide.add(user, watchers)
            self._tell_everyone(user, watchers, data)
            return
        if self._broadcast is not None:
            self.spread()
        elif not dirty and not self.everyone:
            self._broadcast = Broadcast(user, watchers, data)
            return
        self.deliveries += len(watchers)
        for session in watchers:
            # What has something pending is neither clean nor held; nearly all are the former, one test each.
            if pending := session.pending:
                pending.append(data)
            elif session.held is None:
                pending.append(data)
                dirty.append(session)
            else:
                self.deliveries -= 1
                session.held[user] = None
        self._tell_everyone(user, watchers, data)

    def _tell_everyone(self, user: User, watchers: dict[Session, Sink], data: bytes) -> None:
        """Tell those who are told of every user, unless they are among these."""
        for session in self.everyone:
            if session in watchers:
                continue
            if self.push(session, data):
                self.deliveries += 1
            elif session.held is not None:
                session.held[user] = None

    def spread(self) -> None:
        """Put what was kept back into the lists of those whom it is for, before what came after it. Needed before
        anybody begins or stops to watch, or takes frames again. O(watchers)."""
        if self._broadcast is None:
            return
        user, watchers, data = self._broadcast
        self._broadcast = None
        for session in watchers:
            if session.held is not None:
                session.held[user] = None
                continue
            self.deliveries += 1
            if session.pending:
                session.pending.insert(0, data)
            else:
                session.pending.append(data)
                self.dirty.append(session)

    def take_broadcast(self) -> Broadcast | None:
        """What was kept back, to be written to each of its watchers that takes it before anything else."""
        broadcast, self._broadcast = self._broadcast, None
        return broadcast

    def take_slice(self) -> Broadcast | None:
        """The next of the watchers of a user who has very many (`wide`), to be written to in the same way."""
        taken = self.wide.take()
        return Broadcast(*taken, _presence(taken[0])) if taken is not None else None

    # --- what one session is told -----------------------------------------------------------------------------

    def reply(self, session: Session, payload: bytes) -> None:
        """Queue a message for this session alone, in order with the pushes."""
        data = frame(payload)
        size = len(data)
        session.reply_bytes += size
        self.reply_bytes += size
        if session.held is not None:
            session.replies.append(data)
            return
        if not session.pending:
            self.dirty.append(session)
        session.pending.append(data)

    def push(self, session: Session, data: bytes) -> bool:
        """Queue a frame that others get too; False, and nothing queued, if the link does not take any now."""
        if session.held is not None:
            return False
        if not session.pending:
            self.dirty.append(session)
        session.pending.append(data)
        return True

    def hold(self, session: Session, now_ms: int) -> None:
        """The link does not take what it is sent: keep only which users changed, and its replies. Idempotent."""
        if session.held is None:
            session.held = {}
            self.slow[session] = now_ms
            session.replies, session.pending = session.pending, []

    def drained(self, session: Session) -> None:
        """The link took everything: queue its replies and the latest record of each user that changed meanwhile.
        Idempotent. O(users that changed)."""
        held = session.held
        if held is None:
            return
        self.spread()
        session.held = None
        self.slow.pop(session, None)
        session.pending, session.replies = session.replies, []
        watching = session.watching or {}
        everything = session in self.everyone
        for user in held:
            if everything or user.name in watching:
                session.pending.append(_presence(user))
                self.deliveries += 1
        if session.pending:
            self.dirty.append(session)

    def take_dirty(self) -> list[Session]:
        """The sessions with something to write, each once; they count as clean from now on."""
        dirty, self.dirty = self.dirty, []
        return dirty

    def end(self, session: Session) -> None:
        """The link is no more: forget what it is owed. Idempotent."""
        self.slow.pop(session, None)
        self.everyone.pop(session, None)
        if session.held is not None:
            # It stays held: what is owed to it still must not overtake what its link has not taken.
            session.held.clear()


def _presence(user: User) -> bytes:
    encoded = user.encoded
    if encoded is None:
        encoded = user.encoded = encode(user.record)
    return frame(_PRESENCE_HEAD + encoded)
