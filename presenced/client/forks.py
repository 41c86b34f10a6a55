"""What becomes of clients in a process that was forked off: it has a copy of each, but not the thread or the loop that
works for it, and the same connection. Whatever a copy sent, the original would get the answer, so copies are of no use.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from presenced.errors import ConnectionLost


class Copied(Protocol):
    """Something that works in the process that made it, and there only."""

    def in_child(self) -> None:
        """This is the copy, in a process that was forked off."""


_made: weakref.WeakSet[Copied] = weakref.WeakSet()


def tell_if_forked(thing: Copied) -> None:
    """Call its `in_child` in processes that are forked off from now on. It is not kept alive by that."""
    _made.add(thing)


def error() -> ConnectionLost:
    """What a copy answers everything with."""
    sentence = "this connection belongs to the process that this one was forked off from; connect anew here"
    return ConnectionLost("forked", sentence, temporary=False)


def _tell() -> None:
    for thing in list(_made):
        thing.in_child()


if hasattr(os, "register_at_fork"):
    # Where there is no fork, there is none to be told of.
    os.register_at_fork(after_in_child=_tell)
