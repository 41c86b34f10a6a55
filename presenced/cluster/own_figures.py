"""How this node is, told to all nodes for their operators. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from presenced.cluster.entries import Figures
from presenced.cluster.node import Node

FIGURES_LEVEL: Final = 1
"""Of level 0 some nodes do not know the item."""


class OwnFigures:
    """What was told last, and what is to be told."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._figures: Callable[[], tuple[int, int]] | None = None
        self._told = (-1, -1, 0)
        """The figures that all nodes were told last, and the newest of these nodes."""

    def tell_by(self, figures: Callable[[], tuple[int, int]]) -> None:
        """Links of this node, and for how many ms it is behind, are what this says."""
        self._figures = figures

    def tell(self) -> None:
        """Tell all nodes how this one is, unless they know, or one of them would not understand it. O(nodes)."""
        node = self._node
        if self._figures is None or not node.is_ready or node.nodes.level < FIGURES_LEVEL:
            return
        links, lag_ms = self._figures()
        told = (links, lag_ms, node.newest_incarnation)
        if told != self._told:
            self._told = told
            node.batches.add(Figures(links, lag_ms))
