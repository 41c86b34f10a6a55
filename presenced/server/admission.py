"""Whether a connection that came in becomes a link: room, memory, the drain.

Counting is done before the connection is up: with TLS it is up only after the handshake, which a silent client never
finishes.
"""

from __future__ import annotations

import logging
import random

from presenced.server.conversation import Conversation
from presenced.server.links import Links
from presenced.server.memory import REFUSAL, retry_ms
from presenced.wire.messages import Goodbye

FULL_RETRY_MS = 1_000, 5_000
"""When a client that found no room may come back: at random between the two."""


class Admission:
    """Lets connections in, of whatever kind of transport."""

    def __init__(self, links: Links, links_max: int = 0) -> None:
        self._links = links
        self.links_max = links_max
        """Links at a time. The start sets it, once the limit on file descriptors is known."""
        self.is_closed = False
        """Whether the server is ending and takes no links."""

    def set_links_max(self, links_max: int) -> None:
        """Admit so many links at a time from now on. Links beyond it that are up stay."""
        self.links_max = links_max

    def close(self) -> None:
        """Admit nobody from now on. Idempotent."""
        self.is_closed = True

    def admit(self) -> Conversation | None:
        """The conversation for a connection that has come in; None if it is to be refused (`refusal`)."""
        links = self._links
        now_ms = links.host.begin()
        if links.memory.level:
            links.stats.goodbyes["busy"] += 1
            links.memory.refused_links += 1
            return None
        if len(links) >= self.links_max:
            silent = links.deadlines.take_longest_without_hello(now_ms)
            if silent is not None:
                silent.make_way(now_ms)
        if len(links) >= self.links_max or self.is_closed:
            links.stats.goodbyes["busy"] += 1
            links.report.event(now_ms, "busy", f"{len(links)} links, refusing more")
            return None
        link = Conversation(links, now_ms)
        links.add(now_ms, link)
        return link

    def refusal(self) -> Goodbye:
        """What somebody who was not admitted is told."""
        if self._links.memory.level:
            return Goodbye("busy", REFUSAL, retry_ms())
        return Goodbye("busy", "the server holds as many links as it may", random.randint(*FULL_RETRY_MS))

    def note_accept_failure(self, error: OSError) -> None:
        """The system has nothing left for another connection."""
        links = self._links
        links.stats.accept_failures += 1
        links.report.event(links.host.begin(), "accept", f"no connection can be taken: {error}", level=logging.WARNING)
