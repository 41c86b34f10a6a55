"""Who is told what the log says of the other nodes, as it is read, for operators."""

from __future__ import annotations

from typing import Protocol

from presenced.cluster.nodes import Member


class NodesObserver(Protocol):
    """Each is told for each entry that says so."""

    def chose(self, member: Member) -> None:
        """The member, which lives, has said which settings it has (`Member.choices`), or that they are as before; of
        this node only that they are others."""


class NobodyObserves:
    """Nobody looks."""

    def chose(self, member: Member) -> None:
        """See `NodesObserver`."""
