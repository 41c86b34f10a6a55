"""How this node is, told to all nodes for their operators. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from presenced.cluster.log.entries import Figures
from presenced.cluster.log.node import Node
from presenced.cluster.log.node_choices import NodeChoices

FIGURES_LEVEL: Final = 1
"""Of level 0 some nodes do not know the item."""


class OwnFigures:
    """What was told last, and what is to be told."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._figures: Callable[[], tuple[int, int]] | None = None
        self._choices: Callable[[], NodeChoices | None] = lambda: node.mine.choices
        self._told = (-1, -1, 0)
        """The figures that all nodes were told last, and the newest of these nodes."""
        self._are_others = False
        """The settings are others than those with which this node has joined."""

    def tell_by(
        self, figures: Callable[[], tuple[int, int]], choices: Callable[[], NodeChoices | None] | None = None
    ) -> None:
        """Links of this node, and for how many ms it is behind, are what this says; and its settings what `choices`
        says, or as they were."""
        self._figures = figures
        self._choices = choices or self._choices

    def tell(self) -> None:
        """Tell all nodes how this one is, unless they know, or one of them would not understand it. O(nodes)."""
        node = self._node
        if self._figures is None or not node.is_ready or node.nodes.level < FIGURES_LEVEL:
            return
        choices, said = self._choices(), None
        links, lag_ms = self._figures()
        told = (links, lag_ms, node.nodes.newest_incarnation)
        if choices is not None and choices != node.mine.choices:
            node.nodes.note_choices(node.mine, choices)
            self._are_others, said = True, choices
        elif self._are_others and told[2] != self._told[2]:
            # One that has joined knows what this node said at its own join.
            said = choices
        if told != self._told or said is not None:
            self._told = told
            node.batches.add(Figures(links, lag_ms, said))
