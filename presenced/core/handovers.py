"""Takes users over from the node that decided about them, and hands them over to another.

A node takes a user over when the user's home is gone, or has released the user. What was a copy (`copies`) then gets
its timers here: graces, claims and schedules end on this node from now on. To hand a user over is the reverse.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from presenced.core.engine import Engine
from presenced.core.model import GONE, Device, Session, User
from presenced.core.pair_facts import without_pairs
from presenced.core.part import Start
from presenced.core.records import Fact

SLICE_USERS: Final = 500
"""Users to be taken over in one turn: about 3 ms, if half of them are live."""


class Handovers:
    """Takes users over from other nodes, and hands them over. Whoever calls runs a turn afterwards."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._users = engine.users

    def adopt(self, name: str, now_ms: int, *, heard_ms: int | None, grace_ms: int, spread_ms: int = 0) -> None:
        """This node decides about the user from now on, as after a restart: what ends by itself is waited for here, and
        live devices are in grace. Idempotent.

        With `heard_ms` their home is gone, and was heard then for the last time. Devices that were live count as heard
        until then, and are in grace for `grace_ms` from now, or that of their kind if it is longer, and up to
        `spread_ms` more, spread over the users by their names. With None the home has let go of the user in order
        (`release`), and devices stay in the grace that they were in. Who sleeps sleeps on. O(what is known of the
        user).
        """
        engine = self._engine
        if heard_ms is not None:
            engine.leases.assume(min(heard_ms, now_ms))
        user = self._users.awake(name)
        if user is None or not user.is_copy:
            return
        self._users.set_copy(user, is_copy=False)
        start = Start(now_ms, grace_ms, spread_ms, heard_ms, [])
        for device in user.devices.values():
            if device.state == GONE:
                continue
            if heard_ms is None:
                engine.leases.go_on_with(device, now_ms, grace_ms)
            else:
                engine.leases.hold(device, spread_ms and _share(name, spread_ms), start)
        if user.claims or user.schedule is not None or user.text_until_ms or user.shown is not None:
            engine.claims.take_over(user, now_ms)
            engine.texts.take_over(user, now_ms)
            engine.claims.resume([user], start)
            engine.schedules.resume([user], start)
        if user.privacy is not None:
            engine.showings.resume([user], start)
        engine.publisher.take_up(user)

    def release(self, user: User, now_ms: int) -> list[Fact]:
        """Another node decides about the user from now on. Returns what that node takes up by `replace`, and then
        `adopt`; what was changed in this turn is among the facts of this node before it. A link that still holds a
        device of the user here is lost to it, so that its client comes back. O(what is known of the user)."""
        engine = self._engine
        engine.ledger.reach(now_ms)
        for device in user.devices.values():
            if device.session is not None:
                self._cut_off(device, device.session, now_ms)
        engine.publisher.refresh(user, now_ms)
        engine.publisher.face_records.keep_told(user)
        for device in user.devices.values():
            if device.state != GONE:
                engine.leases.let_go_of(device)
        engine.ends.let_go(user)
        engine.schedules.let_go_of(user)
        self._users.set_copy(user, is_copy=True)
        return without_pairs(engine.parts.facts_of(user, now_ms))

    def _cut_off(self, device: Device, session: Session, now_ms: int) -> None:
        if device.ref:
            self._engine.sessions.release(now_ms, device, lost=True)
        else:
            self._engine.sessions.drop(now_ms, session, "")


def _share(name: str, spread_ms: int) -> int:
    """The user's share of what is spread over all: the same for all devices of one, who go offline in one step."""
    return spread_ms * (crc32(name.encode()) & 0xFFFF) // 0x10000
