"""Users who sleep as soon as they can, and a comparison of who wakes with who fell asleep: nobody can tell."""

from __future__ import annotations

from typing import Any

from presenced.core.engine import Engine
from presenced.core.model import Claim, Device, User
from presenced.core.roster import Roster

NOT_KEPT = {
    "position",
    "encoded",
    "digest",
    "due_ms",
    "_slot",
    "push_credit",
    "push_refilled_ms",
    "user",
    "devices",
    "awaited",
    "input_ms",
    "idle_known",
}
"""What is made anew when it is needed, or begins anew after a while without a change."""


def portrait(user: User) -> dict[str, Any]:
    """All that there is of a user who can sleep."""
    said = _slots(user) | {"devices": {name: _slots(device) for name, device in user.devices.items()}}
    said["primary"] = user.primary.id if user.primary is not None else None
    said["claims"] = [_slots(claim) for claim in user.claims]
    said["claim"] = user.claim.name if user.claim is not None else None
    said["contacts"] = _slots(user.contacts) if user.contacts is not None else None
    return said


def put_all_to_sleep(engine: Engine, now_ms: int) -> int:
    """Put everybody to sleep who can be, at once, after each has been woken once and compared; returns how many. Nobody
    while somebody walks over all users."""
    asleep = 0
    if engine.sleep.is_held:
        return asleep
    for user in list(engine.users.order):
        before = portrait(user)
        if not engine.sleep.put_to_sleep(user, now_ms):
            continue
        woken = engine.users.get(user.name)
        assert woken is not None and woken is not user
        after = portrait(woken)
        changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
        assert not changed, f"{user.name} woke as somebody else: {changed}"
        assert not woken.dirty
        assert engine.sleep.put_to_sleep(woken, now_ms)
        asleep += 1
    return asleep


def _slots(one: User | Device | Roster | Claim) -> dict[str, Any]:
    slots = {name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())} - NOT_KEPT
    return {name: getattr(one, name) or None for name in slots}
