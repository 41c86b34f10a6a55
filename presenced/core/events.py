"""Events for services: what happened to users, each told once, in order, with a cursor to go on from.

The last events are kept as encoded frames. A follower has a cursor into them; each turn it is sent what has
come since, so that one that reconnects, or reads slowly, is caught up the same way and costs nothing meanwhile. One
that has fallen behind what is kept is told so plainly and goes on from the newest.
"""

from __future__ import annotations

from presenced.core.model import Session
from presenced.core.outboxes import Outboxes
from presenced.core.publisher import Publisher
from presenced.limits import EVENTS_KEPT
from presenced.wire.frames import frame
from presenced.wire.messages import Event, EventKind, Following, Record, encode

BATCH_EVENTS = 512
"""Events that one follower is sent in one turn."""


class Events:
    """What happened lately, and who is told."""

    def __init__(self, publisher: Publisher, outboxes: Outboxes, epoch: int) -> None:
        self.epoch = epoch
        """Identifies this run: what is kept does not survive a restart, so a cursor of another run is worth nothing."""
        self.seq = 0
        """Number of the newest event."""
        self.followers: dict[Session, None] = {}
        self._publisher = publisher
        self._outboxes = outboxes
        self.is_kept = False
        """Whether anybody ever followed: until then nothing is kept, and a change costs nothing here."""
        self._kept: list[bytes] = []
        """The newest events, up to twice as many as are promised: cutting off half at a time is O(1) an event."""

    def follow(self, session: Session, request_id: int, epoch: int, seq: int) -> None:
        """Send the session every event from after (epoch, seq); epoch 0 = from now on."""
        self.is_kept = self._publisher.keeps_changes = True
        oldest = self.seq - len(self._kept)
        known = epoch == self.epoch and oldest <= seq <= self.seq
        session.follow_seq = seq if known else self.seq
        self.followers[session] = None
        following = Following(request_id, self.epoch, session.follow_seq, not known and epoch != 0)
        self._outboxes.reply(session, encode(following))

    def unfollow(self, session: Session) -> None:
        """The session has ended. Idempotent."""
        self.followers.pop(session, None)

    def follow_record(self, old: Record, new: Record, reason: str, wall_ms: int) -> None:
        """Make events of a change of a user's record."""
        if new.status != old.status:
            if old.status == "offline":
                self._add("online", new.user, old.status, new.status, "", wall_ms)
            elif new.status == "offline":
                self._add("offline", new.user, old.status, new.status, reason, wall_ms)
            self._add("status_change", new.user, old.status, new.status, reason, wall_ms)
        if new.text != old.text or new.emoji != old.emoji:
            before, after = f"{old.emoji} {old.text}".strip(), f"{new.emoji} {new.text}".strip()
            self._add("text_change", new.user, before, after, "", wall_ms)
        if new.device != old.device and new.device and old.device:
            self._add("device_change", new.user, old.device, new.device, "", wall_ms)

    def _add(self, kind: EventKind, user: str, old: str, new: str, reason: str, wall_ms: int) -> None:
        self.seq += 1
        self._kept.append(frame(encode(Event(self.seq, wall_ms, kind, user, old, new, reason))))
        if len(self._kept) >= 2 * EVENTS_KEPT:
            del self._kept[:EVENTS_KEPT]

    @property
    def is_behind(self) -> bool:
        """Whether some follower could be sent more at once. O(followers)."""
        return any(session.held is None and session.follow_seq < self.seq for session in self.followers)

    def flush(self) -> None:
        """Send each follower that reads what it has not been sent, up to a bound. O(events sent)."""
        oldest = self.seq - len(self._kept)
        for session in self.followers:
            if session.held is not None or session.follow_seq == self.seq:
                continue
            if session.follow_seq < oldest:
                session.follow_seq = self.seq
                self._outboxes.push(session, frame(encode(Following(0, self.epoch, self.seq, True))))
                continue
            start = session.follow_seq - oldest
            for data in self._kept[start : start + BATCH_EVENTS]:
                self._outboxes.push(session, data)
                session.follow_seq += 1
