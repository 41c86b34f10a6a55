"""Messages about where a notification goes (protocol.md, section 23.4): what is on the screen of a device, the question
which devices to notify, and its answer."""

from __future__ import annotations

from typing import Literal

from presenced.wire.types import HeldRef, Message, RequestId, UserNames

Urgency = Literal["low", "normal", "high", "urgent"]
"""How much a notification matters, as Web Push (RFC 8030, 5.3) and phones grade it: something to find later, an
ordinary message, one that reaches people in a call, an alarm."""

Verdict = Literal["now", "at", "silent", "none"]
"""What to do: notify now; not before a time; show it without sound; nothing."""

RouteReason = Literal[
    "unknown", "unreachable", "urgent", "reading", "dnd", "quiet_hours", "call", "looks_in", "no_link", "in_use",
    "used_elsewhere", "carried", "idle", "untold", "low",
]  # fmt: skip
"""The rule that decided."""


class Focus(Message, tag=63):
    """This is on the device's screen from now on. There is no reply."""

    ref: HeldRef = 0
    """The device's number on a service's link; 0 = the link's own device."""
    focus: str = ""
    """The name of a channel, of a user or of anything that the application means; empty = nothing that it tells."""


class Route(Message, tag=61):
    """Ask which devices of users to notify now."""

    id: RequestId
    users: UserNames
    urgency: Urgency = "normal"
    about: str = ""
    """What the notification is about, as `Focus` names it; empty = nothing that could be on a screen."""


class TargetInfo(Message):
    """A device in a route. Carries no type: it travels in others."""

    device: str
    kind: str
    verdict: Verdict
    reason: RouteReason
    meta: str


class RouteInfo(Message):
    """Where a notification for one user goes. Carries no type: it travels in others."""

    user: str
    verdict: Verdict
    """For the user as a whole: the best of the devices'."""
    reason: RouteReason
    at_ms: int
    """Wall time before which not to notify; 0 = none."""
    last_input_ms: int
    """Wall time of the last known input on any device; 0 = none is known."""
    devices: list[TargetInfo]
    """In the order in which to try them."""


class Routes(Message, tag=93):
    """The answer to route: for the first of the users asked, in that order."""

    id: int
    routes: list[RouteInfo]
