"""One channel: its members, its watchers, and what is gathered for the next batch. Data only; `channels` writes it."""

from __future__ import annotations

from sortedcontainers import SortedList

from presenced.core.model import Session, User
from presenced.wire.messages import ONLINE_STATUSES


class Channel:
    """One channel. Exists while somebody is in it or watches it."""

    __slots__ = (
        "name", "members", "online", "counts", "watchers", "watched_seq", "paged_seq", "is_large",
        "changed", "left", "queued",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, User] = {}
        self.online: SortedList[str] = SortedList()
        """Names of the members who are online, in order."""
        self.counts: dict[str, int] = dict.fromkeys(ONLINE_STATUSES, 0)
        self.watchers: dict[Session, int] = {}
        """The sessions that watch, each with the number of the question by which it began: its page had all that was
        before."""
        self.watched_seq = 0
        """The last of these."""
        self.paged_seq = 0
        """At which one the members were last listed."""
        self.is_large = False
        # gathered for the next batch of a large one
        self.changed: dict[str, User] = {}
        self.left: dict[str, User] = {}
        self.queued = False

    def count_list(self) -> list[int]:
        """Online members by status, in the order of the protocol."""
        return [self.counts[status] for status in ONLINE_STATUSES]
