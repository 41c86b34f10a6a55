"""The port between a server and what keeps its facts: `Log`, and its null object `MemoryLog`, which keeps nothing.

`durable_log.DurableLog` is the log on disk. Every user of a log knows it by this port alone, so that nobody has to ask
which of the two there is, and a simulator can put one of its own in their place. No event loop is imported here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Protocol

from presenced.core.model import Session
from presenced.core.records import Fact
from presenced.server.status import LogStatus

logger = logging.getLogger("presenced")

Ack = tuple[Session | None, int, bytes]
"""A reply that waits: the session, the id of its request, and the reply (b"" = `Done`). Without a session it is the
number of an event, which followers may be told once its fact is durable."""


class LogFailed(Exception):
    """The disk failed under the log. What was not acknowledged may be lost, and nothing may be acknowledged.

    Its one argument is what ended the log.
    """


class Log(Protocol):
    """Where facts go, and where acknowledgements come from once the facts before them are durable."""

    # --- in each turn -----------------------------------------------------------------------------------------

    @property
    def refusal(self) -> str:
        """Why nothing durable can be promised now (an error code); "" while all is well."""

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        """Take the facts of a turn, and the acks that wait for them."""

    def take_durable(self) -> Sequence[Ack]:
        """The acks whose facts are as durable as promised, each once."""

    def take_refused(self) -> Sequence[Ack]:
        """The acks whose facts could not be made durable, each once."""

    def take_late(self) -> Sequence[Ack]:
        """The acks for which nobody waits any longer, each once: their facts hold, and become as durable as promised
        perhaps much later. None is about an event."""

    @property
    def erased_until(self) -> int:
        """The number of the newest erasure (`core.parts.erasures`) of which, and of all before it, nothing is left
        here."""

    # --- each second, and for the operator --------------------------------------------------------------------

    def look(self) -> None:
        """Report a disk that does not take what it is given, and the end of that. O(1)."""

    def status(self) -> LogStatus | None:
        """How the log is at this moment; None if there is no disk under it. O(1)."""

    # --- snapshots --------------------------------------------------------------------------------------------

    def plan_snapshots(self, *, every_ms: int, log_bytes: int) -> None:
        """Take a snapshot once this much log has been written since the last, or after this time if anything was
        written (0 = not by time)."""

    def take_snapshot(self) -> None:
        """Begin a snapshot now, unless one is under way. The server goes on meanwhile."""

    @property
    def snapshot_running(self) -> bool:
        """Whether a snapshot is being taken."""

    @property
    def has_news(self) -> bool:
        """Whether a snapshot would hold anything that the last one does not."""

    def hurry(self) -> None:
        """Let the running snapshot use the loop alone, because no client is served now."""

    # --- the end ----------------------------------------------------------------------------------------------

    async def close(self, version: int) -> None:
        """Write what is left and end in order; `error` says whether that worked. Idempotent."""

    @property
    def error(self) -> BaseException | None:
        """What ended the log before its time, or kept it from ending in order; None while all is well."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is written to the disk from now on. It is not before `close` has returned."""


class MemoryLog:
    """Keeps nothing: state lives as long as the process, and every ack is due at once."""

    refusal = ""
    snapshot_running = False
    has_news = False
    error: BaseException | None = None
    is_over = True
    erased_until = sys.maxsize
    """There is nothing that could keep anything."""

    def __init__(self) -> None:
        self._acks: list[Ack] = []

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        """Drop the facts and release the acks."""
        self._acks.extend(acks)

    def take_durable(self) -> Sequence[Ack]:
        """All acks appended since the last call."""
        acks, self._acks = self._acks, []
        return acks

    def take_refused(self) -> Sequence[Ack]:
        """None, ever."""
        return ()

    def take_late(self) -> Sequence[Ack]:
        """None, ever."""
        return ()

    def look(self) -> None:
        """There is no disk to look at."""

    def status(self) -> LogStatus | None:
        """None, ever."""
        return None

    def plan_snapshots(self, *, every_ms: int, log_bytes: int) -> None:
        """None is ever taken."""

    def take_snapshot(self) -> None:
        """Say that there is none."""
        logger.info("snapshot: none is taken, because the state is in memory only")

    def hurry(self) -> None:
        """There is none under way."""

    async def close(self, version: int) -> None:
        """There is nothing to write."""
