"""Which versions a position may have, and how versions go on after a kill. Pure (protocol.md, section 22.4).

A position is a version. A client that has it was told every change below it. After a kill, all records get versions
that no client was told (section 6.4). They keep their order and their distances, so that an earlier position is carried
over in the same way, and means the same.

A kill loses the last part of what was told. The log has, for each life of the server, the position up to which
everything is saved (`Life.durable`). A position above that may stand for changes that are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

POSITION_MS_MAX: Final = 24 * 3600 * 1000
"""So far back from the newest version versions keep their order over a kill: a day."""

LIVES_MAX: Final = 256
"""Kills over which a position is carried. Beyond it all is told."""


class Life(NamedTuple):
    """A life of the server that a kill has ended, by the versions of that life."""

    above: int
    """No version of it, and none that was told, is above this."""
    newest: int
    """Of any record; 0 = not known."""
    durable: int
    """The highest position that was given and whose facts were all saved; 0 = none."""


def carried(version: int, life: Life) -> int:
    """What becomes of a version of that life, of a record or a position, in the next. O(1)."""
    if not life.newest:
        return life.above + 1
    # A position may be above all records, and no change of the next life must be below it.
    return life.above + 1 + max(0, min(version, life.newest + 1) - _oldest(life))


def uncarried(version: int, lives: Sequence[Life]) -> int:
    """What the version of a record was before the kills that ended these lives, of which the newest is the last: those
    that were given since stay. Of one that had kept nothing of its place by then it is no more than the right one.
    O(lives)."""
    for life in reversed(lives):
        if life.above < version <= carried(life.newest, life):
            version = version - life.above - 1 + _oldest(life)
    return version


def next_version(life: Life) -> int:
    """The version that the next life begins with: above all that were carried over. O(1)."""
    return carried(life.newest + 1, life)


def since(version: int, lives: Sequence[Life]) -> int | None:
    """From which version on records have changed since this position, of any of these lives or of the present one; None
    if that is not known. The lives come in order. O(lives)."""
    is_of_earlier = False
    for life in lives:
        if version > life.above:
            continue
        # What a later life has lost stands above all that was carried into it.
        if version <= _oldest(life) or not (is_of_earlier or version <= life.durable):
            return None
        version, is_of_earlier = carried(version, life), True
    return version


def _oldest(life: Life) -> int:
    return life.newest - POSITION_MS_MAX
