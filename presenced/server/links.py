"""The links of a server: the table of them, and what their conversations share.

A conversation is handed this instead of the server. It knows no socket and no loop; what only the server can do for a
link stands in `Host`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from presenced import limits
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.requests import Requests
from presenced.server.accounts import Account, Accounts
from presenced.server.identity import Identity
from presenced.server.memory import Memory
from presenced.server.report import Report
from presenced.server.stats import Stats
from presenced.server.waiting import WaitingLinks
from presenced.wire.messages import Hello, Role

if TYPE_CHECKING:
    from presenced.server.conversation import Conversation

log = logging.getLogger("presenced")

EVERYDAY = ("going_away", "lease_expired", "replaced", "link_failed")
"""Goodbyes that are not worth a line each, or that another line has told of."""


class Host(Protocol):
    """What links need of the server that has them."""

    @property
    def is_broken(self) -> bool:
        """Whether a turn has failed: the state is not to be changed any further."""

    def begin(self) -> int:
        """The time now, in ms of the monotonic clock; a turn follows what is read now."""

    def heartbeat(self, link: Conversation, session: Session, idle_ms: int) -> None:
        """A link sent a heartbeat and nothing else."""

    def identify(self, hello: Hello) -> Identity:
        """Who the hello speaks for; raises `AuthError`."""

    def rate_for(self, role: Role) -> tuple[int, int]:
        """Units of work in a second, and in a burst, for all links of a user in this role."""

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        """A wall time as a moment of the monotonic clock; 0 stays 0."""


class Links:
    """Iterates the links that are open or on their way up or out. `len` counts them."""

    def __init__(
        self, host: Host, engine: Engine, requests: Requests, stats: Stats, report: Report, memory: Memory
    ) -> None:
        self.host = host
        self.engine = engine
        self.requests = requests
        self.stats = stats
        self.report = report
        self.memory = memory
        self.accounts = Accounts()
        self.waiting = WaitingLinks()
        self.roles: Counter[Role] = Counter()
        """Links whose hello was accepted, by role."""
        self.ending = 0
        """Links that were told goodbye and have not closed; they are in the table."""
        self.replies_until_bytes = limits.REPLY_BYTES_PER_TURN
        """Of all replies' bytes: what is asked once there are so many waits for the next turn."""
        self._table: dict[Conversation, None] = {}

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, link: object) -> bool:
        return link in self._table

    def add(self, now_ms: int, link: Conversation) -> None:
        """A link was accepted. Its hello is waited for from now on."""
        self.stats.accepted += 1
        self._table[link] = None
        self.waiting.hello_due.add(now_ms, link)

    def forget(self, link: Conversation) -> None:
        """The link is gone. Idempotent."""
        self._table.pop(link, None)

    @property
    def outbox_bytes_max(self) -> int:
        """Unread replies beyond which a link is not read. While memory is short, none."""
        return 0 if self.memory.level else limits.OUTBOX_BYTES_MAX

    def enter_account(self, now_ms: int, identity: Identity) -> Account:
        """The account that a link of this user takes its credit from; `accounts.leave` gives it back."""
        rate, burst = self.host.rate_for(identity.role)
        is_service = identity.role != "user"
        return self.accounts.enter(identity.user, is_service=is_service, rate=rate, burst=burst, now_ms=now_ms)

    def note_goodbye(self, now_ms: int, code: str, link: Conversation, message: str = "") -> None:
        """Count a link that the server ends, and log it with the reason unless it is everyday life."""
        self.stats.goodbyes[code] += 1
        if code not in EVERYDAY:
            self.report.event(now_ms, code, f"closing {link.label()}" + (f": {message}" if message else ""))
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("%s: closing %s", code, link.label())
