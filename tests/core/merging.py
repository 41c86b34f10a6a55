"""What the devices and the claim of a user come to, from the words of protocol.md and one sentence after the other. It
shares no code with `core.merge`, which it judges."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.model import ACTIVE as ACTIVE_LEVEL, CONNECTED, GRACE, IDLE_AWAY, Claim, Device


def merged_by_the_words(
    devices: Sequence[Device], claim: Claim | None, primary: Device | None, hysteresis_ms: int
) -> tuple[str, list[Device | None]]:
    """The status, and every device that may be the primary one after `primary`."""
    live = [device for device in devices if device.state in (CONNECTED, GRACE)]
    not_negative = [device for device in live if device.priority >= 0]
    counted = [device for device in not_negative if device.idle_level in (ACTIVE_LEVEL, IDLE_AWAY)]
    if not counted or (claim is not None and claim.status == "offline"):
        return "offline", [None]
    used = [device for device in counted if device.idle_level == ACTIVE_LEVEL]
    said = []
    for device in counted:
        lends_away = ("chat", "online", "dnd") if used else ("chat", "online")
        said.append("away" if device.status in lends_away and device not in used else device.status)
    status = next(status for status in ("dnd", "chat", "online", "away", "xa") if status in said)
    if claim is not None:
        status = "away" if claim.status in ("chat", "online") and not used else claim.status
    newest_ms = max(device.active_ms for device in counted)
    if primary in counted and newest_ms <= primary.active_ms + hysteresis_ms:
        return status, [primary]
    return status, [device for device in counted if device.active_ms == newest_ms]
