"""Users who are asleep: for each one, the encoded facts that it takes to restore the user, and no object.

At any time most users that a server knows are offline, and nobody looks at them. Many of them share one shelf, which is
three strings of bytes, so that each takes little more memory than what is known of them. A snapshot copies a shelf as
it is, and a start stores it without looking into it.

The file is long because the bytes of a user, the shelf and the table are one format, which a snapshot has, too.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple
from zlib import crc32

VERSION_BYTES: Final = 8

PER_SHELF: Final = 32
"""Users on a shelf, on average at most. Whoever comes or goes has it copied, and a shelf takes 0.2 KiB by itself."""

END: Final = b"\xff"
"""Ends a name, and stands before the first: no text in UTF-8 has this byte."""


HAS_TALLY: Final = 1
"""The first byte, which no version takes, if a tally stands behind the version."""

TALLY_BYTES: Final = 8


class Tally(NamedTuple):
    """What is counted of users, beside themselves."""

    contacts: int = 0
    requests: int = 0
    """Of others, to see the user."""


NOTHING: Final = Tally()


def packed(version: int, facts: bytes, tally: Tally = NOTHING) -> bytes:
    """All of it as one, with which a user is put on a shelf."""
    if tally == NOTHING:
        return version.to_bytes(VERSION_BYTES, "big") + facts
    counted = b"".join(count.to_bytes(TALLY_BYTES // 2, "big") for count in tally)
    return bytes((HAS_TALLY,)) + version.to_bytes(VERSION_BYTES - 1, "big") + counted + facts


def unpacked(whole: bytes) -> tuple[int, bytes]:
    """The version and the facts (`packed`)."""
    return version_of(whole), whole[VERSION_BYTES + TALLY_BYTES * whole[0] :]


def version_of(whole: bytes) -> int:
    """The version in what `packed` made."""
    return int.from_bytes(whole[1:VERSION_BYTES], "big")


def tally_of(whole: bytes) -> Tally:
    """The tally in what `packed` made."""
    if not whole[0]:
        return NOTHING
    middle, end = VERSION_BYTES + TALLY_BYTES // 2, VERSION_BYTES + TALLY_BYTES
    return Tally(int.from_bytes(whole[VERSION_BYTES:middle], "big"), int.from_bytes(whole[middle:end], "big"))


class Shelf(NamedTuple):
    """Some users, each in the same place of all three."""

    names: bytes = END
    sizes: bytes = b""
    """Of what is in `packed`, four bytes each, the lowest first."""
    packed: bytes = b""

    @classmethod
    def of(cls, users: Iterable[tuple[bytes, bytes]]) -> Shelf:
        """These users, by their names and what is known of them. O(bytes)."""
        users = list(users)
        return cls(
            END + b"".join(name + END for name, _ in users),
            b"".join(len(both).to_bytes(4, "little") for _, both in users),
            b"".join(both for _, both in users),
        )

    def users(self) -> Iterator[tuple[bytes, bytes]]:
        """Names and what is known. O(bytes)."""
        start = 0
        for name, size in zip(self.names[1:-1].split(END), _numbers(self.sizes), strict=False):
            if name:
                yield name, self.packed[start : start + size]
            start += size


EMPTY: Final = Shelf()


def _numbers(sizes: bytes) -> array[int]:
    numbers = array("I", sizes)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers


class Dormants:
    """Name → `packed` version of the record and encoded facts. `len` counts them.

    The table grows shelf by shelf: with each that comes, the users of one that is there are divided between the two
    (linear hashing). So a name is on a shelf that its hash alone tells, in every run, and moves to a later one if at
    all: a walk over the shelves passes nobody over.

    Of who is gone the place is left with an empty name, until somebody comes or the shelf is saved.
    """

    def __init__(self, per_shelf: int = PER_SHELF) -> None:
        self._per_shelf = per_shelf
        self._half = 1
        """The greatest power of two that is not above the number of shelves."""
        self._names = [END]
        self._sizes = [b""]
        self._packed = [b""]
        """The three of each shelf."""
        self._count = 0
        self._place = 0
        """The shelf on which `any_name` found somebody last."""
        self.tally = NOTHING
        """Of all users here."""
        self._newest = 0
        """Of all that have come, also those that are gone."""
        self._carries: list[tuple[int, Callable[[int], int]]] = []
        """What has become of versions, since users came to the shelves or before."""
        self._carried_until = -1
        """No version above this has become another."""
        self._settled: set[int] = set()
        """Shelves on which versions stand as they are: somebody came to them since, with a version of now."""

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        encoded = name.encode()
        return b"\xff%b\xff" % encoded in self._names[self._number(encoded)]

    @property
    def shelves(self) -> int:
        """How many shelves there are."""
        return len(self._names)

    @property
    def newest(self) -> int:
        """No version of a record in here is above this."""
        return self._newest

    def _number(self, name: bytes) -> int:
        """On which shelf the name is."""
        number = crc32(name) & (2 * self._half - 1)
        return number if number < len(self._names) else number - self._half

    # --- coming and going -------------------------------------------------------------------------------------

    def put(self, name: str, both: bytes) -> None:
        """The user sleeps from now on, who is not here yet. O(bytes of a shelf)."""
        encoded = name.encode()
        number = self._number(encoded)
        self._settle(number)
        self._clear(number)
        self._names[number] += encoded + END
        self._sizes[number] += len(both).to_bytes(4, "little")
        self._packed[number] += both
        self._count += 1
        self._count_in(both)
        if self._count > self._per_shelf * len(self._names):
            self._grow()

    def put_all(self, users: Iterable[tuple[str, bytes]]) -> None:
        """Put many users to sleep at once, none of whom is here yet. O(bytes)."""
        coming = [(name.encode(), both) for name, both in users]
        if not self._count:
            self._resize(max(1, -(-len(coming) // self._per_shelf)))
        by_shelf: dict[int, list[tuple[bytes, bytes]]] = {}
        for one in coming:
            by_shelf.setdefault(self._number(one[0]), []).append(one)
            self._count_in(one[1])
        for number, those in by_shelf.items():
            more = Shelf.of(those)
            self._settle(number)
            self._names[number] += more.names[1:]
            self._sizes[number] += more.sizes
            self._packed[number] += more.packed
        self._count += len(coming)
        while self._count > self._per_shelf * len(self._names):
            self._grow()

    def take(self, name: str) -> bytes | None:
        """What there is of a user who sleeps no longer; None = the name is not here. O(users on a shelf)."""
        encoded = name.encode()
        number = self._number(encoded)
        names = self._names[number]
        at = names.find(b"\xff%b\xff" % encoded)
        if at < 0:
            return None
        both = self._packed_at(number, at)
        self._names[number] = names[: at + 1] + names[at + 1 + len(encoded) :]
        self._count -= 1
        if both[0]:
            gone = tally_of(both)
            self.tally = Tally(self.tally.contacts - gone.contacts, self.tally.requests - gone.requests)
        return both

    def peek(self, name: str) -> bytes | None:
        """What is kept of a user, who sleeps on; None = the name is not here. O(users on a shelf)."""
        encoded = name.encode()
        number = self._number(encoded)
        at = self._names[number].find(b"\xff%b\xff" % encoded)
        return self._packed_at(number, at) if at >= 0 else None

    def _packed_at(self, number: int, at: int) -> bytes:
        """What is known of the user whose name stands there on this shelf."""
        sizes, place = self._sizes[number], 4 * self._names[number].count(END, 0, at)
        start = sum(_numbers(sizes[:place]))
        both = self._packed[number][start : start + int.from_bytes(sizes[place : place + 4], "little")]
        return self._as_carried(number, both)

    def _count_in(self, both: bytes) -> None:
        version = version_of(both)
        if version > self._newest:
            self._newest = version
        if both[0]:
            self._add_tally(tally_of(both))

    def _add_tally(self, more: Tally) -> None:
        self.tally = Tally(self.tally.contacts + more.contacts, self.tally.requests + more.requests)

    def _grow(self) -> None:
        """One shelf more. O(bytes of a shelf)."""
        divided = len(self._names) - self._half
        if self._carries:
            self._settle(divided)
            self._settled.add(len(self._names))
        users = list(self.shelf(divided).users())
        self._set(len(self._names), EMPTY)
        if len(self._names) == 2 * self._half:
            self._half *= 2
        for number in (divided, len(self._names) - 1):
            self._set(number, Shelf.of(one for one in users if self._number(one[0]) == number))

    def _resize(self, shelves: int) -> None:
        self._names, self._sizes, self._packed = ([value] * shelves for value in EMPTY)
        self._half = 1 << (shelves.bit_length() - 1)
        self._settled.clear()

    def _set(self, number: int, shelf: Shelf) -> None:
        for column, value in zip((self._names, self._sizes, self._packed), shelf, strict=True):
            column[number : number + 1] = [value]

    def _clear(self, number: int) -> None:
        """Leave no place of who is gone."""
        names = self._names[number]
        if END + END in names:
            self._set(number, Shelf.of(Shelf(names, self._sizes[number], self._packed[number]).users()))

    # --- all of them ------------------------------------------------------------------------------------------

    def shelf(self, number: int) -> Shelf:
        """One of the shelves, with nothing left of who is gone. Versions on it may be carried still (`carry`).
        O(1), or O(bytes) if somebody is gone."""
        self._clear(number)
        return Shelf(self._names[number], self._sizes[number], self._packed[number])

    def put_shelf(self, number: int, shelves: int, shelf: Shelf, newest: int, tally: Tally) -> None:
        """A whole shelf, out of a table that had so many: nobody on it is here yet. O(1) if the table is empty or of
        the same size, and else O(bytes of a shelf) for each user."""
        if not self._count and shelves > len(self._names):
            self._resize(shelves)
        if shelves == len(self._names) and number < shelves and not self._sizes[number]:
            self._settle(number)
            self._set(number, shelf)
            self._count += len(shelf.sizes) // 4
            self._newest = max(self._newest, newest)
            self._add_tally(tally)
            return
        for name, both in shelf.users():
            self.put(name.decode(), both)

    def tally_of_shelf(self, number: int) -> Tally:
        """The tally of the users on one shelf. O(users on it)."""
        tally, start = NOTHING, 0
        packed = self._packed[number]
        names = self._names[number][1:-1].split(END) if self.tally != NOTHING else ()
        for name, size in zip(names, _numbers(self._sizes[number]), strict=False):
            if name and packed[start]:
                more = tally_of(packed[start : start + VERSION_BYTES + TALLY_BYTES])
                tally = Tally(tally.contacts + more.contacts, tally.requests + more.requests)
            start += size
        return tally

    def that_hold(self, what: bytes) -> list[str]:
        """The users of whom something is known that has these bytes in it. O(bytes)."""
        return [
            name.decode()
            for number, packed in enumerate(self._packed)
            if what in packed
            for name, both in self.shelf(number).users()
            if what in both
        ]

    def that_count(self) -> list[str]:
        """The users who have a tally. O(users), if there are any."""
        if self.tally == NOTHING:
            return []
        return [name for name, both in self.items() if both[0]]

    def users_of(self, number: int) -> list[tuple[str, bytes]]:
        """The users on one shelf. O(bytes)."""
        return [(name.decode(), self._as_carried(number, both)) for name, both in self.shelf(number).users()]

    def items(self) -> Iterator[tuple[str, bytes]]:
        """All users, while nobody comes or goes. O(bytes)."""
        for number in range(self.shelves):
            yield from self.users_of(number)

    def since(self, number: int, version: int) -> list[str]:
        """The users on one shelf whose version is not below this one. O(users on it)."""
        packed, start = self._packed[number], 0
        places = []
        for place, size in enumerate(_numbers(self._sizes[number])):
            if self._carried(number, version_of(packed[start : start + VERSION_BYTES])) >= version:
                places.append(place)
            start += size
        if not places:
            return []
        names = self._names[number][1:-1].split(END)
        return [names[place].decode() for place in places if names[place]]

    def any_name(self) -> str | None:
        """Some user; None = there is none. O(1) on average while all are taken one after the other."""
        while self._count:
            names = self._names[self._place].lstrip(END)
            if names:
                return names[: names.index(END)].decode()
            self._set(self._place, EMPTY)
            self._place = (self._place + 1) % self.shelves
        return None

    # --- versions ---------------------------------------------------------------------------------------------

    def carry(self, above: int, carried: Callable[[int], int]) -> None:
        """Give versions up to `above` those that they are carried to, which are above it and keep their order. What is
        on the shelves stays as it is, and is carried when it is read: a version that was carried before, or given
        after, is above, and nothing comes of doing it again. Versions of another node may be below: a shelf to which
        somebody comes later is carried before that, once. O(1), or O(bytes) if somebody has come so by now."""
        if above <= self._carried_until:
            return
        if self._settled:
            for number in range(self.shelves):
                self._settle(number)
            self._settled.clear()
            self._carries.clear()
        self._carries.append((above, carried))
        self._carried_until = above
        if self._count:
            self._newest = max(self._newest, carried(min(above, self._newest)))

    @property
    def is_carried(self) -> bool:
        """Whether versions on the shelves may have become others. O(1)."""
        return self._carried_until >= 0

    def _settle(self, number: int) -> None:
        """Let versions on the shelf be what they are carried to, from now on. O(bytes), once."""
        if self._carries and number not in self._settled:
            carried = [(name, self._as_carried(number, both)) for name, both in self.shelf(number).users()]
            self._set(number, Shelf.of(carried))
            self._settled.add(number)

    def _carried(self, number: int, version: int) -> int:
        if not 0 < version <= self._carried_until or number in self._settled:
            # 0 is no version: the user was never seen.
            return version
        for above, carried in self._carries:
            if version <= above:
                version = carried(version)
        return version

    def _as_carried(self, number: int, both: bytes) -> bytes:
        version = version_of(both)
        carried = self._carried(number, version)
        if carried == version:
            return both
        return both[:1] + carried.to_bytes(VERSION_BYTES - 1, "big") + both[VERSION_BYTES:]
