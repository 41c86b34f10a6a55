"""The interface for whoever is told what the log says about nodes, as it is read."""

from __future__ import annotations

from typing import Protocol

from presenced.cluster.log.nodes import Member


class NodesObserver(Protocol):
    """Each method is called for each entry that says so."""

    def joined(self, member: Member) -> None:
        """Another node lives from here on, which has not lived before."""

    def served(self, member: Member) -> None:
        """Another node knows all users, and serves from here on."""

    def went(self, member: Member, silent_ms: int, *, is_orderly: bool) -> None:
        """Another node is gone, in order or not. It was last heard `silent_ms` before the log said so."""

    def missed(self, member: Member) -> None:
        """Another node has not come back to a log that began anew, and is gone."""

    def chose(self, member: Member) -> None:
        """The member, which lives, has told its settings (`Member.choices`), which may be the same as before. Of this
        node it is called only when they have changed."""


class NobodyObserves:
    """Nobody looks."""

    def joined(self, member: Member) -> None:
        """See `NodesObserver`."""

    def served(self, member: Member) -> None:
        """See `NodesObserver`."""

    def went(self, member: Member, silent_ms: int, *, is_orderly: bool) -> None:
        """See `NodesObserver`."""

    def missed(self, member: Member) -> None:
        """See `NodesObserver`."""

    def chose(self, member: Member) -> None:
        """See `NodesObserver`."""
