"""Changes that nobody watches, on links of several users: one at a time, or one of each user at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.links import READ_BYTES
from bench.peers.base import Peer, PeerLink

PAUSE_S = 0.002
"""Behind a change that comes alone, so that each server has rested before the next: one that was at work just now needs
half as much for it, and a node rests in any case until its engine has answered."""


class Changers:
    """Users of one server who change, each on a link of its own."""

    def __init__(self, stack: ExitStack, peer: Peer, users: Sequence[str]) -> None:
        self._peer = peer
        self._links: list[PeerLink] = []
        for user in users:
            link = peer.connect(user)
            stack.callback(link.close)
            self._links.append(link)
        self._number = 0

    def alone(self, changes: int) -> None:
        """So many changes of the first user, each a pause after the one before is acknowledged: a turn for each."""
        for _ in range(changes):
            self._change(self._links[:1])
            time.sleep(PAUSE_S)

    def together(self, changes: int) -> None:
        """At least so many changes, of all users at once, and again once all are acknowledged."""
        for _ in range(-(-changes // len(self._links))):
            self._change(self._links)

    def rounded(self, changes: int) -> int:
        """How many changes `together` makes."""
        return -(-changes // len(self._links)) * len(self._links)

    def _change(self, links: Sequence[PeerLink]) -> None:
        self._number += 1
        for link in links:
            link.socket.sendall(self._peer.change(link.user, self._number))
        for link in links:
            answer, came = self._peer.answer(link.user, self._number), b""
            while answer not in came:
                data = link.socket.recv(READ_BYTES)
                if not data:
                    raise BenchError(f"{self._peer.name} closed the link of {link.user}")
                came += data
