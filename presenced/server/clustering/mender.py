"""Mends the node's view of the log when the log is not the one that the node has read.

If the log has lost its end, the node goes back to the last entry that both have, and appends again what is missing. If
the log began anew, the node joins it as the same node, and reads it from the first entry on. The engine may fail over
or be emptied meanwhile, as often as it likes: then the same is done with the log that there is. No rule of the cluster
is in here (`cluster.log.log_reader`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from presenced.backplane.errors import BackplaneError, Emptied, Rewound
from presenced.backplane.port import Backplane, Entry, Joined
from presenced.cluster.log.common_past import common_past
from presenced.cluster.log.log_reader import LogReader
from presenced.cluster.log.node import Node
from presenced.server.clustering.engine_calls import EngineCalls
from presenced.server.links import Host
from presenced.wire.codec import encode

log = logging.getLogger("presenced")

TRIES: Final = 20
"""After so many tries a log that cannot be mended is given up."""


class Mender:
    """Mends what one node has read of the log. Meanwhile nobody else uses the connections to the engine."""

    def __init__(
        self,
        node: Node,
        reader: LogReader,
        backplane: Backplane,
        host: Host,
        calls: EngineCalls,
        *,
        apply: Callable[[list[Entry]], Awaitable[object]],
        draw: Callable[[], int],
    ) -> None:
        """`apply` applies entries of the log, at least some of them unless the node stops. `draw` returns a number that
        does not come twice."""
        self._node = node
        self._reader = reader
        self._backplane = backplane
        self._host = host
        self._calls = calls
        self._apply = apply
        self._draw = draw

    async def mend(self, error: Rewound | Emptied, *, is_of_command: bool) -> None:
        """The log is another one, as this error of a command or of the reader says. On return the node may go on with
        it. Raises why it cannot."""
        node = self._node
        for _ in range(TRIES):
            # Only the engine that is written to knows what has become of the log. The reader may be on one that was
            # the primary before, and may have read more since.
            found = await self._calls.write(partial(self._trouble_by_now, is_of_command))
            if found is None:
                # The engine that is written to has all that was read, so the reader was on another one. If it finds
                # the same again and again, the log has dropped entries that this node has not read.
                await self._look_anew()
                try:
                    await self._calls.read(lambda: self._backplane.read(node.position, node.tag))
                except (Rewound, Emptied) as another:
                    error, is_of_command = another, False
                    continue
                return
            log.warning("the cluster's log: %s", found)
            try:
                await self._mend(found)
            except (Rewound, Emptied) as another:
                error, is_of_command = another, False
                await self._look_anew()
            else:
                log.warning("the cluster's log is whole again")
                return
        raise BackplaneError(f"the log is another one each time that it is looked at: {error}")

    async def _trouble_by_now(self, is_of_command: bool) -> Rewound | Emptied | None:
        """What is wrong with the log on the engine that is written to; None = it has all that was read. If a command
        has failed all the same, the log lacks what this node has appended behind that."""
        node = self._node
        try:
            await self._ask(node.position, node.tag)
        except (Rewound, Emptied) as error:
            return error
        return Rewound(node.position, node.position, node.tag) if is_of_command else None

    async def _ask(self, position: int, tag: int) -> None:
        """Return if the log on the engine that is written to has this entry. The log may drop all entries before it
        from now on."""
        await self._backplane.renew(position, tag)
        self._reader.hold_nothing()

    async def _mend(self, error: Rewound | Emptied) -> None:
        if isinstance(error, Rewound):
            found = error
            # The reader may be on the engine that was written to before.
            await self._backplane.close()
            shared = await self._calls.read(lambda: common_past(self._backplane, self._reader.memory, found))
            if shared is not None:
                # It may still be there: ask the engine that is written to for the entry that both have.
                await self._calls.write(partial(self._ask, *shared))
                self._reader.rewind(*shared, self._host.begin())
                return
            if await self._holds_what_was_read(found):
                await self._look_anew()
                return
        await self._begin_anew()

    async def _holds_what_was_read(self, error: Rewound) -> bool:
        """Whether the log has all that was read, although it did not seem so; False if the log is gone. A log that goes
        on and shares nothing with what is remembered has told other nodes what this one has missed, and is of no use to
        it."""
        node = self._node
        try:
            await self._calls.write(partial(self._ask, node.position, node.tag))
        except Emptied:
            return False
        except Rewound:
            raise BackplaneError(str(error)) from None
        return True

    async def _begin_anew(self) -> None:
        """Join the log that there is, and read it up to that join. The log may be gone before that is done, may have
        lost the join, or may be read on another engine. So the join is asked for again under the same number, which
        tells which of these it is, and lets the node in again if the log no longer knows it."""
        node, life, tries = self._node, "", 0
        ask = partial(
            self._backplane.join,
            node.name,
            self._draw(),
            node.nodes.newest_incarnation,
            node.engine.ledger.epoch,
            encode(node.return_data()),
        )
        while True:
            joined = await self._calls.write(ask)
            asked, life = life, f"{joined.history} {joined.n}-{joined.tag}"
            if life != asked:
                if not node.may_return(joined):
                    raise BackplaneError(
                        "the log began anew without it, and the others have given it up; or it is one from before"
                    )
                tries = 0
                self._reader.begin_anew(joined, self._host.begin())
            try:
                if await self._read_up_to(joined):
                    return
            except (Rewound, Emptied) as error:
                tries += 1
                if tries == TRIES:
                    raise BackplaneError(f"the log cannot be read from its beginning: {error}") from None
                await self._look_anew()

    async def _look_anew(self) -> None:
        """Connect anew: the connection for reading or that for commands may lead to an engine that has been
        replaced."""
        await self._backplane.close()
        await self._calls.rest()

    async def _read_up_to(self, joined: Joined) -> bool:
        """Read what others had appended when the node joined. Returns whether all of it was there."""
        node = self._node
        while node.position < joined.n:
            entries = await self._calls.read(lambda: self._backplane.read(node.position, node.tag))
            if not entries:
                return False
            await self._apply(entries)
        return True
