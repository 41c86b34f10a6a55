"""Who is told what the log says of the other nodes, as it is read, for operators."""

from __future__ import annotations

from typing import Protocol

from presenced.cluster.log.nodes import Member


class NodesObserver(Protocol):
    """Each is told for each entry that says so."""

    def joined(self, member: Member) -> None:
        """Another node lives from here on, which has not lived before."""

    def served(self, member: Member) -> None:
        """Another node has said that it knows all users, and serves from here on."""

    def went(self, member: Member, silent_ms: int, *, is_orderly: bool) -> None:
        """Another node is gone, in order or not; it was heard so long before the log said so."""

    def missed(self, member: Member) -> None:
        """Another node has not come back to the log that began anew: it is gone."""

    def chose(self, member: Member) -> None:
        """The member, which lives, has said which settings it has (`Member.choices`), or that they are as before; of
        this node only that they are others."""


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
