"""Why another node of the cluster cannot be asked, for the operator who wants it."""

from __future__ import annotations


class NodeFault(Exception):
    """`code` is for programs, the sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def alone() -> NodeFault:
    """There is no cluster."""
    return NodeFault("no_cluster", "this server is alone; set cluster.url on each node, and restart them")
