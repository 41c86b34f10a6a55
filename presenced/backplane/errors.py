"""Why a call of the backplane did not do what it was asked for. None of these applies anything by half."""

from __future__ import annotations

from typing import Final


class BackplaneError(Exception):
    """The root of them. `str` is a sentence for operators, without secrets."""


class Unreachable(BackplaneError):
    """The engine did not answer, or may not write just now. Whether the call was executed is unknown, and it is safe
    to repeat, as it is."""


class EngineFull(Unreachable):
    """The engine has no memory for the call, and did nothing."""


class Unreplicated(Unreachable):
    """The engine has executed the call, and too few of its replicas have that yet. The lease was renewed by it."""


class Fenced(BackplaneError):
    """This incarnation does not live any more: nothing of it enters the log. `by` is the later incarnation that lives
    under the same name now; 0 = none. One that began before this one is no other daemon: the log has lost this one's
    beginning."""

    def __init__(self, by: int) -> None:
        super().__init__(
            f"incarnation {by} of this node has taken its place"
            if by
            else "the cluster has gone on without this node, which was not heard of for longer than its lease"
        )
        self.by = by


class Rewound(BackplaneError):
    """The log does not hold the entry that this node has read last: it has lost its end, or what this node has yet to
    read. It holds `first_n` to `end_n`, of which the last has `end_tag`."""

    def __init__(self, first_n: int, end_n: int, end_tag: int) -> None:
        super().__init__(f"the log is not the one that was read: it holds entries {first_n} to {end_n}")
        self.first_n = first_n
        self.end_n = end_n
        self.end_tag = end_tag


class Emptied(BackplaneError):
    """The engine has no log, or another one: somebody has emptied it, or it is a new one."""

    def __init__(self) -> None:
        super().__init__("the log is gone: the engine was emptied, or is another one")


_OF_NODE: Final = ("no_library", "bad_request", "parcel_lost", "stopped")
"""What is wrong with the node that calls."""


class Refused(BackplaneError):
    """The engine cannot be used as it is. An operator has to change something; `code` is stable:

    `no_library` (hiredis is not installed), `bad_address`, `password`, `permission`, `certificate`, `old_engine`,
    `replica`, `evicts`, `sharded`, `is_sentinel`, `no_service` (Sentinel does not know it), `foreign_keys`,
    `bad_request` (a call that no engine takes), `parcel_lost` (what the node was to be told is gone), `stopped` (the
    node stops).
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    @property
    def is_of_engine(self) -> bool:
        """Whether it is the engine, or what leads to it, that is to be changed. A node that has been let in before
        waits for that as for an engine that is away."""
        return self.code not in _OF_NODE
