"""A hierarchical timer wheel: which of very many deadlines have come?

It owns the placing of entries in time; it knows no clock and nothing of what an entry stands for.

Why a wheel. A presence server holds one deadline per live device, and nearly all of them are moved or
cancelled before they come. A heap pays O(log n) for each of those and carries the dead entries along; here
both are a few integer operations and one dict operation, whatever the number of entries.

Why hierarchical, with cascade. Deadlines reach from 200 ms to a year. A flat wheel as fine as 64 ms would
need half a billion slots for that, or visits each entry once a round. Here a slot of level 0 is one tick, a
slot of level n is 64**n ticks, and an entry that is further away waits in a coarser slot; when the wheel
arrives there, the slot is spread over the finer ones. An entry moves at most once per level. Rejected:
leaving entries in the coarse slot until it ends (Linux), because a status that is to end at 15:00 would
then end minutes late.

The level of an entry is the highest of the 6-bit digits in which its tick differs from the current one. So
every occupied slot lies ahead of the current one on its level, all of level n comes before all of level n +
1, and the first occupied slot is the lowest bit of one bitmap: empty time costs nothing, also after a jump
of hours.

Why intrusive. The entry is the owner's object itself and remembers its slot: no handle, no callback, no
allocation. And the owner re-arms lazily: a heartbeat only writes a field on its device; the entry stays
where it is, and when it comes due the owner looks at the true deadline and schedules it there.

Promise. An entry is never returned before its `due_ms`, and it is returned by the first call of `advance`
that is made a tick after it or later and has work left for it; by the very next call if it was already
due when it was scheduled. Entries of one slot come in no promised order, but in the same one on every run
(dicts, never sets).
"""

from __future__ import annotations

TICK_BITS = 6
TICK_MS = 1 << TICK_BITS
"""The tolerance of a wheel unless its maker says another. A power of two, so that milliseconds become ticks by a
shift."""

_DIGIT_BITS = 6
_SLOTS = 1 << _DIGIT_BITS
_INDEX = _SLOTS - 1
_LEVELS = 5
_ROUND_BITS = _LEVELS * _DIGIT_BITS
"""The levels together turn once in 2**30 ticks, about 2.2 years."""

_FAR = _LEVELS * _SLOTS
"""Two slots for what lies beyond this round; they are spread when the next one begins. Two, because what lies
beyond the next round as well must not go back into the slot that is being emptied."""

_PAST = _FAR + 2
"""One slot for what was due already when it was scheduled. It is emptied last: an owner that keeps re-arming
entries in the past cannot hold up the others."""


class Timer:
    """An entry of a wheel; the things that have deadlines derive from it. In one wheel at a time.

    Subclasses must keep identity as their equality and hash.
    """

    __slots__ = ("_slot", "due_ms")

    def __init__(self) -> None:
        self.due_ms = 0
        self._slot: int | None = None

    @property
    def scheduled(self) -> bool:
        """Whether the entry waits in a wheel."""
        return self._slot is not None


class Wheel:
    """All waiting entries by due time. Times are integer milliseconds of one monotonic clock."""

    __slots__ = ("_bits", "_draining", "_now_ms", "_occupied", "_round", "_slots", "_tick")

    def __init__(self, now_ms: int, tick_bits: int = TICK_BITS) -> None:
        """A tick takes `2**tick_bits` milliseconds. With 0 nothing is late, and a round takes twelve days."""
        self._now_ms = now_ms
        self._bits = tick_bits
        self._round = (1 << tick_bits) - 1
        """Due times are rounded up to a tick: never early."""
        # The tick up to which slots have been emptied. Behind `_now_ms` while work is left over.
        self._tick = now_ms >> tick_bits
        # Slot number = level * 64 + index. About 20 KiB while empty.
        self._slots: list[dict[Timer, None]] = [{} for _ in range(_PAST + 1)]
        # One bitmap per level; the last is for the far and past slots.
        self._occupied = [0] * (_LEVELS + 1)
        # The slot that the wheel stands on, if it may not be empty yet. Nothing is ever placed into it.
        self._draining: int | None = None

    def __len__(self) -> int:
        """Entries that wait. O(slots), for checks and metrics."""
        return sum(map(len, self._slots))

    def schedule(self, timer: Timer, due_ms: int) -> None:
        """Let `timer` come due at `due_ms`; if it waits already, it is moved there."""
        timer.due_ms = due_ms
        if due_ms <= self._now_ms:
            slot = _PAST
        else:
            slot = self._slot_of((due_ms + self._round) >> self._bits)
        before = timer._slot
        if before == slot:
            return
        if before is not None:
            self._remove(timer, before)
        timer._slot = slot
        self._slots[slot][timer] = None
        self._occupied[slot >> _DIGIT_BITS] |= 1 << (slot & _INDEX)

    def cancel(self, timer: Timer) -> None:
        """Take `timer` out; nothing happens if it does not wait."""
        slot = timer._slot
        if slot is not None:
            self._remove(timer, slot)
            timer._slot = None

    def is_overdue(self, timer: Timer) -> bool:
        """Whether `timer` was due when it was scheduled: the next call of `advance` returns it. O(1)."""
        return timer._slot == _PAST

    def handed_out_ms(self, due_ms: int) -> int:
        """The moment at which `advance` returns an entry that is due then: the end of its tick. O(1)."""
        return (due_ms + self._round) >> self._bits << self._bits

    def advance(self, now_ms: int, entries_max: int) -> list[Timer]:
        """Unschedule and return what is due by `now_ms`, touching at most `entries_max` (>= 1) entries.

        Entries that only move to a finer slot count as touched, so that one call is short even where a
        million wait in one slot. If work is left over, `next_ms` is not in the future; calling again goes on
        with it. A `now_ms` before that of an earlier call returns nothing.
        """
        due: list[Timer] = []
        if now_ms < self._now_ms:
            return due
        self._now_ms = now_ms
        work = entries_max
        while work > 0:
            slot = self._arrive(now_ms >> self._bits)
            if slot is None:
                break
            entries = self._slots[slot]
            count = min(work, len(entries))
            work -= count
            for _ in range(count):
                # From the end: taking a dict's first key again and again rescans the gap before it.
                timer = entries.popitem()[0]
                if timer.due_ms <= now_ms:
                    timer._slot = None
                    due.append(timer)
                else:
                    finer = self._slot_of((timer.due_ms + self._round) >> self._bits)
                    timer._slot = finer
                    self._slots[finer][timer] = None
                    self._occupied[finer >> _DIGIT_BITS] |= 1 << (finer & _INDEX)
            if not entries:
                # A dict does not shrink by itself; a storm's slot would keep its memory.
                self._slots[slot] = {}
                self._occupied[slot >> _DIGIT_BITS] &= ~(1 << (slot & _INDEX))
        return due

    @property
    def next_ms(self) -> int | None:
        """When `advance` is to be called next; None if nothing waits.

        Never later than the tick in which the first entry is due; possibly earlier, to spread a coarse slot.
        """
        if self._slots[_PAST] or (self._draining is not None and self._slots[self._draining]):
            return self._now_ms
        ahead = self._ahead()
        return None if ahead is None else ahead[0] << self._bits

    def _remove(self, timer: Timer, slot: int) -> None:
        entries = self._slots[slot]
        del entries[timer]
        if not entries:
            self._occupied[slot >> _DIGIT_BITS] &= ~(1 << (slot & _INDEX))

    def _slot_of(self, tick: int) -> int:
        """The slot for a tick after the current one."""
        level = ((tick ^ self._tick).bit_length() - 1) // _DIGIT_BITS
        if level >= _LEVELS:
            return _FAR + (((self._tick >> _ROUND_BITS) + 1) & 1)
        return level * _SLOTS + ((tick >> (level * _DIGIT_BITS)) & _INDEX)

    def _ahead(self) -> tuple[int, int] | None:
        """The first tick of the first occupied slot ahead of the current tick, and that slot."""
        tick = self._tick
        shift = 0
        for level in range(_LEVELS):
            bits = self._occupied[level]
            if bits:
                index = (bits & -bits).bit_length() - 1
                start = (((tick >> (shift + _DIGIT_BITS)) << _DIGIT_BITS) | index) << shift
                return start, level * _SLOTS + index
            shift += _DIGIT_BITS
        turn = (tick >> _ROUND_BITS) + 1
        far = _FAR + (turn & 1)
        return (turn << _ROUND_BITS, far) if self._slots[far] else None

    def _arrive(self, target: int) -> int | None:
        """Move on to the first slot with work by tick `target` and return it; None if there is no more."""
        if self._draining is not None:
            if self._slots[self._draining]:
                return self._draining
            self._draining = None
        ahead = self._ahead()
        if ahead is not None and ahead[0] <= target:
            self._tick, self._draining = ahead
            return self._draining
        self._tick = target
        return _PAST if self._slots[_PAST] else None
