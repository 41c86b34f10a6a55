"""Whose a device is that two links want which have come to different nodes.

As on one node it is the later hello's, and not that of the link of which its home hears last. A link whose home is gone
may have been paused with its node, or cut off with it, and come back to the device last while its client is elsewhere
for long: of two such the position of the log counts at which each link's node stood at its hello. A hello may have
waited until the log could be reached, while its client went to another node: there the moments count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from presenced.core.engine import Engine
from presenced.core.lost_link import HeldFar
from presenced.core.model import CONNECTED, GONE, GRACE, Session
from presenced.core.part import Part

NEWEST: Final = 1 << 62
"""Of a link whose user was this node's already when it said hello."""

OLDEST: Final = -1
"""Whoever has a device that a lost link held has come later."""

LATE_MS: Final = 1_000
"""What was said so long ago has waited for the engine: twice by what the clocks of nodes may differ. A hello may have
been overtaken then; of those that have not waited the log knows the order better."""


class HelloPositions(Part):
    """How far this node had read when links said hello whose devices were attached later; and of links of other nodes,
    how far these had. All others have come later."""

    def __init__(self) -> None:
        self._positions: dict[Session, int] = {}

    def note(self, session: Session, position: int) -> None:
        """The session's link has said hello at this position. O(1)."""
        self._positions[session] = position

    def of(self, session: Session) -> int:
        """The position; `NEWEST` if none was noted. O(1)."""
        return self._positions.get(session, NEWEST)

    def end_session(self, session: Session, now_ms: int) -> None:
        """It does not count any longer."""
        self._positions.pop(session, None)


def return_terms(
    engine: Engine, positions: HelloPositions, session: Session, device_id: str, position: int
) -> bool | None:
    """On which terms the own device of the session's link comes back, which said hello at this position: None = it does
    not, for who has it by now has come later; True = if it is free, or its client's; False = in any case, for who has
    it is back as well, and has come before. O(1)."""
    user = engine.users.get(session.user_name)
    device = user.devices.get(device_id) if user is not None else None
    holder = device.session if device is not None else None
    if holder is None or holder is session or holder.ended:
        return True
    return None if positions.of(holder) > position else False


def is_overtaken(engine: Engine, session: Session, device_id: str, now_ms: int) -> bool:
    """Whether the session's link, which is to have its own device for the first time, has waited for it while a link
    that came later got it. O(1)."""
    since_ms = session.edge.since_ms
    user = engine.users.get(session.user_name)
    device = user.devices.get(device_id) if user is not None else None
    holder = device.session if device is not None else None
    if not since_ms or now_ms - since_ms <= LATE_MS or device is None or device.ref or holder is None:
        return False
    return holder is not session and not holder.ended and holder.edge.since_ms > since_ms


def hold_again(
    engine: Engine,
    positions: HelloPositions,
    session: Session,
    position: int,
    devices: Iterable[HeldFar],
    now_ms: int,
) -> None:
    """The session's link held these devices at a home that is gone, or (with the position `OLDEST`) a lost link of the
    same client did, and it holds them here from now on. What is another's by now, or is gone, it is told.
    O(devices)."""
    for ref, name, device_id, if_gone in devices:
        user = engine.users.get(name)
        device = user.devices.get(device_id) if user is not None else None
        if device is None or device.state == GONE:
            engine.holders.tell(session, ref, if_gone)
            continue
        holder = device.session
        if holder is not None and holder.ended and holder.instance == session.instance:
            # Its link is lost, and has not let go of it yet.
            engine.leases.lose(device, engine.releases.lost_ms(holder, now_ms))
        if device.state == CONNECTED and holder is not None and not holder.ended:
            if holder is session:
                continue
            if positions.of(holder) > position:
                engine.holders.tell(session, ref, "replaced")
                continue
            # The other link is back as well, and is an older one.
            engine.sessions.attach(now_ms, session, device_id, user_name=name, ref=ref, as_was=True)
            continue
        if device.state != GRACE or device.holder != session.instance:
            engine.holders.tell(session, ref, "replaced")
            continue
        engine.holders.holds(session, ref)
        engine.leases.take_back(device, session, ref, now_ms)
