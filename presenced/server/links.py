"""The links of a server: the table of them, and what their conversations share.

A conversation is handed this instead of the server. What it needs of the server beyond that stands in two ports: `Host`
(time and turns) and `Authority` (who may say what).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from presenced import limits
from presenced.core.engine import Engine
from presenced.core.link_client import LinkClient
from presenced.core.model import Session
from presenced.server.accounts import Account, Accounts
from presenced.server.deadlines import Deadlines
from presenced.server.identity import Identity
from presenced.server.link import Link
from presenced.server.memory import Memory
from presenced.server.report import Report
from presenced.server.stats import Stats
from presenced.server.turn_shares import TurnShares
from presenced.wire.messages import ClientMessage, Hello, Role

log = logging.getLogger("presenced")

EVERYDAY = ("going_away", "lease_expired", "replaced", "link_failed")
"""Goodbyes that are not worth a line each, or that another line has told of."""


class Host(Protocol):
    """Who runs the turns."""

    @property
    def is_broken(self) -> bool:
        """Whether a turn has failed: the state is not to be changed any further."""

    def monotonic_ns(self) -> int:
        """The time now."""

    def begin(self) -> int:
        """The time now in milliseconds; a turn follows once everything that is readable now has been read."""


class Authority(Protocol):
    """Who a link may speak for, until when, and how much it may ask for."""

    def identify(self, hello: Hello) -> Identity:
        """Who the hello speaks for; raises `AuthError`."""

    def verify_token(self, token: str) -> Identity | None:
        """Who the token speaks for; None in dev mode, where tokens are ignored. Raises `AuthError`."""

    def rate_for(self, role: Role) -> tuple[int, int]:
        """Units of work in a second, and in a burst, for all links of a user in this role."""

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        """A wall time as a moment of the monotonic clock; 0 stays 0."""


class Elsewhere(Protocol):
    """What attaches devices of users whom another server decides."""

    def attaches_here(self, name: str) -> bool:
        """Whether this server decides the user by now."""

    def open(self, session: Session, hello: Hello, now_ms: int) -> None:
        """A link has said this hello, and its session has no device yet: attach it where the user is decided. If that
        fails, the link is told by a goodbye."""

    def draw_token(self) -> str:
        """A token for the client of a link of this server to take back what the link had, on whichever server it comes
        back."""

    def seek(self, token: str, client: LinkClient, device_id: str, now_ms: int, then: Callable[[int], object]) -> int:
        """Ask the server that has issued this token for what its link had. `then` is called once, later, with the time,
        when that has come or will not come; `take_found` with the returned number then takes it. Returns 0 if no other
        server has it."""

    def take_found(self, number: int, now_ms: int) -> None:
        """Let the client take back here what was found for it, if anything was."""

    def heartbeat(self, session: Session, now_ms: int, idle_ms: int | None) -> bool:
        """As `Engine.heartbeat`, for a session whose device may be elsewhere."""

    def held(self, session: Session) -> int:
        """How many devices the session's link holds there."""

    def holders(self, name: str, device_ids: Iterable[str]) -> list[Session]:
        """The sessions of links that hold one of these devices of the user there."""


class RequestTable(Protocol):
    """What handles requests of links (`core.requests.Requests`, or what hands them on to the server that decides)."""

    def cost(self, engine: Engine, session: Session, message: ClientMessage) -> int:
        """Units of work that the message costs besides its frame."""

    def handle(self, engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
        """Handle one message of a link that has said hello."""


class Links:
    """Iterates over the links that are up, on their way up, or ending. `len` counts them."""

    def __init__(
        self,
        host: Host,
        authority: Authority,
        engine: Engine,
        requests: RequestTable,
        stats: Stats,
        report: Report,
        memory: Memory,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.host = host
        self.authority = authority
        self.engine = engine
        self.requests = requests
        self.elsewhere = elsewhere
        self.stats = stats
        self.report = report
        self.memory = memory
        self.accounts = Accounts()
        self.deadlines = Deadlines()
        self.shares = TurnShares(host.monotonic_ns)
        # What each heartbeat calls, without a way to it.
        self.now_ns = host.monotonic_ns
        self.beat = engine.leases.heartbeat
        self.roles: Counter[Role] = Counter()
        """Links whose hello was accepted, by role."""
        self.ending = 0
        """Links that were told goodbye and have not closed; they are in the table."""
        self._table: dict[Link, None] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, link: object) -> bool:
        return link in self._table

    def serve_elsewhere(self, requests: RequestTable, elsewhere: Elsewhere) -> None:
        """What links ask is handled by these from now on, wherever it is decided."""
        self.requests = requests
        self.elsewhere = elsewhere

    # --- the table --------------------------------------------------------------------------------------------

    def add(self, now_ms: int, link: Link) -> None:
        """A link was accepted. It has `limits.HELLO_TIMEOUT_MS` to say hello."""
        self.stats.accepted += 1
        self._table[link] = None
        self.deadlines.hellos.add(now_ms, link)

    def forget(self, link: Link) -> None:
        """The link is gone. Idempotent."""
        self._table.pop(link, None)

    def note_session_opened(self, session: Session) -> None:
        """A hello was answered with a welcome."""
        self.stats.hellos += 1
        self.roles[session.role] += 1

    def note_session_ended(self, session: Session) -> None:
        """A link whose hello was accepted serves nobody any longer."""
        self.roles[session.role] -= 1

    def note_closing(self) -> None:
        """A link was told goodbye."""
        self.ending += 1

    def note_closed(self) -> None:
        """The connection of a link that was told goodbye is gone."""
        self.ending -= 1

    def abort_all(self) -> None:
        """Drop every connection without a word. O(links)."""
        for link in list(self._table):
            link.abort()

    def note_goodbye(self, now_ms: int, code: str, link: Link, message: str = "") -> None:
        """Count a link that the server ends, and log it with the reason unless the code is an everyday one."""
        self.stats.goodbyes[code] += 1
        if code not in EVERYDAY:
            self.report.event(now_ms, code, f"closing {link.label()}" + (f": {message}" if message else ""))
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("%s: closing %s", code, link.label())

    # --- what links may use -----------------------------------------------------------------------------------

    @property
    def outbox_bytes_max(self) -> int:
        """A link with more bytes of unread replies than this is not read. While memory is short, none may have any."""
        return 0 if self.memory.level else limits.OUTBOX_BYTES_MAX

    def enter_account(self, now_ms: int, identity: Identity) -> Account:
        """The account that a link of this user takes its credit from; `accounts.leave` gives it back."""
        rate, burst = self.authority.rate_for(identity.role)
        is_service = identity.role != "user"
        return self.accounts.enter(identity.user, is_service=is_service, rate=rate, burst=burst, now_ms=now_ms)

    # --- the turn ---------------------------------------------------------------------------------------------

    def run_due(self, now_ms: int) -> None:
        """Begin a turn: serve and check every link whose time has come. O(links that come out of a queue)."""
        self.shares.run_due(now_ms, self.engine.outboxes.reply_bytes)
        self.deadlines.run_due(now_ms)
        self.accounts.run_due(now_ms)

    @property
    def next_ms(self) -> int | None:
        """When `run_due` should be called next; 0 = at once, None = nothing waits."""
        first = self.shares.next_ms
        for other_ms in (self.deadlines.next_ms, self.accounts.next_ms):
            if other_ms is not None and (first is None or other_ms < first):
                first = other_ms
        return first
