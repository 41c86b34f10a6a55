"""What a node does about a log that is not the one which it has read.

A log that has lost its end is told again what it lacks. One that began anew is joined as the node which this one was,
and read from its first entry on. The engine may fail over meanwhile, or be emptied, as often as it likes: then it is
done again with the log that there is. No rule of the cluster is in here (`cluster.log.log_reader`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from presenced.backplane.errors import BackplaneError, Emptied, Rewound
from presenced.backplane.port import Backplane, Entry, Joined
from presenced.cluster.log.common_past import common_past, trouble_by_now
from presenced.cluster.log.log_reader import LogReader
from presenced.cluster.log.node import Node
from presenced.server.clustering.engine_calls import EngineCalls
from presenced.server.links import Host
from presenced.wire.codec import encode

log = logging.getLogger("presenced")

TRIES: Final = 20
"""A log that cannot be mended is given up after so many."""


class Mender:
    """Mends what one node has read of the log. Meanwhile nobody else has a connection to the engine."""

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
        """`apply` takes entries of the log: some of them at least, unless the node stops. `draw` gives a number that
        does not come twice."""
        self._node = node
        self._reader = reader
        self._backplane = backplane
        self._host = host
        self._calls = calls
        self._apply = apply
        self._draw = draw

    async def mend(self, error: Rewound | Emptied, *, is_of_command: bool) -> None:
        """The log is another one, as this error says, which a command has met or a reader; on return the node may go on
        with it. Raises why it cannot."""
        if is_of_command:
            # More may have been read since.
            met = error
            error = await self._calls.write(lambda: trouble_by_now(self._backplane, self._node, met))
        for _ in range(TRIES):
            log.warning("the cluster's log: %s", error)
            try:
                await self._mend(error)
            except (Rewound, Emptied) as another:
                error = another
                await self._calls.rest()
            else:
                return
        raise BackplaneError(f"the log is another one each time that it is looked at: {error}")

    async def _mend(self, error: Rewound | Emptied) -> None:
        if isinstance(error, Rewound):
            found = error
            shared = await self._calls.read(lambda: common_past(self._backplane, self._reader.memory, found))
            if shared is not None:
                self._reader.rewind(*shared, self._host.begin())
                return
            if await self._holds_what_was_read(found):
                await self._look_anew()
                return
        await self._begin_anew()

    async def _holds_what_was_read(self, error: Rewound) -> bool:
        """Whether the log has all that was read, though it did not seem so; it is gone otherwise. One that goes on, and
        has nothing in common with what is remembered, has told others what this node has missed: it is of no more
        use."""
        node = self._node
        try:
            await self._calls.write(lambda: self._backplane.renew(node.position, node.tag))
        except Emptied:
            return False
        except Rewound:
            raise BackplaneError(str(error)) from None
        return True

    async def _begin_anew(self) -> None:
        """Join the log that there is, and read it up to there. It may be gone before that is done, or lose that this
        node has joined, or be read on another engine: asked again, under the same number, it tells which of these it
        is, and lets the node in again if it does not know it any more."""
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
                    raise BackplaneError("the log began anew without it, and the others have given it up")
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
        """Connect anew: of the connections for reading and for commands one may lead to an engine that has been
        replaced."""
        await self._backplane.close()
        await self._calls.rest()

    async def _read_up_to(self, joined: Joined) -> bool:
        """Read what others had appended when the node joined. Returns whether it was all there."""
        node = self._node
        while node.position < joined.n:
            entries = await self._calls.read(lambda: self._backplane.read(node.position))
            if not entries:
                return False
            await self._apply(entries)
        return True
