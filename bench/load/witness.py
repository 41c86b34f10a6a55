"""What changes were made, what each watcher was told of them, and whether that was right.

Every change has a number, which stands in its text. While a round runs, what arrives is only kept, with its time;
afterwards `settle` takes it apart: that costs more than reading it, and must not make the generator late. A server may
tell only the last of several changes of a user: a notification stands for all of that user's changes since the
one that the watcher knew, and each of them has waited until then.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping

from bench.errors import BenchError
from bench.load.agenda import now_ns
from bench.load.framing import FIRST_ID, Rests, decoded, frames
from bench.load.links import read_available
from bench.results.histogram import Histogram
from bench.results.outcome import Checks
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Done, Presence, SetStatus, Status

MARK = "change no. "
MARK_BYTES = MARK.encode()
DIGITS = 9


class Witness:
    """Knows all changes and all watchers of one server. `checks` has what was found so far."""

    def __init__(self, watches: Mapping[int, Collection[str]], checks: Checks | None = None) -> None:
        """`watches`: whom the link with each descriptor watches. Counts in `checks`, if others do so too."""
        self.checks = Checks() if checks is None else checks
        self.merged = 0
        """Changes that were told with a later one of the same user, for each watcher."""
        self.changes = 0
        self.arrived = 0
        """Notifications that were read, before anything is known of them; one in two pieces may be left out."""
        self._known: dict[int, dict[str, int]] = {}
        self._last: dict[str, int] = {}
        self._users: list[str] = [""]
        self._due_ns = array("q", [0])
        self._before = array("q", [0])
        self._kept: list[tuple[int, int, bytes]] = []
        self._rests = Rests()
        self._unanswered: set[int] = set()
        self.add(watches)

    def add(self, watches: Mapping[int, Collection[str]]) -> None:
        """More links: they know what was last said of those whom they watch."""
        for fd, users in watches.items():
            self._known[fd] = {user: self._last.get(user, 0) for user in users}

    def change(self, user: str, due_ns: int) -> bytes:
        """The request that makes the next change of `user`, which was due at `due_ns`."""
        self.changes += 1
        number = self.changes
        self._users.append(user)
        self._due_ns.append(due_ns)
        self._before.append(self._last.get(user, 0))
        self._last[user] = number
        self._unanswered.add(FIRST_ID + number)
        return frame(encode(SetStatus(FIRST_ID + number, status_of(number), text_of(number))))

    def read(self, fd: int) -> None:
        """Read what waits on a link, and keep it."""
        data = read_available(fd)
        self.keep(fd, now_ns(), data)

    def keep(self, fd: int, time_ns: int, data: bytes) -> None:
        """Something was read from a link; what it is is looked at later."""
        self._kept.append((fd, time_ns, data))
        self.arrived += data.count(MARK_BYTES)

    def settle(self, latency: Histogram | None = None) -> None:
        """Take apart what was kept and count it; the waits go into `latency`. O(notifications)."""
        kept, self._kept = self._kept, []
        for fd, time_ns, data in kept:
            for payload in frames(self._rests.whole(fd, data)):
                self._message(fd, time_ns, payload, latency)

    def behind(self, fds: Collection[int]) -> int:
        """How many last words the links `fds` do not know yet, of what was settled. O(users that they watch)."""
        last = self._last
        return sum(number != last.get(user, 0) for fd in fds for user, number in self._known[fd].items())

    def close(self, *, but: Collection[int] = ()) -> None:
        """Everything has come to rest: whoever does not know a user's last change was not told of it. `BenchError` if
        a change had no answer. Links `but` these are not looked at: they do not read for now."""
        self.settle()
        if self._unanswered:
            raise BenchError(f"{len(self._unanswered)} changes have had no answer; the server is stuck, or gone")
        for fd, known in self._known.items():
            if fd in but:
                continue
            for user, number in known.items():
                last = self._last.get(user, 0)
                if number != last:
                    # One who never heard of a user lost it; one who did has an outdated word.
                    if number:
                        self.checks.stale += 1
                    else:
                        self.checks.lost += 1
                    known[user] = last

    def _message(self, fd: int, time_ns: int, payload: bytes, latency: Histogram | None) -> None:
        message = decoded(payload)
        if isinstance(message, Presence):
            record = message.record
            self._told(fd, time_ns, record.user, record.status, record.text, latency)
        elif isinstance(message, Done):
            self._unanswered.discard(message.id)
        else:
            raise BenchError(f"the server sent {message}")

    def _told(self, fd: int, time_ns: int, user: str, status: str, text: str, latency: Histogram | None) -> None:
        checks, known = self.checks, self._known.get(fd, {})
        number = number_of(text)
        if user not in known or not 0 < number <= self.changes or self._users[number] != user:
            checks.wrong += 1
            return
        before = known[user]
        if status != status_of(number):
            checks.wrong += 1
        elif number == before:
            checks.duplicated += 1
        elif number < before:
            checks.misordered += 1
        else:
            checks.deliveries += 1
            known[user] = number
            while number > before:
                if latency is not None:
                    latency.record(time_ns - self._due_ns[number])
                number = self._before[number]
                self.merged += number > before


def status_of(number: int) -> Status:
    """The status that goes with the number of a change."""
    return "dnd" if number % 2 else "away"


def text_of(number: int) -> str:
    """The text that goes with it."""
    return f"{MARK}{number:0{DIGITS}d}"


def number_of(text: str) -> int:
    """The number in a text; 0 if it is none of ours."""
    digits = text.removeprefix(MARK)
    return int(digits) if digits != text and digits.isdecimal() else 0
