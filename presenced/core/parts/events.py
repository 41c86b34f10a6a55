"""Events for services: what happened to users, each told once, in order, with a cursor to go on from.

The last events are kept as encoded frames (`event_history`), until nobody has followed for a while. A follower has a
cursor into them; each turn it is sent what has come since, so that one that reconnects, or reads slowly, is caught up
the same way and costs nothing meanwhile. One that has fallen behind what is kept is told so plainly and goes on from
the newest. A follower that does not see everybody has events with numbers of their own (`event_streams`).
"""

from __future__ import annotations

from presenced.core.clock import Clock
from presenced.core.model import Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.parts.event_streams import EventStream, EventStreams
from presenced.core.publisher import Change, Publisher
from presenced.core.rights import EVERYBODY
from presenced.limits import EVENTS_BYTES_MAX, EVENTS_SHORT_BYTES_MAX, EVENTS_UNFOLLOWED_MS
from presenced.wire.codec import decode_server, encode
from presenced.wire.frames import LENGTH_BYTES, frame
from presenced.wire.messages import Event, EventKind, Following, Subscription

BATCH_EVENTS = 512
"""Events that one follower is sent in one turn."""


class Events(Part):
    """What happened lately, and who is told."""

    def __init__(self, clock: Clock, publisher: Publisher, outboxes: Outboxes, epoch: int) -> None:
        self.epoch = epoch
        """Identifies this run: what is kept does not survive a restart, so a cursor of another run is worth nothing."""
        self.followers: dict[Session, EventStream] = {}
        """Each with what it is told of."""
        self.is_kept = False
        """Whether anybody follows, or did lately: else nothing is kept, and a change costs nothing here."""
        self._whole = EventStream(EVERYBODY, epoch)
        self.history = self._whole.history
        self._streams = EventStreams(epoch)
        self._clock = clock
        self._publisher = publisher
        publisher.follow(self.follow_record)
        self._outboxes = outboxes
        self._is_short = False
        self._unfollowed_ms = 0
        """When the last follower went."""

    @property
    def seq(self) -> int:
        """Number of the newest event."""
        return self.history.seq

    def follow(self, session: Session, now_ms: int, request_id: int, epoch: int, seq: int) -> None:
        """Send the session every event of users whom it sees, from after (epoch, seq); epoch 0 = from now on."""
        self.is_kept = True
        self._publisher.keep_changes(True)
        stream = self._take_up(session, now_ms)
        history = stream.history
        known = epoch == stream.epoch and history.oldest <= seq <= history.seq
        session.follow_seq = seq if known else history.seq
        following = Following(request_id, stream.epoch, session.follow_seq, not known and epoch != 0)
        self._outboxes.reply(session, encode(following))

    def _take_up(self, session: Session, now_ms: int) -> EventStream:
        """The stream of whom the session sees, which it follows from now on, and no other."""
        rights, before = session.rights, self.followers.get(session)
        stream = self._whole if rights is None or not rights.is_narrow else self._streams.join(rights.see)
        if before is not None and before is not self._whole:
            self._streams.leave(before, now_ms)
        self.followers[session] = stream
        return stream

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """A follower that sees other users from now on goes on from the newest event of these."""
        before = self.followers.get(session)
        if before is None:
            return
        stream = self._take_up(session, now_ms)
        if stream is not before:
            session.follow_seq = stream.history.seq
            self._outboxes.reply(session, encode(Following(0, stream.epoch, stream.history.seq, True)))

    def end_session(self, session: Session, now_ms: int) -> None:
        """The session follows no longer."""
        stream = self.followers.pop(session, None)
        if stream is None:
            return
        if stream is not self._whole:
            self._streams.leave(stream, now_ms)
        self._unfollowed_ms = now_ms
        if self._is_short:
            self._forget_unfollowed()

    def set_short(self, short: bool) -> None:
        """Memory is short, or is enough again. While it is short, only events that a follower is about to read stay."""
        self._is_short = short
        self.history.bound(EVENTS_SHORT_BYTES_MAX if short else EVENTS_BYTES_MAX)
        self._streams.set_short(short)
        if short:
            self._forget_unfollowed()

    def _forget_unfollowed(self) -> None:
        if self.is_kept and not self.followers:
            self.is_kept = False
            self._publisher.keep_changes(False)
            self.history.forget()
            self._streams.clear()

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not at all."""
        if self.followers:
            return 0 if self.is_behind else self._streams.next_ms if self._streams else None
        return self._unfollowed_ms + EVENTS_UNFOLLOWED_MS if self.is_kept else None

    def tick(self, now_ms: int) -> None:
        """Give up what nobody has followed for long."""
        if self._streams:
            self._streams.give_up(now_ms)
        if now_ms >= self._unfollowed_ms + EVENTS_UNFOLLOWED_MS:
            self._forget_unfollowed()

    # --- what happens -----------------------------------------------------------------------------------------

    def follow_record(self, change: Change, now_ms: int) -> None:
        """Make events of a change of a user's record."""
        if not self.is_kept:
            return
        _, old, new, reason = change
        wall_ms = self._clock.wall_ms(now_ms)
        if new.status != old.status:
            if old.status == "offline":
                self._add("online", new.user, old.status, new.status, "", wall_ms)
            elif new.status == "offline":
                self._add("offline", new.user, old.status, new.status, reason, wall_ms)
            self._add("status_change", new.user, old.status, new.status, reason, wall_ms)
        if new.text != old.text or new.emoji != old.emoji:
            self._add("text_change", new.user, old.text, new.text, "", wall_ms, old.emoji, new.emoji)
        if new.device != old.device and new.device and old.device:
            self._add("device_change", new.user, old.device, new.device, "", wall_ms)

    def note_request(self, user: str, asker: str, note: str, now_ms: int) -> None:
        """The asker asks to see the user."""
        self._note("contact_request", user, "", asker, note, now_ms)

    def note_contact(self, user: str, contact: str, old: Subscription, new: Subscription, now_ms: int) -> None:
        """Who of the user and a contact sees the other is not what it was, by the user's list."""
        self._note("contact_change", user, old, new, contact, now_ms)

    def _note(self, kind: EventKind, user: str, old: str, new: str, reason: str, now_ms: int) -> None:
        if self.is_kept:
            # What has happened to records before is told before it.
            self._publisher.tell_changes(now_ms)
            self._add(kind, user, old, new, reason, self._clock.wall_ms(now_ms))

    def erase(self, user: User, now_ms: int) -> None:
        """The events that name the user, but for those that tell of an erasure. Each leaves an empty one in its
        place, since followers count them. O(events kept)."""
        for history in (self.history, *(stream.history for stream in self._streams.of(user.name))):
            for seq in history.with_bytes(encode(user.name)):
                event = decode_server(history.at(seq)[LENGTH_BYTES:])
                if isinstance(event, Event) and user.name in _named(event) and event.kind != "erased":
                    history.replace(seq, frame(encode(Event(seq, 0, "erased", "", "", "", ""))))

    def tell_erased(self, name: str, now_ms: int) -> None:
        """The disk holds nothing any more of this user."""
        if self.is_kept:
            self._add("erased", name, "", "", "", self._clock.wall_ms(now_ms))

    def _add(
        self,
        kind: EventKind,
        user: str,
        old: str,
        new: str,
        reason: str,
        wall_ms: int,
        old_emoji: str = "",
        new_emoji: str = "",
    ) -> None:
        event = Event(self.seq + 1, wall_ms, kind, user, old, new, reason, old_emoji, new_emoji)
        self.history.add(frame(encode(event)))
        if self._streams:
            other = _other(kind, new, reason)
            for stream in self._streams.of(user):
                if other and not stream.see.match(other):
                    continue
                event = Event(stream.history.seq + 1, wall_ms, kind, user, old, new, reason, old_emoji, new_emoji)
                stream.history.add(frame(encode(event)))

    @property
    def is_behind(self) -> bool:
        """Whether some follower could be sent more at once. O(followers)."""
        return any(
            session.owed is None and session.follow_seq < stream.history.seq
            for session, stream in self.followers.items()
        )

    def settle(self, now_ms: int) -> None:
        """Send each follower that reads what it has not been sent, up to a bound. O(events sent)."""
        for session, stream in self.followers.items():
            history = stream.history
            if session.owed is not None or session.follow_seq == history.seq:
                continue
            if session.follow_seq < history.oldest:
                session.follow_seq = history.seq
                self._outboxes.push(session, frame(encode(Following(0, stream.epoch, history.seq, True))))
                continue
            for data in history.after(session.follow_seq, BATCH_EVENTS):
                self._outboxes.push(session, data)
                session.follow_seq += 1


def _other(kind: EventKind, new: str, reason: str) -> str:
    """The second user whom an event names, if it does: of a contact."""
    if kind == "contact_request":
        return new
    return reason if kind == "contact_change" else ""


def _named(event: Event) -> tuple[str, str]:
    return event.user, _other(event.kind, event.new, event.reason)
