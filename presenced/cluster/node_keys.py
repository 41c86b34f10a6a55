"""The names that nodes have for each other: numbers, each drawn by its node at its start. They stay when the log begins
anew."""

from __future__ import annotations

from typing import Final, NewType

NodeKey = NewType("NodeKey", int)

NOWHERE: Final = NodeKey(0)
"""No node."""
