"""Events: what happened to users, each once and in order, with a cursor to go on from (protocol.md, section 19).

Each change of a record makes one fact, which the history keeps (`event_history`) and every stream is made of
(`event_streams`). A follower has a cursor into its stream; each turn it is sent what has come since, so that one that
reconnects, or reads slowly, is caught up the same way and costs nothing meanwhile. Nobody is told of an event before
its fact is as durable as promised: a kill must not take back what somebody has acted upon. How an event comes into the
history, and how it is restored, stands in `event_records`.

The file is long because each of its acts moves the same cursors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from presenced.core.clock import Clock
from presenced.core.event_facts import FollowerForgotten, FollowerSet
from presenced.core.ledger import Ledger
from presenced.core.model import Session, User
from presenced.core.obligations import Obligations
from presenced.core.outboxes import Outboxes
from presenced.core.part import Start
from presenced.core.parts.event_records import EventRecords
from presenced.core.parts.event_streams import EventStream, NarrowedStream, NextEvents
from presenced.core.parts.followers import Follower, Followers
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.rights import EVERYBODY, Patterns
from presenced.errors import RequestError
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import FollowerInfo, Following

CHUNKS_PER_TURN = 4
"""Chunks that are read for followers in one turn, at about a millisecond each."""

REWRITTEN_PER_TURN = 2
"""Chunks from which somebody who was erased is taken out in one turn."""


class Events(EventRecords):
    """Who follows events, and how far each has been told."""

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        clock: Clock,
        publisher: Publisher,
        outboxes: Outboxes,
        obligations: Obligations,
        named: Followers,
        now_ms: int,
    ) -> None:
        self.followers: dict[Session, EventStream] = {}
        """Each with what it is told of."""
        self.unanswered: dict[Session, bytes] = {}
        """Those of them that are told of nothing yet, each with what it is to be told first: the answer to follow, or a
        change of the cursor that must not overtake it. Both wait for the disk."""
        super().__init__(policy, ledger, clock, publisher, now_ms)
        self._named = named
        self._outboxes = outboxes
        self._obligations = obligations
        self._marked = 0
        """The newest event of which the log was asked to say when it is durable."""
        self._unfollowed_ms = 0
        """When the last follower went."""

    # --- who follows ------------------------------------------------------------------------------------------

    @property
    def is_followed(self) -> bool:
        """Whether anybody follows, or will go on from a position that is kept."""
        return bool(self.followers) or bool(self._named)

    def begin(self, now_ms: int) -> None:
        """See `EventRecords`. Whoever is to follow has as long as a follower that has gone."""
        if not self.is_kept:
            self._unfollowed_ms = now_ms
        super().begin(now_ms)

    def follow(self, session: Session, now_ms: int, request_id: int, epoch: int, seq: int, name: str = "") -> None:
        """Send the session every event of users whom it sees, from after (epoch, seq); epoch 0 = from where the
        follower of this name is, or from now on. Raises `RequestError` (`follower_limit`, `forbidden`), with nothing
        changed."""
        follower = self._named.get(session.user_name, name) if name else None
        if follower is not None:
            self.require_own(session, follower)
        if name and follower is None:
            self._named.require_room(session.user_name)
        self.begin(now_ms)
        stream = self._take_up(session, now_ms)
        if follower is not None and epoch == 0:
            epoch, seq = follower.epoch, follower.seq
        known = epoch == stream.epoch and stream.knows(seq)
        session.follow_seq = stream.at_hand(seq) if known else stream.seq
        if name:
            if follower is None:
                follower = self._named.add(session.user_name, name, stream.epoch, session.follow_seq, now_ms)
            self._lose_name(self._named.take(follower, session, now_ms), now_ms)
        else:
            self._named.end_link(session)
        answer = encode(Following(request_id, stream.epoch, session.follow_seq, not known and epoch != 0))
        # A cursor, or a name, that a kill could take back would be worth nothing.
        is_early = session.follow_seq > stream.released or (follower is not None and follower.is_new)
        self._tell_cursor(session, request_id, answer, is_early=is_early)

    def _tell_cursor(self, session: Session, request_id: int, message: bytes, *, is_early: bool = False) -> None:
        """Send it before the events behind it, and behind what was said of the cursor before; once it is durable, if it
        is too early for it."""
        if is_early or session in self.unanswered:
            self._obligations.acknowledge(session, request_id, message)
            self.unanswered[session] = message
        else:
            self._outboxes.reply(session, message)

    def answered(self, session: Session, message: bytes) -> None:
        """The session has been sent this, which waited for the disk. O(1)."""
        if self.unanswered.get(session) == message:
            del self.unanswered[session]
            self._named.note_kept(session)

    def refused(self, session: Session, message: bytes, now_ms: int) -> None:
        """The session has been sent an error instead of this, which waited for the disk: it does not follow, and a name
        that is new is free again. O(1)."""
        if self.unanswered.get(session) == message:
            follower = self._named.by_session.get(session)
            self.end_session(session, now_ms)
            if follower is not None and follower.is_new:
                self.forget_named(follower.user, follower.name, now_ms)

    def _lose_name(self, session: Session | None, now_ms: int) -> None:
        """Another link has taken the name of the session's, which follows no longer."""
        if session is not None:
            self._tell_cursor(session, 0, encode(Following(0, 0, 0, False)))
            self._leave(session, now_ms)

    def take_told(self, fact: FollowerSet | FollowerForgotten, now_ms: int) -> None:
        """Another server with the same events tells this of a named follower. O(1)."""
        self._lose_name(self._named.take_told(fact), now_ms)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """See `EventRecords`. Nobody follows yet, and the leap of a kill is to be durable before anybody is told."""
        super().resume(users, start)
        self._marked = self.whole.released
        self._unfollowed_ms = start.now_ms

    def acknowledge(self, session: Session, seq: int, now_ms: int) -> None:
        """The named follower on this link has handled the events up to this one. Nothing comes of a number that it was
        not told, or that is behind an earlier one. O(chunks)."""
        follower, stream = self._named.by_session.get(session), self.followers.get(session)
        if follower is None or stream is None:
            return
        is_ahead = follower.epoch != stream.epoch or seq > follower.seq
        if is_ahead and seq <= session.follow_seq and stream.knows(seq):
            self._named.acknowledge(follower, stream.epoch, seq, now_ms)

    def is_own(self, session: Session, follower: Follower) -> bool:
        """Whether the session sees everybody whom the follower is told of: a token that shows less must not meddle with
        what a wider one follows. A position that is lost is anybody's. O(patterns squared)."""
        see = _sight(session)
        streams = self._stream_at(follower.epoch), self.followers.get(follower.link) if follower.link else None
        return all(stream is None or see.covers(stream.see) for stream in streams)

    def require_own(self, session: Session, follower: Follower) -> None:
        """Raise `RequestError` (`forbidden`) unless `is_own`."""
        if not self.is_own(session, follower):
            raise RequestError(
                "forbidden",
                f"the follower {follower.name} of {follower.user} is told of users whom the token of this link does "
                "not let it see; use another name, or a token that shows them",
            )

    def list_named(self, session: Session, user: str) -> list[FollowerInfo]:
        """The named followers of a user's links, but for those that `is_own` leaves out. O(these * chunks)."""
        listed = []
        for follower in self._named.of_user(user):
            if not self.is_own(session, follower):
                continue
            stream = self._stream_at(follower.epoch)
            behind = stream.count_behind(follower.seq) if stream is not None and stream.knows(follower.seq) else -1
            listed.append(FollowerInfo(follower.name, follower.epoch, follower.seq, behind, follower.at_ms))
        return listed

    def list_lost(self) -> list[str]:
        """The named followers, as `user/name`, that have missed events which are not kept any longer. O(named followers
        * log chunks), and O(chunks) for each narrowed stream that has some far behind."""
        followers = self._named.all()
        places: dict[int, set[int]] = {}
        for follower in followers:
            places.setdefault(follower.epoch, set()).add(follower.seq)
        known = {epoch: stream.known_of(seqs) for epoch, seqs in places.items() if (stream := self._stream_at(epoch))}
        return [f"{one.user}/{one.name}" for one in followers if one.seq not in known.get(one.epoch, ())]

    def forget_named(self, user: str, name: str, now_ms: int) -> None:
        """Forget a named follower; a link that follows under the name goes on without one. O(1)."""
        self._named.forget(user, name)
        if not self.is_followed:
            self._unfollowed_ms = now_ms

    def _stream_at(self, epoch: int) -> EventStream | None:
        return self.whole if epoch == self.whole.epoch else self.streams.by_epoch.get(epoch)

    def _take_up(self, session: Session, now_ms: int) -> EventStream:
        """The stream of whom the session sees, which it follows from now on, and no other."""
        see, before = _sight(session), self.followers.get(session)
        stream = self.whole if see.is_all else self._narrowed(see, now_ms)
        stream.join()
        if before is not None:
            before.leave(now_ms)
        self.followers[session] = stream
        return stream

    def _narrowed(self, see: Patterns, now_ms: int) -> NarrowedStream:
        stream = self.streams.of(see)
        if stream is None:
            if self.streams.is_full:
                self._drop_streams(self.streams.unfollowed(self._named.is_in)[:1])
            stream = self.begin_stream(see, now_ms)
        return stream

    def _leave(self, session: Session, now_ms: int) -> None:
        stream = self.followers.pop(session, None)
        self.unanswered.pop(session, None)
        if stream is not None:
            session.follow_seq = -1
            stream.leave(now_ms)
            self._unfollowed_ms = now_ms

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """A follower that sees other users from now on goes on from the newest event of these."""
        before = self.followers.get(session)
        if before is None:
            return
        follower = self._named.by_session.get(session)
        if follower is not None and not self.is_own(session, follower):
            self._named.end_link(session)
        stream = self._take_up(session, now_ms)
        if stream is not before:
            self._begin_anew(session, stream)

    def end_session(self, session: Session, now_ms: int) -> None:
        """The session follows no longer."""
        self._named.end_link(session)
        self._leave(session, now_ms)

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not at all. O(followers and streams)."""
        if self.history.is_rewriting or (self.followers and self.is_behind):
            return 0
        age_ms = self.history.age_ms()
        due_ms = None if age_ms is None else max(0, age_ms - self._clock.trusted_offset_ms)
        if not self._is_always and self.is_kept and not self.is_followed:
            end_ms = self._unfollowed_ms + self._keep_for_ms
            due_ms = end_ms if due_ms is None else min(due_ms, end_ms)
        if self.streams.by_epoch and (free := self.streams.unfollowed(self._named.is_in)):
            end_ms = free[0].unfollowed_ms + self._keep_for_ms
            due_ms = end_ms if due_ms is None else min(due_ms, end_ms)
        return due_ms

    def tick(self, now_ms: int) -> None:
        """Give up what is too old, and what nobody has followed for as long."""
        self.history.rewrite_some(REWRITTEN_PER_TURN)
        self.grow_old(now_ms)
        late_ms = now_ms - self._keep_for_ms
        if self.streams:
            free = self.streams.unfollowed(self._named.is_in)
            self._drop_streams([stream for stream in free if stream.unfollowed_ms <= late_ms])
        if self.is_kept and not self._is_always and not self.is_followed and self._unfollowed_ms <= late_ms:
            self.stop()

    def _drop_streams(self, streams: Iterable[NarrowedStream]) -> None:
        for stream in streams:
            self.end_stream(stream)

    # --- what is told -----------------------------------------------------------------------------------------

    def take_mark(self) -> int:
        """The newest event, if somebody follows and the log is still to be asked when its fact is durable; else 0.
        `release` is to be called with it then, or `refuse`. O(1)."""
        seq = self.history.seq
        if seq <= self._marked or not self.followers:
            return 0
        self._marked = seq
        return seq

    def release(self, seq: int) -> None:
        """The facts of the events up to this one are as durable as promised: tell them. O(what is told)."""
        # The log may mean one of numbers that count no longer (`go_on_at`).
        seq = min(seq, self.seq)
        if seq > self.whole.released:
            self.whole.release(seq)
            self.streams.release(seq)
            self._tell()

    def go_on_at(self, epoch: int, seq: int, now_ms: int) -> None:
        """See `EventRecords`. Where what was known counts no longer, whoever follows is told so, also one that was told
        all: an event that is lost may have had a number that another has from now on. O(followers)."""
        is_same = (self.epoch, self.seq) == (epoch, seq)
        super().go_on_at(epoch, seq, now_ms)
        if not is_same:
            self._marked = seq
            for session in list(self.followers):
                self._begin_anew(session, self._take_up(session, now_ms))

    def _begin_anew(self, session: Session, stream: EventStream) -> None:
        session.follow_seq = stream.seq
        self._tell_cursor(session, 0, encode(Following(0, stream.epoch, stream.seq, True)))

    def refuse(self) -> None:
        """The disk has not taken the facts, and is to be asked again once it takes any."""
        self._marked = self.whole.released

    @property
    def is_behind(self) -> bool:
        """Whether some follower could be sent more at once. O(followers)."""
        return any(self._is_due(session, stream) for session, stream in self.followers.items())

    def _is_due(self, session: Session, stream: EventStream) -> bool:
        return session.owed is None and session.follow_seq < stream.released and session not in self.unanswered

    def settle(self, now_ms: int) -> None:
        """Send each follower that reads what it has not been sent, up to a bound. O(events sent)."""
        if self.followers:
            self._tell()

    def _tell(self) -> None:
        batches: dict[tuple[int, int], NextEvents | None] = {}
        chunks = 0
        for session, stream in list(self.followers.items()):
            if not self._is_due(session, stream):
                continue
            key = stream.epoch, session.follow_seq
            if key not in batches:
                if chunks >= CHUNKS_PER_TURN:
                    continue
                batches[key] = batch = stream.read(session.follow_seq)
                chunks += batch is not None and batch.is_from_chunk
            self._send(session, stream, batches[key])

    def _send(self, session: Session, stream: EventStream, batch: NextEvents | None) -> None:
        if batch is None:
            session.follow_seq = stream.seq
            self._outboxes.push(session, frame(encode(Following(0, stream.epoch, stream.seq, True))))
            return
        for data in batch.frames:
            self._outboxes.push(session, data)
        if not batch.frames:
            # The numbers have leapt, and no event was left out: the cursor before it would grow too old.
            self._outboxes.push(session, frame(encode(Following(0, stream.epoch, batch.seq, False))))
        session.follow_seq = batch.seq
        if batch.is_from_chunk:
            # The next turn begins with the others.
            self.followers[session] = self.followers.pop(session)

    # --- users ------------------------------------------------------------------------------------------------

    def check(self, users: Iterable[User]) -> None:
        """See `Part`."""
        self.history.check()
        for stream in (self.whole, *self.streams.by_epoch.values()):
            count = sum(one is stream for one in self.followers.values())
            assert count == stream.followers, f"{stream.followers} followers of a stream are {count}"
            assert stream.released <= stream.seq, "events are released that there are not"
        assert self.unanswered.keys() <= self.followers.keys(), "who does not follow waits for an answer to it"


def _sight(session: Session) -> Patterns:
    """Of whom the session may be told events."""
    rights = session.rights
    return rights.see if rights is not None and rights.is_narrow else EVERYBODY
