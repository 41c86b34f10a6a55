"""Why a daemon that is a node of a cluster ends, for those who know nothing of clusters."""

from __future__ import annotations


class NodeEnded(Exception):
    """The daemon cannot go on as a node. `str` is a sentence that says what to do."""

    def __init__(self, sentence: str, *, is_lasting: bool = False) -> None:
        """`is_lasting`: another start would end the same way, until somebody changes something."""
        super().__init__(sentence)
        self.is_lasting = is_lasting
