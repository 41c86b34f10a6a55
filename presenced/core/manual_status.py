"""What a person says of themselves in one request: a status, a text, or both, for a while."""

from __future__ import annotations

from presenced.core.model import GONE, Device, User
from presenced.core.parts.claims import Claims
from presenced.core.parts.leases import Leases
from presenced.core.parts.texts import Texts
from presenced.core.precedence import MANUAL
from presenced.core.publisher import Publisher
from presenced.wire.messages import StatusRequest


class ManualStatus:
    """Sets the manual claim and the text together; owns no state of its own."""

    def __init__(self, leases: Leases, claims: Claims, texts: Texts, publisher: Publisher) -> None:
        self._leases = leases
        self._claims = claims
        self._texts = texts
        self._publisher = publisher

    def set(
        self,
        now_ms: int,
        user: User,
        device: Device | None,
        *,
        status: StatusRequest | None,
        text: str | None,
        emoji: str | None,
        for_ms: int,
    ) -> None:
        """Set the manual status, the text or both, for `for_ms` (0 = until changed); None leaves a part as it is. Said
        on a device, it counts as input there (protocol.md, 7.4)."""
        due_ms = now_ms + for_ms if for_ms else 0
        if status == "offline":
            # A text that comes with it is the last thing that others see.
            self._texts.change(user, text, emoji, due_ms)
        if status == "auto":
            self._claims.end(user, MANUAL, now_ms)
        elif status is not None:
            self._claims.add(now_ms, user, MANUAL, "manual", status, due_ms)
        if status != "offline":
            self._texts.change(user, text, emoji, due_ms)
        if device is not None and device.state != GONE:
            # One that is gone has no deadline to arm.
            self._leases.input(device, now_ms)
        self._publisher.mark_dirty(user)
