"""Decides which of two links has a device that both want, when they have come to different nodes.

As on a single node, it is the link that said hello later, and not the one of which the home hears last. A link whose
home is gone may have been paused or cut off together with its node, and come back last, long after its client went to
another node. So positions are compared: how far each link's node had read in the log when the link said hello. If a
hello had to wait until the log could be reached, the times of the two hellos are compared instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from presenced.core.engine import Engine
from presenced.core.lost_link import HeldFar
from presenced.core.model import CONNECTED, GONE, GRACE, Session
from presenced.core.part import Part

NEWEST: Final = 1 << 62
"""The position of a link whose user was this node's own already when it said hello."""

OLDEST: Final = -1
"""The position of a lost link: any link that has one of its devices by now came later."""

LATE_MS: Final = 1_000
"""A hello that is older than this has waited for the engine: twice the most by which clocks of nodes may differ. It may
have been overtaken. The order of other hellos is known better from the log."""


class HelloPositions(Part):
    """How far this node had read when a link said hello whose device was attached later; for links of other nodes, how
    far their nodes had. All other links count as newer."""

    def __init__(self) -> None:
        self._positions: dict[Session, int] = {}

    def note(self, session: Session, position: int) -> None:
        """The session's link has said hello at this position. O(1)."""
        self._positions[session] = position

    def of(self, session: Session) -> int:
        """The position; `NEWEST` if none was noted. O(1)."""
        return self._positions.get(session, NEWEST)

    def end_session(self, session: Session, now_ms: int) -> None:
        """It is no longer needed."""
        self._positions.pop(session, None)


def return_terms(
    engine: Engine, positions: HelloPositions, session: Session, device_id: str, position: int
) -> bool | None:
    """On which terms a link that said hello at this position gets its own device back. None = not at all: the link that
    has it came later. True = only if it is free, or its client's. False = in any case: the link that has it has come
    back as well, and came earlier. O(1)."""
    user = engine.users.get(session.user_name)
    device = user.devices.get(device_id) if user is not None else None
    holder = device.session if device is not None else None
    if holder is None or holder is session or holder.ended:
        return True
    return None if positions.of(holder) > position else False


def is_overtaken(engine: Engine, session: Session, device_id: str, now_ms: int) -> bool:
    """Whether a later link has got the device for which the session's link has waited since its hello, without having
    had it before. O(1)."""
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
    """Let the session's link hold these devices here, which it held at a home that is gone, or (with the position
    `OLDEST`) a lost link of its client held. It is told which of them are gone or another client's. O(devices)."""
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
