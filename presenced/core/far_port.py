"""What the core asks of whoever knows the devices about which other nodes decide."""

from __future__ import annotations

from typing import Protocol

from presenced.core.lost_link import HeldFar
from presenced.core.model import Session


class FarDevicesPort(Protocol):
    """What links of this server have at other nodes."""

    def own_device(self, session: Session) -> tuple[str, str]:
        """The id and the kind of the link's own device, if another node decides about it; else two empty ones. O(1)."""

    def held(self, session: Session) -> list[HeldFar]:
        """The other devices that the link holds there. O(these)."""

    def hold_again(self, session: Session, devices: list[HeldFar], now_ms: int) -> object:
        """A lost link held these, and the session of the same client holds them again, unless they are another's or
        gone, which it is told. O(devices)."""
