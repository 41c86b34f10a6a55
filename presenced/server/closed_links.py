"""Links that an operator closes, on this node and on the others."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from presenced.core.engine import Engine
from presenced.server.link import Link
from presenced.server.link_report import LinkFilter, holders, is_open, open_links
from presenced.server.links import Links

SLICE_CLOSED = 10
"""Links closed between two looks at the sockets."""


class LinksToClose(NamedTuple):
    """Which links are to be closed, and what their clients are told."""

    user: str = ""
    """As in `LinkFilter`."""
    role: str | None = None
    message: str = ""
    retry_ms: int = 0
    """The clients are told to stay away for this long to twice as long, each for a time of its own."""
    gone: bool = False
    """All devices of the user are gone at once, too."""


class ClosedLinks(NamedTuple):
    """What came of it."""

    links: int
    held_by: list[str]
    """Services that hold devices of the user, and whose links were left alone."""
    elsewhere: int = 0
    """Of the links, those of other nodes."""
    silent: int = 0
    """Nodes that have not answered in time: what they closed is not counted."""


async def close_links(links: Links, wanted: LinksToClose, *, expels: bool = True) -> ClosedLinks:
    """Close those of this node. `expels`: this node decides the user, whose devices are gone if that is wanted.
    O(links), in slices."""
    engine: Engine = links.engine
    which = LinkFilter(wanted.user, wanted.role)
    chosen: list[Link] = []
    async for some in open_links(links):
        chosen.extend(link for link in some if which.fits(link))
    number = 0
    for at, link in enumerate(chosen):
        if at % SLICE_CLOSED == 0:
            await asyncio.sleep(0)
        if is_open(link):
            number += 1
            # Each link gets a time of its own, so that they do not all come back at once.
            link.end("kicked", wanted.message, wanted.retry_ms + random.randint(0, wanted.retry_ms))
    if wanted.gone and expels:
        # The links that are left are those that came meanwhile. The turn tells the watchers.
        engine.moderation.kick(links.host.begin(), wanted.user, engine.users.get(wanted.user))
    closed = set[object](chosen)
    return ClosedLinks(number, [name for link, name in holders(engine, wanted.user).items() if link not in closed])
