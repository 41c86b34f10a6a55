"""How events are made, saved and restored: the half of `Events` that knows no follower.

Facts in the log have the number of their last event. A fact that is read a second time, because a snapshot has it
already, has a number that is not above the newest. A fact whose number leaves out others comes behind facts that were
lost. Then all earlier events are forgotten, since nobody could be told which are missing.

The file is long because every way in which an event gets its number stands in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from presenced.core.clock import Clock
from presenced.core.event_chunks import emptied
from presenced.core.ledger import Ledger
from presenced.core.model import User
from presenced.core.part import Part, Restoring, Start, TakeUp
from presenced.core.parts.event_history import EventHistory
from presenced.core.parts.event_streams import EventStream, EventStreams, NarrowedStream, leapt
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.records import (
    EventAdded,
    EventsAt,
    EventsChunk,
    EventsErased,
    EventStreamEnded,
    EventStreamSet,
    Fact,
)
from presenced.core.rights import Patterns
from presenced.wire.messages import EventKind, Record, Subscription


class EventRecords(Part):
    """Owns the events and the numbers of all streams."""

    def __init__(self, policy: Policy, ledger: Ledger, clock: Clock, publisher: Publisher, now_ms: int) -> None:
        self.is_kept = False
        """Whether events are recorded. Else a change costs nothing here."""
        self.begins_ms = 0
        """The wall time from which on all events are known, if none was dropped since."""
        self.is_restoring = False
        self.history = EventHistory(policy.events_keep, policy.events_keep_for_ms)
        self.whole = EventStream(self.history, ledger.epoch)
        self.streams = EventStreams(self.history)
        self.history.serve(self.streams.sealed, self.streams.that_count)
        self._is_always = policy.events_record == "always"
        self._keep_for_ms = policy.events_keep_for_ms
        self._ledger = ledger
        self._clock = clock
        self._publisher = publisher
        self._newest_epoch = 0
        """The highest that a narrowed stream was given."""
        self._share: Callable[[EventAdded, bool], object] | None = None
        self._is_begun = False
        """The log says from when on events are known."""
        if self._is_always:
            self._record_from(clock.wall_ms(now_ms))

    @property
    def epoch(self) -> int:
        """That of the stream of all."""
        return self.whole.epoch

    @property
    def seq(self) -> int:
        """Number of the newest event of all."""
        return self.history.seq

    @property
    def known_from_ms(self) -> int:
        """The wall time from which on all events are known; 0 = they are not recorded. O(1)."""
        return max(self.begins_ms, self.history.dropped_ms) if self.is_kept else 0

    # --- whether they are recorded ----------------------------------------------------------------------------

    def begin(self, now_ms: int) -> None:
        """Record events from now on, if that is not done yet."""
        if not self.is_kept:
            self._record_from(self._clock.wall_ms(now_ms))
            if self.seq:
                self._leave_out()
            else:
                self._note_place()

    def stop(self) -> None:
        """Record nothing from now on, and forget what there is: a cursor must not hold over what is not recorded."""
        self.is_kept = False
        self.begins_ms = 0
        self._publisher.record_by(None)
        self._leave_out()

    def _record_from(self, wall_ms: int) -> None:
        self.is_kept = True
        self.begins_ms = wall_ms
        self._publisher.record_by(self.record)

    def _leave_out(self) -> None:
        """Something may have happened that is not recorded: no cursor holds over that."""
        self.history.forget()
        self.history.skip(self.seq + 1)
        for stream in list(self.streams.by_epoch.values()):
            self.end_stream(stream)
        self._ledger.add(EventsAt("", self.seq, self.begins_ms, forgets=True))

    def _note_place(self, above: int = 0) -> None:
        self._is_begun = True
        begins_ms = self.begins_ms if self.is_kept else 0
        self._ledger.add(EventsAt("", self.seq, begins_ms, above, follows=self.history.tail_follows))

    # --- what happens -----------------------------------------------------------------------------------------

    def begin_restoring(self) -> None:
        """Facts are about to be read, and `resume` follows: what is erased by them is said by a fact of its own."""
        self.is_restoring = True

    def record(self, old: Record, new: Record, reason: str, wall_ms: int, is_of_erased: bool = False) -> None:
        """Make events of a change of a user's record. `is_of_erased`: the user was erased just now. O(1), but for the
        narrowed streams."""
        count = 0
        before, status = old.status, new.status
        if status == before:
            before = status = ""  # type: ignore[assignment]
        else:
            count = 2 if before == "offline" or status == "offline" else 1
        texts = ("", "", "", "")
        if new.text != old.text or new.emoji != old.emoji:
            count += 1
            texts = (old.text, new.text, old.emoji, new.emoji)
        devices = ("", "")
        if new.device != old.device and new.device and old.device:
            count += 1
            devices = (old.device, new.device)
        if count:
            fact = EventAdded(
                new.user, self.history.seq + count, wall_ms, count, "", before, status, reason, *texts, *devices
            )
            self._happen(fact, is_of_erased)

    def note_request(self, user: str, asker: str, note: str, now_ms: int) -> None:
        """The asker asks to see the user."""
        self._note("contact_request", user, "", asker, note, now_ms)

    def note_contact(self, user: str, contact: str, old: Subscription, new: Subscription, now_ms: int) -> None:
        """Who of the user and a contact sees the other is not what it was, by the user's list."""
        self._note("contact_change", user, old, new, contact, now_ms)

    def tell_erased(self, name: str, now_ms: int) -> None:
        """The disk holds nothing any more of this user."""
        if self.is_kept:
            fact = EventAdded(name, self.history.seq + 1, self._clock.wall_ms(now_ms), 1, "erased", "", "", "")
            self._happen(fact, True)

    def _note(self, kind: EventKind, user: str, old: str, new: str, reason: str, now_ms: int) -> None:
        if self.is_kept:
            wall_ms = self._clock.wall_ms(now_ms)
            self._happen(EventAdded(user, self.history.seq + 1, wall_ms, 1, kind, old, new, reason), False)

    def share_by(self, share: Callable[[EventAdded, bool], object]) -> None:
        """Hand what happens, and whether it names somebody who was erased, to this and do not keep it: whoever puts
        what happens here and elsewhere into one order gives it back by `keep_shared`."""
        self._share = share

    def keep_shared(self, fact: EventAdded, is_of_erased: bool) -> None:
        """The next events of all, here or elsewhere, whatever their number says. O(1), but for the narrowed
        streams."""
        if not self.is_kept:
            return
        seq = self.history.seq + fact.count
        if fact.seq != seq:
            fact = replace(fact, seq=seq)
        if is_of_erased:
            self._add_unnamed(fact)
        else:
            self._ledger.add(fact)
            self._keep(fact)

    def go_on_at(self, epoch: int, seq: int, now_ms: int) -> None:
        """Elsewhere events have come to this number of this epoch: record those behind it. What was known here counts
        no longer, unless it ends there. O(narrowed streams)."""
        is_same = self.is_kept and (self.whole.epoch, self.seq) == (epoch, seq)
        self.whole.go_on_in(epoch)
        if not is_same:
            self.history.forget()
            self.history.skip(seq)
            for stream in list(self.streams.by_epoch.values()):
                self.end_stream(stream)
            self._record_from(self._clock.wall_ms(now_ms))
            self._ledger.add(EventsAt("", seq, self.begins_ms, forgets=True))
        self.whole.release(seq)

    def _happen(self, fact: EventAdded, is_of_erased: bool) -> None:
        if self._share is not None:
            self._share(fact, is_of_erased)
        else:
            self._add(fact, is_of_erased)

    def _add(self, fact: EventAdded, is_of_erased: bool) -> None:
        if is_of_erased:
            self._add_unnamed(fact)
        else:
            self._ledger.add(fact)
            self._keep(fact)

    def _add_unnamed(self, fact: EventAdded) -> None:
        """An event that tells of an erasure: the name is kept in memory alone, and the disk has an empty one."""
        self._ledger.add(emptied(fact, self.streams.that_count(fact)))
        self.history.keep_off_disk(fact.seq)
        self._keep(fact)

    def _keep(self, fact: EventAdded) -> None:
        is_enough = self.history.add(fact)
        if self.streams.by_epoch:
            self.streams.count(fact)
        if is_enough:
            self.history.seal()

    # --- narrowed streams -------------------------------------------------------------------------------------

    def begin_stream(self, see: Patterns, now_ms: int) -> NarrowedStream:
        """The stream of what happens to these users from now on. O(patterns)."""
        epoch = max(self._newest_epoch, self.whole.epoch, self._clock.wall_ms(now_ms)) + 1
        stream = NarrowedStream(self.history, see, epoch, self.seq, self.whole.epoch)
        self._newest_epoch = epoch
        self.streams.add(stream)
        self._ledger.add(stream.fact())
        return stream

    def end_stream(self, stream: NarrowedStream) -> None:
        """Give the stream up; its cursors are worth nothing from now on."""
        self.streams.remove(stream)
        self._ledger.add(EventStreamEnded("", stream.epoch))

    # --- what is given up -------------------------------------------------------------------------------------

    def set_short(self, short: bool) -> None:
        """Memory is short, or is enough again. While it is short, only the newest events stay."""
        self.history.set_short(short)

    def grow_old(self, now_ms: int) -> None:
        """Drop what is too old, by a clock that can be trusted."""
        self.history.grow_old(self._clock.trusted_wall_ms(now_ms))

    def erase(self, user: User, now_ms: int) -> None:
        """Empty the events that name the user, but for those that tell of an erasure: followers count them. O(chunks),
        and those that name the user are rewritten later, before anybody reads them."""
        if not self.is_restoring and self.seq:
            self._ledger.add(EventsErased(user.name, self.seq))
            self._empty(user.name, self.seq)

    def _empty(self, name: str, seq: int) -> None:
        self.history.erase(name, seq)
        self.streams.emptied()

    # --- the disk ---------------------------------------------------------------------------------------------

    def general_facts(self, now_ms: int) -> Iterator[Fact]:
        """All events. The chunks one by one, and what belongs to the same moment in one go, at the end."""
        yield from self.history.chunk_facts()
        yield from self._newest_facts()

    def _newest_facts(self) -> Sequence[Fact]:
        history = self.history
        first = EventsAt("", history.tail_after, self.known_from_ms, follows=history.tail_follows)
        streams = [stream.fact() for stream in self.streams.by_epoch.values()]
        return [first, *streams, *history.saved(history.tail)]

    def restorers(self) -> Mapping[type, TakeUp]:
        """Events, and what is said of all of them."""
        return {
            EventAdded: self._restore,
            EventsChunk: self._restore_chunk,
            EventsAt: self._restore_place,
            EventStreamSet: self._restore_stream,
            EventStreamEnded: self._restore_end_of_stream,
            EventsErased: self._restore_erased,
        }

    def _restore(self, source: Restoring, fact: EventAdded) -> None:
        if fact.seq <= self.history.seq:
            return
        if fact.seq - fact.count != self.history.seq:
            self._lose(fact.seq - fact.count, fact.at_ms)
        self._keep(fact)

    def _restore_chunk(self, source: Restoring, fact: EventsChunk) -> None:
        if fact.after >= self.history.seq:
            self.history.restore(fact)

    def _restore_place(self, source: Restoring, fact: EventsAt) -> None:
        if fact.seq < self.history.seq:
            return
        self._is_begun = True
        self.is_kept, self.begins_ms = bool(fact.begins_ms), fact.begins_ms
        if fact.seq == self.history.seq:
            return
        if fact.forgets or not self.history.is_newest(fact.follows):
            self._lose(fact.seq, fact.begins_ms)
        elif fact.above:
            self.history.leap(fact.seq, source.now_ms + source.offset_ms)
            self.streams.leap(fact.above, fact.seq)
        else:
            self.history.skip(fact.seq)

    def _lose(self, seq: int, begins_ms: int) -> None:
        """Facts are missing before this number: no cursor holds over that."""
        self.history.forget()
        self.history.skip(seq)
        self.begins_ms = begins_ms
        for stream in list(self.streams.by_epoch.values()):
            self.streams.remove(stream)

    def _restore_stream(self, source: Restoring, fact: EventStreamSet) -> None:
        self._newest_epoch = max(self._newest_epoch, fact.epoch)
        see = Patterns(names=frozenset(fact.names), prefixes=tuple(fact.prefixes), endings=tuple(fact.endings))
        if fact.epoch in self.streams.by_epoch:
            return
        if (other := self.streams.of(see)) is not None:
            self.streams.remove(other)
        stream = NarrowedStream(self.history, see, fact.epoch, fact.since, fact.of)
        stream.go_on_from(fact.seq)
        self.streams.add(stream)

    def _restore_end_of_stream(self, source: Restoring, fact: EventStreamEnded) -> None:
        stream = self.streams.by_epoch.get(fact.epoch)
        if stream is not None:
            self.streams.remove(stream)

    def _restore_erased(self, source: Restoring, fact: EventsErased) -> None:
        self._empty(fact.user, fact.seq)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Go on with the numbers. After a kill those are passed over that may have been told and not saved."""
        self.is_restoring = False
        self.whole.go_on_in(self._ledger.epoch)
        for stream in list(self.streams.by_epoch.values()):
            stream.start(start.now_ms)
            if stream.of != self.whole.epoch:
                # The store was set back: what its cursors stand for may not have happened.
                self.streams.remove(stream)
        self.whole.release(self.seq)
        self.streams.release(self.seq)
        if start.is_unclean:
            above = self._ledger.version
            self.history.leap(leapt(self.seq, above), self._clock.wall_ms(start.now_ms))
            self.streams.leap(above, self.seq)
            self._note_place(above)
        self._publisher.record_by(self.record if self.is_kept else None)
        if self._is_always and not self.is_kept:
            self.begin(start.now_ms)
        elif self.is_kept and not self._is_begun:
            self._note_place()
