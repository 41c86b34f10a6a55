"""Clients in a process that was forked off: each copy is closed at once.

The new process has a copy of each client and shares its connection, but it does not have the thread or the loop that
works for it. If a copy sent something, the original would get the answer.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from presenced.errors import ConnectionLost


class Copied(Protocol):
    """Something that works only in the process that made it."""

    def in_child(self) -> None:
        """Called on the copy, in a process that was forked off."""


_made: weakref.WeakSet[Copied] = weakref.WeakSet()


def tell_if_forked(thing: Copied) -> None:
    """Call its `in_child` in processes that are forked off from now on. This does not keep it alive."""
    _made.add(thing)


def error() -> ConnectionLost:
    """What every method of a copy raises."""
    sentence = "this connection belongs to the process that this one was forked off from; connect anew here"
    return ConnectionLost("forked", sentence, temporary=False)


def _tell() -> None:
    for thing in list(_made):
        thing.in_child()


if hasattr(os, "register_at_fork"):
    # A platform without fork has nothing to tell.
    os.register_at_fork(after_in_child=_tell)
