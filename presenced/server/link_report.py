"""Links as an operator sees them: which ones there are, and what each one does. Reads only; nothing in here ends a
link.

A look at all links goes in slices, with the event loop in between, so that nobody's presence is late for it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple

import msgspec

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.server.clocks import Clocks
from presenced.server.link import ENDING, Link
from presenced.server.links import Links

SLICE_LINKS = 200
"""Links looked at between two looks at the sockets."""

SLICE_ROWS = 100
"""Rows made between two looks at the sockets."""


class LinkFilter(NamedTuple):
    """Which links are meant; an empty filter means all."""

    user: str = ""
    """`user` or `user/device`."""
    role: str | None = None
    """`none`: the links without a hello yet."""
    slow: bool = False
    """Only links that do not take what they are sent."""

    def fits(self, link: Link) -> bool:
        """Whether the link is meant. O(1)."""
        session = link.session
        if self.role is not None and self.role != ("none" if session is None else session.role):
            return False
        if self.slow and (session is None or session.owed is None):
            return False
        if not self.user:
            return True
        if session is None:
            return False
        name, _, device = self.user.partition("/")
        return session.user_name == name and device in ("", _device_of(link, session))


class LinkQuery(NamedTuple):
    """Which links are to be listed, and how."""

    which: LinkFilter
    order: str
    """`since` (the newest first), `held`, `watching` (the largest figure first)."""
    limit: int
    """The most links."""


class LinkInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One link."""

    user: str
    """Empty before the hello."""
    device: str
    role: Literal["user", "service", "admin", "none"]
    """`none`: no hello yet."""
    peer: str
    age_ms: int
    silent_ms: int
    """Since the last frame; -1 before the hello."""
    watching: int
    """Users that the link watches."""
    holds: int
    """Devices that a service speaks for."""
    held: int
    """Users whose latest record the link is owed, because it does not read."""
    slow: bool
    node: str = ""
    """Of a cluster, the node whose link it is."""


class FoundLinks(NamedTuple):
    """Of `total` links so many fit, and these are the first of them."""

    total: int
    matching: int
    links: list[LinkInfo]
    silent: list[str] = []
    """Nodes that have not told of theirs in time."""


def link_info(link: Link, now_ms: int, *, held_elsewhere: int = 0, node: str = "") -> LinkInfo:
    """One link as an operator sees it. O(1)."""
    session = link.session
    age_ms = now_ms - link.since_ms
    if session is None:
        return LinkInfo("", "", "none", link.peer, age_ms, -1, 0, 0, 0, False, node)
    held, device = session.owed, session.device
    # Frames of a device's own link are noted at the device.
    heard_ms = max(session.heard_ms, device.heard_ms) if device is not None else session.heard_ms
    return LinkInfo(
        session.user_name,
        _device_of(link, session),
        session.role,
        link.peer,
        age_ms,
        now_ms - heard_ms,
        len(session.watching or ()),
        len(session.refs or ()) + held_elsewhere,
        len(held or ()),
        held is not None,
        node,
    )


def _device_of(link: Link, session: Session) -> str:
    """The link's own device, also where another node has it; empty = it has none."""
    return session.device.id if session.device is not None else link.device_id


def order_key(link: Link, order: str) -> int:
    """The figure by which links are put in order, the largest first: `since` puts the newest link first. O(1)."""
    session = link.session
    if order == "since":
        return link.since_ms
    if session is None:
        return -1
    return len((session.owed if order == "held" else session.watching) or ())


def told_key(info: LinkInfo, order: str) -> int:
    """The same figure, of a link of any node. O(1)."""
    if order == "since":
        return -info.age_ms
    if info.role == "none":
        return -1
    return info.held if order == "held" else info.watching


def is_open(link: Link) -> bool:
    """Whether the link was not told goodbye."""
    return link.state < ENDING


async def open_links(table: Links) -> AsyncIterator[list[Link]]:
    """All open links, a slice at a time. Links that come or go meanwhile may be missed."""
    everyone = list(table)
    for at in range(0, len(everyone), SLICE_LINKS):
        # Also after the copy: for many links that lie cold in memory it takes most of a millisecond.
        await asyncio.sleep(0)
        yield [link for link in everyone[at : at + SLICE_LINKS] if is_open(link)]


def holders(engine: Engine, user: str) -> dict[object, str]:
    """The links of services that hold devices of `user` (or the one device `user/device`), each with the name of its
    service. O(devices of the user)."""
    name, _, device_id = user.partition("/")
    found = engine.users.get(name)
    if found is None:
        return {}
    sessions: list[Session] = [
        device.session
        for device in found.devices.values()
        if device.session is not None and device.session.role != "user" and device_id in ("", device.id)
    ]
    return {session.edge: session.user_name for session in sessions}


async def find_links(table: Links, query: LinkQuery, clocks: Clocks, node: str = "") -> FoundLinks:
    """Those of this server, which is the node of this name of a cluster. O(links), and O(links log limit) for the
    order; in slices."""
    total = matching = 0
    wanted, elsewhere = query.which, table.elsewhere
    of_any_user = wanted._replace(user="")
    holding = set(holders(table.engine, wanted.user))
    if elsewhere is not None and wanted.user:
        holding.update(session.edge for session in elsewhere.holders(*_devices(table.engine, wanted.user)))
    best: list[tuple[int, int, Link]] = []
    async for links in open_links(table):
        found: list[tuple[int, int, Link]] = []
        for link in links:
            total += 1
            if wanted.fits(link) or (link in holding and of_any_user.fits(link)):
                matching += 1
                # The running number decides between equals, so that links themselves are never compared.
                found.append((order_key(link, query.order), total, link))
        best = heapq.nlargest(query.limit, [*best, *found])
    rows: list[LinkInfo] = []
    now_ms = clocks.monotonic_ms()
    for at in range(0, len(best), SLICE_ROWS):
        await asyncio.sleep(0)
        for _, _, link in best[at : at + SLICE_ROWS]:
            if is_open(link):
                session = link.session
                held = elsewhere.held(session) if elsewhere is not None and session is not None else 0
                rows.append(link_info(link, now_ms, held_elsewhere=held, node=node))
    return FoundLinks(total, matching, rows)


def _devices(engine: Engine, user: str) -> tuple[str, list[str]]:
    """The user in `user` or `user/device`, and the devices that are meant."""
    name, _, device_id = user.partition("/")
    known = engine.users.get(name)
    return name, [device_id] if device_id else list(known.devices) if known is not None else []
