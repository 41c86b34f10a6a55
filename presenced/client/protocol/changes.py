"""Changes of watched users: `Change`, how two records differ, and the queue between link and consumer.

One change of a record makes at most one `Change`. Changes that a slow consumer has not taken yet are merged, latest
wins, so that a queue never holds more entries than there are users in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from presenced.digests import digest
from presenced.errors import PresenceError
from presenced.wire.messages import Record

Kind = Literal["snapshot", "online", "offline", "status", "text", "device"]


class Change(NamedTuple):
    """One step of a watched user, from the record last yielded (`old`) to the one of now (`new`).

    `kind` names the most telling difference: `snapshot` (the first of each user, `old` is None), `online` (was
    offline), `offline`, `status`, `text` (text or emoji), `device` (only the primary device).
    """

    kind: Kind
    old: Record | None
    new: Record

    @property
    def user(self) -> str:
        return self.new.user


def kind_of(old: Record, new: Record) -> Kind | None:
    """The kind of the step from `old` to `new`, or None if a watcher would see no difference.

    Version and times are no difference: they move alone when a server that lost its history counts anew.
    """
    if old.status != new.status:
        if new.status == "offline":
            return "offline"
        return "online" if old.status == "offline" else "status"
    if old.text != new.text or old.emoji != new.emoji:
        return "text"
    return "device" if old.device != new.device else None


class Feed:
    """The records of one `Watch` and which of them its consumer has not seen yet.

    Per waiting user only the record last yielded is kept; the change is made when it is taken. So a user who went
    and came back in between costs nothing and yields nothing.
    """

    __slots__ = ("_bases", "_order", "_since", "error", "is_listed", "is_over", "names", "records", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.names: dict[str, None] = {}
        self.records: dict[str, Record] = {}
        self.error: PresenceError | None = None
        self.is_over = False
        self.is_listed = False
        """Everybody who is online has been told: a user who is new from now on was offline."""
        self._order: deque[str] = deque()
        self._bases: dict[str, Record | None] = {}
        self._since: dict[str, int] = {}
        """What the consumer has of users of whom nothing was yielded here, from a position: a digest for each."""

    def want(self, user: str, had: int | None = None) -> None:
        """The watch names this user; `had`: the digest of what the consumer has of them."""
        self.names[user] = None
        if had is not None:
            self._since[user] = had

    def seen(self) -> dict[str, int]:
        """What the consumer has of each user, as digests. O(users)."""
        seen = dict(self._since)
        for user in self.names:
            record = self._bases[user] if user in self._bases else self.records.get(user)
            if record is not None:
                seen[user] = digest(record)
        return seen

    def listed(self) -> None:
        """Everybody who is online has been told."""
        self.is_listed = True
        self.wake()

    def put(self, record: Record) -> None:
        """Take a newer record of a user."""
        old = self.records.get(record.user)
        if old is None and self.is_listed:
            old = Record(record.user, "offline", "", "", 0, 0, "", 0)
        self.records[record.user] = record
        if old is None and self._has(record):
            return
        if record.user in self._bases or (old is not None and kind_of(old, record) is None):
            return
        self._bases[record.user] = old
        self._order.append(record.user)
        self.wake()

    def take(self) -> Change | None:
        """The next change, oldest user first, or None if the consumer has seen everything."""
        while self._order:
            user = self._order.popleft()
            old = self._bases.pop(user)
            new = self.records[user]
            if old is None and self._has(new):
                continue
            self._since.pop(user, None)
            kind = "snapshot" if old is None else kind_of(old, new)
            if kind is not None:
                return Change(kind, old, new)
        return None

    def _has(self, record: Record) -> bool:
        """Whether the consumer has this from a position."""
        had = self._since.get(record.user)
        return had is not None and had == digest(record)

    def drop(self, users: Iterable[str]) -> None:
        """Forget users; what was waiting of them is not yielded. O(waiting)."""
        for user in users:
            self.names.pop(user, None)
            self.records.pop(user, None)
            self._since.pop(user, None)
            if user in self._bases:
                del self._bases[user]
                self._order.remove(user)

    def end(self, error: PresenceError | None) -> None:
        """Nothing more comes; `error` says why, None if the owner closed it."""
        if not self.is_over:
            self.is_over = True
            self.error = error
            self.wake()
