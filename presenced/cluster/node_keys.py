"""By what nodes name each other: a number that each draws at its start, and that stays when the log begins anew."""

from __future__ import annotations

from typing import Final, NewType

NodeKey = NewType("NodeKey", int)

NOWHERE: Final = NodeKey(0)
"""No node."""
