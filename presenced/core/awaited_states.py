"""What an await depends on, of what changes with its user. Pure."""

from __future__ import annotations

from presenced.core.faces import HIDDEN, SHOWN
from presenced.core.merge import countable
from presenced.core.model import Session, User
from presenced.core.pending_awaits import AwaitedUser, PendingAwait

OneAwait = PendingAwait[Session, User]


def states_of(user: User) -> tuple[str, str]:
    """What an await without kinds depends on, of what changes with the user."""
    shown = user.faces.get(SHOWN) if user.faces is not None else None
    return user.record.status, shown.record.status if shown is not None else ""


def kinds_of(user: User) -> frozenset[str]:
    """What an await of kinds depends on besides. O(devices)."""
    return frozenset(device.kind for device in user.devices.values() if countable(device))


def changes_of(one: OneAwait, awaited: AwaitedUser[Session, User], kind: int) -> int:
    """How often that has changed which the await depends on while its link is given this face. What the link is not
    shown must not count."""
    if one.kinds:
        return awaited.all_changes
    if kind == HIDDEN:
        return 0
    return awaited.shown_changes if kind == SHOWN else awaited.record_changes


def has_kind(user: User, kinds: tuple[str, ...]) -> bool:
    """Whether a device of one of these kinds counts for the user. O(devices)."""
    return any(device.kind in kinds and countable(device) for device in user.devices.values())
