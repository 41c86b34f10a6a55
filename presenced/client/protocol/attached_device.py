"""One device that a service speaks for: how it is described, how idle its person is, and where its attach stands."""

from __future__ import annotations

from typing import Any

from presenced.client.protocol.heartbeat import Activity
from presenced.client.values import Attachment, lasting_ms
from presenced.limits import BEATS_MAX
from presenced.wire.messages import Attach, Beats, DeviceStatus, Focus

NO_REPORT = -1
"""In place of an idle level: the app has not reported one (protocol.md 5, Beats)."""

DeviceKey = tuple[str, str]
"""User and device."""


class AttachedDevice:
    """See the module's docstring. `attachments` alone writes to it, except for what the app reports of it."""

    __slots__ = (
        "activity", "channels", "device", "focus", "focus_told", "is_granted", "is_live", "is_refused", "is_to_join",
        "kind", "lease_end_ms", "loss", "meta", "name", "priority", "ref", "status", "unanswered", "user", "waiters",
        "wanted_by",
    )  # fmt: skip

    def __init__(self, ref: int, user: str, device: str) -> None:
        self.ref = ref
        self.user = user
        self.device = device
        self.kind = ""
        self.name = ""
        self.priority = 0
        self.status: DeviceStatus = "online"
        self.meta: str | None = None
        """None = what the server has."""
        self.focus = ""
        """What is on its screen."""
        self.focus_told = ""
        """What the server was told of that."""
        self.activity: Activity | None = None
        """None until the app has reported: then the device counts as active, and the server tells input elsewhere
        apart."""
        self.lease_end_ms: int | None = None
        """When its lease ends, by this client's clock; None = it has none, and lives by its heartbeats."""
        self.channels: dict[str, None] | None = None
        self.wanted_by = 0
        """How many attaches want it, under way or done. With none it is let go."""
        self.waiters: dict[Any, None] = {}
        """What waits for the replies to the app's attaches that are under way."""
        self.is_granted = False
        """The server has granted it, on this link or an earlier one."""
        self.is_live = False
        """It is attached on the present link, and beats there."""
        self.is_refused = False
        """The server refuses it for the moment; it is asked again with each heartbeat."""
        self.is_to_join = False
        """Its channels are to be joined once it is attached on the present link."""
        self.unanswered = 0
        """Attaches on the present link that have no reply yet."""
        self.loss = ""
        """Why the server took it away while an attach was under way; the reply to that attach decides."""

    @property
    def key(self) -> DeviceKey:
        return self.user, self.device

    def __repr__(self) -> str:
        how = "refused" if self.is_refused else "attached" if self.is_live else "to be attached"
        return f"<AttachedDevice {self.user}/{self.device}, ref {self.ref}, {how}>"

    def idle_ms(self, now_ms: int) -> int | None:
        """The idle level to tell now; None = no report."""
        return None if self.activity is None else self.activity.tell(now_ms)

    def describe(
        self,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
        meta: str | None = None,
    ) -> None:
        """Change what the next attach says; None leaves a value as it is."""
        self.meta = self.meta if meta is None else meta
        self.status = self.status if status is None else status
        self.priority = self.priority if priority is None else priority
        self.name = self.name if name is None else name

    def adopt(self, attachment: Attachment, lease_end_ms: int | None) -> None:
        """From now on the device is described as in `attachment`, with a lease until then."""
        self.lease_end_ms = lease_end_ms
        self.kind, self.name = attachment.kind, attachment.name
        self.priority, self.status = attachment.priority, attachment.status
        self.meta = self.meta if attachment.meta is None else attachment.meta

    def show(self, focus: str) -> None:
        """This is on its screen from now on."""
        self.focus = focus

    def tell_focus(self) -> Focus:
        """The message that says what is on its screen."""
        self.focus_told = self.focus
        return Focus(self.ref, self.focus)

    def forget_focus_told(self) -> None:
        """What was told of its screen has ended with the link."""
        self.focus_told = ""

    def is_over(self, now_ms: int) -> bool:
        """Whether its lease has ended."""
        return self.lease_end_ms is not None and now_ms >= self.lease_end_ms

    def attach_again(self, request_id: int, now_ms: int) -> Attach:
        """The request for a new link: attach it as it was, and only if no other client has it now."""
        kind, name, priority, status, idle_ms = self.kind, self.name, self.priority, self.status, self.idle_ms(now_ms)
        self.focus_told = self.focus
        # The server keeps the end of the lease that it knows. This is for one that does not know the device any longer.
        left_ms = max(1, self.lease_end_ms - now_ms) if self.lease_end_ms is not None else 0
        described = (kind, name, priority, status, idle_ms, True, True, left_ms, self.meta, self.focus)
        return Attach(request_id, self.ref, self.user, self.device, *described)

    def attach_as(self, attachment: Attachment, request_id: int, now_ms: int) -> Attach:
        """The request that attaches it as described. The description becomes its own once the server grants it."""
        _, _, kind, name, priority, status, _, meta, _, for_at_most = attachment
        self.focus_told = self.focus
        lasting = lasting_ms(for_at_most) if for_at_most is not None else 0
        described = (kind, name, priority, status, self.idle_ms(now_ms), False, False, lasting, meta, self.focus)
        return Attach(request_id, self.ref, self.user, self.device, *described)


def beats_of(devices: list[AttachedDevice], now_ms: int) -> list[Beats]:
    """Heartbeats of these devices, in as few messages as possible. O(devices)."""
    flat: list[int] = []
    for device in devices:
        idle_ms = device.idle_ms(now_ms)
        flat += (device.ref, NO_REPORT if idle_ms is None else idle_ms)
    return [Beats(flat[start : start + 2 * BEATS_MAX]) for start in range(0, len(flat), 2 * BEATS_MAX)]
