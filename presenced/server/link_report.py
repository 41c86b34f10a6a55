"""Links as an operator sees them: which ones there are, and what each one does. Reads only; nothing in here ends a
link.

A look at all links goes in slices, with the event loop in between, so that nobody's presence is late for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple

import msgspec

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.server.link import ENDING, Link
from presenced.server.links import Links

SLICE_LINKS = 200
"""Links looked at between two looks at the sockets."""


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


class LinkInfo(msgspec.Struct, frozen=True):
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


def link_info(link: Link, now_ms: int) -> LinkInfo:
    """One link as an operator sees it. O(1)."""
    session = link.session
    age_ms = now_ms - link.since_ms
    if session is None:
        return LinkInfo("", "", "none", link.peer, age_ms, -1, 0, 0, 0, False)
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
        len(session.refs or ()),
        len(held or ()),
        held is not None,
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
