"""Tells all nodes how many links this one has and how far it is behind, for their operators; and its settings. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from presenced.cluster.log.entries import Figures
from presenced.cluster.log.node import Node
from presenced.cluster.log.node_choices import NodeChoices

FIGURES_LEVEL: Final = 1
"""Nodes of level 0 do not know the item `Figures`."""


class OwnFigures:
    """What was appended last, and what is to be appended."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._figures: Callable[[], tuple[int, int]] | None = None
        self._choices: Callable[[], NodeChoices | None] = lambda: node.mine.choices
        self._told = (-1, -1, 0)
        """The figures that were appended last, and the newest incarnation among the nodes at that time."""
        self._are_others = False
        """The settings differ from those with which this node has joined."""

    def tell_by(
        self, figures: Callable[[], tuple[int, int]], choices: Callable[[], NodeChoices | None] | None = None
    ) -> None:
        """`figures` returns the number of this node's links, and for how many ms it is behind; `choices` returns its
        settings, if they can change."""
        self._figures = figures
        self._choices = choices or self._choices

    def tell(self) -> None:
        """Append the figures if they have changed, and if all nodes understand them. O(nodes)."""
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
            # A node that has joined knows the settings from this node's own join alone.
            said = choices
        if told != self._told or said is not None:
            self._told = told
            node.batches.add(Figures(links, lag_ms, said))
