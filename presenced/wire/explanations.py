"""Why a user is shown as they are, and what comes next: types 58 and 91 (protocol.md, section 23)."""

from __future__ import annotations

from typing import Literal

from presenced.wire.types import (
    ClaimInfo,
    DeadlineKind,
    DeviceInfo,
    DeviceStatus,
    Message,
    Record,
    RequestId,
    Status,
)

DecidingRule = Literal["unknown", "hidden", "claim", "device", "no_device"]
"""What decides: nothing is known of the user; a claim to be offline; the strongest claim; the most available device; or
that no device counts."""

DeviceReason = Literal["decides", "same", "weaker", "unused_dnd", "claim", "idle", "negative", "gone"]
"""How much a device has to say: its status is the user's; it says the same as the one that decides; the other is more
available; its dnd counts as away, for nobody uses it and another device is used; a claim decides instead. Or it does
not count: idle for too long, of negative priority, gone."""

ClaimReason = Literal["decides", "no_device", "hidden", "weaker", "older", "covered", "quiet_hours"]
"""How much a claim has to say: it decides; it would, and no device counts; another hides the user; another has a
stronger source; another of its source is newer; a manual status covers it; it was made before the quiet hours began
that hold now."""


class Explain(Message, tag=58):
    """Ask why a user is shown as they are, and what comes next."""

    id: RequestId
    user: str = ""


class DeviceReasonInfo(Message):
    """A device, and how much it has to say."""

    device: DeviceInfo
    says: DeviceStatus
    """Its own status, whether it is idle or not."""
    reason: DeviceReason


class ClaimReasonInfo(Message):
    """A claim, and how much it has to say."""

    claim: ClaimInfo
    reason: ClaimReason


class DeadlineInfo(Message):
    """Something that comes due by itself."""

    kind: DeadlineKind
    about: str
    """The device or the claim; empty for the text."""
    at_ms: int
    """Wall time at which it is due."""


class NextInfo(Message):
    """The next change of what others see, if nothing happens."""

    at_ms: int
    """Wall time."""
    status: Status
    text: str
    emoji: str
    device: str
    because: list[DeadlineInfo]
    """What comes due then."""


class Explanation(Message, tag=91):
    """The answer to explain."""

    id: int
    at_ms: int
    """Wall time of the answer."""
    record: Record
    """The whole record, as those see it who may see all of it."""
    rule: DecidingRule
    sentence: str
    """The same for people."""
    devices: list[DeviceReasonInfo]
    claims: list[ClaimReasonInfo]
    """The strongest first."""
    deadlines: list[DeadlineInfo]
    """The first first."""
    next: NextInfo | None
    """None = nothing is to come, as far as that is known."""
