"""The one address by which a suite knows a server that is several nodes: who connects to it is dealt out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence


class DealtPort(int):
    """The port of the first node, for whoever knows nothing of nodes.

    `tests.support.wire.Wire` opens one link after the other at the next node. Before a link acts that is not the one
    that acted last, all nodes tell each other what they know: of what others do on other nodes protocol.md (28.1)
    promises a link no more than that it is told a little later.
    """

    def __new__(cls, ports: Sequence[int], settle: Callable[[], None]) -> DealtPort:
        return super().__new__(cls, ports[0])

    def __init__(self, ports: Sequence[int], settle: Callable[[], None]) -> None:
        self._ports = itertools.cycle(ports)
        self._last: object = None
        self.settle = settle
        """Returns once all nodes have told each other what they know."""

    def deal(self) -> int:
        """The port for the next link."""
        return next(self._ports)

    def acts(self, link: object) -> None:
        """The link is about to say something."""
        if link is not self._last:
            self._last = link
            self.settle()
