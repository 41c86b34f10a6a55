"""What each link is still to be sent: replies and pushes in order, and for a link that does not read, what it missed.

* Fan-out costs one list append per watcher and nothing else: no object, no encoding, no call. `_queue` is written
  inline for that reason; a helper call per watcher costs as much again as the append.
* The first fan-out of a turn does not even do that. It is kept as a `Broadcast`, and if no other follows, as when one
  user changes, it is written to each watcher without touching any list, which saves a tenth of a delivery.

A link that does not read is neither disconnected nor queued for. While it is paused, the users that changed are noted
in `Session.owed`, and their latest records follow when it resumes (protocol.md, 6.5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from presenced.core.corks import Corks
from presenced.core.model import Face, Session, Sink, User
from presenced.core.pattern_index import PatternIndex
from presenced.core.wide_fan_outs import WATCHERS, WideFanOuts
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Presence, Record

_PRESENCE_HEAD = encode(Presence(Record("", "offline", "", "", 0, 0, "", 0)))[:2]
"""Array of two, type number: what stands before the record in every presence message."""

_NOBODY: dict[Session, Sink] = {}


class Broadcast(NamedTuple):
    """One frame for all watchers of a user, in nobody's list yet."""

    user: User
    sinks: dict[Session, Sink]
    """Those who watched when the user changed: a copy, so that a watch may begin or end before the frame is written."""
    data: bytes


class Outboxes:
    """Owns what is pending for each session, and knows which sessions have something pending and which are paused."""

    def __init__(self) -> None:
        self.dirty: list[Session] = []
        """Sessions with something pending that may be written now."""
        self.everyone: dict[Session, None] = {}
        """Sessions that are told of every user."""
        self._narrowed: PatternIndex[Session] = PatternIndex()
        self.narrowed = self._narrowed.all
        """Sessions that are told of every user whom their token lets them see, which is not everybody."""
        self.slow: dict[Session, int] = {}
        """Sessions that are paused, and since when."""
        self.wide = WideFanOuts()
        self.corks = Corks()
        self.deliveries = 0
        """Presence frames handed to links."""
        self.bytes_out = 0
        """Bytes written to links."""
        self.reply_bytes = 0
        """Bytes of all replies that were made, with their frames."""
        self._sink_kinds: dict[type[Sink], None] = {}
        """The classes of sinks that anybody has watched through. While there is one, no broadcast is sorted by it."""
        self._broadcast: Broadcast | None = None
        self._show: Callable[[Session, User, int], Record] | None = None

    def show_by(self, show: Callable[[Session, User, int], Record]) -> None:
        """Ask this for the record of a user that a session is owed, above a version that it was told if one is given;
        until then, every session is shown all."""
        self._show = show

    # --- what everybody is told -------------------------------------------------------------------------------

    def fan_out(self, user: User) -> None:
        """Tell everybody who is to know what the user's record is now. O(watchers)."""
        data = _presence(user)
        watchers = user.watchers or _NOBODY
        if len(watchers) > WATCHERS:
            self.wide.add(user, watchers)
        elif self._broadcast is None and not self.dirty and not (self.everyone or self.narrowed):
            self._broadcast = Broadcast(user, watchers.copy(), data)
            return
        else:
            self._queue_broadcast()
            self._queue(user, watchers, data)
        if self.everyone:
            self._queue(user, [session for session in self.everyone if session not in watchers], data)
        if self.narrowed:
            self._queue(user, [session for session in self.narrowed_to(user) if session not in watchers], data)

    def tells_of(self, user: User) -> bool:
        """Whether anybody is told of the user without watching them by name. O(1), or as `narrowed_to`."""
        return bool(self.everyone or (self.narrowed and self.narrowed_to(user)))

    def narrowed_to(self, user: User) -> list[Session]:
        """Those of `narrowed` who see the user. O(these and those with prefixes)."""
        return self._narrowed.of(user.name)

    def fan_out_face(self, face: Face) -> None:
        """Tell those who are shown this face of a user what its record is now. O(watchers)."""
        if len(face.watchers) > WATCHERS:
            self.wide.add(face, face.watchers)
        elif face.watchers:
            self._queue_broadcast()
            self._queue(face.user, face.watchers, _presence(face))

    def _queue(self, user: User, sessions: Collection[Session], data: bytes, *, in_front: bool = False) -> None:
        """The one rule of delivery. A paused session is owed the user's latest record. Every other gets the frame
        behind what is pending for it, or `in_front` of what came in this turn. O(sessions), and then of what did."""
        dirty, owed = self.dirty, 0
        for session in sessions:
            # A session with something pending is neither clean nor paused. Nearly all are clean: one test each.
            if pending := session.pending:
                if in_front:
                    pending.insert(self.corks.kept.get(session, 0), data)
                else:
                    pending.append(data)
            elif session.owed is None:
                pending.append(data)
                dirty.append(session)
            else:
                session.owed.setdefault(user, 0)
                owed += 1
        self.deliveries += len(sessions) - owed

    def _queue_broadcast(self) -> None:
        """Queue the broadcast after all, before what came after it. O(watchers)."""
        if self._broadcast is not None:
            user, watchers, data = self._broadcast
            self._broadcast = None
            self._queue(user, watchers, data, in_front=True)

    # --- what one session is told -----------------------------------------------------------------------------

    def reply(self, session: Session, payload: bytes) -> None:
        """Queue a message for this session alone, in order with the pushes."""
        data = frame(payload)
        size = len(data)
        session.reply_bytes += size
        self.reply_bytes += size
        if session.owed is not None:
            session.replies.append(data)
            return
        if not session.pending:
            self.dirty.append(session)
        session.pending.append(data)

    def expect_reply(self, session: Session, size: int) -> None:
        """A paused session is owed a reply of this size, which is made once it resumes. It counts as one that waits, so
        that whoever asks without reading is not read any longer. O(1)."""
        session.reply_bytes += size

    def push(self, session: Session, data: bytes) -> bool:
        """Queue a frame that others get too. Returns False, with nothing queued, if the session is paused."""
        if session.owed is not None:
            return False
        if not session.pending:
            self.dirty.append(session)
        session.pending.append(data)
        return True

    def tell(self, session: Session, user: User, record: Record, above: int = 0) -> None:
        """Tell one session of a user, by the rule of delivery. O(1). `above`: the version of what it was told of the
        user by another face, which may be higher than that of this record once a paused session is told."""
        self._queue_broadcast()
        if session.owed is not None:
            session.owed[user] = max(session.owed.get(user, 0), above)
        self._queue(user, (session,), frame(encode(Presence(record))))

    def tell_last(self, session: Session, user: User, record: Record) -> None:
        """Tell one session of a user whom it does not watch any longer. In order with its replies, so that one which
        does not read is told as well. O(1)."""
        self.forgive(session, user)
        self.reply(session, encode(Presence(record)))

    def tell_everyone(self, session: Session, *, is_on: bool) -> None:
        """Tell the session of every user whom its token lets it see, or no longer. To be called again when it has
        another token. Idempotent. O(1)."""
        self.everyone.pop(session, None)
        self._narrowed.remove(session)
        if not is_on:
            return
        rights = session.rights
        if rights is not None and rights.is_narrow:
            self._narrowed.add(session, rights.see)
        else:
            self.everyone[session] = None

    def owes(self, user: User) -> bool:
        """Whether a link that does not read is still to be told of the user. O(such links)."""
        return any(session.owed is not None and user in session.owed for session in self.slow)

    def is_told_all(self, session: Session) -> bool:
        """Whether the session is told of every user whom it may see. O(1)."""
        return session in self.everyone or session in self.narrowed

    def is_told(self, session: Session, user: User) -> bool:
        """Whether the session is told of the user without watching them by name."""
        return session in self.everyone or self._narrowed.sees(session, user.name)

    def expect(self, session: Session) -> None:
        """The session watches by name from now on. O(1)."""
        self._sink_kinds[type(session.sink)] = None

    def forgive(self, session: Session, user: User) -> None:
        """The session does not watch this user any longer, so it is owed no record of them. O(1)."""
        if session.owed is not None and not self.is_told(session, user):
            session.owed.pop(user, None)

    # --- links that do not read -------------------------------------------------------------------------------

    def pause(self, session: Session, now_ms: int) -> None:
        """The link does not take what it is sent: keep its replies, and of users only which of them changed.
        Idempotent."""
        if session.owed is None:
            session.owed = {}
            self.slow[session] = now_ms
            session.replies, session.pending = session.pending, []

    def resume(self, session: Session) -> None:
        """The link took everything: queue its replies and the latest record of each user that it is owed. Idempotent.
        O(users owed)."""
        if session.owed is None:
            return
        # While it is still paused: it is owed the broadcast as well, and gets the latest record once.
        self._queue_broadcast()
        owed, session.owed = session.owed, None
        self.slow.pop(session, None)
        session.pending, session.replies = session.replies, []
        self._show_owed(session, owed, session.pending)
        if session.pending:
            self.dirty.append(session)

    def tell_owed(self, session: Session) -> None:
        """Queue what a paused session is owed behind its replies, though its link does not read: it ends, and is still
        answered. O(users owed)."""
        self._queue_broadcast()
        if session.owed is not None:
            self._show_owed(session, session.owed, session.replies)
            session.owed.clear()

    def _show_owed(self, session: Session, owed: dict[User, int], frames: list[bytes]) -> None:
        watching, contacts = session.watching or {}, session.watched_contacts or {}
        for user, above in owed.items():
            if user.name in watching or user.name in contacts or self.is_told(session, user):
                record = self._show(session, user, above) if self._show is not None else user.record
                frames.append(frame(encode(Presence(record))))
                self.deliveries += 1

    def take_back(self, session: Session, rest: bytes) -> None:
        """The link of a paused session could not take the rest of a write: it is written first when it resumes."""
        assert session.owed is not None
        session.replies.insert(0, rest)
        session.reply_bytes += len(rest)

    def take_last(self, session: Session) -> list[bytes]:
        """The link ends: the frames that are still to be written to it, which are forgotten here."""
        self._queue_broadcast()
        last = [*session.pending, *session.replies]
        session.pending.clear()
        session.replies.clear()
        self.end(session)
        return last

    def end(self, session: Session) -> None:
        """The session has ended: forget what it is owed. Idempotent."""
        self.slow.pop(session, None)
        self.tell_everyone(session, is_on=False)
        if self._broadcast is not None:
            self._broadcast.sinks.pop(session, None)
        if session.owed is not None:
            # It stays paused: a reply that it is still owed must not overtake what its link has not taken.
            session.owed.clear()

    # --- writing ----------------------------------------------------------------------------------------------

    def write(self, now_ms: int, *, is_busy: bool = False) -> None:
        """Write all that is pending, with one write per link, but for what is told with an answer that is about to come
        (`corks`). The end of a turn, which `is_busy` if it changed something; nothing else writes. O(bytes)."""
        if self._broadcast is not None:
            broadcast, self._broadcast = self._broadcast, None
            self._write_broadcast(*broadcast)
        part = self.wide.take()
        if part is not None:
            told, watchers = part
            user = told.user if isinstance(told, Face) else told
            self._write_broadcast(user, watchers, _presence(told))
        dirty = self.corks.divide(self.dirty, now_ms, is_busy=is_busy)
        self.dirty = list(self.corks.kept)
        self._write_pending(dirty)

    def _write_broadcast(self, user: User, watchers: dict[Session, Sink], data: bytes) -> None:
        """Write one frame to these watchers, straight from the dict, which is nobody else's. O(watchers + dirty).

        A watcher that cannot be written to straight away gets it by the rule: it is paused, or it has a reply pending
        that came after the change in the same turn.
        """
        if self.slow:
            others = [session for session in watchers if session.pending or session.owed is not None]
        else:
            # Without a look at the sessions of the watchers, which would be two objects more to touch for each.
            others = list(dict.fromkeys(session for session in self.dirty if session in watchers))
        if others:
            self._queue(user, others, data, in_front=True)
            for session in others:
                del watchers[session]
        if watchers:
            self._send_all(watchers.values(), data)
        self.deliveries += len(watchers)
        self.bytes_out += len(watchers) * len(data)

    def _send_all(self, sinks: Collection[Sink], data: bytes) -> None:
        """Write to each class of sinks with one call. Sorting costs a hundredth of a write for each, and is not done
        while there is one class. O(sinks)."""
        if len(self._sink_kinds) == 1:
            next(iter(self._sink_kinds)).send_all(sinks, data)
            return
        by_kind: dict[type[Sink], list[Sink]] = {}
        for sink in sinks:
            by_kind.setdefault(type(sink), []).append(sink)
        for kind, some in by_kind.items():
            kind.send_all(some, data)

    def _write_pending(self, sessions: Iterable[Session]) -> None:
        """Write what is pending for each. Sessions with equal pending frames share one joined buffer. O(bytes).

        Comparing with the previous session's frames is a pointer comparison each and finds nearly all equal runs,
        because the watchers of the same users come in the same order. A dict keyed by the frames found no
        further runs, and cost a tuple and its hash per link.
        """
        before: list[bytes] = []
        data = b""
        size = written = 0
        for session in sessions:
            pending = session.pending
            if not pending:
                continue
            if pending != before:
                data = pending[0] if len(pending) == 1 else b"".join(pending)
                before = pending.copy()
                size = len(data)
            # Emptied and kept: a new list per write is one more object for the collector to track, 2 % of a delivery.
            pending.clear()
            session.reply_bytes = 0
            session.sink.send(data)
            written += size
        self.bytes_out += written


def _presence(told: User | Face) -> bytes:
    return frame(_PRESENCE_HEAD + told.encoded_record())
