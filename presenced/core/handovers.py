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
"""How many users are taken over in one turn: about 3 ms, if half of them are live."""


class Handovers:
    """Takes users over from other nodes, and hands them over. The caller runs a turn afterwards."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._users = engine.users

    def adopt(self, name: str, now_ms: int, *, heard_ms: int | None, grace_ms: int, spread_ms: int = 0) -> None:
        """Decide about the user from now on, as after a restart: the user's timers start here, and live devices are in
        grace. Idempotent.

        With `heard_ms` the user's home is gone, and was last heard then. Live devices count as heard until then. Their
        grace ends `grace_ms` from now, or after that of their kind if it is longer, and up to `spread_ms` later, by the
        name of the user. With None the home has released the user in order, and devices stay in the grace that they
        were in. A user who sleeps sleeps on. O(what is known of the user).
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
        """Let another node decide about the user from now on. Returns the facts that it applies by `Copies.replace`,
        before it calls `adopt`. Changes of this turn are among this node's own facts before that. A link that still
        holds a device of the user here loses it, so that its client comes back. O(what is known of the user)."""
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
    """The user's share of a spread: the same for all devices of one user, who goes offline in one step."""
    return spread_ms * (crc32(name.encode()) & 0xFFFF) // 0x10000
